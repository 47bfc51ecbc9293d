/* extract.c - write a layer's entries below a root, as overlayfs wants to find them.
 *
 * Every path is cut into a parent and a last name.  The parent is opened by
 * openat2 with RESOLVE_IN_ROOT: symbolic links of the layer itself are followed
 * inside the root, and no "..", absolute link or magic link leads out.  The last
 * name is never followed: files are made with O_EXCL, what stands in the way is
 * unlinked.  ".." in an entry is refused, a leading "/" dropped.
 *
 * Parents are kept open in a small cache by their path; entries come folder by
 * folder, so nearly every entry costs no lookup.  Whenever something is removed
 * the cache is emptied, because a cached path may mean another folder then.
 *
 * Whiteouts (image specification, "Layer": ".wh.NAME" and ".wh..wh..opq") become
 * what overlayfs reads: a character device 0:0, and the attribute
 * overlay.opaque, written as "trusted." where allowed and as "user." for mounts
 * inside user namespaces.  Attributes *.overlay.* of the layer are dropped: they
 * could steer the overlay.  A directory made over a whiteout of the same layer
 * is opaque.
 *
 * Directories keep mode 0700 or more until all is written; modes, owners and
 * times of directories are set at the end.  A parent that the layer does not
 * list takes mode and owner from the layers below.
 *
 * Device nodes are made as empty files with mode 0: layers are mounted nodev,
 * and a node in the host's file system is a hole for whoever reaches it.
 *
 * Rejected: unpacking in a chroot (needs root, and threads share it), one
 * openat2 per component (three times the calls). */
#include "resource/image/pack/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "resource/image/pack/tar_read.h"

#define PARENTS         16
#define PATH_BYTES      4096
#define DEFER_BYTES_MAX (256u << 20) /* memory for the names of directories */

struct parent {
    char *path; /* owned; NULL: free */
    size_t len;
    int fd;
    uint64_t used; /* the clock at its last use */
};

/* A directory to finish when all is written. */
struct defer {
    char *path; /* owned */
    uint32_t mode, uid, gid;
    struct timespec mtime;
    bool has_time; /* not for parents that the layer does not list */
    bool has_mode; /* mkdir gave the mode already */
};

struct extract {
    struct extract_opts o;
    struct extract_notes notes;
    struct parent parents[PARENTS];
    uint64_t clock;
    bool stale;          /* something was removed: empty the cache at the next use */
    struct defer *defer; /* owned */
    size_t n_defer, cap_defer, defer_bytes;
    uid_t uid; /* whose files are when nobody says otherwise */
    gid_t gid;
    char path[PATH_BYTES]; /* of the entry at hand, cleaned */
};

int extract_clean_path(const char *path, char out[PATH_BYTES])
{
    size_t n = 0;

    while (*path != '\0') {
        size_t len = strcspn(path, "/");

        if (len == 2 && path[0] == '.' && path[1] == '.') {
            return -EINVAL;
        }
        if (len > NAME_MAX || n + len + 2 > PATH_BYTES) {
            return -ENAMETOOLONG;
        }
        if (len > 0 && !(len == 1 && path[0] == '.')) {
            if (n > 0) {
                out[n++] = '/';
            }
            memcpy(out + n, path, len);
            n += len;
        }
        path += len + (path[len] == '/');
    }
    out[n] = '\0';
    return 0;
}

