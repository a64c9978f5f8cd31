/* notice.c - what happens to workers, told on the queue of output and log records. */
#include "pool/pool.h"

#include "event/queue.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void pp_notice(struct pyproc_pool *pool, const char *kind, const struct pp_worker *worker,
               const char *detail)
{
    struct pyproc_item *item = pool->plan.events ? pp_item_new(PYPROC_ITEM_EVENT) : NULL;
    size_t n = strlen(detail);
    struct timespec now;
    char *text;

    if (!item)
        return;
    text = pp_reply_alloc(&item->reply, n + 1);
    if (!text) {
        pyproc_item_free(item);
        return;
    }
    memcpy(text, detail, n + 1);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    item->text = (struct pyproc_bytes){kind, strlen(kind)};
    item->extra = (struct pyproc_bytes){text, n};
    item->worker_id = worker ? worker->id : 0;
    item->pid = worker ? atomic_load(&worker->pid) : 0;
    item->created = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    if (pp_queue_put_record(pool->plan.events, item) != 0)
        pp_count(&pool->metrics.events_dropped);
}

void pp_notice_death(struct pyproc_pool *pool, const struct pp_slot *slot)
{
    const struct pyproc_death *death = &slot->worker.death;
    char detail[96];

    if (slot->retired) {
        pp_notice(pool, "recycle", &slot->worker, slot->due ? slot->due : "surplus");
        return;
    }
    if (strcmp(death->cause, "sandbox") == 0) {
        (void)snprintf(detail, sizeof detail, "system call %lld", (long long)death->refused);
        pp_notice(pool, "violation", &slot->worker, detail);
    }
    if (death->signal)
        (void)snprintf(detail, sizeof detail, "%s: signal %d", death->cause, death->signal);
    else
        (void)snprintf(detail, sizeof detail, "%s: exit code %d", death->cause, death->exit_code);
    pp_notice(pool, "death", &slot->worker, detail);
}
