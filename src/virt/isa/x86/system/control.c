/* control.c - control registers and EFER: what may be written, and what follows.
 *
 * Intel SDM volume 3A, 2.5 (control registers), 4.1 (paging modes), 9.8.5 (long mode),
 * 4.10.4 (what invalidates translations); volume 2, MOV CR, LMSW, XSETBV. */
#include "virt/isa/x86/system/debug.h"
#include "virt/isa/x86/system/model.h"
#include "virt/isa/x86/system/routine.h"

#define CR0_KNOWN 0xe005003fu
#define CR0_NW    0x20000000u
#define CR0_CD    0x40000000u

#define CR3_KEEP (1ull << 63) /* with PCIDE: do not invalidate */

static _Noreturn void refuse(struct x86_cpu *c)
{
    x86_raise_error(c, X86_GP, 0);
}

static bool has(const struct x86_cpu *c, enum x86_feature f)
{
    return x86_model_has(c->model, f);
}

uint64_t x86_cr4_allowed(const struct x86_cpu *c)
{
    uint64_t bits = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE |
                    X86_CR4_PAE | 0x40 /* MCE */ | X86_CR4_PGE | X86_CR4_PCE;

    static const struct {
        uint64_t bits;
        enum x86_feature f;
    } more[] = {
        {X86_CR4_OSFXSR, X86_F_FXSR}, {X86_CR4_OSXMMEXCPT, X86_F_SSE},
        {X86_CR4_UMIP, X86_F_UMIP},   {X86_CR4_FSGSBASE, X86_F_FSGSBASE},
        {X86_CR4_PCIDE, X86_F_PCID},  {X86_CR4_OSXSAVE, X86_F_XSAVE},
        {X86_CR4_SMEP, X86_F_SMEP},   {X86_CR4_SMAP, X86_F_SMAP},
    };

    for (unsigned i = 0; i < sizeof more / sizeof more[0]; i++) {
        bits |= has(c, more[i].f) ? more[i].bits : 0;
    }
    return bits;
}

uint64_t x86_efer_allowed(const struct x86_cpu *c)
{
    uint64_t bits = 0;

    bits |= has(c, X86_F_SYSCALL) ? X86_EFER_SCE : 0;
    bits |= has(c, X86_F_NX) ? X86_EFER_NXE : 0;
    bits |= has(c, X86_F_LM) ? X86_EFER_LME | X86_EFER_LMA : 0;
    return bits;
}

void x86_write_efer(struct x86_cpu *c, uint64_t value)
{
    uint64_t old = c->r.msr.efer;

    if ((value & ~x86_efer_allowed(c)) != 0) {
        refuse(c);
    }
    if (((value ^ old) & X86_EFER_LME) != 0 && (c->r.cr0 & X86_CR0_PG) != 0) {
        refuse(c);
    }
    c->r.msr.efer = (value & ~(uint64_t)X86_EFER_LMA) | (old & X86_EFER_LMA);
    if (((value ^ old) & X86_EFER_NXE) != 0) {
        x86_tlb_flush_all(c, true);
    }
}

/* Enter or leave long mode with CR0.PG. */
static void check_long_mode(struct x86_cpu *c, bool turns_on)
{
    const struct x86_segment *cs = &c->r.seg[X86_CS];

    if (turns_on && (c->r.msr.efer & X86_EFER_LME) != 0) {
        if ((c->r.cr4 & X86_CR4_PAE) == 0 || (cs->attr & X86_ATTR_L) != 0 ||
            (c->r.seg[X86_TR].attr & 8) == 0) {
            refuse(c);
        }
    }
    if (!turns_on && (c->code_mode == X86_CODE64 || (c->r.cr4 & X86_CR4_PCIDE) != 0)) {
        refuse(c);
    }
}

