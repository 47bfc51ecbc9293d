/* scan.c - what a tree is now: an entry for each file, and which of them changed.
 *
 * A file is the same as in the backup before while it has the inode, the size and the time of its
 * last change (ctime) that it had then: nobody sets that time.  A file that changed right
 * before the walk could change once more without another time, so it gets no stamp and is
 * taken again.  Two lists in the same order are read beside each other, so that trees of any
 * size need no room in memory but for files with several names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "node/volume/archive/private.h"

#define SETTLED_NS 100000000 /* more than a tick of any kernel */
#define NS_PER_S   1000000000LL

/* A file with several names, and the first one. */
struct linked {
    dev_t dev;
    ino_t ino;
    char *path; /* owned: quoted */
};

struct walk {
    struct archive_scan *s;
    struct archive_writer out;
    struct archive_reader before; /* file NULL: none */
    json_t *next;    /* owned: its entry that is not passed yet; NULL: the end */
    struct str path; /* of the entry at hand */
    void *links;     /* of struct linked: tsearch(3) */
    int64_t began_ns;
    struct err *e;
};

void archive_stage_name(uint64_t number, char out[32])
{
    (void)str_print(out, 32, "%llu", (unsigned long long)number);
}

static int64_t time_ns(const struct timespec *t)
{
    return t->tv_sec * NS_PER_S + t->tv_nsec;
}

static int fail(struct walk *w, int r, const char *what)
{
    return err_sys(w->e, r, "cannot %s '%s'", what, str_text(&w->path));
}

/* ---- files with several names ---- */

static int by_inode(const void *a, const void *b)
{
    const struct linked *x = a;
    const struct linked *y = b;

    if (x->dev != y->dev) {
        return x->dev < y->dev ? -1 : 1;
    }
    return x->ino == y->ino ? 0 : x->ino < y->ino ? -1 : 1;
}

static void free_linked(void *arg)
{
    struct linked *x = arg;

    free(x->path);
    free(x);
}

/* The first name of a file that was met before; NULL: this is it. */
static int find_first(struct walk *w, const struct stat *st, const char *quoted,
                      const char **ret)
{
    const struct linked key = {.dev = st->st_dev, .ino = st->st_ino};
    struct linked **at = tfind(&key, &w->links, by_inode);
    struct linked *new;

    *ret = at != NULL ? (*at)->path : NULL;
    if (at != NULL) {
        return 0;
    }
    new = fault_malloc(sizeof *new);
    if (new != NULL) {
        *new = key;
        new->path = fault_strdup(quoted);
        if (new->path != NULL && tsearch(new, &w->links, by_inode) != NULL) {
            return 0;
        }
        free_linked(new);
    }
    return -ENOMEM;
}

/* ---- the backup before ---- */

/* Its entry of that path, borrowed; NULL: it has none. */
static int look_before(struct walk *w, const json_t **ret)
{
    char path[ARCHIVE_PATH_MOST];
    int order = -1;

    *ret = NULL;
    while (w->next != NULL) {
        int r = archive_unquote(archive_text(w->next, "path"), path, sizeof path);

        if (r < 0) {
            return err_set(w->e, r, "the list of the backup before is damaged");
        }
        order = archive_compare(path, str_text(&w->path));
        if (order >= 0) {
            break;
        }
        json_decref(w->next);
        r = archive_read(&w->before, &w->next, w->e);
        if (r < 0) {
            return r;
        }
    }
    *ret = w->next != NULL && order == 0 ? w->next : NULL;
    return 0;
}

/* ---- one entry ---- */

static const char *type_of(mode_t mode)
{
    return S_ISREG(mode)    ? "file"
           : S_ISDIR(mode)  ? "directory"
           : S_ISLNK(mode)  ? "link"
           : S_ISFIFO(mode) ? "fifo"
           : S_ISCHR(mode)  ? "char"
           : S_ISBLK(mode)  ? "block"
                            : NULL; /* a socket belongs to a process, not to the tree */
}