int extract_create(const struct extract_opts *o, struct extract **ret, struct err *e)
{
    struct extract *x = fault_calloc(1, sizeof *x);

    if (x == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    x->o = *o;
    x->uid = geteuid();
    x->gid = getegid();
    *ret = x;
    return 0;
}

static void forget_parents(struct extract *x)
{
    for (int i = 0; i < PARENTS; i++) {
        if (x->parents[i].path != NULL) {
            (void)close(x->parents[i].fd);
            free(x->parents[i].path);
            x->parents[i].path = NULL;
        }
    }
}

void extract_destroy(struct extract *x)
{
    if (x == NULL) {
        return;
    }
    forget_parents(x);
    for (size_t i = 0; i < x->n_defer; i++) {
        free(x->defer[i].path);
    }
    free(x->defer);
    free(x);
}

const struct extract_notes *extract_notes(const struct extract *x)
{
    return &x->notes;
}

/* ---- what stands in the way ---- */

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int clear_way(struct extract *x, int dir, const char *name)
{
    x->stale = true;
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    return errno == EISDIR || errno == EPERM ? file_remove_tree(dir, name) : -errno;
}

/* Hide what the layers below have in this directory. */
static int mark_opaque(int dir, const char *name)
{
    SCOPED(scope_close)
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int trusted, user;

    if (fd < 0) {
        return -errno;
    }
    trusted = fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0 ? -errno : 0;
    user = fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) < 0 ? -errno : 0;
    if (trusted == -ENOSPC || user == -ENOSPC) {
        return -ENOSPC;
    }
    return trusted == 0 || user == 0 ? 0 : user;
}

/* ---- directories ---- */

/* mkdir; 1 when a directory was there before.  `force`: also in place of a file,
 * else only in place of a whiteout. */
static int place_dir(struct extract *x, int dir, const char *name, mode_t mode,
                     bool force)
{
    struct stat st;
    bool hidden;
    int r;

    if (mkdirat(dir, name, mode) == 0) {
        return 0;
    }
    if (errno != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    hidden = is_whiteout(&st);
    if (S_ISDIR(st.st_mode)) {
        return 1;
    }
    if (!force && !hidden) {
        return -ENOTDIR;
    }
    r = clear_way(x, dir, name);
    if (r == 0 && mkdirat(dir, name, mode) < 0) {
        r = -errno;
    }
    return r == 0 && hidden && x->o.n_below > 0 ? mark_opaque(dir, name) : r;
}

static int defer_dir(struct extract *x, const char *path, const struct defer *d)
{
    size_t len = strlen(path) + 1;

    x->defer_bytes += len + sizeof *d;
    if (x->defer_bytes > DEFER_BYTES_MAX) {
        return -EFBIG;
    }
    if (x->n_defer == x->cap_defer) {
        size_t cap = x->cap_defer == 0 ? 256 : 2 * x->cap_defer;
        void *more = fault_realloc(x->defer, cap * sizeof *d);

        if (more == NULL) {
            return -ENOMEM;
        }
        x->defer = more;
        x->cap_defer = cap;
    }
    x->defer[x->n_defer] = *d;
    x->defer[x->n_defer].path = fault_strdup(path);
    if (x->defer[x->n_defer].path == NULL) {
        return -ENOMEM;
    }
    x->n_defer++;
    return 0;
}

/* Mode and owner of a directory in the layers below, or the usual ones. */
static void look_below(const struct extract *x, const char *path, struct defer *ret)
{
    *ret = (struct defer){.mode = 0755, .uid = x->uid, .gid = x->gid};
    for (size_t i = 0; i < x->o.n_below; i++) {
        SCOPED(scope_close)
        int fd = file_open_in_root(x->o.below[i], path, O_PATH | O_NOFOLLOW, 0);
        struct stat st;

        if (fd < 0) {
            continue;
        }
        if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
            ret->mode = st.st_mode & 07777;
            ret->uid = st.st_uid;
            ret->gid = st.st_gid;
        }
        return;
    }
}

/* One directory that the layer does not list. */
static int make_parent(struct extract *x, int dir, const char *path, const char *name)
{
    struct defer d;
    int r = place_dir(x, dir, name, 0700, false);

    if (r != 0) {
        return r < 0 ? r : -ELOOP; /* there, and yet it could not be opened */
    }
    look_below(x, path, &d);
    return defer_dir(x, path, &d);
}

