/* allocator_test.c - a guest that asks for more than its machine was given gets it where nobody
 * else is, and is refused else; either is counted.  The machine has what it was given.
 * rows: HYP-14 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/virt/monitor/world.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/private.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/device.h"
#include "virtio/rng.h"

#define RAM  (UINT64_C(16) << 20)
#define MORE (UINT64_C(128) << 20)
#define MS   UINT64_C(1000000)

static const char *kernel; /* its path: argv */
static struct virtio_device *devices[2];
static struct pci_card cards[2];

static void plug(struct world *w)
{
    const struct virtio_rng_options o = {.loop = w->loop, .is_seeded = true};

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(virtio_rng_create(&o, &devices[i], NULL), 0);
        cards[i] = vpci_card(devices[i]);
    }
    w->options.cards = cards;
    w->options.card_count = 2;
}

static void unplug(struct world *w)
{
    (void)w;
    for (unsigned i = 0; i < 2; i++) {
        devices[i]->ops->destroy(devices[i]);
    }
}

/* The host gives a processor when the guest has tried without, and wants it back later. */
static uint64_t give_and_take(struct world *w)
{
    unsigned want = world_said(w, "enough\n") ? 1 : world_said(w, "processors\n") ? 2 : 0;

    if (want != 0 && want != w->crashes) {
        assert_int_equal(machine_set_cpus(w->machine, want, NULL), 0);
        w->crashes = want; /* what was done last */
    }
    return 5 * MS;
}

static void it_has_what_it_was_given(const char *engine)
{
    static struct world w;
    const struct machine_options o = {.engine = engine,
                                      .cpus = 1,
                                      .cpus_most = 3,
                                      .memory_bytes = RAM,
                                      .memory_most = RAM + MORE};
    struct machine_exits x;
    struct boot_files f;

    w = (struct world){.act = give_and_take, .plug = plug, .unplug = unplug};
    world_files(&f, kernel, "");
    world_make(&w, &o, &f);
    world_load(&w);
    world_run(&w, 5 * MS);
    w.text[w.chars] = '\0';
    if (strstr(w.text, "bad ") != NULL || !world_said(&w, "done\n")) {
        fail_msg("%s:\n%s", engine, w.text);
    }
    assert_int_equal(w.end, MACHINE_OFF);
    assert_int_equal(machine_memory_bytes(w.machine), RAM);
    assert_int_equal(machine_cpus(w.machine), 1);
    machine_count_exits(w.machine, &x);
    /* Three places, and what stays: the last processor, one that is not there, one that nobody
     * wants back, a device. */
    assert_int_equal(x.refused, 3 + 4);
    /* Two registers of each device, six moves, and the processor. */
    assert_int_equal(x.granted, 4 + 6 + 1);
    world_end(&w);
}

static void by_translation(void **state)
{
    (void)state;
    it_has_what_it_was_given("translate");
}

static void by_interpretation(void **state)
{
    (void)state;
    it_has_what_it_was_given("interpret");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_translation),
        cmocka_unit_test(by_interpretation),
    };

    kernel = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
