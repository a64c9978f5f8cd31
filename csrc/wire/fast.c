/* fast.c - Call, Result and StreamItem without protobuf-c.
 *
 * Every call needs one of the first two, and protobuf-c would copy the payload three times
 * on the way (once out, shifted once, once in) and allocate each field. Here it is
 * copied once, into the frame, and lent where it lies when read. Written bytes are
 * those of protobuf-c, as the golden vectors prove. The reader knows only fields in
 * ascending order, as all writers make them; whatever else comes, good or bad, is
 * left to the long path, so there is one judge of what is bad.
 */
#include "base/error.h"
#include "wire/envelope.h"
#include "wire/frame.h"

#include <errno.h>
#include <string.h>

/* Tags: field number << 3 | wire type, as in proto/pyproc.proto. */
enum {
    TAG_ID = 0x09, /* of both messages */

    CALL_FUNCTION = 0x12,
    CALL_PAYLOAD = 0x1a,
    CALL_CODEC = 0x20,
    CALL_KEYWORDS = 0x2a,
    CALL_REMAINING = 0x30,
    CALL_ITEMS = 0x38,
    CALL_BAGGAGE = 0x42,
    CALL_ATTACHMENTS = 0x48,
    CALL_STREAM_ITEMS = 0x50,
    CALL_STREAM_BYTES = 0x58,
    CALL_SHARED = 0x60,

    RESULT_PAYLOAD = 0x12,
    RESULT_CODEC = 0x18,
    RESULT_EVENTS = 0x20,
    RESULT_BASE = 0x28,
    RESULT_COUNT = 0x30,

    ITEM_PAYLOAD = 0x12,
    ITEM_CODEC = 0x18,
    ITEM_FIRST = 0x20,
    ITEM_COUNT = 0x28,
};

/* More keywords than this are left to the long path, which counts all fields. */
enum { KEYWORDS_MAX = 1024 };

/* Whether the next field has this tag; then it is taken. */
static bool next_is(struct pp_cursor *in, uint8_t tag)
{
    if (in->at == in->end || *in->at != tag)
        return false;
    in->at++;
    return true;
}

static bool take_id(struct pp_cursor *in, uint64_t *idp)
{
    uint64_t id = 0;

    if (!next_is(in, TAG_ID) || in->end - in->at < 8)
        return false;
    for (unsigned i = 0; i < 8; i++)
        id |= (uint64_t)in->at[i] << (8 * i);
    in->at += 8;
    *idp = id;
    return true;
}

/* An absent field is 0; false when it is there and malformed or above `most`. */
static bool take_number(struct pp_cursor *in, uint8_t tag, uint64_t most, uint64_t *valuep)
{
    *valuep = 0;
    return !next_is(in, tag) || (pp_take_varint(in, valuep) && *valuep <= most);
}

static bool take_payload(struct pp_cursor *in, uint8_t tag, struct pp_bytes *bytesp)
{
    *bytesp = (struct pp_bytes){.size = 0};
    return !next_is(in, tag) || pp_take_bytes(in, bytesp);
}

static bool take_text(struct pp_cursor *in, uint8_t tag, struct pp_bytes *textp)
{
    return take_payload(in, tag, textp) && pp_text_valid(textp->data, textp->size);
}

/* Counts a run of keywords without moving on. */
static size_t count_keywords(struct pp_cursor in)
{
    struct pp_bytes keyword;
    size_t n = 0;

    while (next_is(&in, CALL_KEYWORDS) && pp_take_bytes(&in, &keyword))
        n++;
    return n;
}

static bool take_keywords(struct pp_arena *arena, struct pp_cursor *in,
                          struct pp_message_call *call)
{
    size_t n = count_keywords(*in);
    struct pp_bytes *keywords = NULL;

    if (n > KEYWORDS_MAX)
        return false;
    if (n != 0 && (keywords = pp_arena_alloc(arena, n * sizeof *keywords)) == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!take_text(in, CALL_KEYWORDS, &keywords[i]))
            return false;
    call->keywords = keywords;
    call->n_keywords = n;
    return true;
}

