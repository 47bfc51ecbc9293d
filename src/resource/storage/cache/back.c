/* back.c - what is dirty goes down in the order of epochs, and room is made.
 *
 * One strand tends the cache: it takes down all that is sealed, frees clean slots
 * when free ones are few, and closes an epoch early when a write waits for room.  A
 * group of sealed epochs goes down together: of a block that several of them wrote only
 * the last version, then one flush of the slow disk, then `done` is the last of them. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/cache/private.h"

#define BATCH       8u  /* lines that go down side by side */
#define RUNS        64u /* pieces of them */
#define LOW_PART    32u /* free slots are few when less than one in so many */
#define EVICT_BATCH 64u

void cache_pin(struct cache *c, struct cache_slot *s)
{
    s->pins++;
    c->pinned++;
}

void cache_unpin(struct cache *c, struct cache_slot *s)
{
    s->pins--;
    c->pinned--;
    if (s->pins == 0 && s->state == CACHE_FREEING && !cache_keeps_index(c)) {
        cache_move(c, s, CACHE_FREE);
    }
    if (c->wanting > 0) {
        cache_tend(c);
    }
}

void cache_enter_epoch(struct cache *c, uint64_t epoch)
{
    c->writers[epoch & 1]++;
}

void cache_leave_epoch(struct cache *c, uint64_t epoch)
{
    if (--c->writers[epoch & 1] == 0) {
        (void)strand_wake_all(&c->writers_gone);
    }
}

/* ---- going down ---- */

struct batch {
    struct cache *c;
    uint64_t target; /* the last epoch that goes down */
    struct cache_slot *slot[BATCH];
    uint64_t bits[BATCH]; /* that go down: not those that a later epoch replaces */
    struct iovec whole[BATCH];
    unsigned count;
    struct blk_request request[RUNS];
    struct iovec piece[RUNS];
    unsigned runs;
};

static uint64_t bits_to_write(const struct batch *b, const struct cache_slot *s)
{
    uint64_t bits = s->valid;

    for (struct cache_slot *v = cache_newest(b->c, s->line); v != s; v = v->older) {
        if (v->state == CACHE_DIRTY && v->epoch <= b->target) {
            bits &= ~v->valid;
        }
    }
    return bits;
}

/* The next lines from `s` on, each once; what follows them. */
static struct cache_slot *gather(struct batch *b, struct cache_slot *s)
{
    b->count = 0;
    while (s != NULL && s->epoch <= b->target && b->count < BATCH) {
        for (unsigned i = 0; i < b->count; i++) {
            if (b->slot[i]->line == s->line) { /* an earlier version is on its way */
                return s;
            }
        }
        b->bits[b->count] = bits_to_write(b, s);
        b->slot[b->count++] = s;
        s = s->next;
    }
    return s;
}

static int read_batch(struct batch *b, char *room)
{
    struct cache *c = b->c;
    unsigned n = 0;

    for (unsigned i = 0; i < b->count; i++) {
        b->whole[i] = (struct iovec){room + (size_t)i * c->line_bytes, c->line_bytes};
        if (b->bits[i] != 0) {
            b->request[n++] = (struct blk_request){
                .disk = cache_store(c),
                .kind = BLK_READ,
                .off = cache_place(c, b->slot[i]),
                .vec = {.iov = &b->whole[i], .bytes = c->line_bytes},
            };
        }
    }
    return blk_run_all(b->request, n);
}

static int write_runs(struct batch *b)
{
    int r = blk_run_all(b->request, b->runs);

    b->runs = 0;
    return r;
}

static int add_run(struct batch *b, unsigned i, unsigned first, unsigned blocks)
{
    struct cache *c = b->c;
    uint64_t at = (uint64_t)first * c->blk.block_bytes;
    size_t bytes = (size_t)blocks * c->blk.block_bytes;

    b->piece[b->runs] = (struct iovec){(char *)b->whole[i].iov_base + at, bytes};
    b->request[b->runs] = (struct blk_request){
        .disk = cache_slow(c),
        .kind = BLK_WRITE,
        .off = b->slot[i]->line * c->line_bytes + at,
        .vec = {.iov = &b->piece[b->runs], .bytes = bytes},
    };
    b->runs++;
    c->figures.written_back_bytes += bytes;
    return b->runs == RUNS ? write_runs(b) : 0;
}

static int write_batch(struct batch *b)
{
    int r = 0;

    for (unsigned i = 0; i < b->count; i++) {
        uint64_t bits = b->bits[i];
        unsigned at = 0;

        while (r == 0 && bits != 0) {
            unsigned skip = (unsigned)__builtin_ctzll(bits);
            unsigned n;

            bits >>= skip;
            n = bits == UINT64_MAX ? 64 : (unsigned)__builtin_ctzll(~bits);
            r = add_run(b, i, at + skip, n);
            at += skip + n;
            bits = n == 64 ? 0 : bits >> n;
        }
    }
    return r == 0 ? write_runs(b) : r;
}

