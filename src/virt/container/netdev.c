/* netdev.c - network devices of the host that move into the container
 * (`linux.netDevices`, runtime-spec 1.3).
 *
 * The parent sends one RTM_NEWLINK for each, with the new name, before the first
 * program's namespace has anything else (rtnetlink(7)); the device's global addresses go with
 * it, since the kernel drops them on the move.  When the namespace ends, physical
 * devices return to the host by themselves. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/container/private.h"

#define MESSAGE_BYTES  512
#define ANSWER_BYTES   32768
#define ADDRESSES_MOST 32
#define ADDRESS_BYTES  16

struct address {
    struct ifaddrmsg head;
    unsigned char local[ADDRESS_BYTES];
    unsigned len;
};

struct request {
    struct nlmsghdr h;

    union {
        struct ifinfomsg link;
        struct ifaddrmsg address;
    } u;

    char room[MESSAGE_BYTES];
};

static void add_attr(struct request *q, unsigned short type, const void *data, size_t len)
{
    struct rtattr *a = (struct rtattr *)(void *)((char *)q + NLMSG_ALIGN(q->h.nlmsg_len));

    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    q->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->h.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static int talk(int fd, struct request *q)
{
    struct {
        struct nlmsghdr h;
        struct nlmsgerr e;
        char room[MESSAGE_BYTES];
    } answer;

    q->h.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (send(fd, q, q->h.nlmsg_len, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0) {
        return -errno;
    }
    return answer.h.nlmsg_type == NLMSG_ERROR ? answer.e.error : -EPROTO;
}

static void keep_address(const struct nlmsghdr *h, unsigned index, struct address *list,
                         size_t *n)
{
    const struct ifaddrmsg *m = NLMSG_DATA(h);
    int len = (int)IFA_PAYLOAD(h);
    struct address *a = &list[*n];

    if (h->nlmsg_type != RTM_NEWADDR || m->ifa_index != index ||
        m->ifa_scope != RT_SCOPE_UNIVERSE || *n == ADDRESSES_MOST) {
        return;
    }
    *a = (struct address){.head = *m};
    for (const struct rtattr *r = IFA_RTA(m); RTA_OK(r, len); r = RTA_NEXT(r, len)) {
        bool better =
            r->rta_type == IFA_LOCAL || (r->rta_type == IFA_ADDRESS && a->len == 0);

        if (better && RTA_PAYLOAD(r) <= ADDRESS_BYTES) {
            a->len = (unsigned)RTA_PAYLOAD(r);
            memcpy(a->local, RTA_DATA(r), a->len);
        }
    }
    *n += a->len != 0;
}

static int list_addresses(int fd, unsigned index, struct address *list, size_t *ret_n)
{
    struct request q = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
                              .nlmsg_type = RTM_GETADDR,
                              .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    static const size_t most = ANSWER_BYTES;
    SCOPED(scope_free) char *room = malloc(most);

    *ret_n = 0;
    if (room == NULL) {
        return -ENOMEM;
    }
    if (send(fd, &q, q.h.nlmsg_len, 0) < 0) {
        return -errno;
    }
    for (;;) {
        ssize_t got = recv(fd, room, most, 0);

        if (got < 0) {
            return -errno;
        }
        for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)room; NLMSG_OK(h, got);
             h = NLMSG_NEXT(h, got)) {
            if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
                return 0;
            }
            keep_address(h, index, list, ret_n);
        }
    }
}

static int move_link(int fd, unsigned index, const char *name, int netns)
{
    struct request q = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                              .nlmsg_type = RTM_NEWLINK},
                        .u.link = {.ifi_index = (int)index}};

    add_attr(&q, IFLA_NET_NS_FD, &netns, sizeof netns);
    add_attr(&q, IFLA_IFNAME, name, strlen(name) + 1);
    return talk(fd, &q);
}

static int raise_link(int fd, unsigned index)
{
    struct request q = {
        .h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
              .nlmsg_type = RTM_NEWLINK},
        .u.link = {.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};

    return talk(fd, &q);
}

static int add_address(int fd, unsigned index, const struct address *a)
{
    struct request q = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
                              .nlmsg_type = RTM_NEWADDR,
                              .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL},
                        .u.address = a->head};

    q.u.address.ifa_index = index;
    q.u.address.ifa_flags &= IFA_F_PERMANENT;
    add_attr(&q, IFA_LOCAL, a->local, a->len);
    add_attr(&q, IFA_ADDRESS, a->local, a->len);
    return talk(fd, &q);
}

static int open_netlink(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    return fd < 0 ? -errno : fd;
}

/* A socket of the other namespace: it stays there when we come back. */
static int open_netlink_in(int netns)
{
    SCOPED(scope_close) int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd;

    if (own < 0 || setns(netns, CLONE_NEWNET) < 0) {
        return -errno;
    }
    fd = open_netlink();
    if (setns(own, CLONE_NEWNET) < 0) {
        scope_close(&fd);
        return -errno;
    }
    return fd;
}

static unsigned index_in(int fd, const char *name)
{
    struct ifreq q;

    memset(&q, 0, sizeof q);
    (void)str_print(q.ifr_name, sizeof q.ifr_name, "%s", name);
    return ioctl(fd, SIOCGIFINDEX, &q) < 0 ? 0 : (unsigned)q.ifr_ifindex;
}

static int move_device(const char *from, const char *to, int netns)
{
    struct address list[ADDRESSES_MOST];
    SCOPED(scope_close) int here = open_netlink();
    SCOPED(scope_close) int there = open_netlink_in(netns);
    unsigned index = if_nametoindex(from);
    size_t n = 0;
    int r;

    if (here < 0 || there < 0) {
        return here < 0 ? here : there;
    }
    if (index == 0) {
        return -ENODEV;
    }
    r = list_addresses(here, index, list, &n);
    r = r == 0 ? move_link(here, index, to, netns) : r;
    index = r == 0 ? index_in(there, to) : 0;
    r = r == 0 && index == 0 ? -ENODEV : r;
    r = r == 0 ? raise_link(there, index) : r;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = add_address(there, index, &list[i]);
        r = r == -EEXIST ? 0 : r;
    }
    return r;
}

int netdev_move_all(const json_t *config, int netns, struct err *e)
{
    const char *from;
    json_t *item;

    json_object_foreach(config_get(config, "linux.netDevices"), from, item)
    {
        const char *to = config_text(item, "name", from);
        int r = move_device(from, to[0] != '\0' ? to : from, netns);

        if (r < 0) {
            return err_sys(e, r, "cannot move network device '%s' into the container",
                           from);
        }
    }
    return 0;
}
