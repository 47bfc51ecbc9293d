/* number.h - the shapes of instructions that MXCSR governs (see float.c).
 *
 * A kernel computes under the host's MXCSR as it is.  Where the guest masks every
 * exception that is the guest's own (X86_LIVE_SSE), and the quick half of a shape runs the
 * kernel straight on registers and memory; everything else is `x86_float_do`.
 *
 *   FLOAT_CODE(k, "addps %[b], %[a]")    k: *ret = addps of *a, *b; `ret` may be a source;
 *                                        k_v: the same of values
 *   FLOAT_CODE_Y(k, bytes, code)         256 bits: ymm0 of ymm0 and `bytes` in ymm1
 *   FLOAT_FORM(f, k, out, mem)           f_r, f_m of a kernel that has k_v
 *   FLOAT_FORM_Y(f, k, mem)              f_r, f_m of a 256-bit kernel
 *   FLOAT_OP, FLOAT_UNARY_OP, FLOAT_SCALAR: the commonest shapes, with families */
#ifndef VIRT_ISA_X86_VECTOR_NUMBER_H
#define VIRT_ISA_X86_VECTOR_NUMBER_H

#include "virt/isa/x86/vector/simd.h"

#define FLOAT_MASKS 0x1f80u
#define FLOAT_FLAGS 0x003fu
#define FLOAT_FTZ   0x8000u
#define FLOAT_OE    0x0008u
#define FLOAT_UE    0x0010u

typedef void float_kernel(union lane *ret, const union lane *a, const void *b);

/* One run of a kernel, with `csr` in the place of the guest's MXCSR. */
struct float_job {
    float_kernel *k;
    const union lane *a;
    const void *b;
    uint32_t csr;
};

/* The exception of these flags, of which one at least is not masked. */
_Noreturn void x86_float_raise(struct x86_cpu *c, uint32_t flags);

/* Run `k` under `csr`, with all exceptions masked; returns the flags it left. */
uint32_t x86_float_under(float_kernel *k, union lane *ret, const union lane *a,
                         const void *b, uint32_t csr);

/* Do a job as the guest's masks ask.  `i`: the instruction, if it is its only job. */
void x86_float_run_as(struct x86_cpu *c, const struct x86_insn *i, union lane *ret,
                      const struct float_job *j);

/* The flags of an instruction that ends by an unmasked overflow or underflow, from those
 * of the job with exceptions masked. */
uint32_t x86_float_kept_back(const struct x86_insn *i, const struct float_job *j,
                             uint32_t flags);

/* Give the host the guest's MXCSR; false: some exception is not masked. */
bool x86_float_enter(struct x86_cpu *c);

/* Run `k` as the guest's MXCSR asks. */
static inline void float_run(struct x86_cpu *c, float_kernel *k, union lane *ret,
                             const union lane *a, const void *b)
{
    if (__builtin_expect((c->ready & X86_LIVE_SSE) != 0, 1) || x86_float_enter(c)) {
        k(ret, a, b);
    } else {
        x86_float_run_as(c, NULL, ret, &(struct float_job){k, a, b, c->r.fpu.mxcsr});
    }
}

/* The whole instruction, in every case: `out` bytes of result, `mem` of the memory
 * operand. */
void x86_float_do(struct x86_cpu *c, const struct x86_insn *i, float_kernel *k,
                  unsigned out, unsigned mem);

/* May the quick half run? */
static inline bool float_is_live(const struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned bits = (i->vex ? X86_MAY_AVX : X86_MAY_SSE) | X86_LIVE_SSE;

    return __builtin_expect((c->ready & bits) == bits, 1);
}

#define FLOAT_OF_VALUES(k)                                                               \
    static inline void k(union lane *ret, const union lane *a, const void *b)            \
    {                                                                                    \
        lane_xmm v = k##_v(lane_get(a, 16), lane_get(b, 16));                            \
                                                                                         \
        memcpy(ret, &v, 16);                                                             \
    }
/* `code` makes %[a] of %[a] and %[b]; volatile, as it depends on MXCSR. */
#define FLOAT_CODE(k, code)                                                              \
    static inline lane_xmm k##_v(lane_xmm a, lane_xmm b)                                 \
    {                                                                                    \
        __asm__ volatile(code : [a] "+x"(a) : [b] "x"(b));                               \
        return a;                                                                        \
    }                                                                                    \
    FLOAT_OF_VALUES(k)
