/* key.c - encrypted disks: who opens them, and their passphrases.
 *
 * Each layer is a qcow2 image with a LUKS header inside, and a layer has a copy of the header
 * of the one below: snapshots and clones ask for no passphrase.  So each layer has
 * passphrases of its own from then on.  A change of passphrases goes through all layers
 * that the volume is made of: a new one is added everywhere first, and an old one is taken
 * away from the layers that this volume alone needs, so that clones open as before.
 * While the disk is in use its worker changes the headers of the layers that it has open.
 * Whatever is interrupted is completed by the same command again. */
#include "node/volume/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/arrange.h"
#include "node/volume/worker.h"

#define KEY_MOST_BYTES (8u << 20)
#define SLOTS_MOST     32

bool layer_is_encrypted(const struct layer *l)
{
    return json_is_true(json_object_get(l->record, "encrypted"));
}

int volume_key_read(const json_t *order, const char *member, struct err *e)
{
    const char *path = volume_text(order, member);
    SCOPED(scope_close) int from = open(path, O_RDONLY | O_CLOEXEC);
    SCOPED(scope_close) int to = -1;
    off_t bytes;

    if (from < 0) {
        return err_sys(e, -errno, "cannot read the passphrase in '%s'", path);
    }
    to = volume_key_memory(from, 0, KEY_MOST_BYTES + 1);
    bytes = to < 0 ? -1 : lseek(to, 0, SEEK_END);
    if (bytes < 0) {
        return err_sys(e, to < 0 ? to : -errno, "cannot read the passphrase in '%s'",
                       path);
    }
    if (bytes == 0 || bytes > (off_t)KEY_MOST_BYTES) {
        return err_set(e, bytes == 0 ? -EINVAL : -EFBIG, "'%s' has %s passphrase", path,
                       bytes == 0 ? "no" : "too long a");
    }
    return scope_take_fd(&to);
}

int chain_unlock(struct node *n, struct chain *c, const json_t *order, struct err *e)
{
    bool encrypted = c->count > 0 && layer_is_encrypted(&c->layers[0]);
    SCOPED(scope_close) int header = -1;

    if (!encrypted) {
        return json_object_get(order, "key_file") == NULL
                   ? 0
                   : err_set(e, -EINVAL, "it is not encrypted: without --key-file");
    }
    header = layer_header(n, &c->layers[0], e);
    c->key = header < 0 ? header : volume_key_open(n, header, order, e);
    if (c->key < 0) {
        int r = c->key;

        c->key = 0;
        return r;
    }
    return 0;
}

int volume_image_make_locked(struct node *n, int fd, const struct layer_plan *p,
                             struct err *e)
{
    struct words w = {.n_fds = 0};
    char word[32];
    int r;

    words_add(&w, "node=f,file,%s",
              words_fd(&w, "fd", fcntl(fd, F_DUPFD_CLOEXEC, 3), word));
    r = words_new_key(n, p, &w, e);
    words_add(&w, "format=qcow2");
    words_add(&w, "size=%llu", (unsigned long long)p->size_bytes);
    words_add(&w, "cluster=%d", VOLUME_IMAGE_CLUSTER);
    words_add(&w, "extended-l2");
    r = r == 0 ? words_run(n, "create", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r == 0 && fsync(fd) < 0 ? err_sys(e, -errno, "cannot make a layer") : r;
}

/* ---- all layers of a volume ---- */

struct part {
    struct layer layer; /* owned */
    struct strv users;
    bool ours;    /* nobody else needs it */
    bool below;   /* the disk, as it is used, is made of it */
    bool written; /* the top, and the store of the cache over it */
};

struct rotation {
    struct node *n;
    struct volume *v;
    struct part *parts; /* owned */
    size_t count;
    int control; /* borrowed: of the worker; -1: the disk is not in use */
    int key;     /* owned: opens the disk */
    int new;     /* owned: to be added; -1 */
    int old;     /* borrowed or owned, see `owns_old`: to be taken away; -1 */
    bool owns_old;
    uint64_t work; /* rounds to try the new one; 0: the usual */
    json_t *rows;  /* owned */
};

static struct part *part_of(const struct rotation *r, const char *id)
{
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->parts[i].layer.id, id) == 0) {
            return &r->parts[i];
        }
    }
    return NULL;
}

/* The layer and those below it. */
static int add_parts(struct rotation *r, const char *top, struct err *e)
{
    const char *id = top;
    int done = 0;

    while (done == 0 && id != NULL && id[0] != '\0' && part_of(r, id) == NULL) {
        struct part *more = fault_realloc(r->parts, (r->count + 1) * sizeof *more);

        if (more == NULL) {
            return err_set(e, -ENOMEM, "no memory");
        }
        r->parts = more;
        memset(&more[r->count], 0, sizeof *more);
        more = &more[r->count++];
        more->ours = true;
        done = layer_load(r->n, id, &more->layer, e);
        done = done == 0 ? layer_users(r->n, id, &more->users, e) : done;
        id = json_string_value(json_object_get(more->layer.record, "parent"));
    }
    return done;
}

