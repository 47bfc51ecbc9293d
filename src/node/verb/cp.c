/* cp.c - copy between a guest and the host, never through a link of the guest. */
#include "node/verb/private.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

/* One side of a copy, opened. */
struct side {
    int dir;  /* directory that has the name; owned */
    int lock; /* of a guest that does not run, -1: none; owned */
    char name[NAME_MAX + 1];
    uid_t shift; /* first host id of the guest's users */
    bool is_dir; /* the path itself is a directory */
    bool of_guest;
};

#define LINKS_MOST 40 /* as the kernel has it */

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

/* The last part of a path, without slashes behind it. */
static int name_of_path(const char *path, struct side *s)
{
    size_t len = strlen(path);
    size_t from;

    while (len > 0 && path[len - 1] == '/') {
        len -= 1;
    }
    for (from = len; from > 0 && path[from - 1] != '/'; from--) {
    }
    return str_print(s->name, sizeof s->name, "%.*s", (int)(len - from), path + from);
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
    if (name_of_path(copy, s) < 0) {
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

/* Where the last part is a link, the side becomes what it leads to, inside of `root`. */
static int follow_last(int root, const char *path, struct side *s, struct err *e)
{
    char at[PATH_MAX];
    char target[PATH_MAX];
    char next[PATH_MAX];

    (void)str_print(at, sizeof at, "%s", path);
    for (int i = 0; i < LINKS_MOST; i++) {
        ssize_t n = readlinkat(s->dir, s->name, target, sizeof target - 1);
        char *slash;
        int r;

        if (n < 0) {
            return 0; /* no link; what is missing is told by the copy */
        }
        target[n] = '\0';
        while (strlen(at) > 1 && str_ends(at, "/")) {
            at[strlen(at) - 1] = '\0';
        }
        slash = strrchr(at, '/');
        r = target[0] == '/'
                ? str_print(next, sizeof next, "%s", target)
                : str_print(next, sizeof next, "%.*s%s",
                            slash != NULL ? (int)(slash - at) + 1 : 0, at, target);
        if (r == 0) {
            (void)close(s->dir);
            s->dir = -1;
            r = open_side(root, next, s, e);
        }
        if (r < 0) {
            return err_sys(e, r, "cannot follow '%s'", path);
        }
        memcpy(at, next, sizeof at);
    }
    return err_sys(e, -ELOOP, "cannot follow '%s'", path);
}

static int open_word(struct node *n, const char *word, bool follow, struct side *s,
                     struct err *e)
{
    const char *colon = guest_part(word);
    const char *path = colon != NULL ? colon + 1 : word;
    struct disk_root disk = {.fd = -1, .lock = -1};
    SCOPED(scope_close) int root = -1;
    struct guest g = {0};
    char name[PATH_MAX];
    int r = 0;

    if (colon != NULL) {
        (void)str_print(name, sizeof name, "%.*s", (int)(colon - word), word);
        r = guest_find(n, name, &g, e);
        if (r == 0) {
            r = disk_open_root(n, &g, &disk, e);
        }
        guest_fini(&g);
        root = disk.fd;
        s->lock = disk.lock;
        s->shift = disk.base;
    }
    if (r == 0) {
        r = open_side(colon != NULL ? root : AT_FDCWD, path, s, e);
    }
    return r < 0 || !follow ? r
                            : follow_last(colon != NULL ? root : AT_FDCWD, path, s, e);
}

/* The directory that a side is; a link there is followed on the host only. */
static int open_directory(const struct side *s, bool of_guest, const char *word,
                          struct err *e)
{
    int fd = openat(s->dir, s->name,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | (of_guest ? O_NOFOLLOW : 0));

    return fd < 0 ? err_sys(e, -errno, "cannot open '%s'", word) : fd;
}

static int from_stream(struct side *b, const char *to, struct err *e)
{
    const struct copy_how how = {.shift_to = b->shift, .keep_owner = geteuid() == 0};
    SCOPED(scope_close) int into = -1;

    if (isatty(STDIN_FILENO)) {
        return err_set(e, -EINVAL,
                       "cannot copy '-': standard input is a terminal, not a tar stream");
    }
    into = open_directory(b, true, to, e);
    return into < 0 ? into : untar(STDIN_FILENO, into, &how, e);
}

static int to_stream(struct side *a, struct err *e)
{
    const struct copy_how how = {.shift_from = a->shift};

    if (isatty(STDOUT_FILENO)) {
        return err_set(e, -EINVAL,
                       "cannot copy to '-': standard output is a terminal; send it to a "
                       "file or to tar");
    }
    return totar(a->dir, a->name, STDOUT_FILENO, &how, e);
}

/* `name`: that of the source, before links were followed. */
static int between(struct side *a, struct side *b, const char *name, const char *to,
                   struct err *e)
{
    bool to_guest = b->of_guest;
    const struct copy_how how = {.shift_from = a->shift,
                                 .shift_to = b->shift,
                                 .keep_owner = geteuid() == 0 && to_guest};
    SCOPED(scope_close) int into = -1;

    if (b->is_dir) { /* into that directory, under its own name */
        into = open_directory(b, to_guest, to, e);
        if (into < 0) {
            return into;
        }
    }
    return copy_tree(a->dir, a->name, into >= 0 ? into : b->dir,
                     into < 0 ? b->name : name, &how, e);
}

static int copy_sides(struct node *n, const char *from, const char *to, bool follow,
                      struct side sides[2], struct err *e)
{
    struct side *a = &sides[0];
    struct side *b = &sides[1];
    struct side named = {.dir = -1, .lock = -1};
    struct stat st;
    int r = strcmp(from, "-") == 0 ? 0 : open_word(n, from, follow, a, e);

    if (r == 0 && strcmp(to, "-") != 0) {
        r = open_word(n, to, false, b, e);
    }
    if (r < 0) {
        return r;
    }
    a->of_guest = guest_part(from) != NULL;
    b->of_guest = !a->of_guest;
    if (a->dir < 0) {
        return from_stream(b, to, e);
    }
    if (fstatat(a->dir, a->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, -errno, "cannot copy '%s'", from);
    }
    if (b->dir < 0) {
        return to_stream(a, e);
    }
    name_of_path(a->of_guest ? guest_part(from) + 1 : from, &named);
    return between(a, b, follow ? named.name : a->name, to, e);
}

/* 1: the one guest that is named is a machine, and the copy was made. */
static int try_machine(struct node *n, const char *from, const char *to, bool follow,
                       struct err *e)
{
    bool is_output = guest_part(from) != NULL;
    const char *word = is_output ? from : to;
    const struct verb_copy c = {.path = guest_part(word) + 1,
                                .there = is_output ? to : from,
                                .is_output = is_output,
                                .follows = follow};
    struct guest g = {0};
    char name[PATH_MAX];
    int r;

    (void)str_print(name, sizeof name, "%.*s", (int)(guest_part(word) - word), word);
    r = guest_find(n, name, &g, e);
    if (r == 0 && guest_is_machine(&g)) {
        r = verb_cp_machine(n, &g, &c, e);
        r = r == 0 ? 1 : r;
    }
    guest_fini(&g);
    return r;
}

int node_guest_cp(struct node *n, const char *from, const char *to, bool follow,
                  struct err *e)
{
    struct side sides[2] = {{.dir = -1, .lock = -1}, {.dir = -1, .lock = -1}};
    int r;

    if ((guest_part(from) != NULL) == (guest_part(to) != NULL)) {
        return err_set(e, -EINVAL, "cannot copy '%s' to '%s': one of them is GUEST:/PATH",
                       from, to);
    }
    r = try_machine(n, from, to, follow, e);
    r = r == 0 ? copy_sides(n, from, to, follow, sides, e) : r;
    for (int i = 0; i < 2; i++) {
        scope_close(&sides[i].dir);
        scope_close(&sides[i].lock);
    }
    return r < 0 ? r : 0;
}
