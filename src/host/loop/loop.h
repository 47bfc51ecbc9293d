/* loop.h - one thread's event loop: descriptors, timers, tasks and strands.
 *
 * A loop runs handlers on one thread, none of which blocks; work that has to
 * wait runs in strands (base/strand.h) and suspends.  Files are read and written
 * through host/loop/file_io.h.
 *
 * Two drivers with the same promises: `ring` waits for everything in one io_uring;
 * `crew` waits in epoll and leaves file operations to a few threads, for hosts that
 * forbid io_uring.
 *
 * Threads: everything but `loop_post` on the loop's own thread. */
#ifndef HOST_LOOP_LOOP_H
#define HOST_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct strand_pool;

enum loop_driver_kind {
    LOOP_DRIVER_AUTO, /* ring where the host lets us, crew elsewhere */
    LOOP_DRIVER_RING,
    LOOP_DRIVER_CREW,
    LOOP_DRIVER_KIND_COUNT
};

int loop_create(enum loop_driver_kind kind, struct loop **ret_loop, struct err *e);

/* No strand may be waiting and no watch set.  NULL is allowed. */
void loop_destroy(struct loop *l);

struct strand_pool *loop_strands(struct loop *l);
const char *loop_driver_name(const struct loop *l); /* "ring" or "crew" */

/* Handle what there is, waiting at most `timeout_ms` (-1: as long as it takes) for
 * something to come.  0 or -errno of a driver that no longer works. */
int loop_turn(struct loop *l, int timeout_ms);

/* Whether a turn that does not wait would find nothing of its own: no task, no timer that is
 * due, no file operation under way.  Descriptors may have something. */
bool loop_is_idle(struct loop *l);

/* Turn until `loop_stop`. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Run fn(arg) in a strand and turn until it has returned; its answer.  Not from
 * inside a strand. */
int loop_do(struct loop *l, int (*fn)(void *arg), void *arg);

/* Monotonic, of the last time that the loop looked at the clock: cheap. */
uint64_t loop_now_ns(const struct loop *l);

/* A descriptor that is watched; level triggered.  The owner's storage, from
 * `loop_watch` until `loop_unwatch`. */
struct loop_watch {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT; EPOLLERR and EPOLLHUP always */
    void (*fn)(struct loop_watch *w, uint32_t events);
    struct loop *loop; /* set by `loop_watch` */
    void *driver_mark; /* of the driver */
    struct loop_watch *next;
};

int loop_watch(struct loop *l, struct loop_watch *w);
int loop_watch_change(struct loop_watch *w, uint32_t events); /* 0: none for now */
void loop_unwatch(struct loop_watch *w); /* not set: nothing happens */

/* In a strand: until one of `events` comes (their bits), or -ETIMEDOUT. */
int loop_wait_fd(struct loop *l, int fd, uint32_t events, int64_t timeout_ns);

struct loop_timer {
    uint64_t at_ns;
    void (*fn)(struct loop_timer *t); /* once, at `at_ns` or soon after */
    struct loop_timer *next;
    bool set;
};

/* Set, or set anew, to fire `after_ns` from now. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t after_ns);
void loop_timer_clear(struct loop *l, struct loop_timer *t);

/* In a strand. */
void loop_sleep(struct loop *l, uint64_t ns);

/* Something to do once, at the end of this turn: replies that are gathered. */
struct loop_task {
    void (*fn)(struct loop_task *t);
    struct loop_task *next;
    bool queued;
};

void loop_later(struct loop *l, struct loop_task *t); /* queued already: once */

/* From any thread, one poster at a time per task: run it on the loop's thread. */
void loop_post(struct loop *l, struct loop_task *t);

/* Looks for work without waiting; true: found some.  After `loop_expect_more`, and while
 * looks find something, the loop spins for up to `LOOP_SPIN_NS` before it sleeps,
 * which saves the wake-up of a busy peer; an idle loop sleeps. */
struct loop_poller {
    bool (*fn)(struct loop_poller *p);

    /* The loop is about to sleep: ask the peer to wake it, where that was put off; true:
     * it must not, there is work.  NULL: the peer does so anyway. */
    bool (*rest)(struct loop_poller *p);
    struct loop_poller *next;
};

#define LOOP_SPIN_NS 50000

/* More is likely to come at once: look around before the next sleep. */
void loop_expect_more(struct loop *l);

/* Whether requests wait while the next one is begun: a big copy from a file goes to another
 * thread then, and this one goes on.  Who says so calls `loop_collect` between them, which lets
 * strands go on whose copies are made. */
void loop_have_more(struct loop *l, bool more);
bool loop_collect(struct loop *l); /* whether there were any */

void loop_poller_add(struct loop *l, struct loop_poller *p);
void loop_poller_remove(struct loop *l, struct loop_poller *p);

#endif
