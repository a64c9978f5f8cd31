/* lease.c - the leased call: the calling thread itself writes the request to a worker
 * and reads its answer; no other thread wakes up.
 *
 *   acquire: an idle worker, or a place in the line
 *   exchange: frame out, frame in; the loop keeps the deadline
 *   give back: to the next in line, or idle
 */
#include "pool/pool.h"

#include "base/futex.h"
#include "wire/frame.h"

#include <string.h>

static bool interrupted(const struct pyproc_wait *wait)
{
    return wait && wait->interrupted && wait->interrupted(wait->token) != 0;
}

/* Calls that this thread is inside of, on any pool. */
static _Thread_local unsigned inside;

/* Whether waiting here could be waiting for itself: this thread is inside calls already (a
 * signal handler or a __del__ came in between), and they hold or will get every worker that
 * there may be. */
static bool nested(const struct pyproc_pool *pool)
{
    pthread_t me = pthread_self();
    const struct pp_list *at;
    unsigned held = 0;

    if (inside < 2)
        return false; /* the usual case, and the line may be long */
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        const struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        held += slot->owner == PP_OWNER_LEASED && pthread_equal(slot->lessee, me);
    }
    held += pp_line_count_thread(pool, me);
    return held >= pool->max_workers;
}

/* The waiting is over before a worker came; if one came at this very moment, it goes on
 * to the next in line. */
static void give_up(struct pyproc_pool *pool, struct pp_waiter *waiter, enum pyproc_end end,
                    const char *text)
{
    (void)pthread_mutex_lock(&pool->lock);
    if (!atomic_load(&waiter->settled))
        pp_pool_unwait(pool, &waiter->want);
    else if (waiter->slot)
        pp_pool_give_back(pool, waiter->slot);
    (void)pthread_mutex_unlock(&pool->lock);
    waiter->slot = NULL;
    pyproc_reply_clear(waiter->reply);
    pp_reply_end(waiter->reply, end, text);
}

static void wait_in_line(struct pyproc_pool *pool, struct pp_waiter *waiter, int64_t until,
                         const struct pyproc_wait *wait)
{
    while (!atomic_load(&waiter->settled)) {
        int64_t left = until == PP_NEVER ? PP_SECOND : until - pp_now();

        if (left <= 0) {
            give_up(pool, waiter, PYPROC_END_QUEUE_TIMEOUT, "no worker was free in time");
            return;
        }
        (void)pp_futex_wait(&waiter->settled, 0, left < PP_SECOND ? left : PP_SECOND);
        if (!atomic_load(&waiter->settled) && interrupted(wait)) {
            give_up(pool, waiter, PYPROC_END_INTERRUPTED, NULL);
            return;
        }
    }
}

static int64_t earlier(int64_t at, int64_t deadline)
{
    return deadline != 0 && deadline < at ? deadline : at;
}

static int64_t queue_deadline(const struct pyproc_pool *pool, const struct pyproc_request *request)
{
    int64_t span = request->queue_timeout ? request->queue_timeout : pool->queue_timeout;

    return earlier(span == PP_NEVER ? PP_NEVER : pp_after(pp_now(), span), request->deadline);
}

static const char closed_text[] = "the pool is closed";

/* Until a worker came, or something else; the lock is given up meanwhile. */
static void stand_in_line(struct pyproc_pool *pool, const struct pyproc_request *request,
                          const struct pyproc_wait *wait, struct pp_waiter *waiter)
{
    pp_list_init(&waiter->want.link);
    pp_pool_wait_for_worker(pool, &waiter->want, false);
    pp_pool_active(pool, 1);
    pp_loop_wake(pool->loop);
    (void)pthread_mutex_unlock(&pool->lock);
    wait_in_line(pool, waiter, queue_deadline(pool, request), wait);
    (void)pthread_mutex_lock(&pool->lock);
    if (!waiter->slot)
        pp_pool_active(pool, -1);
}

static const char nested_text[] =
    "this thread is inside a call on this pool already and no worker is free";

