/* memory.c - memory for a large result, asked of the host in the middle of a call.
 *
 * The answer comes on the event channel, where nothing else does: calls that were written ahead
 * may stand on the call channel before it. One that comes late, for a result that was given
 * up, is known by its number.
 */
#include "worker/worker.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "ipc/socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* A grant has a few small numbers. */
enum { GRANT_MAX = 128 };

/* Bytes of one frame, and what came with them. */
struct grant_reader {
    uint8_t bytes[PP_FRAME_HEADER + GRANT_MAX];
    size_t n;
    int fd; /* owned; -1: none */
};

static int wait_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd < 0)
        return -ECONNRESET; /* a thread that logged found the host gone */
    while (poll(&p, 1, -1) < 0)
        if (errno != EINTR) /* signals are looked at when the call goes on */
            return -errno;
    return 0;
}

/* Reads until `n` bytes are there. 0, PP_WORKER_END, or a negative errno. */
static int read_up_to(int event_fd, struct grant_reader *reader, size_t n)
{
    while (reader->n < n) {
        int fds[1];
        size_t n_fds = 0;
        bool lost = false;
        int r = wait_readable(event_fd);
        ssize_t got;

        if (r < 0)
            return r;
        got = pp_socket_receive_attached(event_fd, reader->bytes + reader->n, n - reader->n, fds, 1,
                                         &n_fds, &lost, MSG_DONTWAIT);
        if (n_fds > 0) {
            (void)pp_close(reader->fd);
            reader->fd = fds[0];
        }
        if (got == -EAGAIN || got == -EINTR)
            continue;
        if (got == 0 || got == -ECONNRESET)
            return PP_WORKER_END;
        if (got < 0)
            return (int)got;
        reader->n += (size_t)got;
    }
    return 0;
}

/* One grant. 0, PP_WORKER_END, or a negative errno; the reader's descriptor is the caller's. */
static int read_grant(struct pp_worker *worker, struct grant_reader *reader,
                      struct pp_message_memory_grant *grantp)
{
    struct pp_message message;
    struct pp_arena arena;
    size_t size;
    int r = read_up_to(worker->events.fd, reader, PP_FRAME_HEADER);

    if (r != 0)
        return r;
    size = (size_t)reader->bytes[0] << 24 | (size_t)reader->bytes[1] << 16 |
           (size_t)reader->bytes[2] << 8 | reader->bytes[3];
    if (size > GRANT_MAX)
        return pp_fail(-EPROTO, "the host granted memory with %zu bytes", size);
    r = read_up_to(worker->events.fd, reader, PP_FRAME_HEADER + size);
    if (r != 0)
        return r;
    pp_arena_init(&arena, pp_message_arena_limit(GRANT_MAX));
    r = pp_message_read(&arena, PP_FROM_HOST, reader->bytes + PP_FRAME_HEADER, size, &message);
    if (r == PP_MESSAGE_BAD || (r == 0 && message.kind != PP_MESSAGE_MEMORY_GRANT))
        r = pp_fail(-EPROTO, "the host sent a bad grant");
    if (r == 0)
        *grantp = message.memory_grant;
    pp_arena_deinit(&arena);
    return r;
}

static int await_grant(struct pp_worker *worker, uint32_t number, int *fdp, bool *warmp)
{
    for (;;) {
        struct grant_reader reader = {.fd = -1};
        struct pp_message_memory_grant grant = {0};
        int r = read_grant(worker, &reader, &grant);

        if (r == 0 && grant.number == number && grant.error == 0 && reader.fd >= 0) {
            *fdp = pp_fd_above_stdio(reader.fd);
            *warmp = grant.warm;
            return *fdp < 0 ? *fdp : 0;
        }
        (void)pp_close(reader.fd);
        if (r == 0 && grant.number == number) /* no descriptor: this process may have no more */
            r = grant.error ? -(int)(grant.error & 0xfff) : -EMFILE;
        if (r == PP_WORKER_END)
            r = pp_fail(-ECONNRESET, "wait for memory of the host");
        if (r != 0)
            return r;
    }
}

int pp_worker_memory(struct pp_worker *worker, uint64_t call, uint64_t size, int *fdp, bool *warmp)
{
    struct pp_message message = {
        .kind = PP_MESSAGE_MEMORY_REQUEST,
        .memory_request = {.id = call, .size = size, .number = ++worker->asked}};
    int r;

    pp_worker_leave_if_copy(worker);
    r = pp_worker_send(worker, &message);
    if (r == PP_WORKER_END)
        return pp_fail(-ECONNRESET, "ask the host for memory");
    if (r < 0)
        return r;
    worker->calls->before_wait(worker->token);
    r = await_grant(worker, message.memory_request.number, fdp, warmp);
    worker->calls->after_wait(worker->token);
    return r;
}

uint64_t pp_worker_max_memory(const struct pp_worker *worker)
{
    return worker->max_memory;
}

uint64_t pp_worker_buffer_threshold(const struct pp_worker *worker)
{
    return worker->buffer_threshold;
}
