/* Who has a port already: a guest of our own table, one of another state directory, or
 * a program of this host.
 *
 * Rules act on packets before sockets see them, and the table that was made first acts
 * before the others: without these questions a port would be taken away from a program,
 * or lead to a guest of somebody else, and nobody would be told. */
#include "resource/network/published.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/scope.h"

#define ASK_AT_ONCE 64 /* elements whose answers a socket's buffer holds for sure */
#define TABLES_MOST 64
#define TAIL_BYTES  8 /* protocol and port: how each key ends */

#define LINK_STEP_NS 20000000
#define LINK_STEPS   15

/* Compare the kernel's answers with what a guest has or wants. */
struct asking {
    const char *guest;
    struct entry *items; /* the chunk asked for */
    size_t n;
    struct conflict *ret;
};

static void keep_guest(struct conflict *c, const struct entry *at,
                       const struct nft_element *el)
{
    const char *guest = el->comment == NULL ? "?" : el->comment;
    c->at = at;
    (void)str_print(c->guest, sizeof c->guest, "%.100s", guest);
    (void)str_print(c->owner, sizeof c->owner, "guest '%.100s'", guest);
}

/* Whether a guest that the tables name is not there: the host or its keeper died, and no
 * command of its state directory has noticed yet.  A guest that is being started has its
 * ports a moment before its link. */
static bool is_dead(struct network *net, const char *guest)
{
    const struct timespec step = {.tv_nsec = LINK_STEP_NS};
    struct network_port p = {.guest_id = guest};
    char name[NETWORK_LINK_BYTES];
    struct netlink_link link;
    if (network_link_name(&p, name) < 0) {
        return false;
    }
    for (unsigned i = 0; i < LINK_STEPS; i++) {
        if (netlink_find_link(&net->route, name, &link) != -ENODEV) {
            return false;
        }
        (void)nanosleep(&step, NULL);
    }
    return true;
}

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
        if (!en->own && ask->ret->at == NULL) {
            keep_guest(ask->ret, en, el);
        }
    }
    return 0;
}

static int read_owner(void *arg, const struct netlink_message *m)
{
    return nft_read_elements(m, compare_owner, arg);
}

static int ask_table(struct network *net, struct entries *list, const char *guest,
                     struct conflict *ret)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct asking ask = {.guest = guest, .ret = ret};
    for (size_t i = 0; i < list->n; i += ASK_AT_ONCE) {
        ask.items = list->items + i;
        ask.n = list->n - i < ASK_AT_ONCE ? list->n - i : ASK_AT_ONCE;
        netlink_batch_reset(&b);
        for (size_t k = 0; k < ask.n; k++) {
            struct nft_element el = entry_element(&ask.items[k], NULL);
            nft_ask_element(&b, net->table, network_maps[ask.items[k].which], &el);
        }
        int r = netlink_send(&net->nft, &b, read_owner, &ask, NULL);
        if (r < 0 && r != -ENOENT) {
            return r;
        }
    }
    return 0;
}

static bool is_that(void *arg, const char *guest)
{
    return strcmp(arg, guest) == 0;
}

int conflict_in_table(struct network *net, struct entries *list, const char *guest,
                      struct conflict *ret)
{
    int r = ask_table(net, list, guest, ret);
    if (r == 0 && ret->at != NULL && is_dead(net, ret->guest)) {
        r = network_drop_published(net, net->table, is_that, ret->guest);
        *ret = (struct conflict){0};
        r = r < 0 ? r : ask_table(net, list, guest, ret);
    }
    return r;
}

/* Tables of other state directories. */
struct others {
    const char *own;
    size_t n;

    struct {
        char name[NETWORK_TABLE_BYTES];
        char home[NETWORK_HOME_BYTES];
    } tables[TABLES_MOST];
};

static int keep_other(void *arg, const char *table, const char *comment)
{
    struct others *o = arg;
    if (o->n < TABLES_MOST && network_is_table(table) && strcmp(table, o->own) != 0) {
        (void)str_print(o->tables[o->n].name, NETWORK_TABLE_BYTES, "%s", table);
        (void)str_print(o->tables[o->n].home, NETWORK_HOME_BYTES, "%s",
                        comment != NULL ? comment : "");
        o->n++;
    }
    return 0;
}

struct comparing {
    const struct entries *list;
    unsigned map;
    struct conflict *ret;
};

