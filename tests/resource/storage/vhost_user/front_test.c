/* front_test.c - the back end against a front end of our own: requests of all kinds, queues,
 * memory, the log, resizing, crashes.
 *
 *     front_test SERVE-PROGRAM */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/resource/storage/vhost_user/world.h"

static const uint64_t kinds[] = {
    F_FLUSH | F_DISCARD | F_ZEROES,
    F_FLUSH | F_DISCARD | F_ZEROES | F_EVENTS | F_INDIRECT,
    F_PACKED,
    F_PACKED | F_FLUSH | F_EVENTS | F_INDIRECT | F_DISCARD | F_ZEROES,
};

#define KINDS (sizeof kinds / sizeof kinds[0])

/* ---- requests ---- */

static void reads_what_was_written(void **state)
{
    uint8_t seen[8192];

    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;
        uint8_t *data;

        world_begin(&w, NULL);
        world_connect(&w, kinds[k], 1);
        data = front_data(&w.f, 0, 0);
        for (unsigned i = 0; i < 300; i++) {
            memset(data, (int)i, 8192);
            must(front_do(&w.f, 0, T_WRITE, i * 16, 8192) == 0);
            must(w.f.q[0].slot[0].bytes == 1);
            world_look(&w, seen, 8192, i * 8192);
            must(memcmp(seen, data, 8192) == 0);
            memset(data, 0xff, 8192);
            must(front_do(&w.f, 0, T_READ, i * 16, 8192) == 0);
            must(w.f.q[0].slot[0].bytes == 8193);
            must(memcmp(seen, data, 8192) == 0);
        }
        must(front_do(&w.f, 0, T_FLUSH, 0, 0) == 0);
        world_end(&w);
    }
}

static void put_range(struct world *w, uint64_t sector, uint32_t sectors, uint32_t flags,
                      unsigned i)
{
    uint8_t *at = front_data(&w->f, 0, 0) + 16 * i;

    memcpy(at, &sector, 8);
    memcpy(at + 8, &sectors, 4);
    memcpy(at + 12, &flags, 4);
}

static void zeroes_and_discards(void **state)
{
    uint8_t seen[65536];
    struct world w;

    (void)state;
    world_begin(&w, NULL);
    world_connect(&w, kinds[1], 1);
    memset(front_data(&w.f, 0, 0), 7, 65536);
    must(front_do(&w.f, 0, T_WRITE, 0, 65536) == 0);
    put_range(&w, 8, 8, 0, 0);
    put_range(&w, 32, 16, 1, 1);
    must(front_do(&w.f, 0, T_ZEROES, 0, 32) == 0);
    world_look(&w, seen, 65536, 0);
    for (unsigned i = 0; i < 65536; i++) {
        bool zero = (i >= 4096 && i < 8192) || (i >= 16384 && i < 24576);

        must(seen[i] == (zero ? 0 : 7));
    }
    put_range(&w, 0, 128, 0, 0);
    must(front_do(&w.f, 0, T_DISCARD, 0, 16) == 0);
    put_range(&w, 0, 128, 1, 0); /* a flag that discards do not have */
    must(front_do(&w.f, 0, T_DISCARD, 0, 16) == 2);
    put_range(&w, 0, 8, 2, 0);
    must(front_do(&w.f, 0, T_ZEROES, 0, 16) == 2);
    put_range(&w, SECTORS - 8, 9, 0, 0);
    must(front_do(&w.f, 0, T_ZEROES, 0, 16) == 1);
    put_range(&w, UINT64_MAX, 8, 0, 0);
    must(front_do(&w.f, 0, T_ZEROES, 0, 16) == 1);
    must(front_do(&w.f, 0, T_ZEROES, 0, 15) == 1);
    must(front_do(&w.f, 0, T_ZEROES, 0, 0) == 1);
    must(front_do(&w.f, 0, T_ZEROES, 0, 17 * 16) == 1);
    world_end(&w);
}

