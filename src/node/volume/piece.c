/* piece.c - what members hold of layers, and that nothing is left there.
 *
 * Where and how a member has them is for its kind to say (node/pool/kind.h).
 *
 *     RUN/volumes/making/ID   the layer comes or goes; locked by who is at it
 *
 * A piece is made before the record that names its layer, and removed after it.  Between
 * the two it is announced, with its paths; an announcement that nobody holds is the rest
 * of a command that was killed, and the next one removes what no record names.  Who looks
 * asks for the announcement first and for the record then: never the other way round. */
#include "node/volume/piece.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/volume/option_layer.h"
#include "resource/storage/leaf/lock.h"

#define MAP_TAIL ".map"

unsigned piece_member(const struct layer *l, unsigned at)
{
    return (unsigned)json_integer_value(
        json_array_get(json_object_get(l->record, "pieces"), at));
}

/* NULL: the pool has no such member any more. */
static const json_t *member_of(const struct layer *l, unsigned at)
{
    return l->pool == NULL ? NULL : pool_member(l->pool, piece_member(l, at));
}

unsigned piece_maps(const struct layer *l)
{
    size_t maps = json_array_size(json_object_get(l->record, "maps"));

    if (strcmp(volume_text(l->record, "arrangement"), "span") != 0) {
        return 0;
    }
    return maps > 1 ? (unsigned)maps : 1;
}

/* Those of earlier versions say `map`, or nothing: beside the first piece. */
int piece_map_at(const struct layer *l, unsigned copy)
{
    bool several = piece_maps(l) > 1;
    uint64_t member = several ? (uint64_t)json_integer_value(json_array_get(
                                    json_object_get(l->record, "maps"), copy))
                              : volume_number(l->record, "map");

    for (unsigned i = 0; member != 0 && i < piece_count(l); i++) {
        if (piece_member(l, i) == member) {
            return (int)i;
        }
    }
    return several ? -1 : 0;
}

int piece_map_of(const struct layer *l, unsigned at)
{
    for (unsigned i = 0; i < piece_maps(l); i++) {
        if (piece_map_at(l, i) == (int)at) {
            return (int)i;
        }
    }
    return -1;
}

int piece_set_map(struct layer *l, unsigned copy, unsigned member)
{
    json_t *id = json_integer(member);

    return piece_maps(l) > 1
               ? json_array_set_new(json_object_get(l->record, "maps"), copy, id)
               : json_object_set_new(l->record, "map", id);
}

unsigned piece_count(const struct layer *l)
{
    return (unsigned)json_array_size(json_object_get(l->record, "pieces"));
}

bool layer_is_one_file(const struct layer *l)
{
    const char *how = volume_text(l->record, "arrangement");

    return (strcmp(how, "plain") == 0 && !layer_is_filtered(l)) ||
           strcmp(how, "device") == 0;
}

/* A device of the host that is a layer as it is: never ours to make or to remove. */
static bool is_device(const struct layer *l)
{
    return strcmp(volume_text(l->record, "arrangement"), "device") == 0;
}

bool layer_has_file(const struct layer *l)
{
    const json_t *member = member_of(l, 0);

    return is_device(l) ||
           (layer_is_one_file(l) && member != NULL && pool_member_has_files(member));
}

/* -ENODEV with a text: the pool has no such member any more. */
static int piece_at(const struct layer *l, unsigned at, enum pool_part part,
                    struct pool_piece *ret, struct err *e)
{
    *ret = (struct pool_piece){l->pool, member_of(l, at), l->id, part};
    return ret->member != NULL
               ? 0
               : err_set(e, -ENODEV, "pool '%s' has no such member any more",
                         volume_text(l->record, "pool"));
}

int piece_path_at(const struct layer *l, unsigned at, char out[PATH_MAX])
{
    struct pool_piece p;
    int r;

    out[0] = '\0';
    if (is_device(l)) {
        return str_print(out, PATH_MAX, "%s", volume_text(l->record, "path"));
    }
    r = piece_at(l, at, POOL_PART_DATA, &p, NULL);
    return r == 0 ? pool_piece_path(&p, out) : r;
}

