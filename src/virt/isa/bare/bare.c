/* bare.c - vCPUs on threads, and what their exits mean. */
#include "virt/isa/bare/bare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/isa/bare/private.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define MEMORY_BYTES (UINT64_C(256) << 20)

#define PORT_SERIAL 0x3f8 /* 16550: PC16550D data sheet, 8.0 */
#define PORT_EXIT   0xf4
#define PORT_START  0xf8

#define SERIAL_INTERRUPT 2
#define SERIAL_CONTROL   3
#define SERIAL_STATUS    5
#define SERIAL_PORTS     8
#define DIVISOR_LATCH    0x80
#define STATUS_EMPTY     0x60
#define NO_INTERRUPT     0x01

static void end_locked(struct bare *b, enum bare_end end, unsigned code)
{
    unsigned i;

    if (b->ended) {
        return;
    }
    b->ended = true;
    b->end = end;
    b->code = code;
    for (i = 0; i < b->cpus; i++) {
        cpu_kick(b->cpu[i].cpu, CPU_KICK_STOP);
    }
}

static void end(struct bare *b, enum bare_end how, unsigned code)
{
    pthread_mutex_lock(&b->lock);
    end_locked(b, how, code);
    pthread_mutex_unlock(&b->lock);
}

void bare_stop(struct bare *b)
{
    end(b, BARE_STOPPED, 0);
}

static void halt(struct bare *b)
{
    pthread_mutex_lock(&b->lock);
    if (++b->halted == b->started) {
        end_locked(b, BARE_HALTED, 0);
    }
    pthread_mutex_unlock(&b->lock);
}

static void step(struct bare *b, struct cpu *c)
{
    struct x86_regs r;
    char text[128];

    cpu_get(c, &r);
    if (r.halted) {
        return; /* the exit is still to come */
    }
    bare_describe(b, &r, text, sizeof text);
    b->o.trace(b->o.who, &r, text);
}

static void *run_cpu(void *arg)
{
    struct bare_cpu *one = arg;
    struct bare *b = one->bare;
    bool is_traced = b->o.trace != NULL && one == &b->cpu[0];
    bool steps = is_traced || (b->o.traps_all && one == &b->cpu[0]);
    uint64_t budget = b->o.instructions != 0 ? b->o.instructions : UINT64_MAX;
    bool over = false;

    while (!over) {
        if (is_traced) {
            step(b, one->cpu);
        }
        one->result = cpu_run(one->cpu, steps ? 1 : budget);
        pthread_mutex_lock(&b->lock);
        over = !steps || one->result != 0 || b->ended;
        if (one->result != 0) {
            end_locked(b, BARE_STOPPED, 0);
        }
        pthread_mutex_unlock(&b->lock);
    }
    return NULL;
}

/* Behind the last vCPU, or at an address that no register takes: nothing happens. */
static void start_next(struct bare *b, uint64_t at)
{
    struct bare_cpu *one = NULL;

    pthread_mutex_lock(&b->lock);
    if (b->started < b->cpus && !b->ended) {
        one = &b->cpu[b->started];
        if (bare_start_flat32(one->cpu, at, 0, b->started, NULL) == 0 &&
            pthread_create(&one->thread, NULL, run_cpu, one) == 0) {
            one->has_thread = true;
            b->started++;
        }
    }
    pthread_mutex_unlock(&b->lock);
}

static void write_serial(struct bare *b, unsigned reg, uint8_t value)
{
    char byte = (char)value;

    pthread_mutex_lock(&b->lock);
    if (reg == SERIAL_CONTROL) {
        b->line_control = value;
    } else if (reg == 0 && (b->line_control & DIVISOR_LATCH) == 0 && b->o.print != NULL) {
        b->o.print(b->o.who, &byte, 1);
    }
    pthread_mutex_unlock(&b->lock);
}

static void on_out(struct bare *b, const struct cpu_exit *x)
{
    if (x->address >= PORT_SERIAL && x->address < PORT_SERIAL + SERIAL_PORTS) {
        write_serial(b, (unsigned)x->address - PORT_SERIAL, (uint8_t)x->value);
    } else if (x->address == PORT_EXIT) {
        end(b, BARE_EXITED, (unsigned)(x->value << 1 | 1) & 255);
    } else if (x->address == PORT_START && x->bytes == 4) {
        start_next(b, (uint32_t)x->value);
    }
}

static uint64_t on_in(const struct cpu_exit *x)
{
    switch (x->address) {
    case PORT_SERIAL + SERIAL_STATUS: /* room for a byte, all sent */
        return STATUS_EMPTY;
    case PORT_SERIAL + SERIAL_INTERRUPT:
        return NO_INTERRUPT;
    default:
        return x->address >= PORT_SERIAL && x->address < PORT_SERIAL + SERIAL_PORTS
                   ? 0
                   : ~UINT64_C(0);
    }
}

static int on_exit_of_cpu(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct bare *b = who;

    (void)c;
    atomic_fetch_add_explicit(&b->traps, 1, memory_order_relaxed);
    switch (x->kind) {
    case CPU_EXIT_IN:
        x->value = on_in(x);
        return 0;
    case CPU_EXIT_OUT:
        on_out(b, x);
        return b->ended; /* if another thread ended it, a kick says so */
    case CPU_EXIT_READ:
        x->value = ~UINT64_C(0);
        return 0;
    case CPU_EXIT_HALT:
        halt(b);
        return 1;
    case CPU_EXIT_SHUTDOWN:
        end(b, BARE_SHUTDOWN, 0);
        return 1;
    case CPU_EXIT_MSR_READ:
    case CPU_EXIT_MSR_WRITE:
        x->refused = true;
        return 0;
    case CPU_EXIT_KICKED:
        return 1;
    case CPU_EXIT_BUDGET:
        if (b->o.trace == NULL && !b->o.traps_all) {
            end(b, BARE_STOPPED, 0);
        }
        return 1;
    default:
        return 0;
    }
}

