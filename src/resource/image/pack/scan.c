/* scan.c - walk a directory and write what is there as tar entries.
 *
 * Names are sorted, so equal trees give equal archives.  Hard links are found by
 * device and inode: the first name carries the data.  With `overlay`, what an
 * overlay's upper directory says is translated: a 0:0 character device or a file
 * with the attribute overlay.whiteout is a whiteout, a directory with
 * overlay.opaque gets ".wh..wh..opq".  overlay.redirect and overlay.metacopy
 * mean that data lie elsewhere: such a tree is refused.  Sockets are passed
 * over.  The walk keeps one descriptor per level and follows no link. */
#include "resource/image/pack/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"

#define DEPTH_MAX       512 /* one descriptor each */
#define XATTR_LIST_MAX  65536
#define XATTR_VALUE_MAX 65536
#define NOBODY          65534

struct walk {
    struct tar_write *tar;
    const struct pack_scan *scan;
    json_t *seen; /* owned; "dev:inode" to the first path */
    struct str path;
    char *attrs; /* owned; room for names and values */
    struct tar_xattr xattrs[TAR_XATTRS_MAX];
    size_t n_xattrs;
    bool opaque, whiteout; /* of the entry at hand */
    int depth;
};

int scan_put_whiteout(struct tar_write *tar, const char *path, struct err *e)
{
    struct tar_entry x = {.link = "", .type = '-'};
    const char *last = strrchr(path, '/');
    char name[TAR_NAME_MAX + 1];
    int r;

    last = last == NULL ? path : last + 1;
    r = str_print(name, sizeof name, "%.*s.wh.%s", (int)(last - path), path, last);
    if (r < 0) {
        return err_set(e, r, "the name '%.40s...' is too long", path);
    }
    x.path = name;
    return tar_write_entry(tar, &x, 0, 0, e);
}

static uint32_t map_id(const struct pack_idmap *map, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++) {
        if (id >= map[i].host && id - map[i].host < map[i].count) {
            return map[i].guest + (id - map[i].host);
        }
    }
    return n > 0 ? NOBODY : id;
}

/* "trusted.overlay.X" and "user.overlay.X" give X; else NULL. */
static const char *overlay_word(const char *name)
{
    if (str_starts(name, "trusted.overlay.")) {
        return name + strlen("trusted.overlay.");
    }
    return str_starts(name, "user.overlay.") ? name + strlen("user.overlay.") : NULL;
}

static int take_overlay(struct walk *w, const char *word, const char *value, ssize_t len)
{
    if (!w->scan->overlay) {
        return 0;
    }
    if (strcmp(word, "opaque") == 0) {
        w->opaque = w->opaque || (len == 1 && value[0] == 'y');
    } else if (strcmp(word, "whiteout") == 0) {
        w->whiteout = true;
    } else if (strcmp(word, "redirect") == 0 || strcmp(word, "metacopy") == 0) {
        return -EOPNOTSUPP;
    }
    return 0;
}

/* Whether an attribute goes into a layer; the others belong to this host. */
static bool is_portable(const char *name)
{
    return (str_starts(name, "user.") && overlay_word(name) == NULL) ||
           strcmp(name, "security.capability") == 0;
}

static int take_xattr(struct walk *w, const char *path, const char *name, char **room,
                      const char *end)
{
    ssize_t len;

    if (overlay_word(name) == NULL && !is_portable(name)) {
        return 0;
    }
    len = lgetxattr(path, name, *room, (size_t)(end - *room));
    if (len < 0) {
        return errno == ENODATA ? 0 : -errno;
    }
    if (overlay_word(name) != NULL) {
        return take_overlay(w, overlay_word(name), *room, len);
    }
    if (w->n_xattrs < TAR_XATTRS_MAX) {
        w->xattrs[w->n_xattrs++] = (struct tar_xattr){name, *room, (size_t)len};
        *room += len;
    }
    return 0;
}

/* The attributes of dir/name; read by path through /proc, as an entry may be
 * of any type and none is opened. */
