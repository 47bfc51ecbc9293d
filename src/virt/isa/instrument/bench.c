/* bench.c - the programs of bench/cpu: as Linux processes, on our processor, and on
 * QEMU's where the host has it; all by the same compiled files.
 *
 * A program runs by turns on each, `ROUNDS` times at most and as often as its share of
 * the time allows, and the medians count.  In the first round each machine and
 * processor of QEMU's system emulator is tried, as far as the share goes (the best one
 * so far first, then both processors); in later rounds the quickest of them is the
 * peer.  A sum that differs from the native one is an error, not a figure. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/isa/instrument/private.h"

#define ROUNDS       7
#define SECONDS_ALL  45     /* no second rounds behind this, whatever is left */
#define SECONDS_MOST 20.0   /* for one run */
#define PEERS_SURE   2      /* machines of QEMU that are tried whatever it takes */
#define MUCH_CODE    "wide" /* the program whose time is that of translating it quickly */

struct kernel {
    const char *name;
    bool in_mix; /* of the geometric means */
};

static const struct kernel kernels[] = {
    {"alu", true},          {"branchy", true},     {"calls", true},
    {"indirect", true},     {"mix", true},         {"sieve", true},
    {"sha256", true},       {"sort", true},        {"lz", true},
    {"chase_small", true},  {"chase_large", true}, {"copy_rep", true},
    {"copy_sse", true},     {"vector_int", true},  {"scalar_double", true},
    {"vector_float", true}, {"x87", true},         {"jit_fresh", false},
    {"jit_rewrite", false}, {"spaces", false},     {"paging", false},
    {MUCH_CODE, false},
};

#define KERNELS (sizeof kernels / sizeof *kernels)

struct bench {
    const char *engine;
    bool has[PEERS];
    unsigned best[PEERS]; /* how often it was the quickest machine of QEMU */
    char dir[PATH_MAX], kernel[PATH_MAX];
    double seconds;                     /* for all */
    uint64_t lifted, lift_ns;           /* over the everyday mix */
    uint64_t much_lifted, much_lift_ns; /* of MUCH_CODE, its quickest run */
    bool alone;                         /* no peers, no interpreter */
};

struct figures {
    double seconds[PEERS]; /* medians; 0: none */
    unsigned runs[PEERS];
    unsigned peer; /* the quickest of QEMU's machines; 0: none */
    uint64_t lifted, lift_ns, least_lift_ns; /* of the last run; of the quickest */
    char problem[128];
};

/* What one program's rounds need. */
struct turn {
    const struct bench *bench;
    struct peer_run run;
    double end; /* of its share of the time */
    double took[PEERS][ROUNDS], wall[PEERS];
    unsigned n[PEERS];
    char sum[20];
    struct figures *f;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values, unsigned n)
{
    double v[ROUNDS] = {0};

