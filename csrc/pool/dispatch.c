/* dispatch.c - the loop's half of the line: which worker gets which calls, how many
 * ahead, and how those are taken back when another worker is idle.
 *
 * Frames written ahead are offered: the worker marks a call started in its status page
 * before user code sees it, and looks at recall_from of the control page after that
 * (both sequentially consistent). So when the host stores recall_from and then reads
 * `started`, either the worker sees the recall or the host sees the start, or both - then
 * the worker says Returned. Nothing runs twice and nothing is lost.
 */
#include "pool/pool.h"
#include "pool/share.h"

/* A call may run this long before those behind it are given to an idle worker. */
#define RECALL_AFTER (2 * PP_MS)

static struct pp_call *first_call(const struct pyproc_pool *pool)
{
    struct pp_want *want = pp_line_any(pool) ? pp_line_first(pool) : NULL;

    return want && want->kind == PP_WANT_CALL ? pp_container(want, struct pp_call, want) : NULL;
}

/* How many calls a worker may hold: enough to bridge the way to the host and back in a
 * burst, one when there are few. */
static size_t depth(const struct pyproc_pool *pool)
{
    size_t share =
        (pool->n_waiting_calls - pool->sticky.n_own_calls) / (2 * (size_t)pool->max_workers);

    if (share < 1 || pool->one_each)
        return 1;
    return share < PP_AHEAD_MAX ? share : PP_AHEAD_MAX;
}

static void expire(struct pyproc_pool *pool, struct pp_call *call, struct pp_done *done)
{
    pp_reply_end(&call->item->reply, PYPROC_END_QUEUE_TIMEOUT, "no worker was free in time");
    pp_call_end(pool, call, done);
}

void pp_offer(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call)
{
    pool->watches = pool->watches || call->memory_limit || call->cpu_limit;
    pool->one_each = pool->one_each || call->output_limit;
    pp_limits_started(pool);
    pp_pool_unwait(pool, &call->want);
    pp_call_expires_not(pool, call);
    call->state = PP_CALL_OFFERED;
    call->slot = slot;
    pp_list_push_back(&slot->inflight, &call->offered);
    slot->n_inflight++;
    slot->n_unsent++;
}

static const struct pp_call *head_of(const struct pp_slot *slot)
{
    return pp_container(slot->inflight.next, struct pp_call, offered);
}

static void fill(struct pyproc_pool *pool, struct pp_slot *slot, size_t most, struct pp_done *done)
{
    size_t bytes = pp_buffer_size(&slot->worker.channel.out);
    int64_t now = pp_now();
    size_t room = pp_life_room(pool, slot);
    struct pp_call *call;

    while (room > 0 && slot->n_inflight < most && (call = first_call(pool)) != NULL) {
        if (call->queue_deadline <= now) {
            expire(pool, call, done);
            continue;
        }
        if (pp_sticky_next(pool, slot))
            return; /* who waits for this worker alone is next */
        if (slot->n_inflight > 0 && bytes + call->size > PP_AHEAD_BYTES)
            return;
        if (call->share != PP_SHARE_NONE)
            return; /* its kind is given out in share.c */
        /* One that may not wait for ever must not wait where nobody looks at the clock. */
        if (slot->n_inflight > 0 && call->queue_deadline != PP_NEVER)
            return;
        /* Descriptors go to a worker that has nothing else: then they are its first bytes, and
         * no worker holds more of them than one call may bring. */
        if (slot->n_inflight > 0 && call->message.attachments > 0)
            return;
        /* A stream has its worker alone: while it runs the worker reads nothing but credit. */
        if (slot->n_inflight > 0 && (call->stream || head_of(slot)->stream))
            return;
        bytes += call->size;
        room -= pp_call_tasks(call) < room ? pp_call_tasks(call) : room;
        pp_offer(pool, slot, call);
    }
}

void pp_dispatch_own(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call)
{
    pp_list_remove(&slot->idle);
    slot->owner = PP_OWNER_LOOP;
    slot->share = PP_SHARE_NONE;
    atomic_store(&slot->worker.state, PP_WORKER_BUSY);
    pp_offer(pool, slot, call);
}

static bool dispatchable(const struct pp_slot *slot)
{
    return slot->owner == PP_OWNER_LOOP && slot->recall_last == 0 && slot->health.ping == 0 &&
           !slot->buried && !slot->ending && !atomic_load(&slot->worker.cause);
}

