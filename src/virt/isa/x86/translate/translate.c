/* translate.c - the translator as an implementer of contract/cpu.h. */
#include "virt/isa/x86/translate/translate.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/ram.h"
#include "virt/isa/x86/interpret/debug.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/translate/private.h"

#define CODE_BYTES (32u << 20)
#define WARM       16
#define HOT        400
#define WARM_MOST  254u
#define COLDER     15 /* times colder is code that was written to */

/* Host registers of rax .. r15; those without one are in memory.  Equal numbers, where it
 * can be, keep encodings short; rsp is the host's own stack. */
static const uint8_t pins[16] = {0,         1,         2,         3,        12, 5,
                                 6,         7,         8,         9,        10, IR_NO_PIN,
                                 IR_NO_PIN, IR_NO_PIN, IR_NO_PIN, IR_NO_PIN};

/* A store to a page with translations: those that it touches go. */
static uint8_t written(void *who, gpa at, unsigned bytes, uint8_t flags)
{
    struct translate_cpu *t = who;
    gpa page = at & ~X86_PAGE_MASK;
    unsigned from = (unsigned)(at & X86_PAGE_MASK);
    const struct unit_page *p;

    (void)flags;
    pthread_mutex_lock(&t->x.code->share->lock);
    p = unit_page_of(t, page);
    if (p != NULL && marks_touch(&p->marks, from, from + bytes)) {
        unit_note_dirty_locked(t, &(struct dirty){.page = page,
                                                  .from = (uint16_t)from,
                                                  .to = (uint16_t)(from + bytes)});
    }
    pthread_mutex_unlock(&t->x.code->share->lock);
    return 0;
}

static void fill_env(struct translate_cpu *t)
{
    const struct lift_places at = {.flags = offsetof(struct translate_cpu, frame.flags),
                                   .jumps = offsetof(struct translate_cpu, frame.jumps),
                                   .link = offsetof(struct translate_cpu, frame.link),
                                   .system = offsetof(struct translate_cpu, side[0]),
                                   .users = offsetof(struct translate_cpu, side[1])};

    lift_globals(t->global, &at, pins);
    t->env =
        (struct emit_env){.global = t->global,
                          .globals = LIFT_GLOBALS,
                          .frame = offsetof(struct translate_cpu, frame),
                          .tlb = offsetof(struct translate_cpu, x.tlb),
                          .wants = offsetof(struct translate_cpu, x.base.kicks),
                          .local = offsetof(struct translate_cpu, local),
                          .budget = offsetof(struct translate_cpu, x.budget),
                          .tlb_read = offsetof(struct x86_tlb_entry, read),
                          .tlb_write = offsetof(struct x86_tlb_entry, write),
                          .tlb_addend = offsetof(struct x86_tlb_entry, addend),
                          .tlb_usual = offsetof(struct translate_cpu, x.usual_addend),
                          .tlb_entry_bytes = sizeof(struct x86_tlb_entry),
                          .tlb_entries = X86_TLB_ENTRIES,
                          .has_vectors = true,
                          .vectors = offsetof(struct translate_cpu, x.r.fpu.ymm),
                          .mxcsr = offsetof(struct translate_cpu, x.r.fpu.mxcsr)};
}

/* The code memory behind the trampolines, in two halves, and the records'. */
static void make_halves(struct translate_cpu *t, size_t first)
{
    size_t middle = (first + (t->code.bytes - first) / 2) & ~(size_t)63;

    t->half[0].start = t->half[0].used = first;
    t->half[0].end = t->half[1].start = t->half[1].used = middle;
    t->half[1].end = t->code.bytes;
    t->half[0].ready = first;
    t->half[1].ready = middle;
    t->half[0].record_start = t->half[0].recorded = sizeof(uint64_t); /* no unit is 0 */
    t->half[0].record_end = t->half[1].record_start = t->record.bytes / HALVES;
    t->half[1].record_end = t->record.bytes;
    t->half[1].recorded = t->half[1].record_start;
}

static int make_code(struct translate_cpu *t, size_t bytes)
{
    size_t first;
    uint64_t enter;
    int r = code_memory_create(&t->code, bytes);

    r = r != 0 ? r : code_records_create(&t->record, bytes);
    if (r != 0) {
        return r;
    }
    fill_env(t);
    t->frame.self = (uint64_t)(uintptr_t)t;
    t->frame.slow_helper = (uint64_t)(uintptr_t)slow_helper;
    t->frame.routine_helper = (uint64_t)(uintptr_t)routine_helper;
    t->frame.fpu_helper = (uint64_t)(uintptr_t)fpu_helper;
    first =
        emit_trampolines(&t->env, t->code.write, t->code.run, bytes, &t->frame, &enter);
    make_halves(t, (first + 63) & ~(size_t)63);
    memcpy(&t->enter, &enter, sizeof t->enter);
    return 0;
}

