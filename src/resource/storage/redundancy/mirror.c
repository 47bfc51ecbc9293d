/* mirror.c - several disks with the same bytes.
 *
 * A write marks its regions on all members (intent.c), goes to all of them, and is
 * acknowledged when all that are in have it.  Writes that overlap wait for each other, so
 * that members do not take them in different orders.
 *
 * `pending[role][region]`: the member does not have the region.  It is not read from there.
 * Invariants: for each region one member that is in sync is not pending; a region that
 * is pending, or that a member which is out may lack, is marked on the others.
 *
 * After a power cut members may differ where marks are.  Any of them is right, as none of
 * that was acknowledged or it is everywhere; but it has to be one and the same: the
 * first one is taken, the others are pending there and copied.  The same when a
 * write failed on all.
 *
 * A member whose write or flush failed is left out, and the others know that durably
 * before the request is acknowledged (member.c).  A failed read is answered by another
 * member, whose bytes are written to where the read failed; only if that fails, too, the
 * member is left out.
 *
 * Marks are cleared by a sweep: a region that was not written for a while, with all members
 * in and flushed since.  The layout of a member is at the head of member.c. */
#include "resource/storage/redundancy/mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/redundancy/mirror_private.h"

#define SWEEP_EVERY 16 /* flushes */
#define SWEEP_KEEP  2  /* sweeps: what is written often stays marked */
#define ALIGN_BYTES 65536u
#define MEND_BYTES  (1u << 20)

/* ---- members ---- */

static bool can_lose(const struct member_set *s, unsigned role)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (i != role && member_is_live(&s->member[i]) &&
            s->member[i].state == MEMBER_IN_SYNC) {
            return true;
        }
    }
    return false;
}

/* Regions that only the lost one had for sure: what the first that is in sync has there is
 * as right, since only unacknowledged writes differ. */
static void find_source(struct mirror *m)
{
    int first = -1;

    for (unsigned i = 0; i < m->set.count; i++) {
        if (m->set.member[i].state == MEMBER_IN_SYNC) {
            if (m->pending_count[i] == 0) {
                return;
            }
            first = first < 0 ? (int)i : first;
        }
    }
    if (first >= 0) {
        memset(m->pending[first], 0, m->intent.regions);
        m->pending_count[first] = 0;
    }
}

bool mirror_lose(struct mirror *m, unsigned role)
{
    if (!member_drop(&m->set, role)) {
        return false;
    }
    find_source(m);
    return true;
}

static bool has_all(const struct mirror *m, unsigned role, uint64_t first, uint64_t end)
{
    const struct member *x = &m->set.member[role];

    if (!member_is_live(x) || x->state == MEMBER_FOLLOWS ||
        (x->state == MEMBER_REBUILDING && m->set.async)) {
        return false;
    }
    return m->pending_count[role] == 0 ||
           memchr(m->pending[role] + first, 1, (size_t)(end - first)) == NULL;
}

int mirror_pick(struct mirror *m, uint64_t first, uint64_t end, int not )
{
    for (unsigned i = 0; i < m->set.count; i++) {
        unsigned role = (m->turn + i) % m->set.count;

        if ((int)role != not &&has_all(m, role, first, end)) {
            m->turn = role + 1;
            return (int)role;
        }
    }
    return -1;
}

/* ---- reads ---- */

static int read_member(struct mirror *m, unsigned role, struct blk_vec to, uint64_t off)
{
    int r = blk_readv(m->set.edge[role].disk, to, m->set.data_at + off);

    m->set.member[role].errors += r != 0;
    return r;
}

/* Write what `from` has over what `bad` could not read. */
static void mend(struct mirror *m, unsigned from, unsigned bad, uint64_t off,
                 uint64_t bytes)
{
    struct range_hold hold = {.first = off, .end = off + bytes};
    size_t step = bytes < MEND_BYTES ? (size_t)bytes : MEND_BYTES;
    SCOPED(scope_free) char *room = fault_aligned(4096, (step + 4095) & ~(size_t)4095);
    int r = room == NULL ? -ENOMEM : m->blk.read_only ? -EROFS : 0;

    range_take(m->blk.strands, &m->ranges, &hold);
    for (uint64_t at = 0; r == 0 && at < bytes; at += step) {
        size_t n = bytes - at < step ? (size_t)(bytes - at) : step;

        r = blk_read(m->set.edge[from].disk, room, n, m->set.data_at + off + at);
        if (r == 0 && member_is_live(&m->set.member[bad])) {
            r = blk_write(m->set.edge[bad].disk, room, n, m->set.data_at + off + at, 0);
            if (r != 0) {
                (void)mirror_lose(m, bad);
            }
        }
        m->repaired_bytes += r == 0 ? n : 0;
    }
    range_give(&m->ranges, &hold);
}

