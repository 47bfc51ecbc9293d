/* copy.h - a COPY or ADD at work, shared by copy.c, copy_put.c and copy_tar.c. */
#ifndef RESOURCE_IMAGE_BUILD_COPY_H
#define RESOURCE_IMAGE_BUILD_COPY_H

#include "resource/image/build/stage.h"

struct copy {
    struct builder *b;
    const struct view *from;     /* where the files come from */
    const struct ignore *ignore; /* NULL: nothing is left out */
    const struct view *to;       /* the file system they go to, as it is */
    struct pack_layer *layer;    /* NULL: only the sum of the content is made */
    struct sha256 sum;
    json_t *made; /* owned object; paths of directories that are in the layer */
    bool own;     /* give files to uid and gid below; else they keep theirs */
    uint32_t uid, gid;
    bool set_mode;
    mode_t mode;   /* of --chmod, for files and directories */
    int64_t epoch; /* newer times become this one; -1: as they are */
    bool tar;      /* ADD: archives are unpacked */
};

/* One entry into the layer, or into the sum; owner, mode and time are set here. */
int copy_put(struct copy *c, struct pack_entry *x, struct err *e);

/* The directories above `path` that the layer lacks; existing ones as they are. */
int copy_put_parents(struct copy *c, const char *path, struct err *e);

/* The directory `path` itself, unless it is there. */
int copy_put_dir(struct copy *c, const char *path, const struct stat *st, struct err *e);

/* Unpack the archive at `fd` below `path`.  0: it is none; 1: done. */
int copy_put_tar(struct copy *c, int fd, const char *path, struct err *e);

/* "user:group" by name or number, as the image knows them. */
int copy_parse_owner(const struct view *to, const char *text, uint32_t *ret_uid,
                     uint32_t *ret_gid, struct err *e);

#endif
