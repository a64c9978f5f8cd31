/* fd.h - descriptors with an owner. Any thread. */
#ifndef PP_BASE_FD_H
#define PP_BASE_FD_H

#include <unistd.h>

/* Closes and answers -1, so that `fd = pp_close(fd)` leaves nothing behind.
 * Linux frees the descriptor even when close(2) says EINTR: never retried. */
static inline int pp_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static inline void pp_close_at(int *fdp)
{
    *fdp = pp_close(*fdp);
}

/* Ownership moves to the caller; the variable no longer closes it. */
static inline int pp_take_fd(int *fdp)
{
    int fd = *fdp;
    *fdp = -1;
    return fd;
}

/* A descriptor that is closed on every way out of its block, unless taken. */
#define PP_AUTO_FD __attribute__((cleanup(pp_close_at))) int

#endif
