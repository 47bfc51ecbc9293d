/* asked.c - what a running machine does when it is asked, and what it tells of itself.
 *
 * The file of counters holds the same as the answer to "stats": written when the state
 * changes and at the end, so that whoever comes later still reads how it went. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "node/machine/private.h"

/* ---- what it tells ---- */

static void set_number(json_t *to, const char *name, uint64_t v)
{
    if (v != 0) {
        (void)json_object_set_new(to, name, json_integer((json_int_t)v));
    }
}

static json_t *exits_part(const struct machine_exits *x, uint64_t *ret_sum)
{
    json_t *part = json_object();

    *ret_sum = 0;
    for (unsigned k = 0; machine_exit_name(k) != NULL; k++) {
        set_number(part, machine_exit_name(k), x->by_kind[k]);
        *ret_sum += x->by_kind[k];
    }
    return part;
}

static json_t *routes_part(const struct machine_exits *x)
{
    json_t *part = json_object();

    for (int k = 0; k < MACHINE_ROUTE_COUNT; k++) {
        set_number(part, machine_route_name((enum machine_route)k), x->by_route[k]);
    }
    return part;
}

static json_t *routines_part(const struct machine_exits *x)
{
    json_t *part = json_object();

    for (unsigned k = 0; machine_routine_name(k) != NULL; k++) {
        set_number(part, machine_routine_name(k), x->by_routine[k]);
    }
    return part;
}

/* The models in software that the guest asked. */
static json_t *devices_part(const struct run *run)
{
    json_t *part = json_object();
    struct machine_device d;

    for (unsigned n = 0; machine_count_device(run->machine, n, &d); n++) {
        if (d.reads + d.writes != 0) {
            (void)json_object_set_new(part, d.name,
                                      json_pack("{s:I, s:I}", "reads",
                                                (json_int_t)d.reads, "writes",
                                                (json_int_t)d.writes));
        }
    }
    return part;
}

/* What executed the guest.  Hardware does not tell how much it did: with `direct`, all that
 * was not emulated. */
static json_t *work_part(const struct run *run, uint64_t exits)
{
    bool is_direct = strcmp(machine_engine(run->machine), "kvm") == 0;
    struct cpu_counters counters;
    const struct cpu_counters *c = &counters;

    machine_count(run->machine, &counters);
    return json_pack("{s:b, s:{s:I, s:I, s:I}, s:I, s:I}", "direct", (int)is_direct,
                     "translated", "blocks", (json_int_t)c->blocks,
                     "instructions_in_them", (json_int_t)c->lifted, "optimised",
                     (json_int_t)c->optimised, "interpreted", (json_int_t)c->interpreted,
                     "emulated", (json_int_t)exits);
}

/* Where each processor of a guest that crashed stands. */
static json_t *registers_part(const struct run *run)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < machine_cpus_most(run->machine); i++) {
        struct x86_regs r = {0};

        machine_look(run->machine, i, &r);
        (void)json_array_append_new(
            list, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:I}", "rip",
                            (json_int_t)r.gpr[X86_RIP], "rsp", (json_int_t)r.gpr[X86_RSP],
                            "rflags", (json_int_t)r.rflags, "cr0", (json_int_t)r.cr0,
                            "cr2", (json_int_t)r.cr2, "cr3", (json_int_t)r.cr3, "cs",
                            (int)r.seg[X86_CS].selector, "efer", (json_int_t)r.msr.efer));
    }
    return list;
}

static json_t *disks_part(const struct drives *d)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < d->count; i++) {
        uint64_t bytes[2];
        json_t *one;

        if (d->one[i].path[0] == '\0') {
            continue;
        }
        one = json_pack("{s:s, s:s, s:s, s:b}", "file", d->one[i].path, "serial",
                        d->one[i].serial, "bus", d->one[i].is_nvme ? "nvme" : "virtio",
                        "came", d->one[i].slot != 0);
        if (drives_moved(d, i, bytes)) {
            (void)json_object_set_new(one, "read_bytes",
                                      json_integer((json_int_t)bytes[0]));
            (void)json_object_set_new(one, "written_bytes",
                                      json_integer((json_int_t)bytes[1]));
        }
        (void)json_array_append_new(list, one);
    }
    return list;
}

