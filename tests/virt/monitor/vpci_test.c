/* vpci_test.c - the PCI transport of virtio does what VIRTIO 1.2, 4.1 says, with a device that
 * notes what is asked of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/device.h"
#include "virtio/space.h"

#define ECAM      UINT64_C(0xe0000000)
#define WINDOW    UINT64_C(0xc0000000) /* BAR 1 comes first */
#define REGS      (WINDOW + 0x4000)
#define ISR       (REGS + 0x1000)
#define DEVICE    (REGS + 0x2000)
#define NOTIFY    (REGS + 0x3000)
#define SLOT      1u
#define QUEUES    3u /* the second one is not there */
#define SIZE      64u
#define FEATURES  (VIRTQ_FEATURES | 0x5)
#define RAM_BYTES 0x100000u

/* Registers of the common structure: 4.1.4.3. */
enum {
    DEVICE_SELECT = 0,
    DEVICE_FEATURE = 4,
    DRIVER_SELECT = 8,
    DRIVER_FEATURE = 12,
    CONFIG_VECTOR = 16,
    NUM_QUEUES = 18,
    STATUS = 20,
    GENERATION = 21,
    QUEUE_SELECT = 22,
    QUEUE_SIZE = 24,
    QUEUE_VECTOR = 26,
    QUEUE_ENABLE = 28,
    QUEUE_NOTIFY_OFF = 30,
    QUEUE_DESC = 32,
    QUEUE_DRIVER = 40,
    QUEUE_DEVICE = 48
};

struct fake {
    struct virtio_device device; /* first */
    uint8_t config[16];
    unsigned starts, stops, resets, config_writes, writes_unready, kicks[QUEUES];
    uint64_t features;
    struct virtq_setup setup[QUEUES];
    int start_answer;
    bool stops_later;
    uint32_t carried;
};

struct bench {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    struct virtio_space_mem space;
    struct dev *dev;
    struct fake fake;
    unsigned sent;
    struct apic_message last;
    uint32_t lines;
};

/* ---- the device ---- */

static uint64_t features(const struct virtio_device *d)
{
    (void)d;
    return FEATURES;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return i == 0 || i == 2 ? SIZE : 0;
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    const struct fake *f = (const struct fake *)d;

    memset(to, 0, bytes);
    for (uint32_t i = 0; i < bytes && off + i < sizeof f->config; i++) {
        ((uint8_t *)to)[i] = f->config[off + i];
    }
}

/* The first half may be written. */
static int config_write(struct virtio_device *d, uint32_t off, const void *from,
                        uint32_t bytes)
{
    struct fake *f = (struct fake *)d;

    f->config_writes++;
    f->writes_unready += f->starts == 0;
    if (off + bytes > 8) {
        return -EACCES;
    }
    memcpy(f->config + off, from, bytes);
    return 0;
}

static int start(struct virtio_device *d, uint64_t given,
                 const struct virtq_setup queues[], unsigned count)
{
    struct fake *f = (struct fake *)d;

    assert_int_equal(count, QUEUES);
    memcpy(f->setup, queues, sizeof f->setup);
    f->features = given;
    f->starts++;
    return f->start_answer;
}

static void kicked(struct virtio_device *d, unsigned i)
{
    ((struct fake *)d)->kicks[i]++;
}

static void stop(struct virtio_device *d)
{
    struct fake *f = (struct fake *)d;

    f->stops++;
    if (!f->stops_later) {
        d->plug->stopped(d->transport);
    }
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return 1000 + i;
}

static void forget(struct virtio_device *d)
{
    struct fake *f = (struct fake *)d;

    f->resets++;
    memset(f->config, 0, 8);
}

static void carry(struct virtio_device *d, struct snap *s)
{
    SNAP_FIELD(s, ((struct fake *)d)->carried);
}

static const struct virtio_device_ops fake_ops = {
    .name = "fake",
    .id = 4,
    .pci_class = 0x00ff00,
    .features = features,
    .queue_size = queue_size,
    .config_read = config_read,
    .config_write = config_write,
    .start = start,
    .kicked = kicked,
    .stop = stop,
    .base = base,
    .reset = forget,
    .carry = carry,
};

