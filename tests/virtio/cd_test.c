/* cd_test.c - a CD drive behind a virtio SCSI host: what MMC and SPC say its commands answer, where a
 * disc's bytes go, and what happens to chains that break the rules.
 * rows: MIO-04 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/virtio/plug.h"
#include "virtio/scsi/cd.h"

#define BLOCKS   700u
#define REQUESTS 2u
#define HEAD     51u
#define ANSWER   108u

static const char digits[] = "0123456789";

struct bench {
    struct plug p;
    struct blk_edge edge;
    uint64_t head, answer; /* in the guest's memory */
};

static int fill(void *arg)
{
    struct bench *b = arg;
    struct blk *disk;
    uint8_t block[2048];
    int r = leaf_memory_create(loop_strands(b->p.loop), BLOCKS * 2048u,
                               BLK_BLOCK_LEAST_BYTES, &disk, NULL);

    b->edge = (struct blk_edge){
        .user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_ALL};
    r = r != 0 ? r : blk_attach(&b->edge, disk, NULL);
    for (unsigned i = 0; r == 0 && i < BLOCKS; i++) {
        memset(block, digits[i % 10], sizeof block);
        block[0] = (uint8_t)(i >> 8);
        block[1] = (uint8_t)i;
        r = blk_write(disk, block, sizeof block, i * 2048u, 0);
    }
    return r;
}

static int let_go(void *arg)
{
    blk_detach(&((struct bench *)arg)->edge);
    return 0;
}

static void begin(struct bench *b, uint64_t kind)
{
    struct virtio_device *d;

    memset(b, 0, sizeof *b);
    plug_init(&b->p);
    assert_int_equal(loop_do(b->p.loop, fill, b), 0);
    assert_int_equal(virtio_cd_create(b->p.loop, &b->edge, &d, NULL), 0);
    plug_in(&b->p, d);
    plug_start(&b->p, kind, 3);
    b->head = plug_room(&b->p, 64);
    b->answer = plug_room(&b->p, 256 * 2048);
}

static void end(struct bench *b)
{
    (void)loop_do(b->p.loop, let_go, b);
    plug_fini(&b->p);
}

struct outcome {
    int64_t bytes; /* that were written; -1: nothing came back */
    uint32_t sense_bytes, residual;
    uint8_t status, response;
    const uint8_t *sense, *data;
};

/* A command to a target and a unit, whose answer has so much room. */
static struct outcome tell(struct bench *b, const uint8_t *cdb, unsigned n, uint32_t room,
                           uint16_t where)
{
    const struct driver_piece pieces[] = {{b->head, HEAD, false},
                                          {b->answer, ANSWER, true},
                                          {b->answer + ANSWER, room, true}};
    uint8_t *head = plug_at(&b->p, b->head);
    uint8_t *at = plug_at(&b->p, b->answer);
    struct outcome o = {.sense = at + 12, .data = at + ANSWER};

    memset(head, 0, HEAD);
    memset(at, 0xee, ANSWER + room);
    head[0] = 1;
    head[1] = (uint8_t)(where >> 8);
    head[2] = 0x40;
    head[3] = (uint8_t)where;
    memcpy(head + 19, cdb, n);
    assert_true(plug_offer(&b->p, REQUESTS, pieces, room > 0 ? 3 : 2) >= 0);
    plug_kick(&b->p, REQUESTS);
    for (unsigned i = 0; i < 1000 && (o.bytes = plug_get(&b->p, REQUESTS, NULL)) < 0;
         i++) {
        (void)loop_turn(b->p.loop, 10);
    }
    memcpy(&o.sense_bytes, at, 4);
    memcpy(&o.residual, at + 4, 4);
    o.status = at[10];
    o.response = at[11];
    return o;
}

#define TELL(b, room, ...)                                                               \
    tell(b, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}),      \
         room, 0)

