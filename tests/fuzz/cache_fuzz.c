/* cache_fuzz.c - a cache opens whatever its store has, or says why not, and serves
 * requests or answers with errors. */
#include <stdlib.h>

#include "base/err.h"
#include "resource/storage/cache/cache.h"
#include "tests/fuzz/two_disks.h"

#define SIZE_BYTES  (256u * 1024)
#define STORE_BYTES (256u * 1024)

static uint64_t place(uint8_t number)
{
    return number == 0 ? 0 : 4096 + (number - 1u) % 5 * 512; /* the head, the index */
}

static int run(void *arg)
{
    struct two_disks *in = arg;
    struct blk *base = two_disks_memory(in, 0, SIZE_BYTES);
    struct blk *store = two_disks_memory(in, 1, STORE_BYTES);
    struct cache_options o = {
        .fresh = true, .write_back = true, .leave_dirty = true, .line_bytes = 4096};
    struct blk *disk = NULL;
    struct err e = {0};

    if (cache_create(base, store, &o, &disk, &e) != 0) {
        abort();
    }
    two_disks_use(disk, NULL);
    pages_patch(store, place, in->data, in->size);
    o.fresh = false;
    o.write_back = in->size % 2 == 0;
    if (cache_create(base, store, &o, &disk, &e) == 0) {
        two_disks_use(disk, NULL);
    } else if (e.text[0] == '\0') {
        abort();
    }
    blk_detach(&in->keep[0]);
    blk_detach(&in->keep[1]);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return two_disks_fuzz(run, data, size);
}
