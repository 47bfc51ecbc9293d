/* run_test.c - the run loop: budgets, kicks, interrupts, halts, making and ending.
 * rows: ISA-02 */
#include <pthread.h>
#include <unistd.h>

#include "base/err.h"
#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

static uint64_t executed(struct machine *m)
{
    struct cpu_counters k;

    cpu_count(m->cpu[0], &k);
    return k.interpreted;
}

/* 2 + 10 * 4 + 1 instructions */
CODE(loop10, ".code64",
     "xor %eax, %eax\n"
     "mov $10, %ecx\n"
     "1: inc %eax\n"
     "nop\n"
     "dec %ecx\n"
     "jne 1b\n"
     "hlt\n")

static void a_budget_is_exact_wherever_it_ends(void **state)
{
    struct machine m;
    struct x86_regs whole;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, loop10, loop10_end, NULL, &whole);
    assert_int_equal(executed(&m), 43);
    for (uint64_t first = 0; first <= 43; first++) {
        struct x86_regs r;
        uint64_t before = executed(&m);

        machine_regs(&m, &r);
        machine_set(&m, &r);
        m.seen[CPU_EXIT_BUDGET] = 0;
        assert_int_equal(cpu_run(m.cpu[0], first), 0);
        assert_int_equal(executed(&m) - before, first);
        assert_int_equal(m.seen[CPU_EXIT_BUDGET], 1);
        machine_get(&m, &r);
        assert_true(first < 43 || r.halted);
        for (uint64_t n = first; n < 43; n++) {
            assert_int_equal(cpu_run(m.cpu[0], 1), 0);
        }
        assert_int_equal(executed(&m) - before, 43);
        machine_get(&m, &r);
        assert_memory_equal(r.gpr, whole.gpr, sizeof r.gpr);
    }
    machine_fini(&m);
}

/* The load faults behind two instructions of its block. */
CODE(faults, ".code64", "nop\nnop\nmov 0x7ff000, %eax\nnop\nhlt\n")

static void a_fault_counts_what_was_done_before_it(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_poke(&m, machine_entry(0x7ff000), 0, 8);
    machine_run(&m, faults, faults_end, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), X86_PF);
    assert_int_equal(executed(&m), 3); /* two, and the handler's HLT */
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP] + 8, 8), MACHINE_CODE + 2);
    machine_fini(&m);
}

CODE(repeat, ".code64",
     "mov $0x100000, %edi\n"
     "mov $60000, %ecx\n"
     "rep stosb\n"
     "hlt\n")

static void a_repeated_instruction_counts_once(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, repeat, repeat_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RDI], 0x100000 + 60000);
    assert_int_equal(executed(&m), 4);
    machine_fini(&m);
}

/* Four thousand million loads, nearly all outside RAM. */
CODE(endless, ".code32", "mov $-1, %ecx\nrep lodsb\nhlt\n")

static void a_budget_bounds_a_repeated_instruction(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_FLAT32, "base");
    machine_put(&m, MACHINE_CODE, endless, (uint64_t)(endless_end - endless));
    machine_regs(&m, &r);
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], 5), 0);
    machine_get(&m, &r);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + 5);
    assert_int_equal(r.gpr[X86_RCX], 0xffffffff - 4 * 65536);
    machine_fini(&m);
}

CODE(forever, ".code64", "1: jmp 1b\n")

static void *kick_soon(void *arg)
{
    struct machine *m = arg;

    usleep(20000);
    cpu_kick(m->cpu[0], CPU_KICK_STOP);
    return NULL;
}

static void a_kick_from_another_thread_stops_a_loop(void **state)
{
    struct machine m;
    struct x86_regs r;
    pthread_t t;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_regs(&m, &r);
    machine_put(&m, MACHINE_CODE, forever, 2);
    machine_set(&m, &r);
    assert_int_equal(pthread_create(&t, NULL, kick_soon, &m), 0);
    assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
    pthread_join(t, NULL);
    assert_int_equal(m.seen[CPU_EXIT_KICKED], 1);
    machine_get(&m, &r);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE);
    machine_fini(&m);
}

/* IF is set by the third instruction; STI holds interrupts back for one more. */
CODE(window, ".code64",
     "mov $5, %ecx\n"
     "1: loop 1b\n"
     "sti\n"
     "inc %eax\n"
     "inc %eax\n"
     "hlt\n")

static void an_interrupt_waits_for_its_window(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    m.pending = 0x21;
    cpu_kick(m.cpu[0], CPU_KICK_INTERRUPT);
    machine_run(&m, window, window_end, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), 0x21);
    assert_int_equal(r.gpr[X86_RAX], 1);
    assert_int_equal(m.pending, -1);
    machine_fini(&m);
}

