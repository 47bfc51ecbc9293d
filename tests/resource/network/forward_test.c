/* rows: OSL-06 NET-10
 *
 * Real sockets over the loopback of a namespace of the test's own; the "guest" is
 * 127.0.0.2 and ::1, what is published are other addresses. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/network/forward/forward.h"
#include "resource/network/network.h"
#include "world.h"

#define GUEST4 "127.0.0.2"
#define GUEST6 "::1"
#define OURS4  "127.0.0.5"
#define BULK   (8 << 20)

static int set_up(void **state)
{
    *state = NULL;
    if (world_missing() != NULL) {
        print_message("skipped: %s\n", world_missing());
        return 0;
    }
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_int_equal(network_loopback_up(-1, NULL), 0);
    static int here;
    *state = &here;
    return 0;
}

static void need(void **state)
{
    if (*state == NULL) {
        skip();
    }
}

struct ask {
    const char *publish;
    const char *second; /* NULL: one rule */
    const char *to[2];
    int idle_ms;
    unsigned clients;
};

static int create(const struct ask *a, struct forward **ret, struct err *e)
{
    struct forward_rule rules[2] = {{.optional = false}};
    struct forward_options o = {.rules = rules,
                                .n_rules = a->second != NULL ? 2 : 1,
                                .idle_ms = a->idle_ms,
                                .clients_most = a->clients};
    assert_int_equal(network_publish_parse(a->publish, &rules[0].from, NULL), 0);
    if (a->second != NULL) {
        assert_int_equal(network_publish_parse(a->second, &rules[1].from, NULL), 0);
    }
    for (unsigned i = 0; i < 2 && a->to[i] != NULL; i++) {
        assert_int_equal(network_ip_parse(a->to[i], &o.to[i]), 0);
    }
    return forward_create(&o, ret, e);
}

/* A forwarder in a process of its own. */
static pid_t start(const struct ask *a)
{
    struct forward *f = NULL;
    assert_int_equal(create(a, &f, NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(forward_run(f, -1) < 0);
    }
    forward_destroy(f);
    return child;
}

static void stop(pid_t child)
{
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

static socklen_t fill(struct sockaddr_storage *ss, const char *address, uint16_t port)
{
    struct sockaddr_in *four = (void *)ss;
    struct sockaddr_in6 *six = (void *)ss;
    memset(ss, 0, sizeof *ss);
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return sizeof *four;
    }
    assert_int_equal(inet_pton(AF_INET6, address, &six->sin6_addr), 1);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return sizeof *six;
}

static int dial(const char *address, uint16_t port, int type)
{
    struct sockaddr_storage ss;
    socklen_t len = fill(&ss, address, port);
    int fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 5};
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void client_and_guest_speak_in_each_family(void **state)
{
    static const char *const texts[] = {"127.0.0.5:8080:80", "[::1]:8080:80",
                                        "127.0.0.5:8080:80/udp", "[::1]:8080:80/udp"};
    need(state);
    for (unsigned i = 0; i < 4; i++) {
        pid_t child = start(&(struct ask){.publish = texts[i], .to = {GUEST4, GUEST6}});
        int type = i < 2 ? SOCK_STREAM : SOCK_DGRAM;
        int server = world_serve(-1, type, i % 2 == 0 ? GUEST4 : GUEST6, 80);
        assert_int_equal(
            world_talk(-1, server, type, i % 2 == 0 ? OURS4 : "::1", 8080, NULL), 0);
        (void)close(server);
        stop(child);
    }
}

static void other_family_is_tried_where_the_guest_refuses(void **state)
{
    need(state);
    for (unsigned i = 0; i < 2; i++) {
        int type = i == 0 ? SOCK_STREAM : SOCK_DGRAM;
        pid_t child =
            start(&(struct ask){.publish = i == 0 ? "[::1]:8080:80" : "[::1]:8080:80/udp",
                                .to = {GUEST4, GUEST6}});
        int server = world_serve(-1, type, GUEST4, 80); /* nobody at ::1 */
        assert_int_equal(world_talk(-1, server, type, "::1", 8080, NULL), 0);
        (void)close(server);
        stop(child);
    }
}

static void client_of_nobody_is_reset(void **state)
{
    char c;
    need(state);
    pid_t child =
        start(&(struct ask){.publish = "127.0.0.5:8080:80", .to = {GUEST4, GUEST6}});
    int fd = dial(OURS4, 8080, SOCK_STREAM);
    assert_int_equal(read(fd, &c, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    (void)close(fd);
    stop(child);
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761U >> 13);
}

/* Read to the end, check, then send as much back. */
static void serve_bulk(int server)
{
    static uint8_t buf[65536];
    size_t at = 0;
    ssize_t n;
    int fd = accept(server, NULL, NULL);
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != byte_at(at++)) {
                _exit(2);
            }
        }
    }
    for (size_t sent = 0; sent < at; sent += (size_t)n) {
        size_t most = at - sent < sizeof buf ? at - sent : sizeof buf;
        for (size_t i = 0; i < most; i++) {
            buf[i] = byte_at(sent + i);
        }
        n = write(fd, buf, most);
        if (n <= 0) {
            _exit(3);
        }
    }
    _exit(at == BULK ? 0 : 4);
}

