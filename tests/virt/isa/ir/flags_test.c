/* flags_test.c - flags of every kind at 8 bits, exhaustive against the host's; every
 * condition of every flags value against the host's SETcc.  Flags that the manual leaves
 * undefined (Intel SDM volume 2: shifts, MUL) are not compared.
 *
 * rows: ISA-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "virt/isa/ir/private.h"

#define ALL 0x8d5u

/* An 8-bit instruction on `a` (result) and `b` with this carry before it. */
#define HOST(text)                                                                       \
    __asm__("lea -128(%%rsp), %%rsp\n\tbt $0, %4\n\t" text                               \
            "\n\tpushfq\n\tpop %0\n\tlea 128(%%rsp), %%rsp"                              \
            : "=&r"(f), "=a"(*ret)                                                       \
            : "1"(a), "c"(b), "r"((uint32_t)carry)                                       \
            : "cc")

static uint64_t host(enum ir_flags_kind k, uint8_t a, uint8_t b, unsigned carry,
                     uint8_t *ret)
{
    uint64_t f = 0;

    switch (k) {
    case IR_FLAGS_ADD:
    case IR_FLAGS_ADD_R:
        HOST("addb %%cl, %%al");
        break;
    case IR_FLAGS_SUB:
    case IR_FLAGS_SUB_R:
        HOST("subb %%cl, %%al");
        break;
    case IR_FLAGS_ADC:
        HOST("adcb %%cl, %%al");
        break;
    case IR_FLAGS_SBB:
        HOST("sbbb %%cl, %%al");
        break;
    case IR_FLAGS_LOGIC:
        HOST("testb %%al, %%al");
        break;
    case IR_FLAGS_INC_R:
        HOST("incb %%al");
        break;
    case IR_FLAGS_DEC_R:
        HOST("decb %%al");
        break;
    case IR_FLAGS_SHL:
        HOST("shlb %%cl, %%al");
        break;
    case IR_FLAGS_SHR:
        HOST("shrb %%cl, %%al");
        break;
    case IR_FLAGS_SAR:
        HOST("sarb %%cl, %%al");
        break;
    case IR_FLAGS_MUL_U:
        HOST("mulb %%cl");
        break;
    default:
        HOST("imulb %%cl");
        break;
    }
    return f;
}

static uint64_t defined(enum ir_flags_kind k, uint8_t b)
{
    if (k == IR_FLAGS_MUL_U || k == IR_FLAGS_MUL_S) {
        return 0x801;
    }
    if (k >= IR_FLAGS_SHL && k <= IR_FLAGS_SAR) {
        return b == 1 ? ALL & ~0x10u : ALL & ~0x810u;
    }
    return k == IR_FLAGS_LOGIC ? ALL & ~0x10u : ALL;
}

static bool takes_result(enum ir_flags_kind k)
{
    return k == IR_FLAGS_ADD_R || k == IR_FLAGS_SUB_R || k == IR_FLAGS_INC_R ||
           k == IR_FLAGS_DEC_R;
}

static void check(enum ir_flags_kind k, uint8_t a, uint8_t b, unsigned carry)
{
    uint8_t result = 0;
    uint64_t expected = host(k, a, b, carry, &result), mask = defined(k, b), given;
    struct ir_words w = {takes_result(k) ? result : a, b, carry};

    given = ir_compute_flags(k, 8, w, carry);
    if (((given ^ expected) & mask) != 0) {
        fail_msg("kind %d, %x %x %u: %lx, host %lx", k, a, b, carry, (unsigned long)given,
                 (unsigned long)(expected & ALL));
    }
}

static void flags_at_8_bits_are_the_hosts(void **state)
{
    unsigned k, a, b, carry;

    (void)state;
    for (k = 0; k < IR_FLAGS_BITS; k++) {
        bool shift = k >= IR_FLAGS_SHL && k <= IR_FLAGS_SAR;

        for (a = 0; a < 256; a++) {
            for (b = shift ? 1 : 0; b < (shift ? 8u : 256u); b++) {
                for (carry = 0; carry < 2; carry++) {
                    check(k, (uint8_t)a, (uint8_t)b, carry);
                }
            }
        }
    }
}

static void a_shift_by_nothing_keeps_the_flags_before(void **state)
{
    unsigned k, f;

    (void)state;
    for (k = IR_FLAGS_SHL; k <= IR_FLAGS_SAR; k++) {
        for (f = 0; f <= ALL; f = (f | ~ALL) + 1) {
            assert_int_equal(
                ir_compute_flags(k, 8, (struct ir_words){0x81, 0, 0}, f & ALL), f & ALL);
            if ((f & ALL) == ALL) {
                break;
            }
        }
    }
}

/* A rotation by one, with the flags before it. */
#define HOST_ROTATE(text)                                                                \
    __asm__("lea -128(%%rsp), %%rsp\n\tpush %2\n\tpopfq\n\t" text                        \
            "\n\tpushfq\n\tpop %0\n\tlea 128(%%rsp), %%rsp"                              \
            : "=&r"(f), "+a"(r)                                                          \
            : "r"(before)                                                                \
            : "cc")

