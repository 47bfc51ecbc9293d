/* crossing_test.c - an instruction that begins in one page and ends in the next: the bytes
 * there are written, the page is another one, nothing may be executed in it; on both
 * engines.  Sums are counted by hand; where the fault comes is SDM volume 3A, 4.7 and 6.5.
 * rows: HYP-21 ISA-08 */
#include <string.h>

#include "engines.h"

#define SECOND 0x41000u
#define FN     (SECOND - 3) /* add $imm32, %rsi, with its immediate in the second page; ret */
#define OTHER  0x43000u     /* what is mapped there instead */
#define NX     (UINT64_C(1) << 63)
#define ROUNDS 200u
#define CALLS  20u /* of the function in each */

CODE(
    calls, ".code64",
    "mov $200, %ecx\n"
    "1: mov $20, %edx\n 2: call *%rbx\n dec %edx\n jnz 2b\n"
    "call *%r13\n dec %ecx\n jnz 1b\n mov %r14, (%r8)\n invlpg (%r12)\n call *%rbx\n hlt")
/* Called in each round: one to the immediate, and nothing. */
CODE(writes, ".code64", "addl $1, (%r12)\n ret")
/* The page is the other one, or the first again. */
CODE(maps, ".code64",
     "mov $0x43003, %eax\n test $1, %cl\n jz 1f\n mov $0x41003, %eax\n"
     "1: mov %eax, (%r8)\n invlpg (%r12)\n ret")

static void make(struct machine *m, struct x86_regs *r, uint64_t at_last)
{
    static const uint8_t add[] = {0x48, 0x81, 0xc6, 3, 0, 0, 0, 0xc3};
    static const uint8_t other[] = {5, 0, 0, 0, 0xc3};

    machine_put(m, MACHINE_CODE, calls, (uint64_t)(calls_end - calls));
    machine_put(m, 0x20000, writes, (uint64_t)(writes_end - writes));
    machine_put(m, 0x21000, maps, (uint64_t)(maps_end - maps));
    machine_put(m, FN, add, sizeof add);
    machine_put(m, OTHER, other, sizeof other);
    machine_regs(m, r);
    r->msr.efer |= X86_EFER_NXE;
    r->gpr[X86_RBX] = FN;
    r->gpr[X86_R8] = machine_entry(SECOND);
    r->gpr[X86_R12] = SECOND;
    r->gpr[X86_R14] = at_last;
}

static void run(struct machine *m, const struct x86_regs *r, struct x86_regs *ret)
{
    machine_set(m, r);
    do {
        assert_int_equal(cpu_run(m->cpu[0], UINT64_MAX), 0);
        machine_get(m, ret);
    } while (!ret->halted && m->seen[CPU_EXIT_SHUTDOWN] == 0);
    assert_int_equal(m->seen[CPU_EXIT_SHUTDOWN], 0);
}

static void the_bytes_behind_the_page_are_those_that_are_there(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        make(&m, &r, SECOND + 3);
        r.gpr[X86_R13] = 0x20000;
        run(&m, &r, &r);
        assert_int_equal(machine_vector(&m, &r), -1);
        assert_int_equal(r.gpr[X86_RSI],
                         CALLS * (3 * ROUNDS + ROUNDS * (ROUNDS - 1) / 2) + 3 + ROUNDS);
        machine_fini(&m);
    }
}

static void the_page_behind_is_the_one_that_is_mapped(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        make(&m, &r, OTHER + 3);
        r.gpr[X86_R13] = 0x21000;
        run(&m, &r, &r);
        assert_int_equal(machine_vector(&m, &r), -1);
        /* The first round has the first page; an even number of rounds left, the other. */
        assert_int_equal(r.gpr[X86_RSI], CALLS * (ROUNDS / 2 * (3 + 5)) + 5);
        machine_fini(&m);
    }
}

static void the_fetch_behind_the_page_faults(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        make(&m, &r, NX | (SECOND + 3));
        r.gpr[X86_R13] = 0x21000;
        run(&m, &r, &r);
        assert_int_equal(machine_vector(&m, &r), X86_PF);
        assert_int_equal(r.cr2, SECOND);
        assert_int_equal(machine_peek(&m, r.gpr[X86_RSP], 8), 0x11); /* P, I */
        assert_int_equal(machine_peek(&m, r.gpr[X86_RSP] + 8, 8), FN);
        assert_int_equal(r.gpr[X86_RSI], CALLS * (ROUNDS / 2 * (3 + 5)));
        machine_fini(&m);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_behind_the_page_are_those_that_are_there),
        cmocka_unit_test(the_page_behind_is_the_one_that_is_mapped),
        cmocka_unit_test(the_fetch_behind_the_page_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
