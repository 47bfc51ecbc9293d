/* Bridges and tables of state directories that somebody deleted by hand.
 *
 * Bridge (as its alias) and table (as its comment) tell the directory they belong to;
 * the table's name, and with it the bridge's MAC address, follow from that directory.
 * Only what passes this test is ours; and as long as a guest is linked to a bridge,
 * nothing of that directory is an orphan. */
#include "resource/network/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/network/private.h"

#define BRIDGES_MOST 512

struct found {
    struct network_orphan orphan;
    uint32_t index;
    bool busy;
};

struct looking {
    struct found *items; /* owned */
    size_t n;
};

static bool is_gone(const char *home)
{
    struct stat st;
    return home[0] == '/' && stat(home, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

static void keep(struct looking *l, bool is_bridge, const char *name, const char *home,
                 uint32_t index)
{
    if (l->n < BRIDGES_MOST) {
        struct found *f = &l->items[l->n++];
        *f = (struct found){.orphan = {.is_bridge = is_bridge}, .index = index};
        (void)str_print(f->orphan.name, sizeof f->orphan.name, "%s", name);
        (void)str_print(f->orphan.home, sizeof f->orphan.home, "%s", home);
    }
}

static int look_at_link(void *arg, const struct netlink_link *link)
{
    char table[NETWORK_TABLE_BYTES];
    uint8_t mac[6];
    if (strcmp(link->kind, "bridge") != 0 || !is_gone(link->alias)) {
        return 0;
    }
    network_table_name(link->alias, table);
    network_derive_mac(mac, table, link->name);
    if (memcmp(mac, link->mac, sizeof mac) == 0) {
        keep(arg, true, link->name, link->alias, link->index);
    }
    return 0;
}

static int look_at_table(void *arg, const char *table, const char *comment)
{
    char own[NETWORK_TABLE_BYTES];
    if (comment != NULL && is_gone(comment)) {
        network_table_name(comment, own);
        if (strcmp(own, table) == 0) {
            keep(arg, false, table, comment, 0);
        }
    }
    return 0;
}

/* A link on one of the bridges: its directory's things are in use. */
static int look_at_member(void *arg, const struct netlink_link *link)
{
    struct looking *l = arg;
    for (size_t i = 0; i < l->n && link->master != 0; i++) {
        if (l->items[i].index != link->master) {
            continue;
        }
        for (size_t k = 0; k < l->n; k++) {
            l->items[k].busy |=
                strcmp(l->items[k].orphan.home, l->items[i].orphan.home) == 0;
        }
    }
    return 0;
}

int network_orphans(struct network *net, network_orphan_fn *fn, void *arg, struct err *e)
{
    struct looking l = {.items = fault_calloc(BRIDGES_MOST, sizeof *l.items)};
    struct netlink *nft;
    int r = l.items == NULL ? -ENOMEM : 0;
    if (r == 0) {
        r = netlink_each_link(&net->route, look_at_link, &l);
    }
    if (r == 0 && network_nft(net, &nft) == 0) {
        r = nft_each_table(nft, look_at_table, &l);
        r = network_withheld(r) ? 0 : r;
    }
    if (r == 0) {
        r = netlink_each_link(&net->route, look_at_member, &l);
    }
    if (r < 0) {
        (void)err_sys(e, r, "cannot look for networks of deleted state directories");
    }
    for (size_t i = 0; i < l.n && r == 0; i++) {
        if (!l.items[i].busy) {
            r = fn(arg, &l.items[i].orphan);
        }
    }
    free(l.items);
    return r;
}

int network_remove_orphan(struct network *net, const struct network_orphan *o,
                          struct err *e)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink *nft;
    int r;
    if (o->is_bridge) {
        netlink_add_delete(&b, o->name);
        r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    } else if (network_nft(net, &nft) == 0) {
        nft_begin(&b);
        nft_delete_table(&b, o->name);
        nft_end(&b);
        r = netlink_send(nft, &b, NULL, NULL, NULL);
    } else {
        r = 0;
    }
    return r < 0 && r != -ENODEV && r != -ENOENT
               ? err_sys(e, r, "cannot remove %s '%s'", o->is_bridge ? "bridge" : "table",
                         o->name)
               : 0;
}
