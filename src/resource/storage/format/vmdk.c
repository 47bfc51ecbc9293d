/* vmdk.c - a VMDK image as a disk: extents in a row, each in a file or nowhere. */
#include "resource/storage/format/vmdk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_source.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/format.h"
#include "resource/storage/format/vmdk_parts.h"

struct vmdk_extent *vmdk_extent_of(struct vmdk *v, uint64_t off)
{
    unsigned low = 0;
    unsigned high = v->extent_count - 1;

    while (low < high) { /* the last one that begins at `off` or before */
        unsigned middle = low + (high - low + 1) / 2;

        if (v->extents[middle].start <= off) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return &v->extents[low];
}

static int find(struct blk *b, uint64_t off, uint64_t bytes, struct format_run *ret)
{
    struct vmdk_extent *x = vmdk_extent_of(vmdk_of(b), off);
    uint64_t inside = off - x->start;

    bytes = bytes < x->bytes - inside ? bytes : x->bytes - inside;
    if (x->kind == VMDK_EXTENT_SPARSE) {
        int r = vmdk_sparse_find(x->sparse, inside, bytes, ret);

        if (r == 0 && ret->place == FORMAT_PLACE_FILE && ret->at >= blk_size(x->file) &&
            ret->at < x->sparse->next_free) {
            ret->place = FORMAT_PLACE_ZERO; /* the last grain is written up to here */
        }
        return r;
    }
    *ret = (struct format_run){
        .bytes = bytes,
        .place = x->kind == VMDK_EXTENT_ZERO ? FORMAT_PLACE_ZERO : FORMAT_PLACE_FILE,
        .at = x->at + inside,
        .file = x->file,
    };
    return 0;
}

static int unpack(struct blk *b, const struct format_run *run, struct blk_vec to,
                  uint64_t off)
{
    struct vmdk_extent *x = vmdk_extent_of(vmdk_of(b), off);

    return vmdk_sparse_unpack(x->sparse, run, to, off - x->start);
}

static int vmdk_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return format_run_read(b, find, unpack, to, off);
}

static int vmdk_status(struct blk *b, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    return format_run_status(b, find, off, bytes, ret);
}

static int vmdk_quiesce(struct blk *b)
{
    return b->read_only ? 0 : vmdk_flush(b);
}

static void vmdk_destroy(struct blk *b)
{
    struct vmdk *v = vmdk_of(b);

    for (unsigned i = 0; i < v->extent_count; i++) {
        vmdk_sparse_close(v->extents[i].sparse);
    }
    for (unsigned i = 0; v->edges != NULL && i < v->edge_count; i++) {
        blk_detach(&v->edges[i]);
    }
    free(v->extents);
    free(v->edges);
    format_base_destroy(&v->base);
}

static const struct blk_ops vmdk_ops = {
    .name = "vmdk",
    .read = vmdk_read,
    .write = vmdk_write,
    .zero = vmdk_zero,
    .discard = vmdk_discard,
    .flush = vmdk_flush,
    .status = vmdk_status,
    .quiesce = vmdk_quiesce,
    .destroy = vmdk_destroy,
};

/* ---- opening ---- */

/* Read text of a file into memory, NUL behind it. */
static int read_text(struct vmdk *v, uint64_t at, uint64_t bytes, char **ret,
                     struct err *e)
{
    struct blk *file = v->base.file.disk;
    SCOPED(scope_free) char *text = NULL;
    int r;

    if (bytes > VMDK_TEXT_MOST || at > blk_size(file) || bytes > blk_size(file) - at) {
        return format_refuse(&v->base, -EUCLEAN, e, "its descriptor is too large");
    }
    text = fault_malloc(bytes + 1);
    if (text == NULL) {
        return format_refuse(&v->base, -ENOMEM, e, "no memory");
    }
    r = format_read_meta(file, text, bytes, at);
    if (r != 0) {
        return format_refuse(&v->base, r, e, "its descriptor cannot be read");
    }
    text[bytes] = '\0';
    *ret = text;
    text = NULL;
    return 0;
}