static int read_xattrs(struct walk *w, int dir, const char *name)
{
    char path[NAME_MAX + 40];
    char *room = w->attrs + XATTR_LIST_MAX;
    ssize_t len;
    int r = 0;

    w->n_xattrs = 0;
    w->opaque = w->whiteout = false;
    (void)str_print(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
    len = llistxattr(path, w->attrs, XATTR_LIST_MAX);
    if (len < 0) {
        return errno == EOPNOTSUPP ? 0 : -errno;
    }
    for (const char *p = w->attrs; p < w->attrs + len && r == 0; p += strlen(p) + 1) {
        r = take_xattr(w, path, p, &room, w->attrs + XATTR_LIST_MAX + XATTR_VALUE_MAX);
    }
    return r;
}

char scan_entry_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return '-';
    case S_IFDIR:
        return 'd';
    case S_IFLNK:
        return 'l';
    case S_IFCHR:
        return 'c';
    case S_IFBLK:
        return 'b';
    case S_IFIFO:
        return 'p';
    default:
        return '\0'; /* a socket */
    }
}

/* An earlier name of the same file makes this one a hard link to it. */
static int find_twin(struct walk *w, const struct stat *st, struct tar_entry *x)
{
    const char *path = str_text(&w->path);
    const json_t *twin;
    char key[48];

    if (st->st_nlink < 2 || S_ISDIR(st->st_mode)) {
        return 0;
    }
    (void)str_print(key, sizeof key, "%llx:%llx", (unsigned long long)st->st_dev,
                    (unsigned long long)st->st_ino);
    twin = json_object_get(w->seen, key);
    if (twin != NULL) {
        x->type = 'h';
        x->link = json_string_value(twin);
        return 0;
    }
    /* Names are bytes, not always UTF-8. */
    return json_object_set_new(w->seen, key, json_string_nocheck(path)) < 0 ? -ENOMEM : 0;
}

static int64_t clamp(const struct walk *w, int64_t t)
{
    return w->scan->clamp_mtime != 0 && t > w->scan->clamp_mtime ? w->scan->clamp_mtime
                                                                 : t;
}

static int put_data(struct walk *w, int dir, const char *name, uint64_t size,
                    struct err *e)
{
    SCOPED(scope_close)
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s'", str_text(&w->path));
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return err_set(e, -EAGAIN, "'%s' was replaced meanwhile", str_text(&w->path));
    }
    return tar_write_fd(w->tar, fd, size, e);
}

static int scan_names(struct walk *w, int dir, struct err *e);

static int enter(struct walk *w, int dir, const char *name, struct err *e)
{
    SCOPED(scope_close)
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s'", str_text(&w->path));
    }
    if (++w->depth > DEPTH_MAX) {
        return err_set(e, -ELOOP, "'%.100s' is too deep", str_text(&w->path));
    }
    r = scan_names(w, fd, e);
    w->depth--;
    return r;
}

static int put_opaque(struct walk *w, struct err *e)
{
    SCOPED(str_fini) struct str name = {0};
    struct tar_entry x = {.link = "", .type = '-'};

    str_addf(&name, "%s%s.wh..wh..opq", str_text(&w->path),
             w->path.len > 0 && !str_ends(str_text(&w->path), "/") ? "/" : "");
    if (str_failed(&name)) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    x.path = str_text(&name);
    return tar_write_entry(w->tar, &x, 0, 0, e);
}

/* The header of the entry at hand, then its data or what is below it. */
static int put_entry(struct walk *w, int dir, const char *name, const struct stat *st,
                     struct err *e)
{
    char link[PATH_MAX] = "";
    struct tar_entry x = {.path = str_text(&w->path),
                          .link = link,
                          .type = scan_entry_type(st->st_mode),
                          .mode = st->st_mode & 07777,
                          .uid = map_id(w->scan->uid, w->scan->n_uid, st->st_uid),
                          .gid = map_id(w->scan->gid, w->scan->n_gid, st->st_gid),
                          .mtime = clamp(w, st->st_mtime),
                          .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
                          .xattrs = w->xattrs,
                          .n_xattrs = w->n_xattrs};
    bool opaque = w->opaque;
    int r;

