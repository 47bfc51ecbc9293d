/* log_fuzz.c - any trace is replayed as far as it makes sense, or is an error with a text. */
#include <stdlib.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/log.h"
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
    return number % 5 * 512u; /* the head, the first pages */
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

static int run(void *arg)
{
    struct input *in = arg;
    struct blk_edge keep[2];
    struct blk *base = memory(in->loop, &keep[0], SIZE_BYTES);
    struct blk *trace = memory(in->loop, &keep[1], STORE_BYTES);
    struct filter_log_replay io = {.at_once = true, .depth = 4};
    struct blk_edge edge = {.user = "fuzz", .uses = BLK_USE_ALL};
    struct blk *disk = NULL;
    char room[512] = {0};
    struct err e = {0};

    if (filter_log_create(in->loop, base, trace, &disk, NULL) != 0 ||
        blk_attach(&edge, disk, NULL) != 0) {
        abort();
    }
    for (unsigned i = 0; i < 30; i++) {
        (void)blk_write(disk, room, sizeof room, i * 512u, 0);
    }
    blk_detach(&edge);
    pages_patch(trace, place, in->data, in->size);
    if (filter_log_replay(in->loop, trace, base, &io, &e) != 0 && e.text[0] == '\0') {
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
