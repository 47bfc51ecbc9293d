/* store.c - the networks in the store: /networks/NAME is a JSON object. */
#include "node/net/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "node/private.h"
#include "node/record.h"

int net_get(struct node *n, const char *name, json_t **ret, struct err *e)
{
    char key[KV_KEY_BYTES];

    if (!word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a network", name);
    }
    (void)str_print(key, sizeof key, "/networks/%s", name);
    return record_load(n, key, ret, e);
}

int net_all(struct node *n, json_t **ret_list, struct network_spec *specs, size_t *ret_n,
            struct err *e)
{
    size_t count = 0;
    size_t i;
    json_t *made;
    int r = record_list(n, "/networks/", ret_list, e);

    if (r < 0) {
        return r;
    }
    json_array_foreach(*ret_list, i, made)
    {
        if (count < NETS_MOST) {
            memset(&specs[count], 0, sizeof specs[count]);
            count += net_spec_read(made, &specs[count], NULL) == 0 ? 1 : 0;
        }
    }
    *ret_n = count;
    return 0;
}

int net_create(struct node *n, struct network_spec *s, json_t **ret, struct err *e)
{
    SCOPED(scope_free) struct network_spec *others = calloc(NETS_MOST, sizeof *others);
    SCOPED(scope_json) json_t *list = NULL;
    SCOPED(scope_free) char *text = NULL;
    struct network *net = NULL;
    json_t *made = NULL;
    char table[32];
    char key[KV_KEY_BYTES];
    size_t count = 0;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (others == NULL) {
        return err_set(e, -ENOMEM, "cannot create network '%s': no memory", s->name);
    }
    net_table_name(n, table);
    if (r == 0) {
        r = net_all(n, &list, others, &count, e);
    }
    if (r == 0) {
        r = network_open(table, &net, e);
    }
    if (r == 0) {
        r = network_choose(net, s, true, others, count, e);
    }
    network_close(net);
    if (r < 0) {
        return r;
    }
    made = net_spec_json(s);
    text = made != NULL ? json_dumps(made, JSON_COMPACT) : NULL;
    if (text == NULL) {
        json_decref(made);
        return err_set(e, -ENOMEM, "cannot create network '%s': no memory", s->name);
    }
    (void)str_print(key, sizeof key, "/networks/%s", s->name);
    r = kv_put_if(kv, key, kv_text(text), 0, NULL, e);
    if (r < 0) {
        json_decref(made);
        return r == -EEXIST ? err_set(e, r, "network '%s' exists already", s->name) : r;
    }
    *ret = made;
    return 0;
}

int net_forget(struct node *n, const char *name, struct err *e)
{
    char key[KV_KEY_BYTES];
    char prefix[KV_KEY_BYTES];
    char end[KV_KEY_BYTES];
    struct kv_cmp unused = {.target = KV_TARGET_CREATE, .order = KV_EQUAL};
    struct kv_op then;
    struct kv_txn t = {
        .compare = &unused, .n_compare = 1, .then_ops = &then, .n_then = 1};
    struct kv_result result;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(key, sizeof key, "/networks/%s", name);
    (void)str_print(prefix, sizeof prefix, "/addresses/%s/", name);
    unused.span = kv_prefix(prefix, end); /* none was created */
    then = kv_op_delete(kv_key(key));
    r = kv_txn(kv, &t, &result, e);
    if (r < 0) {
        return r;
    }
    r = result.succeeded ? 0
                         : err_set(e, -EBUSY,
                                   "cannot delete network '%s': a guest was put on it "
                                   "meanwhile",
                                   name);
    kv_result_fini(&result);
    return r;
}

int net_need(struct node *n, const char *name, json_t **ret, struct err *e)
{
    struct network_spec s = {.name = name, .driver = NETWORK_BRIDGE};
    int r = net_get(n, name, ret, e);

    if (r == -ENOENT && strcmp(name, "default") == 0) {
        struct err first = {0};

        r = net_create(n, &s, ret, &first);
        if (r == -EEXIST) { /* another command was quicker */
            r = net_get(n, name, ret, e);
        } else if (r < 0) {
            r = err_set(e, r, "%s", first.text);
        }
    }
    if (r == -ENOENT) {
        r = err_set(e, r, "network '%s' does not exist (see 'strata network list')",
                    name);
    }
    return r;
}