int piece_path(const struct layer *l, char out[PATH_MAX])
{
    out[0] = '\0';
    return layer_is_one_file(l) ? piece_path_at(l, 0, out) : -EOPNOTSUPP;
}

const char *piece_place(const struct layer *l, unsigned at)
{
    const json_t *member = member_of(l, at);

    return member != NULL ? pool_member_path(member) : "";
}

int piece_name(const struct layer *l, const struct layer *parent, char out[PATH_MAX])
{
    return !layer_has_file(parent) ||
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

static int open_device(const struct layer *l, int flags, struct err *e)
{
    const char *path = volume_text(l->record, "path");
    int fd = open(path, (flags & O_ACCMODE) | O_CLOEXEC);

    return fd >= 0 ? fd : err_sys(e, -ENODEV, "cannot open '%s'", path);
}

int piece_open_at(struct node *n, const struct layer *l, unsigned at, int flags,
                  struct err *e)
{
    struct pool_piece p;
    int r;

    if (is_device(l)) {
        return open_device(l, flags, e);
    }
    r = piece_at(l, at, POOL_PART_DATA, &p, e);
    return r == 0 ? pool_piece_open(n, &p, flags, e) : r;
}

int piece_open(struct node *n, const struct layer *l, int flags, struct err *e)
{
    return layer_is_one_file(l)
               ? piece_open_at(n, l, 0, flags, e)
               : err_set(e, -EOPNOTSUPP, "it lies on several members of its pool");
}

static int add_device(const struct layer *l, const struct pool_node *as, struct words *w,
                      struct err *e)
{
    bool writes = as->use != POOL_USE_READ;
    int file = open_device(l, writes ? O_RDWR : O_RDONLY, e);
    char fd[32];

    if (file < 0) {
        return file;
    }
    words_add(w, "node=%s,file,%s%s%s", as->name, words_fd(w, "fd", file, fd),
              writes ? "" : ",read-only", words_block(w));
    return 0;
}

/* All layers of a disk have the same blocks. */
static void want_block(const struct layer *l, struct words *w)
{
    w->block = w->block == 0 ? layer_block_bytes(l) : w->block;
}

int piece_words(struct node *n, const struct layer *l, unsigned at,
                const struct pool_node *as, struct words *w, struct err *e)
{
    struct pool_piece p;
    int r;

    want_block(l, w);
    if (is_device(l)) {
        return add_device(l, as, w, e);
    }
    r = piece_at(l, at, POOL_PART_DATA, &p, e);
    return r == 0 ? pool_piece_words(n, &p, as, w, e) : r;
}

int piece_words_map(struct node *n, const struct layer *l, unsigned copy,
                    const struct pool_node *as, struct words *w, struct err *e)
{
    struct pool_piece p;
    int at = piece_map_at(l, copy);
    int r = at >= 0 && is_there(n, l, (unsigned)at)
                ? piece_at(l, (unsigned)at, POOL_PART_MAP, &p, e)
                : err_set(e, -ENODEV, "the member with its map is lost");

    want_block(l, w);
    return r == 0 ? pool_piece_words(n, &p, as, w, e) : r;
}

int piece_words_there(struct node *n, const struct layer *l, unsigned at,
                      const struct pool_node *as, struct words *w)
{
    struct err why = {0};

    return is_there(n, l, at) ? piece_words(n, l, at, as, w, &why) : -ENODEV;
}

bool piece_is_there(struct node *n, const struct layer *l, unsigned at)
{
    struct pool_piece p;
    uint64_t bytes;

    return is_there(n, l, at) && piece_at(l, at, POOL_PART_DATA, &p, NULL) == 0 &&
           pool_piece_used(n, &p, &bytes) == 0;
}

static int reopen_device(const struct layer *l, const char *name, struct words *w,
                         struct err *e)
{
    int file = open_device(l, O_RDWR, e);
    char fd[32];

    if (file < 0) {
        return file;
    }
    words_add(w, "reopen=%s,%s", name, words_fd(w, "fd", file, fd));
    return 0;
}

/* One that is lost was opened by nobody, or cannot be written anyway. */
static int reopen_part(struct node *n, const struct layer *l, const struct pool_piece *p,
                       const char *name, struct words *w)
{
    struct err why = {0};
    int r = pool_piece_reopen(n, p, name, w, &why);

    return r == -ENODEV && !layer_is_one_file(l) ? 0 : r;
}

static int reopen_maps(struct node *n, const struct layer *l, struct words *w)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < piece_maps(l); i++) {
        int at = piece_map_at(l, i);
        char name[POOL_NODE_BYTES];
        struct pool_piece p;

        (void)str_print(name, sizeof name,
                        piece_maps(l) > 1 ? "%s.file.map%u" : "%s.file.map", l->id, i);
        if (at >= 0 && is_there(n, l, (unsigned)at) &&
            piece_at(l, (unsigned)at, POOL_PART_MAP, &p, NULL) == 0) {
            r = reopen_part(n, l, &p, name, w);
        }
    }
    return r;
}

