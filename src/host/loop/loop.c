/* loop.c - the turn of a loop, and what both drivers share.
 *
 * A turn: due timers, then the driver's wait (which calls handlers and resumes
 * strands), then the tasks put off to the end of the turn.  Tasks come last so
 * that what many handlers produced goes out in one call of the kernel.
 *
 * Spinning: a thread that sleeps takes several microseconds to wake up.  While a
 * poller found work in the last spin period the loop looks again and again before it
 * sleeps; each fruitless period ends in a real wait, so an idle loop costs nothing, and
 * keeps it from spinning for a while that doubles each time: the peer may be waiting for this
 * processor.  So does the sight of somebody else having had it in between.  (Yielding
 * it instead gives away a whole slice for each look.) */
#include "host/loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/private.h"

#define NS_PER_MS     1000000
#define TAKEN_AWAY_NS 20000    /* two looks so far apart: another thread has run here */
#define COOL_MOST_NS  10000000 /* without spinning */
#define SKIPS_MOST    16 /* turns without asking the driver, while pollers are busy */

uint64_t loop_clock_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void loop_have_more(struct loop *l, bool more)
{
    l->more = more;
}

bool loop_collect(struct loop *l)
{
    return l->lent > 0 && loop_crew_collect(l->crew);
}

/* ---- tasks ---- */

void loop_later(struct loop *l, struct loop_task *t)
{
    if (t->queued) {
        return;
    }
    t->queued = true;
    t->next = NULL;
    *l->tasks_end = t;
    l->tasks_end = &t->next;
}

static void run_tasks(struct loop *l)
{
    struct loop_task *t = l->tasks;

    l->tasks = NULL;
    l->tasks_end = &l->tasks;
    while (t != NULL) {
        struct loop_task *next = t->next;

        t->queued = false;
        t->fn(t);
        t = next;
    }
}

void loop_post(struct loop *l, struct loop_task *t)
{
    uint64_t one = 1;
    bool first;

    (void)pthread_mutex_lock(&l->post_lock);
    first = l->posted == NULL;
    t->next = l->posted;
    l->posted = t;
    (void)pthread_mutex_unlock(&l->post_lock);
    if (first) {
        ssize_t n = write(l->post_fd, &one, sizeof one);

        (void)n; /* the counter cannot overflow */
    }
}

static void take_posted(struct loop_watch *w, uint32_t events)
{
    struct loop *l = w->loop;
    struct loop_task *t;
    struct loop_task *in_order = NULL;
    uint64_t count;
    ssize_t n = read(l->post_fd, &count, sizeof count);

    (void)n;
    (void)events;
    (void)pthread_mutex_lock(&l->post_lock);
    t = l->posted;
    l->posted = NULL;
    (void)pthread_mutex_unlock(&l->post_lock);
    while (t != NULL) {
        struct loop_task *next = t->next;

        t->next = in_order;
        in_order = t;
        t = next;
    }
    while (in_order != NULL) {
        struct loop_task *next = in_order->next;

        in_order->fn(in_order);
        in_order = next;
    }
}

/* ---- timers ---- */

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    struct loop_timer **at = &l->timers;

    if (!t->set) {
        return;
    }
    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    t->set = false;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t after_ns)
{
    struct loop_timer **at = &l->timers;

    loop_timer_clear(l, t);
    l->now_ns = loop_clock_ns();
    t->at_ns = l->now_ns + after_ns;
    while (*at != NULL && (*at)->at_ns <= t->at_ns) {
        at = &(*at)->next;
    }
    t->next = *at;
    *at = t;
    t->set = true;
}

static bool run_timers(struct loop *l)
{
    bool any = false;

    while (l->timers != NULL && l->timers->at_ns <= l->now_ns) {
        struct loop_timer *t = l->timers;

        l->timers = t->next;
        t->set = false;
        t->fn(t);
        any = true;
    }
    return any;
}

/* A timer that lets a strand go on. */
struct alarm {
    struct loop_timer timer;
    struct strand *waiter;
    bool rang;
};

static void ring_alarm(struct loop_timer *t)
{
    struct alarm *a = (struct alarm *)t;

    a->rang = true;
    strand_resume(a->waiter);
}

void loop_sleep(struct loop *l, uint64_t ns)
{
    struct alarm a = {.timer.fn = ring_alarm, .waiter = strand_current(l->strands)};

    loop_timer_set(l, &a.timer, ns);
    strand_suspend(l->strands);
}

/* ---- descriptors ---- */

