/* vhd.c - VHD: a footer, for dynamic disks a table of blocks, each with a bitmap.
 *
 * Specification: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0
 * (October 2006): Hard Disk Footer Format, Dynamic Disk Header Format, Block
 * Allocation Table and Data Blocks.  Numbers are big-endian. */
#include "resource/storage/format/vhd.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/storage/format/base.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/format.h"
#include "resource/storage/format/page.h"
#include "resource/storage/format/run.h"

#define FOOTER_BYTES     512
#define AT_DATA_OFFSET   16
#define AT_CURRENT_SIZE  48
#define AT_TYPE          60
#define AT_CHECKSUM      64
#define TYPE_FIXED       2
#define TYPE_DYNAMIC     3
#define TYPE_DIFFERENCE  4
#define HEADER_BYTES     1024
#define AT_TABLE_OFFSET  16
#define AT_TABLE_ENTRIES 28
#define AT_BLOCK_BYTES   32
#define AT_HEADER_SUM    36
#define BLOCK_LEAST      4096u
#define BLOCK_MOST       (256u << 20)
#define ENTRY_FREE       0xffffffffu
#define ENTRY_BYTES      4
#define SECTOR           512u
#define SECTORS_A_BYTE   8

struct vhd {
    struct format_base base;
    bool fixed;
    uint64_t table_at;
    uint64_t entries;
    uint64_t block_bytes;
    uint64_t bitmap_bytes;
    struct format_pages pages;
};

static struct vhd *vhd_of(struct blk *b)
{
    return (struct vhd *)b;
}

/* The bitmap of a dynamic disk tells which sectors were written; those that were
 * not are zeros in the block as well, so it is not consulted. */
static int find(struct blk *b, uint64_t off, uint64_t bytes, struct format_run *ret)
{
    struct vhd *v = vhd_of(b);
    uint64_t inside;
    uint32_t entry;
    int r;

    *ret = (struct format_run){
        .bytes = bytes, .place = FORMAT_PLACE_FILE, .at = off, .file = v->base.file.disk};
    if (v->fixed) {
        return 0;
    }
    inside = off & (v->block_bytes - 1);
    r = format_page_copy(&v->pages, &entry, ENTRY_BYTES,
                         v->table_at + off / v->block_bytes * ENTRY_BYTES);
    if (r != 0) {
        return r;
    }
    entry = bytes_be32(&entry);
    ret->bytes = bytes < v->block_bytes - inside ? bytes : v->block_bytes - inside;
    ret->at = (uint64_t)entry * SECTOR + v->bitmap_bytes + inside;
    ret->place = entry == ENTRY_FREE ? FORMAT_PLACE_NOWHERE : FORMAT_PLACE_FILE;
    return 0;
}

static int vhd_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return format_run_read(b, find, NULL, to, off);
}

static int vhd_status(struct blk *b, uint64_t off, uint64_t bytes, struct blk_extent *ret)
{
    return format_run_status(b, find, off, bytes, ret);
}

static void vhd_destroy(struct blk *b)
{
    format_pages_fini(&vhd_of(b)->pages);
    format_base_destroy(&vhd_of(b)->base);
}

static const struct blk_ops vhd_ops = {
    .name = "vhd",
    .read = vhd_read,
    .status = vhd_status,
    .destroy = vhd_destroy,
};

/* One's complement of the sum of all bytes, the checksum itself counted as zeros. */
static bool sum_is_right(const unsigned char *bytes, size_t count, size_t at)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += i >= at && i < at + sizeof sum ? 0 : bytes[i];
    }
    return ~sum == bytes_be32(bytes + at);
}

static bool is_footer(const unsigned char *f)
{
    return memcmp(f, "conectix", 8) == 0 && sum_is_right(f, FOOTER_BYTES, AT_CHECKSUM);
}

