/* model_test.c - what a CPUID model does not have is not there: every form of every row
 * whose feature a model lacks gives #UD, in 32- and 64-bit code; what it has, does not
 * for that reason.
 * rows: CON-06 */
#include <string.h>

#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/encode.h"
#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

struct tally {
    unsigned absent, present;
};

static void run_absent(struct machine *m, const uint8_t *code, int length,
                       const char *what)
{
    struct x86_regs r, after;

    machine_regs(m, &r);
    for (unsigned n = 0; n < X86_RSP; n++) {
        r.gpr[n] = MACHINE_DATA + 0x100;
    }
    machine_run(m, code, code + length, &r, &after);
    if (machine_vector(m, &after) != X86_UD) {
        fail_msg("%s: vector %d", what, machine_vector(m, &after));
    }
}

static void try_cell(struct machine *m, const struct x86_model *model,
                     const struct x86_cell *c, struct tally *t)
{
    const struct x86_row_info *info = &x86_rows[c->row];
    uint8_t code[X86_INSN_BYTES_MAX];
    struct x86_form f;
    struct x86_insn i;
    int length;

    if (strcmp(info->mnemonic, "tzcnt") == 0 || strcmp(info->mnemonic, "lzcnt") == 0) {
        return; /* without the feature they are BSF and BSR, not refused */
    }
    x86_form_of_cell(&f, c);
    f.reg = 1;
    f.rm = 2;
    f.vvvv = 3;
    f.imm8 = 4;
    length = x86_encode((enum x86_row)c->row, &f, code);
    if (length == 0) {
        return;
    }
    if (!x86_model_has(model, info->feature)) {
        t->absent++;
        run_absent(m, code, length, info->id);
        return;
    }
    assert_int_equal(x86_decode(code, (unsigned)length, (enum x86_code_mode)c->mode, &i),
                     X86_DECODED);
    interpret_bind(model, true, &i);
    if (strncmp(info->mnemonic, "ud", 2) != 0 && i.run == x86_bad_insn) {
        fail_msg("%s is refused by a model that has it", info->id);
    }
    t->present++;
}

static struct tally try_model(const char *name, enum machine_mode mode)
{
    const struct x86_model *model = x86_model_find(name);
    struct tally t = {0, 0};
    struct machine m;

    machine_init(&m, mode, name);
    for (unsigned row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        struct x86_cell cells[X86_CELLS_MAX];
        unsigned n = x86_cells((enum x86_row)row, cells);

        for (unsigned k = 0; k < n; k++) {
            if (cells[k].mode == (mode == MACHINE_LONG ? X86_CODE64 : X86_CODE32)) {
                try_cell(&m, model, &cells[k], &t);
            }
        }
    }
    machine_fini(&m);
    print_message("%s: %u forms absent, %u present\n", name, t.absent, t.present);
    return t;
}

static void i686_has_no_vectors_beyond_mmx(void **state)
{
    struct tally t = try_model("i686", MACHINE_FLAT32);

    (void)state;
    assert_true(t.absent > 1000 && t.present > 500);
}

static void base_has_no_avx(void **state)
{
    (void)state;
    assert_true(try_model("base", MACHINE_LONG).absent > 500);
    assert_true(try_model("base", MACHINE_FLAT32).absent > 500);
}

static void v3_has_no_aes_and_no_sha(void **state)
{
    struct tally t = try_model("v3", MACHINE_LONG);

    (void)state;
    assert_true(t.absent > 10 && t.present > 3000);
}

static void host_like_has_all(void **state)
{
    (void)state;
    assert_int_equal(try_model("host-like", MACHINE_LONG).absent, 0);
}

/* Long mode itself: there is no EFER, so the machine is asked (and answers #GP), and
 * CPUID does not show it. */
static void i686_cannot_enter_long_mode(void **state)
{
    static const uint8_t code[] = {0xb9, 0x80, 0, 0,    0xc0, 0xb8, 0,
                                   1,    0,    0, 0x31, 0xd2, 0x0f, 0x30};
    struct machine m;
    struct x86_regs after;

    (void)state;
    machine_init(&m, MACHINE_FLAT32, "i686");
    machine_run(&m, code, code + sizeof code, NULL, &after);
    assert_int_equal(m.seen[CPU_EXIT_MSR_WRITE], 1);
    assert_int_equal(after.msr.efer, 0);
    assert_false(x86_model_has(x86_model_find("i686"), X86_F_LM));
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(i686_has_no_vectors_beyond_mmx),
        cmocka_unit_test(base_has_no_avx),
        cmocka_unit_test(v3_has_no_aes_and_no_sha),
        cmocka_unit_test(host_like_has_all),
        cmocka_unit_test(i686_cannot_enter_long_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
