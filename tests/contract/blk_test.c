/* blk_test.c - the leaves and the fault filter keep the promises of contract/blk.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/strand.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/contract/blk_suite.h"

static int make_memory(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    (void)take_lower;
    return leaf_memory_create(loop_strands(l), size_bytes, 512, ret_disk, e);
}

static int make_file(struct loop *l, uint64_t size_bytes, bool direct,
                     struct blk **ret_disk, struct err *e)
{
    char name[] = "/var/tmp/blk-test-XXXXXX";
    struct leaf_file_options o = {.label = "scratch", .direct = direct};
    int fd = mkostemp(name, O_CLOEXEC);

    must(fd >= 0);
    must_be_0(unlink(name));
    must_be_0(ftruncate(fd, (off_t)size_bytes));
    return leaf_file_create(l, fd, &o, ret_disk, e);
}

static int make_buffered(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                         struct blk **ret_disk, struct err *e)
{
    (void)take_lower;
    return make_file(l, size_bytes, false, ret_disk, e);
}

static int make_direct(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    (void)take_lower;
    return make_file(l, size_bytes, true, ret_disk, e);
}

static int make_fault(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct filter_fault_plan plan = {.seed = 3, .delay_one_in = 5, .delay_ns = 1000};

    (void)size_bytes;
    return filter_fault_create(l, take_lower[0], &plan, ret_disk, e);
}

static int make_holding_back(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                             struct blk **ret_disk, struct err *e)
{
    struct filter_fault_plan plan = {.seed = 3, .holds_back = true};

    (void)size_bytes;
    return filter_fault_create(l, take_lower[0], &plan, ret_disk, e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "memory", .is_volatile = true, .make = make_memory},
        {.name = "file", .is_volatile = true, .make = make_buffered},
        {.name = "file, direct", .is_volatile = true, .make = make_direct},
        {.name = "fault", .lowers = 1, .make = make_fault},
        {.name = "fault, holding back",
         .lowers = 1,
         .absorbs = true,
         .is_volatile = true, /* forgets what was acknowledged: that is its purpose */
         .make = make_holding_back},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
