/* memory_test.c - integer instructions with memory: what is changed when, locks, the
 * stack's corners.
 * rows: ISA-02 CON-09 */
#include <pthread.h>

#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/cpu.h"

#define PAGE_MISSING  0x300000u
#define PAGE_READONLY 0x301000u

static void start(struct machine *m, struct x86_regs *r)
{
    machine_init(m, MACHINE_LONG, "v3");
    machine_poke(m, machine_entry(PAGE_MISSING), 0, 8);
    machine_poke(m, machine_entry(PAGE_READONLY), PAGE_READONLY + 1, 8);
    machine_regs(m, r);
}

/* The fault of `vector`, with every register but the stack pointer as before. */
static void check_fault(struct machine *m, const struct x86_regs *before,
                        const struct x86_regs *after, int vector)
{
    assert_int_equal(machine_vector(m, after), vector);
    for (unsigned n = 0; n < 16; n++) {
        if (n != X86_RSP) {
            assert_int_equal(after->gpr[n], before->gpr[n]);
        }
    }
    assert_int_equal(machine_peek(m, after->gpr[X86_RSP] + 32, 8), before->gpr[X86_RSP]);
}

CODE(cmpxchg_ro, ".code64", "cmpxchg %ecx, (%rdi)\nhlt\n")
CODE(pop_ro, ".code64", "pop (%rdi)\nhlt\n")
CODE(xadd_missing, ".code64", "xadd %eax, (%rdi)\nhlt\n")
CODE(shift0_ro, ".code64", "shll %cl, (%rdi)\nhlt\n")
CODE(bts_missing, ".code64", "bts %eax, (%rdi)\nhlt\n")
CODE(cmov_missing, ".code64", "cmovc (%rdi), %eax\nhlt\n")
CODE(leave_missing, ".code64", "leave\nhlt\n")
CODE(enter_missing, ".code64", "enter $0x100, $0\nhlt\n")
CODE(call_missing, ".code64", "call 1f\n1: hlt\n")

static void faults_change_nothing(void **state)
{
    static const struct {
        const uint8_t *from, *to;
        uint64_t rdi, rbp, rsp;
    } cases[] = {
        {cmpxchg_ro, cmpxchg_ro_end, PAGE_READONLY, 0, MACHINE_STACK},
        {pop_ro, pop_ro_end, PAGE_READONLY, 0, MACHINE_STACK - 8},
        {xadd_missing, xadd_missing_end, PAGE_MISSING, 0, MACHINE_STACK},
        {shift0_ro, shift0_ro_end, PAGE_READONLY, 0, MACHINE_STACK},
        {bts_missing, bts_missing_end, PAGE_MISSING - 4, 0, MACHINE_STACK},
        {cmov_missing, cmov_missing_end, PAGE_MISSING, 0, MACHINE_STACK},
        {leave_missing, leave_missing_end, 0, PAGE_MISSING, MACHINE_STACK},
    };

    (void)state;
    for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct machine m;
        struct x86_regs before;
        struct x86_regs after;

        start(&m, &before);
        before.gpr[X86_RAX] = 32 + 5;
        before.gpr[X86_RCX] = 0;
        before.gpr[X86_RDI] = cases[n].rdi;
        before.gpr[X86_RBP] = cases[n].rbp;
        before.gpr[X86_RSP] = cases[n].rsp;
        machine_run(&m, cases[n].from, cases[n].to, &before, &after);
        check_fault(&m, &before, &after, X86_PF);
        machine_fini(&m);
    }
}

/* With the stack in the missing page the delivery faults too: a double fault, whose
 * frame cannot be pushed either. */
static void pushes_into_a_missing_page_end_in_shutdown(void **state)
{
    struct machine m;
    struct x86_regs before;
    struct x86_regs after;

    (void)state;
    start(&m, &before);
    before.gpr[X86_RSP] = PAGE_MISSING + 0x100;
    machine_run(&m, call_missing, call_missing_end, &before, &after);
    assert_int_equal(m.seen[CPU_EXIT_SHUTDOWN], 1);
    assert_int_equal(after.gpr[X86_RIP], MACHINE_CODE);
    assert_int_equal(after.gpr[X86_RSP], PAGE_MISSING + 0x100);
    machine_run(&m, enter_missing, enter_missing_end, &before, &after);
    assert_int_equal(m.seen[CPU_EXIT_SHUTDOWN], 2);
    assert_int_equal(after.gpr[X86_RSP], PAGE_MISSING + 0x100);
    machine_fini(&m);
}

CODE(stack, ".code64",
     "push %rsp\n" /* the value before */
     "pop %rax\n"
     "push $-2\n"
     "push $7\n"
     "pop (%rsp)\n" /* the address with rsp moved */
     "pop %rbx\n"
     "pushw $0x1234\n"
     "mov %rsp, %rcx\n"
     "popw %dx\n"
     "mov $0x100, %rbp\n"
     "enter $0x20, $0\n"
     "mov %rsp, %rsi\n"
     "mov %rbp, %rdi\n"
     "leave\n"
     "push $0x55\n"
     "pop %rsp\n"
     "hlt\n")

