/* carve.c - reading and writing a carved disk.
 *
 * The way of most requests: one look into the map, and what lies in one row on the device is
 * read or written there at once.  Only granules that are written for the first time, or are
 * taken away, go through `growing`, which holds a range of granules against others
 * that do so; writers to granules that hold data already never wait for it.
 *
 * A granule that is written in part for the first time is written whole, with zeros around. */
#include "resource/storage/pool/carve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/pool/carve_private.h"

#define PIECES_FEW   30
#define GRANULE_MOST 8192
#define LOOK_MOST    1024 /* extents that one answer covers */

static const char zeros[GRANULE_MOST] __attribute__((aligned(4096)));

static struct carve *carve_of(struct blk *b)
{
    return (struct carve *)b;
}

/* What is known of the first bytes of a range: alike, and in a row. */
struct run {
    uint64_t bytes;
    uint64_t at; /* on the device; 0: no data, zeros */
};

static uint64_t shift_of(const struct carve *c)
{
    return c->granule_shift;
}

static uint64_t all_bits(const struct carve *c)
{
    unsigned n = place_granules(c->store);

    return n == 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

/* The part of a range that lies in its first extent. */
static struct run first_run(const struct carve *c, uint64_t off, uint64_t bytes)
{
    const struct place_store *s = c->store;
    uint64_t in = off & (s->extent_bytes - 1);
    const struct extent_slot *slot =
        extent_map_find(&c->map, (uint32_t)(off / s->extent_bytes));
    struct run run = {.bytes = s->extent_bytes - in};
    unsigned first = (unsigned)(in >> shift_of(c));
    uint64_t bits;
    unsigned n;

    run.bytes = bytes < run.bytes ? bytes : run.bytes;
    if (slot == NULL) {
        return run;
    }
    bits = slot->bits >> first;
    if ((bits & 1) != 0) {
        run.at = place_extent_off(s, slot->at - 1) + in;
        bits = ~bits;
    }
    if (bits != 0) { /* the first granule that is not alike */
        n = first + (unsigned)__builtin_ctzll(bits);
        if (((uint64_t)n << shift_of(c)) - in < run.bytes) {
            run.bytes = ((uint64_t)n << shift_of(c)) - in;
        }
    }
    return run;
}

/* The same over extents that lie in a row. */
static struct run look(const struct carve *c, uint64_t off, uint64_t bytes)
{
    struct run run = first_run(c, off, bytes);

    for (unsigned i = 0; i < LOOK_MOST && run.bytes < bytes; i++) {
        struct run next = first_run(c, off + run.bytes, bytes - run.bytes);

        if (next.at != (run.at != 0 ? run.at + run.bytes : 0)) {
            break;
        }
        run.bytes += next.bytes;
    }
    return run;
}

static int carve_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct carve *c = carve_of(b);
    unsigned inside = grace_enter(&c->grace);
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        struct run run = look(c, off, to.bytes);
        struct blk_vec part = blk_vec_part(to, 0, run.bytes);

        if (run.at != 0) {
            r = blk_readv(c->edge.disk, part, run.at);
        } else {
            blk_vec_zero(part);
        }
        off += run.bytes;
        to = blk_vec_part(to, run.bytes, to.bytes - run.bytes);
    }
    grace_leave(&c->grace, inside);
    return r;
}

/* ---- writes to granules that hold nothing ---- */

/* The extent for an index that has none; nobody else looks for one meanwhile. */
static int place(struct carve *c, uint32_t index)
{
    int r = 0;

    strand_lock(c->blk.strands, &c->place);
    if (extent_map_find(&c->map, index) == NULL) {
        r = carve_make_room(c);
        if (r == 0 && c->reserve_first == c->reserve_end) {
            r = place_reserve(c);
            r = r == 0 ? carve_make_room(c) : r; /* others let go meanwhile */
        }
        if (r == 0) {
            (void)extent_map_put(&c->map, index, c->reserve[c->reserve_first++] + 1);
        }
    }
    strand_unlock(&c->place);
    return r;
}

