/* copy.c - several strands that each take the next granules, hold them and copy them.
 *
 * A bit is cleared when copying begins, under the hold of the range; were it cleared at
 * the end, two strands could take the same.  After an error it is set again. */
#include "resource/storage/job/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"

#define SHIFT_LEAST  16                  /* 64 KiB */
#define GRANULES     ((uint64_t)1 << 26) /* 8 MiB of bits */
#define PIECE_BYTES  ((uint64_t)1 << 20)
#define ZERO_BYTES   ((uint64_t)65536)
#define IN_FLIGHT    8u
#define BUFFER_ALIGN 4096

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int job_copy_init(struct job_copy *c, struct blk *from, struct blk *to, struct err *e)
{
    *c = (struct job_copy){.strands = from->strands,
                           .from = from,
                           .to = to,
                           .size = blk_size(from),
                           .shift = SHIFT_LEAST};
    if (blk_size(to) < c->size) {
        return err_set(e, -ENOSPC, "cannot copy '%s': '%s' is smaller", from->label,
                       to->label);
    }
    if (to->block_bytes > from->block_bytes) {
        return err_set(e, -EINVAL, "cannot copy '%s': '%s' has larger blocks",
                       from->label, to->label);
    }
    while ((c->size >> c->shift) >= GRANULES) {
        c->shift++;
    }
    c->count = (c->size + ((uint64_t)1 << c->shift) - 1) >> c->shift;
    c->todo = fault_calloc(c->count / 64 + 1, sizeof *c->todo);
    return c->todo != NULL ? 0 : err_sys(e, -ENOMEM, "cannot copy '%s'", from->label);
}

void job_copy_fini(struct job_copy *c)
{
    free(c->todo);
    c->todo = NULL;
}

void job_copy_fail(struct job_copy *c, int r)
{
    c->failed = c->failed != 0 ? c->failed : r;
}

/* ---- bits ---- */

static bool is_todo(const struct job_copy *c, uint64_t granule)
{
    return (c->todo[granule / 64] >> granule % 64 & 1) != 0;
}

static void set(struct job_copy *c, uint64_t granule, bool todo)
{
    if (is_todo(c, granule) != todo) {
        c->todo[granule / 64] ^= (uint64_t)1 << granule % 64;
        c->left += todo ? 1 : (uint64_t)-1;
    }
}

void job_copy_mark(struct job_copy *c, uint64_t off, uint64_t bytes)
{
    uint64_t end = least(off + bytes, c->size);

    for (uint64_t i = off >> c->shift; i << c->shift < end; i++) {
        set(c, i, true);
    }
}

uint64_t job_copy_run(const struct job_copy *c, uint64_t off, uint64_t bytes,
                      bool *ret_todo)
{
    uint64_t i = off >> c->shift;
    bool todo = is_todo(c, i);

    do {
        i++;
    } while (i << c->shift < off + bytes && is_todo(c, i) == todo);
    *ret_todo = todo;
    return least((i << c->shift) - off, bytes);
}

/* ---- copying ---- */

static bool is_zero(const char *buf, size_t bytes)
{
    return buf[0] == 0 && buf[bytes / 2] == 0 && memcmp(buf, buf + 1, bytes - 1) == 0;
}

static int put_zeros(struct job_copy *c, uint64_t off, uint64_t bytes)
{
    return c->to_is_zero ? 0 : blk_zero(c->to, off, bytes, BLK_UNMAP);
}

/* Runs of blocks that are zeros, and runs that are not. */
static int put_data(struct job_copy *c, const char *buf, uint64_t off, uint64_t bytes)
{
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < bytes) {
        uint64_t end = at + least(ZERO_BYTES, bytes - at);
        bool zero = is_zero(buf + at, (size_t)(end - at));

        while (end < bytes &&
               is_zero(buf + end, (size_t)least(ZERO_BYTES, bytes - end)) == zero) {
            end += least(ZERO_BYTES, bytes - end);
        }
        r = zero ? put_zeros(c, off + at, end - at)
                 : blk_write(c->to, buf + at, (size_t)(end - at), off + at, 0);
        at = end;
    }
    return r;
}

/* The first bytes of the range; *ret_did of them. */
static int copy_some(struct job_copy *c, char *buf, uint64_t room, uint64_t off,
                     uint64_t bytes, uint64_t *ret_did)
{
    struct blk_extent x;
    bool data;
    int r;

    if (blk_status(c->from, off, bytes, &x) != 0) {
        x = (struct blk_extent){.bytes = bytes, .state = BLK_DATA | BLK_ALLOCATED};
    } /* reading it will tell */
    data = (x.state & BLK_DATA) != 0;
    *ret_did = data ? least(x.bytes, room) : x.bytes;
    if (c->only_own && (x.state & BLK_ALLOCATED) == 0) {
        return 0;
    }
    if (!data) {
        return put_zeros(c, off, *ret_did);
    }
    r = blk_read(c->from, buf, (size_t)*ret_did, off);
    return r == 0 ? put_data(c, buf, off, *ret_did) : r;
}

static int copy(struct job_copy *c, char *buf, uint64_t room, uint64_t off,
                uint64_t bytes)
{
    int r = 0;

    for (uint64_t i = off >> c->shift; i << c->shift < off + bytes; i++) {
        set(c, i, false);
    }
    for (uint64_t at = off; r == 0 && at < off + bytes;) {
        uint64_t did = 0;

        r = copy_some(c, buf, room, at, off + bytes - at, &did);
        at += did;
    }
    if (r != 0) {
        job_copy_mark(c, off, bytes);
        job_copy_fail(c, r);
    }
    return r;
}

