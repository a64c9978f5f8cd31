/* reap.c - waits, kills, looks again.
 *
 * A child that has not been reaped keeps its number, and nobody else reaps ours, so a
 * kill by number of a child is exact. Their descendants are killed through pidfds, after
 * a second look at both ends of the bond. A process group dies in one piece even while
 * its members fork (kill(2) holds the kernel's task lock), so groups are killed first;
 * that ends the plain fork bomb.
 *
 * Against a bomb that leaves its groups stands a storm: while walks find many alive,
 * nothing is reaped. Where processes are limited in number (RLIMIT_NPROC, a cgroup), the
 * dead then leave no room for new ones. Without such a limit the keeper races on.
 *
 * The proof that nothing is left of a worker is one walk over /proc that found nothing
 * to kill; no child is reaped during a walk: a process that a walk misses hangs, at the
 * walk's start, below a child of ours, which is met, dead or alive.
 *
 * Where /proc cannot be read, the worker and its process group are all that can be
 * killed, and its end is reported when these are.
 */
#include "keeper/reap.h"

#include "base/clock.h"
#include "base/fd.h"
#include "keeper/child.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REAPS_A_STEP = 256,
    PROCS_A_STEP = 512,
    STORM = 64,      /* alive in one walk */
    EMPTY_WALKS = 3, /* before children that /proc does not show are given up */
};

#define PAUSE_MIN (10 * PP_MS)
#define PAUSE_MAX PP_SECOND
#define STORM_MAX (5 * PP_SECOND) /* some may be stuck in the kernel */

void pp_reaper_init(struct pp_reaper *reaper, struct pp_wards *wards)
{
    reaper->wards = wards;
    reaper->self = getpid();
    reaper->look = PP_NEVER;
    reaper->pause = PAUSE_MIN;
    if (pp_proc_open(&reaper->walk) < 0)
        reaper->walk = NULL;
}

void pp_reaper_deinit(struct pp_reaper *reaper)
{
    reaper->walk = pp_proc_close(reaper->walk);
}

static void kill_child(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)kill(pid, SIGCONT); /* a stopped process in a pid namespace was seen to ignore KILL */
}

void pp_reaper_kill(struct pp_ward *ward)
{
    ward->killed = true;
    (void)kill(-ward->pid, SIGKILL); /* no such group before its setsid: it has no tree yet */
    kill_child(ward->pid);
}

static void walk_from(struct pp_reaper *reaper)
{
    reaper->again = true;
}

void pp_reaper_leave(struct pp_reaper *reaper)
{
    struct pp_list *living = &reaper->wards->living;

    reaper->leaving = true;
    for (struct pp_list *l = living->next; l != living; l = l->next)
        pp_reaper_kill(pp_container(l, struct pp_ward, link));
    walk_from(reaper);
}

static void look_in(struct pp_reaper *reaper, int64_t span)
{
    int64_t look = pp_after(pp_now(), span);

    if (look < reaper->look)
        reaper->look = look;
}

void pp_reaper_notice(struct pp_reaper *reaper)
{
    if (reaper->look == PP_NEVER)
        look_in(reaper, PP_SECOND);
}

static int64_t microseconds(struct timeval t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_usec;
}

/* The worker is a zombie: its number is still its own, and its group's. */
static void bury(struct pp_reaper *reaper, struct pp_ward *ward)
{
    struct rusage usage;
    int status = 0;

    (void)kill(-ward->pid, SIGKILL);
    if (ward->state == PP_WARD_LAUNCHING)
        pp_child_finish(reaper->wards, ward);
    if (wait4(ward->pid, &status, __WALL, &usage) < 0)
        usage = (struct rusage){.ru_maxrss = 0};
    pp_ward_reaped(reaper->wards, ward);
    if (ward->last.kind == PP_REPORT_FAILED) {
        pp_ward_over(reaper->wards, ward); /* never exec'd, so it has started nothing */
        return;
    }
    ward->last.kind = PP_REPORT_ENDED;
    ward->last.status = status;
    ward->last.user_us = microseconds(usage.ru_utime);
    ward->last.system_us = microseconds(usage.ru_stime);
    ward->last.max_rss_kib = usage.ru_maxrss;
    walk_from(reaper);
}

static bool is_let_alone(const struct pp_reaper *reaper, pid_t session)
{
    const struct pp_ward *ward = pp_ward_by_pid(reaper->wards, session);

    return !reaper->leaving && ward != NULL && !ward->killed;
}

/* Somebody has stopped a child. The news is taken: each stop is told once. */
static void hear_stop(struct pp_reaper *reaper, struct pp_ward *ward, pid_t pid)
{
    siginfo_t info = {.si_pid = 0};

    (void)waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG | __WALL);
    if (ward != NULL && ward->state == PP_WARD_RUNNING && !ward->killed)
        pp_ward_stopped(reaper->wards, ward);
}

/* Reaps one child. False when none is dead. */
static bool reap_one(struct pp_reaper *reaper)
{
    siginfo_t info = {.si_pid = 0};
    struct pp_ward *ward;

    if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 ||
        info.si_pid == 0)
        return false;
    ward = pp_ward_by_pid(reaper->wards, info.si_pid);
    if (info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED) {
        hear_stop(reaper, ward, info.si_pid);
        return true;
    }
    if (ward != NULL) {
        bury(reaper, ward);
        return true;
    }
    /* What it leaves behind is ours from now on. */
    if (!is_let_alone(reaper, getsid(info.si_pid)))
        walk_from(reaper);
    (void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG | __WALL);
    return true;
}

