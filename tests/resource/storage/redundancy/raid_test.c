/* raid_test.c - arrays: as disks, through power cuts with members lost afterwards, degraded,
 * rebuilt in use, scrubbed, from hostile superblocks and journals. */
#include "resource/storage/redundancy/raid.h"

#include "base/crc32c.h"
#include "resource/storage/redundancy/gf.h"
#include "resource/storage/redundancy/mirror.h"
#include "tests/resource/storage/redundancy/members.h"

#define CHUNK        4096u
#define JOURNAL      131072u
#define DISK_BYTES   (1u << 20)
#define MEMBER_BYTES ((4u << 20) + 65536 + 2 * JOURNAL)

/* ---- the suite ---- */

static int drop_all(struct blk **lower, unsigned count, int r)
{
    for (unsigned i = 0; i < count; i++) {
        blk_drop(lower[i]);
    }
    return r;
}

static int make(struct loop *l, struct blk **take_lower, unsigned level, uint64_t size,
                struct blk **ret_disk, struct err *e)
{
    unsigned count = level == 0 ? 3 : level == 6 ? 5 : 4;
    struct raid_format f = {.level = level,
                            .chunk_bytes = CHUNK,
                            .size_bytes = size,
                            .journal_bytes = JOURNAL};
    struct raid_options o = {.level = level};
    int r = raid_format(l, take_lower, count, &f, e);

    return r != 0 ? drop_all(take_lower, count, r)
                  : raid_open(l, take_lower, count, &o, ret_disk, e);
}

#define ROW(name, count, number)                                                         \
    static int make_##name(struct loop *l, struct blk **take_lower, uint64_t size_bytes, \
                           struct blk **ret_disk, struct err *e)                         \
    {                                                                                    \
        return make(l, take_lower, number, size_bytes, ret_disk, e);                     \
    }                                                                                    \
    static int open_##name(struct loop *l, struct blk **take_lower, uint64_t size_bytes, \
                           struct blk **ret_disk, struct err *e)                         \
    {                                                                                    \
        struct raid_options o = {.level = number};                                       \
                                                                                         \
        (void)size_bytes;                                                                \
        return raid_open(l, take_lower, count, &o, ret_disk, e);                         \
    }

ROW(zero, 3, 0)
ROW(five, 4, 5)
ROW(six, 5, 6)
ROW(ten, 4, 10)

/* Open without as many members as may be lost, so that the others replay the journal: those
 * that failed before the cut, if any did, and others by chance. */
static int open_degraded(struct loop *l, struct blk **lower, unsigned count,
                         unsigned level, struct blk **ret_disk, struct err *e)
{
    struct raid_options o = {.level = level, .degraded = true};
    uint64_t random = loop_now_ns(l) | 1;
    unsigned start = (unsigned)(suite_random(&random) % (1u << count));
    unsigned parity = level == 5 ? 1 : 2;
    int r = -ENODEV;

    for (unsigned i = 0; r != 0 && i < 1u << count; i++) {
        unsigned away = (start + i) % (1u << count);
        struct blk *some[MEMBERS_MOST];

        if ((unsigned)__builtin_popcount(away) != parity) {
            continue;
        }
        for (unsigned k = 0; k < count; k++) {
            some[k] = (away >> k & 1) != 0 ? NULL : lower[k];
        }
        *e = (struct err){0};
        r = raid_open(l, some, count, &o, ret_disk, e);
    }
    return r;
}

/* Then with all, which rebuilds those from the others: what was on them is not used. */
static int open_twice(struct loop *l, struct blk **take_lower, unsigned count,
                      unsigned level, struct blk **ret_disk, struct err *e)
{
    struct raid_options o = {.level = level};
    struct blk_edge keep[MEMBERS_MOST] = {{0}};
    struct raid_status x = {.rebuilding = true};
    int r;

    for (unsigned i = 0; i < count; i++) {
        keep[i] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
        must_be_0(blk_attach(&keep[i], take_lower[i], e));
    }
    r = open_degraded(l, take_lower, count, level, ret_disk, e);
    if (r == 0) {
        blk_drop(*ret_disk);
        r = raid_open(l, take_lower, count, &o, ret_disk, e);
    }
    while (r == 0 && x.rebuilding) {
        raid_status(*ret_disk, &x);
        loop_sleep(l, 1000);
    }
    must(r != 0 || !x.degraded);
    for (unsigned i = 0; i < count; i++) {
        blk_detach(&keep[i]);
    }
    return r;
}

