/* kind_lvm.c - members that are thin pools of LVM: `lvm:GROUP/POOL[,program=PATH]`.
 *
 *     strata-label     whose it is, in its first bytes
 *     strata-ID        the bytes of a layer, or one's part of them
 *     strata-ID-map    of a span
 *
 * Each is a thin volume, a block device that the program `volume` gets open.  It does not grow
 * by itself: it is made as large as what lies on it may come to, which takes no room.  Whatever
 * else is in the thin pool is left alone; a pool that has something is not taken without
 * `--force`, as the room is shared then. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/pool/kind.h"
#include "node/words.h"
#include "resource/storage/leaf/lock.h"
#include "resource/storage/lvm/lvm.h"

#define OURS          "strata-"
#define LABEL         OURS "label"
#define MAP_TAIL      "-map"
#define ID_DIGITS     16
#define UNIT_BYTES    ((uint64_t)4 << 20) /* extents of a group, where nobody chose others */
#define WHOLE         10000u              /* in the hundredths of a percent of a report */
#define METADATA_MOST 9500u /* a thin pool whose metadata are full is damaged */

/* ---- the member ---- */

static struct lvm_pool pool_of(const json_t *member)
{
    return (struct lvm_pool){
        .group = pool_text(member, "group"),
        .name = pool_text(member, "thin_pool"),
        .program = json_string_value(json_object_get(member, "program")),
    };
}

static int parse(const char *place, json_t *member, struct err *e)
{
    size_t group = strcspn(place, "/");
    size_t both = strcspn(place, ",");
    const char *program = place + both;
    char names[2][LVM_NAME_BYTES];
    char path[LVM_PATH_BYTES];

    if (group >= both || both - group - 1 >= LVM_NAME_BYTES || group >= LVM_NAME_BYTES ||
        (*program != '\0' && !str_starts(program, ",program=/"))) {
        return err_set(e, -EINVAL,
                       "cannot use 'lvm:%.200s' as a member: not lvm:GROUP/POOL", place);
    }
    (void)str_print(names[0], sizeof names[0], "%.*s", (int)group, place);
    (void)str_print(names[1], sizeof names[1], "%.*s", (int)(both - group - 1),
                    place + group + 1);
    for (unsigned i = 0; i < 2; i++) {
        if (!lvm_name_is_good(names[i])) {
            return err_set(e, -EINVAL,
                           "cannot use 'lvm:%.200s' as a member: '%s' is no name for LVM",
                           place, names[i]);
        }
    }
    (void)str_print(path, sizeof path, "lvm:%s/%s", names[0], names[1]);
    (void)json_object_set_new(member, "path", json_string(path));
    (void)json_object_set_new(member, "group", json_string(names[0]));
    (void)json_object_set_new(member, "thin_pool", json_string(names[1]));
    if (*program != '\0') {
        (void)json_object_set_new(member, "program",
                                  json_string(program + strlen(",program=")));
    }
    return 0;
}

/* ---- what a report says ---- */

struct found {
    const char *name;
    struct lvm_volume volume; /* of that name; "": there is none */
    struct lvm_volume label;
    unsigned others; /* that are not ours */
};

static void take_volume(void *arg, const struct lvm_volume *v)
{
    struct found *f = arg;

    if (strcmp(v->name, LABEL) == 0) {
        f->label = *v;
    } else if (f->name != NULL && strcmp(v->name, f->name) == 0) {
        f->volume = *v;
    }
    f->others += !str_starts(v->name, OURS);
}

static int open_volume(const struct lvm_volume *v, struct err *e)
{
    SCOPED(scope_close) int fd = open(v->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct stat s;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s'%s", v->path,
                       v->active ? "" : ": it is not active");
    }
    return fstat(fd, &s) == 0 && S_ISBLK(s.st_mode)
               ? scope_take_fd(&fd)
               : err_set(e, -ENOTBLK, "'%s' is no block device", v->path);
}

static int read_label(const struct lvm_volume *label, char out[POOL_MARK_BYTES],
                      struct err *e)
{
    SCOPED(scope_close) int fd = open_volume(label, e);
    ssize_t n = fd < 0 ? -1 : pread(fd, out, POOL_MARK_BYTES - 1, 0);

    if (n < 0) {
        return fd < 0 ? fd : err_sys(e, -errno, "cannot read '%s'", label->path);
    }
    out[n] = '\0';
    return 0;
}

