/* unpack.c - from protobuf-c's structs to ours.
 *
 * protobuf-c unpacks into the caller's arena, and what it made stays there: ours
 * only point at it. Its "free" does nothing; the arena's reset is the free.
 */
#include "base/error.h"
#include "wire/envelope.h"

#include "pyproc.pb-c.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Ours are protobuf-c's numbers, so that a cast is a conversion. */
static_assert((int)PP_CODEC_PICKLE == PYPROC__V1__CODEC__CODEC_PICKLE, "codec");
static_assert((int)PP_TARGET_FUNCTIONS == PYPROC__V1__TARGET_KIND__TARGET_FUNCTIONS, "target");
static_assert((int)PP_FAILURE_START == PYPROC__V1__FAILURE_KIND__FAILURE_START, "failure");
static_assert((int)PP_RELATION_MEMBER == PYPROC__V1__RELATION__RELATION_MEMBER, "relation");
static_assert((int)PP_MESSAGE_GOODBYE == PYPROC__V1__ENVELOPE__KIND_GOODBYE, "kind");
static_assert((int)PP_MESSAGE_PROGRESS == PYPROC__V1__ENVELOPE__KIND_PROGRESS, "kind");
static_assert((int)PP_MESSAGE_EVENT == PYPROC__V1__ENVELOPE__KIND_EVENT, "kind");
static_assert((int)PP_MESSAGE_CANCEL == PYPROC__V1__ENVELOPE__KIND_CANCEL, "kind");
static_assert((int)PP_MESSAGE_REVOKE == PYPROC__V1__ENVELOPE__KIND_REVOKE, "kind");
static_assert((int)PP_FUNCTION_ASYNC_GENERATOR ==
                  PYPROC__V1__FUNCTION_KIND__FUNCTION_ASYNC_GENERATOR,
              "function");

struct lender {
    struct pp_arena *arena;
    bool empty; /* the arena had no more */
};

static void *lend(void *lender_, size_t n)
{
    struct lender *lender = lender_;
    void *bytes = pp_arena_alloc(lender->arena, n);

    if (bytes == NULL)
        lender->empty = true;
    return bytes;
}

static void take_back(void *lender, void *bytes)
{
    (void)lender;
    (void)bytes;
}

static void *lend_array(struct lender *lender, size_t n, size_t size)
{
    return n == 0 ? NULL : lend(lender, n * size); /* n is bounded by the field count */
}

static struct pp_bytes text(const char *string)
{
    size_t n = strlen(string);

    return (struct pp_bytes){.data = n == 0 ? NULL : (const uint8_t *)string, .size = n};
}

static struct pp_bytes bytes(ProtobufCBinaryData binary)
{
    return (struct pp_bytes){.data = binary.data, .size = binary.len};
}

static const struct pp_bytes *texts(struct lender *lender, char **strings, size_t n)
{
    struct pp_bytes *out = lend_array(lender, n, sizeof *out);

    for (size_t i = 0; out != NULL && i < n; i++)
        out[i] = text(strings[i]);
    return out;
}

static const struct pp_function_source *sources(struct lender *lender,
                                                Pyproc__V1__FunctionSource **in, size_t n)
{
    struct pp_function_source *out = lend_array(lender, n, sizeof *out);

    for (size_t i = 0; out != NULL && i < n; i++)
        out[i] = (struct pp_function_source){
            .name = text(in[i]->name),
            .module = text(in[i]->module),
            .qualname = text(in[i]->qualname),
            .file = text(in[i]->file),
            .pickled = bytes(in[i]->pickled),
        };
    return out;
}

static const struct pp_function_info *infos(struct lender *lender, Pyproc__V1__FunctionInfo **in,
                                            size_t n)
{
    struct pp_function_info *out = lend_array(lender, n, sizeof *out);

    for (size_t i = 0; out != NULL && i < n; i++)
        out[i] = (struct pp_function_info){
            .name = text(in[i]->name),
            .signature = text(in[i]->signature),
            .kind = (enum pp_function_kind)in[i]->kind,
            .batch = in[i]->batch,
            .batch_wait_us = in[i]->batch_wait_us,
        };
    return out;
}

