/* extract.c - files out of a backup or a snapshot, without making a disk of it.
 *
 * The image is served as a file, read only, and mounted in no tree (attach_mount_alone): what is on it
 * reaches nothing but the copy, and nothing stays of a command that is killed.  The image may be
 * anybody's: no link on it leads out of it, its devices stay behind, and so do owners and set-id
 * bits unless they are asked for.  A copy takes its name when it is complete. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/attach/attach.h"
#include "host/file.h"
#include "node/files.h"
#include "node/mount/mount.h"
#include "node/volume/mounted.h"
#include "node/volume/worker.h"

/* "/a/b/c" is the name "c" in the directory "/a/b"; "/" is "." there. */
static int split(const char *path, char dir[PATH_MAX], char name[NAME_MAX + 1])
{
    size_t end = strlen(path);
    size_t from;

    while (end > 0 && path[end - 1] == '/') {
        end--;
    }
    for (from = end; from > 0 && path[from - 1] != '/'; from--) {
    }
    if (str_print(dir, PATH_MAX, "%.*s", (int)from, path) < 0 ||
        str_print(name, NAME_MAX + 1, "%.*s", (int)(end - from), path + from) < 0) {
        return -ENAMETOOLONG;
    }
    if (name[0] == '\0') {
        (void)str_print(name, NAME_MAX + 1, ".");
    }
    return strcmp(name, "..") == 0 ? -EINVAL : 0;
}

/* What is to be copied: no link on the way leads out of `root`. */
static int find_source(int root, const char *path, struct disk_place *ret, struct err *e)
{
    char dir[PATH_MAX];
    struct stat s;
    int r = split(path, dir, ret->name);

    if (r == 0) {
        ret->dir = file_open_in_root(root, dir[0] != '\0' ? dir : "/",
                                     O_RDONLY | O_DIRECTORY, 0);
        r = ret->dir < 0 ? ret->dir : 0;
    }
    if (r == 0 && fstatat(ret->dir, ret->name, &s, AT_SYMLINK_NOFOLLOW) < 0) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot find '%s' there", path) : 0;
}

int disk_find_target(const char *to, const char *name, struct disk_place *ret,
                     struct err *e)
{
    char dir[PATH_MAX];
    int r;

    ret->dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ret->dir >= 0) {
        return str_print(ret->name, sizeof ret->name, "%s", name);
    }
    r = split(to, dir, ret->name);
    if (r == 0) {
        ret->dir = open(dir[0] != '\0' ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = ret->dir < 0 ? -errno : 0;
    }
    return r < 0 ? err_sys(e, r, "cannot write '%s'", to) : 0;
}

