/* node/disk/tar.h - a tree as a tar stream (POSIX.1-2001 pax), both ways. */
#ifndef NODE_DISK_TAR_H
#define NODE_DISK_TAR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TAR_BLOCK_BYTES 512

struct err;

/* What is read from a stream; ends are those of the stream, too. */
struct untar_in {
    int fd;           /* borrowed */
    uint64_t left;    /* bytes of the current member not read yet */
    uint64_t padding; /* behind them */
};

/* One member, checked: names are texts without NUL, `name` may lead anywhere. */
struct untar_entry {
    char type; /* '0' file, '1' hard link, '2' symbolic link, '5' directory, '6' fifo;
                  any other is to be passed over */
    char name[PATH_MAX];
    char link[PATH_MAX];
    uint64_t size;
    uint64_t uid, gid;
    mode_t mode; /* permissions */
    int64_t mtime;
};

/* The next member, after what is left of the last one: 1; 0 at the end; -EINVAL for what
 * is no tar stream, -ENAMETOOLONG, -EPIPE when the stream is cut off. */
int untar_next(struct untar_in *in, struct untar_entry *ret, struct err *e);

/* Content of the current member: bytes, 0 at its end, -errno. */
ssize_t untar_content(struct untar_in *in, void *buf, size_t len);

#endif
