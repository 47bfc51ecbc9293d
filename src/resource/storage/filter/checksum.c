/* checksum.c - reads that compare, writes that remember.
 *
 * A request goes in pieces, each with its blocks held against others: a write journals the
 * new sums, writes, and changes the table in memory (checksum_area.c); a read reads and
 * compares.  The block of the filter is that of the disk below, so that a power cut leaves
 * each sum with a whole block.  What is written is copied first: a guest may change its
 * buffers meanwhile. */
#include "resource/storage/filter/checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/filter/checksum_private.h"
#include "resource/storage/safe/bytes.h"

static struct checksum *checksum_of(struct blk *b)
{
    return (struct checksum *)b;
}

struct piece {
    uint64_t first; /* block */
    unsigned blocks;
    struct range_hold hold;
};

static struct piece cut(const struct checksum *c, uint64_t off, uint64_t bytes,
                        bool shares)
{
    uint64_t blocks = bytes / c->at.block;
    struct piece p = {.first = off / c->at.block};

    p.blocks = blocks < CHECKSUM_PIECE ? (unsigned)blocks : CHECKSUM_PIECE;
    p.hold = (struct range_hold){
        .first = p.first, .end = p.first + p.blocks, .shares = shares};
    return p;
}

/* ---- reads ---- */

/* Find a copy that is what it should be, and put it where the wrong one was. */
static bool mend(struct checksum *c, uint64_t block, const uint8_t *sum, uint8_t *room)
{
    struct iovec piece = {room, c->at.block};
    struct blk_vec v = {.iov = &piece, .bytes = c->at.block};
    uint8_t found[CHECKSUM_SUM_MOST];
    int r = c->mend.read_copy == NULL ? -ENOENT : 0;

    for (unsigned i = 0; r != -ENOENT; i++) {
        r = c->mend.read_copy(c->mend.arg, i, v, block * c->at.block);
        if (r != 0) {
            continue;
        }
        filter_checksum_sum(c, room, found);
        if (memcmp(found, sum, c->at.sum_bytes) == 0) {
            if (!c->blk.read_only && blk_write(c->edge[0].disk, room, c->at.block,
                                               block * c->at.block, 0) == 0) {
                c->count.mended++;
            }
            return true;
        }
    }
    return false;
}

/* 0, or -EILSEQ: nobody has what the block should be. */
static int check_block(struct checksum *c, struct checksum_pins *pins, uint64_t block,
                       uint8_t *room)
{
    uint8_t *entry = filter_checksum_entry(c, pins, block);
    uint8_t sum[CHECKSUM_SUM_MOST];

    if (block >= c->at.zero_from / c->at.block && block < c->at.zero_to / c->at.block) {
        memset(room, 0, c->at.block); /* of a disk that nobody may write to */
        return 0;
    }
    if (entry == NULL) {
        return -EILSEQ; /* nobody knows */
    }
    filter_checksum_sum(c, room, sum);
    if (memcmp(sum, entry, c->at.sum_bytes) == 0 ||
        filter_checksum_is_doubt(c, block, sum)) {
        return 0;
    }
    c->count.wrong++;
    return mend(c, block, entry, room) ? 0 : -EILSEQ;
}

/* Block by block, when the disk below cannot read all of it. */
static int read_each(struct checksum *c, struct checksum_pins *pins,
                     const struct piece *p, uint8_t *room)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < p->blocks; i++) {
        uint8_t *at = room + (size_t)i * c->at.block;
        uint8_t *entry = filter_checksum_entry(c, pins, p->first + i);

        r = blk_read(c->edge[0].disk, at, c->at.block, (p->first + i) * c->at.block);
        if (r != 0 && r != -ENODEV && entry != NULL && mend(c, p->first + i, entry, at)) {
            r = 0;
        } else if (r == 0) {
            r = check_block(c, pins, p->first + i, at);
        }
    }
    return r;
}

static int read_piece(struct checksum *c, const struct piece *p, uint8_t *room)
{
    struct checksum_pins pins;
    int r = filter_checksum_pin(c, p->first, p->blocks, &pins);

    if (r != 0) {
        return r;
    }
    r = blk_read(c->edge[0].disk, room, (size_t)p->blocks * c->at.block,
                 p->first * c->at.block);
    if (r != 0 && c->mend.read_copy != NULL) {
        r = read_each(c, &pins, p, room);
    } else {
        for (unsigned i = 0; r == 0 && i < p->blocks; i++) {
            r = check_block(c, &pins, p->first + i, room + (size_t)i * c->at.block);
        }
    }
    filter_checksum_unpin(c, &pins);
    return r;
}

