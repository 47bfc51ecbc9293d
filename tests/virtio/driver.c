/* driver.c - a driver for tests. */
#include "tests/virtio/driver.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_ENTRIES 32
#define TABLE_BYTES   (TABLE_ENTRIES * 16)

struct entry {
    uint64_t at;
    uint32_t bytes;
    uint16_t a; /* split: flags; packed: id */
    uint16_t b; /* split: next; packed: flags */
};

static uint64_t up(uint64_t v)
{
    return (v + 63) & ~(uint64_t)63;
}

uint64_t driver_bytes(unsigned size)
{
    return up(16u * size) + up(6 + 2u * size) + up(6 + 8u * size) +
           (uint64_t)size * TABLE_BYTES;
}

void driver_init(struct driver *d, uint8_t *mem, uint64_t guest, uint64_t at,
                 unsigned size)
{
    bool packed = d->packed;
    bool events = d->events;

    *d = (struct driver){.mem = mem, .guest = guest, .packed = packed, .events = events};
    d->size = size;
    d->desc = at;
    d->avail = d->desc + up(16u * size);
    d->used = d->avail + up(6 + 2u * size);
    d->tables = d->used + up(6 + 8u * size);
    d->wrap = true;
    d->seen_wrap = true;
    d->free = size;
    for (unsigned i = 0; i < size; i++) {
        d->link[i] = (uint16_t)(i + 1);
    }
    memset(mem + at, 0, driver_bytes(size));
}

static void put16(struct driver *d, uint64_t off, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)(d->mem + off), v, __ATOMIC_SEQ_CST);
}

static uint16_t get16(const struct driver *d, uint64_t off)
{
    return __atomic_load_n((uint16_t *)(void *)(d->mem + off), __ATOMIC_SEQ_CST);
}

static void put_entry(struct driver *d, uint64_t off, struct entry e)
{
    memcpy(d->mem + off, &e, sizeof e);
}

/* The table of an indirect descriptor, and the piece that names it. */
static struct driver_piece put_table(struct driver *d, unsigned slot,
                                     const struct driver_piece *p, unsigned n)
{
    uint64_t off = d->tables + (uint64_t)slot * TABLE_BYTES;

    for (unsigned i = 0; i < n; i++) {
        uint16_t write = p[i].write ? 2 : 0;
        struct entry e = {p[i].at, p[i].bytes, write, 0};

        if (d->packed) {
            e = (struct entry){p[i].at, p[i].bytes, 0, write};
        } else if (i + 1 < n) {
            e.a |= 1;
            e.b = (uint16_t)(i + 1);
        }
        put_entry(d, off + 16u * i, e);
    }
    return (struct driver_piece){d->guest + off, n * 16, false};
}

