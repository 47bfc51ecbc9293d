/* virtio_fuzz.c - any guest memory behind each virtio device, and any order of events.
 *
 * Input: the device, the format of its rings, their size, how memory changes under the
 * device's eyes, four bytes of features to take off, the length of a script, the script, and
 * the guest's memory with the rings at its beginning. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract/blk_graph.h"
#include "contract/nic.h"
#include "contract/snap.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/fuzz/target.h"
#include "virtio/balloon.h"
#include "virtio/console/console.h"
#include "virtio/device.h"
#include "virtio/net/net.h"
#include "virtio/rng.h"
#include "virtio/scsi/cd.h"
#include "virtio/space.h"
#include "virtio/vsock/vsock.h"

#define MEM_BYTES   (128u << 10)
#define HEAD_BYTES  9u
#define QUEUES_MOST 16u
#define RING_BYTES  512u /* of one queue */
#define DRIVER_AT   256u
#define DEVICE_AT   320u

#define STREAMS 16u

struct world {
    struct virtio_space space; /* first */
    struct loop *loop;
    struct virtio_device *d;
    struct nic *nic[2];
    struct vsock_stream *stream[STREAMS];
    uint8_t *mem;
    uint32_t seed; /* 0: memory stays as it is */
    uint64_t features;
    unsigned size;
    unsigned queues;
    uint32_t base[QUEUES_MOST];
    bool is_on, has_stopped;
    struct blk_edge edge;
};

/* ---- devices ---- */

static unsigned far_received(struct nic *n, const struct nic_frame *f, unsigned count)
{
    (void)n;
    (void)f;
    return count > 3 ? 3 : count;
}

static void make_rng(struct world *w)
{
    struct virtio_rng_options o = {.loop = w->loop, .is_seeded = true, .seed = 1};

    if (virtio_rng_create(&o, &w->d, NULL) != 0) {
        abort();
    }
}

static void make_net(struct world *w)
{
    struct virtio_net_options o = {.loop = w->loop, .mac = {2, 0, 0, 0, 0, 1}};

    if (nic_pair_create(w->loop, 1500, NIC_CHECKSUM | NIC_TSO4 | NIC_TSO6, w->nic,
                        NULL) != 0) {
        abort();
    }
    w->nic[1]->received = far_received;
    w->nic[1]->ops->accept(w->nic[1], w->nic[1]->offers);
    w->nic[1]->ops->more(w->nic[1]);
    o.nic = w->nic[0];
    if (virtio_net_create(&o, &w->d, NULL) != 0) {
        abort();
    }
}

/* A slot that holds a stream, as the address of it is what its user is called with. */
static uint32_t stream_received(void *who, const uint8_t *bytes, uint32_t n)
{
    (void)who;
    return n > 0 && bytes[0] % 4 == 0 ? n / 2 : n;
}

static void stream_finished(void *who)
{
    (void)who;
}

static void stream_gone(void *who, int why)
{
    (void)why;
    *(struct vsock_stream **)who = NULL;
}

static const struct vsock_user stream_user = {
    .received = stream_received, .finished = stream_finished, .gone = stream_gone};

static int stream_accept(void *who, uint32_t port, struct vsock_stream *s,
                         const struct vsock_user **ret_user, void **ret_who)
{
    struct world *w = who;
    struct vsock_stream **slot = &w->stream[port % STREAMS];

    if (*slot != NULL) {
        return -ECONNREFUSED;
    }
    *slot = s;
    *ret_user = &stream_user;
    *ret_who = slot;
    return 0;
}

static void make_vsock(struct world *w)
{
    struct virtio_vsock_options o = {
        .loop = w->loop, .cid = 3, .accept = stream_accept, .who = w};

    if (virtio_vsock_create(&o, &w->d, NULL) != 0) {
        abort();
    }
}

static void poke_vsock(struct world *w, uint8_t what)
{
    struct vsock_stream **slot = &w->stream[what % STREAMS];
    uint8_t bytes[5000] = {what};

    if (*slot == NULL) {
        (void)virtio_vsock_connect(w->d, what, &stream_user, slot, slot);
        return;
    }
    switch (what / STREAMS % 4) {
    case 0:
        (void)virtio_vsock_send(*slot, bytes, what * 16u);
        break;
    case 1:
        virtio_vsock_more(*slot);
        break;
    case 2:
        virtio_vsock_shutdown(*slot);
        break;
    default:
        virtio_vsock_close(*slot);
        *slot = NULL;
    }
}

