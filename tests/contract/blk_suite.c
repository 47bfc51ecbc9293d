/* blk_suite.c - the promises of contract/blk.h, for any implementer.
 *
 * Truth is a plain array: every operation is made on the disk and on the array.  For
 * power cuts it holds two generations of each block, what was durable and what was
 * written since: after a cut a block has to be one of those written since the
 * flush, or the durable one. */
#include "tests/contract/blk_suite.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"

#define SIZE_BYTES   (4u * 1024 * 1024)
#define STEPS        600
#define CUT_BYTES    (1024u * 1024)
#define CUT_ROUNDS   60
#define CUT_STEPS    80
#define MOST_BYTES   (192u * 1024) /* of one request */
#define MOST_BLOCKS  (CUT_BYTES / 512)
#define VERSIONS     64
#define SEED_DEFAULT 1

uint64_t suite_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

void suite_must(bool so, const char *file, int line, const char *what)
{
    if (!so) {
        (void)fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
        abort();
    }
}

void suite_must_be_0(int r, const char *file, int line, const char *what)
{
    if (r != 0) {
        (void)fprintf(stderr, "%s:%d: %s is %d\n", file, line, what, r);
        abort();
    }
}

struct bench {
    const struct suite_disk *kind;
    struct loop *loop;
    uint64_t size;
    struct blk *base[SUITE_LOWERS_MOST];     /* memory that outlives the disk */
    struct blk_edge keep[SUITE_LOWERS_MOST]; /* so that it does */
    struct blk *lower[SUITE_LOWERS_MOST];    /* what the disk gets */
    struct filter_fault_plan plan;
    struct blk *disk;
    struct blk_edge edge;
    uint64_t random;
};

static uint64_t pick(struct bench *s, uint64_t below)
{
    return suite_random(&s->random) % below;
}

static uint64_t seed(void)
{
    const char *text = getenv("SUITE_SEED");

    return text != NULL ? strtoull(text, NULL, 10) : SEED_DEFAULT;
}

/* Memory, kept by an edge of ours, behind a filter that can fail. */
static void put_lowers(struct bench *s, uint64_t size)
{
    for (unsigned i = 0; i < s->kind->lowers; i++) {
        struct err e = {0};

        if (s->base[i] == NULL) {
            uint64_t bytes = s->kind->lower_bytes != 0 ? s->kind->lower_bytes : size;

            must_be_0(leaf_memory_create(loop_strands(s->loop),
                                         s->kind->lower_grows ? 0 : bytes, 512,
                                         &s->base[i], &e));
            s->base[i]->grows = s->kind->lower_grows;
            s->keep[i] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
            must_be_0(blk_attach(&s->keep[i], s->base[i], &e));
        }
        must_be_0(filter_fault_create(s->loop, s->base[i], &s->plan, &s->lower[i], &e));
    }
}

static void open_disk(struct bench *s, bool fresh)
{
    int (*how)(struct loop * l, struct blk * *take_lower, uint64_t size_bytes,
               struct blk * *ret_disk, struct err * e) = s->kind->make;
    struct err e = {0};

    put_lowers(s, s->size);
    if (!fresh && s->kind->open != NULL) {
        how = s->kind->open;
    }
    if (how(s->loop, s->lower, s->size, &s->disk, &e) != 0) {
        (void)fprintf(stderr, "%s: %s\n", s->kind->name, e.text);
        abort();
    }
    s->edge = (struct blk_edge){.user = "suite", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&s->edge, s->disk, &e));
    must(blk_size(s->disk) == s->size);
}

static void close_disk(struct bench *s, bool after_cut)
{
    blk_detach(&s->edge);
    s->disk = NULL;
    if (s->kind->judge != NULL) {
        s->kind->judge(s->loop, s->base, after_cut);
    }
}

