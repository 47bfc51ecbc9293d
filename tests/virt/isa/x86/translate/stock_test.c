/* stock_test.c - what one processor translated another one copies, and only where the
 * guest's bytes are the same; by the counters, and by what the interpreter gives.
 * rows: ISA-05 ISA-06 */
#include <string.h>

#include "engines.h"

#define UNTIL_HALT (UINT64_C(1) << 40) /* a budget, so that instructions are counted */
#define DISP       7                   /* of the LEA at the end of `rounds` */

/* A loop of calls and branches of both kinds, and an instruction without a form, so that
 * all sorts of sites are there; 20,000 rounds. */
CODE(rounds, ".code64",
     "mov $20000, %ecx\n mov $0x9e3779b9, %edx\n"
     "1: imul $25173, %edx, %edx\n add $13849, %edx\n test $0x10000, %edx\n jz 2f\n"
     "call 3f\n jmp 4f\n 2: add %rcx, %rbx\n crc32l %edx, %ebx\n"
     "4: mov %edx, 0x60000(,%rcx,4)\n"
     "dec %ecx\n jnz 1b\n hlt\n 3: lea 7(%rbx,%rdx), %rbx\n ret")

static void put_rounds(struct machine *m, uint8_t disp)
{
    uint8_t code[256];
    size_t bytes = (size_t)(rounds_end - rounds);

    assert_true(bytes <= sizeof code);
    memcpy(code, rounds, bytes);
    assert_int_equal(code[bytes - 2], DISP); /* in front of RET */
    code[bytes - 2] = disp;
    machine_put(m, MACHINE_CODE, code, bytes);
}

/* A processor's way through it. */
static void pass(struct machine *m, unsigned n, struct x86_regs *ret_regs,
                 struct cpu_counters *ret_done)
{
    struct cpu_counters before, after;
    struct x86_regs r;

    machine_regs(m, &r);
    assert_int_equal(cpu_set(m->cpu[n], &r, NULL), 0);
    cpu_count(m->cpu[n], &before);
    assert_int_equal(cpu_run(m->cpu[n], UNTIL_HALT), 0);
    cpu_count(m->cpu[n], &after);
    cpu_get(m->cpu[n], ret_regs);
    assert_true(ret_regs->halted);
    *ret_done =
        (struct cpu_counters){.interpreted = after.interpreted - before.interpreted,
                              .translated = after.translated - before.translated,
                              .blocks = after.blocks - before.blocks};
}

static void truth(uint8_t disp, struct x86_regs *ret_regs)
{
    struct cpu_counters done;
    struct machine m;

    machine_init(&m, MACHINE_LONG, ENGINES_MODEL);
    put_rounds(&m, disp);
    pass(&m, 0, ret_regs, &done);
    machine_fini(&m);
}

/* Two processors have been through it, so the second one's translations are there for all;
 * the first has forgotten its own. */
static bool prepare(struct machine *m, struct cpu_counters *ret_first)
{
    struct cpu_counters done;
    struct x86_regs r;

    machine_init(m, MACHINE_LONG, ENGINES_MODEL);
    if (!engines_translate(m, 0, 0)) {
        machine_fini(m);
        return false;
    }
    put_rounds(m, DISP);
    pass(m, 0, &r, ret_first);
    assert_true(ret_first->blocks > 0);
    pass(m, 1, &r, &done);
    assert_int_equal(done.blocks, ret_first->blocks);
    cpu_trim(m->cpu[0], CPU_REST_LONG);
    return true;
}

static void another_one_is_copied(void **state)
{
    struct cpu_counters first, done;
    struct x86_regs a, b;
    struct machine m;

    (void)state;
    if (!prepare(&m, &first)) {
        skip();
    }
    truth(DISP, &a);
    pass(&m, 0, &b, &done);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    assert_int_equal(done.blocks, 0);
    assert_true(done.interpreted < first.interpreted); /* it need not get warm */
    machine_fini(&m);
}

static void other_bytes_are_translated_anew(void **state)
{
    struct cpu_counters first, done;
    struct x86_regs a, b;
    struct machine m;

    (void)state;
    if (!prepare(&m, &first)) {
        skip();
    }
    truth(0x5d, &a);
    put_rounds(&m, 0x5d);
    pass(&m, 0, &b, &done);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    truth(DISP, &a);
    put_rounds(&m, DISP);
    pass(&m, 0, &b, &done); /* these are there still */
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    machine_fini(&m);
}

/* A store of another processor to code that was copied is seen by who copied it. */
static void a_store_to_a_copy_counts(void **state)
{
    struct cpu_counters first, done;
    struct x86_regs a, b;
    struct machine m;

    (void)state;
    if (!prepare(&m, &first)) {
        skip();
    }
    pass(&m, 0, &b, &done);
    assert_int_equal(done.blocks, 0);
    for (unsigned disp = 1; disp < DISP; disp++) {
        truth((uint8_t)disp, &a);
        put_rounds(&m, (uint8_t)disp);
        for (unsigned n = 0; n < 2; n++) {
            pass(&m, n, &b, &done);
            assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
        }
    }
    machine_fini(&m);
}

static void when_all_rest_it_is_empty(void **state)
{
    struct cpu_counters first, done;
    struct x86_regs a, b;
    struct machine m;

    (void)state;
    if (!prepare(&m, &first)) {
        skip();
    }
    for (unsigned n = 1; n < MACHINE_CPUS; n++) {
        cpu_trim(m.cpu[n], CPU_REST_LONG);
    }
    truth(DISP, &a);
    pass(&m, 0, &b, &done);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    assert_int_equal(done.blocks, first.blocks);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_one_is_copied),
        cmocka_unit_test(other_bytes_are_translated_anew),
        cmocka_unit_test(a_store_to_a_copy_counts),
        cmocka_unit_test(when_all_rest_it_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
