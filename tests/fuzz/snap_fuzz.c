/* snap_fuzz.c - any bytes are a snapshot that is refused, or state that every chip can bear.
 *
 * As a file they are refused unless their sums are right; as what the sections of a right
 * file hold they reach the chips, which then meet their guest. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/cpu_x86.h"
#include "host/loop/loop.h"
#include "tests/fuzz/target.h"
#include "tests/virt/monitor/chips.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/snap/regs.h"
#include "virt/monitor/snap/stream.h"

#define NOW UINT64_C(123456789012)

static void as_file(const uint8_t *data, size_t size)
{
    struct stream s;
    struct err e = {0};
    int r = stream_take(&s, data, size, &e);

    assert(r == 0 || (e.code == r && e.text[0] != '\0'));
    stream_fini(&s);
}

/* A right file whose one section holds these bytes. */
static void wrap(struct stream *s, const uint8_t *data, size_t size)
{
    static const uint8_t id[STREAM_ID_BYTES] = {0};
    struct err e = {0};
    struct stream made;

    stream_init(&made, id);
    (void)snap_begin(&made.snap, "any", 1);
    made.snap.error = made.snap.ops->write(&made.snap, data, size);
    snap_end(&made.snap);
    assert(stream_seal(&made) == 0);
    assert(stream_take(s, made.bytes, made.count, &e) == 0);
    stream_fini(&made);
    (void)snap_begin(&s->snap, "any", 1);
}

static void use(struct board *b)
{
    static const uint16_t ports[] = {0x20,  0x21,  0xa0,  0x40,  0x41,  0x42,
                                     0x61,  0x71,  0x3f8, 0x3fa, 0x3fd, 0x600,
                                     0x604, 0x608, 0x620, 0x4d0};

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < sizeof ports / sizeof ports[0]; i++) {
            (void)board_read(b, BOARD_PORTS, ports[i], 1);
        }
        (void)board_read(b, BOARD_MEMORY, IOAPIC_BASE + 0x10, 4);
        board_lock(b);
        board_line(b, round, true);
        board_line(b, round, false);
        board_unlock(b);
        board_set_now(b, board_now(b) + 1000000);
    }
}

static void as_chip(struct loop *l, const uint8_t *data, size_t size)
{
    struct board *b;
    struct dev *d;
    struct stream s;
    const struct chip_kind *kind = &chip_kinds[data[0] % CHIPS];

    if (board_create(l, &b, NULL) != 0 ||
        dev_create(kind->class, b, kind->config, &d, NULL) != 0) {
        abort();
    }
    board_set_now(b, NOW);
    wrap(&s, data + 1, size - 1);
    board_lock(b);
    kind->class->carry(d, &s.snap);
    board_unlock(b);
    if (snap_error(&s.snap) == 0) {
        use(b);
        board_resume(b);
        (void)loop_turn(l, 0); /* timers that are due */
        board_pause(b);
        (void)loop_turn(l, 0);
    }
    stream_fini(&s);
    dev_destroy(d);
    board_destroy(b);
}

static uint64_t local_now(void *who)
{
    (void)who;
    return NOW;
}

static uint64_t local_cycles(void *who, uint64_t *ret_hz)
{
    *ret_hz = 1000000000u;
    return local_now(who);
}

static void on_others(void *who, const struct apic_message *msg, bool and_self)
{
    (void)who;
    (void)msg;
    (void)and_self;
}

static void on_eoi(void *who, uint8_t vector)
{
    (void)who;
    (void)vector;
}

static void on_timer(void *who, uint64_t at_ns)
{
    (void)who;
    (void)at_ns;
}

static void as_processor(const uint8_t *data, size_t size)
{
    static struct lapic l;
    static struct x86_regs r;
    const struct lapic_host host = {chip_event, chip_message, on_others,    on_eoi,
                                    on_timer,   local_now,    local_cycles, NULL};
    struct stream s;

    wrap(&s, data, size);
    lapic_init(&l, 1, &host);
    lapic_carry(&l, &s.snap);
    if (snap_error(&s.snap) == 0) {
        (void)lapic_take(&l);
        for (uint32_t at = 0; at < 0x400; at += 16) {
            (void)lapic_read(&l, at);
        }
        lapic_eoi(&l);
    }
    regs_carry(&r, &s.snap);
    stream_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *l;

    as_file(data, size);
    if (size < 2 || loop_create(LOOP_DRIVER_CREW, &l, NULL) != 0) {
        return 0;
    }
    as_chip(l, data, size);
    as_processor(data + 1, size - 1);
    loop_destroy(l);
    return 0;
}
