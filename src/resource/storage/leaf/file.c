/* file.c - a disk in a regular file or on a block device of the host.
 *
 * A regular file may end in the middle of a block; the rest of that block reads
 * zeros and is written out when the block is.  With direct access, buffers that are
 * not aligned as the file system asks go through one that is.
 *
 * Zeros and discards are fallocate(2): a hole gives the room back and reads zeros; a
 * zeroed range keeps it.  Block devices know both as well (BLKZEROOUT, BLKDISCARD
 * behind fallocate, Linux 4.9).  A file system that knows neither is asked once. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/file_io.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/leaf/lock.h"

#define PIECES_FEW    64 /* on the stack; more are rare */
#define BOUNCE_MOST   (1024 * 1024)
#define DIRECT_ALIGN  512 /* where the kernel does not say (before Linux 6.1) */
#define RESIZE_MOST   ((uint64_t)INT64_MAX & ~(uint64_t)4095)
#define DEVICE_MODULO 512

struct file {
    struct blk blk;
    struct file_io io;
    char *label; /* owned */
    bool is_device;
    uint32_t align;     /* of buffers with direct access; 1: any */
    bool locks;         /* others are kept away */
    bool shares;        /* also: `let_others_read` */
    bool careless;      /* `leaf_file_skip_flushes` */
    uint64_t end;       /* of the bytes in a regular file: size_bytes is rounded up */
    uint64_t data_from; /* found out: no hole in [data_from, data_until) */
    uint64_t data_until;
    bool no_holes;      /* found out: cannot punch */
    bool no_zero_range; /* found out: cannot zero */
};

static struct file *file_of(struct blk *b)
{
    return (struct file *)b;
}

/* ---- reads ---- */

/* What the file did not have: zeros, if it is behind the end. */
static int fill_up(struct file *f, struct blk_vec to, uint64_t off, ssize_t n)
{
    if (n < 0) {
        return (int)n;
    }
    if ((size_t)n < to.bytes) {
        if (off + (uint64_t)n < f->end) {
            return -EIO; /* somebody else made the file shorter */
        }
        blk_vec_zero(blk_vec_part(to, (size_t)n, to.bytes - (size_t)n));
    }
    return 0;
}

static int read_pieces(struct file *f, struct blk_vec to, uint64_t off)
{
    struct iovec pieces[PIECES_FEW];
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        unsigned n = blk_vec_pieces(to, pieces, PIECES_FEW);
        struct blk_vec now = to;
        size_t bytes = 0;

        for (unsigned i = 0; i < n; i++) {
            bytes += pieces[i].iov_len;
        }
        now.bytes = bytes;
        r = fill_up(f, now, off, file_io_readv(&f->io, pieces, n, off));
        off += bytes;
        to = blk_vec_part(to, bytes, to.bytes - bytes);
    }
    return r;
}

/* Through an aligned buffer, part by part. */
static int bounce(struct file *f, struct blk_vec v, uint64_t off, bool writes, bool sync)
{
    size_t room = v.bytes < BOUNCE_MOST ? v.bytes : BOUNCE_MOST;
    SCOPED(scope_free) void *buf = fault_aligned(4096, (room + 4095) & ~(size_t)4095);
    int r = buf == NULL ? -ENOMEM : 0;

    while (r == 0 && v.bytes > 0) {
        size_t n = v.bytes < room ? v.bytes : room;
        struct iovec piece = {buf, n};
        struct blk_vec now = blk_vec_part(v, 0, n);
        ssize_t did;

        if (writes) {
            blk_vec_take(now, buf);
            did = file_io_writev(&f->io, &piece, 1, off, sync);
            r = did < 0 ? (int)did : 0;
        } else {
            did = file_io_readv(&f->io, &piece, 1, off);
            if (did > 0) {
                blk_vec_put(blk_vec_part(now, 0, (size_t)did), buf);
            }
            r = fill_up(f, now, off, did);
        }
        off += n;
        v = blk_vec_part(v, n, v.bytes - n);
    }
    return r;
}

static int file_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct file *f = file_of(b);

    if (f->align > 1 && !blk_vec_is_aligned(to, f->align)) {
        return bounce(f, to, off, false, false);
    }
    return read_pieces(f, to, off);
}

/* ---- writes ---- */

static void reached(struct file *f, uint64_t end)
{
    if (end > f->end) {
        f->end = end;
    }
    if (end > f->blk.size_bytes) {
        f->blk.size_bytes = end;
    }
}

