/* guest.c - a guest's network comes and goes with it.
 *
 * A guest gets its address when it is created (address.c) and keeps it until it is
 * deleted.  The record's "network" member holds all that a worker needs to link it
 * without the store: see `net_plan_read`. */
#include "node/net/private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/private.h"

static int open_network(struct node *n, const char *table, struct network **ret,
                        struct err *e)
{
    int r = network_open(table, ret, e);

    if (r == 0) {
        network_home(*ret, n->state);
    }
    return r;
}

static void warn(struct node *n, const struct network *net)
{
    for (size_t i = 0; i < network_warnings(net)->n; i++) {
        log_warn(n->log, "%s", network_warnings(net)->items[i]);
    }
}

/* Whether a guest that runs is on a network of this state directory; its plan. */
static bool is_linked(struct node *n, const json_t *record, struct net_plan *p)
{
    const char *id = json_string_value(json_object_get(record, "id"));
    const json_t *network = json_object_get(record, "network");
    struct guest_status st;

    return net_plan_read(network, id, p, NULL) == 0 && p->spec.driver == NETWORK_BRIDGE &&
           guest_status(n, id, &st, NULL) == 0 && guest_is_alive(&st) && !st.lost;
}

/* Link one running guest again. */
static int mend_guest(struct network *net, const struct net_plan *p, struct err *e)
{
    int r = network_up(net, &p->spec, e);

    return r < 0 ? r : network_restore(net, &p->spec, &p->port, e);
}

/* Somebody removed a bridge or flushed the rules, which all networks of this state
 * directory share: link every running guest again. */
static int mend_all(struct node *n, struct network *net, const json_t *records)
{
    size_t i;
    json_t *record;
    int mended = 0;

    json_array_foreach(records, i, record)
    {
        struct err own = {0};
        struct net_plan p;
        int r = is_linked(n, record, &p) ? mend_guest(net, &p, &own) : -ESRCH;

        if (r >= 0) {
            mended += 1;
        } else if (r != -ENODEV && r != -ENOENT && r != -ESRCH) { /* it ended meanwhile */
            log_warn(n->log, "guest '%s' is not linked again: %s",
                     json_string_value(json_object_get(record, "name")), own.text);
        }
    }
    return mended;
}

/* Whether the ports are free, before anything is made; the owner by its name. */
static int check_ports(struct node *n, struct network *net, const struct net_plan *p,
                       struct err *e)
{
    char owner[NETWORK_TEXT_BYTES];
    struct err said = {0};
    struct guest other = {0};
    int r = p->port.n_publishes == 0
                ? 0
                : network_publish_check(net, &p->port, p->publishes, p->port.n_publishes,
                                        owner, &said);

    if (r == 0) {
        return 0;
    }
    if (owner[0] != '\0' && guest_load(n, owner, &other, NULL) == 0) {
        const char *at = strstr(said.text, owner);

        r = at == NULL ? err_set(e, r, "%s", said.text)
                       : err_set(e, r, "%.*s%s%s", (int)(at - said.text), said.text,
                                 guest_text(&other, "name"), at + strlen(owner));
        guest_fini(&other);
        return r;
    }
    return err_set(e, r, "%s", said.text);
}

int net_ensure_up(struct node *n, const struct guest *g, struct err *e)
{
    const json_t *network = json_object_get(g->record, "network");
    SCOPED(scope_json) json_t *records = NULL;
    struct network *net = NULL;
    struct net_plan p;
    int r = net_plan_read(network, g->id, &p, e);

    if (r < 0 || p.spec.driver != NETWORK_BRIDGE) {
        return r;
    }
    r = open_network(n, p.table, &net, e);
    if (r == 0) {
        r = network_up(net, &p.spec, e);
    }
    if (r > 0) {
        r = guest_all(n, &records, e);
        r = r < 0 ? r : mend_all(n, net, records);
    }
    if (r >= 0) {
        r = check_ports(n, net, &p, e);
        warn(n, net);
    }
    network_close(net);
    return r < 0 ? r : 0;
}

/* Bring up what running guests need, each network once; how many were linked again. */
int net_mend(struct node *n, const json_t *records, struct err *e)
{
    SCOPED(strv_fini) struct strv seen = {0};
    struct network *net = NULL;
    bool flushed = false;
    size_t i;
    json_t *record;
    int r = 0;

    json_array_foreach(records, i, record)
    {
        struct net_plan p;

        if (r < 0 || n->rootless || !is_linked(n, record, &p) ||
            strv_has(&seen, p.spec.name)) {
            continue;
        }
        strv_add(&seen, p.spec.name);
        r = net != NULL ? 0 : open_network(n, p.table, &net, e);
        r = r == 0 ? network_up(net, &p.spec, e) : r;
        flushed |= r > 0;
    }
    r = r < 0 ? r : flushed ? mend_all(n, net, records) : 0;
    network_close(net);
    return r;
}

void net_mend_quietly(struct node *n, const json_t *records)
{
    struct err why = {0};
    int r = net_mend(n, records, &why);

    if (r < 0) {
        log_warn(n->log, "the guests' network is not whole: %s", why.text);
    } else if (r > 0) {
        log_warn(n->log,
                 "somebody took the guests' network away: %d of them %s linked "
                 "again",
                 r, r == 1 ? "is" : "are");
    }
}

int net_set_rate(struct node *n, struct guest *g, uint64_t bytes_per_second,
                 struct err *e)
{
    json_t *network = json_object_get(g->record, "network");
    const struct network_rate rate = {bytes_per_second, bytes_per_second};
    SCOPED(scope_close) int netns = -1;
    struct network *net = NULL;
    struct guest_status st;
    struct net_plan p;
    char path[64];
    int r = net_plan_read(network, g->id, &p, e);

    if (r == 0 && guest_is_machine(g)) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot limit the network rate of guest '%s': it is a machine",
                       guest_text(g, "name"));
    }
    if (r == 0 && p.spec.driver != NETWORK_BRIDGE) {
        return err_set(e, -EINVAL,
                       "cannot limit the network rate of guest '%s': it is not on a "
                       "network of its own",
                       guest_text(g, "name"));
    }
    if (r == 0) {
        r = guest_status(n, g->id, &st, e);
    }
    if (r == 0 && st.pid > 0 && guest_is_alive(&st) && !st.lost) {
        (void)str_print(path, sizeof path, "/proc/%d/ns/net", st.pid);
        netns = open(path, O_RDONLY | O_CLOEXEC);
        r = netns < 0 ? err_sys(e, -errno, "cannot open the guest's network")
                      : network_open(p.table, &net, e);
        if (r == 0) {
            r = network_limit_rate(net, &p.port, netns, &rate, e);
        }
        network_close(net);
    }
    if (r == 0) {
        (void)json_object_set_new(network, "rate",
                                  json_integer((json_int_t)bytes_per_second));
    }
    return r;
}