static void is_refused(struct outcome o, unsigned key, unsigned code)
{
    assert_int_equal(o.response, 0);
    assert_int_equal(o.status, 2);
    assert_int_equal(o.sense_bytes, 18);
    assert_int_equal(o.sense[0], 0x70);
    assert_int_equal(o.sense[2], key);
    assert_int_equal(o.sense[12] << 8 | o.sense[13], code);
    assert_int_equal(o.bytes, ANSWER);
}

static void is_answered(struct outcome o, const uint8_t *bytes, unsigned n)
{
    assert_int_equal(o.response, 0);
    assert_int_equal(o.status, 0);
    assert_int_equal(o.bytes, ANSWER + n);
    assert_memory_equal(o.data, bytes, n);
}

#define ANSWERS(o, ...)                                                                  \
    is_answered(o, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void it_says_what_it_is(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct bench b;
        struct outcome o;

        begin(&b, plug_kinds[k]);
        o = TELL(&b, 36, 0x12, 0, 0, 0, 36, 0);
        assert_int_equal(o.bytes, ANSWER + 36);
        assert_int_equal(o.data[0], 5);    /* SPC-4 6.6.2: CD/DVD device */
        assert_int_equal(o.data[1], 0x80); /* removable */
        assert_memory_equal(o.data + 8, "STRATA  CD-ROM          1.0 ", 28);
        o = TELL(&b, 96, 0x12, 0, 0, 0, 5, 0); /* cut */
        assert_int_equal(o.bytes, ANSWER + 5);
        assert_int_equal(o.residual, 91);
        ANSWERS(TELL(&b, 16, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16), 0, 0, 0, 8, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0);
        ANSWERS(TELL(&b, 8, 0x25), 0, 0, 0x02, 0xbb, 0, 0, 8,
                0); /* the last block; 2048 */
        assert_int_equal(TELL(&b, 0, 0x00).status, 0);
        end(&b);
    }
}

/* MMC-5 6.26: one track of data, and where it ends; block 700 is 00:11:25 behind 00:02:00. */
static void its_table_of_contents_has_one_track(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, 0);
    ANSWERS(TELL(&b, 20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20), 0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0,
            0, 0, 0, 0x14, 0xaa, 0, 0, 0, 2, 0xbc);
    ANSWERS(TELL(&b, 20, 0x43, 2, 0, 0, 0, 0, 0, 0, 20), 0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0,
            2, 0, 0, 0x14, 0xaa, 0, 0, 0, 11, 25);
    ANSWERS(TELL(&b, 12, 0x43, 0, 0, 0, 0, 0, 0xaa, 0, 12), 0, 10, 1, 1, 0, 0x14, 0xaa, 0,
            0, 0, 2, 0xbc);
    ANSWERS(TELL(&b, 12, 0x43, 0, 1, 0, 0, 0, 0, 0, 12), 0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0,
            0, 0);
    ANSWERS(TELL(&b, 48, 0x43, 2, 2, 0, 0, 0, 1, 0, 48), 0, 46, 1, 1, 1, 0x14, 0, 0xa0, 0,
            0, 0, 0, 1, 0, 0, 1, 0x14, 0, 0xa1, 0, 0, 0, 0, 1, 0, 0, 1, 0x14, 0, 0xa2, 0,
            0, 0, 0, 0, 11, 25, 1, 0x14, 0, 1, 0, 0, 0, 0, 0, 2, 0);
    is_refused(TELL(&b, 20, 0x43, 0, 0, 0, 0, 0, 2, 0, 20), 5, 0x2400); /* no track 2 */
    is_refused(TELL(&b, 20, 0x43, 0, 5, 0, 0, 0, 0, 0, 20), 5, 0x2400); /* no CD-TEXT */
    end(&b);
}