/* Open `path`, making what is missing on the way, part by part. */
static int open_making(struct extract *x, const char *path)
{
    SCOPED(scope_close) int dir = file_open_in_root(x->o.root, ".", O_PATH, 0);
    char part[PATH_BYTES];
    size_t at = 0;

    (void)str_print(part, sizeof part, "%s", path);
    while (dir >= 0) {
        size_t n = strcspn(part + at, "/");
        char c = part[at + n];
        int next;

        part[at + n] = '\0';
        next = file_open_in_root(x->o.root, part, O_PATH | O_DIRECTORY, 0);
        if (next == -ENOENT || next == -ENOTDIR) {
            int r = make_parent(x, dir, part, part + at);

            next =
                r < 0 ? r : file_open_in_root(x->o.root, part, O_PATH | O_DIRECTORY, 0);
        }
        (void)close(dir);
        dir = next;
        part[at + n] = c;
        if (c == '\0') {
            break;
        }
        at += n + 1;
    }
    return scope_take_fd(&dir);
}

static int open_parent(struct extract *x, const char *path)
{
    int fd =
        file_open_in_root(x->o.root, *path != '\0' ? path : ".", O_PATH | O_DIRECTORY, 0);

    return fd == -ENOENT || fd == -ENOTDIR ? open_making(x, path) : fd;
}

/* A slot of the cache to use anew. */
static struct parent *free_slot(struct extract *x)
{
    struct parent *p = &x->parents[0];

    for (int i = 0; i < PARENTS && p->path != NULL; i++) {
        if (x->parents[i].path == NULL || x->parents[i].used < p->used) {
            p = &x->parents[i];
        }
    }
    if (p->path != NULL) {
        (void)close(p->fd);
        free(p->path);
        p->path = NULL;
    }
    return p;
}

/* The open folder `path` (`len` bytes), borrowed from the cache.  It stays open
 * during the `PARENTS` - 1 next calls at least, if nothing is removed between. */
static int get_parent(struct extract *x, const char *path, size_t len)
{
    struct parent *slot;
    char *mine;
    int fd;

    if (x->stale) {
        forget_parents(x);
        x->stale = false;
    }
    x->clock++;
    for (int i = 0; i < PARENTS; i++) {
        struct parent *p = &x->parents[i];

        if (p->path != NULL && p->len == len && memcmp(p->path, path, len) == 0) {
            p->used = x->clock;
            return p->fd;
        }
    }
    mine = strndup(path, len);
    fd = mine == NULL ? -ENOMEM : open_parent(x, mine);
    if (fd < 0) {
        free(mine);
        return fd;
    }
    slot = free_slot(x);
    *slot = (struct parent){.path = mine, .len = len, .fd = fd, .used = x->clock};
    return fd;
}

/* ---- attributes ---- */

static struct timespec mtime_of(const struct tar_entry *t)
{
    return (struct timespec){.tv_sec = t->mtime, .tv_nsec = (long)t->mtime_ns};
}

/* An id that the user namespace does not know, or nobody may give: counted. */
static int after_chown(struct extract *x, int r)
{
    if (r < 0 && (errno == EPERM || errno == EINVAL)) {
        x->notes.owners++;
        return 0;
    }
    return r < 0 ? -errno : 0;
}

static bool owner_differs(const struct extract *x, const struct tar_entry *t)
{
    return t->uid != x->uid || t->gid != x->gid;
}

static bool may_set(const char *name)
{
    if (str_starts(name, "user.")) {
        return !str_starts(name, "user.overlay.");
    }
    return strcmp(name, "security.capability") == 0;
}

static int set_xattrs(struct extract *x, const struct tar_entry *t, int fd)
{
    for (size_t i = 0; i < t->n_xattrs; i++) {
        const struct tar_xattr *a = &t->xattrs[i];

        if (!may_set(a->name)) {
            x->notes.xattrs++;
        } else if (fsetxattr(fd, a->name, a->value, a->len, 0) < 0) {
            if (errno != EPERM && errno != EOPNOTSUPP) {
                return -errno;
            }
            x->notes.xattrs++;
        }
    }
    return 0;
}

/* ---- one kind of entry each ---- */

static int write_plain(struct tar_read *t, int fd, struct err *e)
{
    const uint8_t *bytes;
    size_t len = 1;

    for (;;) {
        int r = tar_read_data(t, &bytes, &len, e);

        if (r < 0 || len == 0) {
            return r;
        }
        r = file_write_all(fd, bytes, len);
        if (r < 0) {
            return r;
        }
    }
}

