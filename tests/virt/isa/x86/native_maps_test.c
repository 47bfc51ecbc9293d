/* native_maps_test.c - the opcode maps of 64-bit mode on the processor that runs the
 * test: what raises #UD there has no row, and what has a row and the feature does not.
 * What would leave the child (system calls) or break it (segment loads, protection
 * keys) is left out.
 *
 * rows: CON-09 */
#include <string.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/native.h"
#include "tests/virt/isa/x86/slots.h"
#include "virt/isa/x86/x86.h"

#define SHOWN_MOST 60

/* What must not run in the child. */
static bool is_dangerous(const char *text)
{
    static const char *const names[] = {
        "sysc",   "syse",   "int ", "int1", "wrfsbase", "wrgsbase", "lfs", "lgs", "lss",
        "pop fs", "pop gs", "iret", "retf", "xrstor",   "fs",       "gs",  "popf"};

    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        if (strncmp(text, names[k], strlen(names[k])) == 0) {
            return true;
        }
    }
    return strncmp(text, "mov ", 4) == 0 && text[5] == 's' &&
           text[6] == ','; /* mov fs,ax */
}

/* Mark what is not to be tried; objdump knows the names. */
static void leave_out(const struct slots *s, struct native *all)
{
    FILE *f = objdump_bytes(s->bytes, s->count * s->stride, X86_CODE64);
    struct objdump_line o;

    assert_non_null(f);
    while (objdump_next(f, &o)) {
        objdump_normalise(o.text);
        if (o.at % s->stride == 0 &&
            (slots_is_foreign(&o, o.text) || is_dangerous(o.text))) {
            all[o.at / s->stride].verdict = NATIVE_LEFT_OUT;
        }
    }
    objdump_close(f);
}

/* SYSTEM instructions fault with #GP here, so they are there; but CLAC and STAC are
 * undefined outside CPL 0, and UD0 to UD2 are so by design. */
static bool agrees(const struct native *one, struct x86_insn *ret_insn)
{
    enum x86_decode_result r = x86_decode(one->bytes, NATIVE_BYTES, X86_CODE64, ret_insn);
    bool is_row = r == X86_DECODED && ret_insn->row != X86_INVALID;

    if (one->verdict == NATIVE_UNDEFINED) {
        return !is_row || !native_has(x86_rows[ret_insn->row].feature) ||
               ret_insn->row == X86_R_CLAC || ret_insn->row == X86_R_STAC ||
               strncmp(x86_rows[ret_insn->row].mnemonic, "ud", 2) == 0;
    }
    return is_row;
}

static void check_maps(bool vex)
{
    struct slots s;
    struct native *all;
    unsigned differ = 0;
    unsigned tried = 0;

    if (!objdump_is_there()) {
        print_message("no objdump\n");
        skip();
    }
    slots_make(&s, vex, true);
    all = native_make(s.count);
    for (size_t n = 0; n < s.count; n++) {
        memcpy(all[n].bytes, s.bytes + n * s.stride, NATIVE_BYTES);
    }
    leave_out(&s, all);
    native_run(all, s.count, X86_CODE64);
    for (size_t n = 0; n < s.count; n++) {
        const uint8_t *b = all[n].bytes;
        struct x86_insn i = {0};

        if (all[n].verdict == NATIVE_LEFT_OUT) {
            continue;
        }
        tried++;
        if (!agrees(&all[n], &i) && differ++ < SHOWN_MOST) {
            print_message("%02x %02x %02x %02x %02x %02x: row %s, but it is %s\n", b[0],
                          b[1], b[2], b[3], b[4], b[5], x86_rows[i.row].id,
                          all[n].verdict == NATIVE_UNDEFINED ? "undefined" : "executed");
        }
    }
    print_message("%u of %zu encodings executed, %u differ\n", tried, s.count, differ);
    native_free(all, s.count);
    slots_free(&s);
    assert_int_equal(differ, 0);
}

static void legacy_maps_are_what_the_host_executes(void **state)
{
    (void)state;
    check_maps(false);
}

static void vex_maps_are_what_the_host_executes(void **state)
{
    (void)state;
    check_maps(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legacy_maps_are_what_the_host_executes),
        cmocka_unit_test(vex_maps_are_what_the_host_executes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
