/* vdi.h - read disks in VirtualBox VDI files, version 1.1: dynamic and static ones. */
#ifndef RESOURCE_STORAGE_FORMAT_VDI_H
#define RESOURCE_STORAGE_FORMAT_VDI_H

struct blk;
struct err;
struct format_open_options;

int vdi_open(struct blk *take_file, const struct format_open_options *o,
             struct blk **ret_disk, struct err *e);

#endif
