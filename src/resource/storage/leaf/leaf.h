/* leaf.h - disks that have no disk below them: files, host devices, memory.
 *
 * All functions: on the loop's thread.  A disk that was created has no user yet;
 * it belongs to the edges that are attached to it (contract/blk_graph.h). */
#ifndef RESOURCE_STORAGE_LEAF_LEAF_H
#define RESOURCE_STORAGE_LEAF_LEAF_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;
struct strand_pool;

struct leaf_file_options {
    const char *label; /* names it in messages; copied */
    bool read_only;
    bool direct;          /* past the page cache, where the file system can */
    bool grows;           /* writes may end behind the end: a file of a format */
    bool no_lock;         /* whoever opened it keeps others away */
    bool let_others_read; /* a writer that tools may look over the shoulder of */
    uint32_t block_bytes; /* 0: what the device or direct access asks for, or 512 */
};

/* A disk over an open regular file or block device; takes the descriptor, also on
 * failure.  A file whose size is not whole blocks reads zeros behind its last
 * byte.  -EBUSY: another process has it open in a way that excludes this one;
 * `e` says so.  The locks are those of QEMU's file driver, so that each keeps
 * away from the other's files. */
int leaf_file_create(struct loop *l, int take_fd, const struct leaf_file_options *o,
                     struct blk **ret_disk, struct err *e);

/* From now on writes to a disk of `leaf_file_create` may end behind its end (`grows`), if it
 * is a regular file. */
void leaf_file_let_grow(struct blk *b);

/* From now on nothing is made durable: for bytes that can be made again if the power goes.
 * Any disk is allowed; others than those of `leaf_file_create` stay as they are. */
void leaf_file_skip_flushes(struct blk *b);

/* Go on with another descriptor of the same file, which it takes, also on failure: of one
 * that was opened for reading only, one that can be written.  In a strand that runs no
 * request of the disk.  -EINVAL: it is of another file. */
int leaf_file_reopen(struct blk *b, int take_fd, struct err *e);

/* Sparse memory that reads zeros where nothing was written. */
int leaf_memory_create(struct strand_pool *strands, uint64_t size_bytes,
                       uint32_t block_bytes, struct blk **ret_disk, struct err *e);

/* Bytes of memory that a disk of `leaf_memory_create` holds. */
uint64_t leaf_memory_held_bytes(const struct blk *b);

#endif
