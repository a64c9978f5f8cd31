/* test_keeper.c - starting a keeper, launching through it, and what a worker is born with. */
#include "keeper_rig.h"

#include <sys/socket.h>
#include <sys/syscall.h>

static void true_is_launched_and_ends_with_status_zero(void)
{
    static const char *const argv[] = {"/bin/true", NULL};
    struct pp_keeper *keeper = start();
    struct pp_keeper_event born, ended;
    struct job job;

    prepare(&job, 7, argv);
    launch(keeper, &job);
    born = expect(keeper, PP_KEEPER_LAUNCHED, 7);
    ended = expect(keeper, PP_KEEPER_ENDED, 7);
    CHECK(born.pid > 0);
    CHECK_EQ(ended.pid, born.pid);
    CHECK_EQ(ended.status, 0);
    CHECK(is_gone(job.out));
    stop(keeper);
}

static void the_pidfd_is_the_workers_and_tells_its_end(void)
{
    struct pp_keeper *keeper = start();
    int out = launch_script(keeper, UINT32_MAX, "exec sleep 1000");
    int pidfd = -1;

    CHECK_EQ(next_event(keeper, &pidfd).kind, PP_KEEPER_LAUNCHED);
    CHECK(!readable(pidfd, 0));
    CHECK_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0), 0);
    CHECK(readable(pidfd, PATIENCE_MS));
    CHECK_EQ(WTERMSIG(expect(keeper, PP_KEEPER_ENDED, UINT32_MAX).status), SIGTERM);
    (void)close(pidfd);
    CHECK(is_gone(out));
    stop(keeper);
}

static void what_cannot_be_executed_fails_with_its_step_and_errno(void)
{
    static const struct {
        const char *path, *cwd, *step;
        int error;
        int32_t nice;
    } cases[] = {
        {"/nowhere/at-all", "/", "exec", ENOENT, 0},   {"/etc/passwd", "/", "exec", EACCES, 0},
        {"/bin/true", "/nowhere", "chdir", ENOENT, 0}, {"/bin/true", "/", "nice", EINVAL, 20},
        {"/bin/true", "/", "nice", EINVAL, -1},
    };
    struct pp_keeper *keeper = start();

    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *const argv[] = {cases[i].path, NULL};
        struct pp_keeper_event event;
        struct job job;

        prepare(&job, i, argv);
        job.launch.cwd = cases[i].cwd;
        job.launch.policy.nice = cases[i].nice;
        launch(keeper, &job);
        event = expect(keeper, PP_KEEPER_FAILED, i);
        CHECK(strcmp(event.step, cases[i].step) == 0);
        CHECK_EQ(event.error, cases[i].error);
        CHECK(is_gone(job.out));
    }
    stop(keeper);
}

static void a_name_in_use_is_refused_and_free_again_after_the_end(void)
{
    struct pp_keeper *keeper = start();
    int out = launch_script(keeper, 3, "exec sleep 1000");
    int again;

    expect(keeper, PP_KEEPER_LAUNCHED, 3);
    again = launch_script(keeper, 3, "true");
    CHECK_EQ(expect(keeper, PP_KEEPER_FAILED, 3).error, EEXIST);
    CHECK_EQ(pp_keeper_kill(keeper, 99), 0); /* nobody: ignored */
    CHECK_EQ(pp_keeper_kill(keeper, 3), 0);
    CHECK_EQ(WTERMSIG(expect(keeper, PP_KEEPER_ENDED, 3).status), SIGKILL);
    CHECK(is_gone(out) && is_gone(again));
    out = launch_script(keeper, 3, "exit 4");
    expect(keeper, PP_KEEPER_LAUNCHED, 3);
    CHECK_EQ(WEXITSTATUS(expect(keeper, PP_KEEPER_ENDED, 3).status), 4);
    CHECK(is_gone(out));
    stop(keeper);
}

static void an_end_carries_what_the_worker_used(void)
{
    struct pp_keeper *keeper = start();
    int out = launch_script(keeper, 1,
                            "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; kill -SEGV $$");
    struct pp_keeper_event event;

    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    event = expect(keeper, PP_KEEPER_ENDED, 1);
    CHECK_EQ(WTERMSIG(event.status), SIGSEGV);
    CHECK(event.user_us + event.system_us > 1000);
    CHECK(event.user_us + event.system_us < 60000000);
    CHECK(event.max_rss_kib > 100);
    CHECK(is_gone(out));
    stop(keeper);
}

