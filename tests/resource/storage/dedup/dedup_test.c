/* dedup_test.c - a store of blocks by their hash: as a disk, with several volumes, through
 * power cuts, full, damaged, hostile. */
#include "resource/storage/dedup/dedup.h"

#include "base/crc32c.h"
#include "base/sha256.h"
#include "tests/resource/storage/redundancy/members.h"

#define LOWER_BYTES (8u << 20)
#define DISK_BYTES  (1u << 20)
#define BLOCKS      (DISK_BYTES / 4096)

/* ---- the suite ---- */

static int open_volume(struct blk *take_lower, const char *name, struct blk **ret_disk,
                       struct err *e)
{
    struct dedup *s = NULL;
    int r = dedup_open(take_lower, &s, e);

    if (r == 0) {
        r = dedup_volume_open(s, name, ret_disk, e);
        dedup_unref(s);
    }
    return r;
}

static int open_store(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return open_volume(take_lower[0], "v", ret_disk, e);
}

static int make_store(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct dedup *s = NULL;
    int r = dedup_format(take_lower[0], 0, e);

    (void)l;
    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    r = dedup_open(take_lower[0], &s, e);
    if (r == 0) {
        r = dedup_volume_add(s, "v", size_bytes, e);
        r = r == 0 ? dedup_volume_open(s, "v", ret_disk, e) : r;
        dedup_unref(s);
    }
    return r;
}

/* Opened and counted by itself, after every closing and every cut. */
static void count_anew(struct loop *l, struct blk **lower, bool after_cut)
{
    struct dedup *s = NULL;
    struct err e = {0};

    (void)l;
    (void)after_cut;
    must_be_0(dedup_open(lower[0], &s, &e));
    if (dedup_check(s, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
    dedup_unref(s);
}

/* ---- a bench of our own ---- */

static struct dedup *begin(struct members *s, uint64_t bytes)
{
    struct dedup *d = NULL;

    members_add(s, bytes);
    must_be_0(dedup_format(s->base[0], 0, NULL));
    must_be_0(dedup_open(s->base[0], &d, NULL));
    return d;
}

struct open_disk {
    struct blk *disk;
    struct blk_edge edge;
};

static void hold(struct open_disk *o, struct dedup *d, const char *name)
{
    must_be_0(dedup_volume_open(d, name, &o->disk, NULL));
    o->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&o->edge, o->disk, NULL));
}

static struct dedup_status status_of(const struct dedup *d)
{
    struct dedup_status x;

    dedup_status(d, &x);
    return x;
}

/* The block of a number: never zeros, never equal to that of another number. */
static void make_block(uint32_t number, uint32_t *room)
{
    for (uint32_t i = 0; i < 1024; i++) {
        room[i] = number * 2654435761u + i;
    }
}

static void write_number(struct open_disk *o, uint64_t block, uint32_t number)
{
    uint32_t room[1024];

    make_block(number, room);
    must_be_0(blk_write(o->disk, room, sizeof room, block * 4096, 0));
}

static void must_have(struct open_disk *o, uint64_t block, uint32_t number)
{
    uint32_t room[1024];
    uint32_t want[1024] = {0};

    if (number != 0) {
        make_block(number, want);
    }
    must_be_0(blk_read(o->disk, room, sizeof room, block * 4096));
    must(memcmp(room, want, sizeof room) == 0);
}

