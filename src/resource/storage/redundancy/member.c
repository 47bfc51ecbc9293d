/* member.c - superblocks, and who wins when they differ.
 *
 * Layout of a member (little endian):
 *
 *      0  two places of the superblock, 4096 bytes each (safe/slot.c)
 *  65536  intent bitmap (mirror.c) or journal (raid.c)
 *  data   from `data_at` on
 *
 * A superblock:
 *
 *      0  id of the set         16
 *     16  kind                   4   enum member_kind
 *     20  role of this member    4
 *     24  count of members       4   1 to 32
 *     28  unit                   4   bytes of a region or chunk, a power of two
 *     32  size of the disk       8
 *     40  offset of the data     8
 *     48  event                  8
 *     56  flags                  4   1: asynchronous
 *     60  zero                   4
 *     64  a row per role:
 *          0  id of the member  16
 *         16  state              4   enum member_state
 *         20  flags              4   1: lacks everything
 *         24  done               8
 *
 * Every change of a state makes the event greater and is written to all members that
 * are in before anything that happened after the change is acknowledged.  So:
 *
 *  - the member with the greatest event knows the truth about all, unless one that it
 *    calls in calls it out: then its event is of a change that reached nobody else;
 *  - one that it calls in sync may lack the last event only (the power went while it
 *    was written) and is as good; it is told that event when the set is opened, as it may
 *    call itself out, and would be believed once the others are lost;
 *  - all others are out, whatever they say of themselves: they never win;
 *  - two that call each other out have both gone on alone.  Neither is right, and the
 *    operator has to say who wins.
 *
 * Who is missing may know more than who is there, so that going on without him takes
 * the operator's word (`degraded`), too. */
#include "resource/storage/redundancy/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/safe/bytes.h"

#define MAGIC       0x736b736964727473u /* "strdisks" */
#define VERSION     1
#define HEAD_BYTES  64
#define ROW_BYTES   32
#define UNIT_LEAST  4096
#define UNIT_MOST   ((uint32_t)1 << 28)
#define FLAG_ASYNC  1u
#define FLAG_LACKS  1u
#define SUPER_BYTES (MEMBER_PLACE_BYTES - SLOT_HEAD_BYTES)

struct super {
    uint8_t text[SUPER_BYTES];
    bool there;
    struct slot slot;
};

static void slot_of_disk(struct slot *s, struct blk *disk)
{
    *s = (struct slot){
        .disk = disk, .bytes = MEMBER_PLACE_BYTES, .magic = MAGIC, .version = VERSION};
}

static const uint8_t *row_of(const struct super *x, unsigned role)
{
    return x->text + HEAD_BYTES + (size_t)role * ROW_BYTES;
}

static unsigned role_of(const struct super *x)
{
    return bytes_get32(x->text + 20);
}

static uint64_t event_of(const struct super *x)
{
    return bytes_get64(x->text + 48);
}

static uint32_t state_in(const struct super *x, unsigned role)
{
    return bytes_get32(row_of(x, role) + 16);
}

static void encode(const struct member_set *s, unsigned role, uint8_t *text)
{
    memset(text, 0, SUPER_BYTES);
    memcpy(text, s->id, MEMBER_ID_BYTES);
    bytes_put32(text + 16, s->kind);
    bytes_put32(text + 20, role);
    bytes_put32(text + 24, s->count);
    bytes_put32(text + 28, s->unit_bytes);
    bytes_put64(text + 32, s->size);
    bytes_put64(text + 40, s->data_at);
    bytes_put64(text + 48, s->event);
    bytes_put32(text + 56, s->async ? FLAG_ASYNC : 0);
    for (unsigned i = 0; i < s->count; i++) {
        const struct member *m = &s->member[i];
        uint8_t *row = text + HEAD_BYTES + (size_t)i * ROW_BYTES;

        memcpy(row, m->id, MEMBER_ID_BYTES);
        bytes_put32(row + 16, m->state);
        bytes_put32(row + 20, m->lacks_all ? FLAG_LACKS : 0);
        bytes_put64(row + 24, m->done);
    }
}

