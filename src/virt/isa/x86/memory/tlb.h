/* tlb.h - the soft TLB: what was translated lately, ready for one comparison.
 *
 * A processor keeps a few address spaces (by CR3 and PCID), each with one table
 * for each kind of privilege.  A table is direct-mapped by the linear page and has
 * two halves: `entry`, which the inline fast path compares, and `page`, what the
 * walk found.  The first follows from the second, the flags of the physical page
 * and the breakpoints; when those change the first is made again without a walk.
 *
 * A tag is a page address, and matches `(linear + bytes - 1) & page mask`: an
 * access that crosses a page has the tag of the next page, whose place in the
 * table is another one, so it never matches.  All zeros mean "nothing" for every
 * place but the first (page 0 belongs there) and the last (the one before address
 * 0, after which the sum wraps); those two hold X86_TLB_NOTHING. */
#ifndef VIRT_ISA_X86_MEMORY_TLB_H
#define VIRT_ISA_X86_MEMORY_TLB_H

#include "virt/isa/x86/cpu.h"

#define X86_TLB_ENTRIES 2048
#define X86_TLB_NOTHING                                                                  \
    0x800u /* no page address, nor one with what an alignment check keeps */
#define X86_TLB_LARGE_WORDS 4
#define X86_FETCHED_WORDS   16
#define X86_SPACES          8
#define X86_PAGE_MASK       ((uint64_t)MEM_PAGE_BYTES - 1)

/* A linear base that no entry matches: bit 62 is neither canonical nor 32-bit. */
#define X86_BASE_SLOW (1ull << 62)

/* Whose rights an access has. */
enum x86_rights {
    X86_AS_SYSTEM,    /* supervisor, SMAP in force; also every implicit access */
    X86_AS_SYSTEM_AC, /* supervisor with EFLAGS.AC: user pages may be touched */
    X86_AS_USER,
    X86_AS_COUNT
};

enum x86_access {
    X86_READ = 1,
    X86_WRITE = 2,
    X86_EXECUTE = 4
};

struct x86_tlb_entry {
    uint64_t read, write, execute; /* tags */
    uint64_t addend;               /* host address = linear address + addend */
};

struct x86_tlb_page {
    uint64_t linear; /* page address; X86_TLB_NOTHING or `used` false: empty */
    gpa at;          /* physical page */
    const struct mem_region *region; /* NULL: nothing there */
    uint8_t allowed;                 /* `enum x86_access`; WRITE only when dirty is set */
    uint8_t shift;                   /* size of the guest's page: 12, 21, 22, 30 */
    bool global;
    bool used;
};

/* Large pages by 4 MiB, and by 1 GiB, of the linear address, folded; those of the upper half
 * of the addresses apart, where systems map all memory by them. */
struct x86_large {
    uint64_t part[2][X86_TLB_LARGE_WORDS];
    uint64_t huge[2];
};

/* Pages that code was fetched from: small ones by linear page, folded, those of the upper half
 * of the addresses apart; and large ones. */
struct x86_fetched {
    uint64_t page[2][X86_FETCHED_WORDS];
    struct x86_large large;
};

struct x86_tlb {
    struct x86_tlb_entry entry[X86_TLB_ENTRIES];
    struct x86_tlb_page page[X86_TLB_ENTRIES];
    uint64_t used[X86_TLB_ENTRIES / 64]; /* which places hold something */
    /* Where pages of 2 and 4 MiB, and of 1 GiB, may be held in pieces. */
    struct x86_large large;
    uint8_t votes;
    uint64_t usual_addend; /* of most pages that were entered */
};

struct x86_space {
    uint64_t cr3; /* the table's address */
    uint16_t pcid;
    bool used;
    uint64_t last_use;
    /* Another, when some address of the code that only this space knows may mean another
     * page: users' code, and the system's where `is_local`. */
    uint64_t generation;
    bool is_local;              /* system code came through a page that is not global */
    bool has_global;            /* users' code came through one that is */
    struct x86_fetched fetched; /* since it got that generation */
    struct x86_tlb as[X86_AS_COUNT];
};

struct x86_tlb_set {
    struct x86_space space[X86_SPACES];
    struct x86_space *now;
    uint64_t clock;
    uint64_t generation;        /* of system code through global pages, in all spaces */
    struct x86_fetched fetched; /* ... since then */
    struct x86_tlb none;        /* always empty: every access is to be looked at */
};

/* What one page of an access turned out to be. */
struct x86_part {
    const struct mem_region *region; /* NULL: nothing there */
    gpa at;
    uint8_t *host; /* RAM: the first byte; else NULL */
    unsigned bytes;
};

/* Walk the page tables: raises #PF, sets accessed and dirty. */
void x86_walk(struct x86_cpu *c, uint64_t linear, enum x86_access access,
              enum x86_rights rights, struct x86_tlb_page *ret_page);

/* Translate [linear, linear+bytes) inside one page, through the table. */
void x86_translate(struct x86_cpu *c, uint64_t linear, enum x86_access access,
                   enum x86_rights rights, struct x86_part *ret_part);

/* The host address of [linear, linear+bytes), if a tag says that such an access needs no look;
 * else NULL. */
uint8_t *x86_tlb_hit(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                     enum x86_access access, enum x86_rights as);

/* segment:offset to linear, with all checks of segmentation and alignment. */
uint64_t x86_linear(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes,
                    enum x86_access access);

/* The bytes of a part, which is whole (`bytes` set), in any kind of memory. */
void x86_part_read(struct x86_cpu *c, const struct x86_part *p, void *buf);
void x86_part_write(struct x86_cpu *c, const struct x86_part *p, const void *buf);

/* Data breakpoints: is one armed in this page for such an access; note those that
 * [linear, linear+bytes) hits. */
bool x86_is_watched(const struct x86_cpu *c, uint64_t page, enum x86_access access);
void x86_note_watched(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                      enum x86_access access);

static inline unsigned x86_tlb_index(uint64_t linear)
{
    return (unsigned)(linear >> MEM_PAGE_SHIFT) & (X86_TLB_ENTRIES - 1);
}

/* Whose rights the processor has now; `x86_cpu.tlb` is the table that goes with them. */
static inline enum x86_rights x86_rights_now(const struct x86_cpu *c)
{
    bool has_override = (c->r.rflags & X86_AC_BIT) != 0 && (c->r.cr4 & X86_CR4_SMAP) != 0;

    return c->r.cpl == 3 ? X86_AS_USER : has_override ? X86_AS_SYSTEM_AC : X86_AS_SYSTEM;
}

/* The same table, also while alignment checks leave the processor without one. */
static inline struct x86_tlb *x86_tlb_real(const struct x86_cpu *c)
{
    return c->tlb != &c->tlbs->none ? c->tlb : &c->tlbs->now->as[X86_AS_USER];
}

/* A small set of numbers, which may say yes for one that is not there. */
static inline unsigned x86_fold(unsigned words, uint64_t number)
{
    return (unsigned)(number * UINT64_C(0x9e3779b97f4a7c15) >> 40) % (words * 64);
}

static inline void x86_fold_set(uint64_t *word, unsigned words, uint64_t number)
{
    unsigned n = x86_fold(words, number);

    word[n / 64] |= UINT64_C(1) << n % 64;
}

static inline bool x86_fold_has(const uint64_t *word, unsigned words, uint64_t number)
{
    unsigned n = x86_fold(words, number);

    return (word[n / 64] >> n % 64 & 1) != 0;
}

/* Code comes from this page, which is held. */
void x86_note_fetched(struct x86_cpu *c, const struct x86_tlb_page *p);

static inline bool x86_is_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

#endif
