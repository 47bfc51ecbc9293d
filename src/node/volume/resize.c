/* resize.c - a disk grows or shrinks. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/attach/attach.h"
#include "node/mount/mount.h"
#include "node/volume/mounted.h"
#include "node/volume/option.h"
#include "node/volume/option_layer.h"

static int check_size(const struct volume *v, uint64_t size, const json_t *order,
                      struct err *e)
{
    uint64_t now = volume_number(v->record, "size_bytes");

    uint64_t block = volume_number(v->record, "block_bytes");

    block = block != 0 ? block : VOLUME_SECTOR_BYTES;
    if (size == 0 || size % block != 0) {
        return err_set(e, -EINVAL, "%llu is no multiple of %llu",
                       (unsigned long long)size, (unsigned long long)block);
    }
    if (size < now && !json_is_true(json_object_get(order, "shrink"))) {
        return err_set(e, -EINVAL,
                       "it has %llu bytes, and what is behind the new end would be lost "
                       "(see '--shrink')",
                       (unsigned long long)now);
    }
    return 0;
}

/* The record is what counts; a file that is larger than it says loses nothing, so a file
 * grows before its record and shrinks after it. */
static int record_size(struct node *n, struct volume *v, struct layer *top, uint64_t size,
                       struct err *e)
{
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    int r;

    (void)json_object_set_new(v->record, "size_bytes", json_integer((json_int_t)size));
    (void)json_object_set_new(top->record, "size_bytes", json_integer((json_int_t)size));
    RECORD_KEY(key, "/volumes/%s", v->name);
    record_need_same(&c, key, v->revision);
    record_put_json(&c, key, v->record);
    RECORD_KEY(key, "/layers/%s", top->id);
    record_put_json(&c, key, top->record);
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    return r;
}

/* The bytes of a raw layer in its file. */
static int resize_raw(struct node *n, const struct volume *v, const struct layer *top,
                      uint64_t size, struct err *e)
{
    SCOPED(scope_close) int fd = disk_open_alone(n, v, top, e);

    if (fd < 0) {
        return fd;
    }
    return ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0
               ? err_sys(e, -errno, "its file does not take it")
               : 0;
}

/* An image over several members: they make room first. */
static void add_size(struct words *w, const struct layer *top, uint64_t size)
{
    words_add(w, "size=%llu", (unsigned long long)size);
    words_add(w, "shrink");
    if (!layer_is_one_file(top) &&
        strcmp(volume_text(top->record, "format"), "raw") != 0) {
        words_add(w, "room=%llu", (unsigned long long)arrange_room(size));
    }
}

/* An image, by the program that knows the format. */
static int resize_image(struct node *n, const struct volume *v, uint64_t size,
                        struct err *e)
{
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    int r = chain_load(n, volume_text(v->record, "top"), &chain, e);

    chain.key = CHAIN_LOCKED; /* its tables are not encrypted */
    r = r == 0 ? words_chain(n, &chain, "disk", true, &w, e) : r;
    if (r == 0) {
        add_size(&w, &chain.layers[0], size);
    }
    r = r == 0 ? words_run(n, "resize", &w, NULL, NULL, e) : r;
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

static int resize_layer(struct node *n, const struct volume *v, const struct layer *top,
                        uint64_t size, struct err *e)
{
    return strcmp(volume_text(top->record, "format"), "raw") == 0 && layer_has_file(top)
               ? resize_raw(n, v, top, size, e)
               : resize_image(n, v, size, e);
}

static int resize_live(struct node *n, const struct layer *top, int control,
                       uint64_t size, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    int r;

    words_add(&w, "resize");
    add_size(&w, top, size);
    r = volume_worker_ask(n, control, &ask, e);
    words_fini(&w);
    return r;
}

/* By the worker that has it open: the record says the smaller size of the two meanwhile. */
static int resize_served(struct node *n, struct volume *v, struct layer *top,
                         uint64_t size, int control, struct err *e)
{
    bool grows = size > volume_number(v->record, "size_bytes");
    int r = piece_resize(n, top, size, e);

    r = r == 0 && grows ? resize_live(n, top, control, size, e) : r;

    (void)fault_step("volume.resized");
    r = r == 0 ? record_size(n, v, top, size, e) : r;
    return r == 0 && !grows ? resize_live(n, top, control, size, e) : r;
}

/* A raw disk that a guest has mounted: the kernel has its file open, which can grow. */
static int resize_mounted(struct node *n, struct volume *v, struct layer *top,
                          uint64_t size, struct err *e)
{
    SCOPED(scope_close) int fd = piece_open(n, top, O_RDWR, e);

    if (fd < 0) {
        return fd;
    }
    if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0) {
        return err_sys(e, -errno, "its file does not take it");
    }
    (void)fault_step("volume.resized");
    return record_size(n, v, top, size, e);
}

