/* files.c - volumes that are directories, and who has volumes.
 *
 *     STATE/volumes/NAME/data   the files
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
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/volume/private.h"

void volume_path(const struct node *n, const char *name, const char *tail,
                 char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/volumes/%s%s", n->state, name, tail);
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
    struct volume v = {0};
    SCOPED(scope_json) json_t *owners = NULL;
    char key[KV_KEY_BYTES];
    int r = volume_load(n, name, &v, e);
    bool private = r == 0 && is_private(v.record);

    if (r == 0 && volume_is_disk(v.record) && n->rootless) {
        r = err_set(e, -EPERM, "volume '%s' is a disk: only root of the host mounts it",
                    name);
    }
    volume_fini(&v);
    if (r < 0) {
        return r;
    }
    if (private) {
        owners = volume_users(n, name);
        if (json_array_size(owners) != 0) {
            return err_set(e, -EBUSY, "volume '%s' is private, and guest '%s' has it",
                           name, json_string_value(json_array_get(owners, 0)));
        }
    }
    RECORD_KEY(key, "/owners/%s/%s", name, private ? "private" : id);
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

static int make_place(struct node *n, int places, const char *name)
{
    char gone[WORD_NAME_BYTES + 32];
    char path[PATH_MAX];
    int r = put_away(places, name, gone); /* of one whose deletion was killed */

    volume_path(n, name, "/data", path);
    if (r == 0) {
        r = file_make_dirs(path, 0755);
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

        if (r == 0 && !volume_names_disk(n, name)) {
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
    char path[PATH_MAX];
    char created[32];

    volume_path(n, name, "/data", path);
    volume_now(created);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:O*}", "name", name, "kind", "files",
                     "mode", mode != NULL ? mode : "shared", "path", path, "created_at",
                     created, "labels", json_object_get(order, "label"));
}

int files_create(struct node *n, const char *name, const json_t *order, json_t **ret,
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
        r = make_place(n, places, name);
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

int files_delete(struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_json) json_t *owners = NULL;
    SCOPED(scope_close) int places = lock_places(n);
    char gone[WORD_NAME_BYTES + 32];
    int r;

    owners = volume_users(n, name);
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
        struct volume v = {0};
        struct err why = {0};
        char path[PATH_MAX];
        bool known;
        bool away = entry->d_name[0] == '.' && str_ends(entry->d_name, GUEST_GONE);

        known = !away && (!word_is_name(entry->d_name) ||
                          volume_load(n, entry->d_name, &v, &why) != -ENOENT);
        volume_fini(&v);
        if (known) {
            continue;
        }
        volume_path(n, entry->d_name, "", path);
        if (disk_remove_tree(n, AT_FDCWD, path) == 0) {
            fn(arg, entry->d_name);
        }
    }
    piece_sweep(n, fn, arg);
}
