/* cache_test.c - what is translated is kept and used again, by the counters; and a code
 * memory that is too small costs time, not results.
 * rows: ISA-06 */
#include <string.h>

#include "engines.h"

#define UNTIL_HALT (UINT64_C(1) << 40) /* a budget, so that instructions are counted */

/* A loop of calls and branches of both kinds, 20,000 rounds. */
CODE(rounds, ".code64",
     "mov $20000, %ecx\n mov $0x9e3779b9, %edx\n"
     "1: imul $25173, %edx, %edx\n add $13849, %edx\n test $0x10000, %edx\n jz 2f\n"
     "call 3f\n jmp 4f\n 2: add %rcx, %rbx\n 4: mov %edx, 0x60000(,%rcx,4)\n"
     "dec %ecx\n jnz 1b\n hlt\n 3: lea 7(%rbx,%rdx), %rbx\n ret")

/* One pass from the start: what the processor did in it. */
static void pass(struct machine *m, const uint8_t *from, const uint8_t *to,
                 struct x86_regs *ret_regs, struct cpu_counters *ret_done)
{
    struct cpu_counters before, after;
    struct x86_regs r;
    uint8_t now[256];

    machine_regs(m, &r);
    assert_true((size_t)(to - from) <= sizeof now);
    assert_int_equal(mem_read(m->mem, MACHINE_CODE, now, (uint64_t)(to - from)), 0);
    if (memcmp(now, from, (size_t)(to - from)) != 0) { /* or it would be made anew */
        machine_put(m, MACHINE_CODE, from, (uint64_t)(to - from));
    }
    machine_set(m, &r);
    cpu_count(m->cpu[0], &before);
    assert_int_equal(cpu_run(m->cpu[0], UNTIL_HALT), 0);
    cpu_count(m->cpu[0], &after);
    machine_get(m, ret_regs);
    assert_true(ret_regs->halted);
    *ret_done =
        (struct cpu_counters){.interpreted = after.interpreted - before.interpreted,
                              .translated = after.translated - before.translated,
                              .blocks = after.blocks - before.blocks,
                              .lifted = after.lifted - before.lifted};
}

static void assert_nothing_made(const struct cpu_counters *c, uint64_t instructions)
{
    assert_int_equal(c->blocks, 0);
    assert_int_equal(c->lifted, 0);
    assert_int_equal(c->translated + c->interpreted, instructions);
    assert_true(c->translated * 1000 > instructions * 999); /* found in the cache */
}

static void the_second_pass_translates_nothing(void **state)
{
    struct cpu_counters truth, first, second;
    struct x86_regs a, b;
    struct machine m;

    (void)state;
    machine_init(&m, MACHINE_LONG, ENGINES_MODEL);
    pass(&m, rounds, rounds_end, &a, &truth);
    machine_fini(&m);
    machine_init(&m, MACHINE_LONG, ENGINES_MODEL);
    if (!engines_translate(&m, 0, 0)) { /* warm as usual, not at once */
        machine_fini(&m);
        skip();
    }
    pass(&m, rounds, rounds_end, &b, &first);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    assert_true(first.blocks > 0);
    assert_true(first.translated * 100 > truth.interpreted * 99);
    pass(&m, rounds, rounds_end, &b, &second);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    assert_nothing_made(&second, truth.interpreted);
    print_message(
        "first pass: %u translations, %.3f %% from the cache; second: %u, %.3f %%\n",
        (unsigned)first.blocks,
        100.0 * (double)first.translated / (double)truth.interpreted,
        (unsigned)second.blocks,
        100.0 * (double)second.translated / (double)truth.interpreted);
    machine_fini(&m);
}

/* After a short rest what was translated is still there, after a long one it is not, and is
 * made again with the same results. */
static void a_long_rest_forgets_translations(void **state)
{
    struct cpu_counters first, done;
    struct x86_regs a, b;
    struct machine m;

    (void)state;
    machine_init(&m, MACHINE_LONG, ENGINES_MODEL);
    if (!engines_translate(&m, 0, 0)) {
        machine_fini(&m);
        skip();
    }
    pass(&m, rounds, rounds_end, &a, &first);
    cpu_trim(m.cpu[0], CPU_REST_SHORT);
    pass(&m, rounds, rounds_end, &b, &done);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    assert_nothing_made(&done, first.interpreted + first.translated);
    for (unsigned n = 0; n < 3; n++) {
        cpu_trim(m.cpu[0], CPU_REST_LONG);
        pass(&m, rounds, rounds_end, &b, &done);
        assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
        assert_int_equal(done.blocks, first.blocks);
        assert_int_equal(done.lifted, first.lifted);
        assert_int_equal(done.interpreted, first.interpreted); /* as cold as at first */
        assert_int_equal(done.translated, first.translated);
    }
    machine_fini(&m);
}

/* Functions on hundreds of pages, more than 1 MiB of host code has room for. */
#define FILL      0x400000u
#define FILL_FNS  1200u
#define FILL_STEP 1024u

CODE(fill, ".code64",
     "mov $2, %ecx\n 1: mov $2, %ebp\n 2: mov $0x400000, %eax\n call *%rax\n"
     "dec %ebp\n jnz 2b\n dec %ecx\n jnz 1b\n hlt")

static void make_functions(struct machine *m)
{
    static uint8_t fn[FILL_STEP];
    unsigned n, i;

    for (i = 0; i < 480; i += 8) {
        memcpy(fn + i, "\x48\x83\xc6\x01\x48\x03\x3e\x90", 8); /* add rsi, 1;
                                                                  add rdi, [rsi]; nop */
    }
    for (n = 0; n < FILL_FNS; n++) { /* jump to the next, or return */
        memcpy(fn + 480, n + 1 == FILL_FNS ? "\xc3\x90\x90\x90\x90" : "\xe9\x1b\x02\0\0",
               5);
        machine_put(m, FILL + (gpa)n * FILL_STEP, fn, sizeof fn);
    }
}

static void a_full_cache_loses_nothing_and_caches_on(void **state)
{
    struct cpu_counters truth[2], done;
    struct x86_regs a[2], b;
    struct machine m;

    (void)state;
    machine_init(&m, MACHINE_LONG, ENGINES_MODEL);
    make_functions(&m);
    pass(&m, fill, fill_end, &a[0], &truth[0]);
    pass(&m, rounds, rounds_end, &a[1], &truth[1]);
    machine_fini(&m);
    machine_init(&m, MACHINE_LONG, ENGINES_MODEL);
    if (!engines_translate(&m, 1, 1u << 20)) {
        machine_fini(&m);
        skip();
    }
    make_functions(&m);
    pass(&m, fill, fill_end, &b, &done);
    assert_memory_equal(a[0].gpr, b.gpr, sizeof b.gpr);
    assert_int_equal(done.translated + done.interpreted, truth[0].interpreted);
    assert_true(done.blocks > 2 * FILL_FNS); /* so what was dropped was made again */
    pass(&m, rounds, rounds_end, &b, &done);
    pass(&m, rounds, rounds_end, &b, &done);
    assert_memory_equal(a[1].gpr, b.gpr, sizeof b.gpr);
    assert_nothing_made(&done, truth[1].interpreted);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_pass_translates_nothing),
        cmocka_unit_test(a_long_rest_forgets_translations),
        cmocka_unit_test(a_full_cache_loses_nothing_and_caches_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
