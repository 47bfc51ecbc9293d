/* vcpu.c - the thread of a virtual processor.
 *
 * A vCPU that has nothing to do waits on a futex, `wake`, which everybody changes who gives
 * it something.  The timer of its local APIC is a timer of the host that signals its thread:
 * the handler notes the moment and kicks, whether the guest runs or waits, so that no other
 * thread has to wake for it.
 *
 * One that was halted for nearly all of a span has its engine give back what memory it can
 * soon make again, after many such spans all that it can, and after as many again what it
 * made in coming back to rest; each once until it has more to do. */
#include "virt/monitor/vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/cpu_x86.h"
#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/private.h"

#define NS          1000000000u
#define SPAN_NS     UINT64_C(2000000000)
#define REST_OF_100 97 /* of a span halted: it rests */
#define LONG_SPANS  30 /* that it rested, one behind the other: a long rest */
#define SPANS_MOST  (2 * LONG_SPANS)

static int timer_signal(void)
{
    return SIGRTMIN;
}

/* ---- waiting ---- */

void vcpu_kick(struct vcpu *v, uint32_t kicks)
{
    cpu_kick(v->cpu, kicks);
    atomic_fetch_add(&v->wake, 1);
    if (atomic_load(&v->is_waiting)) {
        (void)syscall(SYS_futex, &v->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

bool vcpu_has_work(struct vcpu *v)
{
    return atomic_load(&v->cpu->kicks) != 0 || atomic_load(&v->asks) != 0 ||
           atomic_load(&v->pv.is_woken) || atomic_load(&v->machine->is_over) ||
           atomic_load(&v->machine->holds) != 0;
}

/* Until there is something to do, or for so long (NULL: however long); whether there is. */
static bool wait(struct vcpu *v, const struct timespec *most)
{
    bool has = false;
    int r = 0;

    atomic_store(&v->is_waiting, true);
    while (!has && !(r < 0 && errno == ETIMEDOUT)) {
        uint32_t seen = atomic_load(&v->wake);

        has = vcpu_has_work(v);
        if (!has) {
            r = (int)syscall(SYS_futex, &v->wake, FUTEX_WAIT_PRIVATE, seen, most, NULL,
                             0);
        }
    }
    atomic_store(&v->is_waiting, false);
    return has;
}

/* It was halted in [from, to). */
static void note_halt(struct vcpu_rest *rest, uint64_t from, uint64_t to)
{
    uint64_t span;

    if (rest->began_ns == 0) {
        rest->began_ns = from;
    }
    rest->halted_ns += to - from;
    span = to - rest->began_ns;
    if (span < SPAN_NS) {
        return;
    }
    if (rest->halted_ns < span / 100 * REST_OF_100) {
        rest->spans = 0;
    } else if (rest->spans < SPANS_MOST) {
        rest->spans++;
        rest->wants_trim = rest->spans == 1 || rest->spans % LONG_SPANS == 0;
    }
    rest->began_ns = to;
    rest->halted_ns = 0;
}

void vcpu_halt(struct vcpu *v)
{
    const struct timespec span = {.tv_sec = (time_t)(SPAN_NS / NS)};
    uint64_t from = board_now(v->machine->board);

    pv_rest(&v->pv);
    (void)wait(v, v->rest.spans == SPANS_MOST ? NULL : &span);
    pv_go_on(&v->pv);
    note_halt(&v->rest, from, board_now(v->machine->board));
    if (pv_takes_wake(&v->pv)) {
        cpu_kick(v->cpu, CPU_KICK_WAKE);
    }
}

bool vcpu_leaves(struct vcpu *v)
{
    return v->rest.wants_trim || v->machine->options.is_deterministic ||
           atomic_load_explicit(&v->asks, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&v->machine->is_over, memory_order_relaxed) ||
           atomic_load_explicit(&v->machine->holds, memory_order_relaxed) != 0;
}

/* ---- what its local APIC asks for ---- */

static void on_kick(void *who)
{
    vcpu_kick(who, CPU_KICK_INTERRUPT);
}

static void on_send(void *who, const struct apic_message *msg)
{
    bus_send(((struct vcpu *)who)->machine, msg);
}

static void on_send_others(void *who, const struct apic_message *msg, bool and_self)
{
    bus_send_others(who, msg, and_self);
}

static void on_eoi(void *who, uint8_t vector)
{
    ioapic_eoi(((struct vcpu *)who)->machine->ioapic, vector);
}

static uint64_t now(void *who)
{
    return board_now(((struct vcpu *)who)->machine->board);
}

static uint64_t day(void *who)
{
    return board_day_ns(((struct vcpu *)who)->machine->board);
}

static uint64_t tsc(void *who, uint64_t *ret_hz)
{
    const struct vcpu *v = who;

    return cpu_tsc(v->cpu, v->machine->clock_hz, ret_hz);
}

static void on_timer(void *who, uint64_t at_ns)
{
    struct vcpu *v = who;
    struct itimerspec t = {0};

    v->due_ns = at_ns;
    if (!v->has_timer) {
        return;
    }
    if (at_ns != 0) {
        uint64_t since = board_now(v->machine->board);
        uint64_t left = at_ns > since ? at_ns - since : 1;

        t.it_value.tv_sec = (time_t)(left / NS);
        t.it_value.tv_nsec = (long)(left % NS);
    }
    (void)timer_settime(v->timer, 0, &t, NULL);
}

/* ---- what its para-virtual interface asks for ---- */

static void on_pair(void *who, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_hz)
{
    time_pair(who, ret_tsc, ret_ns, ret_hz);
}

static void on_flush(void *who)
{
    cpu_kick(((struct vcpu *)who)->cpu, CPU_KICK_FLUSH_TLB);
}

static void on_wake(void *who, uint32_t apic_id)
{
    struct machine *m = ((struct vcpu *)who)->machine;

    if (apic_id < m->cpus) {
        pv_wake(&m->vcpu[apic_id].pv);
        vcpu_kick(&m->vcpu[apic_id], 0);
    }
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    struct vcpu *v = info->si_value.sival_ptr;

    (void)number;
    (void)context;
    if (info->si_code == SI_TIMER) {
        lapic_expire(&v->lapic);
    }
}

/* ---- its thread ---- */

/* Its time-stamp counter goes on. */
static void power_on(struct vcpu *v)
{
    struct x86_regs r = *v->power_on;
    struct x86_regs now;

    cpu_get(v->cpu, &now);
    r.msr.tsc_offset = now.msr.tsc_offset;
    (void)cpu_set(v->cpu, &r, NULL);
    v->untaken = -1;
}

static void reset_whole(struct vcpu *v)
{
    pv_reset(&v->pv);
    power_on(v);
    lapic_reset(&v->lapic, false);
    v->state = v->index == 0 ? VCPU_RUNS : VCPU_WAITS;
}

static void reset(struct vcpu *v)
{
    power_on(v);
    pv_reset(&v->pv);
    lapic_reset(&v->lapic, true);
    v->state = VCPU_WAITS;
}

static void start_at(struct vcpu *v, uint8_t page)
{
    struct x86_regs r;

    cpu_get(v->cpu, &r);
    r.seg[X86_CS].selector = (uint16_t)(page << 8);
    r.seg[X86_CS].base = (uint64_t)page << 12;
    r.gpr[X86_RIP] = 0;
    r.halted = false;
    (void)cpu_set(v->cpu, &r, NULL);
    v->state = VCPU_RUNS;
}

bool vcpu_obey(struct vcpu *v)
{
    uint32_t asks = atomic_exchange(&v->asks, 0);

    if ((asks & VCPU_ASK_POWER_ON) != 0) {
        reset_whole(v);
    }
    if ((asks & VCPU_ASK_INIT) != 0) {
        reset(v);
    }
    if ((asks & VCPU_ASK_START) != 0 && v->state == VCPU_WAITS) {
        start_at(v, atomic_load(&v->start_page));
    }
    if (v->state == VCPU_WAITS) {
        atomic_store(&v->cpu->kicks, 0);
    }
    return v->state == VCPU_RUNS;
}

void vcpu_reset(struct vcpu *v)
{
    atomic_fetch_and(&v->cpu->kicks, CPU_KICK_FLUSH);
    atomic_store(&v->asks, 0);
    reset_whole(v);
}

static int make_timer(struct vcpu *v)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID,
                          .sigev_signo = timer_signal(),
                          .sigev_value.sival_ptr = v};

    ev._sigev_un._tid = (int)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &ev, &v->timer) < 0) {
        return -errno;
    }
    v->has_timer = true;
    return 0;
}

