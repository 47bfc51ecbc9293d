/* fault.c - errors, delays, torn writes and power cuts on request.
 *
 * With `holds_back`, what is written goes to a list of records, oldest first, that
 * reads see on top of the disk below.  A flush moves the list down.  A cut lets each
 * block of each record survive or not, by chance, and moves the survivors down in
 * order: exactly the states in which the contract allows a disk to be found, since a
 * block is whole and blocks do not wait for each other.  Records written with
 * BLK_FUA survive whole. */
#include "resource/storage/filter/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"

struct record {
    struct record *next;
    uint64_t off;
    uint64_t bytes;
    bool durable;
    char *data; /* owned; NULL: zeros */
};

struct fault {
    struct blk blk;
    struct blk_edge lower;
    struct loop *loop;
    struct filter_fault_plan plan;
    uint64_t random; /* state of the generator */
    uint64_t counted;
    uint64_t writes;
    uint64_t cut_at; /* number of the write; UINT64_MAX: none planned */
    bool cut;
    struct record *first;
    struct record **end;
};

static struct fault *fault_of(struct blk *b)
{
    return (struct fault *)b;
}

/* xorshift64*, Vigna 2016: all that a test needs. */
static uint64_t next_random(struct fault *f)
{
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return f->random * 0x2545f4914f6cdd1du;
}

static bool writes(enum blk_kind kind)
{
    return kind == BLK_WRITE || kind == BLK_ZERO || kind == BLK_DISCARD;
}

/* What stands before every request: the delay, the cut, the planned error. */
static int gate(struct fault *f, enum blk_kind kind)
{
    if (f->plan.delay_one_in != 0 && next_random(f) % f->plan.delay_one_in == 0) {
        loop_sleep(f->loop, next_random(f) % (f->plan.delay_ns + 1));
    }
    if (writes(kind) && !f->cut && f->writes++ == f->cut_at) {
        filter_fault_cut(&f->blk);
    }
    if (f->cut) {
        return -ENODEV;
    }
    if ((f->plan.fail_kinds & (1u << kind)) != 0) {
        f->counted++;
        if (f->counted >= f->plan.fail_from && f->counted < f->plan.fail_until) {
            return f->plan.error;
        }
    }
    return 0;
}

/* ---- what is held back ---- */

static struct record *new_record(uint64_t off, uint64_t bytes, bool zeros)
{
    struct record *r = fault_calloc(1, sizeof *r);

    if (r == NULL) {
        return NULL;
    }
    r->off = off;
    r->bytes = bytes;
    if (!zeros) {
        r->data = fault_malloc(bytes);
        if (r->data == NULL) {
            free(r);
            return NULL;
        }
    }
    return r;
}

static void append(struct fault *f, struct record *r)
{
    *f->end = r;
    f->end = &r->next;
    if (r->off + r->bytes > f->blk.size_bytes) {
        f->blk.size_bytes = r->off + r->bytes;
    }
}

static int move_down(struct fault *f, const struct record *r, uint64_t off,
                     uint64_t bytes)
{
    if (r->data == NULL) {
        return blk_zero(f->lower.disk, off, bytes, 0);
    }
    return blk_write(f->lower.disk, r->data + (off - r->off), (size_t)bytes, off, 0);
}

/* Take the oldest record off the list. */
static struct record *shift(struct fault *f)
{
    struct record *r = f->first;

    f->first = r->next;
    if (f->first == NULL) {
        f->end = &f->first;
    }
    return r;
}

static void drop(struct record *r)
{
    free(r->data);
    free(r);
}

static int move_all_down(struct fault *f)
{
    int r = 0;

    while (r == 0 && f->first != NULL) {
        r = move_down(f, f->first, f->first->off, f->first->bytes);
        if (r == 0) {
            drop(shift(f));
        }
    }
    return r;
}

