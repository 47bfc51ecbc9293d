/* span_open.c - opening a span, and pieces that come and go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/pool/span_private.h"

static struct blk_edge edge_for(const struct span *s)
{
    return (struct blk_edge){
        .user = "span",
        .uses = s->blk.read_only ? BLK_USE_READ : BLK_USE_ALL,
        .lets = BLK_USE_READ,
    };
}

static int attach(struct span *s, unsigned i, struct blk **take, struct err *e)
{
    struct blk *disk = *take;
    int r;

    *take = NULL;
    if (disk == NULL) {
        return 0;
    }
    s->edge[i] = edge_for(s);
    r = blk_attach(&s->edge[i], disk, e);
    if (r != 0) {
        blk_drop(disk);
    } else if (i < PLACE_PIECES_MOST && disk->block_bytes > s->blk.block_bytes) {
        s->blk.block_bytes = disk->block_bytes;
    }
    return r;
}

/* Nothing of the disk that it was made of is lost, however it went on until now. */
static int adopt(struct span *s)
{
    uint64_t round = ((uint64_t)1 << s->segment_shift) - 1;
    uint64_t size;
    int r;

    if (!s->fresh || s->edge[0].disk == NULL) {
        return 0;
    }
    size = blk_size(s->edge[0].disk);
    if (size >> s->segment_shift >= SPAN_SEGMENTS_MOST) {
        return -EFBIG;
    }
    r = span_map_put_on_first(s, s->durable_size >> s->segment_shift,
                              (size + round) >> s->segment_shift);
    if (r != 0) {
        return r;
    }
    size = size > s->durable_size ? size : s->durable_size;
    s->blk.size_bytes = size;
    if (!s->blk.read_only) {
        s->fresh = false;
        r = span_map_store_head(s, size);
    }
    return r;
}

/* What was never told is lost, as it is for a file that was not synced; a piece that is not
 * here is to be wiped where it may have some of it. */
static int cut_off(struct span *s)
{
    uint64_t size = s->blk.size_bytes;
    uint64_t first = (size + ((uint64_t)1 << s->segment_shift) - 1) >> s->segment_shift;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < s->pieces; i++) {
        if (span_is_here(s, i) && s->edge[i].disk->grows &&
            blk_size(s->edge[i].disk) > size) {
            r = blk_resize(s->edge[i].disk, size, NULL);
            s->piece[i].dirty = true;
        }
    }
    for (uint64_t i = first; r == 0 && i < s->entries; i++) {
        if (s->entry[i].home != 0 && s->entry[i].other == 0 &&
            !span_is_here(s, s->entry[i].home - 1u)) {
            r = span_map_store_entry(
                s, i, (struct span_entry){0, s->entry[i].home, SPAN_LEAVING});
        }
    }
    return r;
}

/* Moves that were cut off, in either direction. */
static int clean_up(struct span *s)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < s->entries; i++) {
        struct span_entry entry = s->entry[i];

        if (entry.other != 0 && span_is_here(s, entry.other - 1u)) {
            r = span_wipe(s, entry.other - 1u, i);
            r = r == 0 ? blk_flush(s->edge[entry.other - 1u].disk) : r;
            r = r == 0
                    ? span_map_store_entry(s, i, (struct span_entry){.home = entry.home})
                    : r;
        }
    }
    return r;
}

static int attach_pieces(struct span *s, struct blk **take, unsigned count, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < count && i < PLACE_PIECES_MOST; i++) {
        if (i >= s->pieces && take[i] != NULL && s->blk.read_only) {
            blk_drop(take[i]); /* nothing lies on it yet */
            take[i] = NULL;
        }
        if (r == 0 && i < s->pieces && s->piece[i].removed && take[i] != NULL) {
            r = err_set(e, -EINVAL, "cannot open span '%s': piece %u was removed",
                        s->edge[SPAN_MAP].disk->label, i);
        }
        if (r == 0) {
            r = attach(s, i, &take[i], e);
        }
    }
    return r;
}

/* What was cut off is put right by whoever writes. */
static int put_in_order(struct span *s)
{
    int r = cut_off(s);

    r = r == 0 ? clean_up(s) : r;
    return r == 0 ? span_keep(s) : r;
}

