/* The promises of contract/mem.h, kept by every implementer alike. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem.h"
#include "host/ram.h"

/* The second implementer: plain allocations, no fill, nothing to share. */
static int fake_add_ram(struct mem *m, gpa base, uint64_t bytes, bool read_only,
                        struct err *e)
{
    struct mem_region region = {.base = base,
                                .bytes = bytes,
                                .read_only = read_only,
                                .host = fault_calloc(1, bytes),
                                .flags = fault_calloc(bytes / MEM_PAGE_BYTES, 1)};

    if (region.host == NULL || region.flags == NULL) {
        free(region.host);
        free(region.flags);
        return err_set(e, -ENOMEM, "out of memory");
    }
    mem_insert(m, &region);
    return 0;
}

static int fake_discard(struct mem *m, gpa at, uint64_t bytes)
{
    const struct mem_region *r = mem_find(m, at);

    memset(r->host + (at - r->base), 0, bytes);
    return 0;
}

static void fake_destroy(struct mem *m)
{
    for (unsigned i = 0; i < m->region_count; i++) {
        free(m->region[i].host);
        free(m->region[i].flags);
    }
    free(m);
}

static const struct mem_ops fake_ops = {
    .name = "fake",
    .add_ram = fake_add_ram,
    .discard = fake_discard,
    .destroy = fake_destroy,
};

enum implementer {
    PRIVATE,
    SHARED,
    FAKE,
    IMPLEMENTER_COUNT
};

static enum implementer kind;

static struct mem *make(void)
{
    struct mem *m = NULL;

    if (kind == FAKE) {
        m = calloc(1, sizeof *m);
        assert_non_null(m);
        m->ops = &fake_ops;
        return m;
    }
    assert_int_equal(ram_create(kind == SHARED ? RAM_SHARED : RAM_PRIVATE, &m, NULL), 0);
    return m;
}

static void bytes_read_as_zeros_then_as_written(void **state)
{
    struct mem *m = make();
    uint8_t in[8192];
    uint8_t out[8192];

    (void)state;
    memset(in, 0x5a, sizeof in);
    assert_int_equal(mem_add_ram(m, 0x100000, 0x10000, false, NULL), 0);
    assert_int_equal(mem_read(m, 0x100ff0, out, 32), 0);
    assert_int_equal(out[0] | out[31], 0);
    assert_int_equal(mem_write(m, 0x100ff8, in, sizeof in), 0);
    assert_int_equal(mem_read(m, 0x100ff8, out, sizeof out), 0);
    assert_memory_equal(in, out, sizeof in);
    mem_destroy(m);
}

