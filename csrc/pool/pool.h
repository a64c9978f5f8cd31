/* pool.h - the pool's own room: slots, wants, calls. Private to csrc/pool.
 *
 *   pyproc_call   -> acquire -> lease -> exchange ------------> give back   (lease.c)
 *   pyproc_submit -> waiting -> loop: dispatch -> offered -> answer -> queue (submit.c, dispatch.c)
 *
 * One lock guards everything marked so; it is held for moments and never across a
 * syscall that can wait. Who waits for a worker - a thread or a queued call - stands in
 * one line: by priority, then first come, first served.
 */
#ifndef PP_POOL_POOL_H
#define PP_POOL_POOL_H

#include "base/clock.h"
#include "base/fork.h"
#include "base/list.h"
#include "include/pyproc.h"
#include "ipc/memory.h"
#include "metrics/metrics.h"
#include "pool/health.h"
#include "pool/life.h"
#include "pool/sticky.h"
#include "pool/violation.h"
#include "supervisor/cpus.h"
#include "supervisor/template.h"
#include "supervisor/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { PP_WORKERS_MAX = 4096 };
/* Calls written ahead to one worker, and their bytes. */
enum { PP_AHEAD_MAX = 64, PP_AHEAD_BYTES = 256 * 1024 };
/* A call that its worker died before starting goes to another worker this often. */
enum { PP_REQUEUE_MAX = 3 };

/* How calls share a worker. */
enum pp_share {
    PP_SHARE_NONE,  /* not at all */
    PP_SHARE_ASYNC, /* they run side by side on its event loop */
    PP_SHARE_BATCH, /* a function takes some of them at once */
};

enum pp_owner {
    PP_OWNER_NONE,   /* starting, idle, or dead */
    PP_OWNER_LEASED, /* a thread speaks with it */
    PP_OWNER_LOOP,   /* the loop speaks with it */
};

/* Memory that a worker was given for results of calls that it runs. */
enum { PP_GRANTS_MAX = 64 };
struct pp_grants {
    struct {
        uint64_t id; /* wire id of the call */
        struct pyproc_memory *memory;
    } given[PP_GRANTS_MAX];
    unsigned n;
    unsigned asked; /* since no call ran, refused ones included */
};

/* A place in the pool, and the worker in it. */
struct pp_slot {
    struct pp_worker worker;
    struct pp_list link;   /* in pool->slots; lock */
    struct pp_list idle;   /* in pool->idle; lock */
    enum pp_owner owner;   /* lock */
    pthread_t lessee;      /* lock; while leased */
    int64_t deadline;      /* of the running call; lock */
    uint64_t memory_limit; /* of the leased call, 0: the pool's; lock */
    int64_t cpu_limit;     /* likewise */
    uint64_t output_limit; /* of the running call, 0: none; lock, or owner */
    uint64_t output_base;  /* bytes printed before it; likewise */
    uint64_t cpu_call;     /* the call that cpu_base is of; loop */
    int64_t cpu_base;      /* ns that its worker had spent before it; loop */
    unsigned cpu_group;    /* of pool->cpus, when it is divided; loop */
    uint32_t base_threads; /* that it had when it became ready; loop */
    enum pp_soft soft;     /* the running call was asked to stop; lock */
    struct pp_health health;
    bool was_ready;    /* loop */
    bool seen_stopped; /* loop: at the last look, while busy */
    bool retired;      /* loop: told to leave */
    bool buried;       /* loop: the dead callback has run */
    bool ending;       /* loop: its channel is at the end; the report is awaited */
    bool unsent_words; /* loop: frames for its stream are made and not sent */

    struct pp_grants grants;   /* of the calls that it runs; owner */
    struct pp_running running; /* see there */
    struct pp_bucket events;   /* that its worker may send; loop */

    /* How long it lives, see life.c. */
    /* Calls with keys, see sticky.c. Lock. */
    struct pp_list own;         /* wants that only this worker may serve, oldest first */
    struct pp_list bonds;       /* keys that are tied to it */
    unsigned n_bonds, n_actors; /* how many; of them actors */

