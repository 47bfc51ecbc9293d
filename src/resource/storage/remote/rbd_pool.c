/* rbd_pool.c - a connection to a pool of a Ceph cluster, and the images in it.
 *
 * Everything here blocks in the library and so runs on another thread.  Clones are of the
 * second format: their snapshot needs no protection and may be removed before them, when
 * it only loses its name until the last clone has gone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/file_io.h"
#include "resource/storage/remote/rbd_private.h"

#define CLONE_FORMAT  2
#define IMAGES_FIRST  256
#define MOUNT_TIMEOUT "15" /* seconds to find the cluster at first */

/* ---- connecting ---- */

struct connecting {
    struct remote_rbd *p;
    const struct remote_rbd_options *o;
    struct err *e;
};

static int join_cluster(struct remote_rbd *p, const struct remote_rbd_options *o,
                        struct err *e)
{
    struct remote_rbd_api *a = &p->api;
    char user[128] = "client.";
    int r;

    (void)strncat(user, o->user != NULL ? o->user : "admin", sizeof user - 8);
    r = a->rados_create2(&p->cluster, "ceph", user, 0);
    if (r != 0) {
        p->cluster = NULL;
        return err_sys(e, r, "cannot connect to Ceph as '%s'", user);
    }
    r = a->rados_conf_read_file(p->cluster, o->conf);
    if (r != 0) {
        return err_sys(e, r, "cannot read the configuration of Ceph '%s'",
                       o->conf != NULL ? o->conf : "/etc/ceph/ceph.conf");
    }
    (void)a->rados_conf_set(p->cluster, "client_mount_timeout", MOUNT_TIMEOUT);
    r = a->rados_connect(p->cluster);
    return r == 0 ? 0 : err_sys(e, r, "cannot connect to Ceph as '%s'", user);
}

static int connect_now(void *arg)
{
    struct connecting *x = arg;
    struct remote_rbd *p = x->p;
    int r = remote_rbd_load(x->o->soname, &p->api, x->e);

    r = r != 0 ? r : join_cluster(p, x->o, x->e);
    if (r != 0) {
        return r;
    }
    r = p->api.rados_ioctx_create(p->cluster, x->o->pool, &p->io);
    if (r != 0) {
        p->io = NULL;
        return err_sys(x->e, r, "cannot use the pool '%s' of Ceph", x->o->pool);
    }
    if (x->o->space != NULL) {
        p->api.rados_ioctx_set_namespace(p->io, x->o->space);
    }
    return 0;
}

static int leave_now(void *arg)
{
    struct remote_rbd *p = arg;

    if (p->io != NULL) {
        p->api.rados_ioctx_destroy(p->io);
    }
    if (p->cluster != NULL) {
        p->api.rados_shutdown(p->cluster);
    }
    return 0;
}

static char *name_of(const struct remote_rbd_options *o)
{
    size_t bytes = strlen(o->pool) + (o->space != NULL ? strlen(o->space) : 0) + 2;
    char *name = fault_malloc(bytes);

    if (name != NULL) {
        (void)strcpy(name, o->pool);
        if (o->space != NULL) {
            (void)strcat(strcat(name, "/"), o->space);
        }
    }
    return name;
}

int remote_rbd_connect(struct loop *l, const struct remote_rbd_options *o,
                       struct remote_rbd **ret_pool, struct err *e)
{
    struct remote_rbd *p = fault_calloc(1, sizeof *p);
    struct err own = {0}; /* another thread writes it */
    struct connecting x = {p, o, &own};
    int r = -ENOMEM;

    if (p != NULL) {
        p->loop = l;
        p->users = 1;
        p->name = name_of(o);
        r = p->name != NULL ? file_io_call(l, connect_now, &x) : -ENOMEM;
    }
    if (r != 0) {
        remote_rbd_leave(p);
        return own.code != 0 ? err_set(e, r, "%s", own.text)
                             : err_sys(e, r, "cannot connect to Ceph");
    }
    *ret_pool = p;
    return 0;
}

void remote_rbd_leave(struct remote_rbd *p)
{
    if (p != NULL && --p->users == 0) {
        if (p->cluster != NULL) {
            (void)file_io_call(p->loop, leave_now, p);
        }
        free(p->name);
        free(p);
    }
}

/* ---- images ---- */

struct work {
    struct remote_rbd *p;
    const char *image;
    const char *snapshot;
    const char *clone;
    uint64_t size_bytes;
};

static int make_now(void *arg)
{
    struct work *w = arg;
    struct remote_rbd_api *a = &w->p->api;
    void *options = NULL; /* the cluster's own */
    int r;

    a->rbd_image_options_create(&options);
    r = a->rbd_create4(w->p->io, w->image, w->size_bytes, options);
    a->rbd_image_options_destroy(options);
    return r;
}

int remote_rbd_make(struct remote_rbd *p, const char *image, uint64_t size_bytes,
                    struct err *e)
{
    struct work w = {.p = p, .image = image, .size_bytes = size_bytes};
    int r = file_io_call(p->loop, make_now, &w);

    return r == 0 ? 0 : err_sys(e, r, "cannot create the image '%s/%s'", p->name, image);
}

