/* private.h - the translator's state.
 *
 * A unit is the host code of one trace: instructions of one page of guest memory, that
 * begin at one address.  It is found by the physical and the linear address of its first
 * byte (the code holds linear addresses) and the way of decoding.  A patched jump to a
 * unit of the same page needs no care; one to another page holds under a number that
 * stands for an address space in one state (`struct jump_space`), as the jump tables do:
 * one for each space of the soft TLB and privilege, so that they outlive switches.  Every
 * unit knows the jumps that were patched to lead to it, and takes them back when it goes.
 *
 * Code memory has two halves, filled by turns; when both are full the older one goes with
 * all its units, sites and exits.
 *
 * Invariant: a page with units carries MEM_CODE, and each unit's bytes are marked in its
 * page's `marks` before they are read; so no store in generated code reaches them unseen.
 * Not marked are immediates that were written again and again: those are fetched when
 * their instruction runs.  A store to marked bytes leaves the region and is interpreted (slow.c), one beside them
 * is done in place.  Units that were written to go at the owner's next safe point: for
 * the thread that stored, before the next instruction. */
#ifndef VIRT_ISA_X86_TRANSLATE_PRIVATE_H
#define VIRT_ISA_X86_TRANSLATE_PRIVATE_H

#include <pthread.h>

#include "virt/isa/emit/emit.h"
#include "virt/isa/ir/native.h"
#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/lift/lift.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/translate/path.h"

#define TRACE_INSNS     48  /* of one trace */
#define TRACE_INSNS_MAX 112 /* of one with loops that are written down round by round */
#define ROUNDS_MOST     8   /* of such a loop */
#define UNIT_BUCKETS    16384u
#define PAGE_BUCKETS    4096u
#define HEAT_SLOTS      8192u
#define DIRTY_MAX       64
#define HALVES          2
#define HALF_SHIFT      24 /* numbers of sites and exits: half << 24 | index */
#define MARK_WORDS      (MEM_PAGE_BYTES / 64)
#define SOFT_SLOTS      1024u
#define SOFT_AFTER      2                /* times that an immediate was written */
#define JUMP_SPACES     (X86_SPACES * 2) /* each for the system and for users */
#define NO_EXIT         UINT32_MAX

/* Which bytes of a page. */
struct marks {
    uint64_t word[MARK_WORDS];
};

/* The bytes of one instruction of a unit.  The last `soft` of `bytes` it does not depend
 * on: they are read each time. */
struct piece {
    uint16_t at; /* in the page */
    uint8_t bytes, soft;
};

/* An instruction whose immediate alone was written while it was translated. */
struct rewritten {
    gpa at;
    unsigned times;
};

struct unit {
    struct unit *next;      /* of the same bucket */
    struct unit *page_next; /* of the same page */
    gpa at;
    uint64_t rip;
    uint8_t key;
    uint8_t half;
    bool is_counted;
    uint32_t insns;
    uint64_t code;              /* host address; 0: cannot be translated */
    uint32_t first_exit, exits; /* numbers of its own */
    uint32_t incoming;          /* first of those patched to lead here; NO_EXIT: none */
    uint16_t low, high;         /* all pieces lie in [low, high) of the page */
    uint16_t pieces;            /* `insns` or, of a trace that was cut short, more */
    struct piece *piece;
    struct ir_native *native;
    struct x86_insn insn[]; /* `pieces` of them, then as many natives and pieces */
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
    size_t start, end, used; /* in the code memory */
    struct emit_site *site;
    uint32_t sites, site_room;
    struct emit_pend *pend;
    uint32_t pends, pend_room;
    struct exit_of *exit;
    uint32_t exits, exit_room;
};

struct code_memory {
    uint8_t *write;
    const uint8_t *run;
    size_t bytes;
};

/* A jump table's owner: an address space as it is now, seen with one privilege. */
struct jump_space {
    uint64_t generation; /* of the soft TLB's space */
    uint32_t link;       /* never the same again */
    uint8_t key;         /* the way of decoding */
    bool is_used;
};

struct dirty {
    gpa page;
    uint16_t from, to;
};

/* What XSAVE leaves of the x87 unit alone, and XRSTOR takes. */
struct fpu_image {
    uint8_t legacy[512];
    uint64_t components;
    uint64_t reserved[7];
} __attribute__((aligned(64)));

struct translate_cpu {
    struct x86_cpu x;
    struct emit_frame frame;
    struct fpu_image image;
    uint32_t local; /* a routine asked to leave the region */

    struct code_memory code;
    struct half half[HALVES];
    unsigned filling; /* the half in use */
    struct emit_env env;
    struct ir_global global[LIFT_GLOBALS];
    struct lift *lift;
    struct ir_region region;
    struct emit_result result; /* of the unit in work */
    void (*enter)(void);

