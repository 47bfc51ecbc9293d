/* rows.c - the directory: a hash table of sheets on the device.
 *
 * A row lies in the sheet that its name points to, or, where that was full, in one behind it;
 * a sheet that was ever full says so (`FLAG_OVERFLOWED`), which is where a search goes on. */
#include <errno.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/pool/carve_private.h"

#define FLAG_OVERFLOWED 1u

static uint32_t home(const struct place_store *s, uint64_t id, uint32_t part)
{
    uint64_t far = (id ^ (uint64_t)part << 56) * 0x9e3779b97f4a7c15u;

    return (uint32_t)((far >> 32) % s->rows.sheets);
}

int place_row_find(struct place_store *s, uint64_t id, uint32_t part,
                   uint32_t *ret_number, struct place_row *ret)
{
    SCOPED(scope_free) uint8_t *sheet = fault_aligned(4096, 4096);
    uint32_t at = home(s, id, part);

    if (sheet == NULL) {
        return -ENOMEM;
    }
    for (uint32_t tries = 0; tries < s->rows.sheets; tries++) {
        int r = place_sheets_read(s, &s->rows, at, 1, sheet);

        if (r != 0) {
            return r;
        }
        for (uint32_t i = 0; i < s->rows.per_sheet; i++) {
            struct place_row row = place_row_get(sheet, i);

            if (row.state != PLACE_ROW_FREE && row.id == id && row.part == part) {
                *ret_number = at * s->rows.per_sheet + i;
                *ret = row;
                return 0;
            }
        }
        if ((place_sheet_flags(s, sheet) & FLAG_OVERFLOWED) == 0) {
            return -ENOENT;
        }
        at = (at + 1) % s->rows.sheets;
    }
    return -ENOENT;
}

int place_row_read(struct place_store *s, uint32_t number, struct place_row *ret)
{
    SCOPED(scope_free) uint8_t *sheet = fault_aligned(4096, 4096);
    int r = sheet == NULL ? -ENOMEM : 0;

    r = r == 0 ? place_sheets_read(s, &s->rows, number / s->rows.per_sheet, 1, sheet) : r;
    if (r == 0) {
        *ret = place_row_get(sheet, number % s->rows.per_sheet);
    }
    return r;
}

struct put {
    uint32_t number; /* in its sheet */
    const struct place_row *row;
};

static int put_row(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    const struct put *p = arg;

    (void)s;
    (void)number;
    place_row_put(sheet, p->number, p->row);
    return 1;
}

int place_row_write(struct place_store *s, uint32_t number, const struct place_row *row)
{
    struct put p = {number % s->rows.per_sheet, row};
    struct place_change change = {put_row, &p};

    return place_sheets_change(s, &s->rows, number / s->rows.per_sheet, 1, &change);
}

int place_rows_visit(struct place_store *s,
                     int (*visit)(struct place_store *s, uint32_t number,
                                  const struct place_row *row, void *arg),
                     void *arg)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, PLACE_CHUNK_BYTES);
    uint32_t most = place_chunk_sheets(s);
    int r = text == NULL ? -ENOMEM : 0;

    for (uint32_t at = 0; r == 0 && at < s->rows.sheets; at += most) {
        uint32_t n = s->rows.sheets - at < most ? s->rows.sheets - at : most;

        r = place_sheets_read(s, &s->rows, at, n, text);
        for (uint32_t i = 0; r == 0 && i < n * s->rows.per_sheet; i++) {
            struct place_row row =
                place_row_get(text + (size_t)(i / s->rows.per_sheet) * s->sheet_bytes,
                              i % s->rows.per_sheet);

            if (row.state != PLACE_ROW_FREE) {
                r = visit(s, at * s->rows.per_sheet + i, &row, arg);
            }
        }
    }
    return r;
}

/* ---- new rows and gone ones ---- */

struct add {
    struct place_row row;
    bool placed;
};

static int add_row(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    struct add *a = arg;

    (void)number;
    for (uint32_t i = 0; i < s->rows.per_sheet; i++) {
        if (place_row_get(sheet, i).state == PLACE_ROW_FREE) {
            place_row_put(sheet, i, &a->row);
            a->placed = true;
            return 1;
        }
    }
    place_sheet_set_flags(s, sheet, FLAG_OVERFLOWED);
    return 1;
}

static int add_locked(struct place_store *s, uint64_t id, uint32_t part)
{
    struct add a = {
        .row = {.id = id, .part = (uint16_t)part, .state = PLACE_ROW_LIVE},
    };
    struct place_change change = {.sheet = add_row, .arg = &a};
    struct place_row old;
    uint32_t at = home(s, id, part);
    uint32_t number;
    int r = place_row_find(s, id, part, &number, &old);

    if (r == 0) {
        return -EEXIST;
    }
    r = r == -ENOENT ? 0 : r;
    for (uint32_t tries = 0; r == 0 && !a.placed; tries++) {
        if (tries == s->rows.sheets) {
            return -ENOSPC;
        }
        r = place_sheets_change(s, &s->rows, at, 1, &change);
        at = (at + 1) % s->rows.sheets;
    }
    return r == 0 ? blk_flush(s->disk.disk) : r;
}

int place_carve_add(struct place_store *s, uint64_t id, uint32_t part, struct err *e)
{
    int r = part > UINT16_MAX ? -EINVAL : place_room_lock(s);

    if (r == 0) {
        r = add_locked(s, id, part);
        place_room_unlock(s);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot add disk %016llx.%u to '%s'",
                            (unsigned long long)id, part, s->disk.disk->label);
}

/* First nobody can open it, then its extents go, then its name. */
static int remove_row(struct place_store *s, uint32_t number, struct place_row *row)
{
    int r = 0;

    if (row->state != PLACE_ROW_DYING) {
        row->state = PLACE_ROW_DYING;
        r = place_row_write(s, number, row);
        r = r == 0 ? blk_flush(s->disk.disk) : r;
    }
    r = r == 0 ? place_remove_entries(s, row) : r;
    r = r == 0 ? blk_flush(s->disk.disk) : r;
    if (r == 0) {
        r = place_row_write(s, number, &(struct place_row){0});
    }
    return r == 0 ? blk_flush(s->disk.disk) : r;
}

static bool is_open_here(const struct place_store *s, uint32_t number)
{
    for (const struct carve *c = s->open; c != NULL; c = c->next) {
        if (c->row_number == number) {
            return true;
        }
    }
    return false;
}

int place_row_remove_locked(struct place_store *s, uint32_t number, uint64_t id,
                            uint32_t part)
{
    uint64_t lock = place_lock_of(id, part);
    struct place_row row;
    int r = is_open_here(s, number) ? -EBUSY
                                    : place_lock_try(s, PLACE_LOCK_DISK, lock, 1, true);

    if (r != 0) {
        return r;
    }
    r = place_row_read(s, number, &row);
    if (r == 0 && (row.state == PLACE_ROW_FREE || row.id != id || row.part != part)) {
        r = -ENOENT;
    }
    r = r == 0 ? remove_row(s, number, &row) : r;
    place_lock_drop(s, PLACE_LOCK_DISK, lock, 1);
    return r;
}

int place_carve_remove(struct place_store *s, uint64_t id, uint32_t part, struct err *e)
{
    struct place_row row;
    uint32_t number;
    int r = place_room_lock(s);

    if (r == 0) {
        r = place_row_find(s, id, part, &number, &row);
        r = r == 0 ? place_row_remove_locked(s, number, id, part) : r;
        place_room_unlock(s);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot remove disk %016llx.%u of '%s'",
                            (unsigned long long)id, part, s->disk.disk->label);
}
