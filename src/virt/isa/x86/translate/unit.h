/* unit.h - what is kept of translated code: units, their pages, their ways out. */
#ifndef VIRT_ISA_X86_TRANSLATE_UNIT_H
#define VIRT_ISA_X86_TRANSLATE_UNIT_H

#include "contract/mem.h"
#include "virt/isa/emit/emit.h"
#include "virt/isa/x86/insn.h"

#define HALVES     2 /* of the code memory */
#define NO_EXIT    UINT32_MAX
#define NO_UNIT    0
#define MARK_WORDS (MEM_PAGE_BYTES / 64)

/* Which bytes of a page; marks.c. */
struct marks {
    uint64_t word[MARK_WORDS];
};

void marks_set(struct marks *m, unsigned from, unsigned to, bool on); /* [from, to) */
bool marks_touch(const struct marks *m, unsigned from, unsigned to);

/* The bytes of one instruction of a unit.  The last `field` of `bytes` are an immediate or
 * a target that could be read each time; `soft` of them are, and it does not depend on
 * those. */
struct piece {
    uint16_t at; /* in the page */
    uint8_t bytes : 4, field : 4;
    uint8_t soft;
};

/* Units have numbers: their places among the records, in steps of 8 bytes.  0: none. */
struct unit {
    struct unit *page_next; /* of the same page */
    gpa at;
    uint64_t rip;
    uint64_t code;       /* host address; 0: cannot be translated */
    uint32_t next;       /* number, of the same bucket */
    uint32_t first_exit; /* number */
    uint32_t first_word; /* of its sites' pends, in its half */
    uint32_t incoming;   /* first of the exits that lead here; NO_EXIT: none */
    uint16_t exits;
    uint16_t low, high; /* all pieces lie in [low, high) of the page */
    uint16_t key;
    uint8_t half;
    bool is_counted;
    bool is_quick; /* translated with little work, and counts its rounds */
    uint8_t insns;
    uint8_t pieces; /* `insns` or, of a trace that was cut short, more */
    uint8_t kept;
    struct x86_insn insn[]; /* `kept` that sites name; behind them the pieces */
};

static inline struct piece *unit_pieces(const struct unit *u)
{
    return (struct piece *)(uintptr_t)&u->insn[u->kept];
}

/* A place in a unit's code where C takes over: what is left of `struct emit_site`.  Of its
 * pends, see draft.c. */
struct site {
    uint32_t unit; /* number */
    uint32_t
        detail; /* which of the unit's instructions runs; of a window what it covers */
    uint16_t first;          /* words of pends in front of its own, in the unit */
    uint16_t pc        : 13; /* in the unit's page */
    uint16_t is_signed : 1;
    uint16_t for_write : 1;
    uint16_t is_32     : 1; /* the value that is loaded */
    uint8_t op;
    uint8_t words; /* of pends */
    uint8_t left;
    uint8_t bytes    : 7; /* of the access */
    uint8_t is_stack : 1; /* its segment */
};

struct unit_page {
    struct unit_page *next;
    gpa at;
    struct unit *units;
    struct marks marks; /* of all units; guarded by the share's lock */
};

/* A way out of a unit, as its code has it. */
struct way_out {
    int32_t distance; /* of where it goes from where the unit begins, in the guest */
    uint32_t jump;    /* where the displacement is, in the unit's code */
    uint16_t home;    /* displacement of an exit that is not patched */
    uint8_t link;   /* so far in front of `jump` is the number under which it holds; 0: it
                         needs none */
    bool is_narrow; /* addresses are of 32 bits */
};

struct exit_of {
    struct way_out way;  /* `jump` in the code memory; 0: the unit is gone */
    uint32_t unit;       /* number of the one it leaves */
    uint32_t to;         /* number; 0: not patched */
    uint32_t next, prev; /* among those that lead to `to` */
};

/* Half of the code memory, and what belongs to the code there. */
struct half {
    size_t start, end, used;                   /* in the code memory */
    size_t ready;                              /* up to here its pages are there */
    size_t record_start, record_end, recorded; /* in the memory of records */
    struct site *site;
    uint32_t sites, site_room;
    uint64_t *word; /* pends */
    uint32_t words, word_room;
    struct exit_of *exit;
    uint32_t exits, exit_room;
};

#endif