/* Write with zeros before and behind. */
static int write_padded(struct carve *c, struct blk_vec from, uint64_t at, size_t before,
                        size_t behind)
{
    struct iovec pieces[PIECES_FEW + 2];
    size_t bytes = before + from.bytes + behind;
    SCOPED(scope_free) char *room = NULL;
    unsigned n = 1;
    size_t sum = 0;

    pieces[0] = (struct iovec){(void *)(uintptr_t)zeros, before};
    n += blk_vec_pieces(from, pieces + 1, PIECES_FEW);
    for (unsigned i = 1; i < n; i++) {
        sum += pieces[i].iov_len;
    }
    if (sum < from.bytes) { /* too many pieces */
        room = fault_aligned(4096, (from.bytes + 4095) & ~(size_t)4095);
        if (room == NULL) {
            return -ENOMEM;
        }
        blk_vec_take(from, room);
        pieces[1] = (struct iovec){room, from.bytes};
        n = 2;
    }
    pieces[n++] = (struct iovec){(void *)(uintptr_t)zeros, behind};
    return blk_writev(c->edge.disk, (struct blk_vec){.iov = pieces, .bytes = bytes},
                      at - before, 0);
}

/* Fill granules of one extent that hold nothing; they are held against others. */
static int fill(struct carve *c, struct blk_vec from, uint64_t off)
{
    const struct place_store *s = c->store;
    uint64_t mask = ((uint64_t)1 << shift_of(c)) - 1;
    uint32_t index = (uint32_t)(off / s->extent_bytes);
    uint64_t in = off & (s->extent_bytes - 1);
    struct extent_slot *slot;
    unsigned first = (unsigned)(in >> shift_of(c));
    unsigned last = (unsigned)((in + from.bytes - 1) >> shift_of(c));
    uint32_t at;
    int r = place(c, index);

    if (r != 0) {
        return r;
    }
    slot = extent_map_find(&c->map, index);
    at = slot->at;
    r = write_padded(c, from, place_extent_off(s, at - 1) + in, (size_t)(in & mask),
                     (size_t)(-(in + from.bytes) & mask));
    if (r == 0) {
        slot = extent_map_find(&c->map, index);
        slot->bits |= (all_bits(c) >> first << first) & (UINT64_MAX >> (63 - last));
        carve_note(c, slot);
    }
    return r;
}

/* The first part of a range that holds nothing, not over the end of its extent. */
static int grow(struct carve *c, struct blk_vec from, uint64_t off, size_t *ret_did)
{
    uint64_t mask = ((uint64_t)1 << shift_of(c)) - 1;
    struct range_hold hold = {.first = off & ~mask,
                              .end = (off + from.bytes + mask) & ~mask};
    struct run run;
    int r;

    range_take(c->blk.strands, &c->growing, &hold);
    run = first_run(c, off, from.bytes);
    *ret_did = run.bytes;
    from = blk_vec_part(from, 0, run.bytes);
    if (run.at != 0) { /* somebody else was first */
        r = blk_writev(c->edge.disk, from, run.at, 0);
    } else {
        r = fill(c, from, off);
    }
    range_give(&c->growing, &hold);
    return r;
}

static int write_all(struct carve *c, struct blk_vec from, uint64_t off, unsigned flags)
{
    unsigned inside = grace_enter(&c->grace);
    int r = 0;

    while (r == 0 && from.bytes > 0) {
        struct run run = look(c, off, from.bytes);
        size_t did = run.bytes;

        if (run.at != 0) {
            r = blk_writev(c->edge.disk, blk_vec_part(from, 0, did), run.at, flags);
        } else {
            did = first_run(c, off, from.bytes).bytes;
            r = grow(c, blk_vec_part(from, 0, did), off, &did);
        }
        off += did;
        from = blk_vec_part(from, did, from.bytes - did);
    }
    grace_leave(&c->grace, inside);
    return r;
}

/* Nothing about the disk waits to be told. */
static bool is_told(const struct carve *c)
{
    return c->changed_count == 0 && c->freed_count == 0 && !c->keep.held &&
           c->row.size == c->blk.size_bytes;
}

static int carve_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct carve *c = carve_of(b);
    uint64_t end = off + from.bytes;
    bool told = is_told(c);
    int r;

    if (end > (uint64_t)UINT32_MAX * c->store->extent_bytes) {
        return -ENOSPC;
    }
    r = write_all(c, from, off, told ? flags : 0);
    if (r == 0 && end > b->size_bytes) {
        b->size_bytes = end;
    }
    if (r == 0 && (flags & BLK_FUA) != 0 && (!told || !is_told(c))) {
        r = carve_keep(c);
    }
    return r;
}

/* ---- zeros ---- */

/* Granules [first, end) of a range of one extent are whole; at the end of the disk the rest
 * of a granule counts as part of the range. */
