/* net_test.c - the network device between a driver and the end of a cable. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "contract/nic.h"
#include "contract/snap.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "tests/virtio/plug.h"
#include "virtio/net/net.h"
#include "virtio/net/numbers.h"

#define HEAD      12u
#define MTU       1500u
#define SEEN_MOST 600u

enum {
    RX,
    TX,
    CTRL
};

/* The far end of the cable: what came there. */
struct far {
    unsigned count;
    uint32_t bytes[SEEN_MOST];
    uint16_t number[SEEN_MOST]; /* bytes 14, 15 of the frame */
    struct nic_offload offload[SEEN_MOST];
    unsigned most; /* takes no more than that of them */
    unsigned writable;
};

struct world {
    struct plug p; /* first */
    struct nic *nic[2];
    struct far far;
};

static unsigned far_received(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct far *far = n->who;
    unsigned i = 0;

    for (; i < count && far->count < far->most; i++) {
        const uint8_t *b = f[i].iov[0].iov_base;

        assert_true(far->count < SEEN_MOST);
        far->bytes[far->count] = f[i].bytes;
        far->offload[far->count] = f[i].offload;
        far->number[far->count++] = (uint16_t)(b[14] << 8 | b[15]);
    }
    return i;
}

static void far_writable(struct nic *n)
{
    ((struct far *)n->who)->writable++;
}

static const uint8_t own[6] = {0x52, 0x54, 0, 1, 2, 3};

static void set_up_with(struct world *w, unsigned offers)
{
    struct virtio_net_options o = {.mac = {0x52, 0x54, 0, 1, 2, 3}};
    struct virtio_device *d;

    memset(w, 0, sizeof *w);
    plug_init(&w->p);
    assert_int_equal(nic_pair_create(w->p.loop, MTU, offers, w->nic, NULL), 0);
    w->far.most = SEEN_MOST;
    w->nic[1]->who = &w->far;
    w->nic[1]->received = far_received;
    w->nic[1]->writable = far_writable;
    w->nic[1]->ops->accept(w->nic[1], offers);
    w->nic[1]->ops->more(w->nic[1]);
    o.loop = w->p.loop;
    o.nic = w->nic[0];
    assert_int_equal(virtio_net_create(&o, &d, NULL), 0);
    plug_in(&w->p, d);
}

static void set_up(struct world *w, uint64_t features)
{
    set_up_with(w, 0);
    plug_start(&w->p, features, 3);
}

static void tear_down(struct world *w)
{
    plug_fini(&w->p);
    w->nic[0]->ops->destroy(w->nic[0]);
    w->nic[1]->ops->destroy(w->nic[1]);
}

static void fill_frame(uint8_t *b, uint32_t bytes, const uint8_t *to, unsigned number)
{
    for (uint32_t i = 0; i < bytes; i++) {
        b[i] = (uint8_t)(i * 7 + number);
    }
    memcpy(b, to, 6);
    b[14] = (uint8_t)(number >> 8);
    b[15] = (uint8_t)number;
}

/* The guest sends a frame cut into two pieces, the header in a third; false: no room. */
static bool guest_sends(struct world *w, uint64_t at, uint32_t bytes, unsigned number)
{
    struct driver_piece p[3] = {
        {at, HEAD, false}, {at + HEAD, 20, false}, {at + HEAD + 20, bytes - 20, false}};

    memset(plug_at(&w->p, at), 0, HEAD);
    fill_frame(plug_at(&w->p, at + HEAD), bytes, own, number);
    return plug_offer(&w->p, TX, p, 3) >= 0;
}

static unsigned far_sends(struct world *w, const uint8_t *to, uint32_t bytes,
                          unsigned number)
{
    uint8_t b[70000];
    struct iovec iov[2] = {{b, 5}, {b + 5, bytes - 5}};
    struct nic_frame f = {.iov = iov, .pieces = 2, .bytes = bytes};

    fill_frame(b, bytes, to, number);
    return w->nic[1]->ops->send(w->nic[1], &f, 1);
}

