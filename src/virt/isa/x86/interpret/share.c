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
 * while B sets the flag and decodes the old bytes.  B therefore notes the page as
 * provisional for every other processor and kicks them; each drops B's blocks of
 * that page once more when it has come to a safe point, and B decodes the new bytes.
 * From then on A sees the flag.  Devices' stores tell `mem` again after they wrote
 * (contract/mem.h), which closes the same gap for them. */
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
    bool covers = false;

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
    s->cpu[c->code->place] = NULL;
    c->code->share = NULL;
    for (unsigned n = 0; n < CODE_SHARES_MAX; n++) {
        is_empty &= s->cpu[n] == NULL;
    }
    if (is_empty) {
        end_share(s);
    }
}

static void inherit_locked(struct x86_cpu *c, struct code_page *p)
{
    struct code_share *s = c->code->share;

    for (unsigned n = 0; n < CODE_SHARES_MAX; n++) {
        if (s->cpu[n] != NULL) {
            p->provisional |= x86_code_provisional_locked(s->cpu[n]->code, p->at);
        }
    }
    p->provisional &= ~(UINT64_C(1) << c->code->place);
}

void x86_share_flag_locked(struct x86_cpu *c, struct code_page *p)
{
    struct code_share *s = c->code->share;
    const struct mem_region *r = mem_find(s->mem, p->at);

    p->is_flagged = true;
    if (r != NULL && (mem_flags(r, p->at) & MEM_CODE) != 0) {
        inherit_locked(c, p); /* who does not know it yet is awaited already */
        return;
    }
    (void)mem_flag_page(s->mem, p->at, MEM_CODE);
    x86_tlb_protect(c, p->at);
    for (unsigned n = 0; n < CODE_SHARES_MAX; n++) {
        if (s->cpu[n] != NULL && s->cpu[n] != c) {
            p->provisional |= UINT64_C(1) << n;
            (void)atomic_fetch_or(&s->cpu[n]->base.kicks, CPU_KICK_FLUSH);
        }
    }
}

static void distrust_locked(struct x86_cpu *c, gpa page)
{
    if (c->code->more != NULL) {
        c->code->more->distrust_locked(c, page);
    }
}

/* The pages of `c` that wait for the processor at `place`. */
static void settle_locked(struct x86_cpu *c, unsigned place)
{
    struct x86_code *other = c->code;
    uint64_t bit = UINT64_C(1) << place;

    if (other->provisional & bit) {
        distrust_locked(c, CODE_ALL);
    }
    other->provisional &= ~bit;
    for (unsigned n = 0; n < other->page_count; n++) {
        struct code_page *p = &other->pages[n];

        if (p->provisional & bit) {
            p->provisional &= ~bit;
            (void)x86_code_drop_locked(other, p->at, 0, MEM_PAGE_BYTES);
            distrust_locked(c, p->at);
        }
    }
}

void x86_share_safe_point(struct x86_cpu *c)
{
    struct code_share *s = c->code->share;

    x86_tlb_protect_all(c);
    pthread_mutex_lock(&s->lock);
    for (unsigned n = 0; n < CODE_SHARES_MAX; n++) {
        if (s->cpu[n] != NULL && s->cpu[n] != c) {
            settle_locked(s->cpu[n], c->code->place);
        }
    }
    pthread_mutex_unlock(&s->lock);
}
