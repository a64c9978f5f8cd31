/* share.h - calls that share a worker, see share.c.
 *
 * All on the loop thread with the lock held unless it says otherwise; what they keep is declared
 * in pool.h, in the slot and the call, and owned by these.
 */
#ifndef PP_POOL_SHARE_H
#define PP_POOL_SHARE_H

#include "pool/pool.h"

/* Decides what the call may do, by the functions that are published; any thread. */
void pp_share_settle(const struct pyproc_pool *pool, struct pp_call *call);
/* Offers the first call of the line when it may share a worker and there is one. */
bool pp_share_offer(struct pyproc_pool *pool, struct pp_call *call);
/* Lock not held: the frame of an offered call is made. */
void pp_share_sent(struct pp_slot *slot, struct pp_call *call, struct pp_message_call *to);
/* The call with that wire id; NULL: none that was sent. Lock or not. */
struct pp_call *pp_share_find(const struct pp_slot *slot, uint64_t wire_id);
/* Lock not held: the worker's socket has room again. */
void pp_share_written(void *pool, struct pp_worker *worker);
/* Somebody's time is over. */
void pp_share_overdue(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now);
/* Asks those to stop that were cancelled. */
void pp_share_cancel(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now);
/* The worker is dead: whether that was because of another call; then the reply is filled. */
bool pp_share_bystander(const struct pp_slot *slot, const struct pp_call *call,
                        struct pyproc_reply *reply);

#endif
