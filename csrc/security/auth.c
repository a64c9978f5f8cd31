/* auth.c - the transcript's bytes, key files and the brake. */
#include "security/auth.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "security/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

static const char label[] = "pyproc named socket 1";

static void add_number(struct pp_hmac *hmac, uint32_t number)
{
    uint8_t bytes[4];

    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number >> (24 - 8 * i));
    pp_hmac_add(hmac, bytes, sizeof bytes);
}

static void add_peer(struct pp_hmac *hmac, const struct pp_peer *peer)
{
    add_number(hmac, (uint32_t)peer->pid);
    add_number(hmac, peer->uid);
    add_number(hmac, peer->gid);
}

/* Every part has a fixed size, or its size before it: no two transcripts share their bytes. */
void pp_auth_proof(const void *secret, size_t n, enum pp_auth_role role,
                   const struct pp_transcript *transcript, uint8_t proof[PP_AUTH_PROOF])
{
    struct pp_hmac hmac;

    pp_hmac_init(&hmac, secret, n);
    pp_hmac_add(&hmac, label, sizeof label);
    add_number(&hmac, role == PP_AUTH_SERVER ? 2 : 1);
    add_number(&hmac, transcript->version);
    pp_hmac_add(&hmac, transcript->client_nonce, PP_AUTH_NONCE);
    pp_hmac_add(&hmac, transcript->server_nonce, PP_AUTH_NONCE);
    add_peer(&hmac, &transcript->client);
    add_peer(&hmac, &transcript->server);
    add_number(&hmac, (uint32_t)transcript->key_id_size);
    pp_hmac_add(&hmac, transcript->key_id, transcript->key_id_size);
    pp_hmac_end(&hmac, proof);
}

bool pp_auth_same(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *one = a, *other = b;
    uint8_t difference = 0;

    for (size_t i = 0; i < n; i++)
        difference |= (uint8_t)(one[i] ^ other[i]);
    return difference == 0;
}

int pp_auth_random(void *bytes, size_t n)
{
    uint8_t *at = bytes;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return pp_fail(got < 0 ? -errno : -EIO, "get random bytes");
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

static int check_key_file(const char *path, int fd)
{
    struct stat found;

    if (fstat(fd, &found) < 0)
        return pp_fail(-errno, "look at the key file %s", path);
    if (!S_ISREG(found.st_mode))
        return pp_fail(-EPERM, "read the key file %s, which is not a regular file", path);
    if (found.st_uid != geteuid() && found.st_uid != 0)
        return pp_fail(-EPERM, "read the key file %s, which belongs to uid %u: chown it to uid %u",
                       path, (unsigned)found.st_uid, (unsigned)geteuid());
    if ((found.st_mode & 07777 & ~0600U) != 0)
        return pp_fail(-EPERM, "read the key file %s of mode %04o: chmod 0600 it", path,
                       (unsigned)(found.st_mode & 07777));
    return 0;
}

/* Never more than `most` + 1 bytes: more is too long, whatever the file says of itself. */
static ssize_t read_all(int fd, uint8_t *bytes, size_t most)
{
    size_t held = 0;

    while (held < most) {
        ssize_t got = read(fd, bytes + held, most - held);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        held += (size_t)got;
    }
    return (ssize_t)held;
}

int pp_key_file_read(const char *path, uint8_t secret[PP_KEY_MOST], size_t *np)
{
    uint8_t bytes[PP_KEY_MOST + 2];
    PP_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    ssize_t n;
    int r;

    if (fd < 0)
        return pp_fail(-errno, "open the key file %s%s", path,
                       errno == ELOOP ? ", which is a symbolic link" : "");
    r = check_key_file(path, fd);
    if (r < 0)
        return r;
    n = read_all(fd, bytes, sizeof bytes);
    if (n > 0 && bytes[n - 1] == '\n')
        n--;
    if (n < 0)
        r = pp_fail((int)n, "read the key file %s", path);
    else if (n < PP_KEY_LEAST || n > PP_KEY_MOST)
        r = pp_fail(-EINVAL,
                    "use the key file %s: a key has %d to %d bytes (head -c 32 /dev/urandom)", path,
                    PP_KEY_LEAST, PP_KEY_MOST);
    if (r == 0) {
        memcpy(secret, bytes, (size_t)n);
        *np = (size_t)n;
    }
    explicit_bzero(bytes, sizeof bytes);
    return r;
}

enum { FREE_FAILURES = 5, WAIT_MOST = 60 };

static const struct pp_throttle_peer *find(const struct pp_throttle *throttle, uint32_t uid)
{
    for (size_t i = 0; i < PP_THROTTLE_PEERS; i++)
        if (throttle->peers[i].failures > 0 && throttle->peers[i].uid == uid)
            return &throttle->peers[i];
    return NULL;
}

int64_t pp_throttle_left(const struct pp_throttle *throttle, uint32_t uid, int64_t now)
{
    const struct pp_throttle_peer *peer = find(throttle, uid);

    return peer && peer->until > now ? peer->until - now : 0;
}

/* A place for the user: its own, a free one, or that of whoever may try again first. */
static struct pp_throttle_peer *place_for(struct pp_throttle *throttle, uint32_t uid)
{
    struct pp_throttle_peer *place = (struct pp_throttle_peer *)find(throttle, uid);

    if (place)
        return place;
    place = &throttle->peers[0];
    for (size_t i = 0; i < PP_THROTTLE_PEERS && place->failures > 0; i++)
        if (throttle->peers[i].failures == 0 || throttle->peers[i].until < place->until)
            place = &throttle->peers[i];
    *place = (struct pp_throttle_peer){.uid = uid};
    return place;
}

void pp_throttle_failed(struct pp_throttle *throttle, uint32_t uid, int64_t now)
{
    struct pp_throttle_peer *peer = place_for(throttle, uid);
    unsigned over;
    int64_t wait;

    if (peer->failures < UINT32_MAX)
        peer->failures++;
    if (peer->failures < FREE_FAILURES)
        return;
    over = peer->failures - FREE_FAILURES;
    wait = over < 6 ? INT64_C(1) << over : WAIT_MOST;
    peer->until = now + (wait < WAIT_MOST ? wait : WAIT_MOST) * PP_SECOND;
}

void pp_throttle_passed(struct pp_throttle *throttle, uint32_t uid)
{
    struct pp_throttle_peer *peer = (struct pp_throttle_peer *)find(throttle, uid);

    if (peer)
        peer->failures = 0;
}
