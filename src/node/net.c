/* net.c - networks in the store, and what a guest has of one.
 *
 *     /networks/NAME            the network, a JSON object
 *     /addresses/NAME/ADDRESS   ID of the guest that has it
 *
 * A guest gets its address when it is created and keeps it until it is deleted.
 * The record's "network" member holds all that a worker needs to link it without
 * the store: see `net_plan_read`.
 *
 * Names: one hosts file per network, RUN/networks/NAME.hosts, is mounted into every
 * guest of it.  A line per guest ends in "# ID"; the file is changed in place under
 * its own lock, so that all guests see a new name at once. */
#include "node/net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/private.h"
#include "node/record.h"

#define HOSTS_MOST_BYTES (4 << 20)
#define HOSTS_HEAD       "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
#define DOWN_STEP_MS     20
#define DOWN_MOST_MS     1000 /* links are gone within a second */
#define CLAIM_TRIES      16
#define NETS_MOST        256

/* The table of a state directory: the usual one has the plain name. */
void net_table_name(const struct node *n, char out[32])
{
    uint32_t h = 2166136261U; /* FNV-1a, 32 bits */

    if (strcmp(n->state, "/var/lib/strata") == 0) {
        (void)str_print(out, 32, "%s", NETWORK_TABLE);
        return;
    }
    for (const char *p = n->state; *p != '\0'; p++) {
        h = (h ^ (unsigned char)*p) * 16777619U;
    }
    (void)str_print(out, 32, NETWORK_TABLE "_%08x", (unsigned)h);
}

static json_t *cidr_json(const struct network_cidr *c)
{
    char text[NETWORK_TEXT_BYTES];

    return c->ip.version == 0 ? json_null() : json_string(network_cidr_text(c, text));
}

static json_t *ip_json(const struct network_ip *ip)
{
    char text[NETWORK_TEXT_BYTES];

    return ip->version == 0 ? json_null() : json_string(network_ip_text(ip, text));
}

static json_t *spec_to_json(const struct network_spec *s)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:i}", "name", s->name,
                     "driver", network_driver_name(s->driver), "bridge", s->bridge,
                     "subnet4", cidr_json(&s->subnet4), "subnet6", cidr_json(&s->subnet6),
                     "gateway4", ip_json(&s->gateway4), "gateway6", ip_json(&s->gateway6),
                     "internal", s->internal, "mtu", (int)s->mtu);
}

static void read_ip(const json_t *j, const char *key, struct network_ip *ret)
{
    const char *text = json_string_value(json_object_get(j, key));

    if (text == NULL || network_ip_parse(text, ret) < 0) {
        memset(ret, 0, sizeof *ret);
    }
}

static void read_cidr(const json_t *j, const char *key, struct network_cidr *ret)
{
    const char *text = json_string_value(json_object_get(j, key));

    if (text == NULL || network_cidr_parse(text, ret) < 0) {
        memset(ret, 0, sizeof *ret);
    }
}

static int spec_from_json(const json_t *j, struct network_spec *s, struct err *e)
{
    const char *driver = NULL;
    const char *bridge = "";
    int r = json_want_str(j, "network", "name", &s->name, e);

    if (r == 0) {
        r = json_want_str(j, "network", "driver", &driver, e);
    }
    if (r < 0) {
        return r;
    }
    s->driver = network_driver_named(driver);
    if (s->driver == NETWORK_DRIVER_COUNT) {
        return err_set(e, -EINVAL, "network '%s' has an unknown driver '%s'", s->name,
                       driver);
    }
    (void)json_opt_str(j, "network", "bridge", &bridge, NULL);
    (void)str_print(s->bridge, sizeof s->bridge, "%s", bridge);
    read_cidr(j, "subnet4", &s->subnet4);
    read_cidr(j, "subnet6", &s->subnet6);
    read_ip(j, "gateway4", &s->gateway4);
    read_ip(j, "gateway6", &s->gateway6);
    s->internal = json_is_true(json_object_get(j, "internal"));
    s->mtu = (uint32_t)json_integer_value(json_object_get(j, "mtu"));
    return 0;
}

int net_plan_read(const json_t *network, const char *id, struct net_plan *ret,
                  struct err *e)
{
    const json_t *list = json_object_get(network, "publish");
    size_t i;
    json_t *item;
    int r;

