/* disk.c - a guest's disk: the changes above its image, their snapshots, copies.
 *
 * STATE/guests/ID/disk/{upper,work} is what overlayfs keeps above the image's
 * layers.  A *private* disk stays over restarts and has one owner at a time (the
 * guest's lock); a *shared* one is emptied before each start, so that every start
 * begins with the image's own content and the image never changes.
 *
 * A snapshot is a copy of `upper` in snapshots/NAME, made under a temporary name
 * and renamed, with files shared where the file system can clone them.  While
 * it is made a running guest stands still. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "base/word.h"
#include "contract/task.h"
#include "host/file.h"
#include "node/private.h"
#include "virt/container/container.h"

static int make_dir(struct node *n, const char *id, const char *name, mode_t mode,
                    struct err *e)
{
    char path[PATH_MAX];

    (void)guest_state_path(n, id, name, path);
    if (mkdir(path, mode) < 0 && errno != EEXIST) {
        return err_sys(e, -errno, "cannot make '%s'", path);
    }
    return chmod(path, mode) < 0 ? err_sys(e, -errno, "cannot set the mode of '%s'", path)
                                 : 0;
}

static int64_t id_base(const struct guest *g)
{
    return json_integer_value(
        json_object_get(json_object_get(g->record, "userns"), "base"));
}

/* The guest's own root owns the top of what it changes. */
static int give_upper(struct node *n, const struct guest *g, struct err *e)
{
    int64_t base = id_base(g);
    char path[PATH_MAX];

    (void)guest_state_path(n, g->id, "disk/upper", path);
    return base > 0 && chown(path, (uid_t)base, (gid_t)base) < 0
               ? err_sys(e, -errno, "cannot give '%s' to the guest", path)
               : 0;
}

int disk_create(struct node *n, const struct guest *g, struct err *e)
{
    static const struct {
        const char *name;
        mode_t mode;
    } dirs[] = {{"", 0711},          {"disk", 0711}, {"disk/upper", 0755},
                {"disk/work", 0700}, {"logs", 0700}, {"snapshots", 0700}};

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        int r = make_dir(n, g->id, dirs[i].name, dirs[i].mode, e);

        if (r < 0) {
            return r;
        }
    }
    return give_upper(n, g, e);
}

int disk_reset_shared(struct node *n, const struct guest *g, struct err *e)
{
    char path[PATH_MAX];
    const char *disk = json_string_value(json_object_get(guest_config(g), "disk"));
    int r;

    if (disk == NULL || strcmp(disk, "shared") != 0) {
        return 0;
    }
    (void)guest_state_path(n, g->id, "disk/upper", path);
    r = disk_remove_tree(n, AT_FDCWD, path);
    (void)guest_state_path(n, g->id, "disk/work", path);
    if (r == 0) {
        r = disk_remove_tree(n, AT_FDCWD, path);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot discard the changes of guest '%s'",
                       guest_text(g, "name"));
    }
    return disk_create(n, g, e);
}

static int open_state_dir(struct node *n, const char *id, const char *name, struct err *e)
{
    char path[PATH_MAX];
    int fd;

    (void)guest_state_path(n, id, name, path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, -errno, "cannot open '%s'", path);
}

static const struct copy_how exact = {.keep_owner = true, .raw = true};

/* The guest stands still between these two, if it runs. */
static int hold_still(struct node *n, const struct guest *g, bool still, struct err *e)
{
    struct guest_status st;
    struct task *t = NULL;
    int r = guest_status(n, g->id, &st, e);

    if (r < 0 || st.state != GUEST_RUNNING) {
        return r;
    }
    r = guest_task(n, g, &t, e);
    if (r == 0) {
        r = still ? task_pause(t, e) : task_resume(t, e);
    }
    task_close(t);
    if (r == -EOPNOTSUPP) { /* a user's guest without a control group of its own */
        err_clear(e);
        if (still) {
            log_warn(n->log,
                     "guest '%s' goes on while its disk is read: it cannot be paused",
                     guest_text(g, "name"));
        }
        r = 0;
    }
    return r;
}

