/* nvme_test.c - the NVMe controller does what NVM Express 1.4 says.
 *
 * rows: MIO-04 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "tests/virt/monitor/nvme/driver.h"
#include "tests/virt/monitor/snap_memory.h"

/* ---- what it is ---- */

static void registers_say_what_it_is(void **state)
{
    struct bench *b = *state;

    assert_int_equal(get(b, config(8), 4) >> 8, 0x010802);
    assert_int_equal(get(b, config(0x3d), 1), 1);
    assert_int_equal(get(b, REGS + CAP, 4) & 0x1ffff,
                     0x100ff);                         /* 256 entries, together */
    assert_int_equal(get(b, REGS + CAP + 4, 4), 0x20); /* stride 4, NVM, pages of 4K */
    assert_int_equal(get(b, REGS + CAP, 8),
                     get(b, REGS + CAP + 4, 4) << 32 | get(b, REGS + CAP, 4));
    assert_int_equal(get(b, REGS + VS, 4), 0x10400);
    assert_int_equal(get(b, REGS + VS + 2, 1), 1);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    put(b, REGS + ASQ, 4, 0x12345678);
    put(b, REGS + ASQ + 4, 4, 0x9);
    assert_int_equal(get(b, REGS + ASQ, 8), UINT64_C(0x912345000));
    put(b, REGS + VS, 4, 7);
    put(b, REGS + CSTS, 4, 0xff);
    put(b, REGS + CC + 1, 1, 0xff);
    put(b, REGS + CC, 2, 1);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    assert_int_equal(get(b, BELLS, 4), 0);
}

static void it_comes_up_or_says_that_it_cannot(void **state)
{
    struct bench *b = *state;

    put(b, REGS + CC, 4, 0x460001); /* queues of one entry */
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 2);
    disable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    put(b, REGS + AQA, 4, 0x70007);
    put(b, REGS + ASQ, 8, RAM_BYTES - 0x1000);
    put(b, REGS + ACQ, 8, REGS); /* its own registers */
    put(b, REGS + CC, 4, 0x460001);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 2);
    disable(b);
    put(b, REGS + ACQ, 8, ADMIN_CQ);
    put(b, REGS + CC, 4, 0x460081); /* pages of 8K */
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 2);
    disable(b);
    enable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 1);
    put(b, REGS + ASQ, 8, 0); /* stands while it is on */
    assert_int_equal(get(b, REGS + ASQ, 8), ADMIN_SQ);
    disable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    assert_int_equal(get(b, REGS + ASQ, 8), ADMIN_SQ);
}

static void identify_tells_controller_and_namespace(void **state)
{
    struct bench *b = *state;

    enable(b);
    memset(ram(b, PAGE), 0xee, 0x1000);
    assert_int_equal(admin(b, 6, 1, 0), 0);
    assert_memory_equal(ram(b, PAGE + 4), "of a test           ", 20);
    assert_memory_equal(ram(b, PAGE + 24), "Strata NVMe disk      ", 22);
    assert_int_equal(number(b, 77, 1), 7); /* 512 KiB */
    assert_int_equal(number(b, 80, 4), 0x10400);
    assert_int_equal(number(b, 256, 2), 0); /* nothing optional of the administrator */
    assert_int_equal(number(b, 512, 2), 0x4466);
    assert_int_equal(number(b, 516, 4), 1);
    assert_int_equal(number(b, 520, 2), 0xc);
    assert_int_equal(number(b, 525, 1) & 1, 1);
    assert_int_equal(number(b, 536, 4), 0); /* no SGLs */
    assert_memory_equal(ram(b, PAGE + 768), "nqn.2014-08.org.nvmexpress:uuid:", 32);
    assert_int_equal(strlen((char *)ram(b, PAGE + 768)), 68);

    assert_int_equal(run(b, 0, W(6, 1, PAGE, 0, 0)), 0);
    assert_int_equal(number(b, 0, 8), DISK_BYTES / 512);
    assert_int_equal(number(b, 26, 1), 0);
    assert_int_equal(number(b, 99, 1), 0);
    assert_int_equal(number(b, 128, 4), 9 << 16);
    assert_int_equal(run(b, 0, W(6, 2, PAGE, 0, 0)), 0xb);
    assert_int_equal(run(b, 0, W(6, UINT32_MAX, PAGE, 0, 0)), 0xb);

    assert_int_equal(admin(b, 6, 2, 0), 0); /* the list, from 0 on */
    assert_int_equal(number(b, 0, 8), 1);
    assert_int_equal(run(b, 0, W(6, 1, PAGE, 0, 2)), 0);
    assert_int_equal(number(b, 0, 4), 0);
    assert_int_equal(run(b, 0, W(6, UINT32_MAX - 1, PAGE, 0, 2)), 0xb);

    assert_int_equal(run(b, 0, W(6, 1, PAGE, 0, 3)), 0);
    assert_int_equal(number(b, 0, 4), 0x1003);
    assert_int_equal(number(b, 10, 1) >> 4, 8); /* a UUID of version 8 */
    assert_int_equal(number(b, 12, 1) >> 6, 2);
    assert_int_equal(number(b, 20, 4), 0);
    assert_int_equal(admin(b, 6, 0x55, 0), 2);
    assert_int_equal(admin(b, 0x80, 0, 0), 1); /* Format NVM */
    assert_int_equal(admin(b, 0x18, 0, 0), 1); /* Keep Alive */
}

