/* fork.c - see fork.h. */
#include "base/fork.h"

#include "base/error.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

/* The kernel rounds it up to a page. */
enum { SIZE = 1 };

int pp_fork_mark_init(struct pp_fork_mark *mark)
{
    uint8_t *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return pp_fail(-errno, "make the mark that a fork wipes");
    if (madvise(page, SIZE, MADV_WIPEONFORK) < 0) {
        int r = pp_fail(-errno, "have a page wiped on fork (Linux 4.14)");

        (void)munmap(page, SIZE);
        return r;
    }
    *page = 1;
    mark->page = page;
    return 0;
}

void pp_fork_mark_deinit(struct pp_fork_mark *mark)
{
    if (mark->page)
        (void)munmap((void *)(uintptr_t)mark->page, SIZE);
    mark->page = NULL;
}
