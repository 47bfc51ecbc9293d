/* fma.c - fused multiply-add (SDM volume 1, 14.5): the host's own, one rounding.
 *
 * The kernel's first source is a pair: VEX.vvvv, then the destination's old value. */
#include "virt/isa/x86/vector/simd.h"

#define FMA_KERNEL(k, op, r)                                                             \
    static uint32_t k(union lane *ret, const union lane *a, const union lane *b,         \
                      uint32_t csr)                                                      \
    {                                                                                    \
        static const uint32_t host = FLOAT_HOST_CSR;                                     \
        uint32_t seen;                                                                   \
                                                                                         \
        __asm__ volatile("ldmxcsr %[csr]\n\tvmovups %[a], %%" r                          \
                         "0\n\tvmovups %[b], %%" r "1\n\tvmovups %[d], %%" r "2\n\t" op  \
                         " %%" r "1, %%" r "0, %%" r "2\n\tvmovups %%" r                 \
                         "2, %[ret]\n\tstmxcsr %[seen]\n\t"                              \
                         "ldmxcsr %[host]\n\tvzeroupper"                                 \
                         : [ret] "=m"(*ret), [seen] "=m"(seen)                           \
                         : [a] "m"(a[0]), [d] "m"(a[1]), [b] "m"(*b), [csr] "m"(csr),    \
                           [host] "m"(host)                                              \
                         : "xmm0", "xmm1", "xmm2");                                      \
        return seen & FLOAT_FLAGS;                                                       \
    }

static inline void run(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                       const union lane *b, unsigned bytes)
{
    union lane t, pair[2];

    pair[0] = *lane_reg(c, i->vvvv);
    pair[1] = *lane_reg(c, i->reg);
    float_run(c, k, &t, pair, b);
    lane_put(c, i, &t, bytes);
}

#define FMA_FORM(f, k, out, mem)                                                         \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        run(c, i, k, lane_reg(c, i->rm), out);                                           \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane s = {0};                                                              \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        run(c, i, k, &s, out);                                                           \
    }

#define PACKED(name)                                                                     \
    FMA_KERNEL(name##_k, #name, "xmm")                                                   \
    FMA_KERNEL(name##_ky, #name, "ymm")                                                  \
    FMA_FORM(name##_x, name##_k, 16, 16)                                                 \
    FMA_FORM(name##_y, name##_ky, 32, 32)                                                \
    SIMD_FAMILY_Y(name, name##_x, name##_y)
#define SCALAR(name, mem)                                                                \
    FMA_KERNEL(name##_k, #name, "xmm")                                                   \
    FMA_FORM(name##_x, name##_k, 16, mem)                                                \
    SIMD_FAMILY(name, name##_x)
#define ALTERNATING(name)                                                                \
    PACKED(name##132ps)                                                                  \
    PACKED(name##132pd)                                                                  \
    PACKED(name##213ps)                                                                  \
    PACKED(name##213pd)                                                                  \
    PACKED(name##231ps)                                                                  \
    PACKED(name##231pd)
#define ALL(name)                                                                        \
    ALTERNATING(name)                                                                    \
    SCALAR(name##132ss, 4)                                                               \
    SCALAR(name##132sd, 8)                                                               \
    SCALAR(name##213ss, 4)                                                               \
    SCALAR(name##213sd, 8)                                                               \
    SCALAR(name##231ss, 4)                                                               \
    SCALAR(name##231sd, 8)

ALL(vfmadd)
ALL(vfmsub)
ALL(vfnmadd)
ALL(vfnmsub)
ALTERNATING(vfmaddsub)
ALTERNATING(vfmsubadd)
