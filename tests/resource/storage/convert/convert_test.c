/* convert_test.c - what was copied reads the same to QEMU, whatever failed before. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_sink.h"
#include "host/loop/loop.h"
#include "resource/storage/convert/convert.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/format/format.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/format/image.h"

#define SIZE_BYTES ((30u << 20) + 512 * 3) /* no whole grain at the end */

struct copy {
    struct images *images;
    const char *from_format;
    const char *from;
    const char *to_format;
    const char *to;
    struct filter_fault_plan *plan; /* of the source; NULL: nothing fails */
    unsigned in_flight;
    bool to_used; /* the target is not known to be zeros */
    unsigned calls;
    unsigned stop_at; /* call of progress that stops; 0: none */
    uint64_t told;
    int fail_alloc; /* number of the allocation that fails, from 1 on; 0: none */
    struct transcode_result result;
    struct err e;
};

static int progress(void *arg, uint64_t done, uint64_t total)
{
    struct copy *c = arg;

    must(done <= total && done >= c->told);
    c->told = done;
    c->calls++;
    return c->calls == c->stop_at ? -ECANCELED : 0;
}

static int run_to_sink(struct copy *c, const struct format_row *row, struct blk *from)
{
    struct blk *file = images_file(c->images, c->to, false);
    struct transcode_job j = {
        .from = from, .in_flight = c->in_flight, .progress = progress, .arg = c};
    int r;

    fault_fail_alloc_at(c->fail_alloc - 1);
    r = row->sink(c->images->loop, file, blk_size(from), &j.sink, &c->e);

    if (r == 0) {
        r = transcode_run(&j, &c->result, &c->e);
        j.sink->ops->destroy(j.sink);
    }
    blk_drop(file);
    return r;
}

static int run_to_disk(struct copy *c, const struct format_row *row, struct blk *from)
{
    struct format_open_options o = {.label = c->to};
    struct blk *file = images_file(c->images, c->to, false);
    struct transcode_job j = {.from = from,
                              .in_flight = c->in_flight,
                              .to_is_zero = !c->to_used,
                              .progress = progress,
                              .arg = c};
    int r;

    fault_fail_alloc_at(c->fail_alloc - 1);
    r = c->to_used ? 0 : row->create(file, blk_size(from), &c->e);

    if (r != 0) {
        blk_drop(file);
        return r;
    }
    r = row->open(file, &o, &j.to, &c->e);
    if (r == 0) {
        r = transcode_run(&j, &c->result, &c->e);
        blk_drop(j.to);
    }
    return r;
}

static int copy(void *arg)
{
    struct copy *c = arg;
    const struct format_row *row = format_find(c->to_format, &c->e);
    struct blk *from = NULL;
    int r = images_open(c->images, c->from_format, c->from, true, &from, &c->e);

    c->told = 0;
    c->calls = 0;
    if (r == 0 && c->plan != NULL) {
        r = filter_fault_create(c->images->loop, from, c->plan, &from, &c->e);
    }
    if (r != 0) {
        return r;
    }
    r = row->sink != NULL ? run_to_sink(c, row, from) : run_to_disk(c, row, from);
    fault_fail_alloc_at(-1);
    blk_drop(from);
    must(r == 0 || (c->e.code != 0 && c->e.text[0] != '\0'));
    return r;
}

static void expect_same(struct images *s, const char *theirs, const char *name)
{
    assert_int_equal(
        images_shell(s, "qemu-img compare -q -f raw -F %s a.raw %s", theirs, name), 0);
}

static void what_we_write_qemu_reads(void **state)
{
    static const struct {
        const char *ours;
        const char *theirs;
    } targets[] = {{"raw", "raw"}, {"vmdk", "vmdk"}, {"vmdk-stream", "vmdk"}};
    struct images *s = *state;

    if (!images_have_qemu(s)) {
        skip();
    }
    for (unsigned seed = 0; seed < 4; seed++) {
        images_fill(s, "a.raw", SIZE_BYTES, seed);
        for (unsigned i = 0; i < 3; i++) {
            struct copy c = {.images = s,
                             .from_format = "raw",
                             .from = "a.raw",
                             .to_format = targets[i].ours,
                             .to = "b",
                             .in_flight = seed * 7};

            assert_int_equal(loop_do(s->loop, copy, &c), 0);
            assert_int_equal(c.told, SIZE_BYTES);
            assert_int_equal(c.result.copied_bytes + c.result.zero_bytes, SIZE_BYTES);
            assert_true(c.result.copied_bytes < SIZE_BYTES / 2);
            expect_same(s, targets[i].theirs, "b");
            if (i > 0) {
                assert_int_equal(images_shell(s, "qemu-img check -q -f vmdk b"), 0);
            }
            c = (struct copy){.images = s,
                              .from_format = targets[i].ours,
                              .from = "b",
                              .to_format = "raw",
                              .to = "c",
                              .in_flight = 3};
            assert_int_equal(loop_do(s->loop, copy, &c), 0);
            expect_same(s, "raw", "c");
            assert_int_equal(images_shell(s, "rm b c"), 0);
        }
    }
}

