/* page.c - a direct-mapped cache of pages of a file. */
#include "resource/storage/format/page.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/format/run.h"

struct format_page {
    uint64_t number; /* UINT64_MAX: being filled */
    char bytes[FORMAT_PAGE_BYTES];
};

/* The last page of a file may be short; the rest of it is zeros. */
static int fill(struct format_pages *p, struct format_page *page, uint64_t number)
{
    uint64_t at = number * FORMAT_PAGE_BYTES;
    uint64_t size = blk_size(p->file);
    uint64_t bytes = FORMAT_PAGE_BYTES;
    int r;

    if (at >= size) {
        return -EUCLEAN;
    }
    if (bytes > size - at) {
        bytes = size - at;
        memset(page->bytes + bytes, 0, FORMAT_PAGE_BYTES - (size_t)bytes);
    }
    page->number = UINT64_MAX;
    r = p->load != NULL ? p->load(p, page->bytes, bytes, at)
                        : format_read_meta(p->file, page->bytes, bytes, at);
    if (r == 0) {
        page->number = number;
    }
    return r;
}

static int bring_in(struct format_pages *p, struct format_page **slot, uint64_t number)
{
    int r = 0;

    strand_lock(p->file->strands, &p->lock);
    if (*slot == NULL) {
        *slot = fault_malloc(sizeof **slot);
        if (*slot != NULL) {
            (*slot)->number = UINT64_MAX;
        }
    }
    if (*slot == NULL) {
        r = -ENOMEM;
    } else if ((*slot)->number != number) {
        r = fill(p, *slot, number);
    }
    strand_unlock(&p->lock);
    return r;
}

int format_page_copy(struct format_pages *p, void *to, uint32_t bytes, uint64_t at)
{
    uint64_t number = at / FORMAT_PAGE_BYTES;
    uint32_t inside = (uint32_t)(at % FORMAT_PAGE_BYTES);
    struct format_page **slot = &p->slot[number % FORMAT_PAGE_SLOTS];

    assert(inside + bytes <= FORMAT_PAGE_BYTES);
    while (*slot == NULL || (*slot)->number != number) {
        int r = bring_in(p, slot, number);

        if (r != 0) {
            return r;
        }
    }
    memcpy(to, (*slot)->bytes + inside, bytes);
    return 0;
}

void format_pages_fini(struct format_pages *p)
{
    for (unsigned i = 0; i < FORMAT_PAGE_SLOTS; i++) {
        free(p->slot[i]);
    }
}
