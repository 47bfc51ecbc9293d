/* session_test.c - what no well-behaved initiator does: raw PDUs into a connection; and
 * memory that runs out at every point of a session.
 *
 * The server runs on a loop of the test; the initiator's end of a socket pair is written
 * and read in between.  Numbers are those of RFC 7143 section 11. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES (4 * 1024 * 1024)
#define HEAD       48
#define TURNS      400

struct test {
    struct loop *loop;
    struct iscsi_server *server;
    int fd; /* the initiator's end */
    uint32_t command_sn;
    uint8_t got[1 << 20];
    size_t got_bytes;
};

static int begin(void *arg)
{
    struct test *t = arg;
    struct iscsi_server_options o = {.login_seconds = 1};
    struct iscsi_target_options x = {.name = "iqn.t:a"};
    struct iscsi_unit_options u = {0};
    int r = iscsi_server_create(t->loop, &o, &t->server, NULL);

    r = r != 0 ? r : iscsi_server_add_target(t->server, &x, NULL);
    r = r != 0
            ? r
            : leaf_memory_create(loop_strands(t->loop), SIZE_BYTES, 512, &u.disk, NULL);
    if (r == 0) {
        r = iscsi_server_add_unit(t->server, "iqn.t:a", &u, NULL);
        if (r != 0) {
            blk_drop(u.disk);
        }
    }
    return r;
}

static int end(void *arg)
{
    iscsi_server_destroy(((struct test *)arg)->server);
    return 0;
}

static int attach(struct test *t)
{
    int pair[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    t->fd = pair[0];
    t->got_bytes = 0;
    t->command_sn = 0;
    return iscsi_server_serve(t->server, pair[1], NULL);
}

static int start(void **state)
{
    static struct test t;

    t = (struct test){.fd = -1};
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &t.loop, NULL), 0);
    assert_int_equal(loop_do(t.loop, begin, &t), 0);
    assert_int_equal(attach(&t), 0);
    *state = &t;
    return 0;
}

static int stop(void **state)
{
    struct test *t = *state;

    (void)close(t->fd);
    assert_int_equal(loop_do(t->loop, end, t), 0);
    loop_destroy(t->loop);
    return 0;
}

static void turn(struct test *t)
{
    ssize_t n;

    assert_int_equal(loop_turn(t->loop, 0), 0);
    n = recv(t->fd, t->got + t->got_bytes, sizeof t->got - t->got_bytes, 0);
    t->got_bytes += n > 0 ? (size_t)n : 0;
}

/* Write it all; false: the server has hung up. */
static bool put(struct test *t, const void *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(t->fd, data, bytes, MSG_NOSIGNAL);

        if (n > 0) {
            data = (const char *)data + n;
            bytes -= (size_t)n;
        } else if (errno != EAGAIN) {
            return false;
        }
        turn(t);
    }
    return true;
}

/* Until so many bytes have come; false: the connection ended, or nothing comes. */
static bool wait_bytes(struct test *t, size_t bytes)
{
    for (unsigned i = 0; i < TURNS && t->got_bytes < bytes; i++) {
        turn(t);
    }
    return t->got_bytes >= bytes;
}

static bool is_over(struct test *t)
{
    for (unsigned i = 0; i < TURNS; i++) {
        if (iscsi_server_counts(t->server).sessions == 0) {
            return true;
        }
        turn(t);
    }
    return false;
}

static bool put_pdu(struct test *t, const uint8_t head[HEAD], const void *data)
{
    static const uint8_t zeros[4];
    uint32_t n = get24(head + 5);

    return put(t, head, HEAD) && put(t, data, n) && put(t, zeros, -n & 3);
}

static bool log_in(struct test *t)
{
    static const char keys[] = "InitiatorName=iqn.t:i\0TargetName=iqn.t:a\0"
                               "InitialR2T=No\0MaxRecvDataSegmentLength=8192";
    uint8_t head[HEAD] = {0x43, 0x87, [7] = sizeof keys, [8] = 0x40};

    return put_pdu(t, head, keys) && wait_bytes(t, HEAD) && t->got[36] == 0 &&
           wait_bytes(t, HEAD + ((get24(t->got + 5) + 3) & ~3u));
}

