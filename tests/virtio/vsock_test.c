/* vsock_test.c - streams between a guest, played by the test, and users at its host. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "contract/snap.h"
#include "tests/virtio/vsock_guest.h"

static void set_up(struct vsock_guest *w)
{
    vsock_guest_set_up(w, 0, BUFFERS);
}

static void tear_down(struct vsock_guest *w)
{
    plug_fini(&w->p);
}

static void the_guest_talks_to_a_port(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct vsock_guest w;
        struct virtio_vsock_header h;
        uint8_t b[4096];

        vsock_guest_set_up(&w, plug_kinds[k], BUFFERS);
        vsock_guest_connect(&w);
        vsock_guest_says(&w, RW, "hello", 5);
        assert_int_equal(w.end.count, 5);
        assert_memory_equal(w.end.bytes, "hello", 5);
        assert_int_equal(virtio_vsock_send(w.end.s, "world!", 6), 6);
        plug_turn(&w.p);
        assert_true(vsock_guest_hears(&w, &h, b));
        assert_int_equal(h.op, RW);
        assert_int_equal(h.len, 6);
        assert_int_equal(h.fwd_cnt, 5);
        assert_memory_equal(b, "world!", 6);
        vsock_guest_expect_nothing(&w);
        tear_down(&w);
    }
}

static void many_bytes_flow_both_ways(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct vsock_guest w;
        struct virtio_vsock_header h = {0};
        uint32_t sent = 0;
        uint32_t got = 0;
        uint32_t out = 0;
        uint32_t taken = 0;
        uint8_t b[4096];
        uint8_t right[4096];

        vsock_guest_set_up(&w, plug_kinds[k], BUFFERS);
        vsock_guest_connect(&w);
        while (got < 300000 || out < 190000) {
            uint8_t more[3000];

            vsock_guest_fill(more, sizeof more, sent);
            sent += sent < 300000 ? virtio_vsock_send(w.end.s, more, sizeof more) : 0;
            plug_turn(&w.p);
            while (vsock_guest_hears(&w, &h, b)) {
                taken = h.fwd_cnt;
                if (h.op == RW) {
                    vsock_guest_fill(right, h.len, got);
                    assert_memory_equal(b, right, h.len);
                    got += h.len;
                    w.peer_taken = got;
                }
            }
            vsock_guest_fill(more, 2000, out);
            if (out - taken <= 60000 && out < 190000) {
                vsock_guest_says(&w, RW, more, 2000);
                out += 2000;
            }
        }
        assert_int_equal(got, sent);
        assert_int_equal(w.end.count, out);
        for (uint32_t i = 0; i < out; i += 1000) {
            vsock_guest_fill(right, 1000, i);
            assert_memory_equal(w.end.bytes + i, right, 1000);
        }
        assert_int_equal(w.end.gone, 0);
        tear_down(&w);
    }
}

static void a_port_without_anybody_refuses(void **state)
{
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    w.accept = -ECONNREFUSED;
    vsock_guest_says(&w, REQUEST, "", 0);
    vsock_guest_expect(&w, RST);
    vsock_guest_says(&w, RW, "x", 1);
    vsock_guest_expect(&w, RST);
    vsock_guest_says(&w, RST, "", 0); /* is not answered */
    vsock_guest_expect_nothing(&w);
    tear_down(&w);
}

static uint32_t connect_out(struct vsock_guest *w)
{
    struct virtio_vsock_header h;

    assert_int_equal(
        virtio_vsock_connect(w->p.d, 1000, &vsock_guest_user, &w->end, &w->end.s), 0);
    plug_turn(&w->p);
    assert_true(vsock_guest_hears(w, &h, NULL));
    assert_int_equal(h.op, REQUEST);
    assert_int_equal(h.dst_port, 1000);
    return h.src_port;
}

