/* simd.h - the shapes of vector instructions, and the macros that make families.
 *
 * A kernel computes one result from two sources with the host's instruction, and
 * knows neither guest nor operands.  A shape fetches the operands, runs the kernel
 * and writes the register.  A family is the shapes of one routine:
 *
 *   SIMD_KERNEL(k, "paddb")      k: *ret = *a paddb *b, 128 bits, legacy encoding; `ret`
 *                                may be a source.  k_v: the same of values
 *   SIMD_KERNEL_Y(k, "vpaddb")   the same of 256 bits, in memory only
 *   SIMD_UNARY(k, "pabsb") ..    ret = pabsb b;  `a` is not looked at
 *   SIMD_FORM(f, k, out, mem)    f_r and f_m: routines with that kernel, `out` bytes
 *                                of result, `mem` bytes of memory operand
 *   SIMD_DIRECT(f, k, mem)       the same, of a kernel that has k_v
 *   SIMD_DIRECT_Y(f, k, mem)     the same, of a kernel that reads no more than `mem` bytes
 *                                of `b`, and may have a source as `ret`
 *   SIMD_FAMILY(routine, f)      x86_do_<routine>: f_r, f_m
 *   SIMD_FAMILY_Y(routine, f, y) also y_r, y_m as the 256-bit forms
 *   SIMD_OP(routine, "paddb")    all of the above for the commonest shape
 *
 * number.h has the same for instructions that MXCSR governs. */
#ifndef VIRT_ISA_X86_VECTOR_SIMD_H
#define VIRT_ISA_X86_VECTOR_SIMD_H

#include "virt/isa/x86/vector/lane.h"

/* The definitions that rows name; declared here so that each is checked. */
#define FAMILY(routine)                                                                  \
    extern const struct x86_family x86_do_##routine;                                     \
    const struct x86_family x86_do_##routine

/* One routine, register and memory form alike, whatever size index is taken. */
#define FAMILY_ONE(routine, r, m)                                                        \
    FAMILY(routine) = {{(r), (r), (r), (r)}, {(m), (m), (m), (m)}}

