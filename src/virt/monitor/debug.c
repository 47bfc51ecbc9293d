/* debug.c - a debugger's hold on a machine: single vCPUs that stand, and what is told.
 *
 * What a vCPU leaves for holds every vCPU at once; the loop's thread then makes a pause of it
 * and tells the first.  Several may leave at a time.  A breakpoint that was not told is met
 * again, since nothing was executed; a step or a watch is kept, and told instead of the next
 * run. */
#include <errno.h>

#include "base/err.h"
#include "contract/cpu_debug.h"
#include "virt/monitor/private.h"

void debug_note(struct vcpu *v, const struct cpu_exit *x)
{
    struct machine *m = v->machine;

    (void)pthread_mutex_lock(&m->lock);
    v->stop = (struct machine_stop){
        .cpu = v->index, .kind = (unsigned)x->value, .address = x->address};
    v->is_stopped = true;
    (void)pthread_mutex_unlock(&m->lock);
    pause_hold(m, HOLD_DEBUG, ASK_DEBUG);
}

/* The next one to be told; breakpoints beside it are forgotten. */
static bool take_stop(struct machine *m, struct machine_stop *ret)
{
    bool found = false;

    (void)pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->cpus; i++) {
        struct vcpu *v = &m->vcpu[i];

        if (v->is_stopped && !found) {
            *ret = v->stop;
            found = true;
            v->is_stopped = false;
        } else if (v->stop.kind == CPU_DEBUG_BREAK) {
            v->is_stopped = false;
        }
    }
    (void)pthread_mutex_unlock(&m->lock);
    return found;
}

static bool has_stop(struct machine *m)
{
    bool found = false;

    (void)pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->cpus; i++) {
        found |= m->vcpu[i].is_stopped;
    }
    (void)pthread_mutex_unlock(&m->lock);
    return found;
}

void debug_serve(struct machine *m)
{
    struct machine_stop stop;
    int r = m->stopped != NULL ? machine_pause(m, NULL) : -ENOENT;

    if (r == -EBUSY || r == -ETIMEDOUT) { /* inside another one; not all stand yet */
        machine_ask(m, ASK_DEBUG);
        return;
    }
    pause_release(m, HOLD_DEBUG);
    if (r == 0 && take_stop(m, &stop)) {
        m->stopped(m->stopped_who, &stop);
    } else if (r == 0) {
        (void)machine_resume(m, NULL);
    }
}

int machine_debug(struct machine *m,
                  void (*stopped)(void *who, const struct machine_stop *s), void *who,
                  struct err *e)
{
    if (stopped != NULL && m->vcpu[0].cpu->ops->debug == NULL) {
        return err_set(e, -EOPNOTSUPP, "engine '%s' has no debugger's hold",
                       machine_engine(m));
    }
    m->stopped = stopped;
    m->stopped_who = who;
    for (unsigned i = 0; i < m->cpus; i++) {
        m->vcpu[i].is_stopped = false;
    }
    return 0;
}

void machine_debug_cpu(struct machine *m, unsigned index, const struct cpu_debug *d,
                       bool stands)
{
    (void)cpu_debug(m->vcpu[index].cpu, d);
    atomic_store(&m->vcpu[index].is_held, stands);
}

void machine_debug_go(struct machine *m)
{
    if (has_stop(m)) { /* nothing runs before it is told */
        pause_hold(m, HOLD_DEBUG, ASK_DEBUG);
    }
    (void)machine_resume(m, NULL);
}

void machine_look(struct machine *m, unsigned index, struct x86_regs *ret)
{
    cpu_get(m->vcpu[index].cpu, ret);
}

int machine_put(struct machine *m, unsigned index, const struct x86_regs *r,
                struct err *e)
{
    return cpu_set(m->vcpu[index].cpu, r, e);
}

struct mem *machine_memory(struct machine *m)
{
    return m->mem;
}