int disk_clone(struct node *n, const struct guest *from, const char *snapshot,
               const struct guest *to, struct err *e)
{
    SCOPED(scope_close) int source = -1;
    SCOPED(scope_close) int target = open_state_dir(n, to->id, "disk", e);
    struct err ignored = {0};
    char name[WORD_NAME_BYTES + 16];
    int r;

    if (target < 0) {
        return target;
    }
    if (snapshot != NULL && !word_is_name(snapshot)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a snapshot", snapshot);
    }
    (void)str_print(name, sizeof name, "%s%s", snapshot != NULL ? "snapshots/" : "disk",
                    snapshot != NULL ? snapshot : "");
    source = open_state_dir(n, from->id, name, e);
    r = source < 0 ? source : snapshot == NULL ? hold_still(n, from, true, e) : 0;
    if (r == 0) {
        struct copy_how how = exact;

        how.shift_from = (uid_t)id_base(from);
        how.shift_to = (uid_t)id_base(to);
        r = disk_copy_tree(n, &(struct disk_ends){source, "upper", target, "upper"}, &how,
                           e);
        if (snapshot == NULL) {
            (void)hold_still(n, from, false, &ignored);
        }
    }
    return r;
}

static int write_meta(int dir, const char *name, int64_t now)
{
    char text[256];
    char time[UNITS_TEXT_BYTES];
    char file[WORD_NAME_BYTES + 8];

    units_print_time(now, time);
    (void)str_print(text, sizeof text, "{\"name\":\"%s\",\"created_at\":\"%s\"}\n", name,
                    time);
    (void)str_print(file, sizeof file, "%s/meta", name);
    return file_replace(dir, file, text, strlen(text), 0600, false);
}

static int copy_to_snapshot(struct node *n, const struct guest *g, int dir,
                            const char *name, struct err *e)
{
    SCOPED(scope_close) int disk = open_state_dir(n, g->id, "disk", e);
    SCOPED(scope_close) int to = -1;
    char temp[WORD_NAME_BYTES + 8];
    struct timespec now;
    int r;

    if (disk < 0) {
        return disk;
    }
    (void)str_print(temp, sizeof temp, ".%s.tmp", name);
    (void)disk_remove_tree(n, dir, temp);
    if (mkdirat(dir, temp, 0700) < 0) {
        return err_sys(e, -errno, "cannot make snapshot '%s'", name);
    }
    to = openat(dir, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = hold_still(n, g, true, e);
    if (r == 0) {
        struct err ignored = {0};

        r = disk_copy_tree(n, &(struct disk_ends){disk, "upper", to, "upper"}, &exact, e);
        (void)hold_still(n, g, false, &ignored);
    }
    (void)fault_step("snapshot.copied");
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (r == 0) {
        r = renameat(dir, temp, dir, name) < 0
                ? err_sys(e, -errno, "cannot name snapshot '%s'", name)
                : 0;
    }
    if (r == 0) {
        r = write_meta(dir, name, now.tv_sec * 1000000000LL + now.tv_nsec);
    }
    if (r < 0) {
        (void)disk_remove_tree(n, dir, temp);
    }
    return r;
}

static json_t *snapshot_json(const struct guest *g, int dir, const char *name)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *meta = NULL;
    char file[WORD_NAME_BYTES + 8];
    size_t len = 0;

    (void)str_print(file, sizeof file, "%s/meta", name);
    if (file_read(dir, file, 4096, &text, &len) == 0) {
        (void)json_parse(text, len, "meta", &meta, NULL);
    }
    (void)str_print(file, sizeof file, "%s/upper", name);
    return json_pack("{s:s, s:s, s:O*, s:I}", "guest", guest_text(g, "name"), "name",
                     name, "created_at", json_object_get(meta, "created_at"),
                     "size_bytes", (json_int_t)bytes_below(dir, file, 0));
}

/* The guest and its snapshots directory, for the functions below. */
static int begin(struct node *n, const char *guest, const char *name, struct guest *g,
                 int *ret_dir, struct err *e)
{
    int r;

    if (name != NULL && !word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a snapshot", name);
    }
    r = guest_find(n, guest, g, e);
    if (r < 0) {
        return r;
    }
    *ret_dir = open_state_dir(n, g->id, "snapshots", e);
    if (*ret_dir < 0) {
        guest_fini(g);
        return *ret_dir;
    }
    return 0;
}

static int no_such(const char *name, const struct guest *g, struct err *e)
{
    return err_set(e, -ENOENT, "guest '%s' has no snapshot '%s'", guest_text(g, "name"),
                   name);
}

int node_snapshot_create(struct node *n, const char *guest, const char *name,
                         json_t **ret, struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    struct guest g = {0};
    char made[WORD_NAME_BYTES];
    int r;

    if (name == NULL) {
        (void)str_print(made, sizeof made, "s%lld", (long long)time(NULL));
        name = made;
    }
    r = begin(n, guest, name, &g, &dir, e);
    if (r < 0) {
        return r;
    }
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        r = err_set(e, -EEXIST, "guest '%s' already has a snapshot '%s'", guest, name);
    } else {
        r = copy_to_snapshot(n, &g, dir, name, e);
    }
    if (r == 0) {
        *ret = snapshot_json(&g, dir, name);
        event_write(n, "snapshot", &g, name);
    }
    guest_fini(&g);
    return r;
}

