/* kind_device.c - members that are block devices of this host, on which each piece is a carved
 * disk (resource/storage/pool).
 *
 * What lies on the device is read by the program `volume` alone, which is confined; it is
 * told whose the store has to be, so that nothing is written to another's.  A carved disk
 * has the id of its layer and the number of the part; locks are those of the store, on bytes
 * that no device has, so that a hold of ours and the programs at work exclude each other. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/pool/kind.h"
#include "node/words.h"
#include "resource/storage/pool/hold.h"

#define LOOK_BYTES                                                                       \
    ((size_t)1 << 20)       /* at both ends: what holds something says so there */
#define STABLE "/dev/disk/" /* names of udev that stay with a device */

/* ---- the member ---- */

static int parse(const char *place, json_t *member, struct err *e)
{
    SCOPED(scope_free) char *real = realpath(place, NULL);
    struct stat s;

    if (real == NULL || stat(real, &s) < 0 || !S_ISBLK(s.st_mode)) {
        return -ENOTSUP;
    }
    if (json_object_set_new(member, "path",
                            json_string(str_starts(place, STABLE) ? place : real)) < 0) {
        return err_set(e, -EINVAL, "cannot use '%s' as a member", real);
    }
    return 0;
}

static int open_device(const json_t *member, int flags, struct err *e)
{
    const char *path = pool_member_path(member);
    SCOPED(scope_close) int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
    struct stat s;

    if (fd < 0) {
        return errno == EBUSY ? err_set(e, -EBUSY,
                                        "cannot use '%s': it is mounted, or another "
                                        "device or program has it for itself",
                                        path)
                              : pool_lost(member, strerror(errno), e);
    }
    if (fstat(fd, &s) < 0 || !S_ISBLK(s.st_mode)) {
        return pool_lost(member, "it is no block device any more", e);
    }
    return scope_take_fd(&fd);
}

/* The store of a member as the node `name`; `pool` NULL: whoever's it is. */
struct store {
    const json_t *pool;
    const json_t *member;
    const char *name;
    bool writes;
    int open; /* borrowed: use this descriptor of it; 0: open it */
};

static int add_store(const struct store *s, struct words *w, struct err *e)
{
    int device = s->open > 0 ? fcntl(s->open, F_DUPFD_CLOEXEC, 3)
                             : open_device(s->member, s->writes ? O_RDWR : O_RDONLY, e);
    char mark[POOL_MARK_BYTES] = "";
    char fd[32];

    if (device < 0) {
        return device;
    }
    if (s->pool != NULL) {
        pool_mark_short(s->pool, s->member, mark);
    }
    words_add(w, "node=%s,store,%s%s%s%s", s->name, words_fd(w, "fd", device, fd),
              mark[0] != '\0' ? ",owner=" : "", mark, s->writes ? "" : ",read-only");
    return 0;
}

/* ---- what a store says of itself ---- */

struct answer {
    uint64_t total_bytes;
    uint64_t free_bytes;
    uint64_t taken_bytes;
    bool grows; /* the device has more than the store knows */
    char owner[POOL_MARK_BYTES];
    const struct pool_piece *like; /* of the pieces that are listed */
    pool_piece_fn *each;
    void *arg;
};

static void take_carved(struct answer *a, const char *line)
{
    char id[17];
    struct pool_piece p = *a->like;
    unsigned part;

    if (sscanf(line, "carved=%16[0-9a-f] %u", id, &part) == 2 && part < POOL_PART_COUNT) {
        p.layer = id;
        p.part = (enum pool_part)part;
        a->each(a->arg, &p);
    }
}

static void take_line(void *arg, const char *line)
{
    struct answer *a = arg;

    (void)sscanf(line, "total_bytes=%" SCNu64, &a->total_bytes);
    (void)sscanf(line, "free_bytes=%" SCNu64, &a->free_bytes);
    (void)sscanf(line, "taken_bytes=%" SCNu64, &a->taken_bytes);
    a->grows = a->grows || strcmp(line, "grows=yes") == 0;
    (void)sscanf(line, "owner=%127[^\n]", a->owner);
    if (a->each != NULL && str_starts(line, "carved=")) {
        take_carved(a, line);
    }
}

