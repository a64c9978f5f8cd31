/* usage.h - what a worker and all that it started hold and have used, by the kernel's word.
 *
 * Read from /proc, see proc(5): a few dozen microseconds a look. Nothing here is kept; a
 * process that ends meanwhile counts as nothing. Any thread.
 */
#ifndef PP_SUPERVISOR_USAGE_H
#define PP_SUPERVISOR_USAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pp_usage {
    uint64_t memory;    /* bytes: anonymous memory, and shared memory that is mapped or held open */
    uint64_t data;      /* bytes: of the process itself, what RLIMIT_DATA counts */
    int64_t cpu_ns;     /* with that of children which were waited for */
    uint32_t processes; /* beside the process itself; those not yet waited for are some */
    uint32_t threads;   /* of all, beside the first of each */
};

/* The tree below `pid`, itself included, and those of `keeper`'s children that are in its
 * session: they have lost their parent. */
void pp_usage_read(pid_t pid, pid_t keeper, struct pp_usage *usage);

/* Whether the process was stopped by a signal (SIGSTOP), not by a debugger. */
bool pp_usage_stopped(pid_t pid);

/* Kills that the kernel has made for want of memory since it started; 0: not known. */
uint64_t pp_usage_oom_kills(void);

#endif
