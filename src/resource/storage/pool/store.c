/* store.c - making a store, and beginning and ending to use one.  Its layout is at the head of
 * sheet.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/carve_private.h"
#include "resource/storage/safe/bytes.h"
#include "resource/storage/safe/slot.h"

#define SUPER_MAGIC   0x65726f7473727473u /* "strstore" */
#define SUPER_VERSION 1
#define SLOT_BYTES    4096u
#define SUPER_BYTES   56u
#define OWNER_AT      SUPER_BYTES /* of what is missing in those that have no owner */
#define ROOM_AT       8192u
#define ROWS_AT       12288u
#define EXTENT_LEAST  65536u
#define GROWS_TO      4u                  /* times the extents that it has at first */
#define WIPED_BYTES   ((uint64_t)1 << 20) /* of either end, where heads of others lie */
#define EXTENT_MOST   524288u
#define EXTENTS_AIM   ((uint64_t)1 << 21)
#define ROWS_LEAST    64u
#define ROWS_MOST     65536u

enum {
    AT_UID = 0,
    AT_SHEET_BYTES = 8,
    AT_EXTENT_BYTES = 12,
    AT_EXTENTS = 16,
    AT_ROW_SHEETS = 20,
    AT_TABLE_AT = 24,
    AT_DATA_AT = 32,
};

uint32_t place_store_extent_for(uint64_t device_bytes)
{
    uint32_t extent = EXTENT_LEAST;

    while (extent < EXTENT_MOST && device_bytes / extent > EXTENTS_AIM) {
        extent *= 2;
    }
    return extent;
}

static struct slot slot_of(struct blk *disk)
{
    return (struct slot){.disk = disk,
                         .bytes = SLOT_BYTES,
                         .magic = SUPER_MAGIC,
                         .version = SUPER_VERSION};
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* Where everything lies on a device: as many extents as there is room for. */
static int lay_out(struct place_store *s, uint64_t bytes)
{
    uint64_t extents = bytes / s->extent_bytes;
    uint64_t rows;
    uint64_t sheets;

    extents = extents < PLACE_EXTENTS_MOST ? extents : PLACE_EXTENTS_MOST;
    rows = extents / 4 < ROWS_LEAST  ? ROWS_LEAST
           : extents / 4 < ROWS_MOST ? extents / 4
                                     : ROWS_MOST;
    s->rows.sheets = (uint32_t)((rows + s->rows.per_sheet - 1) / s->rows.per_sheet);
    s->table.at = round_up(s->rows.at + (uint64_t)s->rows.sheets * s->sheet_bytes, 4096);
    sheets =
        extents < PLACE_EXTENTS_MOST / GROWS_TO ? extents * GROWS_TO : PLACE_EXTENTS_MOST;
    sheets = (sheets + s->table.per_sheet - 1) / s->table.per_sheet;
    s->data_at = round_up(s->table.at + sheets * s->sheet_bytes, s->extent_bytes);
    if (s->data_at >= bytes || (bytes - s->data_at) / s->extent_bytes == 0) {
        return -ENOSPC;
    }
    if (extents > (bytes - s->data_at) / s->extent_bytes) {
        extents = (bytes - s->data_at) / s->extent_bytes;
    }
    s->extents = (uint32_t)extents;
    s->table.sheets = (s->extents + s->table.per_sheet - 1) / s->table.per_sheet;
    return 0;
}

static void set_sheets(struct place_store *s, uint32_t sheet_bytes)
{
    uint32_t room = sheet_bytes - PLACE_SHEET_TAIL;

    s->sheet_bytes = sheet_bytes;
    s->room = (struct place_area){ROOM_AT, 1, 1};
    s->rows.at = ROWS_AT;
    s->rows.per_sheet = room / PLACE_ROW_BYTES;
    s->table.per_sheet = room / PLACE_ENTRY_BYTES;
}

/* After the record that is there, if there is one. */
int place_super_write(struct place_store *s)
{
    uint8_t text[OWNER_AT + PLACE_OWNER_BYTES] = {0};
    struct slot slot = slot_of(s->disk.disk);
    uint8_t old[SLOT_BYTES];
    size_t n;
    int r = slot_load(&slot, old, &n);

    r = r == -ENOENT ? 0 : r;
    bytes_put64(text + AT_UID, s->uid);
    bytes_put32(text + AT_SHEET_BYTES, s->sheet_bytes);
    bytes_put32(text + AT_EXTENT_BYTES, s->extent_bytes);
    bytes_put32(text + AT_EXTENTS, s->extents);
    bytes_put32(text + AT_ROW_SHEETS, s->rows.sheets);
    bytes_put64(text + AT_TABLE_AT, s->table.at);
    bytes_put64(text + AT_DATA_AT, s->data_at);
    memcpy(text + OWNER_AT, s->owner, strlen(s->owner));
    r = r == 0 ? slot_store(&slot, text, sizeof text) : r;
    return r == 0 ? blk_flush(s->disk.disk) : r;
}

static int write_empty(struct place_store *s)
{
    int r = blk_zero(s->disk.disk, 0, s->data_at, BLK_UNMAP); /* an old store too */

    r = r == 0 ? place_room_set(s, s->extents, true) : r;
    r = r == 0 ? blk_flush(s->disk.disk) : r;
    return r == 0 ? place_super_write(s) : r;
}

int place_store_format(struct blk *disk, uint32_t extent_bytes, struct err *e)
{
    return place_store_format_for(disk, extent_bytes, "", e);
}

int place_store_format_for(struct blk *disk, uint32_t extent_bytes, const char *owner,
                           struct err *e)
{
    uint32_t extent =
        extent_bytes != 0 ? extent_bytes : place_store_extent_for(blk_size(disk));
    struct place_store s = {
        .disk.disk = disk,
        .strands = disk->strands,
        .lock_fd = -1,
        .extent_bytes = extent,
    };
    int r;

