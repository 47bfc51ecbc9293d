/* bench.c - the programs of bench/cpu: as Linux processes, on our processor, and on
 * QEMU's where the host has it; all three by the same compiled files.
 *
 * A program runs by turns on each, as often as its share of the time allows (three
 * times at most), and the medians count.  QEMU runs its TCG, by the machine 'pc' with
 * its default processor and with '-cpu max'; the better one counts.  A sum that
 * differs from the native one is an error, not a figure. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/cpu.h"
#include "host/file.h"
#include "virt/isa/bare/bare.h"
#include "virt/isa/instrument/private.h"

#define ROUNDS       3
#define SECONDS_ALL  45.0 /* no second rounds behind this, whatever is left */
#define SECONDS_MOST 20.0 /* for one run */
#define MEMORY_BYTES (UINT64_C(256) << 20)
#define MEMORY_QEMU  "256"

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
    {"jit_rewrite", false}, {"spaces", false},
};

enum way {
    NATIVE,
    STRATA,
    QEMU,
    QEMU_MAX,
    WAYS
};

struct bench {
    const char *engine;
    bool has_qemu;
    char kernel[PATH_MAX];
};

struct run {
    const struct bench *bench;
    const char *program;
};

struct figures {
    double seconds[WAYS]; /* medians; 0: none */
    double mips;
    char problem[128];
};

static void run_native(void *arg)
{
    const struct run *run = arg;

    (void)execl(run->program, run->program, (char *)NULL);
}

static void run_qemu(const struct run *run, const char *cpu)
{
    (void)execlp("qemu-system-x86_64", "qemu-system-x86_64", "-accel", "tcg", "-cpu", cpu,
                 "-m", MEMORY_QEMU, "-kernel", run->bench->kernel, "-initrd",
                 run->program, "-serial", "stdio", "-display", "none", "-monitor", "none",
                 "-nodefaults", "-no-reboot", "-device",
                 "isa-debug-exit,iobase=0xf4,iosize=0x04", (char *)NULL);
}

static void run_qemu_default(void *arg)
{
    run_qemu(arg, "qemu64");
}

static void run_qemu_max(void *arg)
{
    run_qemu(arg, "max");
}

static void print(void *who, const char *bytes, size_t n)
{
    (void)who;
    (void)file_write_all(STDOUT_FILENO, bytes, n);
}

static int run_bare(const struct run *run, struct err *e)
{
    struct bare_options o = {
        .engine = run->bench->engine, .memory_bytes = MEMORY_BYTES, .print = print};
    SCOPED(scope_free) uint8_t *kernel = NULL;
    SCOPED(scope_free) uint8_t *program = NULL;
    size_t kernel_bytes = 0, program_bytes = 0;
    enum bare_end end = BARE_EXITED;
    struct cpu_counters c;
    struct bare *b = NULL;
    unsigned code = 0;
    int r = instrument_read(run->bench->kernel, &kernel, &kernel_bytes, e);

    r = r < 0 ? r : instrument_read(run->program, &program, &program_bytes, e);
    r = r < 0 ? r : bare_create(&o, &b, e);
    r = r < 0 ? r
              : bare_load_multiboot(b, kernel, kernel_bytes, program, program_bytes, e);
    r = r < 0 ? r : bare_run(b, &end, &code, e);
    if (r == 0) {
        bare_count(b, &c);
        (void)printf("count %" PRIu64 "\n", c.interpreted + c.translated + c.optimised);
    }
    bare_destroy(b);
    return r == 0 && end == BARE_SHUTDOWN ? err_set(e, -EIO, "triple fault") : r;
}

static void run_strata(void *arg)
{
    struct err e = {0};

    if (run_bare(arg, &e) < 0) {
        (void)printf("%s\n", e.text);
    }
    (void)fflush(stdout);
}

static void (*const ways[WAYS])(void *) = {[NATIVE] = run_native,
                                           [STRATA] = run_strata,
                                           [QEMU] = run_qemu_default,
                                           [QEMU_MAX] = run_qemu_max};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
    qsort(values, n, sizeof *values, compare);
    return n == 0       ? 0
           : n % 2 != 0 ? values[n / 2]
                        : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One run; 0 seconds when there is none.  The native run comes first and gives the
 * sum that all must have, unless the program says that it is none of Linux's. */
static double run_once(struct run *run, enum way way, char sum[20], struct figures *f)
{
    static const char *const names[WAYS] = {"native", "strata", "qemu", "qemu"};
    struct watch w = {.child = ways[way], .arg = run, .seconds_most = SECONDS_MOST};
    struct watch_result result;
    int r = watch_run(&w, &result);

    if (r == 0 && sum[0] == '\0') {
        memcpy(sum, result.sum, sizeof result.sum);
    }
    if (r == 0 && strcmp(sum, result.sum) == 0) {
        f->mips = way == STRATA ? (double)result.count / result.seconds * 1e-6 : f->mips;
        return result.seconds;
    }
    if (way != NATIVE || strcmp(result.last, "not applicable") != 0) {
        (void)str_print(f->problem, sizeof f->problem, "%s: %.100s", names[way],
                        r == 0              ? "its sum differs"
                        : r == -ETIMEDOUT   ? "took too long"
                        : *result.last != 0 ? result.last
                                            : "no answer");
    }
    return 0;
}

