/* peripherals.c - what a machine has beside disks. */
#include "node/machine/peripherals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "contract/nic.h"
#include "node/machine/lease.h"
#include "node/machine/port.h"
#include "resource/network/nic/nic.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/balloon.h"
#include "virtio/device.h"
#include "virtio/fs/fs.h"
#include "virtio/net/net.h"
#include "virtio/rng.h"
#include "virtio/vsock/host.h"

#define MTU_USUAL 1500

/* The value of "name=value", or NULL. */
static const char *value_of(const char *word, const char *name)
{
    size_t n = strlen(name);

    return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static int number(const char *text, uint64_t most, uint64_t *ret, struct err *e)
{
    char *end = NULL;
    uint64_t n = strtoull(text, &end, 0);

    if (end == text || *end != '\0' || n > most) {
        return err_set(e, -EINVAL, "'%s' is no such number", text);
    }
    *ret = n;
    return 0;
}

static int parse_mac(const char *text, uint8_t ret[6], struct err *e)
{
    unsigned b[6];
    char rest;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4],
               &b[5], &rest) != 6 ||
        (b[0] & 1) != 0) {
        return err_set(e, -EINVAL, "'%s' is no address of a network card", text);
    }
    for (unsigned i = 0; i < 6; i++) {
        ret[i] = (uint8_t)b[i];
    }
    return 0;
}

static int net_word(struct peripheral *p, const char *word, struct err *e)
{
    const char *v;
    uint64_t n = 0;
    int r = 0;

    if ((v = value_of(word, "tap")) != NULL || (v = value_of(word, "frames")) != NULL) {
        p->kind = word[0] == 't' ? PERIPHERAL_TAP : PERIPHERAL_FRAMES;
        r = number(v, INT32_MAX, &n, e);
        p->fd = (int)n;
        return r;
    }
    if ((v = value_of(word, "mac")) != NULL) {
        return parse_mac(v, p->mac, e);
    }
    if ((v = value_of(word, "mtu")) != NULL) {
        r = number(v, UINT16_MAX, &n, e);
        p->mtu = (uint16_t)n;
        return r;
    }
    if ((v = value_of(word, "slot")) != NULL) {
        r = number(v, PCI_SLOTS - 1, &n, e);
        p->slot = (unsigned)n;
        return r;
    }
    return lease_word(&p->lease, word, e);
}

static int plan_rng(struct peripheral *p, unsigned index, const char *value,
                    struct err *e)
{
    const char *seed = value_of(value, "seed");

    (void)index;
    *p = (struct peripheral){.kind = PERIPHERAL_RNG, .fd = -1, .is_seeded = seed != NULL};
    if (seed != NULL) {
        return number(seed, UINT64_MAX, &p->seed, e);
    }
    return strcmp(value, "host") == 0
               ? 0
               : err_set(e, -EINVAL, "random bytes are 'host' or 'seed=NUMBER'");
}

static int vsock_word(struct peripheral *p, const char *word, struct err *e)
{
    const char *cid = value_of(word, "cid");
    const char *listen = value_of(word, "listen");
    uint64_t n = 0;
    int r;

    if (cid == NULL && listen == NULL) { /* a confined worker reaches no directory */
        return err_set(e, -EINVAL, "'%s' of sockets is not known (cid=N, listen=FD)",
                       word);
    }
    r = number(cid != NULL ? cid : listen, cid != NULL ? UINT32_MAX : INT32_MAX, &n, e);
    if (cid != NULL) {
        p->cid = (uint32_t)n;
    } else {
        p->listen = (int)n;
    }
    return r;
}

/* Each of the words of a value, which are separated by commas. */
static int each_word(struct peripheral *p, const char *value,
                     int (*fn)(struct peripheral *p, const char *word, struct err *e),
                     struct err *e)
{
    char words[PERIPHERAL_WORD_BYTES];
    char *rest = words;
    int r = 0;

    if (strlen(value) >= sizeof words) {
        return err_set(e, -EINVAL, "'%s' is too long", value);
    }
    (void)strcpy(words, value);
    while (r == 0 && rest != NULL) {
        r = fn(p, strsep(&rest, ","), e);
    }
    return r;
}

static int plan_net(struct peripheral *p, unsigned index, const char *value,
                    struct err *e)
{
    int r;

    *p =
        (struct peripheral){.fd = -1, .mac = {0x52, 0x54, 0, 0, 0, (uint8_t)(1 + index)}};
    r = each_word(p, value, net_word, e);
    if (r == 0 && p->fd < 0) {
        r = err_set(e, -EINVAL, "a network needs tap=FD or frames=FD");
    }
    memcpy(p->lease.mac, p->mac, sizeof p->mac);
    return r;
}