static void write_cr0(struct x86_cpu *c, uint64_t v)
{
    uint64_t changed;
    bool is_pae = (c->r.cr4 & X86_CR4_PAE) != 0;
    bool lme = (c->r.msr.efer & X86_EFER_LME) != 0;

    if (v >> 32 != 0 || ((v & X86_CR0_PG) != 0 && (v & X86_CR0_PE) == 0) ||
        ((v & CR0_NW) != 0 && (v & CR0_CD) == 0)) {
        refuse(c);
    }
    v = (v & CR0_KNOWN) | X86_CR0_ET;
    changed = v ^ c->r.cr0;
    if ((changed & X86_CR0_PG) != 0) {
        check_long_mode(c, (v & X86_CR0_PG) != 0);
    }
    if ((v & X86_CR0_PG) != 0 && is_pae && !lme &&
        (changed & (X86_CR0_PG | CR0_CD | CR0_NW)) != 0 &&
        !x86_load_pdptes(c, c->r.cr3)) {
        refuse(c);
    }
    c->r.cr0 = v;
    if ((changed & X86_CR0_PG) != 0) {
        c->r.msr.efer &= ~(uint64_t)X86_EFER_LMA;
        c->r.msr.efer |= lme && (v & X86_CR0_PG) != 0 ? X86_EFER_LMA : 0;
    }
    if ((changed & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP)) != 0) {
        x86_derive(c);
        x86_tlb_flush_all(c, true);
        x86_memory_refresh(c);
    }
    x86_tlb_select(c);
}

void x86_set_cr3(struct x86_cpu *c, uint64_t value)
{
    bool has_pcid = (c->r.cr4 & X86_CR4_PCIDE) != 0;

    c->r.cr3 = value & ~CR3_KEEP;
    if (!has_pcid || (value & CR3_KEEP) == 0) {
        x86_tlb_flush_pcid(c, has_pcid ? value & 0xfff : 0, false);
    }
    x86_tlb_switch(c);
}

static void write_cr3(struct x86_cpu *c, uint64_t v)
{
    bool has_pcid = (c->r.cr4 & X86_CR4_PCIDE) != 0;
    uint64_t allowed = c->physical_mask | 0xfff | (has_pcid ? CR3_KEEP : 0);
    bool is_pae = (c->r.cr0 & X86_CR0_PG) != 0 && (c->r.cr4 & X86_CR4_PAE) != 0;

    if (c->long_mode ? (v & ~allowed) != 0 : v >> 32 != 0) {
        refuse(c);
    }
    if (is_pae && !c->long_mode && !x86_load_pdptes(c, v)) {
        refuse(c);
    }
    x86_set_cr3(c, v);
}

static void write_cr4(struct x86_cpu *c, uint64_t v)
{
    uint64_t changed = v ^ c->r.cr4;
    bool is_paged = (c->r.cr0 & X86_CR0_PG) != 0;
    uint64_t loads = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP;

    if ((v & ~x86_cr4_allowed(c)) != 0) {
        refuse(c);
    }
    if (c->long_mode && (v & X86_CR4_PAE) == 0) {
        refuse(c);
    }
    if ((changed & v & X86_CR4_PCIDE) != 0 &&
        (!c->long_mode || (c->r.cr3 & 0xfff) != 0)) {
        refuse(c);
    }
    if (is_paged && !c->long_mode && (v & X86_CR4_PAE) != 0 && (changed & loads) != 0 &&
        !x86_load_pdptes(c, c->r.cr3)) {
        refuse(c);
    }
    c->r.cr4 = v;
    if ((changed & (loads | X86_CR4_SMAP | X86_CR4_PCIDE)) != 0) {
        x86_tlb_flush_all(c, true);
    }
    x86_tlb_switch(c);
}

static void write_cr8(struct x86_cpu *c, uint64_t v)
{
    struct cpu_exit x = {.kind = CPU_EXIT_TPR, .value = v, .bytes = 8};

    if (v > 15) {
        refuse(c);
    }
    c->r.cr8 = v;
    x86_exit(c, &x);
}

void x86_write_cr(struct x86_cpu *c, unsigned n, uint64_t value)
{
    switch (n) {
    case 0:
        write_cr0(c, value);
        break;
    case 2:
        c->r.cr2 = value;
        break;
    case 3:
        write_cr3(c, value);
        break;
    case 4:
        write_cr4(c, value);
        break;
    default:
        write_cr8(c, value);
        break;
    }
    c->wants |= X86_WANT_RELOAD;
}

