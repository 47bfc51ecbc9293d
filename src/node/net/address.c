/* address.c - the address of a guest.
 *
 * /addresses/NAME/ADDRESS is the ID of the guest that has it: from its creation until
 * it is deleted. */
#include "node/net/private.h"

#include <errno.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/kv.h"
#include "node/private.h"
#include "node/record.h"

#define CLAIM_TRIES 16

struct taken {
    struct kv *kv;
    const char *prefix;
};

/* A store that cannot be asked says so when the address is claimed. */
static bool is_taken(void *arg, const struct network_ip *ip)
{
    const struct taken *t = arg;
    struct kv_item item = {0};
    char key[KV_KEY_BYTES];
    char text[NETWORK_TEXT_BYTES];
    bool found;

    (void)str_print(key, sizeof key, "%s%s", t->prefix, network_ip_text(ip, text));
    found = kv_get(t->kv, key, &item, NULL) == 0;
    kv_item_fini(&item);
    return found;
}

/* /addresses/NAME/ADDRESS for the guest, while the network is there: one that is being
 * deleted looks for such keys with the same transaction that takes its own away. */
static int claim_key(struct node *n, const char *network, const char *key, const char *id,
                     struct err *e)
{
    SCOPED(record_claims_fini) struct record_claims c = {0};
    SCOPED(scope_json) json_t *made = NULL;
    int r;

    strv_add(&c.take, key);
    strv_addf(&c.need, "/networks/%s", network);
    r = record_add(n, &c, id, NULL, e);
    if (r == -EEXIST && net_get(n, network, &made, NULL) == -ENOENT) {
        r = err_set(e, -ENOENT, "network '%s' was deleted meanwhile", network);
    }
    return r;
}

static int claim_wanted(struct node *n, const char *prefix, const char *wanted,
                        const struct net_plan *p, const char *id, struct err *e)
{
    char key[KV_KEY_BYTES];
    struct network_ip ip;
    int r;

    if (network_ip_parse(wanted, &ip) < 0 || !network_cidr_has(&p->spec.subnet4, &ip)) {
        return err_set(e, -EINVAL, "address '%s' is not one of network '%s'", wanted,
                       p->spec.name);
    }
    (void)str_print(key, sizeof key, "%s%s", prefix, wanted);
    r = claim_key(n, p->spec.name, key, id, e);
    return r == -EEXIST ? err_set(e, -EADDRINUSE, "address '%s' is taken", wanted) : r;
}

int net_claim_address(struct node *n, struct net_plan *p, const char *id,
                      const char *wanted, struct err *e)
{
    char prefix[128];
    char key[KV_KEY_BYTES];
    char text[NETWORK_TEXT_BYTES];
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    (void)str_print(prefix, sizeof prefix, "/addresses/%s/", p->spec.name);
    if (r == 0 && wanted != NULL) {
        (void)network_ip_parse(wanted, &p->port.addr4);
        return claim_wanted(n, prefix, wanted, p, id, e);
    }
    for (int i = 0; r == 0 && i < CLAIM_TRIES; i++) {
        struct taken t = {.kv = kv, .prefix = prefix};

        r = network_pick_address(&p->spec.subnet4, &p->spec.gateway4, is_taken, &t,
                                 &p->port.addr4);
        if (r < 0) {
            return err_set(e, r, "network '%s' has no free address", p->spec.name);
        }
        (void)str_print(key, sizeof key, "%s%s", prefix,
                        network_ip_text(&p->port.addr4, text));
        r = claim_key(n, p->spec.name, key, id, e);
        if (r != -EEXIST) {
            return r;
        }
        r = 0;
    }
    return r < 0
               ? r
               : err_set(e, -EBUSY, "cannot take an address: too many commands at once");
}

static json_t *plain_network(const char *driver)
{
    return json_pack("{s:s, s:s}", "name", driver, "driver", driver);
}