static int reopen_five(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_twice(l, take_lower, 4, 5, ret_disk, e);
}

static int reopen_six(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_twice(l, take_lower, 5, 6, ret_disk, e);
}

/* ---- arithmetic ---- */

/* Multiplication by its definition: shift, add, reduce. */
static uint8_t slow_mul(uint8_t a, uint8_t b)
{
    unsigned product = 0;

    for (unsigned i = 0; i < 8; i++) {
        product ^= (b >> i & 1) != 0 ? (unsigned)a << i : 0;
    }
    for (unsigned i = 15; i >= 8; i--) {
        product ^= (product >> i & 1) != 0 ? 0x11du << (i - 8) : 0;
    }
    return (uint8_t)product;
}

static int products_are_right(void *arg)
{
    uint8_t from[103];
    uint8_t to[103];
    uint8_t old[103];

    (void)arg;
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            must(gf_mul((uint8_t)a, (uint8_t)b) == slow_mul((uint8_t)a, (uint8_t)b));
            must(b == 0 ||
                 gf_div(gf_mul((uint8_t)a, (uint8_t)b), (uint8_t)b) == (uint8_t)a);
        }
    }
    for (unsigned way = 0; way < 4; way++) { /* 3: the one that is used */
        for (unsigned by = 0; by < 256; by++) {
            for (unsigned i = 0; i < sizeof from; i++) {
                from[i] = (uint8_t)(i * 41 + by);
                old[i] = (uint8_t)(i * 7 + way);
            }
            memcpy(to, old, sizeof to);
            if (way == 3) {
                gf_mul_add(to + 1, from + 1, (uint8_t)by, 101);
            } else if (gf_mul_add_way(way, to + 1, from + 1, (uint8_t)by, 101) != 0) {
                break;
            }
            must(to[0] == old[0] && to[102] == old[102]);
            for (unsigned i = 1; i < 102; i++) {
                must(to[i] == (old[i] ^ slow_mul((uint8_t)by, from[i])));
            }
            memcpy(to, old, sizeof to);
            gf_scale(to, (uint8_t)by, 102);
            must(to[101] == slow_mul((uint8_t)by, old[101]) && to[102] == old[102]);
        }
    }
    return 0;
}

/* ---- a bench of our own ---- */

static void begin(struct members *s, unsigned count, unsigned level)
{
    struct raid_format f = {.level = level,
                            .chunk_bytes = CHUNK,
                            .size_bytes = DISK_BYTES,
                            .journal_bytes = JOURNAL};

    for (unsigned i = 0; i < count; i++) {
        members_add(s, MEMBER_BYTES);
    }
    must_be_0(raid_format(s->loop, s->base, count, &f, NULL));
}

static int try_open(struct members *s, unsigned level, unsigned which, bool degraded,
                    struct err *e)
{
    struct raid_options o = {.level = level, .degraded = degraded};
    int r;

    members_filter(s, which);
    r = raid_open(s->loop, s->lower, s->count, &o, &s->disk, e);
    if (r == 0) {
        members_hold(s);
    }
    return r;
}

