/* A guest's published ports as elements of the four maps. */
#include "resource/network/published.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/err.h"
#include "base/fault.h"

#define PORTS_MOST 4096 /* elements of one call */

void entries_fini(struct entries *list)
{
    free(list->items);
}

static bool is_zero(const struct network_ip *ip)
{
    static const uint8_t zero[16];
    return memcmp(ip->bytes, zero, sizeof zero) == 0;
}

/* Add one 4-byte register's worth, or an address, to a key or value. */
static uint8_t append(uint8_t *to, uint8_t at, const void *from, size_t len)
{
    memset(to + at, 0, (len + 3) & ~(size_t)3);
    memcpy(to + at, from, len);
    return (uint8_t)(at + ((len + 3) & ~(size_t)3));
}

static void fill(struct entry *en, const struct network_ip *guest, uint16_t guest_port)
{
    size_t ip_bytes = guest->version == 4 ? 4 : 16;
    uint16_t port = htons(en->port);
    uint16_t to = htons(guest_port);
    if (en->which == ONE4 || en->which == ONE6) {
        en->key_bytes = append(en->key, 0, en->host.bytes, ip_bytes);
    }
    en->key_bytes = append(en->key, en->key_bytes, &en->proto, 1);
    en->key_bytes = append(en->key, en->key_bytes, &port, sizeof port);
    en->data_bytes = append(en->data, 0, guest->bytes, ip_bytes);
    en->data_bytes = append(en->data, en->data_bytes, &to, sizeof to);
}

static int add_range(struct entries *list, const struct network_publish *pub,
                     uint8_t version, const struct network_ip *guest)
{
    unsigned count = pub->count == 0 ? 1 : pub->count;
    bool any = is_zero(&pub->host);
    for (unsigned i = 0; i < count; i++) {
        if (list->n == list->cap) {
            size_t cap = list->cap == 0 ? 8 : list->cap * 2;
            struct entry *more = fault_realloc(list->items, cap * sizeof *more);
            if (more == NULL) {
                return -ENOMEM;
            }
            list->items = more;
            list->cap = cap;
        }
        struct entry *en = &list->items[list->n++];
        *en = (struct entry){.host = pub->host,
                             .port = (uint16_t)(pub->host_port + i),
                             .proto = pub->udp ? IPPROTO_UDP : IPPROTO_TCP};
        en->host.version = version;
        en->which = version == 4 ? (any ? ANY4 : ONE4) : (any ? ANY6 : ONE6);
        fill(en, guest, (uint16_t)(pub->guest_port + i));
    }
    return list->n > PORTS_MOST ? -E2BIG : 0;
}

static int check_one(const struct network_port *p, const struct network_publish *pub,
                     struct err *e)
{
    unsigned last = pub->count == 0 ? 0 : pub->count - 1u;
    if (pub->host_port == 0 || pub->guest_port == 0 ||
        pub->host_port + last > UINT16_MAX || pub->guest_port + last > UINT16_MAX) {
        return err_set(e, -EINVAL, "cannot publish port %u to %u: not a port",
                       pub->host_port, pub->guest_port);
    }
    if ((pub->host.version == 4 && p->addr4.version == 0) ||
        (pub->host.version == 6 && p->addr6.version == 0)) {
        return err_set(e, -EINVAL,
                       "cannot publish port %u on an IPv%u address: the guest "
                       "has none in its network",
                       pub->host_port, pub->host.version);
    }
    return 0;
}

int entries_list(const struct network_port *p, const struct network_publish *pub,
                 size_t n, struct entries *list, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = check_one(p, &pub[i], e);
        if (r == 0 && pub[i].host.version != 6 && p->addr4.version != 0) {
            r = add_range(list, &pub[i], 4, &p->addr4);
        }
        if (r == 0 && pub[i].host.version != 4 && p->addr6.version != 0) {
            r = add_range(list, &pub[i], 6, &p->addr6);
        }
    }
    return r < 0 ? err_sys(e, r, "cannot publish ports") : 0;
}

struct nft_element entry_element(const struct entry *en, const char *guest)
{
    return (struct nft_element){.key = en->key,
                                .key_bytes = en->key_bytes,
                                .data = en->data,
                                .data_bytes = en->data_bytes,
                                .comment = guest};
}

const char *entry_proto(const struct entry *en)
{
    return en->proto == IPPROTO_UDP ? "udp" : "tcp";
}
