/* test_check.c - hostile bodies, each with the rule it breaks, and what we refuse to send.
 *
 * Bodies are written out byte by byte: tag, length, value. 0x1a opens an envelope
 * with a Call, 0x22 a Result, 0x2a a Failure, 0x32 a ChunkPart, 0x42 a Log.
 */
#include "check.h"
#include "wire/envelope.h"

#include <errno.h>

enum { LIMIT = 1 << 24 };

/* Lends an arena that is enough by contract, and exactly `n` bytes for a sanitizer. */
static int read_copy(enum pp_sender sender, const void *body, size_t n)
{
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    struct pp_message message;
    struct pp_arena arena;
    int r;

    if (!CHECK(copy != NULL))
        return -ENOMEM;
    if (n != 0)
        memcpy(copy, body, n);
    pp_arena_init(&arena, pp_message_arena_limit(n));
    r = pp_message_read(&arena, sender, copy, n, &message);
    pp_arena_deinit(&arena);
    free(copy);
    return r;
}

struct bad_body {
    enum pp_sender sender;
    const char *body;
    size_t size;
    const char *why; /* part of the rule's words; NULL: the body is good */
};

#define HOST(literal, why)                              \
    {                                                   \
        PP_FROM_HOST, literal, sizeof(literal) - 1, why \
    }
#define WORKER(literal, why)                              \
    {                                                     \
        PP_FROM_WORKER, literal, sizeof(literal) - 1, why \
    }
#define ID "\x09\1\0\0\0\0\0\0\0"  /* 9 bytes: id 1 */
#define ID0 "\x09\0\0\0\0\0\0\0\0" /* 9 bytes: id 0, written out */
#define NAN_TIME "\x31\0\0\0\0\0\0\xf8\x7f"

