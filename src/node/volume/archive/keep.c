/* keep.c - the verb `backup` of volumes that are directories.
 *
 * Of a volume that guests use: where its file system shares bytes between files (reflink), they
 * stand still while the tree is walked, and what changed is kept as other files of the same
 * bytes; then they go on, and those are copied.  That is the tree of one moment.  Elsewhere
 * guests go on, and each file is as it was at one moment of its own.  The row says which. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/word.h"
#include "node/files.h"
#include "node/volume/archive.h"
#include "node/volume/archive/private.h"
#include "node/volume/directory.h"
#include "node/volume/private.h"

#define SCRATCH                                                                          \
    ".scan" /* in the directory of the backups; without a name once it is open */
#define PROBE_BYTES 4096

/* What a child works with, too (`node_as_root`). */
struct work {
    struct archive_scan scan;
    struct archive_pack pack;
};

struct keeping {
    struct node *n;
    struct volume *v;
    const json_t *list;
    const json_t *last; /* of the list, if this one may stand on it; NULL */
    struct work *work;  /* shared */
    int dir;            /* of the backups */
    int places; /* owned: where the volume lies, and what is kept of it for a while */
    char stage[WORD_NAME_BYTES];
    int stage_lock; /* owned; -1 */
    char name[5];
    const char *how; /* "at rest", "snapshot", "by file" */
};

static int scan_job(void *arg, struct err *e)
{
    return archive_scan(&((struct work *)arg)->scan, e);
}

static int pack_job(void *arg, struct err *e)
{
    return archive_pack(&((struct work *)arg)->pack, e);
}

/* ---- the backup before ---- */

/* The bytes that the list names are there: a backup that lost some is none to stand on. */
static bool has_data(const struct keeping *k)
{
    size_t i;
    json_t *one;

    json_array_foreach(json_object_get(k->list, "backups"), i, one)
    {
        SCOPED(scope_close)
        int fd = archive_open(k->dir, archive_text(one, "name"), "data", O_RDONLY, NULL);
        struct stat s;

        if (fd < 0 || fstat(fd, &s) < 0 ||
            s.st_size < (off_t)archive_number(one, "data_bytes")) {
            return false;
        }
    }
    return true;
}

static int open_before(struct keeping *k)
{
    struct archive_reader r = {.file = NULL};
    SCOPED(scope_close) int fd = -1;
    int other;

    if (k->last == NULL ||
        strcmp(archive_text(k->last, "volume_created_at"),
               volume_text(k->v->record, "created_at")) != 0 ||
        strcmp(volume_text(k->list, "volume"), k->v->name) != 0 || !has_data(k)) {
        return -1;
    }
    fd = archive_open(k->dir, archive_text(k->last, "name"), "list", O_RDONLY, NULL);
    other = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (other < 0 || archive_reader_open(&r, other, NULL) < 0) {
        return -1;
    }
    if (archive_check(&r, archive_text(k->last, "sha256"), NULL) < 0) {
        archive_reader_fini(&r);
        return -1;
    }
    archive_reader_fini(&r);
    return scope_take_fd(&fd);
}

/* ---- guests that use it ---- */

struct holds {
    struct guest *guests; /* owned */
    struct hold *holds;   /* owned */
    size_t count;
    size_t running;
};

static void let_go(struct node *n, struct holds *h)
{
    for (size_t i = h->count; i > 0; i--) {
        hold_end(n, &h->guests[i - 1], &h->holds[i - 1]);
        guest_fini(&h->guests[i - 1]);
    }
    free(h->guests);
    free(h->holds);
    *h = (struct holds){.count = 0};
}

/* `still`: they stand still until `let_go`; else they are counted. */
static int hold_users(struct node *n, const char *name, bool still, struct holds *h,
                      struct err *e)
{
    SCOPED(scope_json) json_t *users = volume_users(n, name);
    size_t most = json_array_size(users);
    int r = 0;

