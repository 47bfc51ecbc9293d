/* crc32c.c - the digests' sum, polynomial 11EDC6F41h reflected (RFC 7143 13.1), by the
 * processor's instruction where there is one. */
#include <string.h>

#include "resource/storage/iscsi/private.h"

#define POLYNOMIAL 0x82f63b78u

static uint32_t by_bits(uint32_t sum, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        sum ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ ((sum & 1) != 0 ? POLYNOMIAL : 0);
        }
    }
    return sum;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t sum,
                                                                 const uint8_t *data,
                                                                 size_t bytes)
{
    uint64_t wide = sum;

    for (; bytes >= 8; bytes -= 8, data += 8) {
        uint64_t word;

        memcpy(&word, data, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    sum = (uint32_t)wide;
    for (; bytes > 0; bytes--, data++) {
        sum = __builtin_ia32_crc32qi(sum, *data);
    }
    return sum;
}
#endif

uint32_t iscsi_crc32c(uint32_t before, const void *data, size_t bytes)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        return ~by_instruction(~before, data, bytes);
    }
#endif
    return ~by_bits(~before, data, bytes);
}
