/* copy.c - copy a tree between two directories without leaving either.
 *
 * Every name is one component, opened below the directory descriptor at hand
 * and never through a symbolic link, so a guest that changes the tree meanwhile
 * can spoil its own copy only.  File contents are cloned where the file system
 * can (reflink), else copied in the kernel.
 *
 * `raw` copies what overlayfs itself keeps in an upper directory: character
 * device 0:0 for a removed name and the trusted.overlay or user.overlay
 * attributes.  Nobody changes such a tree meanwhile, so that hard links inside it
 * are made anew; in other copies they become separate files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/securebits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/disk/private.h"

#define DEPTH_MOST 512
#define IDS        65536 /* of a guest */
#define NOBODY     65534

/* A file with several names, and the first one that it got in the copy. */
struct linked {
    dev_t dev;
    ino_t ino;
    char *path; /* below the top of the copy */
};

struct run {
    const struct copy_how *how;
    int top;         /* directory that the copy is made in */
    struct str path; /* of the entry at hand, below it */
    void *links;     /* of struct linked: tsearch(3) */
};

static int copy_entry(struct run *c, int from, const char *from_name, int to,
                      const char *to_name, int depth);

/* ---- files with several names ---- */

static int by_inode(const void *a, const void *b)
{
    const struct linked *x = a;
    const struct linked *y = b;

    if (x->dev != y->dev) {
        return x->dev < y->dev ? -1 : 1;
    }
    return x->ino == y->ino ? 0 : x->ino < y->ino ? -1 : 1;
}

static void free_linked(void *arg)
{
    struct linked *x = arg;

    free(x->path);
    free(x);
}

/* Another name for what was copied: 1.  0: it was not, and has this name from now on. */
static int link_again(struct run *c, const struct stat *st, int to, const char *to_name)
{
    struct linked key = {.dev = st->st_dev, .ino = st->st_ino};
    struct linked **at = tfind(&key, &c->links, by_inode);
    struct linked *new;

    if (at != NULL) {
        (void)unlinkat(to, to_name, 0);
        return linkat(c->top, (*at)->path, to, to_name, 0) < 0 ? -errno : 1;
    }
    new = fault_malloc(sizeof *new);
    key.path = fault_strdup(str_text(&c->path));
    if (new != NULL && key.path != NULL) {
        *new = key;
        if (tsearch(new, &c->links, by_inode) != NULL) {
            return 0;
        }
    }
    free(key.path);
    free(new);
    return -ENOMEM;
}

/* ---- one entry of each type ---- */

/* Attributes of one file, through /proc since there is no f-call for O_PATH. */
static int copy_attributes(int from, int to, bool raw)
{
    char names[16384];
    char value[65536];
    ssize_t len = flistxattr(from, names, sizeof names);

    if (len < 0) {
        return errno == EOPNOTSUPP ? 0 : -errno;
    }
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        const char *name = names + at;
        bool overlay =
            str_starts(name, "trusted.overlay.") || str_starts(name, "user.overlay.");
        ssize_t size;

        if (overlay && !raw) {
            continue;
        }
        size = fgetxattr(from, name, value, sizeof value);
        if (size >= 0 && fsetxattr(to, name, value, (size_t)size, 0) < 0 && raw) {
            return -errno;
        }
    }
    return 0;
}

uid_t copy_shifted(uint64_t id, const struct copy_how *how)
{
    uint64_t own = id >= how->shift_from ? id - how->shift_from : id;

    if (how->raw) { /* from guest to guest: what is not the guest's stays as it is */
        return (uid_t)(id >= how->shift_from ? own + how->shift_to : id);
    }
    if (how->shift_to != 0 && own >= IDS) {
        own = NOBODY; /* beyond lies another guest's range */
    }
    return (uid_t)own + how->shift_to;
}

int copy_set_mode(int dir, const char *name, mode_t mode)
{
    SCOPED(scope_close) int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char path[64];
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (S_ISLNK(st.st_mode)) {
        return -ELOOP; /* the guest has put it there meanwhile */
    }
    (void)str_print(path, sizeof path, "/proc/self/fd/%d", fd);
    return chmod(path, mode) < 0 ? -errno : 0;
}

static int copy_owner_mode(int to, const char *name, const struct stat *st,
                           const struct copy_how *how)
{
    struct timespec times[2] = {st->st_atim, st->st_mtim};

    if (how->keep_owner &&
        fchownat(to, name, copy_shifted(st->st_uid, how), copy_shifted(st->st_gid, how),
                 AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (!S_ISLNK(st->st_mode)) {
        mode_t mode = st->st_mode & (how->no_set_id ? 01777 : 07777);
        int r = copy_set_mode(to, name, mode);

        if (r < 0) {
            return r;
        }
    }
    return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_bytes(int in, int out)
{
    if (ioctl(out, FICLONE, in) == 0) {
        return 0;
    }
    for (;;) {
        ssize_t n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);

        if (n == 0) {
            return 0;
        }
        if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP)) {
            break;
        }
        if (n < 0) {
            return -errno;
        }
    }
    for (;;) {
        char buf[65536];
        ssize_t n = read(in, buf, sizeof buf);
        int r;

        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        r = file_write_all(out, buf, (size_t)n);
        if (r < 0) {
            return r;
        }
    }
}

