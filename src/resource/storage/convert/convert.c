/* convert.c - several strands that each take the next piece, read it and write it.
 *
 * The pieces are cut along what the source says of itself (`blk_status`); a piece of data
 * is looked through for zeros in blocks of `ZERO_BYTES`.
 *
 * Where the source's bytes lie in the page cache of one file and each block begins with
 * something else than zeros, the pages go through a pipe to the target: one copy, and
 * none to memory of this process.  Any doubt, and the piece is read and written. */
#include "resource/storage/convert/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "contract/blk_sink.h"

#define PIECE_BYTES    (512u * 1024)
#define ZERO_BYTES     65536u
#define IN_FLIGHT      8u
#define IN_FLIGHT_MOST 64u
#define BUFFER_ALIGN   4096
#define PROBE_BYTES    64u
#define SHY_PIECES     64u

struct piece {
    uint64_t off;
    uint64_t bytes;
    bool data;
    uint64_t number; /* of the units of a sink */
};

struct run {
    const struct transcode_job *job;
    struct transcode_result result;
    uint64_t size;
    uint64_t piece_bytes;
    uint64_t align;          /* of what is written */
    struct strand_lock lock; /* of what is taken next: */
    uint64_t next;
    uint64_t known_until; /* the last status speaks up to here */
    bool known_data;
    bool known_absent; /* `allocated_only`: not there */
    uint64_t numbers;
    uint64_t done;
    uint64_t told;
    unsigned workers;
    struct strand_queue waiter;
    int failed;
};

static void fail(struct run *c, int r)
{
    c->failed = c->failed != 0 ? c->failed : r;
}

/* ---- cutting ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void look(struct run *c)
{
    struct blk_extent x;

    if (blk_status(c->job->from, c->next, c->size - c->next, &x) != 0) {
        x = (struct blk_extent){.bytes = least(PIECE_BYTES, c->size - c->next),
                                .state =
                                    BLK_DATA | BLK_ALLOCATED}; /* reading it will tell */
    }
    c->known_until = c->next + x.bytes;
    c->known_data = (x.state & BLK_DATA) != 0;
    c->known_absent = c->job->allocated_only && (x.state & BLK_ALLOCATED) == 0;
}

/* Whole units: one that has data anywhere is data.  False: nothing in them. */
static bool cut_unit(struct run *c, struct piece *ret)
{
    uint64_t unit = c->job->sink->unit_bytes;
    uint64_t hole = c->known_until == c->size ? c->size - c->next
                                              : (c->known_until - c->next) / unit * unit;

    if (!c->known_data && hole > 0) {
        *ret = (struct piece){.off = c->next, .bytes = hole};
        return false;
    }
    *ret = (struct piece){.off = c->next,
                          .bytes = least(unit, c->size - c->next),
                          .data = true,
                          .number = c->numbers++};
    return true;
}

/* Whole blocks of the target, which may be larger than those of the source: one that has
 * data anywhere is data.  False: nothing to do. */
static bool cut_piece(struct run *c, struct piece *ret)
{
    uint64_t left = c->known_until - c->next;
    uint64_t whole = c->known_until == c->size ? left : left & ~(c->align - 1);
    bool known = !c->known_data || c->known_absent;

    if (known && whole > 0) {
        *ret = (struct piece){.off = c->next, .bytes = whole};
        return !c->known_absent && !c->job->to_is_zero;
    }
    if (whole == 0 && c->job->allocated_only) { /* a part of it would be overwritten */
        fail(c, -EINVAL);
        *ret = (struct piece){0};
        return false;
    }
    left = whole == 0 ? c->align : least(whole, c->piece_bytes);
    *ret = (struct piece){
        .off = c->next, .bytes = least(left, c->size - c->next), .data = true};
    return true;
}

/* The next piece of work; false: there is none. */
static bool take_locked(struct run *c, struct piece *ret)
{
    while (c->failed == 0 && c->next < c->size) {
        bool work = true;

        if (c->next >= c->known_until) {
            look(c);
        }
        if (c->job->sink != NULL) {
            work = cut_unit(c, ret);
        } else {
            work = cut_piece(c, ret);
        }
        c->next += ret->bytes;
        if (work) {
            return true;
        }
        c->result.zero_bytes += c->known_absent ? 0 : ret->bytes;
        c->done += ret->bytes;
    }
    return false;
}

