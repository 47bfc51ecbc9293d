/* image.c - images: the quick operations here, the rest in the program `image`.
 *
 * What eats foreign bytes never runs in this process.  An order becomes the
 * request of `image OP` by adding the state directory; what that program calls
 * differently is renamed below. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "node/private.h"
#include "resource/image/image.h"

static void progress(void *arg, const json_t *p)
{
    struct node *n = arg;
    const char *what = json_string_value(json_object_get(p, "what"));
    const char *object = json_string_value(json_object_get(p, "object"));
    char text[256];

    (void)str_print(text, sizeof text, "%s %.40s", what != NULL ? what : "",
                    object != NULL ? object : "");
    node_report(n, text, (uint64_t)json_integer_value(json_object_get(p, "done")),
                (uint64_t)json_integer_value(json_object_get(p, "total")));
}

static int use_tool(struct node *n, const char *op, json_t *request, json_t **ret,
                    struct err *e)
{
    char path[PATH_MAX];
    struct image_tool tool = {path, progress, n};
    int r = node_need_places(n, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(path, sizeof path, "%s/image", n->libexec);
    (void)json_object_set_new(request, "state", json_string(n->state));
    return image_tool_run(&tool, op, request, ret, e);
}

static json_t *names_of(const struct image *img)
{
    return img->name[0] != '\0' ? json_pack("[s]", img->name) : json_array();
}

static json_t *layers_of(const struct image *img)
{
    json_t *list = json_array();

    for (size_t i = 0; i < img->n_layers; i++) {
        (void)json_array_append_new(list, json_string(img->layers[i].blob.digest));
    }
    return list;
}

static json_int_t guests_of(const json_t *records, const char *digest)
{
    json_int_t count = 0;
    size_t i;
    json_t *record;

    json_array_foreach(records, i, record)
    {
        const char *own = json_string_value(json_object_get(record, "image_digest"));

        count += own != NULL && strcmp(own, digest) == 0 ? 1 : 0;
    }
    return count;
}

static json_t *describe(const struct image *img, const json_t *records)
{
    char platform[128];

    (void)str_print(platform, sizeof platform, "%s/%s", img->os, img->arch);
    return json_pack("{s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:o}", "name", img->name,
                     "names", names_of(img), "digest", img->manifest.digest, "created_at",
                     img->created, "platform", platform, "size_bytes",
                     (json_int_t)img->blob_bytes, "guests",
                     guests_of(records, img->manifest.digest), "layers", layers_of(img));
}

struct listing {
    json_t *out;
    const json_t *records;
};

static int list_one(void *arg, const struct image *img)
{
    struct listing *l = arg;

    return json_array_append_new(l->out, describe(img, l->records));
}

static int list(struct node *n, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    struct listing l = {.out = json_array()};
    struct image_store *store;
    size_t broken = 0;
    int r = node_images(n, &store, e);

    if (r == 0) {
        r = guest_all(n, &records, e);
    }
    l.records = records;
    if (r == 0) {
        r = image_list(store, list_one, &l, &broken, e);
    }
    if (broken != 0) {
        log_warn(n->log, "%zu images cannot be read (see 'strata image inspect')",
                 broken);
    }
    *ret = l.out;
    return r < 0 ? r : 0;
}

static int inspect(struct node *n, const char *name, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    struct image_store *store;
    struct image img = {0};
    int r = node_images(n, &store, e);

    if (r == 0) {
        r = guest_all(n, &records, e);
    }
    if (r == 0) {
        r = image_find(store, name, &img, e);
    }
    if (r == 0) {
        *ret = describe(&img, records);
        (void)json_object_set(*ret, "config", json_object_get(img.config, "config"));
        (void)json_object_set(*ret, "history", json_object_get(img.config, "history"));
    }
    image_fini(&img);
    return r;
}

static int delete_one(struct node *n, const char *name, bool force, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    struct image_store *store;
    struct image img = {0};
    json_int_t users;
    int r = node_images(n, &store, e);

    if (r == 0) {
        r = guest_all(n, &records, e);
    }
    if (r == 0) {
        r = image_find(store, name, &img, e);
    }
    if (r < 0) {
        return r;
    }
    users = guests_of(records, img.manifest.digest);
    image_fini(&img);
    if (users != 0 && !force) {
        return err_set(e, -EBUSY, "cannot delete image '%s': %lld %s made from it", name,
                       (long long)users, users == 1 ? "guest was" : "guests were");
    }
    return image_delete(store, name, e);
}

/* The images of all guests, asked when none can be made from another one meanwhile. */
static int list_kept(void *arg, struct strv *ret, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    size_t i;
    json_t *item;
    int r = guest_all(arg, &records, e);

    json_array_foreach(records, i, item)
    {
        const char *digest = json_string_value(json_object_get(item, "image_digest"));

        if (digest != NULL) {
            strv_add(ret, digest);
        }
    }
    return r;
}

