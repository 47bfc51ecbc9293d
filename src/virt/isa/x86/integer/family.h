/* family.h - macros that make the routines of a row out of one function.
 *
 * Each operation is written once, as an inline function of `bits` (8, 16, 32, 64),
 * which is a constant wherever it is called; a family macro makes of it one routine
 * for each size and for register and memory:
 *
 *   X86_BY_SIZE(M)           M(8) M(16) M(32) M(64)
 *   X86_ROUTINE(name, ...)   one routine of a function name(c, i, bits, is_memory)
 *   X86_FAMILY(name)         name_r8 .. name_r64, name_m8 .. name_m64, and the
 *                            `struct x86_family` x86_do_<name>
 *   X86_FAMILY_V             ... without the byte size
 *   X86_FAMILY_REG, _REG_V   ... without memory (no modrm byte, or a register only)
 *   X86_FAMILY_MEM_V         ... memory only
 *   X86_FAMILY_ONE(name)     one function name(c, i) for every size and form */
#ifndef VIRT_ISA_X86_INTEGER_FAMILY_H
#define VIRT_ISA_X86_INTEGER_FAMILY_H

#include "virt/isa/x86/insn.h"

#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    extern const struct x86_family x86_do_##routine;
#include "virt/isa/x86/rows.h"

#define ALWAYS static inline __attribute__((always_inline))

#define X86_BY_SIZE(M) M(8) M(16) M(32) M(64)

#define X86_ROUTINE(name, form, bits, is_memory)                                         \
    static void name##_##form##bits(struct x86_cpu *c, const struct x86_insn *i)         \
    {                                                                                    \
        name(c, i, bits, is_memory);                                                     \
    }
#define X86_ROUTINES_REG_V(name)                                                         \
    X86_ROUTINE(name, r, 16, false)                                                      \
    X86_ROUTINE(name, r, 32, false)                                                      \
    X86_ROUTINE(name, r, 64, false)
#define X86_ROUTINES_MEM_V(name)                                                         \
    X86_ROUTINE(name, m, 16, true)                                                       \
    X86_ROUTINE(name, m, 32, true)                                                       \
    X86_ROUTINE(name, m, 64, true)

#define X86_SLOTS_V(name, form)                                                          \
    NULL, name##_##form##16, name##_##form##32, name##_##form##64
#define X86_SLOTS(name, form)                                                            \
    name##_##form##8, name##_##form##16, name##_##form##32, name##_##form##64

#define X86_FAMILY(name)                                                                 \
    X86_ROUTINE(name, r, 8, false)                                                       \
    X86_ROUTINE(name, m, 8, true)                                                        \
    X86_ROUTINES_REG_V(name)                                                             \
    X86_ROUTINES_MEM_V(name)                                                             \
    const struct x86_family x86_do_##name = {.reg = {X86_SLOTS(name, r)},                \
                                             .mem = {X86_SLOTS(name, m)}};
#define X86_FAMILY_V(name)                                                               \
    X86_ROUTINES_REG_V(name)                                                             \
    X86_ROUTINES_MEM_V(name)                                                             \
    const struct x86_family x86_do_##name = {.reg = {X86_SLOTS_V(name, r)},              \
                                             .mem = {X86_SLOTS_V(name, m)}};
#define X86_FAMILY_REG(name)                                                             \
    X86_ROUTINE(name, r, 8, false)                                                       \
    X86_ROUTINES_REG_V(name)                                                             \
    const struct x86_family x86_do_##name = {.reg = {X86_SLOTS(name, r)}};
#define X86_FAMILY_REG_V(name)                                                           \
    X86_ROUTINES_REG_V(name)                                                             \
    const struct x86_family x86_do_##name = {.reg = {X86_SLOTS_V(name, r)}};
#define X86_FAMILY_MEM_V(name)                                                           \
    X86_ROUTINES_MEM_V(name)                                                             \
    const struct x86_family x86_do_##name = {.mem = {X86_SLOTS_V(name, m)}};
#define X86_FAMILY_ONE(name)                                                             \
    const struct x86_family x86_do_##name = {.reg = {name, name, name, name},            \
                                             .mem = {name, name, name, name}};

#endif
