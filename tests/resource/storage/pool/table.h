/* table.h - the table of a store read from outside, by its description only. */
#ifndef TESTS_RESOURCE_STORAGE_POOL_TABLE_H
#define TESTS_RESOURCE_STORAGE_POOL_TABLE_H

#include <stdint.h>
#include <string.h>

#include "tests/contract/blk_suite.h"

struct table_count {
    uint64_t extents;
    uint64_t free;
    uint64_t reserved;
    uint64_t used;
    uint64_t counted; /* what the store says is free */
};

static inline uint64_t table_u64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static inline uint32_t table_u32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

/* Count the entries; no two may name the same place of the same disk. */
static inline struct table_count table_count(struct blk *device)
{
    struct table_count c = {0};
    uint8_t place[2][4096];
    const uint8_t *super;
    uint8_t *table;
    uint8_t *seen;
    uint32_t sheet;
    uint64_t at;
    uint32_t per;
    uint64_t sheets;

    must_be_0(blk_read(device, place, sizeof place, 0));
    super = table_u64(place[0] + 16) > table_u64(place[1] + 16) ? place[0] : place[1];
    super += 40;
    sheet = table_u32(super + 8);
    c.extents = table_u32(super + 16);
    at = table_u64(super + 24);
    per = (sheet - 32) / 24;
    sheets = (c.extents + per - 1) / per;
    table = malloc(sheets * sheet);
    seen = calloc(1, c.extents * 16 + 1);
    must_be_0(blk_read(device, table, sheets * sheet, at));
    for (uint64_t i = 0; i < c.extents; i++) {
        const uint8_t *entry = table + i / per * sheet + i % per * 24;
        uint32_t state = table_u32(entry + 20) >> 16;

        c.free += state == 0;
        c.reserved += state == 1;
        if (state == 2) {
            memcpy(seen + c.used * 16, entry, 8);
            memcpy(seen + c.used * 16 + 8, entry + 16, 8);
            for (uint64_t k = 0; k < c.used; k++) {
                must(memcmp(seen + k * 16, seen + c.used * 16, 16) != 0);
            }
            c.used++;
        }
        must(state <= 2);
    }
    must_be_0(blk_read(device, place, 4096, 8192));
    c.counted = table_u64(place[0]);
    free(table);
    free(seen);
    return c;
}

#endif
