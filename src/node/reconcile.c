/* reconcile.c - bring what is recorded and what is there together again.
 *
 * Every command does so for the guests it touches (`guest_refresh`).  Here it is
 * done for all, and for what belongs to no recorded guest: a command that was
 * killed between two of its steps leaves directories without a record, and
 * addresses, names or id ranges of a guest that is gone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/kv.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "node/private.h"
#include "node/record.h"
#include "node/worker.h"
#include "resource/network/network.h"

static void found(json_t *out, const char *type, const char *name, const char *change)
{
    (void)json_array_append_new(
        out, json_pack("{s:s, s:s, s:s}", "type", type, "name", name, "change", change));
}

static bool is_recorded(void *arg, const char *id)
{
    struct guest g = {0};
    bool yes = guest_load(arg, id, &g, NULL) == 0;

    guest_fini(&g);
    return yes;
}

/* A guest to be removed at its end, that was started and left no trace: the host
 * was started anew, or the command died between recording and starting it. */
static void remove_forgotten(struct node *n, struct guest *g, json_t *out)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;

    if (!json_is_true(json_object_get(guest_config(g), "rm")) ||
        strcmp(guest_text(g, "desired"), "running") != 0 ||
        guest_lock_known(n, g, 0, &lock, NULL) < 0 ||
        guest_status(n, g->id, &st, NULL) < 0 || st.ever_started) {
        return;
    }
    if (remove_guest(n, g, NULL) == 0) {
        found(out, "guest", guest_text(g, "name"), "it was to be removed at its end");
    }
}

static void refresh_one(struct node *n, struct guest *g, json_t *out)
{
    SCOPED(scope_free) char *name = strdup(guest_text(g, "name"));
    struct err own = {0};
    struct guest_status st;
    bool unfinished;
    int r = guest_need_whole(n, g, &own);

    unfinished = r == 0 && guest_status(n, g->id, &st, &own) == 0 && st.unfinished;
    if (r == 0) {
        r = guest_refresh(n, g, &st, &own);
    }
    if (r < 0 && r != -EBUSY) {
        found(out, "guest", name != NULL ? name : g->id, own.text);
    } else if (unfinished) {
        found(out, "guest", name != NULL ? name : g->id,
              "nobody had cleaned up after it; done");
    }
    if (r == 0 && !st.ever_started) {
        remove_forgotten(n, g, out);
    }
}

static int refresh_all(struct node *n, json_t *out, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    size_t i;
    json_t *record;
    int r = guest_all(n, &records, e);

    json_array_foreach(records, i, record)
    {
        struct guest g = {0};

        if (guest_load(n, json_string_value(json_object_get(record, "id")), &g, NULL) <
            0) {
            continue;
        }
        refresh_one(n, &g, out);
        guest_fini(&g);
    }
    return r;
}

/* "ID" without a record while nobody makes that guest, or ".ID.gone". */
static bool is_left_over(struct node *n, const char *name)
{
    if (name[0] == '.') {
        return str_ends(name, GUEST_GONE) &&
               strlen(name) == 1 + NODE_ID_DIGITS + strlen(GUEST_GONE);
    }
    if (strlen(name) != NODE_ID_DIGITS || guest_is_locked(n, name)) {
        return false;
    }
    return !is_recorded(n, name);
}

/* Directories of `place` whose name is no recorded guest. */
static void sweep_dirs(struct node *n, const char *place, json_t *out)
{
    char path[PATH_MAX];
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    (void)str_print(path, sizeof path, "%s/guests", place);
    d = opendir(path);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (!is_left_over(n, entry->d_name)) {
            continue;
        }
        if (file_remove_tree(dirfd(d), entry->d_name) == 0) {
            found(out, "guest", entry->d_name, "left-over files removed");
        }
    }
}

/* Keys below `prefix` whose value is the id of no recorded guest. */
static int sweep_keys(struct node *n, const char *prefix, json_t *out, struct err *e)
{
    struct kv_items items;
    int r = record_items(n, prefix, &items, e);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < items.n; i++) {
        const char *keys[1] = {items.items[i].key};

        if (!is_recorded(n, items.items[i].value) && record_release(n, keys, 1, e) == 0) {
            found(out, "guest", items.items[i].value, items.items[i].key);
        }
    }
    kv_items_fini(&items);
    return 0;
}

static int sweep_network(struct node *n, json_t *out, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    SCOPED(scope_free) const char **live = NULL;
    struct network *net = NULL;
    char table[32];
    size_t count = 0;
    size_t i;
    json_t *record;
    int r = guest_all(n, &records, e);

    if (r < 0 || n->rootless) {
        return r;
    }
    live = calloc(json_array_size(records) + 1, sizeof *live);
    if (live == NULL) {
        return err_set(e, -ENOMEM, "cannot reconcile: no memory");
    }
    json_array_foreach(records, i, record)
    {
        const char *id = json_string_value(json_object_get(record, "id"));
        struct guest_status st;

        if (guest_status(n, id, &st, NULL) == 0 && st.state != GUEST_STOPPED &&
            st.state != GUEST_CREATED) {
            live[count] = id;
            count += 1;
        }
    }
    net_table_name(n, table);
    r = network_open(table, &net, e);
    if (r == 0) {
        r = network_sweep(net, live, e);
    }
    network_close(net);
    if (r >= 0 && net_mend(n, records, e) > 0) {
        found(out, "network", table, "running guests linked again");
    }
    if (r > 0) {
        found(out, "network", table, "links and ports of guests that are gone removed");
    }
    return r < 0 ? r : 0;
}

static void found_volume(void *arg, const char *name)
{
    found(arg, "volume", name, "left-over files removed");
}

int node_reconcile(struct node *n, json_t **ret, struct err *e)
{
    json_t *out = json_array();
    int r = refresh_all(n, out, e);

    sweep_dirs(n, n->state, out);
    sweep_dirs(n, n->run, out);
    volume_sweep(n, found_volume, out);
    if (build_sweep(n->run) > 0) {
        found(out, "image", "build", "what killed steps had left removed");
    }
    if (r == 0) {
        r = sweep_keys(n, "/names/", out, e);
    }
    if (r == 0) {
        r = sweep_keys(n, "/userns/", out, e);
    }
    if (r == 0) {
        r = sweep_keys(n, "/addresses/", out, e);
    }
    if (r == 0) {
        r = sweep_keys(n, "/owners/", out, e);
    }
    if (r == 0) {
        r = sweep_network(n, out, e);
    }
    if (r < 0) {
        json_decref(out);
        return r;
    }
    *ret = out;
    return 0;
}

int node_autostart(struct node *n, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    SCOPED(scope_json) json_t *mended = NULL;
    size_t i;
    json_t *record;
    int r = node_reconcile(n, &mended, e);

    if (r == 0) {
        r = guest_all(n, &records, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_array();
    json_array_foreach(records, i, record)
    {
        const char *name = json_string_value(json_object_get(record, "name"));
        const char *restart = json_string_value(
            json_object_get(json_object_get(record, "config"), "restart"));
        const char *desired = json_string_value(json_object_get(record, "desired"));
        struct err own = {0};
        int console = -1;

        if (restart == NULL ||
            !(strcmp(restart, "always") == 0 || (strcmp(restart, "unless-stopped") == 0 &&
                                                 strcmp(desired, "running") == 0))) {
            continue;
        }
        r = node_guest_start(n, name, NULL, &console, &own);
        (void)json_array_append_new(*ret, json_pack("{s:s, s:s}", "name", name, "result",
                                                    r == 0 ? "started" : own.text));
    }
    return 0;
}
