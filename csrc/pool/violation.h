/* violation.h - what happens to workers, and what sandboxes met, as events of the pool.
 *
 * Told on the queue of output and log records, at a bounded rate. The loop's thread but for what
 * says otherwise. Private to csrc/pool.
 */
#ifndef PP_POOL_VIOLATION_H
#define PP_POOL_VIOLATION_H

#include "include/pyproc.h"
#include "supervisor/worker.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pp_slot;

/* The leased call of a slot, for the loop to read at any time: its words belong to `id`, which is 0
 * while they change. */
enum { PP_RUNNING_WORDS = 8 };
struct pp_running {
    _Atomic uint64_t id;
    _Atomic uint64_t name[PP_RUNNING_WORDS]; /* of the function, NULs behind it, cut */
};

/* Events that come too fast are counted, not told. */
struct pp_bucket {
    double left; /* that may come now */
    int64_t at;  /* when that was so; 0: never used */
};

/* notice.c; loop: tells what happens to workers; `kind` is a fixed word. */
void pp_notice(struct pyproc_pool *pool, const char *kind, const struct pp_worker *worker,
               const char *detail);
/* The same, of a violation (which may be NULL), whose bytes are copied. */
void pp_notice_violation(struct pyproc_pool *pool, const char *kind, const struct pp_worker *worker,
                         const char *detail, const struct pyproc_violation *violation);
void pp_notice_death(struct pyproc_pool *pool, const struct pp_slot *slot);

/* violation.c; loop. What a sandbox met, told at a bounded rate. */
bool pp_violation_event(void *token, struct pp_worker *worker,
                        const struct pp_message_event *event);
void pp_violation_strayed(void *token, const struct pp_violation *stray);
/* A dead worker's, or template's, if it died of one; slot: NULL for a template. Lock held. */
void pp_violation_death(struct pyproc_pool *pool, const struct pp_slot *slot,
                        const struct pp_worker *worker);
/* The slot's leased call; the owner's thread. */
void pp_violation_leased(struct pp_slot *slot, uint64_t id, struct pyproc_bytes function);
struct pp_worker *pp_violation_find(void *token, int32_t pid);

#endif
