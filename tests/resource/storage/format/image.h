/* image.h - image files in a folder of their own, opened as disks; QEMU's tools are
 * the other side. */
#ifndef TESTS_RESOURCE_STORAGE_FORMAT_IMAGE_H
#define TESTS_RESOURCE_STORAGE_FORMAT_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk_graph.h"
#include "contract/blk_source.h"

struct loop;

struct images {
    struct blk_source source; /* opens names in the folder, none with a '/' */
    struct loop *loop;
    char dir[64];
    unsigned depth;
    bool deny; /* what a source says that allows nothing */
};

int images_start(void **state);
int images_stop(void **state);

/* Run a command of the shell in the folder; its exit status. */
int images_shell(struct images *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

bool images_have_qemu(struct images *s);

/* Make `name` of `bytes` with random data here and there. */
void images_fill(struct images *s, const char *name, uint64_t bytes, uint64_t seed);

/* The file itself as a disk that grows.  In a strand, as all below. */
struct blk *images_file(struct images *s, const char *name, bool read_only);

int images_open(struct images *s, const char *format, const char *name, bool read_only,
                struct blk **ret, struct err *e);

/* Every byte of the disk is that of the file, read in pieces of many sizes; what the
 * status calls zeros is zeros. */
void images_compare(struct images *s, struct blk *disk, const char *raw);

#endif
