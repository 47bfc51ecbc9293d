/* trace.c - the exits of a machine in the order of their time, for a while.
 *
 * A trace has room for so many; each vCPU takes the next place by one atomic addition, and when
 * there is none left nothing more is noted.  While nobody traces an exit costs one load and a
 * branch.  The trace comes and goes while everything stands. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/monitor/private.h"

struct trace {
    uint64_t begun_ns;
    uint32_t most;
    _Atomic uint64_t next; /* also counts those that found no room */
    struct machine_trace one[];
};

void tracer_note(struct vcpu *v, const struct cpu_exit *x, enum machine_route way)
{
    struct trace *t = v->machine->trace;
    uint64_t n;

    if (__builtin_expect(t == NULL, 1)) {
        return;
    }
    n = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
    if (n < t->most) {
        t->one[n] =
            (struct machine_trace){.ns = board_now(v->machine->board) - t->begun_ns,
                                   .address = x->address,
                                   .value = x->value,
                                   .cpu = v->index,
                                   .kind = x->kind,
                                   .way = way};
    }
}

int machine_trace_begin(struct machine *m, uint32_t most, struct err *e)
{
    struct trace *t = fault_calloc(1, sizeof *t + most * sizeof t->one[0]);
    int r = t == NULL ? err_set(e, -ENOMEM, "out of memory") : machine_pause(m, e);

    if (r != 0) {
        free(t);
        return r;
    }
    t->most = most;
    t->begun_ns = board_now(m->board);
    free(m->trace);
    m->trace = t;
    return machine_resume(m, e);
}

uint64_t machine_trace_look(struct machine *m, uint32_t from, struct machine_trace *ret,
                            uint32_t most, uint32_t *ret_n)
{
    const struct trace *t = m->trace;
    bool stands = t != NULL && machine_pause(m, NULL) == 0; /* no entry is half written */
    uint64_t all = stands ? atomic_load(&t->next) : 0;
    uint32_t kept = !stands ? 0 : all < t->most ? (uint32_t)all : t->most;

    *ret_n = 0;
    for (uint32_t i = from; i < kept && *ret_n < most; i++) {
        ret[(*ret_n)++] = t->one[i];
    }
    if (stands) {
        (void)machine_resume(m, NULL);
    }
    return all;
}

void machine_trace_end(struct machine *m)
{
    struct trace *t = m->trace;

    if (t != NULL && machine_pause(m, NULL) == 0) {
        m->trace = NULL;
        free(t);
        (void)machine_resume(m, NULL);
    }
}