/* ---- the machine ---- */

static void on_send(void *who, const struct apic_message *msg)
{
    struct bench *b = who;

    b->sent++;
    b->last = *msg;
}

static void on_level(void *who, unsigned line, bool is_high)
{
    struct bench *b = who;

    b->lines = (b->lines & ~(UINT32_C(1) << line)) | (uint32_t)is_high << line;
}

static void turn(struct bench *b)
{
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(loop_turn(b->loop, 0), 0);
    }
}

static uint64_t get(struct bench *b, uint64_t at, unsigned bytes)
{
    return board_read(b->board, BOARD_MEMORY, at, bytes);
}

static void put(struct bench *b, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(b->board, BOARD_MEMORY, at, bytes, v);
}

static uint64_t config(unsigned reg)
{
    return ECAM + (SLOT << 15) + reg;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct board_listener l = {on_level, &b};
    const struct pci_config pci = {.ecam = ECAM,
                                   .window_first = WINDOW,
                                   .window_last = ECAM - 1,
                                   .messages = {on_send, &b},
                                   .who = &b};
    struct pci_socket s = {.space = &b.space.space, .slot = SLOT};

    memset(&b, 0, sizeof b);
    b.fake.device.ops = &fake_ops;
    memset(b.fake.config, 0xa5, sizeof b.fake.config);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(board_listen(b.board, &l), 0);
    assert_int_equal(ram_create(RAM_PRIVATE, &b.mem, NULL), 0);
    assert_int_equal(mem_add_ram(b.mem, 0, RAM_BYTES, false, NULL), 0);
    virtio_space_over_mem(&b.space, b.mem);
    assert_int_equal(dev_create(&dev_pci, b.board, &pci, &b.dev, NULL), 0);
    s.loop = b.loop;
    s.bus = pci_bus_of(b.dev);
    assert_int_equal(vpci_card(&b.fake.device).plug(&b.fake.device, &s, NULL), 0);
    put(&b, config(4), 2, 6);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    b->fake.stops_later = false;
    pci_rest(b->dev);
    for (unsigned i = 0; i < 10 && !pci_rests(b->dev); i++) {
        turn(b);
    }
    assert_true(pci_rests(b->dev));
    dev_destroy(b->dev);
    assert_null(b->fake.device.plug);
    board_destroy(b->board);
    mem_destroy(b->mem);
    loop_destroy(b->loop);
    return 0;
}

/* ---- a driver ---- */

static void acknowledge(struct bench *b, uint64_t wanted)
{
    put(b, REGS + STATUS, 1, 1);
    put(b, REGS + STATUS, 1, 3);
    put(b, REGS + DRIVER_SELECT, 4, 0);
    put(b, REGS + DRIVER_FEATURE, 4, (uint32_t)wanted);
    put(b, REGS + DRIVER_SELECT, 4, 1);
    put(b, REGS + DRIVER_FEATURE, 4, wanted >> 32);
    put(b, REGS + STATUS, 1, 0xb);
}

static bool enable(struct bench *b, unsigned queue, uint64_t at)
{
    put(b, REGS + QUEUE_SELECT, 2, queue);
    put(b, REGS + QUEUE_DESC, 4, at & 0xffffffff);
    put(b, REGS + QUEUE_DESC + 4, 4, at >> 32);
    put(b, REGS + QUEUE_DRIVER, 8, at + 0x1000);
    put(b, REGS + QUEUE_DEVICE, 8, at + 0x2000);
    put(b, REGS + QUEUE_ENABLE, 2, 1);
    return get(b, REGS + QUEUE_ENABLE, 2) == 1;
}

static void go(struct bench *b)
{
    acknowledge(b, VIRTIO_F_VERSION_1);
    assert_true(enable(b, 0, 0x1000));
    put(b, REGS + STATUS, 1, 0xf);
    turn(b);
    assert_int_equal(b->fake.starts, 1);
}

static void vectors(struct bench *b)
{
    for (unsigned i = 0; i < 4; i++) {
        put(b, WINDOW + i * 16, 8, 0xfee00000);
        put(b, WINDOW + i * 16 + 8, 8, 0x40 + i);
    }
    put(b, config(0x42), 2, 0x8000);
}

