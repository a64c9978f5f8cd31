/* cgroup.h - groups of processes for which the kernel counts memory, see cgroups(7).
 *
 * A group is a directory: a process enters it by writing into one of its files, and it can be
 * removed when nobody is in it. A pool has one directory, locked for as long as its host or
 * its keeper lives, and in it one group for each worker:
 *
 *   where groups can be made / pyproc-PID-TIME / WORKER
 *
 * What a process holds when it enters stays counted where it was. Each version of the kernel's
 * interface is a struct of functions. Any thread; nothing here waits.
 */
#ifndef PP_SECURITY_CGROUP_H
#define PP_SECURITY_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PP_CGROUP_PATH = 4096, /* bytes of a directory's path */
    PP_CGROUP_NAME = 64,   /* of a pool's directory; NUL included */
    PP_CGROUP_TEXT = 8192, /* of the longest file that is read */
};

struct pp_cgroup_state {
    uint64_t held;     /* bytes, without what can be dropped: cached files */
    uint64_t peak;     /* bytes at most, cached files included; 0: not known */
    uint64_t refusals; /* how often something was refused because of the limit */
    uint64_t kills;    /* of members by the kernel, for want of memory here or anywhere */
};

/* A `group` is the name of a directory in `directory`; "." is that one itself. 0 or a
 * negative errno. */
struct pp_cgroup_kind {
    const char *name;
    const char *entry; /* the file into which a process writes 0 to enter */
    /* Whether groups in this directory can be given limits: asks the kernel for it. */
    int (*enable)(int directory);
    /* Just made: nobody is in it. */
    int (*prepare)(int directory, const char *group);
    int (*limit)(int directory, const char *group, uint64_t bytes);
    int (*read)(int directory, const char *group, struct pp_cgroup_state *statep);
    /* Whether members stand still until the limit is raised: only where the kernel can do that. */
    bool (*stalled)(int directory, const char *group);
};

extern const struct pp_cgroup_kind pp_cgroup_v1, pp_cgroup_v2;

/* Where groups can be made: in `wanted`, an absolute path, or, with NULL, near the calling
 * process, as mountinfo and cgroup of /proc/self say, below `root` ("" but in tests). Makes one to
 * see. 0 with path and kind, or a negative errno and what was tried (lent: a literal). */
int pp_cgroup_find(const char *root, const char *wanted, char path[PP_CGROUP_PATH],
                   const struct pp_cgroup_kind **kindp, const char **stepp);

/* Makes a pool's directory in `base` under a name of its own and locks it; removes those
 * that nobody holds a lock of. 0 with the owned directory and its name, or a negative errno. */
int pp_cgroup_pool_new(int base, const struct pp_cgroup_kind *kind, char name[PP_CGROUP_NAME],
                       int *directoryp);
/* Removes a pool's directory and the groups in it; what has members stays. 0 when all is gone. */
int pp_cgroup_pool_remove(int directory, const char *name);

/* For the kinds. Writes a whole text into a file that is there; reads one, as a string. */
int pp_cgroup_put(int directory, const char *group, const char *file, const char *text);
int pp_cgroup_put_number(int directory, const char *group, const char *file, uint64_t number);
int pp_cgroup_get(int directory, const char *group, const char *file, char text[PP_CGROUP_TEXT]);
/* A file that is one number; 0 when it cannot be read or says "max". */
uint64_t pp_cgroup_get_number(int directory, const char *group, const char *file);
/* The number behind a word that begins a line; 0: there is none. */
uint64_t pp_cgroup_field(const char *text, const char *word);

#endif
