/* sandbox_landlock.c - what a process may open, connect to and signal, by Landlock.
 *
 * The kernel's numbers are written out, for the headers of the machine that builds may be
 * older than the kernel that runs. The host has asked for what this kernel knows and nothing
 * else, so an answer of "unknown" is a failure here. Binds the calling thread and all that it
 * starts.
 */
#include "security/sandbox.h"

#include "base/fd.h"
#include "security/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset /* the same on every architecture */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum { CREATE_VERSION = 1, RULE_PATH = 1 };

/* Rights that a rule on a file, not on a directory, may give: execute, write, read, truncate,
 * ioctl. */
#define OF_FILES UINT64_C(0xc007)
/* Set in a rule's number: it may be missing. */
#define OPTIONAL (UINT64_C(1) << 63)

struct ruleset {
    uint64_t fs, net, scope;
};

struct path_rule {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));

int pp_sandbox_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);

    return abi < 0 ? -errno : (int)abi;
}

/* A kernel before scopes or networks takes a shorter struct, and a longer one whose rest is 0. */
static int create(const struct pp_box_head *head)
{
    const struct ruleset ruleset = {head->fs, head->net, head->scope};
    size_t size = head->scope ? 24 : head->net ? 16 : 8;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0U);

    return fd < 0 ? -errno : fd;
}

static int add(int ruleset, struct pp_box_entry entry, uint64_t handled)
{
    struct path_rule rule = {.access = entry.value & ~OPTIONAL & handled};
    PP_AUTO_FD fd = open(entry.path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return (entry.value & OPTIONAL) != 0 ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        rule.access &= OF_FILES;
    if (rule.access == 0)
        return 0;
    rule.parent = fd;
    if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &rule, 0U) < 0)
        return -errno;
    return 0;
}

int pp_sandbox_landlock(const struct pp_box *box)
{
    const uint8_t *at = box->rules;
    PP_AUTO_FD ruleset = -1;
    int r = 0;

    if (!pp_box_has(box, PP_BOX_LANDLOCK))
        return 0;
    ruleset = create(&box->head);
    if (ruleset < 0)
        return ruleset;
    for (uint32_t i = 0; r == 0 && i < box->head.n_rules; i++)
        r = add(ruleset, pp_box_next(&at), box->head.fs);
    if (r < 0)
        return r;
    return syscall(SYS_landlock_restrict_self, ruleset, 0U) < 0 ? -errno : 0;
}
