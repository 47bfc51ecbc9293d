/* lane.h - vector registers and operands, as the routines see them.
 *
 * Legacy SSE and VEX forms share one routine: `lane_first` is the first source of
 * either (the destination itself, or VEX.vvvv), and `lane_put` leaves or clears the
 * upper half (SDM volume 1, 14.1.3; volume 2, 2.3.10). */
#ifndef VIRT_ISA_X86_VECTOR_LANE_H
#define VIRT_ISA_X86_VECTOR_LANE_H

#include <string.h>

#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"

/* One register's bytes under every lane width. */
union lane {
    uint8_t b[32];
    int8_t sb[32];
    uint16_t w[16];
    int16_t sw[16];
    uint32_t d[8];
    int32_t sd[8];
    uint64_t q[4];
    int64_t sq[4];
} __attribute__((may_alias, aligned(32)));

/* The bytes of an operand wherever they are. */
struct lane_any {
    uint8_t b[32];
} __attribute__((may_alias));

static inline union lane *lane_reg(struct x86_cpu *c, unsigned n)
{
    return (union lane *)&c->r.fpu.ymm[n];
}

static inline union lane *lane_first(struct x86_cpu *c, const struct x86_insn *i)
{
    return lane_reg(c, i->vex ? i->vvvv : i->reg);
}

/* #UD and #NM; remembers that there is none. */
void x86_lane_need(struct x86_cpu *c, const struct x86_insn *i);

static inline bool lane_may(const struct x86_cpu *c, const struct x86_insn *i)
{
    return (c->ready & (i->vex ? X86_MAY_AVX : X86_MAY_SSE)) != 0;
}

static inline void lane_need(struct x86_cpu *c, const struct x86_insn *i)
{
    if (__builtin_expect(!lane_may(c, i), 0)) {
        x86_lane_need(c, i);
    }
}

/* 16 bytes as a value. */
typedef long long lane_xmm __attribute__((vector_size(16), aligned(1), may_alias));

/* `bytes` (2 to 16) at `p`, which may be the guest's memory: one access; the rest 0. */
static inline __attribute__((always_inline)) lane_xmm lane_get(const void *p,
                                                               unsigned bytes)
{
    switch (bytes) {
    case 2:
        return (lane_xmm){*(const volatile x86_u16 *)p, 0};
    case 4:
        return (lane_xmm){*(const volatile x86_u32 *)p, 0};
    case 8:
        return (lane_xmm){(long long)*(const volatile x86_u64 *)p, 0};
    default:
        return *(const volatile lane_xmm *)p;
    }
}

/* Register `n` gets `v`; VEX clears the rest. */
static inline void lane_set(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                            lane_xmm v)
{
    lane_xmm *d = (lane_xmm *)(void *)lane_reg(c, n);

    d[0] = v;
    if (i->vex) {
        d[1] = (lane_xmm){0, 0};
    }
}

/* Where the memory operand's first `bytes` are on the host; NULL: look closer. */
static inline const void *lane_hit(const struct x86_cpu *c, const struct x86_insn *i,
                                   unsigned bytes, bool strict)
{
    uint64_t at = x86_ea(c, i);

    if (strict && ((at + c->read_base[i->segment]) & (bytes - 1)) != 0) {
        return NULL;
    }
    return x86_hit_read(c, (enum x86_seg)i->segment, at, bytes);
}

/* Write the low `bytes` (16 or 32) of `n`; VEX clears the rest. */
static inline void lane_put_to(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                               const union lane *v, unsigned bytes)
{
    union lane *d = lane_reg(c, n);

    memcpy(d, v, bytes);
    if (bytes == 16 && i->vex) {
        memset(d->b + 16, 0, 16);
    }
}

static inline void lane_put(struct x86_cpu *c, const struct x86_insn *i,
                            const union lane *v, unsigned bytes)
{
    lane_put_to(c, i, i->reg, v, bytes);
}

static inline bool lane_aligned(const struct x86_cpu *c, const struct x86_insn *i,
                                uint64_t at, unsigned bytes)
{
    return ((c->r.seg[i->segment].base + at) & (bytes - 1)) == 0;
}

/* The memory operand's first `bytes`; #GP(0) unless aligned, where `strict`. */
static inline void lane_load_as(struct x86_cpu *c, const struct x86_insn *i,
                                union lane *ret, unsigned bytes, bool strict)
{
    uint64_t at = x86_ea(c, i);

    if (strict && !lane_aligned(c, i, at, bytes)) {
        x86_raise_error(c, X86_GP, 0);
    }
    switch (bytes) {
    case 1:
        ret->b[0] = x86_load8(c, (enum x86_seg)i->segment, at);
        break;
    case 2:
        ret->w[0] = x86_load16(c, (enum x86_seg)i->segment, at);
        break;
    case 4:
        ret->d[0] = x86_load32(c, (enum x86_seg)i->segment, at);
        break;
    case 8:
        ret->q[0] = x86_load64(c, (enum x86_seg)i->segment, at);
        break;
    default:
        x86_load_bytes(c, (enum x86_seg)i->segment, at, ret, bytes);
        break;
    }
}

/* Source operands: 16 bytes of a legacy instruction must be aligned. */
static inline void lane_load(struct x86_cpu *c, const struct x86_insn *i, union lane *ret,
                             unsigned bytes)
{
    lane_load_as(c, i, ret, bytes, bytes == 16 && !i->vex);
}

static inline void lane_store(struct x86_cpu *c, const struct x86_insn *i, const void *v,
                              unsigned bytes, bool strict)
{
    uint64_t at = x86_ea(c, i);

    if (strict && !lane_aligned(c, i, at, bytes)) {
        x86_raise_error(c, X86_GP, 0);
    }
    if (bytes == 8) {
        uint64_t q;

        memcpy(&q, v, 8);
        x86_store64(c, (enum x86_seg)i->segment, at, q);
    } else if (bytes == 4) {
        uint32_t d;

        memcpy(&d, v, 4);
        x86_store32(c, (enum x86_seg)i->segment, at, d);
    } else {
        x86_store_bytes(c, (enum x86_seg)i->segment, at, v, bytes);
    }
}

/* A general register as destination: 32 bits clear the upper half. */
static inline void lane_put_gpr(struct x86_cpu *c, unsigned n, uint64_t v)
{
    c->r.gpr[n] = v;
}

#endif
