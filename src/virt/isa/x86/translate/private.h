/* private.h - the translator's state.
 *
 * A unit is the host code of one trace: instructions of one page of guest memory, that
 * begin at one address.  It is found by the physical and linear addresses of its first
 * byte and the way of decoding.  Units of one page live and die together, so a jump from one to
 * another of the same page is patched in and needs no care; a jump to another page goes
 * through the jump table, whose tags hold a generation: when a mapping changes, the
 * generation does, and every entry is stale at once.
 *
 * Invariant: a page with units carries MEM_CODE, so that no store in generated code
 * reaches it; such stores leave the region and are interpreted (slow.c), and the
 * listener drops the page's units between two instructions.  Stores by other
 * processors or devices are noted under `lock` and acted on at the next safe point. */
#ifndef VIRT_ISA_X86_TRANSLATE_PRIVATE_H
#define VIRT_ISA_X86_TRANSLATE_PRIVATE_H

#include <pthread.h>

#include "virt/isa/emit/emit.h"
#include "virt/isa/ir/native.h"
#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/lift/lift.h"

#define TRACE_INSNS_MAX 48
#define UNIT_BUCKETS    16384u
#define PAGE_BUCKETS    4096u
#define HEAT_SLOTS      8192u
#define DIRTY_MAX       64

struct unit {
    struct unit *next;      /* of the same bucket */
    struct unit *page_next; /* of the same page */
    gpa at;
    uint64_t rip; /* of its first byte: in the code, so a page mapped twice has two */
    uint8_t key;
    bool is_counted;
    uint32_t insns;
    uint64_t code; /* host address; 0: cannot be translated */
    struct x86_insn insn[TRACE_INSNS_MAX];
    struct ir_native native[TRACE_INSNS_MAX];
};

struct unit_page {
    struct unit_page *next;
    gpa at;
    struct unit *units;
};

struct exit_of {
    uint64_t pc;
    gpa page;      /* of the unit it leaves */
    uint8_t *jump; /* displacement, in the writable view; NULL: the unit is gone */
};

struct code_memory {
    uint8_t *write;
    const uint8_t *run;
    size_t bytes, used, first;
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
    struct emit_env env;
    struct ir_global global[LIFT_GLOBALS];
    struct lift *lift;
    struct ir_region region;
    struct emit_result result; /* of the unit in work */
    void (*enter)(void);

    struct unit *bucket[UNIT_BUCKETS];
    struct unit_page *page[PAGE_BUCKETS];
    struct emit_site *site;
    uint32_t sites, site_room;
    struct emit_pend *pend;
    uint32_t pends, pend_room;
    struct exit_of *exit;
    uint32_t exits, exit_room;
    struct emit_jump *jumps;
    uint8_t heat[HEAT_SLOTS];
    unsigned warm;
    uint64_t map_generation; /* that the jump table is for */
    uint8_t key;             /* ... and the way of decoding */
    bool inside;             /* generated code is running */
    bool is_counted;         /* this run has a budget that ends */
    bool listens;
    uint32_t drops; /* times everything was dropped */

    pthread_mutex_t lock; /* guards the next two */
    gpa dirty[DIRTY_MAX];
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

static inline struct translate_cpu *translate_of(struct x86_cpu *c)
{
    return (struct translate_cpu *)(void *)c;
}

/* memory.c */
int code_memory_create(struct code_memory *m, size_t bytes);
void code_memory_destroy(struct code_memory *m);

/* unit.c */
struct unit *unit_find(struct translate_cpu *t, gpa at, uint64_t rip, bool counted);
int unit_add(struct translate_cpu *t, struct unit *u);
void unit_drop_page(struct translate_cpu *t, gpa page);
void unit_drop_all(struct translate_cpu *t);
void unit_take_dirty(struct translate_cpu *t);

/* trace.c: translate what begins at `rip`; NULL: leave it to the interpreter. */
struct unit *trace_translate(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                             unsigned room, gpa at, bool counted);

/* slow.c */
void slow_helper(void *cpu);
void routine_helper(void *cpu);
bool slow_has_uppers(const struct x86_cpu *c); /* of vector registers: not all zeros */
void slow_apply(struct translate_cpu *t);      /* the state of the site that stopped it */

/* fpu.c: the x87 state goes to the host's unit, and back to the struct if it is there */
void fpu_lend(struct translate_cpu *t);
void fpu_take(struct translate_cpu *t);
void fpu_helper(void *cpu);

/* run.c */
int translate_run(struct cpu *base, uint64_t budget);

#endif
