/* crc32c.h - the checksum of storage formats: CRC-32C, the Castagnoli polynomial. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Go on from `crc` (0: a new sum) over more bytes; as RFC 3720, B.4, has it. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
