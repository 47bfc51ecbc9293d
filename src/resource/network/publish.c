/* Published ports: elements of the four maps, each with its guest in the comment.
 *
 * The kernel refuses a key that is there, so that of two guests that race for a
 * port one gets it; the comment tells the other whose it is.  What a guest takes
 * back it first looks up: the port may be another's meanwhile. */
#include "resource/network/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/network/private.h"

#define ASK_AT_ONCE 64   /* elements whose answers a socket's buffer holds for sure */
#define PORTS_MOST  4096 /* elements of one call */
#define OWNER_BYTES 128

enum which {
    ONE4,
    ONE6,
    ANY4,
    ANY6
}; /* as in `network_maps` */

/* One element: of map `which`, from key to data. */
struct entry {
    enum which which;
    bool own; /* found to be there already, for the same guest */
    struct network_ip host;
    uint16_t port;
    uint8_t proto;
    uint8_t key[24];
    uint8_t key_bytes;
    uint8_t data[20];
    uint8_t data_bytes;
};

struct entries {
    struct entry *items; /* owned */
    size_t n;
    size_t cap;
};

static void entries_fini(struct entries *list)
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

static int list_entries(const struct network_port *p, const struct network_publish *pub,
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

static const char *proto_name(const struct entry *en)
{
    return en->proto == IPPROTO_UDP ? "udp" : "tcp";
}

/* Whether a program of this host listens there.  The socket is closed again: the
 * rules act on packets before sockets see them. */
static int try_bind(const struct entry *en)
{
    bool udp = en->proto == IPPROTO_UDP;
    int on = 1;
    SCOPED(scope_close)
    int fd = socket(en->host.version == 4 ? AF_INET : AF_INET6,
                    (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return 0; /* without this family nobody can be in the way */
    }
    if (!udp) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(en->port)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(en->port)};
    memcpy(&a4.sin_addr, en->host.bytes, sizeof a4.sin_addr);
    memcpy(&a6.sin6_addr, en->host.bytes, sizeof a6.sin6_addr);
    if (en->host.version == 6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    int r = en->host.version == 4 ? bind(fd, (struct sockaddr *)&a4, sizeof a4)
                                  : bind(fd, (struct sockaddr *)&a6, sizeof a6);
    return r < 0 ? -errno : 0;
}

static int check_host(const struct entries *list, struct err *e)
{
    char ip[NETWORK_TEXT_BYTES];
    for (size_t i = 0; i < list->n; i++) {
        const struct entry *en = &list->items[i];
        int r = try_bind(en);
        if (r == -EADDRINUSE) {
            return err_set(e, r,
                           "cannot publish port %u/%s: a program of this host "
                           "listens on it",
                           en->port, proto_name(en));
        }
        if (r == -EADDRNOTAVAIL && !is_zero(&en->host)) {
            return err_set(e, r, "cannot publish port %u/%s: this host has no address %s",
                           en->port, proto_name(en), network_ip_text(&en->host, ip));
        }
    }
    return 0;
}

static struct nft_element element_of(const struct entry *en, const char *guest)
{
    return (struct nft_element){.key = en->key,
                                .key_bytes = en->key_bytes,
                                .data = en->data,
                                .data_bytes = en->data_bytes,
                                .comment = guest};
}

/* Compare the kernel's answers with what a guest has or wants. */
struct asking {
    const char *guest;
    struct entry *items; /* the chunk asked for */
    size_t n;
    char owner[OWNER_BYTES]; /* the first other guest met, */
    const struct entry *at;  /* and where */
};

static int compare_owner(void *arg, const struct nft_element *el)
{
    struct asking *ask = arg;
    for (size_t i = 0; i < ask->n; i++) {
        struct entry *en = &ask->items[i];
        if (en->key_bytes != el->key_bytes || en->data_bytes != el->data_bytes ||
            memcmp(en->key, el->key, el->key_bytes) != 0) {
            continue;
        }
        /* The lengths tell the maps apart but for any4 and any6: the data does. */
        if (el->comment != NULL && strcmp(el->comment, ask->guest) == 0) {
            en->own = memcmp(en->data, el->data, el->data_bytes) == 0;
        }
        if (!en->own && ask->at == NULL) {
            ask->at = en;
            (void)str_print(ask->owner, sizeof ask->owner, "%.*s", OWNER_BYTES - 1,
                            el->comment == NULL ? "?" : el->comment);
        }
    }
    return 0;
}

static int read_owner(void *arg, const struct netlink_message *m)
{
    return nft_read_elements(m, compare_owner, arg);
}

/* Ask for every entry of the list; those that are ours get `own`. */
static int ask_owners(struct network *net, struct entries *list, struct asking *ask)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    for (size_t i = 0; i < list->n; i += ASK_AT_ONCE) {
        ask->items = list->items + i;
        ask->n = list->n - i < ASK_AT_ONCE ? list->n - i : ASK_AT_ONCE;
        netlink_batch_reset(&b);
        for (size_t k = 0; k < ask->n; k++) {
            struct nft_element el = element_of(&ask->items[k], NULL);
            nft_ask_element(&b, net->table, network_maps[ask->items[k].which], &el);
        }
        int r = netlink_send(&net->nft, &b, read_owner, ask, NULL);
        if (r < 0 && r != -ENOENT) {
            return r;
        }
    }
    return 0;
}

static int add_entries(struct network *net, const struct entries *list, const char *guest)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    size_t n = 0;
    nft_begin(&b);
    for (size_t i = 0; i < list->n; i++) {
        if (!list->items[i].own) {
            struct nft_element el = element_of(&list->items[i], guest);
            nft_add_element(&b, net->table, network_maps[list->items[i].which], &el);
            n++;
        }
    }
    nft_end(&b);
    return n == 0 ? 0 : netlink_send(&net->nft, &b, NULL, NULL, NULL);
}