static void drop_lowers(struct bench *s)
{
    for (unsigned i = 0; i < s->kind->lowers; i++) {
        blk_detach(&s->keep[i]);
        s->base[i] = NULL;
    }
}

/* ---- the model: what was written reads back ---- */

/* A window of 1 to 5 pieces of odd sizes over `buf`. */
static struct blk_vec scatter(struct bench *s, char *buf, size_t bytes,
                              struct iovec pieces[5])
{
    unsigned n = 0;
    size_t at = 0;

    while (n < 4 && at < bytes) {
        size_t part = (size_t)pick(s, bytes - at) + 1;

        pieces[n++] = (struct iovec){buf + at, part};
        at += part;
    }
    if (at < bytes) {
        pieces[n++] = (struct iovec){buf + at, bytes - at};
    }
    return (struct blk_vec){.iov = pieces, .bytes = bytes};
}

static void pick_range(struct bench *s, uint64_t *off, uint64_t *bytes)
{
    uint32_t block = blk_block_bytes(s->disk);
    uint64_t blocks = s->size / block;
    uint64_t most = MOST_BYTES / block < blocks ? MOST_BYTES / block : blocks;
    uint64_t n = pick(s, 3) == 0 ? pick(s, most) + 1 : pick(s, 8 < most ? 8 : most) + 1;

    *off = pick(s, blocks - n + 1) * block;
    *bytes = n * block;
}

static void fill(struct bench *s, char *buf, size_t bytes)
{
    switch (pick(s, 5)) {
    case 0:
        memset(buf, 0, bytes);
        break;
    case 1:
        memset(buf, (int)pick(s, 256), bytes);
        break;
    default:
        for (size_t i = 0; i < bytes; i++) {
            buf[i] = (char)suite_random(&s->random);
        }
    }
}

static void compare_part(struct bench *s, const char *model, uint64_t off, size_t bytes)
{
    char *room = malloc(bytes + 64);
    struct iovec pieces[5];

    memset(room, 0x5a, bytes + 64);
    must_be_0(blk_readv(s->disk, scatter(s, room, bytes, pieces), off));
    if (memcmp(room, model + off, bytes) != 0) {
        size_t i = 0;

        while (room[i] == model[off + i]) {
            i++;
        }
        (void)fprintf(stderr, "%s: byte %llu is not what was written\n", s->kind->name,
                      (unsigned long long)(off + i));
        abort();
    }
    must(room[bytes] == 0x5a);
    free(room);
}

static void compare_all(struct bench *s, const char *model)
{
    for (uint64_t off = 0; off < s->size;) {
        uint64_t n = s->size - off < MOST_BYTES ? s->size - off : MOST_BYTES;

        compare_part(s, model, off, (size_t)n);
        off += n;
    }
}

/* Where the status says that there is no data, there are zeros; extents cover
 * the whole. */
static void compare_status(struct bench *s, const char *model)
{
    uint64_t off = 0;

    while (off < s->size) {
        struct blk_extent x;

        must_be_0(blk_status(s->disk, off, s->size - off, &x));
        must(x.bytes > 0 && x.bytes <= s->size - off);
        for (uint64_t i = 0; (x.state & BLK_DATA) == 0 && i < x.bytes; i++) {
            must(model[off + i] == 0);
        }
        off += x.bytes;
    }
}

static void discard_both(struct bench *s, char *model, uint64_t off, uint64_t bytes)
{
    char *room = malloc(bytes);

    must_be_0(blk_discard(s->disk, off, bytes));
    must_be_0(blk_read(s->disk, room, bytes, off));
    for (uint64_t i = 0; i < bytes; i++) {
        must(room[i] == 0 || room[i] == model[off + i]);
    }
    memcpy(model + off, room, bytes);
    free(room);
}

static void write_both(struct bench *s, char *model, uint64_t off, uint64_t bytes)
{
    struct iovec pieces[5];
    char *room = malloc(bytes);

    fill(s, room, bytes);
    must_be_0(blk_writev(s->disk, scatter(s, room, bytes, pieces), off,
                         pick(s, 6) == 0 ? BLK_FUA : 0));
    memcpy(model + off, room, bytes);
    free(room);
}