static void blocks_are_as_large_as_the_disks(void **state)
{
    struct bench *b = *state;

    begin(b);
    assert_int_equal(run(b, 0, W(6, 1, PAGE, 0, 0)), 0);
    assert_int_equal(number(b, 0, 8), DISK_BYTES / 4096);
    assert_int_equal(number(b, 128, 4), 12 << 16);
    assert_int_equal(move(b, false, 3, 2, DATA, DATA + 4096), 0);
    assert_memory_equal(ram(b, DATA), b->disk->bytes + 3 * 4096, 8192);
    assert_int_equal(move(b, false, DISK_BYTES / 4096 - 1, 2, DATA, DATA + 4096), 0x80);
}

/* ---- queues ---- */

static void queues_are_made_and_deleted(void **state)
{
    struct bench *b = *state;

    enable(b);
    assert_int_equal(create_sq(b, 1, 16, 1), 0x100);
    assert_int_equal(create_cq(b, 0, 16), 0x101);
    assert_int_equal(create_cq(b, QUEUES + 1, 16), 0x101);
    assert_int_equal(create_cq(b, 1, 1), 0x102);
    assert_int_equal(create_cq(b, 1, 257), 0x102);
    assert_int_equal(run(b, 0, W(5, 0, IO, 0, 15 << 16 | 1, 1 << 16 | 2)), 2);
    assert_int_equal(run(b, 0, W(5, 0, IO + 512, 0, 15 << 16 | 1, 3)), 0x13);
    assert_int_equal(run(b, 0, W(5, 0, REGS, 0, 15 << 16 | 1, 3)), 4);
    assert_int_equal(run(b, 0, W(5, 0, IO, 0, 15 << 16 | 1, (QUEUES + 1) << 16 | 3)),
                     0x108);
    assert_int_equal(create_cq(b, 1, 16), 0);
    assert_int_equal(create_cq(b, 1, 16), 0x101);
    assert_int_equal(create_sq(b, 1, 16, 2), 0x100);
    assert_int_equal(create_sq(b, 2, 16, 1), 0); /* another one's answers */
    assert_int_equal(create_sq(b, 2, 16, 1), 0x101);
    assert_int_equal(admin(b, 4, 1, 0), 0x10c);
    assert_int_equal(admin(b, 0, 1, 0), 0x101);
    assert_int_equal(admin(b, 0, 0, 0), 0x101);
    assert_int_equal(admin(b, 0, 2, 0), 0);
    assert_int_equal(admin(b, 4, 1, 0), 0);
    assert_int_equal(admin(b, 4, 1, 0), 0x101);
    assert_int_equal(admin(b, 4, 0, 0), 0x101);
}

static void sizes_of_entries_must_be_ours(void **state)
{
    struct bench *b = *state;

    enable(b);
    put(b, REGS + CC, 4, 0x450001);
    assert_int_equal(create_cq(b, 1, 16), 0x102);
    put(b, REGS + CC, 4, 0x460001);
    assert_int_equal(create_cq(b, 1, 16), 0);
}

/* Deleted while a command is with the disk: it is answered first. */
static void a_queue_goes_when_its_commands_are_done(void **state)
{
    struct bench *b = *state;
    struct answer a;
    uint16_t read, delete;

    begin(b);
    b->disk->holds = true;
    read = add(b, 1, W(2, 1, DATA, 0, 0));
    ring_bell(b, 1);
    turn(b);
    delete = add(b, 0, W(0, 0, 0, 0, 1));
    ring_bell(b, 0);
    turn(b);
    assert_false(take(b, 0, &a));
    assert_int_equal(loop_do(b->loop, let_go, b->disk), 0);
    turn(b);
    assert_true(take(b, 1, &a));
    assert_int_equal(a.id, read);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.id, delete);
    assert_int_equal(a.status >> 1, 0);
}

