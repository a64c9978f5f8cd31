/* box.h - one stage of a sandbox as bytes: what a process gives up, and what it keeps.
 *
 * A head, then mounts, then rules of the file system, then a name for the machine, then
 * a compiled filter. Made by the host (pyproc/_boxes.py), which is trusted; every count and size
 * is checked all the same, by whoever applies it. Integers are in the machine's order.
 */
#ifndef PP_SECURITY_BOX_H
#define PP_SECURITY_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PP_BOX_MAGIC UINT32_C(0x7079627a) /* changes with every change of this file */
#define PP_BOX_SAME UINT32_MAX            /* of uid and gid: stay as they are */
/* Where a filter compares with this number, it is to compare with the process's own. */
#define PP_BOX_PID_MARK UINT32_C(0x50595043)

enum {
    PP_BOX_MAX = 4 << 20,     /* bytes of a box */
    PP_BOX_ENTRIES = 16384,   /* mounts, and rules */
    PP_BOX_FILTER_MAX = 4096, /* instructions, as the kernel has it */
    PP_BOX_LABEL_MAX = 256,
};

enum pp_box_flag {
    PP_BOX_NO_CAPS = 1 << 0,  /* no capability, now or ever */
    PP_BOX_NO_DUMP = 1 << 1,  /* nobody of the same user looks into it */
    PP_BOX_LANDLOCK = 1 << 2, /* the rules and scopes below */
    PP_BOX_FILTER = 1 << 3,   /* the filter below */
    PP_BOX_KEYRING = 1 << 4,  /* a session keyring of its own */
    PP_BOX_TRAPS = 1 << 5,    /* stage two: say which refused call ended us */
    PP_BOX_PROBE = 1 << 6,    /* stage two: prove what the fields `probe` say */
    PP_BOX_SINGLE = 1 << 7,   /* Landlock only when there is one thread; else go on without */
    PP_BOX_CLOSES = 1 << 8,   /* stage two: nothing more can be imported, or no compiled code */
    PP_BOX_TRIPWIRE = 1 << 9, /* stage one: the host listens to the filter's notifications */
    PP_BOX_ALL_FLAGS = (1 << 10) - 1,
};

/* What the self-test must find refused. */
enum pp_box_probe {
    PP_PROBE_CANARY = 1 << 0, /* opening the file named below */
    PP_PROBE_SOCKET = 1 << 1,
    PP_PROBE_KILL = 1 << 2, /* a signal 0 to the parent */
    PP_PROBE_RLIMIT = 1 << 3,
    PP_PROBE_ROOT = 1 << 4, /* becoming root */
};

enum pp_mount_kind {
    PP_MOUNT_EMPTY = 1, /* hides a directory: nothing is in it but what later mounts put there */
    PP_MOUNT_TMPFS = 2, /* an empty, writable one */
    PP_MOUNT_READ = 3,  /* this path again, read-only */
    PP_MOUNT_WRITE = 4, /* likewise, writable */
    PP_MOUNT_PROC = 5,  /* a /proc that shows only processes of one's own user */
    PP_MOUNT_SEAL = 6,  /* an empty one becomes read-only */
    PP_MOUNT_LOCK = 7,  /* everything from here down becomes read-only */
};
#define PP_MOUNT_MAPPED 0x100 /* READ, WRITE: root's files look like files of the new uid */

struct pp_box_head {
    uint32_t magic, size;
    uint32_t flags, probe;
    uint32_t uid, gid;
    uint32_t namespaces; /* CLONE_NEW*; with NEWPID the keeper has it and NEWUSER, else we */
    uint32_t n_mounts, n_rules;
    uint32_t name_size, label_size, canary_size; /* NUL included; 0: none */
    uint32_t label_kind;                         /* 0: none, 1: AppArmor, 2: SELinux */
    uint32_t n_filter;                           /* instructions of eight bytes */
    uint64_t keep;                               /* capabilities that stay, a bit each */
    uint64_t fs, net, scope; /* what Landlock is to handle; the kernel knows all of it */
};

/* A box while its bytes are there. */
struct pp_box {
    struct pp_box_head head; /* all zero: no box */
    const uint8_t *mounts, *rules;
    const char *name, *label, *canary; /* NULL: none */
    const uint8_t *filter;
};

/* A mount or a rule: a number and a path. */
struct pp_box_entry {
    uint64_t value;
    const char *path;
};

/* `n` 0: no box. -EPROTO for anything out of order. */
int pp_box_read(const uint8_t *bytes, size_t n, struct pp_box *boxp);
/* The entry at *atp, which moves on. Only after pp_box_read. */
struct pp_box_entry pp_box_next(const uint8_t **atp);

/* A namespace of processes is the keeper's, which is its first process, and all workers are in it.
 * Who may not have one without a namespace of users has that one with the keeper, too. */
int pp_box_keeper_namespaces(const struct pp_box *box);

static inline bool pp_box_has(const struct pp_box *box, enum pp_box_flag flag)
{
    return (box->head.flags & (uint32_t)flag) != 0;
}

#endif