static int write_at(int fd, const uint8_t *bytes, size_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)off);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        bytes += n;
        len -= (size_t)n;
        off += (uint64_t)n;
    }
    return 0;
}

/* The data of the segments, one after another; holes stay holes. */
static int write_sparse(struct tar_read *t, const struct tar_entry *x, int fd,
                        struct err *e)
{
    size_t i = 0, len = 0;
    uint64_t done = 0; /* of segment i */
    const uint8_t *bytes = NULL;

    while (i < x->n_segments) {
        const struct tar_segment *g = &x->segments[i];
        size_t n;
        int r;

        if (done == g->len) {
            i++;
            done = 0;
            continue;
        }
        r = len > 0 ? 0 : tar_read_data(t, &bytes, &len, e);
        if (r < 0 || len == 0) {
            return r < 0 ? r : -EBADMSG;
        }
        n = len < g->len - done ? len : (size_t)(g->len - done);
        r = write_at(fd, bytes, n, g->offset + done);
        if (r < 0) {
            return r;
        }
        bytes += n;
        len -= n;
        done += n;
    }
    return ftruncate(fd, (off_t)x->size) < 0 ? -errno : 0;
}

static int open_new(struct extract *x, int dir, const char *name, mode_t mode)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    int fd = openat(dir, name, flags, mode);

    if (fd < 0 && errno == EEXIST) {
        int r = clear_way(x, dir, name);

        if (r < 0) {
            return r;
        }
        fd = openat(dir, name, flags, mode);
    }
    return fd < 0 ? -errno : fd;
}

static int finish_file(struct extract *x, const struct tar_entry *t, int fd)
{
    struct timespec times[2] = {mtime_of(t), mtime_of(t)};
    int r = 0;

    if (owner_differs(x, t)) {
        r = after_chown(x, fchown(fd, t->uid, t->gid));
        if (r == 0 && (t->mode & 06000) != 0 && fchmod(fd, t->mode) < 0) {
            r = -errno;
        }
    }
    if (r == 0 && t->n_xattrs > 0) {
        r = set_xattrs(x, t, fd);
    }
    if (r == 0 && futimens(fd, times) < 0) {
        r = -errno;
    }
    return r;
}

static int put_file(struct extract *x, struct tar_read *r_tar, const struct tar_entry *t,
                    int dir, const char *name, struct err *e)
{
    SCOPED(scope_close) int fd = open_new(x, dir, name, t->mode);
    int r;

    if (fd < 0) {
        return fd;
    }
    x->notes.bytes += t->size;
    if (x->notes.bytes > x->o.max_bytes || x->notes.bytes < t->size) {
        return err_set(e, -EFBIG,
                       "entry '%.200s': the layer's files have more than %llu bytes",
                       t->path, (unsigned long long)x->o.max_bytes);
    }
    r = t->segments != NULL ? write_sparse(r_tar, t, fd, e) : write_plain(r_tar, fd, e);
    return r < 0 ? r : finish_file(x, t, fd);
}

static int put_dir(struct extract *x, const struct tar_entry *t, int dir,
                   const char *name)
{
    struct defer d = {.mode = t->mode,
                      .uid = t->uid,
                      .gid = t->gid,
                      .mtime = mtime_of(t),
                      .has_time = true};
    int r = place_dir(x, dir, name, (t->mode & 01777) | 0700, true);

    d.has_mode = r == 0 && d.mode == ((d.mode & 01777) | 0700);
    if (r >= 0 && t->n_xattrs > 0) {
        SCOPED(scope_close)
        int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        r = fd < 0 ? -errno : set_xattrs(x, t, fd);
    }
    return r < 0 ? r : defer_dir(x, x->path, &d);
}

/* The root itself ("./"): only its attributes can be set. */
static int put_root(struct extract *x, const struct tar_entry *t)
{
    if (t->type != 'd') {
        return -EISDIR;
    }
    return put_dir(x, t, x->o.root, ".");
}

