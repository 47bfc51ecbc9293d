/* compare.c - floating-point comparisons: CMPxx by predicate, COMISx and UCOMISx.
 *
 * Predicates are part of the instruction, so each has a kernel: 8 in the legacy
 * encoding, 32 under VEX (SDM volume 2, CMPPD, table 3-1). */
#include "virt/isa/x86/vector/simd.h"

// clang-format off
#define PREDICATES_8(X, k, op) \
    X(k, op, 0) X(k, op, 1) X(k, op, 2) X(k, op, 3) \
    X(k, op, 4) X(k, op, 5) X(k, op, 6) X(k, op, 7)
#define PREDICATES_32(X, k, op) \
    PREDICATES_8(X, k, op) \
    X(k, op, 8) X(k, op, 9) X(k, op, 10) X(k, op, 11) \
    X(k, op, 12) X(k, op, 13) X(k, op, 14) X(k, op, 15) \
    X(k, op, 16) X(k, op, 17) X(k, op, 18) X(k, op, 19) \
    X(k, op, 20) X(k, op, 21) X(k, op, 22) X(k, op, 23) \
    X(k, op, 24) X(k, op, 25) X(k, op, 26) X(k, op, 27) \
    X(k, op, 28) X(k, op, 29) X(k, op, 30) X(k, op, 31)
// clang-format on

#define KERNEL_X(k, op, n)    FLOAT_CODE(k##_##n, op " $" #n ", %%xmm1, %%xmm0")
#define KERNEL_VEX(k, op, n)  FLOAT_CODE(k##_##n, op " $" #n ", %%xmm1, %%xmm0, %%xmm0")
#define KERNEL_Y(k, op, n)    FLOAT_CODE_Y(k##_##n, op " $" #n ", %%ymm1, %%ymm0, %%ymm0")
#define KERNEL_NAME(k, op, n) k##_##n,

#define COMPARE_FORM(f, table, out, mem)                                                 \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        float_run(c, table(c, i), &t, lane_first(c, i), lane_reg(c, i->rm));             \
        lane_put(c, i, &t, out);                                                         \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        float_run(c, table(c, i), &t, lane_first(c, i), &s);                             \
        lane_put(c, i, &t, out);                                                         \
    }

