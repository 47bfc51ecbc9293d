/* x87_arith.c - FADD to FDIVR in all operand forms, and the functions of ST0 and ST1
 * (SDM volume 1, 8.3.5 to 8.3.8). */
#include "virt/isa/x86/vector/x87.h"

static bool is_nan(const struct x87_value *v)
{
    return (v->b[9] & 0x7f) == 0x7f && v->b[8] == 0xff &&
           ((v->b[7] & 0x7f) != 0 || memcmp(v->b, x86_x87_indefinite.b, 7) != 0);
}

/* Kinds of stack operations. */
#define POPS  1u
#define ALONE 2u /* the flags of this operation matter, or the host's stack is lost */

/* ST(dst) = kernel(ST(a), ST(b)). */
static inline void stack_op(struct x86_cpu *c, const struct x86_insn *i, x87_kernel *k,
                            const unsigned at[3], unsigned kind, unsigned conditions)
{
    bool alone = (kind & ALONE) != 0;
    struct x87_value t = x86_x87_indefinite;

    if (alone) {
        x87_begin_alone(c);
    } else {
        x87_begin(c);
    }
    if (x87_empty(c, at[1]) || x87_empty(c, at[2])) {
        if (!x87_note(c, i, X87_IE | X87_SF, conditions & (X87_C1 | X87_C2))) {
            return;
        }
    } else {
        uint16_t sw = k(c, &t, x87_st(c, at[1]), x87_st(c, at[2]));

        if ((sw & (X87_IE | (X87_BEFORE & ~c->r.fpu.fcw))) != 0 || is_nan(&t)) {
            /* no quotient */
            conditions &= X87_C1 | X87_C2;
        }
        if (!x87_note(c, i, sw, conditions)) {
            return;
        }
    }
    x87_set(c, at[0], &t);
    if ((kind & POPS) != 0) {
        x87_pop(c);
    }
}

static inline void memory_op(struct x86_cpu *c, const struct x86_insn *i, x87_kernel *k,
                             unsigned bytes)
{
    struct x87_value t = x86_x87_indefinite;
    union lane s = {0};

    x87_begin(c);
    lane_load(c, i, &s, bytes);
    if (x87_empty(c, 0)) {
        if (!x87_stack_fault(c, i, false)) {
            return;
        }
    } else {
        uint16_t sw = k(c, &t, x87_st(c, 0), &s);

        if (!x87_note(c, i, sw, X87_C1)) {
            return;
        }
    }
    x87_set(c, 0, &t);
}

/* `st`: ST0 = ST0 op STi; `to`: STi = STi op ST0, or with a pop. */
#define STACK_OP(routine, k, dst, first, second, kind)                                   \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        unsigned n = i->rm & 7;                                                          \
                                                                                         \
        (void)n;                                                                         \
        stack_op(c, i, k, (const unsigned[]){dst, first, second}, kind, X87_C1);         \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, NULL);
