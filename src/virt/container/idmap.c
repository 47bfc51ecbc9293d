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
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/overlay.h"
#include "virt/container/mounts.h"
#include "virt/container/private.h"

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

static int send_one(const struct setup *s, const json_t *mount,
                    const struct mount_plan *p, int userns_fd, struct err *e)
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
    (void)mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &slave, sizeof slave);
    if (p->idmap && ns >= 0) {
        r = shift(fd, ns, p->idmap_recursive);
    }
    if (r < 0) {
        return err_sys(
            e, r, "cannot shift the ids of mount '%s': its file system refuses", p->to);
    }
    r = sync_send(s->sync[0], SYNC_GO, fd);
    return r < 0 ? err_sys(e, r, "cannot hand mount '%s' over", p->to) : 0;
}

int mounts_send(const struct setup *s, int userns_fd, struct err *e)
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

#define LAYERS_MOST 500 /* OVL_MAX_STACK of the kernel */

static int mount_layers(const struct container_overlay *o, int userns_fd, bool rootless,
                        struct err *e)
{
    int fds[LAYERS_MOST + 1];
    size_t n_fds = 0;
    struct strv paths = {0};
    int r = 0;

    if (o->n == 0 || o->n > LAYERS_MOST) {
        return err_set(e, -EINVAL, "an overlay has 1 to %d layers", LAYERS_MOST);
    }
    if (userns_fd < 0) {
        for (size_t i = 0; i < o->n; i++) {
            strv_add(&paths, o->lower[i]);
        }
        r = overlay_mount(&paths, o->upper, o->work, rootless, e);
        strv_fini(&paths);
        return r;
    }
    for (size_t i = 0; r == 0 && i < o->n; i++) {
        fds[n_fds] = -1;
        r = shift_layer(o->lower[i], userns_fd, &fds[n_fds], &paths, e);
        n_fds += fds[n_fds] >= 0 ? 1 : 0;
    }
    if (r == 0) {
        r = overlay_mount(&paths, o->upper, o->work, false, e);
    }
    for (size_t i = 0; i < n_fds; i++) {
        (void)close(fds[i]);
    }
    strv_fini(&paths);
    return r;
}

int rootfs_overlay(const struct setup *s, int userns_fd, struct err *e)
{
    return mount_layers(s->n->overlay, userns_fd, s->rootless, e);
}

int container_overlay_open(const struct container_overlay *o, int64_t base, struct err *e)
{
    SCOPED(scope_json) json_t *map = NULL;
    SCOPED(scope_close) int userns = -1;

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
    return mount_layers(o, userns, geteuid() != 0, e);
}
