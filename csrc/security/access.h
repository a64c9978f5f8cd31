/* access.h - who may call what, how often and how much: a table that is made once and asked at
 * every call.
 *
 * A peer has the roles of every binding that fits it. Per function: a deny of any of these roles
 * wins; else the first binding whose role allows it decides, and its role is charged; nothing fits:
 * denied. All that is worked out once for each set of bindings (a profile) and function; a call
 * costs one look into a hash table and a few comparisons. A table is owned by whoever made it and
 * asked on one thread. pyproc/access.py decides the same, for those who review a policy.
 */
#ifndef PP_SECURITY_ACCESS_H
#define PP_SECURITY_ACCESS_H

#include "base/peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pp_access;
struct pp_access_profile; /* owned by its table */

struct pp_access_role {
    const char *name;
    const char *const *allow; /* globs: * is any text, ? one byte */
    const char *const *deny;
    size_t n_allow, n_deny;
    double rate, burst;     /* calls a second, and at once; rate 0: no limit */
    uint32_t max_in_flight; /* calls of all who have the role; 0: no limit */
    uint64_t max_payload;   /* bytes of one call's arguments; 0: no limit */
    uint32_t tenant;
};

/* All of its conditions must hold. */
struct pp_access_binding {
    const char *name; /* for the audit log */
    uint32_t role;
    int64_t uid, gid; /* -1: any */
    const char *key;  /* the id of a key that the peer has proved to hold; "": none is needed */
};

/* Copies both. -EINVAL for a binding of a role that is not there, -ENOMEM. */
int pp_access_new(const struct pp_access_role *roles, size_t n_roles,
                  const struct pp_access_binding *bindings, size_t n_bindings,
                  struct pp_access **accessp);
struct pp_access *pp_access_free(struct pp_access *access);

/* The application's functions are these: decides again about every profile. */
struct pp_access_name {
    const void *data;
    size_t size;
};
int pp_access_know(struct pp_access *access, const struct pp_access_name *names, size_t n);

/* What holds for a peer; NULL: no binding fits it (or memory is out). `key` is "" for no key. */
struct pp_access_profile *pp_access_profile(struct pp_access *access, const struct pp_peer *peer,
                                            const uint32_t *groups, size_t n_groups,
                                            const char *key);
const struct pp_access_role *pp_access_role(const struct pp_access *access, uint32_t role);
/* The role of the profile's first binding. */
const char *pp_access_profile_name(const struct pp_access *access,
                                   const struct pp_access_profile *profile);

enum pp_access_answer {
    PP_ACCESS_ALLOWED,
    PP_ACCESS_UNKNOWN,   /* there is no such function */
    PP_ACCESS_FORBIDDEN, /* no role gives it, or one denies it */
    PP_ACCESS_RATE,
    PP_ACCESS_BUSY, /* max_in_flight */
    PP_ACCESS_PAYLOAD,
};

struct pp_access_call {
    const void *function;
    size_t function_size, payload;
    uint32_t calls; /* that it counts for: the items of a chunk, else 1 */
    int64_t now;
};

struct pp_access_decision {
    uint32_t role;    /* that is charged, unless UNKNOWN or FORBIDDEN */
    const char *rule; /* the binding's name, or why not: for the audit log. Lent */
    int64_t retry;    /* RATE: ns until there is room again */
};

/* Decides, and counts a call that is allowed as under way. */
enum pp_access_answer pp_access_begin(struct pp_access *access,
                                      const struct pp_access_profile *profile,
                                      const struct pp_access_call *call,
                                      struct pp_access_decision *decision);
void pp_access_ended(struct pp_access *access, uint32_t role);
/* Whether the profile may call the function; nothing is counted. */
bool pp_access_may(const struct pp_access *access, const struct pp_access_profile *profile,
                   const void *function, size_t size);

/* How often each role called what, and when last (seconds since the epoch). */
typedef void pp_access_each(void *token, const char *role, const char *function, uint64_t calls,
                            int64_t last);
void pp_access_usage(const struct pp_access *access, pp_access_each *each, void *token);

/* Whether a glob fits a whole name. Never slower than glob times name. */
bool pp_access_fits(const char *glob, const char *name);

#endif
