/* files.h - images in files of the judge's directory, opened by us. */
#ifndef TESTS_RESOURCE_STORAGE_QCOW2_FILES_H
#define TESTS_RESOURCE_STORAGE_QCOW2_FILES_H

#include "contract/blk_graph.h"
#include "contract/blk_source.h"
#include "resource/storage/qcow2/qcow2.h"

struct loop;

/* Opens names in the directory: "raw" and "qcow2". */
struct file_source {
    struct blk_source source; /* first */
    struct loop *loop;
    unsigned depth;
};

struct file_source file_source_of(struct loop *l, unsigned depth);

/* The bytes of a file; created when `fresh`.  0 or -errno. */
int file_open_raw(struct loop *l, const char *name, bool read_only, bool fresh,
                  struct blk **ret);

/* An image; `o` may be NULL. */
int file_open_image(struct file_source *s, const char *name, bool read_only,
                    const struct qcow2_open_options *o, struct blk **ret, struct err *e);
void file_create_image(struct loop *l, const char *name,
                       const struct qcow2_create_options *o);

#endif
