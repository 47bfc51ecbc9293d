/* Which frames of the guest may go to the host's own loopback: answers only.
 *
 * libslirp shows a client on the host's 127.0.0.1 or ::1 to the guest as the gateway,
 * and sends what the guest answers to the gateway back there.  It can refuse the
 * gateway as a whole, but then published UDP ports are mute towards local clients.
 * So the gateway stays open in libslirp and is closed here:
 *
 *   TCP   no first packet of a connection (libslirp opens one for nothing else)
 *   UDP   only from a port to a port that spoke to it before
 *   DHCP  where it is offered: libslirp takes all that goes to its port
 *   rest  ICMP, which libslirp answers itself; no fragments, no other protocols
 *
 * The name server's address is no gateway: it leads to the host's resolver.  In IPv6
 * every other address of the guest's network is taken for the gateway. */
#include "resource/network/usernet/gate.h"

#include <string.h>

#define ETHER_BYTES 14
#define ETHER_TYPE  12
#define TYPE_IP4    0x0800
#define TYPE_IP6    0x86dd
#define IP4_BYTES   20 /* RFC 791, 3.1, without options */
#define IP6_BYTES   40 /* RFC 8200, 3 */
#define IP6_SOURCE  8
#define UDP_BYTES   8 /* RFC 768 */
#define UDP_SUM     6
#define DHCP_SERVER 67 /* RFC 2131, 4.1 */
#define DHCP_CLIENT 68
#define PROTO_ICMP  1
#define PROTO_TCP   6
#define PROTO_UDP   17
#define PROTO_ICMP6 58
#define TCP_FLAGS   13 /* RFC 9293, 3.1 */
#define FLAG_SYN    0x02
#define FLAG_ACK    0x10

/* What the rules look at. */
struct frame {
    const uint8_t *l4; /* NULL: a fragment, or too short */
    size_t l4_bytes;
    uint8_t proto;
    bool six;
    const uint8_t *source;
    const uint8_t *destination;
};

static unsigned be16(const uint8_t *at)
{
    return (unsigned)(at[0] << 8 | at[1]);
}

static bool read_ip4(const uint8_t *ip, size_t len, struct frame *f)
{
    if (len < IP4_BYTES) {
        return false;
    }
    size_t head = (size_t)(ip[0] & 0x0f) * 4;
    *f = (struct frame){.proto = ip[9], .source = ip + 12, .destination = ip + 16};
    bool fragment = (be16(ip + 6) & 0x3fff) != 0;
    if (!fragment && head >= IP4_BYTES && head <= len) {
        f->l4 = ip + head;
        f->l4_bytes = len - head;
    }
    return true;
}

static bool read_ip6(const uint8_t *ip, size_t len, struct frame *f)
{
    if (len < IP6_BYTES) {
        return false;
    }
    *f = (struct frame){.six = true,
                        .proto = ip[6],
                        .source = ip + 8,
                        .destination = ip + 24,
                        .l4 = ip + IP6_BYTES,
                        .l4_bytes = len - IP6_BYTES};
    return true;
}

/* False when it is no IP packet. */
static bool read_frame(const uint8_t *frame, size_t len, struct frame *ret)
{
    if (len < ETHER_BYTES) {
        return false;
    }
    unsigned type = be16(frame + ETHER_TYPE);
    frame += ETHER_BYTES;
    len -= ETHER_BYTES;
    return type == TYPE_IP4   ? read_ip4(frame, len, ret)
           : type == TYPE_IP6 ? read_ip6(frame, len, ret)
                              : false;
}

/* Whether libslirp takes this address for the host's loopback. */
static bool is_gateway(bool six, const uint8_t *ip)
{
    static const uint8_t net4[3] = {10, 0, 2};
    static const uint8_t all4[4] = {255, 255, 255, 255};
    static const uint8_t net6[8] = {0xfd};
    static const uint8_t dns6[8] = {[7] = 3};
    if (six) {
        return memcmp(ip, net6, sizeof net6) == 0 &&
               memcmp(ip + 8, dns6, sizeof dns6) != 0;
    }
    return memcmp(ip, all4, sizeof all4) == 0 ||
           (memcmp(ip, net4, sizeof net4) == 0 && ip[3] != 3);
}

static struct gate_flow *flow_of(struct gate *f, bool six, unsigned guest, unsigned peer)
{
    return &f->flows[(guest * 31 + peer * 2 + six) % GATE_FLOWS];
}

/* Replace 16 bytes that a checksum covers: RFC 1624, 3, equation 3. */
static void replace(uint8_t *at, const uint8_t to[16], uint8_t *sum_at)
{
    uint32_t sum = ~be16(sum_at) & 0xffff;
    for (unsigned i = 0; i < 16; i += 2) {
        sum += (~be16(at + i) & 0xffff) + be16(to + i);
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum = ~sum & 0xffff;
    sum = sum == 0 ? 0xffff : sum; /* RFC 8200, 8.1: never zero in UDP */
    sum_at[0] = (uint8_t)(sum >> 8);
    sum_at[1] = (uint8_t)sum;
    memcpy(at, to, 16);
}

bool gate_is_from_loopback6(const void *frame, size_t len)
{
    static const uint8_t loopback[16] = {[15] = 1};
    struct frame p;
    return read_frame(frame, len, &p) && p.six && p.proto == PROTO_UDP &&
           p.l4_bytes >= UDP_BYTES && memcmp(p.source, loopback, sizeof loopback) == 0;
}

void gate_hide_loopback6(void *frame)
{
    static const uint8_t gateway[16] = {0xfd, [15] = 2};
    uint8_t *ip = (uint8_t *)frame + ETHER_BYTES;
    replace(ip + IP6_SOURCE, gateway, ip + IP6_BYTES + UDP_SUM);
}

void gate_note(struct gate *f, const void *frame, size_t len)
{
    struct frame p;
    if (read_frame(frame, len, &p) && p.proto == PROTO_UDP && p.l4_bytes >= 4 &&
        is_gateway(p.six, p.source)) {
        unsigned peer = be16(p.l4);
        unsigned guest = be16(p.l4 + 2);
        *flow_of(f, p.six, guest, peer) = (struct gate_flow){
            .guest = (uint16_t)guest, .peer = (uint16_t)peer, .six = p.six};
    }
}

bool gate_allows(struct gate *f, const void *frame, size_t len)
{
    struct frame p;
    if (!read_frame(frame, len, &p) || !is_gateway(p.six, p.destination)) {
        return true;
    }
    if (p.l4 == NULL) {
        return false;
    }
    if (p.proto == PROTO_TCP) {
        return p.l4_bytes > TCP_FLAGS &&
               (p.l4[TCP_FLAGS] & (FLAG_SYN | FLAG_ACK)) != FLAG_SYN;
    }
    if (p.proto == PROTO_UDP && p.l4_bytes >= 4) {
        unsigned guest = be16(p.l4);
        unsigned peer = be16(p.l4 + 2);
        const struct gate_flow *flow = flow_of(f, p.six, guest, peer);
        if (f->lets_dhcp && !p.six && guest == DHCP_CLIENT && peer == DHCP_SERVER) {
            return true;
        }
        return guest != 0 && flow->guest == guest && flow->peer == peer &&
               flow->six == p.six;
    }
    return p.proto == (p.six ? PROTO_ICMP6 : PROTO_ICMP);
}