static void step(struct bench *s, char *model)
{
    uint64_t off;
    uint64_t bytes;

    pick_range(s, &off, &bytes);
    switch (pick(s, 12)) {
    case 0:
    case 1:
    case 2:
        compare_part(s, model, off, (size_t)bytes);
        break;
    case 3:
        must_be_0(blk_zero(s->disk, off, bytes, pick(s, 2) == 0 ? BLK_UNMAP : 0));
        memset(model + off, 0, bytes);
        break;
    case 4:
        discard_both(s, model, off, bytes);
        break;
    case 5:
        must_be_0(blk_flush(s->disk));
        break;
    case 6:
        compare_status(s, model);
        break;
    default:
        write_both(s, model, off, bytes);
    }
}

static int read_back(void *arg)
{
    struct bench *s = arg;
    char *model;

    open_disk(s, true);
    model = calloc(1, s->size);
    compare_all(s, model);
    for (unsigned i = 0; i < STEPS; i++) {
        step(s, model);
        if (i % 100 == 99) {
            compare_all(s, model);
            must_be_0(blk_flush(s->disk));
        }
        if (i % 200 == 199 && !s->kind->is_volatile) {
            close_disk(s, false);
            open_disk(s, false);
            compare_all(s, model);
        }
    }
    close_disk(s, false);
    drop_lowers(s);
    free(model);
    return 0;
}

/* ---- what the guard refuses ---- */

static int refuse(void *arg)
{
    struct bench *s = arg;
    char room[4096] = {0};
    struct blk_extent x;
    uint32_t block;

    open_disk(s, true);
    block = blk_block_bytes(s->disk);
    must(blk_read(s->disk, room, block - 1, 0) == -EINVAL);
    must(blk_read(s->disk, room, block, 1) == -EINVAL);
    must(blk_read(s->disk, room, block, s->size) == -ERANGE);
    must(blk_read(s->disk, room, block, UINT64_MAX - block + 1) == -ERANGE);
    must(blk_write(s->disk, room, block, s->size, 0) == -ERANGE);
    must(blk_zero(s->disk, s->size, block, 0) == -ERANGE);
    must(blk_zero(s->disk, block, UINT64_MAX - block + 1, 0) == -ERANGE);
    must(blk_discard(s->disk, 1, block) == -EINVAL);
    must(blk_discard(s->disk, s->size, block) == -ERANGE);
    must(blk_status(s->disk, s->size, block, &x) == -ERANGE);
    must(blk_status(s->disk, 0, 0, &x) == -EINVAL);
    must_be_0(blk_read(s->disk, room, 0, 0));
    must_be_0(blk_write(s->disk, room, 0, 0, 0));
    must(blk_resize(s->disk, s->size + 1, NULL) < 0);
    close_disk(s, false);
    drop_lowers(s);
    return 0;
}

/* ---- many requests at once ---- */

enum {
    SLOTS = 24
};

struct slot {
    struct blk_request request; /* first */
    struct iovec piece;
    char *room;
    bool busy;
};

struct flow {
    struct bench *s;
    struct blk_queue queue; /* first after `s` */
    struct strand_queue waiter;
    unsigned calls;
};

static void flow_ready(struct blk_queue *q)
{
    struct flow *f = (struct flow *)((char *)q - offsetof(struct flow, queue));

    f->calls++;
    (void)strand_wake(&f->waiter);
}