static void counts(struct world *w, struct virtio_net_counters *ret)
{
    virtio_net_count(w->p.d, ret);
}

/* ---- to the network ---- */

static void frames_go_out_in_order(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;
        unsigned back = 0;

        set_up(&w, plug_kinds[k]);
        at = plug_room(&w.p, 2048 * 64);
        for (unsigned i = 0; i < 500; i++) {
            assert_true(guest_sends(&w, at + 2048 * (i % 64), 60 + i % 1400, i));
            if (i % 64 == 63 || i == 499) {
                plug_kick(&w.p, TX);
                while (plug_get(&w.p, TX, NULL) == 0) {
                    back++;
                }
            }
        }
        assert_int_equal(back, 500);
        assert_int_equal(w.far.count, 500);
        for (unsigned i = 0; i < 500; i++) {
            assert_int_equal(w.far.number[i], i);
            assert_int_equal(w.far.bytes[i], 60 + i % 1400);
        }
        tear_down(&w);
    }
}

/* A kick moves many, and the guest is told once. */
static void many_frames_cost_one_interrupt(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;

        set_up(&w, plug_kinds[k]);
        at = plug_room(&w.p, 128);
        driver_listen(&w.p.driver[TX], true);
        for (unsigned i = 0; i < 16; i++) {
            assert_true(guest_sends(&w, at, 100, i));
        }
        plug_kick(&w.p, TX);
        assert_int_equal(w.far.count, 16);
        assert_int_equal(w.p.notified[TX], 1);
        tear_down(&w);
    }
}

static void a_full_cable_holds_frames_back(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;
        unsigned back = 0;

        set_up(&w, plug_kinds[k]);
        at = plug_room(&w.p, 128);
        w.far.most = 3;
        for (unsigned i = 0; i < 60; i++) {
            assert_true(guest_sends(&w, at, 100, i));
            plug_kick(&w.p, TX);
            at = plug_room(&w.p, 128);
        }
        while (plug_get(&w.p, TX, NULL) == 0) {
            back++;
        }
        assert_int_equal(w.far.count, 3);
        assert_true(back < 60);
        plug_pause(&w.p); /* in the middle of it */
        plug_resume(&w.p);
        w.far.most = SEEN_MOST;
        w.nic[1]->ops->more(w.nic[1]);
        plug_turn(&w.p);
        while (plug_get(&w.p, TX, NULL) == 0) {
            back++;
        }
        assert_int_equal(back, 60);
        assert_int_equal(w.far.count, 60);
        for (unsigned i = 0; i < 60; i++) {
            assert_int_equal(w.far.number[i], i);
        }
        tear_down(&w);
    }
}

static void sends_raw(struct world *w, const struct virtio_net_header *h, uint32_t bytes)
{
    uint64_t at = plug_room(&w->p, HEAD + bytes);
    struct driver_piece p = {at, HEAD + bytes, false};

    w->p.used = 0;
    memcpy(plug_at(&w->p, at), h, HEAD);
    fill_frame(plug_at(&w->p, at + HEAD), bytes < 16 ? 16 : bytes, own, 1);
    assert_true(plug_offer(&w->p, TX, &p, 1) >= 0);
    plug_kick(&w->p, TX);
    assert_int_equal(plug_get(&w->p, TX, NULL), 0);
}

