/* watchdog.c - a timer that the guest has to set back, lest it be taken for hung. */
#include "virt/monitor/dev/watchdog.h"

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define PERIOD_NS (UINT64_C(1000000) * WATCHDOG_PERIOD_MS)
#define COUNT     300u /* before anybody says another one */

struct watchdog {
    struct dev dev;
    struct watchdog_config config;
    struct board_timer timer; /* set while it runs */
    uint32_t count;
    bool was_over;
};

static void begin(struct watchdog *w)
{
    board_timer_set(w->dev.board, &w->timer,
                    board_now(w->dev.board) + w->count * PERIOD_NS);
}

static void on_over(struct board_timer *t)
{
    struct watchdog *w =
        (struct watchdog *)((char *)t - offsetof(struct watchdog, timer));

    w->was_over = true;
    w->config.over(w->config.who);
}

static uint32_t left(const struct watchdog *w)
{
    uint64_t now = board_now(w->dev.board);

    return !w->timer.set || now >= w->timer.at_ns
               ? 0
               : (uint32_t)((w->timer.at_ns - now + PERIOD_NS - 1) / PERIOD_NS);
}

static uint32_t value_of(const struct watchdog *w, uint64_t reg)
{
    switch (reg) {
    case WATCHDOG_CONTROL:
        return w->timer.set;
    case WATCHDOG_COUNT:
        return w->count;
    case WATCHDOG_LEFT:
        return left(w);
    default:
        return w->was_over;
    }
}

static uint64_t read_register(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return value_of(who, offset & ~UINT64_C(3)) >> (offset & 3) * 8;
}

static void control(struct watchdog *w, bool runs)
{
    if (!runs) {
        board_timer_clear(w->dev.board, &w->timer);
    } else if (!w->timer.set) {
        begin(w);
    }
}

/* Whole registers only. */
static void write_register(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct watchdog *w = who;

    if (bytes != 4) {
        return;
    }
    if (offset == WATCHDOG_CONTROL) {
        control(w, (v & 1) != 0);
    } else if (offset == WATCHDOG_STATUS) {
        w->was_over = false;
    } else if (offset == WATCHDOG_COUNT) {
        w->count = v == 0 ? 1 : v > WATCHDOG_MOST ? WATCHDOG_MOST : (uint32_t)v;
    }
    if ((offset == WATCHDOG_COUNT || offset == WATCHDOG_LEFT) && w->timer.set) {
        begin(w);
    }
}

/* What it was over for is told behind the reset. */
static void reset(struct dev *d)
{
    struct watchdog *w = (struct watchdog *)d;

    board_timer_clear(d->board, &w->timer);
    w->count = COUNT;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {
        .name = "watchdog", .read = read_register, .write = write_register};
    struct watchdog *w = (struct watchdog *)d;
    const struct board_claim claim = {WATCHDOG_PORT, WATCHDOG_PORTS, &io, w};

    w->config = *(const struct watchdog_config *)config;
    w->timer.fn = on_over;
    w->count = COUNT;
    return board_claim(d->board, BOARD_PORTS, &claim, e);
}

static void stop(struct dev *d)
{
    board_lock(d->board);
    board_timer_clear(d->board, &((struct watchdog *)d)->timer);
    board_unlock(d->board);
}

static void carry(struct dev *d, struct snap *s)
{
    struct watchdog *w = (struct watchdog *)d;
    bool is_set = snap_number(s, w->timer.set, 1) != 0;
    uint64_t at = snap_number(s, is_set ? w->timer.at_ns : 0, INT64_MAX);

    w->count = (uint32_t)snap_number(s, w->count, WATCHDOG_MOST);
    snap_bool(s, &w->was_over);
    if (s->is_loading) {
        board_timer_clear(d->board, &w->timer);
        if (is_set) {
            board_timer_set(d->board, &w->timer, at);
        }
    }
}

const struct dev_class dev_watchdog = {
    .name = "watchdog",
    .summary = "a timer that the guest has to set back",
    .source =
        "Microsoft, Hardware Watchdog Timers Design Specification: what WDAT can say",
    .state_bytes = sizeof(struct watchdog),
    .start = start,
    .reset = reset,
    .carry = carry,
    .stop = stop,
};
