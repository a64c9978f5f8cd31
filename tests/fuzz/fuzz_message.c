/* fuzz_message.c - a body from a hostile end, and what is written from what was read.
 *
 * Input: a byte for the sender (its lowest two bits), then the body. Promised here: the
 * check leaves nothing for protobuf-c to refuse, the arena of the contract is
 * enough, the fast and the long path agree, and reading, writing and reading again
 * changes nothing.
 */
#include "wire/envelope.h"
#include "wire/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

enum { LIMIT = 1 << 20 };

/* The long path alone, for whatever kind. */
static int read_long(struct pp_arena *arena, const uint8_t *body, size_t n,
                     struct pp_message *messagep)
{
    enum pp_message_kind kind;
    struct pp_cursor inside;
    int r = pp_envelope_open(body, n, &kind, &inside);

    if (r == 0)
        r = pp_envelope_check(kind, inside);
    if (r == 0)
        r = pp_envelope_unpack(arena, body, n, messagep);
    return r == 0 ? pp_message_rules(messagep) : r;
}

static void same(const struct pp_buffer *one, const struct pp_buffer *other)
{
    REQUIRE(pp_buffer_size(one) == pp_buffer_size(other));
    REQUIRE(memcmp(pp_buffer_bytes(one), pp_buffer_bytes(other), pp_buffer_size(one)) == 0);
}

/* Writes the message that was read, by all ways there are, and reads it again. */
static void write_and_read(enum pp_sender sender, const struct pp_message *message)
{
    struct pp_buffer once;
    struct pp_buffer twice;
    struct pp_arena arena;
    struct pp_message again;

    pp_buffer_init(&once, LIMIT);
    pp_buffer_init(&twice, LIMIT);
    pp_arena_init(&arena, SIZE_MAX);
    REQUIRE(pp_message_write(&once, &arena, LIMIT, message) == 0);
    REQUIRE(pp_envelope_pack(&twice, &arena, LIMIT, message) == 0);
    same(&once, &twice);
    pp_buffer_clear(&twice, LIMIT);
    REQUIRE(pp_message_read(&arena, sender, pp_buffer_bytes(&once) + PP_FRAME_HEADER,
                            pp_buffer_size(&once) - PP_FRAME_HEADER, &again) == 0);
    REQUIRE(pp_message_write(&twice, &arena, LIMIT, &again) == 0);
    same(&once, &twice);
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&once);
    pp_buffer_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum pp_sender sender;
    struct pp_message message;
    struct pp_message slow;
    struct pp_arena arena;
    uint8_t *body;
    size_t n;
    int r;

    if (size < 1)
        return 0;
    sender = (enum pp_sender)(PP_FROM_HOST + data[0] % 4);
    n = size - 1;
    body = malloc(n == 0 ? 1 : n); /* exactly: a byte too far is seen */
    REQUIRE(body != NULL);
    memcpy(body, data + 1, n);
    pp_arena_init(&arena, pp_message_arena_limit(n));
    r = pp_message_read(&arena, sender, body, n, &message);
    REQUIRE(r == 0 || r == PP_MESSAGE_BAD);
    if (r == 0)
        write_and_read(sender, &message);
    else
        REQUIRE(strcmp(pp_message_why(), "protobuf-c refuses it") != 0);
    pp_arena_reset(&arena);
    /* The long path does not ask who sent it. */
    if (r == 0 || strcmp(pp_message_why(), "this end may not send that message") != 0)
        REQUIRE(read_long(&arena, body, n, &slow) == r);
    if (r == 0)
        write_and_read(sender, &slow);
    pp_arena_deinit(&arena);
    free(body);
    return 0;
}
