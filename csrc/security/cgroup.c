/* cgroup.c - directories of groups: made, locked, removed; their files written and read. */
#include "security/cgroup.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PREFIX "pyproc-"

enum {
    ENTRIES_MAX = 16384, /* of a directory that are looked at */
    NAMES_TRIED = 4,     /* somebody who cleans up may take a new one for an old one */
};

static int open_file(int directory, const char *group, const char *file, int flags)
{
    char path[NAME_MAX * 2];
    int n = snprintf(path, sizeof path, "%s/%s", group, file);
    int fd;

    if (n < 0 || (size_t)n >= sizeof path)
        return -ENAMETOOLONG;
    fd = openat(directory, path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int pp_cgroup_put(int directory, const char *group, const char *file, const char *text)
{
    PP_AUTO_FD fd = open_file(directory, group, file, O_WRONLY);
    size_t n = strlen(text);
    ssize_t done;

    if (fd < 0)
        return fd;
    do
        done = write(fd, text, n);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return -errno;
    return (size_t)done == n ? 0 : -EIO;
}

int pp_cgroup_put_number(int directory, const char *group, const char *file, uint64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return pp_cgroup_put(directory, group, file, text);
}

int pp_cgroup_get(int directory, const char *group, const char *file, char text[PP_CGROUP_TEXT])
{
    PP_AUTO_FD fd = open_file(directory, group, file, O_RDONLY);
    ssize_t n;

    if (fd < 0)
        return fd;
    n = read(fd, text, PP_CGROUP_TEXT - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return 0;
}

uint64_t pp_cgroup_get_number(int directory, const char *group, const char *file)
{
    char text[PP_CGROUP_TEXT];

    return pp_cgroup_get(directory, group, file, text) < 0 ? 0 : strtoull(text, NULL, 10);
}

uint64_t pp_cgroup_field(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, n) == 0 && line[n] == ' ')
            return strtoull(line + n, NULL, 10);
    }
    return 0;
}

/* ---- a pool's directory ---- */

static bool is_ours(const char *name)
{
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

static int open_directory(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* Groups of workers. 0 when none is left. */
static int remove_groups(int directory)
{
    int r = 0, copy = open_directory(directory, ".");
    const struct dirent *entry;
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);

    if (!stream) {
        (void)pp_close(copy);
        return copy < 0 ? copy : -ENOMEM;
    }
    /* The stream is ours alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    for (int i = 0; i < ENTRIES_MAX && (entry = readdir(stream)) != NULL; i++)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9' &&
            unlinkat(directory, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT &&
            errno != ENOTDIR)
            r = -errno;
    (void)closedir(stream);
    return r;
}

int pp_cgroup_pool_remove(int directory, const char *name)
{
    int r = remove_groups(directory);
    PP_AUTO_FD parent = -1;

    if (r < 0)
        return r;
    parent = open_directory(directory, "..");
    if (parent < 0)
        return parent == -ENOENT ? 0 : parent;
    return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* Nobody holds a lock of it: its host and its keeper are both gone. */
static void remove_if_left(int base, const char *name)
{
    PP_AUTO_FD directory = open_directory(base, name);

    if (directory >= 0 && flock(directory, LOCK_EX | LOCK_NB) == 0)
        (void)pp_cgroup_pool_remove(directory, name);
}

static void remove_left(int base)
{
    int copy = open_directory(base, ".");
    const struct dirent *entry;
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);

    if (!stream) {
        (void)pp_close(copy);
        return;
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
    for (int i = 0; i < ENTRIES_MAX && (entry = readdir(stream)) != NULL; i++)
        if (is_ours(entry->d_name))
            remove_if_left(base, entry->d_name);
    (void)closedir(stream);
}

/* 0, or -EAGAIN when somebody who cleans up was faster than our lock. */
static int make_locked(int base, const char *name, int *directoryp)
{
    PP_AUTO_FD directory = -1;
    struct stat st;

    if (mkdirat(base, name, 0755) < 0)
        return -errno;
    directory = open_directory(base, name);
    if (directory == -ENOENT)
        return -EAGAIN;
    if (directory < 0) {
        (void)unlinkat(base, name, AT_REMOVEDIR);
        return directory;
    }
    if (flock(directory, LOCK_EX | LOCK_NB) < 0 ||
        fstatat(base, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -EAGAIN;
    *directoryp = pp_take_fd(&directory);
    return 0;
}

int pp_cgroup_pool_new(int base, const struct pp_cgroup_kind *kind, char name[PP_CGROUP_NAME],
                       int *directoryp)
{
    int r = -EAGAIN, directory = -1;

    remove_left(base);
    for (int i = 0; i < NAMES_TRIED && r == -EAGAIN; i++) {
        (void)snprintf(name, PP_CGROUP_NAME, PREFIX "%d-%llx", (int)getpid(),
                       (unsigned long long)pp_now());
        r = make_locked(base, name, &directory);
    }
    if (r == 0)
        r = kind->enable(directory);
    if (r < 0) {
        if (directory >= 0)
            (void)pp_cgroup_pool_remove(directory, name);
        (void)pp_close(directory);
        return r;
    }
    *directoryp = directory;
    return 0;
}
