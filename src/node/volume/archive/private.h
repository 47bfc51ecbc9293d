/* private.h - what the files about backups of directories share.
 *
 * A backup is a list and the bytes of what changed since the one before:
 *
 *     0002.list    a line for each file, directory, link: an object of JSON, in the order of a
 *                  walk whose names are sorted
 *     0002.data    contents of files, end to end
 *
 *     path       below the top, "." for that; bytes that are no plain text as %XX
 *     type       file, directory, link, fifo, char, block; same: another name of a file
 *     mode, uid, gid, mtime_ns, xattrs {NAME: HEX}
 *     target     of a link; `of` of another name: the path of the first; `device` of a device
 *     size, data {backup, at, bytes, sha256, parts [[from, bytes]...]}    of a file: which parts
 *                of it are no hole, and where they lie, one behind the other
 *     stamp [device, inode, ctime_ns]     of a file that has not changed while it bears this
 *
 * So each list is complete, and a file is found by one look at it. */
#ifndef NODE_VOLUME_ARCHIVE_PRIVATE_H
#define NODE_VOLUME_ARCHIVE_PRIVATE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "base/str.h"

struct err;

#define ARCHIVE_PATH_MOST  (PATH_MAX * 4)
#define ARCHIVE_LINE_MOST  ((size_t)64 << 20)
#define ARCHIVE_DEPTH_MOST 512

/* ---- list.c ---- */

/* A name as text and back; -EINVAL. */
char *archive_quote(const char *bytes); /* the caller frees it; NULL: no memory */
int archive_unquote(const char *text, char *out, size_t size);

/* Below 0, 0, above: in the order of a walk; as names are, not as they are quoted. */
int archive_compare(const char *a, const char *b);

/* A list that is read from its begin; `sum` of all lines so far. */
struct archive_reader {
    FILE *file; /* owned */
    char *line; /* owned */
    size_t room;
    unsigned long number;
    struct sha256 sum;
};

int archive_reader_open(struct archive_reader *r, int take_fd, struct err *e);
void archive_reader_fini(struct archive_reader *r);

/* The next entry, which the caller owns; NULL at the end. */
int archive_read(struct archive_reader *r, json_t **ret, struct err *e);

/* Read what is left, and compare with the sum that was noted. */
int archive_check(struct archive_reader *r, const char *sum, struct err *e);

struct archive_writer {
    FILE *file; /* owned */
    struct sha256 sum;
    uint64_t count;
};

int archive_writer_open(struct archive_writer *w, int take_fd, struct err *e);
void archive_writer_fini(struct archive_writer *w);
int archive_write(struct archive_writer *w, const json_t *entry, struct err *e);

/* All of it is durable; its sum in digits. */
int archive_writer_end(struct archive_writer *w, char sum[SHA256_HEX_BYTES],
                       struct err *e);

/* NNNN.list, NNNN.data of a backup's name; -EINVAL when that is none. */
int archive_open(int dir, const char *name, const char *what, int flags, struct err *e);

/* A member that is a number; 0. */
int64_t archive_number(const json_t *entry, const char *key);
const char *archive_text(const json_t *entry, const char *key); /* "" */

/* The directory that `path` lies in, below `top`, through no link; a descriptor and the last name,
 * -errno. */
int archive_parent(int top, const char *path, char name[NAME_MAX + 1]);

/* ---- attribute.c ---- */

/* All that a file has, as an object that the caller owns; NULL: nothing.  `fd` may be of O_PATH. */
int archive_attributes(int fd, json_t **ret);
int archive_set_attributes(int fd, const json_t *xattrs);

/* ---- scan.c ---- */

struct archive_scan {
    int top;    /* the files */
    int before; /* owned by the caller: the list of the backup before; -1: none */
    const char *before_sum;
    int stage; /* a directory in which files share the bytes of those that changed; -1: none */
    int out;         /* the lines go there, without `data` of what changed */
    uint64_t files;  /* filled in: that changed */
    uint64_t bytes;  /* of the tree */
    bool not_shared; /* the file system shares no bytes: `stage` was no use */
};

int archive_scan(struct archive_scan *s, struct err *e);

/* The number that a staged file has as a name. */
void archive_stage_name(uint64_t number, char out[32]);

/* ---- pack.c ---- */

struct archive_pack {
    int top;
    int stage;
    int lines; /* what a scan has written */
    int list;
    int data;
    const char *name;           /* of the backup */
    char sum[SHA256_HEX_BYTES]; /* filled in, of the list; and so are: */
    uint64_t entries;
    uint64_t bytes; /* of `data` */
    uint64_t
        changed; /* files that changed while they were read, each time it was tried */
};

int archive_pack(struct archive_pack *p, struct err *e);

/* ---- unpack.c ---- */

struct archive_unpack {
    int dir; /* with the backups */
    const json_t *backup;
    int top;          /* an empty directory */
    const char *path; /* only this, and what is below it, as `as`; NULL: all of it */
    const char *as;
    bool owners; /* and set-id bits, devices, attributes that only root sets */
};

int archive_unpack(const struct archive_unpack *u, struct err *e);

#endif