/* Answers are given while there is room, in order, and go round with the other phase. */
static void a_full_queue_of_answers_waits(void **state)
{
    struct bench *b = *state;
    struct answer a;
    uint16_t first;
    unsigned got = 0;

    use_vectors(b);
    enable(b);
    b->ring[1] = (struct ring){IO + 0x10000, IO + 0x18000, 16, 0, 0, true};
    assert_int_equal(create_cq(b, 1, 4), 0);
    assert_int_equal(create_sq(b, 1, 16, 1), 0);
    first = b->next_id;
    for (unsigned i = 0; i < 15; i++) {
        (void)add(b, 1, W(2, 1, DATA, 0, i));
    }
    ring_bell(b, 1);
    turn(b);
    b->ring[1].entries = 4; /* of the answers */
    for (unsigned round = 0; round < 5; round++) {
        unsigned n = 0;

        for (; take(b, 1, &a); n++, got++) {
            assert_int_equal(a.id, (uint16_t)(first + got));
            assert_true(a.head >= 8 && a.head <= 15); /* in parts, if it takes long */
        }
        assert_int_equal(n, 3);
        assert_int_equal(b->sent[1], round + 1);
        free_room(b, 1);
        turn(b);
    }
    assert_false(take(b, 1, &a));
}

static void doorbells_that_cannot_be_are_told(void **state)
{
    struct bench *b = *state;
    struct answer a;
    uint16_t id;

    begin(b);
    id = add(b, 0, W(0xc, 0, 0, 0, 0));
    ring_bell(b, 0);
    turn(b);
    assert_false(take(b, 0, &a));
    put(b, BELLS + 8, 4, 16); /* behind the end */
    turn(b);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.id, id);
    assert_int_equal(a.result, 0x10100);
    free_room(b, 0);
    (void)add(b, 0, W(0xc, 0, 0, 0, 0));
    ring_bell(b, 0);
    turn(b);
    put(b, BELLS + 8, 4, 17);
    put(b, BELLS + 16, 4, 1); /* of a queue that is not there */
    turn(b);
    assert_false(take(b, 0, &a)); /* until the log was read */
    id = add(b, 0, W(2, 0, PAGE, 0, 15 << 16 | 1));
    ring_bell(b, 0);
    turn(b);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.result, 0x10000);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.id, id);
    free_room(b, 0);
    put(b, BELLS + 8, 4, 0);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 1);
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0); /* and it goes on */
}

/* ---- data ---- */

/* All offsets within a page, all lengths to the most, pages in any order. */
static void data_go_where_the_prps_say(void **state)
{
    struct bench *b = *state;
    uint8_t *flat = malloc(1 << 20);

    begin(b);
    for (unsigned round = 0; round < 200; round++) {
        unsigned blocks = round == 0 ? 1024 : 1 + (unsigned)rand() % 1024;
        unsigned bytes = blocks * 512;
        unsigned offset = round % 3 == 0 ? 0 : (unsigned)rand() % 1024 * 4;
        unsigned pages = (offset + bytes + 4095) / 4096;
        unsigned at_list = 8 * ((unsigned)rand() % 512);
        uint64_t lba = (uint64_t)rand() % (DISK_BYTES / 512 - blocks);
        uint64_t page[130];
        uint64_t prp2 = 0;
        bool writes = round % 2 != 0;

        for (unsigned i = 0; i < pages;
             i++) { /* every third page, backwards or forwards */
            unsigned n = round % 4 < 2 ? i : pages - 1 - i;

            page[i] = DATA + (round % 5 == 0 ? n : n * 3u) * 4096u;
        }
        if (pages == 2) {
            prp2 = page[1];
        } else if (pages > 2) { /* the list goes on in another page where this one ends */
            uint64_t *list = (uint64_t *)(void *)ram(b, LISTS + at_list);
            unsigned room = (4096 - at_list) / 8;

            prp2 = LISTS + at_list;
            for (unsigned i = 1; i < pages; i++) {
                if (i < room || pages - 1 <= room) {
                    list[i - 1] = page[i];
                } else {
                    list[room - 1] = LISTS + 0x5000;
                    *(uint64_t *)(void *)ram(b, LISTS + 0x5000 + (i - room) * 8) =
                        page[i];
                }
            }
        }
        for (unsigned i = 0; i < bytes; i++) {
            flat[i] = (uint8_t)rand();
        }
        for (unsigned i = 0, done = 0; i < pages; i++) {
            unsigned n = i == 0 ? 4096 - offset : 4096;

            n = n < bytes - done ? n : bytes - done;
            memcpy(ram(b, page[i] + (i == 0 ? offset : 0)), flat + done, n);
            done += n;
        }
        assert_int_equal(move(b, writes, lba, blocks, page[0] + offset, prp2), 0);
        if (writes) {
            assert_memory_equal(b->disk->bytes + lba * 512, flat, bytes);
        }
        for (unsigned i = 0, done = 0; i < pages; i++) {
            unsigned n = i == 0 ? 4096 - offset : 4096;

            n = n < bytes - done ? n : bytes - done;
            assert_memory_equal(ram(b, page[i] + (i == 0 ? offset : 0)),
                                b->disk->bytes + lba * 512 + done, n);
            done += n;
        }
    }
    free(flat);
}