static int put_symlink(struct extract *x, const struct tar_entry *t, int dir,
                       const char *name)
{
    struct timespec times[2] = {mtime_of(t), mtime_of(t)};
    int r = symlinkat(t->link, dir, name) < 0 ? -errno : 0;

    if (r == -EEXIST) {
        r = clear_way(x, dir, name);
        r = r < 0 ? r : symlinkat(t->link, dir, name) < 0 ? -errno : 0;
    }
    if (r == 0 && owner_differs(x, t)) {
        r = after_chown(x, fchownat(dir, name, t->uid, t->gid, AT_SYMLINK_NOFOLLOW));
    }
    if (r == 0 && utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0) {
        r = -errno;
    }
    return r;
}

/* The folder that holds `target` (its last name `last`): of this layer, or of one
 * below.  Nothing is made on the way.  A descriptor or -errno. */
static int find_target(struct extract *x, const char *target, const char *last)
{
    char parent[PATH_BYTES];
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_free) int *roots = NULL;
    struct stat st;
    int r;

    (void)str_print(parent, sizeof parent, "%.*s",
                    last > target ? (int)(last - target) - 1 : 0, target);
    dir = file_open_in_root(x->o.root, parent[0] != '\0' ? parent : ".",
                            O_PATH | O_DIRECTORY, 0);
    r = dir < 0 ? dir : fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
    if (r == 0) {
        return is_whiteout(&st) ? -ENOENT : scope_take_fd(&dir);
    }
    if (r != -ENOENT || x->o.n_below == 0) {
        return r;
    }
    roots = fault_malloc((x->o.n_below + 1) * sizeof *roots);
    if (roots == NULL) {
        return -ENOMEM;
    }
    roots[0] = x->o.root;
    memcpy(roots + 1, x->o.below, x->o.n_below * sizeof *roots);
    return extract_find_below(roots, x->o.n_below + 1, target);
}

/* The target's last name is not followed: a link to a symbolic link is one.  A file of
 * a layer below is linked, too: layers are never written to, and lie in one file
 * system, so that the mount shows one file under both names, as the layer means it. */
static int put_hard_link(struct extract *x, const struct tar_entry *t, int dir,
                         const char *name)
{
    char target[PATH_BYTES];
    const char *last;
    SCOPED(scope_close) int from = -1;
    int r = extract_clean_path(t->link, target);

    if (r < 0 || target[0] == '\0' || strcmp(target, x->path) == 0) {
        return r < 0 ? r : -EINVAL;
    }
    last = strrchr(target, '/');
    last = last == NULL ? target : last + 1;
    from = find_target(x, target, last);
    if (from < 0) {
        return from;
    }
    if (linkat(from, last, dir, name, 0) == 0) {
        return 0;
    }
    if (errno != EEXIST) {
        return -errno;
    }
    r = clear_way(x, dir, name);
    return r < 0 ? r : linkat(from, last, dir, name, 0) < 0 ? -errno : 0;
}

static int put_fifo(struct extract *x, const struct tar_entry *t, int dir,
                    const char *name)
{
    struct timespec times[2] = {mtime_of(t), mtime_of(t)};
    int r = mkfifoat(dir, name, t->mode & 0777) < 0 ? -errno : 0;

    if (r == -EEXIST) {
        r = clear_way(x, dir, name);
        r = r < 0 ? r : mkfifoat(dir, name, t->mode & 0777) < 0 ? -errno : 0;
    }
    if (r == 0 && owner_differs(x, t)) {
        r = after_chown(x, fchownat(dir, name, t->uid, t->gid, AT_SYMLINK_NOFOLLOW));
    }
    if (r == 0 && utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0) {
        r = -errno;
    }
    return r;
}

static int put_device(struct extract *x, int dir, const char *name)
{
    SCOPED(scope_close) int fd = open_new(x, dir, name, 0);

    x->notes.devices++;
    return fd < 0 ? fd : 0;
}

/* ---- whiteouts ---- */

