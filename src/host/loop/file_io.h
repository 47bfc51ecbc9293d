/* file_io.h - files read and written from inside strands.
 *
 * What lies in the page cache is read at once, without leaving the thread; the
 * rest goes to the loop's driver and the strand waits.  Buffered writes are made at
 * once while the file has been taking them quickly.
 *
 * All functions: in a strand; the answer is 0 or more, or -errno.  EINTR never. */
#ifndef HOST_LOOP_FILE_IO_H
#define HOST_LOOP_FILE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct loop;

/* An open file; the descriptor stays the caller's. */
struct file_io {
    struct loop *loop;
    int fd;
    bool direct;         /* opened with O_DIRECT: never from the page cache */
    bool no_nowait;      /* found out: the file system does not know RWF_NOWAIT */
    bool was_slow;       /* the last write in place took long */
    uint64_t slow_until; /* writes go through the driver until then */
};

/* Up to the sum of the pieces; fewer only at the end of the file. */
ssize_t file_io_readv(struct file_io *f, const struct iovec *iov, unsigned count,
                      uint64_t off);

/* All of the pieces.  `sync`: durable when it returns. */
ssize_t file_io_writev(struct file_io *f, const struct iovec *iov, unsigned count,
                       uint64_t off, bool sync);

/* Move `bytes` that a pipe holds into a buffered file: all, in place.  -EOPNOTSUPP: none has
 * left the pipe, as the file has been slow or the kernel cannot. */
int file_io_splice(struct file_io *f, int pipe, uint64_t bytes, uint64_t off);

/* fdatasync(2). */
int file_io_sync(struct file_io *f);

/* fallocate(2). */
int file_io_allocate(struct file_io *f, int mode, uint64_t off, uint64_t bytes);

/* Run a call that blocks, on another thread; fn may not touch the loop. */
int file_io_call(struct loop *l, int (*fn)(void *arg), void *arg);

#endif
