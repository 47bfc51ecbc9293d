/* vhdx_meta.c - what the metadata region says of a disk: [MS-VHDX] 2.6. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vhdx_parts.h"

#define TABLE_BYTES   65536u
#define ITEM_BYTES    32
#define ITEMS_MOST    2047u
#define LOCATOR_MOST  65536u
#define PAIR_BYTES    12
#define SIZE_MOST     ((uint64_t)64 << 40)
#define REQUIRED      4u
#define SECTORS_CHUNK ((uint64_t)1 << 23) /* that one bitmap covers */

enum item {
    ITEM_PARAMETERS,
    ITEM_SIZE,
    ITEM_SECTOR,
    ITEM_PHYSICAL,
    ITEM_ID,
    ITEM_LOCATOR,
    ITEM_COUNT
};

/* GUIDs as they lie in the file, of the names in 2.6.2. */
static const struct {
    unsigned char guid[VHDX_GUID_BYTES];
    uint32_t bytes; /* 0: any */
} items[ITEM_COUNT] = {
    [ITEM_PARAMETERS] = {{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6,
                          0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b},
                         8},
    [ITEM_SIZE] = {{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d,
                    0xbe, 0xd8, 0x3b, 0xf4, 0xb8},
                   8},
    [ITEM_SECTOR] = {{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2,
                      0x33, 0xa8, 0xfa, 0xab, 0x5f},
                     4},
    [ITEM_PHYSICAL] = {{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9,
                        0x88, 0x52, 0x51, 0xc5, 0x56},
                       4},
    [ITEM_ID] = {{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09,
                  0xe0, 0x00, 0xc7, 0x46},
                 16},
    [ITEM_LOCATOR] = {{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3,
                       0xd8, 0x48, 0x34, 0xab, 0x0c},
                      0},
};

/* B04AEFB7-D19E-4A81-B789-25B8E9445913: the locator of a parent that is a VHDX. */
static const unsigned char locator_guid[VHDX_GUID_BYTES] = {
    0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
    0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};

static int refuse(struct vhdx *v, struct err *e)
{
    return format_refuse(&v->base, -EUCLEAN, e, "its metadata is damaged");
}

static int take_item(struct vhdx *v, const char *x, struct vhdx_region *found,
                     struct err *e)
{
    struct vhdx_region at = {.at = bytes_le32(x + 16), .bytes = bytes_le32(x + 20)};
    unsigned i = 0;

    while (i < ITEM_COUNT && memcmp(x, items[i].guid, VHDX_GUID_BYTES) != 0) {
        i++;
    }
    if (i == ITEM_COUNT) {
        return (bytes_le32(x + 24) & REQUIRED) == 0
                   ? 0
                   : format_refuse(&v->base, -EOPNOTSUPP, e,
                                   "it requires metadata that is not known");
    }
    if (at.at < TABLE_BYTES || at.at > v->metadata.bytes ||
        at.bytes > v->metadata.bytes - at.at || at.bytes == 0 ||
        (items[i].bytes != 0 && at.bytes != items[i].bytes) || found[i].bytes != 0) {
        return refuse(v, e);
    }
    found[i] = (struct vhdx_region){v->metadata.at + at.at, at.bytes};
    return 0;
}

static int find_items(struct vhdx *v, struct vhdx_region *found, struct err *e)
{
    SCOPED(scope_free) char *table = fault_malloc(TABLE_BYTES);
    int r =
        table == NULL ? -ENOMEM : vhdx_read_flat(v, table, TABLE_BYTES, v->metadata.at);

    if (r != 0 || memcmp(table, "metadata", 8) != 0 ||
        bytes_le16(table + 10) > ITEMS_MOST) {
        return r != 0 ? format_refuse(&v->base, r, e, "its metadata cannot be read")
                      : refuse(v, e);
    }
    for (unsigned i = 0; r == 0 && i < bytes_le16(table + 10); i++) {
        r = take_item(v, table + ITEM_BYTES + (size_t)i * ITEM_BYTES, found, e);
    }
    return r;
}

