/* ext4.h - a file system of ext4 on its way: groups, blocks, inodes.
 *
 * Linux, Documentation/filesystems/ext4 (super.rst, group_descr.rst, inodes.rst,
 * ifork.rst, directory.rst, journal.rst, attributes.rst).  Blocks of 4 KiB, inodes of
 * 256 bytes; each group of 32768 blocks keeps its own bitmaps and inode table at its
 * beginning, behind copies of the superblock where "sparse_super" wants them.  No
 * checksums of metadata: tables that are all zeros need not be written. */
#ifndef RESOURCE_IMAGE_DISK_EXT4_H
#define RESOURCE_IMAGE_DISK_EXT4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define EXT4_BLOCK        4096u
#define EXT4_GROUP_BLOCKS 32768u
#define EXT4_GROUP_INODES 8192u
#define EXT4_INODE_BYTES  256u
#define EXT4_EXTENTS_MOST 340u /* of one block */

struct ext4_group {
    uint32_t first; /* block */
    uint32_t
        bitmaps; /* block of the blocks' bitmap; the inodes' follows, then the table */
    uint32_t free_blocks, free_inodes, dirs;
};

struct ext4 {
    int fd;
    uint32_t groups;
    uint32_t table_blocks; /* of the group descriptors */
    uint32_t next;         /* the first block that may be free */
    struct ext4_group *group;
    uint8_t *block_used; /* bits */
    uint8_t *inode_used;
    uint8_t id[16];
    uint8_t journal[60]; /* what the journal's inode says of its blocks */
    uint32_t journal_blocks;
    int64_t time;
};

/* Where the contents of a file lie. */
struct ext4_run {
    uint32_t block, count;
};

struct ext4_runs {
    struct ext4_run run[EXT4_EXTENTS_MOST];
    uint32_t n;
    uint32_t leaf; /* block of the list; 0: the inode holds it */
};

/* An inode as it will be written. */
struct ext4_inode {
    uint32_t number;
    uint16_t mode;
    uint32_t uid, gid, links;
    uint64_t size;
    int64_t mtime;
    uint32_t blocks; /* that it takes */
    bool extents;    /* `place` is a list of them */
    uint8_t place[60];
    uint8_t capability[24];   /* security.capability; */
    uint8_t capability_bytes; /* 0: none */
};

/* A file system of `bytes` (whole groups); nothing is written yet. */
int ext4_init(struct ext4 *x, int fd, uint64_t bytes, struct err *e);
void ext4_fini(struct ext4 *x);

/* Take `count` blocks, as few runs as there can be.  -ENOSPC. */
int ext4_take(struct ext4 *x, uint32_t count, struct ext4_runs *ret);

/* Let the inode point to them; a list that is too long for it is written. */
int ext4_place(struct ext4 *x, const struct ext4_runs *r, struct ext4_inode *i);

/* 0 or -errno of the file. */
int ext4_put_inode(struct ext4 *x, const struct ext4_inode *i);
int ext4_put(struct ext4 *x, uint64_t at, const void *bytes, size_t n);
int ext4_put_journal(struct ext4 *x, uint32_t blocks);

/* Bitmaps, descriptors, superblock and its copies: the last step. */
int ext4_finish(struct ext4 *x);

void ext4_set16(uint8_t *at, uint32_t v);
void ext4_set32(uint8_t *at, uint32_t v);

#endif
