/* mask.c - loads and stores of some elements only: VMASKMOV, VPMASKMOV, MASKMOVDQU
 * and the gathers.
 *
 * An operand's address is one: its elements follow each other, beyond 64 KiB too.  Those
 * that the mask leaves out are not accessed and cannot fault.  A store faults
 * before it writes: inside one page of a flat segment all elements share the fate of
 * the first; elsewhere each is checked for writing before one is written.
 *
 * A gather is restartable: each element is loaded on its own, written, and its mask
 * element cleared, so that after a fault the instruction goes on where it was (SDM
 * volume 2, VPGATHERDD). */
#include "virt/isa/x86/vector/simd.h"

static uint64_t load_element(struct x86_cpu *c, enum x86_seg s, uint64_t at,
                             unsigned width)
{
    return width == 8 ? x86_load64(c, s, at) : x86_load32(c, s, at);
}

static uint64_t wrap(const struct x86_insn *i, uint64_t at)
{
    return i->address == X86_64 ? at : i->address == X86_32 ? (uint32_t)at : (uint16_t)at;
}

static bool is_chosen(const union lane *mask, unsigned at, unsigned width)
{
    return (mask->b[at + width - 1] & 0x80) != 0;
}

static inline void mask_load(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes,
                             unsigned width)
{
    union lane t = {0};
    const union lane *mask;
    uint64_t at;

    lane_need(c, i);
    mask = lane_reg(c, i->vvvv);
    at = x86_ea(c, i);
    for (unsigned n = 0; n < bytes; n += width) {
        if (is_chosen(mask, n, width)) {
            uint64_t v = load_element(c, (enum x86_seg)i->segment, at + n, width);

            memcpy(t.b + n, &v, width);
        }
    }
    lane_put(c, i, &t, bytes);
}

static bool is_one_page(const struct x86_cpu *c, enum x86_seg s, uint64_t at,
                        unsigned bytes)
{
    return c->write_base[s] == 0 && (at & (MEM_PAGE_BYTES - 1)) <= MEM_PAGE_BYTES - bytes;
}

struct masked {
    const union lane *v, *mask;
    unsigned bytes, width;
};

/* `x86_rmw_begin` checks; an element left as it is may be written back. */
static inline void store_chosen(struct x86_cpu *c, const struct x86_insn *i, uint64_t at,
                                struct masked m)
{
    enum x86_seg s = (enum x86_seg)i->segment;

    for (unsigned n = is_one_page(c, s, at, m.bytes) ? m.bytes : 0; n < m.bytes;
         n += m.width) {
        if (is_chosen(m.mask, n, m.width)) {
            x86_rmw_begin(c, s, at + n, m.width, false);
            x86_rmw_end(c);
        }
    }
    for (unsigned n = 0; n < m.bytes; n += m.width) {
        if (is_chosen(m.mask, n, m.width)) {
            x86_store_bytes(c, s, at + n, m.v->b + n, m.width);
        }
    }
}

static inline void mask_store(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes,
                              unsigned width)
{
    lane_need(c, i);
    store_chosen(
        c, i, x86_ea(c, i),
        (struct masked){lane_reg(c, i->reg), lane_reg(c, i->vvvv), bytes, width});
}

#define MASKED(routine, way, width)                                                      \
    static void routine##_x(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        way(c, i, 16, width);                                                            \
    }                                                                                    \
    static void routine##_y(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        way(c, i, 32, width);                                                            \
    }                                                                                    \
    FAMILY(routine) = {{NULL}, {routine##_x, routine##_y, NULL, NULL}};

MASKED(vmaskloadd, mask_load, 4)
MASKED(vmaskloadq, mask_load, 8)
MASKED(vmaskstored, mask_store, 4)
MASKED(vmaskstoreq, mask_store, 8)

/* To DS:rDI, or the segment of a prefix. */
static void maskmovdqu_f(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    store_chosen(c, i, wrap(i, c->r.gpr[X86_RDI]),
                 (struct masked){lane_reg(c, i->reg), lane_reg(c, i->rm), 16, 1});
}

FAMILY_ONE(maskmovdqu, maskmovdqu_f, NULL);

/* `index` and `width`: bytes of an index and of an element. */
static inline void gather(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes,
                          unsigned index, unsigned width)
{
    unsigned elements = bytes / (index > width ? index : width);
    union lane *dst, *mask;
    const union lane *vector;

    lane_need(c, i);
    if (i->reg == i->vvvv || i->reg == i->imm8 || i->vvvv == i->imm8) {
        x86_raise(c, X86_UD);
    }
    dst = lane_reg(c, i->reg);
    mask = lane_reg(c, i->vvvv);
    vector = lane_reg(c, i->imm8);             /* the vector index */
    for (unsigned n = 0; n < 32; n += width) { /* all of an element, or nothing */
        memset(mask->b + n, n < bytes && is_chosen(mask, n, width) ? 0xff : 0, width);
    }
    for (unsigned n = 0; n < elements; n++) {
        if (is_chosen(mask, n * width, width)) {
            int64_t offset = index == 8 ? vector->sq[n] : vector->sd[n];
            uint64_t at = c->r.gpr[i->base] + ((uint64_t)offset << i->scale) +
                          (uint64_t)(int64_t)i->disp;
            uint64_t v = load_element(c, (enum x86_seg)i->segment, wrap(i, at), width);

            memcpy(dst->b + n * width, &v, width);
            memset(dst->b + bytes, 0, 32 - bytes);
        }
        memset(mask->b + n * width, 0, width);
    }
    memset(mask, 0, sizeof *mask);
    memset(dst->b + elements * width, 0, 32 - elements * width);
}

#define GATHER(routine, index, width)                                                    \
    static void routine##_x(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        gather(c, i, 16, index, width);                                                  \
    }                                                                                    \
    static void routine##_y(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        gather(c, i, 32, index, width);                                                  \
    }                                                                                    \
    FAMILY(routine) = {{NULL}, {routine##_x, routine##_y, NULL, NULL}};

GATHER(vgatherdd, 4, 4)
GATHER(vgatherdq, 4, 8)
GATHER(vgatherqd, 8, 4)
GATHER(vgatherqq, 8, 8)
