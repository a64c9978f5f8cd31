/* message.h - frames to messages and back, every field checked.
 *
 * The one door to protobuf-c: what leaves this room is plain structs of lent
 * bytes. A body is checked before it is unpacked - depth by the schema, number of
 * fields, field types, utf-8, enums, no unknown field - so that a hostile one can
 * neither recurse nor make a few bytes cost many. Any thread, one at a time an arena.
 */
#ifndef PP_WIRE_MESSAGE_H
#define PP_WIRE_MESSAGE_H

#include "base/arena.h"
#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PP_PROTOCOL_VERSION 1U

enum {
    PP_MESSAGE_BAD = 1, /* not a message this side may get; pp_message_why() says why */
};

/* Most fields a body may hold, nested ones included. */
enum { PP_MESSAGE_FIELDS_MAX = 65536 };
/* Most nodes in a failure. */
enum { PP_FAILURE_NODES_MAX = 256 };
/* Bytes of a progress message. */
enum { PP_PROGRESS_MAX = 4096 };
/* Bytes of an event's text. */
enum { PP_EVENT_TEXT_MAX = 512 };
/* Descriptors of one call; base/handoff.h has room for as many. */
enum { PP_ATTACHMENTS_MAX = 16 };

/* An arena with this limit holds whatever one body of at most `n` bytes becomes, or
 * one message that is written into `n` bytes: its strings and payload once, and the
 * structs of its fields, of which the smallest is two bytes. */
static inline size_t pp_message_arena_limit(size_t n)
{
    size_t fields = n / 2 < PP_MESSAGE_FIELDS_MAX ? n / 2 : PP_MESSAGE_FIELDS_MAX;

    return n + 512 * (fields + 8);
}

/* Lent bytes; `data` may be NULL when `size` is 0. A string has no NUL inside and
 * is valid utf-8; it is not NUL-terminated by promise. */
struct pp_bytes {
    const uint8_t *data;
    size_t size;
};

/* Values are those of proto/pyproc.proto. */
enum pp_codec { PP_CODEC_NONE, PP_CODEC_MSGPACK, PP_CODEC_RICH, PP_CODEC_PICKLE };
enum pp_target_kind {
    PP_TARGET_NONE,
    PP_TARGET_ATTRIBUTE,
    PP_TARGET_FILE,
    PP_TARGET_MODULE,
    PP_TARGET_FUNCTIONS,
};
enum pp_failure_kind {
    PP_FAILURE_NONE,
    PP_FAILURE_EXCEPTION,
    PP_FAILURE_VALIDATION,
    PP_FAILURE_CODEC,
    PP_FAILURE_UNKNOWN_FUNCTION,
    PP_FAILURE_RESULT_TOO_LARGE,
    PP_FAILURE_START,
};
enum pp_relation { PP_RELATION_ROOT, PP_RELATION_CAUSE, PP_RELATION_CONTEXT, PP_RELATION_MEMBER };

/* Who sent it: each kind of message may come from one end only. */
enum pp_sender {
    PP_FROM_HOST = 1,
    PP_FROM_WORKER = 2,
    PP_FROM_CLIENT = 3, /* of a named socket */
    PP_FROM_SERVER = 4,
};

enum pp_message_kind {
    PP_MESSAGE_NONE,
    PP_MESSAGE_HELLO,          /* from the host */
    PP_MESSAGE_HELLO_REPLY,    /* from the worker */
    PP_MESSAGE_CALL,           /* from the host */
    PP_MESSAGE_RESULT,         /* from the worker */
    PP_MESSAGE_FAILURE,        /* from the worker */
    PP_MESSAGE_CHUNK_PART,     /* from the worker */
    PP_MESSAGE_RETURNED,       /* from the worker */
    PP_MESSAGE_LOG,            /* from the worker, event channel only */
    PP_MESSAGE_PING,           /* either */
    PP_MESSAGE_PONG,           /* either */
    PP_MESSAGE_GOODBYE,        /* from the host */
    PP_MESSAGE_STREAM_ITEM,    /* from the worker, and on from the server */
    PP_MESSAGE_STREAM_CREDIT,  /* from the host, and the client */
    PP_MESSAGE_STREAM_END,     /* either */
    PP_MESSAGE_PROGRESS,       /* from the worker, event channel only */
    PP_MESSAGE_MEMORY_REQUEST, /* from the worker */
    PP_MESSAGE_MEMORY_GRANT,   /* from the host, event channel only */
    PP_MESSAGE_EVENT,          /* from the worker, event channel only */
    PP_MESSAGE_CANCEL,         /* from the host */
    PP_MESSAGE_CLIENT_HELLO,   /* from the client */
    PP_MESSAGE_SERVER_HELLO,   /* from the server */
    PP_MESSAGE_AUTHENTICATE,   /* from the client */
    PP_MESSAGE_WELCOME,        /* from the server */
    PP_MESSAGE_DENIED,         /* from the server */
    PP_MESSAGE_CALL_END,       /* from the server */
    PP_MESSAGE_CALL_OPTIONS,   /* from the client */
    PP_MESSAGE_REVOKE,         /* from the client */
};

