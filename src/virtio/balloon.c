/* balloon.c - the virtio memory balloon: VIRTIO 1.2, 5.5.
 *
 * Inflating, the guest names pages of 4096 bytes; runs of them are given to the host as one
 * range.  Reporting, it names ranges by the buffers themselves.  Deflating needs nothing:
 * a page that the host has taken back is there again, zeroed, when it is touched.
 *
 * Queues have the numbers of those that were negotiated before them (5.5.2), so that the
 * meaning of a number is known at the start only. */
#include "virtio/balloon.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/snap.h"
#include "virtio/balloon_numbers.h"
#include "virtio/chain.h"
#include "virtio/space.h"
#include "virtio/work.h"

#define QUEUES        4
#define QUEUE_SIZE    128
#define CHAINS_A_TURN 32
#define PAGES_A_TURN  8192 /* of inflating */
#define PAGES_AT_ONCE 256
#define REPORT_BYTES  65536 /* less is not worth a call */
#define STATS_MOST    64

_Static_assert(sizeof(struct virtio_balloon_config) == 16, "VIRTIO 5.5.4");
_Static_assert(sizeof(struct virtio_balloon_stat) == 10, "VIRTIO 5.5.6.3");

enum meaning {
    INFLATE,
    DEFLATE,
    STATS,
    REPORT,
    NOTHING
};

struct balloon {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q[QUEUES];
    enum meaning meaning[QUEUES];
    struct virtio_balloon_options o;

    /* Read by any thread. */
    _Atomic uint32_t wanted; /* pages */
    _Atomic uint32_t actual; /* pages, as the driver says */
    _Atomic uint32_t poison; /* what free pages of the guest hold */

    uint64_t done;    /* bytes of the first inflating chain that were read */
    bool holds_stats; /* `stats` is a buffer that waits for a question */
    bool has_asked;   /* the next buffer is an answer */
    struct virtq_chain stats;
    struct virtq_chain chain;
};

static uint64_t features(const struct virtio_device *d)
{
    (void)d;
    return VIRTQ_FEATURES | VIRTIO_BALLOON_F_STATS_VQ | VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
           VIRTIO_BALLOON_F_PAGE_POISON | VIRTIO_BALLOON_F_REPORTING;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return i < QUEUES ? QUEUE_SIZE : 0;
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    const struct balloon *b = (const struct balloon *)d;
    const struct virtio_balloon_config c = {.num_pages = atomic_load(&b->wanted),
                                            .actual = atomic_load(&b->actual),
                                            .poison_val = atomic_load(&b->poison)};

    virtio_config_copy(&c, sizeof c, off, to, bytes);
}

static int config_write(struct virtio_device *d, uint32_t off, const void *from,
                        uint32_t bytes)
{
    struct balloon *b = (struct balloon *)d;
    uint32_t value;

    if (bytes != sizeof value) {
        return -EACCES;
    }
    memcpy(&value, from, sizeof value);
    if (off == offsetof(struct virtio_balloon_config, actual)) {
        atomic_store(&b->actual, value);
    } else if (off == offsetof(struct virtio_balloon_config, poison_val)) {
        atomic_store(&b->poison, value);
    } else {
        return -EACCES;
    }
    return 0;
}

/* ---- pages ---- */

static void discard_range(struct virtio_space *s, uint64_t at, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t n;
        uint8_t *host = s->reach(s, at, bytes, true, &n);

        if (host == NULL) {
            return; /* no memory: the guest is wrong, and nobody is hurt */
        }
        if (s->discard != NULL) {
            (void)s->discard(s, host, n);
        }
        at += n;
        bytes -= n;
    }
}

/* Pages that follow each other, up or down, are one range. */
static void discard_pages(struct virtio_space *s, const uint32_t *page, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        uint64_t low = page[i];
        uint64_t high = page[i];
        unsigned k = i + 1;

        while (k < count && ((uint64_t)page[k] == high + 1 ||
                             (low > 0 && (uint64_t)page[k] == low - 1))) {
            high += page[k] > high ? 1 : 0;
            low -= page[k] < low ? 1 : 0;
            k++;
        }
        discard_range(s, low * VIRTIO_BALLOON_PAGE_BYTES,
                      (high - low + 1) * VIRTIO_BALLOON_PAGE_BYTES);
        i = k;
    }
}

