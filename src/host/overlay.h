/* host/overlay.h - an overlay mount that is in nobody's mount table. */
#ifndef HOST_OVERLAY_H
#define HOST_OVERLAY_H

#include <stdbool.h>

struct err;
struct strv;

/* Mount the directories `lower` (the topmost first) under `upper` (with `work`
 * beside it on the same file system; both NULL: read-only) and hand back a
 * descriptor of the detached mount: it lives as long as the descriptor.
 * `userxattr`: marks are user.overlay attributes, as in a user namespace.
 * Needs CAP_SYS_ADMIN in the caller's user namespace.  A descriptor or -errno. */
int overlay_mount(const struct strv *lower, const char *upper, const char *work,
                  bool userxattr, struct err *e);

#endif
