/* describe.c - the next instruction as text, without touching the guest. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "contract/mem.h"
#include "virt/isa/bare/private.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/memory/look.h"

static enum x86_code_mode mode_of(const struct x86_regs *r)
{
    if ((r->cr0 & X86_CR0_PE) == 0 || (r->rflags & X86_VM) != 0) {
        return X86_CODE16;
    }
    if ((r->msr.efer & X86_EFER_LMA) != 0 && (r->seg[X86_CS].attr & X86_ATTR_L) != 0) {
        return X86_CODE64;
    }
    return (r->seg[X86_CS].attr & X86_ATTR_DB) != 0 ? X86_CODE32 : X86_CODE16;
}

void bare_describe(const struct bare *b, const struct x86_regs *r, char *text,
                   size_t bytes)
{
    uint64_t linear = r->gpr[X86_RIP] + r->seg[X86_CS].base;
    uint8_t code[X86_INSN_BYTES_MAX];
    struct x86_insn insn;
    struct x86_view v;
    unsigned have = 0;

    if (mode_of(r) != X86_CODE64) {
        linear = (uint32_t)linear;
    }
    while (have < sizeof code && x86_look(r, b->mem, linear + have, &v) == 0 &&
           mem_read(b->mem, v.at & r->a20_mask, &code[have], 1) == 0) {
        have++;
    }
    if (have == 0) {
        (void)str_print(text, bytes, "(no memory)");
    } else if (x86_decode(code, have, mode_of(r), &insn) == X86_DECODED) {
        (void)x86_disassemble(&insn, r->gpr[X86_RIP], text, bytes);
    } else {
        (void)str_print(text, bytes, "(no instruction)");
    }
}
