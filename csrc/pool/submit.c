/* submit.c - the queued call: admitted on the caller's thread, the rest is the loop's. */
#include "pool/pool.h"
#include "pool/share.h"

#include "pool/guest.h"

#include "base/futex.h"

#include <errno.h>

/* What a call's frame holds besides function and payload, keywords aside. */
enum { FRAME_ROOM = 256 };

static bool has_room(const struct pyproc_pool *pool, size_t size)
{
    if (pool->max_queue && pool->n_waiting_calls >= pool->max_queue)
        return false;
    if (!pool->max_queue_bytes || pool->n_waiting_calls == 0)
        return true;
    return pool->waiting_bytes <= pool->max_queue_bytes &&
           size <= pool->max_queue_bytes - pool->waiting_bytes;
}

/* Waits, with the lock given up meanwhile, until the queue takes `size` bytes more:
 * VALUE, or the end that came instead. */
static enum pyproc_end wait_for_room(struct pyproc_pool *pool, size_t size, int64_t until,
                                     const struct pyproc_wait *wait)
{
    enum pyproc_end end = PYPROC_END_VALUE;

    pool->room_waiters++;
    while (end == PYPROC_END_VALUE && pool->state == PP_POOL_OPEN && !has_room(pool, size)) {
        uint32_t seen = atomic_load(&pool->room);
        int64_t left = until == PP_NEVER ? PP_SECOND : until - pp_now();

        if (left <= 0) {
            end = PYPROC_END_QUEUE_TIMEOUT;
            break;
        }
        (void)pthread_mutex_unlock(&pool->lock);
        (void)pp_futex_wait(&pool->room, seen, left < PP_SECOND ? left : PP_SECOND);
        if (wait && wait->interrupted && wait->interrupted(wait->token))
            end = PYPROC_END_INTERRUPTED;
        (void)pthread_mutex_lock(&pool->lock);
    }
    pool->room_waiters--;
    return end;
}

/* Under the lock: VALUE when the call now stands in the line. */
static enum pyproc_end admit(struct pyproc_pool *pool, const struct pyproc_request *request,
                             struct pp_call *call, const struct pyproc_wait *wait)
{
    if (pool->state == PP_POOL_OPEN && !has_room(pool, call->size)) {
        enum pyproc_end end;

        if (!request->wait_for_room)
            return PYPROC_END_QUEUE_FULL;
        end = wait_for_room(pool, call->size, call->queue_deadline, wait);
        if (end != PYPROC_END_VALUE)
            return end;
    }
    if (pool->state != PP_POOL_OPEN)
        return PYPROC_END_CLOSED;
    if (request->key) {
        enum pyproc_end end = pp_sticky_bond(pool, request, &call->want);

        if (end != PYPROC_END_VALUE)
            return end;
    }
    if (pp_call_admit(pool, call) < 0) {
        pp_sticky_unbond(pool, &call->want);
        return PYPROC_END_TOO_LARGE;
    }
    pp_share_settle(pool, call);
    pp_pool_wait_for_worker(pool, &call->want, false);
    pp_pool_active(pool, 1);
    pp_call_expires(pool, call);
    return PYPROC_END_VALUE;
}

static const char *text_for(enum pyproc_end end)
{
    switch (end) {
    case PYPROC_END_QUEUE_FULL:
        return "the pool's queue is full";
    case PYPROC_END_QUEUE_TIMEOUT:
        return "the pool's queue had no room in time";
    case PYPROC_END_CLOSED:
        return "the pool is closed";
    case PYPROC_END_LOST:
        return pp_sticky_text(end);
    case PYPROC_END_TOO_LARGE:
        return "the host is out of memory for the request";
    default:
        return NULL;
    }
}