static int open_all(struct span *s, struct blk **take, unsigned count, struct err *e)
{
    unsigned known;
    int r = span_map_load(s);

    known = s->pieces;
    if (r == 0) {
        r = attach_pieces(s, take, count, e);
        if (r != 0) {
            return r;
        }
    }
    if (r == 0 && !s->blk.read_only && count > known) {
        s->pieces = count;
        for (unsigned i = known; i < count; i++) {
            s->piece[i].removed = s->edge[i].disk == NULL;
        }
    }
    r = r == 0 ? adopt(s) : r;
    if (r == 0 && s->pieces > known) {
        r = span_map_store_head(s, s->durable_size);
    }
    r = r == 0 && !s->blk.read_only ? put_in_order(s) : r;
    return r == 0 ? 0
                  : err_sys(e, r, "cannot open span '%s'", s->edge[SPAN_MAP].disk->label);
}

static void drop_all(struct blk *map, struct blk **pieces, unsigned count)
{
    blk_drop(map);
    for (unsigned i = 0; i < count; i++) {
        blk_drop(pieces[i]);
    }
}

int place_span_open(struct blk *take_map, struct blk **take_pieces,
                    const struct place_span_options *o, struct blk **ret_disk,
                    struct err *e)
{
    struct span *s = o->pieces <= PLACE_PIECES_MOST ? fault_calloc(1, sizeof *s) : NULL;
    struct blk *take[PLACE_PIECES_MOST] = {NULL}; /* those that nobody has taken yet */
    struct blk *map = take_map;
    int r;

    if (s == NULL) {
        r = o->pieces <= PLACE_PIECES_MOST ? -ENOMEM : -EINVAL;
        (void)err_sys(e, r, "cannot open span '%s'", take_map->label);
        drop_all(take_map, take_pieces, o->pieces);
        return r;
    }
    blk_init(&s->blk, &span_ops, take_map->strands);
    s->blk.read_only = o->read_only || take_map->read_only;
    s->blk.grows = !s->blk.read_only;
    s->blk.does_fua = true;
    s->blk.zeroes_fast = true;
    s->blk.edge = s->edge;
    s->blk.edge_count = PLACE_PIECES_MOST + 1;
    s->loop = o->loop;
    s->room = o->room;
    s->room_arg = o->room_arg;
    memcpy(take, take_pieces, o->pieces * sizeof take[0]);
    r = attach(s, SPAN_MAP, &map, e);
    r = r == 0 ? open_all(s, take, o->pieces, e) : r;
    if (r != 0) {
        drop_all(NULL, take, o->pieces);
        span_ops.destroy(&s->blk);
        return r;
    }
    *ret_disk = &s->blk;
    return 0;
}

/* ---- written, after it was only read ---- */

/* Whoever reads it keeps others from moving its segments: what is known of them is right. */
static int look_again(const struct span *s)
{
    SCOPED(scope_free) uint8_t *text = fault_malloc(s->slot.bytes);
    struct slot slot = s->slot;
    size_t bytes = 0;
    int r = text == NULL ? -ENOMEM : 0;

    slot.disk = s->edge[SPAN_MAP].disk;
    r = r == 0 ? slot_load(&slot, text, &bytes) : r;
    return r == 0 && slot.sequence != s->slot.sequence ? -ESTALE : r;
}

int span_access(struct blk *b, bool writes, struct err *e)
{
    struct span *s = span_of(b);
    int r = 0;

    for (unsigned i = 0; r == 0 && i <= PLACE_PIECES_MOST; i++) {
        r = blk_edge_access(&s->edge[i], writes, e);
    }
    if (r == 0 && writes) {
        r = look_again(s);
        b->read_only = r != 0;
        r = r == 0 ? adopt(s) : r;
        r = r == 0 ? put_in_order(s) : r;
        b->read_only = r != 0;
    }
    b->grows = writes && r == 0;
    return r == 0 ? 0 : err_sys(e, r, "cannot let span '%s' be written", b->label);
}

/* ---- pieces that come and go ---- */

static int check_new(const struct span *s, const struct blk *disk, unsigned *ret_piece,
                     struct err *e)
{
    unsigned at = 0;

    while (at < s->pieces && !s->piece[at].removed) {
        at++;
    }
    if (s->blk.read_only || disk->read_only) {
        return err_set(e, -EROFS, "cannot add '%s': it is read only", disk->label);
    }
    if (at == PLACE_PIECES_MOST) {
        return err_set(e, -ENOSPC, "cannot add '%s': there are %u pieces", disk->label,
                       at);
    }
    if (disk->block_bytes > s->blk.block_bytes) {
        return err_set(e, -EINVAL, "cannot add '%s': its blocks have %u bytes",
                       disk->label, disk->block_bytes);
    }
    *ret_piece = at;
    return 0;
}