static void prps_that_lead_nowhere_fail(void **state)
{
    struct bench *b = *state;
    uint64_t *list = (uint64_t *)(void *)ram(b, LISTS);

    begin(b);
    assert_int_equal(move(b, false, 0, 1, RAM_BYTES, 0), 4);
    assert_int_equal(move(b, false, 0, 1, REGS, 0), 4);
    assert_int_equal(move(b, false, 0, 1, UINT64_MAX - 511, 0), 4);
    assert_int_equal(move(b, false, 0, 1, DATA + 2, 0), 0x13);
    assert_int_equal(move(b, false, 0, 9, DATA, DATA + 4096 + 8), 0x13);
    assert_int_equal(move(b, false, 0, 9, DATA, RAM_BYTES), 4);
    assert_int_equal(move(b, false, 0, 9, RAM_BYTES - 512, RAM_BYTES), 4);
    assert_int_equal(move(b, false, 0, 32, DATA, LISTS + 4), 0x13);
    assert_int_equal(move(b, false, 0, 32, DATA, RAM_BYTES), 4);
    assert_int_equal(move(b, false, 0, 32, DATA, REGS), 4);
    list[0] = DATA + 512;
    assert_int_equal(move(b, false, 0, 32, DATA, LISTS), 0x13);
    list[0] = RAM_BYTES;
    assert_int_equal(move(b, false, 0, 32, DATA, LISTS), 4);
    list[511] = LISTS + 0xff8; /* a list of itself */
    assert_int_equal(move(b, false, 0, 32, DATA, LISTS + 0xff8), 0x13);
    list[511] = LISTS; /* round and round, a page each time */
    list[0] = list[1] = DATA;
    assert_int_equal(move(b, false, 0, 24, DATA, LISTS + 0xff8), 0);
    assert_int_equal(b->disk->reads, 1);
    assert_int_equal(run(b, 1, W(2 | 1 << 14, 1, DATA, 0, 0)), 2); /* an SGL */
    assert_int_equal(run(b, 1, W(2 | 1 << 8, 1, DATA, 0, 0)), 2);  /* fused */
    assert_int_equal(get(b, REGS + CSTS, 4), 1);
}

static void what_is_outside_fails(void **state)
{
    struct bench *b = *state;
    uint64_t all = DISK_BYTES / 512;

    begin(b);
    assert_int_equal(move(b, false, all - 1, 1, DATA, 0), 0);
    assert_int_equal(move(b, false, all, 1, DATA, 0), 0x80);
    assert_int_equal(move(b, true, all - 1, 2, DATA, 0), 0x80);
    assert_int_equal(move(b, false, UINT64_MAX, 1, DATA, 0), 0x80);
    assert_int_equal(move(b, false, UINT64_MAX / 512 + 2, 1, DATA, 0), 0x80);
    assert_int_equal(run(b, 1, W(2, 1, DATA, DATA, 0, 0, 1024)), 2); /* more than 512K */
    assert_int_equal(run(b, 1, W(2, 2, DATA, 0, 0)), 0xb);
    assert_int_equal(run(b, 1, W(2, 0, DATA, 0, 0)), 0xb);
    assert_int_equal(run(b, 1, W(2, UINT32_MAX, DATA, 0, 0)), 0xb);
    assert_int_equal(run(b, 1, W(0x7f, 1, DATA, 0, 0)), 1);
    assert_int_equal(b->disk->reads, 1);
}

static void writes_are_durable_when_asked(void **state)
{
    struct bench *b = *state;

    begin(b);
    assert_int_equal(move(b, true, 0, 1, DATA, 0), 0);
    assert_int_equal(b->disk->fua, 0);
    assert_int_equal(run(b, 1, W(1, 1, DATA, 0, 0, 0, 0x40000000)), 0);
    assert_int_equal(b->disk->fua, 1);
    assert_int_equal(b->disk->flushes, 0);
    assert_int_equal(run(b, 1, W(0, 1, 0, 0, 0)), 0);
    assert_int_equal(run(b, 1, W(0, UINT32_MAX, 0, 0, 0)), 0);
    assert_int_equal(b->disk->flushes, 2);
    assert_int_equal(run(b, 1, W(0, 2, 0, 0, 0)), 0xb);
    assert_int_equal(admin(b, 9, 6, 0), 0); /* the cache is switched off */
    assert_int_equal(move(b, true, 0, 1, DATA, 0), 0);
    assert_int_equal(b->disk->fua, 2);
}

