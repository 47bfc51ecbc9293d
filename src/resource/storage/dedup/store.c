/* store.c - where things lie in a store, and how its changes become durable.
 *
 * Layout (little endian):
 *
 *        0  two places of the superblock, 16384 bytes each (safe/slot.c)
 *    32768  journal (safe/journal.c)
 *           entries: a row per slot (safe/pages.c)
 *           map: a number per block of each volume (safe/pages.c)
 *     data  slots of 4096 bytes
 *
 * A superblock:
 *
 *        0  id                8   random, of the journal
 *        8  slots             8   a whole number of pages of entries
 *       16  offset of the data 8
 *       24  journal bytes     8
 *       32  pages of entries  8
 *       40  pages of the map  8
 *       48  epoch             8
 *       56  logical blocks    8   as of the last settling
 *       64  stored blocks     8   as of the last settling
 *       72  volumes           4
 *       76  zero              4
 *       80  a row per volume: name 64, first map entry 8, blocks 8
 *
 * An entry says what its slot has: SHA-256 (32), references (4), epoch in which the last
 * reference went (8).  The page of an entry is found by the hash, so the entries are
 * the index: see chunk.c.  A map entry is 0 for zeros, or its slot plus one.
 *
 * A block is written to a slot that nothing durable refers to; then entry and map change in
 * memory.  A commit flushes the data and puts the changes since the last one into the
 * journal, those of one block always together, so what is durable is a past of the whole
 * store.  A slot whose last reference went is taken again only when that is durable, since
 * until then a power cut brings the reference back.  Before the journal is full everything is
 * committed, the changed pages are written in place and flushed, and it begins anew.
 * Replay sets what the journal says, which is right over pages of any age.  So reference
 * counts need no rebuilding. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "resource/storage/dedup/private.h"
#include "resource/storage/safe/bytes.h"

#define MAGIC         0x7075646564727473u /* "strdedup" */
#define VERSION       1
#define PLACE_BYTES   16384u
#define JOURNAL_AT    32768u
#define JOURNAL_BYTES (1u << 20)
#define RESERVE_BYTES (2 * (uint64_t)PENDING_BYTES)
#define HEAD_BYTES    80u
#define ROW_BYTES     80u
#define PAGES_KEPT    4096 /* of entries, and of the map */

enum note_kind {
    NOTE_MAP = 1,
    NOTE_ENTRY = 2
};

/* ---- changes ---- */

static bool has_room(const struct dedup *s)
{
    return s->pending_bytes + s->reserved + GROUP_BYTES <= PENDING_BYTES;
}

int dedup_begin_change(struct dedup *s, struct range_hold *gate)
{
    int r = 0;

    while (r == 0) {
        *gate = (struct range_hold){.end = 1, .shares = true};
        range_take(s->disk.disk->strands, &s->gate, gate);
        if (journal_room(&s->journal) >= RESERVE_BYTES && has_room(s)) {
            s->reserved += GROUP_BYTES;
            return 0;
        }
        range_give(&s->gate, gate);
        if (journal_room(&s->journal) < RESERVE_BYTES) {
            r = dedup_settle(s);
        } else if (s->pending_bytes > 0) {
            r = dedup_commit(s);
        } else if (!has_room(s)) {
            strand_wait(s->disk.disk->strands, &s->room);
        }
    }
    return r;
}

void dedup_end_change(struct dedup *s, struct range_hold *gate)
{
    s->reserved -= GROUP_BYTES;
    range_give(&s->gate, gate);
    (void)strand_wake(&s->room);
}

static uint8_t *note(struct dedup *s, enum note_kind kind, uint64_t index, size_t bytes)
{
    uint8_t *at = s->pending + s->pending_bytes;

    bytes_put32(at, kind);
    bytes_put32(at + 4, 0);
    bytes_put64(at + 8, index);
    s->pending_bytes += NOTE_BYTES + bytes;
    return at + NOTE_BYTES;
}

void dedup_note_entry(struct dedup *s, uint64_t slot, const uint8_t *entry)
{
    memcpy(note(s, NOTE_ENTRY, slot, ENTRY_BYTES), entry, ENTRY_BYTES);
}

void dedup_note_map(struct dedup *s, uint64_t index, uint64_t value)
{
    bytes_put64(note(s, NOTE_MAP, index, MAP_BYTES), value);
}

