/* mount.h - the volumes of a guest that are disks: mounted before it is made, unmounted
 * after its end.
 *
 * The plan's member `disks` is a list of
 *
 *     {"name": NAME, "at": DIRECTORY, "read_only": BOOL, "block_bytes": BYTES,
 *      "partition": NUMBER (0: none), "key_file": FILE, "fd": the open file that is the disk}
 *
 * where the last is never written down.  All of it is the kernel's: a mount namespace of the
 * keeper has the mounts, a mount has its loop device, a loop device its file and the lock on it,
 * or the program that serves it.  When the keeper and the guest are gone, however they
 * ended, the kernel takes all of it back. */
#ifndef NODE_MOUNT_MOUNT_H
#define NODE_MOUNT_MOUNT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

/* In the process that becomes the keeper: go into a mount namespace of its own, where there are
 * disks, and mount them, unless they are. */
int disks_attach(const json_t *spec, struct err *e);

/* All of them are mounted in this namespace, and work; also where there are none. */
bool disks_are_attached(const json_t *spec);

/* Write down and unmount what is mounted there; nothing: 0. */
int disks_detach(const json_t *spec, struct err *e);

/* A block device that is the disk, or the partition of it, and what is on it. */
struct disks_device {
    char path[32];
    char type[16];
    int fd; /* owned; -1: none */
};

int disks_device(const json_t *disk, int file, struct disks_device *ret, struct err *e);

/* Make a file system of that type (ext4, xfs, btrfs) on an open file that holds zeros, for a disk with
 * such blocks.  Durable. */
int disks_format(int file, uint32_t block_bytes, const char *type, struct err *e);

#endif
