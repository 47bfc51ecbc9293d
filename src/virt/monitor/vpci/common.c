/* common.c - the common configuration structure: VIRTIO 1.2, 4.1.4.3. */
#include <string.h>

#include "virt/monitor/vpci/private.h"
#include "virtio/space.h"

struct common {
    uint32_t device_feature_select;
    uint32_t device_feature;
    uint32_t driver_feature_select;
    uint32_t driver_feature;
    uint16_t config_msix_vector;
    uint16_t num_queues;
    uint8_t device_status;
    uint8_t config_generation;
    uint16_t queue_select;
    uint16_t queue_size;
    uint16_t queue_msix_vector;
    uint16_t queue_enable;
    uint16_t queue_notify_off;
    uint64_t queue_desc;
    uint64_t queue_driver;
    uint64_t queue_device;
    uint16_t queue_notify_data;
    uint16_t queue_reset; /* not offered */
    uint32_t unused;
};

_Static_assert(offsetof(struct common, config_msix_vector) == 16, "VIRTIO 4.1.4.3");
_Static_assert(offsetof(struct common, queue_desc) == 32, "VIRTIO 4.1.4.3");
_Static_assert(sizeof(struct common) == 64, "VIRTIO 4.1.4.3");

static struct vpci_queue *selected(struct vpci *v)
{
    return v->select < v->queues && v->size_most[v->select] != 0 ? &v->queue[v->select]
                                                                 : NULL;
}

static uint32_t half(uint64_t v, uint32_t select)
{
    return select < 2 ? (uint32_t)(v >> select * 32) : 0;
}

uint64_t vpci_common_read(struct vpci *v, uint32_t offset, unsigned bytes)
{
    const struct vpci_queue *q = selected(v);
    struct common c = {
        .device_feature_select = v->device_select,
        .device_feature = half(v->offered, v->device_select),
        .driver_feature_select = v->driver_select,
        .driver_feature = half(v->features, v->driver_select),
        .config_msix_vector = v->config_vector,
        .num_queues = (uint16_t)v->queues,
        .device_status = v->status,
        .config_generation = v->generation,
        .queue_select = v->select,
    };
    uint64_t value = 0;

    if (q != NULL) {
        c.queue_size = q->size;
        c.queue_msix_vector = q->vector;
        c.queue_enable = q->enabled;
        c.queue_notify_off = v->select;
        c.queue_desc = q->desc;
        c.queue_driver = q->driver;
        c.queue_device = q->device;
    }
    if (offset + bytes <= sizeof c) {
        memcpy(&value, (const char *)&c + offset, bytes);
    }
    return value;
}

/* ---- status and features ---- */

static bool features_are_good(const struct vpci *v)
{
    return !v->is_odd && (v->features & ~v->offered) == 0 &&
           (v->features & VIRTIO_F_VERSION_1) != 0;
}

