/* loop_test.c - the promises of host/loop, for both drivers. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/strand.h"
#include "host/loop/file_io.h"
#include "host/loop/loop.h"
#include "tests/base/check.h"

#define MS 1000000

/* Each test runs on a loop of the driver that the group was started for. */
static int start(void **state, enum loop_driver_kind kind)
{
    struct loop *l = NULL;
    struct err e = {0};

    if (loop_create(kind, &l, &e) != 0) {
        print_message("skipped: %s\n", e.text);
    }
    *state = l;
    return 0;
}

static struct loop *loop_of(void **state)
{
    if (*state == NULL) {
        skip();
    }
    return *state;
}

static int start_ring(void **state)
{
    return start(state, LOOP_DRIVER_RING);
}

static int start_crew(void **state)
{
    return start(state, LOOP_DRIVER_CREW);
}

static int stop(void **state)
{
    loop_destroy(*state);
    return 0;
}

struct reader {
    struct loop_watch watch;
    char got[64];
    unsigned calls;
    unsigned most; /* take so many bytes a call */
};

static void read_some(struct loop_watch *w, uint32_t events)
{
    struct reader *r = (struct reader *)w;
    size_t at = strlen(r->got);
    ssize_t n;

    assert_true((events & (EPOLLIN | EPOLLHUP)) != 0);
    r->calls++;
    n = read(w->fd, r->got + at, r->most);
    assert_true(n >= 0);
    if (n == 0) {
        loop_stop(w->loop);
        loop_unwatch(w);
    }
}

static void a_watch_is_level_triggered(void **state)
{
    struct loop *l = loop_of(state);
    struct reader r = {.watch = {.events = EPOLLIN, .fn = read_some}, .most = 2};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    r.watch.fd = pair[0];
    assert_int_equal(loop_watch(l, &r.watch), 0);
    assert_int_equal(loop_turn(l, 0), 0);
    assert_int_equal(r.calls, 0);
    assert_int_equal(write(pair[1], "abcdef", 6), 6);
    (void)close(pair[1]);
    assert_int_equal(loop_run(l), 0);
    assert_string_equal(r.got, "abcdef");
    assert_int_equal(r.calls, 4); /* three times two bytes and the end */
    (void)close(pair[0]);
}

static void count_call(struct loop_watch *w, uint32_t events)
{
    struct reader *r = (struct reader *)w;

    (void)events;
    r->calls++;
}

