/* test_memory.c - shared memory tried from a hostile worker's side, and what is used again. */
#include "base/fd.h"
#include "base/handoff.h"
#include "check.h"
#include "ipc/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIZE = 300 * 1024 };

static struct pyproc_memory *take(struct pp_stock *stock, enum pp_memory_use use, uint32_t worker,
                                  size_t size)
{
    struct pyproc_memory *memory = NULL;

    CHECK_EQ(pp_stock_take(stock, use, worker, size, &memory), 0);
    return memory;
}

static int give(struct pyproc_memory *memory)
{
    int fd = -1;

    CHECK_EQ(pp_memory_open(memory, &fd), 0);
    return fd;
}

static void sent_memory_can_be_neither_written_nor_resized_by_a_worker(void)
{
    struct pyproc_memory *memory = NULL;
    size_t at = 1;
    int fd, again;
    char path[64];

    CHECK_EQ(pp_memory_new(PP_MEMORY_SENT, SIZE, &memory), 0);
    CHECK_EQ(pp_memory_append(memory, "hello", 5, &at), 0);
    CHECK_EQ(at, 0);
    CHECK_EQ(pp_memory_append(memory, "world", 5, &at), 0);
    CHECK_EQ(at, PP_MEMORY_ALIGN);
    CHECK_EQ(pp_memory_append(memory, NULL, SIZE, &at), -EMSGSIZE);
    fd = give(memory);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        int by = i ? again : fd;

        CHECK(write(by, "x", 1) < 0);
        CHECK(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, by, 0) == MAP_FAILED);
        CHECK(ftruncate(by, 0) < 0);
        CHECK(ftruncate(by, 2 * SIZE) < 0);
        CHECK(fcntl(by, F_ADD_SEALS, F_SEAL_WRITE) < 0);
    }
    CHECK_BYTES(memory->map, 5, "hello", 5);
    (void)pp_close(again);
    (void)pp_close(fd);
    pp_memory_unref(memory);
}

static void the_kernel_says_who_still_has_it(void)
{
    struct pyproc_memory *memory = NULL;
    void *map;
    int fd;

    CHECK_EQ(pp_memory_new(PP_MEMORY_GRANTED, SIZE, &memory), 0);
    CHECK(pp_memory_alone(memory));
    fd = give(memory);
    CHECK(!pp_memory_alone(memory));
    map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    (void)pp_close(fd);
    CHECK(!pp_memory_alone(memory));
    (void)munmap(map, SIZE);
    CHECK(pp_memory_alone(memory));
    pp_memory_unref(memory);
}

/* How a worker may keep hold of what it was granted. */
enum hold { LET_GO, KEEP_OPEN, KEEP_MAPPED, ADD_SEAL };

static void settle_while(enum hold hold)
{
    struct pyproc_memory *memory = NULL;
    char *map;
    int fd;

    CHECK_EQ(pp_memory_new(PP_MEMORY_GRANTED, SIZE, &memory), 0);
    fd = give(memory);
    map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memcpy(map, "before", 6);
    CHECK(ftruncate(fd, 0) < 0);
    if (hold == ADD_SEAL)
        CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
    if (hold == LET_GO || hold == KEEP_OPEN)
        (void)munmap(map, SIZE);
    if (hold == LET_GO)
        fd = pp_close(fd);
    CHECK_EQ(pp_memory_settle(memory), 0);
    if (hold == KEEP_MAPPED || hold == ADD_SEAL)
        memcpy(map, "AFTER!", 6); /* into what the host does not look at any more */
    if (fd >= 0)
        CHECK((pwrite(fd, "AFTER!", 6, 0) < 0) == (hold == KEEP_OPEN));
    CHECK_BYTES(memory->map, 6, "before", 6);
    CHECK_EQ(memory->lost, hold != LET_GO);
    if (hold == KEEP_MAPPED || hold == ADD_SEAL)
        (void)munmap(map, SIZE);
    (void)pp_close(fd);
    pp_memory_unref(memory);
}

static void what_was_read_stays_whatever_its_worker_does(void)
{
    settle_while(LET_GO);
    settle_while(KEEP_OPEN);
    settle_while(KEEP_MAPPED);
    settle_while(ADD_SEAL);
}

