/* raid_fuzz.c - any superblocks and journals of an array's members are used or refused.
 *
 * The input is a superblock of three members, then heads of records; what guards them
 * (magic, id, place, checksums) is put right, so that what is behind it is reached. */
#include "base/crc32c.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/redundancy/raid.h"
#include "resource/storage/safe/bytes.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

#define MEMBERS     3
#define SUPER_BYTES (64 + MEMBERS * 32)
#define HEAD_BYTES  88

struct input {
    const uint8_t *data;
    size_t size;
    struct loop *loop;
};

static void put_heads(const struct input *x, struct blk *b, unsigned role)
{
    uint8_t head[512];

    for (unsigned i = 0; SUPER_BYTES + (i + 1) * HEAD_BYTES <= x->size && i < 64; i++) {
        uint64_t at = (uint64_t)i * 1024;

        memset(head, 0, sizeof head);
        memcpy(head, x->data + SUPER_BYTES + (size_t)i * HEAD_BYTES, HEAD_BYTES);
        bytes_put64(head, 0x646d656572747273u);
        memcpy(head + 8, x->data, 16);
        bytes_put64(head + 56, at);
        if (bytes_get32(head + 68) <= 4096 && role == 0) {
            static const uint8_t zeros[4096];

            bytes_put32(head + 80, crc32c(0, zeros, bytes_get32(head + 68)));
        }
        bytes_put32(head + 84, crc32c(0, head, 84));
        (void)blk_write(b, head, sizeof head, 65536 + at, 0);
    }
}

static struct blk *disk_of(struct input *x, unsigned role)
{
    struct slot slot = {.bytes = 4096, .magic = 0x736b736964727473u, .version = 1};
    uint8_t super[SUPER_BYTES];
    struct blk *b = NULL;

    if (leaf_memory_create(loop_strands(x->loop), 1u << 19, 512, &b, NULL) == 0) {
        memcpy(super, x->data, sizeof super);
        bytes_put32(super + 20, role);
        slot.disk = b;
        (void)slot_store(&slot, super, sizeof super);
        put_heads(x, b, role);
    }
    return b;
}

static int use(void *arg)
{
    struct input *x = arg;
    struct raid_options o = {.level = x->data[16] == 6   ? 6
                                      : x->data[16] == 2 ? 0
                                                         : 5,
                             .degraded = true};
    struct blk *disk[MEMBERS];
    struct blk *top = NULL;
    char room[4096] = {1};

    for (unsigned i = 0; i < MEMBERS; i++) {
        disk[i] = disk_of(x, i);
    }
    if (raid_open(x->loop, disk, MEMBERS, &o, &top, NULL) == 0) {
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

    if (size >= SUPER_BYTES && loop_create(LOOP_DRIVER_AUTO, &x.loop, NULL) == 0) {
        (void)loop_do(x.loop, use, &x);
        loop_destroy(x.loop);
    }
    return 0;
}
