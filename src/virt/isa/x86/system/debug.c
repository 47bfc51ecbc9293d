/* debug.c - debug registers (SDM volume 3B, chapter 18).
 *
 * A data or port breakpoint that an instruction hits is remembered in `dr6_pending`;
 * the loop makes one trap of it and of a single step behind the instruction, and
 * looks for instruction breakpoints before one. */
#include "virt/isa/x86/system/debug.h"

#include "virt/isa/x86/system/routine.h"

#define DR6_BD  0x2000u
#define DR7_GD  0x2000u
#define ON_PORT 2u

static bool is_port(const struct x86_cpu *c, unsigned n)
{
    uint64_t dr7 = c->r.dr[7];

    return (dr7 >> (n * 2) & 3) != 0 && (dr7 >> (16 + n * 4) & 3) == ON_PORT;
}

void x86_debug_changed(struct x86_cpu *c)
{
    x86_tlb_flush_all(c, true);
}

void x86_note_port(struct x86_cpu *c, uint16_t port, unsigned bytes)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};

    if ((c->r.cr4 & X86_CR4_DE) == 0 || (c->r.dr[7] & 0xff) == 0) {
        return;
    }
    for (unsigned n = 0; n < 4; n++) {
        unsigned length = lengths[c->r.dr[7] >> (18 + n * 4) & 3];
        uint64_t first = c->r.dr[n] & ~(uint64_t)(length - 1);

        if (is_port(c, n) && first < port + bytes && port < first + length) {
            c->dr6_pending |= 1u << n;
            c->wants |= X86_WANT_TRAP;
        }
    }
}

/* #UD for DR4 and DR5 with CR4.DE, #GP by level, #DB for general detect. */
static unsigned check_access(struct x86_cpu *c, unsigned n)
{
    if (n >= 8) {
        x86_raise(c, X86_UD);
    }
    if (n == 4 || n == 5) {
        if ((c->r.cr4 & X86_CR4_DE) != 0) {
            x86_raise(c, X86_UD);
        }
        n += 2;
    }
    if (c->r.cpl != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    if ((c->r.dr[7] & DR7_GD) != 0) {
        c->fault = (struct x86_fault){.vector = X86_DB, .dr6 = DR6_BD};
        longjmp(c->unwind, 1);
    }
    return n;
}

static void mov_rd(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned n = check_access(c, i->reg);

    c->r.gpr[i->rm] = c->code_mode == X86_CODE64 ? c->r.dr[n] : (uint32_t)c->r.dr[n];
}

static void mov_dr(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned n = check_access(c, i->reg);
    uint64_t v = c->r.gpr[i->rm];

    if (c->code_mode != X86_CODE64) {
        v = (uint32_t)v;
    }
    c->wants |= X86_WANT_RELOAD;
    if (n < 4) {
        c->r.dr[n] = v;
        x86_debug_changed(c);
        return;
    }
    if (v >> 32 != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    if (n == 6) {
        c->r.dr[6] = (v & 0xe00f) | 0xffff0ff0u;
    } else {
        c->r.dr[7] = (v & 0xffff2bffu) | 0x400;
        x86_debug_changed(c);
    }
}

X86_SYSTEM_REG(mov_rd)
X86_SYSTEM_REG(mov_dr)
