/* cd.h - a CD drive as a virtio device: a SCSI host with one target, 0, of one unit.
 *
 * Threads: that of the loop and of the disk, which are one. */
#ifndef VIRTIO_SCSI_CD_H
#define VIRTIO_SCSI_CD_H

struct blk_edge;
struct err;
struct loop;
struct virtio_device;

/* The disc is the disk, which is only read; `edge` is borrowed. */
int virtio_cd_create(struct loop *l, const struct blk_edge *edge,
                     struct virtio_device **ret, struct err *e);

#endif