static uint8_t *room_for(const struct checksum *c, uint64_t bytes)
{
    uint64_t most = (uint64_t)CHECKSUM_PIECE * c->at.block;
    size_t room = (size_t)(bytes < most ? bytes : most);

    return fault_aligned(4096, (room + 4095) & ~(size_t)4095);
}

static int checksum_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct checksum *c = checksum_of(b);
    SCOPED(scope_free) uint8_t *room = room_for(c, to.bytes);
    int r = room == NULL ? -ENOMEM : 0;

    while (r == 0 && to.bytes > 0) {
        struct piece p = cut(c, off, to.bytes, true);
        size_t n = (size_t)p.blocks * c->at.block;

        range_take(b->strands, &c->blocks, &p.hold);
        r = read_piece(c, &p, room);
        range_give(&c->blocks, &p.hold);
        if (r == 0) {
            blk_vec_put(blk_vec_part(to, 0, n), room);
        }
        to = blk_vec_part(to, n, to.bytes - n);
        off += n;
    }
    return r;
}

/* ---- changes ---- */

struct change {
    const uint8_t *data; /* NULL: zeros */
    unsigned flags;
    uint8_t record[16 + CHECKSUM_PIECE * CHECKSUM_SUM_MOST];
};

static size_t make_record(const struct checksum *c, const struct piece *p,
                          struct change *x)
{
    bytes_put64(x->record, p->first);
    bytes_put32(x->record + 8, p->blocks);
    bytes_put32(x->record + 12, x->data == NULL);
    for (unsigned i = 0; x->data != NULL && i < p->blocks; i++) {
        filter_checksum_sum(c, x->data + (size_t)i * c->at.block,
                            x->record + 16 + (size_t)i * c->at.sum_bytes);
    }
    return 16 + (x->data == NULL ? 0 : (size_t)p->blocks * c->at.sum_bytes);
}

static void set_entries(struct checksum *c, struct checksum_pins *pins,
                        const struct piece *p, const struct change *x)
{
    for (unsigned i = 0; i < p->blocks; i++) {
        uint8_t *entry = filter_checksum_entry_raw(c, pins, p->first + i);

        if (x->data == NULL) {
            memset(entry, 0, c->at.sum_bytes);
        } else {
            memcpy(entry, x->record + 16 + (size_t)i * c->at.sum_bytes, c->at.sum_bytes);
        }
    }
    filter_checksum_changed(c, pins);
}

/* The sums are in the journal. */
static int write_below(struct checksum *c, struct checksum_pins *pins,
                       const struct piece *p, const struct change *x)
{
    uint64_t off = p->first * c->at.block;
    uint64_t bytes = (uint64_t)p->blocks * c->at.block;
    int r = x->data == NULL
                ? blk_zero(c->edge[0].disk, off, bytes, x->flags)
                : blk_write(c->edge[0].disk, x->data, (size_t)bytes, off, x->flags);

    if (r == 0) {
        filter_checksum_drop_doubts(c, p->first, p->first + p->blocks);
        set_entries(c, pins, p, x);
    } else if (filter_checksum_add_doubts(c, p->first, p->blocks,
                                          x->data == NULL ? NULL : x->record + 16) != 0) {
        set_entries(c, pins, p, x); /* no memory for doubts: rather new than never */
    }
    return r;
}

static int change_once(struct checksum *c, const struct piece *p, struct change *x)
{
    struct range_hold gate = {.end = 1, .shares = true};
    size_t bytes = make_record(c, p, x);
    struct checksum_pins pins;
    int r;

    if (c->broken != 0) {
        return -EIO;
    }
    range_take(c->blk.strands, &c->gate, &gate);
    r = filter_checksum_pin(c, p->first, p->blocks, &pins);
    if (r == 0) {
        r = c->doubts > CHECKSUM_DOUBTS_MOST
                ? -EAGAIN
                : journal_append(&c->journal, x->record, bytes);
        r = r == 0 ? write_below(c, &pins, p, x) : r;
        filter_checksum_unpin(c, &pins);
    }
    range_give(&c->gate, &gate);
    return r;
}

static int change(struct checksum *c, struct piece *p, struct change *x)
{
    int r;

    range_take(c->blk.strands, &c->blocks, &p->hold);
    do {
        r = change_once(c, p, x);
        if (r == -EAGAIN) {
            r = filter_checksum_settle(c);
            r = r == 0 ? -EAGAIN : r;
        }
    } while (r == -EAGAIN);
    range_give(&c->blocks, &p->hold);
    return r;
}

