/* decode_test.c - prefixes, operands and limits of single encodings; truth: the Intel
 * SDM, volume 2A, chapter 2, and what processors were seen to do.
 *
 * rows: CON-09 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "contract/cpu_x86.h"
#include "tests/base/check.h"
#include "virt/isa/x86/x86.h"

static unsigned read_hex(const char *hex, uint8_t *bytes)
{
    unsigned n = 0;

    for (char *end; *hex != '\0'; hex = end) {
        bytes[n++] = (uint8_t)strtoul(hex, &end, 16);
    }
    return n;
}

/* Decode all of it. */
static struct x86_insn decode(enum x86_code_mode mode, const char *hex)
{
    struct x86_insn i;
    uint8_t bytes[64];
    unsigned n = read_hex(hex, bytes);

    if (x86_decode(bytes, n, mode, &i) != X86_DECODED) {
        fail_msg("'%s' is not decoded", hex);
    }
    if (i.row != X86_INVALID && i.length != n) {
        fail_msg("'%s': length %u", hex, i.length);
    }
    return i;
}

static void check_row(enum x86_code_mode mode, const char *hex, enum x86_row row)
{
    struct x86_insn i = decode(mode, hex);

    if (i.row != row) {
        fail_msg("'%s' in mode %u is %s, not %s", hex, mode, x86_rows[i.row].id,
                 x86_rows[row].id);
    }
}

static void the_last_segment_override_counts(void **state)
{
    (void)state;
    assert_int_equal(decode(X86_CODE32, "8b 00").segment, X86_DS);
    assert_int_equal(decode(X86_CODE32, "8b 45 00").segment, X86_SS);
    assert_int_equal(decode(X86_CODE32, "8b 04 24").segment, X86_SS);
    assert_int_equal(decode(X86_CODE32, "64 26 8b 00").segment, X86_ES);
    assert_int_equal(decode(X86_CODE32, "26 64 8b 45 00").segment, X86_FS);
    assert_int_equal(decode(X86_CODE16, "8b 02").segment, X86_SS);
    assert_int_equal(decode(X86_CODE16, "8b 06 34 12").segment, X86_DS);
    assert_int_equal(decode(X86_CODE16, "2e 8b 02").segment, X86_CS);
}

static void in_64_bit_mode_only_fs_and_gs_override(void **state)
{
    (void)state;
    assert_int_equal(decode(X86_CODE64, "2e 8b 00").segment, X86_DS);
    assert_int_equal(decode(X86_CODE64, "36 8b 00").segment, X86_DS);
    assert_int_equal(decode(X86_CODE64, "64 2e 8b 00").segment, X86_FS); /* as executed */
    assert_int_equal(decode(X86_CODE64, "65 64 8b 00").segment, X86_FS);
}

static void rex_counts_directly_before_the_opcode_only(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "48 89 d8");

    (void)state;
    assert_int_equal(i.size, X86_64);
    assert_true(i.has_rex);
    i = decode(X86_CODE64, "48 66 89 d8");
    assert_int_equal(i.size, X86_16);
    assert_false(i.has_rex);
    i = decode(X86_CODE64, "48 41 89 d8");
    assert_int_equal(i.size, X86_32);
    assert_int_equal(i.rm, X86_R8);
    i = decode(X86_CODE64, "66 48 89 d8");
    assert_int_equal(i.size, X86_64);
    check_row(X86_CODE32, "48", X86_R_DEC_ZV);
    assert_true(decode(X86_CODE64, "40 88 e0").has_rex);
}

