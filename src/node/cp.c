/* cp.c - copy between a guest and the host, never through a link of the guest. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/private.h"

/* One side of a copy, opened. */
struct side {
    int dir; /* directory that has the name; owned */
    char name[NAME_MAX + 1];
    uid_t shift; /* first host id of the guest's users */
    bool is_dir; /* the path itself is a directory */
};

/* "GUEST:/path": a host path has a '/' before any colon. */
static const char *guest_part(const char *text)
{
    const char *colon = strchr(text, ':');
    const char *slash = strchr(text, '/');

    return colon != NULL && colon != text && (slash == NULL || colon < slash) ? colon
                                                                              : NULL;
}

static int open_in(int root, const char *path, int flags)
{
    return root == AT_FDCWD ? open(path, flags | O_CLOEXEC)
                            : file_open_in_root(root, path, flags, 0);
}

/* The directory that holds the last part of `path`, below `root` or on the host. */
static int open_side(int root, const char *path, struct side *s, struct err *e)
{
    char copy[PATH_MAX];
    char *slash;
    struct stat st;
    int fd;

    if (str_print(copy, sizeof copy, "%s%s",
                  path[0] == '/' || root == AT_FDCWD ? "" : "/", path) < 0) {
        return err_set(e, -ENAMETOOLONG, "cannot copy '%s': the path is too long", path);
    }
    while (strlen(copy) > 1 && str_ends(copy, "/")) {
        copy[strlen(copy) - 1] = '\0';
    }
    fd = open_in(root, copy, O_PATH);
    s->is_dir = fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    if (fd >= 0) {
        (void)close(fd);
    }
    slash = strrchr(copy, '/');
    if (str_print(s->name, sizeof s->name, "%s", slash != NULL ? slash + 1 : copy) < 0) {
        return err_set(e, -ENAMETOOLONG, "cannot copy '%s': the name is too long", path);
    }
    if (s->name[0] == '\0' || strcmp(s->name, ".") == 0) {
        (void)str_print(s->name, sizeof s->name, ".");
    } else if (strcmp(s->name, "..") == 0) {
        return err_set(e, -EINVAL, "cannot copy '%s': the path ends in '..'", path);
    } else if (slash != NULL) {
        slash[slash == copy ? 1 : 0] = '\0';
    } else {
        (void)str_print(copy, sizeof copy, ".");
    }
    s->dir = open_in(root, copy, O_RDONLY | O_DIRECTORY);
    return s->dir < 0
               ? err_sys(e, root == AT_FDCWD ? -errno : s->dir, "cannot open '%s'", copy)
               : 0;
}

static int open_word(struct node *n, const char *word, struct side *s, struct err *e)
{
    const char *colon = guest_part(word);
    SCOPED(scope_close) int root = -1;
    struct guest g = {0};
    char name[PATH_MAX];
    int r;

    s->dir = -1;
    s->shift = 0;
    if (colon == NULL) {
        return open_side(AT_FDCWD, word, s, e);
    }
    (void)str_print(name, sizeof name, "%.*s", (int)(colon - word), word);
    r = guest_find(n, name, &g, e);
    if (r == 0) {
        r = disk_open_root(n, &g, &s->shift, &root, e);
    }
    guest_fini(&g);
    return r < 0 ? r : open_side(root, colon + 1, s, e);
}

int node_guest_cp(struct node *n, const char *from, const char *to, struct err *e)
{
    struct side a = {.dir = -1};
    struct side b = {.dir = -1};
    SCOPED(scope_close) int into = -1;
    struct copy_how how = {0};
    struct stat st;
    bool from_guest = guest_part(from) != NULL;
    const char *name;
    int r;

    if (from_guest == (guest_part(to) != NULL)) {
        return err_set(e, -EINVAL, "cannot copy '%s' to '%s': one of them is GUEST:/PATH",
                       from, to);
    }
    r = open_word(n, from, &a, e);
    if (r == 0) {
        r = open_word(n, to, &b, e);
    }
    if (r == 0 && fstatat(a.dir, a.name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        r = err_sys(e, -errno, "cannot copy '%s'", from);
    }
    name = b.name;
    if (r == 0 && b.is_dir) { /* into that directory, under its own name */
        into = openat(b.dir, b.name,
                      O_RDONLY | O_DIRECTORY | O_CLOEXEC | (from_guest ? 0 : O_NOFOLLOW));
        name = strcmp(a.name, ".") == 0 ? "." : a.name;
        r = into < 0 ? err_sys(e, -errno, "cannot open '%s'", to) : 0;
    }
    if (r == 0) {
        how.shift_from = a.shift;
        how.shift_to = b.shift;
        how.keep_owner = geteuid() == 0 && !from_guest;
        r = copy_tree(a.dir, a.name, into >= 0 ? into : b.dir, name, &how, e);
    }
    if (a.dir >= 0) {
        (void)close(a.dir);
    }
    if (b.dir >= 0) {
        (void)close(b.dir);
    }
    return r;
}
