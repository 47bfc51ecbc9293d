/* x87.h - the x87 unit: its stack, its exceptions, and the kernels that compute.
 *
 * The stack (TOP, tags) is kept here in C; numbers are computed by the host's own x87
 * instruction on operands loaded for it, under the guest's control word as it is, with
 * its unmasked exceptions.  That is safe because x87 exceptions wait: the kernel reads
 * the status word and clears it before the next instruction that would trap.
 *
 * While the guest masks every exception the host's control word stays the guest's from
 * one instruction to the next (X86_LIVE_X87), and the host's flags are not cleared: its
 * status word then has the flags of every operation since, all of which the guest's
 * (sticky) status word has too.  What needs the flags of one operation alone begins with
 * `x87_begin_alone`.  Otherwise kernels leave the host's flags clear and its control word
 * at X87_HOST_CW, which is the ABI's.  The host's register stack is empty between kernels. */
#ifndef VIRT_ISA_X86_VECTOR_X87_H
#define VIRT_ISA_X86_VECTOR_X87_H

#include "virt/isa/x86/vector/simd.h"

#define X87_HOST_CW 0x037f

#define X87_IE     0x0001u
#define X87_DE     0x0002u
#define X87_ZE     0x0004u
#define X87_OE     0x0008u
#define X87_UE     0x0010u
#define X87_PE     0x0020u
#define X87_FLAGS  0x003fu
#define X87_SF     0x0040u
#define X87_ES     0x0080u
#define X87_C0     0x0100u
#define X87_C1     0x0200u
#define X87_C2     0x0400u
#define X87_C3     0x4000u
#define X87_BUSY   0x8000u
#define X87_TOP    0x3800u
#define X87_ORDER  (X87_C0 | X87_C2 | X87_C3)
#define X87_BEFORE (X87_IE | X87_DE | X87_ZE) /* found before computing */

struct x87_value {
    uint8_t b[16]; /* 10 are used */
};

/* The real indefinite (SDM volume 1, table 4-3). */
extern const struct x87_value x86_x87_indefinite;

static inline unsigned x87_at(const struct x86_cpu *c, unsigned n)
{
    return ((unsigned)(c->r.fpu.fsw >> 11) + n) & 7;
}

static inline struct x87_value *x87_st(struct x86_cpu *c, unsigned n)
{
    return (struct x87_value *)c->r.fpu.st[x87_at(c, n)];
}

static inline bool x87_empty(const struct x86_cpu *c, unsigned n)
{
    return (c->r.fpu.ftw >> x87_at(c, n) & 1) == 0;
}

static inline void x87_turn(struct x86_cpu *c, unsigned by)
{
    c->r.fpu.fsw = (uint16_t)((c->r.fpu.fsw & ~X87_TOP) | x87_at(c, by) << 11);
}

static inline void x87_set(struct x86_cpu *c, unsigned n, const struct x87_value *v)
{
    memcpy(x87_st(c, n), v, 10);
    c->r.fpu.ftw |= (uint8_t)(1u << x87_at(c, n));
}

static inline void x87_free(struct x86_cpu *c, unsigned n)
{
    c->r.fpu.ftw &= (uint8_t) ~(1u << x87_at(c, n));
}

static inline void x87_pop(struct x86_cpu *c)
{
    x87_free(c, 0);
    x87_turn(c, 1);
}

static inline void x87_push(struct x86_cpu *c, const struct x87_value *v)
{
    x87_turn(c, 7);
    x87_set(c, 0, v);
}

/* Waiting instructions: #NM, then #MF of an earlier one. */
void x86_x87_begin(struct x86_cpu *c);

static inline bool x87_is_live(const struct x86_cpu *c)
{
    return __builtin_expect((c->ready & X86_LIVE_X87) != 0, 1);
}

/* The same; makes the host's unit the guest's if the masks allow. */
static inline void x87_begin(struct x86_cpu *c)
{
    if (!x87_is_live(c)) {
        x86_x87_begin(c);
    }
}

/* The same, for kernels that need the host's unit as the host has it. */
static inline void x87_begin_alone(struct x86_cpu *c)
{
    x87_begin(c);
    x86_settle(c);
}

/* Instructions that do not wait: #NM only. */
void x86_x87_begin_control(struct x86_cpu *c);

/* ES and B follow from flags and masks. */
void x86_x87_summarise(struct x86_cpu *c);