/* Two volumes with few different blocks: what is stored is what a set would hold. */
static int equal_blocks_are_stored_once(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, LOWER_BYTES);
    struct open_disk o[2];
    uint32_t model[2][BLOCKS] = {{0}};
    uint32_t room[1024];
    uint8_t hash[32];
    unsigned logical = 0;
    bool used[64] = {false};
    unsigned stored = 0;

    must_be_0(dedup_volume_add(d, "one", DISK_BYTES, NULL));
    must_be_0(dedup_volume_add(d, "two", DISK_BYTES, NULL));
    must(dedup_volume_add(d, "two", DISK_BYTES, NULL) == -EEXIST);
    must(dedup_volume_add(d, "", DISK_BYTES, NULL) == -EINVAL);
    must(dedup_volume_add(d, "odd", 1000, NULL) == -EINVAL);
    must(dedup_volume_add(d, "huge", (uint64_t)1 << 40, NULL) == -ENOSPC);
    hold(&o[0], d, "one");
    hold(&o[1], d, "two");
    must(dedup_volume_open(d, "one", &o[0].disk, NULL) == -EBUSY);
    o[0].disk = o[0].edge.disk;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned v = (unsigned)(suite_random(&s->random) % 2);
        unsigned b = (unsigned)(suite_random(&s->random) % BLOCKS);
        uint32_t n = (uint32_t)(suite_random(&s->random) % 40);

        if (n == 0) {
            must_be_0(blk_zero(o[v].disk, b * 4096ul, 4096, 0));
        } else {
            write_number(&o[v], b, n);
        }
        model[v][b] = n;
        if (i % 500 == 0) {
            must_be_0(blk_flush(o[v].disk));
        }
    }
    for (unsigned i = 0; i < 2 * BLOCKS; i++) {
        uint32_t n = model[i / BLOCKS][i % BLOCKS];

        must_have(&o[i / BLOCKS], i % BLOCKS, n);
        logical += n != 0;
        stored += n != 0 && !used[n];
        used[n] = used[n] || n != 0;
    }
    must(status_of(d).logical == logical && status_of(d).stored == stored);
    must(status_of(d).saved == logical - stored);
    must_be_0(dedup_check(d, NULL));
    for (uint32_t n = 1; n < 60; n++) { /* by their address */
        make_block(n, room);
        sha256_sum(room, sizeof room, hash);
        must(dedup_get(d, hash, (uint8_t *)room) == (n < 40 && used[n] ? 0 : -ENOENT));
    }
    blk_detach(&o[0].edge);
    must(dedup_volume_remove(d, "two", NULL) == -EBUSY);
    blk_detach(&o[1].edge);
    must_be_0(dedup_volume_remove(d, "two", NULL));
    must_be_0(dedup_volume_remove(d, "one", NULL));
    must(dedup_volume_remove(d, "one", NULL) == -ENOENT);
    must(status_of(d).logical == 0 && status_of(d).stored == 0);
    must_be_0(dedup_check(d, NULL));
    dedup_unref(d);
    members_drop(s);
    return 0;
}

/* Blocks of the disk below that are not zeros. */
static uint64_t held_below(struct members *s)
{
    uint64_t held = 0;

    for (uint64_t at = 0; at < blk_size(s->base[0]); at += 4096) {
        char room[4096];

        must_be_0(blk_read(s->base[0], room, sizeof room, at));
        held += room[0] != 0 || memcmp(room, room + 1, sizeof room - 1) != 0;
    }
    return held;
}

/* Many different blocks, again and again: room without references is used again. */
static int what_nobody_refers_to_is_room(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, 4u << 20);
    struct open_disk o;
    uint64_t room = status_of(d).blocks;
    uint64_t given = 0;
    uint32_t number = 1;
    uint64_t held;
    uint64_t full = 0;
    uint32_t block[1024];
    int r = 0;

    must_be_0(dedup_volume_add(d, "v", 8u << 20, NULL));
    hold(&o, d, "v");
    for (unsigned round = 0; round < 6; round++) { /* six times what there is room for */
        for (uint64_t b = 0; b < room - 8; b++) {
            write_number(&o, b, number++);
        }
    }
    for (uint64_t b = 0; b < room - 8; b++) {
        must_have(&o, b, number - (uint32_t)(room - 8) + (uint32_t)b);
    }
    must(status_of(d).stored == room - 8);
    for (full = room - 8; r == 0 && full < room + 8; full++) { /* until it is full */
        make_block(number++, block);
        r = blk_write(o.disk, block, sizeof block, full * 4096, 0);
    }
    must(r == -ENOSPC && status_of(d).stored == room);
    must_have(&o, 0, 1 + 5 * (uint32_t)(room - 8)); /* nothing was lost */
    must_be_0(dedup_check(d, NULL));
    must_be_0(blk_discard(o.disk, 0, 100 * 4096)); /* then there is room again */
    write_number(&o, 200, number++);
    must_be_0(blk_flush(o.disk));
    held = held_below(s);
    must_be_0(blk_zero(o.disk, 0, 8u << 20, BLK_UNMAP));
    must_be_0(dedup_reclaim(d, NULL, NULL, &given));
    must(given > room - 110 && status_of(d).stored == 0);
    must(held_below(s) + given - 50 < held);
    must_be_0(dedup_check(d, NULL));
    for (uint64_t b = 0; b < 50; b++) { /* among reclaimed entries */
        write_number(&o, b, 7 + (uint32_t)b);
        must_have(&o, b, 7 + (uint32_t)b);
    }
    blk_detach(&o.edge);
    must_be_0(dedup_check(d, NULL));
    dedup_unref(d);
    members_drop(s);
    return 0;
}

