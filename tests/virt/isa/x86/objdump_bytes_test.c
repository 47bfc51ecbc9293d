/* objdump_bytes_test.c - bytes at random, and directed at prefixes and memory forms,
 * in each mode: lengths as objdump's wherever it sees an instruction.
 *
 * rows: CON-09 */
#include <stdlib.h>
#include <string.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/slots.h"
#include "virt/isa/x86/x86.h"

#define SLOTS_EACH   10000 /* and so many times more in the long run: */
#define LONG_FACTOR  20
#define STRIDE_BYTES 32 /* so many nops bring objdump back into step */
#define SHOWN_MOST   40

static uint64_t random_bits(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Half of the slots begin with prefixes that mean something. */
static void fill(struct slots *s, uint64_t seed)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x64,
                                       0x2e, 0x48, 0x41, 0x0f, 0xc4};

    for (size_t n = 0; n < s->count; n++) {
        uint8_t *slot = s->bytes + n * STRIDE_BYTES;
        unsigned directed = n % 2 ? (unsigned)(random_bits(&seed) % 3) : 0;

        memset(slot, 0x90, STRIDE_BYTES);
        for (unsigned k = 0; k < X86_INSN_BYTES_MAX; k++) {
            slot[k] = k < directed ? prefixes[random_bits(&seed) % sizeof prefixes]
                                   : (uint8_t)(random_bits(&seed) >> 32);
        }
    }
}

/* Prefixes that the processor takes as part of the instruction and objdump prints on
 * a line of their own; and what native_maps_test.c has the processor decide. */
static bool is_kept(const struct objdump_line *o, const char *text,
                    const struct x86_insn *i, enum x86_code_mode mode)
{
    if (mode == X86_CODE64 && x86_rows[i->row].attributes & X86_A_F64 &&
        memchr(o->bytes, 0x66, o->length) != NULL) {
        return true; /* near branches: AMD's offset of 16 bits */
    }
    return i->row == X86_R_FWAIT || strstr(text, "lock ") != NULL ||
           i->row == X86_INVALID;
}

static void compare(const struct slots *s, enum x86_code_mode mode, unsigned *differ,
                    unsigned *same)
{
    FILE *f = objdump_bytes(s->bytes, s->count * STRIDE_BYTES, mode);
    struct objdump_line o;

    assert_non_null(f);
    while (objdump_next(f, &o)) {
        const uint8_t *slot = s->bytes + o.at;
        char text[OBJDUMP_TEXT_BYTES];
        struct x86_insn i;

        if (o.at % STRIDE_BYTES != 0) {
            continue;
        }
        (void)snprintf(text, sizeof text, "%s", o.text);
        objdump_normalise(text);
        if (slots_is_nothing(&o, text) || slots_is_foreign(&o, text) ||
            x86_decode(slot, STRIDE_BYTES, mode, &i) == X86_TOO_LONG ||
            is_kept(&o, text, &i, mode)) {
            continue;
        }
        *same += i.length == o.length;
        if (i.length != o.length && (*differ)++ < SHOWN_MOST) {
            print_message("mode %u: %u bytes, not %u: %s, %s", mode, i.length, o.length,
                          x86_rows[i.row].id, o.text);
        }
    }
    objdump_close(f);
}

static size_t slots_each = SLOTS_EACH;

static void check_mode(enum x86_code_mode mode)
{
    struct slots s = {.count = slots_each, .stride = STRIDE_BYTES};
    unsigned differ = 0;
    unsigned same = 0;

    if (!objdump_is_there()) {
        print_message("no objdump\n");
        skip();
    }
    s.bytes = malloc(s.count * STRIDE_BYTES);
    assert_non_null(s.bytes);
    fill(&s, 0x9e3779b97f4a7c15u + mode);
    compare(&s, mode, &differ, &same);
    free(s.bytes);
    print_message("mode %u: %u lengths agree, %u differ\n", mode, same, differ);
    assert_true(same > s.count / 2);
    assert_int_equal(differ, 0);
}

static void lengths_in_16_bit_mode(void **state)
{
    (void)state;
    check_mode(X86_CODE16);
}

static void lengths_in_32_bit_mode(void **state)
{
    (void)state;
    check_mode(X86_CODE32);
}

static void lengths_in_64_bit_mode(void **state)
{
    (void)state;
    check_mode(X86_CODE64);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_in_16_bit_mode),
        cmocka_unit_test(lengths_in_32_bit_mode),
        cmocka_unit_test(lengths_in_64_bit_mode),
    };

    if (argc > 1 && strcmp(argv[1], "long") == 0) {
        slots_each *= LONG_FACTOR;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
