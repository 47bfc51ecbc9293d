/* base.h - what the disks of this folder have in common: a label and the file. */
#ifndef RESOURCE_STORAGE_FORMAT_BASE_H
#define RESOURCE_STORAGE_FORMAT_BASE_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"

struct err;
struct format_open_options;

/* First member of each. */
struct format_base {
    struct blk blk;
    char *label; /* owned */
    struct blk_edge file;
};

/* Make a zeroed struct of `bytes`, which begins with a `struct format_base`, over the
 * file: one edge, geometry to come.  Takes the file, also on failure. */
int format_base_create(struct blk *take_file, const struct blk_ops *ops, size_t bytes,
                       const struct format_open_options *o, struct format_base **ret,
                       struct err *e);

/* Detach the file and free. */
void format_base_destroy(struct format_base *b);

/* "cannot open 'label': ", then why. */
int format_refuse(const struct format_base *b, int code, struct err *e, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));

/* Set the size.  -EUCLEAN: not whole blocks, or too large. */
int format_base_size(struct format_base *b, uint64_t size_bytes, struct err *e);

#endif