/* How a deterministic machine goes on, to be compared with another run of it. */
static void add_repeats(const struct run *run, json_t *out)
{
    uint64_t done;
    uint64_t exits;

    if (machine_repeats(run->machine, &done, &exits)) {
        (void)json_object_set_new(out, "deterministic",
                                  json_pack("{s:I, s:I, s:o}", "seed",
                                            (json_int_t)run->plan.options.seed,
                                            "instructions", (json_int_t)done, "exits",
                                            json_sprintf("%016" PRIx64, exits)));
    }
}

json_t *asked_stats(const struct run *run)
{
    const char *model = run->plan.options.model;
    struct machine_exits x;
    uint64_t exits;
    json_t *by_kind;
    json_t *out;

    machine_count_exits(run->machine, &x);
    by_kind = exits_part(&x, &exits);
    out = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "state",
                    asked_state(run), "engine", machine_engine(run->machine), "why",
                    machine_engine_why(run->machine), "model",
                    model != NULL ? model : "host-like", "exits_in_all",
                    (json_int_t)exits, "exits", by_kind, "routes", routes_part(&x),
                    "routines", routines_part(&x), "instructions", work_part(run, exits));
    (void)json_object_set_new(out, "devices", devices_part(run));
    (void)json_object_set_new(out, "resources",
                              json_pack("{s:I, s:I}", "granted", (json_int_t)x.granted,
                                        "refused", (json_int_t)x.refused));
    (void)json_object_set_new(out, "processors",
                              json_pack("{s:i, s:i}", "now",
                                        (int)machine_cpus(run->machine), "most",
                                        (int)machine_cpus_most(run->machine)));
    (void)json_object_set_new(
        out, "memory",
        json_pack("{s:I, s:I, s:I}", "bytes",
                  (json_int_t)machine_memory_bytes(run->machine), "most",
                  (json_int_t)machine_memory_most(run->machine), "given_back",
                  (json_int_t)peripherals_given(&run->plan.peripherals)));
    (void)json_object_set_new(out, "disks", disks_part(&run->plan.disks));
    add_repeats(run, out);
    if (run->has_ended) {
        (void)json_object_set_new(out, "end", json_string(machine_end_name(run->end)));
    }
    if (run->is_crashed) {
        (void)json_object_set_new(out, "crash", registers_part(run));
    }
    return out;
}

const char *asked_state(const struct run *run)
{
    if (run->has_ended) {
        return run->is_saved ? "saved" : "ended";
    }
    return run->is_paused ? "paused" : run->is_crashed ? "crashed" : "running";
}

void asked_write(const struct run *run)
{
    SCOPED(scope_json) json_t *stats = NULL;
    SCOPED(scope_free) char *text = NULL;

    if (run->plan.counters < 0) {
        return;
    }
    stats = asked_stats(run);
    text = stats != NULL ? json_dumps(stats, JSON_COMPACT) : NULL;
    if (text != NULL && pwrite(run->plan.counters, text, strlen(text), 0) > 0) {
        (void)!ftruncate(run->plan.counters, (off_t)strlen(text));
    }
}

/* ---- what it does ---- */

int asked_alone(const struct run *run, struct err *e)
{
    return !run->plan.options.is_deterministic
               ? 0
               : err_set(
                     e, -EOPNOTSUPP,
                     "the machine is deterministic: nothing comes to it from outside");
}

/* Of most words. */
static int want_nothing(const struct control_call *c, struct err *e)
{
    return c->arg == NULL || json_object_size(c->arg) == 0
               ? 0
               : err_set(e, -EINVAL, "nothing is wanted behind this word");
}

static int do_hello(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    json_t *list = json_array();
    int r = want_nothing(c, e);

    (void)who;
    for (unsigned v = 0; far_verb_name(v) != NULL; v++) {
        (void)json_array_append_new(list, json_string(far_verb_name(v)));
    }
    *ret = json_pack("{s:i, s:o}", "version", FAR_VERSION, "words", list);
    return r;
}

static int do_state(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    *ret = json_pack("{s:s}", "state", asked_state(who));
    return want_nothing(c, e);
}

static int do_stats(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    int r = want_nothing(c, e);

    *ret = r == 0 ? asked_stats(who) : NULL;
    return r;
}

