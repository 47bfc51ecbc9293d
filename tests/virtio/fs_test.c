/* fs_test.c - the file-system device: requests go to a server and come back answered. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/fuse.h>

#include "host/loop/loop.h"
#include "tests/virtio/plug.h"
#include "virtio/fs/fs.h"

#define REQUESTS 1u /* the queue of those that are waited for */

struct world {
    struct plug p; /* first */
    int server;
    uint64_t answer; /* where that of the last request goes */
};

static void begin(struct world *w, uint64_t kind)
{
    const char *tag = "0123456789abcdef0123456789abcdef0123"; /* as long as may be */
    struct virtio_fs_options o = {.tag = tag};
    struct virtio_device *d;
    uint8_t config[44];
    int pair[2];

    plug_init(&w->p);
    o.loop = w->p.loop;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(virtio_fs_create(&o, pair[0], &d, NULL), 0);
    w->server = pair[1];
    plug_in(&w->p, d);
    d->ops->config_read(d, 0, config, sizeof config); /* VIRTIO 1.2, 5.11.4 */
    assert_memory_equal(config, tag, 36);
    assert_memory_equal(config + 36, "\1\0\0\0\0\0\0\0", 8);
    plug_start(&w->p, kind, 2);
}

static void end(struct world *w)
{
    if (w->server >= 0) {
        (void)close(w->server);
    }
    plug_fini(&w->p);
}

/* A request with `more` bytes behind its head; the chain's id. */
static uint16_t ask(struct world *w, unsigned q, uint64_t unique, uint32_t more,
                    uint32_t room)
{
    const struct fuse_in_header h = {
        .len = (uint32_t)sizeof h + more, .opcode = FUSE_GETATTR, .unique = unique};
    struct driver_piece pieces[2] = {
        {.at = plug_room(&w->p, sizeof h + more), .bytes = (uint32_t)sizeof h + more},
        {.at = plug_room(&w->p, room), .bytes = room, .write = true}};
    int id;

    w->answer = pieces[1].at;
    memcpy(plug_at(&w->p, pieces[0].at), &h, sizeof h);
    memset(plug_at(&w->p, pieces[0].at) + sizeof h, 0x5a, more);
    id = plug_offer(&w->p, q, pieces, room > 0 ? 2 : 1);
    assert_true(id >= 0);
    plug_kick(&w->p, q);
    return (uint16_t)id;
}

/* What the server hears: a request of `bytes`, with `room` for its answer. */
static void hear(struct world *w, uint64_t unique, uint32_t bytes, uint32_t room)
{
    struct virtio_fs_frame f;
    struct fuse_in_header h;
    uint8_t rest[1000];

    assert_int_equal(recv(w->server, &f, sizeof f, MSG_DONTWAIT), sizeof f);
    assert_int_equal(f.bytes, bytes);
    assert_int_equal(f.room, room);
    assert_int_equal(recv(w->server, &h, sizeof h, MSG_DONTWAIT), sizeof h);
    assert_int_equal(h.unique, unique);
    for (uint32_t left = bytes - (uint32_t)sizeof h; left > 0;) {
        ssize_t n =
            recv(w->server, rest, left < sizeof rest ? left : sizeof rest, MSG_DONTWAIT);

        if (n < 0) {
            plug_turn(&w->p); /* the device waits for room */
            continue;
        }
        assert_int_equal(rest[n - 1], 0x5a);
        left -= (uint32_t)n;
    }
}

static void say(struct world *w, uint32_t bytes, int fill)
{
    const struct virtio_fs_frame f = {.bytes = bytes};
    uint8_t text[2000];

    memset(text, fill, sizeof text);
    assert_int_equal(send(w->server, &f, sizeof f, 0), sizeof f);
    for (uint32_t at = 0; at < bytes; at += (uint32_t)sizeof text) {
        size_t n = bytes - at < sizeof text ? bytes - at : sizeof text;

        assert_int_equal(send(w->server, text, n, 0), n);
    }
    plug_turn(&w->p);
}