static void what_is_no_frame_is_refused(void **state)
{
    const struct virtio_net_header plain = {0};
    const struct virtio_net_header sum = {
        .flags = 1, .checksum_start = 34, .checksum_offset = 16};
    const struct virtio_net_header far_sum = {
        .flags = 1, .checksum_start = 0xffff, .checksum_offset = 0xffff};
    const struct virtio_net_header tso = {.flags = 1,
                                          .gso_type = 1,
                                          .header_bytes = 54,
                                          .gso_bytes = 1460,
                                          .checksum_start = 34,
                                          .checksum_offset = 16};
    struct virtio_net_header no_size = tso;
    struct virtio_net_header no_sum = tso;
    struct virtio_net_header six = tso;
    struct virtio_net_counters n;
    struct world w;

    (void)state;
    no_size.gso_bytes = 0;
    no_sum.flags = 0;
    six.gso_type = 4;
    set_up(&w, 0);
    sends_raw(&w, &plain, 13);
    sends_raw(&w, &plain, MTU + 19);
    sends_raw(&w, &sum, 100); /* was not negotiated */
    sends_raw(&w, &tso, 4000);
    counts(&w, &n);
    assert_int_equal(n.refused, 4);
    sends_raw(&w, &plain, MTU + 18);
    assert_int_equal(w.far.count, 1);
    tear_down(&w);

    set_up_with(&w, NIC_CHECKSUM | NIC_TSO4);
    assert_true((w.p.d->ops->features(w.p.d) & VIRTIO_NET_F_HOST_TSO4) != 0);
    assert_int_equal(w.p.d->ops->features(w.p.d) & VIRTIO_NET_F_HOST_TSO6, 0);
    plug_start(&w.p, VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, 3);
    sends_raw(&w, &far_sum, 100);
    sends_raw(&w, &no_size, 4000);
    sends_raw(&w, &no_sum, 4000);
    sends_raw(&w, &six, 4000);
    counts(&w, &n);
    assert_int_equal(n.refused, 4);
    sends_raw(&w, &sum, 100);
    sends_raw(&w, &tso, 4000);
    assert_int_equal(w.far.count, 2);
    assert_int_equal(w.far.offload[0].checksum_start, 34);
    assert_int_equal(w.far.offload[1].gso_bytes, 1460);
    assert_int_equal(w.far.bytes[1], 4000);
    assert_int_equal(w.p.broken, 0);
    tear_down(&w);
}

/* ---- from the network ---- */

static void check_frame(struct world *w, uint64_t at, uint32_t bytes, unsigned number)
{
    uint8_t b[2000];

    fill_frame(b, bytes, own, number);
    assert_memory_equal(plug_at(&w->p, at + HEAD), b, bytes);
    assert_int_equal(plug_at(&w->p, at)[10], 1); /* one buffer */
}

static void frames_come_in_order(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at[16];

        set_up(&w, plug_kinds[k]);
        for (unsigned i = 0; i < 16; i++) {
            at[i] = plug_room(&w.p, 1600);
        }
        for (unsigned round = 0; round < 50; round++) {
            for (unsigned i = 0; i < 16; i++) {
                assert_true(plug_offer_in(&w.p, RX, at[i], 1600) >= 0);
            }
            plug_kick(&w.p, RX);
            for (unsigned i = 0; i < 16; i++) {
                assert_int_equal(far_sends(&w, own, 60 + i * 90, round * 16 + i), 1);
            }
            plug_turn(&w.p);
            for (unsigned i = 0; i < 16; i++) {
                assert_int_equal(plug_get(&w.p, RX, NULL), HEAD + 60 + i * 90);
                check_frame(&w, at[i], 60 + i * 90, round * 16 + i);
            }
        }
        tear_down(&w);
    }
}

