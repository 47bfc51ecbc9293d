/* mounts.c - the mounts of a configuration, made inside a root nobody can trust.
 *
 * Every mount is made detached (fsopen/fsmount, or open_tree for a bind), given
 * its attributes, and then attached to a descriptor of its mount point (point.c).
 *
 * With a user namespace the new process may not read the sources or shift their
 * ids, and what it sees of the host's mounts is a slave of them; so the parent opens
 * such sources, and those of mounts that stay shared with the host, and they arrive
 * over the sync socket, in the order of the configuration.
 *
 * Sources: mount_setattr(2), fsconfig(2), openat2(2); runtime-spec 1.2,
 * config.md "Mounts" for the option words. */
#include "virt/container/tree/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/setup.h"

enum effect {
    E_SET,
    E_CLEAR,
    E_ATIME,
    E_SPREAD,
    E_SUPER,
    E_BIND,
    E_IDMAP,
    E_COPY_UP,
    E_REMOUNT,
    E_NOTHING
};

static const struct option_row {
    const char *word;
    enum effect effect;
    uint64_t value;
    bool recursive;
} option_rows[] = {
    {"ro", E_SET, MOUNT_ATTR_RDONLY, false},
    {"rw", E_CLEAR, MOUNT_ATTR_RDONLY, false},
    {"nosuid", E_SET, MOUNT_ATTR_NOSUID, false},
    {"suid", E_CLEAR, MOUNT_ATTR_NOSUID, false},
    {"nodev", E_SET, MOUNT_ATTR_NODEV, false},
    {"dev", E_CLEAR, MOUNT_ATTR_NODEV, false},
    {"noexec", E_SET, MOUNT_ATTR_NOEXEC, false},
    {"exec", E_CLEAR, MOUNT_ATTR_NOEXEC, false},
    {"nodiratime", E_SET, MOUNT_ATTR_NODIRATIME, false},
    {"diratime", E_CLEAR, MOUNT_ATTR_NODIRATIME, false},
    {"nosymfollow", E_SET, MOUNT_ATTR_NOSYMFOLLOW, false},
    {"symfollow", E_CLEAR, MOUNT_ATTR_NOSYMFOLLOW, false},
    {"noatime", E_ATIME, MOUNT_ATTR_NOATIME, false},
    {"atime", E_ATIME, MOUNT_ATTR_RELATIME, false},
    {"relatime", E_ATIME, MOUNT_ATTR_RELATIME, false},
    {"norelatime", E_ATIME, MOUNT_ATTR_STRICTATIME, false},
    {"strictatime", E_ATIME, MOUNT_ATTR_STRICTATIME, false},
    {"nostrictatime", E_ATIME, MOUNT_ATTR_RELATIME, false},
    {"rro", E_SET, MOUNT_ATTR_RDONLY, true},
    {"rrw", E_CLEAR, MOUNT_ATTR_RDONLY, true},
    {"rnosuid", E_SET, MOUNT_ATTR_NOSUID, true},
    {"rsuid", E_CLEAR, MOUNT_ATTR_NOSUID, true},
    {"rnodev", E_SET, MOUNT_ATTR_NODEV, true},
    {"rdev", E_CLEAR, MOUNT_ATTR_NODEV, true},
    {"rnoexec", E_SET, MOUNT_ATTR_NOEXEC, true},
    {"rexec", E_CLEAR, MOUNT_ATTR_NOEXEC, true},
    {"rnodiratime", E_SET, MOUNT_ATTR_NODIRATIME, true},
    {"rdiratime", E_CLEAR, MOUNT_ATTR_NODIRATIME, true},
    {"rnosymfollow", E_SET, MOUNT_ATTR_NOSYMFOLLOW, true},
    {"rsymfollow", E_CLEAR, MOUNT_ATTR_NOSYMFOLLOW, true},
    {"rnoatime", E_ATIME, MOUNT_ATTR_NOATIME, true},
    {"ratime", E_ATIME, MOUNT_ATTR_RELATIME, true},
    {"rrelatime", E_ATIME, MOUNT_ATTR_RELATIME, true},
    {"rnorelatime", E_ATIME, MOUNT_ATTR_STRICTATIME, true},
    {"rstrictatime", E_ATIME, MOUNT_ATTR_STRICTATIME, true},
    {"rnostrictatime", E_ATIME, MOUNT_ATTR_RELATIME, true},
    {"private", E_SPREAD, MS_PRIVATE, false},
    {"rprivate", E_SPREAD, MS_PRIVATE, true},
    {"slave", E_SPREAD, MS_SLAVE, false},
    {"rslave", E_SPREAD, MS_SLAVE, true},
    {"shared", E_SPREAD, MS_SHARED, false},
    {"rshared", E_SPREAD, MS_SHARED, true},
    {"unbindable", E_SPREAD, MS_UNBINDABLE, false},
    {"runbindable", E_SPREAD, MS_UNBINDABLE, true},
    {"sync", E_SUPER, 0, false},
    {"dirsync", E_SUPER, 0, false},
    {"mand", E_SUPER, 0, false},
    {"lazytime", E_SUPER, 0, false},
    {"async", E_NOTHING, 0, false},
    {"nomand", E_NOTHING, 0, false},
    {"nolazytime", E_NOTHING, 0, false},
    {"iversion", E_NOTHING, 0, false},
    {"noiversion", E_NOTHING, 0, false},
    {"silent", E_NOTHING, 0, false},
    {"loud", E_NOTHING, 0, false},
    {"defaults", E_NOTHING, 0, false},
    {"remount", E_REMOUNT, 0, false},
    {"bind", E_BIND, 0, false},
    {"rbind", E_BIND, 0, true},
    {"idmap", E_IDMAP, 0, false},
    {"ridmap", E_IDMAP, 0, true},
    {"tmpcopyup", E_COPY_UP, 0, false},
};

