/* guest.h - somebody else who lives on a pool's loop thread: the server of a named socket.
 *
 * It is told once that it is on the thread, and once that the pool closes; between the two it
 * uses the loop's watches. The pool is closed only when its guests have left.
 */
#ifndef PP_POOL_GUEST_H
#define PP_POOL_GUEST_H

#include "base/list.h"
#include "include/pyproc.h"

#include <stdbool.h>

struct pp_loop;

/* Owned by the guest, from pp_guest_enter until it has left. */
struct pp_guest {
    struct pp_list link;                    /* the pool's lock */
    bool arrived, told;                     /* likewise */
    void (*arrive)(struct pp_guest *guest); /* loop thread */
    /* Loop thread: the pool closes. All watches are to be ended, and pp_guest_leave called, as
     * soon as may be; the pool waits for that. */
    void (*close)(struct pp_guest *guest);
};

/* Any thread: `arrive` will be called soon. -ESHUTDOWN: the pool closes. */
int pp_guest_enter(struct pyproc_pool *pool, struct pp_guest *guest);
/* Loop thread: has no watches any more; may be freed. */
void pp_guest_leave(struct pyproc_pool *pool, struct pp_guest *guest);
/* Loop thread: the loop itself, for watches. */
struct pp_loop *pp_guest_loop(struct pyproc_pool *pool);
/* Loop thread: as pyproc_submit, but the call starts with the next pp_guest_dispatch. */
int pp_guest_submit(struct pyproc_pool *pool, const struct pyproc_request *request,
                    struct pyproc_queue *queue, void *token, uint64_t *idp,
                    struct pyproc_reply *reply);
void pp_guest_dispatch(struct pyproc_pool *pool);
/* Loop thread, lock not held: calls whoever is to be called. */
void pp_guest_turn(struct pyproc_pool *pool);

#endif
