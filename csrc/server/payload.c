/* payload.c - arguments from a client, looked at before a worker is.
 *
 * One walk over the MessagePack: every length is held against what is there, text is utf-8, nothing
 * nests deeper than workers take, and the outermost array has as many items as the call says.
 * Nothing is made and nothing recurses: what is open stands in a small array.
 */
#include "server/server.h"

#include <string.h>

enum { DEPTH = 128 };

struct walk {
    const uint8_t *at, *end;
    uint64_t open[DEPTH]; /* items that each open array or map still lacks */
    size_t depth;
    uint64_t claimed; /* items that headers may still claim: each needs a byte of its own */
};

static const char CUT[] = "a value is cut short";

static bool take_size(struct walk *walk, size_t width, uint64_t *sizep)
{
    uint64_t size = 0;

    if ((size_t)(walk->end - walk->at) < width)
        return false;
    for (size_t i = 0; i < width; i++)
        size = size << 8 | *walk->at++;
    *sizep = size;
    return true;
}

static const char *skip(struct walk *walk, uint64_t n)
{
    if (n > (uint64_t)(walk->end - walk->at))
        return CUT;
    walk->at += n;
    return NULL;
}

/* Whether the bytes are utf-8 without surrogates and overlong forms. */
static bool is_text(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        unsigned more = *at < 0x80 ? 0 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
        uint32_t code = more == 0 ? *at : *at & (0x3fU >> more);
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

        if ((*at >= 0x80 && *at < 0xc2) || *at > 0xf4 || (size_t)(end - at) <= more)
            return false;
        for (unsigned i = 1; i <= more; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
            code = code << 6 | (at[i] & 0x3f);
        }
        if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            return false;
        at += more + 1;
    }
    return true;
}

static const char *take_text(struct walk *walk, uint64_t n)
{
    const uint8_t *from = walk->at;
    const char *wrong = skip(walk, n);

    return wrong ? wrong : is_text(from, walk->at) ? NULL : "a string is not utf-8";
}

static const char *open_items(struct walk *walk, uint64_t n)
{
    if (n > walk->claimed)
        return CUT;
    walk->claimed -= n;
    if (walk->depth == DEPTH)
        return "values nest too deeply";
    walk->open[walk->depth++] = n;
    return NULL;
}

static const char *take_extension(struct walk *walk, uint64_t n, bool is_rich)
{
    if (!is_rich)
        return "an extension type where none may be";
    return n == UINT64_MAX ? CUT : skip(walk, n + 1); /* its code is a byte more */
}

/* From 0xc4 on: a kind for each tag, and how wide its size is. */
static const char *take_tagged(struct walk *walk, uint8_t tag, bool is_rich)
{
    static const uint8_t numbers[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* 0xca to 0xd3 */
    uint64_t n = 0;

    if (tag >= 0xca && tag <= 0xd3)
        return skip(walk, numbers[tag - 0xca]);
    if (tag >= 0xd4 && tag <= 0xd8)
        return take_extension(walk, UINT64_C(1) << (tag - 0xd4), is_rich);
    if (tag >= 0xc4 && tag <= 0xc6)
        return take_size(walk, (size_t)1 << (tag - 0xc4), &n) ? skip(walk, n) : CUT;
    if (tag >= 0xc7 && tag <= 0xc9)
        return take_size(walk, (size_t)1 << (tag - 0xc7), &n) ? take_extension(walk, n, is_rich)
                                                              : CUT;
    if (tag >= 0xd9 && tag <= 0xdb)
        return take_size(walk, (size_t)1 << (tag - 0xd9), &n) ? take_text(walk, n) : CUT;
    if (tag == 0xdc || tag == 0xdd)
        return take_size(walk, tag == 0xdc ? 2 : 4, &n) ? open_items(walk, n) : CUT;
    if (tag == 0xde || tag == 0xdf)
        return take_size(walk, tag == 0xde ? 2 : 4, &n) ? open_items(walk, 2 * n) : CUT;
    return tag == 0xc1 ? "a tag that MessagePack does not have" : NULL; /* nil, false, true */
}

static const char *take_value(struct walk *walk, bool is_rich)
{
    uint8_t tag;

    if (walk->at == walk->end)
        return CUT;
    tag = *walk->at++;
    if (tag < 0x80 || tag >= 0xe0)
        return NULL;
    if (tag < 0x90)
        return open_items(walk, 2 * (uint64_t)(tag & 0x0fU));
    if (tag < 0xa0)
        return open_items(walk, tag & 0x0fU);
    if (tag < 0xc0)
        return take_text(walk, tag & 0x1fU);
    return take_tagged(walk, tag, is_rich);
}

static bool is_array(uint8_t tag)
{
    return (tag >= 0x90 && tag <= 0x9f) || tag == 0xdc || tag == 0xdd;
}

const char *pp_payload_check(const uint8_t *bytes, size_t n, bool is_rich, uint32_t items,
                             size_t keywords)
{
    struct walk walk = {.at = bytes, .end = bytes + n, .claimed = n};
    const char *wrong = n == 0 ? CUT : take_value(&walk, is_rich);

    if (wrong)
        return wrong;
    if (walk.depth != 1 || !is_array(bytes[0]))
        return "the arguments are no array";
    if (walk.open[0] < keywords)
        return "fewer values than keywords";
    if (items && walk.open[0] != items)
        return "the array does not have the items that were announced";
    while (walk.depth > 0) {
        if (walk.open[walk.depth - 1] == 0) {
            walk.depth--;
            continue;
        }
        walk.open[walk.depth - 1]--;
        wrong = take_value(&walk, is_rich);
        if (wrong)
            return wrong;
    }
    return walk.at == walk.end ? NULL : "bytes follow the arguments";
}
