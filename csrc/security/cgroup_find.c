/* cgroup_find.c - where a host may make groups: asked of /proc, and then tried.
 *
 * In the first version below the host's own group. In the second one a group with processes can
 * have no groups with limits in it, so beside the host's own: in its parent, when that one
 * was given to us (systemd: Delegate=memory and DelegateSubgroup=).
 */
#include "security/cgroup.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE_MAX_LENGTH = 16384 };

/* One hierarchy: where it is mounted, which part of it, and where in it the host is. */
struct place {
    char mount[PP_CGROUP_PATH], top[PP_CGROUP_PATH], own[PP_CGROUP_PATH];
};

struct search {
    const char *root;
    struct place v1, v2;
    char line[LINE_MAX_LENGTH];
};

/* A word of mountinfo: a blank and the like are written as \ooo. */
static void copy_word(char to[PP_CGROUP_PATH], const char *from, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < n && at < PP_CGROUP_PATH - 1; i++) {
        if (from[i] == '\\' && i + 3 < n) {
            to[at++] =
                (char)(((from[i + 1] & 7) << 6) | ((from[i + 2] & 7) << 3) | (from[i + 3] & 7));
            i += 3;
        } else {
            to[at++] = from[i];
        }
    }
    to[at] = '\0';
}

static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == '\0'))
            return true;
    }
    return false;
}

/* ID PARENT MAJOR:MINOR TOP MOUNT OPTIONS... - KIND SOURCE OPTIONS, see proc(5). */
static void read_mount(struct search *search, char *line)
{
    char *words[5], *kind, *options, *rest = line, *tail = strstr(line, " - ");
    struct place *place;

    if (!tail)
        return;
    *tail = '\0';
    for (size_t i = 0; i < 5; i++) {
        words[i] = strsep(&rest, " ");
        if (!words[i])
            return;
    }
    tail += 3;
    kind = strsep(&tail, " ");
    (void)strsep(&tail, " ");
    options = tail ? tail : kind + strlen(kind);
    if (strcmp(kind, "cgroup2") == 0)
        place = &search->v2;
    else if (strcmp(kind, "cgroup") == 0 && lists(options, "memory"))
        place = &search->v1;
    else
        return;
    if (place->mount[0] != '\0')
        return; /* the first one will do */
    copy_word(place->top, words[3], strlen(words[3]));
    copy_word(place->mount, words[4], strlen(words[4]));
}

/* NUMBER:CONTROLLERS:PATH, see cgroups(7). */
static void read_membership(struct search *search, char *line)
{
    char *rest = line;
    const char *number = strsep(&rest, ":"), *controllers = strsep(&rest, ":");

    if (!rest)
        return;
    if (lists(controllers, "memory"))
        (void)snprintf(search->v1.own, sizeof search->v1.own, "%s", rest);
    else if (strcmp(number, "0") == 0 && *controllers == '\0')
        (void)snprintf(search->v2.own, sizeof search->v2.own, "%s", rest);
}