/* One address and every address are in each other's way, too. */
static bool is_same_port(const struct entry *en, unsigned map,
                         const struct nft_element *el)
{
    if (el->key_bytes < TAIL_BYTES || (unsigned)en->which % 2 != map % 2) {
        return false;
    }
    const uint8_t *tail = (const uint8_t *)el->key + el->key_bytes - TAIL_BYTES;
    return memcmp(en->key + en->key_bytes - TAIL_BYTES, tail, TAIL_BYTES) == 0 &&
           (en->key_bytes != el->key_bytes ||
            memcmp(en->key, el->key, el->key_bytes) == 0);
}

static int compare_other(void *arg, const struct nft_element *el)
{
    struct comparing *c = arg;
    for (size_t i = 0; i < c->list->n; i++) {
        if (is_same_port(&c->list->items[i], c->map, el)) {
            keep_guest(c->ret, &c->list->items[i], el);
            return 1;
        }
    }
    return 0;
}

static void name_home(struct conflict *c, const char *table, const char *home)
{
    struct stat st;
    bool gone = home[0] == '/' && stat(home, &st) < 0 && errno == ENOENT;
    char guest[OWNER_BYTES];
    (void)str_print(guest, sizeof guest, "%s", c->guest);
    c->guest[0] = '\0';
    if (home[0] != '/') {
        (void)str_print(c->owner, sizeof c->owner,
                        "guest '%.40s' of another state directory (table %s)", guest,
                        table);
    } else {
        (void)str_print(c->owner, sizeof c->owner,
                        "guest '%.40s' of the state directory '%.80s'%s", guest, home,
                        gone ? " (gone: see 'strata network prune')" : "");
    }
}

static int compare_table(struct network *net, const char *table,
                         const struct entries *list, struct conflict *ret)
{
    struct comparing c = {.list = list, .ret = ret};
    int r = 0;
    for (c.map = 0; c.map < 4 && r == 0; c.map++) {
        r = nft_each_element(&net->nft, table, network_maps[c.map], compare_other, &c);
        r = r == -ENOENT ? 0 : r; /* it went just now */
    }
    return r < 0 ? r : 0;
}

int conflict_in_others(struct network *net, const struct entries *list,
                       struct conflict *ret)
{
    SCOPED(scope_free) struct others *o = calloc(1, sizeof *o);
    if (o == NULL) {
        return -ENOMEM;
    }
    o->own = net->table;
    int r = nft_each_table(&net->nft, keep_other, o);
    for (size_t i = 0; i < o->n && r == 0 && ret->at == NULL; i++) {
        r = compare_table(net, o->tables[i].name, list, ret);
        if (r == 0 && ret->at != NULL && is_dead(net, ret->guest)) {
            /* As the next command of that state directory would. */
            r = network_drop_published(net, o->tables[i].name, is_that, ret->guest);
            *ret = (struct conflict){0};
            r = r < 0 ? r : compare_table(net, o->tables[i].name, list, ret);
        }
        if (r == 0 && ret->at != NULL) {
            name_home(ret, o->tables[i].name, o->tables[i].home);
        }
    }
    return r;
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

static bool is_zero(const struct network_ip *ip)
{
    static const uint8_t zero[16];
    return memcmp(ip->bytes, zero, sizeof zero) == 0;
}

int conflict_on_host(const struct entries *list, struct conflict *ret, struct err *e)
{
    char ip[NETWORK_TEXT_BYTES];
    for (size_t i = 0; i < list->n; i++) {
        const struct entry *en = &list->items[i];
        int r = try_bind(en);
        if (r == -EADDRINUSE) {
            ret->at = en;
            network_port_holder(en->proto == IPPROTO_UDP, en->port, ret->owner,
                                sizeof ret->owner);
            return 0;
        }
        if (r == -EADDRNOTAVAIL && !is_zero(&en->host)) {
            return err_set(e, r, "cannot publish port %u/%s: this host has no address %s",
                           en->port, entry_proto(en), network_ip_text(&en->host, ip));
        }
    }
    return 0;
}

int conflict_refuse(const struct conflict *c, struct err *e)
{
    return err_set(e, -EADDRINUSE, "cannot publish port %u/%s: %s has it", c->at->port,
                   entry_proto(c->at), c->owner);
}
