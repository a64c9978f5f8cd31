/* main.c - pyproc-keeper: parent and reaper of one pool's workers.
 *
 *   host --requests--> keeper --fork, steps before exec, exec--> worker
 *   host <--reports---   |  <------- SIGCHLD, wait ----------------'
 *
 * Started by the host (csrc/supervisor/keeper.c) with its end of the socket at 3 and the
 * host's pidfd at 4, and the directory of the workers' cgroups at 5, if they have any, which it
 * removes at the end; then its name is the first argument. It reads nothing that a worker
 * wrote. It sleeps in poll without a timer while nothing happens. When the host is gone, by its
 * pidfd or the end of the socket, it kills everything, waits for it, and leaves.
 *
 * In a namespace of processes it is the first: nobody in there can signal it, and its end is
 * the end of all others.
 *
 * All signals stay blocked: a ^C or a SIGTERM to the whole service is the host's to
 * answer, which may want to finish its calls first. SIGKILL ends the keeper, and by
 * their death signal its workers.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "base/spec.h"
#include "keeper/child.h"
#include "keeper/reap.h"
#include "keeper/ward.h"
#include "security/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CONTROL = 3,
    HOST = 4,
    GROUPS = 5,
    HELD = 64,            /* launches under way or unread by the host */
    FDS_OF_OUR_OWN = 40,  /* what a launch needs beside its pipe and pidfd */
    REQUESTS_A_STEP = 64, /* so that kills and deaths take turns */
};

struct keeper {
    struct pp_wards wards;
    struct pp_reaper reaper;
    struct pp_nursery nursery;
    int children; /* signalfd of SIGCHLD; owned */
    size_t held;  /* HELD, or what the limit of descriptors allows */
};

static struct keeper keeper; /* too large for the stack */

static void launch(struct keeper *k, uint32_t worker, const int *fds, size_t n_fds)
{
    struct pp_ward *ward = pp_ward_new(&k->wards, worker); /* room was checked */
    int error = 0;

    if (n_fds != PP_SPEC_FDS + 1 && n_fds != PP_SPEC_FDS + 2)
        error = EPROTO;
    else if (pp_ward_by_id(&k->wards, worker) != NULL)
        error = EEXIST;
    else if (k->wards.n_living >= PP_WARDS_LIVING)
        error = EAGAIN;
    if (error != 0) {
        pp_ward_fail(ward, "request", error);
        pp_ward_over(&k->wards, ward);
    } else {
        pp_child_launch(&k->nursery, &k->wards, ward, fds, n_fds);
    }
}

/* What is wrong with an adoption, as an errno; 0: nothing. */
static int refuse_adoption(struct keeper *k, uint32_t worker, pid_t pid)
{
    if (pid <= 1 || pp_ward_by_id(&k->wards, worker) != NULL ||
        pp_ward_by_pid(&k->wards, pid) != NULL)
        return EEXIST;
    return k->wards.n_living >= PP_WARDS_LIVING ? EAGAIN : 0;
}

static void adopt(struct keeper *k, uint32_t worker, pid_t pid)
{
    struct pp_ward *ward = pp_ward_new(&k->wards, worker);
    int error = refuse_adoption(k, worker, pid);

    if (error == 0)
        error = -pp_child_adopt(&k->wards, ward, pid);
    if (error != 0) {
        pp_ward_fail(ward, "adopt", error);
        pp_ward_over(&k->wards, ward);
    }
}

static void answer(struct keeper *k, const struct pp_request *request, const int *fds, size_t n_fds)
{
    struct pp_ward *ward;

    if (request->kind == PP_REQUEST_LAUNCH) {
        launch(k, request->worker, fds, n_fds);
    } else if (request->kind == PP_REQUEST_ADOPT) {
        adopt(k, request->worker, request->pid);
    } else if (request->kind == PP_REQUEST_KILL) {
        ward = pp_ward_by_id(&k->wards, request->worker);
        if (ward != NULL)
            pp_reaper_kill(ward);
    }
    pp_reaper_notice(&k->reaper);
}

/* Whether one more launch can be kept track of. */
static bool has_room(const struct keeper *k)
{
    return k->wards.n_used < PP_WARDS && k->wards.n_held < k->held;
}

/* Takes what the host asked for. False when its end is closed or speaks nonsense. */
static bool listen_to_host(struct keeper *k)
{
    for (int i = 0; i < REQUESTS_A_STEP && has_room(k); i++) {
        struct pp_request request;
        int fds[PP_SPEC_FDS + 2];
        size_t n_fds = 0;
        ssize_t n = pp_handoff_receive(CONTROL, &request, sizeof(request), fds,
                                       sizeof(fds) / sizeof(fds[0]), &n_fds, MSG_DONTWAIT);

        if (n == -EAGAIN || n == -EINTR)
            return true;
        if (n != (ssize_t)sizeof(request) || request.magic != PP_SPEC_MAGIC)
            return false;
        answer(k, &request, fds, n_fds);
        for (size_t j = 0; j < n_fds; j++)
            (void)pp_close(fds[j]);
    }
    return true;
}

