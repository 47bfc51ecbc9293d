/* carve_test.c - a store that is full, large, used by several processes, or cut off while disks
 * come and go. */
#include "resource/storage/pool/carve.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/resource/storage/pool/slow.h"
#include "tests/resource/storage/pool/table.h"
#include "tests/resource/storage/redundancy/members.h"

#define DEVICE_BYTES (24u << 20)
#define DISK_BYTES   (4u << 20)
#define CHILDREN     3
#define STEPS        500

/* ---- a device that is a file ---- */

struct device {
    char path[64];
    struct loop *loop;
};

static void device_make(struct device *d, uint64_t bytes)
{
    int fd;

    (void)snprintf(d->path, sizeof d->path, "/tmp/strata-carve-XXXXXX");
    fd = mkstemp(d->path);
    must(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    (void)close(fd);
}

static struct blk *device_leaf(struct device *d, int *ret_lock_fd)
{
    struct leaf_file_options o = {.label = "device", .no_lock = true};
    struct blk *leaf = NULL;
    int fd = open(d->path, O_RDWR | O_CLOEXEC);

    must(fd >= 0);
    *ret_lock_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    must_be_0(leaf_file_create(d->loop, fd, &o, &leaf, NULL));
    return leaf;
}

static struct place_store *device_open(struct device *d)
{
    struct place_store *s = NULL;
    struct err e = {0};
    int fd;
    struct blk *leaf = device_leaf(d, &fd);

    if (place_store_open(d->loop, leaf, fd, &s, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
    return s;
}

static void run_on(struct device *d, int (*fn)(void *arg), void *arg)
{
    must_be_0(loop_create(LOOP_DRIVER_AUTO, &d->loop, NULL));
    must_be_0(loop_do(d->loop, fn, arg));
    loop_destroy(d->loop);
}

/* ---- several processes ---- */

struct child {
    struct device *device;
    struct place_store *store;
    unsigned number;
    unsigned steps;
    bool dies;
    char *model;
};

/* What step `i` of a child does: to a disk, to its model, or to both. */
static void step(struct child *c, struct blk *disk, uint64_t *random, char *room)
{
    uint64_t kind = suite_random(random) % 10;
    uint64_t bytes = (suite_random(random) % 32 + 1) * 4096;
    uint64_t off = suite_random(random) % ((DISK_BYTES - bytes) / 512) * 512;

    if (kind == 0 && disk != NULL) {
        must_be_0(blk_flush(disk));
    }
    if (disk != NULL && off % 16384 == 0) { /* the living lose nothing by it */
        must_be_0(place_store_sweep(c->store));
    }
    if (kind < 3) {
        bytes *= 4;
        bytes = off + bytes > DISK_BYTES ? DISK_BYTES - off : bytes;
        memset(c->model + off, 0, bytes);
        if (disk != NULL) {
            must_be_0(blk_zero(disk, off, bytes, BLK_UNMAP));
        }
        return;
    }
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = suite_random(random);

        memcpy(room + i, &word, 8);
    }
    memcpy(c->model + off, room, bytes);
    if (disk != NULL) {
        must_be_0(blk_write(disk, room, bytes, off, 0));
    }
}

static void go(struct child *c, struct blk *disk)
{
    uint64_t random = c->number * 2 + 1;
    char *room = malloc(1u << 20);

    memset(c->model, 0, DISK_BYTES);
    for (unsigned i = 0; i < c->steps; i++) {
        step(c, disk, &random, room);
        if (c->dies && disk != NULL && i == c->steps / 2) {
            (void)raise(SIGKILL);
        }
    }
    free(room);
}

static void compare(struct child *c, struct blk *disk)
{
    char *room = malloc(DISK_BYTES);
    uint64_t n = blk_size(disk) < DISK_BYTES ? blk_size(disk) : DISK_BYTES;

    memset(room, 0, DISK_BYTES);
    must_be_0(blk_read(disk, room, n, 0));
    must(memcmp(room, c->model, DISK_BYTES) == 0);
    free(room);
}

static int child_main(void *arg)
{
    struct child *c = arg;
    struct place_store *s = device_open(c->device);
    struct blk *disk = NULL;

    must_be_0(place_carve_open(s, c->number, 0, false, &disk, NULL));
    c->store = s;
    go(c, disk);
    compare(c, disk);
    must_be_0(blk_flush(disk));
    blk_drop(disk);
    place_store_unref(s);
    return 0;
}

static int make_store(void *arg)
{
    struct device *d = arg;
    struct place_store *s;
    int fd;
    struct blk *leaf = device_leaf(d, &fd);

    must_be_0(place_store_format(leaf, 0, NULL));
    blk_drop(leaf);
    (void)close(fd);
    s = device_open(d);
    for (unsigned i = 0; i < CHILDREN; i++) {
        must_be_0(place_carve_add(s, i + 1, 0, NULL));
    }
    place_store_unref(s);
    return 0;
}

static int judge(void *arg)
{
    struct child *all = arg;
    struct place_store *s = device_open(all[0].device);
    struct table_count count;
    struct place_room room;
    struct blk *disk = NULL;
    uint64_t taken = 0;
    int fd;
    struct blk *leaf;

    for (unsigned i = 0; i < CHILDREN; i++) {
        must_be_0(place_carve_open(s, i + 1, 0, false, &disk, NULL));
        if (!all[i].dies) {
            go(&all[i], NULL);
            compare(&all[i], disk);
        }
        must_be_0(blk_flush(disk));
        taken += place_carve_taken(disk);
        blk_drop(disk);
    }
    must_be_0(place_store_room(s, &room));
    must(room.free_bytes + taken == room.total_bytes);
    place_store_unref(s);
    leaf = device_leaf(all[0].device, &fd);
    count = table_count(leaf);
    must(count.reserved == 0 && count.free + count.used == count.extents);
    must(count.counted == count.free);
    blk_drop(leaf);
    (void)close(fd);
    return 0;
}

static void processes_side_by_side(void)
{
    struct device d;
    struct child c[CHILDREN];
    pid_t pid[CHILDREN];

    device_make(&d, DEVICE_BYTES);
    run_on(&d, make_store, &d);
    for (unsigned i = 0; i < CHILDREN; i++) {
        c[i] = (struct child){.device = &d,
                              .number = i + 1,
                              .steps = STEPS,
                              .dies = i == 1,
                              .model = malloc(DISK_BYTES)};
        pid[i] = fork();
        must(pid[i] >= 0);
        if (pid[i] == 0) {
            run_on(&d, child_main, &c[i]);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        int status = 0;

        must(waitpid(pid[i], &status, 0) == pid[i]);
        must(c[i].dies ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                       : WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    run_on(&d, judge, c);
    for (unsigned i = 0; i < CHILDREN; i++) {
        free(c[i].model);
    }
    (void)unlink(d.path);
    (void)printf("ok   processes side by side keep apart, one is killed\n");
}

/* ---- who has it open ---- */

struct holder {
    struct device *device;
    int ready;
    int go;
    bool writes;
};

static int hold(void *arg)
{
    struct holder *h = arg;
    struct place_store *s = device_open(h->device);
    struct blk *disk = NULL;
    char c = 1;

    must_be_0(place_carve_open(s, 1, 0, !h->writes, &disk, NULL));
    must(write(h->ready, &c, 1) == 1);
    must(read(h->go, &c, 1) == 1);
    blk_drop(disk);
    place_store_unref(s);
    return 0;
}

static int try_while_held(void *arg)
{
    struct holder *h = arg;
    struct place_store *s = device_open(h->device);
    struct blk *disk = NULL;
    struct blk *second = NULL;
    struct err e = {0};

    must(place_carve_open(s, 1, 0, false, &disk, &e) == -EBUSY && e.text[0] != '\0');
    must(place_carve_remove(s, 1, 0, NULL) == -EBUSY);
    must(place_carve_open(s, 1, 0, true, &disk, NULL) == (h->writes ? -EBUSY : 0));
    if (!h->writes) {
        must_be_0(place_carve_open(s, 1, 0, true, &second, NULL));
        blk_drop(second);
        blk_drop(disk);
    }
    must_be_0(place_carve_open(s, 2, 0, false, &disk, NULL));
    must(place_carve_open(s, 2, 0, true, &second, NULL) == -EBUSY);
    must(place_carve_open(s, 99, 0, true, &second, NULL) == -ENOENT);
    blk_drop(disk);
    place_store_unref(s);
    return 0;
}

static void one_writer_or_many_readers(void)
{
    struct device d;
    char c = 0;

    device_make(&d, DEVICE_BYTES);
    run_on(&d, make_store, &d);
    for (unsigned i = 0; i < 2; i++) {
        int ready[2];
        int leave[2];
        int status;
        pid_t pid;
        struct holder h;

        must(pipe(ready) == 0 && pipe(leave) == 0);
        h = (struct holder){&d, ready[1], leave[0], i == 0};
        pid = fork();
        if (pid == 0) {
            run_on(&d, hold, &h);
            _exit(0);
        }
        must(read(ready[0], &c, 1) == 1);
        run_on(&d, try_while_held, &h);
        must(write(leave[1], &c, 1) == 1);
        must(waitpid(pid, &status, 0) == pid && status == 0);
        for (unsigned k = 0; k < 2; k++) {
            (void)close(ready[k]);
            (void)close(leave[k]);
        }
    }
    (void)unlink(d.path);
    (void)printf("ok   a disk has one writer or many readers\n");
}

/* ---- large devices ---- */

static int start_small(void *arg)
{
    struct device *d = arg;
    struct place_store *s;
    struct place_room room;
    struct blk *disk = NULL;
    char header[327680] = {1};
    uint64_t before;
    int fd;
    struct blk *leaf = device_leaf(d, &fd);

    must_be_0(place_store_format(leaf, 0, NULL));
    blk_drop(leaf);
    (void)close(fd);
    s = device_open(d);
    must_be_0(place_store_room(s, &room));
    before = room.free_bytes;
    must_be_0(place_carve_add(s, 1, 0, NULL));
    must_be_0(place_carve_open(s, 1, 0, false, &disk, NULL));
    must_be_0(blk_write(disk, header, sizeof header, 0, 0));
    must_be_0(blk_flush(disk));
    must(place_carve_taken(disk) < (1u << 20));
    blk_drop(disk);
    must_be_0(place_store_room(s, &room));
    must(before - room.free_bytes < (1u << 20));
    must(room.total_bytes > room.free_bytes);
    place_store_unref(s);
    return 0;
}

static void an_empty_clone_is_small(void)
{
    for (unsigned shift = 26; shift <= 42; shift += 4) {
        struct device d;

        device_make(&d, (uint64_t)1 << shift);
        run_on(&d, start_small, &d);
        (void)unlink(d.path);
    }
    (void)printf("ok   an empty clone takes less than 1 MiB\n");
}

/* ---- in memory ---- */

static struct place_store *begin(struct members *m, unsigned disks)
{
    struct place_store *s = NULL;

    members_add(m, 4u << 20);
    must_be_0(place_store_format(m->base[0], 0, NULL));
    must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
    for (unsigned i = 0; i < disks; i++) {
        must_be_0(place_carve_add(s, i + 1, 0, NULL));
    }
    return s;
}

static unsigned fill_up(struct blk *disk, uint64_t from)
{
    char room[65536];
    unsigned n = 0;
    int r = 0;

    memset(room, 0x33, sizeof room);
    while (r == 0) {
        r = blk_write(disk, room, sizeof room, from + n * sizeof room, 0);
        n += r == 0;
    }
    must(r == -ENOSPC);
    return n;
}

static void expect(struct blk *disk, uint64_t off, int value)
{
    char room[65536];
    char want[65536];

    memset(want, value, sizeof want);
    must_be_0(blk_read(disk, room, sizeof room, off));
    must(memcmp(room, want, sizeof room) == 0);
}

static int a_full_store_loses_nothing(void *arg)
{
    struct members *m = arg;
    struct place_store *s = begin(m, 2);
    struct blk *disk[2] = {NULL, NULL};
    struct place_room room;
    char one[4096];
    unsigned n;

    memset(one, 0x11, sizeof one);
    for (unsigned i = 0; i < 2; i++) {
        must_be_0(place_carve_open(s, i + 1, 0, false, &disk[i], NULL));
    }
    must_be_0(blk_write(disk[1], one, sizeof one, 0, 0));
    n = fill_up(disk[0], 0);
    must(n > 30);
    must_be_0(place_store_room(s, &room));
    must(room.free_bytes == 0);
    must(blk_write(disk[1], one, sizeof one, 1u << 20, 0) == -ENOSPC);
    must_be_0(blk_write(disk[1], one, sizeof one, 4096, 0)); /* where there is room */
    must_be_0(blk_flush(disk[0]));
    must_be_0(blk_flush(disk[1]));
    must_be_0(blk_discard(disk[0], 65536, 3 * 65536)); /* somebody makes room */
    must_be_0(place_store_room(s, &room));
    must(room.free_bytes == 3 * 65536);
    must_be_0(blk_write(disk[1], one, sizeof one, 1u << 20, 0));
    expect(disk[0], 0, 0x33);
    expect(disk[0], 65536, 0);
    must(fill_up(disk[0], (uint64_t)1 << 30) <= 2);
    must_be_0(blk_resize(disk[0], 65536, NULL)); /* a smaller end makes room too */
    must_be_0(place_store_room(s, &room));
    must(room.total_bytes - room.free_bytes ==
         place_carve_taken(disk[0]) + place_carve_taken(disk[1]));
    expect(disk[0], 0, 0x33);
    blk_drop(disk[0]);
    blk_drop(disk[1]);
    must_be_0(place_carve_remove(s, 1, 0, NULL));
    must_be_0(place_carve_remove(s, 2, 0, NULL));
    must_be_0(place_store_room(s, &room));
    must(room.total_bytes == room.free_bytes);
    place_store_unref(s);
    members_drop(m);
    return 0;
}

static int count_disks(const struct place_carved *c, void *arg)
{
    unsigned *n = arg;

    (void)c;
    (*n)++;
    return 0;
}

/* Whatever a cut leaves of a disk that comes or goes, a sweep brings in order. */
static void judge_cut(struct members *m)
{
    struct place_store *s = NULL;
    struct table_count count;
    struct blk *disk = NULL;
    unsigned disks = 0;

    must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
    must_be_0(place_store_sweep(s));
    must_be_0(place_store_list(s, count_disks, &disks));
    must(disks <= 2);
    if (disks == 2) { /* it is whole, or was never written */
        must_be_0(place_carve_open(s, 5, 1, false, &disk, NULL));
        if (blk_size(disk) > 0) {
            expect(disk, 0, 0x44);
        }
        blk_drop(disk);
        must_be_0(place_carve_remove(s, 5, 1, NULL));
    }
    must_be_0(place_carve_open(s, 1, 0, true, &disk, NULL));
    expect(disk, 0, 0x33);
    blk_drop(disk);
    place_store_unref(s);
    count = table_count(m->base[0]);
    must(count.used == 4 && count.reserved == 0);
    must(count.free == count.counted && count.free + count.used == count.extents);
}

static int a_cut_leaves_no_half_disk(void *arg)
{
    struct members *m = arg;
    struct place_store *s = begin(m, 1);
    struct blk *disk = NULL;
    char room[4 * 65536];
    bool cut = true;

    memset(room, 0x33, sizeof room);
    must_be_0(place_carve_open(s, 1, 0, false, &disk, NULL));
    must_be_0(blk_write(disk, room, sizeof room, 0, 0));
    must_be_0(blk_flush(disk));
    blk_drop(disk);
    place_store_unref(s);
    memset(room, 0x44, sizeof room);
    m->plan.holds_back = true;
    for (unsigned n = 0; cut; n++) {
        int r;

        must(n < 200);
        members_filter(m, 1);
        filter_fault_cut_after(m->lower[0], n);
        disk = NULL;
        r = place_store_open(m->loop, m->lower[0], -1, &s, NULL);
        if (r == 0) {
            struct blk *device = m->lower[0];

            r = place_carve_add(s, 5, 1, NULL);
            r = r == 0 ? place_carve_open(s, 5, 1, false, &disk, NULL) : r;
            r = r == 0 ? blk_write(disk, room, sizeof room, 0, 0) : r;
            r = r == 0 ? blk_flush(disk) : r;
            blk_drop(disk);
            r = r == 0 ? place_carve_remove(s, 5, 1, NULL) : r;
            cut = r != 0;
            if (cut && !filter_fault_is_cut(device)) {
                filter_fault_cut(device);
            }
            place_store_unref(s);
        }
        judge_cut(m);
    }
    members_drop(m);
    return 0;
}

static int names_are_found(void *arg)
{
    struct members *m = arg;
    struct place_store *s = begin(m, 0);
    struct blk *disk = NULL;
    unsigned n = 0;
    unsigned disks = 0;

    while (place_carve_add(s, n * 7919, n % 3, NULL) == 0) { /* until there is no row */
        n++;
        must(n < 1000);
    }
    must(n >= 64);
    must(place_carve_add(s, 7919, 1, NULL) == -EEXIST);
    must(place_carve_add(s, 7919, 70000, NULL) == -EINVAL);
    must_be_0(place_store_list(s, count_disks, &disks));
    must(disks == n);
    for (unsigned i = 0; i < n; i += 2) {
        must_be_0(place_carve_remove(s, i * 7919, i % 3, NULL));
        must(place_carve_remove(s, i * 7919, i % 3, NULL) == -ENOENT);
    }
    for (unsigned i = 0; i < n; i++) {
        int r = place_carve_open(s, i * 7919, i % 3, true, &disk, NULL);

        must(r == (i % 2 == 0 ? -ENOENT : 0));
        if (r == 0) {
            blk_drop(disk);
        }
    }
    place_store_unref(s);
    members_drop(m);
    return 0;
}

static int a_damaged_sheet_is_told(void *arg)
{
    struct members *m = arg;
    struct place_store *s = begin(m, 1);
    struct blk *disk = NULL;
    uint8_t super[4096];
    char room[65536] = {1};
    uint64_t at;

    must_be_0(place_carve_open(s, 1, 0, false, &disk, NULL));
    must_be_0(blk_write(disk, room, sizeof room, 0, 0));
    blk_drop(disk);
    place_store_unref(s);
    must_be_0(blk_read(m->base[0], super, sizeof super, 4096));
    at = table_u64(super + 40 + 24);
    must_be_0(blk_read(m->base[0], room, 512, at));
    room[3] ^= 1;
    must_be_0(blk_write(m->base[0], room, 512, at, 0));
    must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
    must(place_carve_open(s, 1, 0, false, &disk, NULL) == -EUCLEAN);
    must_be_0(place_carve_add(s, 2, 0, NULL)); /* what is not damaged can be used */
    must_be_0(place_carve_open(s, 2, 0, false, &disk, NULL));
    must_be_0(blk_write(disk, room, sizeof room, 0, 0));
    must_be_0(blk_flush(disk));
    blk_drop(disk);
    place_store_unref(s);
    members_drop(m);
    return 0;
}

/* Holes are long, and data behind them is where it was written. */
static int holes_are_told(void *arg)
{
    static const uint64_t at[] = {8192, (uint64_t)200 << 20, ((uint64_t)3 << 30) + 12288,
                                  ((uint64_t)9 << 40) + 4096};
    struct members *m = arg;
    struct place_store *s = begin(m, 1);
    struct blk *disk = NULL;
    char room[4096] = {5};
    uint64_t off = 0;
    unsigned found = 0;
    unsigned calls = 0;

    must_be_0(place_carve_open(s, 1, 0, false, &disk, NULL));
    for (unsigned i = 0; i < 4; i++) {
        must_be_0(blk_write(disk, room, sizeof room, at[i], 0));
    }
    must_be_0(blk_resize(disk, (uint64_t)20 << 40, NULL));
    while (off < blk_size(disk)) {
        struct blk_extent x;

        must_be_0(blk_status(disk, off, blk_size(disk) - off, &x));
        if ((x.state & BLK_DATA) != 0) {
            must(found < 4 && off == at[found] && x.bytes == 4096);
            must((x.state & BLK_PLACED) != 0 && x.holder == m->base[0]);
            must_be_0(blk_read(m->base[0], room, sizeof room, x.at));
            must(room[0] == 5);
            found++;
        }
        off += x.bytes;
        calls++;
    }
    must(found == 4 && calls < 30);
    must_be_0(blk_discard(disk, 0, blk_size(disk)));
    must(place_carve_taken(disk) == 0);
    blk_drop(disk);
    place_store_unref(s);
    members_drop(m);
    return 0;
}

/* ---- an extent that goes from one disk to another ---- */

/* A store with one extent, which disk 1 has. */
static void begin_with_one(struct members *m)
{
    struct place_store *s = NULL;
    struct blk *disk = NULL;
    char room[65536];

    memset(room, 1, sizeof room);
    members_add(m, 2 * 65536);
    must_be_0(place_store_format(m->base[0], 65536, NULL));
    must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
    must_be_0(place_carve_add(s, 1, 0, NULL));
    must_be_0(place_carve_add(s, 2, 0, NULL));
    must_be_0(place_carve_open(s, 1, 0, false, &disk, NULL));
    must_be_0(blk_write(disk, room, sizeof room, 0, 0));
    must_be_0(blk_flush(disk));
    blk_drop(disk);
    place_store_unref(s);
}

/* Wherever the cut is, no disk has the other's bytes. */
static void cut_between(struct members *m, unsigned n)
{
    struct place_store *s = NULL;
    struct blk *disk[2] = {NULL, NULL};
    char room[65536];

    begin_with_one(m);
    m->plan.holds_back = true;
    members_filter(m, 1);
    must_be_0(place_store_open(m->loop, m->lower[0], -1, &s, NULL));
    for (unsigned i = 0; i < 2; i++) {
        must_be_0(place_carve_open(s, i + 1, 0, false, &disk[i], NULL));
    }
    filter_fault_cut_after(m->lower[0], n);
    memset(room, 2, sizeof room);
    if (blk_zero(disk[0], 0, sizeof room, BLK_UNMAP) == 0 &&
        blk_write(disk[1], room, sizeof room, 0, 0) == 0 && n % 2 == 0) {
        (void)blk_flush(disk[1]);
    }
    members_cut(m);
    blk_drop(disk[0]);
    blk_drop(disk[1]);
    place_store_unref(s);
    must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
    for (unsigned i = 0; i < 2; i++) {
        must_be_0(place_carve_open(s, i + 1, 0, true, &disk[i], NULL));
        if (blk_size(disk[i]) > 0) {
            must_be_0(blk_read(disk[i], room, blk_size(disk[i]), 0));
        }
        for (uint64_t k = 0; k < blk_size(disk[i]); k++) {
            must(room[k] == 0 || room[k] == (char)(i + 1));
        }
        blk_drop(disk[i]);
    }
    place_store_unref(s);
    members_drop(m);
}

static int a_cut_shows_no_other_disk(void *arg)
{
    for (unsigned i = 0; i < 400; i++) {
        cut_between(arg, i % 20);
    }
    return 0;
}

struct reader {
    struct blk *disk;
    char room[65536];
    bool done;
};

static void read_late(void *arg)
{
    struct reader *r = arg;

    must_be_0(blk_read(r->disk, r->room, sizeof r->room, 0));
    r->done = true;
}

static int a_late_read_shows_no_other_disk(void *arg)
{
    struct members *m = arg;
    struct place_store *s = NULL;
    struct reader *r = calloc(1, sizeof *r);
    struct blk *other = NULL;
    struct blk *slow;
    char room[65536];

    begin_with_one(m);
    slow = slow_over(m->loop, m->base[0], 1);
    must_be_0(place_store_open(m->loop, slow, -1, &s, NULL));
    must_be_0(place_carve_open(s, 1, 0, false, &r->disk, NULL));
    must_be_0(place_carve_open(s, 2, 0, false, &other, NULL));
    ((struct slow *)slow)->read_ns = 20000000;
    must_be_0(strand_start(slow->strands, read_late, r));
    ((struct slow *)slow)->read_ns = 0;
    must_be_0(blk_discard(r->disk, 0, sizeof r->room));
    memset(room, 2, sizeof room);
    must_be_0(blk_write(other, room, sizeof room, 0, 0));
    while (!r->done) {
        loop_sleep(m->loop, 1000000);
    }
    for (unsigned i = 0; i < sizeof r->room; i++) {
        must(r->room[i] == 0 || r->room[i] == 1);
    }
    blk_drop(r->disk);
    blk_drop(other);
    place_store_unref(s);
    free(r);
    members_drop(m);
    return 0;
}

/* A sheet is a block, and has more entries. */
static int larger_blocks_do(void *arg)
{
    struct members *m = arg;
    struct place_store *s = NULL;
    struct blk *disk = NULL;
    char room[65536];
    struct place_room left;

    members_add(m, 64u << 20);
    m->base[0]->block_bytes = 4096;
    must_be_0(place_store_format(m->base[0], 0, NULL));
    for (unsigned round = 0; round < 3; round++) {
        must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
        must(place_carve_add(s, 8, 0, NULL) == (round == 0 ? 0 : -EEXIST));
        must_be_0(place_carve_open(s, 8, 0, false, &disk, NULL));
        must(blk_block_bytes(disk) == 4096);
        must(blk_write(disk, room, 512, 0, 0) == -EINVAL);
        for (unsigned i = 0; i < 700 && round == 0; i++) {
            memset(room, (int)i, sizeof room);
            must_be_0(blk_write(disk, room, sizeof room, i * sizeof room, 0));
        }
        for (unsigned i = 0; i < 700; i++) {
            expect(disk, i * sizeof room, (int)(i & 255));
        }
        must(place_carve_taken(disk) == 700 * sizeof room);
        blk_drop(disk);
        must_be_0(place_store_room(s, &left));
        must(left.total_bytes - left.free_bytes == 700 * sizeof room);
        place_store_unref(s);
    }
    m->base[0]->block_bytes = 512; /* the same device, read with smaller blocks */
    must_be_0(place_store_open(m->loop, m->base[0], -1, &s, NULL));
    must_be_0(place_carve_remove(s, 8, 0, NULL));
    place_store_unref(s);
    members_drop(m);
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
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    processes_side_by_side();
    one_writer_or_many_readers();
    an_empty_clone_is_small();
    run(a_full_store_loses_nothing, "a full store loses nothing");
    run(a_cut_leaves_no_half_disk, "a cut leaves no half disk");
    run(names_are_found, "names are found");
    run(holes_are_told, "holes are told");
    run(larger_blocks_do, "larger blocks do");
    run(a_cut_shows_no_other_disk, "a cut shows no other disk");
    run(a_late_read_shows_no_other_disk, "a late read shows no other disk");
    run(a_damaged_sheet_is_told, "a damaged sheet is told");
    return 0;
}
