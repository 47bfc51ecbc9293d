/* kind_ceph.c - members that are pools of a Ceph cluster:
 * `ceph:POOL[,space=NAME][,conf=PATH][,user=NAME]`.
 *
 *     strata-label.POOL-ID.MEMBER   an empty image: whose it is
 *     strata-ID                     the bytes of a layer, or one's part of them
 *     strata-ID.map                 of a span
 *     RUN/volumes/pieces/ID.MEMBER  locked by whoever writes to it on this host
 *
 * The program `volume` alone uses librbd.  A writer has the image for itself in the whole
 * cluster, by Ceph's own lock; on this host commands exclude each other by a file, which
 * the program keeps open for as long as it has the image. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/pool/kind.h"
#include "node/words.h"
#include "resource/storage/leaf/lock.h"

#define OURS        "strata-"
#define LABEL       OURS "label."
#define MAP_TAIL    ".map"
#define ID_DIGITS   16
#define IMAGE_BYTES 64
#define LABEL_BYTES 4096
#define BLOCK_BYTES 4096
#define END_STEPS   200 /* of 10 ms */

/* ---- the member ---- */

/* Names of pools and spaces as they are usual; none can be an option, or two words. */
static bool is_name(const char *word)
{
    size_t n = strlen(word);

    return n > 0 && n < IMAGE_BYTES && word[0] != '-' && word[0] != '.' &&
           strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                        "_.-") == n;
}

static bool is_path(const char *word)
{
    return word[0] == '/' && strpbrk(word, "\n,") == NULL;
}

static const struct {
    const char *key;
    bool (*is_good)(const char *word);
} keys[] = {{"space", is_name}, {"conf", is_path}, {"user", is_name}};

#define KEYS (sizeof keys / sizeof keys[0])

static int take_key(char *word, json_t *member)
{
    char *value = strchr(word, '=');

    for (size_t i = 0; value != NULL && i < KEYS; i++) {
        if (strncmp(word, keys[i].key, (size_t)(value - word)) == 0 &&
            keys[i].key[value - word] == '\0' && keys[i].is_good(value + 1)) {
            return json_object_set_new(member, keys[i].key, json_string(value + 1));
        }
    }
    return -EINVAL;
}

static int parse(const char *place, json_t *member, struct err *e)
{
    char text[PATH_MAX];
    char path[PATH_MAX];
    char *rest = text;
    char *word;
    int r = str_print(text, sizeof text, "%s", place);

    word = strsep(&rest, ",");
    r = r == 0 && !is_name(word) ? -EINVAL : r;
    if (r == 0) {
        (void)json_object_set_new(member, "ceph_pool", json_string(word));
    }
    while (r == 0 && (word = strsep(&rest, ",")) != NULL) {
        r = take_key(word, member);
    }
    if (r < 0) {
        return err_set(e, -EINVAL,
                       "cannot use 'ceph:%.200s' as a member: not "
                       "ceph:POOL[,space=NAME][,conf=PATH][,user=NAME]",
                       place);
    }
    (void)str_print(path, sizeof path, "ceph:%s%s%s", pool_text(member, "ceph_pool"),
                    pool_text(member, "space")[0] != '\0' ? "/" : "",
                    pool_text(member, "space"));
    return json_object_set_new(member, "path", json_string(path));
}

/* ---- asking the cluster ---- */

struct answer {
    uint64_t total_bytes;
    uint64_t free_bytes;
    char ours[IMAGE_BYTES];  /* our label, as it would be; "": not wanted */
    bool is_ours;            /* and is */
    char label[IMAGE_BYTES]; /* any; "": there is none */
    unsigned others;         /* images that are not of our kind */
    struct pool_piece like;
    pool_piece_fn *each;
    void *arg;
};

static void take_image(struct answer *a, const char *image)
{
    struct pool_piece p = a->like;
    char id[ID_DIGITS + 1];
    char tail[8] = "";

    if (str_starts(image, LABEL)) {
        (void)str_print(a->label, sizeof a->label, "%.*s", IMAGE_BYTES - 1, image);
        a->is_ours = a->is_ours || strcmp(image, a->ours) == 0;
        return;
    }
    a->others += !str_starts(image, OURS);
    if (a->each != NULL && sscanf(image, OURS "%16[0-9a-f]%7s", id, tail) > 0 &&
        strlen(id) == ID_DIGITS && (tail[0] == '\0' || strcmp(tail, MAP_TAIL) == 0)) {
        p.layer = id;
        p.part = tail[0] == '\0' ? POOL_PART_DATA : POOL_PART_MAP;
        a->each(a->arg, &p);
    }
}