/* An item need not begin at a block of the file. */
static int read_item(struct vhdx *v, const struct vhdx_region *x, void *to)
{
    uint64_t first = x->at & ~(uint64_t)511;
    uint64_t end = (x->at + x->bytes + 511) & ~(uint64_t)511;
    SCOPED(scope_free) char *room = fault_malloc(end - first);
    int r = room == NULL ? -ENOMEM : vhdx_read_flat(v, room, end - first, first);

    if (r == 0) {
        memcpy(to, room + (x->at - first), x->bytes);
    }
    return r;
}

static int check_geometry(struct vhdx *v, uint32_t sector, struct err *e)
{
    uint64_t size = v->base.blk.size_bytes;
    uint64_t blocks = (size + v->block_bytes - 1) / v->block_bytes;
    uint64_t entries;

    v->ratio = SECTORS_CHUNK * sector / v->block_bytes;
    entries = v->has_parent ? (blocks + v->ratio - 1) / v->ratio * (v->ratio + 1)
              : blocks > 0  ? blocks + (blocks - 1) / v->ratio
                            : 0;
    if (entries * 8 > v->table.bytes) {
        return format_refuse(&v->base, -EUCLEAN, e, "its table of blocks is too short");
    }
    return 0;
}

static int take_values(struct vhdx *v, const struct vhdx_region *found, struct err *e)
{
    char parameters[8];
    char size[8];
    char sector[4];
    uint32_t bytes;
    int r = read_item(v, &found[ITEM_PARAMETERS], parameters);

    r = r == 0 ? read_item(v, &found[ITEM_SIZE], size) : r;
    r = r == 0 ? read_item(v, &found[ITEM_SECTOR], sector) : r;
    if (r != 0) {
        return format_refuse(&v->base, r, e, "its metadata cannot be read");
    }
    bytes = bytes_le32(sector);
    v->block_bytes = bytes_le32(parameters);
    v->has_parent = (bytes_le32(parameters + 4) & 2) != 0;
    if ((bytes != 512 && bytes != 4096) || v->block_bytes < VHDX_MIB ||
        v->block_bytes > 256 * VHDX_MIB || (v->block_bytes & (v->block_bytes - 1)) != 0 ||
        bytes_le64(size) > SIZE_MOST) {
        return refuse(v, e);
    }
    v->base.blk.block_bytes = bytes;
    r = format_base_size(&v->base, bytes_le64(size), e);
    return r != 0 ? r : check_geometry(v, bytes, e);
}

/* ---- the parent ---- */

/* UTF-16 to UTF-8; '\\' becomes '/'.  Surrogates are refused: no file name that we
 * would open has them halved, and whole ones are rare. */
static int take_text(const unsigned char *from, uint32_t bytes, char *to, size_t room)
{
    size_t n = 0;

    for (uint32_t i = 0; i + 1 < bytes; i += 2) {
        unsigned c = from[i] | (unsigned)from[i + 1] << 8;

        if (c == 0 || (c >= 0xd800 && c < 0xe000) || n + 4 > room) {
            return -EUCLEAN;
        }
        if (c < 0x80) {
            to[n++] = c == '\\' ? '/' : (char)c;
        } else if (c < 0x800) {
            to[n++] = (char)(0xc0 | c >> 6);
            to[n++] = (char)(0x80 | (c & 0x3f));
        } else {
            to[n++] = (char)(0xe0 | c >> 12);
            to[n++] = (char)(0x80 | (c >> 6 & 0x3f));
            to[n++] = (char)(0x80 | (c & 0x3f));
        }
    }
    to[n] = '\0';
    return n > 0 ? 0 : -EUCLEAN;
}

