/* hear.c - what a worker has printed and logged so far is in the host's queue.
 *
 * It writes all that before the answer that it belongs to, on other descriptors; so after an
 * answer "so far" is what waits in them, and a wait for it ends when they are empty.
 */
#include "supervisor/worker.h"

#include "base/clock.h"

#include <sys/ioctl.h>
#include <time.h>

enum { TURNS_MAX = 64, PAUSE_NS = 100 * 1000 };

/* Reads once; END when no more will come. */
static int read_events(struct pp_worker *worker)
{
    struct pp_message message;
    int r = pp_channel_fill(&worker->events);

    if (r != 0)
        return r;
    while ((r = pp_channel_next(&worker->events, &message)) == 0) {
        if (message.kind == PP_MESSAGE_PROGRESS) {
            const struct pp_supervisor *supervisor = worker->supervisor;

            if (!supervisor->calls->progress(supervisor->token, worker, &message.progress))
                return PP_CHANNEL_BROKEN;
            continue;
        }
        if (message.kind == PP_MESSAGE_EVENT) {
            const struct pp_supervisor *supervisor = worker->supervisor;

            if (!supervisor->calls->event(supervisor->token, worker, &message.event))
                return PP_CHANNEL_BROKEN;
            continue;
        }
        if (message.kind != PP_MESSAGE_LOG)
            return PP_CHANNEL_BROKEN;
        if (worker->supervisor->plan->events)
            pp_worker_deliver_log(worker, &message.log);
    }
    return r == PP_CHANNEL_MORE ? 0 : r;
}

int pp_worker_read_events(struct pp_worker *worker)
{
    int r;

    if (!worker->event_watch)
        return PP_CHANNEL_END;
    atomic_store(&worker->hearing, true);
    r = read_events(worker);
    atomic_store(&worker->hearing, false);
    if (r == 0 || r == PP_CHANNEL_MORE)
        return r;
    worker->event_watch = pp_watch_free(worker->event_watch);
    if (r == PP_CHANNEL_BROKEN)
        (void)pp_worker_doom(worker, "protocol");
    return PP_CHANNEL_END;
}

void pp_worker_hear(struct pp_worker *worker)
{
    int turns = 0;

    while (turns++ < TURNS_MAX && pp_worker_read_events(worker) == 0)
        ;
    for (int i = 0; i < 2; i++)
        pp_output_read(&worker->output[i]);
}

/* In this order: what is no longer in the socket was taken after `hearing` was set. */
static bool is_quiet(struct pp_worker *worker)
{
    int waiting = 0;

    if (ioctl(worker->events.fd, FIONREAD, &waiting) == 0 && waiting > 0)
        return false;
    return !atomic_load(&worker->hearing) && pp_output_is_quiet(&worker->output[0]) &&
           pp_output_is_quiet(&worker->output[1]);
}

bool pp_worker_heard(struct pp_worker *worker, int64_t until)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};

    while (!is_quiet(worker)) {
        if (pp_now() >= until)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}
