/* operate.c - what each request asks for, but for the data (data.c).
 *
 * A row per operation that we know says how much of an argument it needs; all others
 * get -ENOSYS, which the kernel remembers, so that it asks once: extended attributes,
 * locks (kept by the kernel), access (mode bits are checked by the kernel), interrupts.
 *
 * Nothing is cached on the kernel's side: files are opened with FOPEN_DIRECT_IO, so each
 * read(2) sees the disk as it is, also when it is changed by other ways than this
 * file; and nothing is kept twice, since a loop device has the cache of its
 * file system above, and our disk may have one below. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contract/blk_ops.h"
#include "resource/storage/fuse/private.h"

#define MINOR_LEAST    28   /* max_pages of `fuse_init_out` */
#define INIT_OLD_BYTES 16   /* of `fuse_init_in`, without the second word of flags */
#define SECTOR_BYTES   512u /* of st_blocks, stat(2) */
#define LOOKS_MOST     4096 /* of blk_status for one lseek */
#define HINT_MOST      (1u << 20)

/* FOPEN_PARALLEL_DIRECT_WRITES: `gate` does what the kernel's lock would. */
#define OPEN_FLAGS (FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)

#define WANTED (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES)

static const struct blk *disk_of(const struct call *c)
{
    return c->server->edge.disk;
}

static void do_init(struct call *c)
{
    const struct fuse_init_in *in = c->arg;
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = FUSE_KERNEL_MINOR_VERSION,
        .max_readahead = in->max_readahead,
        .flags = in->flags & WANTED,
        .max_background = FUSE_FLIGHT_MOST,
        .congestion_threshold = FUSE_FLIGHT_MOST,
        .max_write = FUSE_DATA_MOST,
        .time_gran = 1,
        .max_pages = FUSE_DATA_MOST / FUSE_PAGE_BYTES,
    };

    if (in->major == FUSE_KERNEL_VERSION && in->minor >= MINOR_LEAST &&
        (in->flags & FUSE_MAX_PAGES) != 0) {
        c->server->counts.ready = true;
    } else if (in->major <= FUSE_KERNEL_VERSION) { /* a later one says 7 the next time */
        fuse_reply(c, -EPROTO, NULL, 0);
        return;
    }
    fuse_reply(c, 0, &out, sizeof out);
}

/* What requests of this size are best for; ends of a discard that are not whole ones give no
 * room back. */
static uint32_t hint(const struct blk *b)
{
    uint32_t best = b->best_bytes > b->block_bytes ? b->best_bytes : b->block_bytes;

    if (best > HINT_MOST || (best & (best - 1)) != 0) {
        best = 0;
    }
    return best > FUSE_PAGE_BYTES ? best : FUSE_PAGE_BYTES;
}

static void reply_attr(struct call *c)
{
    const struct fuse_server *s = c->server;
    const struct blk *b = disk_of(c);
    struct fuse_attr_out out = {
        .attr_valid = 0, /* the size may change by other ways */
        .attr = {.ino = FUSE_ROOT_ID,
                 .size = blk_size(b),
                 .blocks = blk_size(b) / SECTOR_BYTES,
                 .atime = s->made_s,
                 .mtime = s->made_s,
                 .ctime = s->made_s,
                 .mode = S_IFREG | (s->options.read_only ? 0400 : 0600),
                 .nlink = 1,
                 .uid = s->options.uid,
                 .gid = s->options.gid,
                 .blksize = hint(b)},
    };

    /* How much is allocated nobody counts.  Less than all: copying programs look for
     * holes.  Not nothing: some take that for "only holes". */
    if (out.attr.blocks > 1) {
        out.attr.blocks--;
    }
    fuse_reply(c, 0, &out, sizeof out);
}

static void do_getattr(struct call *c)
{
    reply_attr(c);
}

static void resize(void *arg)
{
    struct call *c = arg;
    const struct fuse_setattr_in *in = c->arg;
    int r = blk_resize(c->server->edge.disk, in->size, NULL);

    if (r != 0) {
        fuse_reply(c, r, NULL, 0);
    } else {
        reply_attr(c);
    }
}

/* Times are taken and forgotten, so that touch(1) and the like go on. */
static void do_setattr(struct call *c)
{
    const struct fuse_setattr_in *in = c->arg;
    const struct blk *b = disk_of(c);

    if (c->server->options.read_only) {
        fuse_reply(c, -EROFS, NULL, 0);
    } else if ((in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID)) != 0) {
        fuse_reply(c, -EPERM, NULL, 0);
    } else if ((in->valid & FATTR_SIZE) == 0 || in->size == blk_size(b)) {
        reply_attr(c);
    } else if (!c->server->options.resizable || in->size < blk_size(b)) {
        fuse_reply(c, -EPERM, NULL, 0);
    } else if (in->size > BLK_SIZE_MOST_BYTES || in->size % blk_block_bytes(b) != 0) {
        fuse_reply(c, -EINVAL, NULL, 0);
    } else {
        fuse_in_strand(c, resize);
    }
}

