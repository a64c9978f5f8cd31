/* shim.c - preloaded into a host program: makes the n-th call of one function fail.
 *
 * Only calls that our own library or libuv makes on behalf of it are counted, by the address
 * they return to; so the interpreter around them lives on. One failure for each time it is armed.
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
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RANGES_MAX = 32 };

static struct {
    uintptr_t from, to;
    int is_ours;
} ranges[RANGES_MAX];
static int n_ranges;
static const char *_Atomic armed; /* the function that is to fail; NULL: none */
static _Atomic long countdown;
static _Atomic long calls; /* of it, since it was armed */
static _Atomic int64_t clock_shift;

static int add_object(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (!strstr(info->dlpi_name, "/_core.") && !strstr(info->dlpi_name, "libpyproc") &&
        !strstr(info->dlpi_name, "libuv"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && n_ranges < RANGES_MAX; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            ranges[n_ranges].is_ours = !strstr(info->dlpi_name, "libuv");
            ranges[n_ranges].from = info->dlpi_addr + part->p_vaddr;
            ranges[n_ranges++].to = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        }
    }
    return 0;
}

/* Arms the n-th call, from 1, of `name`, whose text must stay; NULL disarms. */
void shim_arm(const char *name, long n)
{
    if (n_ranges == 0)
        (void)dl_iterate_phdr(add_object, NULL);
    atomic_store(&armed, NULL);
    atomic_store(&countdown, n);
    atomic_store(&calls, 0);
    atomic_store(&armed, name);
}

/* Whether it has failed since it was armed. */
int shim_fired(void)
{
    return atomic_load(&countdown) <= 0;
}

long shim_calls(void)
{
    return atomic_load(&calls);
}

/* From now on CLOCK_REALTIME is so many seconds off. */
void shim_shift_clock(long seconds)
{
    atomic_store(&clock_shift, seconds);
}

static int fails(const char *name, const void *caller)
{
    const char *wanted = atomic_load(&armed);
    uintptr_t at = (uintptr_t)caller;
    int ours_only;

    if (!wanted || strcmp(wanted, name) != 0)
        return 0;
    /* libuv itself aborts when it cannot grow its table of descriptors. */
    ours_only = strcmp(name, "realloc") == 0;
    for (int i = 0; i < n_ranges; i++) {
        if (at >= ranges[i].from && at < ranges[i].to && (ranges[i].is_ours || !ours_only)) {
            (void)atomic_fetch_add(&calls, 1);
            return atomic_fetch_sub(&countdown, 1) == 1;
        }
    }
    return 0;
}

#define CALLER __builtin_return_address(0)

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t n);

void *malloc(size_t n)
{
    if (fails("malloc", CALLER)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    if (fails("calloc", CALLER)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
    if (fails("realloc", CALLER)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, n);
}

/* WRAP(name, error, result on failure, (parameters), (arguments)): the rest is alike. */
#define WRAP(type, name, error, failure, parameters, arguments)                                 \
    type name parameters                                                                        \
    {                                                                                           \
        static type(*real) parameters;                                                          \
                                                                                                \
        if (!real)                                                                              \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                          \
        if (fails(#name, CALLER)) {                                                             \
            errno = error;                                                                      \
            return failure;                                                                     \
        }                                                                                       \
        return real arguments;                                                                  \
    }

WRAP(int, socketpair, EMFILE, -1, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
WRAP(int, memfd_create, ENOMEM, -1, (const char *name, unsigned flags), (name, flags))
WRAP(int, eventfd, EMFILE, -1, (unsigned count, int flags), (count, flags))
WRAP(int, epoll_create1, EMFILE, -1, (int flags), (flags))
WRAP(int, pipe2, EMFILE, -1, (int fds[2], int flags), (fds, flags))
WRAP(int, ftruncate, ENOMEM, -1, (int fd, off_t size), (fd, size))
WRAP(void *, mmap, ENOMEM, MAP_FAILED,
     (void *at, size_t n, int protection, int flags, int fd, off_t offset),
     (at, n, protection, flags, fd, offset))
WRAP(int, pthread_create, EAGAIN, EAGAIN,
     (pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
     (thread, attributes, run, argument))
WRAP(ssize_t, sendmsg, ENOBUFS, -1, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags))

int fcntl(int fd, int command, ...)
{
    static int (*real)(int, int, ...);
    va_list rest;
    void *argument;

    va_start(rest, command);
    argument = va_arg(rest, void *);
    va_end(rest);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fcntl");
    if (command == F_DUPFD_CLOEXEC && fails("fcntl", CALLER)) {
        errno = EMFILE;
        return -1;
    }
    return real(fd, command, argument);
}

/* How a process is started without copying its memory. */
int __clone(int (*run)(void *), void *stack, int flags, void *argument, ...)
{
    static int (*real)(int (*)(void *), void *, int, void *, ...);
    void *more[3];
    va_list rest;

    va_start(rest, argument);
    for (int i = 0; i < 3; i++)
        more[i] = va_arg(rest, void *);
    va_end(rest);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "__clone");
    if (fails("clone", CALLER)) {
        errno = EAGAIN;
        return -1;
    }
    return real(run, stack, flags, argument, more[0], more[1], more[2]);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    int r;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    r = real(clock, now);
    if (r == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += (time_t)atomic_load(&clock_shift);
    return r;
}
