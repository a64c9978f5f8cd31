/* spec.h - what host and keeper say to each other, as bytes.
 *
 * Requests and reports are datagrams of one fixed size each on a SOCK_SEQPACKET pair.
 * The long part of a launch (argv, environment, policy) would not fit a datagram, so
 * it travels beside it as a sealed memfd in a flat encoding: a head, the policy's
 * bytes, then NUL-terminated strings. Both ends are of one build on one machine, so
 * integers are in the machine's order; all counts and sizes are checked all the same.
 */
#ifndef PP_BASE_SPEC_H
#define PP_BASE_SPEC_H

#include <stddef.h>
#include <stdint.h>

#define PP_SPEC_MAGIC UINT32_C(0x70794b35) /* changes with every change of this file */

enum {
    PP_SPEC_FDS = 7,         /* descriptors of a worker beside stdin: numbers 1 to 7 */
    PP_SPEC_STEP = 32,       /* bytes of a step's name, NUL included */
    PP_SPEC_MAX = 8 << 20,   /* bytes of a spec; execve(2) takes 6 MiB at most */
    PP_SPEC_STRINGS = 65536, /* arguments, and also variables */
};

enum pp_request_kind {
    PP_REQUEST_LAUNCH = 1, /* with PP_SPEC_FDS descriptors, then the spec's memfd, then perhaps the
                            * file to enter a cgroup by */
    PP_REQUEST_KILL,
    PP_REQUEST_ADOPT, /* a template has forked a worker: `pid` is its number, by its word */
};

struct pp_request {
    uint32_t magic;
    uint32_t kind;
    uint32_t worker;
    int32_t pid; /* ADOPT */
};

enum pp_report_kind {
    PP_REPORT_LAUNCHED = 1, /* with the pidfd, and a listener where there is one */
    PP_REPORT_FAILED,
    PP_REPORT_ENDED,
    PP_REPORT_STOPPED, /* by a signal; it may go on by now */
};

struct pp_report {
    uint32_t magic;
    uint32_t kind;
    uint32_t worker;
    int32_t pid;
    int32_t error;  /* FAILED: errno */
    int32_t status; /* ENDED: as from waitpid(2) */
    int64_t user_us;
    int64_t system_us;
    int64_t max_rss_kib;
    char step[PP_SPEC_STEP]; /* FAILED */
};

struct pp_spec {
    const char *const *argv; /* at least argv[0], the path to exec */
    const char *const *envp;
    const char *cwd;    /* "" or NULL: the keeper's */
    const void *policy; /* opaque here: security's bytes */
    size_t policy_size;
};

/* Bytes that the spec's encoding takes; 0 when it is over a limit or has no argv[0]. */
size_t pp_spec_size(const struct pp_spec *spec);
/* Writes exactly pp_spec_size bytes. */
void pp_spec_write(const struct pp_spec *spec, uint8_t *bytes);

/* Reads an encoding. `specp` points into `bytes` but for its two arrays, which
 * pp_spec_deinit frees. -EPROTO for anything out of order, -ENOMEM. */
int pp_spec_read(const uint8_t *bytes, size_t n, struct pp_spec *specp);
void pp_spec_deinit(struct pp_spec *spec);

#endif
