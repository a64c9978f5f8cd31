/* keeper_rig.h - a keeper with real processes, for the tests that need one.
 *
 * A process counts as gone when the pipe that all of its tree inherited as stdout is at
 * its end: no list of pids could prove that. The keeper's path comes from PP_KEEPER or
 * PYPROC_TEST_KEEPER. One thread.
 */
#ifndef PP_TESTS_KEEPER_RIG_H
#define PP_TESTS_KEEPER_RIG_H

#include "base/clock.h"
#include "base/fd.h"
#include "check.h"
#include "supervisor/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

enum { PATIENCE_MS = 20000 };

static const char *keeper_path(void)
{
    const char *path = getenv("PP_KEEPER");

    return path != NULL ? path : getenv("PYPROC_TEST_KEEPER");
}

static inline struct pp_keeper *start(void)
{
    struct pp_keeper *keeper = NULL;

    if (!CHECK(keeper_path() != NULL) ||
        !CHECK_EQ(pp_keeper_start(keeper_path(), 0, 0, NULL, &keeper), 0))
        exit(EXIT_FAILURE); /* nothing else here makes sense */
    return keeper;
}

static inline void stop(struct pp_keeper *keeper)
{
    CHECK(pp_keeper_free(keeper, PATIENCE_MS) == NULL);
}

/* A launch with a pipe as stdout and /dev/null for the rest. */
struct job {
    struct pp_launch launch;
    int out; /* our end */
    int null;
};

static const char *const no_vars[] = {"PATH=/usr/bin:/bin", NULL};

static inline void prepare(struct job *job, uint32_t worker, const char *const *argv)
{
    int ends[2] = {-1, -1};

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    job->out = ends[0];
    job->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    job->launch = (struct pp_launch){.worker = worker, .argv = argv, .envp = no_vars, .cwd = "/"};
    pp_policy_init(&job->launch.policy);
    for (int i = 0; i < PP_WORKER_FDS; i++)
        job->launch.fds[i] = job->null;
    job->launch.fds[PP_WORKER_FD_STDOUT] = ends[1];
}

/* Asks and gives our copies away, so that only the worker's tree holds the pipe. */
static inline void launch(struct pp_keeper *keeper, struct job *job)
{
    CHECK_EQ(pp_keeper_launch(keeper, &job->launch), 0);
    (void)close(job->launch.fds[PP_WORKER_FD_STDOUT]);
    (void)close(job->null);
}

static inline int launch_script(struct pp_keeper *keeper, uint32_t worker, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    struct job job;

    prepare(&job, worker, argv);
    launch(keeper, &job);
    return job.out;
}

static inline bool readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    int r;

    do
        r = poll(&poll_fd, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r > 0;
}

/* The next event; its pidfd is closed unless `pidfdp` takes it. */
static inline struct pp_keeper_event next_event(struct pp_keeper *keeper, int *pidfdp)
{
    struct pp_keeper_event event = {.pidfd = -1};
    int r;

    while ((r = pp_keeper_read(keeper, &event)) == PP_KEEPER_NOTHING)
        if (!CHECK(readable(pp_keeper_fd(keeper), PATIENCE_MS)))
            break;
    CHECK_EQ(r, 0);
    CHECK((event.pidfd >= 0) == (event.kind == PP_KEEPER_LAUNCHED));
    if (pidfdp != NULL)
        *pidfdp = event.pidfd;
    else
        (void)pp_close(event.pidfd);
    return event;
}

static inline struct pp_keeper_event expect(struct pp_keeper *keeper,
                                            enum pp_keeper_event_kind kind, uint32_t worker)
{
    struct pp_keeper_event event = next_event(keeper, NULL);

    CHECK_EQ(event.kind, kind);
    CHECK_EQ(event.worker, worker);
    return event;
}

/* Reads to the end of the pipe or `size` - 1 bytes or a newline. False without an end or
 * a line in time. */
static inline bool read_line(int fd, char *text, size_t size, int timeout_ms)
{
    int64_t until = pp_now() + timeout_ms * PP_MS;
    size_t n = 0;

    for (;;) {
        int64_t left = until - pp_now();
        ssize_t got;

        if (left <= 0 || !readable(fd, (int)(left / PP_MS) + 1))
            return false;
        got = read(fd, text + n, 1);
        if (got <= 0 || text[n] == '\n' || n + 2 == size) {
            text[n] = '\0';
            return got >= 0;
        }
        n++;
    }
}

/* The milliseconds until nobody holds the pipe's other end any more; -1: too long. */
static inline int64_t until_gone(int fd)
{
    int64_t from = pp_now();
    char text[256];

    for (;;) {
        ssize_t got;

        if (!readable(fd, PATIENCE_MS))
            return -1;
        got = read(fd, text, sizeof(text));
        if (got == 0)
            return (pp_now() - from) / PP_MS;
        if (got < 0)
            return -1;
    }
}

/* Nobody holds it already now. */
static inline bool is_gone(int fd)
{
    char text[256];
    ssize_t got = 1;

    while (got > 0 && readable(fd, 0))
        got = read(fd, text, sizeof(text));
    (void)close(fd);
    return got == 0;
}

/* The open numbers of a process as a bit set; bit 31: 31 or more. */
static inline uint32_t fds_of(pid_t pid)
{
    char path[64];
    uint32_t set = 0;
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        long number = strtol(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.')
            set |= 1U << (number < 31 ? number : 31);
    }
    (void)closedir(dir);
    return set;
}

#endif
