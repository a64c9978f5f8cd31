/* reload.c - from one generation of the application's code to the next.
 *
 *   wanted -> (template) -> probe -> rolling -> none
 *
 * One worker is started with freshly imported code, from a template of its own where workers
 * are forked, while everybody goes on. If it becomes ready, its generation is the current one:
 * all other workers are due, and life.c replaces them. If not, nothing has changed.
 */
#include "pool/pool.h"

#include "base/error.h"
#include "base/futex.h"

#include <string.h>

/* Starts that somebody else ended (with the keeper, by hand) are tried again so often. */
enum { TRIES = 3 };

/* The thread that waits for a reload; on its stack. */
struct pp_reloader {
    struct pyproc_reply *reply;
    _Atomic uint32_t settled; /* futex: 1 when `reply` is filled */
};

/* Lock held. `like` is copied when it is not NULL. */
static void finish(struct pyproc_pool *pool, enum pyproc_end end, const char *text,
                   const struct pyproc_reply *like)
{
    struct pp_reload *reload = &pool->reload;
    struct pp_reloader *waiter = reload->waiter;

    if (reload->template)
        (void)pp_worker_doom(&reload->template->worker, "renewed");
    reload->template = NULL;
    reload->probe = NULL;
    pp_functions_unref(reload->functions);
    reload->functions = NULL;
    reload->state = PP_RELOAD_NONE;
    reload->waiter = NULL;
    pp_futex_set(&reload->ended, atomic_load(&reload->ended) + 1);
    if (!waiter)
        return;
    if (like)
        pp_reply_copy(waiter->reply, like);
    else
        pp_reply_end(waiter->reply, end, text);
    waiter->reply->end = end;
    pp_futex_set(&waiter->settled, 1);
}

static void finish_locked(struct pyproc_pool *pool, enum pyproc_end end, const char *text)
{
    (void)pthread_mutex_lock(&pool->lock);
    finish(pool, end, text, NULL);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void set_state(struct pyproc_pool *pool, enum pp_reload_state state)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->reload.state = state;
    (void)pthread_mutex_unlock(&pool->lock);
}

static void start_probe(struct pyproc_pool *pool, struct pp_template *template)
{
    struct pp_slot *slot;
    int r = pp_pool_start_slot(pool, template, pool->reload.target, &slot);

    if (r < 0) {
        finish_locked(pool, PYPROC_END_START, pp_fail_text());
        return;
    }
    (void)pthread_mutex_lock(&pool->lock);
    slot->probe = true;
    pool->reload.probe = slot;
    pool->reload.state = PP_RELOAD_PROBE;
    (void)pthread_mutex_unlock(&pool->lock);
}

/* A template that was started before the reload was asked for may have imported the old code;
 * once it is gone this comes again. */
static void begin(struct pyproc_pool *pool)
{
    struct pp_reload *reload = &pool->reload;
    int r;

    if (pool->start_method == PYPROC_START_EXEC) {
        start_probe(pool, NULL);
        return;
    }
    if (pool->coming && (pool->coming->worker.born < reload->wanted_at ||
                         atomic_load(&pool->coming->worker.cause))) {
        (void)pp_worker_doom(&pool->coming->worker, "renewed");
        return;
    }
    r = pp_pool_want_template(pool);
    if (r < 0) {
        finish_locked(pool, PYPROC_END_START, pp_fail_text());
        return;
    }
    reload->template = pool->coming;
    set_state(pool, PP_RELOAD_TEMPLATE);
}

/* Lock held: whether an older worker may still get calls. */
static bool old_ones_serve(const struct pyproc_pool *pool)
{
    const struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        const struct pp_slot *slot = pp_container(at, const struct pp_slot, link);

        if (slot->was_ready && slot->generation != pool->generation && !slot->leaving &&
            !slot->retired && !slot->buried && !atomic_load(&slot->worker.cause))
            return true;
    }
    return false;
}

static void look_after_roll(struct pyproc_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    if (!old_ones_serve(pool))
        finish(pool, PYPROC_END_VALUE, NULL, NULL);
    else if (pool->start_failures >= TRIES && pool->start_error)
        finish(pool, PYPROC_END_START, NULL, &pool->start_error->reply);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void doom_probe(struct pyproc_pool *pool)
{
    struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (slot->probe && !slot->buried)
            (void)pp_worker_doom(&slot->worker, "reload");
    }
}

void pp_reload_turn(struct pyproc_pool *pool)
{
    struct pp_reload *reload = &pool->reload;
    enum pp_reload_state state;
    bool given_up, open;

    (void)pthread_mutex_lock(&pool->lock);
    state = reload->state;
    given_up = reload->given_up;
    open = pool->state == PP_POOL_OPEN;
    (void)pthread_mutex_unlock(&pool->lock);
    if (state == PP_RELOAD_NONE)
        return;
    if (!open || (given_up && state != PP_RELOAD_ROLLING)) {
        doom_probe(pool);
        finish_locked(pool, open ? PYPROC_END_INTERRUPTED : PYPROC_END_CLOSED,
                      open ? NULL : "the pool was closed during the reload");
    } else if (state == PP_RELOAD_WANTED) {
        begin(pool);
    } else if (state == PP_RELOAD_ROLLING) {
        look_after_roll(pool);
    }
}

/* --- news of the next generation; loop thread ---------------------------------------- */

bool pp_reload_template_ready(struct pyproc_pool *pool, struct pp_template *template)
{
    if (template != pool->reload.template)
        return false;
    pool->coming = NULL;
    start_probe(pool, template);
    return true;
}