/* ---- what it says of itself ---- */

/* A capability of type `type`: its register. */
static unsigned find(struct bench *b, unsigned type)
{
    unsigned at = (unsigned)get(b, config(0x34), 1);

    for (unsigned i = 0; i < 16 && at != 0; i++) {
        if (get(b, config(at), 1) == 9 && get(b, config(at + 3), 1) == type) {
            return at;
        }
        at = (unsigned)get(b, config(at + 1), 1);
    }
    fail();
    return 0;
}

static void the_function_is_what_the_plan_says(void **state)
{
    static const struct {
        unsigned type, bytes, offset, length;
    } want[] = {{1, 16, 0, 64},
                {2, 20, 0x3000, 0x1000},
                {3, 16, 0x1000, 0x1000},
                {4, 16, 0x2000, 0x1000}};
    struct bench *b = *state;

    assert_int_equal(get(b, config(0), 4), 0x10441af4);
    assert_int_equal(get(b, config(8), 4), 0x00ff0001);
    assert_int_equal(get(b, config(0x2c), 4), 0x00441af4);
    assert_int_equal(get(b, config(0x3d), 1), 1);
    assert_int_equal(get(b, config(6), 2), 0x10);
    for (unsigned i = 0; i < 4; i++) {
        unsigned at = find(b, want[i].type);

        assert_int_equal(get(b, config(at + 2), 1), want[i].bytes);
        assert_int_equal(get(b, config(at + 4), 4), 4);
        assert_int_equal(get(b, config(at + 8), 4), want[i].offset);
        assert_int_equal(get(b, config(at + 12), 4), want[i].length);
    }
    assert_int_equal(get(b, config(find(b, 2) + 16), 4), 4); /* between notifications */
    assert_int_equal(get(b, config(0x40), 4), 0x00034c11);   /* 3 queues and one more */
    assert_int_equal(get(b, config(0x44), 4), 1);
    assert_int_equal(get(b, config(0x48), 4), 0x801);
}

struct reg {
    unsigned at, bytes;
    uint64_t reset, ones; /* what it reads after ones were written */
};

static void common_registers_begin_and_keep(void **state)
{
    static const struct reg regs[] = {
        {DEVICE_SELECT, 4, 0, 0xffffffff},
        {DEVICE_FEATURE, 4, 0, 0}, /* nothing is behind that selector */
        {DRIVER_SELECT, 4, 0, 0xffffffff},
        {DRIVER_FEATURE, 4, 0, 0},
        {CONFIG_VECTOR, 2, 0xffff, 0xffff},
        {NUM_QUEUES, 2, 3, 3},
        {GENERATION, 1, 0, 0},
        {QUEUE_SIZE, 2, SIZE, SIZE},
        {QUEUE_VECTOR, 2, 0xffff, 0xffff},
        {QUEUE_ENABLE, 2, 0, 0},
        {QUEUE_NOTIFY_OFF, 2, 0, 0},
        {QUEUE_DESC, 8, 0, UINT64_MAX},
        {QUEUE_DRIVER, 8, 0, UINT64_MAX},
        {QUEUE_DEVICE, 8, 0, UINT64_MAX},
        {56, 2, 0, 0},
        {58, 2, 0, 0},
        {QUEUE_SELECT, 2, 0, 0xffff},
    };
    struct bench *b = *state;

    assert_int_equal(get(b, REGS + DEVICE_FEATURE, 4), FEATURES & 0xffffffff);
    put(b, REGS + DEVICE_SELECT, 4, 1);
    assert_int_equal(get(b, REGS + DEVICE_FEATURE, 4),
                     (FEATURES | VIRTIO_F_VERSION_1) >> 32);
    put(b, REGS + DEVICE_SELECT, 4, 2);
    assert_int_equal(get(b, REGS + DEVICE_FEATURE, 4), 0);
    put(b, REGS + STATUS, 1, 0);
    for (unsigned i = 0; i < sizeof regs / sizeof regs[0]; i++) {
        if (regs[i].at != DEVICE_FEATURE) {
            assert_int_equal(get(b, REGS + regs[i].at, regs[i].bytes), regs[i].reset);
        }
        put(b, REGS + regs[i].at, regs[i].bytes, UINT64_MAX);
        assert_int_equal(get(b, REGS + regs[i].at, regs[i].bytes), regs[i].ones);
    }
    for (unsigned at = 24; at < 64; at++) { /* of a queue that is not there */
        put(b, REGS + at, 1, 0xff);
        assert_int_equal(get(b, REGS + at, 1), 0);
    }
    assert_int_equal(get(b, REGS + 60, 8), 0); /* crosses the end */
    assert_int_equal(get(b, REGS + 0x800, 4), 0);
    put(b, REGS + STATUS, 1, 0);
    assert_int_equal(get(b, REGS + QUEUE_SELECT, 2), 0);
    assert_int_equal(get(b, REGS + QUEUE_DESC, 8), 0);
    put(b, REGS + CONFIG_VECTOR, 4, 3); /* of another width: not heard */
    assert_int_equal(get(b, REGS + CONFIG_VECTOR, 2), 0xffff);
    put(b, REGS + CONFIG_VECTOR, 2, 3);
    assert_int_equal(get(b, REGS + CONFIG_VECTOR, 2), 3);
    put(b, REGS + CONFIG_VECTOR, 2, 4);
    assert_int_equal(get(b, REGS + CONFIG_VECTOR, 2), 0xffff);
}

