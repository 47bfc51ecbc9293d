/* firmware_test.c - what firmware is told, as QEMU's document fw_cfg.rst says; hostile accesses. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/firmware/debug_port.h"
#include "virt/monitor/firmware/flash.h"
#include "virt/monitor/firmware/fwcfg.h"

#define RAM_BYTES UINT64_C(0x10000)
#define ROM       UINT64_C(0x20000)
#define TRANSFER  UINT64_C(0x100) /* where the tests describe them */

struct bench {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    struct dev *dev;
    unsigned refreshed;
    char text[8];
    unsigned chars;
};

static const uint16_t cpus = 7;
static const char first[] = "first file";
static char second[6000];

static const struct fwcfg_item items[] = {
    {.key = FWCFG_CPUS, .bytes = &cpus, .count = sizeof cpus},
    {.name = "etc/first", .bytes = first, .count = sizeof first},
    {.name = "etc/second", .bytes = second, .count = sizeof second},
};

static void on_refresh(void *who)
{
    ((struct bench *)who)->refreshed++;
}

static int set_up(void **state)
{
    static struct bench b;
    struct fwcfg_config c = {.item = items,
                             .items = sizeof items / sizeof items[0],
                             .refresh = on_refresh,
                             .who = &b};

    memset(&b, 0, sizeof b);
    memset(second, 's', sizeof second);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(ram_create(RAM_PRIVATE, &b.mem, NULL), 0);
    assert_int_equal(mem_add_ram(b.mem, 0, RAM_BYTES, false, NULL), 0);
    assert_int_equal(mem_add_ram(b.mem, ROM, RAM_BYTES, true, NULL), 0);
    c.mem = b.mem;
    assert_int_equal(dev_create(&dev_fwcfg, b.board, &c, &b.dev, NULL), 0);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    dev_destroy(b->dev);
    board_destroy(b->board);
    mem_destroy(b->mem);
    loop_destroy(b->loop);
    return 0;
}

static void out(struct bench *b, uint16_t port, unsigned bytes, uint64_t v)
{
    board_write(b->board, BOARD_PORTS, port, bytes, v);
}

static uint64_t in(struct bench *b, uint16_t port, unsigned bytes)
{
    return board_read(b->board, BOARD_PORTS, port, bytes);
}

static void take(struct bench *b, uint16_t key, void *to, unsigned n)
{
    out(b, 0x510, 2, key);
    for (unsigned i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = (uint8_t)in(b, 0x511, 1);
    }
}

static void it_says_what_it_is(void **state)
{
    char text[8];
    uint32_t features;

    take(*state, 0, text, 6);
    assert_memory_equal(text, "QEMU\0\0", 6); /* and zeros behind the end */
    take(*state, 1, &features, 4);
    assert_int_equal(features, 3); /* ports, and transfers */
    take(*state, 0x7777, text, 4);
    assert_memory_equal(text, "\0\0\0\0", 4);
}

static void items_are_read_byte_by_byte(void **state)
{
    struct bench *b = *state;
    uint16_t n;
    char text[sizeof first];

    take(b, FWCFG_CPUS, &n, 2);
    assert_int_equal(n, cpus);
    take(b, FWCFG_CPUS | 0x4000, &n, 2); /* the bit that once meant writes */
    assert_int_equal(n, cpus);
    assert_int_equal(b->refreshed, 0);
    take(b, FWCFG_FILE_FIRST, text, sizeof text);
    assert_string_equal(text, first);
    assert_int_equal(b->refreshed, 1);
    out(b, 0x510, 1, 0); /* no selection: one byte */
    assert_int_equal(in(b, 0x511, 1), 0);
}

struct entry {
    uint32_t bytes;
    uint16_t key, zero;
    char name[56];
};

static void the_directory_names_files(void **state)
{
    struct {
        uint32_t count;
        struct entry entry[2];
    } d;

    take(*state, 0x19, &d, sizeof d);
    assert_int_equal(be32toh(d.count), 2);
    assert_string_equal(d.entry[0].name, "etc/first");
    assert_int_equal(be16toh(d.entry[0].key), 0x20);
    assert_int_equal(be32toh(d.entry[0].bytes), sizeof first);
    assert_string_equal(d.entry[1].name, "etc/second");
    assert_int_equal(be16toh(d.entry[1].key), 0x21);
    assert_int_equal(be32toh(d.entry[1].bytes), sizeof second);
}