static const struct pp_failure_node *nodes(struct lender *lender, Pyproc__V1__FailureNode **in,
                                           size_t n)
{
    struct pp_failure_node *out = lend_array(lender, n, sizeof *out);

    for (size_t i = 0; out != NULL && i < n; i++)
        out[i] = (struct pp_failure_node){
            .relation = (enum pp_relation)in[i]->relation,
            .parent = i == 0 ? 0 : in[i]->parent, /* the root has none, whatever it says */
            .type_name = text(in[i]->type_name),
            .message = text(in[i]->message),
            .traceback = text(in[i]->traceback),
            .arguments = bytes(in[i]->arguments),
            .attributes = bytes(in[i]->attributes),
            .notes = texts(lender, in[i]->notes, in[i]->n_notes),
            .n_notes = in[i]->n_notes,
            .suppress_context = in[i]->suppress_context != 0,
        };
    return out;
}

static struct pp_message_hello from_hello(struct lender *lender, const Pyproc__V1__Hello *in)
{
    return (struct pp_message_hello){
        .version = in->version,
        .max_frame = in->max_frame,
        .max_result = in->max_result,
        .max_memory = in->max_memory,
        .buffer_threshold = in->buffer_threshold,
        .target_kind = (enum pp_target_kind)in->target_kind,
        .target = text(in->target),
        .file = text(in->file),
        .functions = sources(lender, in->functions, in->n_functions),
        .n_functions = in->n_functions,
        .path = texts(lender, in->path, in->n_path),
        .n_path = in->n_path,
        .prefix = text(in->prefix),
        .base_prefix = text(in->base_prefix),
        .python_version = text(in->python_version),
        .box = bytes(in->box),
    };
}

static struct pp_message_hello_reply from_hello_reply(struct lender *lender,
                                                      const Pyproc__V1__HelloReply *in)
{
    return (struct pp_message_hello_reply){
        .version = in->version,
        .python_version = text(in->python_version),
        .prefix = text(in->prefix),
        .base_prefix = text(in->base_prefix),
        .functions = infos(lender, in->functions, in->n_functions),
        .n_functions = in->n_functions,
    };
}

static struct pp_message_call from_call(struct lender *lender, const Pyproc__V1__Call *in)
{
    return (struct pp_message_call){
        .id = in->id,
        .function = text(in->function),
        .payload = bytes(in->payload),
        .codec = (enum pp_codec)in->codec,
        .keywords = texts(lender, in->keywords, in->n_keywords),
        .n_keywords = in->n_keywords,
        .remaining_us = in->remaining_us,
        .items = in->items,
        .baggage = bytes(in->baggage),
        .attachments = in->attachments,
        .stream_items = in->stream_items,
        .stream_bytes = in->stream_bytes,
        .shared = in->shared,
    };
}

static struct pp_message_result from_result(const Pyproc__V1__Result *in)
{
    return (struct pp_message_result){
        .id = in->id,
        .payload = bytes(in->payload),
        .codec = (enum pp_codec)in->codec,
        .events = in->events,
        .base = in->first,
        .count = in->count,
    };
}

static struct pp_message_failure from_failure(struct lender *lender, const Pyproc__V1__Failure *in)
{
    return (struct pp_message_failure){
        .id = in->id,
        .kind = (enum pp_failure_kind)in->kind,
        .nodes = nodes(lender, in->nodes, in->n_nodes),
        .n_nodes = in->n_nodes,
        .events = in->events,
        .path = text(in->path),
    };
}

static struct pp_message_chunk_part from_chunk_part(const Pyproc__V1__ChunkPart *in)
{
    return (struct pp_message_chunk_part){
        .id = in->id,
        .base = in->first,
        .count = in->count,
        .payload = bytes(in->payload),
    };
}

static struct pp_message_log from_log(const Pyproc__V1__Log *in)
{
    return (struct pp_message_log){
        .sequence = in->sequence,
        .call = in->call,
        .level = in->level,
        .logger = text(in->logger),
        .message = text(in->message),
        .exception = text(in->exception),
        .extra = bytes(in->extra),
        .created = in->created,
        .dropped = in->dropped,
    };
}

