/* look.c - what a guest sees: names, attributes, directories.
 *
 * A name is always one part below a directory that the guest knows, and is opened with
 * RESOLVE_BENEATH and O_NOFOLLOW: whatever it names, and whoever moves things about
 * meanwhile, the way there never leads up or through a symbolic link; those the guest
 * follows itself, among its own names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "resource/share/private.h"

#define VALID_S     1 /* that a guest believes what it was told */
#define ENTRY_BYTES 65536

/* linux/dirent.h has it for the kernel only: getdents64(2). */
struct entry {
    uint64_t inode;
    int64_t next; /* where the directory goes on behind it */
    uint16_t bytes;
    uint8_t type;
    char name[];
};

/* ---- files ---- */

int share_path_open(int dir, const char *name)
{
    const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, dir, name, &how, sizeof how);

    return fd < 0 ? -errno : (int)fd;
}

static void fill_attr(const struct stat *st, struct fuse_attr *a)
{
    a->ino = st->st_ino;
    a->size = (uint64_t)st->st_size;
    a->blocks = (uint64_t)st->st_blocks;
    a->atime = (uint64_t)st->st_atim.tv_sec;
    a->mtime = (uint64_t)st->st_mtim.tv_sec;
    a->ctime = (uint64_t)st->st_ctim.tv_sec;
    a->atimensec = (uint32_t)st->st_atim.tv_nsec;
    a->mtimensec = (uint32_t)st->st_mtim.tv_nsec;
    a->ctimensec = (uint32_t)st->st_ctim.tv_nsec;
    a->mode = st->st_mode;
    a->nlink = (uint32_t)st->st_nlink;
    a->uid = st->st_uid;
    a->gid = st->st_gid;
    a->rdev = (uint32_t)(minor(st->st_rdev) & 0xff) | (uint32_t)major(st->st_rdev) << 8 |
              (uint32_t)(minor(st->st_rdev) & ~0xffu) << 12;
    a->blksize = (uint32_t)st->st_blksize;
}