    if (x.type == 'l') {
        ssize_t n = readlinkat(dir, name, link, sizeof link - 1);

        if (n < 0) {
            return err_sys(e, -errno, "cannot read '%s'", x.path);
        }
        link[n] = '\0';
    }
    r = find_twin(w, st, &x);
    if (r < 0) {
        return err_set(e, r, "out of memory");
    }
    if (x.type == 'd') {
        str_add(&w->path, "/");
        x.path = str_text(&w->path);
    }
    if (str_failed(&w->path)) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = tar_write_entry(w->tar, &x, major(st->st_rdev), minor(st->st_rdev), e);
    if (r == 0 && x.type == '-') {
        r = put_data(w, dir, name, x.size, e);
    }
    if (r == 0 && opaque && x.type == 'd') {
        r = put_opaque(w, e);
    }
    return r < 0 || x.type != 'd' ? r : enter(w, dir, name, e);
}

static bool is_skipped(const struct walk *w)
{
    const char *path = str_text(&w->path);
    size_t n = w->scan->prefix != NULL ? strlen(w->scan->prefix) : 0;

    path += n;
    path += *path == '/';
    for (const char *const *s = w->scan->skip; s != NULL && *s != NULL; s++) {
        if (strcmp(*s, path) == 0) {
            return true;
        }
    }
    return false;
}

static int scan_one(struct walk *w, int dir, const char *name, struct err *e)
{
    struct stat st;
    int r;

    if (is_skipped(w)) {
        return 0;
    }
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, -errno, "cannot read '%s'", str_text(&w->path));
    }
    if (w->scan->overlay && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) {
        return scan_put_whiteout(w->tar, str_text(&w->path), e);
    }
    r = read_xattrs(w, dir, name);
    if (r == -EOPNOTSUPP) {
        return err_set(e, r, "'%s' refers to data below its overlay", str_text(&w->path));
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read the attributes of '%s'", str_text(&w->path));
    }
    if (w->whiteout) {
        return scan_put_whiteout(w->tar, str_text(&w->path), e);
    }
    return scan_entry_type(st.st_mode) == '\0' ? 0 : put_entry(w, dir, name, &st, e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_names(int dir, struct strv *ret)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;

    if (d == NULL) {
        int r = -errno;

        scope_close(&fd);
        return r;
    }
    while ((x = readdir(d)) != NULL) {
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0) {
            strv_add(ret, x->d_name);
        }
    }
    if (strv_failed(ret)) {
        return -ENOMEM;
    }
    if (ret->n > 1) {
        qsort(ret->items, ret->n, sizeof ret->items[0], by_name);
    }
    return 0;
}

static int scan_names(struct walk *w, int dir, struct err *e)
{
    SCOPED(strv_fini) struct strv names = {0};
    size_t len = w->path.len;
    int r = list_names(dir, &names);

    if (r < 0) {
        return err_sys(e, r, "cannot list '%s'", str_text(&w->path));
    }
    for (size_t i = 0; i < names.n && r == 0; i++) {
        str_add(&w->path, names.items[i]);
        r = str_failed(&w->path) ? err_set(e, -ENOMEM, "out of memory")
                                 : scan_one(w, dir, names.items[i], e);
        if (w->path.data != NULL) {
            w->path.data[len] = '\0';
            w->path.len = len;
        }
    }
    return r;
}

/* The directory itself: "./", or the prefix. */
static int scan_top(struct walk *w, int dir, struct err *e)
{
    struct stat st;
    int r = fstat(dir, &st) < 0 ? -errno : read_xattrs(w, dir, ".");

    if (r < 0) {
        return err_sys(e, r, "cannot read the directory");
    }
    if (w->scan->prefix != NULL && w->scan->prefix[0] != '\0') {
        str_add(&w->path, w->scan->prefix);
        return put_entry(w, dir, ".", &st, e);
    }
    if (w->opaque) {
        r = put_opaque(w, e);
    }
    return r < 0 ? r : scan_names(w, dir, e);
}

int scan_dir(struct tar_write *tar, int dir, const struct pack_scan *scan, struct err *e)
{
    static const struct pack_scan plain;
    struct walk w = {.tar = tar, .scan = scan != NULL ? scan : &plain};
    int r;

    w.seen = json_object();
    w.attrs = fault_malloc(XATTR_LIST_MAX + XATTR_VALUE_MAX);
    r = w.seen == NULL || w.attrs == NULL ? err_set(e, -ENOMEM, "out of memory")
                                          : scan_top(&w, dir, e);
    json_decref(w.seen);
    free(w.attrs);
    str_fini(&w.path);
    return r;
}
