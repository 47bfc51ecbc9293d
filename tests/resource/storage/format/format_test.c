/* format_test.c - images that QEMU made read as it reads them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/format/format.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/format/image.h"

#define SIZE_BYTES (40u << 20)

static const struct kind {
    const char *format;  /* our name */
    const char *theirs;  /* QEMU's name */
    const char *options; /* for -o */
    const char *suffix;
    bool histories; /* QEMU writes to it */
} kinds[] = {
    {"vmdk", "vmdk", "subformat=monolithicSparse", "vmdk", true},
    {"vmdk", "vmdk", "subformat=monolithicSparse,zeroed_grain=on", "vmdk", true},
    {"vmdk", "vmdk", "subformat=streamOptimized", "vmdk", false},
    {"vmdk", "vmdk", "subformat=monolithicFlat", "vmdk", true},
    {"vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", "vmdk", true},
    {"vmdk", "vmdk", "subformat=twoGbMaxExtentFlat", "vmdk", true},
    {"vhdx", "vhdx", "subformat=dynamic", "vhdx", true},
    {"vhdx", "vhdx", "subformat=dynamic,block_size=2M,block_state_zero=off", "vhdx",
     true},
    {"vhdx", "vhdx", "subformat=fixed", "vhdx", true},
    {"vdi", "vdi", "static=off", "vdi", true},
    {"vdi", "vdi", "static=on", "vdi", true},
    {"vhd", "vpc", "subformat=dynamic,force_size=on", "vhd", true},
    {"vhd", "vpc", "subformat=fixed,force_size=on", "vhd", true},
};

#define KINDS (sizeof kinds / sizeof kinds[0])

struct task {
    struct images *images;
    const struct kind *kind;
    const char *name;
};

static int read_all(void *arg)
{
    struct task *t = arg;
    struct blk *disk = NULL;
    struct err e = {0};

    if (images_open(t->images, t->kind->format, t->name, true, &disk, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
    }
    must(disk != NULL);
    must(blk_size(disk) == SIZE_BYTES && blk_is_read_only(disk));
    images_compare(t->images, disk, "a.raw");
    blk_drop(disk);
    return 0;
}

static void images_that_qemu_made_read_the_same(void **state)
{
    struct images *s = *state;

    if (!images_have_qemu(s)) {
        skip();
    }
    images_fill(s, "a.raw", SIZE_BYTES, 5);
    for (unsigned i = 0; i < KINDS; i++) {
        char name[64];
        struct task t = {s, &kinds[i], name};

        (void)snprintf(name, sizeof name, "%u.%s", i, kinds[i].suffix);
        assert_int_equal(images_shell(s, "qemu-img convert -f raw -O %s -o %s a.raw %s",
                                      kinds[i].theirs, kinds[i].options, name),
                         0);
        assert_int_equal(loop_do(s->loop, read_all, &t), 0);
        assert_int_equal(images_shell(s, "rm %u*", i), 0);
    }
}

/* The same commands for the image and for a raw file. */
static void write_history(struct images *s, const struct kind *k, const char *name,
                          uint64_t seed)
{
    char commands[3000];
    unsigned n = 0;

    for (unsigned i = 0; i < 25; i++) {
        uint64_t at = suite_random(&seed) % (SIZE_BYTES / 512) * 512;
        uint64_t bytes = (suite_random(&seed) % (i % 5 == 0 ? 9000 : 300) + 1) * 512;

        bytes = bytes < SIZE_BYTES - at ? bytes : SIZE_BYTES - at;
        n += (unsigned)snprintf(commands + n, sizeof commands - n,
                                " -c 'write %s %u %llu %llu'",
                                suite_random(&seed) % 5 == 0 ? "-z" : "-P", /* zeros */
                                i + 1, (unsigned long long)at, (unsigned long long)bytes);
    }
    for (char *c = commands; (c = strstr(c, "-z ")) != NULL; c++) {
        char *digits = c + 3; /* "-z" takes no pattern */

        while (*digits != ' ') {
            *digits++ = ' ';
        }
    }
    assert_int_equal(images_shell(s, "qemu-io -f raw %s a.raw >>log", commands), 0);
    assert_int_equal(
        images_shell(s, "qemu-io -f %s %s %s >>log", k->theirs, commands, name), 0);
}

static void histories_that_qemu_wrote_read_the_same(void **state)
{
    struct images *s = *state;

    if (!images_have_qemu(s)) {
        skip();
    }
    for (unsigned i = 0; i < KINDS; i++) {
        char name[64];
        struct task t = {s, &kinds[i], name};

        if (!kinds[i].histories) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%u.%s", i, kinds[i].suffix);
        assert_int_equal(
            images_shell(s, "rm -f a.raw && truncate -s %u a.raw", SIZE_BYTES), 0);
        assert_int_equal(images_shell(s, "qemu-img create -f %s -o %s %s %u >>log",
                                      kinds[i].theirs, kinds[i].options, name,
                                      SIZE_BYTES),
                         0);
        for (unsigned round = 0; round < 2; round++) {
            write_history(s, &kinds[i], name, 17 * i + round + 1);
            assert_int_equal(loop_do(s->loop, read_all, &t), 0);
        }
        assert_int_equal(images_shell(s, "rm %u*", i), 0);
    }
}

static void formats_are_found_by_name(void **state)
{
    struct err e = {0};

    (void)state;
    assert_string_equal(format_find("vmdk", &e)->name, "vmdk");
    assert_null(format_find("vmdx", &e));
    assert_non_null(strstr(e.text, "vmdx"));
    assert_string_equal(format_probe("KDMV", 4), "vmdk");
    assert_string_equal(format_probe("vhdxfile....", 12), "vhdx");
    assert_string_equal(format_probe("QFI\xfb....", 8), "qcow2");
    assert_string_equal(format_probe("KDM", 3), "raw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_are_found_by_name),
        cmocka_unit_test_setup_teardown(images_that_qemu_made_read_the_same, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(histories_that_qemu_wrote_read_the_same,
                                        images_start, images_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