/* Slot i has the i-th part of the disk for itself, so that the model is plain. */
static void launch(struct flow *f, struct slot *slot, char *model, uint64_t base,
                   uint64_t part)
{
    struct bench *s = f->s;
    uint32_t block = blk_block_bytes(s->disk);
    uint64_t n = pick(s, part / block < 16 ? part / block : 16) + 1;
    uint64_t off = base + pick(s, part / block - n + 1) * block;

    slot->busy = true;
    slot->piece = (struct iovec){slot->room, n * block};
    slot->request = (struct blk_request){
        .kind = pick(s, 3) == 0 ? BLK_READ : BLK_WRITE,
        .off = off,
        .vec = {.iov = &slot->piece, .bytes = n * block},
    };
    if (slot->request.kind == BLK_WRITE) {
        fill(s, slot->room, n * block);
        memcpy(model + off, slot->room, n * block);
    } else if (pick(s, 4) == 0) {
        slot->request.kind = BLK_ZERO;
        slot->request.bytes = n * block;
        memset(model + off, 0, n * block);
    }
    blk_submit(&f->queue, &slot->request);
}

static void collect(struct flow *f, const char *model, unsigned *done)
{
    for (struct blk_request *r = blk_reap(&f->queue); r != NULL;) {
        struct slot *slot = (struct slot *)r;

        must_be_0(r->result);
        if (r->kind == BLK_READ) {
            must(memcmp(slot->room, model + r->off, r->vec.bytes) == 0);
        }
        slot->busy = false;
        (*done)++;
        r = r->next;
    }
}

static int side_by_side(void *arg)
{
    struct bench *s = arg;
    struct flow f = {.s = s, .queue.ready = flow_ready};
    struct slot slots[SLOTS] = {0};
    unsigned done = 0;
    uint64_t part;
    char *model;

    s->plan.delay_one_in = 3;
    s->plan.delay_ns = 200000;
    open_disk(s, true);
    model = calloc(1, s->size);
    f.queue.disk = s->disk;
    part = s->size / SLOTS & ~(uint64_t)4095;
    for (unsigned i = 0; i < SLOTS; i++) {
        slots[i].room = malloc(64 * 1024);
    }
    while (done < 600) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (!slots[i].busy) {
                launch(&f, &slots[i], model, i * part, part);
            }
        }
        if (f.queue.done_first == NULL) {
            strand_wait(loop_strands(s->loop), &f.waiter);
        }
        collect(&f, model, &done);
    }
    while (f.queue.in_flight > 0) {
        strand_wait(loop_strands(s->loop), &f.waiter);
        collect(&f, model, &done);
    }
    collect(&f, model, &done);
    must(f.calls > 0);
    compare_all(s, model);
    close_disk(s, false);
    drop_lowers(s);
    for (unsigned i = 0; i < SLOTS; i++) {
        free(slots[i].room);
    }
    free(model);
    return 0;
}

/* ---- resize ---- */

static int resize(void *arg)
{
    struct bench *s = arg;
    char *model = calloc(1, 2 * s->size);
    uint64_t first = s->size;
    struct err e = {0};

    open_disk(s, true);
    if (s->kind->fixed_size) {
        must(blk_resize(s->disk, s->size * 2, &e) < 0);
        must(e.text[0] != '\0');
    } else {
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = 0; i < 20; i++) {
                write_both(s, model, first / 4 + pick(s, first / 8 / 4096) * 4096, 8192);
            }
            must_be_0(blk_resize(s->disk, first / 2 + 4096, &e));
            s->size = first / 2 + 4096;
            memset(model + s->size, 0, 2 * first - s->size);
            must_be_0(blk_resize(s->disk, 2 * first, &e));
            s->size = 2 * first;
            compare_all(s, model);
            write_both(s, model, s->size - 65536, 65536);
            must_be_0(blk_resize(s->disk, first, &e));
            s->size = first;
            memset(model + first, 0, first);
            compare_all(s, model);
        }
        must_be_0(blk_flush(s->disk));
        if (!s->kind->is_volatile) {
            close_disk(s, false);
            open_disk(s, false);
            compare_all(s, model);
        }
    }
    close_disk(s, false);
    drop_lowers(s);
    free(model);
    return 0;
}

