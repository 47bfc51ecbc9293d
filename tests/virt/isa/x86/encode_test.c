/* encode_test.c - what is encoded from a row is decoded to that row and its operands.
 *
 * rows: CON-09 */
#include <stdio.h>
#include <string.h>

#include "contract/cpu_x86.h"
#include "tests/base/check.h"
#include "virt/isa/x86/encode.h"

#define FORMS_PER_CELL 40

static uint64_t random_bits(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void vary_memory(struct x86_form *f, uint64_t *state)
{
    static const uint8_t pairs[8][2] = {{X86_RBX, X86_RSI},   {X86_RBX, X86_RDI},
                                        {X86_RBP, X86_RSI},   {X86_RBP, X86_RDI},
                                        {X86_RSI, X86_ZERO},  {X86_RDI, X86_ZERO},
                                        {X86_ZERO, X86_ZERO}, {X86_RBX, X86_ZERO}};
    static const int64_t disps[] = {0, 1, -1, 127, -128, 128, -129, 0x7fff, -0x8000};
    bool in16 = f->address == X86_16 || (f->address == X86_8 && f->mode == X86_CODE16);
    unsigned registers = f->mode == X86_CODE64 ? 16 : 8;

    f->disp = disps[random_bits(state) % (sizeof disps / sizeof disps[0])];
    if (in16) {
        const uint8_t *pair = pairs[random_bits(state) % 8];

        f->base = pair[0];
        f->index = pair[1];
        return;
    }
    f->base = (uint8_t)(random_bits(state) % registers);
    f->index = (uint8_t)(random_bits(state) % registers);
    f->scale = random_bits(state) % 4;
    if (f->index == X86_RSP) {
        f->index = X86_ZERO;
        f->scale = 0;
    }
    if (random_bits(state) % 8 == 0) {
        f->base = X86_ZERO;
    } else if (random_bits(state) % 8 == 0 && f->mode == X86_CODE64) {
        f->base = X86_RIP;
        f->index = X86_ZERO;
        f->scale = 0;
        f->disp = (int32_t)random_bits(state) / 2;
    } else if (random_bits(state) % 4 == 0) {
        f->disp = (int32_t)random_bits(state);
    }
}

/* Whether an operand of the row begins with one of these letters. */
static bool has_letter(uint16_t row, const char *letters)
{
    const char *text = x86_rows[row].operands;

    for (const char *p = text; *p != '\0'; p++) {
        if ((p == text || p[-1] == ',') && strchr(letters, *p) != NULL && p[1] >= 'a') {
            return true;
        }
    }
    return false;
}

static void check_registers(const struct x86_cell *cell, const struct x86_form *f,
                            const struct x86_insn *i)
{
    bool is_eight = has_letter(cell->row, "PS"); /* REX.R is ignored */

    if (has_letter(cell->row, "GVCDZ") || (is_eight && f->reg < 8)) {
        assert_int_equal(i->reg, f->reg);
    }
    if (!f->is_memory && has_letter(cell->row, "EWRU")) {
        assert_int_equal(i->rm, f->rm);
    }
    if (has_letter(cell->row, "HB")) {
        assert_int_equal(i->vvvv, f->vvvv);
    }
    if (has_letter(cell->row, "J") &&
        strstr(x86_rows[cell->row].encoding, "cb") != NULL) {
        assert_true(i->imm == (uint64_t)(int8_t)f->imm);
    }
    if (strstr(x86_rows[cell->row].operands, ",Ib") != NULL &&
        !has_letter(cell->row, "J")) {
        assert_true(
            (strncmp(x86_rows[cell->row].operands, "Iw", 2) == 0 ? i->imm8 : i->imm) ==
            (uint8_t)(strncmp(x86_rows[cell->row].operands, "Iw", 2) == 0 ? f->imm8
                                                                          : f->imm));
    }
}

/* What was asked for is what is decoded. */
static void check_form(const struct x86_cell *cell, const struct x86_form *f)
{
    uint8_t bytes[X86_INSN_BYTES_MAX];
    int n = x86_encode((enum x86_row)cell->row, f, bytes);
    struct x86_insn i;

    if (n == 0) { /* a REX register outside 64-bit mode, an index that is none ... */
        return;
    }
    assert_int_equal(x86_decode(bytes, (unsigned)n, (enum x86_code_mode)f->mode, &i),
                     X86_DECODED);
    assert_int_equal(i.row, cell->row);
    assert_int_equal(i.length, n);
    assert_int_equal(i.size, cell->size);
    assert_int_equal(i.is_memory, f->is_memory);
    assert_int_equal(i.mode, f->mode);
    assert_int_equal(i.lock, f->lock);
    check_registers(cell, f, &i);
    if (f->is_memory) {
        assert_int_equal(i.base, f->base);
        assert_int_equal(i.index, f->index);
        assert_int_equal(i.scale, f->scale);
        assert_true(i.disp == f->disp);
    }
    if (f->segment != 0 && (f->mode != X86_CODE64 || f->segment >= 0x64)) {
        static const uint8_t segments[] = {X86_ES, X86_CS, X86_SS,
                                           X86_DS, X86_FS, X86_GS};

        assert_int_equal(
            i.segment,
            segments[f->segment >= 0x64 ? f->segment - 0x60 : f->segment >> 3 & 3]);
    }
}

/* Every way to fill in the operands of a cell, some at random. */
static unsigned check_cell(const struct x86_cell *cell, uint64_t *state)
{
    static const uint8_t overrides[] = {0, 0, 0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    unsigned made = 0;

    for (unsigned n = 0; n < FORMS_PER_CELL; n++) {
        struct x86_form f;
        uint8_t bytes[X86_INSN_BYTES_MAX];
        bool is_gather;

        x86_form_of_cell(&f, cell);
        is_gather = strstr(x86_rows[cell->row].encoding, "vsib") != NULL;
        f.reg = random_bits(state) % (f.mode == X86_CODE64 ? 16 : 8);
        f.rm = random_bits(state) % (f.mode == X86_CODE64 ? 16 : 8);
        f.vvvv = random_bits(state) % (f.mode == X86_CODE64 ? 16 : 8);
        f.imm = random_bits(state);
        f.has_rex = f.mode == X86_CODE64 && random_bits(state) % 4 == 0;
        if (cell->is_memory && !is_gather) {
            f.address = random_bits(state) % 4 == 0 ? X86_32 : X86_8;
            vary_memory(&f, state);
            f.lock = x86_rows[cell->row].attributes & X86_A_LOCK &&
                     random_bits(state) % 4 == 0;
            f.segment = overrides[random_bits(state) % sizeof overrides];
        }
        made += x86_encode((enum x86_row)cell->row, &f, bytes) != 0;
        check_form(cell, &f);
    }
    return made;
}

static void every_row_has_a_form_and_comes_back(void **state)
{
    uint64_t seed = 88172645463325252u;
    unsigned cells = 0;
    unsigned forms = 0;

    (void)state;
    for (unsigned row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        struct x86_cell found[X86_CELLS_MAX];
        unsigned n = x86_cells((enum x86_row)row, found);

        if (n == 0) {
            fail_msg("%s (%s) cannot be encoded", x86_rows[row].id,
                     x86_rows[row].encoding);
        }
        for (unsigned k = 0; k < n; k++) {
            unsigned made = check_cell(&found[k], &seed);

            if (made == 0) {
                fail_msg("%s (%s): a cell without forms", x86_rows[row].id,
                         x86_rows[row].encoding);
            }
            forms += made;
        }
        cells += n;
    }
    print_message("%u rows, %u cells, %u forms\n", X86_ROW_COUNT - 1, cells, forms);
    assert_true(forms > cells * FORMS_PER_CELL / 2);
}

static int encode(enum x86_row row, const struct x86_form *f, const char *expected)
{
    uint8_t bytes[X86_INSN_BYTES_MAX];
    char text[3 * X86_INSN_BYTES_MAX + 1] = "";
    int n = x86_encode(row, f, bytes);

    for (int k = 0; k < n; k++) {
        (void)snprintf(text + 3 * k, sizeof text - 3 * (size_t)k, "%02x ", bytes[k]);
    }
    assert_string_equal(text, expected);
    return n;
}

static void bytes_are_those_of_the_manual(void **state)
{
    struct x86_form f;

    (void)state;
    x86_form_init(&f, X86_CODE64);
    f.reg = X86_RBX;
    encode(X86_R_ADD_EV_GV, &f, "01 d8 ");
    f.size = X86_64;
    f.rm = X86_R9;
    encode(X86_R_ADD_EV_GV, &f, "49 01 d9 ");
    f.size = X86_16;
    encode(X86_R_ADD_EV_GV, &f, "66 41 01 d9 ");
    f.size = X86_32;
    f.is_memory = true;
    f.base = X86_RBP;
    f.lock = true;
    encode(X86_R_ADD_EV_GV, &f, "f0 01 5d 00 ");
    f.base = X86_R12;
    f.segment = 0x65;
    encode(X86_R_ADD_EV_GV, &f, "f0 65 41 01 1c 24 ");
    f.base = X86_RIP;
    f.disp = 0x20;
    f.segment = 0;
    f.lock = false;
    encode(X86_R_ADD_EV_GV, &f, "01 1d 1a 00 00 00 ");
    f.imm = 0x11;
    encode(X86_R_ADD_EV_IS, &f, "83 05 19 00 00 00 11 ");
}

static void forms_that_a_row_has_not_are_refused(void **state)
{
    uint8_t bytes[X86_INSN_BYTES_MAX];
    struct x86_form f;

    (void)state;
    x86_form_init(&f, X86_CODE32);
    f.reg = X86_R8; /* no REX there */
    assert_int_equal(x86_encode(X86_R_ADD_EV_GV, &f, bytes), 0);
    f.reg = 0;
    f.size = X86_64;
    assert_int_equal(x86_encode(X86_R_ADD_EV_GV, &f, bytes), 0);
    f.size = X86_32;
    f.lock = true; /* no memory */
    assert_int_equal(x86_encode(X86_R_ADD_EV_GV, &f, bytes), 0);
    f.lock = false;
    f.is_memory = true;
    f.base = X86_RAX;
    assert_int_equal(x86_encode(X86_R_MOV_R_C, &f, bytes), 0);
    f.address = X86_16; /* [ax] */
    assert_int_equal(x86_encode(X86_R_ADD_EV_GV, &f, bytes), 0);
    x86_form_init(&f, X86_CODE64);
    assert_int_equal(x86_encode(X86_R_PUSHA, &f, bytes), 0);
    assert_int_equal(x86_encode(X86_INVALID, &f, bytes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_form_and_comes_back),
        cmocka_unit_test(bytes_are_those_of_the_manual),
        cmocka_unit_test(forms_that_a_row_has_not_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
