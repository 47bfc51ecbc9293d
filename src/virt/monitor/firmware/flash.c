/* flash.c - a flash memory of bytes: read as an array, until a command is stored.
 *
 * A command is a store of any value anywhere; some want a second store.  Programming clears
 * bits and sets none, as the cells do; an erased block has them all set.  Both are done at
 * once, so that the status says ready whenever it says anything; before the first one, and
 * when it was cleared, it is 0: OVMF knows a flash memory by that. */
#include "virt/monitor/firmware/flash.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define PROGRAM       0x10u
#define PROGRAM_TOO   0x40u
#define ERASE         0x20u
#define ERASE_CONFIRM 0xd0u
#define CLEAR_STATUS  0x50u
#define READ_STATUS   0x70u
#define READ_ID       0x90u
#define READ_ARRAY    0xffu

#define STATUS_READY    0x80u
#define STATUS_SEQUENCE 0x30u /* a second store that fits no command */
#define MAKER           0x89u /* Intel */
#define MODEL           0x18u

enum mode {
    MODE_ARRAY,
    MODE_STATUS,
    MODE_ID,
    MODE_PROGRAM, /* the next store is data */
    MODE_ERASE,   /* the next store confirms */
    MODE_COUNT
};

struct flash {
    struct dev dev;
    struct flash_config config;
    uint8_t mode;
    uint8_t status;
};

static uint64_t read_flash(void *who, uint64_t offset, unsigned bytes)
{
    const struct flash *f = who;
    uint64_t v = 0;

    if (f->mode == MODE_ARRAY) {
        memcpy(&v, f->config.bytes + offset, bytes);
        return v;
    }
    if (f->mode == MODE_ID) {
        return (offset & 1) == 0 ? MAKER : MODEL;
    }
    return f->status;
}

static void begin(struct flash *f, uint8_t command)
{
    switch (command) {
    case PROGRAM:
    case PROGRAM_TOO:
        f->mode = MODE_PROGRAM;
        break;
    case ERASE:
        f->mode = MODE_ERASE;
        break;
    case CLEAR_STATUS:
        f->status = 0;
        f->mode = MODE_ARRAY;
        break;
    case READ_STATUS:
        f->mode = MODE_STATUS;
        break;
    case READ_ID:
        f->mode = MODE_ID;
        break;
    default:
        f->mode = MODE_ARRAY;
        break;
    }
}

static void write_flash(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct flash *f = who;

    if (f->mode == MODE_PROGRAM) {
        for (unsigned i = 0; i < bytes; i++) {
            f->config.bytes[offset + i] &= (uint8_t)(value >> (i * 8));
        }
    } else if (f->mode == MODE_ERASE && (uint8_t)value == ERASE_CONFIRM) {
        memset(f->config.bytes + (offset & ~(uint64_t)(FLASH_BLOCK_BYTES - 1)), 0xff,
               FLASH_BLOCK_BYTES);
    } else if (f->mode == MODE_ERASE) {
        f->status |= STATUS_SEQUENCE;
    } else {
        begin(f, (uint8_t)value);
        return;
    }
    f->status |= STATUS_READY;
    f->mode = MODE_STATUS;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {
        .name = "flash", .read = read_flash, .write = write_flash};
    struct flash *f = (struct flash *)d;
    struct board_claim c = {.io = &io, .who = f};

    f->config = *(const struct flash_config *)config;
    if (f->config.count == 0 || f->config.count % FLASH_BLOCK_BYTES != 0) {
        return err_set(e, -EINVAL, "it is not whole blocks of %u bytes",
                       FLASH_BLOCK_BYTES);
    }
    c.base = f->config.base;
    c.bytes = f->config.count;
    return board_claim(d->board, BOARD_MEMORY, &c, e);
}

static void reset(struct dev *d)
{
    struct flash *f = (struct flash *)d;

    f->mode = MODE_ARRAY;
    f->status = 0;
}

/* With all it holds: whoever goes on finds what he wrote. */
static void carry(struct dev *d, struct snap *s)
{
    struct flash *f = (struct flash *)d;

    f->mode = (uint8_t)snap_number(s, f->mode, MODE_COUNT - 1);
    SNAP_FIELD(s, f->status);
    snap_data(s, f->config.bytes, f->config.count);
}

const struct dev_class dev_flash = {
    .name = "flash",
    .summary = "flash memory for the variables of UEFI firmware",
    .source = "Intel 28F640J5 data sheet, 290606-015, table 4",
    .state_bytes = sizeof(struct flash),
    .start = start,
    .reset = reset,
    .carry = carry,
};
