/* keep.c - files that get their name when they are whole, and links that lead to them.
 *
 * Files that were not linked anew for longest go when there are more than `FILES_MOST`:
 * a machine that has one mapped keeps it, the next that needs it makes it again. */
#include "resource/image/kernel/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "base/str.h"
#include "host/file.h"

#define FILES_MOST 32
#define NEW        ".new"

static int list(int at, int (*fn)(int at, const char *name, void *arg), void *arg)
{
    int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;
    int r = 0;

    while (d != NULL && r == 0 && (x = readdir(d)) != NULL) {
        r = fn(at, x->d_name, arg);
    }
    return r;
}

struct files {
    unsigned n;
    struct timespec oldest;
    char name[NAME_MAX + 1];
};

static int see_file(int at, const char *name, void *arg)
{
    struct files *f = arg;
    struct stat st;

    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        strchr(name, '.') == NULL || name[0] == '.') {
        return 0;
    }
    if (f->n++ == 0 || st.st_mtim.tv_sec < f->oldest.tv_sec) {
        f->oldest = st.st_mtim;
        (void)str_print(f->name, sizeof f->name, "%s", name);
    }
    return 0;
}

static int drop_dead(int at, const char *name, void *arg)
{
    (void)arg;
    if (str_starts(name, NEW) ||
        (name[0] != '.' && faccessat(at, name, F_OK, 0) < 0 && errno == ENOENT)) {
        (void)unlinkat(at, name, 0);
    }
    return 0;
}

static void tidy(int dir)
{
    SCOPED(scope_close) int of = openat(dir, "of", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct files f = {0};

    (void)list(dir, drop_dead, NULL);
    (void)list(dir, see_file, &f);
    if (f.n > FILES_MOST) {
        (void)unlinkat(dir, f.name, 0);
    }
    (void)list(of, drop_dead, NULL);
}

int keep_open(const char *state, int *ret_dir, int *ret_lock, struct err *e)
{
    char path[PATH_MAX];
    int r = str_print(path, sizeof path, "%s/kernels/of", state);

    r = r < 0 ? r : file_make_dirs(path, 0700);
    if (r == 0) {
        (void)str_print(path, sizeof path, "%s/kernels", state);
        *ret_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = *ret_dir < 0 ? -errno : 0;
    }
    if (r == 0) {
        *ret_lock = openat(*ret_dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        while (*ret_lock >= 0 && flock(*ret_lock, LOCK_EX) < 0) {
            if (errno != EINTR) {
                scope_close(ret_lock);
                *ret_lock = -1;
            }
        }
        r = *ret_lock < 0 ? -errno : 0;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot use '%s'", path);
    }
    tidy(*ret_dir);
    return 0;
}

void keep_close(int dir, int lock)
{
    scope_close(&lock);
    scope_close(&dir);
}

bool keep_has(int dir, const char *key, const char *what)
{
    char name[NAME_MAX + 1];

    return str_print(name, sizeof name, "of/%s.%s", key, what) == 0 &&
           faccessat(dir, name, F_OK, 0) == 0;
}

int keep_link(int dir, const char *key, const char *what, const char *target,
              struct err *e)
{
    char name[NAME_MAX + 1];
    int r = str_print(name, sizeof name, "of/%s.%s", key, what);

    r = r < 0 ? r : fault_step("kernel.link");
    (void)unlinkat(dir, "of/" NEW, 0);
    if (r == 0 && (symlinkat(target, dir, "of/" NEW) < 0 ||
                   renameat(dir, "of/" NEW, dir, name) < 0)) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot note what a kernel was unpacked to") : 0;
}

static int write_file(int dir, const char *name, const void *bytes, size_t len)
{
    SCOPED(scope_close)
    int fd = openat(dir, NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
    int r = fd < 0 ? -errno : fault_step("kernel.write");

    r = r < 0 ? r : file_write_all(fd, bytes, len);
    if (r == 0 && fsync(fd) < 0) {
        r = -errno;
    }
    r = r < 0 ? r : fault_step("kernel.name");
    if (r == 0 && renameat(dir, NEW, dir, name) < 0) {
        r = -errno;
    }
    if (r < 0 && fd >= 0) {
        (void)unlinkat(dir, NEW, 0);
    }
    return r;
}

int keep_file(int dir, const char *key, const char *what, const void *bytes, size_t len,
              struct err *e)
{
    uint8_t sum[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES], name[NAME_MAX + 1], target[NAME_MAX + 4];
    int r;

    sha256_sum(bytes, len, sum);
    sha256_hex(sum, hex);
    (void)str_print(name, sizeof name, "%s.%s", hex,
                    strcmp(what, "kernel") == 0 ? "elf" : "cpio");
    (void)str_print(target, sizeof target, "../%s", name);
    r = write_file(dir, name, bytes, len);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", name)
                 : keep_link(dir, key, what, target, e);
}
