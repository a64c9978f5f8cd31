/* listener.c - named sockets, made without a race. See unix(7), openat(2), flock(2). */
#include "ipc/listener.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

enum { BACKLOG = 1024 };

/* Splits at the last slash: the directory's path, and the socket's name. */
static int split(const char *path, char *directory, size_t room, char name[PP_LISTENER_NAME])
{
    const char *slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;
    size_t n = slash ? (size_t)(slash - path) : 0;

    if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return pp_fail(-ENAMETOOLONG, "serve at %s: a socket's path has 107 bytes at most", path);
    if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || strlen(last) > 64)
        return pp_fail(-EINVAL, "serve at %s: its last part is no name of 1 to 64 bytes", path);
    if (n == 0)
        (void)snprintf(directory, room, "%s", slash ? "/" : ".");
    else
        (void)snprintf(directory, room, "%.*s", (int)n, path);
    (void)snprintf(name, PP_LISTENER_NAME, "%s", last);
    return 0;
}

/* It is opened before it is judged: what is judged stays what is used. */
static int open_directory(const char *path, unsigned mode)
{
    PP_AUTO_FD fd = -1;
    struct stat found;

    if (mkdir(path, mode & 07777) < 0 && errno != EEXIST)
        return pp_fail(-errno, "make the directory %s", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return pp_fail(-errno, "open the directory %s%s", path,
                       errno == ELOOP || errno == ENOTDIR ? " (a link or a file is refused)" : "");
    if (fstat(fd, &found) < 0)
        return pp_fail(-errno, "look at the directory %s", path);
    if (found.st_uid != geteuid() && found.st_uid != 0)
        return pp_fail(-EPERM, "serve in %s, which belongs to uid %u", path,
                       (unsigned)found.st_uid);
    if ((found.st_mode & 022) != 0 || (found.st_mode & 0777 & ~mode) != 0)
        return pp_fail(-EPERM,
                       "serve in %s of mode %04o, where %04o at most is wanted: use a directory of "
                       "its own, or set directory_mode (never writable for others)",
                       path, (unsigned)(found.st_mode & 07777), mode);
    return pp_take_fd(&fd);
}

static int take_lock(int directory, const char *name, const char *path)
{
    char lock[PP_LISTENER_NAME + 8];
    PP_AUTO_FD fd = -1;
    struct stat found;

    (void)snprintf(lock, sizeof lock, ".%s.lock", name);
    fd = openat(directory, lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return pp_fail(-errno, "open the lock file of %s", path);
    if (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode) || found.st_uid != geteuid())
        return pp_fail(-EPERM, "use the lock file of %s, which is not a file of ours", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return pp_fail(errno == EWOULDBLOCK ? -EADDRINUSE : -errno,
                       "serve at %s, where another instance does", path);
    return pp_take_fd(&fd);
}

/* A path that starts at the directory's descriptor, not at the root. */
static void address(struct sockaddr_un *to, int directory, const char *name)
{
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(to->sun_path, sizeof to->sun_path, "/proc/self/fd/%d/%s", directory, name);
}

static bool somebody_listens(int directory, const char *name)
{
    struct sockaddr_un to;
    PP_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    address(&to, directory, name);
    return fd >= 0 && (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EAGAIN);
}

/* What lies there is nothing, or the socket of a server that is no more. */
static int check_place(int directory, const char *name, const char *path)
{
    struct stat found;

    if (fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : pp_fail(-errno, "look at %s", path);
    if (!S_ISSOCK(found.st_mode))
        return pp_fail(-EEXIST, "serve at %s, which is there and is no socket", path);
    if (found.st_uid != geteuid() && geteuid() != 0)
        return pp_fail(-EPERM, "serve at %s, a socket of uid %u", path, (unsigned)found.st_uid);
    if (somebody_listens(directory, name))
        return pp_fail(-EADDRINUSE, "serve at %s, where another program does", path);
    return 0;
}

/* Bound under a random name, so that a half-made socket is never seen under its own. */
static int bind_hidden(const struct pp_listener_plan *plan, int directory, int fd,
                       const char *hidden)
{
    struct sockaddr_un to;

    address(&to, directory, hidden);
    /* The file gets the mode of the socket's own inode, less the umask: never more than this. */
    if (fchmod(fd, plan->mode & 0777) < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return pp_fail(-errno, "bind %s", plan->path);
    if ((plan->owner != PP_LISTENER_SAME || plan->group != PP_LISTENER_SAME) &&
        fchownat(directory, hidden, plan->owner, plan->group, AT_SYMLINK_NOFOLLOW) < 0)
        return pp_fail(-errno, "give %s to uid %d, gid %d", plan->path, (int)plan->owner,
                       (int)plan->group);
    if (fchmodat(directory, hidden, plan->mode & 0777, 0) < 0)
        return pp_fail(-errno, "set the mode of %s", plan->path);
    if (listen(fd, BACKLOG) < 0)
        return pp_fail(-errno, "listen at %s", plan->path);
    return 0;
}

static int make_socket(const struct pp_listener_plan *plan, struct pp_listener *listener)
{
    char hidden[32];
    uint64_t random;
    struct stat made = {0};
    int r;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return pp_fail(-EIO, "get random bytes");
    (void)snprintf(hidden, sizeof hidden, ".%016llx", (unsigned long long)random);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return pp_fail(-errno, "make a socket");
    listener->fd = pp_fd_above_stdio(listener->fd);
    if (listener->fd < 0)
        return pp_fail(listener->fd, "move a socket above the standard streams");
    r = bind_hidden(plan, listener->directory, listener->fd, hidden);
    if (r == 0 && fstatat(listener->directory, hidden, &made, AT_SYMLINK_NOFOLLOW) < 0)
        r = pp_fail(-errno, "look at %s", plan->path);
    if (r == 0 && renameat(listener->directory, hidden, listener->directory, listener->name) < 0)
        r = pp_fail(-errno, "put a socket at %s", plan->path);
    if (r < 0) {
        (void)unlinkat(listener->directory, hidden, 0);
        return r;
    }
    listener->device = made.st_dev;
    listener->inode = made.st_ino;
    return 0;
}

/* systemd made it; that it listens in our name is what listen(2) once more does. */
static int adopt(int fd, struct pp_listener *listener)
{
    int domain = 0, type = 0, accepts = 0;
    socklen_t n = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &n) < 0)
        return pp_fail(-errno, "look at the socket that was given (descriptor %d)", fd);
    if (domain != AF_UNIX || type != SOCK_STREAM || !accepts)
        return pp_fail(-EINVAL, "serve at descriptor %d: it is no listening Unix stream socket",
                       fd);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || listen(fd, BACKLOG) < 0)
        return pp_fail(-errno, "prepare the socket that was given (descriptor %d)", fd);
    listener->fd = fd;
    return 0;
}

int pp_listener_open(const struct pp_listener_plan *plan, struct pp_listener *listener)
{
    char directory[sizeof((struct sockaddr_un *)NULL)->sun_path];
    int r;

    *listener = (struct pp_listener){.fd = -1, .directory = -1, .lock = -1};
    if (plan->given >= 0) {
        r = adopt(plan->given, listener);
        if (r == 0)
            r = pp_peer_of(listener->fd, &listener->self);
        if (r < 0)
            listener->fd = -1; /* it stays the giver's */
        return r;
    }
    r = split(plan->path, directory, sizeof directory, listener->name);
    if (r == 0)
        r = listener->directory = open_directory(directory, plan->directory_mode);
    if (r >= 0)
        r = listener->lock = take_lock(listener->directory, listener->name, plan->path);
    if (r >= 0)
        r = check_place(listener->directory, listener->name, plan->path);
    if (r >= 0)
        r = make_socket(plan, listener);
    if (r >= 0)
        r = pp_peer_of(listener->fd, &listener->self);
    if (r < 0)
        pp_listener_close(listener);
    return r < 0 ? r : 0;
}

void pp_listener_close(struct pp_listener *listener)
{
    struct stat found;

    if (listener->inode &&
        fstatat(listener->directory, listener->name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        found.st_dev == listener->device && found.st_ino == listener->inode)
        (void)unlinkat(listener->directory, listener->name, 0);
    listener->inode = 0;
    listener->fd = pp_close(listener->fd);
    listener->lock = pp_close(listener->lock);
    listener->directory = pp_close(listener->directory);
}

int pp_listener_accept(const struct pp_listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    return fd < 0 ? -errno : pp_fd_above_stdio(fd); /* keeps both flags */
}

int pp_listener_connect(const char *path, int64_t timeout)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = (time_t)(timeout / 1000000000),
                                  .tv_usec = (suseconds_t)(timeout % 1000000000 / 1000)};
    PP_AUTO_FD fd = -1;

    if (strlen(path) >= sizeof to.sun_path)
        return pp_fail(-ENAMETOOLONG, "connect to %s: a socket's path has 107 bytes at most", path);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return pp_fail(-errno, "make a socket");
    fd = pp_fd_above_stdio(pp_take_fd(&fd));
    if (fd < 0)
        return pp_fail(fd, "move a socket above the standard streams");
    /* A server whose queue is full makes connect wait: unix(7) has SO_SNDTIMEO for that. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return pp_fail(errno == EAGAIN ? -ETIMEDOUT : -errno, "connect to %s", path);
    return pp_take_fd(&fd);
}

int pp_peer_of(int fd, struct pp_peer *peer)
{
    struct ucred found;
    socklen_t n = sizeof found;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &n) < 0)
        return pp_fail(-errno, "ask who is at the other end");
    *peer = (struct pp_peer){.pid = found.pid, .uid = found.uid, .gid = found.gid};
    return 0;
}

size_t pp_peer_groups(int fd, uint32_t *groups, size_t max)
{
    socklen_t n = (socklen_t)(max * sizeof *groups);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n) < 0)
        return 0; /* more than there is room for, or an old kernel: only the first group counts */
    return n / sizeof *groups;
}

int pp_peer_open(int32_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */

    return fd < 0 ? pp_fail(-errno, "open process %d", (int)pid) : fd;
}

int pp_peer_lives(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}
