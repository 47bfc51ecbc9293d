/* compute_test.c - every integer operation, at every width and on edge values, gives what
 * typed C or the host's own instruction gives; folding in the builder gives the same.
 *
 * rows: ISA-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "virt/isa/ir/private.h"

struct words {
    uint64_t a, b, c;
};

/* One function for each width: the truth is the compiler's arithmetic on that type. */
#define HOST(bits, u, s, wide_u, wide_s)                                                 \
    static uint64_t host_##bits(enum ir_op op, struct words w)                           \
    {                                                                                    \
        u a = (u)w.a, b = (u)w.b, c = (u)w.c, r = 0;                                     \
        s sa = (s)a, sb = (s)b;                                                          \
        unsigned n = (unsigned)(b % bits), i;                                            \
        bool over = sb == -1;                                                            \
                                                                                         \
        switch (op) {                                                                    \
        case IR_ADD:                                                                     \
            return (u)(a + b);                                                           \
        case IR_SUB:                                                                     \
            return (u)(a - b);                                                           \
        case IR_MUL:                                                                     \
            return (u)((wide_u)a * b);                                                   \
        case IR_MULH_U:                                                                  \
            return (u)(((wide_u)a * b) >> bits);                                         \
        case IR_MULH_S:                                                                  \
            return (u)(((wide_s)sa * sb) >> bits);                                       \
        case IR_AND:                                                                     \
            return (u)(a & b);                                                           \
        case IR_OR:                                                                      \
            return (u)(a | b);                                                           \
        case IR_XOR:                                                                     \
            return (u)(a ^ b);                                                           \
        case IR_ANDN:                                                                    \
            return (u)(~a & b);                                                          \
        case IR_NOT:                                                                     \
            return (u)~a;                                                                \
        case IR_NEG:                                                                     \
            return (u)(0 - a);                                                           \
        case IR_SHL:                                                                     \
            return (u)((wide_u)a << n);                                                  \
        case IR_SHR:                                                                     \
            return (u)(a >> n);                                                          \
        case IR_SAR:                                                                     \
            return (u)(sa >> n);                                                         \
        case IR_ROTL:                                                                    \
            __asm__("rol %%cl, %0" : "+r"(a) : "c"((uint8_t)b) : "cc");                  \
            return a;                                                                    \
        case IR_ROTR:                                                                    \
            __asm__("ror %%cl, %0" : "+r"(a) : "c"((uint8_t)b) : "cc");                  \
            return a;                                                                    \
        case IR_SHLD:                                                                    \
            return (u)((((wide_u)a << bits) | b) << (c % bits) >> bits);                 \
        case IR_SHRD:                                                                    \
            return (u)((((wide_u)b << bits) | a) >> (c % bits));                         \
        case IR_CLZ:                                                                     \
            for (i = 0; i < bits && (a >> (bits - 1 - i) & 1) == 0; i++) {               \
            }                                                                            \
            return i;                                                                    \
        case IR_CTZ:                                                                     \
            for (i = 0; i < bits && (a >> i & 1) == 0; i++) {                            \
            }                                                                            \
            return i;                                                                    \
        case IR_POPCNT:                                                                  \
            for (i = 0; i < bits; i++) {                                                 \
                r = (u)(r + (a >> i & 1));                                               \
            }                                                                            \
            return r;                                                                    \
        case IR_BSWAP:                                                                   \
            for (i = 0; i < bits / 8; i++) {                                             \
                ((uint8_t *)&r)[i] = ((const uint8_t *)&a)[bits / 8 - 1 - i];            \
            }                                                                            \
            return r;                                                                    \
        case IR_BITREV:                                                                  \
            for (i = 0; i < bits; i++) {                                                 \
                r = (u)(r | (u)((u)(a >> i & 1) << (bits - 1 - i)));                     \
            }                                                                            \
            return r;                                                                    \
        case IR_DIV_U:                                                                   \
            return b == 0 ? (u) ~(u)0 : (u)(a / b);                                      \
        case IR_REM_U:                                                                   \
            return b == 0 ? a : (u)(a % b);                                              \
        case IR_DIV_S:                                                                   \
            return b == 0 ? (u) ~(u)0 : over ? (u)(0 - a) : (u)(sa / sb);                \
        case IR_REM_S:                                                                   \
            return b == 0 ? a : over ? 0 : (u)(sa % sb);                                 \
        case IR_EQ:                                                                      \
            return a == b;                                                               \
        case IR_NE:                                                                      \
            return a != b;                                                               \
        case IR_ULT:                                                                     \
            return a < b;                                                                \
        case IR_ULE:                                                                     \
            return a <= b;                                                               \
        case IR_SLT:                                                                     \
            return sa < sb;                                                              \
        case IR_SLE:                                                                     \
            return sa <= sb;                                                             \
        default:                                                                         \
            return 0;                                                                    \
        }                                                                                \
    }

HOST(8, uint8_t, int8_t, uint32_t, int32_t)
HOST(16, uint16_t, int16_t, uint64_t, int64_t)
HOST(32, uint32_t, int32_t, unsigned __int128, __int128)
HOST(64, uint64_t, int64_t, unsigned __int128, __int128)

/* SHLD loses what leaves the wide type at the top: only there is it not exact. */
static uint64_t host_shld64(struct words w)
{
    __asm__("shld %%cl, %1, %0" : "+r"(w.a) : "r"(w.b), "c"((uint8_t)w.c) : "cc");
    return w.a;
}

static uint64_t host_places(enum ir_op op, struct words w)
{
    if (op == IR_PDEP) {
        __asm__("pdep %1, %0, %0" : "+r"(w.a) : "r"(w.b));
    } else {
        __asm__("pext %1, %0, %0" : "+r"(w.a) : "r"(w.b));
    }
    return w.a;
}

