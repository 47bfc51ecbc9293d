/* host/probe_host.c - the host itself, its network, storage and engines, tried. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/loop.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "host/probe_private.h"

#define RESERVE_BYTES (UINT64_C(8) << 30) /* what a 32-bit bytecode memory wants */
#define KERNEL_MAJOR  5
#define KERNEL_MINOR  10
#define PAGE_BYTES    4096

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#    define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

void probe_kernel(struct probe_result *r, long arg)
{
    struct utsname u;
    int major = 0;
    int minor = 0;
    bool enough;

    (void)arg;
    if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2) {
        probe_no(r, "uname");
        return;
    }
    enough = major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR);
    probe_say(r, enough ? PROBE_YES : PROBE_PARTIAL, "%.64s %.64s %.32s", u.sysname,
              u.release, u.machine);
}

void probe_cpus(struct probe_result *r, long arg)
{
    (void)arg;
    probe_say(r, PROBE_YES, "%d usable of %ld", get_nprocs(),
              sysconf(_SC_NPROCESSORS_CONF));
}

void probe_memory(struct probe_result *r, long arg)
{
    struct sysinfo s;
    char total[UNITS_TEXT_BYTES];
    char swap[UNITS_TEXT_BYTES];

    (void)arg;
    if (sysinfo(&s) < 0) {
        probe_no(r, "sysinfo");
        return;
    }
    units_print_size((uint64_t)s.totalram * s.mem_unit, total);
    units_print_size((uint64_t)s.totalswap * s.mem_unit, swap);
    probe_say(r, PROBE_YES, "%s, swap %s", total, swap);
}

static void read_line(const char *file, char *out, size_t size)
{
    SCOPED(scope_free) char *text = NULL;

    out[0] = '\0';
    if (file_read(AT_FDCWD, file, 65536, &text, NULL) == 0) {
        text[strcspn(text, "\n")] = '\0';
        (void)snprintf(out, size, "%s", text);
    }
}

void probe_hugepages(struct probe_result *r, long arg)
{
    char count[32];
    char thp[64];

    (void)arg;
    read_line("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", count,
              sizeof count);
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof thp);
    probe_say(r,
              atoi(count) > 0                                    ? PROBE_YES
              : strstr(thp, "[never]") != NULL || thp[0] == '\0' ? PROBE_NO
                                                                 : PROBE_PARTIAL,
              "%s reserved of 2 MiB; transparent: %s", count[0] != '\0' ? count : "0",
              thp[0] != '\0' ? thp : "absent");
}

/* From the status file, so that the names of capabilities need not be here. */
void probe_caps(struct probe_result *r, long arg)
{
    SCOPED(scope_free) char *text = NULL;
    const char *line;
    char last[16];
    uint64_t have;
    uint64_t missing;
    struct str s = {0};

    (void)arg;
    read_line("/proc/sys/kernel/cap_last_cap", last, sizeof last);
    if (file_read(AT_FDCWD, "/proc/self/status", 65536, &text, NULL) < 0 ||
        (line = strstr(text, "CapEff:")) == NULL) {
        probe_no(r, "/proc/self/status");
        return;
    }
    have = strtoull(line + strlen("CapEff:"), NULL, 16);
    missing = ((UINT64_C(2) << atoi(last)) - 1) & ~have;
    if (missing == 0 || geteuid() != 0) {
        probe_say(r, missing == 0 ? PROBE_YES : PROBE_PARTIAL, "%s",
                  missing == 0 ? "all" : "an ordinary user's");
        return;
    }
    for (int i = 0; i < 64; i++) {
        if ((missing >> i & 1) != 0) {
            str_addf(&s, " %d%s", i,
                     i == 24   ? " (CAP_SYS_RESOURCE)"
                     : i == 21 ? " (CAP_SYS_ADMIN)"
                     : i == 12 ? " (CAP_NET_ADMIN)"
                               : "");
        }
    }
    probe_say(r, PROBE_PARTIAL, "all but number%s", str_text(&s));
    str_fini(&s);
}