/* Forget the names of images that no guest was made from; how many. */
static int delete_unused(struct node *n, struct image_store *store, json_int_t *ret,
                         struct err *e)
{
    SCOPED(scope_json) json_t *all = NULL;
    size_t i;
    json_t *item;
    int r = list(n, &all, e);

    json_array_foreach(all, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));

        if (json_integer_value(json_object_get(item, "guests")) == 0 &&
            image_delete(store, name, NULL) == 0) {
            *ret += 1;
        }
    }
    return r;
}

static int prune(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    struct image_pruned done = {0};
    struct image_store *store;
    json_int_t images = 0;
    int r = node_images(n, &store, e);

    if (r == 0 && json_is_true(json_object_get(order, "all"))) {
        r = delete_unused(n, store, &images, e);
    }
    if (r == 0) {
        r = image_prune(store, list_kept, n, &done, e);
    }
    if (r == 0 && json_is_true(json_object_get(order, "cache"))) {
        char path[PATH_MAX];

        (void)str_print(path, sizeof path, "%s/build-cache", n->state);
        r = disk_remove_tree(n, AT_FDCWD, path);
        r = r < 0 ? err_sys(e, r, "cannot remove the layer cache '%s'", path) : 0;
    }
    if (r == 0) {
        *ret = json_pack("{s:I, s:I, s:I, s:I}", "images", images, "layers",
                         (json_int_t)done.layers, "blobs", (json_int_t)done.blobs,
                         "size_bytes", (json_int_t)done.blob_bytes);
    }
    return r;
}

static int tag(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *image = json_string_value(json_object_get(order, "image"));
    const char *name = json_string_value(json_object_get(order, "name"));
    struct image_store *store;
    int r = node_images(n, &store, e);

    if (r == 0 && (image == NULL || name == NULL)) {
        r = err_set(e, -EINVAL, "an image and a name are needed");
    }
    if (r == 0) {
        r = image_tag(store, image, name, e);
    }
    if (r == 0) {
        *ret = json_pack("{s:s}", "name", name);
    }
    return r;
}

/* The disk of a guest as one more layer on its image; it stands still meanwhile. */
static int commit(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *word = json_string_value(json_object_get(order, "guest"));
    SCOPED(scope_json) json_t *request = json_object();
    SCOPED(scope_json) json_t *made = NULL;
    struct guest_status st = {0};
    struct task *t = NULL;
    struct guest g = {0};
    char upper[PATH_MAX];
    bool held = false;
    int r = guest_find(n, word != NULL ? word : "", &g, e);

    r = r == 0 ? guest_need_container(&g, "make an image of", e) : r;
    if (r < 0) {
        guest_fini(&g);
        return r;
    }
    (void)guest_state_path(n, g.id, "disk/upper", upper);
    (void)json_object_set_new(request, "upper", json_string(upper));
    (void)json_object_set_new(request, "base",
                              json_string(guest_text(&g, "image_digest")));
    (void)json_object_set(request, "name", json_object_get(order, "image"));
    (void)json_object_set(request, "author", json_object_get(order, "author"));
    (void)json_object_set(request, "comment", json_object_get(order, "message"));
    (void)json_object_set(request, "config", json_object_get(order, "config"));
    (void)json_object_set(request, "changes", json_object_get(order, "change"));
    if (json_object_get(g.record, "userns") != NULL) {
        json_t *map = json_pack(
            "[{s:O, s:i, s:O}]", "host",
            json_object_get(json_object_get(g.record, "userns"), "base"), "guest", 0,
            "count", json_object_get(json_object_get(g.record, "userns"), "size"));

        (void)json_object_set(request, "uid_map", map);
        (void)json_object_set_new(request, "gid_map", map);
    }
    if (guest_status(n, g.id, &st, NULL) == 0 && st.state == GUEST_RUNNING &&
        !json_is_true(json_object_get(order, "no_pause")) &&
        guest_task(n, &g, &t, NULL) == 0) {
        held = task_pause(t, NULL) == 0;
    }
    r = use_tool(n, "commit", request, &made, e);
    if (held) {
        (void)task_resume(t, NULL);
    }
    task_close(t);
    if (r == 0) {
        (void)json_object_set_new(made, "names",
                                  json_pack("[O]", json_object_get(order, "image")));
        *ret = json_incref(made);
        event_write(n, "committed", &g,
                    json_string_value(json_object_get(order, "image")));
    }
    guest_fini(&g);
    return r;
}

