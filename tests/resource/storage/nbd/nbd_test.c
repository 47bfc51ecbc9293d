/* nbd_test.c - what no well-behaved client does: raw bytes into a connection.
 *
 * The server runs on a loop of the test; the client's end of a socket pair is written
 * and read in between.  Numbers are those of doc/proto.md. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/nbd/protocol.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES (4 * 1024 * 1024)

struct test {
    struct loop *loop;
    struct nbd_server *server;
    struct blk *disk;
    int file; /* what the disk lies in; -1: in memory */
    int fd;   /* the client's end */
    char got[1 << 20];
    size_t got_bytes;
};

static int monday(void *arg, uint64_t off, uint64_t bytes, uint64_t *ret_bytes,
                  uint32_t *ret_flags)
{
    (void)arg;
    *ret_flags = off < 8192;
    *ret_bytes = off < 8192 ? (bytes < 8192 - off ? bytes : 8192 - off) : bytes;
    return 0;
}

static const struct nbd_context contexts[] = {{"qemu:dirty-bitmap:monday", monday, NULL}};

static int begin(void *arg)
{
    struct test *t = arg;
    struct nbd_server_options o = {.idle_seconds = 1};
    struct nbd_export x = {.name = "disk",
                           .description = "for tests",
                           .resizable = true,
                           .contexts = contexts,
                           .context_count = 1};

    must_be_0(nbd_server_create(t->loop, &o, &t->server, NULL));
    if (t->file >= 0) {
        struct leaf_file_options file = {.label = "scratch", .no_lock = true};

        must_be_0(leaf_file_create(t->loop, dup(t->file), &file, &x.disk, NULL));
    } else {
        must_be_0(
            leaf_memory_create(loop_strands(t->loop), SIZE_BYTES, 512, &x.disk, NULL));
    }
    t->disk = x.disk;
    must_be_0(nbd_server_add(t->server, &x, NULL));
    must(nbd_server_add(t->server, &x, NULL) == -EEXIST);
    return 0;
}

static int end(void *arg)
{
    struct test *t = arg;

    nbd_server_destroy(t->server);
    return 0;
}

static void join(struct test *t)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    t->fd = pair[0];
    t->got_bytes = 0;
    assert_int_equal(nbd_server_serve(t->server, pair[1], NULL), 0);
}

static int start_on(int file, void **state)
{
    static struct test t;

    t = (struct test){.fd = -1, .file = file};
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &t.loop, NULL), 0);
    assert_int_equal(loop_do(t.loop, begin, &t), 0);
    join(&t);
    *state = &t;
    return 0;
}

static int start(void **state)
{
    return start_on(-1, state);
}

static int start_on_file(void **state)
{
    int file = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, SIZE_BYTES), 0);
    return start_on(file, state);
}

/* A file that the server may not write, and does not know it. */
static int start_on_failing_file(void **state)
{
    char name[] = "/var/tmp/nbd-test-XXXXXX";
    int writable = mkstemp(name);
    int file = open(name, O_RDONLY | O_CLOEXEC);

    assert_true(writable >= 0 && file >= 0);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(ftruncate(writable, SIZE_BYTES), 0);
    (void)close(writable);
    return start_on(file, state);
}

static int stop(void **state)
{
    struct test *t = *state;

    (void)close(t->fd);
    if (t->file >= 0) {
        (void)close(t->file);
    }
    assert_int_equal(loop_do(t->loop, end, t), 0);
    loop_destroy(t->loop);
    return 0;
}

/* Turn until `bytes` have come, or the end; false: the server has left. */
static bool receive(struct test *t, size_t bytes)
{
    for (unsigned turns = 0; t->got_bytes < bytes && turns < 2000; turns++) {
        ssize_t n = recv(t->fd, t->got + t->got_bytes, bytes - t->got_bytes, 0);

        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return false;
        }
        t->got_bytes += n > 0 ? (size_t)n : 0;
        assert_int_equal(loop_turn(t->loop, n > 0 ? 0 : 2), 0);
    }
    assert_true(t->got_bytes >= bytes);
    return true;
}

static bool has_left(struct test *t)
{
    char byte;

    for (unsigned turns = 0; turns < 2000; turns++) {
        ssize_t n = recv(t->fd, &byte, 1, 0);

        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return true;
        }
        assert_int_equal(loop_turn(t->loop, 2), 0);
    }
    return false;
}

