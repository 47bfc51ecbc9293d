/* look.c - a machine looked at from outside: registers, memory, what addresses mean.  It stands
 * while it is looked at, and nothing of it changes.
 *
 *     {"what": "registers", "cpu": N}                           every register, as text
 *     {"what": "address", "cpu": N, "address": A}               where a linear address leads
 *     {"what": "memory", "cpu": N, "address": A, "bytes": B}    "bytes", in digits; without a
 *                                                               "cpu" A is physical
 *
 * Addresses are texts of hexadecimal digits: JSON's numbers are too short for them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "node/machine/private.h"
#include "virt/isa/x86/memory/look.h"
#include "virt/monitor/gdb/gdb.h"

#define BYTES_MOST 16384u

static void set_hex(json_t *to, const char *name, uint64_t v)
{
    char text[24];

    (void)str_print(text, sizeof text, "0x%" PRIx64, v);
    (void)json_object_set_new(to, name, json_string(text));
}

static void set_segment(json_t *to, const char *name, const struct x86_segment *s)
{
    char text[80];

    (void)str_print(text, sizeof text,
                    "0x%x base 0x%" PRIx64 " limit 0x%x attributes 0x%x", s->selector,
                    s->base, s->limit, s->attr);
    (void)json_object_set_new(to, name, json_string(text));
}

static void set_table(json_t *to, const char *name, const struct x86_table *t)
{
    char text[64];

    (void)str_print(text, sizeof text, "base 0x%" PRIx64 " limit 0x%x", t->base,
                    t->limit);
    (void)json_object_set_new(to, name, json_string(text));
}

static json_t *registers_of(const struct x86_regs *r)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                        "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                        "r12", "r13", "r14", "r15", "rip"};
    static const char *const segments[] = {"es", "cs", "ss",   "ds",
                                           "fs", "gs", "ldtr", "tr"};
    json_t *out = json_pack("{s:i, s:b}", "level", r->cpl, "halted", r->halted);

    for (unsigned i = 0; i <= X86_RIP; i++) {
        set_hex(out, names[i], r->gpr[i]);
    }
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        set_segment(out, segments[i], &r->seg[i]);
    }
    set_hex(out, "rflags", r->rflags);
    set_table(out, "gdtr", &r->gdtr);
    set_table(out, "idtr", &r->idtr);
    set_hex(out, "cr0", r->cr0);
    set_hex(out, "cr2", r->cr2);
    set_hex(out, "cr3", r->cr3);
    set_hex(out, "cr4", r->cr4);
    set_hex(out, "cr8", r->cr8);
    set_hex(out, "efer", r->msr.efer);
    set_hex(out, "kernel_gs", r->msr.kernel_gs_base);
    return out;
}

/* What was asked for. */
struct wish {
    const char *what;
    uint64_t address, bytes, cpu;
    bool has_cpu;
};

static int read_wish(const struct run *run, const json_t *arg, struct wish *ret,
                     struct err *e)
{
    const char *address = "0";
    char *end;
    int r = json_opt_str((json_t *)(uintptr_t)arg, "", "what", &ret->what, e);

    r = r == 0 ? json_opt_str((json_t *)(uintptr_t)arg, "", "address", &address, e) : r;
    r = r == 0 ? json_opt_u64((json_t *)(uintptr_t)arg, "", "cpu", &ret->cpu, e) : r;
    r = r == 0 ? json_opt_u64((json_t *)(uintptr_t)arg, "", "bytes", &ret->bytes, e) : r;
    if (r < 0) {
        return r;
    }
    errno = 0;
    ret->address = strtoull(address, &end, 16);
    ret->has_cpu = json_object_get(arg, "cpu") != NULL;
    if (errno != 0 || *end != '\0' || ret->what == NULL || ret->bytes > BYTES_MOST) {
        return err_set(e, -EINVAL, "that cannot be looked at");
    }
    return ret->cpu < machine_cpus_most(run->machine)
               ? 0
               : err_set(e, -ERANGE, "there is no processor %" PRIu64 ": it has %u",
                         ret->cpu, machine_cpus_most(run->machine));
}

