/* made.h - what all ways to build share: times and configurations. */
#ifndef RESOURCE_IMAGE_BUILD_MADE_H
#define RESOURCE_IMAGE_BUILD_MADE_H

#include "resource/image/build/build.h"

#define MADE_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* SOURCE_DATE_EPOCH in seconds, or -1 without (see reproducible-builds.org). */
int64_t made_epoch(void);

/* A configuration for this host with PATH and `cmd` (NULL: none); owned by the
 * caller, NULL: out of memory. */
json_t *made_config(const char *cmd);

/* Append to "history". */
int made_history(json_t *config, const char *by, bool empty_layer);

struct made {
    json_t *config;            /* borrowed; gets the labels */
    const char *const *labels; /* "NAME=VALUE"; NULL-ended, or NULL */
    const char *name;
};

/* One layer becomes an image, named. */
int made_image(const struct pack *p, const struct made *m,
               const struct image_layer *layer, struct image_desc *ret, struct err *e);

#endif