void probe_psi(struct probe_result *r, long arg)
{
    char line[128];

    (void)arg;
    read_line("/proc/pressure/memory", line, sizeof line);
    if (str_starts(line, "some ")) {
        probe_say(r, PROBE_YES, "/proc/pressure");
    } else {
        probe_say(r, PROBE_NO, "/proc/pressure is absent or empty");
    }
}

/* A netlink message that is put together piece by piece. */
struct message {
    _Alignas(NLMSG_ALIGNTO) char bytes[1024];
    size_t len;
};

static struct nlmsghdr *begin(struct message *m, unsigned type, unsigned flags,
                              const void *body, size_t body_len)
{
    struct nlmsghdr *h = (struct nlmsghdr *)(void *)(m->bytes + m->len);

    h->nlmsg_type = (uint16_t)type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    h->nlmsg_seq = 1;
    h->nlmsg_len = (uint32_t)NLMSG_LENGTH(body_len);
    memcpy(NLMSG_DATA(h), body, body_len);
    m->len += NLMSG_ALIGN(h->nlmsg_len);
    return h;
}

static void add_text(struct message *m, struct nlmsghdr *h, unsigned type,
                     const char *text, bool with_nul)
{
    struct rtattr *a = (struct rtattr *)(void *)(m->bytes + m->len);
    size_t len = strlen(text) + with_nul;

    a->rta_type = (uint16_t)type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), text, len);
    m->len += RTA_ALIGN(a->rta_len);
    h->nlmsg_len = (uint32_t)(m->bytes + m->len - (char *)h);
}

/* Send, and take the first acknowledgement: 0 or -errno. */
static int ask(int protocol, struct message *m)
{
    SCOPED(scope_close)
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    _Alignas(NLMSG_ALIGNTO) char answer[4096];
    const struct nlmsghdr *h = (const struct nlmsghdr *)(void *)answer;
    const struct nlmsgerr *err;
    ssize_t n;

    if (fd < 0 || send(fd, m->bytes, m->len, 0) < 0) {
        return -errno;
    }
    n = recv(fd, answer, sizeof answer, 0);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof *err) || h->nlmsg_type != NLMSG_ERROR) {
        return n < 0 ? -errno : -EPROTO;
    }
    err = NLMSG_DATA(h);
    return err->error;
}

static bool enter(struct probe_result *r)
{
    int result = probe_enter(false, true);

    if (result < 0) {
        errno = -result;
        probe_no(r, "network namespace");
    }
    return result == 0;
}

static void say_answer(struct probe_result *r, int result, const char *what)
{
    errno = -result;
    if (result < 0) {
        probe_no(r, what);
    } else {
        probe_say(r, PROBE_YES, "made %s in a new network namespace", what);
    }
}

void probe_link(struct probe_result *r, long veth)
{
    const char *kind = veth != 0 ? "veth" : "bridge";
    const struct ifinfomsg body = {.ifi_family = AF_UNSPEC};
    struct message m = {.len = 0};
    struct nlmsghdr *h;
    struct rtattr *info;

    if (!enter(r)) {
        return;
    }
    h = begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &body, sizeof body);
    add_text(&m, h, IFLA_IFNAME, "probe0", true);
    info = (struct rtattr *)(void *)(m.bytes + m.len);
    m.len += RTA_LENGTH(0);
    add_text(&m, h, IFLA_INFO_KIND, kind, true);
    info->rta_type = IFLA_LINKINFO;
    info->rta_len = (uint16_t)(m.bytes + m.len - (char *)info);
    say_answer(r, ask(NETLINK_ROUTE, &m), kind);
}

