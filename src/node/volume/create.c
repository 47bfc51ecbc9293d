/* create.c - new volumes that are disks, and their end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/mounted.h"
#include "node/volume/option.h"
#include "node/volume/option_layer.h"

static const char *or_usual(const json_t *order, const char *key, const char *usual)
{
    const char *word = json_string_value(json_object_get(order, key));

    return word != NULL ? word : usual;
}

json_t *disk_volume_record(const char *name, const json_t *order, const struct layer *top)
{
    char created[32];
    char path[PATH_MAX] = "";
    json_t *record;

    volume_now(created);
    (void)piece_path(top, path);
    record = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:O?, s:s}", "name",
                       name, "kind", "disk", "mode", or_usual(order, "mode", "shared"),
                       "path", path, "created_at", created, "size_bytes",
                       (json_int_t)volume_number(top->record, "size_bytes"), "pool",
                       volume_text(top->record, "pool"), "format",
                       volume_text(top->record, "format"), "class",
                       or_usual(order, "class", POOL_CLASS_USUAL), "labels",
                       json_object_get(order, "label"), "top", top->id);
    if (record != NULL && json_object_get(order, "filesystem") != NULL) {
        (void)json_object_set(record, "filesystem", json_object_get(order, "filesystem"));
    }
    if (record != NULL && layer_block_bytes(top) != VOLUME_SECTOR_BYTES) {
        (void)json_object_set_new(record, "block_bytes",
                                  json_integer(layer_block_bytes(top)));
    }
    if (record != NULL && layer_is_encrypted(top)) {
        (void)json_object_set_new(record, "encrypted", json_true());
    }
    if (record != NULL) {
        option_layer_record(record, top);
    }
    if (record != NULL && json_is_null(json_object_get(record, "labels"))) {
        (void)json_object_del(record, "labels");
    }
    return record;
}

int disk_volume_add(struct node *n, const json_t *record, const struct layer *top,
                    struct record_change *c, struct err *e)
{
    const char *name = volume_text(record, "name");
    char key[KV_KEY_BYTES];
    char user[KV_KEY_BYTES];
    int r;

    RECORD_KEY(key, "/volumes/%s", name);
    RECORD_KEY(user, "v/%s", name);
    record_need_none(c, key);
    record_put_json(c, key, record);
    layer_record(c, top, user);
    r = record_change_do(n, c, e);
    if (r == -EAGAIN) {
        struct volume other = {0};
        struct err none = {0};

        r = volume_load(n, name, &other, &none) == 0
                ? err_set(e, -EEXIST, "volume '%s' exists already", name)
                : err_set(e, r, "cannot make volume '%s': its pool or source is gone",
                          name);
        volume_fini(&other);
    }
    return r;
}

/* Before anything is made, so that a slip leaves no trace. */
static int check_new(struct node *n, const char *name, struct err *e)
{
    struct volume other = {0};
    struct err none = {0};
    int r = volume_load(n, name, &other, &none) == 0
                ? err_set(e, -EEXIST, "volume '%s' exists already", name)
                : 0;

    volume_fini(&other);
    return r;
}

/* The size of a device that nobody has mounted or opened for himself. */
static int look_at_device(const char *path, char real[PATH_MAX], uint64_t *ret,
                          struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct stat s;
    off_t end;

    if (realpath(path, real) == NULL || stat(real, &s) < 0) {
        return err_sys(e, -errno, "cannot use '%s'", path);
    }
    if (!S_ISBLK(s.st_mode)) {
        return err_set(e, -ENOTBLK, "cannot use '%s': it is no block device", path);
    }
    fd = open(real, O_RDWR | O_EXCL | O_CLOEXEC);
    end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (end <= 0) {
        return err_sys(e, fd < 0 ? -errno : -ENXIO, "cannot use '%s'", path);
    }
    *ret = (uint64_t)end;
    return 0;
}

static int create_device(struct node *n, const char *name, const json_t *order,
                         json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *record = NULL;
    struct record_change c = {0};
    struct layer_new top = {.intent = -1};
    char path[PATH_MAX];
    uint64_t size = 0;
    int r = check_new(n, name, e);

    r = r == 0 ? look_at_device(volume_text(order, "device"), path, &size, e) : r;
    r = r == 0 ? layer_make_device(n, path, size, &top, e) : r;
    if (r == 0) {
        record = disk_volume_record(name, order, &top.layer);
        r = option_take(n, order, record, e);
        r = r == 0 ? disk_volume_add(n, record, &top.layer, &c, e) : r;
    }
    layer_settle(n, &top, r == 0);
    record_change_fini(&c);
    if (r < 0) {
        return err_wrap(e, "cannot make volume '%s'", name);
    }
    *ret = json_incref(record);
    return 0;
}

