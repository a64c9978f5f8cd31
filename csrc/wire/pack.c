/* pack.c - from our structs to protobuf-c's, and into the frame.
 *
 * protobuf-c wants C strings and arrays of pointers; both are built in the arena.
 * What was packed is walked by the reader's own check before it counts, so that
 * text from user code which is no text, or too many fields, stops here.
 */
#include "base/error.h"
#include "wire/envelope.h"
#include "wire/frame.h"

#include "pyproc.pb-c.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Builds the parts; after the first error it hands out harmless empties. */
struct maker {
    struct pp_arena *arena;
    int error; /* 0 or negative errno */
};

static void *make_array(struct maker *maker, size_t n, size_t size)
{
    void *array;

    if (n == 0 || maker->error != 0)
        return NULL;
    array = n > SIZE_MAX / size ? NULL : pp_arena_alloc(maker->arena, n * size);
    if (array == NULL)
        maker->error = -ENOMEM;
    return array;
}

static char *make_string(struct maker *maker, struct pp_bytes text)
{
    char *string;

    if (text.size == 0)
        return (char *)protobuf_c_empty_string;
    /* A C string would end there silently. */
    if (memchr(text.data, '\0', text.size) != NULL) {
        (void)pp_message_bad("a string has a NUL inside");
        maker->error = -EINVAL;
    }
    string = make_array(maker, text.size + 1, 1);
    if (string == NULL)
        return (char *)protobuf_c_empty_string;
    memcpy(string, text.data, text.size);
    string[text.size] = '\0';
    return string;
}

static char **make_strings(struct maker *maker, const struct pp_bytes *in, size_t n)
{
    char **strings = make_array(maker, n, sizeof *strings);

    for (size_t i = 0; strings != NULL && i < n; i++)
        strings[i] = make_string(maker, in[i]);
    return strings;
}

/* protobuf-c only reads what it packs; its struct has no const. */
static ProtobufCBinaryData binary(struct pp_bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)bytes.data};
}

static Pyproc__V1__FunctionSource **make_sources(struct maker *maker,
                                                 const struct pp_function_source *in, size_t n)
{
    Pyproc__V1__FunctionSource **out = make_array(maker, n, sizeof(Pyproc__V1__FunctionSource *));
    Pyproc__V1__FunctionSource *parts = make_array(maker, n, sizeof *parts);

    for (size_t i = 0; parts != NULL && i < n; i++) {
        pyproc__v1__function_source__init(&parts[i]);
        parts[i].name = make_string(maker, in[i].name);
        parts[i].module = make_string(maker, in[i].module);
        parts[i].qualname = make_string(maker, in[i].qualname);
        parts[i].file = make_string(maker, in[i].file);
        parts[i].pickled = binary(in[i].pickled);
        out[i] = &parts[i];
    }
    return out;
}

static Pyproc__V1__FunctionInfo **make_infos(struct maker *maker, const struct pp_function_info *in,
                                             size_t n)
{
    Pyproc__V1__FunctionInfo **out = make_array(maker, n, sizeof(Pyproc__V1__FunctionInfo *));
    Pyproc__V1__FunctionInfo *parts = make_array(maker, n, sizeof *parts);

    for (size_t i = 0; parts != NULL && i < n; i++) {
        pyproc__v1__function_info__init(&parts[i]);
        parts[i].name = make_string(maker, in[i].name);
        parts[i].signature = make_string(maker, in[i].signature);
        parts[i].kind = (Pyproc__V1__FunctionKind)in[i].kind;
        parts[i].batch = in[i].batch;
        parts[i].batch_wait_us = in[i].batch_wait_us;
        out[i] = &parts[i];
    }
    return out;
}

static Pyproc__V1__FailureNode **make_nodes(struct maker *maker, const struct pp_failure_node *in,
                                            size_t n)
{
    Pyproc__V1__FailureNode **out = make_array(maker, n, sizeof(Pyproc__V1__FailureNode *));
    Pyproc__V1__FailureNode *parts = make_array(maker, n, sizeof *parts);

    for (size_t i = 0; parts != NULL && i < n; i++) {
        pyproc__v1__failure_node__init(&parts[i]);
        parts[i].relation = (Pyproc__V1__Relation)in[i].relation;
        parts[i].parent = in[i].parent;
        parts[i].type_name = make_string(maker, in[i].type_name);
        parts[i].message = make_string(maker, in[i].message);
        parts[i].traceback = make_string(maker, in[i].traceback);
        parts[i].arguments = binary(in[i].arguments);
        parts[i].attributes = binary(in[i].attributes);
        parts[i].notes = make_strings(maker, in[i].notes, in[i].n_notes);
        parts[i].n_notes = in[i].n_notes;
        parts[i].suppress_context = in[i].suppress_context;
        out[i] = &parts[i];
    }
    return out;
}

