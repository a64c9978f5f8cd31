/* sandbox_namespace.c - a view of the machine of one's own: mounts, name, network, IPC.
 *
 * Mounts mend what a user of one's own breaks: an environment below somebody's closed home. A
 * closed directory is hidden by an empty one, in which only what was granted appears again under
 * its old path. Trees are taken before anything is hidden and put down after. What belongs to
 * root and is not open to all can be shown as the new user's own (an id-mapped mount): reading
 * needs it where files are closed, writing always, and what is written is root's on the disk.
 */
#include "security/sandbox.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 4
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
/* Of mount_setattr(2). */
#define ATTR_RDONLY UINT64_C(1)
#define ATTR_NOSUID UINT64_C(2)
#define ATTR_NODEV UINT64_C(4)
#define ATTR_IDMAP UINT64_C(0x100000)
#define EVERYTHING_BELOW 0x8000 /* AT_RECURSIVE */

struct attr {
    uint64_t set, clear, propagation, user_ns;
};

/* What the steps share; descriptors of trees by their number in the box. */
struct work {
    const struct pp_box *box;
    int *trees;
    int users; /* a user namespace that maps root to the new user; -1: not made yet */
};

static int write_file(const char *path, const char *text)
{
    PP_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Without privileges: the user stays the same, and owns what is made from here on. */
static int enter_user_namespace(void)
{
    char uids[64], gids[64];
    int r;

    (void)snprintf(uids, sizeof(uids), "%u %u 1", geteuid(), geteuid());
    (void)snprintf(gids, sizeof(gids), "%u %u 1", getegid(), getegid());
    if (unshare(CLONE_NEWUSER) < 0)
        return -errno;
    /* The files belong to root for as long as the keeper's own secrecy lasts in us. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return -errno;
    r = write_file("/proc/self/setgroups", "deny");
    if (r == 0)
        r = write_file("/proc/self/uid_map", uids);
    if (r == 0)
        r = write_file("/proc/self/gid_map", gids);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return r;
}

/* Root is the new user, everybody else stays who he is. */
static int write_map(pid_t pid, const char *which, uint32_t id)
{
    char path[64], text[192];

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, which);
    (void)snprintf(text, sizeof(text), "0 %u 1\n1 1 %u\n%u %u %u\n", id, id - 1, id + 1, id + 1,
                   UINT32_MAX - 1 - (id + 1));
    return write_file(path, text);
}

/* A process that only lends its user namespace. */
static int make_user_map(const struct pp_box_head *head, int *fdp)
{
    char path[64];
    int r, fd;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid < 0)
        return -errno;
    if (pid == 0)
        for (;;)
            (void)pause();
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    r = write_map(pid, "uid_map", head->uid);
    if (r == 0)
        r = write_map(pid, "gid_map", head->gid);
    fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (r == 0 && fd < 0)
        r = -errno;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (r == 0)
        *fdp = fd;
    return r;
}

/* A detached copy of what lies at a path, with the rights that the box says. */
static int take_tree(struct work *work, struct pp_box_entry entry, int *treep)
{
    bool mapped = (entry.value & PP_MOUNT_MAPPED) != 0;
    int kind = (int)(entry.value & 0xff), r;
    unsigned below = mapped ? 0 : EVERYTHING_BELOW;
    struct attr attr = {.set = ATTR_NOSUID | ATTR_NODEV};
    PP_AUTO_FD tree = -1;

    if (kind == PP_MOUNT_READ)
        attr.set |= ATTR_RDONLY;
    if (mapped && work->users < 0) {
        r = make_user_map(&work->box->head, &work->users);
        if (r < 0)
            return r;
    }
    if (mapped) {
        attr.set |= ATTR_IDMAP;
        attr.user_ns = (uint64_t)work->users;
    }
    tree = (int)syscall(SYS_open_tree, AT_FDCWD, entry.path, OPEN_TREE_CLONE | O_CLOEXEC | below);
    if (tree < 0)
        return -errno;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | below, &attr, sizeof(attr)) < 0)
        return -errno;
    *treep = pp_take_fd(&tree);
    return 0;
}

static int take_trees(struct work *work)
{
    const uint8_t *at = work->box->mounts;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < work->box->head.n_mounts; i++) {
        struct pp_box_entry entry = pp_box_next(&at);
        int kind = (int)(entry.value & 0xff);

        if (kind == PP_MOUNT_READ || kind == PP_MOUNT_WRITE)
            r = take_tree(work, entry, &work->trees[i]);
    }
    return r;
}

