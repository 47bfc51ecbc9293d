/* rows: OSL-06 NET-08 NET-10
 *
 * Real traffic between namespaces: guests, their host, and a neighbour outside. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"
#include "resource/network/private.h"
#include "world.h"

#define ID_A "aaaaaaaaaaaa1111"
#define ID_B "bbbbbbbbbbbb2222"
#define WEB  80

struct fixture {
    struct world w;
    struct network_spec blue;
    struct network_spec red;
    int a, b; /* guests' namespaces: a in blue, b in red */
    struct network_port pa, pb;
    char a4[NETWORK_TEXT_BYTES], a6[NETWORK_TEXT_BYTES];
};

static int set_up(void **state)
{
    static struct fixture f;
    const char *missing = world_missing();
    *state = NULL;
    if (missing != NULL) {
        print_message("skipped: %s\n", missing);
        return 0;
    }
    memset(&f, 0, sizeof f);
    world_init(&f.w);
    f.blue = world_network(&f.w, "blue", 71, false);
    f.red = world_network(&f.w, "red", 72, false);
    f.a = world_netns();
    f.b = world_netns();
    f.pa = world_guest(&f.w, &f.blue, ID_A, 2, f.a);
    f.pb = world_guest(&f.w, &f.red, ID_B, 2, f.b);
    (void)network_ip_text(&f.pa.addr4, f.a4);
    (void)network_ip_text(&f.pa.addr6, f.a6);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f != NULL) {
        world_fini(&f->w);
        (void)close(f->a);
        (void)close(f->b);
    }
    return 0;
}

static struct fixture *get(void **state)
{
    if (*state == NULL) {
        skip();
    }
    return *state;
}

struct call {
    int from, at; /* network namespaces; -1: the host's */
    int type;
    const char *to;
    uint16_t port, served;
    char *ret_peer; /* may be NULL */
};

/* Serve on every address of `at`, talk from `from`, close. */
static int talk_as(const struct call *c)
{
    bool six = strchr(c->to, ':') != NULL;
    int server = world_serve(c->at, c->type, six ? "::" : "0.0.0.0", c->served);
    int r = world_talk(c->from, server, c->type, c->to, c->port, c->ret_peer);
    (void)close(server);
    return r;
}

#define talk(...) talk_as(&(struct call){__VA_ARGS__})

static void guest_leaves_under_the_hosts_address(void **state)
{
    struct fixture *f = get(state);
    char peer[NETWORK_TEXT_BYTES];
    assert_int_equal(talk(f->a, f->w.outside, SOCK_STREAM, OUTSIDE4, 9, 9, peer), 0);
    assert_string_equal(peer, HOST4);
    assert_int_equal(talk(f->a, f->w.outside, SOCK_DGRAM, OUTSIDE4, 9, 9, peer), 0);
    assert_string_equal(peer, HOST4);
    assert_int_equal(talk(f->a, f->w.outside, SOCK_STREAM, OUTSIDE6, 9, 9, peer), 0);
    assert_string_equal(peer, HOST6);
    assert_int_equal(talk(f->a, f->w.outside, SOCK_DGRAM, OUTSIDE6, 9, 9, peer), 0);
    assert_string_equal(peer, HOST6);
}

static void host_and_guest_reach_each_other(void **state)
{
    struct fixture *f = get(state);
    assert_int_equal(talk(-1, f->a, SOCK_STREAM, f->a4, WEB, WEB, NULL), 0);
    assert_int_equal(talk(-1, f->a, SOCK_DGRAM, f->a6, WEB, WEB, NULL), 0);
    assert_int_equal(talk(f->a, -1, SOCK_STREAM, "10.71.0.1", 9, 9, NULL), 0);
    assert_int_equal(talk(f->a, -1, SOCK_STREAM, "fd00:71::1", 9, 9, NULL), 0);
}

static void guests_of_one_network_see_each_other_and_other_networks_do_not(void **state)
{
    struct fixture *f = get(state);
    int c = world_netns();
    struct network_port pc = world_guest(&f->w, &f->blue, "cccccccccccc3333", 3, c);
    assert_int_equal(talk(c, f->a, SOCK_STREAM, f->a4, WEB, WEB, NULL), 0);
    assert_int_equal(talk(c, f->a, SOCK_DGRAM, f->a6, WEB, WEB, NULL), 0);
    assert_true(talk(f->b, f->a, SOCK_STREAM, f->a4, WEB, WEB, NULL) < 0);
    assert_true(talk(f->b, f->a, SOCK_DGRAM, f->a4, WEB, WEB, NULL) < 0);
    assert_true(talk(f->b, f->a, SOCK_STREAM, f->a6, WEB, WEB, NULL) < 0);
    assert_int_equal(network_detach(f->w.net, &f->blue, &pc, false, NULL), 0);
    (void)close(c);
}

