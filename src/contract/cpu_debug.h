/* contract/cpu_debug.h - what a debugger of the host wants of a processor.
 *
 * Part of contract/cpu.h: `cpu_debug` sets it, while the processor does not run, and
 * CPU_EXIT_DEBUG tells what happened: `value` is an `enum cpu_debug_kind`, `address` that of
 * the breakpoint or of the watch.  The guest sees nothing of it.
 *
 * Units: linear addresses, of whatever address space is in force. */
#ifndef CONTRACT_CPU_DEBUG_H
#define CONTRACT_CPU_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

#define CPU_BREAKS_MOST  64
#define CPU_WATCHES_MOST 16

struct cpu_watch {
    uint64_t at;
    uint32_t bytes;
    bool reads; /* not only stores count */
};

struct cpu_debug {
    /* Exit behind each instruction, or exception that came instead.  Meanwhile only a
     * processor that is halted is interrupted. */
    bool steps;

    /* Exit instead of executing what is there, each time that it would be. */
    unsigned breaks;
    uint64_t break_at[CPU_BREAKS_MOST];

    /* Exit behind an instruction that did it. */
    unsigned watches;
    struct cpu_watch watch[CPU_WATCHES_MOST];
};

enum cpu_debug_kind {
    CPU_DEBUG_STEP,
    CPU_DEBUG_BREAK,
    CPU_DEBUG_WATCH
};

#endif
