/* atomic.c - locked changes of guest memory by the host's own locked instructions.
 *
 * The operand need not be aligned: the host's processor locks it all the same, as
 * the guest's would, so alignment is not asserted here. */
#include "virt/isa/x86/integer/operand.h"

#define CAS(bits)                                                                        \
    __attribute__((no_sanitize("alignment"))) static bool cas##bits(                     \
        void *p, uint64_t *old, uint64_t v)                                              \
    {                                                                                    \
        uint##bits##_t expected = (uint##bits##_t) * old;                                \
        bool is_done = __atomic_compare_exchange_n((uint##bits##_t *)p, &expected,       \
                                                   (uint##bits##_t)v, false,             \
                                                   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);  \
                                                                                         \
        *old = expected;                                                                 \
        return is_done;                                                                  \
    }

X86_BY_SIZE(CAS)

bool x86_cas(void *p, uint64_t *old, uint64_t v, unsigned bits)
{
    return bits == 8    ? cas8(p, old, v)
           : bits == 16 ? cas16(p, old, v)
           : bits == 32 ? cas32(p, old, v)
                        : cas64(p, old, v);
}
