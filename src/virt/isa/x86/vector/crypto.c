/* crypto.c - AES, carry-less multiplication and SHA, by the host's instructions.
 *
 * Immediates are applied around a kernel with a fixed one: PCLMULQDQ's choose the
 * quadwords, AESKEYGENASSIST's is XOR-ed to two elements of the result. */
#include "virt/isa/x86/vector/simd.h"

SIMD_OP_X(aesenc, "aesenc")
SIMD_OP_X(aesenclast, "aesenclast")
SIMD_OP_X(aesdec, "aesdec")
SIMD_OP_X(aesdeclast, "aesdeclast")
SIMD_UNARY(aesimc_k, "aesimc")
SIMD_DIRECT(aesimc_x, aesimc_k, 16)
SIMD_FAMILY(aesimc, aesimc_x)

SIMD_UNARY(keygen_plain, "aeskeygenassist $0,")

static inline void keygen(union lane *ret, const union lane *a, const union lane *b,
                          uint8_t imm)
{
    keygen_plain(ret, a, b);
    ret->d[1] ^= imm;
    ret->d[3] ^= imm;
}
SIMD_FORM_IMM(keygen_x, keygen, 16, 16)
SIMD_FAMILY(aeskeygenassist, keygen_x)

SIMD_KERNEL(multiply_low, "pclmulqdq $0,")

static inline void multiply(union lane *ret, const union lane *a, const union lane *b,
                            uint8_t imm)
{
    union lane x = {.q = {a->q[imm & 1]}}, y = {.q = {b->q[imm >> 4 & 1]}};

    multiply_low(ret, &x, &y);
}
SIMD_FORM_IMM(multiply_x, multiply, 16, 16)
SIMD_FAMILY(pclmulqdq, multiply_x)

SIMD_OP_X(sha1nexte, "sha1nexte")
SIMD_OP_X(sha1msg1, "sha1msg1")
SIMD_OP_X(sha1msg2, "sha1msg2")
SIMD_OP_X(sha256msg1, "sha256msg1")
SIMD_OP_X(sha256msg2, "sha256msg2")

SIMD_KERNEL(sha1rnds4_0, "sha1rnds4 $0,")
SIMD_KERNEL(sha1rnds4_1, "sha1rnds4 $1,")
SIMD_KERNEL(sha1rnds4_2, "sha1rnds4 $2,")
SIMD_KERNEL(sha1rnds4_3, "sha1rnds4 $3,")

static inline void rounds(union lane *ret, const union lane *a, const union lane *b,
                          uint8_t imm)
{
    switch (imm & 3) {
    case 0:
        sha1rnds4_0(ret, a, b);
        break;
    case 1:
        sha1rnds4_1(ret, a, b);
        break;
    case 2:
        sha1rnds4_2(ret, a, b);
        break;
    default:
        sha1rnds4_3(ret, a, b);
        break;
    }
}
SIMD_FORM_IMM(rounds_x, rounds, 16, 16)
SIMD_FAMILY(sha1rnds4, rounds_x)

/* The round keys are in XMM0. */
static void rounds256(struct x86_cpu *c, const struct x86_insn *i, const union lane *b)
{
    const union lane *keys = lane_reg(c, 0), *a = lane_reg(c, i->reg);
    union lane t;

    __asm__("movups %1, %%xmm2\n\tmovups %2, %%xmm1\n\tmovups %3, %%xmm0\n\t"
            "sha256rnds2 %%xmm0, %%xmm1, %%xmm2\n\tmovups %%xmm2, %0"
            : "=m"(t)
            : "m"(*a), "m"(*b), "m"(*keys)
            : "xmm0", "xmm1", "xmm2");
    lane_put(c, i, &t, 16);
}

static void sha256rnds2_x_r(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    rounds256(c, i, lane_reg(c, i->rm));
}

static void sha256rnds2_x_m(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane s;

    lane_need(c, i);
    lane_load(c, i, &s, 16);
    rounds256(c, i, &s);
}
SIMD_FAMILY(sha256rnds2, sha256rnds2_x)
