/* keeper.h - the host's end of the keeper: starts it, speaks with it.
 *
 * The keeper is a small program of its own (csrc/keeper), the host's only child:
 * parent and reaper of all workers of one pool. It is started vfork-like, so that
 * the cost does not grow with the host's memory and no code of ours runs in a
 * forked copy of a threaded host. Owner: the pool's loop thread, which alone may
 * call everything here after the start.
 */
#ifndef PP_SUPERVISOR_KEEPER_H
#define PP_SUPERVISOR_KEEPER_H

#include "security/cgroup.h"
#include "security/policy.h"

#include <stdint.h>
#include <sys/types.h>

struct pp_keeper;

/* Descriptors a worker is born with, at these numbers. */
enum {
    PP_WORKER_FD_STDIN,   /* /dev/null, opened by the keeper */
    PP_WORKER_FD_STDOUT,  /* pipe */
    PP_WORKER_FD_STDERR,  /* pipe */
    PP_WORKER_FD_CALL,    /* call channel */
    PP_WORKER_FD_EVENT,   /* event channel */
    PP_WORKER_FD_CONTROL, /* control page */
    PP_WORKER_FD_STATUS,  /* status page */
    PP_WORKER_FD_CRASH,   /* memfd for the fault handler's words */
    PP_WORKER_FDS,
};

struct pp_launch {
    uint32_t worker;         /* the host's name for it; not in use by a living one */
    const char *const *argv; /* NULL-terminated; argv[0] is the path to exec */
    const char *const *envp; /* NULL-terminated; the whole environment */
    const char *cwd;
    struct pp_policy policy;
    const uint8_t *box; /* lent */
    size_t box_size;
    int fds[PP_WORKER_FDS]; /* lent; [PP_WORKER_FD_STDIN] is ignored */
    int group;              /* lent: the file by which it enters its cgroup; 0: none */
};

enum pp_keeper_event_kind {
    PP_KEEPER_LAUNCHED = 1, /* exec succeeded: pid and pidfd are valid */
    PP_KEEPER_FAILED,       /* no process: step and error say why */
    PP_KEEPER_ENDED,        /* the worker is reaped and none of its tree is left */
    PP_KEEPER_STOPPED,      /* a signal has stopped it; it may go on by now */
};

struct pp_keeper_event {
    enum pp_keeper_event_kind kind;
    uint32_t worker;
    pid_t pid;
    int pidfd;                               /* LAUNCHED: the caller's to close; else -1 */
    int listener;                            /* likewise; -1 also where nobody listens */
    char step[32];                           /* FAILED: "fork", "rlimit", "chdir", "exec", ... */
    int error;                               /* FAILED: errno */
    int status;                              /* ENDED: as from waitpid(2) */
    int64_t user_us, system_us, max_rss_kib; /* ENDED: rusage */
};

enum {
    PP_KEEPER_NOTHING = 1, /* no event waits */
    PP_KEEPER_GONE,        /* the keeper has ended, and with it every worker */
};

/* Starts the executable at `path`, in new namespaces (CLONE_NEWPID with CLONE_NEWNS and perhaps
 * CLONE_NEWUSER) or, with 0, in the host's. All pids here are the host's own numbers all the
 * same, but for that of pp_keeper_adopt. With the directory of the workers' cgroups (0: there is
 * none) and its name it removes that one when it leaves. On error nothing is left. */
int pp_keeper_start(const char *path, int namespaces, int groups, const char *groups_name,
                    struct pp_keeper **keeperp);
/* Ends the keeper and with it every worker: closes the socket, kills it by pidfd if it
 * has not left after `grace_ms`, reaps it. NULL is fine. */
struct pp_keeper *pp_keeper_free(struct pp_keeper *keeper, int grace_ms);

pid_t pp_keeper_pid(const struct pp_keeper *keeper);
/* To poll for events (readable); non-blocking. */
int pp_keeper_fd(const struct pp_keeper *keeper);

/* Asks for a worker. The answer comes as an event. 0, -EAGAIN when the socket is full
 * (try again when it is writable), PP_KEEPER_GONE, or a negative errno. */
int pp_keeper_launch(struct pp_keeper *keeper, const struct pp_launch *launch);
/* Asks for the end of a worker and of everything it started. Unknown or ended
 * workers are ignored by the keeper. Same answers. */
int pp_keeper_kill(struct pp_keeper *keeper, uint32_t worker);
/* A template has forked a worker of this number, by its own word and as its namespace counts;
 * LAUNCHED or FAILED follows. Same answers. */
int pp_keeper_adopt(struct pp_keeper *keeper, uint32_t worker, pid_t pid);

/* The next event, without waiting. 0, PP_KEEPER_NOTHING, PP_KEEPER_GONE, or a
 * negative errno. */
int pp_keeper_read(struct pp_keeper *keeper, struct pp_keeper_event *eventp);

/* Forked copy of the host: closes the descriptors, frees, does nothing else. */
void pp_keeper_abandon(struct pp_keeper *keeper);

#endif
