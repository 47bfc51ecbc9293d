/* base.c - begin and end of a disk over one file. */
#include "resource/storage/format/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/format/format.h"

int format_refuse(const struct format_base *b, int code, struct err *e, const char *fmt,
                  ...)
{
    char why[ERR_TEXT_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    return err_set(e, code, "cannot open '%s': %s", b->label, why);
}

static int attach(struct format_base *b, struct blk *take_file,
                  const struct format_open_options *o, struct err *e)
{
    const char *label = o->label != NULL ? o->label : b->blk.ops->name;
    int r = 0;

    b->label = fault_strdup(label);
    if (b->label == NULL) {
        r = err_sys(e, -ENOMEM, "cannot open '%s'", label);
    } else if (take_file->block_bytes != BLK_BLOCK_LEAST_BYTES) {
        r = format_refuse(b, -EOPNOTSUPP, e, "its file has blocks of %u bytes, not of %u",
                          take_file->block_bytes, BLK_BLOCK_LEAST_BYTES);
    }
    if (r != 0) {
        blk_drop(take_file);
        return r;
    }
    b->blk.label = b->label;
    r = blk_attach(&b->file, take_file, e);
    if (r != 0) {
        blk_drop(take_file);
    }
    return r;
}

int format_base_create(struct blk *take_file, const struct blk_ops *ops, size_t bytes,
                       const struct format_open_options *o, struct format_base **ret,
                       struct err *e)
{
    struct format_base *b = fault_calloc(1, bytes);
    int r;

    if (b == NULL) {
        blk_drop(take_file);
        return err_sys(e, -ENOMEM, "cannot open an image");
    }
    blk_init(&b->blk, ops, take_file->strands);
    b->blk.read_only = b->blk.read_only || o->read_only;
    b->blk.edge = &b->file;
    b->blk.edge_count = 1;
    b->file = (struct blk_edge){
        .user = ops->name,
        .uses = b->blk.read_only ? BLK_USE_READ : BLK_USE_ALL,
        .lets = b->blk.read_only ? BLK_USE_READ : 0,
    };
    r = attach(b, take_file, o, e);
    if (r != 0) {
        format_base_destroy(b);
        return r;
    }
    *ret = b;
    return 0;
}

void format_base_destroy(struct format_base *b)
{
    blk_detach(&b->file);
    free(b->label);
    free(b);
}

int format_base_size(struct format_base *b, uint64_t size_bytes, struct err *e)
{
    if (size_bytes % b->blk.block_bytes != 0 || size_bytes > BLK_SIZE_MOST_BYTES) {
        return format_refuse(b, -EUCLEAN, e, "a size of %llu bytes is not possible",
                             (unsigned long long)size_bytes);
    }
    b->blk.size_bytes = size_bytes;
    return 0;
}
