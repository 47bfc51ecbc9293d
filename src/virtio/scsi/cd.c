/* cd.c - the virtio SCSI host device with a CD drive: VIRTIO 1.2, 5.6.
 *
 * A request is a chain: a head with the command that the device reads, then an answer with
 * status and sense, and data, that it writes.  Bytes of the disc go into the guest's memory
 * without a copy, behind the answer, which is written when they are there.  Up to
 * `TASKS_MOST` requests are under way; what there is more of stays in the queue. */
#include "virtio/scsi/cd.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk.h"
#include "contract/blk_graph.h"
#include "contract/snap.h"
#include "virtio/chain.h"
#include "virtio/scsi/mmc.h"
#include "virtio/space.h"
#include "virtio/work.h"

#define ID          8
#define CLASS       0x010000u /* a SCSI host */
#define QUEUE_SIZE  128
#define QUEUES      3 /* control, events, requests */
#define CONTROL     0
#define REQUESTS    2
#define TASKS_MOST  16u
#define CDB_BYTES   32u /* in a head, as it is when nobody changes it */
#define SENSE_BYTES 96u

enum response {
    RESPONSE_OK = 0,
    RESPONSE_OVERRUN = 1,
    RESPONSE_BAD_TARGET = 3,
    RESPONSE_FUNCTION_SUCCEEDED = 10,
    RESPONSE_FUNCTION_REJECTED = 11,
};

enum control_type {
    CONTROL_TASKS = 0,
    CONTROL_QUERY = 1,
    CONTROL_SUBSCRIBE = 2,
};

/* Numbers are little-endian, as the host's are. */
struct head {
    uint8_t lun[8];
    uint64_t id;
    uint8_t attribute, priority, reference;
    uint8_t cdb[CDB_BYTES];
} __attribute__((packed));

struct answer {
    uint32_t sense_bytes;
    uint32_t residual;
    uint16_t qualifier;
    uint8_t status;
    uint8_t response;
    uint8_t sense[SENSE_BYTES];
} __attribute__((packed));

struct control {
    uint32_t type;
    uint32_t subtype; /* of an event's query: the rest */
    uint8_t lun[8];
} __attribute__((packed));

struct config {
    uint32_t queues, segments, sectors, commands, event_bytes;
    uint32_t sense_bytes, cdb_bytes;
    uint16_t channel, target;
    uint32_t lun;
} __attribute__((packed));

struct task {
    struct blk_request blk; /* first */
    struct task *next;      /* free */
    struct mmc_command command;
    struct virtq_chain chain;
};

struct cd {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q[QUEUES];
    const struct blk_edge *edge;
    struct mmc_drive drive;
    struct blk_queue queue;
    struct loop_task reap;
    struct task *free;
    unsigned running;
    bool stops;
    struct virtq_chain chain; /* of a control request */
    struct task task[TASKS_MOST];
};

/* ---- answers ---- */

static void put_back(struct cd *d, struct task *t)
{
    t->next = d->free;
    d->free = t;
}

/* `moved` bytes of data are behind where the answer is written now. */
static void give(struct cd *d, struct task *t, uint8_t response, uint64_t moved)
{
    const struct mmc_command *c = &t->command;
    uint64_t room = t->chain.write_bytes - sizeof(struct answer);
    struct answer a = {.residual = (uint32_t)(room - moved), .response = response};

    if (response == RESPONSE_OK) {
        a.status = c->status;
        a.sense_bytes = c->status == MMC_CHECK ? MMC_SENSE_BYTES : 0;
        memcpy(a.sense, c->sense, a.sense_bytes);
    }
    (void)virtio_chain_write(&d->q[REQUESTS], &t->chain, 0, &a, sizeof a);
    virtq_give(&d->q[REQUESTS], &t->chain, (uint32_t)(sizeof a + moved));
    put_back(d, t);
}

static void tell_space(struct cd *d, const struct virtq_chain *c)
{
    struct virtio_space *s = d->q[REQUESTS].s.space;

    for (unsigned i = c->reads; s->wrote != NULL && i < c->reads + c->writes; i++) {
        s->wrote(s, c->iov[i].iov_base, c->iov[i].iov_len);
    }
}

static void finish(struct cd *d, struct task *t)
{
    uint64_t moved = t->blk.result == 0 ? t->command.disc_bytes : 0;

    d->running--;
    if (t->blk.result != 0) {
        mmc_fail_read(&t->command);
    }
    tell_space(d, &t->chain);
    give(d, t, RESPONSE_OK, moved);
}