static void tell(struct test *t, const void *bytes, size_t n)
{
    assert_int_equal(send(t->fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* The next `bytes` of what comes. */
static const char *next(struct test *t, size_t bytes)
{
    t->got_bytes = 0;
    assert_true(receive(t, bytes));
    return t->got;
}

static void greet(struct test *t)
{
    char flags[4];

    assert_true(nbd_get64(next(t, 18)) == NBD_MAGIC);
    nbd_put32(flags, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    tell(t, flags, 4);
}

static void option(struct test *t, uint32_t number, const void *data, uint32_t length)
{
    char head[16];

    nbd_put64(head, NBD_OPTION_MAGIC);
    nbd_put32(head + 8, number);
    nbd_put32(head + 12, length);
    tell(t, head, sizeof head);
    if (length > 0) {
        tell(t, data, length);
    }
}

/* The type of the next answer to an option; its data is in t->got. */
static uint32_t option_answer(struct test *t)
{
    const char *head = next(t, 20);
    uint32_t type = nbd_get32(head + 12);
    uint32_t length = nbd_get32(head + 16);

    assert_true(nbd_get64(head) == NBD_REPLY_MAGIC && length < sizeof t->got);
    (void)next(t, length);
    return type;
}

static void expect_answer(struct test *t, uint32_t last)
{
    uint32_t type;

    do {
        type = option_answer(t);
    } while (type != last && type < NBD_REP_ERROR && type != NBD_REP_ACK);
    assert_int_equal(type, last);
}

static void go(struct test *t)
{
    char data[4 + 4 + 2] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 0};

    option(t, NBD_OPT_GO, data, sizeof data);
    expect_answer(t, NBD_REP_ACK);
}

static void request(struct test *t, uint16_t flags, uint16_t command, uint64_t off,
                    uint32_t bytes)
{
    char head[28];

    nbd_put32(head, NBD_REQUEST_MAGIC);
    nbd_put16(head + 4, flags);
    nbd_put16(head + 6, command);
    nbd_put64(head + 8, 0x1234);
    nbd_put64(head + 16, off);
    nbd_put32(head + 24, bytes);
    tell(t, head, sizeof head);
}

static uint32_t simple_answer(struct test *t)
{
    const char *head = next(t, 16);

    assert_int_equal(nbd_get32(head), NBD_SIMPLE_MAGIC);
    assert_int_equal(nbd_get64(head + 8), 0x1234);
    return nbd_get32(head + 4);
}

static void options_that_do_not_add_up_are_refused(void **state)
{
    struct test *t = *state;
    static const char long_name[] = {0, 0, 1, 0, 'd', 'i', 's', 'k', 0, 0};
    static const char many_infos[] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 9};
    static const char other[] = {0, 0, 0, 5, 'd', 'i', 's', 'k', '2', 0, 0};
    static char big[70000];

    greet(t);
    option(t, NBD_OPT_GO, long_name, sizeof long_name);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_INVALID);
    option(t, NBD_OPT_GO, many_infos, sizeof many_infos);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_INVALID);
    option(t, NBD_OPT_INFO, NULL, 0);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_INVALID);
    option(t, NBD_OPT_GO, other, sizeof other);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_UNKNOWN);
    option(t, NBD_OPT_LIST, "x", 1);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_INVALID);
    option(t, 4711, big, 100);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_UNSUP);
    option(t, NBD_OPT_LIST, big, sizeof big);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_TOO_BIG);
    option(t, NBD_OPT_STARTTLS, NULL, 0);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_POLICY);
    option(t, NBD_OPT_SET_META_CONTEXT, other, sizeof other);
    expect_answer(t, NBD_REP_ERROR | NBD_ERR_INVALID); /* before structured replies */
    go(t);
    request(t, 0, NBD_CMD_FLUSH, 0, 0);
    assert_int_equal(simple_answer(t), 0);
}

static void wrong_magic_ends_the_connection(void **state)
{
    struct test *t = *state;
    char junk[28] = "GET / HTTP/1.1\r\n\r\n";

    greet(t);
    tell(t, junk, 16);
    assert_true(has_left(t));
    (void)close(t->fd);
    join(t);
    greet(t);
    go(t);
    tell(t, junk, sizeof junk);
    assert_true(has_left(t));
    assert_int_equal(nbd_server_counts(t->server).clients, 0);
}

