/* integer.c - packed integers and bitwise logic, 128 and 256 bits: one host
 * instruction each (SDM volume 1, 10.4.4, 11.4.2, 12.6, 12.8-12.10, 14.6). */
#include "virt/isa/x86/vector/simd.h"

SIMD_OP(punpcklbw, "punpcklbw")
SIMD_OP(punpcklwd, "punpcklwd")
SIMD_OP(punpckldq, "punpckldq")
SIMD_OP(punpcklqdq, "punpcklqdq")
SIMD_OP(punpckhbw, "punpckhbw")
SIMD_OP(punpckhwd, "punpckhwd")
SIMD_OP(punpckhdq, "punpckhdq")
SIMD_OP(punpckhqdq, "punpckhqdq")
SIMD_OP(packsswb, "packsswb")
SIMD_OP(packssdw, "packssdw")
SIMD_OP(packuswb, "packuswb")
SIMD_OP(packusdw, "packusdw")
SIMD_OP(pcmpgtb, "pcmpgtb")
SIMD_OP(pcmpgtw, "pcmpgtw")
SIMD_OP(pcmpgtd, "pcmpgtd")
SIMD_OP(pcmpgtq, "pcmpgtq")
SIMD_OP(pcmpeqb, "pcmpeqb")
SIMD_OP(pcmpeqw, "pcmpeqw")
SIMD_OP(pcmpeqd, "pcmpeqd")
SIMD_OP(pcmpeqq, "pcmpeqq")
SIMD_OP(paddb, "paddb")
SIMD_OP(paddw, "paddw")
SIMD_OP(paddd, "paddd")
SIMD_OP(paddq, "paddq")
SIMD_OP(paddsb, "paddsb")
SIMD_OP(paddsw, "paddsw")
SIMD_OP(paddusb, "paddusb")
SIMD_OP(paddusw, "paddusw")
SIMD_OP(psubb, "psubb")
SIMD_OP(psubw, "psubw")
SIMD_OP(psubd, "psubd")
SIMD_OP(psubq, "psubq")
SIMD_OP(psubsb, "psubsb")
SIMD_OP(psubsw, "psubsw")
SIMD_OP(psubusb, "psubusb")
SIMD_OP(psubusw, "psubusw")
SIMD_OP(pmullw, "pmullw")
SIMD_OP(pmulld, "pmulld")
SIMD_OP(pmulhw, "pmulhw")
SIMD_OP(pmulhuw, "pmulhuw")
SIMD_OP(pmulhrsw, "pmulhrsw")
SIMD_OP(pmuludq, "pmuludq")
SIMD_OP(pmuldq, "pmuldq")
SIMD_OP(pmaddwd, "pmaddwd")
SIMD_OP(pmaddubsw, "pmaddubsw")
SIMD_OP(psadbw, "psadbw")
SIMD_OP(pavgb, "pavgb")
SIMD_OP(pavgw, "pavgw")
SIMD_OP(pminub, "pminub")
SIMD_OP(pminuw, "pminuw")
SIMD_OP(pminud, "pminud")
SIMD_OP(pminsb, "pminsb")
SIMD_OP(pminsw, "pminsw")
SIMD_OP(pminsd, "pminsd")
SIMD_OP(pmaxub, "pmaxub")
SIMD_OP(pmaxuw, "pmaxuw")
SIMD_OP(pmaxud, "pmaxud")
SIMD_OP(pmaxsb, "pmaxsb")
SIMD_OP(pmaxsw, "pmaxsw")
SIMD_OP(pmaxsd, "pmaxsd")
SIMD_OP(pand, "pand")
SIMD_OP(pandn, "pandn")
SIMD_OP(por, "por")
SIMD_OP(pxor, "pxor")
SIMD_OP(pshufb, "pshufb")
SIMD_OP(phaddw, "phaddw")
SIMD_OP(phaddd, "phaddd")
SIMD_OP(phaddsw, "phaddsw")
SIMD_OP(phsubw, "phsubw")
SIMD_OP(phsubd, "phsubd")
SIMD_OP(phsubsw, "phsubsw")
SIMD_OP(psignb, "psignb")
SIMD_OP(psignw, "psignw")
SIMD_OP(psignd, "psignd")

/* Bits of floating-point registers: no lane is looked at as a number. */
SIMD_OP(andps, "andps")
SIMD_OP(andpd, "andpd")
SIMD_OP(andnps, "andnps")
SIMD_OP(andnpd, "andnpd")
SIMD_OP(orps, "orps")
SIMD_OP(orpd, "orpd")
SIMD_OP(xorps, "xorps")
SIMD_OP(xorpd, "xorpd")
SIMD_OP(unpcklps, "unpcklps")
SIMD_OP(unpcklpd, "unpcklpd")
SIMD_OP(unpckhps, "unpckhps")
SIMD_OP(unpckhpd, "unpckhpd")

/* One source.  `half`: the memory operand is that many bytes of the 128-bit form;
 * the 256-bit form reads `whole`, which is twice as much, and xmm as its register. */
