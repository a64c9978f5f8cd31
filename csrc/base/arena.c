/* arena.c - a chain of blocks that memory is cut from.
 *
 * The first block has ordinary size and stays for the next message; blocks added
 * for a message that needs more (doubling, or exactly as large as one big piece)
 * go at reset, so one huge message does not stay paid for.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

struct pp_arena_block {
    struct pp_arena_block *next;
    size_t size; /* bytes behind the header */
    size_t used;
    alignas(max_align_t) unsigned char bytes[];
};

enum {
    ORDINARY_BLOCK = 4096 - sizeof(struct pp_arena_block),
    LARGEST_STEP = 1 << 20,
};

void pp_arena_init(struct pp_arena *arena, size_t limit)
{
    *arena = (struct pp_arena){.limit = limit};
}

static void free_blocks(struct pp_arena_block *block)
{
    while (block != NULL) {
        struct pp_arena_block *next = block->next;

        free(block);
        block = next;
    }
}

void pp_arena_deinit(struct pp_arena *arena)
{
    free_blocks(arena->first);
    pp_arena_init(arena, arena->limit);
}

/* Links a block with room for `n` bytes behind the last one. */
static struct pp_arena_block *add_block(struct pp_arena *arena, size_t n)
{
    size_t size = ORDINARY_BLOCK;
    struct pp_arena_block *block;

    if (arena->last != NULL)
        size = arena->last->size > LARGEST_STEP / 2 ? LARGEST_STEP : arena->last->size * 2;
    if (size < n)
        size = n;
    block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->size = size;
    block->used = 0;
    if (arena->last == NULL)
        arena->first = block;
    else
        arena->last->next = block;
    arena->last = block;
    return block;
}

void *pp_arena_alloc(struct pp_arena *arena, size_t n)
{
    struct pp_arena_block *block = arena->last;
    void *bytes;

    if (n > arena->limit || n > SIZE_MAX / 2)
        return NULL;
    /* An empty piece still gets an address of its own. */
    n = n == 0 ? alignof(max_align_t)
               : (n + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (arena->limit - arena->used < n)
        return NULL;
    /* The first block is always an ordinary one: it is the one that stays. */
    if (block == NULL)
        block = add_block(arena, 0);
    if (block != NULL && block->size - block->used < n)
        block = add_block(arena, n);
    if (block == NULL)
        return NULL;
    bytes = block->bytes + block->used;
    block->used += n;
    arena->used += n;
    return bytes;
}

void pp_arena_reset(struct pp_arena *arena)
{
    if (arena->first != NULL) {
        free_blocks(arena->first->next);
        arena->first->next = NULL;
        arena->first->used = 0;
    }
    arena->last = arena->first;
    arena->used = 0;
}
