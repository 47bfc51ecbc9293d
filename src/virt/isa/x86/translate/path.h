/* path.h - the way that the guest takes from where a trace is about to begin. */
#ifndef VIRT_ISA_X86_TRANSLATE_PATH_H
#define VIRT_ISA_X86_TRANSLATE_PATH_H

#include <stdbool.h>
#include <stdint.h>

#define PATH_MOST  64
#define PATH_SLOTS 256u

struct translate_cpu;

/* Where the guest went on from an address when it was followed last: blocks of the
 * interpreter, each by the address behind it and the one where it went on. */
struct path {
    uint64_t begun[PATH_SLOTS]; /* starts whose way did not come to its end; 0: none */
    unsigned count;

    struct {
        uint64_t behind, next;
    } step[PATH_MOST];
};

/* Interpret from `rip` on, where the trace will begin, and note the way; false: nothing
 * was executed. */
bool path_follow(struct translate_cpu *t, uint64_t rip);
/* Where it went on from the branch in front of `behind`, from step `*at` on; 0: unknown. */
uint64_t path_next(const struct path *p, unsigned *at, uint64_t behind);
/* How often in a row this branch then went to `to`; 0: its end is not known. */
unsigned path_rounds(const struct path *p, unsigned at, uint64_t behind, uint64_t to);

#endif
