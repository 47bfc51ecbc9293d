/* scsi_test.c - logical units without a network: commands in, status and data out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/private.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define BLOCKS     2048
#define BLOCK      512
#define TURNS_MOST 200000
#define ROOM       (64 * 1024)

struct world {
    struct loop *loop;
    struct blk *disk;
    struct scsi_unit *unit;
    struct scsi_nexus nexus[2];
    struct scsi_view view;
    uint8_t kept[8192];
    size_t kept_bytes;
};

struct shot {
    struct scsi_command c; /* first */
    unsigned ends;
};

static int store(void *arg, const void *bytes, size_t count)
{
    struct world *w = arg;

    must(count <= sizeof w->kept);
    memcpy(w->kept, bytes, count);
    w->kept_bytes = count;
    return 0;
}

static int add_unit(void *arg)
{
    struct world *w = arg;
    struct iscsi_unit_options o = {.keep = {store, w}};
    struct filter_fault_plan plan = {.seed = 1, .delay_one_in = 2, .delay_ns = 20000};

    if (w->kept_bytes > 0) {
        o.kept = w->kept;
        o.kept_bytes = w->kept_bytes;
    }
    must_be_0(
        leaf_memory_create(loop_strands(w->loop), BLOCKS * BLOCK, BLOCK, &o.disk, NULL));
    must_be_0(filter_fault_create(w->loop, o.disk, &plan, &o.disk, NULL));
    must_be_0(scsi_unit_create(w->loop, &o, "iqn.t:a", &w->unit, NULL));
    w->disk = o.disk;
    for (unsigned i = 0; i < 2; i++) {
        w->nexus[i] = (struct scsi_nexus){.name = i == 0 ? "iqn.i:0" : "iqn.i:1",
                                          .port = (uint16_t)(i + 1)};
        scsi_nexus_enter(&w->nexus[i], w->unit);
        w->nexus[i].attentions = 0;
    }
    w->view = (struct scsi_view){w->nexus, 1};
    return 0;
}

static int remove_unit(void *arg)
{
    struct world *w = arg;

    scsi_nexus_leave(&w->nexus[0]);
    scsi_nexus_leave(&w->nexus[1]);
    scsi_unit_free(w->unit);
    return 0;
}

static int start(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &w->loop, NULL), 0);
    assert_int_equal(loop_do(w->loop, add_unit, w), 0);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;

    assert_int_equal(loop_do(w->loop, remove_unit, w), 0);
    loop_destroy(w->loop);
    free(w);
    return 0;
}

static void ended(struct scsi_command *c)
{
    ((struct shot *)c)->ends++;
}

static void make_room(struct shot *s, size_t bytes)
{
    if (s->c.room < bytes) {
        free(s->c.data);
        s->c.data = malloc(bytes);
        s->c.room = bytes;
        assert_non_null(s->c.data);
    }
}

/* Begin a command with `out` as its data. */
static void begin(struct world *w, struct shot *s, unsigned who, const uint8_t cdb[16],
                  const void *out, size_t out_bytes)
{
    s->c.unit = w->unit;
    s->c.nexus = &w->nexus[who];
    s->c.view = &w->view;
    s->c.done = ended;
    s->ends = 0;
    memcpy(s->c.cdb, cdb, SCSI_CDB_BYTES);
    if (!scsi_prepare(&s->c)) {
        s->ends++;
        return;
    }
    make_room(s, scsi_room(&s->c) > ROOM ? scsi_room(&s->c) : ROOM);
    s->c.announced = out_bytes;
    s->c.out_bytes = out_bytes < s->c.wanted ? out_bytes : s->c.wanted;
    if (out_bytes > 0) {
        memcpy(s->c.data, out, out_bytes);
    }
    scsi_run(&s->c);
    scsi_unit_reap(w->unit);
}

static void finish(struct world *w, struct shot *s)
{
    for (unsigned i = 0; s->ends == 0; i++) {
        assert_true(i < TURNS_MOST);
        assert_int_equal(loop_turn(w->loop, 1), 0);
    }
    assert_int_equal(s->ends, 1);
}

static uint8_t run(struct world *w, struct shot *s, unsigned who, const uint8_t cdb[16],
                   const void *out, size_t out_bytes)
{
    begin(w, s, who, cdb, out, out_bytes);
    finish(w, s);
    return s->c.status;
}

