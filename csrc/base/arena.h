/* arena.h - memory for the parts of one message, given back all at once.
 *
 * The first block is kept between messages, so the hot path allocates nothing.
 * The owner is whoever embeds it; one thread at a time.
 */
#ifndef PP_BASE_ARENA_H
#define PP_BASE_ARENA_H

#include <stddef.h>

struct pp_arena_block;

struct pp_arena {
    struct pp_arena_block *first; /* owned; kept by reset */
    struct pp_arena_block *last;  /* where the next bytes come from */
    size_t used;                  /* bytes handed out since the last reset */
    size_t limit;                 /* most bytes that may be handed out */
};

void pp_arena_init(struct pp_arena *arena, size_t limit);
void pp_arena_deinit(struct pp_arena *arena);
/* Lends `n` bytes aligned for any type, valid until reset; NULL over the limit or
 * when memory is out. */
void *pp_arena_alloc(struct pp_arena *arena, size_t n);
/* Takes everything back; one block of ordinary size is kept. */
void pp_arena_reset(struct pp_arena *arena);

#endif
