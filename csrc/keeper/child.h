/* child.h - the keeper's fork, and the steps before exec. */
#ifndef PP_KEEPER_CHILD_H
#define PP_KEEPER_CHILD_H

#include "base/spec.h"
#include "keeper/ward.h"

#include <stddef.h>
#include <stdint.h>

struct pp_nursery {
    uint64_t open_files; /* the host's soft RLIMIT_NOFILE */
};

/* Starts what a memfd describes as `ward`; whatever fails on the way is the ward's failure.
 * The descriptors are lent: of the worker, the memfd, and perhaps the file to enter a cgroup by.
 * The ward is LAUNCHING afterwards, or still OVER with its failure told. */
void pp_child_launch(const struct pp_nursery *nursery, struct pp_wards *wards, struct pp_ward *ward,
                     const int *fds, size_t n_fds);

/* Takes a worker that a template has forked into care: 0, or a negative errno (-ECHILD: it is
 * no child of ours). */
int pp_child_adopt(struct pp_wards *wards, struct pp_ward *ward, pid_t pid);

/* Reads how the exec went, once the pipe is readable or the child is dead. */
void pp_child_finish(struct pp_wards *wards, struct pp_ward *ward);

#endif