static void a_silent_client_is_let_go(void **state)
{
    struct test *t = *state;

    greet(t);
    assert_true(has_left(t)); /* after idle_seconds */
    assert_int_equal(nbd_server_counts(t->server).refused, 1);
}

static void requests_outside_are_refused(void **state)
{
    struct test *t = *state;

    greet(t);
    go(t);
    request(t, 0, NBD_CMD_READ, SIZE_BYTES, 512);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, NBD_CMD_READ, UINT64_MAX - 511, 512);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, NBD_CMD_READ, 1, 512);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, NBD_CMD_READ, 0, 0);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, NBD_CMD_READ, 0, UINT32_MAX);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, NBD_CMD_WRITE_ZEROES, SIZE_BYTES - 512, 1024);
    assert_int_equal(simple_answer(t), 28);
    request(t, 0x8000, NBD_CMD_READ, 0, 512);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, 99, 0, 512);
    assert_int_equal(simple_answer(t), 22);
    request(t, 0, NBD_CMD_BLOCK_STATUS, 0, 512); /* no context was chosen */
    assert_int_equal(simple_answer(t), 22);

    /* A write outside is refused behind its payload; what follows is understood. */
    request(t, 0, NBD_CMD_WRITE, SIZE_BYTES, 512);
    tell(t, t->got, 512);
    assert_int_equal(simple_answer(t), 28);
    request(t, 0, NBD_CMD_TRIM, 0, 4096);
    assert_int_equal(simple_answer(t), 0);

    /* One that is too long ends the connection: nobody can wait for its end. */
    request(t, 0, NBD_CMD_WRITE, 0, NBD_PAYLOAD_MOST + 512);
    assert_true(has_left(t));
}