static int resize_alone(struct node *n, struct volume *v, struct layer *top,
                        uint64_t size, struct err *e)
{
    bool grows = size > volume_number(v->record, "size_bytes");
    int r = piece_resize(n, top, size, e);

    r = r == 0 && grows ? resize_layer(n, v, top, size, e) : r;

    (void)fault_step("volume.resized");
    if (r == 0 && !grows) { /* before anything is lost: is it ours to change? */
        SCOPED(scope_close) int fd = disk_open_alone(n, v, top, e);

        r = fd < 0 ? fd : 0;
    }
    r = r == 0 ? record_size(n, v, top, size, e) : r;
    (void)fault_step("volume.resize.recorded");
    return r == 0 && !grows ? resize_layer(n, v, top, size, e) : r;
}

/* What is mounted, and what not, that the disk's new size is for. */
static int grow_filesystem(struct node *n, const struct volume *v, const json_t *order,
                           struct mounted *where, struct err *e)
{
    bool grow = json_is_true(json_object_get(order, "filesystem"));
    SCOPED(scope_close) int file = -1;
    struct disks_device device = {.fd = -1};
    SCOPED(scope_close) int root = -1;
    int r;

    if (where->count > 0) {
        return mounted_grown(where, grow, e);
    }
    if (where->machine[0] != '\0') {
        return mounted_told(where, v->name, volume_number(v->record, "size_bytes"), e);
    }
    if (!grow) {
        return 0;
    }
    r = mounted_open(n, v, order, true, &file, e);
    r = r == 0 ? disks_device(v->record, file, &device, e) : r;
    r = r == 0 ? attach_mount_alone(device.path, device.type, false, &root, e) : r;
    r = r == 0 ? attach_grow(root, device.fd, device.type, e) : r;
    scope_close(&device.fd);
    return r;
}

static int check_layer(const struct layer *top, uint64_t size, struct err *e)
{
    if (top->pool == NULL) {
        return err_set(e, -EOPNOTSUPP, "it is a device of the host");
    }
    if (!layer_is_one_file(top) && size % 4096 != 0 &&
        strcmp(volume_text(top->record, "format"), "raw") == 0) {
        return err_set(
            e, -EINVAL,
            "it lies on several members, or behind a filter: %llu is no multiple of 4096",
            (unsigned long long)size);
    }
    return 0;
}

/* File systems on disks grow; none of them is asked to shrink. */
static int check_mounted(const struct volume *v, uint64_t size, const json_t *order,
                         const struct mounted *where, struct err *e)
{
    bool smaller = size < volume_number(v->record, "size_bytes");
    bool grow = json_is_true(json_object_get(order, "filesystem"));

    if (smaller && where->guest[0] != '\0') {
        return err_set(e, -EBUSY, "guest '%s' has it%s: it can only grow", where->guest,
                       where->count > 0 ? " mounted" : "");
    }
    if (grow && where->machine[0] != '\0') {
        return err_set(
            e, -EBUSY,
            "guest '%s', a machine, has it: the file system on it grows in there "
            "(without --filesystem)",
            where->guest);
    }
    return smaller && grow ? err_set(e, -EOPNOTSUPP, "a file system is not made smaller")
                           : 0;
}

static int resize(struct node *n, struct volume *v, const json_t *order,
                  struct mounted *where, struct err *e)
{
    uint64_t size = volume_number(order, "size");
    uint64_t now = volume_number(v->record, "size_bytes");
    SCOPED(scope_close) int control = -1;
    struct chain chain = {0};
    struct layer *top;
    int r = check_size(v, size, order, e);

    r = r == 0 ? check_mounted(v, size, order, where, e) : r;
    r = r == 0 ? chain_load_most(n, volume_text(v->record, "top"), 1, &chain, e) : r;
    top = chain.layers;
    r = r == 0 ? check_layer(top, size, e) : r;
    if (r == 0 && size > now) {
        r = pool_check_quota(n, top->pool, size - now, e);
    }
    if (r == 0 && size != now) {
        control = volume_worker_connect(n, v->name);
        if (control < 0 && where->count == 0) { /* it knows a disk of another size */
            r = option_cache_leave(n, v, false, e);
        }
    }
    if (r == 0 && size != now) {
        r = control >= 0       ? resize_served(n, v, top, size, control, e)
            : where->count > 0 ? resize_mounted(n, v, top, size, e)
                               : resize_alone(n, v, top, size, e);
    }
    chain_fini(&chain);
    return r;
}

int disk_volume_resize(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    SCOPED(scope_close) int lock = -1;
    struct mounted where = {.count = 0};
    struct volume v = {0};
    int r;

    r = volume_load(n, name, &v, e);
    if (r == 0 && !volume_is_disk(v.record)) {
        r = err_set(e, -EINVAL, "cannot resize volume '%s': it is a directory", name);
    }
    volume_fini(&v);
    if (r < 0) {
        return r;
    }
    r = volume_load_disk(n, name, &v, &lock, e);
    if (r == 0) {
        mounted_find(n, name, &where);
        r = resize(n, &v, order, &where, e);
        (void)fault_step("volume.resize.grown");
        r = r == 0 ? grow_filesystem(n, &v, order, &where, e) : r;
    }
    if (r == 0) {
        *ret = json_incref(v.record);
    } else if (r != -ENOENT) {
        r = err_wrap(e, "cannot resize volume '%s'", name);
    }
    mounted_fini(&where);
    volume_fini(&v);
    return r;
}