/* The passphrase of an encrypted disk, which is an image; 0: it is none. */
static int read_new_key(const json_t *order, struct layer_plan *plan, struct err *e)
{
    bool encrypt = json_is_true(json_object_get(order, "encrypt"));
    bool has_key = json_object_get(order, "key_file") != NULL;

    if (!encrypt && json_object_get(order, "key_work") != NULL) {
        return err_set(e, -EINVAL, "--key-work is for --encrypt");
    }
    if (!encrypt || !has_key) {
        return !encrypt && !has_key
                   ? 0
                   : err_set(e, -EINVAL, "--encrypt and --key-file FILE go together");
    }
    if (json_object_get(order, "device") != NULL) {
        return err_set(e, -EOPNOTSUPP, "a device cannot be encrypted");
    }
    plan->format = "qcow2";
    plan->key_work = volume_number(order, "key_work");
    plan->key = volume_key_read(order, "key_file", e);
    return plan->key < 0 ? plan->key : 0;
}

int disk_volume_create(struct node *n, const char *name, const json_t *order,
                       json_t **ret, struct err *e)
{
    uint64_t size = volume_number(order, "size");
    SCOPED(scope_json) json_t *pool = NULL;
    SCOPED(scope_json) json_t *record = NULL;
    struct layer_plan plan = {.class = or_usual(order, "class", POOL_CLASS_USUAL),
                              .format = or_usual(order, "format", "raw"),
                              .block_bytes = words_block_size(order)};
    struct record_change c = {0};
    struct layer_new top = {.intent = -1};
    uint64_t block;
    int r;

    piece_mend(n);
    block = plan.block_bytes != 0 ? plan.block_bytes : VOLUME_SECTOR_BYTES;
    plan.size_bytes = (size + block - 1) & ~(block - 1);
    r = option_layer_check_order(order, e);
    r = r == 0 ? read_new_key(order, &plan, e) : r;
    if (r == 0 && json_object_get(order, "device") != NULL) {
        return create_device(n, name, order, ret, e);
    }
    r = r == 0 ? check_new(n, name, e) : r;
    r = r == 0 ? pool_load(n, or_usual(order, "pool", POOL_DEFAULT), &pool, e) : r;
    r = r == 0 ? pool_check_quota(n, pool, plan.size_bytes, e) : r;
    plan.pool = pool;
    plan.of = order;
    r = r == 0 ? layer_make(n, &plan, &top, e) : r;
    if (r == 0 && json_object_get(order, "filesystem") != NULL) {
        r = disk_volume_format(n, &top.layer, plan.key, volume_text(order, "filesystem"),
                               e);
    }
    if (plan.key > 0) {
        (void)close(plan.key);
    }
    if (r < 0) {
        layer_settle(n, &top, false);
        return err_wrap(e, "cannot make volume '%s'", name);
    }
    record = disk_volume_record(name, order, &top.layer);
    if (r == 0) {
        r = record == NULL ? err_set(e, -ENOMEM, "no memory")
                           : option_take(n, order, record, e);
        r = r == 0 ? disk_volume_add(n, record, &top.layer, &c, e) : r;
    }
    (void)fault_step("volume.create.recorded");
    layer_settle(n, &top, r == 0);
    record_change_fini(&c);
    if (r == 0) {
        *ret = json_incref(record);
    }
    return r;
}

/* ---- the end ---- */

#define SNAPSHOTS_AT_ONCE 12 /* in one transaction */

/* The last few of its snapshots need their layers no more. */
static int release_snapshots(struct node *n, const struct volume *v,
                             struct layer_release *out, struct err *e)
{
    json_t *list = json_object_get(v->record, "snapshots");

