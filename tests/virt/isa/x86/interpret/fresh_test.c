/* fresh_test.c - a page of code whose flag another processor's stores may still miss.
 *
 * Processor 0 executes; processor 1 only counts as one that runs, and its unseen stores are
 * the test's own, past every flag.
 * rows: ISA-02 CON-09 */
#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/interpret/code.h"

#define FIRST  0x40000u /* mov $1, %eax; hlt */
#define SECOND 0x40100u /* the same with 2, in the same page */
#define PAGES  600u     /* more than there are places */
#define MANY   0x300000u

static struct x86_cpu *second(struct machine *m)
{
    return x86_of(m->cpu[1]);
}

static void put_code(struct machine *m, gpa at, uint8_t number)
{
    uint8_t code[] = {0xb8, number, 0, 0, 0, 0xf4};

    machine_put(m, at, code, sizeof code);
}

static void start(struct machine *m)
{
    machine_init(m, MACHINE_LONG, "base");
    put_code(m, FIRST, 1);
    put_code(m, SECOND, 2);
    x86_share_run(second(m), true);
}

static void end(struct machine *m)
{
    x86_share_run(second(m), false);
    machine_fini(m);
}

/* What the code at `at` says now. */
static uint64_t run(struct machine *m, gpa at)
{
    struct x86_regs r;

    machine_regs(m, &r);
    r.gpr[X86_RIP] = at;
    machine_set(m, &r);
    assert_int_equal(cpu_run(m->cpu[0], 100), 0);
    machine_get(m, &r);
    return r.gpr[X86_RAX];
}

static void store_unseen(struct machine *m, gpa at, uint8_t v)
{
    mem_find(m->mem, at)->host[at] = v;
}

static uint64_t decoded(struct machine *m)
{
    struct cpu_counters k;

    cpu_count(m->cpu[0], &k);
    return k.decoded;
}

static bool is_fresh(struct machine *m, gpa at)
{
    struct code_share *s = second(m)->code->share;
    bool is;

    pthread_mutex_lock(&s->lock);
    is = x86_fresh_is_locked(s, at & ~UINT64_C(0xfff));
    pthread_mutex_unlock(&s->lock);
    return is;
}

static void an_unseen_store_counts_from_the_safe_point_on(void **state)
{
    struct machine m;

    (void)state;
    start(&m);
    assert_int_equal(run(&m, FIRST), 1);
    assert_true(is_fresh(&m, FIRST));
    store_unseen(&m, FIRST + 1, 9);
    x86_share_safe_point(second(&m));
    assert_false(is_fresh(&m, FIRST));
    assert_int_equal(run(&m, FIRST), 9);
    end(&m);
}

/* It is decoded while a store stands in it that is taken back. */
static void a_store_that_is_taken_back_leaves_no_trace(void **state)
{
    struct machine m;

    (void)state;
    start(&m);
    assert_int_equal(run(&m, FIRST), 1);
    store_unseen(&m, SECOND + 1, 9);
    (void)run(&m, SECOND);
    store_unseen(&m, SECOND + 1, 2);
    x86_share_safe_point(second(&m));
    assert_int_equal(run(&m, SECOND), 2);
    end(&m);
}

static void what_was_not_written_is_not_decoded_again(void **state)
{
    struct machine m;
    uint64_t before;

    (void)state;
    start(&m);
    assert_int_equal(run(&m, FIRST), 1);
    before = decoded(&m);
    x86_share_safe_point(second(&m));
    assert_int_equal(run(&m, FIRST), 1);
    assert_int_equal(decoded(&m), before);
    end(&m);
}

/* A store that is seen counts at once, though there is a copy. */
static void a_store_that_is_seen_counts_at_once(void **state)
{
    struct machine m;

    (void)state;
    start(&m);
    assert_int_equal(run(&m, FIRST), 1);
    machine_poke(&m, SECOND + 1, 7, 1);
    assert_int_equal(run(&m, SECOND), 7);
    store_unseen(&m, FIRST + 1, 9);
    x86_share_safe_point(second(&m));
    assert_int_equal(run(&m, FIRST), 9);
    assert_int_equal(run(&m, SECOND), 7);
    end(&m);
}

static void nobody_waits_for_one_that_rests_or_does_not_run(void **state)
{
    struct machine m;

    (void)state;
    start(&m);
    assert_int_equal(run(&m, FIRST), 1);
    store_unseen(&m, FIRST + 1, 9);
    x86_share_rest(second(&m), true);
    assert_false(is_fresh(&m, FIRST));
    assert_int_equal(run(&m, FIRST), 9);
    put_code(&m, MANY, 3);
    assert_int_equal(run(&m, MANY), 3);
    assert_false(is_fresh(&m, MANY));
    assert_true(second(&m)->code->has_missed);
    x86_share_rest(second(&m), false);
    assert_false(second(&m)->code->has_missed);
    end(&m);
}

static void more_pages_than_places_are_right_as_well(void **state)
{
    struct machine m;
    unsigned n;

    (void)state;
    start(&m);
    for (n = 0; n < PAGES; n++) {
        put_code(&m, MANY + n * 4096u, 1);
        assert_int_equal(run(&m, MANY + n * 4096u), 1);
        store_unseen(&m, MANY + n * 4096u + 1, 5);
    }
    assert_true(is_fresh(&m, MACHINE_STACK));
    x86_share_safe_point(second(&m));
    assert_false(is_fresh(&m, MACHINE_STACK));
    for (n = 0; n < PAGES; n++) {
        assert_int_equal(run(&m, MANY + n * 4096u), 5);
    }
    end(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unseen_store_counts_from_the_safe_point_on),
        cmocka_unit_test(a_store_that_is_taken_back_leaves_no_trace),
        cmocka_unit_test(what_was_not_written_is_not_decoded_again),
        cmocka_unit_test(a_store_that_is_seen_counts_at_once),
        cmocka_unit_test(nobody_waits_for_one_that_rests_or_does_not_run),
        cmocka_unit_test(more_pages_than_places_are_right_as_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