static int store(struct member_set *s, unsigned role)
{
    uint8_t *text = fault_malloc(SUPER_BYTES);
    int r = -ENOMEM;

    if (text != NULL) {
        encode(s, role, text);
        r = slot_store(&s->member[role].slot, text,
                       HEAD_BYTES + (size_t)s->count * ROW_BYTES);
    }
    free(text);
    return r;
}

static int draw(uint8_t id[MEMBER_ID_BYTES])
{
    return getrandom(id, MEMBER_ID_BYTES, 0) == MEMBER_ID_BYTES ? 0 : -EIO;
}

int member_format(struct member_set *s, struct blk *const *disk, struct err *e)
{
    int r = draw(s->id);

    s->event = 1;
    for (unsigned i = 0; r == 0 && i < s->count; i++) {
        r = draw(s->member[i].id);
    }
    for (unsigned i = 0; r == 0 && i < s->count; i++) {
        struct member *m = &s->member[i];

        if (blk_size(disk[i]) < s->data_at) {
            return err_set(e, -ENOSPC, "cannot use '%s': it is too small",
                           disk[i]->label);
        }
        slot_of_disk(&m->slot, disk[i]);
        r = blk_zero(disk[i], 0, s->data_at, BLK_FUA);
        r = r == 0 ? store(s, i) : r;
        if (r != 0) {
            return err_sys(e, r, "cannot write to '%s'", disk[i]->label);
        }
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot draw an id");
}

/* ---- reading ---- */

static bool geometry_is_right(const struct super *x, const struct blk *disk)
{
    uint32_t count = bytes_get32(x->text + 24);
    uint32_t unit = bytes_get32(x->text + 28);
    uint64_t size = bytes_get64(x->text + 32);
    uint64_t data_at = bytes_get64(x->text + 40);

    return count >= 1 && count <= MEMBER_MOST && role_of(x) < count &&
           unit >= UNIT_LEAST && unit <= UNIT_MOST && (unit & (unit - 1)) == 0 &&
           size <= BLK_SIZE_MOST_BYTES && size % 4096 == 0 && data_at >= MEMBER_AREA_AT &&
           data_at % 4096 == 0 && data_at <= blk_size(disk);
}

static int load(struct blk *disk, struct super *x)
{
    size_t bytes = 0;
    unsigned count;
    int r;

    slot_of_disk(&x->slot, disk);
    if (blk_size(disk) < MEMBER_AREA_AT) {
        return -ENOENT;
    }
    r = slot_load(&x->slot, x->text, &bytes);
    if (r != 0) {
        return r;
    }
    if (bytes < HEAD_BYTES || !geometry_is_right(x, disk)) {
        return -EUCLEAN;
    }
    count = bytes_get32(x->text + 24);
    if (bytes != HEAD_BYTES + (size_t)count * ROW_BYTES) {
        return -EUCLEAN;
    }
    for (unsigned i = 0; i < count; i++) {
        if (state_in(x, i) >= MEMBER_STATE_COUNT) {
            return -EUCLEAN;
        }
    }
    x->there = true;
    return 0;
}

/* The parts that never change, but for the role: not the size, which the leader knows. */
static bool is_same_set(const struct super *a, const struct super *b)
{
    return memcmp(a->text, b->text, 20) == 0 &&
           memcmp(a->text + 24, b->text + 24, 8) == 0 &&
           memcmp(a->text + 40, b->text + 40, 8) == 0;
}

struct assembly {
    struct member_set *s;
    const struct member_open *o;
    struct super *at; /* by role */
    struct blk *disk[MEMBER_MOST];
    bool any;
};

/* Put one disk where its superblock says that it belongs. */
static int place(struct assembly *a, struct blk *disk, struct super *x, struct err *e)
{
    int r = load(disk, x);
    unsigned role;

    if (r != 0) {
        return err_sys(e, r == -ENOENT ? -EUCLEAN : r, "cannot use member '%s'",
                       disk->label);
    }
    role = role_of(x);
    if (bytes_get32(x->text + 16) != a->s->kind) {
        return err_set(e, -EUCLEAN, "cannot use member '%s': it is of another kind",
                       disk->label);
    }
    for (unsigned i = 0; i < MEMBER_MOST; i++) {
        if (a->at[i].there && !is_same_set(&a->at[i], x)) {
            return err_set(e, -EUCLEAN, "cannot use member '%s': it is of another set",
                           disk->label);
        }
    }
    if (a->at[role].there) {
        return err_set(e, -EUCLEAN, "cannot use member '%s': it is there twice",
                       disk->label);
    }
    a->at[role] = *x;
    a->disk[role] = disk;
    a->any = true;
    return 0;
}

/* Two that call themselves in and each other out. */
static bool is_split(const struct super *x, const struct super *y)
{
    return x->there && y->there && state_in(x, role_of(x)) != MEMBER_OUT &&
           state_in(y, role_of(y)) != MEMBER_OUT &&
           state_in(x, role_of(y)) == MEMBER_OUT && state_in(y, role_of(x)) == MEMBER_OUT;
}

static bool may_lead(const struct super *x)
{
    uint32_t own = x->there ? state_in(x, role_of(x)) : (uint32_t)MEMBER_OUT;

    return own == MEMBER_IN_SYNC || own == MEMBER_FOLLOWS;
}

/* Somebody that it calls in calls it out, and knows as much.  A change of states that was
 * cut reached this one only; the others went on without it from where they were. */
static bool is_overruled(const struct assembly *a, const struct super *x)
{
    for (unsigned i = 0; i < MEMBER_MOST; i++) {
        const struct super *y = &a->at[i];

        if (may_lead(y) && event_of(y) >= event_of(x) &&
            state_in(y, role_of(x)) == MEMBER_OUT &&
            state_in(x, role_of(y)) != MEMBER_OUT) {
            return true;
        }
    }
    return false;
}

static bool is_candidate(const struct assembly *a, unsigned role)
{
    return may_lead(&a->at[role]) && !is_overruled(a, &a->at[role]);
}

/* The superblock that tells the truth. */
static int find_leader(const struct assembly *a, const struct super **ret, struct err *e)
{
    const struct super *best = NULL;

    if (a->o->winner >= 0 && a->o->winner < MEMBER_MOST &&
        may_lead(&a->at[a->o->winner])) {
        *ret = &a->at[a->o->winner];
        return 0;
    }
    for (unsigned i = 0; i < MEMBER_MOST; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (is_candidate(a, i) && is_candidate(a, k) &&
                is_split(&a->at[i], &a->at[k])) {
                return err_set(
                    e, -ESTALE,
                    "members %u and %u have gone on without each other: one of "
                    "them has to be chosen",
                    k, i);
            }
        }
        if (is_candidate(a, i) &&
            (best == NULL || event_of(&a->at[i]) > event_of(best))) {
            best = &a->at[i];
        }
    }
    if (best == NULL) {
        return err_set(e, -ENODEV,
                       a->any ? "no member that is there is in sync"
                              : "all its members are missing");
    }
    *ret = best;
    return 0;
}

