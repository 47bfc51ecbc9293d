/* plug.c - processors that come and go while a machine runs, and memory that comes.
 *
 * All there may ever be are made at first, since code memory cannot be mapped once the worker
 * is confined; one that is not there has no thread yet and hears no message.  It comes in the
 * state of a power-on, waiting for a startup message, and goes back to that state.
 *
 * Memory is a region for each slot, behind all others, so that nobody's pointer to a region
 * moves.  It is made when it comes, while the machine stands: before, nothing is there, whatever
 * a guest tries.  It does not go: the balloon gives its pages back. */
#include <errno.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/plug/plug.h"
#include "virt/monitor/private.h"

/* ---- processors ---- */

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

/* ---- memory ---- */

uint64_t machine_memory_bytes(const struct machine *m)
{
    uint64_t bytes = m->options.memory_bytes;

    for (unsigned i = 0; m->plug_memory != NULL && i < plug_memory_there(m->plug_memory);
         i++) {
        bytes += plug_memory_bytes(m->plug_bytes, i);
    }
    return bytes;
}

uint64_t machine_memory_of(const struct machine_options *o)
{
    uint64_t room =
        o->memory_most > o->memory_bytes ? o->memory_most - o->memory_bytes : 0;
    uint64_t bytes = o->memory_bytes;

    for (unsigned i = 0; i < plug_memory_count(room, o->memory_plugged); i++) {
        bytes += plug_memory_bytes(room, i);
    }
    return bytes;
}

uint64_t machine_memory_most(const struct machine *m)
{
    return m->options.memory_bytes + m->plug_bytes;
}

int allocator_plug_memory(struct machine *m, unsigned n, struct err *e)
{
    return mem_add_ram(m->mem, m->plug_first + n * plug_memory_slot(m->plug_bytes),
                       plug_memory_bytes(m->plug_bytes, n), false, e);
}

static int add_memory(struct machine *m, struct err *e)
{
    int r = allocator_plug_memory(m, plug_memory_there(m->plug_memory), e);

    r = r == 0 ? engine_add_memory(m, e) : r;
    if (r == 0) {
        plug_memory_add(m->plug_memory);
    }
    return r;
}

int machine_add_memory(struct machine *m, uint64_t bytes, struct err *e)
{
    int r;

    if (bytes > machine_memory_most(m)) {
        return err_set(e, -ERANGE,
                       "there is no room for so much memory: at most %llu bytes",
                       (unsigned long long)machine_memory_most(m));
    }
    if (bytes <= machine_memory_bytes(m)) {
        return 0;
    }
    if (m->mark != NULL) {
        return err_set(e, -EBUSY,
                       "cannot add memory: the machine has a mark, which is without it");
    }
    r = machine_pause(m, e);
    if (r != 0) {
        return r;
    }
    while (r == 0 && machine_memory_bytes(m) < bytes) {
        r = add_memory(m, e);
    }
    (void)machine_resume(m, NULL);
    return r;
}
