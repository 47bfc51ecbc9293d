/* disks.h - the volumes of a guest that are disks: mounted before it is made, unmounted
 * after its end.
 *
 * The plan's member `disks` is a list of
 *
 *     {"name": NAME, "at": DIRECTORY, "read_only": BOOL,
 *      "layers": [{"path": FILE, "format": "raw" | "qcow2"}, ...]}    the lowest first
 *
 * All of it is the kernel's: a mount namespace of the keeper has the mounts, a mount has its
 * loop device, a loop device its file and the lock on it (resource/storage/leaf/lock.h).  When the
 * keeper and the guest are gone, however they ended, the kernel takes all of it back. */
#ifndef NODE_DISKS_DISKS_H
#define NODE_DISKS_DISKS_H

#include <jansson.h>
#include <stdbool.h>

struct err;

/* In the process that becomes the keeper: go into a mount namespace of its own, where there are
 * disks, and mount them, unless they are.  -EBUSY: somebody else uses one; what belongs to a guest that
 * has just ended is waited for. */
int disks_attach(const json_t *spec, struct err *e);

/* All of them are mounted in this namespace, and work; also where there are none. */
bool disks_are_attached(const json_t *spec);

/* Write down and unmount what is mounted there; nothing: 0. */
int disks_detach(const json_t *spec, struct err *e);

/* Make a file system of that type (ext4, xfs, btrfs) on a disk that holds zeros; of `spec`
 * only the place of programs is used.  Durable. */
int disks_format(const json_t *spec, const json_t *disk, const char *type, struct err *e);

#endif