/* Room is given back by whoever opens the store next, too: after blocks were discarded, were
 * written over, or went with their volume. */
static int room_is_given_back_after_reopening(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, LOWER_BYTES);
    struct open_disk o;

    for (unsigned how = 0; how < 3; how++) {
        uint64_t given = 0;
        uint64_t held;

        must_be_0(dedup_volume_add(d, "v", DISK_BYTES, NULL));
        hold(&o, d, "v");
        for (uint32_t b = 0; b < 100; b++) {
            write_number(&o, b, 1 + b + how * 1000);
        }
        must_be_0(blk_flush(o.disk));
        for (uint32_t b = 0; how == 1 && b < 100; b++) {
            write_number(&o, b, 7);
        }
        if (how == 0) {
            must_be_0(blk_discard(o.disk, 0, DISK_BYTES));
        }
        blk_detach(&o.edge);
        if (how == 2) {
            must_be_0(dedup_volume_remove(d, "v", NULL));
        }
        dedup_unref(d);
        held = held_below(s);
        must_be_0(dedup_open(s->base[0], &d, NULL));
        must_be_0(dedup_reclaim(d, NULL, NULL, &given));
        must(given == 100);
        must(held_below(s) + 90 < held);
        must_be_0(dedup_check(d, NULL));
        if (how != 2) {
            must_be_0(dedup_volume_remove(d, "v", NULL));
        }
        must_be_0(dedup_reclaim(d, NULL, NULL, &given));
    }
    dedup_unref(d);
    members_drop(s);
    return 0;
}

struct writer {
    struct members *s;
    struct open_disk *o;
    uint32_t *model;
    unsigned part; /* of WRITERS */
    bool *stop;
    unsigned *running;
};

#define WRITERS 4

/* Always other blocks, and some of those that were there before. */
static void keep_writing(void *arg)
{
    struct writer *w = arg;

    for (uint32_t i = 0; !*w->stop; i++) {
        uint64_t block =
            suite_random(&w->s->random) % (BLOCKS / WRITERS) * WRITERS + w->part;
        uint32_t number = suite_random(&w->s->random) % 4 == 0
                              ? 1 + (uint32_t)(suite_random(&w->s->random) % 50)
                              : 1000 + i * WRITERS + w->part;

        write_number(w->o, block, number);
        w->model[block] = number;
        if (i % 8 == 7) {
            must_be_0(blk_flush(w->o->disk));
        }
    }
    --*w->running;
}

