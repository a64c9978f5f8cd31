/* plain_read.h - reads MessagePack one header at a time.
 *
 * Shared by the unpacker and the scanner, so that they cannot disagree. Whatever a
 * header claims is held against the bytes that are left.
 */
#ifndef PP_BINDING_PLAIN_READ_H
#define PP_BINDING_PLAIN_READ_H

#include <stdint.h>

enum pp_plain_kind {
    PP_KIND_NONE,
    PP_KIND_NIL,
    PP_KIND_FALSE,
    PP_KIND_TRUE,
    PP_KIND_UNSIGNED,
    PP_KIND_SIGNED,
    PP_KIND_FLOAT32,
    PP_KIND_FLOAT64,
    PP_KIND_STR,
    PP_KIND_BIN,
    PP_KIND_ARRAY,
    PP_KIND_MAP,
    PP_KIND_EXT,
};

struct pp_plain_head {
    enum pp_plain_kind kind;
    uint64_t number; /* value of a number; bytes or items that follow */
    int code;        /* of an extension */
};

struct pp_plain_cursor {
    const uint8_t *at, *end;
    uint64_t items; /* how many more items headers may claim: each needs a byte of its own */
};

/* Reads one header; the cursor is then at what follows it: `number` bytes of a str,
 * bin or ext, all there. NULL, or what is wrong: a fixed sentence. */
const char *pp_plain_read_head(struct pp_plain_cursor *c, struct pp_plain_head *headp);

#endif