/* `bad` could not: ask the others, each once. */
static int read_others(struct mirror *m, unsigned bad, int why, struct blk_vec to,
                       uint64_t off)
{
    uint64_t first = mirror_region(m, off);
    uint64_t end = mirror_region(m, off + to.bytes - 1) + 1;

    for (unsigned i = 0; i < m->set.count; i++) {
        if (i != bad && has_all(m, i, first, end) && read_member(m, i, to, off) == 0) {
            mend(m, i, bad, off, to.bytes);
            return member_save(&m->set);
        }
    }
    return why;
}

static int read_piece(struct mirror *m, struct blk_vec to, uint64_t off, int role)
{
    int r = role < 0 ? -EIO : read_member(m, (unsigned)role, to, off);

    return r == 0 || role < 0 ? r : read_others(m, (unsigned)role, r, to, off);
}

static int mirror_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct mirror *m = mirror_of(b);
    uint64_t first = mirror_region(m, off);
    uint64_t end = mirror_region(m, off + to.bytes - 1) + 1;
    int role = mirror_pick(m, first, end, -1);
    int r = 0;

    mirror_kick(m);
    if (role >= 0) {
        return read_piece(m, to, off, role);
    }
    while (r == 0 && to.bytes > 0) { /* nobody has it all: region by region */
        uint64_t left = m->set.unit_bytes - off % m->set.unit_bytes;
        size_t n = to.bytes < left ? to.bytes : (size_t)left;

        first = mirror_region(m, off);
        r = read_piece(m, blk_vec_part(to, 0, n), off,
                       mirror_pick(m, first, first + 1, -1));
        to = blk_vec_part(to, n, to.bytes - n);
        off += n;
    }
    return r;
}

int mirror_read_copy(struct blk *b, unsigned copy, struct blk_vec to, uint64_t off)
{
    struct mirror *m = mirror_of(b);

    if (copy >= m->set.count) {
        return -ENOENT;
    }
    if (!has_all(m, copy, mirror_region(m, off),
                 mirror_region(m, off + to.bytes - 1) + 1)) {
        return -ENODEV;
    }
    return read_member(m, copy, to, off);
}

/* ---- changes ---- */

void mirror_touch(struct mirror *m, uint64_t off, uint64_t bytes, int by)
{
    uint64_t end = mirror_region(m, off + bytes - 1) + 1;

    for (uint64_t r = mirror_region(m, off); r < end; r++) {
        m->active[r] = (uint16_t)(m->active[r] + by);
        m->last[r] = m->generation;
    }
}

static bool takes_writes(const struct mirror *m, const struct member *x)
{
    return member_is_live(x) && (x->state == MEMBER_IN_SYNC || !m->set.async);
}

/* Nobody has it, or an unknown part: the first one counts, the others copy from it. */
static void all_failed(struct mirror *m, const struct blk_request *c)
{
    uint64_t end = mirror_region(m, c->off + c->bytes - 1) + 1;

    for (uint64_t r = mirror_region(m, c->off); r < end; r++) {
        int source = mirror_pick(m, r, r + 1, -1);

        for (unsigned i = 0; i < m->set.count; i++) {
            if ((int)i != source && takes_writes(m, &m->set.member[i])) {
                mirror_add_pending(m, i, r);
            }
        }
    }
}