/* ---- status and features ---- */

static void features_are_agreed_on_or_not(void **state)
{
    static const uint64_t bad[] = {0x5, VIRTIO_F_VERSION_1 | 0x2,
                                   VIRTIO_F_VERSION_1 | UINT64_C(1) << 63};
    struct bench *b = *state;

    for (unsigned i = 0; i < 3; i++) {
        acknowledge(b, bad[i]);
        assert_int_equal(get(b, REGS + STATUS, 1), 3);
        put(b, REGS + STATUS, 1, 7); /* not ready without them */
        assert_int_equal(get(b, REGS + STATUS, 1), 3);
        put(b, REGS + STATUS, 1, 0);
        assert_int_equal(get(b, REGS + STATUS, 1), 0);
    }
    put(b, REGS + DRIVER_SELECT, 4, 2);
    put(b, REGS + DRIVER_FEATURE, 4, 1); /* bit 64 */
    acknowledge(b, VIRTIO_F_VERSION_1);
    assert_int_equal(get(b, REGS + STATUS, 1), 3);
    put(b, REGS + STATUS, 1, 0);
    acknowledge(b, VIRTIO_F_VERSION_1 | 4);
    assert_int_equal(get(b, REGS + STATUS, 1), 0xb);
    put(b, REGS + DRIVER_FEATURE, 4, 0); /* they stand */
    assert_int_equal(get(b, REGS + DRIVER_FEATURE, 4), 1);
    put(b, REGS + STATUS, 1, 1); /* bits are not taken back */
    assert_int_equal(get(b, REGS + STATUS, 1), 0xb);
    put(b, REGS + STATUS, 1, 0xff); /* NEEDS_RESET is the device's */
    assert_int_equal(get(b, REGS + STATUS, 1), 0xbf);
    turn(b);
    assert_int_equal(b->fake.starts, 1);
    assert_int_equal(b->fake.features, VIRTIO_F_VERSION_1 | 4);
}

static void a_device_works_while_it_is_wanted(void **state)
{
    struct bench *b = *state;

    put(b, config(4), 2, 2); /* may not reach for memory */
    acknowledge(b, VIRTIO_F_VERSION_1);
    assert_true(enable(b, 2, 0x8000));
    put(b, REGS + STATUS, 1, 0xf);
    turn(b);
    assert_int_equal(b->fake.starts, 0);
    put(b, config(4), 2, 6);
    turn(b);
    assert_int_equal(b->fake.starts, 1);
    assert_int_equal(b->fake.setup[0].size, 0);
    assert_int_equal(b->fake.setup[2].size, SIZE);
    assert_int_equal(b->fake.setup[2].base, 0);
    assert_ptr_equal(b->fake.setup[2].rings.driver - b->fake.setup[2].rings.desc, 0x1000);
    put(b, config(4), 2, 2);
    turn(b);
    assert_int_equal(b->fake.stops, 1);
    put(b, config(4), 2, 6);
    turn(b);
    assert_int_equal(b->fake.starts, 2);
    assert_int_equal(b->fake.setup[2].base, 1002); /* it goes on where it was */
    pci_rest(b->dev);
    assert_true(pci_rests(b->dev));
    pci_wake(b->dev);
    assert_int_equal(b->fake.starts, 3);
}

