/* vsock_host_test.c - streams of a guest, played by the test, that end in unix sockets. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/virtio/vsock_guest.h"
#include "virtio/vsock/host.h"

struct host_world {
    struct vsock_guest w; /* first */
    struct vsock_host *host;
    char dir[64];
    int listener;
};

static void set_up_host(struct host_world *h)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int dir;

    memset(h, 0, sizeof *h);
    h->w.peer_room = 65536;
    (void)strcpy(h->dir, "/tmp/strata-vsock-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/vsock_7", h->dir);
    h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(h->listener, 4), 0);
    dir = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    plug_init(&h->w.p);
    assert_int_equal(vsock_host_create(h->w.p.loop, CID, dir, &h->host, NULL), 0);
    plug_in(&h->w.p, vsock_host_device(h->host));
    plug_start(&h->w.p, 0, 3);
    for (unsigned i = 0; i < BUFFERS; i++) {
        h->w.at[i] = plug_room(&h->w.p, BUFFER);
        vsock_guest_offer(&h->w, i);
    }
}

static void tear_down_host(struct host_world *h)
{
    char path[100];

    h->w.p.d->ops->stop(h->w.p.d);
    h->w.p.d = NULL;
    vsock_host_destroy(h->host);
    plug_fini(&h->w.p);
    (void)close(h->listener);
    (void)snprintf(path, sizeof path, "%s/vsock_7", h->dir);
    (void)unlink(path);
    (void)rmdir(h->dir);
}

static void the_guest_reaches_a_socket(void **state)
{
    struct host_world h;
    struct virtio_vsock_header head;
    uint8_t b[4096];
    int fd;

    (void)state;
    set_up_host(&h);
    vsock_guest_says(&h.w, REQUEST, "", 0);
    vsock_guest_expect(&h.w, RESPONSE);
    fd = accept(h.listener, NULL, NULL);
    assert_true(fd >= 0);
    vsock_guest_says(&h.w, RW, "question", 8);
    assert_int_equal(read(fd, b, sizeof b), 8);
    assert_int_equal(write(fd, "answer", 6), 6);
    plug_turn(&h.w.p);
    assert_true(vsock_guest_hears(&h.w, &head, b));
    assert_memory_equal(b, "answer", 6);
    vsock_guest_shuts(&h.w, 2);
    assert_int_equal(read(fd, b, sizeof b), 0);
    (void)close(fd);
    plug_turn(&h.w.p);
    vsock_guest_expect(&h.w, SHUTDOWN);
    vsock_guest_shuts(&h.w, 3);
    vsock_guest_expect(&h.w, RST);

    head = vsock_guest_header(&h.w, REQUEST, 8, 1000); /* nobody is there */
    vsock_guest_send(&h.w, &head, "", 0);
    vsock_guest_expect(&h.w, RST);
    tear_down_host(&h);
}

static void a_slow_socket_holds_the_guest_back(void **state)
{
    static uint8_t b[65536];
    static uint8_t right[65536];
    struct host_world h;
    struct virtio_vsock_header head;
    uint32_t sent = 0;
    uint32_t taken = 0;
    uint32_t got = 0;
    int fd;

    (void)state;
    set_up_host(&h);
    vsock_guest_says(&h.w, REQUEST, "", 0);
    vsock_guest_expect(&h.w, RESPONSE);
    fd = accept(h.listener, NULL, NULL);
    while (sent - taken <= 65536 - 4000) {
        vsock_guest_fill(b, 4000, sent);
        vsock_guest_says(&h.w, RW, b, 4000);
        sent += 4000;
        while (vsock_guest_hears(&h.w, &head, NULL)) {
            taken = head.fwd_cnt;
        }
    }
    assert_true(sent > 65536); /* the socket holds some, too */
    while (got < sent) {
        ssize_t n = recv(fd, b, 5000, MSG_DONTWAIT);

        if (n > 0) {
            vsock_guest_fill(right, (uint32_t)n, got);
            assert_memory_equal(b, right, n);
            got += (uint32_t)n;
        }
        plug_turn(&h.w.p);
    }
    (void)close(fd);
    plug_turn(&h.w.p);
    tear_down_host(&h);
}

