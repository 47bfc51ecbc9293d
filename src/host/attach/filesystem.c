/* filesystem.c - what is on a disk, and mounting it.
 *
 * A disk is told by the marks that file systems put at fixed places.  One with the marks of two
 * is nobody's: formatting a disk anew leaves old marks behind, and guessing wrong would
 * lose data.  Only types are known that Linux keeps up against damaged images and that
 * people use for disks of guests.
 *
 * Sources: Linux, Documentation/filesystems/ext4/super.rst (s_magic at 0x38 of the
 * superblock at 1024); XFS Algorithms & Data Structures, 3rd edition, 13.1 (sb_magicnum);
 * btrfs on-disk format, "Superblock" (magic at 0x40 of the one at 0x10000); squashfs.rst
 * (s_magic); erofs_fs.h (EROFS_SUPER_OFFSET 1024). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/attach/attach.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* clang-format off */
static const struct mark {
    const char *type;
    off_t at;
    unsigned bytes;
    const char *text;
    const char *writable;  /* options: what is deleted is given back, damage is not made worse */
    const char *read_only; /* options: nothing is written, no journal played */
} marks[] = {
    /* also mounts ext2 and ext3; what the disk itself says of errors may be "panic" */
    {"ext4", 1024 + 0x38, 2, "\x53\xEF", "discard,errors=remount-ro",
     "noload,errors=remount-ro"},
    /* nouuid: copies of a disk may be mounted beside it */
    {"xfs", 0, 4, "XFSB", "discard,nouuid", "norecovery,nouuid"},
    {"btrfs", 0x10000 + 0x40, 8, "_BHRfS_M", "discard", "rescue=nologreplay"},
    {"squashfs", 0, 4, "hsqs", NULL, NULL},
    {"erofs", 1024, 4, "\xE2\xE1\xF5\xE0", NULL, NULL},
};

/* clang-format on */

const char *attach_type(unsigned i)
{
    return i < COUNT(marks) ? marks[i].type : NULL;
}

int attach_probe(int fd, char ret_type[ATTACH_TYPE_BYTES], struct err *e)
{
    const struct mark *found = NULL;

    for (unsigned i = 0; i < COUNT(marks); i++) {
        char got[8];
        ssize_t n = pread(fd, got, marks[i].bytes, marks[i].at);

        if (n < 0) {
            return err_sys(e, -errno, "cannot read the disk");
        }
        if (n != (ssize_t)marks[i].bytes ||
            memcmp(got, marks[i].text, marks[i].bytes) != 0) {
            continue;
        }
        if (found != NULL) {
            return err_set(e, -EINVAL, "the disk has marks of %s and of %s", found->type,
                           marks[i].type);
        }
        found = &marks[i];
    }
    if (found == NULL) {
        return err_set(e, -ENODATA, "there is no file system on the disk");
    }
    (void)strcpy(ret_type, found->type);
    return 0;
}

const char *attach_options(const char *type, bool read_only)
{
    for (unsigned i = 0; i < COUNT(marks); i++) {
        if (strcmp(marks[i].type, type) == 0) {
            return read_only ? marks[i].read_only : marks[i].writable;
        }
    }
    return NULL;
}

int attach_mount(const char *device, const char *type, bool read_only, const char *target,
                 struct err *e)
{
    unsigned long flags = MS_NODEV | (read_only ? MS_RDONLY : 0);

    if (mount(device, target, type, flags, attach_options(type, read_only)) < 0) {
        return err_sys(e, -errno, "cannot mount the %s file system", type);
    }
    return 0;
}

void attach_trim(int dir)
{
    struct fstrim_range all = {.len = UINT64_MAX};

    if (syncfs(dir) == 0) { /* deleted files are free once that is on the disk */
        (void)ioctl(dir, FITRIM, &all);
    }
}

int attach_unmount(const char *target, struct err *e)
{
    if (umount2(target, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT) {
        return 0;
    }
    if (errno == EBUSY) {
        SCOPED(scope_close) int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = fd < 0 || syncfs(fd) < 0 ? -errno : 0;

        if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
            return r < 0 ? err_sys(e, r, "cannot write down '%s'", target) : 0;
        }
    }
    return err_sys(e, -errno, "cannot unmount '%s'", target);
}
