/* vpci.c - a device behind the registers: started, stopped, told, heard.
 *
 * A vCPU changes registers and posts; the loop's thread compares what the device does with
 * what the registers say (`settle`) and starts or stops it.  A device works while the driver is
 * ready (DRIVER_OK), the function may reach for memory, no reset was asked for and the
 * machine does not rest.  Where its queues go on after a stop is kept here. */
#include "virt/monitor/vpci/vpci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/vpci/private.h"
#include "virtio/space.h"

#define VENDOR    0x1af4u /* 4.1.2 */
#define DEVICE    0x1040u
#define SUBSYSTEM 0x40u
#define REVISION  1u

#define DEVICE_DISK 2u /* VIRTIO 1.2, 5 */
#define DEVICE_SCSI 8u

/* ---- interrupts ---- */

static void interrupt(struct vpci *v, uint16_t vector, uint8_t isr)
{
    if (pci_has_msix(&v->f)) {
        if (vector != NO_VECTOR) {
            pci_send(&v->f, vector);
        }
        return;
    }
    v->isr |= isr;
    pci_set_line(&v->f, true);
}

static void notify(void *transport, unsigned i)
{
    struct vpci *v = transport;

    board_lock(v->board);
    if (i < v->queues && v->work != VPCI_MADE) {
        interrupt(v, v->queue[i].vector, ISR_QUEUE);
    }
    board_unlock(v->board);
}

static void tell_config(struct vpci *v)
{
    v->generation++;
    if ((v->status & STATUS_DRIVER_OK) != 0 && !v->resets) {
        interrupt(v, v->config_vector, ISR_CONFIG);
    }
}

static void config_changed(void *transport)
{
    struct vpci *v = transport;

    board_lock(v->board);
    tell_config(v);
    board_unlock(v->board);
}

static void broken(void *transport)
{
    struct vpci *v = transport;

    board_lock(v->board);
    if (!v->resets && (v->status & STATUS_NEEDS_RESET) == 0) {
        v->status |= STATUS_NEEDS_RESET;
        tell_config(v);
    }
    board_unlock(v->board);
}

/* ---- the device follows the registers ---- */

static bool is_wanted(const struct vpci *v)
{
    return (v->status & STATUS_DRIVER_OK) != 0 && !v->resets && !v->at_rest &&
           pci_is_master(&v->f) &&
           (v->work == VPCI_WORKS || (v->status & STATUS_NEEDS_RESET) == 0);
}

/* Under the lock.  Once features were agreed on, a device that does not know them yet is not
 * told: what it would say depends on them. */
static void bring_writes(struct vpci *v)
{
    if (v->work == VPCI_MADE && (v->status & STATUS_FEATURES_OK) != 0) {
        return;
    }
    for (unsigned i = 0; i < v->writes; i++) {
        const struct vpci_write *w = &v->write[i];

        (void)v->device->ops->config_write(v->device, w->offset, w->data, w->bytes);
    }
    v->writes = 0;
}

static struct virtq_setup setup_of(struct vpci *v, const struct vpci_queue *q)
{
    uint64_t f = v->features;

    return (struct virtq_setup){
        .space = v->space,
        .rings = {virtio_space_flat(v->space, q->desc, virtq_desc_bytes(f, q->size),
                                    true),
                  virtio_space_flat(v->space, q->driver, virtq_driver_bytes(f, q->size),
                                    true),
                  virtio_space_flat(v->space, q->device, virtq_device_bytes(f, q->size),
                                    true)},
        .size = q->size,
        .features = f,
        .base = q->base,
    };
}

static void start(struct vpci *v)
{
    struct virtq_setup setups[VIRTIO_QUEUES_MOST] = {0};
    bool is_good = true;

    for (unsigned i = 0; i < v->queues; i++) {
        struct vpci_queue *q = &v->queue[i];

        if (q->enabled && vpci_queue_is_sane(v, q)) {
            setups[i] = setup_of(v, q);
        } else if (q->enabled) {
            is_good = false;
        }
    }
    if (is_good &&
        v->device->ops->start(v->device, v->features, setups, v->queues) == 0) {
        return;
    }
    board_lock(v->board);
    v->work = VPCI_MADE;
    board_unlock(v->board);
    broken(v);
}

static void finish_reset(struct vpci *v)
{
    if (v->device->ops->reset != NULL) {
        v->device->ops->reset(v->device);
    }
    vpci_registers_reset(v);
}

/* One step; what there is to do then, without the lock. */
static enum vpci_work step(struct vpci *v)
{
    enum vpci_work next = v->work;
    bool wanted;

