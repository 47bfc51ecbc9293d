/* mirror_test.c - mirrors: as disks, and what happens when members fail, come back, split
 * or lose their power. */
#include "resource/storage/redundancy/mirror.h"

#include "base/crc32c.h"
#include "tests/resource/storage/redundancy/members.h"

#define DISK_BYTES   (2u << 20)
#define REGION       65536u
#define MEMBER_BYTES ((4u << 20) + 262144)

/* ---- the suite ---- */

static int drop_all(struct blk **lower, unsigned count, int r)
{
    for (unsigned i = 0; i < count; i++) {
        blk_drop(lower[i]);
    }
    return r;
}

static int make_mirror(struct loop *l, struct blk **take_lower, unsigned count,
                       struct mirror_format f, struct blk **ret_disk, struct err *e)
{
    struct mirror_options o = {.window_bytes = 262144};
    int r = mirror_format(take_lower, count, &f, e);

    return r != 0 ? drop_all(take_lower, count, r)
                  : mirror_open(l, take_lower, count, &o, ret_disk, e);
}

static int make_two(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    struct mirror_format f = {
        .size_bytes = size_bytes, .region_bytes = REGION, .same = true};

    return make_mirror(l, take_lower, 2, f, ret_disk, e);
}

static int make_three(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct mirror_format f = {.size_bytes = size_bytes, .region_bytes = 4096};

    return make_mirror(l, take_lower, 3, f, ret_disk, e);
}

static int make_async(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct mirror_format f = {
        .size_bytes = size_bytes, .region_bytes = REGION, .same = true, .async = true};

    return make_mirror(l, take_lower, 2, f, ret_disk, e);
}

static int open_some(struct loop *l, struct blk **take_lower, unsigned count,
                     struct blk **ret_disk, struct err *e)
{
    struct mirror_options o = {.window_bytes = 262144};

    return mirror_open(l, take_lower, count, &o, ret_disk, e);
}

static int open_two(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_some(l, take_lower, 2, ret_disk, e);
}

static int open_three(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_some(l, take_lower, 3, ret_disk, e);
}

/* ---- a bench of our own ---- */

static void begin(struct members *s, unsigned count, bool async)
{
    struct mirror_format f = {
        .size_bytes = DISK_BYTES, .region_bytes = REGION, .same = true, .async = async};

    for (unsigned i = 0; i < count; i++) {
        members_add(s, MEMBER_BYTES);
    }
    must_be_0(mirror_format(s->base, count, &f, NULL));
}

static int try_open(struct members *s, unsigned which, struct mirror_options o,
                    struct err *e)
{
    int r;

    members_filter(s, which);
    r = mirror_open(s->loop, s->lower, s->count, &o, &s->disk, e);
    if (r == 0) {
        members_hold(s);
    }
    return r;
}