static void copies_run_across_regions_but_not_outside(void **state)
{
    struct mem *m = make();
    uint8_t buf[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t out[16] = {0};

    (void)state;
    assert_int_equal(mem_add_ram(m, 0x2000, 0x1000, false, NULL), 0);
    assert_int_equal(mem_add_ram(m, 0x1000, 0x1000, false, NULL), 0);
    assert_int_equal(mem_write(m, 0x1ff8, buf, 16), 0);
    assert_int_equal(mem_read(m, 0x1ff8, out, 16), 0);
    assert_memory_equal(buf, out, 16);
    assert_int_equal(mem_write(m, 0x2ff8, buf, 16), -EFAULT);
    assert_int_equal(mem_read(m, 0x2ff8, out, 8), 0);
    assert_int_equal(out[0], 0); /* nothing was copied */
    assert_int_equal(mem_read(m, 0xff8, out, 16), -EFAULT);
    assert_int_equal(mem_read(m, UINT64_MAX - 3, out, 16), -EFAULT);
    mem_destroy(m);
}

static void regions_are_whole_pages_without_overlap(void **state)
{
    static const struct mem_io io = {0};
    struct mem *m = make();
    struct err e = {0};

    (void)state;
    assert_int_equal(mem_add_ram(m, 0x1000, 0x2000, false, &e), 0);
    assert_int_equal(mem_add_ram(m, 0x800, 0x1000, false, NULL), -EINVAL);
    assert_int_equal(mem_add_ram(m, 0x4000, 0, false, NULL), -EINVAL);
    assert_int_equal(mem_add_ram(m, 0x4000, 0x100, false, NULL), -EINVAL);
    assert_int_equal(mem_add_ram(m, 0x2000, 0x1000, false, &e), -EEXIST);
    assert_non_null(strstr(e.text, "overlaps"));
    assert_int_equal(mem_add_io(m, 0, 0x2000, &io, NULL, NULL), -EEXIST);
    assert_int_equal(mem_add_io(m, 0xfffffffffffff000, 0x2000, &io, NULL, NULL), -ERANGE);
    assert_int_equal(mem_add_io(m, 0, 0x1000, &io, NULL, NULL), 0);
    assert_null(mem_find(m, 0x3000));
    assert_ptr_equal(mem_find(m, 0x2fff)->host, mem_find(m, 0x1000)->host);
    assert_ptr_equal(mem_find(m, 0xfff)->io, &io);
    for (unsigned i = 2; i < MEM_REGIONS_MAX; i++) {
        assert_int_equal(mem_add_io(m, i * 0x10000u, 0x1000, &io, NULL, NULL), 0);
    }
    assert_int_equal(mem_add_io(m, 0x10000000, 0x1000, &io, NULL, NULL), -ENOSPC);
    mem_destroy(m);
}

struct seen {
    gpa at;
    unsigned bytes, calls;
    uint8_t flags, drop;
};

static uint8_t see(void *who, gpa at, unsigned bytes, uint8_t flags)
{
    struct seen *seen = who;

    seen->at = at;
    seen->bytes = bytes;
    seen->flags = flags;
    seen->calls++;
    return seen->drop;
}

static void a_store_to_a_flagged_page_is_told_until_the_flag_is_dropped(void **state)
{
    struct mem *m = make();
    struct seen code = {.drop = 0};
    struct seen log = {.drop = MEM_LOGGED};
    uint32_t v = 7;

    (void)state;
    assert_int_equal(mem_add_ram(m, 0, 0x4000, false, NULL), 0);
    assert_int_equal(mem_listen(m, &(struct mem_listener){see, &code, MEM_CODE}), 0);
    assert_int_equal(mem_listen(m, &(struct mem_listener){see, &log, MEM_LOGGED}), 0);
    assert_int_equal(mem_listen(m, &(struct mem_listener){see, &log, 0}), -EINVAL);
    assert_int_equal(mem_flag_page(m, 0x1800, MEM_LOGGED), 0);
    assert_int_equal(mem_flag_page(m, 0x8000, MEM_LOGGED), -EFAULT);
    assert_int_equal(mem_write(m, 0x2000, &v, 4), 0);
    assert_int_equal(log.calls, 0);
    assert_int_equal(mem_write(m, 0x1ffc, &v, 4), 0);
    assert_int_equal(log.calls, 1);
    assert_int_equal(log.at, 0x1ffc);
    assert_int_equal(log.bytes, 4);
    assert_int_equal(code.calls, 0);
    assert_int_equal(mem_write(m, 0x1ffc, &v, 4), 0);
    assert_int_equal(log.calls, 1);
    assert_int_equal(mem_flag_page(m, 0x1000, MEM_CODE | MEM_LOGGED), 0);
    assert_int_equal(mem_write(m, 0x1010, &v, 4), 0);
    assert_int_equal(log.calls, 2);
    assert_int_not_equal(code.calls, 0);
    assert_int_equal(mem_flags(mem_find(m, 0x1000), 0x1000), MEM_CODE);
    mem_destroy(m);
}

static void discarded_pages_read_as_zeros_and_count_as_written(void **state)
{
    struct mem *m = make();
    struct seen seen = {.drop = MEM_CODE};
    uint64_t v = UINT64_MAX;

    (void)state;
    assert_int_equal(mem_add_ram(m, 0, 0x4000, false, NULL), 0);
    assert_int_equal(mem_listen(m, &(struct mem_listener){see, &seen, MEM_CODE}), 0);
    assert_int_equal(mem_write(m, 0x1ff8, &v, 8), 0);
    assert_int_equal(mem_write(m, 0x2000, &v, 8), 0);
    assert_int_equal(mem_flag_page(m, 0x1000, MEM_CODE), 0);
    assert_int_equal(mem_discard(m, 0x1000, 0x1000), 0);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(mem_read(m, 0x1ff8, &v, 8), 0);
    assert_int_equal(v, 0);
    assert_int_equal(mem_read(m, 0x2000, &v, 8), 0);
    assert_int_equal(v, UINT64_MAX);
    assert_int_equal(mem_discard(m, 0x1800, 0x1000), -EINVAL);
    assert_int_equal(mem_discard(m, 0x3000, 0x2000), -EFAULT);
    mem_destroy(m);
}

static int fill(void *who, gpa page, uint8_t *bytes)
{
    unsigned *calls = who;

    ++*calls;
    memset(bytes, (int)(page >> 12), MEM_PAGE_BYTES);
    return page == 0x3000 ? -EIO : 0;
}

static void an_absent_page_is_filled_before_its_first_access(void **state)
{
    struct mem *m = make();
    unsigned calls = 0;
    uint8_t v[2];

    (void)state;
    assert_int_equal(mem_add_ram(m, 0, 0x4000, false, NULL), 0);
    for (gpa at = 0x1000; at < 0x4000; at += 0x1000) {
        assert_int_equal(mem_flag_page(m, at, MEM_ABSENT), 0);
    }
    if (kind == FAKE) {
        assert_int_equal(mem_read(m, 0x1fff, v, 1), -EFAULT);
        mem_destroy(m);
        return;
    }
    assert_int_equal(mem_read(m, 0x1fff, v, 1), -EFAULT); /* nobody brings it */
    ram_set_filler(m, fill, &calls);
    assert_int_equal(mem_read(m, 0x1fff, v, 2), 0);
    assert_int_equal(calls, 2);
    assert_int_equal(v[0], 1);
    assert_int_equal(v[1], 2);
    assert_int_equal(mem_read(m, 0x1fff, v, 2), 0);
    assert_int_equal(calls, 2);
    assert_int_equal(mem_write(m, 0x3000, v, 1), -EFAULT);
    assert_int_equal(mem_flags(mem_find(m, 0x3000), 0x3000), MEM_ABSENT);
    mem_destroy(m);
}

static void shared_memory_is_seen_through_its_descriptor(void **state)
{
    struct mem *m = make();
    uint32_t v = 0x12345678;
    uint32_t out = 0;
    uint64_t offset;
    int fd;

    (void)state;
    assert_int_equal(mem_add_ram(m, 0x100000, 0x2000, false, NULL), 0);
    assert_int_equal(mem_add_ram(m, 0, 0x2000, false, NULL), 0);
    assert_int_equal(mem_write(m, 0x1004, &v, 4), 0);
    if (kind != SHARED) {
        assert_int_equal(mem_share(m, 0x1004, &fd, &offset), -EOPNOTSUPP);
    } else {
        assert_int_equal(mem_share(m, 0x1004, &fd, &offset), 0);
        assert_int_equal(pread(fd, &out, 4, (off_t)offset), 4);
        assert_int_equal(out, v);
    }
    assert_int_equal(mem_share(m, 0x5000, &fd, &offset), -EFAULT);
    mem_destroy(m);
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        struct mem *m = make();
        struct err e = {0};
        int r;

        fault_fail_alloc_at(n);
        r = mem_add_ram(m, 0, 0x2000, false, &e);
        fault_fail_alloc_at(-1);
        assert_int_equal(m->region_count, r == 0);
        mem_destroy(m);
        if (r == 0) {
            return;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

static void more_than_the_host_has_is_refused(void **state)
{
    struct mem *m = make();

    (void)state;
    if (kind != FAKE) {
        assert_int_equal(mem_add_ram(m, 0, 1ull << 47, false, NULL), -ENOMEM);
        assert_int_equal(m->region_count, 0);
    }
    mem_destroy(m);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_read_as_zeros_then_as_written),
        cmocka_unit_test(copies_run_across_regions_but_not_outside),
        cmocka_unit_test(regions_are_whole_pages_without_overlap),
        cmocka_unit_test(a_store_to_a_flagged_page_is_told_until_the_flag_is_dropped),
        cmocka_unit_test(discarded_pages_read_as_zeros_and_count_as_written),
        cmocka_unit_test(an_absent_page_is_filled_before_its_first_access),
        cmocka_unit_test(shared_memory_is_seen_through_its_descriptor),
        cmocka_unit_test(running_out_of_memory_leaves_nothing_behind),
        cmocka_unit_test(more_than_the_host_has_is_refused),
    };
    int failed = 0;

    for (kind = 0; kind < IMPLEMENTER_COUNT; kind++) {
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
