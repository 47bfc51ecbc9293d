/* debug_test.c - the host's debugger (contract/cpu_debug.h), on both engines and in the
 * modes of 16, 32 and 64 bits: breakpoints, steps, watched bytes.  Truth: the assembler's
 * addresses, and what the code computes without a debugger.
 * rows: OPS-15 */
#include <string.h>

#include "contract/cpu_debug.h"
#include "engines.h"
#include "virt/isa/x86/cpu.h"

#define VALUE    0x120000u
#define NEIGHBOR (VALUE + 4)
#define ROUNDS   3000u

/* A loop that stores its counter, and what is behind it in another page. */
CODE(loop64, ".code64",
     "xorl %eax,%eax\n"
     "1: incl %eax\n"
     "movl %eax,0x120000\n"
     "movl 0x120004,%edx\n"
     "cmpl $3000,%eax\n"
     "jne 1b\n"
     "nop\n"
     "hlt\n")
CODE(loop32, ".code32",
     "xorl %eax,%eax\n"
     "1: incl %eax\n"
     "movl %eax,0x120000\n"
     "movl 0x120004,%edx\n"
     "cmpl $3000,%eax\n"
     "jne 1b\n"
     "nop\n"
     "hlt\n")

/* Offsets of its instructions: what a disassembler says of the bytes above. */
static const unsigned at64[] = {0, 2, 4, 11, 18, 23, 25, 26};
static const unsigned at32[] = {0, 2, 3, 8, 14, 19, 21, 22};

enum {
    AT_CLEAR,
    AT_INC,
    AT_STORE,
    AT_LOAD,
    AT_COMPARE,
    AT_JUMP,
    AT_NOP,
    AT_HALT
};

static unsigned offset_of(const struct machine *m, unsigned n)
{
    return m->mode == MACHINE_LONG ? at64[n] : at32[n];
}

static void begin(struct machine *m)
{
    bool is_long = m->mode == MACHINE_LONG;
    const uint8_t *from = is_long ? loop64 : loop32;
    const uint8_t *to = is_long ? loop64_end : loop32_end;
    struct x86_regs r;

    machine_put(m, MACHINE_CODE, from, (uint64_t)(to - from));
    machine_regs(m, &r);
    machine_set(m, &r);
}

/* Run until it leaves: the exit, and the registers then. */
static struct cpu_exit go(struct machine *m, struct x86_regs *ret)
{
    assert_int_equal(cpu_run(m->cpu[0], UINT64_MAX), 0);
    machine_get(m, ret);
    return m->exits[(m->exit_count - 1) % 64];
}

static void check_stop(const struct cpu_exit *x, enum cpu_debug_kind kind)
{
    assert_int_equal(x->kind, CPU_EXIT_DEBUG);
    assert_int_equal(x->value, kind);
}

static void breakpoints(struct machine *m)
{
    struct cpu_debug d = {.breaks = 2};
    struct x86_regs r;
    struct cpu_exit x;

    begin(m);
    d.break_at[0] = MACHINE_CODE + offset_of(m, AT_COMPARE);
    d.break_at[1] = MACHINE_CODE + offset_of(m, AT_NOP);
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    for (unsigned round = 0; round < 3; round++) {
        x = go(m, &r);
        check_stop(&x, CPU_DEBUG_BREAK);
        assert_int_equal(x.address, d.break_at[0]);
        assert_int_equal(r.gpr[X86_RIP], d.break_at[0]);
        assert_int_equal(r.gpr[X86_RAX], 1); /* nothing is executed */
    }
    d.breaks = 0;
    d.steps = true;
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_STEP);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, AT_JUMP));
    d.breaks = 2;
    d.steps = false;
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_BREAK);
    assert_int_equal(r.gpr[X86_RAX], 2);
    d.break_at[0] = MACHINE_CODE + 0x100; /* the same page, where nothing is */
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_BREAK);
    assert_int_equal(x.address, d.break_at[1]);
    assert_int_equal(r.gpr[X86_RAX], ROUNDS);
    assert_int_equal(cpu_debug(m->cpu[0], NULL), 0);
    assert_int_equal(go(m, &r).kind, CPU_EXIT_HALT);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, AT_HALT) + 1);
}

/* Code that is translated, and chained, meets one that is set afterwards. */
static void breakpoints_in_hot_code(struct machine *m)
{
    struct cpu_debug d = {.breaks = 1};
    struct x86_regs r;
    struct cpu_exit x;

    begin(m);
    assert_int_equal(cpu_run(m->cpu[0], 2000), 0);
    d.break_at[0] = MACHINE_CODE + offset_of(m, AT_STORE);
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_BREAK);
    assert_in_range(r.gpr[X86_RAX], 390, 410); /* 5 instructions a round */
    assert_int_equal(machine_peek(m, VALUE, 4), r.gpr[X86_RAX] - 1);
    assert_int_equal(cpu_debug(m->cpu[0], NULL), 0);
    assert_int_equal(go(m, &r).kind, CPU_EXIT_HALT);
    assert_int_equal(machine_peek(m, VALUE, 4), ROUNDS);
}

static void steps(struct machine *m)
{
    const struct cpu_debug d = {.steps = true};
    struct x86_regs r;

    begin(m);
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    m->pending = 40; /* comes when nobody steps */
    machine_get(m, &r);
    r.rflags |= X86_IF;
    machine_set(m, &r);
    cpu_kick(m->cpu[0], CPU_KICK_INTERRUPT);
    for (unsigned n = 1; n <= AT_JUMP; n++) {
        struct cpu_exit x = go(m, &r);

        check_stop(&x, CPU_DEBUG_STEP);
        assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, n));
    }
    check_stop(&(struct cpu_exit[]){go(m, &r)}[0], CPU_DEBUG_STEP);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, AT_INC));
    assert_int_equal(r.gpr[X86_RAX], 1);
    assert_int_equal(m->pending, 40);
    assert_int_equal(cpu_debug(m->cpu[0], NULL), 0);
    assert_int_equal(go(m, &r).kind, CPU_EXIT_HALT);
    assert_int_equal(machine_vector(m, &r), 40);
}

