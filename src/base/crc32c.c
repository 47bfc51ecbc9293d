/* crc32c.c - CRC-32C by the processor's instruction, or by a table of sixteen.
 *
 * The polynomial 0x1edc6f41, bits reflected, all ones at the start and inverted
 * at the end (RFC 3720, 12.1 and B.4).  The table has the sums of four bits. */
#include "base/crc32c.h"

#include <string.h>

static const uint32_t nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
    0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
    0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t sum_by_table(uint32_t crc, const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t sum_by_processor(uint32_t crc,
                                                                   const uint8_t *at,
                                                                   size_t bytes)
{
    uint64_t wide = crc;

    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; bytes > 0; at++, bytes--) {
        crc = __builtin_ia32_crc32qi(crc, *at);
    }
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~sum_by_processor(~crc, data, bytes);
    }
#endif
    return ~sum_by_table(~crc, data, bytes);
}
