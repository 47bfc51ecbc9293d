/* file_io.c - files read and written from inside strands.
 *
 * A read of a buffered file is tried with RWF_NOWAIT first: what the page cache
 * holds costs one call and no hand-over; a file system that does not know the flag (tmpfs)
 * is read as it is written.  A buffered write copies into the page cache
 * and as a rule does not wait; it is made in place, and timed.  One that took
 * longer than `SLOW_NS` (the kernel throttles whoever dirties too much) and is not
 * alone sends the next ones through the driver for `SLOW_PERIOD_NS`; a single one may be this
 * thread's turn to leave the processor to others.
 *
 * While requests wait (`loop_have_more`) a big read is copied by a thread of the crew and this
 * one takes the next: two copies side by side where there are two processors.  That thread
 * may have one more waiting, so that it does not sleep in between.  A copy that took longer than
 * `LEND_SLOW_NS` says that there is no second processor: none is lent for `LEND_PAUSE_NS`. */
#include "host/loop/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "host/loop/private.h"

#define SLOW_NS        2000000
#define SLOW_PERIOD_NS 50000000
#define LEND_BYTES     (128u * 1024)
#define LENT_MOST      2
#define LEND_SLOW_NS   1000000
#define LEND_PAUSE_NS  50000000
#define PIECES_MOST    1024 /* UIO_MAXIOV */

void loop_job_done(struct job *j)
{
    strand_resume(j->waiter);
}

ssize_t loop_job_run(struct loop *l, struct job *j)
{
    j->waiter = strand_current(l->strands);
    l->jobs++;
    l->driver->submit(l, j);
    strand_suspend(l->strands);
    l->jobs--;
    return j->result;
}

ssize_t loop_job_lend(struct loop *l, struct job *j)
{
    uint64_t before = loop_clock_ns();
    uint64_t after;

    j->waiter = strand_current(l->strands);
    l->jobs++;
    l->lent++;
    j->lent = true;
    loop_crew_submit(l, j);
    strand_suspend(l->strands);
    l->lent--;
    l->jobs--;
    after = loop_clock_ns();
    if (after - before > LEND_SLOW_NS) {
        l->lend_at_ns = after + LEND_PAUSE_NS;
    }
    return j->result;
}

/* A job whose answer was to be tried again. */
static ssize_t run(struct loop *l, struct job *j)
{
    ssize_t n;

    do {
        n = loop_job_run(l, j);
    } while (n == -EINTR || n == -EAGAIN);
    return n;
}

/* What is left of a list of pieces after the first `n` bytes; into `rest`, whose
 * length comes back. */
static unsigned rest_of(const struct iovec *iov, unsigned count, size_t n,
                        struct iovec *rest)
{
    unsigned left = 0;

    for (unsigned i = 0; i < count; i++) {
        if (n >= iov[i].iov_len) {
            n -= iov[i].iov_len;
            continue;
        }
        rest[left++] = (struct iovec){(char *)iov[i].iov_base + n, iov[i].iov_len - n};
        n = 0;
    }
    return left;
}

