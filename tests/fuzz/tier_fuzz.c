/* tier_fuzz.c - tiers open whatever the fast disk has, or says why not, and serve
 * requests or answer with errors. */
#include <stdlib.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/tier.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/fuzz/pages.h"
#include "tests/fuzz/target.h"

#define SIZE_BYTES  (256u * 1024)
#define STORE_BYTES (512u * 1024)

struct input {
    struct loop *loop;
    const uint8_t *data;
    size_t size;
};

static uint64_t place(uint8_t number)
{
    return number % 2 * 4096u; /* the head, the first page of the map */
}

static struct blk *memory(struct loop *l, struct blk_edge *keep, uint64_t bytes)
{
    struct blk *b = NULL;

    if (leaf_memory_create(loop_strands(l), bytes, 512, &b, NULL) != 0) {
        abort();
    }
    *keep = (struct blk_edge){.user = "fuzz", .lets = BLK_USE_ALL};
    if (blk_attach(keep, b, NULL) != 0) {
        abort();
    }
    return b;
}

static void use(struct blk *disk)
{
    struct blk_edge edge = {.user = "fuzz", .uses = BLK_USE_ALL};
    static char room[65536];
    struct blk_extent x;
    uint64_t last = blk_size(disk) - blk_block_bytes(disk);

    if (blk_attach(&edge, disk, NULL) != 0) {
        abort();
    }
    if (blk_size(disk) >= sizeof room) {
        (void)blk_read(disk, room, sizeof room, 0);
        (void)blk_write(disk, room, 1536, 512, 0);
        (void)blk_read(disk, room, 512, last);
        (void)blk_write(disk, room, 512, last, 0);
        (void)blk_status(disk, 0, sizeof room, &x);
        (void)blk_zero(disk, 0, 8192, BLK_UNMAP);
        (void)filter_tier_balance(disk, 4);
        (void)blk_flush(disk);
    }
    blk_detach(&edge);
}

static int run(void *arg)
{
    struct input *in = arg;
    struct blk_edge keep[2];
    struct blk *slow = memory(in->loop, &keep[0], SIZE_BYTES);
    struct blk *fast = memory(in->loop, &keep[1], STORE_BYTES);
    struct filter_tier_options o = {.fresh = true, .extent_bytes = 16384};
    struct blk *disk = NULL;
    struct err e = {0};

    if (filter_tier_create(fast, slow, &o, &disk, &e) != 0) {
        abort();
    }
    use(disk);
    pages_patch(fast, place, in->data, in->size);
    o.fresh = false;
    if (filter_tier_create(fast, slow, &o, &disk, &e) == 0) {
        use(disk);
    } else if (e.text[0] == '\0') {
        abort();
    }
    blk_detach(&keep[0]);
    blk_detach(&keep[1]);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.data = data, .size = size};

    if (loop_create(LOOP_DRIVER_CREW, &in.loop, NULL) != 0 ||
        loop_do(in.loop, run, &in) != 0) {
        abort();
    }
    loop_destroy(in.loop);
    return 0;
}
