/* misc.c - halting, the interrupt flag, time, identity, invalidations (SDM volume 2). */
#include <time.h>

#include "virt/isa/x86/system/model.h"
#include "virt/isa/x86/system/routine.h"
#include "virt/isa/x86/system/tsc.h"

uint64_t x86_tsc(struct x86_cpu *c)
{
    uint64_t now;

    if (c->base.env->clock != NULL) {
        x86_settle(c);
        now = c->base.env->clock(c->base.env->who);
    } else {
#if defined(__x86_64__)
        now = __builtin_ia32_rdtsc();
#else
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
    }
    return now + c->r.msr.tsc_offset;
}

static void hlt(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_need_level_0(c);
    c->r.halted = true; /* the loop waits */
    c->wants |= X86_WANT_RELOAD;
}

/* How CLI and STI may change the flag (SDM volume 2, tables 3-7 and 4-18): IF, or
 * with VME and PVI at level 3 VIF. */
static uint64_t interrupt_flag(struct x86_cpu *c)
{
    unsigned iopl = (unsigned)(c->r.rflags & X86_IOPL) >> 12;

    if (!c->protected_mode || (c->v86 ? iopl == 3 : c->r.cpl <= iopl)) {
        return X86_IF;
    }
    if (c->v86 ? (c->r.cr4 & X86_CR4_VME) != 0
               : c->r.cpl == 3 && (c->r.cr4 & X86_CR4_PVI) != 0) {
        return X86_VIF;
    }
    x86_raise_error(c, X86_GP, 0);
}

static void cli(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    c->r.rflags &= ~interrupt_flag(c);
}

