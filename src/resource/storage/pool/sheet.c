/* sheet.c - the sheets of a store: small tables of which each piece is written whole.
 *
 * Layout of a store (little endian, offsets in bytes):
 *
 *      0  two places of a slot (safe/slot.h): what is said below, and how large it is
 *   8192  the sheet that counts what is free:  0 free extents 8, 8 unsettled 4,
 *         16 times that extents were given back 8, 24 of those, the durable ones 8
 *  12288  the directory: sheets of rows, one for each carved disk
 *         the table: sheets of entries, one for each extent
 *         the extents
 *
 * A sheet is as large as a block of the device, which a power cut leaves old or new.
 * Its last 32 bytes:   0 uid of the store 8, 8 number of the sheet on the device 8, 16 flags 4,
 * 20 zero 8, 28 CRC-32C of what is before it 4.  A sheet of zeros is an empty one.
 *
 * entry (24)   0 id 8, 8 granules that hold data 8, 16 index 4, 20 part 2, 22 state 2
 * row (40)     0 id 8, 8 bytes of the disk 8, 16 first sheet 4, 20 end 4, 24 part 2, 26 state 2
 *
 * A sheet has entries of several disks, and so of several processes: it is read, changed and
 * written under a lock of its own.  Who only reads does so without; where a checksum is
 * wrong then, a writer may have been on his way, and it is read again under the lock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/pool/carve_private.h"
#include "resource/storage/safe/bytes.h"

enum {
    TAIL_UID = 0,
    TAIL_NUMBER = 8,
    TAIL_FLAGS = 16,
    TAIL_CRC = 28,
};

static uint8_t *tail(const struct place_store *s, uint8_t *sheet)
{
    return sheet + s->sheet_bytes - PLACE_SHEET_TAIL;
}

uint32_t place_sheet_flags(const struct place_store *s, const uint8_t *sheet)
{
    return bytes_get32(sheet + s->sheet_bytes - PLACE_SHEET_TAIL + TAIL_FLAGS);
}

void place_sheet_set_flags(const struct place_store *s, uint8_t *sheet, uint32_t flags)
{
    bytes_put32(tail(s, sheet) + TAIL_FLAGS, flags);
}

static bool is_empty(const struct place_store *s, const uint8_t *sheet)
{
    return sheet[0] == 0 && memcmp(sheet, sheet + 1, s->sheet_bytes - 1) == 0;
}

static bool is_good(const struct place_store *s, uint8_t *sheet, uint64_t number)
{
    const uint8_t *t = tail(s, sheet);

    if (bytes_get32(t + TAIL_CRC) == crc32c(0, sheet, s->sheet_bytes - 4u)) {
        return bytes_get64(t + TAIL_UID) == s->uid &&
               bytes_get64(t + TAIL_NUMBER) == number;
    }
    return is_empty(s, sheet);
}

static void seal(const struct place_store *s, uint8_t *sheet, uint64_t number)
{
    uint8_t *t = tail(s, sheet);

    bytes_put64(t + TAIL_UID, s->uid);
    bytes_put64(t + TAIL_NUMBER, number);
    bytes_put32(t + TAIL_CRC, crc32c(0, sheet, s->sheet_bytes - 4u));
}

struct place_entry place_entry_get(const uint8_t *sheet, uint32_t n)
{
    const uint8_t *at = sheet + n * PLACE_ENTRY_BYTES;
    uint32_t last = bytes_get32(at + 20);

    return (struct place_entry){
        .id = bytes_get64(at),
        .bits = bytes_get64(at + 8),
        .index = bytes_get32(at + 16),
        .part = (uint16_t)last,
        .state = (uint16_t)(last >> 16),
    };
}

void place_entry_put(uint8_t *sheet, uint32_t n, const struct place_entry *entry)
{
    uint8_t *at = sheet + n * PLACE_ENTRY_BYTES;

    bytes_put64(at, entry->id);
    bytes_put64(at + 8, entry->bits);
    bytes_put32(at + 16, entry->index);
    bytes_put32(at + 20, (uint32_t)entry->state << 16 | entry->part);
}

struct place_row place_row_get(const uint8_t *sheet, uint32_t n)
{
    const uint8_t *at = sheet + n * PLACE_ROW_BYTES;
    uint32_t last = bytes_get32(at + 24);

    return (struct place_row){
        .id = bytes_get64(at),
        .size = bytes_get64(at + 8),
        .first = bytes_get32(at + 16),
        .end = bytes_get32(at + 20),
        .part = (uint16_t)last,
        .state = (uint16_t)(last >> 16),
    };
}

void place_row_put(uint8_t *sheet, uint32_t n, const struct place_row *row)
{
    uint8_t *at = sheet + n * PLACE_ROW_BYTES;

    bytes_put64(at, row->id);
    bytes_put64(at + 8, row->size);
    bytes_put32(at + 16, row->first);
    bytes_put32(at + 20, row->end);
    bytes_put32(at + 24, (uint32_t)row->state << 16 | row->part);
}

uint32_t place_chunk_sheets(const struct place_store *s)
{
    return PLACE_CHUNK_BYTES / s->sheet_bytes;
}

static int read_and_judge(struct place_store *s, uint64_t off, uint32_t count,
                          uint8_t *to)
{
    uint64_t number = off / s->sheet_bytes;
    int r = blk_read(s->disk.disk, to, (size_t)count * s->sheet_bytes, off);

    for (uint32_t i = 0; r == 0 && i < count; i++) {
        if (!is_good(s, to + (size_t)i * s->sheet_bytes, number + i)) {
            r = -EUCLEAN;
        }
    }
    return r;
}

int place_sheets_read(struct place_store *s, const struct place_area *area,
                      uint32_t first, uint32_t count, uint8_t *to)
{
    uint64_t off = area->at + (uint64_t)first * s->sheet_bytes;
    uint64_t number = off / s->sheet_bytes;
    int r = read_and_judge(s, off, count, to);

    if (r != -EUCLEAN || s->lock_fd < 0) {
        return r;
    }
    strand_lock(s->strands, &s->edit);
    r = place_lock_wait(s, PLACE_LOCK_SHEET, number, count, !s->read_only);
    if (r == 0) {
        r = read_and_judge(s, off, count, to);
        place_lock_drop(s, PLACE_LOCK_SHEET, number, count);
    }
    strand_unlock(&s->edit);
    return r;
}

/* Change each sheet; those between the first and the last changed are written. */
static int apply(struct place_store *s, uint8_t *text, uint64_t number, uint32_t first,
                 uint32_t count, const struct place_change *change)
{
    uint32_t from = count;
    uint32_t to = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t *sheet = text + (size_t)i * s->sheet_bytes;
        int r = change->sheet(s, sheet, first + i, change->arg);

        if (r < 0) {
            return r;
        }
        if (r > 0) {
            seal(s, sheet, number + i);
            from = from < i ? from : i;
            to = i + 1;
        }
    }
    if (from >= to) {
        return 0;
    }
    return blk_write(s->disk.disk, text + (size_t)from * s->sheet_bytes,
                     (size_t)(to - from) * s->sheet_bytes,
                     (number + from) * s->sheet_bytes, 0);
}

int place_sheets_change(struct place_store *s, const struct place_area *area,
                        uint32_t first, uint32_t count, const struct place_change *change)
{
    SCOPED(scope_free)
    uint8_t *text =
        fault_aligned(4096, ((size_t)count * s->sheet_bytes + 4095) & ~(size_t)4095);
    uint64_t off = area->at + (uint64_t)first * s->sheet_bytes;
    uint64_t number = off / s->sheet_bytes;
    int r = text == NULL ? -ENOMEM : 0;

    if (r != 0) {
        return r;
    }
    strand_lock(s->strands, &s->edit);
    r = place_lock_wait(s, PLACE_LOCK_SHEET, number, count, !s->read_only);
    if (r == 0) {
        r = read_and_judge(s, off, count, text);
        r = r == 0 ? apply(s, text, number, first, count, change) : r;
        place_lock_drop(s, PLACE_LOCK_SHEET, number, count);
    }
    strand_unlock(&s->edit);
    return r;
}