static void take_line(void *arg, const char *line)
{
    struct answer *a = arg;

    (void)sscanf(line, "total_bytes=%" SCNu64, &a->total_bytes);
    (void)sscanf(line, "free_bytes=%" SCNu64, &a->free_bytes);
    if (str_starts(line, "image=")) {
        take_image(a, line + strlen("image="));
    }
}

/* The words of the operation `rbd`, which are those of the operation and the cluster's. */
static int ask(struct node *n, const json_t *member, struct words *w, struct answer *a,
               struct err *e)
{
    int r;

    words_add(w, "pool=%s", pool_text(member, "ceph_pool"));
    for (size_t i = 0; i < KEYS; i++) {
        const char *value = pool_text(member, keys[i].key);

        if (value[0] != '\0') {
            words_add(w, "%s=%s", keys[i].key, value);
        }
    }
    r = words_run(n, "rbd", w, take_line, a, e);
    words_fini(w);
    return r;
}

static void label_of(const json_t *pool, const json_t *member, char out[IMAGE_BYTES])
{
    (void)str_print(out, IMAGE_BYTES, LABEL "%s.%u", pool_text(pool, "id"),
                    pool_member_id(member));
}

/* What is there, where our label is; -ENODEV. */
static int find(struct node *n, const json_t *pool, const json_t *member,
                struct answer *a, struct err *e)
{
    struct words w = {.n_fds = 0};
    struct err why = {0};
    int r;

    label_of(pool, member, a->ours);
    words_add(&w, "list");
    r = ask(n, member, &w, a, &why);
    return r < 0         ? pool_lost(member, why.text, e)
           : !a->is_ours ? pool_lost(member, "it has no label, or another pool's", e)
                         : 0;
}

static int order(struct node *n, const json_t *member, const char *verb,
                 const char *image, uint64_t size, struct err *e)
{
    struct words w = {.n_fds = 0};
    struct answer a = {.each = NULL};

    words_add(&w, "%s=%s", verb, image);
    words_add(&w, "size=%" PRIu64, size);
    return ask(n, member, &w, &a, e);
}

static void look(struct node *n, const json_t *pool, const json_t *member,
                 struct pool_room *ret)
{
    struct answer a = {.each = NULL};

    if (find(n, pool, member, &a, NULL) == 0) {
        ret->state = POOL_OK;
        ret->total_bytes = a.total_bytes;
        ret->free_bytes = a.free_bytes;
        ret->used_bytes = a.total_bytes - a.free_bytes;
    }
}

/* ---- its label ---- */

/* A label says whose it is in the words of the others. */
static int check_label(struct node *n, const struct answer *a, const json_t *member,
                       bool force, struct err *e)
{
    const char *own = a->label + strlen(LABEL);
    size_t id = strcspn(own, ".");
    char text[POOL_MARK_BYTES];

    (void)str_print(text, sizeof text, "strata-pool %.*s %s", (int)id, own,
                    own[id] != '\0' ? own + id + 1 : "");
    return pool_check_mark(n, text, pool_member_path(member), force, e);
}

static int claim(struct node *n, const json_t *pool, const json_t *member, bool force,
                 struct err *e)
{
    const char *path = pool_member_path(member);
    struct words w = {.n_fds = 0};
    struct answer a = {.each = NULL};
    char label[IMAGE_BYTES];
    int r;

    words_add(&w, "list");
    r = ask(n, member, &w, &a, e);
    r = r == 0 && a.label[0] != '\0' ? check_label(n, &a, member, force, e) : r;
    if (r == 0 && a.label[0] != '\0') {
        r = order(n, member, "remove", a.label, 0, e);
    }
    if (r == 0 && a.others > 0 && !force) {
        r = err_set(e, -ENOTEMPTY,
                    "cannot use '%s' as a member: it has images, with which it would "
                    "share its room (see '--force')",
                    path);
    }
    label_of(pool, member, label);
    return r == 0 ? order(n, member, "make", label, LABEL_BYTES, e) : r;
}

static void release(struct node *n, const json_t *pool, const json_t *member)
{
    char label[IMAGE_BYTES];

    label_of(pool, member, label);
    (void)order(n, member, "remove", label, 0, NULL);
}

/* ---- pieces ---- */

static void name_of(const struct pool_piece *p, char out[IMAGE_BYTES])
{
    (void)str_print(out, IMAGE_BYTES, OURS "%s%s", p->layer,
                    p->part == POOL_PART_MAP ? MAP_TAIL : "");
}

static void lock_path(const struct node *n, const struct pool_piece *p,
                      char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/volumes/pieces/%s.%u%s", n->run, p->layer,
                    pool_member_id(p->member), p->part == POOL_PART_MAP ? MAP_TAIL : "");
}