static void it_tells_of_its_state(void **state)
{
    struct bench b;
    struct outcome o;

    (void)state;
    begin(&b, 0);
    ANSWERS(TELL(&b, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 0, 6, 4, 0x10, 0, 2, 0, 0);
    ANSWERS(TELL(&b, 8, 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8), 0, 2, 0x80, 0x10);
    is_refused(TELL(&b, 8, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8), 5, 0x2400);
    o = TELL(&b, 200, 0x46, 0, 0, 0, 0, 0, 0, 0, 200); /* features: CD-ROM is current */
    assert_int_equal(o.data[3] + 4, o.bytes - ANSWER);
    assert_int_equal(o.data[7], 8);
    o = TELL(&b, 200, 0x46, 2, 0, 0x1e, 0, 0, 0, 0, 200);
    assert_int_equal(o.bytes, ANSWER + 16);
    assert_int_equal(o.data[9], 0x1e);
    o = TELL(&b, 128, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128);
    assert_int_equal(o.bytes, ANSWER + 30);
    assert_int_equal(o.data[1], 28);
    assert_int_equal(o.data[8], 0x2a);
    o = TELL(&b, 128, 0x1a, 0, 0x3f, 0, 128, 0);
    assert_int_equal(o.data[0] + 1, o.bytes - ANSWER);
    is_refused(TELL(&b, 128, 0x1a, 0, 0x08, 0, 128, 0), 5, 0x2400);
    ANSWERS(TELL(&b, 8, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8), 0, 0, 0, 0, 0, 0, 0, 0);
    o = TELL(&b, 34, 0x51, 0, 0, 0, 0, 0, 0, 0, 34);
    assert_int_equal(o.data[1], 32);
    assert_int_equal(o.data[2], 0x0e);
    o = TELL(&b, 18, 0x03, 0, 0, 0, 18, 0);
    assert_int_equal(o.data[2], 0);
    is_refused(TELL(&b, 0, 0x2a), 5, 0x2000); /* nothing writes */
    end(&b);
}

static void blocks_of_the_disc_are_read(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct bench b;
        struct outcome o;

        begin(&b, plug_kinds[k]);
        o = TELL(&b, 3 * 2048, 0x28, 0, 0, 0, 2, 0x01, 0, 0, 3); /* 513.. */
        assert_int_equal(o.status, 0);
        assert_int_equal(o.bytes, ANSWER + 3 * 2048);
        assert_int_equal(o.residual, 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(o.data[i * 2048] << 8 | o.data[i * 2048 + 1], 513 + i);
            assert_int_equal(o.data[i * 2048 + 2047], digits[(513 + i) % 10]);
        }
        o = TELL(&b, 100 * 2048, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 100);
        assert_int_equal(o.bytes, ANSWER + 100 * 2048);
        assert_int_equal(o.data[99 * 2048 + 1], 99);
        o = TELL(&b, 2048, 0x28, 0, 0, 0, 2, 0xbb, 0, 0, 1); /* the last one */
        assert_int_equal(o.data[1], 0xbb);
        is_refused(TELL(&b, 2 * 2048, 0x28, 0, 0, 0, 2, 0xbb, 0, 0, 2), 5, 0x2100);
        is_refused(TELL(&b, 2048, 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1), 5, 0x2100);
        assert_int_equal(TELL(&b, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0).status, 0); /* none */
        o = TELL(&b, 2047, 0x28, 0, 0, 0, 0, 0, 0, 0, 1); /* no room */
        assert_int_equal(o.response, 1);
        end(&b);
    }
}

