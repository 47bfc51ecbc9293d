/* value_test.c - ports, volumes and restart policies: right ones, wrong ones. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "tests/base/check.h"
#include "wire/wire.h"

static void ports_with_address_range_and_protocol_are_read(void **state)
{
    static const struct {
        const char *text, *ip;
        unsigned host, guest, n;
        bool udp;
    } good[] = {
        {"80", "", 0, 80, 1, false},
        {"8080:80", "", 8080, 80, 1, false},
        {"127.0.0.1:8080:80/tcp", "127.0.0.1", 8080, 80, 1, false},
        {"127.0.0.1::80", "127.0.0.1", 0, 80, 1, false},
        {"[::1]:53:5353/udp", "::1", 53, 5353, 1, true},
        {"8000-8010:80-90", "", 8000, 80, 11, false},
        {"65535:1", "", 65535, 1, 1, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct wire_publish p;
        assert_int_equal(wire_parse_publish(good[i].text, &p, NULL), 0);
        assert_string_equal(p.host_ip, good[i].ip);
        assert_int_equal(p.host_port, good[i].host);
        assert_int_equal(p.guest_port, good[i].guest);
        assert_int_equal(p.n_ports, good[i].n);
        assert_int_equal(p.udp, good[i].udp);
    }
}

static void wrong_ports_are_refused_with_the_text(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "65536",
        "80:",
        "a:80",
        "80:80:80",
        "1-2:3-5",
        "90-80",
        "80/sctp",
        "80/",
        "[::1]80",
        "[::1:80:80",
        "1.2.3:80",
        "999.1.1.1:80:80",
        "::1:80:80",
        "-1:80",
        " 80",
        "80 ",
        "99999999999999999999:80",
        "1.2.3.4",
        "[zz]:80:80",
        "80-:80",
        "1-2:80",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        struct wire_publish p;
        assert_int_equal(wire_parse_publish(bad[i], &p, &e), -EINVAL);
        assert_non_null(strstr(e.text, bad[i]));
    }
}

static void volumes_are_names_or_paths(void **state)
{
    struct wire_volume v;
    (void)state;
    assert_int_equal(wire_parse_volume("data:/var/lib/x:ro", &v, NULL), 0);
    assert_string_equal(v.source, "data");
    assert_string_equal(v.target, "/var/lib/x");
    assert_true(v.read_only);
    assert_false(v.source_is_path);
    assert_int_equal(wire_parse_volume("./here:/there", &v, NULL), 0);
    assert_true(v.source_is_path);
    assert_false(v.read_only);
    assert_int_equal(wire_parse_volume("/a:/b:rw", &v, NULL), 0);
    assert_string_equal(v.source, "/a");
    assert_int_equal(
        wire_parse_volume("data:/x:key-file=/etc/key,ro,partition=2", &v, NULL), 0);
    assert_string_equal(v.target, "/x");
    assert_true(v.read_only);
    assert_int_equal(wire_parse_volume("data:/x:partition=12", &v, NULL), 0);
    assert_false(v.read_only);
    assert_int_equal(wire_parse_volume("data", &v, NULL), 0); /* of a machine */
    assert_string_equal(v.source, "data");
    assert_string_equal(v.target, "");
    assert_int_equal(wire_parse_volume("data:ro,key-file=/etc/key", &v, NULL), 0);
    assert_string_equal(v.target, "");
    assert_true(v.read_only);
}

static void wrong_volumes_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ":/x",
                                      "/data",
                                      "./data:ro",
                                      "data:x",
                                      "data:",
                                      "da ta:/x",
                                      "a:/x:rx",
                                      "a:/x:ro:ro",
                                      "-a:/x",
                                      "a:/x:",
                                      "a:/x:ro,",
                                      "a:/x:partition=0",
                                      "a:/x:partition=",
                                      "a:/x:partition=1x",
                                      "a:/x:key-file=here",
                                      "a:/x:ro key-file=/x"};
    char long_one[WIRE_PATH_BYTES + 8] = "/";
    struct wire_volume v;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(wire_parse_volume(bad[i], &v, NULL), -EINVAL);
    }
    memset(long_one + 1, 'x', WIRE_PATH_BYTES);
    memcpy(long_one + WIRE_PATH_BYTES, ":/x", 4);
    assert_int_equal(wire_parse_volume(long_one, &v, NULL), -EINVAL);
}

static void restart_policies_are_read(void **state)
{
    static const char *const bad[] = {
        "",    "never", "always:3", "on-failure:", "on-failure:x", "on-failure:-1",
        "no:", "ALWAYS"};
    struct wire_restart p;
    (void)state;
    assert_int_equal(wire_parse_restart("on-failure:5", &p, NULL), 0);
    assert_int_equal(p.when, WIRE_RESTART_ON_FAILURE);
    assert_int_equal(p.most, 5);
    assert_int_equal(wire_parse_restart("on-failure", &p, NULL), 0);
    assert_int_equal(p.most, 0);
    assert_int_equal(wire_parse_restart("unless-stopped", &p, NULL), 0);
    assert_int_equal(p.when, WIRE_RESTART_UNLESS_STOPPED);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(wire_parse_restart(bad[i], &p, NULL), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_with_address_range_and_protocol_are_read),
        cmocka_unit_test(wrong_ports_are_refused_with_the_text),
        cmocka_unit_test(volumes_are_names_or_paths),
        cmocka_unit_test(wrong_volumes_are_refused),
        cmocka_unit_test(restart_policies_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