    bool spare;          /* lock: ready, in life.stock */
    bool leaving;        /* lock: gets no more calls */
    bool probe;          /* loop: whether it becomes ready decides on a reload */
    bool unweighed;      /* owner, or loop: its memory is to be looked at */
    _Atomic bool heavy;  /* it holds more than Recycle(max_memory=) */
    const char *due;     /* lock: why it is to be replaced; NULL: it is not */
    unsigned generation; /* never changes */
    uint64_t max_tasks;  /* never changes once ready */
    int64_t ready_at;    /* likewise */
    int64_t due_at;      /* likewise: by its age */
    int64_t weigh_at;    /* owner, or loop: not before */
    int64_t idle_since;  /* lock; coarse */

    /* Loop, while it owns the slot. */
    struct pp_list inflight; /* calls written to it, oldest first */
    size_t n_inflight;
    size_t n_unsent;      /* the newest of them, whose frames are not made yet */
    int64_t head_since;   /* when the oldest became the running one */
    uint64_t recall_last; /* newest id that may be answered with Returned; 0: none */

    /* Calls that run side by side, see share.c; loop, changed under the lock. */
    enum pp_share share;   /* how those in flight share the worker */
    size_t share_most;     /* so many at most */
    int64_t share_until;   /* BATCH: when no more are added to the first */
    size_t unsent_bytes;   /* of calls that are offered and not sent */
    uint64_t share_ends;   /* counts calls that have ended here */
    uint64_t culprit;      /* wire id of the call that the worker was killed for; 0: none */
    char culprit_name[64]; /* of its function */
};

enum pp_want_kind { PP_WANT_THREAD, PP_WANT_CALL };

/* One level for each priority, the highest first. */
enum { PP_LEVELS = PYPROC_PRIORITY_MAX - PYPROC_PRIORITY_MIN + 1, PP_LEVEL_WORDS = 4 };
_Static_assert(PP_LEVELS <= PP_LEVEL_WORDS * 64, "a bit for each level");

struct pp_want {
    struct pp_list link; /* in a level of the line; lock */
    enum pp_want_kind kind;
    uint8_t level;
    int64_t since;        /* when it came into the line; lock */
    struct pp_bond *bond; /* of its key, to the end; NULL: it has none; lock */
    struct pp_slot *own;  /* whose own line it stands in; NULL: none; lock */
};

/* Who waits for a worker, see line.c. Lock. */
struct pp_line {
    struct pp_list levels[PP_LEVELS]; /* each first come, first served */
    uint64_t used[PP_LEVEL_WORDS];    /* levels that are not empty; the others are not even rings */
    int64_t step;                     /* of waiting that outweighs one level; never changes */
    bool ranked;                      /* somebody had another priority than 0 */
};

/* A thread that waits for a lease; on its stack. */
struct pp_waiter {
    struct pp_want want;
    pthread_t thread;
    _Atomic uint32_t settled;   /* futex: 1 when one of the two below is set */
    struct pp_slot *slot;       /* granted */
    struct pyproc_reply *reply; /* or ended: filled */
};

/* What a call that is a stream has besides, see stream.c. */
struct pp_stream {
    uint64_t granted_items, granted_bytes; /* lock: by the reader, in all */
    bool wanted;                           /* lock: the reader waits */
    const char *closed;                    /* lock: why nobody reads on; NULL: somebody does */
    int64_t item_timeout;                  /* never changes; PP_NEVER: none */

    /* Loop. */
    uint64_t sent_items, sent_bytes; /* credit that the worker was told of */
    uint64_t items, bytes;           /* that came */
    uint64_t base;                   /* the first item of the next frame */
    uint32_t look_items, look_bytes; /* of that frame, taken from the area already */
    uint64_t seen;                   /* items made at the last look at the clock */
    int64_t item_due;                /* when the next item must be made; PP_NEVER: any time */
    bool started;                    /* its worker has it */
    bool end_sent;                   /* the worker knows that nobody reads on */
};

enum pp_call_state { PP_CALL_WAITING, PP_CALL_OFFERED, PP_CALL_ENDED };

