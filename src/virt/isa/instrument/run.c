/* run.c - bare code on the processor, its serial port on standard output. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "host/file.h"
#include "virt/isa/bare/bare.h"
#include "virt/isa/instrument/private.h"

struct order {
    const char *file, *program, *engine, *model, *at, *traps;
    uint64_t cpus, memory;
    bool counters, trace, registers, list_traps, perf_map;
};

static void print(void *who, const char *bytes, size_t n)
{
    (void)who;
    (void)file_write_all(STDOUT_FILENO, bytes, n);
}

static void trace(void *who, const struct x86_regs *r, const char *text)
{
    (void)who;
    (void)fprintf(stderr, "%016" PRIx64 "  %s\n", r->gpr[X86_RIP], text);
}

/* The same, and behind it the registers that changed since the line before; of the
 * first line, all that are not 0. */
static void trace_registers(void *who, const struct x86_regs *r, const char *text)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                        "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                        "r12", "r13", "r14", "r15"};
    struct x86_regs *last = who;
    unsigned i;

    (void)fprintf(stderr, "%016" PRIx64 "  %-40s", r->gpr[X86_RIP], text);
    for (i = 0; i < X86_GPR_COUNT; i++) {
        if (r->gpr[i] != last->gpr[i]) {
            (void)fprintf(stderr, " %s=%" PRIx64, names[i], r->gpr[i]);
        }
    }
    if (r->rflags != last->rflags) {
        (void)fprintf(stderr, " rflags=%" PRIx64, r->rflags);
    }
    (void)fputc('\n', stderr);
    *last = *r;
}

static void list_trap(void *who, uint64_t at, const char *text)
{
    (void)who;
    (void)fprintf(stderr, "trap %016" PRIx64 "  %s\n", at, text);
}

static int read_order(const json_t *request, struct order *o, struct err *e)
{
    int r = json_want_str(request, "", "file", &o->file, e);

    r = r < 0 ? r : json_opt_str(request, "", "program", &o->program, e);
    r = r < 0 ? r : json_opt_str(request, "", "engine", &o->engine, e);
    r = r < 0 ? r : json_opt_str(request, "", "model", &o->model, e);
    r = r < 0 ? r : json_opt_str(request, "", "at", &o->at, e);
    r = r < 0 ? r : json_opt_str(request, "", "traps", &o->traps, e);
    r = r < 0 ? r : json_opt_bool(request, "", "list_traps", &o->list_traps, e);
    r = r < 0 ? r : json_opt_u64(request, "", "processors", &o->cpus, e);
    r = r < 0 ? r : json_opt_u64(request, "", "memory", &o->memory, e);
    r = r < 0 ? r : json_opt_bool(request, "", "counters", &o->counters, e);
    r = r < 0 ? r : json_opt_bool(request, "", "trace", &o->trace, e);
    r = r < 0 ? r : json_opt_bool(request, "", "registers", &o->registers, e);
    return r < 0 ? r : json_opt_bool(request, "", "perf_map", &o->perf_map, e);
}

static int load(struct bare *b, const struct order *o, struct err *e)
{
    SCOPED(scope_free) uint8_t *file = NULL;
    SCOPED(scope_free) uint8_t *program = NULL;
    size_t bytes = 0, program_bytes = 0;
    uint64_t at;
    int r = instrument_read(o->file, &file, &bytes, e);

    if (r == 0 && o->program != NULL) {
        r = instrument_read(o->program, &program, &program_bytes, e);
    }
    if (r == 0 && o->at != NULL) {
        r = instrument_address(o->at, &at, e);
        return r < 0 ? r : bare_load_flat(b, file, bytes, at, e);
    }
    return r < 0 ? r : bare_load_multiboot(b, file, bytes, program, program_bytes, e);
}

/* Of this process. */
static uint64_t processor_ns(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_counters(const struct bare *b)
{
    struct cpu_counters c;

    bare_count(b, &c);
    (void)fprintf(stderr, "engine        %s\n", bare_engine(b));
    (void)fprintf(stderr, "traps         %" PRIu64 "\n", bare_traps(b));
    (void)fprintf(stderr, "processor ns  %" PRIu64 "\n", processor_ns());
#define CPU_COUNTER(field, name, meaning)                                                \
    (void)fprintf(stderr, "%-12s  %" PRIu64 "\n", name, c.field);
#include "contract/cpu_count.rows.h"
}

static int run_loaded(struct bare *b, const struct order *o, int *ret_code, struct err *e)
{
    enum bare_end end = BARE_EXITED;
    unsigned code = 0;
    int r = bare_run(b, &end, &code, e);

    if (r == 0 && o->counters) {
        print_counters(b);
    }
    if (r == 0 && end == BARE_SHUTDOWN) {
        r = err_set(e, -EIO, "the processor shut down (triple fault)");
    }
    *ret_code = (int)code;
    return r;
}

int instrument_run(const json_t *request, json_t **ret, int *ret_code, struct err *e)
{
    struct order o = {0};
    struct x86_regs last = {.cpl = 0};
    struct bare_options options = {.print = print, .who = &last};
    struct bare *b = NULL;
    int r = read_order(request, &o, e);

    (void)ret;
    if (r < 0) {
        return r;
    }
    if (o.list_traps && o.engine != NULL && strcmp(o.engine, "interpret") == 0) {
        return err_set(e, -EINVAL,
                       "the interpreter inserts no traps: each of its "
                       "instructions is a routine");
    }
    if (o.cpus > BARE_CPUS_MAX) {
        return err_set(e, -EINVAL, "%" PRIu64 " processors are too many", o.cpus);
    }
    options.engine = o.engine;
    options.model = o.model;
    options.cpus = (unsigned)o.cpus;
    options.memory_bytes = o.memory;
    options.trace = o.registers ? trace_registers : o.trace ? trace : NULL;
    options.perf_map = o.perf_map;
    options.traps_all = o.traps != NULL && strcmp(o.traps, "all") == 0;
    options.inserted = o.list_traps ? list_trap : NULL;
    r = bare_create(&options, &b, e);
    r = r < 0 ? r : load(b, &o, e);
    r = r < 0 ? r : run_loaded(b, &o, ret_code, e);
    bare_destroy(b);
    return r;
}