#define SIMD_FAMILY(routine, f)                                                          \
    FAMILY(routine) = {{f##_r, f##_r, NULL, NULL}, {f##_m, f##_m, NULL, NULL}};
#define SIMD_FAMILY_Y(routine, f, y)                                                     \
    FAMILY(routine) = {{f##_r, y##_r, NULL, NULL}, {f##_m, y##_m, NULL, NULL}};

/* `code` makes %[a] of %[a] and %[b]. */
#define SIMD_CODE(k, code)                                                               \
    static inline lane_xmm k##_v(lane_xmm a, lane_xmm b)                                 \
    {                                                                                    \
        __asm__(code : [a] "+x"(a) : [b] "x"(b));                                        \
        return a;                                                                        \
    }                                                                                    \
    SIMD_OF_VALUES(k)
#define SIMD_KERNEL(k, op) SIMD_CODE(k, op " %[b], %[a]")
#define SIMD_UNARY(k, op)                                                                \
    static inline lane_xmm k##_v(lane_xmm a, lane_xmm b)                                 \
    {                                                                                    \
        __asm__(op " %[b], %[a]" : [a] "=x"(a) : [b] "x"(b));                            \
        return a;                                                                        \
    }                                                                                    \
    SIMD_OF_VALUES(k)
#define SIMD_OF_VALUES(k)                                                                \
    static inline void k(union lane *ret, const union lane *a, const union lane *b)      \
    {                                                                                    \
        lane_xmm v = k##_v(lane_get(a, 16), lane_get(b, 16));                            \
                                                                                         \
        memcpy(ret, &v, 16);                                                             \
    }

/* How much of `b` a 256-bit kernel loads, and where. */
#define SIMD_Y_FROM_32 "vmovups %2, %%ymm1"
#define SIMD_Y_FROM_16 "vmovups %2, %%xmm1"
#define SIMD_Y_FROM_8  "vmovq %2, %%xmm1"
#define SIMD_Y_FROM_4  "vmovd %2, %%xmm1"

/* `code` makes ymm0 of ymm0 (a) and ymm1 (b). */
#define SIMD_CODE_Y(k, bytes, code)                                                      \
    static inline void k(union lane *ret, const union lane *a, const void *b)            \
    {                                                                                    \
        __asm__("vmovups %1, %%ymm0\n\t" SIMD_Y_FROM_##bytes                             \
                "\n\t" code "\n\tvmovups %%ymm0, %0\n\tvzeroupper"                       \
                : "=m"(*ret)                                                             \
                : "m"(*a), "m"(*(const struct lane_any *)b)                              \
                : "xmm0", "xmm1");                                                       \
    }
#define SIMD_KERNEL_Y(k, op) SIMD_CODE_Y(k, 32, op " %%ymm1, %%ymm0, %%ymm0")
#define SIMD_UNARY_Y(k, op)  SIMD_CODE_Y(k, 32, op " %%ymm1, %%ymm0")

#define SIMD_DIRECT(f, k, mem)                                                           \
    static __attribute__((noinline, cold)) void f##_far(struct x86_cpu *c,               \
                                                        const struct x86_insn *i)        \
    {                                                                                    \
        union lane s = {0};                                                              \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        lane_set(c, i, i->reg, k##_v(lane_get(lane_first(c, i), 16), lane_get(&s, 16))); \
    }                                                                                    \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_set(                                                                        \
            c, i, i->reg,                                                                \
            k##_v(lane_get(lane_first(c, i), 16), lane_get(lane_reg(c, i->rm), 16)));    \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        const void *p = lane_hit(c, i, mem, (mem) == 16 && !i->vex);                     \
                                                                                         \
        if (__builtin_expect(p == NULL || !lane_may(c, i), 0)) {                         \
            f##_far(c, i);                                                               \
            return;                                                                      \
        }                                                                                \
        lane_set(c, i, i->reg, k##_v(lane_get(lane_first(c, i), 16), lane_get(p, mem))); \
    }
#define SIMD_DIRECT_Y(f, k, mem)                                                         \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        k(lane_reg(c, i->reg), lane_first(c, i), lane_reg(c, i->rm));                    \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane s;                                                                    \
        const void *p;                                                                   \
                                                                                         \
        lane_need(c, i);                                                                 \
        p = lane_hit(c, i, mem, false);                                                  \
        if (__builtin_expect(p == NULL, 0)) {                                            \
            lane_load(c, i, &s, mem);                                                    \
            p = &s;                                                                      \
        }                                                                                \
        k(lane_reg(c, i->reg), lane_first(c, i), p);                                     \
    }

#define SIMD_FORM(f, k, out, mem)                                                        \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        k(&t, lane_first(c, i), lane_reg(c, i->rm));                                     \
        lane_put(c, i, &t, out);                                                         \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        k(&t, lane_first(c, i), &s);                                                     \
        lane_put(c, i, &t, out);                                                         \
    }

/* With an immediate: the kernel takes it as its fourth argument. */
#define SIMD_FORM_IMM(f, k, out, mem)                                                    \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        k(&t, lane_first(c, i), lane_reg(c, i->rm), (uint8_t)i->imm);                    \
        lane_put(c, i, &t, out);                                                         \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        k(&t, lane_first(c, i), &s, (uint8_t)i->imm);                                    \
        lane_put(c, i, &t, out);                                                         \
    }

/* dst = src1 op src2, memory operand as wide as the register. */
#define SIMD_OP_X(routine, op)                                                           \
    SIMD_KERNEL(routine##_k, op)                                                         \
    SIMD_DIRECT(routine##_x, routine##_k, 16)                                            \
    SIMD_FAMILY(routine, routine##_x)
#define SIMD_OP(routine, op)                                                             \
    SIMD_KERNEL(routine##_k, op)                                                         \
    SIMD_KERNEL_Y(routine##_ky, "v" op)                                                  \
    SIMD_DIRECT(routine##_x, routine##_k, 16)                                            \
    SIMD_DIRECT_Y(routine##_y, routine##_ky, 32)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

#endif
