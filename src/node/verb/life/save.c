/* save.c - suspend to disk: the worker ends, and the next start goes on from its files.
 *
 * STATE/guests/ID/saved has "state" and "memory" (virt/monitor/snap).  Such files are true
 * only while nothing of the guest has moved since: its disks would be newer than its memory.
 * So they are written as saved.new while it stands still, and become `saved` once its worker
 * has ended; the worker's last word, "saved", tells so, too, when the command died in
 * between.  A start renames them to saved.used before the guest moves, and whoever finds
 * those later knows that it may have, and starts it from its kernel. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"

#define SAVED   "saved"
#define NEW     "saved.new"
#define USED    "saved.used"
#define MADE    "saved.made" /* of a snapshot, on its way */
#define SAVE_MS 600000       /* for as much memory as a host has, on a slow disk */
#define END_MS  30000

static bool is_there(struct node *n, const struct guest *g, const char *name)
{
    char path[PATH_MAX];

    (void)guest_state_path(n, g->id, name, path);
    return access(path, F_OK) == 0;
}

static int remove_dir(struct node *n, const struct guest *g, const char *name,
                      struct err *e)
{
    char path[PATH_MAX];
    int r;

    (void)guest_state_path(n, g->id, name, path);
    r = file_remove_tree(AT_FDCWD, path);
    return r < 0 && r != -ENOENT ? err_sys(e, r, "cannot remove '%s'", path) : 0;
}

static int move_dir(struct node *n, const struct guest *g, const char *from,
                    const char *to, struct err *e)
{
    char old[PATH_MAX];
    char new[PATH_MAX];

    (void)guest_state_path(n, g->id, from, old);
    (void)guest_state_path(n, g->id, to, new);
    return rename(old, new) < 0 ? err_sys(e, -errno, "cannot rename '%s'", old) : 0;
}

/* ---- files ---- */

