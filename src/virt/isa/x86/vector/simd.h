/* simd.h - the shapes of vector instructions, and the macros that make families.
 *
 * A kernel computes one result from two sources with the host's instruction, and
 * knows neither guest nor operands.  A shape fetches the operands, runs the kernel
 * and writes the register.  A family is the shapes of one routine:
 *
 *   SIMD_KERNEL(k, "paddb")      k: ret = a paddb b, 128 bits, legacy encoding
 *   SIMD_KERNEL_Y(k, "vpaddb")   the same of 256 bits
 *   SIMD_UNARY(k, "pabsb") ..    ret = pabsb b;  `a` is not looked at
 *   SIMD_FORM(f, k, out, mem)    f_r and f_m: routines with that kernel, `out` bytes
 *                                of result, `mem` bytes of memory operand
 *   SIMD_FAMILY(routine, f)      x86_do_<routine>: f_r, f_m
 *   SIMD_FAMILY_Y(routine, f, y) also y_r, y_m as the 256-bit forms
 *   SIMD_OP(routine, "paddb")    all of the above for the commonest shape
 *
 * FLOAT_... are the same for instructions that MXCSR governs; float.c says how. */
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

#define SIMD_KERNEL(k, op)                                                               \
    static inline void k(union lane *ret, const union lane *a, const union lane *b)      \
    {                                                                                    \
        __asm__("movups %1, %%xmm0\n\tmovups %2, %%xmm1\n\t" op " %%xmm1, %%xmm0\n\t"    \
                "movups %%xmm0, %0"                                                      \
                : "=m"(*ret)                                                             \
                : "m"(*a), "m"(*b)                                                       \
                : "xmm0", "xmm1");                                                       \
    }
#define SIMD_UNARY(k, op)                                                                \
    static inline void k(union lane *ret, const union lane *a, const union lane *b)      \
    {                                                                                    \
        (void)a;                                                                         \
        __asm__("movups %1, %%xmm1\n\t" op " %%xmm1, %%xmm0\n\tmovups %%xmm0, %0"        \
                : "=m"(*ret)                                                             \
                : "m"(*b)                                                                \
                : "xmm0", "xmm1");                                                       \
    }
#define SIMD_KERNEL_Y(k, op)                                                             \
    static inline void k(union lane *ret, const union lane *a, const union lane *b)      \
    {                                                                                    \
        __asm__("vmovups %1, %%ymm0\n\tvmovups %2, %%ymm1\n\t" op                        \
                " %%ymm1, %%ymm0, %%ymm0\n\tvmovups %%ymm0, %0\n\tvzeroupper"            \
                : "=m"(*ret)                                                             \
                : "m"(*a), "m"(*b)                                                       \
                : "xmm0", "xmm1");                                                       \
    }
