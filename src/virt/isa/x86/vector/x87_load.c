/* x87_load.c - loads, stores and moves of the x87 unit (SDM volume 1, 8.3.3).
 *
 * What an unmasked exception leaves out shows in the host's TOP: a load that did not
 * push, a store that did not pop (and then stored nothing). */
#include "virt/isa/x86/vector/x87.h"

static const uint16_t host_cw = X87_HOST_CW;

/* Push, or fault for want of an empty register. */
static inline void push(struct x86_cpu *c, const struct x86_insn *i,
                        const struct x87_value *v, uint16_t sw, bool pushed)
{
    if (!x87_empty(c, 7)) {
        if (x87_stack_fault(c, i, true)) {
            x87_push(c, &x86_x87_indefinite);
        }
        return;
    }
    (void)x87_note(c, i, sw, X87_C1);
    if (pushed) {
        x87_push(c, v);
    }
}

typedef uint16_t load_kernel(const struct x86_cpu *c, struct x87_value *ret,
                             const void *from);

/* A load that an unmasked exception may stop leaves ST0 empty; FSTP then stores the
 * indefinite, which FNINIT forgets.  Where none may, the plain way is quicker. */
#define LOAD_BODY(first, op, last)                                                       \
    __asm__ volatile(first "fldcw %[cw]\n\t" op "\n\tfnstsw %[sw]\n\tfnclex\n\t"         \
                           "fldcw %[host]\n\tfstpt %[ret]" last                          \
                     : [ret] "=m"(*ret), [sw] "=a"(sw)                                   \
                     : [b] "m"(*(const struct x87_value *)from), [cw] "m"(c->r.fpu.fcw), \
                       [host] "m"(host_cw)                                               \
                     : "memory")
#define LOAD_KERNEL(k, op)                                                               \
    static inline uint16_t k(const struct x86_cpu *c, struct x87_value *ret,             \
                             const void *from)                                           \
    {                                                                                    \
        uint16_t sw;                                                                     \
                                                                                         \
        if (x87_is_live(c)) {                                                            \
            __asm__ volatile(op "\n\tfnstsw %[sw]\n\tfstpt %[ret]"                       \
                             : [ret] "=m"(*ret), [sw] "=a"(sw)                           \
                             : [b] "m"(*(const struct x87_value *)from)                  \
                             : "memory");                                                \
            return sw | X87_TOP;                                                         \
        }                                                                                \
        if ((c->r.fpu.fcw & X87_BEFORE) == X87_BEFORE) {                                 \
            LOAD_BODY("fnclex\n\t", op, "");                                             \
            return sw | X87_TOP;                                                         \
        }                                                                                \
        LOAD_BODY("fninit\n\t", op, "\n\tfninit");                                       \
        return sw;                                                                       \
    }

static inline void load(struct x86_cpu *c, const struct x86_insn *i, load_kernel *k,
                        unsigned bytes)
{
    struct x87_value t;
    union lane s = {0};
    uint16_t sw;

    x87_begin(c);
    if (bytes != 0) {
        lane_load(c, i, &s, bytes);
    }
    /* Without room for it the number is not looked at. */
    sw = x87_empty(c, 7) ? k(c, &t, &s) : X87_TOP;
    push(c, i, &t, sw, (sw & X87_TOP) != 0);
}

