/* volume.c - named directories that outlive guests.
 *
 *     STATE/volumes/NAME/data   the files
 *     /volumes/NAME             mode and labels, a JSON object
 *
 * A guest has a volume when its configuration names it.  A *private* volume is
 * given to one guest at a time: `volume_check` says so when a guest is made. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "base/word.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/private.h"
#include "node/record.h"

static void volume_path(const struct node *n, const char *name, const char *tail,
                        char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/volumes/%s%s", n->state, name, tail);
}

static int load(struct node *n, const char *name, json_t **ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    struct kv_item item;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    if (!word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a volume", name);
    }
    (void)str_print(key, sizeof key, "/volumes/%s", name);
    r = kv_get(kv, key, &item, e);
    if (r < 0) {
        return r == -ENOENT ? err_set(e, r,
                                      "volume '%s' does not exist (see 'strata volume "
                                      "list')",
                                      name)
                            : r;
    }
    r = json_parse(item.value, item.len, key, ret, e);
    kv_item_fini(&item);
    return r;
}

/* "NAME:/PATH..." names the volume? */
static bool names_volume(const char *text, const char *name)
{
    size_t n = strlen(name);

    return strncmp(text, name, n) == 0 && text[n] == ':';
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

int volume_check(struct node *n, const json_t *config, struct err *e)
{
    const json_t *list = json_object_get(config, "volume");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        SCOPED(scope_json) json_t *volume = NULL;
        SCOPED(scope_json) json_t *owners = NULL;
        char name[WORD_NAME_BYTES];
        int r;

        if (text[0] == '/' || text[0] == '.') {
            continue;
        }
        if (str_print(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text) < 0) {
            return err_set(e, -EINVAL, "'%s' cannot be the name of a volume", text);
        }
        r = load(n, name, &volume, e);
        if (r < 0) {
            return r;
        }
        if (strcmp(json_string_value(json_object_get(volume, "mode")), "private") != 0) {
            continue;
        }
        owners = users(n, name);
        if (json_array_size(owners) != 0) {
            return err_set(e, -EBUSY, "volume '%s' is private, and guest '%s' has it",
                           name, json_string_value(json_array_get(owners, 0)));
        }
    }
    return 0;
}

static int create(struct node *n, const char *name, const json_t *order, json_t **ret,
                  struct err *e)
{
    const char *mode = json_string_value(json_object_get(order, "mode"));
    SCOPED(scope_json) json_t *record = NULL;
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    char created[UNITS_TEXT_BYTES];
    char key[KV_KEY_BYTES];
    struct timespec now;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    volume_path(n, name, "/data", path);
    r = file_make_dirs(path, 0755);
    if (r < 0) {
        return err_sys(e, r, "cannot make volume '%s'", name);
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, created);
    record = json_pack("{s:s, s:s, s:s, s:s, s:O*}", "name", name, "mode",
                       mode != NULL ? mode : "shared", "path", path, "created_at",
                       created, "labels", json_object_get(order, "label"));
    text = json_dumps(record, JSON_COMPACT);
    (void)str_print(key, sizeof key, "/volumes/%s", name);
    r = text == NULL ? -ENOMEM : kv_put_if(kv, key, kv_text(text), 0, NULL, e);
    if (r < 0) {
        return r == -EEXIST ? err_set(e, r, "volume '%s' exists already", name) : r;
    }
    *ret = json_incref(record);
    return 0;
}

static int delete (struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_json) json_t *volume = NULL;
    SCOPED(scope_json) json_t *owners = NULL;
    char path[PATH_MAX];
    char key[KV_KEY_BYTES];
    const char *keys[1] = {key};
    int r = load(n, name, &volume, e);

    if (r < 0) {
        return r;
    }
    owners = users(n, name);
    if (json_array_size(owners) != 0) {
        return err_set(e, -EBUSY, "cannot delete volume '%s': guest '%s' has it", name,
                       json_string_value(json_array_get(owners, 0)));
    }
    volume_path(n, name, "", path);
    r = file_remove_tree(AT_FDCWD, path);
    if (r < 0) {
        return err_sys(e, r, "cannot delete volume '%s'", name);
    }
    (void)str_print(key, sizeof key, "/volumes/%s", name);
    return record_release(n, keys, 1, e);
}

static int list(struct node *n, json_t **ret, struct err *e)
{
    struct kv_items items;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r == 0) {
        r = kv_list(kv, "/volumes/", &items, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_array();
    for (size_t i = 0; i < items.n; i++) {
        json_t *volume = NULL;

        if (json_parse(items.items[i].value, items.items[i].len, "volume", &volume,
                       NULL) == 0) {
            (void)json_object_set_new(
                volume, "guests",
                users(n, json_string_value(json_object_get(volume, "name"))));
            (void)json_array_append_new(*ret, volume);
        }
    }
    kv_items_fini(&items);
    return 0;
}

uint64_t bytes_below(int dir, const char *name, int depth)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    uint64_t sum = 0;

    while (d != NULL && depth < 256 && (entry = readdir(d)) != NULL) {
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        sum += (uint64_t)st.st_blocks * 512;
        if (S_ISDIR(st.st_mode)) {
            sum += bytes_below(dirfd(d), entry->d_name, depth + 1);
        }
    }
    return sum;
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
    r = load(n, name, ret, e);
    if (r == 0) {
        volume_path(n, name, "/data", path);
        (void)json_object_set_new(*ret, "guests", users(n, name));
        (void)json_object_set_new(
            *ret, "size_bytes", json_integer((json_int_t)bytes_below(AT_FDCWD, path, 0)));
    }
    return r;
}
