/* volume.c - named directories and disks that outlive guests.
 *
 *     STATE/volumes/NAME/data   the files, or
 *     STATE/volumes/NAME/disk   the blocks of a volume that is a disk (volume_disk.c)
 *     /volumes/NAME             kind, mode and labels, a JSON object
 *     /owners/NAME/ID           ID of a guest that has it
 *     /owners/NAME/private      the same, of the one guest that has a private volume
 *
 * A guest takes its owner's key in the transaction that records it, and only while the
 * volume is recorded; a volume goes in a transaction that finds no such key.  So of two
 * commands one wins.  Directories follow their record: made after it, taken away after
 * it, both under a lock on STATE/volumes, so that a new volume never has old files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "base/word.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/private.h"
#include "node/record.h"
#include "node/verb/private.h"

static void volume_path(const struct node *n, const char *name, const char *tail,
                        char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/volumes/%s%s", n->state, name, tail);
}

static int load(struct node *n, const char *name, json_t **ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    int r;

    if (!word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a volume", name);
    }
    (void)str_print(key, sizeof key, "/volumes/%s", name);
    r = record_load(n, key, ret, e);
    return r == -ENOENT && (e == NULL || e->code == 0)
               ? err_set(e, r, "volume '%s' does not exist (see 'strata volume list')",
                         name)
               : r;
}

/* "NAME:/PATH..." names the volume? */
static bool names_volume(const char *text, const char *name)
{
    size_t n = strlen(name);

    return text != NULL && strncmp(text, name, n) == 0 && text[n] == ':';
}

/* Names of the guests that have it. */
static json_t *users(struct node *n, const char *name)
{
    SCOPED(scope_json) json_t *records = NULL;
    json_t *out = json_array();
    size_t i;
    json_t *record;

    if (guest_all(n, &records, NULL) < 0) {
        return out;
    }
    json_array_foreach(records, i, record)
    {
        const json_t *list = json_object_get(json_object_get(record, "config"), "volume");
        size_t k;
        json_t *item;

        json_array_foreach(list, k, item)
        {
            if (names_volume(json_string_value(item), name)) {
                (void)json_array_append(out, json_object_get(record, "name"));
                break;
            }
        }
    }
    return out;
}

static bool is_private(const json_t *volume)
{
    const char *mode = json_string_value(json_object_get(volume, "mode"));

    return mode != NULL && strcmp(mode, "private") == 0;
}

/* The name in "NAME:/PATH..."; 1 for a directory of the host. */
static int name_of(const char *text, char name[WORD_NAME_BYTES], struct err *e)
{
    if (text == NULL || text[0] == '/' || text[0] == '.') {
        return 1;
    }
    return str_print(name, WORD_NAME_BYTES, "%.*s", (int)strcspn(text, ":"), text) < 0
               ? err_set(e, -EINVAL, "'%s' cannot be the name of a volume", text)
               : 0;
}

static int claim_one(struct node *n, const char *name, const char *id,
                     struct record_claims *c, struct err *e)
{
    SCOPED(scope_json) json_t *volume = NULL;
    SCOPED(scope_json) json_t *owners = NULL;
    char key[KV_KEY_BYTES];
    int r = load(n, name, &volume, e);

    if (r < 0) {
        return r;
    }
    if (volume_is_disk(volume)) {
        return err_set(e, -EOPNOTSUPP,
                       "volume '%s' is a disk, and a container takes files (see 'strata "
                       "volume export')",
                       name);
    }
    if (is_private(volume)) {
        owners = users(n, name);
        if (json_array_size(owners) != 0) {
            return err_set(e, -EBUSY, "volume '%s' is private, and guest '%s' has it",
                           name, json_string_value(json_array_get(owners, 0)));
        }
    }
    (void)str_print(key, sizeof key, "/owners/%s/%s", name,
                    is_private(volume) ? "private" : id);
    if (strv_has(&c->take, key)) {
        return 0; /* at two paths of the guest */
    }
    strv_add(&c->take, key);
    strv_addf(&c->need, "/volumes/%s", name);
    return 0;
}