static int write_pieces(struct file *f, struct blk_vec from, uint64_t off, bool sync)
{
    struct iovec pieces[PIECES_FEW];

    while (from.bytes > 0) {
        unsigned n = blk_vec_pieces(from, pieces, PIECES_FEW);
        ssize_t did = file_io_writev(&f->io, pieces, n, off, sync);

        if (did < 0) {
            return (int)did;
        }
        off += (uint64_t)did;
        from = blk_vec_part(from, (size_t)did, from.bytes - (size_t)did);
    }
    return 0;
}

static int file_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct file *f = file_of(b);
    bool sync = (flags & BLK_FUA) != 0 && !f->careless;
    uint64_t end = off + from.bytes;
    int r;

    if (f->align > 1 && !blk_vec_is_aligned(from, f->align)) {
        r = bounce(f, from, off, true, sync);
    } else {
        r = write_pieces(f, from, off, sync);
    }
    if (r == 0) {
        reached(f, end);
    }
    return r;
}

static int file_write_pipe(struct blk *b, int from, uint64_t bytes, uint64_t off)
{
    struct file *f = file_of(b);
    int r = f->is_device ? -EOPNOTSUPP : file_io_splice(&f->io, from, bytes, off);

    if (r == 0) {
        reached(f, off + bytes);
    }
    return r;
}

static int sync_it(struct file *f)
{
    return f->careless ? 0 : file_io_sync(&f->io);
}

static int file_flush(struct blk *b)
{
    return sync_it(file_of(b));
}

static int punch(struct file *f, uint64_t off, uint64_t bytes)
{
    int r;

    if (f->no_holes) {
        return -EOPNOTSUPP;
    }
    f->data_until = 0;
    r = file_io_allocate(&f->io, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, bytes);
    f->no_holes = r == -EOPNOTSUPP || r == -ENOSYS;
    return f->no_holes ? -EOPNOTSUPP : r;
}

static int zero_range(struct file *f, uint64_t off, uint64_t bytes)
{
    int r;

    if (f->no_zero_range) {
        return -EOPNOTSUPP;
    }
    f->data_until = 0;
    r = file_io_allocate(&f->io, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, bytes);
    f->no_zero_range = r == -EOPNOTSUPP || r == -ENOSYS;
    return f->no_zero_range ? -EOPNOTSUPP : r;
}

static int file_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* Zeros in what is inside the file. */
static int zero_inside(struct file *f, uint64_t off, uint64_t bytes, unsigned flags)
{
    int r = -EOPNOTSUPP;

    if ((flags & BLK_UNMAP) != 0) {
        r = punch(f, off, bytes);
    }
    if (r == -EOPNOTSUPP) {
        r = zero_range(f, off, bytes);
    }
    if (r == -EOPNOTSUPP && !f->is_device) {
        r = punch(f, off, bytes);
    }
    f->blk.zeroes_fast = !f->no_zero_range || (!f->no_holes && !f->is_device);
    return r;
}

static int file_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct file *f = file_of(b);
    uint64_t was = b->size_bytes;
    int r = 0;

    if (off + bytes > was) { /* `grows`: behind the end all is zeros */
        r = file_resize(b, off + bytes, NULL);
    }
    if (r == 0 && (off < was || (flags & BLK_UNMAP) == 0)) {
        r = zero_inside(f, off, bytes, flags);
    }
    return r == 0 && (flags & BLK_FUA) != 0 ? sync_it(f) : r;
}

static int file_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return punch(file_of(b), off, bytes);
}

/* A device that has grown may be used up to its new end. */
static int use_device(struct file *f, uint64_t size_bytes, struct err *e)
{
    off_t end = lseek(f->io.fd, 0, SEEK_END);

    if (end < 0 || size_bytes > (uint64_t)end || size_bytes < f->blk.size_bytes) {
        return err_set(e, -EOPNOTSUPP, "cannot resize '%s': it is a device of the host",
                       f->blk.label);
    }
    f->end = (uint64_t)end;
    f->blk.size_bytes = size_bytes;
    return 0;
}

static bool is_long(const struct file *f, uint64_t bytes)
{
    struct stat s;

    return fstat(f->io.fd, &s) == 0 && (uint64_t)s.st_size == bytes;
}

/* An empty file stays untouched: one that was made empty is written out when ext4 closes it
 * (mount option auto_da_alloc). */
static int file_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct file *f = file_of(b);

    if (f->is_device) {
        return use_device(f, size_bytes, e);
    }
    if (size_bytes > RESIZE_MOST ||
        (!is_long(f, size_bytes) && ftruncate(f->io.fd, (off_t)size_bytes) != 0)) {
        return err_sys(e, size_bytes > RESIZE_MOST ? -EFBIG : -errno,
                       "cannot resize '%s'", b->label);
    }
    f->end = size_bytes;
    f->data_until = 0;
    b->size_bytes = size_bytes;
    return 0;
}

