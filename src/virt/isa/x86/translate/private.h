/* private.h - the translator's state.
 *
 * A unit is the host code of one trace: instructions of one page of guest memory, that
 * begin at one address.  It is found by the physical and the linear address of its first
 * byte (the code holds linear addresses) and the way of decoding.  A patched jump to a
 * unit of the same page needs no care; one to another page holds under a number that
 * stands for an address space in one state (`struct jump_space`), as the jump tables do:
 * one for the users of each space of the soft TLB, and one for the system in all of them, so
 * that they outlive switches (link.c).  Every
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
#include "virt/isa/x86/translate/draft.h"
#include "virt/isa/x86/translate/key.h"
#include "virt/isa/x86/translate/memory.h"
#include "virt/isa/x86/translate/path.h"
#include "virt/isa/x86/translate/stock.h"
#include "virt/isa/x86/translate/translate.h"
#include "virt/isa/x86/translate/unit.h"

#define TRACE_INSNS 48 /* of one trace */
#define TRACE_INSNS_MAX                                                                  \
    DRAFT_INSNS         /* of one with loops that are written down round by round */
#define ROUNDS_MOST  8  /* of such a loop */
#define ROUND_SHORT  10 /* instructions of a loop that is written down four times */
#define ROUND_LONG   40 /* ... twice */
#define BUCKET_BITS  17 /* as many buckets as units that fill the code memory */
#define PAGE_BUCKETS 4096u
#define HEAT_SLOTS   8192u
#define ROUND_SLOTS  65536u /* few units share one, or they make each other hot */
#define DIRTY_MAX    64
#define HALF_SHIFT   24 /* numbers of sites and exits: half << 24 | index */
#define SOFT_SLOTS   1024u
#define SOFT_AFTER   2                 /* times that an immediate was written */
#define JUMP_SHARED  (X86_SPACES * 2)  /* the system's, of all spaces */
#define JUMP_SPACES  (JUMP_SHARED + 1) /* and each space's for the system and for users */

/* An instruction whose immediate alone was written while it was translated. */
struct rewritten {
    gpa at;
    unsigned times;
};

/* What a jump table serves, as it is now. */
struct jump_space {
    uint64_t generation; /* of the soft TLB's space, or of what is global in all */
    uint32_t link;       /* never the same again */
    uint16_t key;        /* the way of decoding, and UNIT_COUNTED */
    bool is_used;
};

/* What `struct lift_side` was made of, in words that are compared. */
struct side_state {
    uint64_t space, generation, links, star, sfmask, mode;
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
    struct lift_side side[2]; /* of the system, of users: link.c */
    struct side_state sides;
    struct fpu_image image;
    uint32_t local; /* a routine asked to leave the region */

    struct code_memory code;
    struct code_records record;
    struct half half[HALVES];
    unsigned filling; /* the half in use */
    struct emit_env env;
    struct ir_global global[LIFT_GLOBALS];
    struct lift *lift;
    struct ir_region region;
    struct emit_result result; /* of the unit in work */
    struct draft_room draft;
    struct stock *stock; /* NULL: it takes no part */
    bool rests;          /* counted as one that rests there */
    void (*enter)(void);

    uint32_t *bucket;                     /* 1 << BUCKET_BITS numbers of units */
    struct unit_page *page[PAGE_BUCKETS]; /* changed under the share's lock */
    struct emit_jump *jumps;              /* JUMP_SPACES tables of EMIT_JUMPS */
    struct jump_space space[JUMP_SPACES];
    uint64_t filled[JUMP_SPACES][EMIT_JUMPS / 64]; /* places of the tables */
    uint32_t links;                                /* given out */
    uint8_t heat[HEAT_SLOTS]; /* executions left until it is warm, and 1; 0: never seen */
    uint32_t rounds[ROUND_SLOTS]; /* of quick units: left until they are hot */
    struct rewritten rewritten[SOFT_SLOTS];
    uint64_t rewrites;  /* noted there */
    uint8_t warm, cold; /* how many at first, and after a store to it */
    uint32_t hot;       /* rounds of a quick unit before it is made better */
    enum translate_tiers tiers;
    bool is_quick;     /* how the unit in work is made */
    uint16_t key;      /* the way of decoding in force */
    struct path path;  /* of the trace in work */
    bool inside;       /* generated code is running */
    uint8_t level;     /* of the code that the interpreter's window is of */
    bool knows_uppers; /* `frame.uppers` is of the registers as they are */
    bool is_counted;   /* this run has a budget that ends */
    uint64_t mark;     /* the budget when the interpreter went on */
    bool listens;
    uint32_t drops; /* times that numbers of exits became others */
    void (*trapped)(void *who, uint64_t rip, const struct x86_insn *i); /* as asked for */
    void *trapped_who;
    int profile; /* owned; the map for profilers; 0: none */

