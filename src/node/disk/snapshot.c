/* snapshot.c - what a guest's disk was at some time: create, list, restore, delete.
 *
 * A snapshot is a copy of `upper` in snapshots/NAME, made under a temporary name
 * and renamed, with files shared where the file system can clone them.  While
 * it is made a running guest stands still.  What a machine's has is decided in
 * node/verb/life/snapshot.c.
 *
 * Snapshots are a tree: "meta" names the one that the guest had come from, .head the one
 * that it comes from now. */
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
#include "host/file.h"
#include "node/private.h"

#define HEAD         ".head"
#define LOCK_WAIT_MS 10000

static const struct copy_how exact = {.keep_owner = true, .raw = true};

/* "": none. */
static void read_head(int dir, char out[WORD_NAME_BYTES])
{
    SCOPED(scope_free) char *text = NULL;

    out[0] = '\0';
    if (file_read(dir, HEAD, WORD_NAME_BYTES, &text, NULL) == 0 && word_is_name(text) &&
        faccessat(dir, text, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        (void)str_print(out, WORD_NAME_BYTES, "%s", text);
    }
}

static int write_head(int dir, const char *name, struct err *e)
{
    int r = file_replace(dir, HEAD, name, strlen(name), 0600, false);

    return r < 0 ? err_sys(e, r, "cannot note which snapshot the guest comes from") : 0;
}

static int read_meta(int dir, const char *name, json_t **ret)
{
    SCOPED(scope_free) char *text = NULL;
    char file[WORD_NAME_BYTES + 8];
    size_t len = 0;
    int r;

    (void)str_print(file, sizeof file, "%s/meta", name);
    r = file_read(dir, file, 4096, &text, &len);
    return r == 0 ? json_parse(text, len, "meta", ret, NULL) : r;
}

static int write_meta(int dir, const char *name, const json_t *meta)
{
    SCOPED(scope_free) char *text = json_dumps(meta, JSON_COMPACT);
    char file[WORD_NAME_BYTES + 8];

    (void)str_print(file, sizeof file, "%s/meta", name);
    return text == NULL ? -ENOMEM
                        : file_replace(dir, file, text, strlen(text), 0600, false);
}

static int write_first_meta(int dir, const char *name, int64_t now)
{
    SCOPED(scope_json) json_t *meta = json_object();
    char time[UNITS_TEXT_BYTES];
    char head[WORD_NAME_BYTES];

    units_print_time(now, time);
    read_head(dir, head);
    (void)json_object_set_new(meta, "name", json_string(name));
    (void)json_object_set_new(meta, "created_at", json_string(time));
    if (head[0] != '\0') {
        (void)json_object_set_new(meta, "parent", json_string(head));
    }
    return write_meta(dir, name, meta);
}

static int copy_upper(struct node *n, const struct guest *g, int to, struct err *e)
{
    SCOPED(scope_close) int disk = disk_open_dir(n, g->id, "disk", e);
    struct hold hold = {.lock = -1};
    int r = disk < 0 ? disk : hold_begin(n, g, &hold, e);

    (void)fault_step("snapshot.held");
    if (r == 0) {
        r = disk_copy_tree(n, &(struct disk_ends){disk, "upper", to, "upper"}, &exact, e);
        hold_end(n, g, &hold);
    }
    return r;
}

static int copy_to_snapshot(struct node *n, const struct guest *g, int dir,
                            const char *name, struct err *e)
{
    SCOPED(scope_close) int to = -1;
    char temp[WORD_NAME_BYTES + 8];
    struct timespec now;
    int r;

    (void)str_print(temp, sizeof temp, ".%s.tmp", name);
    (void)disk_remove_tree(n, dir, temp);
    if (mkdirat(dir, temp, 0700) < 0) {
        return err_sys(e, -errno, "cannot make snapshot '%s'", name);
    }
    to = openat(dir, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = guest_is_machine(g) ? life_fill_snapshot(n, g, to, e) : copy_upper(n, g, to, e);
    (void)fault_step("snapshot.copied");
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (r == 0) {
        r = renameat(dir, temp, dir, name) < 0
                ? err_sys(e, -errno, "cannot name snapshot '%s'", name)
                : 0;
    }
    if (r == 0) {
        r = write_first_meta(dir, name, now.tv_sec * 1000000000LL + now.tv_nsec);
    }
    if (r == 0) {
        r = write_head(dir, name, e);
    }
    if (r < 0) {
        (void)disk_remove_tree(n, dir, temp);
    }
    return r;
}

static json_t *snapshot_json(const struct guest *g, int dir, const char *name)
{
    SCOPED(scope_json) json_t *meta = NULL;
    char file[WORD_NAME_BYTES + 8];

    (void)read_meta(dir, name, &meta);
    (void)str_print(file, sizeof file, "%s%s", name, guest_is_machine(g) ? "" : "/upper");
    return json_pack("{s:s, s:s, s:O*, s:O*, s:I}", "guest", guest_text(g, "name"),
                     "name", name, "created_at", json_object_get(meta, "created_at"),
                     "parent", json_object_get(meta, "parent"), "size_bytes",
                     (json_int_t)bytes_below(dir, file, 0));
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
    *ret_dir = disk_open_dir(n, g->id, "snapshots", e);
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

/* Those of one guest, put behind the others in `list`. */
static int add_snapshots(struct node *n, const struct guest *g, json_t *list,
                         struct err *e)
{
    SCOPED(scope_close) int dir = disk_open_dir(n, g->id, "snapshots", e);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    if (dir < 0) {
        return dir;
    }
    d = fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 3));
    if (d == NULL) {
        return err_sys(e, -errno, "cannot list the snapshots of guest '%s'",
                       guest_text(g, "name"));
    }
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)json_array_append_new(list, snapshot_json(g, dir, entry->d_name));
        }
    }
    return 0;
}

