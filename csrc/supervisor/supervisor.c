/* supervisor.c - the keeper's reports become the workers' states. */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "supervisor/obituary.h"
#include "supervisor/tripwire.h"
#include "supervisor/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a keeper may take to end everybody before it is killed itself; its workers
 * then die with it (PDEATHSIG). */
enum { KEEPER_GRACE_MS = 2000 };

static void launched(struct pp_worker *worker, struct pp_keeper_event *event)
{
    atomic_store(&worker->pid, event->pid);
    worker->pidfd = event->pidfd;
    event->pidfd = -1;
    if (event->listener >= 0 && pp_tripwire_new(worker, pp_take_fd(&event->listener)) < 0)
        (void)pp_worker_doom(worker, "host"); /* there would be nobody to hear it */
    if (worker->killed) {                     /* doomed while it was being launched */
        worker->killed = false;
        pp_worker_kill(worker);
        return;
    }
    atomic_store(&worker->state, PP_WORKER_IMPORTING);
    pp_worker_send_on(worker);
}

void pp_supervisor_orphaned(struct pp_worker *worker)
{
    worker->fork_deadline = PP_NEVER;
    (void)pp_worker_doom(worker, "template");
    pp_worker_ended(worker, NULL);
    worker->supervisor->calls->dead(worker->supervisor->token, worker);
}

/* There is no process: say which step the kernel refused. */
void pp_supervisor_failed(struct pp_worker *worker, const struct pp_keeper_event *event)
{
    bool short_of_room =
        strcmp(event->step, "fork") == 0 && (event->error == EAGAIN || event->error == ENOMEM);
    char text[256], reason[64];

    if (strcmp(event->step, "adopt") == 0) { /* it died with its template, or just before */
        pp_supervisor_orphaned(worker);
        return;
    }
    /* GNU strerror_r: it may answer a constant and leave `reason` alone. */
    (void)snprintf(text, sizeof text, "the worker process could not be started: step %s: %s (%s)",
                   event->step, strerror_r(event->error, reason, sizeof reason),
                   worker->supervisor->plan->argv[0]);
    worker->start = calloc(1, sizeof *worker->start);
    if (worker->start)
        pp_reply_end(&worker->start->reply, PYPROC_END_START, text);
    (void)pp_worker_doom(worker, short_of_room ? "host" : "start");
    pp_worker_ended(worker, NULL);
    worker->supervisor->calls->dead(worker->supervisor->token, worker);
}

static void ended(struct pp_worker *worker, const struct pp_keeper_event *event)
{
    if (atomic_load(&worker->state) == PP_WORKER_IMPORTING)
        pp_worker_import_readable(worker); /* why it could not start may wait there */
    if (atomic_load(&worker->state) == PP_WORKER_DEAD)
        return;
    pp_worker_ended(worker, event);
    worker->supervisor->calls->dead(worker->supervisor->token, worker);
}

static void handle(struct pp_supervisor *supervisor, struct pp_keeper_event *event)
{
    struct pp_worker *worker = supervisor->find(supervisor->token, event->worker);

    if (worker && event->kind == PP_KEEPER_LAUNCHED)
        launched(worker, event);
    else if (worker && event->kind == PP_KEEPER_FAILED)
        pp_supervisor_failed(worker, event);
    else if (worker && event->kind == PP_KEEPER_ENDED)
        ended(worker, event);
    else if (worker && event->kind == PP_KEEPER_STOPPED)
        supervisor->calls->stopped(supervisor->token, worker);
    (void)pp_close(event->pidfd);
    (void)pp_close(event->listener);
}

/* PDEATHSIG names the keeper, so with it everybody goes. But a worker may have taken that back,
 * and one that was stopped just after its fork has not yet set it. */
static void end_orphan(const struct pp_worker *worker)
{
    if (worker->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0U);
}

static void keeper_gone(struct pp_supervisor *supervisor)
{
    struct pp_worker *worker;
    int64_t now = pp_now();

    supervisor->keeper_watch = pp_watch_free(supervisor->keeper_watch);
    supervisor->keeper = pp_keeper_free(supervisor->keeper, 0);
    (void)__atomic_fetch_add(&supervisor->keeper_restarts, 1, __ATOMIC_RELAXED);
    /* The first death already starts a replacement, under a new keeper: it comes last. */
    while ((worker = supervisor->find(supervisor->token, 0)) != NULL && worker->born <= now) {
        (void)pp_worker_doom(worker, "keeper");
        end_orphan(worker);
        ended(worker, NULL);
    }
}

static void on_keeper(void *token, int events)
{
    struct pp_supervisor *supervisor = token;
    struct pp_keeper_event event = {.pidfd = -1, .listener = -1};
    int r;

    (void)events;
    while (supervisor->keeper && (r = pp_keeper_read(supervisor->keeper, &event)) == 0) {
        handle(supervisor, &event);
        event = (struct pp_keeper_event){.pidfd = -1, .listener = -1};
    }
    if (supervisor->keeper && r != PP_KEEPER_NOTHING)
        keeper_gone(supervisor);
}

static void end_keeper(struct pp_supervisor *supervisor)
{
    supervisor->keeper_watch = pp_watch_free(supervisor->keeper_watch);
    supervisor->keeper = pp_keeper_free(supervisor->keeper, KEEPER_GRACE_MS);
}

int pp_supervisor_ensure_keeper(struct pp_supervisor *supervisor)
{
    const struct pp_groups *groups = &supervisor->groups;
    int r;

    if (supervisor->keeper)
        return 0;
    r = pp_keeper_start(supervisor->plan->keeper, supervisor->plan->keeper_namespaces,
                        groups->kind ? groups->directory : 0, groups->name, &supervisor->keeper);
    if (r < 0)
        return r;
    r = pp_watch_new(supervisor->loop, pp_keeper_fd(supervisor->keeper), on_keeper, supervisor,
                     &supervisor->keeper_watch);
    if (r == 0)
        r = pp_watch_set(supervisor->keeper_watch, PP_WATCH_READ);
    if (r < 0)
        end_keeper(supervisor);
    return r;
}

void pp_supervisor_deinit(struct pp_supervisor *supervisor)
{
    end_keeper(supervisor);
    pp_groups_close(&supervisor->groups);
}
