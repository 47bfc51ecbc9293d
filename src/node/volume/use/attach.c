/* attach.c - volumes that are disks, for guests that have them mounted (node/mount).
 *
 * Each becomes an open file, which the process that mounts it inherits: a raw file itself, others
 * by the program `volume`, and those that are written to by the volume's worker, of a machine
 * ("live") raw ones, too: so they are kept, moved and resized under it.  The volume is
 * locked from when the plan is made until the disk is attached, and has its own lock from then
 * on. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/mount/mount.h"
#include "node/volume/mounted.h"
#include "node/volume/option.h"
#include "node/volume/worker.h"
#include "resource/storage/leaf/lock.h"

#define WAIT_MS 2000
#define STEP_MS 20

int volume_plan(struct node *n, const char *name, json_t **ret_disk, struct err *e)
{
    struct volume v = {0};
    int r = volume_load(n, name, &v, e);

    *ret_disk = NULL;
    if (r == 0 && volume_is_disk(v.record)) {
        *ret_disk = json_pack("{s:s, s:I}", "name", name, "block_bytes",
                              (json_int_t)volume_number(v.record, "block_bytes"));
        r = *ret_disk == NULL ? err_set(e, -ENOMEM, "no memory") : 0;
    }
    volume_fini(&v);
    return r;
}

/* ---- opened, for the process that mounts them ---- */

/* A raw file itself, with the lock of whoever uses it. */
static int open_raw(struct node *n, const struct layer *l, bool writes, int *ret_file,
                    struct err *e)
{
    SCOPED(scope_close) int fd = piece_open(n, l, writes ? O_RDWR : O_RDONLY, e);
    int r = fd < 0 ? fd : leaf_lock(fd, writes, false, l->id, e);

    if (r == 0) {
        *ret_file = scope_take_fd(&fd);
    }
    return r;
}

/* Readers are many: each has limits for itself, none has the cache, in which nothing is held back
 * by now, and none writes a trace. */
static int open_read_only(struct node *n, const struct volume *v,
                          const struct chain *chain, int *ret_file, struct err *e)
{
    SCOPED(scope_json)
    json_t *over = json_pack("{s:O*}", "limits", json_object_get(v->record, "limits"));
    const struct volume reader = {.record = over};
    struct words w = {.n_fds = 0};
    struct err why = {0};
    int r = option_cache_settle(n, v, &why);

    if (r ==
        -EBUSY) { /* by other readers, who found nothing; or by who writes, who is met again */
        r = 0;
    }
    r = r < 0 ? err_set(e, r, "%s", why.text)
              : words_chain(n, chain, "disk", false, &w, e);
    r = r == 0 ? option_words(n, &reader, "disk", &w, e) : r;
    if (r < 0) {
        words_fini(&w);
        return r;
    }
    return mounted_file(n, &w, true, ret_file, e);
}

static int open_once(struct node *n, const struct volume *v, const json_t *order,
                     bool writes, int *ret_file, struct err *e)
{
    struct chain chain = {0};
    int r = chain_load(n, volume_text(v->record, "top"), &chain, e);

    r = r == 0 ? chain_unlock(n, &chain, order, e) : r;
    if (r == 0 && chain.count == 1 && layer_has_file(&chain.layers[0]) &&
        strcmp(volume_text(v->record, "format"), "raw") == 0 &&
        !option_stands_over(v->record) &&
        !(writes && json_is_true(json_object_get(order, "live")))) {
        r = open_raw(n, &chain.layers[0], writes, ret_file, e);
    } else if (r == 0) {
        r = writes ? mounted_live(n, v, order, ret_file, e)
                   : open_read_only(n, v, &chain, ret_file, e);
    }
    chain_fini(&chain);
    return r;
}

int mounted_open(struct node *n, const struct volume *v, const json_t *order, bool writes,
                 int *ret_file, struct err *e)
{
    struct err why = {0};
    struct err held = {0};
    int r = open_once(n, v, order, writes, ret_file, &why);

    if (r == -EOWNERDEAD) { /* another layer may be in use, and whole */
        (void)disk_settle_journals(n, v, &held);
        err_clear(&why);
        r = open_once(n, v, order, writes, ret_file, &why);
    }
    return r < 0 ? err_set(e, r, "%s",
                           r == -EOWNERDEAD && held.code != 0 ? held.text : why.text)
                 : r;
}

static int open_volume(struct node *n, const json_t *disk, bool writes, int *ret_file,
                       struct err *e)
{
    struct volume v = {0};
    int r =
        volume_load(n, volume_text(disk, "name"), &v, e); /* settled: its lock is held */

    r = r == 0 ? mounted_open(n, &v, disk, writes, ret_file, e) : r;
    volume_fini(&v);
    return r;
}

/* A guest that has just ended is waited for: its file system is written down. */
static int open_patiently(struct node *n, const json_t *disk, bool writes, int *ret_file,
                          struct err *e)
{
    int64_t end = volume_now_ms() + WAIT_MS;

