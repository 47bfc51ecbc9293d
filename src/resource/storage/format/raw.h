/* raw.h - the plain bytes of a file as a format among others. */
#ifndef RESOURCE_STORAGE_FORMAT_RAW_H
#define RESOURCE_STORAGE_FORMAT_RAW_H

#include <stdint.h>

struct blk;
struct err;
struct format_open_options;

/* The file itself. */
int raw_open(struct blk *take_file, const struct format_open_options *o,
             struct blk **ret_disk, struct err *e);
int raw_create(struct blk *file, uint64_t size_bytes, struct err *e);

#endif