static void open_array(struct members *s, unsigned level, unsigned which, bool degraded)
{
    struct err e = {0};

    if (try_open(s, level, which, degraded, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
}

static struct raid_status status_of(struct members *s)
{
    struct raid_status x;

    raid_status(s->disk, &x);
    return x;
}

static void wait_until_rebuilt(struct members *s)
{
    for (unsigned i = 0; i < 10000 && status_of(s).rebuilding; i++) {
        loop_sleep(s->loop, 100000);
    }
    must(!status_of(s).rebuilding && !status_of(s).degraded);
}

static void scrub(struct members *s, bool mend, uint64_t wrong, uint64_t mended)
{
    struct raid_scrub x = {.mend = mend};

    must_be_0(raid_scrub(s->disk, &x));
    must(x.stripes == status_of(s).stripes);
    must(x.wrong == wrong && x.mended == mended);
}

static const struct {
    unsigned level;
    unsigned count;
    unsigned parity;
} shapes[] = {{5, 3, 1}, {5, 5, 1}, {6, 4, 2}, {6, 6, 2}, {6, 8, 2}};

#define SHAPES (sizeof shapes / sizeof shapes[0])

/* Every set of members that may be lost is lost: what was written is there, and what is
 * written then, and after a rebuild all is equal again. */
static void lose(struct members *s, unsigned shape, unsigned away, char *model)
{
    unsigned all = (1u << shapes[shape].count) - 1;

    open_array(s, shapes[shape].level, all & ~away, true);
    must(status_of(s).degraded);
    members_compare(s, model, DISK_BYTES);
    for (unsigned i = 0; i < 20; i++) {
        members_write(s, model, DISK_BYTES, 64);
    }
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    open_array(s, shapes[shape].level, all, false);
    wait_until_rebuilt(s);
    members_compare(s, model, DISK_BYTES);
    scrub(s, false, 0, 0);
    members_close(s);
}

static int any_members_may_be_lost(void *arg)
{
    struct members *s = arg;

    for (unsigned k = 0; k < SHAPES; k++) {
        char *model = calloc(1, DISK_BYTES);

        begin(s, shapes[k].count, shapes[k].level);
        open_array(s, shapes[k].level, (1u << shapes[k].count) - 1, false);
        for (unsigned i = 0; i < 100; i++) {
            members_write(s, model, DISK_BYTES, 200);
        }
        members_compare(s, model, DISK_BYTES);
        scrub(s, false, 0, 0);
        members_close(s);
        must(try_open(s, shapes[k].level, (1u << shapes[k].count) - 2, false, NULL) ==
             -ENODEV);
        for (unsigned a = 0; a < shapes[k].count; a++) {
            lose(s, k, 1u << a, model);
            for (unsigned b = a + 1; shapes[k].parity == 2 && b < shapes[k].count; b++) {
                lose(s, k, 1u << a | 1u << b, model);
            }
        }
        must(try_open(s, shapes[k].level,
                      ((1u << shapes[k].count) - 1) & ~((2u << shapes[k].parity) - 1),
                      true, NULL) == -ENODEV);
        members_drop(s);
        free(model);
    }
    return 0;
}

/* ---- the write hole ---- */

/* Blocks hold their number and a version; after a cut and the loss of members each block
 * is one that was written, none older than what was acknowledged. */
struct block_history {
    uint32_t least[DISK_BYTES / 512];
    uint32_t most[DISK_BYTES / 512];
};

struct versions {
    struct members *s;
    struct block_history *h;
    unsigned part; /* this writer's third of the disk */
    bool *stop;
    unsigned *running;
};

static void write_versions(void *arg)
{
    static const unsigned sizes[] = {1, 3, 8, 24, 40};
    struct versions *w = arg;
    struct block_history *h = w->h;
    uint64_t third = DISK_BYTES / 512 / 3;
    uint32_t room[40 * 128];

    while (!*w->stop) {
        unsigned n = sizes[suite_random(&w->s->random) % 5];
        uint64_t first = w->part * third + suite_random(&w->s->random) % (third - n);
        uint32_t version = 1;

        for (unsigned b = 0; b < n; b++) {
            version = h->most[first + b] + 1 > version ? h->most[first + b] + 1 : version;
        }
        for (unsigned b = 0; b < n; b++) {
            h->most[first + b] = version;
            for (unsigned i = 0; i < 128; i += 2) {
                room[b * 128 + i] = (uint32_t)(first + b);
                room[b * 128 + i + 1] = version;
            }
        }
        if (blk_write(w->s->disk, room, n * 512ul, first * 512, 0) != 0) {
            break;
        }
        for (unsigned b = 0; b < n; b++) {
            h->least[first + b] = version;
        }
        loop_sleep(w->s->loop, 500);
    }
    --*w->running;
}

/* The power of all goes at one moment, in the middle of writes; or that of one member first,
 * which is `dying`. */
static void write_until_cut(struct members *s, struct block_history *h, int dying)
{
    struct versions w[3];
    unsigned running = 3;
    bool stop = false;

    if (dying >= 0) {
        filter_fault_cut_after(s->lower[dying], suite_random(&s->random) % 100);
    }
    for (unsigned i = 0; i < 3; i++) {
        w[i] = (struct versions){s, h, i, &stop, &running};
        must_be_0(strand_start(loop_strands(s->loop), write_versions, &w[i]));
    }
    loop_sleep(s->loop, 500000 + suite_random(&s->random) % 3000000);
    members_cut(s);
    stop = true;
    while (running > 0) {
        loop_sleep(s->loop, 10000);
    }
}

static void must_be_whole(struct members *s, struct block_history *h, const char *when,
                          unsigned away)
{
    for (uint64_t b = 0; b < DISK_BYTES / 512; b++) {
        uint32_t room[128];
        uint32_t version;

        must_be_0(blk_read(s->disk, room, sizeof room, b * 512));
        version = room[1];
        if (version < h->least[b] || version > h->most[b]) {
            (void)fprintf(stderr,
                          "%s, without %x of %u: block %llu has version %u of %u to %u\n",
                          when, away, s->count, (unsigned long long)b, version,
                          h->least[b], h->most[b]);
            abort();
        }
        for (unsigned i = 0; i < 128; i += 2) {
            must(room[i] == (version == 0 ? 0 : (uint32_t)b) && room[i + 1] == version);
        }
        h->least[b] = version;
        h->most[b] = version;
    }
}

static int a_cut_and_a_loss_tear_no_block(void *arg)
{
    struct members *s = arg;

    for (unsigned k = 0; k < SHAPES; k++) {
        struct block_history *h = calloc(1, sizeof *h);
        unsigned all = (1u << shapes[k].count) - 1;

        begin(s, shapes[k].count, shapes[k].level);
        for (unsigned i = 0; i < 40; i++) {
            int dying = i % 3 == 0 ? (int)(i % shapes[k].count) : -1;
            unsigned away = dying >= 0 ? 1u << dying
                                       : 1u << suite_random(&s->random) % shapes[k].count;

            if (shapes[k].parity == 2) {
                away |= 1u << suite_random(&s->random) % shapes[k].count;
            }
            s->plan = (struct filter_fault_plan){
                .holds_back = true, .delay_one_in = 2, .delay_ns = 30000};
            open_array(s, shapes[k].level, all, false);
            write_until_cut(s, h, dying);
            members_close(s);
            s->plan = (struct filter_fault_plan){0};
            open_array(s, shapes[k].level, all & ~away, true);
            must_be_whole(s, h, dying >= 0 ? "one first" : "at once", away);
            members_close(s);
            open_array(s, shapes[k].level, all, false);
            wait_until_rebuilt(s);
            must_be_whole(s, h, "rebuilt", away);
            scrub(s, false, 0, 0);
            members_close(s);
        }
        members_drop(s);
        free(h);
    }
    return 0;
}

/* ---- fewest reads ---- */

static uint64_t reads_of(struct members *s, uint64_t off, size_t bytes)
{
    char *room = calloc(1, bytes);
    uint64_t before = status_of(s).stripe_reads;

    must_be_0(blk_write(s->disk, room, bytes, off, 0));
    free(room);
    return status_of(s).stripe_reads - before;
}

static int writes_read_as_little_as_possible(void *arg)
{
    struct members *s = arg;

    begin(s, 6, 5); /* five chunks of data */
    open_array(s, 5, 63, false);
    must(reads_of(s, 0, 5 * CHUNK) == 0); /* the whole stripe */
    must(status_of(s).full_stripes == 1);
    must(reads_of(s, 0, 10 * CHUNK) == 0);
    must(reads_of(s, 512, 512) == 2);         /* old data and parity */
    must(reads_of(s, CHUNK, 4 * CHUNK) == 1); /* the fifth */
    must(reads_of(s, 0, 2 * CHUNK) == 3);     /* both ways read three */
    members_close(s);
    members_drop(s);
    begin(s, 6, 6); /* four */
    open_array(s, 6, 63, false);
    must(reads_of(s, 0, 4 * CHUNK) == 0);
    must(reads_of(s, 512, 512) == 3); /* old data and parities: as many as the rest */
    must(reads_of(s, 0, 3 * CHUNK) == 1);
    members_close(s);
    members_drop(s);
    return 0;
}

/* ---- rebuild in use ---- */

struct load {
    struct members *s;
    char *model;
    unsigned part;
    bool *stop;
    unsigned *running;
};

static void keep_writing(void *arg)
{
    struct load *l = arg;
    uint64_t quarter = DISK_BYTES / 4;

    while (!*l->stop) {
        char room[8192];
        uint64_t off = l->part * quarter +
                       suite_random(&l->s->random) % ((quarter - 8192) / 512) * 512;

        memset(room, (int)suite_random(&l->s->random), sizeof room);
        must_be_0(blk_write(l->s->disk, room, sizeof room, off, 0));
        memcpy(l->model + off, room, sizeof room);
        must_be_0(blk_read(l->s->disk, room, sizeof room, off));
        must(memcmp(l->model + off, room, sizeof room) == 0);
        loop_sleep(l->s->loop, 1000);
    }
    --*l->running;
}

static void put_fresh_in(struct members *s, unsigned role)
{
    struct blk *fresh = NULL;

    must_be_0(leaf_memory_create(loop_strands(s->loop), MEMBER_BYTES, 512, &fresh, NULL));
    blk_detach(&s->keep[role]);
    s->keep[role] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&s->keep[role], fresh, NULL));
    s->base[role] = fresh;
    must_be_0(raid_replace(s->disk, role, fresh, NULL));
}

