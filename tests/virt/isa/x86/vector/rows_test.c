/* rows_test.c - every row of x87, MMX, SSE and AVX against the host CPU.
 * rows: CON-09 FV-04
 *
 * Each row is encoded, decoded and run by its routine, and natively, on the same
 * random state: registers of every kind of number, all rounding modes, FTZ and DAZ,
 * masked and unmasked exceptions, misaligned and unmapped operands.  Everything that
 * an instruction can change is compared: vector, x87 and general registers, flags,
 * memory, and the exception.
 *
 *   VECTOR_CASES   cases of a row and operand form (default 24)
 *   VECTOR_SEED    another sequence
 *   VECTOR_ROW     only rows whose id begins so, and say what differs */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/check.h"
#include "tests/base/vendor.h"
#include "tests/virt/isa/x86/vector/input.h"
#include "tests/virt/isa/x86/vector/model.h"
#include "virt/isa/x86/encode.h"
#include "virt/isa/x86/vector/vector.h"

struct row {
    enum x86_row row;
    const char *id, *operands, *flags;
    enum x86_feature feature;
};

static const struct row rows[] = {
#define X86_ROW(id, mn, enc, ops, mode, feature, privilege, sense, flags, attr, routine) \
    {X86_R_##id, #id, ops, flags, X86_F_##feature},
#include "virt/isa/x86/rows/avx.rows.h"
#include "virt/isa/x86/rows/mmx_sse.rows.h"
#include "virt/isa/x86/rows/x87.rows.h"
#undef X86_ROW
};

#define ROWS (sizeof rows / sizeof rows[0])

static struct native native;
static struct model model;
static const char *only;
static unsigned per_form = 24;

static void explain_state(const struct native_case *x, const struct native_state *s)
{
    const uint8_t *p = (const uint8_t *)&x->out, *q = (const uint8_t *)s;
    const uint8_t *o = (const uint8_t *)&x->in;

    for (unsigned n = 0; only != NULL && n < sizeof *s; n++) {
        if (p[n] != q[n]) {
            print_message("    byte %u: was %02x, native %02x, ours %02x\n", n, o[n],
                          p[n], q[n]);
        }
    }
}

/* What the host has no say in, or what only XSAVE's own header shows. */
static void level(struct native_state *s)
{
    s->fip &=
        0xffffffffffff; /* what is not canonical there is made so, by 48 or 57 bits */
    s->fdp &= 0xffffffffffff;
    if (!vendor_is_intel() &&
        (s->fsw & 0x80) == 0) { /* without an exception there are none */
        s->fop = 0;
        s->fip = s->fdp = 0;
    }
    s->mxcsr_mask = 0;
    s->reserved = 0;
    s->present = 0;
    s->layout = 0;
    memset(s->zeros, 0, sizeof s->zeros);
    memset(s->available, 0, sizeof s->available);
    for (unsigned n = 0; n < 8; n++) {
        memset(s->st[n] + 10, 0, 6);
    }
}

/* With an unmasked overflow or underflow the host says of PE whether the result that
 * is not delivered would have been inexact with a wider exponent; ours does so for the
 * four operations and conversions to single precision. */
static bool is_precise(const char *id)
{
    static const char *const names[] = {"ADD", "SUB",      "MUL",
                                        "DIV", "CVTSD2SS", "CVTPD2PS"};

    id += *id == 'V' ? 1 : 0;
    for (unsigned n = 0; n < sizeof names / sizeof names[0]; n++) {
        if (strncmp(id, names[n], strlen(names[n])) == 0) {
            return strncmp(id, "ADDSUB", 6) != 0;
        }
    }
    return false;
}

static void level_precision(const struct row *r, const struct native_case *x, uint32_t *a,
                            uint32_t *b)
{
    if (is_precise(r->id)) {
        return;
    }
    if (x->vector == X86_XM + 1 && (*a & 0x18 & ~(*a >> 7)) != 0) {
        *a |= 0x20;
        *b |= 0x20;
    }
}

/* Where a fault leaves the host's state half changed, which nothing promises: XRSTOR
 * loads what comes before a bad MXCSR, MMX stores set TOP, stores of ten bytes may
 * have written eight.  Ours changes nothing. */
static bool is_torn(const struct row *r, const struct native_case *x)
{
    return (x->vector == X86_GP + 1 || x->vector == X86_PF + 1) &&
           (strstr(r->id, "XRSTOR") != NULL || strchr(r->operands, 'P') != NULL ||
            strstr(r->operands, "Mf80") != NULL || strstr(r->operands, "Mbcd") != NULL);
}

/* What is the processor's choice: whether MASKMOVxx looks at bytes that the mask leaves
 * out, and in which order XRSTOR finds two reasons to fault. */
static bool is_choice(const struct row *r, const struct native_case *x, unsigned vector)
{
    return x->vector == X86_PF + 1 &&
           ((vector == 0 && (strstr(r->id, "MASKMOVQ_MMX") != NULL ||
                             strstr(r->id, "MASKMOVDQU") != NULL)) ||
            (vector == X86_GP + 1 && strstr(r->id, "XRSTOR") != NULL));
}

/* On another vendor's processor: SHA rows bear operands that are not aligned, images for
 * XRSTOR have no x87 pointers, and a gather that faults has done other elements. */
static bool is_vendors(const struct row *r, const struct native_case *x)
{
    return !vendor_is_intel() &&
           (strncmp(r->id, "SHA", 3) == 0 || strstr(r->id, "XSAVE") != NULL ||
            (strstr(r->id, "GATHER") != NULL && x->vector == X86_PF + 1));
}

static const char *difference(const struct row *r, struct native_case *x, unsigned vector,
                              struct native_state *s)
{
    if (is_choice(r, x, vector) || is_vendors(r, x)) {
        return NULL;
    }
    if (vector != x->vector) {
        return "exception";
    }
    level(&x->out);
    level(s);
    level_precision(r, x, &x->out.mxcsr, &s->mxcsr);
    if (!is_torn(r, x) && memcmp(s, &x->out, sizeof *s) != 0) {
        return "vector state";
    }
    if (memcmp(model.cpu.r.gpr, x->gpr_out, 4 * 8) != 0 ||
        memcmp(model.cpu.r.gpr + 5, x->gpr_out + 5, 11 * 8) != 0) {
        return "general registers";
    }
    if (((model.cpu.r.rflags ^ x->flags_out) & X86_ARITHMETIC) != 0) {
        return "flags";
    }
    if (!is_torn(r, x) && memcmp(model.memory, x->memory_out, sizeof model.memory) != 0) {
        return "memory";
    }
    return NULL;
}

static void explain(const struct native_case *x, const struct native_state *s,
                    unsigned vector)
{
    print_message("    native trap %d, ours %d; mxcsr %x -> %x/%x fcw %x fsw %x -> %x/%x "
                  "ftw %x -> %x/%x\n    code",
                  (int)x->vector - 1, (int)vector - 1, x->in.mxcsr, x->out.mxcsr,
                  s->mxcsr, x->in.fcw, x->in.fsw, x->out.fsw, s->fsw, x->in.ftw,
                  x->out.ftw, s->ftw);
    for (unsigned n = 0; n < x->code[0]; n++) {
        print_message(" %02x", x->code[1 + n]);
    }
    print_message("\n");
    explain_state(x, s);
    for (unsigned n = 0; n < 16; n++) {
        if (n != 4 && model.cpu.r.gpr[n] != x->gpr_out[n]) {
            print_message("    gpr %u: native %lx, ours %lx\n", n, x->gpr_out[n],
                          model.cpu.r.gpr[n]);
        }
    }
    for (unsigned n = 0; n < NATIVE_ARENA_BYTES; n++) {
        if (model.memory[n] != x->memory_out[n]) {
            print_message("    memory %u: was %02x native %02x, ours %02x\n", n,
                          x->memory_in[n], x->memory_out[n], model.memory[n]);
        }
    }
}

/* Make one case; false: the row has no such form. */
static bool prepare(const struct row *r, bool is_memory, struct native_case *x,
                    struct x86_insn *ret_insn)
{
    struct x86_cell cells[X86_CELLS_MAX];
    unsigned n = x86_cells(r->row, cells);
    struct x86_form f;
    int bytes;

    x86_form_init(&f, X86_CODE64);
    input_make(x);
    input_form(x, (uint64_t)(uintptr_t)native.arena, r->id, r->operands, &f);
    f.is_memory = is_memory;
    while (n > 0 &&
           (cells[n - 1].mode != X86_CODE64 || cells[n - 1].is_memory != is_memory)) {
        n--;
    }
    if (n == 0) {
        return false;
    }
    f.size = cells[n - 1].operand;
    bytes = x86_encode(r->row, &f, x->code + 1);
    if (bytes <= 0) {
        return false;
    }
    x->code[0] = (uint8_t)bytes;
    assert_int_equal(x86_decode(x->code + 1, (unsigned)bytes, X86_CODE64, ret_insn),
                     X86_DECODED);
    return ret_insn->row == r->row && ret_insn->is_memory == is_memory;
}

/* Returns how many cases ran; counts what differed. */
static unsigned run_form(const struct row *r, bool is_memory, unsigned *failed)
{
    static struct x86_insn insns[NATIVE_CASES];
    unsigned count = 0, bad = 0;

    while (count < per_form &&
           prepare(r, is_memory, &native.cases[count], &insns[count])) {
        count++;
    }
    if (count == 0) {
        return 0;
    }
    assert_int_equal(native_run(&native, count), 0);
    for (unsigned n = 0; n < count; n++) {
        struct native_case *x = &native.cases[n];
        struct native_state s;
        const char *what;
        unsigned vector;

        model_load(&model, x);
        vector = model_run(&model, &insns[n]);
        x86_flags_pack(&model.cpu);
        model_save(&model, &s);
        what = difference(r, x, vector, &s);
        if (what != NULL) {
            if (bad < (only != NULL ? 6 : 1)) {
                print_message("  %s %s, case %u: %s\n", r->id, is_memory ? "mem" : "reg",
                              n, what);
                explain(x, &s, vector);
            }
            bad++;
        }
    }
    *failed += bad;
    return count;
}

static void every_row_does_what_the_host_does(void **state)
{
    unsigned failed = 0, without = 0, total = 0, skipped = 0;

    (void)state;
    for (unsigned n = 0; n < ROWS; n++) {
        unsigned before = failed, in_reg, in_mem;

        if (only != NULL && strncmp(rows[n].id, only, strlen(only)) != 0) {
            continue;
        }
        if (!x86_vector_host_has(rows[n].feature)) {
            print_message("%-20s not tested: the host lacks it\n", rows[n].id);
            skipped++;
            continue;
        }
        input_seed(n, getenv("VECTOR_SEED"));
        in_reg = run_form(&rows[n], false, &failed);
        in_mem = run_form(&rows[n], true, &failed);
        if (in_reg + in_mem == 0) {
            print_message("%-20s not tested: no form in 64-bit mode\n", rows[n].id);
            without++;
        }
        print_message("%-20s %4u reg %4u mem%s\n", rows[n].id, in_reg, in_mem,
                      failed != before ? "  DIFFERS" : "");
        total += in_reg + in_mem;
    }
    print_message("%zu rows, %u cases, %u differ; %u rows without a form, %u skipped\n",
                  ROWS, total, failed, without, skipped);
    assert_int_equal(failed, 0);
    assert_int_equal(without, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_does_what_the_host_does),
    };
    int r;

    only = getenv("VECTOR_ROW");
    if (getenv("VECTOR_CASES") != NULL) {
        unsigned n = (unsigned)strtoul(getenv("VECTOR_CASES"), NULL, 10);

        per_form = n < NATIVE_CASES ? n : NATIVE_CASES;
    }
    if (!x86_vector_host_has(X86_F_AVX2)) {
        print_message("skipped: the host has no AVX2\n");
        return 77;
    }
    if (native_start(&native) != 0) {
        return 77;
    }
    model_init(&model, (uint64_t)(uintptr_t)native.arena);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    model_fini(&model);
    native_stop(&native);
    return r;
}
