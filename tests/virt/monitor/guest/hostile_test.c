/* hostile_test.c - a guest that executes every privileged instruction and malformed ones, at its
 * kernel's level and a program's, leaves its host and a neighbour alone: the machine beside it, in
 * the same process, computes what the host computes, and the process is what it was.  Where the
 * guest has lost itself it begins anew; what it did till then counts.
 *
 *   hostile_test KERNEL NEIGHBOUR ROUNDS [ENGINE]
 *
 * Rounds of each engine: of both in software and of the hardware's where that is of use, or of
 * the one that is named.
 * rows: FV-12 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract/mem.h"
#include "tests/virt/monitor/guest/hostile.h"
#include "tests/virt/monitor/world.h"
#include "virt/isa/x86/encode.h"
#include "virt/monitor/kvm/kvm.h"

#define LOOK_NS          UINT64_C(5000000)
#define STILL_MOST       4 /* looks at a guest that does nothing any more */
#define NEIGHBOUR_ROUNDS 80
#define CANARY_BYTES     (1u << 20)
#define DESCRIPTORS      256

static struct {
    const char *kernel, *neighbour, *engine;
    uint64_t rounds;
} arg;

/* ---- what a guest tries ---- */

static struct hostile_order order;

static bool take(unsigned row)
{
    struct x86_cell cells[X86_CELLS_MAX];
    unsigned n = x86_cells((enum x86_row)row, cells);

    for (unsigned k = 0; k < n; k++) {
        struct hostile_case *c = &order.one[order.cases];
        struct x86_form form;
        uint8_t bytes[X86_INSN_BYTES_MAX];
        int count;

        x86_form_of_cell(&form, &cells[k]);
        count = x86_encode((enum x86_row)row, &form, bytes);
        if (count == 0) {
            continue;
        }
        assert_in_range(order.cases, 0, HOSTILE_MOST - 1);
        c->bytes = (uint8_t)count;
        c->mode = cells[k].mode;
        memcpy(c->code, bytes, (size_t)count);
        order.cases++;
    }
    return n > 0;
}

static int make_order(void **state)
{
    (void)state;
    order.cases = 0;
    for (unsigned is_user = 0; is_user < 2; is_user++) {
        for (unsigned row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
            if ((x86_rows[row].privilege == X86_USER) == is_user) {
                assert_true(take(row));
            }
        }
        order.privileged = is_user ? order.privileged : order.cases;
    }
    assert_in_range(order.privileged, 64, HOSTILE_PRIVILEGED);
    return 0;
}

/* ---- its lives ---- */

struct trial {
    struct hostile_stats sum;
    uint64_t seen, lives, crashes;
    unsigned still;
    bool is_enough;
};

static const struct hostile_stats *look(struct world *w)
{
    static struct hostile_stats s; /* of one guest at a time */

    assert_int_equal(mem_read(machine_memory(w->machine), HOSTILE_STATS_AT, &s, sizeof s),
                     0);
    if (s.check != hostile_check(&s)) {
        memset(&s, 0, sizeof s); /* it has destroyed them, or not begun */
    }
    return &s;
}

/* A life is over: it counts, and the next one tries something else. */
static void bury(struct world *w)
{
    struct trial *t = w->mine;
    const struct hostile_stats *s = look(w);

    t->sum.rounds += s->rounds;
    t->sum.completed += s->completed;
    t->sum.faults += s->faults;
    t->sum.illegal += s->illegal;
    t->sum.interrupts += s->interrupts;
    t->sum.escaped += s->escaped;
    t->sum.last_case = s->escaped != 0 ? s->last_case : t->sum.last_case;
    for (unsigned level = 0; level < 2; level++) {
        for (unsigned n = 0; n < HOSTILE_PRIVILEGED / 64; n++) {
            t->sum.tried[level][n] |= s->tried[level][n];
        }
    }
    t->is_enough = t->sum.rounds >= arg.rounds;
    t->seen = 0;
    t->still = 0;
    t->lives++;
    order.seed = order.seed * UINT64_C(6364136223846793005) + 1442695040888963407;
}