static void tells_who_it_is(void **state)
{
    struct world w;

    (void)state;
    world_begin(&w, "id=disk number one");
    world_connect(&w, kinds[0], 1);
    must(front_do(&w.f, 0, T_ID, 0, 20) == 0);
    assert_string_equal(front_data(&w.f, 0, 0), "disk number one");
    must(front_do(&w.f, 0, T_ID, 0, 19) == 1);
    world_end(&w);
}

static void impossible_requests_fail(void **state)
{
    struct world w;

    (void)state;
    world_begin(&w, NULL);
    world_connect(&w, kinds[1], 1);
    must(front_do(&w.f, 0, T_READ, SECTORS, 512) == 1);
    must(front_do(&w.f, 0, T_READ, SECTORS - 1, 1024) == 1);
    must(w.f.q[0].slot[0].bytes == 0);
    must(front_do(&w.f, 0, T_WRITE, UINT64_MAX, 512) == 1);
    must(front_do(&w.f, 0, T_WRITE, (uint64_t)1 << 55, 512) == 1);
    must(front_do(&w.f, 0, T_READ, 0, 100) == 1);
    must(front_do(&w.f, 0, T_READ, 0, 0) == 1);
    must(front_do(&w.f, 0, (enum front_type)99, 0, 512) == 2);
    must(front_do(&w.f, 0, T_READ, 0, 512) == 0);
    world_end(&w);
}

static void a_read_only_disk_stays_as_it_is(void **state)
{
    struct world w;
    uint64_t offered;

    (void)state;
    world_begin(&w, "read-only");
    world_connect(&w, kinds[0], 1);
    must(front_ask(&w.f, 1, NULL, 0, &offered, 8) == 8);
    must((offered & 32) != 0 && (offered & (F_DISCARD | F_ZEROES | F_WCE)) == 0);
    must(front_do(&w.f, 0, T_WRITE, 0, 512) == 1);
    put_range(&w, 0, 8, 0, 0);
    must(front_do(&w.f, 0, T_ZEROES, 0, 16) == 1);
    must(front_do(&w.f, 0, T_READ, 0, 512) == 0);
    must(front_do(&w.f, 0, T_FLUSH, 0, 0) == 0);
    world_end(&w);
}

/* ---- many at a time ---- */

static void fill_queue(struct world *w, unsigned q, unsigned round)
{
    for (unsigned i = 0; i < 32; i++) {
        memset(front_data(&w->f, q, i), (int)(round + i), 4096);
        front_offer(&w->f, q, i, T_WRITE, (q * 32 + i) * 8, 4096);
    }
    front_kick(&w->f, q);
}

static void several_queues_at_once(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;
        uint8_t seen[4096];

        world_begin(&w, k % 2 != 0 ? "crew" : NULL);
        world_connect(&w, kinds[k], FRONT_QUEUES);
        for (unsigned round = 0; round < 50; round++) {
            for (unsigned q = 0; q < FRONT_QUEUES; q++) {
                fill_queue(&w, q, round);
            }
            for (unsigned i = 0; i < FRONT_QUEUES * 32; i++) {
                must(front_wait(&w.f, i / 32, i % 32, 20000));
                must(w.f.q[i / 32].slot[i % 32].status == 0);
            }
        }
        for (unsigned i = 0; i < FRONT_QUEUES * 32; i++) {
            world_look(&w, seen, 4096, i * 4096);
            must(seen[0] == (uint8_t)(49 + i % 32) && seen[4095] == seen[0]);
        }
        world_end(&w);
    }
}

#define BIG (2 * FRONT_DATA) /* those of two slots lie behind each other */

static void offer_big(struct world *w, enum front_type type, unsigned i)
{
    uint8_t *data = front_data(&w->f, 0, 2 * i);

    for (unsigned at = 0; at < BIG; at++) {
        data[at] = type == T_WRITE ? (uint8_t)(i * 31 + at + at / 4096) : 0xff;
    }
    front_offer(&w->f, 0, 2 * i, type, (uint64_t)i * (BIG / 512), BIG);
}