static int a_member_is_rebuilt_in_use(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);
    struct load load[4];
    unsigned running = 4;
    bool stop = false;

    begin(s, 5, 6);
    s->plan = (struct filter_fault_plan){.delay_one_in = 4, .delay_ns = 50000};
    open_array(s, 6, 31, false);
    for (unsigned i = 0; i < 4; i++) {
        load[i] = (struct load){s, model, i, &stop, &running};
        must_be_0(strand_start(loop_strands(s->loop), keep_writing, &load[i]));
    }
    for (unsigned i = 0; i < 5; i++) {
        must_be_0(raid_fail(s->disk, i, NULL));
        must_be_0(raid_fail(s->disk, (i + 1) % 5, NULL));
        must(raid_fail(s->disk, (i + 2) % 5, NULL) == -EBUSY);
        loop_sleep(s->loop, 3000000);
        put_fresh_in(s, i);
        must_be_0(raid_replace(s->disk, (i + 1) % 5, NULL, NULL));
        wait_until_rebuilt(s);
    }
    stop = true;
    while (running > 0) {
        loop_sleep(s->loop, 100000);
    }
    members_compare(s, model, DISK_BYTES);
    scrub(s, false, 0, 0);
    members_close(s);
    open_array(s, 6, 31, false);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* ---- scrub ---- */

