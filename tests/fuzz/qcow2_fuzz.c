/* qcow2_fuzz.c - any bytes are a qcow2 image, or an error with a text; reading, checking,
 * repairing and writing it end, and stay inside their memory. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/strand.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/fuzz/target.h"

#define READ_BYTES 8192u
#define SPOTS      12

struct input {
    struct strand_pool *strands;
    const uint8_t *data;
    size_t size;
};

static int no_start(struct qcow2_crypt *c, struct blk *file, uint64_t off, uint64_t bytes,
                    struct err *e)
{
    (void)c;
    (void)file;
    (void)off;
    (void)bytes;
    (void)e;
    return 0;
}

static int no_turn(struct qcow2_crypt *c, void *buf, size_t bytes, uint64_t at)
{
    (void)c;
    (void)buf;
    (void)bytes;
    (void)at;
    return 0;
}

static struct blk *make_file(const struct input *in)
{
    struct blk *file = NULL;
    size_t whole = (in->size + 511) & ~(size_t)511;
    uint8_t *room = calloc(1, whole + 512);

    memcpy(room, in->data, in->size);
    if (leaf_memory_create(in->strands, whole, 512, &file, NULL) != 0 ||
        blk_write(file, room, whole, 0, 0) != 0) {
        abort();
    }
    file->grows = true;
    free(room);
    return file;
}

/* Spots all over the disk, and around its ends. */
static void read_spots(struct blk *b, bool writes)
{
    static char room[READ_BYTES];
    uint64_t size = blk_size(b);

    for (uint64_t i = 0; size >= READ_BYTES && i <= SPOTS; i++) {
        uint64_t off = (size - READ_BYTES) / SPOTS * i & ~(uint64_t)511;
        struct blk_extent x;

        (void)blk_read(b, room, READ_BYTES, off);
        (void)blk_status(b, off, size - off, &x);
        if (writes && i % 3 == 0) {
            (void)blk_write(b, room, READ_BYTES / 2, off, 0);
        } else if (writes && i % 3 == 1) {
            (void)blk_zero(b, off, READ_BYTES, BLK_UNMAP);
        }
    }
}

static void snapshots_and_bitmaps(struct blk *b)
{
    for (unsigned i = 0; i < qcow2_snapshot_count(b) && i < 3; i++) {
        struct qcow2_snapshot_info s;

        qcow2_snapshot_get(b, i, &s);
        assert(s.id != NULL && s.name != NULL);
    }
    for (unsigned i = 0; i < qcow2_bitmap_count(b) && i < 3; i++) {
        struct qcow2_bitmap_info m;

        qcow2_bitmap_get(b, i, &m);
        assert(m.name != NULL && m.name[0] != '\0');
    }
}

static void use(const struct input *in, bool writes)
{
    struct qcow2_crypt crypt = {no_start, no_turn, no_turn};
    struct qcow2_open_options o = {
        .read_only = !writes, .alone = true, .crypt = &crypt, .for_repair = writes};
    struct qcow2_check_result x;
    struct blk_edge edge = {.user = "fuzz", .uses = writes ? BLK_USE_ALL : BLK_USE_READ};
    struct blk *disk = NULL;
    struct err e = {0};
    int r = qcow2_open(make_file(in), &o, &disk, &e);

    assert((r < 0) == (e.text[0] != '\0'));
    if (r != 0) {
        return;
    }
    assert(blk_attach(&edge, disk, &e) == 0);
    snapshots_and_bitmaps(disk);
    read_spots(disk, false);
    (void)qcow2_check(disk, writes ? QCOW2_REPAIR_ALL : QCOW2_REPAIR_NOTHING, &x, &e);
    if (writes) {
        err_clear(&e);
        (void)qcow2_snapshot_create(disk, "fuzz", &e);
        read_spots(disk, true);
        (void)blk_flush(disk);
        (void)qcow2_snapshot_delete(disk, "fuzz", &e);
        err_clear(&e);
        (void)blk_resize(disk, blk_size(disk) / 2 & ~(uint64_t)511, &e);
    }
    blk_detach(&edge);
}

static void run(void *arg)
{
    use(arg, false);
    use(arg, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.data = data, .size = size};

    if (strand_pool_create(&in.strands) != 0 || strand_start(in.strands, run, &in) != 0) {
        abort();
    }
    assert(strand_count(in.strands) == 0);
    strand_pool_destroy(in.strands);
    return 0;
}