struct pp_function_source {
    struct pp_bytes name, module, qualname, file, pickled;
};

struct pp_message_hello {
    uint32_t version;
    uint64_t max_frame, max_result;
    uint64_t max_memory, buffer_threshold; /* 0: none */
    enum pp_target_kind target_kind;
    struct pp_bytes target, file;
    const struct pp_function_source *functions;
    size_t n_functions;
    const struct pp_bytes *path;
    size_t n_path;
    struct pp_bytes prefix, base_prefix, python_version;
    struct pp_bytes box; /* csrc/security/box.h */
};

enum pp_function_kind {
    PP_FUNCTION_PLAIN,
    PP_FUNCTION_ASYNC,
    PP_FUNCTION_GENERATOR,
    PP_FUNCTION_ASYNC_GENERATOR,
};

struct pp_function_info {
    struct pp_bytes name, signature;
    enum pp_function_kind kind;
    uint32_t batch;         /* calls that it answers in one go; 0: one at a time */
    uint64_t batch_wait_us; /* how long the first of them waits for others */
};

struct pp_message_hello_reply {
    uint32_t version;
    struct pp_bytes python_version, prefix, base_prefix;
    const struct pp_function_info *functions;
    size_t n_functions;
};

struct pp_message_call {
    uint64_t id; /* never 0 */
    struct pp_bytes function, payload;
    enum pp_codec codec;
    const struct pp_bytes *keywords;
    size_t n_keywords;
    uint64_t remaining_us; /* 0: no deadline */
    uint32_t items;        /* not 0: a chunk */
    struct pp_bytes baggage;
    uint32_t attachments;                /* descriptors that travel with the frame */
    uint64_t stream_items, stream_bytes; /* the first credit of a stream; 0: it is none */
    bool shared;                         /* other calls run beside it */
};

struct pp_message_result {
    uint64_t id;
    struct pp_bytes payload;
    enum pp_codec codec; /* from a worker never PP_CODEC_PICKLE */
    uint64_t events;
    uint32_t base, count;
};

struct pp_message_chunk_part {
    uint64_t id;
    uint32_t base, count;
    struct pp_bytes payload;
};

struct pp_failure_node {
    enum pp_relation relation;
    uint32_t parent; /* smaller than the node's own index; 0 for the root */
    struct pp_bytes type_name, message, traceback, arguments, attributes;
    const struct pp_bytes *notes;
    size_t n_notes;
    bool suppress_context;
};

struct pp_message_failure {
    uint64_t id; /* 0 only with PP_FAILURE_START */
    enum pp_failure_kind kind;
    const struct pp_failure_node *nodes; /* at least one; the first is the root, no other is */
    size_t n_nodes;
    uint64_t events;
    struct pp_bytes path;
};

struct pp_message_log {
    uint64_t sequence, call;
    int32_t level;
    struct pp_bytes logger, message, exception, extra;
    double created; /* finite */
    uint64_t dropped;
};

struct pp_message_stream_item {
    uint64_t id;
    struct pp_bytes payload;
    enum pp_codec codec; /* never PP_CODEC_PICKLE */
    uint64_t first;
    uint32_t count; /* never 0 */
};

/* In all, since the stream began. */
struct pp_message_stream_credit {
    uint64_t id, items, bytes;
};

struct pp_message_stream_end {
    uint64_t id, items, events;
};

struct pp_message_progress {
    uint64_t sequence, call;
    double done, total; /* finite, 0 or more */
    bool has_total;
    struct pp_bytes message;
};

enum pp_event_kind { PP_EVENT_NONE, PP_EVENT_REFUSED };

struct pp_message_event {
    uint64_t sequence, call;
    enum pp_event_kind kind;
    struct pp_bytes text;
};

