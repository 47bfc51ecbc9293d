/* image.c - empty qcow2 images, made in this process.
 *
 * A clone or a snapshot is one of them, and starting a program would take longer than all
 * the rest.  The image is made in memory by the code that knows the format, and what of
 * it is not zero goes to the file. */
#include "node/volume/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/strand.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "node/volume/private.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"

#define PAGE_BYTES 4096

/* A copy of an encryption header. */
struct header_copy {
    struct qcow2_crypt_maker maker;
    int fd; /* which has nothing else */
};

struct making {
    struct strand_pool *strands;
    struct qcow2_create_options options;
    struct header_copy header;
    int fd;
    struct err *e;
    int result;
};

static int copy_header(struct qcow2_crypt_maker *m, struct blk *file, uint64_t off,
                       struct err *e)
{
    struct header_copy *c = (struct header_copy *)m;
    SCOPED(scope_free) char *bytes = fault_aligned(PAGE_BYTES, (size_t)m->bytes);
    ssize_t n = bytes == NULL ? -1 : pread(c->fd, bytes, (size_t)m->bytes, 0);
    int r = bytes == NULL ? -ENOMEM : n < 0 ? -errno : 0;

    if (r == 0 && (uint64_t)n < m->bytes) {
        r = -EUCLEAN;
    }
    r = r == 0 ? blk_write(file, bytes, (size_t)m->bytes, off, 0) : r;
    return r == 0 ? 0 : err_sys(e, r, "cannot copy the encryption header");
}

/* The pages of the disk that hold something, and its length. */
static int copy_out(struct blk *from, int fd, char *page)
{
    static const char zeros[PAGE_BYTES];
    uint64_t end = blk_size(from);

    for (uint64_t at = 0; at < end; at += PAGE_BYTES) {
        struct blk_extent extent;
        int r = blk_status(from, at, end - at, &extent);

        if (r == 0 && (extent.state & BLK_DATA) == 0) {
            at += extent.bytes / PAGE_BYTES * PAGE_BYTES - PAGE_BYTES;
            continue;
        }
        r = r == 0 ? blk_read(from, page, PAGE_BYTES, at) : r;
        if (r == 0 && memcmp(page, zeros, PAGE_BYTES) != 0 &&
            pwrite(fd, page, PAGE_BYTES, (off_t)at) != PAGE_BYTES) {
            r = errno != 0 ? -errno : -EIO;
        }
        if (r < 0) {
            return r;
        }
    }
    return ftruncate(fd, (off_t)end) < 0 || fdatasync(fd) < 0 ? -errno : 0;
}

static void make(void *arg)
{
    struct making *m = arg;
    SCOPED(scope_free) char *page = fault_aligned(PAGE_BYTES, PAGE_BYTES);
    struct blk *disk = NULL;
    int r = page == NULL ? -ENOMEM
                         : leaf_memory_create(m->strands, 0, PAGE_BYTES, &disk, m->e);

    if (r == 0) {
        disk->grows = true;
        r = qcow2_create(disk, &m->options, m->e);
    }
    if (r == 0) {
        r = copy_out(disk, m->fd, page);
        r = r < 0 ? err_sys(m->e, r, "cannot make a layer") : 0;
    }
    blk_drop(disk);
    m->result = r;
}

int volume_image_make(int fd, const struct image_plan *p, struct err *e)
{
    struct making m = {.fd = fd,
                       .e = e,
                       .result = -EIO,
                       .header = {.maker = {.make = copy_header}, .fd = p->header},
                       .options = {.size_bytes = p->size_bytes,
                                   .cluster_bytes = VOLUME_IMAGE_CLUSTER,
                                   .extended_l2 = true,
                                   .backing_name = p->backing,
                                   .backing_format = p->backing_format}};
    off_t header = p->header > 0 ? lseek(p->header, 0, SEEK_END) : 0;
    int r = header < 0 ? -errno : strand_pool_create(&m.strands);

    m.header.maker.bytes = header > 0 ? (uint64_t)header : 0;
    m.options.crypt = header > 0 ? &m.header.maker : NULL;
    r = r == 0 ? strand_start(m.strands, make, &m) : r;
    if (r < 0) {
        m.result = err_sys(e, r, "cannot make a layer");
    }
    strand_pool_destroy(m.strands);
    return m.result;
}

/* Big endian numbers of the header: QEMU, docs/interop/qcow2.rst, "Header". */
#define MAGIC      0x514649fbU
#define L1_COUNT   36
#define L1_AT      40
#define CRYPT_AT   32
#define LENGTH_AT  100
#define HEAD_BYTES 104

/* The same, "Header extensions" and "Full disk encryption header pointer". */
#define HEADER_POINTER 0x0537be77U
#define POINTER_BYTES  16
#define CRYPT_LUKS     2
#define HEADER_MOST    (16u << 20) /* of an encryption header of any kind */

#define L1_MOST 4096 /* more is not looked through: such a disk is not called empty */

static uint64_t number(const unsigned char *p, unsigned bytes)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < bytes; i++) {
        n = n << 8 | p[i];
    }
    return n;
}

int volume_image_header(int fd, uint64_t *ret_at, uint64_t *ret_bytes)
{
    unsigned char head[PAGE_BYTES];
    ssize_t got = pread(fd, head, sizeof head, 0);
    uint64_t at = got < HEAD_BYTES ? 0 : number(head + LENGTH_AT, 4);

    if (got < HEAD_BYTES || number(head, 4) != MAGIC ||
        number(head + CRYPT_AT, 4) != CRYPT_LUKS) {
        return got < 0 ? -errno : -EUCLEAN;
    }
    while (at + 8 + POINTER_BYTES <= (uint64_t)got && number(head + at, 4) != 0) {
        uint64_t bytes = number(head + at + 4, 4);

        if (number(head + at, 4) == HEADER_POINTER && bytes >= POINTER_BYTES) {
            *ret_at = number(head + at + 8, 8);
            *ret_bytes = number(head + at + 16, 8);
            return *ret_at <= INT64_MAX - HEADER_MOST && *ret_bytes > 0 &&
                           *ret_bytes <= HEADER_MOST && *ret_bytes % PAGE_BYTES == 0
                       ? 0
                       : -EUCLEAN;
        }
        at += 8 + ((bytes + 7) & ~(uint64_t)7);
    }
    return -EUCLEAN;
}

bool volume_image_is_empty(int fd)
{
    unsigned char head[HEAD_BYTES];
    unsigned char l1[L1_MOST];
    uint64_t bytes;

    if (pread(fd, head, sizeof head, 0) != HEAD_BYTES || number(head, 4) != MAGIC) {
        return false;
    }
    bytes = number(head + L1_COUNT, 4) * 8;
    if (bytes > sizeof l1 ||
        pread(fd, l1, bytes, (off_t)number(head + L1_AT, 8)) != (ssize_t)bytes) {
        return false;
    }
    for (uint64_t i = 0; i < bytes; i++) {
        if (l1[i] != 0) {
            return false;
        }
    }
    return true;
}