static void operand_size_by_mode_and_attribute(void **state)
{
    (void)state;
    assert_int_equal(decode(X86_CODE16, "89 d8").size, X86_16);
    assert_int_equal(decode(X86_CODE16, "66 89 d8").size, X86_32);
    assert_int_equal(decode(X86_CODE32, "66 89 d8").size, X86_16);
    assert_int_equal(decode(X86_CODE32, "88 d8").size, X86_8);
    assert_int_equal(decode(X86_CODE64, "50").size, X86_64); /* push: D64 */
    assert_int_equal(decode(X86_CODE64, "66 50").size, X86_16);
    assert_int_equal(decode(X86_CODE64, "48 50").size, X86_64);
    assert_int_equal(decode(X86_CODE64, "66 48 50").size, X86_64);
    assert_int_equal(decode(X86_CODE64, "c3").size, X86_64); /* ret: F64 */
    assert_int_equal(decode(X86_CODE64, "66 c3").size, X86_64);
    assert_int_equal(decode(X86_CODE32, "66 c3").size, X86_16);
}

static void near_branches_ignore_66_in_64_bit_mode(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "66 e9 fe ff ff ff");

    (void)state;
    assert_int_equal(i.size, X86_64);
    assert_true(i.imm == (uint64_t)-2);
    i = decode(X86_CODE32, "66 e9 fe ff");
    assert_int_equal(i.size, X86_16);
    assert_true(i.imm == (uint64_t)-2);
    assert_true(decode(X86_CODE16, "eb 80").imm == (uint64_t)-128);
}

static void f2_and_f3_come_before_66(void **state)
{
    (void)state;
    check_row(X86_CODE64, "0f 58 c1", X86_R_ADDPS);
    check_row(X86_CODE64, "66 0f 58 c1", X86_R_ADDPD);
    check_row(X86_CODE64, "f3 66 0f 58 c1", X86_R_ADDSS);
    check_row(X86_CODE64, "66 f2 0f 58 c1", X86_R_ADDSD);
    check_row(X86_CODE64, "f2 f3 0f 58 c1", X86_R_ADDSS);
    check_row(X86_CODE64, "f3 f2 0f 58 c1", X86_R_ADDSD);
    check_row(X86_CODE64, "90", X86_R_NOP);
    check_row(X86_CODE64, "f3 90", X86_R_PAUSE);
    check_row(X86_CODE64, "41 90", X86_R_XCHG_ZV_RAX);
    check_row(X86_CODE64, "f3 0f b8 c0", X86_R_POPCNT);
    assert_int_equal(decode(X86_CODE64, "66 f3 0f b8 c0").size, X86_16);
    assert_int_equal(decode(X86_CODE64, "66 0f 58 c1").prefix, 0x66);
    assert_int_equal(decode(X86_CODE64, "f3 a4").repeat, 0xf3);
    assert_int_equal(decode(X86_CODE64, "f3 f2 a4").repeat, 0xf2);
    assert_int_equal(decode(X86_CODE64, "f3 0f 58 c1").repeat, 0);
    check_row(X86_CODE64, "f3 0f 38 f0 00", X86_INVALID); /* movbe: no F3 */
    assert_string_equal(x86_rows[decode(X86_CODE64, "f2 0f 38 f0 00").row].mnemonic,
                        "crc32");
    check_row(X86_CODE64, "f3 0f ae 00", X86_INVALID); /* fxsave: NP */
}

static void memory_operands(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "8b 44 8b fc");

    (void)state;
    assert_true(i.is_memory && i.base == X86_RBX && i.index == X86_RCX && i.scale == 2 &&
                i.disp == -4);
    i = decode(X86_CODE64, "43 8b 84 25 00 01 00 00"); /* r13 + r12: 12 is an index */
    assert_true(i.base == X86_R13 && i.index == X86_R12 && i.disp == 0x100);
    i = decode(X86_CODE64, "8b 04 24");
    assert_true(i.base == X86_RSP && i.index == X86_ZERO);
    i = decode(X86_CODE64, "41 8b 45 00");
    assert_true(i.base == X86_R13 && i.segment == X86_DS);
    i = decode(X86_CODE64, "8b 04 25 44 33 22 91");
    assert_true(i.base == X86_ZERO && i.index == X86_ZERO &&
                i.disp == (int32_t)0x91223344);
    i = decode(X86_CODE32, "8b 05 44 33 22 11");
    assert_true(i.base == X86_ZERO && i.disp == 0x11223344);
    i = decode(X86_CODE16, "8b 42 f0");
    assert_true(i.base == X86_RBP && i.index == X86_RSI && i.disp == -16 &&
                i.address == X86_16 && i.segment == X86_SS);
    i = decode(X86_CODE16, "67 8b 44 8b fc");
    assert_true(i.address == X86_32 && i.size == X86_16 && i.index == X86_RCX);
}

