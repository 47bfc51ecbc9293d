/* view.h - several directories seen as one, as overlayfs would show them.
 *
 * The context of a build is a view of one directory.  Nothing is mounted; no
 * symbolic link is followed by the kernel. */
#ifndef RESOURCE_IMAGE_BUILD_VIEW_H
#define RESOURCE_IMAGE_BUILD_VIEW_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/str.h"

struct err;

#define VIEW_LAYERS_MAX 500

struct view {
    int fds[VIEW_LAYERS_MAX]; /* owned; the topmost first */
    size_t n;
    bool overlay; /* whiteouts and opaque directories have their meaning */
};

/* Paths are relative to the view's root, "" is the root itself. */
struct view_entry {
    char path[PATH_MAX]; /* without symbolic links, "." and ".." */
    bool exists;
    struct stat st;
    unsigned char on[VIEW_LAYERS_MAX]; /* directories that have a part of it */
};

/* Open the directories `paths`, the topmost first. */
int view_open(struct view *v, const struct strv *paths, bool overlay, struct err *e);
void view_close(struct view *v);

/* Find `path` with the symbolic links above it followed (and its own with
 * `follow`), all of them kept below the root.  A missing one is no error:
 * `exists` is false, `path` is where it would be.  -ELOOP, -ENAMETOOLONG,
 * -ENOTDIR or another -errno. */
int view_find(const struct view *v, const char *path, bool follow,
              struct view_entry *ret);

/* Names in a directory, sorted; some may be hidden (then view_find says so). */
int view_list(const struct view *v, const struct view_entry *dir, struct strv *ret);

/* A descriptor of a regular file, or -errno; the target of a symbolic link. */
int view_open_file(const struct view *v, const struct view_entry *x);
int view_read_link(const struct view *v, const struct view_entry *x, char out[PATH_MAX]);

#endif