/* The data of these changes were written before the changes were noted. */
static int put_batch(struct dedup *s)
{
    int r;

    if (s->batch_bytes == 0) {
        return 0;
    }
    r = blk_flush(s->disk.disk);
    r = r == 0 ? journal_append(&s->journal, s->batch, s->batch_bytes) : r;
    if (r == 0) {
        s->batch_bytes = 0;
        s->durable = s->batch_epoch;
    }
    return r == -EAGAIN ? -EIO : r;
}

int dedup_commit(struct dedup *s)
{
    int r;

    strand_lock(s->disk.disk->strands, &s->commit_lock);
    r = put_batch(s); /* one that failed before */
    if (r == 0 && s->pending_bytes > 0) {
        uint8_t *batch = s->batch;

        s->batch = s->pending;
        s->batch_bytes = s->pending_bytes;
        s->batch_epoch = s->epoch++;
        s->pending = batch;
        s->pending_bytes = 0;
        r = put_batch(s);
    }
    strand_unlock(&s->commit_lock);
    (void)strand_wake_all(&s->room);
    return r;
}

/* ---- the superblock ---- */

static int store_super(struct dedup *s)
{
    SCOPED(scope_free) uint8_t *text = fault_calloc(1, PLACE_BYTES);

    if (text == NULL) {
        return -ENOMEM;
    }
    bytes_put64(text, s->id);
    bytes_put64(text + 8, s->slots);
    bytes_put64(text + 16, s->data_at);
    bytes_put64(text + 24, s->journal.bytes);
    bytes_put64(text + 32, s->entries.count);
    bytes_put64(text + 40, s->map.count);
    bytes_put64(text + 48, s->epoch);
    bytes_put64(text + 56, s->logical);
    bytes_put64(text + 64, s->stored);
    bytes_put32(text + 72, s->rows);
    for (unsigned i = 0; i < s->rows; i++) {
        uint8_t *at = text + HEAD_BYTES + (size_t)i * ROW_BYTES;

        memcpy(at, s->row[i].name, DEDUP_NAME_BYTES);
        bytes_put64(at + 64, s->row[i].first);
        bytes_put64(at + 72, s->row[i].blocks);
    }
    return slot_store(&s->slot, text, HEAD_BYTES + (size_t)s->rows * ROW_BYTES);
}

int dedup_settle(struct dedup *s)
{
    struct range_hold hold = {.end = 1};
    int r;

    range_take(s->disk.disk->strands, &s->gate, &hold);
    r = dedup_commit(s);
    r = r == 0 ? pages_store(&s->entries) : r;
    r = r == 0 ? pages_store(&s->map) : r;
    r = r == 0 ? blk_flush(s->disk.disk) : r;
    r = r == 0 ? store_super(s) : r;
    r = r == 0 ? journal_restart(&s->journal) : r;
    range_give(&s->gate, &hold);
    (void)strand_wake_all(&s->room);
    return r;
}

static bool name_is_right(const uint8_t *name)
{
    size_t n = strnlen((const char *)name, DEDUP_NAME_BYTES);

    for (size_t i = 0; i < DEDUP_NAME_BYTES; i++) {
        if (i < n ? name[i] < ' ' || name[i] > '~' : name[i] != 0) {
            return false;
        }
    }
    return n > 0 && n < DEDUP_NAME_BYTES;
}

static int read_row(struct dedup *s, const uint8_t *at)
{
    struct volume_row *row = &s->row[s->rows];
    uint64_t room = s->map.count * pages_entries_in(&s->map);

    if (!name_is_right(at)) {
        return -EUCLEAN;
    }
    memcpy(row->name, at, DEDUP_NAME_BYTES);
    row->first = bytes_get64(at + 64);
    row->blocks = bytes_get64(at + 72);
    if (row->first > room || row->blocks > room - row->first || row->blocks == 0) {
        return -EUCLEAN;
    }
    for (unsigned i = 0; i < s->rows; i++) {
        if (strcmp(s->row[i].name, row->name) == 0 ||
            (s->row[i].first < row->first + row->blocks &&
             row->first < s->row[i].first + s->row[i].blocks)) {
            return -EUCLEAN;
        }
    }
    s->rows++;
    return 0;
}

