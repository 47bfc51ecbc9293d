/* images.c - the store of images on a pool.
 *
 * The store is the two directories STATE/images and STATE/layers (resource/image/image.h).
 * On a pool they lie in MEMBER/images, and STATE has symbolic links of the old names, so
 * that nobody else has to know.
 *
 * Each of the two is copied whole, durable, and then changes places with a link in one
 * step (renameat2); what changed places, STATE/NAME.away, is taken away afterwards.
 * Whatever is there after a kill, both names lead to whole directories, and the next move
 * begins with what is left over.  Guests that run have layers mounted, so none may. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "node/files.h"
#include "node/pool/private.h"
#include "resource/image/image.h"

#define AWAY   ".away"
#define FOLDER "images" /* of a member */

static const char *const parts[] = {"images", "layers"};

struct move {
    struct node *n;
    int state; /* directory */
    int to;    /* MEMBER/images */
    char to_path[PATH_MAX];
};

static int nobody_runs(struct node *n, struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    size_t i;
    json_t *record;
    int r = guest_all(n, &records, e);

    json_array_foreach(records, i, record)
    {
        const char *id = json_string_value(json_object_get(record, "id"));
        struct guest_status st = {0};

        if (r == 0 && id != NULL && guest_status(n, id, &st, NULL) == 0 &&
            guest_is_alive(&st)) {
            r = err_set(e, -EBUSY, "guest '%s' runs from an image: stop it first",
                        pool_text(record, "name"));
        }
    }
    return r;
}

/* Where a link in the state directory leads; -EINVAL: it is none. */
static int link_target(int state, const char *name, char out[PATH_MAX])
{
    ssize_t n = readlinkat(state, name, out, PATH_MAX - 1);

    if (n < 0) {
        return -errno;
    }
    out[n] = '\0';
    return 0;
}

/* Take away what a part changed places with: a tree, or a link and the tree that it leads
 * to, unless that is the one in use. */
static int clear_away(const struct move *m, const char *part)
{
    char name[32];
    char was[PATH_MAX];
    char now[PATH_MAX];
    int r;

    (void)str_print(name, sizeof name, "%s" AWAY, part);
    r = link_target(m->state, name, was);
    if (r == -ENOENT) {
        return 0;
    }
    if (r == -EINVAL) {
        return disk_remove_tree(m->n, m->state, name);
    }
    if (r == 0 && (link_target(m->state, part, now) < 0 || strcmp(was, now) != 0)) {
        r = disk_remove_tree(m->n, AT_FDCWD, was);
        r = r == -ENOENT ? 0 : r;
    }
    return r == 0 && unlinkat(m->state, name, 0) < 0 ? -errno : r;
}