/* ---- errors of the disk below ---- */

/* Whatever fails below fails above, or is dealt with; once the disk below works
 * again, the old bytes or the new ones are there. */
static int survive_errors(void *arg)
{
    struct bench *s = arg;
    struct filter_fault_plan bad = {
        .seed = seed(), .fail_partly = true, .error = -EIO, .fail_kinds = 31};
    unsigned failed = 0;
    char *old = calloc(1, s->size);
    char *new = calloc(1, s->size);
    char *room = malloc(MOST_BYTES);

    open_disk(s, true);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t off;
        uint64_t bytes;
        int r;

        pick_range(s, &off, &bytes);
        fill(s, room, bytes);
        bad.fail_from = pick(s, 6) + 1;
        bad.fail_until = bad.fail_from + pick(s, 3) + 1;
        for (unsigned k = 0; k < s->kind->lowers; k++) {
            filter_fault_plan(s->lower[k], &bad);
        }
        r = blk_write(s->disk, room, bytes, off, pick(s, 3) == 0 ? BLK_FUA : 0);
        failed += r != 0;
        for (unsigned k = 0; k < s->kind->lowers; k++) {
            filter_fault_plan(s->lower[k], &s->plan);
        }
        must(r == 0 || r == -EIO);
        memcpy(new + off, room, bytes);
        must_be_0(blk_read(s->disk, room, bytes, off));
        for (uint64_t x = 0; x < bytes; x++) {
            must(room[x] == new[off + x] || (r != 0 && room[x] == old[off + x]));
        }
        memcpy(old + off, room, bytes);
        memcpy(new + off, room, bytes);
    }
    must(s->kind->lowers == 0 || s->kind->absorbs || failed > 0);
    (void)blk_flush(s->disk); /* may still tell of an earlier failure, once */
    must_be_0(blk_flush(s->disk));
    compare_all(s, old);
    close_disk(s, false);
    if (!s->kind->is_volatile) {
        open_disk(s, false);
        compare_all(s, old);
        close_disk(s, false);
    }
    drop_lowers(s);
    free(old);
    free(new);
    free(room);
    return 0;
}

/* ---- power cuts ---- */

/* Blocks of 512 bytes hold their number of version, so that a block tells when it
 * was written: version 0 is zeros. */
struct history {
    uint32_t durable[MOST_BLOCKS]; /* oldest version that may be found */
    uint32_t latest[MOST_BLOCKS];
    uint32_t unsure[MOST_BLOCKS]; /* a request was in flight or failed: up to here */
    uint32_t next;
};

static void stamp(char *buf, uint64_t bytes, uint64_t off, uint32_t version)
{
    for (uint64_t at = 0; at < bytes; at += 512) {
        uint32_t *word = (uint32_t *)(void *)(buf + at);

        for (unsigned i = 0; i < 128; i += 2) {
            word[i] = (uint32_t)((off + at) / 512);
            word[i + 1] = version;
        }
    }
}

/* The version of a block that was read; UINT32_MAX: torn or foreign bytes. */
static uint32_t version_of(const char *buf, uint64_t off)
{
    const uint32_t *word = (const uint32_t *)(const void *)buf;
    uint32_t version = word[1];

    for (unsigned i = 0; i < 128; i += 2) {
        if (word[i + 1] != version ||
            word[i] != (version == 0 ? 0 : (uint32_t)(off / 512))) {
            return UINT32_MAX;
        }
    }
    return version;
}

