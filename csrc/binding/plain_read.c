/* plain_read.c - headers, and the scan that walks them.
 *
 * The scan makes no value and does not recurse: what is open at the moment stands in a
 * small array, so depth is bounded by its size.
 */
#include "binding/plain_read.h"

#include "binding/plain.h"

#include <string.h>

/* From 0xc0 to 0xdf: the kind, and how many bytes of number follow the tag. */
static const struct {
    uint8_t kind, width;
} TAGS[32] = {
    {PP_KIND_NIL, 0},      {PP_KIND_NONE, 0},     {PP_KIND_FALSE, 0},    {PP_KIND_TRUE, 0},
    {PP_KIND_BIN, 1},      {PP_KIND_BIN, 2},      {PP_KIND_BIN, 4},      {PP_KIND_EXT, 1},
    {PP_KIND_EXT, 2},      {PP_KIND_EXT, 4},      {PP_KIND_FLOAT32, 4},  {PP_KIND_FLOAT64, 8},
    {PP_KIND_UNSIGNED, 1}, {PP_KIND_UNSIGNED, 2}, {PP_KIND_UNSIGNED, 4}, {PP_KIND_UNSIGNED, 8},
    {PP_KIND_SIGNED, 1},   {PP_KIND_SIGNED, 2},   {PP_KIND_SIGNED, 4},   {PP_KIND_SIGNED, 8},
    {PP_KIND_EXT, 0},      {PP_KIND_EXT, 0},      {PP_KIND_EXT, 0},      {PP_KIND_EXT, 0},
    {PP_KIND_EXT, 0},      {PP_KIND_STR, 1},      {PP_KIND_STR, 2},      {PP_KIND_STR, 4},
    {PP_KIND_ARRAY, 2},    {PP_KIND_ARRAY, 4},    {PP_KIND_MAP, 2},      {PP_KIND_MAP, 4},
};

static const char CUT[] = "a value is cut short";

static void fix_head(uint8_t tag, struct pp_plain_head *headp)
{
    headp->code = 0;
    if (tag <= 0x7f || tag >= 0xe0) {
        headp->kind = PP_KIND_SIGNED;
        headp->number = (uint64_t)(int64_t)(int8_t)tag;
    } else if (tag <= 0x8f) {
        headp->kind = PP_KIND_MAP;
        headp->number = tag & 0x0fU;
    } else if (tag <= 0x9f) {
        headp->kind = PP_KIND_ARRAY;
        headp->number = tag & 0x0fU;
    } else {
        headp->kind = PP_KIND_STR;
        headp->number = tag & 0x1fU;
    }
}

