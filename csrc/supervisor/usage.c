/* usage.c - sums over a process tree, bounded in depth and number. */
#include "supervisor/usage.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PROCESSES_MAX = 4096, /* more are not looked at: the kernel was asked to limit them */
    TEXT_MAX = 4096,
};

/* Processes that were met and are still to be looked at. */
struct tree {
    pid_t pids[PROCESSES_MAX];
    size_t n, at;
};

/* A small file below /proc as text; false when it cannot be read. */
static bool read_text(const char *path, char text[TEXT_MAX])
{
    PP_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_MAX - 1);

    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The number behind a name of /proc/<pid>/status. */
static uint64_t number(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* Kilobytes there, as bytes. */
static uint64_t field(const char *text, const char *name)
{
    return number(text, name) * 1024;
}

/* Bytes of the memory files that a process holds open, mapped or not. */
static uint64_t open_memory(pid_t pid)
{
    char path[64], link[32];
    const struct dirent *entry;
    uint64_t bytes = 0;
    DIR *directory;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    directory = opendir(path);
    if (!directory)
        return 0;
    /* The stream is ours alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((entry = readdir(directory)) != NULL) {
        struct stat st;
        ssize_t n = readlinkat(dirfd(directory), entry->d_name, link, sizeof link);

        if (n > 7 && memcmp(link, "/memfd:", 7) == 0 &&
            fstatat(dirfd(directory), entry->d_name, &st, 0) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    }
    (void)closedir(directory);
    return bytes;
}

static void add_status(pid_t pid, bool is_root, struct pp_usage *usage)
{
    char path[64], text[TEXT_MAX];
    uint64_t mapped, open_bytes, threads;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (!read_text(path, text))
        return;
    threads = number(text, "\nThreads:");
    usage->threads += threads > 1 ? (uint32_t)threads - 1 : 0;
    mapped = field(text, "\nRssShmem:");
    open_bytes = open_memory(pid);
    /* A memory file may be both; then the larger sum has it. */
    usage->memory += field(text, "\nRssAnon:") + (mapped > open_bytes ? mapped : open_bytes);
    if (is_root)
        usage->data = field(text, "\nVmData:");
}

/* Fields 14 to 17 of /proc/<pid>/stat: user and system time, own and of reaped children. The
 * process's own clock is finer, but does not have those. */
static int64_t ticks(pid_t pid, bool own)
{
    char path[64], text[TEXT_MAX];
    const char *at;
    int64_t sum = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(path, text) || !(at = strrchr(text, ')')))
        return 0;
    for (int number = 2; number < 17; number++) {
        at = strchr(at + 1, ' ');
        if (!at)
            return 0;
        if (number >= (own ? 13 : 15))
            sum += strtoll(at, NULL, 10);
    }
    return sum;
}

static void add_cpu(pid_t pid, struct pp_usage *usage)
{
    static const int64_t second = 1000000000;
    /* clock_getcpuclockid(3)'s way to write a process's clock. */
    clockid_t clock = (clockid_t)((~(unsigned)pid << 3) | 2U);
    long hertz = sysconf(_SC_CLK_TCK);
    struct timespec spent;
    bool own = clock_gettime(clock, &spent) == 0;

    if (own)
        usage->cpu_ns += spent.tv_sec * second + spent.tv_nsec;
    usage->cpu_ns += ticks(pid, !own) * (second / (hertz > 0 ? hertz : 100));
}

/* Each thread has the children that it forked. With a session, only those of it. */
static void add_children(struct tree *tree, pid_t pid, pid_t session)
{
    char path[64], text[TEXT_MAX];
    const struct dirent *entry;
    DIR *directory;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    directory = opendir(path);
    if (!directory)
        return;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((entry = readdir(directory)) != NULL) {
        char *end, *at = text;

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", (int)pid, entry->d_name);
        if (!read_text(path, text))
            continue;
        for (long child = strtol(at, &end, 10); end != at && tree->n < PROCESSES_MAX;
             child = strtol(at, &end, 10)) {
            if (session == 0 || (child != session && getsid((pid_t)child) == session))
                tree->pids[tree->n++] = (pid_t)child;
            at = end;
        }
    }
    (void)closedir(directory);
}

void pp_usage_read(pid_t pid, pid_t keeper, struct pp_usage *usage)
{
    struct tree tree;

    *usage = (struct pp_usage){0};
    tree.pids[0] = pid;
    tree.n = 1;
    add_children(&tree, keeper, pid);
    for (tree.at = 0; tree.at < tree.n; tree.at++) {
        add_status(tree.pids[tree.at], tree.at == 0, usage);
        add_cpu(tree.pids[tree.at], usage);
        add_children(&tree, tree.pids[tree.at], 0);
    }
    usage->processes = (uint32_t)tree.n - 1;
}

bool pp_usage_stopped(pid_t pid)
{
    char path[64], text[TEXT_MAX];
    const char *end;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (pid <= 0 || !read_text(path, text))
        return false;
    end = strrchr(text, ')');
    return end && strlen(end) > 2 && end[2] == 'T';
}

uint64_t pp_usage_oom_kills(void)
{
    static const char name[] = "\noom_kill ";
    char text[16 * 1024];
    PP_AUTO_FD fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    const char *at;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    at = strstr(text, name);
    return at ? strtoull(at + sizeof name - 1, NULL, 10) : 0;
}