int loop_watch(struct loop *l, struct loop_watch *w)
{
    int r;

    w->driver_mark = NULL;
    r = l->driver->watch(l, w);
    w->loop = r == 0 ? l : NULL;
    return r;
}

int loop_watch_change(struct loop_watch *w, uint32_t events)
{
    if (w->events == events) {
        return 0;
    }
    w->events = events;
    return w->loop->driver->watch(w->loop, w);
}

void loop_unwatch(struct loop_watch *w)
{
    if (w->loop != NULL) {
        w->loop->driver->unwatch(w->loop, w);
        w->loop = NULL;
    }
}

struct fd_wait {
    struct loop_watch watch;
    struct alarm alarm;
    uint32_t came;
};

static void fd_came(struct loop_watch *w, uint32_t events)
{
    struct fd_wait *f = (struct fd_wait *)w;

    f->came = events;
    loop_unwatch(w);
    strand_resume(f->alarm.waiter);
}

int loop_wait_fd(struct loop *l, int fd, uint32_t events, int64_t timeout_ns)
{
    struct fd_wait f = {
        .watch = {.fd = fd, .events = events, .fn = fd_came},
        .alarm = {.timer.fn = ring_alarm, .waiter = strand_current(l->strands)},
    };
    int r = loop_watch(l, &f.watch);

    if (r != 0) {
        return r;
    }
    if (timeout_ns >= 0) {
        loop_timer_set(l, &f.alarm.timer, (uint64_t)timeout_ns);
    }
    strand_suspend(l->strands);
    loop_timer_clear(l, &f.alarm.timer);
    loop_unwatch(&f.watch);
    return f.alarm.rang ? -ETIMEDOUT : (int)f.came;
}

/* ---- the turn ---- */

void loop_poller_add(struct loop *l, struct loop_poller *p)
{
    p->next = l->pollers;
    l->pollers = p;
}

void loop_poller_remove(struct loop *l, struct loop_poller *p)
{
    for (struct loop_poller **at = &l->pollers; *at != NULL; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            return;
        }
    }
}

void loop_expect_more(struct loop *l)
{
    l->hot_until_ns = l->now_ns + 4 * (uint64_t)LOOP_SPIN_NS;
}

static bool poll_all(struct loop *l)
{
    bool found = false;

    for (struct loop_poller *p = l->pollers; p != NULL;) {
        struct loop_poller *next = p->next; /* it may remove itself */

        found = p->fn(p) || found;
        p = next;
    }
    return loop_collect(l) || found;
}

/* Do without for a while, twice as long as the last time if that was for nothing, too. */
static bool give_up(struct loop *l, uint64_t least_ns)
{
    l->cool_ns = l->cool_ns < least_ns ? least_ns : l->cool_ns * 2;
    l->cool_ns = l->cool_ns < COOL_MOST_NS ? l->cool_ns : COOL_MOST_NS;
    l->cool_until_ns = l->now_ns + l->cool_ns;
    return false;
}

/* Before a sleep; whether there is work after all. */
static bool rest_all(struct loop *l)
{
    bool any = false;

    for (struct loop_poller *p = l->pollers; p != NULL;) {
        struct loop_poller *next = p->next;

        if (p->rest != NULL && p->rest(p)) {
            (void)p->fn(p);
            any = true;
        }
        p = next;
    }
    return any;
}

/* Look around for a short while; whether something was found. */
static bool spin(struct loop *l)
{
    uint64_t end = l->now_ns + LOOP_SPIN_NS;

    if (l->now_ns >= l->hot_until_ns || l->now_ns < l->cool_until_ns) {
        return false;
    }
    for (;;) {
        uint64_t before = l->now_ns;

        if (poll_all(l)) {
            l->cool_ns = 0;
            loop_expect_more(l);
            return true;
        }
        l->now_ns = loop_clock_ns();
        if (l->now_ns - before > TAKEN_AWAY_NS) {
            return give_up(l, COOL_MOST_NS);
        }
        if (l->now_ns >= end) {
            return give_up(l, LOOP_SPIN_NS);
        }
    }
}

/* How long the driver may sleep; 0: not at all. */
static int64_t patience(const struct loop *l, int timeout_ms)
{
    int64_t ns = timeout_ms < 0 ? -1 : (int64_t)timeout_ms * NS_PER_MS;

    if (l->tasks != NULL || l->stopping) {
        return 0;
    }
    if (l->timers != NULL) {
        int64_t due =
            l->timers->at_ns > l->now_ns ? (int64_t)(l->timers->at_ns - l->now_ns) : 0;

        ns = ns < 0 || due < ns ? due : ns;
    }
    return ns;
}

