/* below.c - look a path up in a pile of unpacked layers, as overlayfs merges them.
 *
 * Each layer is walked by itself, folder by folder, with O_NOFOLLOW: whoever names a
 * file through a symbolic link gets -ENOTDIR, since archives name files by where they
 * are.  A whiteout, or anything but a folder on the way, hides what is below; so does
 * an opaque folder, once the walk in its own layer has found nothing. */
#include "resource/image/pack/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"

#define PATH_BYTES 4096

/* An O_PATH descriptor has no fgetxattr. */
static bool is_opaque(int dir)
{
    static const char *const marks[] = {"trusted.overlay.opaque", "user.overlay.opaque"};
    char path[40], value[2];

    (void)str_print(path, sizeof path, "/proc/self/fd/%d", dir);
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (getxattr(path, marks[i], value, sizeof value) == 1 && value[0] == 'y') {
            return true;
        }
    }
    return false;
}

/* What a link may be made to: 0 or -errno. */
static int check_last(int dir, const char *name)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) {
        return 0;
    }
    return S_ISDIR(st.st_mode)                                  ? -EISDIR
           : S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0) ? -ENOENT
                                                                : -EINVAL;
}

/* One folder deeper: *dir is replaced.  -ENOENT only when nothing is there; then, and
 * only then, a lower layer may have it. */
static int descend(int *dir, const char *name, bool *hidden)
{
    int next = openat(*dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (next < 0) {
        *hidden |= errno != ENOENT;
        return errno == ELOOP ? -ENOTDIR : -errno;
    }
    (void)close(*dir);
    *dir = next;
    *hidden |= is_opaque(next);
    return 0;
}

/* In one layer.  *hidden: what is below does not count. */
static int find_in(int root, const char *path, bool *hidden)
{
    SCOPED(scope_close) int dir = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char copy[PATH_BYTES];
    char *rest = copy, *part;
    int r = dir < 0 ? -errno : str_print(copy, sizeof copy, "%s", path);

    if (r < 0) {
        *hidden = true;
        return r;
    }
    *hidden |= is_opaque(dir);
    while ((part = strsep(&rest, "/")) != NULL && rest != NULL) {
        r = descend(&dir, part, hidden);
        if (r < 0) {
            return r;
        }
    }
    r = check_last(dir, part != NULL ? part : "");
    if (r == -ENOENT) {
        *hidden |= faccessat(dir, part, F_OK, AT_SYMLINK_NOFOLLOW) == 0; /* whiteout */
        return r;
    }
    *hidden = true;
    return r < 0 ? r : scope_take_fd(&dir);
}

int extract_find_below(const int *roots, size_t n, const char *path)
{
    bool hidden = false;
    int r = -ENOENT;

    for (size_t i = 0; i < n && !hidden; i++) {
        r = find_in(roots[i], path, &hidden);
        if (r >= 0 || r != -ENOENT) {
            return r;
        }
    }
    return r;
}
