/* devices.c - the nodes of /dev: made, or bound from the host where mknod is
 * not allowed (user namespaces).
 *
 * A bound node is checked by its type and number, not by its name. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/setup.h"

struct node {
    const char *path;
    mode_t type; /* S_IFCHR, S_IFBLK, S_IFIFO */
    unsigned major, minor;
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

static const struct node usual[] = {
    {"/dev/null", S_IFCHR, 1, 3, 0666, 0, 0},
    {"/dev/zero", S_IFCHR, 1, 5, 0666, 0, 0},
    {"/dev/full", S_IFCHR, 1, 7, 0666, 0, 0},
    {"/dev/random", S_IFCHR, 1, 8, 0666, 0, 0},
    {"/dev/urandom", S_IFCHR, 1, 9, 0666, 0, 0},
    {"/dev/tty", S_IFCHR, 5, 0, 0666, 0, 0},
};

static const struct {
    const char *path;
    const char *target;
} links[] = {
    {"/dev/fd", "/proc/self/fd"},       {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"},
    {"/dev/ptmx", "pts/ptmx"},
};

static int bind_node(struct setup *s, const struct node *d, struct err *e)
{
    SCOPED(scope_close)
    int fd = open_tree(AT_FDCWD, d->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, -errno, "cannot use the host's device '%s'", d->path);
    }
    if ((st.st_mode & S_IFMT) != d->type || st.st_rdev != makedev(d->major, d->minor)) {
        return err_set(e, -ENODEV, "the host's '%s' is not device %u:%u", d->path,
                       d->major, d->minor);
    }
    return mounts_attach(s, fd, d->path, false, e);
}

static int open_parent(struct setup *s, const char *path, const char **ret_name,
                       struct err *e)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    SCOPED(scope_close) int fd = -1;

    (void)str_print(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    *ret_name = slash + 1;
    return mounts_point(s, dir[0] != '\0' ? dir : "/", true, e);
}

static bool is_node(int dir, const char *name, const struct node *d)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (st.st_mode & S_IFMT) == d->type &&
           (d->type == S_IFIFO || st.st_rdev == makedev(d->major, d->minor));
}

/* What calls itself a device and is none must not be taken for it. */
static int replace_node(int dir, const char *name, const struct node *d, struct err *e)
{
    if (unlinkat(dir, name, 0) < 0 ||
        mknodat(dir, name, d->type | d->mode, makedev(d->major, d->minor)) < 0) {
        return err_sys(e, -errno, "cannot make the device '%s' in place of what is there",
                       d->path);
    }
    return 0;
}

static int make_in(struct setup *s, int dir, const char *name, const struct node *d,
                   struct err *e)
{
    if (mknodat(dir, name, d->type | d->mode, makedev(d->major, d->minor)) < 0) {
        if (errno == EEXIST) { /* of the image, or of a /dev that was mounted whole */
            return is_node(dir, name, d) ? 0 : replace_node(dir, name, d, e);
        }
        if (errno == EPERM) {
            return bind_node(s, d, e);
        }
        return err_sys(e, -errno, "cannot make the device '%s'", d->path);
    }
    if ((d->uid != 0 || d->gid != 0) &&
        fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, -errno, "cannot make the device '%s'", d->path);
    }
    return 0;
}

/* `dev` is the container's /dev, or -1 for a device anywhere. */
static int one_device(struct setup *s, int dev, const struct node *d, struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    const char *name;

    if (d->type != S_IFIFO && ns_has(&s->ns, NS_USER)) {
        return bind_node(s, d, e);
    }
    if (dev >= 0) {
        return make_in(s, dev, d->path + strlen("/dev/"), d, e);
    }
    dir = open_parent(s, d->path, &name, e);
    return dir < 0 ? dir : make_in(s, dir, name, d, e);
}

static int configured(struct setup *s, const json_t *item, struct err *e)
{
    const char *type = config_text(item, "type", "c");
    struct node d = {.path = config_text(item, "path", ""),
                     .major = (unsigned)config_number(item, "major", 0),
                     .minor = (unsigned)config_number(item, "minor", 0),
                     .mode = (mode_t)config_number(item, "fileMode", 0666) & 07777,
                     .uid = (uid_t)config_number(item, "uid", 0),
                     .gid = (gid_t)config_number(item, "gid", 0)};

    switch (type[0]) {
    case 'c':
    case 'u':
        d.type = S_IFCHR;
        break;
    case 'b':
        d.type = S_IFBLK;
        break;
    case 'p':
        d.type = S_IFIFO;
        break;
    default:
        return err_set(e, -EINVAL, "device '%s' has the type '%s', not c, b, u or p",
                       d.path, type);
    }
    return one_device(s, -1, &d, e);
}

static int make_links(const struct setup *s, int dev, struct err *e)
{
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        const char *name = links[i].path + strlen("/dev/");

        if (strcmp(name, "ptmx") == 0 && s->devpts < 0) {
            continue;
        }
        if (symlinkat(links[i].target, dev, name) < 0 && errno != EEXIST) {
            return err_sys(e, -errno, "cannot make '%s'", links[i].path);
        }
    }
    return 0;
}

static bool is_bind(const json_t *mount)
{
    size_t i;
    json_t *word;

    json_array_foreach(config_get(mount, "options"), i, word)
    {
        const char *text = json_string_value(word);

        if (strcmp(text, "bind") == 0 || strcmp(text, "rbind") == 0) {
            return true;
        }
    }
    return strcmp(config_text(mount, "type", ""), "bind") == 0;
}

/* Whether the configuration mounts a /dev of its own from the host. */
static bool dev_is_bound(const struct setup *s)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(s->config, "mounts"), i, item)
    {
        const char *to = config_text(item, "destination", "");

        if ((strcmp(to, "/dev") == 0 || strcmp(to, "/dev/") == 0) && is_bind(item)) {
            return true;
        }
    }
    return false;
}

int devices_make(struct setup *s, struct err *e)
{
    size_t i;
    json_t *item;
    SCOPED(scope_close) int dev = -1;
    mode_t before;
    int r = 0;

    if (dev_is_bound(s)) {
        return 0;
    }
    dev = mounts_point(s, "/dev", true, e);
    if (dev < 0) {
        return dev;
    }
    before = umask(0);
    for (size_t k = 0; r == 0 && k < sizeof usual / sizeof usual[0]; k++) {
        r = one_device(s, dev, &usual[k], e);
    }
    json_array_foreach(config_get(s->config, "linux.devices"), i, item)
    {
        r = r < 0 ? r : configured(s, item, e);
    }
    if (r == 0) {
        r = make_links(s, dev, e);
    }
    (void)umask(before);
    return r;
}