static void write_features(struct vpci *v, uint32_t value)
{
    unsigned shift = v->driver_select * 32;

    if ((v->status & STATUS_FEATURES_OK) != 0) {
        return; /* 3.1.1: they stand */
    }
    if (v->driver_select > 1) {
        v->is_odd = v->is_odd || value != 0;
        return;
    }
    v->features = (v->features & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value
                                                                         << shift;
}

void vpci_registers_reset(struct vpci *v)
{
    v->device_select = v->driver_select = 0;
    v->features = 0;
    v->is_odd = v->resets = v->is_touched = false;
    v->config_vector = NO_VECTOR;
    v->select = v->status = v->isr = 0;
    v->writes = 0;
    for (unsigned i = 0; i < v->queues; i++) {
        struct vpci_queue *q = &v->queue[i];

        q->size = v->size_most[i];
        q->vector = NO_VECTOR;
        q->enabled = false;
        q->desc = q->driver = q->device = 0;
        q->base = 0;
    }
    pci_set_line(&v->f, false);
}

static void reset(struct vpci *v)
{
    if (v->is_touched) {
        v->resets = true; /* the status reads 0 when the device has stopped: 4.1.4.3.1 */
        vpci_post(v);
    } else {
        vpci_registers_reset(v);
    }
}

/* Where the rings of a packed queue begin: 2.8.1, both wrap counters are 1. */
static void begin_queues(struct vpci *v)
{
    bool is_packed = (v->features & VIRTIO_F_RING_PACKED) != 0;

    for (unsigned i = 0; i < v->queues; i++) {
        v->queue[i].base = is_packed ? 0x80008000u : 0;
    }
}

/* Bits are only added; NEEDS_RESET is the device's. */
static void write_status(struct vpci *v, uint8_t value)
{
    uint8_t fresh = (uint8_t)(value & ~v->status & ~STATUS_NEEDS_RESET);

    if (value == 0) {
        reset(v);
        return;
    }
    if ((fresh & STATUS_FEATURES_OK) != 0 && !features_are_good(v)) {
        fresh = (uint8_t)(fresh & ~STATUS_FEATURES_OK);
    }
    if ((fresh & STATUS_DRIVER_OK) != 0 &&
        ((v->status | fresh) & STATUS_FEATURES_OK) == 0) {
        fresh = (uint8_t)(fresh & ~STATUS_DRIVER_OK);
    }
    v->status |= fresh;
    if ((fresh & STATUS_DRIVER_OK) != 0) {
        begin_queues(v);
        v->is_touched = true;
        vpci_post(v);
    }
}

/* ---- queues ---- */

static bool lies_in_memory(struct vpci *v, uint64_t at, uint64_t bytes, unsigned align)
{
    return at % align == 0 && virtio_space_flat(v->space, at, bytes, false) != NULL;
}

/* Alignments: 2.7 and 2.8.10.1. */
bool vpci_queue_is_sane(struct vpci *v, const struct vpci_queue *q)
{
    uint64_t f = v->features;
    bool is_packed = (f & VIRTIO_F_RING_PACKED) != 0;

    return q->size != 0 && (is_packed || (q->size & (q->size - 1)) == 0) &&
           lies_in_memory(v, q->desc, virtq_desc_bytes(f, q->size), 16) &&
           lies_in_memory(v, q->driver, virtq_driver_bytes(f, q->size),
                          is_packed ? 4 : 2) &&
           lies_in_memory(v, q->device, virtq_device_bytes(f, q->size), 4);
}

static uint16_t vector_that_is(const struct vpci *v, uint64_t value)
{
    return value < v->f.msix.count ? (uint16_t)value : NO_VECTOR;
}

static void put_half(uint64_t *to, uint32_t offset, unsigned bytes, uint64_t value)
{
    memcpy((char *)to + (offset & 4), &value, bytes);
}

/* A queue that is enabled stands until the reset. */
static void write_queue(struct vpci *v, uint32_t offset, unsigned bytes, uint64_t value)
{
    struct vpci_queue *q = selected(v);
    bool is_address = offset >= offsetof(struct common, queue_desc) &&
                      offset < offsetof(struct common, queue_notify_data) &&
                      (bytes == 4 || (bytes == 8 && offset % 8 == 0)) && offset % 4 == 0;

    if (q == NULL || (bytes != 2 && !is_address)) {
        return;
    }
    if (offset == offsetof(struct common, queue_msix_vector)) {
        q->vector = vector_that_is(v, value);
        return;
    }
    if (q->enabled || (v->status & STATUS_DRIVER_OK) != 0) {
        return;
    }
    if (is_address) {
        uint64_t *field = offset < offsetof(struct common, queue_driver)   ? &q->desc
                          : offset < offsetof(struct common, queue_device) ? &q->driver
                                                                           : &q->device;

        put_half(field, offset, bytes, value);
    } else if (offset == offsetof(struct common, queue_size)) {
        q->size =
            value != 0 && value <= v->size_most[v->select] ? (uint16_t)value : q->size;
    } else if (offset == offsetof(struct common, queue_enable) && value == 1 &&
               (v->status & STATUS_FEATURES_OK) != 0) {
        q->enabled = vpci_queue_is_sane(v, q);
    }
}

void vpci_common_write(struct vpci *v, uint32_t offset, unsigned bytes, uint64_t value)
{
    if (v->resets) {
        return; /* nothing is heard until the status reads 0 */
    }
    switch (offset << 4 | bytes) {
    case offsetof(struct common, device_feature_select) << 4 | 4:
        v->device_select = (uint32_t)value;
        break;
    case offsetof(struct common, driver_feature_select) << 4 | 4:
        v->driver_select = (uint32_t)value;
        break;
    case offsetof(struct common, driver_feature) << 4 | 4:
        write_features(v, (uint32_t)value);
        break;
    case offsetof(struct common, config_msix_vector) << 4 | 2:
        v->config_vector = vector_that_is(v, value);
        break;
    case offsetof(struct common, device_status) << 4 | 1:
        write_status(v, (uint8_t)value);
        break;
    case offsetof(struct common, queue_select) << 4 | 2:
        v->select = (uint16_t)value;
        break;
    default:
        write_queue(v, offset, bytes, value);
    }
}
