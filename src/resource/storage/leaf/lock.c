/* lock.c - locks on image files that QEMU honours.
 *
 * QEMU (docs/system/qemu-block-drivers, "Disk image file locking", and the layout in
 * its file driver) gives each permission a byte behind offset 100 and each refusal to
 * share it a byte behind offset 200.  Whoever opens an image locks, shared, the
 * bytes of what it does and of what it does not let others do, and then looks
 * whether anybody holds the opposite bytes.  All locks are shared, so two users
 * that agree never hinder each other.
 *
 * The locks are open-file-description locks (fcntl(2), F_OFD_SETLK): closing another
 * descriptor of the file does not lose them, and the kernel drops those of a
 * process that died. */
#include "resource/storage/leaf/lock.h"

#include <errno.h>
#include <fcntl.h>

#include "base/err.h"

#define DOES_BASE   100
#define DENIES_BASE 200

/* Bits of QEMU's permissions, in the order of the bytes. */
enum permission {
    READS = 1,            /* consistent read */
    WRITES = 2,           /* write */
    WRITES_THE_SAME = 4,  /* write unchanged */
    RESIZES = 8,          /* resize */
    PERMISSION_COUNT = 4, /* bits */
    ALL = 15
};

static int lock_byte(int fd, off_t at)
{
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

/* Whether another open file description has the byte. */
static bool is_held(int fd, off_t at)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int lock_bytes(int fd, off_t base, unsigned bits)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < PERMISSION_COUNT; i++) {
        if ((bits & (1u << i)) != 0) {
            r = lock_byte(fd, base + (off_t)i);
        }
    }
    return r;
}

static bool any_held(int fd, off_t base, unsigned bits)
{
    for (unsigned i = 0; i < PERMISSION_COUNT; i++) {
        if ((bits & (1u << i)) != 0 && is_held(fd, base + (off_t)i)) {
            return true;
        }
    }
    return false;
}

int leaf_lock(int fd, bool writes, bool let_others_read, const char *label, struct err *e)
{
    unsigned does = writes ? ALL : READS;
    unsigned denies =
        writes ? (let_others_read ? ALL & ~(unsigned)READS : ALL) : WRITES | RESIZES;
    int r;

    if (!writes && let_others_read) {
        denies = 0; /* looks over the shoulder of whoever writes */
    }
    r = lock_bytes(fd, DOES_BASE, does);
    if (r == 0) {
        r = lock_bytes(fd, DENIES_BASE, denies);
    }
    if (r == -EINVAL || r == -ENOLCK || r == -EOPNOTSUPP) {
        return 0; /* a file system without locks */
    }
    if (r != 0 && r != -EAGAIN && r != -EACCES) {
        return err_sys(e, r, "cannot lock '%s'", label);
    }
    if (r != 0 || any_held(fd, DENIES_BASE, does) || any_held(fd, DOES_BASE, denies)) {
        return err_set(e, -EBUSY, "cannot open '%s'%s: another process has it open",
                       label, writes ? " for writing" : "");
    }
    return 0;
}

static void unlock_bytes(int fd, off_t base, unsigned bits)
{
    for (unsigned i = 0; i < PERMISSION_COUNT; i++) {
        struct flock lock = {.l_type = F_UNLCK,
                             .l_whence = SEEK_SET,
                             .l_start = base + (off_t)i,
                             .l_len = 1};

        if ((bits & (1u << i)) != 0) {
            (void)fcntl(fd, F_OFD_SETLK, &lock);
        }
    }
}

void leaf_lock_lower(int fd)
{
    unlock_bytes(fd, DOES_BASE, ALL & ~(unsigned)READS);
    unlock_bytes(fd, DENIES_BASE, ALL & ~(unsigned)(WRITES | RESIZES));
}

void leaf_unlock(int fd)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    (void)fcntl(fd, F_OFD_SETLK, &lock);
}