static int copy_whole(const struct disk_place *from, const struct disk_place *to,
                      const struct copy_how *how, struct err *e)
{
    char part[NAME_MAX + 1];
    char id[9];
    struct stat s;
    int r = word_random_id(id, 8);

    if (strcmp(from->name, ".") == 0 || (fstatat(to->dir, to->name, &s, 0) == 0 &&
                                         S_ISDIR(s.st_mode))) { /* into what is there */
        return copy_tree(from->dir, from->name, to->dir, to->name, how, e);
    }
    r = r == 0 ? str_print(part, sizeof part, ".%s.%.200s", id, to->name) : r;
    r = r == 0 ? copy_tree(from->dir, from->name, to->dir, part, how, e) : r;
    (void)fault_step("extract.copied");
    if (r == 0 && fstatat(to->dir, part, &s, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_set(e, -EOPNOTSUPP, "it is a device or a socket, which stay behind");
    }
    if (r == 0 && renameat(to->dir, part, to->dir, to->name) < 0) {
        r = err_sys(e, -errno, "cannot write '%s'", to->name);
    }
    if (r < 0) {
        (void)file_remove_tree(to->dir, part);
    }
    return r;
}

static int copy_out(int root, const json_t *order, struct err *e)
{
    const char *path = volume_text(order, "file");
    bool owners = json_is_true(json_object_get(order, "owners"));
    const struct copy_how how = {.keep_owner = owners, .no_set_id = !owners};
    struct disk_place from = {.dir = -1};
    struct disk_place to = {.dir = -1};
    int r = find_source(root, path, &from, e);

    r = r == 0 ? disk_find_target(volume_text(order, "to"), from.name, &to, e) : r;
    r = r == 0 ? copy_whole(&from, &to, &how, e) : r;
    scope_close(&from.dir);
    scope_close(&to.dir);
    return r;
}

int disk_extract(struct node *n, struct words *w, const json_t *order, json_t **ret,
                 struct err *e)
{
    SCOPED(scope_json)
    json_t *disk =
        json_pack("{s:b, s:i}", "read_only", true, "block_bytes", (int)w->block);
    struct disks_device device = {.fd = -1};
    SCOPED(scope_close) int file = -1;
    SCOPED(scope_close) int root = -1;
    int r = n->rootless ? err_set(e, -EPERM, "only root of the host mounts disks")
                        : mounted_file(n, w, true, &file, e);

    if (r == 0 && volume_number(order, "partition") > 0) {
        (void)json_object_set(disk, "partition", json_object_get(order, "partition"));
    }
    (void)fault_step("extract.served");
    r = r == 0 ? disks_device(disk, file, &device, e) : r;
    r = r == 0 ? attach_mount_alone(device.path, device.type, true, &root, e) : r;
    (void)fault_step("extract.mounted");
    r = r == 0 ? copy_out(root, order, e) : r;
    scope_close(&device.fd);
    if (r == 0) {
        *ret = json_pack("{s:O, s:O}", "name", json_object_get(order, "file"), "path",
                         json_object_get(order, "to"));
    }
    return r;
}

/* ---- of a snapshot ---- */

bool disk_is_snapshot_word(const char *word)
{
    return strchr(word, '@') != NULL && strchr(word, '/') == NULL;
}

static int extract_layer(struct node *n, const struct volume *v, const json_t *order,
                         json_t **ret, struct err *e)
{
    const char *snapshot = strchr(volume_text(order, "directory"), '@') + 1;
    const json_t *one = volume_snapshot_of(v->record, snapshot);
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    int r = one == NULL ? err_set(e, -ENOENT,
                                  "volume '%s' has no snapshot '%s' (see 'strata volume "
                                  "snapshot --list %s')",
                                  v->name, snapshot, v->name)
                        : chain_load(n, volume_text(one, "layer"), &chain, e);

    r = r == 0 ? chain_unlock(n, &chain, order, e) : r;
    if (r == 0) {
        w.block = layer_block_bytes(&chain.layers[0]);
        r = words_chain(n, &chain, "disk", false, &w, e);
    }
    r = r == 0 ? disk_extract(n, &w, order, ret, e) : r;
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

int disk_extract_snapshot(struct node *n, const json_t *order, json_t **ret,
                          struct err *e)
{
    const char *word = volume_text(order, "directory");
    SCOPED(scope_close) int lock = -1;
    char name[WORD_NAME_BYTES];
    struct volume v = {0};
    struct err why = {0};
    struct err held = {0};
    int r = str_print(name, sizeof name, "%.*s", (int)strcspn(word, "@"), word);

    r = r < 0 ? err_set(e, -EINVAL, "'%s' names no volume", word)
              : volume_load_disk(n, name, &v, &lock, e); /* its layers stay meanwhile */
    if (r < 0) {
        volume_fini(&v);
        return r;
    }
    r = extract_layer(n, &v, order, ret, &why);
    if (r == -EOWNERDEAD) {
        (void)disk_settle_journals(n, &v, &held);
        err_clear(&why);
        r = extract_layer(n, &v, order, ret, &why);
    }
    volume_fini(&v);
    return r < 0 ? err_set(e, r, "%s",
                           r == -EOWNERDEAD && held.code != 0 ? held.text : why.text)
                 : r;
}