/* Sizes that are inside of the disk and fit each other. */
static bool geometry_is_right(const struct dedup *s)
{
    uint64_t size = blk_size(s->disk.disk);
    uint64_t most = size / 4096;

    return s->journal.bytes >= 4 * RESERVE_BYTES / 2 && s->journal.bytes % 4096 == 0 &&
           s->journal.bytes <= size && s->entries.count > 0 && s->entries.count <= most &&
           s->map.count > 0 && s->map.count <= most && s->data_at <= size &&
           s->slots <= (size - s->data_at) / DEDUP_BLOCK_BYTES &&
           s->slots == s->entries.count * pages_entries_in(&s->entries) &&
           s->data_at >= JOURNAL_AT + s->journal.bytes +
                             (s->entries.count + s->map.count) * PAGES_BYTES &&
           s->data_at % 4096 == 0;
}

static void place_parts(struct dedup *s)
{
    struct blk *disk = s->disk.disk;

    s->journal.disk = disk;
    s->journal.at = JOURNAL_AT;
    s->journal.id = s->id;
    s->entries.disk = disk;
    s->entries.at = JOURNAL_AT + s->journal.bytes;
    s->entries.entry = ENTRY_BYTES;
    s->entries.most = PAGES_KEPT;
    s->map.disk = disk;
    s->map.at = s->entries.at + s->entries.count * PAGES_BYTES;
    s->map.entry = MAP_BYTES;
    s->map.most = PAGES_KEPT;
}

static int read_super(struct dedup *s)
{
    SCOPED(scope_free) uint8_t *text = fault_malloc(PLACE_BYTES);
    size_t bytes = 0;
    uint32_t rows;
    int r = text == NULL                          ? -ENOMEM
            : blk_size(s->disk.disk) < JOURNAL_AT ? -ENOENT
                                                  : slot_load(&s->slot, text, &bytes);

    if (r != 0 || bytes < HEAD_BYTES) {
        return r != 0 && r != -ENOENT ? r : -EUCLEAN;
    }
    s->id = bytes_get64(text);
    s->slots = bytes_get64(text + 8);
    s->data_at = bytes_get64(text + 16);
    s->journal.bytes = bytes_get64(text + 24);
    s->entries.count = bytes_get64(text + 32);
    s->map.count = bytes_get64(text + 40);
    s->epoch = bytes_get64(text + 48);
    s->logical = bytes_get64(text + 56);
    s->stored = bytes_get64(text + 64);
    rows = bytes_get32(text + 72);
    place_parts(s);
    if (!geometry_is_right(s) || rows > DEDUP_VOLUMES_MOST ||
        bytes != HEAD_BYTES + (size_t)rows * ROW_BYTES) {
        return -EUCLEAN;
    }
    for (unsigned i = 0; r == 0 && i < rows; i++) {
        r = read_row(s, text + HEAD_BYTES + (size_t)i * ROW_BYTES);
    }
    return r;
}

/* ---- replay ---- */

static int set_entry(struct pages *p, uint64_t index, const uint8_t *bytes, uint64_t most)
{
    struct page *page;
    int r = index < most ? pages_take(p, index, &page) : -EUCLEAN;

    if (r == 0) {
        memcpy(pages_entry_raw(p, page, index), bytes, p->entry);
        pages_change(p, page);
        pages_give(p, page);
    }
    return r;
}

static int replay(void *arg, const uint8_t *record, size_t bytes)
{
    struct dedup *s = arg;
    int r = 0;

    s->replayed = true;
    while (r == 0 && bytes >= 16) {
        uint32_t kind = bytes_get32(record);
        uint64_t index = bytes_get64(record + 8);
        size_t n = kind == NOTE_MAP ? MAP_BYTES : ENTRY_BYTES;

        if ((kind != NOTE_MAP && kind != NOTE_ENTRY) || bytes < 16 + n ||
            (kind == NOTE_MAP && bytes_get64(record + 16) > s->slots)) {
            return -EUCLEAN;
        }
        if (kind == NOTE_MAP) {
            r = set_entry(&s->map, index, record + 16,
                          s->map.count * pages_entries_in(&s->map));
        } else {
            uint64_t epoch = bytes_get64(record + 16 + 36);

            r = set_entry(&s->entries, index, record + 16, s->slots);
            s->epoch = epoch != UINT64_MAX && epoch > s->epoch ? epoch : s->epoch;
        }
        record += 16 + n;
        bytes -= 16 + n;
    }
    return r == 0 && bytes != 0 ? -EUCLEAN : r;
}

