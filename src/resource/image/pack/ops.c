/* ops.c - the operations of the program `image`: JSON in, JSON out. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/pack/pack_private.h"

/* "-" is what `image_tool_run` hands over. */
static const char *real_path(const char *path, const char *stream)
{
    return strcmp(path, "-") == 0 ? stream : path;
}

static json_t *names_json(const struct strv *names)
{
    json_t *list = json_array();

    for (size_t i = 0; i < names->n; i++) {
        (void)json_array_append_new(list, json_string(names->items[i]));
    }
    return list;
}

static int give(json_t *j, json_t **ret, struct err *e)
{
    if (j == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    *ret = j;
    return 0;
}

static const char *const forms[PACK_FORM_COUNT] = {
    [PACK_FORM_AUTO] = "auto", [PACK_FORM_OCI] = "oci", [PACK_FORM_DOCKER] = "docker",
    [PACK_FORM_TAR] = "tar",   [PACK_FORM_DIR] = "dir",
};

static int parse_form(const json_t *request, enum pack_form *ret, struct err *e)
{
    const char *word = forms[PACK_FORM_AUTO];
    int r = json_opt_str(request, "", "format", &word, e);

    for (int i = 0; r == 0 && i < PACK_FORM_COUNT; i++) {
        if (strcmp(word, forms[i]) == 0) {
            *ret = (enum pack_form)i;
            return 0;
        }
    }
    return r < 0 ? r : err_set(e, -EINVAL, "'%.40s' is no format of images", word);
}

/* A list of texts, or NULL. */
static int parse_changes(const json_t *request, const json_t **ret, struct err *e)
{
    json_t *list = NULL, *x;
    size_t i;
    int r = json_opt_array(request, "", "changes", &list, e);

    json_array_foreach(list, i, x)
    {
        if (!json_is_string(x)) {
            return err_set(e, -EINVAL, "'changes[%zu]' is not a string", i);
        }
    }
    *ret = list;
    return r;
}

/* {"path": P, "name": N or null, "format": F, "changes": [...], "comment": C}
 *  -> {"names": [...], "digest": D of the last} */
static int run_import(struct pack *p, const json_t *request, json_t **ret_result,
                      struct err *e)
{
    SCOPED(strv_fini) struct strv names = {0};
    struct pack_import o = {0};
    struct image img = {0};
    int r = json_want_str(request, "", "path", &o.path, e);

    r = r < 0 ? r : json_opt_str(request, "", "name", &o.name, e);
    r = r < 0 ? r : json_opt_str(request, "", "comment", &o.comment, e);
    r = r < 0 ? r : parse_form(request, &o.form, e);
    r = r < 0 ? r : parse_changes(request, &o.changes, e);
    if (r < 0) {
        return r;
    }
    o.path = real_path(o.path, "/proc/self/fd/4");
    r = pack_import(p, &o, &names, e);
    r = r < 0 ? r : image_find(p->store, names.items[names.n - 1], &img, e);
    r = r < 0 ? r
              : give(json_pack("{s:o,s:s}", "names", names_json(&names), "digest",
                               img.manifest.digest),
                     ret_result, e);
    image_fini(&img);
    return r;
}

static int find(struct pack *p, const json_t *request, const char *key, struct image *ret,
                struct err *e)
{
    const char *name = NULL;
    int r = json_want_str(request, "", key, &name, e);

    return r < 0 ? r : image_find(p->store, name, ret, e);
}

/* {"name": N, "format": F, "path": P} -> {"path": P} */
static int run_export(struct pack *p, const json_t *request, json_t **ret_result,
                      struct err *e)
{
    const char *format = "oci-archive", *path = NULL;
    struct image img = {0};
    int r = json_want_str(request, "", "path", &path, e);

    r = r < 0 ? r : json_opt_str(request, "", "format", &format, e);
    r = r < 0 ? r : find(p, request, "name", &img, e);
    r = r < 0 ? r : pack_export(p, &img, format, real_path(path, "/proc/self/fd/3"), e);
    image_fini(&img);
    return r < 0 ? r : give(json_pack("{s:s}", "path", path), ret_result, e);
}

/* {"name": N} -> {"digest": D, "layers": n} */
static int run_unpack(struct pack *p, const json_t *request, json_t **ret_result,
                      struct err *e)
{
    struct image img = {0};
    int r = find(p, request, "name", &img, e);

    r = r < 0 ? r : pack_unpack(p, &img, e);
    r = r < 0 ? r
              : give(json_pack("{s:s,s:I}", "digest", img.manifest.digest, "layers",
                               (json_int_t)img.n_layers),
                     ret_result, e);
    image_fini(&img);
    return r;
}

#define MAPS_MAX 16

/* [{"host": h, "guest": g, "count": n}, ...] */
static int parse_map(const json_t *request, const char *key,
                     struct pack_idmap map[MAPS_MAX], size_t *ret_n, struct err *e)
{
    json_t *list = NULL, *x;
    size_t i;
    int r = json_opt_array(request, "", key, &list, e);

    if (r == 0 && json_array_size(list) > MAPS_MAX) {
        return err_set(e, -EINVAL, "'%s' has more than %d ranges", key, MAPS_MAX);
    }
    json_array_foreach(list, i, x)
    {
        uint64_t host = 0, guest = 0, count = 0;

        r = json_opt_u64(x, key, "host", &host, e);
        r = r < 0 ? r : json_opt_u64(x, key, "guest", &guest, e);
        r = r < 0 ? r : json_opt_u64(x, key, "count", &count, e);
        if (r == 0 && (host + count > UINT32_MAX || guest + count > UINT32_MAX ||
                       host > UINT32_MAX || guest > UINT32_MAX || count > UINT32_MAX)) {
            r = err_set(e, -ERANGE, "'%s' goes beyond 32 bits", key);
        }
        if (r < 0) {
            return r;
        }
        map[i] = (struct pack_idmap){(uint32_t)host, (uint32_t)guest, (uint32_t)count};
    }
    *ret_n = json_array_size(list);
    return r;
}

static int parse_commit(const json_t *q, struct pack_commit *c, const char **ret_base,
                        const char **ret_upper, struct err *e)
{
    json_t *config = NULL;
    int r = json_want_str(q, "", "upper", ret_upper, e);

    r = r < 0 ? r : json_opt_str(q, "", "base", ret_base, e);
    r = r < 0 ? r : json_opt_str(q, "", "name", &c->name, e);
    r = r < 0 ? r : json_opt_str(q, "", "author", &c->author, e);
    r = r < 0 ? r : json_opt_str(q, "", "comment", &c->comment, e);
    r = r < 0 ? r : json_opt_str(q, "", "created_by", &c->created_by, e);
    r = r < 0 ? r : json_opt_object(q, "", "config", &config, e);
    c->config = config;
    return r < 0 ? r : parse_changes(q, &c->changes, e);
}

/* {"upper": DIR, "base": IMAGE, "name": N, "config": {...}, "uid_map": [...],
 *  "gid_map": [...], "author", "comment", "created_by", "changes": [...]}
 *  -> {"digest": D} */
static int run_commit(struct pack *p, const json_t *request, json_t **ret_result,
                      struct err *e)
{
    struct pack_idmap uid[MAPS_MAX], gid[MAPS_MAX];
    struct pack_commit c = {.scan = {.overlay = true, .uid = uid, .gid = gid}};
    const char *base = NULL, *upper = NULL;
    SCOPED(scope_close) int fd = -1;
    struct image img = {0};
    struct image_desc desc;
    int r = parse_commit(request, &c, &base, &upper, e);

    r = r < 0 ? r : parse_map(request, "uid_map", uid, &c.scan.n_uid, e);
    r = r < 0 ? r : parse_map(request, "gid_map", gid, &c.scan.n_gid, e);
    if (r == 0 && base != NULL) {
        r = image_find(p->store, base, &img, e);
        c.base = &img;
    }
    if (r == 0) {
        fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        c.upper = fd;
        r = fd < 0 ? err_sys(e, -errno, "cannot open '%s'", upper) : 0;
    }
    r = r < 0 ? r : pack_commit(p, &c, &desc, e);
    image_fini(&img);
    return r < 0 ? r : give(json_pack("{s:s}", "digest", desc.digest), ret_result, e);
}

/* {} -> {"blobs": n, "faults": [...]} */
static int run_verify(struct pack *p, const json_t *request, json_t **ret_result,
                      struct err *e)
{
    SCOPED(strv_fini) struct strv faults = {0};
    uint64_t blobs = 0;
    int r = pack_verify(p, &faults, &blobs, e);

    (void)request;
    return r < 0 ? r
                 : give(json_pack("{s:I,s:o}", "blobs", (json_int_t)blobs, "faults",
                                  names_json(&faults)),
                        ret_result, e);
}

void pack_watch_added(struct pack *p, struct strv *added)
{
    p->store->added = added;
}

void pack_forget_added(struct pack *p)
{
    const struct strv *added = p->store->added;

    p->store->added = NULL;
    if (added != NULL && added->n > 0) {
        store_forget_blobs(p->store, added);
    }
}

const struct pack_op pack_ops[] = {
    {"import", run_import}, {"export", run_export}, {"unpack", run_unpack},
    {"commit", run_commit}, {"verify", run_verify}, {NULL, NULL},
};
