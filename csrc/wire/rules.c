/* rules.c - what a message must be beyond its schema.
 *
 * The same rules judge what is read and what is about to be written, so that no
 * end can send what the other would kill it for.
 */
#include "wire/envelope.h"

#include "wire/frame.h"

#include <math.h>

static int hello_rules(const struct pp_message_hello *hello)
{
    if (hello->max_frame == 0 || hello->max_frame > PP_FRAME_LIMIT)
        return pp_message_bad("hello: max_frame is out of range");
    if (hello->target_kind < PP_TARGET_ATTRIBUTE || hello->target_kind > PP_TARGET_FUNCTIONS)
        return pp_message_bad("hello: no target kind");
    return 0;
}

static int call_rules(const struct pp_message_call *call)
{
    if (call->id == 0)
        return pp_message_bad("call: the id is 0");
    if (call->codec < PP_CODEC_MSGPACK || call->codec > PP_CODEC_PICKLE)
        return pp_message_bad("call: no codec");
    /* No codec makes a value of less than a byte. */
    if (call->items > call->payload.size)
        return pp_message_bad("call: more items than bytes");
    if (call->attachments > PP_ATTACHMENTS_MAX)
        return pp_message_bad("call: too many attachments");
    if ((call->stream_items == 0) != (call->stream_bytes == 0))
        return pp_message_bad("call: half of a stream's credit");
    if ((call->items != 0) + (call->stream_items != 0) + call->shared > 1)
        return pp_message_bad("call: a chunk, a stream and a shared call are three things");
    return 0;
}

/* Of both answers to a chunk: `count` values, the first of them for item `base`. */
static int chunk_rules(uint32_t base, uint32_t count, size_t size)
{
    if (count > UINT32_MAX - base)
        return pp_message_bad("chunk: the item numbers overflow");
    if (count > size)
        return pp_message_bad("chunk: more items than bytes");
    return 0;
}

static int result_rules(const struct pp_message_result *result)
{
    if (result->id == 0)
        return pp_message_bad("result: the id is 0");
    if (result->codec != PP_CODEC_MSGPACK && result->codec != PP_CODEC_RICH)
        return pp_message_bad("result: no codec that a worker may use");
    return chunk_rules(result->base, result->count, result->payload.size);
}

static int chunk_part_rules(const struct pp_message_chunk_part *part)
{
    if (part->id == 0)
        return pp_message_bad("chunk: the id is 0");
    if (part->count == 0)
        return pp_message_bad("chunk: a part without items");
    return chunk_rules(part->base, part->count, part->payload.size);
}

/* Parents come before their children: the nodes are a tree, whoever made them. */
static int nodes_rules(const struct pp_failure_node *nodes, size_t n)
{
    if (n == 0 || n > PP_FAILURE_NODES_MAX)
        return pp_message_bad("failure: the number of nodes is out of range");
    if (nodes[0].relation != PP_RELATION_ROOT || nodes[0].parent != 0)
        return pp_message_bad("failure: the first node is not the root");
    for (size_t i = 1; i < n; i++) {
        if (nodes[i].relation <= PP_RELATION_ROOT || nodes[i].relation > PP_RELATION_MEMBER)
            return pp_message_bad("failure: a node has no relation to its parent");
        if (nodes[i].parent >= i)
            return pp_message_bad("failure: a node's parent is not before it");
    }
    return 0;
}

static int failure_rules(const struct pp_message_failure *failure)
{
    if (failure->kind < PP_FAILURE_EXCEPTION || failure->kind > PP_FAILURE_START)
        return pp_message_bad("failure: no kind");
    if ((failure->id == 0) != (failure->kind == PP_FAILURE_START))
        return pp_message_bad("failure: the id does not fit the kind");
    return nodes_rules(failure->nodes, failure->n_nodes);
}

static int stream_item_rules(const struct pp_message_stream_item *item)
{
    if (item->id == 0)
        return pp_message_bad("stream: the id is 0");
    if (item->codec != PP_CODEC_MSGPACK && item->codec != PP_CODEC_RICH)
        return pp_message_bad("stream: no codec that a worker may use");
    if (item->count == 0)
        return pp_message_bad("stream: a frame without items");
    if (item->count > item->payload.size)
        return pp_message_bad("stream: more items than bytes");
    if (item->first > UINT64_MAX - item->count)
        return pp_message_bad("stream: the item numbers overflow");
    return 0;
}

static int progress_rules(const struct pp_message_progress *progress)
{
    if (progress->call == 0)
        return pp_message_bad("progress: the call is 0");
    if (!isfinite(progress->done) || progress->done < 0)
        return pp_message_bad("progress: it is not finite, or negative");
    if (!isfinite(progress->total) || progress->total < 0)
        return pp_message_bad("progress: the total is not finite, or negative");
    if (progress->message.size > PP_PROGRESS_MAX)
        return pp_message_bad("progress: its message is too long");
    if (!progress->has_total && progress->total > 0)
        return pp_message_bad("progress: a total that is none");
    return 0;
}

static int event_rules(const struct pp_message_event *event)
{
    if (event->kind != PP_EVENT_REFUSED)
        return pp_message_bad("event: of no kind");
    return event->text.size > PP_EVENT_TEXT_MAX ? pp_message_bad("event: its text is too long") : 0;
}

static int id_rules(uint64_t id)
{
    return id == 0 ? pp_message_bad("the id is 0") : 0;
}

