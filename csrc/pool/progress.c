/* progress.c - how far calls are, from the event channel to the queues of those who asked.
 *
 * Only the newest word of a call counts: more than one in PAUSE replace one another, and the last
 * one comes before the call's end. What a worker says of calls that it does not have yet is a lie;
 * of one that has ended it comes late. The loop's thread, without any lock.
 */
#include "pool/pool.h"

#include "event/queue.h"

#include <string.h>

#define PAUSE (20 * PP_MS)

static struct pp_call *find(const struct pp_slot *slot, uint64_t id)
{
    const struct pp_list *at;

    if (slot->owner != PP_OWNER_LOOP)
        return NULL; /* a leased call's caller waits for nothing but its answer */
    for (at = slot->inflight.next; at != &slot->inflight; at = at->next) {
        struct pp_call *call = pp_container(at, struct pp_call, offered);

        if (call->wire_id == id)
            return call;
    }
    return NULL;
}

static struct pyproc_item *make(const struct pp_message_progress *progress)
{
    struct pyproc_item *item = pp_item_new(PYPROC_ITEM_PROGRESS);
    char *text = item ? pp_reply_alloc(&item->reply, progress->message.size + 1) : NULL;

    if (!text) {
        pyproc_item_free(item);
        return NULL;
    }
    if (progress->message.size)
        memcpy(text, progress->message.data, progress->message.size);
    text[progress->message.size] = '\0';
    item->text = (struct pyproc_bytes){text, progress->message.size};
    item->done = progress->done;
    item->total = progress->total;
    item->has_total = progress->has_total;
    return item;
}

void pp_progress_flush(struct pp_call *call)
{
    struct pyproc_item *item = call->progress;

    call->progress = NULL;
    if (!item)
        return;
    item->token = call->item->token;
    item->reply.call_id = call->wire_id;
    (void)pp_queue_put_record(call->queue, item);
}

bool pp_progress_came(struct pyproc_pool *pool, struct pp_slot *slot,
                      const struct pp_message_progress *progress)
{
    struct pp_call *call = find(slot, progress->call);
    struct pyproc_item *item;
    int64_t now;

    if (progress->call > atomic_load(&slot->worker.control->call_id))
        return false;
    if (!call || !call->wants_progress)
        return true;
    item = make(progress);
    if (!item)
        return true; /* there is no memory for it, and the next one may come */
    pyproc_item_free(call->progress);
    call->progress = item;
    now = pp_now();
    if (now >= call->progress_after) {
        pp_progress_flush(call);
        call->progress_after = pp_after(now, PAUSE);
    } else if (call->progress_after < pool->progress_at) {
        pool->progress_at = call->progress_after;
        pp_loop_wake(pool->loop); /* it sets its timer */
    }
    return true;
}

void pp_progress_turn(struct pyproc_pool *pool, int64_t now)
{
    const struct pp_list *at, *link;

    pool->progress_at = PP_NEVER;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        for (link = slot->inflight.next; link != &slot->inflight; link = link->next) {
            struct pp_call *call = pp_container(link, struct pp_call, offered);

            if (!call->progress)
                continue;
            if (call->progress_after <= now) {
                pp_progress_flush(call);
                call->progress_after = pp_after(now, PAUSE);
            } else if (call->progress_after < pool->progress_at) {
                pool->progress_at = call->progress_after;
            }
        }
    }
}
