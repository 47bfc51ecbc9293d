/* code.h - the cache of decoded instructions of one processor.
 *
 * A block is a run of instructions that follow each other in one page and end with
 * the first that may go elsewhere.  It belongs to a physical page and a way of
 * decoding (`x86_code_key`), and is found by the offset of its first byte:
 *
 *   rip --(window: the linear page execution is in)--> page --(slot[offset])--> block
 *
 * The window is right as long as the translation of the page it was opened for is:
 * whoever changes that, or CS, or the mode, ends a block and asks for
 * X86_WANT_RELOAD, which closes the window.
 *
 * Memory is bounded: blocks come from one arena, pages from one array; when either
 * is full all is dropped (counted nowhere but in `decoded`), by the owner, between
 * two blocks.  A block that was invalidated stays in the arena until then, so the
 * loop may still stand in it.
 *
 * A page with blocks carries MEM_CODE.  A store to it, by whom ever, comes to
 * share.c, on the storing thread and under the share's lock,
 * which guards everything here but: `slot` is read by the owner without it (hence
 * atomic), and the window, which is the owner's alone.
 *
 * An instruction that crosses a page is kept by its address, together with its bytes;
 * these are compared each time, so it needs no invalidation. */
#ifndef VIRT_ISA_X86_INTERPRET_CODE_H
#define VIRT_ISA_X86_INTERPRET_CODE_H

#include <pthread.h>

#include "virt/isa/x86/cpu.h"

#define CODE_PAGES           512u
#define CODE_BUCKETS         512u
#define CODE_ARENA_BYTES     (8u << 20)
#define CODE_BLOCK_INSNS_MAX 48u
#define CODE_CROSSINGS       64u
#define CODE_SHARES_MAX      64u
#define CODE_FRESH_MAX       512u

enum block_end {
    BLOCK_PLAIN,   /* full, or at the page's end */
    BLOCK_BRANCH,  /* a near branch: only `next_rip` changed */
    BLOCK_REPEAT,  /* may stand on itself again */
    BLOCK_CONTROL, /* anything may have changed */
};

struct x86_block {
    struct x86_block *next; /* of the same page */
    uint16_t start;         /* offset in the page */
    uint16_t bytes;
    uint8_t count;
    uint8_t end; /* `enum block_end` */
    struct x86_insn insn[];
};

struct code_page {
    gpa at;
    const uint8_t *host;
    uint8_t key; /* `x86_code_key` */
    bool is_flagged;
    struct x86_block *blocks;
    struct code_page *next;                /* of the same bucket */
    uint64_t covered[MEM_PAGE_BYTES / 64]; /* bytes of the page that are in blocks */
    uint32_t slot[MEM_PAGE_BYTES];         /* into the arena, in bytes; 0: none */
};

/* An instruction in two pages. */
struct code_crossing {
    uint64_t rip;
    uint8_t key;
    uint8_t raw[X86_INSN_BYTES_MAX];
    _Alignas(8) uint8_t block[sizeof(struct x86_block) + sizeof(struct x86_insn)];
};

/* What another executor of the same processor made of the bytes of pages; called with
 * the share's lock held, on any thread. */
struct code_more {
    /* Is something made of [from, to) of this physical page? */
    bool (*covers_locked)(struct x86_cpu *c, gpa page, unsigned from, unsigned to);
};

struct stock;

struct x86_code {
    /* The window: rip - window_base < window_end is in `page`. */
    uint64_t window_base;
    uint64_t window_end;
    struct code_page *page;

    const struct x86_block *block; /* that executes; NULL: none */
    uint64_t entry;                /* its rip */

    uint8_t *arena;
    uint32_t arena_used;
    struct code_page *pages;
    unsigned page_count;
    unsigned pages_used; /* those from there on were never */
    struct code_page *bucket[CODE_BUCKETS];
    struct code_crossing crossing[CODE_CROSSINGS];
    struct code_crossing
        single; /* what executes in a page with a breakpoint of the host's */
    struct code_share *share;
    unsigned place;               /* in the share */
    const struct code_more *more; /* NULL: there is no other executor */
    pthread_t runner;
    bool is_running;
    bool is_resting; /* halted: no store of it is under way */
    bool has_missed; /* pages got flags meanwhile, or when it did not run */

    bool nmi_pending;
};

/* A page that got its flag lately (fresh.c). */
struct code_fresh {
    gpa at;
    uint64_t waits; /* for processors, by their places: their stores may miss the flag */
    const uint8_t *host;
    uint8_t *copy; /* owned; its bytes then; NULL: it was written to, or no memory */
};

/* The processors over one `mem`.  `lock` guards every processor's pages, and the rest. */
struct code_share {
    pthread_mutex_t lock;
    struct x86_cpu *cpu[CODE_SHARES_MAX];
    unsigned places; /* behind the last that was ever taken */
    struct mem *mem;
    struct code_fresh fresh[CODE_FRESH_MAX];
    unsigned fresh_count;
    uint64_t all_wait; /* there were too many: any page may be fresh until these came */
    struct stock
        *stock; /* of translators (translate/stock.h); NULL: none of them is there */
};

