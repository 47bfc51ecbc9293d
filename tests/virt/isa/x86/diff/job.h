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
 * All below 4 GiB, so that 32-bit code has the same. */
#ifndef TESTS_VIRT_ISA_X86_DIFF_JOB_H
#define TESTS_VIRT_ISA_X86_DIFF_JOB_H

#include <stdbool.h>
#include <stdint.h>

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
    bool legacy; /* 32-bit code */
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

/* Run the first `count` jobs.  A child that dies or hangs leaves vector -1 in the
 * job at fault and in those behind it, and is replaced. */
int native_run(struct native *n, unsigned count);

/* Whether the child can enter 32-bit code. */
bool native_has_legacy(const struct native *n);

struct guest;

/* The same on an executor: "interpret" or "translate". */
int guest_create(const char *executor, struct guest **ret_guest);
void guest_destroy(struct guest *g);
void guest_run(struct guest *g, struct job *j);

/* Pages of the job outside the compared windows become zeros again. */
void guest_forget(struct guest *g);

#endif
