/* code_test.c - the cache of decoded instructions: self-modifying code in all its
 * shapes, instructions in two pages, bounded memory.
 * rows: ISA-02 CON-09 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

static uint64_t decoded(struct machine *m, unsigned n)
{
    struct cpu_counters k;

    cpu_count(m->cpu[n], &k);
    return k.decoded;
}

/* The instruction directly behind the store is the one that is changed. */
CODE(next_one, ".code64",
     "mov $3, %ecx\n"
     "1: movb $0x42, 2f+1(%rip)\n"
     "2: mov $0x11, %bl\n"
     "add %bl, %dl\n"
     "movb $0x11, 2b+1(%rip)\n"
     "loop 1b\n"
     "hlt\n")

static void a_changed_instruction_is_the_very_next_one(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, next_one, next_one_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RDX] & 0xff, 0x42 * 3);
    machine_fini(&m);
}

/* A function in another page is rewritten between calls. */
CODE(other_page, ".code64",
     "xor %edx, %edx\n"
     "mov $0x30000, %edi\n"
     "movl $0xc3c2ff, (%rdi)\n" /* inc edx; ret */
     "call *%rdi\n"
     "movl $0xc3caff, (%rdi)\n" /* dec edx; ret */
     "call *%rdi\n"
     "call *%rdi\n"
     "movw $0xc390, (%rdi)\n"
     "call *%rdi\n"
     "hlt\n")

static void code_in_another_page_may_change(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, other_page, other_page_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RDX], 0xffffffff);
    machine_fini(&m);
}

/* A counter in the middle of a loop's page. */
CODE(data_beside, ".code64",
     "mov $1000, %ecx\n"
     "1: incl 2f(%rip)\n"
     "loop 1b\n"
     "mov 2f(%rip), %eax\n"
     "hlt\n"
     ".balign 8\n"
     "2: .long 0\n")

static void data_beside_code_costs_no_decoding(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, data_beside, data_beside_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RAX], 1000);
    assert_true(decoded(&m, 0) < 20);
    machine_fini(&m);
}

/* Rewriting by `rep stosb` over the own page's next bytes. */
CODE(by_string, ".code64",
     "lea 1f(%rip), %rdi\n"
     "mov $8, %ecx\n"
     "mov $0x90, %al\n"
     "xor %ebx, %ebx\n"
     "rep stosb\n"
     "1: inc %ebx\n"
     "inc %ebx\n"
     "inc %ebx\n"
     "inc %ebx\n"
     "hlt\n")

static void a_string_instruction_may_rewrite_what_follows_it(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, by_string, by_string_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RBX], 0);
    machine_fini(&m);
}

/* Outside: a device writes while nothing runs, then the code runs again. */
CODE(twice, ".code64", "mov $1, %eax\nhlt\n")

static void a_devices_store_is_seen(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, twice, twice_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RAX], 1);
    machine_poke(&m, MACHINE_CODE + 1, 77, 1);
    machine_regs(&m, &r);
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], 100), 0);
    machine_get(&m, &r);
    assert_int_equal(r.gpr[X86_RAX], 77);
    machine_fini(&m);
}

/* Processor 1 waits in a loop for the code to change; processor 0 changes it. */
CODE(waiter, ".code64",
     "1: mov $0x40000, %edi\n"
     "call *%rdi\n"
     "inc %rcx\n"
     "cmp $2, %eax\n"
     "jne 1b\n"
     "hlt\n")
CODE(writer, ".code64",
     "mov $3000000, %ecx\n"
     "1: loop 1b\n"
     "movb $2, 0x40001\n"
     "hlt\n")

static void *run_second(void *arg)
{
    struct machine *m = arg;

    (void)cpu_run(m->cpu[1], 4000000000u);
    return NULL;
}

static void another_processors_store_is_seen(void **state)
{
    struct machine m;
    struct x86_regs r;
    pthread_t t;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_put(&m, 0x40000, "\xb8\x01\x00\x00\x00\xc3", 6);
    machine_put(&m, 0x50000, waiter, (uint64_t)(waiter_end - waiter));
    machine_regs(&m, &r);
    r.gpr[X86_RIP] = 0x50000;
    r.gpr[X86_RSP] = 0x60000;
    assert_int_equal(cpu_set(m.cpu[1], &r, NULL), 0);
    assert_int_equal(pthread_create(&t, NULL, run_second, &m), 0);
    machine_run(&m, writer, writer_end, NULL, &r);
    pthread_join(t, NULL);
    cpu_get(m.cpu[1], &r);
    assert_int_equal(r.gpr[X86_RAX], 2);
    machine_fini(&m);
}

