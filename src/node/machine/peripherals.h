/* peripherals.h - what the program `machine` plugs in beside disks: networks, random bytes,
 * sockets between host and guest, directories, memory that goes back. */
#ifndef NODE_MACHINE_PERIPHERALS_H
#define NODE_MACHINE_PERIPHERALS_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/network/nic/nic.h"
#include "virt/monitor/pci/card.h"

struct err;
struct loop;
struct nic;
struct port;
struct virtio_device;
struct vsock_host;

#define PERIPHERALS_MOST      16
#define PERIPHERAL_WORD_BYTES 512

enum peripheral_kind {
    PERIPHERAL_TAP,
    PERIPHERAL_FRAMES,
    PERIPHERAL_RNG,
    PERIPHERAL_VSOCK,
    PERIPHERAL_BALLOON,
    PERIPHERAL_PORT,
    PERIPHERAL_FS,
    PERIPHERAL_GONE, /* a place without a device */
    PERIPHERAL_KIND_COUNT
};

struct peripheral {
    enum peripheral_kind kind;
    unsigned slot; /* of PCI, of one that came or may go; 0: any */
    int fd;        /* of a network; the device's when it is open */
    uint16_t mtu;  /* 0: what its kind usually has */
    uint8_t mac[6];
    struct nic_lease lease; /* of a network; no address: its guest asks others */
    bool is_seeded;         /* random bytes follow from `seed` */
    uint64_t seed;
    uint32_t cid;               /* of a guest with sockets */
    int listen;                 /* where programs of the host come in; -1: nowhere */
    uint64_t give_mib;          /* that the guest shall give back at first */
    struct nic *nic;            /* owned; of one that is open */
    char name[64];              /* of a port; the tag of a file system */
    struct port *port;          /* owned; of one that is open */
    struct vsock_host *sockets; /* the same */
};

/* Zeroed: there are none. */
struct peripherals {
    struct peripheral one[PERIPHERALS_MOST];
    struct virtio_device *device[PERIPHERALS_MOST]; /* owned */
    unsigned count;
};

/* One more: 1; 0: it is no option for these.
 *   --net tap=FD|frames=FD[,mac=ADDRESS][,mtu=BYTES][,slot=NUMBER]
 *         [,address=IP/BITS,gateway=IP[,leads-on][,dns=IP]...[,host=NAME]]  told by DHCP
 *   --rng host|seed=NUMBER
 *   --vsock cid=NUMBER[,listen=FD]
 *   --balloon MIB
 *   --port name=WORD,fd=FD
 *   --fs tag=WORD,fd=FD */
int peripherals_plan(struct peripherals *p, const char *option, const char *value,
                     struct err *e);

int peripherals_open(struct peripherals *p, struct loop *l, struct err *e);

/* One that is open, as it is plugged in. */
struct pci_card peripherals_card(const struct peripherals *p, unsigned i);

/* A network comes while others are open; its place.  The one in that slot; -ENOENT.  It goes. */
int peripherals_attach(struct peripherals *p, const char *words, int take_fd,
                       struct loop *l, struct err *e);
int peripherals_find(const struct peripherals *p, unsigned slot);
void peripherals_detach(struct peripherals *p, unsigned i);

/* So many bytes of its memory the guest shall give back, by its balloons; false: it has none.
 * And how many it has given. */
bool peripherals_give(struct peripherals *p, uint64_t bytes);
uint64_t peripherals_given(const struct peripherals *p);

/* Its cards are linked to their networks, or not. */
void peripherals_link(struct peripherals *p, bool is_up);

/* The machine came back: whoever forwards frames for it is told where it is now. */
void peripherals_announce(struct peripherals *p);

/* When no machine uses them. */
void peripherals_close(struct peripherals *p);

#endif
