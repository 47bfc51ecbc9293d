/* pause_test.c - a paused guest does not move, and starts again when it resets itself. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sha256.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "snap_work.h"
#include "virt/monitor/kvm/kvm.h"
#include "virt/monitor/private.h"
#include "world.h"

#define MS UINT64_C(1000000)

static const char *kernel; /* its path: argv */

static const struct machine_options small = {
    .engine = "translate", .cpus = 1, .memory_bytes = 16 << 20};

static void remember(struct world *w, uint8_t sum[SHA256_BYTES])
{
    const struct mem_region *r = mem_find(w->machine->mem, 0);
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, r->host, r->bytes);
    for (unsigned i = 0; i < w->machine->cpus; i++) {
        struct x86_regs regs;

        cpu_get(w->machine->vcpu[i].cpu, &regs);
        sha256_add(&s, &regs, sizeof regs);
    }
    sha256_end(&s, sum);
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static uint64_t pause_and_look(struct world *w)
{
    uint8_t before[SHA256_BYTES];
    uint8_t after[SHA256_BYTES];
    uint64_t now;
    struct err e = {0};

    if (w->machine->is_over) {
        return 0;
    }
    assert_int_equal(machine_pause(w->machine, &e), 0);
    assert_int_equal(machine_pause(w->machine, &e), 0);
    assert_true(machine_is_paused(w->machine));
    now = board_now(w->machine->board);
    remember(w, before);
    nap();
    assert_int_equal(machine_resume(w->machine, &e), 0);
    nap();
    remember(w, after);
    assert_memory_equal(before, after, sizeof before);
    assert_true(board_now(w->machine->board) == now);
    assert_int_equal(machine_resume(w->machine, &e), 0);
    assert_int_equal(machine_resume(w->machine, &e), -EINVAL);
    return (1 + (uint64_t)rand() % 20) * MS;
}

static void run_paused(const char *engine, const char *module, uint32_t rounds)
{
    static struct world w;
    struct machine_options o = small;
    struct boot_files f;
    char text[64];

    w = (struct world){.act = pause_and_look};
    o.engine = engine;
    world_files(&f, kernel, module);
    world_make(&w, &o, &f);
    world_load(&w);
    world_run(&w, 3 * MS);
    assert_int_equal(w.end, MACHINE_EXITED);
    assert_true(world_said(&w, world_expected(rounds, text)));
    world_end(&w);
}

/* By hardware the counter goes on, and is set back before the guest does: all that the guest
 * computes is right, and its time has not leapt. */
static uint64_t pause_hardware(struct world *w)
{
    uint64_t hz, before, after;
    uint64_t *longest = w->mine;

    if (w->machine->is_over) {
        return 0;
    }
    assert_int_equal(machine_pause(w->machine, NULL), 0);
    before = w->machine->tsc_stood;
    for (unsigned i = 0; i < 10; i++) {
        nap();
    }
    assert_int_equal(machine_resume(w->machine, NULL), 0);
    assert_int_equal(machine_pause(w->machine, NULL), 0);
    after = cpu_tsc(w->machine->vcpu[0].cpu, 1, &hz);
    assert_true(after >= before);
    *longest = after - before < *longest ? after - before : *longest;
    assert_true(w->machine->tsc_stood >= before);
    assert_int_equal(machine_resume(w->machine, NULL), 0);
    return 20 * MS;
}

static void the_counter_of_hardware_stands_too(void **state)
{
    static struct world w;
    struct machine_options o = small;
    struct kvm_report report;
    struct boot_files f;
    uint64_t least = UINT64_MAX;
    uint64_t hz;
    char text[64];

    (void)state;
    kvm_probe(0, &report);
    if (!report.is_good) { /* one that emulates ring 0 may know no IRET */
        print_message("%s\n", report.why);
        skip();
    }
    w = (struct world){.act = pause_hardware, .mine = &least};
    o.engine = "kvm";
    world_files(&f, kernel, "g6");
    world_make(&w, &o, &f);
    world_load(&w);
    (void)cpu_tsc(w.machine->vcpu[0].cpu, 1, &hz);
    world_run(&w, 3 * MS);
    assert_int_equal(w.end, MACHINE_EXITED);
    assert_true(world_said(&w, world_expected(6, text)));
    assert_true(least < hz / 100); /* of 20 ms that it stood */
    world_end(&w);
}

static void nothing_moves_while_it_is_paused(void **state)
{
    (void)state;
    run_paused("translate", "w300", 300);
    run_paused("interpret", "w40", 40);
}

/* Sixty-four: one computes or halts, the others wait for their startup message. */
static uint64_t pause_often(struct world *w)
{
    unsigned *left = w->mine;

    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(machine_pause(w->machine, NULL), 0);
        assert_int_equal(w->machine->parked, w->machine->cpus);
        assert_int_equal(machine_resume(w->machine, NULL), 0);
    }
    if (--*left == 0) {
        machine_stop(w->machine);
        return 0;
    }
    return MS;
}

static void many_halted_and_waiting_processors_stop(void **state)
{
    static const char *const modules[] = {"h", "s"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        static struct world w;
        unsigned left = 5;
        struct machine_options o = small;
        struct boot_files f;

        w = (struct world){.act = pause_often, .mine = &left};
        o.cpus = i == 0 ? 64 : 3;
        o.engine = i == 0 ? "interpret" : "translate";
        world_files(&f, kernel, modules[i]);
        world_make(&w, &o, &f);
        world_load(&w);
        world_run(&w, MS);
        assert_int_equal(w.end, MACHINE_STOPPED);
        world_end(&w);
    }
}

