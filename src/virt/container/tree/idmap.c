/* idmap.c - mounts whose ids are shifted, made by the privileged parent.
 *
 * mount_setattr(MOUNT_ATTR_IDMAP) takes the mapping from a user namespace: the
 * container's own, or, when a mount has mappings of its own, one that a short-lived
 * process holds.  With it files on disk keep their owners while the container
 * sees them in its own range; nothing is chowned.
 *
 * The upper directory of an overlay is not shifted: overlayfs writes to it as the
 * host's root, whose id no container's mapping has.  What a container changes is
 * therefore owned by its range on disk.
 *
 * Sources: mount_setattr(2) and Documentation/filesystems/idmappings.rst,
 * Linux 6.1: ext4, xfs, btrfs, tmpfs and overlayfs layers can be shifted. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "host/overlay.h"
#include "virt/container/setup.h"
#include "virt/container/tree/mounts.h"

static int shift(int fd, int userns_fd, bool recursive)
{
    struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP,
                           .userns_fd = (uint64_t)userns_fd};

    return mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &a,
                         sizeof a) < 0
               ? -errno
               : 0;
}

/* A user namespace with the mappings of one mount. */
static int make_userns(const json_t *mount, struct err *e)
{
    SCOPED(scope_json)
    json_t *as_config = json_pack("{s:{s:O, s:O}}", "linux", "uidMappings",
                                  config_get(mount, "uidMappings"), "gidMappings",
                                  config_get(mount, "gidMappings"));
    char path[64];
    pid_t pid;
    int fd = -1;
    int r;

    if (as_config == NULL) {
        return err_set(e, -EINVAL, "a mount needs both uidMappings and gidMappings");
    }
    pid = ns_clone(CLONE_NEWUSER, -1, NULL);
    if (pid == 0) {
        for (;;) {
            (void)pause();
        }
    }
    if (pid < 0) {
        return err_sys(e, pid, "cannot make a user namespace");
    }
    r = ns_write_maps(as_config, pid, e);
    if (r == 0) {
        (void)str_print(path, sizeof path, "/proc/%d/ns/user", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        r = fd < 0 ? err_sys(e, -errno, "cannot open a user namespace") : fd;
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    return r;
}

static int send_one(struct setup *s, const json_t *mount, const struct mount_plan *p,
                    int userns_fd, struct err *e)
{
    bool own = json_array_size(config_get(mount, "uidMappings")) != 0;
    SCOPED(scope_close) int made = own ? make_userns(mount, e) : -1;
    SCOPED(scope_close) int fd = -1;
    struct mount_attr slave = {.propagation = MS_SLAVE};
    int ns = own ? made : userns_fd;
    int r = 0;

    if (own && made < 0) {
        return made;
    }
    fd = mount_open_source(s, p, e);
    if (fd < 0) {
        return fd;
    }
    if (!mount_stays_shared(s, p)) {
        (void)mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &slave, sizeof slave);
    }
    if (p->idmap && ns >= 0) {
        r = shift(fd, ns, p->idmap_recursive);
    }
    if (r < 0) {
        return err_sys(
            e, r, "cannot shift the ids of mount '%s': its file system refuses", p->to);
    }
    return sync_tell(s, SYNC_MOUNT, fd, e);
}

int mounts_send(struct setup *s, int userns_fd, struct err *e)
{
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(config_get(s->config, "mounts"), i, item)
    {
        struct mount_plan p;

        r = mount_plan_read(item, &p, e);
        if (r == 0 && mount_needs_parent(s, &p)) {
            r = send_one(s, item, &p, userns_fd, e);
        }
        mount_plan_fini(&p);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* One directory as a detached, shifted mount; its "/proc/self/fd/N". */
static int shift_layer(const char *dir, int userns_fd, int *ret_fd, struct strv *paths,
                       struct err *e)
{
    int fd = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int r;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open the layer '%s'", dir);
    }
    *ret_fd = fd;
    r = shift(fd, userns_fd, false);
    strv_addf(paths, "/proc/self/fd/%d", fd);
    return r < 0 ? err_sys(e, r,
                           "cannot shift the ids of layer '%s': its file system refuses",
                           dir)
                 : 0;
}

#define LAYERS_MOST    500 /* OVL_MAX_STACK of the kernel */
#define SCRATCH_SIZE   "1m"
#define MAP_MOST_BYTES 16384

/* The layers' directories as an overlay takes them; `fds` are open as long as it needs. */
static int name_layers(const struct container_overlay *o, int userns_fd,
                       struct strv *paths, int fds[LAYERS_MOST], size_t *n_fds,
                       struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < o->n; i++) {
        if (userns_fd < 0) {
            strv_add(paths, o->lower[i]);
            continue;
        }
        fds[*n_fds] = -1;
        r = shift_layer(o->lower[i], userns_fd, &fds[*n_fds], paths, e);
        *n_fds += fds[*n_fds] >= 0 ? 1 : 0;
    }
    return r;
}

/* Without a directory for changes a little memory takes the mount points that the image
 * lacks; nobody inside can write to it, as the root is made read-only. */
static int make_scratch(uid_t owner, gid_t group, char upper[64], char work[64],
                        struct err *e)
{
    SCOPED(scope_close) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    SCOPED(scope_close) int fd = -1;

    (void)fsconfig(fs, FSCONFIG_SET_STRING, "size", SCRATCH_SIZE, 0);
    (void)fsconfig(fs, FSCONFIG_SET_STRING, "mode", "755", 0);
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    }
    if (fd < 0 || mkdirat(fd, "upper", 0755) < 0 || mkdirat(fd, "work", 0755) < 0 ||
        fchownat(fd, "upper", owner, group, 0) < 0) {
        return err_sys(e, -errno, "cannot make room for mount points");
    }
    (void)str_print(upper, 64, "/proc/self/fd/%d/upper", fd);
    (void)str_print(work, 64, "/proc/self/fd/%d/work", fd);
    return scope_take_fd(&fd);
}

