/* raid_level.h - arrays made of others: stripes over mirrors. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_RAID_LEVEL_H
#define RESOURCE_STORAGE_REDUNDANCY_RAID_LEVEL_H

struct blk;
struct err;
struct loop;
struct raid_format;
struct raid_options;

/* As `raid_format` and `raid_open`, of level 10. */
int raid_ten_format(struct loop *l, struct blk *const *disk, unsigned count,
                    const struct raid_format *f, struct err *e);
int raid_ten_open(struct loop *l, struct blk *const *take_disk, unsigned count,
                  const struct raid_options *o, struct blk **ret_disk, struct err *e);

#endif
