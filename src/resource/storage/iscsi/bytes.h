/* bytes.h - numbers as they stand in PDUs and CDBs: the high byte first. */
#ifndef RESOURCE_STORAGE_ISCSI_BYTES_H
#define RESOURCE_STORAGE_ISCSI_BYTES_H

#include <stdint.h>

static inline uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get24(const uint8_t *at)
{
    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

static inline uint32_t get32(const uint8_t *at)
{
    uint32_t v;

    __builtin_memcpy(&v, at, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t get64(const uint8_t *at)
{
    uint64_t v;

    __builtin_memcpy(&v, at, sizeof v);
    return __builtin_bswap64(v);
}

static inline void put16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline void put24(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 16);
    at[1] = (uint8_t)(v >> 8);
    at[2] = (uint8_t)v;
}

static inline void put32(uint8_t *at, uint32_t v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(at, &v, sizeof v);
}

static inline void put64(uint8_t *at, uint64_t v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(at, &v, sizeof v);
}

#endif
