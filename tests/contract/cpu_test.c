/* The guard of contract/cpu.h, over a processor that only notes what it was asked.
 * rows: ISA-02 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"

struct fake {
    struct cpu cpu;
    struct x86_regs regs;
    unsigned kicks, destroyed;
    uint64_t budget;
};

static int fake_run(struct cpu *c, uint64_t budget)
{
    struct cpu_exit x = {.kind = CPU_EXIT_HALT};

    ((struct fake *)c)->budget = budget;
    return c->env->exit(c->env->who, c, &x);
}

static void fake_kick(struct cpu *c)
{
    ((struct fake *)c)->kicks++;
}

static void fake_get(const struct cpu *c, struct x86_regs *ret_regs)
{
    *ret_regs = ((const struct fake *)c)->regs;
}

static int fake_set(struct cpu *c, const struct x86_regs *regs, struct err *e)
{
    (void)e;
    ((struct fake *)c)->regs = *regs;
    return 0;
}

static void fake_destroy(struct cpu *c)
{
    ((struct fake *)c)->destroyed++;
}

static const struct cpu_ops full_ops = {
    .name = "fake",
    .run = fake_run,
    .kick = fake_kick,
    .get = fake_get,
    .set = fake_set,
    .destroy = fake_destroy,
};

static const struct cpu_ops lean_ops = {
    .name = "lean",
    .run = fake_run,
    .get = fake_get,
    .set = fake_set,
    .destroy = fake_destroy,
};

static int stop(void *who, struct cpu *c, struct cpu_exit *x)
{
    (void)c;
    assert_int_equal(x->kind, CPU_EXIT_HALT);
    return *(int *)who;
}

static void calls_reach_the_implementer(void **state)
{
    int answer = -EIO;
    struct cpu_env env = {.exit = stop, .who = &answer};
    struct fake f = {.cpu = {.ops = &full_ops, .env = &env}};
    struct x86_regs r = {.rflags = 2};

    (void)state;
    assert_int_equal(cpu_run(&f.cpu, 77), -EIO);
    assert_int_equal(f.budget, 77);
    assert_int_equal(cpu_set(&f.cpu, &r, NULL), 0);
    r.rflags = 0;
    cpu_get(&f.cpu, &r);
    assert_int_equal(r.rflags, 2);
    cpu_destroy(&f.cpu);
    assert_int_equal(f.destroyed, 1);
    cpu_destroy(NULL);
}

static void kicks_add_up_until_they_are_taken(void **state)
{
    struct fake f = {.cpu = {.ops = &full_ops}};

    (void)state;
    cpu_kick(&f.cpu, CPU_KICK_STOP);
    cpu_kick(&f.cpu, CPU_KICK_NMI);
    assert_int_equal(f.kicks, 2);
    assert_int_equal(atomic_load(&f.cpu.kicks), CPU_KICK_STOP | CPU_KICK_NMI);
}

static void missing_slots_are_answered(void **state)
{
    struct fake f = {.cpu = {.ops = &lean_ops}};
    struct cpu_counters counters = {.interpreted = 5};

    (void)state;
    cpu_kick(&f.cpu, CPU_KICK_STOP);
    cpu_count(&f.cpu, &counters);
    assert_int_equal(counters.interpreted, 0);
}

static uint64_t fake_clock(void *who)
{
    (void)who;
    return 1000;
}

static uint64_t fake_tsc(const struct cpu *c, uint64_t *ret_hz)
{
    (void)c;
    *ret_hz = 2500000000u;
    return 42;
}

static void the_counter_is_the_clock_s_or_its_own(void **state)
{
    struct cpu_env env = {.clock = fake_clock};
    struct fake f = {.cpu = {.ops = &lean_ops, .env = &env}, .regs.msr.tsc_offset = 7};
    struct cpu_ops own = full_ops;
    uint64_t hz;

    (void)state;
    assert_int_equal(cpu_tsc(&f.cpu, 1000000000, &hz), 1007);
    assert_int_equal(hz, 1000000000);
    own.tsc = fake_tsc;
    f.cpu.ops = &own;
    assert_int_equal(cpu_tsc(&f.cpu, 1000000000, &hz), 42);
    assert_int_equal(hz, 2500000000u);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_is_the_clock_s_or_its_own),
        cmocka_unit_test(calls_reach_the_implementer),
        cmocka_unit_test(kicks_add_up_until_they_are_taken),
        cmocka_unit_test(missing_slots_are_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
