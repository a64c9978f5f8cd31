/* message.c - the door: the order of the checks, and who may send what.
 *
 * In: open the envelope, ask whether this end may send that, then either the fast
 * path (Call and Result as our writers make them) or check and unpack, at last the
 * rules that the schema cannot say. Out: the rules, then one of the two packers.
 */
#include "wire/message.h"

#include "base/error.h"
#include "wire/envelope.h"
#include "wire/frame.h"

#include <errno.h>

/* Each thread reads its own messages; the words live as long as the program. */
static _Thread_local const char *why = "";

void pp_message_keep_rule(const char *rule)
{
    why = rule;
}

const char *pp_message_why(void)
{
    return why;
}

/* On a named socket: clients speak with a server that speaks with hosts' workers. */
static bool may_send_named(enum pp_sender sender, enum pp_message_kind kind)
{
    switch (kind) {
    case PP_MESSAGE_CLIENT_HELLO:
    case PP_MESSAGE_AUTHENTICATE:
    case PP_MESSAGE_CALL:
    case PP_MESSAGE_CALL_OPTIONS:
    case PP_MESSAGE_REVOKE:
    case PP_MESSAGE_STREAM_CREDIT:
        return sender == PP_FROM_CLIENT;
    case PP_MESSAGE_SERVER_HELLO:
    case PP_MESSAGE_WELCOME:
    case PP_MESSAGE_DENIED:
    case PP_MESSAGE_RESULT:
    case PP_MESSAGE_FAILURE:
    case PP_MESSAGE_CALL_END:
    case PP_MESSAGE_STREAM_ITEM:
        return sender == PP_FROM_SERVER;
    case PP_MESSAGE_PING:
    case PP_MESSAGE_PONG:
    case PP_MESSAGE_STREAM_END:
    case PP_MESSAGE_GOODBYE:
        return true;
    default:
        return false;
    }
}

static bool may_send(enum pp_sender sender, enum pp_message_kind kind)
{
    if (sender == PP_FROM_CLIENT || sender == PP_FROM_SERVER)
        return may_send_named(sender, kind);
    switch (kind) {
    case PP_MESSAGE_HELLO:
    case PP_MESSAGE_CALL:
    case PP_MESSAGE_GOODBYE:
    case PP_MESSAGE_STREAM_CREDIT:
    case PP_MESSAGE_CANCEL:
    case PP_MESSAGE_MEMORY_GRANT:
        return sender == PP_FROM_HOST;
    case PP_MESSAGE_HELLO_REPLY:
    case PP_MESSAGE_RESULT:
    case PP_MESSAGE_FAILURE:
    case PP_MESSAGE_CHUNK_PART:
    case PP_MESSAGE_MEMORY_REQUEST:
    case PP_MESSAGE_RETURNED:
    case PP_MESSAGE_LOG:
    case PP_MESSAGE_STREAM_ITEM:
    case PP_MESSAGE_PROGRESS:
    case PP_MESSAGE_EVENT:
        return sender == PP_FROM_WORKER;
    case PP_MESSAGE_PING:
    case PP_MESSAGE_PONG:
    case PP_MESSAGE_STREAM_END:
        return true;
    default:
        return false;
    }
}

int pp_message_read(struct pp_arena *arena, enum pp_sender sender, const uint8_t *body, size_t n,
                    struct pp_message *messagep)
{
    struct pp_message message;
    enum pp_message_kind kind;
    struct pp_cursor inside;
    int r;

    r = pp_envelope_open(body, n, &kind, &inside);
    if (r != 0)
        return r;
    if (!may_send(sender, kind))
        return pp_message_bad("this end may not send that message");
    if (!pp_fast_read(arena, kind, inside, &message)) {
        r = pp_envelope_check(kind, inside);
        if (r == 0)
            r = pp_envelope_unpack(arena, body, n, &message);
        if (r != 0)
            return r;
    }
    r = pp_message_rules(&message);
    if (r == 0)
        *messagep = message;
    return r;
}

int pp_envelope_room(struct pp_buffer *out, size_t limit, size_t size, uint8_t **bodyp)
{
    uint8_t *space;
    int r;

    if (size > limit || size > PP_FRAME_LIMIT)
        return pp_fail(-EMSGSIZE, "write a message of %zu bytes (limit %zu)", size, limit);
    r = pp_buffer_reserve(out, PP_FRAME_HEADER + size, &space);
    if (r != 0)
        return pp_fail(r, "make room for a message of %zu bytes", size);
    pp_frame_header(space, (uint32_t)size);
    *bodyp = space + PP_FRAME_HEADER;
    return 0;
}

int pp_message_write(struct pp_buffer *out, struct pp_arena *arena, size_t limit,
                     const struct pp_message *message)
{
    if (pp_message_rules(message) != 0)
        return pp_fail(-EINVAL, "write a message (%s)", why);
    if (message->kind == PP_MESSAGE_CALL || message->kind == PP_MESSAGE_RESULT ||
        message->kind == PP_MESSAGE_STREAM_ITEM)
        return pp_fast_write(out, limit, message);
    return pp_envelope_pack(out, arena, limit, message);
}
