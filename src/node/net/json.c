/* json.c - a network, and what a guest has of one, as JSON and back.
 *
 * A network is recorded as its `struct network_spec`; a guest's record has a copy of
 * it, with the guest's addresses and the table's name added (see `net_plan_read`). */
#include "node/net/private.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "node/private.h"

void net_table_name(const struct node *n, char out[32])
{
    network_table_name(n->state, out);
}

static json_t *cidr_json(const struct network_cidr *c)
{
    char text[NETWORK_TEXT_BYTES];

    return c->ip.version == 0 ? json_null() : json_string(network_cidr_text(c, text));
}

json_t *net_ip_json(const struct network_ip *ip)
{
    char text[NETWORK_TEXT_BYTES];

    return ip->version == 0 ? json_null() : json_string(network_ip_text(ip, text));
}

json_t *net_spec_json(const struct network_spec *s)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:i}", "name", s->name,
                     "driver", network_driver_name(s->driver), "bridge", s->bridge,
                     "subnet4", cidr_json(&s->subnet4), "subnet6", cidr_json(&s->subnet6),
                     "gateway4", net_ip_json(&s->gateway4), "gateway6",
                     net_ip_json(&s->gateway6), "internal", s->internal, "mtu",
                     (int)s->mtu);
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

int net_spec_read(const json_t *j, struct network_spec *s, struct err *e)
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
    r = net_spec_read(network, &ret->spec, e);
    if (r < 0) {
        return r;
    }
    ret->table = json_string_value(json_object_get(network, "table"));
    ret->port.guest_id = id;
    ret->rate.to_guest = (uint64_t)json_integer_value(json_object_get(network, "rate"));
    ret->rate.from_guest = ret->rate.to_guest;
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

const char *net_bridge_name(const struct guest *g)
{
    const json_t *network = json_object_get(g->record, "network");
    const char *driver = json_string_value(json_object_get(network, "driver"));

    return driver != NULL && strcmp(driver, "bridge") == 0
               ? json_string_value(json_object_get(network, "name"))
               : NULL;
}
