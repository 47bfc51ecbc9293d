/* model.c - the CPUID models, and the leaves made from their feature lists.
 *
 * A model is a set of features (features.rows.h); the bits of the leaves follow from
 * the rows, so a feature that CPUID shows is one that the executor has.  Intel SDM
 * volume 2A, CPUID; levels after the x86-64 psABI, 3.1.1. */
#include "virt/isa/x86/system/model.h"

#include <string.h>

struct feature {
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
};

static const struct feature features[] = {
#define X86_FEATURE(id, name, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
#include "virt/isa/x86/rows/features.rows.h"
};

#define F(id) (1ull << X86_F_##id)

#define SET_I686                                                                         \
    (F(BASE) | F(FPU) | F(TSC) | F(MSR) | F(CX8) | F(SEP) | F(CMOV) | F(MMX) | F(FXSR))
#define SET_V2                                                                           \
    (SET_I686 | F(CLFSH) | F(SSE) | F(SSE2) | F(SSE3) | F(SSSE3) | F(SSE4_1) |           \
     F(SSE4_2) | F(POPCNT) | F(CX16) | F(LAHF64) | F(SYSCALL) | F(NX) | F(LM) |          \
     F(RDTSCP) | F(PCID) | F(PDPE1GB) | F(MONITOR))
#define SET_V3                                                                           \
    (SET_V2 | F(FMA) | F(MOVBE) | F(XSAVE) | F(AVX) | F(F16C) | F(BMI1) | F(AVX2) |      \
     F(BMI2) | F(LZCNT))

_Static_assert(X86_F_COUNT < 64, "a set of features is one word");
#define SET_ALL ((1ull << X86_F_COUNT) - 1)

/* What a processor says of its own speculation, and of its timer in sleep: only the model of
 * machines does, which speaks of this engine and not of hardware. */
#define SET_SAYS      (F(ARAT) | F(SPEC_CTRL) | F(STIBP) | F(ARCH_CAPS) | F(BHI_CTRL))
#define SET_HOST_LIKE (SET_ALL & ~SET_SAYS)
#define SET_MACHINE   (SET_ALL & ~F(MONITOR))

static const struct x86_model models[] = {
    {"base", "Strata base (x86-64-v2)", 0x000106a5, 40, true, 0, SET_V2},
    {"v3", "Strata v3 (x86-64-v3)", 0x000306c3, 40, true, 7, SET_V3},
    {"host-like", "Strata host-like", 0x000506e3, 40, true, 7, SET_HOST_LIKE},
    {"machine", "Strata machine", 0x000806f8, 40, true, 7, SET_MACHINE},
    {"i686", "Strata i686", 0x00000673, 36, false, 0, SET_I686},
};

/* Leaf 1, EDX, of what every model's system part does: VME DE PSE PAE MCE APIC MTRR
 * PGE MCA PAT PSE36. */
#define SYSTEM_1_EDX 0x0003f2ceu

const struct x86_model *x86_model_find(const char *name)
{
    for (unsigned i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i].name, name) == 0) {
            return &models[i];
        }
    }
    return NULL;
}

bool x86_model_has(const struct x86_model *m, enum x86_feature f)
{
    return (m->features >> f & 1) != 0;
}

static void add_features(const struct x86_model *m, uint32_t leaf, uint32_t subleaf,
                         uint32_t ret[4])
{
    for (unsigned f = X86_F_BASE + 1; f < X86_F_COUNT; f++) {
        const struct feature *row = &features[f];

        if (row->leaf == leaf && row->subleaf == subleaf && (m->features >> f & 1) != 0) {
            ret[row->reg] |= 1u << row->bit;
        }
    }
}

static void leaf_1(const struct x86_cpu *c, uint32_t ret[4])
{
    ret[0] = c->model->signature;
    ret[1] = (c->base.index & 0xff) << 24 | 8u << 8; /* APIC number; CLFLUSH: 64 bytes */
    ret[3] |= SYSTEM_1_EDX;
    if ((c->r.cr4 & X86_CR4_OSXSAVE) != 0) {
        ret[2] |= 1u << 27;
    }
    ret[2] |= 1u << 24; /* TSC deadline */
    ret[2] |= 1u << 21; /* x2APIC */
    ret[2] |= 1u << 31; /* a hypervisor */
    if ((c->r.msr.apic_base & 0x800) == 0) {
        ret[3] &= ~(1u << 9);
    }
}