/* Any part of a record: each of its blocks, or none, or all. */
static void move_some_down(struct fault *f, const struct record *r, unsigned chance)
{
    uint64_t step = f->blk.block_bytes;

    for (uint64_t at = r->off; at < r->off + r->bytes; at += step) {
        if (r->durable || next_random(f) % 100 < chance) {
            (void)move_down(f, r, at, step);
        }
    }
}

void filter_fault_cut(struct blk *b)
{
    static const unsigned chances[] = {0, 10, 50, 90, 100};
    struct fault *f = fault_of(b);
    unsigned chance = chances[next_random(f) % 5];

    f->cut = true;
    while (f->first != NULL) {
        struct record *r = shift(f);
        unsigned own = next_random(f) % 4 == 0 ? chances[next_random(f) % 5] : chance;

        move_some_down(f, r, own);
        drop(r);
    }
    (void)blk_flush(f->lower.disk);
}

/* ---- the slots ---- */

static void lay_over(struct blk_vec to, uint64_t off, const struct record *r)
{
    uint64_t from = off > r->off ? off : r->off;
    uint64_t end =
        off + to.bytes < r->off + r->bytes ? off + to.bytes : r->off + r->bytes;
    struct blk_vec part;

    if (from >= end) {
        return;
    }
    part = blk_vec_part(to, (size_t)(from - off), (size_t)(end - from));
    if (r->data == NULL) {
        blk_vec_zero(part);
    } else {
        blk_vec_put(part, r->data + (from - r->off));
    }
}

static int fault_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct fault *f = fault_of(b);
    int r = gate(f, BLK_READ);
    uint64_t below = blk_size(f->lower.disk); /* a flush may have moved it meanwhile */

    if (r != 0) {
        return r;
    }
    if (off + to.bytes > below) { /* a part is only among the records so far */
        size_t inside = off < below ? (size_t)(below - off) : 0;

        blk_vec_zero(blk_vec_part(to, inside, to.bytes - inside));
        r = inside > 0 ? blk_readv(f->lower.disk, blk_vec_part(to, 0, inside), off) : 0;
    } else {
        r = blk_readv(f->lower.disk, to, off);
    }
    for (const struct record *x = f->first; r == 0 && x != NULL; x = x->next) {
        lay_over(to, off, x);
    }
    return r;
}

static int keep(struct fault *f, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct record *r = new_record(off, from.bytes, false);

    if (r == NULL) {
        return -ENOMEM;
    }
    blk_vec_take(from, r->data);
    r->durable = (flags & BLK_FUA) != 0;
    append(f, r);
    return 0;
}

/* A disk below that grows has done so. */
static void reached(struct fault *f, uint64_t end)
{
    if (end > f->blk.size_bytes) {
        f->blk.size_bytes = end;
    }
}

static int put(struct fault *f, struct blk_vec from, uint64_t off, unsigned flags)
{
    int r;

    if (f->plan.holds_back) {
        return keep(f, from, off, flags);
    }
    r = blk_writev(f->lower.disk, from, off, flags);
    if (r == 0) {
        reached(f, off + from.bytes);
    }
    return r;
}

static int fault_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct fault *f = fault_of(b);
    int r = gate(f, BLK_WRITE);

    if (r != 0 && !f->cut && f->plan.fail_partly) {
        uint64_t blocks = from.bytes / b->block_bytes;
        size_t some = (size_t)(next_random(f) % (blocks + 1)) * b->block_bytes;

        if (some > 0) {
            (void)put(f, blk_vec_part(from, 0, some), off, 0);
        }
    }
    return r != 0 ? r : put(f, from, off, flags);
}

static int keep_zeros(struct fault *f, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct record *r = new_record(off, bytes, true);

    if (r == NULL) {
        return -ENOMEM;
    }
    r->durable = (flags & BLK_FUA) != 0;
    append(f, r);
    return 0;
}

static int fault_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct fault *f = fault_of(b);
    int r = gate(f, BLK_ZERO);

    if (r != 0) {
        return r;
    }
    if (f->plan.holds_back) {
        return keep_zeros(f, off, bytes, flags);
    }
    r = blk_zero(f->lower.disk, off, bytes, flags);
    if (r == 0) {
        reached(f, off + bytes);
    }
    return r;
}

