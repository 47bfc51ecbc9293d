/* firmware_fuzz.c - any accesses of a hostile guest to what its firmware is told by, and keeps.
 *
 * The input is a list of records of eight bytes: what, how (width), where (16 bits), a value (32
 * bits): ports, the guest's memory, state in between. */
#include <stdlib.h>
#include <string.h>

#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "tests/fuzz/target.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/firmware/flash.h"
#include "virt/monitor/firmware/fwcfg.h"

#define RECORDS_MOST 512
#define RAM_BYTES    0x8000u
#define ROM          0x10000u
#define FLASH        UINT64_C(0xffc00000)
#define CELLS        (2 * FLASH_BLOCK_BYTES)

static const char bytes[5000] = "some file";
static const struct fwcfg_item items[] = {
    {.key = FWCFG_CPUS, .bytes = bytes, .count = 2},
    {.name = "etc/file", .bytes = bytes, .count = sizeof bytes},
};

struct world {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    struct dev *dev, *flash;
    uint8_t *cells; /* of the heap, whose ends a sanitizer watches */
};

static void make(struct world *w)
{
    struct flash_config flash = {.base = FLASH, .count = CELLS};
    struct fwcfg_config c = {.item = items, .items = sizeof items / sizeof items[0]};

    if (loop_create(LOOP_DRIVER_CREW, &w->loop, NULL) != 0 ||
        board_create(w->loop, &w->board, NULL) != 0 ||
        ram_create(RAM_PRIVATE, &w->mem, NULL) != 0 ||
        mem_add_ram(w->mem, 0, RAM_BYTES, false, NULL) != 0 ||
        mem_add_ram(w->mem, ROM, RAM_BYTES, true, NULL) != 0) {
        abort();
    }
    c.mem = w->mem;
    flash.bytes = w->cells = calloc(CELLS, 1);
    if (dev_create(&dev_flash, w->board, &flash, &w->flash, NULL) != 0) {
        abort();
    }
    if (dev_create(&dev_fwcfg, w->board, &c, &w->dev, NULL) != 0) {
        abort();
    }
}

/* State out, one byte of it changed, and in again. */
static void carry(struct dev *d, uint16_t where, uint8_t flip)
{
    struct snap_memory s;

    snap_memory_write(&s);
    d->class->carry(d, &s.snap);
    s.bytes[where % s.count] ^= flip;
    snap_memory_read(&s);
    d->class->carry(d, &s.snap);
    snap_memory_fini(&s);
}

static void obey(struct world *w, const uint8_t r[8])
{
    unsigned width = 1u << (r[1] & 3);
    uint16_t where;
    uint32_t v;

    memcpy(&where, r + 2, 2);
    memcpy(&v, r + 4, 4);
    switch (r[0] % 7) {
    case 0:
        board_write(w->board, BOARD_PORTS, 0x510u + (where & 15), width, v);
        break;
    case 1:
        (void)board_read(w->board, BOARD_PORTS, 0x510u + (where & 15), width);
        break;
    case 2:
        (void)mem_write(w->mem, where & 0x7fff, &v, width < 4 ? width : 4);
        break;
    case 3: /* a transfer described there */
        board_write(w->board, BOARD_PORTS, 0x514, 4, 0);
        board_write(w->board, BOARD_PORTS, 0x518, 4, __builtin_bswap32(where));
        break;
    case 4: /* a command, and what follows it */
        board_write(w->board, BOARD_MEMORY, FLASH + where % CELLS, 1, v & 0xff);
        board_write(w->board, BOARD_MEMORY, FLASH + where % CELLS, width, v >> 8);
        break;
    case 5:
        (void)board_read(w->board, BOARD_MEMORY, FLASH + where % CELLS, width);
        break;
    default:
        carry((v & 1) == 0 ? w->dev : w->flash, where, r[1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};

    make(&w);
    for (unsigned i = 0; i < RECORDS_MOST && size >= 8; i++) {
        obey(&w, data);
        data += 8;
        size -= 8;
    }
    for (unsigned i = 0; i < RAM_BYTES; i += MEM_PAGE_BYTES) { /* nobody wrote the ROM */
        uint8_t page[MEM_PAGE_BYTES];

        if (mem_read(w.mem, ROM + i, page, sizeof page) != 0 || page[0] != 0 ||
            memcmp(page, page + 1, sizeof page - 1) != 0) {
            abort();
        }
    }
    dev_destroy(w.dev);
    dev_destroy(w.flash);
    free(w.cells);
    board_destroy(w.board);
    mem_destroy(w.mem);
    loop_destroy(w.loop);
    return 0;
}
