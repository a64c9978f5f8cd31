/* guest.c - who else lives on the loop thread; see guest.h. */
#include "pool/guest.h"

#include "base/error.h"
#include "pool/pool.h"

#include <errno.h>

int pp_guest_enter(struct pyproc_pool *pool, struct pp_guest *guest)
{
    bool open;

    guest->arrived = guest->told = false;
    (void)pthread_mutex_lock(&pool->lock);
    open = !pp_pool_forked(pool) && pool->state < PP_POOL_CLOSING;
    if (open) {
        pp_list_push_back(&pool->guests, &guest->link);
        pp_loop_wake(pool->loop);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return open ? 0 : pp_fail(-ESHUTDOWN, "serve a pool that is closed");
}

void pp_guest_leave(struct pyproc_pool *pool, struct pp_guest *guest)
{
    (void)pthread_mutex_lock(&pool->lock);
    pp_list_remove(&guest->link);
    if (pool->state >= PP_POOL_CLOSING)
        pp_loop_wake(pool->loop);
    (void)pthread_mutex_unlock(&pool->lock);
}

struct pp_loop *pp_guest_loop(struct pyproc_pool *pool)
{
    return pool->loop;
}

void pp_guest_dispatch(struct pyproc_pool *pool)
{
    pp_pool_turn(pool);
}

/* Lock held: somebody who is to be told something; NULL: nobody. */
static struct pp_guest *next_guest(struct pyproc_pool *pool, bool *closesp)
{
    struct pp_list *at;

    *closesp = pool->state >= PP_POOL_CLOSING;
    for (at = pool->guests.next; at != &pool->guests; at = at->next) {
        struct pp_guest *guest = pp_container(at, struct pp_guest, link);

        if (*closesp ? !guest->told : !guest->arrived) {
            guest->arrived = true;
            guest->told = *closesp;
            return guest;
        }
    }
    return NULL;
}

void pp_guest_turn(struct pyproc_pool *pool)
{
    for (;;) {
        struct pp_guest *guest;
        bool closes;

        (void)pthread_mutex_lock(&pool->lock);
        guest = next_guest(pool, &closes);
        (void)pthread_mutex_unlock(&pool->lock);
        if (!guest)
            return;
        if (closes)
            guest->close(guest);
        else
            guest->arrive(guest);
    }
}
