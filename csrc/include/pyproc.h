/* pyproc.h - the core's whole public face.
 *
 * A pool runs Python functions in child interpreters and answers with bytes. The
 * calling program needs no Python inside: values are MessagePack, functions are
 * called by name. Every function may be called from any thread unless it says
 * otherwise; a pool made before a fork is dead in the child (PYPROC_END_CLOSED).
 *
 *   caller -> pool (admit, queue, lease a worker) -> channel -> frame ==socket== worker
 */
#ifndef PYPROC_H
#define PYPROC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PYPROC_API __attribute__((visibility("default")))

#define PYPROC_UNLIMITED UINT64_MAX
#define PYPROC_FOREVER INT64_MAX

struct pyproc_pool;
struct pyproc_queue;
struct pyproc_memory;

/* Bytes that belong to somebody else; not NUL-terminated. */
struct pyproc_bytes {
    const void *data;
    size_t size;
};

/* What a payload is made of; the numbers of proto/pyproc.proto. */
enum pyproc_codec { PYPROC_CODEC_MSGPACK = 1, PYPROC_CODEC_RICH = 2, PYPROC_CODEC_PICKLE = 3 };

enum pyproc_target_kind {
    PYPROC_TARGET_ATTRIBUTE = 1, /* "package.module:attribute" */
    PYPROC_TARGET_FILE = 2,      /* "path/to/app.py" */
    PYPROC_TARGET_MODULE = 3,    /* "package.module" */
    PYPROC_TARGET_FUNCTIONS = 4, /* the list in `functions` */
};

struct pyproc_function {
    struct pyproc_bytes name, module, qualname, file, pickled;
};

/* How every admitted call ends: exactly once, one of these ways. */
enum pyproc_end {
    PYPROC_END_VALUE = 0,
    PYPROC_END_FAILURE = 1,       /* the function raised, or the worker refused the call */
    PYPROC_END_CRASHED = 2,       /* the worker died by a signal of its own making */
    PYPROC_END_EXITED = 3,        /* the worker left */
    PYPROC_END_KILLED = 4,        /* somebody killed the worker; `cause` says who */
    PYPROC_END_RUN_TIMEOUT = 5,   /* it ran too long and was stopped */
    PYPROC_END_QUEUE_TIMEOUT = 6, /* it waited too long and never started */
    PYPROC_END_TASK_KILLED = 7,   /* it was cancelled; if it ran, its worker was killed */
    PYPROC_END_PROTOCOL = 8,      /* the worker broke the protocol and was killed */
    PYPROC_END_START = 9,         /* no worker could be started */
    PYPROC_END_CLOSED = 10,       /* the pool is closed, or belongs to the process we forked from */
    PYPROC_END_QUEUE_FULL = 11,
    PYPROC_END_TOO_LARGE = 12,   /* the request or the answer is over the frame limit */
    PYPROC_END_NESTED = 13,      /* would wait for a worker that this very thread holds */
    PYPROC_END_INTERRUPTED = 14, /* the caller's `interrupted` said so */
    PYPROC_END_MEMORY = 15,      /* more memory than the limit; `limit`, `used`, `how` */
    PYPROC_END_CPU = 16,         /* more processor time than the limit; likewise */
    PYPROC_END_OUTPUT = 17,      /* it printed more than the limit; likewise */
    PYPROC_END_PROCESSES = 18,   /* its worker had more processes than the limit; likewise */
    PYPROC_END_THREADS = 19,     /* more threads; likewise */
    PYPROC_END_LOST = 20, /* of PYPROC_KEY_ACTOR: its worker has ended; `death`, when known */
    /* Of a named socket only; `text` names the correlation id, where there is one. */
    PYPROC_END_DENIED = 40,       /* the policy does not allow it */
    PYPROC_END_RATE = 41,         /* too many calls: `limit` is when to come again, in ns */
    PYPROC_END_UNPROVEN = 42,     /* the other end did not prove to hold the key */
    PYPROC_END_INVALID = 43,      /* the request is malformed, or over a limit of the server */
    PYPROC_END_DISCONNECTED = 44, /* the connection is gone; the call may have run */
};