static int remove_now(void *arg)
{
    struct work *w = arg;

    return w->p->api.rbd_remove(w->p->io, w->image);
}

int remote_rbd_remove(struct remote_rbd *p, const char *image, struct err *e)
{
    struct work w = {.p = p, .image = image};
    int r = file_io_call(p->loop, remove_now, &w);

    if (r == -ENOTEMPTY) {
        return err_set(e, -EBUSY, "cannot remove the image '%s/%s': it has snapshots",
                       p->name, image);
    }
    if (r == -EBUSY) {
        return err_set(e, -EBUSY, "cannot remove the image '%s/%s': it is in use",
                       p->name, image);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot remove the image '%s/%s'", p->name, image);
}

/* Do something with an open image. */
static int with_image(struct work *w, int (*fn)(void *image, const char *snapshot))
{
    void *image = NULL;
    int r = w->p->api.rbd_open(w->p->io, w->image, &image, NULL);

    if (r == 0) {
        r = fn(image, w->snapshot);
        (void)w->p->api.rbd_close(image);
    }
    return r;
}

static int snapshot_now(void *arg)
{
    struct work *w = arg;

    return with_image(w, w->p->api.rbd_snap_create);
}

static int forget_now(void *arg)
{
    struct work *w = arg;

    return with_image(w, w->p->api.rbd_snap_remove);
}

int remote_rbd_snapshot(struct remote_rbd *p, const char *image, const char *snapshot,
                        struct err *e)
{
    struct work w = {.p = p, .image = image, .snapshot = snapshot};
    int r = file_io_call(p->loop, snapshot_now, &w);

    return r == 0 ? 0
                  : err_sys(e, r, "cannot make the snapshot '%s/%s@%s'", p->name, image,
                            snapshot);
}

int remote_rbd_forget(struct remote_rbd *p, const char *image, const char *snapshot,
                      struct err *e)
{
    struct work w = {.p = p, .image = image, .snapshot = snapshot};
    int r = file_io_call(p->loop, forget_now, &w);

    return r == 0 ? 0
                  : err_sys(e, r, "cannot remove the snapshot '%s/%s@%s'", p->name, image,
                            snapshot);
}

static int clone_now(void *arg)
{
    struct work *w = arg;
    struct remote_rbd_api *a = &w->p->api;
    void *options = NULL;
    int r;

    a->rbd_image_options_create(&options);
    r = a->rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT,
                                        CLONE_FORMAT);
    if (r == 0) {
        r = a->rbd_clone3(w->p->io, w->image, w->snapshot, w->p->io, w->clone, options);
    }
    a->rbd_image_options_destroy(options);
    return r;
}

int remote_rbd_clone(struct remote_rbd *p, const char *image, const char *snapshot,
                     const char *clone, struct err *e)
{
    struct work w = {.p = p, .image = image, .snapshot = snapshot, .clone = clone};
    int r = file_io_call(p->loop, clone_now, &w);

    return r == 0 ? 0
                  : err_sys(e, r, "cannot make '%s' of the snapshot '%s/%s@%s'", clone,
                            p->name, image, snapshot);
}

/* ---- what there is ---- */

struct listing {
    struct remote_rbd *p;
    rbd_image_spec_t *images; /* owned; its texts are librbd's */
    size_t count;
};

static int list_now(void *arg)
{
    struct listing *x = arg;
    size_t room = IMAGES_FIRST;
    int r;

    do { /* it says how many there are where the room is too small */
        void *more = fault_realloc(x->images, room * sizeof *x->images);

        if (more == NULL) {
            return -ENOMEM;
        }
        x->images = more;
        x->count = room;
        r = x->p->api.rbd_list2(x->p->io, x->images, &x->count);
        room = x->count + IMAGES_FIRST;
    } while (r == -ERANGE);
    return r < 0 ? r : 0;
}

int remote_rbd_list(struct remote_rbd *p, void (*each)(void *arg, const char *image),
                    void *arg, struct err *e)
{
    struct listing x = {.p = p};
    int r = file_io_call(p->loop, list_now, &x);

    if (r == 0) {
        for (size_t i = 0; i < x.count; i++) {
            each(arg, x.images[i].name);
        }
        p->api.rbd_image_spec_list_cleanup(x.images, x.count);
    }
    free(x.images);
    return r == 0 ? 0 : err_sys(e, r, "cannot list the images of '%s'", p->name);
}

struct measuring {
    struct remote_rbd *p;
    struct rados_cluster_stat_t stat;
};

static int measure_now(void *arg)
{
    struct measuring *x = arg;

    return x->p->api.rados_cluster_stat(x->p->cluster, &x->stat);
}

int remote_rbd_room(struct remote_rbd *p, uint64_t *ret_size_bytes,
                    uint64_t *ret_free_bytes, struct err *e)
{
    struct measuring x = {.p = p};
    int r = file_io_call(p->loop, measure_now, &x);

    if (r != 0) {
        return err_sys(e, r, "cannot measure the cluster of '%s'", p->name);
    }
    *ret_size_bytes = x.stat.kb * 1024;
    *ret_free_bytes = x.stat.kb_avail * 1024;
    return 0;
}