static void open_mirror(struct members *s, unsigned which, struct mirror_options o)
{
    struct err e = {0};

    if (try_open(s, which, o, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
}

static struct mirror_status status_of(struct members *s)
{
    struct mirror_status x;

    mirror_status(s->disk, &x);
    return x;
}

static void wait_until_ok(struct members *s)
{
    for (unsigned i = 0; i < 10000 && status_of(s).state != MIRROR_OK; i++) {
        loop_sleep(s->loop, 100000);
    }
    must(status_of(s).state == MIRROR_OK);
}

/* The data areas: behind the superblock and one unit of marks. */
static void must_be_equal(struct members *s, unsigned a, unsigned b)
{
    char *x = malloc(DISK_BYTES);
    char *y = malloc(DISK_BYTES);

    must_be_0(blk_read(s->base[a], x, DISK_BYTES, 131072));
    must_be_0(blk_read(s->base[b], y, DISK_BYTES, 131072));
    must(memcmp(x, y, DISK_BYTES) == 0);
    free(x);
    free(y);
}

static const struct mirror_options plain = {0};
static const struct mirror_options alone = {.degraded = true};

static int only_what_differs_is_copied(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);

    begin(s, 2, false);
    open_mirror(s, 3, plain);
    for (unsigned i = 0; i < 50; i++) {
        members_write(s, model, DISK_BYTES, 64);
    }
    must_be_0(blk_flush(s->disk));
    members_close(s);
    must_be_equal(s, 0, 1);
    open_mirror(s, 3, plain);
    must(status_of(s).state == MIRROR_OK && status_of(s).copied_bytes == 0);
    filter_fault_cut(s->lower[1]);
    members_write(s, model, 3 * REGION, 128); /* at most four regions */
    members_write(s, model, 3 * REGION, 128);
    must(status_of(s).state == MIRROR_DEGRADED);
    must(strcmp(status_of(s).member[1].state, "out") == 0);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    open_mirror(s, 3, plain);
    wait_until_ok(s);
    must(status_of(s).copied_bytes > 0 && status_of(s).copied_bytes <= 4 * REGION);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    must_be_equal(s, 0, 1);
    members_drop(s);
    free(model);
    return 0;
}

static int a_read_error_is_repaired(void *arg)
{
    struct members *s = arg;
    struct filter_fault_plan bad = {.seed = 1,
                                    .fail_kinds = 1u << BLK_READ,
                                    .fail_from = 1,
                                    .fail_until = 2,
                                    .error = -EIO};
    char *model = calloc(1, DISK_BYTES);

    begin(s, 2, false);
    open_mirror(s, 3, plain);
    for (unsigned i = 0; i < 20; i++) {
        members_write(s, model, DISK_BYTES, 64);
        bad.error = i % 2 == 0 ? -EIO : -EILSEQ;
        filter_fault_plan(s->lower[i % 2], &bad);
        members_compare(s, model, DISK_BYTES);
        members_compare(s, model, DISK_BYTES);
    }
    must(status_of(s).repaired_bytes == 20ull * DISK_BYTES);
    must(status_of(s).state == MIRROR_OK);
    bad.fail_until = 100;
    bad.error = -EIO;
    filter_fault_plan(s->lower[0], &bad);
    filter_fault_plan(s->lower[1], &bad);
    must(blk_read(s->disk, model, 512, 0) == -EIO);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* ---- copying under load ---- */

struct load {
    struct members *s;
    char *model;
    unsigned part; /* this writer's quarter */
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
        loop_sleep(l->s->loop, 1000);
    }
    --*l->running;
}

static int a_member_comes_back_in_use(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);
    struct blk *fresh = NULL;
    struct load load[4];
    unsigned running = 4;
    bool stop = false;
    uint64_t before;

    begin(s, 3, false);
    s->plan = (struct filter_fault_plan){.delay_one_in = 4, .delay_ns = 50000};
    open_mirror(s, 7, plain);
    for (unsigned i = 0; i < 4; i++) {
        load[i] = (struct load){s, model, i, &stop, &running};
        must_be_0(strand_start(loop_strands(s->loop), keep_writing, &load[i]));
    }
    for (unsigned i = 0; i < 5; i++) {
        must_be_0(mirror_fail(s->disk, i % 3, NULL));
        must(status_of(s).state == MIRROR_DEGRADED);
        loop_sleep(s->loop, 3000000);
        must_be_0(mirror_return(s->disk, i % 3, NULL));
        must(status_of(s).state != MIRROR_DEGRADED);
        wait_until_ok(s);
    }
    before = status_of(s).copied_bytes;
    must_be_0(mirror_leave(s->disk, 2, NULL));
    must(status_of(s).state == MIRROR_DEGRADED);
    must(mirror_return(s->disk, 2, NULL) == -EINVAL); /* its disk was let go */
    must(mirror_leave(s->disk, 3, NULL) == -EBUSY);
    loop_sleep(s->loop, 3000000);
    must_be_0(leaf_memory_create(loop_strands(s->loop), MEMBER_BYTES, 512, &fresh, NULL));
    blk_detach(&s->keep[2]);
    s->keep[2] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&s->keep[2], fresh, NULL));
    s->base[2] = fresh;
    must_be_0(mirror_replace(s->disk, 2, fresh, NULL));
    wait_until_ok(s);
    must(status_of(s).copied_bytes - before == DISK_BYTES);
    stop = true;
    while (running > 0) {
        loop_sleep(s->loop, 100000);
    }
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    must_be_equal(s, 0, 1);
    must_be_equal(s, 0, 2);
    open_mirror(s, 7, plain);
    must(status_of(s).state == MIRROR_OK && status_of(s).copied_bytes == 0);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* ---- other sizes ---- */