/* clang-format off */
static const struct bad_body bad_bodies[] = {
    /* The envelope. */
    HOST("", "empty"),
    HOST("{\"id\":1}", "no message that is known"),
    HOST("\xf2\1\0", "no message that is known"),
    HOST("\x18\1", "no message that is known"),
    HOST("\x9a\0\0", "no message that is known"), /* a tag longer than it need be */
    HOST("\x5a\0\x5a\0", "more than one"),
    HOST("\x5a\1", "outside"),
    HOST("\x5a\x80\0", "outside"), /* a length longer than it need be */
    HOST("\x4a\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", "outside"),
    HOST("\x5a\0", NULL),
    /* Varints and tags. */
    HOST("\x4a\2\x08\x80", "varint"),
    HOST("\x4a\3\x08\x80\0", "varint"),
    HOST("\x4a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", NULL),
    HOST("\x4a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", "varint"),
    HOST("\x4a\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0", "varint"),
    HOST("\x4a\1\x88", "tag"),
    HOST("\x4a\7\xff\xff\xff\xff\xff\1\0", "tag"),
    HOST("\x4a\2\0\0", "unknown"),
    HOST("\x4a\2\x10\0", "unknown"),
    HOST("\x4a\1\x0b", "wire type"),
    HOST("\x4a\2\x0a\0", "wire type"),
    HOST("\x4a\4\x08\1\x08\1", "twice"),
    HOST("\x4a\2\x08\0", NULL),
    /* Call. */
    HOST("\x1a\x0b" ID "\x20\1", NULL),
    HOST("\x1a\x0b\x20\1" ID, NULL), /* any order */
    HOST("\x1a\x0b" ID0 "\x20\1", "call: the id is 0"),
    HOST("\x1a\2\x20\1", "call: the id is 0"),
    HOST("\x1a\x09" ID, "call: no codec"),
    HOST("\x1a\x0b" ID "\x20\4", "enum"),
    HOST("\x1a\x14" ID "\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "enum"),
    HOST("\x1a\x08\x09\1\0\0\0\0\0\0", "cut short"),
    HOST("\x1a\x14" ID ID "\x20\1", "twice"),
    HOST("\x1a\x10" ID "\x12\3a\0b\x20\1", "NUL"),
    HOST("\x1a\x0e" ID "\x12\1\xff\x20\1", "utf-8"),
    HOST("\x1a\x0e" ID "\x20\1\x2a\1\xc0", "utf-8"),
    HOST("\x1a\x0d" ID "\x12\5\x20\1", "outside"),
    HOST("\x1a\x0d" ID "\x20\1\x38\1", "more items than bytes"),
    HOST("\x1a\x0d" ID "\x20\1\x48\x11", "too many attachments"),
    HOST("\x1a\x10" ID "\x1a\1\x90\x20\1\x38\1", NULL),
    HOST("\x1a\x11" ID "\x20\1\x38\x80\x80\x80\x80\x10", "too large"),
    /* Result. */
    WORKER("\x22\x0b" ID "\x18\2", NULL),
    WORKER("\x22\x0b" ID0 "\x18\2", "result: the id is 0"),
    WORKER("\x22\x0b" ID "\x18\3", "no codec that a worker may use"),
    WORKER("\x22\x09" ID, "no codec that a worker may use"),
    WORKER("\x22\x11" ID "\x18\1\x28\x80\x80\x80\x80\x10", "too large"),
    WORKER("\x22\x11" ID "\x18\1\x30\x80\x80\x80\x80\x10", "too large"),
    WORKER("\x22\x0d" ID "\x18\1\x30\1", "more items than bytes"),
    WORKER("\x22\x16" ID "\x12\1\xc0\x18\1\x28\xff\xff\xff\xff\x0f\x30\1", "overflow"),
    /* ChunkPart. */
    WORKER("\x32\x0e" ID "\x18\1\x22\1\xc0", NULL),
    WORKER("\x32\x0c" ID "\x22\1\xc0", "without items"),
    WORKER("\x32\5\x18\1\x22\1\xc0", "chunk: the id is 0"),
    WORKER("\x32\x0e" ID "\x18\2\x22\1\xc0", "more items than bytes"),
    WORKER("\x32\x14" ID "\x10\xff\xff\xff\xff\x0f\x18\1\x22\1\xc0", "overflow"),
    /* Returned. */
    WORKER("\x3a\0", "returned: the id is 0"),
    WORKER("\x3a\x09" ID, NULL),
    /* Failure: 0x1a opens a node, 0x08 is its relation, 0x10 its parent. */
    WORKER("\x2a\x0d" ID "\x10\1\x1a\0", NULL),
    WORKER("\x2a\x0b" ID "\x10\1", "number of nodes"),
    WORKER("\x2a\x0b" ID "\x1a\0", "failure: no kind"),
    WORKER("\x2a\x0d" ID "\x10\6\x1a\0", "does not fit the kind"),
    WORKER("\x2a\4\x10\1\x1a\0", "does not fit the kind"),
    WORKER("\x2a\4\x10\6\x1a\0", NULL),
    WORKER("\x2a\x0f" ID "\x10\1\x1a\2\x08\1", "first node is not the root"),
    WORKER("\x2a\x0f" ID "\x10\1\x1a\2\x10\7", NULL), /* the root's parent is ignored */
    WORKER("\x2a\x0f" ID "\x10\1\x1a\0\x1a\0", "no relation"),
    WORKER("\x2a\x11" ID "\x10\1\x1a\0\x1a\2\x08\1", NULL),
    WORKER("\x2a\x11" ID "\x10\1\x1a\0\x1a\2\x08\4", "enum"),
    WORKER("\x2a\x13" ID "\x10\1\x1a\0\x1a\4\x08\1\x10\1", "not before it"),
    WORKER("\x2a\x17" ID "\x10\1\x1a\0\x1a\x08\x08\1\x10\xff\xff\xff\xff\x0f", "not before it"),
    WORKER("\x2a\x0f" ID "\x10\1\x1a\2\x40\2", "too large"),
    WORKER("\x2a\x0f" ID "\x10\1\x1a\2\x52\0", "unknown"),
    /* MemoryRequest and MemoryGrant. */
    WORKER("\x82\1\x0b" ID "\x10\1", NULL),
    WORKER("\x82\1\x02\x10\1", "memory: the id is 0"),
    WORKER("\x82\1\x09" ID, "memory: the size is 0"),
    WORKER("\x82\1\x11" ID "\x10\1\x18\x80\x80\x80\x80\x10", "too large"),
    HOST("\x82\1\x0b" ID "\x10\1", "this end may not send"),
    HOST("\x8a\1\x0d" ID "\x10\1\x28\1", NULL),
    HOST("\x8a\1\x0d" ID "\x10\1\x28\2", "too large"),
    HOST("\x8a\1\x09" ID, "memory: the size is 0"),
    WORKER("\x8a\1\x0b" ID "\x10\1", "this end may not send"),
    /* Log. */
    WORKER("\x42\x09" NAN_TIME, "not finite"),
    WORKER("\x42\x09\x31\0\0\0\0\0\0\xf0\xff", "not finite"),
    WORKER("\x42\x0b\x18\x80\x80\x80\x80\xf8\xff\xff\xff\xff\1", NULL),
    WORKER("\x42\x0b\x18\xff\xff\xff\xff\xf7\xff\xff\xff\xff\1", "too large"),
    WORKER("\x42\6\x18\x80\x80\x80\x80\x08", "too large"),
    /* Hello: 0x10 is max_frame, 0x20 the target's kind. */
    HOST("\x0a\4\x10\1\x20\1", NULL),
    HOST("\x0a\2\x20\1", "max_frame"),
    HOST("\x0a\x08\x10\x80\x80\xe4\x82\5\x20\1", "max_frame"),
    HOST("\x0a\2\x10\1", "target kind"),
    HOST("\x0a\6\x10\1\x20\1\x3a\1", "outside"),
    HOST("\x0a\x08\x10\1\x20\1\x3a\2\x32\0", "unknown"),
    /* Streams: of a call 0x50 and 0x58 are the credit, 0x60 says shared. */
    HOST("\x1a\x0f" ID "\x20\1\x50\1\x58\1", NULL),
    HOST("\x1a\x0d" ID "\x20\1\x50\1", "half of a stream's credit"),
    HOST("\x1a\x0d" ID "\x20\1\x58\1", "half of a stream's credit"),
    HOST("\x1a\x11" ID "\x20\1\x50\1\x58\1\x60\1", "three things"),
    HOST("\x1a\x0d" ID "\x20\1\x60\2", "too large"),
    WORKER("\x62\x10" ID "\x12\1\xc0\x18\1\x28\1", NULL),
    WORKER("\x62\x10" ID0 "\x12\1\xc0\x18\1\x28\1", "stream: the id is 0"),
    WORKER("\x62\x10" ID "\x12\1\xc0\x18\3\x28\1", "no codec that a worker may use"),
    WORKER("\x62\x0e" ID "\x12\1\xc0\x18\1", "without items"),
    WORKER("\x62\x10" ID "\x12\1\xc0\x18\1\x28\2", "more items than bytes"),
    WORKER("\x62\x1b" ID "\x12\1\xc0\x18\1\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x28\1",
           "overflow"),
    HOST("\x6a\0", "the id is 0"),
    WORKER("\x72\0", "the id is 0"),
    HOST("\x9a\1\0", "the id is 0"),
    WORKER("\x92\1\2\x18\1", NULL),
    WORKER("\x92\1\0", "event: of no kind"),
    WORKER("\x92\1\2\x18\2", "an enum has no such value"),
    HOST("\x92\1\2\x18\1", "this end may not send"),
    /* Progress: 0x19 is how much is done, 0x21 the total, 0x28 that there is one. */
    WORKER("\x7a\x09\x11\1\0\0\0\0\0\0\0", NULL),
    WORKER("\x7a\0", "progress: the call is 0"),
    WORKER("\x7a\x12\x11\1\0\0\0\0\0\0\0\x19\0\0\0\0\0\0\xf8\x7f", "not finite"),
    WORKER("\x7a\x12\x11\1\0\0\0\0\0\0\0\x19\0\0\0\0\0\0\xf0\xbf", "or negative"),
    WORKER("\x7a\x12\x11\1\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\xf0\x7f", "total is not finite"),
    WORKER("\x7a\x12\x11\1\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\xf0\x3f", "a total that is none"),
};

struct text {
    const char *bytes;
    size_t size;
    bool valid;
};

#define TEXT(literal, valid) {literal, sizeof(literal) - 1, valid}

static const struct text texts[] = {
    TEXT("", true), TEXT("a", true), TEXT("\x7f", true), TEXT("\0", false),
    TEXT("\xc2\x80", true), TEXT("\xdf\xbf", true), TEXT("\xe0\xa0\x80", true),
    TEXT("\xed\x9f\xbf", true), TEXT("\xee\x80\x80", true), TEXT("\xef\xbf\xbf", true),
    TEXT("\xf0\x90\x80\x80", true), TEXT("\xf4\x8f\xbf\xbf", true),
    TEXT("\x80", false), TEXT("\xbf", false), TEXT("\xc0\x80", false), TEXT("\xc1\xbf", false),
    TEXT("\xe0\x9f\xbf", false), TEXT("\xed\xa0\x80", false), TEXT("\xed\xbf\xbf", false),
    TEXT("\xf0\x8f\xbf\xbf", false), TEXT("\xf4\x90\x80\x80", false),
    TEXT("\xf5\x80\x80\x80", false), TEXT("\xff", false), TEXT("\xfe", false),
    TEXT("\xc2", false), TEXT("\xe2\x82", false), TEXT("\xf0\x9f\x93", false),
    TEXT("\xc2\xc2", false), TEXT("\xe2\x82\x41", false), TEXT("\xf0\x9f\x93\xc0", false),
    TEXT("\xe2\x28\xa1", false), TEXT("\xf0\x28\x8c\xbc", false),
};
/* clang-format on */

static void each_hostile_body_is_bad_for_its_own_reason(void)
{
    for (size_t i = 0; i < sizeof bad_bodies / sizeof bad_bodies[0]; i++) {
        const struct bad_body *bad = &bad_bodies[i];
        int r = read_copy(bad->sender, bad->body, bad->size);

        CHECK_EQ(r, bad->why == NULL ? 0 : PP_MESSAGE_BAD);
        if (r != (bad->why == NULL ? 0 : PP_MESSAGE_BAD) ||
            (r != 0 && !CHECK(strstr(pp_message_why(), bad->why) != NULL)))
            (void)fprintf(stderr, "    body %zu: want '%s', have '%s'\n", i,
                          bad->why == NULL ? "good" : bad->why, pp_message_why());
    }
}

/* At every place relative to the eight bytes that are looked at together. */
static void text_is_what_unicode_says_at_every_alignment(void)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (size_t before = 0; before < 20; before++)
            for (size_t after = 0; after < 20; after++) {
                size_t n = before + texts[i].size + after;
                uint8_t *text = malloc(n + 1);

                if (!CHECK(text != NULL))
                    return;
                memset(text, 'x', n + 1);
                memcpy(text + before, texts[i].bytes, texts[i].size);
                CHECK_EQ(pp_text_valid(text, n), texts[i].valid);
                free(text);
            }
}