static void the_host_talks_to_a_port(void **state)
{
    struct virtio_vsock_header h;
    struct vsock_guest w;
    uint32_t port;

    (void)state;
    set_up(&w);
    port = connect_out(&w);
    assert_int_equal(virtio_vsock_send(w.end.s, "early", 5), 5);
    plug_turn(&w.p);
    vsock_guest_expect_nothing(&w);
    h = vsock_guest_header(&w, RESPONSE, port, 1000);
    vsock_guest_send(&w, &h, "", 0);
    assert_int_equal(w.end.connected, 1);
    vsock_guest_expect(&w, RW);
    h = vsock_guest_header(&w, RW, port, 1000);
    h.len = 3;
    vsock_guest_send(&w, &h, "yes", 3);
    assert_int_equal(w.end.count, 3);

    assert_true(connect_out(&w) != port); /* and another, which is refused */
    h = vsock_guest_header(&w, RST, port + 1, 1000);
    vsock_guest_send(&w, &h, "", 0);
    assert_int_equal(w.end.gone, 1);
    assert_int_equal(w.end.why, -ECONNREFUSED);

    (void)connect_out(&w); /* and one that is given up */
    virtio_vsock_close(w.end.s);
    plug_turn(&w.p);
    vsock_guest_expect(&w, RST);
    plug_pause(&w.p);
    assert_int_equal(virtio_vsock_connect(w.p.d, 1, &vsock_guest_user, &w.end, &w.end.s),
                     -ENOTCONN);
    tear_down(&w);
}

static void the_guest_gets_what_it_has_room_for(void **state)
{
    struct virtio_vsock_header h;
    struct vsock_guest w;
    uint8_t b[5000] = {0};

    (void)state;
    set_up(&w);
    w.peer_room = 100;
    vsock_guest_connect(&w);
    assert_int_equal(virtio_vsock_send(w.end.s, b, 250), 250);
    plug_turn(&w.p);
    assert_true(vsock_guest_hears(&w, &h, b));
    assert_int_equal(h.len, 100);
    vsock_guest_expect(&w, ASK);
    vsock_guest_expect_nothing(&w);
    w.peer_taken = 60;
    vsock_guest_says(&w, UPDATE, "", 0);
    assert_true(vsock_guest_hears(&w, &h, b));
    assert_int_equal(h.len, 60);
    vsock_guest_expect(&w, ASK);
    w.peer_taken = 5000; /* more than was sent */
    w.peer_room = 10;
    vsock_guest_says(&w, UPDATE, "", 0);
    vsock_guest_expect(&w, ASK);
    vsock_guest_expect_nothing(&w);
    w.peer_taken = 160;
    w.peer_room = UINT32_MAX;
    vsock_guest_says(&w, UPDATE, "", 0);
    assert_true(vsock_guest_hears(&w, &h, b));
    assert_int_equal(h.len, 90);
    tear_down(&w);
}

static void a_user_takes_its_time(void **state)
{
    struct virtio_vsock_header h;
    static uint8_t b[4000];
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    w.end.most = 10;
    for (unsigned i = 0; i < 16; i++) {
        vsock_guest_fill(b, 4000, 4000 * i);
        vsock_guest_says(&w, RW, b, 4000);
    }
    assert_int_equal(w.end.count, 10);
    vsock_guest_expect_nothing(&w);
    vsock_guest_says(&w, ASK, "", 0);
    assert_true(vsock_guest_hears(&w, &h, NULL));
    assert_int_equal(h.op, UPDATE);
    assert_int_equal(h.fwd_cnt, 10);
    w.end.most = 40000;
    virtio_vsock_more(w.end.s);
    assert_int_equal(w.end.count, 40000);
    plug_turn(&w.p);
    assert_true(vsock_guest_hears(&w, &h, NULL)); /* unasked: there is room */
    assert_int_equal(h.op, UPDATE);
    assert_int_equal(h.fwd_cnt, 40000);
    vsock_guest_shuts(&w, 2);
    assert_int_equal(w.end.finished, 0);
    w.end.most = sizeof w.end.bytes;
    virtio_vsock_more(w.end.s);
    assert_int_equal(w.end.count, 64000);
    assert_int_equal(w.end.finished, 1);
    for (unsigned i = 0; i < 16; i++) {
        vsock_guest_fill(b, 4000, 4000 * i);
        assert_memory_equal(w.end.bytes + 4000 * i, b, 4000);
    }
    tear_down(&w);
}

static void a_guest_that_sends_too_much_loses_its_stream(void **state)
{
    static uint8_t b[65536];
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    w.end.most = 0;
    vsock_guest_says(&w, RW, b, 65536);
    assert_int_equal(w.end.gone, 0);
    vsock_guest_says(&w, RW, b, 1);
    assert_int_equal(w.end.gone, 1);
    assert_int_equal(w.end.why, -ECONNRESET);
    vsock_guest_expect(&w, RST);
    assert_int_equal(w.p.broken, 0);
    tear_down(&w);
}