    for (;;) {
        struct err why = {0};
        int r = open_volume(n, disk, writes, ret_file, &why);

        if (r == 0) {
            return 0;
        }
        if (r != -EBUSY || volume_now_ms() >= end) {
            return r == -EBUSY
                       ? err_set(e, r,
                                 "it is in use: a disk that is written to belongs to one "
                                 "guest or program at a time")
                       : err_set(e, r, "%s", why.text);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
}

/* One disk has one file, for all of its partitions: whether any of them is written to. */
static bool is_written(const json_t *list, const char *name)
{
    size_t i;
    json_t *disk;

    json_array_foreach(list, i, disk)
    {
        if (strcmp(volume_text(disk, "name"), name) == 0 &&
            !json_is_true(json_object_get(disk, "read_only"))) {
            return true;
        }
    }
    return false;
}

static int opened_before(const json_t *list, size_t before, const char *name)
{
    for (size_t i = 0; i < before; i++) {
        const json_t *other = json_array_get(list, i);

        if (strcmp(volume_text(other, "name"), name) == 0) {
            return fcntl((int)volume_number(other, "fd"), F_DUPFD_CLOEXEC, 3);
        }
    }
    return -1;
}

int volume_open_disks(struct node *n, json_t *spec, struct err *e)
{
    const json_t *list = json_object_get(spec, "disks");
    size_t i;
    json_t *disk;
    int r = 0;

    json_array_foreach(list, i, disk)
    {
        const char *name = volume_text(disk, "name");
        int fd = opened_before(list, i, name);

        if (fd < 0) {
            r = open_patiently(n, disk, is_written(list, name), &fd, e);
        }
        if (r < 0) {
            return err_wrap(e, "cannot use volume '%s'", name);
        }
        (void)json_object_set_new(disk, "fd", json_integer(fd));
    }
    return 0;
}

void volume_close_disks(json_t *spec)
{
    size_t i;
    json_t *disk;

    json_array_foreach(json_object_get(spec, "disks"), i, disk)
    {
        int fd = (int)volume_number(disk, "fd");

        if (fd > 0) {
            (void)close(fd);
        }
        (void)json_object_del(disk, "fd");
    }
}

/* ---- while a guest is made ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool volume_names_disk(struct node *n, const char *name)
{
    struct volume v = {0};
    bool yes = volume_load(n, name, &v, NULL) == 0 && volume_is_disk(v.record);

    volume_fini(&v);
    return yes;
}

/* Names of its disks, each once, in an order that is the same for all. */
static void list_disks(struct node *n, const struct guest *g, struct strv *ret)
{
    const json_t *list = json_object_get(guest_config(g), "volume");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        char name[WORD_NAME_BYTES];

        if (text != NULL && text[0] != '/' && text[0] != '.' &&
            str_print(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text) == 0 &&
            !strv_has(ret, name) && volume_names_disk(n, name)) {
            strv_add(ret, name);
        }
    }
    if (ret->n > 1) {
        qsort(ret->items, ret->n, sizeof ret->items[0], by_name);
    }
}

int volume_hold(struct node *n, const struct guest *g, struct volume_holds *ret,
                struct err *e)
{
    struct strv names = {0};
    int r = 0;

    *ret = (struct volume_holds){.count = 0};
    list_disks(n, g, &names);
    ret->fds = names.n > 0 ? fault_calloc(names.n, sizeof ret->fds[0]) : NULL;
    if (strv_failed(&names) || (names.n > 0 && ret->fds == NULL)) {
        r = err_set(e, -ENOMEM, "no memory");
    }
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        struct volume v = {0};

        ret->fds[i] = -1;
        r = volume_load_locked(n, names.items[i], &v, &ret->fds[i], e);
        ret->count += ret->fds[i] >= 0;
        volume_fini(&v);
    }
    strv_fini(&names);
    if (r < 0) {
        volume_let_go(ret);
    }
    return r;
}

void volume_let_go(struct volume_holds *h)
{
    for (size_t i = 0; i < h->count; i++) {
        (void)close(h->fds[i]);
    }
    free(h->fds);
    *h = (struct volume_holds){.count = 0};
}

/* ---- a new file system ---- */

/* Until the program that served it has ended, so that the next command finds it free. */
static void await_free(struct node *n, const struct layer *top)
{
    const struct volume v = {.name = "new"};

    for (int left = WAIT_MS; left > 0; left -= STEP_MS) {
        SCOPED(scope_close) int alone = disk_open_alone(n, &v, top, NULL);

        if (alone != -EBUSY) {
            return;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
}

int disk_volume_format(struct node *n, const struct layer *top, int key, const char *type,
                       struct err *e)
{
    int file = -1;
    int r = mounted_layer(n, top, key, &file, e);

    (void)fault_step("volume.format");
    r = r == 0 ? disks_format(file, layer_block_bytes(top), type, e) : r;
    scope_close(&file);
    await_free(n, top);
    return r;
}
