/* move.c - moves between vector registers, memory and general registers.
 *
 * Non-temporal forms are moves: the hint is about caches, and order among the stores
 * of one vCPU is the host's. */
#include "virt/isa/x86/vector/simd.h"

/* Whole registers.  `strict`: aligned, also where VEX encoded. */
static inline void copy(struct x86_cpu *c, const struct x86_insn *i, unsigned to,
                        const void *from, unsigned bytes)
{
    if (bytes == 16) {
        lane_set(c, i, to, lane_get(from, 16));
    } else {
        lane_xmm low = lane_get(from, 16);
        lane_xmm *d = (lane_xmm *)(void *)lane_reg(c, to);

        d[1] = lane_get((const uint8_t *)from + 16, 16);
        d[0] = low;
    }
}

#define LOAD_FORM(f, bytes, strict)                                                      \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        copy(c, i, i->reg, lane_reg(c, i->rm), bytes);                                   \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        const void *p;                                                                   \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        p = lane_hit(c, i, bytes, strict);                                               \
        if (__builtin_expect(p == NULL, 0)) {                                            \
            lane_load_as(c, i, &t, bytes, strict);                                       \
            p = &t;                                                                      \
        }                                                                                \
        copy(c, i, i->reg, p, bytes);                                                    \
    }
#define STORE_FORM(f, bytes, strict)                                                     \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        copy(c, i, i->rm, lane_reg(c, i->reg), bytes);                                   \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_store(c, i, lane_reg(c, i->reg), bytes, strict);                            \
    }

LOAD_FORM(movu_x, 16, false)
LOAD_FORM(movu_y, 32, false)
LOAD_FORM(mova_x, 16, true)
LOAD_FORM(mova_y, 32, true)
STORE_FORM(movu_store_x, 16, false)
STORE_FORM(movu_store_y, 32, false)
STORE_FORM(mova_store_x, 16, true)
STORE_FORM(mova_store_y, 32, true)
SIMD_FAMILY_Y(movu, movu_x, movu_y)
SIMD_FAMILY_Y(mova, mova_x, mova_y)
SIMD_FAMILY_Y(movu_store, movu_store_x, movu_store_y)
SIMD_FAMILY_Y(mova_store, mova_store_x, mova_store_y)

/* Low parts.  A load from memory clears the rest, a register leaves the first
 * source's. */
static inline lane_xmm replace(lane_xmm v, lane_xmm low, unsigned bytes)
{
    typedef int lanes __attribute__((vector_size(16)));
    lanes d = (lanes)v;

    if (bytes == 8) {
        return (lane_xmm){low[0], v[1]};
    }
    d[0] = ((lanes)low)[0];
    return (lane_xmm)d;
}