const char *mounts_option(size_t i)
{
    return i < sizeof option_rows / sizeof option_rows[0] ? option_rows[i].word : NULL;
}

static const struct option_row *find_row(const char *word)
{
    for (size_t i = 0; i < sizeof option_rows / sizeof option_rows[0]; i++) {
        if (strcmp(option_rows[i].word, word) == 0) {
            return &option_rows[i];
        }
    }
    return NULL;
}

static void change(struct mount_attr *a, const struct option_row *row)
{
    switch (row->effect) {
    case E_SET:
        a->attr_set |= row->value;
        a->attr_clr &= ~row->value;
        break;
    case E_CLEAR:
        a->attr_clr |= row->value;
        a->attr_set &= ~row->value;
        break;
    case E_ATIME:
        a->attr_clr |= MOUNT_ATTR__ATIME;
        a->attr_set = (a->attr_set & ~(uint64_t)MOUNT_ATTR__ATIME) | row->value;
        break;
    case E_SPREAD:
        a->propagation = row->value;
        break;
    case E_SUPER:
    case E_BIND:
    case E_IDMAP:
    case E_COPY_UP:
    case E_REMOUNT:
    case E_NOTHING:
        break;
    }
}

int mount_plan_read(const json_t *mount, struct mount_plan *p, struct err *e)
{
    size_t i;
    json_t *item;

    memset(p, 0, sizeof *p);
    p->to = config_text(mount, "destination", "");
    p->type = config_text(mount, "type", "none");
    p->from = config_text(mount, "source", "");
    p->bind = strcmp(p->type, "bind") == 0;
    p->idmap = json_array_size(config_get(mount, "uidMappings")) != 0;
    json_array_foreach(config_get(mount, "options"), i, item)
    {
        const char *word = json_string_value(item);
        const struct option_row *row = find_row(word);

        if (row == NULL) {
            strv_add(&p->data, word);
            continue;
        }
        switch (row->effect) {
        case E_BIND:
            p->bind = true;
            p->recursive = p->recursive || row->recursive;
            break;
        case E_IDMAP:
            p->idmap = true;
            p->idmap_recursive = row->recursive;
            break;
        case E_SUPER:
            strv_add(&p->data, word);
            break;
        case E_COPY_UP:
            p->copy_up = true;
            break;
        case E_REMOUNT:
            p->change = true;
            break;
        default:
            change(row->recursive ? &p->deep : &p->flat, row);
        }
    }
    if (p->bind) {
        strv_fini(&p->data); /* a bind mount takes no options of a file system */
    } else if (strcmp(p->type, "none") == 0) {
        p->change = true;
    }
    if (p->change) {
        p->bind = false;
    }
    return strv_failed(&p->data)
               ? err_set(e, -ENOMEM, "cannot read mount '%s': no memory", p->to)
               : 0;
}

