/* objdump_binaries_test.c - what compilers made, against objdump: the length of
 * every instruction, mnemonic and operands.
 *
 * rows: CON-09 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/objdump.h"
#include "virt/isa/x86/x86.h"

#define SHOWN_MOST   20
#define NEAR_LINES   100 /* this close to a table, lines are not compared */
#define WINDOW_LINES 128

/* What a listing had. */
struct tally {
    unsigned lines; /* read */
    unsigned done;
    unsigned foreign; /* of extensions that no row has, or no code at all */
    unsigned differ;
};

/* FMA4: four operands, and no 132, 213 or 231 in the name. */
static bool is_fma4(const char *text)
{
    return (strncmp(text, "vfm", 3) == 0 || strncmp(text, "vfnm", 4) == 0) &&
           strcspn(text, " ") < strcspn(text, "123");
}

static bool is_lock_wrong(const char *rest)
{
    static const char *const lockable[] = {"add", "adc", "and", "bt",  "cmpxchg",
                                           "dec", "inc", "neg", "not", "or",
                                           "sbb", "sub", "x"};

    for (size_t k = 0; k < sizeof lockable / sizeof lockable[0]; k++) {
        if (strncmp(rest, lockable[k], strlen(lockable[k])) == 0) {
            const char *blank = strchr(rest, ' ');
            const char *bracket = strchr(rest, '[');

            return bracket == NULL ||
                   memchr(blank, ',', (size_t)(bracket - blank)) != NULL;
        }
    }
    return true;
}

/* Tables between functions, listed as if they were code: prefixes without an
 * instruction, LOCK where it may not stand, registers that do not exist. */
static bool is_data(const struct objdump_line *o, const char *normal)
{
    return o->is_bad || normal[0] == '\0' || strchr(normal, '?') != NULL ||
           (strncmp(normal, "lock ", 5) == 0 && is_lock_wrong(normal + 5));
}

/* AMD's XOP, where POP would be */
static bool is_xop(const struct objdump_line *o)
{
    return o->bytes[0] == 0x8f && o->text[0] == 'v';
}

/* AVX-512, transactions, protection keys, shadow stacks: not in the feature list.
 * Every EVEX and every opmask instruction is one. */
static bool is_foreign(const struct objdump_line *o)
{
    static const char *const names[] = {
        "kmov",      "kor",       "kand",   "knot",      "kxor",   "kxnor",    "kunpck",
        "ktest",     "kshift",    "kadd",   "xbegin",    "xabort", "xend",     "xtest",
        "rdpkru",    "wrpkru",    "rdssp",  "incssp",    "tpause", "umonitor", "umwait",
        "rdpru",     "tilerel",   "enqcmd", "serialize", "movdir", "clwb",     "ptwrite",
        "xsusldtrk", "xresldtrk", "vmfunc"};

    if (o->bytes[0] == 0x62 || o->bytes[1] == 0x62 || is_fma4(o->text) || is_xop(o)) {
        return true;
    }
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        if (strncmp(o->text, names[k], strlen(names[k])) == 0) {
            return true;
        }
    }
    return false;
}

/* Branch targets: objdump prints them without 0x when it knows a symbol. */
static bool same_text(const char *a, const char *b)
{
    const char *x = strchr(a, ' ');
    const char *y = strchr(b, ' ');

    if (strcmp(a, b) == 0) {
        return true;
    }
    return x != NULL && y != NULL && x - a == y - b &&
           memcmp(a, b, (size_t)(x - a)) == 0 && strtoull(x, NULL, 16) != 0 &&
           strtoull(x, NULL, 16) == strtoull(y, NULL, 16);
}

/* fstcw and its like are fwait and fnstcw. */
static void split_wait(struct objdump_line *o)
{
    if (o->bytes[0] == 0x9b && o->length > 1 && o->text[0] == 'f') {
        memmove(o->bytes, o->bytes + 1, --o->length);
        memmove(o->text + 2, o->text + 1, strlen(o->text));
        o->text[1] = 'n';
        o->at++;
    }
}

static void compare(struct objdump_line *o, struct tally *t)
{
    char text[OBJDUMP_TEXT_BYTES];
    struct x86_insn i;
    enum x86_decode_result r = x86_decode(o->bytes, o->length, X86_CODE64, &i);

    (void)x86_disassemble(&i, o->at, text, sizeof text);
    objdump_normalise(text);
    if (r == X86_DECODED && i.row != X86_INVALID && i.length == o->length &&
        same_text(o->text, text)) {
        return;
    }
    if (t->differ++ < SHOWN_MOST) {
        print_message("%" PRIx64 ": '%s', %u bytes, but '%s', %u bytes\n", o->at, o->text,
                      o->length, text, i.length);
    }
}

/* Lines are compared once it is known that no table is near. */
static void compare_listing(FILE *f, struct tally *t)
{
    struct objdump_line *lines = calloc(WINDOW_LINES, sizeof *lines);
    unsigned last_data = 0; /* counted from 1 */

    assert_non_null(lines);
    for (bool more = true; more || t->done < t->lines;) {
        struct objdump_line *o = &lines[t->lines % WINDOW_LINES];

        more = more && objdump_next(f, o);
        if (more) {
            t->lines++;
            split_wait(o);
            objdump_normalise(o->text);
            last_data = is_data(o, o->text) ? t->lines : last_data;
        }
        if (more && t->lines < t->done + NEAR_LINES) {
            continue;
        }
        o = &lines[t->done++ % WINDOW_LINES];
        if (is_foreign(o) || (last_data != 0 && t->done <= last_data + NEAR_LINES)) {
            t->foreign++;
        } else {
            compare(o, t);
        }
    }
    free(lines);
}

static void check_file(const char *path, unsigned least)
{
    struct tally t = {0};
    FILE *f = objdump_is_there() ? objdump_file(path) : NULL;

    if (f == NULL) {
        print_message("no objdump, or no %s\n", path);
        skip();
    }
    compare_listing(f, &t);
    objdump_close(f);
    print_message("%s: %u instructions, %u foreign, %u differ\n", path, t.lines,
                  t.foreign, t.differ);
    assert_true(t.lines > least);
    assert_true(t.foreign * 8 < t.lines); /* most of it is compared */
    assert_int_equal(t.differ, 0);
}

static void busybox_reads_the_same(void **state)
{
    (void)state;
    check_file("/bin/busybox", 50000);
}

static void libc_reads_the_same(void **state)
{
    (void)state;
    check_file("/lib/x86_64-linux-gnu/libc.so.6", 100000);
}

static void libm_reads_the_same(void **state)
{
    (void)state;
    check_file("/lib/x86_64-linux-gnu/libm.so.6", 50000);
}

/* Hand-written vector code, with tables between the functions. */
static void libcrypto_reads_the_same(void **state)
{
    (void)state;
    check_file("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 100000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libm_reads_the_same),
    };
    const struct CMUnitTest long_tests[] = {
        cmocka_unit_test(busybox_reads_the_same),
        cmocka_unit_test(libc_reads_the_same),
        cmocka_unit_test(libcrypto_reads_the_same),
    };

    if (argc > 1 && strcmp(argv[1], "long") == 0) {
        return cmocka_run_group_tests(long_tests, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