static int refuse_parent(struct vmdk *v, const struct vmdk_text *t, struct err *e)
{
    return t->parent == VMDK_NO_PARENT
               ? 0
               : format_refuse(&v->base, -EOPNOTSUPP, e,
                               "it holds differences to another VMDK image: merge them "
                               "with the product that made it");
}

static int make_room(struct vmdk *v, unsigned extents, struct err *e)
{
    v->extents = fault_calloc(extents, sizeof *v->extents);
    v->edges = fault_calloc(extents + 1, sizeof *v->edges);
    v->edge_count = 1;
    return v->extents != NULL && v->edges != NULL
               ? 0
               : format_refuse(&v->base, -ENOMEM, e, "no memory");
}

/* A descriptor inside of the extent; extents of split disks have none. */
static int check_inner_text(struct vmdk *v, const struct vmdk_header *h, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    struct vmdk_text t;
    uint64_t at = h->descriptor * VMDK_SECTOR;
    int r;

    if (h->descriptor == 0 || h->descriptor_sectors == 0) {
        return 0;
    }
    if (h->descriptor > BLK_SIZE_MOST_BYTES / VMDK_SECTOR ||
        h->descriptor_sectors > VMDK_TEXT_MOST / VMDK_SECTOR) {
        return format_refuse(&v->base, -EUCLEAN, e, "its descriptor is too large");
    }
    r = read_text(v, at, h->descriptor_sectors * VMDK_SECTOR, &text, e);
    if (r == 0) {
        r = vmdk_text_parse(&v->base, text, false, &t, e);
    }
    if (r == 0) {
        r = refuse_parent(v, &t, e);
    }
    v->id_at = at;
    v->id_bytes = (uint32_t)h->descriptor_sectors * VMDK_SECTOR;
    return r;
}

static int open_monolithic(struct vmdk *v, struct err *e)
{
    struct vmdk_extent *x;
    int r = make_room(v, 1, e);

    if (r != 0) {
        return r;
    }
    x = v->extents;
    v->extent_count = 1;
    r = vmdk_sparse_open(&v->base, v->base.file.disk, v->base.blk.read_only, &x->sparse,
                         e);
    if (r != 0) {
        return r;
    }
    x->kind = VMDK_EXTENT_SPARSE;
    x->file = v->base.file.disk;
    x->bytes = x->sparse->header.capacity * VMDK_SECTOR;
    v->base.blk.best_bytes =
        x->sparse->grain_bytes <= (1u << 20) ? (uint32_t)x->sparse->grain_bytes : 0;
    r = format_base_size(&v->base, x->bytes, e);
    return r != 0 ? r : check_inner_text(v, &x->sparse->header, e);
}

/* A file that the descriptor names, on an edge of its own. */
static int open_file(struct vmdk *v, const struct format_open_options *o,
                     const struct vmdk_line *line, struct blk **ret, struct err *e)
{
    struct blk_edge *edge = &v->edges[v->edge_count];
    struct blk *disk = NULL;
    int r;

    if (o->source == NULL) {
        return format_refuse(&v->base, -EACCES, e, "it names other files ('%s')",
                             line->name);
    }
    r = o->source->open(o->source, line->name, "raw", true, &disk, e);
    if (r != 0) {
        (void)err_wrap(e, "cannot open '%s'", v->base.label);
        return r;
    }
    *edge = (struct blk_edge){.user = "vmdk", .uses = BLK_USE_READ, .lets = BLK_USE_READ};
    r = disk->block_bytes != BLK_BLOCK_LEAST_BYTES
            ? format_refuse(&v->base, -EOPNOTSUPP, e, "'%s' has blocks of %u bytes",
                            line->name, disk->block_bytes)
            : blk_attach(edge, disk, e);
    if (r != 0) {
        blk_drop(disk);
        return r;
    }
    v->edge_count++;
    *ret = disk;
    return 0;
}

static int check_extent(struct vmdk *v, const struct vmdk_extent *x,
                        const struct vmdk_line *line, struct err *e)
{
    uint64_t has = blk_size(x->file);

    if (x->kind == VMDK_EXTENT_SPARSE) {
        has = x->sparse->header.capacity * VMDK_SECTOR;
    }
    if (x->at > has || x->bytes > has - x->at) {
        return format_refuse(&v->base, -EUCLEAN, e, "'%s' is too short", line->name);
    }
    return 0;
}

