/* refuse_test.c - images that are damaged, hostile or of other kinds are refused with a
 * reason. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/format/image.h"

struct task {
    struct images *images;
    const char *format;
    bool read_only;
    int answer;
    struct err e;
};

static int try(void *arg)
{
    struct task *t = arg;
    struct blk *disk = NULL;

    t->answer = images_open(t->images, t->format, "bad", t->read_only, &disk, &t->e);
    blk_drop(disk);
    return 0;
}

static void expect(struct images *s, const char *format, int code, const char *why)
{
    struct task t = {.images = s, .format = format, .read_only = true};

    assert_int_equal(loop_do(s->loop, try, &t), 0);
    if (t.answer != code || strstr(t.e.text, why) == NULL) {
        print_error("%s: %d '%s', not %d '%s'\n", format, t.answer, t.e.text, code, why);
    }
    assert_int_equal(t.answer, code);
    assert_non_null(strstr(t.e.text, why));
}

static void write_text(struct images *s, const char *lines)
{
    assert_int_equal(images_shell(s,
                                  "printf '# Disk DescriptorFile\\nversion=1\\n%s' "
                                  ">bad",
                                  lines),
                     0);
}

static void descriptors_name_only_what_is_allowed(void **state)
{
    struct images *s = *state;

    write_text(s, "RW 1 FLAT \"/etc/passwd\" 0\\n");
    expect(s, "vmdk", -EACCES, "/etc/passwd");
    write_text(s, "RW 1 FLAT \"../a\" 0\\n");
    expect(s, "vmdk", -EACCES, "../a");
    write_text(s, "RW 1 SPARSE \"bad\" 0\\n"); /* itself: is no sparse extent */
    expect(s, "vmdk", -EUCLEAN, "header");
    write_text(s, "RW 4611686018427387904 ZERO\\n");
    expect(s, "vmdk", -EUCLEAN, "size");
    write_text(s, "RW 9007199254740992 ZERO\\nRW 9007199254740992 ZERO\\n");
    expect(s, "vmdk", -EUCLEAN, "possible");
    write_text(s, "RW 100 FLAT \"bad\" 0\\n");
    expect(s, "vmdk", -EUCLEAN, "too short");
    write_text(s, "RW 1 FLAT \"bad\" 36028797018963967\\n");
    expect(s, "vmdk", -EUCLEAN, "offset");
    write_text(s, "RW 1 SESPARSE \"bad\"\\n");
    expect(s, "vmdk", -EOPNOTSUPP, "SESPARSE");
    write_text(s, "parentCID=12345678\\nRW 1 ZERO\\n");
    expect(s, "vmdk", -EOPNOTSUPP, "differences");
    write_text(s, "");
    expect(s, "vmdk", -EUCLEAN, "no extents");
}

static void bytes_of_something_else_are_refused(void **state)
{
    struct images *s = *state;

    assert_int_equal(images_shell(s, ": >bad"), 0);
    expect(s, "vmdk", -EUCLEAN, "header");
    expect(s, "vhdx", -EUCLEAN, "VHDX");
    expect(s, "vhd", -EUCLEAN, "footer");
    expect(s, "vdi", -EUCLEAN, "header");
    images_fill(s, "bad", 8 << 20, 1);
    expect(s, "vmdk", -EUCLEAN, "VMDK");
    expect(s, "vhdx", -EUCLEAN, "VHDX");
    expect(s, "vhd", -EUCLEAN, "footer");
    expect(s, "vdi", -EUCLEAN, "VDI");
}

/* Change 4 bytes of an image that QEMU made. */
static void set(struct images *s, const char *make, uint64_t at, uint32_t x)
{
    char path[128];
    int fd;

    assert_int_equal(images_shell(s, "rm -f bad && qemu-img create -q %s", make), 0);
    (void)snprintf(path, sizeof path, "%s/bad", s->dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &x, 4, (off_t)at), 4);
    (void)close(fd);
}

static void damaged_headers_are_refused(void **state)
{
    struct images *s = *state;

    if (!images_have_qemu(s)) {
        skip();
    }
    set(s, "-f vdi bad 8M", 76, 4);
    expect(s, "vdi", -EOPNOTSUPP, "differences");
    set(s, "-f vdi bad 8M", 384, 0xffffffff); /* blocks */
    expect(s, "vdi", -EUCLEAN, "damaged");
    set(s, "-f vdi bad 8M", 372, 0x00ffffff); /* size */
    expect(s, "vdi", -EUCLEAN, "damaged");
    set(s, "-f vdi bad 8M", 376, 1000); /* block size */
    expect(s, "vdi", -EOPNOTSUPP, "1000");
    set(s, "-f vmdk bad 8M", 16, 0xffffffff); /* capacity, upper half */
    expect(s, "vmdk", -EUCLEAN, "possible");
    set(s, "-f vmdk bad 8M", 20, 100); /* grain */
    expect(s, "vmdk", -EUCLEAN, "100");
    set(s, "-f vmdk bad 8M", 60, 1); /* directory, upper half */
    expect(s, "vmdk", -EUCLEAN, "directory");
    set(s, "-f vmdk bad 8M", 73, 0x0a0d0a0a); /* a transfer as text */
    expect(s, "vmdk", -EUCLEAN, "header");
    set(s, "-f vmdk bad 8M", 4, 9);
    expect(s, "vmdk", -EOPNOTSUPP, "header");
    set(s, "-f vpc bad 8M", 512 + 28, 0xffffffff); /* table; the checksum is wrong, too */
    expect(s, "vhd", -EUCLEAN, "dynamic VHD");
    set(s, "-f vhdx bad 8M", 196608 + 8, 0xffff); /* regions: the copy is taken */
    {
        struct task t = {.images = s, .format = "vhdx", .read_only = true};

        assert_int_equal(loop_do(s->loop, try, &t), 0);
        assert_int_equal(t.answer, 0);
    }
    set(s, "-f vhdx bad 8M", 3145728, 0);
    expect(s, "vhdx", -EUCLEAN, "metadata");
}

static void streams_are_not_changed(void **state)
{
    struct images *s = *state;
    struct task t = {.images = s, .format = "vmdk"};

    if (!images_have_qemu(s)) {
        skip();
    }
    assert_int_equal(images_shell(s, "qemu-img create -q -f vmdk -o "
                                     "subformat=streamOptimized bad 8M"),
                     0);
    assert_int_equal(loop_do(s->loop, try, &t), 0);
    assert_int_equal(t.answer, -EOPNOTSUPP);
    assert_non_null(strstr(t.e.text, "stream-optimised"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(descriptors_name_only_what_is_allowed,
                                        images_start, images_stop),
        cmocka_unit_test_setup_teardown(bytes_of_something_else_are_refused, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(damaged_headers_are_refused, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(streams_are_not_changed, images_start,
                                        images_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