/* To all members that are in; 0 when at least one that is in sync has it. */
static int send(struct mirror *m, const struct blk_request *c)
{
    struct blk_request request[MIRROR_MOST];
    unsigned role[MIRROR_MOST];
    unsigned n = 0;
    bool any = false;
    int r;

    for (unsigned i = 0; i < m->set.count; i++) {
        if (takes_writes(m, &m->set.member[i])) {
            request[n] = *c;
            request[n].disk = m->set.edge[i].disk;
            request[n].off = c->off + m->set.data_at;
            role[n++] = i;
        }
    }
    r = member_run(request, n);
    for (unsigned i = 0; r != 0 && i < n; i++) {
        any = any ||
              (request[i].result == 0 && m->set.member[role[i]].state == MEMBER_IN_SYNC);
        m->set.member[role[i]].errors += request[i].result != 0;
    }
    if (r != 0 && !any) {
        if (c->kind != BLK_FLUSH) {
            all_failed(m, c);
        }
        return r;
    }
    for (unsigned i = 0; r != 0 && i < n; i++) {
        if (request[i].result != 0) {
            (void)mirror_lose(m, role[i]);
        }
    }
    return 0;
}

static int change(struct mirror *m, const struct blk_request *c)
{
    struct range_hold hold = {.first = c->off, .end = c->off + c->bytes};
    int r;

    mirror_kick(m);
    if (m->set.async) {
        mirror_wait_room(m, c->bytes);
    }
    range_take(m->blk.strands, &m->ranges, &hold);
    mirror_touch(m, c->off, c->bytes, 1);
    r = intent_mark(&m->intent, mirror_region(m, c->off),
                    mirror_region(m, c->off + c->bytes - 1) + 1);
    r = r == 0 ? send(m, c) : r;
    if (r == 0 && m->set.async) {
        mirror_follow(m, c);
    }
    mirror_touch(m, c->off, c->bytes, -1);
    range_give(&m->ranges, &hold);
    if (m->set.async) {
        mirror_give_room(m, c->bytes);
    }
    return r == 0 ? member_save(&m->set) : r;
}

static int mirror_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct blk_request c = {
        .kind = BLK_WRITE, .flags = flags, .off = off, .bytes = from.bytes, .vec = from};

    return change(mirror_of(b), &c);
}

static int mirror_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct blk_request c = {.kind = BLK_ZERO,
                            .flags = flags & (BLK_FUA | BLK_UNMAP),
                            .off = off,
                            .bytes = bytes};

    return change(mirror_of(b), &c);
}

/* A discard may leave other bytes on each member: zeros are the same everywhere. */
static int mirror_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return b->zeroes_fast ? mirror_zero(b, off, bytes, BLK_UNMAP) : 0;
}

/* ---- flush ---- */

static bool all_are_equal(const struct mirror *m)
{
    for (unsigned i = 0; i < m->set.count; i++) {
        const struct member *x = &m->set.member[i];

        if (!member_is_live(x) || x->state == MEMBER_REBUILDING ||
            m->pending_count[i] > 0) {
            return false;
        }
    }
    return !m->set.unsaved;
}

static int flush_each(struct mirror *m)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < m->set.count; i++) {
        r = blk_flush(m->set.edge[i].disk);
    }
    return r;
}

void mirror_sweep(struct mirror *m, uint32_t keep)
{
    uint32_t now = ++m->generation;
    bool any = false;

    if (m->blk.read_only || !all_are_equal(m) || flush_each(m) != 0 ||
        !all_are_equal(m)) {
        return;
    }
    for (uint64_t r = 0; r < m->intent.regions; r++) {
        if (m->intent.marked[r] != 0 && m->active[r] == 0 && now - m->last[r] > keep) {
            intent_clear(&m->intent, r);
            any = true;
        }
    }
    if (any) {
        (void)intent_put(&m->intent); /* what stays marked does no harm */
    }
}

static int mirror_flush(struct blk *b)
{
    struct mirror *m = mirror_of(b);
    struct blk_request c = {.kind = BLK_FLUSH};
    int r;

    m->copy_failed = false;
    mirror_kick(m);
    r = send(m, &c);
    if (r == 0 && m->set.async) {
        mirror_wait_room(m, 0);
        mirror_follow(m, &c);
    }
    r = r == 0 ? member_save(&m->set) : r;
    if (r == 0 && ++m->flushes % SWEEP_EVERY == 0) {
        mirror_sweep(m, SWEEP_KEEP);
        r = member_save(&m->set);
    }
    return r;
}