/* One member is away while the disk grows and is written behind its old end. */
static int grows_without_a_member(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, 2 * DISK_BYTES);

    begin(s, 2, false);
    open_mirror(s, 3, plain);
    for (unsigned i = 0; i < 50; i++) {
        members_write(s, model, DISK_BYTES, 64);
    }
    members_close(s);
    open_mirror(s, 1, alone);
    must_be_0(blk_resize(s->disk, 2 * DISK_BYTES, NULL));
    for (unsigned i = 0; i < 50; i++) {
        members_write(s, model, 2 * DISK_BYTES, 64);
    }
    members_compare(s, model, 2 * DISK_BYTES);
    members_close(s);
    open_mirror(s, 3, plain);
    must(blk_size(s->disk) == 2 * DISK_BYTES);
    wait_until_ok(s);
    members_close(s);
    open_mirror(s, 2, alone); /* the one that came back has it all */
    members_compare(s, model, 2 * DISK_BYTES);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* The power goes at any moment of a change of size: it is the old or the new one, what was
 * in both is there, and what is new reads zeros. */
static int a_cut_leaves_the_old_or_the_new_size(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, 2 * DISK_BYTES);
    uint64_t size = DISK_BYTES;
    unsigned changed = 0;

    begin(s, 2, false);
    for (unsigned i = 0; i < 80; i++) {
        uint64_t to = DISK_BYTES / 2 + suite_random(&s->random) % 300 * 4096;

        s->plan = (struct filter_fault_plan){0};
        open_mirror(s, 3, plain);
        must(blk_size(s->disk) == size);
        for (unsigned k = 0; k < 20; k++) {
            members_write(s, model, size, 64);
        }
        must_be_0(blk_flush(s->disk));
        members_close(s);
        s->plan = (struct filter_fault_plan){.holds_back = true};
        open_mirror(s, 3, plain);
        for (unsigned k = 0; k < 2; k++) {
            filter_fault_cut_after(s->lower[k], suite_random(&s->random) % 14);
        }
        (void)blk_resize(s->disk, to, NULL);
        members_cut(s);
        members_close(s);
        s->plan = (struct filter_fault_plan){0};
        open_mirror(s, 3, plain);
        must(blk_size(s->disk) == size || blk_size(s->disk) == to);
        if (blk_size(s->disk) != size) {
            changed++;
            memset(model + (to < size ? to : size), 0,
                   2 * DISK_BYTES - (to < size ? to : size));
            size = to;
        }
        members_compare(s, model, size);
        members_close(s);
    }
    must(changed > 10 && changed < 80);
    members_drop(s);
    free(model);
    return 0;
}

/* ---- generations ---- */

static int a_stale_member_never_wins(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);
    struct err e = {0};
    struct blk *first;

    begin(s, 2, false);
    open_mirror(s, 3, plain);
    members_write(s, model, DISK_BYTES, 64);
    members_close(s);
    must(try_open(s, 2, plain, &e) == -ENODEV); /* who is missing may know more */
    open_mirror(s, 2, alone);
    for (unsigned i = 0; i < 20; i++) {
        members_write(s, model, DISK_BYTES, 64);
    }
    members_close(s);
    first = s->base[0]; /* the stale one first, then last */
    for (unsigned i = 0; i < 2; i++) {
        open_mirror(s, 3, plain);
        wait_until_ok(s);
        members_compare(s, model, DISK_BYTES);
        must((status_of(s).copied_bytes > 0) == (i == 0));
        members_close(s);
        s->base[0] = s->base[1];
        s->base[1] = first;
        first = s->base[0];
    }
    must_be_equal(s, 0, 1);
    members_drop(s);
    free(model);
    return 0;
}

/* The power went while a state was saved: it reached one member, which is then away while the
 * others go on.  It has as many generations as they have, and does not win. */
static int a_half_saved_change_does_not_win(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);
    char super[8192];

    begin(s, 3, false);
    open_mirror(s, 7, plain);
    must_be_0(blk_read(s->base[1], super, sizeof super, 0));
    must_be_0(mirror_fail(s->disk, 2, NULL));
    members_close(s);
    must_be_0(blk_write(s->base[1], super, sizeof super, 0, 0));
    open_mirror(s, 6, alone);
    for (unsigned i = 0; i < 20; i++) {
        members_write(s, model, DISK_BYTES, 64);
    }
    members_close(s);
    open_mirror(s, 7, plain);
    wait_until_ok(s);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    must_be_equal(s, 0, 1);
    must_be_equal(s, 0, 2);
    members_drop(s);
    free(model);
    return 0;
}

