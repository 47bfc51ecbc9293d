/* fma.c - fused multiply-add (SDM volume 1, 14.5): the host's own, one rounding.
 *
 * A kernel that may be run in any way has a pair as its first source: VEX.vvvv, then the
 * destination's old value.  The quick half has the destination itself in its place. */
#include "virt/isa/x86/vector/number.h"

#define FMA_LOAD_32 "vmovups %[b], %%ymm1"
#define FMA_LOAD_16 "vmovups %[b], %%xmm1"
#define FMA_LOAD_8  "vmovsd %[b], %%xmm1"
#define FMA_LOAD_4  "vmovss %[b], %%xmm1"

/* k_at: *d = op of *d, *v and the `bytes` of *b.  128-bit forms clear the rest. */
#define FMA_KERNEL(k, op, r, bytes)                                                      \
    static inline void k##_at(union lane *ret, const union lane *d, const union lane *v, \
                              const void *b)                                             \
    {                                                                                    \
        __asm__ volatile(                                                                \
            "vmovups %[v], %%" r "0\n\t" FMA_LOAD_##bytes                                \
            "\n\tvmovups %[d], %%" r "2\n\t" op " %%" r "1, %%" r "0, %%" r              \
            "2\n\tvmovups %%ymm2, %[ret]\n\tvzeroupper"                                  \
            : [ret] "=m"(*ret)                                                           \
            : [v] "m"(*v), [d] "m"(*d), [b] "m"(*(const struct lane_any *)b)             \
            : "xmm0", "xmm1", "xmm2");                                                   \
    }                                                                                    \
    static void k(union lane *ret, const union lane *a, const void *b)                   \
    {                                                                                    \
        k##_at(ret, &a[1], &a[0], b);                                                    \
    }

/* In every case. */
static void run(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                unsigned mem)
{
    const void *b = lane_reg(c, i->rm);
    union lane t, pair[2], s = {0};

    lane_need(c, i);
    if (i->is_memory) {
        lane_load(c, i, &s, mem);
        b = &s;
    }
    pair[0] = *lane_reg(c, i->vvvv);
    pair[1] = *lane_reg(c, i->reg);
    float_run(c, k, &t, pair, b);
    lane_put(c, i, &t, 32);
}

#define FMA_FORM(f, k, mem)                                                              \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        if (!float_is_live(c, i)) {                                                      \
            run(c, i, k, mem);                                                           \
            return;                                                                      \
        }                                                                                \
        k##_at(lane_reg(c, i->reg), lane_reg(c, i->reg), lane_reg(c, i->vvvv),           \
               lane_reg(c, i->rm));                                                      \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        const void *p = lane_hit(c, i, mem, false);                                      \
                                                                                         \
        if (!float_is_live(c, i) || __builtin_expect(p == NULL, 0)) {                    \
            run(c, i, k, mem);                                                           \
            return;                                                                      \
        }                                                                                \
        k##_at(lane_reg(c, i->reg), lane_reg(c, i->reg), lane_reg(c, i->vvvv), p);       \
    }

#define PACKED(name)                                                                     \
    FMA_KERNEL(name##_k, #name, "xmm", 16)                                               \
    FMA_KERNEL(name##_ky, #name, "ymm", 32)                                              \
    FMA_FORM(name##_x, name##_k, 16)                                                     \
    FMA_FORM(name##_y, name##_ky, 32)                                                    \
    SIMD_FAMILY_Y(name, name##_x, name##_y)
#define SCALAR(name, mem)                                                                \
    FMA_KERNEL(name##_k, #name, "xmm", mem)                                              \
    FMA_FORM(name##_x, name##_k, mem)                                                    \
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
