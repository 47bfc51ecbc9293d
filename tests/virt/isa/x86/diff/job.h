/* job.h - one experiment: a short piece of code, the state it starts in and the
 * state it ends in, once on the host's processor and once on an executor of ours.
 *
 * Memory of an experiment, at the same linear addresses on both sides:
 *
 *   JOB_CODE   one page, execute and read: the code, then INT3
 *   JOB_DATA   two pages, read and write; the third is not mapped; the fourth is
 *              read only.  Bytes are compared in the window around the border of
 *              the first two and in front of the unmapped one.
 *   JOB_STACK  one page, read and write; compared around its middle
 *
 * What is not given begins as zeros.  All below 4 GiB, so that 32-bit code has the same.  16-bit code has segments of its
 * own, from a local descriptor table: CS at JOB_CODE, DS and ES at JOB_DATA, SS at
 * JOB_STACK, 64 KiB each; its registers and RIP are offsets.  FS and GS begin at
 * JOB_DATA in every mode; outside 64-bit mode FS ends JOB_FS_LIMIT behind it, and GS
 * (expand-down) begins behind the first page. */
#ifndef TESTS_VIRT_ISA_X86_DIFF_JOB_H
#define TESTS_VIRT_ISA_X86_DIFF_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/isa/x86/insn.h"

#define JOB_PAGE           4096u
#define JOB_CODE           0x10000000u
#define JOB_DATA           0x20000000u
#define JOB_STACK          0x30000000u
#define JOB_CODE_BYTES     96u
#define JOB_WINDOW         512u /* compared on each side of a border */
#define JOB_DATA_BORDER    (JOB_DATA + JOB_PAGE)
#define JOB_DATA_END       (JOB_DATA + 2 * JOB_PAGE)
#define JOB_DATA_READ_ONLY (JOB_DATA + 3 * JOB_PAGE)
#define JOB_STACK_TOP      (JOB_STACK + JOB_PAGE / 2)
#define JOB_FS_LIMIT       (2 * JOB_PAGE - 65)
#define JOB_GS_LIMIT       (JOB_PAGE - 1)

/* The local descriptor table, on both sides: entries in this order, level 3. */
enum job_entry {
    JOB_LDT_CODE16,
    JOB_LDT_DATA16,
    JOB_LDT_STACK16,
    JOB_LDT_FS,
    JOB_LDT_GS,
    JOB_LDT_COUNT
};

#define JOB_SELECTOR(entry) ((entry) << 3 | 7)

/* The legacy area and the AVX part of a standard XSAVE image, without its header. */
struct job_fpu {
    uint8_t legacy[416]; /* FXSAVE: control words, st/mm, xmm0..15 */
    uint8_t ymm_high[16][16];
};

struct job_state {
    uint64_t gpr[16]; /* `enum x86_gpr` order */
    uint64_t rip;
    uint64_t rflags;
    struct job_fpu fpu;
    uint8_t data[3 * JOB_WINDOW]; /* border - W, border + W, end - W */
    uint8_t stack[2 * JOB_WINDOW];
};

struct job {
    uint8_t code[JOB_CODE_BYTES]; /* INT3 behind it */
    uint8_t code_bytes;
    uint8_t mode; /* `enum x86_code_mode` */
    struct job_state start;

    /* Filled by whoever runs it. */
    struct job_state end;
    int vector; /* 3: came to the INT3; -1: did not end */
    uint64_t error;
    uint64_t address; /* of a page fault */
};

struct native;

/* A confined child process that runs jobs on this host's processor, up to
 * NATIVE_BATCH at a time.  -errno: the host does not let us. */
#define NATIVE_BATCH 128
int native_create(struct native **ret_native);
void native_destroy(struct native *n);

/* The jobs to be filled; shared with the child. */
struct job *native_jobs(struct native *n);

/* Run the first `count` jobs.  One that does not end has vector -1; 1: one killed the
 * child, those behind it have -1 too, and the child is a new one. */
int native_run(struct native *n, unsigned count);

/* Whether the child can enter code of that mode. */
bool native_has_mode(const struct native *n, enum x86_code_mode mode);

struct guest;

/* The same on an executor: "interpret" or "translate". */
int guest_create(const char *executor, struct guest **ret_guest);
void guest_destroy(struct guest *g);
void guest_run(struct guest *g, struct job *j);

#endif
