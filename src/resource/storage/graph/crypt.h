/* crypt.h - LUKS inside qcow2 images (crypt method 2).
 *
 * QEMU, docs/interop/qcow2.rst, "Full disk encryption header pointer": the header is one
 * of LUKS version 1 whose key encrypts the clusters of data, a sector by its place in the
 * file.  Tables and names are in clear. */
#ifndef RESOURCE_STORAGE_GRAPH_CRYPT_H
#define RESOURCE_STORAGE_GRAPH_CRYPT_H

#include <stdint.h>

#include "resource/storage/luks/luks.h"
#include "resource/storage/qcow2/qcow2.h"

struct blk;

/* What opens an image; both are borrowed. */
struct crypt_key {
    const struct luks_secret *secret;
    struct luks_known **known; /* layers of one disk are opened with one derivation */
};

/* For `qcow2_open`, which takes it; the key is borrowed until that has returned.  NULL: the
 * image is opened without, and data is neither read nor written (-EACCES). */
int crypt_create(struct loop *l, const struct crypt_key *key,
                 struct qcow2_crypt **ret_crypt);

#define CRYPT_HEADER_BYTES (2u << 20) /* LUKS On-Disk Format 1.2.3: all eight slots */

/* A header of its own, with a new key. */
struct crypt_new {
    struct qcow2_crypt_maker maker; /* first */
    struct loop *loop;
    struct luks_secret secret;
    struct luks_cost cost;
};

void crypt_new_init(struct crypt_new *c, struct loop *l, const struct luks_secret *secret,
                    const struct luks_cost *cost);

/* That of another image, key and passphrases: for a layer over it, whose owner is the
 * same. */
struct crypt_copy {
    struct qcow2_crypt_maker maker; /* first */
    struct blk *file;               /* of the other image */
    uint64_t at;
};

/* -EINVAL: it is not encrypted. */
int crypt_copy_init(struct crypt_copy *c, const struct blk *image, struct err *e);

/* The same of a disk that is a header and nothing else. */
int crypt_copy_header_init(struct crypt_copy *c, struct blk *header, struct err *e);

#endif
