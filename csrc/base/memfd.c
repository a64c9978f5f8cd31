/* memfd.c - memfd_create(2) with the flags of the day. */
#include "base/memfd.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>

/* Linux 6.3; implies MFD_ALLOW_SEALING. Where vm.memfd_noexec is 2 nothing goes without. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int pp_memfd_new(const char *name, size_t size, int *fdp)
{
    PP_AUTO_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return pp_fail(-errno, "make the shared memory '%s'", name);
    fd = pp_fd_above_stdio(fd);
    if (fd < 0)
        return pp_fail(fd, "move the shared memory '%s' above the standard streams", name);
    if (ftruncate(fd, (off_t)size) < 0)
        return pp_fail(-errno, "give the shared memory '%s' %zu bytes", name, size);
    *fdp = pp_take_fd(&fd);
    return 0;
}

int pp_memfd_seal(int fd, int seals)
{
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? pp_fail(-errno, "seal shared memory") : 0;
}
