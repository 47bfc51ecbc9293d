/* console.c - the virtio console device: VIRTIO 1.2, 5.3.
 *
 * What the guest is to be told of its ports is a set of bits for each of them, so that a
 * guest without buffers costs nothing, and two changes of size are one.  A chain of output
 * that was taken in part goes back to its queue, and `done` remembers how much of it. */
#include "virtio/console/console.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/snap.h"
#include "virtio/chain.h"
#include "virtio/console/numbers.h"
#include "virtio/work.h"

#define QUEUES        (2 * VIRTIO_CONSOLE_PORTS_MOST + 2)
#define QUEUE_SIZE    64
#define PART_BYTES    4096
#define BYTES_A_TURN  65536
#define CHAINS_A_TURN 64
#define BIT(event)    (UINT32_C(1) << (event))

_Static_assert(sizeof(struct virtio_console_config) == 12, "VIRTIO 5.3.4");
_Static_assert(sizeof(struct virtio_console_message) == 8, "VIRTIO 5.3.6.2");
_Static_assert(QUEUES <= VIRTIO_QUEUES_MOST, "queues of all ports");

struct port {
    struct virtio_console_port o;
    char name[VIRTIO_CONSOLE_NAME_BYTES];
    uint32_t pending; /* bits of events that the guest is to be told */
    uint8_t is_ready; /* the guest has it */
    uint8_t is_open;  /* a program of the guest */
    uint8_t is_used;  /* somebody at the host */
    bool is_starved;
    uint64_t done; /* bytes of the first chain that were taken */
};

struct console {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q[QUEUES];
    struct port port[VIRTIO_CONSOLE_PORTS_MOST];
    unsigned count;
    _Atomic uint32_t size; /* columns, and rows from bit 16 on; read by any thread */
    struct virtq_chain chain;
    uint8_t part[PART_BYTES];
};

static unsigned input_of(unsigned port)
{
    return port == 0 ? 0 : 2 + 2 * port;
}

static unsigned port_of(unsigned queue)
{
    return queue < 2 ? 0 : (queue - 2) / 2;
}

static bool has_ports(const struct console *c)
{
    return (c->work.features & VIRTIO_CONSOLE_F_MULTIPORT) != 0;
}

/* ---- what it says of itself ---- */

static uint64_t features(const struct virtio_device *d)
{
    (void)d;
    return VIRTQ_FEATURES | VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_MULTIPORT |
           VIRTIO_CONSOLE_F_EMERG_WRITE;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    return i < 2 * ((const struct console *)d)->count + 2 ? QUEUE_SIZE : 0;
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    const struct console *c = (const struct console *)d;
    uint32_t size = atomic_load(&c->size);
    const struct virtio_console_config config = {
        .cols = (uint16_t)size, .rows = (uint16_t)(size >> 16), .ports = c->count};

    virtio_config_copy(&config, sizeof config, off, to, bytes);
}

/* A kernel that dies writes here, one character at a time: 5.3.4. */
static int config_write(struct virtio_device *d, uint32_t off, const void *from,
                        uint32_t bytes)
{
    struct console *c = (struct console *)d;
    uint8_t byte;

    if (off != offsetof(struct virtio_console_config, emergency) || bytes == 0) {
        return -EACCES;
    }
    memcpy(&byte, from, 1);
    (void)c->port[0].o.output(c->port[0].o.who, &byte, 1);
    return 0;
}

/* ---- control ---- */

/* The next thing to say of a port, and the bytes behind the message. */
static unsigned make_message(struct console *c, unsigned i,
                             struct virtio_console_message *ret)
{
    static const uint16_t order[] = {VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_PORT_NAME,
                                     VIRTIO_CONSOLE_CONSOLE_PORT, VIRTIO_CONSOLE_RESIZE,
                                     VIRTIO_CONSOLE_PORT_OPEN};
    struct port *p = &c->port[i];
    uint32_t size = atomic_load(&c->size);
    unsigned k = 0;