static void fill_hello(struct maker *maker, const struct pp_message_hello *in,
                       Pyproc__V1__Hello *out)
{
    pyproc__v1__hello__init(out);
    out->version = in->version;
    out->max_frame = in->max_frame;
    out->max_result = in->max_result;
    out->max_memory = in->max_memory;
    out->buffer_threshold = in->buffer_threshold;
    out->target_kind = (Pyproc__V1__TargetKind)in->target_kind;
    out->target = make_string(maker, in->target);
    out->file = make_string(maker, in->file);
    out->functions = make_sources(maker, in->functions, in->n_functions);
    out->n_functions = in->n_functions;
    out->path = make_strings(maker, in->path, in->n_path);
    out->n_path = in->n_path;
    out->prefix = make_string(maker, in->prefix);
    out->base_prefix = make_string(maker, in->base_prefix);
    out->python_version = make_string(maker, in->python_version);
    out->box = binary(in->box);
}

static void fill_hello_reply(struct maker *maker, const struct pp_message_hello_reply *in,
                             Pyproc__V1__HelloReply *out)
{
    pyproc__v1__hello_reply__init(out);
    out->version = in->version;
    out->python_version = make_string(maker, in->python_version);
    out->prefix = make_string(maker, in->prefix);
    out->base_prefix = make_string(maker, in->base_prefix);
    out->functions = make_infos(maker, in->functions, in->n_functions);
    out->n_functions = in->n_functions;
}

static void fill_call(struct maker *maker, const struct pp_message_call *in, Pyproc__V1__Call *out)
{
    pyproc__v1__call__init(out);
    out->id = in->id;
    out->function = make_string(maker, in->function);
    out->payload = binary(in->payload);
    out->codec = (Pyproc__V1__Codec)in->codec;
    out->keywords = make_strings(maker, in->keywords, in->n_keywords);
    out->n_keywords = in->n_keywords;
    out->remaining_us = in->remaining_us;
    out->items = in->items;
    out->baggage = binary(in->baggage);
    out->attachments = in->attachments;
    out->stream_items = in->stream_items;
    out->stream_bytes = in->stream_bytes;
    out->shared = in->shared;
}

static void fill_result(const struct pp_message_result *in, Pyproc__V1__Result *out)
{
    pyproc__v1__result__init(out);
    out->id = in->id;
    out->payload = binary(in->payload);
    out->codec = (Pyproc__V1__Codec)in->codec;
    out->events = in->events;
    out->first = in->base;
    out->count = in->count;
}

static void fill_failure(struct maker *maker, const struct pp_message_failure *in,
                         Pyproc__V1__Failure *out)
{
    pyproc__v1__failure__init(out);
    out->id = in->id;
    out->kind = (Pyproc__V1__FailureKind)in->kind;
    out->nodes = make_nodes(maker, in->nodes, in->n_nodes);
    out->n_nodes = in->n_nodes;
    out->events = in->events;
    out->path = make_string(maker, in->path);
}

static void fill_chunk_part(const struct pp_message_chunk_part *in, Pyproc__V1__ChunkPart *out)
{
    pyproc__v1__chunk_part__init(out);
    out->id = in->id;
    out->first = in->base;
    out->count = in->count;
    out->payload = binary(in->payload);
}

static void fill_log(struct maker *maker, const struct pp_message_log *in, Pyproc__V1__Log *out)
{
    pyproc__v1__log__init(out);
    out->sequence = in->sequence;
    out->call = in->call;
    out->level = in->level;
    out->logger = make_string(maker, in->logger);
    out->message = make_string(maker, in->message);
    out->created = in->created;
    out->exception = make_string(maker, in->exception);
    out->dropped = in->dropped;
    out->extra = binary(in->extra);
}

