/* close.c - the end of a pool, seen from the thread that asks for it. */
#include "pool/pool.h"

#include "base/futex.h"

#include <errno.h>

/* Waits for the admitted calls: 0 when none is left, DRAIN_LEFT when the time is over first,
 * INTERRUPTED. */
static int drain(struct pyproc_pool *pool, int64_t until, const struct pyproc_wait *wait)
{
    for (;;) {
        uint32_t seen = atomic_load(&pool->drained);
        int64_t left = until == PP_NEVER ? PP_SECOND : until - pp_now();
        bool over;

        (void)pthread_mutex_lock(&pool->lock);
        over = pool->active == 0 || pool->state >= PP_POOL_CLOSING;
        (void)pthread_mutex_unlock(&pool->lock);
        if (over)
            return 0;
        if (left <= 0)
            return PYPROC_DRAIN_LEFT;
        (void)pp_futex_wait(&pool->drained, seen, left < PP_SECOND ? left : PP_SECOND);
        if (wait && wait->interrupted && wait->interrupted(wait->token))
            return PYPROC_END_INTERRUPTED;
    }
}

/* From here on nothing is waited for but the kernel: every process gets SIGKILL or leaves
 * within a second. */
static void finish(struct pyproc_pool *pool, bool hurry)
{
    bool mine;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->state < PP_POOL_CLOSING)
        pool->state = PP_POOL_CLOSING;
    pool->hurry = pool->hurry || hurry;
    mine = !pool->joined;
    pool->joined = true;
    if (pool->state != PP_POOL_CLOSED) /* else the loop is no more */
        pp_loop_wake(pool->loop);
    (void)pthread_mutex_unlock(&pool->lock);
    while (!atomic_load(&pool->closed))
        (void)pp_futex_wait(&pool->closed, 0, PP_SECOND);
    if (mine)
        pp_loop_join(pool->loop);
    pp_stock_close(pool->stock);
}

static void refuse_new(struct pyproc_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->state == PP_POOL_OPEN)
        pool->state = PP_POOL_DRAINING;
    if (pool->room_waiters)
        pp_futex_set(&pool->room, atomic_load(&pool->room) + 1);
    (void)pthread_mutex_unlock(&pool->lock);
}

PYPROC_API int pyproc_drain(struct pyproc_pool *pool, int64_t timeout,
                            const struct pyproc_wait *wait)
{
    if (pp_pool_forked(pool))
        return 0;
    refuse_new(pool);
    return drain(pool, timeout == PYPROC_FOREVER ? PP_NEVER : pp_after(pp_now(), timeout), wait);
}

PYPROC_API int pyproc_pool_close(struct pyproc_pool *pool, int64_t timeout,
                                 const struct pyproc_wait *wait)
{
    int r = 0;

    if (pp_pool_forked(pool))
        return 0;
    refuse_new(pool);
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->state == PP_POOL_DRAINING)
        pp_streams_close(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    if (timeout > 0)
        r = drain(pool, timeout == PYPROC_FOREVER ? PP_NEVER : pp_after(pp_now(), timeout), wait);
    finish(pool, timeout == 0 || r == PYPROC_END_INTERRUPTED);
    return r == PYPROC_END_INTERRUPTED ? r : 0;
}