static void rip_relative_counts_from_the_first_byte(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "48 8d 05 10 00 00 00");

    (void)state;
    assert_true(i.base == X86_RIP && i.disp == 0x17 && i.address == X86_64);
    i = decode(X86_CODE64, "c7 05 f0 ff ff ff 01 00 00 00"); /* also over the immediate */
    assert_true(i.base == X86_RIP && i.disp == -6 && i.imm == 1);
    i = decode(X86_CODE64, "67 8b 05 00 00 00 00");
    assert_true(i.base == X86_RIP && i.disp == 7 && i.address == X86_32);
    i = decode(X86_CODE64, "8b 05 ff ff ff 7f");
    assert_true(i.disp == 0x80000005);
}

static void immediates(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "48 83 c0 ff");

    (void)state;
    assert_true(i.imm == ~0ull);
    assert_true(decode(X86_CODE64, "48 05 00 00 00 80").imm == 0xffffffff80000000);
    assert_true(decode(X86_CODE64, "48 b8 88 77 66 55 44 33 22 11").imm ==
                0x1122334455667788);
    assert_true(decode(X86_CODE64, "c1 e0 ff").imm == 0xff);
    i = decode(X86_CODE64, "c8 34 12 1f");
    assert_true(i.imm == 0x1234 && i.imm8 == 0x1f);
    i = decode(X86_CODE32, "ea 44 33 22 11 cd ab");
    assert_true(i.imm == 0xabcd11223344);
    i = decode(X86_CODE16, "9a 44 33 cd ab");
    assert_true(i.imm == 0xabcd00003344);
    check_row(X86_CODE64, "9a 44 33 cd ab 00 00", X86_INVALID);
    i = decode(X86_CODE64, "48 a1 88 77 66 55 44 33 22 91");
    assert_true(i.imm == 0x9122334455667788 && !i.is_memory && i.size == X86_64);
    assert_true(decode(X86_CODE64, "67 a1 44 33 22 91").imm == 0x91223344);
    assert_true(decode(X86_CODE16, "a0 22 91").imm == 0x9122);
}

static void vex_gives_its_fields(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "c5 b4 58 c2"); /* vaddps ymm0,ymm9,ymm2 */

    (void)state;
    assert_true(i.row == X86_R_VADDPS_Y && i.vex && i.vvvv == 9 && i.rm == 2 &&
                i.size == 1);
    i = decode(X86_CODE64, "c4 41 30 58 c2");
    assert_true(i.row == X86_R_VADDPS && i.reg == 8 && i.rm == 10 && i.size == 0);
    i = decode(X86_CODE64, "c4 e3 69 4a d9 70"); /* vblendvps xmm3,xmm2,xmm1,xmm7 */
    assert_true(i.imm8 == 7 && i.vvvv == 2 && i.reg == 3 && i.rm == 1);
    i = decode(X86_CODE64,
               "c4 22 91 92 44 b8 10"); /* vgatherdpd xmm8,[rax+xmm15*4+16],xmm13 */
    assert_true(i.is_memory && i.index == X86_ZERO && i.imm8 == 15 && i.scale == 2 &&
                i.base == X86_RAX && i.disp == 16 && i.vvvv == 13 && i.reg == 8);
    i = decode(X86_CODE64, "c4 e2 e8 f2 c1"); /* andn rax,rdx,rcx */
    assert_true(i.row == X86_R_ANDN && i.size == X86_64 && i.vvvv == X86_RDX);
    i = decode(X86_CODE32, "c4 e2 e8 f2 c1"); /* VEX.W has no meaning there */
    assert_true(i.row == X86_R_ANDN && i.size == X86_32);
    check_row(X86_CODE32, "c4 e2 28 f2 c1", X86_R_ANDN); /* nor has vvvv's top bit */
    assert_int_equal(decode(X86_CODE32, "c4 e2 28 f2 c1").vvvv, X86_RDX);
}

