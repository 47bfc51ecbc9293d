/* keep.c - a raw disk that a guest has mounted is kept as it is now.
 *
 * Nothing serves such a disk but the kernel, so no layer can be put over it meanwhile.  What is kept
 * is a copy of its file, which has all bytes in common with it (FICLONE), made while the file
 * system on it stands still.  The snapshot names the copy, and the volume goes on as it was. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/mounted.h"
#include "node/volume/private.h"

static bool is_raw_file(const struct layer *l)
{
    return layer_has_file(l) && l->pool != NULL &&
           strcmp(volume_text(l->record, "format"), "raw") == 0;
}

static int share(struct node *n, const struct layer *from, const struct layer *to,
                 struct err *e)
{
    SCOPED(scope_close) int in = piece_open(n, from, O_RDONLY, e);
    SCOPED(scope_close) int out = in < 0 ? -1 : piece_open(n, to, O_RDWR, e);

    if (in < 0 || out < 0) {
        return in < 0 ? in : out;
    }
    if (ioctl(out, FICLONE, in) == 0) {
        return fsync(out) < 0 ? err_sys(e, -errno, "cannot write the copy down") : 0;
    }
    return errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL || errno == ENOTTY
               ? err_set(e, -EOPNOTSUPP,
                         "a guest has it mounted, and the file system of its pool shares "
                         "no bytes between files: only a disk of the format qcow2 can be "
                         "kept meanwhile there")
               : err_sys(e, -errno, "cannot copy the disk");
}

static int record_copy(struct node *n, struct volume *v, const struct layer *copy,
                       const char *name, struct err *e)
{
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    char user[KV_KEY_BYTES];
    int r;

    volume_add_snapshot(v, name, copy->id);
    RECORD_KEY(user, "s/%s/%s", v->name, name);
    layer_record(&c, copy, user);
    RECORD_KEY(key, "/volumes/%s", v->name);
    record_need_same(&c, key, v->revision);
    record_put_json(&c, key, v->record);
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", v->name)
               : r;
}

static int share_still(struct node *n, const struct volume *v, const struct layer *top,
                       const struct layer *copy, struct err *e)
{
    struct mounted_freeze still;
    int late;
    int r = mounted_freeze(n, v->name, &still, e);

    if (r < 0) {
        return r;
    }
    (void)fault_step("keep.frozen");
    r = share(n, top, copy, e);
    late = mounted_thaw(&still, r == 0 ? e : NULL);
    return r == 0 ? late : r;
}

int disk_keep_mounted(struct node *n, struct volume *v, const struct layer *top,
                      const char *name, struct err *e)
{
    const struct layer_plan plan = {
        .pool = top->pool,
        .class = volume_text(v->record, "class"),
        .format = "raw",
        .size_bytes = volume_number(v->record, "size_bytes"),
        .block_bytes = layer_block_bytes(top),
        .beside = top,
    };
    struct layer_new copy = {.intent = -1};
    struct mounted where;
    bool mounted;
    int r;

    mounted_find(n, v->name, &where);
    mounted = where.count > 0;
    mounted_fini(&where);
    if (!mounted || !is_raw_file(top)) {
        return -EBUSY;
    }
    err_clear(e); /* that it is in use */
    r = layer_make(n, &plan, &copy, e);
    r = r == 0 ? share_still(n, v, top, &copy.layer, e) : r;
    (void)fault_step("keep.shared");
    r = r == 0 ? record_copy(n, v, &copy.layer, name, e) : r;
    layer_settle(n, &copy, r == 0);
    return r;
}
