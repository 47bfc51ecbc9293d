/* locked_test.c - two processors on threads, one interpreted and one translated, change
 * the same memory with locked operations; no change is lost.
 *
 * rows: ISA-03 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/virt/isa/x86/interpret/machine.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define TURNS 4000u

/* rcx turns; rbx memory; r8 a bit of its own; r9 counts what went wrong. */
CODE(turns, ".code64",
     "lock incl 80(%rbx)\n" /* both are there */
     "wait: pause\n cmpl $2, 80(%rbx)\n jne wait\n"
     "again: lock incq (%rbx)\n"
     "movq $3, %rax\n lock xaddq %rax, 8(%rbx)\n"
     "lock subl $1, 16(%rbx)\n"
     "cas: movl 24(%rbx), %eax\n leal 1(%rax), %edx\n"
     "lock cmpxchgl %edx, 24(%rbx)\n jne cas\n"
     "take: movl $1, %eax\n xchgl %eax, 32(%rbx)\n testl %eax, %eax\n je got\n"
     "pause\n jmp take\n"
     "got: incq 40(%rbx)\n xorl %eax, %eax\n xchgl %eax, 32(%rbx)\n"
     "set: lock btsl $5, 48(%rbx)\n jc set\n"
     "incl 56(%rbx)\n lock btrl $5, 48(%rbx)\n sbbl %eax, %eax\n incl %eax\n"
     "addl %eax, %r9d\n"
     "lock orb %r8b, 64(%rbx)\n movb 64(%rbx), %al\n testb %r8b, %al\n jne one\n"
     "incl %r9d\n"
     "one: movb %r8b, %al\n notb %al\n lock andb %al, 64(%rbx)\n"
     "testb %r8b, 64(%rbx)\n je two\n incl %r9d\n"
     "two: lock xorb %r8b, 65(%rbx)\n"
     "lock incw 127(%rbx)\n"                         /* in two cache lines */
     "movq $5, %rax\n lock xaddl %eax, 4094(%rbx)\n" /* in two pages */
     "decq %rcx\n jne again\n hlt")

static void *run_second(void *arg)
{
    struct machine *m = arg;

    (void)cpu_run(m->cpu[1], UINT64_MAX);
    return NULL;
}

static void translate(struct machine *m, unsigned n)
{
    const struct translate_options o = {
        .index = n, .warm = 1, .tiers = TRANSLATE_OPTIMISES};

    cpu_destroy(m->cpu[n]);
    assert_int_equal(
        translate_create(m->mem, x86_model_find("v3"), &m->env, &o, &m->cpu[n], NULL), 0);
}

/* A locked operand in two pages is indivisible among such operands. */
static void check(struct machine *m)
{
    uint64_t total = 2 * (uint64_t)TURNS;
    struct x86_regs r;

    assert_int_equal(machine_peek(m, MACHINE_DATA, 8), total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 8, 8), 3 * total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 16, 4), (uint32_t)-total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 24, 4), total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 40, 8), total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 48, 4), 0);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 56, 4), total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 64, 1), 0);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 65, 1), TURNS % 2 == 0 ? 0 : 3);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 127, 2), (uint16_t)total);
    assert_int_equal(machine_peek(m, MACHINE_DATA + 4094, 4), 5 * total);
    for (unsigned n = 0; n < 2; n++) {
        cpu_get(m->cpu[n], &r);
        assert_int_equal(r.gpr[X86_R9], 0);
        assert_int_equal(r.gpr[X86_RCX], 0);
    }
}

static void run_both(bool first, bool second)
{
    struct machine m;
    struct x86_regs r;
    pthread_t t;

    machine_init(&m, MACHINE_LONG, "v3");
    if (first) {
        translate(&m, 0);
    }
    if (second) {
        translate(&m, 1);
    }
    machine_put(&m, MACHINE_CODE, turns, (uint64_t)(turns_end - turns));
    machine_regs(&m, &r);
    r.gpr[X86_RBX] = MACHINE_DATA;
    r.gpr[X86_RCX] = TURNS;
    for (unsigned n = 0; n < 2; n++) {
        r.gpr[X86_R8] = 1u << n;
        assert_int_equal(cpu_set(m.cpu[n], &r, NULL), 0);
    }
    assert_int_equal(pthread_create(&t, NULL, run_second, &m), 0);
    assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
    pthread_join(t, NULL);
    check(&m);
    machine_fini(&m);
}

static void translated_beside_interpreted_loses_nothing(void **state)
{
    (void)state;
    run_both(false, true);
}

static void translated_beside_translated_loses_nothing(void **state)
{
    (void)state;
    run_both(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(translated_beside_interpreted_loses_nothing),
        cmocka_unit_test(translated_beside_translated_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
