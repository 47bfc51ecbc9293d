/* partition.c - where on a disk a partition is.
 *
 * A table is foreign bytes: of a GPT both checksums must be right, what is counted has
 * bounds, and no partition reaches outside of the disk.  Of a GPT that is damaged the copy at
 * the end of the disk counts.
 *
 * Sources: UEFI Specification 2.10, 5.2.1 (MBR), 5.3.2 (GPT header), 5.3.3 (entries);
 * extended partitions as in Linux, block/partitions/msdos.c: each table has one partition,
 * relative to itself, and the next table, relative to the first. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/attach/attach.h"

#define SECTOR_BYTES   512u
#define LARGE_BYTES    4096u
#define MBR_ENTRIES_AT 446
#define MBR_ENTRY      16
#define MBR_MARK_AT    510
#define TYPE_GPT       0xEE /* all that a GPT is for */
#define LOGICAL_FIRST  5
#define LOGICAL_MOST   256 /* in a chain of tables, which may be a ring */
#define GPT_HEAD_BYTES 92
#define GPT_LIST_MOST  (1u << 20)

struct disk {
    int fd;
    uint64_t bytes;
    uint32_t block;
};

static uint32_t bytes_le32(const unsigned char *p)
{
    uint32_t x;

    memcpy(&x, p, sizeof x);
    return le32toh(x);
}

static uint64_t bytes_le64(const unsigned char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof x);
    return le64toh(x);
}

static bool read_at(const struct disk *d, void *to, size_t bytes, uint64_t off)
{
    return off <= d->bytes && bytes <= d->bytes - off &&
           pread(d->fd, to, bytes, (off_t)off) == (ssize_t)bytes;
}

/* The CRC-32 of UEFI (5.3.2): that of ISO 3309. */
static uint32_t crc32_of(const unsigned char *p, size_t n)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}

/* Blocks [first, first + count) as a part; false: outside of the disk, or empty. */
static bool place(const struct disk *d, uint64_t first, uint64_t count,
                  struct attach_part *ret)
{
    uint64_t all = d->bytes / d->block;

    if (first == 0 || count == 0 || first >= all || count > all - first) {
        return false;
    }
    *ret = (struct attach_part){.off = first * d->block, .bytes = count * d->block};
    return true;
}

/* ---- MBR ---- */

struct mbr_entry {
    uint8_t type; /* 0: none */
    uint64_t first;
    uint64_t count;
};

static bool is_extended(const struct mbr_entry *x)
{
    return x->type == 0x05 || x->type == 0x0F || x->type == 0x85;
}

static bool read_mbr(const struct disk *d, uint64_t at, struct mbr_entry out[4])
{
    unsigned char sector[SECTOR_BYTES];

    if (at > d->bytes / d->block || !read_at(d, sector, sizeof sector, at * d->block) ||
        sector[MBR_MARK_AT] != 0x55 || sector[MBR_MARK_AT + 1] != 0xAA) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        const unsigned char *p = sector + MBR_ENTRIES_AT + (size_t)i * MBR_ENTRY;

        out[i] = (struct mbr_entry){
            .type = p[4], .first = bytes_le32(p + 8), .count = bytes_le32(p + 12)};
        if ((p[0] & 0x7F) != 0) { /* no table, but the code of a boot sector */
            return false;
        }
    }
    return true;
}

/* ---- GPT ---- */

struct gpt {
    uint64_t list; /* block of the first entry */
    uint32_t count;
    uint32_t entry_bytes;
    uint32_t list_crc;
};

static bool read_gpt(const struct disk *d, uint64_t at, struct gpt *ret)
{
    unsigned char head[LARGE_BYTES];
    uint32_t bytes;
    uint32_t crc;

    if (at > d->bytes / d->block || !read_at(d, head, d->block, at * d->block) ||
        memcmp(head, "EFI PART", 8) != 0) {
        return false;
    }
    bytes = bytes_le32(head + 12);
    crc = bytes_le32(head + 16);
    memset(head + 16, 0, 4);
    if (bytes < GPT_HEAD_BYTES || bytes > d->block || crc32_of(head, bytes) != crc ||
        bytes_le64(head + 24) != at) {
        return false;
    }
    *ret = (struct gpt){.list = bytes_le64(head + 72),
                        .count = bytes_le32(head + 80),
                        .entry_bytes = bytes_le32(head + 84),
                        .list_crc = bytes_le32(head + 88)};
    return ret->entry_bytes >= 128 && ret->entry_bytes <= LARGE_BYTES &&
           ret->count <= GPT_LIST_MOST / ret->entry_bytes &&
           ret->list < d->bytes / d->block;
}

