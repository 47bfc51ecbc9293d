/* run.c - from an order to a running guest: create, run, start, restart. */
#include "node/verb/private.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"

int verb_set_desired(struct node *n, struct guest *g, const char *word, struct err *e)
{
    if (strcmp(guest_text(g, "desired"), word) == 0) {
        return 0;
    }
    (void)json_object_set_new(g->record, "desired", json_string(word));
    return guest_save(n, g, e);
}

int verb_start(struct node *n, struct guest *g, int lock, bool attach, int *ret_console,
               struct err *e)
{
    struct notes notes;
    int r;

    notes_begin(n, g, &notes);
    r = guest_clear_stale(n, g, e); /* first: it may hold what the start wants */
    if (r == 0) {
        r = net_ensure_up(n, g, e);
    }
    if (r == 0) {
        r = verb_set_desired(n, g, "running", e);
    }
    (void)fault_step("guest.start.locked");
    if (r < 0) {
        notes_end(n, &notes);
        return r;
    }
    r = launch_guest(n, g, lock, attach, ret_console, e);
    notes_end(n, &notes);
    if (r < 0) {
        struct err ignored = {0};

        (void)verb_set_desired(n, g, "stopped", &ignored);
        (void)finish_guest(n, g, &ignored);
        return r;
    }
    event_write(n, "started", g, NULL);
    return 0;
}

int node_guest_create(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st = {.state = GUEST_CREATED};
    struct guest g = {0};
    int r = guest_make(n, order, NULL, &g, &lock, e);

    if (r == 0) {
        *ret = guest_describe(&g, &st);
    }
    guest_fini(&g);
    return r;
}

/* A machine's serial line is typed at whoever ordered that, unless it runs one command only. */
static bool has_line(const struct guest *g)
{
    return guest_is_machine(g) &&
           (guest_text(g, "root")[0] == '\0' || guest_text(g, "init")[0] != '\0');
}

int node_run(struct node *n, const json_t *order, struct node_run_result *ret,
             struct err *e)
{
    bool detach = json_is_true(json_object_get(order, "detach"));
    struct guest_status st = {.state = GUEST_RUNNING};
    struct guest g = {0};
    SCOPED(scope_close) int lock = -1;
    int console = -1;
    int r = guest_make(n, order, NULL, &g, &lock, e);

    if (r < 0) {
        guest_fini(&g);
        return r;
    }
    r = verb_start(n, &g, lock, !detach, &console, e);
    if (r < 0) {
        struct err ignored = {0};

        (void)remove_guest(n, &g, &ignored);
    } else {
        ret->guest = guest_describe(&g, &st);
        ret->console = console;
        ret->terminal =
            has_line(&g) || json_is_true(json_object_get(guest_config(&g), "tty"));
        ret->interactive = has_line(&g) ||
                           json_is_true(json_object_get(guest_config(&g), "interactive"));
    }
    guest_fini(&g);
    return r;
}

int node_run_end(struct node *n, const json_t *guest, struct err *e)
{
    const char *id = json_string_value(json_object_get(guest, "id"));
    SCOPED(scope_close) int lock = -1;
    struct guest g = {0};
    struct err gone = {0};
    struct guest_status st;
    int r = guest_load(n, id, &g, &gone);

    if (r == 0 && guest_status(n, g.id, &st, NULL) == 0 && guest_is_alive(&st)) {
        guest_fini(&g); /* it goes on without us, and its keeper cleans up */
        return 0;
    }
    if (r == 0) {
        guest_await_free(n, &g, VERB_LOCK_WAIT_MS);
        r = guest_lock_known(n, &g, VERB_LOCK_WAIT_MS, &lock, &gone);
    }
    if (r < 0) { /* somebody else was quicker to clean up */
        guest_fini(&g);
        return r == -ENOENT ? 0 : err_set(e, r, "%s", gone.text);
    }
    if (json_is_true(json_object_get(guest_config(&g), "rm"))) {
        r = delete_guest(n, &g, e);
    } else {
        r = finish_guest(n, &g, e);
        if (r == 0) {
            r = verb_set_desired(n, &g, "stopped", e);
        }
    }
    guest_fini(&g);
    return r;
}

/* What a start changes of a machine. */
static int apply(struct node *n, const struct guest *g, const json_t *order,
                 struct err *e)
{
    json_t *engine = json_object_get(order, "engine");
    json_t *boot = json_object_get(order, "boot");
    bool is_fresh = json_is_true(json_object_get(order, "fresh"));

    if (engine == NULL && boot == NULL && !is_fresh) {
        return 0;
    }
    if (!guest_is_machine(g)) {
        return err_set(e, -EINVAL, "cannot start guest '%s' so: it is a container",
                       guest_text(g, "name"));
    }
    if (engine != NULL) {
        (void)json_object_set(guest_config(g), "engine", engine);
    }
    if (boot != NULL && guest_text(g, "root")[0] == '\0') {
        return err_set(e, -EINVAL,
                       "cannot start guest '%s' so: it was not made from an image",
                       guest_text(g, "name"));
    }
    if (boot != NULL) {
        (void)json_object_set(guest_config(g), "boot", boot);
    }
    return is_fresh ? life_forget_saved(n, g, e) : 0;
}

int node_guest_start(struct node *n, const char *guest, const json_t *order,
                     int *ret_console, struct err *e)
{
    bool attach = json_is_true(json_object_get(order, "attach"));
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    *ret_console = -1;
    if (r < 0) {
        return r;
    }
    if (guest_is_alive(&st)) {
        r = err_set(e, -EBUSY, "cannot start guest '%s': it is %s", guest,
                    guest_state_name(st.state));
    } else {
        r = guest_lock_known(n, &g, VERB_LOCK_WAIT_MS, &lock, e);
    }
    r = r == 0 ? apply(n, &g, order, e) : r;
    if (r == 0) {
        r = verb_start(n, &g, lock, attach, ret_console, e);
    }
    guest_fini(&g);
    return r;
}

int node_guest_restart(struct node *n, const char *guest, uint64_t timeout_ms,
                       struct err *e)
{
    struct guest_status st;
    struct guest g = {0};
    SCOPED(scope_close) int lock = -1;
    int console = -1;
    int r = verb_find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (guest_is_alive(&st)) {
        r = verb_stop(n, &g, 0, timeout_ms, e);
    }
    if (r == 0) {
        r = guest_lock_known(n, &g, VERB_LOCK_WAIT_MS, &lock, e);
    }
    if (r == 0) {
        r = verb_start(n, &g, lock, false, &console, e);
    }
    guest_fini(&g);
    return r;
}
