/* carve.h - a device of the host that holds many thin disks that grow.
 *
 * A store is a disk (a block device, or a file as one) cut into extents of the same size.
 * A carved disk, named by an id and the number of a part, takes extents as it grows and gives
 * them back when they are discarded, zeroed with BLK_UNMAP, or behind a smaller end.
 * It behaves as a file that grows: a format can lie on it.
 *
 * Several processes use one store at the same time; each carved disk is open for writing in
 * one of them only, or for reading in any number.  Locks are those of the open file
 * (F_OFD_SETLK), so a dead process holds none, and what it had set aside is found.
 *
 * Threads: that of the disks, in strands. */
#ifndef RESOURCE_STORAGE_POOL_CARVE_H
#define RESOURCE_STORAGE_POOL_CARVE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;
struct place_store;

#define PLACE_OWNER_BYTES 128 /* of the text that says whose a store is, with its end */

/* The extent for a device of that size: 64 KiB to 512 KiB. */
uint32_t place_store_extent_for(uint64_t device_bytes);

/* Write an empty store to a disk, which stays the caller's.  `extent_bytes`: a power of two
 * from 65536 to 524288; 0: chosen by the size.  -ENOSPC: the disk is too small. */
int place_store_format(struct blk *disk, uint32_t extent_bytes, struct err *e);

/* The same with a text that says whose it is; -ENAMETOOLONG. */
int place_store_format_for(struct blk *disk, uint32_t extent_bytes, const char *owner,
                           struct err *e);

/* Use a store on a disk; takes both, also on failure.  `take_lock_fd`: a descriptor of the
 * device (dup(2) of the one that the disk has) that locks are made on; opened for
 * reading and writing if disks are to be written.  Two stores of a process on one device
 * need two open files, not two descriptors of one: else they do not exclude each other.
 * -1: nobody else uses the store.  A leaf below is opened with `no_lock` and without
 * `grows`. */
int place_store_open(struct loop *l, struct blk *take_disk, int take_lock_fd,
                     struct place_store **ret_store, struct err *e);

/* Whose it is; "" when nobody said so. */
const char *place_store_owner(const struct place_store *s);

/* The device holds nothing any more, as if it had never been a store; nothing but
 * `place_store_unref` may follow.  -EBUSY: somebody else uses it, or a disk of it is open. */
int place_store_wipe(struct place_store *s, struct err *e);

/* Done with it; it goes when its last carved disk does.  NULL is allowed. */
void place_store_unref(struct place_store *s);

struct place_room {
    uint64_t total_bytes;
    uint64_t free_bytes; /* not taken by any disk, nor set aside for one */
    uint32_t extent_bytes;
};

/* Reads one block of the device. */
int place_store_room(struct place_store *s, struct place_room *ret);

/* Use what the device has got since, as far as the table reaches: four times as much as when
 * it was made.  Done by itself when the store is full. */
int place_store_grow(struct place_store *s);

/* Whether that would give room. */
bool place_store_can_grow(const struct place_store *s);

/* No disk of it is open here. */
bool place_store_is_idle(const struct place_store *s);

/* One that was opened for reading only is written from now on, as are its carved disks if they are
 * let.  The disk can be written; the descriptor for locks, which is taken, too. */
int place_store_let_write(struct place_store *s, int take_lock_fd, struct err *e);

/* What it lies on; where a carved disk says that its bytes are. */
struct blk *place_store_disk(const struct place_store *s);

/* Take back what dead processes set aside, finish removals, and count the room anew.  Done by
 * itself when the store is full.  Reads the whole table. */
int place_store_sweep(struct place_store *s);

struct place_carved {
    uint64_t id;
    uint32_t part;
    uint64_t size_bytes;
};

/* Every carved disk, in no order; stops at the first answer that is not 0 and gives it back. */
int place_store_list(struct place_store *s,
                     int (*visit)(const struct place_carved *c, void *arg), void *arg);

/* An empty disk of 0 bytes.  -EEXIST, -ENOSPC. */
int place_carve_add(struct place_store *s, uint64_t id, uint32_t part, struct err *e);

/* The disk of a name; it keeps the store.  -ENOENT; -EBUSY: it is open in a way that excludes
 * this one. */
int place_carve_open(struct place_store *s, uint64_t id, uint32_t part, bool read_only,
                     struct blk **ret_disk, struct err *e);

/* Beside others who have it open: whoever asks knows that what they read stays as it is. */
int place_carve_open_beside(struct place_store *s, uint64_t id, uint32_t part,
                            bool read_only, struct blk **ret_disk, struct err *e);

/* Give all its extents back.  -ENOENT; -EBUSY: somebody has it open. */
int place_carve_remove(struct place_store *s, uint64_t id, uint32_t part, struct err *e);

/* Bytes of the device that a carved disk has, as the table says; also of one in use.
 * -ENOENT. */
int place_carve_count(struct place_store *s, uint64_t id, uint32_t part, uint64_t *ret);

/* Bytes of the device that a carved disk has in use. */
uint64_t place_carve_taken(const struct blk *carved);

#endif