    memset(ret, 0, sizeof *ret);
    r = spec_from_json(network, &ret->spec, e);
    if (r < 0) {
        return r;
    }
    ret->table = json_string_value(json_object_get(network, "table"));
    ret->port.guest_id = id;
    read_ip(network, "addr4", &ret->port.addr4);
    read_ip(network, "addr6", &ret->port.addr6);
    if (ret->port.addr4.version == 4) {
        /* The address tells the MAC: when it passes to another guest, what neighbours
         * remember of it stays right. */
        const uint8_t *ip = ret->port.addr4.bytes;
        const uint8_t mac[6] = {0x02, 0x53, ip[0], ip[1], ip[2], ip[3]};

        memcpy(ret->port.mac, mac, sizeof mac);
    }
    json_array_foreach(list, i, item)
    {
        if (i >= NET_PUBLISH_MOST) {
            return err_set(e, -E2BIG, "more than %d ports are published",
                           NET_PUBLISH_MOST);
        }
        r = network_publish_parse(json_string_value(item), &ret->publishes[i], e);
        if (r < 0) {
            return r;
        }
    }
    ret->port.publishes = ret->publishes;
    ret->port.n_publishes = json_array_size(list);
    return 0;
}

static int get_network(struct node *n, const char *name, json_t **ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    struct kv_item item;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    if (!word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a network", name);
    }
    (void)str_print(key, sizeof key, "/networks/%s", name);
    r = kv_get(kv, key, &item, e);
    if (r < 0) {
        return r;
    }
    r = json_parse(item.value, item.len, key, ret, e);
    kv_item_fini(&item);
    return r;
}

/* The specs of all networks, for choosing a subnet beside them. */
static int other_networks(struct node *n, json_t **ret_list, struct network_spec *specs,
                          size_t *ret_n, struct err *e)
{
    struct kv_items items;
    struct kv *kv;
    size_t count = 0;
    int r = node_kv(n, &kv, e);

    if (r == 0) {
        r = kv_list(kv, "/networks/", &items, e);
    }
    if (r < 0) {
        return r;
    }
    *ret_list = json_array();
    for (size_t i = 0; i < items.n && count < NETS_MOST; i++) {
        json_t *j = NULL;

        if (json_parse(items.items[i].value, items.items[i].len, "network", &j, NULL) ==
            0) {
            (void)json_array_append_new(*ret_list, j);
            memset(&specs[count], 0, sizeof specs[count]);
            if (spec_from_json(j, &specs[count], NULL) == 0) {
                count += 1;
            }
        }
    }
    kv_items_fini(&items);
    *ret_n = count;
    return 0;
}

static int create_network(struct node *n, struct network_spec *s, json_t **ret,
                          struct err *e)
{
    SCOPED(scope_free) struct network_spec *others = calloc(NETS_MOST, sizeof *others);
    SCOPED(scope_json) json_t *list = NULL;
    SCOPED(scope_free) char *text = NULL;
    struct network *net = NULL;
    json_t *made = NULL;
    char table[32];
    char key[KV_KEY_BYTES];
    size_t count = 0;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (others == NULL) {
        return err_set(e, -ENOMEM, "cannot create network '%s': no memory", s->name);
    }
    net_table_name(n, table);
    if (r == 0) {
        r = other_networks(n, &list, others, &count, e);
    }
    if (r == 0) {
        r = network_open(table, &net, e);
    }
    if (r == 0) {
        r = network_choose(net, s, true, others, count, e);
    }
    network_close(net);
    if (r < 0) {
        return r;
    }
    made = spec_to_json(s);
    text = made != NULL ? json_dumps(made, JSON_COMPACT) : NULL;
    if (text == NULL) {
        json_decref(made);
        return err_set(e, -ENOMEM, "cannot create network '%s': no memory", s->name);
    }
    (void)str_print(key, sizeof key, "/networks/%s", s->name);
    r = kv_put_if(kv, key, kv_text(text), 0, NULL, e);
    if (r < 0) {
        json_decref(made);
        return r == -EEXIST ? err_set(e, r, "network '%s' exists already", s->name) : r;
    }
    *ret = made;
    return 0;
}

/* The network, made first when it is the default one. */
static int need_network(struct node *n, const char *name, json_t **ret, struct err *e)
{
    struct network_spec s = {.name = name, .driver = NETWORK_BRIDGE};
    int r = get_network(n, name, ret, e);

    if (r == -ENOENT && strcmp(name, "default") == 0) {
        struct err first = {0};

        r = create_network(n, &s, ret, &first);
        if (r == -EEXIST) { /* another command was quicker */
            r = get_network(n, name, ret, e);
        } else if (r < 0) {
            r = err_set(e, r, "%s", first.text);
        }
    }
    if (r == -ENOENT) {
        r = err_set(e, r, "network '%s' does not exist (see 'strata network list')",
                    name);
    }
    return r;
}

