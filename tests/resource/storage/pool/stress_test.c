/* stress_test.c - many strands on two carved disks whose device is slow and loses its power.
 *
 * Extents go from one disk to the other and back.  Each block is one strand's, but its granule and its extent are everybody's.  Truth: a block
 * has the last of its versions, or, after a cut, one of those since the last flush that
 * began after it was done; version 0 is zeros. */
#include "resource/storage/pool/carve.h"
#include "tests/resource/storage/pool/slow.h"
#include "tests/resource/storage/pool/table.h"
#include "tests/resource/storage/redundancy/members.h"

#define BLOCK    512u
#define BLOCKS   6144u
#define STRANDS  12u
#define OF_ONE   (STRANDS / DISKS) /* strands of one disk */
#define STEPS    40u
#define ROUNDS   8u
#define WINDOW   512u
#define ROOM_FOR 3 /* extents more than all disks can have: each is soon used again */
#define DISKS    2u
#define EXTENT_N 16u /* blocks that the larger changes cover: whole granules */

struct history {
    uint32_t may[WINDOW]; /* versions, in their order; those before `first` are gone */
    unsigned first;       /* the one that is durable */
    unsigned count;
    bool busy;
};

struct disk {
    unsigned number;
    struct blk *blk;
    struct blk_edge edge;
    struct history block[BLOCKS];
};

struct bench {
    struct members m; /* first */
    struct disk disk[DISKS];
    uint32_t version;
    unsigned running;
    struct strand_queue done;
    bool cut;
};

struct worker {
    struct bench *s;
    struct disk *d;
    unsigned number;
    uint64_t random;
};

static uint64_t name_of(const struct disk *d, uint64_t block)
{
    return (uint64_t)d->number * BLOCKS + block + 1;
}

static void stamp(char *room, const struct disk *d, uint64_t block, uint32_t version)
{
    uint64_t word = version == 0 ? 0 : name_of(d, block) << 32 | version;

    for (unsigned i = 0; i < BLOCK; i += 8) {
        memcpy(room + i, &word, 8);
    }
}

/* Never another block's bytes, nor another disk's. */
static uint32_t version_of(const char *room, const struct disk *d, uint64_t block)
{
    uint64_t word;

    memcpy(&word, room, 8);
    for (unsigned i = 0; i < BLOCK; i += 8) {
        must(memcmp(room + i, &word, 8) == 0);
    }
    must(word == 0 || word >> 32 == name_of(d, block));
    return (uint32_t)word;
}

static bool is_among(const struct history *h, unsigned first, uint32_t version)
{
    for (unsigned k = first; k < h->count; k++) {
        if (h->may[k] == version) {
            return true;
        }
    }
    return false;
}

/* The versions that are done. */
static unsigned last_done(const struct history *h)
{
    return h->count - (h->busy ? 2 : 1);
}

/* ---- what the strands do ---- */

static void flush(struct bench *s, struct disk *d)
{
    unsigned last[BLOCKS];

    for (unsigned i = 0; i < BLOCKS; i++) { /* what is done as it begins */
        last[i] = last_done(&d->block[i]);
    }
    if (blk_flush(d->blk) != 0) {
        s->cut = true;
        return;
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (last[i] > d->block[i].first) {
            d->block[i].first = last[i];
        }
    }
}

static void change(struct worker *w, unsigned first, unsigned count, bool zeros,
                   unsigned flags)
{
    struct bench *s = w->s;
    struct disk *d = w->d;
    char *room = malloc((size_t)count * BLOCK);
    uint32_t version = zeros ? 0 : ++s->version;
    int r;

    for (unsigned i = first; i < first + count; i++) {
        struct history *h = &d->block[i];

        must(!h->busy && h->count < WINDOW);
        h->may[h->count++] = version;
        h->busy = true;
        stamp(room + (size_t)(i - first) * BLOCK, d, i, version);
    }
    if (zeros) {
        r = blk_zero(d->blk, (uint64_t)first * BLOCK, (uint64_t)count * BLOCK, flags);
    } else {
        r = blk_write(d->blk, room, (size_t)count * BLOCK, (uint64_t)first * BLOCK,
                      flags);
    }
    s->cut = s->cut || r != 0;
    for (unsigned i = first; r == 0 && i < first + count; i++) {
        d->block[i].busy = false;
        if ((flags & BLK_FUA) != 0) {
            d->block[i].first = d->block[i].count - 1;
        }
    }
    free(room);
}