/* ---- requests ---- */

static void do_command(struct cd *d, struct task *t, const struct head *h)
{
    struct mmc_command *c = &t->command;
    uint64_t room = t->chain.write_bytes - sizeof(struct answer);
    unsigned lun = (h->lun[2] & 0x3fu) << 8 | h->lun[3];
    struct blk_vec to = {.iov = t->chain.iov + t->chain.reads,
                         .skip = sizeof(struct answer)};

    if (h->lun[0] != 1 || h->lun[1] != 0) {
        give(d, t, RESPONSE_BAD_TARGET, 0);
        return;
    }
    memcpy(c->cdb, h->cdb, sizeof c->cdb);
    mmc_do(&d->drive, c, lun == 0);
    if (c->bytes > room || c->disc_bytes > room) {
        give(d, t, RESPONSE_OVERRUN, 0);
        return;
    }
    if (c->disc_bytes == 0) {
        (void)virtio_chain_write(&d->q[REQUESTS], &t->chain, sizeof(struct answer),
                                 c->data, c->bytes);
        give(d, t, RESPONSE_OK, c->bytes);
        return;
    }
    to.bytes = (size_t)c->disc_bytes;
    t->blk = (struct blk_request){
        .kind = BLK_READ, .off = c->off, .bytes = c->disc_bytes, .vec = to};
    d->running++;
    d->queue.disk = d->edge->disk;
    blk_submit(&d->queue, &t->blk);
}

/* -EPROTO: there is nobody to answer to. */
static int begin(struct cd *d, struct task *t)
{
    struct head h;

    if (virtio_chain_read(&t->chain, 0, &h, sizeof h) != sizeof h ||
        t->chain.write_bytes < sizeof(struct answer)) {
        return -EPROTO;
    }
    do_command(d, t, &h);
    return 0;
}

static void serve_requests(struct cd *d)
{
    unsigned served = 0; /* others have their turn, too */
    struct task *t;

    virtio_work_hush(&d->work, REQUESTS);
    while (served < QUEUE_SIZE && !d->stops && (t = d->free) != NULL &&
           virtio_work_take(&d->work, REQUESTS, &t->chain) == 1) {
        d->free = t->next;
        if (begin(d, t) != 0) {
            put_back(d, t);
            virtio_work_break(&d->work, REQUESTS);
        }
        served++;
    }
    virtio_work_show(&d->work, REQUESTS);
    if (served == QUEUE_SIZE) {
        virtio_work_again(&d->work, REQUESTS);
    } else if (d->free != NULL) { /* else whoever ends looks again */
        virtio_work_listen(&d->work, REQUESTS);
    }
}

static void on_reap(struct loop_task *task)
{
    struct cd *d = (struct cd *)((char *)task - offsetof(struct cd, reap));
    struct blk_request *b = blk_reap(&d->queue);

    while (b != NULL) {
        struct blk_request *next = b->next;

        finish(d, (struct task *)b);
        b = next;
    }
    if (d->stops && d->running == 0) {
        virtio_work_show(&d->work, REQUESTS);
        d->stops = false;
        virtio_work_stop(&d->work);
        return;
    }
    serve_requests(d);
}

static void on_ready(struct blk_queue *q)
{
    struct cd *d = (struct cd *)((char *)q - offsetof(struct cd, queue));

    loop_later(d->work.loop, &d->reap);
}

/* ---- control: what is under way is done soon anyway, and nothing subscribes ---- */

static int do_control(struct cd *d)
{
    struct control c;
    uint8_t answered[5] = {0}; /* what happened of what was asked for; the response */
    unsigned skip;

    if (virtio_chain_read(&d->chain, 0, &c, sizeof c) != sizeof c ||
        d->chain.write_bytes == 0) {
        return -EPROTO;
    }
    skip = c.type == CONTROL_TASKS ? 4 : 0;
    answered[4] = c.type == CONTROL_TASKS ? (c.lun[1] == 0 ? RESPONSE_FUNCTION_SUCCEEDED
                                                           : RESPONSE_BAD_TARGET)
                  : c.type <= CONTROL_SUBSCRIBE ? RESPONSE_OK
                                                : RESPONSE_FUNCTION_REJECTED;
    virtq_give(&d->q[CONTROL], &d->chain,
               (uint32_t)virtio_chain_write(&d->q[CONTROL], &d->chain, 0, answered + skip,
                                            sizeof answered - skip));
    return 0;
}

