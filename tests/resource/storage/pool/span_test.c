/* span_test.c - a span with full and lost pieces, and pieces that come and go. */
#include "resource/storage/pool/span.h"

#include "tests/resource/storage/redundancy/members.h"

#define SEGMENT ((uint64_t)65536)
#define MAP     4 /* the last member */

struct bench {
    struct members m; /* first: MAP pieces and the map */
    uint64_t room[MAP];
    char block[65536];
};

static uint64_t room_of(void *arg, unsigned piece)
{
    const struct bench *s = arg;

    return piece < MAP ? s->room[piece] : 0;
}

static void begin(struct bench *s, unsigned pieces)
{
    struct place_span_shape shape = {.segment_bytes = SEGMENT, .pieces = pieces};

    for (unsigned i = 0; i <= MAP; i++) {
        members_add(&s->m, 0);
        s->m.base[i]->grows = true;
        s->room[i % MAP] = 1u << 20;
    }
    must_be_0(place_span_format(s->m.base[MAP], &shape, NULL));
}

/* Those of the bits, behind filters that can fail. */
static void open_with(struct bench *s, unsigned here, unsigned count, bool asks)
{
    struct place_span_options o = {
        .loop = s->m.loop, .pieces = count, .room = asks ? room_of : NULL, .room_arg = s};

    members_filter(&s->m, here | 1u << MAP);
    must_be_0(place_span_open(s->m.lower[MAP], s->m.lower, &o, &s->m.disk, NULL));
    members_hold(&s->m);
}

static void put(struct bench *s, uint64_t segment, int value)
{
    memset(s->block, value, sizeof s->block);
    must_be_0(blk_write(s->m.disk, s->block, sizeof s->block, segment * SEGMENT, 0));
}

static void expect(struct bench *s, uint64_t segment, int value)
{
    char want[65536];

    memset(want, value, sizeof want);
    must_be_0(blk_read(s->m.disk, s->block, sizeof s->block, segment * SEGMENT));
    must(memcmp(s->block, want, sizeof want) == 0);
}

static struct place_piece_status status(struct bench *s, unsigned piece)
{
    struct place_piece_status st;

    must_be_0(place_span_status(s->m.disk, piece, &st));
    return st;
}

static int where_most_room_is(void *arg)
{
    struct bench *s = arg;
    struct blk_extent x;

    begin(s, 3);
    s->room[1] = 3u << 20;
    open_with(s, 7, 3, true);
    put(s, 5, 1);
    must(place_span_where(s->m.disk, 5) == 1 && place_span_where(s->m.disk, 4) == -1);
    must_be_0(blk_status(s->m.disk, 5 * SEGMENT, SEGMENT, &x));
    must((x.state & BLK_PLACED) != 0 && x.holder == s->m.lower[1] && x.at == 5 * SEGMENT);
    must_be_0(blk_status(s->m.disk, 0, 6 * SEGMENT, &x));
    must((x.state & BLK_DATA) == 0 && x.bytes == SEGMENT);
    s->room[2] = 4u << 20;
    put(s, 6, 2);
    must(place_span_where(s->m.disk, 6) == 2);
    for (unsigned i = 0; i < 3; i++) {
        s->room[i] = 0;
    }
    must(blk_write(s->m.disk, s->block, 4096, 9 * SEGMENT, 0) == -ENOSPC);
    put(s, 5, 3); /* where it lies already */
    s->room[0] = 4096;
    put(s, 9, 4);
    must(place_span_where(s->m.disk, 9) == 0);
    must(status(s, 1).segments == 1 && status(s, 1).requests == 2);
    members_close(&s->m);
    open_with(s, 7, 3, true);
    expect(s, 5, 3);
    expect(s, 6, 2);
    expect(s, 9, 4);
    expect(s, 0, 0);
    members_close(&s->m);
    members_drop(&s->m);
    return 0;
}

static int a_full_piece_is_skipped(void *arg)
{
    struct bench *s = arg;
    struct filter_fault_plan full = {.fail_kinds = 1u << BLK_WRITE,
                                     .fail_from = 1,
                                     .fail_until = UINT64_MAX,
                                     .fail_partly = true,
                                     .error = -ENOSPC};
    char byte[4096];

    begin(s, 3);
    s->room[1] = 3u << 20;
    open_with(s, 7, 3, true);
    put(s, 0, 1);
    filter_fault_plan(s->m.lower[1], &full);
    put(s, 1, 2); /* it said that it had most room */
    must(place_span_where(s->m.disk, 1) != 1);
    must(status(s, 1).full && status(s, 1).errors == 1);
    must_be_0(blk_read(s->m.base[1], byte, sizeof byte, SEGMENT)); /* what it had got */
    must(byte[0] == 0);
    filter_fault_plan(s->m.lower[0], &full);
    filter_fault_plan(s->m.lower[2], &full);
    must(blk_write(s->m.disk, s->block, 4096, 7 * SEGMENT, 0) == -ENOSPC);
    must(place_span_where(s->m.disk, 7) == -1);
    must_be_0(blk_flush(s->m.disk));
    filter_fault_plan(s->m.lower[1], &s->m.plan); /* somebody made room */
    put(s, 7, 3);
    must(!status(s, 1).full);
    expect(s, 0, 1);
    expect(s, 1, 2);
    expect(s, 7, 3);
    members_close(&s->m);
    members_drop(&s->m);
    return 0;
}