/* Blocks of one's own and of others, who may be writing to them. */
static void look(struct worker *w, unsigned first, unsigned count)
{
    struct disk *d = w->d;
    char *room = malloc((size_t)count * BLOCK);
    unsigned *done = malloc(count * sizeof *done);

    for (unsigned i = 0; i < count; i++) {
        done[i] = last_done(&d->block[first + i]);
    }
    if (blk_read(d->blk, room, (size_t)count * BLOCK, (uint64_t)first * BLOCK) != 0) {
        w->s->cut = true;
    } else {
        for (unsigned i = 0; i < count; i++) {
            must(is_among(&d->block[first + i], done[i],
                          version_of(room + (size_t)i * BLOCK, d, first + i)));
        }
    }
    free(room);
    free(done);
}

/* Blocks of the first half are dealt out one by one, those of the second in granules. */
static void step(struct worker *w)
{
    bool whole = suite_random(&w->random) % 3 == 0;
    unsigned half = BLOCKS / 2;
    unsigned mine =
        (unsigned)(suite_random(&w->random) % (half / OF_ONE / (whole ? EXTENT_N : 1)));
    unsigned block =
        whole ? half + (mine * OF_ONE + w->number) * EXTENT_N : mine * OF_ONE + w->number;
    unsigned in = (unsigned)(suite_random(&w->random) % EXTENT_N);
    unsigned flags = suite_random(&w->random) % 9 == 0 ? BLK_FUA : 0;

    if (block + EXTENT_N > BLOCKS) {
        return;
    }
    switch (suite_random(&w->random) % 9) {
    case 0:
        flush(w->s, w->d);
        break;
    case 1:
        change(w, block, whole ? EXTENT_N : 1, true, flags | BLK_UNMAP);
        break;
    case 2:
        change(w, block, whole ? EXTENT_N : 1, true, flags);
        break;
    case 3:
        look(w, whole ? block + in : block, 1);
        break;
    case 4:
    case 5:
        block = (unsigned)(suite_random(&w->random) % (BLOCKS - EXTENT_N));
        look(w, block, in + 1);
        break;
    case 6:
        change(w, block, whole ? EXTENT_N : 1, false, flags);
        break;
    default:
        change(w, whole ? block + in : block, 1, false, flags);
    }
}

static void work(void *arg)
{
    struct worker *w = arg;
    struct bench *s = w->s;

    for (unsigned i = 0; i < STEPS && !s->cut; i++) {
        step(w);
    }
    if (--s->running == 0) {
        (void)strand_wake_all(&s->done);
    }
}

/* ---- rounds ---- */

static void open_disks(struct bench *s, bool cuts)
{
    struct place_store *store = NULL;
    struct blk *slow;

    s->m.plan.holds_back = cuts;
    members_filter(&s->m, 1);
    slow = slow_over(s->m.loop, s->m.lower[0], suite_random(&s->m.random));
    must_be_0(place_store_open(s->m.loop, slow, -1, &store, NULL));
    for (unsigned i = 0; i < DISKS; i++) {
        struct disk *d = &s->disk[i];

        must_be_0(place_carve_open(store, i + 1, 0, false, &d->blk, NULL));
        d->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
        must_be_0(blk_attach(&d->edge, d->blk, NULL));
        if (blk_size(d->blk) < BLOCKS * BLOCK) {
            must_be_0(blk_resize(d->blk, BLOCKS * BLOCK, NULL));
        }
    }
    place_store_unref(store);
}