/* A frame of `bytes` in buffers of `size`. */
static void comes_in_pieces(uint64_t kind, uint32_t bytes, uint32_t size)
{
    struct world w;
    uint64_t at[64];
    uint8_t sent[9000];
    uint8_t got[9000];
    uint32_t have = 0;
    unsigned buffers = 0;
    int64_t n;

    set_up_with(&w, NIC_CHECKSUM | NIC_TSO4);
    plug_start(&w.p,
               kind | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_GUEST_CSUM |
                   VIRTIO_NET_F_GUEST_TSO4,
               3);
    for (unsigned i = 0; i < 40; i++) {
        at[i] = plug_room(&w.p, size);
        assert_true(plug_offer_in(&w.p, RX, at[i], size) >= 0);
    }
    assert_int_equal(far_sends(&w, own, bytes, 77), 1);
    plug_turn(&w.p);
    fill_frame(sent, bytes, own, 77);
    while ((n = plug_get(&w.p, RX, NULL)) >= 0) {
        unsigned off = buffers == 0 ? HEAD : 0;

        assert_true((uint32_t)n > off && (uint32_t)n <= size);
        memcpy(got + have, plug_at(&w.p, at[buffers] + off), (size_t)n - off);
        have += (uint32_t)n - off;
        buffers++;
    }
    assert_int_equal(have, bytes);
    assert_memory_equal(got, sent, bytes);
    assert_int_equal(plug_at(&w.p, at[0])[10], buffers);
    assert_int_equal(buffers, (bytes + HEAD + size - 1) / size);
    tear_down(&w);
}

static void large_frames_take_many_buffers(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        comes_in_pieces(plug_kinds[k], 8000, 1536);
        comes_in_pieces(plug_kinds[k], 1500, 256);
        comes_in_pieces(plug_kinds[k], 500, 13);
        comes_in_pieces(plug_kinds[k], 244, 256);
    }
}

/* What there are no buffers for waits, for as long as it takes. */
static void frames_wait_for_buffers(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;
        unsigned sent = 0;
        unsigned came = 0;

        set_up(&w, plug_kinds[k] | VIRTIO_NET_F_MRG_RXBUF);
        at = plug_room(&w.p, 1600);
        while (sent < 12 && far_sends(&w, own, 1000, sent) == 1) {
            sent++;
            plug_turn(&w.p);
        }
        assert_int_equal(sent, 12);
        for (unsigned i = 0; i < 36; i++) { /* three buffers for each, one by one */
            int64_t n;

            assert_true(plug_offer_in(&w.p, RX, at, 400) >= 0);
            plug_kick(&w.p, RX);
            while ((n = plug_get(&w.p, RX, NULL)) >= 0) {
                assert_int_equal(n, came % 3 == 2 ? HEAD + 1000 - 800 : 400);
                came++;
            }
            assert_int_equal(came, (i + 1) / 3 * 3);
            if (i == 10 || i == 19) {
                plug_pause(&w.p);
                plug_resume(&w.p);
            }
        }
        assert_int_equal(w.p.broken, 0);
        tear_down(&w);
    }
}

static void a_paused_machine_loses_nothing(void **state)
{
    struct world w;
    uint64_t at;

    (void)state;
    set_up(&w, 0);
    at = plug_room(&w.p, 1600);
    assert_true(plug_offer_in(&w.p, RX, at, 1600) >= 0);
    plug_pause(&w.p);
    assert_int_equal(far_sends(&w, own, 100, 5), 1);
    plug_turn(&w.p);
    assert_int_equal(plug_get(&w.p, RX, NULL), -1);
    plug_resume(&w.p);
    assert_int_equal(plug_get(&w.p, RX, NULL), HEAD + 100);
    check_frame(&w, at, 100, 5);

    /* but one that was reset has no cable */
    plug_pause(&w.p);
    assert_int_equal(far_sends(&w, own, 100, 6), 1);
    plug_turn(&w.p);
    plug_reset(&w.p);
    plug_start(&w.p, 0, 3);
    assert_true(plug_offer_in(&w.p, RX, plug_room(&w.p, 1600), 1600) >= 0);
    plug_kick(&w.p, RX);
    assert_int_equal(plug_get(&w.p, RX, NULL), -1);
    tear_down(&w);
}

