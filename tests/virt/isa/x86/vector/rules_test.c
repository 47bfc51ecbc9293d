/* rules_test.c - what the host in user mode cannot show: control registers that forbid,
 * level 0, real and 32-bit modes.  Truth: SDM volume 3A, table 13-1; volume 1, 8.1.10.
 * rows: FV-04 */
#include <string.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/vector/model.h"
#include "virt/isa/x86/encode.h"
#include "virt/isa/x86/vector/vector.h"

static struct model model;
static struct native_case blank;

/* A fresh processor whose RSI points into the arena, and the row as an instruction. */
static struct x86_insn make(enum x86_row row, enum x86_code_mode mode, uint8_t size,
                            bool is_memory)
{
    struct x86_form f;
    struct x86_insn i;
    uint8_t bytes[X86_INSN_BYTES_MAX];
    int n;

    model_fini(&model);
    model_init(&model, 0x10000);
    blank.in.fcw = 0x37f;
    blank.in.mxcsr = 0x1f80;
    blank.gpr_in[X86_RSI] = 0x10000 + 1024;
    blank.gpr_in[X86_RAX] = 7;
    blank.at = 0x1234;
    model_load(&model, &blank);
    x86_form_init(&f, mode);
    f.size = size;
    f.is_memory = is_memory;
    f.base = X86_RSI;
    f.reg = 1;
    f.rm = 2;
    f.vvvv = 3;
    n = x86_encode(row, &f, bytes);
    assert_true(n > 0);
    memcpy(model.code, bytes, (unsigned)n);
    assert_int_equal(x86_decode(bytes, (unsigned)n, mode, &i), X86_DECODED);
    assert_int_equal(i.row, row);
    return i;
}

static unsigned run(enum x86_row row)
{
    struct x86_insn i = make(row, X86_CODE64, X86_32, false);

    return model_run(&model, &i);
}

static unsigned run_with(enum x86_row row, uint64_t cr0, uint64_t cr4)
{
    struct x86_insn i = make(row, X86_CODE64, X86_32, false);

    model.cpu.r.cr0 |= cr0;
    model.cpu.r.cr4 &= ~cr4;
    return model_run(&model, &i);
}

static void task_switched_makes_every_unit_unavailable(void **state)
{
    static const enum x86_row rows[] = {X86_R_FADD_ST, X86_R_FNINIT, X86_R_PADDB_MMX,
                                        X86_R_ADDPS,   X86_R_VADDPS, X86_R_EMMS};

    (void)state;
    for (unsigned n = 0; n < sizeof rows / sizeof rows[0]; n++) {
        assert_int_equal(run(rows[n]), 0);
        assert_int_equal(run_with(rows[n], X86_CR0_TS, 0), X86_NM + 1);
    }
}

static void emulation_is_nm_for_x87_and_ud_for_the_rest(void **state)
{
    (void)state;
    assert_int_equal(run_with(X86_R_FNSTSW_AX, X86_CR0_EM, 0), X86_NM + 1);
    assert_int_equal(run_with(X86_R_PADDB_MMX, X86_CR0_EM | X86_CR0_TS, 0), X86_UD + 1);
    assert_int_equal(run_with(X86_R_ADDPS, X86_CR0_EM | X86_CR0_TS, 0), X86_UD + 1);
}

static void sse_and_avx_need_the_systems_consent(void **state)
{
    (void)state;
    assert_int_equal(run_with(X86_R_ADDPS, 0, X86_CR4_OSFXSR), X86_UD + 1);
    assert_int_equal(run_with(X86_R_VADDPS, 0, X86_CR4_OSXSAVE), X86_UD + 1);
    assert_int_equal(run_with(X86_R_VADDPS, 0, X86_CR4_OSFXSR), 0);
}

static void unmasked_simd_errors_are_ud_where_nobody_takes_them(void **state)
{
    (void)state;
    blank.in.mxcsr = 0x1f00;
    memset(blank.in.xmm, 0xff, 64);
    blank.in.xmm[2][3] = 0x7f; /* a signalling NaN */
    blank.in.xmm[2][2] = 0xbf;
    for (int k = 0; k < 2; k++) {
        struct x86_insn i = make(X86_R_ADDPS, X86_CODE64, X86_32, false);

        model.cpu.r.fpu.mxcsr = 0x1f00;
        model.cpu.r.cr4 &= ~(k == 0 ? 0 : (uint64_t)X86_CR4_OSXMMEXCPT);
        assert_int_equal(model_run(&model, &i), k == 0 ? X86_XM + 1 : X86_UD + 1);
        assert_int_equal(model.cpu.r.fpu.mxcsr, 0x1f01);
        assert_memory_equal(model.cpu.r.fpu.ymm[1].byte, blank.in.xmm[1], 16);
    }
    memset(&blank, 0, sizeof blank);
}

