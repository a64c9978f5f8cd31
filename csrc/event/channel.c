/* channel.c - the one place of the host that moves a worker's bytes. */
#include "event/channel.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "ipc/socket.h"
#include "wire/frame.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

/* Memory an idle channel may keep. */
enum { KEEP = 64 * 1024 };

/* A frame that has begun goes on at this pace, or its sender is not working on it: whoever drips
 * bytes could keep a call, and a large buffer, for ever. Far below what a busy machine does. */
#define PACE_TIME (10 * PP_SECOND)
#define PACE_BYTES ((size_t)64 * 1024)

/* Of an arena, beside four times the limit of a body. */
#define ARENA_ROOM ((size_t)16 << 20)

static _Thread_local const char *why = "";

const char *pp_channel_why(void)
{
    return why;
}

int pp_channel_init(struct pp_channel *channel, int fd, size_t limit)
{
    /* So that EINTR reaches a waiting caller even under SA_RESTART, and a lost
     * signal is seen after a second: socket(7), signal(7). */
    const struct timeval second = {.tv_sec = 1};
    int r;

    channel->fd = fd;
    channel->limit = limit;
    /* Frames written ahead wait here; the dispatcher bounds them. */
    pp_buffer_init(&channel->out, SIZE_MAX / 2);
    /* A body, its arrays of parts, and room for alignment. */
    pp_arena_init(&channel->arena, limit > SIZE_MAX / 8 ? SIZE_MAX : limit * 4 + ARENA_ROOM);
    r = pp_frame_reader_new(limit, &channel->reader);
    if (r < 0) {
        channel->reader = NULL;
        pp_channel_deinit(channel);
        return r;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) < 0) {
        r = pp_fail(-errno, "set the channel's receive time");
        pp_channel_deinit(channel);
        return r;
    }
    return 0;
}

void pp_channel_deinit(struct pp_channel *channel)
{
    channel->fd = pp_close(channel->fd);
    channel->reader = pp_frame_reader_free(channel->reader);
    pp_buffer_deinit(&channel->out);
    pp_arena_deinit(&channel->arena);
}

void pp_channel_shutdown(struct pp_channel *channel)
{
    (void)shutdown(channel->fd, SHUT_RDWR);
}

int pp_channel_put(struct pp_channel *channel, const struct pp_message *message)
{
    int r = pp_message_write(&channel->out, &channel->arena, channel->limit, message);

    /* Nothing read before is looked at any more when we write. */
    pp_arena_reset(&channel->arena);
    return r;
}

/* Descriptors go with the first bytes that do: a worker has them when it has the frame. */
static ssize_t send_some(struct pp_channel *channel)
{
    const uint8_t *bytes = pp_buffer_bytes(&channel->out);
    size_t size = pp_buffer_size(&channel->out);
    ssize_t n;

    if (channel->n_attached == 0)
        return pp_socket_send(channel->fd, bytes, size, MSG_DONTWAIT);
    n = pp_socket_send_attached(channel->fd, bytes, size, channel->attached, channel->n_attached,
                                MSG_DONTWAIT);
    if (n > 0)
        pp_channel_detach(channel);
    return n;
}

int pp_channel_flush(struct pp_channel *channel)
{
    while (pp_buffer_size(&channel->out) > 0) {
        ssize_t n = send_some(channel);

        if (n == -EAGAIN)
            return PP_CHANNEL_MORE;
        if (n == -EINTR)
            continue;
        if (n == -EPIPE || n == -ECONNRESET)
            return PP_CHANNEL_END;
        if (n < 0)
            return (int)n;
        pp_buffer_consume(&channel->out, (size_t)n);
    }
    pp_buffer_clear(&channel->out, KEEP);
    return 0;
}

bool pp_channel_is_slow(struct pp_channel *channel)
{
    int64_t now;

    if (channel->partial_since == 0)
        return false;
    now = pp_now();
    if (now - channel->partial_since < PACE_TIME)
        return false;
    if (channel->partial_bytes < PACE_BYTES) {
        why = "an answer came too slowly";
        return true;
    }
    channel->partial_since = now;
    channel->partial_bytes = 0;
    return false;
}

