/* kind_directory.c - members that are directories: a file for each piece of a layer.
 *
 *     MEMBER/.strata-pool      whose it is
 *     MEMBER/layers/ID         the bytes of a plain layer, or one's part of another
 *     MEMBER/layers/ID.map     of a span: what lies on which member
 *     MEMBER/files, images     of others */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/pool/kind.h"
#include "node/words.h"
#include "resource/storage/leaf/lock.h"

#define MAP_TAIL   ".map"
#define ID_DIGITS  16
#define NAME_BYTES (ID_DIGITS + 8)

static const char *const folders[] = {"layers", "files", "images"};

/* ---- the member ---- */

/* The path without links; of a directory that is still to be made, that of its parent. */
static int real_path(const char *path, char out[PATH_MAX], struct err *e)
{
    char parent[PATH_MAX];
    char *slash;

    if (realpath(path, out) != NULL) {
        return 0;
    }
    if (errno == ENOENT &&
        str_print(parent, sizeof parent, "%s%s", path[0] != '/' ? "./" : "", path) == 0) {
        slash = strrchr(parent, '/');
        *slash = '\0';
        if (slash[1] != '\0' && realpath(slash == parent ? "/" : parent, out) != NULL) {
            size_t len = strlen(out) - (slash == parent); /* the root ends with one */

            return str_print(out + len, PATH_MAX - len, "/%s", slash + 1);
        }
    }
    return err_sys(e, -errno, "cannot use '%s' as a member", path);
}

static int parse(const char *place, json_t *member, struct err *e)
{
    char real[PATH_MAX];
    struct stat s;
    int r = real_path(place, real, e);

    if (r < 0) {
        return r;
    }
    if (stat(real, &s) == 0 && !S_ISDIR(s.st_mode)) {
        return err_set(e, -ENOTDIR,
                       "cannot use '%s' as a member: it is no directory and no device",
                       real);
    }
    return json_object_set_new(member, "path", json_string(real));
}

