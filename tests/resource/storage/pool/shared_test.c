/* shared_test.c - a store that has an owner, is used by several at once, and grows. */
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/pool/hold.h"
#include "tests/resource/storage/pool/table.h"
#include "tests/resource/storage/redundancy/members.h"

#define DEVICE_BYTES (16u << 20)
#define MARK         "strata-pool 0123456789abcdef 1 rack"

/* A file as a device, opened by each as by a process of its own. */
struct device {
    char path[64];
    struct loop *loop;
};

static struct blk *leaf_of(const struct device *d, int *ret_lock_fd)
{
    struct leaf_file_options o = {.label = "device", .no_lock = true};
    struct blk *leaf = NULL;
    int fd = open(d->path, O_RDWR | O_CLOEXEC);

    must(fd >= 0);
    *ret_lock_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    must_be_0(leaf_file_create(d->loop, fd, &o, &leaf, NULL));
    return leaf;
}

static struct place_store *store_of(const struct device *d)
{
    struct place_store *s = NULL;
    struct err e = {0};
    int fd;
    struct blk *leaf = leaf_of(d, &fd);

    must_be_0(place_store_open(d->loop, leaf, fd, &s, &e));
    return s;
}

static void make(const struct device *d, const char *owner)
{
    int fd;
    struct blk *leaf = leaf_of(d, &fd);

    must_be_0(place_store_format_for(leaf, 65536, owner, NULL));
    blk_drop(leaf);
    (void)close(fd);
}

static int knows_its_owner(void *arg)
{
    const struct device *d = arg;
    char long_text[PLACE_OWNER_BYTES + 1];
    struct place_store *a = NULL;
    struct place_store *b = NULL;
    int fd;
    struct blk *leaf = leaf_of(d, &fd);

    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    must(place_store_format_for(leaf, 0, long_text, NULL) == -ENAMETOOLONG);
    must_be_0(place_store_format_for(leaf, 0, "", NULL));
    blk_drop(leaf);
    (void)close(fd);
    a = store_of(d);
    must(place_store_owner(a)[0] == '\0');
    place_store_unref(a);
    make(d, MARK);
    a = store_of(d);
    b = store_of(d);
    must(strcmp(place_store_owner(a), MARK) == 0);
    must(place_store_wipe(a, NULL) == -EBUSY);
    place_store_unref(b);
    must_be_0(place_store_wipe(a, NULL));
    place_store_unref(a);
    leaf = leaf_of(d, &fd);
    must(place_store_open(d->loop, leaf, fd, &a, NULL) == -EUCLEAN);
    return 0;
}

static int holds_exclude(void *arg)
{
    const struct device *d = arg;
    struct place_store *s;
    struct place_store *own;
    struct blk *disk;
    uint64_t taken = 1;
    int hold = open(d->path, O_RDWR | O_CLOEXEC);

    make(d, MARK);
    s = store_of(d);
    must_be_0(place_carve_add(s, 7, 0, NULL));
    must_be_0(place_carve_add(s, 7, 1, NULL));
    must_be_0(place_carve_count(s, 7, 0, &taken));
    must(taken == 0 && place_carve_count(s, 8, 0, &taken) == -ENOENT);
    must_be_0(place_carve_hold(hold, 7, 0, true));
    must(place_carve_open(s, 7, 0, false, &disk, NULL) == -EBUSY);
    must(place_carve_open(s, 7, 0, true, &disk, NULL) == -EBUSY);
    must(place_carve_remove(s, 7, 0, NULL) == -EBUSY);
    must_be_0(place_carve_open(s, 7, 1, false, &disk, NULL));
    must(place_carve_hold(hold, 7, 1, false) == -EBUSY);
    blk_drop(disk);
    must_be_0(place_carve_hold(hold, 7, 0, false));
    must(place_carve_open(s, 7, 0, false, &disk, NULL) == -EBUSY);
    must_be_0(place_carve_open(s, 7, 0, true, &disk, NULL));
    own = NULL; /* whoever holds it may remove it, once nobody reads it */
    must_be_0(place_store_open(d->loop, leaf_of(d, &(int){-1}), hold, &own, NULL));
    must(place_carve_remove(own, 7, 0, NULL) == -EBUSY);
    blk_drop(disk);
    must_be_0(place_carve_remove(own, 7, 0, NULL));
    place_store_unref(own);
    must(place_carve_open(s, 7, 0, false, &disk, NULL) == -ENOENT);
    place_store_unref(s);
    return 0;
}