/* Copy `from` of the order to `to` of the request, if it is there. */
static void rename_member(json_t *request, const char *from, const char *to)
{
    json_t *v = json_object_get(request, from);

    if (v != NULL) {
        (void)json_object_set(request, to, v);
    }
}

/* How a registry is spoken to, and with which logins. */
static void set_registry(struct node *n, json_t *request)
{
    char path[PATH_MAX];

    if (json_is_true(json_object_get(request, "insecure")) ||
        json_is_true(json_object_get(request, "plain_http"))) {
        (void)json_object_set_new(request, "tls_verify", json_false());
    }
    (void)str_print(path, sizeof path, "%s/auth.json", n->state);
    (void)json_object_set_new(request, "auth_file", json_string(path));
}

static bool is_known_base(const char *source)
{
    return strcmp(source, "busybox") == 0 || strcmp(source, "debian") == 0 ||
           str_starts(source, "debian:");
}

/* Where the sources are, and where the steps: SOURCE is a directory or a file. */
static int set_sources(json_t *request, const char *source, struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    char *slash;

    if (realpath(source, path) == NULL || stat(path, &st) < 0) {
        return err_sys(e, -errno, "cannot build from '%s'", source);
    }
    if (S_ISDIR(st.st_mode)) {
        (void)json_object_set_new(request, "context", json_string(path));
        return 0;
    }
    (void)json_object_set_new(request, "file", json_string(path));
    slash = strrchr(path, '/');
    slash[slash == path ? 1 : 0] = '\0';
    (void)json_object_set_new(request, "context", json_string(path));
    return 0;
}

/* ["K=V"] to {"K": "V"}. */
static json_t *pairs_object(const json_t *list)
{
    json_t *out = json_object();
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *pair = json_string_value(item);
        char key[256];

        if (strchr(pair, '=') != NULL &&
            str_print(key, sizeof key, "%.*s", (int)strcspn(pair, "="), pair) == 0) {
            (void)json_object_set_new(out, key, json_string(strchr(pair, '=') + 1));
        }
    }
    return out;
}

static int build(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *request = json_deep_copy(order);
    const char *source = json_string_value(json_object_get(order, "source"));
    const char *network = json_string_value(json_object_get(order, "network"));
    const json_t *tags = json_object_get(order, "tag");
    struct image_store *store;
    size_t i;
    json_t *item;
    int r = 0;

    if (source == NULL) {
        return err_set(e, -EINVAL, "nothing to build from was named");
    }
    if (json_array_size(tags) != 0) {
        (void)json_object_set(request, "name", json_array_get(tags, 0));
    }
    if (is_known_base(source)) {
        (void)json_object_set_new(request, "what", json_string(source));
    } else {
        r = set_sources(request, source, e);
        set_registry(n, request);
        (void)json_object_set_new(request, "args",
                                  pairs_object(json_object_get(order, "build_arg")));
        (void)json_object_set_new(
            request, "no_network",
            json_boolean(network != NULL && strcmp(network, "none") == 0));
        (void)json_object_set_new(
            request, "runner",
            json_pack("[s,s,s,s]", n->program, "--worker", "build-step", n->run));
    }
    if (r == 0) {
        r = use_tool(n, "build", request, ret, e);
    }
    if (r < 0) {
        return r;
    }
    (void)json_object_set_new(*ret, "names",
                              json_array_size(tags) != 0 ? json_deep_copy(tags)
                              : json_object_get(*ret, "name") != NULL
                                  ? json_pack("[O]", json_object_get(*ret, "name"))
                                  : json_array());
    r = node_images(n, &store, e);
    if (r == 0 &&
        strcmp(source, "debian") == 0) { /* `run debian` means the usual suite */
        r = image_tag(store, json_string_value(json_object_get(*ret, "digest")),
                      "debian:latest", e);
    }
    json_array_foreach(tags, i, item)
    {
        if (r == 0 && i > 0) {
            r = image_tag(store, json_string_value(json_object_get(*ret, "digest")),
                          json_string_value(item), e);
        }
    }
    return r;
}