static int refuse(const struct asking *ask, struct err *e)
{
    return err_set(e, -EADDRINUSE, "cannot publish port %u/%s: guest '%s' has it",
                   ask->at->port, proto_name(ask->at), ask->owner);
}

/* A guest that runs reaches its new ports through the host, too. */
static void allow_return(struct network *net, const struct network_port *p)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    char name[NETWORK_LINK_BYTES];
    if (network_link_name(p, name) == 0) {
        netlink_add_hairpin(&b, name);
        (void)netlink_send(&net->route, &b, NULL, NULL, NULL);
    }
}

int network_publish(struct network *net, const struct network_spec *s,
                    const struct network_port *p, const struct network_publish *pub,
                    size_t n, struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    struct asking ask = {.guest = p->guest_id};
    struct netlink *nft;
    if (n == 0 || s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    if (s->internal) {
        return err_set(e, -EINVAL, "cannot publish ports on network '%s': it is internal",
                       s->name);
    }
    int r = list_entries(p, pub, n, &list, e);
    if (r == 0) {
        r = check_host(&list, e);
    }
    if (r < 0 || network_nft(net, &nft) < 0) {
        return r;
    }
    r = add_entries(net, &list, p->guest_id);
    if (r == -EEXIST) {
        r = ask_owners(net, &list, &ask);
        if (r == 0 && ask.at != NULL) {
            return refuse(&ask, e);
        }
        r = r < 0 ? r : add_entries(net, &list, p->guest_id);
    }
    if (r == 0 && network_bridge_filters()) {
        allow_return(net, p);
    }
    return r < 0 ? err_sys(e, r, "cannot publish ports of guest '%s'", p->guest_id) : 0;
}

int network_publish_check(struct network *net, const struct network_publish *pub,
                          size_t n, struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    struct network_port p = {.addr4 = {.version = 4}, .addr6 = {.version = 6}};
    struct asking ask = {.guest = ""};
    struct netlink *nft;
    int r = list_entries(&p, pub, n, &list, e);
    if (r == 0) {
        r = check_host(&list, e);
    }
    if (r < 0 || network_nft(net, &nft) < 0) {
        return r;
    }
    r = ask_owners(net, &list, &ask);
    if (r < 0) {
        return err_sys(e, r, "cannot list published ports");
    }
    return ask.at != NULL ? refuse(&ask, e) : 0;
}

int network_unpublish(struct network *net, const struct network_port *p,
                      const struct network_publish *pub, size_t n, struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct asking ask = {.guest = p->guest_id};
    struct netlink *nft;
    size_t own = 0;
    if (n == 0 || network_nft(net, &nft) < 0) {
        return 0;
    }
    int r = list_entries(p, pub, n, &list, e);
    if (r == 0) {
        r = ask_owners(net, &list, &ask);
    }
    nft_begin(&b);
    for (size_t i = 0; i < list.n && r == 0; i++) {
        if (list.items[i].own) {
            struct nft_element el = element_of(&list.items[i], NULL);
            nft_delete_element(&b, net->table, network_maps[list.items[i].which], &el);
            own++;
        }
    }
    nft_end(&b);
    if (r == 0 && own > 0) {
        r = netlink_send(nft, &b, NULL, NULL, NULL);
    }
    return r < 0 && r != -ENOENT
               ? err_sys(e, r, "cannot take back ports of guest '%s'", p->guest_id)
               : 0;
}

struct dropping {
    const char *table;
    const char *map;
    bool (*gone)(void *, const char *);
    void *arg;
    struct netlink_batch batch; /* owned */
    int n;
};

static int drop_one(void *arg, const struct nft_element *el)
{
    struct dropping *d = arg;
    if (el->comment != NULL && d->gone(d->arg, el->comment)) {
        nft_delete_element(&d->batch, d->table, d->map, el);
        d->n++;
    }
    return 0;
}

int network_drop_published(struct network *net,
                           bool (*gone)(void *arg, const char *guest), void *arg)
{
    struct dropping d = {.table = net->table, .gone = gone, .arg = arg};
    struct netlink *nft;
    if (network_nft(net, &nft) < 0) {
        return 0;
    }
    int r = 0;
    nft_begin(&d.batch);
    for (unsigned i = 0; i < 4 && r == 0; i++) {
        d.map = network_maps[i];
        r = nft_each_element(nft, net->table, d.map, drop_one, &d);
    }
    nft_end(&d.batch);
    if (r == 0 && d.n > 0) {
        r = netlink_send(nft, &d.batch, NULL, NULL, NULL);
    }
    netlink_batch_fini(&d.batch);
    return r == -ENOENT ? 0 : r < 0 ? r : d.n;
}