/* ---- status ---- */

/* The offset of the next byte of that kind (SEEK_DATA, SEEK_HOLE); behind the end
 * there is a hole. */
static uint64_t seek(struct file *f, uint64_t off, int kind)
{
    off_t at = lseek(f->io.fd, (off_t)off, kind);

    return at < 0 ? f->end : (uint64_t)at;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The end of a stretch of data is remembered: to find it, a file system may look at each
 * page up to there.  A hole that somebody made meanwhile is taken for data, which is
 * always true; ours are known. */
static int file_status(struct blk *b, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    struct file *f = file_of(b);
    uint64_t mask = b->block_bytes - 1;
    uint64_t data;
    uint64_t until;

    ret->at = off;
    ret->holder = b;
    ret->state = BLK_ALLOCATED | BLK_PLACED;
    if (f->is_device) {
        ret->state |= BLK_DATA;
        return 0;
    }
    if (off >= f->data_from && off < f->data_until) {
        ret->state |= BLK_DATA;
        ret->bytes = least(f->data_until - off, bytes);
        return 0;
    }
    data = seek(f, off, SEEK_DATA) & ~mask;
    if (data > off) {
        until = data < off + bytes ? data : off + bytes;
        until = data >= (f->end & ~mask) ? off + bytes : until;
    } else {
        ret->state |= BLK_DATA;
        until = (seek(f, off, SEEK_HOLE) + mask) & ~mask;
        f->data_from = off;
        f->data_until = until;
    }
    ret->bytes = least(until - off, bytes);
    return 0;
}

/* ---- pages ---- */

/* linux/mman.h, 6.5; the C library has no name for it. */
struct cache_range {
    uint64_t off;
    uint64_t len;
};

struct cache_state {
    uint64_t cached;
    uint64_t dirty;
    uint64_t writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
};

#define CALL_CACHESTAT 451 /* cachestat(2) of every architecture */

static int file_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                      uint64_t *ret_at)
{
    struct file *f = file_of(b);
    struct cache_range range = {off, bytes};
    struct cache_state state = {0};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (f->io.direct || f->is_device || off + bytes > f->end ||
        ((off | bytes) & (page - 1)) != 0 ||
        syscall(CALL_CACHESTAT, f->io.fd, &range, &state, 0) != 0 ||
        state.cached < bytes / page) {
        return -EOPNOTSUPP;
    }
    *ret_fd = f->io.fd;
    *ret_at = off;
    return 0;
}

/* ---- life ---- */

/* The lock says what is done with the file. */
static int file_access(struct blk *b, bool writes, struct err *e)
{
    struct file *f = file_of(b);
    int r = 0;

    if (writes && (fcntl(f->io.fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        return err_set(e, -EROFS, "cannot write to '%s': it was opened for reading only",
                       b->label);
    }
    if (f->locks && writes) {
        r = leaf_lock(f->io.fd, true, f->shares, b->label, e);
    }
    if (f->locks && (!writes || r != 0)) {
        leaf_lock_lower(f->io.fd);
    }
    return r;
}

static void file_destroy(struct blk *b)
{
    struct file *f = file_of(b);

    leaf_unlock(f->io.fd);
    (void)close(f->io.fd);
    free(f->label);
    free(f);
}

static const struct blk_ops file_ops = {
    .name = "file",
    .read = file_read,
    .write = file_write,
    .write_pipe = file_write_pipe,
    .zero = file_zero,
    .discard = file_discard,
    .flush = file_flush,
    .status = file_status,
    .pages = file_pages,
    .resize = file_resize,
    .access = file_access,
    .destroy = file_destroy,
};

/* Size and block size of a device of the host. */
static int measure_device(struct file *f, struct err *e)
{
    uint64_t size = 0;
    int sector = DEVICE_MODULO;

    if (ioctl(f->io.fd, BLKGETSIZE64, &size) != 0 ||
        ioctl(f->io.fd, BLKSSZGET, &sector) != 0) {
        return err_sys(e, -errno, "cannot use device '%s'", f->label);
    }
    f->is_device = true;
    f->blk.block_bytes = (uint32_t)sector;
    f->end = size;
    return 0;
}

/* Alignment that direct access asks for. */
static uint32_t direct_align(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx s;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) == 0 &&
        (s.stx_mask & STATX_DIOALIGN) != 0 && s.stx_dio_offset_align != 0) {
        return s.stx_dio_offset_align > s.stx_dio_mem_align ? s.stx_dio_offset_align
                                                            : s.stx_dio_mem_align;
    }
#endif
    (void)fd;
    return DIRECT_ALIGN;
}