static int hello_reply_rules(const struct pp_message_hello_reply *reply)
{
    for (size_t i = 0; i < reply->n_functions; i++)
        if (reply->functions[i].kind > PP_FUNCTION_ASYNC_GENERATOR)
            return pp_message_bad("hello: a function of no kind");
    return 0;
}

static int client_hello_rules(const struct pp_message_client_hello *hello)
{
    if (hello->max_frame == 0 || hello->max_frame > PP_FRAME_LIMIT)
        return pp_message_bad("hello: max_frame is out of range");
    if (hello->nonce.size != PP_NONCE_SIZE)
        return pp_message_bad("hello: the nonce has the wrong size");
    return 0;
}

static int server_hello_rules(const struct pp_message_server_hello *hello)
{
    if (hello->max_frame == 0 || hello->max_frame > PP_FRAME_LIMIT)
        return pp_message_bad("hello: max_frame is out of range");
    if (hello->nonce.size != PP_NONCE_SIZE)
        return pp_message_bad("hello: the nonce has the wrong size");
    if (hello->proof.size != 0 && hello->proof.size != PP_PROOF_SIZE)
        return pp_message_bad("hello: the proof has the wrong size");
    return 0;
}

static int call_end_rules(const struct pp_message_call_end *end)
{
    if (end->id == 0)
        return pp_message_bad("end: the id is 0");
    if (end->end == 0)
        return pp_message_bad("end: it is none");
    if (end->count > end->payload.size)
        return pp_message_bad("end: more items than bytes");
    if (end->count != 0 && end->codec != PP_CODEC_MSGPACK && end->codec != PP_CODEC_RICH)
        return pp_message_bad("end: no codec that a server may use");
    if (end->death && !isfinite(end->death->age))
        return pp_message_bad("end: an age is not finite");
    return 0;
}

/* Of a named socket. */
static int named_rules(const struct pp_message *message)
{
    switch (message->kind) {
    case PP_MESSAGE_CLIENT_HELLO:
        return client_hello_rules(&message->client_hello);
    case PP_MESSAGE_SERVER_HELLO:
        return server_hello_rules(&message->server_hello);
    case PP_MESSAGE_AUTHENTICATE:
        return message->proof.size == PP_PROOF_SIZE
                   ? 0
                   : pp_message_bad("authenticate: the proof has the wrong size");
    case PP_MESSAGE_WELCOME:
        for (size_t i = 0; i < message->welcome.n_functions; i++)
            if (message->welcome.functions[i].kind > PP_FUNCTION_ASYNC_GENERATOR)
                return pp_message_bad("welcome: a function of no kind");
        return message->welcome.max_in_flight != 0 ? 0 : pp_message_bad("welcome: no calls at all");
    case PP_MESSAGE_DENIED:
        return message->denied.end != 0 ? 0 : pp_message_bad("denied: no code");
    case PP_MESSAGE_CALL_END:
        return call_end_rules(&message->call_end);
    case PP_MESSAGE_CALL_OPTIONS:
        return id_rules(message->call_options.id);
    case PP_MESSAGE_REVOKE:
        return id_rules(message->revoke.id);
    default:
        return pp_message_bad("the message is of no kind");
    }
}

static int memory_rules(uint64_t id, uint64_t size)
{
    if (id == 0)
        return pp_message_bad("memory: the id is 0");
    return size == 0 ? pp_message_bad("memory: the size is 0") : 0;
}

int pp_message_rules(const struct pp_message *message)
{
    if (message->kind >= PP_MESSAGE_CLIENT_HELLO)
        return named_rules(message);
    switch (message->kind) {
    case PP_MESSAGE_HELLO:
        return hello_rules(&message->hello);
    case PP_MESSAGE_CALL:
        return call_rules(&message->call);
    case PP_MESSAGE_RESULT:
        return result_rules(&message->result);
    case PP_MESSAGE_FAILURE:
        return failure_rules(&message->failure);
    case PP_MESSAGE_CHUNK_PART:
        return chunk_part_rules(&message->chunk_part);
    case PP_MESSAGE_RETURNED:
        return message->returned == 0 ? pp_message_bad("returned: the id is 0") : 0;
    case PP_MESSAGE_LOG:
        return isfinite(message->log.created) ? 0 : pp_message_bad("log: the time is not finite");
    case PP_MESSAGE_STREAM_ITEM:
        return stream_item_rules(&message->stream_item);
    case PP_MESSAGE_STREAM_CREDIT:
        return id_rules(message->stream_credit.id);
    case PP_MESSAGE_STREAM_END:
        return id_rules(message->stream_end.id);
    case PP_MESSAGE_MEMORY_REQUEST:
        return memory_rules(message->memory_request.id, message->memory_request.size);
    case PP_MESSAGE_MEMORY_GRANT:
        return memory_rules(message->memory_grant.id, message->memory_grant.size);
    case PP_MESSAGE_CANCEL:
        return id_rules(message->cancel.id);
    case PP_MESSAGE_PROGRESS:
        return progress_rules(&message->progress);
    case PP_MESSAGE_EVENT:
        return event_rules(&message->event);
    case PP_MESSAGE_HELLO_REPLY:
        return hello_reply_rules(&message->hello_reply);
    case PP_MESSAGE_PING:
    case PP_MESSAGE_PONG:
    case PP_MESSAGE_GOODBYE:
        return 0;
    default:
        return pp_message_bad("the message is of no kind");
    }
}
