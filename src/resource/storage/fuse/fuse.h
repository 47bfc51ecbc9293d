/* fuse.h - a disk served as a file: a FUSE file system that is one regular file.
 *
 * Protocol: that of the Linux kernel, <linux/fuse.h>, version 7.28 (Linux 4.20) and later.
 * The root of the file system is the file, as long as the disk; there is no directory.
 * Programs use it as they use an image file, and a loop device over it is a block
 * device of the host.
 *
 * Threads: that of the loop. */
#ifndef RESOURCE_STORAGE_FUSE_FUSE_H
#define RESOURCE_STORAGE_FUSE_FUSE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct fuse_server;
struct loop;

struct fuse_options {
    struct blk *disk; /* the server attaches to it */
    bool read_only;
    bool resizable; /* ftruncate(2) makes it longer; never shorter, as open(2) with
                     * O_TRUNC would lose all */
    uint32_t uid;   /* the file's owner */
    uint32_t gid;

    /* The file system is gone: unmounted, and the last file of it closed; or the kernel
     * speaks a protocol that is too old.  Once, not inside of a call; NULL: nobody asks. */
    void (*gone)(void *arg);
    void *arg;
};

struct fuse_counts {
    uint64_t served; /* requests answered */
    uint64_t opened; /* files open now */
    bool ready;      /* the kernel has said what it can */
    bool gone;
};

/* Serve `o->disk` on an open /dev/fuse whose file system is mounted with
 * rootmode=100000 (a regular file); takes the descriptor, also on failure.  The options
 * are copied.  -EBUSY: the disk is in use. */
int fuse_server_create(struct loop *l, int take_fd, const struct fuse_options *o,
                       struct fuse_server **ret_server, struct err *e);

struct fuse_counts fuse_server_counts(const struct fuse_server *s);

/* Answer what is under way, and leave the disk.  A file system that is still mounted
 * gives errors from now on.  In a strand.  NULL is allowed. */
void fuse_server_destroy(struct fuse_server *s);

#endif
