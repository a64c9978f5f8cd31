/* stream.c - the host's half of a stream: credit out, items in.
 *
 *   reader: more(items, bytes, waits) -> the loop: look at the area, credit, wish -> worker
 *   worker: StreamItem, or only memory that the loop looks at -> the reader's queue
 *
 * The reader's credit is what bounds memory here: at most so many bytes, and one item, wait in
 * the queue. Items that came twice, by a look and in a frame, are told apart by their numbers. All
 * that the worker says, and its memory, is held against what it was told: numbers out of order,
 * more than its credit, or more after the end are the end of it.
 */
#include "pool/pool.h"

#include "event/queue.h"

#include <stdlib.h>
#include <string.h>

/* How long the generator's own end may take when nobody reads on, besides the pool's grace. */
#define CLOSE_TIME (1 * PP_SECOND)

struct pp_stream *pp_stream_new(const struct pyproc_request *request)
{
    struct pp_stream *stream = calloc(1, sizeof *stream);

    if (!stream)
        return NULL;
    stream->granted_items = request->stream_items;
    stream->granted_bytes = request->stream_bytes ? request->stream_bytes : 1;
    stream->wanted = true;
    stream->item_timeout = request->item_timeout ? request->item_timeout : PP_NEVER;
    stream->item_due = PP_NEVER;
    return stream;
}

struct pp_call *pp_stream_of(const struct pp_slot *slot)
{
    struct pp_call *head;

    if (slot->owner != PP_OWNER_LOOP || slot->n_inflight <= slot->n_unsent ||
        pp_list_empty(&slot->inflight))
        return NULL;
    head = pp_container(slot->inflight.next, struct pp_call, offered);
    return head->stream ? head : NULL;
}

/* Lock held. */
static void say(struct pyproc_pool *pool)
{
    pool->streams_due = true;
    pp_loop_wake(pool->loop);
}

void pp_stream_sent(struct pyproc_pool *pool, struct pp_slot *slot, const struct pp_call *call,
                    struct pp_message_call *to)
{
    struct pp_stream *stream = call->stream;

    (void)pthread_mutex_lock(&pool->lock);
    if (stream->closed)
        say(pool); /* it was too early to tell the worker */
    to->stream_items = stream->sent_items = stream->granted_items;
    to->stream_bytes = stream->sent_bytes = stream->granted_bytes;
    stream->base = 0;
    stream->look_items = stream->look_bytes = 0;
    stream->end_sent = stream->started = false;
    (void)pthread_mutex_unlock(&pool->lock);
    atomic_store(&slot->worker.control->stream_wanted, 1);
}

/* Until when the next item may take, from now on. */
static void arm(struct pp_slot *slot, struct pp_stream *stream, int64_t now)
{
    stream->item_due =
        stream->item_timeout == PP_NEVER ? PP_NEVER : pp_after(now, stream->item_timeout);
    if (stream->item_due < slot->deadline)
        slot->deadline = stream->item_due;
}

void pp_stream_starts(struct pp_slot *slot, struct pp_call *call, int64_t now)
{
    call->stream->started = true;
    arm(slot, call->stream, now);
}

void pp_stream_came(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call)
{
    slot->deadline = pp_call_deadline(call, slot->head_since);
    arm(slot, call->stream, pp_now());
    if (slot->deadline < pool->armed)
        pp_loop_wake(pool->loop);
}

/* Puts items on the reader's queue. False when there is no memory for that. */
static bool deliver(struct pp_call *call, int codec, const uint8_t *bytes, size_t n, uint32_t count)
{
    struct pyproc_item *item = pp_item_new(PYPROC_ITEM_STREAM);

    if (!item)
        return false;
    pp_reply_value(&item->reply, codec, bytes, n, count);
    if (item->reply.end != PYPROC_END_VALUE) {
        pyproc_item_free(item);
        return false;
    }
    item->token = call->item->token;
    item->reply.call_id = call->wire_id;
    call->stream->items += count;
    call->stream->bytes += n;
    pp_queue_put(call->queue, item, item);
    return true;
}

static const char *check_item(const struct pyproc_pool *pool, const struct pp_stream *stream,
                              const struct pp_message_stream_item *item)
{
    size_t most = item->count == 1 ? pool->max_result : PP_AREA_SIZE;

    if (item->payload.size > most)
        return "items of a stream are larger than the limit";
    if (item->first != stream->base)
        return "items of a stream are out of order";
    if (item->first + item->count > stream->sent_items)
        return "a stream has more items than its credit";
    return NULL;
}

