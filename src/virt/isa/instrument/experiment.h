/* experiment.h - one instruction on a processor of ours, and what it did. */
#ifndef VIRT_ISA_INSTRUMENT_EXPERIMENT_H
#define VIRT_ISA_INSTRUMENT_EXPERIMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"

struct err;

/* The privileged state, in parts: what an instruction may depend on or change. */
enum experiment_part {
    PART_LEVEL,    /* CPL, and with it the mode */
    PART_GDT,      /* GDTR, and what the descriptors hold */
    PART_IDT,      /* IDTR */
    PART_LDT,      /* LDTR */
    PART_TASK,     /* TR */
    PART_CR0,      /* without what makes floating point trap */
    PART_CONTROL,  /* CR2, CR3, CR4, CR8 */
    PART_FLAGS,    /* IF, IOPL, NT, VM, VIF, VIP */
    PART_SEGMENTS, /* hidden parts of segment registers, but the bases of FS and GS */
    PART_DEBUG,    /* debug registers */
    PART_MSR,      /* model-specific registers, the time-stamp counter's offset */
    PART_XCR0,
    PART_MODEL,   /* what CPUID says */
    PART_OUTSIDE, /* ports, halting, hypercalls: whatever leaves the processor */
    PART_COUNT
};

extern const char *const experiment_parts[PART_COUNT];

/* Where and how the instruction runs.  The state that a program at level 3 may know
 * (registers, memory) follows from `preset` alone. */
struct experiment_place {
    uint8_t mode; /* `enum x86_code_mode` */
    uint8_t level;
    bool v86;
    uint8_t iopl;
    uint64_t cr4; /* bits beside the usual ones */
    unsigned preset;
    uint32_t varied; /* parts that differ from the usual: bits by number */
};

#define EXPERIMENT_PRESETS 6
#define EXPERIMENT_DATA    0x1000 /* bytes of memory that count */

struct experiment_outcome {
    bool trapped;
    uint32_t changed; /* parts: bits by number */
    struct x86_regs regs;
    uint8_t data[EXPERIMENT_DATA], stack[64];
};

struct experiment;

int experiment_create(struct experiment **ret, struct err *e);
void experiment_destroy(struct experiment *x);

/* -errno: the processor refused the state. */
int experiment_run(struct experiment *x, const struct experiment_place *place,
                   const uint8_t *bytes, unsigned count,
                   struct experiment_outcome *ret_outcome);

/* The general registers that a form should name: the operand, and the address. */
#define EXPERIMENT_OPERAND X86_RBX
#define EXPERIMENT_ADDRESS X86_RSI

#endif
