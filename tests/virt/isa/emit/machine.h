/* machine.h - the same region by generated code and by the evaluator, on a machine of a
 * few pages: what each made of the globals and of memory, and how it ended.
 *
 * Globals of a front end's table lie in cells (MACHINE_CELL), a FLAGS global at
 * MACHINE_FLAGS.  Two pages are special: one is absent and faults, one is never in the
 * soft TLB, so that every access to it takes the slow path. */
#ifndef TESTS_VIRT_ISA_EMIT_MACHINE_H
#define TESTS_VIRT_ISA_EMIT_MACHINE_H

#include <stddef.h>
#include <stdio.h>

#include "../ir/evaluate.h"
#include "virt/isa/emit/emit.h"

#define MACHINE_CELLS  40
#define MACHINE_PAGES  8
#define MACHINE_PAGE   4096u
#define MACHINE_BYTES  (MACHINE_PAGES * MACHINE_PAGE)
#define MACHINE_MEMORY 0x100000u /* guest address of the first */
#define MACHINE_SLOW   2         /* number of the page that is never in the table */
#define MACHINE_ABSENT 5

#define MACHINE_TLB_ENTRIES 256

struct machine_entry {
    uint64_t read, write, execute, addend;
};

struct machine_cpu {
    uint64_t cell[MACHINE_CELLS];
    struct emit_frame frame;
    struct machine_entry *tlb;
    uint32_t wants, local;
    uint64_t budget;
    uint64_t usual;
    uint32_t mxcsr;
    uint8_t ymm[16][32] __attribute__((aligned(32)));
};

#define MACHINE_CELL(n) (offsetof(struct machine_cpu, cell) + sizeof(uint64_t) * (n))
#define MACHINE_FLAGS                                                                    \
    (offsetof(struct machine_cpu, frame) + offsetof(struct emit_frame, flags))

struct machine_outcome {
    uint64_t global[MACHINE_CELLS]; /* by number; FLAGS as an RFLAGS image */
    /* Of a start: FLAGS as the operands that give that image; `late` 0: are not. */
    uint32_t late;
    uint64_t late_a, late_b;
    enum evaluate_end end;
    uint64_t pc;
    uint64_t trap;
    uint8_t memory[MACHINE_BYTES];
};

/* For the front end of this table, borrowed; false: no room for code. */
bool machine_start(const struct ir_global *globals, uint16_t count);

/* Only writes the code, to memory of `room` bytes; what `emit_region` gave. */
int machine_write(const struct ir_region *g, size_t room);

/* What `emit_region` gave; 0: *ret says what the code did from `start` on. */
int machine_native(const struct ir_region *g, const struct machine_outcome *start,
                   struct machine_outcome *ret);
void machine_meaning(const struct ir_region *g, const struct machine_outcome *start,
                     struct machine_outcome *ret);

/* Else the difference in words. */
bool machine_same(const struct machine_outcome *native,
                  const struct machine_outcome *meant, char *why, size_t bytes);

/* FLAGS of a start become those of random operands. */
void machine_late_flags(struct machine_outcome *start, uint16_t flags);

/* The region as built and after all passes (which it then has), by both: 0 when they
 * agree; 1 with the difference on stdout; -ENOTSUP or -ENOSPC: there is no host code. */
int machine_compare(struct ir_region *g, const struct machine_outcome *start);

/* Numbers that follow from the seed. */
extern uint64_t machine_seed;
uint64_t machine_next(void);
unsigned machine_below(unsigned n);

#endif
