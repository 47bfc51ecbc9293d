/* fuse.c - a FUSE file system that is mounted nowhere.
 *
 * fsopen(2) and its sisters (Linux 5.2) make a mount that is in no tree: no directory is
 * needed for it, nobody else finds it, and it ends with its descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/attach/attach.h"

#define REGULAR_FILE "100000" /* S_IFREG, as octal text */

static int set_text(int fs, const char *key, const char *value)
{
    return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int set_number(int fs, const char *key, unsigned value)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", value);
    return set_text(fs, key, text);
}

/* A mounted file system as a descriptor; -1 and errno. */
static int make_mount(int server, bool read_only)
{
    unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                          (read_only ? MOUNT_ATTR_RDONLY : 0);
    SCOPED(scope_close) int fs = fsopen("fuse", FSOPEN_CLOEXEC);

    if (fs < 0 || set_text(fs, "source", "strata") < 0 ||
        set_number(fs, "fd", (unsigned)server) < 0 ||
        set_text(fs, "rootmode", REGULAR_FILE) < 0 ||
        set_number(fs, "user_id", geteuid()) < 0 ||
        set_number(fs, "group_id", getegid()) < 0 ||
        fsconfig(fs, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) < 0 ||
        /* who is given the open file may be another user: the worker of a machine */
        fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0 ||
        (read_only && fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -1;
    }
    return fsmount(fs, FSMOUNT_CLOEXEC, attributes);
}

int attach_fuse(bool read_only, int *ret_server, int *ret_mount, struct err *e)
{
    SCOPED(scope_close) int server = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int mount;

    if (server < 0) {
        return err_sys(e, -errno, "cannot open '/dev/fuse'");
    }
    mount = make_mount(server, read_only);
    if (mount < 0) {
        return err_sys(e, -errno, "cannot make a file system that a program serves");
    }
    *ret_mount = mount;
    *ret_server = scope_take_fd(&server);
    return 0;
}

int attach_fuse_open(int mount, bool read_only, int *ret_file, struct err *e)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", mount);
    fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot open the file of a served disk");
    }
    *ret_file = fd;
    return 0;
}
