/* manifest.h - what a registry says an image is made of. */
#ifndef RESOURCE_IMAGE_REGISTRY_MANIFEST_H
#define RESOURCE_IMAGE_REGISTRY_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

#include "resource/image/image.h"

struct err;

#define MANIFEST_LAYERS_MAX 512

/* For the Accept header: all kinds that are understood. */
#define MANIFEST_ACCEPT                                                                  \
    "application/vnd.oci.image.manifest.v1+json, "                                       \
    "application/vnd.oci.image.index.v1+json, "                                          \
    "application/vnd.docker.distribution.manifest.v2+json, "                             \
    "application/vnd.docker.distribution.manifest.list.v2+json"

struct manifest {
    char media_type[IMAGE_TYPE_BYTES];
    bool is_index;
    struct image_desc chosen; /* of an index: the manifest for the platform */
    struct image_desc *blobs; /* owned; the configuration first, each digest once */
    size_t n;
};

/* Read `text`; `content_type` is the server's word for it (NULL: none).
 * `platform` is "os/arch[/variant]". */
int manifest_parse(const char *text, size_t len, const char *content_type,
                   const char *platform, struct manifest *ret, struct err *e);
void manifest_fini(struct manifest *m);

/* The platform of this host: "linux/amd64". */
const char *manifest_host_platform(void);

#endif