static int checksum_write(struct blk *b, struct blk_vec from, uint64_t off,
                          unsigned flags)
{
    struct checksum *c = checksum_of(b);
    SCOPED(scope_free) uint8_t *room = room_for(c, from.bytes);
    SCOPED(scope_free) struct change *x = fault_malloc(sizeof *x);
    int r = room == NULL || x == NULL ? -ENOMEM : 0;

    while (r == 0 && from.bytes > 0) {
        struct piece p = cut(c, off, from.bytes, false);
        size_t n = (size_t)p.blocks * c->at.block;

        blk_vec_take(blk_vec_part(from, 0, n), room);
        x->data = room;
        x->flags = flags & BLK_FUA;
        r = change(c, &p, x);
        from = blk_vec_part(from, n, from.bytes - n);
        off += n;
    }
    return r;
}

static int checksum_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct checksum *c = checksum_of(b);
    SCOPED(scope_free) struct change *x = fault_malloc(sizeof *x);
    int r = x == NULL ? -ENOMEM : 0;

    while (r == 0 && bytes > 0) {
        struct piece p = cut(c, off, bytes, false);

        x->data = NULL;
        x->flags = flags & (BLK_FUA | BLK_UNMAP);
        r = change(c, &p, x);
        bytes -= (uint64_t)p.blocks * c->at.block;
        off += (uint64_t)p.blocks * c->at.block;
    }
    return r;
}

/* What a discard leaves is unknown; zeros have a sum. */
static int checksum_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return b->zeroes_fast ? checksum_zero(b, off, bytes, BLK_UNMAP) : 0;
}

static int checksum_flush(struct blk *b)
{
    return blk_flush(checksum_of(b)->edge[0].disk); /* the journal is durable */
}

static int checksum_extent(struct blk *b, uint64_t off, uint64_t bytes,
                           struct blk_extent *ret)
{
    return blk_status(checksum_of(b)->edge[0].disk, off, bytes, ret);
}

static int checksum_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    return filter_checksum_resize(checksum_of(b), size_bytes, e);
}

static int checksum_quiesce(struct blk *b)
{
    return b->read_only || checksum_of(b)->broken != 0
               ? checksum_of(b)->broken
               : filter_checksum_settle(checksum_of(b));
}

/* ---- scrub ---- */

/* Damaged checksums are made anew from the data, if that is wanted. */
static void renew(struct checksum *c, struct checksum_pins *pins, const struct piece *p,
                  const uint8_t *room, struct filter_checksum_scrub *s)
{
    for (unsigned i = 0; i < p->blocks; i++) {
        uint64_t block = p->first + i;

        if (filter_checksum_entry(c, pins, block) == NULL) {
            filter_checksum_sum(c, room + (size_t)i * c->at.block,
                                filter_checksum_entry_raw(c, pins, block));
            s->renewed++;
        }
    }
    filter_checksum_changed(c, pins);
    for (unsigned i = 0; i < pins->count; i++) {
        c->count.sheets += (unsigned)__builtin_popcount(pins->page[i]->bad);
        pins->page[i]->bad = 0;
    }
}

static bool is_damaged(const struct checksum_pins *pins)
{
    bool bad = false;

    for (unsigned i = 0; i < pins->count; i++) {
        bad = bad || pins->page[i]->bad != 0;
    }
    return bad;
}

/* Each copy for itself, as a read sees one of them only; false: none could be read. */
static bool scrub_copies(struct checksum *c, struct checksum_pins *pins,
                         const struct piece *p, uint8_t *room,
                         struct filter_checksum_scrub *s)
{
    struct iovec whole = {room, (size_t)p->blocks * c->at.block};
    struct blk_vec v = {.iov = &whole, .bytes = whole.iov_len};
    bool any = false;
    int r = c->mend.read_copy == NULL ? -ENOENT : 0;

    for (unsigned copy = 0; r != -ENOENT; copy++) {
        r = c->mend.read_copy(c->mend.arg, copy, v, p->first * c->at.block);
        if (r != 0) {
            continue;
        }
        any = true;
        for (unsigned i = 0; i < p->blocks; i++) {
            uint64_t wrong = c->count.wrong;
            uint64_t mended = c->count.mended;
            int failed =
                check_block(c, pins, p->first + i, room + (size_t)i * c->at.block);

            s->wrong += failed != 0 || c->count.wrong != wrong;
            s->mended += c->count.mended - mended;
        }
    }
    return any;
}

/* Pages are made anew whole: a piece is one page's blocks, or the part of it. */
static int scrub_piece(struct checksum *c, const struct piece *p, uint8_t *room,
                       struct filter_checksum_scrub *s)
{
    struct range_hold gate = {.end = 1, .shares = true};
    struct checksum_pins pins;
    int r;