/* An envelope (tag `kind`) around `head` and then `n` times `part`. */
static int read_many(enum pp_sender sender, uint8_t kind, struct pp_bytes head, const char *part,
                     size_t n)
{
    size_t part_size = strlen(part) + 1; /* the parts end with a length of 0: their own NUL */
    size_t inside = head.size + n * part_size;
    uint8_t *body = malloc(inside + 4);
    int r;

    if (!CHECK(body != NULL && inside >= 1 << 14 && inside < 1 << 21))
        return -ENOMEM;
    body[0] = kind;
    body[1] = (uint8_t)(inside | 0x80);
    body[2] = (uint8_t)(inside >> 7 | 0x80);
    body[3] = (uint8_t)(inside >> 14);
    memcpy(body + 4, head.data, head.size);
    for (size_t i = 0; i < n; i++)
        memcpy(body + 4 + head.size + i * part_size, part, part_size);
    r = read_copy(sender, body, inside + 4);
    free(body);
    return r;
}

/* The dearest small fields there are fit into the arena that message.h names. */
static void many_tiny_fields_cost_what_is_promised_and_no_more_are_taken(void)
{
    static const uint8_t hello[] = {0x10, 1, 0x20, 1};
    static const uint8_t call[] = {9, 1, 0, 0, 0, 0, 0, 0, 0, 0x20, 1};
    static const uint8_t failure[] = {9, 1, 0, 0, 0, 0, 0, 0, 0, 0x10, 1};
    const struct pp_bytes nothing = {hello, 0};
    const struct pp_bytes hello_head = {hello, sizeof hello};
    const struct pp_bytes call_head = {call, sizeof call};
    const struct pp_bytes failure_head = {failure, sizeof failure};
    enum { MOST = PP_MESSAGE_FIELDS_MAX };

    CHECK_EQ(read_many(PP_FROM_WORKER, 0x12, nothing, "\x2a", MOST - 1), 0);
    CHECK_EQ(read_many(PP_FROM_WORKER, 0x12, nothing, "\x2a", MOST), PP_MESSAGE_BAD);
    CHECK_EQ(read_many(PP_FROM_HOST, 0x0a, hello_head, "\x3a", MOST - 3), 0);
    CHECK_EQ(read_many(PP_FROM_HOST, 0x0a, hello_head, "\x42", MOST - 3), 0);
    CHECK_EQ(read_many(PP_FROM_HOST, 0x0a, hello_head, "\x42", MOST - 2), PP_MESSAGE_BAD);
    CHECK_EQ(read_many(PP_FROM_HOST, 0x1a, call_head, "\x2a", MOST - 3), 0);
    CHECK_EQ(read_many(PP_FROM_HOST, 0x1a, call_head, "\x2a", MOST - 2), PP_MESSAGE_BAD);
    CHECK(strcmp(pp_message_why(), "a message has too many fields") == 0);
    CHECK_EQ(read_many(PP_FROM_WORKER, 0x2a, failure_head, "\x1a", MOST / 2), PP_MESSAGE_BAD);
    CHECK(strcmp(pp_message_why(), "failure: too many nodes") == 0);
}

