/* attach.c - volumes that are disks, for guests that have them mounted (node/disks).
 *
 * The plan of a guest names the files of a disk's layers.  A snapshot freezes the top one: so
 * the volume is locked from when the plan is made until the disk is attached, and has its
 * own lock from then on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/disks/disks.h"
#include "node/volume/option.h"

/* The layers, the lowest first; NULL. */
static json_t *list_layers(const struct chain *c)
{
    json_t *out = json_array();

    for (size_t i = c->count; i > 0; i--) {
        const struct layer *l = &c->layers[i - 1];
        char path[PATH_MAX];

        if (piece_path(l, path) < 0 ||
            json_array_append_new(out, json_pack("{s:s, s:s}", "path", path, "format",
                                                 volume_text(l->record, "format"))) < 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static int plan_disk(struct node *n, const struct volume *v, json_t **ret_disk,
                     struct err *e)
{
    const char *option = option_for_guests(v->record);
    struct chain chain = {0};
    int r = option != NULL
                ? err_set(e, -EOPNOTSUPP,
                          "volume '%s' has %s, which only exports keep (see 'strata "
                          "volume export', 'strata volume set')",
                          v->name, option)
            : json_is_true(json_object_get(v->record, "encrypted"))
                ? err_set(e, -EOPNOTSUPP,
                          "volume '%s' is encrypted, and containers have no passphrase "
                          "for disks (see 'strata volume export')",
                          v->name)
                : chain_load(n, volume_text(v->record, "top"), &chain, e);
    json_t *layers = r == 0 ? list_layers(&chain) : NULL;

    if (r == 0 && layers == NULL) {
        r = err_set(e, -EOPNOTSUPP, "volume '%s' is spread over members of its pool",
                    v->name);
    }
    if (r == 0) {
        *ret_disk = json_pack("{s:s, s:o}", "name", v->name, "layers", layers);
    }
    chain_fini(&chain);
    return r;
}

int volume_plan(struct node *n, const char *name, json_t **ret_disk, struct err *e)
{
    struct volume v = {0};
    int r = volume_load(n, name, &v, e); /* settled: its lock is held */

    *ret_disk = NULL;
    if (r == 0 && volume_is_disk(v.record)) {
        r = plan_disk(n, &v, ret_disk, e);
    }
    volume_fini(&v);
    return r;
}

/* ---- while a guest is made ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool volume_names_disk(struct node *n, const char *name)
{
    struct volume v = {0};
    bool yes = volume_load(n, name, &v, NULL) == 0 && volume_is_disk(v.record);

    volume_fini(&v);
    return yes;
}

/* Names of its disks, each once, in an order that is the same for all. */
static void list_disks(struct node *n, const struct guest *g, struct strv *ret)
{
    const json_t *list = json_object_get(guest_config(g), "volume");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        char name[WORD_NAME_BYTES];

        if (text != NULL && text[0] != '/' && text[0] != '.' &&
            str_print(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text) == 0 &&
            !strv_has(ret, name) && volume_names_disk(n, name)) {
            strv_add(ret, name);
        }
    }
    if (ret->n > 1) {
        qsort(ret->items, ret->n, sizeof ret->items[0], by_name);
    }
}

int volume_hold(struct node *n, const struct guest *g, struct volume_holds *ret,
                struct err *e)
{
    struct strv names = {0};
    int r = 0;

    *ret = (struct volume_holds){.count = 0};
    list_disks(n, g, &names);
    ret->fds = names.n > 0 ? fault_calloc(names.n, sizeof ret->fds[0]) : NULL;
    if (strv_failed(&names) || (names.n > 0 && ret->fds == NULL)) {
        r = err_set(e, -ENOMEM, "no memory");
    }
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        struct volume v = {0};

        ret->fds[i] = -1;
        r = volume_load_disk(n, names.items[i], &v, &ret->fds[i], e);
        ret->count += ret->fds[i] >= 0;
        volume_fini(&v);
    }
    strv_fini(&names);
    if (r < 0) {
        volume_let_go(ret);
    }
    return r;
}

void volume_let_go(struct volume_holds *h)
{
    for (size_t i = 0; i < h->count; i++) {
        (void)close(h->fds[i]);
    }
    free(h->fds);
    *h = (struct volume_holds){.count = 0};
}

/* ---- a new file system ---- */

int disk_volume_format(struct node *n, const char *name, const struct layer *top,
                       const char *type, struct err *e)
{
    const struct chain alone = {.layers = (struct layer *)(uintptr_t)top, .count = 1};
    SCOPED(scope_json)
    json_t *place = json_pack("{s:{s:s}}", "place", "libexec", n->libexec);
    SCOPED(scope_json)
    json_t *disk = json_pack("{s:s, s:o*}", "name", name, "layers", list_layers(&alone));

    if (disk == NULL || json_object_get(disk, "layers") == NULL) {
        return err_set(e, -EOPNOTSUPP, "its file cannot be formatted");
    }
    (void)fault_step("volume.format");
    return disks_format(place, disk, type, e);
}
