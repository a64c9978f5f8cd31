/* proc.h - reads who is whose child, one process at a time.
 *
 * Linux lists a process's children only where CONFIG_PROC_CHILDREN is set, so all of
 * /proc is read: number, parent, session, birth. The keeper's only thread.
 */
#ifndef PP_KEEPER_PROC_H
#define PP_KEEPER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pp_proc {
    pid_t pid;
    pid_t parent;
    pid_t session;
    bool dead;      /* a zombie */
    uint64_t start; /* clock ticks after boot */
};

struct pp_proc_walk;

enum { PP_PROC_END = 1 };

/* -errno when /proc cannot be read. */
int pp_proc_open(struct pp_proc_walk **walkp);
struct pp_proc_walk *pp_proc_close(struct pp_proc_walk *walk);
/* Starts over. */
void pp_proc_rewind(struct pp_proc_walk *walk);
/* The next process, PP_PROC_END after the last one, -EAGAIN when there was one but no
 * memory or descriptor to read it with, or another negative errno: the walk is over.
 * Processes that end meanwhile or are hidden from us are left out. */
int pp_proc_next(struct pp_proc_walk *walk, struct pp_proc *procp);

/* One process by number. 0 or a negative errno. */
int pp_proc_read(struct pp_proc_walk *walk, pid_t pid, struct pp_proc *procp);

/* Reads the text of /proc/<pid>/stat. 0 or -EPROTO. */
int pp_proc_parse(const char *text, size_t n, struct pp_proc *procp);

#endif