struct taken {
    struct kv_items items;
    const char *prefix;
};

static bool is_taken(void *arg, const struct network_ip *ip)
{
    const struct taken *t = arg;
    char text[NETWORK_TEXT_BYTES];

    (void)network_ip_text(ip, text);
    for (size_t i = 0; i < t->items.n; i++) {
        if (strcmp(t->items.items[i].key + strlen(t->prefix), text) == 0) {
            return true;
        }
    }
    return false;
}

static int claim_wanted(struct node *n, const char *prefix, const char *wanted,
                        const struct net_plan *p, const char *id, struct err *e)
{
    char key[KV_KEY_BYTES];
    const char *keys[1] = {key};
    struct network_ip ip;
    int r;

    if (network_ip_parse(wanted, &ip) < 0 || !network_cidr_has(&p->spec.subnet4, &ip)) {
        return err_set(e, -EINVAL, "address '%s' is not one of network '%s'", wanted,
                       p->spec.name);
    }
    (void)str_print(key, sizeof key, "%s%s", prefix, wanted);
    r = record_claim(n, keys, 1, id, NULL, e);
    return r == -EEXIST ? err_set(e, -EADDRINUSE, "address '%s' is taken", wanted) : r;
}

static int claim_address(struct node *n, struct net_plan *p, const char *id,
                         const char *wanted, struct err *e)
{
    char prefix[128];
    char key[KV_KEY_BYTES];
    char text[NETWORK_TEXT_BYTES];
    const char *keys[1] = {key};
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    (void)str_print(prefix, sizeof prefix, "/addresses/%s/", p->spec.name);
    if (r == 0 && wanted != NULL) {
        (void)network_ip_parse(wanted, &p->port.addr4);
        return claim_wanted(n, prefix, wanted, p, id, e);
    }
    for (int i = 0; r == 0 && i < CLAIM_TRIES; i++) {
        struct taken t = {.prefix = prefix};

        r = kv_list(kv, prefix, &t.items, e);
        if (r < 0) {
            return r;
        }
        r = network_pick_address(&p->spec.subnet4, &p->spec.gateway4,
                                 &(struct network_ip){0}, is_taken, &t, &p->port.addr4);
        kv_items_fini(&t.items);
        if (r < 0) {
            return err_set(e, r, "network '%s' has no free address", p->spec.name);
        }
        (void)str_print(key, sizeof key, "%s%s", prefix,
                        network_ip_text(&p->port.addr4, text));
        r = record_claim(n, keys, 1, id, NULL, e);
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
    int r = need_network(n, name, &made, e);

    if (json_is_array(ips)) {
        wanted = json_string_value(json_array_get(ips, 0));
    }
    if (r == 0) {
        r = net_plan_read(made, g->id, &p, e);
    }
    if (r == 0) {
        r = claim_address(n, &p, g->id, wanted, e);
    }
    if (r < 0) {
        return r;
    }
    if (p.spec.subnet6.ip.version != 0) {
        (void)network_pair_address(&p.spec.subnet4, &p.spec.subnet6, &p.port.addr4,
                                   &p.port.addr6);
    }
    net_table_name(n, table);
    (void)json_object_set_new(made, "table", json_string(table));
    (void)json_object_set_new(made, "addr4", ip_json(&p.port.addr4));
    (void)json_object_set_new(made, "addr6", ip_json(&p.port.addr6));
    *ret = made;
    made = NULL;
    return 0;
}

int net_allocate(struct node *n, struct guest *g, struct err *e)
{
    const json_t *config = guest_config(g);
    const char *name = json_string_value(json_object_get(config, "network"));
    const json_t *publish = json_object_get(config, "publish");
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
        if (strcmp(name, "host") == 0 || strcmp(name, "none") == 0) {
            json_decref(made);
            return err_set(e, -EINVAL, "cannot publish ports of a guest on network '%s'",
                           name);
        }
        (void)json_object_set(made, "publish", (json_t *)(uintptr_t)publish);
    }
    (void)json_object_set_new(g->record, "network", made);
    (void)json_object_set_new(guest_config(g), "network", json_string(name));
    r = net_plan_read(made, g->id, &p, e);
    return r < 0 ? r : guest_save(n, g, e);
}

