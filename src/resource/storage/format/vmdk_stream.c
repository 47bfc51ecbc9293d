/* vmdk_stream.c - write a stream-optimised image, from begin to end.
 *
 * VMware, Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents":
 * header, descriptor, then markers: compressed grains, the grain table of each 512 of
 * them, at last the directory, a footer with its place, and the end of the stream. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_sink.h"
#include "host/loop/file_io.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vmdk.h"
#include "resource/storage/format/vmdk_parts.h"

#define TEXT_SECTORS 20u
#define GRAIN        (VMDK_GRAIN_USUAL / VMDK_SECTOR)
#define OVERHEAD     128u
#define LEVEL        6 /* of compression: that of zlib's default */
#define TABLES_MOST  (1u << 20)

/* A grain on its way, and what compresses it; kept for the next one. */
struct packer {
    struct packer *next;
    struct libdeflate_compressor *deflate; /* owned */
    size_t room;
    size_t bytes; /* of the compressed grain; 0: it does not fit */
    char *out;    /* owned: marker, compressed grain, zeros up to a sector */
    char grain[VMDK_GRAIN_USUAL];
};

struct stream {
    struct blk_sink sink;
    struct loop *loop;
    struct blk *file;
    struct vmdk_header header;
    uint64_t next; /* sector */
    uint32_t tables;
    uint32_t *directory; /* owned, little-endian */
    uint32_t table;      /* number of the one being filled; UINT32_MAX: none */
    uint32_t entry[VMDK_TABLE_ENTRIES];
    uint64_t turn; /* number of the grain that is written next */
    struct strand_queue waiting;
    struct packer *free; /* owned */
    int failed;
};

static struct stream *stream_of(struct blk_sink *s)
{
    return (struct stream *)s;
}

static void drop_packer(struct packer *p)
{
    if (p != NULL) {
        libdeflate_free_compressor(p->deflate);
        free(p->out);
        free(p);
    }
}

static struct packer *take_packer(struct stream *s)
{
    struct packer *p = s->free;

