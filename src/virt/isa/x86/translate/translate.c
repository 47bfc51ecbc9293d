/* translate.c - the translator as an implementer of contract/cpu.h. */
#include "virt/isa/x86/translate/translate.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/translate/private.h"

#define CODE_BYTES (32u << 20)
#define WARM       16

/* Host registers of rax .. r15; those without one are in memory.  Equal numbers, where it
 * can be, keep encodings short; rsp is the host's own stack. */
static const uint8_t pins[16] = {0,         1,         2,         3,        12, 5,
                                 6,         7,         8,         9,        10, IR_NO_PIN,
                                 IR_NO_PIN, IR_NO_PIN, IR_NO_PIN, IR_NO_PIN};

/* A store to a page with translations: they go at the next safe point of their owner,
 * which is now for the thread that stored. */
static uint8_t written(void *who, gpa at, unsigned bytes, uint8_t flags)
{
    struct translate_cpu *t = who;
    struct x86_cpu *c = &t->x;

    (void)bytes;
    (void)flags;
    pthread_mutex_lock(&t->lock);
    if (t->dirty_count < DIRTY_MAX) {
        t->dirty[t->dirty_count++] = at & ~(gpa)(MEM_PAGE_BYTES - 1);
    }
    if (c->code->is_running && pthread_equal(c->code->runner, pthread_self())) {
        c->wants |= X86_WANT_RELOAD;
    } else {
        atomic_fetch_or(&c->base.kicks, (uint32_t)CPU_KICK_FLUSH);
    }
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void fill_env(struct translate_cpu *t)
{
    lift_globals(t->global,
                 (uint32_t)(offsetof(struct translate_cpu, frame) +
                            offsetof(struct emit_frame, flags)),
                 pins);
    t->env = (struct emit_env){.global = t->global,
                               .globals = LIFT_GLOBALS,
                               .frame = offsetof(struct translate_cpu, frame),
                               .tlb = offsetof(struct translate_cpu, x.tlb),
                               .wants = offsetof(struct translate_cpu, x.base.kicks),
                               .local = offsetof(struct translate_cpu, local),
                               .budget = offsetof(struct translate_cpu, x.budget),
                               .tlb_read = offsetof(struct x86_tlb_entry, read),
                               .tlb_write = offsetof(struct x86_tlb_entry, write),
                               .tlb_addend = offsetof(struct x86_tlb_entry, addend),
                               .tlb_entry_bytes = sizeof(struct x86_tlb_entry),
                               .tlb_entries = X86_TLB_ENTRIES,
                               .has_vectors = true,
                               .vectors = offsetof(struct translate_cpu, x.r.fpu.ymm),
                               .mxcsr = offsetof(struct translate_cpu, x.r.fpu.mxcsr)};
}

static int make_code(struct translate_cpu *t, size_t bytes)
{
    uint64_t enter;
    int r = code_memory_create(&t->code, bytes);

    if (r != 0) {
        return r;
    }
    fill_env(t);
    t->frame.self = (uint64_t)(uintptr_t)t;
    t->frame.slow_helper = (uint64_t)(uintptr_t)slow_helper;
    t->frame.routine_helper = (uint64_t)(uintptr_t)routine_helper;
    t->frame.fpu_helper = (uint64_t)(uintptr_t)fpu_helper;
    t->frame.jumps = (uint64_t)(uintptr_t)t->jumps;
    t->frame.jump_tag = UINT64_C(1) << 48;
    t->code.first =
        emit_trampolines(&t->env, t->code.write, t->code.run, bytes, &t->frame, &enter);
    t->code.first = (t->code.first + 63) & ~(size_t)63;
    t->code.used = t->code.first;
    memcpy(&t->enter, &enter, sizeof t->enter);
    return 0;
}

static int build(struct translate_cpu *t, struct mem *m, const struct x86_model *model,
                 const struct translate_options *o)
{
    struct mem_listener l = {.touched = written, .who = t, .wants = MEM_CODE};
    int r = x86_interpret_init(&t->x, m, model);

    if (r < 0) {
        return r;
    }
    t->warm = o->warm != 0 ? o->warm : WARM;
    t->jumps = fault_calloc(EMIT_JUMPS, sizeof *t->jumps);
    t->lift = lift_create();
    if (t->jumps == NULL || t->lift == NULL) {
        return -ENOMEM;
    }
    ir_region_init(&t->region, t->global, LIFT_GLOBALS);
    r = make_code(t, o->code_bytes != 0 ? o->code_bytes : CODE_BYTES);
    if (r < 0) {
        return r;
    }
    pthread_mutex_init(&t->lock, NULL);
    t->listens = mem_listen(m, &l) == 0;
    return t->listens ? 0 : -ENOSPC;
}

static void destroy(struct cpu *base)
{
    struct translate_cpu *t = translate_of(x86_of(base));

    if (t->listens) {
        mem_unlisten(t->x.mem, t);
    }
    unit_drop_all(t);
    x86_interpret_fini(&t->x);
    code_memory_destroy(&t->code);
    ir_region_fini(&t->region);
    emit_result_fini(&t->result);
    lift_destroy(t->lift);
    free(t->jumps);
    free(t->site);
    free(t->pend);
    free(t->exit);
    free(t);
}

static const struct cpu_ops translate_ops = {
    .name = "translate",
    .run = translate_run,
    .get = x86_interpret_get,
    .set = x86_interpret_set,
    .count = x86_interpret_count,
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
