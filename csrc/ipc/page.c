/* page.c - makes, seals and maps the control and the status page.
 *
 * Order matters for the control page: F_SEAL_FUTURE_WRITE leaves the host's mapping,
 * made before, writable and refuses every later one (fcntl(2)).
 */
#include "ipc/page.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/memfd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static_assert(sizeof(struct pp_control_page) <= PP_CONTROL_SIZE, "the page holds its struct");
static_assert(offsetof(struct pp_status_page, area) < PP_STATUS_SIZE, "some area is left");

static int map_page(int fd, size_t size, int protection, void **pagep)
{
    void *page = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

    if (page == MAP_FAILED)
        return pp_fail(-errno, "map a shared page");
    *pagep = page;
    return 0;
}

/* Maps with the protection and then seals: size for good, and what `seals` adds. */
static int make_page(const char *name, size_t size, int protection, int seals, int *fdp,
                     void **pagep)
{
    PP_AUTO_FD fd = -1;
    void *page = NULL;
    int r;

    r = pp_memfd_new(name, size, &fd);
    if (r < 0)
        return r;
    r = map_page(fd, size, protection, &page);
    if (r < 0)
        return r;
    r = pp_memfd_seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | seals);
    if (r < 0) {
        pp_page_unmap(page, size);
        return r;
    }
    *fdp = pp_take_fd(&fd);
    *pagep = page;
    return 0;
}

int pp_page_make_control(int *fdp, struct pp_control_page **pagep)
{
    void *page = NULL;
    int r = make_page("pyproc-control", PP_CONTROL_SIZE, PROT_READ | PROT_WRITE,
                      F_SEAL_FUTURE_WRITE, fdp, &page);

    if (r < 0)
        return r;
    *pagep = page;
    atomic_store(&(*pagep)->deadline, PP_NEVER);
    atomic_store(&(*pagep)->recall_from, UINT64_MAX);
    return 0;
}

int pp_page_make_status(int *fdp, const struct pp_status_page **pagep)
{
    void *page = NULL;
    int r = make_page("pyproc-status", PP_STATUS_SIZE, PROT_READ, 0, fdp, &page);

    if (r < 0)
        return r;
    *pagep = page;
    return 0;
}

/* A page that is not of the agreed size would fault on access. */
static int map_given(int fd, size_t size, int protection, void **pagep)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return pp_fail(-errno, "look at a shared page");
    if (st.st_size != (off_t)size)
        return pp_fail(-EPROTO, "a shared page has %lld bytes, not %zu", (long long)st.st_size,
                       size);
    return map_page(fd, size, protection, pagep);
}

int pp_page_map_control(int fd, const struct pp_control_page **pagep)
{
    void *page = NULL;
    int r = map_given(fd, PP_CONTROL_SIZE, PROT_READ, &page);

    if (r < 0)
        return r;
    *pagep = page;
    return 0;
}

int pp_page_map_status(int fd, struct pp_status_page **pagep)
{
    void *page = NULL;
    int r = map_given(fd, PP_STATUS_SIZE, PROT_READ | PROT_WRITE, &page);

    if (r < 0)
        return r;
    *pagep = page;
    return 0;
}

void pp_page_unmap(const void *page, size_t size)
{
    if (page != NULL)
        (void)munmap((void *)(uintptr_t)page, size);
}