/* The worker that the request's key is tied to. */
static void acquire_own(struct pyproc_pool *pool, const struct pyproc_request *request,
                        const struct pyproc_wait *wait, struct pp_waiter *waiter)
{
    enum pyproc_end end = pp_sticky_bond(pool, request, &waiter->want);
    const struct pp_slot *slot;

    if (end != PYPROC_END_VALUE) {
        pp_reply_end(waiter->reply, end, pp_sticky_text(end));
        return;
    }
    slot = waiter->want.bond->slot;
    waiter->slot = pp_sticky_idle(pool, &waiter->want);
    if (waiter->slot) {
        pp_pool_lease(pool, waiter->slot, pthread_self());
        pp_pool_active(pool, 1);
    } else if ((slot && slot->owner == PP_OWNER_LEASED &&
                pthread_equal(slot->lessee, pthread_self())) ||
               nested(pool)) {
        pp_reply_end(waiter->reply, PYPROC_END_NESTED, nested_text);
    } else {
        stand_in_line(pool, request, wait, waiter);
    }
    pp_sticky_unbond(pool, &waiter->want);
}

/* A leased slot, or NULL and the reply filled. */
static struct pp_slot *acquire(struct pyproc_pool *pool, const struct pyproc_request *request,
                               const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    struct pp_waiter waiter = {
        .want = {.kind = PP_WANT_THREAD, .level = pp_level_of(request->priority)},
        .thread = pthread_self(),
        .reply = reply};

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->state != PP_POOL_OPEN) {
        pp_reply_end(reply, PYPROC_END_CLOSED, closed_text);
    } else if (request->key) {
        acquire_own(pool, request, wait, &waiter);
    } else if (!pp_list_empty(&pool->idle) && !pp_line_any(pool)) {
        waiter.slot = pp_container(pool->idle.next, struct pp_slot, idle);
        pp_pool_lease(pool, waiter.slot, pthread_self());
        pp_pool_active(pool, 1);
    } else if (nested(pool)) {
        pp_reply_end(reply, PYPROC_END_NESTED, nested_text);
    } else {
        stand_in_line(pool, request, wait, &waiter);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return waiter.slot;
}

/* `reply`: of the call that ran, or NULL. */
static void release(struct pyproc_pool *pool, struct pp_slot *slot, struct pyproc_reply *reply)
{
    if (reply && (reply->end == PYPROC_END_VALUE || reply->end == PYPROC_END_FAILURE)) {
        (void)atomic_fetch_add_explicit(&slot->worker.tasks_done, 1, memory_order_relaxed);
        if (pool->life.max_memory > 0)
            pp_life_weigh(pool, slot);
    }
    (void)pthread_mutex_lock(&pool->lock);
    if (slot->soft != PP_SOFT_NONE && reply)
        pp_soft_end(slot->soft, reply);
    pp_pool_give_back(pool, slot);
    pp_pool_active(pool, -1);
    (void)pthread_mutex_unlock(&pool->lock);
}

/* The channel is at its end: the keeper's report says why, usually within a millisecond.
 * A worker that closed its channel but lives is killed after a second. */
static void verdict(struct pp_slot *slot, struct pyproc_reply *reply)
{
    struct pp_worker *worker = &slot->worker;

    while (!atomic_load(&worker->ended)) {
        int r = pp_futex_wait(&worker->ended, 0, PP_SECOND);

        if (r == -ETIMEDOUT)
            (void)pp_worker_doom(worker, "channel");
    }
    pp_worker_obituary(worker, reply);
}

static void broke_protocol(struct pyproc_pool *pool, struct pp_slot *slot, const char *rule,
                           struct pyproc_reply *reply)
{
    pp_count(&pool->metrics.protocol_errors);
    (void)pp_worker_doom(&slot->worker, "protocol");
    verdict(slot, reply);
    if (reply->end == PYPROC_END_PROTOCOL)
        pp_reply_end(reply, PYPROC_END_PROTOCOL, rule);
}

/* Nothing may follow an answer: nobody asked. */
static void check_silence(struct pyproc_pool *pool, struct pp_slot *slot)
{
    const struct pp_frame_reader *reader = slot->worker.channel.reader;

    if (pp_frame_reader_partial(reader) || pp_frame_reader_ready(reader)) {
        pp_count(&pool->metrics.protocol_errors);
        (void)pp_worker_doom(&slot->worker, "protocol");
    }
}