    board_lock(v->board);
    bring_writes(v);
    if (v->work == VPCI_MADE && v->resets) {
        finish_reset(v);
    }
    wanted = is_wanted(v);
    if (v->work == VPCI_MADE && wanted) {
        next = VPCI_WORKS;
    } else if (v->work == VPCI_WORKS && !wanted) {
        next = VPCI_STOPS;
    }
    board_unlock(v->board);
    return next;
}

static void set_work(struct vpci *v, enum vpci_work work)
{
    board_lock(v->board);
    v->work = work;
    board_unlock(v->board);
}

/* Without the lock.  A device that has stopped before `stop` returned is looked at again
 * here, and not inside its call. */
static void settle(struct vpci *v)
{
    enum vpci_work next;

    if (v->is_settling) {
        v->has_more = true;
        return;
    }
    v->is_settling = true;
    do {
        v->has_more = false;
        next = step(v);
        if (next != v->work) {
            set_work(v, next);
            if (next == VPCI_WORKS) {
                start(v);
                v->has_more = true; /* writes that waited for it */
            } else {
                v->device->ops->stop(v->device);
            }
        }
    } while (v->has_more);
    v->is_settling = false;
}

static void stopped(void *transport)
{
    struct vpci *v = transport;

    for (unsigned i = 0; i < v->queues; i++) {
        if (v->queue[i].enabled) {
            v->queue[i].base = v->device->ops->base(v->device, i);
        }
    }
    set_work(v, VPCI_MADE);
    settle(v);
}

static void on_post(struct loop_task *t)
{
    struct vpci *v = (struct vpci *)((char *)t - offsetof(struct vpci, task));

    board_lock(v->board);
    v->is_posted = false;
    board_unlock(v->board);
    settle(v);
}

void vpci_post(struct vpci *v)
{
    if (!v->is_posted) {
        v->is_posted = true;
        loop_post(v->loop, &v->task);
    }
}

/* ---- kicks ---- */

static void on_kick(struct loop_task *t)
{
    struct vpci_queue *q =
        (struct vpci_queue *)((char *)t - offsetof(struct vpci_queue, task));
    struct vpci *v = q->vpci;

    atomic_store(&q->kicked, false);
    if (v->work == VPCI_WORKS && q->enabled) {
        v->device->ops->kicked(v->device, (unsigned)(q - v->queue));
    }
}

void vpci_kick(struct vpci *v, unsigned i)
{
    if (i < v->queues && !atomic_exchange(&v->queue[i].kicked, true)) {
        loop_post(v->loop, &v->queue[i].task);
    }
}

/* ---- the function ---- */

static void on_reset(struct pci_function *f)
{
    struct vpci *v = (struct vpci *)f;

    if (v->work == VPCI_MADE && v->is_touched) {
        finish_reset(v);
    } else if (v->work == VPCI_MADE) {
        vpci_registers_reset(v);
    } else {
        v->resets = true;
        vpci_post(v);
    }
}

static void on_rest(struct pci_function *f)
{
    struct vpci *v = (struct vpci *)f;

    v->at_rest = true;
    settle(v);
}

static bool on_rests(struct pci_function *f)
{
    struct vpci *v = (struct vpci *)f;
    bool rests;

    board_lock(v->board);
    rests = v->work == VPCI_MADE && !v->is_posted;
    board_unlock(v->board);
    for (unsigned i = 0; i < v->queues; i++) {
        rests = rests && !atomic_load(&v->queue[i].kicked);
    }
    return rests;
}

static void on_wake(struct pci_function *f)
{
    struct vpci *v = (struct vpci *)f;

    v->at_rest = false;
    settle(v);
}

static void on_destroy(struct pci_function *f)
{
    struct vpci *v = (struct vpci *)f;

    v->device->plug = NULL;
    v->device->transport = NULL;
    free(v);
}

static void carry_queue(struct vpci *v, unsigned i, struct snap *s)
{
    struct vpci_queue *q = &v->queue[i];

    SNAP_FIELD(s, q->size);
    SNAP_FIELD(s, q->vector);
    snap_bool(s, &q->enabled);
    SNAP_FIELD(s, q->desc);
    SNAP_FIELD(s, q->driver);
    SNAP_FIELD(s, q->device);
    SNAP_FIELD(s, q->base);
    if (q->size > v->size_most[i] ||
        (q->vector != NO_VECTOR && q->vector >= v->f.msix.count)) {
        snap_refuse(s);
    }
}

static void carry_writes(struct vpci *v, struct snap *s)
{
    SNAP_FIELD(s, v->writes);
    SNAP_FIELD(s, v->write);
    for (unsigned i = 0; i < PENDING_WRITES; i++) {
        if (v->write[i].bytes > sizeof v->write[i].data) {
            v->write[i].bytes = 0;
            snap_refuse(s);
        }
    }
    if (v->writes > PENDING_WRITES) {
        v->writes = 0;
        snap_refuse(s);
    }
}