int piece_reopen(struct node *n, const struct layer *l, struct words *w, struct err *e)
{
    char name[POOL_NODE_BYTES];
    int r = 0;

    (void)str_print(name, sizeof name, "%s.file", l->id);
    if (is_device(l)) {
        return reopen_device(l, name, w, e);
    }
    for (unsigned i = 0; r == 0 && i < piece_count(l); i++) {
        struct pool_piece p;

        if (!layer_is_one_file(l)) {
            (void)str_print(name, sizeof name, "%s.file.p%u", l->id, i);
        }
        if (is_there(n, l, i) && piece_at(l, i, POOL_PART_DATA, &p, NULL) == 0) {
            r = reopen_part(n, l, &p, name, w);
        }
    }
    r = r == 0 ? reopen_maps(n, l, w) : r;
    return r == 0 ? 0 : err_set(e, r, "what it lies on is not written while it is read");
}

/* As a device of the host has it. */
static int hold_device(const struct layer *l, bool writes, struct err *e)
{
    SCOPED(scope_close) int fd = open_device(l, writes ? O_RDWR : O_RDONLY, e);

    if (fd < 0) {
        return fd;
    }
    return leaf_lock(fd, writes, false, l->id, NULL) == 0 ? scope_take_fd(&fd) : -EBUSY;
}

int piece_hold(struct node *n, const struct layer *l, unsigned at, bool writes,
               struct err *e)
{
    struct pool_piece p;
    int r;

    if (is_device(l)) {
        r = hold_device(l, writes, e);
    } else if (!layer_is_one_file(l) && !is_there(n, l, at)) {
        return -ENODEV;
    } else {
        r = piece_at(l, at, POOL_PART_DATA, &p, e);
        r = r == 0 ? pool_piece_hold(n, &p, writes, e) : r;
    }
    return r == -EBUSY ? err_set(e, r,
                                 "it is being served, or another program has it "
                                 "open")
                       : r;
}

int piece_resize(struct node *n, const struct layer *l, uint64_t bytes, struct err *e)
{
    bool raw = strcmp(volume_text(l->record, "format"), "raw") == 0;
    bool less = bytes < volume_number(l->record, "size_bytes");
    struct pool_piece p;
    uint64_t unit;
    int r;

    if (is_device(l) || !layer_is_one_file(l)) {
        return 0;
    }
    r = piece_at(l, 0, POOL_PART_DATA, &p, e);
    unit = r == 0 ? pool_member_unit(p.member) : 1;
    if (r < 0 || unit == 1 || (less && !raw)) {
        return r;
    }
    if (less) {
        return err_set(e, -EOPNOTSUPP, "what lies on %s can only grow",
                       pool_member_path(p.member));
    }
    if (!raw) { /* with room for what the image adds */
        bytes = (arrange_room(bytes) + unit - 1) / unit * unit;
    }
    return pool_piece_resize(n, &p, bytes, e);
}

static int sync_part(struct node *n, const struct pool_piece *p, struct err *e)
{
    SCOPED(scope_close) int fd = -1;

    if (!pool_member_has_files(p->member)) {
        return 0; /* whoever wrote it has flushed it */
    }
    fd = pool_piece_open(n, p, O_RDONLY, e);
    return fd < 0 ? fd : fsync(fd) < 0 ? err_sys(e, -errno, "cannot make a layer") : 0;
}

