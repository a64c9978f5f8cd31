/* cpus.c - sets of processors as the kernel's bit masks. */
#include "supervisor/cpus.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has(const uint64_t *mask, unsigned cpu)
{
    return mask[cpu / 64] >> (cpu % 64) & 1;
}

static unsigned count(const uint64_t *mask)
{
    unsigned n = 0;

    for (unsigned cpu = 0; cpu < PP_CPUS_MAX; cpu++)
        n += has(mask, cpu);
    return n;
}

void pp_cpus_init(struct pp_cpus *cpus, const uint64_t all[PP_CPU_WORDS], unsigned each)
{
    unsigned n = count(all);

    memcpy(cpus->all, all, sizeof cpus->all);
    cpus->each = each < n ? each : 0;
    cpus->groups = cpus->each ? (n + cpus->each - 1) / cpus->each : 1;
}

void pp_cpus_group(const struct pp_cpus *cpus, unsigned group, uint64_t mask[PP_CPU_WORDS])
{
    unsigned n = count(cpus->all), rank = 0;

    if (cpus->each == 0) {
        memcpy(mask, cpus->all, sizeof cpus->all);
        return;
    }
    memset(mask, 0, sizeof cpus->all);
    for (unsigned cpu = 0; cpu < PP_CPUS_MAX; cpu++) {
        if (!has(cpus->all, cpu))
            continue;
        /* How far this one is behind the group's first, in a ring. */
        if ((rank + n - group * cpus->each) % n < cpus->each)
            mask[cpu / 64] |= UINT64_C(1) << (cpu % 64);
        rank++;
    }
}

static void move_threads(pid_t pid, const uint64_t mask[PP_CPU_WORDS])
{
    const struct dirent *entry;
    char path[64];
    DIR *directory;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    directory = opendir(path);
    if (!directory)
        return;
    /* The stream is ours alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((entry = readdir(directory)) != NULL) {
        long thread = strtol(entry->d_name, NULL, 10);

        if (thread > 0) /* one that has ended meanwhile is no matter */
            (void)syscall(SYS_sched_setaffinity, (pid_t)thread, sizeof(uint64_t) * PP_CPU_WORDS,
                          mask);
    }
    (void)closedir(directory);
}

void pp_cpus_move(pid_t pid, const uint64_t mask[PP_CPU_WORDS])
{
    /* A thread that was not moved yet may have started another one behind our back. */
    move_threads(pid, mask);
    move_threads(pid, mask);
}
