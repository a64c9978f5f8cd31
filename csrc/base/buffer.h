/* buffer.h - a byte buffer that knows its maximum from birth.
 *
 * Bytes are appended at the end and consumed at the front. The owner is
 * whoever embeds it; one thread at a time.
 */
#ifndef PP_BASE_BUFFER_H
#define PP_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct pp_buffer {
    uint8_t *data;   /* owned; NULL until the first byte */
    size_t start;    /* the first byte not yet consumed */
    size_t end;      /* one past the last byte */
    size_t capacity; /* bytes allocated */
    size_t limit;    /* most bytes it may hold (end - start) */
};

/* Makes an empty buffer that never holds more than `limit` bytes (and never has
 * more than a quarter above that allocated). */
void pp_buffer_init(struct pp_buffer *buffer, size_t limit);
/* Frees the bytes; the buffer is as after init. */
void pp_buffer_deinit(struct pp_buffer *buffer);

/* Copies `n` bytes to the end. -EMSGSIZE over the limit, -ENOMEM; the buffer is
 * then as it was before. */
int pp_buffer_append(struct pp_buffer *buffer, const void *bytes, size_t n);

/* Makes room for `n` bytes after the end and lends it, valid until the next call.
 * The bytes count only after pp_buffer_commit. Errors as append. */
int pp_buffer_reserve(struct pp_buffer *buffer, size_t n, uint8_t **spacep);
/* Counts `n` bytes, at most those reserved, as held. */
void pp_buffer_commit(struct pp_buffer *buffer, size_t n);

/* Drops `n` bytes (at most those held) at the front. */
void pp_buffer_consume(struct pp_buffer *buffer, size_t n);
/* Empties it; frees the memory when more than `keep` bytes are allocated. */
void pp_buffer_clear(struct pp_buffer *buffer, size_t keep);

static inline const uint8_t *pp_buffer_bytes(const struct pp_buffer *buffer)
{
    return buffer->data == NULL ? NULL : buffer->data + buffer->start;
}

static inline size_t pp_buffer_size(const struct pp_buffer *buffer)
{
    return buffer->end - buffer->start;
}

#endif