static bool take(struct run *c, struct piece *ret)
{
    bool got;

    strand_lock(c->job->from->strands, &c->lock);
    got = take_locked(c, ret);
    strand_unlock(&c->lock);
    return got;
}

/* ---- copying ---- */

static bool is_zero(const char *buf, size_t bytes)
{
    return buf[0] == 0 && buf[bytes / 2] == 0 && memcmp(buf, buf + 1, bytes - 1) == 0;
}

static int write_zeros(struct run *c, uint64_t off, uint64_t bytes)
{
    c->result.zero_bytes += bytes;
    return c->job->to_is_zero ? 0 : blk_zero(c->job->to, off, bytes, BLK_UNMAP);
}

/* Runs of blocks that are zeros, and runs that are not. */
static int write_data(struct run *c, const struct piece *p, const char *buf)
{
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < p->bytes) {
        bool zero = is_zero(buf + at, (size_t)least(ZERO_BYTES, p->bytes - at));
        uint64_t end = at + least(ZERO_BYTES, p->bytes - at);

        while (end < p->bytes &&
               is_zero(buf + end, (size_t)least(ZERO_BYTES, p->bytes - end)) == zero) {
            end += least(ZERO_BYTES, p->bytes - end);
        }
        if (zero) {
            r = write_zeros(c, p->off + at, end - at);
        } else {
            c->result.copied_bytes += end - at;
            r = blk_write(c->job->to, buf + at, (size_t)(end - at), p->off + at, 0);
        }
        at = end;
    }
    return r;
}

/* ---- past memory ---- */

/* What one worker has. */
struct worker {
    char *buf; /* owned */
    int pipe[2];
    unsigned shy; /* pieces to go by memory before the pipe is tried again */
};

static void worker_shut(struct worker *w)
{
    if (w->pipe[0] >= 0) {
        (void)close(w->pipe[0]);
        (void)close(w->pipe[1]);
        w->pipe[0] = -1;
    }
}

static bool open_pipe(struct worker *w, uint64_t piece_bytes)
{
    if (w->pipe[0] < 0 && pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        w->pipe[0] = -1;
        return false;
    }
    return fcntl(w->pipe[1], F_GETPIPE_SZ) >= (int)piece_bytes ||
           fcntl(w->pipe[1], F_SETPIPE_SZ, 2 * (int)piece_bytes) >= (int)piece_bytes;
}

/* Each block shows at its begin that it is not zeros. */
static bool is_data(int fd, uint64_t at, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += ZERO_BYTES) {
        char begin[PROBE_BYTES];
        size_t n = (size_t)least(sizeof begin, bytes - i);

        if (pread(fd, begin, n, (off_t)(at + i)) != (ssize_t)n || is_zero(begin, n)) {
            return false;
        }
    }
    return true;
}

