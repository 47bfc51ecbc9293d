/* sources.h - the package sources of this host, for another suite of Debian. */
#ifndef RESOURCE_IMAGE_BUILD_SOURCES_H
#define RESOURCE_IMAGE_BUILD_SOURCES_H

#include <stdbool.h>

struct err;
struct str;

/* Add to `ret`, in deb822 form, the sources in `text` (a *.sources file, or with
 * `one_line` a *.list) that serve the suite `own`, rewritten for `suite`.
 * Sources of other archives and deb-src are left out. */
void sources_convert(const char *text, bool one_line, const char *own, const char *suite,
                     struct str *ret);

/* The suite as `mirror` alone has it, of the component main. */
int sources_of_mirror(const char *mirror, const char *suite, struct str *ret,
                      struct err *e);

/* All of /etc/apt below `etc` for `suite`; Debian's own mirror when there are
 * none.  `own` is the suite of this host ("" when it is not Debian). */
int sources_read(const char *etc, const char *own, const char *suite, struct str *ret,
                 struct err *e);

#endif
