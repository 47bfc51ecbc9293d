/* meet.c - what the parent does while the child makes itself: ids, the root file
 * system, the network namespace, hooks and the sources of mounts; in the order of
 * the table in sync.c. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/container/setup.h"

static int child_namespace(const struct setup *s, const char *name, struct err *e)
{
    char path[64];
    int fd;

    (void)str_print(path, sizeof path, "/proc/%d/ns/%s", (int)s->c->pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd
                   : err_sys(e, -errno, "cannot open the container's %s namespace", name);
}

int meet_map_ids(struct setup *s, struct err *e)
{
    int r = sync_happens(s, SYNC_MAPPED) ? ns_write_maps(s->config, s->c->pid, e) : 0;

    if (r == 0 && s->new_user && s->rootless) {
        /* once it cannot be traced, a user may not open these */
        s->c->userns = child_namespace(s, "user", e);
        s->c->netns = child_namespace(s, "net", e);
    }
    return r < 0 ? r : sync_tell(s, SYNC_MAPPED, -1, e);
}

int meet_open_root(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int userns = -1;
    SCOPED(scope_close) int root = -1;

    if (!sync_happens(s, SYNC_ROOT)) {
        return 0;
    }
    userns = child_namespace(s, "user", e);
    if (userns < 0) {
        return userns;
    }
    root = rootfs_open(s, userns, e);
    return root < 0 ? root : sync_tell(s, SYNC_ROOT, root, e);
}

/* Make the network namespace by entering it, and come back. */
int meet_lend_network(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int own = -1;
    SCOPED(scope_close) int made = -1;
    int r = 0;

    if (!sync_happens(s, SYNC_NETWORK)) {
        return 0;
    }
    own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0 || unshare(CLONE_NEWNET) < 0) {
        return err_sys(e, -errno, "cannot make a network namespace");
    }
    made = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    r = made < 0 ? -errno : 0;
    if (setns(own, CLONE_NEWNET) < 0) {
        r = -errno;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot make a network namespace");
    }
    return sync_tell(s, SYNC_NETWORK, made, e);
}

static int move_devices(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int netns = -1;

    if (json_object_size(config_get(s->config, "linux.netDevices")) == 0) {
        return 0;
    }
    if (!ns_has(&s->ns, NS_NET)) {
        return err_set(e, -EINVAL, "'linux.netDevices' needs a network namespace");
    }
    netns = container_netns(s->c);
    return netns < 0 ? err_sys(e, netns, "cannot open the network namespace")
                     : netdev_move_all(s->config, netns, e);
}

int meet_hooks(struct setup *s, struct err *e)
{
    int r = sync_await(s, SYNC_MEET, NULL, e);

    if (r < 0 || !sync_happens(s, SYNC_MET)) {
        return r;
    }
    r = move_devices(s, e);
    r = r == 0 ? hooks_run_early(s->c, "prestart", "creating", s->c->pid, e) : r;
    r = r == 0 ? hooks_run_early(s->c, "createRuntime", "creating", s->c->pid, e) : r;
    return r < 0 ? r : sync_tell(s, SYNC_MET, -1, e);
}

int meet_mounts(struct setup *s, struct err *e)
{
    SCOPED(scope_close)
    int userns = sync_happens(s, SYNC_ROOT) ? child_namespace(s, "user", e) : -1;

    return mounts_send(s, userns, e);
}