static void vex_that_may_not_be(void **state)
{
    static const char
        *const wrong[] =
            {
                "66 c5 f8 58 c2",    "f2 c5 f8 58 c2",
                "f3 c5 f8 58 c2",    "f0 c5 f8 58 c2",
                "48 c5 f8 58 c2",    "c5 b8 77",          /* vzeroupper has no vvvv */
                "c4 e4 78 58 c2 00", "c4 e0 78 58 c2 00", /* no such map */
                "c5 f0 28 c2",       "c5 f9 77",
                "c4 e2 79 92 c2",    /* gather from a register */
                "c4 e2 79 92 00",    /* gather without sib */
                "62 f1 7c 48 58 c2", /* EVEX */
            };

    (void)state;
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        check_row(X86_CODE64, wrong[k], X86_INVALID);
    }
    check_row(X86_CODE64, "40 64 c5 f8 58 c2", X86_R_VADDPS); /* that REX counts not */
    check_row(X86_CODE32, "67 c4 e2 79 92 04", X86_INVALID);
}

static void c4_c5_and_62_are_older_in_legacy_modes(void **state)
{
    (void)state;
    check_row(X86_CODE32, "c4 00", X86_R_LES);
    check_row(X86_CODE32, "c5 45 00", X86_R_LDS);
    check_row(X86_CODE16, "62 07", X86_R_BOUND);
    check_row(X86_CODE32, "c5 f8 58 c2", X86_R_VADDPS);
    check_row(X86_CODE64, "62 07", X86_INVALID);
    check_row(X86_CODE32, "62 c0", X86_INVALID);
}

static void lock_needs_a_destination_in_memory(void **state)
{
    (void)state;
    assert_true(decode(X86_CODE64, "f0 01 00").lock);
    check_row(X86_CODE64, "f0 01 c0", X86_INVALID);
    check_row(X86_CODE64, "f0 03 00", X86_INVALID);
    check_row(X86_CODE64, "f0 39 00", X86_INVALID);
    check_row(X86_CODE64, "f0 90", X86_INVALID);
    check_row(X86_CODE64, "f0 0f c7 08", X86_R_CMPXCHG8B);
    check_row(X86_CODE64, "f0 0f ba 20 01", X86_INVALID); /* bt */
    check_row(X86_CODE64, "f0 0f ba 28 01", X86_R_BTS_EV_IB);
}

static void control_registers_ignore_mod(void **state)
{
    struct x86_insn i = decode(X86_CODE64, "0f 20 05");

    (void)state;
    assert_true(i.row == X86_R_MOV_R_C && !i.is_memory && i.rm == X86_RBP &&
                i.size == X86_64);
    assert_int_equal(decode(X86_CODE64, "44 0f 20 c0").reg, 8);
    assert_int_equal(decode(X86_CODE32, "0f 22 44").size, X86_32);
    check_row(X86_CODE64, "0f 20 c8", X86_INVALID);    /* CR1 */
    check_row(X86_CODE64, "44 0f 23 c0", X86_INVALID); /* DR8 */
    check_row(X86_CODE32, "8e f8", X86_INVALID);       /* no such segment */
    check_row(X86_CODE32, "8c f0", X86_INVALID);
}

