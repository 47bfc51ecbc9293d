/* resource/image/pack/pack.h - bytes into the store and out of it.
 *
 * Everything here runs in the program `image`: blobs, layers, archives,
 * unpacking.  Input is hostile: limits apply everywhere, and a blob gets its
 * name only after its digest was checked.
 *
 * Threads: one caller at a time per object; the functions make their own. */
#ifndef RESOURCE_IMAGE_PACK_PACK_H
#define RESOURCE_IMAGE_PACK_PACK_H

#include <sys/types.h>

#include "resource/image/image.h"

#define PACK_TYPE_MANIFEST  "application/vnd.oci.image.manifest.v1+json"
#define PACK_TYPE_INDEX     "application/vnd.oci.image.index.v1+json"
#define PACK_TYPE_CONFIG    "application/vnd.oci.image.config.v1+json"
#define PACK_TYPE_LAYER     "application/vnd.oci.image.layer.v1.tar"
#define PACK_TYPE_LAYER_GZ  "application/vnd.oci.image.layer.v1.tar+gzip"
#define PACK_TYPE_LAYER_ZST "application/vnd.oci.image.layer.v1.tar+zstd"

/* What an operation works with. */
struct pack {
    struct image_store *store; /* borrowed */
    /* Told now and then; may be NULL.  `what` is "unpack", "import" ...,
     * `object` a digest or name; `total` 0 when unknown. */
    void (*progress)(void *arg, const char *what, const char *object, uint64_t done,
                     uint64_t total);
    void *arg;
    /* Limits for foreign archives; 0 is the default beside it. */
    uint64_t max_bytes;   /* plain bytes of one layer; 64 GiB */
    uint64_t max_entries; /* files of one layer; 2,000,000 */
    uint64_t max_ratio;   /* plain / stored bytes, asked above 1 GiB; 200 */

    /* What other folders can do, introduced by the program; NULL: nobody can.
     * `change`: apply instructions of a Containerfile (an array of texts) to an
     * image's configuration.  `fetch`: bring the image `ref` into the store, under
     * that name, from the registry it names or is configured to be at; `how` may
     * hold what a pull is told.  -ENODATA: no registry stands behind the name. */
    int (*change)(json_t *config, const json_t *instructions, struct err *e);
    int (*fetch)(struct pack *p, const char *ref, const json_t *how, struct err *e);
};

/* ---- blobs ---- */

struct pack_blob; /* a blob on its way in */

/* With a digest, a part that an earlier command left is taken up again:
 * `pack_blob_size` tells how many bytes are there already (they are read and
 * hashed here).  `digest` NULL: not known yet. */
int pack_blob_begin(struct image_store *s, const char *digest, struct pack_blob **ret,
                    struct err *e);
uint64_t pack_blob_size(const struct pack_blob *b);
int pack_blob_write(struct pack_blob *b, const void *bytes, size_t len, struct err *e);

/* Throw away what was written so far (a server that cannot resume). */
int pack_blob_restart(struct pack_blob *b, struct err *e);

/* Check the digest given at the begin (-EBADMSG when it differs: nothing is
 * stored), make it durable, give it its name.  Frees `b` in any case. */
int pack_blob_commit(struct pack_blob *b, char ret_digest[IMAGE_DIGEST_BYTES],
                     uint64_t *ret_size, struct err *e);

/* Stop.  `keep_part`: leave it for a later begin with the same digest. */
void pack_blob_abort(struct pack_blob *b, bool keep_part);

bool pack_blob_has(struct image_store *s, const char *digest, uint64_t *ret_size);
int pack_blob_open(struct image_store *s, const char *digest, int *ret_fd,
                   uint64_t *ret_size, struct err *e);

/* Small blobs at once; fills the descriptor. */
int pack_put_bytes(struct image_store *s, const char *media_type, const void *bytes,
                   size_t len, struct image_desc *ret, struct err *e);
int pack_put_json(struct image_store *s, const char *media_type, const json_t *j,
                  struct image_desc *ret, struct err *e);

/* ---- layers ---- */

enum pack_coding {
    PACK_PLAIN,
    PACK_GZIP,
    PACK_ZSTD,
    PACK_CODING_COUNT
};

struct pack_idmap {
    uint32_t host, guest, count; /* ids host.. on disk are guest.. in the tar */
};

struct pack_scan {
    bool overlay;                 /* translate overlay whiteouts and opaque marks */
    const struct pack_idmap *uid; /* NULL: as they are; ids outside become 65534 */
    const struct pack_idmap *gid;
    size_t n_uid, n_gid;
    const char *prefix;      /* path in the layer, "" is its root */
    const char *const *skip; /* paths relative to the directory; NULL-ended or NULL */
    int64_t clamp_mtime;     /* newer times become this one; 0: as they are */
};