/* Whether this is the volume itself, or a layer that only it needs. */
static bool is_own_user(const struct rotation *r, const char *user)
{
    char snapshots[KV_KEY_BYTES];
    const struct part *child;

    if (str_starts(user, "l/")) {
        child = part_of(r, user + 2);
        return child != NULL && child->ours;
    }
    RECORD_KEY(snapshots, "s/%s/", r->v->name);
    return str_starts(user, snapshots) ||
           (strchr("vbmc", user[0]) != NULL && user[1] == '/' &&
            strcmp(user + 2, r->v->name) == 0);
}

/* What others need is not ours, nor is anything below it. */
static void find_ours(struct rotation *r)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < r->count; i++) {
            struct part *p = &r->parts[i];

            for (size_t k = 0; p->ours && k < p->users.n; k++) {
                p->ours = is_own_user(r, p->users.items[k]);
                again = again || !p->ours;
            }
        }
    }
}

static int add_store(struct rotation *r, struct err *e)
{
    const json_t *cache = json_object_get(r->v->record, "cache");
    size_t at = r->count;
    int done = add_parts(r, volume_text(cache, "layer"), e);

    if (done == 0 && r->count > at) {
        r->parts[at].below = true;
        r->parts[at].written = true;
    }
    return done;
}

static int load_parts(struct rotation *r, struct err *e)
{
    size_t i;
    json_t *one;
    int done = add_parts(r, volume_text(r->v->record, "top"), e);

    for (i = 0; i < r->count; i++) {
        r->parts[i].below = true;
        r->parts[i].written = i == 0;
    }
    done = done == 0 ? add_store(r, e) : done;
    json_array_foreach(json_object_get(r->v->record, "snapshots"), i, one)
    {
        done = done == 0 ? add_parts(r, volume_text(one, "layer"), e) : done;
    }
    done = done == 0 ? add_parts(r, volume_text(r->v->record, "backup_layer"), e) : done;
    find_ours(r);
    return done;
}

/* ---- changes ---- */

/* How long it takes to try a passphrase that is made now. */
static void add_work(struct words *w, uint64_t rounds)
{
    if (rounds > 0) {
        words_add(w, "rounds=%llu", (unsigned long long)rounds);
    }
}

/* The worker changes what it writes to, and files below that, which it gets anew. */
static int add_served(const struct rotation *r, const struct part *p, struct words *w,
                      struct err *e)
{
    char fd[32];
    int file = p->written ? -1 : piece_open(r->n, &p->layer, O_RDWR, e);

    words_add(w, "key");
    words_add(w, "layer=%s", p->layer.id);
    if (file >= 0) {
        words_add(w, "reopen=%s.file,%s", p->layer.id, words_fd(w, "fd", file, fd));
    }
    return p->written || file >= 0 ? 0 : file;
}

/* What others only read is changed beside them: they have looked at its header. */
static int add_image(const struct rotation *r, const struct part *p, struct words *w,
                     struct err *e)
{
    const struct arrange_name as = {
        .name = "f", .writes = true, .unlocked = r->control >= 0 && p->below};
    int done = arrange_words(r->n, &p->layer, &as, w, e);

    words_add(w, "node=q,qcow2,file=f,locked,alone,read-only");
    return done;
}

/* Change the header of the layer itself: `add` (a descriptor), or the slot to be removed. */
static int change_header(const struct rotation *r, const struct part *p, int add,
                         int slot, struct err *e)
{
    bool file = layer_has_file(&p->layer);
    bool served = r->control >= 0 && p->below && (p->written || file);
    int key = add >= 0 || r->new < 0 ? r->key : r->new;
    struct words w = {.message = served};
    const struct worker_ask ask = {.words = &w};
    char fd[32];
    int done = served ? add_served(r, p, &w, e) : add_image(r, p, &w, e);

    words_add(&w, "%s", words_fd(&w, "key", fcntl(key, F_DUPFD_CLOEXEC, 3), fd));
    if (add >= 0) {
        words_add(
            &w, "%s",
            words_fd(&w, served ? "new" : "add", fcntl(add, F_DUPFD_CLOEXEC, 3), fd));
        add_work(&w, r->work);
    } else {
        words_add(&w, "remove=%d", slot);
    }
    done = done < 0 ? done
           : served ? volume_worker_ask(r->n, r->control, &ask, e)
                    : words_run(r->n, "key", &w, NULL, NULL, e);
    words_fini(&w);
    return done;
}

static void tell(const struct rotation *r, const struct part *p, const char *state)
{
    (void)json_array_append_new(
        r->rows, json_pack("{s:s, s:s}", "layer", p->layer.id, "state", state));
}

static int find_slot(struct node *n, const struct layer *l, int key, struct err *e)
{
    SCOPED(scope_close) int header = layer_header(n, l, e);

    return header < 0 ? header : volume_key_slot(n, header, key, e);
}

static int add_new(const struct rotation *r, const struct part *p, struct err *e)
{
    struct err none = {0};
    int slot = find_slot(r->n, &p->layer, r->new, &none);
    int done = slot >= 0         ? 0 /* it is there already */
               : slot == -EACCES ? change_header(r, p, r->new, -1, e)
                                 : err_set(e, slot, "%s", none.text);

    (void)fault_step("key.added");
    return done;
}

