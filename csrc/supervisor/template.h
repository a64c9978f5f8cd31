/* template.h - a process that has the application imported and forks workers.
 *
 *   importing -> ready --fork request, descriptors--> forks twice --pid--> host
 *                                      host --adopt, pid--> keeper --launched--> host
 *
 * It is launched, heard and buried as a worker is, but never gets a call: its workers are
 * re-parented to the keeper, which alone says that they live and how they end. What a template
 * says is a hint: a number counts when the keeper finds a child of its own under it.
 * The loop thread's.
 */
#ifndef PP_SUPERVISOR_TEMPLATE_H
#define PP_SUPERVISOR_TEMPLATE_H

#include "base/list.h"
#include "supervisor/worker.h"

struct pp_template {
    struct pp_worker worker; /* its process; worker.role is PP_ROLE_TEMPLATE */
    struct pp_list link;     /* in the pool's list; the pool's lock */
    unsigned generation;     /* of the application's code */
    unsigned crashes;        /* of its children */
    int64_t retire_at;       /* when it is ended, since another one took its place; PP_NEVER */
    int64_t look_at;         /* when to see whether it is stopped; PP_NEVER */
    bool buried;             /* the dead callback has run */
};

static inline struct pp_template *pp_template_of(struct pp_worker *worker)
{
    return pp_container(worker, struct pp_template, worker);
}

/* Launches the process of a zeroed template. 0, or a negative errno and nothing is left. */
int pp_template_start(struct pp_template *template, struct pp_supervisor *supervisor, uint32_t id);

/* Asks a ready template for a worker. Answers as pp_worker_start; the same news follow. -EAGAIN:
 * it does not take requests just now. */
int pp_template_fork(struct pp_template *template, struct pp_worker *worker,
                     struct pp_supervisor *supervisor, uint32_t id);

/* A ready template's bytes are here. */
void pp_template_readable(struct pp_worker *worker);

/* Writes the threads of a process that stand beside its main one, by the kernel's word, as
 * "2 threads: a, b"; answers how many. */
unsigned pp_template_threads(const struct pp_template *template, char *text, size_t n);

#endif