static void on_inserted(void *who, uint64_t rip, const struct x86_insn *i)
{
    struct bare *b = who;
    char text[128];

    (void)x86_disassemble(i, rip, text, sizeof text);
    (b->o.inserted)(b->o.who, rip, text);
}

static int create_cpu(struct bare *b, unsigned index, struct err *e)
{
    const struct x86_model *model =
        x86_model_find(b->o.model != NULL ? b->o.model : "host-like");
    struct cpu **ret = &b->cpu[index].cpu;
    const char *engine = b->o.engine;
    bool is_quick = engine != NULL && strcmp(engine, "quick") == 0;
    int r = -ENOTSUP;

    b->cpu[index].bare = b;
    if (model == NULL) {
        return err_set(e, -EINVAL, "'%s' is no processor model", b->o.model);
    }
    if (engine == NULL || is_quick || strcmp(engine, "translate") == 0) {
        const struct translate_options o = {
            .index = index,
            .perf_map = b->o.perf_map,
            .trapped = b->o.inserted != NULL ? on_inserted : NULL,
            .who = b,
            .tiers = is_quick ? TRANSLATE_QUICK : TRANSLATE_ADAPTS};

        r = translate_create(b->mem, model, &b->env, &o, ret, engine != NULL ? e : NULL);
        if (r != -ENOTSUP || engine != NULL) {
            return r;
        }
    } else if (strcmp(engine, "interpret") != 0) {
        return err_set(e, -EINVAL,
                       "'%s' is no engine: take 'translate', 'quick' or 'interpret'",
                       engine);
    }
    return interpret_create(b->mem, model, &b->env, index, ret, e);
}

static int build(struct bare *b, struct err *e)
{
    int r = ram_create(RAM_PRIVATE, &b->mem, e);

    r = r == 0 ? mem_add_ram(b->mem, 0, b->o.memory_bytes, false, e) : r;
    for (; r == 0 && b->cpus < b->o.cpus; b->cpus += r == 0) {
        r = create_cpu(b, b->cpus, e);
    }
    return r;
}

int bare_create(const struct bare_options *o, struct bare **ret_bare, struct err *e)
{
    struct bare *b;
    int r;

    if (o->cpus > BARE_CPUS_MAX) {
        return err_set(e, -EINVAL, "cannot make %u processors: at most %u", o->cpus,
                       BARE_CPUS_MAX);
    }
    b = fault_calloc(1, sizeof *b);
    if (b == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    b->o = *o;
    b->o.cpus = o->cpus != 0 ? o->cpus : 1;
    b->o.memory_bytes = o->memory_bytes != 0 ? o->memory_bytes : MEMORY_BYTES;
    b->env = (struct cpu_env){.exit = on_exit_of_cpu, .who = b};
    (void)pthread_mutex_init(&b->lock, NULL);
    r = build(b, e);
    if (r != 0) {
        bare_destroy(b);
        return r;
    }
    *ret_bare = b;
    return 0;
}

void bare_destroy(struct bare *b)
{
    unsigned i;

    if (b == NULL) {
        return;
    }
    for (i = 0; i < b->cpus; i++) {
        cpu_destroy(b->cpu[i].cpu);
    }
    mem_destroy(b->mem);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

int bare_run(struct bare *b, enum bare_end *ret_end, unsigned *ret_code, struct err *e)
{
    unsigned i;
    int r = 0;

    pthread_mutex_lock(&b->lock);
    b->started = 1;
    pthread_mutex_unlock(&b->lock);
    (void)run_cpu(&b->cpu[0]);

    /* vCPU 0 may have halted, and the others go on and start more of them. */
    for (i = 1; i < b->cpus; i++) {
        bool has_thread;

        pthread_mutex_lock(&b->lock);
        has_thread = b->cpu[i].has_thread;
        pthread_mutex_unlock(&b->lock);
        if (has_thread) {
            (void)pthread_join(b->cpu[i].thread, NULL);
        }
    }
    for (i = 0; i < b->cpus && r == 0; i++) {
        r = b->cpu[i].result;
    }
    if (r != 0) {
        return err_sys(e, r, "a processor stopped");
    }
    *ret_end = b->end;
    *ret_code = b->code;
    return 0;
}

void bare_count(const struct bare *b, struct cpu_counters *ret_counters)
{
    uint64_t *sum = (uint64_t *)(void *)ret_counters; /* a struct of nothing else */
    unsigned i;
    size_t n;

    memset(ret_counters, 0, sizeof *ret_counters);
    for (i = 0; i < b->cpus; i++) {
        struct cpu_counters one;

        cpu_count(b->cpu[i].cpu, &one);
        for (n = 0; n < sizeof one / sizeof *sum; n++) {
            sum[n] += ((const uint64_t *)(const void *)&one)[n];
        }
    }
}

uint64_t bare_traps(const struct bare *b)
{
    return atomic_load_explicit(&b->traps, memory_order_relaxed);
}

const char *bare_engine(const struct bare *b)
{
    return b->cpu[0].cpu->ops->name;
}
