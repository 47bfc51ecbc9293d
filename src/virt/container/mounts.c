/* mounts.c - the mounts of a configuration, made inside a root nobody can trust.
 *
 * Every mount is made detached (fsopen/fsmount, or open_tree for a bind), given
 * its attributes, and then attached to a descriptor of its mount point, found by
 * openat2(RESOLVE_IN_ROOT): no string is resolved twice and no symbolic link of
 * the image leads out.  /proc, /sys and /dev themselves may not be symbolic
 * links at all.
 *
 * With a user namespace the new process may not read the sources or shift their
 * ids; then the parent opens them and they arrive over the sync socket, in the
 * order of the configuration.
 *
 * Sources: mount_setattr(2), fsconfig(2), openat2(2); runtime-spec 1.2,
 * config.md "Mounts" for the option words. */
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
#include "virt/container/mounts.h"
#include "virt/container/private.h"

enum effect {
    E_SET,
    E_CLEAR,
    E_ATIME,
    E_SPREAD,
    E_SUPER,
    E_BIND,
    E_IDMAP,
    E_NOTHING,
    E_REFUSED
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
    {"remount", E_NOTHING, 0, false},
    {"bind", E_BIND, 0, false},
    {"rbind", E_BIND, 0, true},
    {"idmap", E_IDMAP, 0, false},
    {"ridmap", E_IDMAP, 0, true},
    {"tmpcopyup", E_REFUSED, 0, false},
};

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
    case E_NOTHING:
    case E_REFUSED:
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
        case E_REFUSED:
            return err_set(e, -EOPNOTSUPP, "mount '%s': option '%s' is not supported",
                           p->to, word);
        default:
            change(row->recursive ? &p->deep : &p->flat, row);
        }
    }
    if (p->bind) {
        p->data.n = 0; /* a bind mount takes no options of a file system */
    }
    return strv_failed(&p->data) ? -ENOMEM : 0;
}

void mount_plan_fini(struct mount_plan *p)
{
    strv_fini(&p->data);
}

bool mount_needs_parent(const struct setup *s, const struct mount_plan *p)
{
    return p->bind && (p->idmap || (ns_has(&s->ns, NS_USER) && !s->rootless));
}

static int apply(int fd, const struct mount_plan *p, struct err *e)
{
    struct mount_attr flat = p->flat;
    struct mount_attr deep = p->deep;

    if ((flat.attr_set | flat.attr_clr | flat.propagation) != 0 &&
        mount_setattr(fd, "", AT_EMPTY_PATH, &flat, sizeof flat) < 0) {
        return err_sys(e, -errno, "cannot set the options of mount '%s'", p->to);
    }
    if ((deep.attr_set | deep.attr_clr | deep.propagation) != 0 &&
        mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &deep, sizeof deep) < 0) {
        return err_sys(e, -errno, "cannot set the options of mount '%s'", p->to);
    }
    return 0;
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

static int open_strict(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, root, path, &how, sizeof how);

    return fd < 0 ? -errno : (int)fd;
}

/* Step into, or make, one directory of a path. */
static int step(int root, char *path, char *end, struct err *e)
{
    char keep = *end;
    char *slash;
    SCOPED(scope_close) int parent = -1;
    int fd;

    *end = '\0';
    fd = file_open_in_root(root, path, O_PATH | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        slash = strrchr(path, '/');
        *slash = '\0';
        parent = file_open_in_root(root, path[0] == '\0' ? "/" : path,
                                   O_PATH | O_DIRECTORY, 0);
        *slash = '/';
        if (parent >= 0 && mkdirat(parent, slash + 1, 0755) < 0 && errno != EEXIST) {
            fd = -errno;
        } else {
            fd = file_open_in_root(root, path, O_PATH | O_DIRECTORY, 0);
        }
    }
    if (fd < 0) {
        (void)err_sys(e, fd, "cannot make the mount point '%s'", path);
    }
    *end = keep;
    return fd;
}

static int make_dirs(int root, const char *path, struct err *e)
{
    char copy[PATH_MAX];
    int fd = -1;

    if (str_print(copy, sizeof copy, "%s%s", path[0] == '/' ? "" : "/", path) < 0) {
        return err_set(e, -ENAMETOOLONG, "mount point '%s' is too long", path);
    }
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        if (fd >= 0) {
            (void)close(fd);
        }
        fd = step(root, copy, p, e);
        if (fd < 0 || *p == '\0') {
            return fd;
        }
    }
}

static int make_file(int root, const char *path, struct err *e)
{
    char copy[PATH_MAX];
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_close) int fd = -1;
    char *slash;

    if (str_print(copy, sizeof copy, "%s%s", path[0] == '/' ? "" : "/", path) < 0) {
        return err_set(e, -ENAMETOOLONG, "mount point '%s' is too long", path);
    }
    slash = strrchr(copy, '/');
    *slash = '\0';
    dir = copy[0] == '\0' ? file_open_in_root(root, "/", O_PATH | O_DIRECTORY, 0)
                          : make_dirs(root, copy, e);
    if (dir < 0) {
        return dir;
    }
    fd = openat(dir, slash + 1, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY | O_CLOEXEC,
                0644);
    if (fd < 0 && errno != EEXIST) {
        return err_sys(e, -errno, "cannot make the mount point '%s'", path);
    }
    return openat(dir, slash + 1, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int mounts_point(const struct setup *s, const char *path, bool is_dir, struct err *e)
{
    static const char *const strict[] = {"/proc", "/sys", "/dev"};
    int fd;

    for (size_t i = 0; i < sizeof strict / sizeof strict[0]; i++) {
        if (strcmp(path, strict[i]) == 0) {
            fd = open_strict(s->root, path);
            if (fd == -ELOOP || fd == -ENOTDIR) {
                return err_set(e, -ELOOP,
                               "'%s' of the root file system is not a directory", path);
            }
            if (fd >= 0) {
                return fd;
            }
        }
    }
    fd = file_open_in_root(s->root, path, O_PATH, 0);
    if (fd != -ENOENT) {
        return fd >= 0 ? fd : err_sys(e, fd, "cannot open the mount point '%s'", path);
    }
    return is_dir ? make_dirs(s->root, path, e) : make_file(s->root, path, e);
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

static int one_bind(struct setup *s, const struct mount_plan *p, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct stat st;
    int r;

    if (mount_needs_parent(s, p)) {
        r = sync_receive(s->sync[1], &fd, e);
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
    SCOPED(scope_close) int fd = make_filesystem(s, p, e);
    int r;

    if (fd < 0) {
        return fd;
    }
    r = apply(fd, p, e);
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

int mounts_make(struct setup *s, struct err *e)
{
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(config_get(s->config, "mounts"), i, item)
    {
        struct mount_plan p;

        r = mount_plan_read(item, &p, e);
        if (r == 0 && p.bind) {
            r = one_bind(s, &p, e);
        } else if (r == 0 && strcmp(p.type, "cgroup") == 0) {
            r = cgroup_mount(s, p.to, (p.flat.attr_set & MOUNT_ATTR_RDONLY) != 0, e);
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
