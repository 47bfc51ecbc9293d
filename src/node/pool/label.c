/* label.c - how a member is told from what merely lies at its path.
 *
 * A member has a file with the words
 *
 *     strata-pool POOL-ID MEMBER-NUMBER POOL-NAME
 *
 * A mount that is missing leaves an empty directory at the path, a swapped disk a foreign
 * label: both are a lost member, and nothing is ever written there.  A command that was
 * killed between the label and the record leaves a mark of a pool that nobody knows,
 * which `--force` takes over; where a layer lies, nothing does. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/pool/private.h"

#define LABEL_MOST 256

static const char *const folders[] = {"layers", "files", "images"};

static void label_of(const json_t *pool, const json_t *member, char out[LABEL_MOST])
{
    (void)str_print(out, LABEL_MOST, "strata-pool %s %u %s\n", pool_text(pool, "id"),
                    pool_member_id(member), pool_text(pool, "name"));
}

/* How many words of the two labels agree: 3 when all that identifies does. */
static bool is_ours(const char *text, const json_t *pool, const json_t *member)
{
    char want[LABEL_MOST];

    label_of(pool, member, want);
    return strncmp(text, want, (size_t)(strrchr(want, ' ') - want) + 1) == 0;
}

static int lost(const json_t *member, const char *why, struct err *e)
{
    return err_set(e, -ENODEV, "member %u (%s) is lost: %s", pool_member_id(member),
                   pool_member_path(member), why);
}

int pool_check_label(int dir, const json_t *pool, const json_t *member, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    int r = file_read(dir, POOL_LABEL, LABEL_MOST, &text, &len);

    if (r < 0) {
        return lost(member, "the directory has no label (is something not mounted?)", e);
    }
    return is_ours(text, pool, member) ? 0
                                       : lost(member, "another pool's label is there", e);
}

static bool is_folder(const char *name)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (strcmp(name, folders[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The first name in the directory that is none of `lost+found`, our label and (`top`) our
 * folders, each of them empty; false: there is none. */
static bool holds_something(int dir, bool top, char ret[NAME_MAX + 1])
{
    SCOPED(scope_dir)
    DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        const char *name = entry->d_name;
        SCOPED(scope_close) int below = -1;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        if (top && (strcmp(name, "lost+found") == 0 || strcmp(name, POOL_LABEL) == 0)) {
            continue;
        }
        if (top && is_folder(name)) {
            below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0 && !holds_something(below, false, ret)) {
                continue;
            }
        }
        (void)str_print(ret, NAME_MAX + 1, "%s", name);
        return true;
    }
    return false;
}

static int make_folders(int dir)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (mkdirat(dir, folders[i], 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

/* A mark of another pool is respected; `force`: unless that pool is none of this store's. */
static int check_mark(struct node *n, int dir, const char *path, bool force,
                      struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *pools = NULL;
    char id[POOL_ID_DIGITS + 1] = "";
    size_t len;
    size_t i;
    json_t *pool;

    if (file_read(dir, POOL_LABEL, LABEL_MOST, &text, &len) < 0) {
        return 0;
    }
    (void)sscanf(text, "strata-pool %16s", id);
    (void)record_list(n, "/pools/", &pools, NULL);
    json_array_foreach(pools, i, pool)
    {
        if (strcmp(pool_text(pool, "id"), id) == 0) {
            return err_set(e, -EEXIST,
                           "cannot use '%s' as a member: it is one of pool '%s'", path,
                           pool_text(pool, "name"));
        }
    }
    return force ? 0
                 : err_set(e, -EEXIST,
                           "cannot use '%s' as a member: it is marked as one of a pool "
                           "that is not known here (see '--force')",
                           path);
}

int pool_claim_member(struct node *n, const json_t *pool, const json_t *member,
                      bool force, struct err *e)
{
    const char *path = pool_member_path(member);
    SCOPED(scope_close) int dir = -1;
    char name[NAME_MAX + 1];
    char label[LABEL_MOST];
    int r = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;

    dir = r == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot use '%s' as a member", path);
    }
    r = check_mark(n, dir, path, force, e);
    if (r < 0) {
        return r;
    }
    if (holds_something(dir, true, name)) {
        return err_set(e, -ENOTEMPTY,
                       "cannot use '%s' as a member: it has '%s' in it, and a pool wants "
                       "a directory of its own",
                       path, name);
    }
    label_of(pool, member, label);
    r = make_folders(dir);
    r = r == 0 ? file_replace(dir, POOL_LABEL, label, strlen(label), 0600, true) : r;
    return r < 0 ? err_sys(e, r, "cannot use '%s' as a member", path) : 0;
}

void pool_release_member(const json_t *pool, const json_t *member)
{
    SCOPED(scope_close)
    int fd = open(pool_member_path(member), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && pool_check_label(fd, pool, member, NULL) == 0) {
        for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
            (void)unlinkat(fd, folders[i], AT_REMOVEDIR);
        }
        (void)unlinkat(fd, POOL_LABEL, 0);
    }
}

int pool_open_dir(struct node *n, const json_t *pool, const json_t *member,
                  const char *what, struct err *e)
{
    const char *path = pool_member_path(member);
    SCOPED(scope_close) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool own = strcmp(pool_text(pool, "name"), POOL_DEFAULT) == 0 &&
               pool_member_id(member) == 1; /* STATE/pool needs no label: it is ours */
    int fd;

    (void)n;
    if (dir < 0 && own) {
        (void)file_make_dirs(path, 0711);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (dir < 0) {
        return lost(member, strerror(errno), e);
    }
    if (!own && pool_check_label(dir, pool, member, e) < 0) {
        return -ENODEV;
    }
    fd = openat(dir, what, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make_folders(dir) == 0) {
        fd = openat(dir, what, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    return fd >= 0 ? fd : lost(member, strerror(errno), e);
}