static int plan_vsock(struct peripheral *p, unsigned index, const char *value,
                      struct err *e)
{
    (void)index;
    *p = (struct peripheral){.kind = PERIPHERAL_VSOCK, .fd = -1, .listen = -1};
    return each_word(p, value, vsock_word, e);
}

static int plan_balloon(struct peripheral *p, unsigned index, const char *value,
                        struct err *e)
{
    (void)index;
    *p = (struct peripheral){.kind = PERIPHERAL_BALLOON, .fd = -1};
    return number(value, UINT32_MAX, &p->give_mib, e);
}

static int port_word(struct peripheral *p, const char *word, struct err *e)
{
    const char *name = value_of(word, "name");
    const char *fd = value_of(word, "fd");
    uint64_t n = 0;
    int r;

    if (name != NULL && name[0] != '\0' && strlen(name) < sizeof p->name) {
        (void)strcpy(p->name, name);
        return 0;
    }
    if (fd == NULL) {
        return err_set(e, -EINVAL, "'%s' of a port is not known (name=WORD, fd=FD)",
                       word);
    }
    r = number(fd, INT32_MAX, &n, e);
    p->fd = (int)n;
    return r;
}

static int plan_port(struct peripheral *p, unsigned index, const char *value,
                     struct err *e)
{
    int r;

    (void)index;
    *p = (struct peripheral){.kind = PERIPHERAL_PORT, .fd = -1};
    r = each_word(p, value, port_word, e);
    return r == 0 && (p->fd < 0 || p->name[0] == '\0')
               ? err_set(e, -EINVAL, "a port needs name=WORD and fd=FD")
               : r;
}

static int fs_word(struct peripheral *p, const char *word, struct err *e)
{
    const char *tag = value_of(word, "tag");
    const char *fd = value_of(word, "fd");
    uint64_t n = 0;
    int r;

    if (tag != NULL && strlen(tag) < sizeof p->name) {
        (void)strcpy(p->name, tag);
        return 0;
    }
    if (fd == NULL) {
        return err_set(e, -EINVAL, "'%s' of a file system is not known (tag=WORD, fd=FD)",
                       word);
    }
    r = number(fd, INT32_MAX, &n, e);
    p->fd = (int)n;
    return r;
}

static int plan_fs(struct peripheral *p, unsigned index, const char *value, struct err *e)
{
    int r;

    (void)index;
    *p = (struct peripheral){.kind = PERIPHERAL_FS, .fd = -1};
    r = each_word(p, value, fs_word, e);
    return r == 0 && (p->fd < 0 || p->name[0] == '\0')
               ? err_set(e, -EINVAL, "a file system needs tag=WORD and fd=FD")
               : r;
}

static const struct option {
    const char *name;
    int (*plan)(struct peripheral *p, unsigned index, const char *value, struct err *e);
} options[] = {
    {"--net", plan_net},         {"--rng", plan_rng},   {"--vsock", plan_vsock},
    {"--balloon", plan_balloon}, {"--port", plan_port}, {"--fs", plan_fs},
};

int peripherals_plan(struct peripherals *p, const char *option, const char *value,
                     struct err *e)
{
    for (unsigned i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(option, options[i].name) == 0) {
            int r = p->count < PERIPHERALS_MOST
                        ? options[i].plan(&p->one[p->count], p->count, value, e)
                        : err_set(e, -EINVAL, "there are too many devices");

            p->count += r == 0;
            return r < 0 ? r : 1;
        }
    }
    return 0;
}

static int open_vsock(struct peripheral *p, struct loop *l, struct virtio_device **ret,
                      struct err *e)
{
    int r = vsock_host_create(l, p->cid, -1, &p->sockets, e);

    if (r == 0 && p->listen >= 0) {
        r = vsock_host_listen(p->sockets, p->listen, e);
    }
    if (r == 0) {
        *ret = vsock_host_device(p->sockets);
    }
    return r;
}

static int open_nic(struct peripheral *p, struct loop *l, struct err *e)
{
    uint16_t mtu = p->mtu != 0                    ? p->mtu
                   : p->kind == PERIPHERAL_FRAMES ? NIC_MTU_MOST
                                                  : MTU_USUAL;

    int r = p->kind == PERIPHERAL_TAP ? nic_tap_create(l, p->fd, mtu, &p->nic, e)
                                      : nic_frames_create(l, p->fd, mtu, &p->nic, e);

    return r == 0 && p->lease.prefix != 0
               ? nic_lease_create(l, p->nic, &p->lease, &p->nic, e)
               : r;
}

static int open_one(struct peripheral *p, struct loop *l, struct virtio_device **ret,
                    struct err *e)
{
    struct virtio_net_options net = {.loop = l};
    const struct virtio_balloon_options balloon = {.loop = l};
    const struct virtio_rng_options rng = {
        .loop = l, .is_seeded = p->is_seeded, .seed = p->seed};
    int r;

