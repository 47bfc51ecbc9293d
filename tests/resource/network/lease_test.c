/* lease_test.c - requests by DHCP are answered on the way out, and nothing else is. */
#include <string.h>

#include "contract/nic.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "tests/base/check.h"

static const uint8_t own_mac[6] = {0x02, 0x53, 10, 1, 2, 3};

struct world {
    struct loop *loop;
    struct nic *nic;  /* with a lease */
    struct nic *wire; /* the other end */
    uint8_t told[2048], sent[2048];
    uint32_t told_bytes, sent_bytes; /* of the last frame to the guest, to the wire */
    unsigned tolds, sents;
};

static unsigned on_told(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct world *w = n->who;

    for (unsigned i = 0; i < count; i++) {
        memcpy(w->told, f[i].iov[0].iov_base, f[i].bytes);
        w->told_bytes = f[i].bytes;
    }
    w->tolds += count;
    return count;
}

static unsigned on_sent(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct world *w = n->who;

    for (unsigned i = 0; i < count; i++) {
        memcpy(w->sent, f[i].iov[0].iov_base, f[i].bytes);
        w->sent_bytes = f[i].bytes;
    }
    w->sents += count;
    return count;
}

static void begin(struct world *w)
{
    struct nic_lease is = {.address = {10, 1, 2, 3},
                           .prefix = 20,
                           .gateway = {10, 1, 0, 1},
                           .leads_on = true,
                           .servers = 1,
                           .server = {{9, 9, 9, 9}},
                           .host = "web"};
    struct nic *two[2];

    memset(w, 0, sizeof *w);
    memcpy(is.mac, own_mac, sizeof own_mac);
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &w->loop, NULL), 0);
    assert_int_equal(nic_pair_create(w->loop, 1500, 0, two, NULL), 0);
    assert_int_equal(nic_lease_create(w->loop, two[0], &is, &w->nic, NULL), 0);
    w->wire = two[1];
    w->nic->who = w->wire->who = w;
    w->nic->received = on_told;
    w->wire->received = on_sent;
    w->nic->ops->more(w->nic);
    w->wire->ops->more(w->wire);
}

static void end(struct world *w)
{
    w->nic->ops->destroy(w->nic);
    w->wire->ops->destroy(w->wire);
    loop_destroy(w->loop);
}

/* In two pieces, as a driver may give it. */
static void ask(struct world *w, uint8_t *frame, uint32_t bytes)
{
    struct iovec iov[2] = {{frame, 30}, {frame + 30, bytes - 30}};
    const struct nic_frame f = {.iov = iov, .pieces = 2, .bytes = bytes};

    assert_int_equal(w->nic->ops->send(w->nic, &f, 1), 1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(loop_turn(w->loop, 2), 0);
    }
}

/* A request as RFC 2131, figure 1, and RFC 2132, 9.6 draw it. */
static uint32_t make(uint8_t b[590], uint8_t type, const uint8_t *more, size_t n)
{
    uint8_t *p = b + 42;

    memset(b, 0, 590);
    memset(b, 255, 6);
    memcpy(b + 6, own_mac, 6);
    memcpy(b + 12, "\x08\x00\x45\x00\x02\x40", 6); /* 576 bytes */
    memcpy(b + 22, "\x40\x11", 2);
    memset(b + 30, 255, 4);
    memcpy(b + 34, "\x00\x44\x00\x43\x02\x2c", 6);
    memcpy(p, "\x01\x01\x06", 3);
    memcpy(p + 4, "\xde\xad\xbe\xef", 4);
    memcpy(p + 28, own_mac, 6);
    memcpy(p + 236, "\x63\x82\x53\x63\x35\x01", 6);
    p[242] = type;
    if (n > 0) {
        memcpy(p + 243, more, n);
    }
    p[243 + n] = 255;
    return 590;
}

/* The bytes of an option of what the guest was told; NULL: it is not there. */
static const uint8_t *option(const struct world *w, uint8_t code)
{
    const uint8_t *at = w->told + 42 + 240;

    while (at < w->told + w->told_bytes && *at != 255) {
        if (*at == code) {
            return at + 2;
        }
        at += 2 + at[1];
    }
    return NULL;
}