static json_t *describe(const struct stat *st, const char *quoted)
{
    return json_pack("{s:s, s:s, s:i, s:I, s:I, s:I}", "path", quoted, "type",
                     type_of(st->st_mode), "mode", (int)(st->st_mode & 07777), "uid",
                     (json_int_t)st->st_uid, "gid", (json_int_t)st->st_gid, "mtime_ns",
                     (json_int_t)time_ns(&st->st_mtim));
}

static json_t *stamp_of(const struct stat *st)
{
    return json_pack("[I, I, I]", (json_int_t)st->st_dev, (json_int_t)st->st_ino,
                     (json_int_t)time_ns(&st->st_ctim));
}

/* What changed stands still as another file with the same bytes. */
static int stage(struct walk *w, int dir, const char *name, const struct stat *st,
                 json_t *entry)
{
    SCOPED(scope_close)
    int in = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    SCOPED(scope_close) int out = -1;
    char number[32];

    if (w->s->stage < 0 || w->s->not_shared || st->st_size == 0) {
        return 0;
    }
    archive_stage_name(w->s->files, number);
    if (in >= 0) {
        out = openat(w->s->stage, number, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (in < 0 || out < 0) {
        return fail(w, -errno, "keep");
    }
    if (ioctl(out, FICLONE, in) < 0) {
        w->s->not_shared = true; /* from here on files are read as they are then */
        (void)unlinkat(w->s->stage, number, 0);
        return 0;
    }
    return json_object_set_new(entry, "stage", json_integer((json_int_t)w->s->files)) < 0
               ? -ENOMEM
               : 0;
}

static int describe_file(struct walk *w, int dir, const char *name, const struct stat *st,
                         json_t *entry)
{
    SCOPED(scope_json) json_t *stamp = stamp_of(st);
    const json_t *before;
    int r = look_before(w, &before);

    (void)json_object_set_new(entry, "size", json_integer((json_int_t)st->st_size));
    if (time_ns(&st->st_ctim) + SETTLED_NS < w->began_ns) {
        (void)json_object_set(entry, "stamp", stamp);
    }
    if (r < 0) {
        return r;
    }
    w->s->bytes += (uint64_t)st->st_size;
    if (before != NULL && strcmp(archive_text(before, "type"), "file") == 0 &&
        archive_number(before, "size") == (json_int_t)st->st_size &&
        json_equal(json_object_get(before, "stamp"), stamp) &&
        json_object_get(before, "data") != NULL) {
        return json_object_set(entry, "data", json_object_get(before, "data"));
    }
    w->s->files++;
    return stage(w, dir, name, st, entry);
}

static int describe_link(int fd, json_t *entry)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(fd, "", target, sizeof target - 1);
    SCOPED(scope_free) char *quoted = NULL;

    if (n < 0) {
        return -errno;
    }
    target[n] = '\0';
    quoted = archive_quote(target);
    return quoted == NULL ? -ENOMEM
                          : json_object_set_new(entry, "target", json_string(quoted));
}

static int describe_rest(struct walk *w, int fd, const struct stat *st, json_t *entry)
{
    json_t *xattrs = NULL;
    int r = archive_attributes(fd, &xattrs);

    if (r == 0 && xattrs != NULL) {
        r = json_object_set_new(entry, "xattrs", xattrs);
    }
    if (r == 0 && S_ISLNK(st->st_mode)) {
        r = describe_link(fd, entry);
    } else if (r == 0 && (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))) {
        r = json_object_set_new(entry, "device", json_integer((json_int_t)st->st_rdev));
    }
    return r < 0 ? fail(w, r, "read") : 0;
}