/* #UD for a register that is none, then #GP by level. */
static void check_access(struct x86_cpu *c, unsigned n)
{
    if (n != 0 && n != 2 && n != 3 && n != 4 && (n != 8 || c->code_mode != X86_CODE64)) {
        x86_raise(c, X86_UD);
    }
    if (c->r.cpl != 0) {
        refuse(c);
    }
}

static void mov_rc(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v;

    check_access(c, i->reg);
    v = i->reg == 0   ? c->r.cr0
        : i->reg == 2 ? c->r.cr2
        : i->reg == 3 ? c->r.cr3
        : i->reg == 4 ? c->r.cr4
                      : c->r.cr8;
    c->r.gpr[i->rm] = c->code_mode == X86_CODE64 ? v : (uint32_t)v;
}

static void mov_cr(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v = c->r.gpr[i->rm];

    check_access(c, i->reg);
    x86_write_cr(c, i->reg, c->code_mode == X86_CODE64 ? v : (uint32_t)v);
}

static void clts(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    if (c->r.cpl != 0) {
        refuse(c);
    }
    c->r.cr0 &= ~(uint64_t)X86_CR0_TS;
}

static void lmsw_value(struct x86_cpu *c, uint64_t v)
{
    /* PE can be set and not cleared; the other three as they are. */
    x86_write_cr(c, 0, (c->r.cr0 & ~0xeull) | (v & 0xf));
}

static void lmsw_r(struct x86_cpu *c, const struct x86_insn *i)
{
    if (c->r.cpl != 0) {
        refuse(c);
    }
    lmsw_value(c, c->r.gpr[i->rm]);
}

static void lmsw_m(struct x86_cpu *c, const struct x86_insn *i)
{
    if (c->r.cpl != 0) {
        refuse(c);
    }
    lmsw_value(c, x86_load16(c, (enum x86_seg)i->segment, x86_ea(c, i)));
}

static void xgetbv(struct x86_cpu *c, const struct x86_insn *i)
{
    uint32_t n = (uint32_t)c->r.gpr[X86_RCX];

    (void)i;
    if ((c->r.cr4 & X86_CR4_OSXSAVE) == 0) {
        x86_raise(c, X86_UD);
    }
    /* 1 names the components in use: all that are enabled may be. */
    if (n > 1 || (n == 1 && !has(c, X86_F_XGETBV1))) {
        refuse(c);
    }
    c->r.gpr[X86_RAX] = (uint32_t)c->r.xcr0;
    c->r.gpr[X86_RDX] = c->r.xcr0 >> 32;
}

static void xsetbv(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v = c->r.gpr[X86_RDX] << 32 | (uint32_t)c->r.gpr[X86_RAX];

    (void)i;
    if ((c->r.cr4 & X86_CR4_OSXSAVE) == 0) {
        x86_raise(c, X86_UD);
    }
    if (c->r.cpl != 0 || (uint32_t)c->r.gpr[X86_RCX] != 0 || (v & 1) == 0 ||
        (v & ~c->model->xcr0) != 0 || (v & 6) == 4) {
        refuse(c);
    }
    c->r.xcr0 = v;
}

static void set_ac(struct x86_cpu *c, uint64_t value)
{
    if (c->r.cpl != 0) {
        x86_raise(c, X86_UD);
    }
    c->r.rflags = (c->r.rflags & ~(uint64_t)X86_AC_BIT) | value;
    x86_tlb_select(c);
}

static void clac(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    set_ac(c, 0);
}

static void stac(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    set_ac(c, X86_AC_BIT);
}

X86_SYSTEM_REG(mov_rc)
X86_SYSTEM_REG(mov_cr)
X86_SYSTEM_REG(clts)
X86_SYSTEM_BOTH(lmsw, lmsw_r, lmsw_m)
X86_SYSTEM_REG(xgetbv)
X86_SYSTEM_REG(xsetbv)
X86_SYSTEM_REG(clac)
X86_SYSTEM_REG(stac)