static void make_balloon(struct world *w)
{
    struct virtio_balloon_options o = {.loop = w->loop};

    if (virtio_balloon_create(&o, &w->d, NULL) != 0) {
        abort();
    }
}

static void poke_balloon(struct world *w, uint8_t what)
{
    if (what % 2 == 0) {
        virtio_balloon_set(w->d, (uint64_t)what << 20);
    } else {
        (void)virtio_balloon_ask(w->d);
    }
}

static uint32_t port_output(void *who, const uint8_t *bytes, uint32_t n)
{
    (void)who;
    return n > 0 && bytes[0] % 4 == 0 ? n / 2 : n;
}

static void make_console(struct world *w)
{
    const struct virtio_console_port port[2] = {
        {.is_console = true, .output = port_output},
        {.name = "org.strata.fuzz", .output = port_output}};
    struct virtio_console_options o = {
        .loop = w->loop, .ports = port, .count = 2, .cols = 80, .rows = 25};

    if (virtio_console_create(&o, &w->d, NULL) != 0) {
        abort();
    }
}

static void poke_console(struct world *w, uint8_t what)
{
    static const uint8_t bytes[32] = {1, 2, 3};

    switch (what % 4) {
    case 0:
        (void)virtio_console_type(w->d, what >> 2 & 1, bytes, what >> 3);
        break;
    case 1:
        virtio_console_more(w->d, what >> 2 & 1);
        break;
    case 2:
        virtio_console_open(w->d, what >> 2 & 1, what >> 3 & 1);
        break;
    default:
        virtio_console_resize(w->d, what, what);
    }
}

static void poke_nothing(struct world *w, uint8_t what)
{
    (void)w;
    (void)what;
}

static void poke_net(struct world *w, uint8_t what)
{
    uint8_t bytes[3000];
    struct iovec iov = {bytes, 14 + what * 10u};
    struct nic_frame f = {.iov = &iov, .pieces = 1, .bytes = 14 + what * 10u};

    memset(bytes, what, sizeof bytes);
    if (what == 0) {
        virtio_net_set_link(w->d, false);
    } else if (what == 1) {
        virtio_net_set_link(w->d, true);
    } else if (what == 2) {
        virtio_net_announce(w->d);
    } else {
        (void)w->nic[1]->ops->send(w->nic[1], &f, 1);
    }
}

static void end_nothing(struct world *w)
{
    (void)w;
}

static void end_net(struct world *w)
{
    w->nic[0]->ops->destroy(w->nic[0]);
    w->nic[1]->ops->destroy(w->nic[1]);
}

static int fill_disc(void *arg)
{
    struct world *w = arg;
    struct blk *disk;
    int r = leaf_memory_create(loop_strands(w->loop), 64 * 2048, 512, &disk, NULL);

    w->edge =
        (struct blk_edge){.user = "fuzz", .uses = BLK_USE_READ, .lets = BLK_USE_ALL};
    return r != 0 ? r : blk_attach(&w->edge, disk, NULL);
}

static void make_cd(struct world *w)
{
    if (loop_do(w->loop, fill_disc, w) != 0 ||
        virtio_cd_create(w->loop, &w->edge, &w->d, NULL) != 0) {
        abort();
    }
}

static int empty_drive(void *arg)
{
    blk_detach(&((struct world *)arg)->edge);
    return 0;
}

static void end_cd(struct world *w)
{
    (void)loop_do(w->loop, empty_drive, w);
}

static const struct device {
    void (*make)(struct world *w);
    void (*poke)(struct world *w, uint8_t what); /* from the host's side */
    void (*end)(struct world *w);
} devices[] = {
    {make_rng, poke_nothing, end_nothing},     {make_net, poke_net, end_net},
    {make_vsock, poke_vsock, end_nothing},     {make_balloon, poke_balloon, end_nothing},
    {make_console, poke_console, end_nothing}, {make_cd, poke_nothing, end_cd},
};

#define DEVICES (sizeof devices / sizeof devices[0])

/* ---- the guest ---- */

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret_bytes)
{
    struct world *w = (struct world *)s;

    (void)write;
    if (w->seed != 0) {
        w->seed = w->seed * 1664525u + 1013904223u;
        w->mem[(w->seed >> 8) % MEM_BYTES] ^= (uint8_t)(1u << (w->seed & 7));
    }
    if (at >= MEM_BYTES) {
        return NULL;
    }
    *ret_bytes = bytes < MEM_BYTES - at ? bytes : MEM_BYTES - at;
    return w->mem + at;
}