static void *ask_from_elsewhere(void *arg)
{
    struct world *w = arg;

    for (unsigned i = 0; i < 200; i++) {
        machine_ask(w->machine, MACHINE_ASK_PAUSE);
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        machine_ask(w->machine, MACHINE_ASK_RESUME);
    }
    machine_stop(w->machine);
    return NULL;
}

static void other_threads_may_ask(void **state)
{
    static struct world w;
    struct boot_files f;
    pthread_t t;

    (void)state;
    w = (struct world){0};
    world_files(&f, kernel, "s");
    world_make(&w, &small, &f);
    world_load(&w);
    assert_int_equal(pthread_create(&t, NULL, ask_from_elsewhere, &w), 0);
    world_run(&w, 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_int_equal(w.end, MACHINE_STOPPED);
    world_end(&w);
}

/* ---- devices that take their time ---- */

struct slow {
    struct dev dev;
    unsigned rests, wakes;
};

static int start_slow(struct dev *d, const void *config, struct err *e)
{
    (void)d;
    (void)config;
    (void)e;
    return 0;
}

static bool rest_slowly(struct dev *d)
{
    return ++((struct slow *)d)->rests % 4 == 0;
}

static void wake_slow(struct dev *d)
{
    ((struct slow *)d)->wakes++;
}

static const struct dev_class slow_class = {.name = "slow",
                                            .state_bytes = sizeof(struct slow),
                                            .start = start_slow,
                                            .rest = rest_slowly,
                                            .wake = wake_slow};

static void a_device_finishes_what_it_took(void **state)
{
    static struct world w;
    struct boot_files f;
    struct dev *d;

    (void)state;
    w = (struct world){0};
    world_files(&f, kernel, "h");
    world_make(&w, &small, &f);
    assert_int_equal(dev_create(&slow_class, w.machine->board, NULL, &d, NULL), 0);
    w.machine->dev[w.machine->devices++] = d;
    assert_int_equal(machine_pause(w.machine, NULL), 0);
    assert_int_equal(((struct slow *)d)->rests, 4);
    assert_int_equal(((struct slow *)d)->wakes, 0);
    assert_int_equal(machine_resume(w.machine, NULL), 0);
    assert_int_equal(((struct slow *)d)->wakes, 1);
    world_end(&w);
}

/* ---- reset ---- */

static void a_reset_starts_the_kernel_again(void **state)
{
    static const char *const engines[] = {"translate", "interpret"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        static struct world w;
        struct machine_options o = small;
        struct boot_files f;

        w = (struct world){0};
        o.engine = engines[i];
        o.cpus = 2;
        o.shutdown_resets = true;
        world_files(&f, kernel, "r");
        world_make(&w, &o, &f);
        world_load(&w);
        world_run(&w, 0);
        assert_int_equal(w.end, MACHINE_EXITED);
        assert_string_equal(w.text, "start 00000000\nstart 00000001\nstart 00000002\n"
                                    "start 00000003\nstart 00000004\n");
        world_end(&w);
    }
}

static void a_reset_ends_the_run_if_so_asked(void **state)
{
    static struct world w;
    struct machine_options o = small;
    struct boot_files f;

    (void)state;
    w = (struct world){0};
    o.no_reboot = true;
    world_files(&f, kernel, "r");
    world_make(&w, &o, &f);
    world_load(&w);
    world_run(&w, 0);
    assert_int_equal(w.end, MACHINE_RESET);
    assert_string_equal(w.text, "start 00000000\n");
    world_end(&w);
}

static uint64_t stop(struct world *w)
{
    machine_stop(w->machine);
    return 0;
}

static void a_guest_that_only_resets_is_slowed_down(void **state)
{
    static struct world w;
    struct boot_files f;

    (void)state;
    w = (struct world){.act = stop};
    world_files(&f, kernel, "l");
    world_make(&w, &small, &f);
    world_load(&w);
    world_run(&w, 1500 * MS);
    assert_int_equal(w.end, MACHINE_STOPPED);
    assert_true(w.chars >= 3 * strlen("again\n"));
    assert_true(w.chars <= 11 * strlen("again\n"));
    world_end(&w);
}

static uint64_t press_reset(struct world *w)
{
    unsigned *left = w->mine;

    if (*left == 0) {
        return 0;
    }
    --*left;
    assert_int_equal(machine_reset(w->machine, NULL), 0);
    return MS;
}

static void the_reset_button_works_while_the_guest_computes(void **state)
{
    static struct world w;
    struct boot_files f;
    unsigned left = 5;
    char text[64];

    (void)state;
    w = (struct world){.act = press_reset, .mine = &left};
    world_files(&f, kernel, "w60");
    world_make(&w, &small, &f);
    world_load(&w);
    world_run(&w, 5 * MS);
    assert_int_equal(w.end, MACHINE_EXITED);
    assert_true(world_said(&w, world_expected(60, text)));
    world_end(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_moves_while_it_is_paused),
        cmocka_unit_test(the_counter_of_hardware_stands_too),
        cmocka_unit_test(many_halted_and_waiting_processors_stop),
        cmocka_unit_test(other_threads_may_ask),
        cmocka_unit_test(a_device_finishes_what_it_took),
        cmocka_unit_test(a_reset_starts_the_kernel_again),
        cmocka_unit_test(a_reset_ends_the_run_if_so_asked),
        cmocka_unit_test(a_guest_that_only_resets_is_slowed_down),
        cmocka_unit_test(the_reset_button_works_while_the_guest_computes),
    };

    kernel = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
