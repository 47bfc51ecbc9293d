/* root.c - the file system of a guest's root disk, to be read while the guest does not run.
 *
 * As files out of a backup (extract.c), but all that was synced counts: the journal, if it was not played yet, is
 * played into a file above the disk that has no name.  The disk itself is only read; who calls
 * keeps others from it. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/attach/attach.h"
#include "node/files.h"
#include "node/mount/mount.h"
#include "node/volume/mounted.h"
#include "node/volume/words.h"

#define STORE_BYTES                                                                      \
    (INT64_C(1) << 42) /* of a sparse file: a disk's, and what it is divided by */

static void add_file(struct words *w, const char *name, int take_fd, const char *how)
{
    char fd[32];

    (void)words_fd(w, "fd", take_fd, fd);
    words_add(w, "node=%s.file,file,%s%s,no-lock", name, fd, how);
}

static int open_file(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd < 0 ? err_sys(e, -errno, "cannot open '%s'", path) : fd;
}

static int open_nameless(const char *directory, struct err *e)
{
    SCOPED(scope_close) int fd = open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

    return fd < 0 || ftruncate(fd, STORE_BYTES) < 0
               ? err_sys(e, -errno, "cannot make a file in '%s'", directory)
               : scope_take_fd(&fd);
}

/* As a file of the host that may be written to. */
static int serve(struct node *n, const struct disk_layers *d, int *ret_file,
                 struct err *e)
{
    struct words w = {.n_fds = 0};
    SCOPED(scope_close) int base = open_file(d->base, e);
    SCOPED(scope_close) int own = base < 0 ? base : open_file(d->own, e);
    SCOPED(scope_close) int store = own < 0 ? own : open_nameless(d->directory, e);

    if (store < 0) {
        return store;
    }
    add_file(&w, "base", scope_take_fd(&base), ",read-only");
    words_add(&w, "node=base,raw,file=base.file,read-only");
    add_file(&w, "own", scope_take_fd(&own), ",read-only");
    words_add(&w, "node=own,qcow2,file=own.file,backing=base,read-only");
    add_file(&w, "store", scope_take_fd(&store), "");
    words_add(&w, "node=disk,overlay,base=own,top=store.file,discard-at-end");
    return mounted_file(n, &w, false, ret_file, e);
}

int disk_mount_layers(struct node *n, const struct disk_layers *d, int *ret_root,
                      struct err *e)
{
    SCOPED(scope_json) json_t *disk = json_pack("{s:b}", "read_only", 0);
    struct disks_device device = {.fd = -1};
    SCOPED(scope_close) int file = -1;
    int r = serve(n, d, &file, e);

    r = r == 0 ? disks_device(disk, file, &device, e) : r;
    r = r == 0 ? attach_mount_alone(device.path, device.type, false, ret_root, e) : r;
    scope_close(&device.fd);
    return r;
}
