/* syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, and FS and GS bases.
 *
 * As Intel's processors do (SDM volume 2): SYSCALL in 64-bit mode only; SYSRET checks
 * RCX before it changes anything, so #GP comes at level 0; code and stack segments
 * are set to fixed values without a look at the tables. */
#include "virt/isa/x86/flags.h"
#include "virt/isa/x86/system/routine.h"

#define FLAT_CODE32 0xc09bu /* G, D, present, code, readable, accessed */
#define FLAT_CODE64 0xa09bu
#define FLAT_DATA   0xc093u

static struct x86_segment flat(uint16_t selector, unsigned attr, uint8_t dpl)
{
    return (struct x86_segment){.selector = selector,
                                .attr = (uint16_t)(attr | dpl << X86_ATTR_DPL_SHIFT),
                                .limit = 0xffffffffu};
}

void x86_syscall_segments(const struct x86_cpu *c, uint8_t cpl,
                          struct x86_segment *ret_cs, struct x86_segment *ret_ss)
{
    unsigned star = (unsigned)(c->r.msr.star >> (cpl == 0 ? 32 : 48)) & 0xffff;

    *ret_cs =
        flat((uint16_t)(((star + (cpl == 0 ? 0 : 16)) & 0xfffc) | cpl), FLAT_CODE64, cpl);
    *ret_ss = flat((uint16_t)(((star + 8) & 0xfffc) | cpl), FLAT_DATA, cpl);
}

/* CS and SS at once, to `cpl`. */
static void enter_flat(struct x86_cpu *c, uint16_t cs_selector, uint16_t ss_selector,
                       bool is_long, uint8_t cpl, uint64_t rip)
{
    struct x86_segment cs = flat(cs_selector, is_long ? FLAT_CODE64 : FLAT_CODE32, cpl);
    struct x86_segment ss =
        flat((uint16_t)((ss_selector & 0xfffc) | cpl), FLAT_DATA, cpl);

    c->wants |= X86_WANT_RELOAD;
    x86_enter(c, cs_selector, &cs, cpl, rip);
    x86_set_segment(c, X86_SS, &ss);
}

/* Between 64-bit code nothing that is derived changes. */
static void enter_long(struct x86_cpu *c, uint8_t cpl, uint64_t rip)
{
    c->wants |= X86_WANT_RELOAD;
    x86_syscall_segments(c, cpl, &c->r.seg[X86_CS], &c->r.seg[X86_SS]);
    c->next_rip = rip;
    x86_set_cpl(c, cpl);
}

static void syscall(struct x86_cpu *c, const struct x86_insn *i)
{
    const struct x86_msrs *m = &c->r.msr;

    (void)i;
    if ((m->efer & X86_EFER_SCE) == 0 || c->code_mode != X86_CODE64) {
        x86_raise(c, X86_UD);
    }
    x86_flags_pack(c);
    c->r.gpr[X86_RCX] = c->next_rip;
    c->r.gpr[X86_R11] = c->r.rflags & ~(uint64_t)X86_RF;
    c->r.rflags = (c->r.rflags & ~m->sfmask & ~(uint64_t)X86_RF) | 2;
    enter_long(c, 0, m->lstar);
}

static void sysret(struct x86_cpu *c, const struct x86_insn *i)
{
    const struct x86_msrs *m = &c->r.msr;
    bool to_long = i->size == X86_64;
    uint16_t base = (uint16_t)(m->star >> 48);
    uint64_t rip = c->r.gpr[X86_RCX];

    if ((m->efer & X86_EFER_SCE) == 0 || c->code_mode != X86_CODE64) {
        x86_raise(c, X86_UD);
    }
    if (c->r.cpl != 0 || (to_long && !x86_is_canonical(rip))) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_flags_pack(c);
    c->r.rflags = (c->r.gpr[X86_R11] & X86_SYSRET_FLAGS) | 2;
    if (to_long) {
        enter_long(c, 3, rip);
    } else {
        enter_flat(c, base | 3, (uint16_t)(base + 8), false, 3, (uint32_t)rip);
    }
    x86_write_flags(c, 0, 0);
}

