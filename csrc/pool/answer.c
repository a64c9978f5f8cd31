/* answer.c - what a loop-owned worker says, and what its silence after death means. */
#include "pool/pool.h"
#include "pool/share.h"

#include <string.h>

/* Calls whose replies are filled; they end together under the lock. */
struct batch {
    struct pp_list ended;    /* by call->offered */
    struct pp_list returned; /* likewise; back to the line */
    const char *broken;      /* the rule that was broken; NULL: none */
};

static struct pp_call *head_of(const struct pp_slot *slot)
{
    if (pp_list_empty(&slot->inflight))
        return NULL;
    return pp_container(slot->inflight.next, struct pp_call, offered);
}

static void recall_over(struct pp_slot *slot, uint64_t id)
{
    if (slot->recall_last == 0 || id < slot->recall_last)
        return;
    slot->recall_last = 0;
    atomic_store(&slot->worker.control->recall_from, UINT64_MAX);
}

static void move(struct pp_slot *slot, struct pp_call *call, struct pp_list *to)
{
    pp_list_remove(&call->offered);
    pp_list_push_back(to, &call->offered);
    slot->n_inflight--;
    slot->head_since = pp_now();
    slot->health.suspect = slot->soft == PP_SOFT_TIMEOUT || slot->soft == PP_SOFT_CANCEL;
    slot->soft = PP_SOFT_NONE;
}

/* How long the running call has waited and run, as it ends. */
static void time_call(struct pyproc_pool *pool, const struct pp_slot *slot,
                      const struct pp_call *call)
{
    int64_t since = slot->share != PP_SHARE_NONE ? call->sent_at : slot->head_since;

    pp_histogram_add(&pool->metrics.wait, since - call->admitted);
    pp_histogram_add(&pool->metrics.run, pp_now() - since);
}

static const char *take_result(struct pyproc_pool *pool, struct pp_call *call,
                               const struct pp_message_result *result)
{
    struct pyproc_reply *reply = &call->item->reply;

    if (call->stream)
        return "a stream was answered with one value";
    if (call->message.items == 0) {
        if (result->payload.size > pool->max_result)
            return "a result is larger than the limit";
        pp_reply_value(reply, (int)result->codec, result->payload.data, result->payload.size, 0);
        return NULL;
    }
    if (result->base != call->part_count || result->count > call->message.items - result->base ||
        result->base + result->count != call->message.items)
        return "a chunk's answer does not fit its items";
    if (call->part_count == 0) {
        pp_reply_value(reply, (int)result->codec, result->payload.data, result->payload.size,
                       result->count);
        return NULL;
    }
    if (pp_buffer_append(&call->parts, result->payload.data, result->payload.size) < 0)
        return "a chunk's answers are larger than the limit";
    pp_reply_value(reply, PYPROC_CODEC_RICH, pp_buffer_bytes(&call->parts),
                   pp_buffer_size(&call->parts), call->message.items);
    return NULL;
}

static const char *take_part(struct pp_call *call, const struct pp_message_chunk_part *part)
{
    if (part->count == 0 || part->base != call->part_count ||
        part->count > call->message.items - part->base)
        return "a part of a chunk does not fit its items";
    if (pp_buffer_append(&call->parts, part->payload.data, part->payload.size) < 0)
        return "a chunk's answers are larger than the limit";
    call->part_count += part->count;
    return NULL;
}

/* Whether a call, or perhaps an item of a chunk, has failed: plain items have not. */
static bool call_failed(const struct pp_call *call)
{
    const struct pyproc_reply *reply = &call->item->reply;

    return reply->end != PYPROC_END_VALUE ||
           (call->message.items && reply->codec == PYPROC_CODEC_RICH);
}

/* The call that an answer is of; 0: the message is none. */
static uint64_t id_of(const struct pp_message *message)
{
    switch (message->kind) {
    case PP_MESSAGE_RESULT:
        return message->result.id;
    case PP_MESSAGE_FAILURE:
        return message->failure.id;
    case PP_MESSAGE_CHUNK_PART:
        return message->chunk_part.id;
    case PP_MESSAGE_STREAM_ITEM:
        return message->stream_item.id;
    case PP_MESSAGE_STREAM_END:
        return message->stream_end.id;
    case PP_MESSAGE_MEMORY_REQUEST:
        return message->memory_request.id;
    default:
        return 0;
    }
}

static const char foreign[] = "an answer names a call that is not the worker's running one";

static const char *take_returned(struct pp_slot *slot, struct batch *batch, struct pp_call *running,
                                 uint64_t id)
{
    if (id > slot->recall_last)
        return "a call was returned that nobody took back";
    if (running && id == running->wire_id)
        move(slot, running, &batch->returned);
    else if (running && id < running->wire_id)
        return foreign;
    recall_over(slot, id);
    return NULL;
}

