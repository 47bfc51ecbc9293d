/* verbs.c - what a front end may ask of volumes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "node/node.h"
#include "node/volume/archive.h"
#include "node/volume/directory.h"
#include "node/volume/option.h"
#include "node/volume/option_layer.h"

/* What could not be merged while the disk was in use, or without its passphrase. */
static void tell_waiting(struct node *n, json_t *volume, const struct chain *chain)
{
    unsigned waiting = volume_untidy(n, chain);
    bool locked = layer_is_encrypted(&chain->layers[0]);
    char text[ERR_TEXT_BYTES];

    if (waiting == 0) {
        return;
    }
    (void)json_object_set_new(volume, "waiting_layers", json_integer(waiting));
    (void)str_print(
        text, sizeof text,
        "what deleted snapshots held is still to be merged: 'strata volume check "
        "--repair%s %s' once nobody uses it",
        locked ? " --key-file FILE" : "", volume_text(volume, "name"));
    if (json_object_get(volume, "to_do") == NULL) {
        (void)json_object_set_new(volume, "to_do", json_string(text));
    }
}

/* The room that a disk takes: what goes with it, and what it has in common with others. */
static void describe_room(struct node *n, json_t *volume, const struct chain *chain)
{
    uint64_t own = 0;
    uint64_t shared = 0;
    json_t *layers = json_array();
    bool alone = true;
    bool degraded = false;

    for (size_t i = 0; i < chain->count; i++) {
        const struct layer *l = &chain->layers[i];
        uint64_t used = piece_used_bytes(n, l);
        struct strv users = {0};
        bool well = true;
        json_t *row;

        if (i > 0 && layer_users(n, l->id, &users, NULL) == 0 && users.n > 1) {
            alone = false; /* and all that it stands on */
        }
        strv_fini(&users);
        own += alone ? used : 0;
        shared += alone ? 0 : used;
        row = json_pack("{s:s, s:s, s:s, s:I}", "id", l->id, "format",
                        volume_text(l->record, "format"), "arrangement",
                        volume_text(l->record, "arrangement"), "used_bytes",
                        (json_int_t)used);
        if (!layer_is_one_file(l)) {
            (void)json_object_set_new(row, "members", arrange_look(n, l, &well));
            degraded = degraded || !well;
        }
        if (layer_is_filtered(l)) {
            (void)json_object_set_new(row, "filter", json_string(layer_filter(l)));
        }
        (void)json_array_append_new(layers, row);
    }
    if (degraded) {
        (void)json_object_set_new(volume, "state", json_string("degraded"));
        (void)json_object_set_new(
            volume, "to_do",
            json_string("bring members that are lost back ('strata pool inspect'), then "
                        "'strata volume check --repair' makes them equal"));
    }
    tell_waiting(n, volume, chain);
    (void)json_object_set_new(volume, "used_bytes",
                              json_integer((json_int_t)(own + shared)));
    (void)json_object_set_new(volume, "exclusive_bytes", json_integer((json_int_t)own));
    (void)json_object_set_new(volume, "shared_bytes", json_integer((json_int_t)shared));
    (void)json_object_set_new(volume, "layers", layers);
}

static int describe_disk(struct node *n, struct volume *v, struct err *e)
{
    struct chain chain = {0};
    SCOPED(scope_close) int alone = -1;
    struct err why = {0};
    json_t *snapshots = NULL;
    const char *state;
    int r = chain_load(n, volume_text(v->record, "top"), &chain, e);

    if (r < 0) {
        return r;
    }
    alone = disk_open_alone(n, v, &chain.layers[0], &why);
    state = alone >= 0         ? "ok"
            : alone == -EBUSY  ? "in use"
            : alone == -ENODEV ? "lost"
                               : "damaged";
    (void)json_object_set_new(v->record, "state", json_string(state));
    if (alone < 0 && alone != -EBUSY) {
        (void)json_object_set_new(v->record, "to_do", json_string(why.text));
    }
    scope_close(&alone);
    alone = -1;
    describe_room(n, v->record, &chain);
    option_figures(n, v);
    if (volume_snapshots(n, v, &snapshots, NULL) == 0) {
        (void)json_object_set_new(v->record, "snapshots", snapshots);
    }
    chain_fini(&chain);
    return 0;
}

static int show_one(struct node *n, const char *name, json_t **ret, struct err *e)
{
    struct volume v = {0};
    int r = volume_load(n, name, &v, e);

    if (r == 0) {
        (void)json_object_set_new(v.record, "guests", volume_users(n, name));
    }
    if (r == 0 && volume_is_disk(v.record)) {
        r = describe_disk(n, &v, e);
    } else if (r == 0) {
        directory_describe(n, v.record);
    }
    if (r == 0) {
        *ret = json_incref(v.record);
    }
    volume_fini(&v);
    return r;
}

static int show_all(struct node *n, json_t **ret, struct err *e)
{
    int r = record_list(n, "/volumes/", ret, e);
    size_t i;
    json_t *volume;

    if (r < 0) {
        return r;
    }
    json_array_foreach(*ret, i, volume)
    {
        (void)json_object_set_new(volume, "guests",
                                  volume_users(n, volume_text(volume, "name")));
    }
    return 0;
}

