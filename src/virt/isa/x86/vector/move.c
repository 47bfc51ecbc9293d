/* move.c - moves between vector registers, memory and general registers.
 *
 * Non-temporal forms are moves: the hint is about caches, and order among the stores
 * of one vCPU is the host's. */
#include "virt/isa/x86/vector/simd.h"

/* Whole registers.  `strict`: aligned, also where VEX encoded. */
#define LOAD_FORM(f, bytes, strict)                                                      \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        t = *lane_reg(c, i->rm);                                                         \
        lane_put(c, i, &t, bytes);                                                       \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load_as(c, i, &t, bytes, strict);                                           \
        lane_put(c, i, &t, bytes);                                                       \
    }
#define STORE_FORM(f, bytes, strict)                                                     \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        t = *lane_reg(c, i->reg);                                                        \
        lane_put_to(c, i, i->rm, &t, bytes);                                             \
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
#define LOW(name, bytes)                                                                 \
    static void name##_reg_f(struct x86_cpu *c, const struct x86_insn *i)                \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        t = *lane_first(c, i);                                                           \
        memcpy(&t, lane_reg(c, i->rm), bytes);                                           \
        lane_put(c, i, &t, 16);                                                          \
    }                                                                                    \
    static void name##_back_f(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        t = *lane_reg(c, i->vex ? i->vvvv : i->rm);                                      \
        memcpy(&t, lane_reg(c, i->reg), bytes);                                          \
        lane_put_to(c, i, i->rm, &t, 16);                                                \
    }                                                                                    \
    static void name##_load_f(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        union lane t = {0};                                                              \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &t, bytes);                                                      \
        lane_put(c, i, &t, 16);                                                          \
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
#define HALF(routine, to, at)                                                            \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        if (i->is_memory) {                                                              \
            lane_load(c, i, &s, 8);                                                      \
        } else {                                                                         \
            s.q[0] = lane_reg(c, i->rm)->q[at];                                          \
        }                                                                                \
        t = *lane_first(c, i);                                                           \
        t.q[to] = s.q[0];                                                                \
        lane_put(c, i, &t, 16);                                                          \
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
    union lane t = {0};

    lane_need(c, i);
    if (i->is_memory) {
        lane_load(c, i, &t, bytes);
    } else {
        memcpy(&t, &c->r.gpr[i->rm], bytes);
    }
    lane_put(c, i, &t, 16);
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
    union lane t = {0};

    lane_need(c, i);
    if (i->is_memory) {
        lane_load(c, i, &t, 8);
    } else {
        t.q[0] = lane_reg(c, i->rm)->q[0];
    }
    lane_put(c, i, &t, 16);
}

static void movq_store_f(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane t = {0};

    lane_need(c, i);
    t.q[0] = lane_reg(c, i->reg)->q[0];
    if (i->is_memory) {
        lane_store(c, i, &t, 8, false);
    } else {
        lane_put_to(c, i, i->rm, &t, 16);
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
    c->r.fpu.mxcsr = s.d[0];
}

static void stmxcsr_f(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
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