/* The answer is complete: what else belongs to it. */
static void finish(struct pyproc_pool *pool, struct pp_slot *slot, struct batch *batch,
                   struct pp_call *running, bool has_value)
{
    struct pyproc_reply *reply = &running->item->reply;

    pp_memory_ends(slot, running->wire_id, has_value ? reply : NULL);
    if (call_failed(running) || running->wants_progress)
        pp_worker_hear(&slot->worker); /* what it logged comes before its error */
    if (slot->share == PP_SHARE_NONE) {
        pp_output_ends(slot, reply);
        slot->output_limit = 0;
        recall_over(slot, running->wire_id);
    }
    pp_result_ends(running->result_limit, reply);
    time_call(pool, slot, running);
    pp_progress_flush(running);
    slot->share_ends++;
    move(slot, running, &batch->ended);
}

/* One message: NULL, or the rule that it broke. */
static const char *take(struct pyproc_pool *pool, struct pp_slot *slot, struct batch *batch,
                        const struct pp_message *message)
{
    bool shares = slot->share != PP_SHARE_NONE;
    struct pp_call *running = slot->n_inflight > slot->n_unsent ? head_of(slot) : NULL;
    uint64_t id = id_of(message);
    const char *broken = NULL;

    if (message->kind == PP_MESSAGE_RETURNED)
        return shares ? foreign : take_returned(slot, batch, running, message->returned);
    if (message->kind == PP_MESSAGE_PONG)
        return pp_health_pong(slot, message->nonce);
    if (id == 0)
        return "the worker sent a message that nobody asked for";
    if (shares)
        running = pp_share_find(slot, id);
    if (!running || id != running->wire_id)
        return foreign;
    switch (message->kind) {
    case PP_MESSAGE_RESULT:
        broken = take_result(pool, running, &message->result);
        break;
    case PP_MESSAGE_FAILURE:
        pp_reply_failure(&running->item->reply, &message->failure);
        pp_soft_end(shares ? running->soft : slot->soft, &running->item->reply);
        pp_limits_end(pool, &running->item->reply);
        break;
    case PP_MESSAGE_CHUNK_PART:
        return take_part(running, &message->chunk_part);
    case PP_MESSAGE_STREAM_ITEM:
        return pp_stream_take_item(pool, running, &message->stream_item);
    case PP_MESSAGE_STREAM_END:
        broken = pp_stream_take_end(running, &message->stream_end);
        break;
    default:
        return pp_memory_asked(pool, slot, &message->memory_request,
                               running->inline_only ? PP_MEMORY_NONE : running->result_limit);
    }
    if (!broken)
        finish(pool, slot, batch, running, message->kind == PP_MESSAGE_RESULT);
    return broken;
}

/* Reads once: 0 when more may wait, MORE when none does, END at the end or after nonsense. */
static int read_messages(struct pyproc_pool *pool, struct pp_slot *slot, struct batch *batch)
{
    struct pp_channel *channel = &slot->worker.channel;
    struct pp_message message;
    int r = pp_channel_fill(channel);

    if (r == PP_CHANNEL_BROKEN)
        batch->broken = pp_channel_why();
    if (r != 0)
        return r == PP_CHANNEL_MORE ? r : PP_CHANNEL_END;
    while (!batch->broken && (r = pp_channel_next(channel, &message)) == 0)
        batch->broken = take(pool, slot, batch, &message);
    if (r == PP_CHANNEL_BROKEN)
        batch->broken = pp_channel_why();
    else if (r < 0)
        batch->broken = "the host is out of memory for an answer";
    return batch->broken ? PP_CHANNEL_END : 0;
}

/* Lock held. */
static void settle(struct pyproc_pool *pool, struct pp_slot *slot, struct batch *batch,
                   struct pp_done *done)
{
    struct pp_list *at;

    while ((at = pp_list_pop_front(&batch->ended)) != NULL) {
        struct pp_call *call = pp_container(at, struct pp_call, offered);

        (void)atomic_fetch_add_explicit(&slot->worker.tasks_done, pp_call_tasks(call),
                                        memory_order_relaxed);
        pp_call_end(pool, call, done);
    }
    while (!pp_list_empty(&batch->returned)) {
        struct pp_call *call = pp_container(batch->returned.prev, struct pp_call, offered);

        slot->n_inflight++; /* pp_requeue takes it off */
        pp_requeue(pool, call, done);
    }
    if (batch->broken) {
        pp_count(&pool->metrics.protocol_errors);
        (void)pp_worker_doom(&slot->worker, "protocol");
    }
}

