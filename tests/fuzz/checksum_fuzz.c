/* checksum_fuzz.c - any header and journal of the checksum filter is used or refused. */
#include "base/crc32c.h"
#include "contract/blk_graph.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/safe/bytes.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES   (1u << 19)
#define HEADER       56
#define LONG_HEADER  80 /* of a disk that gets another size */
#define JOURNAL_MOST 4000

struct input {
    const uint8_t *data;
    size_t size;
    struct strand_pool *strands;
};

/* The rest of the input as the records of one batch, where the header says. */
static void put_journal(const struct input *x, struct blk *b)
{
    uint64_t at = bytes_get64(x->data + 16);
    size_t n = x->size - HEADER < JOURNAL_MOST ? x->size - HEADER : JOURNAL_MOST;
    uint8_t batch[4096] = {0};

    bytes_put64(batch, 0x6c6e6a6174727473u);
    memcpy(batch + 8, x->data + 48, 8);
    bytes_put32(batch + 32, (uint32_t)n);
    memcpy(batch + 40, x->data + HEADER, n);
    bytes_put32(batch + 36, crc32c(0, batch, 40 + n)); /* its own field is zero */
    if (at % 512 == 0 && at <= DISK_BYTES - sizeof batch) {
        (void)blk_write(b, batch, sizeof batch, at, 0);
    }
}

static void use(void *arg)
{
    struct input *x = arg;
    struct slot slot = {.off = DISK_BYTES - 8192,
                        .bytes = 4096,
                        .magic = 0x736d757363727473u,
                        .version = 1};
    struct filter_checksum_scrub scrub = {.renew = true};
    struct blk *b = NULL;
    struct blk *top = NULL;
    char room[4096] = {1};

    if (leaf_memory_create(x->strands, DISK_BYTES, 512, &b, NULL) != 0) {
        return;
    }
    slot.disk = b;
    (void)slot_store(&slot, x->data,
                     x->size >= LONG_HEADER && x->size % 2 == 0 ? LONG_HEADER : HEADER);
    put_journal(x, b);
    if (filter_checksum_create(b, NULL, NULL, &top, NULL) == 0) {
        (void)blk_write(top, room, sizeof room, 0, 0);
        (void)blk_read(top, room, sizeof room, 0);
        (void)filter_checksum_scrub(top, &scrub);
        blk_drop(top);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input x = {.data = data, .size = size};

    if (size >= HEADER && strand_pool_create(&x.strands) == 0) {
        (void)strand_start(x.strands, use, &x);
        strand_pool_destroy(x.strands);
    }
    return 0;
}
