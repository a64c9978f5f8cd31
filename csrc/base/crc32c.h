/* crc32c.h - the Castagnoli checksum (RFC 3720, appendix B.4; iSCSI's), in software.
 *
 * Initial and final value are all ones, bits go in reflected. Any thread.
 */
#ifndef PP_BASE_CRC32C_H
#define PP_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t pp_crc32c(const void *bytes, size_t n);

#endif
