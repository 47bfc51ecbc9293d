/* cards.c - the first process of a test's Linux: loads the modules of virtio devices and uses
 * each device by the kernel's own interfaces.
 *
 * Arguments: rng, net=ADDRESS, vsock=PORT, balloon=MIB, port=NAME, in the order in which they are to be done. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <linux/vm_sockets.h>

#define TCP_PORT    9000
#define UDP_PORT    9001
#define TCP_BYTES   (4u << 20)
#define UDP_ROUNDS  300
#define CHUNK_BYTES 65536u

static void load_modules(const char *const *names)
{
    for (; *names != NULL; names++) {
        char path[64];
        int fd;

        (void)snprintf(path, sizeof path, "/%s.ko", *names);
        fd = open(path, O_RDONLY);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0) {
            printf("FAILED: module %s: %s\n", *names, strerror(errno));
        }
        (void)close(fd);
    }
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool check(bool so, const char *what)
{
    if (!so) {
        printf("FAILED: %s: %s\n", what, strerror(errno));
    }
    return so;
}

static void fill(uint8_t *b, size_t bytes, uint64_t from)
{
    for (size_t i = 0; i < bytes; i++) {
        uint64_t at = from + i;

        b[i] = (uint8_t)(at ^ at >> 8 ^ at >> 16);
    }
}

/* ---- random bytes ---- */

static void do_rng(void)
{
    uint8_t a[2048];
    unsigned zeros = 0;
    size_t have = 0;
    int fd;

    load_modules((const char *const[]){"virtio-rng", NULL});
    fd = open("/sys/class/misc/hw_random/rng_current", O_RDONLY);
    if (check(fd >= 0, "hw_random")) {
        char name[64] = "";

        (void)!read(fd, name, sizeof name - 1);
        printf("rng: %s", name);
        (void)close(fd);
    }
    (void)mknod("/dev/hwrng", S_IFCHR | 0600, makedev(10, 183));
    fd = open("/dev/hwrng", O_RDONLY);
    while (check(fd >= 0, "hwrng") && have < sizeof a) {
        ssize_t n = read(fd, a + have, sizeof a - have);

        if (!check(n > 0, "hwrng")) {
            return;
        }
        have += (size_t)n;
    }
    for (size_t i = 0; i < sizeof a; i++) {
        zeros += a[i] == 0;
    }
    printf("rng: %zu bytes, %s\n", have, zeros < 40 ? "random" : "FAILED");
}

/* ---- network ---- */

static void set_address(int fd, int what, const char *address)
{
    struct ifreq req = {.ifr_name = "eth0"};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&req.ifr_addr;

    in->sin_family = AF_INET;
    (void)inet_pton(AF_INET, address, &in->sin_addr);
    (void)check(ioctl(fd, (unsigned long)what, &req) == 0, address);
}

static void set_route(int fd)
{
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

    ((struct sockaddr_in *)(void *)&route.rt_dst)->sin_family = AF_INET;
    ((struct sockaddr_in *)(void *)&route.rt_genmask)->sin_family = AF_INET;
    ((struct sockaddr_in *)(void *)&route.rt_gateway)->sin_family = AF_INET;
    (void)inet_pton(AF_INET, "10.0.2.2",
                    &((struct sockaddr_in *)(void *)&route.rt_gateway)->sin_addr);
    (void)check(ioctl(fd, SIOCADDRT, &route) == 0, "route");
}

static void say_card(int fd)
{
    struct ethtool_value tso = {.cmd = ETHTOOL_GTSO};
    struct ethtool_value link = {.cmd = ETHTOOL_GLINK};
    struct ifreq req = {.ifr_name = "eth0"};
    uint8_t mac[6];

    (void)check(ioctl(fd, SIOCGIFHWADDR, &req) == 0, "address");
    memcpy(mac, req.ifr_hwaddr.sa_data, 6);
    printf("net: %02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
           mac[5]);
    (void)check(ioctl(fd, SIOCGIFMTU, &req) == 0, "mtu");
    printf(" mtu %d", req.ifr_mtu);
    req.ifr_data = (void *)&tso;
    (void)check(ioctl(fd, SIOCETHTOOL, &req) == 0, "tso");
    req.ifr_data = (void *)&link;
    (void)check(ioctl(fd, SIOCETHTOOL, &req) == 0, "link");
    printf(" tso %u link %u\n", tso.data, link.data);
}