static void a_reset_waits_for_the_device(void **state)
{
    struct bench *b = *state;

    go(b);
    b->fake.stops_later = true;
    put(b, REGS + STATUS, 1, 0);
    assert_int_equal(get(b, REGS + STATUS, 1), 0xf);
    turn(b);
    assert_int_equal(b->fake.stops, 1);
    assert_int_equal(get(b, REGS + STATUS, 1), 0xf);
    put(b, REGS + STATUS, 1, 0x8f); /* nothing is heard meanwhile */
    put(b, REGS + QUEUE_SELECT, 2, 2);
    b->fake.device.plug->notify(b->fake.device.transport, 0);
    b->fake.device.plug->broken(b->fake.device.transport);
    assert_int_equal(get(b, REGS + STATUS, 1), 0xf);
    assert_int_equal(b->fake.resets, 0);
    b->fake.device.plug->stopped(b->fake.device.transport);
    assert_int_equal(get(b, REGS + STATUS, 1), 0);
    assert_int_equal(b->fake.resets, 1);
    put(b, REGS + QUEUE_SELECT, 2, 0);
    assert_int_equal(get(b, REGS + QUEUE_ENABLE, 2), 0);
    assert_int_equal(get(b, REGS + QUEUE_DESC, 8), 0);
    b->fake.stops_later = false;
    b->fake.starts = 0;
    go(b);
    assert_int_equal(b->fake.setup[0].base, 0);

    /* Ready and reset again before the loop has looked. */
    put(b, REGS + STATUS, 1, 0);
    turn(b);
    acknowledge(b, VIRTIO_F_VERSION_1);
    put(b, REGS + STATUS, 1, 0xf);
    put(b, REGS + STATUS, 1, 0);
    turn(b);
    assert_int_equal(b->fake.starts, 1);
    assert_int_equal(get(b, REGS + STATUS, 1), 0);
}

static void a_device_that_cannot_start_needs_a_reset(void **state)
{
    struct bench *b = *state;

    b->fake.start_answer = -ENOMEM;
    acknowledge(b, VIRTIO_F_VERSION_1);
    put(b, REGS + STATUS, 1, 0xf);
    turn(b);
    assert_int_equal(get(b, REGS + STATUS, 1), 0x4f);
    turn(b);
    assert_int_equal(b->fake.starts, 1); /* it is not tried again */
    put(b, REGS + STATUS, 1, 0);
    turn(b);
    assert_int_equal(get(b, REGS + STATUS, 1), 0);
    b->fake.start_answer = 0;
    b->fake.starts = 0;
    go(b);
}

/* ---- queues ---- */

