/* sticky.c - calls with a key: all calls of one key go to one worker, one after the other.
 *
 *   bond (a key's first call) -> unplaced -> placed: in its worker's own line -> run
 *
 * A key is tied to an idle worker that has none yet; while more workers may be started its calls
 * wait for that one, else it goes where the fewest keys are. Its calls are given to the worker
 * one at a time, and only when it has nothing else. When the worker leaves or dies a key is tied to
 * another one, its waiting calls in their order; an actor's calls end, since what they are for is
 * gone. Who waits in the pool's line for longer goes before. Lock held throughout.
 */
#include "pool/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static size_t bucket(uint64_t key)
{
    return (size_t)((key ^ (key >> 32)) % PP_KEY_BUCKETS);
}

static struct pp_bond *find(const struct pp_sticky *sticky, uint64_t key)
{
    struct pp_bond *bond = sticky->buckets ? sticky->buckets[bucket(key)] : NULL;

    while (bond && bond->key != key)
        bond = bond->next;
    return bond;
}

static void bond_free(struct pyproc_pool *pool, struct pp_bond *bond)
{
    struct pp_bond **at = &pool->sticky.buckets[bucket(bond->key)];

    while (*at != bond)
        at = &(*at)->next;
    *at = bond->next;
    pp_list_remove(&bond->recent);
    pp_list_remove(&bond->mine);
    if (bond->actor)
        pool->sticky.n_actors--;
    else
        pool->sticky.n_keys--;
    if (bond->slot && bond->actor)
        bond->slot->n_actors--;
    if (bond->slot)
        bond->slot->n_bonds--;
    pyproc_reply_clear(&bond->why);
    free(bond);
}

/* The key that was used longest ago and has no calls makes room. */
static void forget_one(struct pyproc_pool *pool)
{
    struct pp_list *at;

    for (at = pool->sticky.recent.next; at != &pool->sticky.recent; at = at->next) {
        struct pp_bond *bond = pp_container(at, struct pp_bond, recent);

        if (bond->users == 0) {
            bond_free(pool, bond);
            return;
        }
    }
}

static struct pp_bond *bond_new(struct pyproc_pool *pool, uint64_t key, bool actor)
{
    struct pp_sticky *sticky = &pool->sticky;
    struct pp_bond *bond = calloc(1, sizeof *bond);

    if (bond && !sticky->buckets)
        sticky->buckets = calloc(PP_KEY_BUCKETS, sizeof(struct pp_bond *));
    if (!bond || !sticky->buckets) {
        free(bond);
        return NULL;
    }
    if (!actor && sticky->n_keys >= PP_KEYS_MAX)
        forget_one(pool);
    bond->key = key;
    bond->actor = actor;
    pp_list_init(&bond->recent);
    pp_list_init(&bond->mine);
    pp_reply_init(&bond->why);
    bond->next = sticky->buckets[bucket(key)];
    sticky->buckets[bucket(key)] = bond;
    if (actor)
        sticky->n_actors++;
    else
        sticky->n_keys++;
    return bond;
}

static void tie(struct pp_bond *bond, struct pp_slot *slot)
{
    bond->slot = slot;
    pp_list_push_back(&slot->bonds, &bond->mine);
    slot->n_bonds++;
    slot->n_actors += bond->actor;
}

static void untie(struct pp_bond *bond)
{
    struct pp_slot *slot = bond->slot;

    assert(slot != NULL); /* tied once, untied once */
    pp_list_remove(&bond->mine);
    slot->n_bonds--;
    slot->n_actors -= bond->actor;
    bond->slot = NULL;
}

void pp_sticky_init(struct pp_sticky *sticky)
{
    pp_list_init(&sticky->recent);
    pp_list_init(&sticky->unplaced);
}

void pp_sticky_deinit(struct pp_sticky *sticky)
{
    for (size_t i = 0; sticky->buckets && i < PP_KEY_BUCKETS; i++) {
        struct pp_bond *bond = sticky->buckets[i];

        while (bond) {
            struct pp_bond *next = bond->next;

            pyproc_reply_clear(&bond->why);
            free(bond);
            bond = next;
        }
    }
    free(sticky->buckets);
}

enum pyproc_end pp_sticky_bond(struct pyproc_pool *pool, const struct pyproc_request *request,
                               struct pp_want *want)
{
    struct pp_bond *bond = find(&pool->sticky, request->key);
    bool actor = request->key_use != PYPROC_KEY_ANY;

    if (!bond && request->key_use == PYPROC_KEY_ACTOR)
        return PYPROC_END_LOST;
    if (!bond && actor && pool->sticky.n_actors >= PP_ACTORS_MAX)
        return PYPROC_END_QUEUE_FULL;
    if (!bond)
        bond = bond_new(pool, request->key, actor);
    if (!bond)
        return PYPROC_END_TOO_LARGE;
    if (!bond->actor) {
        pp_list_remove(&bond->recent);
        pp_list_push_back(&pool->sticky.recent, &bond->recent);
    }
    bond->users++;
    want->bond = bond;
    return PYPROC_END_VALUE;
}