/* The directories on the way to a path, where they are missing. */
static int make_way(const char *path)
{
    char part[4096];
    size_t n = strlen(path);

    if (n >= sizeof(part))
        return -ENAMETOOLONG;
    for (size_t i = 1; i < n; i++) {
        if (path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST && errno != EROFS)
            return -errno;
    }
    return 0;
}

static int put_tree(int tree, const char *path)
{
    struct stat st;
    int r = make_way(path);

    if (r < 0)
        return r;
    if (fstat(tree, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode)) {
        if (mkdir(path, 0755) < 0 && errno != EEXIST && errno != EROFS)
            return -errno;
    } else {
        int fd = open(path, O_CREAT | O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);

        if (fd < 0 && errno != EACCES && errno != EROFS && errno != ENXIO)
            return -errno;
        (void)pp_close(fd);
    }
    r = (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
    return r < 0 ? -errno : 0;
}

/* What Landlock does not see - modes, owners, times, attributes - stays as it is as well. */
static int lock_all(const char *path)
{
    struct attr attr = {.set = ATTR_RDONLY};
    long r = syscall(SYS_mount_setattr, AT_FDCWD, path, EVERYTHING_BELOW, &attr, sizeof(attr));

    return r < 0 ? -errno : 0;
}

static int put(const struct work *work, uint32_t i, struct pp_box_entry entry)
{
    const unsigned long plain = MS_NOSUID | MS_NODEV;
    int r = 0;

    switch (entry.value & 0xff) {
    case PP_MOUNT_EMPTY:
        r = mount("pyproc", entry.path, "tmpfs", plain, "mode=0755,size=1m,nr_inodes=16k");
        break;
    case PP_MOUNT_TMPFS:
        r = mount("pyproc", entry.path, "tmpfs", plain, "mode=1777,size=256m,nr_inodes=16k");
        break;
    case PP_MOUNT_PROC:
        r = mount("pyproc", entry.path, "proc", plain | MS_NOEXEC, "hidepid=2");
        break;
    case PP_MOUNT_SEAL:
        r = mount(NULL, entry.path, NULL, plain | MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
        break;
    case PP_MOUNT_LOCK:
        return lock_all(entry.path);
    case PP_MOUNT_READ:
    case PP_MOUNT_WRITE:
        return put_tree(work->trees[i], entry.path);
    default:
        return -EPROTO;
    }
    return r < 0 ? -errno : 0;
}

static int put_all(const struct work *work)
{
    const uint8_t *at = work->box->mounts;
    mode_t before = umask(0);
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < work->box->head.n_mounts; i++)
        r = put(work, i, pp_box_next(&at));
    (void)umask(before);
    return r;
}

/* Every descriptor is close-on-exec; close_rest closes them before. */
static int remake_mounts(const struct pp_box *box)
{
    struct work work = {.box = box, .users = -1};
    int r;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    if (box->head.n_mounts == 0)
        return 0;
    work.trees = malloc(box->head.n_mounts * sizeof(*work.trees));
    if (work.trees == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < box->head.n_mounts; i++)
        work.trees[i] = -1;
    r = take_trees(&work);
    if (r == 0)
        r = put_all(&work);
    free(work.trees);
    return r;
}

int pp_sandbox_take_namespaces(struct pp_birth *birth)
{
    const struct pp_box *box = &birth->box;
    int wanted = (int)box->head.namespaces, r;

    wanted &= ~pp_box_keeper_namespaces(box);
    if ((box->head.namespaces & CLONE_NEWNS) != 0)
        wanted |= CLONE_NEWNS; /* the keeper's own has only its /proc */
    if (wanted == 0)
        return box->head.n_mounts == 0 ? 0 : -EPROTO;
    if ((wanted & CLONE_NEWUSER) != 0) {
        r = enter_user_namespace();
        if (r < 0)
            return r;
    }
    if (unshare(wanted & ~CLONE_NEWUSER) < 0)
        return -errno;
    if ((wanted & CLONE_NEWUTS) != 0 && box->name != NULL &&
        sethostname(box->name, strlen(box->name)) < 0)
        return -errno;
    return (wanted & CLONE_NEWNS) != 0 ? remake_mounts(box) : 0;
}