static void *run(void *arg)
{
    struct vcpu *v = arg;
    bool runs;
    int r = make_timer(v);

    pv_go_on(&v->pv);
    while (r == 0 && !atomic_load(&v->machine->is_over)) {
        if (atomic_load(&v->machine->holds) != 0 || atomic_load(&v->is_held)) {
            pv_rest(&v->pv);
            pause_park(v);
            pv_go_on(&v->pv);
            continue;
        }
        runs = vcpu_obey(v);
        if (v->rest.wants_trim) {
            cpu_trim(v->cpu,
                     v->rest.spans == LONG_SPANS ? CPU_REST_LONG : CPU_REST_SHORT);
            v->rest.wants_trim = false;
        }
        if (runs) {
            r = cpu_run(v->cpu, UINT64_MAX);
        } else {
            (void)wait(v, NULL);
        }
    }
    if (r != 0) {
        machine_finish(v->machine, MACHINE_BROKEN, 0);
    }
    if (v->has_timer) {
        (void)timer_delete(v->timer);
        v->has_timer = false;
    }
    pause_count_thread(v->machine, -1);
    return NULL;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
    struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    int r;

    (void)sigaction(timer_signal(), &a, NULL);
    pause_count_thread(v->machine, 1);
    r = pthread_create(&v->thread, NULL, run, v);
    if (r != 0) {
        pause_count_thread(v->machine, -1);
        return err_sys(e, -r, "cannot start processor %u", v->index);
    }
    v->has_thread = true;
    return 0;
}

