/* system_test.c - what systems do in translated code: code of global pages in several
 * address spaces; on both engines.  What is expected is counted by hand; that global
 * translations outlive a change of space is SDM volume 3A, 4.10.4.1.
 * rows: HYP-21 ISA-08 */
#include <string.h>

#include "engines.h"

#define PAGES  MACHINE_TABLES
#define FN     0x40000u  /* a page of a function */
#define GLOBAL 0x43000u  /* a global one */
#define OTHER  0x300000u /* tables of the second space: levels 4, 3, 2 and one of pages */
#define G      0x100u
#define KEEP   (UINT64_C(1) << 63) /* of CR3 with PCIDs: flush nothing */

static void run(struct machine *m, const struct x86_regs *r, struct x86_regs *ret)
{
    machine_set(m, r);
    do {
        assert_int_equal(cpu_run(m->cpu[0], UINT64_MAX), 0);
        machine_get(m, ret);
    } while (!ret->halted && m->seen[CPU_EXIT_SHUTDOWN] == 0);
    assert_int_equal(m->seen[CPU_EXIT_SHUTDOWN], 0);
}

/* ---- address spaces ---- */

/* Two spaces, of r8 and r9, that share their global pages of code, and have one each at FN:
 * there the system's code is not global, until the next switch.  Then a global page, at
 * r12, is mapped anew in both. */
CODE(globals, ".code64",
     "mov $200, %ecx\n mov $0x40000, %ebx\n"
     "1: mov %r8, %cr3\n call *%r12\n call *%rbx\n call globals + 0x20000\n call *%r12\n"
     "mov %r9, %cr3\n call *%r12\n call *%rbx\n call globals + 0x20000\n call *%r12\n"
     "dec %ecx\n jnz 1b\n"
     "mov $100, %ecx\n 1: mov $0x42103, %eax\n test $1, %cl\n jz 2f\n"
     "mov $0x41103, %eax\n 2: mov %eax, (%r10)\n mov %eax, (%r11)\n invlpg (%r12)\n"
     "mov %r8, %cr3\n call *%r12\n call globals + 0x33000\n"
     "mov %r9, %cr3\n call *%r12\n call globals + 0x33000\n"
     "dec %ecx\n jnz 1b\n hlt")

static void put_function(struct machine *m, gpa at, uint8_t adds)
{
    const uint8_t fn[] = {0x48, 0x83, 0xc6, adds, 0xc3}; /* add rsi, adds; ret */

    machine_put(m, at, fn, sizeof fn);
}

static gpa other_entry(gpa page)
{
    return OTHER + 0x3000 + (page >> 12) * 8;
}

static void make_other(struct machine *m)
{
    unsigned n;

    machine_poke(m, OTHER, OTHER + 0x1003, 8);
    machine_poke(m, OTHER + 0x1000, OTHER + 0x2003, 8);
    machine_poke(m, OTHER + 0x2000, OTHER + 0x3003, 8);
    for (n = 1; n < 4; n++) {
        machine_poke(m, OTHER + 0x2000 + n * 8, PAGES + 0x4003 + n * 0x1000, 8);
    }
    for (n = 0; n < 512; n++) {
        machine_poke(m, other_entry((gpa)n * 4096), (uint64_t)n * 4096 + 3, 8);
    }
}

static void make_globals(struct machine *m, struct x86_regs *r)
{
    static const gpa pages[] = {MACHINE_CODE, 0x30000, GLOBAL};
    unsigned n;

    machine_put(m, MACHINE_CODE, globals, (uint64_t)(globals_end - globals));
    machine_put(m, 0x30000, "\xe9\xfb\xff\x00\x00", 5); /* jmp FN: to another page */
    put_function(m, FN, 1);
    put_function(m, FN + 0x1000, 3);
    put_function(m, FN + 0x2000, 5);
    put_function(m, GLOBAL, 7);
    make_other(m);
    machine_poke(m, other_entry(FN), FN + 0x1003, 8);
    for (n = 0; n < 3; n++) {
        machine_poke(m, machine_entry(pages[n]), pages[n] + G + 3, 8);
        machine_poke(m, other_entry(pages[n]), pages[n] + G + 3, 8);
    }
    machine_regs(m, r);
    r->cr4 |= X86_CR4_PGE;
    r->gpr[X86_R8] = PAGES;
    r->gpr[X86_R9] = OTHER;
    r->gpr[X86_R10] = other_entry(GLOBAL);
    r->gpr[X86_R11] = machine_entry(GLOBAL);
    r->gpr[X86_R12] = GLOBAL;
}

static void code_of_global_pages_is_one_for_all_spaces(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    for (n = 0; n < ENGINES * 2; n++) {
        if (!engines_init(&m, MACHINE_LONG, n / 2)) {
            skip();
        }
        make_globals(&m, &r);
        if (n % 2 != 0) {
            r.cr4 |= X86_CR4_PCIDE;
            r.gpr[X86_R8] |= KEEP | 1;
            r.gpr[X86_R9] |= KEEP | 2;
        }
        run(&m, &r, &r);
        assert_int_equal(r.gpr[X86_RSI], 200 * (2 * (1 + 3) + 4 * 7) + 50 * 4 * (3 + 5));
        machine_fini(&m);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_of_global_pages_is_one_for_all_spaces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