static void net_up(void)
{
    struct ifreq req = {.ifr_name = "eth0", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    (void)check(ioctl(fd, SIOCSIFFLAGS, &req) == 0, "eth0");
    set_address(fd, SIOCSIFADDR, "10.0.2.100");
    set_address(fd, SIOCSIFNETMASK, "255.255.255.0");
    set_route(fd);
    say_card(fd);
    (void)close(fd);
}

static int join(const char *address, int kind, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, kind, 0);

    (void)inet_pton(AF_INET, address, &to.sin_addr);
    (void)check(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    return fd;
}

/* Send and receive at once what the other end sends back; whether it is the same. */
static bool echo_stream(int fd, uint64_t bytes)
{
    static uint8_t out[CHUNK_BYTES], in[CHUNK_BYTES], want[CHUNK_BYTES];
    uint64_t sent = 0;
    uint64_t got = 0;

    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    while (got < bytes) {
        struct pollfd p = {.fd = fd,
                           .events = (short)(POLLIN | (sent < bytes ? POLLOUT : 0))};
        size_t n = bytes - sent < sizeof out ? (size_t)(bytes - sent) : sizeof out;
        ssize_t r;

        if (poll(&p, 1, 20000) <= 0) {
            errno = ETIMEDOUT;
            return false;
        }
        fill(out, n, sent);
        r = (p.revents & POLLOUT) != 0 ? write(fd, out, n) : 0;
        sent += r > 0 ? (uint64_t)r : 0;
        r = (p.revents & ~POLLOUT) != 0 ? read(fd, in, sizeof in) : -2;
        if (r == 0 || (r == -1 && errno != EAGAIN)) {
            return false;
        }
        if (r > 0) {
            fill(want, (size_t)r, got);
            if (memcmp(in, want, (size_t)r) != 0) {
                errno = EBADMSG;
                return false;
            }
            got += (uint64_t)r;
        }
    }
    return true;
}

static unsigned echo_datagrams(int fd)
{
    uint8_t out[1400];
    uint8_t in[2000];
    unsigned came = 0;

    for (unsigned i = 0; i < UDP_ROUNDS; i++) {
        size_t n = 8 + i * 37 % 1392;
        struct pollfd p = {.fd = fd, .events = POLLIN};

        fill(out, n, i);
        (void)!write(fd, out, n);
        came += poll(&p, 1, 2000) == 1 && read(fd, in, sizeof in) == (ssize_t)n &&
                memcmp(in, out, n) == 0;
    }
    return came;
}

static void do_net(const char *address)
{
    double start;
    int fd;

    load_modules((const char *const[]){"failover", "net_failover", "virtio_net", NULL});
    net_up();
    fd = join(address, SOCK_DGRAM, UDP_PORT);
    printf("net: %u of %u datagrams\n", echo_datagrams(fd), UDP_ROUNDS);
    (void)close(fd);
    fd = join(address, SOCK_STREAM, TCP_PORT);
    start = now();
    if (check(echo_stream(fd, TCP_BYTES), "stream")) {
        printf("net: stream right, %.2f s\n", now() - start);
    }
    (void)close(fd);
}

/* ---- sockets between guest and host ---- */

/* Send back what one program of the host says, until it ends. */
static void serve_one(int listener)
{
    static uint8_t b[CHUNK_BYTES];
    struct pollfd p = {.fd = listener, .events = POLLIN};
    uint64_t bytes = 0;
    ssize_t n;
    int fd;

    if (!check(poll(&p, 1, 30000) == 1, "vsock: nobody came")) {
        return;
    }
    fd = accept(listener, NULL, NULL);
    while ((n = read(fd, b, sizeof b)) > 0) {
        for (ssize_t done = 0, r; done < n; done += r) {
            r = write(fd, b + done, (size_t)(n - done));
            if (!check(r > 0, "vsock: write")) {
                return;
            }
        }
        bytes += (uint64_t)n;
    }
    (void)close(fd);
    printf("vsock: served %llu bytes\n", (unsigned long long)bytes);
    (void)sleep(1); /* what is under way would be lost with the machine */
}

static void do_vsock(const char *port)
{
    struct sockaddr_vm host = {
        .svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = (unsigned)atoi(port)};
    struct sockaddr_vm own = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 1};
    int listener;
    int fd;

    load_modules((const char *const[]){"vsock", "vmw_vsock_virtio_transport_common",
                                       "vmw_vsock_virtio_transport", NULL});
    listener = socket(AF_VSOCK, SOCK_STREAM, 0);
    (void)check(bind(listener, (struct sockaddr *)&own, sizeof own) == 0 &&
                    listen(listener, 4) == 0,
                "vsock: listen");
    fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    printf("vsock: a port of the host: %s\n",
           connect(fd, (struct sockaddr *)&host, sizeof host) == 0 ? "FAILED, it is open"
                                                                   : strerror(errno));
    (void)close(fd);
    (void)fflush(stdout);
    serve_one(listener);
}

