/* ring.c - the driver that waits for everything in one io_uring.
 *
 * File operations and descriptor watches are entries of one ring; a turn submits
 * what was queued and waits, in one call of the kernel.  A watch is a poll that is
 * asked once and, after its handler, again: level triggered, as a new poll looks at
 * the descriptor before it waits.
 *
 * Each watch has a `poll` on the heap, since the kernel's answers may come after the
 * owner has gone: `watch` NULL then, and the last answer frees it.  A poll whose
 * descriptor just woke cannot be taken back (-EALREADY) and yet may go to sleep
 * again, if somebody else has read what woke it: the removal is repeated until the poll has
 * answered.  A poll left behind would keep the descriptor's file open.
 *
 * Sources: io_uring(7), io_uring_enter(2); flags SINGLE_ISSUER and DEFER_TASKRUN
 * (Linux 6.1) let the kernel finish work only where this thread asks for it. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "host/loop/private.h"

#ifndef IORING_SETUP_SINGLE_ISSUER
#    define IORING_SETUP_SINGLE_ISSUER (1u << 12) /* linux/io_uring.h, 6.0 */
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#    define IORING_SETUP_DEFER_TASKRUN (1u << 13) /* linux/io_uring.h, 6.1 */
#endif

#define RING_ENTRIES 256
#define MARK_POLL    1u /* lowest bits of the user data: a poll, not a job, */
#define MARK_REMOVAL 2u /* or the removal of one */
#define MARKS        (MARK_POLL | MARK_REMOVAL)

struct poll {
    struct loop_watch *watch; /* NULL: nobody waits for the answer */
    uint32_t events;          /* that the kernel was asked for */
    bool asked;               /* an answer will come */
    unsigned removals;        /* answers of removals that will come */
    bool handling;            /* its handler runs; what changes is seen after it */
};

struct state {
    struct io_uring ring;
    unsigned in_flight;
};

static struct io_uring_sqe *next_sqe(struct state *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

    while (sqe == NULL) { /* the queue is full: hand it over */
        (void)io_uring_submit(&s->ring);
        sqe = io_uring_get_sqe(&s->ring);
    }
    return sqe;
}

/* A filter of system calls does not see what goes through a ring: whoever takes this process
 * over finds one that opens nothing and connects nowhere. */
static int restrict_ring(struct io_uring *ring)
{
    static const uint8_t ops[] = {IORING_OP_READV,    IORING_OP_WRITEV,
                                  IORING_OP_FSYNC,    IORING_OP_FALLOCATE,
                                  IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE,
                                  IORING_OP_TIMEOUT /* liburing's, before Linux 5.11 */};
    struct io_uring_restriction list[sizeof ops] = {{0}};

    for (size_t i = 0; i < sizeof ops; i++) {
        list[i].opcode = IORING_RESTRICTION_SQE_OP;
        list[i].sqe_op = ops[i];
    }
    /* not by liburing, whose library lacks the two calls of its header in 2.3 */
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS,
                   list, sizeof ops) < 0 ||
                   syscall(SYS_io_uring_register, ring->ring_fd,
                           IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0
               ? -errno
               : 0;
}

/* From all that the kernel can, down to what the oldest knows. */
static int make_ring(struct io_uring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CLAMP |
            IORING_SETUP_R_DISABLED,
        IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED, IORING_SETUP_CLAMP};
    int r = -EINVAL;

    for (size_t i = 0; r == -EINVAL && i < sizeof flags / sizeof flags[0]; i++) {
        struct io_uring_params p = {.flags = flags[i]};

        r = io_uring_queue_init_params(RING_ENTRIES, ring, &p);
        if (r == 0 && (flags[i] & IORING_SETUP_R_DISABLED) != 0) {
            r = restrict_ring(ring);
            if (r < 0) {
                io_uring_queue_exit(ring);
            }
        }
    }
    return r;
}

static int ring_create(struct loop *l)
{
    struct state *s = fault_calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        return -ENOMEM;
    }
    r = make_ring(&s->ring);
    if (r == 0 && loop_crew_create(l) != 0) {
        io_uring_queue_exit(&s->ring);
        r = -ENOMEM;
    }
    if (r != 0) {
        free(s);
        return r;
    }
    l->state = s;
    return 0;
}

static void answer(struct loop *l, uint64_t data, int result);

/* Collect the answers of polls that nobody wants any more. */
static void ring_destroy(struct loop *l)
{
    struct state *s = l->state;
    struct io_uring_cqe *cqe;

    while (s->in_flight > 0 && io_uring_submit_and_wait(&s->ring, 1) >= 0) {
        while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
            uint64_t data = cqe->user_data;
            int result = cqe->res;

            io_uring_cqe_seen(&s->ring, cqe);
            answer(l, data, result);
        }
    }
    io_uring_queue_exit(&s->ring);
    free(s);
}