static void try_direct(struct file *f)
{
    int flags = fcntl(f->io.fd, F_GETFL);

    f->align = 1;
    if (flags < 0 || fcntl(f->io.fd, F_SETFL, flags | O_DIRECT) != 0) {
        return; /* tmpfs before Linux 6.6: the page cache is all there is */
    }
    f->io.direct = true;
    f->align = direct_align(f->io.fd);
    if (f->align > f->blk.block_bytes) {
        f->blk.block_bytes = f->align;
    }
}

static int measure(struct file *f, const struct leaf_file_options *o, struct err *e)
{
    struct stat s;
    int r =
        fstat(f->io.fd, &s) == 0 ? 0 : err_sys(e, -errno, "cannot use '%s'", f->label);

    if (r != 0) {
        return r;
    }
    if (S_ISBLK(s.st_mode)) {
        r = measure_device(f, e);
    } else if (S_ISREG(s.st_mode)) {
        f->end = (uint64_t)s.st_size;
        f->blk.zeroes_fast = true;
    } else {
        r = err_set(e, -EINVAL, "cannot use '%s': neither a file nor a block device",
                    f->label);
    }
    if (r != 0) {
        return r;
    }
    if (o->block_bytes > f->blk.block_bytes) {
        f->blk.block_bytes = o->block_bytes;
    }
    f->align = 1;
    if (o->direct) {
        try_direct(f);
    }
    if (f->blk.block_bytes > BLK_BLOCK_MOST_BYTES) {
        return err_set(e, -EOPNOTSUPP, "cannot use '%s': its blocks have %u bytes",
                       f->label, f->blk.block_bytes);
    }
    f->blk.size_bytes =
        (f->end + f->blk.block_bytes - 1) & ~((uint64_t)f->blk.block_bytes - 1);
    return 0;
}

int leaf_file_create(struct loop *l, int take_fd, const struct leaf_file_options *o,
                     struct blk **ret_disk, struct err *e)
{
    struct file *f = fault_calloc(1, sizeof *f);
    int r = 0;

    if (f == NULL) {
        (void)close(take_fd);
        return err_sys(e, -ENOMEM, "cannot open '%s'", o->label);
    }
    blk_init(&f->blk, &file_ops, loop_strands(l));
    f->io = (struct file_io){.loop = l, .fd = take_fd};
    f->label = fault_strdup(o->label);
    if (f->label == NULL) {
        r = err_sys(e, -ENOMEM, "cannot open '%s'", o->label);
    }
    f->locks = !o->no_lock;
    f->shares = o->let_others_read;
    if (r == 0 && f->locks) {
        r = leaf_lock(take_fd, !o->read_only, o->let_others_read, o->label, e);
    }
    if (r == 0) {
        r = measure(f, o, e);
    }
    if (r != 0) {
        file_destroy(&f->blk);
        return r;
    }
    f->blk.label = f->label;
    f->blk.read_only = o->read_only;
    f->blk.grows = o->grows && !f->is_device;
    f->blk.does_fua = true;
    *ret_disk = &f->blk;
    return 0;
}

void leaf_file_let_grow(struct blk *b)
{
    b->grows = !file_of(b)->is_device;
}

void leaf_file_skip_flushes(struct blk *b)
{
    if (b->ops == &file_ops) {
        file_of(b)->careless = true;
    }
}

static bool is_same_file(int a, int b)
{
    struct stat x;
    struct stat y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

int leaf_file_reopen(struct blk *b, int take_fd, struct err *e)
{
    struct file *f = file_of(b);
    int old = f->io.fd;
    int r =
        b->ops != &file_ops || !is_same_file(old, take_fd)
            ? err_set(e, -EINVAL, "cannot open '%s' anew: that is another file", b->label)
            : 0;

    if (r == 0 && f->locks) {
        r = leaf_lock(take_fd, !b->read_only, f->shares, b->label, e);
    }
    if (r != 0) {
        (void)close(take_fd);
        return r;
    }
    blk_drain_begin(b);
    f->io.fd = take_fd;
    if (f->io.direct) {
        (void)fcntl(take_fd, F_SETFL, fcntl(take_fd, F_GETFL) | O_DIRECT);
    }
    blk_drain_end(b);
    leaf_unlock(old);
    (void)close(old);
    return 0;
}