/* Size of the XSAVE area for these components, not compacted. */
static uint32_t xsave_bytes(uint64_t components)
{
    return (components & 4) != 0 ? 832 : 576;
}

static void leaf_d(const struct x86_cpu *c, uint32_t subleaf, uint32_t ret[4])
{
    if (!x86_model_has(c->model, X86_F_XSAVE)) {
        ret[0] = 0;
        return;
    }
    switch (subleaf) {
    case 0:
        ret[0] = (uint32_t)c->model->xcr0;
        ret[1] = xsave_bytes(c->r.xcr0);
        ret[2] = xsave_bytes(c->model->xcr0);
        break;
    case 1:
        ret[1] = xsave_bytes(c->r.xcr0);
        break;
    case 2:
        ret[0] = 256; /* bytes and offset of the upper halves */
        ret[1] = 576;
        break;
    default:
        break;
    }
}

static void brand(const struct x86_cpu *c, unsigned part, uint32_t ret[4])
{
    char text[48] = {0};

    memcpy(text, c->model->brand, strlen(c->model->brand));
    memcpy(ret, text + (size_t)part * 16, 16);
}

/* Cache parameters (leaf 4): one line of text each would be 32 KiB, 32 KiB, 1 MiB. */
static void leaf_4(uint32_t subleaf, uint32_t ret[4])
{
    static const uint32_t caches[3][4] = {
        {0x00000121, 0x01c0003f, 63, 0},   /* L1 data: 8 ways of 64 sets */
        {0x00000122, 0x01c0003f, 63, 0},   /* L1 instruction */
        {0x00000143, 0x03c0003f, 1023, 0}, /* L2: 16 ways of 1024 sets */
    };

    if (subleaf < 3) {
        memcpy(ret, caches[subleaf], sizeof caches[subleaf]);
    }
}

static void leaf_extended(const struct x86_cpu *c, uint32_t leaf, uint32_t ret[4])
{
    switch (leaf) {
    case 0x80000000:
        ret[0] = 0x80000008;
        break;
    case 0x80000001:
        if (c->code_mode != X86_CODE64) {
            ret[3] &= ~(1u << 11); /* SYSCALL: Intel shows it in 64-bit mode only */
        }
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        brand(c, leaf - 0x80000002, ret);
        break;
    case 0x80000006:
        ret[2] = 0x04008040; /* L2: 1 MiB, 16 ways, lines of 64 bytes */
        break;
    case 0x80000007:
        ret[3] = 1u << 8; /* the TSC never stops */
        break;
    case 0x80000008:
        ret[0] =
            c->model->physical_bits | (c->model->has_long_mode ? 48u << 8 : 32u << 8);
        break;
    default:
        break;
    }
}

#define LEAF_LAST 0xdu

static void leaf_basic(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf,
                       uint32_t ret[4])
{
    switch (leaf) {
    case 0:
        ret[0] = LEAF_LAST;
        memcpy(&ret[1], "Genu", 4);
        memcpy(&ret[3], "ineI", 4);
        memcpy(&ret[2], "ntel", 4);
        break;
    case 1:
        leaf_1(c, ret);
        break;
    case 2:
        ret[0] = 0x00000001; /* no descriptors: see leaf 4 */
        ret[3] = 0x000000ff;
        break;
    case 4:
        leaf_4(subleaf, ret);
        break;
    case 5:
        ret[0] = ret[1] = 64; /* monitored lines */
        break;
    case 7:
        ret[0] = subleaf == 0 && x86_model_has(c->model, X86_F_BHI_CTRL) ? 2 : 0;
        break;
    case 0xd:
        leaf_d(c, subleaf, ret);
        break;
    default:
        break;
    }
}

void x86_model_cpuid(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf,
                     uint32_t ret[4])
{
    memset(ret, 0, 4 * sizeof *ret);
    if (leaf >= 0x80000000u && leaf <= 0x80000008u) {
        add_features(c->model, leaf, 0, ret);
        leaf_extended(c, leaf, ret);
        return;
    }
    if (leaf >= 0x40000000u && leaf < 0x40000100u) {
        return; /* the monitor's, which sets them before it asks here */
    }
    if (leaf > LEAF_LAST) {
        leaf = LEAF_LAST; /* beyond the last: the last, as Intel does */
    }
    add_features(c->model, leaf, leaf == 7 || leaf == 0xd ? subleaf : 0, ret);
    leaf_basic(c, leaf, subleaf, ret);
}