/* Numbers of proto/pyproc.proto (FailureKind, Relation). */
struct pyproc_failure_node {
    int relation;
    uint32_t parent;
    struct pyproc_bytes type_name, message, traceback, arguments, attributes;
    const struct pyproc_bytes *notes;
    size_t n_notes;
    int suppress_context;
};

struct pyproc_failure {
    int kind;
    const struct pyproc_failure_node *nodes;
    size_t n_nodes;
    struct pyproc_bytes path;
};

/* What is known of a worker's death. Strings are NUL-terminated or NULL; what the
 * worker wrote (python_stack, stderr_tail) is hostile text. */
struct pyproc_death {
    int signal;    /* 0: none */
    int exit_code; /* -1: none */
    int32_t pid;
    uint32_t worker_id;
    const char *cause; /* a fixed word: "signal", "exit", "timeout", "cancel", "protocol", ... */
    double age;        /* seconds since its start */
    uint64_t tasks_done;
    struct pyproc_bytes python_stack;
    const char *python_stack_missing; /* why there is none; NULL when there is one */
    struct pyproc_bytes stderr_tail;
    int64_t user_us, system_us, max_rss_kib;
    /* cause "sandbox": the number and arguments of the system call that ended it; -1: not known. By
     * the kernel's word, with the thread that made it, or (0) by the worker's own. */
    int64_t refused;
    int32_t refused_by;
    uint64_t refused_arguments[6];
    uint32_t in_flight; /* calls that ended with it; more than 1: nobody knows whose doing it was */
};

/* The end of one call. Owned by whoever got it; everything inside lives until
 * pyproc_reply_clear. */
struct pyproc_reply {
    enum pyproc_end end;
    uint64_t call_id;
    int codec;
    const uint8_t *payload; /* VALUE; of a chunk: the answered items, whatever the end */
    size_t size;
    uint32_t count;                       /* of a chunk: items answered in payload */
    const struct pyproc_failure *failure; /* FAILURE, and START when the app said why */
    const struct pyproc_death *death;     /* where a worker died, else NULL */
    const char *text;                     /* one sentence about the end, or NULL */
    uint64_t limit, used; /* MEMORY, OUTPUT: bytes; CPU: ns; PROCESSES, THREADS: how many; 0:
                           * not known */
    const char *how;      /* MEMORY: a fixed word: watchdog, rlimit */
    /* VALUE: what the worker put into memory, in the order in which it asked; the payload names
     * them by number. Lent: pyproc_memory_ref keeps one beyond the reply. */
    struct pyproc_memory *const *memories;
    size_t n_memories;
    void *storage;      /* private */
    uint8_t small[256]; /* private: short payloads cost no allocation */
};

PYPROC_API void pyproc_reply_clear(struct pyproc_reply *reply);

/* How workers are made. A template is a process that has imported the application and forks
 * workers; an application that starts threads while it is imported cannot have one. */
enum pyproc_start {
    PYPROC_START_EXEC = 0,     /* a fresh interpreter each */
    PYPROC_START_TEMPLATE = 1, /* forked; an error where that is not safe */
    PYPROC_START_AUTO = 2,     /* forked where that is safe */
};

enum { PYPROC_CPU_WORDS = 16 }; /* 64 CPUs each */

enum { PYPROC_IN_FLIGHT_MAX = 1000 };

struct pyproc_config {
    const char *python;     /* interpreter to exec; required, PATH is never searched */
    const char *package;    /* directory of the pyproc package; NULL: found beside this library */
    const char *keeper;     /* NULL: <package>/pyproc-keeper */
    const char *cwd;        /* NULL: the host's */
    const char *const *env; /* "NAME=value" added to the scrubbed environment; may be NULL */
    const char *const *env_pass; /* names that pass besides the allow-list; may be NULL */

    enum pyproc_target_kind target_kind;
    struct pyproc_bytes target, file;
    const struct pyproc_function *functions;
    size_t n_functions;
    /* sys.path; an empty entry stands for the interpreter's own ones; n_path 0 keeps those */
    const struct pyproc_bytes *path;
    size_t n_path;
    struct pyproc_bytes prefix, base_prefix, python_version; /* expected; size 0: not checked */

