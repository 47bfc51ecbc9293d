/* rootfs.c - the container's root: attached, filled, hidden where needed, entered.
 *
 * The root file system is a detached mount (an overlay, or a copy of the bundle's
 * root) that is attached on top of "/" in the container's own mount namespace and
 * becomes its root by pivot_root(".", "."), see pivot_root(2), "NOTES": no
 * directory of the host is needed to put it on. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/setup.h"
#include "virt/container/tree/mounts.h"

static unsigned long propagation(const struct setup *s)
{
    const char *word = config_text(s->config, "linux.rootfsPropagation", "");

    if (strstr(word, "private") != NULL) {
        return MS_PRIVATE | MS_REC;
    }
    return MS_SLAVE |
           MS_REC; /* also for "shared": the new root itself is made so later */
}

static int copy_root(struct setup *s, struct err *e)
{
    const char *path = config_text(s->config, "root.path", "rootfs");
    struct mount_attr a = {.propagation = MS_SLAVE};
    char full[PATH_MAX];
    int fd;

    if (str_print(full, sizeof full, "%s%s%s", path[0] == '/' ? "" : s->c->bundle,
                  path[0] == '/' ? "" : "/", path) < 0) {
        return err_set(e, -ENAMETOOLONG, "the root file system's path is too long");
    }
    fd = open_tree(AT_FDCWD, full, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot open the root file system '%s'", full);
    }
    /* Mounts below it must not spread to the host's. */
    (void)mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof a);
    return fd;
}

int rootfs_open(struct setup *s, int userns_fd, struct err *e)
{
    return s->n->overlay != NULL ? rootfs_overlay(s, userns_fd, e) : copy_root(s, e);
}

int rootfs_enter(struct setup *s, struct err *e)
{
    struct mount_attr a = {.propagation = MS_PRIVATE};

    if (mount(NULL, "/", NULL, propagation(s), NULL) < 0) {
        return err_sys(e, -errno, "cannot part the mounts from the host's");
    }
    if (s->root < 0) {
        s->root = rootfs_open(s, -1, e);
    }
    if (s->root < 0) {
        return s->root;
    }
    if (strstr(config_text(s->config, "linux.rootfsPropagation", ""), "slave") == NULL) {
        (void)mount_setattr(s->root, "", AT_EMPTY_PATH, &a, sizeof a);
    }
    if (move_mount(s->root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return err_sys(e, -errno, "cannot attach the root file system");
    }
    return 0;
}

/* Put an empty file or directory over `path`; a missing one is fine. */
static int mask(struct setup *s, const char *path, struct err *e)
{
    SCOPED(scope_close) int at = file_open_in_root(s->root, path, O_PATH, 0);
    SCOPED(scope_close) int fd = -1;
    struct stat st;

    if (at == -ENOENT || at == -ENOTDIR || at == -EACCES) {
        return 0;
    }
    if (at < 0 || fstat(at, &st) < 0) {
        return err_sys(e, at < 0 ? at : -errno, "cannot hide '%s'", path);
    }
    if (S_ISDIR(st.st_mode) && s->empty >= 0) {
        fd = open_tree(s->empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    } else if (S_ISDIR(st.st_mode)) {
        SCOPED(scope_close) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

        (void)fsconfig(fs, FSCONFIG_SET_STRING, "size", "0k", 0);
        (void)fsconfig(fs, FSCONFIG_SET_STRING, "mode", "755", 0);
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
            fd = fsmount(fs, FSMOUNT_CLOEXEC,
                         MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                             MOUNT_ATTR_NOEXEC);
        }
    } else {
        fd = open_tree(s->null, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    }
    if (fd < 0 || move_mount(fd, "", at, "",
                             MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        return err_sys(e, -errno, "cannot hide '%s'", path);
    }
    if (S_ISDIR(st.st_mode) && s->empty < 0) {
        s->empty = scope_take_fd(&fd); /* one serves all */
    }
    return 0;
}

static int make_read_only(struct setup *s, const char *path, struct err *e)
{
    SCOPED(scope_close) int at = file_open_in_root(s->root, path, O_PATH, 0);
    SCOPED(scope_close) int fd = -1;
    struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};

    if (at == -ENOENT || at == -ENOTDIR || at == -EACCES) {
        return 0;
    }
    if (at < 0) {
        return err_sys(e, at, "cannot make '%s' read-only", path);
    }
    fd = open_tree(at, "",
                   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof a) < 0 ||
        move_mount(fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
            0) {
        return err_sys(e, -errno, "cannot make '%s' read-only", path);
    }
    return 0;
}

/* The host's /dev/null, checked to be it: what files are hidden behind. */
static int open_null(struct setup *s, struct err *e)
{
    struct stat st;

    s->null = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (s->null < 0 || fstat(s->null, &st) < 0) {
        return err_sys(e, -errno, "cannot open /dev/null");
    }
    return S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)
               ? 0
               : err_set(e, -ENODEV, "the host's /dev/null is not the null device");
}

int rootfs_finish(struct setup *s, struct err *e)
{
    const json_t *read_only = config_get(s->config, "linux.readonlyPaths");
    const json_t *masked = config_get(s->config, "linux.maskedPaths");
    size_t i;
    json_t *item;
    int r = s->null < 0 ? open_null(s, e) : 0;

    json_array_foreach(read_only, i, item)
    {
        r = r < 0 ? r : make_read_only(s, json_string_value(item), e);
    }
    json_array_foreach(masked, i, item)
    {
        r = r < 0 ? r : mask(s, json_string_value(item), e);
    }
    if (r == 0 && (config_flag(s->config, "root.readonly") ||
                   (s->n->overlay != NULL && s->n->overlay->upper == NULL))) {
        struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};

        if (mount_setattr(s->root, "", AT_EMPTY_PATH, &a, sizeof a) < 0) {
            r = err_sys(e, -errno, "cannot make the root file system read-only");
        }
    }
    return r;
}

static int without_pivot(struct setup *s, struct err *e)
{
    if (fchdir(s->root) < 0 || chroot(".") < 0 || chdir("/") < 0) {
        return err_sys(e, -errno, "cannot enter the root file system");
    }
    return 0;
}

int rootfs_pivot(struct setup *s, struct err *e)
{
    const char *word = config_text(s->config, "linux.rootfsPropagation", "");
    SCOPED(scope_close) int old = -1;

    if (s->n->no_pivot) {
        return without_pivot(s, e);
    }
    /* Below "/" lies the host's root, which the new one covers. */
    old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || fchdir(s->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0) {
        return err_sys(e, -errno, "cannot enter the root file system");
    }
    /* The old root now lies on the new one: let go of it, with no event to the host, and
     * without a change of the new one's mounts. */
    if (fchdir(old) < 0 || mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return err_sys(e, -errno, "cannot leave the host's root file system");
    }
    if (strstr(word, "shared") != NULL &&
        mount(NULL, "/", NULL, MS_SHARED | (word[0] == 'r' ? MS_REC : 0), NULL) < 0) {
        return err_sys(e, -errno, "cannot share the root file system's mounts");
    }
    if (strstr(word, "unbindable") != NULL &&
        mount(NULL, "/", NULL, MS_UNBINDABLE | (word[0] == 'r' ? MS_REC : 0), NULL) < 0) {
        return err_sys(e, -errno, "cannot make the root file system unbindable");
    }
    return 0;
}
