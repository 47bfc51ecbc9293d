/* vhdx.c - a VHDX image as a disk: where its blocks lie, and its parent.
 *
 * [MS-VHDX] 2.5: the table of blocks has an entry of 64 bits for each block, and
 * behind those of one chunk an entry for the bitmap of their sectors, which only
 * differencing disks use. */
#include "resource/storage/format/vhdx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_source.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/format.h"
#include "resource/storage/format/vhdx_parts.h"

#define ENTRY_BYTES  8
#define STATE_MASK   7u
#define SECTORS_LOOK 4096u /* of a bitmap, in one question */

enum block_state { /* 2.5.1.1 */
    BLOCK_NOT_PRESENT = 0,
    BLOCK_UNDEFINED = 1,
    BLOCK_ZERO = 2,
    BLOCK_UNMAPPED = 3,
    BLOCK_PRESENT = 6,
    BLOCK_PARTLY_PRESENT = 7
};

static int read_entry(struct vhdx *v, uint64_t index, uint64_t *ret)
{
    int r =
        format_page_copy(&v->pages, ret, ENTRY_BYTES, v->table.at + index * ENTRY_BYTES);

    *ret = le64toh(*ret);
    return r;
}

static uint64_t place_of(uint64_t entry)
{
    return entry & ~(VHDX_MIB - 1);
}

/* The parent may be smaller: behind its end all is zeros. */
static void find_below(struct vhdx *v, uint64_t off, struct format_run *run)
{
    uint64_t size = v->parent != NULL ? blk_size(v->parent) : 0;

    run->at = off;
    run->file = v->parent;
    if (off >= size) {
        run->place = FORMAT_PLACE_NOWHERE;
        return;
    }
    run->place = FORMAT_PLACE_BELOW;
    run->bytes = run->bytes < size - off ? run->bytes : size - off;
}

static int read_bit(struct vhdx *v, uint64_t bitmap, uint64_t sector, unsigned char *byte,
                    bool *ret)
{
    int r = 0;

    if (sector % 8 == 0 || *byte == 0) {
        r = format_page_copy(&v->pages, byte, 1, bitmap + sector / 8);
    }
    *ret = (*byte >> sector % 8 & 1) != 0;
    return r;
}

/* Sectors alike, all here or all in the parent, of a block that is partly here. */
static int find_partly(struct vhdx *v, uint64_t off, uint64_t block,
                       struct format_run *run)
{
    uint64_t unit = v->base.blk.block_bytes;
    uint64_t chunk = off / v->block_bytes / v->ratio;
    uint64_t sector = off / unit % (VHDX_BITMAP_BYTES * 8);
    uint64_t count = run->bytes / unit < SECTORS_LOOK ? run->bytes / unit : SECTORS_LOOK;
    uint64_t entry;
    unsigned char byte = 0;
    uint64_t n = 1;
    bool here;
    bool more;
    int r = read_entry(v, chunk * (v->ratio + 1) + v->ratio, &entry);

    if (r != 0 || (entry & STATE_MASK) != BLOCK_PRESENT) {
        return r != 0 ? r : -EUCLEAN;
    }
    r = read_bit(v, place_of(entry), sector, &byte, &here);
    while (r == 0 && n < count) {
        r = read_bit(v, place_of(entry), sector + n, &byte, &more);
        if (r != 0 || more != here) {
            break;
        }
        n++;
    }
    run->bytes = n * unit;
    if (r == 0 && !here) {
        find_below(v, off, run);
    } else {
        run->at = place_of(block) + off % v->block_bytes;
    }
    return r;
}

static int find(struct blk *b, uint64_t off, uint64_t bytes, struct format_run *ret)
{
    struct vhdx *v = vhdx_of(b);
    uint64_t n = off / v->block_bytes;
    uint64_t inside = off % v->block_bytes;
    uint64_t entry;
    int r = read_entry(v, n + n / v->ratio, &entry);

    if (r != 0) {
        return r;
    }
    *ret = (struct format_run){
        .bytes = bytes < v->block_bytes - inside ? bytes : v->block_bytes - inside,
        .place = v->patch_count > 0 ? FORMAT_PLACE_PACKED : FORMAT_PLACE_FILE,
        .at = place_of(entry) + inside,
        .file = v->file,
    };
    switch (entry & STATE_MASK) {
    case BLOCK_PRESENT:
        return 0;
    case BLOCK_PARTLY_PRESENT:
        return v->has_parent ? find_partly(v, off, entry, ret) : -EUCLEAN;
    case BLOCK_NOT_PRESENT:
        ret->place = FORMAT_PLACE_NOWHERE;
        if (v->has_parent) {
            find_below(v, off, ret);
        }
        return 0;
    case BLOCK_UNDEFINED:
    case BLOCK_ZERO:
    case BLOCK_UNMAPPED:
        ret->place = FORMAT_PLACE_ZERO;
        return 0;
    default:
        return -EUCLEAN;
    }
}

