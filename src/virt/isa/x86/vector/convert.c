/* convert.c - conversions between floating-point formats and integers, in registers
 * of vectors and general registers (SDM volume 1, 11.4.1.6, 14.4). */
#include "virt/isa/x86/vector/simd.h"

/* `wide`: the operands of the 256-bit form, xmm where one is half as wide. */
#define CONVERT(routine, op, mem_x, wide, out_y, mem_y)                                  \
    FLOAT_KERNEL(routine##_k, op)                                                        \
    FLOAT_CODE_Y(routine##_ky, "v" op " " wide)                                          \
    FLOAT_FORM(routine##_x, routine##_k, 16, mem_x)                                      \
    FLOAT_FORM(routine##_y, routine##_ky, out_y, mem_y)                                  \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

/* From a general register or memory; VEX.W is ignored outside 64-bit mode. */
#define FROM_INTEGER(routine, op)                                                        \
    FLOAT_KERNEL_AS(routine##_kd, "movups %[a], %%xmm0\n\t", op "l %[b], %%xmm0",        \
                    "movups %%xmm0, %[ret]\n\t", "")                                     \
    FLOAT_KERNEL_AS(routine##_kq, "movups %[a], %%xmm0\n\t", op "q %[b], %%xmm0",        \
                    "movups %%xmm0, %[ret]\n\t", "")                                     \
    FROM_FORM(routine##_d, routine##_kd, 4)                                              \
    FROM_FORM(routine##_q, i->mode == X86_CODE64 ? routine##_kq : routine##_kd,          \
              i->mode == X86_CODE64 ? 8 : 4)                                             \
    SIMD_FAMILY(routine##_d, routine##_d)                                                \
    SIMD_FAMILY(routine##_q, routine##_q)
#define FROM_FORM(f, k, mem)                                                             \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {.q = {c->r.gpr[i->rm]}};                                      \
                                                                                         \
        lane_need(c, i);                                                                 \
        float_run(c, k, &t, lane_first(c, i), &s);                                       \
        lane_put(c, i, &t, 16);                                                          \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        float_run(c, k, &t, lane_first(c, i), &s);                                       \
        lane_put(c, i, &t, 16);                                                          \
    }

/* To a general register: the kernel's result is its low quadword. */
#define TO_KERNEL(k, op, reg)                                                            \
    static uint32_t k(union lane *ret, const union lane *a, const union lane *b,         \
                      uint32_t csr)                                                      \
    {                                                                                    \
        static const uint32_t host = FLOAT_HOST_CSR;                                     \
        uint32_t seen;                                                                   \
                                                                                         \
        (void)a;                                                                         \
        __asm__ volatile("ldmxcsr %[csr]\n\tmovups %[b], %%xmm1\n\t" op                  \
                         " %%xmm1, %%" reg "\n\tmovq %%rax, %[ret]\n\t"                  \
                         "stmxcsr %[seen]\n\tldmxcsr %[host]"                            \
                         : [ret] "=m"(ret->q[0]), [seen] "=m"(seen)                      \
                         : [b] "m"(*b), [csr] "m"(csr), [host] "m"(host)                 \
                         : "rax", "xmm1");                                               \
        return seen & FLOAT_FLAGS;                                                       \
    }
#define TO_FORM(f, k, mem)                                                               \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t = {0};                                                              \
                                                                                         \
        lane_need(c, i);                                                                 \
        float_run(c, k, &t, &t, lane_reg(c, i->rm));                                     \
        lane_put_gpr(c, i->reg, t.q[0]);                                                 \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t = {0}, s = {0};                                                     \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        float_run(c, k, &t, &t, &s);                                                     \
        lane_put_gpr(c, i->reg, t.q[0]);                                                 \
    }
#define TO_INTEGER(routine, op, mem)                                                     \
    TO_KERNEL(routine##_kd, op, "eax")                                                   \
    TO_KERNEL(routine##_kq, op, "rax")                                                   \
    TO_FORM(routine##_d, routine##_kd, mem)                                              \
    TO_FORM(routine##_q, i->mode == X86_CODE64 ? routine##_kq : routine##_kd, mem)       \
    SIMD_FAMILY(routine##_d, routine##_d)                                                \
    SIMD_FAMILY(routine##_q, routine##_q)

/* Half precision (F16C). */
FLOAT_CODE(cvtph2ps_k, "vcvtph2ps %%xmm1, %%xmm0")
FLOAT_CODE_Y(cvtph2ps_ky, "vcvtph2ps %%xmm1, %%ymm0")
FLOAT_FORM(cvtph2ps_x, cvtph2ps_k, 16, 8)
FLOAT_FORM(cvtph2ps_y, cvtph2ps_ky, 32, 16)
SIMD_FAMILY_Y(cvtph2ps, cvtph2ps_x, cvtph2ps_y)

static bool has_tiny_half(const union lane *t)
{
    for (unsigned n = 0; n < 8; n++) {
        if ((t->w[n] & 0x7c00) == 0 && (t->w[n] & 0x03ff) != 0) {
            return true;
        }
    }
    return false;
}

/* Rounding by bits 0-1 of the immediate unless bit 2 says MXCSR's.  FTZ does not concern
 * half precision, so `x86_float_unmasked` cannot see a tiny result that is exact. */
static void to_half(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                    union lane *ret)
{
    uint32_t csr = c->r.fpu.mxcsr, unmasked = ~(csr >> 7) & FLOAT_FLAGS;
    const union lane *s = lane_reg(c, i->reg);

    if ((i->imm & 4) == 0) {
        csr = (csr & ~0x6000u) | (uint32_t)(i->imm & 3) << 13;
    }
    if ((unmasked & 0x10) != 0) {
        uint32_t flags = k(ret, s, s, (csr & ~FLOAT_FLAGS) | FLOAT_MASKS);

        if ((flags & unmasked & 7) == 0 && has_tiny_half(ret)) {
            x86_float_raise(c, flags | 0x10);
        }
    }
    float_run_as(c, k, ret, s, s, csr);
}

/* The flags stay when the store faults, as they do on the processors at hand. */
#define HALF_FORM(f, k, bytes)                                                           \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        to_half(c, i, k, &t);                                                            \
        lane_put_to(c, i, i->rm, &t, 16);                                                \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        to_half(c, i, k, &t);                                                            \
        lane_store(c, i, &t, bytes, false);                                              \
    }

FLOAT_CODE(cvtps2ph_k, "vcvtps2ph $4, %%xmm1, %%xmm0")
FLOAT_CODE_Y(cvtps2ph_ky, "vcvtps2ph $4, %%ymm1, %%xmm0")
HALF_FORM(cvtps2ph_x, cvtps2ph_k, 8)
HALF_FORM(cvtps2ph_y, cvtps2ph_ky, 16)
SIMD_FAMILY_Y(cvtps2ph, cvtps2ph_x, cvtps2ph_y)

CONVERT(cvtdq2ps, "cvtdq2ps", 16, "%%ymm1, %%ymm0", 32, 32)
CONVERT(cvtps2dq, "cvtps2dq", 16, "%%ymm1, %%ymm0", 32, 32)
CONVERT(cvttps2dq, "cvttps2dq", 16, "%%ymm1, %%ymm0", 32, 32)
CONVERT(cvtps2pd, "cvtps2pd", 8, "%%xmm1, %%ymm0", 32, 16)
CONVERT(cvtdq2pd, "cvtdq2pd", 8, "%%xmm1, %%ymm0", 32, 16)
CONVERT(cvtpd2ps, "cvtpd2ps", 16, "%%ymm1, %%xmm0", 16, 32)
CONVERT(cvtpd2dq, "cvtpd2dq", 16, "%%ymm1, %%xmm0", 16, 32)
CONVERT(cvttpd2dq, "cvttpd2dq", 16, "%%ymm1, %%xmm0", 16, 32)
FLOAT_SCALAR(cvtss2sd, "cvtss2sd", 4)
FLOAT_SCALAR(cvtsd2ss, "cvtsd2ss", 8)
FROM_INTEGER(cvtsi2ss, "cvtsi2ss")
FROM_INTEGER(cvtsi2sd, "cvtsi2sd")
TO_INTEGER(cvtss2si, "cvtss2si", 4)
TO_INTEGER(cvttss2si, "cvttss2si", 4)
TO_INTEGER(cvtsd2si, "cvtsd2si", 8)
TO_INTEGER(cvttsd2si, "cvttsd2si", 8)