/* An unmasked exception of `i` is about to be recorded: FOP and FDP. */
void x86_x87_blame(struct x86_cpu *c, const struct x86_insn *i);

/* Remember where the last instruction was; after its last access. */
static inline void x87_mark(struct x86_cpu *c)
{
    c->r.fpu.fip = c->r.gpr[X86_RIP];
}

/* Record the flags of an operation, with its condition bits among `conditions`.
 * False: an unmasked exception from before computing leaves stack and operands. */
static inline bool x87_note(struct x86_cpu *c, const struct x86_insn *i, unsigned sw,
                            unsigned conditions)
{
    unsigned raised = sw & X87_FLAGS & ~(unsigned)c->r.fpu.fcw;

    x87_mark(c);
    if (raised != 0) {
        x86_x87_blame(c, i);
    }
    c->r.fpu.fsw = (uint16_t)((c->r.fpu.fsw & ~conditions) |
                              (sw & (conditions | X87_FLAGS | X87_SF)));
    if (raised != 0) {
        c->r.fpu.fsw |= X87_ES | X87_BUSY;
    }
    return (raised & X87_BEFORE) == 0;
}

/* Stack underflow (`over` false) or overflow.  True: masked, go on with the real
 * indefinite. */
static inline bool x87_stack_fault(struct x86_cpu *c, const struct x86_insn *i, bool over)
{
    return x87_note(c, i, X87_IE | X87_SF | (over ? X87_C1 : 0), X87_C1);
}

/* Kernels.  `b` is what stands in ST1, or the bytes of a memory operand. */
typedef uint16_t x87_kernel(const struct x86_cpu *c, struct x87_value *ret,
                            const struct x87_value *a, const void *b);

/* Loads, the operation, and how its result leaves the host's stack; `ret`, `a`, `b` are
 * what the kernel has.  C code of ours may have left exceptions behind: where the unit is
 * not the guest's, they are cleared. */
#define X87_BODY(load, op, leave)                                                        \
    static const uint16_t host = X87_HOST_CW;                                            \
    uint16_t sw;                                                                         \
                                                                                         \
    if (x87_is_live(c)) {                                                                \
        __asm__ volatile(load op "\n\tfnstsw %[sw]\n\t" leave                            \
                         : [ret] "=m"(*ret), [sw] "=a"(sw)                               \
                         : [a] "m"(*a), [b] "m"(*(const struct x87_value *)b)            \
                         : "memory");                                                    \
        return sw;                                                                       \
    }                                                                                    \
    __asm__ volatile("fnclex\n\t" load "fldcw %[cw]\n\t" op "\n\tfnstsw %[sw]\n\t"       \
                     "fnclex\n\tfldcw %[host]\n\t" leave                                 \
                     : [ret] "=m"(*ret), [sw] "=a"(sw)                                   \
                     : [a] "m"(*a), [b] "m"(*(const struct x87_value *)b),               \
                       [cw] "m"(c->r.fpu.fcw), [host] "m"(host)                          \
                     : "memory");                                                        \
    return sw;

#define X87_KERNEL(k, load, op, leave)                                                   \
    static inline uint16_t k(const struct x86_cpu *c, struct x87_value *ret,             \
                             const struct x87_value *a, const void *b)                   \
    {                                                                                    \
        X87_BODY(load, op, leave)                                                        \
    }
/* ST0 = a, ST1 = b; `drop`: values stand under the result. */
#define X87_BINARY(k, op, drop)                                                          \
    X87_KERNEL(k, "fldt %[b]\n\tfldt %[a]\n\t", op, "fstpt %[ret]" drop)
#define X87_MEMORY(k, op) X87_KERNEL(k, "fldt %[a]\n\t", op " %[b]", "fstpt %[ret]")
#define X87_UNARY(k, op)  X87_KERNEL(k, "fldt %[a]\n\t", op, "fstpt %[ret]")
/* No result but the status word. */
#define X87_COMPARE(k, op)                                                               \
    X87_KERNEL(k, "fldt %[b]\n\tfldt %[a]\n\t", op, "fstp %%st(0)" X87_DROP)
#define X87_COMPARE_MEMORY(k, op)                                                        \
    X87_KERNEL(k, "fldt %[a]\n\t", op " %[b]", "fstp %%st(0)")
#define X87_EXAMINE(k, op) X87_KERNEL(k, "fldt %[a]\n\t", op, "fstp %%st(0)")

#define X87_DROP "\n\tfstp %%st(0)"

#endif