    memcpy(v, values, n * sizeof *v);
    qsort(v, n, sizeof *v, compare);
    return n == 0 ? 0 : n % 2 != 0 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* The native run comes first and gives the sum that all must have, unless the program
 * says that it is none of Linux's. */
static void run_once(struct turn *t, unsigned way)
{
    struct watch_result result;
    struct figures *f = t->f;
    int r;

    t->run.peer = &peers[way];
    r = peer_time(&t->run, SECONDS_MOST, &result);
    t->wall[way] = result.wall;
    if (r == 0 && t->sum[0] == '\0') {
        memcpy(t->sum, result.sum, sizeof t->sum);
    }
    if (r == 0 && strcmp(t->sum, result.sum) == 0) {
        t->took[way][t->n[way]++] = result.seconds;
        if (way == PEER_STRATA) {
            f->lifted = result.lifted;
            f->lift_ns = result.lift_ns;
            f->least_lift_ns = f->least_lift_ns == 0 || result.lift_ns < f->least_lift_ns
                                   ? result.lift_ns
                                   : f->least_lift_ns;
        }
        return;
    }
    if (strcmp(result.last, "not applicable") != 0) {
        (void)str_print(f->problem, sizeof f->problem, "%s: %.90s", peers[way].name,
                        r == 0              ? "its sum differs"
                        : r == -ETIMEDOUT   ? "took too long"
                        : *result.last != 0 ? result.last
                                            : "no answer");
    }
}

static unsigned quickest(const struct turn *t)
{
    unsigned way, best = 0;

    for (way = PEER_SYSTEM; way < PEERS; way++) {
        if (t->n[way] != 0 && (best == 0 || median(t->took[way], t->n[way]) <
                                                median(t->took[best], t->n[best]))) {
            best = way;
        }
    }
    return best;
}

/* The machines of QEMU: the one that was best most often first. */
static void try_machines(struct turn *t)
{
    const struct bench *b = t->bench;
    unsigned order[PEERS - PEER_SYSTEM], n = 0, way, first = PEER_SYSTEM;
    double longest = 0;

    for (way = PEER_SYSTEM; way < PEERS; way++) {
        first = b->best[way] > b->best[first] ? way : first;
    }
    order[n++] = first;
    for (way = PEER_SYSTEM; way < PEERS; way++) {
        if (way != first) {
            order[n++] = way;
        }
    }
    for (way = 0; way < n; way++) {
        if (b->has[order[way]] && (way < PEERS_SURE || watch_now() + longest < t->end)) {
            run_once(t, order[way]);
            longest = fmax(longest, t->wall[order[way]]);
        }
    }
}

/* Once more, if that is likely to be over in time. */
static void run_again(struct turn *t, unsigned way)
{
    if (t->n[way] != 0 && t->n[way] < ROUNDS && watch_now() + t->wall[way] < t->end) {
        run_once(t, way);
    }
}

static void measure(struct bench *b, const char *program, double end, struct figures *f)
{
    struct turn t = {
        .bench = b, .run = {NULL, program, b->kernel, b->engine}, .end = end, .f = f};
    unsigned round, way;

    *f = (struct figures){0};
    run_once(&t, PEER_NATIVE);
    run_once(&t, PEER_STRATA);
    try_machines(&t);
    if (b->has[PEER_USER]) {
        run_once(&t, PEER_USER);
    }
    f->peer = quickest(&t);
    for (round = 1; round < ROUNDS; round++) {
        run_again(&t, PEER_NATIVE);
        run_again(&t, PEER_STRATA);
        if (f->peer != 0) {
            run_again(&t, f->peer);
        }
        run_again(&t, PEER_USER);
        f->peer = quickest(&t);
    }
    b->best[f->peer]++;
    for (way = 0; way < PEERS; way++) {
        f->seconds[way] = median(t.took[way], t.n[way]);
        f->runs[way] = t.n[way];
    }
}

static json_t *real_or_null(double v)
{
    return v > 0 ? json_real(v) : json_null();
}

static double ratio(double a, double b)
{
    return a > 0 && b > 0 ? a / b : 0;
}

static double qemu_seconds(const struct figures *f)
{
    return f->peer != 0 ? f->seconds[f->peer] : 0;
}

static json_t *row_of(const char *name, const struct figures *f)
{
    const double *s = f->seconds;
    char runs[40];

    (void)str_print(runs, sizeof runs, "%u/%u/%u/%u", f->runs[PEER_NATIVE],
                    f->runs[PEER_STRATA], f->peer != 0 ? f->runs[f->peer] : 0,
                    f->runs[PEER_USER]);
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "name", name,
        "native_s", real_or_null(s[PEER_NATIVE]), "strata_s",
        real_or_null(s[PEER_STRATA]), "qemu_s", real_or_null(qemu_seconds(f)),
        "qemu_user_s", real_or_null(s[PEER_USER]), "vs_native",
        real_or_null(ratio(s[PEER_STRATA], s[PEER_NATIVE])), "vs_qemu",
        real_or_null(ratio(qemu_seconds(f), s[PEER_STRATA])), "vs_qemu_user",
        real_or_null(ratio(s[PEER_USER], s[PEER_STRATA])), "peer",
        f->peer != 0 ? peers[f->peer].name : "", "runs", runs, "problem", f->problem);
}

struct mean {
    double logs;
    unsigned n;
};

static void add(struct mean *m, double v)
{
    if (v > 0) {
        m->logs += log(v);
        m->n++;
    }
}

static json_t *mean_of(const struct mean *m)
{
    return m->n != 0 ? json_real(exp(m->logs / m->n)) : json_null();
}

struct means {
    struct mean native, system, user;
};

/* Million instructions a second. */
static json_t *rate_of(uint64_t lifted, uint64_t ns)
{
    return real_or_null(ratio((double)lifted * 1e3, (double)ns));
}

static json_t *result_of(const struct bench *b, json_t *rows, const struct means *m,
                         double interpreter, json_t *costs)
{
    return json_pack("{s:o, s:o?, s:o, s:o, s:o, s:o, s:o, s:o}", "kernels", rows,
                     "costs", costs, "mean_vs_native", mean_of(&m->native),
                     "mean_vs_qemu", mean_of(&m->system), "mean_vs_qemu_user",
                     mean_of(&m->user), "interpreter_mips", real_or_null(interpreter),
                     "translation_mips", rate_of(b->lifted, b->lift_ns),
                     "translation_wide_mips", rate_of(b->much_lifted, b->much_lift_ns));
}

