/* fork.h - whether this process is a forked copy of the one that made a mark.
 *
 * The mark lies in a page that the kernel hands zeroed to a forked child (madvise(2),
 * MADV_WIPEONFORK, Linux 4.14), so that asking costs no system call and fork() by any road
 * is seen. Any thread.
 */
#ifndef PP_BASE_FORK_H
#define PP_BASE_FORK_H

#include <stdbool.h>
#include <stdint.h>

struct pp_fork_mark {
    const volatile uint8_t *page; /* owned; NULL before init */
};

int pp_fork_mark_init(struct pp_fork_mark *mark);
void pp_fork_mark_deinit(struct pp_fork_mark *mark);

static inline bool pp_is_fork_copy(const struct pp_fork_mark *mark)
{
    return *mark->page == 0;
}

#endif