static void bytes_may_come_one_by_one(void **state)
{
    struct test *t = *state;
    char head[28] = {0};
    char data[512];

    greet(t);
    go(t);
    nbd_put32(head, NBD_REQUEST_MAGIC);
    nbd_put16(head + 6, NBD_CMD_WRITE);
    nbd_put64(head + 8, 0x1234);
    nbd_put64(head + 16, 1024);
    nbd_put32(head + 24, sizeof data);
    memset(data, 'w', sizeof data);
    for (unsigned i = 0; i < sizeof head; i++) {
        tell(t, head + i, 1);
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    for (unsigned i = 0; i < sizeof data; i++) {
        tell(t, data + i, 1);
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    assert_int_equal(simple_answer(t), 0);
    request(t, 0, NBD_CMD_READ, 1024, sizeof data);
    assert_int_equal(simple_answer(t), 0);
    assert_memory_equal(next(t, sizeof data), data, sizeof data);
}

/* Thousands of reads and nobody who takes the answers: what is in work is bounded, and
 * all is answered once somebody does. */
static void a_client_that_does_not_read_is_bounded(void **state)
{
    struct test *t = *state;
    unsigned sent = 0;
    char head[28];

    greet(t);
    go(t);
    nbd_put32(head, NBD_REQUEST_MAGIC);
    nbd_put32(head + 4, NBD_CMD_READ);
    nbd_put64(head + 8, 0x1234);
    nbd_put64(head + 16, 0);
    nbd_put32(head + 24, 65536);
    for (unsigned idle = 0; idle < 50 && sent < 100000;) {
        ssize_t n = send(t->fd, head, sizeof head, MSG_NOSIGNAL);

        assert_true(n == sizeof head || n == -1);
        idle = n < 0 ? idle + 1 : 0;
        sent += n > 0;
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    assert_true(sent < 100000);
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(simple_answer(t), 0);
        (void)next(t, 65536);
    }
    request(t, 0, NBD_CMD_DISC, 0, 0);
    assert_true(has_left(t));
}

static void choose_contexts(struct test *t)
{
    static const char query[] = "\0\0\0\4disk\0\0\0\2\0\0\0\17base:allocation"
                                "\0\0\0\30qemu:dirty-bitmap:monday";
    unsigned found = 0;
    uint32_t type;

    option(t, NBD_OPT_SET_META_CONTEXT, query, sizeof query - 1);
    while ((type = option_answer(t)) == NBD_REP_META_CONTEXT) {
        found++;
    }
    assert_int_equal(type, NBD_REP_ACK);
    assert_int_equal(found, 2);
}

static void a_bitmap_is_served_beside_the_allocation(void **state)
{
    struct test *t = *state;
    char data[4096];
    const char *chunk;

    greet(t);
    option(t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    expect_answer(t, NBD_REP_ACK);
    choose_contexts(t);
    go(t);
    memset(data, 1, sizeof data);
    request(t, 0, NBD_CMD_WRITE, 65536, sizeof data);
    tell(t, data, sizeof data);
    assert_int_equal(simple_answer(t), 0);
    request(t, 0, NBD_CMD_BLOCK_STATUS, 0, 1 << 20);
    chunk = next(t, 20 + 4 + 3 * 8); /* hole, data, hole */
    assert_int_equal(nbd_get32(chunk), NBD_CHUNK_MAGIC);
    assert_int_equal(nbd_get16(chunk + 4), 0); /* not the last chunk */
    assert_int_equal(nbd_get16(chunk + 6), NBD_CHUNK_STATUS);
    assert_int_equal(nbd_get32(chunk + 16), 4 + 3 * 8);
    assert_int_equal(nbd_get32(chunk + 24), 65536);
    assert_int_equal(nbd_get32(chunk + 28), NBD_STATE_HOLE | NBD_STATE_ZERO);
    assert_int_equal(nbd_get32(chunk + 36), 0);
    chunk = next(t, 20 + 4 + 2 * 8);
    assert_int_equal(nbd_get16(chunk + 4), NBD_CHUNK_DONE);
    assert_int_equal(nbd_get32(chunk + 20), 1); /* the second context */
    assert_int_equal(nbd_get32(chunk + 24), 8192);
    assert_int_equal(nbd_get32(chunk + 28), 1);
    request(t, NBD_CMD_REQ_ONE, NBD_CMD_BLOCK_STATUS, 0, 1 << 20);
    chunk = next(t, 20 + 4 + 8);
    assert_int_equal(nbd_get32(chunk + 16), 4 + 8);
    assert_int_equal(nbd_get32(chunk + 24), 65536);
}

static void extended_heads_carry_64_bits(void **state)
{
    struct test *t = *state;
    char head[32] = {0};
    const char *chunk;

    greet(t);
    option(t, NBD_OPT_EXTENDED_HEADERS, NULL, 0);
    expect_answer(t, NBD_REP_ACK);
    go(t);
    nbd_put32(head, NBD_EXTENDED_MAGIC);
    nbd_put16(head + 6, NBD_CMD_WRITE_ZEROES);
    nbd_put64(head + 8, 0x1234);
    nbd_put64(head + 24, SIZE_BYTES);
    tell(t, head, sizeof head);
    chunk = next(t, 32);
    assert_int_equal(nbd_get32(chunk), NBD_EXT_CHUNK_MAGIC);
    assert_int_equal(nbd_get16(chunk + 6), NBD_CHUNK_NONE);
    nbd_put16(head + 6, NBD_CMD_READ);
    nbd_put64(head + 24, 512);
    tell(t, head, sizeof head);
    chunk = next(t, 32 + 8 + 512);
    assert_int_equal(nbd_get16(chunk + 6), NBD_CHUNK_DATA);
    assert_int_equal(nbd_get64(chunk + 24), 8 + 512);
    assert_int_equal(chunk[40], 0);
}

static void a_client_may_change_the_size(void **state)
{
    struct test *t = *state;

    greet(t);
    go(t);
    request(t, 0, NBD_CMD_RESIZE, 2 * SIZE_BYTES, 0);
    assert_int_equal(simple_answer(t), 0);
    request(t, 0, NBD_CMD_READ, 2 * SIZE_BYTES - 512, 512);
    assert_int_equal(simple_answer(t), 0);
    (void)next(t, 512);
    request(t, 0, NBD_CMD_RESIZE, 100, 0);
    assert_int_equal(simple_answer(t), 22);
}

/* However many calls of recv a payload takes, the last byte is as good as the first:
 * nothing more comes that would wake the server. */
static void a_payload_in_any_number_of_parts_is_answered(void **state)
{
    struct test *t = *state;

    enum {
        BYTES = 262144,
        PART = 32768
    };

    greet(t);
    go(t);
    memset(t->got, 'w', BYTES);
    request(t, 0, NBD_CMD_WRITE, 0, BYTES); /* from now on payloads are big */
    for (size_t sent = 0; sent < BYTES;) {
        ssize_t n = send(t->fd, t->got, BYTES - sent, MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    assert_int_equal(simple_answer(t), 0);
    /* Each recv brings one payload and the next head: many of them in one turn. */
    (void)setsockopt(t->fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){4 << 20}, sizeof(int));
    for (unsigned count = 1; count <= 12; count++) {
        for (unsigned i = 0; i < count; i++) {
            request(t, 0, NBD_CMD_WRITE, 0, PART);
            tell(t, t->got, PART);
        }
        for (unsigned i = 0; i < 400; i++) { /* an answer must not need another event */
            assert_int_equal(loop_turn(t->loop, 0), 0);
        }
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(simple_answer(t), 0);
        }
    }
}

/* Send all, at most `part` bytes a call, and let the server take what it will. */
static void tell_slowly(struct test *t, const char *bytes, size_t n, size_t part)
{
    for (unsigned turns = 0; n > 0 && turns < 100000; turns++) {
        ssize_t did = send(t->fd, bytes, n < part ? n : part, MSG_NOSIGNAL);

        assert_true(did > 0 || errno == EAGAIN);
        bytes += did > 0 ? did : 0;
        n -= did > 0 ? (size_t)did : 0;
        if (did < 0) {
            assert_int_equal(loop_turn(t->loop, 0), 0);
        }
    }
    assert_int_equal(n, 0);
}

static const char *noise(unsigned seed)
{
    static char bytes[2 << 20];

    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(seed >> 24);
    }
    return bytes;
}

static void expect_in_file(struct test *t, const char *bytes, size_t n, uint64_t off)
{
    static char there[2 << 20];

    assert_int_equal(pread(t->file, there, n, (off_t)off), (ssize_t)n);
    assert_memory_equal(there, bytes, n);
}

static void big_payloads_reach_the_file(void **state)
{
    static const struct {
        uint32_t bytes;
        size_t part; /* of the client's calls */
    } cases[] = {{32768, 1 << 20},   {65536 + 512, 1 << 20}, {262144, 1 << 20},
                 {1 << 20, 1 << 20}, {2 << 20, 1 << 20}, /* more than a pipe may take */
                 {262144, 7000},     {262144, 300}, /* it is full before all has come */
                 {262144, 1 << 20}};
    struct test *t = *state;

    greet(t);
    go(t);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned flags = 0; flags <= NBD_CMD_FUA; flags += NBD_CMD_FUA) {
            const char *bytes = noise(i * 2 + flags);

            request(t, (uint16_t)flags, NBD_CMD_WRITE, i * 4096, cases[i].bytes);
            tell_slowly(t, bytes, cases[i].bytes, cases[i].part);
            assert_int_equal(simple_answer(t), 0);
            expect_in_file(t, bytes, cases[i].bytes, i * 4096);
        }
    }
}

