/* sandbox_filter.c - hands the kernel a system call filter that the host has compiled. */
#include "security/sandbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(sizeof(struct sock_filter) == 8, "as the box counts them");

/* What may be done to the process itself only is written with a mark in place of its number. */
static void name_self(struct sock_filter *filter, size_t n)
{
    uint32_t self = (uint32_t)getpid();

    for (size_t i = 0; i < n; i++)
        if (filter[i].code == (BPF_JMP | BPF_JEQ | BPF_K) && filter[i].k == PP_BOX_PID_MARK)
            filter[i].k = self;
}

/* What seccomp(2) answers, which depends on the flags; or a negative errno. */
static long install(const struct pp_box *box, unsigned flags)
{
    size_t n = box->head.n_filter;
    struct sock_fprog program = {.len = (unsigned short)n};
    struct sock_filter *filter;
    long r;

    if (n == 0)
        return -EPROTO;
    filter = malloc(n * sizeof(*filter));
    if (filter == NULL)
        return -ENOMEM;
    memcpy(filter, box->filter, n * sizeof(*filter));
    name_self(filter, n);
    program.filter = filter;
    r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (r < 0)
        r = -errno;
    free(filter);
    return r;
}

int pp_sandbox_filter(const struct pp_box *box, bool all_threads)
{
    long r;

    if (!pp_box_has(box, PP_BOX_FILTER))
        return 0;
    r = install(box, all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0);
    /* Above 0: a thread that could not follow, and stays free. */
    return r > 0 ? -ESRCH : (int)r;
}

int pp_sandbox_filter_listened(const struct pp_box *box, int *listenerp)
{
    long r;

    *listenerp = -1;
    if (!pp_box_has(box, PP_BOX_FILTER) || !pp_box_has(box, PP_BOX_TRIPWIRE))
        return pp_sandbox_filter(box, false);
    r = install(box, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (r < 0)
        return (int)r;
    *listenerp = (int)r; /* close-on-exec */
    return 0;
}
