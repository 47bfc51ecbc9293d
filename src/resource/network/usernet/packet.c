/* Where a user may not open /dev/net/tun: the guest's interface is one end of a pair,
 * the other end lives in a namespace of its own, where a packet socket reads and
 * writes frames.  The socket keeps that namespace, and so the pair, alive. */
#include "resource/network/usernet/usernet.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/netlink/netlink.h"

#define FAR_END      "far"
#define BUFFER_BYTES (4 << 20)

/* The guest's kernel must finish its packets itself: nothing behind us would. */
static int stop_offload(const char *ifname)
{
    static const uint32_t commands[] = {ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO};
    SCOPED(scope_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ethtool_value value = {0};
    struct ifreq req = {.ifr_data = &value};
    int r = fd < 0 ? -errno : str_print(req.ifr_name, sizeof req.ifr_name, "%s", ifname);
    for (unsigned i = 0; i < 3 && r == 0; i++) {
        value = (struct ethtool_value){.cmd = commands[i]};
        r = ioctl(fd, SIOCETHTOOL, &req) < 0 && i == 0 ? -errno : 0;
    }
    return r;
}

static int make_pair(const char *ifname, int far_netns)
{
    SCOPED(netlink_close) struct netlink nl = {.fd = -1};
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    int r = netlink_open(&nl, NETLINK_ROUTE, -1);
    if (r < 0) {
        return r;
    }
    struct netlink_veth v = {
        .name = ifname, .peer = FAR_END, .peer_netns = far_netns, .mtu = USERNET_MTU};
    netlink_add_veth(&b, &v);
    return netlink_send(&nl, &b, NULL, NULL, NULL);
}

/* In the far namespace: nothing there speaks but our socket. */
static int open_far(int far_netns, int *ret_fd)
{
    SCOPED(netlink_close) struct netlink nl = {.fd = -1};
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink_link far;
    int on = 1;
    int room = BUFFER_BYTES;
    if (setns(far_netns, CLONE_NEWNET) < 0) {
        return -errno;
    }
    int r = netlink_open(&nl, NETLINK_ROUTE, -1);
    if (r == 0) {
        r = netlink_find_link(&nl, FAR_END, &far);
    }
    if (r < 0) {
        return r;
    }
    SCOPED(scope_close)
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_ll at = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ALL),
                             .sll_ifindex = (int)far.index};
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    netlink_add_up(&b, far.index);
    r = netlink_send(&nl, &b, NULL, NULL, NULL);
    if (r == 0 && bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        r = -errno;
    }
    if (r == 0) {
        *ret_fd = scope_take_fd(&fd);
    }
    return r;
}

int usernet_packet(const struct usernet_options *o, int *ret_fd, struct err *e)
{
    SCOPED(scope_close) int far = -1;
    if (unshare(CLONE_NEWNET) == 0) {
        far = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    }
    if (far < 0 || setns(o->netns, CLONE_NEWNET) < 0) {
        return err_sys(e, -errno, "cannot make a namespace beside the guest's");
    }
    int r = make_pair(o->ifname, far);
    if (r == 0) {
        r = stop_offload(o->ifname);
    }
    if (r == 0) {
        r = open_far(far, ret_fd);
    }
    if (r == 0 && setns(o->netns, CLONE_NEWNET) < 0) {
        r = -errno;
    }
    return r;
}
