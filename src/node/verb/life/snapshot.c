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
#include "node/boot.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"

#define LIST_MOST 65536 /* bytes */

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

/* ---- which disks ----
 *
 * Disks come and go: "disks" in a snapshot is the list of those that were ordered, as the
 * configuration had it. */

static int keep_list(const struct guest *g, int dir, struct err *e)
{
    SCOPED(scope_json) json_t *none = json_array();
    const json_t *list = json_object_get(guest_config(g), "disks");
    SCOPED(scope_free) char *text = json_dumps(list != NULL ? list : none, JSON_COMPACT);
    int r = text == NULL ? -ENOMEM
                         : file_replace(dir, "disks", text, strlen(text), 0600, false);

    return r < 0 ? err_sys(e, r, "cannot keep the list of disks") : 0;
}

/* The guest has those of the snapshot; one that is older has no list. */
static int follow_list(const struct guest *g, int dir, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *list = NULL;
    size_t len = 0;
    int r = file_read(dir, "disks", LIST_MOST, &text, &len);

    if (r == -ENOENT) {
        return 0;
    }
    r = r < 0 ? err_sys(e, r, "cannot read the list of disks")
              : json_parse(text, len, "disks", &list, e);
    if (r == 0 && json_array_size(list) > 0) {
        (void)json_object_set(guest_config(g), "disks", list);
    } else if (r == 0) {
        (void)json_object_del(guest_config(g), "disks");
    }
    return r;
}

/* A card that came is in the state's devices, with an address that the guest's memory has, too:
 * "card" in a snapshot is the network of one. */

static int keep_card(const struct guest *g, int dir, struct err *e)
{
    const json_t *network = json_object_get(g->record, "network");
    SCOPED(scope_free)
    char *text = life_card_slot(g) != 0 ? json_dumps(network, JSON_COMPACT) : NULL;
    int r = text == NULL ? 0 : file_replace(dir, "card", text, strlen(text), 0600, false);

    return r < 0 ? err_sys(e, r, "cannot keep the network's card") : 0;
}

static int check_card(const struct guest *g, int dir, struct err *e)
{
    const json_t *now =
        life_card_slot(g) != 0 ? json_object_get(g->record, "network") : NULL;
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *then = NULL;
    size_t len = 0;
    int r = file_read(dir, "card", LIST_MOST, &text, &len);

    if (r < 0 && r != -ENOENT) {
        return err_sys(e, r, "cannot read the network's card");
    }
    r = r == -ENOENT ? 0 : json_parse(text, len, "card", &then, e);
    if (r < 0 || (now == NULL && then == NULL)) {
        return r;
    }
    for (unsigned i = 0; i < 3; i++) {
        static const char *const keys[] = {"name", "slot", "addr4"};

        if (!json_equal(json_object_get(now, keys[i]), json_object_get(then, keys[i])) &&
            json_object_get(now, keys[i]) != json_object_get(then, keys[i])) {
            const char *name = json_string_value(json_object_get(then, "name"));

            return then == NULL
                       ? err_set(e, -EBUSY,
                                 "it had no network card then: 'strata detach' first")
                       : err_set(e, -EBUSY,
                                 "its network card was another one, of network '%s': "
                                 "'strata attach' it",
                                 name != NULL ? name : "");
        }
    }
    return 0;
}

/* ---- into a snapshot ---- */

/* `arg`: the directory of the snapshot. */
static int copy_disk(void *arg, const struct life_disk *d, struct err *e)
{
    const int *dir = arg;

    return d->is_kept ? copy_file(AT_FDCWD, d->path, *dir, d->name, e) : 0;
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
    int rest = life_freeze(n, g);
    int r = hold_begin(n, g, &hold, e);

    r = r == 0 ? life_write_state(n, g, dir, false, e) : r;
    (void)fault_step("life.snapshot.state");
    r = r == 0 ? life_each_disk(n, g, copy_disk, &dir, e) : r;
    hold_end(n, g, &hold);
    life_thaw(n, g, rest);
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
    return r == 0 ? life_each_disk(n, g, copy_disk, &dir, e) : r;
}

int life_fill_snapshot(struct node *n, const struct guest *g, int dir, struct err *e)
{
    struct guest_status st;
    int r = guest_status(n, g->id, &st, e);

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
    r = guest_is_alive(&st) ? fill_running(n, g, dir, e) : fill_stopped(n, g, dir, e);
    r = r == 0 ? keep_card(g, dir, e) : r;
    return r == 0 ? keep_list(g, dir, e) : r;
}

/* ---- back ---- */

/* The disks come beside those that are there, then take their places. */
struct putting {
    const struct guest *guest;
    int dir; /* of the snapshot */
};

static int name_beside(const struct putting *p, const struct life_disk *d,
                       char out[PATH_MAX], struct err *e)
{
    return str_print(out, PATH_MAX, "%s.%s.new", d->path, p->guest->id) < 0
               ? err_set(e, -ENAMETOOLONG, "cannot put back '%s': too long", d->path)
               : 0;
}

static int drop_beside(void *arg, const struct life_disk *d, struct err *e)
{
    char beside[PATH_MAX];
    int r = d->is_kept ? name_beside(arg, d, beside, e) : 0;

    if (r == 0 && d->is_kept) {
        (void)unlink(beside);
    }
    return r;
}