static void a_request_comes_back_with_its_answer(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint16_t first, second, id;

        begin(&w, plug_kinds[k]);
        first = ask(&w, REQUESTS, 11, 16, 104);
        second = ask(&w, REQUESTS, 12, 0, 50);
        (void)ask(&w, 0, 13, 8, 0); /* urgent, and nobody waits */
        assert_int_equal(plug_get(&w.p, REQUESTS, &id), -1);
        hear(&w, 11, 56, 104);
        hear(&w, 12, 40, 50);
        hear(&w, 13, 48, 0);
        say(&w, 104, 'a');
        assert_int_equal(plug_get(&w.p, REQUESTS, &id), 104);
        assert_int_equal(id, first);
        say(&w, 16, 'b');
        assert_int_equal(plug_get(&w.p, REQUESTS, &id), 16);
        assert_int_equal(id, second);
        say(&w, 0, 0);
        assert_int_equal(plug_get(&w.p, 0, &id), 0);
        end(&w);
    }
}

static void a_large_request_waits_for_room(void **state)
{
    struct world w;
    uint16_t id;

    (void)state;
    begin(&w, plug_kinds[0]);
    (void)ask(&w, REQUESTS, 1, 500000, 100);
    (void)ask(&w, REQUESTS, 2, 4, 100);
    hear(&w, 1, 500040, 100);
    plug_turn(&w.p);
    hear(&w, 2, 44, 100);
    say(&w, 20, 'x');
    assert_int_equal(plug_get(&w.p, REQUESTS, &id), 20);
    end(&w);
}

static void who_is_gone_answers_nothing(void **state)
{
    struct fuse_out_header h;
    struct world w;
    uint16_t id;

    (void)state;
    for (int how = 0; how < 3; how++) {
        begin(&w, plug_kinds[0]);
        (void)ask(&w, REQUESTS, 21, 0, 100);
        if (how == 0) {
            (void)close(w.server); /* it ends */
            w.server = -1;
            plug_turn(&w.p);
        } else if (how == 1) { /* it answers what cannot be */
            assert_int_equal(send(w.server, "\xff\xff\xff\x7f\0\0\0\0", 8, 0), 8);
            plug_turn(&w.p);
        } else { /* it says more than it was asked */
            say(&w, 16, 'a');
            assert_int_equal(plug_get(&w.p, REQUESTS, &id), 16);
            say(&w, 0, 0);
        }
        if (how < 2) {
            assert_int_equal(plug_get(&w.p, REQUESTS, &id), sizeof h);
        }
        (void)ask(&w, REQUESTS, 22, 0, 100); /* and those that come later */
        assert_int_equal(plug_get(&w.p, REQUESTS, &id), sizeof h);
        memcpy(&h, plug_at(&w.p, w.answer), sizeof h);
        assert_int_equal(h.error, -ENOTCONN);
        assert_int_equal(h.unique, 22);
        end(&w);
    }
}

static void a_stop_waits_for_what_is_under_way(void **state)
{
    struct world w;
    uint16_t id;

    (void)state;
    begin(&w, plug_kinds[0]);
    (void)ask(&w, REQUESTS, 31, 0, 100);
    w.p.d->ops->stop(w.p.d);
    assert_int_equal(w.p.stopped, 0);
    say(&w, 30, 'a');
    assert_int_equal(w.p.stopped, 1);
    assert_int_equal(plug_get(&w.p, REQUESTS, &id), 30);
    end(&w);
}

static void what_is_no_request_breaks_the_device(void **state)
{
    struct world w;
    struct driver_piece piece;

    (void)state;
    begin(&w, plug_kinds[0]);
    piece = (struct driver_piece){.at = plug_room(&w.p, 39), .bytes = 39};
    assert_true(plug_offer(&w.p, REQUESTS, &piece, 1) >= 0);
    plug_kick(&w.p, REQUESTS);
    assert_int_equal(w.p.broken, 1);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_comes_back_with_its_answer),
        cmocka_unit_test(a_large_request_waits_for_room),
        cmocka_unit_test(who_is_gone_answers_nothing),
        cmocka_unit_test(a_stop_waits_for_what_is_under_way),
        cmocka_unit_test(what_is_no_request_breaks_the_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