static void zeroes_and_deallocation(void **state)
{
    struct bench *b = *state;
    uint8_t zero[512] = {0};
    uint32_t *range = (uint32_t *)(void *)ram(b, DATA);
    uint64_t all = DISK_BYTES / 512;

    begin(b);
    assert_int_equal(run(b, 1, W(8, 1, 0, 0, 5, 0, 1)), 0);
    assert_memory_equal(b->disk->bytes + 5 * 512, zero, 512);
    assert_memory_equal(b->disk->bytes + 6 * 512, zero, 512);
    assert_memory_not_equal(b->disk->bytes + 4 * 512, zero, 512);
    assert_memory_not_equal(b->disk->bytes + 7 * 512, zero, 512);
    assert_int_equal(run(b, 1, W(8, 1, 0, 0, (uint32_t)all - 1, 0, 1)), 0x80);

    memset(range, 0, 64);
    range[1] = 2; /* blocks */
    range[2] = 10;
    range[4 + 1] = 1;
    range[4 + 2] = 20;
    range[8 + 2] = 30;                                      /* none */
    assert_int_equal(run(b, 1, W(9, 1, DATA, 0, 2, 0)), 0); /* a hint */
    assert_int_equal(b->disk->discards, 0);
    assert_int_equal(run(b, 1, W(9, 1, DATA, 0, 2, 4)), 0);
    assert_int_equal(b->disk->discards, 2);
    assert_int_equal(b->disk->bytes[10 * 512], 0xdd);
    assert_int_equal(b->disk->bytes[20 * 512 + 511], 0xdd);
    range[8 + 1] = 1;
    range[8 + 2] = (uint32_t)all;
    assert_int_equal(run(b, 1, W(9, 1, DATA, 0, 2, 4)), 0x80);
    assert_int_equal(b->disk->discards, 2);
    assert_int_equal(run(b, 1, W(9, 1, RAM_BYTES, 0, 2, 4)), 4);
}

static void a_disk_that_fails_says_so(void **state)
{
    struct bench *b = *state;

    begin(b);
    b->disk->answer = -EIO;
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0x281);
    assert_int_equal(move(b, true, 0, 1, DATA, 0), 0x280);
    b->disk->answer = -ENOSPC;
    assert_int_equal(move(b, true, 0, 1, DATA, 0), 0x81);
    b->disk->answer = 0;
    assert_int_equal(admin(b, 2, 127 << 16 | 1, 0), 0); /* the log, the latest first */
    assert_int_equal(number(b, 0, 8), 3);
    assert_int_equal(number(b, 8, 2), 1);
    assert_int_equal(number(b, 12, 2) >> 1, 0x81);
    assert_int_equal(number(b, 64 + 12, 2) >> 1, 0x280);
    assert_int_equal(number(b, 128, 8), 1);
    assert_int_equal(number(b, 192, 8), 0);
}

static void what_may_only_be_read_is(void **state)
{
    struct bench *b = *state;
    uint32_t *range = (uint32_t *)(void *)ram(b, DATA);

    begin(b);
    assert_int_equal(run(b, 0, W(6, 1, PAGE, 0, 0)), 0);
    assert_int_equal(number(b, 99, 1), 1);
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0);
    assert_int_equal(move(b, true, 0, 1, DATA, 0), 0x20);
    assert_int_equal(run(b, 1, W(8, 1, 0, 0, 5)), 0x20);
    memset(range, 0, 16);
    range[1] = 1;
    assert_int_equal(run(b, 1, W(9, 1, DATA, 0, 0, 4)), 0x20);
    assert_int_equal(run(b, 1, W(0, 1, 0, 0, 0)), 0);
}

/* ---- events, features, logs ---- */

static void another_size_is_told(void **state)
{
    struct bench *b = *state;
    struct answer a;
    uint16_t id;

    begin(b);
    assert_int_equal(admin(b, 9, 0xb, 0x100), 0);
    id = add(b, 0, W(0xc, 0, 0, 0, 0));
    ring_bell(b, 0);
    turn(b);
    assert_false(take(b, 0, &a));
    b->disk->blk.size_bytes /= 2;
    nvme_resized(b->nvme);
    turn(b);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.id, id);
    assert_int_equal(a.result, 0x40002);
    free_room(b, 0);
    assert_int_equal(admin(b, 2, 1023 << 16 | 4, 0), 0);
    assert_int_equal(number(b, 0, 8), 1);
    assert_int_equal(admin(b, 2, 1023 << 16 | 4, 0), 0); /* it was read */
    assert_int_equal(number(b, 0, 8), 0);
    assert_int_equal(run(b, 0, W(6, 1, PAGE, 0, 0)), 0);
    assert_int_equal(number(b, 0, 8), DISK_BYTES / 1024);
    assert_int_equal(move(b, false, DISK_BYTES / 1024, 1, DATA, 0), 0x80);
    nvme_resized(b->nvme); /* nobody waits: kept until somebody does */
    id = add(b, 0, W(0xc, 0, 0, 0, 0));
    ring_bell(b, 0);
    turn(b);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.result, 0x40002);
}

