/* cgroup_v1.c - the memory hierarchy of cgroups' first version.
 *
 * With its killer switched off, a process that touches one page too many stands still instead of
 * dying, until there is room again or somebody kills it: so whoever ends it can first let it write
 * where it stands. What asks for memory in a system call is refused (ENOMEM).
 */
#include "security/cgroup.h"

#include <errno.h>
#include <string.h>

/* Bytes that may be left where somebody stands still: the kernel counts in batches. */
#define AT_THE_WALL (UINT64_C(512) << 10)

/* Here the directory's own files say it all: there is nothing to be switched on. */
static int enable(int directory)
{
    char text[PP_CGROUP_TEXT];

    return pp_cgroup_get(directory, ".", "memory.limit_in_bytes", text);
}

static int prepare(int directory, const char *group)
{
    return pp_cgroup_put(directory, group, "memory.oom_control", "1");
}

static int limit(int directory, const char *group, uint64_t bytes)
{
    static const char memory[] = "memory.limit_in_bytes", both[] = "memory.memsw.limit_in_bytes";
    int r = pp_cgroup_put_number(directory, group, memory, bytes);
    int s;

    /* Memory is never above memory and swap together: the order depends on the direction. */
    if (r == -EINVAL) {
        s = pp_cgroup_put_number(directory, group, both, bytes);
        r = s < 0 ? s : pp_cgroup_put_number(directory, group, memory, bytes);
    }
    if (r < 0)
        return r;
    s = pp_cgroup_put_number(directory, group, both, bytes);
    return s == -ENOENT ? 0 : s; /* the kernel does not count swap */
}

static int read_state(int directory, const char *group, struct pp_cgroup_state *statep)
{
    char text[PP_CGROUP_TEXT];
    uint64_t used, cached, shared;
    int r = pp_cgroup_get(directory, group, "memory.stat", text);

    if (r < 0)
        return r;
    cached = pp_cgroup_field(text, "cache");
    shared = pp_cgroup_field(text, "shmem"); /* counted as cached, and cannot be dropped */
    cached = cached > shared ? cached - shared : 0;
    used = pp_cgroup_get_number(directory, group, "memory.usage_in_bytes");
    r = pp_cgroup_get(directory, group, "memory.oom_control", text);
    if (r < 0)
        return r;
    *statep = (struct pp_cgroup_state){
        .held = used > cached ? used - cached : 0,
        .peak = pp_cgroup_get_number(directory, group, "memory.max_usage_in_bytes"),
        .refusals = pp_cgroup_get_number(directory, group, "memory.failcnt"),
        .kills = pp_cgroup_field(text, "oom_kill"),
    };
    return 0;
}

static bool stalled(int directory, const char *group)
{
    char text[PP_CGROUP_TEXT];
    uint64_t used, allowed;

    if (pp_cgroup_get(directory, group, "memory.oom_control", text) < 0 ||
        pp_cgroup_field(text, "under_oom") == 0)
        return false;
    /* After a raise of the limit the word stays until those who stood have run. */
    used = pp_cgroup_get_number(directory, group, "memory.usage_in_bytes");
    allowed = pp_cgroup_get_number(directory, group, "memory.limit_in_bytes");
    return used + AT_THE_WALL >= allowed;
}

const struct pp_cgroup_kind pp_cgroup_v1 = {
    .name = "cgroup v1",
    .entry = "tasks",
    .enable = enable,
    .prepare = prepare,
    .limit = limit,
    .read = read_state,
    .stalled = stalled,
};
