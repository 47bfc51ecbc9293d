/* hostile_test.c - front ends and guests that break the rules: the back end ends their
 * session or breaks their queue, and serves the next one.
 *
 *     hostile_test SERVE-PROGRAM */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/resource/storage/vhost_user/world.h"

#define PLAIN  (F_FLUSH | F_ZEROES)
#define PACKED (PLAIN | F_PACKED | F_EVENTS | F_INDIRECT)

/* The back end is as good as before. */
static void still_serves(struct world *w)
{
    front_close(&w->f);
    if (w->f.inflight >= 0) {
        (void)close(w->f.inflight);
        w->f.inflight = -1;
    }
    world_connect(w, PLAIN, 1);
    must(front_do(&w->f, 0, T_READ, 0, 4096) == 0);
}

/* ---- messages ---- */

static void expect_end(struct world *w, const void *bytes, size_t count)
{
    char c;

    front_close(&w->f);
    front_connect(&w->f, w->socket, PLAIN);
    must(send(w->f.fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count);
    must(recv(w->f.fd, &c, 1, 0) <= 0);
}

static void nonsense_ends_the_session(void **state)
{
    struct world w;
    uint32_t head[3];

    (void)state;
    world_begin(&w, NULL);
    expect_end(&w, (uint32_t[3]){1, 0, 0}, 12);          /* no version */
    expect_end(&w, (uint32_t[3]){1, 2, 0}, 12);          /* another version */
    expect_end(&w, (uint32_t[3]){1, 5, 0}, 12);          /* a reply */
    expect_end(&w, (uint32_t[3]){5, 1, 100000}, 12);     /* longer than any */
    expect_end(&w, (uint32_t[3]){5, 1, UINT32_MAX}, 12); /* much longer */
    expect_end(&w, (uint32_t[3]){0, 1, 0}, 12);
    expect_end(&w, (uint32_t[3]){22, 1, 0}, 12); /* not ours */
    expect_end(&w, (uint32_t[3]){9999, 1, 0}, 12);
    expect_end(&w, (uint32_t[4]){8, 1, 4}, 16);  /* too short a payload */
    expect_end(&w, (uint32_t[3]){18, 1, 0}, 12); /* none */
    still_serves(&w);

    /* half a message, and nothing more */
    for (size_t n = 1; n < 12; n += 5) {
        front_close(&w.f);
        front_connect(&w.f, w.socket, PLAIN);
        head[0] = 5;
        head[1] = 1;
        head[2] = 40;
        must(send(w.f.fd, head, n, MSG_NOSIGNAL) == (ssize_t)n);
    }
    still_serves(&w);
    world_end(&w);
}

static void each_message_stands_alone(void **state)
{
    struct world w;
    uint8_t payload[300] = {0};

    (void)state;
    world_begin(&w, NULL);
    for (uint32_t kind = 0; kind < 48; kind++) {
        for (uint32_t bytes = 0; bytes < 280; bytes += 8) {
            uint64_t reply;

            memset(payload, (int)(kind * 7 + bytes), sizeof payload);
            front_close(&w.f);
            front_connect(&w.f, w.socket, PLAIN);
            (void)front_send(&w.f, kind | FRONT_REPLY, payload, bytes, NULL, 0);
            (void)recv(w.f.fd, &reply, sizeof reply, 0);
        }
    }
    still_serves(&w);
    world_end(&w);
}

static void unwanted_descriptors_are_closed(void **state)
{
    struct world w;
    int fds[32];
    uint64_t zero = 0;
    char path[64];
    unsigned before = 0;
    unsigned after = 0;

    (void)state;
    world_begin(&w, NULL);
    still_serves(&w);
    for (unsigned i = 0; i < 32; i++) {
        fds[i] = w.f.memfd;
    }
    for (unsigned round = 0; round < 40; round++) {
        unsigned count = 0;

        still_serves(&w);
        (void)front_send(&w.f, 1, NULL, 0, fds, 1 + round % 32);
        (void)front_send(&w.f, 12, &zero, 8, fds, 2);
        front_close(&w.f);
        still_serves(&w);
        for (int i = 0; i < 512; i++) {
            (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)w.pid, i);
            count += access(path, F_OK) == 0 ? 1u : 0u;
        }
        before = round == 1 ? count : before;
        after = count;
    }
    must(before > 0 && before == after);
    world_end(&w);
}