/* An installer's last act; and the host's machine starts again. */
static void a_tray_that_is_open_has_no_disc(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, 0);
    assert_int_equal(TELL(&b, 0, 0x1e, 0, 0, 0, 1, 0).status, 0);
    is_refused(TELL(&b, 0, 0x1b, 0, 0, 0, 2, 0), 5, 0x5302); /* locked */
    assert_int_equal(TELL(&b, 0, 0x1e, 0, 0, 0, 0, 0).status, 0);
    assert_int_equal(TELL(&b, 0, 0x1b, 0, 0, 0, 2, 0).status, 0);
    is_refused(TELL(&b, 0, 0x00), 2, 0x3a00);
    is_refused(TELL(&b, 2048, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), 2, 0x3a00);
    ANSWERS(TELL(&b, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 0, 6, 4, 0x10, 0, 1, 0, 0);
    plug_reset(&b.p);
    plug_start(&b.p, 0, 3);
    is_refused(TELL(&b, 0, 0x00), 2, 0x3a00);
    assert_int_equal(TELL(&b, 0, 0x1b, 0, 0, 0, 3, 0).status, 0);
    is_refused(TELL(&b, 0, 0x00), 6, 0x2800); /* told once that there is another disc */
    assert_int_equal(TELL(&b, 0, 0x00).status, 0);
    end(&b);
}

static void others_than_the_drive_are_not_there(void **state)
{
    const uint8_t inquiry[6] = {0x12, 0, 0, 0, 36, 0};
    const uint8_t ready[6] = {0};
    struct bench b;
    struct outcome o;

    (void)state;
    begin(&b, 0);
    assert_int_equal(tell(&b, inquiry, 6, 36, 0x0100).response, 3); /* no such target */
    o = tell(&b, inquiry, 6, 36, 1);
    assert_int_equal(o.data[0], 0x7f);
    is_refused(tell(&b, ready, 6, 0, 1), 5, 0x2500);
    end(&b);
}

static void a_driver_that_breaks_the_rules_is_told(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        for (unsigned what = 0; what < 2; what++) {
            struct bench b;

            begin(&b, plug_kinds[k]);
            {
                const struct driver_piece pieces[] = {
                    {b.head, what == 0 ? HEAD - 1 : HEAD, false},
                    {b.answer, what == 0 ? ANSWER : ANSWER - 1, true}};

                assert_true(plug_offer(&b.p, REQUESTS, pieces, 2) >= 0);
            }
            plug_kick(&b.p, REQUESTS);
            assert_int_equal(b.p.broken, 1);
            assert_int_equal(plug_get(&b.p, REQUESTS, NULL), -1);
            end(&b);
        }
    }
}

static void many_requests_are_answered_and_a_pause_waits_for_them(void **state)
{
    struct bench b;
    unsigned got = 0;

    (void)state;
    begin(&b, 0);
    {
        uint8_t *head = plug_at(&b.p, b.head);

        memset(head, 0, HEAD);
        head[0] = 1;
        memcpy(head + 19, (const uint8_t[]){0x28, 0, 0, 0, 0, 7, 0, 0, 1}, 9);
    }
    for (unsigned i = 0; i < 40; i++) {
        uint64_t at = b.answer + i * 4096;
        const struct driver_piece pieces[] = {{b.head, HEAD, false},
                                              {at, ANSWER + 2048, true}};

        assert_true(plug_offer(&b.p, REQUESTS, pieces, 2) >= 0);
    }
    plug_kick(&b.p, REQUESTS);
    plug_pause(&b.p);
    plug_resume(&b.p);
    for (unsigned i = 0; i < 1000 && got < 40; i++) {
        (void)loop_turn(b.p.loop, 1);
        while (plug_get(&b.p, REQUESTS, NULL) == ANSWER + 2048) {
            got++;
        }
    }
    assert_int_equal(got, 40);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(plug_at(&b.p, b.answer)[i * 4096 + ANSWER + 1], 7);
    }
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_is),
        cmocka_unit_test(its_table_of_contents_has_one_track),
        cmocka_unit_test(it_tells_of_its_state),
        cmocka_unit_test(blocks_of_the_disc_are_read),
        cmocka_unit_test(a_tray_that_is_open_has_no_disc),
        cmocka_unit_test(others_than_the_drive_are_not_there),
        cmocka_unit_test(a_driver_that_breaks_the_rules_is_told),
        cmocka_unit_test(many_requests_are_answered_and_a_pause_waits_for_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