static int create(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    bool disk = volume_number(order, "size") > 0;
    bool device = json_object_get(order, "device") != NULL;

    if (disk && device) {
        return err_set(e, -EINVAL, "a device has the size that it has: without --size");
    }
    if (!disk && !device &&
        (option_layer_wanted(order)[0] != '\0' || option_are_named(order))) {
        return err_set(
            e, -EINVAL,
            "cannot make volume '%s': its options are for disks (see '--size')", name);
    }
    if (!disk && json_object_get(order, "filesystem") != NULL) {
        return err_set(e, -EINVAL, "cannot make volume '%s': --filesystem wants --size",
                       name);
    }
    if (!disk && !device && json_is_true(json_object_get(order, "encrypt"))) {
        return err_set(e, -EINVAL, "cannot make volume '%s': --encrypt wants --size",
                       name);
    }
    if ((disk || device) && json_object_get(order, "quota") != NULL) {
        return err_set(e, -EINVAL,
                       "cannot make volume '%s': a disk has a size, and --quota is for "
                       "directories",
                       name);
    }
    return disk || device ? disk_volume_create(n, name, order, ret, e)
                          : directory_create(n, name, order, ret, e);
}

static int delete_volume(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    struct volume v = {0};
    int r = volume_load(n, name, &v, e);
    bool disk = r == 0 && volume_is_disk(v.record);

    (void)ret;
    volume_fini(&v);
    if (r < 0) {
        return r;
    }
    return disk ? disk_volume_delete(n, name,
                                     json_is_true(json_object_get(order, "snapshots")), e)
                : directory_delete(n, name, e);
}

static bool is_directory(struct node *n, const json_t *order)
{
    struct volume v = {0};
    bool yes = volume_load(n, volume_text(order, "name"), &v, NULL) == 0 &&
               !volume_is_disk(v.record);

    volume_fini(&v);
    return yes;
}

static int resize(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    return is_directory(n, order) ? directory_resize(n, order, ret, e)
                                  : disk_volume_resize(n, order, ret, e);
}

static int move(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    return is_directory(n, order) ? directory_move(n, order, ret, e)
                                  : disk_volume_move(n, order, ret, e);
}

static int backup(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    return is_directory(n, order) ? archive_backup(n, order, ret, e)
                                  : disk_volume_backup(n, order, ret, e);
}

static int inspect(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    return show_one(n, volume_text(order, "name"), ret, e);
}

static int list(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    (void)order;
    return show_all(n, ret, e);
}

struct verb {
    const char *name;
    int (*fn)(struct node *n, const json_t *order, json_t **ret, struct err *e);
};

static const struct verb verbs[] = {
    {"create", create},
    {"delete", delete_volume},
    {"inspect", inspect},
    {"list", list},
    {"snapshot", disk_volume_snapshot},
    {"clone", disk_volume_clone},
    {"resize", resize},
    {"move", move},
    {"import", disk_volume_import},
    {"check", disk_volume_check},
    {"locate", disk_volume_locate},
    {"backup", backup},
    {"restore", disk_volume_restore},
    {"key", disk_volume_key},
    {"set", option_set},
    {"replay", option_replay},
};

/* Once more when it found a journal to be finished first. */
static int run(struct node *n, const struct verb *verb, const json_t *order, json_t **ret,
               struct err *e)
{
    const char *word = /* of a clone "name" is the new one's */
        volume_text(order, strcmp(verb->name, "clone") == 0 ? "source" : "name");
    char name[WORD_NAME_BYTES];
    struct err why = {0};
    struct err held = {0};
    int r = verb->fn(n, order, ret, &why);

    if (r == -EOWNERDEAD) {
        (void)str_print(name, sizeof name, "%.*s", (int)strcspn(word, "@"), word);
        (void)volume_settle_journals(n, name, &held);
        err_clear(&why);
        *ret = NULL;
        r = verb->fn(n, order, ret, &why);
    }
    return r < 0 ? err_set(e, r, "%s",
                           r == -EOWNERDEAD && held.code != 0 ? held.text : why.text)
                 : r;
}

int node_volume(struct node *n, const char *op, const json_t *order, json_t **ret,
                struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));

    *ret = NULL;
    if (strcmp(op, "list") != 0 && (name != NULL || strcmp(op, "restore") != 0) &&
        (name == NULL || !word_is_name(name))) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a volume",
                       name != NULL ? name : "");
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, op) == 0) {
            return run(n, &verbs[i], order, ret, e);
        }
    }
    return err_set(e, -EINVAL, "volumes know no '%s'", op);
}

static int export(struct node *n, const char *name, const json_t *order,
                  void (*ready)(void *arg, const char *address), void *arg, struct err *e)
{
    struct volume v = {0};
    int r = volume_load_settled(n, name, &v, e);

    if (r == 0 && !volume_is_disk(v.record)) {
        r = err_set(e, -EINVAL, "cannot export volume '%s': it is a directory", name);
    } else if (r == 0 && json_object_get(order, "file") != NULL) {
        r = option_cache_settle(n, &v, e);
        r = r == 0 ? disk_volume_write_file(n, &v, order, e) : r;
        if (r == 0) {
            ready(arg, volume_text(order, "file"));
        }
    } else if (r == 0) {
        r = disk_volume_serve(n, &v, order, ready, arg, e);
    }
    volume_fini(&v);
    return r;
}

int node_volume_export(struct node *n, const char *name, const json_t *order,
                       void (*ready)(void *arg, const char *address), void *arg,
                       struct err *e)
{
    struct err why = {0};
    struct err held = {0};
    int r = export(n, name, order, ready, arg, &why);

    if (r == -EOWNERDEAD) {
        (void)volume_settle_journals(n, name, &held);
        err_clear(&why);
        r = export(n, name, order, ready, arg, &why);
    }
    return r < 0 ? err_set(e, r, "%s",
                           r == -EOWNERDEAD && held.code != 0 ? held.text : why.text)
                 : r;
}