static bool is_folder(const char *name)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (strcmp(name, folders[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The first name in the directory that is none of `lost+found`, our label and (`top`) our
 * folders, each of them empty; false: there is none. */
static bool holds_something(int dir, bool top, char ret[NAME_MAX + 1])
{
    SCOPED(scope_dir)
    DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        const char *name = entry->d_name;
        SCOPED(scope_close) int below = -1;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        if (top && (strcmp(name, "lost+found") == 0 || strcmp(name, POOL_LABEL) == 0)) {
            continue;
        }
        if (top && is_folder(name)) {
            below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0 && !holds_something(below, false, ret)) {
                continue;
            }
        }
        (void)str_print(ret, NAME_MAX + 1, "%s", name);
        return true;
    }
    return false;
}

static int make_folders(int dir)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (mkdirat(dir, folders[i], 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

static int check_label(int dir, const json_t *pool, const json_t *member, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    int r = file_read(dir, POOL_LABEL, POOL_MARK_BYTES, &text, &len);

    if (r < 0) {
        return pool_lost(member, "the directory has no label (is something not mounted?)",
                         e);
    }
    return pool_mark_is_ours(text, pool, member)
               ? 0
               : pool_lost(member, "another pool's label is there", e);
}

static int claim(struct node *n, const json_t *pool, const json_t *member, bool force,
                 struct err *e)
{
    const char *path = pool_member_path(member);
    SCOPED(scope_close) int dir = -1;
    char name[NAME_MAX + 1];
    char label[POOL_MARK_BYTES + 1];
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    int r = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;

    dir = r == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot use '%s' as a member", path);
    }
    if (file_read(dir, POOL_LABEL, POOL_MARK_BYTES, &text, &len) == 0 &&
        !pool_mark_is_ours(text, pool, member)) { /* of a command that was killed */
        r = pool_check_mark(n, text, path, force, e);
    }
    if (r < 0) {
        return r;
    }
    if (holds_something(dir, true, name)) {
        return err_set(e, -ENOTEMPTY,
                       "cannot use '%s' as a member: it has '%s' in it, and a pool wants "
                       "a directory of its own",
                       path, name);
    }
    pool_mark(pool, member, label);
    (void)strcat(label, "\n");
    r = make_folders(dir);
    r = r == 0 ? file_replace(dir, POOL_LABEL, label, strlen(label), 0600, true) : r;
    return r < 0 ? err_sys(e, r, "cannot use '%s' as a member", path) : 0;
}

static void release(struct node *n, const json_t *pool, const json_t *member)
{
    SCOPED(scope_close)
    int fd = open(pool_member_path(member), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)n;
    if (fd >= 0 && check_label(fd, pool, member, NULL) == 0) {
        for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
            (void)unlinkat(fd, folders[i], AT_REMOVEDIR);
        }
        (void)unlinkat(fd, POOL_LABEL, 0);
    }
}

int pool_open_dir(struct node *n, const json_t *pool, const json_t *member,
                  const char *what, struct err *e)
{
    const char *path = pool_member_path(member);
    SCOPED(scope_close) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool own = strcmp(pool_text(pool, "name"), POOL_DEFAULT) == 0 &&
               pool_member_id(member) == 1; /* STATE/pool needs no label: it is ours */
    int fd;

    (void)n;
    if (pool_kind_of(member) != &pool_directory_kind) {
        return err_set(e, -EOPNOTSUPP, "member %u (%s) is no directory: it holds disks",
                       pool_member_id(member), path);
    }
    if (dir < 0 && own) {
        (void)file_make_dirs(path, 0711);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (dir < 0) {
        return pool_lost(member, strerror(errno), e);
    }
    if (!own && check_label(dir, pool, member, e) < 0) {
        return -ENODEV;
    }
    fd = openat(dir, what, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make_folders(dir) == 0) {
        fd = openat(dir, what, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    return fd >= 0 ? fd : pool_lost(member, strerror(errno), e);
}

static void look(struct node *n, const json_t *pool, const json_t *member,
                 struct pool_room *ret)
{
    SCOPED(scope_close) int dir = pool_open_dir(n, pool, member, "layers", NULL);
    struct statvfs s;

    if (dir < 0 || fstatvfs(dir, &s) < 0) {
        return;
    }
    ret->state = POOL_OK;
    ret->total_bytes = (uint64_t)s.f_blocks * s.f_frsize;
    ret->free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
    ret->used_bytes = ret->total_bytes - (uint64_t)s.f_bfree * s.f_frsize;
}

/* ---- pieces ---- */

static void name_of(const struct pool_piece *p, char out[NAME_BYTES])
{
    (void)str_print(out, NAME_BYTES, "%s%s", p->layer,
                    p->part == POOL_PART_MAP ? MAP_TAIL : "");
}

static int piece_path(const struct pool_piece *p, char out[PATH_MAX])
{
    char name[NAME_BYTES];

    name_of(p, name);
    return str_print(out, PATH_MAX, "%s/layers/%s", pool_member_path(p->member), name);
}

static int open_piece(struct node *n, const struct pool_piece *p, int flags,
                      struct err *e)
{
    SCOPED(scope_close)
    int dir = pool_open_dir(n, p->pool, p->member, "layers", e);
    char name[NAME_BYTES];
    int fd;

    if (dir < 0) {
        return dir;
    }
    name_of(p, name);
    fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s/layers/%s'",
                       pool_member_path(p->member), name);
    }
    if ((flags & O_CREAT) != 0 && fsync(dir) < 0) {
        int r = -errno;

        (void)close(fd);
        return err_sys(e, r, "cannot make a layer");
    }
    return fd;
}

static int add_words(struct node *n, const struct pool_piece *p,
                     const struct pool_node *as, struct words *w, struct err *e)
{
    int flags = as->use == POOL_USE_READ  ? O_RDONLY
                : as->use == POOL_USE_NEW ? O_RDWR | O_CREAT | O_EXCL
                                          : O_RDWR;
    int file = open_piece(n, p, flags, e);
    char fd[32];

    if (file < 0) {
        return file;
    }
    if (as->use == POOL_USE_NEW && ftruncate(file, (off_t)as->bytes) < 0) {
        int r = -errno;

        (void)close(file);
        return err_sys(e, r, "cannot make a layer");
    }
    words_add(w, "node=%s,file,%s%s%s%s", as->name, words_fd(w, "fd", file, fd),
              as->use == POOL_USE_READ ? ",read-only" : "",
              as->unlocked ? ",no-lock" : "", words_block(w));
    return 0;
}

static int reopen(struct node *n, const struct pool_piece *p, const char *name,
                  struct words *w, struct err *e)
{
    int file = open_piece(n, p, O_RDWR, e);
    char fd[32];

    if (file < 0) {
        return file;
    }
    words_add(w, "reopen=%s,%s", name, words_fd(w, "fd", file, fd));
    return 0;
}

static int hold(struct node *n, const struct pool_piece *p, bool writes, struct err *e)
{
    SCOPED(scope_close) int fd = open_piece(n, p, writes ? O_RDWR : O_RDONLY, e);

    if (fd < 0) {
        return fd;
    }
    return leaf_lock(fd, writes, false, p->layer, NULL) == 0 ? scope_take_fd(&fd)
                                                             : -EBUSY;
}

static int remove_piece(struct node *n, const struct pool_piece *p, int held)
{
    SCOPED(scope_close)
    int dir = pool_open_dir(n, p->pool, p->member, "layers", NULL);
    char name[NAME_BYTES];

    (void)held; /* a file outlives its name */
    if (dir < 0) {
        return dir;
    }
    name_of(p, name);
    return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int used(struct node *n, const struct pool_piece *p, uint64_t *ret)
{
    char path[PATH_MAX];
    struct stat s;
    int r = piece_path(p, path);

    (void)n;
    if (r < 0 || stat(path, &s) < 0) {
        return r < 0 ? r : -errno;
    }
    *ret = (uint64_t)s.st_blocks * 512; /* stat(2) */
    return 0;
}

static bool is_id(const char *word)
{
    return strlen(word) == ID_DIGITS && word[strspn(word, "0123456789abcdef")] == '\0';
}

static int list(struct node *n, const json_t *pool, const json_t *member,
                pool_piece_fn *each, void *arg)
{
    SCOPED(scope_close) int dir = pool_open_dir(n, pool, member, "layers", NULL);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    d = dir < 0 ? NULL : fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 3));
    while (d != NULL && (entry = readdir(d)) != NULL) {
        bool map = str_ends(entry->d_name, MAP_TAIL);
        char id[NAME_MAX + 1];
        struct pool_piece p = {pool, member, id, map ? POOL_PART_MAP : POOL_PART_DATA};

        (void)str_print(id, sizeof id, "%.*s",
                        (int)(strlen(entry->d_name) - (map ? strlen(MAP_TAIL) : 0)),
                        entry->d_name);
        if (is_id(id)) {
            each(arg, &p);
        }
    }
    return dir < 0 ? dir : 0;
}

const struct pool_kind pool_directory_kind = {
    .name = "directory",
    .parse = parse,
    .claim = claim,
    .release = release,
    .look = look,
    .words = add_words,
    .reopen = reopen,
    .hold = hold,
    .remove = remove_piece,
    .used = used,
    .list = list,
    .open = open_piece,
    .path = piece_path,
};
