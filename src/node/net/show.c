/* show.c - networks as people and programs see them. */
#include "node/net/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/private.h"

#define DEV_MOST_BYTES (1 << 20)

/* Bytes over the link of a guest that runs, by the host's side of it (proc(5), /proc/net/dev): what
 * that got the guest has sent.  -ENODEV: no link of the host's. */
int net_traffic(const struct guest *g, uint64_t *ret_received, uint64_t *ret_sent)
{
    SCOPED(scope_free) char *text = NULL;
    char name[NETWORK_LINK_BYTES + 2];
    struct net_plan p;
    const char *line;
    size_t n;

    if (net_plan_read(json_object_get(g->record, "network"), g->id, &p, NULL) < 0 ||
        p.spec.driver != NETWORK_BRIDGE || network_link_name(&p.port, name) < 0 ||
        file_read(AT_FDCWD, "/proc/net/dev", DEV_MOST_BYTES, &text, &n) < 0) {
        return -ENODEV;
    }
    (void)strcat(name, ":");
    line = strstr(text, name);
    return line != NULL && sscanf(line + strlen(name),
                                  " %" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64,
                                  ret_sent, ret_received) == 2
               ? 0
               : -ENODEV;
}

static void add_text(json_t *list, const json_t *from, const char *key)
{
    json_t *text = json_object_get(from, key);

    if (json_is_string(text)) {
        (void)json_array_append(list, text);
    }
}

static bool is_on(const json_t *record, const json_t *made)
{
    const json_t *network = json_object_get(record, "network");

    return json_equal(json_object_get(network, "name"), json_object_get(made, "name")) &&
           json_equal(json_object_get(network, "driver"),
                      json_object_get(made, "driver"));
}

/* "web 10.1.2.3 fd00::3" for each guest. */
static json_t *list_guests(const json_t *made, const json_t *records)
{
    json_t *list = json_array();
    size_t i;
    json_t *record;

    json_array_foreach(records, i, record)
    {
        static const char *const keys[] = {"addr4", "addr6"};
        const json_t *network = json_object_get(record, "network");
        struct str text = {0};

        if (!is_on(record, made)) {
            continue;
        }
        str_add(&text, json_string_value(json_object_get(record, "name")));
        for (size_t k = 0; k < 2; k++) {
            const char *address = json_string_value(json_object_get(network, keys[k]));

            if (address != NULL) {
                str_addf(&text, " %s", address);
            }
        }
        (void)json_array_append_new(list, json_string(str_text(&text)));
        str_fini(&text);
    }
    return list;
}

static json_t *count_running(struct node *n, const json_t *made, const json_t *records)
{
    json_int_t count = 0;
    size_t i;
    json_t *record;

    json_array_foreach(records, i, record)
    {
        const char *id = json_string_value(json_object_get(record, "id"));
        struct guest_status st;

        count += is_on(record, made) && guest_status(n, id, &st, NULL) == 0 &&
                 guest_is_alive(&st) && !st.lost;
    }
    return json_integer(count);
}

json_t *net_shown(struct node *n, const json_t *made, const json_t *records, bool whole)
{
    json_t *subnets = json_array();
    json_t *gateways = json_array();
    json_t *out = json_object();

    add_text(subnets, made, "subnet4");
    add_text(subnets, made, "subnet6");
    add_text(gateways, made, "gateway4");
    add_text(gateways, made, "gateway6");
    (void)json_object_set(out, "name", json_object_get(made, "name"));
    (void)json_object_set(out, "kind", json_object_get(made, "driver"));
    (void)json_object_set_new(out, "subnets", subnets);
    (void)json_object_set_new(out, "gateways", gateways);
    (void)json_object_set(out, "bridge", json_object_get(made, "bridge"));
    (void)json_object_set(out, "mtu", json_object_get(made, "mtu"));
    (void)json_object_set(out, "internal", json_object_get(made, "internal"));
    (void)json_object_set_new(out, "guests",
                              whole ? list_guests(made, records)
                                    : count_running(n, made, records));
    return out;
}

struct pruning {
    struct network *net;
    bool dry;
    json_t *list;
    struct err *e;
};

static int prune_one(void *arg, const struct network_orphan *o)
{
    struct pruning *p = arg;
    int r = p->dry ? 0 : network_remove_orphan(p->net, o, p->e);

    if (r == 0) {
        (void)json_array_append_new(p->list,
                                    json_pack("{s:s, s:s, s:s}", "what",
                                              o->is_bridge ? "bridge" : "table", "name",
                                              o->name, "state", o->home));
    }
    return r;
}

int net_prune(struct node *n, bool dry, json_t **ret, struct err *e)
{
    struct pruning p = {.dry = dry, .e = e};
    char table[32];
    int r;

    net_table_name(n, table);
    r = network_open(table, &p.net, e);
    if (r < 0) {
        return r;
    }
    p.list = json_array();
    r = network_orphans(p.net, prune_one, &p, e);
    network_close(p.net);
    if (r < 0) {
        json_decref(p.list);
        return r;
    }
    *ret = p.list;
    return 0;
}

void net_doctor(struct node *n, json_t *findings)
{
    SCOPED(scope_json) json_t *list = NULL;
    char why[64];

    if (n->rootless || net_prune(n, true, &list, NULL) < 0 ||
        json_array_size(list) == 0) {
        return;
    }
    (void)str_print(why, sizeof why, "%zu bridges and tables remain",
                    json_array_size(list));
    (void)json_array_append_new(
        findings, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "check",
                            "networks of deleted state directories", "key", "net.orphans",
                            "result", "limited", "why", why, "remedy",
                            "remove them: strata network prune", "level", "host"));
}
