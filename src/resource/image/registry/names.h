/* names.h - which registry a short name means, and who mirrors a registry.
 *
 * The file is JSON; all members may be missing, and there is no file at first:
 *
 *     {"names":   {"web": "registry.example/team/web"},
 *      "default": "docker.io/library",
 *      "mirrors": {"docker.io": ["mirror.example:5000/hub"]}}
 */
#ifndef RESOURCE_IMAGE_REGISTRY_NAMES_H
#define RESOURCE_IMAGE_REGISTRY_NAMES_H

#include "resource/image/image.h"

#define NAMES_FILE "registries.json"

/* The file to use: STATE/registries.json, else that of the user's configuration,
 * else that of the host; owned by the caller.  NULL: there is none. */
char *names_find_file(const char *state);

/* *ret is NULL without a file.  -EINVAL for members that are not known. */
int names_load(const char *path, json_t **ret, struct err *e);

/* Put the registry in front of a short name.  -ENODATA (without a text): none is
 * configured.  A name that has one stays as it is. */
int names_resolve(const json_t *file, struct image_ref *ref, struct err *e);

/* The reference as mirror `i` of its registry has it: 1, or 0: no such mirror. */
int names_mirror(const json_t *file, size_t i, const struct image_ref *ref,
                 struct image_ref *ret, struct err *e);

#endif
