/* vector.c - what the host can execute for the routines of this folder. */
#include "virt/isa/x86/vector/vector.h"

#include <cpuid.h>

/* XCR0 of the host: the system must keep YMM registers (SDM volume 1, 14.3). */
static bool host_keeps_ymm(void)
{
    uint32_t low, high, regs[4];

    if (__get_cpuid(1, &regs[0], &regs[1], &regs[2], &regs[3]) == 0 ||
        (regs[2] & bit_OSXSAVE) == 0) {
        return false;
    }
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

static bool host_says(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    uint32_t regs[4] = {0};

    if (__get_cpuid_count(leaf, subleaf, &regs[0], &regs[1], &regs[2], &regs[3]) == 0) {
        return false;
    }
    return (regs[reg] >> bit & 1) != 0;
}

static bool host_has_row(enum x86_feature f)
{
    static const struct {
        uint32_t leaf;
        uint8_t subleaf, reg, bit;
    } at[X86_F_COUNT] = {

#define X86_FEATURE(id, name, leaf, subleaf, reg, bit)                                   \
    [X86_F_##id] = {leaf, subleaf, reg, bit},
#include "virt/isa/x86/rows/features.rows.h"
    };

    return host_says(at[f].leaf, at[f].subleaf, at[f].reg, at[f].bit);
}

bool x86_vector_host_has(enum x86_feature f)
{
    switch (f) {
    case X86_F_AVX:
    case X86_F_AVX2:
    case X86_F_FMA:
    case X86_F_F16C:
        return host_keeps_ymm() && host_has_row(f);
    case X86_F_SSE3: /* the rest of SSE2 and below, every x86-64 host has */
    case X86_F_SSSE3:
    case X86_F_SSE4_1:
    case X86_F_SSE4_2:
    case X86_F_AES:
    case X86_F_PCLMULQDQ:
    case X86_F_SHA:
        return host_has_row(f);
    default:
        return true;
    }
}
