/* tests/fuzz/pages.h - hostile content in the sealed pages of a filter's store.
 *
 * An input is a row of patches: a byte with the number of the page, two with the place in
 * it, one with the count of bytes, the bytes.  A page is sealed again afterwards, or its
 * sum would keep all of this out; bit 7 of the count leaves the seal broken. */
#ifndef TESTS_FUZZ_PAGES_H
#define TESTS_FUZZ_PAGES_H

#include <string.h>

#include "contract/blk.h"
#include "resource/storage/filter/page.h"
#include "resource/storage/safe/bytes.h"

#define PAGES_HEAD_BYTES 4u

/* The place of the n-th page of a store that is patched. */
typedef uint64_t pages_place(uint8_t number);

static inline void pages_patch_one(struct blk *store, uint64_t off, const uint8_t *patch,
                                   size_t bytes)
{
    char page[FILTER_PAGE_BYTES];
    size_t at = (patch[1] | patch[2] << 8) % FILTER_PAGE_BYTES;

    if (off + sizeof page > blk_size(store) ||
        blk_read(store, page, sizeof page, off) != 0) {
        return;
    }
    if (bytes > sizeof page - at) {
        bytes = sizeof page - at;
    }
    memcpy(page + at, patch + PAGES_HEAD_BYTES, bytes);
    if ((patch[3] & 0x80) == 0) {
        struct filter_page_mark mark = {bytes_get32(page), bytes_get64(page + 8),
                                        bytes_get64(page + 16)};

        filter_page_seal(page, &mark);
    }
    (void)blk_write(store, page, sizeof page, off, 0);
}

/* In a strand. */
static inline void pages_patch(struct blk *store, pages_place *place, const uint8_t *data,
                               size_t size)
{
    while (size > PAGES_HEAD_BYTES) {
        size_t n = data[3] & 0x7f;

        n = n < size - PAGES_HEAD_BYTES ? n : size - PAGES_HEAD_BYTES;
        pages_patch_one(store, place(data[0]), data, n);
        data += PAGES_HEAD_BYTES + n;
        size -= PAGES_HEAD_BYTES + n;
    }
}

#endif