int node_snapshot_list(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_dir) DIR *d = NULL;
    struct guest g = {0};
    const struct dirent *entry;
    int r = begin(n, guest, NULL, &g, &dir, e);

    if (r < 0) {
        return r;
    }
    d = fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 3));
    if (d == NULL) {
        guest_fini(&g);
        return err_sys(e, -errno, "cannot list the snapshots of guest '%s'", guest);
    }
    *ret = json_array();
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)json_array_append_new(*ret, snapshot_json(&g, dir, entry->d_name));
        }
    }
    guest_fini(&g);
    return 0;
}

static int put_back(struct node *n, const struct guest *g, int dir, const char *name,
                    struct err *e)
{
    SCOPED(scope_close) int disk = open_state_dir(n, g->id, "disk", e);
    SCOPED(scope_close) int from = -1;
    int r;

    if (disk < 0) {
        return disk;
    }
    from = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)disk_remove_tree(n, disk, "upper.new");
    r = disk_copy_tree(n, &(struct disk_ends){from, "upper", disk, "upper.new"}, &exact,
                       e);
    if (r < 0) {
        (void)disk_remove_tree(n, disk, "upper.new");
        return r;
    }
    (void)fault_step("snapshot.restore.copied");
    if (renameat2(disk, "upper.new", disk, "upper", RENAME_EXCHANGE) < 0) {
        return err_sys(e, -errno, "cannot put snapshot '%s' back", name);
    }
    (void)disk_remove_tree(n, disk, "upper.new");
    (void)disk_remove_tree(n, disk, "work");
    return disk_create(n, g, e);
}

int node_snapshot_restore(struct node *n, const char *guest, const char *name,
                          struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_close) int lock = -1;
    struct guest g = {0};
    int r = begin(n, guest, name, &g, &dir, e);

    if (r < 0) {
        return r;
    }
    r = faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ? no_such(name, &g, e) : 0;
    if (r == 0) {
        r = guest_lock_known(n, &g, 0, &lock, e);
    }
    if (r == 0) {
        r = put_back(n, &g, dir, name, e);
    }
    if (r == 0) {
        event_write(n, "snapshot-restored", &g, name);
    }
    guest_fini(&g);
    return r;
}

int node_snapshot_delete(struct node *n, const char *guest, const char *name,
                         struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    struct guest g = {0};
    char temp[WORD_NAME_BYTES + 8];
    int r = begin(n, guest, name, &g, &dir, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(temp, sizeof temp, ".%s.gone", name);
    (void)disk_remove_tree(n, dir, temp);
    if (renameat(dir, name, dir, temp) < 0) {
        r = errno == ENOENT ? no_such(name, &g, e)
                            : err_sys(e, -errno, "cannot delete snapshot '%s'", name);
    } else {
        r = disk_remove_tree(n, dir, temp);
        r = r < 0 ? err_sys(e, r, "cannot delete snapshot '%s'", name) : 0;
    }
    guest_fini(&g);
    return r;
}

static int open_stopped(struct node *n, const struct guest *g, struct err *e)
{
    const char *lower[512];
    struct container_overlay o = {.lower = lower};
    char upper[PATH_MAX];
    char work[PATH_MAX];
    size_t i;
    json_t *item;

    (void)guest_state_path(n, g->id, "disk/upper", upper);
    (void)guest_state_path(n, g->id, "disk/work", work);
    json_array_foreach(json_object_get(g->record, "layers"), i, item)
    {
        if (i < sizeof lower / sizeof lower[0]) {
            lower[i] = json_string_value(item);
            o.n = i + 1;
        }
    }
    o.upper = upper;
    o.work = work;
    return container_overlay_open(&o, id_base(g), e);
}

int disk_open_root(struct node *n, const struct guest *g, uid_t *ret_shift, int *ret_fd,
                   struct err *e)
{
    char path[64];
    struct guest_status st;
    int fd;
    int r = guest_status(n, g->id, &st, e);

    if (r < 0) {
        return r;
    }
    *ret_shift = (uid_t)id_base(g);
    if (st.pid > 0 && st.state != GUEST_STOPPED) {
        (void)str_print(path, sizeof path, "/proc/%d/root", (int)st.pid);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            fd = err_sys(e, -errno, "cannot open the disk of guest '%s'",
                         guest_text(g, "name"));
        }
    } else {
        fd = open_stopped(n, g, e);
    }
    if (fd < 0) {
        return fd;
    }
    *ret_fd = fd;
    return 0;
}
