/* msr.c - RDMSR and WRMSR: a table of registers that the processor holds; all others
 * are asked of the surroundings (SDM volume 4, chapter 2). */
#include "virt/isa/x86/system/debug.h"
#include "virt/isa/x86/system/model.h"
#include "virt/isa/x86/system/routine.h"
#include "virt/isa/x86/system/tsc.h"

/* What a write must look like. */
enum check {
    ANY,
    CANONICAL,
    HALF,      /* 32 bits */
    READ_ONLY, /* #GP */
    COMMAND,   /* bit 0 orders something that needs nothing; #GP when read */
    PREDICTED, /* of IA32_SPEC_CTRL: IBRS, STIBP, BHI_DIS_S */
    ZERO,      /* nothing can be set */
    IGNORED,   /* taken, without effect */
    TYPES,     /* eight memory types of a byte each */
    PHYSICAL   /* of a variable-range MTRR */
};

/* Where a register is kept: an offset into the registers, or a fixed value. */
struct msr {
    uint32_t first, count;
    enum check check;
    bool is_told; /* the surroundings hear of writes, and answer reads */
    uint16_t feature;
    unsigned step;
    size_t at; /* 0: `value` */
    uint64_t value;
};

/* IA32_ARCH_CAPABILITIES (SDM volume 4, table 2-2): what faulting loads and predictions
 * of a guest cannot do here, since its addresses are not the host's: RDCL_NO, IBRS_ALL,
 * SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO. */
#define ARCH_CAPABILITIES 0x400000000d10e17bull

#define HELD(field) .at = offsetof(struct x86_regs, field)

static const struct msr msrs[] = {
    {0x1b, 1, ANY, true, X86_F_BASE, 0, HELD(msr.apic_base)},
    {0x48, 1, PREDICTED, false, X86_F_SPEC_CTRL, 0, HELD(msr.spec_ctrl)},
    {0x49, 1, COMMAND, false, X86_F_SPEC_CTRL, 0, 0, 0},
    {0x8b, 1, IGNORED, false, X86_F_BASE, 0, 0, 0x100000000ull},
    {0xfe, 1, READ_ONLY, false, X86_F_BASE, 0, 0, 0x508}, /* 8 ranges, fixed, WC */
    {0x10a, 1, READ_ONLY, false, X86_F_ARCH_CAPS, 0, 0, ARCH_CAPABILITIES},
    {0x174, 1, HALF, false, X86_F_SEP, 0, HELD(msr.sysenter_cs)},
    {0x175, 1, CANONICAL, false, X86_F_SEP, 0, HELD(msr.sysenter_esp)},
    {0x176, 1, CANONICAL, false, X86_F_SEP, 0, HELD(msr.sysenter_eip)},
    {0x179, 2, IGNORED, false, X86_F_BASE, 0, 0, 0}, /* no machine check banks */
    {0x1a0, 1, ANY, false, X86_F_BASE, 0, HELD(msr.misc_enable)},
    {0x200, 16, PHYSICAL, false, X86_F_BASE, 0, HELD(msr.mtrr_base)},
    {0x250, 1, TYPES, false, X86_F_BASE, 0, HELD(msr.mtrr_fixed[0])},
    {0x258, 2, TYPES, false, X86_F_BASE, 8, HELD(msr.mtrr_fixed[1])},
    {0x268, 8, TYPES, false, X86_F_BASE, 8, HELD(msr.mtrr_fixed[3])},
    {0x277, 1, TYPES, false, X86_F_BASE, 0, HELD(msr.pat)},
    {0x2ff, 1, HALF, false, X86_F_BASE, 0, HELD(msr.mtrr_def_type)},
    {0x6e0, 1, ANY, true, X86_F_BASE, 0, HELD(msr.tsc_deadline)},
    {0xda0, 1, ZERO, false, X86_F_XSAVES, 0, 0, 0}, /* no supervisor state */
    {0xc0000081, 1, ANY, false, X86_F_SYSCALL, 0, HELD(msr.star)},
    {0xc0000082, 1, CANONICAL, false, X86_F_SYSCALL, 0, HELD(msr.lstar)},
    {0xc0000083, 1, CANONICAL, false, X86_F_SYSCALL, 0, HELD(msr.cstar)},
    {0xc0000084, 1, HALF, false, X86_F_SYSCALL, 0, HELD(msr.sfmask)},
    {0xc0000100, 1, CANONICAL, false, X86_F_LM, 0, HELD(seg[X86_FS].base)},
    {0xc0000101, 1, CANONICAL, false, X86_F_LM, 0, HELD(seg[X86_GS].base)},
    {0xc0000102, 1, CANONICAL, false, X86_F_LM, 0, HELD(msr.kernel_gs_base)},
    {0xc0000103, 1, HALF, false, X86_F_RDTSCP, 0, HELD(msr.tsc_aux)},
};