static int allocate_on_bridge(struct node *n, struct guest *g, const char *name,
                              json_t **ret, struct err *e)
{
    const char *wanted = json_string_value(json_object_get(guest_config(g), "ip"));
    const json_t *ips = json_object_get(guest_config(g), "ip");
    SCOPED(scope_json) json_t *made = NULL;
    struct net_plan p;
    char table[32];
    int r = net_need(n, name, &made, e);

    if (json_is_array(ips)) {
        wanted = json_string_value(json_array_get(ips, 0));
    }
    if (r == 0) {
        r = net_plan_read(made, g->id, &p, e);
    }
    if (r == 0) {
        r = net_claim_address(n, &p, g->id, wanted, e);
    }
    if (r < 0) {
        return r;
    }
    if (p.spec.subnet6.ip.version != 0 && !guest_is_machine(g)) { /* nobody tells it */
        (void)network_pair_address(&p.spec.subnet4, &p.spec.subnet6, &p.port.addr4,
                                   &p.port.addr6);
    }
    net_table_name(n, table);
    (void)json_object_set_new(made, "table", json_string(table));
    (void)json_object_set_new(made, "addr4", net_ip_json(&p.port.addr4));
    (void)json_object_set_new(made, "addr6", net_ip_json(&p.port.addr6));
    *ret = made;
    made = NULL;
    return 0;
}

/* A guest cannot have a port of the host twice. */
static int check_twice(const struct net_plan *p, struct err *e)
{
    for (size_t i = 0; i < p->port.n_publishes; i++) {
        for (size_t k = 0; k < i; k++) {
            const struct network_publish *a = &p->publishes[i];
            const struct network_publish *b = &p->publishes[k];

            if (network_publish_clashes(a, b)) {
                return err_set(e, -EINVAL, "cannot publish port %u/%s twice",
                               a->host_port > b->host_port ? a->host_port : b->host_port,
                               a->udp ? "udp" : "tcp");
            }
        }
    }
    return 0;
}

int net_allocate(struct node *n, struct guest *g, struct err *e)
{
    const json_t *config = guest_config(g);
    const char *name = json_string_value(json_object_get(config, "network"));
    const json_t *publish = json_object_get(config, "publish");
    json_t *slot = json_object_get(json_object_get(g->record, "network"), "slot");
    struct net_plan p;
    json_t *made = NULL;
    int r = 0;

    if (name == NULL || strcmp(name, "auto") == 0) {
        name = n->rootless ? "user" : "default";
    }
    if (strcmp(name, "host") == 0 || strcmp(name, "none") == 0 ||
        strcmp(name, "user") == 0) {
        made = plain_network(name);
    } else if (n->rootless) {
        return err_set(
            e, -EPERM,
            "cannot join network '%s': only root can; without root there are user, "
            "host and none",
            name);
    } else {
        r = allocate_on_bridge(n, g, name, &made, e);
    }
    if (r < 0) {
        return r;
    }
    if (json_array_size(publish) != 0) {
        (void)json_object_set(made, "publish", (json_t *)(uintptr_t)publish);
    }
    if (json_integer_value(json_object_get(config, "network_rate")) > 0) {
        (void)json_object_set(made, "rate", json_object_get(config, "network_rate"));
    }
    if (slot != NULL) { /* of a machine's card that comes (verb/life/cable.c) */
        (void)json_object_set(made, "slot", slot);
    }
    (void)json_object_set_new(g->record, "network", made);
    (void)json_object_set_new(guest_config(g), "network", json_string(name));
    r = net_plan_read(made, g->id, &p, e);
    if (r == 0) {
        r = check_twice(&p, e);
    }
    return r < 0 ? r : guest_save(n, g, e);
}

int net_release(struct node *n, const struct guest *g, struct err *e)
{
    const char *network = net_bridge_name(g);
    const char *address = json_string_value(
        json_object_get(json_object_get(g->record, "network"), "addr4"));
    char key[KV_KEY_BYTES];
    const char *keys[1] = {key};
    int r;

    if (network == NULL || address == NULL) {
        return 0;
    }
    r = net_change_hosts(n, g, network, false, e);
    (void)str_print(key, sizeof key, "/addresses/%s/%s", network, address);
    return r < 0 ? r : record_release(n, keys, 1, e);
}
