/* soft.c - immediates and branch targets that the guest writes again and again.
 *
 * Whoever patches code patches mostly these (inline caches, constants, calls that are
 * turned).  An instruction whose immediate was written SOFT_AFTER times while it was
 * translated is translated so that it reads it from its page when it runs; its bytes do
 * not belong to the unit then, so that a store to them is one beside code.  That is as
 * exact as to translate it anew: the value that counts is that of the moment, for this
 * processor's own stores, and for others' as soon as hardware would see them. */
#include "virt/isa/x86/translate/private.h"

static unsigned place_of(gpa at)
{
    return (unsigned)(at ^ at >> MEM_PAGE_SHIFT) & (SOFT_SLOTS - 1);
}

bool soft_is(const struct translate_cpu *t, gpa at)
{
    const struct rewritten *r = &t->rewritten[place_of(at)];

    return t->rewrites != 0 && r->at == at && r->times >= SOFT_AFTER;
}

static void note(struct translate_cpu *t, gpa at)
{
    struct rewritten *r = &t->rewritten[place_of(at)];

    if (r->at != at) {
        *r = (struct rewritten){.at = at};
    }
    r->times++;
    t->rewrites++;
}

bool soft_note(struct translate_cpu *t, const struct unit *u, unsigned from, unsigned to)
{
    const struct piece *piece = unit_pieces(u);
    unsigned n;

    for (n = 0; n < u->insns; n++) {
        unsigned soft = piece[n].field;
        unsigned end = (unsigned)piece[n].at + piece[n].bytes;

        if (from >= end - soft && to <= end) {
            note(t, (u->at & ~X86_PAGE_MASK) + piece[n].at);
            return true;
        }
    }
    return false;
}
