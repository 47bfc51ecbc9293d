/* path.c - the way that the guest takes from where a trace is about to begin.
 *
 * The interpreter executes it once more, block by block, and where each block went on is
 * noted.  So the trace follows the branches that are taken, and goes round a short loop
 * as often as the guest did.  Code that is warm at once (`warm` 1) is not followed. */
#include "virt/isa/x86/translate/path.h"

#include <stdatomic.h>

#include "virt/isa/x86/translate/private.h"

static bool is_awaited(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;

    return c->budget == 0 || c->wants != 0 ||
           atomic_load_explicit(&c->base.kicks, memory_order_relaxed) != 0;
}

static uint64_t rip_of(const struct x86_cpu *c)
{
    return c->code_mode == X86_CODE64 ? c->next_rip : (uint32_t)c->next_rip;
}

/* A fault on the way leaves by `unwind`, and where the way goes through something that the
 * engine has to look at it ends there: then the next time goes without. */
bool path_follow(struct translate_cpu *t, uint64_t rip)
{
    struct x86_cpu *c = &t->x;
    struct path *p = &t->path;
    uint64_t *begun = &p->begun[(rip ^ rip >> 8) % PATH_SLOTS];
    bool follows = t->warm > 1 && *begun != rip;

    p->count = 0;
    *begun = follows ? rip : 0;
    while (follows && p->count < PATH_MOST && !is_awaited(t)) {
        uint64_t entry = rip_of(c);

        if (((entry ^ rip) & ~X86_PAGE_MASK) != 0 || (entry == rip && p->count > 0)) {
            break; /* out of the page; round the whole loop */
        }
        translate_interpret(t, UINT8_MAX);
        if (c->code->block == NULL || c->wants != 0) {
            return true;
        }
        p->step[p->count].behind = entry + c->code->block->bytes;
        p->step[p->count++].next = rip_of(c);
    }
    *begun = 0;
    return follows;
}

uint64_t path_next(const struct path *p, unsigned *at, uint64_t behind)
{
    unsigned n;

    for (n = *at; n < p->count; n++) {
        if (p->step[n].behind == behind) {
            *at = n + 1;
            return p->step[n].next;
        }
    }
    return 0;
}

unsigned path_rounds(const struct path *p, unsigned at, uint64_t behind, uint64_t to)
{
    unsigned rounds = 1;
    uint64_t next;

    for (;;) {
        next = path_next(p, &at, behind);
        if (next != to) {
            return next != 0 ? rounds : 0;
        }
        rounds++;
    }
}
