/* fwcfg.c - a list of items that firmware reads, byte by byte or by transfers to memory.
 *
 * The selector chooses an item and begins at its first byte; each byte read is the next one.
 * Behind an item's end, and where there is none, there are zeros.  A transfer is described by
 * 16 bytes of the guest's memory, all numbers big-endian: control, length, address.  It is done
 * inside the store that gives their place, and its result is the control word: 0, or the
 * error bit.  Nothing can be written. */
#include "virt/monitor/firmware/fwcfg.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem.h"
#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define PORT       0x510u
#define PORT_BYTES 2u
#define DMA        0x514u
#define DMA_BYTES  8u

#define KEY_SIGNATURE 0x00u
#define KEY_FEATURES  0x01u
#define KEY_DIRECTORY 0x19u
#define KEY_WRITES    0x4000u /* a bit that says nothing */
#define FEATURES      3u      /* both ways to read */

#define ZEROS_MOST (16u << 20) /* behind an item, in one transfer */

#define CONTROL_ERROR  0x01u
#define CONTROL_READ   0x02u
#define CONTROL_SKIP   0x04u
#define CONTROL_SELECT 0x08u
#define CONTROL_WRITE  0x10u

#define PIECE_BYTES 4096u

static const char signature[4] = {'Q', 'E', 'M', 'U'};
static const char dma_signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};
static const uint32_t features = FEATURES;

struct directory_entry {
    uint32_t bytes; /* big-endian, as `key` */
    uint16_t key, zero;
    char name[FWCFG_NAME_BYTES];
};

struct directory {
    uint32_t count;
    struct directory_entry entry[FWCFG_FILES_MOST];
};

struct fwcfg {
    struct dev dev;
    struct fwcfg_config config;
    struct directory directory;
    uint32_t directory_bytes;
    const uint8_t *bytes; /* of the selected item; NULL: there is none */
    uint32_t count;
    uint16_t key;
    uint32_t offset;
    uint32_t dma_high; /* of the address, as it was stored first */
};

struct transfer {
    uint32_t control, bytes; /* big-endian */
    uint64_t at;
};

/* ---- items ---- */

static void find(struct fwcfg *f)
{
    uint16_t file = FWCFG_FILE_FIRST;

    f->bytes = NULL;
    f->count = 0;
    if (f->key == KEY_SIGNATURE) {
        f->bytes = (const uint8_t *)signature;
        f->count = sizeof signature;
    } else if (f->key == KEY_FEATURES) {
        f->bytes = (const uint8_t *)&features;
        f->count = sizeof features;
    } else if (f->key == KEY_DIRECTORY) {
        f->bytes = (const uint8_t *)&f->directory;
        f->count = f->directory_bytes;
    }
    for (unsigned i = 0; f->bytes == NULL && i < f->config.items; i++) {
        const struct fwcfg_item *item = &f->config.item[i];
        uint16_t key = item->name != NULL ? file++ : item->key;

        if (key == f->key) {
            f->bytes = item->bytes;
            f->count = item->count;
        }
    }
}

static void choose(struct fwcfg *f, uint16_t key)
{
    f->key = (uint16_t)(key & ~KEY_WRITES);
    f->offset = 0;
    if (f->key >= FWCFG_FILE_FIRST && f->config.refresh != NULL) {
        f->config.refresh(f->config.who);
    }
    find(f);
}

static uint32_t left(const struct fwcfg *f)
{
    return f->offset < f->count ? f->count - f->offset : 0;
}

static void advance(struct fwcfg *f, uint32_t n)
{
    f->offset = n > UINT32_MAX - f->offset ? UINT32_MAX : f->offset + n;
}

/* ---- byte by byte ---- */

static uint64_t read_data(void *who, uint64_t offset, unsigned bytes)
{
    struct fwcfg *f = who;
    uint8_t v = left(f) > 0 ? f->bytes[f->offset] : 0;

    (void)offset;
    if (bytes != 1) {
        return UINT64_MAX;
    }
    advance(f, 1);
    return v;
}

static void write_selector(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    if (offset == 0 && bytes == 2) {
        choose(who, (uint16_t)value);
    }
}

/* ---- to memory ---- */

/* Whether a piece can be stored there: RAM, and no ROM. */
static bool takes(const struct mem *m, uint64_t at, uint32_t bytes)
{
    const struct mem_region *first = mem_find(m, at);
    const struct mem_region *last = mem_find(m, at + bytes - 1);

    return first != NULL && last != NULL && !first->read_only && !last->read_only;
}

