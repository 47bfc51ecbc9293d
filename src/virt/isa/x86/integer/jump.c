/* jump.c - JMP, CALL, RET, far transfers, software interrupts, BOUND, UD.
 *
 * A bad target faults at the branch, with the stack pointer as it was.  Far transfers are the machine's (system/). */
#include "virt/isa/x86/integer/stack.h"

#define TO_TARGET(name, ...)                                                             \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        (void)is_memory;                                                                 \
        __VA_ARGS__                                                                      \
    }

ALWAYS void call(struct x86_cpu *c, uint64_t target, unsigned bits)
{
    uint64_t before = c->r.gpr[X86_RSP], after;

    x86_push(c, c->next_rip, bits); /* a bad stack is found before a bad target */
    after = c->r.gpr[X86_RSP];
    c->r.gpr[X86_RSP] = before;
    x86_check_target(c, target);
    c->r.gpr[X86_RSP] = after;
    c->next_rip = target;
}

TO_TARGET(jmp_j, x86_jump(c, x86_relative(c, i, bits));)
TO_TARGET(jmp_e, x86_jump(c, x86_get_e(c, i, bits, is_memory));)
TO_TARGET(call_j, call(c, x86_relative(c, i, bits), bits);)
TO_TARGET(call_e, call(c, x86_get_e(c, i, bits, is_memory), bits);)
TO_TARGET(ret, x86_jump(c, x86_top(c, bits)); x86_drop(c, bits / 8 + (uint16_t)i->imm);)

X86_FAMILY_REG_V(jmp_j)
X86_FAMILY_V(jmp_e)
X86_FAMILY_REG_V(call_j)
X86_FAMILY_V(call_e)
X86_FAMILY_REG_V(ret)

static void far_immediate(struct x86_cpu *c, const struct x86_insn *i, enum x86_far kind)
{
    x86_far_transfer(c, kind, (uint16_t)(i->imm >> 32), (uint32_t)i->imm,
                     (enum x86_size)i->size);
}

ALWAYS void far_memory(struct x86_cpu *c, const struct x86_insn *i, enum x86_far kind,
                       unsigned bits)
{
    uint64_t at = x86_ea(c, i);
    enum x86_seg s = (enum x86_seg)i->segment;
    uint64_t offset = x86_load(c, s, at, bits);
    uint16_t selector = x86_load16(c, s, (at + bits / 8) & x86_address_mask(i));

    x86_far_transfer(c, kind, selector, offset, (enum x86_size)i->size);
}

static void jmp_ap(struct x86_cpu *c, const struct x86_insn *i)
{
    far_immediate(c, i, X86_FAR_JMP);
}

static void call_ap(struct x86_cpu *c, const struct x86_insn *i)
{
    far_immediate(c, i, X86_FAR_CALL);
}

TO_TARGET(jmp_mp, far_memory(c, i, X86_FAR_JMP, bits);)
TO_TARGET(call_mp, far_memory(c, i, X86_FAR_CALL, bits);)

X86_FAMILY_ONE(jmp_ap)
X86_FAMILY_ONE(call_ap)
X86_FAMILY_MEM_V(jmp_mp)
X86_FAMILY_MEM_V(call_mp)

static void retf(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_far_return(c, (enum x86_size)i->size, (uint16_t)i->imm);
}

static void iret(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_interrupt_return(c, (enum x86_size)i->size);
}

X86_FAMILY_ONE(retf)
X86_FAMILY_ONE(iret)

static void int_n(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_deliver(c, X86_EVENT_SOFTWARE, (uint8_t)i->imm);
}

static void int3(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    c->fault = (struct x86_fault){.vector = X86_BP};
    x86_deliver(c, X86_EVENT_TRAP, X86_BP);
}

/* No bit of DR6 says so (SDM volume 2, INT n). */
static void int1(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    c->fault = (struct x86_fault){.vector = X86_DB};
    x86_deliver(c, X86_EVENT_TRAP, X86_DB);
}

static void into(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    if (x86_flag_o(c)) {
        c->fault = (struct x86_fault){.vector = X86_OF};
        x86_deliver(c, X86_EVENT_TRAP, X86_OF);
    }
}

X86_FAMILY_ONE(int_n)
X86_FAMILY_ONE(int3)
X86_FAMILY_ONE(int1)
X86_FAMILY_ONE(into)

ALWAYS void bound(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t at = x86_ea(c, i);
    enum x86_seg s = (enum x86_seg)i->segment;
    int64_t low = x86_sign_extend(x86_load(c, s, at, bits), bits);
    int64_t v = x86_sign_extend(c->r.gpr[i->reg], bits);
    int64_t high;

    (void)is_memory;
    if (v < low) { /* the upper bound is not looked at any more */
        x86_raise(c, X86_BR);
    }
    at = (at + bits / 8) & x86_address_mask(i);
    high = x86_sign_extend(x86_load(c, s, at, bits), bits);
    if (v > high) {
        x86_raise(c, X86_BR);
    }
}

X86_FAMILY_MEM_V(bound)

static void ud(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_raise(c, X86_UD);
}

X86_FAMILY_ONE(ud)
