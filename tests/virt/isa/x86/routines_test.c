/* routines_test.c - every form that a row has in some mode has its routine: no
 * instruction becomes #UD because a family lacks an entry.
 *
 * rows: ISA-02 CON-11 */
#include "tests/base/check.h"
#include "virt/isa/x86/encode.h"

#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    extern const struct x86_family x86_do_##routine;
#include "virt/isa/x86/rows.h"

static const struct x86_family *const families[X86_ROW_COUNT] = {
    NULL,
#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    &x86_do_##routine,
#include "virt/isa/x86/rows.h"
};

static unsigned missing_routines(unsigned row)
{
    static const char *const modes[] = {"16-bit", "32-bit", "64-bit"};
    const struct x86_family *f = families[row];
    struct x86_cell cells[X86_CELLS_MAX];
    unsigned n = x86_cells((enum x86_row)row, cells);
    unsigned missing = 0;

    for (unsigned k = 0; k < n; k++) {
        const struct x86_cell *c = &cells[k];

        if ((c->is_memory ? f->mem : f->reg)[c->size] == NULL) {
            print_message("%s '%s': no routine for size %u, %s, %s\n", x86_rows[row].id,
                          x86_rows[row].encoding, c->size,
                          c->is_memory ? "memory" : "register", modes[c->mode]);
            missing++;
        }
    }
    return missing;
}

static void every_form_has_a_routine(void **state)
{
    unsigned missing = 0;

    (void)state;
    for (unsigned row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        missing += missing_routines(row);
    }
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_has_a_routine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