static void what_fits_no_buffer_is_dropped(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct virtio_net_counters n;
        struct world w;
        uint64_t at;

        set_up(&w, plug_kinds[k]); /* no merging */
        at = plug_room(&w.p, 1600);
        for (unsigned i = 0; i < 4; i++) {
            assert_true(plug_offer_in(&w.p, RX, at, 200) >= 0);
        }
        assert_int_equal(far_sends(&w, own, 500, 1), 1);
        assert_int_equal(far_sends(&w, own, 100, 2), 1);
        plug_turn(&w.p);
        counts(&w, &n);
        assert_int_equal(n.dropped, 1);
        assert_int_equal(plug_get(&w.p, RX, NULL), HEAD + 100);
        check_frame(&w, at, 100, 2);
        tear_down(&w);
    }
}

static void a_buffer_without_room_breaks_the_queue(void **state)
{
    (void)state;
    for (unsigned bytes = 0; bytes <= HEAD; bytes += HEAD) {
        struct virtio_net_counters n;
        struct world w;

        set_up(&w, VIRTIO_NET_F_MRG_RXBUF);
        assert_true(plug_offer_in(&w.p, RX, plug_room(&w.p, 64), bytes) >= 0);
        assert_int_equal(far_sends(&w, own, 100, 1), 1);
        assert_int_equal(far_sends(&w, own, 100, 2), 1);
        plug_turn(&w.p);
        assert_int_equal(w.p.broken, 1);
        counts(&w, &n);
        assert_int_equal(n.dropped, 2);
        tear_down(&w);
    }
}

/* ---- what the guest asks of the device ---- */

static uint8_t command(struct world *w, uint8_t class, uint8_t kind, const void *data,
                       uint32_t bytes)
{
    uint64_t at = plug_room(&w->p, bytes + 64);
    struct driver_piece p[3] = {
        {at, 2, false}, {at + 2, bytes, false}, {at + 2 + bytes, 1, true}};

    plug_at(&w->p, at)[0] = class;
    plug_at(&w->p, at)[1] = kind;
    memcpy(plug_at(&w->p, at + 2), data, bytes);
    plug_at(&w->p, at + 2 + bytes)[0] = 0x55;
    assert_true(plug_offer(&w->p, CTRL, p, 3) >= 0);
    plug_kick(&w->p, CTRL);
    assert_int_equal(plug_get(&w->p, CTRL, NULL), 1);
    return plug_at(&w->p, at + 2 + bytes)[0];
}

#define CONTROLS                                                                         \
    (VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_RX_EXTRA |          \
     VIRTIO_NET_F_CTRL_MAC_ADDR | VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_STATUS)

/* Whether a frame to that address reaches the guest. */
static bool reaches(struct world *w, const uint8_t *to)
{
    assert_true(plug_offer_in(&w->p, RX, plug_room(&w->p, 1600), 1600) >= 0);
    assert_int_equal(far_sends(w, to, 100, 1), 1);
    plug_turn(&w->p);
    return plug_get(&w->p, RX, NULL) >= 0;
}

static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9};
static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void addresses_are_filtered(void **state)
{
    const uint8_t on = 1;
    const uint8_t off = 0;
    uint8_t tables[20] = {1};
    struct world w;

    (void)state;
    set_up(&w, CONTROLS);
    assert_true(reaches(&w, other)); /* until the driver says otherwise */
    assert_int_equal(command(&w, 0, 0, &off, 1), 0);
    assert_false(reaches(&w, other));
    assert_false(reaches(&w, group));
    assert_true(reaches(&w, own));
    assert_true(reaches(&w, all));

    memcpy(tables + 4, other, 6);
    tables[10] = 1;
    memcpy(tables + 14, group, 6);
    assert_int_equal(command(&w, 1, 0, tables, 20), 0);
    assert_true(reaches(&w, other));
    assert_true(reaches(&w, group));
    memset(tables, 0, sizeof tables);
    assert_int_equal(command(&w, 1, 0, tables, 8), 0);
    assert_false(reaches(&w, other));

    assert_int_equal(command(&w, 0, 1, &on, 1), 0); /* all multicast */
    assert_true(reaches(&w, group));
    assert_int_equal(command(&w, 0, 3, &on, 1), 0); /* none */
    assert_false(reaches(&w, group));
    assert_int_equal(command(&w, 0, 5, &on, 1), 0); /* no broadcast */
    assert_false(reaches(&w, all));
    assert_int_equal(command(&w, 0, 4, &on, 1), 0); /* no unicast */
    assert_false(reaches(&w, own));
    assert_int_equal(command(&w, 0, 4, &off, 1), 0);
    assert_int_equal(command(&w, 0, 2, &on, 1), 0); /* all unicast */
    assert_true(reaches(&w, other));
    tear_down(&w);
}

