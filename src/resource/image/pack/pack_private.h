/* pack_private.h - what the files of this folder share. */
#ifndef RESOURCE_IMAGE_PACK_PACK_PRIVATE_H
#define RESOURCE_IMAGE_PACK_PACK_PRIVATE_H

#include "base/units.h"
#include "resource/image/pack/pack.h"
#include "resource/image/pack/source.h"
#include "resource/image/store.h"

#define PACK_MAX_BYTES_DEFAULT   (64ull << 30)
#define PACK_MAX_ENTRIES_DEFAULT 2000000
#define PACK_MAX_RATIO_DEFAULT   200

/* The limits of `p` with the defaults filled in. */
struct source_limits pack_limits(const struct pack *p);
uint64_t pack_max_entries(const struct pack *p);

void pack_tell(const struct pack *p, const char *what, const char *object, uint64_t done,
               uint64_t total);

/* The sum as "sha256:HEX". */
void pack_print_digest(const uint8_t sum[32], char out[IMAGE_DIGEST_BYTES]);

/* The configuration's members of a new image, for this host; owned by the caller. */
json_t *pack_new_config(void);

/* Append to "history"; texts may be NULL. */
int pack_add_history(json_t *config, const char *created_by, const char *author,
                     const char *comment, bool empty_layer);

/* A manifest whose configuration is in the store already. */
int pack_put_manifest(struct image_store *s, const struct image_desc *config,
                      const struct image_layer *layers, size_t n, struct image_desc *ret,
                      struct err *e);

/* Now, as RFC 3339. */
void pack_now(char out[UNITS_TEXT_BYTES]);

/* ---- sink.c: plain bytes in, a compressed blob out, by a thread of its own ---- */

struct sink;

int sink_open(struct image_store *s, enum pack_coding coding, struct sink **ret,
              struct err *e);
int sink_write(struct sink *k, const void *bytes, size_t len, struct err *e);

/* Frees `k` in any case; fills blob and diff_id. */
int sink_commit(struct sink *k, struct image_layer *ret, struct err *e);
void sink_abort(struct sink *k);

/* ---- archives ---- */

/* A tar with whole images inside: files become blobs. */
int pack_import_archive(const struct pack *p, int fd, const struct pack_import *o,
                        struct strv *ret_names, struct err *e);

/* Apply instructions to a configuration; nothing to do when there are none. */
int pack_change(const struct pack *p, json_t *config, const json_t *instructions,
                struct err *e);

/* Where an import finds the blob of a digest. */
struct pack_from {
    int (*fetch)(void *arg, const char *digest, struct err *e);
    void *arg;
};

/* Take the images of an index whose blobs `from` brings into the store. */
int pack_import_index(const struct pack *p, const json_t *index, const char *name,
                      const struct pack_from *from, struct strv *ret_names,
                      struct err *e);

/* The plain tar of a file: its digest; -EBADMSG unless it is a whole archive.
 * `names` (may be NULL) sees each entry. */
typedef void pack_see_fn(void *arg, const char *path);
int pack_scan_tar(const struct pack *p, int fd, pack_see_fn *see, void *arg,
                  char ret_diff[IMAGE_DIGEST_BYTES], struct err *e);

#endif
