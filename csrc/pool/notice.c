/* notice.c - what happens to workers, told on the queue of output and log records. */
#include "pool/pool.h"

#include "event/queue.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void pp_notice_violation(struct pyproc_pool *pool, const char *kind, const struct pp_worker *worker,
                         const char *detail, const struct pyproc_violation *violation)
{
    struct pyproc_item *item = pool->plan.events ? pp_item_new(PYPROC_ITEM_EVENT) : NULL;
    size_t n = strlen(detail), more = violation ? violation->function.size : 0;
    struct timespec now;
    char *text;

    if (!item)
        return;
    text = pp_reply_alloc(&item->reply, n + 1 + more);
    if (!text) {
        pyproc_item_free(item);
        return;
    }
    memcpy(text, detail, n + 1);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    item->text = (struct pyproc_bytes){kind, strlen(kind)};
    item->extra = (struct pyproc_bytes){text, n};
    if (violation)
        item->violation = *violation;
    if (more)
        memcpy(text + n + 1, violation->function.data, more);
    item->violation.function = (struct pyproc_bytes){text + n + 1, more};
    item->worker_id = worker ? worker->id : 0;
    item->pid = worker ? atomic_load(&worker->pid) : 0;
    item->created = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    if (pp_queue_put_record(pool->plan.events, item) != 0)
        pp_count(&pool->metrics.events_dropped);
}

void pp_notice(struct pyproc_pool *pool, const char *kind, const struct pp_worker *worker,
               const char *detail)
{
    pp_notice_violation(pool, kind, worker, detail, NULL);
}

void pp_notice_death(struct pyproc_pool *pool, const struct pp_slot *slot)
{
    const struct pyproc_death *death = &slot->worker.death;
    char detail[96];

    if (slot->retired) {
        pp_notice(pool, "recycle", &slot->worker, slot->due ? slot->due : "surplus");
        return;
    }
    pp_violation_death(pool, slot, &slot->worker);
    if (death->signal)
        (void)snprintf(detail, sizeof detail, "%s: signal %d", death->cause, death->signal);
    else
        (void)snprintf(detail, sizeof detail, "%s: exit code %d", death->cause, death->exit_code);
    pp_notice(pool, "death", &slot->worker, detail);
}
