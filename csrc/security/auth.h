/* auth.h - mutual proof that both ends of a named socket hold the same key.
 *
 * Each end proves it with HMAC-SHA256 over a transcript: a label, the prover's role, both nonces,
 * both ends' credentials as the kernel tells them, the protocol's version and the key's id. The
 * role keeps a proof from being sent back, the nonces from being used again, the credentials from
 * being carried to another process. Also here: key files, and the brake for those who guess.
 * Values; one thread at a time each.
 */
#ifndef PP_SECURITY_AUTH_H
#define PP_SECURITY_AUTH_H

#include "base/peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PP_AUTH_NONCE = 32,
    PP_AUTH_PROOF = 32,
    PP_KEY_ID_MAX = 64,
    PP_KEY_LEAST = 32, /* bytes of a secret */
    PP_KEY_MOST = 4096,
    PP_THROTTLE_PEERS = 256,
};

struct pp_transcript {
    uint32_t version;
    const uint8_t *client_nonce, *server_nonce; /* PP_AUTH_NONCE bytes each; lent */
    struct pp_peer client, server;
    const void *key_id; /* lent */
    size_t key_id_size;
};

enum pp_auth_role { PP_AUTH_CLIENT, PP_AUTH_SERVER };

/* The proof of the end that has this role. */
void pp_auth_proof(const void *secret, size_t n, enum pp_auth_role role,
                   const struct pp_transcript *transcript, uint8_t proof[PP_AUTH_PROOF]);
/* Whether two blocks are equal; takes as long whether they are or not. */
bool pp_auth_same(const void *a, const void *b, size_t n);
/* Random bytes of the kernel. 0 or a negative errno. */
int pp_auth_random(void *bytes, size_t n);

/* Reads a key file: a regular file, no link, owned by us or root, of mode 0600 at most, holding
 * PP_KEY_LEAST to PP_KEY_MOST bytes; one newline at its end does not count. -EPERM when somebody
 * else could read or change it, with words that say what to do. */
int pp_key_file_read(const char *path, uint8_t secret[PP_KEY_MOST], size_t *np);

/* Failed proofs of each user: after the fifth, attempts are refused for 1 s, then 2, up to 60. */
struct pp_throttle {
    struct pp_throttle_peer {
        uint32_t uid;
        uint32_t failures; /* 0: the place is free */
        int64_t until;     /* refused before that time */
    } peers[PP_THROTTLE_PEERS];
};

/* Nanoseconds that this user has to wait; 0: it may try. */
int64_t pp_throttle_left(const struct pp_throttle *throttle, uint32_t uid, int64_t now);
void pp_throttle_failed(struct pp_throttle *throttle, uint32_t uid, int64_t now);
void pp_throttle_passed(struct pp_throttle *throttle, uint32_t uid);

#endif