const char *pp_stream_take_item(struct pyproc_pool *pool, struct pp_call *call,
                                const struct pp_message_stream_item *item)
{
    struct pp_stream *stream = call->stream;
    uint32_t skip_items, skip_bytes;
    const char *broken;

    if (!stream)
        return "an item came for a call that is no stream";
    broken = check_item(pool, stream, item);
    if (broken)
        return broken;
    skip_items = stream->look_items;
    skip_bytes = stream->look_bytes;
    stream->look_items = stream->look_bytes = 0;
    stream->base += item->count;
    if (item->count < skip_items || item->payload.size < skip_bytes ||
        (item->count == skip_items) != (item->payload.size == skip_bytes))
        return "items of a stream changed on their way";
    if (item->count == skip_items)
        return NULL;
    if (stream->bytes >= stream->sent_bytes)
        return "a stream has more bytes than its credit";
    if (!deliver(call, (int)item->codec, item->payload.data + skip_bytes,
                 item->payload.size - skip_bytes, item->count - skip_items))
        return "the host is out of memory for an item";
    return NULL;
}

const char *pp_stream_take_end(struct pp_call *call, const struct pp_message_stream_end *end)
{
    if (!call->stream)
        return "an end came for a call that is no stream";
    if (end->items != call->stream->items)
        return "a stream's end does not fit its items";
    pp_reply_value(&call->item->reply, PYPROC_CODEC_MSGPACK, "", 0, 0);
    if (call->stream->closed && *call->stream->closed)
        pp_reply_end(&call->item->reply, PYPROC_END_CLOSED, call->stream->closed);
    return NULL;
}

/* Takes what the area has beyond what came already; nothing when the worker is just changing it.
 * The bytes are copied before they count. */
static void look(struct pp_slot *slot, struct pp_call *call)
{
    const struct pp_status_page *page = slot->worker.status;
    struct pp_stream *stream = call->stream;
    uint64_t base = atomic_load(&page->stream_base), state = atomic_load(&page->stream_state);
    uint32_t count = (uint32_t)(state >> 32), size = (uint32_t)state, new_items, new_bytes;
    uint8_t *copy;

    if (atomic_load(&page->stream_id) != call->wire_id || size > PP_AREA_SIZE || count > size)
        return;
    if (base != stream->base)
        return; /* a frame is on its way */
    if (count <= stream->look_items || size <= stream->look_bytes ||
        base + count > stream->sent_items || stream->bytes >= stream->sent_bytes)
        return;
    new_items = count - stream->look_items;
    new_bytes = size - stream->look_bytes;
    copy = malloc(new_bytes);
    if (!copy)
        return; /* it comes in a frame */
    memcpy(copy, page->area + stream->look_bytes, new_bytes);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&page->stream_base) == base && new_items <= new_bytes &&
        deliver(call, PYPROC_CODEC_RICH, copy, new_bytes, new_items)) {
        stream->look_items = count;
        stream->look_bytes = size;
    }
    free(copy);
}

void pp_stream_dead(struct pp_slot *slot, struct pp_call *call)
{
    if (slot->worker.status)
        look(slot, call);
}

/* Whether the worker should hear of new credit: it has none left, or half of it is new. */
static bool credit_matters(const struct pp_stream *stream)
{
    uint64_t items = stream->granted_items - stream->items;
    uint64_t bytes = stream->granted_bytes - stream->bytes;

    if (stream->granted_items == stream->sent_items && stream->granted_bytes == stream->sent_bytes)
        return false;
    return stream->items >= stream->sent_items || stream->bytes >= stream->sent_bytes ||
           stream->granted_items - stream->sent_items >= items / 2 ||
           stream->granted_bytes - stream->sent_bytes >= bytes / 2;
}

static void put(struct pp_slot *slot, const struct pp_message *message)
{
    if (pp_channel_put(&slot->worker.channel, message) < 0)
        (void)pp_worker_doom(&slot->worker, "host");
    slot->unsent_words = true;
}

static void grant(struct pp_slot *slot, struct pp_call *call, int64_t now)
{
    struct pp_stream *stream = call->stream;
    const struct pp_message credit = {
        .kind = PP_MESSAGE_STREAM_CREDIT,
        .stream_credit = {.id = call->wire_id,
                          .items = stream->granted_items,
                          .bytes = stream->granted_bytes},
    };

    stream->sent_items = stream->granted_items;
    stream->sent_bytes = stream->granted_bytes;
    put(slot, &credit);
    if (slot->soft == PP_SOFT_NONE)
        arm(slot, stream, now);
}

/* Lock held: the generator is told, wherever it is, and has a while to end. */
static void close_running(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_call *call,
                          int64_t now)
{
    const struct pp_message end = {.kind = PP_MESSAGE_STREAM_END,
                                   .stream_end = {.id = call->wire_id}};

    call->stream->end_sent = true;
    put(slot, &end);
    if (slot->soft != PP_SOFT_NONE)
        return; /* it is stopping, and its time is set */
    slot->soft = PP_SOFT_CLOSE;
    slot->deadline = pp_after(now, pool->grace > CLOSE_TIME ? pool->grace : CLOSE_TIME);
    pp_worker_soften(&slot->worker, call->wire_id, PP_SOFT_CLOSE);
}