static uint64_t whole_bits(const struct carve *c, uint64_t off, uint64_t bytes)
{
    uint64_t in = off & (c->store->extent_bytes - 1);
    uint64_t granule = (uint64_t)1 << shift_of(c);
    uint64_t first = (in + granule - 1) >> shift_of(c);
    uint64_t end = (in + bytes) >> shift_of(c);

    if (off + bytes >= c->blk.size_bytes) {
        end = (in + bytes + granule - 1) >> shift_of(c);
    }
    if (end <= first) {
        return 0;
    }
    return (UINT64_MAX << first) & (UINT64_MAX >> (64 - end));
}

/* Zeros where granules hold data and are not taken away whole. */
static int erase_edges(struct carve *c, uint64_t off, uint64_t bytes, uint64_t whole)
{
    unsigned inside = grace_enter(&c->grace);
    int r = 0;

    while (r == 0 && bytes > 0) {
        struct run run = first_run(c, off, bytes);
        uint64_t in = off & (c->store->extent_bytes - 1);
        uint64_t next = ((in >> shift_of(c)) + 1) << shift_of(c);
        uint64_t n = next - in < run.bytes ? next - in : run.bytes;

        if (run.at != 0 && (whole >> (in >> shift_of(c)) & 1) == 0) {
            r = blk_zero(c->edge.disk, run.at, n, 0);
        }
        off += n;
        bytes -= n;
    }
    grace_leave(&c->grace, inside);
    return r;
}

static int erase_extent(struct carve *c, uint64_t off, uint64_t bytes, bool gives_back,
                        bool exactly)
{
    uint32_t index = (uint32_t)(off / c->store->extent_bytes);
    uint64_t start = (uint64_t)index * c->store->extent_bytes;
    struct range_hold hold = {.first = start, .end = start + c->store->extent_bytes};
    uint64_t whole = whole_bits(c, off, bytes);
    struct extent_slot *slot;
    int r = 0;

    if (extent_map_find(&c->map, index) == NULL) {
        return 0;
    }
    range_take(c->blk.strands, &c->growing, &hold);
    slot = extent_map_find(&c->map, index);
    if (slot != NULL && (slot->bits & whole) != 0) {
        slot->bits &= ~whole;
        carve_note(c, slot);
    }
    if (slot != NULL && slot->bits == 0 && gives_back) {
        carve_let_go(c, slot);
    } else if (slot != NULL && exactly) {
        r = erase_edges(c, off, bytes, whole);
    }
    range_give(&c->growing, &hold);
    return r;
}

/* A range with far more places than the disk has extents: only those that it has. */
static int erase_sparse(struct carve *c, uint64_t off, uint64_t bytes, bool gives_back,
                        bool exactly)
{
    uint64_t extent = c->store->extent_bytes;
    uint32_t count = 0;
    SCOPED(scope_free)
    uint32_t *index = fault_malloc((size_t)(c->map.count + 1) * sizeof *index);
    int r = index == NULL ? -ENOMEM : 0;

    for (uint32_t i = 0; r == 0 && i < c->map.size; i++) {
        if (c->map.slot[i].at != 0) {
            index[count++] = c->map.slot[i].index;
        }
    }
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        uint64_t from = index[i] * extent;
        uint64_t to = from + extent;

        from = from < off ? off : from;
        to = to > off + bytes ? off + bytes : to;
        if (from < to) {
            r = erase_extent(c, from, to - from, gives_back, exactly);
        }
    }
    return r;
}

int carve_erase(struct carve *c, uint64_t off, uint64_t bytes, bool gives_back,
                bool exactly)
{
    uint64_t extent = c->store->extent_bytes;
    int r = 0;

    if (bytes / extent > c->map.size) {
        return erase_sparse(c, off, bytes, gives_back, exactly);
    }
    while (r == 0 && bytes > 0) {
        uint64_t n = extent - (off & (extent - 1));

        n = n < bytes ? n : bytes;
        r = erase_extent(c, off, n, gives_back, exactly);
        off += n;
        bytes -= n;
    }
    return r;
}

static int carve_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct carve *c = carve_of(b);
    uint64_t end = off + bytes;
    uint64_t inside = off < b->size_bytes ? b->size_bytes - off : 0;
    int r = 0;

    if (end > (uint64_t)UINT32_MAX * c->store->extent_bytes) {
        return -ENOSPC;
    }
    inside = inside < bytes ? inside : bytes;
    if (inside > 0) {
        r = carve_erase(c, off, inside, (flags & BLK_UNMAP) != 0, true);
    }
    if (r == 0 && end > b->size_bytes) {
        b->size_bytes = end; /* behind the end all is zeros */
    }
    r = r == 0 ? carve_settle_freed(c) : r;
    if (r == 0 && (flags & BLK_FUA) != 0) {
        r = carve_keep(c);
    }
    return r;
}