/* A message for call `id`: true when it was its answer. */
static bool take_answer(struct pyproc_pool *pool, struct pp_slot *slot, uint64_t id,
                        const struct pp_message *message, struct pyproc_reply *reply)
{
    if (message->kind == PP_MESSAGE_RESULT && message->result.id == id &&
        message->result.payload.size <= pool->max_result) {
        pp_reply_value(reply, (int)message->result.codec, message->result.payload.data,
                       message->result.payload.size, message->result.count);
        check_silence(pool, slot);
        return true;
    }
    if (message->kind == PP_MESSAGE_FAILURE && message->failure.id == id) {
        pp_reply_failure(reply, &message->failure);
        check_silence(pool, slot);
        return true;
    }
    return false;
}

/* What a return code of the channel means for the call; true when the call has ended. */
static bool trouble(struct pyproc_pool *pool, struct pp_slot *slot, int r,
                    const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    if (r == PP_CHANNEL_INTERRUPT) {
        if (!interrupted(wait))
            return false;
        (void)pp_worker_doom(&slot->worker, "cancel");
        pp_reply_end(reply, PYPROC_END_INTERRUPTED, NULL);
    } else if (r == PP_CHANNEL_BROKEN) {
        broke_protocol(pool, slot, pp_channel_why(), reply);
    } else { /* its end, or an error that leaves the channel useless */
        if (r < 0)
            (void)pp_worker_doom(&slot->worker, "channel");
        verdict(slot, reply);
    }
    return true;
}

static void receive(struct pyproc_pool *pool, struct pp_slot *slot, uint64_t id, uint64_t limit,
                    const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    struct pp_message message;
    const char *rule;

    for (;;) {
        int r = pp_channel_next_wait(&slot->worker.channel, &message);

        if (r != 0) {
            if (trouble(pool, slot, r, wait, reply))
                return;
        } else if (message.kind == PP_MESSAGE_MEMORY_REQUEST && message.memory_request.id == id) {
            rule = pp_memory_asked(pool, slot, &message.memory_request, limit);
            if (rule) {
                broke_protocol(pool, slot, rule, reply);
                return;
            }
        } else if (take_answer(pool, slot, id, &message, reply)) {
            return;
        } else {
            broke_protocol(pool, slot, "the worker sent a message that nobody asked for", reply);
            return;
        }
    }
}

static int put_call(struct pp_slot *slot, const struct pyproc_request *request, uint64_t id,
                    int64_t deadline)
{
    struct pp_worker *worker = &slot->worker;
    /* The public and the wire's bytes have one shape; the array is lent as it is. */
    _Static_assert(sizeof(struct pp_bytes) == sizeof(struct pyproc_bytes), "one shape");
    struct pp_message message = {
        .kind = PP_MESSAGE_CALL,
        .call = {
            .id = id,
            .function = {request->function.data, request->function.size},
            .payload = {request->payload.data, request->payload.size},
            .codec = (enum pp_codec)request->codec,
            .keywords = (const struct pp_bytes *)(const void *)request->keywords,
            .n_keywords = request->n_keywords,
            .items = request->items,
            .baggage = {request->baggage.data, request->baggage.size},
            .attachments = (uint32_t)request->n_attachments,
        }};

    if (deadline != PP_NEVER) {
        int64_t left = (deadline - pp_now()) / 1000;

        message.call.remaining_us = left > 0 ? (uint64_t)left : 1;
    }
    atomic_store_explicit(&worker->control->deadline, deadline, memory_order_relaxed);
    atomic_store_explicit(&worker->control->call_id, id, memory_order_release);
    pp_violation_leased(slot, id, request->function);
    pp_channel_attach(&worker->channel, request->attachments, request->n_attachments);
    return pp_channel_put(&worker->channel, &message);
}