    while ((p->pending & BIT(order[k])) == 0) {
        k++;
    }
    *ret = (struct virtio_console_message){.port = i, .event = order[k], .value = 1};
    p->pending &= ~BIT(order[k]);
    if (order[k] == VIRTIO_CONSOLE_PORT_NAME) {
        memcpy(c->part, p->name, sizeof p->name);
        return (unsigned)strlen(p->name);
    }
    if (order[k] == VIRTIO_CONSOLE_RESIZE) {
        memcpy(c->part, &size, sizeof size);
        return sizeof size;
    }
    if (order[k] == VIRTIO_CONSOLE_PORT_OPEN) {
        ret->value = p->is_used;
    }
    return 0;
}

static struct port *who_waits(struct console *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->port[i].pending != 0) {
            return &c->port[i];
        }
    }
    return NULL;
}

static void tell(struct console *c)
{
    struct virtq *q = &c->q[VIRTIO_CONSOLE_CONTROL_IN];
    struct port *p;

    while (has_ports(c) && (p = who_waits(c)) != NULL) {
        struct virtio_console_message m;
        unsigned more;

        if (virtio_work_take(&c->work, VIRTIO_CONSOLE_CONTROL_IN, &c->chain) == 0) {
            virtio_work_listen(&c->work, VIRTIO_CONSOLE_CONTROL_IN);
            break;
        }
        if (c->chain.write_bytes < sizeof m + VIRTIO_CONSOLE_NAME_BYTES / 2) {
            virtio_work_break(&c->work, VIRTIO_CONSOLE_CONTROL_IN);
            break;
        }
        more = make_message(c, (unsigned)(p - c->port), &m);
        (void)virtio_chain_write(q, &c->chain, 0, &m, sizeof m);
        more = (unsigned)virtio_chain_write(q, &c->chain, sizeof m, c->part, more);
        virtq_give(q, &c->chain, (uint32_t)sizeof m + more);
    }
    virtio_work_show(&c->work, VIRTIO_CONSOLE_CONTROL_IN);
}

static void port_is_ready(struct port *p)
{
    p->is_ready = 1;
    p->pending |= p->name[0] != '\0' ? BIT(VIRTIO_CONSOLE_PORT_NAME) : 0;
    p->pending |= p->is_used != 0 ? BIT(VIRTIO_CONSOLE_PORT_OPEN) : 0;
    if (p->o.is_console) {
        p->pending |= BIT(VIRTIO_CONSOLE_CONSOLE_PORT) | BIT(VIRTIO_CONSOLE_RESIZE);
    }
}

static void port_opens(struct port *p, bool is_open)
{
    if (p->is_open == (is_open ? 1 : 0)) {
        return;
    }
    p->is_open = is_open ? 1 : 0;
    if (p->o.opened != NULL) {
        p->o.opened(p->o.who, is_open);
    }
    if (is_open && p->is_starved && p->o.room != NULL) {
        p->is_starved = false;
        p->o.room(p->o.who);
    }
}

static void hear(struct console *c, const struct virtio_console_message *m)
{
    if (m->event == VIRTIO_CONSOLE_DEVICE_READY && m->value == 1) {
        for (unsigned i = 0; i < c->count; i++) {
            c->port[i].pending |= BIT(VIRTIO_CONSOLE_PORT_ADD);
        }
    } else if (m->port < c->count && m->event == VIRTIO_CONSOLE_PORT_READY) {
        if (m->value == 1) {
            port_is_ready(&c->port[m->port]);
        }
    } else if (m->port < c->count && m->event == VIRTIO_CONSOLE_PORT_OPEN) {
        port_opens(&c->port[m->port], m->value != 0);
    }
}

static void control(struct console *c)
{
    struct virtio_console_message m;
    unsigned n = 0;

    virtio_work_hush(&c->work, VIRTIO_CONSOLE_CONTROL_OUT);
    while (n < CHAINS_A_TURN &&
           virtio_work_take(&c->work, VIRTIO_CONSOLE_CONTROL_OUT, &c->chain) == 1) {
        bool is_whole = virtio_chain_read(&c->chain, 0, &m, sizeof m) == sizeof m;

        virtq_give(&c->q[VIRTIO_CONSOLE_CONTROL_OUT], &c->chain, 0);
        if (is_whole) {
            hear(c, &m);
        }
        n++;
    }
    virtio_work_show(&c->work, VIRTIO_CONSOLE_CONTROL_OUT);
    if (n == CHAINS_A_TURN) {
        virtio_work_again(&c->work, VIRTIO_CONSOLE_CONTROL_OUT);
    } else {
        virtio_work_listen(&c->work, VIRTIO_CONSOLE_CONTROL_OUT);
    }
    tell(c);
}

