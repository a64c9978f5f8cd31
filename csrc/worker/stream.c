/* stream.c - frames in and out of the call channel.
 *
 * The descriptor blocks when there is nothing else to do. A send that would block never
 * waits alone: the host may itself be writing, and two ends that both only write stay so for
 * ever. What comes in meanwhile is kept, up to a bound.
 */
#include "worker/worker.h"

#include "base/error.h"
#include "ipc/socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* Memory that the send buffer keeps between answers. */
enum { KEEP = 256 * 1024 };

static bool is_gone(ssize_t r)
{
    return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN;
}

/* Receives once into the reader. 0, PP_WORKER_END, or a negative errno. */
static int receive(struct pp_worker *worker, int flags)
{
    uint8_t *space;
    size_t room;
    ssize_t n;
    int r = pp_frame_reader_space(worker->reader, &space, &room);

    if (r < 0)
        return r;
    n = pp_socket_receive_attached(worker->call_fd, space, room, worker->attached,
                                   PP_ATTACHMENTS_MAX, &worker->n_attached, &worker->attached_lost,
                                   flags);
    if (n == 0 || is_gone(n))
        return PP_WORKER_END;
    if (n < 0)
        return (int)n;
    pp_frame_reader_filled(worker->reader, (size_t)n);
    worker->unread += (size_t)n;
    return 0;
}

/* Records that the event channel did not take go out while we wait for the host. */
int pp_worker_wait_readable(struct pp_worker *worker)
{
    struct pollfd fds[] = {
        {.fd = worker->call_fd, .events = POLLIN},
        {.fd = pp_worker_events_waiting(&worker->events), .events = POLLOUT},
    };

    while (fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0)
            return -errno;
        if (fds[0].revents)
            return 0;
        pp_worker_events_flush(&worker->events);
        fds[1].fd = pp_worker_events_waiting(&worker->events);
    }
    return 0;
}

/* A stream that waits for credit only looks, or goes on when its call is asked to stop. */
static int may_wait(struct pp_worker *worker)
{
    if (!worker->stream.polls)
        return 0;
    if (pp_worker_stopping(worker, worker->stream.id) != PP_SOFT_NONE)
        return PP_STREAM_STOP;
    return worker->stream.waits ? 0 : PP_STREAM_WAIT;
}

static int wait_for_bytes(struct pp_worker *worker)
{
    int looks = worker->stream.polls && !worker->stream.waits;
    /* A signal that came since the user's code ended would not interrupt what follows. */
    int r = worker->calls->interrupted(worker->token);

    if (r == 0)
        r = may_wait(worker);
    if (looks && r == PP_STREAM_WAIT) {
        r = receive(worker, MSG_DONTWAIT);
        return r == -EAGAIN || r == -EINTR ? PP_STREAM_WAIT : r;
    }
    if (r != 0)
        return r;
    worker->calls->before_wait(worker->token);
    r = pp_worker_wait_readable(worker);
    if (r == 0)
        r = receive(worker, 0);
    worker->calls->after_wait(worker->token);
    if (r == -EINTR)
        r = worker->calls->interrupted(worker->token);
    return r == 0 && worker->stream.polls ? may_wait(worker) : r;
}

static int read_body(struct pp_worker *worker, const uint8_t *body, size_t n,
                     struct pp_message *messagep)
{
    int r;

    worker->unread -= n + PP_FRAME_HEADER;
    if (n > worker->max_frame)
        return pp_fail(-EPROTO, "the host sent a frame over its own limit");
    pp_arena_reset(&worker->in);
    r = pp_message_read(&worker->in, PP_FROM_HOST, body, n, messagep);
    if (r == PP_MESSAGE_BAD)
        return pp_fail(-EPROTO, "the host sent a bad message (%s)", pp_message_why());
    return r;
}

int pp_worker_next(struct pp_worker *worker, struct pp_message *messagep)
{
    const uint8_t *body;
    size_t n;
    int r;

    if (worker->has_kept) {
        worker->has_kept = false;
        *messagep = worker->kept;
        return 0;
    }
    for (;;) {
        r = pp_frame_reader_next(worker->reader, &body, &n);
        if (r == 0)
            return read_body(worker, body, n, messagep);
        if (r < 0)
            return r;
        if (r != PP_FRAME_MORE)
            return pp_fail(-EPROTO, "the host sent a frame of a length that may not be");
        r = wait_for_bytes(worker);
        if (r != 0)
            return r;
    }
}

int pp_worker_next_now(struct pp_worker *worker, struct pp_message *messagep)
{
    const uint8_t *body;
    size_t n;
    int r;

    for (;;) {
        r = pp_frame_reader_next(worker->reader, &body, &n);
        if (r == 0)
            return read_body(worker, body, n, messagep);
        if (r < 0)
            return r;
        if (r != PP_FRAME_MORE)
            return pp_fail(-EPROTO, "the host sent a frame of a length that may not be");
        r = receive(worker, MSG_DONTWAIT);
        if (r != 0)
            return r == -EAGAIN || r == -EINTR ? PP_SHARE_QUIET : r;
    }
}

/* Waits until the host takes bytes again, and takes those it sends. */
static int wait_for_room(struct pp_worker *worker)
{
    struct pollfd fd = {.fd = worker->call_fd, .events = POLLOUT};
    int r;

    /* One whole frame of the host may wait here, and the beginning of the next. */
    if (worker->unread < 2 * (worker->max_frame + PP_FRAME_HEADER))
        fd.events |= POLLIN;
    worker->calls->before_wait(worker->token);
    r = poll(&fd, 1, -1) < 0 ? -errno : 0;
    if (r == 0 && (fd.revents & POLLIN))
        r = receive(worker, MSG_DONTWAIT);
    worker->calls->after_wait(worker->token);
    if (r == -EINTR)
        r = worker->calls->interrupted(worker->token);
    return r == -EAGAIN ? 0 : r;
}

static int send_all(struct pp_worker *worker)
{
    struct pp_buffer *out = &worker->out;
    int r = 0;

    while (r == 0 && pp_buffer_size(out) > 0) {
        ssize_t n = pp_socket_send(worker->call_fd, pp_buffer_bytes(out), pp_buffer_size(out),
                                   MSG_DONTWAIT);

        if (n > 0)
            pp_buffer_consume(out, (size_t)n);
        else if (n == -EAGAIN || n == -EINTR)
            r = wait_for_room(worker);
        else
            r = is_gone(n) ? PP_WORKER_END : (int)n;
    }
    return r;
}

int pp_worker_send(struct pp_worker *worker, const struct pp_message *message)
{
    int r = pp_message_write(&worker->out, &worker->scratch, worker->max_frame, message);

    pp_arena_reset(&worker->scratch);
    if (r < 0)
        return r;
    r = send_all(worker);
    pp_buffer_clear(&worker->out, KEEP);
    return r;
}
