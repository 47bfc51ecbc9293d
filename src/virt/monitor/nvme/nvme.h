/* nvme.h - a disk as an NVMe controller with one namespace, a function of the PCI bus.
 *
 * Threads: registers under the board's lock, on whichever vCPU makes the access, doorbells
 * without it; everything else on the loop's thread, which is the disk's.
 * Source: NVM Express Base Specification 1.4 (NVMe). */
#ifndef VIRT_MONITOR_NVME_NVME_H
#define VIRT_MONITOR_NVME_NVME_H

#include <stdbool.h>

#include "virt/monitor/pci/card.h"

struct blk_edge;
struct err;
struct loop;
struct nvme;

#define NVME_QUEUES_MOST  8 /* for reads and writes; ours */
#define NVME_QUEUES_LEAST 2 /* EDK II makes two, without asking how many there are */
#define NVME_SERIAL_BYTES 20

struct nvme_options {
    const struct blk_edge *edge; /* to the disk; borrowed */
    const char *serial; /* up to NVME_SERIAL_BYTES; NULL or "": one after the slot */
    bool read_only;     /* whatever the disk is */
    unsigned queues;    /* 1..; not fewer than NVME_QUEUES_LEAST are made */
};

int nvme_create(struct loop *l, const struct nvme_options *o, struct nvme **ret,
                struct err *e);

/* It is not plugged in.  NULL is allowed. */
void nvme_destroy(struct nvme *n);

/* The controller, to be plugged in. */
struct pci_card nvme_card(struct nvme *n);

/* The disk has another size: the driver is told. */
void nvme_resized(struct nvme *n);

#endif
