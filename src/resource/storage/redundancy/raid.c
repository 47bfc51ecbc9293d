/* raid.c - stripes over members: where bytes lie, opening, states.
 *
 * A stripe has one chunk on each member, at the same place; `data` of them are data, the
 * others parity (raid_stripe.c).  Writes go through a journal (raid_journal.c), stripe by
 * stripe, each held against others meanwhile (raid_write.c).  Reads go straight to the
 * members; only what cannot be read there needs the stripe.
 *
 * Without parity there is no journal: chunks are written where they belong.  The layout of
 * a member is at the head of member.c, its area is the journal. */
#include "resource/storage/redundancy/raid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid_level.h"
#include "resource/storage/redundancy/raid_private.h"

#define PARTS_MOST  32 /* of one round of a read */
#define ALIGN_BYTES 65536u

/* ---- parts of a request ---- */

struct part {
    uint64_t stripe;
    unsigned index;
    uint32_t row;
    struct blk_vec vec;
};

/* The first chunk's part of a request. */
static struct part cut_part(const struct raid *x, struct blk_vec v, uint64_t off)
{
    uint64_t width = (uint64_t)x->chunk * x->data;
    struct part p = {.stripe = off / width,
                     .index = (unsigned)(off % width / x->chunk),
                     .row = (uint32_t)(off % x->chunk)};
    size_t left = x->chunk - p.row;

    p.vec = blk_vec_part(v, 0, v.bytes < left ? v.bytes : left);
    return p;
}

static bool is_usable(const struct raid *x, const struct part *p)
{
    return (raid_usable(x, p->stripe) >> p->index & 1) != 0;
}

static struct blk_request request_for(const struct raid *x, const struct part *p,
                                      enum blk_kind kind, unsigned flags)
{
    return (struct blk_request){
        .disk = x->set.edge[raid_role(x, p->stripe, p->index)].disk,
        .kind = kind,
        .flags = flags,
        .off = x->set.data_at + p->stripe * x->chunk + p->row,
        .vec = p->vec,
    };
}

/* Up to PARTS_MOST parts side by side; how many bytes they were. */
static int run_parts(struct raid *x, struct blk_vec v, uint64_t off, enum blk_kind kind,
                     unsigned flags, size_t *ret_bytes)
{
    struct blk_request request[PARTS_MOST];
    struct part part[PARTS_MOST];
    bool hard[PARTS_MOST] = {false};
    unsigned n = 0;
    unsigned direct = 0;
    size_t at = 0;
    int r;

    while (at < v.bytes && n < PARTS_MOST) {
        part[n] = cut_part(x, blk_vec_part(v, at, v.bytes - at), off + at);
        hard[n] = !is_usable(x, &part[n]);
        at += part[n].vec.bytes;
        n++;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!hard[i]) {
            request[direct++] = request_for(x, &part[i], kind, flags);
        }
    }
    (void)member_run(request, direct);
    direct = 0;
    r = 0;
    for (unsigned i = 0; i < n; i++) {
        int failed = hard[i] ? -EIO : request[direct++].result;

        if (!hard[i] && failed != 0) {
            x->set.member[raid_role(x, part[i].stripe, part[i].index)].errors++;
        }
        if (failed != 0 && kind == BLK_READ && x->parity > 0) {
            failed = raid_read_hard(x, part[i].stripe, part[i].index, part[i].vec,
                                    part[i].row);
        }
        r = r == 0 ? failed : r;
    }
    *ret_bytes = at;
    return r;
}

static int run_all_parts(struct raid *x, struct blk_vec v, uint64_t off,
                         enum blk_kind kind, unsigned flags)
{
    int r = 0;

    while (r == 0 && v.bytes > 0) {
        size_t did = 0;

        r = run_parts(x, v, off, kind, flags, &did);
        off += did;
        v = blk_vec_part(v, did, v.bytes - did);
    }
    return r;
}

/* ---- slots ---- */

/* What is committed and not in place would be read as it was. */
static int unstick_range(struct raid *x, uint64_t off, uint64_t bytes)
{
    uint64_t width = (uint64_t)x->chunk * x->data;
    int r = 0;

    for (uint64_t s = off / width; x->stuck != NULL && r == 0 && s * width < off + bytes;
         s++) {
        r = raid_unstick(x, s);
    }
    return r;
}

static int raid_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct raid *x = raid_of(b);
    int r = unstick_range(x, off, to.bytes);

    raid_kick(x);
    return r == 0 ? run_all_parts(x, to, off, BLK_READ, 0) : r;
}