static int copy_file(int from, const char *from_name, int to, const char *to_name,
                     bool raw)
{
    SCOPED(scope_close)
    int in = openat(from, from_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    SCOPED(scope_close) int out = -1;
    int r;

    if (in < 0) {
        return -errno;
    }
    (void)unlinkat(to, to_name, 0);
    out = openat(to, to_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0) {
        return -errno;
    }
    r = copy_bytes(in, out);
    return r < 0 ? r : copy_attributes(in, out, raw);
}

static int copy_link(int from, const char *from_name, int to, const char *to_name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, from_name, target, sizeof target - 1);

    if (n < 0) {
        return -errno;
    }
    target[n] = '\0';
    (void)unlinkat(to, to_name, 0);
    return symlinkat(target, to, to_name) < 0 ? -errno : 0;
}

static int copy_directory(struct run *c, int from, const char *from_name, int to,
                          const char *to_name, int depth)
{
    SCOPED(scope_close)
    int in = openat(from, from_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    SCOPED(scope_close) int out = -1;
    SCOPED(scope_dir) DIR *d = NULL;
    int list;

    if (in < 0) {
        return -errno;
    }
    if (mkdirat(to, to_name, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    out = openat(to, to_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out < 0) {
        return -errno;
    }
    list = fcntl(in, F_DUPFD_CLOEXEC, 3);
    d = list >= 0 ? fdopendir(list) : NULL;
    if (d == NULL) {
        return -errno;
    }
    for (;;) {
        const struct dirent *entry;
        int r;

        errno = 0;
        entry = readdir(d);
        if (entry == NULL) {
            return errno != 0 ? -errno : copy_attributes(in, out, c->how->raw);
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        str_addf(&c->path, "/%s", entry->d_name);
        r = str_failed(&c->path)
                ? -ENOMEM
                : copy_entry(c, in, entry->d_name, out, entry->d_name, depth + 1);
        if (r < 0) {
            return r;
        }
        c->path.len -= strlen(entry->d_name) + 1;
        c->path.data[c->path.len] = '\0';
    }
}

static int copy_special(int to, const char *to_name, const struct stat *st,
                        const struct copy_how *how)
{
    bool whiteout = S_ISCHR(st->st_mode) && st->st_rdev == 0;

    if (S_ISSOCK(st->st_mode)) {
        return 1; /* belongs to a process, not to the tree */
    }
    if (!S_ISFIFO(st->st_mode) && !(how->raw && (whiteout || how->keep_owner))) {
        return 1; /* device nodes leave no guest */
    }
    (void)unlinkat(to, to_name, 0);
    return mknodat(to, to_name, st->st_mode & (S_IFMT | 0600), st->st_rdev) < 0 ? -errno
                                                                                : 0;
}

static int copy_entry(struct run *c, int from, const char *from_name, int to,
                      const char *to_name, int depth)
{
    const struct copy_how *how = c->how;
    struct stat st;
    int r;

    if (depth > DEPTH_MOST) {
        return -ELOOP;
    }
    if (fstatat(from, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (how->raw && st.st_nlink > 1 && (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))) {
        r = link_again(c, &st, to, to_name);
        if (r != 0) {
            return r > 0 ? 0 : r;
        }
    }
    switch (st.st_mode & S_IFMT) {
    case S_IFDIR:
        r = copy_directory(c, from, from_name, to, to_name, depth);
        break;
    case S_IFREG:
        r = copy_file(from, from_name, to, to_name, how->raw);
        break;
    case S_IFLNK:
        r = copy_link(from, from_name, to, to_name);
        break;
    default:
        r = copy_special(to, to_name, &st, how);
        break;
    }
    if (r != 0) {
        return r > 0 ? 0 : r;
    }
    return copy_owner_mode(to, to_name, &st, how);
}

void copy_identity_begin(const struct copy_how *how, struct copy_identity *was)
{
    *was = (struct copy_identity){.uid = -1, .gid = -1, .bits = prctl(PR_GET_SECUREBITS)};
    if (how->shift_to != 0 && !how->raw) {
        (void)prctl(PR_SET_SECUREBITS, was->bits | SECBIT_NO_SETUID_FIXUP);
        was->gid = setfsgid(how->shift_to);
        was->uid = setfsuid(how->shift_to);
    }
}

void copy_identity_end(const struct copy_identity *was)
{
    if (was->uid >= 0) {
        (void)setfsuid((uid_t)was->uid);
        (void)setfsgid((gid_t)was->gid);
        (void)prctl(PR_SET_SECUREBITS, was->bits);
    }
}

int copy_tree(int from, const char *from_name, int to, const char *to_name,
              const struct copy_how *how, struct err *e)
{
    struct run c = {.how = how, .top = to};
    struct copy_identity was;
    int r;

    str_add(&c.path, to_name);
    copy_identity_begin(how, &was);
    r = str_failed(&c.path) ? -ENOMEM : copy_entry(&c, from, from_name, to, to_name, 0);
    copy_identity_end(&was);
    tdestroy(c.links, free_linked);
    str_fini(&c.path);
    return r < 0 ? err_sys(e, r, "cannot copy '%s'", from_name) : 0;
}