static void long_streams_arrive_whole_after_a_half_close(void **state)
{
    static uint8_t buf[65536];
    size_t at = 0;
    ssize_t n;
    int status = 0;
    need(state);
    pid_t child = start(&(struct ask){.publish = "127.0.0.5:8080:80", .to = {GUEST4}});
    int server = world_serve(-1, SOCK_STREAM, GUEST4, 80);
    pid_t guest = fork();
    if (guest == 0) {
        serve_bulk(server);
    }
    int fd = dial(OURS4, 8080, SOCK_STREAM);
    while (at < BULK) {
        for (size_t i = 0; i < sizeof buf; i++) {
            buf[i] = byte_at(at + i);
        }
        assert_int_equal(write(fd, buf, sizeof buf), sizeof buf);
        at += sizeof buf;
    }
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (at = 0; (n = read(fd, buf, sizeof buf)) > 0;) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(buf[i], byte_at(at));
            at++;
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, BULK);
    assert_int_equal(waitpid(guest, &status, 0), guest);
    assert_int_equal(status, 0);
    (void)close(fd);
    (void)close(server);
    stop(child);
}

/* Turn until the counts are these, at most two seconds. */
static void await_counts(struct forward *f, unsigned connections, unsigned flows)
{
    for (unsigned i = 0; i < 200; i++) {
        struct forward_counts have = forward_counts(f);
        if (have.connections == connections && have.flows == flows) {
            return;
        }
        assert_int_equal(forward_turn(f, 10), 0);
    }
    assert_int_equal(forward_counts(f).connections, connections);
    assert_int_equal(forward_counts(f).flows, flows);
}

static void silent_udp_clients_are_forgotten_and_too_many_push_out_the_oldest(
    void **state)
{
    struct forward *f = NULL;
    int fd[3];
    need(state);
    struct ask a = {
        .publish = "127.0.0.5:8053:53/udp", .to = {GUEST4}, .idle_ms = 200, .clients = 2};
    assert_int_equal(create(&a, &f, NULL), 0);
    int server = world_serve(-1, SOCK_DGRAM, GUEST4, 53);
    for (unsigned i = 0; i < 3; i++) {
        fd[i] = dial(OURS4, 8053, SOCK_DGRAM);
        assert_int_equal(send(fd[i], "hello", 5, 0), 5);
        await_counts(f, 0, i < 1 ? 1 : 2);
    }
    await_counts(f, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)close(fd[i]);
    }
    (void)close(server);
    forward_destroy(f);
}