void mount_plan_fini(struct mount_plan *p)
{
    strv_fini(&p->data);
}

bool mount_stays_shared(const struct setup *s, const struct mount_plan *p)
{
    return p->bind && !ns_has(&s->ns, NS_USER) &&
           (p->flat.propagation == MS_SHARED || p->deep.propagation == MS_SHARED) &&
           strstr(config_text(s->config, "linux.rootfsPropagation", ""), "shared") !=
               NULL;
}

bool mount_needs_parent(const struct setup *s, const struct mount_plan *p)
{
    return p->bind && (p->idmap || (ns_has(&s->ns, NS_USER) && !s->rootless) ||
                       mount_stays_shared(s, p));
}

static int set_attr(int fd, unsigned flags, struct mount_attr a)
{
    if ((a.attr_set | a.attr_clr | a.propagation) == 0 ||
        mount_setattr(fd, "", AT_EMPTY_PATH | flags, &a, sizeof a) == 0) {
        return 0;
    }
    if (errno != EPERM || (a.attr_clr & ~(uint64_t)MOUNT_ATTR__ATIME) == 0) {
        return -errno;
    }
    /* In a user namespace the host's restrictions stay; the rest is still set. */
    a.attr_clr &= MOUNT_ATTR__ATIME;
    return mount_setattr(fd, "", AT_EMPTY_PATH | flags, &a, sizeof a) < 0 ? -errno : 0;
}

static int apply(int fd, const struct mount_plan *p, struct err *e)
{
    int r = set_attr(fd, 0, p->flat);

    r = r == 0 ? set_attr(fd, AT_RECURSIVE, p->deep) : r;
    return r < 0 ? err_sys(e, r, "cannot set the options of mount '%s'", p->to) : 0;
}

int mount_open_source(const struct setup *s, const struct mount_plan *p, struct err *e)
{
    char path[PATH_MAX];
    unsigned flags =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (p->recursive ? (unsigned)AT_RECURSIVE : 0);
    int fd;

    if (str_print(path, sizeof path, "%s%s%s", p->from[0] == '/' ? "" : s->c->bundle,
                  p->from[0] == '/' ? "" : "/", p->from) < 0) {
        return err_set(e, -ENAMETOOLONG, "mount '%s': the source is too long", p->to);
    }
    fd = open_tree(AT_FDCWD, path, flags);
    return fd >= 0 ? fd : err_sys(e, -errno, "cannot mount '%s' on '%s'", path, p->to);
}

static int set_option(int fs, const char *word)
{
    char key[256];
    const char *equals = strchr(word, '=');

    if (equals == NULL) {
        return fsconfig(fs, FSCONFIG_SET_FLAG, word, NULL, 0) < 0 ? -errno : 0;
    }
    (void)str_print(key, sizeof key, "%.*s", (int)(equals - word), word);
    return fsconfig(fs, FSCONFIG_SET_STRING, key, equals + 1, 0) < 0 ? -errno : 0;
}