/* As many pages of a chain as there are left for this turn; whether that was all of it. */
static bool inflate(struct balloon *b, unsigned i, unsigned *left)
{
    uint32_t page[PAGES_AT_ONCE];

    while (*left > 0) {
        unsigned most = *left < PAGES_AT_ONCE ? *left : PAGES_AT_ONCE;
        unsigned got = (unsigned)(virtio_chain_read(&b->chain, b->done, page,
                                                    most * sizeof page[0]) /
                                  sizeof page[0]);

        if (got == 0) {
            b->done = 0;
            return true;
        }
        discard_pages(b->q[i].s.space, page, got);
        b->done += got * sizeof page[0];
        *left -= got;
    }
    return false;
}

/* The buffers are the pages: zeroed, unless the guest counts on what they hold. */
static void report(struct balloon *b, unsigned i)
{
    struct virtio_space *s = b->q[i].s.space;
    const struct virtq_chain *c = &b->chain;

    if (s->discard == NULL || atomic_load(&b->poison) != 0) {
        return;
    }
    for (unsigned k = c->reads; k < c->reads + c->writes; k++) {
        if (c->iov[k].iov_len >= REPORT_BYTES) {
            (void)s->discard(s, c->iov[k].iov_base, c->iov[k].iov_len);
        }
    }
}

/* ---- statistics ---- */

static void answered(struct balloon *b)
{
    struct virtio_balloon_stat stat[STATS_MOST];
    struct virtio_balloon_stats all = {0};
    uint64_t got = virtio_chain_read(&b->stats, 0, stat, sizeof stat);

    for (unsigned i = 0; i < got / sizeof stat[0]; i++) {
        if (stat[i].tag < VIRTIO_BALLOON_TAG_COUNT) {
            all.known |= UINT32_C(1) << stat[i].tag;
            all.value[stat[i].tag] = stat[i].value;
        }
    }
    if (b->o.stats != NULL) {
        b->o.stats(b->o.who, &all);
    }
}

/* The driver gives its only buffer, filled; it gets it back as a question. */
static void take_stats(struct balloon *b, unsigned i)
{
    if (b->holds_stats || virtio_work_take(&b->work, i, &b->stats) == 0) {
        virtio_work_listen(&b->work, i);
        return;
    }
    b->holds_stats = true;
    if (b->has_asked) {
        b->has_asked = false;
        answered(b);
    }
    virtio_work_listen(&b->work, i);
}

static unsigned queue_of(const struct balloon *b, enum meaning m)
{
    unsigned i = 0;

    while (i < QUEUES && b->meaning[i] != m) {
        i++;
    }
    return i;
}

bool virtio_balloon_ask(struct virtio_device *d)
{
    struct balloon *b = (struct balloon *)d;
    unsigned i = queue_of(b, STATS);

    if (i == QUEUES || !b->work.is_on || !b->holds_stats) {
        return false;
    }
    b->holds_stats = false;
    b->has_asked = true;
    virtq_give(&b->q[i], &b->stats, 0);
    virtio_work_show(&b->work, i);
    return true;
}

/* ---- life ---- */

static void serve(struct balloon *b, unsigned i)
{
    unsigned left = PAGES_A_TURN;
    unsigned n = 0;

    virtio_work_hush(&b->work, i);
    while (n < CHAINS_A_TURN && virtio_work_take(&b->work, i, &b->chain) == 1) {
        if (b->meaning[i] == INFLATE && !inflate(b, i, &left)) {
            virtq_put_back(&b->q[i], &b->chain);
            n = CHAINS_A_TURN;
            break;
        }
        if (b->meaning[i] == REPORT) {
            report(b, i);
        }
        virtq_give(&b->q[i], &b->chain, 0);
        n++;
    }
    virtio_work_show(&b->work, i);
    if (n == CHAINS_A_TURN) {
        virtio_work_again(&b->work, i);
    } else {
        virtio_work_listen(&b->work, i);
    }
}

