/* memory.c - one piece of memory: made, written, sealed, given, settled.
 *
 * New pages are filled with pwrite(2), which is three times as fast as touching them through a
 * mapping; a mapping made before the seal (F_SEAL_FUTURE_WRITE, Linux 5.1) is what the host
 * writes through when the memory is used again.
 */
#include "ipc/memory.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "base/memfd.h"
#include "ipc/stock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* Linux 6.3 */
#endif

enum { SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

/* Room of whole pages; 0: too much. */
static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return size > SIZE_MAX / 2 - page ? 0 : (size + page - 1) / page * page;
}

int pp_memory_new(enum pp_memory_use use, size_t size, struct pyproc_memory **memoryp)
{
    struct pyproc_memory *memory;
    PP_AUTO_FD fd = -1;
    size_t room = whole_pages(size);
    int r;

    if (size == 0 || room == 0)
        return pp_fail(-EINVAL, "make memory of %zu bytes", size);
    r = pp_memfd_new("pyproc-memory", room, &fd);
    if (r == 0)
        r = pp_memfd_seal(fd, SIZE_SEALS);
    if (r < 0)
        return r;
    memory = calloc(1, sizeof *memory);
    if (!memory)
        return pp_fail(-ENOMEM, "make memory");
    atomic_init(&memory->refs, 1);
    memory->use = use;
    memory->fd = pp_take_fd(&fd);
    memory->room = room;
    memory->size = size;
    pp_list_init(&memory->link);
    *memoryp = memory;
    return 0;
}

void pp_memory_free(struct pyproc_memory *memory)
{
    if (memory->map)
        (void)munmap(memory->map, memory->room);
    (void)pp_close(memory->fd);
    free(memory);
}

struct pyproc_memory *pp_memory_ref(struct pyproc_memory *memory)
{
    (void)atomic_fetch_add(&memory->refs, 1);
    return memory;
}

void pp_memory_unref(struct pyproc_memory *memory)
{
    struct pp_stock *stock;

    if (!memory || atomic_fetch_sub(&memory->refs, 1) != 1)
        return;
    stock = memory->stock;
    memory->stock = NULL;
    if (!stock) {
        pp_memory_free(memory);
        return;
    }
    pp_stock_put(stock, memory);
    pp_stock_unref(stock);
}

static int map(struct pyproc_memory *memory, int protection, int flags)
{
    void *at = mmap(NULL, memory->room, protection, flags, memory->fd, 0);

    if (at == MAP_FAILED)
        return pp_fail(-errno, "map memory of %zu bytes", memory->room);
    memory->map = at;
    return 0;
}

static void unmap(struct pyproc_memory *memory)
{
    if (memory->map)
        (void)munmap(memory->map, memory->room);
    memory->map = NULL;
}

