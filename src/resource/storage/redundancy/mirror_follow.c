/* mirror_follow.c - what the followers of an asynchronous mirror do not have yet.
 *
 * Changes stand in a queue in the order in which the primary finished them, flushes
 * among them, and one strand applies them one after the other: a follower is always
 * what the primary was a moment ago.  A writer waits when the queue has more bytes, or
 * an older head, than the window allows: so the loss by the death of a primary is
 * bounded.  The regions of queued changes stay marked on the primary, which finds them
 * again if it comes back. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/storage/redundancy/mirror_private.h"

#define FLUSH_COST 512 /* bytes of the window: flushes are bounded, too */

struct follow_entry {
    struct follow_entry *next;
    enum blk_kind kind;
    unsigned flags;
    uint64_t off;
    uint64_t bytes;
    uint64_t at_ns;
    char data[];
};

static uint64_t cost(const struct follow_entry *x)
{
    return x->kind == BLK_FLUSH ? FLUSH_COST : x->bytes;
}

static bool is_full(const struct mirror *m, uint64_t bytes)
{
    uint64_t now = m->lag_bytes + m->reserved_bytes;

    return (now > 0 && now + bytes > m->window_bytes) ||
           (m->first != NULL && loop_now_ns(m->loop) - m->first->at_ns > m->window_ns);
}

void mirror_wait_room(struct mirror *m, uint64_t bytes)
{
    while (is_full(m, bytes)) {
        if (m->first != NULL && !m->following) {
            mirror_catch_up(m); /* no strand could be started for it */
        } else {
            strand_wait(m->blk.strands, &m->room);
        }
    }
    m->reserved_bytes += bytes;
}

void mirror_give_room(struct mirror *m, uint64_t bytes)
{
    m->reserved_bytes -= bytes;
    (void)strand_wake_all(&m->room);
}

/* ---- the strand ---- */

static void apply(struct mirror *m, const struct follow_entry *x)
{
    struct iovec piece = {(void *)(uintptr_t)x->data, (size_t)x->bytes};
    struct blk_request request[MIRROR_MOST];
    unsigned role[MIRROR_MOST];
    unsigned n = 0;

    for (unsigned i = 0; i < m->set.count; i++) {
        if (member_is_live(&m->set.member[i]) &&
            m->set.member[i].state != MEMBER_IN_SYNC) {
            request[n] = (struct blk_request){
                .disk = m->set.edge[i].disk,
                .kind = x->kind,
                .flags = x->flags,
                .off = x->off + m->set.data_at,
                .bytes = x->bytes,
                .vec = {.iov = &piece,
                        .bytes = x->kind == BLK_WRITE ? (size_t)x->bytes : 0},
            };
            role[n++] = i;
        }
    }
    if (member_run(request, n) == 0) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (request[i].result != 0) {
            m->set.member[role[i]].errors++;
            (void)mirror_lose(m, role[i]);
        }
    }
    (void)member_save(&m->set); /* an error stays: `unsaved` */
}

static void shift(struct mirror *m)
{
    struct follow_entry *x = m->first;

    m->first = x->next;
    if (m->first == NULL) {
        m->end = &m->first;
    }
    m->lag_bytes -= cost(x);
    if (x->kind != BLK_FLUSH) {
        mirror_touch(m, x->off, x->bytes, -1);
    }
    free(x);
}

static void follow_strand(void *arg)
{
    struct mirror *m = arg;

    while (m->first != NULL) {
        apply(m, m->first);
        shift(m);
        (void)strand_wake_all(&m->room);
    }
    m->following = false;
    (void)strand_wake_all(&m->room);
    (void)strand_wake_all(&m->caught_up);
}

/* ---- the queue ---- */

static bool has_followers(const struct mirror *m)
{
    for (unsigned i = 0; i < m->set.count; i++) {
        if (member_is_live(&m->set.member[i]) &&
            m->set.member[i].state != MEMBER_IN_SYNC) {
            return true;
        }
    }
    return false;
}

/* No memory to keep a change: the followers get its regions by copying. */
static void leave_to_copy(struct mirror *m, const struct blk_request *c)
{
    for (unsigned i = 0; i < m->set.count; i++) {
        struct member *x = &m->set.member[i];

        if (!member_is_live(x) || x->state == MEMBER_IN_SYNC) {
            continue;
        }
        m->set.unsaved = m->set.unsaved || x->state != MEMBER_REBUILDING;
        x->state = MEMBER_REBUILDING;
        for (uint64_t r = mirror_region(m, c->off);
             r <= mirror_region(m, c->off + c->bytes - 1); r++) {
            mirror_add_pending(m, i, r);
        }
    }
}

static struct follow_entry *entry_for(const struct blk_request *c)
{
    size_t room = c->kind == BLK_WRITE ? (size_t)c->bytes : 0;
    struct follow_entry *x = fault_malloc(sizeof *x + room);

    if (x != NULL) {
        *x = (struct follow_entry){
            .kind = c->kind, .flags = c->flags, .off = c->off, .bytes = c->bytes};
        if (room > 0) {
            blk_vec_take(c->vec, x->data);
        }
    }
    return x;
}

void mirror_follow(struct mirror *m, const struct blk_request *change)
{
    struct follow_entry *x;

    if (!has_followers(m)) {
        return;
    }
    x = entry_for(change);
    if (x == NULL) {
        if (change->kind != BLK_FLUSH) {
            leave_to_copy(m, change);
        }
        return;
    }
    x->at_ns = loop_now_ns(m->loop);
    *m->end = x;
    m->end = &x->next;
    m->lag_bytes += cost(x);
    if (x->kind != BLK_FLUSH) {
        mirror_touch(m, x->off, x->bytes, 1);
    }
    if (!m->following) {
        m->following = true;
        if (strand_start(m->blk.strands, follow_strand, m) != 0) {
            m->following = false; /* the next change tries again */
        }
    }
}

void mirror_catch_up(struct mirror *m)
{
    if (m->first != NULL && !m->following) {
        m->following = true;
        follow_strand(m);
    }
    while (m->following) {
        strand_wait(m->blk.strands, &m->caught_up);
    }
}

static bool is_queued(const struct mirror *m, uint64_t off, uint64_t bytes)
{
    for (const struct follow_entry *x = m->first; x != NULL; x = x->next) {
        if (x->kind != BLK_FLUSH && x->off < off + bytes && off < x->off + x->bytes) {
            return true;
        }
    }
    return false;
}

void mirror_wait_followed(struct mirror *m, uint64_t off, uint64_t bytes)
{
    while (is_queued(m, off, bytes)) {
        if (!m->following) {
            mirror_catch_up(m); /* no strand could be started for it */
        } else {
            strand_wait(m->blk.strands, &m->room);
        }
    }
}
