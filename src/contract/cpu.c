/* contract/cpu.c - the guard of a virtual processor. */
#include "contract/cpu.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "contract/cpu_debug.h"
#include "contract/cpu_x86.h"

int cpu_run(struct cpu *c, uint64_t budget)
{
    assert(c->env != NULL && c->env->exit != NULL);
    return c->ops->run(c, budget);
}

void cpu_kick(struct cpu *c, uint32_t kicks)
{
    (void)atomic_fetch_or(&c->kicks, kicks);
    if (c->ops->kick != NULL) {
        c->ops->kick(c);
    }
}

void cpu_get(const struct cpu *c, struct x86_regs *ret_regs)
{
    c->ops->get(c, ret_regs);
}

int cpu_set(struct cpu *c, const struct x86_regs *regs, struct err *e)
{
    return c->ops->set(c, regs, e);
}

uint64_t cpu_tsc(const struct cpu *c, uint64_t clock_hz, uint64_t *ret_hz)
{
    struct x86_regs r;

    if (c->ops->tsc != NULL) {
        return c->ops->tsc(c, ret_hz);
    }
    cpu_get(c, &r);
    *ret_hz = clock_hz;
    return (c->env->clock != NULL ? c->env->clock(c->env->who) : 0) + r.msr.tsc_offset;
}

void cpu_count(const struct cpu *c, struct cpu_counters *ret_counters)
{
    *ret_counters = (struct cpu_counters){0};
    if (c->ops->count != NULL) {
        c->ops->count(c, ret_counters);
    }
}

uint64_t cpu_left(const struct cpu *c)
{
    assert(c->ops->left != NULL);
    return c->ops->left(c);
}

int cpu_debug(struct cpu *c, const struct cpu_debug *d)
{
    if (c->ops->debug == NULL) {
        return d == NULL ? 0 : -EOPNOTSUPP;
    }
    assert(d == NULL || (d->breaks <= CPU_BREAKS_MOST && d->watches <= CPU_WATCHES_MOST));
    c->ops->debug(c, d);
    return 0;
}

void cpu_trim(struct cpu *c, enum cpu_rest rest)
{
    if (c->ops->trim != NULL) {
        c->ops->trim(c, rest);
    }
}

void cpu_destroy(struct cpu *c)
{
    if (c != NULL) {
        c->ops->destroy(c);
    }
}
