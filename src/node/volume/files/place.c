/* place.c - where volumes that are directories lie.
 *
 *     STATE/volumes/NAME/data            those of no pool
 *     MEMBER/files/NAME/data             those on a member of a pool
 *     .../.NAME.ID.gone                  on its way out, and so is whatever no record has */
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
#include "node/files.h"
#include "node/volume/directory.h"
#include "node/volume/private.h"

#define FOLDER "files" /* of members */

static const json_t *member_of(const json_t *pool, const json_t *record)
{
    return pool_member(pool, (unsigned)volume_number(record, "member"));
}

int directory_open_places(struct node *n, const json_t *record, struct err *e)
{
    const char *name = volume_text(record, "pool");
    SCOPED(scope_json) json_t *pool = NULL;
    const json_t *member;
    char path[PATH_MAX];
    int fd;
    int r;

    if (name[0] == '\0') {
        (void)str_print(path, sizeof path, "%s/volumes", n->state);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? err_sys(e, -errno, "cannot open '%s'", path) : fd;
    }
    r = pool_load(n, name, &pool, e);
    if (r < 0) {
        return r;
    }
    member = member_of(pool, record);
    return member == NULL
               ? err_set(e, -ENODEV, "pool '%s' has no such member any more", name)
               : pool_open_dir(n, pool, member, FOLDER, e);
}

int directory_path(struct node *n, const json_t *record, char out[PATH_MAX],
                   struct err *e)
{
    const char *name = volume_text(record, "pool");
    SCOPED(scope_close) int places = -1;
    SCOPED(scope_json) json_t *pool = NULL;
    int r;

    if (name[0] == '\0') {
        volume_path(n, volume_text(record, "name"), "/data", out);
        return 0;
    }
    places =
        directory_open_places(n, record, e); /* what is mounted there is the member */
    r = places < 0 ? places : pool_load(n, name, &pool, e);
    return r < 0 ? r
                 : str_print(out, PATH_MAX, "%s/" FOLDER "/%s/data",
                             pool_member_path(member_of(pool, record)),
                             volume_text(record, "name"));
}

int directory_choose(struct node *n, const json_t *pool, const char *class,
                     json_t *record, struct err *e)
{
    struct pool_choice choice;
    int r = pool_choose(n, pool, class, &choice, e);

    for (unsigned i = 0; r == 0 && i < choice.count; i++) {
        if (pool_member_has_files(pool_member(pool, choice.id[i]))) {
            (void)json_object_set(record, "pool", json_object_get(pool, "name"));
            (void)json_object_set_new(record, "member", json_integer(choice.id[i]));
            return 0;
        }
    }
    return r < 0 ? r
                 : err_set(e, -ENOSPC,
                           "pool '%s' has only devices, which hold disks: '--size SIZE "
                           "--filesystem ext4'",
                           volume_text(pool, "name"));
}

int directory_put_away(int places, const char *name, char gone[NAME_MAX + 1])
{
    char id[NODE_ID_DIGITS + 1];
    int r = word_random_id(id, NODE_ID_DIGITS);

    if (r < 0) {
        return r;
    }
    (void)str_print(gone, NAME_MAX + 1, ".%s.%s" GUEST_GONE, name, id);
    return renameat(places, name, places, gone) < 0 && errno != ENOENT ? -errno : 0;
}

int directory_remove(struct node *n, int places, const char *name)
{
    char gone[NAME_MAX + 1];
    int r = directory_put_away(places, name, gone);

    (void)fault_step("volume.delete.away");
    return r == 0 ? disk_remove_tree(n, places, gone) : r;
}

int directory_make(struct node *n, int places, const char *name, uint32_t project)
{
    SCOPED(scope_close) int own = -1;
    SCOPED(scope_close) int data = -1;
    int r = directory_remove(n, places, name); /* of one whose deletion was killed */

    if (r < 0) {
        return r;
    }
    if (mkdirat(places, name, 0755) == 0) {
        own = openat(places, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (own >= 0 && mkdirat(own, "data", 0755) == 0) {
        data = openat(own, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (data < 0) {
        return -errno;
    }
    return project != 0 ? directory_set_project(data, project) : 0;
}

int directory_scratch(struct node *n, int places, char name[WORD_NAME_BYTES],
                      int *ret_lock, struct err *e)
{
    char id[NODE_ID_DIGITS + 1];
    int r = word_random_id(id, NODE_ID_DIGITS);

    (void)str_print(name, WORD_NAME_BYTES, "unfinished-%s", id);
    r = r == 0 ? volume_lock(n, name, ret_lock, e) : r;
    if (r == 0 && mkdirat(places, name, 0700) < 0) {
        r = err_sys(e, -errno, "cannot make a directory for a while");
        volume_forget_lock(n, name);
        scope_close(ret_lock);
        *ret_lock = -1;
    }
    return r;
}

/* ---- what no record has ---- */

bool directory_is_moving(const struct node *n, const char *name)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;

    (void)str_print(path, sizeof path, "%s/volumes/%s.lock", n->run, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static bool is_recorded(struct node *n, const char *name, const json_t *pool,
                        const json_t *member)
{
    struct volume v = {0};
    int r = word_is_name(name) ? volume_load(n, name, &v, NULL) : -ENOENT;
    bool yes = r < 0 ? r != -ENOENT
                     : strcmp(volume_text(v.record, "kind"), "files") == 0 &&
                           strcmp(volume_text(v.record, "pool"),
                                  volume_text(pool, "name")) == 0 &&
                           volume_number(v.record, "member") == pool_member_id(member);

    volume_fini(&v);
    return yes;
}

static void sweep_member(struct node *n, const json_t *pool, const json_t *member,
                         void (*fn)(void *arg, const char *name), void *arg)
{
    SCOPED(scope_close) int places = pool_open_dir(n, pool, member, FOLDER, NULL);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;

    d = places < 0 ? NULL : fdopendir(fcntl(places, F_DUPFD_CLOEXEC, 3));
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !is_recorded(n, entry->d_name, pool, member) &&
            !directory_is_moving(n, entry->d_name) &&
            disk_remove_tree(n, places, entry->d_name) == 0) {
            fn(arg, entry->d_name);
        }
    }
}

void directory_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg)
{
    SCOPED(scope_json) json_t *pools = NULL;
    size_t i;
    json_t *pool;

    if (record_list(n, "/pools/", &pools, NULL) < 0) {
        return;
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
