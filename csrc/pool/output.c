/* output.c - how much a call may print and how much it may answer.
 *
 * What a worker wrote for a call is what has been read and what waits in its pipes, less the same
 * when the call began; so nothing is counted for the wrong call as long as a worker has one at a
 * time, which is so in a pool where such a limit was ever asked for.
 */
#include "pool/pool.h"

#include <time.h>

static uint64_t printed(struct pp_slot *slot)
{
    return pp_output_total(&slot->worker.output[0]) + pp_output_total(&slot->worker.output[1]);
}

/* Bytes beyond the limit's, or 0. */
static uint64_t beyond(struct pp_slot *slot)
{
    uint64_t used = printed(slot) - slot->output_base;

    return slot->output_limit && used > slot->output_limit ? used : 0;
}

void pp_output_begins(const struct pyproc_pool *pool, struct pp_slot *slot, uint64_t limit)
{
    slot->output_limit = limit ? limit : pool->output_limit;
    if (slot->output_limit)
        slot->output_base = printed(slot);
}

void pp_output_ends(struct pp_slot *slot, struct pyproc_reply *reply)
{
    uint64_t limit = slot->output_limit;
    uint64_t call = reply->call_id;
    uint64_t used;

    if (!limit || (reply->end != PYPROC_END_VALUE && reply->end != PYPROC_END_FAILURE))
        return;
    used = beyond(slot);
    if (!used)
        return;
    pyproc_reply_clear(reply);
    pp_reply_end(reply, PYPROC_END_OUTPUT, NULL);
    reply->call_id = call;
    reply->limit = limit;
    reply->used = used;
}

void pp_pool_printed(struct pyproc_pool *pool, struct pp_slot *slot)
{
    uint64_t used;

    (void)pthread_mutex_lock(&pool->lock);
    used = slot->output_limit && slot->owner != PP_OWNER_NONE && !slot->buried ? beyond(slot) : 0;
    if (used && pp_worker_doom(&slot->worker, "output")) {
        slot->worker.limit = slot->output_limit;
        slot->worker.used = used;
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

void pp_result_ends(uint64_t limit, struct pyproc_reply *reply)
{
    uint64_t call = reply->call_id;
    uint64_t size = reply->size;

    for (size_t i = 0; i < reply->n_memories; i++)
        size += reply->memories[i]->size;
    if (!limit || reply->end != PYPROC_END_VALUE || size <= limit)
        return;
    pyproc_reply_clear(reply);
    pp_reply_end(reply, PYPROC_END_TOO_LARGE, "the result is larger than this call's limit");
    reply->call_id = call;
}

/* Under the lock: an idle worker that has written what was not read yet. */
static bool any_unheard(struct pyproc_pool *pool)
{
    const struct pp_list *at;

    for (at = pool->idle.next; at != &pool->idle; at = at->next)
        if (!pp_worker_heard(&pp_container(at, struct pp_slot, idle)->worker, 0))
            return true;
    return false;
}

PYPROC_API void pyproc_hear(struct pyproc_pool *pool, int64_t timeout)
{
    static const struct timespec pause = {.tv_nsec = 200000};
    int64_t until = pp_after(pp_now(), timeout);

    while (!pp_pool_forked(pool)) {
        bool unheard;

        (void)pthread_mutex_lock(&pool->lock);
        unheard = pool->state == PP_POOL_OPEN && any_unheard(pool);
        (void)pthread_mutex_unlock(&pool->lock);
        if (!unheard || pp_now() >= until)
            return;
        (void)nanosleep(&pause, NULL);
    }
}