#define FLOAT_UNARY_CODE(k, code)                                                        \
    static inline lane_xmm k##_v(lane_xmm a, lane_xmm b)                                 \
    {                                                                                    \
        __asm__ volatile(code : [a] "=x"(a) : [b] "x"(b));                               \
        return a;                                                                        \
    }                                                                                    \
    FLOAT_OF_VALUES(k)
/* `code` makes ymm0 of ymm0 (a) and ymm1 (b), and leaves zeros above its result. */
#define FLOAT_CODE_Y(k, bytes, code)                                                     \
    static inline void k(union lane *ret, const union lane *a, const void *b)            \
    {                                                                                    \
        __asm__ volatile("vmovups %1, %%ymm0\n\t" SIMD_Y_FROM_##bytes                    \
                         "\n\t" code "\n\tvmovups %%ymm0, %0\n\tvzeroupper"              \
                         : "=m"(*ret)                                                    \
                         : "m"(*a), "m"(*(const struct lane_any *)b)                     \
                         : "xmm0", "xmm1");                                              \
    }

#define FLOAT_FORM(f, k, out, mem)                                                       \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        if (!float_is_live(c, i)) {                                                      \
            x86_float_do(c, i, k, out, mem);                                             \
            return;                                                                      \
        }                                                                                \
        lane_set(                                                                        \
            c, i, i->reg,                                                                \
            k##_v(lane_get(lane_first(c, i), 16), lane_get(lane_reg(c, i->rm), 16)));    \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        const void *p = lane_hit(c, i, mem, (mem) == 16 && !i->vex);                     \
                                                                                         \
        if (!float_is_live(c, i) || __builtin_expect(p == NULL, 0)) {                    \
            x86_float_do(c, i, k, out, mem);                                             \
            return;                                                                      \
        }                                                                                \
        lane_set(c, i, i->reg, k##_v(lane_get(lane_first(c, i), 16), lane_get(p, mem))); \
    }
#define FLOAT_FORM_Y(f, k, mem)                                                          \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        if (!float_is_live(c, i)) {                                                      \
            x86_float_do(c, i, k, 32, mem);                                              \
            return;                                                                      \
        }                                                                                \
        k(lane_reg(c, i->reg), lane_first(c, i), lane_reg(c, i->rm));                    \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        const void *p = lane_hit(c, i, mem, false);                                      \
                                                                                         \
        if (!float_is_live(c, i) || __builtin_expect(p == NULL, 0)) {                    \
            x86_float_do(c, i, k, 32, mem);                                              \
            return;                                                                      \
        }                                                                                \
        k(lane_reg(c, i->reg), lane_first(c, i), p);                                     \
    }

#define FLOAT_OP(routine, op)                                                            \
    FLOAT_CODE(routine##_k, op " %[b], %[a]")                                            \
    FLOAT_CODE_Y(routine##_ky, 32, "v" op " %%ymm1, %%ymm0, %%ymm0")                     \
    FLOAT_FORM(routine##_x, routine##_k, 16, 16)                                         \
    FLOAT_FORM_Y(routine##_y, routine##_ky, 32)                                          \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)
#define FLOAT_UNARY_OP(routine, op)                                                      \
    FLOAT_UNARY_CODE(routine##_k, op " %[b], %[a]")                                      \
    FLOAT_CODE_Y(routine##_ky, 32, "v" op " %%ymm1, %%ymm0")                             \
    FLOAT_FORM(routine##_x, routine##_k, 16, 16)                                         \
    FLOAT_FORM_Y(routine##_y, routine##_ky, 32)                                          \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)
/* Scalars: `mem` is 4 or 8; the rest of the register comes from the first source. */
#define FLOAT_SCALAR(routine, op, mem)                                                   \
    FLOAT_CODE(routine##_k, op " %[b], %[a]")                                            \
    FLOAT_FORM(routine##_x, routine##_k, 16, mem)                                        \
    SIMD_FAMILY(routine, routine##_x)

#endif