/* What the selected item has next, and zeros behind it; false: not all of it is memory. */
static bool give(struct fwcfg *f, uint64_t at, uint32_t bytes)
{
    static const uint8_t zeros[PIECE_BYTES];

    while (bytes > 0) {
        uint32_t n = left(f);
        const uint8_t *from = n > 0 ? f->bytes + f->offset : zeros;

        n = n == 0 || n > PIECE_BYTES ? PIECE_BYTES : n;
        n = n > bytes ? bytes : n;
        if (at + n < at || !takes(f->config.mem, at, n) ||
            mem_write(f->config.mem, at, from, n) != 0) {
            return false;
        }
        advance(f, n);
        at += n;
        bytes -= n;
    }
    return true;
}

static uint32_t transfer(struct fwcfg *f, const struct transfer *t)
{
    uint32_t control = be32toh(t->control);
    uint32_t bytes = be32toh(t->bytes);

    if ((control & CONTROL_SELECT) != 0) {
        choose(f, (uint16_t)(control >> 16));
    }
    if ((control & CONTROL_READ) != 0 && bytes > left(f) + ZEROS_MOST) {
        return CONTROL_ERROR; /* it would hold up every other device */
    }
    if ((control & CONTROL_READ) != 0) {
        return give(f, be64toh(t->at), bytes) ? 0 : CONTROL_ERROR;
    }
    if ((control & CONTROL_WRITE) != 0) {
        return bytes > 0 ? CONTROL_ERROR : 0;
    }
    if ((control & CONTROL_SKIP) != 0) {
        advance(f, bytes);
    }
    return 0;
}

static void serve(struct fwcfg *f, uint64_t at)
{
    struct transfer t;
    uint32_t result = CONTROL_ERROR;

    if (mem_read(f->config.mem, at, &t, sizeof t) == 0) {
        result = transfer(f, &t);
    }
    result = htobe32(result);
    if (at + sizeof result > at && takes(f->config.mem, at, sizeof result)) {
        (void)mem_write(f->config.mem, at, &result, sizeof result);
    }
}

static uint64_t read_dma(void *who, uint64_t offset, unsigned bytes)
{
    uint64_t v = 0;

    (void)who;
    memcpy(&v, dma_signature + offset, bytes);
    return v;
}

static void write_dma(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct fwcfg *f = who;
    uint32_t half = be32toh((uint32_t)value);

    if (bytes != 4) {
        return;
    }
    if (offset == 0) {
        f->dma_high = half;
    } else if (offset == 4) {
        uint64_t at = (uint64_t)f->dma_high << 32 | half;

        f->dma_high = 0;
        serve(f, at);
    }
}

/* ---- the device ---- */

static void list_files(struct fwcfg *f)
{
    unsigned n = 0;

    for (unsigned i = 0; i < f->config.items; i++) {
        const struct fwcfg_item *item = &f->config.item[i];
        struct directory_entry *to = &f->directory.entry[n];

        if (item->name != NULL) {
            assert(n < FWCFG_FILES_MOST && strlen(item->name) < FWCFG_NAME_BYTES);
            to->bytes = htobe32(item->count);
            to->key = htobe16((uint16_t)(FWCFG_FILE_FIRST + n));
            (void)strncpy(to->name, item->name, FWCFG_NAME_BYTES - 1);
            n++;
        }
    }
    f->directory.count = htobe32(n);
    f->directory_bytes =
        (uint32_t)(offsetof(struct directory, entry) + n * sizeof f->directory.entry[0]);
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io data = {
        .name = "fwcfg", .read = read_data, .write = write_selector};
    static const struct board_io dma = {
        .name = "fwcfg", .read = read_dma, .write = write_dma};
    struct fwcfg *f = (struct fwcfg *)d;
    const struct board_claim ports = {PORT, PORT_BYTES, &data, f};
    const struct board_claim address = {DMA, DMA_BYTES, &dma, f};
    int r = board_claim(d->board, BOARD_PORTS, &ports, e);

    f->config = *(const struct fwcfg_config *)config;
    list_files(f);
    return r == 0 ? board_claim(d->board, BOARD_PORTS, &address, e) : r;
}

static void reset(struct dev *d)
{
    struct fwcfg *f = (struct fwcfg *)d;

    f->key = KEY_SIGNATURE;
    f->offset = 0;
    f->dma_high = 0;
    find(f);
}

static void carry(struct dev *d, struct snap *s)
{
    struct fwcfg *f = (struct fwcfg *)d;

    SNAP_FIELD(s, f->key);
    SNAP_FIELD(s, f->offset);
    SNAP_FIELD(s, f->dma_high);
    find(f);
}

const struct dev_class dev_fwcfg = {
    .name = "fwcfg",
    .summary = "what a machine tells its firmware",
    .source = "QEMU docs/specs/fw_cfg.rst",
    .state_bytes = sizeof(struct fwcfg),
    .start = start,
    .reset = reset,
    .carry = carry,
};