/* A queued call: owned by the pool from admission to its end. */
struct pp_call {
    struct pp_want want;      /* lock, while WAITING */
    struct pp_list offered;   /* in slot->inflight; loop */
    struct pp_call *next;     /* in its hash bucket; lock */
    enum pp_call_state state; /* lock */
    uint64_t id;
    uint64_t wire_id;       /* of this dispatch; loop */
    struct pp_slot *slot;   /* lock, while OFFERED */
    int64_t queue_deadline; /* PP_NEVER: none */
    size_t heap_index;      /* in pool->expiry; lock; SIZE_MAX: not in it */
    int64_t run_timeout;    /* PP_NEVER: none */
    uint64_t memory_limit;  /* 0: the pool's */
    int64_t cpu_limit;      /* 0: the pool's */
    uint64_t output_limit;  /* 0: the pool's */
    uint64_t result_limit;  /* 0: the pool's */
    bool inline_only;       /* its result may not come in memory */
    int64_t deadline;       /* PP_NEVER: none; for waiting and running together */
    int64_t admitted;       /* never changes */
    unsigned requeued;
    bool cancelled;                       /* lock: end it, however */
    enum pp_share share;                  /* lock: what it may do, set when it is admitted */
    size_t share_most;                    /* likewise: beside how many, itself included */
    int64_t share_wait;                   /* likewise: BATCH: ns that it waits for others */
    enum pp_soft soft;                    /* loop: of a shared one: it was asked to stop */
    int64_t sent_at;                      /* loop: likewise: when it went to its worker */
    int64_t ends_at;                      /* loop: likewise: when it must have ended */
    struct pyproc_queue *queue;           /* a reference */
    struct pyproc_item *item;             /* owned; where its end is written */
    struct pp_message_call message;       /* points into `bytes` */
    int attached[PYPROC_ATTACHMENTS_MAX]; /* message.attachments descriptors; owned */
    bool wants_progress;                  /* never changes */
    struct pyproc_item *progress;         /* loop; owned: the newest that is not in the queue */
    int64_t progress_after;               /* loop: when the next may be put there */
    struct pp_stream *stream;             /* owned; NULL: it is none */
    uint32_t part_count;                  /* items of a chunk that came as parts */
    struct pp_buffer parts;               /* their bytes */
    size_t size;                          /* bytes charged to the queue */
    uint8_t bytes[];
};

enum pp_pool_state { PP_POOL_OPEN, PP_POOL_DRAINING, PP_POOL_CLOSING, PP_POOL_CLOSED };

struct pyproc_pool {
    pthread_mutex_t lock;
    struct pp_fork_mark mark;            /* never changes */
    struct pp_loop *loop;                /* never changes while open */
    struct pp_plan plan;                 /* never changes */
    struct pp_supervisor supervisor;     /* loop */
    struct pp_metrics metrics;           /* atomics */
    int64_t queue_timeout, task_timeout; /* never change; PP_NEVER: none */
    uint64_t memory_limit;               /* bytes; never changes; 0: none */
    int64_t cpu_limit;                   /* ns; never changes; 0: none */
    uint64_t output_limit;               /* bytes; never changes; 0: none */
    uint64_t max_processes, max_threads; /* of a worker; never change; PYPROC_UNLIMITED: none */
    struct pp_cpus cpus;                 /* never changes */
    int64_t grace;                       /* never changes; 0: calls are not asked to stop */
    size_t max_queue, max_queue_bytes, max_result; /* never change */
    size_t max_memory;                             /* never changes; 0: none */
    unsigned max_in_flight;                        /* never changes: shared calls of a worker */
    struct pp_stock *stock;                        /* never changes while open; a reference */
    _Atomic uint64_t next_id;

    /* Under the lock. */
    enum pp_pool_state state;
    unsigned min_workers, max_workers;
    struct pp_list slots;
    struct pp_list templates;       /* changed by the loop only */
    enum pyproc_start start_method; /* likewise: AUTO becomes EXEC when no fork is safe */
    char start_reason[192];         /* likewise */
    struct pp_list idle;
    struct pp_life life;
    struct pp_reload reload;
    struct pp_line line;
    struct pp_sticky sticky;
    size_t n_waiting; /* wants */
    size_t n_waiting_calls;
    size_t waiting_bytes;
    size_t active; /* admitted calls of either kind that have not ended */
    uint32_t next_worker, next_template;
    int64_t armed; /* what the loop's timer is set to */
    struct pp_call **buckets;
    size_t n_buckets, n_calls;
    struct pp_call **expiry; /* heap by queue_deadline */
    size_t n_expiry, expiry_capacity;
    struct pp_functions *functions; /* published by the first worker of the generation */
    struct pp_list guests;          /* who else lives on the loop thread */
    unsigned room_waiters;          /* threads in submit that wait for room */
    int32_t keeper_pid;
    unsigned generation;         /* of the application's code; the first is 1 */
    bool one_each;               /* output is counted: no calls are written ahead */
    bool watches;                /* some call has a limit of memory or processor time */
    int64_t watch_at;            /* when to look; PP_NEVER: nothing runs */
    int64_t watch_pause;         /* ns between looks */
    int64_t stops_at, health_at; /* when to look for stopped workers, at suspicious ones; NEVER */
    bool streams_due;            /* a reader of a stream has something to say */
    _Atomic uint32_t drained; /* futex: changes when `active` falls to 0, and at each close step */
    _Atomic uint32_t room;    /* futex: changes when room was made in the queue */
    _Atomic uint32_t closed;  /* futex: 1 when the loop is done */