/* "{83ed9a35-...}": numbers of 4, 2, 2 bytes are little-endian in the file. */
static int take_guid(const char *text, unsigned char *to)
{
    static const unsigned char order[VHDX_GUID_BYTES] = {3, 2, 1,  0,  5,  4,  7,  6,
                                                         8, 9, 10, 11, 12, 13, 14, 15};
    unsigned n = 0;

    for (const char *c = text; *c != '\0' && n < 2 * VHDX_GUID_BYTES; c++) {
        unsigned digit;

        if (!isxdigit((unsigned char)*c)) {
            continue;
        }
        digit = isdigit((unsigned char)*c) ? (unsigned)(*c - '0')
                                           : (unsigned)(tolower(*c) - 'a') + 10;
        to[order[n / 2]] =
            (unsigned char)(n % 2 == 0 ? digit << 4 : to[order[n / 2]] | digit);
        n++;
    }
    return n == 2 * VHDX_GUID_BYTES ? 0 : -EUCLEAN;
}

static int take_pair(struct vhdx *v, const unsigned char *item, uint32_t bytes,
                     const unsigned char *pair, bool *linked)
{
    uint32_t key_at = bytes_le32(pair);
    uint32_t value_at = bytes_le32(pair + 4);
    uint32_t key_bytes = bytes_le16(pair + 8);
    uint32_t value_bytes = bytes_le16(pair + 10);
    char key[64];
    char link[64];

    if (key_at > bytes || key_bytes > bytes - key_at || value_at > bytes ||
        value_bytes > bytes - value_at ||
        take_text(item + key_at, key_bytes, key, sizeof key) != 0) {
        return -EUCLEAN;
    }
    if (strcmp(key, "parent_linkage") == 0) {
        *linked = true;
        return take_text(item + value_at, value_bytes, link, sizeof link) != 0
                   ? -EUCLEAN
                   : take_guid(link, v->parent_write);
    }
    if (strcmp(key, "relative_path") == 0 ||
        (strcmp(key, "absolute_win32_path") == 0 && v->parent_name[0] == '\0')) {
        return take_text(item + value_at, value_bytes, v->parent_name,
                         sizeof v->parent_name);
    }
    return 0;
}

/* 2.6.2.6 */
static int take_locator(struct vhdx *v, const struct vhdx_region *x, struct err *e)
{
    SCOPED(scope_free) unsigned char *item = NULL;
    uint32_t bytes = (uint32_t)x->bytes;
    bool linked = false;
    int r;

    if (x->bytes < 20 || x->bytes > LOCATOR_MOST) {
        return refuse(v, e);
    }
    item = fault_malloc(bytes);
    r = item == NULL ? -ENOMEM : read_item(v, x, item);
    if (r != 0) {
        return format_refuse(&v->base, r, e, "its metadata cannot be read");
    }
    if (memcmp(item, locator_guid, VHDX_GUID_BYTES) != 0) {
        return format_refuse(&v->base, -EOPNOTSUPP, e,
                             "its parent is of a kind that is not known");
    }
    for (uint32_t i = 0; r == 0 && i < bytes_le16(item + 18); i++) {
        uint32_t at = 20 + i * PAIR_BYTES;

        r = at + PAIR_BYTES > bytes ? -EUCLEAN
                                    : take_pair(v, item, bytes, item + at, &linked);
    }
    return r == 0 && linked && v->parent_name[0] != '\0' ? 0 : refuse(v, e);
}

int vhdx_read_metadata(struct vhdx *v, struct err *e)
{
    struct vhdx_region found[ITEM_COUNT] = {0};
    int r = find_items(v, found, e);

    if (r == 0 && (found[ITEM_PARAMETERS].bytes == 0 || found[ITEM_SIZE].bytes == 0 ||
                   found[ITEM_SECTOR].bytes == 0)) {
        r = refuse(v, e);
    }
    if (r == 0) {
        r = take_values(v, found, e);
    }
    if (r == 0 && v->has_parent) {
        r = take_locator(v, &found[ITEM_LOCATOR], e);
    }
    return r;
}
