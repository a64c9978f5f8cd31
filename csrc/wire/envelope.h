/* envelope.h - what the files behind message.h share; nobody else includes it.
 *
 * A body goes open -> check -> unpack -> rules on its way in, and rules -> pack on
 * its way out. Call and Result, the two that every call needs, have a path of
 * their own (fast.c) that gives the same messages and the same bytes.
 */
#ifndef PP_WIRE_ENVELOPE_H
#define PP_WIRE_ENVELOPE_H

#include "wire/message.h"

/* Keeps the rule (a literal) for pp_message_why. */
void pp_message_keep_rule(const char *rule);

static inline int pp_message_bad(const char *rule)
{
    pp_message_keep_rule(rule);
    return PP_MESSAGE_BAD;
}

/* A part of a body, read from the front. */
struct pp_cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* Takes one varint in its shortest form; false when there is none. */
static inline bool pp_take_varint(struct pp_cursor *in, uint64_t *valuep)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;

        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *valuep = value;
            return (byte != 0 || shift == 0) && (shift < 63 || byte == 1);
        }
    }
    return false;
}

/* Takes a length and lends that many bytes. */
static inline bool pp_take_bytes(struct pp_cursor *in, struct pp_bytes *bytesp)
{
    uint64_t n;

    if (!pp_take_varint(in, &n) || n > (uint64_t)(in->end - in->at))
        return false;
    *bytesp = (struct pp_bytes){.data = in->at, .size = (size_t)n};
    in->at += n;
    return true;
}

/* Whether all bytes are valid utf-8 (no surrogate, nothing overlong) and none is NUL. */
bool pp_text_valid(const uint8_t *text, size_t n);

/* Takes the envelope off: which message it is, and the bytes of that. PP_MESSAGE_BAD. */
int pp_envelope_open(const uint8_t *body, size_t n, enum pp_message_kind *kindp,
                     struct pp_cursor *insidep);
/* Walks the message's bytes against its schema. PP_MESSAGE_BAD. */
int pp_envelope_check(enum pp_message_kind kind, struct pp_cursor inside);
/* Unpacks a checked body with protobuf-c. PP_MESSAGE_BAD, -ENOMEM. */
int pp_envelope_unpack(struct pp_arena *arena, const uint8_t *body, size_t n,
                       struct pp_message *messagep);
/* What the schema cannot say: ids, codecs, counts, the shape of a failure. PP_MESSAGE_BAD. */
int pp_message_rules(const struct pp_message *message);
/* Packs with protobuf-c; results as pp_message_write. */
int pp_envelope_pack(struct pp_buffer *out, struct pp_arena *arena, size_t limit,
                     const struct pp_message *message);

/* Makes room for a frame with a body of `size` bytes, writes its header and lends
 * the body. The frame counts only after pp_buffer_commit(PP_FRAME_HEADER + size). */
int pp_envelope_room(struct pp_buffer *out, size_t limit, size_t size, uint8_t **bodyp);

/* Reads a Call or Result whose fields come in their order; false for every other
 * body, also for bad ones: the long path then says what it is. */
bool pp_fast_read(struct pp_arena *arena, enum pp_message_kind kind, struct pp_cursor inside,
                  struct pp_message *messagep);
/* Writes a Call or Result; results as pp_message_write. */
int pp_fast_write(struct pp_buffer *out, size_t limit, const struct pp_message *message);

#endif