static int mirror_extent(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    struct mirror *m = mirror_of(b);
    int role = mirror_pick(m, 0, m->intent.regions, -1);

    if (role < 0) { /* being made equal: nothing is known */
        *ret = (struct blk_extent){.bytes = bytes, .state = BLK_DATA | BLK_ALLOCATED};
        return 0;
    }
    return blk_status(m->set.edge[role].disk, m->set.data_at + off, bytes, ret);
}

static int mirror_quiesce(struct blk *b)
{
    struct mirror *m = mirror_of(b);

    m->stop = true;
    while (m->copying) {
        strand_wait(b->strands, &m->copy_ended);
    }
    mirror_catch_up(m);
    mirror_sweep(m, 0);
    m->stop = false;
    return member_save(&m->set);
}

/* ---- life ---- */

static int mirror_access(struct blk *b, bool writes, struct err *e);

static void mirror_destroy(struct blk *b)
{
    struct mirror *m = mirror_of(b);

    member_detach_all(&m->set);
    intent_fini(&m->intent);
    for (unsigned i = 0; i < MIRROR_MOST; i++) {
        free(m->pending[i]);
    }
    free(m->active);
    free(m->last);
    free(m);
}

static const struct blk_ops mirror_ops = {
    .name = "mirror",
    .read = mirror_read,
    .write = mirror_write,
    .zero = mirror_zero,
    .discard = mirror_discard,
    .flush = mirror_flush,
    .status = mirror_extent,
    .resize = mirror_resize,
    .quiesce = mirror_quiesce,
    .access = mirror_access,
    .destroy = mirror_destroy,
};

static uint64_t round_up(uint64_t n)
{
    return (n + ALIGN_BYTES - 1) & ~(uint64_t)(ALIGN_BYTES - 1);
}

int mirror_format(struct blk *const *disk, unsigned count, const struct mirror_format *f,
                  struct err *e)
{
    struct member_set *s;
    uint64_t least = UINT64_MAX;
    uint32_t region = f->region_bytes != 0 ? f->region_bytes : MIRROR_REGION_BYTES;
    uint64_t most;
    int r;

    if (count < 1 || count > MIRROR_MOST || (region & (region - 1)) != 0 ||
        region < 4096) {
        return err_set(e, -EINVAL, "a mirror has 1 to %u members", MIRROR_MOST);
    }
    for (unsigned i = 0; i < count; i++) {
        least = blk_size(disk[i]) < least ? blk_size(disk[i]) : least;
    }
    s = fault_calloc(1, sizeof *s);
    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot make a mirror");
    }
    s->kind = MEMBER_KIND_MIRROR;
    s->count = count;
    s->unit_bytes = region;
    s->async = f->async;
    most = f->size_bytes != 0 ? f->size_bytes : least;
    most = f->most_bytes > most ? f->most_bytes : most;
    s->data_at = MEMBER_AREA_AT + round_up(intent_bytes(most / region + 1));
    s->size = f->size_bytes != 0 || least < s->data_at
                  ? f->size_bytes
                  : (least - s->data_at) & ~(uint64_t)4095;
    for (unsigned i = 0; i < count; i++) {
        bool first = i == 0;

        s->member[i].lacks_all = !first && !f->same;
        s->member[i].state = first || (f->same && !f->async) ? MEMBER_IN_SYNC
                             : f->same                       ? MEMBER_FOLLOWS
                                                             : MEMBER_REBUILDING;
    }
    r = least < s->data_at || s->size > least - s->data_at || s->size % 4096 != 0
            ? err_set(e, -ENOSPC, "cannot make a mirror: its members are too small")
            : member_format(s, disk, e);
    free(s);
    return r;
}

static int alloc_regions(struct mirror *m)
{
    size_t n = (size_t)m->intent.regions + 1;
    int r = 0;

    m->active = fault_calloc(n, sizeof *m->active);
    m->last = fault_calloc(n, sizeof *m->last);
    for (unsigned i = 0; i < m->set.count; i++) {
        m->pending[i] = fault_calloc(n, 1);
        r = m->pending[i] == NULL ? -ENOMEM : r;
    }
    return m->active == NULL || m->last == NULL ? -ENOMEM : r;
}

