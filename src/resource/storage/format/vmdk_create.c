/* vmdk_create.c - an empty monolithic sparse image.
 *
 * VMware, Virtual Disk Format 5.0, "Hosted Sparse Extents": header, descriptor,
 * redundant directory and tables, directory and tables, grains from a whole grain
 * on.  The tables are zeros: nothing has a place. */
#include "resource/storage/format/vmdk.h"

#include <errno.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vmdk_parts.h"

#define TEXT_SECTORS 20u
#define GRAIN        (VMDK_GRAIN_USUAL / VMDK_SECTOR)
#define SIZE_MOST    ((uint64_t)2 << 40) /* sectors have 32 bits in tables */
#define TABLE        (VMDK_TABLE_BYTES / VMDK_SECTOR)
#define PART_BYTES   65536u

static uint64_t directory_sectors(uint64_t tables)
{
    return (tables * 4 + VMDK_SECTOR - 1) / VMDK_SECTOR;
}

/* A directory, whose tables follow it. */
static int write_directory(struct blk *file, uint64_t sector, uint64_t tables)
{
    uint64_t bytes = directory_sectors(tables) * VMDK_SECTOR;
    SCOPED(scope_free) char *d = fault_calloc(1, bytes);

    if (d == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < tables; i++) {
        bytes_put_le32(d + i * 4,
                       (uint32_t)(sector + directory_sectors(tables) + i * TABLE));
    }
    return blk_write(file, d, bytes, sector * VMDK_SECTOR, 0);
}

static int write_all(struct blk *file, const struct vmdk_header *h, uint64_t tables)
{
    char text[TEXT_SECTORS * VMDK_SECTOR] = {0};
    char header[VMDK_HEADER_BYTES];
    int r = blk_zero(file, 0, h->overhead * VMDK_SECTOR, 0);

    (void)vmdk_text_make(text, sizeof text, h->capacity, false);
    if (r == 0) {
        r = blk_write(file, text, sizeof text, h->descriptor * VMDK_SECTOR, 0);
    }
    if (r == 0) {
        r = write_directory(file, h->redundant_directory, tables);
    }
    if (r == 0) {
        r = write_directory(file, h->directory, tables);
    }
    if (r == 0) { /* last: before it the file is no image */
        vmdk_header_put(h, header);
        r = blk_write(file, header, sizeof header, 0, 0);
    }
    return r != 0 ? r : blk_flush(file);
}

int vmdk_create(struct blk *file, uint64_t size_bytes, struct err *e)
{
    uint64_t covers = (uint64_t)GRAIN * VMDK_TABLE_ENTRIES;
    uint64_t sectors = size_bytes / VMDK_SECTOR;
    uint64_t tables = (sectors + covers - 1) / covers;
    uint64_t part = directory_sectors(tables) + tables * TABLE;
    struct vmdk_header h = {
        .version = 1,
        .flags = VMDK_FLAG_NEWLINE | VMDK_FLAG_REDUNDANT,
        .capacity = sectors,
        .grain = GRAIN,
        .descriptor = 1,
        .descriptor_sectors = TEXT_SECTORS,
        .table_entries = VMDK_TABLE_ENTRIES,
        .redundant_directory = 1 + TEXT_SECTORS,
        .directory = 1 + TEXT_SECTORS + part,
        .overhead = (1 + TEXT_SECTORS + 2 * part + GRAIN - 1) / GRAIN * GRAIN,
    };
    int r = 0;

    if (size_bytes % VMDK_SECTOR != 0 || size_bytes == 0 ||
        size_bytes > SIZE_MOST - covers) {
        return err_set(e, -EINVAL,
                       "cannot create '%s': a VMDK image of %llu bytes is "
                       "not possible",
                       file->label, (unsigned long long)size_bytes);
    }
    if (blk_size(file) > 0) {
        r = blk_resize(file, 0, e);
    }
    if (r == 0) {
        r = write_all(file, &h, tables);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot create '%s'", file->label);
}