/* For whom layers are mounted: ids of the container's root, outside. */
struct layers_for {
    int userns; /* -1: layers are not shifted */
    uid_t owner;
    gid_t group;
    bool rootless;
};

static int mount_layers(const struct container_overlay *o, const struct layers_for *whom,
                        struct err *e)
{
    int fds[LAYERS_MOST];
    size_t n_fds = 0;
    struct strv paths = {0};
    SCOPED(scope_close) int scratch = -1;
    char upper[64] = "";
    char work[64] = "";
    int r = 0;

    if (o->n == 0 || o->n > LAYERS_MOST) {
        return err_set(e, -EINVAL, "an overlay has 1 to %d layers", LAYERS_MOST);
    }
    if (o->upper == NULL) {
        scratch = make_scratch(whom->owner, whom->group, upper, work, e);
        r = scratch < 0 ? scratch : 0;
    }
    if (r == 0) {
        r = name_layers(o, whom->userns, &paths, fds, &n_fds, e);
    }
    if (r == 0) {
        r = overlay_mount(&paths, o->upper != NULL ? o->upper : upper,
                          o->upper != NULL ? o->work : work,
                          whom->rootless && whom->userns < 0, e);
    }
    for (size_t i = 0; i < n_fds; i++) {
        (void)close(fds[i]);
    }
    strv_fini(&paths);
    return r;
}

/* Which id outside is 0 inside, by what the kernel was told. */
static unsigned outer_root(pid_t pid, const char *map)
{
    SCOPED(scope_free) char *text = NULL;
    unsigned inner = 1;
    unsigned outer = 0;
    char path[64];

    (void)str_print(path, sizeof path, "/proc/%d/%s", (int)pid, map);
    if (file_read(AT_FDCWD, path, MAP_MOST_BYTES, &text, NULL) < 0) {
        return 0;
    }
    for (const char *line = text; line != NULL; line = strchr(line + 1, '\n')) {
        if (sscanf(line, "%u %u", &inner, &outer) == 2 && inner == 0) {
            return outer;
        }
    }
    return 0;
}

int rootfs_overlay(const struct setup *s, int userns_fd, struct err *e)
{
    struct layers_for whom = {.userns = userns_fd, .rootless = s->rootless};

    if (userns_fd >= 0) {
        whom.owner = outer_root(s->c->pid, "uid_map");
        whom.group = outer_root(s->c->pid, "gid_map");
    }
    return mount_layers(s->n->overlay, &whom, e);
}

int container_overlay_open(const struct container_overlay *o, int64_t base, struct err *e)
{
    SCOPED(scope_json) json_t *map = NULL;
    SCOPED(scope_close) int userns = -1;
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    struct layers_for whom = {
        .owner = (uid_t)base, .group = (gid_t)base, .rootless = geteuid() != 0};
    int fd;

    if (base > 0) {
        map = json_pack("{s:[{s:i, s:I, s:i}], s:[{s:i, s:I, s:i}]}", "uidMappings",
                        "containerID", 0, "hostID", (json_int_t)base, "size", 65536,
                        "gidMappings", "containerID", 0, "hostID", (json_int_t)base,
                        "size", 65536);
        userns = map != NULL ? make_userns(map, e) : -ENOMEM;
        if (userns < 0) {
            return err_set(e, userns, "no memory");
        }
    }
    whom.userns = userns;
    fd = mount_layers(o, &whom, e);
    if (fd >= 0 && o->upper == NULL) {
        (void)mount_setattr(fd, "", AT_EMPTY_PATH, &read_only, sizeof read_only);
    }
    return fd;
}
