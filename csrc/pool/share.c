/* share.c - calls that share one worker: of async functions, which run side by side, and of
 * functions that take a batch of them.
 *
 *   line -> the worker that runs fewest -> Call(shared) ... Cancel ... answers in any order
 *
 * A worker either has its calls one after the other or shares itself among up to max_in_flight
 * that may share; it goes over when it has none. Who stands first in the line is served first, so
 * a plain function waits until a worker is free and nobody behind it goes before. Each call has
 * its own deadline. One that is over is asked to stop by a Cancel, which its worker's event loop
 * carries out between two steps of other calls; only when that does not help in time the worker is
 * killed, and then the others on it end with the name of the culprit.
 *
 * The worker gathers a batch. Here its calls are only sent to the same one, as long as that waits
 * for more; those that come while all workers are busy wait in the line and make a full batch.
 */
#include "pool/share.h"

#include <stdio.h>
#include <string.h>

/* How long a call may take to stop where the pool says nothing: its neighbours live on it. */
#define STOP_TIME (1 * PP_SECOND)

/* How a function's calls share a worker, and how many. */
static enum pp_share kind_of(const struct pyproc_pool *pool, const struct pp_function_facts *facts,
                             size_t *mostp)
{
    *mostp = 0;
    if (!facts)
        return PP_SHARE_NONE;
    if (facts->batch > 0) {
        *mostp = facts->batch;
        return PP_SHARE_BATCH;
    }
    if (facts->kind != PP_FUNCTION_ASYNC || pool->max_in_flight < 2)
        return PP_SHARE_NONE;
    *mostp = pool->max_in_flight;
    return PP_SHARE_ASYNC;
}

void pp_share_settle(const struct pyproc_pool *pool, struct pp_call *call)
{
    const struct pp_message_call *message = &call->message;
    const struct pp_function_facts *facts;

    if (call->want.bond || call->stream || message->items || message->attachments)
        return;
    /* Limits that count what the worker does: it must be one call that does it. */
    if (call->memory_limit || call->cpu_limit || call->output_limit || pool->output_limit)
        return;
    facts = pp_function_find(pool->functions, message->function);
    call->share = kind_of(pool, facts, &call->share_most);
    call->share_wait = facts ? facts->wait : 0;
}

PYPROC_API unsigned pyproc_shares(struct pyproc_pool *pool, struct pyproc_bytes function)
{
    const struct pp_bytes name = {(const uint8_t *)function.data, function.size};
    size_t most;

    if (pp_pool_forked(pool))
        return 0;
    (void)pthread_mutex_lock(&pool->lock);
    (void)kind_of(pool, pp_function_find(pool->functions, name), &most);
    (void)pthread_mutex_unlock(&pool->lock);
    return (unsigned)most;
}

/* Whether the calls there are of the same function. */
static bool is_same(const struct pp_slot *slot, const struct pp_call *call)
{
    const struct pp_bytes *mine = &call->message.function, *theirs;

    if (pp_list_empty(&slot->inflight))
        return false;
    theirs = &pp_container(slot->inflight.next, const struct pp_call, offered)->message.function;
    return mine->size == theirs->size && memcmp(mine->data, theirs->data, mine->size) == 0;
}

/* Whether one more call may go there. */
static bool has_room(const struct pyproc_pool *pool, const struct pp_slot *slot,
                     const struct pp_call *call)
{
    return slot->owner == PP_OWNER_LOOP && slot->share == call->share && !slot->buried &&
           !slot->ending && !atomic_load(&slot->worker.cause) &&
           slot->n_inflight < slot->share_most &&
           pp_buffer_size(&slot->worker.channel.out) + slot->unsent_bytes < PP_AHEAD_BYTES &&
           pp_life_room(pool, slot) > 0 && !pp_sticky_next(pool, slot);
}

/* The worker that waits for more of them. */
static struct pp_slot *gathering(const struct pyproc_pool *pool, const struct pp_call *call)
{
    struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (has_room(pool, slot, call) && is_same(slot, call) && pp_now() < slot->share_until)
            return slot;
    }
    return NULL;
}

/* An idle worker, else the one with the fewest calls. */
static struct pp_slot *choose(const struct pyproc_pool *pool, const struct pp_call *call)
{
    struct pp_slot *best = call->share == PP_SHARE_BATCH ? gathering(pool, call) : NULL;
    struct pp_list *at;

    if (best)
        return best;
    if (!pp_list_empty(&pool->idle))
        return pp_container(pool->idle.next, struct pp_slot, idle);
    if (call->share == PP_SHARE_BATCH)
        return NULL; /* the next batch is the fuller for waiting here */
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (has_room(pool, slot, call) && (!best || slot->n_inflight < best->n_inflight))
            best = slot;
    }
    return best;
}

