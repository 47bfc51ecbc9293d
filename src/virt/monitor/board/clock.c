/* clock.c - the machine's time, and timers on the event loop. */
#include "virt/monitor/board/private.h"

#include <time.h>

#include "contract/snap.h"

static uint64_t host_ns(clockid_t which)
{
    struct timespec t;

    (void)clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t board_now(const struct board *b)
{
    return atomic_load_explicit(&b->is_stopped, memory_order_acquire)
               ? atomic_load_explicit(&b->stopped_ns, memory_order_relaxed)
               : host_ns(CLOCK_MONOTONIC) -
                     atomic_load_explicit(&b->since_ns, memory_order_relaxed);
}

uint64_t board_day_ns(const struct board *b)
{
    return b->is_counted ? BOARD_EPOCH_S * 1000000000u + board_now(b)
                         : host_ns(CLOCK_REALTIME);
}

/* On the loop's thread, under the lock. */
static void arm(struct board *b)
{
    uint64_t now = board_now(b);

    if (b->timers == NULL || atomic_load(&b->is_stopped)) {
        loop_timer_clear(b->loop, &b->wake);
        b->armed_ns = UINT64_MAX;
        return;
    }
    b->armed_ns = b->timers->at_ns;
    loop_timer_set(b->loop, &b->wake, b->armed_ns > now ? b->armed_ns - now : 0);
}

static void fire(struct board *b)
{
    while (b->timers != NULL && !atomic_load(&b->is_stopped) &&
           b->timers->at_ns <= board_now(b)) {
        struct board_timer *t = b->timers;

        b->timers = t->next;
        t->set = false;
        t->fn(t);
    }
}

static void on_wake(struct loop_timer *t)
{
    struct board *b = (struct board *)((char *)t - offsetof(struct board, wake));

    board_lock(b);
    fire(b);
    arm(b);
    board_unlock(b);
}

static void on_post(struct loop_task *t)
{
    struct board *b = (struct board *)((char *)t - offsetof(struct board, post));

    board_lock(b);
    b->is_posted = false;
    fire(b);
    arm(b);
    board_unlock(b);
}

/* The loop looks at the timers anew. */
static void post(struct board *b)
{
    if (!b->is_posted && !b->is_counted) {
        b->is_posted = true;
        loop_post(b->loop, &b->post);
    }
}

void board_timer_clear(struct board *b, struct board_timer *t)
{
    struct board_timer **at = &b->timers;

    if (!t->set) {
        return;
    }
    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    t->set = false; /* the loop wakes once for nothing */
}

void board_timer_set(struct board *b, struct board_timer *t, uint64_t at_ns)
{
    struct board_timer **at = &b->timers;

    board_timer_clear(b, t);
    t->at_ns = at_ns;
    while (*at != NULL && (*at)->at_ns <= at_ns) {
        at = &(*at)->next;
    }
    t->next = *at;
    t->set = true;
    *at = t;
    if (at_ns < b->armed_ns) {
        post(b);
    }
}

void board_pause(struct board *b)
{
    board_lock(b);
    if (!atomic_load(&b->is_stopped)) {
        atomic_store(&b->stopped_ns, board_now(b));
        atomic_store(&b->is_stopped, true);
        post(b);
    }
    board_unlock(b);
}

void board_resume(struct board *b)
{
    board_lock(b);
    if (atomic_load(&b->is_stopped) && !b->is_counted) {
        atomic_store(&b->since_ns,
                     host_ns(CLOCK_MONOTONIC) - atomic_load(&b->stopped_ns));
        atomic_store(&b->is_stopped, false);
        post(b);
    }
    board_unlock(b);
}

void board_set_now(struct board *b, uint64_t ns)
{
    atomic_store(&b->stopped_ns, ns);
}

/* ---- time that is counted ---- */

void board_count_time(struct board *b)
{
    b->is_counted = true;
}

uint64_t board_next_due(const struct board *b)
{
    return b->timers != NULL ? b->timers->at_ns : UINT64_MAX;
}

void board_advance(struct board *b, uint64_t to_ns)
{
    board_lock(b);
    while (b->timers != NULL && b->timers->at_ns <= to_ns) {
        struct board_timer *t = b->timers;

        if (t->at_ns > board_now(b)) {
            board_set_now(b, t->at_ns);
        }
        b->timers = t->next;
        t->set = false;
        t->fn(t);
    }
    board_set_now(b, to_ns);
    board_unlock(b);
}

void board_carry(struct board *b, struct snap *s)
{
    uint64_t now = board_now(b);

    now = snap_number(s, now, INT64_MAX);
    SNAP_FIELD(s, b->lines);
    if (s->is_loading && snap_error(s) == 0) {
        board_set_now(b, now);
    }
}

/* A board begins paused, at 0. */
void clock_init(struct board *b)
{
    b->wake.fn = on_wake;
    b->post.fn = on_post;
    b->armed_ns = UINT64_MAX;
    atomic_store(&b->is_stopped, true);
}

/* The loop goes on without the board: nothing of it may be queued there. */
void clock_fini(struct board *b)
{
    while (b->is_posted && loop_turn(b->loop, 0) == 0) {
    }
    loop_timer_clear(b->loop, &b->wake);
}
