/* page.c - sealed pages.
 *
 *     0      4      8        16         24         32          512
 *     | kind | sum  | life   | number   | 0        | content    |
 *
 * `sum` is the CRC-32C of the page with 0 in its place. */
#include "resource/storage/filter/page.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk.h"
#include "resource/storage/safe/bytes.h"

#define HEAD_BYTES (FILTER_PAGE_BYTES - FILTER_PAGE_ROOM)
#define UNITS_MOST 16u /* in one request */

char *filter_page_room(char *page)
{
    return page + HEAD_BYTES;
}

static uint32_t sum_of(const char *page)
{
    static const char none[4];
    uint32_t sum = crc32c(0, page, 4);

    sum = crc32c(sum, none, sizeof none);
    return crc32c(sum, page + 8, FILTER_PAGE_BYTES - 8);
}

void filter_page_seal(char *page, const struct filter_page_mark *mark)
{
    bytes_put32(page, mark->kind);
    bytes_put64(page + 8, mark->life);
    bytes_put64(page + 16, mark->number);
    bytes_put64(page + 24, 0);
    bytes_put32(page + 4, sum_of(page));
}

static bool is_zero(const char *page)
{
    static const char zeros[FILTER_PAGE_BYTES];

    return memcmp(page, zeros, sizeof zeros) == 0;
}

int filter_page_check(const char *page, const struct filter_page_mark *mark)
{
    if (bytes_get32(page + 4) != sum_of(page)) {
        return is_zero(page) ? 0 : -EUCLEAN;
    }
    if (bytes_get32(page) != mark->kind) {
        return -EUCLEAN;
    }
    if (bytes_get64(page + 8) != mark->life) {
        return 0;
    }
    return bytes_get64(page + 16) == mark->number ? 1 : -EUCLEAN;
}

int filter_page_new_life(uint64_t *ret_life)
{
    uint64_t life = 0;

    while (life == 0) {
        if (getrandom(&life, sizeof life, 0) != (ssize_t)sizeof life) {
            return -EIO;
        }
    }
    *ret_life = life;
    return 0;
}

/* ---- areas ---- */

static uint64_t units_of(uint64_t pages)
{
    return (pages + FILTER_PAGE_UNIT_PAGES - 1) / FILTER_PAGE_UNIT_PAGES;
}

uint64_t filter_page_area_bytes(uint64_t count)
{
    return units_of(count) * FILTER_PAGE_UNIT_BYTES;
}

static struct filter_page_mark mark_of(const struct filter_page_area *a, uint64_t number)
{
    return (struct filter_page_mark){a->kind, a->life, number};
}

static int take_units(const struct filter_page_area *a, uint64_t first, uint64_t units,
                      char *room,
                      int (*take)(void *arg, uint64_t number, const char *room),
                      void *arg)
{
    uint64_t end = (first + units) * FILTER_PAGE_UNIT_PAGES;

    end = end < a->count ? end : a->count;
    for (uint64_t i = first * FILTER_PAGE_UNIT_PAGES; i < end; i++) {
        struct filter_page_mark mark = mark_of(a, i);
        int r = filter_page_check(room, &mark);

        r = r == 1 ? take(arg, i, filter_page_room(room)) : r;
        if (r != 0) {
            return r;
        }
        room += FILTER_PAGE_BYTES;
    }
    return 0;
}

int filter_page_load(const struct filter_page_area *a,
                     int (*take)(void *arg, uint64_t number, const char *room), void *arg)
{
    SCOPED(scope_free) char *room = fault_malloc(UNITS_MOST * FILTER_PAGE_UNIT_BYTES);
    uint64_t units = units_of(a->count);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint64_t u = 0; r == 0 && u < units; u += UNITS_MOST) {
        uint64_t n = units - u < UNITS_MOST ? units - u : UNITS_MOST;

        r = blk_read(a->disk, room, (size_t)n * FILTER_PAGE_UNIT_BYTES,
                     a->off + u * FILTER_PAGE_UNIT_BYTES);
        if (r == 0) {
            r = take_units(a, u, n, room, take, arg);
        }
    }
    return r;
}

int filter_page_clear(struct blk *disk, uint64_t off, uint64_t bytes)
{
    uint64_t size = blk_size(disk);

    if (off >= size) {
        return 0;
    }
    return blk_zero(disk, off, bytes < size - off ? bytes : size - off, BLK_UNMAP);
}

/* The bits of the pages of one unit: they lie in one word. */
static uint64_t unit_mask(uint64_t unit)
{
    return (uint64_t)0xff << unit * FILTER_PAGE_UNIT_PAGES % 64;
}

static bool unit_is_dirty(const uint64_t *dirty, uint64_t unit)
{
    return (dirty[unit * FILTER_PAGE_UNIT_PAGES / 64] & unit_mask(unit)) != 0;
}

static void make_unit(const struct filter_page_area *a, uint64_t unit, char *room,
                      void (*fill)(void *arg, uint64_t number, char *room), void *arg)
{
    memset(room, 0, FILTER_PAGE_UNIT_BYTES);
    for (uint64_t i = 0; i < FILTER_PAGE_UNIT_PAGES; i++) {
        uint64_t number = unit * FILTER_PAGE_UNIT_PAGES + i;
        struct filter_page_mark mark = mark_of(a, number);

        if (number < a->count) {
            fill(arg, number, filter_page_room(room));
            filter_page_seal(room, &mark);
        }
        room += FILTER_PAGE_BYTES;
    }
}

int filter_page_store(const struct filter_page_area *a, uint64_t *dirty,
                      void (*fill)(void *arg, uint64_t number, char *room), void *arg)
{
    SCOPED(scope_free) char *room = fault_malloc(UNITS_MOST * FILTER_PAGE_UNIT_BYTES);
    uint64_t units = units_of(a->count);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint64_t u = 0; r == 0 && u < units; u++) {
        uint64_t first = u;
        uint64_t n = 0;

        while (u < units && n < UNITS_MOST && unit_is_dirty(dirty, u)) {
            dirty[u * FILTER_PAGE_UNIT_PAGES / 64] &= ~unit_mask(u);
            make_unit(a, u, room + n * FILTER_PAGE_UNIT_BYTES, fill, arg);
            n++;
            u++;
        }
        if (n == 0) {
            continue;
        }
        r = blk_write(a->disk, room, (size_t)n * FILTER_PAGE_UNIT_BYTES,
                      a->off + first * FILTER_PAGE_UNIT_BYTES, 0);
        for (uint64_t i = first; r != 0 && i < u; i++) {
            dirty[i * FILTER_PAGE_UNIT_PAGES / 64] |= unit_mask(i);
        }
        u--; /* the loop looks at the one behind */
    }
    return r;
}
