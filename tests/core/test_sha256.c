/* test_sha256.c - the hash and the code against RFC 6234 and RFC 4231, and the proofs' rules. */
#include "check.h"
#include "security/auth.h"
#include "security/sha256.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void hex(const uint8_t *bytes, char *to)
{
    for (unsigned i = 0; i < PP_SHA256_SIZE; i++)
        (void)snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

static void hash_is(const char *text, unsigned times, const char *wanted)
{
    struct pp_sha256 hash;
    uint8_t digest[PP_SHA256_SIZE];
    char got[65];

    pp_sha256_init(&hash);
    for (unsigned i = 0; i < times; i++)
        pp_sha256_add(&hash, text, strlen(text));
    pp_sha256_end(&hash, digest);
    hex(digest, got);
    CHECK(strcmp(got, wanted) == 0);
}

static void the_hash_is_that_of_rfc_6234(void)
{
    hash_is("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash_is("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    hash_is("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    hash_is("0123456701234567012345670123456701234567012345670123456701234567", 10,
            "594847328451bdfa85056225462cc1d867d877fb388df0ce35f25ab5562bfbb5");
}

static void code_is(const void *key, size_t n_key, const void *text, size_t n, const char *wanted)
{
    struct pp_hmac hmac;
    uint8_t code[PP_SHA256_SIZE];
    char got[65];

    pp_hmac_init(&hmac, key, n_key);
    pp_hmac_add(&hmac, text, n);
    pp_hmac_end(&hmac, code);
    hex(code, got);
    CHECK(strcmp(got, wanted) == 0);
}

static void the_code_is_that_of_rfc_4231(void)
{
    static const char large[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    uint8_t key[131], text[50];

    memset(key, 0x0b, 20);
    code_is(key, 20, "Hi There", 8,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    code_is("Jefe", 4, "what do ya want for nothing?", 28,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(text, 0xdd, sizeof text);
    code_is(key, 20, text, 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    code_is(key, 131, large, sizeof large - 1,
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* Each part of the transcript changes the proof. */
static void a_proof_is_of_one_role_and_one_connection(void)
{
    static const uint8_t one[PP_AUTH_NONCE] = {1}, two[PP_AUTH_NONCE] = {2};
    const struct pp_transcript base = {1, one, two, {10, 20, 30}, {40, 50, 60}, "k", 1};
    struct pp_transcript others[7];
    uint8_t proof[PP_AUTH_PROOF], other[PP_AUTH_PROOF];
    const char secret[] = "0123456789abcdef0123456789abcdef";

    pp_auth_proof(secret, 32, PP_AUTH_CLIENT, &base, proof);
    pp_auth_proof(secret, 32, PP_AUTH_CLIENT, &base, other);
    CHECK(pp_auth_same(proof, other, sizeof proof));
    pp_auth_proof(secret, 32, PP_AUTH_SERVER, &base, other);
    CHECK(!pp_auth_same(proof, other, sizeof proof));
    for (unsigned i = 0; i < 7; i++)
        others[i] = base;
    others[0].version = 2;
    others[1].client_nonce = two;
    others[2].server_nonce = one;
    others[3].client.pid = 11;
    others[4].server.uid = 51;
    others[5].key_id_size = 0;
    others[6].client.gid = 31;
    for (unsigned i = 0; i < 7; i++) {
        pp_auth_proof(secret, 32, PP_AUTH_CLIENT, &others[i], other);
        CHECK(!pp_auth_same(proof, other, sizeof proof));
    }
}

static void write_key(const char *path, unsigned mode, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(write(fd, "k", 1), 1);
    CHECK_EQ(fchmod(fd, mode), 0);
    (void)close(fd);
}

static void a_key_file_is_its_owners_alone(void)
{
    uint8_t secret[PP_KEY_MOST];
    char path[512], link[512];
    size_t n = 0;

    (void)snprintf(path, sizeof path, "%s/key", getenv("PYPROC_TEST_SCRATCH"));
    (void)snprintf(link, sizeof link, "%s/link", getenv("PYPROC_TEST_SCRATCH"));
    write_key(path, 0600, 32);
    CHECK_EQ(pp_key_file_read(path, secret, &n), 0);
    CHECK_EQ(n, 32);
    write_key(path, 0640, 32);
    CHECK(pp_key_file_read(path, secret, &n) < 0);
    write_key(path, 0600, 31);
    CHECK(pp_key_file_read(path, secret, &n) < 0);
    write_key(path, 0600, PP_KEY_MOST + 1);
    CHECK(pp_key_file_read(path, secret, &n) < 0);
    write_key(path, 0400, 64);
    CHECK_EQ(pp_key_file_read(path, secret, &n), 0);
    CHECK_EQ(symlink(path, link), 0);
    CHECK(pp_key_file_read(link, secret, &n) < 0);
    (void)unlink(link);
    (void)unlink(path);
}

static void whoever_guesses_waits_longer_and_longer(void)
{
    static struct pp_throttle throttle;
    int64_t now = 1000000000;

    for (unsigned i = 0; i < 4; i++)
        pp_throttle_failed(&throttle, 7, now);
    CHECK_EQ(pp_throttle_left(&throttle, 7, now), 0);
    pp_throttle_failed(&throttle, 7, now);
    CHECK_EQ(pp_throttle_left(&throttle, 7, now), 1000000000);
    pp_throttle_failed(&throttle, 7, now);
    CHECK_EQ(pp_throttle_left(&throttle, 7, now), 2000000000);
    for (unsigned i = 0; i < 100; i++)
        pp_throttle_failed(&throttle, 7, now);
    CHECK_EQ(pp_throttle_left(&throttle, 7, now), INT64_C(60) * 1000000000);
    CHECK_EQ(pp_throttle_left(&throttle, 8, now), 0);
    pp_throttle_passed(&throttle, 7);
    CHECK_EQ(pp_throttle_left(&throttle, 7, now), 0);
    for (uint32_t uid = 100; uid < 1000; uid++)
        for (unsigned i = 0; i < 5; i++)
            pp_throttle_failed(&throttle, uid, now);
    CHECK(pp_throttle_left(&throttle, 999, now) > 0);
}

PP_TESTS(PP_TEST(the_hash_is_that_of_rfc_6234), PP_TEST(the_code_is_that_of_rfc_4231),
         PP_TEST(a_proof_is_of_one_role_and_one_connection),
         PP_TEST(a_key_file_is_its_owners_alone), PP_TEST(whoever_guesses_waits_longer_and_longer))