static int for_each_line(struct search *search, const char *file,
                         void (*use)(struct search *search, char *line))
{
    char path[PP_CGROUP_PATH];
    FILE *stream;
    int fd;

    (void)snprintf(path, sizeof path, "%s/proc/self/%s", search->root, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    stream = fd < 0 ? NULL : fdopen(fd, "r");
    if (!stream) {
        int error = -errno;

        (void)pp_close(fd);
        return error;
    }
    while (fgets(search->line, sizeof search->line, stream)) {
        search->line[strcspn(search->line, "\n")] = '\0';
        use(search, search->line);
    }
    (void)fclose(stream);
    return 0;
}

/* The directory of the host's own group: below the mount, as far as it is mounted. */
static bool own_directory(const struct search *search, const struct place *place,
                          char path[PP_CGROUP_PATH])
{
    size_t n = strcmp(place->top, "/") == 0 ? 0 : strlen(place->top);
    const char *below = place->own + n;
    int length;

    if (place->mount[0] == '\0' || place->own[0] == '\0' || strstr(place->own, "/.."))
        return false;
    if (strncmp(place->own, place->top, n) != 0 || (*below != '/' && *below != '\0'))
        below = ""; /* another view of it than our own: what is mounted is all there is */
    if (strcmp(below, "/") == 0)
        below = "";
    length = snprintf(path, PP_CGROUP_PATH, "%s%s%s", search->root, place->mount, below);
    return length > 0 && length < PP_CGROUP_PATH;
}

static bool to_parent(const struct search *search, const struct place *place,
                      char path[PP_CGROUP_PATH])
{
    size_t least = strlen(search->root) + strlen(place->mount);
    char *end = strrchr(path, '/');

    if (!end || strlen(path) <= least)
        return false;
    *end = '\0';
    return true;
}

static int try(const char *path, const struct pp_cgroup_kind *kind, const char **stepp)
{
    PP_AUTO_FD base = -1;
    PP_AUTO_FD directory = -1;
    char name[PP_CGROUP_NAME];
    int r;

    *stepp = "open the directory";
    base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return -errno;
    *stepp = "switch the memory controller on";
    r = kind->enable(base);
    if (r < 0)
        return r;
    *stepp = "make a group";
    r = pp_cgroup_pool_new(base, kind, name, &directory);
    if (r < 0)
        return r;
    (void)pp_cgroup_pool_remove(directory, name);
    /* To move a process the file of a common ancestor must be ours as well. */
    *stepp = "move a process";
    return faccessat(base, kind->entry, W_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int find_wanted(const char *path, const struct pp_cgroup_kind **kindp, const char **stepp)
{
    PP_AUTO_FD base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *stepp = "open the directory";
    if (base < 0)
        return -errno;
    *kindp = &pp_cgroup_v1;
    if (faccessat(base, "memory.limit_in_bytes", F_OK, 0) == 0)
        return try(path, *kindp, stepp);
    *kindp = &pp_cgroup_v2;
    if (faccessat(base, "cgroup.controllers", F_OK, 0) == 0)
        return try(path, *kindp, stepp);
    *stepp = "find a memory cgroup";
    return -ENOTSUP;
}

static int find_near(struct search *search, char path[PP_CGROUP_PATH],
                     const struct pp_cgroup_kind **kindp, const char **stepp)
{
    int r;

    *stepp = "read /proc/self/mountinfo and /proc/self/cgroup";
    r = for_each_line(search, "mountinfo", read_mount);
    if (r == 0)
        r = for_each_line(search, "cgroup", read_membership);
    if (r < 0)
        return r;
    *stepp = "find a memory cgroup";
    r = -ENOTSUP;
    if (own_directory(search, &search->v1, path)) {
        *kindp = &pp_cgroup_v1;
        r = try(path, *kindp, stepp);
        if (r == 0)
            return 0;
    }
    if (!own_directory(search, &search->v2, path))
        return r;
    *kindp = &pp_cgroup_v2;
    /* Its own first: that it can say why not is worth more than what the parent says. */
    const char *step;
    int s = try(path, *kindp, &step);

    if (s < 0 && to_parent(search, &search->v2, path) && try(path, *kindp, stepp) == 0)
        return 0;
    if (s == 0 || search->v1.mount[0] == '\0') {
        *stepp = step;
        return s;
    }
    return r;
}

int pp_cgroup_find(const char *root, const char *wanted, char path[PP_CGROUP_PATH],
                   const struct pp_cgroup_kind **kindp, const char **stepp)
{
    struct search *search;
    int r;

    if (wanted) {
        int n = snprintf(path, PP_CGROUP_PATH, "%s%s", root, wanted);

        *stepp = "open the directory";
        return n < 0 || n >= PP_CGROUP_PATH ? -ENAMETOOLONG : find_wanted(path, kindp, stepp);
    }
    search = calloc(1, sizeof *search);
    if (!search)
        return -ENOMEM;
    search->root = root;
    r = find_near(search, path, kindp, stepp);
    free(search);
    return r;
}