static void close_disks(struct bench *s)
{
    for (unsigned i = 0; i < DISKS; i++) {
        blk_detach(&s->disk[i].edge);
    }
}

/* Each block has a version that it may have, which is the only one from now on. */
static void judge(struct disk *d, bool after_cut)
{
    char room[BLOCK];

    for (unsigned i = 0; i < BLOCKS; i++) {
        struct history *h = &d->block[i];
        uint32_t version;

        must_be_0(blk_read(d->blk, room, BLOCK, (uint64_t)i * BLOCK));
        version = version_of(room, d, i);
        if (!is_among(h, after_cut ? h->first : h->count - 1, version)) {
            (void)fprintf(stderr, "block %u has version %u, durable was %u, last %u\n", i,
                          version, h->may[h->first], h->may[h->count - 1]);
            abort();
        }
        *h = (struct history){.may = {version}, .count = 1};
    }
}

static void one_round(struct bench *s, bool cuts)
{
    struct worker w[STRANDS];

    open_disks(s, cuts);
    if (cuts) {
        filter_fault_cut_after(s->m.lower[0], suite_random(&s->m.random) % 600);
    }
    s->cut = false;
    s->running = STRANDS;
    for (unsigned i = 0; i < STRANDS; i++) {
        w[i] = (struct worker){.s = s,
                               .d = &s->disk[i % DISKS],
                               .number = i / DISKS,
                               .random = suite_random(&s->m.random) | 1};
        must_be_0(strand_start(loop_strands(s->m.loop), work, &w[i]));
    }
    while (s->running > 0) {
        strand_wait(loop_strands(s->m.loop), &s->done);
    }
    if (cuts) {
        members_cut(&s->m);
    }
    close_disks(s);
    open_disks(s, false);
    for (unsigned i = 0; i < DISKS; i++) {
        judge(&s->disk[i], cuts);
    }
    close_disks(s);
}

static int strands_keep_apart(void *arg)
{
    struct bench *s = arg;
    const char *more = getenv("SUITE_CUTS");
    unsigned rounds = more != NULL ? (unsigned)strtoul(more, NULL, 10) : ROUNDS;
    struct place_store *store = NULL;
    struct table_count count;

    uint32_t extent = suite_random(&s->m.random) % 3 != 0 ? 65536 : 524288;

    /* the tables take less than one extent */
    members_add(&s->m, DISKS * BLOCKS * BLOCK + (ROOM_FOR + 1) * (uint64_t)extent);
    must_be_0(place_store_format(s->m.base[0], extent, NULL));
    must_be_0(place_store_open(s->m.loop, s->m.base[0], -1, &store, NULL));
    for (unsigned i = 0; i < DISKS; i++) {
        s->disk[i].number = i;
        must_be_0(place_carve_add(store, i + 1, 0, NULL));
        for (unsigned k = 0; k < BLOCKS; k++) {
            s->disk[i].block[k].count = 1;
        }
    }
    place_store_unref(store);
    for (unsigned i = 0; i < rounds; i++) {
        one_round(s, i % 4 != 3);
        count = table_count(s->m.base[0]);
        must(count.free + count.used == count.extents && count.free == count.counted);
    }
    members_drop(&s->m);
    return 0;
}

int main(void)
{
    const char *text = getenv("SUITE_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 1;

    for (unsigned i = 0; i < 4; i++) {
        struct bench *s = calloc(1, sizeof *s);

        s->m.random = seed * 8 + i * 2 + 1;
        (void)suite_random(&s->m.random);
        must_be_0(loop_create(i % 2 == 0 ? LOOP_DRIVER_AUTO : LOOP_DRIVER_CREW,
                              &s->m.loop, NULL));
        must_be_0(loop_do(s->m.loop, strands_keep_apart, s));
        loop_destroy(s->m.loop);
        free(s);
    }
    (void)printf("ok   strands keep apart on a slow device that loses its power\n");
    return 0;
}