static void begin_anew(struct world *w)
{
    struct trial *t = w->mine;

    bury(w);
    if (t->is_enough || machine_reset(w->machine, NULL) != 0) {
        machine_stop(w->machine);
    }
}

static void on_crash(struct world *w)
{
    ((struct trial *)w->mine)->crashes++;
    begin_anew(w);
}

static uint64_t watch(struct world *w)
{
    struct trial *t = w->mine;
    uint64_t rounds = look(w)->rounds;

    t->still = rounds == t->seen ? t->still + 1 : 0;
    t->seen = rounds;
    if (t->still > STILL_MOST || t->sum.rounds + rounds >= arg.rounds) {
        begin_anew(w);
    }
    return LOOK_NS;
}

static void live(const char *engine, struct trial *t)
{
    static struct world w;
    const struct machine_options o = {
        .engine = engine, .cpus = 1, .memory_bytes = 8 << 20, .no_reboot = true};
    static struct boot_files f;

    if (f.kernel == NULL) {
        world_files(&f, arg.kernel, "");
        f.initrd = (const uint8_t *)&order;
        f.initrd_bytes = sizeof order;
    }
    w = (struct world){.act = watch, .crashed = on_crash, .mine = t};
    world_make(&w, &o, &f);
    world_load(&w);
    world_run(&w, LOOK_NS);
    assert_string_equal(machine_engine(w.machine), engine);
    if (!t->is_enough) {
        bury(&w);
    }
    world_end(&w);
    if (w.end == MACHINE_BROKEN &&
        strcmp(engine, "kvm") != 0) { /* Linux may give it up */
        fail_msg("%s: the processor could not go on, seed %llx", engine,
                 (unsigned long long)order.seed);
    }
}

/* ---- its neighbour ---- */

struct neighbour {
    pthread_t thread;
    struct world world;
    struct boot_files files;
    char expected[64];
    unsigned right, wrong;
    _Atomic bool is_over;
};

static uint64_t no_longer(struct world *w)
{
    machine_stop(w->machine);
    return 0;
}

static void *compute(void *arg_of)
{
    struct neighbour *n = arg_of;
    const struct machine_options o = {
        .engine = "translate", .cpus = 1, .memory_bytes = 8 << 20, .no_reboot = true};

    do {
        n->world = (struct world){.act = no_longer};
        world_make(&n->world, &o, &n->files);
        world_load(&n->world);
        world_run(&n->world, UINT64_C(60000000000));
        *(world_said(&n->world, n->expected) && n->world.end == MACHINE_EXITED
              ? &n->right
              : &n->wrong) += 1;
        world_end(&n->world);
    } while (!atomic_load(&n->is_over));
    return NULL;
}

/* ---- the host ---- */

struct host {
    char descriptors[DESCRIPTORS][64];

    struct {
        void (*handler)(int);
        int flags;
        uint64_t mask;
    } signals[_NSIG];

    uint64_t mask;
    uint32_t mxcsr;
    uint16_t fcw;
};

static void look_at_host(struct host *h)
{
    sigset_t mask;

    memset(h, 0, sizeof *h);
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        char name[32];

        (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        (void)!readlink(name, h->descriptors[fd], sizeof h->descriptors[fd] - 1);
    }
    for (int n = 1; n < _NSIG; n++) {
        struct sigaction a = {.sa_flags = 0};

        (void)sigaction(n, NULL, &a); /* of the library's own: nothing */
        h->signals[n].handler = a.sa_handler;
        h->signals[n].flags = a.sa_flags;
        memcpy(&h->signals[n].mask, &a.sa_mask, sizeof h->signals[n].mask);
    }
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    memcpy(&h->mask, &mask, sizeof h->mask);
    __asm__ volatile("stmxcsr %0\n fnstcw %1" : "=m"(h->mxcsr), "=m"(h->fcw));
}

static uint8_t canary[CANARY_BYTES];

