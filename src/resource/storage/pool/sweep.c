/* sweep.c - what the dead left behind.
 *
 * Disks whose removal was begun are removed; entries set aside for a disk that nobody has open
 * for writing are free again; what is free is counted.  The room is locked all the while.
 * Who opens a disk for writing looks at its entries under that lock too, so an entry is either
 * swept or found, not both. */
#include <errno.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/pool/carve_private.h"

struct sweep {
    uint64_t free;
    uint64_t id; /* the disk that was looked up last */
    uint32_t part;
    bool known;
    bool alive;
    int result; /* of looking up */
};

static bool is_open_here(const struct place_store *s, uint64_t id, uint32_t part)
{
    for (const struct carve *c = s->open; c != NULL; c = c->next) {
        if (c->row.id == id && c->row.part == part) {
            return true;
        }
    }
    return false;
}

static bool is_alive(struct place_store *s, const struct place_entry *entry,
                     struct sweep *w)
{
    struct place_row row;
    uint32_t number;
    int r;

    if (w->known && w->id == entry->id && w->part == entry->part) {
        return w->alive;
    }
    w->known = true;
    w->id = entry->id;
    w->part = entry->part;
    w->alive = is_open_here(s, entry->id, entry->part);
    if (!w->alive) {
        r = place_row_find(s, entry->id, entry->part, &number, &row);
        w->alive = r == 0 ? place_lock_is_held(s, PLACE_LOCK_DISK,
                                               place_lock_of(entry->id, entry->part))
                          : r != -ENOENT;
    }
    return w->alive;
}

/* The names are looked up before the sheet is locked for the change. */
struct dead {
    uint8_t bits[4096 / PLACE_ENTRY_BYTES / 8 + 1];
};

static int free_dead(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    const struct dead *d = arg;
    int changed = 0;

    (void)number;
    for (uint32_t i = 0; i < s->table.per_sheet; i++) {
        if ((d->bits[i / 8] & (1u << (i % 8))) != 0 &&
            place_entry_get(sheet, i).state == PLACE_ENTRY_RESERVED) {
            place_entry_put(sheet, i, &(struct place_entry){0});
            changed = 1;
        }
    }
    return changed;
}

static int sweep_sheet(struct place_store *s, const uint8_t *sheet, uint32_t number,
                       struct sweep *w)
{
    struct dead dead = {{0}};
    struct place_change change = {.sheet = free_dead, .arg = &dead};
    unsigned found = 0;

    for (uint32_t i = 0; i < s->table.per_sheet; i++) {
        struct place_entry entry = place_entry_get(sheet, i);

        if (number * s->table.per_sheet + i >= s->extents) {
            break;
        }
        if (entry.state == PLACE_ENTRY_FREE) {
            w->free++;
        } else if (entry.state == PLACE_ENTRY_RESERVED && !is_alive(s, &entry, w)) {
            dead.bits[i / 8] |= (uint8_t)(1u << (i % 8));
            found++;
        }
    }
    w->free += found;
    return found > 0 ? place_sheets_change(s, &s->table, number, 1, &change) : 0;
}

static int sweep_table(struct place_store *s, struct sweep *w)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, PLACE_CHUNK_BYTES);
    uint32_t most = place_chunk_sheets(s);
    int r = text == NULL ? -ENOMEM : 0;

    for (uint32_t at = 0; r == 0 && at < s->table.sheets; at += most) {
        uint32_t n = s->table.sheets - at < most ? s->table.sheets - at : most;

        r = place_sheets_read(s, &s->table, at, n, text);
        if (r == 0) {
            for (uint32_t i = 0; r == 0 && i < n; i++) {
                r = sweep_sheet(s, text + (size_t)i * s->sheet_bytes, at + i, w);
            }
        } else if (r == -EUCLEAN) { /* what is damaged is not free */
            r = 0;
            for (uint32_t i = 0; r == 0 && i < n; i++) {
                r = place_sheets_read(s, &s->table, at + i, 1, text);
                r = r == 0 ? sweep_sheet(s, text, at + i, w) : r == -EUCLEAN ? 0 : r;
            }
        }
    }
    return r;
}

static int finish_removal(struct place_store *s, uint32_t number,
                          const struct place_row *row, void *arg)
{
    int r;

    (void)arg;
    if (row->state != PLACE_ROW_DYING) {
        return 0;
    }
    r = place_row_remove_locked(s, number, row->id, row->part);
    return r == -EBUSY || r == -ENOENT ? 0 : r;
}

int place_sweep_locked(struct place_store *s)
{
    struct sweep w = {0};
    int r = place_rows_visit(s, finish_removal, NULL);

    r = r == 0 || r == -EUCLEAN ? place_room_will_release(s) : r;
    r = r == 0 ? sweep_table(s, &w) : r;
    r = r == 0 ? place_room_set(s, w.free, false) : r;
    s->miscounted = r != 0;
    return r;
}

int place_store_sweep(struct place_store *s)
{
    int r = place_room_lock(s);

    if (r == 0) {
        r = place_sweep_locked(s);
        s->unsettled = s->unsettled || r == 0;
        place_room_unlock(s);
    }
    return r;
}
