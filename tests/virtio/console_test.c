/* console_test.c - the console device: ports that come, open, and carry bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "host/loop/loop.h"
#include "tests/virtio/plug.h"
#include "virtio/console/console.h"
#include "virtio/console/numbers.h"

#define CONTROLS 8u

struct end {
    uint8_t bytes[300000];
    uint32_t count;
    uint32_t most; /* takes no more */
    unsigned room, opens, closes;
};

struct world {
    struct plug p; /* first */
    struct end end[2];
    uint64_t at[CONTROLS]; /* buffers of the control queue */
    uint16_t id[CONTROLS];
};

static uint32_t on_output(void *who, const uint8_t *bytes, uint32_t n)
{
    struct end *e = who;

    n = n < e->most - e->count ? n : e->most - e->count;
    memcpy(e->bytes + e->count, bytes, n);
    e->count += n;
    return n;
}

static void on_room(void *who)
{
    ((struct end *)who)->room++;
}

static void on_opened(void *who, bool is_open)
{
    ((struct end *)who)->opens += is_open ? 1 : 0;
    ((struct end *)who)->closes += is_open ? 0 : 1;
}

static void offer_control(struct world *w, unsigned i)
{
    w->id[i] = (uint16_t)plug_offer_in(&w->p, 2, w->at[i], 256);
    plug_kick(&w->p, 2);
}

static void set_up(struct world *w, uint64_t features)
{
    const struct virtio_console_port ports[2] = {
        {NULL, true, on_output, on_room, on_opened, &w->end[0]},
        {"org.strata.test", false, on_output, on_room, on_opened, &w->end[1]}};
    struct virtio_console_options o = {
        .ports = ports, .count = 2, .cols = 80, .rows = 25};
    bool has_ports = (features & VIRTIO_CONSOLE_F_MULTIPORT) != 0;
    struct virtio_device *d;

    memset(w, 0, sizeof *w);
    w->end[0].most = sizeof w->end[0].bytes;
    w->end[1].most = sizeof w->end[1].bytes;
    plug_init(&w->p);
    o.loop = w->p.loop;
    assert_int_equal(virtio_console_create(&o, &d, NULL), 0);
    plug_in(&w->p, d);
    plug_start(&w->p, features, has_ports ? 6 : 2);
    for (unsigned i = 0; i < CONTROLS && has_ports; i++) {
        w->at[i] = plug_room(&w->p, 256);
        offer_control(w, i);
    }
}

static void tear_down(struct world *w)
{
    plug_fini(&w->p);
}

static void says(struct world *w, uint32_t port, uint16_t event, uint16_t value)
{
    const struct virtio_console_message m = {port, event, value};
    struct driver_piece p = {plug_room(&w->p, sizeof m), sizeof m, false};

    memcpy(plug_at(&w->p, p.at), &m, sizeof m);
    assert_true(plug_offer(&w->p, 3, &p, 1) >= 0);
    plug_kick(&w->p, 3);
    assert_int_equal(plug_get(&w->p, 3, NULL), 0);
}

/* The next message for the guest is this one, with so many bytes behind it. */
static void hears(struct world *w, uint32_t port, uint16_t event, uint16_t value,
                  const void *more, unsigned bytes)
{
    struct virtio_console_message m;
    uint16_t id;
    unsigned i = 0;

    assert_int_equal(plug_get(&w->p, 2, &id), sizeof m + bytes);
    while (w->id[i] != id) {
        i++;
        assert_true(i < CONTROLS);
    }
    memcpy(&m, plug_at(&w->p, w->at[i]), sizeof m);
    assert_int_equal(m.port, port);
    assert_int_equal(m.event, event);
    assert_int_equal(m.value, value);
    assert_memory_equal(plug_at(&w->p, w->at[i] + sizeof m), more, bytes);
    offer_control(w, i);
}

static void hears_nothing(struct world *w)
{
    assert_int_equal(plug_get(&w->p, 2, NULL), -1);
}

