/* backup.c - a disk's past in a directory of its own, and disks made from it.
 *
 *     DIRECTORY/backups.json   the list, in order: file, time, size
 *     DIRECTORY/0001.qcow2     the whole disk
 *     DIRECTORY/0002.qcow2     what changed since, standing on 0001.qcow2
 *
 * Each is a qcow2 image that other tools open as it is.  What changed is known without
 * marks and without reading: a backup freezes the top layer and keeps it (user b/NAME),
 * and the next one copies what the layers above that hold.  A backup that was killed
 * leaves a file that the list does not name, which the next one writes over. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/volume/archive.h"
#include "node/volume/arrange.h"
#include "node/volume/mounted.h"
#include "node/volume/worker.h"

#define LIST      "backups.json"
#define LIST_MOST (1u << 20)

/* ---- the list ---- */

struct backup {
    struct node *n;
    struct volume *v;
    const json_t *order;
    int dir;
    char file[16]; /* of the new one */
    char id[LAYER_ID_DIGITS + 1];
    const char *before; /* the file that it stands on; NULL: the whole disk */
    struct chain chain; /* of the frozen disk */
    size_t layers;      /* how many of them changed since */
};

int backup_list_load(int dir, const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    int r = file_read(dir, LIST, LIST_MOST, &text, &len);

    if (r == -ENOENT) {
        *ret = json_pack("{s:[]}", "backups");
        return 0;
    }
    r = r < 0 ? err_sys(e, r, "cannot read '%s/%s'", path, LIST)
              : json_parse(text, len, LIST, ret, e);
    if (r == 0 && !json_is_array(json_object_get(*ret, "backups"))) {
        json_decref(*ret);
        *ret = NULL;
        r = err_set(e, -EINVAL, "'%s/%s' is no list of backups", path, LIST);
    }
    return r;
}

const json_t *backup_list_last(const json_t *list)
{
    const json_t *all = json_object_get(list, "backups");

    return json_array_get(all, json_array_size(all) - 1);
}

/* Names of files are ours alone: digits and a suffix, whatever the list says. */
static bool is_file_name(const char *name)
{
    return strlen(name) == 10 && strspn(name, "0123456789") == 4 &&
           strcmp(name + 4, ".qcow2") == 0;
}

/* Whether it stands on the one before it. */
static bool is_changes(const json_t *backup)
{
    return strcmp(volume_text(backup, "kind"), "changes") == 0;
}

/* 0: the usual; whatever the list says. */
static uint32_t block_of(const json_t *backup)
{
    return volume_number(backup, "block_bytes") == 4096 ? 4096 : 0;
}

static bool is_encrypted(const json_t *backup)
{
    return json_is_true(json_object_get(backup, "encrypted"));
}

/* The first one that a backup needs: the whole disk before it. */
static size_t first_needed(const json_t *list, size_t at)
{
    const json_t *all = json_object_get(list, "backups");

    while (at > 0 && is_changes(json_array_get(all, at))) {
        at--;
    }
    return at;
}

int backup_list_save(int dir, const json_t *list)
{
    SCOPED(scope_free) char *text = json_dumps(list, JSON_INDENT(2));

    return text == NULL ? -ENOMEM
                        : file_replace(dir, LIST, text, strlen(text), 0600, true);
}

static int save_list(const struct backup *b, json_t *list)
{
    const char *kind = b->before != NULL ? "changes" : "whole";
    json_t *locked = b->chain.key > 0 ? json_true() : NULL;
    json_t *block = json_object_get(b->v->record, "block_bytes");
    json_int_t size = (json_int_t)volume_number(b->v->record, "size_bytes");
    char name[5];
    char now[32];

    volume_now(now);
    (void)str_print(name, sizeof name, "%.4s", b->file);
    (void)json_object_set_new(list, "volume", json_string(b->v->name));
    (void)json_array_append_new(
        json_object_get(list, "backups"),
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:o*, s:O*}", "name", name, "kind",
                  kind, "file", b->file, "created_at", now, "size_bytes", size, "id",
                  b->id, "encrypted", locked, "block_bytes", block));
    return backup_list_save(b->dir, list);
}

