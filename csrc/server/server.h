/* server.h - the server's own room: connections, lanes, tasks. Private to csrc/server.
 *
 *   listener -> accept -> hello (who is it, is it allowed) -> messages -> task -> lane -> pool
 *   pool's answers -> one completion queue -> task -> connection's buffer -> client
 *
 * All of it is the loop thread's of the first pool, but what is marked otherwise. Nothing here
 * waits: a client that sends slowly, reads slowly or asks for too much is not read from until
 * there is room, and dropped when it makes no progress.
 */
#ifndef PP_SERVER_SERVER_H
#define PP_SERVER_SERVER_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/list.h"
#include "include/pyproc_named.h"
#include "ipc/listener.h"
#include "pool/guest.h"
#include "security/access.h"
#include "security/auth.h"
#include "wire/message.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct pp_frame_reader;
struct pp_watch;

/* Bytes of a frame that a client may begin without asking for room. */
enum { PP_FRAME_FREE = 16 * 1024 };
/* Bytes taken from one client before others have their turn. */
enum { PP_READ_AT_ONCE = 64 * 1024 };
/* Bytes that a client may ask a stream to be ahead of what it was sent. */
enum { PP_STREAM_AHEAD = 4 << 20 };
/* Answers that wait for a client which gets no new calls until it has read them. */
enum { PP_OUT_PAUSE = 1 << 20 };

/* One pool, and who waits for it. */
struct pp_lane {
    struct pyproc_pool *pool; /* lent */
    unsigned window, running; /* calls given to the pool, at most and now */
    struct pp_list ring;      /* turns of connections, next first */
};

enum pp_conn_state {
    PP_CONN_HELLO, /* nothing was said yet */
    PP_CONN_PROOF, /* its proof is awaited */
    PP_CONN_READY,
    PP_CONN_LEAVING, /* what was written to it is sent, then it is closed */
    PP_CONN_DEAD,    /* to be freed */
};

/* What a client has waiting for one lane. */
struct pp_turn {
    struct pp_list ring;    /* in the lane's, while something waits */
    struct pp_list waiting; /* tasks, oldest first */
};

/* A client. */
struct pp_conn {
    struct pp_list link;  /* in server->conns, or dead */
    struct pp_list again; /* in server->again, when it may read on */
    struct pyproc_server *server;
    enum pp_conn_state state;
    int fd;                 /* owned */
    struct pp_watch *watch; /* owned */
    uint64_t number;
    struct pp_peer peer;
    char key[PP_KEY_ID_MAX + 1]; /* named, and from PROOF to READY proved; "" */
    bool is_proved;
    struct pp_access_profile *profile; /* of server->rules; NULL: none yet */
    uint8_t nonces[2][PP_AUTH_NONCE];  /* its and ours, until READY */
    size_t max_frame;                  /* that both ends take */

    struct pp_frame_reader *reader; /* owned; NULL: nothing unfinished */
    size_t granted;                 /* of server->granted, for an unfinished large frame */
    struct pp_buffer out;
    struct pp_turn *turns;  /* one for each lane; owned; NULL until the first wait */
    struct pp_list running; /* tasks, oldest first */
    unsigned n_waiting, n_running;
    size_t waiting_bytes;
    struct pp_message_call_options options; /* of the call that comes next; id 0: none */

    int64_t born;       /* or when it became ready */
    int64_t active;     /* when the last message came or went; coarse */
    int64_t begun;      /* of an unfinished frame; 0: there is none */
    size_t begun_bytes; /* that came since then */
    int64_t stalled;    /* since when nothing of `out` was taken; 0: nothing waits */
};

/* A call of a client. Owned by its connection's lists, or by itself while the pool has it and the
 * client has gone. */
struct pp_task {
    struct pp_list link;
    struct pyproc_server *server;
    struct pp_conn *conn; /* NULL: nobody wants the answer */
    struct pp_lane *lane;
    uint64_t id, call_id; /* the client's and the pool's number; 0: not given to it yet */
    uint32_t role;
    unsigned rules; /* server->rules_number when it was allowed */
    struct pp_message_call_options options;
    int64_t deadline;
    int codec;
    uint32_t items;
    uint64_t stream_items, stream_bytes;   /* the client's credit of a stream; 0: it is none */
    uint64_t sent_items, sent_bytes;       /* of it, to the client */
    struct pyproc_bytes function, payload; /* into `bytes`; none once the pool has it */
    struct pyproc_bytes *keywords;         /* likewise */
    size_t n_keywords, size;
    max_align_t bytes[];
};