static int copy_part(const struct move *m, const char *part, struct err *e)
{
    static const struct copy_how exact = {.keep_owner = true, .raw = true};
    SCOPED(scope_close)
    int from = openat(m->state, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct disk_ends ends = {
        .from = from, .from_name = ".", .to = m->to, .to_name = part};
    int r = from < 0 ? -errno : disk_remove_tree(m->n, m->to, part);

    r = r == -ENOENT ? 0 : r;
    r = r == 0 ? disk_copy_tree(m->n, &ends, &exact, e) : r;
    return r == 0 && syncfs(m->to) < 0 ? -errno : r;
}

/* One part, unless it is there already. */
static int move_part(const struct move *m, const char *part, struct err *e)
{
    char target[PATH_MAX];
    char now[PATH_MAX];
    char away[32];
    int r = str_print(target, sizeof target, "%s/%s", m->to_path, part);

    if (r == 0 && link_target(m->state, part, now) == 0 && strcmp(now, target) == 0) {
        return 0;
    }
    (void)str_print(away, sizeof away, "%s" AWAY, part);
    r = r == 0 ? copy_part(m, part, e) : r;
    (void)fault_step("image.move.copied");
    if (r == 0 && symlinkat(target, m->state, away) < 0) {
        r = -errno;
    }
    if (r == 0 && renameat2(m->state, away, m->state, part, RENAME_EXCHANGE) < 0) {
        r = -errno;
        (void)unlinkat(m->state, away, 0);
    }
    r = r == 0 && fsync(m->state) < 0 ? -errno : r;
    (void)fault_step("image.move.exchanged");
    return r < 0 ? err_sys(e, r, "cannot copy '%s'", part) : 0;
}

/* The directory of the pool with the most room, opened; -errno with a text. */
static int find_place(struct node *n, const json_t *pool, struct move *m, struct err *e)
{
    struct pool_choice choice = {0};
    int r = pool_choose(n, pool, POOL_CLASS_USUAL, &choice, e);

    if (r == 0) {
        const json_t *member = pool_member(pool, choice.id[0]);

        (void)str_print(m->to_path, sizeof m->to_path, "%s/" FOLDER,
                        pool_member_path(member));
        m->to = pool_open_dir(n, pool, member, FOLDER, e);
        r = m->to < 0 ? m->to : 0;
    }
    return r;
}

static int check_room(const struct move *m, uint64_t *ret_bytes, struct err *e)
{
    struct statvfs fs;
    uint64_t free_bytes =
        fstatvfs(m->to, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
    char need[UNITS_TEXT_BYTES];
    char have[UNITS_TEXT_BYTES];

    *ret_bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        SCOPED(scope_close)
        int fd = openat(m->state, parts[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        *ret_bytes += fd < 0 ? 0 : bytes_below(fd, ".", 0);
    }
    if (*ret_bytes <= free_bytes) {
        return 0;
    }
    units_print_size(*ret_bytes, need);
    units_print_size(free_bytes, have);
    return err_set(e, -ENOSPC, "the images take %s, and there is room for %s", need,
                   have);
}

/* The pool that has the store is not deleted. */
static int record_pool(struct node *n, const char *pool, struct err *e)
{
    struct record_change c = {0};
    struct kv_items items = {0};
    char key[KV_KEY_BYTES];
    int r = record_items(n, "/pool-layers/", &items, e);

    RECORD_KEY(key, "/pool-layers/%s/images", pool);
    for (size_t i = 0; r == 0 && i < items.n; i++) {
        if (str_ends(items.items[i].key, "/images") &&
            strcmp(items.items[i].key, key) != 0) {
            record_delete(&c, items.items[i].key);
        }
    }
    record_put(&c, key, "images");
    r = r == 0 ? record_change_do(n, &c, e) : r;
    record_change_fini(&c);
    kv_items_fini(&items);
    return r;
}

static int move_all(struct move *m, const json_t *pool, json_t **ret, struct err *e)
{
    uint64_t bytes = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof parts / sizeof parts[0]; i++) {
        r = clear_away(m, parts[i]);
    }
    r = r < 0 ? err_sys(e, r, "cannot clear what an earlier move left") : 0;
    r = r == 0 ? check_room(m, &bytes, e) : r;
    r = r == 0 ? record_pool(m->n, pool_text(pool, "name"), e) : r;
    for (size_t i = 0; r == 0 && i < sizeof parts / sizeof parts[0]; i++) {
        r = move_part(m, parts[i], e);
    }
    for (size_t i = 0; r == 0 && i < sizeof parts / sizeof parts[0]; i++) {
        (void)clear_away(m, parts[i]); /* the next move tries again */
    }
    if (r == 0) {
        *ret = json_pack("{s:s, s:s, s:I}", "pool", pool_text(pool, "name"), "path",
                         m->to_path, "size_bytes", (json_int_t)bytes);
    }
    return r;
}

int node_image_move(struct node *n, const char *op, const json_t *order, json_t **ret,
                    struct err *e)
{
    const char *name = pool_text(order, "pool");
    SCOPED(scope_json) json_t *pool = NULL;
    SCOPED(scope_close) int lock = -1;
    struct move m = {.n = n, .state = -1, .to = -1};
    struct image_store *store;
    int r = pool_load(n, name, &pool, e);

    (void)op;
    *ret = NULL;
    r = r == 0 ? node_images(n, &store, e) : r;
    if (r == 0) {
        lock = image_lock_alone(store, e);
        r = lock < 0 ? lock : nobody_runs(n, e);
    }
    if (r == 0) {
        m.state = open(n->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = m.state < 0 ? err_sys(e, -errno, "cannot open '%s'", n->state) : 0;
    }
    r = r == 0 ? find_place(n, pool, &m, e) : r;
    r = r == 0 ? move_all(&m, pool, ret, e) : r;
    scope_close(&m.to);
    scope_close(&m.state);
    return r < 0 ? err_wrap(e, "cannot move the images to pool '%s'", name) : 0;
}