static int raid_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct raid *x = raid_of(b);
    uint64_t width = (uint64_t)x->chunk * x->data;
    int r = 0;

    if (x->parity == 0) {
        return run_all_parts(x, from, off, BLK_WRITE, flags);
    }
    raid_kick(x);
    while (r == 0 && from.bytes > 0) {
        uint64_t left = width - off % width;
        size_t n = from.bytes < left ? from.bytes : (size_t)left;

        r = raid_write_stripe(x, off / width, blk_vec_part(from, 0, n), off % width);
        from = blk_vec_part(from, n, from.bytes - n);
        off += n;
    }
    return r;
}

static int raid_flush(struct blk *b)
{
    struct raid *x = raid_of(b);
    int r = 0;

    x->copy_failed = false;
    for (unsigned i = 0; x->parity == 0 && i < x->set.count; i++) {
        int failed = blk_flush(x->set.edge[i].disk);

        r = r == 0 ? failed : r;
    }
    return r == 0 ? member_save(&x->set) : r;
}

static int raid_quiesce(struct blk *b)
{
    struct raid *x = raid_of(b);
    int r = 0;

    x->stop = true;
    while (x->copying) {
        strand_wait(b->strands, &x->copy_ended);
    }
    if (x->parity > 0 && !b->read_only) {
        r = raid_journal_settle(x);
    }
    x->stop = false;
    return r == 0 ? member_save(&x->set) : r;
}

/* What was in the journal is in place, or it would not have been opened: a new one begins. */
static int raid_access(struct blk *b, bool writes, struct err *e)
{
    struct raid *x = raid_of(b);
    int r = member_access(&x->set, writes, e);

    if (r == 0 && writes && x->parity > 0) {
        r = raid_journal_replay(x);
    }
    r = r == 0 && writes ? member_save(&x->set) : r;
    return r == 0 ? 0 : err_sys(e, r, "cannot let '%s' be written", b->label);
}

static void raid_destroy(struct blk *b)
{
    struct raid *x = raid_of(b);

    while (x->stuck != NULL) { /* the journal has it */
        struct raid_stripe *s = x->stuck;

        x->stuck = s->next;
        raid_stripe_fini(s);
        free(s);
    }
    member_detach_all(&x->set);
    free(x);
}

static const struct blk_ops raid_ops = {
    .name = "raid",
    .read = raid_read,
    .write = raid_write,
    .flush = raid_flush,
    .resize = raid_resize,
    .quiesce = raid_quiesce,
    .access = raid_access,
    .destroy = raid_destroy,
};

/* ---- making ---- */

static bool parity_of(unsigned level, unsigned *ret_parity, enum member_kind *ret_kind)
{
    *ret_parity = level == 5 ? 1 : level == 6 ? 2 : 0;
    *ret_kind = level == 5   ? MEMBER_KIND_RAID5
                : level == 6 ? MEMBER_KIND_RAID6
                             : MEMBER_KIND_RAID0;
    return level == 0 || level == 5 || level == 6;
}

/* Sizes; -ENOSPC: the members are too small. */
static int lay_out(struct member_set *s, const struct raid_format *f, unsigned parity,
                   uint64_t least)
{
    uint64_t journal = f->journal_bytes != 0 ? f->journal_bytes : RAID_JOURNAL_BYTES;
    unsigned data = s->count - parity;
    uint64_t width;
    uint64_t stripes;

    s->unit_bytes = f->chunk_bytes != 0 ? f->chunk_bytes : RAID_CHUNK_BYTES;
    if (s->unit_bytes < 4096 || s->unit_bytes > RAID_CHUNK_MOST ||
        (s->unit_bytes & (s->unit_bytes - 1)) != 0) {
        return -EINVAL;
    }
    journal =
        parity == 0 ? 0 : (journal + ALIGN_BYTES - 1) & ~(uint64_t)(ALIGN_BYTES - 1);
    journal = parity != 0 && journal < 2ull * (s->unit_bytes + 4096)
                  ? (2ull * s->unit_bytes + 2 * ALIGN_BYTES)
                  : journal;
    s->data_at = MEMBER_AREA_AT + journal;
    width = (uint64_t)s->unit_bytes * data;
    stripes = least > s->data_at ? (least - s->data_at) / s->unit_bytes : 0;
    if (f->size_bytes != 0 && (f->size_bytes + width - 1) / width <= stripes) {
        stripes = (f->size_bytes + width - 1) / width;
    } else if (f->size_bytes != 0) {
        stripes = 0;
    }
    s->size = f->size_bytes != 0 ? f->size_bytes : stripes * width;
    return stripes > 0 && s->size % 4096 == 0 ? 0 : -ENOSPC;
}