/* After a crash the counters of the superblock are old. */
static int count_all(struct dedup *s)
{
    struct page *page;
    int r = 0;

    s->logical = 0;
    s->stored = 0;
    for (uint64_t i = 0; r == 0 && i < s->slots; i++) {
        r = pages_take(&s->entries, i, &page);
        if (r == 0) {
            s->stored += dedup_refs(pages_entry_raw(&s->entries, page, i)) > 0;
            pages_give(&s->entries, page);
        }
    }
    for (unsigned v = 0; v < s->rows; v++) {
        for (uint64_t i = 0; r == 0 && i < s->row[v].blocks; i++) {
            uint64_t value = 0;

            r = dedup_look_up(s, s->row[v].first + i, &value);
            s->logical += value != 0;
        }
    }
    return r;
}

static int start(struct dedup *s)
{
    int r = read_super(s);

    s->pending = fault_malloc(PENDING_BYTES);
    s->batch = fault_malloc(PENDING_BYTES);
    if (r == 0 && (s->pending == NULL || s->batch == NULL)) {
        r = -ENOMEM;
    }
    r = r == 0 ? pages_init(&s->entries) : r;
    r = r == 0 ? pages_init(&s->map) : r;
    r = r == 0 ? journal_open(&s->journal, replay, s) : r;
    s->durable = s->epoch;
    s->epoch++;
    r = r == 0 && s->replayed ? count_all(s) : r;
    return r == 0 && !s->disk.disk->read_only ? dedup_settle(s) : r;
}

/* ---- life ---- */

static void release(struct dedup *s)
{
    journal_close(&s->journal);
    if (s->entries.chain != NULL) {
        pages_fini(&s->entries);
    }
    if (s->map.chain != NULL) {
        pages_fini(&s->map);
    }
    blk_detach(&s->disk);
    free(s->pending);
    free(s->batch);
    free(s);
}

void dedup_unref(struct dedup *s)
{
    if (s != NULL && --s->users == 0) {
        if (!s->disk.disk->read_only) {
            (void)dedup_settle(s);
        }
        release(s);
    }
}

int dedup_open(struct blk *take_disk, struct dedup **ret_store, struct err *e)
{
    struct dedup *s = fault_calloc(1, sizeof *s);
    const char *label = take_disk->label;
    int r;

    if (s == NULL) {
        blk_drop(take_disk);
        return err_sys(e, -ENOMEM, "cannot open a store");
    }
    s->disk = (struct blk_edge){
        .user = "dedup",
        .uses = take_disk->read_only ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE,
        .lets = BLK_USE_ALL};
    s->users = 1;
    s->slot = (struct slot){
        .disk = take_disk, .bytes = PLACE_BYTES, .magic = MAGIC, .version = VERSION};
    r = blk_attach(&s->disk, take_disk, e);
    if (r != 0) {
        blk_drop(take_disk);
        free(s);
        return r;
    }
    r = start(s);
    if (r != 0) {
        r = err_sys(e, r, "cannot open the store on '%s'", label);
        release(s);
        return r;
    }
    *ret_store = s;
    return 0;
}

/* ---- making ---- */

int dedup_format(struct blk *disk, uint64_t logical_bytes, struct err *e)
{
    struct dedup *s = fault_calloc(1, sizeof *s);
    uint64_t size = blk_size(disk);
    uint64_t in;
    int r;

    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot make a store");
    }
    logical_bytes = logical_bytes != 0 ? logical_bytes : 4 * size;
    s->disk.disk = disk; /* borrowed, for sizes only */
    s->journal.bytes = JOURNAL_BYTES;
    place_parts(s);
    in = pages_entries_in(&s->entries);
    s->map.count = pages_needed(MAP_BYTES, logical_bytes / DEDUP_BLOCK_BYTES) +
                   DEDUP_VOLUMES_MOST; /* each volume begins with a page */
    s->data_at = JOURNAL_AT + JOURNAL_BYTES + s->map.count * PAGES_BYTES;
    s->entries.count = size > s->data_at
                           ? (size - s->data_at) / (PAGES_BYTES + in * DEDUP_BLOCK_BYTES)
                           : 0;
    s->slots = s->entries.count * in;
    s->data_at += s->entries.count * PAGES_BYTES;
    s->slot = (struct slot){
        .disk = disk, .bytes = PLACE_BYTES, .magic = MAGIC, .version = VERSION};
    r = s->slots == 0 ? -ENOSPC : 0;
    r = r == 0 && getrandom(&s->id, sizeof s->id, 0) != sizeof s->id ? -EIO : r;
    r = r == 0 ? blk_zero(disk, 0, s->data_at, BLK_FUA) : r;
    r = r == 0 ? store_super(s) : r;
    free(s);
    return r == 0 ? 0 : err_sys(e, r, "cannot make a store on '%s'", disk->label);
}

