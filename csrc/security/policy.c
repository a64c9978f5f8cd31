/* policy.c - what a worker may do when nobody said anything. */
#include "security/policy.h"

#include <string.h>

void pp_policy_init(struct pp_policy *policy)
{
    /* It travels as bytes, so its padding must not be a piece of the host's stack. */
    memset(policy, 0, sizeof(*policy));
    policy->limits = (struct pp_limits){
        .address_space = PP_UNLIMITED,
        .core = 0,
        .cpu_seconds = PP_UNLIMITED,
        .file_size = PP_UNLIMITED,
        .open_files = PP_UNLIMITED,
        .stack = PP_UNLIMITED,
    };
}
