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
#include "base/log.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/files.h"
#include "node/volume/directory.h"
#include "node/volume/mounted.h"
#include "node/volume/private.h"

void volume_path(const struct node *n, const char *name, const char *tail,
                 char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/volumes/%s%s", n->state, name, tail);
}

int volume_files(struct node *n, const char *name, char out[PATH_MAX], struct err *e)
{
    struct volume v = {0};
    int r = volume_load(n, name, &v, e);

    r = r == 0 ? directory_path(n, v.record, out, e) : r;
    volume_fini(&v);
    if (r == 0 && access(out, F_OK) < 0) {
        r = err_set(e, -ENOENT,
                    "cannot use volume '%s': it does not exist (see 'strata volume "
                    "create')",
                    name);
    }
    return r;
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

static int claim_one(struct node *n, const char *name, const struct guest *g,
                     struct record_claims *c, struct err *e)
{
    struct volume v = {0};
    SCOPED(scope_json) json_t *owners = NULL;
    char key[KV_KEY_BYTES];
    int r = volume_load(n, name, &v, e);
    bool private = r == 0 && is_private(v.record);

    if (r == 0 && volume_is_disk(v.record) && n->rootless && !guest_is_machine(g)) {
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
    RECORD_KEY(key, "/owners/%s/%s", name, private ? "private" : g->id);
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
            r = claim_one(n, name, g, c, e);
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

/* Those of pools are there as long as their member is: nothing is made where one is lost. */
static int make_one(struct node *n, const char *name, struct err *e)
{
    struct volume v = {0};
    char path[PATH_MAX];
    int r = volume_load(n, name, &v, e);
    bool is_disk = r == 0 && volume_is_disk(v.record);

    if (r == 0 && !is_disk) {
        r = directory_path(n, v.record, path, e);
        if (r == 0 && volume_text(v.record, "pool")[0] == '\0') {
            r = file_make_dirs(path, 0755);
            r = r < 0 ? err_sys(e, r, "cannot make volume '%s'", name) : 0;
        }
    }
    volume_fini(&v);
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
        int r = name_of(json_string_value(item), name, e);

        r = r == 0 ? make_one(n, name, e) : r;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* ---- create ---- */

static json_t *new_volume(const char *name, const json_t *order)
{
    const char *mode = json_string_value(json_object_get(order, "mode"));
    char created[32];

    volume_now(created);
    return json_pack("{s:s, s:s, s:s, s:s, s:O*}", "name", name, "kind", "files", "mode",
                     mode != NULL ? mode : "shared", "created_at", created, "labels",
                     json_object_get(order, "label"));
}

static int check_absent(struct node *n, const char *name, struct err *e)
{
    struct volume v = {0};
    int r = volume_load(n, name, &v, NULL);

    volume_fini(&v);
    return r == 0         ? err_set(e, -EEXIST, "volume '%s' exists already", name)
           : r == -ENOENT ? 0
                          : err_sys(e, r, "cannot look for volume '%s'", name);
}

/* Where it shall lie. */
static int choose_place(struct node *n, const json_t *order, json_t *record,
                        struct err *e)
{
    const char *name = volume_text(order, "pool");
    const char *class = volume_text(order, "class");
    uint64_t quota = volume_number(order, "quota");
    SCOPED(scope_json) json_t *pool = NULL;
    int r;

    if (name[0] == '\0' || strcmp(name, POOL_DEFAULT) == 0) {
        return 0;
    }
    r = pool_load(n, name, &pool, e);
    if (r == 0 && quota == 0 && volume_number(pool, "quota_bytes") > 0) {
        r = err_set(e, -EDQUOT, "pool '%s' has a quota: say '--quota SIZE'", name);
    }
    r = r == 0 ? pool_check_quota(n, pool, quota, e) : r;
    return r == 0 ? directory_choose(n, pool, class[0] != '\0' ? class : POOL_CLASS_USUAL,
                                     record, e)
                  : r;
}

/* Its directory, with its quota. */
static int make_place(struct node *n, json_t *record, uint64_t quota, struct err *e)
{
    SCOPED(scope_close) int places = directory_open_places(n, record, e);
    const char *name = volume_text(record, "name");
    char path[PATH_MAX] = "";
    uint32_t project = 0;
    int r = places < 0 ? places : 0;

    if (r == 0 && quota > 0) {
        r = directory_take_project(places, quota, &project, e);
    }
    if (r == 0) {
        r = directory_make(n, places, name, project);
        r = r < 0 ? err_sys(e, r, "cannot make its directory") : 0;
    }
    if (project != 0) {
        (void)json_object_set_new(record, "project", json_integer(project));
        (void)json_object_set_new(record, "quota_bytes", json_integer((json_int_t)quota));
        (void)json_object_set_new(record, "size_bytes", json_integer((json_int_t)quota));
    }
    r = r == 0 ? directory_path(n, record, path, e) : r;
    (void)json_object_set_new(record, "path", json_string(path));
    return r;
}

static int record_new(struct node *n, const json_t *record, struct err *e)
{
    const char *name = volume_text(record, "name");
    const char *pool = volume_text(record, "pool");
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    int r;

    RECORD_KEY(key, "/volumes/%s", name);
    record_need_none(&c, key);
    record_put_json(&c, key, record);
    if (pool[0] != '\0') {
        RECORD_KEY(key, "/pools/%s", pool);
        record_need(&c, key);
        RECORD_KEY(key, "/pool-layers/%s/files.%s", pool, name);
        record_put(&c, key, "");
    }
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    return r == -EAGAIN && (e == NULL || e->code == 0) ? err_set(e, r, "its pool is gone")
                                                       : r;
}

static void forget_place(struct node *n, const json_t *record)
{
    SCOPED(scope_close) int places = directory_open_places(n, record, NULL);
    uint32_t project = (uint32_t)volume_number(record, "project");

    if (places >= 0) {
        (void)directory_remove(n, places, volume_text(record, "name"));
    }
    if (places >= 0 && project != 0) {
        (void)directory_set_quota(places, project, 0);
    }
}

int directory_create(struct node *n, const char *name, const json_t *order, json_t **ret,
                     struct err *e)
{
    SCOPED(scope_json) json_t *record = new_volume(name, order);
    SCOPED(scope_close) int places = lock_places(n);
    int r = record == NULL ? err_set(e, -ENOMEM, "no memory") : 0;

    if (r == 0 && places < 0) {
        r = err_sys(e, places, "cannot lock the directories of volumes");
    }
    r = r == 0 ? check_absent(n, name, e) : r;
    if (r < 0) {
        return r;
    }
    r = choose_place(n, order, record, e);
    r = r == 0 ? make_place(n, record, volume_number(order, "quota"), e) : r;
    (void)fault_step("volume.create.made");
    if (r == 0) {
        r = record_new(n, record, e);
        (void)fault_step("volume.create.recorded");
        if (r < 0) {
            forget_place(n, record);
        }
    }
    if (r < 0) {
        return err_wrap(e, "cannot make volume '%s'", name);
    }
    *ret = json_incref(record);
    return 0;
}

/* ---- create, with what is in it from the first day ---- */

struct filled {
    struct node *n;
    json_t *record;
    int places;                    /* owned */
    int lock;                      /* owned */
    char scratch[WORD_NAME_BYTES]; /* has DATA until the volume has its name */
};

static int take_limit(struct filled *f, uint64_t quota, bool may_go, int data,
                      struct err *e)
{
    struct err why = {0};
    uint32_t project = 0;
    int r = quota > 0 ? directory_take_project(f->places, quota, &project, &why) : 0;

    if (r == -EOPNOTSUPP && may_go) {
        log_warn(f->n->log, "volume '%s' has no limit: %s",
                 volume_text(f->record, "name"), why.text);
        return 0;
    }
    if (r < 0) {
        return err_set(e, r, "%s", why.text);
    }
    if (project != 0) {
        (void)json_object_set_new(f->record, "project", json_integer(project));
        (void)json_object_set_new(f->record, "quota_bytes",
                                  json_integer((json_int_t)quota));
        (void)json_object_set_new(f->record, "size_bytes",
                                  json_integer((json_int_t)quota));
        r = directory_set_project(data, project);
    }
    return r < 0 ? err_sys(e, r, "cannot set its quota") : 0;
}

static int fill_scratch(struct filled *f, uint64_t quota,
                        const struct directory_source *from, struct err *e)
{
    SCOPED(scope_close)
    int own =
        openat(f->places, f->scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    SCOPED(scope_close) int data = -1;
    int r;

    if (own >= 0 && fchmod(own, 0755) == 0 && mkdirat(own, "data", 0755) == 0) {
        data = openat(own, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (data < 0) {
        return err_sys(e, -errno, "cannot make its directory");
    }
    r = take_limit(f, quota, from->limit_may_go, data, e);
    r = r == 0 ? from->fill(from->arg, data, e) : r;
    return r == 0 && syncfs(data) < 0 ? err_sys(e, -errno, "cannot write it down") : r;
}

/* It has its name, and is recorded. */
static int adopt(struct filled *f, struct err *e)
{
    const char *name = volume_text(f->record, "name");
    SCOPED(scope_close) int lock = lock_places(f->n);
    char path[PATH_MAX] = "";
    int r = lock < 0 ? err_sys(e, lock, "cannot lock the directories of volumes")
                     : check_absent(f->n, name, e);

    r = r == 0 ? directory_remove(f->n, f->places, name) : r; /* what a killed one left */
    r = r == 0 ? directory_path(f->n, f->record, path, e) : r;
    (void)json_object_set_new(f->record, "path", json_string(path));
    if (r == 0 && renameat(f->places, f->scratch, f->places, name) < 0) {
        r = err_sys(e, -errno, "cannot name its directory");
    }
    (void)fault_step("volume.create.named");
    if (r == 0) {
        r = record_new(f->n, f->record, e);
        (void)fault_step("volume.create.recorded");
        if (r < 0) {
            forget_place(f->n, f->record);
        }
    }
    return r;
}

int directory_create_from(struct node *n, const char *name, const json_t *order,
                          const struct directory_source *from, json_t **ret,
                          struct err *e)
{
    SCOPED(scope_json) json_t *record = new_volume(name, order);
    struct filled f = {.n = n, .record = record, .places = -1, .lock = -1};
    SCOPED(scope_close) int made = node_need_places(n, e);
    int r = record == NULL ? err_set(e, -ENOMEM, "no memory") : made < 0 ? made : 0;

    r = r == 0 ? check_absent(n, name, e) : r;
    r = r == 0 ? choose_place(n, order, record, e) : r;
    f.places = r == 0 ? directory_open_places(n, record, e) : -1;
    r = r == 0 && f.places < 0 ? f.places : r;
    r = r == 0 ? directory_scratch(n, f.places, f.scratch, &f.lock, e) : r;
    if (r == 0) {
        r = fill_scratch(&f, volume_number(order, "quota"), from, e);
        (void)fault_step("volume.create.filled");
        r = r == 0 ? adopt(&f, e) : r;
        if (r < 0) {
            (void)disk_remove_tree(n, f.places, f.scratch);
        }
        volume_forget_lock(n, f.scratch);
    }
    scope_close(&f.lock);
    scope_close(&f.places);
    if (r < 0) {
        return err_wrap(e, "cannot make volume '%s'", name);
    }
    *ret = json_incref(record);
    return 0;
}

void directory_describe(struct node *n, json_t *record)
{
    SCOPED(scope_close) int places = directory_open_places(n, record, NULL);
    uint32_t project = (uint32_t)volume_number(record, "project");
    char path[PATH_MAX];
    uint64_t bytes;

    (void)json_object_del(record, "project");
    (void)json_object_del(record, "member");
    if (places < 0 || directory_path(n, record, path, NULL) < 0) {
        (void)json_object_set_new(record, "state", json_string("lost"));
        return;
    }
    bytes =
        project != 0 ? directory_used(places, project) : bytes_below(AT_FDCWD, path, 0);
    (void)json_object_set_new(record, "size_bytes", json_integer((json_int_t)bytes));
}

/* ---- delete ---- */

/* Forget a volume that nobody has; -EBUSY without a text. */
static int forget(struct node *n, const struct volume *v, struct err *e)
{
    const char *pool = volume_text(v->record, "pool");
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    int r;

    RECORD_KEY(key, "/owners/%s/", v->name);
    record_need_empty(&c, key);
    RECORD_KEY(key, "/volumes/%s", v->name);
    record_delete(&c, key);
    if (pool[0] != '\0') {
        RECORD_KEY(key, "/pool-layers/%s/files.%s", pool, v->name);
        record_delete(&c, key);
    }
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    return r == -EAGAIN ? -EBUSY : r;
}

int directory_delete(struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_json) json_t *owners = NULL;
    SCOPED(scope_close) int lock = lock_places(n);
    SCOPED(scope_close) int places = -1;
    struct volume v = {0};
    uint32_t project;
    int r = volume_load(n, name, &v, e);

    if (r < 0) {
        return r;
    }
    owners = volume_users(n, name);
    places = directory_open_places(n, v.record, NULL); /* its member may be lost */
    project = (uint32_t)volume_number(v.record, "project");
    r = json_array_size(owners) != 0 ? -EBUSY : forget(n, &v, e);
    volume_fini(&v);
    if (r == -EBUSY && (e == NULL || e->code == 0)) {
        const char *who = json_string_value(json_array_get(owners, 0));

        return err_set(e, r, "cannot delete volume '%s': guest '%s' has it", name,
                       who != NULL ? who : "made just now");
    }
    (void)fault_step("volume.delete.forgotten");
    if (r == 0 && places >= 0) {
        r = directory_remove(n, places, name);
        if (project != 0) {
            (void)directory_set_quota(places, project, 0);
        }
    }
    return r < 0 ? err_sys(e, r, "cannot delete volume '%s'", name) : 0;
}

/* Whether the directory of that name beside the state is a volume's. */
static bool is_recorded(struct node *n, const char *name)
{
    struct volume v = {0};
    struct err why = {0};
    int r = volume_load(n, name, &v, &why);
    bool yes = r < 0 ? r != -ENOENT : volume_text(v.record, "pool")[0] == '\0';

    volume_fini(&v);
    return yes;
}

void volume_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg)
{
    SCOPED(scope_close) int places = lock_places(n);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    d = places >= 0 ? fdopendir(fcntl(places, F_DUPFD_CLOEXEC, 3)) : NULL;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        bool away = entry->d_name[0] == '.' && str_ends(entry->d_name, GUEST_GONE);

        if ((away || (word_is_name(entry->d_name) && !is_recorded(n, entry->d_name) &&
                      !directory_is_moving(n, entry->d_name))) &&
            disk_remove_tree(n, places, entry->d_name) == 0) {
            fn(arg, entry->d_name);
        }
    }
    directory_sweep(n, fn, arg);
    piece_sweep(n, fn, arg);
    mounted_mend(n, NULL);
}