static bool is_wanted(const json_t *names, const char *name)
{
    const json_t *one;
    size_t i;

    json_array_foreach(names, i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), name) == 0) {
            return true;
        }
    }
    return json_array_size(names) == 0;
}

static void measure_one(struct bench *b, const struct kernel *k, double end, json_t *rows,
                        struct means *m)
{
    char program[PATH_MAX];
    struct figures f;

    (void)str_print(program, sizeof program, "%s/%s.elf", b->dir, k->name);
    measure(b, program, end, &f);
    (void)json_array_append_new(rows, row_of(k->name, &f));
    if (k->in_mix) {
        add(&m->native, ratio(f.seconds[PEER_STRATA], f.seconds[PEER_NATIVE]));
        add(&m->system, ratio(qemu_seconds(&f), f.seconds[PEER_STRATA]));
        add(&m->user, ratio(f.seconds[PEER_USER], f.seconds[PEER_STRATA]));
        b->lifted += f.lifted;
        b->lift_ns += f.lift_ns;
    }
    if (strcmp(k->name, MUCH_CODE) == 0) {
        b->much_lifted = f.lifted;
        b->much_lift_ns = f.least_lift_ns;
    }
}

static json_t *bench_all(struct bench *b, const json_t *names)
{
    double interpreter =
        json_array_size(names) == 0 && !b->alone ? speed_interpret(b->dir, b->kernel) : 0;
    json_t *costs = interpreter > 0 ? costs_measure(b->dir, b->kernel) : NULL;
    double end = watch_now() + b->seconds;
    struct means m = {.native = {0}};
    json_t *rows = json_array();
    size_t left = 0, i;

    for (i = 0; i < KERNELS; i++) {
        left += is_wanted(names, kernels[i].name);
    }
    for (i = 0; i < KERNELS; i++) {
        if (is_wanted(names, kernels[i].name)) {
            double now = watch_now();

            measure_one(b, &kernels[i], now + (end - now) / (double)left--, rows, &m);
        }
    }
    return result_of(b, rows, &m, interpreter, costs);
}

static json_t *bench_program(struct bench *b, const char *program)
{
    struct means m = {.native = {0}};
    struct figures f;

    measure(b, program, watch_now() + b->seconds, &f);
    add(&m.native, ratio(f.seconds[PEER_STRATA], f.seconds[PEER_NATIVE]));
    add(&m.system, ratio(qemu_seconds(&f), f.seconds[PEER_STRATA]));
    add(&m.user, ratio(f.seconds[PEER_USER], f.seconds[PEER_STRATA]));
    b->lifted = f.lifted;
    b->lift_ns = f.lift_ns;
    return result_of(b, json_pack("[o]", row_of(program, &f)), &m, 0, NULL);
}

static int check_names(const json_t *names, struct err *e)
{
    const json_t *one;
    size_t i, k;

    json_array_foreach(names, i, one)
    {
        for (k = 0; k < KERNELS; k++) {
            if (json_is_string(one) &&
                strcmp(json_string_value(one), kernels[k].name) == 0) {
                break;
            }
        }
        if (k == KERNELS) {
            return err_set(e, -EINVAL, "the bench has no program '%s'",
                           json_is_string(one) ? json_string_value(one) : "");
        }
    }
    return 0;
}

int instrument_bench(const json_t *request, json_t **ret, int *ret_code, struct err *e)
{
    const json_t *names = json_object_get(request, "kernel");
    const char *program = NULL;
    uint64_t seconds = SECONDS_ALL;
    struct bench b = {.engine = NULL};
    unsigned way;
    int r = json_opt_str(request, "", "program", &program, e);

    r = r < 0 ? r : json_opt_str(request, "", "engine", &b.engine, e);
    r = r < 0 ? r : json_opt_u64(request, "", "seconds", &seconds, e);
    r = r < 0 ? r : json_opt_bool(request, "", "alone", &b.alone, e);
    r = r < 0 ? r : check_names(names, e);
    r = r < 0 ? r : instrument_bench_dir(b.dir, sizeof b.dir, e);
    r = r < 0 ? r : str_print(b.kernel, sizeof b.kernel, "%s/kernel.elf", b.dir);
    if (r < 0) {
        return r;
    }
    if (program != NULL && access(program, X_OK) < 0) {
        return err_sys(e, -errno, "cannot run '%s'", program);
    }
    b.seconds = (double)seconds;
    for (way = 0; way < PEERS; way++) {
        b.has[way] = way < PEER_USER || (!b.alone && peer_is_here(&peers[way]));
    }
    *ret = program != NULL ? bench_program(&b, program) : bench_all(&b, names);
    *ret_code = 0;
    return 0;
}
