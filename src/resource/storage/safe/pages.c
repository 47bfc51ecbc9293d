/* pages.c - a hash of pages, the least recently used at one end of a list.
 *
 * A page that is pinned, changed or being read stays.  A damaged sheet is written back
 * damaged, so that it is not taken for a good one later. */
#include "resource/storage/safe/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/safe/bytes.h"

#define SHEET_BYTES 512u
#define CHAINS      1024u

int pages_init(struct pages *p)
{
    p->chains = CHAINS;
    p->chain = fault_calloc(p->chains, sizeof(struct page *));
    return p->chain == NULL ? -ENOMEM : 0;
}

static struct page **place_of(struct pages *p, uint64_t index)
{
    return &p->chain[(index ^ index >> 10) & (p->chains - 1)];
}

/* ---- the list ---- */

static void unlink_used(struct pages *p, struct page *page)
{
    *(page->newer != NULL ? &page->newer->older : &p->newest) = page->older;
    *(page->older != NULL ? &page->older->newer : &p->oldest) = page->newer;
}

static void link_newest(struct pages *p, struct page *page)
{
    page->newer = NULL;
    page->older = p->newest;
    *(p->newest != NULL ? &p->newest->newer : &p->oldest) = page;
    p->newest = page;
}

static void forget(struct pages *p, struct page *page)
{
    struct page **at = place_of(p, page->index);

    while (*at != page) {
        at = &(*at)->next;
    }
    *at = page->next;
    unlink_used(p, page);
    p->held--;
    free(page);
}

static void make_room(struct pages *p)
{
    struct page *page = p->oldest;

    while (page != NULL && p->held > p->most) {
        struct page *newer = page->newer;

        if (page->pins == 0 && !page->changed) {
            forget(p, page);
        }
        page = newer;
    }
}

void pages_fini(struct pages *p)
{
    while (p->oldest != NULL) {
        forget(p, p->oldest);
    }
    free(p->chain);
    p->chain = NULL;
}

/* ---- entries ---- */

static unsigned per_sheet(unsigned entry)
{
    return PAGES_ROOM / entry;
}

uint64_t pages_entries_in(const struct pages *p)
{
    return (uint64_t)PAGES_SHEETS * per_sheet(p->entry);
}

uint64_t pages_needed(unsigned entry, uint64_t entries)
{
    uint64_t in = (uint64_t)PAGES_SHEETS * per_sheet(entry);

    return (entries + in - 1) / in;
}

unsigned pages_sheet(const struct pages *p, uint64_t entry)
{
    return (unsigned)(entry % pages_entries_in(p) / per_sheet(p->entry));
}

uint8_t *pages_entry_raw(const struct pages *p, struct page *page, uint64_t entry)
{
    return page->text + (size_t)pages_sheet(p, entry) * SHEET_BYTES +
           entry % per_sheet(p->entry) * p->entry;
}

uint8_t *pages_entry(const struct pages *p, struct page *page, uint64_t entry)
{
    return (page->bad >> pages_sheet(p, entry) & 1) != 0
               ? NULL
               : pages_entry_raw(p, page, entry);
}

void pages_change(struct pages *p, struct page *page)
{
    p->changed += !page->changed;
    page->changed = true;
}

/* ---- the disk ---- */

static void judge_sheets(struct page *page)
{
    static const uint8_t never_written[SHEET_BYTES];

    for (unsigned i = 0; i < PAGES_SHEETS; i++) {
        const uint8_t *sheet = page->text + (size_t)i * SHEET_BYTES;

        if (bytes_get32(sheet + PAGES_ROOM) != crc32c(0, sheet, PAGES_ROOM) &&
            memcmp(sheet, never_written, SHEET_BYTES) != 0) {
            page->bad |= 1u << i;
        }
    }
}

static int load(struct pages *p, struct page *page)
{
    int r;

    page->loading = true;
    r = blk_read(p->disk, page->text, PAGES_BYTES, p->at + page->index * PAGES_BYTES);
    if (r == 0) {
        judge_sheets(page);
    }
    page->loading = false;
    page->result = r;
    (void)strand_wake_all(&page->waiters);
    return r;
}

static struct page *find(struct pages *p, uint64_t index)
{
    struct page *page = *place_of(p, index);

    while (page != NULL && page->index != index) {
        page = page->next;
    }
    return page;
}

int pages_take(struct pages *p, uint64_t entry, struct page **ret)
{
    uint64_t index = entry / pages_entries_in(p);
    struct page *page = find(p, index);
    int r = 0;

    if (index >= p->count) {
        return -ERANGE;
    }
    if (page == NULL) {
        page = fault_aligned(64, (sizeof *page + 63) & ~(size_t)63);
        if (page == NULL) {
            return -ENOMEM;
        }
        page->index = index;
        page->next = *place_of(p, index);
        *place_of(p, index) = page;
        link_newest(p, page);
        p->held++;
        page->pins = 1;
        r = load(p, page);
    } else {
        page->pins++;
        unlink_used(p, page);
        link_newest(p, page);
        while (page->loading) {
            strand_wait(p->disk->strands, &page->waiters);
        }
        r = page->result;
    }
    if (r != 0) {
        page->pins--;
        if (page->pins == 0) {
            forget(p, page);
        }
        return r;
    }
    *ret = page;
    return 0;
}

void pages_give(struct pages *p, struct page *page)
{
    page->pins--;
    if (p->held > p->most) {
        make_room(p);
    }
}

static int store(struct pages *p, struct page *page)
{
    for (unsigned i = 0; i < PAGES_SHEETS; i++) {
        uint8_t *sheet = page->text + (size_t)i * SHEET_BYTES;
        uint32_t damage = (page->bad >> i & 1) != 0 ? 0xffffffff : 0;

        bytes_put32(sheet + PAGES_ROOM, crc32c(0, sheet, PAGES_ROOM) ^ damage);
    }
    return blk_write(p->disk, page->text, PAGES_BYTES, p->at + page->index * PAGES_BYTES,
                     0);
}

/* Once over the list.  Others take pages meanwhile, which moves them in it. */
static int store_round(struct pages *p)
{
    int r = 0;

    for (struct page *page = p->newest; r == 0 && page != NULL;) {
        struct page *next;

        page->pins++;
        if (page->changed) {
            r = store(p, page);
            if (r == 0) {
                page->changed = false;
                p->changed--;
            }
        }
        next = page->older;
        page->pins--;
        page = next;
    }
    return r;
}

int pages_store(struct pages *p)
{
    int r = 0;

    while (r == 0 && p->changed > 0) {
        r = store_round(p);
    }
    make_room(p);
    return r;
}
