/* tree.c - trees of directories: one, or the merged layers of an image.
 *
 * Merging follows overlayfs: the topmost layer that has a name decides; a 0:0
 * character device hides the name in all layers below; a directory is the union
 * of the directories of that path down to the first that is opaque or is hidden.
 * A single directory is read as it is, marks and all.  Every path is walked part
 * by part with O_NOFOLLOW, so no link leads anywhere. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "resource/image/store.h"

struct dirs_tree {
    struct tree tree;
    bool merged; /* whiteouts and opaque marks mean something */
    size_t n;
    int roots[]; /* owned; the topmost first */
};

/* What a layer says about a path. */
enum said {
    SAID_NOTHING,
    SAID_HERE,
    SAID_NO
};

static bool is_opaque(int fd)
{
    char path[40], value[2];

    (void)str_print(path, sizeof path, "/proc/self/fd/%d", fd);
    return (getxattr(path, "trusted.overlay.opaque", value, sizeof value) == 1 ||
            getxattr(path, "user.overlay.opaque", value, sizeof value) == 1) &&
           value[0] == 'y';
}

/* Look for `path` in one layer.  SAID_HERE: *ret_fd is it.  *ret_last: no layer
 * below may be asked. */
static enum said ask_layer(const struct dirs_tree *t, int root, const char *path,
                           int *ret_fd, bool *ret_last)
{
    SCOPED(scope_close) int dir = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    while (dir >= 0 && *path != '\0') {
        size_t n = strcspn(path, "/");
        char part[NAME_MAX + 1];
        struct stat st;
        int fd;

        if (n > NAME_MAX) {
            return SAID_NO;
        }
        memcpy(part, path, n);
        part[n] = '\0';
        fd = openat(dir, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            return errno == ENOENT ? SAID_NOTHING : SAID_NO;
        }
        (void)close(dir);
        dir = fd;
        path += n + (path[n] == '/');
        if (fstat(fd, &st) < 0 ||
            (t->merged && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) ||
            (*path != '\0' && !S_ISDIR(st.st_mode))) {
            return SAID_NO;
        }
        *ret_last = *ret_last || (t->merged && S_ISDIR(st.st_mode) && is_opaque(fd));
    }
    *ret_fd = scope_take_fd(&dir);
    return *ret_fd < 0 ? SAID_NO : SAID_HERE;
}

/* An O_PATH descriptor of the topmost file of that path. */
static int find(const struct dirs_tree *t, const char *path)
{
    bool last = false;

    for (size_t i = 0; i < t->n && !last; i++) {
        int fd = -1;
        enum said s = ask_layer(t, t->roots[i], path, &fd, &last);

        if (s != SAID_NOTHING) {
            return s == SAID_HERE ? fd : -ENOENT;
        }
    }
    return -ENOENT;
}

static int dirs_stat(struct tree *tree, const char *path, struct tree_stat *ret)
{
    SCOPED(scope_close) int fd = find((const struct dirs_tree *)tree, path);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return fd < 0 ? fd : -errno;
    }
    *ret = (struct tree_stat){.mode = st.st_mode,
                              .uid = st.st_uid,
                              .gid = st.st_gid,
                              .size = (uint64_t)st.st_size,
                              .mtime = st.st_mtime,
                              .links = (uint32_t)st.st_nlink,
                              .id = st.st_ino,
                              .dev_major = major(st.st_rdev),
                              .dev_minor = minor(st.st_rdev)};
    return 0;
}

/* The O_PATH descriptor is opened again through /proc: it is the same file. */
static int dirs_open(struct tree *tree, const char *path)
{
    SCOPED(scope_close) int fd = find((const struct dirs_tree *)tree, path);
    char proc[40];
    struct stat st;
    int out;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return fd < 0 ? fd : -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    }
    (void)str_print(proc, sizeof proc, "/proc/self/fd/%d", fd);
    out = open(proc, O_RDONLY | O_CLOEXEC);
    return out < 0 ? -errno : out;
}

static long dirs_read_link(struct tree *tree, const char *path, char *buf, size_t size)
{
    SCOPED(scope_close) int fd = find((const struct dirs_tree *)tree, path);
    ssize_t n;

    if (fd < 0) {
        return fd;
    }
    n = readlinkat(fd, "", buf, size);
    if (n < 0) {
        return errno == ENOENT ? -EINVAL : -errno;
    }
    if ((size_t)n >= size) {
        return -ENAMETOOLONG;
    }
    buf[n] = '\0';
    return n;
}

