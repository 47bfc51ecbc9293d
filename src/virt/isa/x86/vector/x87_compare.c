/* x87_compare.c - FCOM, FUCOM, FTST, FXAM and those that set EFLAGS (SDM volume 1,
 * 8.3.6). */
#include "virt/isa/x86/vector/x87.h"

/* What a comparison found: C0, C2, C3, or ZF, PF, CF in the low bytes of `ret`. */
static inline void settle(struct x86_cpu *c, const struct x86_insn *i, bool has_operands,
                          uint16_t sw, unsigned pops)
{
    if (!has_operands) {
        sw = X87_IE | X87_SF | X87_ORDER;
    }
    if (!x87_note(c, i, sw, X87_ORDER | X87_C1)) {
        return;
    }
    for (unsigned n = 0; n < pops; n++) {
        x87_pop(c);
    }
}

static inline void compare(struct x86_cpu *c, const struct x86_insn *i, x87_kernel *k,
                           unsigned n, unsigned pops)
{
    struct x87_value t;
    bool has = !x87_empty(c, 0) && !x87_empty(c, n);
    uint16_t sw = 0;

    x87_begin(c);
    if (has) {
        sw = k(c, &t, x87_st(c, 0), x87_st(c, n));
    }
    settle(c, i, has, sw, pops);
}

static inline void compare_memory(struct x86_cpu *c, const struct x86_insn *i,
                                  x87_kernel *k, unsigned bytes, unsigned pops)
{
    struct x87_value t;
    union lane s = {0};
    uint16_t sw = 0;

    x87_begin(c);
    lane_load(c, i, &s, bytes);
    if (!x87_empty(c, 0)) {
        sw = k(c, &t, x87_st(c, 0), &s);
    }
    settle(c, i, !x87_empty(c, 0), sw, pops);
}

X87_COMPARE(fcom_k, "fcom %%st(1)")
X87_COMPARE(fucom_k, "fucom %%st(1)")

#define COMPARE(routine, k, n, pops)                                                     \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        compare(c, i, k, n, pops);                                                       \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, NULL);

COMPARE(fcom, fcom_k, i->rm & 7, 0)
COMPARE(fcomp, fcom_k, i->rm & 7, 1)
COMPARE(fcompp, fcom_k, 1, 2)
COMPARE(fucom, fucom_k, i->rm & 7, 0)
COMPARE(fucomp, fucom_k, i->rm & 7, 1)
COMPARE(fucompp, fucom_k, 1, 2)

X87_EXAMINE(ftst_k, "ftst")
COMPARE(ftst, ftst_k, 0, 0)