    range_take(c->blk.strands, &c->gate, &gate);
    r = filter_checksum_pin(c, p->first, p->blocks, &pins);
    if (r == 0) {
        bool done;

        r = blk_read(c->edge[0].disk, room, (size_t)p->blocks * c->at.block,
                     p->first * c->at.block);

        if (r == 0 && s->renew && is_damaged(&pins)) {
            renew(c, &pins, p, room, s);
        }
        done = scrub_copies(c, &pins, p, room, s);

        for (unsigned i = 0; !done && i < p->blocks; i++) {
            uint8_t *at = room + (size_t)i * c->at.block;
            uint64_t wrong = c->count.wrong;
            uint64_t mended = c->count.mended;
            struct piece one = {.first = p->first + i, .blocks = 1};
            int failed = r == 0 ? check_block(c, &pins, p->first + i, at)
                                : read_each(c, &pins, &one, at);

            s->wrong +=
                failed != 0 || c->count.wrong != wrong || c->count.mended != mended;
            s->mended += c->count.mended - mended;
        }
        filter_checksum_unpin(c, &pins);
    }
    range_give(&c->gate, &gate);
    s->blocks += p->blocks;
    return r == -ENOMEM ? r : 0;
}

int filter_checksum_scrub(struct blk *b, struct filter_checksum_scrub *s)
{
    struct checksum *c = checksum_of(b);
    uint64_t in = pages_entries_in(&c->pages);
    uint64_t blocks = c->at.data_bytes / c->at.block;
    SCOPED(scope_free)
    uint8_t *room =
        fault_aligned(4096, ((size_t)in * c->at.block + 4095) & ~(size_t)4095);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint64_t first = 0; r == 0 && first < blocks; first += in) {
        struct piece p = {.first = first,
                          .blocks =
                              (unsigned)(blocks - first < in ? blocks - first : in)};

        p.hold = (struct range_hold){.first = first, .end = first + p.blocks};
        range_take(b->strands, &c->blocks, &p.hold);
        r = scrub_piece(c, &p, room, s);
        range_give(&c->blocks, &p.hold);
        if (r == 0 && s->progress != NULL) {
            r = s->progress(s->arg, first + p.blocks, blocks);
        }
    }
    return r;
}

void filter_checksum_status(const struct blk *b, struct filter_checksum_status *ret)
{
    const struct checksum *c = (const struct checksum *)b;

    *ret = c->count;
    ret->kind = c->at.kind;
}

/* ---- life ---- */

static void checksum_destroy(struct blk *b)
{
    struct checksum *c = checksum_of(b);

    filter_checksum_drop_doubts(c, 0, UINT64_MAX);
    journal_close(&c->journal);
    if (c->pages.chain != NULL) {
        pages_fini(&c->pages);
    }
    blk_detach(&c->edge[1]);
    blk_detach(&c->edge[0]);
    free(c);
}

static const struct blk_ops checksum_ops = {
    .name = "checksum",
    .read = checksum_read,
    .write = checksum_write,
    .zero = checksum_zero,
    .discard = checksum_discard,
    .flush = checksum_flush,
    .status = checksum_extent,
    .resize = checksum_resize,
    .quiesce = checksum_quiesce,
    .destroy = checksum_destroy,
};

static int attach(struct checksum *c, struct blk *lower, struct blk *area, struct err *e)
{
    unsigned uses = lower->read_only ? BLK_USE_READ : BLK_USE_ALL;
    int r;

    c->edge[0] = (struct blk_edge){.user = "checksum", .uses = uses};
    c->edge[1] = c->edge[0];
    r = blk_attach(&c->edge[0], lower, e);
    if (r == 0 && area != NULL) {
        r = blk_attach(&c->edge[1], area, e);
    }
    if (c->edge[0].disk == NULL) {
        blk_drop(lower);
    }
    if (c->edge[1].disk == NULL) {
        blk_drop(area);
    }
    return r;
}

int filter_checksum_create(struct blk *take_lower, struct blk *take_area,
                           const struct filter_checksum_mend *mend_by,
                           struct blk **ret_disk, struct err *e)
{
    struct checksum *c = fault_calloc(1, sizeof *c);
    int r;

    if (c == NULL) {
        blk_drop(take_lower);
        blk_drop(take_area);
        return err_sys(e, -ENOMEM, "cannot set up checksums");
    }
    blk_init_like(&c->blk, &checksum_ops, take_lower);
    r = attach(c, take_lower, take_area, e);
    if (r == 0) {
        c->area = take_area != NULL ? take_area : take_lower;
        c->mend = mend_by != NULL ? *mend_by : (struct filter_checksum_mend){0};
        r = filter_checksum_open_area(c, e);
    }
    if (r != 0) {
        checksum_destroy(&c->blk);
        return r;
    }
    c->blk.size_bytes = c->at.data_bytes;
    c->blk.block_bytes = c->at.block;
    c->blk.does_fua = true;
    c->blk.zeroes_fast = take_lower->zeroes_fast;
    c->blk.edge = c->edge;
    c->blk.edge_count = take_area != NULL ? 2 : 1;
    *ret_disk = &c->blk;
    return 0;
}