static bool read_call(struct pp_arena *arena, struct pp_cursor in, struct pp_message_call *call)
{
    uint64_t codec;
    uint64_t items;
    uint64_t attachments;
    uint64_t shared;

    if (!take_id(&in, &call->id) || !take_text(&in, CALL_FUNCTION, &call->function) ||
        !take_payload(&in, CALL_PAYLOAD, &call->payload) ||
        !take_number(&in, CALL_CODEC, PP_CODEC_PICKLE, &codec) ||
        !take_keywords(arena, &in, call) ||
        !take_number(&in, CALL_REMAINING, UINT64_MAX, &call->remaining_us) ||
        !take_number(&in, CALL_ITEMS, UINT32_MAX, &items) ||
        !take_payload(&in, CALL_BAGGAGE, &call->baggage) ||
        !take_number(&in, CALL_ATTACHMENTS, UINT32_MAX, &attachments) ||
        !take_number(&in, CALL_STREAM_ITEMS, UINT64_MAX, &call->stream_items) ||
        !take_number(&in, CALL_STREAM_BYTES, UINT64_MAX, &call->stream_bytes) ||
        !take_number(&in, CALL_SHARED, 1, &shared))
        return false;
    call->shared = shared != 0;
    call->attachments = (uint32_t)attachments;
    call->codec = (enum pp_codec)codec;
    call->items = (uint32_t)items;
    return in.at == in.end;
}

static bool read_result(struct pp_cursor in, struct pp_message_result *result)
{
    uint64_t codec;
    uint64_t base;
    uint64_t count;

    if (!take_id(&in, &result->id) || !take_payload(&in, RESULT_PAYLOAD, &result->payload) ||
        !take_number(&in, RESULT_CODEC, PP_CODEC_PICKLE, &codec) ||
        !take_number(&in, RESULT_EVENTS, UINT64_MAX, &result->events) ||
        !take_number(&in, RESULT_BASE, UINT32_MAX, &base) ||
        !take_number(&in, RESULT_COUNT, UINT32_MAX, &count))
        return false;
    result->codec = (enum pp_codec)codec;
    result->base = (uint32_t)base;
    result->count = (uint32_t)count;
    return in.at == in.end;
}

static bool read_stream_item(struct pp_cursor in, struct pp_message_stream_item *item)
{
    uint64_t codec;
    uint64_t count;

    if (!take_id(&in, &item->id) || !take_payload(&in, ITEM_PAYLOAD, &item->payload) ||
        !take_number(&in, ITEM_CODEC, PP_CODEC_PICKLE, &codec) ||
        !take_number(&in, ITEM_FIRST, UINT64_MAX, &item->first) ||
        !take_number(&in, ITEM_COUNT, UINT32_MAX, &count))
        return false;
    item->codec = (enum pp_codec)codec;
    item->count = (uint32_t)count;
    return in.at == in.end;
}

bool pp_fast_read(struct pp_arena *arena, enum pp_message_kind kind, struct pp_cursor inside,
                  struct pp_message *messagep)
{
    messagep->kind = kind;
    if (kind == PP_MESSAGE_CALL)
        return read_call(arena, inside, &messagep->call);
    if (kind == PP_MESSAGE_RESULT)
        return read_result(inside, &messagep->result);
    if (kind == PP_MESSAGE_STREAM_ITEM)
        return read_stream_item(inside, &messagep->stream_item);
    return false;
}