static int fault_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct fault *f = fault_of(b);
    int r = gate(f, BLK_DISCARD);

    if (r != 0) {
        return r;
    }
    return f->plan.holds_back ? keep_zeros(f, off, bytes, 0)
                              : blk_discard(f->lower.disk, off, bytes);
}

static int fault_flush(struct blk *b)
{
    struct fault *f = fault_of(b);
    int r = gate(f, BLK_FLUSH);

    if (r == 0) {
        r = move_all_down(f);
    }
    return r != 0 ? r : blk_flush(f->lower.disk);
}

static int fault_status(struct blk *b, uint64_t off, uint64_t bytes,
                        struct blk_extent *ret)
{
    struct fault *f = fault_of(b);

    if (f->cut) {
        return -ENODEV;
    }
    if (f->first != NULL) { /* what is held back may lie anywhere */
        *ret = (struct blk_extent){.bytes = bytes, .state = BLK_DATA | BLK_ALLOCATED};
        return 0;
    }
    return blk_status(f->lower.disk, off, bytes, ret);
}

static int fault_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct fault *f = fault_of(b);
    int r = f->cut ? err_set(e, -ENODEV, "cannot resize '%s': it is gone", b->label)
                   : move_all_down(f);

    if (r == 0) {
        r = blk_resize(f->lower.disk, size_bytes, e);
    }
    if (r == 0) {
        b->size_bytes = size_bytes;
    }
    return r;
}

static int fault_quiesce(struct blk *b)
{
    struct fault *f = fault_of(b);

    return f->cut ? 0 : move_all_down(f);
}

static void fault_destroy(struct blk *b)
{
    struct fault *f = fault_of(b);

    while (f->first != NULL) {
        drop(shift(f));
    }
    blk_detach(&f->lower);
    free(f);
}

static const struct blk_ops fault_ops = {
    .name = "fault",
    .read = fault_read,
    .write = fault_write,
    .zero = fault_zero,
    .discard = fault_discard,
    .flush = fault_flush,
    .status = fault_status,
    .resize = fault_resize,
    .quiesce = fault_quiesce,
    .destroy = fault_destroy,
};

void filter_fault_plan(struct blk *b, const struct filter_fault_plan *plan)
{
    struct fault *f = fault_of(b);

    f->plan = *plan;
    f->counted = 0;
    f->random = plan->seed * 2 + 1;
}

int filter_fault_create(struct loop *l, struct blk *take_lower,
                        const struct filter_fault_plan *plan, struct blk **ret_disk,
                        struct err *e)
{
    struct fault *f = fault_calloc(1, sizeof *f);
    int r;

    if (f == NULL) {
        blk_drop(take_lower);
        return err_sys(e, -ENOMEM, "cannot set up faults");
    }
    blk_init_like(&f->blk, &fault_ops, take_lower);
    f->blk.edge = &f->lower;
    f->blk.edge_count = 1;
    f->blk.grows = take_lower->grows;
    f->blk.does_fua = true;
    f->blk.zeroes_fast = take_lower->zeroes_fast;
    f->loop = l;
    f->end = &f->first;
    f->cut_at = UINT64_MAX;
    filter_fault_plan(&f->blk, plan);
    f->lower = (struct blk_edge){
        .user = "fault", .uses = take_lower->read_only ? BLK_USE_READ : BLK_USE_ALL};
    r = blk_attach(&f->lower, take_lower, e);
    if (r != 0) {
        free(f);
        return r;
    }
    *ret_disk = &f->blk;
    return 0;
}

void filter_fault_cut_after(struct blk *b, uint64_t count)
{
    fault_of(b)->cut_at = fault_of(b)->writes + count;
}

bool filter_fault_is_cut(const struct blk *b)
{
    return ((const struct fault *)b)->cut;
}

uint64_t filter_fault_writes(const struct blk *b)
{
    return ((const struct fault *)b)->writes;
}
