/* resource/image/build/build.h - images from a Containerfile, from the Debian
 * archive, from the busybox package.
 *
 * A RUN is executed by whoever calls: the folder knows nothing of containers. */
#ifndef RESOURCE_IMAGE_BUILD_BUILD_H
#define RESOURCE_IMAGE_BUILD_BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/image/pack/pack.h"

enum build_mount_kind {
    BUILD_MOUNT_BIND,
    BUILD_MOUNT_CACHE,
    BUILD_MOUNT_TMPFS,
    BUILD_MOUNT_KIND_COUNT
};

struct build_mount {
    enum build_mount_kind kind;
    char *source; /* directory or file of this host; NULL: tmpfs */
    char *target; /* absolute */
    bool read_only;
    uint64_t size; /* tmpfs: bytes, 0 unlimited */
};

/* One command to run in the file system of the image so far. */
struct build_step {
    const char *what;   /* the instruction, for people */
    struct strv lowers; /* directories, the topmost first; read-only */
    const char *upper;  /* gets the changes, in overlayfs form */
    const char *work;   /* empty, beside `upper` */
    struct strv argv, env;
    const char *workdir; /* absolute; it is there */
    const char *user;    /* as USER says; "": root */
    bool network;
    const struct build_mount *mounts;
    size_t n_mounts;
};

struct build_runner {
    /* Run the step and wait: 0, the command's exit code (1..255), or -errno
     * when it could not be started.  Nothing may stay mounted. */
    int (*run)(void *arg, const struct build_step *step, struct err *e);
    void *arg;
};

/* When images that the file names are fetched from their registries. */
enum build_pull {
    BUILD_PULL_MISSING, /* when the store lacks them */
    BUILD_PULL_ALWAYS,
    BUILD_PULL_NEVER,
    BUILD_PULL_COUNT
};

struct build {
    struct pack *pack;
    const char *context;       /* directory that COPY reads */
    const char *file;          /* NULL: Containerfile or Dockerfile in it */
    const char *name;          /* of the image; NULL: none */
    const char *target;        /* stage to end with; NULL: the last */
    const char *const *args;   /* "NAME=VALUE" for ARG; NULL-ended, or NULL */
    const char *const *labels; /* "NAME=VALUE" for the image; likewise */
    enum build_pull pull;
    const json_t *how;                 /* handed to pack->fetch; NULL: nothing to say */
    bool no_cache;                     /* run everything anew */
    bool no_network;                   /* RUN has none */
    const struct build_runner *runner; /* NULL: a RUN is an error */

    /* Told before each instruction; may be NULL. */
    void (*step)(void *arg, unsigned at, unsigned of, const char *what, bool cached);
    void *arg;
};

int build_containerfile(const struct build *b, struct image_desc *ret, struct err *e);

/* What the images made without a file are made from. */
struct build_base {
    const char *suite;          /* of Debian: "bookworm", "trixie" ... */
    const char *name;           /* of the image; NULL: the usual one */
    const char *mirror;         /* of Debian; NULL: the sources of this host */
    const char *const *include; /* packages beside the minimum; NULL-ended or NULL */
    const char *path;           /* of busybox; NULL: /bin/busybox */
    const char *const *labels;  /* "NAME=VALUE"; NULL-ended, or NULL */
};

/* With the package sources of this host, or `mirror` alone.  Named "debian:SUITE"
 * unless told otherwise. */
int build_debian(const struct pack *p, const struct build_base *o, struct image_desc *ret,
                 struct err *e);

/* From the static busybox, which must be that of this host's architecture.  Named
 * "busybox:latest" unless told otherwise. */
int build_busybox(const struct pack *p, const struct build_base *o,
                  struct image_desc *ret, struct err *e);

/* Apply instructions that change no file (CMD, ENV, LABEL ...; an array of texts) to
 * an image's configuration; for `pack->change`. */
int build_change(json_t *config, const json_t *instructions, struct err *e);

/* `build`, for the program `image`; ends at .name == NULL. */
extern const struct pack_op build_ops[];

#endif
