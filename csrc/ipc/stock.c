/* stock.c - memory between two uses, the most recently used first.
 *
 * A worker may still have a piece open when it comes back (a function that kept its argument):
 * such a piece waits here until the kernel says that we are alone with it, or until newer ones
 * take its room.
 */
#include "ipc/stock.h"

#include "base/error.h"
#include "base/fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Pieces that are looked at for one that fits: each look is a few system calls. */
enum { LOOKS_MAX = 8 };

struct pp_stock {
    _Atomic unsigned refs;
    struct pp_fork_mark mark; /* never changes */
    size_t max;               /* never changes */
    _Atomic unsigned epoch;   /* changes with each fork */
    pthread_mutex_t lock;     /* guards what follows */
    struct pp_list idle;      /* the newest first */
    size_t bytes;
    bool closed;
};

int pp_stock_new(size_t max, struct pp_stock **stockp)
{
    struct pp_stock *stock = calloc(1, sizeof *stock);
    int r;

    if (!stock)
        return pp_fail(-ENOMEM, "make a stock of memory");
    r = pp_fork_mark_init(&stock->mark);
    if (r < 0) {
        free(stock);
        return r;
    }
    (void)pthread_mutex_init(&stock->lock, NULL);
    atomic_init(&stock->refs, 1);
    atomic_init(&stock->epoch, 0);
    pp_list_init(&stock->idle);
    stock->max = max;
    *stockp = stock;
    return 0;
}

struct pp_stock *pp_stock_ref(struct pp_stock *stock)
{
    (void)atomic_fetch_add(&stock->refs, 1);
    return stock;
}

static void free_all(struct pp_list *list)
{
    struct pp_list *at;

    while ((at = pp_list_pop_front(list)) != NULL)
        pp_memory_free(pp_container(at, struct pyproc_memory, link));
}

void pp_stock_unref(struct pp_stock *stock)
{
    if (!stock || atomic_fetch_sub(&stock->refs, 1) != 1)
        return;
    free_all(&stock->idle);
    (void)pthread_mutex_destroy(&stock->lock);
    pp_fork_mark_deinit(&stock->mark);
    free(stock);
}

/* The lock is held. */
static void drop(struct pp_stock *stock, struct pyproc_memory *memory, struct pp_list *dropped)
{
    pp_list_remove(&memory->link);
    stock->bytes -= memory->room;
    pp_list_push_back(dropped, &memory->link);
}

/* The lock is held: makes room by giving up the oldest. */
static void trim(struct pp_stock *stock, size_t max, struct pp_list *dropped)
{
    while (stock->bytes > max)
        drop(stock, pp_container(stock->idle.prev, struct pyproc_memory, link), dropped);
}

void pp_stock_put(struct pp_stock *stock, struct pyproc_memory *memory)
{
    struct pp_list dropped;

    if (pp_is_fork_copy(&stock->mark) || memory->lost || memory->fd < 0 ||
        memory->room > stock->max || memory->epoch != atomic_load(&stock->epoch) ||
        (memory->use == PP_MEMORY_SENT ? !memory->sealed : !memory->settled)) {
        pp_memory_free(memory);
        return;
    }
    pp_list_init(&dropped);
    (void)pthread_mutex_lock(&stock->lock);
    pp_list_push_front(&stock->idle, &memory->link);
    stock->bytes += memory->room;
    trim(stock, stock->closed ? 0 : stock->max, &dropped);
    (void)pthread_mutex_unlock(&stock->lock);
    free_all(&dropped);
}

static bool fits(const struct pyproc_memory *memory, enum pp_memory_use use, uint32_t worker,
                 size_t size)
{
    return memory->use == use && memory->room >= size && memory->room - size <= size / 4 + 65536 &&
           (use == PP_MEMORY_SENT || memory->worker == worker);
}

/* The lock is held. */
static struct pyproc_memory *find(struct pp_stock *stock, enum pp_memory_use use, uint32_t worker,
                                  size_t size)
{
    unsigned looks = LOOKS_MAX;

    for (struct pp_list *at = stock->idle.next; at != &stock->idle && looks > 0; at = at->next) {
        struct pyproc_memory *memory = pp_container(at, struct pyproc_memory, link);

        if (!fits(memory, use, worker, size))
            continue;
        looks--;
        if (use == PP_MEMORY_SENT && !pp_memory_alone(memory))
            continue;
        pp_list_remove(&memory->link);
        stock->bytes -= memory->room;
        return memory;
    }
    return NULL;
}

/* What the last user left behind the new one's bytes is nobody's to see; what is before is
 * overwritten. A worker that fills its own memory again sees its own bytes. */
static void renew(struct pyproc_memory *memory, size_t size)
{
    if (memory->use == PP_MEMORY_SENT)
        memset(memory->map + size, 0, memory->room - size);
    memory->size = size;
    memory->filled = 0;
    memory->settled = false;
    memory->warm = true;
    atomic_store(&memory->refs, 1);
}

int pp_stock_take(struct pp_stock *stock, enum pp_memory_use use, uint32_t worker, size_t size,
                  struct pyproc_memory **memoryp)
{
    struct pyproc_memory *memory;
    int r;

    (void)pthread_mutex_lock(&stock->lock);
    memory = find(stock, use, worker, size);
    (void)pthread_mutex_unlock(&stock->lock);
    if (memory) {
        renew(memory, size);
    } else {
        r = pp_memory_new(use, size, &memory);
        if (r < 0)
            return r;
    }
    memory->worker = worker;
    memory->stock = pp_stock_ref(stock);
    memory->epoch = atomic_load(&stock->epoch);
    *memoryp = memory;
    return 0;
}

void pp_stock_forget(struct pp_stock *stock, uint32_t worker)
{
    struct pp_list dropped;

    pp_list_init(&dropped);
    (void)pthread_mutex_lock(&stock->lock);
    for (struct pp_list *at = stock->idle.next; at != &stock->idle;) {
        struct pyproc_memory *memory = pp_container(at, struct pyproc_memory, link);

        at = at->next;
        if (memory->use == PP_MEMORY_GRANTED && memory->worker == worker)
            drop(stock, memory, &dropped);
    }
    (void)pthread_mutex_unlock(&stock->lock);
    free_all(&dropped);
}

void pp_stock_close(struct pp_stock *stock)
{
    struct pp_list dropped;

    pp_list_init(&dropped);
    (void)pthread_mutex_lock(&stock->lock);
    stock->closed = true;
    trim(stock, 0, &dropped);
    (void)pthread_mutex_unlock(&stock->lock);
    free_all(&dropped);
}

void pp_stock_forking(struct pp_stock *stock)
{
    (void)atomic_fetch_add(&stock->epoch, 1);
}

size_t pp_stock_idle(struct pp_stock *stock)
{
    size_t bytes;

    (void)pthread_mutex_lock(&stock->lock);
    bytes = stock->bytes;
    (void)pthread_mutex_unlock(&stock->lock);
    return bytes;
}
