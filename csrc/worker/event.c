/* event.c - records for the host that nobody waits for.
 *
 * Written by any thread of the worker; a full channel drops a record and counts it, since
 * user code must never wait for a reader of logs. A record that is cut in the middle
 * by a full socket is finished later, before the next one.
 */
#include "worker/worker.h"

#include "base/error.h"
#include "ipc/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes that may wait for the socket, and the longest record. */
enum {
    WAITING_MAX = 512 * 1024,
    RECORD_MAX = 256 * 1024,
    KEEP = 16 * 1024,
    ARENA_MAX = 1024 * 1024
};

int pp_worker_events_init(struct pp_worker_events *events, int fd)
{
    int r = pthread_mutex_init(&events->lock, NULL);

    events->fd = fd;
    pp_arena_init(&events->arena, ARENA_MAX);
    pp_buffer_init(&events->out, WAITING_MAX);
    return r == 0 ? 0 : pp_fail(-r, "make the lock of the event channel");
}

void pp_worker_events_deinit(struct pp_worker_events *events)
{
    if (events->fd >= 0)
        (void)close(events->fd);
    events->fd = -1;
    pp_arena_deinit(&events->arena);
    pp_buffer_deinit(&events->out);
    (void)pthread_mutex_destroy(&events->lock);
}

/* The lock is held: writes the progress that waits behind what is in the buffer. */
static void write_waiting(struct pp_worker_events *events)
{
    struct pp_message message = {.kind = PP_MESSAGE_PROGRESS, .progress = events->waiting};

    events->waiting.call = 0;
    if (message.progress.call == 0)
        return;
    message.progress.sequence = ++events->sequence;
    if (pp_message_write(&events->out, &events->arena, RECORD_MAX, &message) < 0)
        events->dropped++;
    pp_arena_reset(&events->arena);
}

/* The lock is held. When the host no longer listens, records are dropped from then on. */
static void flush(struct pp_worker_events *events)
{
    struct pp_buffer *out = &events->out;

    if (pp_buffer_size(out) == 0)
        write_waiting(events);
    while (events->fd >= 0 && pp_buffer_size(out) > 0) {
        ssize_t n =
            pp_socket_send(events->fd, pp_buffer_bytes(out), pp_buffer_size(out), MSG_DONTWAIT);

        if (n > 0) {
            pp_buffer_consume(out, (size_t)n);
            if (pp_buffer_size(out) == 0)
                write_waiting(events);
        } else if (n == -EAGAIN) {
            return;
        } else if (n != -EINTR) {
            (void)close(events->fd);
            events->fd = -1;
        }
    }
    pp_buffer_clear(out, KEEP);
}

void pp_worker_events_flush(struct pp_worker_events *events)
{
    (void)pthread_mutex_lock(&events->lock);
    flush(events);
    (void)pthread_mutex_unlock(&events->lock);
}

int pp_worker_events_waiting(struct pp_worker_events *events)
{
    int fd;

    (void)pthread_mutex_lock(&events->lock);
    fd = pp_buffer_size(&events->out) > 0 || events->waiting.call ? events->fd : -1;
    (void)pthread_mutex_unlock(&events->lock);
    return fd;
}

uint64_t pp_worker_events_sequence(struct pp_worker_events *events)
{
    uint64_t sequence;

    (void)pthread_mutex_lock(&events->lock);
    sequence = events->sequence;
    (void)pthread_mutex_unlock(&events->lock);
    return sequence;
}

/* The lock is held. 0, or a negative errno when the record is lost. */
static int take(struct pp_worker_events *events, struct pp_message_log *log)
{
    struct pp_message message = {.kind = PP_MESSAGE_LOG};
    int r;

    if (events->fd < 0)
        return -EPIPE;
    flush(events);
    log->sequence = events->sequence + 1;
    log->dropped = events->dropped;
    message.log = *log;
    r = pp_message_write(&events->out, &events->arena, RECORD_MAX, &message);
    pp_arena_reset(&events->arena);
    if (r < 0)
        return r;
    events->sequence++;
    flush(events);
    return 0;
}

int pp_worker_log(struct pp_worker *worker, struct pp_message_log *log)
{
    struct pp_worker_events *events = &worker->events;
    int r;

    /* A forked copy shares the socket: its bytes would fall between ours. */
    if (pp_is_fork_copy(&worker->mark))
        return 0;
    (void)pthread_mutex_lock(&events->lock);
    r = take(events, log);
    if (r < 0)
        events->dropped++;
    (void)pthread_mutex_unlock(&events->lock);
    return 0;
}

void pp_worker_refused(struct pp_worker *worker, uint64_t call, struct pp_bytes text)
{
    struct pp_worker_events *events = &worker->events;
    struct pp_message message = {
        .kind = PP_MESSAGE_EVENT,
        .event = {.call = call, .kind = PP_EVENT_REFUSED, .text = text},
    };

    if (pp_is_fork_copy(&worker->mark))
        return;
    (void)pthread_mutex_lock(&events->lock);
    flush(events);
    message.event.sequence = events->sequence + 1;
    if (events->fd < 0 || pp_message_write(&events->out, &events->arena, RECORD_MAX, &message) < 0)
        events->dropped++;
    else
        events->sequence++;
    pp_arena_reset(&events->arena);
    flush(events);
    (void)pthread_mutex_unlock(&events->lock);
}

void pp_worker_progress(struct pp_worker *worker, const struct pp_message_progress *progress)
{
    struct pp_worker_events *events = &worker->events;

    if (pp_is_fork_copy(&worker->mark))
        return;
    (void)pthread_mutex_lock(&events->lock);
    /* A newer one takes the place of one that could not go: only the newest counts. But of two
     * calls that run side by side each has its own. */
    if (events->waiting.call && events->waiting.call != progress->call)
        write_waiting(events);
    events->waiting = *progress;
    if (progress->message.size)
        memcpy(events->words, progress->message.data, progress->message.size);
    events->waiting.message.data = (const uint8_t *)events->words;
    flush(events);
    (void)pthread_mutex_unlock(&events->lock);
}
