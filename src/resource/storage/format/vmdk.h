/* vmdk.h - disks in VMware VMDK files.
 *
 * Specification: VMware, Virtual Disk Format 5.0 (technical note, December 2011).
 * Read: monolithic sparse, stream-optimised, and descriptor files with flat, sparse
 * and zero extents.  Written: monolithic sparse ones; stream-optimised ones once, from
 * begin to end. */
#ifndef RESOURCE_STORAGE_FORMAT_VMDK_H
#define RESOURCE_STORAGE_FORMAT_VMDK_H

#include <stdint.h>

struct blk;
struct blk_sink;
struct err;
struct format_open_options;
struct loop;

/* As in `struct format_row`. */
int vmdk_open(struct blk *take_file, const struct format_open_options *o,
              struct blk **ret_disk, struct err *e);
int vmdk_create(struct blk *file, uint64_t size_bytes, struct err *e);
int vmdk_stream_create(struct loop *l, struct blk *file, uint64_t size_bytes,
                       struct blk_sink **ret_sink, struct err *e);

#endif