/* Limits of this call alone. */
static void limit(struct pyproc_pool *pool, struct pp_slot *slot,
                  const struct pyproc_request *request)
{
    (void)pthread_mutex_lock(&pool->lock);
    slot->memory_limit = request->memory_limit;
    slot->cpu_limit = request->cpu_limit;
    pp_output_begins(pool, slot, request->output_limit);
    pool->one_each = pool->one_each || request->output_limit;
    pool->watches = pool->watches || request->memory_limit || request->cpu_limit;
    pp_limits_started(pool);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void exchange(struct pyproc_pool *pool, struct pp_slot *slot,
                     const struct pyproc_request *request, const struct pyproc_wait *wait,
                     struct pyproc_reply *reply)
{
    int64_t span = request->run_timeout ? request->run_timeout : pool->task_timeout;
    int64_t deadline =
        earlier(span == PP_NEVER ? PP_NEVER : pp_after(pp_now(), span), request->deadline);
    uint64_t id = atomic_fetch_add_explicit(&pool->next_id, 1, memory_order_relaxed);
    int r;

    reply->call_id = id;
    if (request->deadline && request->deadline <= pp_now()) {
        pp_reply_end(reply, PYPROC_END_QUEUE_TIMEOUT, "no worker was free in time");
        return;
    }
    r = put_call(slot, request, id, deadline);
    if (request->memory_limit || request->cpu_limit || request->output_limit || pool->output_limit)
        limit(pool, slot, request);
    if (r < 0) {
        pp_reply_end(reply, PYPROC_END_TOO_LARGE,
                     r == -EMSGSIZE ? "the arguments are larger than max_frame"
                                    : "the host is out of memory for the request");
        return;
    }
    if (deadline != PP_NEVER) {
        (void)pthread_mutex_lock(&pool->lock);
        pp_pool_deadline(pool, slot, deadline);
        (void)pthread_mutex_unlock(&pool->lock);
    }
    while ((r = pp_channel_flush_wait(&slot->worker.channel)) != 0)
        if (trouble(pool, slot, r, wait, reply))
            return;
    receive(pool, slot, id, request->inline_only ? PP_MEMORY_NONE : request->result_limit, wait,
            reply);
}

/* The worker died before user code saw the call: another one may have it. */
static bool untouched(const struct pp_slot *slot, const struct pyproc_reply *reply)
{
    if (reply->end != PYPROC_END_CRASHED && reply->end != PYPROC_END_EXITED &&
        reply->end != PYPROC_END_KILLED)
        return false;
    return atomic_load(&slot->worker.status->started) < reply->call_id;
}

/* How long an error waits for what was logged before it. */
enum { HEAR_NS = 50 * 1000 * 1000 };

/* One worker's try at the call; false when it should go to another. */
static bool attempt(struct pyproc_pool *pool, const struct pyproc_request *request,
                    const struct pyproc_wait *wait, struct pyproc_reply *reply, bool last)
{
    int64_t asked = pp_now(), begun;
    struct pp_slot *slot = acquire(pool, request, wait, reply);
    bool again;

    if (!slot) {
        pp_count(&pool->metrics.calls_rejected);
        return true;
    }
    pp_count(&pool->metrics.calls_admitted);
    begun = pp_now();
    exchange(pool, slot, request, wait, reply);
    pp_channel_detach(&slot->worker.channel);
    pp_memory_ends(slot, reply->call_id, reply->end == PYPROC_END_VALUE ? reply : NULL);
    again = !last && untouched(slot, reply);
    if (reply->end == PYPROC_END_FAILURE)
        (void)pp_worker_heard(&slot->worker, pp_after(pp_now(), HEAR_NS));
    pp_limits_end(pool, reply);
    pp_output_ends(slot, reply);
    pp_result_ends(request->result_limit, reply);
    release(pool, slot, reply);
    if (again) {
        pp_count(&pool->metrics.calls_requeued);
        pyproc_reply_clear(reply);
        return false;
    }
    pp_histogram_add(&pool->metrics.wait, begun - asked);
    pp_histogram_add(&pool->metrics.run, pp_now() - begun);
    pp_count_end(pool, reply->end);
    return true;
}

PYPROC_API int pyproc_call(struct pyproc_pool *pool, const struct pyproc_request *request,
                           const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    pp_reply_init(reply);
    if (pp_pool_forked(pool)) {
        pp_reply_end(reply, PYPROC_END_CLOSED,
                     "the pool belongs to the process that forked: open one in this process");
        return (int)reply->end;
    }
    if (!pp_call_attaches(request, reply))
        return (int)reply->end;
    inside++;
    for (int tries = PP_REQUEUE_MAX; !attempt(pool, request, wait, reply, tries == 0);)
        tries--;
    inside--;
    return (int)reply->end;
}

/* pool.c's open: waits for the first worker as any call would, and gives it back. */
void pp_pool_await_first(struct pyproc_pool *pool, const struct pyproc_wait *wait,
                         struct pyproc_reply *reply)
{
    static const struct pyproc_request patient = {.queue_timeout = PP_NEVER};
    struct pp_slot *slot = acquire(pool, &patient, wait, reply);

    if (slot)
        release(pool, slot, NULL);
}
