/* snapshot.c - what a machine was at some time: memory and devices if it ran, and its disks.
 *
 * In the directory of a snapshot (node/disk/snapshot.c) are "state" and "memory" as of a
 * saved machine, and "disk0" ... in the order of its disks: copies of their files, which share
 * their blocks where the file system can.  All of it is of one instant: the machine stands
 * still from the first byte to the last, and what it wrote to its disks is in their files.
 * What its programs had not written yet is in the memory; a snapshot without memory is as
 * after a power cut. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "host/file.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"

#define NAME_BYTES 16

/* The file of a disk; false: it cannot be written, so that there is nothing to keep. */
static bool disk_path(const json_t *word, char out[PATH_MAX])
{
    const char *text = json_string_value(word);

    (void)str_print(out, PATH_MAX, "%.*s", (int)strcspn(text, ","), text);
    return strstr(text, ",read-only") == NULL;
}

static const json_t *disks_of(const struct guest *g)
{
    return json_object_get(guest_config(g), "disks");
}

/* Of a file into a new one that has the same owner and mode. */
static int copy_file(int from_dir, const char *from, int to_dir, const char *to,
                     struct err *e)
{
    SCOPED(scope_close)
    int in = openat(from_dir, from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    SCOPED(scope_close) int out = -1;
    struct stat st;
    int r = in < 0 || fstat(in, &st) < 0 ? -errno : 0;

    if (r == 0 && !S_ISREG(st.st_mode)) {
        return err_set(e, -EOPNOTSUPP, "'%s' is no file, and cannot be copied", from);
    }
    if (r == 0) {
        out =
            openat(to_dir, to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        r = out < 0 || fchown(out, st.st_uid, st.st_gid) < 0 ||
                    fchmod(out, st.st_mode & 0777) < 0
                ? -errno
                : file_copy(in, out);
    }
    if (r == 0 && fsync(out) < 0) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot copy '%s' to '%s'", from, to) : 0;
}

/* ---- into a snapshot ---- */

static int copy_disks(const struct guest *g, int dir, struct err *e)
{
    char path[PATH_MAX];
    char name[NAME_BYTES];
    size_t i;
    json_t *word;
    int r = 0;

    json_array_foreach(disks_of(g), i, word)
    {
        (void)str_print(name, sizeof name, "disk%zu", i);
        if (r == 0 && disk_path(word, path)) {
            r = copy_file(AT_FDCWD, path, dir, name, e);
        }
    }
    return r;
}

static int copy_state(int from, int to, struct err *e)
{
    static const char *const names[] = {"state", "memory"};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof names / sizeof names[0]; i++) {
        r = copy_file(from, names[i], to, names[i], e);
    }
    return r;
}

static int fill_running(struct node *n, const struct guest *g, int dir, struct err *e)
{
    struct hold hold = {.lock = -1};
    int r = hold_begin(n, g, &hold, e);

    r = r == 0 ? life_write_state(n, g, dir, false, e) : r;
    (void)fault_step("life.snapshot.state");
    r = r == 0 ? copy_disks(g, dir, e) : r;
    hold_end(n, g, &hold);
    return r;
}

static int fill_stopped(struct node *n, const struct guest *g, int dir, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_close) int saved = -1;
    int r = guest_lock(n, g, VERB_LOCK_WAIT_MS, &lock, e);

    if (r == 0 && life_is_saved(n, g)) {
        saved = life_open_saved(n, g, e);
        r = saved < 0 ? saved : copy_state(saved, dir, e);
    }
    return r == 0 ? copy_disks(g, dir, e) : r;
}

int life_fill_snapshot(struct node *n, const struct guest *g, int dir, struct err *e)
{
    struct guest_status st;
    int r = guest_need_no_root(g, "take a snapshot of", e);

    r = r == 0 ? guest_status(n, g->id, &st, e) : r;
    if (r < 0) {
        return r;
    }
    if (json_array_size(json_object_get(guest_config(g), "volume")) > 0) {
        return err_set(
            e, -EOPNOTSUPP,
            "cannot keep guest '%s' as it is: its volumes are not kept with it "
            "(see 'strata volume snapshot')",
            guest_text(g, "name"));
    }
    return guest_is_alive(&st) ? fill_running(n, g, dir, e) : fill_stopped(n, g, dir, e);
}

/* ---- back ---- */

/* The disks come beside those that are there, then take their places. */
static int put_disks(const struct guest *g, int dir, bool are_ready, struct err *e)
{
    char path[PATH_MAX];
    char beside[PATH_MAX];
    char name[NAME_BYTES];
    size_t i;
    json_t *word;
    int r = 0;

    json_array_foreach(disks_of(g), i, word)
    {
        (void)str_print(name, sizeof name, "disk%zu", i);
        if (r < 0 || !disk_path(word, path)) {
            continue;
        }
        if (str_print(beside, sizeof beside, "%s.%s.new", path, g->id) < 0) {
            return err_set(e, -ENAMETOOLONG, "cannot put back '%s': too long", path);
        }
        if (are_ready) {
            r = rename(beside, path) < 0
                    ? err_sys(e, -errno, "cannot put back '%s'", path)
                    : 0;
        } else {
            (void)unlink(beside);
            r = copy_file(dir, name, AT_FDCWD, beside, e);
        }
    }
    return r;
}

