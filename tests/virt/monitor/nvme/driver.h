/* tests/virt/monitor/nvme/driver.h - a driver for an NVMe controller, whose structures are written
 * down from the specification's tables. */
#ifndef TESTS_VIRT_MONITOR_NVME_DRIVER_H
#define TESTS_VIRT_MONITOR_NVME_DRIVER_H

#include "tests/virt/monitor/nvme/bench.h"

struct answer {
    uint32_t result, dw1;
    uint16_t head, queue, id, status;
};

static inline void use_vectors(struct bench *b)
{
    for (unsigned i = 0; i <= QUEUES; i++) {
        put(b, VECTORS + i * 16, 4, 0xfee00000);
        put(b, VECTORS + i * 16 + 8, 4, 0x40 + i);
        put(b, VECTORS + i * 16 + 12, 4, 0);
    }
    for (unsigned at = (unsigned)get(b, config(0x34), 1); at != 0;
         at = (unsigned)get(b, config(at + 1), 1)) {
        if (get(b, config(at), 1) == 0x11) {
            put(b, config(at + 2), 2, 0x8000);
        }
    }
}

static inline void enable(struct bench *b)
{
    b->ring[0] = (struct ring){ADMIN_SQ, ADMIN_CQ, ENTRIES, 0, 0, true};
    memset(ram(b, ADMIN_CQ), 0, 0x1000);
    put(b, REGS + AQA, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    put(b, REGS + ASQ, 8, ADMIN_SQ);
    put(b, REGS + ACQ, 8, ADMIN_CQ);
    put(b, REGS + CC, 4, 0x460001);
    turn(b);
}

static inline void disable(struct bench *b)
{
    put(b, REGS + CC, 4, 0x460000);
    turn(b);
}

/* A command but for its number: opcode and flags, namespace, two data pointers, words from 10 on. */
struct words {
    uint32_t dw0, nsid;
    uint64_t prp[2];
    uint32_t dw10[6];
};

#define W(dw0, nsid, prp1, prp2, ...)                                                    \
    (&(const struct words){dw0, nsid, {prp1, prp2}, {__VA_ARGS__}})

/* It gets a number; the doorbell is not rung. */
static inline uint16_t add(struct bench *b, unsigned q, const struct words *w)
{
    struct ring *r = &b->ring[q];
    uint32_t c[16] = {w->dw0 | (uint32_t)b->next_id << 16, w->nsid};

    memcpy(&c[6], w->prp, 16);
    memcpy(&c[10], w->dw10, 24);
    memcpy(ram(b, r->sq + r->tail * 64), c, 64);
    r->tail = (r->tail + 1) % r->entries;
    return b->next_id++;
}

static inline void ring_bell(struct bench *b, unsigned q)
{
    put(b, BELLS + q * 8, 4, b->ring[q].tail);
}

/* The next answer of a queue, if there is one. */
static inline bool take(struct bench *b, unsigned q, struct answer *ret)
{
    struct ring *r = &b->ring[q];

    memcpy(ret, ram(b, r->cq + r->head * 16), 16);
    if ((ret->status & 1) != r->phase) {
        return false;
    }
    r->head = (r->head + 1) % r->entries;
    r->phase = r->head == 0 ? !r->phase : r->phase;
    return true;
}

static inline void free_room(struct bench *b, unsigned q)
{
    put(b, BELLS + q * 8 + 4, 4, b->ring[q].head);
}

/* All of it; the status without the bit of retries, which is always set of what the driver did
 * wrong. */
static inline unsigned run(struct bench *b, unsigned q, const struct words *w)
{
    uint16_t id = add(b, q, w);
    struct answer a = {0};

    ring_bell(b, q);
    turn(b);
    assert_true(take(b, q, &a));
    assert_int_equal(a.id, id);
    assert_int_equal(a.queue, q);
    assert_int_equal(a.head, b->ring[q].tail);
    free_room(b, q);
    turn(b);
    b->result = a.result;
    return a.status >> 1 & 0x7ff;
}

static inline unsigned admin(struct bench *b, uint32_t op, uint32_t dw10, uint32_t dw11)
{
    return run(b, 0, W(op, 0, PAGE, 0, dw10, dw11));
}

static inline unsigned create_cq(struct bench *b, unsigned q, unsigned entries)
{
    return run(
        b, 0,
        W(5, 0, IO + q * 0x10000 + 0x8000, 0, (entries - 1) << 16 | q, q << 16 | 3));
}

static inline unsigned create_sq(struct bench *b, unsigned q, unsigned entries,
                                 unsigned cq)
{
    return run(b, 0, W(1, 0, IO + q * 0x10000, 0, (entries - 1) << 16 | q, cq << 16 | 1));
}

static inline void make_pair(struct bench *b, unsigned q, unsigned entries)
{
    b->ring[q] =
        (struct ring){IO + q * 0x10000u, IO + q * 0x10000u + 0x8000, entries, 0, 0, true};
    memset(ram(b, b->ring[q].cq), 0, 0x8000);
    assert_int_equal(create_cq(b, q, entries), 0);
    assert_int_equal(create_sq(b, q, entries, q), 0);
}

static inline void begin(struct bench *b)
{
    use_vectors(b);
    enable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 1);
    make_pair(b, 1, 16);
}

static inline unsigned move(struct bench *b, bool writes, uint64_t lba, unsigned blocks,
                            uint64_t prp1, uint64_t prp2)
{
    return run(b, 1,
               W(writes ? 1 : 2, 1, prp1, prp2, (uint32_t)lba, (uint32_t)(lba >> 32),
                 blocks - 1));
}

static inline uint64_t number(struct bench *b, unsigned at, unsigned bytes)
{
    uint64_t v = 0;

    memcpy(&v, ram(b, PAGE + at), bytes);
    return v;
}

#endif
