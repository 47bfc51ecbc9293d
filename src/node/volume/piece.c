/* piece.c - what members hold of layers, and that nothing is left there.
 *
 *     MEMBER/layers/ID        the bytes of a plain layer, or one's part of another
 *     MEMBER/layers/ID.map    of a span: what lies on which member
 *     RUN/volumes/making/ID   the layer comes or goes; locked by who is at it
 *
 * A piece is made before the record that names its layer, and removed after it.  Between
 * the two it is announced, with its paths; an announcement that nobody holds is the rest
 * of a command that was killed, and the next one removes what no record names.  Who looks
 * asks for the announcement first and for the record then: never the other way round. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/volume/arrange.h"

#define MAP_TAIL ".map"

/* NULL: the pool has no such member any more. */
static const json_t *member_of(const struct layer *l, unsigned at)
{
    const json_t *pieces = json_object_get(l->record, "pieces");

    return l->pool == NULL
               ? NULL
               : pool_member(l->pool,
                             (unsigned)json_integer_value(json_array_get(pieces, at)));
}

static bool has_map(const struct layer *l)
{
    return strcmp(volume_text(l->record, "arrangement"), "span") == 0;
}

unsigned piece_count(const struct layer *l)
{
    return (unsigned)json_array_size(json_object_get(l->record, "pieces"));
}

bool layer_is_one_file(const struct layer *l)
{
    const char *how = volume_text(l->record, "arrangement");

    return strcmp(how, "plain") == 0 || strcmp(how, "device") == 0;
}

/* A device of the host that is a layer as it is: never ours to make or to remove. */
static bool is_device(const struct layer *l)
{
    return strcmp(volume_text(l->record, "arrangement"), "device") == 0;
}

int piece_path(const struct layer *l, char out[PATH_MAX])
{
    const json_t *member = member_of(l, 0);

    if (is_device(l)) {
        return str_print(out, PATH_MAX, "%s", volume_text(l->record, "path"));
    }
    if (!layer_is_one_file(l)) {
        out[0] = '\0';
        return -EOPNOTSUPP;
    }
    return member == NULL ? -ENODEV
                          : str_print(out, PATH_MAX, "%s/layers/%s",
                                      pool_member_path(member), l->id);
}

int piece_name(const struct layer *l, const struct layer *parent, char out[PATH_MAX])
{
    return !layer_is_one_file(parent) ||
                   (json_equal(json_object_get(l->record, "pieces"),
                               json_object_get(parent->record, "pieces")) &&
                    strcmp(volume_text(l->record, "pool"),
                           volume_text(parent->record, "pool")) == 0)
               ? str_print(out, PATH_MAX, "%s", parent->id)
               : piece_path(parent, out);
}

/* Whether the member answers: one that hangs must not hold up those that have the rest. */
static bool is_there(struct node *n, const struct layer *l, unsigned at)
{
    const json_t *member = member_of(l, at);
    struct pool_room room = {.state = POOL_LOST};

    if (member != NULL) {
        pool_look(n, l->pool, member, &room);
    }
    return room.state == POOL_OK || room.state == POOL_FULL;
}

struct part {
    unsigned at;      /* of the pieces */
    const char *tail; /* behind the id */
};

static int open_part(struct node *n, const struct layer *l, const struct part *p,
                     int flags, struct err *e)
{
    char name[LAYER_ID_DIGITS + 8];
    const json_t *member = member_of(l, p->at);
    SCOPED(scope_close) int dir = -1;
    int fd;

    if (is_device(l)) {
        const char *path = volume_text(l->record, "path");

        fd = open(path, (flags & O_ACCMODE) | O_CLOEXEC);
        return fd >= 0 ? fd : err_sys(e, -ENODEV, "cannot open '%s'", path);
    }
    if (member == NULL) {
        return err_set(e, -ENODEV, "pool '%s' has no such member any more",
                       volume_text(l->record, "pool"));
    }
    dir = pool_open_dir(n, l->pool, member, "layers", e);
    if (dir < 0) {
        return dir;
    }
    (void)str_print(name, sizeof name, "%s%s", l->id, p->tail);
    fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s/layers/%s'", pool_member_path(member),
                       name);
    }
    if ((flags & O_CREAT) != 0 && fsync(dir) < 0) {
        int r = -errno;

        (void)close(fd);
        return err_sys(e, r, "cannot make a layer");
    }
    return fd;
}

