/* reset.c - a machine starts again, in the same process.
 *
 * A reset that the guest asks for holds every vCPU at once: nothing it does behind the store
 * to the port counts.  The loop's thread then makes everything as it was: memory is cleared
 * (a loader relies on zeros), devices and processors are reset, the kernel is loaded.  The
 * machine's time goes on.
 *
 * A guest that does nothing else than reset itself must not keep the host busy with loading:
 * `RESETS_MOST` may follow each other, then there is one in each `RESET_EVERY_NS`, and in
 * between the guest stands. */
#include <errno.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/private.h"

#define RESETS_MOST    8u
#define RESET_EVERY_NS UINT64_C(1000000000)

static int clear_memory(struct machine *m, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < m->mem->region_count; i++) {
        const struct mem_region *region = &m->mem->region[i];

        if (region->host != NULL && !region->read_only) {
            r = mem_discard(m->mem, region->base, region->bytes);
        }
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot clear the guest's memory");
}

static void reset_devices(struct machine *m)
{
    board_lock(m->board);
    board_lower_lines(m->board);
    for (unsigned i = 0; i < m->devices; i++) {
        if (m->dev[i]->class->reset != NULL) {
            m->dev[i]->class->reset(m->dev[i]);
        }
    }
    board_unlock(m->board);
}

static int start_again(struct machine *m, struct err *e)
{
    int r;

    reset_devices(m);
    slots_serve(m);
    for (unsigned i = 0; i < m->cpus; i++) {
        vcpu_reset(&m->vcpu[i]);
    }
    m->steps.is_halted = false;
    m->wall_clock = 0;
    r = clear_memory(m, e);
    r = r == 0 ? allocator_write_tables(m, e) : r;
    return r == 0 && m->firmware == NULL
               ? boot_load(&m->place, &m->files, m->vcpu[0].cpu, e)
               : r;
}

int machine_reset(struct machine *m, struct err *e)
{
    int r;

    if (m->files.kernel == NULL && m->firmware == NULL) {
        return err_set(e, -ENOENT, "cannot reset: there is no kernel to start again");
    }
    r = machine_pause(m, e);
    if (r != 0) {
        return r;
    }
    r = start_again(m, e);
    if (r != 0) {
        machine_finish(m, MACHINE_BROKEN, 0);
    }
    reset_cancel(m);
    (void)machine_resume(m, NULL);
    return r;
}

static bool may_reset(struct machine *m)
{
    uint64_t now = loop_now_ns(m->loop);
    uint64_t more = (now - m->resets_at_ns) / RESET_EVERY_NS;

    if (more >= RESETS_MOST) {
        m->resets_left = RESETS_MOST;
        m->resets_at_ns = now;
    } else if (more > 0) {
        m->resets_left += (unsigned)more;
        m->resets_left = m->resets_left > RESETS_MOST ? RESETS_MOST : m->resets_left;
        m->resets_at_ns += more * RESET_EVERY_NS;
    }
    if (m->resets_left == 0) {
        return false;
    }
    m->resets_left--;
    return true;
}

static void on_wait(struct loop_timer *t)
{
    reset_serve((struct machine *)((char *)t - offsetof(struct machine, reset_wait)));
}

void reset_serve(struct machine *m)
{
    if (m->reset_wait.set || atomic_load(&m->is_over)) {
        return;
    }
    m->reset_wait.fn = on_wait;
    if (m->is_moving || !may_reset(m)) {
        loop_timer_set(m->loop, &m->reset_wait, RESET_EVERY_NS / 10);
        return;
    }
    if (machine_reset(m, NULL) != 0) {
        machine_finish(m, MACHINE_RESET, 0);
    }
}

void reset_cancel(struct machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    m->asks &= ~(uint32_t)(MACHINE_ASK_RESET | ASK_CRASH);
    (void)pthread_mutex_unlock(&m->lock);
    loop_timer_clear(m->loop, &m->reset_wait);
    pause_release(m, HOLD_RESET | HOLD_CRASH);
}

void reset_crash(struct machine *m)
{
    pause_hold(m, HOLD_CRASH, ASK_CRASH);
}

void reset_ask(struct machine *m)
{
    if (m->options.no_reboot) {
        machine_finish(m, MACHINE_RESET, 0);
        return;
    }
    pause_hold(m, HOLD_RESET, MACHINE_ASK_RESET);
}