struct pp_message_memory_request {
    uint64_t id, size; /* never 0 */
    uint32_t number;
};

struct pp_message_memory_grant {
    uint64_t id, size;
    uint32_t number;
    uint32_t error; /* 0: a descriptor comes with it */
    bool warm;
};

struct pp_message_cancel {
    uint64_t id;
    bool timeout;
};

enum { PP_NONCE_SIZE = 32, PP_PROOF_SIZE = 32 };

struct pp_message_client_hello {
    uint32_t version;
    uint64_t max_frame;
    struct pp_bytes nonce, key; /* PP_NONCE_SIZE bytes; an id, may be empty */
};

struct pp_message_server_hello {
    uint32_t version;
    uint64_t max_frame;
    struct pp_bytes nonce, proof; /* PP_PROOF_SIZE bytes, or none */
};

struct pp_message_welcome {
    struct pp_bytes role;
    uint32_t max_in_flight; /* never 0 */
    uint64_t max_payload;
    const struct pp_function_info *functions;
    size_t n_functions;
    bool sees_all;
};

struct pp_message_denied {
    uint32_t end; /* never 0 */
    struct pp_bytes text, correlation;
    uint64_t retry_us;
};

struct pp_message_death {
    int32_t signal, exit_code; /* exit_code: plus 1, 0: none */
    struct pp_bytes cause, python_stack, stderr_tail;
    int32_t pid;
    uint32_t worker;
    double age; /* finite */
    uint64_t tasks_done;
};

struct pp_message_call_end {
    uint64_t id;
    uint32_t end; /* never 0 */
    struct pp_bytes text, correlation;
    uint64_t retry_us, limit, used;
    struct pp_bytes how;
    const struct pp_message_death *death; /* NULL: none */
    struct pp_bytes payload;
    enum pp_codec codec; /* NONE without items */
    uint32_t count;
};

struct pp_message_call_options {
    uint64_t id;
    uint64_t run_us, queue_us; /* 0: the server's */
    int32_t priority;
    uint64_t memory, cpu_us, output, result_size;
    uint64_t item_us; /* of a stream */
};

struct pp_message_revoke {
    uint64_t id;
    bool kill;
};

struct pp_message {
    enum pp_message_kind kind;
    union {
        struct pp_message_hello hello;
        struct pp_message_hello_reply hello_reply;
        struct pp_message_call call;
        struct pp_message_result result;
        struct pp_message_failure failure;
        struct pp_message_chunk_part chunk_part;
        uint64_t returned; /* the id */
        struct pp_message_log log;
        uint64_t nonce; /* of ping and pong */
        struct pp_message_stream_item stream_item;
        struct pp_message_stream_credit stream_credit;
        struct pp_message_stream_end stream_end;
        struct pp_message_progress progress;
        struct pp_message_event event;
        struct pp_message_cancel cancel;
        struct pp_message_client_hello client_hello;
        struct pp_message_server_hello server_hello;
        struct pp_bytes proof; /* of Authenticate */
        struct pp_message_welcome welcome;
        struct pp_message_denied denied;
        struct pp_message_call_end call_end;
        struct pp_message_call_options call_options;
        struct pp_message_revoke revoke;
        struct pp_message_memory_request memory_request;
        struct pp_message_memory_grant memory_grant;
    };
};

/* Checks and unpacks a frame's body. All that `messagep` points to is lent from
 * `arena` (or `body`) until the arena's reset. 0, PP_MESSAGE_BAD, or -ENOMEM. */
int pp_message_read(struct pp_arena *arena, enum pp_sender sender, const uint8_t *body, size_t n,
                    struct pp_message *messagep);

/* The rule that this thread's last PP_MESSAGE_BAD broke: one of a fixed set of
 * sentences, never bytes of the peer. */
const char *pp_message_why(void);

/* Appends one whole frame (header and body) to `out`. -EMSGSIZE when the body is
 * longer than `limit` or does not fit in `out`; -EINVAL when the other end would
 * refuse it (text that is not utf-8 or has a NUL inside, an id of 0, too many fields:
 * pp_message_why() says which); -ENOMEM. `out` is then as it was before. `arena` holds
 * what packing needs for a moment; what it lent before stays valid, nothing is reset. */
int pp_message_write(struct pp_buffer *out, struct pp_arena *arena, size_t limit,
                     const struct pp_message *message);

#endif