/* The volume of a name, on a member with our label; -ENODEV, -ENOENT. */
static int find(const json_t *pool, const json_t *member, struct found *f, struct err *e)
{
    const struct lvm_pool p = pool_of(member);
    char text[POOL_MARK_BYTES] = "";
    struct err why = {0};
    int r = lvm_volume_list(&p, take_volume, f, &why);

    r = r == 0 && f->label.name[0] != '\0' ? read_label(&f->label, text, &why) : r;
    if (r < 0) {
        return pool_lost(member, why.text, e);
    }
    if (!pool_mark_is_ours(text, pool, member)) {
        return pool_lost(member, "it has no label, or another pool's", e);
    }
    return f->name == NULL || f->volume.name[0] != '\0'
               ? 0
               : err_set(e, -ENOENT, "'%s/%s' is not there", p.group, f->name);
}

static void look(struct node *n, const json_t *pool, const json_t *member,
                 struct pool_room *ret)
{
    const struct lvm_pool p = pool_of(member);
    struct lvm_usage u = {0};
    struct found f = {.name = NULL};
    uint32_t data;

    (void)n;
    if (find(pool, member, &f, NULL) < 0 || lvm_pool_usage(&p, &u, NULL) < 0 ||
        !u.healthy) {
        return;
    }
    data = u.data > WHOLE ? 0 : u.data;
    ret->state = POOL_OK;
    ret->total_bytes = u.size_bytes;
    ret->used_bytes = u.size_bytes / WHOLE * data;
    ret->free_bytes = u.size_bytes - ret->used_bytes;
    if (u.metadata <= WHOLE && u.metadata > METADATA_MOST) {
        ret->free_bytes = 0;
    }
}

/* ---- its label ---- */

static int write_label(const json_t *pool, const json_t *member,
                       const struct lvm_volume *label, struct err *e)
{
    SCOPED(scope_close) int fd = open_volume(label, e);
    char text[POOL_MARK_BYTES] = "";

    if (fd < 0) {
        return fd;
    }
    pool_mark(pool, member, text);
    return pwrite(fd, text, sizeof text, 0) == (ssize_t)sizeof text && fsync(fd) == 0
               ? 0
               : err_sys(e, -errno, "cannot write '%s'", label->path);
}

/* Whether the thin pool may be ours. */
static int check(struct node *n, const json_t *member, const struct found *f, bool force,
                 struct err *e)
{
    const char *path = pool_member_path(member);
    char text[POOL_MARK_BYTES] = "";
    int r = 0;

    if (f->label.name[0] != '\0') {
        r = read_label(&f->label, text, e);
        r = r == 0 ? pool_check_mark(n, text, path, force, e) : r;
    }
    return r == 0 && f->others > 0 && !force
               ? err_set(e, -ENOTEMPTY,
                         "cannot use '%s' as a member: it has volumes, with which it "
                         "would share its room (see '--force')",
                         path)
               : r;
}

static int claim(struct node *n, const json_t *pool, const json_t *member, bool force,
                 struct err *e)
{
    const struct lvm_pool p = pool_of(member);
    struct found f = {.name = NULL};
    int r = lvm_volume_list(&p, take_volume, &f, e);

    r = r == 0 ? check(n, member, &f, force, e) : r;
    if (r == 0 && f.label.name[0] == '\0') {
        r = lvm_volume_create(&p, LABEL, UNIT_BYTES, e);
        r = r == 0 ? lvm_volume_look(&p, LABEL, &f.label, e) : r;
    }
    return r == 0 ? write_label(pool, member, &f.label, e) : r;
}

static void release(struct node *n, const json_t *pool, const json_t *member)
{
    const struct lvm_pool p = pool_of(member);
    struct found f = {.name = NULL};

    (void)n;
    if (find(pool, member, &f, NULL) == 0) {
        (void)lvm_volume_remove(&p, LABEL, NULL);
    }
}

/* ---- pieces ---- */

static void name_of(const struct pool_piece *p, char out[LVM_NAME_BYTES])
{
    (void)str_print(out, LVM_NAME_BYTES, OURS "%s%s", p->layer,
                    p->part == POOL_PART_MAP ? MAP_TAIL : "");
}

static int open_piece(const struct pool_piece *p, struct found *f, struct err *e)
{
    char name[LVM_NAME_BYTES];
    int r;

    name_of(p, name);
    f->name = name;
    r = find(p->pool, p->member, f, e);
    return r == 0 ? open_volume(&f->volume, e) : r;
}

