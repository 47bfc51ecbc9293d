/* vhd.h - read disks in VHD files, fixed and dynamic (Virtual PC, Hyper-V, Azure). */
#ifndef RESOURCE_STORAGE_FORMAT_VHD_H
#define RESOURCE_STORAGE_FORMAT_VHD_H

struct blk;
struct err;
struct format_open_options;

int vhd_open(struct blk *take_file, const struct format_open_options *o,
             struct blk **ret_disk, struct err *e);

#endif