/* One name of `dir`; 1: it is a directory. */
static int write_entry(struct walk *w, int dir, const char *name)
{
    SCOPED(scope_close) int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    SCOPED(scope_free) char *quoted = archive_quote(str_text(&w->path));
    SCOPED(scope_json) json_t *entry = NULL;
    const char *first = NULL;
    struct stat st;
    int r = 0;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return errno == ENOENT ? 0 : fail(w, -errno, "read"); /* gone meanwhile */
    }
    if (type_of(st.st_mode) == NULL) {
        return 0;
    }
    if (st.st_nlink > 1 && !S_ISDIR(st.st_mode)) {
        r = quoted == NULL ? -ENOMEM : find_first(w, &st, quoted, &first);
    }
    if (r == 0 && first != NULL) {
        entry = json_pack("{s:s, s:s, s:s}", "path", quoted, "type", "same", "of", first);
        return entry == NULL ? -ENOMEM : archive_write(&w->out, entry, w->e);
    }
    entry = r == 0 ? describe(&st, quoted) : NULL;
    if (entry == NULL) {
        return err_set(w->e, -ENOMEM, "no memory");
    }
    r = S_ISREG(st.st_mode) ? describe_file(w, dir, name, &st, entry) : 0;
    r = r == 0 ? describe_rest(w, fd, &st, entry) : r;
    r = r == 0 ? archive_write(&w->out, entry, w->e) : r;
    return r < 0 ? r : S_ISDIR(st.st_mode) ? 1 : 0;
}

/* ---- the walk ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_inside(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static int walk(struct walk *w, int dir, int depth);

static int visit(struct walk *w, int dir, const char *name, int depth)
{
    size_t was = w->path.len;
    int r;

    str_addf(&w->path, "%s%s", was > 0 ? "/" : "", name);
    r = str_failed(&w->path) ? err_set(w->e, -ENOMEM, "no memory")
                             : write_entry(w, dir, name);
    if (r == 1) {
        SCOPED(scope_close)
        int own = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        r = own >= 0          ? walk(w, own, depth + 1)
            : errno == ENOENT ? 0
                              : fail(w, -errno, "read");
    }
    if (r >= 0) {
        w->path.len = was;
        w->path.data[was] = '\0';
    }
    return r;
}

static int walk(struct walk *w, int dir, int depth)
{
    struct dirent **list = NULL;
    int n =
        depth > ARCHIVE_DEPTH_MOST ? -1 : scandirat(dir, ".", &list, is_inside, by_name);
    int r = n >= 0 ? 0 : fail(w, depth > ARCHIVE_DEPTH_MOST ? -ELOOP : -errno, "read");

    for (int i = 0; i < n; i++) {
        r = r == 0 ? visit(w, dir, list[i]->d_name, depth) : r;
        free(list[i]);
    }
    free(list);
    return r;
}

static int open_before(struct walk *w)
{
    int fd = w->s->before >= 0 ? fcntl(w->s->before, F_DUPFD_CLOEXEC, 3) : -1;
    int r;

    if (w->s->before < 0) {
        return 0;
    }
    r = fd < 0 ? -errno : archive_reader_open(&w->before, fd, w->e);
    return r == 0 ? archive_read(&w->before, &w->next, w->e) : r;
}

int archive_scan(struct archive_scan *s, struct err *e)
{
    struct walk w = {.s = s, .e = e};
    char sum[SHA256_HEX_BYTES];
    struct timespec now;
    int r;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    w.began_ns = time_ns(&now);
    r = archive_writer_open(&w.out, fcntl(s->out, F_DUPFD_CLOEXEC, 3), e);
    r = r == 0 ? open_before(&w) : r;
    str_add(&w.path, ".");
    r = r == 0 ? write_entry(&w, s->top, ".") : r;
    if (!str_failed(&w.path)) {
        w.path.len = 0;
        w.path.data[0] = '\0';
    }
    r = r >= 0 ? walk(&w, s->top, 0) : r;
    r = r == 0 ? archive_writer_end(&w.out, sum, e) : r;
    archive_writer_fini(&w.out);
    archive_reader_fini(&w.before);
    json_decref(w.next);
    tdestroy(w.links, free_linked);
    str_fini(&w.path);
    return r < 0 && (e == NULL || e->code == 0) ? err_sys(e, r, "cannot read its files")
                                                : r;
}