static void route_outside_to_blue(struct fixture *f)
{
    struct netlink nl = {.fd = -1};
    struct netlink_batch b = {0};
    struct netlink_link far;
    struct network_ip host4;
    assert_int_equal(network_ip_parse(HOST4, &host4), 0);
    assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, f->w.outside), 0);
    assert_int_equal(netlink_find_link(&nl, "far", &far), 0);
    netlink_add_default_route(&b, far.index, AF_INET, host4.bytes);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    netlink_close(&nl);
}

static void unsolicited_packets_from_outside_are_dropped(void **state)
{
    struct fixture *f = get(state);
    route_outside_to_blue(f);
    assert_true(talk(f->w.outside, f->a, SOCK_STREAM, f->a4, WEB, WEB, NULL) < 0);
    assert_true(talk(f->w.outside, f->a, SOCK_DGRAM, f->a4, WEB, WEB, NULL) < 0);
}

/* Send one UDP datagram as a whole frame, past the guest's own routing. */
static void send_raw(struct fixture *f, const char *destination, uint16_t port)
{
    struct network_ip to;
    struct netlink_link bridge;
    uint8_t frame[46] = {[12] = 0x08, [14] = 0x45, [17] = 32, [22] = 64, [23] = 17};
    uint32_t sum = 0;
    assert_int_equal(network_ip_parse(destination, &to), 0);
    assert_int_equal(netlink_find_link(&f->w.net->route, f->blue.bridge, &bridge), 0);
    memcpy(frame, bridge.mac, 6);
    frame[6] = 2;
    memcpy(frame + 26, f->pa.addr4.bytes, 4);
    memcpy(frame + 30, to.bytes, 4);
    for (unsigned i = 14; i < 34; i += 2) {
        sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
    }
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[24] = (uint8_t)(sum >> 8);
    frame[25] = (uint8_t)sum;
    frame[34] = 1; /* ports, length; no checksum (RFC 768) */
    frame[36] = (uint8_t)(port >> 8);
    frame[37] = (uint8_t)port;
    frame[39] = 12;
    memcpy(frame + 42, "past", 4);
    world_send_frame(f->a, "eth0", frame, sizeof frame);
}

static void guest_cannot_reach_the_hosts_loopback(void **state)
{
    struct fixture *f = get(state);
    char buf[16];
    int server = world_serve(-1, SOCK_DGRAM, "0.0.0.0", 5000);
    send_raw(f, "10.71.0.1", 5000);
    assert_int_equal(recv(server, buf, sizeof buf, 0), 4); /* the frame is right */
    send_raw(f, "127.0.0.1", 5000);
    assert_int_equal(recv(server, buf, sizeof buf, 0), -1);
    (void)close(server);
}

static void publish(struct fixture *f, const char *tcp, const char *udp)
{
    struct err e = {0};
    struct network_publish pub[2];
    assert_int_equal(network_publish_parse(tcp, &pub[0], &e), 0);
    assert_int_equal(network_publish_parse(udp, &pub[1], &e), 0);
    if (network_publish(f->w.net, &f->blue, &f->pa, pub, 2, &e) < 0) {
        fail_msg("%s", e.text);
    }
}

/* Whether guest b could publish these. */
static int check(struct fixture *f, const struct network_publish *pub, size_t n)
{
    char owner[NETWORK_TEXT_BYTES];
    return network_publish_check(f->w.net, &f->pb, pub, n, owner, NULL);
}

static void published_port_is_reached_from_everywhere(void **state)
{
    struct fixture *f = get(state);
    const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    publish(f, "8080:80", "8080:80/udp");
    for (unsigned i = 0; i < 2; i++) {
        int t = types[i];
        char peer[NETWORK_TEXT_BYTES];
        assert_int_equal(talk(f->w.outside, f->a, t, HOST4, 8080, WEB, peer), 0);
        assert_string_equal(peer, OUTSIDE4); /* not hidden behind the host */
        assert_int_equal(talk(f->w.outside, f->a, t, HOST6, 8080, WEB, peer), 0);
        assert_string_equal(peer, OUTSIDE6);
        assert_int_equal(talk(-1, f->a, t, HOST4, 8080, WEB, NULL), 0);
        assert_int_equal(talk(-1, f->a, t, HOST6, 8080, WEB, NULL), 0);
        assert_int_equal(talk(-1, f->a, t, "127.0.0.1", 8080, WEB, NULL), 0);
        assert_int_equal(talk(f->a, f->a, t, HOST4, 8080, WEB, NULL), 0); /* itself */
        assert_int_equal(talk(f->a, f->a, t, HOST6, 8080, WEB, NULL), 0);
        assert_int_equal(talk(f->b, f->a, t, HOST4, 8080, WEB, NULL), 0); /* neighbour */
    }
    assert_true(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 8081, WEB, NULL) < 0);
}

static void port_of_a_guest_elsewhere_is_not_taken_for_a_published_one(void **state)
{
    struct fixture *f = get(state);
    publish(f, "8080:80", "8080:80/udp");
    assert_int_equal(talk(f->b, f->w.outside, SOCK_STREAM, OUTSIDE4, 8080, 8080, NULL),
                     0);
    assert_int_equal(talk(-1, f->w.outside, SOCK_STREAM, OUTSIDE4, 8080, 8080, NULL), 0);
}

