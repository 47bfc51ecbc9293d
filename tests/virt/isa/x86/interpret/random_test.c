/* random_test.c - any bytes may be run: the host comes to no harm (sanitizers watch),
 * and every run ends with its budget.
 * rows: ISA-02 */
#include <string.h>

#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/cpu.h"

#define PROGRAMS 1000u
#define BYTES    512u
#define BUDGET   300u

static uint64_t seed = 0x2545f4914f6cdd1du;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1du;
}

/* Bytes in which opcodes with prefixes and 0F are more frequent than by chance. */
static void make_program(uint8_t *code)
{
    static const uint8_t likely[] = {0x0f, 0x66, 0xf3, 0xf2, 0x48, 0xc5, 0xf0, 0xff};

    for (unsigned n = 0; n < BYTES; n++) {
        uint64_t r = random64();

        code[n] = r >> 60 < 4 ? likely[r % sizeof likely] : (uint8_t)r;
    }
}

static uint64_t random_register(void)
{
    uint64_t r = random64();

    return r % 3 == 0   ? MACHINE_DATA + (r >> 32 & 0xfff)
           : r % 3 == 1 ? MACHINE_CODE + (r >> 32 & 0x3ff)
                        : (uint64_t)((int64_t)r >> (r & 63));
}

static void run_program(struct machine *m, const struct x86_regs *start, bool is_stepped,
                        struct x86_regs *ret_after)
{
    struct x86_regs r = *start;

    r.rflags |= is_stepped ? X86_TF : 0;
    machine_set(m, &r);
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(cpu_run(m->cpu[0], BUDGET), 0);
    }
    machine_get(m, ret_after);
}

static void try_mode(enum machine_mode mode, const char *model)
{
    for (unsigned n = 0; n < PROGRAMS / 20; n++) {
        struct machine m;
        struct x86_regs start;

        machine_init(&m, mode, model);
        machine_regs(&m, &start);
        for (unsigned k = 0; k < 20; k++) {
            uint8_t code[BYTES];
            struct x86_regs after;

            make_program(code);
            machine_put(&m, MACHINE_CODE, code, sizeof code);
            for (unsigned g = 0; g < (mode == MACHINE_LONG ? 16 : 8); g++) {
                start.gpr[g] =
                    random_register() & (mode == MACHINE_LONG ? UINT64_MAX : UINT32_MAX);
            }
            start.gpr[X86_RSP] = mode == MACHINE_REAL ? 0x8000 : MACHINE_STACK;
            start.rflags = 2 | (random64() & (X86_ARITHMETIC | X86_DF_BIT | X86_IF));
            run_program(&m, &start, k % 4 == 3, &after);
        }
        machine_fini(&m);
    }
}

static void random_bytes_run_in_long_mode(void **state)
{
    (void)state;
    try_mode(MACHINE_LONG, "v3");
}

static void random_bytes_run_in_protected_mode(void **state)
{
    (void)state;
    try_mode(MACHINE_FLAT32, "base");
}

static void random_bytes_run_in_real_mode(void **state)
{
    (void)state;
    try_mode(MACHINE_REAL, "i686");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes_run_in_long_mode),
        cmocka_unit_test(random_bytes_run_in_protected_mode),
        cmocka_unit_test(random_bytes_run_in_real_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