static void adopt(struct member_set *s, const struct super *lead)
{
    memcpy(s->id, lead->text, MEMBER_ID_BYTES);
    s->count = bytes_get32(lead->text + 24);
    s->unit_bytes = bytes_get32(lead->text + 28);
    s->size = bytes_get64(lead->text + 32);
    s->data_at = bytes_get64(lead->text + 40);
    s->async = (bytes_get32(lead->text + 56) & FLAG_ASYNC) != 0;
    s->event = event_of(lead);
    for (unsigned i = 0; i < s->count; i++) {
        struct member *m = &s->member[i];

        memcpy(m->id, row_of(lead, i), MEMBER_ID_BYTES);
        m->state = (enum member_state)state_in(lead, i);
        m->lacks_all = (bytes_get32(row_of(lead, i) + 20) & FLAG_LACKS) != 0;
        m->done = bytes_get64(row_of(lead, i) + 24);
    }
}

/* What a member is, given what the leader says of it. */
static int settle_role(struct assembly *a, unsigned role, struct err *e)
{
    struct member *m = &a->s->member[role];
    const struct super *x = &a->at[role];

    if (!x->there) {
        if (m->state != MEMBER_OUT && !a->o->degraded) {
            return err_set(e, -ENODEV,
                           "member %u is missing: to go on without it takes the order to",
                           role);
        }
        a->s->unsaved = a->s->unsaved || m->state != MEMBER_OUT;
        m->state = MEMBER_OUT;
        return 0;
    }
    m->slot = x->slot;
    if (memcmp(row_of(x, role), m->id, MEMBER_ID_BYTES) != 0) {
        m->lacks_all = true; /* was replaced meanwhile */
        memcpy(m->id, row_of(x, role), MEMBER_ID_BYTES);
        m->state = MEMBER_OUT;
    } else if (event_of(x) + 1 < a->s->event) {
        m->state = MEMBER_OUT;
    }
    if (m->state != MEMBER_OUT && event_of(x) != a->s->event) {
        a->s->unsaved = true; /* it is told the last event again */
        a->s->half_saved = true;
    }
    if (m->state == MEMBER_OUT) { /* it is there: it can come back */
        m->state = MEMBER_REBUILDING;
        m->done = 0;
        a->s->unsaved = true;
    }
    return 0;
}

