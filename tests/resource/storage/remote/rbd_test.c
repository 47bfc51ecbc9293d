/* rbd_test.c - images of a Ceph pool as disks.
 *
 *     rbd_test [CONF OSD-PID]
 *
 * Without a cluster: that the rows of librbd's functions are as its headers say, and what
 * a missing library is answered with. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<rbd/librbd.h>)
#    include <rbd/librbd.h>
#else
#    define NO_HEADER
#endif

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/storage/remote/rbd_private.h"
#include "resource/storage/remote/remote.h"
#include "tests/contract/blk_suite.h"

#define OBJECT (4u << 20)
#define POOL   "rbd"

static const char *conf;
static int osd;

/* ---- without a cluster ---- */

#ifndef NO_HEADER
#    define SAME(type, name, parameters)                                                 \
        _Static_assert(__builtin_types_compatible_p(typeof(&name), type(*) parameters),  \
                       #name);
REMOTE_RADOS_ROWS(SAME)
REMOTE_RBD_ROWS(SAME)
#    undef SAME
_Static_assert(RBD_IMAGE_OPTION_CLONE_FORMAT == 12, "rbd_private.h");
_Static_assert(RBD_WRITE_ZEROES_FLAG_THICK_PROVISION == 1, "rbd_private.h");
_Static_assert(RBD_LOCK_MODE_EXCLUSIVE == 0, "rbd_private.h");
_Static_assert(RBD_FLAG_FAST_DIFF_INVALID == 2, "rbd_private.h");
_Static_assert(sizeof(struct rados_cluster_stat_t) == 32, "rbd_private.h");
_Static_assert(sizeof(rbd_image_spec_t) == 2 * sizeof(char *), "rbd_private.h");
#endif

static int lack_library(void *arg)
{
    struct remote_rbd_options o = {.pool = POOL, .soname = "librbd-none.so.1"};
    struct remote_rbd *p = NULL;
    struct err e = {0};

    must(remote_rbd_connect(arg, &o, &p, &e) == -ENOPKG);
    must(strstr(e.text, "librbd-none.so.1") != NULL && strchr(e.text, '\n') == NULL);
    err_clear(&e);
    o.soname = "libm.so.6"; /* one that is there and is not it */
    must(remote_rbd_connect(arg, &o, &p, &e) == -ENOPKG);
    must(strstr(e.text, "rados_create2") != NULL);
    return 0;
}

/* ---- the suite ---- */

static struct remote_rbd *pool;
static unsigned images;

static int open_image(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct remote_rbd_options o = {.conf = conf, .pool = POOL};
    struct remote_rbd_image i = {.exclusive = true};
    struct remote_rbd *p;
    char name[32];
    int r;

    (void)take_lower;
    (void)size_bytes;
    (void)snprintf(name, sizeof name, "suite-%u", images);
    i.name = name;
    must_be_0(remote_rbd_connect(l, &o, &p, e));
    r = remote_rbd_create(p, &i, ret_disk, e);
    remote_rbd_leave(p); /* the disk keeps it */
    return r;
}

static int make_image(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct remote_rbd_options o = {.conf = conf, .pool = POOL};
    struct remote_rbd *p;
    char name[32];

    (void)snprintf(name, sizeof name, "suite-%u", ++images);
    must_be_0(remote_rbd_connect(l, &o, &p, e));
    must_be_0(remote_rbd_make(p, name, size_bytes, e));
    remote_rbd_leave(p);
    return open_image(l, take_lower, size_bytes, ret_disk, e);
}

/* ---- images, snapshots and clones ---- */

static struct blk *open_at(struct blk_edge *edge, const char *name, const char *snapshot)
{
    struct remote_rbd_image i = {.name = name, .snapshot = snapshot};
    struct blk *b;

    must_be_0(remote_rbd_create(pool, &i, &b, NULL));
    *edge =
        (struct blk_edge){.user = "test",
                          .uses = BLK_USE_READ | (snapshot == NULL ? BLK_USE_WRITE : 0),
                          .lets = BLK_USE_ALL};
    must_be_0(blk_attach(edge, b, NULL));
    return b;
}

static void put(const char *name, uint64_t off, int byte)
{
    struct blk_edge edge;
    struct blk *b = open_at(&edge, name, NULL);
    char room[4096];

    memset(room, byte, sizeof room);
    must_be_0(blk_write(b, room, sizeof room, off, 0));
    must_be_0(blk_flush(b));
    blk_detach(&edge);
}

static int get(const char *name, const char *snapshot, uint64_t off)
{
    struct blk_edge edge;
    struct blk *b = open_at(&edge, name, snapshot);
    char room[4096];

    must_be_0(blk_read(b, room, sizeof room, off));
    blk_detach(&edge);
    return room[17];
}

static double seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void note_name(void *arg, const char *image)
{
    (void)strcat(strcat(arg, image), " ");
}

static void snapshots_and_clones(void)
{
    struct err e = {0};
    char names[4096] = "";
    char name[32] = "base";
    char next[32];

    must_be_0(remote_rbd_make(pool, "base", 64u << 20, &e));
    must(remote_rbd_make(pool, "base", 64u << 20, &e) == -EEXIST);
    must(strstr(e.text, "rbd/base") != NULL);
    put("base", 0, 'a');
    must_be_0(remote_rbd_snapshot(pool, "base", "s", NULL));
    put("base", 0, 'b');
    must(get("base", "s", 0) == 'a' && get("base", NULL, 0) == 'b');
    must_be_0(remote_rbd_clone(pool, "base", "s", "child", NULL));
    must(get("child", NULL, 0) == 'a');
    put("child", 8192, 'c');
    must(get("child", NULL, 0) == 'a' && get("child", NULL, 8192) == 'c');
    must(get("base", NULL, 8192) == 0);
    must_be_0(remote_rbd_forget(pool, "base", "s", NULL)); /* its clone lives on */
    must(get("child", NULL, 0) == 'a');
    err_clear(&e);
    must(remote_rbd_remove(pool, "base", &e) == -EBUSY);
    must(strstr(e.text, "snapshots") != NULL);

    /* A clone of a clone of a clone ... */
    for (unsigned i = 0; i < 12; i++) {
        (void)snprintf(next, sizeof next, "link-%u", i);
        must_be_0(remote_rbd_snapshot(pool, i == 0 ? "child" : name, "s", NULL));
        must_be_0(remote_rbd_clone(pool, i == 0 ? "child" : name, "s", next, NULL));
        (void)strcpy(name, next);
    }
    must(get(name, NULL, 0) == 'a' && get(name, NULL, 8192) == 'c');
    must_be_0(remote_rbd_list(pool, note_name, names, NULL));
    must(strstr(names, "base ") != NULL && strstr(names, "link-11 ") != NULL);
    must_be_0(remote_rbd_remove(pool, name, NULL));
    err_clear(&e);
    must(remote_rbd_remove(pool, name, &e) == -ENOENT);
    must(remote_rbd_snapshot(pool, "none", "s", NULL) == -ENOENT);
    must(remote_rbd_clone(pool, "base", "none", "x", NULL) == -ENOENT);
}

/* The time of a clone, and of the list of what it holds, for 64 MiB and for 16 TiB. */
static void clones_cost_the_same(void)
{
    double took[2];

    for (unsigned i = 0; i < 2; i++) {
        const char *name = i == 0 ? "small" : "large";
        double from;

        must_be_0(remote_rbd_make(pool, name, i == 0 ? 64u << 20 : 16ull << 40, NULL));
        put(name, 1 << 20, 'x');
        from = seconds();
        must_be_0(remote_rbd_snapshot(pool, name, "s", NULL));
        must_be_0(remote_rbd_clone(pool, name, "s", i == 0 ? "small2" : "large2", NULL));
        took[i] = seconds() - from;
    }
    (void)printf("     snapshot and clone: %.0f ms of 64 MiB, %.0f ms of 16 TiB\n",
                 took[0] * 1e3, took[1] * 1e3);
    must(took[1] < 20 * took[0] + 1);
}

static void status_tells_objects(void)
{
    struct blk_edge edge;
    struct blk_extent x;
    struct blk *b;
    char room[512] = "x";

    must_be_0(remote_rbd_make(pool, "status", 16 * OBJECT, NULL));
    b = open_at(&edge, "status", NULL);
    must_be_0(blk_status(b, 0, 16 * OBJECT, &x));
    must(x.state == 0 && x.bytes == 16 * OBJECT);
    must_be_0(
        blk_write(b, room, sizeof room, 3 * OBJECT, 0)); /* seen without asking anew */
    must_be_0(blk_status(b, OBJECT, 15 * OBJECT, &x));
    must(x.state == 0 && x.bytes == 2 * OBJECT);
    must_be_0(blk_status(b, 3 * OBJECT + 512, 13 * OBJECT - 512, &x));
    must((x.state & BLK_DATA) != 0 && x.bytes == OBJECT - 512);
    must_be_0(blk_resize(b, 20 * OBJECT, NULL));
    must_be_0(blk_status(b, 4 * OBJECT, 16 * OBJECT, &x));
    must(x.state == 0 && x.bytes == 16 * OBJECT);
    must_be_0(blk_flush(b));
    blk_detach(&edge);
    must_be_0(remote_rbd_snapshot(pool, "status", "s", NULL));
    must_be_0(remote_rbd_clone(pool, "status", "s", "status2", NULL));
    b = open_at(&edge, "status2", NULL);
    must_be_0(
        blk_status(b, 3 * OBJECT, OBJECT, &x)); /* it is the parent's, and is data */
    must((x.state & BLK_DATA) != 0);
    blk_detach(&edge);
}

static void one_may_have_it_alone(void)
{
    struct remote_rbd_options o = {.conf = conf, .pool = POOL};
    struct remote_rbd_image i = {.name = "alone", .exclusive = true};
    struct remote_rbd *other;
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_WRITE};
    struct blk *b;
    struct blk *c;
    struct err e = {0};

    must_be_0(remote_rbd_make(pool, "alone", OBJECT, NULL));
    must_be_0(remote_rbd_create(pool, &i, &b, NULL));
    must_be_0(blk_attach(&edge, b, NULL));
    must_be_0(remote_rbd_connect(pool->loop, &o, &other, NULL));
    must(remote_rbd_create(other, &i, &c, &e) == -EBUSY);
    must(strstr(e.text, "rbd/alone") != NULL);
    blk_detach(&edge);
    must_be_0(remote_rbd_create(other, &i, &c, NULL));
    remote_rbd_leave(other);
    blk_drop(c);
}