#define COMPARE_MEMORY(name, integer)                                                    \
    X87_COMPARE_MEMORY(name##_f32_k, #name "s")                                          \
    X87_COMPARE_MEMORY(name##_f64_k, #name "l")                                          \
    X87_COMPARE_MEMORY(integer##_i32_k, #integer "l")                                    \
    X87_COMPARE_MEMORY(integer##_i16_k, #integer "s")

#define MEMORY(routine, k, bytes, pops)                                                  \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        compare_memory(c, i, k, bytes, pops);                                            \
    }                                                                                    \
    FAMILY_ONE(routine, NULL, routine##_f);

COMPARE_MEMORY(fcom, ficom)
MEMORY(fcom_f32, fcom_f32_k, 4, 0)
MEMORY(fcom_f64, fcom_f64_k, 8, 0)
MEMORY(ficom_i32, ficom_i32_k, 4, 0)
MEMORY(ficom_i16, ficom_i16_k, 2, 0)
MEMORY(fcomp_f32, fcom_f32_k, 4, 1)
MEMORY(fcomp_f64, fcom_f64_k, 8, 1)
MEMORY(ficomp_i32, ficom_i32_k, 4, 1)
MEMORY(ficomp_i16, ficom_i16_k, 2, 1)

/* FXAM: what kind of value ST0 is; C1 is its sign, also of an empty register. */
X87_EXAMINE(fxam_k, "fxam")

static void fxam_f(struct x86_cpu *c, const struct x86_insn *i)
{
    struct x87_value t;
    uint16_t sw;

    x87_begin(c);
    sw = fxam_k(c, &t, x87_st(c, 0), x87_st(c, 0));
    if (x87_empty(c, 0)) {
        sw = (uint16_t)((sw & X87_C1) | X87_C3 | X87_C0);
    }
    (void)x87_note(c, i, sw, X87_ORDER | X87_C1);
}

FAMILY_ONE(fxam, fxam_f, NULL);

/* FCOMI and its kin: ZF, PF, CF like COMISS; OF, SF, AF are cleared. */
struct order {
    bool zero, parity, carry;
};

#define TO_FLAGS(k, op)                                                                  \
    static uint16_t k(const struct x86_cpu *c, struct order *ret,                        \
                      const struct x87_value *a, const struct x87_value *b)              \
    {                                                                                    \
        static const uint16_t host = X87_HOST_CW;                                        \
        uint16_t sw;                                                                     \
                                                                                         \
        if (x87_is_live(c)) {                                                            \
            __asm__ volatile("fldt %[b]\n\tfldt %[a]\n\t" op                             \
                             " %%st(1), %%st\n\tfnstsw %[sw]\n\tfstp %%st(0)" X87_DROP   \
                             : "=@ccz"(ret->zero), "=@ccp"(ret->parity),                 \
                               "=@ccc"(ret->carry), [sw] "=a"(sw)                        \
                             : [a] "m"(*a), [b] "m"(*b));                                \
            return sw;                                                                   \
        }                                                                                \
        __asm__ volatile(                                                                \
            "fnclex\n\tfldt %[b]\n\tfldt %[a]\n\tfldcw %[cw]\n\t" op                     \
            " %%st(1), %%st\n\tfnstsw %[sw]\n\tfnclex\n\t"                               \
            "fldcw %[host]\n\tfstp %%st(0)" X87_DROP                                     \
            : "=@ccz"(ret->zero), "=@ccp"(ret->parity),                                  \
              "=@ccc"(ret->carry), [sw] "=a"(sw)                                         \
            : [a] "m"(*a), [b] "m"(*b), [cw] "m"(c->r.fpu.fcw), [host] "m"(host));       \
        return sw;                                                                       \
    }
typedef uint16_t flags_kernel(const struct x86_cpu *c, struct order *ret,
                              const struct x87_value *a, const struct x87_value *b);

static inline void compare_flags(struct x86_cpu *c, const struct x86_insn *i,
                                 flags_kernel *k, bool pops)
{
    unsigned n = i->rm & 7;
    struct order t = {true, true, true};
    bool goes_on;

    x87_begin(c);
    if (x87_empty(c, 0) || x87_empty(c, n)) {
        goes_on = x87_stack_fault(c, i, false);
    } else {
        goes_on = x87_note(c, i, k(c, &t, x87_st(c, 0), x87_st(c, n)), 0);
    }
    x86_flags_set(c, (t.zero ? X86_ZF : 0) | (t.parity ? X86_PF_BIT : 0) |
                         (t.carry ? X86_CF : 0));
    if (pops && goes_on) {
        x87_pop(c);
    }
}

TO_FLAGS(fcomi_k, "fcomi")
TO_FLAGS(fucomi_k, "fucomi")

#define COMPARE_FLAGS(routine, k, pops)                                                  \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        compare_flags(c, i, k, pops);                                                    \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, NULL);

COMPARE_FLAGS(fcomi, fcomi_k, false)
COMPARE_FLAGS(fcomip, fcomi_k, true)
COMPARE_FLAGS(fucomi, fucomi_k, false)
COMPARE_FLAGS(fucomip, fucomi_k, true)
