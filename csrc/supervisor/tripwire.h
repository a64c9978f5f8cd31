/* tripwire.h - the host hears of calls that no sandbox allows, before they happen.
 *
 * The filter of a process and of all that it forks or starts has one listener (seccomp_unotify(2)).
 * Who makes such a call waits in the kernel for an answer that never comes: the worker is doomed,
 * with the call and its arguments as the kernel gave them. Nothing is ever allowed by it, so that
 * no race over memory or numbers can matter. Loop thread only.
 */
#ifndef PP_SUPERVISOR_TRIPWIRE_H
#define PP_SUPERVISOR_TRIPWIRE_H

#include "supervisor/worker.h"

/* Watches the listener, which it owns, also when it fails. The worker, or template, has a
 * reference. 0 or a negative errno. */
int pp_tripwire_new(struct pp_worker *worker, int listener);
/* A template's fork is heard by the same one. NULL is fine for both. */
struct pp_tripwire *pp_tripwire_ref(struct pp_tripwire *tripwire);
struct pp_tripwire *pp_tripwire_unref(struct pp_tripwire *tripwire);

#endif
