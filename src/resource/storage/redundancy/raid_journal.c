/* raid_journal.c - how parity closes the write hole.
 *
 * The hole: the power goes while some chunks of a stripe are new and others old; then the
 * parity is that of neither, and a member lost afterwards is recovered as garbage, blocks
 * that nobody wrote among them.
 *
 * So each change of a stripe is a transaction.  Before anything is written in place, each
 * member gets, in a journal of its own, the bytes that it is about to get in place, durably
 * (a record).  The transaction is committed when all its members have their record: then
 * it is written in place and acknowledged.
 *
 * After a power cut a transaction is written in place again if every member of it that is
 * still in has its record whole; else nothing of it was in place, and it is forgotten.  If a
 * member is lost after the cut:
 *
 *  - all the others have their record: they are replayed, data and parities become those
 *    of the whole change, and the lost chunk is recovered from them as it was to be;
 *  - one of them has not: nothing was in place anywhere, the stripe is what it was.
 *
 * With two parities the same holds for two lost members.  What is acknowledged is durable:
 * a flush has nothing to do.
 *
 * A full journal is settled: all committed transactions are in place and flushed, then a new
 * stream begins at the start of the area with a mark, a record without data, on every
 * member.  A record names its stream; only those of the newest stream count.  So a
 * transaction that was forgotten is forgotten for good: it cannot become complete by the
 * loss of the member that lacked its record.  A record that could not be written ends the
 * stream as well, since its transaction was not acknowledged and must not come back over
 * later ones.
 *
 * Committed and not in place, because a member failed that cannot be dropped: the stripe is
 * kept in memory (`stuck`), and whoever touches it has to write it first.
 *
 * Layout of a record, in an area from `MEMBER_AREA_AT` to `data_at` (little endian); the head
 * has a block for itself, the data follow:
 *
 *      0  magic              8
 *      8  id of the set     16   a guest cannot know it, so its data are no records
 *     24  stream             8   counts up; newest: the greatest
 *     32  salt               8   random, of the stream
 *     40  transaction        8   counts up
 *     48  stripe             8
 *     56  offset in the area 8   of this record
 *     64  first row          4
 *     68  rows               4   bytes of data
 *     72  index              4   of the chunk in its stripe
 *     76  roles              4   bits: the members of the transaction; 0: a mark
 *     80  CRC-32C of the data
 *     84  CRC-32C of the head up to here */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/grow.h"
#include "base/scope.h"
#include "resource/storage/redundancy/raid_private.h"
#include "resource/storage/safe/bytes.h"

#define MAGIC        0x646d656572747273u /* "srtreemd" */
#define HEAD_BYTES   88
#define WINDOW_BYTES (1u << 20)

/* ---- the gate ---- */

int raid_journal_enter(struct raid *x, uint32_t rows, uint64_t *ret_at)
{
    uint64_t need = x->blk.block_bytes + (uint64_t)rows;
    int r = 0;

    while (r == 0) {
        if (x->settling) {
            strand_wait(x->blk.strands, &x->gate);
        } else if (x->broken || x->journal_at + need > x->journal_bytes) {
            r = raid_journal_settle(x);
        } else {
            x->active++;
            *ret_at = x->journal_at;
            x->journal_at += need;
            return 0;
        }
    }
    return r;
}

void raid_journal_leave(struct raid *x)
{
    x->active--;
    if (x->active == 0) {
        (void)strand_wake_all(&x->idle);
    }
}

/* The same request for all that are in; who fails is dropped if that is possible. */
static int run_on_all(struct raid *x, const struct blk_request *what)
{
    struct blk_request request[RAID_MOST];
    unsigned role[RAID_MOST];
    unsigned n = 0;
    int r = 0;

    for (unsigned i = 0; i < x->set.count; i++) {
        if (member_is_live(&x->set.member[i])) {
            request[n] = *what;
            request[n].disk = x->set.edge[i].disk;
            role[n++] = i;
        }
    }
    if (member_run(request, n) == 0) {
        return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        if (request[i].result != 0) {
            x->set.member[role[i]].errors++;
            r = member_drop(&x->set, role[i]) ? r : request[i].result;
        }
    }
    return r;
}

