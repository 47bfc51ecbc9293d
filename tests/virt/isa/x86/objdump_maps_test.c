/* objdump_maps_test.c - the opcode maps, byte by byte, in all three modes: what
 * objdump knows and no row has, and instructions of another length.
 *
 * rows: CON-09 CON-11 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/slots.h"
#include "virt/isa/x86/x86.h"

#define SHOWN_MOST 60

/* Kept differences: where objdump is not the processor. */
static bool is_kept(const struct objdump_line *o, const char *text,
                    enum x86_code_mode mode, const struct x86_insn *i)
{
    bool is_vex = o->bytes[0] == 0xc4;

    struct x86_insn bare;

    /* 66 before a near branch: AMD's offset of 16 bits; ours is Intel's of 32. */
    if (mode == X86_CODE64 && (o->bytes[0] == 0x66 || o->bytes[1] == 0x66) &&
        x86_rows[i->row].attributes & X86_A_F64) {
        return true;
    }
    /* fwait and the instruction behind it are taken as one. */
    if (i->row == X86_R_FWAIT) {
        return true;
    }
    /* VEX.pp is not looked at; the manual wants none there. */
    if (is_vex && (strncmp(text, "vzero", 5) == 0 || strstr(text, "mxcsr") != NULL)) {
        return true;
    }
    /* A prefix that may not stand there (NP) is printed as one without effect. */
    if (x86_decode(o->bytes + 1, o->length - 1, mode, &bare) == X86_DECODED &&
        strncmp(x86_rows[bare.row].encoding, "NP", 2) == 0) {
        return true;
    }
    /* Control registers that are none; and what legacy modes have on AMD only, or not. */
    if (strstr(text, "cr") != NULL ||
        (mode != X86_CODE64 &&
         (strncmp(text, "sys", 3) == 0 || strcmp(text, "swapgs") == 0 ||
          strstr(text, "sbase") != NULL))) {
        return true;
    }
    /* LOCK is printed before anything; decode_test.c has its rules. */
    return strstr(text, "lock ") != NULL;
}

static bool is_right(const struct objdump_line *o, enum x86_code_mode mode,
                     struct x86_insn *i, const uint8_t *slot)
{
    char text[OBJDUMP_TEXT_BYTES];

    (void)snprintf(text, sizeof text, "%s", o->text);
    objdump_normalise(text);
    if (slots_is_nothing(o, text) || slots_is_foreign(o, text)) {
        return true;
    }
    if (x86_decode(slot, X86_INSN_BYTES_MAX, mode, i) != X86_DECODED) {
        return false;
    }
    return (i->row != X86_INVALID && i->length == o->length) || is_kept(o, text, mode, i);
}

static void check_slots(struct slots *s, enum x86_code_mode mode)
{
    FILE *f = objdump_bytes(s->bytes, s->count * s->stride, mode);
    struct objdump_line o;
    unsigned differ = 0;
    unsigned seen = 0;

    assert_non_null(f);
    while (objdump_next(f, &o)) {
        const uint8_t *slot = s->bytes + o.at;
        struct x86_insn i = {0};

        if (o.at % s->stride != 0) {
            continue;
        }
        seen++;
        if (!is_right(&o, mode, &i, slot) && differ++ < SHOWN_MOST) {
            print_message("mode %u: %02x %02x %02x %02x %02x %02x: %u bytes, row %s; %s",
                          mode, slot[0], slot[1], slot[2], slot[3], slot[4], slot[5],
                          i.length, x86_rows[i.row].id, o.text);
        }
    }
    objdump_close(f);
    print_message("%u of %zu encodings seen, %u differ\n", seen, s->count, differ);
    assert_true(seen > s->count - s->count / 1000);
    assert_int_equal(differ, 0);
}

static void check_maps(enum x86_code_mode mode, bool is_vex)
{
    struct slots s;

    if (!objdump_is_there()) {
        print_message("no objdump\n");
        skip();
    }
    slots_make(&s, is_vex, false);
    check_slots(&s, mode);
    slots_free(&s);
}

static void no_hole_in_64_bit_mode(void **state)
{
    (void)state;
    check_maps(X86_CODE64, false);
}

static void no_hole_in_32_bit_mode(void **state)
{
    (void)state;
    check_maps(X86_CODE32, false);
}

static void no_hole_in_16_bit_mode(void **state)
{
    (void)state;
    check_maps(X86_CODE16, false);
}

static void no_hole_in_vex_64_bit(void **state)
{
    (void)state;
    check_maps(X86_CODE64, true);
}

static void no_hole_in_vex_32_bit(void **state)
{
    (void)state;
    check_maps(X86_CODE32, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_hole_in_64_bit_mode),
        cmocka_unit_test(no_hole_in_32_bit_mode),
        cmocka_unit_test(no_hole_in_16_bit_mode),
        cmocka_unit_test(no_hole_in_vex_64_bit),
        cmocka_unit_test(no_hole_in_vex_32_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
