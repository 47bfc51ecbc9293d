/* Addresses, ports and files of names: plain values. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/str.h"
#include "host/file.h"
#include "resource/network/address.h"

static struct network_cidr cidr(const char *text)
{
    struct network_cidr c;
    assert_int_equal(network_cidr_parse(text, &c), 0);
    return c;
}

static struct network_ip ip(const char *text)
{
    struct network_ip i;
    assert_int_equal(network_ip_parse(text, &i), 0);
    return i;
}

static void assert_ip(const struct network_ip *have, const char *want)
{
    char buf[NETWORK_TEXT_BYTES];
    assert_string_equal(network_ip_text(have, buf), want);
}

static void subnets_parse_strictly_and_print_back(void **state)
{
    static const char *const bad[] = {"",
                                      "10.0.0.0",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.1/24",
                                      "10.0.0.0/-1",
                                      "fd00::/129",
                                      "fd00::1/64",
                                      "10.0.0.0/24x",
                                      "10.0/8",
                                      "/8",
                                      "::/ 0"};
    static const char *const good[] = {"10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32",
                                       "fd00::/64", "::/0"};
    char buf[NETWORK_TEXT_BYTES];
    struct network_cidr c;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(network_cidr_parse(bad[i], &c), -EINVAL);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        c = cidr(good[i]);
        assert_string_equal(network_cidr_text(&c, buf), good[i]);
    }
}

static void overlap_is_containment_either_way(void **state)
{
    static const struct {
        const char *a, *b;
        bool overlap;
    } rows[] = {
        {"10.0.0.0/8", "10.9.0.0/16", true},   {"10.8.0.0/16", "10.9.0.0/16", false},
        {"10.0.0.0/9", "10.128.0.0/9", false}, {"0.0.0.0/0", "10.0.0.0/24", true},
        {"fd00::/8", "fd12:3456::/64", true},  {"::/0", "10.0.0.0/24", false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct network_cidr a = cidr(rows[i].a);
        struct network_cidr b = cidr(rows[i].b);
        assert_int_equal(network_cidr_overlaps(&a, &b), rows[i].overlap);
        assert_int_equal(network_cidr_overlaps(&b, &a), rows[i].overlap);
    }
}

static bool is_low(void *arg, const struct network_ip *i)
{
    return i->bytes[3] < *(unsigned *)arg;
}

static void picked_address_is_free_and_usable(void **state)
{
    struct network_cidr net = cidr("10.1.2.0/28");
    struct network_ip gateway = ip("10.1.2.1");
    struct network_ip got;
    unsigned below = 0;
    (void)state;
    assert_int_equal(network_pick_address(&net, &gateway, is_low, &below, &got), 0);
    assert_ip(&got, "10.1.2.2");
    below = 9;
    assert_int_equal(network_pick_address(&net, &gateway, is_low, &below, &got), 0);
    assert_ip(&got, "10.1.2.9");
    below = 14;
    assert_int_equal(network_pick_address(&net, &gateway, is_low, &below, &got), 0);
    assert_ip(&got, "10.1.2.14"); /* the last: .15 is the broadcast address */
    below = 15;
    assert_int_equal(network_pick_address(&net, &gateway, is_low, &below, &got), -ENOSPC);
    net = cidr("10.1.2.4/31");
    below = 0;
    assert_int_equal(network_pick_address(&net, &gateway, is_low, &below, &got), -ENOSPC);
}

static bool is_seen(void *arg, const struct network_ip *i)
{
    return ((const bool *)arg)[i->bytes[3]];
}

static void every_address_of_a_subnet_is_picked_once(void **state)
{
    struct network_cidr net = cidr("10.1.2.0/24");
    struct network_ip gateway = ip("10.1.2.77");
    struct network_ip got;
    bool seen[256] = {false};
    (void)state;
    for (unsigned i = 0; i < 253; i++) {
        assert_int_equal(network_pick_address(&net, &gateway, is_seen, seen, &got), 0);
        assert_false(seen[got.bytes[3]]);
        seen[got.bytes[3]] = true;
    }
    assert_int_equal(network_pick_address(&net, &gateway, is_seen, seen, &got), -ENOSPC);
    assert_false(seen[0] || seen[77] || seen[255]);
}

static void the_pair_has_the_same_number(void **state)
{
    struct network_cidr four = cidr("10.1.0.0/16");
    struct network_cidr six = cidr("fd00:1:2:3::/64");
    struct network_ip a = ip("10.1.2.3");
    struct network_ip got;
    (void)state;
    assert_int_equal(network_pair_address(&four, &six, &a, &got), 0);
    assert_ip(&got, "fd00:1:2:3::203");
    a = ip("10.2.2.3");
    assert_int_equal(network_pair_address(&four, &six, &a, &got), -EINVAL);
}

