/* record.c - the records of volumes.
 *
 *     /volumes/NAME      kind, mode, labels; of a disk its pool, top layer and snapshots
 *     /owners/NAME/ID    ID of a guest that has it (files.c)
 *     RUN/volumes/NAME.lock   held while a command changes what the disk is made of */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "node/volume/option.h"

#define LOCK_WAIT_MS 10000
#define LOCK_STEP_NS 5000000

const char *volume_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

uint64_t volume_number(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 ? (uint64_t)value : 0;
}

void volume_fini(struct volume *v)
{
    json_decref(v->record);
    memset(v, 0, sizeof *v);
}

int volume_load(struct node *n, const char *name, struct volume *ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    int r;

    if (!word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a volume", name);
    }
    RECORD_KEY(key, "/volumes/%s", name);
    r = record_load_at(n, key, &ret->record, &ret->revision, e);
    (void)str_print(ret->name, sizeof ret->name, "%s", name);
    return r == -ENOENT && (e == NULL || e->code == 0)
               ? err_set(e, r, "volume '%s' does not exist (see 'strata volume list')",
                         name)
               : r;
}

bool volume_is_disk(const json_t *volume)
{
    return strcmp(volume_text(volume, "kind"), "disk") == 0;
}

static int open_lock(struct node *n, const char *name, struct err *e)
{
    char path[PATH_MAX];
    int r = node_need_places(n, e);
    int fd;

    if (r < 0) {
        return r;
    }
    (void)str_print(path, sizeof path, "%s/volumes", n->run);
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return err_sys(e, -errno, "cannot make '%s'", path);
    }
    (void)str_print(path, sizeof path, "%s/volumes/%s.lock", n->run, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(e, -errno, "cannot lock volume '%s'", name) : fd;
}

int volume_lock(struct node *n, const char *name, int *ret_fd, struct err *e)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_NS};

    for (int waited = 0; waited < LOCK_WAIT_MS; waited += LOCK_STEP_NS / 1000000) {
        SCOPED(scope_close) int fd = open_lock(n, name, e);
        struct stat s;

        if (fd < 0) {
            return fd;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &s) == 0 && s.st_nlink > 0) {
            *ret_fd = scope_take_fd(&fd);
            return 0;
        }
        (void)nanosleep(&step, NULL);
    }
    return err_set(e, -EBUSY, "another command is changing volume '%s'", name);
}

void volume_forget_lock(const struct node *n, const char *name)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/volumes/%s.lock", n->run, name);
    (void)unlink(path);
}

int volume_load_disk(struct node *n, const char *name, struct volume *ret, int *ret_lock,
                     struct err *e)
{
    int r = volume_load_locked(n, name, ret, ret_lock, e);

    return r == 0 ? option_cache_settle(n, ret, e) : r;
}

int volume_load_locked(struct node *n, const char *name, struct volume *ret,
                       int *ret_lock, struct err *e)
{
    int r = volume_load(n, name, ret, e); /* before a lock is made for a slip */

    if (r == 0 && !volume_is_disk(ret->record)) {
        r = err_set(e, -EINVAL, "volume '%s' is a directory, and this is for disks",
                    name);
    }
    if (r == 0) {
        r = volume_lock(n, name, ret_lock, e);
    }
    if (r == 0) {
        volume_fini(ret);
        r = volume_load(n, name, ret, e);
    }
    if (r == 0) {
        piece_mend(n);
        r = disk_settle(n, ret, e);
    }
    return r;
}

int volume_load_settled(struct node *n, const char *name, struct volume *ret,
                        struct err *e)
{
    static const char *const members[] = {"unsettled", "moving", "merging"};
    SCOPED(scope_close) int lock = -1;
    bool settled = true;
    int r = volume_load(n, name, ret, e);

    for (size_t i = 0; r == 0 && i < sizeof members / sizeof members[0]; i++) {
        settled = settled && volume_text(ret->record, members[i])[0] == '\0';
    }
    if (r == 0 && !settled) {
        volume_fini(ret);
        r = volume_load_disk(n, name, ret, &lock, e);
    }
    return r;
}

bool volume_is_named(const char *text, const char *name)
{
    size_t n = strlen(name);

    return text != NULL && strncmp(text, name, n) == 0 &&
           (text[n] == ':' || text[n] == '\0');
}

json_t *volume_users(struct node *n, const char *name)
{
    SCOPED(scope_json) json_t *records = NULL;
    json_t *out = json_array();
    size_t i;
    json_t *record;

    if (guest_all(n, &records, NULL) < 0) {
        return out;
    }
    json_array_foreach(records, i, record)
    {
        const json_t *list = json_object_get(json_object_get(record, "config"), "volume");
        size_t k;
        json_t *item;

        json_array_foreach(list, k, item)
        {
            if (volume_is_named(json_string_value(item), name)) {
                (void)json_array_append(out, json_object_get(record, "name"));
                break;
            }
        }
    }
    return out;
}

void volume_now(char out[32])
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, out);
}

json_t *volume_snapshot_of(const json_t *volume, const char *snapshot)
{
    size_t i;
    json_t *one;

    json_array_foreach(json_object_get(volume, "snapshots"), i, one)
    {
        if (strcmp(volume_text(one, "name"), snapshot) == 0) {
            return one;
        }
    }
    return NULL;
}
