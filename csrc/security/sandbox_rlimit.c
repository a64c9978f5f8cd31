/* sandbox_rlimit.c - limits that the process cannot raise again: hard = soft.
 *
 * A limit looser than what the host itself lives under stays the host's: it is
 * stricter than asked, and raising it is not ours to do.
 */
#include "security/sandbox.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_limit(__rlimit_resource_t resource, uint64_t soft, uint64_t hard)
{
    struct rlimit now;

    if (soft == PP_UNLIMITED)
        return 0;
    if (getrlimit(resource, &now) < 0)
        return -errno;
    if (hard > now.rlim_max) /* RLIM_INFINITY is the largest value there is */
        hard = now.rlim_max;
    if (soft > hard)
        soft = hard;
    now = (struct rlimit){.rlim_cur = soft, .rlim_max = hard};
    return setrlimit(resource, &now) < 0 ? -errno : 0;
}

/* The keeper raised its own soft limit; without a policy the worker gets the host's. */
static int limit_open_files(const struct pp_birth *birth)
{
    struct rlimit now;

    if (birth->policy.limits.open_files != PP_UNLIMITED)
        return set_limit(RLIMIT_NOFILE, birth->policy.limits.open_files,
                         birth->policy.limits.open_files);
    if (getrlimit(RLIMIT_NOFILE, &now) < 0)
        return -errno;
    now.rlim_cur = birth->open_files;
    return setrlimit(RLIMIT_NOFILE, &now) < 0 ? -errno : 0;
}

int pp_sandbox_limit(struct pp_birth *birth)
{
    const struct pp_limits *limits = &birth->policy.limits;
    /* One second between soft and hard makes SIGXCPU arrive before SIGKILL. */
    uint64_t cpu_hard = limits->cpu_seconds == PP_UNLIMITED ? 0 : limits->cpu_seconds + 1;
    const struct {
        __rlimit_resource_t resource;
        uint64_t soft, hard;
    } all[] = {
        {RLIMIT_CORE, limits->core, limits->core},
        {RLIMIT_CPU, limits->cpu_seconds, cpu_hard},
        {RLIMIT_FSIZE, limits->file_size, limits->file_size},
        {RLIMIT_STACK, limits->stack, limits->stack},
        {RLIMIT_AS, limits->address_space, limits->address_space},
    };
    int r = limit_open_files(birth);

    for (size_t i = 0; r == 0 && i < sizeof(all) / sizeof(all[0]); i++)
        r = set_limit(all[i].resource, all[i].soft, all[i].hard);
    return r;
}

int pp_sandbox_be_nice(struct pp_birth *birth)
{
    if (birth->policy.nice < 0 || birth->policy.nice > 19)
        return -EINVAL;
    if (birth->policy.nice == 0)
        return 0;
    errno = 0; /* -1 is a niceness too, nice(2) */
    if (nice(birth->policy.nice) == -1 && errno != 0)
        return -errno;
    return 0;
}

/* The kernel's own mask is an array of long, whatever libc's cpu_set_t holds: bytes in the
 * machine's order, like ours. */
int pp_sandbox_choose_cpus(struct pp_birth *birth)
{
    const uint64_t *cpus = birth->policy.cpus;
    uint64_t any = 0;

    for (size_t i = 0; i < PP_CPU_WORDS; i++)
        any |= cpus[i];
    if (any == 0)
        return 0;
    return syscall(SYS_sched_setaffinity, 0, sizeof birth->policy.cpus, cpus) < 0 ? -errno : 0;
}
