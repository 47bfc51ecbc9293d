/* cgroup_mount.c - what a container sees at /sys/fs/cgroup.
 *
 * What the container has of its own, and nothing of the host.  Where that is a v2
 * group alone: a cgroup2 file system, also on a hybrid host.  Else a tmpfs with one
 * directory for each v1 hierarchy in which the container has its own group, named
 * as on the host, and "unified" for v2.  A hierarchy in which it shares a group
 * with others is left out.  With a cgroup namespace each file system is rooted at
 * the container's group; without one, the group's directory is bound. */
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
#include "virt/container/setup.h"

#define HIERARCHIES_MOST 32
#define FLAGS            (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

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

struct hierarchy {
    const char *controllers; /* "": v2 */
    const char *path;        /* of the container's group in it */
};

/* Those in which the container has a group of its own; `text` is cut up. */
static size_t list_own(const struct setup *s, char *text, struct hierarchy *h)
{
    char *save = NULL;
    size_t n = 0;

    for (char *line = strtok_r(text, "\n", &save); line != NULL && n < HIERARCHIES_MOST;
         line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        if (strcmp(path, "/") != 0 && str_ends(path, s->group)) {
            h[n++] = (struct hierarchy){.controllers = controllers + 1, .path = path};
        }
    }
    return n;
}

static const char *name_of(const struct hierarchy *h)
{
    return h->controllers[0] == '\0'             ? "unified"
           : str_starts(h->controllers, "name=") ? h->controllers + strlen("name=")
                                                 : h->controllers;
}

/* The directory of the group itself, where the host's hierarchies are at hand. */
static int bind_group(const struct hierarchy *h, bool read_only)
{
    struct mount_attr a = {.attr_set = FLAGS | (read_only ? MOUNT_ATTR_RDONLY : 0),
                           .propagation = MS_SLAVE};
    char path[PATH_MAX];
    struct statfs fs;
    bool v2_host = statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
    int fd;

    if (str_print(path, sizeof path, "/sys/fs/cgroup%s%s%s", v2_host ? "" : "/",
                  v2_host ? "" : name_of(h), h->path) < 0) {
        return -ENAMETOOLONG;
    }
    fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof a) < 0) {
        int r = -errno;

        scope_close(&fd);
        return r;
    }
    return fd;
}

static int open_hierarchy(const struct setup *s, const struct hierarchy *h,
                          bool read_only)
{
    if (!ns_has(&s->ns, NS_CGROUP)) {
        return bind_group(h, read_only);
    }
    return make(h->controllers[0] == '\0' ? "cgroup2" : "cgroup", h->controllers,
                read_only);
}

/* "cpu,cpuacct" is also found as "cpu" and as "cpuacct". */
static int add_links(int dir, const char *name)
{
    char part[NAME_MAX];

    for (const char *p = name; strchr(name, ',') != NULL && *p != '\0';) {
        size_t len = strcspn(p, ",");

        (void)str_print(part, sizeof part, "%.*s", (int)len, p);
        if (symlinkat(name, dir, part) < 0 && errno != EEXIST) {
            return -errno;
        }
        p += len + (p[len] == ',');
    }
    return 0;
}

static int put_one(struct setup *s, int base, const char *to, const struct hierarchy *h,
                   bool read_only, struct err *e)
{
    SCOPED(scope_close) int fd = open_hierarchy(s, h, read_only);
    char path[PATH_MAX];
    int r;

    if (fd < 0) {
        return err_sys(e, fd, "cannot show control group '%s'", name_of(h));
    }
    (void)str_print(path, sizeof path, "%s/%s", to, name_of(h));
    r = mounts_attach(s, fd, path, true, e);
    if (r == 0 && add_links(base, name_of(h)) < 0) {
        r = err_sys(e, -errno, "cannot show control group '%s'", name_of(h));
    }
    return r;
}

static int put_many(struct setup *s, const char *to, const struct hierarchy *h, size_t n,
                    bool read_only, struct err *e)
{
    SCOPED(scope_close) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    SCOPED(scope_close) int base = -1;
    struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};
    int r;

    if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "mode", "755", 0) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        base = fsmount(fs, FSMOUNT_CLOEXEC, FLAGS);
    }
    if (base < 0) {
        return err_sys(e, -errno, "cannot mount '%s'", to);
    }
    r = mounts_attach(s, base, to, true, e);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = put_one(s, base, to, &h[i], read_only, e);
    }
    if (r == 0 && read_only) {
        (void)mount_setattr(base, "", AT_EMPTY_PATH, &a, sizeof a);
    }
    return r;
}

int mounts_cgroup(struct setup *s, const char *to, bool read_only, struct err *e)
{
    struct hierarchy h[HIERARCHIES_MOST];
    size_t n = s->groups != NULL && s->group != NULL ? list_own(s, s->groups, h) : 0;
    SCOPED(scope_close) int fd = -1;

    if (n == 0) { /* an empty directory: there is nothing of its own to show */
        fd = mounts_point(s, to, true, e);
        return fd < 0 ? fd : 0;
    }
    if (n > 1 || h[0].controllers[0] != '\0') {
        return put_many(s, to, h, n, read_only, e);
    }
    fd = open_hierarchy(s, &h[0], read_only);
    return fd < 0 ? err_sys(e, fd, "cannot mount '%s'", to)
                  : mounts_attach(s, fd, to, true, e);
}
