/* data.c - what is in files: opened, read, written. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "resource/share/private.h"

#define FLAGS_OF_GUESTS (O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC | O_DIRECTORY)
#define FALLOCATE_KNOWN                                                                  \
    (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)

/* Devices, pipes and sockets are the guest's own: the host's are not opened. */
int share_reopen(const struct share_call *c, const struct share_file *f, uint32_t flags)
{
    char path[16];
    int fd;

    if (!S_ISREG(f->mode) && !S_ISDIR(f->mode)) {
        return S_ISLNK(f->mode) ? -ELOOP : -ENXIO;
    }
    if (c->s->o.read_only && (flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY) {
        return -EROFS;
    }
    (void)str_print(path, sizeof path, "%d", f->fd);
    fd = openat(c->s->o.proc_fds, path,
                (int)(flags & FLAGS_OF_GUESTS) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

int share_do_open(struct share_call *c)
{
    struct fuse_open_out *out = share_answer(c, sizeof *out);
    struct fuse_open_in in;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    if (S_ISDIR(c->file->mode)) {
        return -EISDIR;
    }
    fd = out == NULL ? -EIO : share_reopen(c, c->file, in.flags & ~(uint32_t)O_DIRECTORY);
    return fd < 0 ? fd : share_open_handle(c, fd, false, &out->fh);
}

int share_do_read(struct share_call *c)
{
    struct fuse_read_in in;
    ssize_t n;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, false);
    if (fd < 0 || in.size > c->room) {
        return fd < 0 ? fd : -EIO;
    }
    n = pread(fd, c->out, in.size, (off_t)in.offset);
    c->used = n > 0 ? (size_t)n : 0;
    return n < 0 ? -errno : 0;
}

int share_do_write(struct share_call *c)
{
    struct fuse_write_out *out = share_answer(c, sizeof *out);
    struct fuse_write_in in;
    ssize_t n;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, false);
    if (fd < 0 || out == NULL || in.size > c->bytes - sizeof in) {
        return fd < 0 ? fd : out == NULL ? -EIO : -EINVAL;
    }
    n = pwrite(fd, c->arg + sizeof in, in.size, (off_t)in.offset);
    if (n < 0) {
        return -errno;
    }
    out->size = (uint32_t)n;
    return 0;
}

int share_do_release(struct share_call *c)
{
    struct fuse_release_in in;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, c->in->opcode == FUSE_RELEASEDIR);
    if (fd < 0) {
        return fd;
    }
    c->s->open[in.fh].fd = -1;
    return close(fd) < 0 ? -errno : 0;
}

/* What closing would say, e.g. of a quota. */
int share_do_flush(struct share_call *c)
{
    struct fuse_flush_in in;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, false);
    fd = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? (fd == -1 ? -errno : fd) : close(fd) < 0 ? -errno : 0;
}

int share_do_fsync(struct share_call *c)
{
    struct fuse_fsync_in in;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, c->in->opcode == FUSE_FSYNCDIR);
    if (fd < 0) {
        return fd;
    }
    return ((in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0 ? fdatasync(fd) : fsync(fd)) < 0
               ? -errno
               : 0;
}

int share_do_fallocate(struct share_call *c)
{
    struct fuse_fallocate_in in;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, false);
    if (fd < 0 || (in.mode & ~(uint32_t)FALLOCATE_KNOWN) != 0) {
        return fd < 0 ? fd : -EOPNOTSUPP;
    }
    return fallocate(fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) < 0 ? -errno
                                                                               : 0;
}

int share_do_lseek(struct share_call *c)
{
    struct fuse_lseek_out *out = share_answer(c, sizeof *out);
    struct fuse_lseek_in in;
    off_t at;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, false);
    if (fd < 0 || out == NULL || (in.whence != SEEK_DATA && in.whence != SEEK_HOLE)) {
        return fd < 0 ? fd : out == NULL ? -EIO : -EINVAL;
    }
    at = lseek(fd, (off_t)in.offset, (int)in.whence);
    if (at < 0) {
        return -errno;
    }
    out->offset = (uint64_t)at;
    return 0;
}

int share_do_copy(struct share_call *c)
{
    struct fuse_write_out *out = share_answer(c, sizeof *out);
    struct fuse_copy_file_range_in in;
    ssize_t n;
    off_t from_at, to_at;
    int from, to;

    memcpy(&in, c->arg, sizeof in);
    from = share_handle(c, in.fh_in, false);
    to = share_handle(c, in.fh_out, false);
    if (from < 0 || to < 0 || out == NULL) {
        return out == NULL ? -EIO : -EBADF;
    }
    from_at = (off_t)in.off_in;
    to_at = (off_t)in.off_out;
    n = copy_file_range(from, &from_at, to, &to_at,
                        in.len < SHARE_DATA_MOST ? in.len : SHARE_DATA_MOST, 0);
    if (n < 0) {
        return -errno;
    }
    out->size = (uint32_t)n;
    return 0;
}