/* What is refused is taken off the socket: the next request is understood. */
static void a_refused_payload_is_skipped(void **state)
{
    struct test *t = *state;
    const char *bytes = noise(1);

    greet(t);
    go(t);
    for (unsigned i = 0; i < 3; i++) {
        request(t, 0, NBD_CMD_WRITE, SIZE_BYTES - 65536, 131072);
        tell_slowly(t, bytes, 131072, 1 << 20);
        assert_int_equal(simple_answer(t), 28);
        request(t, 0, NBD_CMD_WRITE, 100, 131072); /* no whole block */
        tell_slowly(t, bytes, 131072, 1 << 20);
        assert_int_equal(simple_answer(t), 22);
        request(t, 0, NBD_CMD_WRITE, 0, 131072);
        tell_slowly(t, bytes, 131072, 1 << 20);
        assert_int_equal(simple_answer(t), 0);
        expect_in_file(t, bytes, 131072, 0);
    }
}

static void a_payload_that_the_file_refuses_is_an_error(void **state)
{
    struct test *t = *state;

    greet(t);
    go(t);
    for (unsigned i = 0; i < 6; i++) {
        request(t, 0, NBD_CMD_WRITE, 0, 131072);
        tell_slowly(t, noise(1), 131072, 1 << 20);
        assert_int_equal(simple_answer(t), 5);
    }
    request(t, 0, NBD_CMD_READ, 0, 512);
    assert_int_equal(simple_answer(t), 0);
    (void)next(t, 512);
}

static int drain(void *arg)
{
    blk_drain_begin(arg);
    return 0;
}

