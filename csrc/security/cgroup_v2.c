/* cgroup_v2.c - memory in the unified hierarchy, where somebody has delegated it to us.
 *
 * At its limit the kernel kills, and here it kills the whole group: half a tree is of no use. A
 * process that is killed so leaves no word where it stood.
 */
#include "security/cgroup.h"

#include <errno.h>
#include <string.h>

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = strstr(text, word); at; at = strstr(at + n, word))
        if ((at == text || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\n' || at[n] == '\0'))
            return true;
    return false;
}

/* A group that has processes of its own may not do this (EBUSY), and one to which the controller
 * was not given cannot (ENOENT). */
static int enable(int directory)
{
    char text[PP_CGROUP_TEXT];
    int r = pp_cgroup_get(directory, ".", "cgroup.subtree_control", text);

    if (r < 0)
        return r;
    if (has_word(text, "memory"))
        return 0;
    r = pp_cgroup_get(directory, ".", "cgroup.controllers", text);
    if (r < 0)
        return r;
    if (!has_word(text, "memory"))
        return -ENOTSUP;
    return pp_cgroup_put(directory, ".", "cgroup.subtree_control", "+memory");
}

/* What older kernels lack is not missed: they have no swap limit (4.5), or kill one by one. */
static int prepare(int directory, const char *group)
{
    int r = pp_cgroup_put(directory, group, "memory.oom.group", "1");

    if (r == 0 || r == -ENOENT)
        r = pp_cgroup_put(directory, group, "memory.swap.max", "0");
    return r == -ENOENT ? 0 : r;
}

static int limit(int directory, const char *group, uint64_t bytes)
{
    return pp_cgroup_put_number(directory, group, "memory.max", bytes);
}

static int read_state(int directory, const char *group, struct pp_cgroup_state *statep)
{
    char text[PP_CGROUP_TEXT];
    uint64_t used, cached, shared;
    int r = pp_cgroup_get(directory, group, "memory.stat", text);

    if (r < 0)
        return r;
    cached = pp_cgroup_field(text, "file");
    shared = pp_cgroup_field(text, "shmem");
    cached = cached > shared ? cached - shared : 0;
    used = pp_cgroup_get_number(directory, group, "memory.current");
    r = pp_cgroup_get(directory, group, "memory.events", text);
    if (r < 0)
        return r;
    *statep = (struct pp_cgroup_state){
        .held = used > cached ? used - cached : 0,
        .peak = pp_cgroup_get_number(directory, group, "memory.peak"),
        .refusals = pp_cgroup_field(text, "oom"),
        .kills = pp_cgroup_field(text, "oom_kill"),
    };
    return 0;
}

static bool stalled(int directory, const char *group)
{
    (void)directory;
    (void)group;
    return false;
}

const struct pp_cgroup_kind pp_cgroup_v2 = {
    .name = "cgroup v2",
    .entry = "cgroup.procs",
    .enable = enable,
    .prepare = prepare,
    .limit = limit,
    .read = read_state,
    .stalled = stalled,
};
