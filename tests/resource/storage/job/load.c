/* load.c - guests that write at random, and what they know of the disk. */
#include "tests/resource/storage/job/load.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "tests/contract/blk_suite.h"

#define SLOTS        16
#define PART_BLOCKS  (LOAD_BLOCKS / SLOTS)
#define MOST_BLOCKS  96u
#define RECORDS_MOST 400000u
#define PAUSE_NS     20000u

struct slot {
    struct blk_request request; /* first */
    struct iovec piece;
    char room[MOST_BLOCKS * 512];
    uint32_t *before; /* flush: what was finished when it began */
    uint64_t base;    /* block */
    uint64_t begun_ns;
    uint32_t version;
    bool busy;
};

struct record {
    uint32_t first;
    uint32_t count;
    uint32_t begun; /* events, in their order */
    uint32_t ended; /* 0: not yet */
    bool zeros;
};

struct load {
    struct loop *loop;
    struct blk *disk;
    struct blk_queue queue;
    struct strand_queue waiter;
    struct strand_queue stopped;
    bool (*is_dead)(void *arg);
    void *arg;
    bool stopping;
    bool running;
    struct slot slot[SLOTS];
    struct load_moment now;
    struct record *record; /* by version */
    uint32_t version;
    uint32_t events;
    uint64_t random;
    uint64_t errors;
    uint64_t slowest_ns;
};

uint64_t load_pick(struct load *t, uint64_t below)
{
    return suite_random(&t->random) % below;
}

static uint64_t now_ns(void)
{
    struct timespec s;

    (void)clock_gettime(CLOCK_MONOTONIC, &s);
    return (uint64_t)s.tv_sec * 1000000000u + (uint64_t)s.tv_nsec;
}

static void ready(struct blk_queue *q)
{
    (void)strand_wake(
        &((struct load *)((char *)q - offsetof(struct load, queue)))->waiter);
}

static void stamp(char *to, uint64_t block, uint32_t version)
{
    uint32_t *word = (uint32_t *)(void *)to;

    for (unsigned i = 0; i < 128; i += 2) {
        word[i] = (uint32_t)block;
        word[i + 1] = version;
    }
}

/* UINT32_MAX: no such block was written.  *ret_zeros: it may be of any request that made
 * zeros. */
static uint32_t version_of(const struct load_moment *m, const char *found, uint64_t block,
                           bool *ret_zeros)
{
    const uint32_t *word = (const uint32_t *)(const void *)found;
    char wanted[512];

    memset(wanted, 0, sizeof wanted);
    *ret_zeros = memcmp(found, wanted, 512) == 0;
    if (*ret_zeros) {
        return m->zeroed[block];
    }
    stamp(wanted, block, word[1]);
    return memcmp(found, wanted, 512) == 0 ? word[1] : UINT32_MAX;
}

static void launch(struct load *t, struct slot *s)
{
    uint64_t n =
        load_pick(t, 4) == 0 ? load_pick(t, MOST_BLOCKS) + 1 : load_pick(t, 8) + 1;
    uint64_t first = s->base + load_pick(t, PART_BLOCKS - n + 1);
    unsigned what = (unsigned)load_pick(t, 16);
    bool zeros = what == 8 || what == 9;

    must(++t->version < RECORDS_MOST);
    s->busy = true;
    s->version = t->version;
    s->begun_ns = now_ns();
    s->piece = (struct iovec){s->room, n * 512};
    s->request = (struct blk_request){.kind = BLK_WRITE,
                                      .flags = what == 0 ? BLK_FUA : 0,
                                      .off = first * 512,
                                      .vec = {.iov = &s->piece, .bytes = n * 512}};
    if (what == 15) {
        s->request.kind = BLK_FLUSH;
        n = 0;
        memcpy(s->before, t->now.finished, sizeof t->now.finished);
    } else if (zeros) {
        s->request.kind = BLK_ZERO;
        s->request.flags = what == 8 ? BLK_UNMAP : 0;
        s->request.bytes = n * 512;
    }
    t->record[s->version] = (struct record){.first = (uint32_t)first,
                                            .count = (uint32_t)n,
                                            .begun = ++t->events,
                                            .zeros = zeros};
    for (uint64_t i = first; i < first + n; i++) {
        t->now.latest[i] = s->version;
        if (zeros) {
            t->now.zeroed[i] = s->version;
        } else {
            stamp(s->room + (i - first) * 512, i, s->version);
        }
    }
    blk_submit(&t->queue, &s->request);
}

static void finish(struct load *t, struct slot *s)
{
    const struct blk_request *r = &s->request;
    struct record *k = &t->record[s->version];
    uint64_t took = now_ns() - s->begun_ns;

    s->busy = false;
    if (r->result != 0) {
        if (t->is_dead == NULL || !t->is_dead(t->arg)) {
            (void)fprintf(stderr, "a guest saw error %d\n", r->result);
            abort();
        }
        t->errors++;
        return;
    }
    if (t->is_dead != NULL && t->is_dead(t->arg)) {
        return; /* nobody hears the answer */
    }
    k->ended = ++t->events;
    if (r->kind == BLK_FLUSH) {
        for (unsigned i = 0; i < LOAD_BLOCKS; i++) {
            if (s->before[i] > t->now.durable[i]) {
                t->now.durable[i] = s->before[i];
            }
        }
        return;
    }
    t->slowest_ns = took > t->slowest_ns ? took : t->slowest_ns;
    for (uint32_t i = k->first; i < k->first + k->count; i++) {
        t->now.finished[i] = s->version;
        if ((r->flags & BLK_FUA) != 0) {
            t->now.durable[i] = s->version;
        }
    }
}