    if (extent < EXTENT_LEAST || extent > EXTENT_MOST || (extent & (extent - 1)) != 0) {
        return err_set(e, -EINVAL, "cannot make a store on '%s': extents of %u bytes",
                       disk->label, extent);
    }
    if (strlen(owner) >= sizeof s.owner) {
        return err_set(e, -ENAMETOOLONG, "cannot make a store on '%s': too long an owner",
                       disk->label);
    }
    memcpy(s.owner, owner, strlen(owner));
    set_sheets(&s, blk_block_bytes(disk));
    r = lay_out(&s, blk_size(disk));
    if (r == 0 && getrandom(&s.uid, sizeof s.uid, 0) != sizeof s.uid) {
        r = -EIO;
    }
    r = r == 0 ? write_empty(&s) : r;
    return r == 0 ? 0 : err_sys(e, r, "cannot make a store on '%s'", disk->label);
}

/* ---- opening ---- */

/* Nothing that the device says is believed before it fits. */
static int parse(struct place_store *s, const uint8_t *text)
{
    uint64_t bytes = blk_size(s->disk.disk);
    uint32_t sheet = bytes_get32(text + AT_SHEET_BYTES);
    uint64_t table_end;

    s->uid = bytes_get64(text + AT_UID);
    s->extent_bytes = bytes_get32(text + AT_EXTENT_BYTES);
    s->extents = bytes_get32(text + AT_EXTENTS);
    s->data_at = bytes_get64(text + AT_DATA_AT);
    if (sheet < BLK_BLOCK_LEAST_BYTES || sheet > BLK_BLOCK_MOST_BYTES ||
        (sheet & (sheet - 1)) != 0 || s->extent_bytes < EXTENT_LEAST ||
        s->extent_bytes > EXTENT_MOST || (s->extent_bytes & (s->extent_bytes - 1)) != 0) {
        return -EUCLEAN;
    }
    if (sheet < blk_block_bytes(s->disk.disk)) {
        return -EOPNOTSUPP;
    }
    set_sheets(s, sheet);
    s->rows.sheets = bytes_get32(text + AT_ROW_SHEETS);
    s->table.at = bytes_get64(text + AT_TABLE_AT);
    if (s->extents == 0 || s->extents > PLACE_EXTENTS_MOST || s->rows.sheets == 0 ||
        s->rows.sheets > ROWS_MOST || s->table.at > bytes || s->data_at > bytes ||
        s->table.at % 4096 != 0 || s->data_at % s->extent_bytes != 0) {
        return -EUCLEAN;
    }
    s->table.sheets = (s->extents - 1) / s->table.per_sheet + 1;
    table_end = s->table.at + (uint64_t)s->table.sheets * sheet;
    if (s->rows.at + (uint64_t)s->rows.sheets * sheet > s->table.at ||
        table_end > s->data_at || (bytes - s->data_at) / s->extent_bytes < s->extents) {
        return -EUCLEAN;
    }
    return 0;
}

static int load(struct place_store *s, struct err *e)
{
    struct slot slot = slot_of(s->disk.disk);
    uint8_t text[SLOT_BYTES];
    size_t n = 0;
    int r =
        blk_size(s->disk.disk) < 2 * SLOT_BYTES ? -ENOENT : slot_load(&slot, text, &n);

    r = r == 0 && n < SUPER_BYTES ? -EUCLEAN : r;
    r = r == 0 ? parse(s, text) : r;
    if (r == 0 && n >= OWNER_AT + PLACE_OWNER_BYTES) {
        memcpy(s->owner, text + OWNER_AT, PLACE_OWNER_BYTES - 1);
    }
    return r == 0 ? 0
           : r == -ENOENT
               ? err_set(e, -EUCLEAN, "cannot use '%s': there is no store on it",
                         s->disk.disk->label)
               : err_sys(e, r, "cannot use the store on '%s'", s->disk.disk->label);
}

/* The first one to use a store finds out whether the last ones ended in order. */
static int greet(struct place_store *s, struct err *e)
{
    struct place_count count = {.settled = true};
    int r = place_lock_device(s, s->disk.disk->label, e);

    if (r != 0 || s->read_only) {
        return r;
    }
    if (place_lock_try(s, PLACE_LOCK_STORE, 0, 1, true) == 0) {
        r = place_room_get(s, &count);
        if (r == -EUCLEAN || (r == 0 && !count.settled)) {
            r = place_store_sweep(s);
        }
        r = r == -EUCLEAN ? 0 : r; /* the damaged part tells of itself */
    }
    if (r == 0) {
        r = place_lock_wait(s, PLACE_LOCK_STORE, 0, 1, false);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot use the store on '%s'", s->disk.disk->label);
}

/* Alone and in order: the next one need not count. */
static void settle(struct place_store *s)
{
    struct place_count count;

    if (s->miscounted && place_store_sweep(s) != 0) {
        return;
    }
    if (place_lock_try(s, PLACE_LOCK_STORE, 0, 1, true) == 0 &&
        blk_flush(s->disk.disk) == 0 && place_room_get(s, &count) == 0) {
        (void)place_room_set(s, count.free, true);
        (void)blk_flush(s->disk.disk);
    }
}

static void end(struct place_store *s)
{
    if (s->unsettled) {
        settle(s);
    }
    for (unsigned i = 0; i < PLACE_LOCK_KIND_COUNT; i++) {
        place_lock_drop(s, (enum place_lock_kind)i, 0, (uint64_t)1 << 56);
    }
}

static void destroy(struct place_store *s)
{
    blk_detach(&s->disk);
    if (s->lock_fd >= 0) {
        (void)close(s->lock_fd);
    }
    free(s);
}

void place_store_unref(struct place_store *s)
{
    if (s != NULL && --s->users == 0) {
        end(s);
        destroy(s);
    }
}

int place_store_open(struct loop *l, struct blk *take_disk, int take_lock_fd,
                     struct place_store **ret_store, struct err *e)
{
    struct place_store *s = fault_calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        blk_drop(take_disk);
        if (take_lock_fd >= 0) {
            (void)close(take_lock_fd);
        }
        return err_sys(e, -ENOMEM, "cannot use a store");
    }
    s->loop = l;
    s->strands = take_disk->strands;
    s->lock_fd = take_lock_fd;
    s->users = 1;
    s->read_only = take_disk->read_only;
    s->disk = (struct blk_edge){
        .user = "store",
        .uses = s->read_only ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE,
        .lets = BLK_USE_READ | BLK_USE_WRITE,
    };
    r = blk_attach(&s->disk, take_disk, e);
    if (r != 0) {
        blk_drop(take_disk);
    }
    r = r == 0 ? load(s, e) : r;
    r = r == 0 ? greet(s, e) : r;
    if (r != 0) {
        destroy(s);
        return r;
    }
    *ret_store = s;
    return 0;
}

int place_store_let_write(struct place_store *s, int take_lock_fd, struct err *e)
{
    int old = s->lock_fd;
    int r = 0;

    if (s->read_only) {
        r = blk_set_access(s->disk.disk, true, e);
    }
    if (!s->read_only || r != 0) {
        (void)close(take_lock_fd);
        return r;
    }
    s->lock_fd = take_lock_fd;
    for (struct carve *c = s->open; r == 0 && c != NULL; c = c->next) {
        r = place_carve_lock(c); /* beside its lock on the old one: both are a reader's */
    }
    s->read_only = false;
    s->disk.uses |= BLK_USE_WRITE;
    r = r == 0 ? greet(s, e) : r;
    if (r != 0) {
        s->read_only = true;
        s->disk.uses &= ~(unsigned)BLK_USE_WRITE;
        s->lock_fd = old;
        old = take_lock_fd;
    }
    if (old >= 0) {
        (void)close(old);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot write to the store");
}

const char *place_store_owner(const struct place_store *s)
{
    return s->owner;
}

bool place_store_is_idle(const struct place_store *s)
{
    return s->open == NULL;
}

int place_store_wipe(struct place_store *s, struct err *e)
{
    uint64_t size = blk_size(s->disk.disk) & ~(uint64_t)4095;
    uint64_t tail = size < WIPED_BYTES ? size : WIPED_BYTES;
    uint64_t head = s->data_at > tail ? s->data_at : tail;
    int r = s->open != NULL ? -EBUSY
            : s->read_only  ? -EROFS
                            : place_lock_try(s, PLACE_LOCK_STORE, 0, 1, true);

    s->unsettled = false;
    s->miscounted = false;
    r = r == 0 ? blk_zero(s->disk.disk, 0, head, BLK_UNMAP) : r;
    if (r == 0) {
        (void)blk_discard(s->disk.disk, head, size - head);
        r = blk_zero(s->disk.disk, size - tail, tail, BLK_UNMAP);
    }
    r = r == 0 ? blk_flush(s->disk.disk) : r;
    return r == 0 ? 0
                  : err_sys(e, r, "cannot take the store off '%s'", s->disk.disk->label);
}

int place_store_room(struct place_store *s, struct place_room *ret)
{
    struct place_count count;
    int r = place_room_get(s, &count);

    if (r == 0) {
        *ret = (struct place_room){
            .total_bytes = (uint64_t)s->extents * s->extent_bytes,
            .free_bytes = count.free * s->extent_bytes,
            .extent_bytes = s->extent_bytes,
        };
    }
    return r;
}

struct list {
    int (*visit)(const struct place_carved *c, void *arg);
    void *arg;
};

static int list_row(struct place_store *s, uint32_t number, const struct place_row *row,
                    void *arg)
{
    const struct list *l = arg;
    struct place_carved c = {row->id, row->part, row->size};

    (void)s;
    (void)number;
    return row->state == PLACE_ROW_LIVE ? l->visit(&c, l->arg) : 0;
}

int place_store_list(struct place_store *s,
                     int (*visit)(const struct place_carved *c, void *arg), void *arg)
{
    struct list l = {visit, arg};

    return place_rows_visit(s, list_row, &l);
}

/* ---- what one of them takes ---- */

static uint32_t count_in(const struct place_store *s, const uint8_t *sheet,
                         const struct place_row *row)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->table.per_sheet; i++) {
        struct place_entry entry = place_entry_get(sheet, i);

        count += entry.state == PLACE_ENTRY_USED && entry.id == row->id &&
                 entry.part == row->part;
    }
    return count;
}

int place_carve_count(struct place_store *s, uint64_t id, uint32_t part, uint64_t *ret)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, PLACE_CHUNK_BYTES);
    uint32_t most = place_chunk_sheets(s);
    struct place_row row = {.id = id};
    uint64_t count = 0;
    uint32_t number;
    int r = text == NULL ? -ENOMEM : place_row_find(s, id, part, &number, &row);

    r = r == 0 && row.end > s->table.sheets ? -EUCLEAN : r;
    for (uint32_t at = row.first; r == 0 && at < row.end; at += most) {
        uint32_t n = row.end - at < most ? row.end - at : most;

        r = place_sheets_read(s, &s->table, at, n, text);
        for (uint32_t i = 0; r == 0 && i < n; i++) {
            count += count_in(s, text + (size_t)i * s->sheet_bytes, &row);
        }
    }
    if (r == 0) {
        *ret = count * s->extent_bytes;
    }
    return r;
}
