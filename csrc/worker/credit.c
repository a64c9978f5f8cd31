/* credit.c - the items of a stream, and the host's credit for them.
 *
 * An item is appended to the status page's area, which the host may look at whenever its reader
 * waits: so a burst costs no syscall for each item, and its last one is never held back. It is
 * sent when the host says in the control page that its reader waits, or when the area is full.
 * The item's words are stored before that one is loaded, and the host does it the other way round
 * (all sequentially consistent): one of the two sees the other. Items that came both ways are
 * told apart by their numbers. A worker that dies leaves what it had made in the area.
 */
#include "worker/worker.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

void pp_worker_stream_begin(struct pp_worker *worker, const struct pp_message_call *call)
{
    worker->stream = (struct pp_worker_stream){.id = call->id,
                                               .granted_items = call->stream_items,
                                               .granted_bytes = call->stream_bytes,
                                               .codec = PP_CODEC_MSGPACK};
    atomic_store(&worker->status->stream_state, 0);
    atomic_store(&worker->status->stream_base, 0);
    atomic_store(&worker->status->stream_id, call->id);
}

/* No moment shows bytes of the next items under the number of the last ones. */
static void move_area(struct pp_worker *worker)
{
    struct pp_worker_stream *stream = &worker->stream;

    stream->base += stream->count;
    stream->count = 0;
    stream->size = 0;
    stream->codec = PP_CODEC_MSGPACK;
    atomic_store(&worker->status->stream_state, 0);
    atomic_store(&worker->status->stream_base, stream->base);
    atomic_thread_fence(memory_order_seq_cst);
}

static int send_items(struct pp_worker *worker, const void *bytes, size_t n, uint32_t count,
                      enum pp_codec codec)
{
    const struct pp_message message = {
        .kind = PP_MESSAGE_STREAM_ITEM,
        .stream_item = {.id = worker->stream.id,
                        .payload = {bytes, n},
                        .codec = codec,
                        .first = worker->stream.base,
                        .count = count},
    };

    return pp_worker_send(worker, &message);
}

int pp_worker_stream_flush(struct pp_worker *worker)
{
    struct pp_worker_stream *stream = &worker->stream;
    int r;

    if (stream->count == 0)
        return 0;
    r = send_items(worker, worker->status->area, stream->size, stream->count, stream->codec);
    if (r == 0)
        move_area(worker);
    return r;
}

static void keep_in_area(struct pp_worker *worker, const void *bytes, size_t n)
{
    struct pp_worker_stream *stream = &worker->stream;

    memcpy(worker->status->area + stream->size, bytes, n);
    stream->size += n;
    stream->count++;
    atomic_store(&worker->status->stream_state,
                 (uint64_t)stream->count << 32 | (uint64_t)stream->size);
}

/* Whether the host's reader waits for an item that was made and not sent since it said so. */
static bool is_wanted(struct pp_worker *worker)
{
    struct pp_worker_stream *stream = &worker->stream;
    uint64_t wanted = atomic_load(&worker->control->stream_wanted);

    if (wanted == stream->served || stream->items < wanted)
        return false;
    stream->served = wanted;
    return true;
}

/* A frame may be smaller than the area, if the host wants it so. */
static size_t area_room(const struct pp_worker *worker)
{
    return worker->max_result < PP_AREA_SIZE ? (size_t)worker->max_result : PP_AREA_SIZE;
}

static int add(struct pp_worker *worker, enum pp_codec codec, const void *bytes, size_t n)
{
    struct pp_worker_stream *stream = &worker->stream;
    size_t room = area_room(worker);
    int r = 0;

    if (n > room || n > room - stream->size)
        r = pp_worker_stream_flush(worker);
    if (r != 0)
        return r;
    if (codec == PP_CODEC_RICH)
        stream->codec = codec;
    stream->items++;
    stream->bytes += n;
    if (n <= room) {
        keep_in_area(worker, bytes, n);
        return is_wanted(worker) ? pp_worker_stream_flush(worker) : 0;
    }
    r = send_items(worker, bytes, n, 1, codec);
    stream->count = 1; /* of which nothing is in the area */
    move_area(worker);
    return r;
}

static bool has_credit(const struct pp_worker_stream *stream)
{
    return stream->items < stream->granted_items && stream->bytes < stream->granted_bytes;
}

int pp_worker_stream_add(struct pp_worker *worker, enum pp_codec codec, const void *bytes, size_t n)
{
    pp_worker_leave_if_copy(worker);
    return add(worker, codec, bytes, n);
}

int pp_worker_stream_state(struct pp_worker *worker)
{
    const struct pp_worker_stream *stream = &worker->stream;

    if (stream->closed || pp_worker_stopping(worker, stream->id) != PP_SOFT_NONE)
        return PP_STREAM_STOP;
    return has_credit(stream) ? 0 : PP_STREAM_WAIT;
}

/* What may come while a stream runs; a word about one that has ended comes late. */
static int take(struct pp_worker *worker, const struct pp_message *message)
{
    const struct pp_message pong = {.kind = PP_MESSAGE_PONG, .nonce = message->nonce};
    struct pp_worker_stream *stream = &worker->stream;

    switch (message->kind) {
    case PP_MESSAGE_STREAM_CREDIT:
        if (message->stream_credit.id == stream->id) {
            stream->granted_items = message->stream_credit.items;
            stream->granted_bytes = message->stream_credit.bytes;
        }
        return 0;
    case PP_MESSAGE_STREAM_END:
        stream->closed = stream->closed || message->stream_end.id == stream->id;
        return 0;
    case PP_MESSAGE_CANCEL:
        return 0;
    case PP_MESSAGE_PING:
        return pp_worker_send(worker, &pong);
    case PP_MESSAGE_GOODBYE:
        return PP_WORKER_END;
    default:
        return pp_fail(-EPROTO, "the host sent a message that may not come during a stream");
    }
}

int pp_worker_stream_poll(struct pp_worker *worker, bool wait)
{
    struct pp_message message;
    int r;

    pp_worker_leave_if_copy(worker);
    while ((r = pp_worker_stream_state(worker)) == PP_STREAM_WAIT) {
        worker->stream.polls = true;
        worker->stream.waits = wait;
        r = pp_worker_next(worker, &message);
        worker->stream.polls = false;
        if (r == PP_STREAM_STOP)
            continue; /* a signal: the state says what of */
        if (r == PP_STREAM_WAIT)
            return r;
        if (r == 0)
            r = take(worker, &message);
        if (r != 0)
            return r;
    }
    return r;
}

void pp_worker_stream_end(struct pp_worker *worker, struct pp_message *answer)
{
    answer->kind = PP_MESSAGE_STREAM_END;
    answer->stream_end = (struct pp_message_stream_end){.items = worker->stream.items};
}
