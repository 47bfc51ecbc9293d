/* machine.c - see machine.h. */
#include "machine.h"

#include <asm/prctl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virt/isa/ir/private.h"

/* No page address, nor one with what an alignment check keeps. */
#define MACHINE_NOTHING 0x800u

#define CODE_BYTES (1u << 20)
#define CHANGES    0x8d5u /* the flags that count */

static struct machine_cpu cpu;
static struct machine_entry table[MACHINE_TLB_ENTRIES];
static struct emit_jump jumps[EMIT_JUMPS]; /* all empty, but for address 0 */
static uint8_t memory[MACHINE_BYTES];
static jmp_buf unwind;
static struct emit_result result;
static struct emit_env env;
static uint8_t *code;
static uint64_t first;
static void (*enter)(void);

uint64_t machine_seed = 1;

uint64_t machine_next(void)
{
    uint64_t z = machine_seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

unsigned machine_below(unsigned n)
{
    return (unsigned)(machine_next() >> 33) % n;
}

static bool reach(uint64_t at, unsigned bytes)
{
    uint64_t from = (at - MACHINE_MEMORY) / MACHINE_PAGE;
    uint64_t to = (at + bytes - 1 - MACHINE_MEMORY) / MACHINE_PAGE;

    return at >= MACHINE_MEMORY && to < MACHINE_PAGES && from != MACHINE_ABSENT &&
           to != MACHINE_ABSENT;
}

static bool memory_load(void *who, uint64_t at, unsigned bytes, uint64_t *ret)
{
    *ret = 0;
    if (!reach(at, bytes)) {
        return false;
    }
    memcpy(ret, (uint8_t *)who + (at - MACHINE_MEMORY), bytes);
    return true;
}

static bool memory_store(void *who, uint64_t at, unsigned bytes, uint64_t v)
{
    if (!reach(at, bytes)) {
        return false;
    }
    memcpy((uint8_t *)who + (at - MACHINE_MEMORY), &v, bytes);
    return true;
}

/* ---- what generated code asks of C ---- */

static uint64_t widened(const struct emit_site *s, uint64_t v)
{
    unsigned bits = s->access.bytes * 8u;

    if (s->access.sign && bits < 64) {
        v = (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits));
    }
    return v & ir_mask(s->type);
}

static bool slow_change(const struct emit_site *s, uint64_t at)
{
    unsigned bytes = s->access.bytes;
    uint64_t mask = bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << bytes * 8) - 1;
    uint64_t old, v = cpu.frame.slow_value;

    if (!memory_load(memory, at, bytes, &old)) {
        return false;
    }
    if (s->op == IR_ATOMIC) {
        v = evaluate_combine(s->aux, old, v & mask, bytes * 8);
    } else if (old != (cpu.frame.slow_wanted & mask)) {
        v = old;
    }
    memory_store(memory, at, bytes, v);
    cpu.frame.slow_value = widened(s, old);
    return true;
}

/* Of a page in the table, or of the one that never is: then at times none. */
static bool slow_window(const struct emit_site *s)
{
    struct ir_window w = ir_window_unpack(s->imm);
    uint64_t begin = cpu.frame.slow_at, first_at = begin + w.before;

    cpu.frame.window[w.number] = begin;
    cpu.frame.slow_value = EMIT_NO_WINDOW;
    if (w.align > 1 && first_at % s->access.bytes != 0) {
        return true; /* the access itself says so */
    }
    if (!reach(first_at, s->access.bytes)) {
        return false;
    }
    if (reach(begin, w.span) &&
        begin / MACHINE_PAGE == (begin + w.span - 1) / MACHINE_PAGE && begin % 3 != 0) {
        cpu.frame.slow_value = (uint64_t)(uintptr_t)(memory + (begin - MACHINE_MEMORY));
    }
    return true;
}

static void slow(void *c)
{
    const struct emit_site *s = &result.site[cpu.frame.slow_site];
    uint64_t at = cpu.frame.slow_at, v = 0;
    bool ok;

    (void)c;
    if (s->op == IR_WINDOW) {
        ok = slow_window(s);
    } else if (s->access.aligned && at % s->access.bytes != 0) {
        ok = false;
    } else if (s->op == IR_STORE) {
        ok = memory_store(memory, at, s->access.bytes, cpu.frame.slow_value);
    } else if (s->op == IR_ATOMIC || s->op == IR_CAS) {
        ok = slow_change(s, at);
    } else {
        ok = memory_load(memory, at, s->access.bytes, &v);
        cpu.frame.slow_value = widened(s, v);
    }
    if (!ok) {
        longjmp(unwind, 1);
    }
}

