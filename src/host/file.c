/* host/file.c - whole files, directories and descriptors, without races. */
#include "host/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"

#define READ_FIRST_BYTES 4096
#define TEMP_DIGITS      12

ssize_t file_read_all(int fd, void *bytes, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = read(fd, (char *)bytes + done, len - done);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)done;
}

int file_write_all(int fd, const void *bytes, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, (const char *)bytes + done, len - done);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* [at, until) of `in`, to the same place of `out`. */
static int copy_range(int in, int out, off_t at, off_t until)
{
    char buf[65536];
    int r = lseek(in, at, SEEK_SET) < 0 || lseek(out, at, SEEK_SET) < 0 ? -errno : 0;

    while (r == 0 && at < until) {
        size_t want = until - at < (off_t)sizeof buf ? (size_t)(until - at) : sizeof buf;
        ssize_t n = file_read_all(in, buf, want);

        if (n <= 0) {
            return (int)n; /* it was cut meanwhile */
        }
        r = file_write_all(out, buf, (size_t)n);
        at += n;
    }
    return r;
}

int file_copy(int in, int out)
{
    off_t end = lseek(in, 0, SEEK_END);
    int r = 0;

    if (end < 0 || ioctl(out, FICLONE, in) == 0) {
        return end < 0 ? -errno : 0;
    }
    for (off_t at = 0; r == 0 && at < end;) {
        off_t data = lseek(in, at, SEEK_DATA);
        off_t hole = data < 0 ? data : lseek(in, data, SEEK_HOLE);

        if (hole < 0) {
            r = errno == ENXIO ? 0 : -errno;
            break;
        }
        r = copy_range(in, out, data, hole);
        at = hole;
    }
    return r == 0 && ftruncate(out, end) < 0 ? -errno : r;
}

int file_read(int dir, const char *path, size_t most, char **ret_text, size_t *ret_len)
{
    SCOPED(scope_close) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    SCOPED(scope_free) char *text = NULL;
    size_t cap = READ_FIRST_BYTES;
    size_t len = 0;

    if (fd < 0) {
        return -errno;
    }
    for (;;) {
        char *more = fault_realloc(text, cap + 1);
        ssize_t n;

        if (more == NULL) {
            return -ENOMEM;
        }
        text = more;
        n = file_read_all(fd, text + len, cap - len);
        if (n < 0) {
            return (int)n;
        }
        len += (size_t)n;
        if (len > most) {
            return -EFBIG;
        }
        if (len < cap) {
            break;
        }
        cap *= 2;
    }
    text[len] = '\0';
    if (ret_len != NULL) {
        *ret_len = len;
    }
    *ret_text = text;
    text = NULL;
    return 0;
}

int file_write_existing(int dir, const char *path, const char *text)
{
    SCOPED(scope_close) int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
    size_t len = strlen(text);
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    n = write(fd, text, len);
    if (n < 0) {
        return -errno;
    }
    return (size_t)n == len ? 0 : -EIO;
}

static int write_temp(int dir, const char *temp, const void *bytes, size_t len,
                      mode_t mode, bool sync)
{
    SCOPED(scope_close)
    int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int r;

    if (fd < 0) {
        return -errno;
    }
    r = file_write_all(fd, bytes, len);
    if (r == 0 && sync && fsync(fd) < 0) {
        r = -errno;
    }
    return r;
}

int file_replace(int dir, const char *path, const void *bytes, size_t len, mode_t mode,
                 bool sync)
{
    char temp[PATH_MAX];
    char id[TEMP_DIGITS + 1];
    int r = word_random_id(id, TEMP_DIGITS);

    if (r == 0) {
        r = str_print(temp, sizeof temp, "%s.%s.tmp", path, id);
    }
    if (r < 0) {
        return r;
    }
    r = write_temp(dir, temp, bytes, len, mode, sync);
    if (r == 0 && renameat(dir, temp, dir, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        (void)unlinkat(dir, temp, 0);
    }
    return r;
}

int file_make_dirs(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    int r = str_print(part, sizeof part, "%s", path);

    if (r < 0) {
        return r;
    }
    for (char *p = part; *p != '\0'; p++) {
        if (*p != '/' || p == part) {
            continue;
        }
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST) {
            return -errno;
        }
        *p = '/';
    }
    return mkdir(part, mode) < 0 && errno != EEXIST ? -errno : 0;
}

static int remove_entries(int fd, dev_t device);

static int remove_entry(int dir, const char *name, dev_t device)
{
    SCOPED(scope_close) int fd = -1;
    struct stat st;
    int r;

    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return -errno;
    }
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(st.st_mode) && fchmodat(dir, name, 0700, 0) == 0) {
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (device != 0 && st.st_dev != device) {
        return -EXDEV;
    }
    r = remove_entries(fd, st.st_dev);
    if (r < 0) {
        return r;
    }
    return unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_entries(int fd, dev_t device)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    SCOPED(scope_dir) DIR *d = copy >= 0 ? fdopendir(copy) : NULL;

    if (d == NULL) {
        return -errno;
    }
    for (;;) {
        const struct dirent *entry;
        int r;

        errno = 0;
        entry = readdir(d);
        if (entry == NULL) {
            return -errno;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        r = remove_entry(fd, entry->d_name, device);
        if (r < 0) {
            return r;
        }
    }
}

int file_remove_tree(int dir, const char *path)
{
    return remove_entry(dir, path, 0);
}

int file_open_in_root(int root, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    long fd;

    do {
        fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    } while (fd < 0 && errno == EAGAIN);
    return fd < 0 ? -errno : (int)fd;
}