/* They are copied by more than one thread. */
static void big_requests_side_by_side(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;

        world_begin(&w, k % 2 != 0 ? "crew" : NULL);
        world_connect(&w, kinds[k], 1);
        for (unsigned round = 0; round < 10; round++) {
            for (unsigned i = 0; i < 16; i++) {
                offer_big(&w, round == 0 ? T_WRITE : T_READ, i);
            }
            front_kick(&w.f, 0);
            for (unsigned i = 0; i < 16; i++) {
                const uint8_t *data = front_data(&w.f, 0, 2 * i);

                must(front_wait(&w.f, 0, 2 * i, 20000));
                must(w.f.q[0].slot[2 * i].status == 0);
                for (unsigned at = 0; at < BIG; at++) {
                    must(data[at] == (uint8_t)(i * 31 + at + at / 4096));
                }
            }
        }
        world_end(&w);
    }
}

static void one_front_end_after_another(void **state)
{
    struct world w;

    (void)state;
    world_begin(&w, NULL);
    for (unsigned i = 0; i < 20; i++) {
        world_connect(&w, kinds[i % KINDS], 2);
        front_data(&w.f, 1, 0)[0] = (uint8_t)i;
        must(front_do(&w.f, 1, T_WRITE, i, 512) == 0);
        if (i % 2 != 0) {
            (void)front_stop(&w.f, 0);
            (void)front_stop(&w.f, 1);
        }
        front_close(&w.f);
    }
    world_connect(&w, kinds[0], 1);
    for (unsigned i = 0; i < 20; i++) {
        must(front_do(&w.f, 0, T_READ, i, 512) == 0 && front_data(&w.f, 0, 0)[0] == i);
    }
    world_end(&w);
}

static void stops_and_goes_on(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;

        world_begin(&w, "delay-ms=3");
        world_connect(&w, kinds[k], 1);
        for (unsigned i = 0; i < 60; i++) {
            for (unsigned j = 0; j < 5; j++) {
                front_offer(&w.f, 0, j, T_WRITE, j, 512);
            }
            front_kick(&w.f, 0);
            (void)front_stop(&w.f, 0); /* what was taken is answered by then */
            (void)front_collect(&w.f, 0);
            if (i % 2 != 0) {
                front_close(&w.f);
                front_connect(&w.f, w.socket, kinds[k]);
                front_share_memory(&w.f);
            }
            front_start(&w.f, 0); /* what was not, now, without another kick */
            for (unsigned j = 0; j < 5; j++) {
                must(front_wait(&w.f, 0, j, 20000));
            }
        }
        world_end(&w);
    }
}

/* ---- configuration ---- */

static void get_config(struct world *w, uint32_t off, uint32_t bytes, uint8_t *to)
{
    uint8_t m[12 + 256] = {0};

    memcpy(m, &off, 4);
    memcpy(m + 4, &bytes, 4);
    must(front_ask(&w->f, 24, m, 12 + bytes, m, sizeof m) == (int)(12 + bytes));
    memcpy(to, m + 12, bytes);
}

static uint64_t capacity(struct world *w)
{
    uint64_t c;

    get_config(w, 0, 8, (uint8_t *)&c);
    return c;
}