static void apply_pends(void)
{
    const struct emit_site *s = &result.site[cpu.frame.slow_site];
    uint64_t newest[64];
    unsigned n;

    for (n = 0; n < s->count; n++) {
        newest[n] = emit_pend_value(&env, &cpu, result.pend, &result.pend[s->first + n]);
    }
    for (n = 0; n < s->count; n++) {
        const struct emit_pend *p = &result.pend[s->first + n];

        if (p->global < env.globals) {
            memcpy((uint8_t *)&cpu + env.global[p->global].offset, &newest[n], 8);
            if (p->type == IR_FLAGS_TYPE) {
                cpu.frame.late = 0;
            }
        }
    }
}

/* Side exits come here to have their values stored; traps to stop. */
static void routine(void *c)
{
    (void)c;
    if (result.site[cpu.frame.slow_site].op == IR_TRAP_IF) {
        longjmp(unwind, 1);
    }
    apply_pends();
}

/* ---- one run ---- */

static void fill_table(void)
{
    unsigned n;

    memset(table, 0, sizeof table);
    /* Where zeros would be a tag: of page 0, and of an access that begins before it. */
    table[0].read = table[0].write = MACHINE_NOTHING;
    table[MACHINE_TLB_ENTRIES - 1].read = MACHINE_NOTHING;
    table[MACHINE_TLB_ENTRIES - 1].write = MACHINE_NOTHING;
    for (n = 0; n < MACHINE_PAGES; n++) {
        struct machine_entry *t =
            &table[(MACHINE_MEMORY / MACHINE_PAGE + n) % MACHINE_TLB_ENTRIES];

        if (n != MACHINE_ABSENT && n != MACHINE_SLOW) {
            t->read = t->write = MACHINE_MEMORY + n * MACHINE_PAGE;
            t->addend = (uint64_t)(uintptr_t)memory - MACHINE_MEMORY;
        }
    }
}

bool machine_start(const struct ir_global *globals, uint16_t count)
{
    uint64_t start;
    size_t n;

    if (code == NULL) {
        code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (code == MAP_FAILED) {
            code = NULL;
            return false;
        }
    }
    env = (struct emit_env){.global = globals,
                            .globals = count,
                            .frame = offsetof(struct machine_cpu, frame),
                            .tlb = offsetof(struct machine_cpu, tlb),
                            .wants = offsetof(struct machine_cpu, wants),
                            .local = offsetof(struct machine_cpu, local),
                            .budget = offsetof(struct machine_cpu, budget),
                            .tlb_read = offsetof(struct machine_entry, read),
                            .tlb_write = offsetof(struct machine_entry, write),
                            .tlb_usual = offsetof(struct machine_cpu, usual),
                            .tlb_addend = offsetof(struct machine_entry, addend),
                            .tlb_entry_bytes = sizeof(struct machine_entry),
                            .tlb_entries = MACHINE_TLB_ENTRIES,
                            .has_vectors = __builtin_cpu_supports("avx") != 0,
                            .vectors = offsetof(struct machine_cpu, ymm),
                            .mxcsr = offsetof(struct machine_cpu, mxcsr)};
    memset(&cpu, 0, sizeof cpu);
    cpu.mxcsr = cpu.frame.host_mxcsr = 0x1f80;
    cpu.tlb = table;
    cpu.frame.self = (uint64_t)(uintptr_t)&cpu;
    cpu.frame.slow_helper = (uint64_t)(uintptr_t)slow;
    cpu.frame.routine_helper = (uint64_t)(uintptr_t)routine;
    n = emit_trampolines(&env, code, code, CODE_BYTES, &cpu.frame, &start);
    cpu.frame.jumps = (uint64_t)(uintptr_t)jumps;
    memcpy(&enter, &start, sizeof enter);
    first = (n + 63) & ~UINT64_C(63);
    jumps[0].tag = ~UINT64_C(0);
    fill_table();
    return n > 0 && syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu) == 0;
}

static uint64_t read_global(const struct ir_global *g)
{
    uint64_t v;

    if (g->type == IR_FLAGS_TYPE) {
        return emit_home_flags(&cpu.frame) & CHANGES;
    }
    memcpy(&v, (uint8_t *)&cpu + g->offset, 8);
    return v & ir_mask(g->type);
}

int machine_write(const struct ir_region *g, size_t room)
{
    uint8_t *to = malloc(room + 1); /* so that not even 0 bytes are nowhere */
    struct emit_result r = {0};
    int error = to == NULL
                    ? -ENOMEM
                    : emit_region(g, &env,
                                  &(struct emit_place){
                                      .write = to + 1, .trampolines = code, .room = room},
                                  &r);

    emit_result_fini(&r);
    free(to);
    return error;
}

int machine_native(const struct ir_region *g, const struct machine_outcome *start,
                   struct machine_outcome *ret)
{
    int r = emit_region(g, &env,
                        &(struct emit_place){.write = code + first,
                                             .trampolines = code,
                                             .room = CODE_BYTES - first},
                        &result);
    unsigned n;