static void port_of_one_address_answers_there_only(void **state)
{
    struct fixture *f = get(state);
    publish(f, "127.0.0.1:8080:80", "[" HOST6 "]:8080:80/udp");
    assert_int_equal(talk(-1, f->a, SOCK_STREAM, "127.0.0.1", 8080, WEB, NULL), 0);
    assert_true(talk(-1, f->a, SOCK_STREAM, HOST4, 8080, WEB, NULL) < 0);
    assert_true(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 8080, WEB, NULL) < 0);
    assert_int_equal(talk(f->w.outside, f->a, SOCK_DGRAM, HOST6, 8080, WEB, NULL), 0);
    assert_true(talk(f->w.outside, f->a, SOCK_DGRAM, HOST4, 8080, WEB, NULL) < 0);
}

static void range_of_ports_leads_to_as_many(void **state)
{
    struct fixture *f = get(state);
    publish(f, "9000-9999:1000-1999", "7000:70/udp");
    assert_int_equal(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 9000, 1000, NULL), 0);
    assert_int_equal(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 9999, 1999, NULL), 0);
    assert_int_equal(talk(f->w.outside, f->a, SOCK_STREAM, HOST6, 9500, 1500, NULL), 0);
    struct network_publish pub;
    assert_int_equal(network_publish_parse("9000-9999:1000-1999", &pub, NULL), 0);
    assert_int_equal(network_unpublish(f->w.net, &f->pa, &pub, 1, NULL), 0);
    assert_true(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 9500, 1500, NULL) < 0);
}

static void taken_port_is_refused_with_its_owner(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub[2];
    struct err e = {0};
    publish(f, "8080:80", "5353:53/udp");
    publish(f, "8080:80", "5353:53/udp"); /* one's own again is fine */
    assert_int_equal(network_publish_parse("8081:80", &pub[0], NULL), 0);
    assert_int_equal(network_publish_parse("8080:80", &pub[1], NULL), 0);
    assert_int_equal(network_publish(f->w.net, &f->red, &f->pb, pub, 2, &e), -EADDRINUSE);
    assert_string_equal(e.text, "cannot publish port 8080/tcp: guest '" ID_A "' has it");
    /* All or none: 8081 was not taken either. */
    assert_int_equal(check(f, pub, 1), 0);
    assert_int_equal(check(f, pub, 2), -EADDRINUSE);
    /* Who does not own it cannot take it back. */
    assert_int_equal(network_unpublish(f->w.net, &f->pb, pub, 2, NULL), 0);
    assert_int_equal(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 8080, WEB, NULL), 0);
}

static void port_of_a_program_on_the_host_is_refused(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub;
    struct err e = {0};
    int server = world_serve(-1, SOCK_STREAM, "0.0.0.0", 8080);
    assert_int_equal(network_publish_parse("8080:80", &pub, NULL), 0);
    assert_int_equal(network_publish(f->w.net, &f->blue, &f->pa, &pub, 1, &e),
                     -EADDRINUSE);
    char process[64];
    (void)str_print(process, sizeof process, "(process %d) of this host has it",
                    getpid());
    assert_non_null(strstr(e.text, "cannot publish port 8080/tcp: program '"));
    assert_non_null(strstr(e.text, process));
    (void)close(server);
    err_clear(&e);
    assert_int_equal(network_publish_parse("192.0.2.77:8080:80", &pub, NULL), 0);
    assert_int_equal(network_publish(f->w.net, &f->blue, &f->pa, &pub, 1, &e),
                     -EADDRNOTAVAIL);
}

static void failed_attach_leaves_nothing(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub;
    struct network_spec lost = f->blue;
    struct network_port p = {.guest_id = "dddddddddddd4444", .publishes = &pub};
    char name[NETWORK_LINK_BYTES];
    struct netlink_link link;
    int c = world_netns();
    assert_int_equal(network_publish_parse("8088:80", &pub, NULL), 0);
    p.n_publishes = 1;
    assert_int_equal(network_cidr_nth(&f->blue.subnet4, 9, &p.addr4), 0);
    (void)str_print(lost.bridge, sizeof lost.bridge, "nowhere");
    assert_int_equal(network_attach(f->w.net, &lost, &p, c, NULL), -ENODEV);
    assert_int_equal(check(f, &pub, 1), 0);
    (void)str_print(p.ifname, sizeof p.ifname, "lo"); /* taken inside */
    assert_true(network_attach(f->w.net, &f->blue, &p, c, NULL) < 0);
    assert_int_equal(network_link_name(&p, name), 0);
    assert_int_equal(netlink_find_link(&f->w.net->route, name, &link), -ENODEV);
    assert_int_equal(check(f, &pub, 1), 0);
    (void)close(c);
}