#define LOW(name, bytes)                                                                 \
    static void name##_reg_f(struct x86_cpu *c, const struct x86_insn *i)                \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_set(c, i, i->reg,                                                           \
                 replace(lane_get(lane_first(c, i), 16),                                 \
                         lane_get(lane_reg(c, i->rm), 16), bytes));                      \
    }                                                                                    \
    static void name##_back_f(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_set(c, i, i->rm,                                                            \
                 replace(lane_get(lane_reg(c, i->vex ? i->vvvv : i->rm), 16),            \
                         lane_get(lane_reg(c, i->reg), 16), bytes));                     \
    }                                                                                    \
    static void name##_load_f(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        const void *p;                                                                   \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        p = lane_hit(c, i, bytes, false);                                                \
        if (__builtin_expect(p == NULL, 0)) {                                            \
            lane_load(c, i, &t, bytes);                                                  \
            p = &t;                                                                      \
        }                                                                                \
        lane_set(c, i, i->reg, lane_get(p, bytes));                                      \
    }                                                                                    \
    static void name##_store_f(struct x86_cpu *c, const struct x86_insn *i)              \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_store(c, i, lane_reg(c, i->reg), bytes, false);                             \
    }                                                                                    \
    FAMILY_ONE(name##_reg, name##_reg_f, NULL);                                          \
    FAMILY_ONE(name##_reg_back, name##_back_f, NULL);                                    \
    FAMILY_ONE(name##_load, NULL, name##_load_f);                                        \
    FAMILY_ONE(name##_store, NULL, name##_store_f);

LOW(movss, 4)
LOW(movsd_xmm, 8)

/* A half of 64 bits: from memory, or from the other half of a register. */
static inline uint64_t load_quad(struct x86_cpu *c, const struct x86_insn *i)
{
    return x86_load64(c, (enum x86_seg)i->segment, x86_ea(c, i));
}

#define HALF(routine, to, at)                                                            \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        lane_xmm v;                                                                      \
        long long s;                                                                     \
                                                                                         \
        lane_need(c, i);                                                                 \
        s = i->is_memory ? (long long)load_quad(c, i)                                    \
                         : lane_get(lane_reg(c, i->rm), 16)[at];                         \
        v = lane_get(lane_first(c, i), 16);                                              \
        v[to] = s;                                                                       \
        lane_set(c, i, i->reg, v);                                                       \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, routine##_f);
#define HALF_STORE(routine, at)                                                          \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_store(c, i, &lane_reg(c, i->reg)->q[at], 8, false);                         \
    }                                                                                    \
    FAMILY_ONE(routine, NULL, routine##_f);

HALF(movlps, 0, 0)
HALF(movhps, 1, 0)
HALF(movhlps, 0, 1)
HALF(movlhps, 1, 0)
HALF_STORE(movlps_store, 0)
HALF_STORE(movhps_store, 1)

/* MOVD, MOVQ with general registers; VEX.W is ignored outside 64-bit mode. */
static inline void to_xmm(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes)
{
    uint64_t v;

    lane_need(c, i);
    if (!i->is_memory) {
        v = bytes == 8 ? c->r.gpr[i->rm] : (uint32_t)c->r.gpr[i->rm];
    } else if (bytes == 8) {
        v = load_quad(c, i);
    } else {
        v = x86_load32(c, (enum x86_seg)i->segment, x86_ea(c, i));
    }
    lane_set(c, i, i->reg, (lane_xmm){(long long)v, 0});
}

static inline void from_xmm(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes)
{
    uint64_t v = 0;

    lane_need(c, i);
    memcpy(&v, lane_reg(c, i->reg), bytes);
    if (i->is_memory) {
        lane_store(c, i, &v, bytes, false);
    } else {
        lane_put_gpr(c, i->rm, v);
    }
}

#define GENERAL(routine, way, bytes)                                                     \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        way(c, i, bytes);                                                                \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, routine##_f);

GENERAL(movd_to_xmm, to_xmm, 4)
GENERAL(movq_to_xmm, to_xmm, i->mode == X86_CODE64 ? 8 : 4)
GENERAL(movd_from_xmm, from_xmm, 4)
GENERAL(movq_from_xmm, from_xmm, i->mode == X86_CODE64 ? 8 : 4)

/* MOVQ among vector registers clears the upper half in both directions. */
static void movq_load_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v;

    lane_need(c, i);
    v = i->is_memory ? load_quad(c, i) : lane_reg(c, i->rm)->q[0];
    lane_set(c, i, i->reg, (lane_xmm){(long long)v, 0});
}

static void movq_store_f(struct x86_cpu *c, const struct x86_insn *i)
{
    const union lane *s = lane_reg(c, i->reg);

    lane_need(c, i);
    if (i->is_memory) {
        lane_store(c, i, s, 8, false);
    } else {
        lane_set(c, i, i->rm, (lane_xmm){s->sq[0], 0});
    }
}

FAMILY_ONE(movq_xmm, movq_load_f, movq_load_f);
FAMILY_ONE(movq_xmm_store, movq_store_f, movq_store_f);

static void movnti_d_f(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_store(c, i, &c->r.gpr[i->reg], 4, false);
}

static void movnti_q_f(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_store(c, i, &c->r.gpr[i->reg], 8, false);
}

FAMILY_ONE(movnti_d, NULL, movnti_d_f);
FAMILY_ONE(movnti_q, NULL, movnti_q_f);

/* Order between vCPUs on threads. */

static void fence_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)c;
    (void)i;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

FAMILY_ONE(fence, fence_f, NULL);

/* MXCSR: a reserved bit is #GP(0). */
static void ldmxcsr_f(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane s = {0};

    lane_need(c, i);
    lane_load(c, i, &s, 4);
    if ((s.d[0] & ~0xffffu) != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_settle(c);
    c->r.fpu.mxcsr = s.d[0];
}

static void stmxcsr_f(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    x86_settle(c);
    lane_store(c, i, &c->r.fpu.mxcsr, 4, false);
}

FAMILY_ONE(ldmxcsr, NULL, ldmxcsr_f);
FAMILY_ONE(stmxcsr, NULL, stmxcsr_f);

/* VZEROUPPER, VZEROALL: the registers of this mode. */
static inline void zero(struct x86_cpu *c, const struct x86_insn *i, unsigned from)
{
    unsigned registers = i->mode == X86_CODE64 ? 16 : 8;

    lane_need(c, i);
    for (unsigned n = 0; n < registers; n++) {
        memset(lane_reg(c, n)->b + from, 0, 32 - from);
    }
}

static void vzeroupper_f(struct x86_cpu *c, const struct x86_insn *i)
{
    zero(c, i, 16);
}

static void vzeroall_f(struct x86_cpu *c, const struct x86_insn *i)
{
    zero(c, i, 0);
}

FAMILY_ONE(vzeroupper, vzeroupper_f, NULL);
FAMILY_ONE(vzeroall, vzeroall_f, NULL);

/* The prefetches are hints, and do nothing. */
static void prefetch_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)c;
    (void)i;
}

FAMILY_ONE(prefetch, NULL, prefetch_f);