bool pp_share_offer(struct pyproc_pool *pool, struct pp_call *call)
{
    struct pp_slot *slot = choose(pool, call);

    if (!slot)
        return false;
    if (slot->owner == PP_OWNER_NONE) {
        pp_list_remove(&slot->idle);
        slot->owner = PP_OWNER_LOOP;
        slot->share = call->share;
        slot->share_most = call->share_most;
        slot->share_until = pp_after(pp_now(), call->share_wait);
        slot->deadline = PP_NEVER;
        atomic_store(&slot->worker.state, PP_WORKER_BUSY);
    }
    slot->unsent_bytes += call->size;
    pp_offer(pool, slot, call);
    return true;
}

void pp_share_sent(struct pp_slot *slot, struct pp_call *call, struct pp_message_call *to)
{
    to->shared = true;
    call->soft = PP_SOFT_NONE;
    call->sent_at = pp_now();
    call->ends_at = pp_call_deadline(call, call->sent_at);
    if (call->ends_at < slot->deadline)
        slot->deadline = call->ends_at;
}

struct pp_call *pp_share_find(const struct pp_slot *slot, uint64_t wire_id)
{
    const struct pp_list *at;

    for (at = slot->inflight.next; at != &slot->inflight; at = at->next) {
        struct pp_call *call = pp_container(at, struct pp_call, offered);

        if (call->wire_id == wire_id)
            return wire_id ? call : NULL;
    }
    return NULL;
}

void pp_share_written(void *pool, struct pp_worker *worker)
{
    if (worker->role == PP_ROLE_WORKER && pp_slot_of(worker)->share != PP_SHARE_NONE)
        pp_pool_turn(pool);
}

static void ask(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call,
                enum pp_soft why, int64_t now)
{
    const struct pp_message cancel = {
        .kind = PP_MESSAGE_CANCEL,
        .cancel = {.id = call->wire_id, .timeout = why == PP_SOFT_TIMEOUT}};

    call->soft = why;
    call->ends_at = pp_after(now, pool->grace > 0 ? pool->grace : STOP_TIME);
    if (slot->share == PP_SHARE_BATCH && why == PP_SOFT_CANCEL)
        call->ends_at = PP_NEVER; /* a batch that runs goes on for the others in it */
    if (call->ends_at < slot->deadline)
        slot->deadline = call->ends_at;
    if (pp_channel_put(&slot->worker.channel, &cancel) < 0)
        (void)pp_worker_doom(&slot->worker, "host");
    slot->unsent_words = true;
}

/* It was asked and goes on: the worker ends for it. */
static void blame(struct pp_slot *slot, const struct pp_call *call)
{
    const struct pp_bytes *name = &call->message.function;

    if (!pp_worker_doom(&slot->worker, call->soft == PP_SOFT_CANCEL ? "cancel" : "timeout"))
        return;
    slot->culprit = call->wire_id;
    (void)snprintf(
        slot->culprit_name, sizeof slot->culprit_name, "%.*s",
        (int)(name->size < sizeof slot->culprit_name ? name->size : sizeof slot->culprit_name - 1),
        (const char *)name->data);
}

void pp_share_overdue(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    struct pp_list *at;

    slot->deadline = PP_NEVER;
    if (slot->retired) {
        (void)pp_worker_doom(&slot->worker, "retired");
        return;
    }
    for (at = slot->inflight.next; at != &slot->inflight; at = at->next) {
        struct pp_call *call = pp_container(at, struct pp_call, offered);

        if (call->wire_id == 0)
            continue;
        if (call->ends_at <= now && call->soft != PP_SOFT_NONE) {
            blame(slot, call);
            return;
        }
        if (call->ends_at <= now)
            ask(pool, slot, call, PP_SOFT_TIMEOUT, now);
        if (call->ends_at < slot->deadline)
            slot->deadline = call->ends_at;
    }
}

void pp_share_cancel(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    struct pp_list *at;

    for (at = slot->inflight.next; at != &slot->inflight; at = at->next) {
        struct pp_call *call = pp_container(at, struct pp_call, offered);

        if (call->cancelled && call->wire_id != 0 && call->soft == PP_SOFT_NONE)
            ask(pool, slot, call, PP_SOFT_CANCEL, now);
    }
}

bool pp_share_bystander(const struct pp_slot *slot, const struct pp_call *call,
                        struct pyproc_reply *reply)
{
    struct pyproc_death death = slot->worker.death;
    char text[160];

    if (slot->culprit == 0 || call->wire_id == slot->culprit)
        return false;
    (void)snprintf(text, sizeof text,
                   "call %llu of '%s' on the same worker did not stop when it was asked to",
                   (unsigned long long)slot->culprit, slot->culprit_name);
    death.cause = "neighbour";
    pp_reply_end(reply, PYPROC_END_KILLED, text);
    pp_reply_death(reply, &death);
    return true;
}