static void leftover_link_makes_room(void **state)
{
    struct fixture *f = get(state);
    int again = world_netns();
    struct network_port p = world_guest(&f->w, &f->blue, ID_A, 2, again);
    assert_int_equal(talk(-1, again, SOCK_STREAM, f->a4, WEB, WEB, NULL), 0);
    assert_int_equal(network_detach(f->w.net, &f->blue, &p, false, NULL), 0);
    assert_int_equal(network_detach(f->w.net, &f->blue, &p, false, NULL), 0);
    (void)close(again);
}

static void link_goes_with_its_namespace_within_a_second(void **state)
{
    struct fixture *f = get(state);
    assert_int_equal(network_wait_gone(f->w.net, &f->pa, 20), -ETIMEDOUT);
    assert_int_equal(network_detach(f->w.net, &f->blue, &f->pa, true, NULL), 0);
    (void)close(f->a);
    f->a = -1;
    assert_int_equal(network_wait_gone(f->w.net, &f->pa, 1000), 0);
}

static void sweep_removes_what_dead_guests_left_and_nothing_else(void **state)
{
    struct fixture *f = get(state);
    const char *const live[] = {ID_B, NULL};
    char name[NETWORK_LINK_BYTES];
    struct netlink_link link;
    publish(f, "8080-8083:80-83", "8080:80/udp");
    /* Not ours: the name fits, the bridge does not. */
    struct netlink_batch b = {0};
    struct netlink_veth v = {
        .name = "svffffffffffff0", .peer = "x", .peer_netns = f->w.outside};
    netlink_add_veth(&b, &v);
    assert_int_equal(netlink_send(&f->w.net->route, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    assert_int_equal(network_sweep(f->w.net, live, NULL), 1 + 2 * 5);
    assert_int_equal(network_link_name(&f->pa, name), 0);
    assert_int_equal(netlink_find_link(&f->w.net->route, name, &link), -ENODEV);
    assert_int_equal(network_link_name(&f->pb, name), 0);
    assert_int_equal(netlink_find_link(&f->w.net->route, name, &link), 0);
    assert_int_equal(netlink_find_link(&f->w.net->route, "svffffffffffff0", &link), 0);
    assert_int_equal(network_sweep(f->w.net, live, NULL), 0);
}

static void internal_network_leads_nowhere(void **state)
{
    struct fixture *f = get(state);
    struct network_spec dark = world_network(&f->w, "dark", 73, true);
    int c = world_netns();
    int d = world_netns();
    struct network_publish pub = {.host_port = 1, .guest_port = 1};
    struct network_port pc = world_guest(&f->w, &dark, "cccccccccccc3333", 2, c);
    (void)world_guest(&f->w, &dark, "dddddddddddd3333", 3, d);
    assert_int_equal(talk(c, d, SOCK_STREAM, "10.73.0.3", WEB, WEB, NULL), 0);
    assert_int_equal(talk(-1, d, SOCK_STREAM, "fd00:73::3", WEB, WEB, NULL), 0);
    assert_true(talk(c, f->w.outside, SOCK_STREAM, OUTSIDE4, 9, 9, NULL) < 0);
    assert_true(talk(c, -1, SOCK_STREAM, "10.73.0.1", 9, 9, NULL) < 0);
    /* Even a guest that gives itself a route gets no further. */
    struct netlink nl = {.fd = -1};
    struct netlink_batch b = {0};
    struct netlink_link eth;
    assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, c), 0);
    assert_int_equal(netlink_find_link(&nl, "eth0", &eth), 0);
    netlink_add_default_route(&b, eth.index, AF_INET, dark.gateway4.bytes);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    netlink_close(&nl);
    assert_true(talk(c, f->w.outside, SOCK_STREAM, OUTSIDE4, 9, 9, NULL) < 0);
    assert_true(talk(c, f->a, SOCK_STREAM, f->a4, WEB, WEB, NULL) < 0);
    assert_int_equal(network_publish(f->w.net, &dark, &pc, &pub, 1, NULL), -EINVAL);
    (void)close(c);
    (void)close(d);
}