static int copy_beside(void *arg, const struct life_disk *d, struct err *e)
{
    const struct putting *p = arg;
    char beside[PATH_MAX];
    int r = drop_beside(arg, d, e);

    if (r < 0 || !d->is_kept) {
        return r;
    }
    (void)name_beside(p, d, beside, NULL);
    return copy_file(p->dir, d->name, AT_FDCWD, beside, e);
}

static int take_place(void *arg, const struct life_disk *d, struct err *e)
{
    char beside[PATH_MAX];
    int r = d->is_kept ? name_beside(arg, d, beside, e) : 0;

    return r == 0 && d->is_kept && rename(beside, d->path) < 0
               ? err_sys(e, -errno, "cannot put back '%s'", d->path)
               : r;
}

int life_put_back(struct node *n, struct guest *g, int dir, struct err *e)
{
    bool has_state = faccessat(dir, "state", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    struct putting p = {g, dir};
    SCOPED(scope_close) int to = -1;
    int r = has_state ? check_card(g, dir, e) : 0;

    if (r == 0 && has_state) {
        to = life_make_saved(n, g, e);
        r = to < 0 ? to : copy_state(dir, to, e);
    }
    r = r == 0 ? follow_list(g, dir, e) : r;
    r = r == 0 ? life_place_card(g, e) : r;
    r = r == 0 ? life_each_disk(n, g, copy_beside, &p, e) : r;
    (void)fault_step("life.restore.copied");
    r = r == 0 ? life_forget_saved(n, g, e) : r;
    r = r == 0 ? guest_save(n, g, e) : r;
    r = r == 0 ? life_each_disk(n, g, take_place, &p, e) : r;
    (void)fault_step("life.restore.disks");
    r = r == 0 && has_state ? life_keep_saved(n, g, e) : r;
    if (r < 0) {
        (void)life_each_disk(n, g, drop_beside, &p, NULL);
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

struct cloning {
    int from;     /* the directory of a snapshot, or -1: from where they are */
    int to;       /* where the disks of the copy lie */
    char *place;  /* its path */
    json_t *list; /* those that were ordered, as the copy has them */
};

static int clone_disk(void *arg, const struct life_disk *d, struct err *e)
{
    const struct cloning *c = arg;
    const char *name = d->is_root ? BOOT_ROOT : d->name;

    if (!d->is_root) {
        (void)json_array_append_new(c->list, d->is_kept
                                                 ? json_sprintf("%s/%s%s", c->place, name,
                                                                d->word + strlen(d->path))
                                                 : json_string(d->word));
    }
    if (!d->is_kept) {
        return 0;
    }
    return c->from >= 0 ? copy_file(c->from, d->name, c->to, name, e)
                        : copy_file(AT_FDCWD, d->path, c->to, name, e);
}

static int clone_disks(struct node *n, const struct guest_source *from, int snapshot,
                       struct guest *to, struct err *e)
{
    SCOPED(scope_close) int dir = disk_open_dir(n, to->id, "disk", e);
    SCOPED(scope_json) json_t *list = json_array();
    char place[PATH_MAX];
    struct cloning c = {snapshot, dir, place, list};
    int r;

    (void)guest_state_path(n, to->id, "disk", place);
    r = dir < 0 ? dir : life_each_disk(n, from->guest, clone_disk, &c, e);
    if (json_array_size(list) > 0) {
        (void)json_object_set(guest_config(to), "disks", list);
    } else {
        (void)json_object_del(guest_config(to), "disks");
    }
    return r;
}

/* What a machine that stands still has written to its disks is in their files. */
static int settle_disks(struct node *n, const struct guest *g, struct err *e)
{
    const struct far_question q = {.verb = FAR_SAVE};
    struct guest_status st;
    int r = guest_status(n, g->id, &st, e);

    return r == 0 && guest_is_alive(&st) ? life_ask(n, g, &q, NULL, e) : r;
}

static int clone_held(struct node *n, const struct guest_source *from, int snapshot,
                      struct guest *to, struct err *e)
{
    unsigned slot = life_card_slot(from->guest);
    int r = from->memory   ? clone_state(n, from, snapshot, to, e)
            : snapshot < 0 ? settle_disks(n, from->guest, e)
                           : 0;

    r = r == 0 ? clone_disks(n, from, snapshot, to, e) : r;
    if (r == 0 && slot != 0) { /* its card is where the state has one */
        life_want_card(to, slot);
    }
    return r;
}

int life_clone(struct node *n, const struct guest_source *from, struct guest *to,
               struct err *e)
{
    struct hold hold = {.lock = -1};
    SCOPED(scope_close) int dir = -1;
    char name[PATH_MAX];
    int rest;
    int r = 0;

    if (from->snapshot == NULL) {
        rest =
            from->memory ? -1 : life_freeze(n, from->guest); /* of one instant anyway */
        r = hold_begin(n, from->guest, &hold, e);
        r = r == 0 ? clone_held(n, from, -1, to, e) : r;
        hold_end(n, from->guest, &hold);
        life_thaw(n, from->guest, rest);
        return r;
    }
    if (!word_is_name(from->snapshot)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a snapshot",
                       from->snapshot);
    }
    (void)str_print(name, sizeof name, "snapshots/%s", from->snapshot);
    dir = disk_open_dir(n, from->guest->id, name, e);
    r = dir < 0 ? dir : follow_list(from->guest, dir, e);
    r = r == 0 && from->memory ? check_card(from->guest, dir, e) : r;
    return r < 0 ? r : clone_held(n, from, dir, to, e);
}