/* `wakes`: the loop is told; else the caller is the loop, and comes to it by itself. */
static int submit(struct pyproc_pool *pool, const struct pyproc_request *request,
                  const struct pyproc_wait *wait, struct pyproc_queue *queue, void *token,
                  uint64_t *idp, struct pyproc_reply *reply, bool wakes)
{
    int64_t span = request->queue_timeout ? request->queue_timeout : pool->queue_timeout;
    enum pyproc_end end;
    struct pp_call *call;

    pp_reply_init(reply);
    if (pp_pool_forked(pool)) {
        pp_reply_end(reply, PYPROC_END_CLOSED,
                     "the pool belongs to the process that forked: open one in this process");
        return (int)reply->end;
    }
    if (request->function.size + request->payload.size > pool->plan.max_frame - FRAME_ROOM) {
        pp_reply_end(reply, PYPROC_END_TOO_LARGE, "the arguments are larger than max_frame");
        return (int)reply->end;
    }
    if (!pp_call_attaches(request, reply))
        return (int)reply->end;
    if (pp_call_new(pool, request, queue, token, &call) < 0) {
        pp_reply_end(reply, PYPROC_END_TOO_LARGE, text_for(PYPROC_END_TOO_LARGE));
        return (int)reply->end;
    }
    call->admitted = pp_now();
    if (span != PP_NEVER)
        call->queue_deadline = pp_after(call->admitted, span);
    if (call->deadline < call->queue_deadline)
        call->queue_deadline = call->deadline;
    (void)pthread_mutex_lock(&pool->lock);
    end = admit(pool, request, call, wait);
    if (end == PYPROC_END_VALUE) {
        *idp = call->id;
        /* Else the loop has been told already and will find it. Counted now: the line may
         * have become empty while we waited for room. */
        if (wakes && (pool->n_waiting <= pool->max_workers ||
                      (pool->line.ranked && pp_line_first(pool) == &call->want)))
            pp_loop_wake(pool->loop);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (end != PYPROC_END_VALUE) {
        pp_count(&pool->metrics.calls_rejected);
        call->message.attachments = 0; /* they stay the caller's */
        pp_call_free(call);
        pp_reply_end(reply, end, text_for(end));
        return (int)end;
    }
    pp_count(&pool->metrics.calls_admitted);
    return 0;
}

PYPROC_API int pyproc_submit(struct pyproc_pool *pool, const struct pyproc_request *request,
                             const struct pyproc_wait *wait, struct pyproc_queue *queue,
                             void *token, uint64_t *idp, struct pyproc_reply *reply)
{
    return submit(pool, request, wait, queue, token, idp, reply, true);
}

int pp_guest_submit(struct pyproc_pool *pool, const struct pyproc_request *request,
                    struct pyproc_queue *queue, void *token, uint64_t *idp,
                    struct pyproc_reply *reply)
{
    return submit(pool, request, NULL, queue, token, idp, reply, false);
}

/* One that is offered but may not have started is taken back by the loop; one that has
 * started is ended with its worker. */
static int cancel(struct pyproc_pool *pool, struct pp_call *call, int kill, struct pp_done *done)
{
    if (call->state == PP_CALL_WAITING) {
        pp_reply_end(&call->item->reply, PYPROC_END_TASK_KILLED,
                     "the call was cancelled before it started");
        pp_call_end(pool, call, done);
        return 0;
    }
    if (!kill)
        return PYPROC_CANCEL_RUNNING;
    call->cancelled = true;
    pool->recall_at = 0; /* now */
    pp_loop_wake(pool->loop);
    return 0;
}

PYPROC_API int pyproc_cancel(struct pyproc_pool *pool, uint64_t id, int kill)
{
    struct pp_done done = {0};
    struct pp_call *call;
    int r = PYPROC_CANCEL_UNKNOWN;

    if (pp_pool_forked(pool))
        return r;
    (void)pthread_mutex_lock(&pool->lock);
    call = pp_call_find(pool, id);
    if (call)
        r = cancel(pool, call, kill, &done);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_done_flush(&done);
    return r;
}