void probe_nft(struct probe_result *r, long arg)
{
    const struct nfgenmsg batch = {.version = NFNETLINK_V0,
                                   .res_id = __builtin_bswap16(NFNL_SUBSYS_NFTABLES)};
    const struct nfgenmsg body = {.nfgen_family = NFPROTO_IPV4, .version = NFNETLINK_V0};
    struct message m = {.len = 0};
    struct nlmsghdr *h;

    (void)arg;
    if (!enter(r)) {
        return;
    }
    (void)begin(&m, NFNL_MSG_BATCH_BEGIN, 0, &batch, sizeof batch);
    h = begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK,
              &body, sizeof body);
    add_text(&m, h, NFTA_TABLE_NAME, "probe", true);
    (void)begin(&m, NFNL_MSG_BATCH_END, 0, &batch, sizeof batch);
    say_answer(r, ask(NETLINK_NETFILTER, &m), "an nftables table");
}

void probe_tun(struct probe_result *r, long arg)
{
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "probe%d"};
    SCOPED(scope_close) int fd = -1;

    (void)arg;
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        probe_no(r, "/dev/net/tun");
    } else if (enter(r)) {
        say_answer(r, ioctl(fd, TUNSETIFF, &req) < 0 ? -errno : 0, "a tap port");
    }
}

void probe_fuse(struct probe_result *r, long arg)
{
    SCOPED(scope_close) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[128];
    int result;

    (void)arg;
    if (fd < 0) {
        probe_no(r, "/dev/fuse");
        return;
    }
    result = probe_enter(false, false);
    (void)str_print(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0",
                    fd);
    if (result < 0 || mount("probe", "/tmp", "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
        probe_no(r, "mount");
    } else {
        probe_say(r, PROBE_YES, "mounted one");
    }
}

void probe_loop(struct probe_result *r, long arg)
{
    SCOPED(scope_close) int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

    (void)arg;
    if (fd < 0) {
        probe_no(r, "/dev/loop-control");
    } else {
        probe_say(r, PROBE_YES, "/dev/loop-control opens");
    }
}

void probe_jit(struct probe_result *r, long arg)
{
    unsigned char *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int (*code)(void);

    (void)arg;
    if (page == MAP_FAILED) {
        probe_no(r, "mmap");
        return;
    }
#if defined(__x86_64__)
    memcpy(page, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
#elif defined(__aarch64__)
    memcpy(page, "\x40\x05\x80\x52\xc0\x03\x5f\xd6", 8); /* mov w0, #42; ret */
    __builtin___clear_cache((char *)page, (char *)page + 8);
#endif
    if (mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC) < 0) {
        probe_no(r, "mprotect to executable");
        return;
    }
    memcpy(&code, &page, sizeof code);
    probe_say(r, code() == 42 ? PROBE_YES : PROBE_NO, "ran code written by the process");
}

void probe_reserve(struct probe_result *r, long arg)
{
    const void *at = mmap(NULL, RESERVE_BYTES, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)arg;
    if (at == MAP_FAILED) {
        probe_no(r, "8 GiB of address space");
    } else {
        probe_say(r, PROBE_YES, "8 GiB of address space");
    }
}

void probe_binfmt(struct probe_result *r, long arg)
{
    int result = probe_enter(true, false);

    (void)arg;
    errno = -result;
    if (result == 0 && mount("binfmt_misc", "/tmp", "binfmt_misc", 0, NULL) == 0) {
        probe_say(r, PROBE_YES, "a private binfmt_misc in a user namespace");
    } else if (access("/proc/sys/fs/binfmt_misc/register", F_OK) == 0) {
        probe_say(r, PROBE_PARTIAL, "the host's binfmt_misc only");
    } else {
        probe_no(r, "binfmt_misc");
    }
}

void probe_dispatch(struct probe_result *r, long arg)
{
    char selector = SYSCALL_DISPATCH_FILTER_ALLOW;

    (void)arg;
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) < 0) {
        probe_no(r, "PR_SET_SYSCALL_USER_DISPATCH");
    } else {
        (void)prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
        probe_say(r, PROBE_YES, "PR_SET_SYSCALL_USER_DISPATCH");
    }
}