static int drain_no_more(void *arg)
{
    blk_drain_end(arg);
    return 0;
}

/* A drain waits for no client, and payloads that come meanwhile are written after it. */
static void payloads_wait_while_the_disk_is_drained(void **state)
{
    enum {
        BYTES = 65536,
        COUNT = 12
    };

    struct test *t = *state;
    const char *bytes = noise(9);

    greet(t);
    go(t);
    (void)setsockopt(t->fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){4 << 20}, sizeof(int));
    request(t, 0, NBD_CMD_WRITE, 0, BYTES);
    tell(t, bytes, BYTES / 2);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    assert_int_equal(loop_do(t->loop, drain, t->disk), 0); /* half of it is here */
    tell(t, bytes + BYTES / 2, BYTES / 2);
    for (unsigned i = 1; i < COUNT; i++) {
        request(t, 0, NBD_CMD_WRITE, i * BYTES, BYTES);
        tell(t, bytes + i * BYTES, BYTES);
    }
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    assert_true(recv(t->fd, t->got, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    assert_int_equal(loop_do(t->loop, drain_no_more, t->disk), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(simple_answer(t), 0);
    }
    expect_in_file(t, bytes, (size_t)COUNT * BYTES, 0);
}

/* More than the socket takes, read by a client that comes late. */
static void big_reads_wait_for_their_client(void **state)
{
    enum {
        BYTES = 524288,
        COUNT = 24
    };

    struct test *t = *state;
    const char *bytes = noise(3);

    greet(t);
    go(t);
    assert_int_equal(pwrite(t->file, bytes, 2 << 20, 0), 2 << 20);
    assert_int_equal(pwrite(t->file, bytes, 2 << 20, 2 << 20), 2 << 20);
    for (unsigned i = 0; i < COUNT; i++) {
        request(t, 0, NBD_CMD_READ, (uint64_t)(i % 7) * BYTES, BYTES);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(loop_turn(t->loop, 0), 0);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(simple_answer(t), 0);
        assert_memory_equal(next(t, BYTES), bytes + (size_t)(i % 7) * BYTES % (2 << 20),
                            BYTES);
    }
}

static void a_client_that_vanishes_leaves_nothing(void **state)
{
    struct test *t = *state;

    for (unsigned i = 0; i < 40; i++) {
        greet(t);
        if (i % 4 > 0) {
            go(t);
        }
        if (i % 4 > 1) {
            request(t, 0, NBD_CMD_WRITE, 0, 65536);
            tell(t, t->got, 100); /* a part of the payload */
        }
        if (i % 4 == 1) {
            request(t, 0, NBD_CMD_READ, 0, 1 << 20);
        }
        (void)close(t->fd);
        for (unsigned k = 0; k < 1000 && nbd_server_counts(t->server).clients > 0; k++) {
            assert_int_equal(loop_turn(t->loop, 1), 0);
        }
        assert_int_equal(nbd_server_counts(t->server).clients, 0);
        join(t);
    }
}

int main(void)
{
#define WITH(f)    cmocka_unit_test_setup_teardown(f, start, stop)
#define ON_FILE(f) cmocka_unit_test_setup_teardown(f, start_on_file, stop)
    const struct CMUnitTest tests[] = {
        WITH(options_that_do_not_add_up_are_refused),
        WITH(wrong_magic_ends_the_connection),
        WITH(a_silent_client_is_let_go),
        WITH(requests_outside_are_refused),
        WITH(bytes_may_come_one_by_one),
        WITH(a_client_that_does_not_read_is_bounded),
        WITH(a_bitmap_is_served_beside_the_allocation),
        WITH(extended_heads_carry_64_bits),
        WITH(a_client_may_change_the_size),
        WITH(a_payload_in_any_number_of_parts_is_answered),
        WITH(a_client_that_vanishes_leaves_nothing),
        ON_FILE(a_payload_in_any_number_of_parts_is_answered),
        ON_FILE(a_client_that_vanishes_leaves_nothing),
        ON_FILE(big_reads_wait_for_their_client),
        ON_FILE(big_payloads_reach_the_file),
        ON_FILE(a_refused_payload_is_skipped),
        ON_FILE(payloads_wait_while_the_disk_is_drained),
        cmocka_unit_test_setup_teardown(a_payload_that_the_file_refuses_is_an_error,
                                        start_on_failing_file, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