static void node_name(const char *name, size_t at, char out[48])
{
    (void)str_print(out, 48, at == 0 ? "%s" : "%s.%zu", name, at);
}

/* One image of the list, `at` steps below the node `name`. */
static int add_image(const json_t *backup, int dir, const char *name, size_t at,
                     struct words *w, struct err *e)
{
    const char *file = volume_text(backup, "file");
    int fd =
        is_file_name(file) ? openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    char own[48];
    char below[48];
    char word[32];

    if (fd < 0) {
        return err_sys(e, is_file_name(file) ? -errno : -EINVAL,
                       "cannot open the backup '%s'", file);
    }
    node_name(name, at, own);
    node_name(name, at + 1, below);
    words_add(w, "node=%s.file,file,%s,read-only", own, words_fd(w, "fd", fd, word));
    words_add(w, "node=%s,qcow2,file=%s.file%s%s,read-only%s", own, own,
              is_changes(backup) ? ",backing=" : "", is_changes(backup) ? below : "",
              is_encrypted(backup) ? w->key : "");
    return 0;
}

/* The node `name` is backup number `last` of the list. */
static int add_images(const json_t *list, size_t last, int dir, const char *name,
                      struct words *w, struct err *e)
{
    const json_t *all = json_object_get(list, "backups");
    int r = 0;

    for (size_t i = first_needed(list, last); r == 0 && i <= last; i++) {
        r = add_image(json_array_get(all, i), dir, name, last - i, w, e);
    }
    return r;
}

/* ---- making one ---- */

