/* test_buffer.c - the byte buffer against a plain array that does the same. */
#include "base/buffer.h"
#include "check.h"

#include <errno.h>

/* With a sanitizer too, an allocation that cannot be had is NULL, not the end. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void bytes_come_out_as_they_went_in(void)
{
    struct pp_buffer buffer;

    pp_buffer_init(&buffer, 100);
    CHECK_EQ(pp_buffer_append(&buffer, "hello ", 6), 0);
    CHECK_EQ(pp_buffer_append(&buffer, "world", 5), 0);
    CHECK_BYTES(pp_buffer_bytes(&buffer), pp_buffer_size(&buffer), "hello world", 11);
    pp_buffer_consume(&buffer, 6);
    CHECK_BYTES(pp_buffer_bytes(&buffer), pp_buffer_size(&buffer), "world", 5);
    pp_buffer_deinit(&buffer);
    CHECK_EQ(pp_buffer_size(&buffer), 0);
}

static void an_empty_buffer_allocates_nothing(void)
{
    struct pp_buffer buffer;

    pp_buffer_init(&buffer, 100);
    CHECK_EQ(pp_buffer_append(&buffer, NULL, 0), 0);
    CHECK(pp_buffer_bytes(&buffer) == NULL);
    CHECK_EQ(buffer.capacity, 0);
    pp_buffer_deinit(&buffer);
}

static void the_limit_holds_and_leaves_the_buffer_as_it_was(void)
{
    struct pp_buffer buffer;
    uint8_t *space;

    pp_buffer_init(&buffer, 10);
    CHECK_EQ(pp_buffer_append(&buffer, "0123456789", 10), 0);
    CHECK_EQ(pp_buffer_append(&buffer, "x", 1), -EMSGSIZE);
    CHECK_EQ(pp_buffer_reserve(&buffer, SIZE_MAX, &space), -EMSGSIZE);
    CHECK_BYTES(pp_buffer_bytes(&buffer), pp_buffer_size(&buffer), "0123456789", 10);
    pp_buffer_consume(&buffer, 1);
    CHECK_EQ(pp_buffer_append(&buffer, "x", 1), 0);
    CHECK_BYTES(pp_buffer_bytes(&buffer), pp_buffer_size(&buffer), "123456789x", 10);
    pp_buffer_deinit(&buffer);
}

static void missing_memory_leaves_the_buffer_as_it_was(void)
{
    struct pp_buffer buffer;
    uint8_t *space;

    pp_buffer_init(&buffer, SIZE_MAX);
    CHECK_EQ(pp_buffer_append(&buffer, "abc", 3), 0);
    CHECK_EQ(pp_buffer_reserve(&buffer, SIZE_MAX / 4, &space), -ENOMEM);
    pp_buffer_consume(&buffer, 1);
    CHECK_EQ(pp_buffer_reserve(&buffer, SIZE_MAX / 4, &space), -ENOMEM);
    CHECK_BYTES(pp_buffer_bytes(&buffer), pp_buffer_size(&buffer), "bc", 2);
    pp_buffer_deinit(&buffer);
}

static void reserved_bytes_count_only_when_committed(void)
{
    struct pp_buffer buffer;
    uint8_t *space;

    pp_buffer_init(&buffer, 100);
    CHECK_EQ(pp_buffer_reserve(&buffer, 50, &space), 0);
    CHECK_EQ(pp_buffer_size(&buffer), 0);
    memcpy(space, "abcdef", 6);
    pp_buffer_commit(&buffer, 6);
    CHECK_BYTES(pp_buffer_bytes(&buffer), pp_buffer_size(&buffer), "abcdef", 6);
    pp_buffer_deinit(&buffer);
}

static void clearing_keeps_little_memory_and_frees_much(void)
{
    struct pp_buffer buffer;
    uint8_t *space;

    pp_buffer_init(&buffer, 1 << 20);
    CHECK_EQ(pp_buffer_append(&buffer, "abc", 3), 0);
    pp_buffer_clear(&buffer, 4096);
    CHECK_EQ(pp_buffer_size(&buffer), 0);
    CHECK(buffer.capacity != 0);
    CHECK_EQ(pp_buffer_reserve(&buffer, 100000, &space), 0);
    pp_buffer_clear(&buffer, 4096);
    CHECK_EQ(buffer.capacity, 0);
    CHECK_EQ(pp_buffer_append(&buffer, "abc", 3), 0);
    pp_buffer_deinit(&buffer);
}

/* A small generator of our own: the same numbers in every run. */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Bytes are numbered, so that any loss, doubling or move shows. */
static void any_mix_of_appends_and_consumes_keeps_order_and_bounds(void)
{
    enum { LIMIT = 5000, ROUNDS = 20000 };
    struct pp_buffer buffer;
    uint8_t chunk[700];
    size_t written = 0;
    size_t read = 0;
    uint32_t state = 7;

    pp_buffer_init(&buffer, LIMIT);
    for (int i = 0; i < ROUNDS; i++) {
        size_t n = next_random(&state) % sizeof chunk;
        size_t held = written - read;

        for (size_t k = 0; k < n; k++)
            chunk[k] = (uint8_t)((written + k) % 251);
        if (pp_buffer_append(&buffer, chunk, n) == 0)
            written += n;
        else if (!CHECK(held + n > LIMIT))
            break;
        held = written - read;
        n = next_random(&state) % 700;
        n = n < held ? n : held;
        for (size_t k = 0; k < n; k++)
            if (!CHECK(pp_buffer_bytes(&buffer)[k] == (read + k) % 251))
                break;
        pp_buffer_consume(&buffer, n);
        read += n;
        if (!CHECK(pp_buffer_size(&buffer) == written - read) ||
            !CHECK(buffer.capacity <= LIMIT + LIMIT / 4))
            break;
    }
    CHECK(written > 1000000);
    pp_buffer_deinit(&buffer);
}

/* The worst case for a buffer that moves its bytes: full, one in, one out. */
static void a_full_buffer_fed_byte_by_byte_moves_seldom(void)
{
    enum { LIMIT = 1 << 16 };
    struct pp_buffer buffer;
    const uint8_t *before;
    uint8_t *space;
    unsigned moves = 0;

    pp_buffer_init(&buffer, LIMIT);
    CHECK_EQ(pp_buffer_reserve(&buffer, LIMIT, &space), 0);
    memset(space, 1, LIMIT);
    pp_buffer_commit(&buffer, LIMIT);
    for (int i = 0; i < 2 * LIMIT; i++) {
        pp_buffer_consume(&buffer, 1);
        before = pp_buffer_bytes(&buffer);
        if (!CHECK(pp_buffer_append(&buffer, "x", 1) == 0))
            break;
        moves += pp_buffer_bytes(&buffer) != before;
    }
    CHECK(moves <= 9);
    pp_buffer_deinit(&buffer);
}

PP_TESTS(PP_TEST(bytes_come_out_as_they_went_in), PP_TEST(an_empty_buffer_allocates_nothing),
         PP_TEST(the_limit_holds_and_leaves_the_buffer_as_it_was),
         PP_TEST(missing_memory_leaves_the_buffer_as_it_was),
         PP_TEST(reserved_bytes_count_only_when_committed),
         PP_TEST(clearing_keeps_little_memory_and_frees_much),
         PP_TEST(any_mix_of_appends_and_consumes_keeps_order_and_bounds),
         PP_TEST(a_full_buffer_fed_byte_by_byte_moves_seldom))