static bool goes_on(const struct load *t)
{
    return !t->stopping && (t->is_dead == NULL || !t->is_dead(t->arg));
}

static void churn(void *arg)
{
    struct load *t = arg;

    while (goes_on(t) || t->queue.in_flight > 0) {
        for (unsigned i = 0; i < SLOTS && goes_on(t); i++) {
            if (!t->slot[i].busy && load_pick(t, 2) == 0) {
                launch(t, &t->slot[i]);
            }
        }
        if (t->queue.done_first == NULL && t->queue.in_flight > 0) {
            strand_wait(loop_strands(t->loop), &t->waiter);
        }
        for (struct blk_request *r = blk_reap(&t->queue); r != NULL;) {
            struct blk_request *next = r->next;

            finish(t, (struct slot *)r);
            r = next;
        }
        loop_sleep(t->loop, PAUSE_NS);
    }
    t->running = false;
    (void)strand_wake_all(&t->stopped);
}

struct load *load_create(struct loop *l, uint64_t seed)
{
    struct load *t = calloc(1, sizeof *t);

    t->loop = l;
    t->random = seed * 2 + 1;
    t->record = calloc(RECORDS_MOST, sizeof *t->record);
    for (unsigned i = 0; i < SLOTS; i++) {
        t->slot[i].base = (uint64_t)i * PART_BLOCKS;
        t->slot[i].before = malloc(sizeof t->now.finished);
    }
    return t;
}

void load_free(struct load *t)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        free(t->slot[i].before);
    }
    free(t->record);
    free(t);
}

void load_start(struct load *t, struct blk *disk, bool (*is_dead)(void *arg), void *arg)
{
    t->queue = (struct blk_queue){.disk = disk, .ready = ready};
    t->is_dead = is_dead;
    t->arg = arg;
    t->stopping = false;
    t->running = true;
    must_be_0(strand_start(loop_strands(t->loop), churn, t));
}

void load_stop(struct load *t)
{
    t->stopping = true;
    while (t->running) {
        strand_wait(loop_strands(t->loop), &t->stopped);
    }
}

uint64_t load_errors(const struct load *t)
{
    return t->errors;
}

uint64_t load_count(const struct load *t)
{
    return t->version;
}

uint64_t load_slowest_ns(const struct load *t)
{
    return t->slowest_ns;
}

void load_moment(const struct load *t, struct load_moment *ret)
{
    *ret = t->now;
}

static char *read_all(struct blk *disk)
{
    char *room = malloc(LOAD_BYTES);

    must(room != NULL && blk_size(disk) >= LOAD_BYTES);
    must_be_0(blk_read(disk, room, LOAD_BYTES, 0));
    return room;
}

/* Whether some request made zeros of a block that is between these versions. */
static bool zeroed_between(const struct load *t, uint32_t block, uint32_t least,
                           uint32_t most)
{
    for (uint32_t v = least > 0 ? least : 1; v <= most; v++) {
        const struct record *k = &t->record[v];

        if (k->zeros && block - k->first < k->count) {
            return true;
        }
    }
    return least == 0;
}

static void check_block(const struct load *t, const char *found, uint32_t block,
                        uint32_t least, const struct load_moment *most, const char *what)
{
    bool zeros;
    uint32_t v = version_of(most, found, block, &zeros);

    if (zeros ? !zeroed_between(t, block, least, most->latest[block])
              : v < least || v > most->latest[block]) {
        (void)fprintf(stderr, "%s: block %u has version %u%s, not %u to %u\n", what,
                      block, v, zeros ? " (zeros)" : "", least, most->latest[block]);
        abort();
    }
}

void load_check(const struct load *t, struct blk *disk, const uint32_t *least,
                const struct load_moment *most, const char *what)
{
    char *room = read_all(disk);

    for (uint32_t i = 0; i < LOAD_BLOCKS; i++) {
        check_block(t, room + 512 * (size_t)i, i, least[i], most, what);
    }
    free(room);
}

void load_check_moment(const struct load *t, struct blk *disk,
                       const struct load_moment *from, const struct load_moment *to,
                       const char *what)
{
    char *room = read_all(disk);
    uint32_t last = 0; /* that began of all that is there */

    for (uint32_t i = 0; i < LOAD_BLOCKS; i++) {
        bool zeros;
        uint32_t v;

        check_block(t, room + 512 * (size_t)i, i, from->finished[i], to, what);
        v = version_of(to, room + 512 * (size_t)i, i, &zeros);
        if (!zeros && v > 0 && t->record[v].begun > last) {
            last = t->record[v].begun;
        }
    }
    for (uint32_t v = 1; v <= t->version; v++) {
        const struct record *k = &t->record[v];

        for (uint32_t i = k->first;
             k->ended != 0 && k->ended < last && i < k->first + k->count; i++) {
            check_block(t, room + 512 * (size_t)i, i, v, to, what);
        }
    }
    free(room);
}

void load_adopt(struct load *t, struct blk *disk)
{
    char *room = read_all(disk);

    for (uint32_t i = 0; i < LOAD_BLOCKS; i++) {
        bool zeros;
        uint32_t v = version_of(&t->now, room + 512 * (size_t)i, i, &zeros);

        must(v != UINT32_MAX);
        t->now.durable[i] = t->now.finished[i] = t->now.latest[i] = v;
    }
    free(room);
}
