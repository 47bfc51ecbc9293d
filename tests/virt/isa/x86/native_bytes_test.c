/* native_bytes_test.c - prefixes and bytes at random, in 64-bit and 32-bit mode: what the decoder
 * calls invalid raises #UD on the processor that runs the test, what it decodes does
 * not, and what runs to its end has the decoded length.
 *
 * Left out: what would leave or break the child, and, of what has no row, the opcodes
 * where newer processors have more than is promised.
 *
 * rows: CON-09 */
#include <string.h>

#include "tests/base/check.h"
#include "tests/base/vendor.h"
#include "tests/virt/isa/x86/native.h"
#include "virt/isa/x86/x86.h"

#define ENCODINGS   12000 /* and so many times more in the long run: */
#define LONG_FACTOR 20
#define SHOWN_MOST  40

static size_t encodings = ENCODINGS;

static uint64_t random_bits(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Some prefixes, now and then more than fit, then bytes with many 0F among them. */
static void fill(uint8_t *bytes, uint64_t *state)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x48, 0x41,
                                       0x4f, 0xf0, 0xc4, 0xc5, 0x0f, 0xf0, 0x40};
    unsigned directed = random_bits(state) % 5;
    bool has_escapes = random_bits(state) % 2;

    if (random_bits(state) % 50 == 0) {
        directed = 8 + random_bits(state) % 8;
    }
    for (unsigned k = 0; k < NATIVE_BYTES; k++) {
        uint64_t r = random_bits(state);

        if (k < directed) {
            bytes[k] = prefixes[(r >> 20) % sizeof prefixes];
        } else {
            bytes[k] = has_escapes && (r >> 40) % 3 == 0 ? 0x0f : (uint8_t)(r >> 32);
        }
    }
}

static bool is_dangerous(const struct x86_insn *i)
{
    static const char *const names[] = {"sys", "int", "wr",  "lfs",    "lgs",
                                        "lss", "les", "lds", "xrstor", "ud"};
    const struct x86_row_info *row = &x86_rows[i->row];

    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        if (strncmp(row->mnemonic, names[k], strlen(names[k])) == 0) {
            return true;
        }
    }
    return row->attributes & X86_A_ENDS || row->privilege != X86_USER ||
           strncmp(row->operands, "Sw", 2) == 0 || strcmp(row->mnemonic, "pop") == 0 ||
           !native_has(row->feature);
}

static bool is_prefix(uint8_t b, enum x86_code_mode mode)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36,
                                       0x26, 0x3e, 0x64, 0x65, 0xf0};

    return memchr(prefixes, b, sizeof prefixes) != NULL ||
           (mode == X86_CODE64 && (b & 0xf0) == 0x40);
}

/* Of what has no row: opcodes that other processors may know. */
static bool may_be_newer(const uint8_t *b, enum x86_code_mode mode)
{
    static const uint8_t two[] = {0x01, 0x05, 0x0f, 0x1e, 0x34,
                                  0x37, 0x38, 0x3a, 0xae, 0xc7};
    static const uint8_t one[] = {0x62, 0x8f, 0xc6, 0xc7};
    unsigned n = 0;

    while (n < NATIVE_BYTES - 5 && is_prefix(b[n], mode)) {
        n++;
    }
    if (b[n] == 0xc4 || b[n] == 0xc5) {
        unsigned opcode = b[n] == 0xc4 ? b[n + 3] : b[n + 2];

        return (n == 0 && b[n] == 0xc4 && (b[1] & 31) != 1) || opcode >> 4 == 4 ||
               opcode >> 4 == 9;
    }
    return memchr(one, b[n], sizeof one) != NULL ||
           (b[n] == 0x0f && memchr(two, b[n + 1], sizeof two) != NULL);
}

/* Behind a decoded instruction stand breakpoints. */
static void prepare(struct native *one, enum x86_code_mode mode, uint64_t *state)
{
    struct x86_insn i;
    enum x86_decode_result r;
    bool leave_out;

    fill(one->bytes, state);
    r = x86_decode(one->bytes, NATIVE_BYTES, mode, &i);
    if (r == X86_DECODED && i.row != X86_INVALID) {
        memset(one->bytes + i.length, 0xcc, NATIVE_BYTES - i.length);
        leave_out = is_dangerous(&i);
    } else {
        leave_out = r == X86_TOO_LONG || may_be_newer(one->bytes, mode);
    }
    one->verdict = leave_out ? NATIVE_LEFT_OUT : NATIVE_UNTRIED;
}

static bool agrees(const struct native *one, enum x86_code_mode mode,
                   struct x86_insn *ret_insn)
{
    (void)x86_decode(one->bytes, NATIVE_BYTES, mode, ret_insn);
    if ((one->verdict == NATIVE_UNDEFINED) != (ret_insn->row == X86_INVALID)) {
        return false;
    }
    return ret_insn->row == X86_INVALID || one->length == 0 ||
           one->length == ret_insn->length;
}

static void say_difference(const struct native *one, const struct x86_insn *i)
{
    for (unsigned k = 0; k < NATIVE_BYTES; k++) {
        print_message("%02x ", one->bytes[k]);
    }
    print_message(": %s of %u bytes, but %s %u\n", x86_rows[i->row].id, i->length,
                  one->verdict == NATIVE_UNDEFINED ? "undefined" : "executed",
                  one->length);
}

static void check_mode(enum x86_code_mode mode)
{
    struct native *all = native_make(encodings);
    uint64_t seed = 0x2545f4914f6cdd1du;
    unsigned invalid = 0;
    unsigned whole = 0;
    unsigned differ = 0;

    for (size_t n = 0; n < encodings; n++) {
        prepare(&all[n], mode, &seed);
    }
    native_run(all, encodings, mode);
    for (size_t n = 0; n < encodings; n++) {
        struct x86_insn i;

        if (all[n].verdict == NATIVE_LEFT_OUT) {
            continue;
        }
        invalid += all[n].verdict == NATIVE_UNDEFINED;
        whole += all[n].length != 0;
        if (!agrees(&all[n], mode, &i) && differ++ < SHOWN_MOST) {
            say_difference(&all[n], &i);
        }
    }
    native_free(all, encodings);
    print_message("%zu encodings: %u undefined, %u lengths, %u differ\n", encodings,
                  invalid, whole, differ);
    assert_true(invalid > encodings / 10 && whole > encodings / 10);
    assert_int_equal(differ, 0);
}

static void bytes_in_64_bit_mode(void **state)
{
    (void)state;
    if (!vendor_is_intel()) { /* which encodings there are */
        print_message(VENDOR_REASON);
        skip();
    }
    check_mode(X86_CODE64);
}

static void bytes_in_32_bit_mode(void **state)
{
    (void)state;
    if (!vendor_is_intel()) { /* which encodings there are */
        print_message(VENDOR_REASON);
        skip();
    }
    check_mode(X86_CODE32);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_in_64_bit_mode),
        cmocka_unit_test(bytes_in_32_bit_mode),
    };

    if (argc > 1 && strcmp(argv[1], "long") == 0) {
        encodings *= LONG_FACTOR;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