    struct unit *bucket[UNIT_BUCKETS];
    struct unit_page *page[PAGE_BUCKETS]; /* changed under the share's lock */
    struct emit_jump *jumps;              /* JUMP_SPACES tables of EMIT_JUMPS */
    struct jump_space space[JUMP_SPACES];
    uint32_t links;           /* given out */
    uint8_t heat[HEAT_SLOTS]; /* executions left until it is hot, and 1; 0: never seen */
    struct rewritten rewritten[SOFT_SLOTS];
    uint8_t warm, cold; /* how many at first, and after a store to it */
    uint8_t key;        /* the way of decoding in force */
    struct path path;   /* of the trace in work */
    bool inside;        /* generated code is running */
    bool is_counted;    /* this run has a budget that ends */
    uint64_t mark;      /* the budget when the interpreter went on */
    bool listens;
    uint32_t drops; /* times that numbers of exits became others */
    int profile;    /* owned; the map for profilers; 0: none */

    /* Guarded by the share's lock. */
    struct dirty dirty[DIRTY_MAX];
    unsigned dirty_count; /* DIRTY_MAX: too many, drop everything */
};

/* What a unit depends on beside its bytes: the way of decoding, whether x87 and vector
 * instructions may run without a look (CR0.EM and TS, CR4, XCR0; no x87 exception can
 * happen, `fpu_can_lend`), and whether FS and GS are no more than a base. */
#define UNIT_FPU      0x10
#define UNIT_SSE      0x20
#define UNIT_AVX      0x40
#define UNIT_SEGMENTS 0x80 /* FS and GS have limits or types to look at */

bool fpu_can_lend(const struct x86_cpu *c);

static inline uint8_t unit_key(const struct x86_cpu *c)
{
    bool fpu = (c->r.cr0 & (X86_CR0_EM | X86_CR0_TS)) == 0;
    bool sse = fpu && (c->r.cr4 & X86_CR4_OSFXSR) != 0;
    bool avx = (c->r.cr0 & X86_CR0_TS) == 0 && (c->r.cr4 & X86_CR4_OSXSAVE) != 0 &&
               (c->r.xcr0 & 6) == 6 && c->protected_mode;

    bool segments = (c->read_base[X86_FS] | c->write_base[X86_FS] | c->read_base[X86_GS] |
                     c->write_base[X86_GS]) >>
                        32 !=
                    0;

    segments &= c->code_mode != X86_CODE64;
    return (uint8_t)(x86_code_key(c) | (segments ? UNIT_SEGMENTS : 0) |
                     (sse ? UNIT_SSE : 0) | (avx ? UNIT_AVX : 0) |
                     (fpu_can_lend(c) ? UNIT_FPU : 0));
}

static inline uint8_t *heat_of(struct translate_cpu *t, uint64_t rip)
{
    return &t->heat[(rip ^ rip >> 13) & (HEAT_SLOTS - 1)];
}

static inline struct translate_cpu *translate_of(struct x86_cpu *c)
{
    return (struct translate_cpu *)(void *)c;
}

/* memory.c */
int code_memory_create(struct code_memory *m, size_t bytes);
void code_memory_destroy(struct code_memory *m);

/* unit.c */
struct unit *unit_find(struct translate_cpu *t, uint64_t rip, gpa at);
struct unit_page *unit_page_of(struct translate_cpu *t, gpa page);
struct unit_page *unit_page_make_locked(struct translate_cpu *t, gpa page); /* or NULL */
void unit_add(struct translate_cpu *t, struct unit_page *p, struct unit *u);
void unit_drop_all(struct translate_cpu *t);
void unit_drop_half(struct translate_cpu *t, unsigned half);
void unit_take_dirty(struct translate_cpu *t);
void unit_note_dirty_locked(struct translate_cpu *t, const struct dirty *d);
void unit_mark_locked(struct unit_page *p, const struct piece *piece, unsigned n);
bool marks_touch(const struct marks *m, unsigned from, unsigned to); /* [from, to) */
bool unit_is_soft(struct translate_cpu *t, gpa at); /* the instruction there */
extern const struct code_more unit_more;

/* link.c: patched jumps, and the jump tables */
struct exit_of *link_exit(struct translate_cpu *t, uint32_t number);
void link_patch(struct translate_cpu *t, uint32_t number, struct unit *to);
void link_forget(struct translate_cpu *t, const struct unit *u); /* it is about to go */
void link_remember(struct translate_cpu *t, uint64_t rip, uint64_t code);
void link_refresh(struct translate_cpu *t); /* the table of the space in force */

/* trace.c: translate what begins at `rip`, to the half in use, which has room; NULL:
 * leave it to the interpreter. */
struct unit *trace_translate(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                             gpa at);

/* slow.c */
void slow_helper(void *cpu);
void routine_helper(void *cpu);
bool slow_has_uppers(const struct x86_cpu *c); /* of vector registers: not all zeros */
const struct emit_site *slow_site(const struct translate_cpu *t);
void slow_apply(struct translate_cpu *t); /* the state of the site that stopped it */

/* fpu.c: the x87 state goes to the host's unit, and back to the struct if it is there */
void fpu_lend(struct translate_cpu *t);
void fpu_take(struct translate_cpu *t);
void fpu_helper(void *cpu);
/* profile.c */
int profile_open(struct translate_cpu *t);
void profile_close(struct translate_cpu *t);
void profile_unit(struct translate_cpu *t, const struct unit *u, uint64_t pc,
                  size_t bytes);

/* run.c */
void translate_interpret(struct translate_cpu *t, unsigned most);
int translate_run(struct cpu *base, uint64_t budget);

#endif
