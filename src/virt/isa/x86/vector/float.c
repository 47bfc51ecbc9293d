/* float.c - SSE and AVX floating-point arithmetic, and what happens to its exceptions.
 *
 * Every operation runs as the host's own instruction under the guest's MXCSR with all
 * exceptions masked.  Where the guest masks everything that is all there is to it:
 * results, NaNs and flags are the host's.  The host's MXCSR then stays the guest's from
 * one such instruction to the next (X86_LIVE_SSE), and the flags gather in it: to load and
 * store it for each costs several times what the operation does.
 *
 * Where the guest unmasks something, MXCSR is changed around each operation, and
 * `find_unmasked` finds from the flags it left what the processor would have done (SDM
 * volume 1, 11.5.2, 11.5.3, 4.9.2):
 *
 *  - IE, DE and ZE are found before computing.  If one of them is unmasked in any
 *    lane, the instruction ends there: the flags found after computing stay clear.
 *  - An unmasked underflow is tininess, exact or not, where a masked one needs both
 *    tiny and inexact.  Tininess shows when the operation is run again with FTZ, which
 *    flushes, and flags, every tiny result.
 *  - The destination keeps its value, and MXCSR gets the flags. */
#include "virt/isa/x86/vector/number.h"

#define PRE 0x07u /* invalid, denormal, divide by zero */

void x86_float_raise(struct x86_cpu *c, uint32_t flags)
{
    c->r.fpu.mxcsr |= flags;
    x86_raise(c, (c->r.cr4 & X86_CR4_OSXMMEXCPT) != 0 ? X86_XM : X86_UD);
}

void x86_lane_need(struct x86_cpu *c, const struct x86_insn *i)
{
    if (i->vex) {
        x86_need_avx(c);
        c->ready |= X86_MAY_AVX;
    } else {
        x86_need_sse(c);
        c->ready |= X86_MAY_SSE;
    }
}

static void load_csr(uint32_t csr)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(csr));
}

bool x86_float_enter(struct x86_cpu *c)
{
    if ((c->r.fpu.mxcsr & FLOAT_MASKS) != FLOAT_MASKS) {
        return false;
    }
    if ((c->ready & X86_LIVE_SSE) == 0) {
        /* With the guest's flags: setting one anew is what costs. */
        load_csr(c->r.fpu.mxcsr);
        c->ready |= X86_LIVE_SSE;
    }
    return true;
}

uint32_t x86_float_under(float_kernel *k, union lane *ret, const union lane *a,
                         const void *b, uint32_t csr)
{
    uint32_t seen;

    load_csr((csr & ~FLOAT_FLAGS) | FLOAT_MASKS);
    k(ret, a, b);
    __asm__ volatile("stmxcsr %0" : "=m"(seen));
    load_csr(FLOAT_MASKS);
    return seen & FLOAT_FLAGS;
}

/* Some exception is not masked: raise it, or return the flags to set. */
static uint32_t find_unmasked(struct x86_cpu *c, const struct x86_insn *i,
                              const struct float_job *j, uint32_t flags)
{
    uint32_t unmasked = ~(j->csr >> 7) & FLOAT_FLAGS;
    union lane t;

    if ((flags & PRE & unmasked) != 0) {
        x86_float_raise(c, flags & PRE);
    }
    if ((unmasked & FLOAT_UE) != 0) {
        flags |= x86_float_under(j->k, &t, j->a, j->b, j->csr | FLOAT_FTZ) & FLOAT_UE;
    }
    if ((flags & unmasked) != 0) {
        x86_float_raise(c, x86_float_kept_back(i, j, flags));
    }
    return flags;
}

void x86_float_run_as(struct x86_cpu *c, const struct x86_insn *i, union lane *ret,
                      const struct float_job *j)
{
    uint32_t flags;
    union lane t;

    x86_settle(c);
    flags = x86_float_under(j->k, &t, j->a, j->b, j->csr);
    if ((j->csr & FLOAT_MASKS) != FLOAT_MASKS) {
        flags = find_unmasked(c, i, j, flags);
    }
    c->r.fpu.mxcsr |= flags;
    *ret = t;
}