struct order {
    uint8_t cdb[16];
    uint8_t flags;
    uint32_t announced;
    const void *data;
    uint32_t bytes;
};

static bool put_command(struct test *t, const struct order *o)
{
    uint8_t head[HEAD] = {0x01, o->flags};

    put24(head + 5, o->bytes);
    put32(head + 16, t->command_sn + 1);
    put32(head + 20, o->announced);
    put32(head + 24, t->command_sn++);
    memcpy(head + 32, o->cdb, 16);
    return put_pdu(t, head, o->data);
}

static const struct order ready = {.flags = 0x80};
static const struct order reads = {
    .cdb = {0x28, [8] = 8}, .flags = 0xc0, .announced = 4096};

/* ---- what makes no sense ends the connection, and only that ---- */

static void a_segment_that_is_too_long_ends_it(void **state)
{
    struct test *t = *state;
    uint8_t head[HEAD] = {0x00, 0x80, [5] = 0xff, [6] = 0xff, [7] = 0xff};

    assert_true(log_in(t));
    assert_true(put(t, head, HEAD));
    assert_true(is_over(t));
    assert_int_equal(attach(t), 0);
    assert_true(log_in(t));
}

static void a_login_that_never_ends_is_ended(void **state)
{
    struct test *t = *state;
    static char junk[8192];
    uint8_t head[HEAD] = {0x43, 0x40, [6] = 0x20, [8] = 0x40}; /* continued */

    memset(junk, 'a', sizeof junk);
    for (unsigned i = 0; i < 8 && put_pdu(t, head, junk); i++) {
    }
    assert_true(is_over(t));
    assert_int_equal(iscsi_server_counts(t->server).refused, 1);
}

static void unasked_data_beyond_the_burst_is_refused(void **state)
{
    static uint8_t data[262144];
    struct test *t = *state;
    struct order writes = {.cdb = {0x2a, [7] = 2},
                           .flags = 0xa0,
                           .announced = 131072,
                           .data = data,
                           .bytes = 131072}; /* FirstBurstLength is 65536 */

    assert_true(log_in(t));
    t->got_bytes = 0;
    assert_true(put_command(t, &ready)); /* takes the unit attention */
    assert_true(put_command(t, &writes));
    assert_true(wait_bytes(t, 2 * (HEAD + 20)));
    assert_int_equal(t->got[HEAD + 20], 0x21);
    assert_int_equal(t->got[HEAD + 20 + 3], 2);           /* CHECK CONDITION */
    assert_int_equal(t->got[HEAD + 20 + HEAD + 4], 0x0b); /* ABORTED COMMAND */
    t->got_bytes = 0;
    assert_true(put_command(t, &ready));
    assert_true(wait_bytes(t, HEAD));
    assert_int_equal(t->got[3], 0);
}

/* Each recv brings one segment and the next head: the last of them, too, is taken without
 * another event. */
static void many_segments_in_one_turn_are_answered(void **state)
{
    enum {
        PART = 32768,
        MOST = 12
    };

    static uint8_t all[MOST * (HEAD + PART)];
    struct test *t = *state;

    assert_true(log_in(t));
    t->got_bytes = 0;
    assert_true(put_command(t, &ready)); /* takes the unit attention */
    assert_true(wait_bytes(t, HEAD + 20));
    (void)setsockopt(t->fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){4 << 20}, sizeof(int));
    for (unsigned count = 1; count <= MOST; count++) {
        for (unsigned i = 0; i < count; i++) {
            uint8_t *head = all + (size_t)i * (HEAD + PART);

            memset(head, 0, HEAD);
            head[0] = 0x01;
            head[1] = 0xa0;
            put24(head + 5, PART);
            put32(head + 16, t->command_sn + 1);
            put32(head + 20, PART);
            put32(head + 24, t->command_sn++);
            head[32] = 0x2a;
            head[32 + 8] = PART / 512;
        }
        t->got_bytes = 0;
        if (send(t->fd, all, count * (size_t)(HEAD + PART), 0) !=
            (ssize_t)(count * (HEAD + PART))) {
            skip(); /* an ordinary user: the socket takes less */
        }
        assert_true(wait_bytes(t, count * (size_t)HEAD));
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(t->got[i * HEAD], 0x21);
            assert_int_equal(t->got[i * HEAD + 3], 0); /* GOOD */
        }
    }
}

