/* resource/image/image.h - the store of images: find, list, name, remove.
 *
 * On disk, below the state directory:
 *
 *     images/    an OCI image layout: oci-layout, index.json, blobs/sha256/...
 *     layers/    one folder per unpacked layer, named by its chain digest:
 *                layers/HEX/fs is the tree, read-only and shared by all guests
 *
 * This half is small and fast: a start finds its image here, and nothing is
 * hashed again.  What eats foreign bytes (archives, registries, unpacking) is
 * in the program `image`, which `image_tool_run` starts.
 *
 * Processes: any number at once.  index.json is replaced under a short lock;
 * whoever adds blobs holds the store "busy" (shared), so that `image_prune`
 * takes nothing away under its hands. */
#ifndef RESOURCE_IMAGE_IMAGE_H
#define RESOURCE_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/str.h"

struct err;
struct image_store;
struct tree;

#define IMAGE_DIGEST_BYTES 72  /* "sha256:", 64 hex digits, a NUL */
#define IMAGE_NAME_BYTES   512 /* registry, path, tag and digest */
#define IMAGE_TYPE_BYTES   96

/* What names a blob; a "descriptor" of the OCI image specification. */
struct image_desc {
    char digest[IMAGE_DIGEST_BYTES];
    char media_type[IMAGE_TYPE_BYTES];
    uint64_t size; /* bytes */
};

/* A reference, taken apart: [registry/]path[:tag][@digest]. */
struct image_ref {
    char registry[256]; /* "localhost:5000"; "" when the name is short */
    char path[256];     /* "library/busybox" */
    char tag[129];      /* "latest" when neither tag nor digest was written */
    char digest[IMAGE_DIGEST_BYTES]; /* "" without */
};

/* Grammar of the distribution specification.  -EINVAL tells what is wrong. */
int image_ref_parse(const char *text, struct image_ref *ret, struct err *e);

/* The name in the store: "path:tag" or "registry/path:tag", without digest. */
int image_ref_name(const struct image_ref *ref, char out[IMAGE_NAME_BYTES]);

struct image_layer {
    struct image_desc blob;           /* as stored, compressed or not */
    char diff_id[IMAGE_DIGEST_BYTES]; /* digest of the plain tar */
    char chain[IMAGE_DIGEST_BYTES];   /* of this layer on those below it */
};

/* Fill in the chain of a layer on `below` (NULL: none): image-spec 1.0, config.md "Layer
 * ChainID", SHA-256 of "CHAIN-BELOW DIFF-ID". */
void image_layer_chain(struct image_layer *l, const struct image_layer *below);

struct image {
    char name[IMAGE_NAME_BYTES]; /* "" when found by digest */
    struct image_desc manifest;
    struct image_desc config_blob;
    json_t *config;          /* owned; the whole configuration object */
    const char *created;     /* RFC 3339; texts are borrowed from `config`, "" unknown */
    const char *os;          /* "linux" */
    const char *arch;        /* "amd64" */
    const char *user;        /* "", "uid", "name:group" ... */
    const char *workdir;     /* "" is "/" */
    const char *stop_signal; /* "" is SIGTERM */
    struct strv env;         /* "K=V" */
    struct strv entrypoint;
    struct strv cmd;
    struct strv exposed;        /* "80/tcp" */
    struct strv volumes;        /* paths */
    const json_t *labels;       /* object or NULL; borrowed from `config` */
    const json_t *healthcheck;  /* object or NULL; borrowed from `config` */
    struct image_layer *layers; /* owned; the lowest first */
    size_t n_layers;
    uint64_t blob_bytes; /* sum of the layers as stored */
};

/* The store below the state directory `state`, made when missing. */
int image_store_open(const char *state, struct image_store **ret, struct err *e);
void image_store_close(struct image_store *s);

/* Find by name, by "sha256:HEX" (of the manifest) or by at least 6 of its
 * digits.  -ENOENT names the image.  The caller ends it with `image_fini`. */
int image_find(struct image_store *s, const char *ref, struct image *ret, struct err *e);
void image_fini(struct image *img);

/* Paths of the unpacked layers, the topmost first, as overlayfs wants them.
 * The number of layers that are not unpacked yet (then the list is partial), or
 * -errno. */
int image_layer_dirs(struct image_store *s, const struct image *img, struct strv *ret,
                     struct err *e);

/* Trees: of an unpacked image, of such directories (the topmost first), and of one
 * plain directory. */
int image_tree_open(struct image_store *s, const struct image *img, struct tree **ret,
                    struct err *e);
int image_tree_layers(const struct strv *dirs, struct tree **ret, struct err *e);
int image_tree_dir(const char *path, struct tree **ret, struct err *e);

/* Each name of the store; a non-zero answer of `fn` ends the walk and is the
 * result.  An image that cannot be read is skipped and counted. */
typedef int image_list_fn(void *arg, const struct image *img);
int image_list(struct image_store *s, image_list_fn *fn, void *arg, size_t *ret_broken,
               struct err *e);

/* Keep everybody out who adds images, as long as the descriptor is open; -EBUSY. */
int image_lock_alone(struct image_store *s, struct err *e);

/* Let `name` mean the image that `ref` means now; a former meaning is dropped. */
int image_tag(struct image_store *s, const char *ref, const char *name, struct err *e);

/* Let `name` mean the manifest `desc`, which is in the store. */
int image_tag_desc(struct image_store *s, const struct image_desc *desc, const char *name,
                   struct err *e);

/* Forget a name, or with a digest every name of that manifest.  Blobs stay
 * until `image_prune`. */
int image_delete(struct image_store *s, const char *ref, struct err *e);

struct image_pruned {
    uint64_t blobs, blob_bytes, layers, temporaries;
};

/* Names the manifests ("sha256:...") that existing guests were made from.  Asked while
 * nobody can add images or hold the store, so that no guest is missed. */
typedef int image_keep_fn(void *arg, struct strv *ret, struct err *e);

/* Remove blobs and unpacked layers that no named image and no manifest of `keep` (may be
 * NULL) needs, and what killed commands left.  -EBUSY while another command adds images
 * or holds the store. */
int image_prune(struct image_store *s, image_keep_fn *keep, void *arg,
                struct image_pruned *ret, struct err *e);

/* Between these two nothing is pruned: from finding an image until what was made from
 * it is recorded.  They nest; a process that ends releases. */
int image_hold(struct image_store *s, struct err *e);
void image_release(struct image_store *s);

/* One JSON line of the program `image`: {"progress": {...}}. */
typedef void image_progress_fn(void *arg, const json_t *progress);

/* Who does the work, and who is told of it. */
struct image_tool {
    const char *program;         /* path of `image` */
    image_progress_fn *progress; /* NULL: nobody */
    void *arg;
};

/* Run `program OP` with `request` on its standard input and wait.  *ret_result
 * (owned by the caller) is its "result"; its "error" is the error here. */
int image_tool_run(const struct image_tool *tool, const char *op, const json_t *request,
                   json_t **ret_result, struct err *e);

#endif