static int stops_being_written(void *arg)
{
    const struct device *d = arg;
    struct blk_edge user = {.user = "test", .uses = BLK_USE_READ, .lets = BLK_USE_ALL};
    struct place_store *a;
    struct place_store *b;
    struct blk *writer;
    struct blk *reader;
    char block[4096];

    make(d, MARK);
    a = store_of(d);
    b = store_of(d);
    must_be_0(place_carve_add(a, 7, 0, NULL));
    must_be_0(place_carve_open(a, 7, 0, false, &writer, NULL));
    must_be_0(blk_attach(&user, writer, NULL));
    memset(block, 1, sizeof block);
    must_be_0(blk_write(writer, block, sizeof block, 512, 0));
    must(place_carve_open(b, 7, 0, true, &reader, NULL) == -EBUSY);
    must_be_0(blk_set_access(writer, false, NULL));
    must(blk_write(writer, block, sizeof block, 0, 0) == -EROFS);
    must_be_0(place_carve_open(b, 7, 0, true, &reader, NULL));
    memset(block, 0, sizeof block);
    must_be_0(blk_read(reader, block, sizeof block, 512));
    must(block[0] == 1 && block[4095] == 1);
    must(blk_set_access(writer, true, NULL) == -EBUSY);
    blk_drop(reader);
    must_be_0(blk_set_access(writer, true, NULL));
    must(place_carve_open(b, 7, 0, true, &reader, NULL) == -EBUSY);
    must_be_0(blk_write(writer, block, sizeof block, 1 << 20, 0));
    must_be_0(blk_flush(writer));
    blk_detach(&user);
    must_be_0(place_carve_open(b, 7, 0, true, &reader, NULL));
    must(blk_size(reader) == (1 << 20) + sizeof block);
    /* Beside a reader, who sees it; and the reader's lock stays. */
    must(place_carve_open(a, 7, 0, false, &writer, NULL) == -EBUSY);
    must_be_0(place_carve_open_beside(a, 7, 0, false, &writer, NULL));
    memset(block, 9, sizeof block);
    must_be_0(blk_write(writer, block, sizeof block, 512, BLK_FUA));
    memset(block, 0, sizeof block);
    must_be_0(blk_read(reader, block, sizeof block, 512));
    must(block[0] == 9 && block[4095] == 9);
    blk_drop(writer);
    must(place_carve_open(a, 7, 0, false, &writer, NULL) == -EBUSY);
    blk_drop(reader);
    must_be_0(place_carve_open(a, 7, 0, false, &writer, NULL));
    blk_drop(writer);
    place_store_unref(a);
    place_store_unref(b);
    return 0;
}

static int fill(struct blk *disk, uint64_t *at)
{
    static char block[65536];
    int r;

    memset(block, 3, sizeof block);
    while ((r = blk_write(disk, block, sizeof block, *at, 0)) == 0) {
        *at += sizeof block;
    }
    return r;
}

static int grows(void *arg)
{
    const struct device *d = arg;
    struct place_store *a;
    struct place_store *b;
    struct place_room room;
    struct blk *disk;
    uint64_t at = 0;
    uint64_t before;
    char byte[512];

    make(d, MARK);
    a = store_of(d);
    b = store_of(d);
    must_be_0(place_carve_add(a, 7, 0, NULL));
    must_be_0(place_carve_open(a, 7, 0, false, &disk, NULL));
    must(fill(disk, &at) == -ENOSPC);
    before = at;
    must(!place_store_can_grow(b));
    must_be_0(truncate(d->path, 3 * DEVICE_BYTES));
    must(place_store_can_grow(b));
    must_be_0(place_store_grow(b));
    must_be_0(place_store_room(b, &room));
    must(room.total_bytes == before + 2 * DEVICE_BYTES);
    must(room.free_bytes == 2 * DEVICE_BYTES);
    must(fill(disk, &at) == -ENOSPC); /* who had it open uses it, too */
    must(at == before + 2 * DEVICE_BYTES);
    must_be_0(
        truncate(d->path, 100 * DEVICE_BYTES)); /* by himself; as far as the table */
    loop_sleep(d->loop, 1500000000);            /* after the last sweep */
    must(fill(disk, &at) == -ENOSPC);
    must(at >= 4 * before && at < 100 * (uint64_t)DEVICE_BYTES);
    must_be_0(blk_flush(disk));
    must_be_0(blk_read(disk, byte, sizeof byte, at - 512));
    must(byte[0] == 3);
    blk_drop(disk);
    place_store_unref(a);
    place_store_unref(b);
    a = store_of(d);
    must_be_0(place_carve_open(a, 7, 0, true, &disk, NULL));
    must(blk_size(disk) == at && blk_read(disk, byte, sizeof byte, at - 512) == 0);
    must(byte[0] == 3);
    blk_drop(disk);
    place_store_unref(a);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct device d = {.path = "/tmp/strata-shared-XXXXXX"};
    int fd = mkstemp(d.path);

    must(fd >= 0 && ftruncate(fd, DEVICE_BYTES) == 0);
    (void)close(fd);
    must_be_0(loop_create(LOOP_DRIVER_AUTO, &d.loop, NULL));
    must_be_0(loop_do(d.loop, test, &d));
    loop_destroy(d.loop);
    (void)unlink(d.path);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    run(knows_its_owner, "a store knows its owner, and can be taken off");
    run(holds_exclude, "who holds a disk keeps others away, and may remove it");
    run(stops_being_written, "a disk stops being written, and begins again");
    run(grows, "a store grows with its device");
    return 0;
}