static uint64_t sign_extend(uint64_t value, size_t width)
{
    unsigned shift = width ? (unsigned)(64 - 8 * width) : 0;

    return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* What follows a header must be there: bytes for what has bytes, at least one byte
 * for each item. Items are counted over the whole value, so that nested headers cannot
 * claim the same bytes again and again. */
static const char *check_size(struct pp_plain_cursor *c, const struct pp_plain_head *head)
{
    uint64_t items = 0;

    if (head->kind == PP_KIND_ARRAY)
        items = head->number;
    else if (head->kind == PP_KIND_MAP)
        items = 2 * head->number; /* at most 2^33 */
    else if (head->kind == PP_KIND_STR || head->kind == PP_KIND_BIN || head->kind == PP_KIND_EXT)
        return head->number > (uint64_t)(c->end - c->at) ? CUT : NULL;
    if (items > (uint64_t)(c->end - c->at) || items > c->items)
        return CUT;
    c->items -= items;
    return NULL;
}

const char *pp_plain_read_head(struct pp_plain_cursor *c, struct pp_plain_head *headp)
{
    uint8_t tag;
    size_t width;
    uint64_t number = 0;

    if (c->at == c->end)
        return CUT;
    tag = *c->at++;
    if (tag < 0xc0 || tag > 0xdf) {
        fix_head(tag, headp);
        return check_size(c, headp);
    }
    headp->kind = (enum pp_plain_kind)TAGS[tag & 0x1f].kind;
    width = TAGS[tag & 0x1f].width;
    if (headp->kind == PP_KIND_NONE)
        return "a byte starts no value";
    if (width + (headp->kind == PP_KIND_EXT) > (size_t)(c->end - c->at))
        return CUT;
    for (size_t i = 0; i < width; i++)
        number = number << 8 | *c->at++;
    if (headp->kind == PP_KIND_SIGNED)
        number = sign_extend(number, width);
    if (headp->kind == PP_KIND_EXT) {
        headp->code = *c->at < 0x80 ? *c->at : *c->at - 0x100;
        c->at++;
        if (width == 0)
            number = (uint64_t)1 << (tag - 0xd4);
    }
    headp->number = number;
    return check_size(c, headp);
}

/* ---- the scan ---- */

struct scan {
    struct pp_plain_cursor c;
    unsigned flags;
    size_t depth;
    struct {
        uint64_t items;         /* still to come */
        const uint8_t *end;     /* where the extension around it ends; NULL: none */
    } open[PP_PLAIN_DEPTH + 1]; /* the first is the whole */
};

static const char *open_items(struct scan *s, uint64_t items, const uint8_t *end)
{
    if (s->depth >= PP_PLAIN_DEPTH)
        return "a value is nested too deep";
    s->depth++;
    s->open[s->depth].items = items;
    s->open[s->depth].end = end;
    return NULL;
}

static const char *scan_ext(struct scan *s, const struct pp_plain_head *ext)
{
    const uint8_t *end = s->c.at + ext->number;
    struct pp_plain_head head;
    const char *why;

    if (!(s->flags & PP_SCAN_RICH) || ext->code <= 0)
        return "an extension type where none may be";
    if (ext->code > PP_EXT_FAILURE) {
        s->c.at = end;
        return NULL;
    }
    if (ext->code == PP_EXT_FAILURE && (s->depth > 0 || !(s->flags & PP_SCAN_FAILURE)))
        return "a failure where none may be";
    why = pp_plain_read_head(&s->c, &head);
    if (why)
        return why;
    if (head.kind != PP_KIND_ARRAY)
        return "a container holds no array";
    return open_items(s, head.number, end);
}

static const char *scan_one(struct scan *s)
{
    struct pp_plain_head head;
    const char *why = pp_plain_read_head(&s->c, &head);

    if (why)
        return why;
    switch (head.kind) {
    case PP_KIND_STR:
    case PP_KIND_BIN:
        s->c.at += head.number;
        return NULL;
    case PP_KIND_ARRAY:
        return open_items(s, head.number, NULL);
    case PP_KIND_MAP:
        return open_items(s, 2 * head.number, NULL);
    case PP_KIND_EXT:
        return scan_ext(s, &head);
    default:
        return NULL;
    }
}

/* Closes what is complete. An extension must end where its header said. */
static const char *close_items(struct scan *s)
{
    while (s->depth > 0 && s->open[s->depth].items == 0) {
        if (s->open[s->depth].end && s->open[s->depth].end != s->c.at)
            return "a container does not end where it should";
        s->depth--;
    }
    return NULL;
}

const char *pp_plain_scan(const uint8_t *bytes, size_t n, size_t count, unsigned flags)
{
    struct scan s; /* not cleared as a whole: most of it is room that few values use */
    const char *why = NULL;

    s.c = (struct pp_plain_cursor){.at = bytes, .end = bytes + n, .items = n};
    s.flags = flags;
    s.depth = 0;
    s.open[0].items = count;
    while (!why && s.open[s.depth].items > 0) {
        s.open[s.depth].items--;
        why = scan_one(&s);
        if (!why)
            why = close_items(&s);
    }
    if (!why && s.c.at != s.c.end)
        why = "bytes are left behind the value";
    return why;
}