static size_t sum_of(const struct iovec *iov, unsigned count)
{
    size_t sum = 0;

    for (unsigned i = 0; i < count; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

/* A call of this file has returned that began at `before`. */
static void note_pace(struct file_io *f, uint64_t before)
{
    uint64_t after = loop_clock_ns();
    bool slow = after - before > SLOW_NS;

    if (slow && f->was_slow) {
        f->slow_until = after + SLOW_PERIOD_NS;
    }
    f->was_slow = slow;
}

/* In place and timed, or by the driver when the file was slow a short while ago. */
static ssize_t run_timed(struct file_io *f, struct job *j)
{
    uint64_t before = loop_clock_ns();
    ssize_t n;

    if (before < f->slow_until) {
        return run(f->loop, j);
    }
    n = loop_job_perform(j);
    note_pace(f, before);
    return n;
}

/* A copy that is worth a second thread. */
static bool is_lent(const struct file_io *f, const struct job *j)
{
    const struct loop *l = f->loop;

    return l->more && l->lent < LENT_MOST && l->now_ns >= l->lend_at_ns &&
           sum_of(j->iov, j->count) >= LEND_BYTES;
}

/* One attempt: in place where that does not wait, else by the driver. */
static ssize_t read_some(struct file_io *f, const struct iovec *iov, unsigned count,
                         uint64_t off)
{
    struct job j = {
        .kind = JOB_READ, .fd = f->fd, .iov = iov, .count = count, .off = off};

    if (!f->direct && is_lent(f, &j)) {
        return loop_job_lend(f->loop, &j);
    }
    if (!f->direct && !f->no_nowait) {
        ssize_t n = preadv2(f->fd, iov, (int)count, (off_t)off, RWF_NOWAIT);

        if (n >= 0) {
            return n;
        }
        f->no_nowait = errno == EOPNOTSUPP;
    }
    return f->no_nowait ? run_timed(f, &j) : run(f->loop, &j);
}

static ssize_t write_some(struct file_io *f, const struct iovec *iov, unsigned count,
                          uint64_t off, bool sync)
{
    struct job j = {.kind = JOB_WRITE,
                    .fd = f->fd,
                    .iov = iov,
                    .count = count,
                    .off = off,
                    .sync = sync};

    return f->direct || sync ? run(f->loop, &j) : run_timed(f, &j);
}

static ssize_t transfer(struct file_io *f, const struct job *what)
{
    return what->kind == JOB_READ
               ? read_some(f, what->iov, what->count, what->off)
               : write_some(f, what->iov, what->count, what->off, what->sync);
}

/* Go on behind a short transfer.  Its list needs room, which the common case does not
 * pay for. */
static ssize_t __attribute__((noinline))
go_on(struct file_io *f, struct job *what, size_t bytes, size_t done)
{
    struct iovec rest[PIECES_MOST];

    while (done < bytes) {
        struct job now = *what;
        ssize_t n;

        now.count = rest_of(what->iov, what->count, done, rest);
        now.iov = rest;
        now.off = what->off + done;
        n = transfer(f, &now);
        if (n <= 0) {
            return n < 0 ? n : (ssize_t)done;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static ssize_t all(struct file_io *f, struct job *what)
{
    size_t bytes = sum_of(what->iov, what->count);
    ssize_t n = transfer(f, what);

    if (n <= 0 || (size_t)n == bytes) {
        return n;
    }
    return go_on(f, what, bytes, (size_t)n);
}

ssize_t file_io_readv(struct file_io *f, const struct iovec *iov, unsigned count,
                      uint64_t off)
{
    struct job what = {.kind = JOB_READ, .iov = iov, .count = count, .off = off};

    return all(f, &what);
}

ssize_t file_io_writev(struct file_io *f, const struct iovec *iov, unsigned count,
                       uint64_t off, bool sync)
{
    struct job what = {
        .kind = JOB_WRITE, .iov = iov, .count = count, .off = off, .sync = sync};
    ssize_t n = all(f, &what);

    /* A regular file takes everything or says why not. */
    return n >= 0 && (size_t)n < sum_of(iov, count) ? -ENOSPC : n;
}

static int empty_pipe(int fd, int pipe, uint64_t bytes, off_t at)
{
    uint64_t left = bytes;

    while (left > 0) {
        ssize_t n = splice(pipe, NULL, fd, &at, (size_t)left, SPLICE_F_MOVE);

        if (n == 0) {
            return -EIO; /* it holds less than was said */
        }
        if (n < 0 && errno == EINVAL && left == bytes) {
            return -EOPNOTSUPP;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        left -= n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

int file_io_splice(struct file_io *f, int pipe, uint64_t bytes, uint64_t off)
{
    uint64_t before = loop_clock_ns();
    int r;

    if (f->direct || before < f->slow_until) {
        return -EOPNOTSUPP;
    }
    r = empty_pipe(f->fd, pipe, bytes, (off_t)off);
    note_pace(f, before);
    return r;
}

int file_io_sync(struct file_io *f)
{
    struct job j = {.kind = JOB_SYNC, .fd = f->fd};

    return (int)run(f->loop, &j);
}

int file_io_allocate(struct file_io *f, int mode, uint64_t off, uint64_t bytes)
{
    struct job j = {
        .kind = JOB_ALLOCATE, .fd = f->fd, .mode = mode, .off = off, .bytes = bytes};

    return (int)run(f->loop, &j);
}

int file_io_call(struct loop *l, int (*fn)(void *arg), void *arg)
{
    struct job j = {.kind = JOB_CALL, .call = fn, .arg = arg};

    return (int)loop_job_run(l, &j);
}