    /* Loop. */
    struct pp_template *template; /* in the list: forks workers; NULL: none is ready */
    struct pp_template *coming;   /* in the list: starting; NULL: none */
    unsigned start_failures;      /* in a row */
    unsigned start_victims;       /* in a row, likewise: ended by no fault of the application */
    int64_t next_start;           /* back-off */
    int64_t failed_at;            /* when the last start failed that counts in start_failures */
    struct pp_reply_holder *start_error;
    int64_t progress_at; /* when to tell how far calls are */
    int64_t recall_at;   /* when to look for calls that wait behind a slow one */
    int64_t dumps_at;    /* when to look for stacks that were asked for */
    int64_t close_at;    /* when those that were told to leave are killed */
    uint32_t looks;      /* lock: number of the newest wish for a living worker's stacks */

    struct pp_bucket violations; /* that are told */
    uint64_t untold;             /* since the last one */
    bool orphan;                 /* lock: nobody will close or join: the loop frees it all */
    bool hurry;                  /* lock: close without letting idle workers leave by themselves */
    bool joined;                 /* lock: somebody joins the loop thread */
};

/* Ends of a batch, put on their queue in one go. Loop, or any thread on its stack. */
struct pp_done {
    struct pyproc_queue *queue; /* a reference, or NULL */
    struct pyproc_item *first, *last;
};

/* pool.c; lock held unless said otherwise. */
bool pp_pool_forked(const struct pyproc_pool *pool);       /* no lock */
void pp_pool_active(struct pyproc_pool *pool, int change); /* admits (+1) or ends (-1) a call */
/* A slot has no owner any more: it goes to the next in line, or idle. */
void pp_pool_give_back(struct pyproc_pool *pool, struct pp_slot *slot);
/* Lends it to a thread that waits. */
void pp_pool_grant(struct pyproc_pool *pool, struct pp_want *want, struct pp_slot *slot);
/* Lends the slot to a thread. */
void pp_pool_lease(struct pyproc_pool *pool, struct pp_slot *slot, pthread_t lessee);
/* Loop: the running call is over: its worker is doomed, or with a grace period asked to stop. */
void pp_pool_stop(struct pyproc_pool *pool, struct pp_slot *slot, enum pp_soft why, int64_t now);
/* Loop, lock held: carries out a doom, as far as it goes now. */
void pp_pool_kill(struct pyproc_pool *pool, struct pp_worker *worker);
/* After it was asked to stop: a failure is the stop's doing. Any thread. */
void pp_soft_end(enum pp_soft soft, struct pyproc_reply *reply);
/* Sets the slot's deadline and wakes the loop when that is its earliest. */
void pp_pool_deadline(struct pyproc_pool *pool, struct pp_slot *slot, int64_t deadline);
/* Ends a waiting thread. */
void pp_waiter_end(struct pp_waiter *waiter, enum pyproc_end end, const char *text,
                   const struct pyproc_reply *like);

/* line.c; lock held. */
uint8_t pp_level_of(int priority); /* no lock */
/* Into the line; `again`: it was in it before, and is the first of its level. */
void pp_pool_wait_for_worker(struct pyproc_pool *pool, struct pp_want *want, bool again);
void pp_pool_unwait(struct pyproc_pool *pool, struct pp_want *want);
/* Who is next; NULL: nobody waits. */
struct pp_want *pp_line_first(const struct pyproc_pool *pool);
/* Whether `want` goes before `other`, which waits or has waited. */
bool pp_line_before(const struct pyproc_pool *pool, const struct pp_want *want,
                    const struct pp_want *other);
/* Wants of a thread. */
unsigned pp_line_count_thread(const struct pyproc_pool *pool, pthread_t thread);

