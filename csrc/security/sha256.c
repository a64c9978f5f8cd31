/* sha256.c - the hash function of RFC 6234, written out plainly. */
#include "security/sha256.h"

#include <string.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void schedule(const uint8_t *block, uint32_t w[64])
{
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;

        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
}

static void mix(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];

    schedule(block, w);
    memcpy(s, state, sizeof s);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t big1 = turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25);
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t one = s[7] + big1 + choice + K[i] + w[i];
        uint32_t big0 = turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22);
        uint32_t most = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);

        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + big0 + most;
    }
    for (unsigned i = 0; i < 8; i++)
        state[i] += s[i];
    explicit_bzero(w, sizeof w);
    explicit_bzero(s, sizeof s);
}

void pp_sha256_init(struct pp_sha256 *hash)
{
    static const uint32_t start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };

    memcpy(hash->state, start, sizeof start);
    hash->size = 0;
}

void pp_sha256_add(struct pp_sha256 *hash, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    size_t held = hash->size % PP_SHA256_BLOCK;

    hash->size += n;
    while (n > 0) {
        size_t part = PP_SHA256_BLOCK - held < n ? PP_SHA256_BLOCK - held : n;

        memcpy(hash->block + held, at, part);
        at += part;
        n -= part;
        held += part;
        if (held == PP_SHA256_BLOCK) {
            mix(hash->state, hash->block);
            held = 0;
        }
    }
}

void pp_sha256_end(struct pp_sha256 *hash, uint8_t digest[PP_SHA256_SIZE])
{
    static const uint8_t pad[PP_SHA256_BLOCK] = {0x80};
    uint64_t bits = hash->size * 8;
    size_t held = hash->size % PP_SHA256_BLOCK;
    uint8_t tail[8];

    for (unsigned i = 0; i < 8; i++)
        tail[i] = (uint8_t)(bits >> (56 - 8 * i));
    pp_sha256_add(hash, pad, (held < 56 ? 56 : 120) - held);
    pp_sha256_add(hash, tail, sizeof tail);
    for (unsigned i = 0; i < PP_SHA256_SIZE; i++)
        digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
    explicit_bzero(hash, sizeof *hash);
}

void pp_hmac_init(struct pp_hmac *hmac, const void *key, size_t n)
{
    uint8_t block[PP_SHA256_BLOCK] = {0};

    if (n > sizeof block) {
        struct pp_sha256 hash;

        pp_sha256_init(&hash);
        pp_sha256_add(&hash, key, n);
        pp_sha256_end(&hash, block);
    } else if (n > 0) {
        memcpy(block, key, n);
    }
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    pp_sha256_init(&hmac->inner);
    pp_sha256_add(&hmac->inner, block, sizeof block);
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    pp_sha256_init(&hmac->outer);
    pp_sha256_add(&hmac->outer, block, sizeof block);
    explicit_bzero(block, sizeof block);
}

void pp_hmac_add(struct pp_hmac *hmac, const void *bytes, size_t n)
{
    pp_sha256_add(&hmac->inner, bytes, n);
}

void pp_hmac_end(struct pp_hmac *hmac, uint8_t code[PP_SHA256_SIZE])
{
    uint8_t digest[PP_SHA256_SIZE];

    pp_sha256_end(&hmac->inner, digest);
    pp_sha256_add(&hmac->outer, digest, sizeof digest);
    pp_sha256_end(&hmac->outer, code);
    explicit_bzero(digest, sizeof digest);
}