static size_t varint_size(uint64_t value)
{
    /* A byte for each seven bits; 0 has one too. */
    return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

/* Sizes with the tag; proto3 leaves out what is 0 or empty, but no repeated value. */
static size_t number_size(uint64_t value)
{
    return value == 0 ? 0 : 1 + varint_size(value);
}

static size_t item_size(size_t n)
{
    return 1 + varint_size(n) + n;
}

static size_t bytes_size(size_t n)
{
    return n == 0 ? 0 : item_size(n);
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *put_id(uint8_t *at, uint64_t id)
{
    *at++ = TAG_ID;
    for (unsigned i = 0; i < 8; i++)
        *at++ = (uint8_t)(id >> (8 * i));
    return at;
}

static uint8_t *put_number(uint8_t *at, uint8_t tag, uint64_t value)
{
    if (value == 0)
        return at;
    *at++ = tag;
    return put_varint(at, value);
}

static uint8_t *put_item(uint8_t *at, uint8_t tag, struct pp_bytes bytes)
{
    *at++ = tag;
    at = put_varint(at, bytes.size);
    if (bytes.size != 0)
        memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

static uint8_t *put_bytes(uint8_t *at, uint8_t tag, struct pp_bytes bytes)
{
    return bytes.size == 0 ? at : put_item(at, tag, bytes);
}

/* The envelope around a message of `size` bytes: its tag and length. */
static int open_envelope(struct pp_buffer *out, size_t limit, const struct pp_message *message,
                         size_t size, uint8_t **atp)
{
    uint8_t *at;
    int r = pp_envelope_room(out, limit, item_size(size), &at);

    if (r != 0)
        return r;
    *at++ = (uint8_t)(message->kind << 3 | 2);
    *atp = put_varint(at, size);
    return 0;
}

static bool call_text_valid(const struct pp_message_call *call)
{
    for (size_t i = 0; i < call->n_keywords; i++)
        if (!pp_text_valid(call->keywords[i].data, call->keywords[i].size))
            return false;
    return pp_text_valid(call->function.data, call->function.size);
}

static size_t call_size(const struct pp_message_call *call)
{
    size_t size = 9 + bytes_size(call->function.size) + bytes_size(call->payload.size) +
                  number_size(call->codec) + number_size(call->remaining_us) +
                  number_size(call->items) + bytes_size(call->baggage.size) +
                  number_size(call->attachments) + number_size(call->stream_items) +
                  number_size(call->stream_bytes) + number_size(call->shared);

    for (size_t i = 0; i < call->n_keywords; i++)
        size += item_size(call->keywords[i].size);
    return size;
}

static int refuse_names(void)
{
    (void)pp_message_bad("call: its names are not text, or too many");
    return pp_fail(-EINVAL, "write a call (%s)", pp_message_why());
}

static int write_call(struct pp_buffer *out, size_t limit, const struct pp_message *message)
{
    const struct pp_message_call *call = &message->call;
    size_t size = call_size(call);
    uint8_t *at;
    int r;

    if (!call_text_valid(call) || call->n_keywords > PP_MESSAGE_FIELDS_MAX - 12)
        return refuse_names();
    r = open_envelope(out, limit, message, size, &at);
    if (r != 0)
        return r;
    at = put_id(at, call->id);
    at = put_bytes(at, CALL_FUNCTION, call->function);
    at = put_bytes(at, CALL_PAYLOAD, call->payload);
    at = put_number(at, CALL_CODEC, call->codec);
    for (size_t i = 0; i < call->n_keywords; i++)
        at = put_item(at, CALL_KEYWORDS, call->keywords[i]);
    at = put_number(at, CALL_REMAINING, call->remaining_us);
    at = put_number(at, CALL_ITEMS, call->items);
    at = put_bytes(at, CALL_BAGGAGE, call->baggage);
    at = put_number(at, CALL_ATTACHMENTS, call->attachments);
    at = put_number(at, CALL_STREAM_ITEMS, call->stream_items);
    at = put_number(at, CALL_STREAM_BYTES, call->stream_bytes);
    (void)put_number(at, CALL_SHARED, call->shared);
    pp_buffer_commit(out, PP_FRAME_HEADER + item_size(size));
    return 0;
}

static int write_result(struct pp_buffer *out, size_t limit, const struct pp_message *message)
{
    const struct pp_message_result *result = &message->result;
    size_t size = 9 + bytes_size(result->payload.size) + number_size(result->codec) +
                  number_size(result->events) + number_size(result->base) +
                  number_size(result->count);
    uint8_t *at;
    int r = open_envelope(out, limit, message, size, &at);

    if (r != 0)
        return r;
    at = put_id(at, result->id);
    at = put_bytes(at, RESULT_PAYLOAD, result->payload);
    at = put_number(at, RESULT_CODEC, result->codec);
    at = put_number(at, RESULT_EVENTS, result->events);
    at = put_number(at, RESULT_BASE, result->base);
    (void)put_number(at, RESULT_COUNT, result->count);
    pp_buffer_commit(out, PP_FRAME_HEADER + item_size(size));
    return 0;
}

static int write_stream_item(struct pp_buffer *out, size_t limit, const struct pp_message *message)
{
    const struct pp_message_stream_item *item = &message->stream_item;
    size_t size = 9 + bytes_size(item->payload.size) + number_size(item->codec) +
                  number_size(item->first) + number_size(item->count);
    uint8_t *at;
    int r = open_envelope(out, limit, message, size, &at);

    if (r != 0)
        return r;
    at = put_id(at, item->id);
    at = put_bytes(at, ITEM_PAYLOAD, item->payload);
    at = put_number(at, ITEM_CODEC, item->codec);
    at = put_number(at, ITEM_FIRST, item->first);
    (void)put_number(at, ITEM_COUNT, item->count);
    pp_buffer_commit(out, PP_FRAME_HEADER + item_size(size));
    return 0;
}

int pp_fast_write(struct pp_buffer *out, size_t limit, const struct pp_message *message)
{
    if (message->kind == PP_MESSAGE_CALL)
        return write_call(out, limit, message);
    if (message->kind == PP_MESSAGE_STREAM_ITEM)
        return write_stream_item(out, limit, message);
    return write_result(out, limit, message);
}
