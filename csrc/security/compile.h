/* compile.h - from names of system calls to a filter that the kernel takes. Host only. */
#ifndef PP_SECURITY_COMPILE_H
#define PP_SECURITY_COMPILE_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Compares (argument & mask) with value. */
enum pp_filter_op {
    PP_FILTER_EQ = 1,
    PP_FILTER_NE,
    PP_FILTER_GT,
    PP_FILTER_GE,
    PP_FILTER_LT,
    PP_FILTER_LE,
    PP_FILTER_MASKED, /* the only one that has a mask */
};

struct pp_filter_arg {
    unsigned index;
    enum pp_filter_op op;
    uint64_t value, mask;
};

enum { PP_FILTER_ARGS = 6 };
/* Bytes of a notification of the kernel's, which may be more than this build knows. */
enum { PP_NOTICE_MAX = 512 };

struct pp_filter_rule {
    const char *name;
    uint32_t action; /* SECCOMP_RET_*, as in <linux/seccomp.h> */
    struct pp_filter_arg args[PP_FILTER_ARGS];
    size_t n_args;
};

struct pp_filter_plan {
    uint32_t standard; /* action of calls that no rule names */
    uint32_t foreign;  /* action of calls of another architecture */
    uint32_t newest;   /* calls with higher numbers do not exist (ENOSYS); 0: no such limit */
    const char *const *architectures; /* besides our own; libseccomp's names, lower case */
    size_t n_architectures;
    const struct pp_filter_rule *rules;
    size_t n_rules;
};

/* Appends struct sock_filter records. Calls that this architecture lacks are left out; one that
 * libseccomp does not know at all is -ENOENT. Negative errnos leave their words. */
int pp_filter_compile(const struct pp_filter_plan *plan, struct pp_buffer *out);

/* Whether libseccomp knows a call of that name, on any architecture. */
int pp_filter_knows(const char *name);
/* The name of a system call of this machine; the caller frees it. NULL: it has none. */
char *pp_filter_name(int number);

/* What the kernel's Landlock can do, 1 and up; -ENOSYS or -EOPNOTSUPP without one. */
int pp_sandbox_landlock_abi(void);

/* Whether a child may be listened to (SECCOMP_FILTER_FLAG_NEW_LISTENER, Linux 5.0): really tried.
 * 0, or a negative errno; -EBUSY: somebody listens to us already, and there can be one only. */
int pp_sandbox_try_tripwire(void);

/* Whether a child may have namespaces of its own (CLONE_NEW*) and, with CLONE_NEWNS, mount in
 * them, with CLONE_NEWUSER as well make all of it read-only: really tried, since settings lie. 0
 * or a negative errno. */
int pp_sandbox_try_namespaces(int flags);

/* What of a box (security/box.h) the calling process can apply to itself, for good: rights, no new
 * privileges, Landlock (of the calling thread), the filter (with `all_threads` of every thread).
 * 0, or a negative errno and the step. */
int pp_sandbox_enter(const void *bytes, size_t n, bool all_threads, const char **stepp);

#endif