static void ring_submit(struct loop *l, struct job *j)
{
    struct state *s = l->state;
    struct io_uring_sqe *sqe;

    if (j->kind == JOB_CALL) {
        loop_crew_submit(l, j);
        return;
    }
    sqe = next_sqe(s);
    switch (j->kind) {
    case JOB_READ:
        io_uring_prep_readv(sqe, j->fd, j->iov, j->count, j->off);
        break;
    case JOB_WRITE:
        io_uring_prep_writev2(sqe, j->fd, j->iov, j->count, j->off,
                              j->sync ? RWF_DSYNC : 0);
        break;
    case JOB_SYNC:
        io_uring_prep_fsync(sqe, j->fd, IORING_FSYNC_DATASYNC);
        break;
    default:
        io_uring_prep_fallocate(sqe, j->fd, j->mode, (off_t)j->off, (off_t)j->bytes);
        break;
    }
    io_uring_sqe_set_data(sqe, j);
    s->in_flight++;
}

/* ---- watches ---- */

static void ask(struct state *s, struct poll *p)
{
    struct io_uring_sqe *sqe = next_sqe(s);

    p->events = p->watch->events;
    io_uring_prep_poll_add(sqe, p->watch->fd, p->events | POLLERR | POLLHUP);
    io_uring_sqe_set_data64(sqe, (uintptr_t)p | MARK_POLL);
    p->asked = true;
    s->in_flight++;
}

static void take_back(struct state *s, struct poll *p)
{
    struct io_uring_sqe *sqe = next_sqe(s);

    io_uring_prep_poll_remove(sqe, (uintptr_t)p | MARK_POLL);
    io_uring_sqe_set_data64(sqe, (uintptr_t)p | MARK_REMOVAL);
    p->removals++;
    s->in_flight++;
}

/* Nobody waits for it, and nothing of it will come any more. */
static void free_if_over(struct poll *p)
{
    if (p->watch == NULL && !p->asked && p->removals == 0 && !p->handling) {
        free(p);
    }
}

static int ring_watch(struct loop *l, struct loop_watch *w)
{
    struct poll *p = w->driver_mark;

    if (p == NULL) {
        p = fault_calloc(1, sizeof *p);
        if (p == NULL) {
            return -ENOMEM;
        }
        p->watch = w;
        w->driver_mark = p;
    }
    if (p->handling) {
        return 0;
    }
    if (!p->asked && w->events != 0) {
        ask(l->state, p);
    } else if (p->asked && p->removals == 0 && (w->events & ~p->events) != 0) {
        take_back(l->state, p); /* answered with -ECANCELED, and asked anew */
    }
    return 0;
}

static void ring_unwatch(struct loop *l, struct loop_watch *w)
{
    struct poll *p = w->driver_mark;

    if (p == NULL) {
        return;
    }
    w->driver_mark = NULL;
    p->watch = NULL;
    if (p->asked && p->removals == 0) {
        take_back(l->state, p);
    }
    free_if_over(p);
}

static void answer_poll(struct loop *l, struct poll *p, int result)
{
    struct loop_watch *w = p->watch;

    p->asked = false;
    if (w != NULL && result > 0) {
        uint32_t wanted = w->events | POLLERR | POLLHUP;

        if (((uint32_t)result & wanted) != 0 && w->events != 0) {
            p->handling = true;
            w->fn(w, (uint32_t)result & wanted);
            p->handling = false;
        }
    }
    if (p->watch != NULL && p->watch->events != 0) {
        ask(l->state, p);
    }
    free_if_over(p);
}

static void answer_removal(struct loop *l, struct poll *p, int result)
{
    p->removals--;
    if (result == -EALREADY && p->asked && p->removals == 0) {
        take_back(l->state, p);
    }
    free_if_over(p);
}

static void answer(struct loop *l, uint64_t data, int result)
{
    struct state *s = l->state;
    void *at = (void *)(uintptr_t)(data & ~(uint64_t)MARKS);

    s->in_flight--;
    if ((data & MARK_POLL) != 0) {
        answer_poll(l, at, result);
    } else if ((data & MARK_REMOVAL) != 0) {
        answer_removal(l, at, result);
    } else {
        struct job *j = at;

        j->result = result;
        loop_job_done(j);
    }
}

static int ring_wait(struct loop *l, int64_t timeout_ns)
{
    struct state *s = l->state;
    struct __kernel_timespec t = {.tv_sec = timeout_ns / 1000000000,
                                  .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_cqe *cqe = NULL;
    int r;

    if (timeout_ns == 0) {
        r = io_uring_submit_and_get_events(&s->ring);
    } else {
        r = io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1,
                                             timeout_ns < 0 ? NULL : &t, NULL);
    }
    if (r < 0 && r != -ETIME && r != -EINTR && r != -EAGAIN && r != -EBUSY) {
        return r;
    }
    while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
        uint64_t data = cqe->user_data;
        int result = cqe->res;

        io_uring_cqe_seen(&s->ring, cqe);
        answer(l, data, result);
    }
    return 0;
}

const struct loop_driver loop_ring_driver = {
    .name = "ring",
    .create = ring_create,
    .destroy = ring_destroy,
    .submit = ring_submit,
    .watch = ring_watch,
    .unwatch = ring_unwatch,
    .wait = ring_wait,
};
