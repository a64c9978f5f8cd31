/* test_page.c - what each end may do with the shared pages, tried from the worker's side. */
#include "base/clock.h"
#include "base/fd.h"
#include "base/memfd.h"
#include "check.h"
#include "ipc/page.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Runs `attempt` in another process, as a worker would; answers its number. */
static int in_child(int (*attempt)(int fd), int fd)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(attempt(fd));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool can_map_writable(int fd)
{
    return mmap(NULL, PP_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
}

/* Each way to write that a worker has; the number of the one that worked. */
static int write_control(int fd)
{
    const struct pp_control_page *page;
    char path[64];
    int again;

    if (can_map_writable(fd) || errno != EPERM)
        return 1;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0 && can_map_writable(again))
        return 2;
    if (pwrite(fd, "x", 1, 0) >= 0 || errno != EPERM)
        return 3;
    if (ftruncate(fd, 0) == 0 || ftruncate(fd, 2 * PP_CONTROL_SIZE) == 0)
        return 4;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PP_CONTROL_SIZE) == 0)
        return 5;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0)
        return 6;
    if (pp_page_map_control(fd, &page) < 0)
        return 7;
    if (mprotect((void *)(uintptr_t)page, PP_CONTROL_SIZE, PROT_READ | PROT_WRITE) == 0)
        return 8;
    return atomic_load(&page->call_id) == 41 ? 0 : 9;
}

static void the_worker_reads_the_control_page_and_has_no_way_to_write_it(void)
{
    PP_AUTO_FD fd = -1;
    struct pp_control_page *page = NULL;
    const struct pp_control_page *seen = NULL;

    CHECK_EQ(pp_page_make_control(&fd, &page), 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(atomic_load(&page->deadline), PP_NEVER);
    atomic_store(&page->call_id, 41);
    CHECK_EQ(in_child(write_control, fd), 0);
    CHECK_EQ(pp_page_map_control(fd, &seen), 0);
    atomic_store(&page->call_id, 42); /* the host's own mapping stays writable */
    CHECK_EQ(atomic_load(&seen->call_id), 42);
    pp_page_unmap(seen, PP_CONTROL_SIZE);
    pp_page_unmap(page, PP_CONTROL_SIZE);
    pp_page_unmap(NULL, PP_CONTROL_SIZE);
}

static int write_status(int fd)
{
    struct pp_status_page *page;

    if (pp_page_map_status(fd, &page) < 0)
        return 1;
    atomic_store(&page->started, 7);
    page->area[PP_AREA_SIZE - 1] = 9;
    if (ftruncate(fd, 0) == 0 || ftruncate(fd, 2 * (off_t)PP_STATUS_SIZE) == 0)
        return 2;
    /* A write seal, which would take the page from the worker's successor, is refused too. */
    return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 ? 3 : 0;
}

static void the_worker_writes_the_status_page_and_cannot_change_its_size(void)
{
    PP_AUTO_FD fd = -1;
    const struct pp_status_page *page = NULL;

    CHECK_EQ(pp_page_make_status(&fd, &page), 0);
    CHECK_EQ(in_child(write_status, fd), 0);
    CHECK_EQ(atomic_load(&page->started), 7);
    CHECK_EQ(page->area[PP_AREA_SIZE - 1], 9);
    pp_page_unmap(page, PP_STATUS_SIZE);
}

static void memory_of_another_size_is_not_taken_for_a_page(void)
{
    PP_AUTO_FD small = -1;
    const struct pp_control_page *control = NULL;
    struct pp_status_page *status = NULL;

    CHECK_EQ(pp_memfd_new("small", 100, &small), 0);
    CHECK_EQ(pp_page_map_control(small, &control), -EPROTO);
    CHECK_EQ(pp_page_map_status(small, &status), -EPROTO);
    CHECK(control == NULL && status == NULL);
    CHECK_EQ(pp_page_map_status(-1, &status), -EBADF);
}

PP_TESTS(PP_TEST(the_worker_reads_the_control_page_and_has_no_way_to_write_it),
         PP_TEST(the_worker_writes_the_status_page_and_cannot_change_its_size),
         PP_TEST(memory_of_another_size_is_not_taken_for_a_page))