static void clients_beyond_the_limit_are_turned_away_and_places_are_given_back(
    void **state)
{
    struct forward *f = NULL;
    char c;
    need(state);
    struct ask a = {.publish = "127.0.0.5:8080:80", .to = {GUEST4}, .clients = 2};
    assert_int_equal(create(&a, &f, NULL), 0);
    int server = world_serve(-1, SOCK_STREAM, GUEST4, 80);
    int one = dial(OURS4, 8080, SOCK_STREAM);
    int two = dial(OURS4, 8080, SOCK_STREAM);
    await_counts(f, 2, 0);
    int three = dial(OURS4, 8080, SOCK_STREAM);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(forward_turn(f, 10), 0);
    }
    assert_int_equal(read(three, &c, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    (void)close(three);
    int peer = accept(server, NULL, NULL);
    (void)close(peer);
    (void)close(one);
    await_counts(f, 1, 0);
    (void)close(two);
    int peer2 = accept(server, NULL, NULL);
    (void)close(peer2);
    await_counts(f, 0, 0);
    (void)close(server);
    forward_destroy(f);
}

static void answers_come_from_the_address_that_was_asked(void **state)
{
    need(state);
    pid_t child = start(&(struct ask){.publish = "0.0.0.0:8053:53/udp", .to = {GUEST4}});
    int server = world_serve(-1, SOCK_DGRAM, GUEST4, 53);
    assert_int_equal(world_talk(-1, server, SOCK_DGRAM, "127.0.0.9", 8053, NULL), 0);
    (void)close(server);
    stop(child);
}

static void port_in_use_is_named_and_nothing_stays_bound(void **state)
{
    struct forward *f = NULL;
    struct err e = {0};
    need(state);
    int other = world_serve(-1, SOCK_STREAM, OURS4, 8081);
    struct ask a = {
        .publish = "127.0.0.5:8080:80", .second = "127.0.0.5:8081:81", .to = {GUEST4}};
    assert_int_equal(create(&a, &f, &e), -EADDRINUSE);
    assert_non_null(strstr(e.text, "8081/tcp"));
    (void)close(other);
    assert_int_equal(create(&a, &f, NULL), 0);
    forward_destroy(f);
}

static void failed_allocations_leave_nothing(void **state)
{
    struct forward *f = NULL;
    int r = -1;
    need(state);
    struct ask a = {
        .publish = "127.0.0.5:8080-8090:80-90", .second = NULL, .to = {GUEST4}};
    for (long at = 0; r < 0; at++) {
        assert_true(at < 100);
        fault_fail_alloc_at(at);
        r = create(&a, &f, NULL);
        fault_fail_alloc_at(-1);
        assert_true(r == 0 || r == -ENOMEM);
    }
    forward_destroy(f);
}

static void confined_forwarder_carries_and_can_do_nothing_else(void **state)
{
    struct forward_rule rule;
    struct forward_options o = {.rules = &rule, .n_rules = 1};
    struct forward *f = NULL;
    need(state);
    memset(&rule, 0, sizeof rule);
    assert_int_equal(network_publish_parse("127.0.0.5:8080:80", &rule.from, NULL), 0);
    assert_int_equal(network_ip_parse(GUEST4, &o.to[0]), 0);
    assert_int_equal(forward_create(&o, &f, NULL), 0);
    int holder[2];
    assert_int_equal(pipe(holder), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)close(holder[1]);
        bool held =
            forward_confine(&o, NULL) == 0 && open("/etc/passwd", O_RDONLY) < 0 &&
            socket(AF_UNIX, SOCK_STREAM, 0) < 0 && fork() < 0 && kill(getppid(), 0) < 0 &&
            execl("/bin/true", "true", NULL) < 0 && socket(AF_PACKET, SOCK_RAW, 0) < 0 &&
            mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                MAP_FAILED;
        int r = held ? forward_run(f, holder[0]) : -1;
        _exit(r < 0);
    }
    forward_destroy(f);
    int server = world_serve(-1, SOCK_STREAM, GUEST4, 80);
    assert_int_equal(world_talk(-1, server, SOCK_STREAM, OURS4, 8080, NULL), 0);
    (void)close(server);
    (void)close(holder[1]); /* the holder ends, and so does the forwarder */
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    (void)close(holder[0]);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(client_and_guest_speak_in_each_family),
        TEST(other_family_is_tried_where_the_guest_refuses),
        TEST(client_of_nobody_is_reset),
        TEST(long_streams_arrive_whole_after_a_half_close),
        TEST(silent_udp_clients_are_forgotten_and_too_many_push_out_the_oldest),
        TEST(clients_beyond_the_limit_are_turned_away_and_places_are_given_back),
        TEST(answers_come_from_the_address_that_was_asked),
        TEST(port_in_use_is_named_and_nothing_stays_bound),
        TEST(failed_allocations_leave_nothing),
        TEST(confined_forwarder_carries_and_can_do_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
