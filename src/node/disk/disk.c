/* disk.c - a guest's disk: the changes above its image, and copies of them.
 *
 * STATE/guests/ID/disk/{upper,work} is what overlayfs keeps above the image's
 * layers.  A *private* disk stays over restarts and has one owner at a time (the
 * guest's lock); a *shared* one is emptied before each start, so that every start
 * begins with the image's own content and the image never changes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "host/file.h"
#include "node/private.h"
#include "virt/container/container.h"

#define LOCK_WAIT_MS   10000
#define ENDING_STEPS   500 /* of 10 ms: until the keeper of a guest that ended says so */
#define ENDING_STEP_NS 10000000

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

int disk_open_dir(struct node *n, const char *id, const char *name, struct err *e)
{
    char path[PATH_MAX];
    int fd;

    (void)guest_state_path(n, id, name, path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, -errno, "cannot open '%s'", path);
}

int disk_clone(struct node *n, const struct guest *from, const char *snapshot,
               const struct guest *to, struct err *e)
{
    SCOPED(scope_close) int source = -1;
    SCOPED(scope_close) int target = disk_open_dir(n, to->id, "disk", e);
    struct hold hold = {.lock = -1};
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
    source = disk_open_dir(n, from->id, name, e);
    r = source < 0 ? source : snapshot == NULL ? hold_begin(n, from, &hold, e) : 0;
    if (r == 0) {
        const struct copy_how how = {.keep_owner = true,
                                     .raw = true,
                                     .shift_from = (uid_t)id_base(from),
                                     .shift_to = (uid_t)id_base(to)};

        r = disk_copy_tree(n, &(struct disk_ends){source, "upper", target, "upper"}, &how,
                           e);
        hold_end(n, from, &hold);
    }
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

static int open_running(const struct guest *g, const struct guest_status *st,
                        struct err *e)
{
    char path[64];
    int fd;

    if (st->pid <= 0) {
        return err_set(e, -EBUSY, "cannot open the disk of guest '%s': it is %s",
                       guest_text(g, "name"),
                       st->state == GUEST_RUNNING ? "starting"
                                                  : guest_state_name(st->state));
    }
    (void)str_print(path, sizeof path, "/proc/%d/root", (int)st->pid);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd
                   : err_sys(e, -errno, "cannot open the disk of guest '%s'",
                             guest_text(g, "name"));
}

/* -EAGAIN, without a text: it ended under our hands, and its keeper says so soon. */
static int open_root_now(struct node *n, struct guest *g, struct disk_root *ret,
                         struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;
    int fd;
    int r = guest_status(n, g->id, &st, e);

    if (r == 0 && !guest_is_alive(&st)) {
        r = guest_lock_known(n, g, LOCK_WAIT_MS, &lock, e);
    }
    if (r == -EBUSY && guest_status(n, g->id, &st, NULL) == 0 && guest_is_alive(&st)) {
        err_clear(e); /* it was started meanwhile */
        r = 0;
    }
    if (r < 0) {
        return r;
    }
    fd = lock < 0 ? open_running(g, &st, e) : open_stopped(n, g, e);
    if (lock < 0 && (fd == -ENOENT || fd == -ESRCH)) {
        err_clear(e);
        return -EAGAIN;
    }
    if (fd < 0) {
        return fd;
    }
    *ret = (struct disk_root){
        .fd = fd, .lock = scope_take_fd(&lock), .base = (uid_t)id_base(g)};
    return 0;
}

int disk_open_root(struct node *n, struct guest *g, struct disk_root *ret, struct err *e)
{
    int r = open_root_now(n, g, ret, e);

    for (int i = 0; r == -EAGAIN && i < ENDING_STEPS; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = ENDING_STEP_NS}, NULL);
        r = open_root_now(n, g, ret, e);
    }
    return r != -EAGAIN
               ? r
               : err_set(e, -EBUSY, "cannot open the disk of guest '%s': it is ending",
                         guest_text(g, "name"));
}

uint64_t bytes_below(int dir, const char *name, int depth)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    uint64_t sum = 0;

    while (d != NULL && depth < 256 && (entry = readdir(d)) != NULL) {
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        sum += (uint64_t)st.st_blocks * 512;
        if (S_ISDIR(st.st_mode)) {
            sum += bytes_below(dirfd(d), entry->d_name, depth + 1);
        }
    }
    return sum;
}