static unsigned asc(const struct shot *s)
{
    return get16(s->c.sense + 12);
}

#define CDB(...)                                                                         \
    (const uint8_t[16])                                                                  \
    {                                                                                    \
        __VA_ARGS__                                                                      \
    }
#define NONE        NULL, 0
#define TEST_READY  CDB(0)
#define READ_ONE(n) CDB(0x28, 0, 0, 0, 0, n, 0, 0, 1)

static void blocks_are_read_as_written(void **state)
{
    struct world *w = *state;
    struct shot s = {0};
    uint8_t block[BLOCK];

    memset(block, 0x5a, sizeof block);
    assert_int_equal(run(w, &s, 0, CDB(0x2a, 8, 0, 0, 0, 7, 0, 0, 1), block, BLOCK), 0);
    assert_int_equal(run(w, &s, 1, READ_ONE(7), NONE), 0);
    assert_int_equal(s.c.in_bytes, BLOCK);
    assert_memory_equal(s.c.data, block, BLOCK);
    assert_int_equal(run(w, &s, 0, CDB(0x28, 0, 0, 0, 8, 0, 0, 0, 1), NONE),
                     SCSI_CHECK_CONDITION); /* 2048, one past the end */
    assert_int_equal(asc(&s), SCSI_ASC_BAD_LBA);
    assert_int_equal(run(w, &s, 0, CDB(0x28, 0x20, 0, 0, 0, 0, 0, 0, 1), NONE),
                     SCSI_CHECK_CONDITION); /* RDPROTECT */
    assert_int_equal(asc(&s), SCSI_ASC_BAD_FIELD);
    assert_int_equal(run(w, &s, 0, CDB(0xff), NONE), SCSI_CHECK_CONDITION);
    assert_int_equal(asc(&s), SCSI_ASC_BAD_OPCODE);
    free(s.c.data);
}

static void compare_and_write_is_one_step(void **state)
{
    enum {
        SHOTS = 8,
        ROUNDS = 40
    };

    struct world *w = *state;
    struct shot s[SHOTS] = {0};
    struct shot look = {0};
    uint8_t data[SHOTS][2 * BLOCK];
    uint32_t won = 0;

    /* All want to raise the number in block 3 by one: each round exactly one does. */
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned good = 0;

        for (unsigned i = 0; i < SHOTS; i++) {
            memset(data[i], 0, sizeof data[i]);
            put32(data[i], won);
            put32(data[i] + BLOCK, won + 1);
            begin(w, &s[i], i % 2, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1),
                  data[i], 2 * BLOCK);
        }
        for (unsigned i = 0; i < SHOTS; i++) {
            finish(w, &s[i]);
            good += s[i].c.status == SCSI_GOOD;
            assert_true(s[i].c.status == SCSI_GOOD ||
                        (s[i].c.sense[2] == SCSI_MISCOMPARE && s[i].c.sense[6] == 3));
        }
        assert_int_equal(good, 1);
        won++;
        assert_int_equal(run(w, &look, 0, READ_ONE(3), NONE), 0);
        assert_int_equal(get32(look.c.data), won);
    }
    for (unsigned i = 0; i < SHOTS; i++) {
        free(s[i].c.data);
    }
    free(look.c.data);
}

static void attentions_are_told_once(void **state)
{
    struct world *w = *state;
    struct shot s = {0};

    scsi_attention(w->unit, SCSI_UA_POWER_ON, NULL);
    scsi_unit_reset(w->unit);
    assert_int_equal(run(w, &s, 0, CDB(0x12, 0, 0, 0, 96), NONE), SCSI_GOOD);
    assert_int_equal(run(w, &s, 0, TEST_READY, NONE), SCSI_CHECK_CONDITION);
    assert_int_equal(asc(&s), SCSI_ASC_POWER_ON);
    assert_int_equal(run(w, &s, 0, TEST_READY, NONE), SCSI_CHECK_CONDITION);
    assert_int_equal(asc(&s), SCSI_ASC_RESET);
    assert_int_equal(run(w, &s, 0, TEST_READY, NONE), SCSI_GOOD);
    assert_int_equal(run(w, &s, 1, CDB(0x03, 0, 0, 0, 18), NONE), SCSI_GOOD);
    assert_int_equal(get16(s.c.data + 12), SCSI_ASC_POWER_ON);
    free(s.c.data);
}

