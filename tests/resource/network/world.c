/* See world.h. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"
#include "host/netlink/netlink.h"

const char *world_missing(void)
{
    int in[2];
    if (pipe(in) < 0) {
        return "no pipes";
    }
    pid_t child = fork();
    if (child == 0) {
        _exit(unshare(CLONE_NEWNET) < 0);
    }
    int status = 1;
    (void)waitpid(child, &status, 0);
    (void)close(in[0]);
    (void)close(in[1]);
    return status == 0 ? NULL : "needs root: cannot make network namespaces";
}

static int own_netns(void)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

int world_enter(int netns)
{
    int home = own_netns();
    if (netns >= 0) {
        assert_int_equal(setns(netns, CLONE_NEWNET), 0);
    }
    return home;
}

void world_leave(int home)
{
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    (void)close(home);
}

int world_netns(void)
{
    int home = own_netns();
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    int fd = own_netns();
    world_leave(home);
    return fd;
}

static struct sockaddr_storage sockaddr_of(const char *text, uint16_t port,
                                           socklen_t *ret_len)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *a4 = (void *)&ss;
    struct sockaddr_in6 *a6 = (void *)&ss;
    if (inet_pton(AF_INET, text, &a4->sin_addr) == 1) {
        a4->sin_family = AF_INET;
        a4->sin_port = htons(port);
        *ret_len = sizeof *a4;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &a6->sin6_addr), 1);
        a6->sin6_family = AF_INET6;
        a6->sin6_port = htons(port);
        *ret_len = sizeof *a6;
    }
    return ss;
}

static int socket_in(int netns, int family, int type)
{
    int home = world_enter(netns);
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    world_leave(home);
    struct timeval limit = {.tv_usec = 700000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

int world_serve(int netns, int type, const char *address, uint16_t port)
{
    socklen_t len;
    int on = 1;
    struct sockaddr_storage ss = sockaddr_of(address, port, &len);
    int fd = socket_in(netns, ss.ss_family, type);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ss.ss_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    if (type == SOCK_STREAM) {
        assert_int_equal(listen(fd, 8), 0);
    }
    return fd;
}

static void keep_peer(const struct sockaddr_storage *from, char *ret_peer)
{
    if (ret_peer != NULL) {
        const void *ip =
            from->ss_family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)from)->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr;
        assert_non_null(inet_ntop(from->ss_family, ip, ret_peer, NETWORK_TEXT_BYTES));
    }
}

/* The server's half: take "hello", say who sent it, answer. */
static int answer(int server, int type, char *ret_peer)
{
    char buf[16];
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    int conn = type == SOCK_STREAM ? accept(server, (struct sockaddr *)&from, &len) : -1;
    if (type == SOCK_STREAM && conn < 0) {
        return -errno;
    }
    ssize_t n = type == SOCK_STREAM ? recv(conn, buf, sizeof buf, 0)
                                    : recvfrom(server, buf, sizeof buf, 0,
                                               (struct sockaddr *)&from, &len);
    int r = n == 5 ? 0 : n < 0 ? -errno : -EBADMSG;
    if (r == 0) {
        keep_peer(&from, ret_peer);
        n = type == SOCK_STREAM
                ? send(conn, "world", 5, MSG_NOSIGNAL)
                : sendto(server, "world", 5, 0, (struct sockaddr *)&from, len);
        r = n == 5 ? 0 : -errno;
    }
    if (conn >= 0) {
        (void)close(conn);
    }
    return r;
}

int world_talk(int netns, int server, int type, const char *address, uint16_t port,
               char *ret_peer)
{
    char buf[16];
    socklen_t len;
    struct sockaddr_storage ss = sockaddr_of(address, port, &len);
    int fd = socket_in(netns, ss.ss_family, type);
    int r = connect(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
    if (r == 0 && send(fd, "hello", 5, MSG_NOSIGNAL) != 5) {
        r = -errno;
    }
    if (r == 0) {
        r = answer(server, type, ret_peer);
    }
    if (r == 0) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        r = n == 5 && memcmp(buf, "world", 5) == 0 ? 0 : n < 0 ? -errno : -EBADMSG;
    }
    (void)close(fd);
    return r;
}

void world_send_frame(int netns, const char *ifname, const void *frame, size_t len)
{
    int home = world_enter(netns);
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_ifindex = (int)if_nametoindex(ifname)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    world_leave(home);
    assert_true(fd >= 0);
    assert_int_equal(sendto(fd, frame, len, 0, (struct sockaddr *)&to, sizeof to), len);
    (void)close(fd);
}

/* Wait until an interface listens for those who ask for its IPv6 address: the kernel
 * gets to that a moment after it took the address, and a question asked before is
 * asked again a second later. */
