/* socket.c - the few socket calls of the core, with results instead of errno. */
#include "ipc/socket.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"

#include <errno.h>
#include <sys/socket.h>

int pp_socket_pair(int type, int *ap, int *bp)
{
    int pair[2];
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;

    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return pp_fail(-errno, "make a socket pair");
    b = pair[1];
    a = pp_fd_above_stdio(pair[0]);
    if (a < 0)
        return pp_fail(a, "move a socket above the standard streams");
    b = pp_fd_above_stdio(pp_take_fd(&b));
    if (b < 0)
        return pp_fail(b, "move a socket above the standard streams");
    *ap = pp_take_fd(&a);
    *bp = pp_take_fd(&b);
    return 0;
}

ssize_t pp_socket_send(int fd, const void *bytes, size_t n, int flags)
{
    ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | flags);

    return sent < 0 ? -errno : sent;
}

ssize_t pp_socket_receive(int fd, void *bytes, size_t n, int flags)
{
    struct iovec part = {.iov_base = bytes, .iov_len = n};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t got = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);

    if (got < 0)
        return -errno;
    return message.msg_flags & MSG_CTRUNC ? -EBADMSG : got;
}

ssize_t pp_socket_send_attached(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds,
                                int flags)
{
    return pp_handoff_send_some(fd, bytes, n, fds, n_fds, flags);
}

ssize_t pp_socket_receive_attached(int fd, void *bytes, size_t n, int *fds, size_t max_fds,
                                   size_t *n_fdsp, bool *lostp, int flags)
{
    return pp_handoff_receive_some(fd, bytes, n, fds, max_fds, n_fdsp, lostp, flags);
}

int pp_socket_send_fds(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
    return pp_handoff_send(fd, bytes, n, fds, n_fds, 0);
}

ssize_t pp_socket_receive_fds(int fd, void *bytes, size_t n, int *fds, size_t max_fds,
                              size_t *n_fdsp, int flags)
{
    return pp_handoff_receive(fd, bytes, n, fds, max_fds, n_fdsp, flags);
}