static int a_lost_piece_costs_its_segments(void *arg)
{
    struct bench *s = arg;
    struct place_span_move how = {0};

    begin(s, 3);
    open_with(s, 7, 3, false);
    for (unsigned i = 0; i < 9; i++) {
        put(s, i, (int)i + 1);
    }
    members_close(&s->m);
    open_with(s, 5, 3, false); /* without piece 1 */
    must(status(s, 1).state == PLACE_PIECE_LOST && status(s, 1).segments == 3);
    for (unsigned i = 0; i < 9; i++) {
        if (place_span_where(s->m.disk, i) == 1) {
            struct blk_extent x;

            must(blk_read(s->m.disk, s->block, 4096, i * SEGMENT) == -ENODEV);
            must(blk_write(s->m.disk, s->block, 4096, i * SEGMENT, 0) == -ENODEV);
            must(blk_status(s->m.disk, i * SEGMENT, 4096, &x) == -ENODEV);
            must(place_span_move(s->m.disk, i, 0, &how, NULL) == -ENODEV);
        } else {
            expect(s, i, (int)i + 1);
        }
    }
    for (unsigned i = 9; i < 13; i++) {
        put(s, i, (int)i + 1);
    }
    must_be_0(blk_flush(s->m.disk));
    must(place_span_remove(s->m.disk, 1, NULL) == -EBUSY);
    must_be_0(blk_resize(s->m.disk, 8 * SEGMENT, NULL)); /* behind it, all is gone */
    must_be_0(blk_resize(s->m.disk, 13 * SEGMENT, NULL));
    members_close(&s->m);
    open_with(s, 7, 3, false); /* it is back */
    for (unsigned i = 0; i < 13; i++) {
        expect(s, i, i < 8 ? (int)i + 1 : 0);
    }
    members_close(&s->m);
    members_drop(&s->m);
    return 0;
}

/* Whatever its disk says while it is in use, it is only its own. */
static int a_piece_goes_while_in_use(void *arg)
{
    struct bench *s = arg;

    begin(s, 3);
    open_with(s, 7, 3, false);
    for (unsigned i = 0; i < 6; i++) {
        put(s, i, (int)i + 1);
    }
    must_be_0(blk_flush(s->m.disk));
    filter_fault_cut(s->m.lower[2]); /* -ENODEV from now on */
    for (unsigned i = 0; i < 6; i++) {
        if (place_span_where(s->m.disk, i) != 2) {
            put(s, i, (int)i + 11);
        } else {
            must(blk_write(s->m.disk, s->block, 4096, i * SEGMENT, 0) == -ENODEV);
        }
    }
    must(status(s, 2).state == PLACE_PIECE_LOST && status(s, 2).errors > 0);
    (void)blk_flush(s->m.disk); /* may tell once */
    must_be_0(blk_flush(s->m.disk));
    for (unsigned i = 6; i < 12; i++) {
        put(s, i, (int)i + 11);
        must(place_span_where(s->m.disk, i) != 2);
    }
    members_close(&s->m);
    open_with(s, 7, 3, false);
    for (unsigned i = 0; i < 12; i++) {
        expect(s, i, place_span_where(s->m.disk, i) == 2 ? (int)i + 1 : (int)i + 11);
    }
    members_close(&s->m);
    members_drop(&s->m);
    return 0;
}

static int stop_at(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *left = arg;

    must(done <= total);
    return (*left)-- == 0 ? -ECANCELED : 0;
}