/* The marks of all that have any. */
static int load_marks(struct mirror *m)
{
    for (unsigned i = 0; i < m->set.count; i++) {
        struct member *x = &m->set.member[i];
        int r = member_is_live(x) && !x->lacks_all ? intent_load(&m->intent, i) : 0;

        if (r != 0) {
            x->errors++;
        }
        if (r == -ENOMEM || (r != 0 && !mirror_lose(m, i))) {
            return r;
        }
    }
    return 0;
}

/* Who lacks what: all but the first one that is in sync, where marks are. */
static void spread_marks(struct mirror *m)
{
    bool first = true;

    for (unsigned i = 0; i < m->set.count; i++) {
        struct member *x = &m->set.member[i];

        if (!member_is_live(x) || (x->state == MEMBER_IN_SYNC && first)) {
            first = first && !member_is_live(x);
            continue;
        }
        for (uint64_t r = 0; r < m->intent.regions; r++) {
            if (x->lacks_all || m->intent.marked[r] != 0) {
                mirror_add_pending(m, i, r);
            }
        }
        if (x->state == MEMBER_FOLLOWS && m->pending_count[i] > 0) {
            x->state = MEMBER_REBUILDING; /* copied in any order, it is not a past */
            m->set.unsaved = true;
        }
    }
}

/* Members that come back have the marks of all. */
static int save_all(struct mirror *m)
{
    int r = 0;

    if (m->set.unsaved) {
        intent_change_all(&m->intent);
        r = intent_put(&m->intent);
    }
    return r == 0 ? member_save(&m->set) : r;
}

static int start(struct mirror *m, struct err *e)
{
    uint32_t block = 512;
    bool fast = true;
    int r = member_fit_back(&m->set, m->set.data_at + m->set.size, e);

    r = r == 0 ? intent_init(&m->intent, &m->set) : r;
    r = r == 0 ? alloc_regions(m) : r;
    r = r == 0 ? load_marks(m) : r;
    if (r != 0) {
        return r;
    }
    spread_marks(m);
    for (unsigned i = 0; i < m->set.count; i++) {
        const struct blk *d = m->set.edge[i].disk;

        if (d == NULL) {
            continue;
        }
        block = d->block_bytes > block ? d->block_bytes : block;
        fast = fast && d->zeroes_fast;
    }
    m->blk.size_bytes = m->set.size;
    m->blk.block_bytes = block;
    m->blk.does_fua = true;
    m->blk.zeroes_fast = fast;
    m->blk.edge = m->set.edge;
    m->blk.edge_count = m->set.count;
    m->blk.read_only = m->set.read_only;
    return m->set.read_only ? 0 : save_all(m);
}