void vcpu_join(struct vcpu *v)
{
    if (v->has_thread) {
        (void)pthread_join(v->thread, NULL);
        v->has_thread = false;
    }
}

int vcpu_init(struct vcpu *v, struct machine *m, unsigned index, struct err *e)
{
    const struct lapic_host host = {.kick = on_kick,
                                    .send = on_send,
                                    .send_others = on_send_others,
                                    .eoi = on_eoi,
                                    .timer = on_timer,
                                    .now = now,
                                    .tsc = tsc,
                                    .who = v};
    const struct pv_host pv = {.pair = on_pair,
                               .now = now,
                               .day = day,
                               .flush = on_flush,
                               .wake = on_wake,
                               .send = on_send,
                               .who = v,
                               .mem = m->mem,
                               .lapic = &v->lapic,
                               .wall_clock = &m->wall_clock};
    int r;

    v->machine = m;
    v->index = index;
    v->untaken = -1;
    v->state = index == 0 ? VCPU_RUNS : VCPU_WAITS;
    atomic_store(&v->is_there, index < m->options.cpus);
    r = engine_create_cpu(m, index, e);
    if (r != 0) {
        return r;
    }
    v->power_on = fault_malloc(sizeof *v->power_on);
    if (v->power_on == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    cpu_get(v->cpu, v->power_on);
    lapic_init(&v->lapic, index, &host);
    pv_init(&v->pv, &pv, &m->features);
    return 0;
}

void vcpu_fini(struct vcpu *v)
{
    if (v->cpu != NULL) {
        cpu_destroy(v->cpu);
    }
    free(v->power_on);
    v->cpu = NULL;
    v->power_on = NULL;
}
