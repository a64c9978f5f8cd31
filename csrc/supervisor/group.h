/* group.h - a memory cgroup for each worker of a pool, as the host uses it.
 *
 * The host makes a worker's group and gives the keeper, or the template, the file through which
 * the new process enters it before anything else runs there. The limit comes when the worker is
 * ready: what it holds then and the cap. Its group is removed when its end is reported; what
 * the host leaves behind the keeper removes. Owner: the pool's loop thread.
 */
#ifndef PP_SUPERVISOR_GROUP_H
#define PP_SUPERVISOR_GROUP_H

#include "security/cgroup.h"

#include <stdbool.h>
#include <stdint.h>

/* One a pool. */
struct pp_groups {
    const struct pp_cgroup_kind *kind; /* NULL: workers have no groups */
    int directory;                     /* owned, locked */
    char name[PP_CGROUP_NAME];
};

/* One a worker. */
struct pp_group {
    const struct pp_groups *groups; /* NULL: it has none */
    char name[16];
    uint64_t base;   /* bytes that it held when it became ready */
    uint64_t wall;   /* bytes at which the kernel stops it; 0: nowhere yet */
    uint64_t credit; /* by which the wall may still be moved: what it may copy of a template's */
};

/* Makes the pool's directory in the one at `path`, or with "" near this process. 0 or a negative
 * errno. */
int pp_groups_open(struct pp_groups *groups, const char *path);
/* The keeper is gone: removes all that nobody is in. */
void pp_groups_close(struct pp_groups *groups);

/* Makes a worker's group; `*entryp` is the file to enter it by, the caller's to close. */
int pp_group_make(struct pp_group *group, const struct pp_groups *groups, uint32_t worker,
                  int *entryp);
/* Nobody is in it any more, or else it waits for the end of the pool. */
void pp_group_remove(struct pp_group *group);

/* Whether that process is in it, as /proc says. */
bool pp_group_has(const struct pp_group *group, int32_t pid);

/* It is ready: no more than `cap` bytes from now on. `copies`: bytes that it shares with its
 * template, and that count again when it writes to them. 0 or a negative errno. */
int pp_group_limit(struct pp_group *group, uint64_t cap, uint64_t copies);
/* Whether it stands at its wall. One that holds less than it may, for it has only copied, gets
 * room and goes on: false. `left`: bytes that it may still take. */
bool pp_group_stalls(struct pp_group *group, uint64_t left);
/* Room for its last words. */
void pp_group_yield(struct pp_group *group);

/* Bytes that the kernel counts beyond those at its start; 0: not known. */
uint64_t pp_group_used(const struct pp_group *group);
/* The most that it counted beyond those; 0: not known. */
uint64_t pp_group_peak(const struct pp_group *group);
/* Whether the kernel has killed a member for want of memory; *ownp: because of this limit. */
bool pp_group_was_killed(const struct pp_group *group, bool *ownp);

#endif
