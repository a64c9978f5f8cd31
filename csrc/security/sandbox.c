/* sandbox.c - the order of the steps.
 *
 * The cgroup first, so that all that follows is counted there.
 * Limits late, because RLIMIT_NOFILE would forbid the descriptors that the steps before
 * take. Mounts while we may. Rights go before the death signal, which a change of the user
 * clears, and before Landlock, which needs only no_new_privs. The filter comes last: it
 * forbids what the steps before it do.
 */
#include "security/sandbox.h"

#include "base/fd.h"
#include "base/handoff.h"
#include "security/compile.h"

#include <errno.h>
#include <sys/prctl.h>

static int restrict_files(struct pp_birth *birth)
{
    return pp_sandbox_landlock(&birth->box);
}

/* Who listens must be somebody else: the host, by way of the keeper. */
static int filter_calls(struct pp_birth *birth)
{
    static const struct pp_birth_word word = {.error = 0};
    PP_AUTO_FD listener = -1;
    int r = pp_sandbox_filter_listened(&birth->box, &listener);

    if (r < 0 || listener < 0)
        return r;
    return pp_handoff_send(birth->report, &word, sizeof word, &listener, 1, 0);
}

static const struct step {
    const char *name;
    int (*apply)(struct pp_birth *birth);
} steps[] = {
    {"parent", pp_sandbox_check_parent},
    {"cgroup", pp_sandbox_enter_cgroup},
    {"setsid", pp_sandbox_leave_session},
    {"signals", pp_sandbox_reset_signals},
    {"descriptors", pp_sandbox_place_fds},
    {"nice", pp_sandbox_be_nice},
    {"cpus", pp_sandbox_choose_cpus},
    {"keyring", pp_sandbox_join_keyring},
    {"namespaces", pp_sandbox_take_namespaces},
    {"rights", pp_sandbox_drop_rights},
    {"death signal", pp_sandbox_die_with_parent},
    {"no_new_privs", pp_sandbox_no_new_privs},
    {"chdir", pp_sandbox_change_dir},
    {"label", pp_sandbox_label},
    {"landlock", restrict_files},
    {"rlimit", pp_sandbox_limit},
    {"close_range", pp_sandbox_close_rest},
    {"seccomp", filter_calls},
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

static int enter(const struct pp_box *box, bool all_threads, const char **stepp)
{
    struct pp_birth self = {.box = *box};
    int r;

    *stepp = "rights";
    r = pp_box_has(box, PP_BOX_NO_CAPS) ? pp_sandbox_drop_rights(&self) : 0;
    if (r < 0)
        return r;
    *stepp = "PR_SET_DUMPABLE";
    if (pp_box_has(box, PP_BOX_NO_DUMP) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    *stepp = "no_new_privs";
    r = pp_sandbox_no_new_privs(&self);
    if (r < 0)
        return r;
    *stepp = "landlock";
    r = pp_sandbox_landlock(box);
    if (r < 0)
        return r;
    *stepp = "seccomp";
    return pp_sandbox_filter(box, all_threads);
}

int pp_sandbox_enter(const void *bytes, size_t n, bool all_threads, const char **stepp)
{
    struct pp_box box;
    int r = pp_box_read(bytes, n, &box);

    *stepp = "the box";
    return r < 0 ? r : enter(&box, all_threads, stepp);
}