static int remove_old(const struct rotation *r, const struct part *p, bool *ret_found,
                      struct err *e)
{
    for (int i = 0; i < SLOTS_MOST; i++) {
        struct err none = {0};
        int slot = find_slot(r->n, &p->layer, r->old, &none);
        int done;

        if (slot < 0) {
            return slot == -EACCES ? 0 : err_set(e, slot, "%s", none.text);
        }
        *ret_found = true;
        done = p->ours ? change_header(r, p, -1, slot, e) : 0;
        (void)fault_step("key.removed");
        if (done < 0 || !p->ours) {
            return done;
        }
    }
    return 0;
}

static int rotate(struct rotation *r, struct err *e)
{
    bool any = false;
    int done = 0;

    for (size_t i = 0; done == 0 && r->new >= 0 && i < r->count; i++) {
        done = add_new(r, &r->parts[i], e);
    }
    for (size_t i = r->count; done == 0 && i > 0; i--) { /* the top is the last one */
        const struct part *p = &r->parts[i - 1];
        bool found = false;

        done = r->old >= 0 ? remove_old(r, p, &found, e) : 0;
        any = any || found;
        tell(r, p,
             found && !p->ours      ? "kept"
             : found && r->new >= 0 ? "changed"
             : found                ? "removed"
             : r->new >= 0          ? "added"
                                    : "unchanged");
    }
    return done == 0 && r->old >= 0 && !any
               ? err_set(e, -ENOENT, "no layer of it opens with the one to be removed")
               : done;
}

/* Whether two passphrases are the same bytes. */
static bool is_same(int a, int b)
{
    char one[4096];
    char other[4096];
    ssize_t n;
    off_t at = 0;

    do {
        n = pread(a, one, sizeof one, at);
        if (n < 0 || pread(b, other, sizeof other, at) != n ||
            memcmp(one, other, (size_t)n) != 0) {
            return false;
        }
        at += n;
    } while (n > 0);
    return true;
}

static int read_orders(struct rotation *r, const json_t *order, struct err *e)
{
    bool add = json_object_get(order, "add") != NULL;
    bool away = json_object_get(order, "remove") != NULL;
    bool change = json_object_get(order, "change") != NULL;

    if (add + away + change != 1) {
        return err_set(e, -EINVAL, "one of --add, --remove and --change at a time");
    }
    if (add || change) {
        r->new = volume_key_read(order, add ? "add" : "change", e);
    }
    if (away && json_object_get(order, "key_work") != NULL) {
        return err_set(e, -EINVAL, "--key-work is for a new passphrase");
    }
    if (away) {
        r->old = volume_key_read(order, "remove", e);
        r->owns_old = true;
    } else if (change) {
        r->old = r->key;
    }
    if ((r->new < 0 && (add || change)) || (r->old < 0 && away)) {
        return e != NULL && e->code != 0 ? e->code : -EIO;
    }
    return (away && is_same(r->key, r->old)) || (change && is_same(r->new, r->old))
               ? err_set(e, -EINVAL, "both files have the same passphrase")
               : 0;
}

static void rotation_fini(struct rotation *r)
{
    for (size_t i = 0; i < r->count; i++) {
        layer_fini(&r->parts[i].layer);
        strv_fini(&r->parts[i].users);
    }
    free(r->parts);
    scope_close(&r->key);
    scope_close(&r->new);
    if (r->owns_old) {
        scope_close(&r->old);
    }
}

int disk_volume_key(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    SCOPED(scope_close) int lock = -1;
    struct disk_hold hold = {-1, -1, 0};
    struct volume v = {0};
    struct chain top = {0};
    struct rotation way = {
        .n = n, .v = &v, .control = -1, .key = -1, .new = -1, .old = -1};
    int r = volume_load_disk(n, name, &v, &lock, e);

    r = r == 0 ? chain_load_most(n, volume_text(v.record, "top"), 1, &top, e) : r;
    r = r == 0 ? chain_unlock(n, &top, order, e) : r;
    if (r == 0 && top.key <= 0) {
        r = err_set(e, -EINVAL, "it is not encrypted");
    }
    if (r == 0) {
        way.key = fcntl(top.key, F_DUPFD_CLOEXEC, 3);
        r = read_orders(&way, order, e);
    }
    if (r == 0) { /* asked for before anything is changed */
        r = disk_take(n, &v, &top.layers[0], &hold, e);
        way.control = hold.control;
        scope_close(&hold.alone);
        hold.alone = -1;
    }
    way.rows = json_array();
    way.work = volume_number(order, "key_work");
    r = r == 0 ? load_parts(&way, e) : r;
    r = r == 0 ? rotate(&way, e) : r;
    disk_let_go(&hold);
    chain_fini(&top);
    rotation_fini(&way);
    volume_fini(&v);
    if (r < 0) {
        json_decref(way.rows);
        return err_wrap(e, "cannot change the passphrases of volume '%s'", name);
    }
    *ret = way.rows;
    return 0;
}