static void fill_stream_item(const struct pp_message_stream_item *in, Pyproc__V1__StreamItem *out)
{
    pyproc__v1__stream_item__init(out);
    out->id = in->id;
    out->payload = binary(in->payload);
    out->codec = (Pyproc__V1__Codec)in->codec;
    out->first = in->first;
    out->count = in->count;
}

static void fill_stream_credit(const struct pp_message_stream_credit *in,
                               Pyproc__V1__StreamCredit *out)
{
    pyproc__v1__stream_credit__init(out);
    out->id = in->id;
    out->items = in->items;
    out->bytes = in->bytes;
}

static void fill_stream_end(const struct pp_message_stream_end *in, Pyproc__V1__StreamEnd *out)
{
    pyproc__v1__stream_end__init(out);
    out->id = in->id;
    out->items = in->items;
    out->events = in->events;
}

static void fill_progress(struct maker *maker, const struct pp_message_progress *in,
                          Pyproc__V1__Progress *out)
{
    pyproc__v1__progress__init(out);
    out->sequence = in->sequence;
    out->call = in->call;
    out->done = in->done;
    out->total = in->total;
    out->has_total = in->has_total;
    out->message = make_string(maker, in->message);
}

static void fill_event(struct maker *maker, const struct pp_message_event *in,
                       Pyproc__V1__Event *out)
{
    pyproc__v1__event__init(out);
    out->sequence = in->sequence;
    out->call = in->call;
    out->kind = (Pyproc__V1__EventKind)in->kind;
    out->text = make_string(maker, in->text);
}

static void fill_client_hello(struct maker *maker, const struct pp_message_client_hello *in,
                              Pyproc__V1__ClientHello *out)
{
    pyproc__v1__client_hello__init(out);
    out->version = in->version;
    out->max_frame = in->max_frame;
    out->nonce = binary(in->nonce);
    out->key = make_string(maker, in->key);
}

static void fill_server_hello(const struct pp_message_server_hello *in,
                              Pyproc__V1__ServerHello *out)
{
    pyproc__v1__server_hello__init(out);
    out->version = in->version;
    out->max_frame = in->max_frame;
    out->nonce = binary(in->nonce);
    out->proof = binary(in->proof);
}

static void fill_welcome(struct maker *maker, const struct pp_message_welcome *in,
                         Pyproc__V1__Welcome *out)
{
    pyproc__v1__welcome__init(out);
    out->role = make_string(maker, in->role);
    out->max_in_flight = in->max_in_flight;
    out->max_payload = in->max_payload;
    out->sees_all = in->sees_all;
    out->functions = make_infos(maker, in->functions, in->n_functions);
    out->n_functions = in->n_functions;
}

static void fill_denied(struct maker *maker, const struct pp_message_denied *in,
                        Pyproc__V1__Denied *out)
{
    pyproc__v1__denied__init(out);
    out->end = in->end;
    out->text = make_string(maker, in->text);
    out->correlation = make_string(maker, in->correlation);
    out->retry_us = in->retry_us;
}

static Pyproc__V1__Death *make_death(struct maker *maker, const struct pp_message_death *in)
{
    Pyproc__V1__Death *out = make_array(maker, in != NULL, sizeof *out);

    if (out == NULL)
        return NULL;
    pyproc__v1__death__init(out);
    out->signal = in->signal;
    out->exit_code = in->exit_code;
    out->cause = make_string(maker, in->cause);
    out->python_stack = make_string(maker, in->python_stack);
    out->stderr_tail = make_string(maker, in->stderr_tail);
    out->pid = in->pid;
    out->worker = in->worker;
    out->age = in->age;
    out->tasks_done = in->tasks_done;
    return out;
}

static void fill_call_end(struct maker *maker, const struct pp_message_call_end *in,
                          Pyproc__V1__CallEnd *out)
{
    pyproc__v1__call_end__init(out);
    out->id = in->id;
    out->end = in->end;
    out->text = make_string(maker, in->text);
    out->correlation = make_string(maker, in->correlation);
    out->retry_us = in->retry_us;
    out->limit = in->limit;
    out->used = in->used;
    out->how = make_string(maker, in->how);
    out->death = make_death(maker, in->death);
    out->payload = binary(in->payload);
    out->codec = (Pyproc__V1__Codec)in->codec;
    out->count = in->count;
}

