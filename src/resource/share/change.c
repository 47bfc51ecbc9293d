/* change.c - what a guest changes of names and attributes.
 *
 * What is made is made by us, and then given to the user of the guest who asked for it: the
 * guest's kernel has checked that he may (virtio-fs: permissions are the guest's).  No
 * devices are made, as containers have none of their own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "resource/share/private.h"

#define MODE_BITS 07777

/* ---- attributes ---- */

static int set_mode(const struct share_call *c, int fd, uint32_t mode)
{
    char path[16];

    (void)str_print(path, sizeof path, "%d", fd);
    return fchmodat(c->s->o.proc_fds, path, mode & MODE_BITS, 0) < 0 ? -errno : 0;
}

static int set_size(const struct share_call *c, const struct fuse_setattr_in *in)
{
    SCOPED(scope_close) int own = -1;
    int fd;

    if ((in->valid & FATTR_FH) != 0) {
        fd = share_handle(c, in->fh, false);
    } else {
        fd = own = share_reopen(c, c->file, O_WRONLY);
    }
    return fd < 0 ? fd : ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
}

static struct timespec time_of(uint32_t valid, uint32_t now, uint32_t bit, uint64_t s,
                               uint32_t ns)
{
    return (struct timespec){.tv_sec = (time_t)s,
                             .tv_nsec = (valid & now) != 0   ? UTIME_NOW
                                        : (valid & bit) != 0 ? (long)ns
                                                             : UTIME_OMIT};
}