static void cut_step(struct bench *s, struct history *h, char *room)
{
    uint64_t off;
    uint64_t bytes;
    unsigned kind = (unsigned)pick(s, 10);
    unsigned flags = pick(s, 8) == 0 ? BLK_FUA : 0;
    int r;

    if (kind == 0) {
        if (blk_flush(s->disk) == 0) {
            memcpy(h->durable, h->latest, sizeof h->durable);
        }
        return;
    }
    pick_range(s, &off, &bytes);
    bytes = bytes > 65536 ? 65536 : bytes;
    h->next++;
    for (uint64_t b = off / 512; b < (off + bytes) / 512; b++) {
        h->unsure[b] = h->next;
    }
    stamp(room, bytes, off, h->next);
    r = blk_write(s->disk, room, bytes, off, flags);
    for (uint64_t b = off / 512; r == 0 && b < (off + bytes) / 512; b++) {
        h->latest[b] = h->next;
        h->durable[b] = flags != 0 ? h->next : h->durable[b];
    }
}

/* Which versions a block may have: `durable` or any later one. */
static void judge_block(const struct bench *s, struct history *h, const char *buf,
                        uint64_t off)
{
    uint32_t v = version_of(buf, off);
    uint64_t b = off / 512;

    if (v == UINT32_MAX || v < h->durable[b] || v > h->unsure[b]) {
        (void)fprintf(stderr,
                      "%s: after a power cut block %llu has version %u; %u was durable, "
                      "%u the last\n",
                      s->kind->name, (unsigned long long)b, v, h->durable[b],
                      h->unsure[b]);
        abort();
    }
    h->durable[b] = v;
    h->latest[b] = v;
    h->unsure[b] = v;
}

static void one_cut(struct bench *s, struct history *h, char *room)
{
    unsigned member = s->kind->lowers > 1 ? (unsigned)pick(s, s->kind->lowers) : 0;

    filter_fault_cut_after(s->lower[member], pick(s, CUT_STEPS * 2));
    for (unsigned i = 0; i < CUT_STEPS && !filter_fault_is_cut(s->lower[member]); i++) {
        cut_step(s, h, room);
    }
    for (unsigned i = 0; i < s->kind->lowers; i++) { /* one cut for all disks */
        if (!filter_fault_is_cut(s->lower[i])) {
            filter_fault_cut(s->lower[i]);
        }
    }
    close_disk(s, true);
    s->plan.seed = suite_random(&s->random);
    open_disk(s, false);
    for (uint64_t off = 0; off < s->size; off += 65536) {
        must_be_0(blk_read(s->disk, room, 65536, off));
        for (uint64_t at = 0; at < 65536; at += 512) {
            judge_block(s, h, room + at, off + at);
        }
    }
    must_be_0(blk_flush(s->disk));
}

static int lose_power(void *arg)
{
    struct bench *s = arg;
    struct history *h = calloc(1, sizeof *h);
    const char *more = getenv("SUITE_CUTS");
    unsigned rounds = s->kind->power_rounds != 0 ? s->kind->power_rounds : CUT_ROUNDS;
    char *room = malloc(MOST_BYTES);

    if (s->kind->lowers == 0 || s->kind->is_volatile) {
        free(h);
        free(room);
        return 0;
    }
    rounds = more != NULL ? (unsigned)strtoul(more, NULL, 10) : rounds;
    s->size = CUT_BYTES;
    open_disk(s, true);
    must_be_0(blk_flush(s->disk));
    close_disk(s, false);
    s->plan.holds_back = true;
    open_disk(s, false);
    for (unsigned i = 0; i < rounds; i++) {
        one_cut(s, h, room);
    }
    close_disk(s, false);
    drop_lowers(s);
    free(h);
    free(room);
    return 0;
}

/* ---- draining ---- */

struct late {
    struct blk *disk;
    bool began;
    bool done;
};

static void write_late(void *arg)
{
    struct late *l = arg;
    char room[4096] = {1};

    l->began = true;
    must_be_0(blk_write(l->disk, room, sizeof room, 0, 0));
    l->done = true;
}