/* The control word that is left. */
static uint32_t transfer(struct bench *b, uint32_t control, uint32_t bytes, uint64_t at)
{
    const struct {
        uint32_t control, bytes;
        uint64_t at;
    } t = {htobe32(control), htobe32(bytes), htobe64(at)};

    uint32_t left;

    assert_int_equal(mem_write(b->mem, TRANSFER, &t, sizeof t), 0);
    out(b, 0x514, 4, 0);
    out(b, 0x518, 4, htobe32((uint32_t)TRANSFER));
    assert_int_equal(mem_read(b->mem, TRANSFER, &left, 4), 0);
    return be32toh(left);
}

static void transfers_reach_memory(void **state)
{
    struct bench *b = *state;
    char text[sizeof second + 4];

    assert_int_equal(in(b, 0x514, 4), 0x554d4551); /* "QEMU CFG" */
    assert_int_equal(in(b, 0x518, 4), 0x47464320);
    assert_int_equal(transfer(b, 0x200000 | 8 | 2, 5, 0x1000), 0);
    assert_int_equal(mem_read(b->mem, 0x1000, text, 6), 0);
    assert_memory_equal(text, "first\0", 6);
    assert_int_equal(transfer(b, 4, 1, 0), 0); /* skip the space, and go on */
    assert_int_equal(transfer(b, 2, 4, 0x1000), 0);
    assert_int_equal(mem_read(b->mem, 0x1000, text, 4), 0);
    assert_memory_equal(text, "file", 4);
    assert_int_equal(transfer(b, 0x210000 | 8 | 2, sizeof text, 0x1ffe), 0);
    assert_int_equal(mem_read(b->mem, 0x1ffe, text, sizeof text), 0);
    assert_memory_equal(text, second, sizeof second);
    assert_memory_equal(text + sizeof second, "\0\0\0\0", 4);
}

static void no_answer_goes_into_a_rom(void **state)
{
    struct bench *b = *state;
    uint8_t before[16];
    uint8_t after[16];

    memset(before, 0xff, sizeof before);
    assert_int_equal(mem_write(b->mem, ROM, before, sizeof before),
                     0); /* as it is loaded */
    out(b, 0x514, 4, 0);
    out(b, 0x518, 4, htobe32((uint32_t)ROM));
    assert_int_equal(mem_read(b->mem, ROM, after, sizeof after), 0);
    assert_memory_equal(after, before, sizeof after);
}

static void what_cannot_be_transferred_is_an_error(void **state)
{
    struct bench *b = *state;
    static const uint8_t zeros[64];
    uint8_t rom[64];

    assert_int_equal(transfer(b, 0x200000 | 8 | 16, 4, 0x1000), 1); /* a write */
    assert_int_equal(transfer(b, 0x200000 | 8 | 2, 4, RAM_BYTES), 1);
    assert_int_equal(transfer(b, 0x200000 | 8 | 2, UINT32_MAX, 0x200), 1);
    assert_int_equal(transfer(b, 0x200000 | 8 | 2, 64, UINT64_MAX - 3), 1);
    assert_int_equal(transfer(b, 0x210000 | 8 | 2, 64, ROM), 1);
    assert_int_equal(mem_read(b->mem, ROM, rom, sizeof rom), 0);
    assert_memory_equal(rom, zeros, sizeof rom);
    assert_int_equal(transfer(b, 0, UINT32_MAX, 0), 0); /* nothing is asked for */
    assert_int_equal(transfer(b, 4, UINT32_MAX, 0), 0);
    assert_int_equal(transfer(b, 4, UINT32_MAX, 0), 0); /* far behind the end */
    assert_int_equal(in(b, 0x511, 1), 0);
    out(b, 0x514, 4, 0xffffffff); /* described nowhere */
    out(b, 0x518, 4, 0xffffffff);
}

static void half_a_read_goes_on_after_a_snapshot(void **state)
{
    struct bench *b = *state;
    struct snap_memory s;
    char text[8];

    take(b, FWCFG_FILE_FIRST, text, 6);
    snap_memory_write(&s);
    b->dev->class->carry(b->dev, &s.snap);
    b->dev->class->reset(b->dev);
    assert_int_equal(in(b, 0x511, 1), 'Q');
    snap_memory_read(&s);
    b->dev->class->carry(b->dev, &s.snap);
    snap_memory_fini(&s);
    assert_int_equal(in(b, 0x511, 1), 'f');
}

static void on_text(void *who, const uint8_t *bytes, unsigned n)
{
    struct bench *b = who;

    memcpy(b->text + b->chars, bytes, n);
    b->chars += n;
}

