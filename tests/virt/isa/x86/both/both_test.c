/* both_test.c - the interpreter and the translator on the same random guests: the same
 * registers, tables, caches of segments, MSRs, memory and exits wherever one looks, and as many instructions
 * at each exit and look at the clock.
 *
 *   both_test [-s SEED | -r] [-n WORLDS] [-m MODE] [-v]
 *
 * -r takes a seed from the clock; -v looks for the least budget with which the last step
 * differs, and prints the way of the interpreter to there.
 *
 * rows: ISA-03 ISA-05 CON-09 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/base/vendor.h"
#include "virt/isa/x86/cpu.h"
#include "world.h"

#define BEGINS       3
#define STEPS        40
#define SHOWN        20
#define WAY          40
#define SECONDS_MOST 2

static const char *const mode_names[WORLD_MODES] = {
    "real",     "v86", "protected 16",  "protected 32",
    "paged 32", "PAE", "compatibility", "long"};

struct totals {
    uint64_t worlds, steps, differ;
    struct cpu_counters count[2];
};

static void add_counts(struct totals *t, struct world *w)
{
    for (unsigned n = 0; n < 2; n++) {
        struct cpu_counters k;

        cpu_count(w->side[n].cpu, &k);
        t->count[n].interpreted += k.interpreted;
        t->count[n].translated += k.translated;
        t->count[n].blocks += k.blocks;
        t->count[n].exceptions += k.exceptions;
        t->count[n].interrupts += k.interrupts;
        t->count[n].code_writes += k.code_writes;
    }
}

/* The instruction that comes next, where linear addresses are physical ones. */
static void print_next(struct side *s)
{
    struct x86_regs r;
    struct x86_insn i;
    char text[96] = "?";
    uint64_t at;
    enum x86_code_mode mode;

    cpu_get(s->cpu, &r);
    mode = (r.seg[X86_CS].attr & X86_ATTR_L) != 0 && (r.msr.efer & X86_EFER_LMA) != 0
               ? X86_CODE64
           : (r.seg[X86_CS].attr & X86_ATTR_DB) != 0 ? X86_CODE32
                                                     : X86_CODE16;
    at = r.gpr[X86_RIP] + (mode == X86_CODE64 ? 0 : r.seg[X86_CS].base);
    at = at >= WORLD_CODE + WORLD_ALIAS ? at - WORLD_ALIAS : at;
    if (at < WORLD_RAM - 16 && x86_decode(s->ram + at, 16, mode, &i) == X86_DECODED) {
        x86_disassemble(&i, r.gpr[X86_RIP], text, sizeof text);
    }
    printf("    %d %8" PRIx64 " %-44s rax %" PRIx64 " rcx %" PRIx64 " rbx %" PRIx64
           " rsp %" PRIx64 " flags %" PRIx64 "\n",
           r.cpl, r.gpr[X86_RIP], text, r.gpr[0], r.gpr[1], r.gpr[3], r.gpr[4], r.rflags);
}

/* Come to the begin of that step again; its draw is made. */
static void come_again(struct world *w, uint64_t seed, enum world_mode mode,
                       unsigned steps)
{
    struct draw d = {.state = seed};
    char text[160];

    world_create(w, &d, mode);
    for (unsigned n = 0; n < steps; n++) {
        if (n % STEPS == 0 && n > 0) {
            world_begin(w);
        }
        if (n + 1 < steps) {
            (void)world_step(w, text, sizeof text);
        }
    }
    world_draw(w);
}

/* The least budget for which the step differs, as `text` says. */
static uint64_t least_budget(uint64_t seed, enum world_mode mode, unsigned steps,
                             char *text, unsigned bytes)
{
    bool is_same = true;
    uint64_t k = 0, most = 1;

    while (is_same && k < most) {
        struct world w;

        come_again(&w, seed, mode, steps);
        most = w.budget;
        w.budget = ++k;
        is_same = world_run_both(&w, text, bytes);
        if (!is_same) {
            print_next(&w.side[0]);
            print_next(&w.side[1]);
        }
        world_destroy(&w);
    }
    return k;
}

/* How the interpreter went there, by single instructions. */
static void retrace(uint64_t seed, enum world_mode mode, unsigned steps)
{
    char text[160];
    uint64_t most = least_budget(seed, mode, steps, text, sizeof text);
    struct world w;

    printf("    differs with a budget of %" PRIu64 ": %s\n", most, text);
    come_again(&w, seed, mode, steps);
    for (uint64_t n = 0; n < most; n++) {
        if (most - n < WAY) {
            print_next(&w.side[0]);
        }
        (void)world_run(&w, &w.side[0], 1);
        w.kicks = 0;
    }
    print_next(&w.side[0]);
    world_destroy(&w);
}

static void run_world(struct totals *t, uint64_t seed, enum world_mode mode, bool loud)
{
    struct draw d = {.state = seed};
    time_t began = time(NULL);
    struct world w;
    char text[160];

    world_create(&w, &d, mode);
    /* A repeated string instruction over places without memory may take seconds. */
    for (unsigned n = 0; n < BEGINS * STEPS && time(NULL) - began < SECONDS_MOST; n++) {
        struct x86_regs before;

        if (n % STEPS == 0 && n > 0) {
            world_begin(&w);
        }
        cpu_get(w.side[0].cpu, &before);
        t->steps++;
        if (world_step(&w, text, sizeof text)) {
            continue;
        }
        if (t->differ++ < SHOWN || loud) {
            printf("  %s, seed %" PRIu64 ", step %u from %" PRIx64 ": %s\n",
                   mode_names[w.mode], seed, w.steps, before.gpr[X86_RIP], text);
        }
        if (loud) {
            retrace(seed, mode, w.steps);
        }
        break;
    }
    add_counts(t, &w);
    world_destroy(&w);
    t->worlds++;
}

static void print_totals(const struct totals *t, uint64_t seed)
{
    const struct cpu_counters *k = &t->count[1];

    printf("seed %" PRIu64 ": %" PRIu64 " worlds, %" PRIu64 " steps compared, %" PRIu64
           " differ\n",
           seed, t->worlds, t->steps, t->differ);
    printf("interpreter %" PRIu64 " instructions; translator %" PRIu64
           " interpreted, %" PRIu64 " units, %" PRIu64 " exceptions, %" PRIu64
           " drops of code\n",
           t->count[0].interpreted, k->interpreted, k->blocks, k->exceptions,
           k->code_writes);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, worlds = 160;
    int mode = WORLD_MODES, c;
    struct totals t = {0};
    bool loud = false;

    while ((c = getopt(argc, argv, "s:n:m:rv")) != -1) {
        switch (c) {
        case 's':
            seed = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            worlds = strtoull(optarg, NULL, 0);
            break;
        case 'm':
            mode = atoi(optarg) % (WORLD_MODES + 1);
            break;
        case 'r':
            seed = (uint64_t)time(NULL) * 1000003;
            break;
        case 'v':
            loud = true;
            break;
        default:
            return 2;
        }
    }
    if (!vendor_is_intel()) { /* translated code leaves the host's flags */
        printf("skip: " VENDOR_REASON);
        return 77;
    }
    for (uint64_t n = 0; n < worlds; n++) {
        run_world(&t, seed + n, (enum world_mode)mode, loud);
    }
    print_totals(&t, seed);
    return t.differ == 0 ? 0 : 1;
}
