/* marks.c - dirty bitmaps: those inside a qcow2 image, and those beside a disk. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/private.h"

#define GRANULARITY_USUAL 65536u

struct marks {
    const struct request *r;
    struct blk *disk;
    struct bitmap_set *set; /* NULL: the disk is an image with bitmaps inside */
};

static int line(const struct marks *m, const char *name, uint32_t granularity,
                uint64_t dirty, const char *state)
{
    char text[256];

    (void)snprintf(text, sizeof text, "%u %llu %s %.128s", granularity,
                   (unsigned long long)dirty, state, name);
    return request_answer(m->r, "mark", text);
}

static int list(const struct marks *m)
{
    struct bitmap *b;
    int e = 0;

    for (unsigned i = 0; m->set != NULL && e == 0 && (b = bitmap_at(m->set, i)) != NULL;
         i++) {
        e = line(m, bitmap_name(b), bitmap_granularity(b), bitmap_dirty_bytes(b),
                 bitmap_is_lost(b)      ? "lost"
                 : bitmap_is_enabled(b) ? "enabled"
                                        : "disabled");
    }
    for (unsigned i = 0; m->set == NULL && e == 0 && i < qcow2_bitmap_count(m->disk);
         i++) {
        struct qcow2_bitmap_info x;

        qcow2_bitmap_get(m->disk, i, &x);
        e = line(m, x.name, x.granularity_bytes, x.dirty_bytes,
                 x.inconsistent ? "lost"
                 : x.enabled    ? "enabled"
                                : "disabled");
    }
    return e;
}

static int find(const struct marks *m, const char *name, struct bitmap **ret)
{
    *ret = bitmap_find(m->set, name);
    return *ret != NULL
               ? 0
               : err_set(m->r->e, -ENOENT, "there are no marks called '%.64s'", name);
}

static int add(const struct marks *m, const char *name)
{
    struct bitmap *b;
    uint64_t granularity = 0;
    int e = request_number(m->r, "granularity", GRANULARITY_USUAL, &granularity);

    if (e == 0 && granularity > BITMAP_GRANULARITY_MOST) {
        e = err_set(m->r->e, -ERANGE, "granularity= is too large");
    }
    if (e != 0) {
        return e;
    }
    return m->set != NULL
               ? bitmap_add(m->set, name, (uint32_t)granularity, &b, m->r->e)
               : qcow2_bitmap_create(m->disk, name, (uint32_t)granularity, true, m->r->e);
}

static int remove_marks(const struct marks *m, const char *name)
{
    return m->set != NULL ? bitmap_remove(m->set, name, m->r->e)
                          : qcow2_bitmap_delete(m->disk, name, m->r->e);
}

static int clear(const struct marks *m, const char *name)
{
    struct bitmap *b;
    int e = 0;

    if (m->set == NULL) {
        return qcow2_bitmap_clear(m->disk, name, m->r->e);
    }
    e = find(m, name, &b);
    return e != 0 ? e : bitmap_reset(b);
}

static int switch_marks(const struct marks *m, const char *name, bool on)
{
    struct bitmap *b;
    int e = 0;

    if (m->set == NULL) {
        return qcow2_bitmap_enable(m->disk, name, on, m->r->e);
    }
    e = find(m, name, &b);
    return e != 0 ? e : bitmap_enable(b, on);
}

static int enable(const struct marks *m, const char *name)
{
    return switch_marks(m, name, true);
}

static int disable(const struct marks *m, const char *name)
{
    return switch_marks(m, name, false);
}

static int merge_marks(const struct marks *m, const char *from)
{
    const char *to = request_get(m->r, "into");
    struct bitmap *a;
    struct bitmap *b;
    int e = 0;

    if (to == NULL) {
        return err_set(m->r->e, -EINVAL, "no marks to merge into are named (into=NAME)");
    }
    if (m->set == NULL) {
        return qcow2_bitmap_merge(m->disk, to, from, m->r->e);
    }
    e = find(m, from, &a);
    e = e != 0 ? e : find(m, to, &b);
    return e != 0 ? e : bitmap_merge(b, a);
}

/* The ranges that are marked, one line for each. */
static int show(const struct marks *m, const char *name)
{
    uint64_t size = blk_size(m->disk);
    struct bitmap *b = NULL;
    uint64_t bytes = 0;
    int e = m->set != NULL ? find(m, name, &b) : 0;

    for (uint64_t off = 0; e == 0 && off < size; off += bytes) {
        bool dirty;

        if (b != NULL) {
            dirty = bitmap_is_dirty(b, off);
            bytes = bitmap_next(b, off, !dirty) - off;
        } else {
            e = qcow2_bitmap_range(m->disk, name, off, &bytes, &dirty, m->r->e);
        }
        bytes = bytes < size - off ? bytes : size - off;
        if (e == 0 && dirty &&
            dprintf(m->r->answer_fd, "dirty=%llu %llu\n", (unsigned long long)off,
                    (unsigned long long)bytes) < 0) {
            e = -errno;
        }
    }
    return e;
}

static const struct {
    const char *word;
    int (*run)(const struct marks *m, const char *name);
} actions[] = {
    {"add", add},         {"remove", remove_marks}, {"clear", clear}, {"enable", enable},
    {"disable", disable}, {"merge", merge_marks},   {"show", show},
};

static const char *const keys[] = {"add",   "remove", "clear", "enable",      "disable",
                                   "merge", "into",   "show",  "granularity", NULL};

int tool_marks(struct request *r)
{
    struct marks m = {.r = r};
    int e = request_open(r, keys, &m.disk);

    if (e != 0) {
        return e;
    }
    if (strcmp(m.disk->ops->name, "bitmap") == 0) {
        m.set = bitmap_filter_set(m.disk);
    } else if (strcmp(m.disk->ops->name, "qcow2") != 0) {
        return err_set(r->e, -EINVAL, "a disk of type %s has no marks",
                       m.disk->ops->name);
    }
    for (unsigned i = 0; e == 0 && i < sizeof actions / sizeof actions[0]; i++) {
        const char *name = request_get(r, actions[i].word);

        e = name != NULL ? actions[i].run(&m, name) : 0;
    }
    e = e != 0 ? e : list(&m);
    return e == 0 ? 0 : err_sys(r->e, e, "cannot change the marks");
}