static void strange_events_are_refused(void **state)
{
    struct world w;
    uint64_t zero = 0;
    uint64_t many = UINT64_MAX - 1;
    int pair[2];
    int pipes[2];

    (void)state;
    world_begin(&w, NULL);
    world_connect(&w, PLAIN, 1);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(pipes) == 0);
    for (uint32_t kind = 12; kind <= 14; kind++) {
        must(front_tell(&w.f, kind, &zero, 8, &w.f.memfd, 1) == 1);
        must(front_tell(&w.f, kind, &zero, 8, &pair[0], 1) == 1);
        must(front_tell(&w.f, kind, &zero, 8, &pipes[0], 1) == 1);
        must(front_tell(&w.f, kind, &zero, 8, NULL, 0) == 1);
        must(front_tell(&w.f, kind, &(uint64_t){200}, 8, &w.f.q[0].call, 1) == 1);
    }

    /* a full eventfd holds up nobody */
    for (unsigned i = 0; i < 5; i++) {
        uint64_t count;

        (void)!read(w.f.q[0].call, &count, 8);
        must(write(w.f.q[0].call, &many, 8) == 8);
        must(front_do(&w.f, 0, T_READ, 0, 512) == 0);
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    still_serves(&w);
    world_end(&w);
}

/* No eventfd at all: the back end looks by itself. */
static void works_without_events(void **state)
{
    struct world w;
    uint64_t none = 256;

    (void)state;
    world_begin(&w, NULL);
    world_connect(&w, PLAIN, 1);
    must(front_tell(&w.f, 12, &none, 8, NULL, 0) == 0);
    must(front_tell(&w.f, 13, &none, 8, NULL, 0) == 0);
    for (unsigned i = 0; i < 20; i++) {
        front_offer(&w.f, 0, 0, T_READ, 0, 512);
        for (unsigned j = 0; j < 2000 && !w.f.q[0].slot[0].done; j++) {
            (void)usleep(1000);
            (void)front_collect(&w.f, 0);
        }
        must(w.f.q[0].slot[0].done && w.f.q[0].slot[0].status == 0);
    }
    still_serves(&w);
    world_end(&w);
}

static void queues_that_cannot_be_are_refused(void **state)
{
    struct world w;
    uint64_t addr[5] = {0, FRONT_USER, FRONT_USER + 8192, FRONT_USER + 4096, 0};
    uint64_t zero = 0;

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        world_begin(&w, NULL);
        front_connect(&w.f, w.socket, PLAIN);
        front_share_memory(&w.f);
        must(front_tell(&w.f, 8, (uint32_t[2]){0, 0}, 8, NULL, 0) == 1);
        must(front_tell(&w.f, 8, (uint32_t[2]){0, 65536}, 8, NULL, 0) == 1);
        must(front_tell(&w.f, 8, (uint32_t[2]){99, 128}, 8, NULL, 0) == 1);
        must(front_tell(&w.f, 8, (uint32_t[2]){0, i == 7 ? 100 : 128}, 8, NULL, 0) == 0);
        memcpy(addr,
               (uint64_t[5]){0, FRONT_USER, FRONT_USER + 8192, FRONT_USER + 4096, 0},
               sizeof addr);
        addr[1 + i % 3] += i < 3 ? w.f.bytes - 512 : i < 6 ? 1 : 0;
        addr[1] = i == 6 ? UINT64_MAX - 100 : addr[1];
        must(front_tell(&w.f, 9, addr, 40, NULL, 0) == 0);
        must(front_tell(&w.f, 12, &zero, 8, &w.f.q[0].kick, 1) == 1);
        still_serves(&w);
        world_end(&w);
    }
}

static void bad_features_are_refused(void **state)
{
    struct world w;
    uint64_t f = (uint64_t)1 << 33; /* addresses of an IOMMU */

    (void)state;
    world_begin(&w, NULL);
    world_connect(&w, PLAIN, 1);
    must(front_tell(&w.f, 2, &f, 8, NULL, 0) == 1);
    f = w.f.features ^ F_PACKED; /* another format while it works */
    must(front_tell(&w.f, 2, &f, 8, NULL, 0) == 1);
    f = (uint64_t)1 << 14; /* in-band notifications */
    must(front_tell(&w.f, 16, &f, 8, NULL, 0) == 1);
    still_serves(&w);
    world_end(&w);
}

/* ---- guests ---- */