    enum pyproc_start start_method;
    const char *const *preload; /* modules to import before the application; may be NULL */
    size_t n_preload;

    unsigned min_workers, max_workers; /* 1 <= min <= max <= 4096 */
    /* A worker that reaches a limit is replaced; 0 and PYPROC_FOREVER: none. jitter: parts of a
     * million of a limit by which it may come early. */
    uint64_t recycle_tasks, recycle_memory;
    int64_t recycle_age; /* ns */
    uint32_t recycle_jitter;
    int64_t idle_timeout; /* ns: workers above min_workers that idle for so long leave */

    int64_t priority_step;  /* ns of waiting that outweigh one priority */
    size_t max_queue;       /* calls waiting; 0: no limit */
    size_t max_queue_bytes; /* bytes waiting, attached_size included; 0: no limit */
    size_t max_frame;       /* bytes of one message's body */
    size_t max_result;      /* bytes of one result */
    size_t max_memory;      /* bytes of one result that may come in memory of the host's; 0: none */
    size_t buffer_threshold; /* buffers of so many bytes go in memory; 0: none do */
    size_t memory_stock;     /* bytes of memory that are kept to be used again; 0: none */
    unsigned max_in_flight;  /* calls of async functions that a worker runs side by side; 1: none */
    int64_t start_timeout, queue_timeout, task_timeout; /* ns; PYPROC_FOREVER: none */
    int64_t grace; /* ns: a call that is to stop is asked first, and killed after it; 0: killed */

    /* rlimits, hard and soft; PYPROC_UNLIMITED: as the host has them. core is 0 by default. */
    uint64_t limit_address_space, limit_core, limit_file_size, limit_open_files, limit_stack;
    int nice;
    uint64_t limit_memory; /* bytes beyond what a worker holds when it becomes ready; 0: none */
    const char *cgroup;    /* with it: where workers' memory cgroups are made, a directory; "":
                            * near this process; NULL: there are none, the host looks itself */
    int64_t limit_cpu;     /* ns of processor time a call; 0: none */
    uint64_t limit_output; /* bytes that a call may write to stdout and stderr; 0: none */
    /* Of a worker while a call runs: processes that it has started, threads beyond those that it
     * had when it became ready; PYPROC_UNLIMITED: none */
    uint64_t limit_processes, limit_threads;
    uint64_t cpus[PYPROC_CPU_WORDS]; /* a bit for each CPU that workers may use; all 0: any */
    unsigned cpus_each;              /* how many of those each worker gets; 0: all */

    /* What a worker gives up before its interpreter starts, and again before its first call:
     * made by pyproc/_boxes.py; size 0: nothing. */
    struct pyproc_bytes sandbox_first, sandbox_second;

    struct pyproc_queue *events; /* where output and log records go; NULL: dropped */
    int drop_output;             /* 1: only log records go there */
};

/* Fills in the defaults. */
PYPROC_API void pyproc_config_init(struct pyproc_config *config);

/* Lets a waiting call look at signals. `interrupted` is called without any lock at least
 * once a second and after each EINTR; non-zero ends the wait. May be NULL. */
struct pyproc_wait {
    int (*interrupted)(void *token);
    void *token;
};

enum { PYPROC_CGROUP_PATH = 4096 };

/* Where workers can have memory cgroups: in `wanted`, or, with NULL, near this process. Tries it
 * out. 0 with the directory and its kind ("cgroup v1", "cgroup v2"), or a negative errno with what
 * was tried; the words are literals. */
PYPROC_API int pyproc_cgroup_find(const char *wanted, char directory[PYPROC_CGROUP_PATH],
                                  const char **wordsp);

/* Starts a pool: its keeper, its loop thread and its first worker. Returns when that
 * worker is ready; else `reply` says why not. 0, or a negative errno with
 * pyproc_error_text(). Everything in `config` is copied. */
PYPROC_API int pyproc_pool_open(const struct pyproc_config *config, const struct pyproc_wait *wait,
                                struct pyproc_reply *reply, struct pyproc_pool **poolp);