static void undocumented_forms_that_processors_execute(void **state)
{
    (void)state;
    check_row(X86_CODE32, "82 c0 01", X86_R_ADD_EB_IB_82);
    check_row(X86_CODE64, "82 c0 01", X86_INVALID);
    check_row(X86_CODE32, "d6", X86_R_SALC);
    assert_string_equal(x86_rows[decode(X86_CODE64, "f6 c8 01").row].mnemonic, "test");
    assert_string_equal(x86_rows[decode(X86_CODE64, "c0 f0 01").row].mnemonic, "shl");
    assert_string_equal(x86_rows[decode(X86_CODE64, "0f 0d c0").row].mnemonic, "nop");
    assert_string_equal(x86_rows[decode(X86_CODE64, "0f 19 04 24").row].mnemonic, "nop");
    assert_string_equal(x86_rows[decode(X86_CODE64, "0f ff c0").row].mnemonic, "ud0");
    assert_string_equal(x86_rows[decode(X86_CODE64, "0f b9 40 00").row].mnemonic, "ud1");
    check_row(X86_CODE64, "f1", X86_R_INT1);
}

static void fifteen_bytes_are_the_limit(void **state)
{
    uint8_t bytes[32];
    struct x86_insn i;

    (void)state;
    memset(bytes, 0x66, sizeof bytes);
    bytes[14] = 0x90;
    assert_int_equal(x86_decode(bytes, 15, X86_CODE32, &i), X86_DECODED);
    assert_int_equal(i.length, 15);
    bytes[14] = 0x66;
    bytes[15] = 0x90;
    assert_int_equal(x86_decode(bytes, 32, X86_CODE32, &i), X86_TOO_LONG);
    assert_int_equal(x86_decode(bytes, 15, X86_CODE32, &i), X86_TOO_LONG);
    assert_int_equal(x86_decode(bytes, 14, X86_CODE32, &i), X86_NEED_MORE);
    bytes[11] = 0x81; /* add [mem], imm: ends behind */
    bytes[12] = 0x80;
    assert_int_equal(x86_decode(bytes, 15, X86_CODE32, &i), X86_TOO_LONG);
    assert_int_equal(x86_decode(bytes, 32, X86_CODE16, &i), X86_TOO_LONG);
}

/* Processors look for the end of what they do not know, and #GP comes first. */
static void the_limit_holds_for_what_is_undefined(void **state)
{
    static const char *const wrong[] = {
        "f2 0f f2 8b 44 33 22 11", /* no such prefix: memory operand */
        "0f 73 c9 00",             /* no such member of the group: immediate */
        "9a 44 33 22 11 cd ab",    /* not in this mode */
        "0f 3b 00 00 00",          /* no such map */
        "66 c5 f8 58 84 88 44 33 22 11",
        "c4 e4 78 58 c2 00",
        "c5 f8 87 44 33 22 11", /* as the legacy map's branch */
    };

    (void)state;
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        uint8_t bytes[64];
        uint8_t tail[32];
        unsigned n = read_hex(wrong[k], tail);
        struct x86_insn i;

        memset(bytes, 0x2e, sizeof bytes);
        memcpy(bytes + X86_INSN_BYTES_MAX - n, tail, n);
        assert_int_equal(x86_decode(bytes, 64, X86_CODE64, &i), X86_DECODED);
        assert_int_equal(i.row, X86_INVALID);
        memset(bytes, 0x2e, sizeof bytes);
        memcpy(bytes + X86_INSN_BYTES_MAX + 1 - n, tail, n);
        assert_int_equal(x86_decode(bytes, 64, X86_CODE64, &i), X86_TOO_LONG);
    }
}