/* Remember or forget; to forget what is not remembered is fine. */
static int keep_login(struct node *n, const char *op, json_t *request, json_t **ret,
                      struct err *e)
{
    struct err said = {0};
    int r;

    r = use_tool(n, op, request, ret, &said);
    if (r < 0 && !(r == -ENOENT && strcmp(op, "logout") == 0)) {
        return err_set(e, r, "%s", said.text);
    }
    json_decref(*ret);
    *ret = json_pack("{s:O*}", "host", json_object_get(request, "host"));
    return 0;
}

static int by_tool(struct node *n, const char *op, const json_t *order, json_t **ret,
                   struct err *e)
{
    SCOPED(scope_json) json_t *request = json_deep_copy(order);

    if (strcmp(op, "import") == 0) {
        rename_member(request, "source", "path");
        rename_member(request, "image", "name");
        rename_member(request, "change", "changes");
        rename_member(request, "message", "comment");
    } else if (strcmp(op, "export") == 0) {
        const char *format = json_string_value(json_object_get(request, "format"));
        const char *to = json_string_value(json_object_get(request, "target"));

        if (format == NULL || strcmp(format, "auto") == 0) {
            format = to != NULL && strchr(to, '.') != NULL ? "oci" : "dir";
        }
        (void)json_object_set_new(
            request, "format",
            json_string(strcmp(format, "docker") == 0 ? "docker-archive"
                        : strcmp(format, "tar") == 0  ? "rootfs"
                        : strcmp(format, "dir") == 0  ? "oci"
                                                      : "oci-archive"));
        rename_member(request, "image", "name");
        rename_member(request, "target", "path");
    } else if (strcmp(op, "unpack") == 0) {
        rename_member(request, "image", "name");
    } else if (strcmp(op, "pull") == 0) {
        rename_member(request, "image", "ref");
        rename_member(request, "jobs", "parallel");
    } else if (strcmp(op, "push") == 0) {
        rename_member(request, "target", "ref");
        rename_member(request, "jobs", "parallel");
    }
    if (strcmp(op, "import") != 0 && strcmp(op, "export") != 0 &&
        strcmp(op, "unpack") != 0) {
        set_registry(n, request);
    }
    if (strcmp(op, "login") == 0 || strcmp(op, "logout") == 0) {
        return keep_login(n, op, request, ret, e);
    }
    return use_tool(n, op, request, ret, e);
}

int node_image(struct node *n, const char *op, const json_t *order, json_t **ret,
               struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "image"));

    *ret = NULL;
    if (strcmp(op, "list") == 0) {
        return list(n, ret, e);
    }
    if (strcmp(op, "prune") == 0) {
        return prune(n, order, ret, e);
    }
    if (strcmp(op, "tag") == 0) {
        return tag(n, order, ret, e);
    }
    if (strcmp(op, "commit") == 0) {
        return commit(n, order, ret, e);
    }
    if (strcmp(op, "inspect") == 0 || strcmp(op, "delete") == 0) {
        if (name == NULL) {
            return err_set(e, -EINVAL, "no image was named");
        }
        return strcmp(op, "inspect") == 0
                   ? inspect(n, name, ret, e)
                   : delete_one(n, name, json_is_true(json_object_get(order, "force")),
                                e);
    }
    if (strcmp(op, "build") == 0) {
        return build(n, order, ret, e);
    }
    return by_tool(n, op, order, ret, e);
}