/* Rounds go on until the time `end`; there is at least one. */
static void measure(const struct bench *b, const char *program, double end,
                    struct figures *f)
{
    double seconds[WAYS][ROUNDS];
    struct run run = {b, program};
    unsigned n[WAYS] = {0}, round, way;
    char sum[20] = "";

    *f = (struct figures){0};
    for (round = 0; round < ROUNDS && (round == 0 || now() < end); round++) {
        for (way = NATIVE; way < (b->has_qemu ? WAYS : QEMU); way++) {
            double s = run_once(&run, way, sum, f);

            if (s > 0) {
                seconds[way][n[way]++] = s;
            }
        }
    }
    for (way = NATIVE; way < WAYS; way++) {
        f->seconds[way] = median(seconds[way], n[way]);
    }
    if (f->seconds[QEMU_MAX] > 0 &&
        (f->seconds[QEMU] == 0 || f->seconds[QEMU_MAX] < f->seconds[QEMU])) {
        f->seconds[QEMU] = f->seconds[QEMU_MAX];
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

static json_t *row_of(const char *name, const struct figures *f)
{
    const double *s = f->seconds;

    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "name", name, "native_s",
                     real_or_null(s[NATIVE]), "strata_s", real_or_null(s[STRATA]),
                     "qemu_s", real_or_null(s[QEMU]), "vs_native",
                     real_or_null(ratio(s[STRATA], s[NATIVE])), "vs_qemu",
                     real_or_null(ratio(s[QEMU], s[STRATA])), "strata_mips",
                     real_or_null(f->mips), "problem", f->problem);
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

static bool has_qemu(void)
{
    SCOPED(scope_free) char *path = NULL;
    char *save = NULL, *dir, file[PATH_MAX];

    path = strdup(getenv("PATH") != NULL ? getenv("PATH") : "/usr/bin");
    for (dir = strtok_r(path, ":", &save); dir != NULL;
         dir = strtok_r(NULL, ":", &save)) {
        if (str_print(file, sizeof file, "%s/qemu-system-x86_64", dir) == 0 &&
            access(file, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static json_t *bench_all(const struct bench *b, const char *dir)
{
    struct mean vs_native = {0}, vs_qemu = {0};
    const size_t n = sizeof kernels / sizeof *kernels;
    double end = now() + SECONDS_ALL;
    json_t *rows = json_array();
    size_t i;

    for (i = 0; i < n; i++) {
        char program[PATH_MAX];
        struct figures f;

        (void)str_print(program, sizeof program, "%s/%s.elf", dir, kernels[i].name);
        measure(b, program, now() + (end - now()) / (double)(n - i), &f);
        (void)json_array_append_new(rows, row_of(kernels[i].name, &f));
        if (kernels[i].in_mix) {
            add(&vs_native, ratio(f.seconds[STRATA], f.seconds[NATIVE]));
            add(&vs_qemu, ratio(f.seconds[QEMU], f.seconds[STRATA]));
        }
    }
    return json_pack("{s:o, s:o, s:o}", "kernels", rows, "mean_vs_native",
                     mean_of(&vs_native), "mean_vs_qemu", mean_of(&vs_qemu));
}

int instrument_bench(const json_t *request, json_t **ret, int *ret_code, struct err *e)
{
    struct bench b = {.has_qemu = has_qemu()};
    const char *program = NULL;
    char dir[PATH_MAX];
    struct figures f;
    int r = json_opt_str(request, "", "program", &program, e);

    r = r < 0 ? r : json_opt_str(request, "", "engine", &b.engine, e);
    r = r < 0 ? r : instrument_bench_dir(dir, sizeof dir, e);
    r = r < 0 ? r : str_print(b.kernel, sizeof b.kernel, "%s/kernel.elf", dir);
    if (r < 0) {
        return r;
    }
    if (program != NULL && access(program, X_OK) < 0) {
        return err_sys(e, -errno, "cannot run '%s'", program);
    }
    if (program == NULL) {
        *ret = bench_all(&b, dir);
    } else {
        measure(&b, program, now() + SECONDS_ALL, &f);
        *ret = json_pack(
            "{s:[o], s:o, s:o}", "kernels", row_of(program, &f), "mean_vs_native",
            real_or_null(ratio(f.seconds[STRATA], f.seconds[NATIVE])), "mean_vs_qemu",
            real_or_null(ratio(f.seconds[QEMU], f.seconds[STRATA])));
    }
    *ret_code = 0;
    return 0;
}
