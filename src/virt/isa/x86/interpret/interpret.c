/* interpret.c - the interpreter as an implementer of contract/cpu.h. */
#include "virt/isa/x86/interpret/interpret.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/interpret/debug.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"

void x86_interpret_get(const struct cpu *base, struct x86_regs *ret_regs)
{
    const struct x86_cpu *c = (const struct x86_cpu *)base;
    struct x86_cpu copy;

    *ret_regs = c->r;
    ret_regs->nmi_waits =
        c->code->nmi_pending || (atomic_load(&base->kicks) & CPU_KICK_NMI) != 0;
    if (c->flags_lazy) { /* in the middle of an instruction: an exit asks */
        copy.r.rflags = c->r.rflags;
        copy.flag_result = c->flag_result;
        copy.flag_carry = c->flag_carry;
        copy.flags_lazy = true;
        x86_flags_pack(&copy);
        ret_regs->rflags = copy.r.rflags;
    }
}

int x86_interpret_set(struct cpu *base, const struct x86_regs *regs, struct err *e)
{
    struct x86_cpu *c = x86_of(base);
    int r = x86_check_regs(c, regs, e);

    if (r < 0) {
        return r;
    }
    c->r = *regs;
    c->r.gpr[X86_ZERO] = 0;
    c->code->nmi_pending = regs->nmi_waits;
    (void)atomic_fetch_and(&base->kicks, ~(uint32_t)CPU_KICK_NMI);
    c->flags_lazy = false;
    c->next_rip = c->r.gpr[X86_RIP];
    x86_refresh(c);
    x86_tlb_flush_all(c, true);
    c->wants |= X86_WANT_RELOAD;
    return 0;
}

void x86_interpret_count(const struct cpu *base, struct cpu_counters *ret_counters)
{
    *ret_counters = ((const struct x86_cpu *)base)->count;
}

void x86_interpret_trim(struct cpu *base, enum cpu_rest rest)
{
    (void)rest; /* decoding again is quick */
    x86_code_trim(x86_of(base));
    x86_tlb_trim(x86_of(base));
}

void x86_interpret_fini(struct x86_cpu *c)
{
    if (c->code != NULL) {
        x86_share_leave(c);
    }
    x86_code_fini(c);
    x86_tlb_fini(c);
}

static void destroy(struct cpu *base)
{
    x86_interpret_fini(x86_of(base));
    free(x86_of(base));
}

static const struct cpu_ops interpret_ops = {
    .name = "interpret",
    .run = x86_interpret_run,
    .get = x86_interpret_get,
    .set = x86_interpret_set,
    .count = x86_interpret_count,
    .left = x86_interpret_left,
    .debug = x86_interpret_debug,
    .trim = x86_interpret_trim,
    .destroy = destroy,
};

int x86_interpret_init(struct x86_cpu *c, struct mem *m, const struct x86_model *model)
{
    int r;

    c->mem = m;
    c->model = model;
    r = x86_tlb_init(c);
    if (r == 0) {
        r = x86_code_init(c);
    }
    if (r == 0) {
        r = x86_share_join(c);
    }
    if (r == 0) {
        x86_reset(c, false);
    }
    return r;
}

int interpret_create(struct mem *m, const struct x86_model *model,
                     const struct cpu_env *env, unsigned index, struct cpu **ret,
                     struct err *e)
{
    struct x86_cpu *c = fault_aligned(_Alignof(struct x86_cpu), sizeof *c);
    int r;

    if (c == NULL) {
        return err_set(e, -ENOMEM, "cannot make processor %u: no memory", index);
    }
    c->base = (struct cpu){.ops = &interpret_ops, .env = env, .index = index};
    r = x86_interpret_init(c, m, model);
    if (r < 0) {
        destroy(&c->base);
        return err_set(e, r, "cannot make processor %u: %s", index,
                       r == -ENOSPC ? "too many over one memory" : "no memory");
    }
    *ret = &c->base;
    return 0;
}
