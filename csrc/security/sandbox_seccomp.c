/* sandbox_seccomp.c - compiles filters with libseccomp, in the host: workers and the keeper
 * only get bytes. */
#include "security/compile.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/memfd.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int pp_filter_knows(const char *name)
{
    return seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR;
}

char *pp_filter_name(int number)
{
    return number < 0 ? NULL : seccomp_syscall_resolve_num_arch(seccomp_arch_native(), number);
}

static int convert_arg(const struct pp_filter_arg *arg, struct scmp_arg_cmp *cmp)
{
    static const enum scmp_compare ops[] = {
        [PP_FILTER_EQ] = SCMP_CMP_EQ,
        [PP_FILTER_NE] = SCMP_CMP_NE,
        [PP_FILTER_GT] = SCMP_CMP_GT,
        [PP_FILTER_GE] = SCMP_CMP_GE,
        [PP_FILTER_LT] = SCMP_CMP_LT,
        [PP_FILTER_LE] = SCMP_CMP_LE,
        [PP_FILTER_MASKED] = SCMP_CMP_MASKED_EQ,
    };

    if (arg->index >= PP_FILTER_ARGS || arg->op < PP_FILTER_EQ || arg->op > PP_FILTER_MASKED)
        return -EINVAL;
    *cmp = (struct scmp_arg_cmp){.arg = arg->index, .op = ops[arg->op]};
    cmp->datum_a = arg->op == PP_FILTER_MASKED ? arg->mask : arg->value;
    cmp->datum_b = arg->op == PP_FILTER_MASKED ? arg->value : 0;
    return 0;
}

static int add_rule(scmp_filter_ctx context, const struct pp_filter_plan *plan,
                    const struct pp_filter_rule *rule)
{
    struct scmp_arg_cmp args[PP_FILTER_ARGS];
    int number = seccomp_syscall_resolve_name(rule->name), r = 0;

    if (number == __NR_SCMP_ERROR)
        return pp_fail(-ENOENT, "libseccomp knows no system call '%s'", rule->name);
    if (rule->action == plan->standard)
        return 0; /* libseccomp refuses rules that change nothing */
    if (rule->n_args > PP_FILTER_ARGS)
        return pp_fail(-EINVAL, "the rule for '%s' has too many arguments", rule->name);
    for (size_t i = 0; r == 0 && i < rule->n_args; i++)
        r = convert_arg(&rule->args[i], &args[i]);
    if (r == 0)
        r = seccomp_rule_add_array(context, rule->action, number, (unsigned)rule->n_args, args);
    /* EDOM: another architecture's call. EEXIST: the same rule came before. */
    if (r == -EDOM || r == -EEXIST)
        r = 0;
    return r < 0 ? pp_fail(r, "the filter's rule for '%s'", rule->name) : 0;
}

static int add_architectures(scmp_filter_ctx context, const struct pp_filter_plan *plan)
{
    for (size_t i = 0; i < plan->n_architectures; i++) {
        uint32_t token = seccomp_arch_resolve_name(plan->architectures[i]);
        int r = token ? seccomp_arch_add(context, token) : -EINVAL;

        if (r < 0 && r != -EEXIST)
            return pp_fail(r, "libseccomp has no architecture '%s'", plan->architectures[i]);
    }
    return 0;
}

static int build(scmp_filter_ctx context, const struct pp_filter_plan *plan)
{
    int r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, plan->foreign);

    if (r == 0)
        r = seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0);
    if (r < 0)
        return pp_fail(r, "set up libseccomp");
    (void)seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    r = add_architectures(context, plan);
    for (size_t i = 0; r == 0 && i < plan->n_rules; i++)
        r = add_rule(context, plan, &plan->rules[i]);
    return r;
}

/* Jumps are relative, so instructions may stand before all others. */
static int put_cut_off(uint32_t newest, struct pp_buffer *out)
{
    const struct sock_filter first[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, newest, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };

    return newest == 0 ? 0 : pp_buffer_append(out, first, sizeof first);
}

static int put_program(scmp_filter_ctx context, struct pp_buffer *out)
{
    PP_AUTO_FD fd = memfd_create("pyproc-filter", MFD_CLOEXEC);
    struct stat st;
    void *bytes;
    int r;

    if (fd < 0)
        return pp_fail(-errno, "make room for a filter");
    r = seccomp_export_bpf(context, fd);
    if (r < 0)
        return pp_fail(r, "compile the filter");
    if (fstat(fd, &st) < 0 || st.st_size <= 0)
        return pp_fail(-EIO, "compile the filter");
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return pp_fail(-errno, "compile the filter");
    r = pp_buffer_append(out, bytes, (size_t)st.st_size);
    (void)munmap(bytes, (size_t)st.st_size);
    return r;
}

int pp_filter_compile(const struct pp_filter_plan *plan, struct pp_buffer *out)
{
    scmp_filter_ctx context = seccomp_init(plan->standard);
    int r;

    if (context == NULL)
        return pp_fail(-EINVAL, "start libseccomp: the standard action %x", plan->standard);
    r = build(context, plan);
    if (r == 0)
        r = put_cut_off(plan->newest, out);
    if (r == 0)
        r = put_program(context, out);
    seccomp_release(context);
    return r;
}