    if (p->kind == PERIPHERAL_RNG) {
        return virtio_rng_create(&rng, ret, e);
    }
    if (p->kind == PERIPHERAL_BALLOON) {
        r = virtio_balloon_create(&balloon, ret, e);
        if (r == 0) {
            virtio_balloon_set(*ret, p->give_mib << 20);
        }
        return r;
    }
    if (p->kind == PERIPHERAL_PORT) {
        r = port_create(l, p->name, p->fd, &p->port, e);
        *ret = r == 0 ? port_device(p->port) : NULL;
        return r;
    }
    if (p->kind == PERIPHERAL_VSOCK) {
        return open_vsock(p, l, ret, e);
    }
    if (p->kind == PERIPHERAL_FS) {
        return virtio_fs_create(&(struct virtio_fs_options){.loop = l, .tag = p->name},
                                p->fd, ret, e);
    }
    r = open_nic(p, l, e);
    net.nic = p->nic;
    memcpy(net.mac, p->mac, sizeof net.mac);
    return r == 0 ? virtio_net_create(&net, ret, e) : r;
}

int peripherals_open(struct peripherals *p, struct loop *l, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < p->count && r == 0; i++) {
        r = open_one(&p->one[i], l, &p->device[i], e);
    }
    return r;
}

struct pci_card peripherals_card(const struct peripherals *p, unsigned i)
{
    struct pci_card c = vpci_card(p->device[i]);

    c.slot = p->one[i].slot;
    return c;
}

bool peripherals_give(struct peripherals *p, uint64_t bytes)
{
    bool has_one = false;

    for (unsigned i = 0; i < p->count && !has_one; i++) {
        if (p->one[i].kind == PERIPHERAL_BALLOON) {
            virtio_balloon_set(p->device[i], bytes);
            has_one = true;
        }
    }
    return has_one;
}

uint64_t peripherals_given(const struct peripherals *p)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < p->count; i++) {
        sum +=
            p->one[i].kind == PERIPHERAL_BALLOON ? virtio_balloon_given(p->device[i]) : 0;
    }
    return sum;
}

void peripherals_link(struct peripherals *p, bool is_up)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->one[i].nic != NULL) {
            virtio_net_set_link(p->device[i], is_up);
        }
    }
}

void peripherals_announce(struct peripherals *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->one[i].nic != NULL) {
            virtio_net_announce(p->device[i]);
        }
    }
}

static void close_one(struct peripherals *p, unsigned i)
{
    vsock_host_destroy(p->one[i].sockets);
    port_destroy(p->one[i].port);
    if (p->device[i] != NULL && p->one[i].sockets == NULL && p->one[i].port == NULL) {
        p->device[i]->ops->destroy(p->device[i]);
    }
    if (p->one[i].nic != NULL) {
        p->one[i].nic->ops->destroy(p->one[i].nic);
    }
    p->device[i] = NULL;
    p->one[i] = (struct peripheral){.kind = PERIPHERAL_GONE, .fd = -1};
}

int peripherals_find(const struct peripherals *p, unsigned slot)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (slot != 0 && p->one[i].slot == slot) {
            return (int)i;
        }
    }
    return -ENOENT;
}

static unsigned free_place(const struct peripherals *p)
{
    unsigned i = 0;

    while (i < p->count && p->one[i].kind != PERIPHERAL_GONE) {
        i++;
    }
    return i;
}

int peripherals_attach(struct peripherals *p, const char *words, int take_fd,
                       struct loop *l, struct err *e)
{
    unsigned i = free_place(p);
    size_t at = strcspn(words, "@");
    struct peripheral one = {.kind = PERIPHERAL_GONE};
    char full[PERIPHERAL_WORD_BYTES];
    int r = i < PERIPHERALS_MOST && words[at] == '@' &&
                    str_print(full, sizeof full, "%.*s%d%s", (int)at, words, take_fd,
                              words + at + 1) == 0
                ? plan_net(&one, i, full, e)
                : err_set(e, -EINVAL, "'%s' is no network that there is room for", words);

    r = r == 0 ? open_one(&one, l, &p->device[i], e) : r;
    if (r < 0) {
        if (one.nic != NULL) {
            one.nic->ops->destroy(one.nic);
        } else {
            (void)close(take_fd);
        }
        return r;
    }
    p->one[i] = one;
    p->count = i == p->count ? i + 1 : p->count;
    return (int)i;
}

void peripherals_detach(struct peripherals *p, unsigned i)
{
    close_one(p, i);
}

void peripherals_close(struct peripherals *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        close_one(p, i);
    }
    p->count = 0;
}