static void corrupt(struct members *s, unsigned role, uint64_t stripe)
{
    char block[512];
    uint64_t at = 65536 + JOURNAL + stripe * CHUNK + 1024;

    must_be_0(blk_read(s->base[role], block, sizeof block, at));
    block[100] ^= 0x55;
    block[200] ^= 0x0f;
    must_be_0(blk_write(s->base[role], block, sizeof block, at, 0));
}

/* The power goes at any moment of a change of size, and a member with it: the size is the
 * old or the new one, what was in both is there, what is new reads zeros, parities are
 * right. */
static int a_cut_leaves_the_old_or_the_new_size(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, 2 * DISK_BYTES);
    uint64_t size = DISK_BYTES;
    unsigned changed = 0;

    begin(s, 4, 5);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t to = DISK_BYTES / 2 + suite_random(&s->random) % 300 * 4096;
        uint64_t both = to < size ? to : size;
        unsigned away = (unsigned)(suite_random(&s->random) % 4);

        s->plan = (struct filter_fault_plan){0};
        open_array(s, 5, 15, false);
        wait_until_rebuilt(s);
        for (unsigned k = 0; k < 20; k++) {
            members_write(s, model, size, 64);
        }
        members_close(s);
        s->plan = (struct filter_fault_plan){.holds_back = true};
        open_array(s, 5, 15, false);
        for (unsigned k = 0; k < 4; k++) {
            filter_fault_cut_after(s->lower[k], suite_random(&s->random) % 14);
        }
        (void)blk_resize(s->disk, to, NULL);
        members_cut(s);
        members_close(s);
        s->plan = (struct filter_fault_plan){0};
        if (try_open(s, 5, 15 & ~(1u << away), true, NULL) != 0) {
            open_array(s, 5, 15, false); /* another one failed before the cut */
        }
        must(blk_size(s->disk) == size || blk_size(s->disk) == to);
        if (blk_size(s->disk) != size) {
            changed++;
            memset(model + both, 0, 2 * DISK_BYTES - both);
            size = to;
        }
        members_compare(s, model, size);
        members_close(s);
    }
    must(changed > 10 && changed < 60);
    open_array(s, 5, 15, false);
    wait_until_rebuilt(s);
    scrub(s, false, 0, 0);
    members_compare(s, model, size);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