static void begin_region(struct translate_cpu *t)
{
    ir_region_init(&t->region, t->global, LIFT_GLOBALS);
    t->region.forwards = true;
}

static int build(struct translate_cpu *t, struct mem *m, const struct x86_model *model,
                 const struct translate_options *o)
{
    struct mem_listener l = {.touched = written, .who = t, .wants = MEM_CODE};
    int r = x86_interpret_init(&t->x, m, model);
    unsigned warm;

    if (r < 0) {
        return r;
    }
    warm = o->warm != 0 ? o->warm : WARM;
    t->tiers = o->tiers;
    t->hot = o->hot != 0 ? o->hot : HOT;
    t->warm = (uint8_t)(warm < WARM_MOST ? warm : WARM_MOST);
    t->cold = (uint8_t)(t->warm == 1                   ? 1
                        : t->warm < UINT8_MAX / COLDER ? t->warm * COLDER
                                                       : UINT8_MAX);
    t->jumps = fault_calloc((size_t)JUMP_SPACES * EMIT_JUMPS, sizeof *t->jumps);
    t->bucket = fault_calloc((size_t)1 << BUCKET_BITS, sizeof *t->bucket);
    t->lift = lift_create();
    if (t->jumps == NULL || t->bucket == NULL || t->lift == NULL) {
        return -ENOMEM;
    }
    link_init(t);
    begin_region(t);
    r = make_code(t, o->code_bytes != 0 ? o->code_bytes : CODE_BYTES);
    if (r < 0) {
        return r;
    }
    t->x.code->more = &unit_more;
    t->trapped = o->trapped;
    t->trapped_who = o->who;
    r = stock_join(t);
    if (r < 0) {
        return r;
    }
    t->listens = mem_listen(m, &l) == 0;
    if (o->perf_map) {
        r = profile_open(t);
        if (r < 0) {
            return r;
        }
    }
    return t->listens ? 0 : -ENOSPC;
}

static void destroy(struct cpu *base)
{
    struct translate_cpu *t = translate_of(x86_of(base));
    unsigned n;

    if (t->listens) {
        mem_unlisten(t->x.mem, t);
    }
    if (t->x.code != NULL && t->x.code->share != NULL) {
        unit_drop_all(t);
        stock_leave(t);
    }
    x86_interpret_fini(&t->x);
    code_memory_destroy(&t->code);
    code_records_destroy(&t->record);
    ir_region_fini(&t->region);
    emit_result_fini(&t->result);
    lift_destroy(t->lift);
    profile_close(t);
    free(t->jumps);
    free(t->bucket);
    for (n = 0; n < HALVES; n++) {
        free(t->half[n].site);
        free(t->half[n].word);
        free(t->half[n].exit);
    }
    free(t);
}

static void trim(struct cpu *base, enum cpu_rest rest)
{
    struct translate_cpu *t = translate_of(x86_of(base));

    x86_interpret_trim(base, rest);
    ir_region_fini(&t->region);
    begin_region(t);
    emit_result_fini(&t->result);
    unit_trim(t, rest == CPU_REST_LONG);
    stock_rest(t);
    if (rest == CPU_REST_LONG) {
        memset(t->heat, 0, sizeof t->heat);
        ram_zero(t->rounds, sizeof t->rounds);
    }
    link_trim(t);
}

static const struct cpu_ops translate_ops = {
    .name = "translate",
    .run = translate_run,
    .get = x86_interpret_get,
    .set = x86_interpret_set,
    .count = x86_interpret_count,
    .left = translate_left,
    .debug = x86_interpret_debug,
    .trim = trim,
    .destroy = destroy,
};

int translate_create(struct mem *m, const struct x86_model *model,
                     const struct cpu_env *env, const struct translate_options *options,
                     struct cpu **ret, struct err *e)
{
    unsigned index = options->index;
    struct translate_cpu *t;
    int r;

    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) {
        return err_set(e, -ENOTSUP,
                       "cannot translate: the host's processor lacks AVX2 or BMI2");
    }
    t = fault_aligned(_Alignof(struct translate_cpu), sizeof *t);
    if (t == NULL) {
        return err_set(e, -ENOMEM, "cannot make processor %u: no memory", index);
    }
    t->x.base = (struct cpu){.ops = &translate_ops, .env = env, .index = index};
    r = build(t, m, model, options);
    if (r < 0) {
        destroy(&t->x.base);
        return err_set(e, r, "cannot make processor %u: %s", index, strerror(-r));
    }
    *ret = &t->x.base;
    return 0;
}
