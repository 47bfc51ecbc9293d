/* change.c - what makes a guest, or its name or limits, another: resize, rename, clone. */
#include "node/verb/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "contract/task.h"
#include "host/cgroup_limits.h"

static void read_limits(const json_t *order, struct task_limits *l)
{
    const struct {
        const char *key;
        uint64_t *to;
    } rows[] = {{"cpus", &l->cpu_millis},     {"cpu_weight", &l->cpu_weight},
                {"memory", &l->memory_bytes}, {"pids", &l->pids},
                {"io_read", &l->io_read_bps}, {"io_write", &l->io_write_bps}};

    memset(l, 0, sizeof *l);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const json_t *v = json_object_get(order, rows[i].key);

        if (json_is_integer(v)) {
            *rows[i].to =
                json_integer_value(v) < 0 ? UINT64_MAX : (uint64_t)json_integer_value(v);
        }
    }
}

/* Rates are of the disk below the state; one that has none is told. */
static int find_disk(const struct node *n, struct task_limits *l, struct err *e)
{
    return l->io_read_bps == 0 && l->io_write_bps == 0 ? 0
           : cgroup_find_disk(n->state, &l->io_major, &l->io_minor) < 0
               ? err_set(e, -EOPNOTSUPP,
                         "cannot change the rates of the disk: '%s' lies on no disk",
                         n->state)
               : 0;
}

/* What is said is possible at all, whichever guest it is for; below zero means "none". */
static int check_changes(const json_t *order, struct err *e)
{
    SCOPED(scope_json) json_t *said = json_object();
    json_t *config = NULL;
    const char *key;
    json_t *value;
    int r;

    json_object_foreach((json_t *)(uintptr_t)order, key, value)
    {
        if (strcmp(key, "disk") != 0 && /* see `life_resize` */
            (!json_is_integer(value) || json_integer_value(value) >= 0)) {
            (void)json_object_set(said, key, value);
        }
    }
    r = order_to_config(said, &config, e);
    json_decref(config);
    return r;
}

/* Memory of a machine that runs is what its balloon leaves of what it was made with and what
 * came to it, which stays until it is made anew. */
static void change_key(const struct guest *g, const struct guest_status *st,
                       const char *key, json_t *v)
{
    if (guest_is_machine(g) && strcmp(key, "memory") == 0 && v != NULL) {
        json_t *high = json_object_get(guest_config(g), "memory_high");
        json_t *first = json_object_get(guest_config(g), "memory");

        (void)json_object_del(guest_config(g), "memory_now");
        if (!guest_is_alive(st)) {
            (void)json_object_del(guest_config(g), "memory_high");
        } else {
            key = "memory_now";
            if (json_integer_value(v) > json_integer_value(high != NULL ? high : first)) {
                (void)json_object_set(guest_config(g), "memory_high", v);
            }
        }
    }
    if (json_is_integer(v) && json_integer_value(v) < 0) {
        (void)json_object_del(guest_config(g), key);
    } else if (v != NULL) {
        (void)json_object_set(guest_config(g), key, v);
    }
}