void dedup_status(const struct dedup *s, struct dedup_status *ret)
{
    *ret = (struct dedup_status){
        .blocks = s->slots,
        .logical = s->logical,
        .stored = s->stored,
        .saved = s->logical - s->stored,
        .damaged = s->damaged,
    };
}

/* ---- volumes ---- */

struct volume_row *dedup_row(struct dedup *s, const char *name)
{
    for (unsigned i = 0; i < s->rows; i++) {
        if (strcmp(s->row[i].name, name) == 0) {
            return &s->row[i];
        }
    }
    return NULL;
}

/* The first gap of whole pages in the map. */
static int find_gap(const struct dedup *s, uint64_t blocks, uint64_t *ret_first)
{
    uint64_t in = pages_entries_in(&s->map);
    uint64_t room = s->map.count * in;
    uint64_t first = 0;
    bool moved = true;

    while (moved) {
        moved = false;
        for (unsigned i = 0; i < s->rows; i++) {
            uint64_t end = s->row[i].first + s->row[i].blocks;

            if (first < end && s->row[i].first < first + blocks) {
                first = (end + in - 1) / in * in;
                moved = true;
            }
        }
    }
    if (first > room || blocks > room - first) {
        return -ENOSPC;
    }
    *ret_first = first;
    return 0;
}

int dedup_volume_add(struct dedup *s, const char *name, uint64_t size_bytes,
                     struct err *e)
{
    struct volume_row row = {.blocks = size_bytes / DEDUP_BLOCK_BYTES};
    int r = 0;

    (void)strncpy(row.name, name, sizeof row.name - 1);
    if (strlen(name) >= sizeof row.name || !name_is_right((const uint8_t *)row.name) ||
        size_bytes == 0 || size_bytes % DEDUP_BLOCK_BYTES != 0) {
        return err_set(e, -EINVAL, "cannot add volume '%s': bad name or size", name);
    }
    if (dedup_row(s, name) != NULL) {
        return err_set(e, -EEXIST, "cannot add volume '%s': it exists", name);
    }
    r = s->rows == DEDUP_VOLUMES_MOST ? -ENOSPC : find_gap(s, row.blocks, &row.first);
    if (r == 0) {
        s->row[s->rows++] = row;
        r = dedup_settle(s);
        s->rows -= r != 0;
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot add volume '%s'", name);
}

/* Whether the map has room for the row to be so long where it is. */
static bool fits_there(const struct dedup *s, const struct volume_row *row,
                       uint64_t blocks)
{
    uint64_t room = s->map.count * pages_entries_in(&s->map);

    if (row->first > room || blocks > room - row->first) {
        return false;
    }
    for (unsigned i = 0; i < s->rows; i++) {
        const struct volume_row *other = &s->row[i];

        if (other != row && other->first < row->first + blocks &&
            row->first < other->first + other->blocks) {
            return false;
        }
    }
    return true;
}

int dedup_row_resize(struct dedup *s, const char *name, uint64_t blocks)
{
    struct volume_row *row = dedup_row(s, name);
    uint64_t was = row->blocks;
    int r;

    if (!fits_there(s, row, blocks)) {
        return -ENOSPC;
    }
    row->blocks = blocks;
    r = dedup_settle(s);
    if (r != 0) {
        dedup_row(s, name)->blocks = was;
    }
    return r;
}

int dedup_volume_remove(struct dedup *s, const char *name, struct err *e)
{
    struct volume_row *row = dedup_row(s, name);
    int r = 0;

    if (row == NULL || row->open) {
        return err_set(e, row == NULL ? -ENOENT : -EBUSY, "cannot remove volume '%s'",
                       name);
    }
    row->open = true; /* nobody opens it meanwhile */
    for (uint64_t i = 0; r == 0 && i < row->blocks; i++) {
        r = dedup_point(s, row->first + i, NULL);
    }
    row = dedup_row(s, name); /* rows may have moved */
    row->open = false;
    if (r == 0) {
        struct volume_row was = *row;

        *row = s->row[--s->rows];
        r = dedup_settle(s);
        if (r != 0) {
            s->row[s->rows++] = was;
        }
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot remove volume '%s'", name);
}

const char *dedup_volume_name(const struct dedup *s, unsigned n, uint64_t *ret_size)
{
    if (n >= s->rows) {
        return NULL;
    }
    *ret_size = s->row[n].blocks * DEDUP_BLOCK_BYTES;
    return s->row[n].name;
}
