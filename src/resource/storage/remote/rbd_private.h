/* rbd_private.h - librbd as far as it is used, and what a connection and a disk share. */
#ifndef RESOURCE_STORAGE_REMOTE_RBD_PRIVATE_H
#define RESOURCE_STORAGE_REMOTE_RBD_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "resource/storage/remote/rbd_api.rows.h"
#include "resource/storage/remote/remote.h"

struct err;
struct loop;

/* Of librados.h and librbd.h of Ceph 16.2, whose soname (2 and 1) keeps them as they are.
 * Written down here so that a build does not need its headers. */
#ifndef CEPH_LIBRBD_H
struct rados_cluster_stat_t {
    uint64_t kb;
    uint64_t kb_used;
    uint64_t kb_avail;
    uint64_t num_objects;
};

typedef struct {
    char *id;
    char *name;
} rbd_image_spec_t;

typedef enum {
    RBD_LOCK_MODE_EXCLUSIVE = 0,
    RBD_LOCK_MODE_SHARED = 1
} rbd_lock_mode_t;

enum {
    RBD_IMAGE_OPTION_CLONE_FORMAT = 12,
    RBD_WRITE_ZEROES_FLAG_THICK_PROVISION = 1
};

#    define RBD_FEATURE_FAST_DIFF      (1ull << 4)
#    define RBD_FLAG_FAST_DIFF_INVALID (1 << 1)
#endif

struct remote_rbd_api {
#define REMOTE_RBD_FIELD(type, name, parameters) type(*name) parameters;
    REMOTE_RADOS_ROWS(REMOTE_RBD_FIELD)
    REMOTE_RBD_ROWS(REMOTE_RBD_FIELD)
#undef REMOTE_RBD_FIELD
};

/* Find the library and all of its functions; `path` NULL: where the system has it.  May
 * block. */
int remote_rbd_load(const char *path, struct remote_rbd_api *ret_api, struct err *e);

/* A connection to one pool of a cluster. */
struct remote_rbd {
    struct remote_rbd_api api;
    struct loop *loop;
    char *name; /* owned: "POOL" or "POOL/NAMESPACE" */
    void *cluster;
    void *io;
    unsigned users; /* who made it, and each open disk */
};

#endif
