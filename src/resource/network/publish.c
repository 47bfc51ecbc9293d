/* Published ports: elements of the four maps, each with its guest in the comment.
 *
 * The kernel refuses a key that is there, so that of two guests that race for a
 * port one gets it; the comment tells the other whose it is.  What a guest takes
 * back it first looks up: the port may be another's meanwhile.  Other state
 * directories' tables are asked after the port was entered: of two that race, at
 * least one sees the other. */
#include "resource/network/network.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/network/published.h"

static int add_entries(struct network *net, const struct entries *list, const char *guest)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    size_t n = 0;
    nft_begin(&b);
    for (size_t i = 0; i < list->n; i++) {
        if (!list->items[i].own) {
            struct nft_element el = entry_element(&list->items[i], guest);
            nft_add_element(&b, net->table, network_maps[list->items[i].which], &el);
            n++;
        }
    }
    nft_end(&b);
    return n == 0 ? 0 : netlink_send(&net->nft, &b, NULL, NULL, NULL);
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

/* Whatever keeps the entries from being published, but guests of our own table. */
static int check_host(struct network *net, struct entries *list, const char *guest,
                      struct conflict *c, struct err *e)
{
    struct conflict owner = {0};
    struct netlink *nft;
    int r = conflict_on_host(list, c, e);
    if (r < 0 || c->at == NULL || network_nft(net, &nft) < 0) {
        return r;
    }
    /* A forwarder listens for a guest that the tables know better. */
    if ((conflict_in_table(net, list, guest, &owner) == 0 && owner.at != NULL) ||
        (conflict_in_others(net, list, &owner) == 0 && owner.at != NULL)) {
        *c = owner;
    }
    return 0;
}

static int take_back(struct network *net, const struct entries *list)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    size_t n = 0;
    nft_begin(&b);
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i].own) {
            struct nft_element el = entry_element(&list->items[i], NULL);
            nft_delete_element(&b, net->table, network_maps[list->items[i].which], &el);
            n++;
        }
    }
    nft_end(&b);
    int r = n == 0 ? 0 : netlink_send(&net->nft, &b, NULL, NULL, NULL);
    net->took_back = net->took_back || n > 0;
    return r == -ENOENT ? 0 : r;
}

/* Enter what is not there yet; another guest's port is refused. */
static int claim(struct network *net, struct entries *list, const struct network_port *p,
                 struct err *e)
{
    struct conflict c = {0};
    int r = add_entries(net, list, p->guest_id);
    if (r == -EEXIST) {
        r = conflict_in_table(net, list, p->guest_id, &c);
        if (r == 0 && c.at != NULL) {
            return conflict_refuse(&c, e);
        }
        r = r < 0 ? r : add_entries(net, list, p->guest_id);
    }
    if (r == 0) {
        r = conflict_in_others(net, list, &c);
    }
    if (r == 0 && c.at != NULL) {
        struct conflict own = {0};
        (void)conflict_in_table(net, list, p->guest_id, &own);
        (void)take_back(net, list);
        return conflict_refuse(&c, e);
    }
    if (r == 0) {
        network_forget_flows(net, list);
    }
    return r < 0 ? err_sys(e, r, "cannot publish ports of guest '%s'", p->guest_id) : 0;
}

int network_publish(struct network *net, const struct network_spec *s,
                    const struct network_port *p, const struct network_publish *pub,
                    size_t n, struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    struct conflict c = {0};
    struct netlink *nft;
    if (n == 0 || s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    if (s->internal) {
        return err_set(e, -EINVAL, "cannot publish ports on network '%s': it is internal",
                       s->name);
    }
    int r = entries_list(p, pub, n, &list, e);
    if (r == 0) {
        r = check_host(net, &list, p->guest_id, &c, e);
    }
    if (r == 0 && c.at != NULL) {
        return conflict_refuse(&c, e);
    }
    if (r < 0 || network_nft(net, &nft) < 0) {
        return r;
    }
    r = claim(net, &list, p, e);
    if (r == 0 && network_bridge_filters()) {
        allow_return(net, p);
    }
    return r;
}

int network_restore(struct network *net, const struct network_spec *s,
                    const struct network_port *p, struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink_link bridge;
    struct netlink *nft;
    char name[NETWORK_LINK_BYTES];
    if (s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    int r = network_link_name(p, name);
    if (r == 0) {
        r = netlink_find_link(&net->route, s->bridge, &bridge);
    }
    if (r == 0) {
        netlink_add_master(&b, name, bridge.index);
        if (network_bridge_filters()) {
            netlink_add_hairpin(&b, name);
        }
        netlink_add_settle(&b, name);
        netlink_add_settle(&b, s->bridge);
        r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot link guest '%s' to network '%s' again", p->guest_id,
                       s->name);
    }
    r = entries_list(p, p->publishes, p->n_publishes, &list, e);
    return r < 0 || list.n == 0 || network_nft(net, &nft) < 0 ? r
                                                              : claim(net, &list, p, e);
}

int network_publish_check(struct network *net, const struct network_port *p,
                          const struct network_publish *pub, size_t n,
                          char owner[NETWORK_TEXT_BYTES], struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    struct conflict c = {0};
    struct netlink *nft;
    int r = entries_list(p, pub, n, &list, e);
    owner[0] = '\0';
    if (r == 0) {
        r = check_host(net, &list, p->guest_id, &c, e);
    }
    if (r == 0 && c.at == NULL && network_nft(net, &nft) == 0) {
        r = conflict_in_table(net, &list, p->guest_id, &c);
        if (r == 0 && c.at == NULL) {
            r = conflict_in_others(net, &list, &c);
        }
        if (network_withheld(r)) {
            r = 0;
        }
        if (r < 0) {
            return err_sys(e, r, "cannot list published ports");
        }
    }
    if (r == 0 && c.at != NULL) {
        (void)str_print(owner, NETWORK_TEXT_BYTES, "%s", c.guest);
        return conflict_refuse(&c, e);
    }
    return r;
}

int network_unpublish(struct network *net, const struct network_port *p,
                      const struct network_publish *pub, size_t n, struct err *e)
{
    SCOPED(entries_fini) struct entries list = {0};
    struct conflict c = {0};
    struct netlink *nft;
    if (n == 0 || network_nft(net, &nft) < 0) {
        return 0;
    }
    int r = entries_list(p, pub, n, &list, e);
    if (r == 0) {
        r = conflict_in_table(net, &list, p->guest_id, &c);
    }
    if (r == 0) {
        r = take_back(net, &list);
    }
    if (r == 0) {
        network_forget_flows(net, &list);
    }
    return r < 0 ? err_sys(e, r, "cannot take back ports of guest '%s'", p->guest_id) : 0;
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

int network_drop_published(struct network *net, const char *table,
                           bool (*gone)(void *arg, const char *guest), void *arg)
{
    struct dropping d = {.table = table, .gone = gone, .arg = arg};
    struct netlink *nft;
    if (network_nft(net, &nft) < 0) {
        return 0;
    }
    int r = 0;
    nft_begin(&d.batch);
    for (unsigned i = 0; i < 4 && r == 0; i++) {
        d.map = network_maps[i];
        r = nft_each_element(nft, table, d.map, drop_one, &d);
    }
    nft_end(&d.batch);
    if (r == 0 && d.n > 0) {
        r = netlink_send(nft, &d.batch, NULL, NULL, NULL);
    }
    netlink_batch_fini(&d.batch);
    return r == -ENOENT ? 0 : r < 0 ? r : d.n;
}