int life_write_state(struct node *n, const struct guest *g, int dir, bool ends,
                     struct err *e)
{
    SCOPED(scope_json) json_t *arg = json_pack("{s:b}", "ends", ends ? 1 : 0);
    int fds[2] = {openat(dir, "state", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
                  openat(dir, "memory", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    const struct far_question q = {
        .verb = FAR_SAVE, .arg = arg, .fds = fds, .n_fds = 2, .wait_ms = SAVE_MS};
    int r = fds[0] < 0 || fds[1] < 0
                ? err_sys(e, -errno, "cannot make the files of its state")
                : life_ask(n, g, &q, NULL, e);

    (void)fault_step("life.state.written");
    for (int i = 0; i < 2; i++) {
        if (r == 0 && fsync(fds[i]) < 0) {
            r = err_sys(e, -errno, "cannot keep the files of its state");
        }
        scope_close(&fds[i]);
    }
    return r;
}

static int make_dir(struct node *n, const struct guest *g, const char *name,
                    struct err *e)
{
    char path[PATH_MAX];
    int fd = -1;
    int r = remove_dir(n, g, name, e);

    (void)guest_state_path(n, g->id, name, path);
    if (r == 0) {
        fd = mkdir(path, 0700) < 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? err_sys(e, -errno, "cannot make '%s'", path) : 0;
    }
    return r < 0 ? r : fd;
}

/* ---- save ---- */

/* While it stands still: written, and then it is not to go on any more. */
static int save(struct node *n, struct guest *g, struct err *e)
{
    SCOPED(scope_close) int dir = make_dir(n, g, NEW, e);
    int r = dir < 0 ? dir : life_write_state(n, g, dir, true, e);

    r = r == 0 && fsync(dir) < 0 ? err_sys(e, -errno, "cannot keep its state") : r;
    r = r == 0 ? verb_set_desired(n, g, "stopped", e) : r;
    (void)fault_step("guest.save.written");
    return r == 0 ? verb_end(n, g, SIGTERM, END_MS, e) : r;
}

int node_guest_save(struct node *n, const char *guest, struct err *e)
{
    struct hold hold = {.lock = -1};
    struct guest_status st;
    struct guest g = {0};
    int r = life_find(n, guest, "save", &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (json_is_true(json_object_get(guest_config(&g), "rm"))) {
        r = err_set(e, -EINVAL, "it is to be deleted at its end");
    }
    r = r == 0 ? hold_begin(n, &g, &hold, e) : r;
    r = r == 0 ? save(n, &g, e) : r;
    (void)fault_step("guest.save.ended");
    hold_end(n, &g, &hold);
    if (r < 0) {
        (void)remove_dir(n, &g, NEW, NULL);
        err_wrap(e, "cannot save guest '%s'", guest_text(&g, "name"));
    } else if (is_there(n, &g, NEW)) { /* else somebody has started it already */
        r = move_dir(n, &g, NEW, SAVED, e);
    }
    if (r == 0) {
        event_write(n, "saved", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

/* ---- what a start finds ---- */

/* A command died after the worker had ended well. */
static bool ended_saved(struct node *n, const struct guest *g)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *told = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    const char *word;

    (void)guest_run_path(n, g->id, FAR_COUNTERS, path);
    if (file_read(AT_FDCWD, path, FAR_MOST_BYTES, &text, &len) == 0) {
        (void)json_parse(text, len, path, &told, NULL);
    }
    word = json_string_value(json_object_get(told, "state"));
    return word != NULL && strcmp(word, "saved") == 0;
}

static int settle(struct node *n, const struct guest *g, struct err *e)
{
    int r = 0;

    if (is_there(n, g, NEW)) {
        r = ended_saved(n, g) && !is_there(n, g, SAVED) ? move_dir(n, g, NEW, SAVED, e)
                                                        : remove_dir(n, g, NEW, e);
    }
    if (r == 0 && is_there(n, g, USED)) {
        log_warn(
            n->log,
            "guest '%s' may have moved since it was saved: it starts from its kernel",
            guest_text(g, "name"));
        r = remove_dir(n, g, USED, e);
    }
    return r;
}

bool life_is_saved(struct node *n, const struct guest *g)
{
    return guest_is_machine(g) &&
           (is_there(n, g, SAVED) || (is_there(n, g, NEW) && ended_saved(n, g)));
}

int life_take_saved(struct node *n, const struct guest *g, json_t *spec, struct err *e)
{
    char path[PATH_MAX];
    int r = guest_is_machine(g) ? settle(n, g, e) : 0;

    if (r < 0 || !guest_is_machine(g) || !is_there(n, g, SAVED)) {
        return r;
    }
    r = move_dir(n, g, SAVED, USED, e);
    (void)guest_state_path(n, g->id, USED, path);
    (void)json_object_set_new(json_object_get(spec, "machine"), "restore",
                              json_string(path));
    (void)fault_step("life.saved.taken");
    return r;
}

void life_leave_saved(struct node *n, const struct guest *g, bool is_used)
{
    if (!guest_is_machine(g) || !is_there(n, g, USED)) {
        return;
    }
    if (is_used) {
        (void)remove_dir(n, g, USED, NULL);
    } else {
        (void)move_dir(n, g, USED, SAVED, NULL);
    }
}

int life_forget_saved(struct node *n, const struct guest *g, struct err *e)
{
    static const char *const names[] = {SAVED, NEW, USED};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof names / sizeof names[0]; i++) {
        r = remove_dir(n, g, names[i], e);
    }
    return r;
}

/* ---- of a snapshot ---- */

int life_open_saved(struct node *n, const struct guest *g, struct err *e)
{
    int r = settle(n, g, e);

    return r < 0 ? r : disk_open_dir(n, g->id, SAVED, e);
}

int life_make_saved(struct node *n, const struct guest *g, struct err *e)
{
    return make_dir(n, g, MADE, e);
}

int life_keep_saved(struct node *n, const struct guest *g, struct err *e)
{
    return move_dir(n, g, MADE, SAVED, e);
}

void life_drop_made(struct node *n, const struct guest *g)
{
    (void)remove_dir(n, g, MADE, NULL);
}