int volume_claim(struct node *n, const struct guest *g, struct record_claims *c,
                 struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(guest_config(g), "volume"), i, item)
    {
        char name[WORD_NAME_BYTES];
        int r = name_of(json_string_value(item), name, e);

        if (r == 0) {
            r = claim_one(n, name, g->id, c, e);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int volume_claimed(struct node *n, const struct guest *g, struct strv *keys,
                   struct err *e)
{
    const json_t *list = json_object_get(guest_config(g), "volume");
    struct kv_items items;
    int r;

    if (json_array_size(list) == 0) {
        return 0;
    }
    r = record_items(n, "/owners/", &items, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < items.n; i++) {
        if (strcmp(items.items[i].value, g->id) == 0) {
            strv_add(keys, items.items[i].key);
        }
    }
    kv_items_fini(&items);
    return 0;
}

/* Taken while directories follow records; -errno. */
static int lock_places(struct node *n)
{
    char path[PATH_MAX];
    int fd = node_need_places(n, NULL); /* who needs the store, too, says why not */

    if (fd < 0) {
        return fd;
    }
    (void)str_print(path, sizeof path, "%s/volumes", n->state);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        int r = -errno;

        scope_close(&fd);
        return r;
    }
    return fd;
}

/* Give the directory of a volume, if there is one, a name that means "on its way out". */
static int put_away(int places, const char *name, char gone[WORD_NAME_BYTES + 32])
{
    char id[NODE_ID_DIGITS + 1];
    int r = word_random_id(id, NODE_ID_DIGITS);

    if (r < 0) {
        return r;
    }
    (void)str_print(gone, WORD_NAME_BYTES + 32, ".%s.%s" GUEST_GONE, name, id);
    return renameat(places, name, places, gone) < 0 && errno != ENOENT ? -errno : 0;
}

static int make_place(struct node *n, int places, const char *name, uint64_t disk_bytes)
{
    char gone[WORD_NAME_BYTES + 32];
    char path[PATH_MAX];
    int r = put_away(places, name, gone); /* of one whose deletion was killed */

    volume_path(n, name, disk_bytes == 0 ? "/data" : "", path);
    if (r == 0) {
        r = file_make_dirs(path, 0755);
    }
    if (r == 0 && disk_bytes != 0) {
        volume_path(n, name, "/disk", path);
        r = volume_disk_make(path, disk_bytes);
    }
    if (r == 0) {
        r = file_remove_tree(places, gone);
    }
    return r;
}

int volume_make(struct node *n, const struct guest *g, struct err *e)
{
    const json_t *list = json_object_get(guest_config(g), "volume");
    SCOPED(scope_close) int places = json_array_size(list) == 0 ? -1 : lock_places(n);
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        char name[WORD_NAME_BYTES];
        char path[PATH_MAX];
        int r = name_of(json_string_value(item), name, e);

        if (r == 0) {
            volume_path(n, name, "/data", path);
            r = file_make_dirs(path, 0755);
            r = r < 0 ? err_sys(e, r, "cannot make volume '%s'", name) : 0;
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static json_t *new_volume(struct node *n, const char *name, const json_t *order)
{
    const char *mode = json_string_value(json_object_get(order, "mode"));
    json_int_t size = json_integer_value(json_object_get(order, "size"));
    json_t *record;
    char path[PATH_MAX];
    char created[UNITS_TEXT_BYTES];
    struct timespec now;

    volume_path(n, name, size > 0 ? "/disk" : "/data", path);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, created);
    record = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O*}", "name", name, "kind",
                       size > 0 ? "disk" : "files", "mode",
                       mode != NULL ? mode : "shared", "path", path, "created_at",
                       created, "labels", json_object_get(order, "label"));
    if (size > 0) {
        (void)json_object_set_new(record, "size_bytes", json_integer(size));
    }
    return record;
}

static int create(struct node *n, const char *name, const json_t *order, json_t **ret,
                  struct err *e)
{
    SCOPED(scope_json) json_t *record = new_volume(n, name, order);
    SCOPED(scope_free) char *text = json_dumps(record, JSON_COMPACT);
    SCOPED(scope_close) int places = lock_places(n);
    char key[KV_KEY_BYTES];
    const char *keys[1] = {key};
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(key, sizeof key, "/volumes/%s", name);
    r = text == NULL ? -ENOMEM : places < 0 ? places : 0;
    if (r == 0) {
        r = kv_put_if(kv, key, kv_text(text), 0, NULL, e);
    }
    (void)fault_step("volume.create.recorded");
    if (r == -EEXIST) {
        return err_set(e, r, "volume '%s' exists already", name);
    }
    if (r == 0) {
        r = make_place(n, places, name,
                       (uint64_t)json_integer_value(json_object_get(order, "size")));
        if (r < 0) {
            (void)record_release(n, keys, 1, NULL);
        }
    }
    if (r < 0) {
        return err_sys(e, r, "cannot make volume '%s'", name);
    }
    *ret = json_incref(record);
    return 0;
}

/* Forget a volume that nobody has; -EBUSY without a text. */
static int forget(struct node *n, const char *name, struct err *e)
{
    char key[KV_KEY_BYTES];
    char prefix[KV_KEY_BYTES];
    char end[KV_KEY_BYTES];
    struct kv_result result;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    (void)str_print(key, sizeof key, "/volumes/%s", name);
    (void)str_print(prefix, sizeof prefix, "/owners/%s/", name);
    if (r == 0) {
        const struct kv_cmp nobody = {.span = kv_prefix(prefix, end),
                                      .target = KV_TARGET_CREATE,
                                      .order = KV_EQUAL};
        const struct kv_op then = kv_op_delete(kv_key(key));
        const struct kv_txn t = {
            .compare = &nobody, .n_compare = 1, .then_ops = &then, .n_then = 1};

        r = kv_txn(kv, &t, &result, e);
    }
    if (r < 0) {
        return r;
    }
    r = result.succeeded ? 0 : -EBUSY;
    kv_result_fini(&result);
    return r;
}