static void ports_parse_and_print_back(void **state)
{
    static const char *const same[] = {
        "80:80",       "8080:80",         "8080:80/udp",      "127.0.0.1:53:53/udp",
        "[::1]:80:80", "8000-8009:80-89", "[fd00::1]:1-2:3-4"};
    static const char *const bad[] = {
        "",          "x",       "80:",      ":80",
        "0:80",      "80:0",    "65536",    "80:80/x",
        "80-79:80",  "1-3:1-2", "[::1]80",  "1.2.3:80:80",
        "::1:80:80", "80 ",     "80:80:80", "99999999999999999999"};
    struct network_publish p;
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct str out = {0};
        assert_int_equal(network_publish_parse(same[i], &p, NULL), 0);
        assert_int_equal(network_publish_text(&p, &out), 0);
        assert_string_equal(str_text(&out), same[i]);
        str_fini(&out);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        assert_int_equal(network_publish_parse(bad[i], &p, &e), -EINVAL);
        assert_int_not_equal(e.text[0], 0);
    }
    assert_int_equal(network_publish_parse("443/tcp", &p, NULL), 0);
    assert_int_equal(p.host_port, 443);
    assert_int_equal(p.guest_port, 443);
}

static bool clash(const char *a, const char *b)
{
    struct network_publish p, q;
    assert_int_equal(network_publish_parse(a, &p, NULL), 0);
    assert_int_equal(network_publish_parse(b, &q, NULL), 0);
    assert_int_equal(network_publish_clashes(&p, &q), network_publish_clashes(&q, &p));
    return network_publish_clashes(&p, &q);
}

static void ports_clash_when_they_share_one(void **state)
{
    (void)state;
    assert_true(clash("80", "80:81"));
    assert_false(clash("80", "80/udp"));
    assert_true(clash("80-90:80-90", "90"));
    assert_false(clash("80-89:80-89", "90"));
    assert_true(clash("127.0.0.1:80:80", "80"));
    assert_false(clash("127.0.0.1:80:80", "127.0.0.2:80:80"));
    assert_false(clash("0.0.0.0:80:80", "[::]:80:80"));
}

static void hosts_are_rewritten_in_place(void **state)
{
    char path[] = "/tmp/hosts-XXXXXX";
    struct network_host_entry entries[] = {{ip("10.0.0.2"), "web web.blue"},
                                           {ip("fd00::2"), "web"}};
    struct stat before, after;
    char *text;
    size_t len;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &before), 0);
    assert_int_equal(network_write_hosts(path, entries, 2, NULL), 0);
    assert_int_equal(network_write_hosts(path, entries, 1, NULL), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(file_read(AT_FDCWD, path, 4096, &text, &len), 0);
    assert_string_equal(text, "127.0.0.1\tlocalhost\n"
                              "::1\tlocalhost ip6-localhost ip6-loopback\n"
                              "10.0.0.2\tweb web.blue\n");
    free(text);
    (void)close(fd);
    (void)unlink(path);
    struct err e = {0};
    assert_int_equal(network_write_hosts("/nonexistent/hosts", entries, 1, &e), -ENOENT);
    assert_non_null(strstr(e.text, "/nonexistent/hosts"));
}

static void assert_resolv(const char *host, const char *upstream, const char *want)
{
    struct str out = {0};
    assert_int_equal(network_resolv_conf(host, upstream, "9.9.9.9", &out), 0);
    assert_string_equal(str_text(&out), want);
    str_fini(&out);
}

static void loopback_name_servers_are_replaced(void **state)
{
    (void)state;
    assert_resolv("nameserver 10.0.0.53\nsearch a b\n", NULL,
                  "nameserver 10.0.0.53\nsearch a b\n");
    assert_resolv("# stub\nnameserver 127.0.0.53\noptions edns0\n",
                  "nameserver 192.0.2.53\nsearch no\n",
                  "options edns0\nnameserver 192.0.2.53\n");
    assert_resolv("nameserver ::1\nnameserver fe80::1%eth0\n", "",
                  "nameserver 9.9.9.9\n");
    assert_resolv(NULL, NULL, "nameserver 9.9.9.9\n");
    assert_resolv("nameserver\nnameserver \n;x\nnameserver 10.0.0.1 # c", NULL,
                  "nameserver\nnameserver 10.0.0.1\n");
    assert_resolv("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n"
                  "nameserver 1.1.1.4\n",
                  NULL, "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subnets_parse_strictly_and_print_back),
        cmocka_unit_test(overlap_is_containment_either_way),
        cmocka_unit_test(picked_address_is_free_and_usable),
        cmocka_unit_test(every_address_of_a_subnet_is_picked_once),
        cmocka_unit_test(the_pair_has_the_same_number),
        cmocka_unit_test(ports_parse_and_print_back),
        cmocka_unit_test(ports_clash_when_they_share_one),
        cmocka_unit_test(hosts_are_rewritten_in_place),
        cmocka_unit_test(loopback_name_servers_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
