/* live.c - a disk that is served changes, without its clients' noticing; what a killed
 * command left of that is ended.
 *
 *     STATE/turns/NAME    whether the worker of a volume left one layer for another
 *
 * A freeze:
 * The new top is recorded before the worker writes to it, because an empty layer over the
 * old top reads as that does: whoever dies in between leaves a record that is right.  The
 * old top keeps the volume as a user until the worker has gone over, so that nothing is
 * built upon it as if it could not change; the member `unsettled` of the volume's record
 * says so, and whoever finds it goes on from there.
 *
 * A move, and a merge of the top, end with a turn: until then the worker writes to the old
 * layer and the new one, afterwards to the new one alone.  Command and worker may both be
 * killed around it.  So the record names both layers before the turn (`moving`,
 * `merging`), and the worker notes the turn in a file while no request is under way: the
 * next command asks the worker where it is, or, when there is none any more, the note.
 *
 * A file system that a guest has mounted stands still while its disk is frozen, so that what is kept is
 * one that was unmounted in order. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/mounted.h"
#include "node/volume/worker.h"

#define LOOK_STEP_NS 20000000 /* until a worker has done what it was told, or is gone */
#define LOOK_STEPS   1500

int volume_save(struct node *n, struct volume *v, struct record_change *c, struct err *e)
{
    char name[WORD_NAME_BYTES];
    char key[KV_KEY_BYTES];
    int r;

    (void)str_print(name, sizeof name, "%s", v->name);
    RECORD_KEY(key, "/volumes/%s", name);
    record_need_same(c, key, v->revision);
    record_put_json(c, key, v->record);
    r = record_change_do(n, c, e);
    if (r == 0) {
        volume_fini(v);
        r = volume_load(n, name, v, e);
    }
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", name)
               : r;
}

/* What is mounted stands still while the worker goes over, and no longer. */
struct still {
    struct node *n;
    const char *volume;
    struct mounted_freeze freeze;
    struct err why; /* it did not stand still */
};

static int stand_still(void *arg, struct err *e)
{
    struct still *s = arg;

    (void)e;
    (void)fault_step("live.ready");
    (void)mounted_freeze(s->n, s->volume, &s->freeze, &s->why);
    (void)fault_step("live.frozen");
    return 0; /* the worker goes over all the same: the records say so */
}

/* The worker's disk stands on this layer from now on, and writes to it. */
static int fork_worker(struct node *n, const struct disk_hold *hold,
                       const struct layer *above, struct still *still, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .ready = stand_still, .arg = still};
    int r = volume_worker_block(n, hold->control, &w.block, e);

    if (r < 0) {
        return r;
    }
    words_add(&w, "fork");
    if (still != NULL) {
        words_add(&w, "hold");
    }
    r = volume_worker_layer(n, above, hold->key, &w, e);
    r = r == 0 ? volume_worker_ask(n, hold->control, &ask, e) : r;
    words_fini(&w);
    return r;
}

/* Nobody writes to the old top any more: it is what `name` (NULL: nobody) keeps. */
static int settle(struct node *n, struct volume *v, const char *name, struct err *e)
{
    struct record_change c = {0};
    char old[LAYER_ID_DIGITS + 1];
    char user[KV_KEY_BYTES];
    int r;

    (void)str_print(old, sizeof old, "%s", volume_text(v->record, "unsettled"));
    (void)json_object_del(v->record, "unsettled");
    if (name != NULL) {
        volume_add_snapshot(v, name, old);
        RECORD_KEY(user, "s/%s/%s", v->name, name);
        layer_use(&c, old, user);
    }
    RECORD_KEY(user, "v/%s", v->name);
    layer_unuse(&c, old, user);
    r = volume_save(n, v, &c, e);
    record_change_fini(&c);
    return r;
}

int disk_freeze_live(struct node *n, struct volume *v, const struct layer *top,
                     const char *name, const struct disk_hold *hold, struct err *e)
{
    struct record_change c = {0};
    struct layer_new above = {.intent = -1};
    struct layer new = {.record = NULL};
    struct still still = {.n = n, .volume = v->name, .freeze = {.child = -1}};
    char user[KV_KEY_BYTES];
    int r = volume_make_over(n, v, top, &above, e);

    if (r < 0) {
        return r;
    }
    volume_set_top(v, &above.layer);
    (void)json_object_set_new(v->record, "unsettled", json_string(top->id));
    RECORD_KEY(user, "v/%s", v->name);
    layer_record(&c, &above.layer, user);
    r = volume_save(n, v, &c, e);
    record_change_fini(&c);
    (void)fault_step("live.recorded");
    layer_settle(n, &above, r == 0);
    r = r == 0 ? layer_load(n, volume_text(v->record, "top"), &new, e) : r;
    r = r == 0 ? fork_worker(n, hold, &new, &still, e) : r;
    layer_fini(&new);
    (void)fault_step("live.forked");
    (void)mounted_thaw(&still.freeze, &still.why);
    (void)fault_step("live.thawed");
    r = r == 0 ? settle(n, v, still.why.code == 0 ? name : NULL, e) : r;
    (void)fault_step("live.settled");
    return r == 0 && still.why.code != 0
               ? err_set(e, still.why.code, "%s", still.why.text)
               : r;
}

/* Go on with a freeze; `now`: the layer that the worker writes to, "" without one. */
static int settle_freeze(struct node *n, struct volume *v, int control, const char *now,
                         struct err *e)
{
    struct layer top = {.record = NULL};
    int r = 0;