static void describes_itself(void **state)
{
    struct world w;
    uint8_t c[256];
    uint32_t v;
    uint8_t m[12 + 256] = {0};

    (void)state;
    world_begin(&w, "block=4096");
    world_connect(&w, kinds[0] | F_WCE, 1);
    must(capacity(&w) == SECTORS);
    get_config(&w, 0, 60, c);
    memcpy(&v, c + 12, 4);
    must(v == 126); /* seg_max */
    memcpy(&v, c + 20, 4);
    must(v == 4096); /* blk_size */
    must(c[32] == 1 && c[34] == 16 && c[56] == 1);
    get_config(&w, 60, 196, c);
    for (unsigned i = 0; i < 196; i++) {
        must(c[i] == 0);
    }
    v = 300;
    memcpy(m + 4, &v, 4);
    must(front_ask(&w.f, 24, m, sizeof m, m, sizeof m) == 0); /* that cannot be */

    /* the driver chooses to write through */
    memset(m, 0, sizeof m);
    m[0] = 32;
    m[4] = 1;
    must(front_tell(&w.f, 25, m, 13, NULL, 0) == 0);
    get_config(&w, 32, 1, c);
    must(c[0] == 0);
    must(front_do(&w.f, 0, T_WRITE, 0, 4096) == 0);
    m[0] = 0;
    must(front_tell(&w.f, 25, m, 13, NULL, 0) == 1); /* the capacity is ours */
    world_end(&w);
}

static void hears_of_another_size(void **state)
{
    struct world w;
    uint32_t head[3];

    (void)state;
    world_begin(&w, NULL);
    world_connect(&w, kinds[1], 1);
    must(capacity(&w) == SECTORS);
    must(front_do(&w.f, 0, T_WRITE, SECTORS, 512) == 1);
    (void)kill(w.pid, SIGUSR1);
    must(recv(w.f.backend, head, sizeof head, MSG_WAITALL) == sizeof head);
    must(head[0] == 2 && head[2] == 0);
    must(capacity(&w) == SECTORS + 2048);
    must(front_do(&w.f, 0, T_WRITE, SECTORS, 512) == 0);
    world_end(&w);
}

/* ---- memory ---- */

static void memory_in_parts(void **state)
{
    struct world w;
    uint64_t part = 1u << 20;
    uint64_t table[9];

    (void)state;
    world_begin(&w, NULL);
    front_connect(&w.f, w.socket, kinds[1]);
    table[0] = 2;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = i * part;
        uint64_t bytes = i == 0 ? part : w.f.bytes - part;
        uint64_t *r = table + 1 + 4 * i;

        r[0] = FRONT_GUEST + at;
        r[1] = bytes;
        r[2] = FRONT_USER + at;
        r[3] = at;
    }
    must(front_tell(&w.f, 5, table, 72, (int[2]){w.f.memfd, w.f.memfd}, 2) == 0);
    front_lay_out(&w.f, 0, 128);
    front_start(&w.f, 0);
    must(front_do(&w.f, 0, T_WRITE, 0, 8192) == 0);
    world_end(&w);
}

/* Regions come and go while the machine works. */
static void memory_comes_and_goes(void **state)
{
    struct world w;
    uint64_t slots;
    uint64_t add[5] = {0, FRONT_GUEST + 0x100000000u, 4096, FRONT_USER + 0x100000000u, 0};
    uint64_t all[5];

    (void)state;
    world_begin(&w, "delay-ms=2");
    front_connect(&w.f, w.socket, kinds[1]);
    must(front_ask(&w.f, 36, NULL, 0, &slots, 8) == 8 && slots == 64);
    memcpy(all, (uint64_t[5]){0, FRONT_GUEST, w.f.bytes, FRONT_USER, 0}, sizeof all);
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 0);
    front_lay_out(&w.f, 0, 128);
    front_start(&w.f, 0);
    for (unsigned i = 0; i < 50; i++) {
        front_offer(&w.f, 0, 0, T_WRITE, 0, 4096);
        front_kick(&w.f, 0);
        must(front_tell(&w.f, 37, add, 40, &w.f.memfd, 1) == 0);
        must(front_tell(&w.f, 38, add, 40, NULL, 0) == 0);
        must(front_wait(&w.f, 0, 0, 20000) && w.f.q[0].slot[0].status == 0);
        front_offer(&w.f, 0, 1, T_WRITE, 0, 4096);
        front_kick(&w.f, 0);
        front_share_memory(&w.f); /* all of it anew */
        must(front_wait(&w.f, 0, 1, 20000) && w.f.q[0].slot[1].status == 0);
    }
    must(front_tell(&w.f, 38, add, 40, NULL, 0) == 1); /* not there any more */
    must(front_tell(&w.f, 38, all, 40, NULL, 0) == 0); /* the rings with it */
    world_end(&w);
}

