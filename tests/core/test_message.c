/* test_message.c - messages against the bytes of another protobuf, and bad ones.
 *
 * golden.h is protoc's own encoding. Each body is copied into memory of exactly
 * its size first, so that a sanitizer sees a single byte read too far.
 */
#include "check.h"
#include "golden/golden.h"
#include "golden/messages.h"
#include "wire/envelope.h"
#include "wire/frame.h"

#include <assert.h>
#include <errno.h>

enum { GOLDENS = sizeof goldens / sizeof goldens[0], LIMIT = 1 << 24 };

static_assert(GOLDENS == sizeof messages / sizeof messages[0], "a struct for every vector");

/* Who may send the message of this golden body. */
static enum pp_sender sender_of(enum pp_message_kind kind)
{
    bool client = kind == PP_MESSAGE_CLIENT_HELLO || kind == PP_MESSAGE_AUTHENTICATE ||
                  kind == PP_MESSAGE_CALL_OPTIONS || kind == PP_MESSAGE_REVOKE;
    bool host = kind == PP_MESSAGE_HELLO || kind == PP_MESSAGE_CALL || kind == PP_MESSAGE_GOODBYE ||
                kind == PP_MESSAGE_STREAM_CREDIT || kind == PP_MESSAGE_CANCEL ||
                kind == PP_MESSAGE_MEMORY_GRANT;

    if (kind >= PP_MESSAGE_CLIENT_HELLO)
        return client ? PP_FROM_CLIENT : PP_FROM_SERVER;
    return host ? PP_FROM_HOST : PP_FROM_WORKER;
}

/* Reads a copy of the body; writes what was read to `out` when that is not NULL. */
static int read_copy(enum pp_sender sender, const uint8_t *body, size_t n, struct pp_buffer *out)
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
    pp_arena_reset(&arena); /* reading must not have left the limit for nothing else */
    if (r == 0)
        r = pp_message_read(&arena, sender, copy, n, &message);
    if (r == 0 && out != NULL) {
        arena.limit = SIZE_MAX;
        CHECK_EQ(pp_message_write(out, &arena, LIMIT, &message), 0);
    }
    pp_arena_deinit(&arena);
    free(copy);
    return r;
}

static void check_frame(struct pp_buffer *out, const uint8_t *body, size_t n, const char *name)
{
    const uint8_t *frame = pp_buffer_bytes(out);
    uint8_t header[PP_FRAME_HEADER];

    pp_frame_header(header, (uint32_t)n);
    if (!CHECK_EQ(pp_buffer_size(out), PP_FRAME_HEADER + n) ||
        !CHECK_BYTES(frame, PP_FRAME_HEADER, header, PP_FRAME_HEADER) ||
        !CHECK_BYTES(frame + PP_FRAME_HEADER, n, body, n))
        (void)fprintf(stderr, "    in %s\n", name);
    pp_buffer_clear(out, LIMIT);
}

static void every_message_is_written_as_protoc_writes_it(void)
{
    struct pp_buffer out;
    struct pp_arena arena;

    pp_buffer_init(&out, LIMIT);
    pp_arena_init(&arena, LIMIT);
    for (size_t i = 0; i < GOLDENS; i++) {
        CHECK_EQ(pp_message_write(&out, &arena, LIMIT, &messages[i]), 0);
        check_frame(&out, goldens[i].body, goldens[i].size, goldens[i].name);
        CHECK_EQ(pp_envelope_pack(&out, &arena, LIMIT, &messages[i]), 0);
        check_frame(&out, goldens[i].body, goldens[i].size, goldens[i].name);
        pp_arena_reset(&arena);
    }
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&out);
}

/* With the test above: what was read is the struct, as its bytes are those of the struct. */
static void every_message_of_protoc_is_read_and_written_back(void)
{
    struct pp_buffer out;

    pp_buffer_init(&out, LIMIT);
    for (size_t i = 0; i < GOLDENS; i++) {
        CHECK_EQ(read_copy(sender_of(messages[i].kind), goldens[i].body, goldens[i].size, &out), 0);
        check_frame(&out, goldens[i].body, goldens[i].size, goldens[i].name);
    }
    pp_buffer_deinit(&out);
}

