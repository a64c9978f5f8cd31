/* verify.h - the kernel's word that a worker is closed in, before it counts as ready. */
#ifndef PP_SUPERVISOR_VERIFY_H
#define PP_SUPERVISOR_VERIFY_H

#include <stddef.h>
#include <stdint.h>

/* What /proc says against a sandbox's first stage, a fixed sentence; NULL: it holds. */
const char *pp_verify(int32_t pid, const uint8_t *bytes, size_t size);

#endif