static int format_plain(struct blk *const *disk, unsigned count,
                        const struct raid_format *f, struct err *e)
{
    struct member_set *s = fault_calloc(1, sizeof *s);
    uint64_t least = UINT64_MAX;
    unsigned parity;
    int r;

    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot make an array");
    }
    (void)parity_of(f->level, &parity, &s->kind);
    s->count = count;
    for (unsigned i = 0; i < count; i++) {
        least = blk_size(disk[i]) < least ? blk_size(disk[i]) : least;
        s->member[i].state = MEMBER_IN_SYNC;
    }
    r = lay_out(s, f, parity, least);
    if (r != 0) {
        free(s);
        return err_set(e, r, "cannot make an array: its members are too small");
    }
    for (unsigned i = 0; parity > 0 && r == 0 && i < count; i++) {
        uint64_t width = (uint64_t)s->unit_bytes * (count - parity);

        r = blk_zero(disk[i], s->data_at, (s->size + width - 1) / width * s->unit_bytes,
                     BLK_UNMAP);
    }
    r = r == 0 ? member_format(s, disk, e) : err_sys(e, r, "cannot clear a member");
    free(s);
    return r;
}

int raid_format(struct loop *l, struct blk *const *disk, unsigned count,
                const struct raid_format *f, struct err *e)
{
    unsigned parity;
    enum member_kind kind;

    if (f->level == 1) {
        struct mirror_format m = {.size_bytes = f->size_bytes};

        return mirror_format(disk, count, &m, e);
    }
    if (f->level == 10) {
        return raid_ten_format(l, disk, count, f, e);
    }
    if (!parity_of(f->level, &parity, &kind) || count > RAID_MOST ||
        count < (f->level == 0 ? 1 : parity + 2)) {
        return err_set(e, -EINVAL, "cannot make an array of level %u with %u members",
                       f->level, count);
    }
    return format_plain(disk, count, f, e);
}

/* ---- opening ---- */

static bool can_lose(const struct member_set *s, unsigned role)
{
    unsigned parity = s->kind == MEMBER_KIND_RAID5   ? 1
                      : s->kind == MEMBER_KIND_RAID6 ? 2
                                                     : 0;
    unsigned away = 0;

    for (unsigned i = 0; i < s->count; i++) {
        away += i != role && s->member[i].state != MEMBER_IN_SYNC;
    }
    return s->member[role].state == MEMBER_REBUILDING || away < parity;
}

static int check(struct raid *x, struct err *e)
{
    unsigned away = x->set.count - member_count(&x->set, MEMBER_IN_SYNC);
    uint64_t width = (uint64_t)x->chunk * x->data;
    uint32_t block = 512;

    int r;

    x->stripes = (x->set.size + width - 1) / width;
    if (away > x->parity) {
        return err_set(e, -ENODEV, "%u of %u members are not in sync: too many", away,
                       x->set.count);
    }
    if (x->stripes > (BLK_SIZE_MOST_BYTES - x->set.data_at) / x->chunk) {
        return err_set(e, -EUCLEAN, "the size of the array is not possible");
    }
    r = member_fit_back(&x->set, x->set.data_at + x->stripes * x->chunk, e);
    if (r != 0) {
        return r;
    }
    for (unsigned i = 0; i < x->set.count; i++) {
        const struct blk *d = x->set.edge[i].disk;

        block = d != NULL && d->block_bytes > block ? d->block_bytes : block;
    }
    x->blk.block_bytes = block;
    x->blk.size_bytes = x->set.size;
    x->blk.read_only = x->set.read_only;
    x->blk.best_bytes = (uint32_t)width;
    x->blk.does_fua = true;
    x->blk.edge = x->set.edge;
    x->blk.edge_count = x->set.count;
    if (x->parity > 0 && x->journal_bytes < 2 * ((uint64_t)x->chunk + block)) {
        return err_set(e, -EUCLEAN, "the journal is too small");
    }
    return 0;
}

static int start(struct raid *x, struct err *e)
{
    int r;

    x->chunk = x->set.unit_bytes;
    x->journal_bytes = x->set.data_at - MEMBER_AREA_AT;
    if (x->set.count > RAID_MOST || x->set.count <= x->parity ||
        x->chunk > RAID_CHUNK_MOST) {
        return err_set(e, -EUCLEAN, "cannot open an array of %u members", x->set.count);
    }
    x->data = x->set.count - x->parity;
    r = check(x, e);
    if (r == 0 && x->parity > 0) {
        r = raid_journal_replay(x);
        r = r == -EOWNERDEAD
                ? err_set(
                      e, r,
                      "writes to it were cut off: it has to be opened for writing once")
            : r != 0 ? err_sys(e, r, "cannot replay the journal")
                     : 0;
    }
    if (r == 0) {
        r = member_save(&x->set);
        r = r == 0 ? 0 : err_sys(e, r, "cannot write the superblocks");
    }
    return r;
}