static void an_address_is_changed(void **state)
{
    struct world w;
    uint8_t mac[6];

    (void)state;
    set_up(&w, CONTROLS);
    assert_int_equal(command(&w, 0, 0, "", 1), 0);
    assert_int_equal(command(&w, 1, 1, group, 6), 1); /* not for one card */
    assert_int_equal(command(&w, 1, 1, other, 6), 0);
    w.p.d->ops->config_read(w.p.d, 0, mac, 6);
    assert_memory_equal(mac, other, 6);
    assert_true(reaches(&w, other));
    assert_false(reaches(&w, own));
    plug_reset(&w.p);
    w.p.d->ops->config_read(w.p.d, 0, mac, 6);
    assert_memory_equal(mac, own, 6);
    tear_down(&w);
}

static void many_addresses_mean_all(void **state)
{
    uint8_t tables[8 + 200 * 6] = {200};
    struct world w;

    (void)state;
    set_up(&w, CONTROLS);
    assert_int_equal(command(&w, 0, 0, "", 1), 0);
    assert_int_equal(command(&w, 1, 0, tables, sizeof tables), 0);
    assert_true(reaches(&w, other));
    assert_false(reaches(&w, group));
    tear_down(&w);
}

static void nonsense_is_answered_so(void **state)
{
    uint8_t tables[64] = {0};
    struct world w;

    (void)state;
    set_up(&w, CONTROLS);
    assert_int_equal(command(&w, 9, 0, "", 1), 1);
    assert_int_equal(command(&w, 0, 6, "", 1), 1);
    assert_int_equal(command(&w, 0, 0, "\2", 1), 1);
    assert_int_equal(command(&w, 0, 0, "\0", 2), 1);
    assert_int_equal(command(&w, 1, 2, "", 1), 1);
    assert_int_equal(command(&w, 1, 1, own, 5), 1);
    assert_int_equal(command(&w, 1, 0, tables, 4), 1); /* one table */
    assert_int_equal(command(&w, 1, 0, tables, 9), 1); /* and some */
    memset(tables, 0xff, 4);
    assert_int_equal(command(&w, 1, 0, tables, sizeof tables), 1);
    tables[0] = 2;
    memset(tables + 1, 0, 3);
    assert_int_equal(command(&w, 1, 0, tables, 15), 1); /* cut */
    assert_int_equal(command(&w, 3, 1, "", 1), 1);
    assert_int_equal(w.p.broken, 0);
    tear_down(&w);

    set_up(&w, VIRTIO_NET_F_CTRL_VQ); /* nothing was negotiated */
    assert_int_equal(command(&w, 0, 0, "", 1), 1);
    assert_int_equal(command(&w, 0, 3, "", 1), 1);
    assert_int_equal(command(&w, 1, 1, other, 6), 1);
    assert_int_equal(command(&w, 3, 0, "", 1), 1);
    tear_down(&w);
}

static void a_command_without_an_answer_breaks_the_queue(void **state)
{
    struct world w;
    struct driver_piece p = {0, 3, false};

    (void)state;
    set_up(&w, CONTROLS);
    p.at = plug_room(&w.p, 64);
    assert_true(plug_offer(&w.p, CTRL, &p, 1) >= 0);
    plug_kick(&w.p, CTRL);
    assert_int_equal(w.p.broken, 1);
    tear_down(&w);
}