static void reap_some(struct pp_reaper *reaper)
{
    for (int i = 0; i < REAPS_A_STEP; i++) {
        if (!reap_one(reaper)) {
            reaper->signalled = false;
            return;
        }
        pp_reaper_notice(reaper);
    }
}

/* Kills a descendant, if its parent still is the process that was doomed: its number
 * could have gone to a stranger while we walked. */
static void meet_descendant(struct pp_reaper *reaper, const struct pp_proc *proc)
{
    struct pp_proc parent, again;
    uint64_t start;
    PP_AUTO_FD pidfd = -1;

    if (!pp_doomed_find(&reaper->doomed, proc->parent, &start))
        return;
    pidfd = (int)syscall(SYS_pidfd_open, proc->pid, 0U);
    if (pidfd < 0 || pp_proc_read(reaper->walk, proc->pid, &again) < 0 ||
        pp_proc_read(reaper->walk, proc->parent, &parent) < 0)
        return;
    if (again.parent != proc->parent || again.start != proc->start || parent.start != start)
        return;
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0U) < 0)
        return;
    reaper->alive += !proc->dead;
    pp_doomed_add(&reaper->doomed, proc);
}

static void meet(struct pp_reaper *reaper, const struct pp_proc *proc)
{
    pid_t group;

    if (proc->parent != reaper->self) {
        meet_descendant(reaper, proc);
        return;
    }
    if (!reaper->leaving && pp_ward_by_pid(reaper->wards, proc->pid) != NULL)
        return;
    if (is_let_alone(reaper, proc->session))
        return;
    reaper->found++;
    reaper->alive += !proc->dead;
    group = getpgid(proc->pid);
    /* Its own session's groups only hold its kin. Never the keeper's own group. */
    if (group > 0 && group != getpgrp())
        (void)kill(-group, SIGKILL);
    kill_child(proc->pid);
    pp_doomed_add(&reaper->doomed, proc);
}

/* Every worker that was reaped before this walk began has nothing left. */
static void walk_proved(struct pp_reaper *reaper)
{
    struct pp_list *link;

    while ((link = pp_list_pop_front(&reaper->wards->sweeping)) != NULL)
        pp_ward_over(reaper->wards, pp_container(link, struct pp_ward, link));
}

static void weather(struct pp_reaper *reaper)
{
    int64_t now = pp_now();

    if (reaper->alive == 0 || (reaper->storm != 0 && reaper->storm <= now))
        reaper->storm = 0;
    else if (reaper->storm == 0 && reaper->alive >= STORM)
        reaper->storm = pp_after(now, STORM_MAX);
    if (reaper->storm != 0)
        reaper->pause = PAUSE_MIN / 10;
}

static void end_walk(struct pp_reaper *reaper)
{
    reaper->walking = false;
    weather(reaper);
    if (reaper->again)
        return;
    if (reaper->found == 0) {
        walk_proved(reaper);
        reaper->pause = PAUSE_MIN;
        reaper->empty++;
        if (reaper->leaving) /* and not alone: somebody is just being born */
            look_in(reaper, PAUSE_MIN);
        return;
    }
    /* Their deaths will wake us; look again all the same. */
    reaper->empty = 0;
    look_in(reaper, reaper->pause);
    reaper->pause = reaper->pause < PAUSE_MAX / 2 ? reaper->pause * 2 : PAUSE_MAX;
}

static void begin_walk(struct pp_reaper *reaper)
{
    siginfo_t info = {.si_pid = 0};

    reaper->again = false;
    reaper->found = 0;
    reaper->alive = 0;
    reaper->look = PP_NEVER;
    if (reaper->walk == NULL ||
        (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD)) {
        end_walk(reaper); /* nobody to be seen, or nobody at all */
        return;
    }
    pp_doomed_clear(&reaper->doomed);
    pp_proc_rewind(reaper->walk);
    reaper->walking = true;
}

static void walk_some(struct pp_reaper *reaper)
{
    for (int i = 0; i < PROCS_A_STEP; i++) {
        struct pp_proc proc;
        int r = pp_proc_next(reaper->walk, &proc);

        if (r == -EAGAIN) {
            reaper->found++; /* not seen, so nothing is proved */
            continue;
        }
        if (r < 0)
            reaper->walk = pp_proc_close(reaper->walk); /* from now on we are blind */
        if (r != 0) {
            end_walk(reaper);
            return;
        }
        meet(reaper, &proc);
    }
}

void pp_reaper_step(struct pp_reaper *reaper)
{
    if (reaper->walking) {
        walk_some(reaper);
        return;
    }
    if (reaper->signalled && reaper->storm == 0)
        reap_some(reaper);
    if (reaper->again || reaper->look <= pp_now())
        begin_walk(reaper);
}

bool pp_reaper_busy(const struct pp_reaper *reaper)
{
    return (reaper->signalled && reaper->storm == 0) || reaper->walking || reaper->again;
}

bool pp_reaper_alone(const struct pp_reaper *reaper)
{
    siginfo_t info = {.si_pid = 0};

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        return errno == ECHILD;
    /* Children that /proc does not show (hidepid, proc(5)) cannot be killed. */
    return pp_list_empty(&reaper->wards->living) && reaper->empty >= EMPTY_WALKS;
}
