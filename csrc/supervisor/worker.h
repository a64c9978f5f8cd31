/* worker.h - one worker's life, as the host sees it.
 *
 *   new -> launching -> importing -> ready <-> busy -> (draining) -> dead
 *
 * The loop thread starts, watches and ends workers. Two things belong to others for a
 * while: the channel (with the pages) belongs to the thread that leases the worker
 * until it gives it back under the pool's lock; and any thread may doom a worker, the
 * first cause wins and the loop carries it out.
 */
#ifndef PP_SUPERVISOR_WORKER_H
#define PP_SUPERVISOR_WORKER_H

#include "event/channel.h"
#include "event/loop.h"
#include "event/reply.h"
#include "ipc/page.h"
#include "supervisor/group.h"
#include "supervisor/keeper.h"
#include "supervisor/output.h"
#include "supervisor/plan.h"

#include <stdatomic.h>
#include <stdbool.h>

enum pp_worker_state {
    PP_WORKER_NEW,
    PP_WORKER_LAUNCHING,
    PP_WORKER_IMPORTING,
    PP_WORKER_READY,
    PP_WORKER_BUSY,
    PP_WORKER_DRAINING,
    PP_WORKER_DEAD,
};

/* A fixed word, for people. */
const char *pp_worker_state_name(int state);

struct pp_supervisor;
struct pp_tripwire;

/* A system call that no sandbox allows. */
struct pp_violation {
    bool seen;   /* the fields below are the kernel's word */
    bool busy;   /* the worker had a call when it ended */
    int32_t pid; /* which thread made it; as the host counts */
    int32_t number;
    uint64_t arguments[6];
};

enum pp_role {
    PP_ROLE_WORKER,   /* gets calls */
    PP_ROLE_TEMPLATE, /* forks workers, see template.h */
};

struct pp_worker {
    uint32_t id;                      /* never changes */
    int64_t born;                     /* never changes */
    struct pp_supervisor *supervisor; /* never changes */
    enum pp_role role;                /* never changes */
    uint32_t template;                /* the id of what forked it; 0: it was exec'd */
    _Atomic int state;                /* enum pp_worker_state; any thread may read */
    _Atomic int32_t pid;              /* 0 until launched */
    _Atomic uint64_t tasks_done;
    const char *_Atomic cause;     /* why it was doomed: a fixed word, the first one stays */
    _Atomic uint32_t ended;        /* futex: 1 when `death` is complete */
    struct pp_reply_holder *start; /* loop: what it said when it could not start */

    /* The channel's owner: the loop, or the lease holder. */
    struct pp_channel channel;
    struct pp_control_page *control;     /* owned mapping */
    const struct pp_status_page *status; /* owned mapping; hints only */

    /* Loop thread only. */
    struct pp_watch *call_watch;
    struct pp_channel events;
    struct pp_watch *event_watch; /* NULL: no more records will come */
    _Atomic bool hearing;         /* records are between the socket and the queue */
    struct pp_output output[2];   /* stdout, stderr */
    int pidfd;                    /* owned */
    int crash_fd;                 /* owned */
    struct pp_tripwire *tripwire; /* a reference; NULL: none */
    struct pp_violation violation;
    bool killed;          /* the kill has been sent */
    bool dump_asked;      /* a stack was asked for before the kill */
    int64_t dump_until;   /* how long it is waited for; PP_NEVER: it is not */
    uint64_t base_memory; /* held when it became ready */
    uint64_t limit, used; /* of the limit that it was doomed for */
    const char *how;      /* who found out; NULL: we, by looking */
    struct pp_group group;
    const char *no_stack; /* why none came; NULL: none was asked for, or it came */
    int64_t start_deadline;
    int64_t fork_deadline; /* when the template must have forked it; PP_NEVER: done, or exec'd */

    /* Written by the loop before `ended`; read-only afterwards. */
    struct pyproc_death death;
    int wait_status;
    char *python_stack; /* owned */
};

/* What a start failed of; kept for callers that wait. */
struct pp_reply_holder {
    struct pyproc_reply reply;
};

struct pp_supervisor_calls {
    void (*ready)(void *token, struct pp_worker *worker);    /* it answered Hello */
    void (*readable)(void *token, struct pp_worker *worker); /* call channel, while watched;
                                                              * never a template's */
    void (*written)(void *token, struct pp_worker *worker);  /* it took bytes that had to wait */
    /* It is gone, with all that it started. The channel is still open: bytes that it
     * wrote before may wait in it. */
    void (*dead)(void *token, struct pp_worker *worker);
    void (*printed)(void *token, struct pp_worker *worker); /* to stdout or stderr; may be NULL */
    void (*hello)(void *token, struct pp_worker *worker,
                  const struct pp_message_hello_reply *reply); /* before ready */
    void (*stopped)(void *token, struct pp_worker *worker);    /* a signal has stopped it */
    /* It says how far a call is; false: it may not. With or without locks of the owner. */
    bool (*progress)(void *token, struct pp_worker *worker,
                     const struct pp_message_progress *progress);
    /* It says that something happened; likewise. */
    bool (*event)(void *token, struct pp_worker *worker, const struct pp_message_event *event);
    /* A process of the pool that belongs to no worker made a call that no sandbox allows. */
    void (*strayed)(void *token, const struct pp_violation *violation);
};