static void holes_stay_holes(void **state)
{
    struct images *s = *state;
    struct copy c = {.images = s,
                     .from_format = "raw",
                     .from = "a.raw",
                     .to_format = "raw",
                     .to = "b"};
    char path[128];
    struct stat a;
    struct stat b;

    images_fill(s, "a.raw", SIZE_BYTES, 3);
    assert_int_equal(loop_do(s->loop, copy, &c), 0);
    (void)snprintf(path, sizeof path, "%s/a.raw", s->dir);
    assert_int_equal(stat(path, &a), 0);
    (void)snprintf(path, sizeof path, "%s/b", s->dir);
    assert_int_equal(stat(path, &b), 0);
    assert_true(b.st_blocks <= a.st_blocks + 8);
}

static void a_used_target_is_overwritten(void **state)
{
    struct images *s = *state;
    struct copy c = {.images = s,
                     .from_format = "raw",
                     .from = "a.raw",
                     .to_format = "raw",
                     .to = "b",
                     .to_used = true};

    images_fill(s, "a.raw", SIZE_BYTES, 3);
    images_fill(s, "b", SIZE_BYTES, 4);
    assert_int_equal(loop_do(s->loop, copy, &c), 0);
    assert_int_equal(images_shell(s, "cmp a.raw b"), 0);
}

static void a_failed_read_ends_the_copy(void **state)
{
    static const char *const targets[] = {"raw", "vmdk", "vmdk-stream"};
    struct images *s = *state;

    images_fill(s, "a.raw", SIZE_BYTES, 3);
    for (unsigned i = 0; i < 12; i++) {
        struct filter_fault_plan plan = {.seed = i,
                                         .error = -EIO,
                                         .fail_kinds = 1u << BLK_READ,
                                         .fail_from = i * 3 + 1,
                                         .fail_until = i * 3 + 2,
                                         .delay_one_in = 2,
                                         .delay_ns = 300000};
        struct copy c = {.images = s,
                         .from_format = "raw",
                         .from = "a.raw",
                         .to_format = targets[i % 3],
                         .to = "b",
                         .plan = &plan};

        assert_int_equal(loop_do(s->loop, copy, &c), -EIO);
        assert_non_null(strstr(c.e.text, "cannot copy"));
    }
}

static void progress_can_stop_it(void **state)
{
    struct images *s = *state;
    struct copy c = {.images = s,
                     .from_format = "raw",
                     .from = "a.raw",
                     .to_format = "vmdk-stream",
                     .to = "b",
                     .stop_at = 5};

    images_fill(s, "a.raw", SIZE_BYTES, 3);
    assert_int_equal(loop_do(s->loop, copy, &c), -ECANCELED);
    assert_int_equal(c.calls, 5);
}

static void no_memory_ends_it(void **state)
{
    static const char *const targets[] = {"raw", "vmdk", "vmdk-stream"};
    struct images *s = *state;

    images_fill(s, "a.raw", 4 << 20, 3);
    for (unsigned i = 0; i < 3; i++) {
        int r = -1;

        for (int n = 1; n < 400 && r != 0; n++) {
            struct copy c = {.images = s,
                             .from_format = "raw",
                             .from = "a.raw",
                             .to_format = targets[i],
                             .to = "b",
                             .in_flight = 3,
                             .fail_alloc = n};

            r = loop_do(s->loop, copy, &c);
            assert_true(r == 0 || r == -ENOMEM);
        }
        assert_int_equal(r, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_we_write_qemu_reads, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(holes_stay_holes, images_start, images_stop),
        cmocka_unit_test_setup_teardown(a_used_target_is_overwritten, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(a_failed_read_ends_the_copy, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(progress_can_stop_it, images_start, images_stop),
        cmocka_unit_test_setup_teardown(no_memory_ends_it, images_start, images_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
