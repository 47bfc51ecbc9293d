/* stack.c - PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE, loads of far pointers.
 *
 * A pop into memory computes its address with the stack pointer already moved; if
 * the store faults, the pointer has not moved. */
#include "virt/isa/x86/integer/stack.h"

#define ON_STACK(name, ...)                                                              \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        (void)i;                                                                         \
        (void)is_memory;                                                                 \
        __VA_ARGS__                                                                      \
    }

ON_STACK(push_z, x86_push(c, c->r.gpr[i->reg], bits);)
ON_STACK(push_i, x86_push(c, i->imm, bits);)
ON_STACK(push_e, x86_push(c, x86_get_e(c, i, bits, is_memory), bits);)
ON_STACK(pop_z, uint64_t v = x86_top(c, bits); x86_drop(c, bits / 8);
         x86_set_reg(c, i, i->reg, v, bits);)

static void pop_memory(struct x86_cpu *c, const struct x86_insn *i, unsigned bits)
{
    uint64_t v = x86_top(c, bits);
    uint64_t before = c->r.gpr[X86_RSP];
    uint64_t at;

    x86_drop(c, bits / 8);
    at = x86_ea(c, i);
    c->r.gpr[X86_RSP] = before;
    x86_store(c, (enum x86_seg)i->segment, at, v, bits);
    x86_drop(c, bits / 8);
}

ALWAYS void pop_e(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    if (is_memory) {
        pop_memory(c, i, bits);
    } else {
        uint64_t v = x86_top(c, bits);

        x86_drop(c, bits / 8);
        x86_set_reg(c, i, i->rm, v, bits);
    }
}

X86_FAMILY_REG_V(push_z)
X86_FAMILY_REG_V(push_i)
X86_FAMILY_V(push_e)
X86_FAMILY_REG_V(pop_z)
X86_FAMILY_V(pop_e)

/* A selector takes a slot of the operand size; of a 32-bit slot only the low half is
 * written (SDM volume 2, PUSH: "all recent Intel Core and Atom processors"). */
ALWAYS void push_selector(struct x86_cpu *c, enum x86_seg s, unsigned bits)
{
    uint64_t at = x86_stack_top(c, X86_RSP, -(int64_t)(bits / 8));

    x86_store(c, X86_SS, at, c->r.seg[s].selector, bits == 32 ? 16 : bits);
    x86_set_stack_reg(c, X86_RSP, at);
}

/* The pointer moves first, as SS may change its size, and back if the load faults:
 * `x86_load_segment` raises before it changes anything, so it goes last but one. */
ALWAYS void pop_selector(struct x86_cpu *c, enum x86_seg s, unsigned bits)
{
    uint16_t selector = (uint16_t)x86_load(c, X86_SS, x86_stack_top(c, X86_RSP, 0),
                                           bits == 32 ? 16 : bits);
    uint64_t after = x86_stack_top(c, X86_RSP, bits / 8);
    uint8_t size = c->stack_size;

    x86_load_segment(c, s, selector);
    x86_set_low(&c->r.gpr[X86_RSP], after,
                size == X86_64   ? 64
                : size == X86_32 ? 32
                                 : 16);
}

