/* suite_test.c - the formats that can be written keep the promises of contract/blk.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "resource/storage/format/format.h"
#include "tests/contract/blk_suite.h"

static int open_vmdk(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                     struct blk **ret_disk, struct err *e)
{
    struct format_open_options o = {.label = "scratch"};

    (void)l;
    (void)size_bytes;
    return format_find("vmdk", e)->open(take_lower[0], &o, ret_disk, e);
}

static int make_vmdk(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                     struct blk **ret_disk, struct err *e)
{
    int r = format_find("vmdk", e)->create(take_lower[0], size_bytes, e);

    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    return open_vmdk(l, take_lower, size_bytes, ret_disk, e);
}

/* QEMU finds the image whole. */
static void judge_vmdk(struct loop *l, struct blk **lower, bool after_cut)
{
    static int have_qemu = -1;
    char name[] = "/var/tmp/format-suite-XXXXXX";
    char line[128];
    char *bytes = malloc(blk_size(lower[0]));
    int fd;

    (void)l;
    (void)after_cut;
    if (have_qemu < 0) {
        have_qemu = system("command -v qemu-img >/dev/null") == 0;
    }
    if (have_qemu == 1) {
        fd = mkostemp(name, O_CLOEXEC);
        must(fd >= 0);
        must_be_0(blk_read(lower[0], bytes, blk_size(lower[0]), 0));
        must(write(fd, bytes, blk_size(lower[0])) == (ssize_t)blk_size(lower[0]));
        (void)close(fd);
        (void)snprintf(line, sizeof line, "qemu-img check -q -f vmdk %s", name);
        must(WEXITSTATUS(system(line)) == 0);
        must_be_0(unlink(name));
    }
    free(bytes);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "vmdk",
         .lowers = 1,
         .lower_grows = true,
         .fixed_size = true,
         .make = make_vmdk,
         .open = open_vmdk,
         .judge = judge_vmdk},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
