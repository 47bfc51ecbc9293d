/* private.h - what the files of this folder share. */
#ifndef RESOURCE_SHARE_PRIVATE_H
#define RESOURCE_SHARE_PRIVATE_H

#include <sys/stat.h>
#include <sys/types.h>

#include <linux/fuse.h>

#include "resource/share/share.h"

/* A file that the guest knows: looked up and not forgotten.  Its number is its place in the
 * table and 1; FUSE_ROOT_ID is the first one. */
struct share_file {
    int fd; /* owned, O_PATH; -1: a free place */
    dev_t device;
    ino_t inode;
    mode_t mode;     /* its type; rights change */
    uint64_t known;  /* times that the guest was told of it */
    uint32_t next;   /* of the same bucket, or free: number, 0: none */
    uint64_t number; /* how often the place was used: the guest's "generation" */
};

#define SHARE_BUCKETS 1024

struct share_files {
    struct share_file *at; /* owned */
    uint32_t count, most;  /* places ever used; that there may be */
    uint32_t room;         /* places that there is memory for */
    uint32_t free;         /* number; 0: none */
    uint32_t bucket[SHARE_BUCKETS];
};

/* What the guest has open: a descriptor, or -1 for a free place. */
struct share_open {
    int fd; /* owned */
    bool is_directory;
};

struct share {
    struct share_options o;
    struct share_files files;
    struct share_open *open; /* owned: `o.files_most` of them */
    bool has_begun;          /* INIT was served */
};

/* A request under way.  Handlers return 0 or -errno, and set `used`. */
struct share_call {
    struct share *s;
    const struct fuse_in_header *in;
    struct share_file *file; /* that the request is about */
    const uint8_t *arg;      /* behind the head */
    size_t bytes;            /* of them; at least what the row of the operation says */
    uint8_t *out;            /* behind the head of the answer */
    size_t room, used;
};

/* ---- files.c ---- */

int share_files_init(struct share_files *f, int root, uint32_t most);
void share_files_fini(struct share_files *f);

/* NULL: there is none of that number. */
struct share_file *share_files_get(const struct share_files *f, uint64_t number);
uint64_t share_files_number(const struct share_files *f, const struct share_file *file);

/* The file of this descriptor, which is taken, becomes known once more. */
int share_files_know(struct share_files *f, int take_fd, const struct stat *st,
                     struct share_file **ret);
void share_files_forget(struct share_files *f, uint64_t number, uint64_t times);

/* ---- serve.c ---- */

/* A name of one part at `off` of the arguments, which ends in the request; *ret_next is
 * behind it.  -EINVAL: it is none; -ENAMETOOLONG. */
int share_name(const struct share_call *c, size_t off, const char **ret,
               size_t *ret_next);

/* Room for `n` bytes of an answer; NULL: the guest gave less, and is told EIO. */
void *share_answer(struct share_call *c, size_t n);

/* A descriptor that the guest has open; -EBADF. */
int share_handle(const struct share_call *c, uint64_t number, bool is_directory);
int share_open_handle(struct share_call *c, int take_fd, bool is_directory,
                      uint64_t *ret);

/* ---- handlers: look.c, change.c, data.c, names.c ---- */

int share_do_lookup(struct share_call *c);
int share_do_getattr(struct share_call *c);
int share_do_readlink(struct share_call *c);
int share_do_statfs(struct share_call *c);
int share_do_opendir(struct share_call *c);
int share_do_readdir(struct share_call *c);
int share_do_getxattr(struct share_call *c);
int share_do_listxattr(struct share_call *c);

int share_do_setattr(struct share_call *c);
int share_do_symlink(struct share_call *c);
int share_do_mknod(struct share_call *c);
int share_do_mkdir(struct share_call *c);
int share_do_create(struct share_call *c);
int share_do_unlink(struct share_call *c);
int share_do_rmdir(struct share_call *c);
int share_do_rename(struct share_call *c);
int share_do_rename2(struct share_call *c);
int share_do_link(struct share_call *c);
int share_do_setxattr(struct share_call *c);
int share_do_removexattr(struct share_call *c);

int share_do_open(struct share_call *c);
int share_do_read(struct share_call *c);
int share_do_write(struct share_call *c);
int share_do_release(struct share_call *c);
int share_do_flush(struct share_call *c);
int share_do_fsync(struct share_call *c);
int share_do_fallocate(struct share_call *c);
int share_do_lseek(struct share_call *c);
int share_do_copy(struct share_call *c);

/* look.c: what the guest is told of a file that it now knows; `take_fd` is O_PATH. */
int share_entry(struct share_call *c, int take_fd, struct fuse_entry_out *out);
int share_path_open(int dir, const char *name); /* one part below it, as O_PATH */

/* data.c: the file itself, opened; flags are those of the guest. */
int share_reopen(const struct share_call *c, const struct share_file *f, uint32_t flags);

#endif