static void a_pending_x87_error_waits_for_the_next_waiting_instruction(void **state)
{
    struct x86_insn i = make(X86_R_FNSTSW_AX, X86_CODE64, X86_32, false);

    (void)state;
    model.cpu.r.fpu.fcw = 0x37e;
    model.cpu.r.fpu.fsw = 0x8081;
    assert_int_equal(model_run(&model, &i), 0);
    assert_int_equal(model.cpu.r.gpr[X86_RAX] & 0xffff, 0x8081);
    i = make(X86_R_FLD1, X86_CODE64, X86_32, false);
    model.cpu.r.fpu.fsw = 0x8081;
    assert_int_equal(model_run(&model, &i), X86_MF + 1);
    model.cpu.r.cr0 &= ~(uint64_t)X86_CR0_NE;
    assert_int_equal(model_run(&model, &i), 0);
}

static void level_0_saves_and_restores_with_xsaves(void **state)
{
    struct x86_insn i = make(X86_R_XSAVES64, X86_CODE64, X86_64, true);
    struct native_state s;

    (void)state;
    assert_int_equal(model_run(&model, &i), X86_GP + 1);
    model.cpu.r.cpl = 0;
    memset(model.cpu.r.fpu.ymm[3].byte, 0x5a, 32);
    assert_int_equal(model_run(&model, &i), 0);
    memcpy(&s, model.memory + 1024, sizeof s);
    assert_true(s.present == 6 && s.layout == (UINT64_C(1) << 63 | 7));
    assert_int_equal(s.high[3][0], 0x5a);
    memset(model.cpu.r.fpu.ymm[3].byte, 0, 32);
    i.row = X86_R_XRSTORS64;
    assert_int_equal(model_run(&model, &i), 0);
    assert_memory_equal(model.cpu.r.fpu.ymm[3].byte, s.high[3], 16);
    memset(model.memory + 1024 + 520, 0, 8); /* the standard form is none of XRSTORS */
    assert_int_equal(model_run(&model, &i), X86_GP + 1);
}

static void legacy_modes_have_eight_registers(void **state)
{
    struct x86_insn i = make(X86_R_FXSAVE, X86_CODE32, X86_32, true);

    (void)state;
    memset(model.cpu.r.fpu.ymm[8].byte, 0x77, 32);
    memset(model.memory + 1024, 0x11, 512);
    assert_int_equal(model_run(&model, &i), 0);
    assert_int_equal(model.memory[1024 + 287], 0);
    assert_int_equal(model.memory[1024 + 288], 0x11);
    i = make(X86_R_VZEROALL, X86_CODE32, X86_32, false);
    memset(model.cpu.r.fpu.ymm[8].byte, 0x77, 32);
    assert_int_equal(model_run(&model, &i), 0);
    assert_int_equal(model.cpu.r.fpu.ymm[8].byte[0], 0x77);
}

static void environments_have_the_form_of_mode_and_size(void **state)
{
    struct x86_insn i = make(X86_R_FNSTENV, X86_CODE32, X86_16, true);
    static const uint8_t short_form[14] = {0x7f, 0x03, 0, 0, 0xff, 0xff, 0x45, 0x23};

    (void)state;
    model.cpu.r.fpu.fip = 0x12345;
    assert_int_equal(model_run(&model, &i), 0);
    assert_memory_equal(model.memory + 1024, short_form, 14);
    i = make(X86_R_FNSTENV, X86_CODE32, X86_16, true);
    model.cpu.protected_mode = false;
    model.cpu.r.fpu.fip = 0x12345;
    model.cpu.r.fpu.fop = 0x123;
    assert_int_equal(model_run(&model, &i), 0);
    assert_int_equal(model.memory[1024 + 8], 0x23);
    assert_int_equal(model.memory[1024 + 9], 0x11);
    i.row = X86_R_FLDENV;
    model.cpu.r.fpu.fip = 0;
    assert_int_equal(model_run(&model, &i), 0);
    assert_int_equal(model.cpu.r.fpu.fip, 0x12345);
    assert_int_equal(model.cpu.r.fpu.fop, 0x123);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_switched_makes_every_unit_unavailable),
        cmocka_unit_test(emulation_is_nm_for_x87_and_ud_for_the_rest),
        cmocka_unit_test(sse_and_avx_need_the_systems_consent),
        cmocka_unit_test(unmasked_simd_errors_are_ud_where_nobody_takes_them),
        cmocka_unit_test(a_pending_x87_error_waits_for_the_next_waiting_instruction),
        cmocka_unit_test(level_0_saves_and_restores_with_xsaves),
        cmocka_unit_test(legacy_modes_have_eight_registers),
        cmocka_unit_test(environments_have_the_form_of_mode_and_size),
    };
    int r;

    if (!x86_vector_host_has(X86_F_AVX)) {
        return 77;
    }
    r = cmocka_run_group_tests(tests, NULL, NULL);
    model_fini(&model);
    return r;
}
