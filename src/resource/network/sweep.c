/* What dead guests left: found by name, removed; and waiting for links to go. */
#include "resource/network/network.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/network/private.h"

#define BRIDGES_MOST  512
#define DRAIN_BYTES   8192
#define LOOK_AGAIN_MS 100

struct sweeping {
    struct network *net;
    const char *const *live;
    uint32_t bridges[BRIDGES_MOST]; /* indexes of ours */
    unsigned n_bridges;
    struct netlink_batch batch; /* owned: the links to delete */
};

static bool is_gone(void *arg, const char *guest)
{
    const struct sweeping *sw = arg;
    for (const char *const *id = sw->live; *id != NULL; id++) {
        if (strcmp(*id, guest) == 0) {
            return false;
        }
    }
    return true;
}

/* A bridge of ours carries the address that only our table's name gives. */
static int keep_bridge(void *arg, const struct netlink_link *link)
{
    struct sweeping *sw = arg;
    uint8_t mac[6];
    network_derive_mac(mac, sw->net->table, link->name);
    if (strcmp(link->kind, "bridge") == 0 && memcmp(mac, link->mac, sizeof mac) == 0 &&
        sw->n_bridges < BRIDGES_MOST) {
        sw->bridges[sw->n_bridges++] = link->index;
    }
    return 0;
}

static bool on_our_bridge(const struct sweeping *sw, uint32_t master)
{
    for (unsigned i = 0; i < sw->n_bridges; i++) {
        if (sw->bridges[i] == master) {
            return true;
        }
    }
    return false;
}

static bool is_live_link(const struct sweeping *sw, const char *name)
{
    char have[NETWORK_LINK_BYTES];
    for (const char *const *id = sw->live; *id != NULL; id++) {
        struct network_port p = {.guest_id = *id};
        if (network_link_name(&p, have) == 0 &&
            strncmp(have, name, strlen(have) - 1) == 0) {
            return true;
        }
    }
    return false;
}

static int mark_link(void *arg, const struct netlink_link *link)
{
    struct sweeping *sw = arg;
    if (strcmp(link->kind, "veth") == 0 && str_starts(link->name, "sv") &&
        strlen(link->name) == NETWORK_LINK_BYTES - 1 && on_our_bridge(sw, link->master) &&
        !is_live_link(sw, link->name)) {
        netlink_add_delete(&sw->batch, link->name);
    }
    return 0;
}

int network_sweep(struct network *net, const char *const *live, struct err *e)
{
    struct sweeping sw = {.net = net, .live = live};
    int r = netlink_each_link(&net->route, keep_bridge, &sw);
    if (r == 0) {
        r = netlink_each_link(&net->route, mark_link, &sw);
    }
    int n = (int)sw.batch.n;
    if (r == 0) {
        r = netlink_send(&net->route, &sw.batch, NULL, NULL, NULL);
    }
    netlink_batch_fini(&sw.batch);
    if (r < 0 && r != -ENODEV) { /* a link may have gone on its own meanwhile */
        return err_sys(e, r, "cannot remove links of dead guests");
    }
    r = network_drop_published(net, net->table, is_gone, &sw);
    return r < 0 ? err_sys(e, r, "cannot take back ports of dead guests") : n + r;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

int network_wait_gone(struct network *net, const struct network_port *p, int timeout_ms)
{
    SCOPED(netlink_close) struct netlink news = {.fd = -1};
    char name[NETWORK_LINK_BYTES];
    char drain[DRAIN_BYTES];
    struct netlink_link link;
    int group = RTNLGRP_LINK;
    int64_t end = now_ms() + timeout_ms;
    int r = network_link_name(p, name);
    if (r < 0 || netlink_find_link(&net->route, name, &link) == -ENODEV) {
        return r;
    }
    r = netlink_open(&news, NETLINK_ROUTE, -1);
    if (r == 0 && setsockopt(news.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
                             sizeof group) < 0) {
        r = -errno;
    }
    while (r == 0 && (r = netlink_find_link(&net->route, name, &link)) == 0) {
        struct pollfd wait = {.fd = news.fd, .events = POLLIN};
        int64_t left = end - now_ms();
        /* News can be lost when hundreds of links go at once: look again now and then. */
        int slice = left < LOOK_AGAIN_MS ? (int)left : LOOK_AGAIN_MS;
        if (left <= 0 || (poll(&wait, 1, slice) < 0 && errno != EINTR)) {
            return left <= 0 ? -ETIMEDOUT : -errno;
        }
        while (recv(news.fd, drain, sizeof drain, MSG_DONTWAIT) > 0) {
        }
    }
    return r == -ENODEV ? 0 : r;
}