/* What decides about clients; replaced as a whole. */
struct pp_rules {
    struct pp_access *access; /* owned, as all below */
    struct pp_rules_key {
        char id[PP_KEY_ID_MAX + 1];
        uint8_t *secret;
        size_t size;
    } * keys;
    size_t n_keys;
    uint32_t *uids, *gids;
    size_t n_uids, n_gids;
    struct pp_rules_process {
        int32_t pid;
        int pidfd;
    } * processes;
    size_t n_processes;
    bool needs_key;
};

struct pyproc_server {
    struct pp_guest guest;
    pthread_mutex_t lock; /* of what the callers' threads and the loop share */
    struct pp_listener listener;
    struct pp_watch *accepts, *ends, *bell, *timer; /* owned */
    int bell_fd, timer_fd;                          /* owned */
    struct pyproc_queue *answers, *events;          /* references */
    struct pp_lane *lanes;
    size_t n_lanes;
    struct pp_rules *rules; /* owned */
    unsigned rules_number;
    struct pp_access_name *names; /* of the functions; owned, with their bytes */
    size_t n_names;

    /* Never change. */
    unsigned max_clients, max_in_flight;
    size_t max_frame, max_client_bytes, max_bytes;
    int64_t handshake_timeout, idle_timeout;
    bool tells_allowed, sees_all;
    int max_priority;
    uint32_t run;                 /* of correlation ids */
    uint8_t nobody[PP_KEY_LEAST]; /* stands for keys that are not there */

    struct pp_list conns, again, dead;
    unsigned n_conns;
    size_t granted;       /* bytes of unfinished large frames */
    size_t waiting_bytes; /* of all waiting tasks */
    bool starved;         /* somebody is not read from until there is room */
    bool is_timing;       /* the timer is armed */
    bool drains;          /* takes no calls any more */
    bool has_submitted;   /* to the pool of this loop, which has not looked yet */
    bool stops;           /* and no clients: gone when the pools have no call of ours */
    int64_t accept_again; /* descriptors ran out: not before; 0: accepts */
    uint64_t next_conn, next_correlation;
    struct pp_throttle throttle;
    struct pp_frame_reader *spare; /* whoever has nothing unfinished reads with it */
    struct pp_arena arena;         /* parts of the message read last */

    /* Lock. */
    struct pp_rules *next_rules; /* owned; to be put in force */
    bool wants_drain, wants_stop, wants_usage;
    struct pp_usage *usage; /* owned: what was asked for */
    int arrived_error;

    _Atomic uint32_t arrived, updated, drained, shown_usage, gone; /* futexes */
    struct pyproc_server_stats stats;                              /* loop; copied under the lock */
    struct pyproc_server_stats shown;                              /* lock */
};

/* server.c: after everything that may have changed it. */
void pp_server_settle(struct pyproc_server *server);
/* Time passes only while somebody is being waited for. */
void pp_server_time(struct pyproc_server *server);

/* Any thread: the loop looks at what is wanted. */
void pp_server_ring(struct pyproc_server *server);

/* usage.c: on the loop, what pyproc_server_usage waits for. */
void pp_usage_show(struct pyproc_server *server);

/* rules.c */
int pp_rules_new(const struct pyproc_policy *plan, size_t n_tenants, struct pp_rules **rulesp);
struct pp_rules *pp_rules_free(struct pp_rules *rules);
/* NULL: there is no such key. */
const struct pp_rules_key *pp_rules_key(const struct pp_rules *rules, const char *id);
/* Whether the peer may connect at all: a fixed word that says why not, or NULL. */
const char *pp_rules_refuses(const struct pp_rules *rules, const struct pp_peer *peer,
                             const uint32_t *groups, size_t n_groups);
