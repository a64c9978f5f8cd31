/* check.h - the least a C test needs: checks that count, and a main.
 *
 * A test is a `static void name(void)`; the name is the sentence. A failed check
 * prints where and goes on, so that one run shows every failure. PP_TESTS makes
 * main: it runs all tests, or those whose names hold the first argument.
 */
#ifndef PP_TESTS_CHECK_H
#define PP_TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
};

static int check_failures; /* of the running test */

static inline bool check_report(bool ok, const char *file, int line, const char *what)
{
    if (!ok) {
        check_failures++;
        (void)fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    }
    return ok;
}

static inline bool check_equal(long long got, long long want, const char *file, int line,
                               const char *what)
{
    if (got != want) {
        check_failures++;
        (void)fprintf(stderr, "%s:%d: %s: got %lld, want %lld\n", file, line, what, got, want);
    }
    return got == want;
}

static inline bool check_bytes(const void *got, size_t n_got, const void *want, size_t n_want,
                               const char *file, int line, const char *what)
{
    bool same = n_got == n_want && (n_got == 0 || memcmp(got, want, n_got) == 0);

    if (!same) {
        check_failures++;
        (void)fprintf(stderr, "%s:%d: %s: bytes differ (%zu, want %zu)\n", file, line, what, n_got,
                      n_want);
    }
    return same;
}

static inline int check_run_all(const struct check_test *tests, size_t n, int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";
    size_t ran = 0;
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        if (strstr(tests[i].name, only) == NULL)
            continue;
        check_failures = 0;
        tests[i].run();
        ran++;
        failed += check_failures != 0;
        (void)printf("%s %s\n", check_failures ? "FAIL" : "ok  ", tests[i].name);
    }
    (void)printf("%zu tests, %zu failed\n", ran, failed);
    return failed != 0 || ran == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Both answer whether the check held, so that a test can leave when going on makes no sense. */
#define CHECK(condition) check_report((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(got, want) \
    check_equal((long long)(got), (long long)(want), __FILE__, __LINE__, #got)
#define CHECK_BYTES(got, n_got, want, n_want) \
    check_bytes((got), (n_got), (want), (n_want), __FILE__, __LINE__, #got)

#define PP_TEST(name) \
    {                 \
#name, name   \
    }
#define PP_TESTS(...)                                                            \
    int main(int argc, char **argv)                                              \
    {                                                                            \
        static const struct check_test tests[] = {__VA_ARGS__};                  \
        return check_run_all(tests, sizeof tests / sizeof tests[0], argc, argv); \
    }

#endif