int job_copy_now(struct job_copy *c, uint64_t off, uint64_t bytes)
{
    uint64_t room = (uint64_t)1 << c->shift;
    SCOPED(scope_free) char *buf = fault_aligned(BUFFER_ALIGN, (size_t)room);
    uint64_t end = least(((off + bytes + room - 1) >> c->shift) << c->shift, c->size);
    int r = buf == NULL ? -ENOMEM : c->failed;

    if (buf == NULL) {
        job_copy_fail(c, r);
    }
    for (uint64_t at = off >> c->shift << c->shift; r == 0 && at < end;) {
        bool todo;
        uint64_t n = job_copy_run(c, at, end - at, &todo);

        r = todo ? copy(c, buf, room, at, n) : 0;
        at += n;
    }
    return r;
}

/* ---- all of it ---- */

struct all {
    struct job_copy *copy;
    uint64_t total; /* granules */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    int stopped;
};

/* The next granules to be copied, at most a piece; false: there are none. */
static bool take(struct all *a, uint64_t *ret_off, uint64_t *ret_bytes)
{
    struct job_copy *c = a->copy;

    for (uint64_t looked = 0; looked < c->count; looked++) {
        uint64_t i = c->cursor;
        bool todo;

        if (i % 64 == 0 && c->todo[i / 64] == 0 && i + 64 <= c->count) {
            c->cursor = i + 64 < c->count ? i + 64 : 0;
            looked += 63;
            continue;
        }
        c->cursor = i + 1 < c->count ? i + 1 : 0;
        if (is_todo(c, i)) {
            *ret_off = i << c->shift;
            *ret_bytes =
                job_copy_run(c, *ret_off,
                             least(c->size - *ret_off, PIECE_BYTES >> c->shift == 0
                                                           ? (uint64_t)1 << c->shift
                                                           : PIECE_BYTES),
                             &todo);
            c->cursor = (*ret_off + *ret_bytes) >> c->shift;
            c->cursor = c->cursor < c->count ? c->cursor : 0;
            return true;
        }
    }
    return false;
}

static int tell(struct all *a)
{
    struct job_copy *c = a->copy;
    uint64_t left = c->left + c->busy;

    a->total = left > a->total ? left : a->total;
    return a->progress == NULL
               ? 0
               : a->progress(a->arg, (a->total - left) << c->shift, a->total << c->shift);
}

static void work(struct all *a)
{
    struct job_copy *c = a->copy;
    char *buf = fault_aligned(BUFFER_ALIGN, PIECE_BYTES);
    uint64_t off;
    uint64_t bytes;

    if (buf == NULL) {
        job_copy_fail(c, -ENOMEM);
    }
    while (c->failed == 0 && a->stopped == 0 && take(a, &off, &bytes)) {
        struct range_hold hold = {.first = off, .end = off + bytes};
        uint64_t n = (bytes + ((uint64_t)1 << c->shift) - 1) >> c->shift;

        c->busy += n;
        range_take(c->strands, &c->lock, &hold);
        for (uint64_t at = off; c->failed == 0 && at < off + bytes;) {
            bool todo; /* a guest may have copied it meanwhile */
            uint64_t alike = job_copy_run(c, at, off + bytes - at, &todo);

            if (todo) {
                (void)copy(c, buf, PIECE_BYTES, at, alike);
            }
            at += alike;
        }
        range_give(&c->lock, &hold);
        c->busy -= n;
        if (a->stopped == 0) {
            a->stopped = tell(a);
        }
    }
    free(buf);
}

static void work_apart(void *arg)
{
    struct all *a = arg;

    work(a);
    a->copy->workers--;
    if (a->copy->workers == 0) {
        (void)strand_wake(&a->copy->waiter);
    }
}

int job_copy_all(struct job_copy *c,
                 int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
    struct all a = {.copy = c, .total = c->left, .progress = progress, .arg = arg};

    while (c->left > 0 && c->failed == 0 && a.stopped == 0) {
        for (unsigned i = 1; i < IN_FLIGHT; i++) {
            c->workers++;
            if (strand_start(c->strands, work_apart, &a) != 0) {
                c->workers--;
                break; /* fewer do it as well */
            }
        }
        work(&a);
        while (c->workers > 0) {
            strand_wait(c->strands, &c->waiter);
        }
    }
    if (c->failed == 0 && a.stopped == 0) {
        a.stopped = tell(&a);
    }
    return c->failed != 0 ? c->failed : a.stopped;
}

/* ---- what is there ---- */

int job_copy_look(struct job_copy *c)
{
    int r = 0;

    c->to_is_zero = true;
    for (uint64_t at = 0; r == 0 && at < c->size && c->to_is_zero;) {
        struct blk_extent x;

        r = blk_status(c->to, at, c->size - at, &x);
        c->to_is_zero = r == 0 && (x.state & BLK_DATA) == 0;
        at += r == 0 ? x.bytes : 0;
    }
    return r;
}

int job_copy_mark_own(struct job_copy *c)
{
    int r = 0;

    for (uint64_t at = 0; r == 0 && at < c->size;) {
        struct blk_extent x;

        r = blk_status(c->from, at, c->size - at, &x);
        if (r == 0 && (x.state & BLK_ALLOCATED) != 0) {
            job_copy_mark(c, at, x.bytes);
        }
        at += r == 0 ? x.bytes : 0;
    }
    return r;
}