static void memory_that_is_used_again_shows_nothing_of_its_last_use(void)
{
    struct pp_stock *stock = NULL;
    struct pyproc_memory *first, *second;
    static char secret[SIZE];
    size_t at;
    int fd;

    memset(secret, 's', sizeof secret);
    CHECK_EQ(pp_stock_new(64 << 20, &stock), 0);
    first = take(stock, PP_MEMORY_SENT, 0, SIZE);
    CHECK_EQ(pp_memory_append(first, secret, SIZE, &at), 0);
    fd = give(first);
    pp_memory_unref(first);
    second = take(stock, PP_MEMORY_SENT, 0, SIZE);
    CHECK(second != first); /* somebody still has that one open */
    pp_memory_unref(second);
    (void)pp_close(fd);
    second = take(stock, PP_MEMORY_SENT, 0, SIZE - 5000);
    CHECK(second == first);
    CHECK_EQ(pp_memory_append(second, "a", 1, &at), 0);
    CHECK_EQ(pp_memory_append(second, "b", 1, &at), 0);
    fd = give(second);
    CHECK(memchr(second->map, 's', second->room) == NULL);
    (void)pp_close(fd);
    pp_memory_unref(second);
    pp_stock_unref(stock);
}

static void what_a_worker_filled_goes_to_that_worker_only(void)
{
    struct pp_stock *stock = NULL;
    struct pyproc_memory *first, *other, *again;

    CHECK_EQ(pp_stock_new(64 << 20, &stock), 0);
    first = take(stock, PP_MEMORY_GRANTED, 1, SIZE);
    (void)pp_close(give(first));
    CHECK_EQ(pp_memory_settle(first), 0);
    pp_memory_unref(first);
    other = take(stock, PP_MEMORY_GRANTED, 2, SIZE);
    CHECK(other != first);
    again = take(stock, PP_MEMORY_GRANTED, 1, SIZE);
    CHECK(again == first && again->warm && !again->settled);
    pp_memory_unref(again); /* not settled: never used again */
    CHECK_EQ(pp_stock_idle(stock), 0);
    pp_memory_unref(other);
    pp_stock_unref(stock);
}

static void a_stock_is_bounded_and_a_fork_or_its_end_empties_it(void)
{
    struct pp_stock *stock = NULL;
    struct pyproc_memory *memories[8];

    CHECK_EQ(pp_stock_new(4 * SIZE, &stock), 0);
    for (int i = 0; i < 8; i++) {
        memories[i] = take(stock, PP_MEMORY_SENT, 0, SIZE);
        (void)pp_close(give(memories[i]));
    }
    for (int i = 0; i < 8; i++)
        pp_memory_unref(memories[i]);
    CHECK(pp_stock_idle(stock) > 0 && pp_stock_idle(stock) <= 4 * SIZE);
    memories[0] = take(stock, PP_MEMORY_SENT, 0, SIZE);
    pp_stock_forking(stock);
    pp_stock_close(stock);
    CHECK_EQ(pp_stock_idle(stock), 0);
    (void)pp_close(give(memories[0]));
    pp_memory_unref(memories[0]);
    CHECK_EQ(pp_stock_idle(stock), 0);
    pp_stock_unref(stock);
}

static void bad_sizes_are_refused(void)
{
    struct pyproc_memory *memory = NULL;

    CHECK_EQ(pp_memory_new(PP_MEMORY_SENT, 0, &memory), -EINVAL);
    CHECK_EQ(pp_memory_new(PP_MEMORY_SENT, SIZE_MAX, &memory), -EINVAL);
    CHECK(memory == NULL);
    pp_memory_unref(NULL);
}

PP_TESTS(PP_TEST(sent_memory_can_be_neither_written_nor_resized_by_a_worker),
         PP_TEST(the_kernel_says_who_still_has_it),
         PP_TEST(what_was_read_stays_whatever_its_worker_does),
         PP_TEST(memory_that_is_used_again_shows_nothing_of_its_last_use),
         PP_TEST(what_a_worker_filled_goes_to_that_worker_only),
         PP_TEST(a_stock_is_bounded_and_a_fork_or_its_end_empties_it),
         PP_TEST(bad_sizes_are_refused))
