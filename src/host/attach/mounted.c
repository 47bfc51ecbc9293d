/* mounted.c - a mount that is in no tree, and file systems that grow while they are mounted.
 *
 * Sources: fsopen(2) and its sisters, Linux 5.2; fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h and
 * btrfs.h of Linux 6.1 for the requests to grow. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/btrfs.h>
#include <linux/fs.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/attach/attach.h"

#define OPTIONS_BYTES 64

/* ---- mounting ---- */

static int set_one(int fs, char *option)
{
    char *value = strchr(option, '=');

    if (value == NULL) {
        return fsconfig(fs, FSCONFIG_SET_FLAG, option, NULL, 0);
    }
    *value = '\0';
    return fsconfig(fs, FSCONFIG_SET_STRING, option, value + 1, 0);
}

static int set_options(int fs, const char *type, bool read_only)
{
    const char *options = attach_options(type, read_only);
    char copy[OPTIONS_BYTES] = "";
    char *rest = copy;
    char *one;

    if (options != NULL && str_print(copy, sizeof copy, "%s", options) < 0) {
        errno = E2BIG;
        return -1;
    }
    while ((one = strsep(&rest, ",")) != NULL) {
        if (*one != '\0' && set_one(fs, one) < 0) {
            return -1;
        }
    }
    return read_only ? fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) : 0;
}

int attach_mount_alone(const char *device, const char *type, bool read_only,
                       int *ret_root, struct err *e)
{
    unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                          (read_only ? MOUNT_ATTR_RDONLY : 0);
    SCOPED(scope_close) int fs = fsopen(type, FSOPEN_CLOEXEC);
    SCOPED(scope_close) int mount = -1;
    int root = -1;

    if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) == 0 &&
        set_options(fs, type, read_only) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        mount = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
    }
    if (mount >= 0) {
        root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (root < 0) {
        return err_sys(e, -errno, "cannot mount the %s file system", type);
    }
    *ret_root = root;
    return 0;
}

/* ---- growing ---- */

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

static int grow_ext4(int dir, uint64_t bytes)
{
    struct statfs s;
    uint64_t blocks;

    if (fstatfs(dir, &s) < 0) {
        return -errno;
    }
    blocks = bytes / (uint64_t)s.f_bsize;
    return ioctl(dir, EXT4_IOC_RESIZE_FS, &blocks) < 0 ? -errno : 0;
}

/* The first version of the geometry in xfs_fs.h. */
struct xfs_geometry {
    uint32_t block_bytes;
    uint32_t others[6];
    uint32_t inode_percent;
    uint64_t data_blocks;
    uint64_t more[3];
    uint8_t uuid[16];
    uint32_t rest[7];
};

/* What there grows the data section. */
struct xfs_grow {
    uint64_t blocks;
    uint32_t inode_percent;
};

#define XFS_IOC_FSGEOMETRY_V1 _IOR('X', 100, struct xfs_geometry)
#define XFS_IOC_FSGROWFSDATA  _IOW('X', 110, struct xfs_grow)

static int grow_xfs(int dir, uint64_t bytes)
{
    struct xfs_geometry now;
    struct xfs_grow want;

    if (ioctl(dir, XFS_IOC_FSGEOMETRY_V1, &now) < 0) {
        return -errno;
    }
    want = (struct xfs_grow){.blocks = bytes / now.block_bytes,
                             .inode_percent = now.inode_percent};
    if (want.blocks <= now.data_blocks) {
        return 0;
    }
    return ioctl(dir, XFS_IOC_FSGROWFSDATA, &want) < 0 ? -errno : 0;
}

static int grow_btrfs(int dir)
{
    struct btrfs_ioctl_vol_args a = {.name = "max"};

    return ioctl(dir, BTRFS_IOC_RESIZE, &a) < 0 ? -errno : 0;
}

int attach_grow(int dir, int device, const char *type, struct err *e)
{
    uint64_t bytes;
    int r = ioctl(device, BLKGETSIZE64, &bytes) < 0 ? -errno : 0;

    if (r == 0 && strcmp(type, "ext4") == 0) {
        r = grow_ext4(dir, bytes);
    } else if (r == 0 && strcmp(type, "xfs") == 0) {
        r = grow_xfs(dir, bytes);
    } else if (r == 0 && strcmp(type, "btrfs") == 0) {
        r = grow_btrfs(dir);
    }
    return r < 0 ? err_sys(e, r, "cannot grow the %s file system", type) : 0;
}