/* A mark on all members; the numbers count once it is there. */
static int begin_stream(struct raid *x)
{
    uint32_t block = x->blk.block_bytes;
    SCOPED(scope_free) uint8_t *head = fault_aligned(4096, block);
    struct iovec piece = {head, block};
    struct blk_request mark = {.kind = BLK_WRITE,
                               .flags = BLK_FUA,
                               .off = MEMBER_AREA_AT,
                               .vec = {.iov = &piece, .bytes = block}};
    int r;

    if (head == NULL) {
        return -ENOMEM;
    }
    if (getrandom(&x->salt, sizeof x->salt, 0) != sizeof x->salt) {
        return -EIO;
    }
    x->stream++;
    bytes_put64(head, MAGIC);
    memcpy(head + 8, x->set.id, MEMBER_ID_BYTES);
    bytes_put64(head + 24, x->stream);
    bytes_put64(head + 32, x->salt);
    bytes_put32(head + 84, crc32c(0, head, 84));
    r = run_on_all(x, &mark);
    x->journal_at = block;
    x->broken = r != 0;
    return r;
}

int raid_journal_settle(struct raid *x)
{
    struct blk_request flush = {.kind = BLK_FLUSH};
    int r;

    if (x->settling) {
        return 0; /* somebody does; whoever asks looks again */
    }
    x->settling = true;
    while (x->active > 0) {
        strand_wait(x->blk.strands, &x->idle);
    }
    r = raid_unstick(x, UINT64_MAX);
    r = r == 0 ? run_on_all(x, &flush) : r;
    r = r == 0 ? member_save(&x->set) : r;
    r = r == 0 ? begin_stream(x) : r;
    r = r == 0 ? member_save(&x->set) : r;
    x->settling = false;
    (void)strand_wake_all(&x->gate);
    return r;
}

int raid_unstick(struct raid *x, uint64_t stripe)
{
    struct raid_stripe **at = &x->stuck;
    int r = 0;

    if (x->stuck == NULL) {
        return 0;
    }
    strand_lock(x->blk.strands, &x->stuck_lock);
    while (r == 0 && *at != NULL) {
        struct raid_stripe *s = *at;

        if (stripe != UINT64_MAX && s->number != stripe) {
            at = &s->next;
            continue;
        }
        r = raid_stripe_write(x, s);
        if (r == 0) {
            *at = s->next;
            raid_stripe_fini(s);
            free(s);
        }
    }
    strand_unlock(&x->stuck_lock);
    return r;
}

/* ---- records ---- */

static void put_head(const struct raid *x, const struct raid_stripe *s, unsigned index,
                     uint32_t roles, uint8_t *head)
{
    bytes_put64(head, MAGIC);
    memcpy(head + 8, x->set.id, MEMBER_ID_BYTES);
    bytes_put64(head + 24, x->stream);
    bytes_put64(head + 32, x->salt);
    bytes_put64(head + 40, x->transaction);
    bytes_put64(head + 48, s->number);
    bytes_put32(head + 64, s->lo);
    bytes_put32(head + 68, s->hi - s->lo);
    bytes_put32(head + 72, index);
    bytes_put32(head + 76, roles);
    bytes_put32(head + 80, crc32c(0, s->chunk[index], s->hi - s->lo));
}

static uint32_t roles_of(const struct raid *x, const struct raid_stripe *s)
{
    uint32_t roles = 0;

    for (unsigned i = 0; i < x->set.count; i++) {
        if ((s->change >> i & 1) != 0) {
            roles |= 1u << raid_role(x, s->number, i);
        }
    }
    return roles;
}

/* Drop who failed; -EAGAIN: the write has to be made anew, without them. */
static int drop_failed(struct raid *x, const struct blk_request *request,
                       const unsigned *role, unsigned n)
{
    int r = -EAGAIN;

    x->broken = true;
    for (unsigned i = 0; i < n; i++) {
        if (request[i].result != 0) {
            x->set.member[role[i]].errors++;
            r = member_drop(&x->set, role[i]) ? r : request[i].result;
        }
    }
    return r;
}

