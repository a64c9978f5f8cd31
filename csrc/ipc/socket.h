/* socket.h - socket pairs and the passing of descriptors.
 *
 * A worker's channels are pairs: nothing lies on the file system that another
 * process could connect to, and holding the end is the identity. Any thread.
 */
#ifndef PP_IPC_SOCKET_H
#define PP_IPC_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Makes a connected pair of the type (SOCK_STREAM or SOCK_SEQPACKET), both ends
 * close-on-exec and blocking. */
int pp_socket_pair(int type, int *ap, int *bp);

/* Sends as much of `n` bytes as goes (MSG_NOSIGNAL | flags). Answers the number
 * sent (> 0) or a negative errno; EINTR is passed up, since a caller may have a
 * signal to look at. */
ssize_t pp_socket_send(int fd, const void *bytes, size_t n, int flags);
/* Receives at most `n` bytes. 0 is the peer's end. Negative errno as above. No
 * control buffer is offered: descriptors that a peer sends are closed by the
 * kernel (unix(7)), and the answer is -EBADMSG. */
ssize_t pp_socket_receive(int fd, void *bytes, size_t n, int flags);

/* The same two with descriptors, see base/handoff.h's *_some. */
ssize_t pp_socket_send_attached(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds,
                                int flags);
ssize_t pp_socket_receive_attached(int fd, void *bytes, size_t n, int *fds, size_t max_fds,
                                   size_t *n_fdsp, bool *lostp, int flags);

/* One datagram with descriptors, for the keeper's socket. 0 or a negative errno. */
int pp_socket_send_fds(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds);
/* Receives one datagram and at most `max_fds` descriptors, close-on-exec, which the
 * caller owns. More of either than there is room for is -EPROTO and all received
 * descriptors are closed. Answers the size, 0 at the peer's end, or a negative errno. */
ssize_t pp_socket_receive_fds(int fd, void *bytes, size_t n, int *fds, size_t max_fds,
                              size_t *n_fdsp, int flags);

#endif
