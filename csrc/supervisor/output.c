/* output.c - pipes to lines. */
#include "supervisor/output.h"

#include "base/error.h"
#include "base/fd.h"
#include "event/reply.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

static void emit(struct pp_output *output, const char *bytes, size_t n)
{
    struct pyproc_item *item;
    char *text;
    size_t dropped;

    if (!output->events || n == 0)
        return;
    item = pp_item_new(PYPROC_ITEM_OUTPUT);
    text = item ? pp_reply_alloc(&item->reply, n) : NULL;
    if (!text) {
        pyproc_item_free(item);
        (void)__atomic_fetch_add(output->droppedp, n, __ATOMIC_RELAXED);
        return;
    }
    memcpy(text, bytes, n);
    item->worker_id = output->worker_id;
    item->stream = output->stream;
    item->text = (struct pyproc_bytes){text, n};
    dropped = pp_queue_put_record(output->events, item);
    if (dropped)
        (void)__atomic_fetch_add(output->droppedp, n, __ATOMIC_RELAXED);
}

static void keep_tail(struct pp_output *output, const char *bytes, size_t n)
{
    size_t keep;

    if (n > PP_OUTPUT_TAIL) {
        bytes += n - PP_OUTPUT_TAIL;
        n = PP_OUTPUT_TAIL;
    }
    keep = output->tail_size + n > PP_OUTPUT_TAIL ? PP_OUTPUT_TAIL - n : output->tail_size;
    memmove(output->tail, output->tail + output->tail_size - keep, keep);
    memcpy(output->tail + keep, bytes, n);
    output->tail_size = keep + n;
}

/* Joins an unfinished line with what comes, and sends up to the last newline. */
static void take(struct pp_output *output, const char *bytes, size_t n)
{
    const char *newline = memrchr(bytes, '\n', n);
    size_t whole = newline ? (size_t)(newline - bytes) + 1 : 0;

    keep_tail(output, bytes, n);
    if (output->line_size + (n - whole) > PP_OUTPUT_LINE)
        whole = n; /* a line without an end is cut */
    if (whole > 0) {
        if (output->line_size > 0) {
            char joined[PP_OUTPUT_LINE * 2];
            size_t first = whole < PP_OUTPUT_LINE ? whole : PP_OUTPUT_LINE;

            memcpy(joined, output->line, output->line_size);
            memcpy(joined + output->line_size, bytes, first);
            emit(output, joined, output->line_size + first);
            output->line_size = 0;
            emit(output, bytes + first, whole - first);
        } else {
            emit(output, bytes, whole);
        }
    }
    memcpy(output->line + output->line_size, bytes + whole, n - whole);
    output->line_size += n - whole;
}

/* One read: 1 more may wait, 0 nothing waits, -1 the end. */
static int read_once(struct pp_output *output)
{
    char bytes[16 * 1024];
    ssize_t n;

    (void)pthread_mutex_lock(&output->lock);
    n = read(output->fd, bytes, sizeof bytes);
    if (n > 0)
        output->total += (uint64_t)n;
    output->taking = n > 0;
    (void)pthread_mutex_unlock(&output->lock);
    if (n > 0) {
        take(output, bytes, (size_t)n);
        (void)pthread_mutex_lock(&output->lock);
        output->taking = false;
        (void)pthread_mutex_unlock(&output->lock);
        return 1;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void close_end(struct pp_output *output)
{
    (void)pthread_mutex_lock(&output->lock);
    output->fd = pp_close(output->fd);
    (void)pthread_mutex_unlock(&output->lock);
}

static void on_readable(void *token, int events)
{
    struct pp_output *output = token;

    (void)events;
    if (read_once(output) < 0) {
        output->watch = pp_watch_free(output->watch);
        close_end(output);
    }
    if (output->printed)
        output->printed(output->token);
}

uint64_t pp_output_total(struct pp_output *output)
{
    uint64_t total;
    int waiting = 0;

    (void)pthread_mutex_lock(&output->lock);
    if (output->fd >= 0 && ioctl(output->fd, FIONREAD, &waiting) < 0)
        waiting = 0;
    total = output->total + (uint64_t)waiting;
    (void)pthread_mutex_unlock(&output->lock);
    return total;
}

bool pp_output_is_quiet(struct pp_output *output)
{
    int waiting = 0;
    bool quiet;

    (void)pthread_mutex_lock(&output->lock);
    quiet = !output->taking &&
            (output->fd < 0 || ioctl(output->fd, FIONREAD, &waiting) < 0 || waiting == 0);
    (void)pthread_mutex_unlock(&output->lock);
    return quiet;
}

int pp_output_init(struct pp_output *output, struct pp_loop *loop, int fd, int stream,
                   uint32_t worker_id, struct pyproc_queue *events, uint64_t *droppedp)
{
    int r = 0;

    output->fd = fd;
    output->stream = stream;
    output->worker_id = worker_id;
    output->watch = NULL;
    output->events = events;
    output->droppedp = droppedp;
    output->line_size = output->tail_size = 0;
    output->printed = NULL;
    output->total = 0;
    output->taking = false;
    (void)pthread_mutex_init(&output->lock, NULL);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) /* else the loop would wait in its reads */
        r = pp_fail(-errno, "make an output pipe non-blocking");
    if (r == 0)
        r = pp_watch_new(loop, fd, on_readable, output, &output->watch);
    if (r == 0)
        r = pp_watch_set(output->watch, PP_WATCH_READ);
    if (r < 0)
        pp_output_deinit(output);
    return r;
}

void pp_output_read(struct pp_output *output)
{
    int r = output->fd >= 0 ? 1 : -1;

    for (int turns = 0; r > 0 && turns < 64; turns++)
        r = read_once(output);
}

void pp_output_finish(struct pp_output *output)
{
    pp_output_read(output);
    emit(output, output->line, output->line_size);
    output->line_size = 0;
}

void pp_output_deinit(struct pp_output *output)
{
    output->watch = pp_watch_free(output->watch);
    output->fd = pp_close(output->fd);
}