static void expect_broken(struct world *w)
{
    struct pollfd p = {w->f.q[0].error, POLLIN, 0};
    uint64_t count;

    must(poll(&p, 1, 20000) == 1);
    must(read(w->f.q[0].error, &count, 8) == 8);
    must(front_do(&w->f, 1, T_READ, 0, 4096) == 0); /* the others go on */
    (void)front_stop(&w->f, 0);
    front_lay_out(&w->f, 0, 128);
    front_start(&w->f, 0);
    must(front_do(&w->f, 0, T_READ, 0, 4096) == 0); /* and so does this one, anew */
}

static void kick(struct world *w)
{
    uint64_t one = 1;

    must(write(w->f.q[0].kick, &one, 8) == 8);
}

static void bad_rings_break_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct world w;
        struct driver *d;
        uint64_t *desc;
        const uint64_t far = UINT64_MAX - 8;

        world_begin(&w, NULL);
        world_connect(&w, PLAIN | F_INDIRECT, 2);
        d = &w.f.q[0].d;
        desc = (uint64_t *)(void *)(w.f.mem + d->desc);
        desc[0] = FRONT_GUEST;
        switch (i) {
        case 0: /* a loop */
            desc[1] = 16 | (uint64_t)1 << 32;
            break;
        case 1: /* nowhere */
            desc[0] = far;
            desc[1] = 16;
            break;
        case 2: /* a table that is nowhere */
            desc[0] = far;
            desc[1] = 64 | (uint64_t)4 << 32;
            break;
        case 3: /* nothing to write a status to */
            desc[1] = 16;
            break;
        case 4: /* a descriptor that is not there */
            w.f.mem[d->avail + 4] = 0xff;
            break;
        default: /* an index from another world */
            w.f.mem[d->avail + 3] = 0x70;
        }
        w.f.mem[d->avail + 2] = 1;
        kick(&w);
        expect_broken(&w);
        world_end(&w);
    }
}

struct flipper {
    struct front *f;
    atomic_bool stop;
    unsigned seed;
};

/* Change rings, tables and heads while the device reads them. */
static void *flip(void *arg)
{
    struct flipper *x = arg;

    while (!atomic_load(&x->stop)) {
        uint64_t at = (uint64_t)rand_r(&x->seed) % 16384;

        x->f->mem[at] ^= (uint8_t)(1u << rand_r(&x->seed) % 8);
    }
    return NULL;
}

static void rings_that_change_are_survived(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct world w;
        struct flipper x = {.f = &w.f, .seed = round + 1};
        pthread_t thread;
        uint64_t features = round % 2 != 0 ? PACKED : PLAIN | F_INDIRECT;

        if (round % 20 == 0) {
            world_begin(&w, round % 40 == 0 ? "crew" : NULL);
        }
        world_connect(&w, features, 1);
        for (unsigned i = 0; i < 60; i++) {
            front_offer(&w.f, 0, i, i % 2 != 0 ? T_READ : T_WRITE, i, 4096);
        }
        x.f = &w.f;
        must(pthread_create(&thread, NULL, flip, &x) == 0);
        for (unsigned i = 0; i < 200; i++) {
            kick(&w);
            (void)usleep(50);
        }
        atomic_store(&x.stop, true);
        (void)pthread_join(thread, NULL);
        still_serves(&w);
        front_close(&w.f);
        if (round % 20 == 19) {
            world_end(&w);
        }
    }
}

/* ---- accounts of requests under way ---- */

static void any_account_is_survived(void **state)
{
    unsigned seed = 5;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct world w;
        uint8_t *account;
        uint64_t bytes;
        unsigned holes = round % 3 == 0 ? 4096 : 6;

        if (round % 50 == 0) {
            world_begin(&w, NULL);
        }
        front_connect(&w.f, w.socket, round % 2 != 0 ? PACKED : PLAIN);
        front_share_memory(&w.f);
        front_inflight(&w.f, 1, 128);
        front_lay_out(&w.f, 0, 128);
        front_start(&w.f, 0);
        must(front_do(&w.f, 0, T_READ, 0, 4096) == 0);
        (void)front_stop(&w.f, 0);
        memcpy(&bytes, w.f.inflight_shape, 8);
        account = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, w.f.inflight, 0);
        must(account != MAP_FAILED);
        for (unsigned i = 0; i < holes; i++) {
            uint64_t span = round % 4 == 0 ? 48 : bytes;

            account[(uint64_t)rand_r(&seed) % span] = (uint8_t)rand_r(&seed);
        }
        (void)munmap(account, bytes);
        front_start(&w.f, 0);
        kick(&w);
        (void)front_stop(&w.f, 0);
        still_serves(&w);
        front_close(&w.f);
        if (round % 50 == 49) {
            world_end(&w);
        }
    }
}