/* At rest.  Which device it is comes first. */
static void on_carry(struct pci_function *f, struct snap *s)
{
    struct vpci *v = (struct vpci *)f;
    uint16_t id = v->device->ops->id;
    uint64_t offered = v->offered;

    SNAP_FIELD(s, id);
    SNAP_FIELD(s, offered);
    if (id != v->device->ops->id || offered != v->offered) {
        snap_refuse(s);
    }
    SNAP_FIELD(s, v->device_select);
    SNAP_FIELD(s, v->driver_select);
    SNAP_FIELD(s, v->features);
    snap_bool(s, &v->is_odd);
    SNAP_FIELD(s, v->config_vector);
    SNAP_FIELD(s, v->select);
    SNAP_FIELD(s, v->status);
    SNAP_FIELD(s, v->generation);
    SNAP_FIELD(s, v->isr);
    snap_bool(s, &v->is_touched);
    snap_bool(s, &v->resets);
    for (unsigned i = 0; i < v->queues; i++) {
        carry_queue(v, i, s);
    }
    carry_writes(v, s);
    if ((v->features & ~v->offered) != 0 ||
        (v->config_vector != NO_VECTOR && v->config_vector >= v->f.msix.count)) {
        snap_refuse(s);
    }
    if (v->device->ops->carry != NULL) {
        v->device->ops->carry(v->device, s);
    }
}

/* ---- life ---- */

static void learn(struct vpci *v)
{
    const struct virtio_device_ops *ops = v->device->ops;

    v->offered = ops->features(v->device) | VIRTIO_F_VERSION_1;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MOST; i++) {
        v->size_most[i] = ops->queue_size(v->device, i);
        v->queues = v->size_most[i] != 0 ? i + 1 : v->queues;
        v->queue[i].vpci = v;
        v->queue[i].task.fn = on_kick;
    }
}

static void make_function(struct vpci *v)
{
    static const struct pci_function_ops ops = {
        .name = "virtio",
        .reads = vpci_window_reads,
        .written = vpci_window_written,
        .reset = on_reset,
        .carry = on_carry,
        .rest = on_rest,
        .rests = on_rests,
        .wake = on_wake,
        .destroy = on_destroy,
    };
    uint16_t id = v->device->ops->id;
    const struct pci_identity identity = {.vendor = VENDOR,
                                          .device = (uint16_t)(DEVICE + id),
                                          .subsystem_vendor = VENDOR,
                                          .subsystem = (uint16_t)(SUBSYSTEM + id),
                                          .class = v->device->ops->pci_class,
                                          .revision = REVISION,
                                          .pin = 1};
    const struct pci_bar bar = {
        .kind = PCI_BAR_64, .bytes = AT_END, .part = vpci_parts, .parts = 2};

    pci_function_init(&v->f, &ops, &identity);
    pci_add_msix(&v->f, BAR_VECTORS, v->queues + 1);
    pci_add_bar(&v->f, BAR_REGISTERS, &bar);
    vpci_add_capabilities(v);
}

static int plug(void *device, const struct pci_socket *s, struct err *e)
{
    static const struct virtio_transport_ops ops = {.notify = notify,
                                                    .config_changed = config_changed,
                                                    .broken = broken,
                                                    .stopped = stopped};
    struct vpci *v = fault_calloc(1, sizeof *v);
    int r;

    if (v == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    v->board = pci_board(s->bus);
    v->loop = s->loop;
    v->space = s->space;
    v->device = device;
    v->task.fn = on_post;
    learn(v);
    make_function(v);
    vpci_registers_reset(v);
    board_lock(v->board);
    r = pci_add(s->bus, s->slot, &v->f, e);
    board_unlock(v->board);
    if (r != 0) {
        err_wrap(e, "virtio device '%s'", v->device->ops->name);
        free(v);
        return r;
    }
    v->device->plug = &ops;
    v->device->transport = v;
    return 0;
}

static bool is_busy(const void *device)
{
    const struct virtio_device *d = device;

    return d->ops->is_busy != NULL && d->ops->is_busy(d);
}

struct pci_card vpci_card(struct virtio_device *d)
{
    return (struct pci_card){.plug = plug,
                             .is_busy = is_busy,
                             .device = d,
                             .kind = d->ops->id == DEVICE_DISK   ? PCI_CARD_DISK
                                     : d->ops->id == DEVICE_SCSI ? PCI_CARD_DISC
                                                                 : PCI_CARD_OTHER};
}
