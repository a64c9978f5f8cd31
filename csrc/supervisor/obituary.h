/* obituary.h - explains a worker's death from what the kernel, the host and the
 * worker's own last words say. What the worker wrote is hostile text. */
#ifndef PP_SUPERVISOR_OBITUARY_H
#define PP_SUPERVISOR_OBITUARY_H

#include "supervisor/worker.h"

enum { PP_CRASH_SIZE = 64 * 1024 };

/* Makes the memfd that the fault handler writes into: of fixed size, so that it can
 * neither grow nor shrink under the host. */
int pp_crash_make(int *fdp);

/* Loop: the keeper's report is here: completes worker->death and wakes who waits. */
void pp_worker_ended(struct pp_worker *worker, const struct pp_keeper_event *event);

/* Loop: a call channel's bytes while the worker imports its application. */
void pp_worker_import_readable(struct pp_worker *worker);

#endif