static void the_log_port_is_heard(void **state)
{
    struct bench *b = *state;
    const struct debug_port_config c = {on_text, b};
    struct dev *port;

    assert_int_equal(in(b, 0x402, 1), 0xff); /* how firmware knows that nobody listens */
    assert_int_equal(dev_create(&dev_debug_port, b->board, &c, &port, NULL), 0);
    assert_int_equal(in(b, 0x402, 1), 0xe9);
    out(b, 0x402, 1, 'o');
    out(b, 0x402, 1, 'k');
    assert_string_equal(b->text, "ok");
    dev_destroy(port);
}

/* ---- flash memory: Intel 28F640J5, table 4 ---- */

#define FLASH UINT64_C(0xffc00000)

static uint8_t cells[2 * FLASH_BLOCK_BYTES];

static struct dev *make_flash(struct bench *b)
{
    const struct flash_config c = {FLASH, cells, sizeof cells};
    struct dev *d;

    memset(cells, 0xa5, sizeof cells);
    assert_int_equal(dev_create(&dev_flash, b->board, &c, &d, NULL), 0);
    return d;
}

static void store(struct bench *b, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(b->board, BOARD_MEMORY, FLASH + at, bytes, v);
}

static uint64_t load(struct bench *b, uint64_t at, unsigned bytes)
{
    return board_read(b->board, BOARD_MEMORY, FLASH + at, bytes);
}

/* As QemuFlashDetected() of OVMF does. */
static void firmware_knows_it_as_flash(void **state)
{
    struct bench *b = *state;
    struct dev *d = make_flash(b);

    assert_int_equal(load(b, 0, 1), 0xa5);
    store(b, 0, 1, 0x50);
    assert_int_equal(load(b, 0, 1), 0xa5);
    store(b, 0, 1, 0x70);
    assert_int_equal(load(b, 0, 1), 0x00);
    store(b, 0, 1, 0xff);
    assert_int_equal(load(b, 0, 8), UINT64_C(0xa5a5a5a5a5a5a5a5));
    dev_destroy(d);
}

static void programming_clears_bits_and_erasing_sets_them(void **state)
{
    struct bench *b = *state;
    struct dev *d = make_flash(b);

    store(b, 5000, 1, 0x10);
    store(b, 5000, 1, 0x0f);
    assert_int_equal(load(b, 0, 1), 0x80); /* ready */
    store(b, 0, 1, 0xff);
    assert_int_equal(load(b, 5000, 1), 0x05); /* what both had */
    store(b, 4097, 1, 0x20);
    store(b, 4097, 1, 0xd0);
    store(b, 0, 1, 0xff);
    assert_int_equal(load(b, 4095, 1), 0xa5);
    assert_int_equal(load(b, 4096, 1), 0xff);
    assert_int_equal(load(b, 8191, 1), 0xff);
    store(b, 0, 1, 0x20);
    store(b, 0, 1, 0x20); /* not confirmed */
    assert_int_equal(load(b, 0, 1) & 0x30, 0x30);
    store(b, 0, 1, 0xff);
    assert_int_equal(load(b, 0, 1), 0xa5);
    dev_destroy(d);
}

static void stores_at_its_end_stay_inside(void **state)
{
    struct bench *b = *state;
    struct dev *d = make_flash(b);

    for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
        for (uint64_t at = sizeof cells - 8; at < sizeof cells; at++) {
            store(b, at, 1, 0x10);
            store(b, at, bytes, 0); /* the sanitizer looks */
            store(b, at, 1, 0xff);
            (void)load(b, at, bytes);
        }
    }
    dev_destroy(d);
}

static void what_it_holds_is_carried(void **state)
{
    struct bench *b = *state;
    struct dev *d = make_flash(b);
    struct snap_memory s;

    store(b, 1, 1, 0x10); /* between a command and its data */
    snap_memory_write(&s);
    d->class->carry(d, &s.snap);
    d->class->reset(d);
    memset(cells, 0, sizeof cells);
    snap_memory_read(&s);
    d->class->carry(d, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);
    snap_memory_fini(&s);
    store(b, 1, 1, 0x01);
    store(b, 0, 1, 0xff);
    assert_int_equal(load(b, 1, 1), 0x01);
    assert_int_equal(load(b, 2, 1), 0xa5);
    dev_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_what_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(items_are_read_byte_by_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_directory_names_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transfers_reach_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_transferred_is_an_error, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_answer_goes_into_a_rom, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_read_goes_on_after_a_snapshot, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_log_port_is_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(firmware_knows_it_as_flash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(programming_clears_bits_and_erasing_sets_them,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(stores_at_its_end_stay_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_it_holds_is_carried, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