/* Gives out calls that may share a worker, as long as such are at the front of the line. */
static void share_out(struct pyproc_pool *pool, struct pp_done *done)
{
    struct pp_call *call;
    int64_t now = pp_now();

    while ((call = first_call(pool)) != NULL && call->share != PP_SHARE_NONE) {
        if (call->queue_deadline <= now)
            expire(pool, call, done);
        else if (!pp_share_offer(pool, call))
            return;
    }
}

/* Idle workers take from the front of the line. */
static void employ_idle(struct pyproc_pool *pool, struct pp_done *done)
{
    while (!pp_list_empty(&pool->idle) && pp_line_any(pool)) {
        struct pp_slot *slot;

        share_out(pool, done);
        if (pp_list_empty(&pool->idle) || !pp_line_any(pool))
            return;
        slot = pp_container(pool->idle.next, struct pp_slot, idle);
        pp_list_remove(&slot->idle);
        if (first_call(pool)) {
            slot->owner = PP_OWNER_LOOP;
            atomic_store(&slot->worker.state, PP_WORKER_BUSY);
            fill(pool, slot, depth(pool), done);
        }
        if (slot->n_inflight == 0)
            pp_pool_give_back(pool, slot); /* a thread is next, or all had expired */
    }
}

/* Whether calls that wait behind the slot's running one would go on better elsewhere: to
 * somebody idle, or after `first`, who is before them in the line, or since it leaves. */
static bool recall_wanted(const struct pyproc_pool *pool, const struct pp_slot *slot,
                          const struct pp_want *first, bool idle)
{
    const struct pp_call *last;

    if (slot->n_inflight < 2 || slot->n_unsent > 0 || slot->share != PP_SHARE_NONE)
        return false; /* those that share run all at once */
    if (slot->leaving)
        return true;
    last = pp_container(slot->inflight.prev, struct pp_call, offered);
    return first ? first->level != last->want.level && pp_line_before(pool, first, &last->want)
                 : idle;
}

/* Whether to look after RECALL_AFTER if calls are to be taken back from somebody. */
static bool uneven(const struct pyproc_pool *pool)
{
    const struct pp_want *first = pp_line_first(pool);
    bool idle = !pp_list_empty(&pool->idle);
    const struct pp_list *at;

    if ((first ? !pool->line.ranked : !idle) && pool->life.leaving == 0)
        return false;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        const struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (dispatchable(slot) && recall_wanted(pool, slot, first, idle))
            return true;
    }
    return false;
}

void pp_dispatch(struct pyproc_pool *pool, struct pp_done *done)
{
    struct pp_list *at;

    pp_sticky_turn(pool, done);
    employ_idle(pool, done);
    share_out(pool, done);
    for (at = pool->slots.next; at != &pool->slots && first_call(pool); at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);
        size_t most = depth(pool);

        if (dispatchable(slot) && slot->share == PP_SHARE_NONE && slot->n_inflight <= most / 2)
            fill(pool, slot, most, done);
    }
    share_out(pool, done);
    for (at = pool->slots.next; at != &pool->slots;) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        at = at->next;
        if (dispatchable(slot) && slot->n_inflight == 0) {
            (void)pp_worker_watch(&slot->worker, 0);
            pp_pool_give_back(pool, slot);
        }
    }
    if (pool->recall_at == PP_NEVER && uneven(pool))
        pool->recall_at = pp_now() + RECALL_AFTER;
}

static void send_call(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call)
{
    struct pp_message message = {.kind = PP_MESSAGE_CALL, .call = call->message};

    call->wire_id = atomic_fetch_add_explicit(&pool->next_id, 1, memory_order_relaxed);
    message.call.id = call->wire_id;
    message.call.remaining_us = pp_call_remaining(call, pp_now());
    if (call->stream)
        pp_stream_sent(pool, slot, call, &message.call);
    if (slot->share != PP_SHARE_NONE)
        pp_share_sent(slot, call, &message.call);
    atomic_store(&slot->worker.control->call_id, call->wire_id);
    /* Its size was checked when it was admitted. Out of memory leaves the worker without
     * a call that the host waits for: end the worker, and the call with it. */
    if (pp_channel_put(&slot->worker.channel, &message) < 0)
        (void)pp_worker_doom(&slot->worker, "host");
    else if (message.call.attachments > 0)
        pp_channel_attach(&slot->worker.channel, call->attached, message.call.attachments);
}

