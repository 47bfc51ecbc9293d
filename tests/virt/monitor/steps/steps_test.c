/* steps_test.c - each run of a deterministic machine is the same: what executes it, how busy the
 * host is and who looks at it meanwhile do not matter. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sha256.h"
#include "contract/blk_graph.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/virt/monitor/world.h"
#include "virt/monitor/private.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/blk_device.h"
#include "virtio/device.h"
#include "virtio/rng.h"

#define MS         UINT64_C(1000000)
#define DISK_BYTES (4u << 20)
#define SEED       7u

static const char *kernel; /* its path: argv */
static struct world world;

/* The devices of a machine, and what it is asked meanwhile. */
struct parts {
    struct blk_edge edge;
    struct virtio_device *device[2];
    struct pci_card card[2];
    uint64_t seed;
    bool in_turn;
    unsigned calls;
};

/* What two runs are compared by. */
struct digest {
    uint64_t instructions, exits;
    struct cpu_counters count;
    char text[512];
    uint8_t memory[SHA256_BYTES]; /* registers included */
};

static struct parts parts;
static int disk_fd; /* what is on it a guest that was saved finds again */

/* ---- a machine ---- */

static int open_disk(void *arg)
{
    struct world *w = arg;
    const struct leaf_file_options o = {.label = "test", .no_lock = true};
    struct blk *disk = NULL;
    int r = leaf_file_create(w->loop, dup(disk_fd), &o, &disk, NULL);

    parts.edge = (struct blk_edge){
        .user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_ALL};
    return r != 0 ? r : blk_attach(&parts.edge, disk, NULL);
}

static int close_disk(void *arg)
{
    (void)arg;
    blk_detach(&parts.edge);
    return 0;
}

static void plug(struct world *w)
{
    const struct virtio_blk_device_options disk = {
        .edge = &parts.edge, .queues = 1, .in_turn = parts.in_turn};
    const struct virtio_rng_options rng = {
        .loop = w->loop, .is_seeded = true, .seed = parts.seed};

    assert_int_equal(loop_do(w->loop, open_disk, w), 0);
    assert_int_equal(virtio_blk_device_create(w->loop, &disk, &parts.device[0], NULL), 0);
    assert_int_equal(virtio_rng_create(&rng, &parts.device[1], NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        parts.card[i] = vpci_card(parts.device[i]);
    }
    w->options.cards = parts.card;
    w->options.card_count = 2;
}

static void unplug(struct world *w)
{
    for (unsigned i = 0; i < 2; i++) {
        parts.device[i]->ops->destroy(parts.device[i]);
    }
    assert_int_equal(loop_do(w->loop, close_disk, w), 0);
}

/* With an empty disk, or the last one's. */
static struct world *make(const char *engine, uint64_t seed, bool is_new)
{
    const struct machine_options o = {.engine = engine,
                                      .cpus = 1,
                                      .memory_bytes = 4 << 20,
                                      .is_deterministic = true,
                                      .seed = seed};
    struct boot_files f;

    if (is_new) {
        assert_int_equal(ftruncate(disk_fd, 0) | ftruncate(disk_fd, DISK_BYTES), 0);
    }
    memset(&world, 0, sizeof world);
    parts = (struct parts){.seed = seed, .in_turn = true};
    world.state = world.memory = -1;
    world.plug = plug;
    world.unplug = unplug;
    world_files(&f, kernel, "");
    world_make(&world, &o, &f);
    return &world;
}

static void remember(struct world *w, struct digest *d)
{
    const struct mem_region *r = mem_find(w->machine->mem, 0);
    struct x86_regs regs;
    struct sha256 s;

    assert_true(machine_repeats(w->machine, &d->instructions, &d->exits));
    cpu_get(w->machine->vcpu[0].cpu, &regs);
    sha256_init(&s);
    sha256_add(&s, r->host, r->bytes);
    sha256_add(&s, &regs, sizeof regs);
    sha256_end(&s, d->memory);
    machine_count(w->machine, &d->count);
    (void)snprintf(d->text, sizeof d->text, "%.*s", (int)w->chars, w->text);
}

static void finish(struct world *w, struct digest *ret)
{
    assert_int_equal(w->end, MACHINE_EXITED);
    remember(w, ret);
    world_end(w);
}

static void run(const char *engine, uint64_t seed, struct digest *ret)
{
    struct world *w = make(engine, seed, true);

    world_load(w);
    world_run(w, 0);
    finish(w, ret);
}

static void assert_same(const struct digest *a, const struct digest *b)
{
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->instructions, b->instructions);
    assert_int_equal(a->exits, b->exits);
    assert_memory_equal(a->memory, b->memory, sizeof a->memory);
}

