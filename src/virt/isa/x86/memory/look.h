/* look.h - an address space as somebody outside sees it who must not change anything. */
#ifndef VIRT_ISA_X86_MEMORY_LOOK_H
#define VIRT_ISA_X86_MEMORY_LOOK_H

#include <stdbool.h>
#include <stdint.h>

struct mem;
struct x86_regs;

/* Where a linear address leads, and what its tables allow. */
struct x86_view {
    uint64_t at;    /* physical */
    unsigned shift; /* size of the page: 12, 21, 22, 30; 0: there is no paging */
    bool writable, executable, for_users;
};

/* What a walk of the tables would find, no bit of which is set.  -EFAULT: nothing. */
int x86_look(const struct x86_regs *r, struct mem *m, uint64_t linear,
             struct x86_view *ret);

#endif
