/* health.h - idle workers that may not be alive; see health.c.
 *
 * Owner and thread of the fields are those of the slot that holds them.
 */
#ifndef PP_POOL_HEALTH_H
#define PP_POOL_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct pp_slot;
struct pp_worker;
struct pyproc_pool;

/* Of one worker. */
struct pp_health {
    bool suspect;      /* its last call was asked to stop; owner */
    uint64_t ping;     /* nonce that is not answered, while the loop owns the slot; 0: none */
    int64_t silent_at; /* when the answer must be here; loop */
    int64_t look_at;   /* when to look if it lives; PP_NEVER: all is well; lock */
};

/* Loop, lock not held: the keeper says that somebody stopped it. `token` is the pool. */
void pp_health_stopped(void *token, struct pp_worker *worker);
/* Any thread, lock held: nobody owns the slot, and before it is idle again the loop asks if it
 * lives. */
void pp_health_suspect(struct pyproc_pool *pool, struct pp_slot *slot);
/* Loop, lock held: what is due. */
void pp_health_turn(struct pyproc_pool *pool, int64_t now);
/* Loop, lock not held: NULL, or the rule that was broken. */
const char *pp_health_pong(struct pp_slot *slot, uint64_t nonce);
/* template.c; loop, lock held: somebody stopped a template. */
void pp_pool_template_stopped(struct pp_worker *worker);

#endif