static void a_worker_is_born_with_the_descriptors_0_to_7_and_no_other(void)
{
    /* The loader is done when it speaks, and dash opens nothing for the rest. */
    static const char *const argv[] = {"/bin/sh", "-c", "exec <&3; echo ready; read x", NULL};
    struct pp_keeper *keeper = start();
    struct pp_keeper_event event;
    char line[16];
    struct job job;
    int pair[2], stray;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    stray = fcntl(pair[0], F_DUPFD, 100); /* inheritable, and none of its business */
    CHECK(stray >= 100);
    for (int end = 0; end < 2; end++) {
        prepare(&job, 1, argv);
        for (int i = PP_WORKER_FD_CALL; i < PP_WORKER_FDS; i++)
            job.launch.fds[i] = pair[end];
        launch(keeper, &job);
        event = expect(keeper, PP_KEEPER_LAUNCHED, 1);
        CHECK(read_line(job.out, line, sizeof(line), PATIENCE_MS));
        CHECK_EQ(fds_of(event.pid), 0xff);
        CHECK_EQ(write(pair[1 - end], "\n", 1), 1); /* number 3 is that socket */
        expect(keeper, PP_KEEPER_ENDED, 1);
        CHECK(is_gone(job.out));
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)close(stray);
    stop(keeper);
}

/* Whether a line of /proc/<pid>/<file> starts with `start` and holds `rest` after it. */
static bool proc_says(pid_t pid, const char *file, const char *start, const char *rest)
{
    char path[64], line[256];
    bool found = false;
    FILE *stream;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    stream = fopen(path, "re");
    if (stream == NULL)
        return false;
    while (fgets(line, sizeof(line), stream) != NULL)
        if (strncmp(line, start, strlen(start)) == 0)
            found = strstr(line, rest) != NULL;
    (void)fclose(stream);
    return found;
}

