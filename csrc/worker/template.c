/* template.c - forks workers, twice over, so that the keeper becomes their parent.
 *
 *   template --vfork--> middle --fork--> worker
 *
 * The middle process shares the template's memory and is gone once it has forked, so memory
 * is copied once only. The worker then waits until the keeper has it, takes the descriptors that
 * came with the request, and starts over as any worker does: with the host's Hello.
 */
#include "worker/worker.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "ipc/fork.h"
#include "ipc/socket.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* What the two forks tell each other; in memory that template and middle share. */
struct birth {
    volatile pid_t keeper; /* the template's parent */
    volatile pid_t middle;
    volatile pid_t worker; /* or a negative errno */
};

/* In the worker: 0 once the keeper is its parent and it dies with it. */
static int be_adopted(const struct birth *birth)
{
    pid_t parent = getppid();

    while (parent == birth->middle) {
        (void)sched_yield();
        parent = getppid();
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    return parent == birth->keeper && getppid() == parent ? 0 : -ESRCH;
}

/* 1 in the worker, 0 in the template, which may read birth->worker. */
static int fork_twice(struct birth *birth)
{
    pid_t middle;

    birth->keeper = getppid();
    birth->worker = -EAGAIN;
    /* More than vfork(2) promises to a child: Linux and glibc do not mind, for the template has
     * one thread, which stands still meanwhile. */
    /* NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
    middle = vfork();
    if (middle == 0) {
        birth->middle = getpid();
        pid_t worker = fork();

        if (worker == 0)
            return 1; /* its memory, and so this stack, is its own */
        birth->worker = worker < 0 ? -errno : worker;
        _exit(0);
    }
    /* NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
    if (middle < 0)
        birth->worker = -errno;
    else
        while (waitpid(middle, NULL, __WALL) < 0 && errno == EINTR)
            continue;
    return 0;
}

/* Without close-on-exec: what the worker starts writes there too. */
static int take_streams(const int *fds)
{
    if (dup3(fds[0], STDOUT_FILENO, 0) < 0 || dup3(fds[1], STDERR_FILENO, 0) < 0)
        return pp_fail(-errno, "take the output pipes");
    return 0;
}

/* Before anything else: from here on its memory is counted as its own. */
static int enter_cgroup(const int *fds, size_t n_fds)
{
    int r;

    if (n_fds == PP_FORK_FDS)
        return 0;
    r = write(fds[PP_FORK_FDS], "0", 1) == 1 ? 0 : -errno;
    (void)pp_close(fds[PP_FORK_FDS]);
    return r < 0 ? pp_fail(r, "enter a memory cgroup") : 0;
}

static void close_all(const int *fds, size_t n_fds)
{
    for (size_t i = 0; i < n_fds; i++)
        (void)pp_close(fds[i]);
}

/* The forked worker gives up what was the template's and takes its own. */
static int start_over(struct pp_worker *worker, const struct birth *birth, const int *fds,
                      size_t n_fds)
{
    int r = enter_cgroup(fds, n_fds);

    if (r < 0)
        return r;
    r = be_adopted(birth);

    if (r < 0)
        return pp_fail(r, "be taken over by the keeper");
    r = take_streams(fds);
    (void)pp_close(fds[0]);
    (void)pp_close(fds[1]);
    return r == 0 ? pp_worker_again(worker, fds + 2) : r;
}

static int report(struct pp_worker *worker, uint32_t id, pid_t pid)
{
    const struct pp_fork_report record = {.magic = PP_FORK_MAGIC, .worker = id, .pid = pid};
    ssize_t n;

    do
        n = pp_socket_send(worker->call_fd, &record, sizeof record, 0);
    while (n == -EINTR);
    return n == (ssize_t)sizeof record ? 0 : PP_WORKER_END;
}

/* One request, whose descriptors it takes: 0, PP_WORKER_END, PP_WORKER_FORKED in the new
 * worker, or a negative errno. */
static int serve_request(struct pp_worker *worker, const struct pp_fork_request *request,
                         const int *fds, size_t n_fds)
{
    struct birth birth = {0};
    int r;

    worker->calls->before_fork(worker->token);
    if (fork_twice(&birth)) {
        worker->calls->after_fork(worker->token, 1);
        r = start_over(worker, &birth, fds, n_fds);
        return r < 0 ? r : PP_WORKER_FORKED;
    }
    close_all(fds, n_fds);
    worker->calls->after_fork(worker->token, 0);
    return report(worker, request->worker, birth.worker);
}

/* The application may have closed its standard streams: what came must not lie there. On an
 * error all are closed. */
static int move_up(int *fds, size_t n_fds)
{
    int r = 0;

    for (size_t i = 0; i < n_fds; i++) {
        fds[i] = pp_fd_above_stdio(fds[i]);
        if (fds[i] < 0)
            r = fds[i];
    }
    if (r == 0)
        return 0;
    close_all(fds, n_fds);
    return pp_fail(r, "take a worker's descriptors");
}

/* 0 and, if *n_fdsp is not 0, a request whose descriptors are owned; PP_WORKER_END, or a
 * negative errno. */
static int next_request(struct pp_worker *worker, struct pp_fork_request *request, int *fds,
                        size_t *n_fdsp)
{
    ssize_t n;
    int r = worker->calls->interrupted(worker->token);

    if (r != 0)
        return r;
    worker->calls->before_wait(worker->token);
    r = pp_worker_wait_readable(worker);
    n = r < 0 ? r
              : pp_handoff_receive(worker->call_fd, request, sizeof *request, fds, PP_FORK_FDS_MAX,
                                   n_fdsp, 0);
    worker->calls->after_wait(worker->token);
    if (n == -EINTR)
        return 0;
    if (n <= 0)
        return n == 0 || n == -ECONNRESET ? PP_WORKER_END : (int)n;
    if (n == (ssize_t)sizeof *request && request->magic == PP_FORK_MAGIC &&
        (*n_fdsp == PP_FORK_FDS || *n_fdsp == PP_FORK_FDS_MAX))
        return move_up(fds, *n_fdsp);
    close_all(fds, *n_fdsp);
    return pp_fail(-EPROTO, "the host asked the template for something else than a worker");
}

int pp_worker_template(struct pp_worker *worker, const struct pp_worker_calls *calls, void *token)
{
    int r = 0;

    worker->calls = calls;
    worker->token = token;
    while (r == 0) {
        struct pp_fork_request request;
        int fds[PP_FORK_FDS_MAX];
        size_t n_fds = 0;

        r = next_request(worker, &request, fds, &n_fds);
        if (r != 0 || n_fds == 0)
            continue;
        r = serve_request(worker, &request, fds, n_fds);
    }
    return r == PP_WORKER_END ? 0 : r;
}
