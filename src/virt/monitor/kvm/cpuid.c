/* cpuid.c - what a processor says of itself: the host's truth, but for what the machine or
 * the model decides.
 *
 * Parts of the state that `struct x86_regs` does not carry are not shown, so that a guest
 * can go on under another engine: of the extended state only x87, SSE and AVX. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/cpu_x86.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/system/model.h"
#include "virt/isa/x86/system/system.h"
#include "virt/monitor/kvm/private.h"

enum {
    EAX,
    EBX,
    ECX,
    EDX
};

#define STATE_PARTS 7u   /* of XCR0: x87, SSE, AVX */
#define STATE_BYTES 832u /* of the three, not compacted */
#define EXTRA_MOST  4

/* Features whose state is not carried, or that need more than an interrupt chip. */
static const struct {
    uint32_t leaf, subleaf;
    uint32_t keep[4];
} kept[] = {
    {1, 0, {~0u, ~0u, ~0x60u /* VMX, SMX */, ~0u}},
    {7,
     0,
     {0, ~0xde204000u /* AVX-512, PT, MPX */,
      ~0xa00158dau /* its parts, PKU, CET, LA57 */, ~0x03d8812cu /* AMX, UINTR, LBR */}},
    {7, 1, {0, 0, 0, 0}},
    {7, 2, {0, 0, 0, 0}},
    {0xa, 0, {0, 0, 0, 0}},
    {0xd, 0, {STATE_PARTS, ~0u, ~0u, 0}},
    {0xd, 1, {0x7, ~0u, 0, 0}}, /* XSAVEOPT, XSAVEC, XGETBV of 1; no XSAVES */
    {0x80000001, 0, {~0u, ~0u, ~4u /* SVM */, ~0u}},
};

static bool is_left_out(const struct kvm_cpuid_entry2 *at)
{
    return (at->function >= 0x40000000u && at->function < 0x50000000u) ||
           (at->function == 0xd && at->index > 2) || at->function == 0x14 ||
           at->function == 0x1d || at->function == 0x1e || at->function == 0x8000000a ||
           at->function == 0x8000001f;
}

static void ask_model(const struct x86_model *model, unsigned index, uint32_t leaf,
                      uint32_t subleaf, uint32_t ret[4])
{
    struct x86_cpu *c = calloc(1, sizeof *c);

    memset(ret, 0, 4 * sizeof *ret);
    if (c != NULL) {
        c->model = model;
        c->base.index = index;
        c->code_mode = X86_CODE64;
        c->r.xcr0 = STATE_PARTS;
        c->r.msr.apic_base = 0x800;
        x86_model_cpuid(c, leaf, subleaf, ret);
    }
    free(c);
}

/* Words of features: only what the model has, too. */
static bool is_features(uint32_t leaf, unsigned reg)
{
    return (leaf == 1 && (reg == ECX || reg == EDX)) || (leaf == 7 && reg != EAX) ||
           (leaf == 0x80000001 && (reg == ECX || reg == EDX));
}

/* What the host has, whichever that is. */
static bool is_host(const struct x86_model *model)
{
    return strcmp(model->name, "host-like") == 0 || strcmp(model->name, "machine") == 0;
}

static void change(struct kvm_cpu *k, const struct x86_model *model,
                   struct kvm_cpuid_entry2 *at)
{
    uint32_t v[4] = {at->eax, at->ebx, at->ecx, at->edx};
    uint32_t of_model[4];

    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        for (unsigned r = 0; r < 4 && kept[i].leaf == at->function; r++) {
            v[r] &= kept[i].subleaf == at->index ? kept[i].keep[r] : ~0u;
        }
    }
    if (!is_host(model)) {
        ask_model(model, k->cpu.index, at->function, at->index, of_model);
        for (unsigned r = 0; r < 4; r++) {
            v[r] &= is_features(at->function, r) ? of_model[r] : ~0u;
        }
    }
    switch (at->function) {
    case 1:
        v[EBX] = (v[EBX] & 0xffff) | 1u << 16 | (k->cpu.index & 0xff) << 24;
        v[ECX] |= 1u << 31 | 1u << 24 | 1u << 21; /* hypervisor, TSC deadline, x2APIC */
        v[EDX] |= 1u << 9;                        /* APIC */
        break;
    case 0xb:
    case 0x1f:
        v[EDX] = k->cpu.index;
        break;
    case 0xd:
        if (at->index == 0) {
            v[EBX] = v[ECX] = STATE_BYTES;
        }
        break;
    default:
        break;
    }
    if (k->cpu.env->cpuid != NULL) {
        k->cpu.env->cpuid(k->cpu.env->who, &k->cpu, at->function, at->index, v);
    }
    at->eax = v[EAX];
    at->ebx = v[EBX];
    at->ecx = v[ECX];
    at->edx = v[EDX];
}

int kvm_set_cpuid(struct kvm_cpu *k, const struct x86_model *model, struct err *e)
{
    const struct kvm_cpuid2 *from = k->vm->supported;
    struct kvm_cpuid2 *to =
        fault_calloc(1, sizeof *to + (from->nent + EXTRA_MOST) * sizeof to->entries[0]);
    static const uint32_t own[] = {0x40000000u, 0x40000001u,
                                   0x40000010u}; /* the machine's */
    int r = 0;

    if (to == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    for (unsigned i = 0; i < from->nent; i++) {
        if (!is_left_out(&from->entries[i])) {
            to->entries[to->nent] = from->entries[i];
            change(k, model, &to->entries[to->nent]);
            to->nent++;
        }
    }
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++) {
        struct kvm_cpuid_entry2 *at = &to->entries[to->nent];

        *at = (struct kvm_cpuid_entry2){.function = own[i]};
        change(k, model, at);
        to->nent += (at->eax | at->ebx | at->ecx | at->edx) != 0;
    }
    if (ioctl(k->fd, KVM_SET_CPUID2, to) < 0) {
        r = err_sys(e, -errno, "cannot set CPUID by /dev/kvm");
    }
    free(to);
    return r;
}
