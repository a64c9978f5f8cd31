/* faults.c - makes the n-th call of a kind fail; preloaded into host programs and keepers.
 *
 * Only calls from our own code count: their return address lies in an object of ours, or of
 * libuv, which works for us; of libuv no memory, for want of which it aborts. Armed by
 * fault_arm, or from the start by the variable FAULTS="kind number errno", where every
 * caller counts.
 * fault_clock sets the wall clock off by some seconds; the monotonic clock stays.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

enum { RANGES = 16 };

static struct {
    uintptr_t from, to;
    int libuv;
} ranges[RANGES];
static int n_ranges, everybody;
static char wanted[32];
static int error_number, persistent;
static long at;
static atomic_int armed;
static atomic_long calls, hits, offset;

/* glibc's own, so that no lookup is needed to get memory. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *memory, size_t size);

static int note_object(struct dl_phdr_info *info, size_t size, void *unused)
{
    int libuv = strstr(info->dlpi_name, "libuv") != NULL;

    (void)size;
    (void)unused;
    if (!strstr(info->dlpi_name, "/_core.") && !strstr(info->dlpi_name, "libpyproc") && !libuv)
        return 0;
    for (int i = 0; i < info->dlpi_phnum && n_ranges < RANGES; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        ranges[n_ranges].libuv = libuv;
        ranges[n_ranges].from = info->dlpi_addr + part->p_vaddr;
        ranges[n_ranges].to = ranges[n_ranges].from + part->p_memsz;
        n_ranges++;
    }
    return 0;
}

static int is_ours(const void *caller, int libuv)
{
    for (int i = 0; i < n_ranges; i++)
        if ((uintptr_t)caller >= ranges[i].from && (uintptr_t)caller < ranges[i].to)
            return libuv || !ranges[i].libuv;
    return everybody;
}

/* Whether this call is to fail; then errno is set. */
static int fails(const char *kind, const void *caller)
{
    long n;

    if (!atomic_load_explicit(&armed, memory_order_acquire) || strcmp(kind, wanted) != 0 ||
        !is_ours(caller, strcmp(kind, "memory") != 0))
        return 0;
    n = atomic_fetch_add(&calls, 1) + 1;
    if (n != at && !(persistent && n > at))
        return 0;
    atomic_fetch_add(&hits, 1);
    errno = error_number;
    return 1;
}

SHOWN void fault_disarm(void)
{
    atomic_store(&armed, 0);
}

SHOWN void fault_arm(const char *kind, long number, int error, int go_on)
{
    fault_disarm();
    n_ranges = 0;
    (void)dl_iterate_phdr(note_object, NULL);
    (void)snprintf(wanted, sizeof wanted, "%s", kind);
    at = number;
    error_number = error;
    persistent = go_on;
    atomic_store(&calls, 0);
    atomic_store(&hits, 0);
    atomic_store_explicit(&armed, 1, memory_order_release);
}

SHOWN long fault_hits(void)
{
    return atomic_load(&hits);
}

SHOWN void fault_clock(long seconds)
{
    atomic_store(&offset, seconds);
}