static int make(const struct pool_piece *p, const struct pool_node *as, struct err *e)
{
    const struct lvm_pool thin = pool_of(p->member);
    uint64_t bytes = as->bytes > 0 ? as->bytes : as->most;
    struct found label = {.name = NULL};
    char name[LVM_NAME_BYTES];
    int r = find(p->pool, p->member, &label, e);

    name_of(p, name);
    bytes = (bytes + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
    return r == 0 ? lvm_volume_create(&thin, name, bytes, e) : r;
}

static int add_words(struct node *n, const struct pool_piece *p,
                     const struct pool_node *as, struct words *w, struct err *e)
{
    struct found f = {.name = NULL};
    int r = as->use == POOL_USE_NEW ? make(p, as, e) : 0;
    int fd = r == 0 ? open_piece(p, &f, e) : r;
    char word[32];

    (void)n;
    if (fd < 0) {
        return fd;
    }
    words_add(w, "node=%s,file,%s%s%s", as->name, words_fd(w, "fd", fd, word),
              as->use == POOL_USE_READ ? ",read-only" : "",
              as->unlocked ? ",no-lock" : "");
    return 0;
}

static int reopen(struct node *n, const struct pool_piece *p, const char *name,
                  struct words *w, struct err *e)
{
    struct found f = {.name = NULL};
    int fd = open_piece(p, &f, e);
    char word[32];

    (void)n;
    if (fd < 0) {
        return fd;
    }
    words_add(w, "reopen=%s,%s", name, words_fd(w, "fd", fd, word));
    return 0;
}

static int hold(struct node *n, const struct pool_piece *p, bool writes, struct err *e)
{
    struct found f = {.name = NULL};
    SCOPED(scope_close) int fd = open_piece(p, &f, e);

    (void)n;
    if (fd < 0) {
        return fd;
    }
    return leaf_lock(fd, writes, false, p->layer, NULL) == 0 ? scope_take_fd(&fd)
                                                             : -EBUSY;
}

/* LVM removes nothing that is open, so the hold is given up; its descriptor stays one. */
static void give_up(int held, const struct lvm_volume *v)
{
    SCOPED(scope_close) int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct stat a;
    struct stat b;

    if (held > 0 && nothing >= 0 && fstat(held, &a) == 0 && stat(v->path, &b) == 0 &&
        S_ISBLK(a.st_mode) && a.st_rdev == b.st_rdev) {
        (void)dup3(nothing, held, O_CLOEXEC);
    }
}

static int remove_piece(struct node *n, const struct pool_piece *p, int held)
{
    const struct lvm_pool thin = pool_of(p->member);
    char name[LVM_NAME_BYTES];
    struct found f = {.name = name};
    struct err why = {0};
    int r;

    (void)n;
    name_of(p, name);
    r = find(p->pool, p->member, &f, &why);
    if (r == 0) {
        give_up(held, &f.volume);
        r = lvm_volume_remove(&thin, name, &why);
    }
    return r == -ENOENT ? 0 : r;
}

static int used(struct node *n, const struct pool_piece *p, uint64_t *ret)
{
    char name[LVM_NAME_BYTES];
    struct found f = {.name = name};
    int r;

    (void)n;
    name_of(p, name);
    r = find(p->pool, p->member, &f, NULL);
    if (r == 0) {
        *ret = f.volume.full > WHOLE ? 0 : f.volume.size_bytes / WHOLE * f.volume.full;
    }
    return r;
}

static int resize(struct node *n, const struct pool_piece *p, uint64_t bytes,
                  struct err *e)
{
    const struct lvm_pool thin = pool_of(p->member);
    char name[LVM_NAME_BYTES];

    (void)n;
    if (bytes % UNIT_BYTES != 0) {
        return err_set(e, -EINVAL, "it lies on LVM, and its size is a multiple of 4 MiB");
    }
    name_of(p, name);
    return lvm_volume_resize(&thin, name, bytes, e);
}

struct listing {
    struct pool_piece like;
    pool_piece_fn *each;
    void *arg;
};

static void take_piece(void *arg, const struct lvm_volume *v)
{
    struct listing *s = arg;
    char id[ID_DIGITS + 1];
    char tail[8] = "";
    struct pool_piece p = s->like;
    int got = sscanf(v->name, OURS "%16[0-9a-f]%7s", id, tail);

    p.layer = id;
    p.part = strcmp(tail, MAP_TAIL) == 0 ? POOL_PART_MAP : POOL_PART_DATA;
    if (got > 0 && strlen(id) == ID_DIGITS &&
        (tail[0] == '\0' || p.part == POOL_PART_MAP)) {
        s->each(s->arg, &p);
    }
}

static int list(struct node *n, const json_t *pool, const json_t *member,
                pool_piece_fn *each, void *arg)
{
    const struct lvm_pool thin = pool_of(member);
    struct listing s = {{.pool = pool, .member = member}, each, arg};
    struct found f = {.name = NULL};
    struct err why = {0};
    int r = find(pool, member, &f, &why);

    (void)n;
    return r == 0 ? lvm_volume_list(&thin, take_piece, &s, &why) : r;
}

const struct pool_kind pool_lvm_kind = {
    .name = "lvm",
    .prefix = "lvm:",
    .unit_bytes = UNIT_BYTES,
    .parse = parse,
    .claim = claim,
    .release = release,
    .look = look,
    .words = add_words,
    .reopen = reopen,
    .hold = hold,
    .remove = remove_piece,
    .used = used,
    .resize = resize,
    .list = list,
};