/* What decoding and binding depend on, beside the bytes. */
static inline uint8_t x86_code_key(const struct x86_cpu *c)
{
    return (uint8_t)(c->code_mode | (c->protected_mode && !c->v86 ? 4 : 0));
}

/* cache.c */
int x86_code_init(struct x86_cpu *c);
void x86_code_fini(struct x86_cpu *c);
void x86_code_trim(struct x86_cpu *c); /* nothing is decoded, its memory given back */

/* The block at rip, decoded if need be; raises what a fetch raises, with
 * gpr[X86_RIP] on the instruction. */
const struct x86_block *x86_code_find(struct x86_cpu *c, uint64_t rip);

/* Drop the blocks of the physical page that touch [from, to); the lock is held. */
struct code_dropped {
    bool is_left; /* some block of the page was not touched */
    bool is_any;  /* some was */
};

struct code_dropped x86_code_drop_locked(struct x86_code *code, gpa page, unsigned from,
                                         unsigned to);

/* Are there blocks of these bytes?  The lock is held. */
bool x86_code_covers_locked(const struct x86_code *code, gpa page, unsigned from,
                            unsigned to);

/* What is decoded of a page, instruction by instruction; good while the lock is held. */
struct x86_known {
    const struct x86_code *code;
    const struct code_page *page;  /* NULL: nothing */
    const struct x86_block *block; /* the one that is read; NULL: none */
    unsigned n, offset;            /* its next instruction, and where in the page */
};

struct x86_known x86_known_locked(const struct x86_code *code, gpa page, uint8_t key);

/* The instruction at that offset of the page; NULL: not known. */
const struct x86_insn *x86_known_at(struct x86_known *k, unsigned offset);

/* Drop all blocks; the lock is held. */
void x86_code_drop_all_locked(struct x86_code *code);

/* share.c */
int x86_share_join(struct x86_cpu *c);
void x86_share_leave(struct x86_cpu *c);

/* The page is about to get its first block: flag it, and bring all processors to a
 * safe point; the lock is held. */
void x86_share_flag_locked(struct x86_cpu *c, struct code_page *p);

/* Did any processor make something of these bytes of the page?  The lock is held. */
bool x86_share_covers_locked(struct code_share *s, gpa page, unsigned from, unsigned to);

/* This processor is at a safe point: its stores see the flags, and nobody waits for it. */
void x86_share_safe_point(struct x86_cpu *c);

/* It begins to run, or ends; it rests in between, or goes on.  Nobody waits for one that
 * does not run, or rests. */
void x86_share_run(struct x86_cpu *c, bool runs);
void x86_share_rest(struct x86_cpu *c, bool rests);

/* fresh.c: pages whose flag some processor's stores may still miss.  The lock is held.
 * The page got its flag, which `waits` are to come to see. */
void x86_fresh_add_locked(struct code_share *s, gpa page, uint64_t waits);

/* It is written to by somebody who sees the flag. */
void x86_fresh_touch_locked(struct code_share *s, gpa page);

/* The processor at that place sees all flags: what nobody else is awaited for is as it
 * was copied, or what was decoded of it goes.  Returns whether it was awaited. */
bool x86_fresh_settle_locked(struct code_share *s, unsigned place);
bool x86_fresh_is_locked(const struct code_share *s, gpa page);

/* What to decode of the page, whose bytes are at `host`. */
const uint8_t *x86_fresh_bytes_locked(const struct code_share *s, gpa page,
                                      const uint8_t *host);

/* event.c: between two instructions.  Returns whether the processor leaves. */
bool x86_between(struct x86_cpu *c);

/* run.c: execute at most `most` instructions of the next block. */
void x86_execute(struct x86_cpu *c, unsigned most);
int x86_interpret_run(struct cpu *base, uint64_t budget);

/* Raises #UD; #GP, for an instruction that is too long. */
void x86_bad_insn(struct x86_cpu *c, const struct x86_insn *i);
void x86_long_insn(struct x86_cpu *c, const struct x86_insn *i);

/* bind.c: how a block ends behind this instruction; BLOCK_PLAIN: it does not. */
enum block_end x86_insn_end(const struct x86_insn *i);

/* The parts of a run, for a loop of another executor's: before it; after an exception
 * arrived by `longjmp`; behind it (what `cpu_run` returns). */
void x86_interpret_begin(struct x86_cpu *c, uint64_t budget);
void x86_interpret_fault(struct x86_cpu *c);
int x86_interpret_end(struct x86_cpu *c);

/* What `interpret_create` does in storage of the caller's, zeroed; on failure and at the
 * end `x86_interpret_fini`, which leaves the storage. */
int x86_interpret_init(struct x86_cpu *c, struct mem *m, const struct x86_model *model);
void x86_interpret_fini(struct x86_cpu *c);
void x86_interpret_get(const struct cpu *base, struct x86_regs *ret_regs);
int x86_interpret_set(struct cpu *base, const struct x86_regs *regs, struct err *e);
void x86_interpret_count(const struct cpu *base, struct cpu_counters *ret_counters);
void x86_interpret_trim(struct cpu *base, enum cpu_rest rest);
uint64_t x86_interpret_left(const struct cpu *base);

#endif
