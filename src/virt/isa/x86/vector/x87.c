/* x87.c - what the files of the x87 unit share: entry checks and blame. */
#include "virt/isa/x86/vector/x87.h"

#include "virt/isa/x86/vector/vector.h"

const struct x87_value x86_x87_indefinite = {{0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}};

/* SDM volume 1, 8.7: with CR0.NE an error left by an earlier instruction is #MF here.
 * Without, the processor would raise FERR# and look at IGNNE#; no machine of ours
 * wires them, and the instruction goes on as if IGNNE# were asserted. */
void x86_x87_begin(struct x86_cpu *c)
{
    x86_need_fpu(c, false);
    if ((c->r.fpu.fsw & X87_ES) != 0 && (c->r.cr0 & X86_CR0_NE) != 0) {
        x86_raise(c, X86_MF);
    }
    if ((c->r.fpu.fcw & X87_FLAGS) == X87_FLAGS && (c->r.fpu.fsw & X87_ES) == 0) {
        __asm__ volatile("fnclex\n\tfldcw %0" : : "m"(c->r.fpu.fcw));
        c->ready |= X86_LIVE_X87;
    }
}

void x86_x87_begin_control(struct x86_cpu *c)
{
    if ((c->r.cr0 & (X86_CR0_EM | X86_CR0_TS)) != 0) {
        x86_raise(c, X86_NM);
    }
}

void x86_x87_summarise(struct x86_cpu *c)
{
    unsigned raised = c->r.fpu.fsw & ~(unsigned)c->r.fpu.fcw & X87_FLAGS;

    c->r.fpu.fsw &= (uint16_t) ~(X87_ES | X87_BUSY);
    if (raised != 0) {
        c->r.fpu.fsw |= X87_ES | X87_BUSY;
    }
}

/* FOP and FDP are updated for unmasked exceptions only (SDM volume 1, 8.1.8, 8.1.9:
 * the fopcode compatibility mode off, CPUID.7.0:EBX[6] set).  The bytes of the
 * instruction are read again, since they are needed here alone. */
void x86_x87_blame(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t at = c->r.gpr[X86_RIP];
    uint8_t byte = 0;

    for (unsigned n = 0; n + 1 < i->length; n++) {
        byte = x86_fetch8(c, at + n);
        if ((byte & 0xf8) == 0xd8) {
            c->r.fpu.fop = (uint16_t)((byte & 7) << 8 | x86_fetch8(c, at + n + 1));
            break;
        }
    }
    if (i->is_memory) {
        c->r.fpu.fdp = x86_ea(c, i);
    }
}

void x86_fpu_init(struct x86_fpu *fpu)
{
    fpu->fcw = X87_HOST_CW;
    fpu->fsw = 0;
    fpu->ftw = 0;
    fpu->fop = 0;
    fpu->fip = 0;
    fpu->fdp = 0;
    fpu->fcs = 0;
    fpu->fds = 0;
}
