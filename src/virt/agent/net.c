/* net.c - the network of a machine whose system does not see to it: its host says what DHCP would.
 *
 * The host has chosen the address when the guest was created, and hands it over: nobody has to
 * be asked, and one command begins with a network that works.  A system with a program for
 * networks asks by itself; one without, such as Debian's least with systemd, has what is set
 * here.  Source: netdevice(7). */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define SETS_CARDS                                                                       \
    "/strata/sets-cards" /* of our own first file system: we, not the system */
#define WORDS_BYTES  512
#define WAIT_MS      2000
#define WAIT_STEP_MS 5
#define FILE_BYTES   (256 << 10)

struct card {
    char mac[18];
    struct in_addr address, mask, gateway;
    bool leads_on; /* the gateway's way leads elsewhere */
};

/* ---- what is said ---- */

/* IP/BITS. */
static void read_address(const char *text, struct card *c)
{
    char ip[INET_ADDRSTRLEN] = "";
    const char *slash = strchr(text, '/');
    int bits = slash != NULL ? atoi(slash + 1) : 0;

    if (bits < 1 || bits > 32 || (size_t)(slash - text) >= sizeof ip) {
        return;
    }
    memcpy(ip, text, (size_t)(slash - text));
    if (inet_pton(AF_INET, ip, &c->address) == 1) {
        c->mask.s_addr = htonl(~UINT32_C(0) << (32 - bits));
    }
}

static void read_words(char *words, struct card *c)
{
    char *word;

    words[strcspn(words, "\n")] = '\0';
    while ((word = strsep(&words, ",")) != NULL) {
        if (strncmp(word, "mac=", 4) == 0 && strlen(word + 4) < sizeof c->mac) {
            (void)strcpy(c->mac, word + 4);
        } else if (strncmp(word, "address=", 8) == 0) {
            read_address(word + 8, c);
        } else if (strncmp(word, "gateway=", 8) == 0) {
            (void)inet_pton(AF_INET, word + 8, &c->gateway);
        } else if (strcmp(word, "leads-on") == 0) {
            c->leads_on = true;
        }
    }
}

/* ---- the card ---- */

static bool has_mac(const char *name, const char *mac)
{
    char path[320], text[32];

    (void)snprintf(path, sizeof path, "/sys/class/net/%s/address", name);
    return agent_read_small(path, text, sizeof text) > 0 &&
           strncmp(text, mac, strlen(mac)) == 0;
}

static bool find_card(const char *mac, char out[IFNAMSIZ])
{
    DIR *d = opendir("/sys/class/net");
    const struct dirent *x;
    bool found = false;

    while (d != NULL && !found && (x = readdir(d)) != NULL) {
        found = x->d_name[0] != '.' && strlen(x->d_name) < IFNAMSIZ &&
                has_mac(x->d_name, mac);
        if (found) {
            (void)strcpy(out, x->d_name);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return found;
}

static bool await_card(const char *mac, char out[IFNAMSIZ])
{
    const struct timespec step = {0, WAIT_STEP_MS * 1000000L};

    for (int ms = 0; ms < WAIT_MS; ms += WAIT_STEP_MS) {
        if (find_card(mac, out)) {
            return true;
        }
        (void)nanosleep(&step, NULL);
    }
    return false;
}

static void put(struct sockaddr *to, struct in_addr address)
{
    const struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = address};

    memcpy(to, &in, sizeof in);
}

int agent_raise_loopback(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? -errno : 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

static int set_up(int fd, const char *name, const struct card *c)
{
    struct ifreq q = {.ifr_flags = 0};
    struct rtentry way = {.rt_flags = RTF_UP | RTF_GATEWAY};

    (void)strcpy(q.ifr_name, name);
    put(&q.ifr_addr, c->address);
    if (ioctl(fd, SIOCSIFADDR, &q) < 0) {
        return -errno;
    }
    put(&q.ifr_netmask, c->mask);
    if (ioctl(fd, SIOCSIFNETMASK, &q) < 0) {
        return -errno;
    }
    q.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &q) < 0) {
        return -errno;
    }
    put(&way.rt_dst, (struct in_addr){INADDR_ANY});
    put(&way.rt_genmask, (struct in_addr){INADDR_ANY});
    put(&way.rt_gateway, c->gateway);
    return c->leads_on && ioctl(fd, SIOCADDRT, &way) < 0 && errno != EEXIST ? -errno : 0;
}