static int do_power(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    int r = want_nothing(c, e);

    (void)ret;
    if (r == 0) {
        machine_press(((struct run *)who)->machine);
    }
    return r;
}

static int do_pause(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = want_nothing(c, e);

    (void)ret;
    if (r == 0 && run->is_paused) {
        r = err_set(e, -EBUSY, "the machine is paused");
    }
    r = r == 0 ? machine_pause(run->machine, e) : r;
    if (r == 0) {
        run->is_paused = true;
        asked_write(run);
    }
    return r;
}

static int do_resume(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = want_nothing(c, e);

    (void)ret;
    if (r == 0 && !run->is_paused) {
        r = err_set(e, -EBUSY, "the machine is not paused");
    }
    r = r == 0 ? machine_resume(run->machine, e) : r;
    if (r == 0) {
        run->is_paused = run->is_saved = false;
        asked_write(run);
    }
    return r;
}

/* Also of one that is paused: it stands before its first instruction then. */
static int do_reset(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = want_nothing(c, e);

    (void)ret;
    r = r == 0 ? machine_reset(run->machine, e) : r;
    run->is_crashed = run->is_crashed && r != 0;
    return r;
}

static int do_end(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = want_nothing(c, e);

    (void)ret;
    if (r == 0) {
        run->ended_by = SIGKILL;
        machine_stop(run->machine);
    }
    return r;
}

static int resize_memory(struct run *run, uint64_t memory, struct err *e)
{
    uint64_t most = machine_memory_most(run->machine);
    uint64_t all;
    int r;

    if (memory == 0 || memory > most) {
        return err_set(
            e, -ERANGE,
            "a machine that runs has at most the memory that it was started with, or "
            "room for (--memory-most), %" PRIu64 " bytes",
            most);
    }
    r = machine_add_memory(run->machine, memory, e);
    all = machine_memory_bytes(run->machine);
    return r < 0 || peripherals_give(&run->plan.peripherals, all - memory)
               ? r
               : err_set(e, -EOPNOTSUPP, "the machine has no balloon");
}

/* One disk, or the memory and the processors. */
static int do_resize(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    json_t *arg = (json_t *)(uintptr_t)c->arg;
    const char *disk = NULL;
    uint64_t memory = 0;
    uint64_t bytes = 0;
    uint64_t cpus = 0;
    int r = json_opt_u64(arg, "", "memory", &memory, e);

    (void)ret;
    r = r == 0 ? asked_alone(run, e) : r;
    r = r == 0 ? json_opt_u64(arg, "", "cpus", &cpus, e) : r;
    r = r == 0 ? json_opt_str(arg, "", "disk", &disk, e) : r;
    r = r == 0 ? json_opt_u64(arg, "", "bytes", &bytes, e) : r;
    if (r == 0 && disk != NULL) {
        return drives_resize(&run->plan.disks, disk, bytes, e);
    }
    if (r == 0 && json_object_get(arg, "cpus") != NULL) {
        r = machine_set_cpus(run->machine, cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus,
                             e);
    }
    if (r == 0 &&
        (json_object_get(arg, "memory") != NULL || json_object_size(arg) == 0)) {
        r = resize_memory(run, memory, e);
    }
    return r;
}

int asked_listen(struct run *run, struct err *e)
{
    const struct control_words w = {
        .fn = {[FAR_HELLO] = do_hello,      [FAR_STATE] = do_state,
               [FAR_STATS] = do_stats,      [FAR_PAUSE] = do_pause,
               [FAR_RESUME] = do_resume,    [FAR_POWER] = do_power,
               [FAR_RESET] = do_reset,      [FAR_END] = do_end,
               [FAR_SAVE] = carry_save,     [FAR_MARK] = carry_mark,
               [FAR_REWIND] = carry_rewind, [FAR_DUMP] = carry_dump,
               [FAR_SCREEN] = carry_screen, [FAR_GDB] = debugger_gdb,
               [FAR_LOOK] = look_do,        [FAR_TRACE] = look_trace,
               [FAR_ATTACH] = comes_attach, [FAR_DETACH] = comes_detach,
               [FAR_RESIZE] = do_resize,    [FAR_CABLE] = carry_cable},
        .who = run};
    int fd = run->plan.control;

    run->plan.control = -1;
    return fd < 0 ? 0 : control_create(run->loop, fd, &w, &run->control, e);
}
