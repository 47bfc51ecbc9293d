/* attach.h - disks given to the host's kernel: a file as a block device, a file system on it.
 *
 * Nothing here leaves a name or a record behind: a loop device detaches itself when its last
 * user is gone (LO_FLAGS_AUTOCLEAR), and a FUSE file system that is mounted nowhere goes with
 * its last open file.  So a process that dies at any step leaves nothing.
 *
 * Needs root of the host.  All calls may block. */
#ifndef HOST_ATTACH_ATTACH_H
#define HOST_ATTACH_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define ATTACH_PATH_BYTES 32
#define ATTACH_TYPE_BYTES 16

/* ---- FUSE (fuse.c) ---- */

/* A /dev/fuse for a server, and the file system that it will serve, which is one
 * regular file and mounted nowhere.  Returns before the server runs. */
int attach_fuse(bool read_only, int *ret_server, int *ret_mount, struct err *e);

/* Open the file of such a file system; waits until its server has answered.  The file
 * works on when `mount` is closed. */
int attach_fuse_open(int mount, bool read_only, int *ret_file, struct err *e);

/* ---- loop devices (loop.c) ---- */

struct attach_loop {
    int file; /* borrowed; the kernel keeps its open file description, locks included,
               * as long as the device is attached */
    bool read_only;
    uint32_t block_bytes; /* 0: 512 */
    uint64_t off;         /* of the part that is attached */
    uint64_t bytes;       /* of it; 0: all behind `off` */
};

/* Attach a file as a block device; it stays as long as the descriptor is open, or a file
 * system on it is mounted. */
int attach_loop(const struct attach_loop *o, char ret_path[ATTACH_PATH_BYTES],
                int *ret_device, struct err *e);

/* The device sees that its file has become larger. */
int attach_loop_grown(int device, struct err *e);

/* ---- parts of disks (partition.c) ---- */

struct attach_part {
    uint64_t off;
    uint64_t bytes;
};

/* Where the partition of that number is: by a GPT, or else by the older table (MBR), where those
 * of an extended one begin with 5.  -ENOENT: there is none; -EUCLEAN: the table is damaged, or the
 * partition lies outside of the disk. */
int attach_partition(int fd, unsigned number, uint32_t block_bytes,
                     struct attach_part *ret, struct err *e);

/* ---- file systems (filesystem.c) ---- */

/* What is on a file or device.  -ENODATA: nothing that we know; -EINVAL: signs of
 * more than one, so that nobody can tell what it is. */
int attach_probe(int fd, char ret_type[ATTACH_TYPE_BYTES], struct err *e);

/* The types that `attach_probe` knows; NULL behind the last. */
const char *attach_type(unsigned i);

/* Mount what is on a device (nodev).  Read-only writes nothing, no journal either. */
int attach_mount(const char *device, const char *type, bool read_only, const char *target,
                 struct err *e);

/* The same in no tree (mounted.c), without devices, programs and set-id bits: nobody else finds
 * it, and it goes with the last descriptor below `*ret_root`, a directory. */
int attach_mount_alone(const char *device, const char *type, bool read_only,
                       int *ret_root, struct err *e);

/* The options of a type, comma separated; NULL: none. */
const char *attach_options(const char *type, bool read_only);

/* A mounted ext4, xfs or btrfs takes all of its device, which has become larger; others stay as
 * they are.  `dir` is an open directory of it.  0 also where there is nothing to do. */
int attach_grow(int dir, int device, const char *type, struct err *e);

/* Give the room of deleted files back, where the file system and the disk can; `dir` is an open
 * directory of it.  What a file system gives back by itself it forgets at its end. */
void attach_trim(int dir);

/* Write down what is held back, then unmount; where it is in use, as soon as that ends.
 * No mount: 0. */
int attach_unmount(const char *target, struct err *e);

#endif