static void turn_slot(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    struct pp_call *call = pp_stream_of(slot);
    struct pp_stream *stream = call ? call->stream : NULL;

    if (!stream || slot->ending || atomic_load(&slot->worker.cause))
        return;
    if (stream->closed) {
        if (!stream->end_sent)
            close_running(pool, slot, call, now);
        return;
    }
    if (stream->wanted) {
        stream->wanted = false;
        atomic_store(&slot->worker.control->stream_wanted, stream->items + 1);
        look(slot, call);
        /* What was found is on its way: the reader says when it waits again. */
    }
    if (credit_matters(stream))
        grant(slot, call, now);
}

/* Streams that nobody reads and that have not started: pp_call_end frees them. */
static void end_waiting(struct pyproc_pool *pool, struct pp_done *done)
{
    for (size_t i = 0; i < pool->n_buckets; i++) {
        struct pp_call *call = pool->buckets[i];

        while (call) {
            struct pp_call *next = call->next;

            if (call->stream && call->stream->closed && call->state == PP_CALL_WAITING) {
                pp_reply_end(&call->item->reply,
                             *call->stream->closed ? PYPROC_END_CLOSED : PYPROC_END_TASK_KILLED,
                             *call->stream->closed ? call->stream->closed
                                                   : "the stream was closed before it started");
                pp_call_end(pool, call, done);
            }
            call = next;
        }
    }
}

void pp_streams_turn(struct pyproc_pool *pool, int64_t now, struct pp_done *done)
{
    struct pp_list *at;

    pool->streams_due = false;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (!slot->buried)
            turn_slot(pool, slot, now);
    }
    if (pool->state != PP_POOL_OPEN)
        end_waiting(pool, done);
}

bool pp_stream_goes_on(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    struct pp_call *call = pp_stream_of(slot);
    struct pp_stream *stream = call ? call->stream : NULL;
    const struct pp_status_page *page = slot->worker.status;
    uint64_t made, bytes;

    if (!stream || slot->soft != PP_SOFT_NONE || slot->ending || slot->retired ||
        stream->item_due > now || stream->item_due == PP_NEVER)
        return false;
    slot->deadline = pp_call_deadline(call, slot->head_since);
    if (slot->deadline <= now)
        return false;
    made = atomic_load(&page->stream_base) + (atomic_load(&page->stream_state) >> 32);
    bytes = stream->bytes - stream->look_bytes + (uint32_t)atomic_load(&page->stream_state);
    if (made >= stream->sent_items || bytes >= stream->sent_bytes) {
        stream->item_due = PP_NEVER; /* it waits for the reader */
    } else if (made != stream->seen) {
        stream->seen = made;
        arm(slot, stream, now);
    } else {
        return false;
    }
    if (slot->deadline < pool->armed)
        pp_loop_wake(pool->loop);
    return true;
}

PYPROC_API int pyproc_stream_more(struct pyproc_pool *pool, uint64_t id, uint64_t items,
                                  uint64_t bytes, int waits)
{
    struct pp_stream *stream;
    struct pp_call *call;

    if (pp_pool_forked(pool))
        return PYPROC_CANCEL_UNKNOWN;
    (void)pthread_mutex_lock(&pool->lock);
    call = pp_call_find(pool, id);
    stream = call ? call->stream : NULL;
    if (stream) {
        if (items > stream->granted_items)
            stream->granted_items = items;
        if (bytes > stream->granted_bytes)
            stream->granted_bytes = bytes;
        stream->wanted = stream->wanted || waits;
        say(pool);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return stream ? 0 : PYPROC_CANCEL_UNKNOWN;
}

PYPROC_API int pyproc_stream_close(struct pyproc_pool *pool, uint64_t id)
{
    struct pp_done done = {0};
    struct pp_call *call;
    bool found;

    if (pp_pool_forked(pool))
        return PYPROC_CANCEL_UNKNOWN;
    (void)pthread_mutex_lock(&pool->lock);
    call = pp_call_find(pool, id);
    found = call && call->stream;
    if (found && call->state == PP_CALL_WAITING) {
        pp_reply_end(&call->item->reply, PYPROC_END_TASK_KILLED,
                     "the stream was closed before it started");
        pp_call_end(pool, call, &done);
    } else if (found && !call->stream->closed) {
        call->stream->closed = "";
        say(pool);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    pp_done_flush(&done);
    return found ? 0 : PYPROC_CANCEL_UNKNOWN;
}

void pp_streams_close(struct pyproc_pool *pool)
{
    for (size_t i = 0; i < pool->n_buckets; i++)
        for (struct pp_call *call = pool->buckets[i]; call; call = call->next)
            if (call->stream && !call->stream->closed)
                call->stream->closed = "the pool was closed";
    if (pool->n_buckets)
        say(pool);
}