static int pieces_come_and_go(void *arg)
{
    struct bench *s = arg;
    struct blk *fresh = NULL;
    struct err e = {0};
    uint64_t left = 3;
    struct place_span_move stops = {.progress = stop_at, .arg = &left};
    unsigned piece = 0;

    begin(s, 2);
    open_with(s, 3, 2, false);
    for (unsigned i = 0; i < 20; i++) {
        put(s, i, (int)i + 1);
    }
    must_be_0(filter_fault_create(s->m.loop, s->m.base[2], &s->m.plan, &fresh, NULL));
    must_be_0(place_span_add(s->m.disk, fresh, &piece, NULL));
    must(piece == 2 && place_span_pieces(s->m.disk) == 3);
    must(place_span_evacuate(s->m.disk, 0, &stops, &e) == -ECANCELED);
    must(status(s, 0).segments > 0 && status(s, 0).segments < 10);
    must_be_0(place_span_evacuate(s->m.disk, 0, NULL, NULL));
    must(status(s, 0).segments == 0);
    for (unsigned i = 0; i < 20; i++) {
        expect(s, i, (int)i + 1);
        must(place_span_where(s->m.disk, i) != 0);
    }
    put(s, 20, 21);
    must(place_span_where(s->m.disk, 20) != 0); /* nothing new on it */
    must_be_0(place_span_remove(s->m.disk, 0, NULL));
    must(place_span_remove(s->m.disk, 0, NULL) == -ENOENT);
    must(status(s, 0).state == PLACE_PIECE_REMOVED);
    members_close(&s->m);
    open_with(s, 6, 3, false);
    for (unsigned i = 0; i < 21; i++) {
        expect(s, i, (int)i + 1);
    }
    must_be_0(blk_resize(s->m.base[3], 0, NULL));
    must_be_0(filter_fault_create(s->m.loop, s->m.base[3], &s->m.plan, &fresh, NULL));
    must_be_0(place_span_add(s->m.disk, fresh, &piece, NULL));
    must(piece == 0); /* its number is used again */
    must_be_0(place_span_move(s->m.disk, 4, 0, NULL, NULL));
    must(place_span_where(s->m.disk, 4) == 0);
    expect(s, 4, 5);
    members_close(&s->m);
    members_drop(&s->m);
    return 0;
}

/* More pieces than the map knows: those that were to be added when the power went. */
static int pieces_that_are_new_are_added(void *arg)
{
    struct bench *s = arg;
    struct place_span_options o = {.pieces = 3};

    begin(s, 1);
    open_with(s, 1, 1, false);
    put(s, 0, 1);
    members_close(&s->m);
    open_with(s, 7, 3, false);
    must(place_span_pieces(s->m.disk) == 3);
    put(s, 1, 2);
    put(s, 2, 3);
    put(s, 3, 4);
    must(status(s, 0).segments == 2 && status(s, 1).segments == 1);
    must(place_span_remove(s->m.disk, 1, NULL) == -EBUSY);
    members_close(&s->m);
    members_filter(&s->m, 7u | 1u << MAP);
    o.loop = s->m.loop;
    o.read_only = true;
    must_be_0(place_span_open(s->m.lower[MAP], s->m.lower, &o, &s->m.disk, NULL));
    must(blk_is_read_only(s->m.disk));
    expect(s, 2, 3);
    blk_drop(s->m.disk);
    members_drop(&s->m);
    return 0;
}

/* A disk that is made a span goes on growing until it is opened as one. */
static int a_plain_disk_becomes_a_span(void *arg)
{
    struct bench *s = arg;
    struct place_span_shape shape = {
        .segment_bytes = SEGMENT, .pieces = 1, .on_first = true};

    begin(s, 1);
    memset(s->block, 9, sizeof s->block);
    must_be_0(blk_write(s->m.base[0], s->block, 8192, 5 * SEGMENT, 0));
    shape.size_bytes = blk_size(s->m.base[0]);
    must_be_0(place_span_format(s->m.base[MAP], &shape, NULL));
    must_be_0(blk_write(s->m.base[0], s->block, sizeof s->block, 8 * SEGMENT, 0));
    s->room[0] = 0;
    open_with(s, 3, 2, true);
    must(blk_size(s->m.disk) == 9 * SEGMENT);
    expect(s, 8, 9);
    put(s, 9, 7);
    must(place_span_where(s->m.disk, 9) == 1 && place_span_where(s->m.disk, 7) == 0);
    put(s, 7, 6); /* in the middle of the plain disk */
    members_close(&s->m);
    open_with(s, 3, 2, true);
    expect(s, 9, 7);
    expect(s, 7, 6);
    must(place_span_where(s->m.disk, 7) == 0);
    must(blk_size(s->m.disk) == 10 * SEGMENT);
    members_close(&s->m);
    members_drop(&s->m);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct bench *s = calloc(1, sizeof *s);

    s->m.random = 7;
    must_be_0(loop_create(LOOP_DRIVER_AUTO, &s->m.loop, NULL));
    must_be_0(loop_do(s->m.loop, test, s));
    loop_destroy(s->m.loop);
    free(s);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    run(where_most_room_is, "new segments go where most room is");
    run(a_full_piece_is_skipped, "a full piece is skipped");
    run(a_lost_piece_costs_its_segments, "a lost piece costs its segments");
    run(a_piece_goes_while_in_use, "a piece goes while in use");
    run(pieces_come_and_go, "pieces come and go");
    run(pieces_that_are_new_are_added, "pieces that are new are added");
    run(a_plain_disk_becomes_a_span, "a plain disk becomes a span");
    return 0;
}