static void queues_that_lie_nowhere_are_not_enabled(void **state)
{
    static const uint64_t bad[] = {RAM_BYTES - 0x2000,
                                   RAM_BYTES,
                                   0x1008,
                                   UINT64_MAX - 15,
                                   UINT64_C(0xfffffffffffff000),
                                   REGS,
                                   UINT64_C(0x8000000000000000)};
    struct bench *b = *state;

    assert_false(enable(b, 0, 0x1000)); /* before features were agreed on */
    acknowledge(b, VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(enable(b, 0, bad[i]));
    }
    assert_false(enable(b, 1, 0x1000)); /* not there */
    assert_false(enable(b, 7, 0x1000));
    put(b, REGS + QUEUE_SELECT, 2, 0);
    put(b, REGS + QUEUE_SIZE, 2, 0);
    assert_int_equal(get(b, REGS + QUEUE_SIZE, 2), SIZE);
    put(b, REGS + QUEUE_SIZE, 2, SIZE + 1);
    assert_int_equal(get(b, REGS + QUEUE_SIZE, 2), SIZE);
    put(b, REGS + QUEUE_SIZE, 2, 24);
    assert_false(enable(b, 0, 0x1000)); /* a split queue has a power of two */
    put(b, REGS + QUEUE_SIZE, 2, 32);
    put(b, REGS + QUEUE_ENABLE, 2, 2);
    assert_int_equal(get(b, REGS + QUEUE_ENABLE, 2), 0);
    assert_true(enable(b, 0, 0x1000));
    put(b, REGS + QUEUE_SIZE, 2, 16); /* it stands until the reset */
    put(b, REGS + QUEUE_DESC, 8, 0);
    put(b, REGS + QUEUE_ENABLE, 2, 0);
    assert_int_equal(get(b, REGS + QUEUE_SIZE, 2), 32);
    assert_int_equal(get(b, REGS + QUEUE_DESC, 8), 0x1000);
    assert_int_equal(get(b, REGS + QUEUE_ENABLE, 2), 1);
    put(b, REGS + STATUS, 1, 0xf);
    turn(b);
    assert_int_equal(b->fake.setup[0].size, 32);
    assert_false(enable(b, 2, 0x8000)); /* too late */
}

static void packed_queues_begin_with_their_wrap_counters(void **state)
{
    struct bench *b = *state;

    acknowledge(b, VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED);
    put(b, REGS + QUEUE_SIZE, 2, 24);
    assert_true(enable(b, 0, 0x1000));
    put(b, REGS + STATUS, 1, 0xf);
    turn(b);
    assert_int_equal(b->fake.setup[0].size, 24);
    assert_int_equal(b->fake.setup[0].base, 0x80008000u);
}

static void a_kick_is_posted_once(void **state)
{
    struct bench *b = *state;

    put(b, NOTIFY, 2, 0); /* before it works */
    turn(b);
    assert_int_equal(b->fake.kicks[0], 0);
    go(b);
    for (unsigned i = 0; i < 10; i++) {
        put(b, NOTIFY, 2, 0);
        put(b, NOTIFY + 4, 2, 1); /* not enabled */
        put(b, NOTIFY + 8, 4, 2);
        put(b, NOTIFY + 12, 2, 3); /* not there */
        put(b, NOTIFY + 0xffc, 4, 0);
    }
    assert_int_equal(b->fake.kicks[0], 0);
    turn(b);
    assert_int_equal(b->fake.kicks[0], 1);
    assert_int_equal(b->fake.kicks[2], 0);
    put(b, NOTIFY, 1, 0);
    turn(b);
    assert_int_equal(b->fake.kicks[0], 2);
    assert_int_equal(get(b, NOTIFY, 4), 0);
}

/* ---- interrupts ---- */

static void queues_interrupt_by_their_vectors(void **state)
{
    struct bench *b = *state;
    const struct virtio_transport_ops *plug = b->fake.device.plug;
    void *t = b->fake.device.transport;

    vectors(b);
    plug->notify(t, 0);
    assert_int_equal(b->sent, 0); /* nobody is ready */
    go(b);
    plug->notify(t, 0);
    assert_int_equal(b->sent, 0); /* no vector */
    put(b, REGS + QUEUE_SELECT, 2, 0);
    put(b, REGS + QUEUE_VECTOR, 2, 2);
    put(b, REGS + CONFIG_VECTOR, 2, 3);
    plug->notify(t, 0);
    assert_int_equal(b->sent, 1);
    assert_int_equal(b->last.vector, 0x42);
    plug->config_changed(t);
    assert_int_equal(b->sent, 2);
    assert_int_equal(b->last.vector, 0x43);
    assert_int_equal(get(b, REGS + GENERATION, 1), 1);
    plug->notify(t, 77);
    assert_int_equal(b->sent, 2);
    assert_int_equal(get(b, ISR, 1), 0);
    plug->broken(t);
    plug->broken(t);
    assert_int_equal(b->sent, 3);
    assert_int_equal(get(b, REGS + STATUS, 1), 0x4f);
}