int place_span_add(struct blk *span, struct blk *take_piece, unsigned *ret_piece,
                   struct err *e)
{
    struct span *s = span_of(span);
    unsigned before = s->pieces;
    unsigned at = 0;
    int r = check_new(s, take_piece, &at, e);

    if (r != 0) {
        blk_drop(take_piece);
        return r;
    }
    r = attach(s, at, &take_piece, e);
    if (r != 0) {
        return r;
    }
    s->pieces = at == before ? before + 1 : before;
    s->piece[at] = (struct span_piece){0};
    r = span_map_store_head(s, s->durable_size);
    if (r != 0) {
        s->piece[at].removed = true;
        blk_detach(&s->edge[at]);
        return err_sys(e, r, "cannot add a piece to '%s'", span->label);
    }
    *ret_piece = at;
    return 0;
}

/* Its disk goes: nothing on it needs to be wiped. */
static int forget_other(struct span *s, unsigned piece)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < s->entries; i++) {
        if (s->entry[i].other == piece + 1) {
            r = span_map_store_entry(s, i, (struct span_entry){.home = s->entry[i].home});
        }
    }
    return r;
}

int place_span_remove(struct blk *span, unsigned piece, struct err *e)
{
    struct span *s = span_of(span);
    struct span_piece *p = &s->piece[piece < PLACE_PIECES_MOST ? piece : 0];
    int r = piece < s->pieces && !p->removed ? 0 : -ENOENT;

    r = r == 0 && s->blk.read_only ? -EROFS : r;
    if (r == 0 && (p->segments > 0 || s->move.active)) {
        return err_set(e, -EBUSY,
                       "cannot remove piece %u of '%s': %llu segments lie on it", piece,
                       span->label, (unsigned long long)p->segments);
    }
    if (r == 0) {
        p->removed = true; /* nothing is put on it from here on */
        grace_wait(s->blk.strands, &s->grace);
        r = p->segments > 0 ? -EBUSY : forget_other(s, piece);
        r = r == 0 ? span_map_store_head(s, s->durable_size) : r;
        p->removed = r == 0;
    }
    if (r == 0) {
        blk_detach(&s->edge[piece]);
        *p = (struct span_piece){.removed = true};
        return 0;
    }
    return err_sys(e, r, "cannot remove piece %u of '%s'", piece, span->label);
}

int place_span_leave(struct blk *span, unsigned piece, struct err *e)
{
    struct span *s = span_of(span);
    struct span_piece *p = &s->piece[piece < s->pieces ? piece : 0];
    int r;

    if (piece >= s->pieces) {
        return err_set(e, -ENOENT, "'%s' has no piece %u", span->label, piece);
    }
    p->emptied = true; /* nothing is put on it from here on */
    grace_wait(s->blk.strands, &s->grace);
    if (p->segments > 0 || s->move.active) {
        p->emptied = false;
        return err_set(e, -EBUSY,
                       "cannot leave piece %u of '%s': %llu segments lie on it", piece,
                       span->label, (unsigned long long)p->segments);
    }
    r = forget_other(s, piece);
    if (r != 0) {
        return err_sys(e, r, "cannot leave piece %u of '%s'", piece, span->label);
    }
    blk_detach(&s->edge[piece]);
    return 0;
}

/* ---- what is known ---- */

unsigned place_span_pieces(const struct blk *span)
{
    return span_of(span)->pieces;
}

int place_span_status(const struct blk *span, unsigned piece,
                      struct place_piece_status *ret)
{
    const struct span *s = span_of(span);
    const struct span_piece *p;

    if (piece >= s->pieces) {
        return -ENOENT;
    }
    p = &s->piece[piece];
    *ret = (struct place_piece_status){
        .state = p->removed               ? PLACE_PIECE_REMOVED
                 : span_is_here(s, piece) ? PLACE_PIECE_HERE
                                          : PLACE_PIECE_LOST,
        .full = p->full,
        .segments = p->segments,
        .requests = p->requests,
        .errors = p->errors,
        .worst_ns = p->worst_ns,
        .mean_ns = p->mean_ns,
    };
    return 0;
}

void place_span_forget_times(struct blk *span)
{
    struct span *s = span_of(span);

    for (unsigned i = 0; i < s->pieces; i++) {
        s->piece[i].worst_ns = 0;
    }
}

uint64_t place_span_segment_bytes(const struct blk *span)
{
    return (uint64_t)1 << span_of(span)->segment_shift;
}

int place_span_where(const struct blk *span, uint64_t segment)
{
    return (int)span_entry(span_of(span), segment).home - 1;
}