static void the_stack_is_as_the_manual_has_it(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    start(&m, &r);
    machine_run(&m, stack, stack_end, &r, &r);
    assert_int_equal(r.gpr[X86_RAX], MACHINE_STACK);
    assert_int_equal(r.gpr[X86_RBX], 7);
    assert_int_equal(r.gpr[X86_RCX], MACHINE_STACK - 2);
    assert_int_equal(r.gpr[X86_RDX], 0x1234);
    assert_int_equal(r.gpr[X86_RDI], MACHINE_STACK - 8);
    assert_int_equal(r.gpr[X86_RSI], MACHINE_STACK - 8 - 0x20);
    assert_int_equal(r.gpr[X86_RBP], 0x100);
    assert_int_equal(r.gpr[X86_RSP], 0x55);
    machine_fini(&m);
}

/* Nested frames: the two outer pointers are copied, then the new one. */
CODE(nested, ".code64",
     "enter $0, $1\n"
     "enter $0, $2\n"
     "enter $16, $3\n"
     "mov (%rbp), %rax\n"
     "mov -8(%rbp), %rbx\n"
     "mov -16(%rbp), %rcx\n"
     "mov -24(%rbp), %rdx\n"
     "hlt\n")

static void enter_copies_the_display(void **state)
{
    uint64_t first = MACHINE_STACK - 8;
    uint64_t second = first - 8 - 8;
    uint64_t third = second - 16 - 8;
    struct machine m;
    struct x86_regs r;

    (void)state;
    start(&m, &r);
    machine_run(&m, nested, nested_end, &r, &r);
    assert_int_equal(r.gpr[X86_RAX], second);
    assert_int_equal(r.gpr[X86_RBX], first);
    assert_int_equal(r.gpr[X86_RCX], second);
    assert_int_equal(r.gpr[X86_RDX], third);
    assert_int_equal(r.gpr[X86_RBP], third);
    assert_int_equal(r.gpr[X86_RSP], third - 24 - 16);
    machine_fini(&m);
}

CODE(bits, ".code64",
     "mov $0x100100, %edi\n"
     "mov $-1, %rax\n"
     "btsq %rax, (%rdi)\n" /* bit 63 of the word before */
     "mov $-33, %eax\n"
     "btsl %eax, (%rdi)\n" /* bit 31 of the second dword before */
     "mov $1000, %eax\n"
     "btcl %eax, (%rdi)\n"
     "btl %eax, (%rdi)\n"
     "setc %bl\n"
     "lock btrl %eax, (%rdi)\n"
     "setc %bh\n"
     "lock btrl $33, (%rdi)\n" /* immediates count modulo 32 */
     "hlt\n")

static void bit_offsets_reach_both_ways(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    start(&m, &r);
    machine_poke(&m, 0x100100, 0xff, 8);
    machine_run(&m, bits, bits_end, &r, &r);
    assert_int_equal(machine_peek(&m, 0x1000f8, 8), 0x8000000080000000);
    assert_int_equal(r.gpr[X86_RBX] & 0xffff, 0x0101);
    assert_int_equal(machine_peek(&m, 0x100100, 8), 0xfd);
    assert_int_equal(machine_peek(&m, 0x100100 + 1000 / 32 * 4, 4), 0);
    machine_fini(&m);
}

CODE(exchanges, ".code64",
     "mov $0x100ffc, %edi\n" /* over two pages */
     "movabs $0x1111111122222222, %rax\n"
     "mov %rax, (%rdi)\n"
     "mov $5, %ebx\n"
     "lock xadd %rbx, (%rdi)\n"
     "mov (%rdi), %rcx\n"
     "lock cmpxchg %rdi, (%rdi)\n" /* differs: rax is loaded */
     "setz %dl\n"
     "lock cmpxchg %rdi, (%rdi)\n" /* the same: rdi is stored */
     "setz %dh\n"
     "mov $0x100010, %esi\n"
     "movq $7, (%rsi)\n"
     "movq $8, 8(%rsi)\n"
     "mov %rax, %r8\n"
     "push %rdx\n"
     "mov $7, %eax\n"
     "mov $8, %edx\n"
     "push %rbx\n"
     "push %rcx\n"
     "mov $9, %ebx\n"
     "mov $10, %ecx\n"
     "lock cmpxchg16b (%rsi)\n"
     "setz %r9b\n"
     "pop %rcx\n"
     "pop %rbx\n"
     "pop %rdx\n"
     "hlt\n")

