/* test_proc.c - /proc/<pid>/stat of processes with any name. */
#include "check.h"
#include "keeper/proc.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int parse(const char *text, struct pp_proc *procp)
{
    return pp_proc_parse(text, strlen(text), procp);
}

static void a_name_with_brackets_spaces_and_numbers_misleads_nobody(void)
{
    static const char *const names[] = {"(sh)", "(a b)", "())", "(1) S 1 1 1 (x)", "()", "(\n)"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct pp_proc proc = {0};
        char text[128];

        (void)snprintf(text, sizeof(text),
                       "77 %s S 12 34 56 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 10 20",
                       names[i]);
        CHECK_EQ(parse(text, &proc), 0);
        CHECK_EQ(proc.pid, 77);
        CHECK_EQ(proc.parent, 12);
        CHECK_EQ(proc.session, 56);
        CHECK_EQ(proc.start, 98765);
    }
}

static void text_that_is_no_stat_is_refused(void)
{
    static const char *const texts[] = {
        "",
        "77",
        "77 (sh",
        "77 (sh)",
        "77 (sh) S",
        "77 (sh) S ",
        "77 (sh) S 1 2 3", /* no end of the number is seen */
        "77 (sh) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0",
        "77 (sh) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765",
        "77 (sh) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 -1 10",
        "77 (sh) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x 10",
        "77 (sh) S -1 2 3 ",
        "77 (sh) S x 2 3 ",
        "x (sh) S 1 2 3 ",
        "77 (sh) S 99999999999 2 3 ",
        "77 (sh) S 1 99999999999999999999999 3 ",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct pp_proc proc = {.pid = -1};

        CHECK_EQ(parse(texts[i], &proc), -EPROTO);
        CHECK_EQ(proc.pid, -1);
    }
}

static void a_walk_meets_this_process_and_its_child_each_time(void)
{
    struct pp_proc_walk *walk = NULL;
    pid_t child = fork();

    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    CHECK_EQ(pp_proc_open(&walk), 0);
    for (int round = 0; round < 2 && walk != NULL; round++) {
        struct pp_proc proc;
        int met = 0, r;

        pp_proc_rewind(walk);
        while ((r = pp_proc_next(walk, &proc)) == 0) {
            met += proc.pid == getpid() && proc.parent == getppid() && proc.session == getsid(0);
            met += proc.pid == child && proc.parent == getpid();
        }
        CHECK_EQ(r, PP_PROC_END);
        CHECK_EQ(met, 2);
    }
    walk = pp_proc_close(walk);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

PP_TESTS(PP_TEST(a_name_with_brackets_spaces_and_numbers_misleads_nobody),
         PP_TEST(text_that_is_no_stat_is_refused),
         PP_TEST(a_walk_meets_this_process_and_its_child_each_time))