static int drain(void *arg)
{
    struct bench *s = arg;
    struct late l = {0};

    s->plan.delay_one_in = 1;
    s->plan.delay_ns = 300000;
    open_disk(s, true);
    l.disk = s->disk;
    must_be_0(strand_start(loop_strands(s->loop), write_late, &l));
    blk_drain_begin(s->disk);
    loop_sleep(s->loop, 1000); /* its strand is about to go on */
    must(l.done);
    blk_drain_begin(s->disk);
    l.done = false;
    must_be_0(strand_start(loop_strands(s->loop), write_late, &l));
    loop_sleep(s->loop, 1000000);
    must(l.began && !l.done);
    blk_drain_end(s->disk);
    must(!l.done);
    blk_drain_end(s->disk);
    blk_drain_begin(s->disk);
    loop_sleep(s->loop, 1000);
    must(l.done);
    blk_drain_end(s->disk);
    close_disk(s, false);
    drop_lowers(s);
    return 0;
}

/* ---- no memory ---- */

static int make_and_write(void *arg)
{
    struct bench *s = arg;
    char room[4096] = {7};
    struct err e = {0};
    int r;

    r = s->kind->make(s->loop, s->lower, s->size, &s->disk, &e);
    if (r != 0) {
        return r;
    }
    s->edge = (struct blk_edge){.user = "suite", .uses = BLK_USE_ALL};
    r = blk_attach(&s->edge, s->disk, &e);
    if (r == 0) {
        r = blk_write(s->disk, room, sizeof room, 4096, 0);
    }
    if (r == 0) {
        r = blk_flush(s->disk);
    }
    blk_detach(&s->edge);
    return r;
}

/* The n-th allocation fails inside `make` or the first write; the disks below stay. */
static int run_out_of_memory(void *arg)
{
    struct bench *s = arg;
    int r = -1;

    for (int n = 0; n < 400 && r != 0; n++) {
        put_lowers(s, s->size);
        fault_fail_alloc_at(n);
        r = make_and_write(s);
        fault_fail_alloc_at(-1);
        must(r == 0 || r == -ENOMEM || r == -ENOSPC);
        drop_lowers(s);
    }
    must_be_0(r);
    return 0;
}

/* ---- the list ---- */

static const struct promise {
    const char *text;
    int (*check)(void *arg);
} promises[] = {
    {"what was written reads back", read_back},
    {"what is outside is refused", refuse},
    {"many requests at once keep apart", side_by_side},
    {"a disk grows and shrinks", resize},
    {"errors below are told and lose nothing", survive_errors},
    {"what was flushed survives a power cut", lose_power},
    {"a drained disk lets nobody in", drain},
};

static void run_promise(const struct suite_disk *kind, const struct promise *p,
                        enum loop_driver_kind driver)
{
    struct bench s = {.kind = kind, .size = SIZE_BYTES, .random = seed() * 2 + 1};
    struct err e = {0};

    s.plan.seed = seed();
    if (loop_create(driver, &s.loop, &e) != 0) {
        (void)printf("skip %s: %s\n", kind->name, e.text);
        return;
    }
    must_be_0(loop_do(s.loop, p->check, &s));
    (void)printf("ok   %s: %s (%s)\n", kind->name, p->text, loop_driver_name(s.loop));
    loop_destroy(s.loop);
}

int suite_main(const struct suite_disk *disks, unsigned count)
{
    static const struct promise memory = {"no memory leaves nothing behind",
                                          run_out_of_memory};
    const char *only = getenv("SUITE_ONLY");

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < count; i++) {
        if (only != NULL && strcmp(only, disks[i].name) != 0) {
            continue;
        }
        for (unsigned k = 0; k < sizeof promises / sizeof promises[0]; k++) {
            run_promise(&disks[i], &promises[k],
                        k % 2 == 0 ? LOOP_DRIVER_AUTO : LOOP_DRIVER_CREW);
        }
        if (!disks[i].far) {
            run_promise(&disks[i], &memory, LOOP_DRIVER_AUTO);
        }
    }
    return 0;
}