/* Whether anybody waits for just any worker. */
static inline bool pp_line_any(const struct pyproc_pool *pool)
{
    return pool->n_waiting > pool->sticky.n_unplaced;
}

/* lease.c; no lock. Waits for a first worker as any call would, and gives it back. */
void pp_pool_await_first(struct pyproc_pool *pool, const struct pyproc_wait *wait,
                         struct pyproc_reply *reply);

/* call.c; lock held. */
int pp_call_new(struct pyproc_pool *pool, const struct pyproc_request *request,
                struct pyproc_queue *queue, void *token, struct pp_call **callp); /* no lock */
void pp_call_free(struct pp_call *call);                                          /* no lock */
int pp_call_admit(struct pyproc_pool *pool, struct pp_call *call);
struct pp_call *pp_call_find(struct pyproc_pool *pool, uint64_t id);
void pp_call_expires(struct pyproc_pool *pool, struct pp_call *call);
void pp_call_expires_not(struct pyproc_pool *pool, struct pp_call *call);
/* When a call that starts now must end; PP_NEVER: it need not. No lock. */
int64_t pp_call_deadline(const struct pp_call *call, int64_t now);
/* The same as the wire has it: microseconds left, 0 for no limit. */
uint64_t pp_call_remaining(const struct pp_call *call, int64_t now);
/* Ends a call whose item's reply is filled: it leaves every list and is freed. */
void pp_call_end(struct pyproc_pool *pool, struct pp_call *call, struct pp_done *done);
void pp_done_flush(struct pp_done *done); /* no lock needed */
/* Counts an end. Any thread. */
void pp_count_end(struct pyproc_pool *pool, enum pyproc_end end);

/* dispatch.c; loop thread. */
/* The slot gets the call; lock held. */
void pp_offer(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call);
/* Gives idle workers to the line and calls to workers; lock held. */
void pp_dispatch(struct pyproc_pool *pool, struct pp_done *done);
/* Gives a worker that has nothing to do a call of its own line. */
void pp_dispatch_own(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call);
/* Writes the frames of what was dispatched; lock not held. */
void pp_dispatch_send(struct pyproc_pool *pool);
/* answer.c; loop thread, lock not held: a loop-owned worker's bytes are here. */
void pp_answer_readable(struct pyproc_pool *pool, struct pp_slot *slot);
/* Lock held: the worker is dead: its running call ends, offered ones go back. */
void pp_answer_dead(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_done *done);
/* Lock held: takes back calls that wait behind a slow or cancelled one. */
void pp_recall_all(struct pyproc_pool *pool, struct pp_done *done);
/* Lock held: a call goes back to the front of the line, or ends when it was cancelled. */
void pp_requeue(struct pyproc_pool *pool, struct pp_call *call, struct pp_done *done);
/* progress.c; loop thread, lock or not. */
/* False: it is of a call that the worker does not have. */
bool pp_progress_came(struct pyproc_pool *pool, struct pp_slot *slot,
                      const struct pp_message_progress *progress);
/* The call ends: what is not told yet is told. */
void pp_progress_flush(struct pp_call *call);
/* What is due. */
void pp_progress_turn(struct pyproc_pool *pool, int64_t now);

/* stream.c; loop thread unless said. */
struct pp_stream *
pp_stream_new(const struct pyproc_request *request); /* any thread; NULL: memory */
/* The stream that the slot's worker runs; NULL: it runs none. */
struct pp_call *pp_stream_of(const struct pp_slot *slot);
/* Its call is being sent, or starts. */
void pp_stream_sent(struct pyproc_pool *pool, struct pp_slot *slot, const struct pp_call *call,
                    struct pp_message_call *to); /* lock not held */
void pp_stream_starts(struct pp_slot *slot, struct pp_call *call, int64_t now);
/* Lock held: items may have come from it, and it goes on. */
void pp_stream_came(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call);
/* Lock not held: NULL, or the rule that was broken. */
const char *pp_stream_take_item(struct pyproc_pool *pool, struct pp_call *call,
                                const struct pp_message_stream_item *item);