    if (p != NULL) {
        s->free = p->next;
        return p;
    }
    p = fault_malloc(sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    p->deflate = libdeflate_alloc_compressor(LEVEL);
    p->room = p->deflate != NULL
                  ? libdeflate_zlib_compress_bound(p->deflate, sizeof p->grain)
                  : 0;
    p->out = fault_malloc(p->room + VMDK_MARK_BYTES + VMDK_SECTOR);
    if (p->deflate == NULL || p->out == NULL) {
        drop_packer(p);
        return NULL;
    }
    return p;
}

/* On another thread. */
static int pack(void *arg)
{
    struct packer *p = arg;

    p->bytes = libdeflate_zlib_compress(p->deflate, p->grain, sizeof p->grain,
                                        p->out + VMDK_MARK_BYTES, p->room);
    return p->bytes > 0 ? 0 : -EIO;
}

/* ---- the stream ---- */

static int put(struct stream *s, const void *data, uint64_t sectors)
{
    int r = blk_write(s->file, data, (size_t)(sectors * VMDK_SECTOR),
                      s->next * VMDK_SECTOR, 0);

    if (r == 0) {
        s->next += sectors;
    }
    return r;
}

static int put_marker(struct stream *s, uint64_t sectors, enum vmdk_marker type)
{
    char marker[VMDK_SECTOR] = {0};

    bytes_put_le64(marker, sectors);
    bytes_put_le32(marker + VMDK_MARK_BYTES, type);
    return put(s, marker, 1);
}

static int put_table(struct stream *s)
{
    uint64_t sectors = VMDK_TABLE_BYTES / VMDK_SECTOR;
    uint64_t at;
    int r;

    if (s->table == UINT32_MAX) {
        return 0;
    }
    r = put_marker(s, sectors, VMDK_MARKER_TABLE);
    at = s->next;
    r = r == 0 ? put(s, s->entry, sectors) : r;
    if (r == 0) {
        bytes_put_le32(&s->directory[s->table], (uint32_t)at);
        memset(s->entry, 0, sizeof s->entry);
        s->table = UINT32_MAX;
    }
    return r;
}

static int put_grain(struct stream *s, struct packer *p, uint64_t off)
{
    uint64_t grain = off / VMDK_GRAIN_USUAL;
    uint32_t table = (uint32_t)(grain / VMDK_TABLE_ENTRIES);
    size_t bytes = VMDK_MARK_BYTES + p->bytes;
    uint64_t sectors = (bytes + VMDK_SECTOR - 1) / VMDK_SECTOR;
    int r = table != s->table ? put_table(s) : 0;

    if (r != 0) {
        return r;
    }
    if (s->next + sectors > UINT32_MAX - VMDK_SECTOR) {
        return -EFBIG;
    }
    bytes_put_le64(p->out, off / VMDK_SECTOR);
    bytes_put_le32(p->out + 8, (uint32_t)p->bytes);
    memset(p->out + bytes, 0, sectors * VMDK_SECTOR - bytes);
    s->table = table;
    bytes_put_le32(&s->entry[grain % VMDK_TABLE_ENTRIES], (uint32_t)s->next);
    return put(s, p->out, sectors);
}

static int stream_write(struct blk_sink *sink, uint64_t number, const void *data,
                        size_t bytes, uint64_t off)
{
    struct stream *s = stream_of(sink);
    struct packer *p = data != NULL && s->failed == 0 ? take_packer(s) : NULL;
    int r = data == NULL ? -ECANCELED : s->failed;

    if (r == 0 && p == NULL) {
        r = -ENOMEM;
    }
    if (r == 0 && bytes > 0) {
        memcpy(p->grain, data, bytes);
        memset(p->grain + bytes, 0, sizeof p->grain - bytes);
        r = file_io_call(s->loop, pack, p);
    }
    while (s->turn != number) {
        strand_wait(s->file->strands, &s->waiting);
    }
    if (r == 0 && s->failed == 0 && bytes > 0) {
        r = put_grain(s, p, off);
    }
    s->failed = s->failed != 0 ? s->failed : r;
    if (p != NULL) {
        p->next = s->free;
        s->free = p;
    }
    r = s->failed;
    s->turn++;
    (void)strand_wake_all(&s->waiting);
    return r;
}

static int put_end(struct stream *s)
{
    uint64_t sectors = ((uint64_t)s->tables * 4 + VMDK_SECTOR - 1) / VMDK_SECTOR;
    char header[VMDK_HEADER_BYTES];
    int r = put_table(s);

    r = r == 0 ? put_marker(s, sectors, VMDK_MARKER_DIRECTORY) : r;
    s->header.directory = s->next;
    r = r == 0 ? put(s, s->directory, sectors) : r;
    r = r == 0 ? put_marker(s, 1, VMDK_MARKER_FOOTER) : r;
    vmdk_header_put(&s->header, header);
    r = r == 0 ? put(s, header, 1) : r;
    r = r == 0 ? put_marker(s, 0, VMDK_MARKER_END) : r;
    return r == 0 ? blk_flush(s->file) : r;
}

static int stream_finish(struct blk_sink *sink, struct err *e)
{
    struct stream *s = stream_of(sink);
    int r = s->failed != 0 ? s->failed : put_end(s);

    return r == 0 ? 0 : err_sys(e, r, "cannot finish '%s'", s->file->label);
}

static void stream_destroy(struct blk_sink *sink)
{
    struct stream *s = stream_of(sink);

    while (s->free != NULL) {
        struct packer *p = s->free;

        s->free = p->next;
        drop_packer(p);
    }
    free(s->directory);
    free(s);
}

static const struct blk_sink_ops stream_ops = {
    .write = stream_write,
    .finish = stream_finish,
    .destroy = stream_destroy,
};

static int put_begin(struct stream *s)
{
    SCOPED(scope_free) char *head = fault_calloc(OVERHEAD, VMDK_SECTOR);
    int r;

    if (head == NULL) {
        return -ENOMEM;
    }
    s->header = (struct vmdk_header){
        .version = 3,
        .flags = VMDK_FLAG_NEWLINE | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS,
        .capacity = s->sink.size_bytes / VMDK_SECTOR,
        .grain = GRAIN,
        .descriptor = 1,
        .descriptor_sectors = TEXT_SECTORS,
        .table_entries = VMDK_TABLE_ENTRIES,
        .directory = VMDK_AT_END,
        .overhead = OVERHEAD,
        .compression = VMDK_DEFLATE,
    };
    vmdk_header_put(&s->header, head);
    (void)vmdk_text_make(head + VMDK_SECTOR, TEXT_SECTORS * VMDK_SECTOR,
                         s->header.capacity, true);
    r = put(s, head, OVERHEAD);
    return r;
}

static int start(struct stream *s, struct err *e)
{
    uint64_t covers = (uint64_t)VMDK_GRAIN_USUAL * VMDK_TABLE_ENTRIES;
    uint64_t size = s->sink.size_bytes;
    int r = 0;

    if (size == 0 || size % VMDK_SECTOR != 0 || size / covers >= TABLES_MOST) {
        return err_set(e, -EINVAL,
                       "cannot create '%s': a VMDK image of %llu bytes is not possible",
                       s->file->label, (unsigned long long)size);
    }
    s->tables = (uint32_t)((size + covers - 1) / covers);
    s->table = UINT32_MAX;
    s->directory = fault_calloc(s->tables / 128 + 1, VMDK_SECTOR);
    if (s->directory == NULL) {
        r = -ENOMEM;
    } else if (blk_size(s->file) > 0) {
        r = blk_resize(s->file, 0, e);
    }
    r = r == 0 ? put_begin(s) : r;
    return r == 0 ? 0 : err_sys(e, r, "cannot create '%s'", s->file->label);
}

int vmdk_stream_create(struct loop *l, struct blk *file, uint64_t size_bytes,
                       struct blk_sink **ret_sink, struct err *e)
{
    struct stream *s = fault_calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot create '%s'", file->label);
    }
    s->sink = (struct blk_sink){
        .ops = &stream_ops, .size_bytes = size_bytes, .unit_bytes = VMDK_GRAIN_USUAL};
    s->loop = l;
    s->file = file;
    r = start(s, e);
    if (r != 0) {
        stream_destroy(&s->sink);
        return r;
    }
    *ret_sink = &s->sink;
    return 0;
}
