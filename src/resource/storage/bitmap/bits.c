/* bits.c - the bits of a bitmap in memory; bit i is bit i % 8 of byte i / 8. */
#include <string.h>

#include "resource/storage/bitmap/private.h"

bool bitmap_bit(const struct bitmap *b, uint64_t at)
{
    return (b->bits[at / 8] >> (at % 8) & 1) != 0;
}

uint64_t bitmap_units_for(uint64_t size_bytes, unsigned shift)
{
    uint64_t bits = (size_bytes + ((uint64_t)1 << shift) - 1) >> shift;
    uint64_t units = (bits + UNIT_BITS - 1) / UNIT_BITS;

    return units > 0 ? units : 1;
}

void bitmap_set_bits(struct bitmap *b, uint64_t from, uint64_t end)
{
    for (uint64_t i = from; i < end; i++) {
        if (!bitmap_bit(b, i)) {
            b->bits[i / 8] |= (uint8_t)(1u << (i % 8));
            b->state[i / UNIT_BITS] |= UNIT_CHANGED;
        }
    }
}

void bitmap_clear_bits(struct bitmap *b, uint64_t from, uint64_t end)
{
    b->set->changes++;
    for (uint64_t i = from; i < end; i++) {
        if (bitmap_bit(b, i)) {
            b->bits[i / 8] &= (uint8_t) ~(1u << (i % 8));
            b->state[i / UNIT_BITS] |= UNIT_CHANGED;
        }
    }
}

void bitmap_trim(struct bitmap *b)
{
    for (uint64_t i = b->count; i < b->units * UNIT_BITS; i++) {
        b->bits[i / 8] &= (uint8_t) ~(1u << (i % 8));
    }
}

bool bitmap_is_behind(const struct bitmap *b, uint64_t from, uint64_t end)
{
    for (uint64_t u = from / UNIT_BITS; u <= (end - 1) / UNIT_BITS; u++) {
        if (b->state[u] != 0) {
            return true;
        }
    }
    return false;
}

/* ---- what others ask ---- */

const char *bitmap_name(const struct bitmap *b)
{
    return b->name;
}

uint32_t bitmap_granularity(const struct bitmap *b)
{
    return (uint32_t)1 << b->shift;
}

uint64_t bitmap_size(const struct bitmap *b)
{
    return b->set->size;
}

uint64_t bitmap_dirty_bytes(const struct bitmap *b)
{
    uint64_t size = b->set->size;
    uint64_t dirty = 0;

    for (uint64_t at = bitmap_next(b, 0, true); at < size;) {
        uint64_t end = bitmap_next(b, at, false);

        dirty += end - at;
        at = bitmap_next(b, end, true);
    }
    return dirty;
}

bool bitmap_is_enabled(const struct bitmap *b)
{
    return (b->flags & FLAG_ENABLED) != 0;
}

bool bitmap_is_lost(const struct bitmap *b)
{
    return (b->flags & FLAG_LOST) != 0;
}

/* Bits until the first one from `at` that is `set`, whole words at a time. */
static uint64_t next_bit(const struct bitmap *b, uint64_t at, bool set)
{
    uint8_t same = set ? 0 : 0xff;

    while (at < b->count) {
        if (at % 8 == 0 && b->bits[at / 8] == same) {
            at += 8;
        } else if (bitmap_bit(b, at) == set) {
            return at;
        } else {
            at++;
        }
    }
    return b->count;
}

uint64_t bitmap_next(const struct bitmap *b, uint64_t off, bool dirty)
{
    uint64_t size = b->set->size;
    uint64_t at;

    if (off >= size) {
        return size;
    }
    at = next_bit(b, off >> b->shift, dirty);
    at <<= b->shift;
    at = at > off ? at : off;
    return at < size ? at : size;
}

bool bitmap_is_dirty(const struct bitmap *b, uint64_t off)
{
    return bitmap_bit(b, off >> b->shift);
}
