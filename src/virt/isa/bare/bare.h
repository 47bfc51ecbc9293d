/* bare.h - the face of a bare processor: vCPUs, RAM, a serial port, a way to end.
 *
 * For instruments and tests; no machine.  One file is loaded: a multiboot-1 kernel
 * (ELF-32 or with the addresses in its header), which may get a second file as its
 * module, or flat code that starts in real mode.
 *
 *   port   what
 *   0x3f8  serial port: what is written goes to `print`; always ready, never receives
 *   0xf4   ends the run with the exit code (value << 1 | 1) & 255, as QEMU's
 *          isa-debug-exit does
 *   0xf8   32 bits: the next vCPU starts at this physical address, in flat 32-bit
 *          mode without paging, its number in EBX
 *
 * vCPU 0 runs on the thread that calls `bare_run`, each other on its own from its
 * start on.  There is no interrupt controller: HLT ends a vCPU. */
#ifndef VIRT_ISA_BARE_BARE_H
#define VIRT_ISA_BARE_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bare;
struct cpu_counters;
struct err;
struct x86_regs;

#define BARE_CPUS_MAX 64

struct bare_options {
    const char *engine;    /* "interpret", "translate" or "quick" (that without its second
                              tier); NULL: the second if it can */
    const char *model;     /* CPUID model; NULL: "host-like" */
    unsigned cpus;         /* 0: 1 */
    bool perf_map;         /* name translated code in /tmp/perf-PID.map */
    uint64_t memory_bytes; /* whole pages, from address 0; 0: 256 MiB */
    uint64_t instructions; /* the run ends when a vCPU has done so many; 0: no end */

    /* Bytes of the serial port; one call at a time, on the thread of any vCPU. */
    void (*print)(void *who, const char *bytes, size_t n);

    bool traps_all; /* vCPU 0 leaves the guest behind every instruction */

    /* Called when translated code is made that traps for a sensitive instruction, with its
     * address and text, on the thread of the vCPU.  NULL: nobody lists them. */
    void (*inserted)(void *who, uint64_t at, const char *text);

    /* Called before each instruction of vCPU 0, with its text.  NULL: no trace. */
    void (*trace)(void *who, const struct x86_regs *regs, const char *text);
    void *who; /* borrowed */
};

/* Exit codes of a run that port 0xf4 did not end. */
enum bare_end {
    BARE_EXITED,   /* by port 0xf4 */
    BARE_HALTED,   /* all vCPUs that started have halted */
    BARE_SHUTDOWN, /* triple fault */
    BARE_STOPPED,  /* `bare_stop`, or all instructions are done */
};

int bare_create(const struct bare_options *o, struct bare **ret_bare, struct err *e);

/* A multiboot kernel, and the bytes of its module (NULL: none).  -EINVAL: not one,
 * or it does not fit. */
int bare_load_multiboot(struct bare *b, const uint8_t *file, size_t bytes,
                        const uint8_t *module, size_t module_bytes, struct err *e);

/* Code at a physical address below 1 MiB; vCPU 0 starts there in real mode. */
int bare_load_flat(struct bare *b, const uint8_t *code, size_t bytes, uint64_t at,
                   struct err *e);

/* Once, after a load. */
int bare_run(struct bare *b, enum bare_end *ret_end, unsigned *ret_code, struct err *e);

/* End the run soon; from any thread. */
void bare_stop(struct bare *b);

/* The sums over all vCPUs, while none runs. */
void bare_count(const struct bare *b, struct cpu_counters *ret_counters);
uint64_t bare_traps(const struct bare *b); /* how often vCPUs left the guest */
const char *bare_engine(const struct bare *b);
void bare_destroy(struct bare *b);

#endif
