/* Every row whose PRIVILEGE is SYSTEM or IO, in every mode and form it has, executed at
 * level 3: it traps, and nothing of the machine has changed.  And the other way round:
 * what the rows call USER and INNOCUOUS is never refused for the level alone, which is
 * seen by its doing at level 3 what it does at level 0.
 * rows: CON-11 FV-05 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "host/ram.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/encode.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

#define CODE   0x8000u
#define DATA   0x9000u
#define TABLES 0x10000u

struct machine {
    struct mem *mem;
    struct cpu *cpu;
    struct cpu_env env;
    bool trapped; /* no vector has a handler: an exception shuts down */
    unsigned exits;
};

static int on_exit_of_guest(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct machine *m = who;

    (void)c;
    m->trapped |= x->kind == CPU_EXIT_SHUTDOWN;
    m->exits += x->kind != CPU_EXIT_SHUTDOWN && x->kind != CPU_EXIT_BUDGET;
    return 1;
}

static void setup(struct machine *m)
{
    uint64_t entry[] = {(TABLES + 0x1000) | 7, (TABLES + 0x2000) | 7, 0x87};

    memset(m, 0, sizeof *m);
    m->env = (struct cpu_env){.exit = on_exit_of_guest, .who = m};
    assert_int_equal(ram_create(RAM_PRIVATE, &m->mem, NULL), 0);
    assert_int_equal(mem_add_ram(m->mem, 0, 2u << 20, false, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(mem_write(m->mem, TABLES + i * 0x1000, &entry[i], 8), 0);
    }
    assert_int_equal(
        interpret_create(m->mem, x86_model_find("host-like"), &m->env, 0, &m->cpu, NULL),
        0);
}

/* Code of that mode at level `cpl`; all registers point to data. */
static void registers(const struct machine *m, unsigned mode, uint8_t cpl,
                      struct x86_regs *r)
{
    cpu_get(m->cpu, r);
    for (unsigned n = 0; n < 16; n++) {
        r->gpr[n] = DATA + 0x100;
    }
    for (unsigned s = 0; s < 6; s++) {
        r->seg[s] = (struct x86_segment){.selector = (uint16_t)(0x10 | cpl),
                                         .limit = 0xffffffff,
                                         .attr = (uint16_t)(0x8093 | cpl << 5)};
    }
    r->seg[X86_CS].attr |= mode == X86_CODE64 ? 0x2008 : mode == X86_CODE32 ? 0x4008 : 8;
    r->cpl = cpl;
    r->cr0 = X86_CR0_PE | X86_CR0_ET;
    r->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXSAVE | X86_CR4_FSGSBASE;
    r->xcr0 = 7;
    r->rflags = 2;
    r->msr.efer = 0;
    r->fpu = (struct x86_fpu){.fcw = 0x37f, .mxcsr = 0x1f80};
    r->seg[X86_TR].limit = 0x60; /* no map: IOPL alone decides about ports */
    r->idtr.limit = 0;
    r->gpr[X86_RIP] = CODE;
    if (mode == X86_CODE64) {
        r->cr0 |= X86_CR0_PG;
        r->cr4 |= X86_CR4_PAE;
        r->cr3 = TABLES;
        r->msr.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE;
    }
}

/* Execute one instruction; true: it raised an exception. */
static bool run(struct machine *m, const uint8_t *bytes, int count, unsigned mode,
                uint8_t cpl)
{
    static const uint8_t zeros[0x800];
    struct x86_regs before;
    struct x86_regs after;

    assert_int_equal(mem_write(m->mem, DATA, zeros, sizeof zeros), 0);
    registers(m, mode, cpl, &before);
    assert_int_equal(cpu_set(m->cpu, &before, NULL), 0);
    assert_int_equal(mem_write(m->mem, CODE, bytes, (uint64_t)count), 0);
    m->trapped = false;
    m->exits = 0;
    assert_int_equal(cpu_run(m->cpu, 1), 0);
    if (m->trapped) {
        cpu_get(m->cpu, &after);
        assert_int_equal(m->exits, 0);
        assert_int_equal(after.gpr[X86_RIP], CODE);
        assert_memory_equal(after.gpr, before.gpr, 16 * sizeof before.gpr[0]);
        assert_int_equal(after.cr0, before.cr0);
        assert_int_equal(after.cr3, before.cr3);
        assert_int_equal(after.cr4, before.cr4);
        assert_int_equal(after.cpl, before.cpl);
        assert_int_equal(after.rflags, before.rflags);
        assert_memory_equal(&after.msr, &before.msr, sizeof after.msr);
        assert_memory_equal(after.seg, before.seg, sizeof after.seg);
        assert_memory_equal(after.dr, before.dr, sizeof after.dr);
        assert_int_equal(after.gdtr.base, before.gdtr.base);
        assert_int_equal(after.idtr.limit, before.idtr.limit);
    }
    return m->trapped;
}

static unsigned cells_of_kind(bool is_privileged, unsigned *ret_rows)
{
    struct machine m;
    unsigned seen = 0;

    setup(&m);
    *ret_rows = 0;
    for (unsigned row = 1; row < X86_ROW_COUNT; row++) {
        const struct x86_row_info *info = &x86_rows[row];
        struct x86_cell cells[X86_CELLS_MAX];
        unsigned n = x86_cells((enum x86_row)row, cells);

        if ((info->privilege != X86_USER) != is_privileged ||
            (!is_privileged && info->sensitivity != X86_INNOCUOUS)) {
            continue;
        }
        ++*ret_rows;
        for (unsigned k = 0; k < n; k++) {
            uint8_t bytes[X86_INSN_BYTES_MAX];
            struct x86_form form;
            bool traps;
            int count;

            x86_form_of_cell(&form, &cells[k]);
            count = x86_encode((enum x86_row)row, &form, bytes);
            if (count == 0) {
                continue;
            }
            traps = run(&m, bytes, count, cells[k].mode, 3);
            if (is_privileged ? !traps
                              : traps != run(&m, bytes, count, cells[k].mode, 0)) {
                fail_msg("%s (%s), mode %u: %s", info->id, info->mnemonic, cells[k].mode,
                         is_privileged ? "does not trap" : "differs by level");
            }
            seen++;
        }
    }
    cpu_destroy(m.cpu);
    mem_destroy(m.mem);
    return seen;
}

static void privileged_rows_trap_at_level_3_and_change_nothing(void **state)
{
    unsigned rows;
    unsigned cells = cells_of_kind(true, &rows);

    (void)state;
    print_message("%u privileged rows, %u cells\n", rows, cells);
    assert_in_range(rows, 30, 200);
}

static void innocuous_rows_do_the_same_at_level_0_and_3(void **state)
{
    unsigned rows;
    unsigned cells = cells_of_kind(false, &rows);

    (void)state;
    print_message("%u innocuous rows, %u cells\n", rows, cells);
    assert_in_range(rows, 500, 3000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(privileged_rows_trap_at_level_3_and_change_nothing),
        cmocka_unit_test(innocuous_rows_do_the_same_at_level_0_and_3),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