static void ports_are_introduced(struct world *w)
{
    const uint16_t size[2] = {80, 25};

    says(w, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    hears(w, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    hears(w, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    says(w, 0, VIRTIO_CONSOLE_PORT_READY, 1);
    hears(w, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "", 0);
    hears(w, 0, VIRTIO_CONSOLE_RESIZE, 1, size, 4);
    says(w, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    hears(w, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.strata.test", 15);
    hears_nothing(w);
}

static void ports_come_and_open(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        const uint16_t size[2] = {132, 50};

        set_up(&w, plug_kinds[k] | VIRTIO_CONSOLE_F_MULTIPORT);
        ports_are_introduced(&w);
        virtio_console_open(w.p.d, 1, true);
        hears(&w, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
        virtio_console_resize(w.p.d, 100, 40);
        virtio_console_resize(w.p.d, 132, 50);
        hears(&w, 0, VIRTIO_CONSOLE_RESIZE, 1, (const uint16_t[2]){100, 40}, 4);
        hears(&w, 0, VIRTIO_CONSOLE_RESIZE, 1, size, 4);
        says(&w, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
        says(&w, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
        assert_int_equal(w.end[1].opens, 1);
        says(&w, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
        assert_int_equal(w.end[1].closes, 1);
        tear_down(&w);
    }
}

static void puts_out(struct world *w, unsigned queue, uint32_t bytes, uint32_t from)
{
    uint64_t at = plug_room(&w->p, bytes);
    struct driver_piece p[2] = {{at, bytes / 3, false},
                                {at + bytes / 3, bytes - bytes / 3, false}};

    for (uint32_t i = 0; i < bytes; i++) {
        plug_at(&w->p, at)[i] = (uint8_t)((from + i) * 7 >> 2);
    }
    assert_true(plug_offer(&w->p, queue, p, 2) >= 0);
    plug_kick(&w->p, queue);
}

static void check_bytes(const struct end *e, uint32_t count)
{
    assert_int_equal(e->count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(e->bytes[i], (uint8_t)(i * 7 >> 2));
    }
}

static void bytes_go_out(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;

        set_up(&w, plug_kinds[k] | VIRTIO_CONSOLE_F_MULTIPORT);
        w.end[1].most = 5000;
        puts_out(&w, 5, 100, 0);
        assert_int_equal(plug_get(&w.p, 5, NULL), 0);
        puts_out(&w, 5, 9000, 100);
        puts_out(&w, 5, 200000, 9100);
        assert_int_equal(plug_get(&w.p, 5, NULL), -1);
        check_bytes(&w.end[1], 5000);
        plug_pause(&w.p); /* in the middle of a chain */
        plug_resume(&w.p);
        w.end[1].most = sizeof w.end[1].bytes;
        virtio_console_more(w.p.d, 1);
        plug_turn(&w.p);
        assert_int_equal(plug_get(&w.p, 5, NULL), 0);
        assert_int_equal(plug_get(&w.p, 5, NULL), 0);
        check_bytes(&w.end[1], 209100);
        assert_int_equal(w.end[0].count, 0);
        tear_down(&w);
    }
}

static void bytes_come_in(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;

        set_up(&w, plug_kinds[k] | VIRTIO_CONSOLE_F_MULTIPORT);
        at = plug_room(&w.p, 100);
        assert_true(plug_offer_in(&w.p, 4, at, 10) >= 0);
        assert_int_equal(virtio_console_type(w.p.d, 1, "hello", 5), 0); /* is closed */
        says(&w, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
        assert_int_equal(w.end[1].room, 1);
        assert_true(plug_offer_in(&w.p, 4, at + 10, 10) >= 0);
        plug_kick(&w.p, 4);
        assert_int_equal(virtio_console_type(w.p.d, 1, "0123456789abcdefghijklmn", 24),
                         20);
        assert_int_equal(plug_get(&w.p, 4, NULL), 10);
        assert_int_equal(plug_get(&w.p, 4, NULL), 10);
        assert_memory_equal(plug_at(&w.p, at), "0123456789abcdefghij", 20);
        assert_int_equal(w.end[1].room, 1);
        assert_true(plug_offer_in(&w.p, 4, at, 10) >= 0);
        plug_kick(&w.p, 4);
        assert_int_equal(w.end[1].room, 2);
        assert_int_equal(virtio_console_type(w.p.d, 1, "klmn", 4), 4);
        assert_int_equal(plug_get(&w.p, 4, NULL), 4);
        tear_down(&w);
    }
}

static void a_driver_without_ports_has_one(void **state)
{
    struct world w;
    uint64_t at;

    (void)state;
    set_up(&w, 0);
    puts_out(&w, 1, 50, 0);
    check_bytes(&w.end[0], 50);
    at = plug_room(&w.p, 10);
    assert_true(plug_offer_in(&w.p, 0, at, 10) >= 0);
    assert_int_equal(virtio_console_type(w.p.d, 0, "x", 1), 1);
    assert_int_equal(virtio_console_type(w.p.d, 1, "x", 1), 0);
    virtio_console_open(w.p.d, 1, true);
    virtio_console_resize(w.p.d, 1, 2);
    assert_int_equal(w.p.config_changes, 1);
    tear_down(&w);
}

static void nonsense_hurts_nobody(void **state)
{
    struct world w;
    struct driver_piece p = {0, 7, false};
    uint8_t c[12];
    uint32_t byte = 'A';

    (void)state;
    set_up(&w, VIRTIO_CONSOLE_F_MULTIPORT);
    ports_are_introduced(&w);
    says(&w, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
    says(&w, UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1);
    says(&w, 0, 99, 1);
    says(&w, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
    p.at = plug_room(&w.p, 8);
    assert_true(plug_offer(&w.p, 3, &p, 1) >= 0); /* cut */
    plug_kick(&w.p, 3);
    hears_nothing(&w);
    assert_int_equal(w.p.broken, 0);
    w.p.d->ops->config_read(w.p.d, 0, c, sizeof c);
    assert_int_equal(c[0], 80);
    assert_int_equal(c[2], 25);
    assert_int_equal(c[4], 2);
    assert_int_equal(w.p.d->ops->config_write(w.p.d, 8, &byte, 4), 0); /* a last word */
    assert_int_equal(w.end[0].bytes[0], 'A');
    assert_int_equal(w.p.d->ops->config_write(w.p.d, 0, &byte, 4), -EACCES);

    /* a buffer that holds nothing */
    says(&w, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    assert_true(plug_offer_in(&w.p, 4, p.at, 0) >= 0);
    assert_int_equal(virtio_console_type(w.p.d, 1, "x", 1), 0);
    assert_int_equal(w.p.broken, 1);
    plug_reset(&w.p);
    assert_int_equal(w.end[1].closes, 1);
    tear_down(&w);
}

static void impossible_consoles_are_refused(void **state)
{
    const struct virtio_console_port port = {.output = on_output};
    struct virtio_console_options o = {.ports = &port};
    struct virtio_device *d = NULL;

    (void)state;
    assert_int_equal(virtio_console_create(&o, &d, NULL), -EINVAL);
    o.count = VIRTIO_CONSOLE_PORTS_MOST + 1;
    assert_int_equal(virtio_console_create(&o, &d, NULL), -EINVAL);
    o.count = 1;
    fault_fail_alloc_at(0);
    assert_int_equal(virtio_console_create(&o, &d, NULL), -ENOMEM);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_come_and_open),
        cmocka_unit_test(bytes_go_out),
        cmocka_unit_test(bytes_come_in),
        cmocka_unit_test(a_driver_without_ports_has_one),
        cmocka_unit_test(nonsense_hurts_nobody),
        cmocka_unit_test(impossible_consoles_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