static void drop_beside(const struct guest *g)
{
    char path[PATH_MAX];
    char beside[PATH_MAX];
    size_t i;
    json_t *word;

    json_array_foreach(disks_of(g), i, word)
    {
        if (disk_path(word, path) &&
            str_print(beside, sizeof beside, "%s.%s.new", path, g->id) == 0) {
            (void)unlink(beside);
        }
    }
}

int life_put_back(struct node *n, const struct guest *g, int dir, struct err *e)
{
    bool has_state = faccessat(dir, "state", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    SCOPED(scope_close) int to = has_state ? life_make_saved(n, g, e) : -1;
    int r = has_state && to < 0 ? to : 0;

    r = r == 0 && has_state ? copy_state(dir, to, e) : r;
    r = r == 0 ? put_disks(g, dir, false, e) : r;
    (void)fault_step("life.restore.copied");
    r = r == 0 ? life_forget_saved(n, g, e) : r;
    r = r == 0 ? put_disks(g, dir, true, e) : r;
    (void)fault_step("life.restore.disks");
    r = r == 0 && has_state ? life_keep_saved(n, g, e) : r;
    if (r < 0) {
        drop_beside(g);
        life_drop_made(n, g);
    }
    return r;
}

/* ---- another guest ---- */

/* The state of a machine that runs, or of a snapshot, for the first start of the copy. */
static int clone_state(struct node *n, const struct guest_source *from, int snapshot,
                       const struct guest *to, struct err *e)
{
    SCOPED(scope_close) int dir = life_make_saved(n, to, e);
    SCOPED(scope_close) int saved = -1;
    struct guest_status st;
    int r = dir < 0 ? dir : guest_status(n, from->guest->id, &st, e);

    if (r == 0 && snapshot < 0 && !guest_is_alive(&st)) {
        saved = life_is_saved(n, from->guest)
                    ? life_open_saved(n, from->guest, e)
                    : err_set(e, -ESRCH, "guest '%s' neither runs nor is it saved",
                              guest_text(from->guest, "name"));
        r = saved < 0 ? saved : 0;
        snapshot = saved;
    }
    if (r == 0) {
        r = snapshot >= 0 ? copy_state(snapshot, dir, e)
                          : life_write_state(n, from->guest, dir, false, e);
    }
    return r == 0 ? life_keep_saved(n, to, e) : r;
}

static int clone_disks(struct node *n, const struct guest_source *from, int snapshot,
                       struct guest *to, struct err *e)
{
    SCOPED(scope_close) int dir = disk_open_dir(n, to->id, "disk", e);
    json_t *list = json_array();
    char path[PATH_MAX];
    char place[PATH_MAX];
    char name[NAME_BYTES];
    size_t i;
    json_t *word;
    int r = dir < 0 ? dir : 0;

    (void)guest_state_path(n, to->id, "disk", place);
    json_array_foreach(disks_of(from->guest), i, word)
    {
        struct str own = {0};

        (void)str_print(name, sizeof name, "disk%zu", i);
        if (!disk_path(word, path)) {
            (void)json_array_append(list, word);
            continue;
        }
        if (r == 0) {
            r = snapshot >= 0 ? copy_file(snapshot, name, dir, name, e)
                              : copy_file(AT_FDCWD, path, dir, name, e);
        }
        str_addf(&own, "%s/%s%s", place, name, json_string_value(word) + strlen(path));
        (void)json_array_append_new(list, json_string(str_text(&own)));
        str_fini(&own);
    }
    if (json_array_size(list) > 0) {
        (void)json_object_set(guest_config(to), "disks", list);
    }
    json_decref(list);
    return r;
}

static int clone_held(struct node *n, const struct guest_source *from, int snapshot,
                      struct guest *to, struct err *e)
{
    int r = from->memory ? clone_state(n, from, snapshot, to, e) : 0;

    return r == 0 ? clone_disks(n, from, snapshot, to, e) : r;
}

int life_clone(struct node *n, const struct guest_source *from, struct guest *to,
               struct err *e)
{
    struct hold hold = {.lock = -1};
    SCOPED(scope_close) int dir = -1;
    char name[PATH_MAX];
    int r = 0;

    if (from->snapshot == NULL) {
        r = hold_begin(n, from->guest, &hold, e);
        r = r == 0 ? clone_held(n, from, -1, to, e) : r;
        hold_end(n, from->guest, &hold);
        return r;
    }
    if (!word_is_name(from->snapshot)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a snapshot",
                       from->snapshot);
    }
    (void)str_print(name, sizeof name, "snapshots/%s", from->snapshot);
    dir = disk_open_dir(n, from->guest->id, name, e);
    return dir < 0 ? dir : clone_held(n, from, dir, to, e);
}