const char *pp_sticky_text(enum pyproc_end end)
{
    if (end == PYPROC_END_LOST)
        return "nothing is held under this key: it was closed";
    return end == PYPROC_END_QUEUE_FULL ? "there are as many actors as a pool may have (10000)"
                                        : "the host is out of memory for the request";
}

void pp_sticky_unbond(struct pyproc_pool *pool, struct pp_want *want)
{
    struct pp_bond *bond = want->bond;

    want->bond = NULL;
    if (bond && --bond->users == 0 && bond->dropped)
        bond_free(pool, bond);
}

PYPROC_API void pyproc_key_drop(struct pyproc_pool *pool, uint64_t key)
{
    struct pp_bond *bond;

    if (pp_pool_forked(pool))
        return;
    (void)pthread_mutex_lock(&pool->lock);
    bond = find(&pool->sticky, key);
    if (bond && bond->users == 0)
        bond_free(pool, bond);
    else if (bond)
        bond->dropped = true;
    if (bond && pool->state < PP_POOL_CLOSING)
        pp_loop_wake(pool->loop); /* its worker may be due */
    (void)pthread_mutex_unlock(&pool->lock);
}

/* --- who waits --------------------------------------------------------------------- */

static struct pp_want *want_at(struct pp_list *at)
{
    return pp_container(at, struct pp_want, link);
}

struct pp_want *pp_sticky_next(const struct pyproc_pool *pool, const struct pp_slot *slot)
{
    struct pp_want *own = pp_list_empty(&slot->own) ? NULL : want_at(slot->own.next);
    const struct pp_want *first = own && pp_line_any(pool) ? pp_line_first(pool) : NULL;

    return first && pp_line_before(pool, first, own) ? NULL : own;
}

static void into_own(struct pyproc_pool *pool, struct pp_slot *slot, struct pp_want *want,
                     bool first)
{
    want->own = slot;
    if (first)
        pp_list_push_front(&slot->own, &want->link);
    else
        pp_list_push_back(&slot->own, &want->link);
    pool->sticky.n_own++;
    pool->sticky.n_own_calls += want->kind == PP_WANT_CALL;
}

static void into_unplaced(struct pyproc_pool *pool, struct pp_want *want, bool first)
{
    want->own = NULL;
    if (first)
        pp_list_push_front(&pool->sticky.unplaced, &want->link);
    else
        pp_list_push_back(&pool->sticky.unplaced, &want->link);
    pool->n_waiting++;
    pool->sticky.n_unplaced++;
}

void pp_sticky_wait(struct pyproc_pool *pool, struct pp_want *want, bool again)
{
    struct pp_slot *slot = want->bond->slot;

    if (slot)
        into_own(pool, slot, want, again);
    else
        into_unplaced(pool, want, again);
    pp_loop_wake(pool->loop);
}

void pp_sticky_unwait(struct pyproc_pool *pool, struct pp_want *want)
{
    struct pp_slot *slot = want->own;

    pp_list_remove(&want->link);
    want->own = NULL;
    if (!slot) {
        pool->n_waiting--;
        pool->sticky.n_unplaced--;
        return;
    }
    pool->sticky.n_own--;
    pool->sticky.n_own_calls -= want->kind == PP_WANT_CALL;
    /* It was kept for this one, see pp_pool_give_back. */
    if (pp_list_empty(&slot->own) && slot->owner == PP_OWNER_NONE && pp_list_empty(&slot->idle) &&
        pp_slot_serves(slot)) {
        pp_list_push_front(&pool->idle, &slot->idle);
        if (pool->n_waiting > 0)
            pp_loop_wake(pool->loop);
    }
}

struct pp_want *pp_sticky_any(const struct pyproc_pool *pool)
{
    const struct pp_list *at;

    if (!pp_list_empty(&pool->sticky.unplaced))
        return want_at(pool->sticky.unplaced.next);
    if (pool->sticky.n_own == 0)
        return NULL;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        const struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (!pp_list_empty(&slot->own))
            return want_at(slot->own.next);
    }
    return NULL;
}

static bool is_idle(const struct pp_slot *slot)
{
    return !pp_list_empty(&slot->idle) && pp_slot_serves(slot);
}

/* Of two workers the one with fewer keys. */
static void prefer(struct pp_slot **bestp, struct pp_slot *slot)
{
    if (!*bestp || slot->n_bonds < (*bestp)->n_bonds)
        *bestp = slot;
}

