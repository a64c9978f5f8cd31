/* fuzz_frame.c - the frame reader against the plainest reader there is.
 *
 * Input: a byte for the limit, two for how the stream is cut, then the stream. It
 * is given in pieces, some by feed and some by space/filled, with bodies taken
 * early or late; what comes out must be what a walk over the whole stream finds.
 */
#include "wire/frame.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

/* The plain reader: a stream that is all there. */
struct plain {
    const uint8_t *bytes;
    size_t size;
    size_t limit;
    size_t at;
};

/* The next body, or the outcome that pp_frame_reader_next must have when all bytes came. */
static int plain_next(struct plain *plain, const uint8_t **bodyp, size_t *np)
{
    const uint8_t *head = plain->bytes + plain->at;
    size_t left = plain->size - plain->at;
    size_t length = 0;

    if (left < PP_FRAME_HEADER)
        return PP_FRAME_MORE;
    for (size_t i = 0; i < PP_FRAME_HEADER; i++)
        length = length * 256 + head[i];
    if (length == 0)
        return PP_FRAME_EMPTY;
    if (length > plain->limit)
        return PP_FRAME_TOO_LONG;
    if (left - PP_FRAME_HEADER < length)
        return PP_FRAME_MORE;
    *bodyp = head + PP_FRAME_HEADER;
    *np = length;
    plain->at += PP_FRAME_HEADER + length;
    return 0;
}

/* Takes one body and compares; false when there is none. */
static bool take(struct pp_frame_reader *reader, struct plain *plain)
{
    const uint8_t *body = NULL;
    const uint8_t *want = NULL;
    size_t n = 0;
    size_t want_n = 0;
    int ready = pp_frame_reader_ready(reader);
    int partial = pp_frame_reader_partial(reader);
    int r = pp_frame_reader_next(reader, &body, &n);

    REQUIRE(ready == (r != PP_FRAME_MORE));
    REQUIRE(!(partial && ready));
    if (r == PP_FRAME_MORE)
        return false;
    REQUIRE(r == plain_next(plain, &want, &want_n));
    if (r != 0)
        return false;
    REQUIRE(n == want_n && memcmp(body, want, n) == 0);
    return true;
}

/* Gives at most `n` bytes and answers how many went in. */
static size_t give(struct pp_frame_reader *reader, const uint8_t *bytes, size_t n, bool copy)
{
    uint8_t *space = NULL;
    size_t room = 0;

    if (copy) {
        REQUIRE(pp_frame_reader_feed(reader, bytes, n) == 0);
        return n;
    }
    REQUIRE(pp_frame_reader_space(reader, &space, &room) == 0);
    REQUIRE(room >= 4096 && room <= 1 << 20);
    n = n < room ? n : room;
    memcpy(space, bytes, n);
    memset(space + n, 0xee, room - n); /* lent, so it must be ours to write */
    pp_frame_reader_filled(reader, n);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pp_frame_reader *reader = NULL;
    struct plain plain = {.at = 0};
    const uint8_t *body = NULL;
    size_t sent = 0;
    uint32_t cut;
    size_t n = 0;
    int last;

    if (size < 4)
        return 0;
    plain.limit = (size_t)1 << data[0] % 20;
    cut = (uint32_t)(data[1] * 256 + data[2]);
    plain.bytes = data + 3;
    plain.size = size - 3;
    REQUIRE(pp_frame_reader_new(plain.limit, &reader) == 0);
    while (sent < plain.size) {
        size_t left = plain.size - sent;

        cut = cut * 1664525U + 1013904223U;
        n = cut >> 30 == 0 ? (cut >> 8) % 65536 : (cut >> 8) % 40;
        sent += give(reader, plain.bytes + sent, n < left ? n : left, (cut & 0x80) != 0);
        if ((cut & 0x40) == 0)
            (void)take(reader, &plain);
        else
            while (take(reader, &plain))
                continue;
    }
    while (take(reader, &plain))
        continue;
    last = pp_frame_reader_next(reader, &body, &n);
    REQUIRE(last == plain_next(&plain, &body, &n));
    REQUIRE(pp_frame_reader_partial(reader) == (last == PP_FRAME_MORE && plain.at < plain.size));
    pp_frame_reader_free(reader);
    return 0;
}