static int carve_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct carve *c = carve_of(b);
    int r = carve_erase(c, off, bytes, true, false);

    return r == 0 ? carve_settle_freed(c) : r;
}

/* ---- the rest ---- */

static int carve_flush(struct blk *b)
{
    return carve_keep(carve_of(b));
}

/* The first offset from that of the extent of `off` on where one lies. */
static uint64_t next_extent(const struct carve *c, uint64_t off)
{
    uint64_t index = off / c->store->extent_bytes;
    uint64_t next = (uint64_t)UINT32_MAX + 1;

    for (uint32_t i = 0; i < c->map.size; i++) {
        const struct extent_slot *slot = &c->map.slot[i];

        if (slot->at != 0 && slot->index >= index && slot->index < next) {
            next = slot->index;
        }
    }
    return next * c->store->extent_bytes;
}

static int carve_status(struct blk *b, uint64_t off, uint64_t bytes,
                        struct blk_extent *ret)
{
    struct carve *c = carve_of(b);
    struct run run = look(c, off, bytes);

    if (run.at == 0 && run.bytes < bytes &&
        run.bytes / LOOK_MOST >= c->store->extent_bytes) {
        uint64_t next = next_extent(c, off + run.bytes); /* a long hole */

        if (next > off + run.bytes) {
            run.bytes = next - off < bytes ? next - off : bytes;
        }
    }
    ret->bytes = run.bytes;
    ret->state = BLK_ALLOCATED;
    if (run.at != 0) {
        ret->state |= BLK_DATA | BLK_PLACED;
        ret->at = run.at;
        ret->holder = c->edge.disk;
    }
    return 0;
}

static int carve_quiesce(struct blk *b)
{
    struct carve *c = carve_of(b);
    int r;

    if (b->read_only) {
        return 0;
    }
    r = carve_keep(c);
    if (r == 0) {
        r = carve_give_reserve(c);
    }
    c->late = r;
    return r;
}

/* Any number of readers, or one writer: in this process and, by the lock, in all. */
static int exclude(const struct carve *c, uint32_t number, bool writes)
{
    if (c->unlocked) {
        return 0;
    }
    for (const struct carve *o = c->store->open; o != NULL; o = o->next) {
        if (o != c && o->row_number == number && (writes || !o->blk.read_only)) {
            return -EBUSY;
        }
    }
    return place_lock_try(c->store, PLACE_LOCK_DISK, c->lock, 1, writes);
}

int place_carve_lock(struct carve *c)
{
    return exclude(c, c->row_number, !c->blk.read_only);
}

/* As one that writes: who reads leaves alone what is not in order. */
static int load_anew(struct carve *c, struct err *e)
{
    int r = place_row_read(c->store, c->row_number, &c->row);

    extent_map_fini(&c->map);
    c->map = (struct extent_map){.count = 0};
    c->changed_count = 0;
    c->freed_count = 0;
    c->freed_trimmed = 0;
    c->reserve_first = 0;
    c->reserve_end = 0;
    c->clipped = false;
    c->blk.read_only = false;
    r = r == 0 ? carve_load(c, e) : r;
    c->blk.read_only = r != 0;
    return r;
}

/* The store goes on writing its table, so the edge to its disk stays as it is. */
static int carve_access(struct blk *b, bool writes, struct err *e)
{
    struct carve *c = carve_of(b);
    int r = writes && c->store->read_only ? -EROFS : exclude(c, c->row_number, writes);

    if (r == 0 && writes) {
        r = load_anew(c, e);
        if (r != 0) {
            (void)exclude(c, c->row_number, false);
        }
    }
    b->grows = writes && r == 0;
    return r == 0 ? 0 : err_sys(e, r, "cannot let '%s' be written", b->label);
}

static void unlink_carve(struct carve *c)
{
    struct carve **at = &c->store->open;
    bool last = true;

    while (*at != NULL && *at != c) {
        at = &(*at)->next;
    }
    if (*at == c) {
        *at = c->next;
        for (const struct carve *o = c->store->open; o != NULL; o = o->next) {
            last = last && o->row_number != c->row_number;
        }
        if (last && !c->unlocked) {
            place_lock_drop(c->store, PLACE_LOCK_DISK, c->lock, 1);
        }
    }
}