#define MSR_TSC  0x10u
#define MSR_EFER 0xc0000080u

static const struct msr *find(const struct x86_cpu *c, uint32_t n)
{
    for (unsigned i = 0; i < sizeof msrs / sizeof msrs[0]; i++) {
        if (n - msrs[i].first < msrs[i].count &&
            x86_model_has(c->model, (enum x86_feature)msrs[i].feature)) {
            return &msrs[i];
        }
    }
    return NULL;
}

/* Where it is kept; NULL: it has a fixed value. */
static uint64_t *place(struct x86_cpu *c, const struct msr *m, uint32_t n)
{
    uint32_t index = n - m->first;

    if (m->at == 0) {
        return NULL;
    }
    if (m->check == PHYSICAL) { /* base and mask in turns */
        return (index & 1) != 0 ? &c->r.msr.mtrr_mask[index / 2]
                                : &c->r.msr.mtrr_base[index / 2];
    }
    return (uint64_t *)(void *)((uint8_t *)&c->r + m->at + (size_t)index * m->step);
}

static _Noreturn void refuse(struct x86_cpu *c)
{
    x86_raise_error(c, X86_GP, 0);
}

static uint64_t ask(struct x86_cpu *c, uint32_t n, uint64_t value)
{
    struct cpu_exit x = {
        .kind = CPU_EXIT_MSR_READ, .address = n, .value = value, .bytes = 8};

    x86_exit(c, &x);
    if (x.refused) {
        refuse(c);
    }
    return x.value;
}

static void tell(struct x86_cpu *c, uint32_t n, uint64_t value)
{
    struct cpu_exit x = {
        .kind = CPU_EXIT_MSR_WRITE, .address = n, .value = value, .bytes = 8};

    x86_exit(c, &x);
    if (x.refused) {
        refuse(c);
    }
}

static uint64_t read_msr(struct x86_cpu *c, uint32_t n)
{
    const struct msr *m = find(c, n);
    uint64_t value;

    if (n == MSR_TSC) {
        return x86_tsc(c);
    }
    if (n == MSR_EFER && x86_efer_allowed(c) != 0) {
        return c->r.msr.efer;
    }
    if (m == NULL) {
        return ask(c, n, 0);
    }
    if (m->check == COMMAND) {
        refuse(c);
    }
    value = m->at != 0 ? *place(c, m, n) : m->value;
    return m->is_told ? ask(c, n, value) : value;
}

static bool are_types(uint64_t v)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        unsigned type = v >> shift & 0xff;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

static void check_write(struct x86_cpu *c, const struct msr *m, uint64_t v)
{
    bool is_good = true;

    if (m->check == CANONICAL) {
        is_good = x86_is_canonical(v);
    } else if (m->check == HALF) {
        is_good = v >> 32 == 0;
    } else if (m->check == ZERO) {
        is_good = v == 0;
    } else if (m->check == COMMAND) {
        is_good = (v & ~UINT64_C(1)) == 0;
    } else if (m->check == PREDICTED) {
        is_good = (v & ~UINT64_C(0x403)) == 0;
    } else if (m->check == TYPES) {
        is_good = are_types(v);
    } else if (m->check == PHYSICAL) {
        is_good = (v & ~(c->physical_mask | 0xfff)) == 0;
    } else {
        is_good = m->check != READ_ONLY;
    }
    if (!is_good) {
        refuse(c);
    }
}

static void write_msr(struct x86_cpu *c, uint32_t n, uint64_t v)
{
    const struct msr *m = find(c, n);

    if (n == MSR_TSC) {
        c->r.msr.tsc_offset += v - x86_tsc(c);
        return;
    }
    if (n == MSR_EFER && x86_efer_allowed(c) != 0) {
        x86_write_efer(c, v);
        return;
    }
    if (m == NULL) {
        tell(c, n, v);
        return;
    }
    check_write(c, m, v);
    if (m->is_told) {
        tell(c, n, v);
    }
    if (m->at != 0) {
        *place(c, m, n) = v;
    }
    x86_segment_changed(c, X86_FS);
    x86_segment_changed(c, X86_GS);
}

static void rdmsr(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v;

    (void)i;
    x86_need_level_0(c);
    v = read_msr(c, (uint32_t)c->r.gpr[X86_RCX]);
    c->r.gpr[X86_RAX] = (uint32_t)v;
    c->r.gpr[X86_RDX] = v >> 32;
}

static void wrmsr(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v = c->r.gpr[X86_RDX] << 32 | (uint32_t)c->r.gpr[X86_RAX];

    (void)i;
    x86_need_level_0(c);
    write_msr(c, (uint32_t)c->r.gpr[X86_RCX], v);
}

X86_SYSTEM_REG(rdmsr)
X86_SYSTEM_REG(wrmsr)