void x86_float_do(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                  unsigned out, unsigned mem)
{
    const void *b = lane_reg(c, i->rm);
    union lane t, s = {0};

    lane_need(c, i);
    if (i->is_memory) {
        lane_load(c, i, &s, mem);
        b = &s;
    }
    if ((c->ready & X86_LIVE_SSE) != 0 || x86_float_enter(c)) {
        k(&t, lane_first(c, i), b);
    } else {
        x86_float_run_as(c, i, &t,
                         &(struct float_job){k, lane_first(c, i), b, c->r.fpu.mxcsr});
    }
    lane_put(c, i, &t, out);
}

FLOAT_OP(addps, "addps")
FLOAT_OP(addpd, "addpd")
FLOAT_OP(subps, "subps")
FLOAT_OP(subpd, "subpd")
FLOAT_OP(mulps, "mulps")
FLOAT_OP(mulpd, "mulpd")
FLOAT_OP(divps, "divps")
FLOAT_OP(divpd, "divpd")
FLOAT_OP(minps, "minps")
FLOAT_OP(minpd, "minpd")
FLOAT_OP(maxps, "maxps")
FLOAT_OP(maxpd, "maxpd")
FLOAT_OP(addsubps, "addsubps")
FLOAT_OP(addsubpd, "addsubpd")
FLOAT_OP(haddps, "haddps")
FLOAT_OP(haddpd, "haddpd")
FLOAT_OP(hsubps, "hsubps")
FLOAT_OP(hsubpd, "hsubpd")
FLOAT_UNARY_OP(sqrtps, "sqrtps")
FLOAT_UNARY_OP(sqrtpd, "sqrtpd")
FLOAT_UNARY_OP(rcpps, "rcpps")
FLOAT_UNARY_OP(rsqrtps, "rsqrtps")
FLOAT_SCALAR(addss, "addss", 4)
FLOAT_SCALAR(addsd, "addsd", 8)
FLOAT_SCALAR(subss, "subss", 4)
FLOAT_SCALAR(subsd, "subsd", 8)
FLOAT_SCALAR(mulss, "mulss", 4)
FLOAT_SCALAR(mulsd, "mulsd", 8)
FLOAT_SCALAR(divss, "divss", 4)
FLOAT_SCALAR(divsd, "divsd", 8)
FLOAT_SCALAR(minss, "minss", 4)
FLOAT_SCALAR(minsd, "minsd", 8)
FLOAT_SCALAR(maxss, "maxss", 4)
FLOAT_SCALAR(maxsd, "maxsd", 8)
FLOAT_SCALAR(sqrtss, "sqrtss", 4)
FLOAT_SCALAR(sqrtsd, "sqrtsd", 8)
FLOAT_SCALAR(rcpss, "rcpss", 4)
FLOAT_SCALAR(rsqrtss, "rsqrtss", 4)

/* The products, then sums of pairs, then the sum of the two: an unmasked exception of
 * one stage ends the instruction before the next. */
static void dot_stages(struct x86_cpu *c, const union lane pair[2], unsigned bytes,
                       bool wide)
{
    float_kernel *product = wide ? mulpd_k : bytes == 32 ? mulps_ky : mulps_k;
    float_kernel *sum = wide ? haddpd_k : bytes == 32 ? haddps_ky : haddps_k;
    union lane x, t;

    float_run(c, product, &x, &pair[0], &pair[1]);
    float_run(c, sum, &t, &x, &x);
    if (!wide) {
        float_run(c, sum, &x, &t, &t);
    }
}

/* Dot products: lanes that the immediate leaves out of the sum are products of two
 * zeros, as the manual's pseudo-code has them; lanes left out of the result are 0. */
struct dot {
    float_kernel *k;
    unsigned bytes;
    bool wide; /* two lanes of a double, else four of a single */
};

static inline void dot(struct x86_cpu *c, struct dot of, union lane *ret,
                       union lane *pair, uint8_t imm)
{
    unsigned width = of.wide ? 8 : 4, lanes = of.wide ? 2 : 4;

    for (unsigned n = 0; n < of.bytes / width; n++) {
        if ((imm >> (4 + n % lanes) & 1) == 0) {
            memset(pair[0].b + n * width, 0, width);
            memset(pair[1].b + n * width, 0, width);
        }
    }
    if ((c->r.fpu.mxcsr & FLOAT_MASKS) != FLOAT_MASKS) {
        dot_stages(c, pair, of.bytes, of.wide);
    }
    float_run(c, of.k, ret, &pair[0], &pair[1]);
    for (unsigned n = 0; n < of.bytes / width; n++) {
        if ((imm >> (n % lanes) & 1) == 0) {
            memset(ret->b + n * width, 0, width);
        }
    }
}

