/* page.h - the parts of a file's tables that were looked at last.
 *
 * Tables of foreign images may be as large as their files; what is held of them is
 * bounded.  A page may be replaced whenever its strand waits, so entries are copied
 * out. */
#ifndef RESOURCE_STORAGE_FORMAT_PAGE_H
#define RESOURCE_STORAGE_FORMAT_PAGE_H

#include <stdint.h>

#include "base/strand.h"

#define FORMAT_PAGE_BYTES 4096
#define FORMAT_PAGE_SLOTS 1024 /* 4 MiB */

struct blk;

struct format_page;

/* Zeroed but for `file` and `load`: empty. */
struct format_pages {
    struct blk *file; /* borrowed */

    /* Reads a part of the file; NULL: `format_read_meta`. */
    int (*load)(struct format_pages *p, void *to, uint64_t bytes, uint64_t at);
    struct strand_lock lock;
    struct format_page *slot[FORMAT_PAGE_SLOTS]; /* owned */
};

/* Copy [at, at + bytes), which lies in one page: an entry of a table. */
int format_page_copy(struct format_pages *p, void *to, uint32_t bytes, uint64_t at);

void format_pages_fini(struct format_pages *p);

#endif
