/* cgroup_mount.c - what a container sees at /sys/fs/cgroup.
 *
 * On a v2 host: a cgroup2 file system.  On v1 and hybrid hosts: a tmpfs with one
 * directory per hierarchy that the container's first process is in, named as on
 * the host, and "unified" for v2.  With a cgroup namespace each is rooted at the
 * container's own group. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/private.h"

#define FLAGS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static int make(const char *type, const char *controllers, bool read_only)
{
    SCOPED(scope_close) int fs = fsopen(type, FSOPEN_CLOEXEC);
    char copy[256];
    char *save = NULL;
    int fd;

    if (fs < 0) {
        return -errno;
    }
    (void)str_print(copy, sizeof copy, "%s", controllers);
    for (char *w = strtok_r(copy, ",", &save); w != NULL;
         w = strtok_r(NULL, ",", &save)) {
        int bad = str_starts(w, "name=")
                      ? fsconfig(fs, FSCONFIG_SET_FLAG, "none", NULL, 0) |
                            fsconfig(fs, FSCONFIG_SET_STRING, "name", w + 5, 0)
                      : fsconfig(fs, FSCONFIG_SET_FLAG, w, NULL, 0);

        if (bad != 0) {
            return -errno;
        }
    }
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    fd = fsmount(fs, FSMOUNT_CLOEXEC, FLAGS | (read_only ? MOUNT_ATTR_RDONLY : 0));
    return fd >= 0 ? fd : -errno;
}

static int put(struct setup *s, int fd, const char *to, const char *name, struct err *e)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/%s", to, name);
    return mounts_attach(s, fd, path, true, e);
}

/* One line "ID:CONTROLLERS:PATH" of /proc/self/cgroup. */
static int put_hierarchy(struct setup *s, const char *to, char *line, bool read_only,
                         struct err *e)
{
    char *controllers = strchr(line, ':');
    char *end = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    SCOPED(scope_close) int fd = -1;
    const char *name;

    if (end == NULL) {
        return 0;
    }
    *end = '\0';
    controllers++;
    name = controllers[0] == '\0'             ? "unified"
           : str_starts(controllers, "name=") ? controllers + 5
                                              : controllers;
    fd = make(controllers[0] == '\0' ? "cgroup2" : "cgroup", controllers, read_only);
    return fd < 0 ? 0
                  : put(s, fd, to, name, e); /* a hierarchy that is not mounted here */
}

static int put_all(struct setup *s, const char *to, bool read_only, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_close) int base = -1;
    struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};
    char *save = NULL;
    int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    int r = file_read(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL);

    if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "mode", "755", 0) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        base = fsmount(fs, FSMOUNT_CLOEXEC, FLAGS);
    }
    if (fs >= 0) {
        (void)close(fs);
    }
    if (base < 0 || r < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot mount '%s'", to);
    }
    r = mounts_attach(s, base, to, true, e);
    for (char *line = strtok_r(text, "\n", &save); r == 0 && line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        r = put_hierarchy(s, to, line, read_only, e);
    }
    if (r == 0 && read_only) {
        (void)mount_setattr(base, "", AT_EMPTY_PATH, &a, sizeof a);
    }
    return r;
}

int cgroup_mount(struct setup *s, const char *to, bool read_only, struct err *e)
{
    struct statfs fs;
    SCOPED(scope_close) int fd = -1;

    if (statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
        fd = make("cgroup2", "", read_only);
        if (fd < 0) { /* no cgroup namespace of our own: show the host's tree */
            fd = open_tree(AT_FDCWD, "/sys/fs/cgroup",
                           OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        }
        return fd < 0 ? err_sys(e, -errno, "cannot mount '%s'", to)
                      : mounts_attach(s, fd, to, true, e);
    }
    return put_all(s, to, read_only, e);
}
