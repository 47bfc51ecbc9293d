/* state.c - the registers of a processor, between KVM's structures and ours.
 *
 * FXSAVE's layout: Intel SDM (September 2023), volume 1, 10.5.1; the header behind it and
 * the upper halves of YMM: 13.4.  Our x87 registers lie by their number, those of the area
 * by their place on the stack. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "contract/cpu_x86.h"
#include "virt/monitor/kvm/private.h"

#define MSR_TSC       0x10u
#define RFLAGS_IF     UINT64_C(0x200)
#define MXCSR_MASK    0xffffu
#define AREA_ST       32
#define AREA_XMM      160
#define AREA_HEADER   512
#define AREA_YMM      576
#define AREA_PARTS    7u /* x87, SSE, AVX */
#define SHADOW_MOV_SS 1u
#define SHADOW_STI    2u

/* ---- segments ---- */

static void to_segment(const struct x86_segment *s, struct kvm_segment *ret)
{
    unsigned a = s->attr;

    *ret = (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = (uint8_t)(a & X86_ATTR_TYPE),
        .s = (a & X86_ATTR_S) != 0,
        .dpl = (uint8_t)(a >> X86_ATTR_DPL_SHIFT & 3),
        .present = (a & X86_ATTR_P) != 0,
        .avl = (uint8_t)(a >> 12 & 1),
        .l = (a & X86_ATTR_L) != 0,
        .db = (a & X86_ATTR_DB) != 0,
        .g = (a & X86_ATTR_G) != 0,
        .unusable = (a & X86_ATTR_NULL) != 0 || (a & X86_ATTR_P) == 0,
    };
}

static void from_segment(const struct kvm_segment *s, struct x86_segment *ret)
{
    unsigned a = s->type | (s->s != 0 ? X86_ATTR_S : 0u) |
                 (unsigned)s->dpl << X86_ATTR_DPL_SHIFT |
                 (s->present != 0 ? X86_ATTR_P : 0u) | (unsigned)s->avl << 12 |
                 (s->l != 0 ? X86_ATTR_L : 0u) | (s->db != 0 ? X86_ATTR_DB : 0u) |
                 (s->g != 0 ? X86_ATTR_G : 0u) | (s->unusable != 0 ? X86_ATTR_NULL : 0u);

    *ret = (struct x86_segment){
        .selector = s->selector, .attr = (uint16_t)a, .limit = s->limit, .base = s->base};
}

/* The same order as `enum x86_seg`. */
static struct kvm_segment *segment_of(struct kvm_sregs *s, unsigned i)
{
    struct kvm_segment *const of[X86_SEG_COUNT] = {&s->es, &s->cs, &s->ss,  &s->ds,
                                                   &s->fs, &s->gs, &s->ldt, &s->tr};

    return of[i];
}

static void to_sregs(const struct x86_regs *r, struct kvm_sregs *s)
{
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        to_segment(&r->seg[i], segment_of(s, i));
    }
    s->gdt = (struct kvm_dtable){.base = r->gdtr.base, .limit = r->gdtr.limit};
    s->idt = (struct kvm_dtable){.base = r->idtr.base, .limit = r->idtr.limit};
    s->cr0 = r->cr0;
    s->cr2 = r->cr2;
    s->cr3 = r->cr3;
    s->cr4 = r->cr4;
    s->cr8 = r->cr8;
    s->efer = r->msr.efer;
    s->apic_base = r->msr.apic_base;
    memset(s->interrupt_bitmap, 0, sizeof s->interrupt_bitmap);
}

static void from_sregs(struct kvm_sregs *s, struct x86_regs *r)
{
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        from_segment(segment_of(s, i), &r->seg[i]);
    }
    r->gdtr = (struct x86_table){.base = s->gdt.base, .limit = s->gdt.limit};
    r->idtr = (struct x86_table){.base = s->idt.base, .limit = s->idt.limit};
    r->cr0 = s->cr0;
    r->cr2 = s->cr2;
    r->cr3 = s->cr3;
    r->cr4 = s->cr4;
    r->cr8 = s->cr8;
    r->msr.efer = s->efer;
    r->msr.apic_base = s->apic_base;
    r->cpl = (s->cr0 & 1) == 0 ? 0 : (r->rflags >> 17 & 1) != 0 ? 3 : s->ss.dpl;
}

/* ---- general registers ---- */