static void fill_call_options(const struct pp_message_call_options *in,
                              Pyproc__V1__CallOptions *out)
{
    pyproc__v1__call_options__init(out);
    out->id = in->id;
    out->run_us = in->run_us;
    out->queue_us = in->queue_us;
    out->priority = in->priority;
    out->memory = in->memory;
    out->cpu_us = in->cpu_us;
    out->output = in->output;
    out->result_size = in->result_size;
    out->item_us = in->item_us;
}

static void fill_memory_request(const struct pp_message_memory_request *in,
                                Pyproc__V1__MemoryRequest *out)
{
    pyproc__v1__memory_request__init(out);
    out->id = in->id;
    out->size = in->size;
    out->number = in->number;
}

static void fill_memory_grant(const struct pp_message_memory_grant *in,
                              Pyproc__V1__MemoryGrant *out)
{
    pyproc__v1__memory_grant__init(out);
    out->id = in->id;
    out->size = in->size;
    out->number = in->number;
    out->error = in->error;
    out->warm = in->warm;
}

/* The message inside an envelope; all kinds, so that it can live on the stack. */
union inside {
    Pyproc__V1__Hello hello;
    Pyproc__V1__HelloReply hello_reply;
    Pyproc__V1__Call call;
    Pyproc__V1__Result result;
    Pyproc__V1__Failure failure;
    Pyproc__V1__ChunkPart chunk_part;
    Pyproc__V1__Returned returned;
    Pyproc__V1__Log log;
    Pyproc__V1__Ping ping;
    Pyproc__V1__Pong pong;
    Pyproc__V1__Goodbye goodbye;
    Pyproc__V1__StreamItem stream_item;
    Pyproc__V1__StreamCredit stream_credit;
    Pyproc__V1__StreamEnd stream_end;
    Pyproc__V1__Progress progress;
    Pyproc__V1__Event event;
    Pyproc__V1__Cancel cancel;
    Pyproc__V1__ClientHello client_hello;
    Pyproc__V1__ServerHello server_hello;
    Pyproc__V1__Authenticate authenticate;
    Pyproc__V1__Welcome welcome;
    Pyproc__V1__Denied denied;
    Pyproc__V1__CallEnd call_end;
    Pyproc__V1__CallOptions call_options;
    Pyproc__V1__Revoke revoke;
    Pyproc__V1__MemoryRequest memory_request;
    Pyproc__V1__MemoryGrant memory_grant;
};

/* Kinds of a named socket. */
static void fill_named(struct maker *maker, const struct pp_message *message, union inside *inside)
{
    switch (message->kind) {
    case PP_MESSAGE_CLIENT_HELLO:
        fill_client_hello(maker, &message->client_hello, &inside->client_hello);
        break;
    case PP_MESSAGE_SERVER_HELLO:
        fill_server_hello(&message->server_hello, &inside->server_hello);
        break;
    case PP_MESSAGE_AUTHENTICATE:
        pyproc__v1__authenticate__init(&inside->authenticate);
        inside->authenticate.proof = binary(message->proof);
        break;
    case PP_MESSAGE_WELCOME:
        fill_welcome(maker, &message->welcome, &inside->welcome);
        break;
    case PP_MESSAGE_DENIED:
        fill_denied(maker, &message->denied, &inside->denied);
        break;
    case PP_MESSAGE_CALL_END:
        fill_call_end(maker, &message->call_end, &inside->call_end);
        break;
    case PP_MESSAGE_CALL_OPTIONS:
        fill_call_options(&message->call_options, &inside->call_options);
        break;
    default: /* PP_MESSAGE_REVOKE */
        pyproc__v1__revoke__init(&inside->revoke);
        inside->revoke.id = message->revoke.id;
        inside->revoke.kill = message->revoke.kill;
        break;
    }
}