/* A call becomes the running one of its worker. */
static void head_starts(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_call *head = pp_container(slot->inflight.next, struct pp_call, offered);
    int64_t now = pp_now();

    slot->head_since = now;
    pp_output_begins(pool, slot, head->output_limit);
    slot->deadline = pp_call_deadline(head, now);
    atomic_store(&slot->worker.control->deadline, slot->deadline);
    if (head->stream)
        pp_stream_starts(slot, head, now);
    if (slot->deadline < pool->armed)
        pp_loop_wake(pool->loop);
}

static void send_slot(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_list *at = &slot->inflight;
    bool idle_before = slot->n_unsent == slot->n_inflight;

    for (size_t i = 0; i < slot->n_unsent; i++)
        at = at->prev;
    for (; slot->n_unsent > 0; slot->n_unsent--, at = at->next)
        send_call(pool, slot, pp_container(at, struct pp_call, offered));
    slot->unsent_bytes = 0;
    if (slot->share != PP_SHARE_NONE && slot->deadline < pool->armed)
        pp_loop_wake(pool->loop);
    else if (idle_before && slot->share == PP_SHARE_NONE)
        head_starts(pool, slot);
    pp_worker_send_on(&slot->worker);
}

void pp_dispatch_send(struct pyproc_pool *pool)
{
    struct pp_list *at;

    /* Only this thread changes the ring and loop-owned slots: no lock needed to read. */
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (slot->n_unsent > 0)
            send_slot(pool, slot);
        else if (slot->unsent_words)
            pp_worker_send_on(&slot->worker);
        slot->unsent_words = false;
    }
}

void pp_requeue(struct pyproc_pool *pool, struct pp_call *call, struct pp_done *done)
{
    pp_list_remove(&call->offered);
    call->slot->n_inflight--;
    if (call->message.attachments > 0)
        pp_channel_detach(&call->slot->worker.channel);
    call->slot = NULL;
    if (call->cancelled) {
        pp_reply_end(&call->item->reply, PYPROC_END_TASK_KILLED,
                     "the call was cancelled before it started");
        call->state = PP_CALL_OFFERED; /* stands in no line */
        pp_call_end(pool, call, done);
        return;
    }
    call->state = PP_CALL_WAITING;
    call->wire_id = 0;
    pp_pool_wait_for_worker(pool, &call->want, true);
    pp_call_expires(pool, call);
}

/* Takes back what user code has not seen yet, all but the oldest. */
static void recall(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_done *done)
{
    struct pp_call *head = pp_container(slot->inflight.next, struct pp_call, offered);
    struct pp_call *last = pp_container(slot->inflight.prev, struct pp_call, offered);
    uint64_t started;

    if (slot->recall_last || head == last || slot->n_unsent)
        return;
    slot->recall_last = last->wire_id;
    atomic_store(&slot->worker.control->recall_from, head->wire_id + 1);
    started = atomic_load(&slot->worker.status->started); /* a hint: it harms only itself */
    while (last != head && last->wire_id > started) {
        struct pp_call *before = pp_container(last->offered.prev, struct pp_call, offered);

        pp_count(&pool->metrics.calls_recalled);
        pp_requeue(pool, last, done);
        last = before;
    }
}

static bool any_cancelled(const struct pp_slot *slot)
{
    const struct pp_list *at;

    for (at = slot->inflight.next; at != &slot->inflight; at = at->next)
        if (pp_container(at, struct pp_call, offered)->cancelled)
            return true;
    return false;
}

void pp_recall_all(struct pyproc_pool *pool, struct pp_done *done)
{
    const struct pp_want *first = pp_line_first(pool);
    bool idle = !pp_list_empty(&pool->idle);
    int64_t now = pp_now();
    struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (slot->owner != PP_OWNER_LOOP || slot->buried || slot->n_inflight == 0)
            continue;
        if (slot->share != PP_SHARE_NONE) {
            pp_share_cancel(pool, slot, now);
            continue;
        }
        if (any_cancelled(slot)) {
            recall(pool, slot, done);
            if (pp_container(slot->inflight.next, struct pp_call, offered)->cancelled)
                pp_pool_stop(pool, slot, PP_SOFT_CANCEL, now);
        } else if (recall_wanted(pool, slot, first, idle) &&
                   (first || slot->leaving || now - slot->head_since >= RECALL_AFTER)) {
            recall(pool, slot, done);
        }
    }
}