/* Lock held: a start of the next generation has failed. */
static void failed(struct pyproc_pool *pool, const struct pp_worker *worker)
{
    struct pp_reload *reload = &pool->reload;
    struct pyproc_reply why = {0};

    if (pp_pool_was_victim(worker) && reload->tries++ < TRIES) {
        if (reload->template)
            (void)pp_worker_doom(&reload->template->worker, "renewed");
        reload->template = NULL;
        reload->state = PP_RELOAD_WANTED;
        return;
    }
    pp_pool_explain_start(worker, &why);
    finish(pool, PYPROC_END_START, NULL, &why);
    pyproc_reply_clear(&why);
}

void pp_reload_template_dead(struct pyproc_pool *pool, struct pp_template *template)
{
    struct pp_reload *reload = &pool->reload;

    if (template != reload->template)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    reload->template = NULL;
    if (strcmp(template->worker.death.cause, "threads") == 0)
        reload->state = PP_RELOAD_WANTED; /* workers are exec'd from now on */
    else if (reload->state == PP_RELOAD_TEMPLATE)
        failed(pool, &template->worker);
    (void)pthread_mutex_unlock(&pool->lock);
}

bool pp_reload_probe_ready(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_reload *reload = &pool->reload;
    struct pp_template *old = pool->template;

    slot->probe = false;
    if (reload->probe != slot) { /* of a reload that was given up */
        slot->was_ready = true;
        (void)pp_worker_doom(&slot->worker, "reload");
        return false;
    }
    reload->probe = NULL;
    pool->generation = reload->target;
    pp_functions_unref(pool->functions);
    pool->functions = reload->functions;
    reload->functions = NULL;
    if (reload->template) {
        pool->template = reload->template;
        reload->template = NULL;
        pp_pool_template_retire(old);
    }
    reload->state = PP_RELOAD_ROLLING;
    return true;
}

void pp_reload_probe_dead(struct pyproc_pool *pool, struct pp_slot *slot)
{
    if (pool->reload.probe != slot)
        return; /* of a reload that was given up */
    pool->reload.probe = NULL;
    failed(pool, &slot->worker);
}

/* --- the caller's thread ---------------------------------------------------------------- */

static int64_t step(int64_t until)
{
    int64_t left = until == PP_NEVER ? PP_SECOND : until - pp_now();

    return left < PP_SECOND ? left : PP_SECOND;
}

/* Waits until `word` is no longer `seen`: VALUE, RUN_TIMEOUT or INTERRUPTED. */
static enum pyproc_end wait_for(_Atomic uint32_t *word, uint32_t seen, int64_t until,
                                const struct pyproc_wait *wait)
{
    while (atomic_load(word) == seen) {
        int64_t left = step(until);

        if (left <= 0)
            return PYPROC_END_RUN_TIMEOUT;
        (void)pp_futex_wait(word, seen, left);
        if (wait && wait->interrupted && wait->interrupted(wait->token))
            return PYPROC_END_INTERRUPTED;
    }
    return PYPROC_END_VALUE;
}

/* Lock held, given up meanwhile: waits for the reload of another thread. */
static enum pyproc_end enter(struct pyproc_pool *pool, int64_t until,
                             const struct pyproc_wait *wait)
{
    enum pyproc_end end = PYPROC_END_VALUE;

    while (end == PYPROC_END_VALUE && pool->state == PP_POOL_OPEN &&
           pool->reload.state != PP_RELOAD_NONE) {
        uint32_t seen = atomic_load(&pool->reload.ended);

        (void)pthread_mutex_unlock(&pool->lock);
        end = wait_for(&pool->reload.ended, seen, until, wait);
        (void)pthread_mutex_lock(&pool->lock);
    }
    return end == PYPROC_END_VALUE && pool->state != PP_POOL_OPEN ? PYPROC_END_CLOSED : end;
}

/* Nobody waits any more. What has not become current is undone, and that is waited for; what
 * has is carried on. */
static void give_up(struct pyproc_pool *pool, struct pp_reloader *me, enum pyproc_end end)
{
    bool left = true;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->reload.waiter == me && pool->reload.state == PP_RELOAD_ROLLING) {
        pool->reload.waiter = NULL;
        left = false;
    } else if (pool->reload.waiter == me) {
        pool->reload.given_up = true;
        pp_loop_wake(pool->loop);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (left)
        (void)wait_for(&me->settled, 0, PP_NEVER, NULL);
    if (!left || me->reply->end == PYPROC_END_INTERRUPTED)
        pp_reply_end(me->reply, end, "the reload was not done in time");
}

PYPROC_API int pyproc_reload(struct pyproc_pool *pool, int64_t timeout,
                             const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    int64_t until = timeout == PYPROC_FOREVER ? PP_NEVER : pp_after(pp_now(), timeout);
    struct pp_reloader me = {.reply = reply};
    struct pp_reload *reload = &pool->reload;
    enum pyproc_end end;

    pp_reply_init(reply);
    if (pp_pool_forked(pool)) {
        pp_reply_end(reply, PYPROC_END_CLOSED,
                     "the pool belongs to the process that forked: open one in this process");
        return (int)reply->end;
    }
    (void)pthread_mutex_lock(&pool->lock);
    end = enter(pool, until, wait);
    if (end == PYPROC_END_VALUE) {
        reload->state = PP_RELOAD_WANTED;
        reload->given_up = false;
        reload->tries = 0;
        reload->target = pool->generation + 1;
        reload->wanted_at = pp_now();
        reload->waiter = &me;
        pp_loop_wake(pool->loop);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (end != PYPROC_END_VALUE) {
        pp_reply_end(reply, end, end == PYPROC_END_CLOSED ? "the pool is closed" : NULL);
        return (int)end;
    }
    end = wait_for(&me.settled, 0, until, wait);
    if (end != PYPROC_END_VALUE)
        give_up(pool, &me, end);
    return (int)reply->end;
}
