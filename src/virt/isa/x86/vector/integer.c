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
 * the 256-bit form reads twice as much, and xmm as its register. */
#define UNARY(routine, op)                                                               \
    SIMD_UNARY(routine##_k, op)                                                          \
    SIMD_UNARY_Y(routine##_ky, "v" op, "ymm1")                                           \
    SIMD_FORM(routine##_x, routine##_k, 16, 16)                                          \
    SIMD_FORM(routine##_y, routine##_ky, 32, 32)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)
#define EXTEND(routine, op, half)                                                        \
    SIMD_UNARY(routine##_k, op)                                                          \
    SIMD_UNARY_Y(routine##_ky, "v" op, "xmm1")                                           \
    SIMD_FORM(routine##_x, routine##_k, 16, half)                                        \
    SIMD_FORM(routine##_y, routine##_ky, 32, 2 * (half))                                 \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

UNARY(pabsb, "pabsb")
UNARY(pabsw, "pabsw")
UNARY(pabsd, "pabsd")
UNARY(movsldup, "movsldup")
UNARY(movshdup, "movshdup")
EXTEND(pmovsxbw, "pmovsxbw", 8)
EXTEND(pmovsxbd, "pmovsxbd", 4)
EXTEND(pmovsxbq, "pmovsxbq", 2)
EXTEND(pmovsxwd, "pmovsxwd", 8)
EXTEND(pmovsxwq, "pmovsxwq", 4)
EXTEND(pmovsxdq, "pmovsxdq", 8)
EXTEND(pmovzxbw, "pmovzxbw", 8)
EXTEND(pmovzxbd, "pmovzxbd", 4)
EXTEND(pmovzxbq, "pmovzxbq", 2)
EXTEND(pmovzxwd, "pmovzxwd", 8)
EXTEND(pmovzxwq, "pmovzxwq", 4)
EXTEND(pmovzxdq, "pmovzxdq", 8)

SIMD_UNARY(phminposuw_k, "phminposuw")
SIMD_FORM(phminposuw_x, phminposuw_k, 16, 16)
SIMD_FAMILY(phminposuw, phminposuw_x)

SIMD_UNARY(movddup_k, "movddup")
SIMD_UNARY_Y(movddup_ky, "vmovddup", "ymm1")
SIMD_FORM(movddup_x, movddup_k, 16, 8)
SIMD_FORM(movddup_y, movddup_ky, 32, 32)
SIMD_FAMILY_Y(movddup, movddup_x, movddup_y)

/* Shifts: the count is the low quadword of a 128-bit operand, or the immediate. */
#define SHIFT_KERNEL_Y(k, op)                                                            \
    static inline void k(union lane *ret, const union lane *a, const union lane *b)      \
    {                                                                                    \
        __asm__("vmovups %1, %%ymm0\n\tmovups %2, %%xmm1\n\t" op                         \
                " %%xmm1, %%ymm0, %%ymm0\n\tvmovups %%ymm0, %0\n\tvzeroupper"            \
                : "=m"(*ret)                                                             \
                : "m"(*a), "m"(*b)                                                       \
                : "xmm0", "xmm1");                                                       \
    }
/* The destination is modrm.rm, or VEX.vvvv, and there is no memory form. */
#define SHIFT_IMM(f, k, bytes)                                                           \
    static void f(struct x86_cpu *c, const struct x86_insn *i)                           \
    {                                                                                    \
        union lane t, count = {.q = {(uint8_t)i->imm}};                                  \
                                                                                         \
        lane_need(c, i);                                                                 \
        k(&t, lane_reg(c, i->rm), &count);                                               \
        lane_put_to(c, i, i->vex ? i->vvvv : i->rm, &t, bytes);                          \
    }
#define SHIFT(routine, op)                                                               \
    SIMD_KERNEL(routine##_k, op)                                                         \
    SHIFT_KERNEL_Y(routine##_ky, "v" op)                                                 \
    SIMD_FORM(routine##_x, routine##_k, 16, 16)                                          \
    SIMD_FORM(routine##_y, routine##_ky, 32, 16)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)                                     \
    SHIFT_IMM(routine##_i, routine##_k, 16)                                              \
    SHIFT_IMM(routine##_iy, routine##_ky, 32)                                            \
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
    static inline void routine##_k(union lane *ret, const union lane *a,                 \
                                   const union lane *b)                                  \
    {                                                                                    \
        __asm__("vmovups %1, %%xmm0\n\tvmovups %2, %%xmm1\n\t" #routine                  \
                " %%xmm1, %%xmm0, %%xmm0\n\tvmovups %%xmm0, %0"                          \
                : "=m"(*ret)                                                             \
                : "m"(*a), "m"(*b)                                                       \
                : "xmm0", "xmm1");                                                       \
    }                                                                                    \
    SIMD_KERNEL_Y(routine##_ky, #routine)                                                \
    SIMD_FORM(routine##_x, routine##_k, 16, 16)                                          \
    SIMD_FORM(routine##_y, routine##_ky, 32, 32)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

VARIABLE(vpsrlvd)
VARIABLE(vpsrlvq)
VARIABLE(vpsravd)
VARIABLE(vpsllvd)
VARIABLE(vpsllvq)
VARIABLE(vpermilps)
VARIABLE(vpermilpd)