CODE(sleeper, ".code64", "sti\nhlt\ninc %eax\ncli\nhlt\n")

static void an_interrupt_ends_a_halt(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, sleeper, sleeper_end, NULL, &r);
    assert_true(r.halted);
    assert_int_equal(m.seen[CPU_EXIT_HALT], 1);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + 2);
    assert_int_equal(cpu_run(m.cpu[0], 100), 0);
    assert_int_equal(m.seen[CPU_EXIT_HALT], 2); /* still nothing to do */
    m.pending = 0x30;
    cpu_kick(m.cpu[0], CPU_KICK_INTERRUPT);
    assert_int_equal(cpu_run(m.cpu[0], 100), 0);
    machine_get(&m, &r);
    assert_int_equal(machine_vector(&m, &r), 0x30);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP], 8), MACHINE_CODE + 2);
    machine_fini(&m);
}

CODE(busy, ".code64", "mov $100, %ecx\n1: loop 1b\nhlt\n")

static void an_nmi_needs_no_window_and_masks_itself(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    cpu_kick(m.cpu[0], CPU_KICK_NMI);
    machine_run(&m, busy, busy_end, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), X86_NMI);
    assert_true(r.nmi_masked);
    machine_fini(&m);
}

CODE(port, ".code64", "out %al, $0x80\nmov $1, %ebx\nhlt\n")

static void an_exit_that_says_stop_stops_behind_its_instruction(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, port, port_end, NULL, &r);
    assert_int_equal(m.seen[CPU_EXIT_OUT], 1);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + 2);
    assert_int_equal(r.gpr[X86_RBX], 0);
    assert_int_equal(cpu_run(m.cpu[0], 100), 0);
    machine_get(&m, &r);
    assert_int_equal(r.gpr[X86_RBX], 1);
    machine_fini(&m);
}

/* A store outside RAM in the middle of a block. */
CODE(outside, ".code64",
     "mov $0x12345678, %eax\nmov %eax, (%rdi)\ninc %ebx\ninc %ebx\nhlt\n")

static void a_store_outside_ram_stops_in_the_middle_of_a_block(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_FLAT32, "base");
    machine_regs(&m, &r);
    r.gpr[X86_RDI] = 0xc0000000;
    machine_run(&m, outside, outside_end, &r, &r);
    assert_int_equal(m.seen[CPU_EXIT_WRITE], 1);
    assert_int_equal(m.exits[0].address, 0xc0000000);
    assert_int_equal(m.exits[0].value, 0x12345678);
    assert_int_equal(r.gpr[X86_RBX], 0);
    assert_int_equal(executed(&m), 2);
    machine_fini(&m);
}

static void making_one_fails_cleanly_at_every_allocation(void **state)
{
    struct machine m;
    struct cpu *c = NULL;
    struct err e = {0};
    long n = 0;
    int r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    do {
        e = (struct err){0};
        fault_fail_alloc_at(n++);
        r = interpret_create(m.mem, x86_model_find("base"), &m.env, 5, &c, &e);
        assert_true(r == 0 || (r == -12 && c == NULL && e.code == -12));
    } while (r != 0);
    fault_fail_alloc_at(-1);
    assert_true(n > 3);
    cpu_destroy(c);
    machine_fini(&m);
}

static void registers_no_processor_holds_are_refused(void **state)
{
    struct machine m;
    struct x86_regs r;
    struct x86_regs after;
    struct err e = {0};

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_regs(&m, &r);
    machine_set(&m, &r);
    r.cr0 &= ~(uint64_t)X86_CR0_PE;
    r.gpr[X86_RAX] = 5;
    assert_int_equal(cpu_set(m.cpu[0], &r, &e), -22);
    machine_get(&m, &after);
    assert_int_equal(after.gpr[X86_RAX], 0);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_exact_wherever_it_ends),
        cmocka_unit_test(a_fault_counts_what_was_done_before_it),
        cmocka_unit_test(a_repeated_instruction_counts_once),
        cmocka_unit_test(a_budget_bounds_a_repeated_instruction),
        cmocka_unit_test(a_kick_from_another_thread_stops_a_loop),
        cmocka_unit_test(an_interrupt_waits_for_its_window),
        cmocka_unit_test(an_interrupt_ends_a_halt),
        cmocka_unit_test(an_nmi_needs_no_window_and_masks_itself),
        cmocka_unit_test(an_exit_that_says_stop_stops_behind_its_instruction),
        cmocka_unit_test(a_store_outside_ram_stops_in_the_middle_of_a_block),
        cmocka_unit_test(making_one_fails_cleanly_at_every_allocation),
        cmocka_unit_test(registers_no_processor_holds_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
