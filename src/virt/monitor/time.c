/* time.c - the machine's time stands and goes on, and its processors' counters with it.
 *
 * Software engines count the time-stamp counter by the board's clock, so that it stands when
 * that does.  Hardware goes on counting: there the counter is noted when every vCPU has
 * parked, and set back before they go on.  The board's clock is stopped behind the vCPUs
 * then, so that neither ever shows a guest less than it has seen.  And all its clock pages
 * tell of the same moment, lest two processors that count alike differ in what time it is. */
#include "contract/cpu_x86.h"
#include "virt/monitor/private.h"

static bool counts_itself(const struct machine *m)
{
    return m->vcpu[0].cpu->ops->tsc != NULL;
}

static uint64_t cycles_of(const struct machine *m, uint64_t ns)
{
    return m->clock_hz == TIME_HZ
               ? ns
               : (uint64_t)((unsigned __int128)ns * m->clock_hz / TIME_HZ);
}

uint64_t time_clock(void *who)
{
    const struct machine *m = who;

    return cycles_of(m, steps_now(m));
}

void time_pair(struct vcpu *v, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_hz)
{
    struct machine *m = v->machine;
    struct x86_regs r;

    if (!counts_itself(m)) {
        cpu_get(v->cpu, &r);
        *ret_hz = m->clock_hz;
        *ret_ns = board_now(m->board);
        *ret_tsc = cycles_of(m, *ret_ns) + r.msr.tsc_offset;
        return;
    }
    (void)pthread_mutex_lock(&m->lock);
    if (m->pair_ns == 0) {
        m->pair_tsc = cpu_tsc(v->cpu, m->clock_hz, ret_hz);
        m->pair_ns = board_now(m->board);
    }
    *ret_tsc = m->pair_tsc;
    *ret_ns = m->pair_ns;
    (void)pthread_mutex_unlock(&m->lock);
    *ret_hz = engine_tsc_hz(m);
}

void time_stop_first(struct machine *m)
{
    if (!counts_itself(m)) {
        board_pause(m->board);
    }
}

void time_stop(struct machine *m)
{
    uint64_t hz;

    board_pause(m->board);
    if (counts_itself(m)) {
        m->tsc_stood = cpu_tsc(m->vcpu[0].cpu, m->clock_hz, &hz);
    }
}

void time_get(const struct vcpu *v, struct x86_regs *ret)
{
    cpu_get(v->cpu, ret);
    if (counts_itself(v->machine)) {
        ret->msr.tsc_offset = v->machine->tsc_stood - time_clock(v->machine);
    }
}

int time_set(struct vcpu *v, const struct x86_regs *r, struct err *e)
{
    if (counts_itself(v->machine)) {
        v->machine->tsc_stood = time_clock(v->machine) + r->msr.tsc_offset;
    }
    return cpu_set(v->cpu, r, e);
}

void time_start(struct machine *m)
{
    for (unsigned i = 0; counts_itself(m) && i < m->cpus; i++) {
        struct x86_regs r;

        time_get(&m->vcpu[i], &r);
        (void)cpu_set(m->vcpu[i].cpu, &r, NULL);
    }
    board_resume(m->board);
}