    *h = (struct holds){.guests = fault_calloc(most + 1, sizeof *h->guests),
                        .holds = fault_calloc(most + 1, sizeof *h->holds)};
    if (h->guests == NULL || h->holds == NULL) {
        r = err_set(e, -ENOMEM, "no memory");
    }
    for (size_t i = 0; r == 0 && i < most; i++) {
        struct guest *g = &h->guests[h->count];
        struct guest_status st = {.state = GUEST_STOPPED};
        const char *who = json_string_value(json_array_get(users, i));

        if (guest_find(n, who, g, NULL) < 0) {
            continue; /* gone meanwhile */
        }
        h->holds[h->count] = (struct hold){.lock = -1};
        r = guest_status(n, g->id, &st, e);
        h->running += r == 0 && st.state == GUEST_RUNNING;
        r = r == 0 && still ? hold_begin(n, g, &h->holds[h->count], e) : r;
        h->count++;
    }
    if (r < 0) {
        let_go(n, h);
    }
    return r;
}

/* ---- a place for what is kept for a while ---- */

/* Whether files there share bytes: tried, because no file system says so. */
static bool shares(int dir)
{
    SCOPED(scope_close) int a = openat(dir, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    SCOPED(scope_close) int b = openat(dir, "b", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    static const char bytes[PROBE_BYTES] = {1};
    bool yes = a >= 0 && b >= 0 && write(a, bytes, sizeof bytes) == sizeof bytes &&
               ioctl(b, FICLONE, a) == 0;

    (void)unlinkat(dir, "a", 0);
    (void)unlinkat(dir, "b", 0);
    return yes;
}

static void drop_stage(struct keeping *k)
{
    if (k->stage[0] != '\0') {
        (void)disk_remove_tree(k->n, k->places, k->stage);
        volume_forget_lock(k->n, k->stage);
    }
    scope_close(&k->stage_lock);
    k->stage_lock = -1;
    scope_close(&k->work->scan.stage);
    k->work->scan.stage = -1;
    k->stage[0] = '\0';
}

/* One that no record names, and whose lock says that somebody is at it: else it is swept. */
static int make_stage(struct keeping *k, struct err *e)
{
    int r = directory_scratch(k->n, k->places, k->stage, &k->stage_lock, e);

    if (r < 0) {
        k->stage[0] = '\0';
        return r;
    }
    k->work->scan.stage =
        openat(k->places, k->stage, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (k->work->scan.stage < 0 || !shares(k->work->scan.stage)) {
        drop_stage(k);
    }
    return 0;
}

/* ---- the verb ---- */

static int scan(struct keeping *k, struct err *e)
{
    struct holds h = {.count = 0};
    bool used;
    int r = hold_users(k->n, k->v->name, false, &h, e);

    used = h.running > 0;
    let_go(k->n, &h);
    r = r == 0 && used ? make_stage(k, e) : r;
    k->how = !used ? "at rest" : k->stage[0] != '\0' ? "snapshot" : "by file";
    if (r == 0 && k->stage[0] != '\0') {
        r = hold_users(k->n, k->v->name, true, &h, e);
        (void)fault_step("archive.held");
    }
    r = r == 0 ? node_as_root(k->n, scan_job, k->work, e) : r;
    let_go(k->n, &h);
    (void)fault_step("archive.scanned");
    if (k->work->scan.not_shared) {
        k->how = "by file";
    }
    return r;
}

static int open_files(struct keeping *k, struct err *e)
{
    struct archive_scan *s = &k->work->scan;
    char path[PATH_MAX];
    int r = directory_path(k->n, k->v->record, path, e);

    k->places = r == 0 ? directory_open_places(k->n, k->v->record, e) : -1;
    if (k->places < 0) {
        return r < 0 ? r : k->places;
    }
    s->top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->top < 0) {
        return err_sys(e, -errno, "cannot open its files");
    }
    s->out = openat(k->dir, SCRATCH, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    if (s->out < 0 || unlinkat(k->dir, SCRATCH, 0) < 0) {
        return err_sys(e, -errno, "cannot write there");
    }
    s->before = open_before(k);
    return 0;
}

static int pack(struct keeping *k, struct err *e)
{
    const int flags = O_RDWR | O_CREAT | O_TRUNC;
    struct archive_pack *p = &k->work->pack;

    p->top = k->work->scan.top;
    p->stage = k->work->scan.stage;
    p->lines = k->work->scan.out;
    p->name = k->name;
    p->list = archive_open(k->dir, k->name, "list", flags, e);
    p->data = p->list < 0 ? -1 : archive_open(k->dir, k->name, "data", flags, e);
    if (p->list < 0 || p->data < 0) {
        return e != NULL && e->code != 0 ? e->code : -EIO;
    }
    return node_as_root(k->n, pack_job, k->work, e);
}

static int add_row(struct keeping *k, json_t *list, json_t **ret)
{
    const struct archive_pack *p = &k->work->pack;
    char file[16];
    char now[32];
    json_t *row;

    volume_now(now);
    (void)str_print(file, sizeof file, "%s.list", k->name);
    row = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:O*}", "name",
        k->name, "kind", k->work->scan.before >= 0 ? "changes" : "whole", "of",
        "directory", "file", file, "created_at", now, "size_bytes",
        (json_int_t)k->work->scan.bytes, "data_bytes", (json_int_t)p->bytes, "entries",
        (json_int_t)p->entries, "changed_files", (json_int_t)p->changed, "state", k->how,
        "sha256", p->sum, "volume_created_at", volume_text(k->v->record, "created_at"),
        "quota_bytes", json_object_get(k->v->record, "quota_bytes"));
    (void)json_object_set_new(list, "volume", json_string(k->v->name));
    if (row == NULL ||
        json_array_append_new(json_object_get(list, "backups"), json_incref(row)) < 0) {
        json_decref(row);
        return -ENOMEM;
    }
    *ret = row;
    return 0;
}

static int make(struct keeping *k, const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *list = NULL;
    SCOPED(scope_json) json_t *row = NULL;
    unsigned number = 0;
    int r = backup_list_load(k->dir, path, &list, e);

    if (r < 0) {
        return r;
    }
    k->list = list;
    k->last = backup_list_last(list);
    if (k->last != NULL && !archive_is_one(k->last)) {
        return err_set(e, -EEXIST, "'%s' has backups of a disk", path);
    }
    if (k->last != NULL) {
        number = (unsigned)strtoul(archive_text(k->last, "name"), NULL, 10);
    }
    (void)str_print(k->name, sizeof k->name, "%04u", (number + 1) % 10000);
    r = open_files(k, e);
    r = r == 0 ? scan(k, e) : r;
    r = r == 0 ? pack(k, e) : r;
    (void)fault_step("archive.packed");
    if (r == 0) {
        r = add_row(k, list, &row);
        r = r == 0 ? backup_list_save(k->dir, list) : r;
        r = r < 0 ? err_sys(e, r, "cannot write the list in '%s'", path) : 0;
    }
    (void)fault_step("archive.listed");
    if (r == 0) {
        *ret = json_incref(row);
    }
    return r;
}

static void keeping_fini(struct keeping *k)
{
    struct work *w = k->work;

    drop_stage(k);
    scope_close(&k->places);
    scope_close(&k->dir);
    scope_close(&w->scan.top);
    scope_close(&w->scan.out);
    scope_close(&w->scan.before);
    scope_close(&w->pack.list);
    scope_close(&w->pack.data);
    (void)munmap(w, sizeof *w);
}

int archive_backup(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    const char *path = volume_text(order, "directory");
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    struct keeping k = {.n = n, .v = &v, .dir = -1, .places = -1, .stage_lock = -1};
    int r;

    if (json_object_get(order, "key_file") != NULL) {
        return err_set(e, -EINVAL,
                       "cannot back up volume '%s': it is a directory, not encrypted: "
                       "without --key-file",
                       name);
    }
    k.work = mmap(NULL, sizeof *k.work, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (k.work == MAP_FAILED) {
        return err_set(e, -ENOMEM, "no memory");
    }
    k.work->scan = (struct archive_scan){.top = -1, .before = -1, .stage = -1, .out = -1};
    k.work->pack = (struct archive_pack){.list = -1, .data = -1};
    r = volume_lock(n, name, &lock, e);
    r = r == 0 ? volume_load(n, name, &v, e) : r;
    if (r == 0 && mkdir(path, 0700) < 0 && errno != EEXIST) {
        r = err_sys(e, -errno, "cannot make '%s'", path);
    }
    if (r == 0) {
        k.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = k.dir < 0 ? err_sys(e, -errno, "cannot open '%s'", path)
                      : make(&k, path, ret, e);
    }
    keeping_fini(&k);
    volume_fini(&v);
    if (lock >= 0) {
        volume_forget_lock(n, name);
    }
    return r < 0 ? err_wrap(e, "cannot back up volume '%s'", name) : 0;
}
