/* test_arena.c - pieces lent from an arena: apart, aligned, bounded, given back. */
#include "base/arena.h"
#include "check.h"

#include <stdalign.h>
#include <stdint.h>

/* With a sanitizer too, an allocation that cannot be had is NULL, not the end. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void pieces_are_aligned_and_do_not_overlap(void)
{
    enum { PIECES = 3000 };
    static unsigned char *pieces[PIECES];
    struct pp_arena arena;

    pp_arena_init(&arena, 1 << 24);
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = pp_arena_alloc(&arena, i % 300);
        if (!CHECK(pieces[i] != NULL) || !CHECK((uintptr_t)pieces[i] % alignof(max_align_t) == 0))
            return;
        memset(pieces[i], (int)(i % 251), i % 300);
    }
    for (size_t i = 0; i < PIECES; i++)
        for (size_t k = 0; k < i % 300; k++)
            if (!CHECK(pieces[i][k] == i % 251))
                return;
    pp_arena_deinit(&arena);
}

static void an_empty_piece_has_an_address_of_its_own(void)
{
    struct pp_arena arena;
    void *first;
    void *second;

    pp_arena_init(&arena, 100);
    first = pp_arena_alloc(&arena, 0);
    second = pp_arena_alloc(&arena, 0);
    CHECK(first != NULL && second != NULL && first != second);
    pp_arena_deinit(&arena);
}

static void the_limit_holds_until_the_reset(void)
{
    struct pp_arena arena;

    pp_arena_init(&arena, 1000);
    CHECK(pp_arena_alloc(&arena, 1001) == NULL);
    CHECK(pp_arena_alloc(&arena, SIZE_MAX) == NULL);
    CHECK(pp_arena_alloc(&arena, 900) != NULL);
    CHECK(pp_arena_alloc(&arena, 200) == NULL);
    CHECK(pp_arena_alloc(&arena, 80) != NULL);
    pp_arena_reset(&arena);
    CHECK_EQ(arena.used, 0);
    CHECK(pp_arena_alloc(&arena, 900) != NULL);
    pp_arena_deinit(&arena);
}

static void missing_memory_is_null_and_the_arena_goes_on(void)
{
    struct pp_arena arena;

    pp_arena_init(&arena, SIZE_MAX);
    CHECK(pp_arena_alloc(&arena, SIZE_MAX / 4) == NULL);
    CHECK(pp_arena_alloc(&arena, SIZE_MAX - 8) == NULL);
    CHECK(pp_arena_alloc(&arena, 100) != NULL);
    pp_arena_deinit(&arena);
}

static void a_reset_keeps_the_first_block_and_frees_the_others(void)
{
    struct pp_arena arena;
    void *first;

    pp_arena_init(&arena, 1 << 30);
    first = pp_arena_alloc(&arena, 64);
    CHECK(pp_arena_alloc(&arena, 1 << 22) != NULL);
    CHECK(pp_arena_alloc(&arena, 10000) != NULL);
    CHECK(arena.first != arena.last);
    pp_arena_reset(&arena);
    CHECK(arena.first != NULL && arena.first == arena.last);
    CHECK(pp_arena_alloc(&arena, 64) == first);
    pp_arena_deinit(&arena);
    CHECK(arena.first == NULL);
}

static void a_big_first_piece_does_not_become_the_block_that_stays(void)
{
    struct pp_arena arena;

    pp_arena_init(&arena, 1 << 30);
    CHECK(pp_arena_alloc(&arena, 1 << 22) != NULL);
    CHECK(arena.first != arena.last);
    pp_arena_reset(&arena);
    CHECK(pp_arena_alloc(&arena, 1000) != NULL);
    CHECK(arena.first == arena.last);
    pp_arena_deinit(&arena);
}

static void a_reset_of_an_unused_arena_is_fine(void)
{
    struct pp_arena arena;

    pp_arena_init(&arena, 10);
    pp_arena_reset(&arena);
    CHECK(arena.first == NULL);
    pp_arena_deinit(&arena);
}

PP_TESTS(PP_TEST(pieces_are_aligned_and_do_not_overlap),
         PP_TEST(an_empty_piece_has_an_address_of_its_own),
         PP_TEST(the_limit_holds_until_the_reset),
         PP_TEST(missing_memory_is_null_and_the_arena_goes_on),
         PP_TEST(a_reset_keeps_the_first_block_and_frees_the_others),
         PP_TEST(a_big_first_piece_does_not_become_the_block_that_stays),
         PP_TEST(a_reset_of_an_unused_arena_is_fine))