static bool writes(uint32_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static void do_open(struct call *c)
{
    const struct fuse_open_in *in = c->arg;
    struct fuse_open_out out = {.fh = writes(in->flags), .open_flags = OPEN_FLAGS};

    if (writes(in->flags) && c->server->options.read_only) {
        fuse_reply(c, -EROFS, NULL, 0);
        return;
    }
    c->server->counts.opened++;
    fuse_reply(c, 0, &out, sizeof out);
}

static void do_release(struct call *c)
{
    if (c->server->counts.opened > 0) {
        c->server->counts.opened--;
    }
    fuse_reply(c, 0, NULL, 0);
}

static void do_statfs(struct call *c)
{
    const struct blk *b = disk_of(c);
    struct fuse_statfs_out out = {.st = {.bsize = hint(b),
                                         .frsize = hint(b),
                                         .blocks = blk_size(b) / hint(b),
                                         .files = 1,
                                         .namelen = 255}};

    fuse_reply(c, 0, &out, sizeof out);
}

static void do_fsync(struct call *c)
{
    if (c->server->options.read_only) {
        fuse_reply(c, 0, NULL, 0);
        return;
    }
    c->blk = (struct blk_request){.kind = BLK_FLUSH};
    blk_submit(&c->server->queue, &c->blk);
}

/* At each close(2); a file that was only read has nothing to be flushed. */
static void do_flush(struct call *c)
{
    const struct fuse_flush_in *in = c->arg;

    if (in->fh == 0) {
        fuse_reply(c, 0, NULL, 0);
    } else {
        do_fsync(c);
    }
}

/* The next byte at or behind `off` that is data, or that is none; a hole is where zeros
 * are known to be.  After so many looks it is the answer that is never wrong. */
static int seek(struct blk *b, uint64_t off, bool for_data, uint64_t *ret)
{
    uint64_t block = blk_block_bytes(b);
    uint64_t at = off & ~(block - 1);

    for (unsigned i = 0; i < LOOKS_MOST && at < blk_size(b); i++) {
        struct blk_extent x;
        int r = blk_status(b, at, blk_size(b) - at, &x);

        if (r != 0) {
            return r;
        }
        if (((x.state & BLK_DATA) != 0) == for_data) {
            *ret = at > off ? at : off;
            return 0;
        }
        at += x.bytes;
    }
    if (for_data && at >= blk_size(b)) {
        return -ENXIO; /* lseek(2): the rest is a hole */
    }
    *ret = for_data ? at : blk_size(b);
    return 0;
}

static void look_for(void *arg)
{
    struct call *c = arg;
    const struct fuse_lseek_in *in = c->arg;
    struct fuse_lseek_out out;
    int r = seek(c->server->edge.disk, in->offset, in->whence == SEEK_DATA, &out.offset);

    fuse_reply(c, r, &out, sizeof out);
}

static void do_lseek(struct call *c)
{
    const struct fuse_lseek_in *in = c->arg;

    if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE) {
        fuse_reply(c, -EINVAL, NULL, 0);
    } else if (in->offset >= blk_size(disk_of(c))) {
        fuse_reply(c, -ENXIO, NULL, 0);
    } else {
        fuse_in_strand(c, look_for);
    }
}

static void do_destroy(struct call *c)
{
    fuse_reply(c, 0, NULL, 0);
}

/* Not answered, by the protocol. */
static void do_forget(struct call *c)
{
    fuse_no_reply(c);
}

void fuse_in_strand(struct call *c, void (*fn)(void *arg))
{
    if (strand_start(loop_strands(c->server->loop), fn, c) != 0) {
        fuse_reply(c, -ENOMEM, NULL, 0);
    }
}

/* clang-format off */
static const struct operation {
    size_t least_bytes; /* of the argument */
    void (*fn)(struct call *c);
} operations[] = {
    [FUSE_FORGET]       = {0, do_forget},
    [FUSE_GETATTR]      = {0, do_getattr},
    [FUSE_SETATTR]      = {sizeof(struct fuse_setattr_in), do_setattr},
    [FUSE_OPEN]         = {sizeof(struct fuse_open_in), do_open},
    [FUSE_READ]         = {sizeof(struct fuse_read_in), fuse_read},
    [FUSE_WRITE]        = {sizeof(struct fuse_write_in), fuse_write},
    [FUSE_STATFS]       = {0, do_statfs},
    [FUSE_RELEASE]      = {sizeof(struct fuse_release_in), do_release},
    [FUSE_FSYNC]        = {sizeof(struct fuse_fsync_in), do_fsync},
    [FUSE_FLUSH]        = {sizeof(struct fuse_flush_in), do_flush},
    [FUSE_INIT]         = {INIT_OLD_BYTES, do_init},
    [FUSE_DESTROY]      = {0, do_destroy},
    [FUSE_BATCH_FORGET] = {0, do_forget},
    [FUSE_FALLOCATE]    = {sizeof(struct fuse_fallocate_in), fuse_allocate},
    [FUSE_LSEEK]        = {sizeof(struct fuse_lseek_in), do_lseek},
};

/* clang-format on */

void fuse_operate(struct call *c)
{
    const struct operation *o = &operations[0];

    if (c->in.opcode < sizeof operations / sizeof operations[0]) {
        o = &operations[c->in.opcode];
    }
    if (o->fn == do_forget) {
        o->fn(c);
    } else if (o->fn == NULL) {
        fuse_reply(c, -ENOSYS, NULL, 0);
    } else if (c->arg_bytes < o->least_bytes || c->in.nodeid > FUSE_ROOT_ID) {
        fuse_reply(c, -EINVAL, NULL, 0);
    } else if (!c->server->counts.ready && o->fn != do_init) {
        fuse_reply(c, -EIO, NULL, 0);
    } else {
        o->fn(c);
    }
}
