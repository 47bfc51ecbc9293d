/* carve_fuzz.c - any superblock, directory and table of a store are used or refused.
 *
 * An input: one byte (bit 0: the superblock is as `place_store_format` makes it), the superblock,
 * the first sheet of rows, the first sheet of entries; checksums are made right. */
#include "base/crc32c.h"
#include "contract/blk_graph.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/safe/bytes.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES  (4u << 20)
#define SUPER_BYTES 56
#define ROWS_AT     12288
#define SHEET       512
#define TEXT        (SHEET - 32)

struct input {
    const uint8_t *data;
    size_t size;
    struct strand_pool *strands;
};

static void put_sheet(struct blk *b, const struct input *x, size_t skip, uint64_t at,
                      uint64_t uid)
{
    uint8_t sheet[SHEET] = {0};
    size_t n = x->size > skip ? x->size - skip : 0;

    memcpy(sheet, x->data + (n > 0 ? skip : 0), n < TEXT ? n : TEXT);
    bytes_put64(sheet + TEXT, uid);
    bytes_put64(sheet + TEXT + 8, at / SHEET);
    bytes_put32(sheet + SHEET - 4, crc32c(0, sheet, SHEET - 4));
    if (at % SHEET == 0 && at < DISK_BYTES) {
        (void)blk_write(b, sheet, SHEET, at, 0);
    }
}

static void put_store(struct blk *b, const struct input *x)
{
    struct slot slot = {
        .disk = b, .bytes = 4096, .magic = 0x65726f7473727473u, .version = 1};
    uint8_t text[4096] = {0};
    size_t n = 0;

    (void)place_store_format(b, 65536, NULL);
    if ((x->data[0] & 1) == 0) {
        memcpy(text, x->data + 1, SUPER_BYTES);
        (void)slot_load(&slot, &(uint8_t[4096]){0}, &n);
        (void)slot_store(&slot, text, SUPER_BYTES);
    }
    (void)slot_load(&slot, text, &n);
    put_sheet(b, x, 1 + SUPER_BYTES, ROWS_AT, bytes_get64(text));
    put_sheet(b, x, 1 + SUPER_BYTES + TEXT, bytes_get64(text + 24), bytes_get64(text));
}

static void use_disk(struct place_store *s, uint64_t id, uint32_t part)
{
    struct blk *top = NULL;
    struct blk_extent extent;
    char room[8192] = {1};

    if (place_carve_open(s, id, part, false, &top, NULL) == 0) {
        uint64_t end = blk_size(top);

        if (end >= 4096) {
            (void)blk_read(top, room, 4096, 0);
            (void)blk_read(top, room, 4096, end - 4096);
            (void)blk_status(top, 0, end, &extent);
        }
        (void)blk_write(top, room, 8192, 4096, 0);
        (void)blk_flush(top);
        (void)blk_discard(top, 0, blk_size(top));
        (void)blk_resize(top, 512, NULL);
        (void)blk_write(top, room, 512, 1 << 20, BLK_FUA);
        blk_drop(top);
    }
}

struct first {
    struct place_carved disk;
    bool known;
};

static int note_first(const struct place_carved *c, void *arg)
{
    struct first *f = arg;

    f->disk = *c;
    f->known = true;
    return 1;
}

static void use(void *arg)
{
    struct input *x = arg;
    struct place_store *s = NULL;
    struct place_room room;
    struct first first = {0};
    struct blk *b = NULL;

    if (leaf_memory_create(x->strands, DISK_BYTES, 512, &b, NULL) != 0) {
        return;
    }
    put_store(b, x);
    if (place_store_open(NULL, b, -1, &s, NULL) == 0) {
        (void)place_store_list(s, note_first, &first);
        if (first.known) {
            use_disk(s, first.disk.id, first.disk.part);
        }
        (void)place_store_sweep(s);
        (void)place_store_room(s, &room);
        (void)place_carve_add(s, 1, 1, NULL);
        use_disk(s, 1, 1);
        (void)place_carve_remove(s, first.disk.id, first.disk.part, NULL);
        (void)place_carve_remove(s, 1, 1, NULL);
        place_store_unref(s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input x = {.data = data, .size = size};

    if (size > SUPER_BYTES && strand_pool_create(&x.strands) == 0) {
        (void)strand_start(x.strands, use, &x);
        strand_pool_destroy(x.strands);
    }
    return 0;
}