/* Without a primary in sync, a follower takes over if that is wanted. */
static int find_primary(struct assembly *a, struct err *e)
{
    struct member_set *s = a->s;

    if (!s->async || member_count(s, MEMBER_IN_SYNC) > 0) {
        return 0;
    }
    for (unsigned i = 0; a->o->promote && i < s->count; i++) {
        if (s->member[i].state == MEMBER_FOLLOWS && a->at[i].there) {
            s->member[i].state = MEMBER_IN_SYNC;
            s->unsaved = true;
            return 0;
        }
    }
    return err_set(e, -ENODEV, "the primary is missing: a follower may be promoted");
}

static int attach(struct assembly *a, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < a->s->count; i++) {
        struct member *m = &a->s->member[i];

        *m->edge = (struct blk_edge){
            .user = "redundancy",
            .uses = a->s->read_only ? BLK_USE_READ : BLK_USE_ALL,
        };
        if (a->disk[i] != NULL) {
            r = blk_attach(m->edge, a->disk[i], e);
        }
    }
    return r;
}

static int assemble(struct assembly *a, struct err *e)
{
    const struct super *lead = NULL;
    struct super *x = fault_calloc(1, sizeof *x);
    int r = x == NULL ? err_sys(e, -ENOMEM, "cannot assemble") : 0;

    for (unsigned i = 0; r == 0 && i < a->o->count; i++) {
        if (a->o->disk[i] != NULL) {
            x->there = false;
            r = place(a, a->o->disk[i], x, e);
        }
    }
    free(x);
    if (r == 0) {
        r = find_leader(a, &lead, e);
    }
    if (r != 0) {
        return r;
    }
    adopt(a->s, lead);
    for (unsigned i = 0; r == 0 && i < a->s->count; i++) {
        r = settle_role(a, i, e);
    }
    r = r == 0 ? find_primary(a, e) : r;
    return r == 0 ? attach(a, e) : r;
}