const char *pp_stream_take_end(struct pp_call *call, const struct pp_message_stream_end *end);
/* The worker is dead: what it had made before is put on the queue. */
void pp_stream_dead(struct pp_slot *slot, struct pp_call *call);
/* Lock held: carries out what readers said. */
void pp_streams_turn(struct pyproc_pool *pool, int64_t now, struct pp_done *done);
/* Lock held: the slot's time is over: true when it was only an item's, and it is being made. */
bool pp_stream_goes_on(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now);
/* Lock held, any thread: no more streams. */
void pp_streams_close(struct pyproc_pool *pool);

/* One turn of the loop: everything that is due. Lock not held. */
void pp_pool_turn(struct pyproc_pool *pool);

/* No lock: whether the request's descriptors are in order; else the reply is filled. */
bool pp_call_attaches(const struct pyproc_request *request, struct pyproc_reply *reply);

/* How many tasks a call is: an item of a chunk is one. */
static inline uint32_t pp_call_tasks(const struct pp_call *call)
{
    return call->message.items ? call->message.items : 1;
}

/* life.c; lock held unless said otherwise. */
extern const char pp_due_idle[];
/* Whether it takes calls. */
bool pp_slot_serves(const struct pp_slot *slot);
void pp_life_init(struct pp_life *life, const struct pyproc_config *config); /* no lock */
/* Whether give_back must ask pp_life_spent. */
static inline bool pp_life_watches(const struct pp_life *life)
{
    return life->max_tasks > 0 || life->max_memory > 0;
}
/* Nobody owns the slot any more: true when it has done its last task. Any thread. */
bool pp_life_spent(struct pyproc_pool *pool, struct pp_slot *slot);
/* How many more tasks it may be offered; a call that is more than that is still given whole. */
size_t pp_life_room(const struct pyproc_pool *pool, const struct pp_slot *slot);
/* After a task, no lock: looks at the memory of a worker that the thread owns, or whose slot
 * nobody owns while the lock is held. */
void pp_life_weigh(const struct pyproc_pool *pool, struct pp_slot *slot);
/* Bytes resident; 0 when the kernel does not say. No lock. */
uint64_t pp_life_rss(int32_t pid);
/* Loop: a worker is ready to serve. */
void pp_life_ready(struct pyproc_pool *pool, struct pp_slot *slot);
/* Loop: replaces, adds, takes off. */
void pp_life_turn(struct pyproc_pool *pool, int64_t now);
/* Loop: tells a worker that nobody owns to leave by itself. */
void pp_life_retire(struct pyproc_pool *pool, struct pp_slot *slot);
/* Loop: how many workers to start. */
unsigned pp_life_missing(struct pyproc_pool *pool);
/* When to look again. */
int64_t pp_life_next(const struct pyproc_pool *pool);

/* reload.c; loop thread. */
/* One step, when there is one to take; lock not held. */
void pp_reload_turn(struct pyproc_pool *pool);
/* What becomes of the first worker of the next generation; lock held. True when the worker is
 * to serve. */
bool pp_reload_probe_ready(struct pyproc_pool *pool, struct pp_slot *slot);
void pp_reload_probe_dead(struct pyproc_pool *pool, struct pp_slot *slot);
/* Of its template; lock not held. True when it was the reload's. */
bool pp_reload_template_ready(struct pyproc_pool *pool, struct pp_template *template);
void pp_reload_template_dead(struct pyproc_pool *pool, struct pp_template *template);

/* info.c */
/* What was published of that function; NULL: nothing. Lock held. */
const struct pp_function_facts *pp_function_find(const struct pp_functions *functions,
                                                 struct pp_bytes name);
struct pp_functions *pp_functions_new(const struct pp_message_hello_reply *reply);
void pp_functions_unref(struct pp_functions *functions); /* NULL is fine */

/* run.c: what the loop thread does. */
/* Starts a worker of that generation, from the template unless it is NULL; lock not held. 0 and
 * its slot, or a negative errno. */
int pp_pool_start_slot(struct pyproc_pool *pool, struct pp_template *template, unsigned generation,
                       struct pp_slot **slotp);
/* Why a worker never became ready. */
void pp_pool_explain_start(const struct pp_worker *worker, struct pyproc_reply *why);
/* Whether somebody else ended a worker that was being started. */
bool pp_pool_was_victim(const struct pp_worker *worker);
extern const struct pp_loop_calls pp_pool_loop_calls;
extern const struct pp_supervisor_calls pp_pool_supervisor_calls;
struct pp_worker *pp_pool_find_worker(void *token, uint32_t id);