#define MEMORY_OP(routine, op, bytes)                                                    \
    X87_MEMORY(routine##_k, op)                                                          \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        memory_op(c, i, routine##_k, bytes);                                             \
    }                                                                                    \
    FAMILY_ONE(routine, NULL, routine##_f);
#define ARITH(name, integer, op)                                                         \
    X87_BINARY(name##_k, op " %%st(1), %%st", X87_DROP)                                  \
    STACK_OP(name##_st, name##_k, 0, 0, n, 0)                                            \
    STACK_OP(name##_to, name##_k, n, n, 0, 0)                                            \
    STACK_OP(name##p, name##_k, n, n, 0, POPS)                                           \
    MEMORY_OP(name##_f32, #name "s", 4)                                                  \
    MEMORY_OP(name##_f64, #name "l", 8)                                                  \
    MEMORY_OP(integer##_i32, #integer "l", 4)                                            \
    MEMORY_OP(integer##_i16, #integer "s", 2)

ARITH(fadd, fiadd, "fadd")
ARITH(fmul, fimul, "fmul")
ARITH(fsub, fisub, "fsub")
ARITH(fsubr, fisubr, "fsubr")
ARITH(fdiv, fidiv, "fdiv")
ARITH(fdivr, fidivr, "fdivr")

/* One operand, in place. */
#define UNARY(name, conditions)                                                          \
    X87_UNARY(name##_k, #name)                                                           \
    static void name##_f(struct x86_cpu *c, const struct x86_insn *i)                    \
    {                                                                                    \
        stack_op(c, i, name##_k, (const unsigned[]){0, 0, 0}, 0, conditions);            \
    }                                                                                    \
    FAMILY_ONE(name, name##_f, NULL);

UNARY(fsqrt, X87_C1)
UNARY(frndint, X87_C1)
UNARY(f2xm1, X87_C1)
UNARY(fsin, X87_C1 | X87_C2)
UNARY(fcos, X87_C1 | X87_C2)
UNARY(fchs, X87_C1)
UNARY(fabs, X87_C1)

/* ST0 by ST1, in place; the remainders leave the quotient's low bits in C0, C3, C1. */
#define PAIR(name, dst, drop, kind, conditions)                                          \
    X87_BINARY(name##_k, #name, drop)                                                    \
    static void name##_f(struct x86_cpu *c, const struct x86_insn *i)                    \
    {                                                                                    \
        stack_op(c, i, name##_k, (const unsigned[]){dst, 0, 1}, kind, conditions);       \
    }                                                                                    \
    FAMILY_ONE(name, name##_f, NULL);

PAIR(fprem, 0, X87_DROP, ALONE, X87_ORDER | X87_C1)
PAIR(fprem1, 0, X87_DROP, ALONE, X87_ORDER | X87_C1)
PAIR(fscale, 0, X87_DROP, 0, X87_C1)

/* These pop; unless an exception stopped them, and then two values are left: the
 * kernel begins the host's unit anew. */
#define PAIR_POP(name) PAIR(name, 1, "\n\tfninit", POPS | ALONE, X87_C1)

PAIR_POP(fpatan)
PAIR_POP(fyl2x)
PAIR_POP(fyl2xp1)

/* FPTAN, FSINCOS, FXTRACT: replace ST0 and push a second result; without the push
 * where the operand is out of range (C2). */
#define TWO_RESULTS(k, op)                                                               \
    static uint16_t k(struct x87_value ret[2], const struct x87_value *a, uint16_t cw)   \
    {                                                                                    \
        uint16_t sw;                                                                     \
                                                                                         \
        __asm__ volatile("fninit\n\tfldt %[a]\n\tfldcw %[cw]\n\t" op                     \
                         "\n\tfnstsw %[sw]\n\tfnclex\n\tfldcw %[host]\n\t"               \
                         "fstpt %[first]\n\tfstpt %[second]\n\tfninit"                   \
                         : [first] "=m"(ret[0]), [second] "=m"(ret[1]), [sw] "=m"(sw)    \
                         : [a] "m"(*a), [cw] "m"(cw), [host] "m"(host_cw)                \
                         : "memory");                                                    \
        return sw;                                                                       \
    }

static const uint16_t host_cw = X87_HOST_CW;
typedef uint16_t two_kernel(struct x87_value ret[2], const struct x87_value *a,
                            uint16_t cw);

static inline void two_results(struct x86_cpu *c, const struct x86_insn *i, two_kernel *k,
                               unsigned conditions)
{
    struct x87_value t[2] = {x86_x87_indefinite, x86_x87_indefinite};
    bool pushes = true;

    x87_begin_alone(c);
    if (x87_empty(c, 0) || !x87_empty(c, 7)) {
        if (!x87_note(c, i, X87_IE | X87_SF | (x87_empty(c, 0) ? 0 : X87_C1),
                      conditions)) {
            return;
        }
    } else {
        uint16_t sw = k(t, x87_st(c, 0), c->r.fpu.fcw);

        if (!x87_note(c, i, sw, conditions)) {
            return;
        }
        pushes = (sw & X87_TOP) == 6u << 11;
    }
    if (pushes) {
        x87_set(c, 0, &t[1]);
        x87_push(c, &t[0]);
    }
}

#define TWO(name, conditions)                                                            \
    TWO_RESULTS(name##_k, #name)                                                         \
    static void name##_f(struct x86_cpu *c, const struct x86_insn *i)                    \
    {                                                                                    \
        two_results(c, i, name##_k, conditions);                                         \
    }                                                                                    \
    FAMILY_ONE(name, name##_f, NULL);

TWO(fptan, X87_C1 | X87_C2)
TWO(fsincos, X87_C1 | X87_C2)
TWO(fxtract, X87_C1)