static void fill_inside(struct maker *maker, const struct pp_message *message, union inside *inside)
{
    if (message->kind >= PP_MESSAGE_CLIENT_HELLO) {
        fill_named(maker, message, inside);
        return;
    }
    switch (message->kind) {
    case PP_MESSAGE_HELLO:
        fill_hello(maker, &message->hello, &inside->hello);
        break;
    case PP_MESSAGE_HELLO_REPLY:
        fill_hello_reply(maker, &message->hello_reply, &inside->hello_reply);
        break;
    case PP_MESSAGE_CALL:
        fill_call(maker, &message->call, &inside->call);
        break;
    case PP_MESSAGE_RESULT:
        fill_result(&message->result, &inside->result);
        break;
    case PP_MESSAGE_FAILURE:
        fill_failure(maker, &message->failure, &inside->failure);
        break;
    case PP_MESSAGE_CHUNK_PART:
        fill_chunk_part(&message->chunk_part, &inside->chunk_part);
        break;
    case PP_MESSAGE_RETURNED:
        pyproc__v1__returned__init(&inside->returned);
        inside->returned.id = message->returned;
        break;
    case PP_MESSAGE_LOG:
        fill_log(maker, &message->log, &inside->log);
        break;
    case PP_MESSAGE_PING:
        pyproc__v1__ping__init(&inside->ping);
        inside->ping.nonce = message->nonce;
        break;
    case PP_MESSAGE_PONG:
        pyproc__v1__pong__init(&inside->pong);
        inside->pong.nonce = message->nonce;
        break;
    case PP_MESSAGE_STREAM_ITEM:
        fill_stream_item(&message->stream_item, &inside->stream_item);
        break;
    case PP_MESSAGE_STREAM_CREDIT:
        fill_stream_credit(&message->stream_credit, &inside->stream_credit);
        break;
    case PP_MESSAGE_STREAM_END:
        fill_stream_end(&message->stream_end, &inside->stream_end);
        break;
    case PP_MESSAGE_PROGRESS:
        fill_progress(maker, &message->progress, &inside->progress);
        break;
    case PP_MESSAGE_EVENT:
        fill_event(maker, &message->event, &inside->event);
        break;
    case PP_MESSAGE_MEMORY_REQUEST:
        fill_memory_request(&message->memory_request, &inside->memory_request);
        break;
    case PP_MESSAGE_MEMORY_GRANT:
        fill_memory_grant(&message->memory_grant, &inside->memory_grant);
        break;
    case PP_MESSAGE_CANCEL:
        pyproc__v1__cancel__init(&inside->cancel);
        inside->cancel.id = message->cancel.id;
        inside->cancel.timeout = message->cancel.timeout;
        break;
    default: /* PP_MESSAGE_GOODBYE */
        pyproc__v1__goodbye__init(&inside->goodbye);
        break;
    }
}

/* A protobuf-c output that writes into a frame's body. */
struct sink {
    ProtobufCBuffer base; /* first: protobuf-c gives it back to `drop_in` */
    uint8_t *at;
};

static void drop_in(ProtobufCBuffer *base, size_t n, const uint8_t *bytes)
{
    struct sink *sink = (struct sink *)(void *)base;

    memcpy(sink->at, bytes, n);
    sink->at += n;
}

/* Whether the other end will take what was packed. */
static bool acceptable(const uint8_t *body, size_t n)
{
    enum pp_message_kind kind;
    struct pp_cursor inside;

    return pp_envelope_open(body, n, &kind, &inside) == 0 && pp_envelope_check(kind, inside) == 0;
}

int pp_envelope_pack(struct pp_buffer *out, struct pp_arena *arena, size_t limit,
                     const struct pp_message *message)
{
    struct maker maker = {.arena = arena};
    struct sink sink = {.base = {.append = drop_in}};
    Pyproc__V1__Envelope envelope = PYPROC__V1__ENVELOPE__INIT;
    union inside inside;
    uint8_t *body;
    size_t size;
    int r;

    fill_inside(&maker, message, &inside);
    if (maker.error != 0)
        return pp_fail(maker.error, "make a message");
    envelope.kind_case = (Pyproc__V1__Envelope__KindCase)message->kind;
    envelope.hello = &inside.hello; /* all kinds lie at the same place, here and there */
    size = pyproc__v1__envelope__get_packed_size(&envelope);
    r = pp_envelope_room(out, limit, size, &body);
    if (r != 0)
        return r;
    sink.at = body;
    (void)pyproc__v1__envelope__pack_to_buffer(&envelope, &sink.base);
    if (!acceptable(body, size))
        return pp_fail(-EINVAL, "write a message (%s)", pp_message_why());
    pp_buffer_commit(out, PP_FRAME_HEADER + size);
    return 0;
}