static int scrub_finds_and_mends(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);

    begin(s, 5, 6);
    open_array(s, 6, 31, false);
    for (unsigned i = 0; i < 60; i++) {
        members_write(s, model, DISK_BYTES, 200);
    }
    members_close(s);
    for (unsigned i = 0; i < 5; i++) { /* data and parities, each once or more */
        corrupt(s, i, i * 3);
    }
    open_array(s, 6, 31, false);
    scrub(s, false, 5, 0);
    scrub(s, true, 5, 5);
    scrub(s, true, 0, 0);
    members_compare(s, model,
                    DISK_BYTES); /* the right bytes, not the others made to fit */
    members_close(s);
    members_drop(s);
    begin(s, 4, 5);
    open_array(s, 5, 15, false);
    members_close(s);
    corrupt(s, 1, 7);
    open_array(s, 5, 15, false);
    scrub(s, true, 1, 1);
    scrub(s, false, 0, 0);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

static int a_read_error_is_mended(void *arg)
{
    struct members *s = arg;
    struct filter_fault_plan bad = {.seed = 1,
                                    .fail_kinds = 1u << BLK_READ,
                                    .fail_from = 1,
                                    .fail_until = 2,
                                    .error = -EIO};
    char *model = calloc(1, DISK_BYTES);
    char room[512];

    begin(s, 4, 5);
    open_array(s, 5, 15, false);
    for (unsigned i = 0; i < 40; i++) {
        members_write(s, model, DISK_BYTES, 200);
        filter_fault_plan(s->lower[i % 4], &bad);
        members_compare(s, model, DISK_BYTES);
    }
    must(status_of(s).repaired_bytes > 0 && !status_of(s).degraded);
    for (unsigned copy = 0; copy < 2; copy++) {
        struct iovec piece = {room, sizeof room};

        must_be_0(raid_read_copy(s->disk, copy, (struct blk_vec){&piece, 0, 512}, 8192));
        must(memcmp(room, model + 8192, sizeof room) == 0);
    }
    must(raid_read_copy(s->disk, 2, (struct blk_vec){0}, 0) == -ENOENT);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

static uint32_t sum_of_all(struct members *s)
{
    char *all = malloc(MEMBER_BYTES);
    uint32_t sum = 0;

    for (unsigned i = 0; i < s->count; i++) {
        must_be_0(blk_read(s->base[i], all, MEMBER_BYTES, 0));
        sum = crc32c(sum, all, MEMBER_BYTES);
    }
    free(all);
    return sum;
}

static int open_reader(struct members *s, unsigned level, unsigned which, bool degraded)
{
    struct raid_options o = {.level = level, .degraded = degraded, .read_only = true};
    int r;

    members_filter(s, which);
    r = raid_open(s->loop, s->lower, s->count, &o, &s->disk, NULL);
    if (r == 0) {
        s->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_READ};
        must_be_0(blk_attach(&s->edge, s->disk, NULL));
    }
    return r;
}