static void exchanges_work_over_pages_and_in_sixteen_bytes(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    start(&m, &r);
    machine_run(&m, exchanges, exchanges_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), -1);
    assert_int_equal(r.gpr[X86_RBX], 0x1111111122222222);
    assert_int_equal(r.gpr[X86_RCX], 0x1111111122222227);
    assert_int_equal(r.gpr[X86_R8], 0x1111111122222227);
    assert_int_equal(r.gpr[X86_RDX] & 0xffff, 0x0100);
    assert_int_equal(machine_peek(&m, 0x100ffc, 8), 0x100ffc);
    assert_int_equal(r.gpr[X86_R9], 1);
    assert_int_equal(machine_peek(&m, 0x100010, 8), 9);
    assert_int_equal(machine_peek(&m, 0x100018, 8), 10);
    machine_fini(&m);
}

/* Two processors add to one counter. */
CODE(adder, ".code64",
     "mov $300000, %ecx\n"
     "1: lock incl 0x100000\n"
     "lock addl $2, 0x100ffe\n" /* over two pages */
     "mov $1, %eax\n"
     "lock xadd %eax, 0x100040\n"
     "loop 1b\n"
     "hlt\n")

static void *run_other(void *arg)
{
    struct machine *m = arg;

    (void)cpu_run(m->cpu[1], UINT64_MAX);
    return NULL;
}

static void locked_changes_of_two_processors_all_count(void **state)
{
    struct machine m;
    struct x86_regs r;
    pthread_t t;

    (void)state;
    start(&m, &r);
    machine_put(&m, MACHINE_CODE, adder, (uint64_t)(adder_end - adder));
    r.gpr[X86_RSP] = 0x60000;
    assert_int_equal(cpu_set(m.cpu[1], &r, NULL), 0);
    assert_int_equal(pthread_create(&t, NULL, run_other, &m), 0);
    machine_regs(&m, &r);
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
    pthread_join(t, NULL);
    assert_int_equal(machine_peek(&m, 0x100000, 4), 600000);
    assert_int_equal(machine_peek(&m, 0x100ffe, 4), 1200000);
    assert_int_equal(machine_peek(&m, 0x100040, 4), 600000);
    machine_fini(&m);
}

CODE(real, ".code16",
     "mov $0x1234, %ax\n"
     "mov $0x5678, %bx\n"
     "pusha\n"
     "xor %ax, %ax\n"
     "xor %bx, %bx\n"
     "popa\n"
     "mov $0x15, %cl\n"
     "daa\n"
     "push %cs\n"
     "pop %es\n"
     "mov %es, %dx\n"
     "call 1f\n"
     "hlt\n"
     "1: mov %sp, %si\n"
     "ret\n")

static void real_mode_has_its_own(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_REAL, "i686");
    machine_run(&m, real, real_end, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), -1);
    assert_int_equal(r.gpr[X86_RAX], 0x1234);
    assert_int_equal(r.gpr[X86_RBX], 0x5678);
    assert_int_equal(r.gpr[X86_RDX], MACHINE_CODE >> 4);
    assert_int_equal(r.gpr[X86_RSI], 0x7ffe);
    assert_int_equal(r.gpr[X86_RSP], 0x8000);
    machine_fini(&m);
}

CODE(popa_over_limit, ".code32", "popa\nhlt\n")

/* The manual lets a processor leave some of them popped; restarting is better. */
static void popa_over_the_stacks_end_pops_nothing(void **state)
{
    struct machine m;
    struct x86_regs before;
    struct x86_regs after;

    (void)state;
    machine_init(&m, MACHINE_FLAT32, "v3");
    machine_regs(&m, &before);
    before.seg[X86_SS].limit = 0x7ffff;
    before.seg[X86_SS].attr = 0x4093;
    for (unsigned n = 0; n < 8; n++) {
        before.gpr[n] = 0x11111111 * n;
    }
    before.gpr[X86_RSP] = 0x7fff4;
    machine_run(&m, popa_over_limit, popa_over_limit_end, &before, &after);
    assert_int_equal(machine_vector(&m, &after), X86_SS_FAULT);
    for (unsigned n = 0; n < 8; n++) {
        assert_int_equal(after.gpr[n], n == X86_RSP ? 0x7fff4 - 16 : before.gpr[n]);
    }
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_change_nothing),
        cmocka_unit_test(pushes_into_a_missing_page_end_in_shutdown),
        cmocka_unit_test(the_stack_is_as_the_manual_has_it),
        cmocka_unit_test(enter_copies_the_display),
        cmocka_unit_test(bit_offsets_reach_both_ways),
        cmocka_unit_test(exchanges_work_over_pages_and_in_sixteen_bytes),
        cmocka_unit_test(locked_changes_of_two_processors_all_count),
        cmocka_unit_test(real_mode_has_its_own),
        cmocka_unit_test(popa_over_the_stacks_end_pops_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
