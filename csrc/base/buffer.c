/* buffer.c - growing, consuming and shrinking a byte buffer.
 *
 * Bytes move to the front only when the room behind the last byte is too small,
 * and then only when for four bytes moved at least one was consumed; else the
 * buffer grows by doubling. So the cost of moving stays a constant per byte
 * however the buffer is fed and drained, and a buffer that was emptied starts
 * again at 0 without moving anything.
 */
#include "base/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

void pp_buffer_init(struct pp_buffer *buffer, size_t limit)
{
    *buffer = (struct pp_buffer){.limit = limit};
}

void pp_buffer_deinit(struct pp_buffer *buffer)
{
    free(buffer->data);
    pp_buffer_init(buffer, buffer->limit);
}

static void move_to_front(struct pp_buffer *buffer)
{
    size_t size = pp_buffer_size(buffer);

    if (size != 0)
        memmove(buffer->data, buffer->data + buffer->start, size);
    buffer->start = 0;
    buffer->end = size;
}

/* The capacity for `need` bytes: twice what there is, so that appending is cheap
 * on average. At its largest it has a quarter of room above the limit: when that
 * is used up, at least a quarter of the bytes in front are consumed ones, and
 * moving pays. */
static size_t next_capacity(const struct pp_buffer *buffer, size_t need)
{
    size_t largest = buffer->limit > SIZE_MAX / 2 ? SIZE_MAX : buffer->limit + buffer->limit / 4;
    size_t doubled = buffer->capacity > SIZE_MAX / 2 ? SIZE_MAX : buffer->capacity * 2;

    if (doubled > largest)
        doubled = largest;
    if (doubled < SMALLEST)
        doubled = SMALLEST;
    return doubled > need ? doubled : need;
}

/* Moves what is held into more memory; bytes consumed already are not copied. */
static int grow(struct pp_buffer *buffer, size_t need)
{
    size_t capacity = next_capacity(buffer, need);
    size_t size = pp_buffer_size(buffer);
    uint8_t *data;

    if (buffer->start == 0) {
        data = realloc(buffer->data, capacity);
        if (data == NULL)
            return -ENOMEM;
    } else {
        data = malloc(capacity);
        if (data == NULL)
            return -ENOMEM;
        if (buffer->data != NULL)
            memcpy(data, buffer->data + buffer->start, size);
        free(buffer->data);
    }
    buffer->data = data;
    buffer->start = 0;
    buffer->end = size;
    buffer->capacity = capacity;
    return 0;
}

int pp_buffer_reserve(struct pp_buffer *buffer, size_t n, uint8_t **spacep)
{
    size_t size = pp_buffer_size(buffer);

    if (n > buffer->limit - size)
        return -EMSGSIZE;
    if (n > buffer->capacity - buffer->end || buffer->data == NULL) {
        int r = 0;

        if (buffer->data != NULL && size + n <= buffer->capacity && buffer->start >= size / 4)
            move_to_front(buffer);
        else
            r = grow(buffer, size + n);
        if (r != 0)
            return r;
    }
    *spacep = buffer->data + buffer->end;
    return 0;
}

void pp_buffer_commit(struct pp_buffer *buffer, size_t n)
{
    buffer->end += n;
}

int pp_buffer_append(struct pp_buffer *buffer, const void *bytes, size_t n)
{
    uint8_t *space;
    int r;

    if (n == 0)
        return 0;
    r = pp_buffer_reserve(buffer, n, &space);
    if (r != 0)
        return r;
    memcpy(space, bytes, n);
    pp_buffer_commit(buffer, n);
    return 0;
}

void pp_buffer_consume(struct pp_buffer *buffer, size_t n)
{
    buffer->start += n;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

void pp_buffer_clear(struct pp_buffer *buffer, size_t keep)
{
    if (buffer->capacity > keep)
        pp_buffer_deinit(buffer);
    buffer->start = buffer->end = 0;
}