static void sti(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t flag = interrupt_flag(c);

    (void)i;
    if (flag == X86_VIF && (c->r.rflags & X86_VIP) != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    if (flag == X86_IF && (c->r.rflags & X86_IF) == 0) {
        c->r.irq_shadow = true;
    }
    c->r.rflags |= flag;
    c->wants |= X86_WANT_SHADOW;
}

/* MONITOR arms nothing that could not fire at once: MWAIT returns immediately, which
 * the manual allows ("other reasons"), so no store is ever missed. */
static void monitor(struct x86_cpu *c, const struct x86_insn *i)
{
    if (c->r.cpl != 0) {
        x86_raise(c, X86_UD);
    }
    if ((uint32_t)c->r.gpr[X86_RCX] != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    (void)x86_load8(c, i->segment < X86_LDTR ? (enum x86_seg)i->segment : X86_DS,
                    i->address == X86_64   ? c->r.gpr[X86_RAX]
                    : i->address == X86_32 ? (uint32_t)c->r.gpr[X86_RAX]
                                           : (uint16_t)c->r.gpr[X86_RAX]);
}

static void mwait(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    if (c->r.cpl != 0) {
        x86_raise(c, X86_UD);
    }
    if ((uint32_t)c->r.gpr[X86_RCX] != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
}

/* Nothing is cached that the guest could see. */
static void invd(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_need_level_0(c);
}

static void clflush(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)x86_load8(c, (enum x86_seg)i->segment, x86_ea(c, i));
}

static uint16_t current_pcid(const struct x86_cpu *c)
{
    return (c->r.cr4 & X86_CR4_PCIDE) != 0 ? c->r.cr3 & 0xfff : 0;
}

static void invlpg(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t at = x86_ea(c, i);
    enum x86_seg s = (enum x86_seg)i->segment;

    x86_need_level_0(c);
    /* In 64-bit mode an address that is not canonical does nothing. */
    if (c->code_mode != X86_CODE64) {
        at = (uint32_t)(at + c->r.seg[s].base);
    } else if (s >= X86_FS) {
        at += c->r.seg[s].base;
    }
    x86_tlb_flush_page(c, current_pcid(c), at);
}

static void invpcid(struct x86_cpu *c, const struct x86_insn *i)
{
    bool is_long = c->code_mode == X86_CODE64;
    uint64_t type = is_long ? c->r.gpr[i->reg] : (uint32_t)c->r.gpr[i->reg];
    bool has_pcid = (c->r.cr4 & X86_CR4_PCIDE) != 0;
    uint64_t operand[2];
    uint16_t pcid;

    x86_need_level_0(c);
    x86_load_bytes(c, (enum x86_seg)i->segment, x86_ea(c, i), operand, 16);
    pcid = operand[0] & 0xfff;
    if (type > 3 || operand[0] >> 12 != 0 || (type < 2 && !has_pcid && pcid != 0) ||
        (type == 0 && !x86_is_canonical(operand[1]))) {
        x86_raise_error(c, X86_GP, 0);
    }
    if (type == 0) {
        x86_tlb_flush_page(c, pcid, operand[1]);
    } else if (type == 1) {
        x86_tlb_flush_pcid(c, pcid, false);
    } else {
        x86_tlb_flush_all(c, type == 2);
    }
}

static void need_tsc(struct x86_cpu *c)
{
    if ((c->r.cr4 & X86_CR4_TSD) != 0 && c->r.cpl != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
}

static void rdtsc(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v;

    (void)i;
    need_tsc(c);
    v = x86_tsc(c);
    c->r.gpr[X86_RAX] = (uint32_t)v;
    c->r.gpr[X86_RDX] = v >> 32;
}

static void rdtscp(struct x86_cpu *c, const struct x86_insn *i)
{
    rdtsc(c, i);
    c->r.gpr[X86_RCX] = (uint32_t)c->r.msr.tsc_aux;
}

/* There are no performance counters: every number is a wrong one. */
static void rdpmc(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_raise_error(c, X86_GP, 0);
}

static void rdpid(struct x86_cpu *c, const struct x86_insn *i)
{
    c->r.gpr[i->rm] = (uint32_t)c->r.msr.tsc_aux;
}

static void cpuid(struct x86_cpu *c, const struct x86_insn *i)
{
    uint32_t leaf = (uint32_t)c->r.gpr[X86_RAX];
    uint32_t subleaf = (uint32_t)c->r.gpr[X86_RCX];
    uint32_t v[4];

    (void)i;
    x86_model_cpuid(c, leaf, subleaf, v);
    if (c->base.env->cpuid != NULL) {
        c->base.env->cpuid(c->base.env->who, &c->base, leaf, subleaf, v);
    }
    c->r.gpr[X86_RAX] = v[0];
    c->r.gpr[X86_RBX] = v[1];
    c->r.gpr[X86_RCX] = v[2];
    c->r.gpr[X86_RDX] = v[3];
}

/* Whoever waits for another processor in a loop lets it run, after a while. */
static void pause(struct x86_cpu *c, const struct x86_insn *i)
{
    struct cpu_exit x = {.kind = CPU_EXIT_PAUSE};

    (void)i;
    if (c->base.env->pause_most != 0 && ++c->pauses >= c->base.env->pause_most) {
        x86_exit(c, &x);
    }
}

static void vmcall(struct x86_cpu *c, const struct x86_insn *i)
{
    bool is_long = c->code_mode == X86_CODE64;
    uint64_t mask = is_long ? UINT64_MAX : UINT32_MAX;
    struct cpu_exit x = {.kind = CPU_EXIT_HYPERCALL,
                         .address = c->r.gpr[X86_RAX] & mask,
                         .value = UINT64_MAX,
                         .bytes = 8,
                         .arg = {c->r.gpr[X86_RBX] & mask, c->r.gpr[X86_RCX] & mask,
                                 c->r.gpr[X86_RDX] & mask, c->r.gpr[X86_RSI] & mask},
                         .cpl = c->r.cpl,
                         .is_long = is_long};

    (void)i;
    x86_exit(c, &x);
    if (x.refused) {
        x86_raise(c, X86_UD);
    }
    c->r.gpr[X86_RAX] = x.value & mask;
}

X86_SYSTEM_REG(hlt)
X86_SYSTEM_REG(cli)
X86_SYSTEM_REG(sti)
X86_SYSTEM_REG(monitor)
X86_SYSTEM_REG(mwait)
X86_SYSTEM_REG(invd)
X86_SYSTEM_REG(clflush)
X86_SYSTEM_REG(invlpg)
X86_SYSTEM_REG(invpcid)
X86_SYSTEM_REG(rdtsc)
X86_SYSTEM_REG(rdtscp)
X86_SYSTEM_REG(rdpmc)
X86_SYSTEM_REG(rdpid)
X86_SYSTEM_REG(cpuid)
X86_SYSTEM_REG(pause)
X86_SYSTEM_REG(vmcall)
const struct x86_family x86_do_clflushopt = {.mem = {clflush, clflush, clflush, clflush}};
