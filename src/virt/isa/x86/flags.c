/* flags.c - between the two forms of the arithmetic flags. */
#include "virt/isa/x86/flags.h"

/* A result with the ZF, SF and PF asked for, and the inversions it needs: a zero
 * result has SF 0 and PF 1, so those two are inverted where they differ. */
static void put_result(struct x86_cpu *c, bool zf, bool sf, bool pf, uint64_t carry)
{
    if (zf) {
        c->flag_result = 0;
        carry |= (sf ? FLAG_INVERT_SF : 0) | (pf ? 0 : FLAG_INVERT_PF);
    } else {
        c->flag_result = (sf ? INT64_MIN : 0) + (pf ? 3 : 1);
    }
    c->flag_carry = carry;
    c->flags_lazy = true;
}

void x86_flags_unpack(struct x86_cpu *c)
{
    uint64_t f = c->r.rflags;
    bool cf = f & X86_CF;
    bool of = f & X86_OF_BIT;

    put_result(c, f & X86_ZF, f & X86_SF, f & X86_PF_BIT,
               ((uint64_t)cf << 63) | ((uint64_t)(cf != of) << 62) |
                   (f & X86_AF ? FLAG_CARRY_AF : 0));
}

void x86_flags_set_z(struct x86_cpu *c, bool zf)
{
    bool sf = x86_flag_s(c);
    bool pf = x86_flag_p(c);

    put_result(c, zf, sf, pf, c->flag_carry & ~(FLAG_INVERT_SF | FLAG_INVERT_PF));
}

void x86_flags_pack(struct x86_cpu *c)
{
    if (c->flags_lazy) {
        x86_flags_set(c, x86_flags_get(c));
    }
}
