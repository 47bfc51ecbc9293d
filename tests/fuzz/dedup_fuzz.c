/* dedup_fuzz.c - any superblock and journal of a store is used or refused. */
#include "base/crc32c.h"
#include "contract/blk_graph.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/safe/bytes.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES   (4u << 20)
#define SUPER_BYTES  160 /* one volume */
#define JOURNAL_MOST 4000

struct input {
    const uint8_t *data;
    size_t size;
    struct strand_pool *strands;
};

/* The rest of the input as the records of one batch. */
static void put_journal(const struct input *x, struct blk *b)
{
    size_t n =
        x->size - SUPER_BYTES < JOURNAL_MOST ? x->size - SUPER_BYTES : JOURNAL_MOST;
    uint8_t batch[4096] = {0};

    bytes_put64(batch, 0x6c6e6a6174727473u);
    memcpy(batch + 8, x->data, 8);
    bytes_put32(batch + 32, (uint32_t)n);
    memcpy(batch + 40, x->data + SUPER_BYTES, n);
    bytes_put32(batch + 36, crc32c(0, batch, 40 + n)); /* its own field is zero */
    (void)blk_write(b, batch, sizeof batch, 32768, 0);
}

static void use_volume(struct dedup *s, const char *name)
{
    struct blk *top = NULL;
    char room[8192] = {1};

    if (dedup_volume_open(s, name, &top, NULL) == 0) {
        (void)blk_write(top, room, blk_size(top) < 8192 ? 4096 : 8192, 0, 0);
        (void)blk_read(top, room, 4096, 0);
        (void)blk_flush(top);
        blk_drop(top);
    }
}

static void use(void *arg)
{
    struct input *x = arg;
    struct slot slot = {.bytes = 16384, .magic = 0x7075646564727473u, .version = 1};
    struct dedup *s = NULL;
    struct blk *b = NULL;
    const char *name;
    uint64_t size;

    if (leaf_memory_create(x->strands, DISK_BYTES, 512, &b, NULL) != 0) {
        return;
    }
    slot.disk = b;
    (void)slot_store(&slot, x->data, SUPER_BYTES);
    put_journal(x, b);
    if (dedup_open(b, &s, NULL) == 0) {
        name = dedup_volume_name(s, 0, &size);
        if (name != NULL) {
            use_volume(s, name);
        }
        (void)dedup_check(s, NULL);
        (void)dedup_reclaim(s, NULL, NULL, &size);
        dedup_unref(s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input x = {.data = data, .size = size};

    if (size >= SUPER_BYTES && strand_pool_create(&x.strands) == 0) {
        (void)strand_start(x.strands, use, &x);
        strand_pool_destroy(x.strands);
    }
    return 0;
}
