/* vdi.c - VirtualBox VDI: a header, a map of block numbers, blocks.
 *
 * Layout: VirtualBox, "All about VDIs" (forum article 8046), header version 1.1. */
#include "resource/storage/format/vdi.h"

#include <errno.h>

#include "base/err.h"
#include "resource/storage/format/base.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/format.h"
#include "resource/storage/format/page.h"
#include "resource/storage/format/run.h"

#define HEADER_BYTES    512
#define AT_SIGNATURE    64
#define AT_VERSION      68
#define AT_TYPE         76
#define AT_MAP_OFFSET   340
#define AT_DATA_OFFSET  344
#define AT_SECTOR_BYTES 360
#define AT_SIZE         368
#define AT_BLOCK_BYTES  376
#define AT_BLOCK_EXTRA  380
#define AT_BLOCK_COUNT  384
#define SIGNATURE       0xbeda107fu
#define VERSION_MAJOR   1
#define TYPE_DYNAMIC    1
#define TYPE_STATIC     2
#define TYPE_UNDO       3
#define TYPE_DIFFERENCE 4
#define BLOCK_LEAST     4096u
#define BLOCK_MOST      (256u << 20)
#define ENTRY_FREE      0xffffffffu
#define ENTRY_ZERO      0xfffffffeu
#define ENTRY_BYTES     4

struct vdi {
    struct format_base base;
    uint64_t map_at;
    uint64_t data_at;
    uint64_t block_bytes;
    struct format_pages pages;
};

static struct vdi *vdi_of(struct blk *b)
{
    return (struct vdi *)b;
}

static int find(struct blk *b, uint64_t off, uint64_t bytes, struct format_run *ret)
{
    struct vdi *v = vdi_of(b);
    uint64_t inside = off & (v->block_bytes - 1);
    uint32_t entry;
    int r = format_page_copy(&v->pages, &entry, ENTRY_BYTES,
                             v->map_at + off / v->block_bytes * ENTRY_BYTES);

    if (r != 0) {
        return r;
    }
    entry = bytes_le32(&entry);
    ret->bytes = bytes < v->block_bytes - inside ? bytes : v->block_bytes - inside;
    ret->file = v->base.file.disk;
    ret->at = v->data_at + entry * v->block_bytes + inside;
    ret->place = entry == ENTRY_FREE   ? FORMAT_PLACE_NOWHERE
                 : entry == ENTRY_ZERO ? FORMAT_PLACE_ZERO
                                       : FORMAT_PLACE_FILE;
    return 0;
}

static int vdi_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return format_run_read(b, find, NULL, to, off);
}

static int vdi_status(struct blk *b, uint64_t off, uint64_t bytes, struct blk_extent *ret)
{
    return format_run_status(b, find, off, bytes, ret);
}

static void vdi_destroy(struct blk *b)
{
    format_pages_fini(&vdi_of(b)->pages);
    format_base_destroy(&vdi_of(b)->base);
}

static const struct blk_ops vdi_ops = {
    .name = "vdi",
    .read = vdi_read,
    .status = vdi_status,
    .destroy = vdi_destroy,
};

static int check_kind(struct vdi *v, const char *h, struct err *e)
{
    uint32_t type = bytes_le32(h + AT_TYPE);

    if (bytes_le32(h + AT_SIGNATURE) != SIGNATURE) {
        return format_refuse(&v->base, -EUCLEAN, e, "it is not a VDI image");
    }
    if (bytes_le32(h + AT_VERSION) >> 16 != VERSION_MAJOR) {
        return format_refuse(
            &v->base, -EOPNOTSUPP, e, "VDI version %u.%u is not supported",
            bytes_le32(h + AT_VERSION) >> 16, bytes_le32(h + AT_VERSION) & 0xffff);
    }
    if (type == TYPE_DIFFERENCE || type == TYPE_UNDO) {
        return format_refuse(&v->base, -EOPNOTSUPP, e,
                             "it holds differences to another VDI image: merge them "
                             "with the product that made it");
    }
    if (type != TYPE_DYNAMIC && type != TYPE_STATIC) {
        return format_refuse(&v->base, -EUCLEAN, e, "unknown VDI type %u", type);
    }
    return 0;
}

static int parse(struct vdi *v, const char *h, struct err *e)
{
    uint64_t count = bytes_le32(h + AT_BLOCK_COUNT);
    uint64_t size = bytes_le64(h + AT_SIZE);
    int r = check_kind(v, h, e);

    v->map_at = bytes_le32(h + AT_MAP_OFFSET);
    v->data_at = bytes_le32(h + AT_DATA_OFFSET);
    v->block_bytes = bytes_le32(h + AT_BLOCK_BYTES);
    if (r != 0) {
        return r;
    }
    if (bytes_le32(h + AT_SECTOR_BYTES) != HEADER_BYTES ||
        bytes_le32(h + AT_BLOCK_EXTRA) != 0 || v->block_bytes < BLOCK_LEAST ||
        v->block_bytes > BLOCK_MOST || (v->block_bytes & (v->block_bytes - 1)) != 0) {
        return format_refuse(
            &v->base, -EOPNOTSUPP, e, "VDI blocks of %llu bytes, sectors of %u",
            (unsigned long long)v->block_bytes, bytes_le32(h + AT_SECTOR_BYTES));
    }
    if (size > count * v->block_bytes || v->map_at % HEADER_BYTES != 0 ||
        v->data_at % HEADER_BYTES != 0 || v->map_at < HEADER_BYTES ||
        v->map_at + count * ENTRY_BYTES > blk_size(v->base.file.disk)) {
        return format_refuse(&v->base, -EUCLEAN, e, "its header is damaged");
    }
    return format_base_size(&v->base, size, e);
}

int vdi_open(struct blk *take_file, const struct format_open_options *o,
             struct blk **ret_disk, struct err *e)
{
    struct format_base *base = NULL;
    char header[HEADER_BYTES];
    struct vdi *v;
    int r = format_base_create(take_file, &vdi_ops, sizeof *v, o, &base, e);

    if (r != 0) {
        return r;
    }
    v = (struct vdi *)base;
    v->pages.file = base->file.disk;
    r = format_read_meta(base->file.disk, header, sizeof header, 0);
    r = r == 0 ? parse(v, header, e) : format_refuse(base, r, e, "no header can be read");
    if (r != 0) {
        vdi_destroy(&base->blk);
        return r;
    }
    *ret_disk = &base->blk;
    return 0;
}
