/* cpus.h - which processors a pool's workers run on.
 *
 * With a number for each worker the pool's processors are divided into groups of that many, and
 * the host moves a worker into its group when it is ready: a fork of a template has the
 * template's processors at first. Any thread.
 */
#ifndef PP_SUPERVISOR_CPUS_H
#define PP_SUPERVISOR_CPUS_H

#include "security/policy.h"

#include <sys/types.h>

struct pp_cpus {
    uint64_t all[PP_CPU_WORDS];
    unsigned each;   /* of those, for one worker; 0: all */
    unsigned groups; /* 1: they are not divided */
};

/* `all` may be empty: any processor, undivided. More `each` than there are means all. */
void pp_cpus_init(struct pp_cpus *cpus, const uint64_t all[PP_CPU_WORDS], unsigned each);
/* The processors of a group, which is below `groups`; the last ones may begin anew. */
void pp_cpus_group(const struct pp_cpus *cpus, unsigned group, uint64_t mask[PP_CPU_WORDS]);
/* Moves every thread of a process there. */
void pp_cpus_move(pid_t pid, const uint64_t mask[PP_CPU_WORDS]);

#endif
