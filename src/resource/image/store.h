/* store.h - directories and locks of the store, for this folder and `pack`. */
#ifndef RESOURCE_IMAGE_STORE_H
#define RESOURCE_IMAGE_STORE_H

#include "resource/image/image.h"

struct image_store {
    char *state;        /* owned; path of the state directory */
    int images;         /* descriptors of state/images, */
    int blobs;          /* state/images/blobs/sha256 */
    int layers;         /* and state/layers */
    int busy;           /* lock file images/busy.lock, -1 until needed */
    unsigned busy_n;    /* how often `store_busy_begin` was called */
    struct strv *added; /* borrowed; gets the digest of each new blob; or NULL */
};

#define STORE_JSON_BYTES_MAX (8u << 20) /* manifests, configurations, index.json */

/* Whether `text` is "sha256:" and 64 lower-case hex digits. */
bool store_is_digest(const char *text);

/* The blob as text, at most `STORE_JSON_BYTES_MAX`, hashed again (-EBADMSG: it is not what
 * its name says) and parsed as JSON. */
int store_read_json(struct image_store *s, const char *digest, json_t **ret,
                    struct err *e);

/* Between these two, blobs may be added and relied on.  They nest. */
int store_busy_begin(struct image_store *s, struct err *e);
void store_busy_end(struct image_store *s);

/* The whole index.json, an empty one when there is none yet. */
int store_read_index(struct image_store *s, json_t **ret, struct err *e);

/* Change index.json under the lock: `fn` edits the "manifests" array and says
 * whether to write it (1), not (0), or -errno. */
typedef int store_edit_fn(void *arg, json_t *manifests, struct err *e);
int store_edit_index(struct image_store *s, store_edit_fn *fn, void *arg, struct err *e);

/* The name that an entry of index.json carries, or NULL. */
const char *store_entry_name(const json_t *entry);

/* A descriptor object of the specification, checked. */
int store_parse_desc(const json_t *j, const char *where, struct image_desc *ret,
                     struct err *e);

/* The manifest for this host of an image index. */
int store_choose_platform(const json_t *index, struct image_desc *ret, struct err *e);

/* Remove those of `digests` that no named image needs, if nobody else adds
 * blobs now: what a failed command had brought in. */
void store_forget_blobs(struct image_store *s, const struct strv *digests);

/* "amd64": this host, in the words of the image specification. */
const char *store_host_arch(void);

/* The boot of this host, as text without a newline; "" when nobody knows. */
#define STORE_BOOT_BYTES 40
void store_boot_id(char out[STORE_BOOT_BYTES]);

/* Whether layers/HEX is unpacked whole: 1, 0 no, -ESTALE: it was not synced to
 * disk before the host went down, so it may lack bytes.  `boot` is a cache,
 * filled at the first need; it starts with boot[0] == '\0'. */
int store_layer_ready(struct image_store *s, const char *hex,
                      char boot[STORE_BOOT_BYTES]);

/* Fill `ret` from the manifest `desc`. */
int store_load_image(struct image_store *s, const struct image_desc *desc,
                     struct image *ret, struct err *e);

#endif
