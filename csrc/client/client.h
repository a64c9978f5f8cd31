/* client.h - the client's own room: one connection that many threads share. Private to csrc/client.
 *
 *   call   -> asked -> line -> frame ==socket==> server
 *   answer <- whoever reads: the thread whose own call waits, else the reader thread
 *
 * One thread at a time leads: it reads what comes, for everybody. A thread that waits for its own
 * answer leads when nobody does, so that a lone call wakes up no other thread; submitted calls have
 * the client's reader thread. The server says how many calls may be under way; the rest waits in
 * line here. The lock is held for moments and never across a system call that can wait.
 */
#ifndef PP_CLIENT_CLIENT_H
#define PP_CLIENT_CLIENT_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/fork.h"
#include "base/list.h"
#include "base/peer.h"
#include "include/pyproc_named.h"
#include "security/auth.h"
#include "wire/message.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct pp_frame_reader;

enum { PP_ASKED_BUCKETS = 64 };
/* Payload bytes that may wait in line. */
enum { PP_LINE_MOST = 256 << 20 };
/* What an answer may be late before the server is taken for hung. */
#define PP_ANSWER_GRACE (2 * PP_SECOND)

/* A call that has no end yet. */
struct pp_asked {
    struct pp_list link; /* in its bucket; lock */
    struct pp_list line; /* in client->line, until it is sent; lock */
    uint64_t id;
    bool is_sent;                /* lock */
    _Atomic uint32_t turn;       /* futex: changes when there is something to do for its thread */
    bool is_over;                /* lock: `reply` is filled */
    bool sleeps;                 /* lock: its thread waits for `turn` */
    struct pyproc_reply *reply;  /* of a thread that waits; on its stack */
    struct pyproc_item *item;    /* or of a submitted call: owned */
    struct pyproc_queue *queue;  /* a reference; NULL: a thread waits */
    int64_t deadline;            /* PP_NEVER: none */
    bool has_run_limit;          /* the server may end it later than the deadline says */
    struct pp_message_call call; /* points into `bytes`, or to the caller's own while it waits */
    struct pp_message_call_options options; /* id 0: none */
    uint64_t came_items, came_bytes;        /* of a stream; lock */
    size_t size;
    max_align_t bytes[];
};

struct pyproc_client {
    struct pp_fork_mark mark;
    char path[108];
    char key_id[PP_KEY_ID_MAX + 1];
    uint8_t *secret; /* owned */
    size_t secret_size;
    uint32_t server_uid;
    int64_t timeout;
    size_t max_frame;

    pthread_mutex_t connecting; /* held while a connection is made */
    pthread_mutex_t lock;       /* of all below */
    int fd;                     /* owned; -1: none. Closed only while nobody uses it */
    unsigned users;             /* threads that use `fd` without the lock */
    bool is_connected, is_closed;
    bool leads;      /* somebody reads */
    unsigned idlers; /* threads that wait for `idle` */
    struct pp_list buckets[PP_ASKED_BUCKETS];
    unsigned n_asked, n_sent, n_submitted;
    struct pp_list line; /* not sent yet, oldest first */
    size_t line_bytes;
    struct pp_buffer out; /* not taken by the socket yet */
    uint64_t next_id;
    uint64_t pings, pongs; /* nonce of the last sent, and of the last that came back */
    pthread_t thread;
    bool has_thread, ends_thread;
    struct pyproc_client_info info;
    struct pp_message_welcome welcome; /* its bytes are owned, in `words` */
    struct pp_arena words;

    _Atomic uint32_t work; /* futex of the reader thread */
    _Atomic uint32_t idle; /* futex: changes when the last call ends */

    /* The leader's. */
    struct pp_frame_reader *reader; /* owned */
    struct pp_arena arena;
    struct pp_arena packing; /* lock */
};

/* connect.c: makes a connection, with client->connecting held: 0 and `reply` says how it went, or a
 * negative errno. */
int pp_client_connect(struct pyproc_client *client, const struct pyproc_wait *wait,
                      struct pyproc_reply *reply);

/* read.c */
/* Lock held, and given up meanwhile; nobody leads: reads once, for everybody. `waits`: until
 * something comes, or a second has passed. */
void pp_client_lead(struct pyproc_client *client, bool waits);
/* Lock held: somebody else leads, if anybody needs it. */
void pp_client_pass_on(struct pyproc_client *client);
/* Lock held: the connection is no more: everything that was sent ends. */
void pp_client_lost(struct pyproc_client *client, const char *why);
/* Lock held: fills the end of a call and gives it to whoever waits. */
void pp_client_end(struct pyproc_client *client, struct pp_asked *asked, enum pyproc_end end,
                   const char *text);
/* Lock held: what is past its time. */
void pp_client_expire(struct pyproc_client *client);
int pp_client_start_thread(struct pyproc_client *client);

/* send.c; lock held. */
/* Sends from the line what may go. */
void pp_client_send_line(struct pyproc_client *client);
/* Appends a message: 0 or a negative errno. */
int pp_client_put(struct pyproc_client *client, const struct pp_message *message);
/* Sends what the socket takes. False: the connection is no more. */
bool pp_client_flush(struct pyproc_client *client);
struct pp_asked *pp_client_find(struct pyproc_client *client, uint64_t id);

#endif