static void room_is_told(void **state)
{
    static uint8_t b[VIRTIO_VSOCK_BYTES + 100];
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    w.peer_room = 0;
    vsock_guest_says(&w, UPDATE, "", 0);
    assert_int_equal(virtio_vsock_send(w.end.s, b, sizeof b), VIRTIO_VSOCK_BYTES);
    assert_int_equal(virtio_vsock_room(w.end.s), 0);
    plug_turn(&w.p);
    assert_int_equal(w.end.writable, 0);
    vsock_guest_expect(&w, ASK);
    w.peer_room = 1;
    vsock_guest_says(&w, UPDATE, "", 0);
    assert_int_equal(w.end.writable, 1);
    tear_down(&w);
}

static void the_guest_closes(void **state)
{
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    w.end.most = 3;
    vsock_guest_says(&w, RW, "hello", 5);
    vsock_guest_shuts(&w, 3);
    vsock_guest_expect(&w, RST);
    assert_int_equal(w.end.gone, 0); /* there are bytes for it */
    w.end.most = 100;
    virtio_vsock_more(w.end.s);
    assert_int_equal(w.end.count, 5);
    assert_int_equal(w.end.finished, 1);
    assert_int_equal(w.end.gone, 1);
    assert_int_equal(w.end.why, 0);
    vsock_guest_connect(&w); /* the same ports again */
    tear_down(&w);
}

static void the_host_closes(void **state)
{
    struct virtio_vsock_header h;
    struct vsock_guest w;
    uint8_t b[4096];

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    assert_int_equal(virtio_vsock_send(w.end.s, "last", 4), 4);
    virtio_vsock_shutdown(w.end.s);
    plug_turn(&w.p);
    vsock_guest_expect(&w, RW);
    assert_true(vsock_guest_hears(&w, &h, b));
    assert_int_equal(h.op, SHUTDOWN);
    assert_int_equal(h.flags, 2);
    vsock_guest_says(&w, RW, "still", 5); /* the other direction is open */
    assert_int_equal(w.end.count, 5);
    virtio_vsock_close(w.end.s);
    plug_turn(&w.p);
    assert_true(vsock_guest_hears(&w, &h, b));
    assert_int_equal(h.op, SHUTDOWN);
    assert_int_equal(h.flags, 3);
    vsock_guest_says(&w, RW, "nobody", 6);
    vsock_guest_expect_nothing(&w);
    vsock_guest_says(&w, RST, "", 0);
    assert_int_equal(w.end.gone, 0);
    vsock_guest_says(&w, RW, "x", 1);
    vsock_guest_expect(&w, RST);
    tear_down(&w);
}

static void a_user_leaves_inside_a_call(void **state)
{
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    w.end.leaves = true;
    w.end.most = 2;
    vsock_guest_says(&w, RW, "hello", 5);
    assert_int_equal(w.end.count, 2);
    vsock_guest_expect(&w, SHUTDOWN);
    vsock_guest_shuts(&w, 3);
    vsock_guest_expect(&w, RST);
    tear_down(&w);
}

/* ---- hostile guests ---- */

static void lies_are_refused(void **state)
{
    struct virtio_vsock_header h;
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    h = vsock_guest_header(&w, REQUEST, 7, 1000);
    h.src_cid = 43;
    vsock_guest_send(&w, &h, "", 0);
    vsock_guest_expect_nothing(&w);
    assert_int_equal(w.asked, 0);
    h = vsock_guest_header(&w, REQUEST, 7, 1000);
    h.dst_cid = 1;
    vsock_guest_send(&w, &h, "", 0);
    vsock_guest_expect(&w, RST);
    h = vsock_guest_header(&w, REQUEST, 7, 1000);
    h.type = 2;
    vsock_guest_send(&w, &h, "", 0);
    vsock_guest_expect(&w, RST);
    for (uint16_t op = 0; op < 20; op++) {
        if (op != REQUEST && op != RST) {
            vsock_guest_says(&w, op, "", 0);
            vsock_guest_expect(&w, RST);
        }
    }
    assert_int_equal(w.asked, 0);
    for (unsigned i = 0; i < 5; i++) {
        static const uint16_t wrong[] = {0, REQUEST, RESPONSE, 8, 0xffff};

        vsock_guest_connect(&w);
        vsock_guest_says(&w, wrong[i], "", 0);
        vsock_guest_expect(&w, RST);
        assert_int_equal(w.end.gone, i + 1);
    }
    assert_int_equal(w.p.broken, 0);
    tear_down(&w);
}