/* template.c; loop thread. Lock not held: */
/* Starts a template unless one is coming. 0 or a negative errno. */
int pp_pool_want_template(struct pyproc_pool *pool);
void pp_pool_template_ready(struct pyproc_pool *pool, struct pp_worker *worker);
/* Buries it; true when its end means that no worker can be started. */
bool pp_pool_template_dead(struct pyproc_pool *pool, struct pp_worker *worker);
/* It is no longer the one that forks: it ends when its last workers
 * lead sessions of their own. NULL is fine. */
void pp_pool_template_retire(struct pp_template *template);
/* Not buried ones only; id 0: the oldest. */
struct pp_template *pp_pool_find_template(struct pyproc_pool *pool, uint32_t id);
/* A worker is dead: a template whose children crash often is renewed. */
void pp_pool_template_crash(struct pyproc_pool *pool, const struct pp_worker *child);
/* Lock held: what is due; dooms that are to be carried out; when to look again; burials. */
void pp_pool_templates_due(struct pyproc_pool *pool, int64_t now);
void pp_pool_templates_kill(struct pyproc_pool *pool);
int64_t pp_pool_templates_next(const struct pyproc_pool *pool);
void pp_pool_templates_sweep(struct pyproc_pool *pool);

/* Workers by what they are; lock held. */
struct pp_census {
    unsigned live, starting, idle, busy; /* the last three make the first */
    unsigned leaving;                    /* beside them: busy for the last time */
};
struct pp_census pp_pool_census(const struct pyproc_pool *pool);

/* limits.c: limits of memory, processor time, processes, threads. Lock held unless said. */
/* Whether processes or threads are counted. */
static inline bool pp_limits_count(const struct pyproc_pool *pool)
{
    return pool->max_processes != PYPROC_UNLIMITED || pool->max_threads != PYPROC_UNLIMITED;
}
/* Loop: what the worker holds before its first call; its net; its processors. */
void pp_limits_ready(struct pyproc_pool *pool, struct pp_slot *slot);
/* A call starts: the loop has to look from now on. Cheap while it does. */
void pp_limits_started(struct pyproc_pool *pool);
/* Loop. */
void pp_limits_due(struct pyproc_pool *pool, int64_t now);
/* A failure for want of memory is the limit's doing. No lock. */
void pp_limits_end(const struct pyproc_pool *pool, struct pyproc_reply *reply);

/* output.c: limits of what is printed and answered. */
/* The slot's owner; lock held unless that is the loop: a call begins; `limit` 0: the pool's. */
void pp_output_begins(const struct pyproc_pool *pool, struct pp_slot *slot, uint64_t limit);
/* The slot's owner: its answer is here; it becomes an error when too much was printed. */
void pp_output_ends(struct pp_slot *slot, struct pyproc_reply *reply);
/* Loop, lock not held: something was printed. */
void pp_pool_printed(struct pyproc_pool *pool, struct pp_slot *slot);
/* An answer above a limit of the call's own (0: none) becomes an error. */
void pp_result_ends(uint64_t limit, struct pyproc_reply *reply);

/* memory.c: memory for results; the slot's owner. */
/* The worker asks for some, for a call that it runs, which has its own limit (0: the pool's;
 * PP_MEMORY_NONE: it gets none). NULL, or the rule that it broke. */
#define PP_MEMORY_NONE UINT64_MAX
const char *pp_memory_asked(struct pyproc_pool *pool, struct pp_slot *slot,
                            const struct pp_message_memory_request *request, uint64_t limit);
/* Bytes that were given for that call. */
uint64_t pp_memory_given(const struct pp_slot *slot, uint64_t id);
/* The call has ended: its memory goes with the reply, or is given up when that is NULL. */
void pp_memory_ends(struct pp_slot *slot, uint64_t id, struct pyproc_reply *reply);
/* No call runs any more. */
void pp_memory_drop(struct pp_slot *slot);

/* pool.c: frees everything; the loop thread has ended or never started. */
void pp_pool_destroy(struct pyproc_pool *pool);
/* Ends every want in the line; lock held. `like` is copied when it is not NULL. */
void pp_pool_end_waiting(struct pyproc_pool *pool, enum pyproc_end end, const char *text,
                         const struct pyproc_reply *like, struct pp_done *done);

static inline struct pp_slot *pp_slot_of(struct pp_worker *worker)
{
    return pp_container(worker, struct pp_slot, worker);
}

#endif