static void wait_for_group(int netns, const char *ifname, const struct network_ip *ip)
{
    char want[64];
    char line[256];
    bool found = false;
    int home = world_enter(netns);
    assert_int_equal(str_print(want, sizeof want,
                               "ff0200000000000000000001ff%02x%02x%02x", ip->bytes[13],
                               ip->bytes[14], ip->bytes[15]),
                     0);
    for (unsigned i = 0; i < 2000 && !found; i++) {
        FILE *f = fopen("/proc/thread-self/net/igmp6", "re");
        assert_non_null(f);
        while (!found && fgets(line, sizeof line, f) != NULL) {
            found = strstr(line, ifname) != NULL && strstr(line, want) != NULL;
        }
        (void)fclose(f);
        (void)poll(NULL, 0, found ? 0 : 1);
    }
    world_leave(home);
    assert_true(found);
}

static void add_address(struct netlink *nl, const char *link, const char *text,
                        uint8_t prefix)
{
    struct netlink_batch b = {0};
    struct netlink_link found;
    struct network_ip ip;
    assert_int_equal(network_ip_parse(text, &ip), 0);
    assert_int_equal(netlink_find_link(nl, link, &found), 0);
    netlink_add_up(&b, found.index);
    netlink_add_address(&b, found.index, ip.version == 4 ? AF_INET : AF_INET6, ip.bytes,
                        prefix);
    assert_int_equal(netlink_send(nl, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
}

void world_init(struct world *w)
{
    struct netlink here = {.fd = -1};
    struct netlink there = {.fd = -1};
    struct netlink_batch b = {0};
    struct err e = {0};
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    w->outside = world_netns();
    assert_int_equal(network_loopback_up(own_netns(), &e), 0);
    assert_int_equal(netlink_open(&here, NETLINK_ROUTE, -1), 0);
    assert_int_equal(netlink_open(&there, NETLINK_ROUTE, w->outside), 0);
    struct netlink_veth v = {.name = "uplink", .peer = "far", .peer_netns = w->outside};
    netlink_add_veth(&b, &v);
    assert_int_equal(netlink_send(&here, &b, NULL, NULL, NULL), 0);
    /* Without a second of duplicate detection before the first packet. */
    int fd = open("/proc/sys/net/ipv6/conf/uplink/accept_dad", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "0", 1), 1);
    (void)close(fd);
    add_address(&here, "uplink", HOST4, 24);
    add_address(&here, "uplink", HOST6, 64);
    add_address(&here, "uplink", "fe80::1", 64);
    add_address(&there, "far", OUTSIDE4, 24);
    add_address(&there, "far", OUTSIDE6, 64);
    netlink_batch_reset(&b);
    netlink_add_settle(&b, "uplink");
    assert_int_equal(netlink_send(&here, &b, NULL, NULL, NULL), 0);
    netlink_batch_reset(&b);
    netlink_add_settle(&b, "far");
    assert_int_equal(netlink_send(&there, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    netlink_close(&here);
    netlink_close(&there);
    struct network_ip ip;
    assert_int_equal(network_ip_parse(HOST6, &ip), 0);
    wait_for_group(-1, "uplink", &ip);
    assert_int_equal(network_ip_parse(OUTSIDE6, &ip), 0);
    wait_for_group(w->outside, "far", &ip);
    assert_int_equal(network_open("strata_7e570000", &w->net, &e), 0);
}

void world_fini(struct world *w)
{
    network_close(w->net);
    (void)close(w->outside);
}

struct network_spec world_network(struct world *w, const char *name, unsigned n,
                                  bool internal)
{
    char text[NETWORK_TEXT_BYTES];
    struct err e = {0};
    struct network_spec s = {.name = name, .internal = internal};
    assert_int_equal(str_print(text, sizeof text, "10.%u.0.0/24", n), 0);
    assert_int_equal(network_cidr_parse(text, &s.subnet4), 0);
    assert_int_equal(str_print(text, sizeof text, "fd00:%u::/64", n), 0);
    assert_int_equal(network_cidr_parse(text, &s.subnet6), 0);
    assert_int_equal(network_choose(w->net, &s, true, NULL, 0, &e), 0);
    if (network_up(w->net, &s, &e) < 0) {
        fail_msg("%s", e.text);
    }
    return s;
}

struct network_port world_guest(struct world *w, const struct network_spec *s,
                                const char *id, unsigned n, int netns)
{
    struct err e = {0};
    struct network_port p = {.guest_id = id};
    assert_int_equal(network_cidr_nth(&s->subnet4, n, &p.addr4), 0);
    assert_int_equal(network_cidr_nth(&s->subnet6, n, &p.addr6), 0);
    if (network_attach(w->net, s, &p, netns, &e) < 0) {
        fail_msg("%s", e.text);
    }
    wait_for_group(netns, "eth0", &p.addr6);
    wait_for_group(-1, s->bridge, &s->gateway6);
    return p;
}
