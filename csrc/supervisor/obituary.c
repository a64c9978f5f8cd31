/* obituary.c - the fields of a death. */
#include "supervisor/obituary.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/futex.h"
#include "supervisor/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int pp_crash_make(int *fdp)
{
    PP_AUTO_FD fd = memfd_create("pyproc-crash", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return pp_fail(-errno, "make the crash file");
    if (ftruncate(fd, PP_CRASH_SIZE) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return pp_fail(-errno, "size the crash file");
    *fdp = pp_take_fd(&fd);
    return 0;
}

/* The fault handler writes plain text; a NUL is where it stopped. */
static void read_stack(struct pp_worker *worker)
{
    char *text = malloc(PP_CRASH_SIZE);
    ssize_t n = text ? pread(worker->crash_fd, text, PP_CRASH_SIZE, 0) : -1;
    size_t size = n > 0 ? strnlen(text, (size_t)n) : 0;

    if (size == 0) {
        free(text);
        return;
    }
    worker->python_stack = text;
    worker->death.python_stack = (struct pyproc_bytes){text, size};
}

static const char *missing_stack(const struct pp_worker *worker)
{
    const struct pyproc_death *death = &worker->death;

    if (death->python_stack.size)
        return NULL;
    if (worker->no_stack)
        return worker->no_stack;
    if (death->signal == SIGKILL)
        return "SIGKILL leaves no time to write one";
    if (death->exit_code >= 0)
        return "the process left by itself";
    if (death->signal)
        return "the fault handler did not run";
    return "how the process ended is not known";
}

/* Whether the kernel has killed somebody for want of memory since we looked last. Machine-wide,
 * so it is a likely reason, not a sure one. */
static bool kernel_was_short(struct pp_supervisor *supervisor)
{
    uint64_t kills = pp_usage_oom_kills();
    bool more = kills > supervisor->oom_kills;

    supervisor->oom_kills = kills;
    return more;
}

/* The kernel has killed it for want of memory: by its own group's limit, or somebody else's. */
static const char *word_of_group(struct pp_worker *worker)
{
    bool own = false;

    if (worker->death.signal != SIGKILL || !pp_group_was_killed(&worker->group, &own))
        return NULL;
    worker->how = "cgroup";
    if (!own)
        return "oom";
    worker->limit = worker->supervisor->plan->memory_limit;
    worker->used = pp_group_peak(&worker->group);
    return "memory";
}

static const char *word_for(struct pp_worker *worker)
{
    const char *cause = atomic_load(&worker->cause);

    if (!cause)
        cause = word_of_group(worker);
    if (cause)
        return cause;
    if (worker->death.signal == SIGKILL && kernel_was_short(worker->supervisor))
        return "oom";
    if (worker->death.signal == SIGSYS && worker->supervisor->plan->box)
        return "sandbox";
    if (worker->death.signal)
        return "signal";
    return worker->death.exit_code >= 0 ? "exit" : "keeper";
}

/* Which call it was: the kernel's word by the tripwire, else a claim, where only the signal is the
 * kernel's word. */
static void read_refused(struct pp_worker *worker)
{
    struct pyproc_death *death = &worker->death;
    uint32_t refused = worker->status ? atomic_load(&worker->status->refused) : 0;

    death->refused = -1;
    if (strcmp(death->cause, "sandbox") != 0)
        return;
    if (worker->violation.seen) {
        death->refused = worker->violation.number;
        death->refused_by = worker->violation.pid;
        memcpy(death->refused_arguments, worker->violation.arguments,
               sizeof death->refused_arguments);
        return;
    }
    if (refused == 0)
        return;
    death->refused = (int64_t)refused - 1;
    memcpy(death->refused_arguments, worker->status->refused_arguments,
           sizeof death->refused_arguments);
}

static void fill(struct pp_worker *worker, const struct pp_keeper_event *event)
{
    struct pyproc_death *death = &worker->death;

    death->exit_code = -1;
    death->pid = atomic_load(&worker->pid);
    death->worker_id = worker->id;
    death->age = (double)(pp_now() - worker->born) / 1e9;
    death->tasks_done = atomic_load(&worker->tasks_done);
    if (event) {
        if (WIFSIGNALED(event->status))
            death->signal = WTERMSIG(event->status);
        else if (WIFEXITED(event->status))
            death->exit_code = WEXITSTATUS(event->status);
        death->user_us = event->user_us;
        death->system_us = event->system_us;
        death->max_rss_kib = event->max_rss_kib;
    }
    read_stack(worker);
    death->python_stack_missing = missing_stack(worker);
    death->stderr_tail = (struct pyproc_bytes){worker->output[1].tail, worker->output[1].tail_size};
    death->cause = word_for(worker);
    read_refused(worker);
}

void pp_worker_ended(struct pp_worker *worker, const struct pp_keeper_event *event)
{
    /* Nothing of its tree is left, so all that it wrote is in the pipes by now. */
    pp_worker_hear(worker);
    pp_output_finish(&worker->output[0]);
    pp_output_finish(&worker->output[1]);
    fill(worker, event);
    worker->violation.busy = atomic_load(&worker->state) == PP_WORKER_BUSY;
    pp_group_remove(&worker->group);
    atomic_store(&worker->state, PP_WORKER_DEAD);
    pp_futex_set(&worker->ended, 1);
    /* A child that outlived worker and keeper may hold the other end: who still reads finds
     * what was written, and then the end. */
    (void)shutdown(worker->channel.fd, SHUT_RDWR);
}

enum pyproc_end pp_worker_end(const struct pp_worker *worker)
{
    const char *cause = worker->death.cause;

    if (strcmp(cause, "timeout") == 0)
        return PYPROC_END_RUN_TIMEOUT;
    if (strcmp(cause, "cancel") == 0)
        return PYPROC_END_TASK_KILLED;
    if (strcmp(cause, "memory") == 0)
        return PYPROC_END_MEMORY;
    if (strcmp(cause, "cpu") == 0)
        return PYPROC_END_CPU;
    if (strcmp(cause, "output") == 0)
        return PYPROC_END_OUTPUT;
    if (strcmp(cause, "processes") == 0)
        return PYPROC_END_PROCESSES;
    if (strcmp(cause, "threads") == 0)
        return PYPROC_END_THREADS;
    if (strcmp(cause, "protocol") == 0)
        return PYPROC_END_PROTOCOL;
    if (strcmp(cause, "closed") == 0)
        return PYPROC_END_CLOSED;
    if (strcmp(cause, "exit") == 0)
        return PYPROC_END_EXITED;
    if (strcmp(cause, "sandbox") == 0)
        return PYPROC_END_CRASHED;
    if (strcmp(cause, "signal") == 0 && worker->death.signal != SIGKILL &&
        worker->death.signal != SIGTERM && worker->death.signal != SIGINT)
        return PYPROC_END_CRASHED;
    return PYPROC_END_KILLED;
}

void pp_worker_obituary(const struct pp_worker *worker, struct pyproc_reply *reply)
{
    pp_reply_end(reply, pp_worker_end(worker), NULL);
    pp_reply_death(reply, &worker->death);
    reply->limit = worker->limit;
    reply->used = worker->used;
    reply->how = worker->how;
    if (!reply->how && reply->end == PYPROC_END_MEMORY)
        reply->how = "watchdog";
}
