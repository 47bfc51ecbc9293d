/* ignore.h - .containerignore (.dockerignore): what COPY does not see. */
#ifndef RESOURCE_IMAGE_BUILD_IGNORE_H
#define RESOURCE_IMAGE_BUILD_IGNORE_H

#include <stdbool.h>

#include "base/str.h"

struct ignore {
    struct strv rules; /* in order; "!x" takes x back */
    bool has_exceptions;
};

/* Lines with "#" in front are comments. */
int ignore_parse(const char *text, struct ignore *ret);

/* Whether `path` (relative, clean) or a folder above it is left out: the last
 * rule that matches decides. */
bool ignore_has(const struct ignore *g, const char *path);
void ignore_fini(struct ignore *g);

/* "*", "?" and "[...]" within a part of a path, "**" for any number of parts. */
bool ignore_match(const char *pattern, const char *path);

#endif