/* ---- the promises ---- */

static void assert_repeats(const char *engine)
{
    struct digest a;
    struct digest b;

    run(engine, SEED, &a);
    run(engine, SEED, &b);
    assert_non_null(strstr(a.text, "digest"));
    assert_same(&a, &b);
    a.count.translate_ns = b.count.translate_ns = 0;
    assert_memory_equal(&a.count, &b.count,
                        sizeof a.count); /* it even went the same way */
    print_message("%s: %llu instructions\n", engine, (unsigned long long)a.instructions);
}

static void two_runs_are_the_same(void **state)
{
    (void)state;
    assert_repeats("translate");
    assert_repeats("interpret");
}

static void both_engines_run_the_same(void **state)
{
    struct digest a;
    struct digest b;

    (void)state;
    run("translate", SEED, &a);
    run("interpret", SEED, &b);
    assert_same(&a, &b);
}

static uint64_t pause_a_while(struct world *w)
{
    if (atomic_load(&w->machine->is_over)) {
        return 0;
    }
    parts.calls++;
    if (!machine_is_paused(w->machine)) {
        assert_int_equal(machine_pause(w->machine, NULL), 0);
        return MS;
    }
    assert_int_equal(machine_resume(w->machine, NULL), 0);
    return MS / 10;
}

static void who_pauses_it_does_not_change_it(void **state)
{
    struct digest a;
    struct digest b;
    struct world *w;

    (void)state;
    run("translate", SEED, &a);
    w = make("translate", SEED, true);
    w->act = pause_a_while;
    world_load(w);
    world_run(w, MS / 10);
    print_message("%u calls\n", parts.calls);
    assert_true(parts.calls > 4);
    finish(w, &b);
    assert_same(&a, &b);
}

static uint64_t save_and_stop(struct world *w)
{
    struct err e = {0};

    if (atomic_load(&w->machine->is_over)) {
        return 0;
    }
    assert_int_equal(machine_pause(w->machine, &e), 0);
    assert_int_equal(machine_save(w->machine, w->state, w->memory, &e), 0);
    machine_stop(w->machine);
    return 0;
}

static void a_saved_one_goes_on_to_the_same_end(void **state)
{
    struct digest a;
    struct digest b;
    struct world *w = make("translate", SEED, true);
    struct err e = {0};
    int files[2];
    char text[sizeof a.text];

    (void)state;
    w->act = save_and_stop;
    world_snapshot_files(w);
    world_load(w);
    world_run(w, 3 * MS);
    assert_int_equal(w->end, MACHINE_STOPPED);
    files[0] = w->state;
    files[1] = w->memory;
    (void)snprintf(text, sizeof text, "%.*s", (int)w->chars, w->text);
    world_end(w);

    w = make("interpret", SEED, false);
    assert_int_equal(machine_restore(w->machine, files[0], files[1], 0, &e), 0);
    world_run(w, 0);
    finish(w, &b);
    run("translate", SEED, &a);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s", b.text);
    (void)snprintf(b.text, sizeof b.text, "%s", text);
    assert_same(&a, &b);
    (void)close(files[0]);
    (void)close(files[1]);
}

static void another_seed_is_another_run(void **state)
{
    struct digest a;
    struct digest b;

    (void)state;
    run("translate", SEED, &a);
    run("translate", SEED + 1, &b);
    assert_string_not_equal(a.text, b.text);
    assert_int_not_equal(a.exits, b.exits);
}

static void what_cannot_repeat_is_refused(void **state)
{
    struct machine_options o = {
        .engine = "kvm", .cpus = 1, .memory_bytes = 4 << 20, .is_deterministic = true};
    struct machine *m = NULL;
    struct loop *l = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &l, NULL), 0);
    assert_int_equal(machine_create(l, &o, &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "only software counts instructions"));
    o.engine = NULL;
    o.cpus = 2;
    e = (struct err){0};
    assert_int_equal(machine_create(l, &o, &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "more than one processor"));
    o.cpus = 1;
    assert_int_equal(machine_create(l, &o, &m, NULL), 0);
    assert_string_not_equal(machine_engine(m), "kvm"); /* whatever the host has */
    machine_destroy(m);
    loop_destroy(l);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_runs_are_the_same),
        cmocka_unit_test(both_engines_run_the_same),
        cmocka_unit_test(who_pauses_it_does_not_change_it),
        cmocka_unit_test(a_saved_one_goes_on_to_the_same_end),
        cmocka_unit_test(another_seed_is_another_run),
        cmocka_unit_test(what_cannot_repeat_is_refused),
    };

    kernel = argc > 1 ? argv[1] : "";
    disk_fd = memfd_create("disk", MFD_CLOEXEC);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
