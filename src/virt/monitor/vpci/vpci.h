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

#include "virt/monitor/pci/card.h"

struct virtio_device;

/* The device, to be plugged in. */
struct pci_card vpci_card(struct virtio_device *d);

#endif