/* What was marked meanwhile, by one who mended it, is not forgotten. */
static int mirror_access(struct blk *b, bool writes, struct err *e)
{
    struct mirror *m = mirror_of(b);
    int r = member_access(&m->set, writes, e);

    if (r == 0 && writes) {
        r = load_marks(m);
        spread_marks(m);
        r = r == 0 ? save_all(m) : r;
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot let '%s' be written", b->label);
}

int mirror_open(struct loop *l, struct blk *const *take_disk, unsigned count,
                const struct mirror_options *o, struct blk **ret_disk, struct err *e)
{
    struct blk *disk[MIRROR_MOST] = {NULL};
    struct member_open how = {.disk = disk,
                              .count = count,
                              .read_only = o->read_only,
                              .degraded = o->degraded || o->promote,
                              .promote = o->promote,
                              .winner = o->choose ? (int)o->winner : -1};
    struct mirror *m = count <= MIRROR_MOST ? fault_calloc(1, sizeof *m) : NULL;
    int r;

    if (m == NULL) {
        for (unsigned i = 0; i < count; i++) {
            blk_drop(take_disk[i]);
        }
        return err_sys(e, count > MIRROR_MOST ? -EINVAL : -ENOMEM,
                       "cannot open a mirror");
    }
    memcpy(disk, take_disk, count * sizeof disk[0]);
    blk_init(&m->blk, &mirror_ops, loop_strands(l));
    m->loop = l;
    m->end = &m->first;
    m->window_bytes = o->window_bytes != 0 ? o->window_bytes : MIRROR_WINDOW_BYTES;
    m->window_ns = o->window_ns != 0 ? o->window_ns : MIRROR_WINDOW_NS;
    m->set.kind = MEMBER_KIND_MIRROR;
    m->set.strands = m->blk.strands;
    m->set.can_lose = can_lose;
    r = member_assemble(&m->set, &how, e);
    if (r == 0 && m->set.count > MIRROR_MOST) {
        r = err_set(e, -EUCLEAN, "cannot open a mirror of %u members", m->set.count);
    }
    if (r == 0) {
        r = start(m, e);
        r = r == 0 ? 0 : err_sys(e, r, "cannot open a mirror");
    }
    if (r != 0) {
        mirror_destroy(&m->blk);
        return r;
    }
    mirror_kick(m);
    *ret_disk = &m->blk;
    return 0;
}

/* ---- what the operator sees and does ---- */

void mirror_status(const struct blk *b, struct mirror_status *ret)
{
    static const char *const words[MEMBER_STATE_COUNT] = {"out", "in sync", "rebuilding",
                                                          "follows"};
    const struct mirror *m = (const struct mirror *)b;

    *ret = (struct mirror_status){
        .count = m->set.count,
        .copied_bytes = m->copied_bytes,
        .repaired_bytes = m->repaired_bytes,
        .lag_bytes = m->lag_bytes,
        .event = m->set.event,
    };
    for (unsigned i = 0; i < m->set.count; i++) {
        const struct member *x = &m->set.member[i];

        ret->member[i] = (struct mirror_member){
            .state = words[x->state],
            .behind_bytes = m->pending_count[i] * m->set.unit_bytes,
            .errors = x->errors,
        };
        if (x->state == MEMBER_OUT) {
            ret->state = MIRROR_DEGRADED;
        } else if (ret->state == MIRROR_OK &&
                   (m->pending_count[i] > 0 || x->state == MEMBER_REBUILDING)) {
            ret->state = MIRROR_REBUILDING;
        }
    }
}

int mirror_fail(struct blk *b, unsigned role, struct err *e)
{
    struct mirror *m = mirror_of(b);
    int r;

    if (role >= m->set.count || !mirror_lose(m, role)) {
        return err_set(e, -EBUSY, "cannot leave member %u out: nobody else is in sync",
                       role);
    }
    r = member_save(&m->set);
    return r == 0 ? 0 : err_sys(e, r, "cannot leave member %u out", role);
}

int mirror_leave(struct blk *b, unsigned role, struct err *e)
{
    struct mirror *m = mirror_of(b);
    int r = mirror_fail(b, role, e);

    if (r == 0) {
        blk_drain_begin(b); /* readers of it */
        blk_detach(m->set.member[role].edge);
        blk_drain_end(b);
    }
    return r;
}

static int come_back(struct mirror *m, unsigned role, struct blk *take_disk,
                     struct err *e)
{
    int r;

    if (role >= m->set.count) {
        blk_drop(take_disk);
        return err_set(e, -EINVAL, "there is no member %u", role);
    }
    if (take_disk != NULL && (blk_size(take_disk) < m->set.data_at + m->set.size ||
                              blk_block_bytes(take_disk) > m->blk.block_bytes)) {
        blk_drop(take_disk);
        return err_set(e, -EINVAL, "cannot use the disk as member %u: too small", role);
    }
    r = member_replace(&m->set, role, take_disk, e);
    if (r != 0) {
        return r;
    }
    for (uint64_t i = 0; i < m->intent.regions; i++) {
        if (m->set.member[role].lacks_all || m->intent.marked[i] != 0) {
            mirror_add_pending(m, role, i);
        }
    }
    intent_change_all(&m->intent);
    r = intent_put(&m->intent);
    r = r == 0 ? member_save(&m->set) : r;
    m->copy_failed = false;
    mirror_kick(m);
    return r == 0 ? 0 : err_sys(e, r, "cannot take member %u in", role);
}

int mirror_return(struct blk *b, unsigned role, struct err *e)
{
    return come_back(mirror_of(b), role, NULL, e);
}

int mirror_replace(struct blk *b, unsigned role, struct blk *take_disk, struct err *e)
{
    return come_back(mirror_of(b), role, take_disk, e);
}
