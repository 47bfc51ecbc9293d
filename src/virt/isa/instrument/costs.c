/* costs.c - what interpretation and translation cost: at the start, in the long run, and
 * for a guest's page fault.
 *
 * The time of an engine for n instructions is the processor time from nothing (no memory,
 * no processor) until the bench's kernel and a program of its everyday mix have come to
 * their nth instruction, each time in a process of its own; the least of some runs
 * counts.  A page fault is the run of a program that does little else, by its number of
 * exceptions: the guest's handler, its copies between the two tiers and the rest of
 * the program are in it. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "base/str.h"
#include "contract/cpu.h"
#include "virt/isa/bare/bare.h"
#include "virt/isa/instrument/private.h"

#define SECONDS_MOST 30.0
#define SHORTEST     1000u
#define FACTOR       4u
#define LENGTHS      9   /* 1000 to 65 million */
#define STEADY       2   /* the last ones: their difference is the steady speed */
#define MOMENT       0.1 /* runs that take less are done more often */
#define RUNS_SHORT   9
#define RUNS_LONG    2

static const char *const engines[] = {"interpret", "translate"};

#define ENGINES 2

static double thread_seconds(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double run_here(const struct peer_run *run, struct cpu_counters *ret_counters)
{
    enum bare_end end = BARE_EXITED;
    double begun = thread_seconds(), took;
    struct bare *b = NULL;
    struct err e = {0};
    unsigned code = 0;
    int r = peer_load(run, &b, &e);

    r = r < 0 ? r : bare_run(b, &end, &code, &e);
    took = thread_seconds() - begun;
    if (r == 0) {
        bare_count(b, ret_counters);
    }
    bare_destroy(b);
    return r == 0 ? took : 0;
}

/* The line "rate" carries the figure to the watch. */
static void say(double figure)
{
    if (figure > 0) {
        (void)printf("\nstart\nrate %.9f\nsum 0\n", figure);
    }
    (void)fflush(stdout);
}

static void run_length(const struct peer_run *run)
{
    struct cpu_counters c;

    say(run_here(run, &c));
}

static void run_faults(const struct peer_run *run)
{
    struct cpu_counters c = {.exceptions = 0};
    double took = run_here(run, &c);

    say(c.exceptions != 0 ? took / (double)c.exceptions : 0);
}

static const struct peer length = {.name = "length", .run = run_length};
static const struct peer faults = {.name = "faults", .run = run_faults};

/* The least of some runs; 0: one failed. */
static double least(struct peer_run *r)
{
    struct watch_result result;
    double best = 0;
    unsigned n, runs = RUNS_SHORT;

    for (n = 0; n < runs; n++) {
        if (peer_time(r, SECONDS_MOST, &result) < 0 || result.rate <= 0) {
            return 0;
        }
        best = n == 0 || result.rate < best ? result.rate : best;
        runs = result.wall > MOMENT ? RUNS_LONG : RUNS_SHORT;
    }
    return best;
}

struct costs {
    uint64_t n[LENGTHS];
    double seconds[ENGINES][LENGTHS];
    double start[ENGINES], fault[ENGINES];
};

static bool measure(const char *program, const char *paging, const char *kernel,
                    struct costs *c)
{
    bool good = true;
    unsigned i, e;

    for (e = 0; e < ENGINES; e++) {
        struct peer_run run = {.peer = &length,
                               .program = program,
                               .kernel = kernel,
                               .engine = engines[e],
                               .instructions = 1};

        c->start[e] = least(&run);
        good &= c->start[e] > 0;
        for (i = 0; i < LENGTHS; i++) {
            c->n[i] = i == 0 ? SHORTEST : c->n[i - 1] * FACTOR;
            run.instructions = c->n[i];
            c->seconds[e][i] = least(&run);
            good &= c->seconds[e][i] > 0;
        }
        run.peer = &faults;
        run.program = paging;
        run.instructions = 0;
        c->fault[e] = least(&run);
        good &= c->fault[e] > 0;
    }
    return good;
}

/* Where the lines between measured lengths cross; 0: nowhere. */
static double crossing(const struct costs *c)
{
    unsigned i;

    for (i = 1; i < LENGTHS; i++) {
        double before = c->seconds[1][i - 1] - c->seconds[0][i - 1];
        double here = c->seconds[1][i] - c->seconds[0][i];

        if (before >= 0 && here < 0) {
            return (double)c->n[i - 1] +
                   (double)(c->n[i] - c->n[i - 1]) * before / (before - here);
        }
    }
    return 0;
}

/* Million instructions a second between the last lengths. */
static double steady(const struct costs *c, unsigned e)
{
    const unsigned a = LENGTHS - STEADY, b = LENGTHS - 1;

    return (double)(c->n[b] - c->n[a]) / (c->seconds[e][b] - c->seconds[e][a]) * 1e-6;
}

static json_t *engine_of(const struct costs *c, unsigned e)
{
    return json_pack("{s:f, s:f, s:f}", "start_s", c->start[e], "steady_mips",
                     steady(c, e), "page_fault_s", c->fault[e]);
}

static json_t *describe(const struct costs *c)
{
    json_t *lengths = json_array();
    unsigned i;

    for (i = 0; i < LENGTHS; i++) {
        (void)json_array_append_new(lengths, json_pack("{s:I, s:f, s:f}", "instructions",
                                                       (json_int_t)c->n[i], "interpret_s",
                                                       c->seconds[0][i], "translate_s",
                                                       c->seconds[1][i]));
    }
    return json_pack("{s:o, s:o, s:f, s:o}", engines[0], engine_of(c, 0), engines[1],
                     engine_of(c, 1), "crossing_instructions", crossing(c), "lengths",
                     lengths);
}

json_t *costs_measure(const char *dir, const char *kernel)
{
    char program[PATH_MAX], paging[PATH_MAX];
    struct costs c;

    (void)str_print(program, sizeof program, "%s/mix.elf", dir);
    (void)str_print(paging, sizeof paging, "%s/paging.elf", dir);
    return measure(program, paging, kernel, &c) ? describe(&c) : NULL;
}
