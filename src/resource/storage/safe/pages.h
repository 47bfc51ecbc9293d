/* pages.h - a table of small entries on a disk, with a part of it in memory.
 *
 * The table is in pages of eight sheets; a sheet has 508 bytes of entries and their
 * checksum, and no entry lies across two sheets.  Changed pages stay in memory until
 * their owner writes them; he journals the changes (safe/journal.h), since a power cut may
 * leave some sheets old and others new.  A sheet that was never written reads zeros. */
#ifndef RESOURCE_STORAGE_SAFE_PAGES_H
#define RESOURCE_STORAGE_SAFE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strand.h"

struct blk;

#define PAGES_BYTES  4096
#define PAGES_SHEETS 8
#define PAGES_ROOM   508 /* bytes of entries in a sheet */

struct page {
    uint64_t index;
    uint8_t text[PAGES_BYTES]; /* as on the disk, checksums to be made */
    unsigned bad;              /* bits of sheets that were read damaged */
    unsigned pins;
    bool changed;
    bool loading;
    int result; /* of loading */
    struct strand_queue waiters;
    struct page *next; /* in its chain */
    struct page *newer;
    struct page *older;
};

struct pages {
    struct blk *disk; /* borrowed */
    uint64_t at;      /* of the table */
    uint64_t count;   /* of pages */
    unsigned entry;   /* bytes of an entry */
    unsigned most;    /* pages kept when nobody needs them */

    /* Of the pages; zeroed before `pages_init`. */
    struct page **chain; /* owned */
    unsigned chains;     /* a power of two */
    unsigned held;
    unsigned changed;
    struct page *newest;
    struct page *oldest;
};

int pages_init(struct pages *p);
void pages_fini(struct pages *p); /* changed pages are forgotten */

uint64_t pages_entries_in(const struct pages *p); /* of one page */
uint64_t pages_needed(unsigned entry, uint64_t entries);

/* The page of an entry; pinned until `pages_give`.  In a strand. */
int pages_take(struct pages *p, uint64_t entry, struct page **ret);
void pages_give(struct pages *p, struct page *page);

/* The bytes of an entry in its page; NULL: its sheet is damaged. */
uint8_t *pages_entry(const struct pages *p, struct page *page, uint64_t entry);

/* The same, damaged or not: to make a damaged sheet anew. */
uint8_t *pages_entry_raw(const struct pages *p, struct page *page, uint64_t entry);
unsigned pages_sheet(const struct pages *p, uint64_t entry); /* its sheet in the page */

void pages_change(struct pages *p, struct page *page); /* it was changed */

/* Write all changed pages; nobody changes any meanwhile.  Not flushed. */
int pages_store(struct pages *p);

#endif