/* RFC 1071: all words with the sum in them give 0xffff. */
static unsigned ones(const uint8_t *p, size_t n, unsigned start)
{
    unsigned sum = start;

    for (size_t i = 0; i < n; i++) {
        sum += (unsigned)p[i] << (i % 2 == 0 ? 8 : 0);
    }
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static void whoever_asks_is_offered_the_address(void **state)
{
    struct world w;
    uint8_t b[590];
    uint32_t udp;

    (void)state;
    begin(&w);
    ask(&w, b, make(b, 1, NULL, 0));
    assert_int_equal(w.tolds, 1);
    assert_int_equal(w.sents, 0);
    assert_memory_equal(w.told, own_mac, 6);
    assert_memory_equal(w.told + 26, "\x0a\x01\x00\x01\x0a\x01\x02\x03", 8);
    assert_int_equal(ones(w.told + 14, 20, 0), 0xffff);
    udp = w.told_bytes - 34;
    assert_int_equal(w.told[38] << 8 | w.told[39], udp);
    assert_int_equal(ones(w.told + 34, udp, ones(w.told + 26, 8, 17 + udp)), 0xffff);
    assert_int_equal(w.told[42], 2);
    assert_memory_equal(w.told + 46, "\xde\xad\xbe\xef", 4);
    assert_memory_equal(w.told + 58, "\x0a\x01\x02\x03", 4);
    assert_memory_equal(option(&w, 53), "\x02", 1);
    assert_memory_equal(option(&w, 54), "\x0a\x01\x00\x01", 4);
    assert_memory_equal(option(&w, 1), "\xff\xff\xf0\x00", 4);
    assert_memory_equal(option(&w, 3), "\x0a\x01\x00\x01", 4);
    assert_memory_equal(option(&w, 6), "\x09\x09\x09\x09", 4);
    assert_memory_equal(option(&w, 12), "web", 3);
    assert_memory_equal(option(&w, 26), "\x05\xdc", 2);
    end(&w);
}

static void what_it_asks_for_is_granted_or_not(void **state)
{
    struct world w;
    uint8_t b[590];

    (void)state;
    begin(&w);
    ask(&w, b,
        make(b, 3, (const uint8_t *)"\x32\x04\x0a\x01\x02\x03\x36\x04\x0a\x01\x00\x01",
             12));
    assert_memory_equal(option(&w, 53), "\x05", 1);
    ask(&w, b,
        make(b, 3, (const uint8_t *)"\x32\x04\x0a\x01\x02\x04", 6)); /* another's */
    assert_int_equal(w.tolds, 2);
    assert_memory_equal(option(&w, 53), "\x06", 1);
    assert_null(option(&w, 3));
    assert_memory_equal(w.told, "\xff\xff\xff\xff\xff\xff", 6);
    ask(&w, b,
        make(b, 3, (const uint8_t *)"\x36\x04\x0a\x01\x00\x02", 6)); /* of another */
    ask(&w, b, make(b, 7, NULL, 0)); /* given back: nobody says anything to that */
    ask(&w, b, make(b, 5, NULL, 0));
    assert_int_equal(w.tolds, 2);
    assert_int_equal(w.sents, 0);
    end(&w);
}

static void all_else_goes_through(void **state)
{
    static const struct {
        unsigned at;
        uint8_t value;
    } changed[] = {
        {12, 0x86},    /* no IPv4 */
        {14, 0x65},    /* of another version */
        {20, 0x20},    /* a fragment */
        {23, 6},       /* no UDP */
        {37, 0x44},    /* to another port */
        {42, 2},       /* an answer */
        {42 + 33, 9},  /* of another card */
        {42 + 236, 0}, /* without the cookie */
        {17, 0x40},    /* shorter than its parts: the upper byte of 576 ... */
    };

    struct world w;
    uint8_t b[590];
    uint8_t back[60] = {0};
    struct iovec iov = {back, sizeof back};
    const struct nic_frame f = {.iov = &iov, .pieces = 1, .bytes = sizeof back};

    (void)state;
    begin(&w);
    for (unsigned i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        uint32_t n = make(b, 1, NULL, 0);

        b[changed[i].at] = changed[i].value;
        b[16] = i == 8 ? 0 : b[16]; /* ... and the lower one */
        ask(&w, b, n);
        assert_int_equal(w.tolds, 0);
        assert_int_equal(w.sents, i + 1);
        assert_int_equal(w.sent_bytes, n);
        assert_memory_equal(w.sent, b, n);
    }
    assert_int_equal(w.wire->ops->send(w.wire, &f, 1), 1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(loop_turn(w.loop, 2), 0);
    }
    assert_int_equal(w.tolds, 1);
    assert_int_equal(w.told_bytes, sizeof back);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_asks_is_offered_the_address),
        cmocka_unit_test(what_it_asks_for_is_granted_or_not),
        cmocka_unit_test(all_else_goes_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