static void on_notify(void *who, unsigned i)
{
    (void)who;
    (void)i;
}

static void on_event(void *who)
{
    (void)who;
}

static void on_stopped(void *who)
{
    ((struct world *)who)->has_stopped = true;
}

static const struct virtio_transport_ops plug = {on_notify, on_event, on_event,
                                                 on_stopped};

static void start(struct world *w)
{
    struct virtq_setup s[QUEUES_MOST];

    for (unsigned i = 0; i < w->queues; i++) {
        uint8_t *at = w->mem + i * RING_BYTES;

        s[i] = (struct virtq_setup){.space = &w->space,
                                    .rings = {at, at + DRIVER_AT, at + DEVICE_AT},
                                    .size = w->size,
                                    .features = w->features,
                                    .base = w->base[i]};
    }
    w->is_on = w->d->ops->start(w->d, w->features, s, w->queues) == 0;
}

static void stop(struct world *w)
{
    if (!w->is_on) {
        return;
    }
    w->has_stopped = false;
    w->d->ops->stop(w->d);
    while (!w->has_stopped) { /* a read of the disc may be under way */
        (void)loop_turn(w->loop, 1);
    }
    w->is_on = false;
    for (unsigned i = 0; i < w->queues; i++) {
        w->base[i] = w->d->ops->base(w->d, i);
    }
}

static void write_config(struct world *w, uint8_t off)
{
    uint32_t value = 0x01020304;
    uint8_t config[64];

    w->d->ops->config_read(w->d, off, config, sizeof config);
    if (w->d->ops->config_write != NULL) {
        (void)w->d->ops->config_write(w->d, off & 0x3c, &value, 4);
    }
}

static void step(struct world *w, const struct device *kind, uint8_t op, uint8_t arg)
{
    switch (op % 8) {
    case 0:
    case 1:
    case 2:
        if (w->is_on) {
            w->d->ops->kicked(w->d, arg % w->queues);
        }
        break;
    case 3:
        (void)loop_turn(w->loop, 0);
        break;
    case 4:
    case 5:
        kind->poke(w, arg);
        break;
    case 6:
        write_config(w, arg);
        break;
    default:
        stop(w);
        if (arg % 4 == 0 && w->d->ops->reset != NULL) {
            w->d->ops->reset(w->d);
        }
        start(w);
    }
}

static void work(struct world *w, const uint8_t *data, size_t size)
{
    const struct device *kind = &devices[data[0] % DEVICES];
    size_t script = data[8] < size - HEAD_BYTES ? data[8] : size - HEAD_BYTES;
    size_t rest = size - HEAD_BYTES - script;
    uint32_t off;

    memcpy(&off, data + 4, sizeof off);
    memcpy(w->mem, data + HEAD_BYTES + script, rest < MEM_BYTES ? rest : MEM_BYTES);
    kind->make(w);
    w->d->plug = &plug;
    w->d->transport = w;
    w->features = (w->d->ops->features(w->d) & ~(VIRTQ_FEATURES | (uint64_t)off)) |
                  VIRTIO_F_VERSION_1 | (uint64_t)(data[1] & 3) << 28 |
                  ((data[1] & 4) != 0 ? VIRTIO_F_RING_PACKED : 0);
    w->size = 1u << data[2] % 5;
    while (w->queues < QUEUES_MOST && w->d->ops->queue_size(w->d, w->queues) > 0) {
        w->base[w->queues++] = (data[1] & 4) != 0 ? 0x80008000u : 0;
    }
    start(w);
    for (size_t i = 0; i + 1 < script; i += 2) {
        step(w, kind, data[HEAD_BYTES + i], data[HEAD_BYTES + i + 1]);
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)loop_turn(w->loop, 0);
    }
    stop(w);
    w->d->ops->destroy(w->d);
    kind->end(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.space = {.reach = reach}};

    if (size < HEAD_BYTES) {
        return 0;
    }
    w.seed = data[3];
    w.mem = aligned_alloc(4096, MEM_BYTES);
    if (w.mem == NULL || loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) != 0) {
        abort();
    }
    memset(w.mem, 0, MEM_BYTES);
    work(&w, data, size);
    loop_destroy(w.loop);
    free(w.mem);
    return 0;
}