/* One a pool; the loop thread's, but for pp_worker_doom. */
struct pp_supervisor {
    const struct pp_supervisor_calls *calls;
    void *token; /* of calls */
    struct pp_loop *loop;
    const struct pp_plan *plan;
    struct pp_keeper *keeper; /* NULL: none runs */
    struct pp_watch *keeper_watch;
    struct pp_worker *(*find)(void *token,
                              uint32_t id); /* NULL when it does not live; 0: the oldest */
    struct pp_worker *(*find_pid)(void *token, int32_t pid); /* of workers and templates */
    _Atomic bool doomed;                                     /* somebody doomed a worker */
    uint64_t output_dropped;                                 /* atomic access */
    uint64_t keeper_restarts;                                /* atomic access */
    uint64_t oom_kills;      /* that the kernel had counted when we looked last */
    struct pp_groups groups; /* of workers; set before the loop runs */
};

/* Starts the keeper when none runs. */
int pp_supervisor_ensure_keeper(struct pp_supervisor *supervisor);
/* Ends the keeper, and with it every worker left; removes their cgroups. */
void pp_supervisor_deinit(struct pp_supervisor *supervisor);

/* A zeroed worker becomes one that holds nothing. */
void pp_worker_init(struct pp_worker *worker);
/* Loop: launches a worker; `ready` or `dead` follows, `dead` also when the launch itself
 * fails later. On a negative answer the worker is as before. */
int pp_worker_start(struct pp_worker *worker, struct pp_supervisor *supervisor, uint32_t id);
/* Loop: frees what the worker holds. It is dead, and nobody leases it. */
void pp_worker_deinit(struct pp_worker *worker);

/* The other ends of a worker's descriptors, until whoever starts it has copies of them. */
struct pp_births {
    int call, event, stdout_end, stderr_end, control, status;
    int group; /* the file to enter its cgroup by; -1: none */
};
/* Loop: all of a start but the asking for a process. 0, or a negative errno; the births are
 * the caller's to close either way, and on an error the worker is to be deinited. */
int pp_worker_prepare(struct pp_worker *worker, struct pp_supervisor *supervisor, uint32_t id,
                      struct pp_births *births);
/* The descriptors as a worker finds them at 1 to 7; lent. */
void pp_births_order(const struct pp_births *births, const struct pp_worker *worker, int fds[7]);
void pp_births_close(struct pp_births *births);
/* Loop: there is no process: says which step the kernel refused. */
void pp_supervisor_failed(struct pp_worker *worker, const struct pp_keeper_event *event);
/* Loop: the template that should have forked it is gone. */
void pp_supervisor_orphaned(struct pp_worker *worker);

/* Any thread: this worker must end, because of `cause` (a fixed word). False when it was
 * doomed before. */
bool pp_worker_doom(struct pp_worker *worker, const char *cause);
/* Loop: carries out a doom; one that runs code is first asked for its stack, and killed by a
 * later call: at dump_until, or before it when the stack is there. */
void pp_worker_kill(struct pp_worker *worker);
/* Any thread, the pool's lock held: asks a worker that lives on for its stacks, under a number
 * above 0 that it has not been asked with before. NULL, or why it cannot be asked; lent. */
const char *pp_worker_look(struct pp_worker *worker, uint32_t number);
/* The same: whether the answer to `number` is there; then takes it into `text`. */
bool pp_worker_looked(struct pp_worker *worker, uint32_t number, char *text, size_t size,
                      size_t *np);
/* Loop: asks the running call to stop by itself. */
void pp_worker_soften(struct pp_worker *worker, uint64_t call, enum pp_soft why);
/* Loop: lets it leave by itself: it sees the end of its channel when it is idle. */
void pp_worker_goodbye(struct pp_worker *worker);

/* Loop: puts a record into the host's queue. */
void pp_worker_deliver_log(struct pp_worker *worker, const struct pp_message_log *log);
/* Loop: reads records once: 0 when more may wait, MORE when none does, END. */
int pp_worker_read_events(struct pp_worker *worker);
/* Loop: reads all that it has logged and printed so far, within bounds. */
void pp_worker_hear(struct pp_worker *worker);
/* Any thread that keeps the worker from its deinit: waits until the loop has read all that it had
 * logged and printed, at most until that time. Whether it has. */
bool pp_worker_heard(struct pp_worker *worker, int64_t until);

/* Loop: whether the call channel is watched (while the loop owns it). */
int pp_worker_watch(struct pp_worker *worker, int events);
/* Loop: sends what the channel holds, later the rest; ends a worker to which nothing can go. */
void pp_worker_send_on(struct pp_worker *worker);

/* Any thread, after `ended`: the end that its death means for the call that was on it. */
enum pyproc_end pp_worker_end(const struct pp_worker *worker);
/* Any thread, after `ended`: fills the reply with end and death. */
void pp_worker_obituary(const struct pp_worker *worker, struct pyproc_reply *reply);

#endif