struct listing {
    const struct dirs_tree *t;
    json_t *seen; /* owned; names told or hidden so far */
    tree_name_fn *fn;
    void *arg;
};

static int list_layer(struct listing *l, int at)
{
    int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;
    int r = d == NULL ? -errno : 0;

    if (d == NULL) {
        scope_close(&fd);
    }
    while (r == 0 && (x = readdir(d)) != NULL) {
        const char *name = x->d_name;
        bool hides = false;
        struct stat st;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            json_object_get(l->seen, name) != NULL) {
            continue;
        }
        if (l->t->n > 1 &&
            json_object_setn_new_nocheck(l->seen, name, strlen(name), json_true()) < 0) {
            return -ENOMEM;
        }
        if (l->t->merged && (x->d_type == DT_CHR || x->d_type == DT_UNKNOWN)) {
            hides = fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
        }
        r = hides ? 0 : l->fn(l->arg, name);
    }
    return r;
}

static int dirs_list(struct tree *tree, const char *path, tree_name_fn *fn, void *arg)
{
    const struct dirs_tree *t = (const struct dirs_tree *)tree;
    SCOPED(scope_json) json_t *seen = json_object();
    struct listing l = {t, seen, fn, arg};
    bool last = false, any = false;
    int r = seen == NULL ? -ENOMEM : 0;

    for (size_t i = 0; i < t->n && !last && r == 0; i++) {
        SCOPED(scope_close) int fd = -1;
        enum said s = ask_layer(t, t->roots[i], path, &fd, &last);
        struct stat st;

        if (s == SAID_NOTHING) {
            continue;
        }
        if (s == SAID_NO || fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode)) {
            return any ? 0 : s == SAID_NO ? -ENOENT : -ENOTDIR;
        }
        any = true;
        r = list_layer(&l, fd);
    }
    return r != 0 ? r : any ? 0 : -ENOENT;
}

static void dirs_close(struct tree *tree)
{
    struct dirs_tree *t = (struct dirs_tree *)tree;

    for (size_t i = 0; i < t->n; i++) {
        scope_close(&t->roots[i]);
    }
    free(t);
}

static const struct tree_ops tree_layers_ops = {
    .kind = "layers",
    .stat = dirs_stat,
    .open = dirs_open,
    .read_link = dirs_read_link,
    .list = dirs_list,
    .close = dirs_close,
};

static const struct tree_ops tree_dir_ops = {
    .kind = "directory",
    .stat = dirs_stat,
    .open = dirs_open,
    .read_link = dirs_read_link,
    .list = dirs_list,
    .close = dirs_close,
};

static int open_dirs(const char *const *paths, size_t n, bool merged, struct tree **ret,
                     struct err *e)
{
    struct dirs_tree *t = fault_calloc(1, sizeof *t + n * sizeof t->roots[0]);

    if (t == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    t->tree.ops = merged ? &tree_layers_ops : &tree_dir_ops;
    t->merged = merged;
    for (; t->n < n; t->n++) {
        t->roots[t->n] = open(paths[t->n], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t->roots[t->n] < 0) {
            int r = err_sys(e, -errno, "cannot open '%s'", paths[t->n]);

            dirs_close(&t->tree);
            return r;
        }
    }
    *ret = &t->tree;
    return 0;
}

int image_tree_dir(const char *path, struct tree **ret, struct err *e)
{
    return open_dirs(&path, 1, false, ret, e);
}

int image_tree_layers(const struct strv *dirs, struct tree **ret, struct err *e)
{
    return open_dirs((const char *const *)dirs->items, dirs->n, true, ret, e);
}

int image_tree_open(struct image_store *s, const struct image *img, struct tree **ret,
                    struct err *e)
{
    SCOPED(strv_fini) struct strv dirs = {0};
    int r = image_layer_dirs(s, img, &dirs, e);

    if (r > 0) {
        return err_set(e, -ENOENT, "image %s is not unpacked", img->manifest.digest);
    }
    r = r < 0 ? r : image_tree_layers(&dirs, ret, e);
    if (r == 0) {
        const char *chain = img->n_layers > 0 ? img->layers[img->n_layers - 1].chain : "";

        (void)str_print((*ret)->digest, sizeof(*ret)->digest, "%s", chain);
    }
    return r;
}
