/* machine.c - a machine comes, runs, ends, goes. */
#include "virt/monitor/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/dev/serial.h"
#include "virt/monitor/identity.h"
#include "virt/monitor/plug/plug.h"
#include "virt/monitor/private.h"

#define MOST_BYTES                                                                       \
    (UINT64_C(512) << 30) /* addresses have 40 bits, and windows lie behind */
#define PAUSE_MOST 64 /* some microseconds of a loop that waits for another processor */

static void on_over(struct loop_task *t)
{
    struct machine *m = (struct machine *)((char *)t - offsetof(struct machine, over));

    m->is_over_heard = true;
    loop_stop(m->loop);
}

void machine_finish(struct machine *m, enum machine_end how, unsigned code)
{
    pthread_mutex_lock(&m->lock);
    if (!atomic_load(&m->is_over)) {
        m->end = how;
        m->code = code;
        atomic_store(&m->is_over, true);
        loop_post(m->loop, &m->over);
        (void)pthread_cond_broadcast(&m->moved);
    }
    pthread_mutex_unlock(&m->lock);
    for (unsigned i = 0; i < m->cpus; i++) {
        vcpu_kick(&m->vcpu[i], CPU_KICK_STOP);
    }
}

void machine_stop(struct machine *m)
{
    machine_finish(m, MACHINE_STOPPED, 0);
}

void machine_press(struct machine *m)
{
    power_press(m->power);
}

unsigned machine_console_room(struct machine *m)
{
    return serial_room(m->serial);
}

void machine_console_type(struct machine *m, const uint8_t *bytes, unsigned n)
{
    serial_receive(m->serial, bytes, n);
}

const char *machine_end_name(enum machine_end end)
{
    static const char *const names[MACHINE_END_COUNT] = {
        [MACHINE_OFF] = "off",
        [MACHINE_RESET] = "reset",
        [MACHINE_EXITED] = "exited",
        [MACHINE_PANICKED] = "the guest panicked",
        [MACHINE_SHUTDOWN] = "triple fault",
        [MACHINE_HUNG] = "the guest did not serve its watchdog",
        [MACHINE_STOPPED] = "stopped",
        [MACHINE_BROKEN] = "broken",
    };

    return names[end];
}

int machine_create(struct loop *l, const struct machine_options *o, struct machine **ret,
                   struct err *e)
{
    struct machine *m;
    int r;

    if (o->cpus == 0 || o->cpus > MACHINE_CPUS_MOST) {
        return err_set(e, -EINVAL, "cannot make a machine of %u processors: 1 to %d",
                       o->cpus, MACHINE_CPUS_MOST);
    }
    if (o->cpus_most > MACHINE_CPUS_MOST ||
        (o->cpus_most != 0 && o->cpus_most < o->cpus)) {
        return err_set(e, -EINVAL, "cannot make a machine of %u to %u processors",
                       o->cpus, o->cpus_most);
    }
    if (o->memory_bytes < MACHINE_LEAST_BYTES || o->memory_bytes % 4096 != 0) {
        return err_set(e, -EINVAL, "cannot make a machine of so little memory");
    }
    if (o->memory_bytes > MOST_BYTES || o->memory_most > MOST_BYTES) {
        return err_set(e, -ERANGE, "cannot make a machine of so much memory");
    }
    if (o->memory_most != 0 &&
        (o->memory_most < o->memory_bytes ||
         (o->memory_most - o->memory_bytes) % PLUG_MEMORY_STEP != 0 ||
         o->memory_plugged > o->memory_most - o->memory_bytes)) {
        return err_set(e, -EINVAL,
                       "cannot make a machine with room for that much memory");
    }
    m = fault_calloc(1, sizeof *m);
    if (m == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    m->options = *o;
    m->plugs_cpus = o->cpus_most != 0;
    m->options.cpus_most = o->cpus_most != 0 ? o->cpus_most : o->cpus;
    m->loop = l;
    m->over.fn = on_over;
    m->clock_hz = TIME_HZ;
    m->env = (struct cpu_env){.exit = dispatcher_enter,
                              .take_interrupt = dispatcher_take_interrupt,
                              .cpuid = interpreter_cpuid,
                              .untake_interrupt = dispatcher_untake_interrupt,
                              .clock = time_clock,
                              .pause_most = m->options.cpus_most > 1 ? PAUSE_MOST : 0,
                              .who = m};
    pause_init(m);
    r = steps_init(m, e);
    identity_make_up(m->options.generation);
    r = r == 0 ? allocator_build(m, e) : r;
    if (r != 0) {
        machine_destroy(m);
        return r;
    }
    *ret = m;
    return 0;
}

void machine_destroy(struct machine *m)
{
    if (m == NULL) {
        return;
    }
    rewind_forget(m);
    free(m->trace);
    allocator_release(m);
    pause_fini(m);
    free(m);
}

int machine_load(struct machine *m, const struct boot_files *f, struct err *e)
{
    m->files = *f;
    return m->firmware != NULL ? 0 : boot_load(&m->place, f, m->vcpu[0].cpu, e);
}

void machine_set_files(struct machine *m, const struct boot_files *f)
{
    m->files = *f;
}

int machine_run(struct machine *m, enum machine_end *ret_end, unsigned *ret_code,
                struct err *e)
{
    int r = 0;

    m->is_running = true;
    if (m->pauses == 0) {
        time_start(m);
    }
    for (unsigned i = 0; r == 0 && i < m->cpus && !m->options.is_deterministic; i++) {
        r = atomic_load(&m->vcpu[i].is_there) ? vcpu_start(&m->vcpu[i], e) : 0;
    }
    if (r != 0) {
        machine_finish(m, MACHINE_BROKEN, 0);
    }
    if (m->options.is_deterministic) {
        steps_run(m);
    } else {
        (void)loop_run(m->loop);
    }
    for (unsigned i = 0; i < m->cpus; i++) {
        vcpu_join(&m->vcpu[i]);
    }
    pause_drain(m);
    board_pause(m->board);
    m->is_running = false;
    loop_timer_clear(m->loop, &m->reset_wait);
    *ret_end = m->end;
    *ret_code = m->code;
    return r;
}

const char *machine_engine(const struct machine *m)
{
    return m->vcpu[0].cpu->ops->name;
}

const char *machine_engine_why(const struct machine *m)
{
    return m->engine_why;
}
