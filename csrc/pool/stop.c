/* stop.c - a call that ran too long or was cancelled: asked to stop, or stopped. */
#include "pool/pool.h"

void pp_pool_stop(struct pyproc_pool *pool, struct pp_slot *slot, enum pp_soft why, int64_t now)
{
    uint64_t id = atomic_load(&slot->worker.control->call_id);

    if (slot->soft != PP_SOFT_NONE)
        return; /* it is stopping, and its time is set */
    if (slot->owner == PP_OWNER_LOOP && !pp_list_empty(&slot->inflight))
        id = pp_container(slot->inflight.next, struct pp_call, offered)->wire_id;
    if (pool->grace <= 0) {
        (void)pp_worker_doom(&slot->worker, why == PP_SOFT_CANCEL ? "cancel" : "timeout");
        return;
    }
    slot->soft = why;
    slot->deadline = pp_after(now, pool->grace);
    pp_worker_soften(&slot->worker, id, why);
}

void pp_pool_kill(struct pyproc_pool *pool, struct pp_worker *worker)
{
    pp_worker_kill(worker);
    if (worker->dump_until != PP_NEVER)
        pool->dumps_at = pp_now() + PP_MS;
}

void pp_soft_end(enum pp_soft soft, struct pyproc_reply *reply)
{
    if (soft == PP_SOFT_NONE || soft == PP_SOFT_CLOSE || reply->end != PYPROC_END_FAILURE)
        return; /* what a closed generator raises is its own */
    /* The failure stays: it becomes the cause of the end. */
    pp_reply_end(reply, soft == PP_SOFT_CANCEL ? PYPROC_END_TASK_KILLED : PYPROC_END_RUN_TIMEOUT,
                 "it was asked to stop, and its cleanup ended within the grace period");
}