/* `source` is the name of the source register: ymm1, or xmm1 where it is half. */
#define SIMD_UNARY_Y(k, op, source)                                                      \
    static inline void k(union lane *ret, const union lane *a, const union lane *b)      \
    {                                                                                    \
        (void)a;                                                                         \
        __asm__("vmovups %1, %%ymm1\n\t" op " %%" source ", %%ymm0\n\t"                  \
                "vmovups %%ymm0, %0\n\tvzeroupper"                                       \
                : "=m"(*ret)                                                             \
                : "m"(*b)                                                                \
                : "xmm0", "xmm1");                                                       \
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
    SIMD_FORM(routine##_x, routine##_k, 16, 16)                                          \
    SIMD_FAMILY(routine, routine##_x)
#define SIMD_OP(routine, op)                                                             \
    SIMD_KERNEL(routine##_k, op)                                                         \
    SIMD_KERNEL_Y(routine##_ky, "v" op)                                                  \
    SIMD_FORM(routine##_x, routine##_k, 16, 16)                                          \
    SIMD_FORM(routine##_y, routine##_ky, 32, 32)                                         \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

#define FLOAT_HOST_CSR 0x1f80u /* what the ABI starts with, and this program keeps */
#define FLOAT_MASKS    0x1f80u
#define FLOAT_FLAGS    0x003fu
#define FLOAT_FTZ      0x8000u

/* Runs under `csr` and returns the flags it left. */
typedef uint32_t float_kernel(union lane *ret, const union lane *a, const union lane *b,
                              uint32_t csr);

/* `code` computes xmm0 from xmm0 (a) and xmm1 (b); `bits` is x or y. */
#define FLOAT_KERNEL_AS(k, load, code, store, after)                                     \
    static uint32_t k(union lane *ret, const union lane *a, const union lane *b,         \
                      uint32_t csr)                                                      \
    {                                                                                    \
        static const uint32_t host = FLOAT_HOST_CSR;                                     \
        uint32_t seen;                                                                   \
                                                                                         \
        __asm__ volatile("ldmxcsr %[csr]\n\t" load code "\n\t" store                     \
                         "stmxcsr %[seen]\n\tldmxcsr %[host]" after                      \
                         : [ret] "=m"(*ret), [seen] "=m"(seen)                           \
                         : [a] "m"(*a), [b] "m"(*b), [csr] "m"(csr), [host] "m"(host)    \
                         : "xmm0", "xmm1", "xmm2");                                      \
        return seen & FLOAT_FLAGS;                                                       \
    }
#define FLOAT_CODE(k, code)                                                              \
    FLOAT_KERNEL_AS(k, "movups %[a], %%xmm0\n\tmovups %[b], %%xmm1\n\t", code,           \
                    "movups %%xmm0, %[ret]\n\t", "")
#define FLOAT_CODE_Y(k, code)                                                            \
    FLOAT_KERNEL_AS(k, "vmovups %[a], %%ymm0\n\tvmovups %[b], %%ymm1\n\t", code,         \
                    "vmovups %%ymm0, %[ret]\n\t", "\n\tvzeroupper")
#define FLOAT_KERNEL(k, op)   FLOAT_CODE(k, op " %%xmm1, %%xmm0")
#define FLOAT_KERNEL_Y(k, op) FLOAT_CODE_Y(k, op " %%ymm1, %%ymm0, %%ymm0")
#define FLOAT_UNARY_Y(k, op)  FLOAT_CODE_Y(k, op " %%ymm1, %%ymm0")

/* The exception of these flags, of which one at least is not masked. */
_Noreturn void x86_float_raise(struct x86_cpu *c, uint32_t flags);

/* Some exception is not masked: raise it, or return the flags to set. */
uint32_t x86_float_unmasked(struct x86_cpu *c, float_kernel *k, const union lane *a,
                            const union lane *b, uint32_t csr, uint32_t flags);

/* Run `k` as the guest's MXCSR asks, with `csr` in its place for rounding. */
static inline void float_run_as(struct x86_cpu *c, float_kernel *k, union lane *ret,
                                const union lane *a, const union lane *b, uint32_t csr)
{
    if ((csr & FLOAT_MASKS) == FLOAT_MASKS) {
        /* With the guest's flags: setting one anew is what costs. */
        c->r.fpu.mxcsr |= k(ret, a, b, csr);
    } else {
        uint32_t flags = k(ret, a, b, (csr & ~FLOAT_FLAGS) | FLOAT_MASKS);

        c->r.fpu.mxcsr |= x86_float_unmasked(c, k, a, b, csr, flags);
    }
}

static inline void float_run(struct x86_cpu *c, float_kernel *k, union lane *ret,
                             const union lane *a, const union lane *b)
{
    float_run_as(c, k, ret, a, b, c->r.fpu.mxcsr);
}

#define FLOAT_FORM(f, k, out, mem)                                                       \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        float_run(c, k, &t, lane_first(c, i), lane_reg(c, i->rm));                       \
        lane_put(c, i, &t, out);                                                         \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane t, s = {0};                                                           \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, mem);                                                        \
        float_run(c, k, &t, lane_first(c, i), &s);                                       \
        lane_put(c, i, &t, out);                                                         \
    }

#define FLOAT_OP(routine, op)                                                            \
    FLOAT_KERNEL(routine##_k, op)                                                        \
    FLOAT_KERNEL_Y(routine##_ky, "v" op)                                                 \
    FLOAT_FORM(routine##_x, routine##_k, 16, 16)                                         \
    FLOAT_FORM(routine##_y, routine##_ky, 32, 32)                                        \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)
#define FLOAT_UNARY_OP(routine, op)                                                      \
    FLOAT_KERNEL(routine##_k, op)                                                        \
    FLOAT_UNARY_Y(routine##_ky, "v" op)                                                  \
    FLOAT_FORM(routine##_x, routine##_k, 16, 16)                                         \
    FLOAT_FORM(routine##_y, routine##_ky, 32, 32)                                        \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)
/* Scalars: `mem` is 4 or 8; the rest of the register comes from the first source. */
#define FLOAT_SCALAR(routine, op, mem)                                                   \
    FLOAT_KERNEL(routine##_k, op)                                                        \
    FLOAT_FORM(routine##_x, routine##_k, 16, mem)                                        \
    SIMD_FAMILY(routine, routine##_x)

#endif