static void cut_packets_break_the_queue(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct virtio_vsock_header h;
        struct vsock_guest w;
        struct driver_piece p = {0, 43, false};

        set_up(&w);
        vsock_guest_connect(&w);
        p.at = plug_room(&w.p, 64);
        h = vsock_guest_header(&w, RW, 7, 1000);
        h.len = i == 1 ? 5 : UINT32_MAX;
        if (i == 0) {
            assert_true(plug_offer(&w.p, TX, &p, 1) >= 0);
            plug_kick(&w.p, TX);
        } else {
            vsock_guest_send(&w, &h, "four", 4);
        }
        assert_int_equal(w.p.broken, 1);
        assert_int_equal(w.end.count, 0);
        tear_down(&w);
    }
}

static void a_small_buffer_breaks_the_queue(void **state)
{
    struct vsock_guest w;

    (void)state;
    vsock_guest_set_up(&w, 0, 0);
    assert_true(plug_offer_in(&w.p, RX, w.at[0], 43) >= 0);
    vsock_guest_says(&w, REQUEST, "", 0);
    assert_int_equal(w.p.broken, 1);
    tear_down(&w);
}

/* A guest that takes no answers is not listened to for long, and then goes on. */
static void refusals_are_bounded(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct virtio_vsock_header h;
        struct vsock_guest w;
        uint64_t at;
        unsigned back = 0;
        unsigned refused = 0;

        vsock_guest_set_up(&w, plug_kinds[k], 0);
        at = plug_room(&w.p, 64);
        h = vsock_guest_header(&w, RW, 7, 1000);
        memcpy(plug_at(&w.p, at), &h, 44);
        for (unsigned i = 0; i < 100; i++) {
            struct driver_piece p = {at, 44, false};

            assert_true(plug_offer(&w.p, TX, &p, 1) >= 0);
        }
        plug_kick(&w.p, TX);
        while (plug_get(&w.p, TX, NULL) == 0) {
            back++;
        }
        assert_true(back >= 30 && back < 100);
        for (unsigned i = 0; i < BUFFERS; i++) {
            vsock_guest_offer(&w, i);
        }
        plug_kick(&w.p, RX);
        while (vsock_guest_hears(&w, &h, NULL)) {
            assert_int_equal(h.op, RST);
            refused++;
        }
        while (plug_get(&w.p, TX, NULL) == 0) {
            back++;
        }
        assert_int_equal(back, 100);
        assert_int_equal(refused, 100);
        tear_down(&w);
    }
}

static void streams_are_bounded(void **state)
{
    static struct vsock_guest w;
    struct virtio_vsock_header h;
    unsigned open = 0;
    unsigned refused = 0;
    struct vsock_stream *s;

    (void)state;
    set_up(&w);
    for (uint32_t i = 0; i < 2 * VIRTIO_VSOCK_STREAMS_MOST; i++) {
        struct virtio_vsock_header ask = vsock_guest_header(&w, REQUEST, 7, i);

        vsock_guest_send(&w, &ask, "", 0);
        assert_int_equal(plug_get(&w.p, TX, NULL), 0);
        assert_true(vsock_guest_hears(&w, &h, NULL));
        open += h.op == RESPONSE ? 1 : 0;
        refused += h.op == RST ? 1 : 0;
    }
    assert_int_equal(open, VIRTIO_VSOCK_STREAMS_MOST);
    assert_int_equal(refused, VIRTIO_VSOCK_STREAMS_MOST);
    assert_int_equal(virtio_vsock_connect(w.p.d, 1, &vsock_guest_user, &w.end, &s),
                     -EMFILE);

    virtio_vsock_close(w.end.s); /* the guest does not answer: it makes room */
    plug_turn(&w.p);
    vsock_guest_expect(&w, SHUTDOWN);
    h = vsock_guest_header(&w, REQUEST, 7, 9999);
    vsock_guest_send(&w, &h, "", 0);
    vsock_guest_expect(&w, RESPONSE);
    tear_down(&w);
}

/* ---- life ---- */

