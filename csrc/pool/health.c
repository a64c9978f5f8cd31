/* health.c - whether an idle worker is alive: asked only when something says that it may not be.
 *
 *   idle --suspicion--> asked: Ping --Pong--> idle
 *                         |--- stopped, or silent for too long ---> doomed, replaced
 *
 * Suspicious are a stop by a signal, which the keeper hears of as its parent, and a call that had
 * to be asked to stop. While a worker is asked it is off the line, so its trouble is no call's. A
 * worker that nothing happened to is never asked: an idle pool stays without timers.
 *
 * One that was stopped and is not in the line (a call has just been sent to it, or it is a spare)
 * cannot be asked; it is looked at instead. With a call that it has not begun it is ended at once,
 * and the call goes to another one; one that runs a call is limits.c's.
 */
#include "pool/pool.h"

#include "supervisor/usage.h"

/* A stop that somebody takes back at once costs nothing. */
#define STOP_TIME (100 * PP_MS)
/* How long a worker that is not stopped may take to answer. */
#define ANSWER_TIME (2 * PP_SECOND)

/* In place of a nonce, until the Ping is made. */
#define TO_BE_ASKED UINT64_MAX

static struct pp_slot *slot_at(struct pp_list *at)
{
    return pp_container(at, struct pp_slot, link);
}

static void look_at(struct pyproc_pool *pool, struct pp_slot *slot, int64_t when)
{
    slot->health.look_at = when;
    if (when < pool->health_at)
        pool->health_at = when;
}

static bool can_be_asked(const struct pyproc_pool *pool, const struct pp_slot *slot)
{
    return slot->owner == PP_OWNER_NONE && slot->was_ready && !slot->spare && !slot->leaving &&
           !slot->retired && !slot->buried && !atomic_load(&slot->worker.cause) &&
           pool->state < PP_POOL_CLOSING;
}

/* Takes it off the line; the frame goes out at the end of this turn. */
static void ask(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    struct pp_message ping = {.kind = PP_MESSAGE_PING};

    pp_list_remove(&slot->idle);
    slot->owner = PP_OWNER_LOOP;
    slot->health.ping = ping.nonce =
        atomic_fetch_add_explicit(&pool->next_id, 1, memory_order_relaxed);
    slot->health.silent_at = pp_after(now, ANSWER_TIME);
    look_at(pool, slot, pp_after(now, STOP_TIME));
    pp_count(&pool->metrics.workers_pinged);
    if (pp_channel_put(&slot->worker.channel, &ping) < 0)
        (void)pp_worker_doom(&slot->worker, "host");
    else
        slot->unsent_words = true;
}

/* Whether it has a call that its code has not seen, by its own word: a lie harms only itself. */
static bool has_unbegun_call(const struct pp_slot *slot)
{
    uint64_t call = atomic_load(&slot->worker.control->call_id);

    if (slot->owner == PP_OWNER_LOOP && !pp_list_empty(&slot->inflight))
        call = pp_container(slot->inflight.next, const struct pp_call, offered)->wire_id;
    return atomic_load(&slot->worker.status->started) < call;
}

/* Its time has come. */
static void look(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    bool stopped = pp_usage_stopped(atomic_load(&slot->worker.pid));

    slot->health.look_at = PP_NEVER;
    if (stopped && (slot->health.ping || slot->owner == PP_OWNER_NONE || has_unbegun_call(slot)))
        (void)pp_worker_doom(&slot->worker, "stopped");
    else if (slot->health.ping && slot->health.silent_at <= now)
        (void)pp_worker_doom(&slot->worker, "silent");
    else if (slot->health.ping)
        look_at(pool, slot, pp_after(now, STOP_TIME));
}

static void was_stopped(struct pyproc_pool *pool, struct pp_slot *slot)
{
    int64_t now = pp_now();

    if (slot->buried || !slot->was_ready || slot->health.ping)
        return;
    look_at(pool, slot, pp_after(now, STOP_TIME));
    if (can_be_asked(pool, slot))
        ask(pool, slot, now);
}

void pp_health_stopped(void *token, struct pp_worker *worker)
{
    struct pyproc_pool *pool = token;

    (void)pthread_mutex_lock(&pool->lock);
    if (worker->role == PP_ROLE_TEMPLATE)
        pp_pool_template_stopped(worker);
    else
        was_stopped(pool, pp_slot_of(worker));
    (void)pthread_mutex_unlock(&pool->lock);
    pp_pool_turn(pool);
}

void pp_health_suspect(struct pyproc_pool *pool, struct pp_slot *slot)
{
    slot->owner = PP_OWNER_LOOP;
    slot->health.ping = TO_BE_ASKED;
    look_at(pool, slot, 0);
    pp_loop_wake(pool->loop);
}

void pp_health_turn(struct pyproc_pool *pool, int64_t now)
{
    struct pp_list *at;

    if (pool->health_at > now)
        return;
    pool->health_at = PP_NEVER;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = slot_at(at);

        if (slot->buried || atomic_load(&slot->worker.cause))
            slot->health.look_at = PP_NEVER;
        else if (slot->health.ping == TO_BE_ASKED)
            ask(pool, slot, now);
        else if (slot->health.look_at <= now)
            look(pool, slot, now);
        if (slot->health.look_at < pool->health_at)
            pool->health_at = slot->health.look_at;
    }
}

const char *pp_health_pong(struct pp_slot *slot, uint64_t nonce)
{
    if (slot->health.ping == 0 || slot->health.ping != nonce)
        return "the worker answered a Ping that nobody sent";
    slot->health.ping = 0;
    slot->health.look_at = PP_NEVER; /* nobody else has the slot now */
    return NULL;
}