static int put_whiteout(struct extract *x, int dir, const char *name)
{
    const char *hidden = name + strlen(".wh.");
    struct stat st;

    if (strcmp(name, ".wh..wh..opq") == 0) {
        return x->o.n_below > 0 ? mark_opaque(dir, ".") : 0;
    }
    if (str_starts(hidden, ".wh.")) {
        return 0; /* book-keeping of aufs */
    }
    if (*hidden == '\0' || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0) {
        return -EINVAL;
    }
    if (x->o.n_below == 0) {
        return 0;
    }
    if (mknodat(dir, hidden, S_IFCHR, makedev(0, 0)) == 0) {
        return 0;
    }
    /* What this layer itself puts there stays; a folder loses what is below. */
    if (errno != EEXIST || fstatat(dir, hidden, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return S_ISDIR(st.st_mode) ? mark_opaque(dir, hidden) : 0;
}

/* ---- the layer ---- */

static int put_named(struct extract *x, struct tar_read *r_tar, const struct tar_entry *t,
                     const char *name, struct err *e)
{
    int dir = get_parent(x, x->path, name > x->path ? (size_t)(name - x->path) - 1 : 0);

    if (dir < 0) {
        return dir;
    }
    if (str_starts(name, ".wh.")) {
        return put_whiteout(x, dir, name);
    }
    switch (t->type) {
    case '-':
        return put_file(x, r_tar, t, dir, name, e);
    case 'd':
        return put_dir(x, t, dir, name);
    case 'l':
        return put_symlink(x, t, dir, name);
    case 'h':
        return put_hard_link(x, t, dir, name);
    case 'p':
        return put_fifo(x, t, dir, name);
    default:
        return put_device(x, dir, name);
    }
}

static int put_entry(struct extract *x, struct tar_read *r_tar, const struct tar_entry *t,
                     struct err *e)
{
    const char *slash;
    int r = extract_clean_path(t->path, x->path);

    if (r == -EINVAL) {
        return err_set(e, r, "entry '%.200s' leads out of the layer", t->path);
    }
    if (r == 0 && ++x->notes.entries > x->o.max_entries) {
        return err_set(e, -EFBIG, "the layer has more than %llu entries",
                       (unsigned long long)x->o.max_entries);
    }
    slash = strrchr(x->path, '/');
    if (r == 0 && slash != NULL &&
        (str_starts(x->path, ".wh.") ||
         memmem(x->path, (size_t)(slash - x->path), "/.wh.", 5))) {
        return err_set(e, -EINVAL, "entry '%.200s' lies in a whiteout", t->path);
    }
    if (r == 0) {
        r = x->path[0] == '\0'
                ? put_root(x, t)
                : put_named(x, r_tar, t, slash != NULL ? slash + 1 : x->path, e);
    }
    if (r < 0 && t->type == 'h') {
        return err_sys(e, r, "entry '%.200s', a hard link to '%.200s'", t->path, t->link);
    }
    return r < 0 ? err_sys(e, r, "entry '%.200s'", t->path) : 0;
}

/* The last thing done to a directory; gone or replaced ones are passed over. */
static int finish_dir(struct extract *x, const struct defer *d)
{
    SCOPED(scope_close)
    int fd = file_open_in_root(x->o.root, d->path[0] != '\0' ? d->path : ".",
                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    struct timespec times[2] = {d->mtime, d->mtime};
    int r = 0;

    if (fd < 0) {
        return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
    }
    if (d->uid != x->uid || d->gid != x->gid) {
        r = after_chown(x, fchown(fd, d->uid, d->gid));
    }
    if (r == 0 && !d->has_mode && fchmod(fd, d->mode) < 0) {
        r = -errno;
    }
    if (r == 0 && d->has_time && futimens(fd, times) < 0) {
        r = -errno;
    }
    return r;
}

int extract_run(struct extract *x, struct tar_read *t, struct err *e)
{
    struct tar_entry entry;
    int r;

    while ((r = tar_read_next(t, &entry, e)) > 0) {
        r = put_entry(x, t, &entry, e);
        if (r < 0) {
            return r;
        }
    }
    /* In the order of the layer: a folder listed twice keeps what was said last. */
    for (size_t i = 0; r == 0 && i < x->n_defer; i++) {
        r = finish_dir(x, &x->defer[i]);
        if (r < 0) {
            return err_sys(e, r, "folder '%.200s'", x->defer[i].path);
        }
    }
    return r;
}
