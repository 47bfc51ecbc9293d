/* private.h - the transport's own struct. */
#ifndef VIRT_MONITOR_VPCI_PRIVATE_H
#define VIRT_MONITOR_VPCI_PRIVATE_H

#include <stdatomic.h>
#include <stddef.h>

#include "host/loop/loop.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/device.h"

/* Device status: VIRTIO 1.2, 2.1. */
#define STATUS_ACKNOWLEDGE 0x01u
#define STATUS_DRIVER      0x02u
#define STATUS_DRIVER_OK   0x04u
#define STATUS_FEATURES_OK 0x08u
#define STATUS_NEEDS_RESET 0x40u
#define STATUS_FAILED      0x80u

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

#define NO_VECTOR 0xffffu

/* BAR 4: one page for each structure. */
#define BAR_VECTORS    1u
#define BAR_REGISTERS  4u
#define AT_COMMON      0x0000u
#define AT_ISR         0x1000u
#define AT_DEVICE      0x2000u
#define AT_NOTIFY      0x3000u
#define AT_END         0x4000u
#define NOTIFY_STRIDE  4u
#define PENDING_WRITES 16

enum vpci_work {
    VPCI_MADE, /* the device has not been started */
    VPCI_WORKS,
    VPCI_STOPS, /* ... it was asked to, and has not said so yet */
};

struct vpci_queue {
    struct vpci *vpci;
    uint16_t size, vector;
    bool enabled;
    uint64_t desc, driver, device; /* guest physical */
    uint32_t base;                 /* where it goes on when it is started again */
    _Atomic bool kicked;           /* `task` is posted */
    struct loop_task task;
};

/* A write of the driver to the device's configuration space, which the loop's thread has
 * yet to bring. */
struct vpci_write {
    uint16_t offset;
    uint8_t bytes;
    uint8_t data[8];
};

struct vpci {
    struct pci_function f; /* first */
    struct board *board;
    struct loop *loop;
    struct virtio_device *device;
    struct virtio_space *space;
    uint64_t offered; /* features */
    unsigned queues;
    uint16_t size_most[VIRTIO_QUEUES_MOST];
    unsigned window; /* register of the capability for access without a BAR */

    /* Registers. */
    uint32_t device_select, driver_select;
    uint64_t features; /* the driver's */
    bool is_odd;       /* it wrote features that nobody has offered */
    uint16_t config_vector, select;
    uint8_t status, generation, isr;
    struct vpci_queue queue[VIRTIO_QUEUES_MOST];

    struct vpci_write write[PENDING_WRITES];
    unsigned writes;
    bool is_touched; /* the device knows something that a reset has to forget */
    bool resets;     /* 0 was written to the status, and the device has not stopped yet */
    bool is_posted;
    enum vpci_work work;

    /* Of the loop's thread. */
    bool at_rest;
    bool is_settling, has_more;
    struct loop_task task;
};

/* registers.c: accesses under the lock. */
extern const struct pci_part vpci_parts[2];
void vpci_add_capabilities(struct vpci *v);
void vpci_window_reads(struct pci_function *f, unsigned reg, unsigned bytes);
void vpci_window_written(struct pci_function *f, unsigned reg, unsigned bytes);

/* common.c */
uint64_t vpci_common_read(struct vpci *v, uint32_t offset, unsigned bytes);
void vpci_common_write(struct vpci *v, uint32_t offset, unsigned bytes, uint64_t value);
void vpci_registers_reset(struct vpci *v);
bool vpci_queue_is_sane(struct vpci *v, const struct vpci_queue *q);

/* vpci.c: the device is to follow the registers; under the lock. */
void vpci_post(struct vpci *v);
void vpci_kick(struct vpci *v, unsigned i); /* without it, too */

#endif