/* The disk below is slow and does what it is asked in any order; each slot is wanted soon. */
static int room_is_given_back_while_others_write(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, 4u << 20);
    uint32_t model[BLOCKS] = {0};
    struct writer w[WRITERS];
    unsigned running = WRITERS;
    uint64_t all = 0;
    bool stop = false;
    struct open_disk o;

    must_be_0(dedup_volume_add(d, "v", DISK_BYTES, NULL));
    dedup_unref(d);
    s->plan = (struct filter_fault_plan){.delay_one_in = 2, .delay_ns = 100000};
    members_filter(s, 1);
    must_be_0(dedup_open(s->lower[0], &d, NULL));
    hold(&o, d, "v");
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){s, &o, model, i, &stop, &running};
        must_be_0(strand_start(loop_strands(s->loop), keep_writing, &w[i]));
    }
    for (unsigned i = 0; i < 40; i++) {
        uint64_t given = 0;

        loop_sleep(s->loop, 2000000);
        must_be_0(dedup_reclaim(d, NULL, NULL, &given));
        all += given;
    }
    stop = true;
    while (running > 0) {
        loop_sleep(s->loop, 100000);
    }
    must(all > 100);
    for (uint64_t b = 0; b < BLOCKS; b++) {
        must_have(&o, b, model[b]);
    }
    must_be_0(dedup_check(d, NULL));
    blk_detach(&o.edge);
    dedup_unref(d);
    members_drop(s);
    return 0;
}

static int enough(void *arg, uint64_t done, uint64_t total)
{
    must(done > 0 && done <= total);
    return --*(int *)arg == 0 ? -ECANCELED : 0;
}

static int whoever_gives_room_back_may_stop(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, LOWER_BYTES);
    uint64_t given = 0;
    int left = 3;

    must(dedup_reclaim(d, enough, &left, &given) == -ECANCELED && left == 0);
    must_be_0(dedup_check(d, NULL));
    dedup_unref(d);
    members_drop(s);
    return 0;
}

/* Data that changed by themselves are told by their address. */
static int a_damaged_block_is_told(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, LOWER_BYTES);
    struct open_disk o;
    unsigned char room[4096];
    unsigned damaged = 0;
    uint8_t hash[32];

    must_be_0(dedup_volume_add(d, "v", DISK_BYTES, NULL));
    hold(&o, d, "v");
    write_number(&o, 3, 1);
    write_number(&o, 4, 2);
    must_be_0(blk_flush(o.disk));
    make_block(1, (uint32_t *)(void *)room);
    sha256_sum(room, sizeof room, hash);
    for (uint64_t at = 0; at < LOWER_BYTES;
         at += 4096) { /* find it below, and change it */
        unsigned char found[4096];

        must_be_0(blk_read(s->base[0], found, sizeof found, at));
        if (memcmp(found, room, sizeof room) == 0) {
            found[5] ^= 1;
            must_be_0(blk_write(s->base[0], found, sizeof found, at, 0));
            damaged++;
        }
    }
    must(damaged == 1);
    must(blk_read(o.disk, room, sizeof room, 3 * 4096) == -EILSEQ);
    must(dedup_get(d, hash, room) == -EILSEQ);
    must(status_of(d).damaged == 2);
    must_have(&o, 4, 2);
    must_be_0(blk_zero(o.disk, 3 * 4096, 4096, 0));
    write_number(&o, 5, 1); /* the damaged bytes are not believed */
    must_have(&o, 5, 1);
    blk_detach(&o.edge);
    dedup_unref(d);
    members_drop(s);
    return 0;
}