static int delete (struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_json) json_t *volume = NULL;
    SCOPED(scope_json) json_t *owners = NULL;
    SCOPED(scope_close) int places = lock_places(n);
    char gone[WORD_NAME_BYTES + 32];
    int r = load(n, name, &volume, e);

    if (r < 0) {
        return r;
    }
    r = volume_is_disk(volume) ? volume_disk_free(volume, e) : 0;
    if (r < 0) {
        return err_wrap(e, "cannot delete volume '%s'", name);
    }
    owners = users(n, name);
    r = json_array_size(owners) != 0 ? -EBUSY : forget(n, name, e);
    if (r == -EBUSY && (e == NULL || e->code == 0)) {
        const char *who = json_string_value(json_array_get(owners, 0));

        return err_set(e, r, "cannot delete volume '%s': guest '%s' has it", name,
                       who != NULL ? who : "made just now");
    }
    (void)fault_step("volume.delete.forgotten");
    if (r == 0) {
        r = places < 0 ? places : put_away(places, name, gone);
    }
    scope_close(&places);
    places = -1;
    (void)fault_step("volume.delete.away");
    if (r == 0) {
        char path[PATH_MAX];

        volume_path(n, gone, "", path);
        r = disk_remove_tree(n, AT_FDCWD, path);
    }
    return r < 0 ? err_sys(e, r, "cannot delete volume '%s'", name) : 0;
}

void volume_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg)
{
    SCOPED(scope_close) int places = lock_places(n);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    d = places >= 0 ? fdopendir(fcntl(places, F_DUPFD_CLOEXEC, 3)) : NULL;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        SCOPED(scope_json) json_t *volume = NULL;
        struct err why = {0};
        char path[PATH_MAX];
        bool away = entry->d_name[0] == '.' && str_ends(entry->d_name, GUEST_GONE);

        if (!away && (!word_is_name(entry->d_name) ||
                      load(n, entry->d_name, &volume, &why) != -ENOENT)) {
            continue;
        }
        volume_path(n, entry->d_name, "", path);
        if (disk_remove_tree(n, AT_FDCWD, path) == 0) {
            fn(arg, entry->d_name);
        }
    }
}

static int list(struct node *n, json_t **ret, struct err *e)
{
    int r = record_list(n, "/volumes/", ret, e);
    size_t i;
    json_t *volume;

    if (r < 0) {
        return r;
    }
    json_array_foreach(*ret, i, volume)
    {
        const char *name = json_string_value(json_object_get(volume, "name"));

        (void)json_object_set_new(volume, "guests", users(n, name != NULL ? name : ""));
    }
    return 0;
}

/* Record and file agree, also after a crash in between: the record is what counts, and a
 * file that is larger than it says loses nothing. */
static int resize(struct node *n, const char *name, const json_t *order, json_t **ret,
                  struct err *e)
{
    SCOPED(scope_json) json_t *volume = NULL;
    SCOPED(scope_close) int places = lock_places(n);
    SCOPED(scope_free) char *text = NULL;
    char key[KV_KEY_BYTES];
    struct kv *kv;
    int r = load(n, name, &volume, e);

    r = r == 0 ? volume_disk_resize(volume, order, e) : r;
    r = r == 0 ? node_kv(n, &kv, e) : r;
    if (r < 0) {
        return r;
    }
    text = json_dumps(volume, JSON_COMPACT);
    (void)str_print(key, sizeof key, "/volumes/%s", name);
    r = text == NULL ? -ENOMEM : kv_put(kv, key, kv_text(text), NULL, e);
    if (r < 0) {
        return err_sys(e, r, "cannot resize volume '%s'", name);
    }
    *ret = json_incref(volume);
    return 0;
}

int node_volume_export(struct node *n, const char *name, const json_t *order,
                       void (*ready)(void *arg, const char *address), void *arg,
                       struct err *e)
{
    SCOPED(scope_json) json_t *volume = NULL;
    int r = load(n, name, &volume, e);

    return r < 0 ? r : volume_disk_serve(n, volume, order, ready, arg, e);
}

int node_volume(struct node *n, const char *op, const json_t *order, json_t **ret,
                struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));
    char path[PATH_MAX];
    int r;

    *ret = NULL;
    if (strcmp(op, "list") == 0) {
        return list(n, ret, e);
    }
    if (name == NULL || !word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a volume",
                       name != NULL ? name : "");
    }
    if (strcmp(op, "create") == 0) {
        return create(n, name, order, ret, e);
    }
    if (strcmp(op, "delete") == 0) {
        return delete (n, name, e);
    }
    if (strcmp(op, "resize") == 0) {
        return resize(n, name, order, ret, e);
    }
    r = load(n, name, ret, e);
    if (r == 0 && volume_is_disk(*ret)) {
        (void)json_object_set_new(*ret, "guests", json_array());
        volume_disk_describe(*ret);
    } else if (r == 0) {
        volume_path(n, name, "/data", path);
        (void)json_object_set_new(*ret, "guests", users(n, name));
        (void)json_object_set_new(
            *ret, "size_bytes", json_integer((json_int_t)bytes_below(AT_FDCWD, path, 0)));
    }
    return r;
}