/* A cluster that stands still for a while: requests wait. */
static void requests_wait_for_the_cluster(void)
{
    struct blk_edge edge;
    struct blk *b;
    struct blk_request r[8];
    struct iovec piece[8];
    static char room[8][65536];

    must_be_0(remote_rbd_make(pool, "stopped", 8 * OBJECT, NULL));
    b = open_at(&edge, "stopped", NULL);
    must_be_0(kill(osd, SIGSTOP));
    if (fork() == 0) {
        (void)sleep(1);
        (void)kill(osd, SIGCONT);
        _exit(0);
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(room[i], (int)i + 1, sizeof room[i]);
        r[i] =
            (struct blk_request){.disk = b,
                                 .kind = BLK_WRITE,
                                 .off = i * OBJECT,
                                 .vec = blk_vec_of(&piece[i], room[i], sizeof room[i])};
    }
    must_be_0(blk_run_all(r, 8));
    must_be_0(blk_flush(b));
    blk_detach(&edge);
    must(get("stopped", NULL, 7 * OBJECT) == 8);
}

static void refusals(struct loop *l)
{
    struct remote_rbd_options o = {.conf = conf, .pool = "none"};
    struct remote_rbd_image i = {.name = "none"};
    struct remote_rbd *p = NULL;
    struct blk *b = NULL;
    struct err e = {0};
    uint64_t size = 0;
    uint64_t room = 0;
    int r = -ENOMEM;

    must(remote_rbd_connect(l, &o, &p, &e) == -ENOENT);
    must(strstr(e.text, "'none'") != NULL);
    err_clear(&e);
    o.conf = "/nonexistent/ceph.conf";
    must(remote_rbd_connect(l, &o, &p, &e) == -ENOENT);
    must(strstr(e.text, o.conf) != NULL);
    err_clear(&e);
    must(remote_rbd_create(pool, &i, &b, &e) == -ENOENT);
    must(strstr(e.text, "rbd/none") != NULL);
    must_be_0(remote_rbd_room(pool, &size, &room, NULL));
    must(room <= size); /* both 0 where no manager counts them */
    o = (struct remote_rbd_options){.conf = conf, .pool = POOL, .space = "apart"};
    i.name = "base";
    for (long n = 0; n < 20 && r != 0; n++) {
        fault_fail_alloc_at(n);
        r = remote_rbd_connect(l, &o, &p, NULL);
        fault_fail_alloc_at(-1);
    }
    must_be_0(r);
    must(remote_rbd_create(p, &i, &b, NULL) == -ENOENT); /* another namespace */
    remote_rbd_leave(p);
    r = -ENOMEM;
    for (long n = 0; n < 20 && r != 0; n++) {
        fault_fail_alloc_at(n);
        r = remote_rbd_create(pool, &i, &b, NULL);
        fault_fail_alloc_at(-1);
    }
    must_be_0(r);
    blk_drop(b);
}

static int use_cluster(void *arg)
{
    struct remote_rbd_options o = {.conf = conf, .pool = POOL};

    must_be_0(remote_rbd_connect(arg, &o, &pool, NULL));
    snapshots_and_clones();
    clones_cost_the_same();
    status_tells_objects();
    one_may_have_it_alone();
    requests_wait_for_the_cluster();
    refusals(arg);
    remote_rbd_leave(pool);
    return 0;
}

static void in_a_loop(const char *name, int (*fn)(void *arg))
{
    struct loop *l;

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &l, NULL));
    must_be_0(loop_do(l, fn, l));
    loop_destroy(l);
    (void)printf("ok   %s\n", name);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct suite_disk disks[] = {
        {.name = "rbd", .far = true, .make = make_image, .open = open_image},
    };

    in_a_loop("a library that is not there", lack_library);
    if (argc < 3) {
        return 0;
    }
    conf = argv[1];
    osd = atoi(argv[2]);
    in_a_loop("images, snapshots and clones", use_cluster);
    return suite_main(disks, 1);
}
