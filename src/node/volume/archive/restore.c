/* restore.c - volumes, and files, from backups of directories.
 *
 * A volume is there once all of its files are: until then they are in a directory that no record
 * names.  A file or a directory that is taken out has its name once it is complete, too. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/word.h"
#include "host/file.h"
#include "node/volume/archive.h"
#include "node/volume/archive/private.h"
#include "node/volume/directory.h"
#include "node/volume/mounted.h"
#include "node/volume/private.h"

bool archive_is_one(const json_t *backup)
{
    return strcmp(archive_text(backup, "of"), "directory") == 0;
}

static int unpack_job(void *arg, struct err *e)
{
    return archive_unpack(arg, e);
}

/* ---- a volume ---- */

struct filling {
    struct node *n;
    struct archive_unpack unpack;
};

static int fill(void *arg, int data, struct err *e)
{
    struct filling *f = arg;
    int r;

    f->unpack.top = data;
    r = node_as_root(f->n, unpack_job, &f->unpack, e);
    (void)fault_step("archive.unpacked");
    return r;
}

static int make_volume(struct node *n, const json_t *order,
                       const struct archive_unpack *unpack, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *whole = json_copy((json_t *)(uintptr_t)order);
    const json_t *quota = json_object_get(unpack->backup, "quota_bytes");
    struct filling f = {.n = n, .unpack = *unpack};
    const struct directory_source from = {fill, &f, true};

    f.unpack.owners = true;
    if (quota != NULL) {
        (void)json_object_set(whole, "quota", (json_t *)(uintptr_t)quota);
    }
    return whole == NULL ? err_set(e, -ENOMEM, "no memory")
                         : directory_create_from(n, volume_text(order, "name"), whole,
                                                 &from, ret, e);
}

/* ---- a file ---- */

/* "/a//b/" is "a/b", "/" is "."; -EINVAL: it leads elsewhere. */
static int tidy_path(const char *path, char out[ARCHIVE_PATH_MOST])
{
    struct str s = {0};
    int r = 0;

    while (r == 0 && *path != '\0') {
        size_t n = strcspn(path, "/");

        if (n == 2 && strncmp(path, "..", 2) == 0) {
            r = -EINVAL;
        } else if (n > 0 && !(n == 1 && path[0] == '.')) {
            str_addf(&s, "%s%.*s", s.len > 0 ? "/" : "", (int)n, path);
        }
        path += n + strspn(path + n, "/");
    }
    r = r == 0 ? str_print(out, ARCHIVE_PATH_MOST, "%s", s.len > 0 ? str_text(&s) : ".")
               : r;
    r = str_failed(&s) ? -ENOMEM : r;
    str_fini(&s);
    return r;
}

/* Files that are there go; a directory that is there would be mixed with another's files. */
static int put_in_place(const struct disk_place *to, const char *part, struct err *e)
{
    struct stat s;

    if (fstatat(to->dir, part, &s, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_set(e, -EOPNOTSUPP, "it is a device, which stays behind");
    }
    return renameat(to->dir, part, to->dir, to->name) == 0
               ? 0
               : err_sys(e, -errno, "cannot write '%s'", to->name);
}

static int take_out(struct node *n, const json_t *order, struct archive_unpack *unpack,
                    struct err *e)
{
    struct disk_place to = {.dir = -1};
    char path[ARCHIVE_PATH_MOST];
    char part[NAME_MAX + 1];
    char id[9];
    const char *slash;
    int r = tidy_path(volume_text(order, "file"), path);

    if (r < 0) {
        return err_sys(e, r, "cannot find '%s' there", volume_text(order, "file"));
    }
    slash = strrchr(path, '/');
    r = disk_find_target(volume_text(order, "to"), slash != NULL ? slash + 1 : path, &to,
                         e);
    if (r == 0 && strcmp(to.name, ".") == 0) {
        r = err_set(e, -EINVAL, "'%s' is there already: name what is not",
                    volume_text(order, "to"));
    }
    r = r == 0 ? word_random_id(id, 8) : r;
    r = r == 0 ? str_print(part, sizeof part, ".%s.%.200s", id, to.name) : r;
    if (r == 0) {
        unpack->top = to.dir;
        unpack->path = path;
        unpack->as = part;
        r = node_as_root(n, unpack_job, unpack, e);
        (void)fault_step("archive.unpacked");
        r = r == 0 ? put_in_place(&to, part, e) : r;
        if (r < 0) {
            (void)file_remove_tree(to.dir, part);
        }
    }
    scope_close(&to.dir);
    return r;
}

/* ---- the verb ---- */

int archive_restore(struct node *n, const json_t *order, int dir, const json_t *backup,
                    json_t **ret, struct err *e)
{
    struct archive_unpack unpack = {.dir = dir,
                                    .backup = backup,
                                    .top = -1,
                                    .owners =
                                        json_is_true(json_object_get(order, "owners"))};
    int r;

    if (json_object_get(order, "key_file") != NULL) {
        return err_set(e, -EINVAL, "it is not encrypted: without --key-file");
    }
    if (volume_number(order, "partition") > 0) {
        return err_set(e, -EINVAL, "it is of a directory, which has no partitions");
    }
    if (json_object_get(order, "file") == NULL) {
        return make_volume(n, order, &unpack, ret, e);
    }
    r = take_out(n, order, &unpack, e);
    if (r == 0) {
        *ret = json_pack("{s:O, s:O}", "name", json_object_get(order, "file"), "path",
                         json_object_get(order, "to"));
    }
    return r;
}
