/* snapshot_test.c - a machine goes on from files and from a mark as if nothing had been. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "snap_work.h"
#include "virt/monitor/kvm/kvm.h"
#include "virt/monitor/private.h"
#include "world.h"

#define MS UINT64_C(1000000)

static const char *kernel; /* its path: argv */
static unsigned crashes;
static struct world world;

static struct machine_options small = {
    .engine = "translate", .cpus = 2, .memory_bytes = 16 << 20};

static struct world *make(const char *engine, const char *module)
{
    struct machine_options o = small;
    struct boot_files f;

    memset(&world, 0, sizeof world);
    world.state = world.memory = -1;
    o.engine = engine;
    world_files(&f, kernel, module);
    world_make(&world, &o, &f);
    return &world;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t save_and_stop(struct world *w)
{
    struct err e = {0};

    if (w->machine->is_over) {
        return 0;
    }
    assert_int_equal(machine_pause(w->machine, &e), 0);
    assert_int_equal(machine_save(w->machine, w->state, w->memory, &e), 0);
    machine_stop(w->machine);
    return 0;
}

/* From engine to engine, until it is done. */
static void hops(const char *const engine[2], const char *module, uint32_t rounds,
                 uint64_t step_ns)
{
    struct err e = {0};
    char text[64];
    struct world *w = make(engine[0], module);
    int state = -1;
    int memory = -1;
    unsigned hop = 0;
    char all[256] = "";

    world_load(w);
    for (;; hop++) {
        w->act = save_and_stop;
        world_snapshot_files(w);
        world_run(w, 1 + (uint64_t)rand() % step_ns);
        w->text[w->chars] = '\0';
        (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%.200s", w->text);
        if (w->end != MACHINE_STOPPED) {
            break;
        }
        if (state >= 0) {
            (void)close(state);
            (void)close(memory);
        }
        state = w->state;
        memory = w->memory;
        world_end(w);
        w = make(engine[(hop + 1) % 2], module);
        assert_int_equal(machine_restore(w->machine, state, memory, 0, &e), 0);
    }
    assert_int_equal(w->end, MACHINE_EXITED);
    assert_string_equal(strstr(all, "hash"), world_expected(rounds, text));
    assert_true(hop > 2);
    print_message("%u hops\n", hop);
    (void)close(w->state);
    (void)close(w->memory);
    (void)close(state);
    (void)close(memory);
    world_end(w);
}

/* By hardware, where there is any; with one processor, since several use what
 * hypercalls give. */
static void a_guest_goes_on_by_hardware_and_back(void **state)
{
    static const char *const both[2] = {"translate", "kvm"};
    static const char *const one[2] = {"kvm", "kvm"};
    struct machine_options before = small;
    struct kvm_report report;

    (void)state;
    kvm_probe(0, &report);
    print_message("%s\n", report.why);
    if (!report.is_good) { /* one that emulates ring 0 may know no IRET */
        skip();
    }
    small.cpus = 1;
    hops(both, "g60", 60, 30 * MS);
    hops(one, "g3", 3, 150 * MS);
    small = before;
}

/* What hardware cannot go on with is refused, and nothing has changed. */
static void a_guest_of_hypercalls_is_not_for_hardware(void **state)
{
    struct kvm_report report;
    struct world *w;
    struct err e = {0};
    int files[2];

    (void)state;
    kvm_probe(0, &report);
    if (!report.is_there) {
        skip();
    }
    small.cpus = 2; /* who is alone is not offered them */
    w = make("translate", "h");
    files[0] = w->state = memfd_create("state", MFD_CLOEXEC);
    files[1] = w->memory = memfd_create("memory", MFD_CLOEXEC);
    assert_int_equal(machine_pause(w->machine, &e), 0);
    assert_int_equal(machine_save(w->machine, files[0], files[1], &e), 0);
    world_end(w);
    w = make("kvm", "h");
    assert_int_equal(machine_restore(w->machine, files[0], files[1], 0, &e), -ENOTSUP);
    assert_non_null(strstr(e.text, "hypercalls"));
    world_end(w);
    (void)close(files[0]);
    (void)close(files[1]);
}

static void a_guest_goes_on_under_the_other_engine(void **state)
{
    static const char *const both[2] = {"interpret", "translate"};
    static const char *const one[2] = {"translate", "translate"};

    (void)state;
    hops(both, "w100", 100, 60 * MS);
    hops(one, "w400", 400, 40 * MS);
}

/* ---- what is refused ---- */

static struct world *saved(const char *module)
{
    struct world *w = make("translate", module);

    world_load(w);
    w->act = save_and_stop;
    world_snapshot_files(w);
    world_run(w, 20 * MS);
    assert_int_equal(w->end, MACHINE_STOPPED);
    return w;
}

static uint32_t sum_of_state(struct machine *m)
{
    struct x86_regs r;
    const struct mem_region *region = mem_find(m->mem, 0);
    uint32_t sum = (uint32_t)board_now(m->board);

    cpu_get(m->vcpu[0].cpu, &r);
    for (size_t i = 0; i < sizeof r; i++) {
        sum = sum * 31 + ((const uint8_t *)&r)[i];
    }
    for (size_t i = 0; i < region->bytes; i += 512) {
        sum = sum * 31 + region->host[i];
    }
    return sum;
}

static void refused(struct machine *m, int state, int memory, uint32_t before)
{
    struct err e = {0};

    assert_int_equal(machine_restore(m, state, memory, 0, &e), -EBADMSG);
    assert_true(strncmp(e.text, "cannot use this snapshot: ", 26) == 0);
    assert_true(sum_of_state(m) == before);
}

static int copy_of(const uint8_t *bytes, size_t n)
{
    int fd = memfd_create("copy", MFD_CLOEXEC);

    assert_int_equal(pwrite(fd, bytes, n, 0), (ssize_t)n);
    return fd;
}

static size_t read_state(int fd, uint8_t **ret)
{
    off_t size = lseek(fd, 0, SEEK_END);

    *ret = malloc((size_t)size);
    assert_int_equal(pread(fd, *ret, (size_t)size, 0), size);
    return (size_t)size;
}

static void cut_and_changed_files_are_refused(void **state)
{
    struct world *w = saved("w4000");
    int state_fd = w->state;
    int memory = w->memory;
    uint8_t *bytes;
    size_t n = read_state(state_fd, &bytes);
    struct machine *m;
    uint32_t before;
    unsigned sections = 0;

    (void)state;
    world_end(w);
    w = make("interpret", "w4000");
    m = w->machine;
    before = sum_of_state(m);
    for (size_t at = 64; at < n; sections++) { /* each section's head, and its end */
        uint64_t length;
        int cut = copy_of(bytes, at);

        refused(m, cut, memory, before);
        (void)close(cut);
        memcpy(&length, bytes + at + 32, sizeof length);
        cut = copy_of(bytes, at + 48);
        refused(m, cut, memory, before);
        (void)close(cut);
        at += 48 + ((length + 7) & ~UINT64_C(7));
    }
    assert_int_equal(sections,
                     3 + 2 + 8 + 2); /* plan, memory, board, 2 processors, chips */
    for (unsigned i = 0; i < 1000; i++) {
        size_t at = (size_t)rand() % n;
        uint8_t flip = (uint8_t)(1u << rand() % 8);
        int bad;

        bytes[at] ^= flip;
        bad = copy_of(bytes, n);
        refused(m, bad, memory, before);
        (void)close(bad);
        bytes[at] ^= flip;
    }
    for (unsigned i = 0; i < 100; i++) {
        int cut = copy_of(bytes, (size_t)rand() % n);

        refused(m, cut, memory, before);
        (void)close(cut);
    }
    free(bytes);
    assert_int_equal(machine_restore(m, state_fd, memory, 0, NULL), 0);
    (void)close(state_fd);
    (void)close(memory);
    world_end(w);
}

static void memory_that_changed_is_refused(void **state)
{
    struct world *w = saved("w4000");
    int state_fd = w->state;
    int memory = w->memory;
    off_t size = lseek(memory, 0, SEEK_END);
    uint32_t before;

    (void)state;
    world_end(w);
    w = make("translate", "w4000");
    before = sum_of_state(w->machine);
    for (unsigned i = 0; i < 300; i++) { /* holes, pages, and what follows them */
        off_t at = i < 100 ? (off_t)(0x200000 + (unsigned)rand() % 0x40000)
                           : (off_t)((unsigned)rand() % (unsigned)size);
        uint8_t was;
        uint8_t is;

        assert_int_equal(pread(memory, &was, 1, at), 1);
        is = was ^ (uint8_t)(1u << i % 8);
        assert_int_equal(pwrite(memory, &is, 1, at), 1);
        refused(w->machine, state_fd, memory, before);
        assert_int_equal(pwrite(memory, &was, 1, at), 1);
    }
    assert_int_equal(ftruncate(memory, size - 1), 0);
    refused(w->machine, state_fd, memory, before);
    assert_int_equal(ftruncate(memory, size + 1), 0);
    refused(w->machine, state_fd, memory, before);
    (void)close(state_fd);
    (void)close(memory);
    world_end(w);
}

static void another_machine_s_snapshot_is_refused(void **state)
{
    struct world *w = saved("w4000");
    struct world other;
    struct machine_options o = small;
    int state_fd = w->state;
    int memory = w->memory;
    struct boot_files f = w->files;

    (void)state;
    world_end(w);
    for (unsigned i = 0; i < 4; i++) {
        o = small;
        o.cpus = i == 0 ? 1 : o.cpus;
        o.memory_bytes = i == 1 ? 17 << 20 : o.memory_bytes;
        o.model = i == 2 ? "v3" : o.model;
        o.hides = i == 3;
        memset(&other, 0, sizeof other);
        world_make(&other, &o, &f);
        refused(other.machine, state_fd, memory, sum_of_state(other.machine));
        world_end(&other);
    }
    (void)close(state_fd);
    (void)close(memory);
}

/* ---- a save that fails ---- */

static uint64_t fail_to_save(struct world *w)
{
    static const char *const faults[] = {"full:3", "full:snapshot.memory",
                                         "full:snapshot.state"};
    struct err e = {0};
    struct world other;
    struct machine_options o = small;

    for (unsigned i = 0; i < 3; i++) {
        e = (struct err){0};
        assert_int_equal(machine_pause(w->machine, NULL), 0);
        assert_int_equal(setenv("STRATA_FAULT", faults[i], 1), 0);
        assert_int_equal(machine_save(w->machine, w->state, w->memory, &e), -ENOSPC);
        assert_int_equal(unsetenv("STRATA_FAULT"), 0);
        assert_int_equal(machine_resume(w->machine, NULL), 0);
        memset(&other, 0, sizeof other);
        world_make(&other, &o, &w->files);
        assert_int_equal(machine_restore(other.machine, w->state, w->memory, 0, NULL),
                         -EBADMSG);
        world_end(&other);
    }
    assert_int_equal(machine_save(w->machine, w->state, w->memory, &e), -EINVAL);
    return 0;
}

static void a_guest_goes_on_when_its_snapshot_finds_no_room(void **state)
{
    struct world *w = make("translate", "w300");
    char text[64];

    (void)state;
#ifndef FAULTS
    skip();
#endif
    world_load(w);
    w->act = fail_to_save;
    world_snapshot_files(w);
    world_run(w, 10 * MS);
    assert_int_equal(w->end, MACHINE_EXITED);
    assert_true(world_said(w, world_expected(300, text)));
    (void)close(w->state);
    (void)close(w->memory);
    world_end(w);
}

/* ---- the same state again ---- */

static void what_is_saved_twice_is_the_same(void **state)
{
    struct world *w = saved("w4000");
    int first[2] = {w->state, w->memory};
    int second[2] = {memfd_create("s", 0), memfd_create("m", 0)};
    uint8_t *a;
    uint8_t *b;
    size_t n = read_state(first[0], &a);
    size_t at = 64;

    (void)state;
    world_end(w);
    w = make("interpret", "w4000");
    assert_int_equal(machine_restore(w->machine, first[0], first[1], 0, NULL), 0);
    assert_int_equal(machine_pause(w->machine, NULL), 0);
    assert_int_equal(machine_save(w->machine, second[0], second[1], NULL), 0);
    assert_int_equal(read_state(second[0], &b), n);
    while (at < n) { /* section by section: head and sum of the whole differ by the id */
        uint64_t length;

        memcpy(&length, a + at + 32, sizeof length);
        if (strcmp((const char *)a + at, "end") != 0) {
            assert_memory_equal(a + at, b + at, 48 + length);
        }
        at += 48 + ((length + 7) & ~UINT64_C(7));
    }
    free(a);
    free(b);
    for (unsigned i = 0; i < 2; i++) {
        (void)close(first[i]);
        (void)close(second[i]);
    }
    world_end(w);
}

/* ---- rewind ---- */

struct trial {
    uint64_t longest_ns;
    unsigned left;
    bool is_marked;
    uint32_t sum;
};

static uint64_t rewind_often(struct world *w)
{
    struct trial *t = w->mine;
    struct err e = {0};
    uint64_t since;

    if (w->machine->is_over) {
        return 0;
    }
    if (!t->is_marked) {
        assert_int_equal(machine_pause(w->machine, &e), 0);
        assert_int_equal(machine_mark(w->machine, &e), 0);
        t->sum = sum_of_state(w->machine);
        assert_int_equal(machine_resume(w->machine, &e), 0);
        t->is_marked = true;
        return 5 * MS;
    }
    if (t->left-- == 0) {
        return 0;
    }
    assert_int_equal(machine_pause(w->machine, &e), 0);
    since = now_ns();
    assert_int_equal(machine_rewind(w->machine, &e), 0);
    since = now_ns() - since;
    t->longest_ns = since > t->longest_ns ? since : t->longest_ns;
    assert_true(sum_of_state(w->machine) == t->sum);
    assert_int_equal(machine_resume(w->machine, &e), 0);
    return (uint64_t)rand() % (8 * MS) + MS;
}

static void a_guest_goes_back_to_its_mark(void **state)
{
    static const char *const engines[] = {"translate", "interpret"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = make(engines[i], "w60");
        struct trial t = {.left = 30};
        char text[64];

        world_load(w);
        w->act = rewind_often;
        w->mine = &t;
        world_run(w, 10 * MS);
        assert_int_equal(w->end, MACHINE_EXITED);
        assert_true(world_said(w, world_expected(60, text)));
        assert_true(t.longest_ns < 1000 * MS);
        print_message("longest of 30: %.2f ms\n", (double)t.longest_ns / 1e6);
        world_end(w);
    }
}

/* ---- a memory that is known elsewhere, too ---- */

#define GPE_PORT                                                                         \
    0x620u /* docs/machine.md: 2 bytes of status, which ones clear, 2 of enables */
#define GPE_EVENT (1u << 5)

static void read_generation(struct world *w, uint8_t ret[16])
{
    assert_true(w->machine->generation_at != 0 && w->machine->generation_at % 8 == 0);
    assert_int_equal(mem_read(w->machine->mem, w->machine->generation_at, ret, 16), 0);
}

static bool take_event(struct world *w)
{
    bool is_told =
        (board_read(w->machine->board, BOARD_PORTS, GPE_PORT, 2) & GPE_EVENT) != 0;

    board_write(w->machine->board, BOARD_PORTS, GPE_PORT, 2, GPE_EVENT);
    return is_told;
}

static uint64_t renew(struct world *w)
{
    static const uint8_t other[16] = "another, indeed";
    struct err e = {0};
    uint8_t first[16];
    uint8_t now[16];

    assert_int_equal(machine_pause(w->machine, &e), 0);
    read_generation(w, first);
    assert_false(take_event(w));
    assert_int_equal(machine_mark(w->machine, &e), 0);
    assert_true(machine_renew(w->machine, other));
    read_generation(w, now);
    assert_memory_equal(now, other, sizeof now);
    assert_true(take_event(w));
    assert_false(machine_renew(w->machine, other)); /* it knows that */
    assert_false(take_event(w));
    assert_int_equal(machine_rewind(w->machine, &e), 0); /* to what it knew then */
    read_generation(w, now);
    assert_memory_equal(now, first, sizeof now);
    assert_true(machine_renew(w->machine, other));
    assert_int_equal(machine_reset(w->machine, &e), 0); /* the same one starts again */
    read_generation(w, now);
    assert_memory_equal(now, other, sizeof now);
    assert_false(take_event(w));
    machine_stop(w->machine);
    assert_int_equal(machine_resume(w->machine, &e), 0);
    return 0;
}

static void a_generation_is_told_once(void **state)
{
    struct world *w = make("translate", "w60");

    (void)state;
    world_load(w);
    w->act = renew;
    world_run(w, 5 * MS);
    assert_int_equal(w->end, MACHINE_STOPPED);
    world_end(w);
}

/* ---- a guest that crashes, again and again ---- */

static void go_back(struct world *w)
{
    unsigned *left = w->mine;

    if (--*left == 0) {
        machine_stop(w->machine);
        return;
    }
    assert_int_equal(machine_rewind(w->machine, NULL), 0);
}

static void a_crash_is_rewound(void **state)
{
    struct boot_files f;
    struct world *w = &world;
    unsigned left = crashes;
    unsigned all = left;
    uint64_t since;

    (void)state;
    memset(w, 0, sizeof *w);
    w->crashed = go_back;
    w->mine = &left;
    world_files(&f, kernel, "c");
    world_make(w, &small, &f);
    world_load(w);
    assert_int_equal(machine_mark(w->machine, NULL), 0);
    since = now_ns();
    world_run(w, 0);
    assert_int_equal(w->end, MACHINE_STOPPED);
    assert_int_equal(w->crashes, all);
    assert_int_equal(w->chars, all * strlen("crash\n"));
    print_message("%u crashes, %.2f ms each\n", all,
                  (double)(now_ns() - since) / 1e6 / all);
    world_end(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_goes_on_under_the_other_engine),
        cmocka_unit_test(a_guest_goes_on_by_hardware_and_back),
        cmocka_unit_test(a_guest_of_hypercalls_is_not_for_hardware),
        cmocka_unit_test(cut_and_changed_files_are_refused),
        cmocka_unit_test(memory_that_changed_is_refused),
        cmocka_unit_test(another_machine_s_snapshot_is_refused),
        cmocka_unit_test(a_guest_goes_on_when_its_snapshot_finds_no_room),
        cmocka_unit_test(what_is_saved_twice_is_the_same),
        cmocka_unit_test(a_guest_goes_back_to_its_mark),
        cmocka_unit_test(a_generation_is_told_once),
        cmocka_unit_test(a_crash_is_rewound),
    };

    kernel = argc > 1 ? argv[1] : "";
    crashes = argc > 2 ? (unsigned)atoi(argv[2]) : 50;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
