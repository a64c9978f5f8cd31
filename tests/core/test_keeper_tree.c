/* test_keeper_tree.c - nothing of a worker's tree outlives the worker, the keeper's host
 * or the keeper's free. */
#include "keeper_rig.h"

#include <sys/syscall.h>

/* Children, grandchildren in sessions of their own, daemons whose parents are gone, and a
 * process that is stopped. */
static const char tree[] = "sleep 1000 & (sleep 1000 & sleep 1000) &"
                           "for i in 1 2 3; do setsid sh -c 'sleep 1000 & sleep 1000' & done;"
                           "setsid sh -c 'setsid sh -c \"sleep 1000 & sleep 1000\" & sleep 1000' &"
                           "(setsid sh -c 'sleep 1000 & sleep 1000' &);"
                           "sh -c 'kill -STOP $$' & "
                           "echo ready; ";

static void check_tree(const char *ending, bool kill_it)
{
    struct pp_keeper *keeper = start();
    char script[1024], line[16];
    struct pp_keeper_event event;
    int out;

    (void)snprintf(script, sizeof(script), "%s%s", tree, ending);
    out = launch_script(keeper, 1, script);
    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    CHECK(read_line(out, line, sizeof(line), PATIENCE_MS));
    CHECK(strcmp(line, "ready") == 0);
    if (kill_it)
        CHECK_EQ(pp_keeper_kill(keeper, 1), 0);
    event = next_event(keeper, NULL);
    if (event.kind == PP_KEEPER_STOPPED) /* it stops itself, and may be seen so before its end */
        event = next_event(keeper, NULL);
    CHECK_EQ(event.kind, PP_KEEPER_ENDED);
    CHECK_EQ(event.worker, 1);
    CHECK(is_gone(out)); /* at once: ENDED says so */
    if (kill_it)
        CHECK_EQ(WTERMSIG(event.status), SIGKILL);
    else
        CHECK_EQ(WEXITSTATUS(event.status), 5);
    stop(keeper);
}

static void a_killed_worker_takes_its_whole_tree_along_whatever_sessions_it_made(void)
{
    check_tree("wait", true);
    check_tree("trap '' TERM INT HUP; kill -STOP $$", true);
}

static void a_worker_that_exits_takes_its_whole_tree_along(void)
{
    check_tree("exit 5", false);
}

static void a_worker_that_forks_without_pause_is_swept_away(void)
{
    struct pp_keeper *keeper = start();
    char line[16];
    int out = launch_script(keeper, 1,
                            "for i in 1 2 3; do (while :; do setsid sleep 0.02 & done) & done;"
                            "echo ready; while :; do (setsid sleep 0.05 &); done");

    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    CHECK(read_line(out, line, sizeof(line), PATIENCE_MS));
    CHECK_EQ(pp_keeper_kill(keeper, 1), 0);
    expect(keeper, PP_KEEPER_ENDED, 1);
    CHECK(is_gone(out));
    stop(keeper);
}

static void the_end_of_one_worker_leaves_the_others_and_their_children_alone(void)
{
    struct pp_keeper *keeper = start();
    char line[16];
    /* Its child is an orphan, adopted by the keeper, in its session. */
    int stays = launch_script(keeper, 1, "(sh -c 'echo ready; read x < /dev/zero' &); sleep 1000");
    int leaves;

    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    CHECK(read_line(stays, line, sizeof(line), PATIENCE_MS));
    for (uint32_t round = 2; round < 6; round++) {
        leaves = launch_script(keeper, round, "sleep 1000 & exit 0");
        expect(keeper, PP_KEEPER_LAUNCHED, round);
        expect(keeper, PP_KEEPER_ENDED, round);
        CHECK(is_gone(leaves));
        CHECK(!readable(stays, 0));
    }
    CHECK_EQ(pp_keeper_kill(keeper, 1), 0);
    expect(keeper, PP_KEEPER_ENDED, 1);
    CHECK(is_gone(stays));
    stop(keeper);
}

static void a_daemon_of_a_living_worker_ends_after_the_next_thing_that_happens(void)
{
    struct pp_keeper *keeper = start();
    /* Two pipes: the worker's, which says what happens, and the daemon's, its stderr. */
    static const char *const argv[] = {
        "/bin/sh", "-c", "(setsid sh -c 'exec sleep 1000 >/dev/null' &); exec sleep 1000 2>&1",
        NULL};
    struct job job;
    int ends[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    prepare(&job, 1, argv);
    job.launch.fds[PP_WORKER_FD_STDERR] = ends[1];
    launch(keeper, &job);
    (void)close(ends[1]);
    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    /* The look a second after the launch finds it. */
    CHECK(until_gone(ends[0]) >= 0);
    CHECK(!readable(job.out, 0));
    CHECK_EQ(pp_keeper_kill(keeper, 1), 0);
    expect(keeper, PP_KEEPER_ENDED, 1);
    CHECK(is_gone(job.out));
    (void)close(ends[0]);
    stop(keeper);
}

/* Holds a copy of the keeper's socket until the test lets go of the leash. */
static void fork_copy(const int *leash)
{
    char byte;

    if (fork() == 0) {
        (void)close(leash[1]);
        (void)!read(leash[0], &byte, 1);
        _exit(0);
    }
}

/* Starts a keeper with a tree in another process, the host; tells their numbers. With a
 * leash, the host forks a copy of itself. */
static pid_t fork_host(const int *leash, int *outp, pid_t *keeperp)
{
    int ends[2], report[2];
    pid_t host;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(report, O_CLOEXEC), 0);
    host = fork();
    if (host == 0) {
        static const char *const argv[] = {"/bin/sh", "-c", tree, NULL};
        struct pp_keeper *keeper = start();
        pid_t pid = pp_keeper_pid(keeper);
        char script[1024];
        struct job job;

        (void)snprintf(script, sizeof(script), "%swait", tree);
        for (uint32_t i = 0; i < 8; i++) {
            prepare(&job, i, argv);
            job.launch.argv = (const char *const[]){"/bin/sh", "-c", script, NULL};
            (void)close(job.out);
            (void)dup2(ends[1], job.launch.fds[PP_WORKER_FD_STDOUT]);
            launch(keeper, &job);
        }
        (void)close(ends[1]);
        if (leash != NULL)
            fork_copy(leash);
        (void)!write(report[1], &pid, sizeof(pid));
        for (;;)
            (void)pause();
    }
    (void)close(ends[1]);
    (void)close(report[1]);
    CHECK_EQ(read(report[0], keeperp, sizeof(*keeperp)), sizeof(*keeperp));
    (void)close(report[0]);
    *outp = ends[0];
    return host;
}