static void bad_memory_is_refused(void **state)
{
    struct world w;
    uint64_t all[5] = {0, FRONT_GUEST, 0, FRONT_USER, 0};
    int pipes[2];

    (void)state;
    world_begin(&w, NULL);
    front_connect(&w.f, w.socket, kinds[1]);
    all[2] = w.f.bytes;
    must(front_tell(&w.f, 37, all, 40, NULL, 0) == 1);
    must(pipe(pipes) == 0);
    must(front_tell(&w.f, 37, all, 40, pipes, 1) == 1);
    all[2] = w.f.bytes + 1;
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 1);
    all[2] = 0;
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 1);
    all[2] = w.f.bytes;
    all[1] = UINT64_MAX - 100;
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 1);
    all[1] = FRONT_GUEST;
    all[4] = UINT64_MAX - 4095;
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 1);
    all[4] = 0;
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 0);
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 1); /* twice */
    all[1] += w.f.bytes;
    must(front_tell(&w.f, 37, all, 40, &w.f.memfd, 1) == 1); /* the same user address */
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    world_end(&w);
}

/* ---- the log of a migration ---- */

static bool is_marked(const uint8_t *log, uint64_t guest)
{
    return (log[guest / 4096 / 8] >> (guest / 4096 % 8) & 1) != 0;
}

static void written_pages_are_logged(void **state)
{
    (void)state;
    for (unsigned k = 1; k < KINDS; k += 2) {
        struct world w;
        uint64_t bytes = (FRONT_GUEST + (64u << 20)) / 4096 / 8;
        uint64_t area[2] = {bytes, 4096};
        uint64_t reply;
        uint64_t data;
        int fd = memfd_create("log", MFD_CLOEXEC);
        uint8_t *log;

        must(ftruncate(fd, (off_t)bytes + 4096) == 0);
        log = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
        must(log != MAP_FAILED);
        world_begin(&w, NULL);
        front_connect(&w.f, w.socket, kinds[k] | F_LOG);
        front_share_memory(&w.f);
        must(front_send(&w.f, 6, area, 16, &fd, 1) == 0);
        must(front_receive(&w.f, &reply, 8, NULL) == 8 && reply == 0);
        front_lay_out(&w.f, 0, 128);
        front_start(&w.f, 0);
        data = FRONT_GUEST + (uint64_t)(front_data(&w.f, 0, 0) - w.f.mem);
        must(front_do(&w.f, 0, T_WRITE, 0, 8192) == 0);
        must(!is_marked(log, data));
        must(
            is_marked(log, FRONT_GUEST + ((kinds[k] & F_PACKED) != 0 ? w.f.q[0].d.desc
                                                                     : w.f.q[0].d.used)));
        must(front_do(&w.f, 0, T_READ, 0, 8192) == 0);
        must(is_marked(log, data) && is_marked(log, data + 4096));
        must(!is_marked(log, data + 8192));
        (void)munmap(log, bytes);
        (void)close(fd);
        world_end(&w);
    }
}

/* ---- crashes ---- */

/* Requests that a back end took and never answered are done by the next one, once, in
 * order: of two writes to one place the later one stays. */