    if (control >= 0 && strcmp(now, volume_text(v->record, "top")) != 0) {
        r = layer_load(n, volume_text(v->record, "top"), &top, e);
        r = r == 0 && layer_is_encrypted(&top)
                ? err_set(e, -EBUSY,
                          "volume '%s' is encrypted, and a snapshot of it was "
                          "interrupted: end its exports first",
                          v->name)
                : r;
        r = r == 0 ? fork_worker(n, &(struct disk_hold){control, -1, 0}, &top, NULL, e)
                   : r;
        layer_fini(&top);
    }
    return r == 0 ? settle(n, v, NULL, e) : r;
}

/* ---- turns ---- */

static void turn_path(const struct node *n, const char *name, char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/turns%s%s", n->state, name[0] != '\0' ? "/" : "",
                    name);
}

void volume_turn_forget(const struct node *n, const char *name)
{
    char path[PATH_MAX];

    turn_path(n, name, path);
    (void)unlink(path);
}

static int sync_directory(const char *path)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int volume_turn_make(struct node *n, const char *name, int *ret_fd, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char directory[PATH_MAX];
    char path[PATH_MAX];
    int r = 0;

    turn_path(n, "", directory);
    turn_path(n, name, path);
    if (mkdir(directory, 0700) == 0) {
        r = sync_directory(n->state);
    } else if (errno != EEXIST) {
        r = -errno;
    }
    fd = r == 0 ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (r == 0 && (fd < 0 || pwrite(fd, "0", 1, 0) != 1 || fsync(fd) < 0)) {
        r = -errno;
    }
    r = r == 0 ? sync_directory(directory) : r;
    if (r < 0) {
        return err_sys(e, r, "cannot make '%s'", path);
    }
    *ret_fd = scope_take_fd(&fd);
    return 0;
}

static bool has_turned(const struct node *n, const char *name)
{
    SCOPED(scope_close) int fd = -1;
    char path[PATH_MAX];
    char digit = '0';

    turn_path(n, name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && pread(fd, &digit, 1, 0) == 1 && digit == '1';
}

/* Whether somebody, as a worker that ends, has one of the layers open.  A member that is lost
 * has none. */
static bool is_open(struct node *n, const struct volume *v, const char *const ids[2])
{
    bool open = false;

    for (unsigned i = 0; i < 2; i++) {
        struct layer l = {.record = NULL};

        if (layer_load(n, ids[i], &l, NULL) == 0) {
            SCOPED(scope_close) int alone = disk_open_alone(n, v, &l, NULL);

            open = open || alone == -EBUSY;
        }
        layer_fini(&l);
    }
    return open;
}

/* Which of the two was written last, once nothing is under way; a worker that is there in
 * *ret_control. */
static int find_now(struct node *n, const struct volume *v, const char *to,
                    int *ret_control, char now[LAYER_ID_DIGITS + 1], struct err *e)
{
    const char *const ids[2] = {volume_text(v->record, "top"), to};
    const struct timespec step = {.tv_nsec = LOOK_STEP_NS};

    for (int i = 0; i < LOOK_STEPS; i++) {
        struct worker_now look = {.turns = false};

        scope_close(ret_control);
        *ret_control = volume_worker_connect(n, v->name);
        if (*ret_control >= 0 && volume_worker_look(n, *ret_control, &look, NULL) == 0 &&
            !look.turns) {
            (void)str_print(now, LAYER_ID_DIGITS + 1, "%s", look.top);
            return 0;
        }
        if (*ret_control < 0 && !is_open(n, v, ids)) {
            (void)str_print(now, LAYER_ID_DIGITS + 1, "%s",
                            has_turned(n, v->name) ? to : ids[0]);
            return 0;
        }
        (void)nanosleep(&step, NULL);
    }
    return err_set(e, -EBUSY,
                   "a change of volume '%s' was interrupted, and another program has it "
                   "open",
                   v->name);
}

/* What a merge of the top goes into. */
static void merge_target(struct node *n, const struct volume *v,
                         char out[LAYER_ID_DIGITS + 1])
{
    struct layer top = {.record = NULL};

    out[0] = '\0';
    if (layer_load(n, volume_text(v->record, "top"), &top, NULL) == 0) {
        (void)str_print(out, LAYER_ID_DIGITS + 1, "%s",
                        volume_text(top.record, "parent"));
    }
    layer_fini(&top);
}

static int settle_turn(struct node *n, struct volume *v, bool moving, int *ret_control,
                       char now[LAYER_ID_DIGITS + 1], struct err *e)
{
    char to[LAYER_ID_DIGITS + 1];
    int r;

    if (moving) {
        (void)str_print(to, sizeof to, "%s", volume_text(v->record, "moving"));
    } else {
        merge_target(n, v, to);
    }
    r = find_now(n, v, to, ret_control, now, e);
    r = r == 0 && moving    ? disk_settle_move(n, v, now, e)
        : r == 0 && !moving ? disk_settle_merge(n, v, now, e)
                            : r;
    if (r == 0) {
        volume_turn_forget(n, v->name);
    }
    return r;
}

int disk_settle(struct node *n, struct volume *v, struct err *e)
{
    SCOPED(scope_close) int control = -1;
    bool frozen = volume_text(v->record, "unsettled")[0] != '\0';
    bool moving = volume_text(v->record, "moving")[0] != '\0';
    bool merging = volume_text(v->record, "merging")[0] != '\0';
    struct worker_now now = {.turns = false};
    int r = 0;

    mounted_mend(n, v->name);
    if (moving || merging) {
        r = settle_turn(n, v, moving, &control, now.top, e);
    } else {
        volume_turn_forget(n, v->name); /* the rest of one that is over */
    }
    if (r == 0 && frozen && control < 0) {
        control = volume_worker_connect(n, v->name);
    }
    if (r == 0 && frozen && control >= 0) {
        r = volume_worker_look(n, control, &now, e);
    }
    return r == 0 && frozen ? settle_freeze(n, v, control, now.top, e) : r;
}
