/* vpci.h - a virtio device as a function of the PCI bus.
 *
 * The transport holds what the specification calls the device's registers: status, features,
 * where queues lie, vectors; a `struct virtio_device` holds the rest and is plugged
 * in.  The driver sees the modern interface only.
 *
 * Threads: registers under the board's lock, on whichever vCPU makes the access; the
 * device on the loop's thread only, and never under the lock but for its configuration space.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 2 and 4.1. */
#ifndef VIRT_MONITOR_VPCI_VPCI_H
#define VIRT_MONITOR_VPCI_VPCI_H

struct err;
struct loop;
struct pci_bus;
struct virtio_device;
struct virtio_space;

struct vpci_config {
    struct loop *loop;
    struct virtio_space *space;   /* the guest's memory; borrowed */
    struct virtio_device *device; /* borrowed: its owner's again when the bus has gone */
};

/* Plug a device into a slot; the bus destroys what was made.  On the loop's thread. */
int vpci_create(struct pci_bus *b, unsigned slot, const struct vpci_config *c,
                struct err *e);

#endif
