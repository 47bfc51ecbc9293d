/* files.c - images in files of the judge's directory, opened by us. */
#include "tests/resource/storage/qcow2/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/judge.h"

int file_open_raw(struct loop *l, const char *name, bool read_only, bool fresh,
                  struct blk **ret)
{
    struct leaf_file_options o = {.label = name, .read_only = read_only, .grows = true};
    int flags = (read_only ? O_RDONLY : O_RDWR) | (fresh ? O_CREAT | O_TRUNC : 0);
    struct err e = {0};
    char path[256];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", judge_dir(), name);
    fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    o.grows = !read_only;
    return leaf_file_create(l, fd, &o, ret, &e);
}

static int open_source(struct blk_source *base, const char *name, const char *format,
                       bool read_only, struct blk **ret, struct err *e)
{
    struct file_source *s = (struct file_source *)base;
    struct file_source next = *s;
    int r;

    if (strchr(name, '/') != NULL) {
        return err_set(e, -EACCES, "names with a slash are not allowed here");
    }
    if (strcmp(format, "raw") == 0) {
        r = file_open_raw(s->loop, name, read_only, false, ret);
        return r == 0 ? 0 : err_sys(e, r, "cannot open '%s'", name);
    }
    next.depth++;
    return file_open_image(&next, name, read_only, NULL, ret, e);
}

struct file_source file_source_of(struct loop *l, unsigned depth)
{
    return (struct file_source){{open_source}, l, depth};
}

int file_open_image(struct file_source *s, const char *name, bool read_only,
                    const struct qcow2_open_options *o, struct blk **ret, struct err *e)
{
    struct qcow2_open_options mine = o != NULL ? *o : (struct qcow2_open_options){0};
    struct blk *file = NULL;
    int r = file_open_raw(s->loop, name, read_only, false, &file);

    if (r != 0) {
        return err_sys(e, r, "cannot open '%s'", name);
    }
    mine.label = name;
    mine.read_only = read_only;
    mine.source = &s->source;
    mine.depth = s->depth;
    return qcow2_open(file, &mine, ret, e);
}

void file_create_image(struct loop *l, const char *name,
                       const struct qcow2_create_options *o)
{
    struct blk *file = NULL;
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_ALL, .lets = BLK_USE_ALL};
    struct err e = {0};

    must_be_0(file_open_raw(l, name, false, true, &file));
    must_be_0(blk_attach(&edge, file, &e));
    if (qcow2_create(file, o, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        must(false);
    }
    blk_detach(&edge);
}