static void up_is_idempotent_and_mends_flushed_rules(void **state)
{
    struct fixture *f = get(state);
    struct netlink_batch b = {0};
    assert_int_equal(network_up(f->w.net, &f->blue, NULL), 0);
    nft_begin(&b);
    nft_delete_table(&b, f->w.net->table);
    nft_end(&b);
    assert_int_equal(netlink_send(&f->w.net->nft, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    assert_true(talk(f->a, f->w.outside, SOCK_STREAM, OUTSIDE4, 9, 9, NULL) < 0);
    assert_int_equal(network_up(f->w.net, &f->blue, NULL), 1);
    assert_int_equal(network_up(f->w.net, &f->blue, NULL), 0);
    assert_int_equal(talk(f->a, f->w.outside, SOCK_STREAM, OUTSIDE4, 9, 9, NULL), 0);
}

static int count(void *arg, const struct nft_element *el)
{
    (void)el;
    ++*(int *)arg;
    return 0;
}

static void down_refuses_while_guests_are_linked_and_then_leaves_nothing(void **state)
{
    struct fixture *f = get(state);
    struct netlink_batch b = {0};
    struct netlink_link link;
    struct err e = {0};
    int n = 0;
    nft_begin(&b);
    nft_add_table(&b, "somebody_elses", NULL, true);
    nft_end(&b);
    assert_int_equal(netlink_send(&f->w.net->nft, &b, NULL, NULL, NULL), 0);
    assert_int_equal(network_down(f->w.net, &f->blue, &e), -EBUSY);
    assert_int_equal(network_detach(f->w.net, &f->blue, &f->pa, false, NULL), 0);
    assert_int_equal(network_detach(f->w.net, &f->red, &f->pb, false, NULL), 0);
    assert_int_equal(network_down(f->w.net, &f->blue, NULL), 0);
    assert_int_equal(netlink_find_link(&f->w.net->route, f->blue.bridge, &link), -ENODEV);
    assert_int_equal(
        nft_each_element(&f->w.net->nft, f->w.net->table, SET_BRIDGES, count, &n), 0);
    assert_int_equal(n, 1); /* red remains */
    assert_int_equal(network_down(f->w.net, &f->red, NULL), 0);
    assert_int_equal(network_down(f->w.net, &f->red, NULL), 0);
    assert_int_equal(
        nft_each_element(&f->w.net->nft, f->w.net->table, SET_BRIDGES, count, &n),
        -ENOENT);
    netlink_batch_reset(&b);
    nft_begin(&b);
    nft_delete_table(&b, "somebody_elses");
    nft_end(&b);
    assert_int_equal(netlink_send(&f->w.net->nft, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
}

static void without_nf_tables_guests_run_with_a_warning(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub = {.host_port = 8080, .guest_port = 80};
    f->w.net->no_nft = true;
    struct network_spec s = world_network(&f->w, "plain", 74, false);
    int c = world_netns();
    struct network_port p = world_guest(&f->w, &s, "cccccccccccc3333", 2, c);
    assert_int_equal(talk(-1, c, SOCK_STREAM, "10.74.0.2", WEB, WEB, NULL), 0);
    assert_int_equal(network_publish(f->w.net, &s, &p, &pub, 1, NULL), 0);
    assert_int_equal(network_warnings(f->w.net)->n, 1);
    assert_non_null(strstr(network_warnings(f->w.net)->items[0], "no nf_tables"));
    assert_int_equal(network_detach(f->w.net, &s, &p, false, NULL), 0);
    assert_int_equal(network_down(f->w.net, &s, NULL), 0);
    (void)close(c);
}

static void port_of_another_state_directory_is_refused_and_nothing_is_shadowed(
    void **state)
{
    struct fixture *f = get(state);
    struct network *other = NULL;
    struct network_spec s = f->red;
    struct network_publish pub[2];
    char owner[NETWORK_TEXT_BYTES];
    struct err e = {0};
    publish(f, "8080:80", "5353:53/udp");
    assert_int_equal(network_open("strata_0123abcd", &other, NULL), 0);
    network_home(other, "/nowhere/state");
    (void)str_print(s.bridge, sizeof s.bridge, "st-other");
    s.subnet4.ip.bytes[1] = s.gateway4.bytes[1] = 99;
    s.subnet6.ip.version = 0;
    assert_int_equal(network_up(other, &s, NULL), 1);
    struct network_port p = {.guest_id = "eeeeeeeeeeee5555", .addr4 = s.gateway4};
    p.addr4.bytes[3] = 9;
    assert_int_equal(network_publish_parse("8081:80", &pub[0], NULL), 0);
    assert_int_equal(network_publish_parse("127.0.0.1:8080:80", &pub[1], NULL), 0);
    assert_int_equal(network_publish(other, &s, &p, pub, 2, &e), -EADDRINUSE);
    assert_non_null(strstr(e.text, "port 8080/tcp: guest '" ID_A "' of another state"));
    assert_int_equal(network_publish(other, &s, &p, pub, 1, NULL), 0); /* none was kept */
    err_clear(&e);
    struct netlink_batch b = {0};
    struct netlink_veth v = {
        .name = "sveeeeeeeeeeee0", .peer = "x", .peer_netns = f->w.outside};
    netlink_add_veth(&b, &v);
    assert_int_equal(netlink_send(&f->w.net->route, &b, NULL, NULL, NULL), 0);
    netlink_batch_reset(&b);
    assert_int_equal(network_publish_check(f->w.net, &f->pb, pub, 1, owner, &e),
                     -EADDRINUSE);
    assert_non_null(strstr(e.text, "port 8081/tcp: guest 'eeeeeeeeeeee5555' of the state "
                                   "directory '/nowhere/state' (gone"));
    assert_string_equal(owner, "");
    assert_int_equal(network_publish(f->w.net, &f->red, &f->pb, pub, 1, NULL),
                     -EADDRINUSE);
    /* It died, and nobody cleaned up after it. */
    netlink_add_delete(&b, v.name);
    assert_int_equal(netlink_send(&f->w.net->route, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    assert_int_equal(network_publish(f->w.net, &f->red, &f->pb, pub, 1, NULL), 0);
    assert_int_equal(network_unpublish(other, &p, pub, 1, NULL), 0);
    assert_int_equal(talk(f->w.outside, f->b, SOCK_STREAM, HOST4, 8081, WEB, NULL), 0);
    assert_int_equal(network_down(other, &s, NULL), 0);
    network_close(other);
}

static void port_of_a_guest_that_died_is_free(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub;
    publish(f, "8080:80", "5353:53/udp");
    (void)close(f->a); /* its namespace goes, and the link with it */
    f->a = -1;
    assert_int_equal(network_wait_gone(f->w.net, &f->pa, 1000), 0);
    assert_int_equal(network_publish_parse("8080:80", &pub, NULL), 0);
    assert_int_equal(network_publish(f->w.net, &f->red, &f->pb, &pub, 1, NULL), 0);
    assert_int_equal(talk(f->w.outside, f->b, SOCK_STREAM, HOST4, 8080, WEB, NULL), 0);
}

static void check_names_the_owner_by_its_identifier(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub;
    char owner[NETWORK_TEXT_BYTES];
    publish(f, "8080:80", "5353:53/udp");
    assert_int_equal(network_publish_parse("8080:80", &pub, NULL), 0);
    assert_int_equal(network_publish_check(f->w.net, &f->pb, &pub, 1, owner, NULL),
                     -EADDRINUSE);
    assert_string_equal(owner, ID_A);
    assert_int_equal(network_publish_check(f->w.net, &f->pa, &pub, 1, owner, NULL), 0);
}

/* One datagram from the outside, from always the same port: one flow. */
static int send_from(struct fixture *f, int client, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    (void)f;
    assert_int_equal(inet_pton(AF_INET, HOST4, &to.sin_addr), 1);
    return sendto(client, "x", 1, 0, (struct sockaddr *)&to, sizeof to) == 1 ? 0 : -errno;
}

static bool arrives(int server)
{
    char c;
    bool yes = recv(server, &c, 1, 0) == 1;
    while (recv(server, &c, 1, MSG_DONTWAIT) == 1) {
    }
    return yes;
}

static void udp_port_that_changes_hands_takes_its_flows_along(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub;
    int client = world_serve(f->w.outside, SOCK_DGRAM, OUTSIDE4, 4444);
    int a = world_serve(f->a, SOCK_DGRAM, "0.0.0.0", 53);
    int b = world_serve(f->b, SOCK_DGRAM, "0.0.0.0", 53);
    assert_int_equal(network_publish_parse("5353:53/udp", &pub, NULL), 0);
    assert_int_equal(send_from(f, client, 5353), 0); /* before anybody has it */
    assert_int_equal(network_publish(f->w.net, &f->blue, &f->pa, &pub, 1, NULL), 0);
    assert_int_equal(send_from(f, client, 5353), 0);
    assert_true(arrives(a));
    assert_int_equal(network_unpublish(f->w.net, &f->pa, &pub, 1, NULL), 0);
    assert_int_equal(send_from(f, client, 5353), 0);
    assert_false(arrives(a));
    assert_int_equal(network_publish(f->w.net, &f->red, &f->pb, &pub, 1, NULL), 0);
    assert_int_equal(send_from(f, client, 5353), 0);
    assert_true(arrives(b));
    (void)close(client);
    (void)close(a);
    (void)close(b);
}

static void restored_guest_is_reached_as_before(void **state)
{
    struct fixture *f = get(state);
    struct network_publish pub;
    struct netlink_batch b = {0};
    assert_int_equal(network_publish_parse("8080:80", &pub, NULL), 0);
    f->pa.publishes = &pub;
    f->pa.n_publishes = 1;
    assert_int_equal(network_restore(f->w.net, &f->blue, &f->pa, NULL), 0);
    assert_int_equal(network_restore(f->w.net, &f->blue, &f->pa, NULL), 0); /* again */
    netlink_add_delete(&b, f->blue.bridge);
    assert_int_equal(netlink_send(&f->w.net->route, &b, NULL, NULL, NULL), 0);
    netlink_batch_reset(&b);
    nft_begin(&b);
    nft_delete_table(&b, f->w.net->table);
    nft_end(&b);
    assert_int_equal(netlink_send(&f->w.net->nft, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    assert_true(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 8080, WEB, NULL) < 0);
    assert_int_equal(network_up(f->w.net, &f->blue, NULL), 1);
    assert_int_equal(network_restore(f->w.net, &f->blue, &f->pa, NULL), 0);
    assert_int_equal(talk(f->w.outside, f->a, SOCK_STREAM, HOST4, 8080, WEB, NULL), 0);
    assert_int_equal(talk(-1, f->a, SOCK_STREAM, f->a4, WEB, WEB, NULL), 0);
    assert_int_equal(talk(-1, f->a, SOCK_STREAM, f->a6, WEB, WEB, NULL), 0);
    assert_int_equal(network_unpublish(f->w.net, &f->pa, &pub, 1, NULL), 0);
}

struct met {
    unsigned n;
    struct network_orphan at[4];
};

static int meet(void *arg, const struct network_orphan *o)
{
    struct met *m = arg;
    assert_true(m->n < 4);
    m->at[m->n++] = *o;
    return 0;
}

static void orphans_are_those_of_directories_that_are_gone_and_without_guests(
    void **state)
{
    struct fixture *f = get(state);
    const char *homes[] = {"/nowhere/at/all", "/tmp"};
    struct network *other[2];
    struct network_spec s[2];
    struct met met = {0};
    struct netlink_batch b = {0};
    struct netlink_link link;
    for (unsigned i = 0; i < 2; i++) {
        char table[NETWORK_TABLE_BYTES];
        s[i] = f->blue;
        (void)str_print(s[i].bridge, sizeof s[i].bridge, "st-orphan%u", i);
        s[i].subnet4.ip.bytes[1] = s[i].gateway4.bytes[1] = (uint8_t)(90 + i);
        s[i].subnet6.ip.version = 0;
        network_table_name(homes[i], table);
        assert_int_equal(network_open(table, &other[i], NULL), 0);
        network_home(other[i], homes[i]);
        assert_int_equal(network_up(other[i], &s[i], NULL), 1);
    }
    /* As long as a guest is on it, none is an orphan. */
    struct netlink_veth v = {
        .name = "svffffffffffff0", .peer = "x", .peer_netns = f->w.outside};
    assert_int_equal(netlink_find_link(&f->w.net->route, s[0].bridge, &link), 0);
    assert_string_equal(link.alias, homes[0]);
    v.master = link.index;
    netlink_add_veth(&b, &v);
    assert_int_equal(netlink_send(&f->w.net->route, &b, NULL, NULL, NULL), 0);
    assert_int_equal(network_orphans(f->w.net, meet, &met, NULL), 0);
    assert_int_equal(met.n, 0);
    netlink_batch_reset(&b);
    netlink_add_delete(&b, v.name);
    assert_int_equal(netlink_send(&f->w.net->route, &b, NULL, NULL, NULL), 0);
    netlink_batch_fini(&b);
    assert_int_equal(network_orphans(f->w.net, meet, &met, NULL), 0);
    assert_int_equal(met.n, 2);
    for (unsigned i = 0; i < met.n; i++) {
        assert_string_equal(met.at[i].home, homes[0]);
        assert_int_equal(network_remove_orphan(f->w.net, &met.at[i], NULL), 0);
        assert_int_equal(network_remove_orphan(f->w.net, &met.at[i], NULL), 0);
    }
    met.n = 0;
    assert_int_equal(network_orphans(f->w.net, meet, &met, NULL), 0);
    assert_int_equal(met.n, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(netlink_find_link(&f->w.net->route, s[i].bridge, &link),
                         i == 0 ? -ENODEV : 0);
        assert_int_equal(network_down(other[i], &s[i], NULL), 0);
        network_close(other[i]);
    }
}

static void forwarder_gets_what_the_rules_cannot_carry(void **state)
{
    static const char *const asked[] = {"80:80", "127.0.0.1:81:81", "[::1]:82:82/udp",
                                        "192.0.2.1:83:83"};
    struct fixture *f = get(state);
    struct network_publish pub[4];
    struct network_forward have[8];
    char text[NETWORK_TEXT_BYTES];
    size_t n = 0;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(network_publish_parse(asked[i], &pub[i], NULL), 0);
    }
    f->pa.publishes = pub;
    f->pa.n_publishes = 4;
    assert_int_equal(network_forwards(f->w.net, &f->blue, &f->pa, have, 8, &n), 0);
    assert_int_equal(n, 2);
    for (unsigned i = 0; i < n; i++) {
        assert_string_equal(network_ip_text(&have[i].from.host, text), "::1");
        assert_int_equal(have[i].from.host_port, i == 0 ? 80 : 82);
        assert_int_equal(have[i].optional, i == 0);
    }
    f->w.net->no_nft = true;
    assert_int_equal(network_forwards(f->w.net, &f->blue, &f->pa, have, 8, &n), 0);
    assert_int_equal(n, 5); /* the first for either family */
    assert_int_equal(network_forwards(f->w.net, &f->blue, &f->pa, have, 4, &n), -E2BIG);
    f->w.net->no_nft = false;
}

/* Bytes that get from one namespace to the other's address in a quarter of a second. */
static size_t carried(int from, int to, const char *address)
{
    static char buf[65536];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(7777)};
    int server = world_serve(to, SOCK_STREAM, "0.0.0.0", 7777);
    size_t sum = 0;
    assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
    pid_t child = fork();
    if (child == 0) {
        int fd = from < 0 || setns(from, CLONE_NEWNET) == 0
                     ? socket(AF_INET, SOCK_STREAM, 0)
                     : -1;
        (void)connect(fd, (struct sockaddr *)&at, sizeof at);
        while (write(fd, buf, sizeof buf) > 0) {
        }
        _exit(0);
    }
    int fd = accept(server, NULL, NULL);
    assert_true(fd >= 0);
    struct timespec now, end;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += 250000000;
    do {
        ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
        sum += n > 0 ? (size_t)n : 0;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - end.tv_sec) * 1000000000L + now.tv_nsec - end.tv_nsec < 0);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    (void)close(fd);
    (void)close(server);
    return sum;
}

static void rate_is_kept_in_each_direction_and_taken_off(void **state)
{
    struct fixture *f = get(state);
    const struct network_rate slow = {.to_guest = 1000000, .from_guest = 2000000};
    const struct network_rate free = {0};
    struct err e = {0};
    int r = network_limit_rate(f->w.net, &f->pa, f->a, &slow, &e);
    if (r == -EOPNOTSUPP) {
        print_message("skipped: %s\n", e.text);
        skip();
    }
    assert_int_equal(r, 0);
    /* A quarter of a second's worth, the burst, and what waits in between. */
    assert_in_range(carried(-1, f->a, f->a4), 100000, 600000);
    assert_in_range(carried(f->a, -1, "10.71.0.1"), 200000, 900000);
    assert_int_equal(network_limit_rate(f->w.net, &f->pa, f->a, &slow, NULL),
                     0); /* again */
    assert_int_equal(network_limit_rate(f->w.net, &f->pa, f->a, &free, NULL), 0);
    assert_int_equal(network_limit_rate(f->w.net, &f->pa, f->a, &free, NULL), 0);
    assert_true(carried(-1, f->a, f->a4) > 3000000);
    assert_true(carried(f->a, -1, "10.71.0.1") > 3000000);
}

static void chosen_subnets_avoid_routes_and_other_networks(void **state)
{
    struct fixture *f = get(state);
    struct network_spec s = {.name = "green"};
    struct err e = {0};
    assert_int_equal(network_choose(f->w.net, &s, true, NULL, 0, &e), 0);
    assert_int_equal(s.subnet4.prefix, 20); /* as many guests as a bridge has ports */
    assert_int_equal(s.subnet6.ip.bytes[0], 0xfd);
    struct network_spec t = {.name =
                                 "green"}; /* the same name begins at the same place */
    assert_int_equal(network_choose(f->w.net, &t, false, &s, 1, &e), 0);
    assert_false(network_cidr_overlaps(&s.subnet4, &t.subnet4));
    struct network_spec u = {.name = "clash"};
    assert_int_equal(network_cidr_parse("10.71.0.128/25", &u.subnet4), 0);
    assert_int_equal(network_choose(f->w.net, &u, false, NULL, 0, &e), -EEXIST);
    assert_non_null(strstr(e.text, "which this host routes"));
}

static void none_has_loopback_only(void **state)
{
    struct fixture *f = get(state);
    struct network_spec s = {.name = "none", .driver = NETWORK_NONE};
    struct network_port p = {.guest_id = ID_A};
    int c = world_netns();
    assert_int_equal(network_attach(f->w.net, &s, &p, c, NULL), 0);
    assert_int_equal(talk(c, c, SOCK_STREAM, "127.0.0.1", 9, 9, NULL), 0);
    assert_int_equal(talk(c, c, SOCK_STREAM, "::1", 9, 9, NULL), 0);
    assert_true(talk(c, f->w.outside, SOCK_STREAM, OUTSIDE4, 9, 9, NULL) < 0);
    (void)close(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guest_leaves_under_the_hosts_address),
        TEST(host_and_guest_reach_each_other),
        TEST(guests_of_one_network_see_each_other_and_other_networks_do_not),
        TEST(unsolicited_packets_from_outside_are_dropped),
        TEST(guest_cannot_reach_the_hosts_loopback),
        TEST(published_port_is_reached_from_everywhere),
        TEST(port_of_a_guest_elsewhere_is_not_taken_for_a_published_one),
        TEST(port_of_one_address_answers_there_only),
        TEST(range_of_ports_leads_to_as_many),
        TEST(taken_port_is_refused_with_its_owner),
        TEST(port_of_a_program_on_the_host_is_refused),
        TEST(failed_attach_leaves_nothing),
        TEST(leftover_link_makes_room),
        TEST(link_goes_with_its_namespace_within_a_second),
        TEST(sweep_removes_what_dead_guests_left_and_nothing_else),
        TEST(internal_network_leads_nowhere),
        TEST(up_is_idempotent_and_mends_flushed_rules),
        TEST(down_refuses_while_guests_are_linked_and_then_leaves_nothing),
        TEST(without_nf_tables_guests_run_with_a_warning),
        TEST(chosen_subnets_avoid_routes_and_other_networks),
        TEST(port_of_another_state_directory_is_refused_and_nothing_is_shadowed),
        TEST(port_of_a_guest_that_died_is_free),
        TEST(check_names_the_owner_by_its_identifier),
        TEST(udp_port_that_changes_hands_takes_its_flows_along),
        TEST(restored_guest_is_reached_as_before),
        TEST(orphans_are_those_of_directories_that_are_gone_and_without_guests),
        TEST(forwarder_gets_what_the_rules_cannot_carry),
        TEST(rate_is_kept_in_each_direction_and_taken_off),
        TEST(none_has_loopback_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