static int add_extent(struct vmdk *v, const struct format_open_options *o,
                      const struct vmdk_line *line, struct err *e)
{
    struct vmdk_extent *x = &v->extents[v->extent_count];
    uint64_t end;
    int r = 0;

    *x = (struct vmdk_extent){.kind = line->kind,
                              .start = v->base.blk.size_bytes,
                              .bytes = line->sectors * VMDK_SECTOR,
                              .at = line->at * VMDK_SECTOR};
    if (__builtin_add_overflow(x->start, x->bytes, &end)) {
        return format_refuse(&v->base, -EUCLEAN, e, "its extents are too large");
    }
    v->extent_count++;
    if (line->kind != VMDK_EXTENT_ZERO) {
        r = open_file(v, o, line, &x->file, e);
    }
    if (r == 0 && line->kind == VMDK_EXTENT_SPARSE) {
        r = vmdk_sparse_open(&v->base, x->file, v->base.blk.read_only, &x->sparse, e);
    }
    if (r == 0 && line->kind != VMDK_EXTENT_ZERO) {
        r = check_extent(v, x, line, e);
    }
    return r != 0 ? r : format_base_size(&v->base, end, e);
}

/* The graph sees one array of edges: the one to the descriptor moves into it. */
static int join_edges(struct vmdk *v, struct err *e)
{
    int r;

    v->base.file.uses = 0;
    v->base.file.lets = BLK_USE_ALL;
    v->edges[0] =
        (struct blk_edge){.user = "vmdk", .uses = BLK_USE_READ, .lets = BLK_USE_READ};
    r = blk_attach(&v->edges[0], v->base.file.disk, e);
    if (r == 0) {
        blk_detach(&v->base.file);
        v->base.blk.edge = v->edges;
        v->base.blk.edge_count = v->edge_count;
    }
    return r;
}

static int open_described(struct vmdk *v, const struct format_open_options *o,
                          struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    struct vmdk_text t = {0};
    int r = 0;

    if (!v->base.blk.read_only) {
        return format_refuse(&v->base, -EOPNOTSUPP, e,
                             "an image of several files can only be read");
    }
    r = read_text(v, 0, blk_size(v->base.file.disk), &text, e);
    if (r == 0) {
        r = vmdk_text_parse(&v->base, text, true, &t, e);
    }
    if (r == 0) {
        r = refuse_parent(v, &t, e);
    }
    if (r == 0) {
        r = make_room(v, t.count, e);
    }
    for (unsigned i = 0; r == 0 && i < t.count; i++) {
        r = add_extent(v, o, &t.lines[i], e);
    }
    free(t.lines);
    return r != 0 ? r : join_edges(v, e);
}

static int open_any(struct vmdk *v, const struct format_open_options *o, struct err *e)
{
    char first[VMDK_SECTOR];
    int r = format_read_meta(v->base.file.disk, first, sizeof first, 0);

    if (r != 0) {
        return format_refuse(&v->base, r, e, "no header can be read");
    }
    if (bytes_le32(first) == VMDK_MAGIC) {
        return open_monolithic(v, e);
    }
    first[sizeof first - 1] = '\0';
    if (strncasecmp(first, "# Disk DescriptorFile", 21) == 0) {
        return open_described(v, o, e);
    }
    return format_refuse(&v->base, -EUCLEAN, e, "it is not a VMDK image");
}

int vmdk_open(struct blk *take_file, const struct format_open_options *o,
              struct blk **ret_disk, struct err *e)
{
    struct format_base *base = NULL;
    int r = format_base_create(take_file, &vmdk_ops, sizeof(struct vmdk), o, &base, e);

    if (r != 0) {
        return r;
    }
    r = open_any((struct vmdk *)base, o, e);
    if (r != 0) {
        vmdk_destroy(&base->blk);
        return r;
    }
    *ret_disk = &base->blk;
    return 0;
}