static int look_at_address(struct run *run, const struct x86_regs *r,
                           const struct wish *w, json_t **ret, struct err *e)
{
    struct x86_view v;

    if (x86_look(r, machine_memory(run->machine), w->address, &v) < 0) {
        return err_set(e, -EFAULT, "nothing is mapped at 0x%" PRIx64, w->address);
    }
    *ret = json_pack("{s:I, s:b, s:b, s:b}", "page",
                     (json_int_t)(v.shift != 0 ? UINT64_C(1) << v.shift : 0), "writable",
                     v.writable, "executable", v.executable, "user", v.for_users);
    set_hex(*ret, "physical", v.at);
    return 0;
}

static int look_at_memory(struct run *run, const struct wish *w, json_t **ret,
                          struct err *e)
{
    unsigned view = w->has_cpu ? (unsigned)w->cpu : GDB_PHYSICAL;
    uint8_t bytes[BYTES_MOST];
    char *text = malloc(2 * w->bytes + 1);

    if (text == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    if (debugger_read(run, view, w->address, bytes, w->bytes) < 0) {
        free(text);
        return err_set(e, -EFAULT,
                       "there is no memory at all of 0x%" PRIx64 " to 0x%" PRIx64,
                       w->address, w->address + w->bytes);
    }
    text[0] = '\0';
    for (size_t i = 0; i < w->bytes; i++) {
        (void)str_print(text + 2 * i, 3, "%02x", bytes[i]);
    }
    *ret = json_pack("{s:s}", "bytes", text);
    free(text);
    return 0;
}

int look_do(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    struct x86_regs regs;
    struct wish w = {.what = NULL};
    int r = read_wish(run, c->arg, &w, e);

    r = r == 0 ? machine_pause(run->machine, e) : r;
    if (r < 0) {
        return r;
    }
    machine_look(run->machine, (unsigned)w.cpu, &regs);
    if (strcmp(w.what, "registers") == 0) {
        *ret = registers_of(&regs);
    } else if (strcmp(w.what, "address") == 0) {
        r = look_at_address(run, &regs, &w, ret, e);
    } else if (strcmp(w.what, "memory") == 0) {
        r = look_at_memory(run, &w, ret, e);
    } else {
        r = err_set(e, -EINVAL, "'%s' cannot be looked at", w.what);
    }
    (void)machine_resume(run->machine, NULL);
    return r;
}

/* ---- exits by time ---- */

#define PIECE_EXITS 256u /* of an answer, which has an end */
#define TRACE_MOST  100000u

static json_t *exit_of(const struct machine_trace *t)
{
    json_t *out =
        json_pack("{s:I, s:i, s:s, s:s}", "ns", (json_int_t)t->ns, "cpu", (int)t->cpu,
                  "exit", machine_exit_name(t->kind), "way", machine_route_name(t->way));

    set_hex(out, "address", t->address);
    set_hex(out, "value", t->value);
    return out;
}

static json_t *exits_of(struct run *run, uint32_t from)
{
    struct machine_trace some[PIECE_EXITS];
    json_t *list = json_array();
    uint32_t n;
    uint64_t all = machine_trace_look(run->machine, from, some, PIECE_EXITS, &n);

    for (uint32_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, exit_of(&some[i]));
    }
    return json_pack("{s:I, s:o}", "all", (json_int_t)all, "exits", list);
}

int look_trace(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    json_t *arg = (json_t *)(uintptr_t)c->arg;
    struct run *run = who;
    uint64_t begin = 0, from = 0;
    int r = json_opt_u64(arg, "", "begin", &begin, e);

    r = r == 0 ? json_opt_u64(arg, "", "from", &from, e) : r;
    if (r == 0 && (begin > TRACE_MOST || from > TRACE_MOST)) {
        r = err_set(e, -ERANGE, "at most %u exits are kept", TRACE_MOST);
    }
    if (r < 0) {
        return r;
    }
    if (begin > 0) {
        return machine_trace_begin(run->machine, (uint32_t)begin, e);
    }
    if (json_is_true(json_object_get(arg, "end"))) {
        machine_trace_end(run->machine);
        return 0;
    }
    *ret = exits_of(run, (uint32_t)from);
    return 0;
}
