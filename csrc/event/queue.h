/* queue.h - the core's side of a completion queue: items are put here.
 *
 * Any thread. A queue is shared: whoever keeps a pointer holds a reference. The
 * descriptor is an eventfd that is written once for a batch, when the queue was empty.
 */
#ifndef PP_EVENT_QUEUE_H
#define PP_EVENT_QUEUE_H

#include "include/pyproc.h"

#include <stdbool.h>

/* Puts a chain of items (linked by `next`), oldest first; takes them. A closed queue keeps
 * the ends of calls too: their tokens are the owner's to free. */
void pp_queue_put(struct pyproc_queue *queue, struct pyproc_item *first, struct pyproc_item *last);

/* The calling thread looks into the queue each turn by itself: what it puts there rings nothing. */
void pp_queue_read_here(struct pyproc_queue *queue);
/* Whether items wait. */
bool pp_queue_has(struct pyproc_queue *queue);

/* The same for output and log records, which are bounded: 0, or the bytes dropped
 * because more than PP_QUEUE_RECORDS_MAX bytes of them wait already. */
enum { PP_QUEUE_RECORDS_MAX = 4 * 1024 * 1024 };
size_t pp_queue_put_record(struct pyproc_queue *queue, struct pyproc_item *item);

/* A new empty item, or NULL. */
struct pyproc_item *pp_item_new(enum pyproc_item_kind kind);

#endif