int piece_sync(struct node *n, const struct layer *l, struct err *e)
{
    struct pool_piece p;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < piece_count(l); i++) {
        r = piece_at(l, i, POOL_PART_DATA, &p, e);
        r = r == 0 ? sync_part(n, &p, e) : r;
        if (r == 0 && piece_map_of(l, i) >= 0) {
            p.part = POOL_PART_MAP;
            r = sync_part(n, &p, e);
        }
    }
    return r;
}

int piece_remove_at(struct node *n, const struct layer *l, unsigned at, int held)
{
    struct pool_piece p;

    if (piece_at(l, at, POOL_PART_MAP, &p, NULL) < 0 ||
        (!layer_is_one_file(l) && !is_there(n, l, at))) {
        return -ENODEV;
    }
    if (piece_map_of(l, at) >= 0) {
        (void)pool_piece_remove(n, &p, 0); /* what is left is swept */
    }
    p.part = POOL_PART_DATA;
    return pool_piece_remove(n, &p, held);
}

void piece_remove_map(struct node *n, const struct layer *l, unsigned copy)
{
    int at = piece_map_at(l, copy);
    struct pool_piece p;

    if (at >= 0 && piece_at(l, (unsigned)at, POOL_PART_MAP, &p, NULL) == 0 &&
        is_there(n, l, (unsigned)at)) {
        (void)pool_piece_remove(n, &p, 0);
    }
}

int piece_remove(struct node *n, const struct layer *l, int held)
{
    int r = 0;

    for (unsigned i = 0; !is_device(l) && i < piece_count(l); i++) {
        int one = piece_remove_at(n, l, i, held);

        r = r == 0 ? one : r;
    }
    return r;
}