static int set_times(const struct share_call *c, const struct fuse_setattr_in *in)
{
    const struct timespec times[2] = {
        time_of(in->valid, FATTR_ATIME_NOW, FATTR_ATIME, in->atime, in->atimensec),
        time_of(in->valid, FATTR_MTIME_NOW, FATTR_MTIME, in->mtime, in->mtimensec)};

    return utimensat(c->file->fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int share_do_setattr(struct share_call *c)
{
    struct fuse_setattr_in in;
    int r = 0;

    memcpy(&in, c->arg, sizeof in);
    if ((in.valid & FATTR_MODE) != 0) {
        r = S_ISLNK(c->file->mode) ? -EOPNOTSUPP : set_mode(c, c->file->fd, in.mode);
    }
    if (r == 0 && (in.valid & (FATTR_UID | FATTR_GID)) != 0) {
        uid_t uid = (in.valid & FATTR_UID) != 0 ? in.uid : (uid_t)-1;
        gid_t gid = (in.valid & FATTR_GID) != 0 ? in.gid : (gid_t)-1;

        r = fchownat(c->file->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0
                ? -errno
                : 0;
    }
    if (r == 0 && (in.valid & FATTR_SIZE) != 0) {
        r = set_size(c, &in);
    }
    if (r == 0 && (in.valid & (FATTR_ATIME | FATTR_MTIME)) != 0) {
        r = set_times(c, &in);
    }
    return r < 0 ? r : share_do_getattr(c);
}

/* ---- new files ---- */

/* A directory with the bit S_ISGID gives its group to what is made in it. */
static int give_away(const struct share_call *c, int fd, uint32_t mode, bool has_mode)
{
    struct stat st;
    gid_t gid = c->in->gid;
    int r = fstatat(c->file->fd, "", &st, AT_EMPTY_PATH) < 0 ? -errno : 0;

    if (r == 0 && (st.st_mode & S_ISGID) != 0) {
        gid = (gid_t)-1;
    }
    if (r == 0 &&
        fchownat(fd, "", c->in->uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
        r = errno == EINVAL ? -EPERM : -errno;
    }
    return r == 0 && has_mode && (mode & ~0777u & MODE_BITS) != 0 ? set_mode(c, fd, mode)
                                                                  : r;
}

/* `name` was made in the directory of the call: it is the caller's, and told to the guest. */
static int finish(struct share_call *c, const char *name, uint32_t mode, bool has_mode,
                  struct fuse_entry_out *out)
{
    int fd = share_path_open(c->file->fd, name);
    int r = fd < 0 ? fd : give_away(c, fd, mode, has_mode);
    struct stat st;

    if (r < 0 && fd >= 0) {
        (void)unlinkat(c->file->fd, name,
                       fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
        (void)close(fd);
    }
    return r < 0 ? r : share_entry(c, fd, out);
}

int share_do_symlink(struct share_call *c)
{
    struct fuse_entry_out *out = share_answer(c, sizeof *out);
    const char *name;
    size_t next;
    int r = out == NULL ? -EIO : share_name(c, 0, &name, &next);
    const char *target = (const char *)c->arg + next;

    if (r < 0 || next >= c->bytes || memchr(target, '\0', c->bytes - next) == NULL) {
        return r < 0 ? r : -EINVAL;
    }
    return symlinkat(target, c->file->fd, name) < 0 ? -errno
                                                    : finish(c, name, 0, false, out);
}

int share_do_mknod(struct share_call *c)
{
    struct fuse_entry_out *out = share_answer(c, sizeof *out);
    struct fuse_mknod_in in;
    const char *name;
    size_t next;
    int r = out == NULL ? -EIO : share_name(c, sizeof in, &name, &next);

    memcpy(&in, c->arg, sizeof in);
    if (r == 0 && !S_ISREG(in.mode) && !S_ISFIFO(in.mode) && !S_ISSOCK(in.mode)) {
        r = -EPERM;
    }
    if (r < 0) {
        return r;
    }
    return mknodat(c->file->fd, name, in.mode & (S_IFMT | 0777), 0) < 0
               ? -errno
               : finish(c, name, in.mode, true, out);
}

int share_do_mkdir(struct share_call *c)
{
    struct fuse_entry_out *out = share_answer(c, sizeof *out);
    struct fuse_mkdir_in in;
    const char *name;
    size_t next;
    int r = out == NULL ? -EIO : share_name(c, sizeof in, &name, &next);

    memcpy(&in, c->arg, sizeof in);
    if (r < 0) {
        return r;
    }
    return mkdirat(c->file->fd, name, in.mode & 0777) < 0
               ? -errno
               : finish(c, name, in.mode, false, out);
}

/* A new file, or with the guest's leave one that somebody else has just made. */
static int make_file(struct share_call *c, const char *name,
                     const struct fuse_create_in *in, struct fuse_entry_out *out,
                     int *ret_fd)
{
    uint32_t flags = (in->flags & (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC)) | O_CREAT |
                     O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    SCOPED(scope_close)
    int fd = openat(c->file->fd, name, (int)flags, in->mode & 0777);
    struct share_file *made;
    int r;

    if (fd < 0 && (errno != EEXIST || (in->flags & O_EXCL) != 0)) {
        return -errno;
    }
    r = fd >= 0 ? finish(c, name, in->mode, true, out)
                : share_entry(c, share_path_open(c->file->fd, name), out);
    if (r < 0) {
        return r;
    }
    if (fd < 0) {
        made = share_files_get(&c->s->files, out->nodeid);
        fd = made != NULL ? share_reopen(c, made, in->flags) : -ESTALE;
    }
    if (fd < 0) {
        share_files_forget(&c->s->files, out->nodeid, 1);
        return fd;
    }
    *ret_fd = scope_take_fd(&fd);
    return 0;
}

int share_do_create(struct share_call *c)
{
    struct fuse_entry_out *out =
        share_answer(c, sizeof *out + sizeof(struct fuse_open_out));
    struct fuse_open_out *opened = (struct fuse_open_out *)(out + 1);
    struct fuse_create_in in;
    const char *name;
    size_t next;
    int fd = -1;
    int r = out == NULL ? -EIO : share_name(c, sizeof in, &name, &next);

    memcpy(&in, c->arg, sizeof in);
    r = r == 0 ? make_file(c, name, &in, out, &fd) : r;
    if (r < 0) {
        return r;
    }
    r = share_open_handle(c, fd, false, &opened->fh);
    if (r < 0) {
        share_files_forget(&c->s->files, out->nodeid, 1);
    }
    return r;
}

/* ---- names ---- */

static int remove_name(struct share_call *c, int flags)
{
    const char *name;
    size_t next;
    int r = share_name(c, 0, &name, &next);

    return r < 0 ? r : unlinkat(c->file->fd, name, flags) < 0 ? -errno : 0;
}

int share_do_unlink(struct share_call *c)
{
    return remove_name(c, 0);
}

int share_do_rmdir(struct share_call *c)
{
    return remove_name(c, AT_REMOVEDIR);
}

static int move_name(struct share_call *c, size_t off, uint64_t to, uint32_t flags)
{
    const struct share_file *dir = share_files_get(&c->s->files, to);
    const char *from;
    const char *name;
    size_t next;
    int r = share_name(c, off, &from, &next);

    r = r == 0 ? share_name(c, next, &name, &next) : r;
    if (r == 0 && (dir == NULL || !S_ISDIR(dir->mode))) {
        r = dir == NULL ? -ESTALE : -ENOTDIR;
    }
    if (r == 0 && (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {
        r = -EINVAL;
    }
    if (r < 0) {
        return r;
    }
    return renameat2(c->file->fd, from, dir->fd, name, flags) < 0 ? -errno : 0;
}

int share_do_rename(struct share_call *c)
{
    struct fuse_rename_in in;

    memcpy(&in, c->arg, sizeof in);
    return move_name(c, sizeof in, in.newdir, 0);
}

int share_do_rename2(struct share_call *c)
{
    struct fuse_rename2_in in;

    memcpy(&in, c->arg, sizeof in);
    return move_name(c, sizeof in, in.newdir, in.flags);
}

int share_do_link(struct share_call *c)
{
    struct fuse_entry_out *out = share_answer(c, sizeof *out);
    const struct share_file *old;
    struct fuse_link_in in;
    char path[16];
    const char *name;
    size_t next;
    int r = out == NULL ? -EIO : share_name(c, sizeof in, &name, &next);

    memcpy(&in, c->arg, sizeof in);
    old = share_files_get(&c->s->files, in.oldnodeid);
    if (r < 0 || old == NULL) {
        return r < 0 ? r : -ESTALE;
    }
    (void)str_print(path, sizeof path, "%d", old->fd);
    if (S_ISLNK(old->mode)) { /* the way over /proc would follow it */
        return -EPERM;
    }
    if (linkat(c->s->o.proc_fds, path, c->file->fd, name, AT_SYMLINK_FOLLOW) < 0) {
        return -errno;
    }
    return share_entry(c, share_path_open(c->file->fd, name), out);
}

/* ---- extended attributes ---- */

static int want_attribute(const struct share_call *c, size_t off, const char **ret,
                          size_t *ret_next)
{
    int r = share_name(c, off, ret, ret_next);

    if (r == 0 && (strncmp(*ret, "user.", 5) != 0 ||
                   (!S_ISREG(c->file->mode) && !S_ISDIR(c->file->mode)))) {
        r = -EOPNOTSUPP;
    }
    return r == 0 && fchdir(c->s->o.proc_fds) < 0 ? -errno : r;
}

/* As long as it is in kernels that know nothing of FUSE_SETXATTR_EXT. */
int share_do_setxattr(struct share_call *c)
{
    struct fuse_setxattr_in in = {0};
    const char *name;
    char path[16];
    size_t next;
    int r = want_attribute(c, FUSE_COMPAT_SETXATTR_IN_SIZE, &name, &next);

    memcpy(&in, c->arg, FUSE_COMPAT_SETXATTR_IN_SIZE);
    if (r < 0 || in.size > c->bytes - next) {
        return r < 0 ? r : -EINVAL;
    }
    (void)str_print(path, sizeof path, "%d", c->file->fd);
    return setxattr(path, name, c->arg + next, in.size, (int)in.flags) < 0 ? -errno : 0;
}

int share_do_removexattr(struct share_call *c)
{
    const char *name;
    char path[16];
    size_t next;
    int r = want_attribute(c, 0, &name, &next);

    (void)str_print(path, sizeof path, "%d", c->file->fd);
    return r < 0 ? r : removexattr(path, name) < 0 ? -errno : 0;
}