static int a_split_asks_for_a_winner(void *arg)
{
    struct members *s = arg;
    char *one = calloc(1, DISK_BYTES);
    char *two = calloc(1, DISK_BYTES);

    for (unsigned winner = 0; winner < 2; winner++) {
        struct mirror_options choice = {.choose = true, .winner = winner};
        struct err e = {0};

        memset(one, 0, DISK_BYTES);
        begin(s, 2, false);
        open_mirror(s, 3, plain);
        members_write(s, one, DISK_BYTES, 64);
        memcpy(two, one, DISK_BYTES);
        members_close(s);
        for (unsigned i = 0; i <= winner; i++) { /* the loser has more generations */
            open_mirror(s, 1, alone);
            members_write(s, one, DISK_BYTES, 64);
            members_close(s);
        }
        open_mirror(s, 2, alone);
        members_write(s, two, DISK_BYTES, 64);
        members_close(s);
        must(try_open(s, 3, plain, &e) == -ESTALE);
        must(strstr(e.text, "without each other") != NULL);
        must(try_open(s, 3, alone, NULL) == -ESTALE);
        open_mirror(s, 3, choice);
        wait_until_ok(s);
        members_compare(s, winner == 0 ? one : two, DISK_BYTES);
        members_close(s);
        must_be_equal(s, 0, 1);
        open_mirror(s, 3, plain);
        must(status_of(s).state == MIRROR_OK);
        members_close(s);
        members_drop(s);
    }
    free(one);
    free(two);
    return 0;
}

/* ---- a dead primary ---- */

/* The power of one member goes in mid-write: the other one alone has all that was
 * acknowledged. */
static int a_survivor_has_all_that_was_acknowledged(void *arg)
{
    struct members *s = arg;
    char *model = calloc(1, DISK_BYTES);

    for (unsigned i = 0; i < 40; i++) {
        unsigned dead = i % 2;

        memset(model, 0, DISK_BYTES);
        begin(s, 2, false);
        s->plan.holds_back = true;
        open_mirror(s, 3, plain);
        filter_fault_cut_after(s->lower[dead], suite_random(&s->random) % 60);
        for (unsigned k = 0; k < 40; k++) {
            members_write(s, model, DISK_BYTES, 64);
        }
        s->plan.holds_back = false;
        members_close(s); /* without the dead one */
        open_mirror(s, 2 >> dead, alone);
        members_compare(s, model, DISK_BYTES);
        members_close(s);
        members_drop(s);
    }
    free(model);
    return 0;
}

#define NUMBERED 400
#define WINDOW   65536u

/* Write k puts k into 4096 bytes of block k % 64. */
static void write_number(struct members *s, uint32_t k)
{
    uint32_t room[1024];

    for (unsigned i = 0; i < 1024; i++) {
        room[i] = k;
    }
    must_be_0(blk_write(s->disk, room, sizeof room, k % 64 * 4096, 0));
}

/* A past: the numbers are those after write `n` for some n, which is returned. */
static uint32_t must_be_a_past(struct members *s)
{
    uint32_t found[64];
    uint32_t last = 0;

    for (unsigned i = 0; i < 64; i++) {
        uint32_t room[1024];

        must_be_0(blk_read(s->disk, room, sizeof room, i * 4096));
        must(room[0] == room[1023]);
        found[i] = room[0];
        last = found[i] > last ? found[i] : last;
    }
    for (unsigned i = 0; i < 64; i++) {
        uint32_t k = last - (last - i) % 64; /* the last write of this block */

        must(found[i] == (k <= last && k >= 1 ? k : 0) || last < 64);
    }
    return last;
}