/* A worker for a new key; NULL: one is coming. */
static struct pp_slot *choose(struct pyproc_pool *pool)
{
    struct pp_slot *idle = NULL, *busy = NULL;
    unsigned serving = 0;
    struct pp_list *at;
    bool is_full;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (!pp_slot_serves(slot))
            continue;
        serving++;
        prefer(is_idle(slot) ? &idle : &busy, slot);
    }
    is_full = serving >= pool->max_workers || pool->start_failures > 0;
    if (idle && (idle->n_bonds == 0 || is_full))
        return idle;
    if (!is_full)
        return NULL;
    if (idle)
        prefer(&busy, idle);
    return busy;
}

struct pp_slot *pp_sticky_idle(struct pyproc_pool *pool, struct pp_want *want)
{
    struct pp_bond *bond = want->bond;
    struct pp_slot *slot;

    if (bond->lost || bond->dropped)
        return NULL;
    if (bond->slot)
        return is_idle(bond->slot) && pp_list_empty(&bond->slot->own) ? bond->slot : NULL;
    slot = pool->n_waiting > 0 ? NULL : choose(pool);
    if (!slot || !is_idle(slot))
        return NULL;
    tie(bond, slot);
    return slot;
}

/* --- the loop's turn --------------------------------------------------------------- */

/* Whether the worker will take none of those who wait for it. */
static bool is_gone(const struct pp_slot *slot)
{
    if (slot->buried)
        return true;
    return slot->owner == PP_OWNER_NONE &&
           (slot->leaving || slot->retired || atomic_load(&slot->worker.cause));
}

/* What becomes of those who are tied to a worker that is gone. */
static void release(struct pyproc_pool *pool, struct pp_slot *slot)
{
    while (!pp_list_empty(&slot->bonds)) {
        struct pp_bond *bond = pp_container(slot->bonds.next, struct pp_bond, mine);

        untie(bond);
        if (!bond->actor)
            continue;
        bond->lost = true;
        if (slot->buried) {
            pp_worker_obituary(&slot->worker, &bond->why);
            bond->why.text = NULL;
        }
        if (slot->due)
            pp_reply_end(&bond->why, PYPROC_END_LOST, slot->due);
        bond->why.end = PYPROC_END_LOST;
    }
    while (!pp_list_empty(&slot->own)) {
        struct pp_want *want = want_at(slot->own.prev);

        pp_sticky_unwait(pool, want);
        into_unplaced(pool, want, true);
    }
}

static void end_lost(struct pyproc_pool *pool, struct pp_want *want, struct pp_done *done)
{
    const struct pyproc_reply *why = &want->bond->why;

    if (want->kind == PP_WANT_THREAD) {
        pp_pool_unwait(pool, want);
        pp_waiter_end(pp_container(want, struct pp_waiter, want), PYPROC_END_LOST, NULL, why);
        return;
    }
    struct pp_call *call = pp_container(want, struct pp_call, want);

    pp_reply_copy(&call->item->reply, why);
    pp_call_end(pool, call, done);
}

static void place(struct pyproc_pool *pool, struct pp_done *done)
{
    struct pp_list *at = pool->sticky.unplaced.next;

    while (at != &pool->sticky.unplaced) {
        struct pp_want *want = want_at(at);
        struct pp_bond *bond = want->bond;

        at = at->next;
        if (bond->lost) {
            end_lost(pool, want, done);
            continue;
        }
        if (!bond->slot) {
            struct pp_slot *slot = choose(pool);

            if (!slot)
                continue;
            tie(bond, slot);
        }
        pp_sticky_unwait(pool, want);
        into_own(pool, bond->slot, want, false);
    }
}

/* Gives the slot's next one to it, when it has nothing to do. */
static void serve(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_want *want = pp_sticky_next(pool, slot);

    if (!want) { /* somebody in the pool's line is before */
        if (slot->owner == PP_OWNER_NONE && pp_list_empty(&slot->idle))
            pp_list_push_front(&pool->idle, &slot->idle);
        return;
    }
    if (slot->owner == PP_OWNER_NONE && want->kind == PP_WANT_THREAD)
        pp_pool_grant(pool, want, slot);
    else if (want->kind == PP_WANT_CALL)
        pp_dispatch_own(pool, slot, pp_container(want, struct pp_call, want));
}

void pp_sticky_turn(struct pyproc_pool *pool, struct pp_done *done)
{
    struct pp_list *at;

    if (!pool->sticky.buckets)
        return; /* there was never a key */
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if ((slot->n_bonds > 0 || !pp_list_empty(&slot->own)) && is_gone(slot))
            release(pool, slot);
    }
    place(pool, done);
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (!pp_list_empty(&slot->own) && slot->n_inflight == 0 && pp_slot_serves(slot) &&
            slot->owner != PP_OWNER_LEASED && slot->recall_last == 0 && slot->health.ping == 0 &&
            !slot->ending)
            serve(pool, slot);
    }
}
