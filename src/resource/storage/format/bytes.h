/* bytes.h - numbers in the byte orders of the formats. */
#ifndef RESOURCE_STORAGE_FORMAT_BYTES_H
#define RESOURCE_STORAGE_FORMAT_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_le16(const void *from)
{
    uint16_t x;

    memcpy(&x, from, sizeof x);
    return le16toh(x);
}

static inline uint32_t bytes_le32(const void *from)
{
    uint32_t x;

    memcpy(&x, from, sizeof x);
    return le32toh(x);
}

static inline uint64_t bytes_le64(const void *from)
{
    uint64_t x;

    memcpy(&x, from, sizeof x);
    return le64toh(x);
}

static inline uint32_t bytes_be32(const void *from)
{
    uint32_t x;

    memcpy(&x, from, sizeof x);
    return be32toh(x);
}

static inline uint64_t bytes_be64(const void *from)
{
    uint64_t x;

    memcpy(&x, from, sizeof x);
    return be64toh(x);
}

static inline void bytes_put_le16(void *to, uint16_t x)
{
    x = htole16(x);
    memcpy(to, &x, sizeof x);
}

static inline void bytes_put_le32(void *to, uint32_t x)
{
    x = htole32(x);
    memcpy(to, &x, sizeof x);
}

static inline void bytes_put_le64(void *to, uint64_t x)
{
    x = htole64(x);
    memcpy(to, &x, sizeof x);
}

#endif
