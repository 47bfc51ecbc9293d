/* span_fuzz.c - any map of a span is used or refused.
 *
 * An input: 48 bytes for the head of the map, then entries, four bytes each, for its first sheets;
 * checksums are made right, but where bit 0 of the first byte of the uid says not. */
#include "base/crc32c.h"
#include "contract/blk_graph.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/safe/bytes.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

#define HEAD_BYTES 48
#define SHEET      512
#define ROOM       (SHEET - 16)
#define SHEETS     4
#define PIECES     3

struct input {
    const uint8_t *data;
    size_t size;
    struct strand_pool *strands;
};

static void put_sheets(struct blk *map, const struct input *x)
{
    for (unsigned i = 0; i < SHEETS; i++) {
        uint8_t sheet[SHEET] = {0};
        size_t skip = HEAD_BYTES + (size_t)i * ROOM;
        size_t n = x->size > skip ? x->size - skip : 0;

        memcpy(sheet, x->data + (n > 0 ? skip : 0), n < ROOM ? n : ROOM);
        bytes_put64(sheet + ROOM, i);
        bytes_put32(sheet + SHEET - 4,
                    crc32c(crc32c(0, x->data, 8), sheet, SHEET - 4) ^ (x->data[0] & 1));
        (void)blk_write(map, sheet, SHEET, 8192 + i * SHEET, 0);
    }
}

static struct blk *make_memory(struct strand_pool *strands, uint64_t bytes)
{
    struct blk *b = NULL;

    if (leaf_memory_create(strands, bytes, 512, &b, NULL) != 0) {
        abort();
    }
    b->grows = true;
    return b;
}

static void use_span(struct blk *top)
{
    struct blk_extent extent;
    char room[8192] = {1};
    uint64_t end = blk_size(top);

    if (end >= 8192) {
        (void)blk_read(top, room, 8192, end - 8192);
        (void)blk_status(top, 0, end, &extent);
    }
    (void)blk_write(top, room, 8192, 4096, 0);
    (void)blk_write(top, room, 4096, 10u << 20, 0);
    (void)place_span_move(top, 0, 1, NULL, NULL);
    (void)place_span_evacuate(top, 2, NULL, NULL);
    (void)place_span_remove(top, 2, NULL);
    (void)blk_discard(top, 0, blk_size(top) & ~(uint64_t)4095);
    (void)blk_flush(top);
    (void)blk_resize(top, 65536, NULL);
    (void)blk_flush(top);
}

static void use(void *arg)
{
    struct input *x = arg;
    struct place_span_options o = {.pieces = PIECES};
    struct blk *piece[PIECES];
    struct blk *map = make_memory(x->strands, 16384);
    struct slot slot = {
        .disk = map, .bytes = 4096, .magic = 0x6e61707374727473u, .version = 1};
    struct blk *top = NULL;

    for (unsigned i = 0; i < PIECES; i++) {
        piece[i] = make_memory(x->strands, i * 1048576u);
    }
    (void)slot_store(&slot, x->data, HEAD_BYTES);
    put_sheets(map, x);
    if ((x->data[HEAD_BYTES - 1] & 1) != 0) { /* not all are there */
        blk_drop(piece[0]);
        piece[0] = NULL;
    }
    if (place_span_open(map, piece, &o, &top, NULL) == 0) {
        use_span(top);
        blk_drop(top);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input x = {.data = data, .size = size};

    if (size >= HEAD_BYTES && strand_pool_create(&x.strands) == 0) {
        (void)strand_start(x.strands, use, &x);
        strand_pool_destroy(x.strands);
    }
    return 0;
}
