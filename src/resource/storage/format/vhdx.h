/* vhdx.h - read disks in VHDX files: fixed, dynamic, differencing.
 *
 * Specification: Microsoft, [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format,
 * revision 9.0.  A log that was not written back is laid over the file in memory;
 * the file itself is never changed. */
#ifndef RESOURCE_STORAGE_FORMAT_VHDX_H
#define RESOURCE_STORAGE_FORMAT_VHDX_H

struct blk;
struct err;
struct format_open_options;

int vhdx_open(struct blk *take_file, const struct format_open_options *o,
              struct blk **ret_disk, struct err *e);

#endif