/* Both volumes are what they were at a flush or something written since, at every cut. */
static int cuts_keep_references_right(void *arg)
{
    struct members *s = arg;
    struct dedup *d = begin(s, LOWER_BYTES);
    uint32_t durable[2][32] = {{0}};

    must_be_0(dedup_volume_add(d, "one", DISK_BYTES, NULL));
    must_be_0(dedup_volume_add(d, "two", DISK_BYTES, NULL));
    dedup_unref(d);
    for (unsigned i = 0; i < 150; i++) {
        uint32_t now[2][32];
        bool unsure[2][32][48] = {{{false}}};
        struct open_disk o[2];
        int r = 0;

        memcpy(now, durable, sizeof now);
        s->plan.holds_back = true;
        members_filter(s, 1);
        must_be_0(dedup_open(s->lower[0], &d, NULL));
        hold(&o[0], d, "one");
        hold(&o[1], d, "two");
        filter_fault_cut_after(s->lower[0], suite_random(&s->random) % 120);
        for (unsigned k = 0; r == 0 && k < 150; k++) {
            unsigned v = (unsigned)(suite_random(&s->random) % 2);
            unsigned b = (unsigned)(suite_random(&s->random) % 32);
            uint32_t n = (uint32_t)(suite_random(&s->random) % 48);
            uint32_t room[1024] = {0};

            if (n != 0) {
                make_block(n, room);
            }
            unsure[v][b][n] = true;
            r = blk_write(o[v].disk, room, sizeof room, b * 4096ul, 0);
            now[v][b] = n;
            if (r == 0 && k % 20 == 19) {
                r = blk_flush(o[v].disk); /* of one: the store is flushed */
                if (r == 0) {
                    memcpy(durable, now, sizeof durable);
                    memset(unsure, 0, sizeof unsure);
                }
            }
        }
        members_cut(s);
        blk_detach(&o[0].edge);
        blk_detach(&o[1].edge);
        dedup_unref(d);
        must_be_0(dedup_open(s->base[0], &d, NULL));
        must_be_0(dedup_check(d, NULL));
        hold(&o[0], d, "one");
        hold(&o[1], d, "two");
        for (unsigned k = 0; k < 64; k++) {
            unsigned v = k / 32;
            unsigned b = k % 32;
            uint32_t room[1024];
            uint32_t want[1024];
            bool known = false;

            must_be_0(blk_read(o[v].disk, room, sizeof room, b * 4096ul));
            for (uint32_t n = 0; n < 48 && !known; n++) {
                memset(want, 0, sizeof want);
                if (n != 0) {
                    make_block(n, want);
                }
                if ((unsure[v][b][n] || durable[v][b] == n) &&
                    memcmp(room, want, sizeof room) == 0) {
                    known = true;
                    durable[v][b] = n;
                }
            }
            must(known);
        }
        blk_detach(&o[0].edge);
        blk_detach(&o[1].edge);
        dedup_unref(d);
    }
    members_drop(s);
    return 0;
}

/* At any cut of a resize the volume has the old size or the new one, what both have is
 * there, and references are right; a volume behind it bounds how far it grows. */
static int another_size_survives_cuts(void *arg)
{
    static const uint64_t sizes[] = {2 * DISK_BYTES, DISK_BYTES / 2};
    struct members *s = arg;

    for (unsigned i = 0; i < 2; i++) {
        uint64_t common = (sizes[i] < DISK_BYTES ? sizes[i] : DISK_BYTES) / 4096;
        bool done = false;

        for (unsigned cut = 0; !done; cut++) {
            struct dedup *d = begin(s, LOWER_BYTES);
            struct open_disk o;

            must(cut < 300);
            must_be_0(dedup_volume_add(d, "one", DISK_BYTES, NULL));
            hold(&o, d, "one");
            for (uint32_t b = 0; b < BLOCKS; b++) {
                write_number(&o, b, b % 40 + 1);
            }
            must_be_0(blk_flush(o.disk));
            blk_detach(&o.edge);
            dedup_unref(d);
            s->plan.holds_back = true;
            members_filter(s, 1);
            must_be_0(dedup_open(s->lower[0], &d, NULL));
            hold(&o, d, "one");
            filter_fault_cut_after(s->lower[0], cut);
            done = blk_resize(o.disk, sizes[i], NULL) == 0 &&
                   !filter_fault_is_cut(s->lower[0]);
            members_cut(s);
            blk_detach(&o.edge);
            dedup_unref(d);
            must_be_0(dedup_open(s->base[0], &d, NULL));
            must_be_0(dedup_check(d, NULL));
            hold(&o, d, "one");
            must(blk_size(o.disk) == sizes[i] ||
                 (!done && blk_size(o.disk) == DISK_BYTES));
            must_be_0(blk_resize(o.disk, sizes[i], NULL));
            for (uint32_t b = 0; b < sizes[i] / 4096; b++) {
                must_have(&o, b, b < common ? b % 40 + 1 : 0);
            }
            must_be_0(blk_resize(o.disk, DISK_BYTES, NULL));
            must_have(&o, BLOCKS - 1, sizes[i] < DISK_BYTES ? 0 : (BLOCKS - 1) % 40 + 1);
            must_be_0(dedup_check(d, NULL));
            blk_detach(&o.edge);
            must_be_0(dedup_volume_add(d, "two", DISK_BYTES, NULL));
            hold(&o, d, "one");
            must(blk_resize(o.disk, 64 * DISK_BYTES, NULL) == -ENOSPC);
            must(blk_size(o.disk) == DISK_BYTES);
            blk_detach(&o.edge);
            dedup_unref(d);
            members_drop(s);
        }
    }
    return 0;
}

