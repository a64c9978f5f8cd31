/* sandbox_label.c - the label of AppArmor or SELinux that the next exec runs under. */
#include "security/sandbox.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { APPARMOR = 1, SELINUX = 2 };

static int write_label(const char *path, const char *text)
{
    PP_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int pp_sandbox_label(struct pp_birth *birth)
{
    const struct pp_box *box = &birth->box;
    char text[PP_BOX_LABEL_MAX + 8];
    int r;

    if (box->label == NULL)
        return 0;
    if (box->head.label_kind == SELINUX)
        return write_label("/proc/self/attr/exec", box->label);
    if (box->head.label_kind != APPARMOR)
        return -EPROTO;
    (void)snprintf(text, sizeof(text), "exec %s", box->label);
    r = write_label("/proc/self/attr/apparmor/exec", text); /* where modules are stacked */
    return r == -ENOENT ? write_label("/proc/self/attr/exec", text) : r;
}