/* The network a record names, or NULL when it is not one of ours. */
static const char *bridge_network(const struct guest *g)
{
    const json_t *network = json_object_get(g->record, "network");
    const char *driver = json_string_value(json_object_get(network, "driver"));

    return driver != NULL && strcmp(driver, "bridge") == 0
               ? json_string_value(json_object_get(network, "name"))
               : NULL;
}

static int hosts_path(const struct node *n, const char *network, char out[PATH_MAX])
{
    char dir[PATH_MAX];

    (void)str_print(dir, sizeof dir, "%s/networks", n->run);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    return str_print(out, PATH_MAX, "%s/%s.hosts", dir, network);
}

/* Copy the lines of `text` that do not end in "# ID". */
static void keep_others(const char *text, const char *id, struct str *out)
{
    char mark[32];

    (void)str_print(mark, sizeof mark, "# %s", id);
    while (*text != '\0') {
        const char *end = strchrnul(text, '\n');
        size_t len = (size_t)(end - text);
        size_t m = strlen(mark);

        if (len < m || strncmp(end - m, mark, m) != 0) {
            str_add_bytes(out, text, len);
            str_add(out, "\n");
        }
        text = *end == '\n' ? end + 1 : end;
    }
}

static void add_lines(const struct guest *g, struct str *out)
{
    static const char *const keys[] = {"addr4", "addr6"};
    const json_t *network = json_object_get(g->record, "network");
    const char *hostname =
        json_string_value(json_object_get(guest_config(g), "hostname"));

    for (size_t i = 0; i < 2; i++) {
        const char *address = json_string_value(json_object_get(network, keys[i]));

        if (address != NULL) {
            str_addf(out, "%s %s%s%s # %s\n", address, guest_text(g, "name"),
                     hostname != NULL ? " " : "", hostname != NULL ? hostname : "",
                     g->id);
        }
    }
}

