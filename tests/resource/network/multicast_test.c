/* What is sent to a group of receivers reaches its members and no other guest: so the
 * work of a guest's start does not grow with its neighbours.
 * rows: OSL-01 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#include <cmocka.h>

#include "resource/network/private.h"
#include "world.h"

#define GROUP      "ff15::5714:7a1a"
#define PORT       5353
#define GUESTS     3
#define A_SECOND   1100000000L /* and a bit: the bridge's members had time to answer */
#define PACKETS_OF 200

struct fixture {
    struct world w;
    struct network_spec blue;
    int netns[GUESTS];
};

static int set_up(void **state)
{
    static struct fixture f;
    static const char *const ids[GUESTS] = {"aaaaaaaaaaaa1111", "bbbbbbbbbbbb2222",
                                            "cccccccccccc3333"};
    const char *missing = world_missing();
    *state = NULL;
    if (missing != NULL) {
        print_message("skipped: %s\n", missing);
        return 0;
    }
    world_init(&f.w);
    f.blue = world_network(&f.w, "blue", 71, false);
    for (unsigned n = 0; n < GUESTS; n++) {
        f.netns[n] = world_netns();
        (void)world_guest(&f.w, &f.blue, ids[n], n + 2, f.netns[n]);
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f != NULL) {
        world_fini(&f->w);
        for (unsigned n = 0; n < GUESTS; n++) {
            (void)close(f->netns[n]);
        }
    }
    return 0;
}

static void rest(void)
{
    const struct timespec t = {.tv_sec = A_SECOND / 1000000000L,
                               .tv_nsec = A_SECOND % 1000000000L};
    (void)nanosleep(&t, NULL);
}

/* A socket of the namespace that sees every IPv6 packet which arrives at eth0. */
static int watch(int netns)
{
    int home = world_enter(netns);
    struct timeval patience = {.tv_usec = 300000};
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IPV6));
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience),
                     0);
    world_leave(home);
    return fd;
}

static int udp(int netns, bool member)
{
    int home = world_enter(netns);
    struct ipv6_mreq group = {.ipv6mr_interface = if_nametoindex("eth0")};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && group.ipv6mr_interface != 0);
    assert_int_equal(inet_pton(AF_INET6, GROUP, &group.ipv6mr_multiaddr), 1);
    if (member) {
        assert_int_equal(
            setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group), 0);
    } else {
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF,
                                    &group.ipv6mr_interface,
                                    sizeof group.ipv6mr_interface),
                         0);
    }
    world_leave(home);
    return fd;
}

static void say(int fd)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
    assert_int_equal(inet_pton(AF_INET6, GROUP, &to.sin6_addr), 1);
    assert_int_equal(
        sendto(fd, "everybody", 9, 0, (const struct sockaddr *)&to, sizeof to), 9);
}

/* Packets with "everybody" in them that came until nothing did for a while. */
static unsigned heard(int watching)
{
    unsigned n = 0;
    for (unsigned i = 0; i < PACKETS_OF; i++) {
        char packet[2048];
        struct sockaddr_ll from;
        socklen_t bytes = sizeof from;
        ssize_t got = recvfrom(watching, packet, sizeof packet, 0,
                               (struct sockaddr *)&from, &bytes);
        if (got < 0) {
            assert_true(errno == EAGAIN);
            break;
        }
        n += from.sll_pkttype != PACKET_OUTGOING && got > 9 &&
             memcmp(packet + got - 9, "everybody", 9) == 0;
    }
    return n;
}

static void group_reaches_its_members_and_no_other_guest(void **state)
{
    struct fixture *f = *state;
    if (f == NULL) {
        skip();
    }
    rest();
    int member = udp(f->netns[1], true);
    int sender = udp(f->netns[0], false);
    int at_member = watch(f->netns[1]);
    int at_other = watch(f->netns[2]);
    rest();
    say(sender);
    assert_int_equal(heard(at_member), 1);
    assert_int_equal(heard(at_other), 0);
    (void)close(member);
    (void)close(sender);
    (void)close(at_member);
    (void)close(at_other);
}

static void port_of_a_bridge_has_no_address_of_its_own(void **state)
{
    struct fixture *f = *state;
    char line[128];
    unsigned lines = 0;
    if (f == NULL) {
        skip();
    }
    rest();
    FILE *file = fopen("/proc/thread-self/net/if_inet6", "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        assert_null(strstr(line, " sv"));
        lines += 1;
    }
    (void)fclose(file);
    assert_true(lines > 0); /* the bridge has */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(group_reaches_its_members_and_no_other_guest,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(port_of_a_bridge_has_no_address_of_its_own,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