/* `without`: an option to leave out (a group that the namespace does not know). */
static int try_filesystem(const struct mount_plan *p, const char *without, struct err *e)
{
    SCOPED(scope_close) int fs = fsopen(p->type, FSOPEN_CLOEXEC);
    int fd;

    if (fs < 0) {
        return err_sys(e, -errno, "cannot mount type '%s' on '%s'", p->type, p->to);
    }
    if (p->from[0] != '\0') {
        (void)fsconfig(fs, FSCONFIG_SET_STRING, "source", p->from, 0);
    }
    for (size_t i = 0; i < p->data.n; i++) {
        const char *word = p->data.items[i];
        int r = without != NULL && str_starts(word, without) ? 0 : set_option(fs, word);

        if (r < 0) {
            return err_sys(e, r, "mount '%s': option '%s'", p->to, word);
        }
    }
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return err_sys(e, -errno, "cannot mount '%s' on '%s'", p->type, p->to);
    }
    fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)p->flat.attr_set);
    return fd >= 0 ? fd : err_sys(e, -errno, "cannot mount '%s' on '%s'", p->type, p->to);
}

static int make_filesystem(const struct setup *s, const struct mount_plan *p,
                           struct err *e)
{
    struct err first = {0};
    int fd = try_filesystem(p, NULL, &first);

    if (fd < 0 && strcmp(p->type, "devpts") == 0 && ns_has(&s->ns, NS_USER)) {
        fd = try_filesystem(p, "gid=", e); /* group 5 is not mapped */
    } else if (fd < 0) {
        return err_set(e, fd, "%s", first.text);
    }
    return fd;
}

static int one_bind(struct setup *s, const struct mount_plan *p, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct stat st;
    int r;

    if (mount_needs_parent(s, p)) {
        r = init_enter_network(s, e); /* that one comes before */
        if (r < 0) {
            return r;
        }
        r = sync_await(s, SYNC_MOUNT, &fd, e);
        if (r < 0 || fd < 0) {
            return err_set(e, r < 0 ? r : -EPROTO, "mount '%s': its source did not come",
                           p->to);
        }
    } else {
        fd = mount_open_source(s, p, e);
    }
    if (fd < 0) {
        return fd;
    }
    r = apply(fd, p, e);
    if (r == 0 && fstat(fd, &st) < 0) {
        r = err_sys(e, -errno, "cannot mount on '%s'", p->to);
    }
    return r < 0 ? r : mounts_attach(s, fd, p->to, S_ISDIR(st.st_mode), e);
}

static int one_filesystem(struct setup *s, const struct mount_plan *p, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    int r = 0;

    if (strcmp(p->type, "sysfs") == 0) { /* shows the devices of its maker's network */
        r = init_enter_network(s, e);
    }
    fd = r < 0 ? r : make_filesystem(s, p, e);
    if (fd < 0) {
        return fd;
    }
    r = apply(fd, p, e);
    if (r == 0 && p->copy_up) {
        SCOPED(scope_close) int point = mounts_point(s, p->to, true, e);

        r = point < 0 ? point : mounts_copy_up(point, fd, e);
    }
    if (r == 0) {
        r = mounts_attach(s, fd, p->to, true, e);
    }
    if (r == 0 && strcmp(p->type, "proc") == 0 && s->proc < 0) {
        s->proc = scope_take_fd(&fd);
    }
    if (r == 0 && strcmp(p->type, "devpts") == 0 && s->devpts < 0) {
        s->devpts = scope_take_fd(&fd);
    }
    return r;
}

/* Other attributes for what is mounted already. */
static int one_change(struct setup *s, const struct mount_plan *p, struct err *e)
{
    SCOPED(scope_close) int fd = file_open_in_root(s->root, p->to, O_PATH, 0);

    return fd < 0 ? err_sys(e, fd, "cannot change the mount on '%s'", p->to)
                  : apply(fd, p, e);
}

int mounts_make(struct setup *s, struct err *e)
{
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(config_get(s->config, "mounts"), i, item)
    {
        struct mount_plan p;

        r = mount_plan_read(item, &p, e);
        if (r == 0 && p.change) {
            r = one_change(s, &p, e);
        } else if (r == 0 && p.bind) {
            r = one_bind(s, &p, e);
        } else if (r == 0 && str_starts(p.type, "cgroup")) {
            r = mounts_cgroup(s, p.to, (p.flat.attr_set & MOUNT_ATTR_RDONLY) != 0, e);
        } else if (r == 0) {
            r = one_filesystem(s, &p, e);
        }
        mount_plan_fini(&p);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}
