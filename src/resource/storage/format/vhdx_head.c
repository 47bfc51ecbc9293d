/* vhdx_head.c - the two headers and the two tables of regions: [MS-VHDX] 2.2. */
#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vhdx_parts.h"

#define IDENTIFIER_BYTES 512
#define HEADER_BYTES     4096
#define REGIONS_BYTES    65536u
#define REGIONS_MOST     2047u
#define REGION_BYTES     32
#define AT_CHECKSUM      4
#define VERSION          1

static const uint64_t headers_at[2] = {65536, 131072};
static const uint64_t regions_at[2] = {196608, 262144};

/* GUIDs as they lie in the file: 2DC27766-F623-4200-9D64-115E9BFD4A08 and
 * 8B7CA206-4790-4B9A-B8FE-575F050F886E. */
static const unsigned char table_guid[VHDX_GUID_BYTES] = {
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
    0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
static const unsigned char metadata_guid[VHDX_GUID_BYTES] = {
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
    0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};

/* The signature, and the CRC-32C of all bytes with its own counted as zeros. */
static bool is_right(const char *bytes, size_t count, const char *signature)
{
    static const char none[4];
    uint32_t sum = crc32c(0, bytes, AT_CHECKSUM);

    sum = crc32c(sum, none, sizeof none);
    sum = crc32c(sum, bytes + AT_CHECKSUM + 4, count - AT_CHECKSUM - 4);
    return memcmp(bytes, signature, 4) == 0 && sum == bytes_le32(bytes + AT_CHECKSUM);
}

static void parse_header(const char *h, struct vhdx_header *ret)
{
    ret->sequence = bytes_le64(h + 8);
    memcpy(ret->data_write, h + 32, VHDX_GUID_BYTES);
    memcpy(ret->log, h + 48, VHDX_GUID_BYTES);
    ret->log_bytes = bytes_le32(h + 68);
    ret->log_at = bytes_le64(h + 72);
}

/* The valid header with the higher number is the current one (2.2.2). */
static int choose_header(struct vhdx *v, char *room, struct err *e)
{
    bool found = false;

    for (unsigned i = 0; i < 2; i++) {
        struct vhdx_header h;
        int r = format_read_meta(v->file, room, HEADER_BYTES, headers_at[i]);

        if (r == -ENOMEM || r == -EIO) {
            return format_refuse(&v->base, r, e, "its headers cannot be read");
        }
        if (r != 0 || !is_right(room, HEADER_BYTES, "head")) {
            continue;
        }
        if (bytes_le16(room + 66) != VERSION || bytes_le16(room + 64) != 0) {
            return format_refuse(&v->base, -EOPNOTSUPP, e,
                                 "VHDX version %u is not supported",
                                 bytes_le16(room + 66));
        }
        parse_header(room, &h);
        if (!found || h.sequence > v->header.sequence) {
            v->header = h;
            found = true;
        }
    }
    return found
               ? 0
               : format_refuse(&v->base, -EUCLEAN, e, "both of its headers are damaged");
}

int vhdx_read_header(struct vhdx *v, struct err *e)
{
    static const unsigned char clean[VHDX_GUID_BYTES];
    SCOPED(scope_free) char *room = fault_malloc(HEADER_BYTES);
    int r;

    if (room == NULL) {
        return format_refuse(&v->base, -ENOMEM, e, "no memory");
    }
    r = format_read_meta(v->file, room, IDENTIFIER_BYTES, 0);
    if (r != 0 || memcmp(room, "vhdxfile", 8) != 0) {
        return format_refuse(&v->base, r != 0 ? r : -EUCLEAN, e,
                             "it is not a VHDX image");
    }
    r = choose_header(v, room, e);
    v->file_bytes = blk_size(v->file);
    if (r == 0 && memcmp(v->header.log, clean, sizeof clean) != 0) {
        r = vhdx_read_log(v, e);
    }
    return r;
}

static int take_region(struct vhdx *v, const char *x, struct err *e)
{
    struct vhdx_region region = {.at = bytes_le64(x + 16), .bytes = bytes_le32(x + 24)};
    struct vhdx_region *to = NULL;

    if (memcmp(x, table_guid, VHDX_GUID_BYTES) == 0) {
        to = &v->table;
    } else if (memcmp(x, metadata_guid, VHDX_GUID_BYTES) == 0) {
        to = &v->metadata;
    } else if ((bytes_le32(x + 28) & 1) != 0) {
        return format_refuse(&v->base, -EOPNOTSUPP, e,
                             "it requires a region that is not known");
    } else {
        return 0;
    }
    if (to->bytes != 0 || region.at % VHDX_MIB != 0 || region.at < VHDX_MIB ||
        region.bytes % VHDX_MIB != 0 || region.bytes == 0 || region.at > v->file_bytes ||
        region.bytes > v->file_bytes - region.at) {
        return format_refuse(&v->base, -EUCLEAN, e, "its table of regions is damaged");
    }
    *to = region;
    return 0;
}

static int take_regions(struct vhdx *v, const char *table, struct err *e)
{
    uint32_t count = bytes_le32(table + 8);
    int r = 0;

    if (count > REGIONS_MOST) {
        return format_refuse(&v->base, -EUCLEAN, e, "its table of regions is damaged");
    }
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        r = take_region(v, table + 16 + (size_t)i * REGION_BYTES, e);
    }
    if (r == 0 && (v->table.bytes == 0 || v->metadata.bytes == 0)) {
        r = format_refuse(&v->base, -EUCLEAN, e, "a region is missing");
    }
    return r;
}

int vhdx_read_regions(struct vhdx *v, struct err *e)
{
    SCOPED(scope_free) char *room = fault_malloc(REGIONS_BYTES);
    int r = room == NULL ? -ENOMEM : -EUCLEAN;

    for (unsigned i = 0; r == -EUCLEAN && i < 2; i++) {
        r = vhdx_read_flat(v, room, REGIONS_BYTES, regions_at[i]);
        if (r == 0 && !is_right(room, REGIONS_BYTES, "regi")) {
            r = -EUCLEAN;
        }
    }
    return r == 0 ? take_regions(v, room, e)
                  : format_refuse(&v->base, r, e, "its table of regions is damaged");
}
