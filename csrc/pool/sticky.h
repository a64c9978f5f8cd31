/* sticky.h - calls that go to one worker, since they have a key: the part of a pool that sticky.c
 * keeps. Everything is the pool's lock's.
 *
 * A bond ties a key to a worker, from its first call on. Who waits with a key stands in the line of
 * its worker (slot->own), or, until there is one, in `unplaced`; not in the pool's line. */
#ifndef PP_POOL_STICKY_H
#define PP_POOL_STICKY_H

#include "base/list.h"
#include "include/pyproc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys that are remembered; beyond it the one used longest ago is forgotten, unless it has calls.
 * Actors are never forgotten, so more of them are refused. */
enum { PP_KEYS_MAX = 10000, PP_ACTORS_MAX = 10000 };
enum { PP_KEY_BUCKETS = 4096 };

struct pp_slot;
struct pp_want;
struct pp_done;

/* Owned by the table; lives while it has users. */
struct pp_bond {
    struct pp_bond *next;    /* in its bucket */
    struct pp_list recent;   /* of a key: in sticky->recent, the latest used last */
    struct pp_list mine;     /* in slot->bonds */
    struct pp_slot *slot;    /* NULL: no worker yet, or it is lost */
    uint64_t key;            /* never changes */
    bool actor;              /* likewise: it cannot go to another worker */
    bool lost;               /* an actor whose worker has ended */
    bool dropped;            /* nobody will ask for it again */
    unsigned users;          /* calls that have not ended, and threads that wait */
    struct pyproc_reply why; /* of a lost one: what became of its worker */
};

struct pp_sticky {
    struct pp_bond **buckets; /* NULL until there is a key */
    struct pp_list recent;
    struct pp_list unplaced; /* wants whose bond has no worker; they count in pool->n_waiting */
    size_t n_unplaced;
    size_t n_own;       /* wants in lines of workers; they do not */
    size_t n_own_calls; /* of them calls */
    size_t n_keys, n_actors;
};

void pp_sticky_init(struct pp_sticky *sticky);
void pp_sticky_deinit(struct pp_sticky *sticky); /* no lock */
/* Finds or makes what the request's key is tied to, for `want`, until pp_sticky_unbond. VALUE, or
 * why it cannot be had. */
enum pyproc_end pp_sticky_bond(struct pyproc_pool *pool, const struct pyproc_request *request,
                               struct pp_want *want);
const char *pp_sticky_text(enum pyproc_end end); /* what that means; no lock */
void pp_sticky_unbond(struct pyproc_pool *pool, struct pp_want *want); /* none is fine */
/* The worker of a want with a bond, when it can be had at once; NULL: it has to wait. */
struct pp_slot *pp_sticky_idle(struct pyproc_pool *pool, struct pp_want *want);
/* Of line.c, for wants with a bond; the second without the rest of the accounts. */
void pp_sticky_wait(struct pyproc_pool *pool, struct pp_want *want, bool again);
void pp_sticky_unwait(struct pyproc_pool *pool, struct pp_want *want);
/* Who waits for this slot alone and is its next; NULL: nobody, or the pool's line is before. */
struct pp_want *pp_sticky_next(const struct pyproc_pool *pool, const struct pp_slot *slot);
/* Any that waits with a bond; NULL: none. */
struct pp_want *pp_sticky_any(const struct pyproc_pool *pool);
/* Loop: ties keys to workers, and gives workers that have nothing to do what waits for them. */
void pp_sticky_turn(struct pyproc_pool *pool, struct pp_done *done);

#endif
