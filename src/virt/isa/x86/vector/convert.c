/* convert.c - conversions between floating-point formats and integers, in registers
 * of vectors and general registers (SDM volume 1, 11.4.1.6, 14.4). */
#include "virt/isa/x86/vector/number.h"

/* `wide`: the operands of the 256-bit form, xmm where one is half as wide. */
#define CONVERT(routine, op, mem_x, wide, mem_y)                                         \
    FLOAT_UNARY_CODE(routine##_k, op " %[b], %[a]")                                      \
    FLOAT_CODE_Y(routine##_ky, mem_y, "v" op " " wide)                                   \
    FLOAT_FORM(routine##_x, routine##_k, 16, mem_x)                                      \
    FLOAT_FORM_Y(routine##_y, routine##_ky, mem_y)                                       \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

/* From a general register or memory; VEX.W is ignored outside 64-bit mode. */
#define FROM_KERNEL(k, op, part)                                                         \
    static void k(union lane *ret, const union lane *a, const void *b)                   \
    {                                                                                    \
        lane_xmm v = lane_get(a, 16);                                                    \
        uint64_t from = ((const union lane *)b)->q[0];                                   \
                                                                                         \
        __asm__ volatile(op " %" part "[b], %[a]" : [a] "+x"(v) : [b] "r"(from));        \
        memcpy(ret, &v, 16);                                                             \
    }
#define FROM_FORM(f, k, mem)                                                             \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s;                                                                 \
                                                                                         \
        s.q[0] = c->r.gpr[i->rm];                                                        \
        lane_need(c, i);                                                                 \
        float_run(c, k, &t, lane_first(c, i), &s);                                       \
        lane_put(c, i, &t, 16);                                                          \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s;                                                                 \
                                                                                         \
        s.q[0] = 0;                                                                      \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        float_run(c, k, &t, lane_first(c, i), &s);                                       \
        lane_put(c, i, &t, 16);                                                          \
    }
#define FROM_INTEGER(routine, op)                                                        \
    FROM_KERNEL(routine##_kd, op "l", "k")                                               \
    FROM_KERNEL(routine##_kq, op "q", "")                                                \
    FROM_FORM(routine##_d, routine##_kd, 4)                                              \
    FROM_FORM(routine##_q, i->mode == X86_CODE64 ? routine##_kq : routine##_kd,          \
              i->mode == X86_CODE64 ? 8 : 4)                                             \
    SIMD_FAMILY(routine##_d, routine##_d)                                                \
    SIMD_FAMILY(routine##_q, routine##_q)

/* To a general register: the kernel's result is its low quadword. */
#define TO_KERNEL(k, op, part)                                                           \
    static void k(union lane *ret, const union lane *a, const void *b)                   \
    {                                                                                    \
        uint64_t v;                                                                      \
                                                                                         \
        (void)a;                                                                         \
        __asm__ volatile(op " %1, %" part "0" : "=r"(v) : "x"(lane_get(b, 16)));         \
        ret->q[0] = v;                                                                   \
    }
#define TO_FORM(f, k, mem)                                                               \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        float_run(c, k, &t, lane_reg(c, i->rm), lane_reg(c, i->rm));                     \
        lane_put_gpr(c, i->reg, t.q[0]);                                                 \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {0};                                                           \
        lane_xmm v;                                                                      \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        v = lane_get(&s, mem);                                                           \
        float_run(c, k, &t, &s, &v);                                                     \
        lane_put_gpr(c, i->reg, t.q[0]);                                                 \
    }
#define TO_INTEGER(routine, op, mem)                                                     \
    TO_KERNEL(routine##_kd, op, "k")                                                     \
    TO_KERNEL(routine##_kq, op, "q")                                                     \
    TO_FORM(routine##_d, routine##_kd, mem)                                              \
    TO_FORM(routine##_q, i->mode == X86_CODE64 ? routine##_kq : routine##_kd, mem)       \
    SIMD_FAMILY(routine##_d, routine##_d)                                                \
    SIMD_FAMILY(routine##_q, routine##_q)

/* Half precision (F16C). */
FLOAT_UNARY_CODE(cvtph2ps_k, "vcvtph2ps %[b], %[a]")
FLOAT_CODE_Y(cvtph2ps_ky, 16, "vcvtph2ps %%xmm1, %%ymm0")
FLOAT_FORM(cvtph2ps_x, cvtph2ps_k, 16, 8)
FLOAT_FORM_Y(cvtph2ps_y, cvtph2ps_ky, 16)
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
 * half precision, so `x86_float_run_as` cannot see a tiny result that is exact. */
static void to_half(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                    union lane *ret)
{
    uint32_t csr = c->r.fpu.mxcsr, unmasked = ~(csr >> 7) & FLOAT_FLAGS;
    const union lane *s = lane_reg(c, i->reg);

    if ((i->imm & 4) == 0) {
        csr = (csr & ~0x6000u) | (uint32_t)(i->imm & 3) << 13;
    }
    x86_settle(c);
    if ((unmasked & 0x10) != 0) {
        uint32_t flags = x86_float_under(k, ret, s, s, csr);

        if ((flags & unmasked & 7) == 0 && has_tiny_half(ret)) {
            x86_float_raise(c, flags | 0x10);
        }
    }
    x86_float_run_as(c, NULL, ret, &(struct float_job){k, s, s, csr});
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

FLOAT_UNARY_CODE(cvtps2ph_k, "vcvtps2ph $4, %[b], %[a]")
FLOAT_CODE_Y(cvtps2ph_ky, 32, "vcvtps2ph $4, %%ymm1, %%xmm0")
HALF_FORM(cvtps2ph_x, cvtps2ph_k, 8)
HALF_FORM(cvtps2ph_y, cvtps2ph_ky, 16)
SIMD_FAMILY_Y(cvtps2ph, cvtps2ph_x, cvtps2ph_y)

CONVERT(cvtdq2ps, "cvtdq2ps", 16, "%%ymm1, %%ymm0", 32)
CONVERT(cvtps2dq, "cvtps2dq", 16, "%%ymm1, %%ymm0", 32)
CONVERT(cvttps2dq, "cvttps2dq", 16, "%%ymm1, %%ymm0", 32)
CONVERT(cvtps2pd, "cvtps2pd", 8, "%%xmm1, %%ymm0", 16)
CONVERT(cvtdq2pd, "cvtdq2pd", 8, "%%xmm1, %%ymm0", 16)
CONVERT(cvtpd2ps, "cvtpd2ps", 16, "%%ymm1, %%xmm0", 32)
CONVERT(cvtpd2dq, "cvtpd2dq", 16, "%%ymm1, %%xmm0", 32)
CONVERT(cvttpd2dq, "cvttpd2dq", 16, "%%ymm1, %%xmm0", 32)
FLOAT_SCALAR(cvtss2sd, "cvtss2sd", 4)
FLOAT_SCALAR(cvtsd2ss, "cvtsd2ss", 8)
FROM_INTEGER(cvtsi2ss, "cvtsi2ss")
FROM_INTEGER(cvtsi2sd, "cvtsi2sd")
TO_INTEGER(cvtss2si, "cvtss2si", 4)
TO_INTEGER(cvttss2si, "cvttss2si", 4)
TO_INTEGER(cvtsd2si, "cvtsd2si", 8)
TO_INTEGER(cvttsd2si, "cvttsd2si", 8)
