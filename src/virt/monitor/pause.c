/* pause.c - everything of a guest stands still, and goes on.
 *
 * The machine's time stops (time.c), so that the guest misses none of it; every vCPU leaves
 * its run between two instructions and parks; then devices finish what they took.
 * Engines look at kicks behind every block, halted and waiting vCPUs are woken: what takes
 * longer than `PARK_MOST_MS` is a fault of ours, what takes devices longer than
 * `REST_MOST_MS` one of the disk or network behind them. */
#include <errno.h>

#include "base/err.h"
#include "virt/monitor/private.h"

#define PARK_MOST_MS 10000u
#define REST_MOST_MS 30000u
#define NS_OF_MS     UINT64_C(1000000)

static uint64_t host_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- vCPUs ---- */

void pause_count_thread(struct machine *m, int change)
{
    (void)pthread_mutex_lock(&m->lock);
    m->threads += (unsigned)change;
    (void)pthread_cond_broadcast(&m->moved);
    (void)pthread_mutex_unlock(&m->lock);
}

void pause_park(struct vcpu *v)
{
    struct machine *m = v->machine;

    (void)pthread_mutex_lock(&m->lock);
    m->parked++;
    (void)pthread_cond_broadcast(&m->moved);
    while ((atomic_load(&m->holds) != 0 || atomic_load(&v->is_held)) &&
           !atomic_load(&m->is_over)) {
        (void)pthread_cond_wait(&m->moved, &m->lock);
    }
    m->parked--;
    (void)pthread_mutex_unlock(&m->lock);
}

void pause_hold(struct machine *m, uint32_t why, uint32_t ask)
{
    atomic_fetch_or(&m->holds, why);
    for (unsigned i = 0; i < m->cpus; i++) {
        vcpu_kick(&m->vcpu[i], CPU_KICK_STOP);
    }
    machine_ask(m, ask);
}

void pause_release(struct machine *m, uint32_t holds)
{
    (void)pthread_mutex_lock(&m->lock);
    atomic_fetch_and(&m->holds, ~holds);
    (void)pthread_cond_broadcast(&m->moved);
    (void)pthread_mutex_unlock(&m->lock);
}

static int park_all(struct machine *m, struct err *e)
{
    uint64_t until = host_ns() + PARK_MOST_MS * NS_OF_MS;
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
                         .tv_nsec = (long)(until % 1000000000u)};
    unsigned missing;
    int r = 0;

    atomic_fetch_or(&m->holds, HOLD_PAUSE);
    for (unsigned i = 0; i < m->cpus; i++) {
        vcpu_kick(&m->vcpu[i], CPU_KICK_STOP);
    }
    (void)pthread_mutex_lock(&m->lock);
    while (r == 0 && m->parked < m->threads && !atomic_load(&m->is_over)) {
        r = pthread_cond_timedwait(&m->moved, &m->lock, &t);
    }
    missing = m->threads - m->parked;
    (void)pthread_mutex_unlock(&m->lock);
    if (atomic_load(&m->is_over)) {
        return err_set(e, -ESHUTDOWN, "the machine has ended");
    }
    return missing == 0 ? 0
                        : err_set(e, -ETIMEDOUT,
                                  "cannot pause: %u processors did not stop", missing);
}

/* ---- devices ---- */

static struct dev *first_busy(struct machine *m)
{
    struct dev *busy = NULL;

    for (unsigned i = 0; i < m->devices; i++) {
        struct dev *d = m->dev[i];

        if (d->class->rest != NULL && !d->class->rest(d) && busy == NULL) {
            busy = d;
        }
    }
    return busy;
}

static int rest_all(struct machine *m, struct err *e)
{
    uint64_t until = host_ns() + REST_MOST_MS * NS_OF_MS;
    struct dev *busy = first_busy(m);

    while (busy != NULL && host_ns() < until) {
        (void)loop_turn(m->loop, 1);
        busy = first_busy(m);
    }
    return busy == NULL
               ? 0
               : err_set(e, -ETIMEDOUT,
                         "cannot pause: device '%s' does not finish its requests",
                         busy->class->name);
}

static void go_on(struct machine *m)
{
    for (unsigned i = 0; i < m->devices; i++) {
        if (m->dev[i]->class->wake != NULL) {
            m->dev[i]->class->wake(m->dev[i]);
        }
    }
    if (m->is_running) {
        time_start(m);
    }
    pause_release(m, HOLD_PAUSE);
}

/* ---- the face ---- */

int machine_pause(struct machine *m, struct err *e)
{
    int r;

    if (m->is_moving) {
        return err_set(e, -EBUSY, "cannot pause: the machine is just being paused");
    }
    if (m->pauses > 0) {
        m->pauses++;
        return 0;
    }
    m->is_moving = true;
    time_stop_first(m);
    r = park_all(m, e);
    time_stop(m);
    r = r == 0 ? rest_all(m, e) : r;
    if (r != 0) {
        go_on(m);
    }
    m->pauses = r == 0;
    m->is_moving = false;
    return r;
}

int machine_resume(struct machine *m, struct err *e)
{
    if (m->is_moving) {
        return err_set(e, -EBUSY, "cannot resume: the machine is just being paused");
    }
    if (m->pauses == 0) {
        return err_set(e, -EINVAL, "cannot resume: the machine is not paused");
    }
    if (--m->pauses == 0) {
        go_on(m);
    }
    return 0;
}

bool machine_is_paused(const struct machine *m)
{
    return m->pauses > 0;
}

/* ---- requests from other threads ---- */

void machine_ask(struct machine *m, uint32_t asks)
{
    (void)pthread_mutex_lock(&m->lock);
    m->asks |= asks;
    if (!m->is_asked) {
        m->is_asked = true;
        loop_post(m->loop, &m->ask);
    }
    (void)pthread_mutex_unlock(&m->lock);
}

void pause_drain(struct machine *m)
{
    bool is_asked = true;

    while (is_asked) {
        (void)pthread_mutex_lock(&m->lock);
        is_asked = m->is_asked;
        (void)pthread_mutex_unlock(&m->lock);
        if (is_asked) {
            (void)loop_turn(m->loop, 0);
        }
    }
}

static void on_ask(struct loop_task *t)
{
    struct machine *m = (struct machine *)((char *)t - offsetof(struct machine, ask));
    uint32_t asks;

    (void)pthread_mutex_lock(&m->lock);
    asks = m->asks;
    m->asks = 0;
    m->is_asked = false;
    (void)pthread_mutex_unlock(&m->lock);
    if (atomic_load(&m->is_over)) {
        return;
    }
    if ((asks & ASK_CRASH) != 0) {
        m->options.crashed(m->options.who);
    }
    if ((asks & MACHINE_ASK_RESET) != 0) {
        reset_serve(m);
    }
    if ((asks & ASK_DEBUG) != 0) {
        debug_serve(m);
    }
    if ((asks & ASK_PLACE) != 0) {
        display_serve(m);
    }
    if ((asks & MACHINE_ASK_PAUSE) != 0) {
        (void)machine_pause(m, NULL);
    }
    if ((asks & MACHINE_ASK_RESUME) != 0) {
        (void)machine_resume(m, NULL);
    }
}

void pause_init(struct machine *m)
{
    pthread_condattr_t a;

    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_condattr_init(&a);
    (void)pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->moved, &a);
    (void)pthread_condattr_destroy(&a);
    m->ask.fn = on_ask;
}

void pause_fini(struct machine *m)
{
    (void)pthread_cond_destroy(&m->moved);
    (void)pthread_mutex_destroy(&m->lock);
}