    for (int i = 0; i < SNAPSHOTS_AT_ONCE && json_array_size(list) > 0; i++) {
        size_t last = json_array_size(list) - 1;
        const json_t *snapshot = json_array_get(list, last);
        char user[KV_KEY_BYTES];
        int r;

        RECORD_KEY(user, "s/%s/%s", v->name, volume_text(snapshot, "name"));
        r = layer_release(n, out, volume_text(snapshot, "layer"), user, e);
        if (r < 0) {
            return r;
        }
        (void)json_array_remove(list, last);
    }
    return 0;
}

/* Until what is left goes in one transaction with the volume. */
static int forget_snapshots(struct node *n, struct volume *v, struct err *e)
{
    const json_t *list = json_object_get(v->record, "snapshots");
    int r = 0;

    while (r == 0 && json_array_size(list) > SNAPSHOTS_AT_ONCE) {
        struct record_change c = {0};
        struct layer_release gone = {0};
        char name[WORD_NAME_BYTES];
        char key[KV_KEY_BYTES];

        r = release_snapshots(n, v, &gone, e);
        if (r == 0) {
            RECORD_KEY(key, "/volumes/%s", v->name);
            record_need_same(&c, key, v->revision);
            record_put_json(&c, key, v->record);
            r = layer_release_do(n, &c, &gone, e);
        }
        layer_release_fini(&gone);
        record_change_fini(&c);
        (void)str_print(name, sizeof name, "%s", v->name);
        volume_fini(v);
        r = r == 0 ? volume_load(n, name, v, e) : r;
        list = json_object_get(v->record, "snapshots");
    }
    return r;
}

static int forget(struct node *n, const struct volume *v, int held, struct err *e)
{
    struct record_change c = {0};
    struct layer_release gone = {0};
    char key[KV_KEY_BYTES];
    char user[KV_KEY_BYTES];
    int r = release_snapshots(n, v, &gone, e);

    layer_release_hold(&gone, volume_text(v->record, "top"), held);
    if (r == 0 && volume_text(v->record, "backup_layer")[0] != '\0') {
        RECORD_KEY(user, "b/%s", v->name);
        r = layer_release(n, &gone, volume_text(v->record, "backup_layer"), user, e);
    }
    RECORD_KEY(user, "v/%s", v->name);
    r = r == 0 ? layer_release(n, &gone, volume_text(v->record, "top"), user, e) : r;
    r = r == 0 ? option_cache_release(n, v->record, v->name, &gone, e) : r;
    if (r == 0) {
        RECORD_KEY(key, "/volumes/%s", v->name);
        record_need_same(&c, key, v->revision);
        record_delete(&c, key);
        RECORD_KEY(key, "/owners/%s/", v->name);
        record_need_empty(&c, key);
        r = layer_release_do(n, &c, &gone, e);
    }
    layer_release_fini(&gone);
    record_change_fini(&c);
    return r;
}

int disk_volume_delete(struct node *n, const char *name, bool snapshots, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_close) int alone = -1;
    struct volume v = {0};
    struct chain chain = {0};
    int r;

    r = volume_load_locked(n, name, &v, &lock, e);
    if (r == 0 && !snapshots &&
        json_array_size(json_object_get(v.record, "snapshots")) > 0) {
        r = err_set(e, -ENOTEMPTY,
                    "cannot delete volume '%s': it has snapshots (see '--snapshots')",
                    name);
    }
    r = r == 0 ? chain_load_most(n, volume_text(v.record, "top"), 1, &chain, e) : r;
    if (r == 0) {
        alone = disk_open_alone(n, &v, &chain.layers[0], e);
        r = alone < 0 ? err_wrap(e, "cannot delete volume '%s'", name) : 0;
        if (alone == -ENOENT || alone == -ENODEV) { /* its bytes are gone already */
            err_clear(e);
            r = 0;
        }
    }
    r = r == 0 ? forget_snapshots(n, &v, e) : r;
    r = r == 0 ? forget(n, &v, alone, e) : r;
    if (r == 0) {
        volume_worker_forget(n, name);
        volume_forget_lock(n, name);
    }
    if (r == -EAGAIN && (e == NULL || e->code == 0)) {
        SCOPED(scope_json) json_t *users = volume_users(n, name);
        const char *who = json_string_value(json_array_get(users, 0));

        r = err_set(e, -EBUSY, "cannot delete volume '%s': guest '%s' has it", name,
                    who != NULL ? who : "made just now");
    }
    chain_fini(&chain);
    volume_fini(&v);
    return r;
}
