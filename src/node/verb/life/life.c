/* life.c - what a machine's worker is asked for, and no other guest can do. */
#include <errno.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/boot.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"

int life_find(struct node *n, const char *word, const char *what, struct guest *g,
              struct guest_status *st, struct err *e)
{
    int r = verb_find(n, word, g, st, e);

    if (r < 0) {
        return r;
    }
    r = guest_need_machine(g, what, e);
    if (r == 0 && st->state != GUEST_RUNNING && st->state != GUEST_PAUSED) {
        r = err_set(e, -ESRCH, "cannot %s guest '%s': it is %s", what,
                    guest_text(g, "name"), guest_state_name(st->state));
    }
    if (r < 0) {
        guest_fini(g);
    }
    return r;
}

int life_ask(struct node *n, const struct guest *g, const struct far_question *q,
             json_t **ret, struct err *e)
{
    char where[PATH_MAX];

    (void)guest_run_path(n, g->id, "", where);
    return far_ask_with(where, q, ret, e);
}

int life_each_disk(struct node *n, const struct guest *g, life_disk_step *step, void *arg,
                   struct err *e)
{
    SCOPED(scope_json) json_t *list = guest_boot_disks(n, g);
    size_t ordered = json_array_size(json_object_get(guest_config(g), "disks"));
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(list, i, item)
    {
        const char *word = json_string_value(item);
        struct life_disk d = {.word = word,
                              .is_root = i + ordered < json_array_size(list),
                              .is_kept = strstr(word, ",read-only") == NULL};

        (void)str_print(d.path, sizeof d.path, "%.*s", (int)strcspn(word, ","), word);
        (void)str_print(d.name, sizeof d.name, "disk%zu", i);
        r = r == 0 ? step(arg, &d, e) : r;
    }
    return r;
}

int node_guest_reset(struct node *n, const char *guest, struct err *e)
{
    const struct far_question q = {.verb = FAR_RESET};
    struct guest_status st;
    struct guest g = {0};
    int r = life_find(n, guest, "reset", &g, &st, e);

    if (r < 0) {
        return r;
    }
    r = life_ask(n, &g, &q, NULL, e);
    if (r < 0) {
        err_wrap(e, "cannot reset guest '%s'", guest_text(&g, "name"));
    } else {
        event_write(n, "reset", &g, NULL);
    }
    guest_fini(&g);
    return r;
}