/* The first that is a device's. */
static bool find_any(char out[IFNAMSIZ])
{
    DIR *d = opendir("/sys/class/net");
    const struct dirent *x;
    char path[320];
    bool found = false;

    while (d != NULL && !found && (x = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, "/sys/class/net/%s/device", x->d_name);
        found = x->d_name[0] != '.' && strlen(x->d_name) < IFNAMSIZ &&
                access(path, F_OK) == 0;
        if (found) {
            (void)strcpy(out, x->d_name);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return found;
}

static int set_mac(int fd, const char *name, const char *mac)
{
    struct ifreq q = {.ifr_hwaddr = {.sa_family = ARPHRD_ETHER}};
    unsigned char *b = (unsigned char *)q.ifr_hwaddr.sa_data;

    (void)strcpy(q.ifr_name, name);
    if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", b, b + 1, b + 2, b + 3, b + 4,
               b + 5) != 6) {
        return -EPROTO;
    }
    return ioctl(fd, SIOCSIFHWADDR, &q) < 0 ? -errno : 0;
}

int agent_change_network(const char *words)
{
    char text[WORDS_BYTES], name[IFNAMSIZ] = "";
    struct card c = {.mac = ""};
    int fd, r;

    (void)snprintf(text, sizeof text, "%s", words);
    read_words(text, &c);
    if (!find_any(name)) {
        return -ENODEV;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    r = fd < 0 ? -errno : set_mac(fd, name, c.mac);
    r = r == 0 && c.mask.s_addr != 0 ? set_up(fd, name, &c) : r;
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

int agent_take_card(const char *words)
{
    char text[WORDS_BYTES], name[IFNAMSIZ] = "";
    struct card c = {.mac = ""};
    int fd, r;

    (void)snprintf(text, sizeof text, "%s", words);
    read_words(text, &c);
    if (!await_card(c.mac, name)) {
        return -ENODEV;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    r = fd < 0 ? -errno : set_up(fd, name, &c);
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

bool agent_knows_networks(const char *root)
{
    static const char *const signs[] = {
        "/usr/bin/cloud-init", "/etc/network/interfaces", "/usr/sbin/NetworkManager",
        "/usr/sbin/connmand",
        "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"};
    char path[128];
    bool found = false;

    for (unsigned i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", root, signs[i]);
        found = found || faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    }
    return found;
}

void agent_join_network(void)
{
    char words[WORDS_BYTES], name[IFNAMSIZ] = "";
    struct card c = {.mac = ""};
    int fd, r;

    if (agent_read_small("/" FRAME_BOOT_NETWORK, words, sizeof words) <= 0) {
        return;
    }
    (void)agent_load_modules("network");
    read_words(words, &c);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        r = -errno;
    } else if (!await_card(c.mac, name)) {
        r = -ENODEV;
    } else {
        r = c.mask.s_addr != 0 ? set_up(fd, name, &c) : 0;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (r < 0) {
        (void)fprintf(stderr, "strata: the machine has no network: %s\n", strerror(-r));
    }
}

/* ---- files ---- */

static void put_file(const char *to, const char *text, bool keeps)
{
    if (!keeps || faccessat(AT_FDCWD, to, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        agent_write_new(to, text);
    }
}

static void copy_file(const char *from, const char *to, bool keeps)
{
    char *text = malloc(FILE_BYTES);
    ssize_t n = text == NULL ? -1 : agent_read_small(from, text, FILE_BYTES);

    if (n >= 0) {
        put_file(to, text, keeps);
    }
    free(text);
}

void agent_plant_names(const char *host, bool keeps)
{
    char line[80];

    copy_file("/" FRAME_BOOT_RESOLV, "/newroot/etc/resolv.conf", keeps);
    copy_file("/" FRAME_BOOT_HOSTS, "/newroot/etc/hosts", keeps);
    if (host[0] != '\0') {
        (void)snprintf(line, sizeof line, "%s\n", host);
        put_file("/newroot/etc/hostname", line, keeps);
    }
}