#define DOT_FORM(f, k, bytes, wide)                                                      \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, pair[2];                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        pair[0] = *lane_first(c, i);                                                     \
        pair[1] = *lane_reg(c, i->rm);                                                   \
        dot(c, (struct dot){k, bytes, wide}, &t, pair, (uint8_t)i->imm);                 \
        lane_put(c, i, &t, bytes);                                                       \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, pair[2] = {{{0}}};                                                 \
                                                                                         \
        lane_need(c, i);                                                                 \
        pair[0] = *lane_first(c, i);                                                     \
        lane_load(c, i, &pair[1], bytes);                                                \
        dot(c, (struct dot){k, bytes, wide}, &t, pair, (uint8_t)i->imm);                 \
        lane_put(c, i, &t, bytes);                                                       \
    }

FLOAT_CODE(dpps_k, "dpps $0xff, %[b], %[a]")
FLOAT_CODE_Y(dpps_ky, 32, "vdpps $0xff, %%ymm1, %%ymm0, %%ymm0")
FLOAT_CODE(dppd_k, "dppd $0x33, %[b], %[a]")
DOT_FORM(dpps_x, dpps_k, 16, false)
DOT_FORM(dpps_y, dpps_ky, 32, false)
DOT_FORM(dppd_x, dppd_k, 16, true)
SIMD_FAMILY_Y(dpps, dpps_x, dpps_y)
SIMD_FAMILY(dppd, dppd_x)

/* ROUNDxx: bits 0-1 of the immediate are the rounding mode unless bit 2 says MXCSR's; bit
 * 3 keeps PE quiet (SDM volume 2, ROUNDPD).  Each of the 16 is a kernel. */
// clang-format off
#define MODES(X, k, op) \
    X(k, op, 0) X(k, op, 1) X(k, op, 2) X(k, op, 3) \
    X(k, op, 4) X(k, op, 5) X(k, op, 6) X(k, op, 7) \
    X(k, op, 8) X(k, op, 9) X(k, op, 10) X(k, op, 11) \
    X(k, op, 12) X(k, op, 13) X(k, op, 14) X(k, op, 15)
// clang-format on
#define ROUND_X(k, op, n)    FLOAT_CODE(k##_##n, op " $" #n ", %[b], %[a]")
#define ROUND_Y(k, op, n)    FLOAT_CODE_Y(k##_##n, 32, op " $" #n ", %%ymm1, %%ymm0")
#define ROUND_NAME(k, op, n) k##_##n,

#define ROUND_FORM(f, kind, op, out, mem)                                                \
    MODES(kind, f##_k, op)                                                               \
    static void f##_f(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        static float_kernel *const kernel[] = {MODES(ROUND_NAME, f##_k, op)};            \
                                                                                         \
        if (!i->is_memory && float_is_live(c, i)) {                                      \
            union lane t;                                                                \
                                                                                         \
            kernel[i->imm & 15](&t, lane_first(c, i), lane_reg(c, i->rm));               \
            lane_put(c, i, &t, out);                                                     \
            return;                                                                      \
        }                                                                                \
        x86_float_do(c, i, kernel[i->imm & 15], out, mem);                               \
    }
#define ROUND_SCALAR(routine, mem)                                                       \
    ROUND_FORM(routine##_x, ROUND_X, #routine, 16, mem)                                  \
    FAMILY(routine) = {{routine##_x_f, routine##_x_f, NULL, NULL},                       \
                       {routine##_x_f, routine##_x_f, NULL, NULL}};
#define ROUND_PACKED(routine)                                                            \
    ROUND_FORM(routine##_x, ROUND_X, #routine, 16, 16)                                   \
    ROUND_FORM(routine##_y, ROUND_Y, "v" #routine, 32, 32)                               \
    FAMILY(routine) = {{routine##_x_f, routine##_y_f, NULL, NULL},                       \
                       {routine##_x_f, routine##_y_f, NULL, NULL}};

ROUND_PACKED(roundps)
ROUND_PACKED(roundpd)
ROUND_SCALAR(roundss, 4)
ROUND_SCALAR(roundsd, 8)