static uint64_t *general_of(struct kvm_regs *k, unsigned i)
{
    uint64_t *const of[] = {(uint64_t *)&k->rax, (uint64_t *)&k->rcx, (uint64_t *)&k->rdx,
                            (uint64_t *)&k->rbx, (uint64_t *)&k->rsp, (uint64_t *)&k->rbp,
                            (uint64_t *)&k->rsi, (uint64_t *)&k->rdi, (uint64_t *)&k->r8,
                            (uint64_t *)&k->r9,  (uint64_t *)&k->r10, (uint64_t *)&k->r11,
                            (uint64_t *)&k->r12, (uint64_t *)&k->r13, (uint64_t *)&k->r14,
                            (uint64_t *)&k->r15, (uint64_t *)&k->rip};

    return of[i];
}

/* ---- floating point and vectors ---- */

static void to_area(const struct x86_fpu *f, uint8_t *area)
{
    unsigned top = f->fsw >> 11 & 7;
    uint32_t mask = MXCSR_MASK;
    uint64_t parts = AREA_PARTS;

    memcpy(area + 0, &f->fcw, 2);
    memcpy(area + 2, &f->fsw, 2);
    area[4] = f->ftw;
    memcpy(area + 6, &f->fop, 2);
    memcpy(area + 8, &f->fip, 8);
    memcpy(area + 16, &f->fdp, 8);
    memcpy(area + 24, &f->mxcsr, 4);
    memcpy(area + 28, &mask, 4);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(area + AREA_ST + i * 16, f->st[(top + i) & 7], 10);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(area + AREA_XMM + i * 16, f->ymm[i].byte, 16);
        memcpy(area + AREA_YMM + i * 16, f->ymm[i].byte + 16, 16);
    }
    memcpy(area + AREA_HEADER, &parts, 8);
}

/* Parts that are in their first state need not be in the area. */
static void from_area(const uint8_t *area, struct x86_fpu *f)
{
    uint64_t parts;
    unsigned top;

    memcpy(&parts, area + AREA_HEADER, 8);
    *f = (struct x86_fpu){.fcw = 0x37f};
    memcpy(&f->mxcsr, area + 24, 4);
    if ((parts & 1) != 0) {
        memcpy(&f->fcw, area + 0, 2);
        memcpy(&f->fsw, area + 2, 2);
        f->ftw = area[4];
        memcpy(&f->fop, area + 6, 2);
        memcpy(&f->fip, area + 8, 8);
        memcpy(&f->fdp, area + 16, 8);
        top = f->fsw >> 11 & 7;
        for (unsigned i = 0; i < 8; i++) {
            memcpy(f->st[(top + i) & 7], area + AREA_ST + i * 16, 10);
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        if ((parts & 2) != 0) {
            memcpy(f->ymm[i].byte, area + AREA_XMM + i * 16, 16);
        }
        if ((parts & 4) != 0) {
            memcpy(f->ymm[i].byte + 16, area + AREA_YMM + i * 16, 16);
        }
    }
}

/* ---- model-specific registers ---- */

#define FIXED_MSRS  15
#define MTRR_FIXED  11
#define MTRR_RANGES 8
#define MSRS        (FIXED_MSRS + MTRR_FIXED + 2 * MTRR_RANGES)

struct msr_list {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[MSRS];
    uint64_t *ours[MSRS];
};

static void name_msr(struct msr_list *l, uint32_t index, uint64_t *ours)
{
    l->entry[l->head.nmsrs].index = index;
    l->entry[l->head.nmsrs].data = *ours;
    l->ours[l->head.nmsrs++] = ours;
}

static void list_msrs(struct msr_list *l, struct x86_msrs *m)
{
    static const uint32_t fixed[MTRR_FIXED] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                               0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

    l->head.nmsrs = 0;
    name_msr(l, 0xc0000081, &m->star);
    name_msr(l, 0xc0000082, &m->lstar);
    name_msr(l, 0xc0000083, &m->cstar);
    name_msr(l, 0xc0000084, &m->sfmask);
    name_msr(l, 0xc0000102, &m->kernel_gs_base);
    name_msr(l, 0x174, &m->sysenter_cs);
    name_msr(l, 0x175, &m->sysenter_esp);
    name_msr(l, 0x176, &m->sysenter_eip);
    name_msr(l, 0xc0000103, &m->tsc_aux);
    name_msr(l, 0x277, &m->pat);
    name_msr(l, 0x1a0, &m->misc_enable);
    name_msr(l, 0x48, &m->spec_ctrl);
    name_msr(l, 0x2ff, &m->mtrr_def_type);
    for (unsigned i = 0; i < MTRR_FIXED; i++) {
        name_msr(l, fixed[i], &m->mtrr_fixed[i]);
    }
    for (unsigned i = 0; i < MTRR_RANGES; i++) {
        name_msr(l, 0x200 + 2 * i, &m->mtrr_base[i]);
        name_msr(l, 0x201 + 2 * i, &m->mtrr_mask[i]);
    }
}

/* KVM stops at the first register that it does not have: that one is left out. */
static int carry_msrs(const struct kvm_cpu *k, unsigned long request, struct msr_list *l)
{
    unsigned done = 0;

    while (done < l->head.nmsrs) {
        struct msr_list rest = {.head.nmsrs = l->head.nmsrs - done};
        int n;

        memcpy(rest.entry, l->entry + done, rest.head.nmsrs * sizeof rest.entry[0]);
        n = ioctl(k->fd, request, &rest);
        if (n < 0) {
            return -errno;
        }
        memcpy(l->entry + done, rest.entry, (size_t)n * sizeof rest.entry[0]);
        done += (unsigned)n + 1;
    }
    return 0;
}

uint64_t kvm_tsc(const struct kvm_cpu *k)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } tsc = {.head.nmsrs = 1, .entry.index = MSR_TSC};

    (void)ioctl(k->fd, KVM_GET_MSRS, &tsc);
    return tsc.entry.data;
}