/* mov $imm32, %eax with two bytes in this page and three in the next. */
static void an_instruction_may_lie_in_two_pages(void **state)
{
    static const uint8_t code[] = {0xb8, 0x78, 0x56, 0x34, 0x12, 0xf4};
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_put(&m, 0x20ffe, code, sizeof code);
    for (uint8_t third = 0; third < 3; third++) {
        machine_poke(&m, 0x21001, third, 1); /* no flag on that page tells of it */
        machine_regs(&m, &r);
        r.gpr[X86_RIP] = 0x20ffe;
        machine_set(&m, &r);
        assert_int_equal(cpu_run(m.cpu[0], 100), 0);
        machine_get(&m, &r);
        assert_int_equal(r.gpr[X86_RAX], 0x12005678 | third << 16);
    }
    machine_fini(&m);
}

static void a_missing_second_page_faults_with_its_address(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_put(&m, 0x20ffe, "\xb8\x78", 2);
    machine_poke(&m, machine_entry(0x21000), 0, 8);
    machine_regs(&m, &r);
    r.gpr[X86_RIP] = 0x20ffe;
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], 100), 0);
    machine_get(&m, &r);
    assert_int_equal(machine_vector(&m, &r), X86_PF);
    assert_int_equal(r.cr2, 0x21000);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP] + 8, 8), 0x20ffe);
    machine_fini(&m);
}

/* Fifteen bytes are an instruction, sixteen are #GP. */
static void too_long_an_instruction_is_a_protection_fault(void **state)
{
    uint8_t code[17];
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    memset(code, 0x66, sizeof code);
    code[14] = 0x90;
    code[15] = 0xf4;
    machine_run(&m, code, code + 16, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), -1);
    code[14] = 0x66;
    code[15] = 0x90;
    machine_run(&m, code, code + 16, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), X86_GP);
    machine_fini(&m);
}

/* Jumps through more pages than the cache holds, twice. */
static void memory_is_bounded_and_the_result_right(void **state)
{
    const unsigned pages = 1200;
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_FLAT32, "base");
    for (unsigned n = 0; n < pages; n++) {
        uint64_t at = 0x200000 + n * 4096;

        machine_put(&m, at, "\x40\xe9\xfa\x0f\x00\x00", 6); /* inc eax; jmp next page */
    }
    machine_put(&m, 0x200000 + pages * 4096, "\x49\x74\x05\xe9", 4); /* dec ecx; je +5 */
    machine_poke(&m, 0x200000 + pages * 4096 + 4, 0u - (pages * 4096 + 8), 4);
    machine_put(&m, 0x200000 + pages * 4096 + 8, "\xf4", 1);
    machine_regs(&m, &r);
    r.gpr[X86_RIP] = 0x200000;
    r.gpr[X86_RCX] = 3;
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
    machine_get(&m, &r);
    assert_int_equal(r.gpr[X86_RAX], 3 * pages);
    machine_fini(&m);
}

/* What the model lacks is #UD; LZCNT is then BSR. */
CODE(lzcnt, ".code64", "mov $0x100, %ecx\nlzcnt %ecx, %eax\nhlt\n")
CODE(andn, ".code64", "andn %eax, %ebx, %ecx\nhlt\n")

static void features_are_those_of_the_model(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_run(&m, lzcnt, lzcnt_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RAX], 8);
    machine_run(&m, andn, andn_end, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), X86_UD);
    machine_fini(&m);
    machine_init(&m, MACHINE_LONG, "v3");
    machine_run(&m, lzcnt, lzcnt_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RAX], 23);
    machine_run(&m, andn, andn_end, NULL, &r);
    assert_int_equal(machine_vector(&m, &r), -1);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_instruction_is_the_very_next_one),
        cmocka_unit_test(code_in_another_page_may_change),
        cmocka_unit_test(data_beside_code_costs_no_decoding),
        cmocka_unit_test(a_string_instruction_may_rewrite_what_follows_it),
        cmocka_unit_test(a_devices_store_is_seen),
        cmocka_unit_test(another_processors_store_is_seen),
        cmocka_unit_test(an_instruction_may_lie_in_two_pages),
        cmocka_unit_test(a_missing_second_page_faults_with_its_address),
        cmocka_unit_test(too_long_an_instruction_is_a_protection_fault),
        cmocka_unit_test(memory_is_bounded_and_the_result_right),
        cmocka_unit_test(features_are_those_of_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