static int list_all(struct node *n, json_t *list, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    size_t i;
    json_t *record;
    int r = guest_all(n, &records, e);

    json_array_foreach(records, i, record)
    {
        struct guest g = {.record = json_incref(record)};

        (void)str_print(g.id, sizeof g.id, "%s", guest_text(&g, "id"));
        if (r == 0) {
            r = add_snapshots(n, &g, list, e);
        }
        if (r == -ENOENT) { /* made or deleted just now */
            err_clear(e);
            r = 0;
        }
        guest_fini(&g);
    }
    return r;
}

int node_snapshot_list(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *list = json_array();
    struct guest g = {0};
    int r = guest == NULL ? list_all(n, list, e) : guest_find(n, guest, &g, e);

    if (r == 0 && guest != NULL) {
        r = add_snapshots(n, &g, list, e);
    }
    guest_fini(&g);
    if (r == 0) {
        *ret = json_incref(list);
    }
    return r;
}

static int put_upper_back(struct node *n, const struct guest *g, int from,
                          const char *name, struct err *e)
{
    SCOPED(scope_close) int disk = disk_open_dir(n, g->id, "disk", e);
    int r;

    if (disk < 0) {
        return disk;
    }
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

static int put_back(struct node *n, struct guest *g, int dir, const char *name,
                    struct err *e)
{
    SCOPED(scope_close)
    int from = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = guest_is_machine(g) ? life_put_back(n, g, from, e)
                                : put_upper_back(n, g, from, name, e);

    return r == 0 ? write_head(dir, name, e) : r;
}

/* What came from the one that goes comes from its parent now. */
static void pass_on(struct node *n, const struct guest *g, int dir, const char *name,
                    json_t *parent)
{
    SCOPED(scope_json) json_t *list = json_array();
    char head[WORD_NAME_BYTES];
    size_t i;
    json_t *item;

    (void)add_snapshots(n, g, list, NULL);
    json_array_foreach(list, i, item)
    {
        const char *other = json_string_value(json_object_get(item, "name"));
        const char *from = json_string_value(json_object_get(item, "parent"));
        SCOPED(scope_json) json_t *meta = NULL;

        if (from == NULL || strcmp(from, name) != 0 || read_meta(dir, other, &meta) < 0) {
            continue;
        }
        if (parent != NULL) {
            (void)json_object_set(meta, "parent", parent);
        } else {
            (void)json_object_del(meta, "parent");
        }
        (void)write_meta(dir, other, meta);
    }
    read_head(dir, head);
    if (strcmp(head, name) == 0) {
        (void)write_head(dir, parent != NULL ? json_string_value(parent) : "", NULL);
    }
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
        r = guest_lock_known(n, &g, LOCK_WAIT_MS, &lock,
                             e); /* its keeper may be ending */
    }
    r = r == 0 ? life_make_generation(&g, e) : r;
    r = r == 0 && guest_is_machine(&g) ? guest_save(n, &g, e) : r;
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
    SCOPED(scope_json) json_t *meta = NULL;
    struct guest g = {0};
    char temp[WORD_NAME_BYTES + 8];
    int r = begin(n, guest, name, &g, &dir, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(temp, sizeof temp, ".%s.gone", name);
    (void)disk_remove_tree(n, dir, temp);
    if (read_meta(dir, name, &meta) == 0) {
        pass_on(n, &g, dir, name, json_object_get(meta, "parent"));
    }
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