static void rotations_and_a_carry_keep_the_rest(void **state)
{
    unsigned a, bits;

    (void)state;
    for (a = 0; a < 256; a++) {
        for (bits = 0; bits < 64; bits++) {
            uint64_t before = (bits & 1) | (bits & 2) << 1 | (bits & 4) << 2 |
                              (uint64_t)(bits & 24) << 3 | (uint64_t)(bits & 32) << 6;
            uint64_t f = 0;
            uint8_t r = (uint8_t)a;

            HOST_ROTATE("rolb $1, %%al");
            assert_int_equal(
                ir_compute_flags(IR_FLAGS_ROL_R, 8, (struct ir_words){r, 0, 0}, before),
                f & ALL);
            r = (uint8_t)a;
            HOST_ROTATE("rorb $1, %%al");
            assert_int_equal(
                ir_compute_flags(IR_FLAGS_ROR_R, 8, (struct ir_words){r, 0, 0}, before),
                f & ALL);
            r = (uint8_t)a;
            HOST_ROTATE("btl $0, %%eax");
            assert_int_equal(
                ir_compute_flags(IR_FLAGS_CARRY, 8, (struct ir_words){a, 0, 0}, before),
                (before & ~UINT64_C(1)) | (f & 1));
        }
    }
}

static void a_shift_by_more_than_the_width_is_the_hosts(void **state)
{
    unsigned k, a, b;

    (void)state;
    for (k = IR_FLAGS_SHL; k <= IR_FLAGS_SAR; k++) {
        for (a = 0; a < 256; a++) {
            for (b = 8; b < 64; b++) {
                if ((b & 31) != 0) {
                    check(k, (uint8_t)a, (uint8_t)b, 0);
                }
            }
        }
    }
}

static void flags_of_bits_are_those_bits(void **state)
{
    (void)state;
    assert_int_equal(
        ir_compute_flags(IR_FLAGS_BITS, 64, (struct ir_words){UINT64_MAX, 0, 0}, 0), ALL);
}

static void flags_of_a_result_take_carries_from_beside_it(void **state)
{
    struct ir_words w = {0x83, 0, 0};

    (void)state;
    assert_int_equal(ir_compute_flags(IR_FLAGS_RESULT, 8, w, ALL), 0x80);
    w.a = 0;
    assert_int_equal(ir_compute_flags(IR_FLAGS_RESULT, 8, w, 0), 0x44);
    w.b = 7;
    assert_int_equal(ir_compute_flags(IR_FLAGS_RESULT, 8, w, 0), 0x841);
}

/* The widest: their carries lie at the top of the word. */
static void wide_flags_are_the_hosts(void **state)
{
    static const uint64_t edges[] = {0, 1, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX, 15};
    unsigned a, b;

    (void)state;
    for (a = 0; a < 6; a++) {
        for (b = 0; b < 6; b++) {
            struct ir_words w = {edges[a], edges[b], 0};
            uint64_t f, r = edges[a];

            __asm__("lea -128(%%rsp), %%rsp; addq %2, %1; pushfq; pop %0; "
                    "lea 128(%%rsp), %%rsp"
                    : "=&r"(f), "+r"(r)
                    : "r"(edges[b])
                    : "cc");
            assert_int_equal(ir_compute_flags(IR_FLAGS_ADD, 64, w, 0), f & ALL);
            r = edges[a];
            __asm__("lea -128(%%rsp), %%rsp; subq %2, %1; pushfq; pop %0; "
                    "lea 128(%%rsp), %%rsp"
                    : "=&r"(f), "+r"(r)
                    : "r"(edges[b])
                    : "cc");
            assert_int_equal(ir_compute_flags(IR_FLAGS_SUB, 64, w, 0), f & ALL);
        }
    }
}

#define SET(n, cc)                                                                       \
    case n:                                                                              \
        __asm__("lea -128(%%rsp), %%rsp; push %1; popfq; set" cc                         \
                " %0; lea 128(%%rsp), %%rsp"                                             \
                : "=q"(r)                                                                \
                : "r"(f | 2)                                                             \
                : "cc");                                                                 \
        break

static bool host_condition(enum ir_cond c, uint64_t f)
{
    uint8_t r = 0;

    switch (c) {
        SET(IR_COND_O, "o");
        SET(IR_COND_NO, "no");
        SET(IR_COND_C, "c");
        SET(IR_COND_NC, "nc");
        SET(IR_COND_Z, "z");
        SET(IR_COND_NZ, "nz");
        SET(IR_COND_BE, "be");
        SET(IR_COND_A, "a");
        SET(IR_COND_S, "s");
        SET(IR_COND_NS, "ns");
        SET(IR_COND_P, "p");
        SET(IR_COND_NP, "np");
        SET(IR_COND_L, "l");
        SET(IR_COND_GE, "ge");
        SET(IR_COND_LE, "le");
    default:
        SET(IR_COND_G, "g");
    }
    return r != 0;
}

static void conditions_of_all_flags_are_the_hosts(void **state)
{
    static const uint64_t places[] = {1, 4, 0x10, 0x40, 0x80, 0x800};
    unsigned c, n, bit;

    (void)state;
    for (c = 0; c < IR_COND_COUNT; c++) {
        for (n = 0; n < 64; n++) {
            uint64_t f = 0;

            for (bit = 0; bit < 6; bit++) {
                f |= (n >> bit & 1) != 0 ? places[bit] : 0;
            }
            assert_int_equal(ir_compute_cond(c, f), host_condition(c, f));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_at_8_bits_are_the_hosts),
        cmocka_unit_test(a_shift_by_nothing_keeps_the_flags_before),
        cmocka_unit_test(flags_of_a_result_take_carries_from_beside_it),
        cmocka_unit_test(rotations_and_a_carry_keep_the_rest),
        cmocka_unit_test(a_shift_by_more_than_the_width_is_the_hosts),
        cmocka_unit_test(flags_of_bits_are_those_bits),
        cmocka_unit_test(wide_flags_are_the_hosts),
        cmocka_unit_test(conditions_of_all_flags_are_the_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