static uint64_t clock_of(const struct kvm_cpu *k)
{
    return k->cpu.env->clock != NULL ? k->cpu.env->clock(k->cpu.env->who)
                                     : __builtin_ia32_rdtsc();
}

static void get_msrs(struct kvm_cpu *k, struct x86_msrs *m)
{
    struct msr_list l;

    list_msrs(&l, m);
    (void)carry_msrs(k, KVM_GET_MSRS, &l);
    for (unsigned i = 0; i < l.head.nmsrs; i++) {
        *l.ours[i] = l.entry[i].data;
    }
    m->tsc_offset = k->tsc_told = kvm_tsc(k) - clock_of(k);
    m->tsc_deadline = k->deadline;
}

/* By the register: Linux makes of values that are a second apart, or less, the same. */
static int write_tsc(struct kvm_cpu *k, uint64_t value)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } tsc = {.head.nmsrs = 1, .entry = {.index = MSR_TSC, .data = value}};

    return ioctl(k->fd, KVM_SET_MSRS, &tsc) < 0 ? -errno : 0;
}

/* By the distance from the host's (Linux 5.16), which is exact. */
static int set_tsc(struct kvm_cpu *k, uint64_t value, uint64_t clock)
{
    struct kvm_vm *vm = k->vm;
    uint64_t word = 0;
    struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL,
                                .attr = KVM_VCPU_TSC_OFFSET,
                                .addr = (uintptr_t)&word};

    if (ioctl(k->fd, KVM_GET_DEVICE_ATTR, &a) < 0) {
        return write_tsc(k, value);
    }
    word += value - kvm_tsc(k);
    if (vm->tsc_set == value && vm->tsc_clock == clock && vm->tsc_word != 0) {
        word = vm->tsc_word;
    }
    vm->tsc_set = value;
    vm->tsc_clock = clock;
    vm->tsc_word = word;
    return ioctl(k->fd, KVM_SET_DEVICE_ATTR, &a) < 0 ? -errno : 0;
}

static int set_msrs(struct kvm_cpu *k, const struct x86_msrs *m)
{
    uint64_t clock = clock_of(k);
    struct x86_msrs copy = *m;
    struct msr_list l;
    int r;

    list_msrs(&l, &copy);
    r = carry_msrs(k, KVM_SET_MSRS, &l);
    k->deadline = m->tsc_deadline;
    if (r == 0 && m->tsc_offset != k->tsc_told) {
        r = set_tsc(k, clock + m->tsc_offset, clock);
        k->tsc_told = m->tsc_offset;
    }
    return r;
}

/* ---- the whole ---- */