/* Let go of every disk once: by its edge if it has one. */
static void give_up(struct member_set *s, const struct member_open *o)
{
    for (unsigned i = 0; i < o->count; i++) {
        struct blk_edge *edge = NULL;
        bool again = false;

        for (unsigned k = 0; k < i; k++) {
            again = again || o->disk[k] == o->disk[i];
        }
        for (unsigned k = 0; k < MEMBER_MOST; k++) {
            if (o->disk[i] != NULL && s->edge[k].disk == o->disk[i]) {
                edge = &s->edge[k];
            }
        }
        if (edge != NULL) {
            blk_detach(edge);
        } else if (!again) {
            blk_drop(o->disk[i]);
        }
    }
}

int member_assemble(struct member_set *s, const struct member_open *o, struct err *e)
{
    struct assembly a = {.s = s, .o = o};
    int r;

    s->read_only = o->read_only;
    for (unsigned i = 0; i < MEMBER_MOST; i++) {
        s->member[i].edge = &s->edge[i];
    }
    a.at = fault_calloc(MEMBER_MOST, sizeof *a.at);
    r = a.at == NULL ? err_sys(e, -ENOMEM, "cannot assemble") : assemble(&a, e);
    free(a.at);
    if (r != 0) {
        give_up(s, o);
    }
    return r;
}

/* ---- changes ---- */

bool member_is_live(const struct member *m)
{
    return m->edge->disk != NULL && m->state != MEMBER_OUT;
}

unsigned member_count(const struct member_set *s, enum member_state state)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->count; i++) {
        n += s->member[i].state == state;
    }
    return n;
}

bool member_drop(struct member_set *s, unsigned role)
{
    if (s->member[role].state == MEMBER_OUT) {
        return true;
    }
    if (!s->can_lose(s, role)) {
        return false;
    }
    s->member[role].state = MEMBER_OUT;
    s->unsaved = true;
    return true;
}

/* One round: the members in sync first, so that one that comes in is told last. */
static int save_round(struct member_set *s)
{
    int r = 0;

    s->event += s->half_saved ? 0 : 1; /* nobody is two events behind for a try */
    s->half_saved = true;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < s->count; i++) {
            struct member *m = &s->member[i];
            int failed;

            if (!member_is_live(m) || (m->state == MEMBER_IN_SYNC) != (pass == 0)) {
                continue;
            }
            m->slot.disk =
                s->edge[i].disk; /* another one, where a job moved the member */
            failed = store(s, i);
            if (failed != 0 && !member_drop(s, i)) {
                s->unsaved = true;
                r = failed;
            }
        }
    }
    return r;
}

int member_save(struct member_set *s)
{
    int r = 0;

    if (s->read_only || (!s->unsaved && !s->lock.held)) {
        return 0;
    }
    strand_lock(s->strands, &s->lock); /* behind whoever is writing the change just now */
    while (r == 0 && s->unsaved) {
        s->unsaved = false;
        r = save_round(s);
        s->half_saved = r != 0;
    }
    strand_unlock(&s->lock);
    return r;
}

static int take_other_disk(struct member_set *s, unsigned role, struct blk *take_disk,
                           struct err *e)
{
    struct member *m = &s->member[role];
    int r;

    blk_detach(m->edge);
    *m->edge = (struct blk_edge){.user = "redundancy", .uses = BLK_USE_ALL};
    r = blk_attach(m->edge, take_disk, e);
    if (r != 0) {
        blk_drop(take_disk);
        return r;
    }
    slot_of_disk(&m->slot, take_disk);
    r = blk_zero(take_disk, 0, s->data_at, BLK_FUA);
    r = r == 0 ? draw(m->id) : r;
    m->lacks_all = true;
    return r == 0 ? 0 : err_sys(e, r, "cannot write to member %u", role);
}

int member_replace(struct member_set *s, unsigned role, struct blk *take_disk,
                   struct err *e)
{
    int r = 0;

    if (role >= s->count || s->member[role].state != MEMBER_OUT ||
        (take_disk == NULL && s->edge[role].disk == NULL)) {
        blk_drop(take_disk);
        return err_set(e, -EINVAL, "cannot put a disk in for member %u: it is not out",
                       role);
    }
    if (take_disk != NULL) {
        r = take_other_disk(s, role, take_disk, e);
    }
    if (r == 0) {
        s->member[role].done = 0;
        s->member[role].state = MEMBER_REBUILDING;
        s->unsaved = true;
    }
    return r;
}