static void disk_errors_have_a_sense(void **state)
{
    struct world *w = *state;

    static const struct {
        int error;
        unsigned key;
    } rows[] = {{-EIO, SCSI_MEDIUM_ERROR},
                {-ENOSPC, SCSI_DATA_PROTECT},
                {-ENODEV, SCSI_HARDWARE_ERROR}};
    struct shot s = {0};
    uint8_t block[BLOCK] = {0};

    for (unsigned i = 0; i < 3; i++) {
        struct filter_fault_plan plan = {.fail_kinds = 1 << BLK_WRITE,
                                         .fail_from = 1,
                                         .fail_until = 100,
                                         .error = rows[i].error};

        filter_fault_plan(w->disk, &plan);
        assert_int_equal(run(w, &s, 0, CDB(0x2a, 0, 0, 0, 0, 1, 0, 0, 1), block, BLOCK),
                         SCSI_CHECK_CONDITION);
        assert_int_equal(s.c.sense[2], rows[i].key);
    }
    free(s.c.data);
}

/* ---- persistent reservations ---- */

static uint8_t persist(struct world *w, struct shot *s, unsigned who,
                       const uint8_t how[2], const uint64_t keys[2], bool survives)
{
    uint8_t list[24] = {0};

    put64(list, keys[0]);
    put64(list + 8, keys[1]);
    list[20] = survives;
    return run(w, s, who, CDB(0x5f, how[0], how[1], 0, 0, 0, 0, 0, 24), list, 24);
}

#define HOW(action, type) ((const uint8_t[]){action, type})
#define KEYS(own, other)  ((const uint64_t[]){own, other})

static void reservations_stop_others(void **state)
{
    static const struct {
        uint8_t type;
        bool other_reads; /* registered and not, and so on */
        bool other_writes;
        bool registered_reads;
        bool registered_writes;
    } rows[] = {{1, true, false, true, false}, {3, false, false, false, false},
                {5, true, false, true, true},  {6, false, false, true, true},
                {7, true, false, true, true},  {8, false, false, true, true}};
    struct world *w = *state;
    struct shot s = {0};
    uint8_t block[BLOCK] = {0};

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned registered = 0; registered < 2; registered++) {
            bool reads = registered ? rows[i].registered_reads : rows[i].other_reads;
            bool writes = registered ? rows[i].registered_writes : rows[i].other_writes;

            assert_int_equal(persist(w, &s, 0, HOW(0, 0), KEYS(0, 11), false), 0);
            if (registered) {
                assert_int_equal(persist(w, &s, 1, HOW(0, 0), KEYS(0, 22), false), 0);
            }
            assert_int_equal(persist(w, &s, 0, HOW(1, rows[i].type), KEYS(11, 0), false),
                             0);
            assert_int_equal(run(w, &s, 1, READ_ONE(0), NONE),
                             reads ? SCSI_GOOD : SCSI_RESERVATION_CONFLICT);
            assert_int_equal(
                run(w, &s, 1, CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1), block, BLOCK),
                writes ? SCSI_GOOD : SCSI_RESERVATION_CONFLICT);
            assert_int_equal(
                run(w, &s, 0, CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1), block, BLOCK),
                SCSI_GOOD);
            assert_int_equal(persist(w, &s, 0, HOW(3, 0), KEYS(11, 0), false), 0);
            w->nexus[1].attentions = 0;
        }
    }
    free(s.c.data);
}

