/* handoff.c - SCM_RIGHTS in one place, see unix(7) and cmsg(3).
 *
 * The kernel installs as many descriptors as the control buffer has room for and
 * says MSG_CTRUNC for the rest, so a short buffer alone would leak what did fit.
 */
#include "base/handoff.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Room for a full handoff, aligned as cmsghdr wants it. */
union control_room {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * PP_HANDOFF_MAX)];
};

ssize_t pp_handoff_send_some(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds,
                             int flags)
{
    ssize_t sent;
    union control_room room;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_fds > PP_HANDOFF_MAX)
        return -EINVAL;
    if (n_fds > 0) {
        struct cmsghdr *cmsg = &room.align;

        memset(&room, 0, sizeof(room));
        msg.msg_control = room.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
    }
    sent = sendmsg(fd, &msg, MSG_NOSIGNAL | flags);
    return sent < 0 ? -errno : sent;
}

int pp_handoff_send(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds, int flags)
{
    ssize_t sent = pp_handoff_send_some(fd, bytes, n, fds, n_fds, flags);

    return sent < 0 ? (int)sent : 0;
}

/* Collects every descriptor of the message; answers how many there were. */
static size_t collect_fds(struct msghdr *msg, int *fds)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        size_t here;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + n, CMSG_DATA(c), here * sizeof(int)); /* all of them fit the room */
        n += here;
    }
    return n;
}

ssize_t pp_handoff_receive(int fd, void *bytes, size_t n, int *fds, size_t max_fds, size_t *n_fdsp,
                           int flags)
{
    union control_room room;
    int got[sizeof(room) / sizeof(int)];
    struct iovec iov = {.iov_base = bytes, .iov_len = n};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = room.bytes,
        .msg_controllen = sizeof(room.bytes),
    };
    size_t n_got;
    ssize_t size = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);

    if (size < 0)
        return -errno;
    n_got = collect_fds(&msg, got);
    if (n_got > max_fds || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        for (size_t i = 0; i < n_got; i++)
            (void)pp_close(got[i]);
        /* The room below holds more than max_fds: short of it, the kernel ran out. */
        return n_got < max_fds && (msg.msg_flags & MSG_TRUNC) == 0 ? -EMFILE : -EPROTO;
    }
    if (n_got > 0)
        memcpy(fds, got, n_got * sizeof(int));
    *n_fdsp = n_got;
    return size;
}

ssize_t pp_handoff_receive_some(int fd, void *bytes, size_t n, int *fds, size_t max_fds,
                                size_t *n_fdsp, bool *lostp, int flags)
{
    union control_room room;
    int got[sizeof(room) / sizeof(int)];
    struct iovec iov = {.iov_base = bytes, .iov_len = n};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = room.bytes,
        .msg_controllen = sizeof(room.bytes),
    };
    size_t n_got;
    ssize_t size = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);

    if (size < 0)
        return -errno;
    if (msg.msg_controllen == 0 && (msg.msg_flags & MSG_CTRUNC) == 0)
        return size; /* the usual case */
    n_got = collect_fds(&msg, got);
    if (n_got > max_fds - *n_fdsp || (msg.msg_flags & MSG_CTRUNC) != 0) {
        for (size_t i = 0; i < n_got; i++)
            (void)pp_close(got[i]);
        *lostp = true;
        return size;
    }
    if (n_got > 0)
        memcpy(fds + *n_fdsp, got, n_got * sizeof(int));
    *n_fdsp += n_got;
    return size;
}

int pp_fd_above_stdio(int fd)
{
    int moved, error;

    if (fd > STDERR_FILENO)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    error = errno;
    (void)pp_close(fd);
    return moved < 0 ? -error : moved;
}
