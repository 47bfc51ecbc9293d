/* grow_test.c - files that grow and shrink while the power goes: what lies behind the end that was
 * found reads zeros when the end moves over it. */
#include "resource/storage/pool/carve.h"
#include "resource/storage/pool/span.h"
#include "tests/resource/storage/redundancy/members.h"

#define BLOCK   512u
#define MOST    (1u << 20)
#define ROUNDS  150
#define STEPS   12
#define SIZES   64
#define PIECES  2
#define THE_MAP PIECES
#define ID      1

struct bench {
    struct members m;    /* first */
    uint64_t may[SIZES]; /* sizes since the last flush */
    unsigned sizes;
    uint32_t version;
    uint32_t durable[MOST / BLOCK]; /* the oldest version that a block may have */
    uint32_t done[MOST / BLOCK];
};

/* ---- the two kinds ---- */

struct kind {
    const char *name;
    unsigned disks;
    void (*make)(struct bench *s);
    void (*open)(struct bench *s, struct blk **on);
};

static void make_carve(struct bench *s)
{
    struct place_store *store = NULL;

    members_add(&s->m, 4u << 20);
    must_be_0(place_store_format(s->m.base[0], 0, NULL));
    must_be_0(place_store_open(s->m.loop, s->m.base[0], -1, &store, NULL));
    must_be_0(place_carve_add(store, ID, 0, NULL));
    place_store_unref(store);
}

static void open_carve(struct bench *s, struct blk **on)
{
    struct place_store *store = NULL;

    must_be_0(place_store_open(s->m.loop, on[0], -1, &store, NULL));
    must_be_0(place_carve_open(store, ID, 0, false, &s->m.disk, NULL));
    place_store_unref(store);
}

static void make_span(struct bench *s)
{
    struct place_span_shape shape = {.segment_bytes = 65536, .pieces = PIECES};

    for (unsigned i = 0; i <= THE_MAP; i++) {
        members_add(&s->m, 0);
        s->m.base[i]->grows = true;
    }
    must_be_0(place_span_format(s->m.base[THE_MAP], &shape, NULL));
}

static void open_span(struct bench *s, struct blk **on)
{
    struct place_span_options o = {.loop = s->m.loop, .pieces = PIECES};

    must_be_0(place_span_open(on[THE_MAP], on, &o, &s->m.disk, NULL));
}

/* ---- steps ---- */

static void note_size(struct bench *s, uint64_t size)
{
    must(s->sizes < SIZES);
    s->may[s->sizes++] = size;
}

static void write_some(struct bench *s)
{
    uint64_t size = blk_size(s->m.disk);
    uint64_t bytes = (suite_random(&s->m.random) % 40 + 1) * BLOCK;
    uint64_t off = suite_random(&s->m.random) % 3 == 0
                       ? suite_random(&s->m.random) % (MOST / BLOCK) * BLOCK
                       : size;
    char room[40 * BLOCK];

    if (off + bytes > MOST) {
        return;
    }
    s->version++;
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = ((off + i) / BLOCK + 1) << 32 | s->version;

        memcpy(room + i, &word, 8);
    }
    note_size(s, off + bytes > size ? off + bytes : size);
    if (blk_write(s->m.disk, room, bytes, off, 0) == 0) {
        for (uint64_t i = off / BLOCK; i < (off + bytes) / BLOCK; i++) {
            s->done[i] = s->version;
        }
    }
}

static void resize_some(struct bench *s)
{
    uint64_t size = suite_random(&s->m.random) % (MOST / BLOCK + 1) * BLOCK;
    uint64_t old = blk_size(s->m.disk);

    note_size(s, size);
    for (uint64_t i = size / BLOCK; size < old && i < MOST / BLOCK; i++) {
        s->durable[i] = 0; /* lost, now or after the cut */
        s->done[i] = 0;
    }
    (void)blk_resize(s->m.disk, size, NULL);
}

static void flush(struct bench *s)
{
    if (blk_flush(s->m.disk) == 0) {
        s->may[0] = blk_size(s->m.disk);
        s->sizes = 1;
        memcpy(s->durable, s->done, sizeof s->durable);
    }
}

/* The power goes for all disks at once. */
static void use(struct bench *s, const struct blk *cut)
{
    for (unsigned i = 0; i < STEPS && !filter_fault_is_cut(cut); i++) {
        switch (suite_random(&s->m.random) % 8) {
        case 0:
            flush(s);
            break;
        case 1:
        case 2:
            resize_some(s);
            break;
        default:
            write_some(s);
        }
    }
}

/* ---- what is found ---- */

static void check_block(struct bench *s, const char *at, uint64_t block, bool inside)
{
    uint64_t word;

    memcpy(&word, at, 8);
    for (unsigned i = 0; i < BLOCK; i += 8) {
        must(memcmp(at + i, &word, 8) == 0);
    }
    must(word == 0 || (inside && word >> 32 == block + 1));
    must(!inside || (uint32_t)word >= s->durable[block]);
    s->durable[block] = (uint32_t)word;
    s->done[block] = (uint32_t)word;
}

static void judge(struct bench *s)
{
    uint64_t size = blk_size(s->m.disk);
    char *room = malloc(MOST);
    bool known = false;

    for (unsigned i = 0; i < s->sizes; i++) {
        known = known || s->may[i] == size;
    }
    must(known);
    must_be_0(blk_resize(s->m.disk, MOST, NULL));
    must_be_0(blk_read(s->m.disk, room, MOST, 0));
    for (uint64_t i = 0; i < MOST / BLOCK; i++) {
        check_block(s, room + i * BLOCK, i, i * BLOCK < size);
    }
    free(room);
    note_size(s, MOST);
    flush(s);
}

static void one_round(struct bench *s, const struct kind *k)
{
    struct blk *on[THE_MAP + 1];
    struct blk *cut;

    s->m.plan.holds_back = true;
    members_filter(&s->m, (1u << k->disks) - 1);
    memcpy(on, s->m.lower, sizeof on);
    k->open(s, on);
    members_hold(&s->m);
    judge(s);
    cut = s->m.lower[suite_random(&s->m.random) % k->disks];
    filter_fault_cut_after(cut, suite_random(&s->m.random) % 60);
    use(s, cut);
    members_cut(&s->m);
    members_close(&s->m);
}

static int grow(void *arg)
{
    static const struct kind kinds[] = {
        {"carve", 1, make_carve, open_carve},
        {"span", PIECES + 1, make_span, open_span},
    };
    struct bench *s = arg;

    for (unsigned i = 0; i < 2; i++) {
        memset(s->durable, 0, sizeof s->durable);
        memset(s->done, 0, sizeof s->done);
        s->may[0] = 0;
        s->sizes = 1;
        kinds[i].make(s);
        for (unsigned n = 0; n < ROUNDS; n++) {
            one_round(s, &kinds[i]);
        }
        members_drop(&s->m);
        (void)printf("ok   %s: behind the end that a cut leaves there are zeros\n",
                     kinds[i].name);
    }
    return 0;
}

int main(void)
{
    const char *text = getenv("SUITE_SEED");
    struct bench *s = calloc(1, sizeof *s);

    s->m.random = (text != NULL ? strtoull(text, NULL, 10) : 1) * 2 + 1;
    must_be_0(loop_create(LOOP_DRIVER_AUTO, &s->m.loop, NULL));
    must_be_0(loop_do(s->m.loop, grow, s));
    loop_destroy(s->m.loop);
    free(s);
    return 0;
}