int loop_turn(struct loop *l, int timeout_ms)
{
    bool busy = false; /* pollers bring enough: the driver may wait a little */
    int64_t ns;
    int r = 0;

    l->now_ns = loop_clock_ns();
    ns = run_timers(l) ? 0 : patience(l, timeout_ms);
    if (ns != 0 && l->pollers != NULL && l->jobs == l->lent && spin(l)) {
        ns = 0;
        busy = l->jobs == l->lent && ++l->skipped < SKIPS_MOST;
    } else if (ns != 0 && rest_all(l)) {
        ns = 0;
    }
    if (!busy) {
        r = l->driver->wait(l, ns);
        l->skipped = 0;
    }
    l->now_ns = loop_clock_ns();
    (void)run_timers(l);
    run_tasks(l);
    return r;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}

bool loop_is_idle(struct loop *l)
{
    bool is_posted;

    (void)pthread_mutex_lock(&l->post_lock);
    is_posted = l->posted != NULL;
    (void)pthread_mutex_unlock(&l->post_lock);
    return !is_posted && l->tasks == NULL && l->jobs == 0 &&
           (l->timers == NULL || l->timers->at_ns > loop_clock_ns());
}

int loop_run(struct loop *l)
{
    int r = 0;

    l->stopping = false;
    while (r == 0 && !l->stopping) {
        r = loop_turn(l, -1);
    }
    return r;
}

struct doing {
    int (*fn)(void *arg);
    void *arg;
    int result;
    bool done;
};

static void do_it(void *arg)
{
    struct doing *d = arg;

    d->result = d->fn(d->arg);
    d->done = true;
}

int loop_do(struct loop *l, int (*fn)(void *arg), void *arg)
{
    struct doing d = {.fn = fn, .arg = arg};
    int r = strand_start(l->strands, do_it, &d);

    while (r == 0 && !d.done) {
        r = loop_turn(l, -1);
    }
    return r != 0 ? r : d.result;
}

uint64_t loop_now_ns(const struct loop *l)
{
    return l->now_ns;
}

struct strand_pool *loop_strands(struct loop *l)
{
    return l->strands;
}

const char *loop_driver_name(const struct loop *l)
{
    return l->driver->name;
}

/* ---- life ---- */

static int start_driver(struct loop *l, enum loop_driver_kind kind, struct err *e)
{
    int r = -ENOSYS;

    if (kind != LOOP_DRIVER_CREW) {
        l->driver = &loop_ring_driver;
        r = l->driver->create(l);
    }
    if (r != 0 && kind != LOOP_DRIVER_RING) {
        l->driver = &loop_crew_driver;
        r = l->driver->create(l);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot start the event loop");
}

int loop_create(enum loop_driver_kind kind, struct loop **ret_loop, struct err *e)
{
    struct loop *l = fault_calloc(1, sizeof *l);
    int r;

    if (l == NULL) {
        return err_sys(e, -ENOMEM, "cannot start the event loop");
    }
    l->tasks_end = &l->tasks;
    (void)pthread_mutex_init(&l->post_lock, NULL);
    l->post_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = l->post_fd < 0 ? err_sys(e, -errno, "cannot start the event loop") : 0;
    if (r == 0 && strand_pool_create(&l->strands) != 0) {
        r = err_sys(e, -ENOMEM, "cannot start the event loop");
    }
    if (r == 0) {
        r = start_driver(l, kind, e);
        l->driver = r == 0 ? l->driver : NULL;
    }
    if (r == 0) {
        l->post_watch =
            (struct loop_watch){.fd = l->post_fd, .events = EPOLLIN, .fn = take_posted};
        r = loop_watch(l, &l->post_watch);
    }
    if (r != 0) {
        loop_destroy(l);
        return err_sys(e, r, "cannot start the event loop");
    }
    l->now_ns = loop_clock_ns();
    *ret_loop = l;
    return 0;
}

void loop_destroy(struct loop *l)
{
    if (l == NULL) {
        return;
    }
    loop_crew_destroy(l);
    loop_unwatch(&l->post_watch);
    if (l->driver != NULL) {
        l->driver->destroy(l);
    }
    strand_pool_destroy(l->strands);
    if (l->post_fd >= 0) {
        (void)close(l->post_fd);
    }
    (void)pthread_mutex_destroy(&l->post_lock);
    free(l);
}