static void carve_destroy(struct blk *b)
{
    struct carve *c = carve_of(b);

    unlink_carve(c);
    blk_detach(&c->edge);
    place_store_unref(c->store);
    extent_map_fini(&c->map);
    free(c->changed);
    free(c->freed);
    free(c);
}

const struct blk_ops carve_ops = {
    .name = "carve",
    .read = carve_read,
    .write = carve_write,
    .zero = carve_zero,
    .discard = carve_discard,
    .flush = carve_flush,
    .status = carve_status,
    /* no `pages`: what is on its way to a socket may be another disk's by then */
    .resize = carve_resize,
    .quiesce = carve_quiesce,
    .access = carve_access,
    .destroy = carve_destroy,
};

uint64_t place_carve_taken(const struct blk *carved)
{
    const struct carve *c = (const struct carve *)carved;

    return (uint64_t)(c->map.count + c->freed_count) * c->store->extent_bytes;
}

/* ---- opening ---- */

static int find_and_lock(struct carve *c, uint64_t id, uint32_t part)
{
    struct place_store *s = c->store;
    uint32_t number;
    int r = place_row_find(s, id, part, &number, &c->row);

    r = r == 0 ? exclude(c, number, !c->blk.read_only) : r;
    if (r != 0) {
        return r;
    }
    c->row_number = number;
    c->next = s->open;
    s->open = c;
    r = place_row_read(s, number, &c->row); /* whoever had it has told it by now */
    if (r == 0 &&
        (c->row.state != PLACE_ROW_LIVE || c->row.id != id || c->row.part != part)) {
        r = -ENOENT;
    }
    return r;
}

static void set_up(struct carve *c, uint64_t id, uint32_t part, bool read_only)
{
    struct place_store *s = c->store;

    blk_init(&c->blk, &carve_ops, s->strands);
    (void)snprintf(c->label, sizeof c->label, "%016llx.%u", (unsigned long long)id, part);
    c->blk.label = c->label;
    c->blk.block_bytes = blk_block_bytes(s->disk.disk);
    c->blk.read_only = read_only || s->read_only;
    c->blk.grows = !c->blk.read_only;
    c->blk.does_fua = true;
    c->blk.zeroes_fast = true;
    c->granule_shift = (uint32_t)__builtin_ctz(s->extent_bytes / place_granules(s));
    c->batch = 1;
    c->blk.edge = &c->edge;
    c->blk.edge_count = 1;
    c->edge = (struct blk_edge){
        .user = c->label,
        .uses = c->blk.read_only ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE,
        .lets = BLK_USE_READ | BLK_USE_WRITE,
    };
}

struct opening {
    uint64_t id;
    uint32_t part;
    bool read_only;
    bool unlocked;
};

static int open_carve(struct place_store *s, const struct opening *o,
                      struct blk **ret_disk, struct err *e)
{
    struct carve *c = fault_calloc(1, sizeof *c);
    uint64_t id = o->id;
    uint32_t part = o->part;
    int r;

    if (c == NULL) {
        return err_sys(e, -ENOMEM, "cannot open disk %016llx.%u", (unsigned long long)id,
                       part);
    }
    c->store = s;
    c->lock = place_lock_of(id, part);
    c->unlocked = o->unlocked;
    s->users++;
    set_up(c, id, part, o->read_only);
    r = blk_attach(&c->edge, s->disk.disk, e);
    if (r == 0) {
        r = find_and_lock(c, id, part);
        if (r == -EBUSY) {
            (void)err_set(e, r, "cannot open '%s': somebody else has it open", c->label);
        } else if (r != 0) {
            (void)err_sys(e, r, "cannot open '%s'", c->label);
        }
    }
    r = r == 0 ? carve_load(c, e) : r;
    if (r != 0) {
        carve_destroy(&c->blk);
        return r;
    }
    *ret_disk = &c->blk;
    return 0;
}

int place_carve_open(struct place_store *s, uint64_t id, uint32_t part, bool read_only,
                     struct blk **ret_disk, struct err *e)
{
    const struct opening o = {.id = id, .part = part, .read_only = read_only};

    return open_carve(s, &o, ret_disk, e);
}

int place_carve_open_beside(struct place_store *s, uint64_t id, uint32_t part,
                            bool read_only, struct blk **ret_disk, struct err *e)
{
    const struct opening o = {
        .id = id, .part = part, .read_only = read_only, .unlocked = true};

    return open_carve(s, &o, ret_disk, e);
}