static void kicked(struct virtio_device *d, unsigned i)
{
    struct balloon *b = (struct balloon *)d;

    if (!b->work.is_on || i >= QUEUES || b->q[i].s.size == 0) {
        return;
    }
    if (b->meaning[i] == STATS) {
        take_stats(b, i);
    } else {
        serve(b, i);
    }
}

static void name_queues(struct balloon *b, uint64_t f)
{
    unsigned n = 2;

    b->meaning[0] = INFLATE;
    b->meaning[1] = DEFLATE;
    if ((f & VIRTIO_BALLOON_F_STATS_VQ) != 0) {
        b->meaning[n++] = STATS;
    }
    if ((f & VIRTIO_BALLOON_F_REPORTING) != 0) {
        b->meaning[n++] = REPORT;
    }
    while (n < QUEUES) {
        b->meaning[n++] = NOTHING;
    }
}

static int start(struct virtio_device *d, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct balloon *b = (struct balloon *)d;
    int r = virtio_work_start(&b->work, negotiated, queues, count);

    if (r != 0) {
        return r;
    }
    name_queues(b, negotiated);
    b->holds_stats = false;
    for (unsigned i = 0; i < QUEUES; i++) {
        kicked(d, i);
    }
    return 0;
}

/* The buffer that is held is taken again at the next start. */
static void stop(struct virtio_device *d)
{
    struct balloon *b = (struct balloon *)d;
    unsigned i = queue_of(b, STATS);

    if (b->work.is_on && b->holds_stats && i < QUEUES) {
        virtq_put_back(&b->q[i], &b->stats);
        b->holds_stats = false;
    }
    virtio_work_stop(&b->work);
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    return virtio_work_base(&((const struct balloon *)d)->work, i);
}

static void reset(struct virtio_device *d)
{
    struct balloon *b = (struct balloon *)d;

    atomic_store(&b->actual, 0);
    atomic_store(&b->poison, 0);
    b->done = 0;
    b->has_asked = false;
}

static void carry(struct virtio_device *d, struct snap *s)
{
    struct balloon *b = (struct balloon *)d;
    uint32_t wanted = atomic_load(&b->wanted);
    uint32_t actual = atomic_load(&b->actual);
    uint32_t poison = atomic_load(&b->poison);
    uint8_t has_asked = b->has_asked ? 1 : 0;

    (void)snap_begin(s, "virtio-balloon", 1);
    SNAP_FIELD(s, wanted);
    SNAP_FIELD(s, actual);
    SNAP_FIELD(s, poison);
    SNAP_FIELD(s, b->done);
    SNAP_FIELD(s, has_asked);
    snap_end(s);
    if (s->is_loading && snap_error(s) == 0) {
        atomic_store(&b->wanted, wanted);
        atomic_store(&b->actual, actual);
        atomic_store(&b->poison, poison);
        b->has_asked = has_asked != 0;
    }
}

static void destroy(struct virtio_device *d)
{
    virtio_work_fini(&((struct balloon *)d)->work);
    free(d);
}

static const struct virtio_device_ops virtio_balloon_ops = {
    .name = "balloon",
    .id = VIRTIO_BALLOON_ID,
    .pci_class = VIRTIO_BALLOON_CLASS,
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

int virtio_balloon_create(const struct virtio_balloon_options *o,
                          struct virtio_device **ret, struct err *e)
{
    struct balloon *b = fault_calloc(1, sizeof *b);

    if (b == NULL) {
        return err_set(e, -ENOMEM, "cannot make a balloon: out of memory");
    }
    b->device.ops = &virtio_balloon_ops;
    b->o = *o;
    name_queues(b, 0);
    virtio_work_init(&b->work, &b->device, o->loop, b->q, QUEUES);
    *ret = &b->device;
    return 0;
}

void virtio_balloon_set(struct virtio_device *d, uint64_t bytes)
{
    struct balloon *b = (struct balloon *)d;
    uint64_t pages = bytes / VIRTIO_BALLOON_PAGE_BYTES;

    atomic_store(&b->wanted, pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX);
    virtio_work_config(&b->work);
}

uint64_t virtio_balloon_given(const struct virtio_device *d)
{
    return (uint64_t)atomic_load(&((const struct balloon *)d)->actual) *
           VIRTIO_BALLOON_PAGE_BYTES;
}
