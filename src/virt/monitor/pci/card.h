/* card.h - whatever is plugged into PCI: a device, and how it becomes a function of the bus.
 *
 * Made by the folders that know a kind of function (virt/monitor/vpci, virt/monitor/nvme), from
 * devices that are somebody else's; used by whoever has a machine's devices in a list.
 *
 * Threads: the loop's. */
#ifndef VIRT_MONITOR_PCI_CARD_H
#define VIRT_MONITOR_PCI_CARD_H

#include <stdbool.h>

struct err;
struct loop;
struct pci_bus;
struct virtio_space;

/* Where it is plugged in; all borrowed. */
struct pci_socket {
    struct pci_bus *bus;
    unsigned slot;
    struct loop *loop;
    struct virtio_space *space; /* the guest's memory */
};

/* What firmware finds on it: each kind has a name of its own in firmware's order. */
enum pci_card_kind {
    PCI_CARD_OTHER, /* nothing */
    PCI_CARD_DISK,
    PCI_CARD_DISC,
    PCI_CARD_NVME
};

struct pci_card {
    /* The bus destroys what was made; after an error nothing is. */
    int (*plug)(void *device, const struct pci_socket *s, struct err *e);
    /* Requests are under way that the loop may wait for; NULL: never, once it has nothing to do
     * at once. */
    bool (*is_busy)(const void *device);
    void *device; /* borrowed: its owner's again when it is not plugged in any more */
    enum pci_card_kind kind;
    unsigned slot; /* wanted; 0: any */
};

#endif