static bool fill_pipe(struct worker *w, int fd, uint64_t at, uint64_t bytes)
{
    off_t from = (off_t)at;

    while (bytes > 0) {
        ssize_t n = splice(fd, &from, w->pipe[1], NULL, (size_t)bytes,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        bytes -= n > 0 ? (uint64_t)n : 0;
    }
    return true;
}

/* -EOPNOTSUPP: it has to go by memory. */
static int move_piece(struct run *c, const struct piece *p, struct worker *w)
{
    uint64_t at;
    int fd;
    int r;

    if (w->shy > 0) {
        w->shy--;
        return -EOPNOTSUPP;
    }
    if (c->job->to->ops->write_pipe == NULL || !open_pipe(w, c->piece_bytes)) {
        w->shy = UINT_MAX;
        return -EOPNOTSUPP;
    }
    if (blk_pages(c->job->from, p->off, p->bytes, &fd, &at) != 0 ||
        !is_data(fd, at, p->bytes)) {
        return -EOPNOTSUPP;
    }
    r = fill_pipe(w, fd, at, p->bytes)
            ? blk_write_pipe(c->job->to, w->pipe[0], p->bytes, p->off, 0)
            : -EOPNOTSUPP;
    if (r != 0) {
        worker_shut(w); /* with what is left in it */
        w->shy = SHY_PIECES;
    } else {
        c->result.copied_bytes += p->bytes;
    }
    return r;
}

/* Every number has to reach the sink, or the others wait for it. */
static int copy_unit(struct run *c, const struct piece *p, char *buf)
{
    struct blk_sink *s = c->job->sink;
    int r = blk_read(c->job->from, buf, (size_t)p->bytes, p->off);
    size_t bytes = (size_t)p->bytes;
    int w;

    if (r != 0) {
        fail(c, r); /* before the sink tells others that somebody failed */
    }
    if (r == 0 && is_zero(buf, bytes)) {
        bytes = 0;
    }
    c->result.copied_bytes += bytes;
    c->result.zero_bytes += p->bytes - bytes;
    w = s->ops->write(s, p->number, r == 0 ? buf : NULL, bytes, p->off);
    return r != 0 ? r : w;
}

static int copy_piece(struct run *c, const struct piece *p, struct worker *w)
{
    struct piece whole = *p;
    int r;

    if (c->job->sink != NULL) {
        return copy_unit(c, p, w->buf);
    }
    whole.bytes = (p->bytes + c->align - 1) & ~(c->align - 1);
    if (!p->data) {
        return write_zeros(c, p->off, whole.bytes);
    }
    r = whole.bytes == p->bytes ? move_piece(c, p, w) : -EOPNOTSUPP;
    if (r != -EOPNOTSUPP) {
        return r;
    }
    memset(w->buf + p->bytes, 0, (size_t)(whole.bytes - p->bytes)); /* behind the end */
    r = blk_read(c->job->from, w->buf, (size_t)p->bytes, p->off);
    return r == 0 ? write_data(c, &whole, w->buf) : r;
}

static void tell(struct run *c)
{
    if (c->job->progress != NULL && c->failed == 0 && c->done > c->told) {
        c->told = c->done;
        fail(c, c->job->progress(c->job->arg, c->done, c->size));
    }
}

static void work(struct run *c)
{
    struct worker w = {.buf = fault_aligned(BUFFER_ALIGN, (size_t)c->piece_bytes),
                       .pipe = {-1, -1}};
    struct piece p;

    if (w.buf == NULL) {
        fail(c, -ENOMEM);
    }
    while (w.buf != NULL && take(c, &p)) {
        int r = copy_piece(c, &p, &w);

        if (r != 0) {
            fail(c, r);
        } else {
            c->done += p.bytes;
            tell(c);
        }
    }
    worker_shut(&w);
    free(w.buf);
}

static void work_apart(void *arg)
{
    struct run *c = arg;

    work(c);
    c->workers--;
    if (c->workers == 0) {
        (void)strand_wake(&c->waiter);
    }
}

/* ---- the job ---- */

static void start_workers(struct run *c)
{
    unsigned count = c->job->in_flight != 0 ? c->job->in_flight : IN_FLIGHT;

    count = count < IN_FLIGHT_MOST ? count : IN_FLIGHT_MOST;
    for (unsigned i = 1; i < count; i++) {
        c->workers++;
        if (strand_start(c->job->from->strands, work_apart, c) != 0) {
            c->workers--;
            break; /* fewer do it as well */
        }
    }
}

static int finish(struct run *c, struct err *e)
{
    const struct transcode_job *j = c->job;
    int r = c->failed;

    if (r == 0 && j->sink != NULL) {
        return j->sink->ops->finish(j->sink, e);
    }
    if (r == 0 && !j->no_flush) {
        r = blk_flush(j->to);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot copy '%s'", j->from->label);
}

int transcode_run(const struct transcode_job *j, struct transcode_result *ret,
                  struct err *e)
{
    struct run c = {.job = j, .size = blk_size(j->from), .piece_bytes = PIECE_BYTES};
    uint64_t room = j->sink != NULL ? j->sink->size_bytes : blk_size(j->to);
    int r;

    if (room < c.size) {
        return err_set(e, -ENOSPC, "cannot copy '%s': it is larger than its target",
                       j->from->label);
    }
    if (j->sink != NULL) {
        c.piece_bytes = j->sink->unit_bytes;
    } else {
        c.align = j->to->block_bytes;
    }
    start_workers(&c);
    work(&c);
    while (c.workers > 0) {
        strand_wait(j->from->strands, &c.waiter);
    }
    tell(&c); /* of a hole at the end */
    r = finish(&c, e);
    if (r == 0 && ret != NULL) {
        *ret = c.result;
    }
    return r;
}