static void get_rest(const struct kvm_cpu *k, struct x86_regs *ret)
{
    struct kvm_vcpu_events events = {0};
    struct kvm_debugregs debug = {0};
    struct kvm_xcrs xcrs = {0};

    (void)ioctl(k->fd, KVM_GET_VCPU_EVENTS, &events);
    ret->nmi_masked = events.nmi.masked != 0;
    ret->nmi_waits = events.nmi.pending != 0 || events.nmi.injected != 0;
    ret->irq_shadow = events.interrupt.shadow != 0;
    ret->debug_shadow = (events.interrupt.shadow & SHADOW_MOV_SS) != 0;
    (void)ioctl(k->fd, KVM_GET_DEBUGREGS, &debug);
    for (unsigned i = 0; i < 4; i++) {
        ret->dr[i] = debug.db[i];
    }
    ret->dr[6] = debug.dr6;
    ret->dr[7] = debug.dr7;
    (void)ioctl(k->fd, KVM_GET_XCRS, &xcrs);
    ret->xcr0 = xcrs.nr_xcrs > 0 ? xcrs.xcrs[0].value : 1;
}

void kvm_get_regs(struct kvm_cpu *k, struct x86_regs *ret)
{
    struct kvm_regs general = {0};
    struct kvm_sregs system = {0};
    struct kvm_xsave area = {{0}};

    *ret = (struct x86_regs){.a20_mask = UINT64_MAX, .halted = k->halted};
    (void)ioctl(k->fd, KVM_GET_REGS, &general);
    for (unsigned i = 0; i <= X86_RIP; i++) {
        ret->gpr[i] = *general_of(&general, i);
    }
    ret->rflags = general.rflags;
    (void)ioctl(k->fd, KVM_GET_SREGS, &system);
    from_sregs(&system, ret);
    (void)ioctl(k->fd, KVM_GET_XSAVE, &area);
    from_area((const uint8_t *)area.region, &ret->fpu);
    get_msrs(k, &ret->msr);
    get_rest(k, ret);
}

static int set_rest(struct kvm_cpu *k, const struct x86_regs *regs)
{
    struct kvm_vcpu_events events = {
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
        .nmi.masked = regs->nmi_masked,
        .nmi.pending = regs->nmi_waits,
        .interrupt.shadow = (uint8_t)(regs->debug_shadow ? SHADOW_MOV_SS
                                      : regs->irq_shadow ? SHADOW_STI
                                                         : 0)};
    struct kvm_debugregs debug = {.dr6 = regs->dr[6], .dr7 = regs->dr[7]};

    for (unsigned i = 0; i < 4; i++) {
        debug.db[i] = regs->dr[i];
    }
    return ioctl(k->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ||
                   ioctl(k->fd, KVM_SET_DEBUGREGS, &debug) < 0
               ? -errno
               : 0;
}

int kvm_set_regs(struct kvm_cpu *k, const struct x86_regs *regs)
{
    struct kvm_regs general = {.rflags = regs->rflags};
    struct kvm_sregs system = {0};
    struct kvm_xsave area = {{0}};
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0].value = regs->xcr0};

    for (unsigned i = 0; i <= X86_RIP; i++) {
        *general_of(&general, i) = regs->gpr[i];
    }
    to_sregs(regs, &system);
    to_area(&regs->fpu, (uint8_t *)area.region);
    if (ioctl(k->fd, KVM_SET_SREGS, &system) < 0 ||
        ioctl(k->fd, KVM_SET_REGS, &general) < 0 ||
        ioctl(k->fd, KVM_SET_XCRS, &xcrs) < 0 || ioctl(k->fd, KVM_SET_XSAVE, &area) < 0) {
        return -errno;
    }
    k->run->cr8 = regs->cr8;
    k->tpr = (uint8_t)regs->cr8;
    k->halted = regs->halted;
    k->run->ready_for_interrupt_injection =
        (regs->rflags & RFLAGS_IF) != 0 && !regs->irq_shadow;
    return set_rest(k, regs) != 0 ? -errno : set_msrs(k, &regs->msr);
}

int kvm_take_back(struct kvm_cpu *k)
{
    struct kvm_vcpu_events events = {0};

    if (ioctl(k->fd, KVM_GET_VCPU_EVENTS, &events) < 0 ||
        events.interrupt.injected == 0 || events.interrupt.soft != 0) {
        return -1;
    }
    events.interrupt.injected = 0;
    return ioctl(k->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ? -1 : events.interrupt.nr;
}
