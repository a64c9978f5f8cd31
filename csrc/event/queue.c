/* queue.c - a list under a mutex, and an eventfd for those who wait. */
#include "event/queue.h"

#include "base/error.h"
#include "base/fd.h"
#include "event/reply.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>

struct pyproc_queue {
    pthread_mutex_t lock; /* guards all below but `refs` and `fd` */
    struct pyproc_item *first;
    struct pyproc_item *last;
    size_t record_bytes; /* of output and logs among the items */
    bool closed, rung;
    bool has_reader; /* `reader` looks by itself */
    pthread_t reader;
    int fd; /* never changes */
    _Atomic unsigned refs;
};

PYPROC_API int pyproc_queue_new(struct pyproc_queue **queuep)
{
    struct pyproc_queue *queue = calloc(1, sizeof *queue);

    if (!queue)
        return -ENOMEM;
    queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->fd < 0) {
        int r = pp_fail(-errno, "make a completion queue");

        free(queue);
        return r;
    }
    (void)pthread_mutex_init(&queue->lock, NULL);
    atomic_init(&queue->refs, 1);
    *queuep = queue;
    return 0;
}

PYPROC_API struct pyproc_queue *pyproc_queue_ref(struct pyproc_queue *queue)
{
    (void)atomic_fetch_add(&queue->refs, 1);
    return queue;
}

static void free_items(struct pyproc_item *item)
{
    while (item) {
        struct pyproc_item *next = item->next;

        pyproc_item_free(item);
        item = next;
    }
}

PYPROC_API void pyproc_queue_unref(struct pyproc_queue *queue)
{
    if (!queue || atomic_fetch_sub(&queue->refs, 1) != 1)
        return;
    free_items(queue->first);
    (void)pp_close(queue->fd);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

PYPROC_API int pyproc_queue_fd(const struct pyproc_queue *queue)
{
    return queue->fd;
}

static void ring(struct pyproc_queue *queue)
{
    queue->rung = true;
    (void)eventfd_write(queue->fd, 1);
}

void pp_queue_read_here(struct pyproc_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->has_reader = true;
    queue->reader = pthread_self();
    (void)pthread_mutex_unlock(&queue->lock);
}

void pp_queue_put(struct pyproc_queue *queue, struct pyproc_item *first, struct pyproc_item *last)
{
    bool was_empty;

    (void)pthread_mutex_lock(&queue->lock);
    was_empty = queue->first == NULL;
    if (was_empty)
        queue->first = first;
    else
        queue->last->next = first;
    queue->last = last;
    /* Under the lock, so that nobody frees the queue between the two. */
    if (was_empty && !(queue->has_reader && pthread_equal(queue->reader, pthread_self())))
        ring(queue);
    (void)pthread_mutex_unlock(&queue->lock);
}

static size_t record_size(const struct pyproc_item *item)
{
    return sizeof *item + item->text.size + item->logger.size + item->exception.size +
           item->extra.size;
}

size_t pp_queue_put_record(struct pyproc_queue *queue, struct pyproc_item *item)
{
    size_t n = record_size(item);
    bool fits;

    (void)pthread_mutex_lock(&queue->lock);
    fits = !queue->closed && queue->record_bytes + n <= PP_QUEUE_RECORDS_MAX;
    if (fits)
        queue->record_bytes += n;
    (void)pthread_mutex_unlock(&queue->lock);
    if (!fits) {
        pyproc_item_free(item);
        return n;
    }
    pp_queue_put(queue, item, item);
    return 0;
}

PYPROC_API struct pyproc_item *pyproc_queue_take(struct pyproc_queue *queue)
{
    struct pyproc_item *items;
    eventfd_t count;

    (void)pthread_mutex_lock(&queue->lock);
    items = queue->first;
    queue->first = queue->last = NULL;
    queue->record_bytes = 0;
    if (items && queue->rung && !queue->closed) {
        queue->rung = false;
        (void)eventfd_read(queue->fd, &count);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return items;
}

bool pp_queue_has(struct pyproc_queue *queue)
{
    bool any;

    (void)pthread_mutex_lock(&queue->lock);
    any = queue->first != NULL;
    (void)pthread_mutex_unlock(&queue->lock);
    return any;
}

static bool waits(struct pyproc_queue *queue, bool *closedp)
{
    bool any;

    (void)pthread_mutex_lock(&queue->lock);
    any = queue->first != NULL;
    *closedp = queue->closed;
    (void)pthread_mutex_unlock(&queue->lock);
    return any;
}

PYPROC_API int pyproc_queue_wait(struct pyproc_queue *queue, int timeout_ms)
{
    struct pollfd p = {.fd = queue->fd, .events = POLLIN};
    bool closed;

    if (waits(queue, &closed))
        return 0;
    if (closed)
        return 1;
    (void)poll(&p, 1, timeout_ms);
    if (waits(queue, &closed))
        return 0;
    return closed ? 1 : 2;
}

PYPROC_API void pyproc_queue_close(struct pyproc_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    ring(queue); /* stays readable from now on: nothing reads the count any more */
    (void)pthread_mutex_unlock(&queue->lock);
}

struct pyproc_item *pp_item_new(enum pyproc_item_kind kind)
{
    struct pyproc_item *item = malloc(sizeof *item);

    if (!item)
        return NULL;
    *item = (struct pyproc_item){.kind = kind};
    return item;
}

PYPROC_API void pyproc_item_free(struct pyproc_item *item)
{
    if (!item)
        return;
    pyproc_reply_clear(&item->reply);
    free(item);
}