static void refused(const struct pp_message *message, const char *why)
{
    struct pp_arena arena;
    struct pp_buffer out;

    pp_arena_init(&arena, LIMIT);
    pp_buffer_init(&out, LIMIT);
    CHECK_EQ(pp_message_write(&out, &arena, LIMIT, message), -EINVAL);
    CHECK_EQ(pp_buffer_size(&out), 0);
    if (!CHECK(strstr(pp_message_why(), why) != NULL))
        (void)fprintf(stderr, "    want '%s', have '%s'\n", why, pp_message_why());
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&out);
}

static void what_the_other_end_would_refuse_is_not_sent(void)
{
    static struct pp_bytes many[PP_MESSAGE_FIELDS_MAX];
    static const struct pp_bytes nul = {(const uint8_t *)"a\0b", 3};
    static const struct pp_bytes latin = {(const uint8_t *)"caf\xe9", 4};
    static const struct pp_failure_node root = {.message = {(const uint8_t *)"\xff", 1}};
    static const struct pp_failure_node looping[2] = {
        {.parent = 0},
        {.relation = PP_RELATION_CAUSE, .parent = 1},
    };
    const struct pp_message_call call = {.id = 1, .codec = PP_CODEC_MSGPACK};
    struct pp_message message = {PP_MESSAGE_NONE, {.nonce = 0}};

    refused(&message, "no kind");
    message = (struct pp_message){PP_MESSAGE_CALL, {.call = call}};
    message.call.id = 0;
    refused(&message, "the id is 0");
    message.call = call;
    message.call.function = latin;
    refused(&message, "not text");
    message.call = call;
    message.call.keywords = &nul;
    message.call.n_keywords = 1;
    refused(&message, "not text");
    message.call.keywords = many;
    message.call.n_keywords = PP_MESSAGE_FIELDS_MAX;
    refused(&message, "too many");
    message = (struct pp_message){PP_MESSAGE_RESULT, {.result = {.id = 1, .codec = 3}}};
    refused(&message, "no codec that a worker may use");
    message = (struct pp_message){PP_MESSAGE_LOG, {.log = {.message = nul}}};
    refused(&message, "NUL");
    message = (struct pp_message){PP_MESSAGE_FAILURE,
                                  {.failure = {.id = 1, .kind = 1, .nodes = &root, .n_nodes = 1}}};
    refused(&message, "utf-8");
    message.failure.nodes = looping;
    message.failure.n_nodes = 2;
    refused(&message, "not before it");
    message.failure.n_nodes = 0;
    refused(&message, "number of nodes");
}

PP_TESTS(PP_TEST(each_hostile_body_is_bad_for_its_own_reason),
         PP_TEST(text_is_what_unicode_says_at_every_alignment),
         PP_TEST(many_tiny_fields_cost_what_is_promised_and_no_more_are_taken),
         PP_TEST(what_the_other_end_would_refuse_is_not_sent))