static void read_fields_are_lent_as_they_were_sent(void)
{
    struct pp_message message;
    struct pp_arena arena;

    pp_arena_init(&arena, LIMIT);
    CHECK_EQ(pp_message_read(&arena, PP_FROM_HOST, golden_call, sizeof golden_call, &message), 0);
    CHECK(message.kind == PP_MESSAGE_CALL && message.call.id == 0x0102030405060708);
    CHECK_BYTES(message.call.function.data, message.call.function.size, "extract", 7);
    CHECK_EQ(message.call.n_keywords, 3);
    CHECK_BYTES(message.call.keywords[0].data, message.call.keywords[0].size, "page", 4);
    CHECK_EQ(message.call.codec, PP_CODEC_RICH);
    /* The payload is not copied: it lies in the body. */
    CHECK(message.call.payload.data > golden_call &&
          message.call.payload.data < golden_call + sizeof golden_call);
    CHECK_EQ(
        pp_message_read(&arena, PP_FROM_WORKER, golden_failure, sizeof golden_failure, &message),
        0);
    CHECK_EQ(message.failure.nodes[2].parent, 1);
    CHECK_EQ(message.failure.nodes[1].relation, PP_RELATION_MEMBER);
    CHECK_BYTES(message.failure.path.data, message.failure.path.size, "argument 'page'", 15);
    CHECK_EQ(pp_message_read(&arena, PP_FROM_WORKER, golden_log, sizeof golden_log, &message), 0);
    CHECK(message.log.created == 1700000000.25 && message.log.level == -10);
    pp_arena_deinit(&arena);
}

/* Payloads on both sides of every size of a length, by both packers and both readers. */
static void both_ways_of_packing_agree_at_every_size_of_a_length(void)
{
    static const size_t edges[] = {0, 1, 110, 127, 128, 16383, 16384, 2097151, 2097152};
    static uint8_t payload[2097152];
    struct pp_buffer fast;
    struct pp_buffer slow;
    struct pp_arena arena;

    pp_buffer_init(&fast, LIMIT);
    pp_buffer_init(&slow, LIMIT);
    pp_arena_init(&arena, LIMIT);
    for (size_t i = 0; i < 2 * sizeof edges / sizeof edges[0]; i++) {
        struct pp_message call = {PP_MESSAGE_CALL, {.call = messages[4].call}};
        struct pp_message result = {PP_MESSAGE_RESULT, {.result = messages[7].result}};
        struct pp_message *message = i % 2 == 0 ? &call : &result;
        struct pp_bytes part = {payload, edges[i / 2]};

        call.call.payload = result.result.payload = part;
        call.call.items = result.result.count = (uint32_t)part.size;
        result.result.base = 7;
        CHECK_EQ(pp_message_write(&fast, &arena, LIMIT, message), 0);
        CHECK_EQ(pp_envelope_pack(&slow, &arena, LIMIT, message), 0);
        CHECK_BYTES(pp_buffer_bytes(&fast), pp_buffer_size(&fast), pp_buffer_bytes(&slow),
                    pp_buffer_size(&slow));
        CHECK_EQ(pp_envelope_unpack(&arena, pp_buffer_bytes(&fast) + PP_FRAME_HEADER,
                                    pp_buffer_size(&fast) - PP_FRAME_HEADER, message),
                 0);
        pp_buffer_clear(&slow, LIMIT);
        CHECK_EQ(pp_message_write(&slow, &arena, LIMIT, message), 0);
        CHECK_BYTES(pp_buffer_bytes(&fast), pp_buffer_size(&fast), pp_buffer_bytes(&slow),
                    pp_buffer_size(&slow));
        pp_buffer_clear(&fast, LIMIT);
        pp_buffer_clear(&slow, LIMIT);
        pp_arena_reset(&arena);
    }
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&fast);
    pp_buffer_deinit(&slow);
}

static void a_body_cut_at_any_byte_is_bad(void)
{
    for (size_t i = 0; i < GOLDENS; i++)
        for (size_t n = 0; n < goldens[i].size; n++)
            CHECK_EQ(read_copy(sender_of(messages[i].kind), goldens[i].body, n, NULL),
                     PP_MESSAGE_BAD);
}

static void a_body_with_any_byte_changed_is_bad_or_reads_and_writes_the_same_twice(void)
{
    struct pp_buffer once;
    struct pp_buffer twice;

    pp_buffer_init(&once, LIMIT);
    pp_buffer_init(&twice, LIMIT);
    for (size_t i = 0; i < GOLDENS; i++)
        for (size_t at = 0; at < goldens[i].size * 256; at++) {
            uint8_t body[512];
            int r;

            if (!CHECK(goldens[i].size <= sizeof body))
                return;
            memcpy(body, goldens[i].body, goldens[i].size);
            body[at / 256] = (uint8_t)at;
            r = read_copy(sender_of(messages[i].kind), body, goldens[i].size, &once);
            if (r != 0) {
                CHECK_EQ(r, PP_MESSAGE_BAD);
                continue;
            }
            CHECK_EQ(read_copy(sender_of(messages[i].kind), pp_buffer_bytes(&once) + 4,
                               pp_buffer_size(&once) - 4, &twice),
                     0);
            CHECK_BYTES(pp_buffer_bytes(&twice), pp_buffer_size(&twice), pp_buffer_bytes(&once),
                        pp_buffer_size(&once));
            pp_buffer_clear(&once, LIMIT);
            pp_buffer_clear(&twice, LIMIT);
        }
    pp_buffer_deinit(&once);
    pp_buffer_deinit(&twice);
}

