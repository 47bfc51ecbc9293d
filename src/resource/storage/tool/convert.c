/* convert.c - copy a disk to another one, or into a new image. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "contract/blk_sink.h"
#include "resource/storage/convert/convert.h"
#include "resource/storage/format/format.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/private.h"

#define IMAGE_NAME "convert.image" /* of the node that is made for the new image */

struct conversion {
    const struct request *r;
    struct transcode_job job;
    struct transcode_result result;
    struct blk *file; /* of the new image, or the disk that is copied to */
    struct blk_edge from_edge;
    struct blk_edge file_edge;
};

/* ---- packed clusters of a qcow2 image, written once ---- */

struct packed {
    struct blk_sink sink;
    struct blk *disk;
};

static int packed_write(struct blk_sink *s, uint64_t number, const void *data,
                        size_t bytes, uint64_t off)
{
    struct packed *p = (struct packed *)s;

    (void)number;
    return data == NULL || bytes == 0 ? 0 : qcow2_write_packed(p->disk, data, bytes, off);
}

static int packed_finish(struct blk_sink *s, struct err *e)
{
    int r = blk_flush(((struct packed *)s)->disk);

    return r == 0 ? 0 : err_sys(e, r, "cannot complete the image");
}

static const struct blk_sink_ops packed_ops = {packed_write, packed_finish, NULL};

/* ---- the target ---- */

/* The node of the new image over its file. */
static int open_image(struct conversion *c, const char *format, struct blk **ret_disk)
{
    const struct request *r = c->r;
    const char *key = request_get(r, "key");
    struct str word = {0};
    int e;

    str_addf(&word, IMAGE_NAME ",%s,file=%s", format, request_get(r, "to"));
    if (key != NULL) {
        str_addf(&word, ",key=%s", key);
    }
    e = str_failed(&word) ? err_sys(r->e, -ENOMEM, "cannot open the image")
                          : graph_add(r->graph, str_text(&word), r->e);
    str_fini(&word);
    if (e == 0) {
        *ret_disk = graph_disk(r->graph, IMAGE_NAME, r->e);
    }
    return e;
}

static int copy_to_sink(struct conversion *c, struct blk_sink *sink)
{
    c->job.sink = sink;
    return transcode_run(&c->job, &c->result, c->r->e);
}

static int copy_to_image(struct conversion *c, const char *format)
{
    struct packed packed = {
        .sink = {.ops = &packed_ops, .size_bytes = c->job.from->size_bytes}};
    struct qcow2_info info;
    int e = tool_create_image(c->r, format, c->file, blk_size(c->job.from));

    if (strcmp(format, "raw") == 0) {
        c->job.to = c->file;
    } else if (e == 0) {
        blk_detach(&c->file_edge); /* the image has the file now */
        e = open_image(c, format, &c->job.to);
    }
    c->job.to_is_zero = strcmp(format, "luks") != 0 && c->job.to != NULL &&
                        (c->job.to != c->file || c->file->grows);
    if (e == 0 && request_has(c->r, "compress")) {
        qcow2_info(c->job.to, &info);
        packed.disk = c->job.to;
        packed.sink.unit_bytes = info.cluster_bytes;
        return copy_to_sink(c, &packed.sink);
    }
    return e != 0 ? e : transcode_run(&c->job, &c->result, c->r->e);
}

static int copy_to_format(struct conversion *c, const char *format)
{
    const struct request *r = c->r;
    const struct format_row *row = NULL;
    struct blk_sink *sink = NULL;
    int e;

    if (request_has(r, "compress") && strcmp(format, "qcow2") != 0) {
        return err_set(r->e, -EINVAL, "only qcow2 images are made with 'compress'");
    }
    if (request_has(r, "backing-name") || request_has(r, "data-name")) {
        return err_set(r->e, -EINVAL,
                       "a copy stands alone: make the image first, then "
                       "copy to it without 'format'");
    }
    if (strcmp(format, "qcow2") != 0 && strcmp(format, "luks") != 0) {
        row = format_find(format, r->e);
        if (row == NULL) {
            return -EINVAL;
        }
    }
    if (row == NULL || row->sink == NULL) {
        return copy_to_image(c, format);
    }
    graph_let_grow(r->graph, c->file);
    e = row->sink(r->loop, c->file, blk_size(c->job.from), &sink, r->e);
    if (e == 0) {
        e = copy_to_sink(c, sink);
        sink->ops->destroy(sink);
    }
    return e;
}

/* An image that is not whole is none: its file is empty, or does not begin like one. */
static void discard(struct conversion *c)
{
    if (graph_disk(c->r->graph, IMAGE_NAME, NULL) != NULL) {
        (void)graph_forget(c->r->graph, IMAGE_NAME, NULL);
    }
    if (!c->file->grows || blk_resize(c->file, 0, NULL) != 0) {
        (void)blk_zero(c->file, 0, blk_block_bytes(c->file), 0);
    }
    (void)blk_flush(c->file);
}

/* A disk that is there: as large as what comes, if it can be. */
static int copy_to_disk(struct conversion *c)
{
    int e = 0;

    if (blk_size(c->file) < blk_size(c->job.from)) {
        e = blk_resize(c->file, blk_size(c->job.from), c->r->e);
    }
    c->job.to = c->file;
    return e != 0 ? e : transcode_run(&c->job, &c->result, c->r->e);
}

static int start(struct conversion *c)
{
    const struct request *r = c->r;
    uint64_t in_flight = 0;
    int e = request_disk(r, "from", &c->job.from);

    e = e != 0 ? e : request_disk(r, "to", &c->file);
    e = e != 0 ? e : request_number(r, "in-flight", 0, &in_flight);
    e = e != 0 ? e : blk_attach(&c->from_edge, c->job.from, r->e);
    c->job.in_flight = in_flight < UINT32_MAX ? (unsigned)in_flight : 0;
    if (e == 0 && c->job.no_flush) { /* nor by the image, when it is closed */
        leaf_file_skip_flushes(c->file);
    }
    return e != 0 ? e : blk_attach(&c->file_edge, c->file, r->e);
}

static const char *const keys[] = {CREATE_KEYS, "from",     "to", "compress",
                                   "in-flight", "no-flush", NULL};

int tool_convert(struct request *r)
{
    struct request_progress p = {.r = r};
    struct conversion c = {
        .r = r,
        .job = {.no_flush = request_has(r, "no-flush"),
                .progress = request_progress,
                .arg = &p},
        .from_edge = {.user = "convert", .uses = BLK_USE_READ, .lets = BLK_USE_READ},
        .file_edge = {.user = "convert", .uses = BLK_USE_ALL},
    };
    const char *format = request_get(r, "format");
    struct blk *top = NULL;
    int e;

    request_catch_signals(r);
    e = request_open(r, keys, &top);
    e = e != 0 ? e : start(&c);
    if (e == 0) {
        e = format != NULL ? copy_to_format(&c, format) : copy_to_disk(&c);
        if (e != 0 && format != NULL) {
            discard(&c);
        }
    }
    blk_detach(&c.file_edge);
    blk_detach(&c.from_edge);
    if (e == 0) {
        (void)request_answer_number(r, "copied_bytes", c.result.copied_bytes);
        (void)request_answer_number(r, "zero_bytes", c.result.zero_bytes);
    }
    return e;
}
