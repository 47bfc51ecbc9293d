/* cpu_count.rows.h - what a processor counts: CPU_COUNTER(field, "name", "meaning").
 *
 * Makes the fields of `struct cpu_counters` and the lines of `strata isa run --counters`;
 * undefines CPU_COUNTER at the end. */
CPU_COUNTER(interpreted, "interpreted", "guest instructions executed by the interpreter")
CPU_COUNTER(translated, "translated", "... in translated code, where that is counted")
CPU_COUNTER(optimised, "optimised", "translated blocks that were hot, and made again, better")
CPU_COUNTER(decoded, "decoded", "instructions decoded (cache misses)")
CPU_COUNTER(blocks, "blocks", "translated blocks made")
CPU_COUNTER(lifted, "lifted", "guest instructions in them")
CPU_COUNTER(translate_ns, "translate ns", "nanoseconds spent making them")
CPU_COUNTER(chain_breaks, "chain breaks", "returns to the dispatcher")
CPU_COUNTER(tlb_misses, "TLB misses", "walks of the page tables")
CPU_COUNTER(code_writes, "code writes", "stores that hit decoded or translated code")
CPU_COUNTER(exceptions, "exceptions", "faults and traps delivered")
CPU_COUNTER(interrupts, "interrupts", "external interrupts delivered")
#undef CPU_COUNTER
