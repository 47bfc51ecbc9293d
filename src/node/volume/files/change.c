/* change.c - a directory gets another limit, or moves to another pool.
 *
 * It moves when no guest has it: all of it is copied first, and one transaction says where it is
 * from then on.  What is left of a move that was killed has no record, and is swept. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/files.h"
#include "node/volume/directory.h"
#include "node/volume/private.h"

static int save(struct node *n, struct volume *v, struct record_change *c, struct err *e)
{
    char key[KV_KEY_BYTES];
    int r;

    RECORD_KEY(key, "/volumes/%s", v->name);
    record_need_same(c, key, v->revision);
    record_put_json(c, key, v->record);
    r = record_change_do(n, c, e);
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "a guest has it, or another command changed it")
               : r;
}

/* ---- another limit ---- */

static int resize(struct node *n, struct volume *v, uint64_t size, struct err *e)
{
    uint32_t project = (uint32_t)volume_number(v->record, "project");
    uint64_t now = volume_number(v->record, "quota_bytes");
    const char *name = volume_text(v->record, "pool");
    SCOPED(scope_json) json_t *pool = NULL;
    SCOPED(scope_close) int places = -1;
    struct record_change c = {0};
    int r = 0;

    if (project == 0) {
        return err_set(e, -EINVAL, "it is a directory without a quota");
    }
    if (name[0] != '\0' && size > now) {
        r = pool_load(n, name, &pool, e);
        r = r == 0 ? pool_check_quota(n, pool, size - now, e) : r;
    }
    places = r == 0 ? directory_open_places(n, v->record, e) : -1;
    r = r == 0 && places < 0 ? places : r;
    if (r == 0) {
        r = directory_set_quota(places, project, size);
        r = r < 0 ? err_sys(e, r, "cannot set its quota") : 0;
    }
    (void)json_object_set_new(v->record, "quota_bytes", json_integer((json_int_t)size));
    (void)json_object_set_new(v->record, "size_bytes", json_integer((json_int_t)size));
    r = r == 0 ? save(n, v, &c, e) : r;
    record_change_fini(&c);
    return r;
}

int directory_resize(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    struct volume v = {0};
    int r = volume_load(n, name, &v, e);

    r = r == 0 ? resize(n, &v, volume_number(order, "size"), e) : r;
    if (r == 0) {
        *ret = json_incref(v.record);
    }
    volume_fini(&v);
    return r < 0 ? err_wrap(e, "cannot resize volume '%s'", name) : 0;
}

/* ---- another pool ---- */

struct moving {
    struct node *n;
    struct volume *v;
    json_t *record; /* owned: as it will be */
    int from;       /* owned: where its directory is */
    int to;         /* owned: where it will be */
};

