/* policy.h - the one struct that says what a worker may do; default: nothing.
 *
 * Plain data, no pointers: the host fills it, the keeper gets it as bytes and
 * applies it before exec.
 */
#ifndef PP_SECURITY_POLICY_H
#define PP_SECURITY_POLICY_H

#include <stdint.h>

#define PP_UNLIMITED UINT64_MAX

/* Hard and soft limit alike (setrlimit(2)), PP_UNLIMITED: as the host has it. */
struct pp_limits {
    uint64_t address_space; /* RLIMIT_AS, bytes */
    uint64_t core;          /* RLIMIT_CORE, bytes */
    uint64_t cpu_seconds;   /* RLIMIT_CPU, hard = soft + 1 */
    uint64_t file_size;     /* RLIMIT_FSIZE, bytes */
    uint64_t open_files;    /* RLIMIT_NOFILE */
    uint64_t stack;         /* RLIMIT_STACK, bytes */
};

enum { PP_CPU_WORDS = 16, PP_CPUS_MAX = PP_CPU_WORDS * 64 };

struct pp_policy {
    struct pp_limits limits;
    int32_t nice;                /* 0 to 19, added to the host's */
    uint64_t cpus[PP_CPU_WORDS]; /* a bit for each CPU it may run on; all 0: as the host */
};

/* No limit but core 0; nice 0. */
void pp_policy_init(struct pp_policy *policy);

#endif
