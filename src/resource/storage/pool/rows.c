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

static uint32_t home(const struct pool_store *s, uint64_t id, uint32_t part)
{
    uint64_t far = (id ^ (uint64_t)part << 56) * 0x9e3779b97f4a7c15u;

    return (uint32_t)((far >> 32) % s->rows.sheets);
}

int pool_row_find(struct pool_store *s, uint64_t id, uint32_t part, uint32_t *ret_number,
                  struct pool_row *ret)
{
    SCOPED(scope_free) uint8_t *sheet = fault_aligned(4096, 4096);
    uint32_t at = home(s, id, part);

    if (sheet == NULL) {
        return -ENOMEM;
    }
    for (uint32_t tries = 0; tries < s->rows.sheets; tries++) {
        int r = pool_sheets_read(s, &s->rows, at, 1, sheet);

        if (r != 0) {
            return r;
        }
        for (uint32_t i = 0; i < s->rows.per_sheet; i++) {
            struct pool_row row = pool_row_get(sheet, i);

            if (row.state != POOL_ROW_FREE && row.id == id && row.part == part) {
                *ret_number = at * s->rows.per_sheet + i;
                *ret = row;
                return 0;
            }
        }
        if ((pool_sheet_flags(s, sheet) & FLAG_OVERFLOWED) == 0) {
            return -ENOENT;
        }
        at = (at + 1) % s->rows.sheets;
    }
    return -ENOENT;
}

int pool_row_read(struct pool_store *s, uint32_t number, struct pool_row *ret)
{
    SCOPED(scope_free) uint8_t *sheet = fault_aligned(4096, 4096);
    int r = sheet == NULL ? -ENOMEM : 0;

    r = r == 0 ? pool_sheets_read(s, &s->rows, number / s->rows.per_sheet, 1, sheet) : r;
    if (r == 0) {
        *ret = pool_row_get(sheet, number % s->rows.per_sheet);
    }
    return r;
}

struct put {
    uint32_t number; /* in its sheet */
    const struct pool_row *row;
};

static int put_row(struct pool_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    const struct put *p = arg;

    (void)s;
    (void)number;
    pool_row_put(sheet, p->number, p->row);
    return 1;
}

int pool_row_write(struct pool_store *s, uint32_t number, const struct pool_row *row)
{
    struct put p = {number % s->rows.per_sheet, row};
    struct pool_change change = {put_row, &p};

    return pool_sheets_change(s, &s->rows, number / s->rows.per_sheet, 1, &change);
}

int pool_rows_visit(struct pool_store *s,
                    int (*visit)(struct pool_store *s, uint32_t number,
                                 const struct pool_row *row, void *arg),
                    void *arg)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, POOL_CHUNK_BYTES);
    uint32_t most = pool_chunk_sheets(s);
    int r = text == NULL ? -ENOMEM : 0;

    for (uint32_t at = 0; r == 0 && at < s->rows.sheets; at += most) {
        uint32_t n = s->rows.sheets - at < most ? s->rows.sheets - at : most;

        r = pool_sheets_read(s, &s->rows, at, n, text);
        for (uint32_t i = 0; r == 0 && i < n * s->rows.per_sheet; i++) {
            struct pool_row row =
                pool_row_get(text + (size_t)(i / s->rows.per_sheet) * s->sheet_bytes,
                             i % s->rows.per_sheet);

            if (row.state != POOL_ROW_FREE) {
                r = visit(s, at * s->rows.per_sheet + i, &row, arg);
            }
        }
    }
    return r;
}

/* ---- new rows and gone ones ---- */

struct add {
    struct pool_row row;
    bool placed;
};

static int add_row(struct pool_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    struct add *a = arg;

    (void)number;
    for (uint32_t i = 0; i < s->rows.per_sheet; i++) {
        if (pool_row_get(sheet, i).state == POOL_ROW_FREE) {
            pool_row_put(sheet, i, &a->row);
            a->placed = true;
            return 1;
        }
    }
    pool_sheet_set_flags(s, sheet, FLAG_OVERFLOWED);
    return 1;
}

static int add_locked(struct pool_store *s, uint64_t id, uint32_t part)
{
    struct add a = {
        .row = {.id = id, .part = (uint16_t)part, .state = POOL_ROW_LIVE},
    };
    struct pool_change change = {.sheet = add_row, .arg = &a};
    struct pool_row old;
    uint32_t at = home(s, id, part);
    uint32_t number;
    int r = pool_row_find(s, id, part, &number, &old);

    if (r == 0) {
        return -EEXIST;
    }
    r = r == -ENOENT ? 0 : r;
    for (uint32_t tries = 0; r == 0 && !a.placed; tries++) {
        if (tries == s->rows.sheets) {
            return -ENOSPC;
        }
        r = pool_sheets_change(s, &s->rows, at, 1, &change);
        at = (at + 1) % s->rows.sheets;
    }
    return r == 0 ? blk_flush(s->disk.disk) : r;
}

int pool_carve_add(struct pool_store *s, uint64_t id, uint32_t part, struct err *e)
{
    int r = part > UINT16_MAX ? -EINVAL : pool_room_lock(s);

    if (r == 0) {
        r = add_locked(s, id, part);
        pool_room_unlock(s);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot add disk %016llx.%u to '%s'",
                            (unsigned long long)id, part, s->disk.disk->label);
}

/* First nobody can open it, then its extents go, then its name. */
static int remove_row(struct pool_store *s, uint32_t number, struct pool_row *row)
{
    int r = 0;

    if (row->state != POOL_ROW_DYING) {
        row->state = POOL_ROW_DYING;
        r = pool_row_write(s, number, row);
        r = r == 0 ? blk_flush(s->disk.disk) : r;
    }
    r = r == 0 ? pool_remove_entries(s, row) : r;
    r = r == 0 ? blk_flush(s->disk.disk) : r;
    if (r == 0) {
        r = pool_row_write(s, number, &(struct pool_row){0});
    }
    return r == 0 ? blk_flush(s->disk.disk) : r;
}

static bool is_open_here(const struct pool_store *s, uint32_t number)
{
    for (const struct carve *c = s->open; c != NULL; c = c->next) {
        if (c->row_number == number) {
            return true;
        }
    }
    return false;
}

int pool_row_remove_locked(struct pool_store *s, uint32_t number, uint64_t id,
                           uint32_t part)
{
    uint64_t lock = pool_lock_of(id, part);
    struct pool_row row;
    int r = is_open_here(s, number) ? -EBUSY
                                    : pool_lock_try(s, POOL_LOCK_DISK, lock, 1, true);

    if (r != 0) {
        return r;
    }
    r = pool_row_read(s, number, &row);
    if (r == 0 && (row.state == POOL_ROW_FREE || row.id != id || row.part != part)) {
        r = -ENOENT;
    }
    r = r == 0 ? remove_row(s, number, &row) : r;
    pool_lock_drop(s, POOL_LOCK_DISK, lock, 1);
    return r;
}

int pool_carve_remove(struct pool_store *s, uint64_t id, uint32_t part, struct err *e)
{
    struct pool_row row;
    uint32_t number;
    int r = pool_room_lock(s);

    if (r == 0) {
        r = pool_row_find(s, id, part, &number, &row);
        r = r == 0 ? pool_row_remove_locked(s, number, id, part) : r;
        pool_room_unlock(s);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot remove disk %016llx.%u of '%s'",
                            (unsigned long long)id, part, s->disk.disk->label);
}