#define UNARY(routine, op)                                                               \
    SIMD_UNARY(routine##_k, op)                                                          \
    SIMD_UNARY_Y(routine##_ky, "v" op)                                                   \
    SIMD_DIRECT(routine##_x, routine##_k, 16)                                            \
    SIMD_DIRECT_Y(routine##_y, routine##_ky, 32)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)
#define EXTEND(routine, op, half, whole)                                                 \
    SIMD_UNARY(routine##_k, op)                                                          \
    SIMD_CODE_Y(routine##_ky, whole, "v" op " %%xmm1, %%ymm0")                           \
    SIMD_DIRECT(routine##_x, routine##_k, half)                                          \
    SIMD_DIRECT_Y(routine##_y, routine##_ky, whole)                                      \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

UNARY(pabsb, "pabsb")
UNARY(pabsw, "pabsw")
UNARY(pabsd, "pabsd")
UNARY(movsldup, "movsldup")
UNARY(movshdup, "movshdup")
EXTEND(pmovsxbw, "pmovsxbw", 8, 16)
EXTEND(pmovsxbd, "pmovsxbd", 4, 8)
EXTEND(pmovsxbq, "pmovsxbq", 2, 4)
EXTEND(pmovsxwd, "pmovsxwd", 8, 16)
EXTEND(pmovsxwq, "pmovsxwq", 4, 8)
EXTEND(pmovsxdq, "pmovsxdq", 8, 16)
EXTEND(pmovzxbw, "pmovzxbw", 8, 16)
EXTEND(pmovzxbd, "pmovzxbd", 4, 8)
EXTEND(pmovzxbq, "pmovzxbq", 2, 4)
EXTEND(pmovzxwd, "pmovzxwd", 8, 16)
EXTEND(pmovzxwq, "pmovzxwq", 4, 8)
EXTEND(pmovzxdq, "pmovzxdq", 8, 16)

SIMD_UNARY(phminposuw_k, "phminposuw")
SIMD_DIRECT(phminposuw_x, phminposuw_k, 16)
SIMD_FAMILY(phminposuw, phminposuw_x)

SIMD_UNARY(movddup_k, "movddup")
SIMD_UNARY_Y(movddup_ky, "vmovddup")
SIMD_DIRECT(movddup_x, movddup_k, 8)
SIMD_DIRECT_Y(movddup_y, movddup_ky, 32)
SIMD_FAMILY_Y(movddup, movddup_x, movddup_y)

/* Shifts: the count is the low quadword of a 128-bit operand, or the immediate. */
#define SHIFT_KERNEL_Y(k, op) SIMD_CODE_Y(k, 16, op " %%xmm1, %%ymm0, %%ymm0")
/* The destination is modrm.rm, or VEX.vvvv, and there is no memory form. */
#define SHIFT_IMM(routine)                                                               \
    static void routine##_i(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_set(c, i, i->vex ? i->vvvv : i->rm,                                         \
                 routine##_k_v(lane_get(lane_reg(c, i->rm), 16),                         \
                               (lane_xmm){(uint8_t)i->imm, 0}));                         \
    }                                                                                    \
    static void routine##_iy(struct x86_cpu *c, const struct x86_insn *i)                \
    {                                                                                    \
        union lane count = {.q = {(uint8_t)i->imm}};                                     \
                                                                                         \
        lane_need(c, i);                                                                 \
        routine##_ky(lane_reg(c, i->vvvv), lane_reg(c, i->rm), &count);                  \
    }
#define SHIFT(routine, op)                                                               \
    SIMD_KERNEL(routine##_k, op)                                                         \
    SHIFT_KERNEL_Y(routine##_ky, "v" op)                                                 \
    SIMD_DIRECT(routine##_x, routine##_k, 16)                                            \
    SIMD_DIRECT_Y(routine##_y, routine##_ky, 16)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)                                     \
    SHIFT_IMM(routine)                                                                   \
    FAMILY(routine##_imm) = {{routine##_i, routine##_iy, NULL, NULL}, {NULL}};

SHIFT(psrlw, "psrlw")
SHIFT(psrld, "psrld")
SHIFT(psrlq, "psrlq")
SHIFT(psraw, "psraw")
SHIFT(psrad, "psrad")
SHIFT(psllw, "psllw")
SHIFT(pslld, "pslld")
SHIFT(psllq, "psllq")

/* Counts by lane (AVX2). */
#define VARIABLE(routine)                                                                \
    SIMD_CODE(routine##_k, #routine " %[b], %[a], %[a]")                                 \
    SIMD_KERNEL_Y(routine##_ky, #routine)                                                \
    SIMD_DIRECT(routine##_x, routine##_k, 16)                                            \
    SIMD_DIRECT_Y(routine##_y, routine##_ky, 32)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

VARIABLE(vpsrlvd)
VARIABLE(vpsrlvq)
VARIABLE(vpsravd)
VARIABLE(vpsllvd)
VARIABLE(vpsllvq)
VARIABLE(vpermilps)
VARIABLE(vpermilpd)
