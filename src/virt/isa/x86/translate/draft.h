/* draft.h - a unit without a place: what `emit` and the trace say of it, packed.
 *
 * Nothing in a draft depends on where it will lie but the ways in its code that lead to
 * the trampolines, and `fix` says where those are. */
#ifndef VIRT_ISA_X86_TRANSLATE_DRAFT_H
#define VIRT_ISA_X86_TRANSLATE_DRAFT_H

#include "virt/isa/x86/translate/unit.h"

#define DRAFT_INSNS 112 /* as many as a trace has */
#define DRAFT_SITES 1024
#define DRAFT_WORDS 2048
#define DRAFT_EXITS 512
#define DRAFT_FIXES 4096
#define DRAFT_PENDS 64 /* of one site */

#define DRAFT_FIX_SHIFT 14 /* kind << 14 | bytes from the last one */

struct draft {
    uint64_t rip;
    gpa at;
    uint32_t bytes;  /* of code; 0: it cannot be translated */
    uint32_t origin; /* where in the code memory the code was made */
    uint16_t key;
    bool is_counted, is_quick;
    uint8_t insns, pieces, kept;
    uint16_t sites, words, exits, fixes;
    const struct piece *piece;
    const struct x86_insn *insn;
    const struct site *site; /* `unit` means nothing yet */
    const uint64_t *word;
    const struct way_out *exit;
    const uint16_t *fix;
};

/* Where the parts of the draft in work lie. */
struct draft_room {
    uint8_t place[DRAFT_INSNS]; /* of an instruction among those that are kept, and 1 */
    uint16_t number[DRAFT_SITES + 1]; /* of a site among those that are kept, and 1 */
    struct x86_insn insn[DRAFT_INSNS];
    struct site site[DRAFT_SITES];
    uint64_t word[DRAFT_WORDS];
    struct way_out exit[DRAFT_EXITS];
    uint16_t fix[DRAFT_FIXES];
};

/* What the region was made of. */
struct draft_from {
    const struct x86_insn *insn; /* its routines' and natives' are of these */
    unsigned insns;
    uint64_t page; /* linear address of its page */
};

/* Complete `d`, whose head is filled in, by what `emit` gave; sites in its code at `code`
 * get their numbers among those that are kept.  -ENOSPC: it is too large. */
int draft_make(struct draft *d, struct draft_room *room, const struct draft_from *from,
               const struct emit_result *e, uint8_t *code);

/* Its code, at `code`, gets the numbers of its place. */
struct draft_place {
    uint32_t first_site, first_exit, origin;
};

void draft_bind(const struct draft *d, uint8_t *code, const struct draft_place *at);

/* The pends of a site; at most DRAFT_PENDS.  Returns how many. */
unsigned draft_pends(const struct site *s, const uint64_t *word, struct emit_pend *ret);
struct ir_window draft_window(const struct site *s);

#endif