static void check_killed_host(bool with_copy)
{
    char line[16];
    pid_t keeper = -1;
    int out = -1, leash[2];
    int64_t from, spent;
    pid_t host;
    int pidfd;

    CHECK_EQ(pipe2(leash, O_CLOEXEC), 0);
    host = fork_host(with_copy ? leash : NULL, &out, &keeper);
    pidfd = (int)syscall(SYS_pidfd_open, keeper, 0);
    for (int i = 0; i < 8; i++)
        CHECK(read_line(out, line, sizeof(line), PATIENCE_MS));
    from = pp_now();
    CHECK_EQ(kill(host, SIGKILL), 0);
    CHECK(until_gone(out) >= 0);
    CHECK(readable(pidfd, PATIENCE_MS));
    spent = (pp_now() - from) / PP_MS;
    (void)printf("     host dead, everybody gone after %lld ms\n", (long long)spent);
    (void)fflush(stdout); /* a fork must not say it again */
    CHECK(spent < 1000);
    CHECK_EQ(waitpid(host, NULL, 0), host);
    (void)close(leash[0]);
    (void)close(leash[1]);
    (void)close(pidfd);
    (void)close(out);
}

static void a_killed_host_takes_keeper_and_workers_along_within_a_second(void)
{
    check_killed_host(false);
}

static void a_killed_host_is_noticed_though_a_forked_copy_of_it_holds_the_socket(void)
{
    check_killed_host(true);
}

static void a_killed_keeper_takes_the_workers_along(void)
{
    struct pp_keeper *keeper = start();
    struct pp_keeper_event event;
    int outs[4];
    int r;

    for (uint32_t i = 0; i < 4; i++) {
        outs[i] = launch_script(keeper, i, "exec sleep 1000");
        expect(keeper, PP_KEEPER_LAUNCHED, i);
    }
    CHECK_EQ(kill(pp_keeper_pid(keeper), SIGKILL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK(until_gone(outs[i]) >= 0);
        (void)close(outs[i]);
    }
    while ((r = pp_keeper_read(keeper, &event)) == PP_KEEPER_NOTHING)
        CHECK(readable(pp_keeper_fd(keeper), PATIENCE_MS));
    CHECK_EQ(r, PP_KEEPER_GONE);
    CHECK_EQ(pp_keeper_kill(keeper, 1), PP_KEEPER_GONE);
    stop(keeper);
}

static void freeing_ends_all_workers_and_leaves_no_zombie_and_no_descriptor(void)
{
    uint32_t before = fds_of(getpid());

    for (int round = 0; round < 3; round++) {
        struct pp_keeper *keeper = start();
        int out = launch_script(keeper, 1, tree);
        int two = launch_script(keeper, 2, "exec sleep 1000");

        /* Whichever exec is first: the other launch may still be under way. */
        CHECK_EQ(next_event(keeper, NULL).kind, PP_KEEPER_LAUNCHED);
        stop(keeper);
        CHECK(is_gone(out));
        CHECK(is_gone(two));
        CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    }
    CHECK_EQ(fds_of(getpid()), before);
    CHECK(pp_keeper_free(NULL, 0) == NULL);
}

static void a_forked_copy_of_the_host_does_not_keep_the_keeper_alive(void)
{
    struct pp_keeper *keeper = start();
    int out = launch_script(keeper, 1, "exec sleep 1000");
    pid_t copy = fork();

    if (copy == 0) {
        for (;;)
            (void)pause(); /* holds the socket */
    }
    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    stop(keeper);
    CHECK(is_gone(out));
    CHECK_EQ(kill(copy, SIGKILL), 0);
    CHECK_EQ(waitpid(copy, NULL, 0), copy);
}

PP_TESTS(PP_TEST(a_killed_worker_takes_its_whole_tree_along_whatever_sessions_it_made),
         PP_TEST(a_worker_that_exits_takes_its_whole_tree_along),
         PP_TEST(a_worker_that_forks_without_pause_is_swept_away),
         PP_TEST(the_end_of_one_worker_leaves_the_others_and_their_children_alone),
         PP_TEST(a_daemon_of_a_living_worker_ends_after_the_next_thing_that_happens),
         PP_TEST(a_killed_host_takes_keeper_and_workers_along_within_a_second),
         PP_TEST(a_killed_host_is_noticed_though_a_forked_copy_of_it_holds_the_socket),
         PP_TEST(a_killed_keeper_takes_the_workers_along),
         PP_TEST(freeing_ends_all_workers_and_leaves_no_zombie_and_no_descriptor),
         PP_TEST(a_forked_copy_of_the_host_does_not_keep_the_keeper_alive))