/* ---- bytes ---- */

/* A chain of output, as far as it goes: whether all of it was taken. */
static bool put_out(struct console *c, struct port *p, uint64_t *left)
{
    while (*left > 0) {
        uint32_t n =
            (uint32_t)virtio_chain_read(&c->chain, p->done, c->part, sizeof c->part);
        uint32_t took = n > 0 ? p->o.output(p->o.who, c->part, n) : 0;

        p->done += took;
        *left -= took < *left ? took : *left;
        if (n == 0) {
            p->done = 0;
            return true;
        }
        if (took < n) {
            return false;
        }
    }
    return false;
}

static void output(struct console *c, unsigned i)
{
    unsigned queue = input_of(i) + 1;
    uint64_t left = BYTES_A_TURN;
    unsigned n = 0;
    bool waits = false;

    virtio_work_hush(&c->work, queue);
    while (!waits && n < CHAINS_A_TURN &&
           virtio_work_take(&c->work, queue, &c->chain) == 1) {
        if (put_out(c, &c->port[i], &left)) {
            virtq_give(&c->q[queue], &c->chain, 0);
            n++;
        } else {
            virtq_put_back(&c->q[queue], &c->chain);
            waits = true;
        }
    }
    virtio_work_show(&c->work, queue);
    if (n == CHAINS_A_TURN || left == 0) {
        virtio_work_again(&c->work, queue);
    } else if (!waits) {
        virtio_work_listen(&c->work, queue);
    }
}

uint32_t virtio_console_type(struct virtio_device *d, unsigned port, const void *bytes,
                             uint32_t n)
{
    struct console *c = (struct console *)d;
    struct port *p = &c->port[port];
    unsigned queue = input_of(port);
    uint32_t done = 0;

    p->is_starved = true;
    if (!c->work.is_on || (has_ports(c) ? p->is_open == 0 : port > 0)) {
        return 0;
    }
    virtio_work_hush(&c->work, queue);
    while (done < n && virtio_work_take(&c->work, queue, &c->chain) == 1) {
        uint32_t part = (uint32_t)virtio_chain_write(
            &c->q[queue], &c->chain, 0, (const uint8_t *)bytes + done, n - done);

        if (part == 0) {
            virtio_work_break(&c->work, queue);
            break;
        }
        virtq_give(&c->q[queue], &c->chain, part);
        done += part;
    }
    virtio_work_show(&c->work, queue);
    p->is_starved = done < n;
    if (p->is_starved) {
        virtio_work_listen(&c->work, queue);
    }
    return done;
}

/* ---- the host's calls ---- */

void virtio_console_more(struct virtio_device *d, unsigned port)
{
    struct console *c = (struct console *)d;

    virtio_work_again(&c->work, input_of(port) + 1);
}

void virtio_console_open(struct virtio_device *d, unsigned port, bool is_open)
{
    struct console *c = (struct console *)d;
    struct port *p = &c->port[port];

    p->is_used = is_open ? 1 : 0;
    p->pending |= p->is_ready != 0 ? BIT(VIRTIO_CONSOLE_PORT_OPEN) : 0;
    tell(c);
}

void virtio_console_resize(struct virtio_device *d, uint16_t cols, uint16_t rows)
{
    struct console *c = (struct console *)d;

    atomic_store(&c->size, (uint32_t)cols | (uint32_t)rows << 16);
    for (unsigned i = 0; i < c->count; i++) {
        struct port *p = &c->port[i];

        p->pending |=
            p->o.is_console && p->is_ready != 0 ? BIT(VIRTIO_CONSOLE_RESIZE) : 0;
    }
    virtio_work_config(&c->work);
    tell(c);
}

/* ---- life ---- */