int piece_open_at(struct node *n, const struct layer *l, unsigned at, int flags,
                  struct err *e)
{
    const struct part p = {at, ""};

    return open_part(n, l, &p, flags, e);
}

int piece_open_map(struct node *n, const struct layer *l, int flags, struct err *e)
{
    const struct part p = {0, MAP_TAIL};

    if (!is_there(n, l, 0)) {
        return err_set(e, -ENODEV, "the member with its map is lost");
    }
    return open_part(n, l, &p, flags, e);
}

int piece_open(struct node *n, const struct layer *l, int flags, struct err *e)
{
    return layer_is_one_file(l)
               ? piece_open_at(n, l, 0, flags, e)
               : err_set(e, -EOPNOTSUPP, "it lies on several members of its pool");
}

int piece_open_there(struct node *n, const struct layer *l, unsigned at, int flags)
{
    return is_there(n, l, at) ? piece_open_at(n, l, at, flags, NULL) : -ENODEV;
}

static int remove_at(struct node *n, const struct layer *l, unsigned at)
{
    const json_t *member = member_of(l, at);
    SCOPED(scope_close) int dir = -1;
    char name[LAYER_ID_DIGITS + 8];

    if (member == NULL || (!layer_is_one_file(l) && !is_there(n, l, at))) {
        return -ENODEV;
    }
    dir = pool_open_dir(n, l->pool, member, "layers", NULL);
    if (dir < 0) {
        return dir;
    }
    if (has_map(l) && at == 0) {
        (void)str_print(name, sizeof name, "%s" MAP_TAIL, l->id);
        (void)unlinkat(dir, name, 0); /* what is left is swept */
    }
    return unlinkat(dir, l->id, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int piece_remove(struct node *n, const struct layer *l)
{
    int r = 0;

    for (unsigned i = 0; !is_device(l) && i < piece_count(l); i++) {
        int one = remove_at(n, l, i);

        r = r == 0 ? one : r;
    }
    return r;
}

static int path_at(const struct layer *l, unsigned at, char out[PATH_MAX])
{
    const json_t *member = member_of(l, at);

    return member == NULL ? -ENODEV
                          : str_print(out, PATH_MAX, "%s/layers/%s",
                                      pool_member_path(member), l->id);
}

uint64_t piece_used_bytes(struct node *n, const struct layer *l)
{
    uint64_t sum = 0;
    char path[PATH_MAX];
    struct stat s;

    for (unsigned i = 0; i < piece_count(l); i++) {
        if ((layer_is_one_file(l) || is_there(n, l, i)) && path_at(l, i, path) == 0 &&
            stat(path, &s) == 0) {
            sum += (uint64_t)s.st_blocks * VOLUME_SECTOR_BYTES;
        }
    }
    return sum;
}

/* ---- announcements ---- */

static int making_path(const struct node *n, const char *id, char out[PATH_MAX])
{
    return str_print(out, PATH_MAX, "%s/volumes/making%s%s", n->run,
                     id[0] != '\0' ? "/" : "", id);
}

/* A line for each. */
static char *list_paths(const struct layer *l)
{
    struct str all = {0};
    char path[PATH_MAX];

    for (unsigned i = 0; !is_device(l) && i < piece_count(l); i++) {
        if (path_at(l, i, path) == 0) {
            str_addf(&all, "%s%s", all.len > 0 ? "\n" : "", path);
            if (i == 0 && has_map(l)) {
                str_addf(&all, "\n%s" MAP_TAIL, path);
            }
        }
    }
    str_add(&all, "");
    return str_take(&all);
}

int piece_announce(struct node *n, const struct layer *l, int *ret_fd, struct err *e)
{
    SCOPED(scope_free) char *paths = list_paths(l);
    const char *id = l->id;
    char path[PATH_MAX];

    if (paths == NULL) {
        return err_set(e, -ENOMEM, "no memory");
    }
    (void)making_path(n, id, path);
    for (;;) {
        SCOPED(scope_close)
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct stat s;
        int r;

        if (fd < 0 && errno == ENOENT) {
            (void)making_path(n, "", path);
            r = file_make_dirs(path, 0700);
            if (r < 0) {
                return err_sys(e, r, "cannot make '%s'", path);
            }
            (void)making_path(n, id, path);
            continue;
        }
        if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &s) < 0) {
            return err_sys(e, -errno, "cannot announce a layer");
        }
        if (s.st_nlink == 0) {
            continue; /* somebody took it for a rest, before the lock */
        }
        r = ftruncate(fd, 0) < 0 ? -errno : file_write_all(fd, paths, strlen(paths));
        if (r < 0) {
            return err_sys(e, r, "cannot announce a layer");
        }
        *ret_fd = scope_take_fd(&fd);
        return 0;
    }
}