/* Change the lines of one guest in its network's file; `add`: put new ones in. */
static int change_hosts(struct node *n, const struct guest *g, const char *network,
                        bool add, struct err *e)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_free) char *text = NULL;
    struct str out = {0};
    int r = hosts_path(n, network, path);

    fd = r == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot write '%s'", path);
    }
    r = file_read(AT_FDCWD, path, HOSTS_MOST_BYTES, &text, NULL);
    if (r == 0) {
        keep_others(text[0] != '\0' ? text : HOSTS_HEAD, g->id, &out);
    }
    if (add) {
        add_lines(g, &out);
    }
    if (r == 0 && strcmp(text, str_text(&out)) != 0) {
        r = str_failed(&out) ? -ENOMEM : 0;
        if (r == 0 && (pwrite(fd, out.data, out.len, 0) != (ssize_t)out.len ||
                       ftruncate(fd, (off_t)out.len) < 0)) {
            r = -errno;
        }
    }
    str_fini(&out);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int write_resolv(struct node *n, const struct guest *g, struct err *e)
{
    char path[PATH_MAX];
    struct str text = {0};
    bool user = strcmp(json_string_value(json_object_get(
                           json_object_get(g->record, "network"), "driver")),
                       "user") == 0;
    int r = network_resolv_conf_of_host("", user ? "10.0.2.3" : NULL, &text);

    (void)guest_run_path(n, g->id, "resolv.conf", path);
    if (r < 0 || str_failed(&text)) {
        str_fini(&text);
        str_add(&text, "");
    }
    r = file_replace(AT_FDCWD, path, str_text(&text), text.len, 0644, false);
    str_fini(&text);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

int net_write_hosts(struct node *n, const struct guest *g, struct err *e)
{
    const char *network = bridge_network(g);
    char own[PATH_MAX];
    char shared[PATH_MAX];
    struct str text = {0};
    int r = write_resolv(n, g, e);

    if (r < 0) {
        return r;
    }
    (void)guest_run_path(n, g->id, "hosts", own);
    if (network != NULL) {
        r = change_hosts(n, g, network, true, e);
        if (r < 0) {
            return r;
        }
        (void)hosts_path(n, network, shared);
        (void)unlink(own);
        return link(shared, own) < 0 ? err_sys(e, -errno, "cannot write '%s'", own) : 0;
    }
    str_addf(&text, HOSTS_HEAD "127.0.1.1 %s\n", guest_text(g, "name"));
    r = str_failed(&text) ? -ENOMEM
                          : file_replace(AT_FDCWD, own, text.data, text.len, 0644, false);
    str_fini(&text);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", own) : 0;
}

int net_release(struct node *n, const struct guest *g, struct err *e)
{
    const char *network = bridge_network(g);
    const char *address = json_string_value(
        json_object_get(json_object_get(g->record, "network"), "addr4"));
    char key[KV_KEY_BYTES];
    const char *keys[1] = {key};
    int r;

    if (network == NULL || address == NULL) {
        return 0;
    }
    r = change_hosts(n, g, network, false, e);
    (void)str_print(key, sizeof key, "/addresses/%s/%s", network, address);
    return r < 0 ? r : record_release(n, keys, 1, e);
}

int net_ensure_up(struct node *n, const struct guest *g, struct err *e)
{
    const json_t *network = json_object_get(g->record, "network");
    struct network *net = NULL;
    struct net_plan p;
    int r = net_plan_read(network, g->id, &p, e);

    if (r < 0 || p.spec.driver != NETWORK_BRIDGE) {
        return r;
    }
    r = network_open(p.table, &net, e);
    if (r == 0) {
        r = network_up(net, &p.spec, e);
    }
    for (size_t i = 0; r >= 0 && i < network_warnings(net)->n; i++) {
        log_warn(n->log, "%s", network_warnings(net)->items[i]);
    }
    network_close(net);
    return r;
}

int net_detach(struct node *n, const struct guest *g, struct err *e)
{
    const json_t *network = json_object_get(g->record, "network");
    struct network *net = NULL;
    struct net_plan p;
    int r;

    (void)n;
    if (network == NULL) {
        return 0;
    }
    r = net_plan_read(network, g->id, &p, e);
    if (r < 0 || p.spec.driver != NETWORK_BRIDGE) {
        return r;
    }
    r = network_open(p.table, &net, e);
    if (r == 0) {
        r = network_detach(net, &p.spec, &p.port, true, e);
    }
    network_close(net);
    return r;
}

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
    if (subnet != NULL && network_cidr_parse(subnet, &s->subnet4) < 0) {
        return err_set(e, -EINVAL, "'%s' is not a subnet like 10.1.2.0/24", subnet);
    }
    if (subnet6 != NULL && network_cidr_parse(subnet6, &s->subnet6) < 0) {
        return err_set(e, -EINVAL, "'%s' is not a subnet like fd00:1::/64", subnet6);
    }
    if (gateway != NULL && network_ip_parse(gateway, &s->gateway4) < 0) {
        return err_set(e, -EINVAL, "'%s' is not an address", gateway);
    }
    s->driver = NETWORK_BRIDGE;
    s->internal = json_is_true(json_object_get(order, "internal"));
    s->mtu = (uint32_t)json_integer_value(json_object_get(order, "mtu"));
    return 0;
}

static int network_list(struct node *n, json_t **ret, struct err *e)
{
    SCOPED(scope_free) struct network_spec *specs = calloc(NETS_MOST, sizeof *specs);
    size_t count;

    return specs == NULL ? err_set(e, -ENOMEM, "cannot list networks: no memory")
                         : other_networks(n, ret, specs, &count, e);
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
    char key[KV_KEY_BYTES];
    char prefix[KV_KEY_BYTES];
    char table[32];
    const char *keys[1] = {key};
    struct network *net = NULL;
    size_t users;
    struct kv_items items = {0};
    struct net_plan p;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r == 0) {
        r = get_network(n, name, &made, e);
    }
    if (r < 0) {
        return r == -ENOENT ? err_set(e, r, "network '%s' does not exist", name) : r;
    }
    (void)str_print(prefix, sizeof prefix, "/addresses/%s/", name);
    r = kv_list(kv, prefix, &items, e);
    users = r == 0 ? count_users(n, &items) : 0;
    if (users != 0) {
        r = err_set(e, -EBUSY, "cannot delete network '%s': %zu guests are on it", name,
                    users);
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
    (void)str_print(key, sizeof key, "/networks/%s", name);
    return r < 0 ? r : record_release(n, keys, 1, e);
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
        return r < 0 ? r : create_network(n, &s, ret, e);
    }
    if (name == NULL) {
        return err_set(e, -EINVAL, "no network was named");
    }
    if (strcmp(op, "inspect") == 0) {
        r = get_network(n, name, ret, e);
        return r == -ENOENT ? err_set(e, r, "network '%s' does not exist", name) : r;
    }
    return network_remove(n, name, e);
}
