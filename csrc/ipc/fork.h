/* fork.h - what a host and a template say to each other once the template is ready.
 *
 * A template's call channel carries frames up to its HelloReply; from then on it carries
 * these records and nothing else: requests with the descriptors that a worker is born
 * with, and reports that are hostile input like all that such a process writes. Both ends
 * are of one build on one machine, so integers are in the machine's order.
 */
#ifndef PP_IPC_FORK_H
#define PP_IPC_FORK_H

#include <stdint.h>

#define PP_FORK_MAGIC UINT32_C(0x70796632) /* changes with every change of this file */

enum {
    PP_FORK_FDS = 7,                   /* the numbers 1 to 7 of supervisor/keeper.h */
    PP_FORK_FDS_MAX = PP_FORK_FDS + 1, /* and perhaps the file to enter a cgroup by */
};

struct pp_fork_request {
    uint32_t magic;
    uint32_t worker; /* the host's name for it */
};

struct pp_fork_report {
    uint32_t magic;
    uint32_t worker;
    int32_t pid; /* negative: an errno, and no process */
};

#endif
