/* sandbox_privilege.c - gives up rights: user, groups, capabilities, and ways to get them back. */
#include "security/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CAPS = 64 };

int pp_sandbox_join_keyring(struct pp_birth *birth)
{
    long r;

    if (!pp_box_has(&birth->box, PP_BOX_KEYRING))
        return 0;
    r = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    /* No keyrings in this kernel, or none for this container: nothing to lose. EDQUOT: the
     * filter forbids keyctl all the same. */
    return r < 0 && errno == ENOMEM ? -errno : 0;
}

/* Without CAP_SETPCAP the bounding set stays; a process without privileges that can gain none
 * (no_new_privs) has no use for it. */
static int shrink_bounds(uint64_t keep)
{
    for (int cap = 0; cap < CAPS; cap++) {
        if ((keep & (UINT64_C(1) << cap)) != 0 || prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return errno == EPERM && geteuid() != 0 ? 0 : -errno;
    }
    return 0;
}

static int lock_secure_bits(uint64_t keep)
{
    /* With capabilities to keep, they must survive the change of the user. */
    unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED;

    if (keep != 0)
        bits |= SECBIT_KEEP_CAPS;
    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        return errno == EPERM ? 0 : -errno;
    return 0;
}

static int set_caps(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    for (int i = 0; i < 2; i++) {
        uint32_t word = (uint32_t)(keep >> (32 * i));

        data[i] = (struct __user_cap_data_struct){word, word, word};
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return -errno;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int cap = 0; cap < CAPS; cap++)
        if ((keep & (UINT64_C(1) << cap)) != 0 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return -errno;
    return 0;
}

static int change_user(const struct pp_box_head *head)
{
    uid_t uid = head->uid;
    gid_t gid = head->gid;

    if (uid == PP_BOX_SAME)
        return 0;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    /* What was given up must not come back. */
    return uid != 0 && setresuid(0, 0, 0) == 0 ? -ENOTRECOVERABLE : 0;
}

int pp_sandbox_drop_rights(struct pp_birth *birth)
{
    const struct pp_box_head *head = &birth->box.head;
    int r = 0;

    if (!pp_box_has(&birth->box, PP_BOX_NO_CAPS))
        return change_user(head);
    r = shrink_bounds(head->keep);
    if (r == 0)
        r = lock_secure_bits(head->keep);
    if (r == 0)
        r = change_user(head);
    return r < 0 ? r : set_caps(head->keep);
}
