/* unit.h - what is kept of translated code: units, their pages, their ways out. */
#ifndef VIRT_ISA_X86_TRANSLATE_UNIT_H
#define VIRT_ISA_X86_TRANSLATE_UNIT_H

#include "contract/mem.h"
#include "virt/isa/emit/emit.h"
#include "virt/isa/ir/native.h"
#include "virt/isa/x86/insn.h"

#define HALVES     2 /* of the code memory */
#define NO_EXIT    UINT32_MAX
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

struct unit {
    struct unit *next;      /* of the same bucket */
    struct unit *page_next; /* of the same page */
    gpa at;
    uint64_t rip;
    uint16_t key;
    uint8_t half;
    bool is_counted;
    bool is_quick; /* translated with little work, and counts its rounds */
    uint32_t insns;
    uint64_t code;              /* host address; 0: cannot be translated */
    uint32_t first_exit, exits; /* numbers of its own */
    uint32_t incoming;          /* first of those patched to lead here; NO_EXIT: none */
    uint16_t low, high;         /* all pieces lie in [low, high) of the page */
    uint16_t pieces;            /* `insns` or, of a trace that was cut short, more */
    struct piece *piece;
    uint64_t kept[]; /* what the code names of its instructions and natives; the pieces */
};

struct unit_page {
    struct unit_page *next;
    gpa at;
    struct unit *units;
    struct marks marks; /* of all units; guarded by the share's lock */
};

/* A way out of a unit. */
struct exit_of {
    uint64_t pc;
    gpa page;            /* of the unit it leaves */
    uint8_t *jump;       /* displacement, in the writable view; NULL: the unit is gone */
    uint8_t *link;       /* under which number it holds; NULL: it needs none */
    int32_t home;        /* displacement of an exit that is not patched */
    struct unit *to;     /* NULL: not patched */
    uint32_t next, prev; /* among those that lead to `to` */
};

/* Half of the code memory, and what belongs to the code there. */
struct half {
    size_t start, end, used;                   /* in the code memory */
    size_t ready;                              /* up to here its pages are there */
    size_t record_start, record_end, recorded; /* in the memory of records */
    struct emit_site *site;
    uint32_t sites, site_room;
    struct emit_pend *pend;
    uint32_t pends, pend_room;
    struct exit_of *exit;
    uint32_t exits, exit_room;
};

#endif