static void serve_control(struct cd *d)
{
    unsigned n = 0;

    virtio_work_hush(&d->work, CONTROL);
    while (n < QUEUE_SIZE && virtio_work_take(&d->work, CONTROL, &d->chain) == 1) {
        if (do_control(d) != 0) {
            virtio_work_break(&d->work, CONTROL);
        }
        n++;
    }
    virtio_work_show(&d->work, CONTROL);
    if (n == QUEUE_SIZE) {
        virtio_work_again(&d->work, CONTROL);
    } else {
        virtio_work_listen(&d->work, CONTROL);
    }
}

static void kicked(struct virtio_device *v, unsigned i)
{
    struct cd *d = (struct cd *)v;

    if (i == REQUESTS && !d->stops) {
        serve_requests(d);
    } else if (i == CONTROL && !d->stops) {
        serve_control(d);
    }
}

/* ---- life ---- */

static int start(struct virtio_device *v, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct cd *d = (struct cd *)v;
    int r = virtio_work_start(&d->work, negotiated, queues, count);

    if (r == 0) {
        kicked(v, CONTROL);
        kicked(v, REQUESTS);
    }
    return r;
}

static void stop(struct virtio_device *v)
{
    struct cd *d = (struct cd *)v;

    if (d->running > 0) {
        d->stops = true;
    } else {
        virtio_work_stop(&d->work);
    }
}

static uint32_t base(const struct virtio_device *v, unsigned i)
{
    return virtio_work_base(&((const struct cd *)v)->work, i);
}

/* The lock goes with the driver; the tray stays as it is. */
static void reset(struct virtio_device *v)
{
    ((struct cd *)v)->drive.is_locked = false;
}

static void carry(struct virtio_device *v, struct snap *s)
{
    struct cd *d = (struct cd *)v;
    uint64_t blocks = d->drive.blocks;

    SNAP_FIELD(s, blocks);
    snap_bool(s, &d->drive.is_open);
    snap_bool(s, &d->drive.is_locked);
    snap_bool(s, &d->drive.is_new);
    if (s->is_loading && blocks != d->drive.blocks) {
        d->drive.is_new = true; /* another disc is in it now */
    }
}

static void destroy(struct virtio_device *v)
{
    virtio_work_fini(&((struct cd *)v)->work);
    free(v);
}

/* ---- what it says of itself ---- */

static uint64_t features(const struct virtio_device *v)
{
    (void)v;
    return VIRTQ_FEATURES;
}

static uint16_t queue_size(const struct virtio_device *v, unsigned i)
{
    (void)v;
    return i < QUEUES ? QUEUE_SIZE : 0;
}

static void config_read(const struct virtio_device *v, uint32_t off, void *to,
                        uint32_t bytes)
{
    static const struct config c = {.queues = 1,
                                    .segments = QUEUE_SIZE - 2,
                                    .sectors = 0xffff,
                                    .commands = TASKS_MOST,
                                    .event_bytes = 16,
                                    .sense_bytes = SENSE_BYTES,
                                    .cdb_bytes = CDB_BYTES};

    (void)v;
    virtio_config_copy(&c, sizeof c, off, to, bytes);
}

int virtio_cd_create(struct loop *l, const struct blk_edge *edge,
                     struct virtio_device **ret, struct err *e)
{
    static const struct virtio_device_ops ops = {
        .name = "cd",
        .id = ID,
        .pci_class = CLASS,
        .features = features,
        .queue_size = queue_size,
        .config_read = config_read,
        .start = start,
        .kicked = kicked,
        .stop = stop,
        .base = base,
        .reset = reset,
        .carry = carry,
        .destroy = destroy,
    };
    struct cd *d = fault_calloc(1, sizeof *d);

    if (d == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    d->device.ops = &ops;
    d->edge = edge;
    d->drive.blocks = blk_size(edge->disk) / MMC_BLOCK_BYTES;
    d->drive.is_open = d->drive.blocks == 0;
    d->queue.ready = on_ready;
    d->reap.fn = on_reap;
    for (unsigned i = 0; i < TASKS_MOST; i++) {
        put_back(d, &d->task[i]);
    }
    virtio_work_init(&d->work, &d->device, l, d->q, QUEUES);
    *ret = &d->device;
    return 0;
}