static void without_vectors_there_is_a_line(void **state)
{
    struct bench *b = *state;
    const struct virtio_transport_ops *plug = b->fake.device.plug;
    void *t = b->fake.device.transport;

    go(b);
    plug->notify(t, 0);
    assert_int_equal(b->lines, UINT32_C(1) << (16 + SLOT));
    assert_int_equal(get(b, config(6), 2), 0x18);
    plug->config_changed(t);
    assert_int_equal(get(b, ISR, 1), 3);
    assert_int_equal(b->lines, 0);
    assert_int_equal(get(b, ISR, 1), 0);
    plug->notify(t, 0);
    put(b, REGS + STATUS, 1, 0);
    turn(b);
    assert_int_equal(b->lines, 0); /* a reset lowers it */
    assert_int_equal(get(b, ISR, 1), 0);
    assert_int_equal(b->sent, 0);
}

/* ---- the device's configuration ---- */

static void what_the_driver_writes_shows_at_once(void **state)
{
    struct bench *b = *state;

    assert_int_equal(get(b, DEVICE, 4), 0xa5a5a5a5);
    assert_int_equal(get(b, DEVICE + 14, 4), 0x0000a5a5);
    assert_int_equal(get(b, DEVICE + 0xff8, 8), 0);
    put(b, DEVICE + 2, 2, 0x1234);
    put(b, DEVICE + 3, 1, 0x56);
    put(b, DEVICE + 12, 1, 0x77); /* which the device will refuse */
    assert_int_equal(get(b, DEVICE, 8), UINT64_C(0xa5a5a5a55634a5a5));
    assert_int_equal(get(b, DEVICE + 12, 1), 0x77);
    assert_int_equal(b->fake.config_writes, 0);
    turn(b);
    assert_int_equal(b->fake.config_writes, 3);
    assert_int_equal(get(b, DEVICE, 8), UINT64_C(0xa5a5a5a55634a5a5));
    assert_int_equal(get(b, DEVICE + 12, 1), 0xa5);
    for (unsigned i = 0; i < 1000; i++) {
        put(b, DEVICE + i % 2, 1, i);
        put(b, DEVICE + 4, 4, i);
    }
    turn(b);
    put(b, REGS + STATUS, 1, 0); /* the device is to forget */
    turn(b);
    assert_int_equal(b->fake.resets, 1);
    assert_int_equal(get(b, DEVICE, 8), 0);
}

static void writes_wait_until_the_device_knows_its_features(void **state)
{
    struct bench *b = *state;

    put(b, DEVICE, 1, 1); /* before features: a console's emergency write */
    turn(b);
    assert_int_equal(b->fake.config_writes, 1);
    acknowledge(b, VIRTIO_F_VERSION_1);
    put(b, DEVICE + 1, 1, 2);
    turn(b);
    assert_int_equal(b->fake.config_writes, 1);
    assert_int_equal(get(b, DEVICE + 1, 1), 2);
    put(b, REGS + STATUS, 1, 0xf);
    put(b, DEVICE + 2, 1, 3);
    turn(b);
    assert_int_equal(b->fake.starts, 1);
    assert_int_equal(b->fake.config_writes, 3);
    assert_int_equal(b->fake.writes_unready, 1);
    assert_int_equal(get(b, DEVICE, 4), 0xa5030201);
}