static void events_are_waited_for_four_at_a_time(void **state)
{
    struct bench *b = *state;
    struct answer a;
    uint16_t id[4];

    begin(b);
    for (unsigned i = 0; i < 4; i++) {
        id[i] = add(b, 0, W(0xc, 0, 0, 0, 0));
    }
    ring_bell(b, 0);
    turn(b);
    assert_int_equal(admin(b, 0xc, 0, 0), 0x105);
    assert_int_equal(admin(b, 8, (uint32_t)0x7777 << 16, 0), 0);
    assert_int_equal(b->result, 1); /* not aborted */
    (void)add(b, 0, W(8, 0, 0, 0, (uint32_t)id[2] << 16));
    ring_bell(b, 0);
    turn(b);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.id, id[2]);
    assert_int_equal(a.status >> 1 & 0x7ff, 7);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.result, 0);
    disable(b); /* the others are forgotten */
    enable(b);
    assert_false(take(b, 0, &a));
}

static void features_are_kept_until_the_reset(void **state)
{
    struct bench *b = *state;

    enable(b);
    assert_int_equal(admin(b, 9, 7, 0x30003), 0);
    assert_int_equal(b->result, (QUEUES - 1) * 0x10001);
    assert_int_equal(admin(b, 9, 7, 0xffff), 2);
    assert_int_equal(admin(b, 0xa, 7, 0), 0);
    assert_int_equal(b->result, (QUEUES - 1) * 0x10001);
    assert_int_equal(admin(b, 9, 1, 0x12345603), 0);
    assert_int_equal(admin(b, 0xa, 1, 0), 0);
    assert_int_equal(b->result, 0x12345603);
    assert_int_equal(admin(b, 9, 2, 1), 2); /* a state of power that is not there */
    assert_int_equal(admin(b, 9, 8, 0x1122), 0);
    assert_int_equal(admin(b, 0xa, 8, 0), 0);
    assert_int_equal(b->result, 0x1122);
    assert_int_equal(admin(b, 9, 9, 0x10001), 0);
    assert_int_equal(admin(b, 0xa, 9, 1), 0);
    assert_int_equal(b->result, 0x10001);
    assert_int_equal(admin(b, 9, 9, QUEUES + 1), 2);
    assert_int_equal(admin(b, 9, 0x80000006, 0), 0x10d);
    assert_int_equal(admin(b, 9, 0x0d, 0), 2);
    assert_int_equal(admin(b, 0xa, 0x7e, 0), 2);
    assert_int_equal(admin(b, 0xa, 0x106, 0), 2);
    assert_int_equal(admin(b, 0xa, 6, 0), 0);
    assert_int_equal(b->result, 1);
    make_pair(b, 1, 16);
    assert_int_equal(admin(b, 9, 7, 0x10001), 0xc);
    disable(b);
    enable(b);
    assert_int_equal(admin(b, 0xa, 8, 0), 0);
    assert_int_equal(b->result, 0);
}

static void heat_below_a_threshold_is_told(void **state)
{
    struct bench *b = *state;
    struct answer a;

    enable(b);
    assert_int_equal(admin(b, 0xa, 4, 0), 0);
    assert_int_equal(b->result, 273 + 70);
    assert_int_equal(admin(b, 9, 0xb, 2), 0);
    (void)add(b, 0, W(0xc, 0, 0, 0, 0));
    (void)add(b, 0, W(9, 0, 0, 0, 4, 273));
    ring_bell(b, 0);
    turn(b);
    assert_true(take(b, 0, &a));
    assert_int_equal(a.result, 0x20101);
    assert_true(take(b, 0, &a));
    free_room(b, 0);
    assert_int_equal(admin(b, 2, 127 << 16 | 2, 0), 0);
    assert_int_equal(number(b, 0, 1), 2);
    assert_int_equal(number(b, 1, 2), 273 + 25);
    assert_int_equal(admin(b, 9, 4, 0x30000 | 300), 2); /* a sensor that is not there */
}

static void logs_count_and_are_read_in_parts(void **state)
{
    struct bench *b = *state;

    begin(b);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(move(b, false, 0, 8, DATA, 0), 0);
    }
    assert_int_equal(move(b, true, 0, 8, DATA, 0), 0);
    assert_int_equal(admin(b, 2, 127 << 16 | 2, 0), 0);
    assert_int_equal(number(b, 32, 8), 1); /* thousands of 512 bytes, rounded up */
    assert_int_equal(number(b, 48, 8), 1);
    assert_int_equal(number(b, 64, 8), 3);
    assert_int_equal(number(b, 80, 8), 1);
    assert_int_equal(run(b, 0, W(2, UINT32_MAX, PAGE, 0, 1 << 16 | 2, 0, 64)), 0);
    assert_int_equal(number(b, 0, 8), 3);
    assert_int_equal(admin(b, 2, 3 << 16 | 3, 0), 0);
    assert_int_equal(number(b, 0, 8), 1);
    assert_memory_equal(ram(b, PAGE + 8), "1       ", 8);
    assert_int_equal(run(b, 0, W(2, 0, PAGE, 0, 1 << 16 | 2, 0, 1024)), 2);
    assert_int_equal(run(b, 0, W(2, 0, PAGE, 0, 1 << 16 | 2, 0, 2)), 2);
    assert_int_equal(admin(b, 2, 1 << 16 | 0x70, 0), 0x109);
    memset(ram(b, PAGE), 0xee, 0x1000);
    assert_int_equal(run(b, 0, W(2, 0, PAGE, PAGE, 0xffffu << 16 | 2, 0xffff)), 2);
    assert_int_equal(run(b, 0, W(2, 0, PAGE, DATA, 2047u << 16 | 2)), 0); /* 8K of 512 */
    assert_int_equal(number(b, 511, 1), 0);
    assert_int_equal(number(b, 512, 1), 0xee);
}