static void a_message_from_the_wrong_end_is_bad(void)
{
    for (size_t i = 0; i < GOLDENS; i++) {
        enum pp_sender right = sender_of(messages[i].kind);
        enum pp_sender wrong = right == PP_FROM_HOST ? PP_FROM_WORKER : PP_FROM_HOST;
        bool either = messages[i].kind == PP_MESSAGE_PING || messages[i].kind == PP_MESSAGE_PONG ||
                      messages[i].kind == PP_MESSAGE_STREAM_END;

        CHECK_EQ(read_copy(wrong, goldens[i].body, goldens[i].size, NULL),
                 either ? 0 : PP_MESSAGE_BAD);
        CHECK(either || strcmp(pp_message_why(), "this end may not send that message") == 0);
    }
}

static void a_small_arena_is_missing_memory_and_never_a_bad_message(void)
{
    for (size_t i = 0; i < GOLDENS; i++)
        for (size_t limit = 0; limit < 3000; limit += 8) {
            struct pp_message message;
            struct pp_arena arena;
            int r;

            pp_arena_init(&arena, limit);
            r = pp_message_read(&arena, sender_of(messages[i].kind), goldens[i].body,
                                goldens[i].size, &message);
            CHECK(r == -ENOMEM || (r == 0 && message.kind == messages[i].kind));
            CHECK(r == 0 || limit < 2992); /* the last one is enough for all */
            pp_arena_deinit(&arena);
        }
}

static void calls_and_results_allocate_nothing_once_warm(void)
{
    struct pp_message message;
    struct pp_arena arena;
    struct pp_buffer out;
    size_t capacity = 0;

    pp_arena_init(&arena, LIMIT);
    pp_buffer_init(&out, LIMIT);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(pp_message_write(&out, &arena, LIMIT, &messages[4]), 0);
        CHECK_EQ(pp_message_read(&arena, PP_FROM_HOST, pp_buffer_bytes(&out) + PP_FRAME_HEADER,
                                 pp_buffer_size(&out) - PP_FRAME_HEADER, &message),
                 0);
        CHECK(arena.first == arena.last && arena.used <= 3 * sizeof(struct pp_bytes));
        CHECK(i == 0 || out.capacity == capacity);
        capacity = out.capacity;
        pp_buffer_consume(&out, pp_buffer_size(&out));
        pp_arena_reset(&arena);
    }
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&out);
}

static void written_frames_over_a_limit_leave_the_buffer_as_it_was(void)
{
    struct pp_arena arena;
    struct pp_buffer out;

    pp_arena_init(&arena, LIMIT);
    pp_buffer_init(&out, 1000);
    CHECK_EQ(pp_buffer_append(&out, "before", 6), 0);
    for (size_t i = 0; i < GOLDENS; i++)
        CHECK_EQ(pp_message_write(&out, &arena, goldens[i].size - 1, &messages[i]), -EMSGSIZE);
    out.limit = 6 + PP_FRAME_HEADER;
    for (size_t i = 0; i < GOLDENS; i++)
        CHECK_EQ(pp_message_write(&out, &arena, LIMIT, &messages[i]), -EMSGSIZE);
    CHECK_BYTES(pp_buffer_bytes(&out), pp_buffer_size(&out), "before", 6);
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&out);
}

PP_TESTS(PP_TEST(every_message_is_written_as_protoc_writes_it),
         PP_TEST(every_message_of_protoc_is_read_and_written_back),
         PP_TEST(read_fields_are_lent_as_they_were_sent),
         PP_TEST(both_ways_of_packing_agree_at_every_size_of_a_length),
         PP_TEST(a_body_cut_at_any_byte_is_bad),
         PP_TEST(a_body_with_any_byte_changed_is_bad_or_reads_and_writes_the_same_twice),
         PP_TEST(a_message_from_the_wrong_end_is_bad),
         PP_TEST(a_small_arena_is_missing_memory_and_never_a_bad_message),
         PP_TEST(calls_and_results_allocate_nothing_once_warm),
         PP_TEST(written_frames_over_a_limit_leave_the_buffer_as_it_was))
