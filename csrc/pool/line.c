/* line.c - the order in which those who wait get a worker.
 *
 * Each priority has a level, first come, first served. Between levels the one goes first that
 * came earlier, when each step of priority counts as some waiting (pp_line.step): so of two that
 * came together the higher one is always first, and one that has waited long enough is before
 * everybody who comes later, however high. What an order says of two never changes, so nothing
 * is ever sorted: a level's first is its best, and only the firsts are compared.
 */
#include "pool/pool.h"

#include "base/futex.h"

uint8_t pp_level_of(int priority)
{
    if (priority > PYPROC_PRIORITY_MAX)
        priority = PYPROC_PRIORITY_MAX;
    if (priority < PYPROC_PRIORITY_MIN)
        priority = PYPROC_PRIORITY_MIN;
    return (uint8_t)(PYPROC_PRIORITY_MAX - priority);
}

/* When it came, as if it had the highest priority. Steps too large for the clock: the level
 * alone decides. */
static int64_t rank(const struct pp_line *line, const struct pp_want *want)
{
    int64_t handicap;

    if (__builtin_mul_overflow(line->step, (int64_t)want->level, &handicap))
        return PP_NEVER;
    return pp_after(want->since, handicap);
}

bool pp_line_before(const struct pyproc_pool *pool, const struct pp_want *want,
                    const struct pp_want *other)
{
    int64_t mine = rank(&pool->line, want), its = rank(&pool->line, other);

    return mine != its ? mine < its : want->level < other->level;
}

static struct pp_want *first_of(const struct pp_line *line, unsigned level)
{
    return pp_container(line->levels[level].next, struct pp_want, link);
}

struct pp_want *pp_line_first(const struct pyproc_pool *pool)
{
    const struct pp_line *line = &pool->line;
    struct pp_want *best = NULL;

    for (unsigned word = 0; word < PP_LEVEL_WORDS; word++) {
        for (uint64_t used = line->used[word]; used; used &= used - 1) {
            unsigned level = word * 64 + (unsigned)__builtin_ctzll(used);
            struct pp_want *first = first_of(line, level);

            if (!best || pp_line_before(pool, first, best))
                best = first;
        }
    }
    return best;
}

static void into_level(struct pyproc_pool *pool, struct pp_want *want, bool again)
{
    struct pp_line *line = &pool->line;
    struct pp_list *level = &line->levels[want->level];
    uint64_t bit = UINT64_C(1) << (want->level % 64);

    if (!(line->used[want->level / 64] & bit)) {
        line->used[want->level / 64] |= bit;
        pp_list_init(level);
    }
    line->ranked |= want->level != PYPROC_PRIORITY_MAX;
    if (again)
        pp_list_push_front(level, &want->link);
    else
        pp_list_push_back(level, &want->link);
    pool->n_waiting++;
}

void pp_pool_wait_for_worker(struct pyproc_pool *pool, struct pp_want *want, bool again)
{
    if (!again)
        want->since = pp_now_coarse();
    if (want->kind == PP_WANT_CALL) {
        pool->n_waiting_calls++;
        pool->waiting_bytes += pp_container(want, struct pp_call, want)->size;
    }
    if (want->bond)
        pp_sticky_wait(pool, want, again);
    else
        into_level(pool, want, again);
}

static void out_of_level(struct pyproc_pool *pool, struct pp_want *want)
{
    pp_list_remove(&want->link);
    if (pp_list_empty(&pool->line.levels[want->level]))
        pool->line.used[want->level / 64] &= ~(UINT64_C(1) << (want->level % 64));
    pool->n_waiting--;
}

void pp_pool_unwait(struct pyproc_pool *pool, struct pp_want *want)
{
    if (want->bond)
        pp_sticky_unwait(pool, want);
    else
        out_of_level(pool, want);
    if (want->kind == PP_WANT_CALL) {
        pool->n_waiting_calls--;
        pool->waiting_bytes -= pp_container(want, struct pp_call, want)->size;
        if (pool->room_waiters)
            pp_futex_set(&pool->room, atomic_load(&pool->room) + 1);
    }
}

unsigned pp_line_count_thread(const struct pyproc_pool *pool, pthread_t thread)
{
    const struct pp_line *line = &pool->line;
    unsigned count = 0;

    for (unsigned level = 0; level < PP_LEVELS; level++) {
        const struct pp_list *at;

        if (!(line->used[level / 64] & (UINT64_C(1) << (level % 64))))
            continue;
        for (at = line->levels[level].next; at != &line->levels[level]; at = at->next) {
            const struct pp_want *want = pp_container(at, struct pp_want, link);

            count += want->kind == PP_WANT_THREAD &&
                     pthread_equal(pp_container(want, struct pp_waiter, want)->thread, thread);
        }
    }
    return count;
}