static struct pp_message_stream_item from_stream_item(const Pyproc__V1__StreamItem *in)
{
    return (struct pp_message_stream_item){
        .id = in->id,
        .payload = bytes(in->payload),
        .codec = (enum pp_codec)in->codec,
        .first = in->first,
        .count = in->count,
    };
}

static struct pp_message_progress from_progress(const Pyproc__V1__Progress *in)
{
    return (struct pp_message_progress){
        .sequence = in->sequence,
        .call = in->call,
        .done = in->done,
        .total = in->total,
        .has_total = in->has_total,
        .message = text(in->message),
    };
}

static struct pp_message_event from_event(const Pyproc__V1__Event *in)
{
    return (struct pp_message_event){
        .sequence = in->sequence,
        .call = in->call,
        .kind = (enum pp_event_kind)in->kind,
        .text = text(in->text),
    };
}

/* Kinds that streams and calls side by side need. */
static void from_stream_envelope(const Pyproc__V1__Envelope *in, struct pp_message *message)
{
    if (message->kind == PP_MESSAGE_STREAM_ITEM)
        message->stream_item = from_stream_item(in->stream_item);
    else if (message->kind == PP_MESSAGE_STREAM_CREDIT)
        message->stream_credit = (struct pp_message_stream_credit){
            in->stream_credit->id, in->stream_credit->items, in->stream_credit->bytes};
    else if (message->kind == PP_MESSAGE_STREAM_END)
        message->stream_end = (struct pp_message_stream_end){
            in->stream_end->id, in->stream_end->items, in->stream_end->events};
    else if (message->kind == PP_MESSAGE_PROGRESS)
        message->progress = from_progress(in->progress);
    else if (message->kind == PP_MESSAGE_EVENT)
        message->event = from_event(in->event);
    else
        message->cancel = (struct pp_message_cancel){in->cancel->id, in->cancel->timeout};
}

static struct pp_message_welcome from_welcome(struct lender *lender, const Pyproc__V1__Welcome *in)
{
    return (struct pp_message_welcome){
        .role = text(in->role),
        .max_in_flight = in->max_in_flight,
        .max_payload = in->max_payload,
        .sees_all = in->sees_all,
        .functions = infos(lender, in->functions, in->n_functions),
        .n_functions = in->n_functions,
    };
}

static const struct pp_message_death *from_death(struct lender *lender, const Pyproc__V1__Death *in)
{
    struct pp_message_death *out = in != NULL ? lend(lender, sizeof *out) : NULL;

    if (out != NULL)
        *out = (struct pp_message_death){
            .signal = in->signal,
            .exit_code = in->exit_code,
            .cause = text(in->cause),
            .python_stack = text(in->python_stack),
            .stderr_tail = text(in->stderr_tail),
            .pid = in->pid,
            .worker = in->worker,
            .age = in->age,
            .tasks_done = in->tasks_done,
        };
    return out;
}

static struct pp_message_call_end from_call_end(struct lender *lender,
                                                const Pyproc__V1__CallEnd *in)
{
    return (struct pp_message_call_end){
        .id = in->id,
        .end = in->end,
        .text = text(in->text),
        .correlation = text(in->correlation),
        .retry_us = in->retry_us,
        .limit = in->limit,
        .used = in->used,
        .how = text(in->how),
        .death = from_death(lender, in->death),
        .payload = bytes(in->payload),
        .codec = (enum pp_codec)in->codec,
        .count = in->count,
    };
}

static struct pp_message_call_options from_call_options(const Pyproc__V1__CallOptions *in)
{
    return (struct pp_message_call_options){
        .id = in->id,
        .run_us = in->run_us,
        .queue_us = in->queue_us,
        .priority = in->priority,
        .memory = in->memory,
        .cpu_us = in->cpu_us,
        .output = in->output,
        .result_size = in->result_size,
        .item_us = in->item_us,
    };
}