void piece_settled(struct node *n, const char *id, int *fd)
{
    char path[PATH_MAX];

    if (*fd >= 0 && making_path(n, id, path) == 0) {
        (void)unlink(path);
        scope_close(fd);
    }
    *fd = -1;
}

/* Whether somebody is at it now. */
static bool is_announced(const struct node *n, const char *id)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;

    (void)making_path(n, id, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static bool has_record(struct node *n, const char *id)
{
    SCOPED(scope_json) json_t *record = NULL;
    char key[KV_KEY_BYTES];

    RECORD_KEY(key, "/layers/%s", id);
    return record_load(n, key, &record, NULL) != -ENOENT;
}

static bool is_id(const char *word)
{
    return strlen(word) == LAYER_ID_DIGITS &&
           word[strspn(word, "0123456789abcdef")] == '\0';
}

/* An id, alone or of a map. */
static bool is_ours(const char *name)
{
    return is_id(name) || (strlen(name) == LAYER_ID_DIGITS + strlen(MAP_TAIL) &&
                           str_ends(name, MAP_TAIL));
}

static void remove_listed(char *paths, const char *id)
{
    char map[LAYER_ID_DIGITS + 8];
    const char *path;

    (void)str_print(map, sizeof map, "%s" MAP_TAIL, id);
    while ((path = strsep(&paths, "\n")) != NULL) {
        if (path[0] == '/' && (str_ends(path, id) || str_ends(path, map))) {
            (void)unlink(path);
        }
    }
}

static void mend_one(struct node *n, int making, const char *id)
{
    SCOPED(scope_close) int fd = openat(making, id, O_RDONLY | O_CLOEXEC);
    SCOPED(scope_free) char *paths = NULL;
    size_t len;

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return;
    }
    if (is_id(id) && !has_record(n, id) &&
        file_read(making, id, (size_t)PATH_MAX * POOL_MEMBERS_MOST, &paths, &len) == 0) {
        remove_listed(paths, id);
    }
    (void)unlinkat(making, id, 0);
}

void piece_mend(struct node *n)
{
    char path[PATH_MAX];
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    (void)making_path(n, "", path);
    d = opendir(path);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.') {
            mend_one(n, dirfd(d), entry->d_name);
        }
    }
}

/* ---- everything ---- */

static void sweep_member(struct node *n, const json_t *pool, const json_t *member,
                         void (*fn)(void *arg, const char *name), void *arg)
{
    SCOPED(scope_close) int dir = pool_open_dir(n, pool, member, "layers", NULL);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    d = dir < 0 ? NULL : fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 3));
    while (d != NULL && (entry = readdir(d)) != NULL) {
        char id[LAYER_ID_DIGITS + 1];

        (void)str_print(id, sizeof id, "%.*s", LAYER_ID_DIGITS, entry->d_name);
        if (is_id(id) && is_ours(entry->d_name) && !is_announced(n, id) &&
            !has_record(n, id) && unlinkat(dir, entry->d_name, 0) == 0) {
            fn(arg, entry->d_name);
        }
    }
}

void piece_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg)
{
    SCOPED(scope_json) json_t *pools = NULL;
    json_t *usual = NULL;
    size_t i;
    json_t *pool;

    piece_mend(n);
    if (record_list(n, "/pools/", &pools, NULL) < 0) {
        return;
    }
    if (pool_load(n, POOL_DEFAULT, &usual, NULL) == 0) {
        (void)json_array_append_new(pools, usual);
    }
    json_array_foreach(pools, i, pool)
    {
        size_t k;
        json_t *member;

        json_array_foreach(json_object_get(pool, "members"), k, member)
        {
            struct pool_room room = {.state = POOL_OK};

            pool_look(n, pool, member, &room); /* nothing here hangs */
            if (room.state != POOL_LOST && room.state != POOL_SLOW) {
                sweep_member(n, pool, member, fn, arg);
            }
        }
    }
}
