/* fresh.c - pages that hold code since so lately that some processor's stores may miss it.
 *
 * Processor B gives a page its flag, but A, which looked before, may still store to it
 * unseen until it comes to a safe point.  Until all that run have come there, the page is
 * fresh: it was copied when it got the flag, blocks are decoded from the copy, and nothing
 * dearer than blocks is made of it.  When the last one has come, the page is compared with
 * its copy: if they are the same, every block is right, for it was made of just these
 * bytes, whatever stood in the page meanwhile; if not, the blocks go, and are decoded anew.
 * A store that sees the flag makes the copy useless: blocks are then of the page itself,
 * and go at the end in any case.
 *
 * Pages beyond the places there are make every page fresh, without a copy, until all have
 * come; then all blocks go. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "virt/isa/x86/interpret/code.h"

static struct code_fresh *find(struct code_share *s, gpa page)
{
    for (unsigned n = 0; n < s->fresh_count; n++) {
        if (s->fresh[n].at == page) {
            return &s->fresh[n];
        }
    }
    return NULL;
}

static uint8_t *copy_of(const uint8_t *host)
{
    uint8_t *copy = fault_malloc(MEM_PAGE_BYTES);

    return copy != NULL ? memcpy(copy, host, MEM_PAGE_BYTES) : NULL;
}

void x86_fresh_touch_locked(struct code_share *s, gpa page)
{
    struct code_fresh *f = find(s, page);

    if (f != NULL) {
        free(f->copy);
        f->copy = NULL;
    }
}

void x86_fresh_add_locked(struct code_share *s, gpa page, uint64_t waits)
{
    const struct mem_region *r = mem_find(s->mem, page);
    struct code_fresh *f = find(s, page);
    const uint8_t *host;

    if (waits == 0 || r == NULL || r->host == NULL) {
        return;
    }
    if (f != NULL) { /* it lost its flag, and got it again */
        f->waits |= waits;
        x86_fresh_touch_locked(s, page);
    } else if (s->fresh_count == CODE_FRESH_MAX) {
        s->all_wait |= waits;
    } else {
        host = r->host + (page - r->base);
        s->fresh[s->fresh_count++] = (struct code_fresh){
            .at = page, .waits = waits, .host = host, .copy = copy_of(host)};
    }
}

static void drop_locked(struct code_share *s, const struct code_fresh *f)
{
    for (unsigned n = 0; n < s->places; n++) {
        if (s->cpu[n] == NULL) {
            continue;
        }
        if (f == NULL) {
            x86_code_drop_all_locked(s->cpu[n]->code);
        } else {
            (void)x86_code_drop_locked(s->cpu[n]->code, f->at, 0, MEM_PAGE_BYTES);
        }
    }
}

static void end_locked(struct code_share *s, struct code_fresh *f)
{
    if (f->copy == NULL || memcmp(f->copy, f->host, MEM_PAGE_BYTES) != 0) {
        drop_locked(s, f);
    }
    free(f->copy);
    *f = s->fresh[--s->fresh_count];
}

bool x86_fresh_settle_locked(struct code_share *s, unsigned place)
{
    uint64_t bit = UINT64_C(1) << place;
    bool was_awaited = (s->all_wait & bit) != 0;

    s->all_wait &= ~bit;
    if (was_awaited && s->all_wait == 0) {
        drop_locked(s, NULL);
    }
    for (unsigned n = s->fresh_count; n > 0; n--) {
        struct code_fresh *f = &s->fresh[n - 1];

        was_awaited |= (f->waits & bit) != 0;
        f->waits &= ~bit;
        if (f->waits == 0) {
            end_locked(s, f);
        }
    }
    return was_awaited;
}

bool x86_fresh_is_locked(const struct code_share *s, gpa page)
{
    return s->all_wait != 0 || find((struct code_share *)(uintptr_t)s, page) != NULL;
}

const uint8_t *x86_fresh_bytes_locked(const struct code_share *s, gpa page,
                                      const uint8_t *host)
{
    const struct code_fresh *f = find((struct code_share *)(uintptr_t)s, page);

    return f != NULL && f->copy != NULL ? f->copy : host;
}