/* ---- interrupts ---- */

static void each_queue_has_its_message(void **state)
{
    struct bench *b = *state;

    begin(b);
    make_pair(b, 2, 16);
    memset(b->sent, 0, sizeof b->sent);
    assert_int_equal(admin(b, 0xa, 6, 0), 0);
    assert_int_equal(b->sent[0], 1);
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0);
    assert_int_equal(b->sent[1], 1);
    for (unsigned i = 0; i < 5; i++) {
        (void)add(b, 2, W(2, 1, DATA, 0, i));
    }
    ring_bell(b, 2);
    turn(b);
    assert_int_equal(b->sent[2], 1); /* one for all */
    assert_int_equal(b->lines, 0);
}

static void the_line_is_high_while_there_are_answers(void **state)
{
    struct bench *b = *state;
    struct answer a;

    enable(b);
    (void)add(b, 0, W(0xa, 0, 0, 0, 6));
    ring_bell(b, 0);
    turn(b);
    assert_int_not_equal(b->lines, 0);
    put(b, REGS + INTMS, 4, 1);
    assert_int_equal(b->lines, 0);
    assert_int_equal(get(b, REGS + INTMC, 4), 1);
    put(b, REGS + INTMC, 4, 1);
    assert_int_not_equal(b->lines, 0);
    assert_true(take(b, 0, &a));
    free_room(b, 0);
    turn(b);
    assert_int_equal(b->lines, 0);
    (void)add(b, 0, W(0xa, 0, 0, 0, 6));
    ring_bell(b, 0);
    turn(b);
    assert_int_not_equal(b->lines, 0);
    disable(b);
    assert_int_equal(b->lines, 0);
}

/* ---- it ends, stands, goes on ---- */

static void a_shutdown_flushes(void **state)
{
    struct bench *b = *state;
    struct answer a;

    begin(b);
    b->disk->holds = true;
    (void)add(b, 1, W(1, 1, DATA, 0, 0));
    ring_bell(b, 1);
    turn(b);
    put(b, REGS + CC, 4, 0x464001);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 5); /* it is at it */
    assert_int_equal(b->disk->flushes, 0);
    assert_int_equal(loop_do(b->loop, let_go, b->disk), 0);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 9);
    assert_int_equal(b->disk->flushes, 1);
    assert_true(take(b, 1, &a));
    (void)add(b, 1, W(2, 1, DATA, 0, 0)); /* nobody hears it */
    ring_bell(b, 1);
    turn(b);
    assert_false(take(b, 1, &a));
    disable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    begin(b);
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0);
}

static void a_reset_waits_for_the_disk(void **state)
{
    struct bench *b = *state;
    struct answer a;

    begin(b);
    b->disk->holds = true;
    (void)add(b, 1, W(2, 1, DATA, 0, 0));
    ring_bell(b, 1);
    turn(b);
    disable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 1); /* memory is still written to */
    put(b, REGS + CC, 4, 0x460001);              /* a driver in a hurry */
    turn(b);
    assert_int_equal(loop_do(b->loop, let_go, b->disk), 0);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 1);
    enable(b);
    b->ring[1].head = 0;
    assert_false(take(b, 0, &a));
    assert_int_equal(admin(b, 0, 1, 0), 0x101); /* the queue has gone */
}

/* Without the right to reach for memory nothing moves. */
static void it_reaches_for_memory_only_as_a_master(void **state)
{
    struct bench *b = *state;
    struct answer a;

    begin(b);
    put(b, config(4), 2, 2);
    turn(b);
    (void)add(b, 1, W(2, 1, DATA, 0, 0));
    ring_bell(b, 1);
    turn(b);
    assert_false(take(b, 1, &a));
    put(b, config(4), 2, 6);
    turn(b);
    assert_true(take(b, 1, &a));
}

static void carry(struct bench *b, struct snap_memory *s)
{
    b->dev->class->carry(b->dev, &s->snap);
}