static void bad_accounts_are_refused(void **state)
{
    struct world w;
    uint8_t shape[24] = {0};
    uint8_t reply[24];
    uint64_t big = 1 << 20;
    int fd;

    (void)state;
    world_begin(&w, NULL);
    front_connect(&w.f, w.socket, PLAIN);
    fd = memfd_create("account", MFD_CLOEXEC);
    must(fd >= 0 && ftruncate(fd, 4096) == 0);
    shape[16] = 1;
    shape[18] = 128;
    must(front_tell(&w.f, 32, shape, 24, &fd, 1) == 1); /* nothing of it */
    memcpy(shape, &big, 8);
    must(front_tell(&w.f, 32, shape, 24, &fd, 1) == 1); /* more than there is */
    must(front_tell(&w.f, 32, shape, 24, NULL, 0) == 1);
    shape[16] = 0;
    must(front_ask(&w.f, 31, shape, 24, reply, 24) == -1); /* for no queue */
    (void)close(fd);
    still_serves(&w);
    world_end(&w);
}

/* ---- leaving ---- */

/* The front end goes with requests under way; the next one waits until they are done. */
static void leaving_at_once_is_survived(void **state)
{
    struct world w;

    (void)state;
    world_begin(&w, "delay-ms=5");
    for (unsigned round = 0; round < 20; round++) {
        world_connect(&w, round % 2 != 0 ? PACKED : PLAIN, 2);
        for (unsigned i = 0; i < 40; i++) {
            front_offer(&w.f, i % 2, i, T_WRITE, i, 512);
        }
        front_kick(&w.f, 0);
        front_kick(&w.f, 1);
        (void)usleep(round * 500);
        front_close(&w.f);
    }
    still_serves(&w);
    world_end(&w);
}

/* Memory that was not sealed becomes shorter: under rings, under data, with requests under way. */
static void memory_that_goes_is_survived(void **state)
{
    static const off_t rests[] = {0, 4096, 1 << 20}; /* the last one has the rings */
    struct world w;
    char c;

    (void)state;
    world_begin(&w, "delay-ms=2");
    for (unsigned round = 0; round < 12; round++) {
        world_connect(&w, round % 2 != 0 ? PACKED : PLAIN, 2);
        must(front_do(&w.f, 0, T_READ, 0, 4096) == 0);
        for (unsigned i = 0; round >= 6 && i < 20; i++) {
            front_offer(&w.f, 1, i, i % 2 != 0 ? T_READ : T_WRITE, i * 8, 4096);
        }
        if (round >= 6) {
            front_kick(&w.f, 1);
            (void)usleep(round * 200);
        }
        must(front_data(&w.f, 0, 100) > w.f.mem + rests[round / 2 % 3]);
        front_offer(&w.f, 0, 100, T_WRITE, 8, 4096);
        must(ftruncate(w.f.memfd, rests[round / 2 % 3]) == 0);
        must(write(w.f.q[0].kick, &(uint64_t){1}, 8) == 8);
        if (round / 2 % 3 == 2 && front_wait(&w.f, 0, 100, 1000)) {
            must(w.f.q[0].slot[100].status != 0); /* the kernel found it out */
        } else {
            must(recv(w.f.fd, &c, 1, 0) <= 0); /* it ends the session */
        }
        must(ftruncate(w.f.memfd, (off_t)w.f.bytes) == 0);
        still_serves(&w);
        front_close(&w.f);
    }
    world_end(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_ends_the_session),
        cmocka_unit_test(each_message_stands_alone),
        cmocka_unit_test(unwanted_descriptors_are_closed),
        cmocka_unit_test(strange_events_are_refused),
        cmocka_unit_test(works_without_events),
        cmocka_unit_test(queues_that_cannot_be_are_refused),
        cmocka_unit_test(bad_features_are_refused),
        cmocka_unit_test(bad_rings_break_alone),
        cmocka_unit_test(rings_that_change_are_survived),
        cmocka_unit_test(any_account_is_survived),
        cmocka_unit_test(bad_accounts_are_refused),
        cmocka_unit_test(leaving_at_once_is_survived),
        cmocka_unit_test(memory_that_goes_is_survived),
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