static void a_worker_gets_the_basics_of_the_sandbox(void)
{
    static const char *const argv[] = {"/bin/sh", "-c", "umask; pwd; echo $A; read x <&3", NULL};
    static const char *const vars[] = {"A=b", NULL};
    struct pp_keeper *keeper = start();
    struct pp_keeper_event event;
    char line[64];
    struct job job;
    int pair[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    prepare(&job, 1, argv);
    job.launch.cwd = "/usr/bin";
    job.launch.envp = vars;
    job.launch.fds[PP_WORKER_FD_CALL] = pair[0];
    job.launch.policy.nice = 3;
    job.launch.policy.limits.open_files = 64;
    job.launch.policy.limits.file_size = 1 << 20;
    job.launch.policy.limits.cpu_seconds = 100;
    launch(keeper, &job);
    event = expect(keeper, PP_KEEPER_LAUNCHED, 1);
    CHECK(read_line(job.out, line, sizeof(line), PATIENCE_MS) && strcmp(line, "0077") == 0);
    CHECK(read_line(job.out, line, sizeof(line), PATIENCE_MS) && strcmp(line, "/usr/bin") == 0);
    CHECK(read_line(job.out, line, sizeof(line), PATIENCE_MS) && strcmp(line, "b") == 0);
    CHECK(proc_says(event.pid, "status", "NoNewPrivs:", "\t1\n"));
    CHECK(proc_says(event.pid, "status", "SigBlk:", "\t0000000000000000\n"));
    CHECK(proc_says(event.pid, "status", "SigIgn:", "\t0000000000000000\n"));
    CHECK(proc_says(event.pid, "limits", "Max core file size", " 0                    0  "));
    CHECK(proc_says(event.pid, "limits", "Max open files", " 64                   64  "));
    CHECK(proc_says(event.pid, "limits", "Max file size", " 1048576              1048576  "));
    CHECK(proc_says(event.pid, "limits", "Max cpu time", " 100                  101  "));
    CHECK_EQ(getsid(event.pid), event.pid);
    CHECK_EQ(getpgid(event.pid), event.pid);
    (void)close(pair[0]);
    (void)close(pair[1]);
    expect(keeper, PP_KEEPER_ENDED, 1);
    CHECK(is_gone(job.out));
    stop(keeper);
}

static void an_environment_of_a_megabyte_arrives(void)
{
    enum { VARS = 64, SIZE = 16384 };
    static const char *const argv[] = {"/bin/sh", "-c", "echo $((${#V00} + ${#V63}))", NULL};
    static char text[VARS][SIZE];
    const char *vars[VARS + 1];
    struct pp_keeper *keeper = start();
    char line[32];
    struct job job;

    for (int i = 0; i < VARS; i++) {
        memset(text[i], 'x', SIZE - 1);
        text[i][0] = 'V';
        text[i][1] = (char)('0' + i / 10);
        text[i][2] = (char)('0' + i % 10);
        text[i][3] = '=';
        vars[i] = text[i];
    }
    vars[VARS] = NULL;
    prepare(&job, 1, argv);
    job.launch.envp = vars;
    launch(keeper, &job);
    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    CHECK(read_line(job.out, line, sizeof(line), PATIENCE_MS));
    CHECK_EQ(strtol(line, NULL, 10), 2 * (SIZE - 1 - 4));
    expect(keeper, PP_KEEPER_ENDED, 1);
    (void)close(job.out);
    stop(keeper);
}

static void an_environment_too_large_for_exec_fails_with_e2big(void)
{
    enum { SIZE = 200000 }; /* one string may have 128 KiB, execve(2) */
    static const char *const argv[] = {"/bin/true", NULL};
    static char text[SIZE];
    const char *const vars[] = {text, NULL};
    struct pp_keeper *keeper = start();
    struct job job;

    memset(text, 'x', SIZE - 1);
    prepare(&job, 1, argv);
    job.launch.envp = vars;
    launch(keeper, &job);
    CHECK_EQ(expect(keeper, PP_KEEPER_FAILED, 1).error, E2BIG);
    (void)close(job.out);
    stop(keeper);
}

static void no_end_is_lost_when_the_host_reads_late(void)
{
    enum { WORKERS = 300 };
    static const char *const argv[] = {"/bin/true", NULL};
    static int born[WORKERS], ended[WORKERS];
    struct pp_keeper *keeper = start();
    uint32_t asked = 0;
    struct job job;

    memset(born, 0, sizeof(born));
    memset(ended, 0, sizeof(ended));
    /* Nothing is read while anything more can be asked for. */
    for (; asked < WORKERS; asked++) {
        int r;

        prepare(&job, asked, argv);
        r = pp_keeper_launch(keeper, &job.launch);
        (void)close(job.launch.fds[PP_WORKER_FD_STDOUT]);
        (void)close(job.null);
        (void)close(job.out);
        if (r == -EAGAIN)
            break;
        CHECK_EQ(r, 0);
    }
    CHECK(asked > 60);
    for (uint32_t i = 0; i < 2 * asked; i++) {
        struct pp_keeper_event event = next_event(keeper, NULL);

        if (!CHECK(event.worker < asked))
            break;
        if (event.kind == PP_KEEPER_LAUNCHED)
            born[event.worker]++;
        else if (CHECK_EQ(event.kind, PP_KEEPER_ENDED))
            CHECK_EQ(ended[event.worker]++, 0);
    }
    for (uint32_t i = 0; i < asked; i++)
        CHECK(born[i] == 1 && ended[i] == 1);
    stop(keeper);
}

static void a_host_that_ignores_or_reaps_its_children_can_free_the_keeper(void)
{
    struct pp_keeper *keeper;

    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    keeper = start();
    stop(keeper);
    CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
    keeper = start();
    CHECK_EQ(kill(pp_keeper_pid(keeper), SIGKILL), 0);
    CHECK_EQ(waitpid(-1, NULL, 0), pp_keeper_pid(keeper));
    stop(keeper);
}

static void the_keeper_stays_through_the_signals_of_a_terminal_and_of_a_service_manager(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGALRM, SIGPIPE};
    struct pp_keeper *keeper = start();
    int out;

    CHECK_EQ(getsid(pp_keeper_pid(keeper)), pp_keeper_pid(keeper));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        CHECK_EQ(kill(pp_keeper_pid(keeper), numbers[i]), 0);
    out = launch_script(keeper, 1, "kill -TERM $$");
    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    CHECK_EQ(WTERMSIG(expect(keeper, PP_KEEPER_ENDED, 1).status), SIGTERM);
    CHECK(is_gone(out));
    stop(keeper);
}

static void an_idle_keeper_does_not_wake_up(void)
{
    struct pp_keeper *keeper = start();
    int out = launch_script(keeper, 1, "exec sleep 1000");
    char before[64] = "", after[64] = "", path[64];
    int64_t quiet = 0;

    expect(keeper, PP_KEEPER_LAUNCHED, 1);
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pp_keeper_pid(keeper));
    /* Its last timer is one second after the launch; then there is a quiet 1.5 s. */
    for (int64_t until = pp_now() + 20 * PP_SECOND; quiet < 1500 * PP_MS && pp_now() < until;) {
        int64_t from = pp_now();
        char line[64];
        FILE *stream = fopen(path, "re");

        while (stream != NULL && fgets(line, sizeof(line), stream) != NULL)
            if (strncmp(line, "voluntary_ctxt", 14) == 0)
                (void)snprintf(after, sizeof(after), "%s", line);
        if (stream != NULL)
            (void)fclose(stream);
        CHECK(!readable(pp_keeper_fd(keeper), 100));
        quiet = strcmp(before, after) == 0 ? quiet + (pp_now() - from) : 0;
        (void)snprintf(before, sizeof(before), "%s", after);
    }
    CHECK(after[0] != '\0');
    CHECK(quiet >= 1500 * PP_MS);
    (void)close(out);
    stop(keeper);
}