static int look_at(int fd, struct stat *st)
{
    return fstatat(fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int share_entry(struct share_call *c, int take_fd, struct fuse_entry_out *out)
{
    struct share_file *file;
    struct stat st;
    int r = take_fd < 0 ? take_fd : look_at(take_fd, &st);

    if (r < 0) {
        scope_close(&take_fd);
        return r;
    }
    r = share_files_know(&c->s->files, take_fd, &st, &file);
    if (r == 0) {
        out->nodeid = share_files_number(&c->s->files, file);
        out->generation = file->number;
        out->entry_valid = out->attr_valid = VALID_S;
        fill_attr(&st, &out->attr);
    }
    return r;
}

int share_do_lookup(struct share_call *c)
{
    struct fuse_entry_out *out = share_answer(c, sizeof *out);
    const char *name;
    size_t next;
    int r = out == NULL ? -EIO : share_name(c, 0, &name, &next);

    return r < 0 ? r : share_entry(c, share_path_open(c->file->fd, name), out);
}

int share_do_getattr(struct share_call *c)
{
    struct fuse_attr_out *out = share_answer(c, sizeof *out);
    struct stat st;
    int r = out == NULL ? -EIO : look_at(c->file->fd, &st);

    if (r == 0) {
        out->attr_valid = VALID_S;
        fill_attr(&st, &out->attr);
    }
    return r;
}

int share_do_readlink(struct share_call *c)
{
    size_t room = c->room < PATH_MAX ? c->room : PATH_MAX;
    ssize_t n =
        S_ISLNK(c->file->mode) ? readlinkat(c->file->fd, "", (char *)c->out, room) : -1;

    if (n < 0) {
        return S_ISLNK(c->file->mode) ? -errno : -EINVAL;
    }
    c->used = (size_t)n;
    return 0;
}

int share_do_statfs(struct share_call *c)
{
    struct fuse_statfs_out *out = share_answer(c, sizeof *out);
    struct statfs st;

    if (out == NULL || fstatfs(c->file->fd, &st) < 0) {
        return out == NULL ? -EIO : -errno;
    }
    out->st.blocks = st.f_blocks;
    out->st.bfree = st.f_bfree;
    out->st.bavail = st.f_bavail;
    out->st.files = st.f_files;
    out->st.ffree = st.f_ffree;
    out->st.bsize = (uint32_t)st.f_bsize;
    out->st.namelen = (uint32_t)st.f_namelen;
    out->st.frsize = (uint32_t)st.f_frsize;
    return 0;
}

/* ---- directories ---- */

int share_do_opendir(struct share_call *c)
{
    struct fuse_open_out *out = share_answer(c, sizeof *out);
    int fd = out == NULL ? -EIO : share_reopen(c, c->file, O_RDONLY | O_DIRECTORY);

    return fd < 0 ? fd : share_open_handle(c, fd, true, &out->fh);
}

/* Entries as the kernel gives them, as the guest wants them; how many of their bytes. */
static size_t put_entries(struct share_call *c, const uint8_t *from, size_t n,
                          size_t most)
{
    size_t used = 0;
    size_t at = 0;

    while (at < n) {
        const struct entry *e = (const struct entry *)(const void *)(from + at);
        size_t length = strlen(e->name);
        size_t whole = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
        struct fuse_dirent d = {.ino = e->inode,
                                .off = (uint64_t)e->next,
                                .namelen = (uint32_t)length,
                                .type = e->type};

        if (whole > most - used) {
            break;
        }
        memset(c->out + used, 0, whole);
        memcpy(c->out + used, &d, FUSE_NAME_OFFSET);
        memcpy(c->out + used + FUSE_NAME_OFFSET, e->name, length);
        used += whole;
        at += e->bytes;
    }
    return used;
}

int share_do_readdir(struct share_call *c)
{
    _Alignas(struct entry) uint8_t from[ENTRY_BYTES];
    struct fuse_read_in in;
    size_t most;
    long n;
    int fd;

    memcpy(&in, c->arg, sizeof in);
    fd = share_handle(c, in.fh, true);
    most = in.size < c->room ? in.size : c->room;
    if (fd < 0 || lseek(fd, (off_t)in.offset, SEEK_SET) < 0) {
        return fd < 0 ? fd : -errno;
    }
    n = syscall(SYS_getdents64, fd, from, most < sizeof from ? most : sizeof from);
    if (n < 0) {
        return -errno;
    }
    c->used = put_entries(c, from, (size_t)n, most);
    return 0;
}

/* ---- extended attributes: of users, not of the host's own ---- */

static int want_attribute(const struct share_call *c, size_t off, const char **ret,
                          char path[16])
{
    size_t next;
    int r = share_name(c, off, ret, &next);

    if (r == 0 && (strncmp(*ret, "user.", 5) != 0 ||
                   (!S_ISREG(c->file->mode) && !S_ISDIR(c->file->mode)))) {
        r = -EOPNOTSUPP;
    }
    (void)str_print(path, 16, "%d", c->file->fd);
    return r;
}

/* What was found has `n` bytes: told their number, if that is what was asked. */
static int put_value(struct share_call *c, uint32_t asked, ssize_t n)
{
    struct fuse_getxattr_out *out;

    if (n < 0) {
        return -errno;
    }
    if (asked != 0) {
        c->used = (size_t)n;
        return 0;
    }
    out = share_answer(c, sizeof *out);
    if (out != NULL) {
        out->size = (uint32_t)n;
    }
    return out != NULL ? 0 : -EIO;
}

int share_do_getxattr(struct share_call *c)
{
    struct fuse_getxattr_in in;
    const char *name;
    char path[16];
    int r = want_attribute(c, sizeof in, &name, path);

    memcpy(&in, c->arg, sizeof in);
    if (r < 0 || in.size > c->room) {
        return r < 0 ? r : -EIO;
    }
    return fchdir(c->s->o.proc_fds) < 0
               ? -errno
               : put_value(c, in.size, getxattr(path, name, c->out, in.size));
}

/* Only names that may be asked for. */
static size_t keep_names(char *list, size_t n)
{
    size_t kept = 0;

    for (size_t at = 0; at < n;) {
        size_t length = strnlen(list + at, n - at) + 1;

        if (strncmp(list + at, "user.", 5) == 0) {
            memmove(list + kept, list + at, length);
            kept += length;
        }
        at += length;
    }
    return kept;
}

int share_do_listxattr(struct share_call *c)
{
    struct fuse_getxattr_in in;
    char list[XATTR_LIST_MAX];
    char path[16];
    ssize_t n;

    memcpy(&in, c->arg, sizeof in);
    if ((!S_ISREG(c->file->mode) && !S_ISDIR(c->file->mode)) || in.size > c->room) {
        return in.size > c->room ? -EIO : -EOPNOTSUPP;
    }
    (void)str_print(path, sizeof path, "%d", c->file->fd);
    if (fchdir(c->s->o.proc_fds) < 0) {
        return -errno;
    }
    n = listxattr(path, list, sizeof list);
    n = n > 0 ? (ssize_t)keep_names(list, (size_t)n) : n;
    if (n > 0 && in.size != 0 && (size_t)n <= in.size) {
        memcpy(c->out, list, (size_t)n);
    }
    return n > 0 && in.size != 0 && (size_t)n > in.size ? -ERANGE
                                                        : put_value(c, in.size, n);
}