/* Refuses new calls, closes streams, lets the admitted calls end for at most `timeout` ns, then
 * ends the rest (PYPROC_END_CLOSED), and waits until every process of the pool is gone.
 * 0, or PYPROC_END_INTERRUPTED when `wait` ended the waiting for calls; it is then as if
 * the timeout had passed. A second close returns when the first has. */
PYPROC_API int pyproc_pool_close(struct pyproc_pool *pool, int64_t timeout,
                                 const struct pyproc_wait *wait);

/* Frees a pool. One that is still open is killed, without waiting for it. In a forked
 * child: closes descriptors, nothing else. NULL is fine. */
PYPROC_API void pyproc_pool_free(struct pyproc_pool *pool);

/* In a forked child, once: closes the copies of the pool's descriptors. */
PYPROC_API void pyproc_pool_after_fork(struct pyproc_pool *pool);

enum { PYPROC_ATTACHMENTS_MAX = 16 };

/* Memory for large values, made by the host: a call's payload names pieces of it, its descriptors
 * travel as attachments, and a worker can only read it. With the pool NULL it is not used again
 * after its last reference. 0 or a negative errno. */
PYPROC_API int pyproc_memory_new(struct pyproc_pool *pool, size_t size,
                                 struct pyproc_memory **memoryp);
/* Copies bytes behind those before, at a multiple of 64; with `bytes` NULL the caller fills that
 * part through pyproc_memory_map. -EMSGSIZE when they do not fit. One thread at a time. */
PYPROC_API int pyproc_memory_append(struct pyproc_memory *memory, const void *bytes, size_t n,
                                    size_t *offsetp);
/* Where it is in this process: writable for memory of pyproc_memory_new, read-only for a reply's,
 * which nobody can change any more from then on. NULL with errno. */
PYPROC_API void *pyproc_memory_map(struct pyproc_memory *memory);
/* Its size, and whether it is writable here. */
PYPROC_API size_t pyproc_memory_size(const struct pyproc_memory *memory);
PYPROC_API int pyproc_memory_writable(const struct pyproc_memory *memory);
/* A read-only descriptor for a call's attachments, the caller's to close. */
PYPROC_API int pyproc_memory_open(struct pyproc_memory *memory, int *fdp);
PYPROC_API struct pyproc_memory *pyproc_memory_ref(struct pyproc_memory *memory);
PYPROC_API void pyproc_memory_unref(struct pyproc_memory *memory);
/* Right before this process forks, where it may: memory that the child may look at is not used
 * again. */
PYPROC_API void pyproc_pool_before_fork(struct pyproc_pool *pool);

enum { PYPROC_PRIORITY_MIN = -100, PYPROC_PRIORITY_MAX = 100 };

struct pyproc_request {
    struct pyproc_bytes function, payload;
    int codec;
    const struct pyproc_bytes *keywords;
    size_t n_keywords;
    uint32_t items;              /* not 0: a chunk of that many single-argument calls */
    struct pyproc_bytes baggage; /* what travels beside the arguments; may be empty */
    /* Descriptors that travel with the call, a chunk's for all items. pyproc_call borrows them,
     * pyproc_submit takes them when it answers 0. */
    const int *attachments;
    size_t n_attachments;
    uint64_t attached_size; /* bytes that live in attachments for this call alone; they count for
                             * max_queue_bytes */
    int inline_only;        /* no part of the result may come in memory */
    int64_t run_timeout;    /* ns; 0: the pool's */
    uint64_t memory_limit;  /* bytes; 0: the pool's */
    int64_t cpu_limit;      /* ns; 0: the pool's */
    uint64_t output_limit;  /* bytes; 0: the pool's */
    uint64_t result_limit;  /* bytes, less than the pool's; 0: the pool's */
    int64_t queue_timeout;  /* ns; 0: the pool's */
    int64_t deadline;       /* CLOCK_MONOTONIC, ns: for waiting and running together; 0: none */
    /* Not 0, submit only: the function is a generator, and this is the first credit of its items,
     * both in all; see pyproc_stream_more. */
    uint64_t stream_items, stream_bytes;
    int64_t item_timeout; /* ns that the generator may take for an item; 0: no limit */
    uint64_t key;         /* not 0: calls of the same key go to the same worker; one at a time */
    int key_use;          /* PYPROC_KEY_... */
    int progress;         /* submit: 1 asks for PROGRESS items on the way */
    int wait_for_room;    /* submit: 0 answers QUEUE_FULL at once */
    int priority;         /* PYPROC_PRIORITY_MIN to _MAX, others count as the nearest; higher
                            * is first. One priority is worth pyproc_config.priority_step of
                            * waiting, so nothing waits for ever. */
};