/* Whole, without a member, with a member that cannot be read, and after a cut. */
static int reading_only_changes_nothing(void *arg)
{
    struct members *s = arg;
    struct filter_fault_plan bad = {.seed = 1,
                                    .fail_kinds = 1u << BLK_READ,
                                    .fail_from = 1,
                                    .fail_until = 2,
                                    .error = -EIO};
    char *model = calloc(1, DISK_BYTES);
    unsigned unfinished = 0;
    uint32_t sum;

    begin(s, 4, 5);
    open_array(s, 5, 15, false);
    for (unsigned i = 0; i < 40; i++) {
        members_write(s, model, DISK_BYTES, 64);
    }
    members_close(s);
    sum = sum_of_all(s);
    for (unsigned away = 0; away < 5; away++) { /* 4: none */
        must_be_0(open_reader(s, 5, 15 & ~(1u << away), away < 4));
        must(blk_is_read_only(s->disk) && status_of(s).degraded == (away < 4));
        members_compare(s, model, DISK_BYTES);
        must(blk_write(s->disk, model, 512, 0, 0) == -EROFS);
        members_close(s);
        must(sum_of_all(s) == sum);
    }
    must_be_0(open_reader(s, 5, 15, false));
    filter_fault_plan(s->lower[0], &bad);
    members_compare(s, model, DISK_BYTES); /* it is answered, not repaired */
    must(status_of(s).repaired_bytes == 0);
    members_close(s);
    must(sum_of_all(s) == sum);
    for (unsigned i = 0; i < 10; i++) {
        int r;

        open_array(s, 5, 15, false);
        for (unsigned k = 0; k < 5; k++) {
            members_write(s, model, DISK_BYTES, 64);
        }
        must_be_0(blk_flush(s->disk));
        members_cut(s);
        members_close(s);
        sum = sum_of_all(s);
        r = open_reader(s, 5, 15, false);
        must(r == 0 || r == -EOWNERDEAD);
        unfinished += r == -EOWNERDEAD;
        if (r == 0) {
            members_compare(s, model, DISK_BYTES);
            members_close(s);
        }
        must(sum_of_all(s) == sum);
        open_array(s, 5, 15, false); /* what was cut off is finished */
        members_compare(s, model, DISK_BYTES);
        members_close(s);
        must_be_0(open_reader(s, 5, 15, false));
        members_compare(s, model, DISK_BYTES);
        members_close(s);
    }
    must(unfinished <= 10);
    members_drop(s);
    free(model);
    return 0;
}

/* ---- hostile superblocks and journals ---- */

