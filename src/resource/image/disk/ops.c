/* ops.c - the operation `disk` of the program `image`.
 *
 * {"image": NAME, "bytes": N} -> {"disk": PATH, "bytes": N}.  The file lies beside the image's
 * topmost layer, STATE/layers/HEX/root-N.ext4, and goes with it; it is made once. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "resource/image/disk/disk.h"

static int fill(const struct pack *p, const struct image *img, uint64_t bytes, int fd,
                struct err *e)
{
    struct disk_order o = {.bytes = bytes, .seed = img->manifest.digest};
    uint64_t made = 0;
    int r = image_tree_open(p->store, img, &o.tree, e);

    r = r < 0 ? r : fault_step("disk.write");
    if (r == 0) {
        o.seed = o.tree->digest;
        r = image_disk_write(&o, fd, &made, e);
    }
    tree_close(o.tree);
    if (r == 0 && fsync(fd) < 0) {
        r = err_sys(e, -errno, "cannot write the disk");
    }
    return r;
}

/* Whoever has the lock makes; who waited for it finds. */
static int make(const struct pack *p, const struct image *img, uint64_t bytes,
                const char *path, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char temporary[PATH_MAX];
    int r = str_print(temporary, sizeof temporary, "%s.new", path);

    fd = r < 0 ? r : open(temporary, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot make '%s'", path);
    }
    if (access(path, F_OK) == 0) {
        return 0;
    }
    r = ftruncate(fd, 0) < 0 ? err_sys(e, -errno, "cannot make '%s'", path)
                             : fill(p, img, bytes, fd, e);
    if (r == 0 && rename(temporary, path) < 0) {
        r = err_sys(e, -errno, "cannot make '%s'", path);
    }
    if (r < 0) {
        (void)unlink(temporary);
    }
    return r;
}

static int place(const struct pack *p, const struct image *img, uint64_t bytes,
                 char out[PATH_MAX], struct err *e)
{
    SCOPED(strv_fini) struct strv dirs = {0};
    int r = image_layer_dirs(p->store, img, &dirs, e);

    if (r != 0 || dirs.n == 0) {
        return r < 0 ? r : err_set(e, -ENOENT, "the image has no layers");
    }
    r = str_print(out, PATH_MAX, "%.*s/root-%llu.ext4",
                  (int)(strrchr(dirs.items[0], '/') - dirs.items[0]), dirs.items[0],
                  (unsigned long long)bytes);
    return r < 0 ? err_sys(e, r, "cannot name the image's disk") : 0;
}

static int run_disk(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    uint64_t bytes = DISK_USUAL_BYTES;
    const char *name = NULL;
    char path[PATH_MAX] = "";
    struct image img = {0};
    struct stat st;
    int r = json_want_str(j, "", "image", &name, e);

    r = r < 0 ? r : json_opt_u64(j, "", "bytes", &bytes, e);
    r = r < 0 ? r : image_find(p->store, name, &img, e);
    r = r < 0 ? r : pack_unpack(p, &img, e);
    r = r < 0 ? r : place(p, &img, bytes, path, e);
    if (r == 0 && access(path, F_OK) < 0) {
        r = make(p, &img, bytes, path, e);
        r = r < 0 ? err_wrap(e, "cannot make a disk of the image '%s'", name) : 0;
    }
    image_fini(&img);
    if (r == 0 && stat(path, &st) < 0) {
        r = err_sys(e, -errno, "cannot find '%s'", path);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:s,s:I}", "disk", path, "bytes", (json_int_t)st.st_size);
    return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
}

const struct pack_op image_disk_ops[] = {
    {"disk", run_disk},
    {NULL, NULL},
};
