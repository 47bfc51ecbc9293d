/* holders.c - the volumes over a layer, kept from other commands while its pieces move.
 *
 * Others come to need a layer by commands that hold the lock of a volume that has it: so once
 * all are locked, and are still all, nobody new comes.  Locks are taken in the order of names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/care/care.h"

#define TRIES 5

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_name(struct strv *names, const char *user)
{
    char name[WORD_NAME_BYTES];

    (void)str_print(name, sizeof name, "%.*s", (int)strcspn(user, "/"), user);
    if (!strv_has(names, name)) {
        strv_add(names, name);
    }
}

/* "v/NAME", "s/NAME/SNAPSHOT", "m/NAME", "b/NAME": that volume; "l/CHILD": those of the child. */
int care_volumes(struct node *n, const char *layer, struct strv *ret, struct err *e)
{
    struct strv todo = {0};
    int r = 0;

    strv_add(&todo, layer);
    for (size_t i = 0; r == 0 && i < todo.n; i++) {
        struct strv users = {0};

        r = layer_users(n, todo.items[i], &users, e);
        for (size_t k = 0; r == 0 && k < users.n; k++) {
            const char *user = users.items[k];

            if (!str_starts(user, "l/")) {
                add_name(ret, user + 2);
            } else if (!strv_has(&todo, user + 2)) {
                strv_add(&todo, user + 2);
            }
        }
        strv_fini(&users);
        r = r == 0 && strv_failed(&todo) ? err_set(e, -ENOMEM, "no memory") : r;
    }
    strv_fini(&todo);
    if (ret->n > 1) {
        qsort(ret->items, ret->n, sizeof ret->items[0], compare_texts);
    }
    return r == 0 && strv_failed(ret) ? err_set(e, -ENOMEM, "no memory") : r;
}

void care_let_go(struct care_holders *h)
{
    for (size_t i = 0; i < h->count; i++) {
        volume_fini(&h->list[i].v);
        scope_close(&h->list[i].control);
        scope_close(&h->list[i].lock);
    }
    free(h->list);
    *h = (struct care_holders){.list = NULL};
}

static int hold_all(struct node *n, const struct strv *names, struct care_holders *ret,
                    struct err *e)
{
    int r = 0;

    ret->list = fault_calloc(names->n + 1, sizeof *ret->list);
    if (ret->list == NULL) {
        return err_set(e, -ENOMEM, "no memory");
    }
    for (size_t i = 0; r == 0 && i < names->n; i++) {
        struct care_holder *h = &ret->list[i];

        *h = (struct care_holder){.lock = -1, .control = -1};
        ret->count++;
        r = volume_load_disk(n, names->items[i], &h->v, &h->lock, e);
        if (r == 0) {
            h->control = volume_worker_connect(n, names->items[i]);
        }
    }
    return r;
}

static bool are_same(const struct strv *a, const struct strv *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++) {
        same = strcmp(a->items[i], b->items[i]) == 0;
    }
    return same;
}

int care_hold(struct node *n, const char *layer, struct care_holders *ret, struct err *e)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        struct strv names = {0};
        struct strv now = {0};
        bool same = false;
        int r = care_volumes(n, layer, &names, e);

        r = r == 0 ? hold_all(n, &names, ret, e) : r;
        r = r == 0 ? care_volumes(n, layer, &now, e) : r;
        same = r == 0 && are_same(&names, &now);
        strv_fini(&names);
        strv_fini(&now);
        if (r == 0 && same) {
            return 0;
        }
        care_let_go(ret);
        if (r < 0) {
            return r;
        }
    }
    return err_set(e, -EBUSY, "volumes come and go: try again");
}

struct care_holder *care_writer(const struct care_holders *h, const struct layer *l)
{
    for (size_t i = 0; i < h->count; i++) {
        if (strcmp(volume_text(h->list[i].v.record, "top"), l->id) == 0) {
            return &h->list[i];
        }
    }
    return NULL;
}

struct care_holder *care_live(const struct care_holders *h)
{
    for (size_t i = 0; i < h->count; i++) {
        if (h->list[i].control >= 0) {
            return &h->list[i];
        }
    }
    return NULL;
}

struct care_holder *care_mover(const struct care_holders *h, const struct layer *l)
{
    struct care_holder *writer = care_writer(h, l);
    struct care_holder *only = NULL;
    unsigned live = 0;

    for (size_t i = 0; i < h->count; i++) {
        if (h->list[i].control >= 0) {
            only = &h->list[i];
            live++;
        }
    }
    if (writer != NULL && writer->control >= 0) {
        return writer;
    }
    return live == 1 ? only : NULL;
}
