/* sandbox.h - one call that closes a process in, before its exec.
 *
 * Each mechanism is one function with one signature; sandbox.c walks them in the order
 * that makes them hold. It runs in a fresh, single-threaded fork of the keeper,
 * where any failure ends the launch: nothing is skipped, nothing is weakened silently.
 */
#ifndef PP_SECURITY_SANDBOX_H
#define PP_SECURITY_SANDBOX_H

#include "security/box.h"
#include "security/policy.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PP_BIRTH_FDS = 7 };

/* What a process on its way to exec says by `report`. In one datagram. */
struct pp_birth_word {
    int32_t error; /* an errno, and it ends; 0: a listener comes with it */
    char step[32]; /* that failed */
};

/* What a process about to exec knows; it owns the descriptors. */
struct pp_birth {
    struct pp_policy policy;
    struct pp_box box;     /* its bytes outlive the birth */
    pid_t parent;          /* must still be our parent */
    uint64_t open_files;   /* the host's soft RLIMIT_NOFILE, when the policy names none */
    const char *cwd;       /* "" stays */
    int fds[PP_BIRTH_FDS]; /* go to the numbers 1, 2, ... */
    int report;            /* a socket; stays open until the exec; its number changes */
    int group;             /* the file to enter a cgroup by; -1: none */
};

/* Applies everything that belongs before exec. 0, or a negative errno and the name of
 * the step (a literal); the process must then report and exit. */
int pp_sandbox_before_exec(struct pp_birth *birth, const char **stepp);

/* The mechanisms; 0 or a negative errno. */
int pp_sandbox_check_parent(struct pp_birth *birth);
int pp_sandbox_enter_cgroup(struct pp_birth *birth);
int pp_sandbox_leave_session(struct pp_birth *birth);
int pp_sandbox_reset_signals(struct pp_birth *birth);
int pp_sandbox_place_fds(struct pp_birth *birth);
int pp_sandbox_limit(struct pp_birth *birth);
int pp_sandbox_be_nice(struct pp_birth *birth);
int pp_sandbox_choose_cpus(struct pp_birth *birth);
int pp_sandbox_die_with_parent(struct pp_birth *birth);
int pp_sandbox_no_new_privs(struct pp_birth *birth);
int pp_sandbox_change_dir(struct pp_birth *birth);
int pp_sandbox_close_rest(struct pp_birth *birth);
int pp_sandbox_join_keyring(struct pp_birth *birth);
int pp_sandbox_take_namespaces(struct pp_birth *birth);
int pp_sandbox_drop_rights(struct pp_birth *birth);
int pp_sandbox_label(struct pp_birth *birth);

/* The mechanisms that a running process may apply to itself as well. `all_threads`: a thread
 * that cannot follow is -ESRCH. */
int pp_sandbox_landlock(const struct pp_box *box);
int pp_sandbox_filter(const struct pp_box *box, bool all_threads);
/* The same for this thread alone, with a descriptor that the filter's notifications come by, which
 * the caller owns; -1 without PP_BOX_TRIPWIRE. */
int pp_sandbox_filter_listened(const struct pp_box *box, int *listenerp);

#endif