static void streams_outlive_a_pause_and_no_reset(void **state)
{
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    plug_pause(&w.p);
    assert_int_equal(virtio_vsock_send(w.end.s, "more", 4), 4);
    plug_turn(&w.p);
    plug_resume(&w.p);
    plug_turn(&w.p);
    w.p.d->ops->kicked(w.p.d, RX);
    vsock_guest_expect(&w, RW);
    vsock_guest_says(&w, RW, "hello", 5);
    assert_int_equal(w.end.count, 5);
    plug_reset(&w.p);
    assert_int_equal(w.end.gone, 1);
    assert_int_equal(w.end.why, -ECONNRESET);
    tear_down(&w);
}

static int no_bytes(struct snap *s, const void *bytes, size_t n)
{
    (void)s;
    (void)bytes;
    (void)n;
    return 0;
}

static int read_section(struct snap *s, void *bytes, size_t n)
{
    struct {
        uint32_t magic;
        uint32_t version;
        char name[32];
    } head = {0x6e6f6973u, 1, "virtio-vsock"};

    uint32_t end = 0x646e6573u;

    (void)s;
    memcpy(bytes, n == 4 ? (void *)&end : (void *)&head, n);
    return 0;
}

static void a_guest_that_moved_forgets_its_streams(void **state)
{
    const struct snap_ops ops = {no_bytes, read_section};
    struct snap s = {.ops = &ops, .is_loading = true};
    struct vsock_guest w;
    uint64_t at;

    (void)state;
    set_up(&w);
    vsock_guest_connect(&w);
    at = plug_room(&w.p, 8);
    memset(plug_at(&w.p, at), 0xff, 8);
    assert_true(plug_offer_in(&w.p, EVENTS, at, 8) >= 0);
    plug_kick(&w.p, EVENTS);
    assert_int_equal(plug_get(&w.p, EVENTS, NULL), -1);
    plug_pause(&w.p);
    w.p.d->ops->carry(w.p.d, &s);
    assert_int_equal(snap_error(&s), 0);
    assert_int_equal(w.end.gone, 1);
    plug_resume(&w.p);
    assert_int_equal(plug_get(&w.p, EVENTS, NULL), 4);
    assert_int_equal(plug_at(&w.p, at)[0], 0);
    tear_down(&w);
}

static void impossible_numbers_are_refused(void **state)
{
    struct virtio_vsock_options o = {.cid = 2};
    struct virtio_device *d = NULL;

    (void)state;
    assert_int_equal(virtio_vsock_create(&o, &d, NULL), -EINVAL);
    o.cid = UINT32_MAX;
    assert_int_equal(virtio_vsock_create(&o, &d, NULL), -EINVAL);
    o.cid = 3;
    fault_fail_alloc_at(0);
    assert_int_equal(virtio_vsock_create(&o, &d, NULL), -ENOMEM);
    assert_null(d);
}

static void no_memory_is_a_refusal(void **state)
{
    struct vsock_guest w;

    (void)state;
    set_up(&w);
    fault_fail_alloc_at(0);
    vsock_guest_says(&w, REQUEST, "", 0);
    vsock_guest_expect(&w, RST);
    fault_fail_alloc_at(0);
    assert_int_equal(virtio_vsock_connect(w.p.d, 1, &vsock_guest_user, &w.end, &w.end.s),
                     -ENOMEM);
    vsock_guest_connect(&w);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_talks_to_a_port),
        cmocka_unit_test(many_bytes_flow_both_ways),
        cmocka_unit_test(a_port_without_anybody_refuses),
        cmocka_unit_test(the_host_talks_to_a_port),
        cmocka_unit_test(the_guest_gets_what_it_has_room_for),
        cmocka_unit_test(a_user_takes_its_time),
        cmocka_unit_test(a_guest_that_sends_too_much_loses_its_stream),
        cmocka_unit_test(room_is_told),
        cmocka_unit_test(the_guest_closes),
        cmocka_unit_test(the_host_closes),
        cmocka_unit_test(a_user_leaves_inside_a_call),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(cut_packets_break_the_queue),
        cmocka_unit_test(a_small_buffer_breaks_the_queue),
        cmocka_unit_test(refusals_are_bounded),
        cmocka_unit_test(streams_are_bounded),
        cmocka_unit_test(streams_outlive_a_pause_and_no_reset),
        cmocka_unit_test(a_guest_that_moved_forgets_its_streams),
        cmocka_unit_test(impossible_numbers_are_refused),
        cmocka_unit_test(no_memory_is_a_refusal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