uint64_t piece_used_bytes(struct node *n, const struct layer *l)
{
    uint64_t sum = 0;
    struct pool_piece p;

    for (unsigned i = 0; i < piece_count(l); i++) {
        uint64_t bytes = 0;

        if ((layer_is_one_file(l) || is_there(n, l, i)) &&
            piece_at(l, i, POOL_PART_DATA, &p, NULL) == 0 &&
            pool_piece_used(n, &p, &bytes) == 0) {
            sum += bytes;
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

/* A line for each: its path, or what says where it is, "POOL MEMBER PART". */
static void list_part(const struct pool_piece *p, struct str *all)
{
    char path[PATH_MAX];

    if (all->len > 0) {
        str_add(all, "\n");
    }
    if (pool_piece_path(p, path) == 0) {
        str_add(all, path);
    } else {
        str_addf(all, "%s %u %d", volume_text(p->pool, "name"), pool_member_id(p->member),
                 (int)p->part);
    }
}

static char *list_parts(const struct layer *l)
{
    struct str all = {0};
    struct pool_piece p;

    for (unsigned i = 0; !is_device(l) && i < piece_count(l); i++) {
        if (piece_at(l, i, POOL_PART_DATA, &p, NULL) == 0) {
            list_part(&p, &all);
        }
        if (p.member != NULL && piece_map_of(l, i) >= 0) {
            p.part = POOL_PART_MAP;
            list_part(&p, &all);
        }
    }
    str_add(&all, "");
    return str_take(&all);
}

int piece_announce(struct node *n, const struct layer *l, int *ret_fd, struct err *e)
{
    SCOPED(scope_free) char *paths = list_parts(l);
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

/* A piece that is no file, of a pool that may be gone by now. */
static void remove_named(struct node *n, const char *line, const char *id)
{
    SCOPED(scope_json) json_t *pool = NULL;
    char name[WORD_NAME_BYTES];
    unsigned member;
    unsigned part;

    if (sscanf(line, "%63s %u %u", name, &member, &part) == 3 && part < POOL_PART_COUNT &&
        pool_load(n, name, &pool, NULL) == 0 && pool_member(pool, member) != NULL) {
        const struct pool_piece p = {pool, pool_member(pool, member), id,
                                     (enum pool_part)part};

        (void)pool_piece_remove(n, &p, 0);
    }
}

static void remove_listed(struct node *n, char *lines, const char *id)
{
    char map[LAYER_ID_DIGITS + 8];
    const char *line;

    (void)str_print(map, sizeof map, "%s" MAP_TAIL, id);
    while ((line = strsep(&lines, "\n")) != NULL) {
        if (line[0] != '/') {
            remove_named(n, line, id);
        } else if (str_ends(line, id) || str_ends(line, map)) {
            (void)unlink(line);
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
        remove_listed(n, paths, id);
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

struct rest {
    struct strv ids; /* with a letter before them: of a map or not */
    struct node *n;
};

/* Nothing there is named by a record: of a layer that is none, or that lies elsewhere by
 * now. */
static bool is_stray(struct node *n, const struct pool_piece *p)
{
    struct layer l = {.record = NULL};
    char key[KV_KEY_BYTES];
    bool named = false;
    int r;

    RECORD_KEY(key, "/layers/%s", p->layer);
    r = record_load(n, key, &l.record, NULL);
    for (unsigned i = 0; r == 0 && i < piece_count(&l); i++) {
        named = named || (piece_member(&l, i) == pool_member_id(p->member) &&
                          (p->part == POOL_PART_DATA || piece_map_of(&l, i) >= 0));
    }
    layer_fini(&l);
    return (r == 0 || r == -ENOENT) && !named;
}

static void take_rest(void *arg, const struct pool_piece *p)
{
    struct rest *s = arg;

    if (!is_announced(s->n, p->layer) && is_stray(s->n, p)) {
        strv_addf(&s->ids, "%u%s", (unsigned)p->part, p->layer);
    }
}

static void sweep_member(struct node *n, const json_t *pool, const json_t *member,
                         void (*fn)(void *arg, const char *name), void *arg)
{
    struct rest s = {.n = n};

    (void)pool_piece_list(n, pool, member, take_rest, &s);
    for (size_t i = 0; i < s.ids.n; i++) {
        const struct pool_piece p = {pool, member, s.ids.items[i] + 1,
                                     (enum pool_part)(s.ids.items[i][0] - '0')};

        if (pool_piece_remove(n, &p, 0) == 0) {
            fn(arg, p.layer);
        }
    }
    strv_fini(&s.ids);
}

/* Of an announcement's lines: a path below the member's, or "POOL MEMBER PART". */
static bool names_member(const char *lines, const json_t *pool, const json_t *member)
{
    char path[PATH_MAX];
    char number[WORD_NAME_BYTES + 16];

    (void)str_print(path, sizeof path, "%s/layers/", pool_member_path(member));
    (void)str_print(number, sizeof number, "%s %u ", volume_text(pool, "name"),
                    pool_member_id(member));
    while (lines[0] != '\0') {
        if (str_starts(lines, path) || str_starts(lines, number)) {
            return true;
        }
        lines += strcspn(lines, "\n");
        lines += lines[0] == '\n';
    }
    return false;
}

bool piece_is_awaited(struct node *n, const json_t *pool, const json_t *member)
{
    char making[PATH_MAX];
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;
    bool found = false;

    (void)making_path(n, "", making);
    d = opendir(making);
    while (!found && d != NULL && (entry = readdir(d)) != NULL) {
        SCOPED(scope_free) char *lines = NULL;
        size_t len;

        found = is_id(entry->d_name) && is_announced(n, entry->d_name) &&
                file_read(dirfd(d), entry->d_name, (size_t)PATH_MAX * POOL_MEMBERS_MOST,
                          &lines, &len) == 0 &&
                names_member(lines, pool, member);
    }
    return found;
}

void piece_sweep_member(struct node *n, const json_t *pool, const json_t *member,
                        void (*fn)(void *arg, const char *name), void *arg)
{
    struct pool_room room = {.state = POOL_OK};

    pool_look(n, pool, member, &room); /* nothing here hangs */
    if (room.state != POOL_LOST && room.state != POOL_SLOW) {
        sweep_member(n, pool, member, fn, arg);
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
            piece_sweep_member(n, pool, member, fn, arg);
        }
    }
}
