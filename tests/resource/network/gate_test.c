/* The guest of a user-mode network and the host's loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "resource/network/usernet/gate.h"

#define TCP 6
#define UDP 17
#define SYN 0x02
#define ACK 0x10

static const uint8_t guest4[4] = {10, 0, 2, 100};
static const uint8_t gateway4[4] = {10, 0, 2, 2};

static size_t frame4(uint8_t *f, const uint8_t *from, const uint8_t *to, uint8_t proto,
                     unsigned sport, unsigned dport)
{
    memset(f, 0, 64);
    f[12] = 0x08;
    f[14] = 0x45;
    f[23] = proto;
    memcpy(f + 26, from, 4);
    memcpy(f + 30, to, 4);
    f[34] = (uint8_t)(sport >> 8);
    f[35] = (uint8_t)sport;
    f[36] = (uint8_t)(dport >> 8);
    f[37] = (uint8_t)dport;
    return 54;
}

static void no_connection_is_begun_to_the_gateway(void **state)
{
    static struct gate f;
    uint8_t b[64];
    (void)state;
    size_t n = frame4(b, guest4, gateway4, TCP, 40000, 22);
    b[47] = SYN;
    assert_false(gate_allows(&f, b, n));
    b[47] = SYN | 0xc0; /* with ECN */
    assert_false(gate_allows(&f, b, n));
    b[47] = SYN | ACK;
    assert_true(gate_allows(&f, b, n));
    b[47] = ACK;
    assert_true(gate_allows(&f, b, n));
    assert_false(gate_allows(&f, b, 40)); /* cut off before the flags */
    b[33] = 3;                            /* the name server */
    b[47] = SYN;
    assert_true(gate_allows(&f, b, n));
    b[33] = 9; /* nobody: libslirp's answer, not the host's */
    assert_false(gate_allows(&f, b, n));
}

static void datagrams_answer_only(void **state)
{
    static struct gate f;
    uint8_t b[64];
    (void)state;
    size_t n = frame4(b, guest4, gateway4, UDP, 53, 40000);
    assert_false(gate_allows(&f, b, n));
    uint8_t in[64];
    (void)frame4(in, gateway4, guest4, UDP, 40000, 53);
    gate_note(&f, in, n);
    assert_true(gate_allows(&f, b, n));
    (void)frame4(b, guest4, gateway4, UDP, 53, 40001);
    assert_false(gate_allows(&f, b, n));
    (void)frame4(b, guest4, gateway4, UDP, 0, 0);
    assert_false(gate_allows(&f, b, n));
}

static void an_address_is_asked_for_where_it_is_given(void **state)
{
    static const uint8_t nobody[4] = {0};
    static const uint8_t all[4] = {255, 255, 255, 255};
    static struct gate f;
    uint8_t b[64];
    (void)state;
    size_t n = frame4(b, nobody, all, UDP, 68, 67);
    assert_false(gate_allows(&f, b, n));
    f.lets_dhcp = true;
    assert_true(gate_allows(&f, b, n));
    (void)frame4(b, nobody, all, UDP, 68, 69);
    assert_false(gate_allows(&f, b, n));
    (void)frame4(b, nobody, all, UDP, 69, 67);
    assert_false(gate_allows(&f, b, n));
}

static void fragments_and_other_protocols_do_not_pass(void **state)
{
    static struct gate f;
    uint8_t b[64];
    (void)state;
    size_t n = frame4(b, guest4, gateway4, TCP, 1, 2);
    b[47] = ACK;
    b[20] = 0x20; /* more fragments */
    assert_false(gate_allows(&f, b, n));
    b[20] = 0;
    b[21] = 1; /* not the first */
    assert_false(gate_allows(&f, b, n));
    n = frame4(b, guest4, gateway4, 132, 1, 2);
    assert_false(gate_allows(&f, b, n));
    n = frame4(b, guest4, gateway4, 1, 1, 2);
    assert_true(gate_allows(&f, b, n));
    b[14] = 0x4f; /* options beyond the end */
    assert_false(gate_allows(&f, b, 40));
    b[30] = 8; /* elsewhere: anything */
    assert_true(gate_allows(&f, b, 40));
}

static uint16_t udp6_sum(const uint8_t *f, size_t udp_len)
{
    uint32_t sum = 17 + (uint32_t)udp_len;
    for (size_t i = 22; i < 54 + udp_len; i += 2) {
        sum += (uint32_t)(f[i] << 8 | f[i + 1]);
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static void hidden_loopback_keeps_the_checksum_right(void **state)
{
    uint8_t f[70] = {[12] = 0x86, [13] = 0xdd, [14] = 0x60, [19] = 16, [20] = UDP};
    (void)state;
    srand(1);
    for (unsigned round = 0; round < 2000; round++) {
        memset(f + 22, 0, 15);
        f[37] = 1;
        for (size_t i = 38; i < sizeof f; i++) {
            f[i] = (uint8_t)rand();
        }
        f[60] = f[61] = 0;
        uint16_t sum = (uint16_t)~udp6_sum(f, 16);
        f[60] = (uint8_t)(sum >> 8);
        f[61] = (uint8_t)sum;
        assert_int_equal(udp6_sum(f, 16), 0xffff);
        assert_true(gate_is_from_loopback6(f, sizeof f));
        gate_hide_loopback6(f);
        assert_int_equal(udp6_sum(f, 16), 0xffff);
        assert_int_equal(f[22], 0xfd);
        assert_false(gate_is_from_loopback6(f, sizeof f));
    }
    assert_false(gate_is_from_loopback6(f, 61));
}

static void any_bytes_are_fine(void **state)
{
    static struct gate f;
    (void)state;
    srand(2);
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = (size_t)rand() % 80;
        uint8_t *b = malloc(n + 1); /* exact size: the sanitizer sees one byte too far */
        for (size_t i = 0; i < n; i++) {
            b[i] = (uint8_t)rand();
        }
        if (n > 34) {
            b[12] = round % 2 ? 0x08 : 0x86;
            b[13] = round % 2 ? 0x00 : 0xdd;
            memcpy(b + 30, gateway4, 4);
        }
        uint8_t *exact = malloc(n == 0 ? 1 : n);
        memcpy(exact, b, n);
        gate_note(&f, exact, n);
        (void)gate_allows(&f, exact, n);
        (void)gate_is_from_loopback6(exact, n);
        free(exact);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_connection_is_begun_to_the_gateway),
        cmocka_unit_test(datagrams_answer_only),
        cmocka_unit_test(an_address_is_asked_for_where_it_is_given),
        cmocka_unit_test(fragments_and_other_protocols_do_not_pass),
        cmocka_unit_test(hidden_loopback_keeps_the_checksum_right),
        cmocka_unit_test(any_bytes_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
