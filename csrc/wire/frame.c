/* frame.c - the reader of length-prefixed frames.
 *
 * One buffer holds what came and was not taken. A body is lent where it lies, so
 * that between recv(2) and the message check nothing is copied; what was lent is
 * gone from the buffer already, but its bytes stay put until the next call that
 * may write. Memory follows the traffic: it grows to an announced body once its
 * length has passed the limit, and goes back when the big frame has been taken.
 */
#include "wire/frame.h"

#include "base/buffer.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>

enum {
    SPACE_LEAST = 4096,
    SPACE_MOST = 1 << 20,
    KEPT = 64 * 1024, /* capacity that an idle reader may keep */
};

struct pp_frame_reader {
    struct pp_buffer buffer;
    size_t limit;
    int refused; /* PP_FRAME_TOO_LONG or PP_FRAME_EMPTY, once the peer broke a rule */
};

int pp_frame_reader_new(size_t limit, struct pp_frame_reader **readerp)
{
    struct pp_frame_reader *reader;

    if (limit == 0 || limit > PP_FRAME_LIMIT)
        return pp_fail(-EINVAL, "make a frame reader for bodies of %zu bytes", limit);
    reader = malloc(sizeof *reader);
    if (reader == NULL)
        return pp_fail(-ENOMEM, "make a frame reader");
    reader->limit = limit;
    reader->refused = 0;
    /* One frame, and what one read may bring after it. */
    pp_buffer_init(&reader->buffer, PP_FRAME_HEADER + limit + SPACE_MOST);
    *readerp = reader;
    return 0;
}

struct pp_frame_reader *pp_frame_reader_free(struct pp_frame_reader *reader)
{
    if (reader != NULL) {
        pp_buffer_deinit(&reader->buffer);
        free(reader);
    }
    return NULL;
}

/* What lies at the front: 0 and the body's length, or an outcome. */
static int look(const struct pp_frame_reader *reader, size_t *lengthp)
{
    const uint8_t *bytes = pp_buffer_bytes(&reader->buffer);
    size_t held = pp_buffer_size(&reader->buffer);
    size_t length;

    if (reader->refused != 0)
        return reader->refused;
    if (bytes == NULL || held < PP_FRAME_HEADER)
        return PP_FRAME_MORE;
    length = (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    if (length == 0)
        return PP_FRAME_EMPTY;
    if (length > reader->limit)
        return PP_FRAME_TOO_LONG;
    *lengthp = length; /* also with MORE: it is what is waited for */
    return held - PP_FRAME_HEADER < length ? PP_FRAME_MORE : 0;
}

/* Gives the memory of an earlier big frame back when `n` more bytes fit in little. */
static void shrink(struct pp_frame_reader *reader, size_t n)
{
    struct pp_buffer *buffer = &reader->buffer;
    size_t held = pp_buffer_size(buffer);
    struct pp_buffer small;

    if (buffer->capacity <= KEPT || n > KEPT || held + n > KEPT)
        return;
    pp_buffer_init(&small, buffer->limit);
    if (held != 0 && pp_buffer_append(&small, pp_buffer_bytes(buffer), held) != 0)
        return; /* no memory for less memory: it stays as it is */
    pp_buffer_deinit(buffer);
    *buffer = small;
}

int pp_frame_reader_feed(struct pp_frame_reader *reader, const void *bytes, size_t n)
{
    int r;

    if (reader->refused != 0)
        return 0; /* nobody will read them */
    shrink(reader, n);
    r = pp_buffer_append(&reader->buffer, bytes, n);
    return r == 0 ? 0 : pp_fail(r, "hold %zu more bytes of a peer", n);
}

int pp_frame_reader_space(struct pp_frame_reader *reader, uint8_t **spacep, size_t *np)
{
    struct pp_buffer *buffer = &reader->buffer;
    size_t want = SPACE_LEAST;
    size_t length = 0;
    size_t room;
    int r;

    if (look(reader, &length) == PP_FRAME_MORE && length != 0)
        want = PP_FRAME_HEADER + length - pp_buffer_size(buffer);
    if (want < SPACE_LEAST)
        want = SPACE_LEAST;
    shrink(reader, want);
    r = pp_buffer_reserve(buffer, want, spacep);
    if (r != 0)
        return pp_fail(r, "make room for %zu bytes of a peer", want);
    /* All there is behind the last byte, so that one read may bring many frames. */
    room = buffer->capacity - buffer->end;
    if (room > buffer->limit - pp_buffer_size(buffer))
        room = buffer->limit - pp_buffer_size(buffer);
    *np = room > SPACE_MOST ? SPACE_MOST : room;
    return 0;
}

void pp_frame_reader_filled(struct pp_frame_reader *reader, size_t n)
{
    pp_buffer_commit(&reader->buffer, n);
}

int pp_frame_reader_next(struct pp_frame_reader *reader, const uint8_t **bodyp, size_t *np)
{
    size_t length = 0;
    int r = look(reader, &length);

    if (r == PP_FRAME_MORE)
        return r;
    if (r != 0) {
        reader->refused = r;
        pp_buffer_clear(&reader->buffer, 0);
        return r;
    }
    *bodyp = pp_buffer_bytes(&reader->buffer) + PP_FRAME_HEADER;
    *np = length;
    pp_buffer_consume(&reader->buffer, PP_FRAME_HEADER + length);
    return 0;
}

int pp_frame_reader_partial(const struct pp_frame_reader *reader)
{
    size_t length;

    return pp_buffer_size(&reader->buffer) != 0 && look(reader, &length) == PP_FRAME_MORE;
}

int pp_frame_reader_ready(const struct pp_frame_reader *reader)
{
    size_t length;

    return look(reader, &length) != PP_FRAME_MORE;
}

size_t pp_frame_reader_needs(const struct pp_frame_reader *reader)
{
    size_t length = 0;

    if (look(reader, &length) != PP_FRAME_MORE || length == 0)
        return 0;
    return PP_FRAME_HEADER + length;
}

void pp_frame_header(uint8_t header[PP_FRAME_HEADER], uint32_t body)
{
    header[0] = (uint8_t)(body >> 24);
    header[1] = (uint8_t)(body >> 16);
    header[2] = (uint8_t)(body >> 8);
    header[3] = (uint8_t)body;
}