static uint16_t status_of(struct world *w)
{
    uint16_t status;

    w->p.d->ops->config_read(w->p.d, 6, &status, 2);
    return status;
}

static void the_cable_is_pulled(void **state)
{
    struct world w;
    uint64_t at;

    (void)state;
    set_up(&w, CONTROLS);
    assert_int_equal(status_of(&w), VIRTIO_NET_S_LINK_UP);
    virtio_net_set_link(w.p.d, false);
    virtio_net_set_link(w.p.d, false);
    assert_int_equal(w.p.config_changes, 1);
    assert_int_equal(status_of(&w), 0);
    assert_false(reaches(&w, own));
    at = plug_room(&w.p, 200);
    assert_true(guest_sends(&w, at, 100, 1));
    plug_kick(&w.p, TX);
    assert_int_equal(plug_get(&w.p, TX, NULL), 0);
    assert_int_equal(w.far.count, 0);
    virtio_net_set_link(w.p.d, true);
    assert_int_equal(w.p.config_changes, 2);
    assert_true(reaches(&w, own));
    assert_true(guest_sends(&w, at, 100, 1));
    plug_kick(&w.p, TX);
    assert_int_equal(w.far.count, 1);
    tear_down(&w);
}

static void a_pulled_cable_has_room(void **state)
{
    struct world w;
    uint64_t at;
    unsigned back = 0;

    (void)state;
    set_up(&w, CONTROLS);
    w.far.most = 0;
    at = plug_room(&w.p, 200);
    for (unsigned i = 0; i < 60; i++) {
        assert_true(guest_sends(&w, at, 100, i));
    }
    plug_kick(&w.p, TX);
    virtio_net_set_link(w.p.d, false);
    plug_turn(&w.p);
    while (plug_get(&w.p, TX, NULL) == 0) {
        back++;
    }
    assert_int_equal(back, 60);
    tear_down(&w);
}