/* What a request's key is for. */
enum {
    PYPROC_KEY_ANY = 0, /* all calls of a key go to one worker, in the order in which they come;
                               * when it ends, to another one */
    PYPROC_KEY_ACTOR_NEW = 1, /* a key that was not used yet: the worker now holds something */
    PYPROC_KEY_ACTOR = 2,     /* it goes where that is, or ends with LOST */
};

/* The leased call: the calling thread itself speaks with a worker. Always fills
 * `reply`; returns its end. */
PYPROC_API int pyproc_call(struct pyproc_pool *pool, const struct pyproc_request *request,
                           const struct pyproc_wait *wait, struct pyproc_reply *reply);

/* The queued call: admitted now, answered on `queue` with `token`, exactly once.
 * Answers 0 and the call's id, or an end (then nothing was admitted and `reply` is
 * filled as by pyproc_call). */
PYPROC_API int pyproc_submit(struct pyproc_pool *pool, const struct pyproc_request *request,
                             const struct pyproc_wait *wait, struct pyproc_queue *queue,
                             void *token, uint64_t *idp, struct pyproc_reply *reply);

/* How many calls of that function may be in one worker at once, 0 when each has it to itself: it is
 * async, and the pool has max_in_flight above 1, or it takes a batch. pyproc_call has a worker to
 * itself all the same. */
PYPROC_API unsigned pyproc_shares(struct pyproc_pool *pool, struct pyproc_bytes function);

/* Nobody will ask for this key again: what it is tied to is forgotten, after its calls. */
PYPROC_API void pyproc_key_drop(struct pyproc_pool *pool, uint64_t key);

enum { PYPROC_CANCEL_RUNNING = 1, PYPROC_CANCEL_UNKNOWN = 2 };

/* Ends a queued call that has not started (0). One that may have started is left alone
 * (PYPROC_CANCEL_RUNNING), or with `kill` ended together with its worker (0). The call's
 * end comes on its queue all the same. UNKNOWN: ended before. */
PYPROC_API int pyproc_cancel(struct pyproc_pool *pool, uint64_t id, int kill);

/* Streams. A request with stream_items is answered with any number of STREAM items, each with
 * `count` values back to back in its reply's payload, and then with one CALL item: VALUE when the
 * generator has ended, else why it did not; all on the queue of pyproc_submit, in this order. A
 * STREAM item's token is not the owner's to free.
 *
 * The generator runs while it has made less than `items` items and their bytes are less than
 * `bytes`, counted from the beginning; more can be allowed, never less. So a host holds at most
 * that many bytes and one item. `waits` says that its reader has nothing left: what is made comes
 * at once, else when some have gathered. 0, or PYPROC_CANCEL_UNKNOWN when the call has ended. */
PYPROC_API int pyproc_stream_more(struct pyproc_pool *pool, uint64_t id, uint64_t items,
                                  uint64_t bytes, int waits);
/* Nobody reads on: the generator is closed, so that its `finally` runs in the worker, which is
 * killed when that takes longer than a second and the pool's grace. The end comes on the queue:
 * VALUE, TASK_KILLED when it had not started, or as the generator's end is. As above. */
PYPROC_API int pyproc_stream_close(struct pyproc_pool *pool, uint64_t id);

/* Refuses new calls (PYPROC_END_CLOSED) and lets the admitted ones end for at most `timeout` ns:
 * 0 when all have, PYPROC_DRAIN_LEFT when not, PYPROC_END_INTERRUPTED. Close comes after it. */
enum { PYPROC_DRAIN_LEFT = 1 };
PYPROC_API int pyproc_drain(struct pyproc_pool *pool, int64_t timeout,
                            const struct pyproc_wait *wait);