__attribute__((constructor)) static void arm_from_environment(void)
{
    const char *text = getenv("FAULTS");
    char kind[32];
    long number;
    int error;

    (void)syscall(SYS_getpid); /* looked up before a vforked child asks for it */
    (void)fcntl(0, F_GETFD);
    if (!text || sscanf(text, "%31s %ld %d", kind, &number, &error) != 3)
        return;
    everybody = 1;
    fault_arm(kind, number, error, 0);
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* --- memory ------------------------------------------------------------------------ */

SHOWN void *malloc(size_t size)
{
    return fails("memory", CALLER) ? NULL : __libc_malloc(size);
}

SHOWN void *calloc(size_t n, size_t size)
{
    return fails("memory", CALLER) ? NULL : __libc_calloc(n, size);
}

SHOWN void *realloc(void *memory, size_t size)
{
    return fails("memory", CALLER) ? NULL : __libc_realloc(memory, size);
}

SHOWN char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fails("memory", CALLER) ? NULL : __libc_malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

/* --- calls that answer -1 ---------------------------------------------------------- */

#define FAILING(result, name, parameters, arguments)               \
    SHOWN result name parameters                                   \
    {                                                              \
        static result(*real) parameters;                           \
                                                                   \
        if (!real)                                                 \
            real = (result(*) parameters)next(#name);              \
        return fails(#name, CALLER) ? (result)-1 : real arguments; \
    }

FAILING(int, socketpair, (int domain, int type, int protocol, int fds[2]),
        (domain, type, protocol, fds))
FAILING(int, memfd_create, (const char *name, unsigned flags), (name, flags))
FAILING(int, dup2, (int from, int to), (from, to))
FAILING(int, dup3, (int from, int to, int flags), (from, to, flags))
FAILING(int, pipe2, (int fds[2], int flags), (fds, flags))
FAILING(int, eventfd, (unsigned value, int flags), (value, flags))
FAILING(int, epoll_create1, (int flags), (flags))
FAILING(int, ftruncate, (int fd, off_t size), (fd, size))
FAILING(pid_t, fork, (void), ())
FAILING(void *, mmap, (void *where, size_t size, int prot, int flags, int fd, off_t from),
        (where, size, prot, flags, fd, from))
FAILING(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
FAILING(ssize_t, send, (int fd, const void *bytes, size_t n, int flags), (fd, bytes, n, flags))

SHOWN int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                         void *argument)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    if (!real)
        *(void **)&real = next("pthread_create");
    return fails("pthread_create", CALLER) ? error_number : real(thread, how, run, argument);
}

SHOWN int fcntl(int fd, int command, ...)
{
    static int (*real)(int, int, ...);
    va_list rest;
    long argument;

    if (!real)
        *(void **)&real = next("fcntl");
    va_start(rest, command);
    argument = va_arg(rest, long);
    va_end(rest);
    return fails("fcntl", CALLER) ? -1 : real(fd, command, argument);
}

/* Where the host starts its keeper, under either name. The child gets a stack of its own: a
 * wrapper is harmless. */
#define CLONE(name)                                                                      \
    SHOWN int name(int (*run)(void *), void *stack, int flags, void *argument, ...)      \
    {                                                                                    \
        int (*real)(int (*)(void *), void *, int, void *, ...);                          \
        void *a, *b, *c;                                                                 \
        va_list rest;                                                                    \
                                                                                         \
        *(void **)&real = next("clone");                                                 \
        va_start(rest, argument);                                                        \
        a = va_arg(rest, void *);                                                        \
        b = va_arg(rest, void *);                                                        \
        c = va_arg(rest, void *);                                                        \
        va_end(rest);                                                                    \
        return fails("clone", CALLER) ? -1 : real(run, stack, flags, argument, a, b, c); \
    }

CLONE(clone)
CLONE(__clone)

/* Of all that goes through it, only the opening of pidfds. */
SHOWN long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list rest;

    if (!real)
        *(void **)&real = next("syscall");
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_pidfd_open && fails("pidfd_open", CALLER))
        return -1;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* --- the wall clock ---------------------------------------------------------------- */

SHOWN int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    int r;

    if (!real)
        *(void **)&real = next("clock_gettime");
    r = real(clock, now);
    if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += atomic_load(&offset);
    return r;
}

SHOWN int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static int (*real)(struct timeval *, void *);
    int r;

    if (!real)
        *(void **)&real = next("gettimeofday");
    r = real(now, zone);
    if (r == 0)
        now->tv_sec += atomic_load(&offset);
    return r;
}

SHOWN time_t time(time_t *place)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (place)
        *place = now.tv_sec;
    return now.tv_sec;
}