#define LOAD(routine, op, bytes)                                                         \
    LOAD_KERNEL(routine##_k, op)                                                         \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        load(c, i, routine##_k, bytes);                                                  \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, routine##_f);

LOAD(fld_f32, "flds %[b]", 4)
LOAD(fld_f64, "fldl %[b]", 8)
LOAD(fild_i16, "filds %[b]", 2)
LOAD(fild_i32, "fildl %[b]", 4)
LOAD(fild_i64, "fildll %[b]", 8)
LOAD(fbld, "fbld %[b]", 10)
LOAD(fld1, "fld1", 0)
LOAD(fldz, "fldz", 0)
LOAD(fldpi, "fldpi", 0)
LOAD(fldl2t, "fldl2t", 0)
LOAD(fldl2e, "fldl2e", 0)
LOAD(fldlg2, "fldlg2", 0)
LOAD(fldln2, "fldln2", 0)

/* No exception but the stack's: any bits are loaded as they are. */
static void fld_f80_f(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane s = {0};
    struct x87_value t;

    x87_begin(c);
    lane_load(c, i, &s, 10);
    memcpy(&t, &s, sizeof t);
    push(c, i, &t, 0, true);
}

FAMILY_ONE(fld_f80, NULL, fld_f80_f);

static void fld_st_f(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned n = i->rm & 7;
    struct x87_value t;

    x87_begin(c);
    if (x87_empty(c, n)) { /* also where the push would overflow */
        if (x87_stack_fault(c, i, false)) {
            x87_push(c, &x86_x87_indefinite);
        }
        return;
    }
    t = *x87_st(c, n);
    push(c, i, &t, 0, true);
}

FAMILY_ONE(fld_st, fld_st_f, NULL);

/* Stores: the kernel's host instruction either pops or does not. */
typedef uint16_t store_kernel(const struct x86_cpu *c, union lane *ret,
                              const struct x87_value *a);

/* Where all is masked, whatever can pop does. */
#define STORE_LIVE(op, last)                                                             \
    if (x87_is_live(c)) {                                                                \
        __asm__ volatile("fldt %[a]\n\t" op " %[ret]\n\tfnstsw %[sw]" last               \
                         : [ret] "=m"(*ret), [sw] "=a"(sw)                               \
                         : [a] "m"(*a)                                                   \
                         : "memory");                                                    \
        return sw;                                                                       \
    }
#define STORE_KERNEL(k, op)                                                              \
    static inline uint16_t k(const struct x86_cpu *c, union lane *ret,                   \
                             const struct x87_value *a)                                  \
    {                                                                                    \
        uint16_t sw;                                                                     \
                                                                                         \
        STORE_LIVE(op, "")                                                               \
        __asm__ volatile("fninit\n\tfldt %[a]\n\tfldcw %[cw]\n\t" op                     \
                         " %[ret]\n\tfnstsw %[sw]\n\tfninit"                             \
                         : [ret] "=m"(*ret), [sw] "=a"(sw)                               \
                         : [a] "m"(*a), [cw] "m"(c->r.fpu.fcw)                           \
                         : "memory");                                                    \
        return sw;                                                                       \
    }

/* The same of instructions that never pop. */
#define KEEP_KERNEL(k, op)                                                               \
    static inline uint16_t k(const struct x86_cpu *c, union lane *ret,                   \
                             const struct x87_value *a)                                  \
    {                                                                                    \
        uint16_t sw;                                                                     \
                                                                                         \
        STORE_LIVE(op, X87_DROP)                                                         \
        __asm__ volatile("fnclex\n\tfldt %[a]\n\tfldcw %[cw]\n\t" op                     \
                         " %[ret]\n\tfnstsw %[sw]\n\tfnclex\n\tfldcw %[host]\n\t"        \
                         "fstp %%st(0)"                                                  \
                         : [ret] "=m"(*ret), [sw] "=a"(sw)                               \
                         : [a] "m"(*a), [cw] "m"(c->r.fpu.fcw), [host] "m"(host_cw)      \
                         : "memory");                                                    \
        return sw;                                                                       \
    }

/* FSTP of 80 bits changes and finds nothing. */
static inline uint16_t store_f80(const struct x86_cpu *c, union lane *ret,
                                 const struct x87_value *a)
{
    (void)c;
    memcpy(ret, a, sizeof *a);
    return 0;
}

/* What FIST, FST and FBSTP store for an empty register. */
static void indefinite(union lane *ret, unsigned bytes, bool is_integer)
{
    static const uint8_t packed[10] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};

    memset(ret, 0, sizeof *ret);
    if (bytes == 10) {
        memcpy(ret, packed, 10); /* the real and the packed one are the same bytes */
    } else if (is_integer) {
        ret->b[bytes - 1] = 0x80;
    } else if (bytes == 4) {
        ret->d[0] = 0xffc00000;
    } else {
        ret->q[0] = 0xfff8000000000000;
    }
}

/* `kind`: bit 0 pops, bit 1 is of integers. */
static inline void store(struct x86_cpu *c, const struct x86_insn *i, store_kernel *k,
                         unsigned bytes, unsigned kind)
{
    const unsigned stops = X87_IE | X87_OE | X87_UE;
    union lane t;
    uint16_t sw;

    x87_begin(c);
    if (x87_empty(c, 0)) {
        sw = X87_IE | X87_SF;
        indefinite(&t, bytes, (kind & 2) != 0);
    } else {
        sw = k(c, &t, x87_st(c, 0));
    }
    if ((sw & stops & ~(unsigned)c->r.fpu.fcw) != 0) {
        (void)x87_note(c, i, sw, X87_C1);
        return;
    }
    lane_store(c, i, &t, bytes, false);
    (void)x87_note(c, i, sw, X87_C1);
    if ((kind & 1) != 0) {
        x87_pop(c);
    }
}

