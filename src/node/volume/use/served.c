/* served.c - a disk of more than a raw file becomes a file of the host.
 *
 * The program `volume` serves it on a FUSE file system that is mounted nowhere.  It has only
 * descriptors, and ends, or in a worker the export does, when nobody has the file open any
 * more.  It is started outside of the keeper's mount namespace: else it would keep the mount
 * that keeps it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/attach/attach.h"
#include "node/volume/mounted.h"
#include "node/volume/worker.h"

int mounted_file(struct node *n, struct words *w, bool read_only, int *ret_file,
                 struct err *e)
{
    SCOPED(scope_close) int mount = -1;
    char word[32];
    int server;
    int r = attach_fuse(read_only, &server, &mount, e);

    if (r == 0) {
        words_add(w, "%s", words_fd(w, "fuse", server, word));
        if (read_only) {
            words_add(w, "read-only");
        }
        r = words_leave(n, "fuse", w, "/dev/null", "serving=file", e);
    }
    words_fini(w); /* when the program dies, the file gives errors */
    return r == 0 ? attach_fuse_open(mount, read_only, ret_file, e) : r;
}

static int ask_export(struct node *n, int control, int *ret_mount, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    char word[32];
    int server;
    int r = attach_fuse(false, &server, ret_mount, e);

    if (r == 0) {
        words_add(&w, "export");
        words_add(&w, "fuse");
        words_add(&w, "%s", words_fd(&w, "socket", server, word));
        words_add(&w, "keep");
        r = volume_worker_ask(n, control, &ask, e);
    }
    words_fini(&w);
    return r;
}

int mounted_live(struct node *n, const struct volume *v, const json_t *order,
                 int *ret_file, struct err *e)
{
    SCOPED(scope_close) int control = -1;
    SCOPED(scope_close) int mount = -1;
    int r = volume_worker_need(n, v, order, &control, e);
    int exports = r == 0 ? volume_worker_exports(n, control, NULL) : 0;

    if (exports != 0) {
        r = err_set(e, -EBUSY, "it is being served");
    }
    (void)fault_step("mounted.worker");
    r = r == 0 ? ask_export(n, control, &mount, e) : r;
    (void)fault_step("mounted.served");
    return r == 0 ? attach_fuse_open(mount, false, ret_file, e) : r;
}

int mounted_layer(struct node *n, const struct layer *top, int key, int *ret_file,
                  struct err *e)
{
    const struct chain alone = {
        .layers = (struct layer *)(uintptr_t)top, .count = 1, .key = key};
    struct words w = {.n_fds = 0};
    int r;

    if (strcmp(volume_text(top->record, "format"), "raw") == 0 && layer_has_file(top)) {
        r = piece_open(n, top, O_RDWR, e);
        *ret_file = r;
        return r < 0 ? r : 0;
    }
    r = words_chain(n, &alone, "disk", true, &w, e);
    if (r < 0) {
        words_fini(&w);
        return r;
    }
    return mounted_file(n, &w, false, ret_file, e);
}