static void a_socket_is_joined_to_a_port(void **state)
{
    struct host_world h;
    struct virtio_vsock_header head;
    int pair[2];
    uint8_t b[4096];
    uint32_t port;

    (void)state;
    set_up_host(&h);
    for (unsigned refused = 0; refused < 2; refused++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        assert_int_equal(vsock_host_join(h.host, 1000, pair[0]), 0);
        plug_turn(&h.w.p);
        assert_true(vsock_guest_hears(&h.w, &head, b));
        assert_int_equal(head.op, REQUEST);
        port = head.src_port;
        head = vsock_guest_header(&h.w, refused != 0 ? RST : RESPONSE, port, 1000);
        vsock_guest_send(&h.w, &head, "", 0);
        if (refused == 0) {
            assert_int_equal(write(pair[1], "ping", 4), 4);
            plug_turn(&h.w.p);
            assert_true(vsock_guest_hears(&h.w, &head, b));
            assert_int_equal(head.len, 4);
            head = vsock_guest_header(&h.w, SHUTDOWN, port, 1000);
            head.flags = 3;
            vsock_guest_send(&h.w, &head, "", 0);
            vsock_guest_expect(&h.w, RST);
        }
        assert_int_equal(read(pair[1], b, 1), 0);
        (void)close(pair[1]);
    }
    tear_down_host(&h);
}

/* Says its wish in two parts, with the first bytes for the guest behind it. */
static void a_program_comes_by_the_entrance(void **state)
{
    static const char *const wrong[] = {"CONNECT\n",
                                        "CONNECT \n",
                                        "CONNECT x\n",
                                        "connect 1\n",
                                        "CONNECT 4294967295\n",
                                        "\n",
                                        "CONNECT 1111111111111111111111111111111"};
    struct host_world h;
    struct virtio_vsock_header head;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    uint8_t b[4096];
    uint32_t port;
    int entrance;
    int fd;

    (void)state;
    set_up_host(&h);
    assert_int_equal(vsock_host_listen(h.host, -1, NULL), -EBADF);
    assert_int_equal(vsock_host_listen(h.host, 0, NULL) < 0, 1);
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/in", h.dir);
    entrance = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(entrance, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(entrance, 4), 0);
    assert_int_equal(vsock_host_listen(h.host, entrance, NULL), 0);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(write(fd, "CONN", 4), 4);
    plug_turn(&h.w.p);
    vsock_guest_expect_nothing(&h.w);
    assert_int_equal(write(fd, "ECT 1000\nping", 13), 13);
    plug_turn(&h.w.p);
    assert_true(vsock_guest_hears(&h.w, &head, NULL));
    assert_int_equal(head.op, REQUEST);
    assert_int_equal(head.dst_port, 1000);
    port = head.src_port;
    head = vsock_guest_header(&h.w, RESPONSE, port, 1000);
    vsock_guest_send(&h.w, &head, "", 0);
    assert_int_equal(recv(fd, b, sizeof b, MSG_DONTWAIT), 3);
    assert_memory_equal(b, "OK\n", 3);
    assert_true(vsock_guest_hears(&h.w, &head, b));
    assert_int_equal(head.len, 4);
    assert_memory_equal(b, "ping", 4);
    (void)close(fd);

    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
        assert_true(write(fd, wrong[i], strlen(wrong[i])) > 0);
        plug_turn(&h.w.p);
        assert_true(recv(fd, b, sizeof b, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
        (void)close(fd);
    }
    (void)unlink(at.sun_path);
    tear_down_host(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_reaches_a_socket),
        cmocka_unit_test(a_slow_socket_holds_the_guest_back),
        cmocka_unit_test(a_socket_is_joined_to_a_port),
        cmocka_unit_test(a_program_comes_by_the_entrance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
