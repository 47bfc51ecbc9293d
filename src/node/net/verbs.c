/* verbs.c - the commands of the group `network`. */
#include "node/net/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "node/private.h"
#include "node/record.h"

#define DOWN_STEP_MS 20
#define DOWN_MOST_MS 1000 /* links are gone within a second */

static int order_to_spec(const json_t *order, struct network_spec *s, struct err *e)
{
    const char *subnet = NULL;
    const char *subnet6 = NULL;
    const char *gateway = NULL;
    int r = json_want_str(order, "", "name", &s->name, e);

    if (r == 0) {
        r = json_opt_str(order, "", "subnet", &subnet, e);
    }
    if (r == 0) {
        r = json_opt_str(order, "", "subnet6", &subnet6, e);
    }
    if (r == 0) {
        r = json_opt_str(order, "", "gateway", &gateway, e);
    }
    if (r < 0) {
        return r;
    }
    if (!word_is_name(s->name) || strcmp(s->name, "host") == 0 ||
        strcmp(s->name, "none") == 0 || strcmp(s->name, "user") == 0) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a network", s->name);
    }
    if (subnet != NULL &&
        (network_cidr_parse(subnet, &s->subnet4) < 0 || s->subnet4.ip.version != 4)) {
        return err_set(e, -EINVAL, "'%s' is not a subnet like 10.1.2.0/24", subnet);
    }
    if (subnet6 != NULL &&
        (network_cidr_parse(subnet6, &s->subnet6) < 0 || s->subnet6.ip.version != 6)) {
        return err_set(e, -EINVAL, "'%s' is not a subnet like fd00:1::/64", subnet6);
    }
    if (gateway != NULL &&
        (network_ip_parse(gateway, &s->gateway4) < 0 || s->gateway4.version != 4)) {
        return err_set(e, -EINVAL, "'%s' is not an IPv4 address", gateway);
    }
    if (gateway != NULL && subnet != NULL &&
        !network_cidr_has(&s->subnet4, &s->gateway4)) {
        return err_set(e, -EINVAL, "the gateway '%s' is not within subnet '%s'", gateway,
                       subnet);
    }
    s->driver = NETWORK_BRIDGE;
    s->internal = json_is_true(json_object_get(order, "internal"));
    s->mtu = (uint32_t)json_integer_value(json_object_get(order, "mtu"));
    return 0;
}

static int network_list(struct node *n, json_t **ret, struct err *e)
{
    SCOPED(scope_free) struct network_spec *specs = calloc(NETS_MOST, sizeof *specs);
    SCOPED(scope_json) json_t *records = NULL;
    SCOPED(scope_json) json_t *nets = NULL;
    size_t count;
    size_t i;
    json_t *made;
    int r = specs == NULL ? err_set(e, -ENOMEM, "cannot list networks: no memory")
                          : net_all(n, &nets, specs, &count, e);

    if (r == 0) {
        r = guest_all(n, &records, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_array();
    json_array_foreach(nets, i, made)
    {
        (void)json_array_append_new(*ret, net_shown(n, made, records, false));
    }
    return 0;
}

/* Put what a verb found or made as it is shown. */
static int show(struct node *n, json_t **made, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    int r = guest_all(n, &records, e);
    json_t *shown = r == 0 ? net_shown(n, *made, records, true) : NULL;

    json_decref(*made);
    *made = shown;
    return r;
}

/* No guest has an address here, but the links of those deleted just now go with their
 * namespaces, a moment later. */
static int bring_down(struct network *net, const struct network_spec *spec, struct err *e)
{
    const struct timespec step = {.tv_nsec = DOWN_STEP_MS * 1000000L};
    int r = -EBUSY;

    for (int waited = 0; r == -EBUSY && waited < DOWN_MOST_MS; waited += DOWN_STEP_MS) {
        struct err said = {0};

        if (waited > 0) {
            (void)nanosleep(&step, NULL);
        }
        r = network_down(net, spec, &said);
        if (r < 0 && (r != -EBUSY || waited + DOWN_STEP_MS >= DOWN_MOST_MS)) {
            return err_set(e, r, "%s", said.text);
        }
    }
    return r;
}

/* Guests that have an address here.  One of a guest that is gone (a full disk kept it
 * from being given back) is given back now. */
static size_t count_users(struct node *n, const struct kv_items *items)
{
    size_t users = 0;

    for (size_t i = 0; i < items->n; i++) {
        const char *keys[1] = {items->items[i].key};
        struct guest g = {0};

        if (guest_load(n, items->items[i].value, &g, NULL) == 0) {
            users += 1;
        } else {
            (void)record_release(n, keys, 1, NULL);
        }
        guest_fini(&g);
    }
    return users;
}

static int network_remove(struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_json) json_t *made = NULL;
    char prefix[KV_KEY_BYTES];
    char table[32];
    struct network *net = NULL;
    size_t users;
    struct kv_items items = {0};
    struct net_plan p;
    int r = net_get(n, name, &made, e);

    if (r < 0) {
        return r == -ENOENT ? err_set(e, r, "network '%s' does not exist", name) : r;
    }
    (void)str_print(prefix, sizeof prefix, "/addresses/%s/", name);
    r = record_items(n, prefix, &items, e);
    users = r == 0 ? count_users(n, &items) : 0;
    if (users != 0) {
        r = err_set(e, -EBUSY, "cannot delete network '%s': %zu %s on it", name, users,
                    users == 1 ? "guest is" : "guests are");
    }
    kv_items_fini(&items);
    net_table_name(n, table);
    if (r == 0) {
        r = net_plan_read(made, "000000000000", &p, e);
    }
    if (r == 0) {
        r = network_open(table, &net, e);
    }
    if (r == 0) {
        r = bring_down(net, &p.spec, e);
    }
    network_close(net);
    if (r == 0) {
        r = net_forget(n, name, e);
    }
    if (r == 0) {
        net_forget_hosts(n, name);
    }
    return r;
}

int node_network(struct node *n, const char *op, const json_t *order, json_t **ret,
                 struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));
    struct network_spec s = {0};
    int r;

    *ret = NULL;
    if (strcmp(op, "list") == 0) {
        return network_list(n, ret, e);
    }
    if (n->rootless) {
        return err_set(e, -EPERM, "cannot %s a network: only root has networks", op);
    }
    if (strcmp(op, "create") == 0) {
        r = order_to_spec(order, &s, e);
        if (r == 0) {
            r = net_create(n, &s, ret, e);
        }
        return r < 0 ? r : show(n, ret, e);
    }
    if (strcmp(op, "prune") == 0) {
        return net_prune(n, json_is_true(json_object_get(order, "dry_run")), ret, e);
    }
    if (name == NULL) {
        return err_set(e, -EINVAL, "no network was named");
    }
    if (strcmp(op, "inspect") == 0) {
        r = net_get(n, name, ret, e);
        if (r < 0) {
            return r == -ENOENT ? err_set(e, r, "network '%s' does not exist", name) : r;
        }
        return show(n, ret, e);
    }
    return network_remove(n, name, e);
}
