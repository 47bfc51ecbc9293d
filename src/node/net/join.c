/* join.c - the worker half: a guest is linked to its network, and taken off. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "node/net/private.h"
#include "node/private.h"
#include "virt/container/container.h"

#define FORWARDS_MOST (3 * NET_PUBLISH_MOST)

/* In the guest's own user namespace, since an ordinary user may not from outside. */
static int loopback_up(const struct container *c, int netns, struct err *e)
{
    SCOPED(scope_close) int userns = container_userns(c);
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(setns(userns, CLONE_NEWUSER) < 0 || setns(netns, CLONE_NEWNET) < 0 ||
                      network_loopback_up(-1, NULL) < 0
                  ? 1
                  : 0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0) {
        return err_set(e, -EIO, "cannot bring up loopback of the guest");
    }
    return 0;
}

int net_start_usernet(const json_t *spec, struct net_helper *h, pid_t guest,
                      struct err *e)
{
    const json_t *list = json_object_get(json_object_get(spec, "network"), "publish");
    struct err own = {0};
    size_t i;
    json_t *item;
    int r;

    json_array_foreach(list, i, item)
    {
        strv_addf(&h->argv, "--publish=%s", json_string_value(item));
    }
    r = net_helper_start(spec, h, guest, &own);
    strv_fini(&h->argv);
    return r < 0 ? err_set(e, r, "the user-mode network did not start: %s", own.text) : 0;
}

static int start_usernet(const json_t *spec, const struct container *c, int netns,
                         struct err *e)
{
    SCOPED(scope_close) int userns = container_userns(c);
    struct net_helper h = {.program = "usernet", .keep = {userns, netns}, .n_keep = 2};

    if (userns < 0) {
        return err_sys(e, userns, "cannot open the guest's user namespace");
    }
    strv_add(&h.argv, "usernet");
    strv_addf(&h.argv, "--userns-fd=%d", userns);
    strv_addf(&h.argv, "--netns-fd=%d", netns);
    return net_start_usernet(spec, &h, container_pid(c), e);
}

static void add_address(struct strv *argv, const struct network_ip *ip)
{
    char text[NETWORK_TEXT_BYTES];

    if (ip->version != 0) {
        strv_addf(argv, "--to=%s", network_ip_text(ip, text));
    }
}

int net_start_forward(const json_t *spec, struct network *net, const struct net_plan *p,
                      pid_t guest, struct err *e)
{
    struct network_forward list[FORWARDS_MOST];
    struct net_helper h = {.program = "forward"};
    size_t n = 0;
    int r = network_forwards(net, &p->spec, &p->port, list, FORWARDS_MOST, &n);

    if (r < 0 || n == 0) {
        return r < 0 ? err_sys(e, r, "cannot publish ports") : 0;
    }
    strv_add(&h.argv, "forward");
    add_address(&h.argv, &p->port.addr4);
    add_address(&h.argv, &p->port.addr6);
    for (size_t i = 0; i < n; i++) {
        struct str text = {0};

        (void)network_publish_text(&list[i].from, &text);
        strv_addf(&h.argv, "%s=%s", list[i].optional ? "--try" : "--publish",
                  str_text(&text));
        str_fini(&text);
    }
    r = net_helper_start(spec, &h, guest, e);
    strv_fini(&h.argv);
    return r;
}

static int attach(const json_t *spec, const struct net_plan *p, const struct container *c,
                  int netns, struct err *e)
{
    struct network *net = NULL;
    int r = network_open(p->table, &net, e);

    if (r == 0) {
        r = network_attach(net, &p->spec, &p->port, netns, e);
    }
    if (r == 0 && p->rate.to_guest != 0) {
        r = network_limit_rate(net, &p->port, netns, &p->rate, e);
    }
    if (r == 0) {
        r = net_start_forward(spec, net, p, container_pid(c), e);
    }
    if (r < 0 && net != NULL) {
        (void)network_detach(net, &p->spec, &p->port, false, NULL);
    }
    network_close(net);
    return r;
}

int net_join(const json_t *spec, const struct container *c, struct err *e)
{
    const char *id = json_string_value(json_object_get(spec, "id"));
    SCOPED(scope_close) int netns = -1;
    struct net_plan p;
    int r = net_plan_read(json_object_get(spec, "network"), id, &p, e);

    if (r < 0 || p.spec.driver == NETWORK_HOST) {
        return r;
    }
    netns = container_netns(c);
    if (netns < 0) {
        return err_sys(e, netns, "cannot open the guest's network");
    }
    if (p.spec.driver == NETWORK_NONE && geteuid() != 0) {
        return loopback_up(c, netns, e);
    }
    return p.spec.driver == NETWORK_USER ? start_usernet(spec, c, netns, e)
                                         : attach(spec, &p, c, netns, e);
}

int net_leave(const json_t *spec, struct err *e)
{
    const char *id = json_string_value(json_object_get(spec, "id"));
    struct network *net = NULL;
    struct net_plan p;
    int r;

    if (net_plan_read(json_object_get(spec, "network"), id, &p, NULL) < 0) {
        return 0;
    }
    if (p.spec.driver == NETWORK_USER) {
        net_helper_end(spec, "usernet");
    }
    if (p.spec.driver != NETWORK_BRIDGE) {
        return 0;
    }
    if (p.port.n_publishes > 0) {
        net_helper_end(spec, "forward");
    }
    r = network_open(p.table, &net, e);
    if (r == 0) {
        r = network_detach(net, &p.spec, &p.port, true, e);
    }
    network_close(net);
    return r;
}