/* Starts workers with freshly imported code and lets the present ones end their calls and leave,
 * each when a new one is ready. Returns when every new call goes to a new worker; older ones may
 * still run what they have. Always fills `reply`: VALUE; START, and nothing has changed, when no
 * new worker became ready; RUN_TIMEOUT after `timeout` ns; INTERRUPTED; CLOSED. */
PYPROC_API int pyproc_reload(struct pyproc_pool *pool, int64_t timeout,
                             const struct pyproc_wait *wait, struct pyproc_reply *reply);

/* Wants from now on this number of workers, at most. 0 or -EINVAL. */
PYPROC_API int pyproc_resize(struct pyproc_pool *pool, unsigned min_workers, unsigned max_workers);

/* Waits until all that idle workers have printed and logged so far stands in the pool's queue, at
 * most for `timeout` ns. */
PYPROC_API void pyproc_hear(struct pyproc_pool *pool, int64_t timeout);

/* Completion queues: many pools may answer on one; it outlives them. */
enum pyproc_item_kind {
    PYPROC_ITEM_CALL,
    PYPROC_ITEM_OUTPUT,
    PYPROC_ITEM_LOG,
    PYPROC_ITEM_EVENT,
    PYPROC_ITEM_STREAM,
    PYPROC_ITEM_PROGRESS,
};

/* How a sandbox met what it does not allow. */
enum pyproc_grade {
    PYPROC_GRADE_NONE,     /* the event is no violation */
    PYPROC_GRADE_REFUSED,  /* the call failed, by the worker's own word; it goes on */
    PYPROC_GRADE_TRIPWIRE, /* the host heard of the system call before it happened, and killed */
    PYPROC_GRADE_SIGNAL,   /* the kernel ended the process */
};

/* Of an event: whose doing it was. Lent as long as its item. */
struct pyproc_violation {
    enum pyproc_grade grade;
    uint64_t call_id;             /* 0: outside a call, or not known */
    struct pyproc_bytes function; /* cut at 64 bytes; empty: not known */
    int64_t number;               /* of the system call; -1: not known */
    uint64_t arguments[6];
    uint64_t before; /* so many more since the last one that was told: they came too fast */
};

struct pyproc_item {
    struct pyproc_item *next;
    enum pyproc_item_kind kind;
    void *token;               /* CALL, STREAM, PROGRESS */
    struct pyproc_reply reply; /* CALL, STREAM */
    uint32_t worker_id;        /* OUTPUT, LOG, EVENT */
    int32_t pid;               /* EVENT; 0: none */
    int stream;                /* OUTPUT: 1 or 2 */
    int level;                 /* LOG */
    double created;            /* LOG: seconds since the epoch */
    uint64_t call_id;          /* LOG */
    uint64_t dropped;          /* LOG, OUTPUT: records or bytes lost so far */
    double done, total;        /* PROGRESS: finite, 0 or more */
    int has_total;             /* PROGRESS; 0: the total is not known */
    /* CALL: the function's name, cut at 256 bytes; OUTPUT: whole lines; LOG: the message; PROGRESS:
     * the worker's words */
    struct pyproc_bytes text;
    struct pyproc_bytes logger, exception, extra; /* LOG; EVENT: extra has the details */
    struct pyproc_violation violation;            /* EVENT */
};

PYPROC_API int pyproc_queue_new(struct pyproc_queue **queuep);
/* Becomes readable when items wait. Lent. */
PYPROC_API int pyproc_queue_fd(const struct pyproc_queue *queue);
/* All items, oldest first; NULL when none. The caller frees each with pyproc_item_free. */
PYPROC_API struct pyproc_item *pyproc_queue_take(struct pyproc_queue *queue);
/* Waits until items wait (0), the queue is closed (1), or `timeout_ms` (-1: for ever) has
 * passed (2). EINTR is 2. */
PYPROC_API int pyproc_queue_wait(struct pyproc_queue *queue, int timeout_ms);
/* Waiters wake up and output and log records are dropped from now on; ends of calls can
 * still be taken. */
PYPROC_API void pyproc_queue_close(struct pyproc_queue *queue);
PYPROC_API struct pyproc_queue *pyproc_queue_ref(struct pyproc_queue *queue);
PYPROC_API void pyproc_queue_unref(struct pyproc_queue *queue);
PYPROC_API void pyproc_item_free(struct pyproc_item *item);