static int a_follower_is_a_past_within_the_window(void *arg)
{
    struct members *s = arg;
    struct mirror_options o = {.window_bytes = WINDOW};
    struct mirror_options promote = {.promote = true};
    struct filter_fault_plan slow = {.seed = 1, .delay_one_in = 1, .delay_ns = 100000};
    struct err e = {0};
    uint64_t worst = 0;
    uint32_t last;

    begin(s, 2, true);
    open_mirror(s, 3, o);
    filter_fault_plan(s->lower[1], &slow);
    for (uint32_t k = 1; k <= NUMBERED; k++) {
        write_number(s, k);
        must(status_of(s).lag_bytes <= WINDOW);
        worst = status_of(s).lag_bytes > worst ? status_of(s).lag_bytes : worst;
    }
    must(worst > WINDOW / 2);      /* the primary did not wait for each write */
    filter_fault_cut(s->lower[1]); /* the link breaks: what did not follow stays behind */
    members_close(s);
    must(try_open(s, 2, plain, &e) == -ENODEV);
    must(try_open(s, 2, alone, &e) == -ENODEV); /* a follower is no primary by itself */
    open_mirror(s, 2, promote);
    last = must_be_a_past(s);
    must(last + WINDOW / 4096 + 1 >= NUMBERED && last < NUMBERED);
    write_number(s, NUMBERED + 1);
    members_close(s);
    must(try_open(s, 3, plain, &e) == -ESTALE); /* the old primary went on, too */
    open_mirror(s, 3, (struct mirror_options){.choose = true, .winner = 1});
    wait_until_ok(s);
    must(strcmp(status_of(s).member[0].state, "follows") == 0);
    members_close(s);
    must_be_equal(s, 0, 1);
    members_drop(s);
    return 0;
}

/* The primary dies with its power: nobody had the time to write that it went on. */
static int a_dead_primary_comes_back_as_follower(void *arg)
{
    struct members *s = arg;
    struct mirror_options o = {.window_bytes = WINDOW};
    struct mirror_options promote = {.promote = true};
    struct filter_fault_plan slow = {.seed = 1, .delay_one_in = 1, .delay_ns = 100000};

    begin(s, 2, true);
    open_mirror(s, 3, o);
    filter_fault_plan(s->lower[1], &slow);
    for (uint32_t k = 1; k <= NUMBERED; k++) {
        write_number(s, k);
    }
    filter_fault_cut(s->lower[0]);
    filter_fault_cut(s->lower[1]);
    members_close(s);
    open_mirror(s, 2, promote);
    (void)must_be_a_past(s);
    write_number(s, NUMBERED + 1);
    members_close(s);
    open_mirror(s, 3, plain);
    wait_until_ok(s);
    must(strcmp(status_of(s).member[0].state, "follows") == 0);
    must(strcmp(status_of(s).member[1].state, "in sync") == 0);
    must(status_of(s).copied_bytes <= 6 * REGION); /* the marked ones of both */
    members_close(s);
    must_be_equal(s, 0, 1);
    members_drop(s);
    return 0;
}

/* ---- hostile superblocks ---- */

static void put_super(struct members *s, const unsigned char *good, unsigned at,
                      uint64_t value, unsigned bytes)
{
    unsigned char place[4096];
    uint32_t payload;
    uint32_t crc;

    memcpy(place, good, sizeof place);
    memcpy(place + 40 + at, &value, bytes);
    memcpy(&payload, place + 12, 4);
    memset(place + 36, 0, 4);
    crc = crc32c(0, place, 40 + payload);
    memcpy(place + 36, &crc, 4);
    must_be_0(blk_write(s->base[0], place, sizeof place, 4096, 0));
}

static int hostile_superblocks_are_refused(void *arg)
{
    static const struct {
        unsigned at;
        uint64_t value;
        unsigned bytes;
    } bad[] = {
        {16, 0, 4},
        {16, 2, 4},
        {20, 1, 4},
        {20, 2, 4},
        {20, UINT32_MAX, 4},
        {24, 0, 4},
        {24, 33, 4},
        {24, 3, 4},
        {28, 0, 4},
        {28, 4095, 4},
        {28, 0x80000000, 4},
        {32, UINT64_MAX, 8},
        {32, 4097, 8},
        {32, 1ull << 61, 8},
        {40, 0, 8},
        {40, 65537, 8},
        {40, UINT64_MAX & ~4095ull, 8},
        {64 + 16, 4, 4},
        {64 + 16, UINT32_MAX, 4},
        {0, 12345, 8}, /* another set */
    };
    struct members *s = arg;
    unsigned char good[4096];
    struct err e = {0};

    begin(s, 2, false);
    must_be_0(blk_read(s->base[0], good, sizeof good, 4096));
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_super(s, good, bad[i].at, bad[i].value, bad[i].bytes);
        must(try_open(s, 3, plain, NULL) == -EUCLEAN);
    }
    put_super(s, good, 64 + 16, 0, 4); /* its own row says that it is out */
    open_mirror(s, 3, plain);
    members_close(s);
    members_drop(s);
    (void)e;
    return 0;
}

/* ---- read only ---- */

