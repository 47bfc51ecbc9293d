/* tier_fuzz.c - tiers open whatever the fast disk has, or says why not, and serve
 * requests or answer with errors. */
#include <stdlib.h>

#include "base/err.h"
#include "resource/storage/filter/tier.h"
#include "tests/fuzz/two_disks.h"

#define SIZE_BYTES  (256u * 1024)
#define STORE_BYTES (512u * 1024)

static uint64_t place(uint8_t number)
{
    return number % 2 * 4096u; /* the head, the first page of the map */
}

static void more(struct blk *disk)
{
    (void)filter_tier_balance(disk, 4);
}

static int run(void *arg)
{
    struct two_disks *in = arg;
    struct blk *slow = two_disks_memory(in, 0, SIZE_BYTES);
    struct blk *fast = two_disks_memory(in, 1, STORE_BYTES);
    struct filter_tier_options o = {.fresh = true, .extent_bytes = 16384};
    struct blk *disk = NULL;
    struct err e = {0};

    if (filter_tier_create(fast, slow, &o, &disk, &e) != 0) {
        abort();
    }
    two_disks_use(disk, more);
    pages_patch(fast, place, in->data, in->size);
    o.fresh = false;
    if (filter_tier_create(fast, slow, &o, &disk, &e) == 0) {
        two_disks_use(disk, more);
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