    /* Guarded by the share's lock, but that anybody may ask whether there are any. */
    struct dirty dirty[DIRTY_MAX];
    unsigned dirty_count; /* DIRTY_MAX: too many, drop everything */
};

static inline unsigned heat_slot(uint64_t rip)
{
    return (unsigned)(rip ^ rip >> 13) & (HEAT_SLOTS - 1);
}

static inline unsigned round_slot(uint64_t rip)
{
    return (unsigned)(rip ^ rip >> 16) & (ROUND_SLOTS - 1);
}

static inline uint8_t *heat_of(struct translate_cpu *t, uint64_t rip)
{
    return &t->heat[heat_slot(rip)];
}

static inline struct translate_cpu *translate_of(struct x86_cpu *c)
{
    return (struct translate_cpu *)(void *)c;
}

/* unit.c */
struct unit *unit_find(struct translate_cpu *t, uint64_t rip, gpa at);

static inline uint32_t unit_number(const struct translate_cpu *t, const struct unit *u)
{
    return (uint32_t)(((const uint8_t *)u - t->record.at) / sizeof(uint64_t));
}

static inline struct unit *unit_numbered(const struct translate_cpu *t, uint32_t number)
{
    return (struct unit *)(void *)(t->record.at + (size_t)number * sizeof(uint64_t));
}

struct unit_page *unit_page_of(struct translate_cpu *t, gpa page);
struct unit_page *unit_page_make_locked(struct translate_cpu *t, gpa page); /* or NULL */
void unit_add(struct translate_cpu *t, struct unit_page *p, struct unit *u);
void unit_drop(struct translate_cpu *t, struct unit *u); /* not the last of its page */
void unit_drop_all(struct translate_cpu *t);
void unit_drop_half(struct translate_cpu *t, unsigned half);
/* Memory that no unit is in goes back to the host; of `all`, after all units went. */
void unit_trim(struct translate_cpu *t, bool all);
/* The draft gets its place, in the half in use; its code is copied from `code`, unless it
 * was written there.  NULL: no memory. */
struct unit *unit_install(struct translate_cpu *t, const struct draft *d,
                          const uint8_t *code);
void unit_take_dirty(struct translate_cpu *t);
void unit_note_dirty_locked(struct translate_cpu *t, const struct dirty *d);
void unit_mark_locked(struct unit_page *p, const struct piece *piece, unsigned n);
extern const struct code_more unit_more;

/* soft.c: immediates that are written again and again.  Whether that of the instruction
 * at `at` is one; whether a store to [from, to) of the unit's page is to one immediate
 * alone, which is noted. */
bool soft_is(const struct translate_cpu *t, gpa at);
bool soft_note(struct translate_cpu *t, const struct unit *u, unsigned from, unsigned to);

/* link.c: patched jumps, and the jump tables */
struct exit_of *link_exit(struct translate_cpu *t, uint32_t number);
uint64_t link_target(const struct translate_cpu *t, const struct exit_of *x);
void link_patch(struct translate_cpu *t, uint32_t number, struct unit *to);
void link_forget(struct translate_cpu *t, const struct unit *u); /* it is about to go */
/* The code at `rip` in the table in force; 0: not there. */
uint64_t link_recall(const struct translate_cpu *t, uint64_t rip);
void link_remember(struct translate_cpu *t, uint64_t rip, uint64_t code);
void link_refresh(struct translate_cpu *t); /* the table of what executes now */
void link_init(struct translate_cpu *t);
void link_trim(
    struct translate_cpu *t); /* the tables are empty, their memory given back */

/* trace.c: translate what begins at `rip`, to the half in use, which has room; NULL:
 * leave it to the interpreter. */
struct unit *trace_translate(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                             gpa at);

/* slow.c */
void slow_helper(void *cpu);
void routine_helper(void *cpu);
bool slow_has_uppers(const struct x86_cpu *c); /* of vector registers: not all zeros */
const struct site *slow_site(const struct translate_cpu *t);
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
/* Only the mode or the place changed, as behind a system call, a return from one, a fault:
 * nothing is to be done between two instructions, and that is noted. */
bool translate_goes_on(struct translate_cpu *t);
bool translate_is_suitable(const struct x86_cpu *c); /* for generated code */
int translate_run(struct cpu *base, uint64_t budget);
uint64_t translate_left(const struct cpu *base);

#endif
