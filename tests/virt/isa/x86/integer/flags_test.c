/* flags_test.c - the lazy flags: both forms agree with the host's processor, and with
 * each other.
 * rows: ISA-02 CON-09 */
#include <stdlib.h>

#include "tests/base/check.h"
#include "virt/isa/x86/flags.h"

static uint64_t seed = 88172645463325252u;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1du;
}

/* flags of `a op b` on the host, with CF in */
#define HOST(op, type, a, b, carry)                                                      \
    __extension__({                                                                      \
        type x_ = (type)(a);                                                             \
        uint64_t f_;                                                                     \
                                                                                         \
        __asm__("bt $0, %k2\n\t" op " %3, %1\n\tpushfq\n\tpopq %0"                       \
                : "=&r"(f_), "+&r"(x_)                                                   \
                : "r"((uint32_t)(carry)), "r"((type)(b))                                 \
                : "cc", "memory");                                                       \
        (uint32_t) f_ &X86_ARITHMETIC;                                                   \
    })

static uint32_t got(struct x86_cpu *c)
{
    x86_flags_pack(c);
    return (uint32_t)c->r.rflags & X86_ARITHMETIC;
}

static int64_t sign(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* push moves the stack pointer: nothing may lie in a red zone below it. */
#define CHECK(type, bits, a, b, carry)                                                   \
    __extension__({                                                                      \
        x86_flags_add(c, a, b, sign((a) + (b) + (carry), bits), bits);                   \
        assert_int_equal(got(c), HOST("adc", type, a, b, carry));                        \
        x86_flags_sub(c, a, b, sign((a) - (b) - (carry), bits), bits);                   \
        assert_int_equal(got(c), HOST("sbb", type, a, b, carry));                        \
        x86_flags_logic(c, sign((a) & (b), bits));                                       \
        assert_int_equal(got(c), HOST("and", type, a, b, carry) & ~X86_AF);              \
    })

static void all_sums_of_bytes_have_the_hosts_flags(void **state)
{
    struct x86_cpu *c = fault_aligned(64, sizeof *c);

    (void)state;
    for (uint64_t a = 0; a < 256; a++) {
        for (uint64_t b = 0; b < 256; b++) {
            CHECK(uint8_t, 8, a, b, 0);
            CHECK(uint8_t, 8, a, b, 1);
        }
    }
    free(c);
}

static void wider_sums_have_the_hosts_flags(void **state)
{
    struct x86_cpu *c = fault_aligned(64, sizeof *c);

    (void)state;
    for (unsigned n = 0; n < 200000; n++) {
        uint64_t a = random64() >> (random64() & 63);
        uint64_t b = -(random64() >> (random64() & 63));
        uint64_t carry = random64() & 1;

        CHECK(uint16_t, 16, a, b, carry);
        CHECK(uint32_t, 32, a, b, carry);
        CHECK(uint64_t, 64, a, b, carry);
    }
    free(c);
}

static void any_six_flags_survive_both_forms_and_conditions_agree(void **state)
{
    struct x86_cpu *c = fault_aligned(64, sizeof *c);

    (void)state;
    for (uint32_t f = 0; f <= X86_ARITHMETIC; f++) {
        bool cf = f & X86_CF;
        bool zf = f & X86_ZF;
        bool sf = f & X86_SF;
        bool of = f & X86_OF_BIT;
        bool pf = f & X86_PF_BIT;
        bool is[8] = {of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of};

        if (f & ~X86_ARITHMETIC) {
            continue;
        }
        x86_flags_set(c, f);
        for (unsigned n = 0; n < 16; n++) {
            assert_int_equal(x86_condition(c, n), is[n / 2] != (n & 1));
        }
        assert_true(c->flags_lazy);
        assert_int_equal(got(c), f);
        x86_flags_set_z(c, !zf);
        assert_int_equal(got(c), f ^ X86_ZF);
        x86_flags_set_c(c, !cf);
        assert_int_equal(got(c), f ^ X86_ZF ^ X86_CF);
        x86_flags_set_co(c, cf, !of);
        assert_int_equal(got(c), f ^ X86_ZF ^ X86_OF_BIT);
    }
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sums_of_bytes_have_the_hosts_flags),
        cmocka_unit_test(wider_sums_have_the_hosts_flags),
        cmocka_unit_test(any_six_flags_survive_both_forms_and_conditions_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