static void reservations_survive_if_asked(void **state)
{
    struct world *w = *state;
    struct shot s = {0};

    for (unsigned survives = 0; survives < 2; survives++) {
        assert_int_equal(persist(w, &s, 0, HOW(6, 0), KEYS(0, 11), survives), 0);
        assert_int_equal(persist(w, &s, 1, HOW(6, 0), KEYS(0, 22), survives), 0);
        assert_int_equal(persist(w, &s, 1, HOW(1, 3), KEYS(22, 0), survives), 0);
        assert_int_equal(loop_do(w->loop, remove_unit, w), 0);
        assert_int_equal(loop_do(w->loop, add_unit, w), 0);
        assert_int_equal(w->unit->registration_count, survives ? 2 : 0);
        assert_int_equal(run(w, &s, 0, READ_ONE(0), NONE),
                         survives ? SCSI_RESERVATION_CONFLICT : SCSI_GOOD);
        assert_int_equal(run(w, &s, 1, READ_ONE(0), NONE), SCSI_GOOD);
    }
    /* Preempt with another's key: it goes, and the reservation changes hands. */
    assert_int_equal(persist(w, &s, 0, HOW(4, 1), KEYS(11, 22), true), 0);
    assert_int_equal(run(w, &s, 1, READ_ONE(0), NONE), SCSI_CHECK_CONDITION);
    assert_int_equal(asc(&s), SCSI_ASC_REGISTRATIONS_PREEMPTED);
    assert_int_equal(w->unit->registration_count, 1);
    assert_int_equal(w->unit->type, 1);
    free(s.c.data);
}

static void kept_bytes_are_checked(void **state)
{
    struct world *w = *state;
    struct shot s = {0};
    struct scsi_unit u = {0};
    uint8_t kept[sizeof w->kept];
    size_t count;

    assert_int_equal(persist(w, &s, 0, HOW(6, 0), KEYS(0, 11), true), 0);
    assert_int_equal(persist(w, &s, 0, HOW(1, 1), KEYS(11, 0), true), 0);
    count = w->kept_bytes;
    for (size_t i = 0; i < count * 8; i++) {
        memcpy(kept, w->kept, count);
        kept[i / 8] ^= (uint8_t)(1u << i % 8);
        (void)scsi_reservations_load(&u, kept, count);
        scsi_reservations_free(&u);
    }
    for (size_t n = 0; n < count; n++) {
        assert_int_equal(scsi_reservations_load(&u, w->kept, n), -EUCLEAN);
        scsi_reservations_free(&u);
    }
    free(s.c.data);
}

/* ---- any command ---- */

static void any_cdb_ends_once(void **state)
{
    struct world *w = *state;
    struct shot s = {0};
    uint64_t seed = 7;
    static uint8_t data[ROOM];

    for (unsigned i = 0; i < 20000; i++) {
        uint8_t cdb[16];
        const struct scsi_row *row = &scsi_rows[suite_random(&seed) % scsi_row_count];
        size_t n = suite_random(&seed) % 3 == 0 ? suite_random(&seed) % ROOM : 2 * BLOCK;

        for (unsigned b = 0; b < 16; b++) {
            cdb[b] = (uint8_t)(suite_random(&seed) % 4 == 0 ? suite_random(&seed) : 0);
        }
        cdb[0] = suite_random(&seed) % 16 == 0 ? cdb[0] : row->opcode;
        cdb[1] = (uint8_t)(row->action >= 0 ? row->action : cdb[1]);
        for (size_t b = 0; b < 64; b++) {
            data[b] = (uint8_t)suite_random(&seed);
        }
        s.c.cdb[0] = cdb[0];
        begin(w, &s, i % 2, cdb, data, 0);
        finish(w, &s);
        if (row->shape != SCSI_BLOCKS_OUT && row->shape != SCSI_BLOCKS_IN) {
            begin(w, &s, i % 2, cdb, data, n < 64 ? n : 64);
            finish(w, &s);
        }
        assert_true(s.c.in_bytes <= s.c.room);
        if (i % 16 == 0) { /* what stops others, and what waits to be told, goes */
            scsi_unit_reset(w->unit);
            scsi_reservations_free(w->unit);
            w->nexus[0].attentions = 0;
            w->nexus[1].attentions = 0;
        }
    }
    free(s.c.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_read_as_written, start, stop),
        cmocka_unit_test_setup_teardown(compare_and_write_is_one_step, start, stop),
        cmocka_unit_test_setup_teardown(attentions_are_told_once, start, stop),
        cmocka_unit_test_setup_teardown(disk_errors_have_a_sense, start, stop),
        cmocka_unit_test_setup_teardown(reservations_stop_others, start, stop),
        cmocka_unit_test_setup_teardown(reservations_survive_if_asked, start, stop),
        cmocka_unit_test_setup_teardown(kept_bytes_are_checked, start, stop),
        cmocka_unit_test_setup_teardown(any_cdb_ends_once, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