/* What is known here of one's superblock is what it says. */
static int look_again(const struct member_set *s, unsigned role, struct err *e)
{
    uint8_t *text = fault_malloc(SUPER_BYTES);
    struct slot slot = s->member[role].slot;
    size_t bytes = 0;
    int r = text == NULL ? -ENOMEM : 0;

    slot.disk = s->edge[role].disk;
    r = r == 0 ? slot_load(&slot, text, &bytes) : r;
    free(text);
    if (r != 0) {
        return err_sys(e, r, "cannot read member %u", role);
    }
    return slot.sequence == s->member[role].slot.sequence
               ? 0
               : err_set(e, -ESTALE, "member %u was changed by another program meanwhile",
                         role);
}

int member_access(struct member_set *s, bool writes, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < s->count; i++) {
        r = blk_edge_access(&s->edge[i], writes, e);
    }
    for (unsigned i = 0; r == 0 && writes && i < s->count; i++) { /* nobody else writes */
        r = s->edge[i].disk != NULL ? look_again(s, i, e) : 0;
    }
    if (r == 0) {
        s->read_only = !writes;
    }
    return r;
}

int member_run(struct blk_request *request, unsigned count)
{
    int r = count > 0 ? blk_run_all(request, count) : 0;

    for (unsigned i = 0; r != 0 && i < count; i++) {
        if (request[i].result == -ENOMEM) {
            request[i].result = blk_run_all(&request[i], 1); /* in this strand */
        }
    }
    for (unsigned i = 0; r != 0 && i < count; i++) {
        if (request[i].result != 0) {
            return request[i].result;
        }
    }
    return 0;
}

int member_fit_back(struct member_set *s, uint64_t bytes, struct err *e)
{
    bool somebody = false;

    for (unsigned i = 0; i < s->count; i++) {
        somebody =
            somebody || (s->edge[i].disk != NULL && blk_size(s->edge[i].disk) >= bytes);
    }
    if (somebody && s->read_only) {
        return 0; /* what lies behind the end of one is read from another */
    }
    return somebody ? member_fit(s, bytes, e)
                    : err_set(e, -EUCLEAN, "all members are smaller than they say");
}

int member_fit(struct member_set *s, uint64_t bytes, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < s->count; i++) {
        struct blk *disk = s->edge[i].disk;

        if (disk != NULL && blk_size(disk) < bytes) {
            r = blk_resize(disk, bytes, e);
        }
    }
    return r;
}

int member_clear(struct member_set *s, uint64_t off, uint64_t bytes)
{
    struct blk_request request[MEMBER_MOST];
    unsigned n = 0;
    int r = 0;

    for (unsigned pass = 0; bytes > 0 && r == 0 && pass < 2; pass++) {
        n = 0;
        for (unsigned i = 0; i < s->count; i++) {
            if (member_is_live(&s->member[i])) {
                request[n++] = (struct blk_request){
                    .disk = s->edge[i].disk,
                    .kind = pass == 0 ? BLK_ZERO : BLK_FLUSH,
                    .flags = pass == 0 ? BLK_UNMAP : 0,
                    .off = pass == 0 ? s->data_at + off : 0,
                    .bytes = pass == 0 ? bytes : 0,
                };
            }
        }
        r = member_run(request, n);
    }
    return r;
}

int member_set_size(struct member_set *s, uint64_t size)
{
    uint64_t was = s->size;
    int r;

    s->size = size;
    s->unsaved = true;
    r = member_save(s);
    s->size = r == 0 ? size : was;
    return r;
}

void member_detach_all(struct member_set *s)
{
    for (unsigned i = 0; i < MEMBER_MOST; i++) {
        blk_detach(&s->edge[i]);
    }
}
