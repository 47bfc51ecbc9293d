/* backup.c - a copy of one moment of a disk in use: of all of it, or of what changed.
 *
 * The moment is when the filter of before.c is put in: no request is under way then.  The
 * marks of a bitmap are frozen in the same moment; what changes later is marked for the
 * next backup.  After an error, or a crash, the frozen marks go back to the bitmap:
 * the next backup copies what this one should have. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/job/copy.h"
#include "resource/storage/job/private.h"

#define FROZEN_SUFFIX ".backup"

struct backup {
    const struct job_backup *what;
    char name[BITMAP_NAME_BYTES]; /* of the frozen marks */
    struct bitmap *live;
    struct bitmap *frozen;
    bool full;
    uint64_t bytes; /* that there were to be copied */
};

/* Marks of a backup that did not end go back. */
static int thaw(struct backup *b, struct err *e)
{
    struct bitmap *frozen = bitmap_find(b->what->marks, b->name);
    int r = frozen != NULL ? bitmap_merge(b->live, frozen) : 0;

    if (r != 0) {
        return err_sys(e, r, "cannot give the marks of a backup back");
    }
    return frozen != NULL ? bitmap_remove(b->what->marks, b->name, e) : 0;
}

static int find_marks(struct backup *b, struct err *e)
{
    const struct job_backup *w = b->what;

    if (w->marks == NULL) {
        return 0;
    }
    b->live = bitmap_find(w->marks, w->bitmap);
    if (b->live == NULL || snprintf(b->name, sizeof b->name, "%s" FROZEN_SUFFIX,
                                    w->bitmap) >= (int)sizeof b->name) {
        return err_set(e, b->live == NULL ? -ENOENT : -EINVAL,
                       "no bitmap that a backup can use is called '%.64s'", w->bitmap);
    }
    return thaw(b, e);
}

/* The moment. */
static int begin(void *arg, struct job_copy *c, struct err *e)
{
    struct backup *b = arg;
    int r = b->live != NULL ? bitmap_freeze(b->live, b->name, &b->frozen, e) : 0;

    if (r == 0 && b->full) {
        job_copy_mark(c, 0, c->size);
    }
    for (uint64_t at = 0; r == 0 && !b->full && at < c->size;) {
        uint64_t from = bitmap_next(b->frozen, at, true);

        at = from < c->size ? bitmap_next(b->frozen, from, false) : c->size;
        if (from < c->size) {
            job_copy_mark(c, from, at - from);
        }
    }
    b->bytes = c->left << c->shift < c->size ? c->left << c->shift : c->size;
    return r;
}

static int copy(struct backup *b, struct blk_edge *edge, const struct job_control *j)
{
    struct job_copy *c = job_before_copy(edge->disk);
    int r;

    r = b->full ? job_copy_look(c) : 0;
    r = r == 0 ? job_copy_all(c, j->progress, j->arg) : r;
    return r == 0 ? blk_flush(b->what->to) : r;
}

static int end_marks(struct backup *b, int r, struct err *e)
{
    if (b->frozen == NULL) {
        return r;
    }
    if (r != 0) {
        (void)thaw(b, NULL); /* else the next backup does */
        return r;
    }
    return bitmap_remove(b->what->marks, b->name, e);
}

int job_backup(struct blk_edge *edge, const struct job_backup *what,
               const struct job_control *j, uint64_t *ret_bytes, struct err *e)
{
    struct backup b = {.what = what, .full = what->full || what->marks == NULL};
    struct job_before_options o = {.copy = what->to, .begin = begin, .arg = &b};
    struct blk *from = edge->disk;
    struct blk_edge keep = {.user = "backup", .lets = BLK_USE_ALL};
    int r = blk_attach(&keep, what->to, e);

    r = r == 0 ? find_marks(&b, e) : r;
    r = r == 0 ? job_before_insert(edge, &o, e) : r;
    if (r == 0) {
        r = copy(&b, edge, j);
        (void)blk_remove(edge, NULL);
    }
    r = end_marks(&b, r, e);
    *ret_bytes = b.bytes;
    blk_detach(&keep);
    return r == 0 ? 0 : err_sys(e, r, "cannot make a backup of '%s'", from->label);
}