/* Ask the store; the words say what else. */
static int ask(struct node *n, const struct store *s, struct words *w, struct answer *a,
               struct err *e)
{
    int r = add_store(s, w, e);

    r = r == 0 ? words_run(n, "store", w, take_line, a, e) : r;
    words_fini(w);
    return r;
}

static void look(struct node *n, const json_t *pool, const json_t *member,
                 struct pool_room *ret)
{
    const struct store s = {pool, member, "store", false, 0};
    struct words w = {.n_fds = 0};
    struct answer a = {.each = NULL};
    int r = ask(n, &s, &w, &a, NULL);

    if (r == 0 && a.grows) {
        const struct store more = {pool, member, "store", true, 0};

        words_add(&w, "grow");
        (void)ask(n, &more, &w, &a, NULL);
    }
    if (r == 0) {
        ret->state = POOL_OK;
        ret->total_bytes = a.total_bytes;
        ret->free_bytes = a.free_bytes;
        ret->used_bytes = a.total_bytes - a.free_bytes;
    }
}

/* ---- its label ---- */

static int is_zero_at(int fd, char *bytes, off_t at, bool *ret)
{
    ssize_t n = pread(fd, bytes, LOOK_BYTES, at);

    if (n < 0) {
        return -errno;
    }
    for (ssize_t i = 0; *ret && i < n; i++) {
        *ret = bytes[i] == 0;
    }
    return 0;
}

/* Whether nothing is at either end, where tables, file systems and the like have their heads. */
static int check_empty(int fd, const char *path, struct err *e)
{
    SCOPED(scope_free) char *bytes = malloc(LOOK_BYTES);
    off_t size = lseek(fd, 0, SEEK_END);
    bool empty = true;
    int r = bytes == NULL ? -ENOMEM : size < 0 ? -errno : 0;

    r = r == 0 ? is_zero_at(fd, bytes, 0, &empty) : r;
    if (r == 0 && size > (off_t)LOOK_BYTES) {
        r = is_zero_at(fd, bytes, size - (off_t)LOOK_BYTES, &empty);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot use '%s' as a member", path);
    }
    return empty ? 0
                 : err_set(e, -ENOTEMPTY,
                           "cannot use '%s' as a member: it holds something (see "
                           "'--force', which erases it)",
                           path);
}

static int make_store(struct node *n, const json_t *pool, const json_t *member,
                      int device, struct err *e)
{
    struct words w = {.n_fds = 0};
    char mark[POOL_MARK_BYTES];
    char fd[32];
    int r;

    pool_mark(pool, member, mark);
    words_add(&w, "node=f,file,%s",
              words_fd(&w, "fd", fcntl(device, F_DUPFD_CLOEXEC, 3), fd));
    words_add(&w, "format=store");
    words_add(&w, "owner=%s", mark);
    r = words_run(n, "arrange", &w, NULL, NULL, e);
    words_fini(&w);
    return r;
}

/* Whose store is there already. */
static int check_store(struct node *n, const json_t *pool, const json_t *member,
                       int device, bool force, struct err *e)
{
    const char *path = pool_member_path(member);
    const struct store s = {NULL, member, "store", false, 0};
    struct words w = {.n_fds = 0};
    struct answer a = {.each = NULL};
    struct err why = {0};
    int r = ask(n, &s, &w, &a, &why);

    if (r == 0) {
        return pool_mark_is_ours(a.owner, pool, member) /* of a command that was killed */
                   ? 0
                   : pool_check_mark(n, a.owner, path, force, e);
    }
    if (r != -EUCLEAN) { /* it is none */
        return err_set(e, r, "%s", why.text);
    }
    return force ? 0 : check_empty(device, path, e);
}

static int claim(struct node *n, const json_t *pool, const json_t *member, bool force,
                 struct err *e)
{
    SCOPED(scope_close) int device = open_device(member, O_RDWR | O_EXCL, e);
    int r = device < 0 ? device : check_store(n, pool, member, device, force, e);

    return r == 0 ? make_store(n, pool, member, device, e) : r;
}

static void release(struct node *n, const json_t *pool, const json_t *member)
{
    const struct store s = {pool, member, "store", true, 0};
    struct words w = {.n_fds = 0};
    struct answer a = {.each = NULL};

    words_add(&w, "wipe");
    (void)ask(n, &s, &w, &a, NULL);
}

