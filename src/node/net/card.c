/* card.c - the worker half: a machine is linked to its network by a card.
 *
 * Of a bridge it is a tap, which goes with the machine's worker; the worker tells the guest
 * its address by DHCP.  Without root it is a socket of frames, whose other end `usernet`
 * has.  Helpers are held by the process that is, or becomes, the guest's keeper, which takes
 * them off when the guest ends. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "node/net/private.h"
#include "node/private.h"
#include "node/worker.h"

#define NAME_SERVERS_MOST 3
#define USER_MTU          1500
#define USER_ADDRESS      "10.0.2.100/24" /* resource/network/usernet */
#define USER_GATEWAY      "10.0.2.2"

/* "nameserver ADDRESS" of what a guest's resolv.conf would say; IPv4 only. */
static void add_name_servers(struct str *out)
{
    struct str text = {0};
    unsigned n = 0;

    if (network_resolv_conf_of_host("", NULL, &text) < 0 || str_failed(&text) ||
        text.data == NULL) {
        str_fini(&text);
        return;
    }
    for (char *save = NULL, *line = strtok_r(text.data, "\n", &save);
         line != NULL && n < NAME_SERVERS_MOST; line = strtok_r(NULL, "\n", &save)) {
        struct network_ip ip;

        if (strncmp(line, "nameserver ", 11) == 0 &&
            network_ip_parse(line + 11, &ip) == 0 && ip.version == 4) {
            str_addf(out, ",dns=%s", line + 11);
            n += 1;
        }
    }
    str_fini(&text);
}

static void add_lease(const json_t *spec, const struct net_plan *p, struct str *out)
{
    const char *host = json_string_value(json_object_get(spec, "hostname"));
    char text[NETWORK_TEXT_BYTES];

    if (p->port.addr4.version == 0) {
        return;
    }
    str_addf(out, ",address=%s/%u", network_ip_text(&p->port.addr4, text),
             p->spec.subnet4.prefix);
    str_addf(out, ",gateway=%s", network_ip_text(&p->spec.gateway4, text));
    if (!p->spec.internal) {
        str_add(out, ",leads-on");
        add_name_servers(out);
    }
    if (host != NULL && strlen(host) < 64) {
        str_addf(out, ",host=%s", host);
    }
}

static void add_mac(const struct net_plan *p, struct str *out)
{
    uint8_t mac[6];

    network_port_mac(&p->port, mac);
    str_addf(out, "mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
             mac[4], mac[5]);
}

static void add_card(const struct net_plan *p, const char *kind, uint32_t mtu,
                     struct str *out)
{
    str_addf(out, "%s=@,", kind);
    add_mac(p, out);
    str_addf(out, ",mtu=%u", mtu);
}

static int join_user(const json_t *spec, const struct net_plan *p, pid_t holder,
                     int *ret_fd, struct str *words, struct err *e)
{
    SCOPED(scope_close) int own = -1;
    SCOPED(scope_close) int other = -1;
    struct net_helper h = {.program = "usernet", .n_keep = 1};
    int pair[2];
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return err_sys(e, -errno, "cannot make the guest's network");
    }
    own = pair[0];
    other = pair[1];
    h.keep[0] = other;
    strv_add(&h.argv, "usernet");
    strv_addf(&h.argv, "--frames=%d", other);
    add_card(p, "frames", USER_MTU, words);
    r = net_start_usernet(spec, &h, holder, e);
    *ret_fd = r == 0 ? scope_take_fd(&own) : -1;
    return r;
}

static int join_bridge(const json_t *spec, const struct net_plan *p, pid_t holder,
                       int *ret_fd, struct str *words, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct network *net = NULL;
    int r = network_open(p->table, &net, e);

    r = r == 0 ? network_attach_tap(net, &p->spec, &p->port, &fd, e) : r;
    if (r == 0) {
        add_card(p, "tap", p->spec.mtu != 0 ? p->spec.mtu : NETWORK_MTU_DEFAULT, words);
        add_lease(spec, p, words);
        r = net_start_forward(spec, net, p, holder, e);
        if (r < 0) {
            (void)network_detach(net, &p->spec, &p->port, true, NULL);
        }
    }
    network_close(net);
    *ret_fd = r == 0 ? scope_take_fd(&fd) : -1;
    return r;
}

int net_join_machine(const json_t *spec, pid_t holder, int *ret_fd,
                     char words[NET_CARD_BYTES], struct err *e)
{
    const char *id = json_string_value(json_object_get(spec, "id"));
    const json_t *network = json_object_get(spec, "network");
    json_int_t slot = json_integer_value(json_object_get(network, "slot"));
    struct str text = {0};
    struct net_plan p;
    int r;

    *ret_fd = -1;
    if (network == NULL) { /* of a record that is older */
        return 0;
    }
    r = net_plan_read(network, id, &p, e);
    if (r < 0 || p.spec.driver == NETWORK_NONE) {
        return r;
    }
    r = p.spec.driver == NETWORK_USER ? join_user(spec, &p, holder, ret_fd, &text, e)
                                      : join_bridge(spec, &p, holder, ret_fd, &text, e);
    if (r == 0 && slot > 0) { /* it came while the machine ran: 'attach' */
        str_addf(&text, ",slot=%d", (int)slot);
    }
    if (r == 0) {
        (void)str_print(words, NET_CARD_BYTES, "%s", str_text(&text));
    }
    str_fini(&text);
    return r;
}

int net_tell_machine(const json_t *spec, struct str *out, struct err *e)
{
    const char *id = json_string_value(json_object_get(spec, "id"));
    const json_t *network = json_object_get(spec, "network");
    struct net_plan p;
    int r = network != NULL ? net_plan_read(network, id, &p, e) : 0;

    if (r < 0 || network == NULL || p.spec.driver == NETWORK_NONE) {
        return r;
    }
    add_mac(&p, out);
    if (p.spec.driver == NETWORK_USER) {
        str_add(out, ",address=" USER_ADDRESS ",gateway=" USER_GATEWAY ",leads-on");
    } else {
        add_lease(spec, &p, out);
    }
    return 0;
}