/* Flat counters; PYPROC_STATS_FIELDS names them in order. */
#define PYPROC_STATS_FIELDS(X) \
    X(workers)                 \
    X(workers_idle)            \
    X(workers_busy)            \
    X(workers_starting)        \
    X(workers_started)         \
    X(templates_started)       \
    X(workers_died)            \
    X(workers_recycled)        \
    X(workers_retired_idle)    \
    X(workers_pinged)          \
    X(generation)              \
    X(start_failures)          \
    X(calls_admitted)          \
    X(calls_waiting)           \
    X(calls_running)           \
    X(calls_ok)                \
    X(calls_failed)            \
    X(calls_crashed)           \
    X(calls_timed_out)         \
    X(calls_cancelled)         \
    X(calls_rejected)          \
    X(calls_requeued)          \
    X(calls_recalled)          \
    X(keys)                    \
    X(actors)                  \
    X(queue_bytes)             \
    X(protocol_errors)         \
    X(output_dropped_bytes)    \
    X(events_dropped)          \
    X(keeper_restarts)

struct pyproc_stats {
#define PYPROC_STATS_MEMBER(name) uint64_t name;
    PYPROC_STATS_FIELDS(PYPROC_STATS_MEMBER)
#undef PYPROC_STATS_MEMBER
};

PYPROC_API void pyproc_stats(struct pyproc_pool *pool, struct pyproc_stats *stats);

/* Durations since the pool was opened: bucket i counts those of at most bounds_ns[i], the last one
 * the rest. A chunk of a map and a stream count as one call each. */
enum { PYPROC_BUCKETS = 21 };
struct pyproc_histogram {
    uint64_t counts[PYPROC_BUCKETS];
    uint64_t sum_ns;
};
struct pyproc_latency {
    int64_t bounds_ns[PYPROC_BUCKETS - 1];
    struct pyproc_histogram wait; /* from admission until a worker had the call */
    struct pyproc_histogram run;  /* from then until its end */
};
PYPROC_API void pyproc_latency(struct pyproc_pool *pool, struct pyproc_latency *latency);

struct pyproc_worker_info {
    uint32_t id;
    int32_t pid;       /* 0 while launching */
    const char *state; /* a fixed word: launching, importing, ready, busy, draining, dead */
    uint64_t tasks_done;
    double age;               /* seconds since its launch */
    uint64_t rss;             /* bytes resident, 0 when not known */
    uint32_t generation;      /* of the application's code, counted by pyproc_reload */
    const char *start_method; /* a fixed word: exec, template */
    char start_reason[192];   /* why that one; part of it may be text of the worker */
    uint32_t keys, actors;    /* tied to it; actors are not counted as keys */
};

/* Fills at most `max` records; answers how many workers there are. */
PYPROC_API size_t pyproc_workers(struct pyproc_pool *pool, struct pyproc_worker_info *infos,
                                 size_t max);

enum { PYPROC_DUMP_MAX = 64 * 1024 };

/* The Python stacks of a worker that lives on: at most `size` bytes into `text`, of PYPROC_DUMP_MAX
 * that there may be. They are its own words. One at a time for each worker. 0, or a negative errno
 * with pyproc_error_text(): -ESRCH when it cannot be asked, -ETIMEDOUT after `timeout` ns. */
PYPROC_API int pyproc_dump(struct pyproc_pool *pool, uint32_t worker, int64_t timeout, char *text,
                           size_t size, size_t *np);

/* Names and signatures that the first worker published: calls `each` for every
 * function, without any lock held. */
PYPROC_API void pyproc_functions(struct pyproc_pool *pool,
                                 void (*each)(void *token, struct pyproc_bytes name,
                                              struct pyproc_bytes signature),
                                 void *token);

PYPROC_API int32_t pyproc_keeper_pid(struct pyproc_pool *pool);

/* The words of this thread's last negative answer. Lent until the next. */
PYPROC_API const char *pyproc_error_text(void);

#ifdef __cplusplus
}
#endif

#endif
