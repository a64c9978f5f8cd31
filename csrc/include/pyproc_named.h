/* pyproc_named.h - a pool for other processes: both ends of a named Unix socket.
 *
 *   client program -> pyproc_client_call ==named socket== pyproc_serve -> pool -> worker
 *
 * The server lives on its first pool's loop thread; a client has no thread until it submits.
 * Every function may be called from any thread unless it says otherwise. A copy in a forked
 * child is dead (PYPROC_END_CLOSED).
 */
#ifndef PP_INCLUDE_PYPROC_NAMED_H
#define PP_INCLUDE_PYPROC_NAMED_H

#include "pyproc.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pyproc_server;
struct pyproc_client;

/* A secret by its id. Both are copied. */
struct pyproc_key {
    const char *id;             /* 1 to 64 bytes */
    struct pyproc_bytes secret; /* 32 to 4096 bytes, or size 0: read from `file` */
    const char *file;           /* ours, mode 0600 at most, no link */
};

struct pyproc_role {
    const char *name;
    const char *const *allow; /* globs of functions: * is any text, ? one byte */
    size_t n_allow;
    const char *const *deny; /* wins over what any role of the caller allows */
    size_t n_deny;
    double rate, burst;     /* calls a second, and at once; rate 0: no limit */
    uint32_t max_in_flight; /* calls of all who have the role; 0: no limit */
    uint64_t max_payload;   /* bytes of one call's arguments; 0: no limit */
    uint32_t tenant;        /* whose workers run its calls: an index into `pools` */
};

/* Who has a role: all conditions must hold. */
struct pyproc_binding {
    const char *name; /* for the events */
    uint32_t role;
    int64_t uid, gid; /* -1: any */
    const char *key;  /* id of a key that is proved; NULL or "": none is needed */
};

/* A peer has the roles of all bindings that fit it; the first one that allows a function decides. A
 * peer that none fits is turned away. */
struct pyproc_policy {
    const struct pyproc_role *roles;
    size_t n_roles;
    const struct pyproc_binding *bindings;
    size_t n_bindings;
    const struct pyproc_key *keys;
    size_t n_keys;
    /* Who may connect at all, besides; n 0: whoever a binding fits. */
    const uint32_t *uids, *gids;
    size_t n_uids, n_gids;
    const int32_t *pids; /* processes that live now, held by pidfd */
    size_t n_pids;
    int needs_key; /* 1: a peer without a proof is turned away */
};

struct pyproc_server_config {
    const char *path;        /* of the socket; its directory is made when it is not there */
    int listening;           /* or a listening socket (systemd's), taken on success; -1: none */
    unsigned mode;           /* of the socket: 0600 */
    unsigned directory_mode; /* at most: 0700 */
    uint32_t owner, group;   /* of the socket; UINT32_MAX: as they come */
    struct pyproc_pool *const *pools; /* lent until the server is freed; the first one's loop */
    size_t n_pools;                   /* thread serves. A tenant is an index */
    const struct pyproc_policy *policy;
    unsigned max_clients, max_in_flight; /* in all; calls of one client */
    size_t max_frame;                    /* bytes of one message; the pools' at most */
    size_t max_client_bytes; /* answers that a client has not read; more, and it is dropped */
    size_t max_bytes;        /* of all clients' unfinished messages and waiting requests */
    int64_t handshake_timeout, idle_timeout; /* ns; PYPROC_FOREVER: none */
    struct pyproc_queue *events; /* EVENT items whose `extra` is a JSON object; NULL: none */
    int tells_allowed;           /* 1: also of each call that the policy allows */
    int sees_all;                /* 1: failures reach clients with message, traceback and values */
    int max_priority;            /* requests of a higher one get this one */
};

PYPROC_API void pyproc_server_config_init(struct pyproc_server_config *config);
/* Serves the pools at the socket. 0 or a negative errno; -EADDRINUSE: another one does. */
PYPROC_API int pyproc_serve(const struct pyproc_server_config *config,
                            struct pyproc_server **serverp);
/* Puts another policy in force, all of it at once; clients that it does not allow are dropped.
 * Looks at the application's functions again too: after a reload, call it. 0 or a negative errno,
 * and the old one stays. */
PYPROC_API int pyproc_server_update(struct pyproc_server *server,
                                    const struct pyproc_policy *policy);
/* Takes no new clients and no new calls; waits for those under way for at most `timeout` ns. 0,
 * PYPROC_DRAIN_LEFT, PYPROC_END_INTERRUPTED. */
PYPROC_API int pyproc_server_drain(struct pyproc_server *server, int64_t timeout,
                                   const struct pyproc_wait *wait);