static void a_keeper_that_is_not_there_is_an_error_and_leaves_nothing(void)
{
    uint32_t before = fds_of(getpid());
    struct pp_keeper *keeper = NULL;

    CHECK_EQ(pp_keeper_start("/nowhere/pyproc-keeper", 0, 0, NULL, &keeper), -ENOENT);
    CHECK_EQ(pp_keeper_start("/etc/passwd", 0, 0, NULL, &keeper), -EACCES);
    CHECK(keeper == NULL);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    CHECK_EQ(fds_of(getpid()), before);
}

/* In a host without standard streams, whose own descriptors then get the low numbers. */
static void a_host_with_its_standard_streams_closed_works(void)
{
    int status = -1;
    pid_t host = fork();

    if (host == 0) {
        static const char *const argv[] = {"/bin/sh", "-c", "echo hallo; read x", NULL};
        struct pp_keeper *keeper = NULL;
        struct pp_keeper_event event = {.pidfd = -1};
        char line[16] = "";
        struct job job;

        for (int fd = 0; fd < 5; fd++)
            (void)close(fd);
        if (pp_keeper_start(keeper_path(), 0, 0, NULL, &keeper) != 0 || pp_keeper_fd(keeper) < 3)
            _exit(1);
        prepare(&job, 1, argv); /* the pipe is 0 and 1, /dev/null is 2 */
        if (job.out != 0 || pp_keeper_launch(keeper, &job.launch) != 0)
            _exit(2);
        (void)close(1);
        (void)close(2);
        event = next_event(keeper, NULL);
        if (event.kind != PP_KEEPER_LAUNCHED || !read_line(0, line, sizeof(line), PATIENCE_MS))
            _exit(3);
        event = next_event(keeper, NULL); /* its stdin is /dev/null, so `read` ends */
        if (event.kind != PP_KEEPER_ENDED || strcmp(line, "hallo") != 0)
            _exit(4);
        (void)pp_keeper_free(keeper, PATIENCE_MS);
        _exit(check_failures == 0 ? 0 : 5);
    }
    CHECK_EQ(waitpid(host, &status, 0), host);
    CHECK_EQ(status, 0);
}

static void the_callers_signal_mask_is_as_before(void)
{
    sigset_t before, after;
    struct pp_keeper *keeper;

    (void)sigemptyset(&before);
    (void)sigaddset(&before, SIGUSR2);
    CHECK_EQ(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    keeper = start();
    CHECK_EQ(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    CHECK(sigismember(&after, SIGUSR2) == 1 && sigismember(&after, SIGTERM) == 0);
    (void)sigemptyset(&before);
    CHECK_EQ(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    stop(keeper);
}

PP_TESTS(PP_TEST(true_is_launched_and_ends_with_status_zero),
         PP_TEST(the_pidfd_is_the_workers_and_tells_its_end),
         PP_TEST(what_cannot_be_executed_fails_with_its_step_and_errno),
         PP_TEST(a_name_in_use_is_refused_and_free_again_after_the_end),
         PP_TEST(an_end_carries_what_the_worker_used),
         PP_TEST(a_worker_is_born_with_the_descriptors_0_to_7_and_no_other),
         PP_TEST(a_worker_gets_the_basics_of_the_sandbox),
         PP_TEST(an_environment_of_a_megabyte_arrives),
         PP_TEST(an_environment_too_large_for_exec_fails_with_e2big),
         PP_TEST(no_end_is_lost_when_the_host_reads_late),
         PP_TEST(a_host_that_ignores_or_reaps_its_children_can_free_the_keeper),
         PP_TEST(the_keeper_stays_through_the_signals_of_a_terminal_and_of_a_service_manager),
         PP_TEST(an_idle_keeper_does_not_wake_up),
         PP_TEST(a_keeper_that_is_not_there_is_an_error_and_leaves_nothing),
         PP_TEST(a_host_with_its_standard_streams_closed_works),
         PP_TEST(the_callers_signal_mask_is_as_before))