static int hostile_superblocks_are_refused(void *arg)
{
    static const struct {
        unsigned at;
        uint64_t value;
        unsigned bytes;
    } bad[] = {
        {8, 0, 8},
        {8, UINT64_MAX, 8},
        {16, 0, 8},
        {16, UINT64_MAX, 8},
        {16, 4097, 8},
        {24, 0, 8},
        {24, 1u << 30, 8},
        {24, UINT64_MAX, 8},
        {32, 0, 8},
        {32, UINT64_MAX, 8},
        {40, 0, 8},
        {40, UINT64_MAX, 8},
        {72, 65, 4},
        {72, 3, 4},
        {80, 0, 8},
        {80, 0x0a0a0a, 8},
        {144, UINT64_MAX, 8},
        {152, 0, 8},
        {152, UINT64_MAX, 8},
        {160, 'v', 8},
        {224, 0, 8},
    };
    struct members *s = arg;
    struct dedup *d = begin(s, LOWER_BYTES);
    unsigned char good[2][16384];
    unsigned newest;

    must_be_0(dedup_volume_add(d, "v", DISK_BYTES, NULL));
    must_be_0(dedup_volume_add(d, "w", DISK_BYTES, NULL));
    dedup_unref(d);
    for (unsigned i = 0; i < 2; i++) {
        must_be_0(blk_read(s->base[0], good[i], sizeof good[i], i * 16384));
    }
    newest = good[1][16] > good[0][16]; /* the sequence */
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unsigned char place[16384];
        uint32_t payload;
        uint32_t crc;

        memcpy(place, good[newest], sizeof place);
        memcpy(place + 40 + bad[i].at, &bad[i].value, bad[i].bytes);
        memcpy(&payload, place + 12, 4);
        memset(place + 36, 0, 4);
        crc = crc32c(0, place, 40 + payload);
        memcpy(place + 36, &crc, 4);
        must_be_0(blk_write(s->base[0], place, sizeof place, newest * 16384, 0));
        must(dedup_open(s->base[0], &d, NULL) == -EUCLEAN);
    }
    must_be_0(
        blk_write(s->base[0], good[newest], sizeof good[newest], newest * 16384, 0));
    must_be_0(dedup_open(s->base[0], &d, NULL));
    dedup_unref(d);
    members_drop(s);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct members s = {.random = 7};

    members_run(&s.loop, test, &s);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "dedup",
         .lowers = 1,
         .lower_bytes = LOWER_BYTES,
         .make = make_store,
         .open = open_store,
         .judge = count_anew},
    };

    run(equal_blocks_are_stored_once, "equal blocks are stored once");
    run(what_nobody_refers_to_is_room, "what nobody refers to is room");
    run(room_is_given_back_after_reopening, "room is given back after reopening");
    run(room_is_given_back_while_others_write, "room is given back while others write");
    run(whoever_gives_room_back_may_stop, "whoever gives room back may stop");
    run(a_damaged_block_is_told, "a damaged block is told");
    run(cuts_keep_references_right, "cuts keep references right");
    run(another_size_survives_cuts, "another size survives cuts");
    run(hostile_superblocks_are_refused, "hostile superblocks are refused");
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
