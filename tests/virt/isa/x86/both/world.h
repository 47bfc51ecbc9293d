/* world.h - one random guest, on the interpreter and on the translator.
 *
 * A world is two machines that begin alike: RAM between pages that nobody may touch,
 * descriptor tables, page tables, handlers, code, registers.  Everything is drawn from
 * a `struct draw`, so the same draw makes the same world: from a seed, or from the
 * bytes of a fuzzer.
 *
 *   physical   what
 *   0x00000    vectors of real mode
 *   0x01000    GDT, at 0x1800 an IDT of 8-byte gates
 *   0x02000    IDT of 16-byte gates
 *   0x03000    TSS with its map of ports
 *   0x05000    page tables of the three kinds, identity but for aliases
 *   0x10000    handlers: each steps over one byte and comes back into the code
 *   0x20000    code, eight pages (also at 0x60000 where there is paging)
 *   0x30000    data, eight pages (also at 0x70000)
 *   0x40000    stacks */
#ifndef TESTS_VIRT_ISA_X86_BOTH_WORLD_H
#define TESTS_VIRT_ISA_X86_BOTH_WORLD_H

#include <stddef.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "virt/isa/x86/x86.h"

#define WORLD_RAM        0x100000u
#define WORLD_GDT        0x1000u
#define WORLD_IDT        0x1800u
#define WORLD_IDT64      0x2000u
#define WORLD_TSS        0x3000u
#define WORLD_PML4       0x5000u
#define WORLD_PT64       0x8000u
#define WORLD_PD32       0x9000u
#define WORLD_PT32       0xa000u
#define WORLD_PDPT       0xb000u
#define WORLD_PTPAE      0xd000u
#define WORLD_HANDLERS   0x10000u
#define WORLD_SYSCALL    0x13000u
#define WORLD_CODE       0x20000u
#define WORLD_CODE_PAGES 8u
#define WORLD_CODE_BYTES (WORLD_CODE_PAGES * 4096u)
#define WORLD_DATA       0x30000u
#define WORLD_STACK      0x48000u
#define WORLD_STACK3     0x58000u
#define WORLD_ALIAS      0x40000u /* from a page to its other linear address */
#define WORLD_INSNS_MOST 4096u

enum world_mode {
    WORLD_REAL,
    WORLD_V86,
    WORLD_PROTECTED16,
    WORLD_PROTECTED32,
    WORLD_PAGED32,
    WORLD_PAE,
    WORLD_COMPATIBILITY,
    WORLD_LONG,
    WORLD_MODES
};

struct draw {
    const uint8_t *bytes; /* used up first */
    size_t left;
    uint64_t state;
};

uint64_t draw_word(struct draw *d);
unsigned draw_below(struct draw *d, unsigned n);
bool draw_one_in(struct draw *d, unsigned n);

/* One of the two machines. */
struct side {
    const char *name;
    struct mem *mem;
    struct cpu *cpu;
    struct cpu_env env;
    uint8_t *ram;
    uint64_t clock;
    uint64_t exits; /* a digest of all that happened */
    int vector;     /* for `take_interrupt`, once; -1: none */
    bool stops;     /* port writes end the run */
    bool is_stuck;  /* halted or shut down */
};

struct world {
    struct draw draw;
    enum world_mode mode;
    bool has_xsave;
    bool is_raw; /* code of any bytes, not only of instructions */
    struct side side[2];
    uint32_t start[WORLD_INSNS_MOST]; /* offsets of instructions in the code */
    unsigned starts;
    unsigned steps;

    /* Of the step: instructions, kicks at its begin, and the vector they bring. */
    uint64_t budget;
    uint32_t kicks;
    unsigned trims; /* bits of the sides that give memory back before it */
    enum cpu_rest rest;
    int vector;
};

/* A world in that mode (WORLD_MODES: drawn); aborts where the host has no memory. */
void world_create(struct world *w, const struct draw *from, enum world_mode mode);
void world_destroy(struct world *w);

/* A new program and new registers in the same machines. */
void world_begin(struct world *w);

/* Run both, for a drawn number of instructions; false: they differ, as `text` says. */
bool world_step(struct world *w, char *text, unsigned bytes);

/* Its two halves: what is done, and doing it on both, or on one side. */
void world_draw(struct world *w);
bool world_run_both(struct world *w, char *text, unsigned bytes);
int world_run(struct world *w, struct side *s, uint64_t budget);

/* program.c: code of that mode into the code pages. */
void program_make(struct world *w, uint8_t *code);

/* Put bytes into both. */
void world_put(struct world *w, gpa at, const void *from, unsigned bytes);

#endif