static void answers_that_nobody_fetches_stop_the_reading(void **state)
{
    struct test *t = *state;
    struct order big = {
        .cdb = {0x28, [7] = 0x10}, .flags = 0xc0, .announced = 4096 * 512};
    unsigned sent = 0;

    assert_true(log_in(t));
    assert_true(put_command(t, &ready));
    for (unsigned i = 0; i < 4000; i++) { /* 2 MiB each */
        uint8_t head[HEAD] = {0x01, big.flags};

        put32(head + 20, big.announced);
        put32(head + 24, t->command_sn);
        memcpy(head + 32, big.cdb, 16);
        if (send(t->fd, head, HEAD, MSG_NOSIGNAL) == HEAD) {
            t->command_sn++;
            sent++;
        }
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    assert_true(sent > 100);
    assert_true(iscsi_server_counts(t->server).served < 200);
}

static void a_second_login_of_the_same_port_ends_the_first(void **state)
{
    struct test *t = *state;
    int first;
    char byte;

    assert_true(log_in(t));
    first = t->fd;
    assert_int_equal(attach(t), 0);
    assert_true(log_in(t));
    assert_int_equal(recv(first, &byte, 1, 0), 0);
    assert_int_equal(iscsi_server_counts(t->server).sessions, 1);
    (void)close(first);
}

/* ---- memory ---- */

/* A session with a read, a write that is asked for, and task management. */
static bool session(struct test *t)
{
    static uint8_t data[8192];
    struct order writes = {.cdb = {0x2a, [8] = 16}, .flags = 0xa0, .announced = 8192};
    uint8_t out[HEAD] = {0x05, 0x80, [6] = 0x20};
    uint8_t reset[HEAD] = {0x42, 0x85};

    if (attach(t) != 0 || !log_in(t)) {
        return false;
    }
    t->got_bytes = 0;
    if (!put_command(t, &ready) || !wait_bytes(t, HEAD + 20) || !put_command(t, &reads) ||
        !wait_bytes(t, HEAD + 20 + HEAD + 4096)) {
        return false;
    }
    t->got_bytes = 0;
    if (!put_command(t, &writes) || !wait_bytes(t, HEAD) || t->got[0] != 0x31) {
        return false;
    }
    memcpy(out + 16, t->got + 16, 8);
    t->got_bytes = 0;
    if (!put_pdu(t, out, data) || !wait_bytes(t, HEAD) || t->got[0] != 0x21 ||
        t->got[3] != 0) {
        return false;
    }
    put32(reset + 24, t->command_sn);
    t->got_bytes = 0;
    return put_pdu(t, reset, NULL) && wait_bytes(t, HEAD) && t->got[0] == 0x22;
}

static int try_session(void *arg)
{
    struct test *t = arg;
    bool well = false;
    int r = loop_do(t->loop, begin, t);

    t->fd = -1;
    if (r == 0) {
        well = session(t);
    }
    fault_fail_alloc_at(-1);
    if (t->fd >= 0) {
        (void)close(t->fd);
    }
    if (loop_do(t->loop, end, t) != 0) {
        return -EIO;
    }
    t->server = NULL;
    return well ? 0 : -ENOMEM;
}

static void memory_may_run_out_anywhere(void **state)
{
    static struct test t;

    (void)state;
    t = (struct test){.fd = -1};
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &t.loop, NULL), 0);
    assert_true(check_each_allocation(try_session, &t, -ENOMEM) > 8);
    loop_destroy(t.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_segment_that_is_too_long_ends_it, start, stop),
        cmocka_unit_test_setup_teardown(a_login_that_never_ends_is_ended, start, stop),
        cmocka_unit_test_setup_teardown(unasked_data_beyond_the_burst_is_refused, start,
                                        stop),
        cmocka_unit_test_setup_teardown(many_segments_in_one_turn_are_answered, start,
                                        stop),
        cmocka_unit_test_setup_teardown(answers_that_nobody_fetches_stop_the_reading,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_second_login_of_the_same_port_ends_the_first,
                                        start, stop),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