/* A layer from the directory `dir` (also the upper directory of an overlay). */
int pack_layer_from_dir(const struct pack *p, int dir, const struct pack_scan *scan,
                        enum pack_coding coding, struct image_layer *ret, struct err *e);

/* A layer from a tar stream that is read to its end; any compression that is
 * recognized.  The headers are checked, the plain tar is stored as `coding`. */
int pack_layer_from_fd(const struct pack *p, int fd, enum pack_coding coding,
                       struct image_layer *ret, struct err *e);

/* A layer made of given entries (COPY --chown, links of busybox ...). */
struct pack_layer;

struct pack_entry {
    const char *path; /* relative, no ".." */
    char type; /* '-' file, 'd', 'l' symlink, 'h' hard link, 'p' fifo, 'w' whiteout */
    mode_t mode;
    uint32_t uid, gid;
    int64_t mtime;    /* seconds */
    const char *link; /* of 'l' and 'h' */
    int fd;           /* of '-': read from its offset 0; -1: `bytes` */
    const void *bytes;
    uint64_t size;
};

int pack_layer_begin(const struct pack *p, enum pack_coding coding,
                     struct pack_layer **ret, struct err *e);
int pack_layer_add(struct pack_layer *l, const struct pack_entry *x, struct err *e);
int pack_layer_add_dir(struct pack_layer *l, int dir, const struct pack_scan *scan,
                       struct err *e);
int pack_layer_commit(struct pack_layer *l, struct image_layer *ret, struct err *e);
void pack_layer_abort(struct pack_layer *l);

/* ---- images ---- */

/* Store a manifest for these layers (blob and diff_id filled, lowest first).
 * `config` is an OCI image configuration; its "rootfs" is set here. */
int pack_put_image(struct image_store *s, json_t *config,
                   const struct image_layer *layers, size_t n,
                   struct image_desc *ret_manifest, struct err *e);

/* Unpack each layer that is not unpacked yet. */
int pack_unpack(const struct pack *p, const struct image *img, struct err *e);

/* Wait until unpacked layers are on the disk, and note it.  Layers serve guests
 * before that; only a power cut makes it matter. */
bool pack_is_settled(const struct pack *p);
void pack_settle(const struct pack *p);

/* What SOURCE of an import is; AUTO looks. */
enum pack_form {
    PACK_FORM_AUTO,
    PACK_FORM_OCI,    /* layout: directory or tar */
    PACK_FORM_DOCKER, /* tar of `docker save` */
    PACK_FORM_TAR,    /* root file system, any usual compression */
    PACK_FORM_DIR,    /* root file system, directory */
    PACK_FORM_COUNT
};

struct pack_import {
    const char *path;
    const char *name; /* NULL: the names inside */
    enum pack_form form;
    const json_t *changes; /* instructions, for root file systems; NULL: none */
    const char *comment;   /* NULL: none */
};

int pack_import(const struct pack *p, const struct pack_import *o, struct strv *ret_names,
                struct err *e);

/* `format`: "oci" (directory), "oci-archive", "docker-archive", "rootfs" (tar).
 * `path` must not exist; "-" is standard output for the archives. */
int pack_export(const struct pack *p, const struct image *img, const char *format,
                const char *path, struct err *e);

struct pack_commit {
    const struct image *base; /* NULL: from nothing */
    int upper;                /* directory with the changes */
    struct pack_scan scan;
    const json_t *config;  /* members that replace those of base's "config"; or NULL */
    const json_t *changes; /* instructions to apply at the end; or NULL */
    const char *name;      /* NULL: no name */
    const char *author, *comment, *created_by; /* NULL: none */
};

int pack_commit(const struct pack *p, const struct pack_commit *c,
                struct image_desc *ret_manifest, struct err *e);

/* Hash every blob again and follow every name.  Each fault is one text in
 * `ret_faults`; *ret_blobs counts what was looked at. */
int pack_verify(const struct pack *p, struct strv *ret_faults, uint64_t *ret_blobs,
                struct err *e);

/* ---- operations of the program `image` ---- */

/* One operation: JSON request in, JSON result out (owned by the caller). */
struct pack_op {
    const char *name; /* the word after `image` */
    int (*run)(struct pack *p, const json_t *request, json_t **ret_result, struct err *e);
};

/* From here on `added` notes each new blob; the second removes them again, but
 * for those that an image needs by now: after an operation that failed. */
void pack_watch_added(struct pack *p, struct strv *added);
void pack_forget_added(struct pack *p);

/* For an ordinary user: become root of a user namespace, with the user's
 * subordinate ids where the host gives them.  Nothing to do for root. */
int pack_enter_namespace(struct err *e);

/* import export unpack commit verify; ends at .name == NULL. */
extern const struct pack_op pack_ops[];

#endif
