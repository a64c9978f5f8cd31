/* stop.c - ends a worker: asks the call to stop, asks for a stack, kills.
 *
 * A stack is worth a few milliseconds of a worker that is doomed anyway, never more: one that
 * is stopped, blocks the signal or hangs in the kernel is killed without.
 */
#include "supervisor/worker.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/obituary.h"
#include "supervisor/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a kill may be put off for a stack. */
#define DUMP_TIME (10 * PP_MS)
/* The same for one that takes memory: its other threads go on meanwhile, at 5 GiB a second or so,
 * and 64 MiB beyond the limit are promised. */
#define DUMP_TIME_MEMORY (8 * PP_MS)
/* Who made a call that is never allowed stands still, and whatever else it might do it could have
 * done before: there is time. */
#define DUMP_TIME_SANDBOX (250 * PP_MS)

static bool doomed_by(const struct pp_worker *worker, const char *word)
{
    const char *cause = atomic_load(&worker->cause);

    return cause && strcmp(cause, word) == 0;
}

static bool send(const struct pp_worker *worker, int number)
{
    return worker->pidfd >= 0 &&
           syscall(SYS_pidfd_send_signal, worker->pidfd, number, NULL, 0U) == 0;
}

void pp_worker_soften(struct pp_worker *worker, uint64_t call, enum pp_soft why)
{
    atomic_store(&worker->control->soft, (uint32_t)why);
    atomic_store(&worker->control->cancelled, call);
    (void)send(worker, PP_SIGNAL_STOP);
}

/* Whether where it stands explains this end: it was running something that somebody stopped. */
static bool has_a_story(const struct pp_worker *worker)
{
    static const char *const causes[] = {"timeout", "cancel",  "memory",        "cpu",
                                         "output",  "stopped", "start timeout", "sandbox"};
    const char *cause = atomic_load(&worker->cause);
    int state = atomic_load(&worker->state);

    if (state != PP_WORKER_BUSY && state != PP_WORKER_IMPORTING)
        return false;
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++)
        if (strcmp(cause, causes[i]) == 0)
            return true;
    return false;
}

/* The value behind `name` in /proc/<pid>/status, see proc(5). */
static const char *find_field(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? at + strlen(name) : "";
}

static uint64_t signals_in(const char *status, const char *name)
{
    return strtoull(find_field(status, name), NULL, 16);
}

/* Why a living process did not write what it was asked for. */
static const char *why_silent(const struct pp_worker *worker, const char *late)
{
    const uint64_t bit = 1ULL << (PP_SIGNAL_DUMP - 1);
    char path[32], text[2048];
    PP_AUTO_FD fd = -1;
    ssize_t n = -1;
    char state;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)atomic_load(&worker->pid));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    state = *find_field(text, "\nState:\t");
    if (state == 'T' || state == 't')
        return "the process was stopped";
    if (state == 'D')
        return "the process hung in the kernel";
    if (signals_in(text, "\nSigBlk:\t") & bit)
        return "the process blocks the signal that asks for one";
    if (!(signals_in(text, "\nSigCgt:\t") & bit))
        return "the process has no handler for the signal that asks for one";
    return late;
}

/* True when the kill has to wait. */
static bool awaits_stack(struct pp_worker *worker)
{
    if (!worker->dump_asked) {
        worker->dump_asked = true;
        atomic_store(&worker->control->look, 0); /* this time it does not go on */
        if (doomed_by(worker, "memory"))
            pp_group_yield(&worker->group);
        if (!has_a_story(worker) || !send(worker, PP_SIGNAL_DUMP))
            return false;
        worker->dump_until = pp_after(pp_now(), doomed_by(worker, "memory")    ? DUMP_TIME_MEMORY
                                                : doomed_by(worker, "sandbox") ? DUMP_TIME_SANDBOX
                                                                               : DUMP_TIME);
        return true;
    }
    if (worker->dump_until == PP_NEVER)
        return false;
    if (atomic_load(&worker->status->dumped) == 0) {
        if (pp_now() < worker->dump_until)
            return true;
        worker->no_stack = why_silent(
            worker, doomed_by(worker, "memory")    ? "the process did not write one within 8 ms"
                    : doomed_by(worker, "sandbox") ? "the process did not write one within 250 ms"
                                                   : "the process did not write one within 10 ms");
    }
    worker->dump_until = PP_NEVER;
    return false;
}

const char *pp_worker_look(struct pp_worker *worker, uint32_t number)
{
    int state = atomic_load(&worker->state);
    const char *why;

    if (worker->pidfd < 0 || worker->dump_asked || worker->killed ||
        (state != PP_WORKER_READY && state != PP_WORKER_BUSY && state != PP_WORKER_DRAINING))
        return "the worker is being started, or ends";
    /* Without its handler the signal would end it. */
    why = why_silent(worker, NULL);
    if (why)
        return why;
    atomic_store(&worker->control->look, number);
    return send(worker, PP_SIGNAL_DUMP) ? NULL : "the worker ends";
}

bool pp_worker_looked(struct pp_worker *worker, uint32_t number, char *text, size_t size,
                      size_t *np)
{
    static const char blank[4096];
    ssize_t n;

    if (atomic_load(&worker->status->looked) != number)
        return false;
    n = pread(worker->crash_fd, text, size, 0);
    *np = n > 0 ? strnlen(text, (size_t)n) : 0;
    /* The next one begins at the start again, and a crash does not show this one: the offset is
     * the worker's too. */
    for (off_t at = 0; at < PP_CRASH_SIZE; at += (off_t)sizeof blank)
        if (pwrite(worker->crash_fd, blank, sizeof blank, at) < 0)
            break;
    (void)lseek(worker->crash_fd, 0, SEEK_SET);
    return true;
}

/* What it holds at the very end is what the error calls its peak. */
static void weigh(struct pp_worker *worker)
{
    const struct pp_keeper *keeper = worker->supervisor->keeper;
    struct pp_usage usage;
    uint64_t held;

    if (!keeper || !doomed_by(worker, "memory"))
        return;
    if (!worker->how && pp_group_stalls(&worker->group, 0))
        worker->how = "cgroup"; /* we saw it first, and it has run into the wall since */
    held = pp_group_used(&worker->group);
    if (worker->how && held > worker->used)
        worker->used = held;
    pp_usage_read(atomic_load(&worker->pid), pp_keeper_pid(keeper), &usage);
    if (usage.memory > worker->base_memory + worker->used)
        worker->used = usage.memory - worker->base_memory;
}

void pp_worker_kill(struct pp_worker *worker)
{
    if (worker->killed || atomic_load(&worker->state) == PP_WORKER_DEAD || awaits_stack(worker))
        return;
    worker->killed = true;
    weigh(worker);
    /* Whoever waits for an answer sees the end even when a grandchild holds the other
     * end; bytes that wait already are read first (unix(7)). */
    pp_channel_shutdown(&worker->channel);
    (void)send(worker, SIGKILL);
    /* The keeper ends the rest of the tree, and the worker itself when it is still
     * being launched. A full socket is no reason to forget: try again. */
    if (worker->supervisor->keeper &&
        pp_keeper_kill(worker->supervisor->keeper, worker->id) == -EAGAIN) {
        worker->killed = false;
        atomic_store(&worker->supervisor->doomed, true);
    }
}