#define STORE(routine, k, bytes, kind)                                                   \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        store(c, i, k, bytes, kind);                                                     \
    }                                                                                    \
    FAMILY_ONE(routine, NULL, routine##_f);

KEEP_KERNEL(store_f32, "fsts")
KEEP_KERNEL(store_f64, "fstl")
KEEP_KERNEL(store_i16, "fists")
KEEP_KERNEL(store_i32, "fistl")
STORE_KERNEL(store_i64, "fistpll")
STORE_KERNEL(chop_i16, "fisttps")
STORE_KERNEL(chop_i32, "fisttpl")
STORE_KERNEL(chop_i64, "fisttpll")
STORE_KERNEL(store_bcd, "fbstp")
STORE(fst_f32, store_f32, 4, 0)
STORE(fst_f64, store_f64, 8, 0)
STORE(fstp_f32, store_f32, 4, 1)
STORE(fstp_f64, store_f64, 8, 1)
STORE(fstp_f80, store_f80, 10, 1)
STORE(fist_i16, store_i16, 2, 2)
STORE(fist_i32, store_i32, 4, 2)
STORE(fistp_i16, store_i16, 2, 3)
STORE(fistp_i32, store_i32, 4, 3)
STORE(fistp_i64, store_i64, 8, 3)
STORE(fisttp_i16, chop_i16, 2, 3)
STORE(fisttp_i32, chop_i32, 4, 3)
STORE(fisttp_i64, chop_i64, 8, 3)
STORE(fbstp, store_bcd, 10, 3)

/* FST STi and its aliases; `quiet`: FSTP of D9 D8, which does not mind an empty ST0,
 * and then only pops. */
static inline void store_st(struct x86_cpu *c, const struct x86_insn *i, bool pops,
                            bool quiet)
{
    struct x87_value t = x86_x87_indefinite;

    x87_begin(c);
    if (!x87_empty(c, 0)) {
        t = *x87_st(c, 0);
        (void)x87_note(c, i, 0, X87_C1);
        x87_set(c, i->rm & 7, &t);
    } else if (quiet) {
        (void)x87_note(c, i, 0, X87_C1);
    } else if (x87_stack_fault(c, i, false)) {
        x87_set(c, i->rm & 7, &t);
    } else {
        return;
    }
    if (pops) {
        x87_pop(c);
    }
}

static void fst_st_f(struct x86_cpu *c, const struct x86_insn *i)
{
    store_st(c, i, false, false);
}

static void fstp_st_f(struct x86_cpu *c, const struct x86_insn *i)
{
    store_st(c, i, true, false);
}

static void fstp_quiet_f(struct x86_cpu *c, const struct x86_insn *i)
{
    store_st(c, i, true, true);
}

FAMILY_ONE(fst_st, fst_st_f, NULL);
FAMILY_ONE(fstp_st, fstp_st_f, NULL);
FAMILY_ONE(fstp_quiet, fstp_quiet_f, NULL);

static void fxch_f(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned n = i->rm & 7;
    struct x87_value a, b;

    x87_begin(c);
    a = x87_empty(c, 0) ? x86_x87_indefinite : *x87_st(c, 0);
    b = x87_empty(c, n) ? x86_x87_indefinite : *x87_st(c, n);
    if (x87_empty(c, 0) || x87_empty(c, n)) {
        if (!x87_stack_fault(c, i, false)) {
            return;
        }
    } else {
        (void)x87_note(c, i, 0, X87_C1);
    }
    x87_set(c, 0, &b);
    x87_set(c, n, &a);
}

FAMILY_ONE(fxch, fxch_f, NULL);

/* FCMOVcc: an empty register is a fault whether the condition holds or not. */
static inline void move_if(struct x86_cpu *c, const struct x86_insn *i, uint32_t flags,
                           bool set)
{
    unsigned n = i->rm & 7;
    struct x87_value t = x86_x87_indefinite;

    x87_begin(c);
    x86_flags_pack(c);
    if (x87_empty(c, 0) || x87_empty(c, n)) {
        if (!x87_stack_fault(c, i, false)) {
            return;
        }
    } else {
        x87_mark(c);
        t = *x87_st(c, ((c->r.rflags & flags) != 0) == set ? n : 0);
    }
    x87_set(c, 0, &t);
}

#define MOVE_IF(name, flags)                                                             \
    static void fcmov##name##_f(struct x86_cpu *c, const struct x86_insn *i)             \
    {                                                                                    \
        move_if(c, i, flags, true);                                                      \
    }                                                                                    \
    static void fcmovn##name##_f(struct x86_cpu *c, const struct x86_insn *i)            \
    {                                                                                    \
        move_if(c, i, flags, false);                                                     \
    }                                                                                    \
    FAMILY_ONE(fcmov##name, fcmov##name##_f, NULL);                                      \
    FAMILY_ONE(fcmovn##name, fcmovn##name##_f, NULL);

MOVE_IF(b, X86_CF)
MOVE_IF(e, X86_ZF)
MOVE_IF(be, X86_CF | X86_ZF)
MOVE_IF(u, X86_PF_BIT)