static void sysenter(struct x86_cpu *c, const struct x86_insn *i)
{
    const struct x86_msrs *m = &c->r.msr;
    uint16_t selector = (uint16_t)(m->sysenter_cs & 0xfffc);
    uint64_t mask = c->long_mode ? UINT64_MAX : 0xffffffffu;

    (void)i;
    if (!c->protected_mode || selector == 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_flags_pack(c);
    c->r.rflags &= ~(uint64_t)(X86_VM | X86_IF | X86_RF);
    x86_derive(c);
    c->r.gpr[X86_RSP] = m->sysenter_esp & mask;
    enter_flat(c, selector, (uint16_t)(selector + 8), c->long_mode, 0,
               m->sysenter_eip & mask);
    x86_segments_changed(c);
}

static void sysexit(struct x86_cpu *c, const struct x86_insn *i)
{
    bool to_long = i->size == X86_64;
    uint16_t base = (uint16_t)(c->r.msr.sysenter_cs & 0xfffc);
    uint16_t cs = (uint16_t)((base + (to_long ? 32 : 16)) | 3);
    uint64_t rip = c->r.gpr[X86_RDX];
    uint64_t rsp = c->r.gpr[X86_RCX];

    if (!c->protected_mode || base == 0 || c->r.cpl != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    if (to_long && (!x86_is_canonical(rip) || !x86_is_canonical(rsp))) {
        x86_raise_error(c, X86_GP, 0);
    }
    c->r.gpr[X86_RSP] = to_long ? rsp : (uint32_t)rsp;
    enter_flat(c, cs, (uint16_t)(cs + 8), to_long, 3, to_long ? rip : (uint32_t)rip);
}

static void set_base(struct x86_cpu *c, enum x86_seg s, uint64_t base)
{
    c->r.seg[s].base = base;
    x86_segment_changed(c, s);
}

static void swapgs(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t base = c->r.seg[X86_GS].base;

    (void)i;
    x86_need_level_0(c);
    set_base(c, X86_GS, c->r.msr.kernel_gs_base);
    c->r.msr.kernel_gs_base = base;
}

static void need_fsgsbase(struct x86_cpu *c)
{
    if ((c->r.cr4 & X86_CR4_FSGSBASE) == 0 || c->code_mode != X86_CODE64) {
        x86_raise(c, X86_UD);
    }
}

static void read_base(struct x86_cpu *c, const struct x86_insn *i, enum x86_seg s)
{
    need_fsgsbase(c);
    x86_put_reg(c, i->rm, i->size == X86_64 ? X86_64 : X86_32, c->r.seg[s].base);
}

static void write_base(struct x86_cpu *c, const struct x86_insn *i, enum x86_seg s)
{
    uint64_t v = c->r.gpr[i->rm];

    need_fsgsbase(c);
    v = i->size == X86_64 ? v : (uint32_t)v;
    if (!x86_is_canonical(v)) {
        x86_raise_error(c, X86_GP, 0);
    }
    set_base(c, s, v);
}

static void rdfsbase(struct x86_cpu *c, const struct x86_insn *i)
{
    read_base(c, i, X86_FS);
}

static void rdgsbase(struct x86_cpu *c, const struct x86_insn *i)
{
    read_base(c, i, X86_GS);
}

static void wrfsbase(struct x86_cpu *c, const struct x86_insn *i)
{
    write_base(c, i, X86_FS);
}

static void wrgsbase(struct x86_cpu *c, const struct x86_insn *i)
{
    write_base(c, i, X86_GS);
}

X86_SYSTEM_REG(syscall)
X86_SYSTEM_REG(sysret)
X86_SYSTEM_REG(sysenter)
X86_SYSTEM_REG(sysexit)
X86_SYSTEM_REG(swapgs)
X86_SYSTEM_REG(rdfsbase)
X86_SYSTEM_REG(rdgsbase)
X86_SYSTEM_REG(wrfsbase)
X86_SYSTEM_REG(wrgsbase)
