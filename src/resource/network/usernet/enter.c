/* The guest's interface is made by a child: it enters the guest's namespaces, which
 * cannot be left again, and hands the open descriptor back over a socket. */
#include "resource/network/usernet/usernet.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <linux/if.h>
#include <linux/if_tun.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "host/netlink/netlink.h"

/* What the child sends: the error record, and with code 0 the descriptor. */
static int send_result(int to, int fd, const struct err *e)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct err copy = *e;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof copy};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (e->code == 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(to, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int receive_result(int from, int *ret_fd, struct err *e)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct err said = {0};
    struct iovec iov = {.iov_base = &said, .iov_len = sizeof said};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
    if (n != sizeof said) {
        return err_set(e, -EPROTO, "cannot enter the guest's network: the child died");
    }
    if (said.code != 0) {
        said.text[sizeof said.text - 1] = '\0';
        return err_set(e, said.code, "%s", said.text);
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS) {
        return err_set(e, -EPROTO, "cannot enter the guest's network: no descriptor");
    }
    memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
    return 0;
}

static bool is_own_userns(int fd)
{
    struct stat own;
    struct stat other;
    return stat("/proc/self/ns/user", &own) == 0 && fstat(fd, &other) == 0 &&
           own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static int enter_namespaces(const struct usernet_options *o, struct err *e)
{
    if (o->userns >= 0 && !is_own_userns(o->userns) &&
        setns(o->userns, CLONE_NEWUSER) < 0) {
        return err_sys(e, -errno, "cannot enter the guest's user namespace");
    }
    if (setns(o->netns, CLONE_NEWNET) < 0) {
        return err_sys(e, -errno, "cannot enter the guest's network namespace");
    }
    return 0;
}

/* A tap belongs to the namespace in which its device was opened.  Where the user may
 * not open it, a packet socket does the same at some cost. */
static int make_tap(const struct usernet_options *o, int *ret_fd)
{
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    SCOPED(scope_close) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    int r =
        fd < 0 ? -errno : str_print(req.ifr_name, sizeof req.ifr_name, "%s", o->ifname);
    if (r == 0 && ioctl(fd, TUNSETIFF, &req) < 0) {
        r = -errno;
    }
    if (r == 0) {
        *ret_fd = scope_take_fd(&fd);
    }
    return r;
}

static void parse(const char *text, struct network_ip *ret)
{
    (void)network_ip_parse(text, ret);
}

static int set_mtu(const char *ifname)
{
    struct ifreq req = {.ifr_mtu = USERNET_MTU};
    SCOPED(scope_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = str_print(req.ifr_name, sizeof req.ifr_name, "%s", ifname);
    if (r == 0 && (fd < 0 || ioctl(fd, SIOCSIFMTU, &req) < 0)) {
        r = -errno;
    }
    return r;
}

/* libslirp advertises its prefix.  A second address made from that would be the source
 * of some answers, and their receiver would not know it. */
static void ignore_advertisements(const char *ifname)
{
    char path[128];
    if (str_print(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_ra", ifname) ==
        0) {
        (void)file_write_existing(AT_FDCWD, path, "0");
    }
}

static int configure(const struct usernet_options *o, struct netlink *nl)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink_result result;
    struct netlink_link link;
    struct network_ip ip[4];
    int r = netlink_find_link(nl, o->ifname, &link);
    if (r < 0) {
        return r;
    }
    ignore_advertisements(o->ifname);
    parse(USERNET_GUEST4, &ip[0]);
    parse(USERNET_GATEWAY4, &ip[1]);
    parse(USERNET_GUEST6, &ip[2]);
    parse(USERNET_GATEWAY6, &ip[3]);
    netlink_add_up(&b, 1); /* loopback */
    netlink_add_up(&b, link.index);
    netlink_add_address(&b, link.index, AF_INET, ip[0].bytes, 24);
    netlink_add_default_route(&b, link.index, AF_INET, ip[1].bytes);
    unsigned six = b.n;
    if (!o->no_ipv6) {
        netlink_add_address(&b, link.index, AF_INET6, ip[2].bytes, 64);
        netlink_add_default_route(&b, link.index, AF_INET6, ip[3].bytes);
    }
    netlink_add_settle(&b, o->ifname);
    r = netlink_send(nl, &b, NULL, NULL, &result);
    return r < 0 && result.at >= six ? 0 : r; /* a host without IPv6 */
}

static int make_interface(const struct usernet_options *o, int *ret_fd, struct err *e)
{
    SCOPED(netlink_close) struct netlink nl = {.fd = -1};
    int fd = -1;
    int r = enter_namespaces(o, e);
    if (r == 0 && (o->packet || make_tap(o, &fd) < 0)) {
        r = usernet_packet(o, &fd, e);
    }
    if (r == 0) {
        r = set_mtu(o->ifname);
    }
    if (r == 0) {
        r = netlink_open(&nl, NETLINK_ROUTE, -1);
    }
    if (r == 0) {
        r = configure(o, &nl);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot make interface '%s' of the guest", o->ifname);
    }
    *ret_fd = fd;
    return 0;
}

int usernet_enter(const struct usernet_options *o, int *ret_fd, struct err *e)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        return err_sys(e, -errno, "cannot enter the guest's network");
    }
    pid_t child = fork();
    if (child == 0) {
        struct err said = {0};
        int fd = -1;
        (void)make_interface(o, &fd, &said);
        _exit(send_result(ends[1], fd, &said) < 0);
    }
    (void)close(ends[1]);
    int r = child < 0 ? err_sys(e, -errno, "cannot enter the guest's network")
                      : receive_result(ends[0], ret_fd, e);
    (void)close(ends[0]);
    if (child > 0) {
        (void)waitpid(child, NULL, 0);
    }
    return r;
}