static int hostile_superblocks_are_refused(void *arg)
{
    static const struct {
        unsigned at;
        uint64_t value;
        unsigned bytes;
    } bad[] = {
        {16, 1, 4},          {16, 6, 4},        {24, 32, 4},
        {24, 1, 4},          {28, 1u << 28, 4}, {28, 1u << 20, 4},
        {32, 1ull << 61, 8}, {40, 65536, 8},    {32, MEMBER_BYTES * 4ull, 8},
    };
    struct members *s = arg;
    unsigned char good[4][4096];

    begin(s, 4, 5);
    for (unsigned m = 0; m < 4; m++) {
        must_be_0(blk_read(s->base[m], good[m], 4096, 4096));
    }
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (unsigned m = 0; m < 4; m++) { /* all alike: they agree with each other */
            unsigned char place[4096];
            uint32_t payload;
            uint32_t crc;

            memcpy(place, good[m], sizeof place);
            memcpy(place + 40 + bad[i].at, &bad[i].value, bad[i].bytes);
            memcpy(&payload, place + 12, 4);
            memset(place + 36, 0, 4);
            crc = crc32c(0, place, 40 + payload);
            memcpy(place + 36, &crc, 4);
            must_be_0(blk_write(s->base[m], place, sizeof place, 4096, 0));
        }
        must(try_open(s, 5, 15, false, NULL) == -EUCLEAN);
    }
    members_drop(s);
    return 0;
}

/* A guest that writes what looks like a record does not get it replayed. */
static int data_are_no_records(void *arg)
{
    struct members *s = arg;
    struct filter_fault_plan torn = {.seed = 3,
                                     .fail_kinds = 1u << BLK_WRITE,
                                     .fail_from = 1,
                                     .fail_until = 2,
                                     .error = -EIO,
                                     .fail_partly = true};
    char journal[8192];
    char *model = calloc(1, DISK_BYTES);

    begin(s, 4, 5);
    open_array(s, 5, 15, false);
    members_write(s, model, DISK_BYTES, 8);
    for (unsigned i = 0; i < 4; i++) { /* an old record as data, of another set */
        must_be_0(blk_read(s->base[i], journal, sizeof journal, 65536));
        journal[8] ^= 1;
        must_be_0(blk_write(s->disk, journal, sizeof journal, i * 8192, 0));
        memcpy(model + i * 8192, journal, sizeof journal);
    }
    filter_fault_plan(s->lower[3], &torn); /* a record that is torn around them */
    must_be_0(blk_write(s->disk, journal, sizeof journal, 3 * 8192, 0));
    must(status_of(s).degraded);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    open_array(s, 5, 15, false);
    wait_until_rebuilt(s);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct members s = {.random = 7};

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &s.loop, NULL));
    must_be_0(loop_do(s.loop, test, &s));
    loop_destroy(s.loop);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    static const struct suite_disk disks[] = {
#define SUITE(text, count, made, opened)                                                 \
    {.name = text,                                                                       \
     .lowers = count,                                                                    \
     .lower_bytes = MEMBER_BYTES,                                                        \
     .make = made,                                                                       \
     .open = opened}
        SUITE("raid 0", 3, make_zero, open_zero),
        SUITE("raid 5", 4, make_five, open_five),
        SUITE("raid 5, a member lost after each cut", 4, make_five, reopen_five),
        SUITE("raid 6", 5, make_six, open_six),
        SUITE("raid 6, two lost after each cut", 5, make_six, reopen_six),
        SUITE("raid 10", 4, make_ten, open_ten),
    };

    if (getenv("SUITE_ONLY") == NULL) {
        run(products_are_right, "products are right");
        run(any_members_may_be_lost, "any members may be lost");
        run(a_cut_and_a_loss_tear_no_block, "a cut and a loss tear no block");
        run(writes_read_as_little_as_possible, "writes read as little as possible");
        run(a_member_is_rebuilt_in_use, "a member is rebuilt in use");
        run(a_cut_leaves_the_old_or_the_new_size, "a cut leaves the old or the new size");
        run(scrub_finds_and_mends, "scrub finds and mends");
        run(a_read_error_is_mended, "a read error is mended");
        run(hostile_superblocks_are_refused, "hostile superblocks are refused");
        run(data_are_no_records, "data are no records");
        run(reading_only_changes_nothing, "reading only changes nothing");
    }
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
