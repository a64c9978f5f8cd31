/* sandbox.c - the order of the steps.
 *
 * Descriptors first, because RLIMIT_NOFILE would forbid the numbers that moving them
 * takes. The death signal late, because a change of uid (a later step between limits
 * and it) clears it. Closing last, when nothing needs a descriptor any more.
 */
#include "security/sandbox.h"

static const struct step {
    const char *name;
    int (*apply)(struct pp_birth *birth);
} steps[] = {
    {"parent", pp_sandbox_check_parent},
    {"setsid", pp_sandbox_leave_session},
    {"signals", pp_sandbox_reset_signals},
    {"descriptors", pp_sandbox_place_fds},
    {"rlimit", pp_sandbox_limit},
    {"nice", pp_sandbox_be_nice},
    {"cpus", pp_sandbox_choose_cpus},
    {"death signal", pp_sandbox_die_with_parent},
    {"no_new_privs", pp_sandbox_no_new_privs},
    {"chdir", pp_sandbox_change_dir},
    {"close_range", pp_sandbox_close_rest},
};

int pp_sandbox_before_exec(struct pp_birth *birth, const char **stepp)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int r = steps[i].apply(birth);

        if (r < 0) {
            *stepp = steps[i].name;
            return r;
        }
    }
    return 0;
}