/* 1: found; 0: there is none of that number; -errno. */
static int look_in_list(const struct disk *d, const struct gpt *g, unsigned number,
                        struct attach_part *ret)
{
    static const unsigned char unused[16];
    size_t bytes = (size_t)g->count * g->entry_bytes;
    SCOPED(scope_free) unsigned char *list = fault_malloc(bytes + 1);
    const unsigned char *entry;
    uint64_t first;
    uint64_t last;

    if (list == NULL) {
        return -ENOMEM;
    }
    if (!read_at(d, list, bytes, g->list * d->block) ||
        crc32_of(list, bytes) != g->list_crc) {
        return -EUCLEAN;
    }
    if (number > g->count) {
        return 0;
    }
    entry = list + (size_t)(number - 1) * g->entry_bytes;
    first = bytes_le64(entry + 32);
    last = bytes_le64(entry + 40);
    if (memcmp(entry, unused, sizeof unused) == 0) {
        return 0;
    }
    return last >= first && last < UINT64_MAX && place(d, first, last - first + 1, ret)
               ? 1
               : -EUCLEAN;
}

/* Whether the older table says that a GPT counts: one that was left behind does not. */
static bool is_protective(const struct disk *d)
{
    struct mbr_entry x[4];
    bool yes = false;

    for (unsigned i = 0; i < 4 && read_mbr(d, 0, x); i++) {
        yes = yes || x[i].type == TYPE_GPT;
    }
    return yes;
}

/* Also -ENODATA: no GPT. */
static int look_in_gpt(const struct disk *d, unsigned number, struct attach_part *ret)
{
    uint64_t last = d->bytes / d->block - 1;
    struct gpt g;
    int r = -ENODATA;

    if (!is_protective(d)) {
        return r;
    }
    if (read_gpt(d, 1, &g)) {
        r = look_in_list(d, &g, number, ret);
    }
    if ((r == -ENODATA || r == -EUCLEAN) && read_gpt(d, last, &g)) {
        r = look_in_list(d, &g, number, ret);
    }
    return r;
}

/* ---- partitions of an MBR ---- */

static int place_in_mbr(const struct disk *d, uint64_t base, const struct mbr_entry *x,
                        struct attach_part *ret)
{
    if (x->type == 0 || x->count == 0) {
        return 0;
    }
    return x->type != TYPE_GPT && place(d, base + x->first, x->count, ret) ? 1 : -EUCLEAN;
}

static int look_in_extended(const struct disk *d, uint64_t base, unsigned number,
                            struct attach_part *ret)
{
    uint64_t at = base;
    unsigned now = LOGICAL_FIRST;

    for (unsigned i = 0; i < LOGICAL_MOST; i++) {
        struct mbr_entry x[4];

        if (!read_mbr(d, at, x)) {
            return -EUCLEAN;
        }
        if (x[0].type != 0 && x[0].count != 0 && now++ == number) {
            return place_in_mbr(d, at, &x[0], ret);
        }
        if (!is_extended(&x[1]) || x[1].first == 0) {
            return 0;
        }
        at = base + x[1].first;
    }
    return -EUCLEAN;
}

static int look_in_mbr(const struct disk *d, unsigned number, struct attach_part *ret)
{
    struct mbr_entry x[4];

    if (!read_mbr(d, 0, x)) {
        return -ENODATA;
    }
    if (number <= 4) {
        return is_extended(&x[number - 1]) ? 0 : place_in_mbr(d, 0, &x[number - 1], ret);
    }
    for (unsigned i = 0; i < 4; i++) {
        if (is_extended(&x[i])) {
            return look_in_extended(d, x[i].first, number, ret);
        }
    }
    return 0;
}

int attach_partition(int fd, unsigned number, uint32_t block_bytes,
                     struct attach_part *ret, struct err *e)
{
    uint32_t block = block_bytes != 0 ? block_bytes : SECTOR_BYTES;
    const uint32_t sizes[] = {block, block == SECTOR_BYTES ? LARGE_BYTES : SECTOR_BYTES};
    off_t end = lseek(fd, 0, SEEK_END);
    struct disk d = {.fd = fd, .bytes = end > 0 ? (uint64_t)end : 0};
    int r = -ENODATA;

    for (unsigned i = 0; r == -ENODATA && i < 2 && number > 0; i++) {
        d.block = sizes[i]; /* a GPT shows what the sectors of its disk were */
        r = d.bytes < 3 * (uint64_t)d.block ? -ENODATA : look_in_gpt(&d, number, ret);
    }
    if (r == -ENODATA && number > 0) {
        d.block = block;
        r = look_in_mbr(&d, number, ret);
    }
    if (r == -EUCLEAN) {
        return err_set(e, r, "its table of partitions is damaged");
    }
    return r == 1          ? 0
           : r == -ENODATA ? err_set(e, -ENOENT, "it has no partitions")
           : r == 0        ? err_set(e, -ENOENT, "it has no partition %u", number)
                           : err_sys(e, r, "cannot look for partition %u", number);
}
