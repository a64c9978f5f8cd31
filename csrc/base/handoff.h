/* handoff.h - datagrams that carry descriptors from one process to another.
 *
 * What a peer hands over is owned from the moment it is received, so every way out
 * of the receive either gives all of it to the caller or closes all of it. Any
 * thread; not cancellation points of ours.
 */
#ifndef PP_BASE_HANDOFF_H
#define PP_BASE_HANDOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PP_HANDOFF_MAX = 16 }; /* most descriptors in one datagram */

/* Sends one datagram, whole or not at all (MSG_NOSIGNAL | flags). The descriptors stay
 * the caller's. 0 or a negative errno; -EINVAL for more than PP_HANDOFF_MAX. */
int pp_handoff_send(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds, int flags);

/* Receives one datagram and at most `max_fds` (<= PP_HANDOFF_MAX) descriptors, close-on-
 * exec. More of either than there is room for is -EPROTO, and -EMFILE that this process
 * may have no more descriptors; nothing stays open then, and `bytes` holds what came.
 * Answers the size, 0 at the peer's end, or a negative errno. */
ssize_t pp_handoff_receive(int fd, void *bytes, size_t n, int *fds, size_t max_fds, size_t *n_fdsp,
                           int flags);

/* The same two for a stream, where a message may go and come in parts. Sends the descriptors with
 * the first byte; answers the number of bytes sent (> 0), the descriptors then gone with them, or a
 * negative errno. */
ssize_t pp_handoff_send_some(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds,
                             int flags);
/* Appends what came to `fds`, which hold *n_fdsp of at most `max_fds`. When there are more, or this
 * process may have no more, those that came with these bytes are closed and *lostp becomes
 * true: the bytes are good all the same. Answers their number, 0 at the peer's end, or a
 * negative errno. */
ssize_t pp_handoff_receive_some(int fd, void *bytes, size_t n, int *fds, size_t max_fds,
                                size_t *n_fdsp, bool *lostp, int flags);

/* Moves a descriptor that got the number 0, 1 or 2 (a host may have those closed) out of
 * the way of everybody's printf. Takes `fd`; answers the descriptor to use, close-on-
 * exec, or a negative errno with `fd` closed. */
int pp_fd_above_stdio(int fd);

#endif