static void make_canary(void)
{
    for (unsigned n = 0; n < CANARY_BYTES; n++) {
        canary[n] = (uint8_t)(n * 167 + (n >> 8));
    }
}

static void assert_canary_lives(void)
{
    for (unsigned n = 0; n < CANARY_BYTES; n++) {
        if (canary[n] != (uint8_t)(n * 167 + (n >> 8))) {
            fail_msg("a byte of the host's memory was changed");
        }
    }
}

/* ---- the promise ---- */

static void assert_each_was_tried(const struct trial *t)
{
    for (unsigned level = 0; level < 2; level++) {
        for (unsigned n = 0; n < order.privileged; n++) {
            if ((t->sum.tried[level][n / 64] >> n % 64 & 1) == 0) {
                fail_msg("case %u was never tried at level %u", n, level * 3);
            }
        }
    }
    assert_true(t->sum.completed > arg.rounds / 20);
    assert_true(t->sum.faults > arg.rounds / 20);
    assert_true(t->sum.illegal > arg.rounds / 100);
}

static void stand(const char *engine)
{
    static struct neighbour n;
    static struct host before, after;
    struct trial t = {0};

    make_canary();
    order.seed = 0x5eed;
    n = (struct neighbour){.right = 0};
    world_files(&n.files, arg.neighbour, "w80");
    (void)world_expected(NEIGHBOUR_ROUNDS, n.expected);
    atomic_store(&n.is_over, true);
    (void)compute(&n); /* once alone: what a process keeps of machines is there */
    atomic_store(&n.is_over, false);
    look_at_host(&before);
    assert_int_equal(pthread_create(&n.thread, NULL, compute, &n), 0);
    while (!t.is_enough) {
        live(engine, &t);
    }
    atomic_store(&n.is_over, true);
    assert_int_equal(pthread_join(n.thread, NULL), 0);
    look_at_host(&after);
    print_message(
        "%s: %llu rounds in %llu lives (%llu crashes): %llu completed, %llu "
        "illegal, %llu other faults, %llu interrupted; neighbour right %u times\n",
        engine, (unsigned long long)t.sum.rounds, (unsigned long long)t.lives,
        (unsigned long long)t.crashes, (unsigned long long)t.sum.completed,
        (unsigned long long)t.sum.illegal, (unsigned long long)t.sum.faults,
        (unsigned long long)t.sum.interrupts, n.right);
    if (t.sum.escaped != 0) {
        const struct hostile_case *c = &order.one[t.sum.last_case];

        fail_msg("%s: %llu times a program executed a privileged instruction, lastly in "
                 "code of %u bits %02x %02x %02x %02x",
                 engine, (unsigned long long)t.sum.escaped, 16u << c->mode, c->code[0],
                 c->code[1], c->code[2], c->code[3]);
    }
    assert_int_equal(n.wrong, 0);
    assert_true(n.right >= 2);
    assert_memory_equal(&before, &after, sizeof before);
    assert_canary_lives();
    assert_each_was_tried(&t);
    (void)munmap((void *)(uintptr_t)n.files.kernel, n.files.kernel_bytes);
}

static void by_software(void **state)
{
    (void)state;
    if (arg.engine != NULL) {
        skip();
    }
    stand("translate");
    stand("interpret");
}

static void by_hardware(void **state)
{
    struct kvm_report report;

    (void)state;
    kvm_probe(0, &report);
    if (arg.engine == NULL && !report.is_good) {
        print_message("not by hardware: %s\n", report.why);
        skip();
    }
    stand(arg.engine != NULL ? arg.engine : "kvm");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_software),
        cmocka_unit_test(by_hardware),
    };

    if (argc < 4) {
        return 2;
    }
    arg.kernel = argv[1];
    arg.neighbour = argv[2];
    arg.rounds = strtoull(argv[3], NULL, 10);
    arg.engine = argc > 4 ? argv[4] : NULL;
    return cmocka_run_group_tests(tests, make_order, NULL);
}