static void next_starts(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_call *head = head_of(slot);

    if (slot->share != PP_SHARE_NONE) {
        slot->deadline = head ? slot->deadline : PP_NEVER; /* each has its own */
        return;
    }
    if (slot->soft != PP_SOFT_NONE)
        return; /* the same one runs on, towards its end */
    slot->deadline = PP_NEVER;
    if (!head || slot->n_inflight <= slot->n_unsent)
        return;
    if (head->stream && head->stream->started) {
        pp_stream_came(pool, slot, head);
        return;
    }
    pp_output_begins(pool, slot, head->output_limit);
    pp_pool_deadline(pool, slot, pp_call_deadline(head, slot->head_since));
    atomic_store(&slot->worker.control->deadline, slot->deadline);
    if (head->cancelled)
        pp_pool_stop(pool, slot, PP_SOFT_CANCEL, pp_now());
}

/* Nothing more comes. The keeper's report says why, usually within a millisecond; one
 * that closed its channel but lives is killed after a second. */
static void hung_up(struct pyproc_pool *pool, struct pp_slot *slot)
{
    (void)pp_worker_watch(&slot->worker, 0);
    slot->ending = true;
    pp_pool_deadline(pool, slot, pp_after(pp_now(), PP_SECOND));
}

void pp_answer_readable(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct batch batch = {.broken = NULL};
    struct pp_done done = {0};
    int r;

    pp_list_init(&batch.ended);
    pp_list_init(&batch.returned);
    r = read_messages(pool, slot, &batch);
    if (pool->life.max_memory > 0)
        pp_life_weigh(pool, slot);
    (void)pthread_mutex_lock(&pool->lock);
    settle(pool, slot, &batch, &done);
    next_starts(pool, slot);
    if (r == PP_CHANNEL_END)
        hung_up(pool, slot);
    pp_dispatch(pool, &done);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_dispatch_send(pool);
    pp_done_flush(&done);
}

/* Items of a chunk that were answered before the death: in memory that outlives the
 * worker. Each word is read once and checked; the bytes are data like any answer. */
static void take_area(struct pp_slot *slot, struct pp_call *call)
{
    const struct pp_status_page *page = slot->worker.status;
    uint32_t base, count;
    uint64_t size;

    if (atomic_load(&page->area_id) != call->wire_id)
        return;
    count = atomic_load(&page->area_count);
    base = atomic_load(&page->area_base);
    size = atomic_load(&page->area_size);
    if (base != call->part_count || count > call->message.items - base || size > PP_AREA_SIZE)
        return; /* sent as a part already, or nonsense */
    if (pp_buffer_append(&call->parts, page->area, (size_t)size) == 0)
        call->part_count += count;
}

static void end_dead(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call,
                     struct pp_done *done)
{
    struct pyproc_reply *reply = &call->item->reply;

    if (call->message.items) {
        take_area(slot, call);
        pp_reply_value(reply, PYPROC_CODEC_RICH, pp_buffer_bytes(&call->parts),
                       pp_buffer_size(&call->parts), call->part_count);
    }
    pp_memory_ends(slot, call->wire_id, call->message.items ? reply : NULL);
    if (!pp_share_bystander(slot, call, reply))
        pp_worker_obituary(&slot->worker, reply);
    time_call(pool, slot, call);
    pp_progress_flush(call);
    slot->n_inflight--;
    pp_call_end(pool, call, done);
}

/* By the worker's own word: a lie harms only the calls that it was given. */
static bool has_started(const struct pp_call *call, uint64_t started)
{
    return call->wire_id != 0 && call->wire_id <= started;
}

static uint32_t count_started(const struct pp_slot *slot, uint64_t started)
{
    const struct pp_list *at;
    uint32_t n = 0;

    for (at = slot->inflight.next; at != &slot->inflight; at = at->next)
        n += has_started(pp_container(at, struct pp_call, offered), started);
    return n;
}

void pp_answer_dead(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_done *done)
{
    uint64_t started = atomic_load(&slot->worker.status->started);
    struct batch batch = {.broken = NULL};
    struct pp_call *head, *call;

    pp_list_init(&batch.ended);
    pp_list_init(&batch.returned);
    if (slot->n_unsent == 0)
        while (read_messages(pool, slot, &batch) == 0)
            ;
    batch.broken = NULL;
    settle(pool, slot, &batch, done);
    head = head_of(slot);
    slot->worker.death.in_flight = count_started(slot, started);
    /* From the newest to the oldest, so that the line keeps its order. Those behind the first
     * one cannot have ended the worker, however often they meet with such neighbours. */
    while (!pp_list_empty(&slot->inflight)) {
        call = pp_container(slot->inflight.prev, struct pp_call, offered);
        if (call->stream && call->wire_id)
            pp_stream_dead(slot, call);
        if (!has_started(call, started) && call->requeued < PP_REQUEUE_MAX &&
            !(call->stream && call->stream->items > 0)) {
            call->requeued += call == head;
            pp_count(&pool->metrics.calls_requeued);
            pp_requeue(pool, call, done);
        } else {
            end_dead(pool, slot, call, done);
        }
    }
    slot->n_unsent = 0;
    slot->owner = PP_OWNER_NONE;
}