/* Small frames come whole: no clock is looked at. */
static int keep_pace(struct pp_channel *channel, size_t n)
{
    if (channel->unhurried || !pp_frame_reader_partial(channel->reader) ||
        pp_frame_reader_ready(channel->reader)) {
        channel->partial_since = 0;
        return 0;
    }
    if (channel->partial_since == 0) {
        channel->partial_since = pp_now();
        channel->partial_bytes = 0;
    }
    channel->partial_bytes += n;
    return pp_channel_is_slow(channel) ? PP_CHANNEL_BROKEN : 0;
}

static int receive(struct pp_channel *channel, int flags)
{
    uint8_t *space;
    size_t n;
    ssize_t got;
    int r = pp_frame_reader_space(channel->reader, &space, &n);

    if (r < 0)
        return r;
    got = pp_socket_receive(channel->fd, space, n, flags);
    if (got > 0) {
        pp_frame_reader_filled(channel->reader, (size_t)got);
        return keep_pace(channel, (size_t)got);
    }
    if (got == 0 || got == -ECONNRESET)
        return PP_CHANNEL_END;
    if (got == -EBADMSG) {
        why = "a descriptor came, and nobody asked for one";
        return PP_CHANNEL_BROKEN;
    }
    return (int)got;
}

int pp_channel_fill(struct pp_channel *channel)
{
    int r = receive(channel, MSG_DONTWAIT);

    if (r == -EAGAIN || r == -EINTR)
        return PP_CHANNEL_MORE;
    return r;
}

int pp_channel_next(struct pp_channel *channel, struct pp_message *messagep)
{
    const uint8_t *body;
    size_t n;
    int r = pp_frame_reader_next(channel->reader, &body, &n);

    if (r == PP_FRAME_MORE)
        return PP_CHANNEL_MORE;
    if (r != 0) {
        why = r == PP_FRAME_TOO_LONG ? "a frame is longer than the limit" : "a frame has no body";
        return PP_CHANNEL_BROKEN;
    }
    pp_arena_reset(&channel->arena);
    r = pp_message_read(&channel->arena, PP_FROM_WORKER, body, n, messagep);
    if (r == PP_MESSAGE_BAD) {
        why = pp_message_why();
        return PP_CHANNEL_BROKEN;
    }
    return r;
}

/* Waits until the socket takes bytes; meanwhile takes what comes, up to one frame: a
 * worker that answers before it has the whole question gets no second one read. */
static int wait_for_room(struct pp_channel *channel)
{
    struct pollfd p = {.fd = channel->fd, .events = POLLOUT};
    int n;

    if (!pp_frame_reader_ready(channel->reader))
        p.events |= POLLIN;
    n = poll(&p, 1, 1000);
    if (n == 0 || (n < 0 && errno == EINTR))
        return PP_CHANNEL_INTERRUPT;
    if (n < 0)
        return -errno;
    if (p.revents & POLLIN)
        return pp_channel_fill(channel);
    return p.revents & (POLLERR | POLLHUP) && !(p.revents & POLLOUT) ? PP_CHANNEL_END : 0;
}

int pp_channel_flush_wait(struct pp_channel *channel)
{
    for (;;) {
        int r = pp_channel_flush(channel);

        if (r != PP_CHANNEL_MORE)
            return r;
        r = wait_for_room(channel);
        if (r != 0 && r != PP_CHANNEL_MORE)
            return r;
    }
}

int pp_channel_next_wait(struct pp_channel *channel, struct pp_message *messagep)
{
    for (;;) {
        int r = pp_channel_next(channel, messagep);

        if (r != PP_CHANNEL_MORE)
            return r;
        r = receive(channel, 0);
        if (r == -EAGAIN || r == -EINTR)
            return pp_channel_is_slow(channel) ? PP_CHANNEL_BROKEN : PP_CHANNEL_INTERRUPT;
        if (r != 0)
            return r;
    }
}
