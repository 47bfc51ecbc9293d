/* share.c - stores to pages with decoded instructions, by any processor or device.
 *
 * The processors over one memory form a share; it is the memory's one listener for
 * MEM_CODE.  A store finds every processor's blocks by the physical page and drops
 * those it touches.  The storing processor stops behind the instruction that stored
 * (X86_WANT_RELOAD), so the very next instruction is the new one; others find nothing
 * in their slots when they come to the next block, as a processor that fetches again
 * would.
 *
 * One race remains: processor A looks at the flag, finds none, and is about to store,
 * while B sets the flag and decodes the old bytes.  The page is therefore a fresh one
 * (fresh.c) until every other processor that runs has come to a safe point; from then on
 * they see the flag.  Devices' stores tell `mem` again after they wrote (contract/mem.h),
 * which closes the same gap for them. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/fault.h"
#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/memory/memory.h"

static void drop_flag(struct mem *m, gpa at)
{
    const struct mem_region *r = mem_find(m, at);

    if (r != NULL && r->flags != NULL) {
        (void)__atomic_fetch_and(&r->flags[(at - r->base) >> MEM_PAGE_SHIFT],
                                 (uint8_t)~MEM_CODE, __ATOMIC_SEQ_CST);
    }
}

static bool has_more_locked(struct x86_cpu *c, gpa page, unsigned from, unsigned to)
{
    return c->code->more != NULL && c->code->more->covers_locked(c, page, from, to);
}

bool x86_share_covers_locked(struct code_share *s, gpa page, unsigned from, unsigned to)
{
    bool covers = x86_fresh_is_locked(s, page); /* its copy is to be that of the page */

    for (unsigned n = 0; n < s->places && !covers; n++) {
        struct x86_cpu *c = s->cpu[n];

        covers = c != NULL && (x86_code_covers_locked(c->code, page, from, to) ||
                               has_more_locked(c, page, from, to));
    }
    return covers;
}

/* `mem_listener.touched`.  The flag is dropped here, under the lock, and not by the
 * caller, who would do so later. */
static uint8_t written(void *who, gpa at, unsigned bytes, uint8_t flags)
{
    struct code_share *s = who;
    gpa page = at & ~X86_PAGE_MASK;
    unsigned from = (unsigned)(at & X86_PAGE_MASK);
    bool is_left = false;

    (void)flags;
    pthread_mutex_lock(&s->lock);
    x86_fresh_touch_locked(s, page);
    for (unsigned n = 0; n < s->places; n++) {
        struct x86_cpu *c = s->cpu[n];
        struct code_dropped d;

        if (c == NULL) {
            continue;
        }
        d = x86_code_drop_locked(c->code, page, from, from + bytes);
        is_left |= d.is_left || has_more_locked(c, page, 0, MEM_PAGE_BYTES);
        if (d.is_any && c->code->is_running &&
            pthread_equal(c->code->runner, pthread_self())) {
            c->wants |= X86_WANT_RELOAD;
            c->count.code_writes++;
        }
    }
    if (!is_left) {
        drop_flag(s->mem, page);
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* The share that listens to `m` already, or a new one. */
static struct code_share *share_of(struct mem *m)
{
    struct mem_listener l = {.touched = written, .wants = MEM_CODE};
    struct code_share *s;

    for (unsigned n = 0; n < m->listener_count; n++) {
        if (m->listener[n].touched == written) {
            return m->listener[n].who;
        }
    }
    s = fault_calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->mem = m;
    pthread_mutex_init(&s->lock, NULL);
    l.who = s;
    if (mem_listen(m, &l) < 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    return s;
}

static void end_share(struct code_share *s)
{
    mem_unlisten(s->mem, s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int x86_share_join(struct x86_cpu *c)
{
    struct code_share *s = share_of(c->mem);

    if (s == NULL) {
        return -ENOMEM;
    }
    for (unsigned n = 0; n < CODE_SHARES_MAX; n++) {
        if (s->cpu[n] == NULL) {
            s->cpu[n] = c;
            s->places = n >= s->places ? n + 1 : s->places;
            c->code->share = s;
            c->code->place = n;
            return 0;
        }
    }
    return -ENOSPC;
}

void x86_share_leave(struct x86_cpu *c)
{
    struct code_share *s = c->code->share;
    bool is_empty = true;

    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    (void)x86_fresh_settle_locked(s, c->code->place);
    pthread_mutex_unlock(&s->lock);
    s->cpu[c->code->place] = NULL;
    c->code->share = NULL;
    for (unsigned n = 0; n < CODE_SHARES_MAX; n++) {
        is_empty &= s->cpu[n] == NULL;
    }
    if (is_empty) {
        end_share(s);
    }
}

/* The processors whose stores may not see a flag that is set now. */
static uint64_t exposed_locked(struct x86_cpu *c)
{
    struct code_share *s = c->code->share;
    uint64_t waits = 0;

    for (unsigned n = 0; n < s->places; n++) {
        struct x86_code *other = s->cpu[n] != NULL ? s->cpu[n]->code : NULL;

        if (other == NULL || s->cpu[n] == c) {
            continue;
        }
        if (other->is_running && !other->is_resting) {
            waits |= UINT64_C(1) << n;
            (void)atomic_fetch_or(&s->cpu[n]->base.kicks, CPU_KICK_FLUSH);
        } else {
            other->has_missed = true;
        }
    }
    return waits;
}

void x86_share_flag_locked(struct x86_cpu *c, struct code_page *p)
{
    struct code_share *s = c->code->share;
    const struct mem_region *r = mem_find(s->mem, p->at);

    p->is_flagged = true;
    if (r != NULL && (mem_flags(r, p->at) & MEM_CODE) != 0) {
        return; /* who does not know it yet is awaited already */
    }
    (void)mem_flag_page(s->mem, p->at, MEM_CODE);
    x86_tlb_protect(c, p->at);
    x86_fresh_add_locked(s, p->at, exposed_locked(c));
}

void x86_share_safe_point(struct x86_cpu *c)
{
    struct code_share *s = c->code->share;

    x86_tlb_protect_flagged(c);
    pthread_mutex_lock(&s->lock);
    (void)x86_fresh_settle_locked(s, c->code->place);
    pthread_mutex_unlock(&s->lock);
}

/* The lock is held, and given back. */
static void come_or_go(struct x86_cpu *c, bool is_away)
{
    struct code_share *s = c->code->share;
    bool has_missed = c->code->has_missed;

    c->code->has_missed =
        is_away && (x86_fresh_settle_locked(s, c->code->place) || has_missed);
    pthread_mutex_unlock(&s->lock);
    if (has_missed && !is_away) {
        x86_tlb_protect_flagged(c);
    }
}

void x86_share_run(struct x86_cpu *c, bool runs)
{
    pthread_mutex_lock(&c->code->share->lock);
    c->code->runner = pthread_self();
    c->code->is_running = runs;
    come_or_go(c, !runs);
}

void x86_share_rest(struct x86_cpu *c, bool rests)
{
    pthread_mutex_lock(&c->code->share->lock);
    c->code->is_resting = rests;
    come_or_go(c, rests);
}