static void a_watch_may_rest_and_leave(void **state)
{
    struct loop *l = loop_of(state);
    struct reader r = {.watch = {.events = EPOLLIN, .fn = count_call}};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    r.watch.fd = pair[0];
    assert_int_equal(loop_watch(l, &r.watch), 0);
    assert_int_equal(loop_turn(l, 0), 0);
    assert_int_equal(loop_watch_change(&r.watch, 0), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_int_equal(loop_turn(l, 1), 0);
    assert_int_equal(r.calls, 0);
    assert_int_equal(loop_watch_change(&r.watch, EPOLLIN), 0);
    while (r.calls == 0) {
        assert_int_equal(loop_turn(l, 100), 0);
    }
    assert_int_equal(loop_watch_change(&r.watch, EPOLLIN | EPOLLOUT), 0);
    loop_unwatch(&r.watch);
    loop_unwatch(&r.watch);
    r.calls = 0;
    assert_int_equal(loop_turn(l, 1), 0);
    assert_int_equal(r.calls, 0);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void wants_both(struct loop_watch *w, uint32_t events)
{
    struct reader *r = (struct reader *)w;

    r->calls++;
    if ((events & EPOLLOUT) != 0) {
        loop_stop(w->loop);
    } else {
        assert_int_equal(loop_watch_change(w, EPOLLOUT), 0);
    }
}

static void a_handler_may_change_its_watch(void **state)
{
    struct loop *l = loop_of(state);
    struct reader r = {.watch = {.events = EPOLLIN, .fn = wants_both}};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    r.watch.fd = pair[0];
    assert_int_equal(loop_watch(l, &r.watch), 0);
    assert_int_equal(loop_run(l), 0);
    assert_int_equal(r.calls, 2);
    loop_unwatch(&r.watch);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

struct tick {
    struct loop_timer timer;
    struct loop *loop;
    char *text;
    char letter;
};

static void note_tick(struct loop_timer *t)
{
    struct tick *k = (struct tick *)t;

    strncat(k->text, &k->letter, 1);
    if (strlen(k->text) == 3) {
        loop_stop(k->loop);
    }
}

static void timers_fire_in_their_order(void **state)
{
    struct loop *l = loop_of(state);
    char text[8] = "";
    struct tick a = {{.fn = note_tick}, l, text, 'a'};
    struct tick b = {{.fn = note_tick}, l, text, 'b'};
    struct tick c = {{.fn = note_tick}, l, text, 'c'};
    struct tick never = {{.fn = note_tick}, l, text, '!'};

    loop_timer_set(l, &c.timer, 6 * MS);
    loop_timer_set(l, &a.timer, 9 * MS);
    loop_timer_set(l, &never.timer, 1 * MS);
    loop_timer_set(l, &b.timer, 4 * MS);
    loop_timer_set(l, &a.timer, 2 * MS); /* anew */
    loop_timer_clear(l, &never.timer);
    assert_int_equal(loop_run(l), 0);
    assert_string_equal(text, "abc");
}

struct tasks {
    struct loop_task task;
    struct loop *loop;
    unsigned runs;
};

static void run_task(struct loop_task *t)
{
    struct tasks *k = (struct tasks *)t;

    k->runs++;
    loop_stop(k->loop);
}

static void a_task_runs_once_at_the_end_of_the_turn(void **state)
{
    struct loop *l = loop_of(state);
    struct tasks k = {.task = {.fn = run_task}, .loop = l};

    loop_later(l, &k.task);
    loop_later(l, &k.task);
    assert_int_equal(k.runs, 0);
    assert_int_equal(loop_run(l), 0);
    assert_int_equal(k.runs, 1);
    loop_later(l, &k.task);
    assert_int_equal(loop_turn(l, -1), 0);
    assert_int_equal(k.runs, 2);
}

enum {
    POSTS = 500
};

struct poster {
    struct loop *loop;
    struct tasks tasks[POSTS];
    unsigned seen;
};

static void count_post(struct loop_task *t)
{
    struct tasks *k = (struct tasks *)t;

    k->runs++;
}

static void *post_many(void *arg)
{
    struct poster *p = arg;

    for (unsigned i = 0; i < POSTS; i++) {
        p->tasks[i] = (struct tasks){.task = {.fn = count_post}, .loop = p->loop};
        loop_post(p->loop, &p->tasks[i].task);
    }
    return NULL;
}

static void other_threads_post(void **state)
{
    struct loop *l = loop_of(state);
    static struct poster p;
    pthread_t thread;
    unsigned sum = 0;

    p = (struct poster){.loop = l};
    assert_int_equal(pthread_create(&thread, NULL, post_many, &p), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(loop_turn(l, 1000), 0);
    for (unsigned i = 0; i < POSTS; i++) {
        sum += p.tasks[i].runs;
    }
    assert_int_equal(sum, POSTS);
}

/* A descriptor that woke, was read by somebody else and then given up, is closed:
 * nothing of the loop keeps its file open.  The peer sees the end. */
static void a_closed_descriptor_is_let_go(void **state)
{
    struct loop *l = loop_of(state);

    for (unsigned i = 0; i < 200; i++) {
        struct reader r = {.watch = {.events = EPOLLIN, .fn = count_call}};
        int pair[2];
        char byte;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        r.watch.fd = pair[0];
        assert_int_equal(loop_watch(l, &r.watch), 0);
        assert_int_equal(loop_turn(l, 0), 0);
        assert_int_equal(write(pair[1], "x", 1), 1);
        assert_int_equal(recv(pair[0], &byte, 1, MSG_DONTWAIT), 1);
        loop_unwatch(&r.watch);
        (void)close(pair[0]);
        for (unsigned k = 0; k < 10 && recv(pair[1], &byte, 1, MSG_DONTWAIT) != 0; k++) {
            assert_int_equal(loop_turn(l, 0), 0);
        }
        assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
        (void)close(pair[1]);
    }
}

/* ---- files ---- */

struct file_job {
    struct loop *loop;
    struct file_io file;
    int flags;
};

static int open_scratch(struct file_job *f)
{
    char name[] = "/var/tmp/loop-test-XXXXXX";

    f->file = (struct file_io){.loop = f->loop, .fd = mkostemp(name, O_CLOEXEC)};
    assert_true(f->file.fd >= 0);
    return unlink(name);
}

static int write_read_sync(void *arg)
{
    struct file_job *f = arg;
    char in[3][1000];
    char out[3000];
    struct iovec v[3] = {{in[0], 1000}, {in[1], 1000}, {in[2], 1000}};
    struct iovec w = {out, sizeof out};

    memset(in, 'q', sizeof in);
    in[2][999] = 'z';
    assert_int_equal(file_io_writev(&f->file, v, 3, 5000, false), 3000);
    assert_int_equal(file_io_sync(&f->file), 0);
    assert_int_equal(file_io_readv(&f->file, &w, 1, 5000), 3000);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(file_io_readv(&f->file, &w, 1, 7000), 1000); /* the end */
    assert_int_equal(file_io_readv(&f->file, &w, 1, 9000), 0);
    assert_int_equal(file_io_writev(&f->file, v, 3, 0, true), 3000);
    assert_int_equal(
        file_io_allocate(&f->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
        0);
    assert_int_equal(file_io_readv(&f->file, &w, 1, 0), 3000);
    assert_int_equal(out[0] | out[2999], 0);
    return 0;
}

static void a_file_gives_back_what_it_took(void **state)
{
    struct file_job f = {.loop = loop_of(state)};

    assert_int_equal(open_scratch(&f), 0);
    assert_int_equal(loop_do(f.loop, write_read_sync, &f), 0);
    (void)close(f.file.fd);
}

static int fail_everything(void *arg)
{
    struct file_job *f = arg;
    char byte = 0;
    struct iovec v = {&byte, 1};

    assert_int_equal(file_io_readv(&f->file, &v, 1, 0), -EBADF);
    assert_int_equal(file_io_writev(&f->file, &v, 1, 0, false), -EBADF);
    assert_int_equal(file_io_writev(&f->file, &v, 1, 0, true), -EBADF);
    assert_int_equal(file_io_sync(&f->file), -EBADF);
    assert_int_equal(file_io_allocate(&f->file, 0, 0, 1), -EBADF);
    return 0;
}

static void errors_are_told(void **state)
{
    struct file_job f = {.loop = loop_of(state), .file = {.loop = *state, .fd = -1}};

    assert_int_equal(loop_do(f.loop, fail_everything, &f), 0);
}

static int fill_device(void *arg)
{
    struct file_job *f = arg;
    char bytes[4096] = {0};
    struct iovec v = {bytes, sizeof bytes};

    return (int)file_io_writev(&f->file, &v, 1, 0, false);
}

static void a_full_device_is_told(void **state)
{
    struct file_job f = {.loop = loop_of(state)};

    f.file = (struct file_io){.loop = f.loop, .fd = open("/dev/full", O_WRONLY)};
    assert_int_equal(loop_do(f.loop, fill_device, &f), -ENOSPC);
    (void)close(f.file.fd);
}

/* Direct reads really wait: many strands at once, each with its own block. */
enum {
    READERS = 64,
    BLOCK = 4096
};

struct many {
    struct file_job *file;
    unsigned left;
    struct loop *loop;
};

struct one {
    struct many *all;
    unsigned number;
};

static void read_block(void *arg)
{
    struct one *o = arg;
    void *room = NULL;
    struct iovec v;
    unsigned char want = (unsigned char)o->number;

    assert_int_equal(posix_memalign(&room, BLOCK, BLOCK), 0);
    v = (struct iovec){room, BLOCK};
    assert_int_equal(
        file_io_readv(&o->all->file->file, &v, 1, (uint64_t)o->number * BLOCK), BLOCK);
    assert_memory_equal(room, &want, 1);
    free(room);
    if (--o->all->left == 0) {
        loop_stop(o->all->loop);
    }
}

static void many_wait_side_by_side(void **state)
{
    struct file_job f = {.loop = loop_of(state)};
    struct many all = {.file = &f, .left = READERS, .loop = f.loop};
    static struct one ones[READERS];
    unsigned char block[BLOCK];

    assert_int_equal(open_scratch(&f), 0);
    for (unsigned i = 0; i < READERS; i++) {
        memset(block, (int)i, sizeof block);
        assert_int_equal(pwrite(f.file.fd, block, BLOCK, (off_t)i * BLOCK), BLOCK);
    }
    assert_int_equal(fsync(f.file.fd), 0);
    if (fcntl(f.file.fd, F_SETFL, O_DIRECT) == 0) {
        f.file.direct = true;
    }
    for (unsigned i = 0; i < READERS; i++) {
        ones[i] = (struct one){&all, i};
        assert_int_equal(strand_start(loop_strands(f.loop), read_block, &ones[i]), 0);
    }
    while (all.left > 0) {
        assert_int_equal(loop_turn(f.loop, -1), 0);
    }
    (void)close(f.file.fd);
}

#define BIG              262144
#define LENDING_PAUSE_MS 60

struct copy {
    struct file_job *file;
    char *room;
    size_t bytes;
    bool done;
};

static void copy_out(void *arg)
{
    struct copy *c = arg;
    struct iovec v = {c->room, c->bytes};

    assert_int_equal(file_io_readv(&c->file->file, &v, 1, 0), c->bytes);
    c->done = true;
}

static bool is_done_at_once(struct copy *c, size_t bytes, bool more)
{
    c->bytes = bytes;
    c->done = false;
    memset(c->room, 0, BIG);
    loop_have_more(c->file->loop, more);
    assert_int_equal(strand_start(loop_strands(c->file->loop), copy_out, c), 0);
    loop_have_more(c->file->loop, false);
    return c->done;
}

/* On a busy host nothing is lent for a while after a copy that took long. */
static void pass_the_pause(struct loop *l)
{
    assert_int_equal(loop_turn(l, LENDING_PAUSE_MS), 0);
    assert_int_equal(loop_turn(l, LENDING_PAUSE_MS), 0);
}

static void a_big_copy_is_lent_while_more_waits(void **state)
{
    struct file_job f = {.loop = loop_of(state)};
    struct copy first = {.file = &f, .room = malloc(BIG)};
    struct copy second = {.file = &f, .room = malloc(BIG)};
    char *want = malloc(BIG);

    assert_int_equal(open_scratch(&f), 0);
    for (size_t i = 0; i < BIG; i++) {
        want[i] = (char)(i * 7 + i / 4096);
    }
    assert_int_equal(pwrite(f.file.fd, want, BIG, 0), BIG);
    for (unsigned round = 0; round < 2; round++) {
        pass_the_pause(f.loop);
        assert_false(is_done_at_once(&first, BIG, true));
        assert_true(is_done_at_once(&second, BIG, false));
        while (!first.done) {
            (void)loop_collect(f.loop);
        }
        assert_memory_equal(first.room, want, BIG);
        assert_memory_equal(second.room, want, BIG);
        assert_false(loop_collect(f.loop));
    }
    assert_true(is_done_at_once(&first, BLOCK, true));
    pass_the_pause(f.loop);
    assert_false(is_done_at_once(&first, BIG, true));
    assert_false(is_done_at_once(&second, BIG, true));
    while (!first.done || !second.done) { /* the loop itself sees to it as well */
        assert_int_equal(loop_turn(f.loop, -1), 0);
    }
    assert_memory_equal(second.room, want, BIG);
    (void)close(f.file.fd);
    free(first.room);
    free(second.room);
    free(want);
}

static int wait_for_socket(void *arg)
{
    struct file_job *f = arg;

    assert_int_equal(loop_wait_fd(f->loop, f->file.fd, EPOLLIN, 5 * MS), -ETIMEDOUT);
    assert_int_equal(loop_wait_fd(f->loop, f->file.fd, EPOLLOUT, -1), EPOLLOUT);
    loop_sleep(f->loop, 2 * MS);
    return 77;
}

static void a_strand_waits_for_a_descriptor(void **state)
{
    struct file_job f = {.loop = loop_of(state)};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    f.file.fd = pair[0];
    assert_int_equal(loop_do(f.loop, wait_for_socket, &f), 77);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static int answer(void *arg)
{
    unsigned *n = arg;

    *n = 5;
    return -EDOM;
}

static int call_out(void *arg)
{
    struct file_job *f = arg;
    unsigned n = 0;

    assert_int_equal(file_io_call(f->loop, answer, &n), -EDOM);
    assert_int_equal(n, 5);
    return 0;
}

static void a_blocking_call_runs_elsewhere(void **state)
{
    struct file_job f = {.loop = loop_of(state)};

    assert_int_equal(loop_do(f.loop, call_out, &f), 0);
}

struct looker {
    struct loop_poller poller;
    unsigned looks;
    unsigned rests;
};

static bool find_at_third(struct loop_poller *p)
{
    struct looker *k = (struct looker *)p;

    return ++k->looks == 3;
}

static void an_idle_loop_does_not_look_around(void **state)
{
    struct loop *l = loop_of(state);
    struct looker k = {.poller.fn = find_at_third};

    loop_poller_add(l, &k.poller);
    assert_int_equal(loop_turn(l, 5), 0);
    assert_int_equal(k.looks, 0);
    loop_poller_remove(l, &k.poller);
}

static bool find_nothing(struct loop_poller *p)
{
    ((struct looker *)p)->looks++;
    return false;
}

/* Somebody says that more is likely to come, again and again, and nothing does. */
static void looking_in_vain_becomes_rare(void **state)
{
    struct loop *l = loop_of(state);
    struct looker k = {.poller.fn = find_nothing};
    unsigned looked = 0;

    loop_poller_add(l, &k.poller);
    for (unsigned i = 0; i < 100; i++) {
        unsigned before = k.looks;

        loop_expect_more(l);
        assert_int_equal(loop_turn(l, 1), 0);
        looked += k.looks > before;
    }
    assert_in_range(looked, 1, 50);
    loop_poller_remove(l, &k.poller);
}

/* Something comes while the loop makes ready to sleep, and nobody will wake it. */
static bool came_just_now(struct loop_poller *p)
{
    struct looker *k = (struct looker *)p;

    return ++k->rests == 1;
}

static void a_loop_asks_before_it_sleeps(void **state)
{
    struct loop *l = loop_of(state);
    struct looker k = {.poller = {.fn = find_at_third, .rest = came_just_now}};

    loop_poller_add(l, &k.poller);
    assert_int_equal(loop_turn(l, -1), 0); /* would sleep for ever */
    assert_int_equal(k.rests, 1);
    assert_int_equal(k.looks, 1);
    assert_int_equal(loop_turn(l, 5), 0);
    assert_int_equal(k.rests, 2);
    assert_int_equal(k.looks, 1);
    loop_poller_remove(l, &k.poller);
}

static int create_one(void *arg)
{
    struct loop *l = NULL;
    int r = loop_create(*(enum loop_driver_kind *)arg, &l, NULL);

    loop_destroy(l);
    return r;
}

static void no_memory_leaves_nothing(void **state)
{
    enum loop_driver_kind crew = LOOP_DRIVER_CREW;

    (void)state;
    assert_true(check_each_allocation(create_one, &crew, -ENOMEM) >= 3);
}

#define BOTH(f)                                                                          \
    {"ring: " #f, f, start_ring, stop, NULL},                                            \
    {                                                                                    \
        "crew: " #f, f, start_crew, stop, NULL                                           \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_watch_is_level_triggered),
        BOTH(a_watch_may_rest_and_leave),
        BOTH(a_handler_may_change_its_watch),
        BOTH(a_closed_descriptor_is_let_go),
        BOTH(timers_fire_in_their_order),
        BOTH(a_task_runs_once_at_the_end_of_the_turn),
        BOTH(other_threads_post),
        BOTH(a_file_gives_back_what_it_took),
        BOTH(errors_are_told),
        BOTH(a_full_device_is_told),
        BOTH(many_wait_side_by_side),
        BOTH(a_big_copy_is_lent_while_more_waits),
        BOTH(a_strand_waits_for_a_descriptor),
        BOTH(a_blocking_call_runs_elsewhere),
        BOTH(an_idle_loop_does_not_look_around),
        BOTH(looking_in_vain_becomes_rare),
        BOTH(a_loop_asks_before_it_sleeps),
        cmocka_unit_test(no_memory_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