static void the_guest_announces_itself(void **state)
{
    struct world w;

    (void)state;
    set_up(&w, CONTROLS);
    plug_pause(&w.p);
    virtio_net_announce(w.p.d);
    assert_int_equal(w.p.config_changes, 0);
    plug_resume(&w.p);
    assert_int_equal(w.p.config_changes, 1);
    assert_int_equal(status_of(&w), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    assert_int_equal(command(&w, 3, 0, "", 0), 0);
    assert_int_equal(status_of(&w), VIRTIO_NET_S_LINK_UP);
    tear_down(&w);
}

static void the_configuration_is_as_specified(void **state)
{
    uint8_t c[16];
    struct world w;

    (void)state;
    set_up(&w, 0);
    memset(c, 0xee, sizeof c);
    w.p.d->ops->config_read(w.p.d, 0, c, sizeof c);
    assert_memory_equal(c, own, 6);
    assert_int_equal(c[6], 1);
    assert_int_equal(c[8], 1);
    assert_int_equal(c[10] | c[11] << 8, MTU);
    assert_int_equal(c[12] | c[15], 0);
    w.p.d->ops->config_read(w.p.d, UINT32_MAX, c, 4);
    assert_int_equal(c[0], 0);
    assert_int_equal(w.p.d->ops->features(w.p.d) & VIRTIO_NET_F_CSUM, 0);
    tear_down(&w);
}

/* ---- its state travels ---- */

struct tape {
    struct snap snap; /* first */
    uint8_t bytes[8192];
    size_t at;
    size_t end;
};

static int tape_write(struct snap *s, const void *bytes, size_t n)
{
    struct tape *t = (struct tape *)s;

    assert_true(t->end + n <= sizeof t->bytes);
    memcpy(t->bytes + t->end, bytes, n);
    t->end += n;
    return 0;
}

static int tape_read(struct snap *s, void *bytes, size_t n)
{
    struct tape *t = (struct tape *)s;

    if (n > t->end - t->at) {
        return -EBADMSG;
    }
    memcpy(bytes, t->bytes + t->at, n);
    t->at += n;
    return 0;
}

static const struct snap_ops tape_ops = {tape_write, tape_read};

static void state_is_carried(void **state)
{
    struct tape t = {.snap.ops = &tape_ops};
    uint8_t tables[14] = {0, 0, 0, 0, 1};
    struct world w;
    struct world v;
    uint8_t mac[6];

    (void)state;
    set_up(&w, CONTROLS);
    memcpy(tables + 8, group, 6);
    assert_int_equal(command(&w, 0, 0, "", 1), 0);
    assert_int_equal(command(&w, 1, 0, tables, 14), 0);
    assert_int_equal(command(&w, 1, 1, other, 6), 0);
    plug_pause(&w.p);
    w.p.d->ops->carry(w.p.d, &t.snap);
    assert_int_equal(snap_error(&t.snap), 0);
    tear_down(&w);

    set_up_with(&v, 0);
    t.snap = (struct snap){.ops = &tape_ops, .is_loading = true};
    v.p.d->ops->carry(v.p.d, &t.snap);
    assert_int_equal(snap_error(&t.snap), 0);
    plug_start(&v.p, CONTROLS, 3);
    v.p.d->ops->config_read(v.p.d, 0, mac, 6);
    assert_memory_equal(mac, other, 6);
    assert_true(reaches(&v, group));
    assert_true(reaches(&v, other));
    assert_false(reaches(&v, own));
    tear_down(&v);
}

static void nonsense_is_not_carried(void **state)
{
    struct tape t = {.snap.ops = &tape_ops};
    struct world w;

    (void)state;
    set_up_with(&w, 0);
    w.p.d->ops->carry(w.p.d, &t.snap);
    for (size_t i = 0; i < t.end; i++) {
        struct tape cut = t;

        cut.snap = (struct snap){.ops = &tape_ops, .is_loading = true};
        cut.bytes[i] ^= 0xff;
        w.p.d->ops->carry(w.p.d, &cut.snap);
        cut = t;
        cut.snap = (struct snap){.ops = &tape_ops, .is_loading = true};
        cut.end = i;
        w.p.d->ops->carry(w.p.d, &cut.snap);
        assert_int_equal(snap_error(&cut.snap), -EBADMSG);
    }
    plug_start(&w.p, CONTROLS, 3);
    (void)reaches(&w, own);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_out_in_order),
        cmocka_unit_test(many_frames_cost_one_interrupt),
        cmocka_unit_test(a_full_cable_holds_frames_back),
        cmocka_unit_test(what_is_no_frame_is_refused),
        cmocka_unit_test(frames_come_in_order),
        cmocka_unit_test(large_frames_take_many_buffers),
        cmocka_unit_test(frames_wait_for_buffers),
        cmocka_unit_test(a_paused_machine_loses_nothing),
        cmocka_unit_test(what_fits_no_buffer_is_dropped),
        cmocka_unit_test(a_buffer_without_room_breaks_the_queue),
        cmocka_unit_test(addresses_are_filtered),
        cmocka_unit_test(an_address_is_changed),
        cmocka_unit_test(many_addresses_mean_all),
        cmocka_unit_test(nonsense_is_answered_so),
        cmocka_unit_test(a_command_without_an_answer_breaks_the_queue),
        cmocka_unit_test(the_cable_is_pulled),
        cmocka_unit_test(a_pulled_cable_has_room),
        cmocka_unit_test(the_guest_announces_itself),
        cmocka_unit_test(the_configuration_is_as_specified),
        cmocka_unit_test(state_is_carried),
        cmocka_unit_test(nonsense_is_not_carried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