/* Everything that a member has. */
static uint32_t sum_of(struct members *s, unsigned i)
{
    char *all = malloc(MEMBER_BYTES);
    uint32_t sum;

    must_be_0(blk_read(s->base[i], all, MEMBER_BYTES, 0));
    sum = crc32c(0, all, MEMBER_BYTES);
    free(all);
    return sum;
}

static const struct mirror_options reader = {.read_only = true};
static const struct mirror_options lone_reader = {.read_only = true, .degraded = true};

/* As `open_mirror` of a disk that is only read. */
static void open_reader(struct members *s, unsigned which, struct mirror_options o)
{
    members_filter(s, which);
    must_be_0(mirror_open(s->loop, s->lower, s->count, &o, &s->disk, NULL));
    s->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_READ};
    must_be_0(blk_attach(&s->edge, s->disk, NULL));
}

/* What one lacks is read from the other, and not a byte is changed: not by opening, reading, a
 * read error, or closing; who comes to write afterwards finds it as it was. */
static int reading_only_changes_nothing(void *arg)
{
    struct members *s = arg;
    struct filter_fault_plan bad = {.seed = 1,
                                    .fail_kinds = 1u << BLK_READ,
                                    .fail_from = 1,
                                    .fail_until = 2,
                                    .error = -EIO};
    char *model = calloc(1, DISK_BYTES);
    uint32_t sum[2];

    begin(s, 2, false);
    open_mirror(s, 3, plain);
    members_write(s, model, DISK_BYTES, 64);
    filter_fault_cut(s->lower[1]);
    for (unsigned i = 0; i < 20; i++) { /* which only the first one gets */
        members_write(s, model, DISK_BYTES, 64);
    }
    members_close(s);
    sum[0] = sum_of(s, 0);
    sum[1] = sum_of(s, 1);
    open_reader(s, 3, reader);
    must(blk_is_read_only(s->disk) && status_of(s).state == MIRROR_REBUILDING);
    for (unsigned i = 0; i < 4; i++) {
        members_compare(s, model, DISK_BYTES);
    }
    must(blk_write(s->disk, model, 512, 0, 0) == -EROFS);
    must(mirror_fail(s->disk, 0, NULL) == -EBUSY);
    loop_sleep(s->loop, 20000000); /* nobody is made equal behind our back */
    must(status_of(s).copied_bytes == 0);
    members_close(s);
    must(sum_of(s, 0) == sum[0] && sum_of(s, 1) == sum[1]);
    open_mirror(s, 3, plain);
    wait_until_ok(s);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    must_be_equal(s, 0, 1);
    sum[0] = sum_of(s, 0);
    sum[1] = sum_of(s, 1);
    open_reader(s, 3, reader);
    filter_fault_plan(s->lower[0], &bad);
    filter_fault_plan(s->lower[1], &(struct filter_fault_plan){0});
    members_compare(s, model, DISK_BYTES); /* a read error is answered, not repaired */
    members_close(s);
    open_reader(s, 1, lone_reader);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    must(sum_of(s, 0) == sum[0] && sum_of(s, 1) == sum[1]);
    members_drop(s);
    free(model);
    return 0;
}

/* ---- scrubs, and another member in use ---- */

/* Others write meanwhile. */
static int breathe(void *arg, uint64_t done, uint64_t total)
{
    struct members *s = arg;

    (void)done;
    (void)total;
    loop_sleep(s->loop, 20000);
    return 0;
}

static void scrub(struct members *s, bool mend, uint64_t wrong, uint64_t mended)
{
    struct mirror_scrub x = {.mend = mend, .progress = breathe, .arg = s};

    must_be_0(mirror_scrub(s->disk, &x));
    must(x.regions == DISK_BYTES / REGION);
    must(x.wrong == wrong && x.mended == mended);
}

/* Bytes of a member's data area that nobody wrote. */
static void corrupt(struct members *s, unsigned i, uint64_t off)
{
    char block[512];

    memset(block, 0xc7, sizeof block);
    must_be_0(blk_write(s->base[i], block, sizeof block, 131072 + off, 0));
}

struct writer {
    struct members *s;
    char *model;
    bool stop;
    bool ended;
    unsigned writes;
};

static void write_on(void *arg)
{
    struct writer *w = arg;

    while (!w->stop) {
        members_write(w->s, w->model, DISK_BYTES, 64);
        w->writes++;
        loop_sleep(w->s->loop, 20000);
    }
    w->ended = true;
}

static void end_writer(struct writer *w)
{
    w->stop = true;
    while (!w->ended) {
        loop_sleep(w->s->loop, 100000);
    }
}

