/* route_test.c - every kind of exit goes through the dispatcher to the module that it is for;
 * and whatever a guest stores to ports and registers, nothing outside its machine changes.
 * rows: HYP-13 FV-14 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sha256.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "virt/monitor/private.h"
#include "world.h"

#define NOWHERE UINT64_C(0xd0000000)

static void start(struct world *w, unsigned cpus)
{
    const struct machine_options o = {
        .engine = "interpret", .cpus = cpus, .memory_bytes = 4 << 20, .no_reboot = true};
    const struct boot_files none = {.command_line = ""};

    *w = (struct world){.crashed = NULL};
    world_make(w, &o, &none);
}

static int enter(struct machine *m, struct cpu_exit *x)
{
    if (x->kind == CPU_EXIT_HALT) {
        cpu_kick(m->vcpu[0].cpu, CPU_KICK_INTERRUPT); /* else it would wait */
    }
    return dispatcher_enter(m, m->vcpu[0].cpu, x);
}

/* The truth is the table of routes in the monitor's head: who answers which. */
static void each_exit_finds_its_module(void **state)
{
    static const struct {
        struct cpu_exit x;
        enum machine_route way;
    } rows[] = {
        {{.kind = CPU_EXIT_IN, .address = 0x71, .bytes = 1}, MACHINE_ROUTE_PORT},
        {{.kind = CPU_EXIT_OUT, .address = 0x80, .bytes = 1}, MACHINE_ROUTE_PORT},
        {{.kind = CPU_EXIT_READ, .address = 0xfec00000, .bytes = 4},
         MACHINE_ROUTE_MEMORY},
        {{.kind = CPU_EXIT_WRITE, .address = NOWHERE, .bytes = 8}, MACHINE_ROUTE_MEMORY},
        {{.kind = CPU_EXIT_READ, .address = 0xfee00030, .bytes = 4}, MACHINE_ROUTE_APIC},
        {{.kind = CPU_EXIT_WRITE, .address = 0xfee00080, .bytes = 4}, MACHINE_ROUTE_APIC},
        {{.kind = CPU_EXIT_TPR, .value = 3, .bytes = 1}, MACHINE_ROUTE_APIC},
        {{.kind = CPU_EXIT_MSR_READ, .address = 0x1b, .bytes = 8},
         MACHINE_ROUTE_REGISTER},
        {{.kind = CPU_EXIT_MSR_WRITE, .address = 0x6e0, .bytes = 8},
         MACHINE_ROUTE_REGISTER},
        {{.kind = CPU_EXIT_HYPERCALL, .address = 1, .bytes = 8}, MACHINE_ROUTE_CALL},
        {{.kind = CPU_EXIT_HALT}, MACHINE_ROUTE_WAIT},
        {{.kind = CPU_EXIT_PAUSE}, MACHINE_ROUTE_WAIT},
        {{.kind = CPU_EXIT_EOI_WINDOW}, MACHINE_ROUTE_NONE},
        {{.kind = CPU_EXIT_DEBUG}, MACHINE_ROUTE_WAIT},
        {{.kind = CPU_EXIT_KICKED}, MACHINE_ROUTE_NONE},
        {{.kind = CPU_EXIT_BUDGET}, MACHINE_ROUTE_NONE},
        {{.kind = CPU_EXIT_SHUTDOWN}, MACHINE_ROUTE_END},
    };
    static struct world w;
    bool seen[CPU_EXIT_COUNT] = {false};

    (void)state;
    start(&w, 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine_exits before, after;
        struct cpu_exit x = rows[i].x;

        machine_count_exits(w.machine, &before);
        (void)enter(w.machine, &x);
        machine_count_exits(w.machine, &after);
        seen[x.kind] = true;
        assert_false(x.refused);
        for (unsigned k = 0; k < CPU_EXIT_COUNT; k++) {
            assert_int_equal(after.by_kind[k] - before.by_kind[k], k == x.kind);
        }
        for (unsigned k = 0; k < MACHINE_ROUTE_COUNT; k++) {
            assert_int_equal(after.by_route[k] - before.by_route[k], k == rows[i].way);
        }
    }
    for (unsigned k = 0; k < CPU_EXIT_COUNT; k++) {
        assert_true(seen[k]); /* a new kind gets its row */
    }
    world_end(&w);
}

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL) {
        n++;
    }
    (void)closedir(d);
    return n;
}

static void look(const struct world *w, uint8_t sum[SHA256_BYTES])
{
    const struct mem_region *r = mem_find(w->machine->mem, 0);
    struct x86_regs regs;
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, r->host, r->bytes);
    cpu_get(w->machine->vcpu[0].cpu, &regs);
    sha256_add(&s, &regs, sizeof regs);
    sha256_end(&s, sum);
}

static void store(struct machine *m, enum cpu_exit_kind kind, uint64_t at, unsigned bytes)
{
    static const uint64_t values[] = {0, UINT64_MAX, UINT64_C(0x5a00a55a80000001)};

    for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct cpu_exit x = {
            .kind = kind, .address = at, .bytes = (uint8_t)bytes, .value = values[i]};

        (void)enter(m, &x);
        x.value = (uint64_t)rand() << 32 ^ (uint64_t)rand();
        (void)enter(m, &x);
    }
}

/* All ports in three widths, the chips' pages, the configuration of PCI; a neighbour in the
 * same process is the first that would notice. */
static void stores_to_every_register_stay_inside(void **state)
{
    static const uint64_t pages[] = {0xfec00000, 0xfee00000, 0xe0000000, 0xe0008000,
                                     NOWHERE};
    static struct world w, neighbour;
    uint8_t before[SHA256_BYTES];
    uint8_t after[SHA256_BYTES];
    unsigned files;

    (void)state;
    start(&neighbour, 1);
    start(&w, 1);
    look(&neighbour, before);
    files = open_files();
    for (uint64_t port = 0; port <= UINT16_MAX; port++) {
        for (unsigned bytes = 1; bytes <= 4; bytes *= 2) {
            store(w.machine, CPU_EXIT_OUT, port, bytes);
        }
    }
    for (unsigned i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        for (uint64_t at = pages[i]; at < pages[i] + 4096; at++) {
            for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
                store(w.machine, CPU_EXIT_WRITE, at & ~(uint64_t)(bytes - 1), bytes);
            }
        }
    }
    look(&neighbour, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(open_files(), files);
    assert_int_equal(neighbour.chars, 0);
    assert_false(atomic_load(&neighbour.machine->is_over));
    assert_true(w.chars > 0); /* its own serial port, which is its own back end */
    assert_true(atomic_load(&w.machine->is_over)); /* it may end itself */
    world_end(&w);
    world_end(&neighbour);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_exit_finds_its_module),
        cmocka_unit_test(stores_to_every_register_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
