/* finish.c - give back what a guest held, and forget it.
 *
 * Both are idempotent: they may run again after a crash at any of their steps,
 * and find less to do.  The caller holds the guest's lock. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "node/keeper/keeper.h"
#include "node/private.h"
#include "node/record.h"
#include "node/worker.h"
#include "virt/container/container.h"

/* Say "stopped" in the status file of a guest whose keeper could not. */
static int settle_status(struct node *n, const struct guest *g, struct guest_status *st,
                         struct err *e)
{
    char text[KEEPER_STATUS_BYTES];
    char path[PATH_MAX];
    char now_text[UNITS_TEXT_BYTES];
    struct timespec now;
    int len;
    int r;

    if (!st->lost) {
        return 0;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, now_text);
    (void)str_print(st->finished, sizeof st->finished, "%s", now_text);
    len = snprintf(
        text, sizeof text,
        "{\"state\":\"stopped\",\"pid\":0,\"keeper\":0,\"started\":\"%s\","
        "\"finished\":\"%s\",\"exit_code\":%d,\"restarts\":%lld,\"health\":\"\"}\n",
        st->started, st->finished, st->exit_code, (long long)st->restarts);
    (void)guest_run_path(n, g->id, "status", path);
    r = file_replace(AT_FDCWD, path, text, (size_t)len, 0644, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int record_end(struct node *n, struct guest *g, const struct guest_status *st,
                      struct err *e)
{
    json_t *last = json_pack("{s:i, s:s, s:s, s:I}", "exit_code", st->exit_code,
                             "started", st->started, "finished", st->finished, "restarts",
                             (json_int_t)st->restarts);
    int r;

    (void)json_object_set_new(g->record, "last", last);
    r = guest_save(n, g, e);
    if (r == -EAGAIN) { /* renamed or resized meanwhile: once more on the new record */
        json_incref(last);
        r = guest_reload(n, g, NULL);
        if (r == 0) {
            if (e != NULL) {
                err_clear(e);
            }
            (void)json_object_set(g->record, "last", last);
            r = guest_save(n, g, e);
        }
        json_decref(last);
    }
    return r;
}

int guest_clear_stale(struct node *n, const struct guest *g, struct err *e)
{
    SCOPED(scope_json)
    json_t *plan =
        json_pack("{s:s, s:O*, s:{s:s}}", "id", g->id, "network",
                  json_object_get(g->record, "network"), "place", "run", n->run);
    struct guest_status st;
    char root[PATH_MAX];
    char path[64];
    int r = guest_status(n, g->id, &st, e);

    if (r < 0 || st.ever_started || n->rootless ||
        (json_object_get(g->record, "last") == NULL &&
         strcmp(guest_text(g, "desired"), "running") != 0)) {
        return r;
    }
    (void)str_print(root, sizeof root, "%s/containers", n->run);
    (void)str_print(path, sizeof path, "/strata/%s", g->id);
    r = container_sweep(root, g->id, path, e);
    return r < 0 ? r : net_leave(plan, e);
}

static int clean(struct node *n, const struct guest *g, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *spec = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    int r;

    (void)guest_run_path(n, g->id, "spec.json", path);
    r = file_read(AT_FDCWD, path, 4 << 20, &text, &len);
    if (r == -ENOENT) {
        return guest_clear_stale(n, g, e);
    }
    if (r == 0) {
        r = json_parse(text, len, path, &spec, e);
    }
    return r < 0 ? r : worker_clean(spec, e);
}

int finish_guest(struct node *n, struct guest *g, struct err *e)
{
    struct guest_status st;
    char path[PATH_MAX];
    int r = guest_status(n, g->id, &st, e);

    if (r < 0) {
        return r;
    }
    /* The lock is ours, so `guest_status` takes it for held: look at the state. */
    st.lost = st.ever_started && st.state != GUEST_STOPPED;
    if (st.lost && st.state != GUEST_RESTARTING) {
        st.exit_code = 128 + SIGKILL;
    }
    r = clean(n, g, e);
    (void)fault_step("guest.finish.cleaned");
    if (r == 0 && st.ever_started) {
        r = record_end(n, g, &st, e);
    }
    (void)fault_step("guest.finish.recorded");
    if (r == 0) {
        r = settle_status(n, g, &st, e);
    }
    (void)fault_step("guest.finish.settled");
    if (r == 0) { /* the last step: its socket says that a guest is unfinished */
        (void)guest_run_path(n, g->id, "control", path);
        (void)unlink(path);
    }
    return r;
}

/* The keys of the record, all at once. */
static int forget(struct node *n, const struct guest *g, struct err *e)
{
    const json_t *userns = json_object_get(g->record, "userns");
    struct strv keys = {0};
    int r = volume_claimed(n, g, &keys, e);

    strv_addf(&keys, "/names/%s", guest_text(g, "name"));
    strv_addf(&keys, "/guests/%s", g->id);
    if (json_is_object(userns)) {
        strv_addf(
            &keys, "/userns/%06u",
            (unsigned)(json_integer_value(json_object_get(userns, "base")) / 65536));
    }
    if (r == 0) {
        r = strv_failed(&keys)
                ? err_set(e, -ENOMEM, "cannot remove guest '%s': no memory",
                          guest_text(g, "name"))
                : record_release(n, (const char *const *)keys.items, keys.n, e);
    }
    strv_fini(&keys);
    return r;
}

int remove_guest(struct node *n, struct guest *g, struct err *e)
{
    char path[PATH_MAX];
    char gone[PATH_MAX];
    int r = clean(n, g, e);

    (void)fault_step("guest.remove.cleaned");
    (void)guest_state_path(n, g->id, "", path);
    (void)str_print(gone, sizeof gone, "%s/guests/.%s" GUEST_GONE, n->state, g->id);
    if (r == 0 && rename(path, gone) < 0 && errno != ENOENT) {
        r = err_sys(e, -errno, "cannot remove '%s'", path);
    }
    (void)fault_step("guest.remove.away"); /* from here on it is a deleted guest */
    if (r == 0) {
        r = net_release(n, g, e);
    }
    (void)fault_step("guest.remove.released");
    if (r == 0) {
        r = forget(n, g, e);
    }
    (void)fault_step("guest.remove.forgotten");
    if (r == 0) {
        r = disk_remove_tree(n, AT_FDCWD, gone);
        r = r < 0 ? err_sys(e, r, "cannot remove '%s'", gone) : 0;
    }
    (void)fault_step("guest.remove.disk");
    (void)guest_run_path(n, g->id, "", path);
    if (r == 0) {
        r = disk_remove_tree(n, AT_FDCWD, path);
        r = r < 0 ? err_sys(e, r, "cannot remove '%s'", path) : 0;
    }
    return r;
}

int delete_guest(struct node *n, struct guest *g, struct err *e)
{
    struct guest now = {0};
    int r = remove_guest(n, g, e);

    /* what is left on a disk that failed belongs to no guest any more */
    if (r == 0 || guest_load(n, g->id, &now, NULL) == -ENOENT) {
        event_write(n, "deleted", g, NULL);
    }
    guest_fini(&now);
    return r;
}

int guest_program_error(const char *program, struct err *e)
{
    char own[PATH_MAX + 32];

    (void)str_print(own, sizeof own, "cannot run '%s'", program != NULL ? program : "");
    if (e != NULL && strncmp(e->text, own, strlen(own)) == 0) {
        e->code = e->code == -ENOENT || e->code == -ENOTDIR ? NODE_NO_PROGRAM
                                                            : NODE_NO_EXECUTABLE;
    }
    return e != NULL ? e->code : -EIO;
}
