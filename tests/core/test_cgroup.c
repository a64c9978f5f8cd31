/* test_cgroup.c - which files of a memory cgroup are read and written, on directories that look
 * like one. What a real kernel makes of it, of v1, tests/fault/test_memory_cgroup.py tries. */
#include "check.h"
#include "security/cgroup.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

static int scratch(void)
{
    const char *path = getenv("PYPROC_TEST_SCRATCH");
    int fd = open(path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    CHECK(fd >= 0);
    return fd;
}

static void put(int at, const char *path, const char *text)
{
    PP_AUTO_FD fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void holds(int at, const char *group, const char *file, const char *text)
{
    char found[PP_CGROUP_TEXT];

    CHECK_EQ(pp_cgroup_get(at, group, file, found), 0);
    CHECK_BYTES(found, strlen(found), text, strlen(text));
}

static void the_first_version_is_told_to_wait_and_how_much_is_allowed(void)
{
    PP_AUTO_FD at = scratch();

    CHECK_EQ(mkdirat(at, "one", 0700), 0);
    CHECK_EQ(pp_cgroup_v1.prepare(at, "one"), -ENOENT);
    put(at, "one/memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n");
    put(at, "one/memory.limit_in_bytes", "");
    CHECK_EQ(pp_cgroup_v1.limit(at, "one", 4096), 0); /* without an account of swap */
    holds(at, "one", "memory.limit_in_bytes", "4096");
    put(at, "one/memory.memsw.limit_in_bytes", "");
    CHECK_EQ(pp_cgroup_v1.limit(at, "one", 8192), 0);
    holds(at, "one", "memory.memsw.limit_in_bytes", "8192");
    put(at, "one/memory.usage_in_bytes", "8000");
    CHECK(pp_cgroup_v1.stalled(at, "one"));
    put(at, "one/memory.limit_in_bytes", "99999999"); /* raised, and nobody has run yet */
    CHECK(!pp_cgroup_v1.stalled(at, "one"));
    CHECK_EQ(pp_cgroup_v1.prepare(at, "one"), 0); /* our file keeps the rest of its text */
    CHECK(!pp_cgroup_v1.stalled(at, "nowhere"));
}

static void the_first_version_counts_all_but_cached_files(void)
{
    PP_AUTO_FD at = scratch();
    struct pp_cgroup_state state = {0};

    CHECK_EQ(mkdirat(at, "state", 0700), 0);
    CHECK_EQ(pp_cgroup_v1.read(at, "state", &state), -ENOENT);
    put(at, "state/memory.stat", "cache 5000\nrss 2000\nshmem 1000\ntotal_cache 9\n");
    put(at, "state/memory.usage_in_bytes", "7500\n");
    put(at, "state/memory.max_usage_in_bytes", "9000\n");
    put(at, "state/memory.failcnt", "2\n");
    put(at, "state/memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n");
    CHECK_EQ(pp_cgroup_v1.read(at, "state", &state), 0);
    CHECK_EQ(state.held, 3500);
    CHECK_EQ(state.peak, 9000);
    CHECK_EQ(state.refusals, 2);
    CHECK_EQ(state.kills, 3);
}

static void the_second_version_kills_whole_groups_and_does_not_swap(void)
{
    PP_AUTO_FD at = scratch();
    struct pp_cgroup_state state = {0};

    CHECK_EQ(mkdirat(at, "two", 0700), 0);
    CHECK_EQ(pp_cgroup_v2.prepare(at, "two"), 0); /* a kernel that has neither */
    put(at, "two/memory.oom.group", "");
    put(at, "two/memory.swap.max", "");
    CHECK_EQ(pp_cgroup_v2.limit(at, "two", 4096), -ENOENT);
    put(at, "two/memory.max", "");
    CHECK_EQ(pp_cgroup_v2.prepare(at, "two"), 0);
    CHECK_EQ(pp_cgroup_v2.limit(at, "two", 4096), 0);
    holds(at, "two", "memory.oom.group", "1");
    holds(at, "two", "memory.swap.max", "0");
    holds(at, "two", "memory.max", "4096");
    put(at, "two/memory.stat", "anon 2000\nfile 5000\nkernel 500\nshmem 1000\nfile_mapped 7\n");
    put(at, "two/memory.current", "7500\n");
    put(at, "two/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 1\n");
    CHECK_EQ(pp_cgroup_v2.read(at, "two", &state), 0);
    CHECK_EQ(state.held, 3500);
    CHECK_EQ(state.peak, 0); /* before 5.19 */
    CHECK_EQ(state.refusals, 2);
    CHECK_EQ(state.kills, 1);
    CHECK(!pp_cgroup_v2.stalled(at, "two"));
}

static void the_second_version_switches_its_controller_on(void)
{
    PP_AUTO_FD at = scratch();
    PP_AUTO_FD sub = -1;

    CHECK_EQ(mkdirat(at, "tree", 0700), 0);
    sub = openat(at, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(pp_cgroup_v2.enable(sub), -ENOENT);
    put(sub, "cgroup.subtree_control", "cpu\n");
    put(sub, "cgroup.controllers", "cpu memory_of_another pids\n");
    CHECK_EQ(pp_cgroup_v2.enable(sub), -ENOTSUP);
    put(sub, "cgroup.controllers", "cpu memory pids\n");
    CHECK_EQ(pp_cgroup_v2.enable(sub), 0);
    holds(sub, ".", "cgroup.subtree_control", "+memory");
    put(sub, "cgroup.subtree_control", "cpu memory\n");
    CHECK_EQ(pp_cgroup_v2.enable(sub), 0);
    holds(sub, ".", "cgroup.subtree_control", "cpu memory\n");
}

static void a_word_is_found_where_a_line_begins(void)
{
    CHECK_EQ(pp_cgroup_field("oom 7\noom_kill 3\n", "oom_kill"), 3);
    CHECK_EQ(pp_cgroup_field("oom_kill 3\noom 7", "oom"), 7);
    CHECK_EQ(pp_cgroup_field("total_cache 3\ncache 4\n", "cache"), 4);
    CHECK_EQ(pp_cgroup_field("", "cache"), 0);
}

/* A machine's view of its cgroups, below the scratch directory. */
static void machine(int at, const char *mounts, const char *own)
{
    (void)mkdirat(at, "proc", 0700);
    (void)mkdirat(at, "proc/self", 0700);
    put(at, "proc/self/mountinfo", mounts);
    put(at, "proc/self/cgroup", own);
}

static int find(char path[PP_CGROUP_PATH], const struct pp_cgroup_kind **kindp, const char **stepp)
{
    return pp_cgroup_find(getenv("PYPROC_TEST_SCRATCH"), NULL, path, kindp, stepp);
}

static void groups_are_made_in_the_hosts_own_of_the_first_version(void)
{
    PP_AUTO_FD at = scratch();
    const struct pp_cgroup_kind *kind = NULL;
    char path[PP_CGROUP_PATH];
    const char *step = "";
    size_t n;

    machine(at, "30 29 0:26 / /sys rw - sysfs sysfs rw\n", "0::/\n");
    CHECK_EQ(find(path, &kind, &step), -ENOTSUP);
    machine(at,
            "35 31 0:32 /docker/1 /a\\040b rw,relatime - cgroup cgroup rw,cpu\n"
            "36 31 0:33 /docker/1 /a\\040b rw,relatime - cgroup cgroup rw,memory\n",
            "4:memory:/docker/1/job\n2:cpu:/\n");
    CHECK_EQ(find(path, &kind, &step), -ENOENT);
    CHECK(strcmp(step, "open the directory") == 0);
    CHECK_EQ(mkdirat(at, "a b", 0700), 0);
    CHECK_EQ(mkdirat(at, "a b/job", 0700), 0);
    CHECK_EQ(find(path, &kind, &step), -ENOENT);
    CHECK(strcmp(step, "switch the memory controller on") == 0);
    put(at, "a b/job/memory.limit_in_bytes", "1");
    put(at, "a b/job/tasks", "");
    /* Here the pool's directory is empty: a real one has these files by itself. */
    CHECK_EQ(find(path, &kind, &step), -ENOENT);
    CHECK(strcmp(step, "make a group") == 0);
    CHECK(kind == &pp_cgroup_v1);
    n = strlen(path);
    CHECK(n > 8 && strcmp(path + n - 8, "/a b/job") == 0);
}

static void a_pools_directory_is_removed_when_nobody_holds_it(void)
{
    PP_AUTO_FD at = scratch();
    PP_AUTO_FD base = -1;
    PP_AUTO_FD held = -1;
    struct stat st;
    char name[PP_CGROUP_NAME];
    int directory = -1;

    CHECK_EQ(mkdirat(at, "base", 0700), 0);
    base = openat(at, "base", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(mkdirat(base, "pyproc-1-left", 0700), 0);
    CHECK_EQ(mkdirat(base, "pyproc-1-left/12", 0700), 0);
    CHECK_EQ(mkdirat(base, "pyproc-2-held", 0700), 0);
    CHECK_EQ(mkdirat(base, "other", 0700), 0);
    held = openat(base, "pyproc-2-held", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(flock(held, LOCK_EX), 0);
    /* The new one has no files here, so it is given up again. */
    CHECK_EQ(pp_cgroup_pool_new(base, &pp_cgroup_v1, name, &directory), -ENOENT);
    CHECK_EQ(directory, -1);
    CHECK_EQ(fstatat(base, name, &st, 0), -1);
    CHECK_EQ(fstatat(base, "pyproc-1-left", &st, 0), -1);
    CHECK_EQ(fstatat(base, "pyproc-2-held", &st, 0), 0);
    CHECK_EQ(fstatat(base, "other", &st, 0), 0);
    CHECK_EQ(mkdirat(held, "3", 0700), 0);
    CHECK_EQ(mkdirat(held, "3/member", 0700), 0); /* as if somebody were in it */
    CHECK_EQ(pp_cgroup_pool_remove(held, "pyproc-2-held"), -ENOTEMPTY);
    CHECK_EQ(unlinkat(held, "3/member", AT_REMOVEDIR), 0);
    CHECK_EQ(pp_cgroup_pool_remove(held, "pyproc-2-held"), 0);
    CHECK_EQ(pp_cgroup_pool_remove(held, "pyproc-2-held"), 0);
}

PP_TESTS(PP_TEST(the_first_version_is_told_to_wait_and_how_much_is_allowed),
         PP_TEST(the_first_version_counts_all_but_cached_files),
         PP_TEST(the_second_version_kills_whole_groups_and_does_not_swap),
         PP_TEST(the_second_version_switches_its_controller_on),
         PP_TEST(a_word_is_found_where_a_line_begins),
         PP_TEST(groups_are_made_in_the_hosts_own_of_the_first_version),
         PP_TEST(a_pools_directory_is_removed_when_nobody_holds_it))
