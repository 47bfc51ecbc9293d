/* bitmap_fuzz.c - any file of bitmaps is opened and used, or refused. */
#include "resource/storage/bitmap/bitmap.h"
#include "tests/fuzz/on_disk.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES (1u << 20)

static void use(struct blk *take_disk)
{
    struct bitmap_set *set = NULL;
    struct bitmap *b;

    if (bitmap_set_open(take_disk, DISK_BYTES, &set, NULL) != 0) {
        return;
    }
    for (unsigned i = 0; (b = bitmap_at(set, i)) != NULL; i++) {
        (void)bitmap_mark(b, 4096, 8192);
        (void)bitmap_next(b, 0, true);
        (void)bitmap_dirty_bytes(b);
        (void)bitmap_reset(b);
    }
    (void)bitmap_add(set, "fuzz", 65536, &b, NULL);
    bitmap_set_close(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct on_disk d = {
        .data = data,
        .size = size,
        .slot = {.bytes = 16384, .magic = 0x70616d7469627473u, .version = 1},
        .rest_off = 65536,
        .disk_bytes = 1u << 18,
        .open = use,
    };

    on_disk_run(&d);
    return 0;
}
