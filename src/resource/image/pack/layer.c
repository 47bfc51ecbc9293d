/* layer.c - layers are made: from entries, directories and foreign tars. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/image/pack/pack_private.h"
#include "resource/image/pack/scan.h"
#include "resource/image/pack/tar_read.h"

struct pack_layer {
    const struct pack *p; /* borrowed */
    struct sink *sink;    /* owned */
    struct tar_write tar; /* into `sink` */
};

static int put(void *arg, const void *bytes, size_t len, struct err *e)
{
    return sink_write(arg, bytes, len, e);
}

int pack_layer_begin(const struct pack *p, enum pack_coding coding,
                     struct pack_layer **ret, struct err *e)
{
    struct pack_layer *l = fault_calloc(1, sizeof *l);
    int r;

    if (l == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    l->p = p;
    r = sink_open(p->store, coding, &l->sink, e);
    if (r < 0) {
        free(l);
        return r;
    }
    l->tar = (struct tar_write){.put = put, .arg = l->sink};
    *ret = l;
    return 0;
}

void pack_layer_abort(struct pack_layer *l)
{
    if (l != NULL) {
        sink_abort(l->sink);
        free(l);
    }
}

int pack_layer_commit(struct pack_layer *l, struct image_layer *ret, struct err *e)
{
    int r = tar_write_end(&l->tar, e);

    if (r < 0) {
        pack_layer_abort(l);
        return r;
    }
    r = sink_commit(l->sink, ret, e);
    free(l);
    return r;
}

int pack_layer_add_dir(struct pack_layer *l, int dir, const struct pack_scan *scan,
                       struct err *e)
{
    return scan_dir(&l->tar, dir, scan, e);
}

int pack_layer_add(struct pack_layer *l, const struct pack_entry *x, struct err *e)
{
    struct tar_entry t = {.path = x->path,
                          .link = x->link != NULL ? x->link : "",
                          .type = x->type,
                          .mode = x->mode & 07777,
                          .uid = x->uid,
                          .gid = x->gid,
                          .mtime = x->mtime,
                          .size = x->type == '-' ? x->size : 0};
    int r;

    if (x->type == 'w') {
        return scan_put_whiteout(&l->tar, x->path, e);
    }
    r = tar_write_entry(&l->tar, &t, 0, 0, e);
    if (r < 0 || x->type != '-') {
        return r;
    }
    if (x->fd >= 0) {
        return tar_write_fd(&l->tar, x->fd, x->size, e);
    }
    r = x->size > 0 ? tar_write_data(&l->tar, x->bytes, x->size, e) : 0;
    return r < 0 ? r : tar_write_pad(&l->tar, x->size, e);
}

int pack_layer_from_dir(const struct pack *p, int dir, const struct pack_scan *scan,
                        enum pack_coding coding, struct image_layer *ret, struct err *e)
{
    struct pack_layer *l = NULL;
    int r = pack_layer_begin(p, coding, &l, e);

    if (r < 0) {
        return r;
    }
    r = pack_layer_add_dir(l, dir, scan, e);
    if (r < 0) {
        pack_layer_abort(l);
        return r;
    }
    return pack_layer_commit(l, ret, e);
}

/* ---- foreign tars ---- */

/* A tar that is read; each piece also goes to `sink` unless that is NULL. */
struct tee {
    const struct pack *p;
    struct source *source;
    struct sink *sink;
    uint64_t told;
};

#define TELL_BYTES (4u << 20)

static int next_piece(void *arg, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    struct tee *t = arg;
    int r = source_next(t->source, ret, ret_len, e);
    uint64_t done = source_stored(t->source);

    if (done - t->told >= TELL_BYTES) {
        t->told = done;
        pack_tell(t->p, "read", "", done, 0);
    }
    if (r < 0 || t->sink == NULL || *ret_len == 0) {
        return r;
    }
    return sink_write(t->sink, *ret, *ret_len, e);
}

/* Read all entries; the rest behind the end marker is read, too. */
static int check_tar(struct tee *t, pack_see_fn *see, void *arg, struct err *e)
{
    struct tar_read *tar = NULL;
    struct tar_entry x;
    uint64_t n = 0;
    const uint8_t *piece;
    size_t len = 1;
    int r = tar_read_create(next_piece, t, &tar, e);

    while (r == 0 && (r = tar_read_next(tar, &x, e)) > 0) {
        if (see != NULL) {
            see(arg, x.path);
        }
        r = ++n > pack_max_entries(t->p) ? err_set(e, -EFBIG, "it has too many entries")
                                         : 0;
        if (r < 0) {
            break;
        }
    }
    if (r == 0 && !tar_read_ended_well(tar)) {
        r = n == 0 ? err_set(e, -EBADMSG, "it is no tar archive")
                   : err_set(e, -EBADMSG, "the archive is cut off");
    }
    tar_read_destroy(tar);
    while (r == 0 && len > 0) {
        r = next_piece(t, &piece, &len, e);
    }
    return r;
}

int pack_scan_tar(const struct pack *p, int fd, pack_see_fn *see, void *arg,
                  char ret_diff[IMAGE_DIGEST_BYTES], struct err *e)
{
    struct source_limits limits = pack_limits(p);
    struct tee t = {.p = p};
    uint64_t bytes;
    int r = source_open(fd, &limits, &t.source, e);

    r = r < 0 ? r : check_tar(&t, see, arg, e);
    r = r < 0 ? r : source_finish(t.source, ret_diff, &bytes, e);
    source_close(t.source);
    return r;
}

int pack_layer_from_fd(const struct pack *p, int fd, enum pack_coding coding,
                       struct image_layer *ret, struct err *e)
{
    struct source_limits limits = pack_limits(p);
    struct tee t = {.p = p};
    int r = source_open(fd, &limits, &t.source, e);

    r = r < 0 ? r : sink_open(p->store, coding, &t.sink, e);
    r = r < 0 ? r : check_tar(&t, NULL, NULL, e);
    if (r == 0) {
        r = sink_commit(t.sink, ret, e);
    } else {
        sink_abort(t.sink);
    }
    source_close(t.source);
    return r;
}