static void mark_done(struct cache *c, uint64_t target)
{
    struct cache_slot *s = c->list[CACHE_DIRTY].first;

    while (s != NULL && s->epoch <= target) {
        struct cache_slot *next = s->next;

        cache_move(c, s, CACHE_DONE);
        s = next;
    }
    cache_drop_forget(c, target);
    c->figures.epochs_done += target - c->done;
    c->done = target;
}

static int go_down_locked(struct cache *c)
{
    SCOPED(scope_free) struct batch *b = fault_calloc(1, sizeof *b);
    SCOPED(scope_free) char *room = fault_malloc((size_t)BATCH * c->line_bytes);
    struct cache_slot *s = c->list[CACHE_DIRTY].first;
    int r = b == NULL || room == NULL ? -ENOMEM : 0;

    if (r == 0) {
        b->c = c;
        b->target = c->sealed;
        r = cache_drop_give_back(c, b->target);
    }
    while (r == 0 && s != NULL && s->epoch <= b->target) {
        s = gather(b, s);
        r = read_batch(b, room);
        r = r == 0 ? write_batch(b) : r;
    }
    r = r == 0 ? blk_flush(cache_slow(c)) : r;
    if (r == 0) {
        mark_done(c, b->target);
    }
    return r;
}

static bool has_sealed(const struct cache *c)
{
    const struct cache_slot *s = c->list[CACHE_DIRTY].first;

    return (s != NULL && s->epoch <= c->sealed) ||
           (c->drop != NULL && c->drop->epoch <= c->sealed);
}

int cache_go_down(struct cache *c)
{
    int r = 0;

    strand_lock(c->blk.strands, &c->back);
    if (has_sealed(c)) {
        r = go_down_locked(c);
    }
    c->back_error = r;
    strand_unlock(&c->back);
    return r;
}

/* ---- tending ---- */

static uint64_t few(const struct cache *c)
{
    return c->slots / LOW_PART + 1;
}

static bool is_low(const struct cache *c)
{
    return c->list[CACHE_FREE].count < few(c);
}

static bool frees_with_commit(const struct cache *c)
{
    for (const struct cache_slot *s = c->list[CACHE_FREEING].first; s != NULL;
         s = s->next) {
        if (s->pins == 0) {
            return true;
        }
    }
    return false;
}

static bool evict_some(struct cache *c)
{
    uint64_t coming = c->list[CACHE_FREE].count + c->list[CACHE_FREEING].count;
    unsigned n = 0;
    unsigned looks = 0;

    while (n < EVICT_BATCH && looks++ < 2 * EVICT_BATCH && coming < 2 * few(c)) {
        struct cache_slot *s = cache_victim(c);

        if (s != NULL) {
            cache_release(c, s);
            n++;
            coming++;
        }
    }
    return n > 0;
}

static int one_if(int r)
{
    return r == 0 ? 1 : r;
}

/* One thing that there is to do: 1; nothing: 0; it failed: why. */
static int tend_once(struct cache *c)
{
    if (has_sealed(c)) {
        return one_if(cache_go_down(c));
    }
    if (c->done != c->head_done || (is_low(c) && frees_with_commit(c))) {
        return one_if(cache_commit(c));
    }
    if (is_low(c) && evict_some(c)) {
        return 1;
    }
    if (c->wanting > 0 && c->list[CACHE_FREE].count == 0 &&
        c->list[CACHE_DIRTY].count > 0) {
        return one_if(cache_commit(c)); /* the open epoch fills the store */
    }
    return 0;
}

static void tend(void *arg)
{
    struct cache *c = arg;

    int r = tend_once(c);

    while (r > 0) {
        if (c->list[CACHE_FREE].count > 0) {
            (void)strand_wake_all(&c->room);
        }
        r = tend_once(c);
    }
    c->tend_error = r;
    c->tending = false;
    (void)strand_wake_all(&c->room);
    (void)strand_wake_all(&c->tended);
}

void cache_tend(struct cache *c)
{
    if (!c->tending) {
        c->tending = true;
        if (strand_start(c->blk.strands, tend, c) != 0) {
            c->tending = false;
            c->tend_error = -ENOMEM;
        }
    }
}

void cache_wait_tended(struct cache *c)
{
    while (c->tending) {
        strand_wait(c->blk.strands, &c->tended);
    }
}

int cache_need_slot(struct cache *c)
{
    int r = 0;

    c->wanting++;
    while (r == 0 && c->list[CACHE_FREE].count == 0) {
        cache_tend(c);
        if (c->list[CACHE_FREE].count == 0 && (c->tending || c->pinned > 0)) {
            strand_wait(c->blk.strands, &c->room);
        }
        if (c->list[CACHE_FREE].count == 0 && !c->tending) {
            r = c->tend_error != 0 || c->pinned > 0 ? c->tend_error : -ENOSPC;
        }
    }
    c->wanting--;
    return r;
}