static void the_window_shows_what_the_bar_shows(void **state)
{
    struct bench *b = *state;
    unsigned at = find(b, 5);

    put(b, config(4), 2, 4); /* without the BAR */
    put(b, config(at + 4), 1, 4);
    put(b, config(at + 8), 4, NUM_QUEUES);
    put(b, config(at + 12), 4, 2);
    assert_int_equal(get(b, config(at + 16), 2), QUEUES);
    put(b, config(at + 8), 4, STATUS);
    put(b, config(at + 12), 4, 1);
    put(b, config(at + 16), 1, 3);
    assert_int_equal(get(b, config(at + 16), 1), 3);
    put(b, config(4), 2, 6);
    assert_int_equal(get(b, REGS + STATUS, 1), 3);
    go(b);
    put(b, config(at + 8), 4, 0x3000);
    put(b, config(at + 12), 4, 2);
    put(b, config(at + 16), 2, 0);
    turn(b);
    assert_int_equal(b->fake.kicks[0], 1);

    /* What makes no sense does nothing. */
    put(b, config(at + 12), 4, 3);
    put(b, config(at + 16), 4, 0);
    put(b, config(at + 12), 4, 4);
    put(b, config(at + 8), 4, 0xfffffffc);
    put(b, config(at + 16), 4, 0);
    (void)get(b, config(at + 16), 4);
    put(b, config(at + 8), 4, 0x3002);
    put(b, config(at + 16), 4, 0);
    put(b, config(at + 4), 1, 0);
    put(b, config(at + 8), 4, 0x3000);
    put(b, config(at + 16), 4, 0);
    turn(b);
    assert_int_equal(b->fake.kicks[0], 1);
}

/* ---- state ---- */

static void state_is_carried(void **state)
{
    struct bench *b = *state;
    struct snap_memory s;

    vectors(b);
    acknowledge(b, VIRTIO_F_VERSION_1 | 4);
    assert_true(enable(b, 2, 0x8000));
    put(b, REGS + QUEUE_VECTOR, 2, 1);
    put(b, REGS + STATUS, 1, 0xf);
    turn(b);
    b->fake.carried = 77;
    pci_rest(b->dev);
    assert_true(pci_rests(b->dev));
    snap_memory_write(&s);
    b->dev->class->carry(b->dev, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);

    board_lock(b->board);
    b->dev->class->reset(b->dev);
    board_unlock(b->board);
    assert_int_equal(b->fake.resets, 1);
    b->fake.carried = 0;
    b->fake.starts = 0;
    snap_memory_read(&s);
    b->dev->class->carry(b->dev, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);
    assert_int_equal(b->fake.carried, 77);
    pci_wake(b->dev);
    assert_int_equal(b->fake.starts, 1);
    assert_int_equal(b->fake.features, VIRTIO_F_VERSION_1 | 4);
    assert_int_equal(b->fake.setup[2].base, 1002);
    assert_int_equal(get(b, REGS + STATUS, 1), 0xf);
    b->fake.device.plug->notify(b->fake.device.transport, 2);
    assert_int_equal(b->last.vector, 0x41);

    /* Whatever bytes come, the machine stands. */
    for (size_t i = 0; i < s.count; i++) {
        pci_rest(b->dev);
        s.bytes[i] ^= 0x81;
        snap_memory_read(&s);
        b->dev->class->carry(b->dev, &s.snap);
        pci_wake(b->dev);
        turn(b);
        s.bytes[i] ^= 0x81;
    }
    snap_memory_fini(&s);
}

static void a_reset_of_the_machine_reaches_the_device(void **state)
{
    struct bench *b = *state;

    go(b);
    board_lock(b->board);
    b->dev->class->reset(b->dev);
    board_unlock(b->board);
    turn(b);
    assert_int_equal(b->fake.stops, 1);
    assert_int_equal(b->fake.resets, 1);
    put(b, config(4), 2, 6);
    assert_int_equal(get(b, REGS + STATUS, 1), 0);
    b->fake.starts = 0;
    go(b);
}

#define ONE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(the_function_is_what_the_plan_says),
        ONE(common_registers_begin_and_keep),
        ONE(features_are_agreed_on_or_not),
        ONE(a_device_works_while_it_is_wanted),
        ONE(a_reset_waits_for_the_device),
        ONE(a_device_that_cannot_start_needs_a_reset),
        ONE(queues_that_lie_nowhere_are_not_enabled),
        ONE(packed_queues_begin_with_their_wrap_counters),
        ONE(a_kick_is_posted_once),
        ONE(queues_interrupt_by_their_vectors),
        ONE(without_vectors_there_is_a_line),
        ONE(what_the_driver_writes_shows_at_once),
        ONE(writes_wait_until_the_device_knows_its_features),
        ONE(the_window_shows_what_the_bar_shows),
        ONE(state_is_carried),
        ONE(a_reset_of_the_machine_reaches_the_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