/* Under writes, with one that follows and without: no difference where there is none, and each
 * one that there is. */
static int a_scrub_finds_what_differs(void *arg)
{
    struct members *s = arg;

    for (unsigned async = 0; async < 2; async++) {
        struct writer w = {.s = s, .model = calloc(1, DISK_BYTES)};

        begin(s, 2, async == 1);
        open_mirror(s, 3, plain);
        must_be_0(strand_start(loop_strands(s->loop), write_on, &w));
        for (unsigned i = 0; i < 20; i++) {
            scrub(s, i % 2 == 1, 0, 0);
        }
        end_writer(&w);
        must(w.writes > 20);
        must_be_0(blk_flush(s->disk));
        members_close(s);
        corrupt(s, 1, 5 * REGION);
        corrupt(s, 1, 9 * REGION + 4096);
        open_mirror(s, 3, plain);
        scrub(s, false, 2, 0);
        scrub(s, true, 2, 2);
        scrub(s, true, 0, 0);
        members_compare(s, w.model, DISK_BYTES);
        members_close(s);
        must_be_equal(s, 0, 1);
        members_drop(s);
        free(w.model);
    }
    return 0;
}

static int stop_at_half(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return done * 2 >= total ? -ECANCELED : 0;
}

/* Another disk for a member, under writes; the old one never counts again. */
static int a_member_is_replaced_in_use(void *arg)
{
    struct members *s = arg;
    struct writer w = {.s = s, .model = calloc(1, DISK_BYTES)};
    struct mirror_scrub half = {.progress = stop_at_half};

    begin(s, 2, false);
    members_add(s, MEMBER_BYTES);
    open_mirror(s, 3, plain);
    members_write(s, w.model, DISK_BYTES, 64);
    must_be_0(strand_start(loop_strands(s->loop), write_on, &w));
    loop_sleep(s->loop, 1000000);
    must_be_0(mirror_fail(s->disk, 1, NULL));
    must_be_0(mirror_replace(s->disk, 1, s->base[2], NULL));
    must(mirror_scrub(s->disk, &half) == -ECANCELED);
    must(half.regions == DISK_BYTES / REGION / 2);
    wait_until_ok(s);
    scrub(s, false, 0, 0);
    end_writer(&w);
    members_close(s);
    must_be_equal(s, 0, 2);
    open_mirror(s, 4, alone); /* the new one has all */
    members_compare(s, w.model, DISK_BYTES);
    members_close(s);
    open_mirror(s, 5, plain);
    wait_until_ok(s);
    members_close(s);
    open_mirror(s, 3, plain); /* the old one nothing that counts */
    wait_until_ok(s);
    must(status_of(s).copied_bytes == DISK_BYTES);
    members_close(s);
    members_drop(s);
    free(w.model);
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
        {.name = "mirror of 2",
         .lowers = 2,
         .lower_bytes = MEMBER_BYTES,
         .make = make_two,
         .open = open_two},
        {.name = "mirror of 3",
         .lowers = 3,
         .lower_bytes = MEMBER_BYTES,
         .make = make_three,
         .open = open_three},
        {.name = "mirror, asynchronous",
         .lowers = 2,
         .lower_bytes = MEMBER_BYTES,
         .make = make_async,
         .open = open_two},
    };

    run(only_what_differs_is_copied, "only what differs is copied");
    run(a_read_error_is_repaired, "a read error is repaired");
    run(a_member_comes_back_in_use, "a member comes back in use");
    run(grows_without_a_member, "grows without a member");
    run(a_cut_leaves_the_old_or_the_new_size, "a cut leaves the old or the new size");
    run(a_stale_member_never_wins, "a stale member never wins");
    run(a_half_saved_change_does_not_win, "a half saved change does not win");
    run(a_split_asks_for_a_winner, "a split asks for a winner");
    run(a_survivor_has_all_that_was_acknowledged, "a survivor has all");
    run(a_follower_is_a_past_within_the_window, "a follower is a past");
    run(a_dead_primary_comes_back_as_follower, "a dead primary comes back");
    run(hostile_superblocks_are_refused, "hostile superblocks are refused");
    run(reading_only_changes_nothing, "reading only changes nothing");
    run(a_scrub_finds_what_differs, "a scrub finds what differs");
    run(a_member_is_replaced_in_use, "a member is replaced in use");
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