/* The directory with all that is in it, under its own name. */
static int copy(struct moving *m, struct err *e)
{
    const struct copy_how how = {.keep_owner = true, .raw = true};
    uint64_t quota = volume_number(m->v->record, "quota_bytes");
    SCOPED(scope_close) int from = -1;
    SCOPED(scope_close) int to = -1;
    uint32_t project = 0;
    int r = quota > 0 ? directory_take_project(m->to, quota, &project, e) : 0;

    if (r == 0) {
        r = directory_make(m->n, m->to, m->v->name, project);
        r = r < 0 ? err_sys(e, r, "cannot make its directory") : 0;
    }
    if (project != 0) {
        (void)json_object_set_new(m->record, "project", json_integer(project));
    }
    if (r == 0) {
        from = openat(m->from, m->v->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        to = openat(m->to, m->v->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = from < 0 || to < 0 ? err_sys(e, -errno, "cannot open its directory") : 0;
    }
    (void)fault_step("directory.copying");
    if (r == 0) {
        const struct disk_ends ends = {from, "data", to, "data"};

        r = disk_copy_tree(m->n, &ends, &how, e);
    }
    if (r == 0 && syncfs(m->to) < 0) {
        r = err_sys(e, -errno, "cannot write it down");
    }
    return r;
}

static int record_move(struct moving *m, struct err *e)
{
    const char *was = volume_text(m->v->record, "pool");
    const char *now = volume_text(m->record, "pool");
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    char path[PATH_MAX];
    int r = directory_path(m->n, m->record, path, e);

    (void)json_object_set_new(m->record, "path", json_string(path));
    RECORD_KEY(key, "/owners/%s/", m->v->name);
    record_need_empty(&c, key);
    if (was[0] != '\0') {
        RECORD_KEY(key, "/pool-layers/%s/files.%s", was, m->v->name);
        record_delete(&c, key);
    }
    if (now[0] != '\0') {
        RECORD_KEY(key, "/pools/%s", now);
        record_need(&c, key);
        RECORD_KEY(key, "/pool-layers/%s/files.%s", now, m->v->name);
        record_put(&c, key, "");
    }
    if (r == 0) {
        json_decref(m->v->record);
        m->v->record = json_incref(m->record);
        r = save(m->n, m->v, &c, e);
    }
    record_change_fini(&c);
    return r;
}

static int prepare(struct moving *m, const json_t *order, struct err *e)
{
    const char *name = volume_text(order, "pool");
    const char *was = volume_text(m->v->record, "pool");
    SCOPED(scope_json) json_t *users = volume_users(m->n, m->v->name);
    SCOPED(scope_json) json_t *pool = NULL;
    int r = 0;

    name = strcmp(name, POOL_DEFAULT) == 0 ? "" : name;
    if (json_array_size(users) > 0) {
        return err_set(e, -EBUSY, "guest '%s' has it",
                       json_string_value(json_array_get(users, 0)));
    }
    if (strcmp(name, was) == 0) {
        return err_set(e, -EINVAL, "it is there already");
    }
    (void)json_object_del(m->record, "pool");
    (void)json_object_del(m->record, "member");
    if (name[0] != '\0') {
        r = pool_load(m->n, name, &pool, e);
        r = r == 0
                ? pool_check_quota(m->n, pool, volume_number(m->record, "quota_bytes"), e)
                : r;
        r = r == 0 ? directory_choose(m->n, pool, POOL_CLASS_USUAL, m->record, e) : r;
    }
    m->from = r == 0 ? directory_open_places(m->n, m->v->record, e) : -1;
    m->to = m->from >= 0 ? directory_open_places(m->n, m->record, e) : -1;
    return r < 0 ? r : m->from < 0 ? m->from : m->to < 0 ? m->to : 0;
}

static int move(struct moving *m, const json_t *order, struct err *e)
{
    uint32_t project = (uint32_t)volume_number(m->v->record, "project");
    int r = prepare(m, order, e);

    if (r < 0) {
        return r;
    }
    r = copy(m, e);
    (void)fault_step("directory.copied");
    r = r == 0 ? record_move(m, e) : r;
    (void)fault_step("directory.recorded");
    if (r < 0) {
        uint32_t new = (uint32_t)volume_number(m->record, "project");

        (void)directory_remove(m->n, m->to, m->v->name);
        if (new != project) {
            (void)directory_set_quota(m->to, new, 0);
        }
        return r;
    }
    (void)directory_remove(m->n, m->from, m->v->name);
    if (project != 0) {
        (void)directory_set_quota(m->from, project, 0);
    }
    return 0;
}

int directory_move(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    struct moving m = {.n = n, .v = &v, .from = -1, .to = -1};
    int r = volume_lock(n, name, &lock, e);

    r = r == 0 ? volume_load(n, name, &v, e) : r;
    m.record = r == 0 ? json_deep_copy(v.record) : NULL;
    r = r == 0 ? move(&m, order, e) : r;
    if (r == 0) {
        *ret = json_incref(v.record);
    }
    if (lock >= 0) {
        volume_forget_lock(n, name);
    }
    scope_close(&m.from);
    scope_close(&m.to);
    json_decref(m.record);
    volume_fini(&v);
    return r < 0 ? err_wrap(e, "cannot move volume '%s'", name) : 0;
}