static int add_split(struct driver *d, const struct driver_piece *p, unsigned n,
                     uint16_t flags)
{
    uint16_t head = d->free_head;
    uint16_t at = head;

    for (unsigned i = 0; i < n; i++) {
        uint16_t f = (uint16_t)(flags | (p[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0));

        put_entry(d, d->desc + 16u * at,
                  (struct entry){p[i].at, p[i].bytes, f, i + 1 < n ? d->link[at] : 0});
        if (i + 1 < n) {
            at = d->link[at];
        }
    }
    d->free_head = d->link[at];
    d->free -= n;
    d->count[head] = (uint16_t)n;
    put16(d, d->avail + 4 + 2u * (d->next % d->size), head);
    d->next++;
    put16(d, d->avail + 2, d->next);
    return head;
}

static int unused_id(const struct driver *d)
{
    for (unsigned i = 0; i < d->size; i++) {
        if (d->count[i] == 0) {
            return (int)i;
        }
    }
    abort();
}

static int add_packed(struct driver *d, const struct driver_piece *p, unsigned n,
                      uint16_t flags)
{
    int id = unused_id(d);
    uint16_t first = d->next;
    uint16_t first_flags = 0;

    for (unsigned i = 0; i < n; i++) {
        uint16_t f = (uint16_t)(flags | (p[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0) |
                                (d->wrap ? 1u << 7 : 1u << 15));
        uint64_t off = d->desc + 16u * d->next;
        struct entry e = {p[i].at, p[i].bytes, (uint16_t)id, 0};

        memcpy(d->mem + off, &e, 14);
        if (i == 0) {
            first_flags = f;
        } else {
            put16(d, off + 14, f);
        }
        if (++d->next == d->size) {
            d->next = 0;
            d->wrap = !d->wrap;
        }
    }
    put16(d, d->desc + 16u * first + 14, first_flags);
    d->free -= n;
    d->added += n;
    d->count[id] = (uint16_t)n;
    return id;
}

int driver_add(struct driver *d, const struct driver_piece *p, unsigned n, bool indirect)
{
    struct driver_piece table;
    uint16_t flags = 0;

    if (d->free < (indirect ? 1 : n)) {
        return -1;
    }
    if (indirect) {
        table = put_table(d, d->packed ? (unsigned)unused_id(d) : d->free_head, p, n);
        p = &table;
        n = 1;
        flags = 4;
    }
    return d->packed ? add_packed(d, p, n, flags) : add_split(d, p, n, flags);
}

static bool packed_wants_kick(struct driver *d)
{
    unsigned added = d->added;
    uint16_t flags = get16(d, d->used + 2) & 3;
    uint16_t at = get16(d, d->used);
    unsigned now = d->next + (d->wrap ? 0 : d->size);
    unsigned then = (at & 0x7fff) + ((at & 0x8000) != 0 ? 0 : d->size);
    unsigned behind = (now + 2 * d->size - then) % (2 * d->size);

    d->added = 0;
    if (flags != 2) {
        return added > 0 && flags == 0;
    }
    return behind >= 1 && behind <= added;
}

bool driver_wants_kick(struct driver *d)
{
    uint16_t before = d->kicked;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (d->packed) {
        return packed_wants_kick(d);
    }
    d->kicked = d->next;
    if (!d->events) {
        return d->next != before && (get16(d, d->used) & 1) == 0;
    }
    return (uint16_t)(d->next - get16(d, d->used + 4 + 8u * d->size) - 1) <
           (uint16_t)(d->next - before);
}

static bool get_split(struct driver *d, uint16_t *ret_id, uint32_t *ret_bytes)
{
    uint32_t pair[2];
    uint16_t at;

    if (get16(d, d->used + 2) == d->seen) {
        return false;
    }
    memcpy(pair, d->mem + d->used + 4 + 8u * (d->seen % d->size), sizeof pair);
    d->seen++;
    if (pair[0] >= d->size || d->count[pair[0]] == 0) {
        abort(); /* the device gave back what it does not have */
    }
    at = (uint16_t)pair[0];
    for (unsigned i = 1; i < d->count[pair[0]]; i++) {
        at = d->link[at];
    }
    d->link[at] = d->free_head;
    d->free_head = (uint16_t)pair[0];
    *ret_id = (uint16_t)pair[0];
    *ret_bytes = pair[1];
    return true;
}

static bool get_packed(struct driver *d, uint16_t *ret_id, uint32_t *ret_bytes)
{
    uint64_t off = d->desc + 16u * d->seen;
    uint16_t flags = get16(d, off + 14);
    struct entry e;
    unsigned next;

    if (((flags & 1u << 7) != 0) != d->seen_wrap ||
        ((flags & 1u << 15) != 0) != d->seen_wrap) {
        return false;
    }
    memcpy(&e, d->mem + off, sizeof e);
    if (e.a >= d->size || d->count[e.a] == 0) {
        abort();
    }
    next = d->seen + d->count[e.a];
    if (next >= d->size) {
        next -= d->size;
        d->seen_wrap = !d->seen_wrap;
    }
    d->seen = (uint16_t)next;
    *ret_id = e.a;
    *ret_bytes = e.bytes;
    return true;
}

bool driver_get(struct driver *d, uint16_t *ret_id, uint32_t *ret_bytes)
{
    bool got =
        d->packed ? get_packed(d, ret_id, ret_bytes) : get_split(d, ret_id, ret_bytes);

    if (got) {
        d->free += d->count[*ret_id];
        d->count[*ret_id] = 0;
    }
    return got;
}

void driver_listen(struct driver *d, bool on)
{
    if (d->packed) {
        put16(d, d->avail, (uint16_t)(d->seen | (d->seen_wrap ? 0x8000 : 0)));
        put16(d, d->avail + 2, !on ? 1 : d->events ? 2 : 0);
    } else if (d->events) {
        put16(d, d->avail + 4 + 2u * d->size, on ? d->seen : (uint16_t)(d->seen - 1));
    } else {
        put16(d, d->avail, on ? 0 : 1);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
