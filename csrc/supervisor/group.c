/* group.c - the wall, its place, and what the kernel says of it.
 *
 * The wall is a little above the cap: the kernel counts page tables and stacks as well, and what
 * is to be killed needs a few pages for its last words.
 */
#include "supervisor/group.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Of the cap, between it and the wall, and again for last words: together 1 %. */
#define SLACK_PART 200
#define SLACK_LEAST (UINT64_C(512) << 10)
/* Less than this is no room: it would stand still again at once. */
#define STEP_LEAST (UINT64_C(1) << 20)

static uint64_t slack(uint64_t cap)
{
    return cap / SLACK_PART > SLACK_LEAST ? cap / SLACK_PART : SLACK_LEAST;
}

int pp_groups_open(struct pp_groups *groups, const char *path)
{
    char found[PP_CGROUP_PATH];
    const struct pp_cgroup_kind *kind;
    const char *step;
    PP_AUTO_FD base = -1;
    int r = pp_cgroup_find("", *path ? path : NULL, found, &kind, &step);

    if (r < 0)
        return pp_fail(r, "%s for memory cgroups in '%s'", step, path);
    base = open(found, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return pp_fail(-errno, "open '%s' for memory cgroups", found);
    r = pp_cgroup_pool_new(base, kind, groups->name, &groups->directory);
    if (r == 0) {
        groups->directory = pp_fd_above_stdio(groups->directory);
        r = groups->directory < 0 ? groups->directory : 0;
    }
    if (r < 0)
        return pp_fail(r, "make a directory for memory cgroups in '%s'", found);
    groups->kind = kind;
    return 0;
}

void pp_groups_close(struct pp_groups *groups)
{
    if (!groups->kind)
        return;
    (void)pp_cgroup_pool_remove(groups->directory, groups->name);
    groups->directory = pp_close(groups->directory);
    groups->kind = NULL;
}

int pp_group_make(struct pp_group *group, const struct pp_groups *groups, uint32_t worker,
                  int *entryp)
{
    char entry[64];
    int r, fd;

    (void)snprintf(group->name, sizeof group->name, "%u", worker);
    if (mkdirat(groups->directory, group->name, 0755) < 0)
        return pp_fail(-errno, "make a memory cgroup for a worker");
    group->groups = groups;
    r = groups->kind->prepare(groups->directory, group->name);
    if (r < 0) {
        pp_group_remove(group);
        return pp_fail(r, "prepare a worker's memory cgroup");
    }
    (void)snprintf(entry, sizeof entry, "%s/%s", group->name, groups->kind->entry);
    fd = openat(groups->directory, entry, O_WRONLY | O_CLOEXEC);
    fd = fd < 0 ? -errno : pp_fd_above_stdio(fd);
    if (fd < 0) {
        pp_group_remove(group);
        return pp_fail(fd, "open a worker's memory cgroup");
    }
    *entryp = fd;
    return 0;
}

void pp_group_remove(struct pp_group *group)
{
    if (group->groups && group->groups->kind)
        (void)unlinkat(group->groups->directory, group->name, AT_REMOVEDIR);
    group->groups = NULL;
}

bool pp_group_has(const struct pp_group *group, int32_t pid)
{
    char path[32], end[PP_CGROUP_NAME + 32], text[PP_CGROUP_TEXT];
    PP_AUTO_FD fd = -1;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
    (void)snprintf(end, sizeof end, "/%s/%s\n", group->groups->name, group->name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        return errno == ENOENT || errno == ESRCH; /* it has ended: no call meets it */
    text[n] = '\0';
    return strstr(text, end) != NULL;
}

int pp_group_limit(struct pp_group *group, uint64_t cap, uint64_t copies)
{
    const struct pp_groups *groups = group->groups;
    bool can_wait = groups->kind == &pp_cgroup_v1;
    struct pp_cgroup_state state;
    int r = groups->kind->read(groups->directory, group->name, &state);

    if (r < 0)
        return r;
    group->base = state.held;
    group->wall = state.held + cap + slack(cap);
    /* Where nobody asks us first, what it may copy has to fit from the start. */
    group->credit = can_wait ? copies : 0;
    if (!can_wait)
        group->wall += copies;
    return groups->kind->limit(groups->directory, group->name, group->wall);
}

static void move(struct pp_group *group, uint64_t bytes)
{
    group->wall += bytes;
    (void)group->groups->kind->limit(group->groups->directory, group->name, group->wall);
}

bool pp_group_stalls(struct pp_group *group, uint64_t left)
{
    const struct pp_groups *groups = group->groups;
    uint64_t step = left < group->credit ? left : group->credit;

    if (!groups || group->wall == 0 || !groups->kind->stalled(groups->directory, group->name))
        return false;
    if (step < STEP_LEAST)
        return true;
    group->credit -= step;
    group->base += step;
    move(group, step);
    return false;
}

void pp_group_yield(struct pp_group *group)
{
    if (group->groups && group->wall != 0)
        move(group, slack(group->wall - group->base));
}

uint64_t pp_group_used(const struct pp_group *group)
{
    struct pp_cgroup_state state;

    if (!group->groups ||
        group->groups->kind->read(group->groups->directory, group->name, &state) < 0)
        return 0;
    return state.held > group->base ? state.held - group->base : 0;
}

uint64_t pp_group_peak(const struct pp_group *group)
{
    struct pp_cgroup_state state;

    if (!group->groups ||
        group->groups->kind->read(group->groups->directory, group->name, &state) < 0)
        return 0;
    return state.peak > group->base ? state.peak - group->base : 0;
}

bool pp_group_was_killed(const struct pp_group *group, bool *ownp)
{
    struct pp_cgroup_state state;

    if (!group->groups ||
        group->groups->kind->read(group->groups->directory, group->name, &state) < 0 ||
        state.kills == 0)
        return false;
    *ownp = group->wall != 0 && state.refusals != 0;
    return true;
}