/* Saved with answers that wait for room, events that wait, commands that are not taken. */
static void state_goes_on_elsewhere(void **state)
{
    struct bench *b = *state;
    struct snap_memory s;
    uint8_t *memory = malloc(RAM_BYTES);
    struct ring rings[1 + QUEUES];
    struct answer a;
    uint16_t first;

    use_vectors(b);
    enable(b);
    b->ring[1] = (struct ring){IO + 0x10000, IO + 0x18000, 16, 0, 0, true};
    assert_int_equal(create_cq(b, 1, 4), 0);
    assert_int_equal(create_sq(b, 1, 16, 1), 0);
    assert_int_equal(admin(b, 9, 0xb, 0x100), 0);
    (void)add(b, 0, W(0xc, 0, 0, 0, 0));
    ring_bell(b, 0);
    first = b->next_id;
    for (unsigned i = 0; i < 8; i++) {
        (void)add(b, 1, W(2, 1, DATA, 0, i));
    }
    ring_bell(b, 1);
    turn(b);
    pci_rest(b->dev);
    nvme_resized(b->nvme); /* while it stands: no memory is touched */
    for (unsigned i = 8; i < 10; i++) {
        (void)add(b, 1, W(2, 1, DATA, 0, i));
    }
    ring_bell(b, 1);
    rest(b);
    assert_false(take(b, 0, &a));
    snap_memory_write(&s);
    carry(b, &s);
    assert_int_equal(s.snap.error, 0);
    memcpy(memory, ram(b, 0), RAM_BYTES);
    memcpy(rings, b->ring, sizeof rings);
    for (unsigned again = 0; again < 2; again++) { /* as it goes on, and gone back to */
        unsigned got = 0;

        pci_wake(b->dev);
        turn(b);
        assert_true(take(b, 0, &a));
        assert_int_equal(a.result, 0x40002);
        b->ring[1].entries = 4;
        for (unsigned round = 0; round < 4; round++) {
            for (; take(b, 1, &a); got++) {
                assert_int_equal(a.id, (uint16_t)(first + got));
                assert_int_equal(a.status >> 1, 0);
            }
            free_room(b, 1);
            turn(b);
        }
        assert_int_equal(got, 10);
        rest(b);
        snap_memory_read(&s);
        carry(b, &s);
        assert_int_equal(s.snap.error, 0);
        memcpy(ram(b, 0), memory, RAM_BYTES);
        memcpy(b->ring, rings, sizeof rings);
    }
    pci_wake(b->dev);
    snap_memory_fini(&s);
    free(memory);
}

/* The bus was reset while it worked. */
static void the_bus_takes_all_with_it(void **state)
{
    struct bench *b = *state;

    begin(b);
    rest(b);
    board_lock(b->board);
    b->dev->class->reset(b->dev);
    board_unlock(b->board);
    pci_wake(b->dev);
    put(b, config(4), 2, 6);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    assert_int_equal(get(b, REGS + ASQ, 8), 0);
    begin(b);
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0);
}

/* Memory below a queue goes: it says that it cannot go on. */
static void commands_that_are_nowhere_are_fatal(void **state)
{
    struct bench *b = *state;

    begin(b);
    b->mem->region[0].bytes = IO + 0x10000; /* no longer what is behind */
    ring_bell(b, 1);
    put(b, BELLS + 8, 4, 3);
    turn(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 3);
    b->mem->region[0].bytes = RAM_BYTES;
    disable(b);
    assert_int_equal(get(b, REGS + CSTS, 4), 0);
    begin(b);
    assert_int_equal(move(b, false, 0, 1, DATA, 0), 0);
}

#define TEST(f)    cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define TEST_4K(f) cmocka_unit_test_setup_teardown(f, set_up_4k, tear_down)
#define TEST_RO(f) cmocka_unit_test_setup_teardown(f, set_up_read_only, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_say_what_it_is),
        TEST(it_comes_up_or_says_that_it_cannot),
        TEST(identify_tells_controller_and_namespace),
        TEST_4K(blocks_are_as_large_as_the_disks),
        TEST(queues_are_made_and_deleted),
        TEST(sizes_of_entries_must_be_ours),
        TEST(a_queue_goes_when_its_commands_are_done),
        TEST(a_full_queue_of_answers_waits),
        TEST(doorbells_that_cannot_be_are_told),
        TEST(data_go_where_the_prps_say),
        TEST(prps_that_lead_nowhere_fail),
        TEST(what_is_outside_fails),
        TEST(writes_are_durable_when_asked),
        TEST(zeroes_and_deallocation),
        TEST(a_disk_that_fails_says_so),
        TEST_RO(what_may_only_be_read_is),
        TEST(another_size_is_told),
        TEST(events_are_waited_for_four_at_a_time),
        TEST(features_are_kept_until_the_reset),
        TEST(heat_below_a_threshold_is_told),
        TEST(logs_count_and_are_read_in_parts),
        TEST(each_queue_has_its_message),
        TEST(the_line_is_high_while_there_are_answers),
        TEST(a_shutdown_flushes),
        TEST(a_reset_waits_for_the_disk),
        TEST(it_reaches_for_memory_only_as_a_master),
        TEST(state_goes_on_elsewhere),
        TEST(the_bus_takes_all_with_it),
        TEST(commands_that_are_nowhere_are_fatal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