/* Finds its binding; false: it has none. */
bool pp_rules_bind(struct pyproc_server *server, struct pp_conn *conn);
/* Puts a policy in force, and whoever it does not allow out. Takes it. */
void pp_rules_install(struct pyproc_server *server, struct pp_rules *rules);
/* Learns the functions of all pools: those that any of them has. */
int pp_rules_learn(struct pyproc_server *server);

/* accept.c */
void pp_accept_ready(void *token, int events);
void pp_accept_stop(struct pyproc_server *server);

/* hello.c */
void pp_hello_message(struct pp_conn *conn, const struct pp_message *message);

/* conn.c */
void pp_conn_ready(void *token, int events);
/* Appends a message and sends what goes. */
void pp_conn_send(struct pp_conn *conn, const struct pp_message *message);
/* Says why, and closes when that is sent. `text` is a safe sentence; `why` goes to the events. */
void pp_conn_deny(struct pp_conn *conn, enum pyproc_end end, const char *text, const char *kind,
                  const char *why);
void pp_conn_drop(struct pp_conn *conn, const char *why);
/* Reads on, if it may. */
void pp_conn_resume(struct pp_conn *conn);
void pp_conn_watch(struct pp_conn *conn);
void pp_conn_free(struct pp_conn *conn);
/* A time has passed: true when somebody has to look again. */
bool pp_conn_due(struct pp_conn *conn, int64_t now);
/* Whether it waits for its client. */
bool pp_conn_waits(const struct pp_conn *conn);

/* task.c */
void pp_task_call(struct pp_conn *conn, const struct pp_message_call *call);
void pp_task_revoke(struct pp_conn *conn, const struct pp_message_revoke *revoke);
/* The client has gone: its waiting tasks are dropped, its running ones stopped. */
void pp_task_forget(struct pp_conn *conn);
void pp_task_pump(struct pp_lane *lane);
bool pp_task_is_full(const struct pp_conn *conn);
void pp_task_end(struct pp_task *task);
/* Running or waiting; NULL: neither. */
struct pp_task *pp_task_find(const struct pp_conn *conn, uint64_t id);
/* Out of the line, and ended with that sentence. */
void pp_task_take_back(struct pp_task *task, const char *text);

/* stream.c */
/* NULL, or why the call is no stream that the server takes: a fixed sentence. */
const char *pp_stream_wrong(const struct pp_conn *conn, const struct pp_message_call *call);
void pp_stream_credit(struct pp_conn *conn, const struct pp_message_stream_credit *credit);
/* The client reads no more. */
void pp_stream_end(struct pp_conn *conn, uint64_t id);
/* Items of the pool's, to the client. */
void pp_stream_forward(struct pp_task *task, const struct pyproc_item *item);
/* The generator has ended. */
void pp_stream_over(const struct pp_task *task);

/* answer.c */
void pp_answers_ready(void *server, int events);
/* Answers what has ended by now. */
void pp_answers_take(struct pyproc_server *server);
/* A call that ends without the pool. `kind` is what the event is called. */
void pp_answer_refuse(struct pp_conn *conn, uint64_t id, const struct pyproc_bytes *function,
                      enum pyproc_end end, const char *text, int64_t retry, const char *kind,
                      const char *why);

/* payload.c: MessagePack as arguments are: NULL, or what is wrong: a fixed sentence. `items` and
 * `keywords` are what the call says about them. */
const char *pp_payload_check(const uint8_t *bytes, size_t n, bool is_rich, uint32_t items,
                             size_t keywords);

/* note.c: one event as a JSON object. */
enum { PP_NOTE_MAX = 6144, PP_CORRELATION = 32 };
struct pp_note {
    size_t n;
    bool cut;
    char text[PP_NOTE_MAX];
};
void pp_note_begin(struct pp_note *note);
void pp_note_text(struct pp_note *note, const char *name, const void *text, size_t n, size_t most);
void pp_note_word(struct pp_note *note, const char *name, const char *word);
void pp_note_number(struct pp_note *note, const char *name, int64_t number);
/* Adds who the client is. */
void pp_note_conn(struct pp_note *note, const struct pp_conn *conn);
/* Puts it on the events queue; a full one drops it and counts. */
void pp_note_send(struct pyproc_server *server, const char *kind, struct pp_note *note);
void pp_correlation(struct pyproc_server *server, char id[PP_CORRELATION]);

#endif
