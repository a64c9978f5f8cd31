/* doomed.h - the processes that one walk over /proc has killed, by number and birth.
 *
 * Descendants of a doomed process are doomed too, and are killed in the same walk: one
 * that waited for its parents' deaths would fork on. A number alone may have gone to a
 * stranger meanwhile; number and start time together name one process. The memory is
 * fixed; a walk that dooms more leaves the rest to the next one. The keeper's only
 * thread.
 */
#ifndef PP_KEEPER_DOOMED_H
#define PP_KEEPER_DOOMED_H

#include "keeper/proc.h"

#include <stdbool.h>
#include <stdint.h>

enum { PP_DOOMED = 16384 }; /* processes a walk; a power of two */

struct pp_doomed {
    struct {
        uint32_t walk; /* the walk that wrote it; others' are empty */
        pid_t pid;
        uint64_t start;
    } slots[2 * PP_DOOMED];
    uint32_t walk;
    size_t n;
};

/* All zero bytes is valid and empty but for this call. */
void pp_doomed_clear(struct pp_doomed *doomed);
void pp_doomed_add(struct pp_doomed *doomed, const struct pp_proc *proc);
/* Whether this number was doomed, and the start time that it had. */
bool pp_doomed_find(const struct pp_doomed *doomed, pid_t pid, uint64_t *startp);

#endif