static int open_plain(struct loop *l, struct blk *const *take_disk, unsigned count,
                      const struct raid_options *o, struct blk **ret_disk, struct err *e)
{
    struct blk *disk[RAID_MOST] = {NULL};
    struct member_open how = {.disk = disk,
                              .count = count,
                              .read_only = o->read_only,
                              .degraded = o->degraded,
                              .winner = o->choose ? (int)o->winner : -1};
    struct raid *x = fault_calloc(1, sizeof *x);
    int r;

    if (x == NULL) {
        for (unsigned i = 0; i < count; i++) {
            blk_drop(take_disk[i]);
        }
        return err_sys(e, -ENOMEM, "cannot open an array");
    }
    memcpy(disk, take_disk, count * sizeof disk[0]);
    blk_init(&x->blk, &raid_ops, loop_strands(l));
    (void)parity_of(o->level, &x->parity, &x->set.kind);
    x->set.strands = x->blk.strands;
    x->set.can_lose = can_lose;
    r = member_assemble(&x->set, &how, e);
    r = r == 0 ? start(x, e) : r;
    if (r != 0) {
        raid_destroy(&x->blk);
        return r;
    }
    raid_kick(x);
    *ret_disk = &x->blk;
    return 0;
}

int raid_open(struct loop *l, struct blk *const *take_disk, unsigned count,
              const struct raid_options *o, struct blk **ret_disk, struct err *e)
{
    unsigned parity;
    enum member_kind kind;

    if (o->level == 1) {
        struct mirror_options m = {.read_only = o->read_only,
                                   .degraded = o->degraded,
                                   .choose = o->choose,
                                   .winner = o->winner};

        return mirror_open(l, take_disk, count, &m, ret_disk, e);
    }
    if (o->level == 10) {
        return raid_ten_open(l, take_disk, count, o, ret_disk, e);
    }
    if (!parity_of(o->level, &parity, &kind) || count > RAID_MOST) {
        for (unsigned i = 0; i < count; i++) {
            blk_drop(take_disk[i]);
        }
        return err_set(e, -EINVAL, "there is no array of level %u with %u members",
                       o->level, count);
    }
    return open_plain(l, take_disk, count, o, ret_disk, e);
}

/* ---- what the operator sees and does ---- */

void raid_status(const struct blk *b, struct raid_status *ret)
{
    static const char *const words[MEMBER_STATE_COUNT] = {"out", "in sync", "rebuilding",
                                                          "follows"};
    const struct raid *x = (const struct raid *)b;

    *ret = (struct raid_status){
        .count = x->set.count,
        .stripes = x->stripes,
        .event = x->set.event,
        .repaired_bytes = x->repaired_bytes,
        .stripe_reads = x->stripe_reads,
        .full_stripes = x->full_stripes,
    };
    for (unsigned i = 0; i < x->set.count; i++) {
        const struct member *m = &x->set.member[i];

        ret->state[i] = words[m->state];
        ret->errors[i] = m->errors;
        ret->degraded = ret->degraded || m->state == MEMBER_OUT;
        if (m->state == MEMBER_REBUILDING) {
            ret->rebuilding = true;
            ret->done_stripes = m->done;
        }
    }
}

int raid_fail(struct blk *b, unsigned role, struct err *e)
{
    struct raid *x = raid_of(b);
    int r;

    if (role >= x->set.count || !member_drop(&x->set, role)) {
        return err_set(e, -EBUSY, "cannot leave member %u out: too few would be left",
                       role);
    }
    r = member_save(&x->set);
    return r == 0 ? 0 : err_sys(e, r, "cannot leave member %u out", role);
}

/* The journal is settled before: records that name the old disk would miss it. */
int raid_replace(struct blk *b, unsigned role, struct blk *take_disk, struct err *e)
{
    struct raid *x = raid_of(b);
    int r;

    if (x->parity == 0 ||
        (take_disk != NULL &&
         (blk_block_bytes(take_disk) > b->block_bytes ||
          blk_size(take_disk) < x->set.data_at + x->stripes * x->chunk))) {
        blk_drop(take_disk);
        return err_set(e, -EINVAL, "cannot use the disk as member %u", role);
    }
    r = raid_journal_settle(x);
    if (r != 0) {
        blk_drop(take_disk);
        return err_sys(e, r, "cannot settle the journal");
    }
    r = member_replace(&x->set, role, take_disk, e);
    if (r == 0) {
        r = member_save(&x->set);
        r = r == 0 ? 0 : err_sys(e, r, "cannot take member %u in", role);
    }
    x->copy_failed = false;
    raid_kick(x);
    return r;
}
