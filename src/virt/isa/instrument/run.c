/* run.c - bare code on the processor, its serial port on standard output. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "contract/cpu.h"
#include "host/file.h"
#include "virt/isa/bare/bare.h"
#include "virt/isa/instrument/private.h"

struct order {
    const char *file, *program, *engine, *at;
    uint64_t cpus, memory;
    bool counters, trace;
};

static void print(void *who, const char *bytes, size_t n)
{
    (void)who;
    (void)file_write_all(STDOUT_FILENO, bytes, n);
}

static void trace(void *who, uint64_t rip, const char *text)
{
    (void)who;
    (void)fprintf(stderr, "%016" PRIx64 "  %s\n", rip, text);
}

static int read_order(const json_t *request, struct order *o, struct err *e)
{
    int r = json_want_str(request, "", "file", &o->file, e);

    r = r < 0 ? r : json_opt_str(request, "", "program", &o->program, e);
    r = r < 0 ? r : json_opt_str(request, "", "engine", &o->engine, e);
    r = r < 0 ? r : json_opt_str(request, "", "at", &o->at, e);
    r = r < 0 ? r : json_opt_u64(request, "", "processors", &o->cpus, e);
    r = r < 0 ? r : json_opt_u64(request, "", "memory", &o->memory, e);
    r = r < 0 ? r : json_opt_bool(request, "", "counters", &o->counters, e);
    return r < 0 ? r : json_opt_bool(request, "", "trace", &o->trace, e);
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

static void print_counters(const struct bare *b)
{
    struct cpu_counters c;

    bare_count(b, &c);
    (void)fprintf(stderr,
                  "engine        %s\n"
                  "interpreted   %" PRIu64 "\n"
                  "translated    %" PRIu64 "\n"
                  "optimised     %" PRIu64 "\n"
                  "decoded       %" PRIu64 "\n"
                  "blocks        %" PRIu64 "\n"
                  "chain breaks  %" PRIu64 "\n"
                  "TLB misses    %" PRIu64 "\n"
                  "code writes   %" PRIu64 "\n"
                  "exceptions    %" PRIu64 "\n",
                  bare_engine(b), c.interpreted, c.translated, c.optimised, c.decoded,
                  c.blocks, c.chain_breaks, c.tlb_misses, c.code_writes, c.exceptions);
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
    struct bare_options options = {.print = print};
    struct bare *b = NULL;
    int r = read_order(request, &o, e);

    (void)ret;
    if (r < 0) {
        return r;
    }
    if (o.cpus > BARE_CPUS_MAX) {
        return err_set(e, -EINVAL, "%" PRIu64 " processors are too many", o.cpus);
    }
    options.engine = o.engine;
    options.cpus = (unsigned)o.cpus;
    options.memory_bytes = o.memory;
    options.trace = o.trace ? trace : NULL;
    r = bare_create(&options, &b, e);
    r = r < 0 ? r : load(b, &o, e);
    r = r < 0 ? r : run_loaded(b, &o, ret_code, e);
    bare_destroy(b);
    return r;
}