/* Kinds of a named socket. */
static void from_named_envelope(struct lender *lender, const Pyproc__V1__Envelope *in,
                                struct pp_message *message)
{
    switch (message->kind) {
    case PP_MESSAGE_CLIENT_HELLO:
        message->client_hello = (struct pp_message_client_hello){
            in->client_hello->version, in->client_hello->max_frame, bytes(in->client_hello->nonce),
            text(in->client_hello->key)};
        break;
    case PP_MESSAGE_SERVER_HELLO:
        message->server_hello = (struct pp_message_server_hello){
            in->server_hello->version, in->server_hello->max_frame, bytes(in->server_hello->nonce),
            bytes(in->server_hello->proof)};
        break;
    case PP_MESSAGE_AUTHENTICATE:
        message->proof = bytes(in->authenticate->proof);
        break;
    case PP_MESSAGE_WELCOME:
        message->welcome = from_welcome(lender, in->welcome);
        break;
    case PP_MESSAGE_DENIED:
        message->denied =
            (struct pp_message_denied){in->denied->end, text(in->denied->text),
                                       text(in->denied->correlation), in->denied->retry_us};
        break;
    case PP_MESSAGE_CALL_END:
        message->call_end = from_call_end(lender, in->call_end);
        break;
    case PP_MESSAGE_CALL_OPTIONS:
        message->call_options = from_call_options(in->call_options);
        break;
    default: /* PP_MESSAGE_REVOKE */
        message->revoke = (struct pp_message_revoke){in->revoke->id, in->revoke->kill};
        break;
    }
}

static void from_envelope(struct lender *lender, const Pyproc__V1__Envelope *in,
                          struct pp_message *message)
{
    message->kind = (enum pp_message_kind)in->kind_case;
    if (message->kind >= PP_MESSAGE_CLIENT_HELLO) {
        from_named_envelope(lender, in, message);
        return;
    }
    switch (message->kind) {
    case PP_MESSAGE_HELLO:
        message->hello = from_hello(lender, in->hello);
        break;
    case PP_MESSAGE_HELLO_REPLY:
        message->hello_reply = from_hello_reply(lender, in->hello_reply);
        break;
    case PP_MESSAGE_CALL:
        message->call = from_call(lender, in->call);
        break;
    case PP_MESSAGE_RESULT:
        message->result = from_result(in->result);
        break;
    case PP_MESSAGE_FAILURE:
        message->failure = from_failure(lender, in->failure);
        break;
    case PP_MESSAGE_CHUNK_PART:
        message->chunk_part = from_chunk_part(in->chunk_part);
        break;
    case PP_MESSAGE_RETURNED:
        message->returned = in->returned->id;
        break;
    case PP_MESSAGE_LOG:
        message->log = from_log(in->log);
        break;
    case PP_MESSAGE_PING:
        message->nonce = in->ping->nonce;
        break;
    case PP_MESSAGE_PONG:
        message->nonce = in->pong->nonce;
        break;
    case PP_MESSAGE_STREAM_ITEM:
    case PP_MESSAGE_STREAM_CREDIT:
    case PP_MESSAGE_STREAM_END:
    case PP_MESSAGE_PROGRESS:
    case PP_MESSAGE_EVENT:
    case PP_MESSAGE_CANCEL:
        from_stream_envelope(in, message);
        break;
    case PP_MESSAGE_MEMORY_REQUEST:
        message->memory_request = (struct pp_message_memory_request){
            in->memory_request->id, in->memory_request->size, in->memory_request->number};
        break;
    case PP_MESSAGE_MEMORY_GRANT:
        message->memory_grant = (struct pp_message_memory_grant){
            in->memory_grant->id, in->memory_grant->size, in->memory_grant->number,
            in->memory_grant->error, in->memory_grant->warm};
        break;
    default: /* PP_MESSAGE_GOODBYE: nothing inside */
        break;
    }
}

int pp_envelope_unpack(struct pp_arena *arena, const uint8_t *body, size_t n,
                       struct pp_message *messagep)
{
    struct lender lender = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = lend, .free = take_back, .allocator_data = &lender};
    struct pp_message message = {.kind = PP_MESSAGE_NONE};
    Pyproc__V1__Envelope *envelope = pyproc__v1__envelope__unpack(&allocator, n, body);

    if (envelope != NULL)
        from_envelope(&lender, envelope, &message);
    if (lender.empty)
        return pp_fail(-ENOMEM, "unpack a message of %zu bytes", n);
    if (envelope == NULL)
        return pp_message_bad("protobuf-c refuses it");
    *messagep = message;
    return 0;
}
