/* plug.c - processors that come and go while a machine runs.
 *
 * All there may ever be are made at first, since code memory cannot be mapped once the worker
 * is confined; one that is not there has no thread yet and hears no message.  It comes in the
 * state of a power-on, waiting for a startup message, and goes back to that state. */
#include <errno.h>

#include "base/err.h"
#include "virt/monitor/plug/plug.h"
#include "virt/monitor/private.h"

void allocator_plug_cpu(void *who, unsigned index, bool is_there)
{
    struct machine *m = who;
    struct vcpu *v = &m->vcpu[index];

    atomic_store(&v->is_there, is_there);
    if (!is_there) {
        atomic_fetch_or(&v->asks, VCPU_ASK_POWER_ON);
        vcpu_kick(v, CPU_KICK_STOP);
    }
}

unsigned machine_cpus(const struct machine *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->cpus; i++) {
        n += atomic_load(&m->vcpu[i].is_there);
    }
    return n;
}

unsigned machine_cpus_most(const struct machine *m)
{
    return m->cpus;
}

static int add_one(struct machine *m, struct err *e)
{
    struct vcpu *v = m->vcpu;
    int r = 0;

    while (atomic_load(&v->is_there)) {
        v++;
    }
    if (m->is_running && !v->has_thread) {
        r = vcpu_start(v, e);
    }
    if (r == 0) {
        atomic_store(&v->is_there, true);
        plug_cpus_add(m->plug_cpus, v->index);
    }
    return r;
}

/* The last ones. */
static void ask_back(struct machine *m, unsigned n)
{
    for (unsigned i = m->cpus; n > 0 && i-- > 1;) {
        if (atomic_load(&m->vcpu[i].is_there)) {
            plug_cpus_ask(m->plug_cpus, i);
            n--;
        }
    }
}

int machine_set_cpus(struct machine *m, unsigned n, struct err *e)
{
    int r = 0;

    if (n == 0 || n > m->cpus) {
        return err_set(e, -ERANGE, "the machine was made for at most %u processors",
                       m->cpus);
    }
    if (m->plug_cpus == NULL) { /* there is no room, and none can go */
        return n == m->cpus ? 0
                            : err_set(e, -EOPNOTSUPP,
                                      "its processors come and go only where it was made "
                                      "with room for more (--cpus-most)");
    }
    plug_cpus_keep(m->plug_cpus);
    while (r == 0 && machine_cpus(m) < n) {
        r = add_one(m, e);
    }
    if (machine_cpus(m) > n) {
        ask_back(m, machine_cpus(m) - n);
    }
    return r;
}
