/* compare.c - floating-point comparisons: CMPxx by predicate, COMISx and UCOMISx.
 *
 * Predicates are part of the instruction, so each has a kernel: 8 in the legacy
 * encoding, 32 under VEX (SDM volume 2, CMPPD, table 3-1). */
#include "virt/isa/x86/vector/number.h"

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

#define KERNEL_X(k, op, n)   FLOAT_CODE(k##_##n, op " $" #n ", %[b], %[a]")
#define KERNEL_VEX(k, op, n) FLOAT_CODE(k##_##n, op " $" #n ", %[b], %[a], %[a]")
#define KERNEL_Y(k, op, n)                                                               \
    FLOAT_CODE_Y(k##_##n, 32, op " $" #n ", %%ymm1, %%ymm0, %%ymm0")
#define KERNEL_NAME(k, op, n) k##_##n,

/* The quick half hands the kernel what is on the host: `mem` bytes, or a register. */
static inline void compare(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                           unsigned out, unsigned mem)
{
    const void *p =
        i->is_memory ? lane_hit(c, i, mem, mem == 16 && !i->vex) : lane_reg(c, i->rm);
    lane_xmm s, *d = (lane_xmm *)(void *)lane_reg(c, i->reg);

    if (!float_is_live(c, i) || __builtin_expect(p == NULL, 0)) {
        x86_float_do(c, i, k, out, mem);
        return;
    }
    if (mem < 16) {
        s = lane_get(p, mem);
        p = &s;
    }
    k(lane_reg(c, i->reg), lane_first(c, i), p);
    if (out == 16 && i->vex) {
        d[1] = (lane_xmm){0, 0};
    }
}

/* The kernel of an immediate: legacy forms look at three bits, VEX at five. */
#define COMPARE_X(routine, op, mem)                                                      \
    PREDICATES_8(KERNEL_X, routine##_k, op)                                              \
    PREDICATES_32(KERNEL_VEX, routine##_v, "v" op)                                       \
    static void routine##_x(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        static float_kernel *const legacy[] = {                                          \
            PREDICATES_8(KERNEL_NAME, routine##_k, op)};                                 \
        static float_kernel *const vex[] = {                                             \
            PREDICATES_32(KERNEL_NAME, routine##_v, op)};                                \
                                                                                         \
        compare(c, i, i->vex ? vex[i->imm & 31] : legacy[i->imm & 7], 16, mem);          \
    }
#define COMPARE_Y(routine, op)                                                           \
    PREDICATES_32(KERNEL_Y, routine##_w, "v" op)                                         \
    static void routine##_y(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        static float_kernel *const vex[] = {                                             \
            PREDICATES_32(KERNEL_NAME, routine##_w, op)};                                \
                                                                                         \
        compare(c, i, vex[i->imm & 31], 32, 32);                                         \
    }
#define COMPARE_FAMILY(routine, x, y)                                                    \
    FAMILY(routine) = {{x, y, NULL, NULL}, {x, y, NULL, NULL}};

/* Of imm8 the bits above the predicate are reserved, and the processor does not look
 * at them. */
COMPARE_X(cmpps, "cmpps", 16)
COMPARE_X(cmppd, "cmppd", 16)
COMPARE_X(cmpss, "cmpss", 4)
COMPARE_X(cmpsd_xmm, "cmpsd", 8)
COMPARE_Y(cmpps, "cmpps")
COMPARE_Y(cmppd, "cmppd")
COMPARE_FAMILY(cmpps, cmpps_x, cmpps_y)
COMPARE_FAMILY(cmppd, cmppd_x, cmppd_y)
COMPARE_FAMILY(cmpss, cmpss_x, cmpss_x)
COMPARE_FAMILY(cmpsd_xmm, cmpsd_xmm_x, cmpsd_xmm_x)

/* ZF, PF and CF, where RFLAGS has them; the instructions clear SF and AF, which LAHF
 * stores too, and OF. */
#define ORDER_KERNEL(k, op)                                                              \
    static inline uint32_t k##_v(lane_xmm a, lane_xmm b)                                 \
    {                                                                                    \
        uint32_t flags;                                                                  \
                                                                                         \
        __asm__ volatile(op " %[b], %[a]\n\tlahf"                                        \
                         : "=a"(flags)                                                   \
                         : [a] "x"(a), [b] "x"(b));                                      \
        return flags >> 8 & (X86_ZF | X86_PF_BIT | X86_CF);                              \
    }                                                                                    \
    static void k(union lane *ret, const union lane *a, const void *b)                   \
    {                                                                                    \
        ret->d[0] = k##_v(lane_get(a, 16), lane_get(b, 16));                             \
    }

/* In every case. */
static void order(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                  unsigned mem)
{
    const void *b = lane_reg(c, i->rm);
    union lane t, s = {0};

    lane_need(c, i);
    if (i->is_memory) {
        lane_load(c, i, &s, mem);
        b = &s;
    }
    float_run(c, k, &t, lane_reg(c, i->reg), b);
    x86_flags_set(c, t.d[0]);
}

#define ORDER(routine, op, mem)                                                          \
    ORDER_KERNEL(routine##_k, op)                                                        \
    static void routine##_x_r(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        if (!float_is_live(c, i)) {                                                      \
            order(c, i, routine##_k, mem);                                               \
            return;                                                                      \
        }                                                                                \
        x86_flags_set(c, routine##_k_v(lane_get(lane_reg(c, i->reg), 16),                \
                                       lane_get(lane_reg(c, i->rm), 16)));               \
    }                                                                                    \
    static void routine##_x_m(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        const void *p = lane_hit(c, i, mem, false);                                      \
                                                                                         \
        if (!float_is_live(c, i) || __builtin_expect(p == NULL, 0)) {                    \
            order(c, i, routine##_k, mem);                                               \
            return;                                                                      \
        }                                                                                \
        x86_flags_set(                                                                   \
            c, routine##_k_v(lane_get(lane_reg(c, i->reg), 16), lane_get(p, mem)));      \
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
