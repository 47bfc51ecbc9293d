/* point.c - mount points inside a root that nobody can trust.
 *
 * The kernel resolves (openat2(2), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS); what is
 * missing is made one part at a time below a descriptor, so that no symbolic
 * link leads a mkdir outside.  A dangling link is followed by hand, a bounded
 * number of times, and again inside the root. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/setup.h"

#define LINKS_MOST     16
#define DIRECTORY_MODE 0755

static int open_strict(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    long fd;

    do {
        fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    } while (fd < 0 && errno == EAGAIN);
    return fd < 0 ? -errno : (int)fd;
}

static int make_directories(int root, const char *path, int links);

/* `dir`/`name` exists but leads nowhere: make what it points to. */
static int make_linked(int root, int dir, const char *parent, const char *name, int links)
{
    char text[PATH_MAX];
    char next[PATH_MAX];
    ssize_t n = readlinkat(dir, name, text, sizeof text - 1);

    if (n < 0) {
        return errno == EINVAL ? -ENOTDIR : -errno;
    }
    if (links == 0) {
        return -ELOOP;
    }
    text[n] = '\0';
    if (text[0] == '/') {
        return make_directories(root, text, links - 1);
    }
    if (str_print(next, sizeof next, "%s/%s", parent, text) < 0) {
        return -ENAMETOOLONG;
    }
    return make_directories(root, next, links - 1);
}

/* One part below `parent`, which exists.  The descriptor of it. */
static int make_part(int root, const char *parent, const char *name, const char *whole,
                     int links)
{
    SCOPED(scope_close)
    int dir = file_open_in_root(root, parent, O_PATH | O_DIRECTORY, 0);
    int fd;
    int r;

    if (dir < 0) {
        return dir;
    }
    if (mkdirat(dir, name, DIRECTORY_MODE) < 0) {
        if (errno != EEXIST) {
            return -errno;
        }
        r = make_linked(root, dir, parent, name, links);
        if (r < 0) {
            return r;
        }
    }
    fd = file_open_in_root(root, whole, O_PATH | O_DIRECTORY, 0);
    return fd;
}

static int make_directories(int root, const char *path, int links)
{
    char whole[PATH_MAX];
    char parent[PATH_MAX] = "/";
    size_t at = 0;

    if (str_print(whole, sizeof whole, "%s%s", path[0] == '/' ? "" : "/", path) < 0) {
        return -ENAMETOOLONG;
    }
    while (whole[at] != '\0') {
        size_t start = at + strspn(whole + at, "/");
        size_t end = start + strcspn(whole + start, "/");
        char name[NAME_MAX + 1];
        char kept = whole[end];
        int fd;

        if (end == start) {
            break;
        }
        if (str_print(name, sizeof name, "%.*s", (int)(end - start), whole + start) < 0) {
            return -ENAMETOOLONG;
        }
        whole[end] = '\0';
        fd = file_open_in_root(root, whole, O_PATH | O_DIRECTORY, 0);
        if (fd == -ENOENT) {
            fd = make_part(root, parent, name, whole, links);
        }
        if (fd < 0) {
            return fd;
        }
        (void)close(fd);
        (void)str_print(parent, sizeof parent, "%s", whole);
        whole[end] = kept;
        at = end;
    }
    return 0;
}

static int split(const char *in, char parent[PATH_MAX], const char **ret_name)
{
    const char *slash = strrchr(in, '/');

    *ret_name = slash != NULL ? slash + 1 : in;
    if (**ret_name == '\0') {
        return -EISDIR;
    }
    return str_print(parent, PATH_MAX, "%.*s/", slash != NULL ? (int)(slash - in) : 0,
                     in);
}

static int make_file(int root, const char *path)
{
    char parent[PATH_MAX];
    const char *name;
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_close) int fd = -1;
    int r = split(path, parent, &name);

    r = r == 0 ? make_directories(root, parent, LINKS_MOST) : r;
    if (r < 0) {
        return r;
    }
    dir = file_open_in_root(root, parent, O_PATH | O_DIRECTORY, 0);
    if (dir < 0) {
        return dir;
    }
    fd = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) {
        return errno == EEXIST ? -ELOOP : -errno; /* a link that leads nowhere */
    }
    return 0;
}

/* /proc, /sys, /dev and what lies in them. */
static bool is_system(const char *path)
{
    static const char *const own[] = {"/proc", "/sys", "/dev"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        size_t len = strlen(own[i]);

        if (strncmp(path, own[i], len) == 0 && (path[len] == '\0' || path[len] == '/')) {
            return true;
        }
    }
    return false;
}

static int find(int root, const char *path, bool strict)
{
    return strict ? open_strict(root, path, O_PATH)
                  : file_open_in_root(root, path, O_PATH, 0);
}

/* A link of the image must not lead a mount into the kernel's file systems. */
static int check_point(int fd, const char *path, struct err *e)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0) {
        return err_sys(e, -errno, "cannot look at the mount point '%s'", path);
    }
    if ((fs.f_type == PROC_SUPER_MAGIC && !str_starts(path, "/proc")) ||
        (fs.f_type == SYSFS_MAGIC && !str_starts(path, "/sys"))) {
        return err_set(e, -EPERM,
                       "cannot mount on '%s': it leads into a file system of the kernel",
                       path);
    }
    return 0;
}

int mounts_point(const struct setup *s, const char *path, bool is_dir, struct err *e)
{
    bool strict = is_system(path);
    int fd = find(s->root, path, strict);
    int r;

    if (fd == -ENOENT) {
        fd = is_dir ? make_directories(s->root, path, LINKS_MOST)
                    : make_file(s->root, path);
        fd = fd == 0 ? find(s->root, path, strict) : fd;
    }
    if (fd == -ELOOP && strict) {
        return err_set(e, -ELOOP,
                       "cannot use '%s' of the root file system: there is a "
                       "symbolic link on its way",
                       path);
    }
    if (fd < 0) {
        return err_sys(e, fd, "cannot make the mount point '%s'", path);
    }
    r = check_point(fd, path, e);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    return fd;
}

int mounts_attach(const struct setup *s, int fd, const char *path, bool is_dir,
                  struct err *e)
{
    SCOPED(scope_close) int point = mounts_point(s, path, is_dir, e);

    if (point < 0) {
        return point;
    }
    if (move_mount(fd, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
        0) {
        return err_sys(e, -errno, "cannot mount on '%s'", path);
    }
    return 0;
}