static void requests_outlive_a_crash(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;
        uint8_t seen[512];

        world_begin(&w, "delay-ms=3600000");
        front_connect(&w.f, w.socket, kinds[k]);
        front_share_memory(&w.f);
        front_inflight(&w.f, 1, 128);
        front_lay_out(&w.f, 0, 128);
        front_start(&w.f, 0);
        for (unsigned i = 0; i < 30; i++) {
            memset(front_data(&w.f, 0, i), (int)i + 1, 512);
            front_offer(&w.f, 0, i, T_WRITE, i / 2, 512);
            front_kick(&w.f, 0);
        }
        must(!front_wait(&w.f, 0, 0, 300)); /* all are taken, none is done */
        front_kill(w.pid, SIGKILL);
        world_spawn(&w, NULL);
        front_close(&w.f);
        front_connect(&w.f, w.socket, kinds[k]);
        front_share_memory(&w.f);
        front_inflight(&w.f, 1, 128);
        w.f.q[0].base = 0; /* a front end does not know more */
        front_start(&w.f, 0);
        for (unsigned i = 0; i < 30; i++) {
            must(front_wait(&w.f, 0, i, 20000) && w.f.q[0].slot[i].status == 0);
        }
        for (unsigned i = 0; i < 15; i++) {
            world_look(&w, seen, 512, i * 512);
            must(seen[0] == 2 * i + 2);
        }
        must(front_do(&w.f, 0, T_READ, 0, 512) == 0);
        world_end(&w);
    }
}

/* One writer of each slot's own sectors; what was said to be done is there. */
static void offer_next(struct world *w, unsigned slot, uint64_t *version)
{
    version[slot]++;
    memcpy(front_data(&w->f, 0, slot), &version[slot], 8);
    front_offer(&w->f, 0, slot, T_WRITE, slot * 8, 512);
    w->f.q[0].slot[slot].done = false;
}

static void reconnect(struct world *w, uint64_t features)
{
    front_kill(w->pid, SIGKILL);
    world_spawn(w, "delay-ms=1");
    front_close(&w->f);
    front_connect(&w->f, w->socket, features);
    front_share_memory(&w->f);
    front_inflight(&w->f, 2, 128);
    w->f.q[0].base = 0;
    front_start(&w->f, 0);
}

static void many_crashes_lose_nothing(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;
        uint64_t version[16] = {0};
        uint64_t done = 0;
        uint64_t seen;

        world_begin(&w, "delay-ms=1");
        front_connect(&w.f, w.socket, kinds[k]);
        front_share_memory(&w.f);
        front_inflight(&w.f, 2, 128);
        front_lay_out(&w.f, 0, 128);
        front_start(&w.f, 0);
        for (unsigned round = 0; round < 40; round++) {
            for (unsigned i = 0; i < 200; i++) {
                unsigned slot = i % 16;

                if (version[slot] > 0) { /* many have been collected in passing */
                    must(front_wait(&w.f, 0, slot, 20000));
                    must(w.f.q[0].slot[slot].status == 0);
                    done++;
                }
                offer_next(&w, slot, version);
                front_kick(&w.f, 0);
            }
            (void)usleep(round * 37 % 700);
            reconnect(&w, kinds[k]);
        }
        for (unsigned slot = 0; slot < 16; slot++) {
            must(front_wait(&w.f, 0, slot, 20000) && w.f.q[0].slot[slot].status == 0);
            world_look(&w, &seen, 8, slot * 4096);
            must(seen == version[slot]);
        }
        must(done == 40 * 200 - 16 && w.f.q[0].d.free == 128);
        world_end(&w);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(zeroes_and_discards),
        cmocka_unit_test(tells_who_it_is),
        cmocka_unit_test(impossible_requests_fail),
        cmocka_unit_test(a_read_only_disk_stays_as_it_is),
        cmocka_unit_test(several_queues_at_once),
        cmocka_unit_test(big_requests_side_by_side),
        cmocka_unit_test(one_front_end_after_another),
        cmocka_unit_test(stops_and_goes_on),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(hears_of_another_size),
        cmocka_unit_test(memory_in_parts),
        cmocka_unit_test(memory_comes_and_goes),
        cmocka_unit_test(bad_memory_is_refused),
        cmocka_unit_test(written_pages_are_logged),
        cmocka_unit_test(requests_outlive_a_crash),
        cmocka_unit_test(many_crashes_lose_nothing),
    };

    if (argc < 2) {
        return 2;
    }
    world_set_program(argv[1]);
    if (argc > 2) {
        cmocka_set_test_filter(argv[2]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
