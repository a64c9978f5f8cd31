/* verify.c - the kernel's word that a worker is closed in, before it counts as ready. */
#include "supervisor/verify.h"

#include "base/fd.h"
#include "security/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number after "\nName:\t"; false when there is none. */
static bool find(const char *text, const char *name, int base, uint64_t *valuep)
{
    const char *at = strstr(text, name);

    if (!at)
        return false;
    *valuep = strtoull(at + strlen(name), NULL, base);
    return true;
}

static const char *judge(const char *text, const struct pp_box *box)
{
    uint64_t value;

    if (!find(text, "\nNoNewPrivs:\t", 10, &value) || value != 1)
        return "no_new_privs is not set";
    if (pp_box_has(box, PP_BOX_FILTER) && (!find(text, "\nSeccomp:\t", 10, &value) || value != 2))
        return "no filter of system calls is in force";
    if (pp_box_has(box, PP_BOX_NO_CAPS) &&
        (!find(text, "\nCapEff:\t", 16, &value) || (value & ~box->head.keep) != 0))
        return "it has capabilities";
    if (box->head.uid != PP_BOX_SAME &&
        (!find(text, "\nUid:\t", 10, &value) || value != box->head.uid))
        return "it runs as another user";
    return NULL;
}

const char *pp_verify(int32_t pid, const uint8_t *bytes, size_t size)
{
    struct pp_box box;
    char path[32], text[4096];
    PP_AUTO_FD fd = -1;
    ssize_t n;

    if (pp_box_read(bytes, size, &box) < 0)
        return "its description is malformed";
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return errno == ENOENT || errno == ESRCH ? NULL /* it has ended: no call meets it */
                                                 : "/proc cannot be read";
    text[n] = '\0';
    return judge(text, &box);
}
