/* registers.c - where the registers are: capabilities, the pages of BAR 4, the window.
 *
 * VIRTIO 1.2, 4.1.4: structures are found by capabilities of configuration space, each with
 * a BAR, an offset and a length.  The last capability is a window to them for who cannot
 * reach BARs yet. */
#include <string.h>

#include "virt/monitor/board/board.h"
#include "virt/monitor/vpci/private.h"

/* Types of structures: 4.1.4. */
enum {
    CAPABILITY_COMMON = 1,
    CAPABILITY_NOTIFY = 2,
    CAPABILITY_ISR = 3,
    CAPABILITY_DEVICE = 4,
    CAPABILITY_WINDOW = 5
};

/* Fields of a capability. */
#define FIELD_TYPE   3u
#define FIELD_BAR    4u
#define FIELD_OFFSET 8u
#define FIELD_LENGTH 12u
#define FIELD_MORE   16u /* multiplier, or data of the window */

#define COMMON_BYTES 64u
#define PAGE         0x1000u

static uint64_t read_isr(struct vpci *v)
{
    uint8_t isr = v->isr;

    v->isr = 0;
    pci_set_line(&v->f, false);
    return isr;
}

/* What the driver has written shows at once, though the device learns of it later. */
static uint64_t read_device(struct vpci *v, uint32_t offset, unsigned bytes)
{
    uint8_t data[8] = {0};
    uint64_t value;

    v->device->ops->config_read(v->device, offset, data, bytes);
    for (unsigned i = 0; i < v->writes; i++) {
        const struct vpci_write *w = &v->write[i];

        for (unsigned n = 0; n < w->bytes; n++) {
            uint32_t at = w->offset + n;

            if (at >= offset && at < offset + bytes) {
                data[at - offset] = w->data[n];
            }
        }
    }
    memcpy(&value, data, sizeof value);
    return value;
}

static void write_device(struct vpci *v, uint32_t offset, unsigned bytes, uint64_t value)
{
    struct vpci_write *last = v->writes > 0 ? &v->write[v->writes - 1] : NULL;

    if (v->device->ops->config_write == NULL || v->resets) {
        return;
    }
    if (last == NULL || last->offset != offset || last->bytes != bytes) {
        if (v->writes == PENDING_WRITES) {
            return; /* no driver writes so much at once */
        }
        last = &v->write[v->writes++];
    }
    last->offset = (uint16_t)offset;
    last->bytes = (uint8_t)bytes;
    memcpy(last->data, &value, sizeof last->data);
    v->is_touched = true;
    vpci_post(v);
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    struct vpci *v = who;
    uint32_t at = (uint32_t)offset & (PAGE - 1);

    switch (offset - at) {
    case AT_COMMON:
        return vpci_common_read(v, at, bytes);
    case AT_ISR:
        return at == 0 ? read_isr(v) : 0;
    case AT_DEVICE:
        return read_device(v, at, bytes);
    default:
        return 0;
    }
}

static void write(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct vpci *v = who;
    uint32_t at = (uint32_t)offset & (PAGE - 1);

    if (offset - at == AT_COMMON) {
        vpci_common_write(v, at, bytes, value);
    } else if (offset - at == AT_DEVICE) {
        write_device(v, at, bytes, value);
    }
}

static uint64_t read_notify(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return 0;
}

/* The address says which queue; what is written there says no more. */
static void write_notify(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    (void)bytes;
    (void)value;
    vpci_kick(who, (unsigned)(offset / NOTIFY_STRIDE));
}

static const struct board_io registers = {.name = "virtio", .read = read, .write = write};
static const struct board_io notify = {
    .name = "virtio", .read = read_notify, .write = write_notify, .is_free = true};

const struct pci_part vpci_parts[2] = {
    {AT_COMMON, AT_NOTIFY, &registers},
    {AT_NOTIFY, AT_END - AT_NOTIFY, &notify},
};

/* ---- the window: 4.1.4.9 ---- */

/* Where it shows, if that makes sense: in BAR 4, a whole access that does not cross. */
static bool window_at(struct vpci *v, uint32_t *ret_offset, unsigned *ret_bytes)
{
    uint32_t offset = pci_get(&v->f, v->window + FIELD_OFFSET, 4);
    uint32_t bytes = pci_get(&v->f, v->window + FIELD_LENGTH, 4);

    *ret_offset = offset;
    *ret_bytes = bytes;
    return pci_get(&v->f, v->window + FIELD_BAR, 1) == BAR_REGISTERS &&
           (bytes == 1 || bytes == 2 || bytes == 4) && offset % bytes == 0 &&
           offset < AT_END;
}

static bool is_window(const struct vpci *v, unsigned reg)
{
    return reg >= v->window + FIELD_MORE && reg < v->window + FIELD_MORE + 4;
}

void vpci_window_reads(struct pci_function *f, unsigned reg, unsigned bytes)
{
    struct vpci *v = (struct vpci *)f;
    uint32_t offset;
    unsigned n;

    (void)bytes;
    if (is_window(v, reg) && window_at(v, &offset, &n)) {
        uint64_t value = offset < AT_NOTIFY ? read(v, offset, n) : 0;

        pci_put(f, v->window + FIELD_MORE, n, (uint32_t)value);
    }
}

void vpci_window_written(struct pci_function *f, unsigned reg, unsigned bytes)
{
    struct vpci *v = (struct vpci *)f;
    uint32_t offset;
    unsigned n;

    (void)bytes;
    if (reg < PCI_STATUS) {
        vpci_post(v); /* the command register: it may reach for memory, or not */
    }
    if (is_window(v, reg) && window_at(v, &offset, &n)) {
        if (offset < AT_NOTIFY) {
            write(v, offset, n, pci_get(f, v->window + FIELD_MORE, n));
        } else {
            write_notify(v, offset - AT_NOTIFY, n, 0);
        }
    }
}

/* ---- capabilities ---- */

static unsigned add(struct vpci *v, unsigned type, uint32_t offset, uint32_t length)
{
    unsigned bytes = type == CAPABILITY_NOTIFY || type == CAPABILITY_WINDOW ? 20 : 16;
    unsigned reg = pci_add_capability(&v->f, PCI_CAPABILITY_VENDOR, bytes);

    pci_put(&v->f, reg + 2, 1, bytes);
    pci_put(&v->f, reg + FIELD_TYPE, 1, type);
    pci_put(&v->f, reg + FIELD_BAR, 1, type == CAPABILITY_WINDOW ? 0 : BAR_REGISTERS);
    pci_put(&v->f, reg + FIELD_OFFSET, 4, offset);
    pci_put(&v->f, reg + FIELD_LENGTH, 4, length);
    return reg;
}

void vpci_add_capabilities(struct vpci *v)
{
    unsigned notify_reg;

    (void)add(v, CAPABILITY_COMMON, AT_COMMON, COMMON_BYTES);
    (void)add(v, CAPABILITY_ISR, AT_ISR, PAGE);
    (void)add(v, CAPABILITY_DEVICE, AT_DEVICE, PAGE);
    notify_reg = add(v, CAPABILITY_NOTIFY, AT_NOTIFY, PAGE);
    pci_put(&v->f, notify_reg + FIELD_MORE, 4, NOTIFY_STRIDE);
    v->window = add(v, CAPABILITY_WINDOW, 0, 0);
    v->f.mask[v->window + FIELD_BAR] = 0xff;
    memset(v->f.mask + v->window + FIELD_OFFSET, 0xff, 12);
}
