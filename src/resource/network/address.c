/* Addresses and subnets as plain values. */
#include "resource/network/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/gap.h"
#include "base/str.h"

static unsigned bits_of(const struct network_ip *ip)
{
    return ip->version == 4 ? 32 : 128;
}

int network_ip_parse(const char *text, struct network_ip *ret)
{
    struct network_ip ip = {0};
    if (inet_pton(AF_INET, text, ip.bytes) == 1) {
        ip.version = 4;
    } else if (inet_pton(AF_INET6, text, ip.bytes) == 1) {
        ip.version = 6;
    } else {
        return -EINVAL;
    }
    *ret = ip;
    return 0;
}

const char *network_ip_text(const struct network_ip *ip, char buf[NETWORK_TEXT_BYTES])
{
    buf[0] = '\0';
    if (ip->version != 0) {
        (void)inet_ntop(ip->version == 4 ? AF_INET : AF_INET6, ip->bytes, buf,
                        NETWORK_TEXT_BYTES);
    }
    return buf;
}

bool network_ip_equal(const struct network_ip *a, const struct network_ip *b)
{
    return a->version == b->version &&
           (a->version == 0 || memcmp(a->bytes, b->bytes, bits_of(a) / 8) == 0);
}

/* Whether the first `bits` of two addresses are the same. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;
    return memcmp(a, b, whole) == 0 &&
           (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

int network_cidr_parse(const char *text, struct network_cidr *ret)
{
    char buf[NETWORK_TEXT_BYTES];
    const char *slash = strchr(text, '/');
    if (slash == NULL ||
        str_print(buf, sizeof buf, "%.*s", (int)(slash - text), text) < 0) {
        return -EINVAL;
    }
    struct network_cidr c = {0};
    char *end = NULL;
    unsigned long prefix = strtoul(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end != '\0' ||
        network_ip_parse(buf, &c.ip) < 0 || prefix > bits_of(&c.ip)) {
        return -EINVAL;
    }
    c.prefix = (uint8_t)prefix;
    for (unsigned i = c.prefix; i < bits_of(&c.ip); i++) {
        if ((c.ip.bytes[i / 8] & (0x80 >> i % 8)) != 0) {
            return -EINVAL;
        }
    }
    *ret = c;
    return 0;
}

const char *network_cidr_text(const struct network_cidr *c, char buf[NETWORK_TEXT_BYTES])
{
    char ip[NETWORK_TEXT_BYTES];
    buf[0] = '\0';
    if (c->ip.version != 0) {
        (void)str_print(buf, NETWORK_TEXT_BYTES, "%s/%u", network_ip_text(&c->ip, ip),
                        c->prefix);
    }
    return buf;
}

bool network_cidr_has(const struct network_cidr *c, const struct network_ip *ip)
{
    return c->ip.version != 0 && c->ip.version == ip->version &&
           same_bits(c->ip.bytes, ip->bytes, c->prefix);
}

bool network_cidr_overlaps(const struct network_cidr *a, const struct network_cidr *b)
{
    unsigned shorter = a->prefix < b->prefix ? a->prefix : b->prefix;
    return a->ip.version != 0 && a->ip.version == b->ip.version &&
           same_bits(a->ip.bytes, b->ip.bytes, shorter);
}

/* How many addresses a subnet has, as far as 32 bits count. */
static uint64_t size_of(const struct network_cidr *c)
{
    unsigned host = bits_of(&c->ip) - c->prefix;
    return host >= 32 ? UINT64_C(1) << 32 : UINT64_C(1) << host;
}

/* The last four bytes of an address as a number. */
static uint32_t low_of(const struct network_ip *ip)
{
    uint32_t low;
    memcpy(&low, ip->bytes + bits_of(ip) / 8 - 4, 4);
    return ntohl(low);
}

static uint32_t number_in(const struct network_cidr *c, const struct network_ip *ip)
{
    return (uint32_t)(low_of(ip) & (size_of(c) - 1));
}

int network_cidr_nth(const struct network_cidr *c, uint32_t n, struct network_ip *ret)
{
    if (c->ip.version == 0 || n >= size_of(c)) {
        return -ERANGE;
    }
    *ret = c->ip;
    uint32_t low = htonl(low_of(&c->ip) | n);
    memcpy(ret->bytes + bits_of(&c->ip) / 8 - 4, &low, 4);
    return 0;
}

struct picking {
    const struct network_cidr *subnet;
    const struct network_ip *gateway;
    bool (*taken)(void *arg, const struct network_ip *ip);
    void *arg;
};

static bool number_is_taken(void *arg, unsigned number)
{
    const struct picking *p = arg;
    struct network_ip ip;
    return network_cidr_nth(p->subnet, number, &ip) < 0 ||
           network_ip_equal(&ip, p->gateway) || p->taken(p->arg, &ip);
}

int network_pick_address(const struct network_cidr *subnet,
                         const struct network_ip *gateway,
                         bool (*taken)(void *arg, const struct network_ip *ip), void *arg,
                         struct network_ip *ret)
{
    struct picking p = {.subnet = subnet, .gateway = gateway, .taken = taken, .arg = arg};
    uint64_t size = subnet->ip.version == 0 ? 0 : size_of(subnet);
    unsigned number = 0;
    /* Neither the network's own nor the broadcast address. */
    int r = size < 4 ? -ENOSPC
                     : gap_find(1, (unsigned)(size - 2), number_is_taken, &p, &number);
    return r < 0 ? r : network_cidr_nth(subnet, number, ret);
}

int network_pair_address(const struct network_cidr *subnet4,
                         const struct network_cidr *subnet6,
                         const struct network_ip *addr4, struct network_ip *ret)
{
    if (!network_cidr_has(subnet4, addr4) || subnet6->ip.version != 6) {
        return -EINVAL;
    }
    return network_cidr_nth(subnet6, number_in(subnet4, addr4), ret);
}