    if (r != 0) {
        return r;
    }
    for (n = 0; n < env.globals; n++) {
        memcpy((uint8_t *)&cpu + env.global[n].offset, &start->global[n], 8);
    }
    /* The guess is right, or was; a host address that a wrong one gives is not there. */
    cpu.usual = machine_below(2) == 0 ? (uint64_t)(uintptr_t)memory - MACHINE_MEMORY
                                      : machine_next() | UINT64_C(1) << 63;
    cpu.frame.late = start->late;
    cpu.frame.late_a = start->late_a;
    cpu.frame.late_b = start->late_b;
    if (start->late != 0) {
        cpu.frame.flags = machine_next(); /* means nothing */
    }
    memcpy(memory, start->memory, sizeof memory);
    cpu.frame.entry = (uint64_t)(uintptr_t)code + first;
    ret->trap = 0;
    if (setjmp(unwind) == 0) {
        enter();
        ret->end = (int64_t)cpu.frame.leave_exit <= EMIT_LEFT_REASON ? EVALUATE_LEAVE
                                                                     : EVALUATE_EXIT;
        ret->pc = ret->end != EVALUATE_EXIT ? 0
                  : (int64_t)cpu.frame.leave_exit >= 0
                      ? result.exit[cpu.frame.leave_exit].pc
                      : cpu.frame.leave_to;
    } else {
        const struct emit_site *s = &result.site[cpu.frame.slow_site];

        apply_pends();
        ret->end = s->op == IR_TRAP_IF ? EVALUATE_TRAP : EVALUATE_FAULT;
        ret->trap = s->op == IR_TRAP_IF ? s->imm : 0;
        ret->pc = s->pc;
    }
    for (n = 0; n < env.globals; n++) {
        ret->global[n] = read_global(&env.global[n]);
    }
    memcpy(ret->memory, memory, sizeof memory);
    return 0;
}

void machine_late_flags(struct machine_outcome *start, uint16_t flags)
{
    struct emit_frame f = {.late = 1 + machine_below(20),
                           .late_a = machine_next() >> machine_below(64),
                           .late_b = machine_next() >> machine_below(64)};

    start->late = f.late;
    start->late_a = f.late_a;
    start->late_b = f.late_b;
    start->global[flags] = emit_home_flags(&f) & CHANGES;
}

void machine_meaning(const struct ir_region *g, const struct machine_outcome *start,
                     struct machine_outcome *ret)
{
    struct evaluate v = {.global = ret->global,
                         .load = memory_load,
                         .store = memory_store,
                         .who = ret->memory,
                         .steps_most = 100000};
    unsigned n;

    *ret = *start;
    ret->end = evaluate_region(g, &v);
    ret->pc = ret->end == EVALUATE_LEAVE ? 0 : v.pc;
    ret->trap = ret->end == EVALUATE_TRAP ? v.trap : 0;
    for (n = 0; n < g->globals; n++) {
        if (g->global[n].type == IR_FLAGS_TYPE) {
            ret->global[n] &= CHANGES;
        }
    }
}

bool machine_same(const struct machine_outcome *native,
                  const struct machine_outcome *meant, char *why, size_t bytes)
{
    unsigned n;

    if (native->end != meant->end || native->pc != meant->pc ||
        native->trap != meant->trap) {
        snprintf(why, bytes, "end: native %d %lx, meant %d %lx", native->end,
                 (unsigned long)native->pc, meant->end, (unsigned long)meant->pc);
        return false;
    }
    for (n = 0; n < env.globals; n++) {
        if (native->global[n] != meant->global[n]) {
            snprintf(why, bytes, "%s: native %lx, meant %lx", env.global[n].name,
                     (unsigned long)native->global[n], (unsigned long)meant->global[n]);
            return false;
        }
    }
    if (memcmp(native->memory, meant->memory, sizeof native->memory) != 0) {
        snprintf(why, bytes, "memory");
        return false;
    }
    return true;
}

static int compare_as(const struct ir_region *g, const struct machine_outcome *start,
                      const struct machine_outcome *meant, const char *what)
{
    static struct machine_outcome native;
    static char text[65536];
    char why[160];
    int r = 0;

    if (ir_verify(g, why, sizeof why)) {
        r = machine_native(g, start, &native);
        if (r == -ENOTSUP || r == -ENOSPC) {
            return r;
        }
        if (r == 0 && machine_same(&native, meant, why, sizeof why)) {
            return 0;
        }
    }
    ir_print(g, text, sizeof text);
    printf("%s: %s (%d)\n%s\n", what, why, r, text);
    return 1;
}

int machine_compare(struct ir_region *g, const struct machine_outcome *start)
{
    static struct machine_outcome meant, optimised;
    char why[160];
    int r;

    machine_meaning(g, start, &meant);
    r = compare_as(g, start, &meant, "as built");
    if (r > 0) {
        return r;
    }
    ir_optimise(g);
    machine_meaning(g, start, &optimised);
    if (!machine_same(&optimised, &meant, why, sizeof why)) {
        printf("the passes changed what it means: %s\n", why);
        return 1;
    }
    return r != 0 ? r : compare_as(g, start, &meant, "optimised");
}