/* The log may change what the blocks hold, too. */
static int read_patched(struct blk *b, const struct format_run *run, struct blk_vec to,
                        uint64_t off)
{
    (void)off;
    return vhdx_read_file(vhdx_of(b), to, run->at);
}

static int vhdx_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return format_run_read(b, find, read_patched, to, off);
}

static int vhdx_status(struct blk *b, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    return format_run_status(b, find, off, bytes, ret);
}

static void vhdx_destroy(struct blk *b)
{
    struct vhdx *v = vhdx_of(b);

    format_pages_fini(&v->pages);
    vhdx_forget_log(v);
    for (unsigned i = 0; v->edges != NULL && i < 2; i++) {
        blk_detach(&v->edges[i]);
    }
    free(v->edges);
    format_base_destroy(&v->base);
}

static const struct blk_ops vhdx_ops = {
    .name = "vhdx",
    .read = vhdx_read,
    .status = vhdx_status,
    .destroy = vhdx_destroy,
};

/* ---- opening ---- */

static int load_page(struct format_pages *p, void *to, uint64_t bytes, uint64_t at)
{
    struct vhdx *v = (struct vhdx *)((char *)p - offsetof(struct vhdx, pages));

    return vhdx_read_flat(v, to, bytes, at);
}

/* The parent has not been written to since (2.6.2.6.3). */
static int check_parent(struct vhdx *v, struct blk *parent, struct err *e)
{
    if (parent->block_bytes > v->base.blk.block_bytes) {
        return format_refuse(&v->base, -EOPNOTSUPP, e, "its parent has larger sectors");
    }
    if (parent->ops == &vhdx_ops && memcmp(vhdx_of(parent)->header.data_write,
                                           v->parent_write, VHDX_GUID_BYTES) != 0) {
        return format_refuse(&v->base, -EUCLEAN, e, "its parent '%s' was changed since",
                             v->parent_name);
    }
    return 0;
}

/* The graph sees one array of edges: the one to the file moves into it. */
static int join_edges(struct vhdx *v, struct blk *parent, struct err *e)
{
    int r;

    v->base.file.uses = 0;
    v->base.file.lets = BLK_USE_ALL;
    for (unsigned i = 0; i < 2; i++) {
        v->edges[i] =
            (struct blk_edge){.user = "vhdx", .uses = BLK_USE_READ, .lets = BLK_USE_READ};
    }
    r = blk_attach(&v->edges[0], v->file, e);
    if (r == 0) {
        r = blk_attach(&v->edges[1], parent, e);
    }
    if (r == 0) {
        blk_detach(&v->base.file);
        v->base.blk.edge = v->edges;
        v->base.blk.edge_count = 2;
        v->parent = parent;
    }
    return r;
}

static int open_parent(struct vhdx *v, const struct format_open_options *o, struct err *e)
{
    struct blk *parent = NULL;
    int r;

    if (o->source == NULL) {
        return format_refuse(&v->base, -EACCES, e, "it is based on another image ('%s')",
                             v->parent_name);
    }
    v->edges = fault_calloc(2, sizeof *v->edges);
    if (v->edges == NULL) {
        return format_refuse(&v->base, -ENOMEM, e, "no memory");
    }
    r = o->source->open(o->source, v->parent_name, "vhdx", true, &parent, e);
    if (r != 0) {
        (void)err_wrap(e, "cannot open '%s'", v->base.label);
        return r;
    }
    r = check_parent(v, parent, e);
    if (r == 0) {
        r = join_edges(v, parent, e);
    }
    if (r != 0) {
        blk_drop(parent);
    }
    return r;
}

int vhdx_open(struct blk *take_file, const struct format_open_options *o,
              struct blk **ret_disk, struct err *e)
{
    struct format_base *base = NULL;
    struct vhdx *v;
    int r = format_base_create(take_file, &vhdx_ops, sizeof *v, o, &base, e);

    if (r != 0) {
        return r;
    }
    v = (struct vhdx *)base;
    v->file = base->file.disk;
    v->pages.file = v->file;
    v->pages.load = load_page;
    r = vhdx_read_header(v, e);
    r = r == 0 ? vhdx_read_regions(v, e) : r;
    r = r == 0 ? vhdx_read_metadata(v, e) : r;
    if (r == 0 && v->has_parent) {
        r = open_parent(v, o, e);
    }
    if (r != 0) {
        vhdx_destroy(&base->blk);
        return r;
    }
    *ret_disk = &base->blk;
    return 0;
}
