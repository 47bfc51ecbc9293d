/* mirror_fuzz.c - any superblock and marks of a mirror's member are used or refused. */
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/redundancy/mirror.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

struct input {
    const uint8_t *data;
    size_t size;
    struct loop *loop;
};

static struct blk *disk_of(struct input *x)
{
    struct blk *b = NULL;
    struct slot slot = {.bytes = 4096, .magic = 0x736b736964727473u, .version = 1};
    size_t head = x->size < 4000 ? x->size : 4000;

    if (leaf_memory_create(loop_strands(x->loop), 1u << 19, 512, &b, NULL) == 0) {
        slot.disk = b;
        (void)slot_store(&slot, x->data, head);
        on_disk_put(b, x->data + head, x->size - head, 65536, 65536);
    }
    return b;
}

static int use(void *arg)
{
    struct input *x = arg;
    struct mirror_options o = {.degraded = true, .promote = true};
    struct blk *disk = disk_of(x);
    struct blk *top = NULL;
    char room[4096] = {1};

    if (disk != NULL && mirror_open(x->loop, &disk, 1, &o, &top, NULL) == 0) {
        (void)blk_write(top, room, sizeof room, 0, 0);
        (void)blk_read(top, room, sizeof room, 0);
        (void)blk_flush(top);
        blk_drop(top);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input x = {.data = data, .size = size};

    if (loop_create(LOOP_DRIVER_AUTO, &x.loop, NULL) == 0) {
        (void)loop_do(x.loop, use, &x);
        loop_destroy(x.loop);
    }
    return 0;
}