/* Drops whoever is connected and frees. Before the pools are freed. NULL is fine. */
PYPROC_API void pyproc_server_free(struct pyproc_server *server);
/* In a forked child, once: closes the copies of the server's descriptors. */
PYPROC_API void pyproc_server_after_fork(struct pyproc_server *server);

#define PYPROC_SERVER_FIELDS(X) \
    X(clients)                  \
    X(clients_ever)             \
    X(clients_refused)          \
    X(clients_dropped)          \
    X(clients_lost)             \
    X(authenticated)            \
    X(authentication_failed)    \
    X(calls)                    \
    X(calls_running)            \
    X(calls_waiting)            \
    X(denied)                   \
    X(rate_limited)             \
    X(invalid)                  \
    X(held_bytes)               \
    X(accept_errors)            \
    X(events_dropped)

struct pyproc_server_stats {
#define PYPROC_SERVER_MEMBER(name) uint64_t name;
    PYPROC_SERVER_FIELDS(PYPROC_SERVER_MEMBER)
#undef PYPROC_SERVER_MEMBER
};

PYPROC_API void pyproc_server_stats(struct pyproc_server *server,
                                    struct pyproc_server_stats *stats);
/* What each role has called since the policy came into force: calls `each` on this thread; `last`
 * is seconds since the epoch. */
PYPROC_API void pyproc_server_usage(struct pyproc_server *server,
                                    void (*each)(void *token, const char *role,
                                                 const char *function, uint64_t calls,
                                                 int64_t last),
                                    void *token);

struct pyproc_client_config {
    const char *path;
    struct pyproc_key key; /* id NULL: none */
    uint32_t server_uid;   /* whose server it must be; UINT32_MAX: anybody's */
    int64_t timeout;       /* ns, of connecting */
    size_t max_frame;
};

PYPROC_API void pyproc_client_config_init(struct pyproc_client_config *config);
/* Connects. 0, and `reply` says VALUE or why not (UNPROVEN, DENIED, CLOSED, ...); or a negative
 * errno with words when there is no server. */
PYPROC_API int pyproc_connect(const struct pyproc_client_config *config,
                              const struct pyproc_wait *wait, struct pyproc_reply *reply,
                              struct pyproc_client **clientp);
/* As pyproc_call, pyproc_submit and pyproc_cancel. A client whose connection was lost connects
 * again with the next call. Attachments and baggage do not go to a server: INVALID. */
PYPROC_API int pyproc_client_call(struct pyproc_client *client,
                                  const struct pyproc_request *request,
                                  const struct pyproc_wait *wait, struct pyproc_reply *reply);
PYPROC_API int pyproc_client_submit(struct pyproc_client *client,
                                    const struct pyproc_request *request,
                                    const struct pyproc_wait *wait, struct pyproc_queue *queue,
                                    void *token, uint64_t *idp, struct pyproc_reply *reply);
PYPROC_API int pyproc_client_cancel(struct pyproc_client *client, uint64_t id, int kill);
/* As pyproc_stream_more and pyproc_stream_close, for a submitted request with stream_items. Its
 * credit may be at most 4 MiB of bytes ahead of what has come. */
PYPROC_API int pyproc_client_stream_more(struct pyproc_client *client, uint64_t id, uint64_t items,
                                         uint64_t bytes, int waits);
PYPROC_API int pyproc_client_stream_close(struct pyproc_client *client, uint64_t id);
/* What the server said: the role, the calls that may be under way, and the functions. */
PYPROC_API void pyproc_client_functions(struct pyproc_client *client,
                                        void (*each)(void *token, struct pyproc_bytes name,
                                                     struct pyproc_bytes signature),
                                        void *token);
struct pyproc_client_info {
    char role[64];
    uint32_t max_in_flight;
    uint64_t max_payload;
    int sees_all, connected;
    int32_t server_pid;
    uint32_t server_uid;
};
PYPROC_API void pyproc_client_about(struct pyproc_client *client, struct pyproc_client_info *info);
/* Waits for the calls under way for at most `timeout` ns, ends the rest (CLOSED), disconnects. */
PYPROC_API void pyproc_client_close(struct pyproc_client *client, int64_t timeout,
                                    const struct pyproc_wait *wait);
/* Closes without waiting, and frees. In a forked child: closes the descriptor's copy. */
PYPROC_API void pyproc_client_free(struct pyproc_client *client);
PYPROC_API void pyproc_client_after_fork(struct pyproc_client *client);

#ifdef __cplusplus
}
#endif

#endif
