/* memfd.h - memory that travels between processes as a descriptor.
 *
 * Made by the host only, of fixed size, and sealed, so that whoever maps it can trust
 * its size. Any thread.
 */
#ifndef PP_BASE_MEMFD_H
#define PP_BASE_MEMFD_H

#include <stddef.h>

/* Makes `size` zero bytes, close-on-exec, not executable where the kernel knows how;
 * seals may be added. The caller owns it. `name` shows in /proc/<pid>/maps. */
int pp_memfd_new(const char *name, size_t size, int *fdp);
/* Adds seals (F_SEAL_*, fcntl(2)). */
int pp_memfd_seal(int fd, int seals);

#endif