int raid_journal_put(struct raid *x, struct raid_stripe *s, uint64_t at)
{
    uint32_t block = x->blk.block_bytes;
    SCOPED(scope_free)
    uint8_t *heads = fault_aligned(4096, (size_t)block * RAID_MOST);
    struct blk_request request[RAID_MOST];
    struct iovec piece[RAID_MOST][2];
    unsigned role[RAID_MOST];
    uint32_t roles = roles_of(x, s);
    unsigned n = 0;

    if (heads == NULL) {
        return -ENOMEM;
    }
    x->transaction++;
    for (unsigned i = 0; i < x->set.count; i++) {
        uint8_t *head = heads + (size_t)n * block;

        if ((s->change >> i & 1) == 0) {
            continue;
        }
        put_head(x, s, i, roles, head);
        bytes_put64(head + 56, at);
        bytes_put32(head + 84, crc32c(0, head, 84));
        piece[n][0] = (struct iovec){head, block};
        piece[n][1] = (struct iovec){s->chunk[i], s->hi - s->lo};
        role[n] = raid_role(x, s->number, i);
        request[n] = (struct blk_request){
            .disk = x->set.edge[role[n]].disk,
            .kind = BLK_WRITE,
            .flags = BLK_FUA,
            .off = MEMBER_AREA_AT + at,
            .vec = {.iov = piece[n], .bytes = block + (size_t)(s->hi - s->lo)},
        };
        n++;
    }
    return member_run(request, n) == 0 ? 0 : drop_failed(x, request, role, n);
}

/* ---- replay ---- */

struct record {
    uint64_t stream;
    uint64_t salt;
    uint64_t transaction;
    uint64_t stripe;
    uint64_t at;
    uint32_t row;
    uint32_t rows;
    uint32_t crc;
    uint32_t roles;
    unsigned role;
};

struct replay {
    struct raid *x;
    struct record *record;
    uint32_t count;
    uint32_t room;
    uint64_t newest;
    uint8_t *window; /* WINDOW_BYTES of a journal, from `window_at` */
    uint64_t window_at;
    uint64_t window_bytes;
    uint8_t *data; /* of one record */
};

static bool read_head(const struct replay *p, unsigned role, uint64_t at,
                      const uint8_t *head, struct record *ret)
{
    const struct raid *x = p->x;
    uint32_t index = bytes_get32(head + 72);

    if (bytes_get64(head) != MAGIC || memcmp(head + 8, x->set.id, MEMBER_ID_BYTES) != 0 ||
        bytes_get32(head + 84) != crc32c(0, head, 84) || bytes_get64(head + 56) != at) {
        return false;
    }
    *ret = (struct record){
        .stream = bytes_get64(head + 24),
        .salt = bytes_get64(head + 32),
        .transaction = bytes_get64(head + 40),
        .stripe = bytes_get64(head + 48),
        .at = at,
        .row = bytes_get32(head + 64),
        .rows = bytes_get32(head + 68),
        .crc = bytes_get32(head + 80),
        .roles = bytes_get32(head + 76),
        .role = role,
    };
    if (ret->roles == 0) {
        return ret->rows == 0;
    }
    return ret->stripe < x->stripes && index < x->set.count &&
           raid_role(x, ret->stripe, index) == role && ret->rows > 0 &&
           ret->row <= x->chunk && ret->rows <= x->chunk - ret->row &&
           (ret->row | ret->rows) % x->blk.block_bytes == 0 &&
           ret->rows <= x->journal_bytes - at - x->blk.block_bytes &&
           (ret->roles >> role & 1) != 0;
}

static int read_data(struct replay *p, const struct record *c)
{
    int r = blk_read(p->x->set.edge[c->role].disk, p->data, c->rows,
                     MEMBER_AREA_AT + c->at + p->x->blk.block_bytes);

    return r != 0 ? r : crc32c(0, p->data, c->rows) == c->crc ? 0 : -EILSEQ;
}

static int keep(struct replay *p, const struct record *c)
{
    p->newest = c->stream > p->newest ? c->stream : p->newest;
    if (c->roles == 0) {
        return 0;
    }
    if (!grow_for(&p->record, p->count + 1, &p->room)) {
        return -ENOMEM;
    }
    p->record[p->count++] = *c;
    p->x->transaction =
        c->transaction > p->x->transaction ? c->transaction : p->x->transaction;
    return 0;
}

static int fill_window(struct replay *p, unsigned role, uint64_t at)
{
    uint64_t left = p->x->journal_bytes - at;

    p->window_at = at;
    p->window_bytes = left < WINDOW_BYTES ? left : WINDOW_BYTES;
    return blk_read(p->x->set.edge[role].disk, p->window, (size_t)p->window_bytes,
                    MEMBER_AREA_AT + at);
}

