/* slots.h - the opcode maps byte by byte, each encoding in a slot of its own. */
#ifndef TESTS_VIRT_ISA_X86_SLOTS_H
#define TESTS_VIRT_ISA_X86_SLOTS_H

#include "tests/virt/isa/x86/objdump.h"

/* Each slot is an instruction and what brings objdump back into step. */
struct slots {
    uint8_t *bytes;
    size_t count;
    size_t stride;
};

/* Every opcode of the maps with each mandatory prefix, memory and register; of the
 * groups (or of all, `all_regs`) with every modrm.reg, of those that need it every
 * modrm.rm.  `vex`: maps 1..3 with every W, L and prefix, and vvvv used and not. */
void slots_make(struct slots *ret_slots, bool vex, bool all_regs);
void slots_free(struct slots *s);

/* Instructions of extensions that the processor does not offer, by their names; and
 * lines that are no instruction: prefixes alone, registers that do not exist. */
bool slots_is_foreign(const struct objdump_line *o, const char *normal);
bool slots_is_nothing(const struct objdump_line *o, const char *normal);

#endif