/* ---- memory that goes back ---- */

static long free_mib(void)
{
    char text[4096] = "";
    int fd = open("/proc/meminfo", O_RDONLY);
    const char *at;

    (void)!read(fd, text, sizeof text - 1);
    (void)close(fd);
    at = strstr(text, "MemFree:");
    return at == NULL ? 0 : atol(at + 8) / 1024;
}

/* The host wants so much; and what a program had is reported some seconds after its end. */
static void do_balloon(const char *mib)
{
    long before = free_mib();
    long want = atol(mib);
    int status = 0;

    load_modules((const char *const[]){"virtio_balloon", NULL});
    for (unsigned i = 0; i < 100 && before - free_mib() < want * 9 / 10; i++) {
        (void)usleep(100000);
    }
    printf("balloon: %s\n", before - free_mib() >= want * 9 / 10 ? "given" : "FAILED");
    (void)fflush(stdout);
    if (fork() == 0) {
        char *at = malloc(96u << 20);

        memset(at, 0x5a, 96u << 20);
        __asm__ volatile("" ::"r"(at) : "memory");
        printf("balloon: touched\n");
        (void)fflush(stdout);
        (void)sleep(1);
        _exit(0);
    }
    (void)wait(&status);
    (void)sleep(6);
    printf("balloon: freed\n");
    (void)fflush(stdout);
    (void)sleep(1);
}

/* ---- a named port ---- */

/* Its other end sends back what it gets. */
static void do_port(const char *name)
{
    char text[128] = "";
    unsigned major = 0;
    unsigned minor = 0;
    int fd;

    load_modules((const char *const[]){"virtio_console", NULL});
    for (unsigned i = 0; i < 50 && text[0] == '\0'; i++) {
        fd = open("/sys/class/virtio-ports/vport0p0/name", O_RDONLY);
        if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) {
            (void)usleep(100000);
        }
        (void)close(fd);
    }
    text[strcspn(text, "\n")] = '\0';
    printf("port: %s\n", strcmp(text, name) == 0 ? text : "FAILED, another name");
    fd = open("/sys/class/virtio-ports/vport0p0/dev", O_RDONLY);
    memset(text, 0, sizeof text);
    (void)check(fd >= 0 && read(fd, text, sizeof text - 1) > 0 &&
                    sscanf(text, "%u:%u", &major, &minor) == 2,
                "port: number");
    (void)close(fd);
    (void)mknod("/dev/port0", S_IFCHR | 0600, makedev(major, minor));
    fd = open("/dev/port0", O_RDWR);
    if (check(fd >= 0, "port: open")) {
        (void)check(echo_stream(fd, 300000), "port: stream");
        printf("port: bytes right\n");
    }
    (void)close(fd);
}

static const struct {
    const char *name;
    void (*fn)(const char *value);
} things[] = {
    {"net", do_net},
    {"vsock", do_vsock},
    {"balloon", do_balloon},
    {"port", do_port},
};

int main(int argc, char **argv)
{
    (void)mkdir("/proc", 0755);
    (void)mkdir("/sys", 0755);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    load_modules((const char *const[]){"virtio_ring", "virtio", "virtio_pci_legacy_dev",
                                       "virtio_pci_modern_dev", "virtio_pci", NULL});
    for (int i = 1; i < argc; i++) {
        const char *value = strchr(argv[i], '=');

        if (strcmp(argv[i], "rng") == 0) {
            do_rng();
        }
        for (unsigned k = 0; value != NULL && k < sizeof things / sizeof things[0]; k++) {
            if (strncmp(argv[i], things[k].name, (size_t)(value - argv[i])) == 0) {
                things[k].fn(value + 1);
            }
        }
        (void)fflush(stdout);
    }
    printf("done\n");
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 1;
}