static int put(struct pyproc_memory *memory, size_t offset, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;

    if (memory->sealed) {
        if (n > 0)
            memcpy(memory->map + offset, bytes, n);
        return 0;
    }
    while (n > 0) {
        ssize_t done = pwrite(memory->fd, from, n, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return pp_fail(done < 0 ? -errno : -ENOSPC, "fill memory");
        from += done;
        offset += (size_t)done;
        n -= (size_t)done;
    }
    return 0;
}

int pp_memory_append(struct pyproc_memory *memory, const void *bytes, size_t n, size_t *offsetp)
{
    static const uint8_t zeros[PP_MEMORY_ALIGN];
    size_t gap = (PP_MEMORY_ALIGN - memory->filled % PP_MEMORY_ALIGN) % PP_MEMORY_ALIGN;
    size_t left = memory->size - memory->filled;
    int r;

    if (gap > left || n > left - gap)
        return pp_fail(-EMSGSIZE, "put %zu bytes into memory of %zu", n, memory->size);
    r = put(memory, memory->filled, zeros, gap);
    if (r == 0 && bytes)
        r = put(memory, memory->filled + gap, bytes, n);
    if (r < 0)
        return r;
    *offsetp = memory->filled + gap;
    memory->filled += gap + n;
    return 0;
}

int pp_memory_seal(struct pyproc_memory *memory)
{
    int r = 0;

    if (memory->sealed)
        return 0;
    if (!memory->map)
        r = map(memory, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (r == 0)
        r = pp_memfd_seal(memory->fd, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    memory->sealed = r == 0;
    return r;
}

int pp_memory_reserve(struct pyproc_memory *memory)
{
    if (memory->warm || fallocate(memory->fd, 0, 0, (off_t)memory->room) == 0)
        return 0;
    return pp_fail(-errno, "reserve memory of %zu bytes", memory->room);
}

/* A description of its own, so that ours stays alone when the worker is done. */
static int open_again(int fd, int flags)
{
    char path[sizeof "/proc/self/fd/" + 16];
    int again;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = open(path, flags | O_CLOEXEC | O_NOCTTY);
    return again < 0 ? -errno : pp_fd_above_stdio(again);
}

int pp_memory_open(struct pyproc_memory *memory, int *fdp)
{
    bool sent = memory->use == PP_MEMORY_SENT;
    int r = sent ? pp_memory_seal(memory) : 0;
    int fd;

    if (r < 0)
        return r;
    if (sent && memory->warm && memory->filled < memory->size) {
        /* Nothing of an earlier use goes along. */
        memset(memory->map + memory->filled, 0, memory->size - memory->filled);
        memory->filled = memory->size;
    }
    fd = open_again(memory->fd, sent ? O_RDONLY : O_RDWR);
    if (fd == -ENOENT || fd == -EACCES || fd == -EPERM || fd == -ELOOP) {
        /* Without /proc it shares ours: the seals hold, but nobody can say when it is free. */
        memory->lost = true;
        fd = fcntl(memory->fd, F_DUPFD_CLOEXEC, 3);
        fd = fd < 0 ? -errno : fd;
    }
    if (fd < 0)
        return pp_fail(fd, "open memory for a worker");
    *fdp = fd;
    return 0;
}

bool pp_memory_alone(const struct pyproc_memory *memory)
{
    PP_AUTO_FD again = open_again(memory->fd, O_RDONLY);

    if (again < 0 || fcntl(again, F_SETLEASE, F_WRLCK) < 0)
        return false;
    (void)fcntl(again, F_SETLEASE, F_UNLCK);
    return true;
}

/* Whatever its worker does to the file from now on. */
static int copy_away(struct pyproc_memory *memory)
{
    void *own =
        mmap(NULL, memory->room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r;

    if (own == MAP_FAILED)
        return pp_fail(-errno, "copy memory of %zu bytes", memory->size);
    r = map(memory, PROT_READ, MAP_SHARED);
    if (r < 0 || !memory->map) {
        (void)munmap(own, memory->room);
        return r < 0 ? r : -ENOMEM;
    }
    memcpy(own, memory->map, memory->size);
    (void)mprotect(own, memory->room, PROT_READ);
    unmap(memory);
    memory->map = own;
    pp_close_at(&memory->fd);
    return 0;
}

/* Its worker has added no seal of its own: such memory could not be filled again. */
static bool size_sealed_only(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & ~F_SEAL_EXEC) == SIZE_SEALS; /* memfd.c asks for that one */
}

int pp_memory_settle(struct pyproc_memory *memory)
{
    int r;

    if (memory->settled)
        return 0;
    if (!memory->lost && size_sealed_only(memory->fd) && pp_memory_alone(memory)) {
        r = memory->map ? 0 : map(memory, PROT_READ, MAP_SHARED);
    } else {
        memory->lost = true;
        unmap(memory);
        /* Private: older kernels refuse a shared mapping of what is sealed, even to read. */
        r = fcntl(memory->fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 ? map(memory, PROT_READ, MAP_PRIVATE)
                                                              : copy_away(memory);
    }
    memory->settled = r == 0;
    memory->warm = true;
    return r;
}