/* ---- pieces ---- */

static int add_words(struct node *n, const struct pool_piece *p,
                     const struct pool_node *as, struct words *w, struct err *e)
{
    bool writes = as->use != POOL_USE_READ;
    char store[POOL_NODE_BYTES + 8];
    const struct store s = {p->pool, p->member, store, writes, 0};
    char size[48] = "";
    int r;

    (void)n;
    (void)str_print(store, sizeof store, "%s.store", as->name);
    r = add_store(&s, w, e);
    if (r < 0) {
        return r;
    }
    if (as->use == POOL_USE_NEW) {
        (void)str_print(size, sizeof size, ",new,size=%" PRIu64, as->bytes);
    }
    words_add(w, "node=%s,carve,on=%s,id=%s,part=%d%s%s%s", as->name, store, p->layer,
              (int)p->part, size, writes ? "" : ",read-only",
              as->unlocked ? ",no-lock" : "");
    return 0;
}

/* The store of the piece, with it. */
static int reopen(struct node *n, const struct pool_piece *p, const char *name,
                  struct words *w, struct err *e)
{
    int device = open_device(p->member, O_RDWR, e);
    char fd[32];

    (void)n;
    if (device < 0) {
        return device;
    }
    words_add(w, "reopen=%s.store,%s", name, words_fd(w, "fd", device, fd));
    return 0;
}

static int hold(struct node *n, const struct pool_piece *p, bool writes, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct pool_room room = {.state = POOL_LOST};
    int r;

    pool_look(n, p->pool, p->member, &room);
    if (room.state == POOL_LOST || room.state == POOL_SLOW) {
        return pool_lost(p->member,
                         room.state == POOL_LOST ? "it is not there, or another's"
                                                 : "it does not answer",
                         e);
    }
    fd = open_device(p->member, O_RDWR, e); /* whoever holds it may remove it */
    if (fd < 0) {
        return fd;
    }
    r = place_carve_hold(fd, strtoull(p->layer, NULL, 16), p->part, writes);
    return r == 0 || r == -EBUSY ? (r == 0 ? scope_take_fd(&fd) : r)
                                 : err_sys(e, r, "cannot lock a layer");
}

/* The word `verb` with the piece, to the store; `held`: a descriptor whose locks are those of
 * the program then. */
static int tell(struct node *n, const struct pool_piece *p, const char *verb, int held,
                struct answer *ret)
{
    bool writes = strcmp(verb, "remove") == 0;
    const struct store s = {p->pool, p->member, "store", writes, held};
    struct words w = {.n_fds = 0};
    struct err why = {0};

    words_add(&w, "%s=%s", verb, p->layer);
    words_add(&w, "part=%d", (int)p->part);
    return ask(n, &s, &w, ret, &why);
}

static bool is_same_device(int fd, const struct pool_piece *p)
{
    struct stat a;
    struct stat b;

    return fd > 0 && fstat(fd, &a) == 0 && stat(pool_member_path(p->member), &b) == 0 &&
           S_ISBLK(a.st_mode) && a.st_rdev == b.st_rdev;
}

static int remove_piece(struct node *n, const struct pool_piece *p, int held)
{
    struct answer a = {.each = NULL};
    int r = tell(n, p, "remove", is_same_device(held, p) ? held : 0, &a);

    return r == -ENOENT ? 0 : r;
}

static int used(struct node *n, const struct pool_piece *p, uint64_t *ret)
{
    struct answer a = {.each = NULL};
    int r = tell(n, p, "taken", 0, &a);

    *ret = r == 0 ? a.taken_bytes : *ret;
    return r;
}

static int list(struct node *n, const json_t *pool, const json_t *member,
                pool_piece_fn *each, void *arg)
{
    const struct store s = {pool, member, "store", false, 0};
    const struct pool_piece like = {.pool = pool, .member = member};
    struct words w = {.n_fds = 0};
    struct answer a = {.like = &like, .each = each, .arg = arg};
    struct err why = {0};

    words_add(&w, "list");
    return ask(n, &s, &w, &a, &why);
}

const struct pool_kind pool_device_kind = {
    .name = "device",
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
};
