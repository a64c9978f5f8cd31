/* frame.h - cuts a byte stream into frames.
 *
 * A frame is a 4-byte big-endian length, then that many bytes of body. Nothing
 * here touches a descriptor: bytes go in, bodies come out, so the pool, the
 * worker, the tests and the fuzzer all run the same code. Any thread, one at a time.
 */
#ifndef PP_WIRE_FRAME_H
#define PP_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum {
    PP_FRAME_MORE = 1, /* no whole body yet: feed more bytes */
    PP_FRAME_TOO_LONG, /* the peer broke the limit: drop it */
    PP_FRAME_EMPTY,    /* a frame without a body: drop the peer */
};

enum { PP_FRAME_HEADER = 4 };
/* "PY" as the first two bytes of a length is the Go project's other framing. */
#define PP_FRAME_LIMIT ((size_t)0x50590000 - 1)

struct pp_frame_reader;

/* Makes a reader that refuses bodies longer than `limit` (1 to PP_FRAME_LIMIT);
 * the caller frees it. */
int pp_frame_reader_new(size_t limit, struct pp_frame_reader **readerp);
struct pp_frame_reader *pp_frame_reader_free(struct pp_frame_reader *reader);

/* Copies `n` bytes in. On -ENOMEM, and on -EMSGSIZE (more than one longest frame
 * and 1 MiB would wait untaken), the reader is as it was before. */
int pp_frame_reader_feed(struct pp_frame_reader *reader, const void *bytes, size_t n);

/* Lends room for the next bytes (at least 4 KiB; as many as the announced body
 * still lacks, once its length passed the limit check, up to 1 MiB at a time), so
 * that recv(2) writes in place. Bodies lent before are then gone. */
int pp_frame_reader_space(struct pp_frame_reader *reader, uint8_t **spacep, size_t *np);
void pp_frame_reader_filled(struct pp_frame_reader *reader, size_t n);

/* Lends the next body, valid until the next feed, space or next on this reader.
 * 0, or one of the outcomes above; after TOO_LONG or EMPTY the reader stays
 * refused. */
int pp_frame_reader_next(struct pp_frame_reader *reader, const uint8_t **bodyp, size_t *np);

/* Whether bytes of an unfinished frame wait inside. */
int pp_frame_reader_partial(const struct pp_frame_reader *reader);

/* Whether pp_frame_reader_next has something to say other than PP_FRAME_MORE: a
 * whole frame waits inside, or the peer broke a rule. Nothing is taken. */
int pp_frame_reader_ready(const struct pp_frame_reader *reader);

/* Bytes that the unfinished frame at the front will have, its header too; 0: none has begun, or its
 * length is not there yet. */
size_t pp_frame_reader_needs(const struct pp_frame_reader *reader);

void pp_frame_header(uint8_t header[PP_FRAME_HEADER], uint32_t body);

#endif