static void listen_to_launches(struct keeper *k)
{
    struct pp_list *living = &k->wards.living;

    if (k->wards.n_held == 0)
        return;
    for (struct pp_list *l = living->next; l != living; l = l->next) {
        struct pp_ward *ward = pp_container(l, struct pp_ward, link);

        if (ward->state == PP_WARD_LAUNCHING)
            pp_child_finish(&k->wards, ward);
    }
}

static void listen_to_children(struct keeper *k)
{
    struct signalfd_siginfo info;

    while (read(k->children, &info, sizeof(info)) == (ssize_t)sizeof(info))
        k->reaper.signalled = true;
}

/* Milliseconds that poll may sleep. */
static int patience(const struct keeper *k)
{
    int64_t left;

    if (pp_reaper_busy(&k->reaper))
        return 0;
    if (k->reaper.look == PP_NEVER)
        return -1;
    left = k->reaper.look - pp_now();
    return left <= 0 ? 0 : (int)(left / PP_MS) + 1;
}

/* The pipes of launches under way, behind the first three. */
static nfds_t add_pipes(const struct keeper *k, struct pollfd *polls)
{
    const struct pp_list *living = &k->wards.living;
    nfds_t n = 0;

    if (k->wards.n_held == 0)
        return 0;
    for (const struct pp_list *l = living->next; l != living; l = l->next) {
        const struct pp_ward *ward = pp_container(l, const struct pp_ward, link);

        if (ward->state == PP_WARD_LAUNCHING && n < HELD)
            polls[n++] = (struct pollfd){.fd = ward->pipe, .events = POLLIN};
    }
    return n;
}

static void serve(struct keeper *k)
{
    struct pollfd polls[3 + HELD];
    bool with_host = true;

    while (with_host || !pp_reaper_alone(&k->reaper)) {
        short events = has_room(k) ? POLLIN : 0;
        nfds_t n = 3 + add_pipes(k, polls + 3);

        if (!pp_list_empty(&k->wards.owed))
            events |= POLLOUT;
        polls[0] = (struct pollfd){.fd = with_host ? CONTROL : -1, .events = events};
        polls[1] = (struct pollfd){.fd = with_host ? HOST : -1, .events = POLLIN};
        polls[2] = (struct pollfd){.fd = k->children, .events = POLLIN};
        if (poll(polls, n, patience(k)) < 0 && errno != EINTR)
            return; /* cannot be; our death ends the workers */
        listen_to_children(k);
        listen_to_launches(k);
        if (with_host) {
            with_host = polls[1].revents == 0 && (polls[0].revents & (POLLHUP | POLLERR)) == 0 &&
                        listen_to_host(k) && pp_wards_send(&k->wards, CONTROL) == 0;
            if (!with_host)
                pp_reaper_leave(&k->reaper);
        }
        pp_reaper_step(&k->reaper);
    }
}

/* Our own soft limit goes up, so that many launches fit; workers get the host's. */
static void raise_open_files(struct keeper *k)
{
    struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};
    rlim_t room;

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    k->nursery.open_files = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    room = limit.rlim_cur > FDS_OF_OUR_OWN ? (limit.rlim_cur - FDS_OF_OUR_OWN) / 3 : 0;
    k->held = room < 1 ? 1 : room < HELD ? (size_t)room : HELD;
}

/* First in a namespace of processes: /proc is to show them, and under our numbers. What the host
 * mounts later shall still reach us. */
static int see_own_processes(void)
{
    const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return -errno;
    return mount("pyproc", "/proc", "proc", plain, NULL) < 0 ? -errno : 0;
}

static int set_up(struct keeper *k)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t all, child;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &action, NULL); /* an ignored SIGCHLD would lose every status */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -errno;
    if (getppid() == 0 && see_own_processes() < 0) /* 0: the host is outside */
        return -errno;
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* workers of the same uid keep out */
    if (fcntl(CONTROL, F_SETFD, FD_CLOEXEC) < 0 || fcntl(HOST, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    (void)fcntl(GROUPS, F_SETFD, FD_CLOEXEC);
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    k->children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (k->children < 0)
        return -errno;
    raise_open_files(k);
    pp_wards_init(&k->wards);
    pp_reaper_init(&k->reaper, &k->wards);
    return 0;
}

/* Somebody may type our name in a shell. */
static bool was_started_by_a_host(void)
{
    int type = 0;
    socklen_t n = sizeof(type);

    return getsockopt(CONTROL, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

/* All processes are gone, but one may be dying still. What stays the next pool's start removes. */
static void remove_groups(const char *name)
{
    static const struct timespec pause = {.tv_nsec = 10 * PP_MS};

    for (int i = 0; i < 20 && pp_cgroup_pool_remove(GROUPS, name) < 0; i++)
        (void)nanosleep(&pause, NULL);
}

int main(int argc, char **argv)
{
    if (!was_started_by_a_host()) {
        (void)fputs("pyproc-keeper is started by pyproc, never by hand\n", stderr);
        return 2;
    }
    if (set_up(&keeper) < 0)
        return 1;
    serve(&keeper);
    if (argc > 1)
        remove_groups(argv[1]);
    pp_reaper_deinit(&keeper.reaper);
    return 0;
}
