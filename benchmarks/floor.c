/* floor.c - the bare price of asking another process something.
 *
 * Two processes and one AF_UNIX stream socket pair: a request of SIZE bytes, an
 * answer of SIZE bytes, nothing read, nothing understood. No pool that uses a
 * socket can be faster, so this is what ours is measured against.
 *
 *     floor CALLS WARM SIZE
 *
 * Prints the time of each of CALLS round trips in nanoseconds, one a line, after
 * WARM round trips that are not counted. Runs where its parent's CPU set lets it,
 * so the harness pins both ends by pinning itself.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CALLS = 10000000, MAX_SIZE = 65536 };

static int read_all(int fd, char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, bytes, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ECONNRESET;
        bytes += got;
        n -= (size_t)got;
    }
    return 0;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, bytes, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        bytes += put;
        n -= (size_t)put;
    }
    return 0;
}

/* Answers until the other end closes. */
static void serve(int fd, size_t size)
{
    static char bytes[MAX_SIZE];

    while (read_all(fd, bytes, size) == 0) {
        if (write_all(fd, bytes, size) < 0)
            break;
    }
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Fills `samples` with `calls` times, after `warm` that are thrown away. */
static int ask(int fd, size_t size, long calls, long warm, int64_t *samples)
{
    static char request[MAX_SIZE];
    static char answer[MAX_SIZE];

    memset(request, 'q', size);
    for (long i = -warm; i < calls; i++) {
        int64_t begin = now_ns();
        int r = write_all(fd, request, size);
        if (r == 0)
            r = read_all(fd, answer, size);
        if (r < 0)
            return r;
        if (i >= 0)
            samples[i] = now_ns() - begin;
    }
    return memcmp(request, answer, size) == 0 ? 0 : -EBADMSG;
}

static int measure(int64_t *samples, long calls, long warm, size_t size)
{
    int ends[2];
    pid_t child;
    int r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    child = fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        serve(ends[1], size);
        _exit(0);
    }
    close(ends[1]);
    r = ask(ends[0], size, calls, warm, samples);
    close(ends[0]); /* the child's read ends, and with it the child */
    waitpid(child, NULL, 0);
    return r;
}

/* A number in [low, high], or -1. */
static long number(const char *text, long low, long high)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < low || value > high)
        return -1;
    return value;
}

int main(int argc, char **argv)
{
    long calls = argc == 4 ? number(argv[1], 1, MAX_CALLS) : -1;
    long warm = argc == 4 ? number(argv[2], 0, MAX_CALLS) : -1;
    long size = argc == 4 ? number(argv[3], 1, MAX_SIZE) : -1;
    int64_t *samples;
    int r;

    if (calls < 0 || warm < 0 || size < 0) {
        fprintf(stderr, "usage: floor CALLS WARM SIZE\n");
        return 2;
    }
    samples = calloc((size_t)calls, sizeof(samples[0]));
    if (samples == NULL) {
        fprintf(stderr, "floor: no memory for %ld samples\n", calls);
        return 1;
    }
    r = measure(samples, calls, warm, (size_t)size);
    if (r < 0)
        fprintf(stderr, "floor: %s\n", strerror(-r));
    for (long i = 0; r == 0 && i < calls; i++)
        printf("%lld\n", (long long)samples[i]);
    free(samples);
    return r < 0 ? 1 : 0;
}