int node_guest_resize(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    static const char *const keys[] = {"cpus",    "cpu_weight",  "memory",
                                       "pids",    "io_read",     "io_write",
                                       "restart", "network_rate"};
    struct task_limits limits;
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    json_t *checked = NULL;
    int r = check_changes(order, e);

    if (r == 0) {
        r = verb_find(n, guest, &g, &st, e);
    }
    if (r < 0) {
        return r;
    }
    read_limits(order, &limits);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        change_key(&g, &st, keys[i], json_object_get(order, keys[i]));
    }
    r = order_to_config(guest_config(&g), &checked, e);
    json_decref(checked);
    if (r == 0 && json_is_integer(json_object_get(order, "network_rate"))) {
        json_int_t rate = json_integer_value(json_object_get(order, "network_rate"));

        r = net_set_rate(n, &g, rate > 0 ? (uint64_t)rate : 0, e);
    }
    if (r == 0 && (st.state == GUEST_RUNNING || st.state == GUEST_PAUSED)) {
        r = find_disk(n, &limits, e);
        r = r == 0 ? guest_task(n, &g, &t, e) : r;
        if (r == 0) {
            r = task_resize(t, &limits, e);
        }
    }
    task_close(t);
    if (r == 0) {
        r = guest_save(n, &g, e);
    }
    if (r == 0 && json_object_get(order, "disk") != NULL) { /* nothing undoes it */
        r = life_resize(n, &g, json_object_get(order, "disk"), e);
    }
    if (r == 0) {
        event_write(n, "resized", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

/* Exchange the keys of the name and the record, all or nothing. */
static int change_name(struct node *n, struct guest *g, const char *was, const char *name,
                       struct err *e)
{
    SCOPED(scope_free) char *text = json_dumps(g->record, JSON_COMPACT);
    char old_key[128];
    char new_key[128];
    char own_key[64];
    struct kv_result result;
    struct kv *kv;
    int r = text == NULL ? err_set(e, -ENOMEM, "no memory") : node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(old_key, sizeof old_key, "/names/%s", was);
    (void)str_print(new_key, sizeof new_key, "/names/%s", name);
    (void)str_print(own_key, sizeof own_key, "/guests/%s", g->id);
    {
        const struct kv_cmp compare[] = {kv_cmp_mod(new_key, 0),
                                         kv_cmp_mod(own_key, g->revision)};
        const struct kv_op then[] = {kv_op_delete(kv_key(old_key)),
                                     kv_op_put(new_key, kv_text(g->id)),
                                     kv_op_put(own_key, kv_text(text))};
        const struct kv_txn t = {
            .compare = compare, .n_compare = 2, .then_ops = then, .n_then = 3};

        r = kv_txn(kv, &t, &result, e);
    }
    if (r < 0) {
        return r;
    }
    r = result.succeeded ? 0 : -EEXIST;
    kv_result_fini(&result);
    return r;
}

int node_guest_rename(struct node *n, const char *guest, const char *name, struct err *e)
{
    SCOPED(scope_free) char *was = NULL;
    struct guest g = {0};
    int r = guest_find(n, guest, &g, e);

    if (r == 0 && !word_is_name(name)) {
        r = err_set(e, -EINVAL, "'%s' cannot be the name of a guest", name);
    }
    if (r == 0) {
        was = strdup(guest_text(&g, "name"));
        r = was == NULL ? err_set(e, -ENOMEM, "no memory") : 0;
    }
    if (r == 0) {
        (void)json_object_set_new(g.record, "name", json_string(name));
        r = change_name(n, &g, was, name, e);
    }
    (void)fault_step("guest.rename.recorded");
    if (r == -EEXIST) {
        r = err_set(e, r, "cannot rename guest '%s': '%s' is taken", guest, name);
    }
    if (r == 0) {
        event_write(n, "renamed", &g, was);
        r = net_write_hosts(n, &g, e);
    }
    guest_fini(&g);
    return r;
}

int node_guest_clone(struct node *n, const char *guest, const json_t *order, json_t **ret,
                     struct err *e)
{
    SCOPED(scope_json) json_t *copy = NULL;
    struct guest_status st = {.state = GUEST_CREATED};
    struct guest_status from_st;
    SCOPED(scope_close) int lock = -1;
    struct guest from = {0};
    struct guest to = {0};
    struct guest_source source = {.guest = &from};
    int r = verb_find(n, guest, &from, &from_st, e);

    if (r < 0) {
        return r;
    }
    source.snapshot = json_string_value(json_object_get(order, "snapshot"));
    source.memory = json_is_true(json_object_get(order, "memory"));
    if (source.memory && !guest_is_machine(&from)) {
        r = err_set(e, -EINVAL, "cannot use --memory with guest '%s': it is a container",
                    guest_text(&from, "name"));
        guest_fini(&from);
        return r;
    }
    copy = json_deep_copy(guest_config(&from));
    (void)json_object_del(copy, "publish");
    (void)json_object_del(copy, "ip");
    if (guest_text(&from, "image_digest")[0] != '\0') { /* not what has its name now */
        (void)json_object_set_new(copy, "image",
                                  json_string(guest_text(&from, "image_digest")));
    }
    if (json_object_get(order, "name") != NULL) {
        (void)json_object_set(copy, "name", json_object_get(order, "name"));
    }
    r = guest_make(n, copy, &source, &to, &lock, e);
    if (r == 0) {
        *ret = guest_describe(&to, &st);
    }
    guest_fini(&from);
    guest_fini(&to);
    return r;
}