#define PUSH_SELECTOR(name, s)                                                           \
    ON_STACK(push_##name, push_selector(c, s, bits);)                                    \
    X86_FAMILY_REG_V(push_##name)
#define POP_SELECTOR(name, s)                                                            \
    ON_STACK(pop_##name, pop_selector(c, s, bits);)                                      \
    X86_FAMILY_REG_V(pop_##name)

PUSH_SELECTOR(es, X86_ES)
PUSH_SELECTOR(cs, X86_CS)
PUSH_SELECTOR(ss, X86_SS)
PUSH_SELECTOR(ds, X86_DS)
PUSH_SELECTOR(fs, X86_FS)
PUSH_SELECTOR(gs, X86_GS)
POP_SELECTOR(es, X86_ES)
POP_SELECTOR(ss, X86_SS)
POP_SELECTOR(ds, X86_DS)
POP_SELECTOR(fs, X86_FS)
POP_SELECTOR(gs, X86_GS)

/* LES, LDS, LSS, LFS, LGS: offset, then selector. */
ALWAYS void load_far(struct x86_cpu *c, const struct x86_insn *i, enum x86_seg s,
                     unsigned bits)
{
    uint64_t at = x86_ea(c, i);
    enum x86_seg from = (enum x86_seg)i->segment;
    uint64_t offset = x86_load(c, from, at, bits);
    uint16_t selector = x86_load16(c, from, (at + bits / 8) & x86_address_mask(i));

    x86_load_segment(c, s, selector);
    x86_set_reg(c, i, i->reg, offset, bits);
}

#define LOAD_FAR(name, s)                                                                \
    ON_STACK(name, load_far(c, i, s, bits);)                                             \
    X86_FAMILY_MEM_V(name)

LOAD_FAR(les, X86_ES)
LOAD_FAR(lds, X86_DS)
LOAD_FAR(lss, X86_SS)
LOAD_FAR(lfs, X86_FS)
LOAD_FAR(lgs, X86_GS)

/* Eight slots at once where the stack does not wrap under them, so that a fault
 * leaves no half. */
ALWAYS void pusha(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint8_t slots[8 * 4];
    uint64_t at = x86_stack_top(c, X86_RSP, -(int64_t)bits);

    (void)i;
    (void)is_memory;
    for (unsigned n = 0; n < 8; n++) {
        memcpy(slots + n * bits / 8, &c->r.gpr[7 - n], bits / 8);
    }
    if (at <= x86_stack_mask(c) - (bits - 1) &&
        ((at + c->r.seg[X86_SS].base) & (MEM_PAGE_BYTES - 1)) <= MEM_PAGE_BYTES - bits) {
        /* The first push tells of faults, and of alignment. */
        x86_store(c, X86_SS, at + bits - bits / 8, c->r.gpr[X86_RAX], bits);
        x86_store_bytes(c, X86_SS, at, slots, bits);
    } else {
        for (unsigned n = 8; n-- > 0;) {
            x86_store(c, X86_SS, (at + n * bits / 8) & x86_stack_mask(c), c->r.gpr[7 - n],
                      bits);
        }
    }
    x86_set_stack_reg(c, X86_RSP, at);
}

ALWAYS void popa(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    uint64_t v[8];

    (void)is_memory;
    for (unsigned n = 0; n < 8; n++) {
        v[7 - n] = x86_load(c, X86_SS, x86_stack_top(c, X86_RSP, n * bits / 8), bits);
    }
    x86_drop(c, bits);
    for (unsigned n = 0; n < 8; n++) {
        if (n != X86_RSP) {
            x86_set_reg(c, i, n, v[n], bits);
        }
    }
}

X86_ROUTINE(pusha, r, 16, false)
X86_ROUTINE(pusha, r, 32, false)
X86_ROUTINE(popa, r, 16, false)
X86_ROUTINE(popa, r, 32, false)
const struct x86_family x86_do_pusha = {.reg = {NULL, pusha_r16, pusha_r32}};
const struct x86_family x86_do_popa = {.reg = {NULL, popa_r16, popa_r32}};

static bool is_v86_without_iopl(const struct x86_cpu *c)
{
    return c->v86 && (c->r.rflags & X86_IOPL) != X86_IOPL;
}

/* In virtual-8086 mode with IOPL below 3: #GP, or with CR4.VME and 16 bits VIF in
 * the place of IF (SDM volume 3B, 20.2.7 and 20.3.1). */
ALWAYS void pushf(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t v;

    (void)i;
    (void)is_memory;
    x86_flags_pack(c);
    v = c->r.rflags & ~(uint64_t)(X86_VM | X86_RF);
    if (is_v86_without_iopl(c)) {
        if (bits != 16 || !(c->r.cr4 & X86_CR4_VME)) {
            x86_raise_error(c, X86_GP, 0);
        }
        v = (v & ~(uint64_t)X86_IF) | X86_IOPL | (v & X86_VIF ? X86_IF : 0);
    }
    x86_push(c, v, bits);
}

/* Which bits POPF may write, by privilege (SDM volume 2, POPF, table 4-16). */
static uint64_t writable_flags(const struct x86_cpu *c, unsigned bits)
{
    uint64_t mask = X86_ARITHMETIC | X86_TF | X86_DF_BIT | X86_NT;

    if (bits != 16) {
        mask |= X86_AC_BIT | X86_ID | X86_RF; /* RF: cleared */
    }
    if (c->v86) {
        return mask | X86_IF; /* IOPL is 3 */
    }
    if (!c->protected_mode || c->r.cpl == 0) {
        return mask | X86_IF | X86_IOPL;
    }
    return c->r.cpl <= (c->r.rflags & X86_IOPL) >> 12 ? mask | X86_IF : mask;
}

/* With CR4.VME, 16 bits, IOPL below 3: IF of the value goes to VIF. */
static void popf_v86(struct x86_cpu *c, unsigned bits)
{
    uint64_t v;
    uint64_t flags;

    if (bits != 16 || !(c->r.cr4 & X86_CR4_VME)) {
        x86_raise_error(c, X86_GP, 0);
    }
    v = x86_top(c, 16);
    if (v & X86_TF || (v & X86_IF && c->r.rflags & X86_VIP)) {
        x86_raise_error(c, X86_GP, 0);
    }
    flags = (v & ~(uint64_t)X86_VIF) | (v & X86_IF ? X86_VIF : 0);
    x86_drop(c, 2);
    x86_write_flags(c, flags, X86_ARITHMETIC | X86_DF_BIT | X86_NT | X86_VIF);
}

ALWAYS void popf(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    uint64_t v;

    (void)i;
    (void)is_memory;
    if (is_v86_without_iopl(c)) {
        popf_v86(c, bits);
        return;
    }
    v = x86_top(c, bits) & ~(uint64_t)X86_RF;
    x86_flags_pack(c);
    x86_drop(c, bits / 8);
    x86_write_flags(c, v, writable_flags(c, bits));
}

X86_FAMILY_REG_V(pushf)
X86_FAMILY_REG_V(popf)

/* The frame pointers of outer procedures, copied from the old frame, and the new
 * one; returns the stack pointer behind them. */
ALWAYS uint64_t copy_frames(struct x86_cpu *c, uint64_t sp, unsigned level, unsigned bits)
{
    uint64_t frame = sp;

    for (unsigned n = 1; n < level; n++) {
        uint64_t from = x86_stack_top(c, X86_RBP, -(int64_t)(n * bits / 8));
        uint64_t v = x86_load(c, X86_SS, from, bits);

        sp = (sp - bits / 8) & x86_stack_mask(c);
        x86_store(c, X86_SS, sp, v, bits);
    }
    if (level > 0) {
        sp = (sp - bits / 8) & x86_stack_mask(c);
        x86_store(c, X86_SS, sp, (c->r.gpr[X86_RSP] & ~x86_stack_mask(c)) | frame, bits);
    }
    return sp;
}

/* The last access is a trial: a store at the new top must be possible. */
/* All of an operand at the final stack pointer is looked at as for a store (SDM volume 2,
 * ENTER, the page fault). */
ALWAYS void check_end(struct x86_cpu *c, uint64_t sp, unsigned bits)
{
    uint64_t linear = x86_linear(c, X86_SS, sp, bits / 8, X86_WRITE);

    x86_linear_probe(c, x86_rights_now(c), linear, bits / 8, X86_WRITE);
}

ALWAYS void enter(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t frame = x86_stack_top(c, X86_RSP, -(int64_t)(bits / 8));
    uint64_t sp;

    (void)is_memory;
    x86_store(c, X86_SS, frame, c->r.gpr[X86_RBP], bits);
    sp = copy_frames(c, frame, i->imm8 & 31, bits);
    sp = (sp - (uint16_t)i->imm) & x86_stack_mask(c);
    check_end(c, sp, bits);
    x86_set_low(&c->r.gpr[X86_RBP], (c->r.gpr[X86_RSP] & ~x86_stack_mask(c)) | frame,
                bits);
    x86_set_stack_reg(c, X86_RSP, sp);
}

ALWAYS void leave(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t at = x86_stack_top(c, X86_RBP, 0);
    uint64_t v = x86_load(c, X86_SS, at, bits);

    (void)i;
    (void)is_memory;
    x86_set_stack_reg(c, X86_RSP, (at + bits / 8) & x86_stack_mask(c));
    x86_set_low(&c->r.gpr[X86_RBP], v, bits);
}

X86_FAMILY_REG_V(enter)
X86_FAMILY_REG_V(leave)
