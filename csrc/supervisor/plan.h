/* plan.h - everything needed to start one more worker of a pool, copied once from
 * the host's configuration: command, scrubbed environment, limits, the Hello frame.
 *
 * Never changes after pp_plan_init; any thread may read it.
 */
#ifndef PP_SUPERVISOR_PLAN_H
#define PP_SUPERVISOR_PLAN_H

#include "base/buffer.h"
#include "include/pyproc.h"
#include "security/policy.h"

#include <stdbool.h>

struct pp_plan {
    char **argv;          /* of a worker; owned, NULL-terminated */
    char **template_argv; /* likewise */
    char **envp;          /* likewise */
    char *cwd;            /* owned */
    char *keeper;         /* owned */
    struct pp_policy policy;
    uint8_t *box; /* of the first stage; owned, NULL: none */
    size_t box_size;
    int keeper_namespaces;  /* CLONE_NEW* that the keeper itself is started in */
    struct pp_buffer hello; /* one whole frame */
    size_t max_frame;
    int64_t start_timeout;
    struct pyproc_queue *events; /* a reference, or NULL */
    char *groups;                /* where workers' cgroups are made; owned, NULL: nowhere */
    uint64_t memory_limit;       /* of each worker, 0: none */
    bool drop_output;
    bool no_processes; /* of workers, once they are ready */
};

/* 0 or a negative errno with its words. The caller must keep the environment from
 * changing meanwhile (a Python host holds the GIL). */
int pp_plan_init(struct pp_plan *plan, const struct pyproc_config *config);
void pp_plan_deinit(struct pp_plan *plan);

#endif