static int lock(struct node *n, const struct pool_piece *p, bool writes, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char path[PATH_MAX];
    int r;

    (void)str_print(path, sizeof path, "%s/volumes/pieces", n->run);
    r = file_make_dirs(path, 0700);
    lock_path(n, p, path);
    fd = r < 0 ? -1 : open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot open '%s'", path);
    }
    return leaf_lock(fd, writes, false, p->layer, NULL) == 0 ? scope_take_fd(&fd)
                                                             : -EBUSY;
}

/* For a writer; a server that is about to end lets go of the image first, over the network. */
static int lock_soon(struct node *n, const struct pool_piece *p, struct err *e)
{
    const struct timespec step = {.tv_nsec = 10000000};
    int fd = lock(n, p, true, e);

    for (int i = 0; fd == -EBUSY && i < END_STEPS; i++) {
        (void)nanosleep(&step, NULL);
        fd = lock(n, p, true, e);
    }
    return fd == -EBUSY ? err_set(e, fd, "it is in use") : fd;
}

static int hold(struct node *n, const struct pool_piece *p, bool writes, struct err *e)
{
    struct answer a = {.each = NULL};
    int r = find(n, p->pool, p->member, &a, e);

    return r == 0 ? lock(n, p, writes, e) : r;
}

static int make(struct node *n, const struct pool_piece *p, const struct pool_node *as,
                struct err *e)
{
    uint64_t bytes = as->bytes > 0 ? as->bytes : as->most;
    struct answer a = {.each = NULL};
    char image[IMAGE_BYTES];
    int r = find(n, p->pool, p->member, &a, e);

    name_of(p, image);
    bytes = as->bytes > 0 ? bytes : (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    return r == 0 ? order(n, p->member, "make", image, bytes, e) : r;
}

static int add_words(struct node *n, const struct pool_piece *p,
                     const struct pool_node *as, struct words *w, struct err *e)
{
    bool writes = as->use != POOL_USE_READ;
    int r = as->use == POOL_USE_NEW ? make(n, p, as, e) : 0;
    int fd = r == 0 && writes ? lock_soon(n, p, e) : -1;
    struct str all = {0};
    char image[IMAGE_BYTES];
    char word[32];

    if (r < 0 || (writes && fd < 0)) {
        return r < 0 ? r : fd;
    }
    name_of(p, image);
    str_addf(&all, "node=%s,rbd,pool=%s,image=%s", as->name,
             pool_text(p->member, "ceph_pool"), image);
    for (size_t i = 0; i < KEYS; i++) {
        const char *value = pool_text(p->member, keys[i].key);

        if (value[0] != '\0') {
            str_addf(&all, ",%s=%s", keys[i].key, value);
        }
    }
    str_addf(&all, ",%s", writes ? "exclusive," : "read-only");
    if (writes) {
        str_add(&all, words_fd(w, "lock", fd, word));
    }
    if (str_failed(&all)) {
        str_fini(&all);
        return err_set(e, -ENOMEM, "no memory");
    }
    words_add(w, "%s", str_text(&all));
    str_fini(&all);
    return 0;
}

static int remove_piece(struct node *n, const struct pool_piece *p, int held)
{
    struct answer a = {.each = NULL};
    struct err why = {0};
    char image[IMAGE_BYTES];
    char path[PATH_MAX];
    int r = find(n, p->pool, p->member, &a, &why);

    (void)held;
    name_of(p, image);
    r = r == 0 ? order(n, p->member, "remove", image, 0, &why) : r;
    if (r == 0 || r == -ENOENT) {
        lock_path(n, p, path);
        (void)unlink(path);
    }
    return r == -ENOENT ? 0 : r;
}

struct sought {
    const char *id;
    bool found;
};

static void seek(void *arg, const struct pool_piece *p)
{
    struct sought *s = arg;

    s->found = s->found || (p->part == POOL_PART_DATA && strcmp(p->layer, s->id) == 0);
}

/* The cluster does not count what an image takes without reading its map. */
static int used(struct node *n, const struct pool_piece *p, uint64_t *ret)
{
    struct sought s = {.id = p->layer};
    struct answer a = {.like = *p, .each = seek, .arg = &s};
    int r = find(n, p->pool, p->member, &a, NULL);

    *ret = 0;
    return r < 0 ? r : s.found ? 0 : -ENOENT;
}

static int list(struct node *n, const json_t *pool, const json_t *member,
                pool_piece_fn *each, void *arg)
{
    struct answer a = {
        .like = {.pool = pool, .member = member}, .each = each, .arg = arg};
    struct err why = {0};

    return find(n, pool, member, &a, &why);
}

const struct pool_kind pool_ceph_kind = {
    .name = "ceph",
    .prefix = "ceph:",
    .parse = parse,
    .claim = claim,
    .release = release,
    .look = look,
    .words = add_words,
    .hold = hold,
    .remove = remove_piece,
    .used = used,
    .list = list,
};