static int write_whole(struct backup *b, int take_fd, struct err *e)
{
    struct words w = {.n_fds = 0};
    char fd[32];
    int r = words_chain(b->n, &b->chain, "disk", false, &w, e);

    words_add(&w, "node=out,file,%s", words_fd(&w, "fd", take_fd, fd));
    words_add(&w, "from=disk");
    words_add(&w, "to=out");
    words_add(&w, "format=qcow2");
    if (w.key[0] != '\0') {
        words_add(&w, "%s", w.key + 1);
    }
    r = r == 0 ? words_run(b->n, "convert", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

/* What one layer holds, over what is there already. */
static int add_changes(struct backup *b, const json_t *list, const struct layer *l,
                       int file, struct err *e)
{
    const json_t *all = json_object_get(list, "backups");
    const struct arrange_name as = {.name = "from.file"};
    struct words w = {.n_fds = 0};
    char fd[32];
    int r;

    words_unlock(&w, b->chain.key);
    r = add_images(list, json_array_size(all) - 1, b->dir, "below", &w, e);

    words_add(&w, "node=to.file,file,%s",
              words_fd(&w, "fd", fcntl(file, F_DUPFD_CLOEXEC, 3), fd));
    words_add(&w, "node=to,qcow2,file=to.file,backing=below%s", w.key);
    r = r == 0 ? arrange_words(b->n, l, &as, &w, e) : r;
    words_add(&w, "node=from,qcow2,file=from.file,alone,read-only%s", w.key);
    words_add(&w, "from=from");
    words_add(&w, "to=to");
    r = r == 0 ? words_run(b->n, "merge", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

static int write_changes(struct backup *b, const json_t *list, int file, struct err *e)
{
    SCOPED(scope_close) int other = -1;
    SCOPED(scope_close) int header = -1;
    struct image_plan plan = {.size_bytes = volume_number(b->v->record, "size_bytes"),
                              .backing = b->before,
                              .backing_format = "qcow2"};
    int r = 0;

    if (b->chain.key > 0) {
        other = openat(b->dir, b->before, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        header = other < 0 ? err_sys(e, -errno, "cannot open '%s'", b->before)
                           : volume_key_header(other, e);
        plan.header = header;
        r = header < 0 ? header : 0;
    }
    r = r == 0 ? volume_image_make(file, &plan, e) : r;
    for (size_t i = b->layers; r == 0 && i > 0; i--) {
        r = add_changes(b, list, &b->chain.layers[i - 1], file, e);
    }
    return r;
}

static int write_backup(struct backup *b, const json_t *list, const char *path,
                        struct err *e)
{
    SCOPED(scope_close)
    int fd = openat(b->dir, b->file, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    int r;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot write '%s/%s'", path, b->file);
    }
    r = b->before != NULL ? write_changes(b, list, fd, e)
                          : write_whole(b, fcntl(fd, F_DUPFD_CLOEXEC, 3), e);
    (void)fault_step("backup.written");
    return r == 0 && fsync(fd) < 0
               ? err_sys(e, -errno, "cannot write '%s/%s'", path, b->file)
               : r;
}

/* Freeze the disk as it is now, and load what it is made of. */
static int freeze(struct backup *b, struct err *e)
{
    struct disk_hold hold = {-1, -1, 0};
    char name[WORD_NAME_BYTES];
    char frozen[LAYER_ID_DIGITS + 1];
    int r = chain_load_most(b->n, volume_text(b->v->record, "top"), 2, &b->chain, e);

    r = r == 0 ? chain_unlock(b->n, &b->chain, b->order, e) : r;
    r = r == 0 ? disk_take(b->n, b->v, &b->chain.layers[0], &hold, e) : r;
    r = r == 0 ? disk_hold_key(b->n, b->v, &hold, &b->chain.layers[0], b->order, e) : r;
    if (r < 0) {
        disk_let_go(&hold);
        return r;
    }
    (void)str_print(frozen, sizeof frozen, "%s", b->chain.layers[0].id);
    if (hold.alone >= 0 && b->chain.count > 1 && layer_has_file(&b->chain.layers[0]) &&
        volume_image_is_empty(hold.alone)) {
        (void)str_print(frozen, sizeof frozen, "%s", b->chain.layers[1].id);
    } else {
        r = disk_volume_freeze(b->n, b->v, &b->chain.layers[0], NULL, &hold, e);
    }
    disk_let_go(&hold);
    (void)fault_step("backup.frozen");
    (void)str_print(name, sizeof name, "%s", b->v->name);
    chain_fini(&b->chain);
    volume_fini(b->v);
    r = r == 0 ? volume_load(b->n, name, b->v, e) : r;
    r = r == 0 ? chain_load(b->n, frozen, &b->chain, e) : r;
    return r == 0 ? chain_unlock(b->n, &b->chain, b->order, e) : r;
}

/* Whether what changed can stand on that one: it opens with the same passphrase. */
static bool fits(const struct backup *b, const json_t *last)
{
    const char *file = volume_text(last, "file");
    SCOPED(scope_close)
    int fd =
        is_file_name(file) ? openat(b->dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;

    SCOPED(scope_close)
    int header = fd >= 0 && is_encrypted(last) ? volume_key_header(fd, NULL) : -1;

    return fd >= 0 && is_encrypted(last) == (b->chain.key > 0) &&
           (b->chain.key <= 0 ||
            (header >= 0 && volume_key_slot(b->n, header, b->chain.key, NULL) >= 0));
}

/* Incremental, when the directory's last backup is the one whose layer we kept. */
static void choose_kind(struct backup *b, const json_t *list)
{
    const char *kept = volume_text(b->v->record, "backup_layer");
    const json_t *last = backup_list_last(list);
    unsigned number = 0;

    b->before = NULL;
    if (last != NULL) {
        (void)sscanf(volume_text(last, "file"), "%4u", &number);
    }
    for (size_t i = 0; last != NULL && i < b->chain.count; i++) {
        if (strcmp(b->chain.layers[i].id, kept) == 0 &&
            strcmp(volume_text(last, "id"), volume_text(b->v->record, "backup_id")) ==
                0 &&
            fits(b, last)) {
            b->before = volume_text(last, "file");
            b->layers = i;
        }
    }
    (void)str_print(b->file, sizeof b->file, "%04u.qcow2", (number + 1) % 10000);
}

/* The volume keeps this layer, and the one of the backup before no more. */
static int keep_layer(struct backup *b, struct err *e)
{
    struct record_change c = {0};
    struct layer_release gone = {0};
    const char *kept = volume_text(b->v->record, "backup_layer");
    const char *layer = b->chain.layers[0].id;
    char key[KV_KEY_BYTES];
    char user[KV_KEY_BYTES];
    int r = 0;

    RECORD_KEY(user, "b/%s", b->v->name);
    if (kept[0] != '\0' && strcmp(kept, layer) != 0) {
        r = layer_release(b->n, &gone, kept, user, e);
    }
    (void)json_object_set_new(b->v->record, "backup_layer", json_string(layer));
    (void)json_object_set_new(b->v->record, "backup_id", json_string(b->id));
    RECORD_KEY(key, "/volumes/%s", b->v->name);
    record_need_same(&c, key, b->v->revision);
    record_put_json(&c, key, b->v->record);
    layer_use(&c, layer, user);
    r = r == 0 ? layer_release_do(b->n, &c, &gone, e) : r;
    layer_release_fini(&gone);
    record_change_fini(&c);
    return r;
}

static int make(struct backup *b, const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *list = NULL;
    int r = backup_list_load(b->dir, path, &list, e);

    if (r == 0 && archive_is_one(backup_list_last(list))) {
        r = err_set(e, -EEXIST, "'%s' has backups of a directory", path);
    }
    r = r == 0 ? freeze(b, e) : r;
    if (r < 0) {
        return r;
    }
    choose_kind(b, list);
    r = word_random_id(b->id, LAYER_ID_DIGITS);
    r = r == 0 ? write_backup(b, list, path, e) : r;
    if (r == 0) {
        r = save_list(b, list);
        r = r < 0 ? err_sys(e, r, "cannot write '%s/%s'", path, LIST) : 0;
    }
    (void)fault_step("backup.listed");
    r = r == 0 ? keep_layer(b, e) : r;
    (void)fault_step("backup.recorded");
    if (r == 0) {
        *ret = json_copy((json_t *)(uintptr_t)backup_list_last(list));
    }
    return r;
}

int disk_volume_backup(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    const char *path = volume_text(order, "directory");
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    struct backup b = {.n = n, .v = &v, .order = order, .dir = -1};
    int r;

    r = volume_load_disk(n, name, &v, &lock, e);
    if (r == 0 && mkdir(path, 0700) < 0 && errno != EEXIST) {
        r = err_sys(e, -errno, "cannot make '%s'", path);
    }
    if (r == 0) {
        b.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = b.dir < 0 ? err_sys(e, -errno, "cannot open '%s'", path)
                      : make(&b, path, ret, e);
    }
    scope_close(&b.dir);
    chain_fini(&b.chain);
    volume_fini(&v);
    if (r == 0) {
        volume_tidy(n, name, order);
    }
    return r < 0 ? err_wrap(e, "cannot back up volume '%s'", name) : 0;
}

/* ---- the way back ---- */

/* Which of the list `--at` means; the last one without it. */
static int find_backup(const json_t *all, const char *at, size_t *ret, struct err *e)
{
    *ret = json_array_size(all) - 1;
    for (size_t i = 0; at[0] != '\0' && i < json_array_size(all); i++) {
        if (strcmp(volume_text(json_array_get(all, i), "name"), at) == 0) {
            *ret = i;
            return 0;
        }
    }
    return json_array_size(all) == 0 || at[0] != '\0'
               ? err_set(e, -ENOENT, "there is no backup '%s'", at)
               : 0;
}

/* The passphrase of a backup that is encrypted, which the new disk has, too. */
static int unlock(struct node *n, const json_t *backup, int dir, const json_t *order,
                  struct disk_source *ret, struct err *e)
{
    const char *file = volume_text(backup, "file");
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_close) int header = -1;

    if (!is_encrypted(backup)) {
        return json_object_get(order, "key_file") == NULL
                   ? 0
                   : err_set(e, -EINVAL, "it is not encrypted: without --key-file");
    }
    if (is_file_name(file)) {
        fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0) {
        return err_set(e, -ENOENT, "cannot open the backup '%s'", file);
    }
    ret->format = "qcow2";
    header = volume_key_header(fd, e);
    ret->key = header < 0 ? header : volume_key_open(n, header, order, e);
    return ret->key < 0 ? ret->key : 0;
}

/* A new volume, or what the order wants of it. */
static int make_from(struct node *n, const json_t *order,
                     const struct disk_source *source, json_t **ret, struct err *e)
{
    return json_object_get(order, "file") != NULL
               ? disk_extract(n, source->words, order, ret, e)
               : disk_volume_make_from(n, order, source, ret, e);
}

/* What goes together. */
static int check_order(const json_t *order, struct err *e)
{
    static const char *const of_files[] = {"to", "partition", "owners"};
    bool file = json_object_get(order, "file") != NULL;
    bool name = json_object_get(order, "name") != NULL;

    for (size_t i = 0; i < sizeof of_files / sizeof of_files[0] && !file; i++) {
        const json_t *member = json_object_get(order, of_files[i]);

        if (member != NULL && !json_is_false(member)) {
            return err_set(e, -EINVAL, "--%s wants --file PATH", of_files[i]);
        }
    }
    if (file && (name || json_object_get(order, "to") == NULL)) {
        return err_set(e, -EINVAL,
                       "--file PATH wants --to TARGET, and no name of a volume");
    }
    return file || name ? 0 : err_set(e, -EINVAL, "what shall the volume be called?");
}

int disk_volume_restore(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *path = volume_text(order, "directory");
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_json) json_t *list = NULL;
    struct words w = {.n_fds = 0};
    struct disk_source source = {.words = &w, .format = "raw"};
    const json_t *all;
    size_t at;
    int r = check_order(order, e);

    if (r == 0 && json_object_get(order, "file") != NULL && disk_is_snapshot_word(path)) {
        r = disk_extract_snapshot(n, order, ret, e);
        return r < 0 ? err_wrap(e, "cannot restore from '%s'", path) : 0;
    }
    if (r == 0) {
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = dir < 0 ? err_sys(e, -errno, "cannot open '%s'", path)
                    : backup_list_load(dir, path, &list, e);
    }

    piece_mend(n);
    all = json_object_get(list, "backups");
    r = r == 0 ? find_backup(all, volume_text(order, "at"), &at, e) : r;
    if (r == 0 && archive_is_one(json_array_get(all, at))) {
        r = archive_restore(n, order, dir, json_array_get(all, at), ret, e);
        return r < 0 ? err_wrap(e, "cannot restore from '%s'", path) : 0;
    }
    r = r == 0 ? unlock(n, json_array_get(all, at), dir, order, &source, e) : r;
    words_unlock(&w, source.key);
    r = r == 0 ? add_images(list, at, dir, "from", &w, e) : r;
    if (r == 0) {
        source.block_bytes = block_of(json_array_get(all, at));
        w.block = source.block_bytes;
        source.size_bytes = volume_number(json_array_get(all, at), "size_bytes");
        r = make_from(n, order, &source, ret, e);
    }
    words_fini(&w);
    if (source.key > 0) {
        (void)close(source.key);
    }
    return r < 0 ? err_wrap(e, "cannot restore from '%s'", path) : 0;
}
