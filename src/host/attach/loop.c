/* loop.c - a file as a block device of the host.
 *
 * A free device is asked for and configured in one call (LOOP_CONFIGURE, Linux 5.8);
 * somebody else may take it in between, so it is tried again.  Direct I/O: what the file
 * system above has cached is not cached below once more. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/attach/attach.h"

#define TRIES_MOST 64

/* -EBUSY: somebody else was faster. */
static int configure(int device, const struct attach_loop *o)
{
    struct loop_config c = {
        .fd = (unsigned)o->file,
        .block_size = o->block_bytes,
        .info = {.lo_offset = o->off,
                 .lo_sizelimit = o->bytes,
                 .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO |
                             (o->read_only ? LO_FLAGS_READ_ONLY : 0)}};

    (void)snprintf((char *)c.info.lo_file_name, LO_NAME_SIZE, "strata");
    return ioctl(device, LOOP_CONFIGURE, &c) < 0 ? -errno : 0;
}

static int try_one(int control, const struct attach_loop *o,
                   char ret_path[ATTACH_PATH_BYTES], int *ret_device)
{
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    SCOPED(scope_close) int device = -1;
    int r = number < 0 ? -errno : 0;

    if (r == 0) {
        (void)snprintf(ret_path, ATTACH_PATH_BYTES, "/dev/loop%d", number);
        device = open(ret_path, (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        r = device < 0 ? -errno : configure(device, o);
    }
    if (r == 0) {
        *ret_device = scope_take_fd(&device);
    }
    return r;
}

int attach_loop(const struct attach_loop *o, char ret_path[ATTACH_PATH_BYTES],
                int *ret_device, struct err *e)
{
    SCOPED(scope_close) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int r = control < 0 ? -errno : -EBUSY;

    for (unsigned i = 0; r == -EBUSY && i < TRIES_MOST; i++) {
        r = try_one(control, o, ret_path, ret_device);
    }
    return r < 0 ? err_sys(e, r, "cannot make a loop device") : 0;
}

int attach_loop_grown(int device, struct err *e)
{
    return ioctl(device, LOOP_SET_CAPACITY, 0) < 0
               ? err_sys(e, -errno, "cannot make the loop device larger")
               : 0;
}