/* The footer at the end, or its copy at the begin of a dynamic disk. */
static int read_footer(struct vhd *v, unsigned char *f, struct err *e)
{
    struct blk *file = v->base.file.disk;
    uint64_t size = blk_size(file);
    int r = size < FOOTER_BYTES
                ? -EUCLEAN
                : format_read_meta(file, f, FOOTER_BYTES, size - FOOTER_BYTES);

    if (r == 0 && !is_footer(f)) {
        r = format_read_meta(file, f, FOOTER_BYTES, 0);
        r = r == 0 && !is_footer(f) ? -EUCLEAN : r;
    }
    return r == 0 ? 0 : format_refuse(&v->base, r, e, "no valid VHD footer can be read");
}

static int parse_dynamic(struct vhd *v, uint64_t header_at, struct err *e)
{
    struct blk *file = v->base.file.disk;
    unsigned char h[HEADER_BYTES];
    int r = format_read_meta(file, h, sizeof h, header_at);

    if (r != 0 || memcmp(h, "cxsparse", 8) != 0 ||
        !sum_is_right(h, sizeof h, AT_HEADER_SUM)) {
        return format_refuse(&v->base, r != 0 ? r : -EUCLEAN, e,
                             "no valid header of a dynamic VHD can be read");
    }
    v->table_at = bytes_be64(h + AT_TABLE_OFFSET);
    v->entries = bytes_be32(h + AT_TABLE_ENTRIES);
    v->block_bytes = bytes_be32(h + AT_BLOCK_BYTES);
    if (v->block_bytes < BLOCK_LEAST || v->block_bytes > BLOCK_MOST ||
        (v->block_bytes & (v->block_bytes - 1)) != 0) {
        return format_refuse(&v->base, -EUCLEAN, e, "blocks of %llu bytes",
                             (unsigned long long)v->block_bytes);
    }
    v->bitmap_bytes = (v->block_bytes / SECTOR / SECTORS_A_BYTE + SECTOR - 1) / SECTOR *
                      (uint64_t)SECTOR;
    if (v->table_at % SECTOR != 0 || v->table_at > blk_size(file) ||
        v->entries * ENTRY_BYTES > blk_size(file) - v->table_at ||
        v->base.blk.size_bytes > v->entries * v->block_bytes) {
        return format_refuse(&v->base, -EUCLEAN, e, "its table of blocks is damaged");
    }
    return 0;
}

static int parse(struct vhd *v, struct err *e)
{
    unsigned char f[FOOTER_BYTES];
    int r = read_footer(v, f, e);

    if (r == 0) {
        r = format_base_size(&v->base, bytes_be64(f + AT_CURRENT_SIZE), e);
    }
    if (r != 0) {
        return r;
    }
    switch (bytes_be32(f + AT_TYPE)) {
    case TYPE_FIXED:
        v->fixed = true;
        return v->base.blk.size_bytes <= blk_size(v->base.file.disk)
                   ? 0
                   : format_refuse(&v->base, -EUCLEAN, e, "its file is too short");
    case TYPE_DYNAMIC:
        return parse_dynamic(v, bytes_be64(f + AT_DATA_OFFSET), e);
    case TYPE_DIFFERENCE:
        return format_refuse(&v->base, -EOPNOTSUPP, e,
                             "it holds differences to another VHD: merge them with the "
                             "product that made it");
    default:
        return format_refuse(&v->base, -EUCLEAN, e, "unknown VHD type %u",
                             bytes_be32(f + AT_TYPE));
    }
}

int vhd_open(struct blk *take_file, const struct format_open_options *o,
             struct blk **ret_disk, struct err *e)
{
    struct format_base *base = NULL;
    struct vhd *v;
    int r = format_base_create(take_file, &vhd_ops, sizeof *v, o, &base, e);

    if (r != 0) {
        return r;
    }
    v = (struct vhd *)base;
    v->pages.file = base->file.disk;
    r = parse(v, e);
    if (r != 0) {
        vhd_destroy(&base->blk);
        return r;
    }
    *ret_disk = &base->blk;
    return 0;
}