static uint64_t truth(enum ir_op op, unsigned bits, struct words w)
{
    if (op == IR_PDEP || op == IR_PEXT) {
        return host_places(op, w);
    }
    if (op == IR_SHLD && bits >= 32) {
        return bits == 64 ? host_shld64(w)
                          : (uint32_t)(((w.a << 32 | w.b) << (w.c % 32)) >> 32);
    }
    return bits == 8    ? host_8(op, w)
           : bits == 16 ? host_16(op, w)
           : bits == 32 ? host_32(op, w)
                        : host_64(op, w);
}

static const uint64_t edges[] = {0,
                                 1,
                                 2,
                                 7,
                                 8,
                                 31,
                                 33,
                                 0x7f,
                                 0x80,
                                 0xff,
                                 0x7fff,
                                 0x8000,
                                 0xffff,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 INT64_MAX,
                                 UINT64_C(1) << 63,
                                 UINT64_MAX,
                                 UINT64_C(0x123456789abcdef0),
                                 UINT64_C(0xf0e1d2c3b4a59687)};
#define EDGES (sizeof edges / sizeof edges[0])

static void check(struct ir_region *g, enum ir_op op, enum ir_type t, struct words w)
{
    unsigned bits = ir_type_bits[t];
    uint64_t mask = ir_mask(t), expected;
    const char *letters = ir_ops[op].arguments;
    ir_value arg[3] = {0}, v;

    w = (struct words){w.a & mask, w.b & mask, w.c & mask};
    expected = truth(op, bits, w);
    ir_region_clear(g);
    ir_block_begin(g);
    arg[0] = ir_const(g, t, w.a);
    arg[1] = letters[1] == 'i' ? ir_const(g, t, w.b) : 0;
    arg[2] = letters[2] == 'i' ? ir_const(g, t, w.c) : 0;
    v = ir_3(g, op, IR_VOID, arg);
    if (g->insn[v].op != IR_CONST || g->insn[v].imm != expected) {
        fail_msg("%s.%u %lx %lx %lx: %lx, host %lx", ir_ops[op].name, bits,
                 (unsigned long)w.a, (unsigned long)w.b, (unsigned long)w.c,
                 (unsigned long)g->insn[v].imm, (unsigned long)expected);
    }
}

static bool is_plain_integer(enum ir_op op)
{
    return (op >= IR_ADD && op <= IR_REM_S) || (op >= IR_EQ && op <= IR_SLE);
}

static void check_at_width(struct ir_region *g, enum ir_op op, enum ir_type t)
{
    unsigned last = ir_ops[op].arguments[2] == 'i' ? EDGES : 1;
    unsigned a, b, c;

    for (a = 0; a < EDGES; a++) {
        for (b = 0; b < EDGES; b++) {
            for (c = 0; c < last; c++) {
                check(g, op, t, (struct words){edges[a], edges[b], edges[c]});
            }
        }
    }
}

static void every_operation_is_the_hosts_at_every_width(void **state)
{
    bool places = __builtin_cpu_supports("bmi2") != 0;
    struct ir_region g;
    unsigned op, t;

    (void)state;
    ir_region_init(&g, NULL, 0);
    for (op = 0; op < IR_OP_COUNT; op++) {
        bool here = is_plain_integer(op) && (places || (op != IR_PDEP && op != IR_PEXT));

        for (t = IR_I8; here && t <= IR_I64; t++) {
            check_at_width(&g, op, t);
        }
    }
    ir_region_fini(&g);
}

static uint64_t folded(struct ir_region *g, struct ir_insn i)
{
    uint64_t v = 0;

    assert_true(ir_fold(g, &i, &v));
    return v;
}

static void conversions_keep_take_and_place_bits(void **state)
{
    struct ir_region g;
    ir_value x, y, yes;

    (void)state;
    ir_region_init(&g, NULL, 0);
    ir_block_begin(&g);
    x = ir_const(&g, IR_I16, 0x80f1);
    y = ir_const(&g, IR_I64, UINT64_C(0x1122334455667788));
    yes = ir_const(&g, IR_I1, 1);
    assert_int_equal(
        folded(&g, (struct ir_insn){.op = IR_ZEXT, .type = IR_I64, .arg = {x}}), 0x80f1);
    assert_int_equal(
        folded(&g, (struct ir_insn){.op = IR_SEXT, .type = IR_I32, .arg = {x}}),
        0xffff80f1);
    assert_int_equal(
        folded(&g, (struct ir_insn){.op = IR_SEXT, .type = IR_I64, .arg = {yes}}),
        UINT64_MAX);
    assert_int_equal(
        folded(&g, (struct ir_insn){.op = IR_TRUNC, .type = IR_I8, .arg = {x}}), 0xf1);
    assert_int_equal(
        folded(&g,
               (struct ir_insn){.op = IR_EXTRACT, .type = IR_I8, .arg = {y}, .imm = 8}),
        0x77);
    assert_int_equal(
        folded(
            &g,
            (struct ir_insn){.op = IR_DEPOSIT, .type = IR_I64, .arg = {y, x}, .imm = 24}),
        UINT64_C(0x11223380f1667788));
    assert_int_equal(
        folded(&g, (struct ir_insn){.op = IR_SELECT, .type = IR_I16, .arg = {yes, x, y}}),
        0x80f1);
    assert_int_equal(
        folded(&g, (struct ir_insn){.op = IR_BITS, .type = IR_F64, .arg = {y}}),
        g.insn[y].imm);
    ir_region_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_the_hosts_at_every_width),
        cmocka_unit_test(conversions_keep_take_and_place_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
