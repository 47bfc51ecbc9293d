/* untar.c - put the members of a tar stream below a directory, never outside of it.
 *
 * Each name is walked component by component from the directory, through real directories
 * only: a link on the way, whether of the stream or of the guest meanwhile, is an error,
 * and so is "..".  Device nodes are passed over, as in copy.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "node/disk/private.h"
#include "node/disk/tar.h"

/* Put the next component of *at into `name`; 0 at the end, -EINVAL for "..". */
static int next_part(const char **at, char name[NAME_MAX + 1])
{
    const char *p = *at;
    size_t len;

    for (;;) {
        p += strspn(p, "/");
        len = strcspn(p, "/");
        if (len != 1 || p[0] != '.') {
            break;
        }
        p += 1;
    }
    if (len > NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (len == 2 && p[0] == '.' && p[1] == '.') {
        return -EINVAL;
    }
    memcpy(name, p, len);
    name[len] = '\0';
    *at = p + len;
    return len > 0 ? 1 : 0;
}

/* The directory that holds the last part of `path` (owned), and that part: "" for the
 * top itself.  `make`: directories on the way that are missing. */
static int walk(int top, const char *path, bool make, char last[NAME_MAX + 1])
{
    int dir = fcntl(top, F_DUPFD_CLOEXEC, 3);
    char name[NAME_MAX + 1];
    int r = dir < 0 ? -errno : next_part(&path, last);

    while (r > 0) {
        int below;

        r = next_part(&path, name);
        if (r <= 0) {
            break;
        }
        if (make && mkdirat(dir, last, 0755) < 0 && errno != EEXIST) {
            r = -errno;
            break;
        }
        below = openat(dir, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0) {
            r = -errno;
            break;
        }
        (void)close(dir);
        dir = below;
        memcpy(last, name, sizeof name);
    }
    if (r < 0) {
        scope_close(&dir);
        return r;
    }
    return dir;
}

static int put_file(struct untar_in *in, int dir, const char *name)
{
    SCOPED(scope_close) int out = -1;
    char buf[65536];
    ssize_t n;

    (void)unlinkat(dir, name, 0);
    out = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0) {
        return -errno;
    }
    while ((n = untar_content(in, buf, sizeof buf)) > 0) {
        int r = file_write_all(out, buf, (size_t)n);

        if (r < 0) {
            return r;
        }
    }
    return (int)n;
}

static int put_hard_link(int top, const struct untar_entry *t, int dir, const char *name)
{
    SCOPED(scope_close) int from = -1;
    char last[NAME_MAX + 1];
    int r = walk(top, t->link, false, last);

    if (r < 0) {
        return r;
    }
    from = r;
    if (last[0] == '\0') {
        return -EINVAL;
    }
    (void)unlinkat(dir, name, 0);
    return linkat(from, last, dir, name, 0) < 0 ? -errno : 0;
}

static int put_directory(int dir, const char *name)
{
    struct stat st;

    if (mkdirat(dir, name, 0700) == 0) {
        return 0;
    }
    if (errno != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int set_attributes(int dir, const struct untar_entry *t, const char *name,
                          const struct copy_how *how)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = t->mtime}};

    if (t->type == '1') {
        return 0; /* the file's own entry has set them */
    }
    if (how->keep_owner && fchownat(dir, name, copy_shifted(t->uid, how),
                                    copy_shifted(t->gid, how), AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (t->type != '2' && copy_set_mode(dir, name, t->mode) < 0) {
        return -errno;
    }
    return utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int put(struct untar_in *in, int top, const struct untar_entry *t,
               const struct copy_how *how)
{
    SCOPED(scope_close) int dir = -1;
    char name[NAME_MAX + 1];
    int r;

    if (strchr("01256", t->type) == NULL) {
        return 0;
    }
    r = walk(top, t->name, true, name);
    if (r < 0) {
        return r;
    }
    dir = r;
    if (name[0] == '\0') {
        return t->type == '5' ? 0 : -EINVAL; /* the top stays as it is */
    }
    switch (t->type) {
    case '0':
        r = put_file(in, dir, name);
        break;
    case '1':
        r = put_hard_link(top, t, dir, name);
        break;
    case '2':
        (void)unlinkat(dir, name, 0);
        r = symlinkat(t->link, dir, name) < 0 ? -errno : 0;
        break;
    case '5':
        r = put_directory(dir, name);
        break;
    default:
        (void)unlinkat(dir, name, 0);
        r = mkfifoat(dir, name, 0600) < 0 ? -errno : 0;
        break;
    }
    return r < 0 ? r : set_attributes(dir, t, name, how);
}

/* Writers fill their last record behind the end: were it not read, they would fail. */
static void read_to_end(int fd)
{
    char rest[16384];

    while (file_read_all(fd, rest, sizeof rest) > 0) {
    }
}

int untar(int fd, int top, const struct copy_how *how, struct err *e)
{
    struct untar_in in = {.fd = fd};
    struct copy_identity was;
    struct untar_entry t;
    int r;

    copy_identity_begin(how, &was);
    while ((r = untar_next(&in, &t, e)) == 1) {
        r = put(&in, top, &t, how);
        if (r < 0) {
            r = r == -EPIPE
                    ? err_set(e, r, "cannot put '%.200s': the tar stream is cut off",
                              t.name)
                    : err_sys(e, r, "cannot put '%.200s' of the tar stream", t.name);
            break;
        }
    }
    copy_identity_end(&was);
    if (r == 0) {
        read_to_end(fd);
    }
    return r;
}