static void kicked(struct virtio_device *d, unsigned i)
{
    struct console *c = (struct console *)d;
    struct port *p;

    if (!c->work.is_on || i >= 2 * c->count + 2 || c->q[i].s.size == 0) {
        return;
    }
    p = &c->port[port_of(i)];
    if (i == VIRTIO_CONSOLE_CONTROL_IN) {
        tell(c);
    } else if (i == VIRTIO_CONSOLE_CONTROL_OUT) {
        control(c);
    } else if (i % 2 != 0) {
        output(c, port_of(i));
    } else if (p->is_starved && p->o.room != NULL) {
        p->is_starved = false;
        p->o.room(p->o.who);
    }
}

static int start(struct virtio_device *d, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct console *c = (struct console *)d;
    int r = virtio_work_start(&c->work, negotiated, queues, count);

    for (unsigned i = 0; r == 0 && i < QUEUES; i++) {
        kicked(d, i);
    }
    return r;
}

static void stop(struct virtio_device *d)
{
    virtio_work_stop(&((struct console *)d)->work);
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    return virtio_work_base(&((const struct console *)d)->work, i);
}

static void reset(struct virtio_device *d)
{
    struct console *c = (struct console *)d;

    for (unsigned i = 0; i < c->count; i++) {
        struct port *p = &c->port[i];

        p->pending = 0;
        p->is_ready = 0;
        p->done = 0;
        port_opens(p, false);
    }
}

static void carry(struct virtio_device *d, struct snap *s)
{
    struct console *c = (struct console *)d;
    uint32_t count = c->count;

    (void)snap_begin(s, "virtio-console", 1);
    SNAP_FIELD(s, count);
    if (count != c->count) {
        snap_refuse(s);
    }
    for (unsigned i = 0; i < c->count; i++) {
        SNAP_FIELD(s, c->port[i].pending);
        SNAP_FIELD(s, c->port[i].is_ready);
        SNAP_FIELD(s, c->port[i].is_open);
        SNAP_FIELD(s, c->port[i].done);
        c->port[i].pending &= BIT(VIRTIO_CONSOLE_PORT_ADD) |
                              BIT(VIRTIO_CONSOLE_PORT_NAME) |
                              BIT(VIRTIO_CONSOLE_CONSOLE_PORT) |
                              BIT(VIRTIO_CONSOLE_RESIZE) | BIT(VIRTIO_CONSOLE_PORT_OPEN);
        c->port[i].is_ready &= 1;
        c->port[i].is_open &= 1;
    }
    snap_end(s);
}

static void destroy(struct virtio_device *d)
{
    virtio_work_fini(&((struct console *)d)->work);
    free(d);
}

static const struct virtio_device_ops virtio_console_ops = {
    .name = "console",
    .id = VIRTIO_CONSOLE_ID,
    .pci_class = VIRTIO_CONSOLE_CLASS,
    .features = features,
    .queue_size = queue_size,
    .config_read = config_read,
    .config_write = config_write,
    .start = start,
    .kicked = kicked,
    .stop = stop,
    .reset = reset,
    .base = base,
    .carry = carry,
    .destroy = destroy,
};

int virtio_console_create(const struct virtio_console_options *o,
                          struct virtio_device **ret, struct err *e)
{
    struct console *c;

    if (o->count == 0 || o->count > VIRTIO_CONSOLE_PORTS_MOST) {
        return err_set(e, -EINVAL, "a console cannot have %u ports: 1 to %d", o->count,
                       VIRTIO_CONSOLE_PORTS_MOST);
    }
    c = fault_calloc(1, sizeof *c);
    if (c == NULL) {
        return err_set(e, -ENOMEM, "cannot make a console: out of memory");
    }
    c->device.ops = &virtio_console_ops;
    c->count = o->count;
    atomic_store(&c->size, (uint32_t)o->cols | (uint32_t)o->rows << 16);
    for (unsigned i = 0; i < o->count; i++) {
        c->port[i].o = o->ports[i];
        if (o->ports[i].name != NULL) {
            (void)strncpy(c->port[i].name, o->ports[i].name, sizeof c->port[i].name - 1);
        }
    }
    virtio_work_init(&c->work, &c->device, o->loop, c->q, 2 * o->count + 2);
    *ret = &c->device;
    return 0;
}