/* Each shorter piece asks for more; the whole, and more behind it, is the same. */
static void a_piece_asks_for_more(void **state)
{
    static const char *const whole[] = {"90",
                                        "48 b8 88 77 66 55 44 33 22 11",
                                        "66 81 84 c8 44 33 22 11 cd ab",
                                        "c4 e3 69 4a 94 88 44 33 22 11 70",
                                        "0f 3a",
                                        "c8 34 12 1f",
                                        "f3 0f 1e fa",
                                        "66 f2 67 64 48 0f 38 f1 84 88 44 33 22 11"};

    (void)state;
    for (size_t k = 0; k < sizeof whole / sizeof whole[0]; k++) {
        uint8_t bytes[64] = {0};
        unsigned n = read_hex(whole[k], bytes);
        struct x86_insn first, again;

        if (strcmp(whole[k], "0f 3a") == 0) {
            assert_int_equal(x86_decode(bytes, n, X86_CODE64, &first), X86_NEED_MORE);
            continue;
        }
        for (unsigned have = 0; have < n; have++) {
            assert_int_equal(x86_decode(bytes, have, X86_CODE64, &first), X86_NEED_MORE);
        }
        assert_int_equal(x86_decode(bytes, n, X86_CODE64, &first), X86_DECODED);
        assert_int_equal(first.length, n);
        memset(bytes + n, 0xcc, sizeof bytes - n);
        assert_int_equal(x86_decode(bytes, 64, X86_CODE64, &again), X86_DECODED);
        assert_memory_equal(&first, &again, sizeof first);
    }
}

#define DECODED 20000000u

struct flipper {
    _Alignas(64) uint8_t bytes[64]; /* 66 or 90, then C3 */
    atomic_bool ends;
};

static void *flip(void *arg)
{
    struct flipper *f = arg;

    for (uint64_t n = 0; n < 1000 * (uint64_t)DECODED && !atomic_load(&f->ends); n++) {
        __atomic_store_n(&f->bytes[0], 0x66, __ATOMIC_RELAXED);
        __atomic_store_n(&f->bytes[0], 0x90, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A byte that changes meanwhile is the old or the new one: NOP, or RET with a prefix. */
static void a_byte_that_is_rewritten_is_read_once(void **state)
{
    static struct flipper f;
    unsigned neither = 0;
    pthread_t t;

    (void)state;
    f.bytes[0] = 0x90;
    f.bytes[1] = 0xc3;
    assert_int_equal(pthread_create(&t, NULL, flip, &f), 0);
    for (unsigned n = 0; n < DECODED; n++) {
        struct x86_insn i;

        x86_decode(f.bytes, sizeof f.bytes, X86_CODE64, &i);
        neither += !(i.row == X86_R_NOP && i.length == 1) &&
                   !(i.row == X86_R_RET && i.length == 2);
    }
    atomic_store(&f.ends, true);
    pthread_join(t, NULL);
    assert_int_equal(neither, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_segment_override_counts),
        cmocka_unit_test(in_64_bit_mode_only_fs_and_gs_override),
        cmocka_unit_test(rex_counts_directly_before_the_opcode_only),
        cmocka_unit_test(operand_size_by_mode_and_attribute),
        cmocka_unit_test(near_branches_ignore_66_in_64_bit_mode),
        cmocka_unit_test(f2_and_f3_come_before_66),
        cmocka_unit_test(memory_operands),
        cmocka_unit_test(rip_relative_counts_from_the_first_byte),
        cmocka_unit_test(immediates),
        cmocka_unit_test(vex_gives_its_fields),
        cmocka_unit_test(vex_that_may_not_be),
        cmocka_unit_test(c4_c5_and_62_are_older_in_legacy_modes),
        cmocka_unit_test(lock_needs_a_destination_in_memory),
        cmocka_unit_test(control_registers_ignore_mod),
        cmocka_unit_test(undocumented_forms_that_processors_execute),
        cmocka_unit_test(fifteen_bytes_are_the_limit),
        cmocka_unit_test(the_limit_holds_for_what_is_undefined),
        cmocka_unit_test(a_piece_asks_for_more),
        cmocka_unit_test(a_byte_that_is_rewritten_is_read_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