static int scan(struct replay *p, unsigned role)
{
    uint32_t block = p->x->blk.block_bytes;
    uint64_t at = 0;
    int r = fill_window(p, role, 0);

    while (r == 0 && at + block <= p->x->journal_bytes) {
        struct record c;

        if (at - p->window_at >= p->window_bytes) {
            r = fill_window(p, role, at);
            continue;
        }
        if (!read_head(p, role, at, p->window + (at - p->window_at), &c)) {
            at += block;
            continue;
        }
        r = c.roles == 0 ? 0 : read_data(p, &c);
        if (r == 0) {
            r = keep(p, &c);
            at += block + (uint64_t)c.rows;
        } else if (r == -EILSEQ) { /* torn: never committed */
            r = 0;
            at += block;
        }
    }
    return r;
}

static int by_transaction(const void *a, const void *b)
{
    const struct record *c = a;
    const struct record *d = b;

    if (c->transaction != d->transaction) {
        return c->transaction < d->transaction ? -1 : 1;
    }
    return c->salt == d->salt ? 0 : c->salt < d->salt ? -1 : 1;
}

/* Bits of the roles that have to have their record: those that are in for this stripe. */
static uint32_t needed(const struct raid *x, const struct record *c)
{
    unsigned usable = raid_usable(x, c->stripe);
    uint32_t roles = 0;

    for (unsigned i = 0; i < x->set.count; i++) {
        if ((usable >> i & 1) != 0) {
            roles |= 1u << raid_role(x, c->stripe, i);
        }
    }
    return roles & c->roles;
}

static int apply(struct replay *p, const struct record *c)
{
    struct raid *x = p->x;
    int r = read_data(p, c);

    r = r == 0 ? blk_write(x->set.edge[c->role].disk, p->data, c->rows,
                           x->set.data_at + c->stripe * x->chunk + c->row, 0)
               : r;
    if (r != 0) {
        x->set.member[c->role].errors++;
        r = member_drop(&x->set, c->role) ? 0 : r;
    }
    return r;
}

static int apply_all(struct replay *p)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < p->count;) {
        const struct record *first = &p->record[i];
        uint32_t end = i;
        uint32_t there = 0;

        while (end < p->count && by_transaction(&p->record[end], first) == 0) {
            there |= p->record[end].stream == p->newest ? 1u << p->record[end].role : 0;
            end++;
        }
        if (first->stream == p->newest && (needed(p->x, first) & ~there) == 0) {
            for (uint32_t k = i; r == 0 && k < end; k++) {
                if ((needed(p->x, first) >> p->record[k].role & 1) != 0) {
                    r = apply(p, &p->record[k]);
                }
            }
        }
        i = end;
    }
    return r;
}

/* Whether its records count: a member that comes back has those of long ago. */
static bool is_current(const struct member *m)
{
    return member_is_live(m) && (m->state == MEMBER_IN_SYNC || m->done > 0);
}

/* Whether all that was committed is in place. */
static bool is_settled(const struct replay *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->record[i].stream == p->newest) {
            return false;
        }
    }
    return true;
}

int raid_journal_replay(struct raid *x)
{
    struct replay p = {.x = x};
    int r = 0;

    p.window = fault_aligned(4096, WINDOW_BYTES);
    p.data = fault_aligned(4096, x->chunk);
    r = p.window == NULL || p.data == NULL ? -ENOMEM : 0;
    for (unsigned i = 0; r == 0 && i < x->set.count; i++) {
        if (is_current(&x->set.member[i])) {
            r = scan(&p, i);
            if (r != 0 && r != -ENOMEM) {
                x->set.member[i].errors++;
                r = member_drop(&x->set, i) ? 0 : r;
            }
        }
    }
    if (r == 0 && x->set.read_only && !is_settled(&p)) {
        r = -EOWNERDEAD;
    }
    if (r == 0 && p.count > 0 && !x->set.read_only) {
        qsort(p.record, p.count, sizeof p.record[0], by_transaction);
        r = apply_all(&p);
    }
    x->stream = p.newest;
    free(p.record);
    free(p.window);
    free(p.data);
    return r == 0 && !x->set.read_only ? raid_journal_settle(x) : r;
}
