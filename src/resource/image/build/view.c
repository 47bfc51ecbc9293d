/* view.c - merged directories without a mount.
 *
 * A path is walked part by part.  `on` says which layers hold a part of the
 * directory reached so far: a layer drops out where it lacks the name, and so do
 * all below a whiteout, a file or an opaque directory. */
#include "resource/image/build/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"

#define LINKS_MAX 40

int view_open(struct view *v, const struct strv *paths, bool overlay, struct err *e)
{
    *v = (struct view){.overlay = overlay};
    for (size_t i = 0; i < paths->n; i++) {
        int fd = i < VIEW_LAYERS_MAX
                     ? open(paths->items[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                     : -1;

        if (fd < 0) {
            int r = i < VIEW_LAYERS_MAX ? -errno : -E2BIG;

            view_close(v);
            return err_sys(e, r, "cannot open '%s'", paths->items[i]);
        }
        v->fds[v->n++] = fd;
    }
    return 0;
}

void view_close(struct view *v)
{
    while (v->n > 0) {
        (void)close(v->fds[--v->n]);
    }
}

static bool is_whiteout(const struct view *v, const struct stat *st)
{
    return v->overlay && S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool is_opaque(const struct view *v, int fd, const char *path)
{
    SCOPED(scope_close) int dir = -1;
    char y = 'n';

    if (!v->overlay) {
        return false;
    }
    dir = openat(fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return dir >= 0 &&
           ((fgetxattr(dir, "trusted.overlay.opaque", &y, 1) == 1 && y == 'y') ||
            (fgetxattr(dir, "user.overlay.opaque", &y, 1) == 1 && y == 'y'));
}

/* Whether the layer `i` ends the search for more parts of x->path. */
static bool look_at(const struct view *v, size_t i, struct view_entry *x)
{
    struct stat st;

    if (fstatat(v->fds[i], x->path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        x->on[i] = 0;
        return false;
    }
    if (is_whiteout(v, &st) || (x->exists && !S_ISDIR(st.st_mode))) {
        x->on[i] = 0;
        return true;
    }
    if (!x->exists) {
        x->exists = true;
        x->st = st;
    }
    return !S_ISDIR(st.st_mode) || is_opaque(v, v->fds[i], x->path);
}

/* Go from the directory `x` to the one part `name` in it. */
static int step(const struct view *v, struct view_entry *x, const char *name)
{
    size_t len = strlen(x->path);
    bool ended = false;

    if (str_print(x->path + len, sizeof x->path - len, "%s%s", len > 0 ? "/" : "", name) <
        0) {
        return -ENAMETOOLONG;
    }
    x->exists = false;
    for (size_t i = 0; i < v->n; i++) {
        if (ended) {
            x->on[i] = 0;
        } else if (x->on[i]) {
            ended = look_at(v, i, x);
        }
    }
    return 0;
}

static void start(const struct view *v, struct view_entry *x)
{
    x->path[0] = '\0';
    memset(x->on, 0, sizeof x->on);
    memset(x->on, 1, v->n);
    x->exists = v->n == 0 || fstat(v->fds[0], &x->st) == 0;
    if (v->n == 0) {
        x->st = (struct stat){.st_mode = S_IFDIR | 0755};
    }
}

/* To the directory above: walked again from the root, all its parts are known. */
static int go_up(const struct view *v, struct view_entry *x)
{
    char path[PATH_MAX], *rest = path, *part;
    char *slash = strrchr(x->path, '/');
    int r = 0;

    (void)str_print(path, sizeof path, "%.*s", slash != NULL ? (int)(slash - x->path) : 0,
                    x->path);
    start(v, x);
    while (r == 0 && path[0] != '\0' && (part = strsep(&rest, "/")) != NULL) {
        r = step(v, x, part);
    }
    return r;
}

int view_read_link(const struct view *v, const struct view_entry *x, char out[PATH_MAX])
{
    for (size_t i = 0; i < v->n; i++) {
        if (x->on[i]) {
            ssize_t n = readlinkat(v->fds[i], x->path, out, PATH_MAX - 1);

            if (n < 0) {
                return -errno;
            }
            out[n] = '\0';
            return 0;
        }
    }
    return -ENOENT;
}

/* Put the target of the link `x` in front of what is left to walk. */
static int enter_link(const struct view *v, struct view_entry *x, char left[PATH_MAX])
{
    char target[PATH_MAX], joined[PATH_MAX];
    int r = view_read_link(v, x, target);

    r = r < 0 ? r : str_print(joined, sizeof joined, "%s/%s", target, left);
    if (r < 0) {
        return r;
    }
    memcpy(left, joined, sizeof joined);
    if (target[0] == '/') {
        start(v, x);
        return 0;
    }
    return go_up(v, x);
}

/* One part of the way; `left` is what remains behind it. */
static int walk_part(const struct view *v, struct view_entry *x, const char *part,
                     char left[PATH_MAX], bool follow, unsigned *links)
{
    int r;

    if (part[0] == '\0' || strcmp(part, ".") == 0) {
        return 0;
    }
    if (strcmp(part, "..") == 0) {
        return go_up(v, x);
    }
    if (x->exists && !S_ISDIR(x->st.st_mode)) {
        return -ENOTDIR;
    }
    r = step(v, x, part);
    if (r == 0 && x->exists && S_ISLNK(x->st.st_mode) &&
        (follow || left[strspn(left, "/")] != '\0')) {
        r = ++*links > LINKS_MAX ? -ELOOP : enter_link(v, x, left);
    }
    return r;
}

int view_find(const struct view *v, const char *path, bool follow, struct view_entry *ret)
{
    char left[PATH_MAX], part[NAME_MAX + 1];
    unsigned links = 0;
    int r = str_print(left, sizeof left, "%s", path);

    start(v, ret);
    while (r == 0 && left[0] != '\0') {
        size_t n = strcspn(left, "/");
        size_t skip = left[n] == '/' ? n + 1 : n;

        r = n > NAME_MAX ? -ENAMETOOLONG : 0;
        if (r == 0) {
            memcpy(part, left, n);
            part[n] = '\0';
            memmove(left, left + skip, strlen(left + skip) + 1);
            r = walk_part(v, ret, part, left, follow, &links);
        }
    }
    return r;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_names(int layer, const char *path, struct strv *ret)
{
    int fd = openat(layer, path[0] != '\0' ? path : ".",
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;

    if (d == NULL) {
        return -errno;
    }
    while ((x = readdir(d)) != NULL) {
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0) {
            strv_add(ret, x->d_name);
        }
    }
    return strv_failed(ret) ? -ENOMEM : 0;
}

int view_list(const struct view *v, const struct view_entry *dir, struct strv *ret)
{
    size_t kept = 0;
    int r = 0;

    for (size_t i = 0; i < v->n && r == 0; i++) {
        r = dir->on[i] ? add_names(v->fds[i], dir->path, ret) : 0;
    }
    if (r < 0 || ret->n == 0) {
        return r;
    }
    qsort(ret->items, ret->n, sizeof *ret->items, compare);
    for (size_t i = 0; i < ret->n; i++) {
        if (kept > 0 && strcmp(ret->items[kept - 1], ret->items[i]) == 0) {
            free(ret->items[i]);
        } else {
            ret->items[kept++] = ret->items[i];
        }
    }
    ret->n = kept;
    ret->items[kept] = NULL;
    return 0;
}

int view_open_file(const struct view *v, const struct view_entry *x)
{
    for (size_t i = 0; i < v->n; i++) {
        if (x->on[i]) {
            return file_open_in_root(v->fds[i], x->path,
                                     O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        }
    }
    return -ENOENT;
}