/* A halted one is interrupted, and stands at the handler. */
static void steps_end_a_halt(struct machine *m)
{
    const struct cpu_debug d = {.steps = true};
    struct x86_regs r;
    struct cpu_exit x;

    begin(m);
    machine_get(m, &r);
    r.gpr[X86_RIP] = MACHINE_CODE + offset_of(m, AT_HALT);
    r.rflags |= X86_IF;
    machine_set(m, &r);
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_STEP);
    assert_true(r.halted);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, AT_HALT) + 1);
    m->pending = 41;
    cpu_kick(m->cpu[0], CPU_KICK_INTERRUPT);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_STEP);
    assert_false(r.halted);
    assert_int_equal(machine_peek(m, r.gpr[X86_RIP], 1), 0xf4); /* the handler's */
    assert_int_not_equal(r.gpr[X86_RIP] & ~0xfffu, MACHINE_CODE);
}

static void watched_bytes(struct machine *m)
{
    struct cpu_debug d = {.watches = 1, .watch = {{VALUE + 1, 2, false}}};
    struct x86_regs r;
    struct cpu_exit x;

    begin(m);
    assert_int_equal(cpu_run(m->cpu[0], 2000), 0); /* it is hot */
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_WATCH);
    assert_int_equal(x.address, VALUE + 1);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, AT_LOAD));
    assert_int_equal(machine_peek(m, VALUE, 4), r.gpr[X86_RAX]); /* it is done */

    d.watch[0] = (struct cpu_watch){NEIGHBOR, 4, false}; /* only loads are there */
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    m->seen[CPU_EXIT_DEBUG] = 0;
    d.watch[0].reads = true;
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_WATCH);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + offset_of(m, AT_COMPARE));
    d.watch[0].reads = false;
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    assert_int_equal(go(m, &r).kind, CPU_EXIT_HALT);
    assert_int_equal(machine_peek(m, VALUE, 4), ROUNDS);
    assert_int_equal(cpu_debug(m->cpu[0], NULL), 0);
}

/* What faults is a step to its handler. */
static void an_exception_is_a_step(struct machine *m)
{
    static const uint8_t code[] = {0x0f, 0x0b}; /* ud2 */
    const struct cpu_debug d = {.steps = true};
    struct x86_regs r;
    struct cpu_exit x;

    begin(m);
    machine_put(m, MACHINE_CODE, code, sizeof code);
    assert_int_equal(cpu_debug(m->cpu[0], &d), 0);
    x = go(m, &r);
    check_stop(&x, CPU_DEBUG_STEP);
    assert_int_not_equal(r.gpr[X86_RIP] & ~0xfffu, MACHINE_CODE);
    assert_int_equal(cpu_debug(m->cpu[0], NULL), 0);
    assert_int_equal(go(m, &r).kind, CPU_EXIT_HALT);
    assert_int_equal(machine_vector(m, &r), X86_UD);
}

static void in_all(void (*check)(struct machine *m))
{
    for (unsigned engine = 0; engine < ENGINES; engine++) {
        for (unsigned mode = MACHINE_FLAT32; mode <= MACHINE_LONG; mode++) {
            struct machine m;

            if (engines_init(&m, (enum machine_mode)mode, (enum engine)engine)) {
                check(&m);
                machine_fini(&m);
            }
        }
    }
}

static void test_breakpoints(void **state)
{
    (void)state;
    in_all(breakpoints);
}

static void test_breakpoints_in_hot_code(void **state)
{
    (void)state;
    in_all(breakpoints_in_hot_code);
}

static void test_steps(void **state)
{
    (void)state;
    in_all(steps);
}

static void test_steps_end_a_halt(void **state)
{
    (void)state;
    in_all(steps_end_a_halt);
}

static void test_watched_bytes(void **state)
{
    (void)state;
    in_all(watched_bytes);
}

static void test_an_exception_is_a_step(void **state)
{
    (void)state;
    in_all(an_exception_is_a_step);
}

/* Real mode: linear addresses have the segment's base. */
static void test_real_mode(void **state)
{
    static const uint8_t code[] = {0x40, 0x43, 0xf4}; /* inc ax; inc bx; hlt */
    struct cpu_debug d = {.breaks = 1, .break_at = {MACHINE_CODE + 1}};
    struct machine m;
    struct x86_regs r;
    struct cpu_exit x;

    (void)state;
    machine_init(&m, MACHINE_REAL, ENGINES_MODEL);
    machine_put(&m, MACHINE_CODE, code, sizeof code);
    machine_regs(&m, &r);
    r.seg[X86_CS].selector = 0xffe;
    r.seg[X86_CS].base = 0xffe0;
    r.gpr[X86_RIP] = MACHINE_CODE - 0xffe0;
    machine_set(&m, &r);
    assert_int_equal(cpu_debug(m.cpu[0], &d), 0);
    x = go(&m, &r);
    check_stop(&x, CPU_DEBUG_BREAK);
    assert_int_equal(x.address, MACHINE_CODE + 1);
    assert_int_equal(r.gpr[X86_RIP], MACHINE_CODE + 1 - 0xffe0);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breakpoints),
        cmocka_unit_test(test_breakpoints_in_hot_code),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_steps_end_a_halt),
        cmocka_unit_test(test_watched_bytes),
        cmocka_unit_test(test_an_exception_is_a_step),
        cmocka_unit_test(test_real_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