/* The kernel of an immediate: legacy forms look at three bits, VEX at five. */
#define COMPARE_X(routine, op, mem)                                                      \
    PREDICATES_8(KERNEL_X, routine##_k, op)                                              \
    PREDICATES_32(KERNEL_VEX, routine##_v, "v" op)                                       \
    static float_kernel *routine##_pick(const struct x86_cpu *c,                         \
                                        const struct x86_insn *i)                        \
    {                                                                                    \
        static float_kernel *const legacy[] = {                                          \
            PREDICATES_8(KERNEL_NAME, routine##_k, op)};                                 \
        static float_kernel *const vex[] = {                                             \
            PREDICATES_32(KERNEL_NAME, routine##_v, op)};                                \
                                                                                         \
        (void)c;                                                                         \
        return i->vex ? vex[i->imm & 31] : legacy[i->imm & 7];                           \
    }                                                                                    \
    COMPARE_FORM(routine##_x, routine##_pick, 16, mem)
#define COMPARE_Y(routine, op)                                                           \
    PREDICATES_32(KERNEL_Y, routine##_y, "v" op)                                         \
    static float_kernel *routine##_pick_y(const struct x86_cpu *c,                       \
                                          const struct x86_insn *i)                      \
    {                                                                                    \
        static float_kernel *const vex[] = {                                             \
            PREDICATES_32(KERNEL_NAME, routine##_y, op)};                                \
                                                                                         \
        (void)c;                                                                         \
        return vex[i->imm & 31];                                                         \
    }                                                                                    \
    COMPARE_FORM(routine##_yf, routine##_pick_y, 32, 32)

/* Of imm8 the bits above the predicate are reserved, and the processor does not look
 * at them. */
COMPARE_X(cmpps, "cmpps", 16)
COMPARE_X(cmppd, "cmppd", 16)
COMPARE_X(cmpss, "cmpss", 4)
COMPARE_X(cmpsd_xmm, "cmpsd", 8)
COMPARE_Y(cmpps, "cmpps")
COMPARE_Y(cmppd, "cmppd")
SIMD_FAMILY_Y(cmpps, cmpps_x, cmpps_yf)
SIMD_FAMILY_Y(cmppd, cmppd_x, cmppd_yf)
SIMD_FAMILY(cmpss, cmpss_x)
SIMD_FAMILY(cmpsd_xmm, cmpsd_xmm_x)

/* ZF, PF and CF go to three bytes of the result. */
#define ORDER_KERNEL(k, op)                                                              \
    static uint32_t k(union lane *ret, const union lane *a, const union lane *b,         \
                      uint32_t csr)                                                      \
    {                                                                                    \
        static const uint32_t host = FLOAT_HOST_CSR;                                     \
        uint32_t seen;                                                                   \
                                                                                         \
        __asm__ volatile("ldmxcsr %[csr]\n\tmovups %[a], %%xmm0\n\t"                     \
                         "movups %[b], %%xmm1\n\t" op " %%xmm1, %%xmm0\n\t"              \
                         "setz %[z]\n\tsetp %[p]\n\tsetc %[c]\n\t"                       \
                         "stmxcsr %[seen]\n\tldmxcsr %[host]"                            \
                         : [z] "=m"(ret->b[0]), [p] "=m"(ret->b[1]),                     \
                           [c] "=m"(ret->b[2]), [seen] "=m"(seen)                        \
                         : [a] "m"(*a), [b] "m"(*b), [csr] "m"(csr), [host] "m"(host)    \
                         : "xmm0", "xmm1");                                              \
        return seen & FLOAT_FLAGS;                                                       \
    }

static inline void set_order(struct x86_cpu *c, const union lane *t)
{
    x86_flags_set(c, (t->b[0] != 0 ? X86_ZF : 0) | (t->b[1] != 0 ? X86_PF_BIT : 0) |
                         (t->b[2] != 0 ? X86_CF : 0));
}

#define ORDER(routine, op, mem)                                                          \
    ORDER_KERNEL(routine##_k, op)                                                        \
    static void routine##_x_r(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        float_run(c, routine##_k, &t, lane_reg(c, i->reg), lane_reg(c, i->rm));          \
        set_order(c, &t);                                                                \
    }                                                                                    \
    static void routine##_x_m(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        float_run(c, routine##_k, &t, lane_reg(c, i->reg), &s);                          \
        set_order(c, &t);                                                                \
    }                                                                                    \
    SIMD_FAMILY(routine, routine##_x)

ORDER(comiss, "comiss", 4)
ORDER(comisd, "comisd", 8)
ORDER(ucomiss, "ucomiss", 4)
ORDER(ucomisd, "ucomisd", 8)

/* PTEST, VTESTPx: ZF if no bit of `a & b`, CF if none of `~a & b`, among `bits`. */
static inline void test_bits(struct x86_cpu *c, const union lane *a, const union lane *b,
                             unsigned quads, uint64_t bits)
{
    uint64_t both = 0, other = 0;

    for (unsigned n = 0; n < quads; n++) {
        both |= a->q[n] & b->q[n] & bits;
        other |= ~a->q[n] & b->q[n] & bits;
    }
    x86_flags_set(c, (both == 0 ? X86_ZF : 0) | (other == 0 ? X86_CF : 0));
}

#define TEST_FORM(f, quads, bits)                                                        \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        test_bits(c, lane_reg(c, i->reg), lane_reg(c, i->rm), quads, bits);              \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane s;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, (quads)*8);                                                  \
        test_bits(c, lane_reg(c, i->reg), &s, quads, bits);                              \
    }

TEST_FORM(ptest_x, 2, UINT64_MAX)
TEST_FORM(ptest_y, 4, UINT64_MAX)
TEST_FORM(testps_x, 2, 0x8000000080000000u)
TEST_FORM(testps_y, 4, 0x8000000080000000u)
TEST_FORM(testpd_x, 2, 0x8000000000000000u)
TEST_FORM(testpd_y, 4, 0x8000000000000000u)
SIMD_FAMILY_Y(ptest, ptest_x, ptest_y)
SIMD_FAMILY_Y(vtestps, testps_x, testps_y)
SIMD_FAMILY_Y(vtestpd, testpd_x, testpd_y)
