/* proc.c - /proc/<pid>/stat, see proc(5): pid (name) state parent group session ...
 *
 * The name is the process's own choice and may hold spaces, parentheses and numbers;
 * only the last ')' ends it. The start time is field 22.
 */
#include "keeper/proc.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pp_proc_walk {
    DIR *dir;
};

int pp_proc_open(struct pp_proc_walk **walkp)
{
    struct pp_proc_walk *walk = malloc(sizeof(*walk));

    if (walk == NULL)
        return -ENOMEM;
    walk->dir = opendir("/proc");
    if (walk->dir == NULL) {
        int error = errno;

        free(walk);
        return -error;
    }
    *walkp = walk;
    return 0;
}

struct pp_proc_walk *pp_proc_close(struct pp_proc_walk *walk)
{
    if (walk != NULL) {
        (void)closedir(walk->dir);
        free(walk);
    }
    return NULL;
}

void pp_proc_rewind(struct pp_proc_walk *walk)
{
    rewinddir(walk->dir);
}

/* A number that is a pid or 0, and a space behind it. */
static int take_number(const char **atp, pid_t *numberp)
{
    char *end;
    long number;

    errno = 0;
    number = strtol(*atp, &end, 10);
    if (end == *atp || errno != 0 || number < 0 || number > INT_MAX || *end != ' ')
        return -EPROTO;
    *numberp = (pid_t)number;
    *atp = end + 1;
    return 0;
}

/* The start time, when the next field is the 7th. */
static int take_start(const char *at, uint64_t *startp)
{
    char *end;
    unsigned long long start;

    for (int field = 7; field < 22; field++) {
        at = strchr(at, ' ');
        if (at == NULL)
            return -EPROTO;
        at++;
    }
    errno = 0;
    start = strtoull(at, &end, 10);
    if (end == at || errno != 0 || *at == '-' || *end != ' ')
        return -EPROTO;
    *startp = start;
    return 0;
}

int pp_proc_parse(const char *text, size_t n, struct pp_proc *procp)
{
    char copy[512];
    struct pp_proc proc;
    const char *at = copy;
    const char *name_end;
    pid_t group;

    if (n >= sizeof(copy))
        n = sizeof(copy) - 1;
    memcpy(copy, text, n);
    copy[n] = '\0';
    name_end = strrchr(copy, ')');
    if (name_end == NULL || take_number(&at, &proc.pid) < 0)
        return -EPROTO;
    if (name_end[1] != ' ' || name_end[2] == '\0' || name_end[3] != ' ')
        return -EPROTO;
    proc.dead = name_end[2] == 'Z' || name_end[2] == 'X';
    at = name_end + 4;
    if (take_number(&at, &proc.parent) < 0 || take_number(&at, &group) < 0 ||
        take_number(&at, &proc.session) < 0 || take_start(at, &proc.start) < 0)
        return -EPROTO;
    *procp = proc;
    return 0;
}

static int read_stat(int proc_fd, const char *pid, struct pp_proc *procp)
{
    char path[32];
    char text[512];
    PP_AUTO_FD fd = -1;
    ssize_t n;

    if (snprintf(path, sizeof(path), "%s/stat", pid) >= (int)sizeof(path))
        return -EPROTO;
    fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof(text));
    return n < 0 ? -errno : pp_proc_parse(text, (size_t)n, procp);
}

int pp_proc_next(struct pp_proc_walk *walk, struct pp_proc *procp)
{
    for (;;) {
        const struct dirent *entry;
        int r;

        errno = 0;
        entry = readdir(walk->dir);
        if (entry == NULL)
            return errno != 0 ? -errno : PP_PROC_END;
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        r = read_stat(dirfd(walk->dir), entry->d_name, procp);
        if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
            return -EAGAIN;
        if (r == 0)
            return 0;
    }
}

int pp_proc_read(struct pp_proc_walk *walk, pid_t pid, struct pp_proc *procp)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "%d", (int)pid);
    return read_stat(dirfd(walk->dir), name, procp);
}
