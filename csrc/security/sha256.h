/* sha256.h - SHA-256 and HMAC-SHA256 (RFC 6234, RFC 2104), for the proofs of named sockets.
 *
 * Our own, so that the core needs no cryptographic library for 32 bytes a connection. Nothing
 * here branches or indexes by secret bytes. The owner is whoever embeds it; any thread.
 */
#ifndef PP_SECURITY_SHA256_H
#define PP_SECURITY_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { PP_SHA256_SIZE = 32, PP_SHA256_BLOCK = 64 };

struct pp_sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes taken so far */
    uint8_t block[PP_SHA256_BLOCK];
};

void pp_sha256_init(struct pp_sha256 *hash);
void pp_sha256_add(struct pp_sha256 *hash, const void *bytes, size_t n);
/* The digest; the state is wiped. */
void pp_sha256_end(struct pp_sha256 *hash, uint8_t digest[PP_SHA256_SIZE]);

struct pp_hmac {
    struct pp_sha256 inner, outer;
};

void pp_hmac_init(struct pp_hmac *hmac, const void *key, size_t n);
void pp_hmac_add(struct pp_hmac *hmac, const void *bytes, size_t n);
/* The code; the state is wiped. */
void pp_hmac_end(struct pp_hmac *hmac, uint8_t code[PP_SHA256_SIZE]);

#endif
